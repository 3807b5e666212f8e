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

#define MICA_LOSS_TAPS 16

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
  mica_var mask;        /* [N,L]: 1 where a position holds something, 0 elsewhere */
  mica_var class_means; /* [C,Dt]: mean teacher features of each class, detached */
  /* Maps, tokens or vectors of the same places in both networks, first to last; the teacher's are
   * detached. */
  int taps;
  mica_var tap[MICA_LOSS_TAPS], teacher_tap[MICA_LOSS_TAPS];
  double epoch;               /* whole passes over the stream that are done */
  const mica_params *teacher; /* its parameters; NULL: none */
  mica_node *teacher_head;    /* its last linear layer; NULL: none */
} mica_loss_inputs;

/* What a loss's own parameters are made for. */
typedef struct mica_loss_shapes {
  uint32_t size;
  int64_t classes, features;
  int64_t teacher_features;                                    /* 0: no teacher */
  int taps;                                                    /* as in mica_loss_inputs */
  mica_shape tap[MICA_LOSS_TAPS], teacher_tap[MICA_LOSS_TAPS]; /* of some examples */
  const mica_params *teacher;                                  /* NULL: none */
  mica_node *teacher_head;                                     /* likewise */
} mica_loss_shapes;

/* The table of a component of kind MICA_KIND_LOSS. */
typedef struct mica_loss_functions {
  /* Create the loss's own parameters and state below node; NULL when it has none. */
  mica_status (*init)(mica_node *node, const void *options, int64_t classes, int64_t features);
  /* A scalar. */
  mica_var (*forward)(mica_tape *t, mica_node *node, const void *options,
                      const mica_loss_inputs *in);
  /* In the place of init, for a loss whose parameters depend on a teacher; NULL: init. */
  mica_status (*init_with)(mica_node *node, const void *options, const mica_loss_shapes *shapes);
} mica_loss_functions;

/* A parsed weighted sum of losses with its parameters below `node` (term i at "loss.i"). */
typedef struct mica_loss mica_loss;
MICA_API mica_status mica_loss_create(mica_engine *engine, const char *text, mica_node *node,
                                      int64_t classes, int64_t features, mica_loss **out);
/* The same beside a teacher. */
MICA_API mica_status mica_loss_create_with(mica_engine *engine, const char *text, mica_node *node,
                                           const mica_loss_shapes *shapes, mica_loss **out);
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
  double warmup; /* epochs: weight min(1, epoch / warmup), epochs from 0; 0: 1 from the start */
} mica_kd_options;
#define MICA_KD_OPTIONS                                                                            \
  { sizeof(mica_kd_options), 4.0, 0.0 }

/* Decoupled distillation (Zhao et al. 2022): alpha T^2 KL over (the label's probability, the rest)
 * and beta T^2 KL over the classes but the label's. */
typedef struct mica_dkd_options {
  uint32_t size;
  double t, alpha, beta, warmup;
} mica_dkd_options;
#define MICA_DKD_OPTIONS                                                                           \
  { sizeof(mica_dkd_options), 4.0, 1.0, 8.0, 0.0 }

/* DIST (Huang et al. 2022): T^2 (beta (1 - Pearson's correlation of each example's probabilities)
 * + gamma (1 - that of each class's)), both means. */
typedef struct mica_dist_options {
  uint32_t size;
  double t, beta, gamma, warmup;
} mica_dist_options;
#define MICA_DIST_OPTIONS                                                                          \
  { sizeof(mica_dist_options), 1.0, 1.0, 1.0, 0.0 }

/* Norm and direction (Wang et al. 2023): mean of 1 - <s, e> / max(|s|, |t|), s the student's and t
 * the teacher's features of an example, e a direction. Where the widths differ s goes through
 * batch norm, dropout and a linear layer of the loss's own. */
typedef enum mica_nd_form {
  MICA_ND_BOTH,
  MICA_ND_DIRECTION, /* 1 - cos(s, e) */
  MICA_ND_NORM,      /* 1 - |s| / max(|s|, |t|) */
  MICA_ND_MSE        /* mean (s - c)^2, c what e is the direction of */
} mica_nd_form;
typedef enum mica_nd_target {
  MICA_ND_CLASS, /* e: of the teacher's mean over the example's class */
  MICA_ND_SAMPLE /* e: of t */
} mica_nd_target;
typedef struct mica_nd_options {
  uint32_t size;
  int32_t form;   /* mica_nd_form */
  int32_t target; /* mica_nd_target */
  double dropout, warmup;
} mica_nd_options;
#define MICA_ND_OPTIONS                                                                            \
  { sizeof(mica_nd_options), MICA_ND_BOTH, MICA_ND_CLASS, 0.5, 0.0 }

/* Knowledge review (Chen et al. 2021): the student's taps, from the last to the first, fused by
 * attention, against the teacher's at several resolutions. */
typedef struct mica_review_options {
  uint32_t size;
  int64_t width; /* of the fused maps; 0: the last tap's channels, at most 512 */
  double warmup;
} mica_review_options;
#define MICA_REVIEW_OPTIONS                                                                        \
  { sizeof(mica_review_options), 0, 0.0 }

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
