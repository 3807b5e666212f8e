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
#define MICA_OPTIMISER_SUMS   2

/* One parameter's update, as a component of kind MICA_KIND_OPTIMISER is asked for it. */
typedef struct mica_update {
  mica_dtype dtype;
  int64_t n;                          /* elements */
  void *weight;                       /* updated */
  const void *gradient;               /* not to be written */
  void *state[MICA_OPTIMISER_STATES]; /* n elements, zero before the first step; NULL: unused */
  int64_t step;                       /* of this parameter, 1 for the first */
  double lr;                          /* schedule and group included */
  double decay;                       /* weight decay, 0 for entries without MICA_PARAM_DECAY */
  double scale;                       /* multiply the gradient by it first */
  uint32_t flags;                     /* the parameter's MICA_PARAM_* bits */
  double sum[MICA_OPTIMISER_SUMS];    /* what prepare summed over the whole parameter */
  const mica_shape *shape;            /* of the whole parameter */
} mica_update;

typedef struct mica_optimiser_functions {
  int states; /* tensors of the parameter's shape kept for each parameter, at most 4 */
  const char *state_name[MICA_OPTIMISER_STATES];
  /* Fields of every optimiser's options struct that the driver reads. */
  double (*lr)(const void *options);
  double (*decay)(const void *options);
  /* Which states are kept with these options: bit i for state i. */
  uint32_t (*states_used)(const void *options);
  /* True where a row of zeros for a gradient changes nothing, or is meant to: with a row gradient
   * the driver then updates those rows only. NULL: never. */
  bool (*rows_only)(const void *options, double decay);
  /* Elements are independent: the driver calls it on pieces of a parameter, from several threads.
   */
  void (*update)(const mica_engine *engine, const void *options, const mica_update *u);
  /* For rules that need a sum over the whole parameter, such as a norm: called on every piece
   * before update is called on any; adds to sum, and may write the states. The driver adds the
   * pieces up in their order. With rows_only the sums are those of the rows that have a gradient.
   * NULL: none. */
  void (*prepare)(const mica_engine *engine, const void *options, const mica_update *u,
                  double sum[MICA_OPTIMISER_SUMS]);
  /* In place of update, for rules whose elements depend on each other: called once with the whole
   * parameter and its dense gradient. May refuse, and then has changed nothing but the states. A
   * mask of elements is an error with it. NULL: update. */
  mica_status (*whole)(const mica_engine *engine, const void *options, const mica_update *u);
} mica_optimiser_functions;

/* An optimiser for every trainable entry of `params`, from text: "sgd:lr=0.1:momentum=0.9",
 * "adamw:lr=1e-3:weight_decay=0.05". Parameters may have rules of their own, as in
 *
 *     adamw:lr=1e-3 | embedding.*=adagrad:lr=0.05 | *.bias,*.scale=sgd:lr=0.1
 *
 * where a rule begins with a selection (mica/param.h) of what it is for. The first rule may go
 * without and is then for all the others; each parameter has one rule, the last that matches. A
 * parameter without a rule is MICA_ERR_INVALID, a selection of nothing MICA_ERR_NOT_FOUND. The tree
 * must outlive the optimiser. */
MICA_API mica_status mica_optimiser_create(mica_params *params, const char *spec,
                                           mica_optimiser **out);
MICA_API void mica_optimiser_free(mica_optimiser *opt);
/* Selected parameters get their own factors (the latest group that selects one wins). */
MICA_API mica_status mica_optimiser_group(mica_optimiser *opt, const char *selection,
                                          double lr_factor, double decay_factor);
/* Clip the norm of all gradients before each step; 0: no clipping. */
MICA_API void mica_optimiser_clip(mica_optimiser *opt, double max_norm);
/* One step with the base rate times lr_factor (the schedule's). Refuses (and changes nothing) when
 * the tape is latched, a backward failed half-way, or the gradients' norm is not finite
 * (MICA_ERR_NUMERIC). */
MICA_API mica_status mica_optimiser_step(mica_optimiser *opt, mica_tape *t, double lr_factor);
/* The norm of the last step's gradients before clipping (computed when clipping is on; else 0). */
MICA_API double mica_optimiser_grad_norm(const mica_optimiser *opt);
MICA_API double mica_optimiser_lr(const mica_optimiser *opt); /* base rate of the first rule */
/* Moments and step counters, a tree that checkpoints save: "step" (of the optimiser),
 * "<parameter>.step" (those in which the parameter had a gradient) and "<parameter>.<state>". */
MICA_API mica_params *mica_optimiser_state(mica_optimiser *opt);
/* After the state tree was overwritten by a resume. */
MICA_API void mica_optimiser_sync(mica_optimiser *opt);
/* After flags were set: what has become trainable gets its state. What is trainable no longer is
 * left alone, its state too. */
MICA_API mica_status mica_optimiser_refresh(mica_optimiser *opt);
/* The selected parameters begin again: zero state, step 0. NULL: all of them. */
MICA_API void mica_optimiser_reset(mica_optimiser *opt, const char *selection);

/* ---- moving average of weights ---- */

/* average <- decay * average + (1 - decay) * params, buffers copied; refuses a latched tape (t may
 * be NULL). `average` is a clone of params. */
MICA_API mica_status mica_average_update(mica_params *average, const mica_params *params,
                                         double decay, const mica_tape *t);

/* ---- schedules ---- */

/* The table of a component of kind MICA_KIND_SCHEDULE. Its options begin as those of
 * mica_schedule_options do, with `size` and `warmup`. */
typedef struct mica_schedule_functions {
  /* The factor of the base rate at step (from 0) of total; base is 0 where it is not known. */
  double (*factor)(const void *options, double base, int64_t step, int64_t total);
  bool own_warmup; /* the factor begins with a warm-up of its own */
  /* What the ranges of single options do not say; NULL: nothing. */
  mica_status (*check)(const void *options);
} mica_schedule_functions;

/* "constant", "cosine:warmup=0.05"...; warm-up is an option of every schedule. Schedules move the
 * learning rate alone: none moves a momentum. */
MICA_API mica_status mica_schedule_parse(mica_engine *engine, const char *spec, mica_spec **out);
/* The factor of the base rate `base` at step (from 0) of total. */
MICA_API double mica_schedule_rate(const mica_spec *schedule, double base, int64_t step,
                                   int64_t total);
/* The same where the base rate is not known: options that are rates (final_lr) do nothing. */
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

/* Adagrad (Duchi, Hazan & Singer 2011), PyTorch's form. A row without a gradient does not change
 * when nothing decays, so row gradients then cost what they hold. */
typedef struct mica_adagrad_options {
  uint32_t size;
  double lr, lr_decay, weight_decay, initial, eps; /* rate lr / (1 + (step - 1) lr_decay);
                                                      `initial` is added to the sum of squares */
  bool lazy; /* with row gradients, other rows keep their value though weights decay */
} mica_adagrad_options;
#define MICA_ADAGRAD_OPTIONS                                                                       \
  { sizeof(mica_adagrad_options), 1e-2, 0.0, 0.0, 0.0, 1e-10, false }

/* RMSProp (Tieleman & Hinton 2012), centred as in Graves 2013; PyTorch's form. */
typedef struct mica_rmsprop_options {
  uint32_t size;
  double lr, alpha, eps, momentum, weight_decay;
  bool centred; /* divide by the deviation of the gradient instead of its root mean square */
  bool lazy;    /* with row gradients, other rows keep value and moments */
} mica_rmsprop_options;
#define MICA_RMSPROP_OPTIONS                                                                       \
  { sizeof(mica_rmsprop_options), 1e-2, 0.99, 1e-8, 0.0, 0.0, false, false }

/* Which parameters of LAMB and LARS have a rate of their own. The others, by default biases and
 * those of normalisations, take the plain step. */
typedef enum mica_adapted { MICA_ADAPTED_DECAYED, MICA_ADAPTED_ALL } mica_adapted;

/* LAMB (You et al. 2020, algorithm 2): Adam's direction r plus decay times w, made as long as
 * min(|w|, bound) times the rate. A parameter of norm zero, or without a direction, takes the plain
 * step. */
typedef struct mica_lamb_options {
  uint32_t size;
  double lr, beta1, beta2, eps, weight_decay;
  double bound;    /* of |w| in the ratio; 0: none */
  bool correct;    /* correct the moments for their start at zero, as Adam does */
  int32_t adapted; /* mica_adapted */
  bool lazy;       /* with row gradients, rows without one keep value and moments, and do not count
                      in the norms */
} mica_lamb_options;
#define MICA_LAMB_OPTIONS                                                                          \
  {                                                                                                \
    sizeof(mica_lamb_options), 1e-3, 0.9, 0.999, 1e-6, 0.01, 0.0, true, MICA_ADAPTED_DECAYED,      \
        false                                                                                      \
  }

/* LARS (You, Gitman & Ginsburg 2017, algorithm 1): momentum over steps of the rate times
 * trust |w| / (|g| + decay |w| + eps). A parameter of norm zero, or without a gradient, takes the
 * plain step. */
typedef struct mica_lars_options {
  uint32_t size;
  double lr, momentum, weight_decay, trust, eps;
  int32_t adapted; /* mica_adapted */
  bool lazy;       /* with row gradients, rows without one keep value and momentum, and do not count
                      in the norms */
} mica_lars_options;
#define MICA_LARS_OPTIONS                                                                          \
  { sizeof(mica_lars_options), 1.0, 0.9, 0.0, 1e-3, 0.0, MICA_ADAPTED_DECAYED, false }

/* Riemannian SGD on Grassmann manifolds (Wang et al. 2023, arXiv 2308.01547), for entries [classes,
 * dim, in] or [dim, in] of orthonormal rows, dim at most in. With the horizontal part G = U diag(s)
 * V^T of the momentum, a subspace S moves along the geodesic to (S V cos(rate s) - U sin(rate s))
 * V^T. Weights do not decay. */
typedef enum mica_retraction { MICA_RETRACTION_GEODESIC, MICA_RETRACTION_QR } mica_retraction;
typedef struct mica_rsgd_options {
  uint32_t size;
  double lr; /* radians for a singular value of 1 */
  double momentum, dampening;
  int64_t reorth;     /* rows are made orthonormal again at steps 1, 1 + reorth, ...; 0: never */
  int32_t retraction; /* mica_retraction */
  /* Signs of rows made orthonormal again: those with which they point as before, or those that
   * Householder's QR gives, as the authors' code has them, where the momentum of a row that is
   * turned round points the wrong way. */
  int32_t signs; /* positive | householder */
} mica_rsgd_options;
#define MICA_RSGD_OPTIONS                                                                          \
  { sizeof(mica_rsgd_options), 0.1, 0.9, 0.0, 5, MICA_RETRACTION_GEODESIC, 0 }

typedef struct mica_schedule_options {
  uint32_t size;
  double warmup;   /* steps when >= 1, share of all steps when below; linear from 0 */
  double end;      /* final factor of linear, cosine and polynomial */
  mica_floats at;  /* multi-step: milestones, shares of all steps when below 1, else steps */
  double gamma;    /* factor at each milestone of multi-step, after each part of step */
  double final_lr; /* the final rate itself, in place of `end`; 0: `end` holds */
  double power;    /* polynomial: end + (1 - end) (1 - share of the steps)^power */
  double every;    /* step: length of a part, a share of all steps when below 1, else steps */
} mica_schedule_options;
#define MICA_SCHEDULE_OPTIONS                                                                      \
  { sizeof(mica_schedule_options), 0.0, 0.0, {3, {0.3, 0.6, 0.8}}, 0.2, 0.0, 1.0, 0.3 }

/* Warm-up, stable, decay (Hu et al. 2024): the base rate until the last part. With p from 0 to 1
 * through that part, and e the final factor: linear e + (1 - e) (1 - p); cosine e + (1 - e)
 * (1 + cos(pi p)) / 2; sqrt e + (1 - e) (1 - sqrt(p)) (Hagele et al. 2024); exponential e^p. */
typedef enum mica_decay_form {
  MICA_DECAY_LINEAR,
  MICA_DECAY_COSINE,
  MICA_DECAY_SQRT,
  MICA_DECAY_EXPONENTIAL
} mica_decay_form;
typedef struct mica_wsd_options {
  uint32_t size;
  double warmup, decay, end, final_lr; /* warmup and decay: steps when >= 1, else shares of all */
  int32_t form;                        /* mica_decay_form */
} mica_wsd_options;
#define MICA_WSD_OPTIONS                                                                           \
  { sizeof(mica_wsd_options), 0.05, 0.1, 0.0, 0.0, MICA_DECAY_LINEAR }

/* One cycle (Smith & Topin 2019), PyTorch's OneCycleLR with pct_start = warmup, div_factor =
 * 1 / start, final_div_factor = start / end; the momentum stays as it is. */
typedef enum mica_cycle_form { MICA_CYCLE_COSINE, MICA_CYCLE_LINEAR } mica_cycle_form;
typedef struct mica_onecycle_options {
  uint32_t size;
  double warmup, start, end; /* warmup: steps when >= 1, else a share of all */
  int32_t form;              /* mica_cycle_form */
  bool three_phase;
} mica_onecycle_options;
#define MICA_ONECYCLE_OPTIONS                                                                      \
  { sizeof(mica_onecycle_options), 0.3, 0.04, 4e-6, MICA_CYCLE_COSINE, false }

#ifdef __cplusplus
}
#endif
#endif
