/* A finished run in a folder: its weights, and what became of it. */
#ifndef MICA_TRAIN_MANY_INSIDE_H
#define MICA_TRAIN_MANY_INSIDE_H

#include <mica/train_many.h>

/* What makes two runs the same: network, initial values, options, batches. Release with mica_free;
 * NULL when memory is short. To be taken before training. */
char *mica_job_identity(const mica_train_job *job);
/* Read the weights and the outcome of run `index`; *found is false where there is no file.
 * MICA_ERR_STATE for one of another identity. */
mica_status mica_job_recall(const char *dir, int64_t index, const char *identity,
                            mica_train_job *job, mica_train_outcome *outcome, bool *found);
mica_status mica_job_record(const char *dir, int64_t index, const char *identity,
                            const mica_train_job *job, const mica_train_outcome *outcome);
/* results.csv: a line for each run. */
mica_status mica_jobs_table(const char *dir, const mica_train_outcome *outcomes, int64_t n);

#endif
