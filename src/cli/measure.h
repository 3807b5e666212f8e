/* What the parts of `mica measure` share. */
#ifndef MICA_CLI_MEASURE_H
#define MICA_CLI_MEASURE_H

#include "cli/cli.h"

#include <mica/mica.h>

/* What can be measured, by the first operand; the verb's table ends with one without `takes`. */
typedef struct measure_subject {
  const char *what; /* "files of features" */
  bool (*takes)(const char *path);
  int (*run)(const cli_args *a);
} measure_subject;

/* ---- features ---- */

/* One or two sets of features of the same rows, and what was found in them. */
typedef struct measure_job {
  const cli_args *a;
  mica_engine *engine;
  mica_tensor *x, *other; /* [N, D], [N, E]; NULL: one set */
  int64_t *label;         /* [N]; NULL: none */
  int64_t classes;
  char **names; /* [classes] */
  int n;        /* measures */
  char **spec;  /* [n] as they were asked for */
  mica_findings **findings;
} measure_job;

bool measure_takes_features(const char *path);
int measure_features(const cli_args *a);
/* DIR/report.html and the figures beside it. */
mica_status measure_report(const measure_job *job, const char *folder);

/* ---- networks ---- */

bool measure_takes_model(const char *path);
int measure_network(const cli_args *a);

/* ---- answers in Google Landmarks' files ---- */

bool measure_takes_landmarks(const char *path);
int measure_landmarks(const cli_args *a);

#endif
