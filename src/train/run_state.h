/* All that a training step changes, and its file. */
#ifndef MICA_TRAIN_RUN_STATE_H
#define MICA_TRAIN_RUN_STATE_H

#include <mica/optim.h>

typedef struct run_state {
  mica_params *params, *average; /* average may be NULL */
  mica_optimiser *optimiser;
  int64_t epoch, step, step_in_epoch;
  int64_t best_epoch; /* -1: none yet */
  double best_accuracy, best_loss, loss_sum, last_loss;
} run_state;

/* Write everything to a safetensors file, atomically: tensors "model.*", "average.*",
 * "optimiser.*", and the counters as one float64 tensor "run", exact to the bit. */
mica_status mica_run_state_save(const run_state *s, const char *path);
/* Read it back; a file that is not there leaves the state as it is (a fresh start). Another
 * architecture or optimiser is MICA_ERR_FORMAT, and nothing is changed. */
mica_status mica_run_state_load(run_state *s, const char *path);

#endif
