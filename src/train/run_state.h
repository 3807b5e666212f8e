/* All that a training step changes, and its file. */
#ifndef MICA_TRAIN_RUN_STATE_H
#define MICA_TRAIN_RUN_STATE_H

#include <mica/optim.h>

/* Values of an earlier step, which a later stage goes back to. */
typedef struct run_snapshot {
  int64_t step;
  mica_params *values;
} run_snapshot;

#define RUN_SNAPSHOTS 64

typedef struct run_state {
  mica_params *params, *average; /* average may be NULL */
  mica_optimiser *optimiser;
  run_snapshot snapshot[RUN_SNAPSHOTS];
  int snapshots;
  int64_t epoch, step, step_in_epoch;
  int64_t examples;           /* seen in all */
  int64_t best_epoch;         /* -1: none yet */
  int64_t stage, stage_epoch; /* and the first epoch of the stage */
  double best_accuracy, best_loss, loss_sum, last_loss;
} run_state;

/* Write everything to a safetensors file, atomically: tensors "model.*", "average.*",
 * "optimiser.*", "snapshot.STEP.*", "mask.*" of the model, and the counters as one float64 tensor
 * "run", exact to the bit. */
mica_status mica_run_state_save(const run_state *s, const char *path);
/* The counters alone, which say what the trees of the state are to be; *found is false, and nothing
 * changed, where there is no file. */
mica_status mica_run_state_counters(run_state *s, const char *path, bool *found);
/* Read it back. Another architecture, optimiser or mask is MICA_ERR_FORMAT, and nothing is changed;
 * masks that only the file has are given to the model. */
mica_status mica_run_state_load(run_state *s, const char *path);
/* Keep the values as they are now; drop those of a step. */
mica_status mica_run_state_keep(run_state *s, int64_t step);
void mica_run_state_drop(run_state *s, int index);

#endif
