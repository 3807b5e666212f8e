/* mica/optim.h: optimisers and schedules. They work on parameter trees and know no layer. */
#ifndef MICA_OPTIM_H
#define MICA_OPTIM_H

#include <mica/component.h>
#include <mica/param.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_optimiser mica_optimiser;

#define MICA_OPTIMISER_STATES 4

/* One parameter's update, as a component of kind MICA_KIND_OPTIMISER is asked for it. */
typedef struct mica_update {
  mica_dtype dtype;
  int64_t n;                          /* elements */
  void *weight;                       /* updated */
  const void *gradient;               /* not to be written */
  void *state[MICA_OPTIMISER_STATES]; /* n elements each, zero before the first step */
  int64_t step;                       /* 1 for the first */
  double lr;                          /* schedule and group included */
  double decay;                       /* weight decay, 0 for entries without MICA_PARAM_DECAY */
  double scale;                       /* multiply the gradient by it first */
} mica_update;

typedef struct mica_optimiser_functions {
  int states; /* tensors of the parameter's shape kept for each parameter, at most 4 */
  const char *state_name[MICA_OPTIMISER_STATES];
  /* Fields of every optimiser's options struct that the driver reads. */
  double (*lr)(const void *options);
  double (*decay)(const void *options);
  /* The number of states with these options (<= states). */
  int (*states_used)(const void *options);
  /* True where a row of zeros for a gradient changes nothing, or is meant to: with a row gradient
   * the driver then updates those rows only. NULL: never. */
  bool (*rows_only)(const void *options, double decay);
  /* Elements are independent: the driver calls it on pieces of a parameter, from several threads.
   */
  void (*update)(const mica_engine *engine, const void *options, const mica_update *u);
} mica_optimiser_functions;

/* An optimiser for every trainable entry of `params`, from text: "sgd:lr=0.1:momentum=0.9",
 * "adamw:lr=1e-3:weight_decay=0.05". The tree must outlive it. */
MICA_API mica_status mica_optimiser_create(mica_params *params, const char *spec,
                                           mica_optimiser **out);
MICA_API void mica_optimiser_free(mica_optimiser *opt);
/* Parameters whose full name matches get their own factors (the latest matching group wins). */
MICA_API mica_status mica_optimiser_group(mica_optimiser *opt, const char *pattern,
                                          double lr_factor, double decay_factor);
/* Clip the norm of all gradients before each step; 0: no clipping. */
MICA_API void mica_optimiser_clip(mica_optimiser *opt, double max_norm);
/* One step with the base rate times lr_factor (the schedule's). Refuses (and changes nothing) when
 * the tape is latched, a backward failed half-way, or the gradients' norm is not finite
 * (MICA_ERR_NUMERIC). */
MICA_API mica_status mica_optimiser_step(mica_optimiser *opt, mica_tape *t, double lr_factor);
/* The norm of the last step's gradients before clipping (computed when clipping is on; else 0). */
MICA_API double mica_optimiser_grad_norm(const mica_optimiser *opt);
MICA_API double mica_optimiser_lr(const mica_optimiser *opt); /* base rate */
/* Moments and the step counter, a tree that checkpoints save: entries "step" and
 * "<parameter>.<state>". */
MICA_API mica_params *mica_optimiser_state(mica_optimiser *opt);
/* After the state tree was overwritten by a resume. */
MICA_API void mica_optimiser_sync(mica_optimiser *opt);

/* ---- moving average of weights ---- */

/* average <- decay * average + (1 - decay) * params, buffers copied; refuses a latched tape (t may
 * be NULL). `average` is a clone of params. */
MICA_API mica_status mica_average_update(mica_params *average, const mica_params *params,
                                         double decay, const mica_tape *t);

/* ---- schedules ---- */

/* The table of a component of kind MICA_KIND_SCHEDULE: the factor of the base rate at step (from 0)
 * of total. */
typedef struct mica_schedule_functions {
  double (*factor)(const void *options, int64_t step, int64_t total);
} mica_schedule_functions;

/* "constant", "cosine:warmup=5%"...; warm-up is an option of every schedule. */
MICA_API mica_status mica_schedule_parse(mica_engine *engine, const char *spec, mica_spec **out);
MICA_API double mica_schedule_factor(const mica_spec *schedule, int64_t step, int64_t total);

/* ---- options of the built-in components ---- */

typedef struct mica_sgd_options {
  uint32_t size;
  double lr, momentum, dampening, weight_decay;
  bool nesterov;
  bool lazy; /* with row gradients, other rows keep value and momentum; without momentum and decay
                that is so anyway */
} mica_sgd_options;
#define MICA_SGD_OPTIONS                                                                           \
  { sizeof(mica_sgd_options), 0.1, 0.0, 0.0, 0.0, false, false }

/* Adam and AdamW share a struct; they differ in the default and the place of weight decay. */
typedef struct mica_adam_options {
  uint32_t size;
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad;
  bool lazy; /* with row gradients, other rows keep value and moments (PyTorch's SparseAdam) */
} mica_adam_options;
#define MICA_ADAM_OPTIONS                                                                          \
  { sizeof(mica_adam_options), 1e-3, 0.9, 0.999, 1e-8, 0.0, false, false }
#define MICA_ADAMW_OPTIONS                                                                         \
  { sizeof(mica_adam_options), 1e-3, 0.9, 0.999, 1e-8, 0.01, false, false }

typedef struct mica_schedule_options {
  uint32_t size;
  double warmup;  /* steps when >= 1, share of all steps when below; linear from 0 */
  double end;     /* final factor of linear and cosine */
  mica_floats at; /* multi-step: milestones, shares of all steps when below 1, else steps */
  double gamma;   /* multi-step: factor at each milestone */
} mica_schedule_options;
#define MICA_SCHEDULE_OPTIONS                                                                      \
  { sizeof(mica_schedule_options), 0.0, 0.0, {3, {0.3, 0.6, 0.8}}, 0.2 }

#ifdef __cplusplus
}
#endif
#endif
