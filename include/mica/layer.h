/* mica/layer.h: heads by name: what stands behind a network's features and makes classes of them.
 *
 * A head is a component of kind MICA_KIND_LAYER, chosen by a specification ("grassmann:dim=8"). A
 * network takes one with its architecture, "convnet:widths=16,32 | head=grassmann:dim=8"
 * (mica_net_create), and trains with it; the estimator "probe" fits one on features that stay as
 * they are. Parameters lie below the node "head".
 */
#ifndef MICA_LAYER_H
#define MICA_LAYER_H

#include <mica/component.h>
#include <mica/feature.h>
#include <mica/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a head is made for. */
typedef struct mica_layer_problem {
  int64_t features; /* of an example; the channels of a token too, where a head reads tokens */
  int64_t classes;
} mica_layer_problem;

/* A batch as a head reads it. Tokens come only where the component needs MICA_NEED_TOKENS. */
typedef struct mica_layer_inputs {
  mica_var features; /* [N,D]: the class token, or the tokens' mean */
  mica_var tokens;   /* [N,L,D], without a class token; MICA_NONE: none */
  mica_var map;      /* [N,H,W,D], the last one; MICA_NONE: none */
} mica_layer_inputs;

#define MICA_LAYER_PARTS 4

typedef struct mica_layer_outputs {
  mica_var logits;   /* [N,classes] */
  mica_var features; /* another embedding in place of the features; MICA_NONE: none */
  /* What a loss made for such heads reads besides: [0] the part for an older index, [1] what is
   * like an independent network's features (mica/compatible.h). */
  mica_var part[MICA_LAYER_PARTS];
} mica_layer_outputs;

/* The table of a component of kind MICA_KIND_LAYER. */
typedef struct mica_layer_functions {
  /* Create the parameters below node. */
  mica_status (*init)(mica_node *node, const void *options, const mica_layer_problem *problem);
  /* `out` comes zeroed. */
  void (*forward)(mica_tape *t, mica_node *node, const void *options, const mica_layer_inputs *in,
                  mica_layer_outputs *out);
  /* Width of the embedding that takes the features' place; NULL: they stay. */
  int64_t (*features)(const void *options, int64_t features);
  /* Change to problem->classes classes, with fresh values where that changes them; NULL: the head
   * is made anew. */
  mica_status (*resize)(mica_node *node, const void *options, const mica_layer_problem *problem);
  /* What holds for the parameters after each step of an optimiser; NULL: nothing. */
  void (*after_step)(mica_node *node, const void *options);
  /* The trained head as a fitted estimator on the features it leaves, to which classes can be
   * added; NULL: cannot be had. */
  mica_status (*estimator)(const mica_engine *engine, mica_node *node, const void *options,
                           mica_estimator **out);
} mica_layer_functions;

/* Pooling and an embedding, which heads may have in front of their classes. */
typedef struct mica_front_options {
  uint32_t size;
  int64_t dim;  /* width of a linear layer, "embed"; 0: the features as they are */
  bool norm;    /* batch norm behind that layer, "norm" */
  bool bias;    /* of that layer */
  int32_t pool; /* avg: the architecture's features; gem: generalised mean of its last map with p as
                   it is (Radenovic et al. 2018); gem-learned: p is trained */
  double p;
} mica_front_options;
#define MICA_FRONT_OPTIONS                                                                         \
  { sizeof(mica_front_options), 0, false, true, 0, 3.0 }

/* Head "linear": an embedding, layers with ReLU, and a vector and a bias for each class. */
typedef struct mica_linear_head_options {
  uint32_t size;
  mica_front_options front;
  mica_ints hidden; /* widths */
  double dropout;   /* before the last layer */
} mica_linear_head_options;
#define MICA_LINEAR_HEAD_OPTIONS                                                                   \
  { sizeof(mica_linear_head_options), MICA_FRONT_OPTIONS, {0}, 0 }

/* Head "cosine": classes as directions (mica_nn_cosine) behind an embedding. */
typedef struct mica_cosine_head_options {
  uint32_t size;
  mica_front_options front;
  mica_cosine_options cosine;
} mica_cosine_head_options;
#define MICA_COSINE_HEAD_OPTIONS                                                                   \
  { sizeof(mica_cosine_head_options), MICA_FRONT_OPTIONS, MICA_COSINE_OPTIONS }

/* ---- subspaces as classes ---- */

/* A subspace for each class (Wang et al. 2023, arXiv 2308.01547): weight [classes,dim,in], each
 * class's rows orthonormal, normal draws at first; [classes dim,in] in files. Below a node "fc", so
 * that checkpoints with `head.fc.weight` fit. MICA_ERR_INVALID for a dim above `in`. */
MICA_API mica_status mica_nn_grassmann_init(mica_node *node, int64_t in, int64_t classes,
                                            int64_t dim);
/* The same with dimensions of each class's own: class c has dims->v[c % dims->n] of them. The
 * weight has room for the most, and zeros in what a class does not have. */
MICA_API mica_status mica_nn_grassmann_init_each(mica_node *node, int64_t in, int64_t classes,
                                                 const mica_ints *dims);
/* scale |S_c x| / |x| (without the division unless `normalise`): x [N,in] -> [N,classes]. A
 * projection of length 0 has no gradient. Its weights want the update rule "rsgd", which keeps them
 * orthonormal: "adamw:lr=1e-3 | subspace=rsgd:lr=0.1". */
MICA_API mica_var mica_nn_grassmann(mica_tape *t, mica_node *node, double scale, bool normalise,
                                    mica_var x);

/* ---- moments of tokens ---- */

typedef enum mica_pairing {
  MICA_PAIR_NEAR, /* head i with i + 1: heads - 1 maps */
  MICA_PAIR_HALF, /* i with i + heads / 2: heads / 2 maps */
  MICA_PAIR_ALL,  /* every two: heads (heads - 1) / 2 maps */
  MICA_PAIR_ONE,  /* the first with each other: heads - 1 maps */
  MICA_PAIR_SELF  /* each with itself, the plain second moment: heads maps */
} mica_pairing;
typedef enum mica_centring {
  MICA_CENTRE_SCALAR, /* less one number an example and head, its mean (the authors' code) */
  MICA_CENTRE_TOKEN,  /* less each channel's mean over the tokens: covariances */
  MICA_CENTRE_NONE
} mica_centring;

/* Moment probing (Gao et al. 2023, arXiv 2307.11342): logits from the mean and from second moments
 * between groups of channels, averaged where both are there. */
typedef struct mica_moment_options {
  uint32_t size;
  int64_t hidden,
      heads;          /* channels after the projection, in so many groups; heads divides hidden */
  int32_t pairing;    /* mica_pairing */
  int32_t centre;     /* mica_centring */
  bool normalise;     /* columns of each moment get length 1 */
  bool interleaved;   /* channel j belongs to head j mod heads, else to j / (hidden / heads) */
  int64_t downs;      /* blocks of two 3x3 convolutions of stride 2 that shrink the maps */
  bool first, second; /* which moments there are; at least one */
  bool norm;          /* layer norm (eps 1e-6) of the features before the first classifier */
} mica_moment_options;
#define MICA_MOMENT_OPTIONS                                                                        \
  {                                                                                                \
    sizeof(mica_moment_options), 512, 4, MICA_PAIR_NEAR, MICA_CENTRE_SCALAR, true, false, 1, true, \
        true, false                                                                                \
  }
/* Below node: proj, ln (one norm for all heads), downblocks.B.0 and .2, classifier1, classifier2,
 * norm. MICA_ERR_INVALID for heads that do not divide hidden, or too few channels a head for the
 * convolutions. */
MICA_API mica_status mica_nn_moment_init(mica_node *node, int64_t in, int64_t classes,
                                         const mica_moment_options *o);
/* features [N,in], tokens [N,L,in] -> [N,classes]; either may be MICA_NONE where its moment is off.
 */
MICA_API mica_var mica_nn_moment(mica_tape *t, mica_node *node, const mica_moment_options *o,
                                 mica_var features, mica_var tokens);

/* What recalibrates a frozen block (PSRP of the same paper): down [rank,channels], up_weight and
 * up_bias [channels,rank], normal of deviation 0.02, or the two ups zero: then the block is at
 * first as it was. */
MICA_API mica_status mica_nn_recalibration_init(mica_node *node, int64_t channels, int64_t rank,
                                                bool zero);
/* *weight and *bias [..,channels] from x: (1 + weight) y + bias is what a block adds in place of
 * y. */
MICA_API void mica_nn_recalibration(mica_tape *t, mica_node *node, mica_var x, mica_var *weight,
                                    mica_var *bias);

/* ---- orthogonal weights ---- */

/* How a free matrix becomes an orthogonal one. With S its strict lower triangle less its transpose:
 * e^S, (1 - S/2)^-1 (1 + S/2), or the product of the Householder reflections that its columns below
 * the diagonal describe. */
typedef enum mica_orthogonal_map {
  MICA_ORTHOGONAL_EXP,
  MICA_ORTHOGONAL_CAYLEY,
  MICA_ORTHOGONAL_HOUSEHOLDER
} mica_orthogonal_map;

/* A linear layer whose weight [out,in] has orthonormal columns (rows where out < in): the first
 * columns of base Q, with Q made of the free matrix `original` and `base` a buffer, at first drawn
 * orthogonal, where Q = 1 (PyTorch's orthogonal parametrisation, whose names these are:
 * parametrizations.weight.original, .0.base). No bias. The free matrix does not decay: that would
 * pull the weight to its base. */
MICA_API mica_status mica_nn_orthogonal_init(mica_node *node, int64_t in, int64_t out);
/* The weight [out,in], and x W^T. */
MICA_API mica_var mica_nn_orthogonal_weight(mica_tape *t, mica_node *node, mica_orthogonal_map map);
MICA_API mica_var mica_nn_orthogonal(mica_tape *t, mica_node *node, mica_orthogonal_map map,
                                     mica_var x);
/* Make the present weight the base and the free matrix what it was at first: far from its base a
 * map has steep places. */
MICA_API mica_status mica_nn_orthogonal_rebase(mica_node *node, mica_orthogonal_map map);

/* ---- an embedding that an older one's index can be asked with ---- */

/* Backward-compatible training by basis transformation (Zhou et al. 2022, arXiv 2211.03989), of
 * features z [N, d + old], for an older embedding of `old` dimensions. With f = z[:d] / |z[:d]|, o
 * the first `add` of fc3 (relu z), made of length 1, and orthogonal P and Q:
 *     v = [o, P (scale f)],   b = Q v[:old],   embedding = [b, v[old:]] of d + add dimensions,
 * logits = fc_out f. The first `old` dimensions are for the older index, all of them for its own.
 */
typedef struct mica_bt2_options {
  uint32_t size;
  int64_t old, add;
  double scale;
  int32_t map; /* mica_orthogonal_map */
} mica_bt2_options;
#define MICA_BT2_OPTIONS                                                                           \
  { sizeof(mica_bt2_options), 16, 4, 2.0, MICA_ORTHOGONAL_EXP }
/* Below node: fc3, fc_out, ortholinear_p, ortholinear_old2. MICA_ERR_INVALID where the dimensions
 * do not fit: 1 <= old < features, add <= old <= d + add. */
MICA_API mica_status mica_nn_bt2_init(mica_node *node, int64_t features, int64_t classes,
                                      const mica_bt2_options *o);
/* Embedding and logits; *old_part (may be NULL) is b, *new_part (may be NULL) is f. */
MICA_API mica_var mica_nn_bt2(mica_tape *t, mica_node *node, const mica_bt2_options *o, mica_var z,
                              mica_var *logits, mica_var *old_part, mica_var *new_part);

#ifdef __cplusplus
}
#endif
#endif
