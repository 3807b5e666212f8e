/* Verbs on models that tell anomalies. */
#ifndef MICA_CLI_ANOMALY_H
#define MICA_CLI_ANOMALY_H

#include "cli/cli.h"

/* Does the model's answering head tell anomalies only, without classes? */
bool cli_tells_anomalies(const mica_model *model);
/* mica eval of such a model on the pictures that --data names; an exit code. */
int cli_anomaly_eval(const cli_args *a, mica_model *model);

/* One picture's score and whether it is above the threshold, as a CSV or JSON line. */
void cli_print_anomaly(const char *file, const mica_answer *answer, bool json);
/* The same of a row of a file of features. */
void cli_print_anomaly_row(const char *file, int64_t row, const mica_answer *answer, bool json);

/* mica fit of several detectors, or on a folder of several categories, of pictures with and without
 * defects: a comparison by folds; an exit code. */
int cli_defects_compare(const cli_args *a, mica_engine *engine, mica_model *model);

#endif
