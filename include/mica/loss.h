/* mica/loss.h: losses as components: what the trainer composes from text
 * ("ce:smoothing=0.1+0.5*kd"). */
#ifndef MICA_LOSS_H
#define MICA_LOSS_H

#include <mica/component.h>
#include <mica/layer.h>
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
  mica_var mask;                   /* [N,L]: 1 where a position holds something, 0 elsewhere */
  mica_var class_means;            /* [C,Dt]: mean teacher features of each class, detached */
  mica_var guide_features;         /* of a second teacher: an independent model of the same task */
  mica_var part[MICA_LAYER_PARTS]; /* what the head gives besides (mica/layer.h) */
  /* Maps, tokens or vectors of the same places in both networks, first to last; the teacher's are
   * detached. */
  int taps;
  mica_var tap[MICA_LOSS_TAPS], teacher_tap[MICA_LOSS_TAPS];
  double epoch;               /* whole passes over the stream that are done */
  mica_params *params;        /* the network's own; NULL: not given */
  const mica_params *teacher; /* the teacher's; NULL: none */
  mica_node *teacher_head;    /* its last linear layer; NULL: none */
  mica_var map;               /* [N,H,W,C]: the last map of the architecture */
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

/* Losses of the features by class, for batches that hold several examples of a class (sampler
 * "classes"). Triplets (Schroff et al. 2015): max(0, d(a, p) - d(a, n) + margin), d the distance.
 */
typedef struct mica_triplet_options {
  uint32_t size;
  double margin;
  int32_t mining; /* hard: the mean over examples, of each the farthest of its class and the nearest
                     other (Hermans et al. 2017) | all: the mean over those of all triplets that are
                     above 0 */
  bool soft;      /* ln(1 + e^x) in place of max(0, x); of `hard` alone */
  bool squared, normalise;
} mica_triplet_options;
#define MICA_TRIPLET_OPTIONS                                                                       \
  { sizeof(mica_triplet_options), 0.3, 0, false, false, true }

/* Half the mean squared distance of pairs of one class and half the mean of
 * max(0, margin - distance)^2 of the others (Hadsell, Chopra & LeCun 2006). */
typedef struct mica_contrastive_options {
  uint32_t size;
  double margin;
  bool normalise;
} mica_contrastive_options;
#define MICA_CONTRASTIVE_OPTIONS                                                                   \
  { sizeof(mica_contrastive_options), 1.0, true }

/* The mean over examples a of ln(1 + sum over positives p and negatives n of
 * e^(scale (f_a f_n - f_a f_p))) (Medela & Picon 2019), over all triplets of the batch. */
typedef struct mica_constellation_options {
  uint32_t size;
  double scale;
  bool normalise;
} mica_constellation_options;
#define MICA_CONSTELLATION_OPTIONS                                                                 \
  { sizeof(mica_constellation_options), 8.0, true }

/* Cross-entropy of -scale |x - mean|^2 or scale cosine, the means those of the first `shots`
 * examples of each class in the batch, x the others (Snell et al. 2017). */
typedef struct mica_prototypical_options {
  uint32_t size;
  int64_t shots;
  int32_t metric; /* euclidean|cosine */
  double scale;
} mica_prototypical_options;
#define MICA_PROTOTYPICAL_OPTIONS                                                                  \
  { sizeof(mica_prototypical_options), 1, 0, 1.0 }

/* ---- local descriptors ---- */

/* Pairs of rows of q [m, D] and p [n, D] (float32 or float64, contiguous) that are each other's
 * nearest by Euclidean distance, of which p's is at most `ratio` times as far as the second nearest
 * (Lowe 2004; 0: any) and has keep[j] (NULL: all). In the order of p's rows, into q_row and p_row
 * [n each]; returns how many. Equal distances: the earlier row. */
MICA_API int64_t mica_mutual_matches(const mica_view *q, const mica_view *p, double ratio,
                                     const bool *keep, int64_t *q_row, int64_t *p_row);

typedef struct mica_local_triplet_options {
  uint32_t size;
  int64_t tuple;  /* examples of a tuple: query, positive, negatives; at least 3 */
  double margin;  /* of squared distances */
  double ratio;   /* of plain distances, 0: no such test */
  bool attention; /* match only the half of the positive's places with most attention */
} mica_local_triplet_options;
#define MICA_LOCAL_TRIPLET_OPTIONS                                                                 \
  { sizeof(mica_local_triplet_options), 8, 0.1, 0.9, true }
/* Local descriptors [N,K,D], which are made of length 1 first, and their attention [N,K], N in
 * tuples, one behind the other (what is left over is passed over): the SUM over tuples, over mutual
 * matches (u, v) of its query and positive, and over its negatives of max(0, |u - v|^2 - |u - x|^2
 * + margin), x the negative's descriptor that is nearest to u (Zhu et al. 2023, CFCD). 0 without a
 * match. Matches are constants for the gradient. */
MICA_API mica_var mica_local_triplet(mica_tape *t, mica_var local, mica_var attention,
                                     const mica_local_triplet_options *o);

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
