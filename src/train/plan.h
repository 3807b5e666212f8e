/* The stages of a run: what each trains, with which loss, rule and schedule, and what it puts back
 * before it begins. */
#ifndef MICA_TRAIN_PLAN_H
#define MICA_TRAIN_PLAN_H

#include <mica/train.h>

#define MICA_STAGES       64 /* the most of a run */
#define MICA_STAGE_LOSSES 64 /* the most streams with a loss of their own */

/* The keys of a stage, as train.h tells them. */
typedef struct mica_stage_options {
  uint32_t size;
  int64_t epochs;
  const char *train, *freeze, *unfreeze;
  const char *loss, *optimiser, *schedule; /* NULL: as the stage before */
  double lr;
  const char *rewind;
  int64_t rewind_epoch, rewind_step;
  const char *retrain;
  int32_t state; /* 0: keep, 1: reset */
} mica_stage_options;
extern const mica_component mica_component_stage;

/* One loss for all streams, or one for each. */
typedef struct mica_losses {
  mica_loss *loss[MICA_STAGE_LOSSES];
  int n;
} mica_losses;

typedef struct mica_stage {
  mica_spec *spec;
  mica_stage_options o;
  bool own_losses, own_schedule, new_optimiser; /* not those of the stage before */
  mica_losses *losses;
  mica_spec *schedule;
  const char *optimiser;
  int64_t rewind_to; /* the step whose values come back, -1: none */
} mica_stage;

typedef struct mica_plan {
  int64_t n;
  mica_stage *stage;
  mica_params *params;
  uint32_t *flags; /* of the entries before the run, which mica_plan_free puts back */
  int64_t entries;
  uint64_t seed;
} mica_plan;

/* Everything that can be wrong with a plan is found here. */
mica_status mica_plan_create(mica_net *net, const mica_train_options *o, int64_t steps_of_epoch,
                             mica_plan *out);
void mica_plan_free(mica_plan *plan);
/* Set the flags of stage k, after those of the stages before it. */
void mica_plan_flags(const mica_plan *plan, int64_t k);
/* Is the value after `step` steps one that a stage after k puts back? */
bool mica_plan_keeps(const mica_plan *plan, int64_t k, int64_t step);
/* Draw initial values again as stage k says. */
mica_status mica_plan_retrain(const mica_plan *plan, int64_t k);
/* Copy the values of the selected entries. */
void mica_plan_copy(mica_params *to, const mica_params *from, const char *selection);

#endif
