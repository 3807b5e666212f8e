/* What `mica model` and `mica data` have in common: listing the catalogue and fetching its files.
 */
#ifndef MICA_CLI_GET_H
#define MICA_CLI_GET_H

#include "cli/catalogue.h"
#include "cli/cli.h"

/* `list [NAME]`: all entries, or all about one. */
int get_list(const cli_args *a, catalogue_kind kind);

/* Fetch file number i of an entry into `folder` unless it is there and right already; its checksum
 * into sha256. */
mica_status get_file(const cli_args *a, const catalogue_item *item, int i, const char *folder,
                     char sha256[65]);

/* A record of where a thing is from, as one JSON object; release with mica_free. `sha256`: of each
 * of the item's files. */
char *get_record(const catalogue_item *item, char sha256[][65]);

#endif
