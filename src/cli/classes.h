/* What is told of a classifier's answers to labelled examples: measures, printed or as a report. */
#ifndef MICA_CLI_CLASSES_H
#define MICA_CLI_CLASSES_H

#include "cli/cli.h"

#include "base/json.h"

#include <mica/feature.h>

#define CLASS_BINS 15 /* of the reliability diagram */

/* For the tables of the verbs that measure classifiers. */
#define CLI_CLASSES_FLAGS                                                                          \
  {"--bands", NULL, "FEW,MANY", "20,100",                                                          \
   "classes with fewer and with more training examples are told apart"},                           \
  {                                                                                                \
    "--report", NULL, "DIR", NULL, "write DIR/report.html and DIR/summary.json with figures"       \
  }

typedef struct class_answers {
  const char *what; /* "pictures" */
  int64_t n, classes;
  const char *const *names; /* [classes] */
  const int64_t *truth;     /* [n] */
  const int64_t *predicted; /* [n], or MICA_CLASS_NONE */
  const double *score;      /* [n, classes], to rank by; NULL: none */
  bool probable;            /* the scores are probabilities */
  const int64_t *trained;   /* [classes] training rows; NULL: not known */
} class_answers;

typedef struct class_measures {
  mica_estimate accuracy, mean_auroc, mean_precision; /* the means NaN without scores */
  double macro_f1, balanced_accuracy, log_loss, ece, brier;
  int64_t few, many;
  mica_band band[MICA_BANDS];
  mica_class_measures *by_class;
  mica_estimate *auroc, *precision;                 /* [classes] */
  int64_t *counts;                                  /* confusion [classes, classes + 1] */
  double confidence[CLASS_BINS], right[CLASS_BINS]; /* the reliability diagram */
  int64_t in_bin[CLASS_BINS];
} class_measures;

/* --bands of the verb, then everything; free with class_measures_free whatever comes back. */
mica_status class_measure(const cli_args *a, const mica_engine *engine,
                          const class_answers *answers, class_measures *out);
void class_measures_free(class_measures *m);

/* Lines of text; members of the object that is being written; DIR of --report. */
void class_print(const class_answers *answers, const class_measures *m);
void class_write_json(mica_json_writer *w, const class_answers *answers, const class_measures *m);
mica_status class_report(const cli_args *a, const class_answers *answers, const class_measures *m,
                         const char *folder);

#endif
