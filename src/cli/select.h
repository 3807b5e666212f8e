/* What the parts of `mica select` share. */
#ifndef MICA_CLI_SELECT_H
#define MICA_CLI_SELECT_H

#include "cli/train.h"

#include <mica/select.h>
#include <mica/train_many.h>

typedef struct select_job {
  const cli_args *a;
  cli_args *own; /* with the architecture and data that a run folder names */
  mica_engine *engine;
  char path[4096]; /* of the data */
  train_data data;
  int64_t batch;
  /* The examples of the training part: their numbers, labels, and whether the label is known to be
   * wrong (NULL: nothing is known). */
  int64_t all, n;
  int64_t *item, *label;
  bool *wrong;
  /* Scores: of each source [sources, n], their means [n], the examples from the hardest on, and how
   * much the sources agree (NAN with one). */
  int64_t sources;
  double *each, *score;
  int64_t *order;
  double agreement;
  char what[600]; /* "el2n, mean of 3 networks (convnet, 3 epochs)" */
  /* What is kept: places in the arrays above. */
  mica_select_options choice;
  int64_t kept;
  int64_t *keep;
  bool *is_kept; /* [n] */
} select_job;

/* The name of example i. */
const char *select_name(const select_job *job, int64_t i, char *buf, size_t n);
int64_t select_classes(const select_job *job);

/* `mica select clean`. */
int select_clean(const cli_args *a);

/* ---- scores ---- */

/* Open the data, and score by what the operands name. */
mica_status select_score(select_job *job);

/* ---- what is told and written ---- */

/* How well the scores find labels that are wrong; false where that is not known. */
bool select_finds_wrong(const select_job *job, mica_noise_report *out);
/* Examples, what is kept, and mean scores, by class. */
mica_status select_table(const select_job *job, mica_table **out);
/* The subset: --out. */
mica_status select_write_subset(const select_job *job, const char *path);
/* A table of scores: .csv, .npz or .safetensors. */
mica_status select_write_scores(const select_job *job, const char *path);
/* The table on standard output, or one JSON object. */
mica_status select_print(const select_job *job, const char *subset, const char *scores,
                         const char *page);
/* FOLDER/report.html and summary.json, and the figures as files of their own. */
mica_status select_report(const select_job *job, const char *folder);

#endif
