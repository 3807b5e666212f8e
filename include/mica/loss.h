/* mica/loss.h: losses as components: what the trainer composes from text
 * ("ce:smoothing=0.1+0.5*kd"). */
#ifndef MICA_LOSS_H
#define MICA_LOSS_H

#include <mica/component.h>
#include <mica/ops.h>
#include <mica/param.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a step has to offer a loss; what is absent is MICA_NONE. The descriptor's `needs` says which
 * fields a loss reads, and the trainer refuses to start when one cannot be had. */
typedef struct mica_loss_inputs {
  mica_var logits;         /* [N,C] */
  mica_var features;       /* [N,D] */
  mica_var labels;         /* int64 [N] */
  mica_var ids;            /* int64 [N] */
  mica_var targets;        /* float [N,..]: soft labels or regression targets */
  mica_var teacher_logits; /* [N,C], detached */
  mica_var teacher_features;
  mica_var mask; /* [N,L]: 1 where a position holds something, 0 elsewhere */
} mica_loss_inputs;

/* The table of a component of kind MICA_KIND_LOSS. */
typedef struct mica_loss_functions {
  /* Create the loss's own parameters and state below node; NULL when it has none. */
  mica_status (*init)(mica_node *node, const void *options, int64_t classes, int64_t features);
  /* A scalar. */
  mica_var (*forward)(mica_tape *t, mica_node *node, const void *options,
                      const mica_loss_inputs *in);
} mica_loss_functions;

/* A parsed weighted sum of losses with its parameters below `node` (term i at "loss.i"). */
typedef struct mica_loss mica_loss;
MICA_API mica_status mica_loss_create(mica_engine *engine, const char *text, mica_node *node,
                                      int64_t classes, int64_t features, mica_loss **out);
MICA_API void mica_loss_free(mica_loss *loss);
/* All MICA_NEED_* bits of its terms. */
MICA_API uint32_t mica_loss_needs(const mica_loss *loss);
/* MICA_ERR_INVALID, naming the loss and what it lacks, where a term needs more than the MICA_NEED_*
 * bits in `provided`. */
MICA_API mica_status mica_loss_check(const mica_loss *loss, uint32_t provided);
/* Sum of weight times term; latches, naming the loss, where an input that a term needs is absent.
 */
MICA_API mica_var mica_loss_forward(mica_tape *t, const mica_loss *loss,
                                    const mica_loss_inputs *in);

/* ---- options of the built-in losses ---- */

typedef struct mica_ce_options {
  uint32_t size;
  double smoothing; /* [0, 1]: target (1 - s) one-hot + s / classes */
} mica_ce_options;
#define MICA_CE_OPTIONS                                                                            \
  { sizeof(mica_ce_options), 0.0 }

typedef struct mica_kd_options {
  uint32_t size;
  double t; /* temperature, > 0: T^2 KL(softmax(teacher / T) || softmax(logits / T)); Hinton et al.
               2015 */
} mica_kd_options;
#define MICA_KD_OPTIONS                                                                            \
  { sizeof(mica_kd_options), 4.0 }

typedef struct mica_bce_options {
  uint32_t size;
  double pos_weight; /* >= 0: how much a target of 1 counts, as PyTorch's */
} mica_bce_options;
#define MICA_BCE_OPTIONS                                                                           \
  { sizeof(mica_bce_options), 1.0 }

typedef struct mica_focal_options {
  uint32_t size;
  double gamma; /* >= 0 */
  double alpha; /* binary_focal: weight of targets of 1, at most 1; below 0: none */
} mica_focal_options;
#define MICA_FOCAL_OPTIONS                                                                         \
  { sizeof(mica_focal_options), 2.0, 0.25 }

typedef struct mica_hinge_options {
  uint32_t size;
  int32_t form;  /* against_label (mica_multi_margin) | one_vs_all (mica_hinge) */
  double margin; /* >= 0 */
  bool squared;
} mica_hinge_options;
#define MICA_HINGE_OPTIONS                                                                         \
  { sizeof(mica_hinge_options), 0, 1.0, false }

typedef struct mica_dice_options {
  uint32_t size;
  double smooth; /* >= 0 */
  bool squared;
} mica_dice_options;
#define MICA_DICE_OPTIONS                                                                          \
  { sizeof(mica_dice_options), 1.0, false }

typedef struct mica_huber_options {
  uint32_t size;
  double delta; /* > 0 */
} mica_huber_options;
#define MICA_HUBER_OPTIONS                                                                         \
  { sizeof(mica_huber_options), 1.0 }

#ifdef __cplusplus
}
#endif
#endif
