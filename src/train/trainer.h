/* What the files of the trainer share. */
#ifndef MICA_TRAIN_TRAINER_H
#define MICA_TRAIN_TRAINER_H

#include "train/plan.h"
#include "train/run_state.h"

typedef struct mica_trainer {
  const mica_train_options *o;
  mica_net *net;
  const mica_stream *train, *validation;
  mica_tape *tape;
  mica_plan plan;
  run_state state;
  double start; /* seconds */
} mica_trainer;

static inline const mica_stage *mica_trainer_stage(const mica_trainer *r) {
  return &r->plan.stage[r->state.stage];
}

/* One update from `micro` batches of the stream, at the base rate times `factor`; their mean loss
 * in *loss. */
mica_status mica_trainer_step(mica_trainer *r, int64_t micro, double factor, double *loss);
/* What a loss of any stage may ask for and the stream's first batch does not have is an error. */
mica_status mica_trainer_check_losses(const mica_trainer *r);

#endif
