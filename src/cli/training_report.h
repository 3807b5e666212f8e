/* The report of a training run: curves, measures, confusion, the hardest examples. */
#ifndef MICA_CLI_TRAINING_REPORT_H
#define MICA_CLI_TRAINING_REPORT_H

#include <mica/train.h>

typedef struct epoch_point {
  double train_loss, val_loss, val_accuracy, seconds;
} epoch_point;

typedef struct training_report {
  const char *folder, *title, *command, *model;
  const epoch_point *epoch;
  int64_t epochs;
  const mica_dataset *ds;
  mica_part part;                    /* that `evaluation` is of */
  const mica_evaluation *evaluation; /* with logits and labels, in the data set's order */
  const mica_train_result *result;
  double seconds;
} training_report;

/* Write FOLDER/report.html and FOLDER/summary.json. */
mica_status cli_training_report(const training_report *r);

#endif
