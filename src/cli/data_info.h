/* What a data set holds. */
#ifndef MICA_CLI_DATA_INFO_H
#define MICA_CLI_DATA_INFO_H

#include "cli/cli.h"

/* Print it for a person or, with --json, as one object. */
int data_info(const cli_args *a, const char *path);

/* The same of a log of users and items. */
int data_interactions(const cli_args *a, const char *path);

#endif
