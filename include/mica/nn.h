/* mica/nn.h: layers: an init function that creates parameters under a node, and a forward.
 *
 * Initial values follow PyTorch's defaults for the layer unless said otherwise. Names below the
 * node are those of the well-known checkpoints (weight, bias, running_mean, ...). A forward opens a
 * scope with the node's name, so errors, random draws and taps carry the module path.
 */
#ifndef MICA_NN_H
#define MICA_NN_H

#include <mica/ops.h>
#include <mica/param.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Open a scope with the node's own name: the first line of a layer's forward. */
MICA_API void mica_nn_enter(mica_tape *t, const mica_node *node);

/* weight [out, in] ~ U(+-1/sqrt(in)), bias [out] likewise when asked. y = x W^T + b, through the
 * node's adapter when it has one. */
MICA_API mica_status mica_nn_linear_init(mica_node *node, int64_t in, int64_t out, bool bias);
MICA_API mica_var mica_nn_linear(mica_tape *t, mica_node *node, mica_var x);

/* weight [out, kh, kw, in / groups] ~ U(+-1/sqrt(fan in)); a zero in `init` (NULL) keeps that
 * default. */
MICA_API mica_status mica_nn_conv2d_init(mica_node *node, int64_t in, int64_t out, int64_t kh,
                                         int64_t kw, int64_t groups, bool bias,
                                         const mica_init *init);
MICA_API mica_var mica_nn_conv2d(mica_tape *t, mica_node *node, const mica_conv_options *o,
                                 mica_var x);

/* The same of lines and volumes: weight [out, k, in / groups] and [out, kd, kh, kw, in / groups].
 */
MICA_API mica_status mica_nn_conv1d_init(mica_node *node, int64_t in, int64_t out, int64_t k,
                                         int64_t groups, bool bias, const mica_init *init);
MICA_API mica_var mica_nn_conv1d(mica_tape *t, mica_node *node, const mica_conv_options *o,
                                 mica_var x);
MICA_API mica_status mica_nn_conv3d_init(mica_node *node, int64_t in, int64_t out, int64_t kd,
                                         int64_t kh, int64_t kw, int64_t groups, bool bias,
                                         const mica_init *init);
MICA_API mica_var mica_nn_conv3d(mica_tape *t, mica_node *node, const mica_conv3d_options *o,
                                 mica_var x);
/* Transposed: weight [in, kernel, out / groups] ~ U(+-1/sqrt(out / groups kernel)), as PyTorch's.
 */
MICA_API mica_status mica_nn_conv_transpose1d_init(mica_node *node, int64_t in, int64_t out,
                                                   int64_t k, int64_t groups, bool bias,
                                                   const mica_init *init);
MICA_API mica_var mica_nn_conv_transpose1d(mica_tape *t, mica_node *node,
                                           const mica_conv_options *o, mica_var x);
MICA_API mica_status mica_nn_conv_transpose2d_init(mica_node *node, int64_t in, int64_t out,
                                                   int64_t kh, int64_t kw, int64_t groups,
                                                   bool bias, const mica_init *init);
MICA_API mica_var mica_nn_conv_transpose2d(mica_tape *t, mica_node *node,
                                           const mica_conv_options *o, mica_var x);
MICA_API mica_status mica_nn_conv_transpose3d_init(mica_node *node, int64_t in, int64_t out,
                                                   int64_t kd, int64_t kh, int64_t kw,
                                                   int64_t groups, bool bias,
                                                   const mica_init *init);
MICA_API mica_var mica_nn_conv_transpose3d(mica_tape *t, mica_node *node,
                                           const mica_conv3d_options *o, mica_var x);

/* weight, bias [c] (1 and 0, no weight decay), running_mean, running_var, num_batches_tracked
 * (int64). Training: batch statistics, and running <- 0.9 running + 0.1 batch (variance unbiased)
 * is queued for mica_commit. Evaluation: the running ones. act: MICA_IDENTITY or what follows at
 * once. */
MICA_API mica_status mica_nn_batch_norm_init(mica_node *node, int64_t channels);
MICA_API mica_var mica_nn_batch_norm(mica_tape *t, mica_node *node, mica_activation act,
                                     mica_var x);

typedef struct mica_norm_options {
  uint32_t size;
  double eps;
  double momentum; /* share of the batch in the running statistics */
} mica_norm_options;
#define MICA_NORM_OPTIONS                                                                          \
  { sizeof(mica_norm_options), 1e-5, 0.1 }
/* The same with another eps and momentum. */
MICA_API mica_var mica_nn_batch_norm_with(mica_tape *t, mica_node *node, const mica_norm_options *o,
                                          mica_activation act, mica_var x);

/* The same layer over the positions of x [..,C] where the mask [..], float, is not 0: only they
 * count in the statistics, and the others give 0. */
MICA_API mica_var mica_nn_masked_batch_norm(mica_tape *t, mica_node *node, mica_activation act,
                                            mica_var x, mica_var mask);

/* act(norm(conv(x)) + residual): a convolution with the batch norm that follows it; residual
 * MICA_NONE adds nothing. In evaluation without recording, float32 and without an adapter or taps,
 * the norm is folded into the convolution's weights (kept until a value is written): the same
 * within 1e-5 of the largest result. */
MICA_API mica_var mica_nn_conv2d_norm(mica_tape *t, mica_node *conv, mica_node *norm,
                                      const mica_conv_options *o, mica_activation act, mica_var x,
                                      mica_var residual);

/* The same with another eps and momentum of the norm. */
MICA_API mica_var mica_nn_conv2d_norm_with(mica_tape *t, mica_node *conv, mica_node *norm,
                                           const mica_conv_options *o, const mica_norm_options *n,
                                           mica_activation act, mica_var x, mica_var residual);

/* weight [c] = 1, bias [c] = 0, no weight decay. */
MICA_API mica_status mica_nn_layer_norm_init(mica_node *node, int64_t channels);
MICA_API mica_var mica_nn_layer_norm(mica_tape *t, mica_node *node, double eps, mica_var x);

/* weight [c] = 1. */
MICA_API mica_status mica_nn_rms_norm_init(mica_node *node, int64_t channels);
MICA_API mica_var mica_nn_rms_norm(mica_tape *t, mica_node *node, double eps, mica_var x);

/* weight [c] = 1, bias [c] = 0; groups = channels is instance norm. */
MICA_API mica_status mica_nn_group_norm_init(mica_node *node, int64_t channels);
MICA_API mica_var mica_nn_group_norm(mica_tape *t, mica_node *node, int64_t groups, double eps,
                                     mica_var x);

/* Group norm with a group for each channel. */
MICA_API mica_status mica_nn_instance_norm_init(mica_node *node, int64_t channels);
MICA_API mica_var mica_nn_instance_norm(mica_tape *t, mica_node *node, double eps, mica_var x);

/* weight and bias [c] = 0, no weight decay: the identity at first. */
MICA_API mica_status mica_nn_global_response_norm_init(mica_node *node, int64_t channels);
MICA_API mica_var mica_nn_global_response_norm(mica_tape *t, mica_node *node, double eps,
                                               mica_var x);

/* weight [c] = `slope`, c 1 or the channels; no weight decay (mica_prelu). */
MICA_API mica_status mica_nn_prelu_init(mica_node *node, int64_t channels, double slope);
MICA_API mica_var mica_nn_prelu(mica_tape *t, mica_node *node, mica_var x);

/* weight [rows, width] ~ N(0, 1); ids int64. */
MICA_API mica_status mica_nn_embedding_init(mica_node *node, int64_t rows, int64_t width);
MICA_API mica_var mica_nn_embedding(mica_tape *t, mica_node *node, mica_var ids);

/* A table for several categorical fields and a vector for each numeric column: weight [sum of size,
 * width] from `init` (NULL: N(0, 0.01)), numeric [columns, width] likewise, offsets int64
 * [fields + 1], a buffer. ids int64 [N,fields] below each field's size (others latch
 * MICA_ERR_INVALID), x [N,columns] (MICA_NONE without columns) -> [N, fields + columns, width]: a
 * row of the table for each field, then each number times its vector. Row gradients. */
MICA_API mica_status mica_nn_field_embedding_init(mica_node *node, int64_t fields,
                                                  const int64_t *size, int64_t columns,
                                                  int64_t width, const mica_init *init);
MICA_API mica_var mica_nn_field_embedding(mica_tape *t, mica_node *node, mica_var ids, mica_var x);
/* Vectors y [N,fields,width] of the fields and behind them those of the columns x [N,columns], by
 * the node's `numeric`; y where there is none. */
MICA_API mica_var mica_nn_field_columns(mica_tape *t, mica_node *node, mica_var y, mica_var x);

/* Linear layers layers.0, layers.1, ... of the given widths, each followed by batch norm (norms.N)
 * when asked for, then ReLU and dropout. */
MICA_API mica_status mica_nn_tower_init(mica_node *node, int64_t in, const mica_ints *widths,
                                        bool norm);
MICA_API mica_var mica_nn_tower(mica_tape *t, mica_node *node, const mica_ints *widths,
                                double dropout, mica_var x);

/* Cross layers, n of them: x [N,D] -> [N,D], names layers.N. The vector form (Wang et al. 2017):
 * x <- x0 (w . x) + b + x, weight [1,D]. The matrix form (Wang et al. 2021): x <- x0 (W x + b) + x,
 * weight [D,D]; with a rank W is U V^T (down [rank,D], up [D,rank]); with several experts too, x <-
 * x + the sum over experts of softmax(G x)_e x0 (U_e tanh(C_e tanh(V_e^T x)) + b), gate
 * [experts,D], experts.N.down, .core [rank,rank] and .up. bias [D]. */
typedef struct mica_cross_options {
  uint32_t size;
  int64_t layers;
  bool matrix;
  int64_t rank; /* 0: full */
  int64_t experts;
} mica_cross_options;
MICA_API mica_status mica_nn_cross_init(mica_node *node, int64_t width,
                                        const mica_cross_options *o);
MICA_API mica_var mica_nn_cross(mica_tape *t, mica_node *node, const mica_cross_options *o,
                                mica_var x);

/* Multi-head self-attention with packed projections, names of timm's ViT: qkv (weight [3C, C]) and
 * proj. x [N,L,C]; `bias` as mica_attention's; keys outside the tape's mask are left out. */
MICA_API mica_status mica_nn_attention_init(mica_node *node, int64_t channels, bool qkv_bias);
MICA_API mica_var mica_nn_attention(mica_tape *t, mica_node *node, int64_t heads,
                                    const mica_attention_options *o, mica_var x, mica_var bias);

/* The slopes of ALiBi (Press, Smith & Lewis 2022), for mica_attention_options: 2^(-8 i / heads),
 * i = 1 .. heads, where heads is a power of two; else those of the power below, then every other
 * one of twice that power. */
MICA_API void mica_nn_alibi_slopes(int64_t heads, double *slopes);

/* The frequencies of the turning pairs of a head of `dim` channels, radians a position, into
 * frequency [(o->dim or dim) / 2], and what multiplies the result (may be NULL). MICA_ERR_INVALID
 * for options out of range. */
MICA_API mica_status mica_rotary_frequencies(const mica_rotary_options *o, int64_t dim,
                                             double *frequency, double *attention);

/* Causal self-attention of decoders, with grouped queries: kv_heads key/value heads for `heads`
 * query heads, dim / heads channels each. Packed: one projection c_attn (queries, keys, values one
 * after the other) and c_proj, GPT-2's names; else q_proj, k_proj, v_proj and o_proj, Llama's. x
 * [N,L,C]; keys outside the tape's mask are left out; with a cache on the tape (mica_set_cache)
 * past tokens come from there. `rotary` NULL: no turning. */
typedef struct mica_causal_attention_options {
  uint32_t size;
  int64_t dim, heads, kv_heads; /* kv_heads divides heads */
  bool packed, qkv_bias, bias;  /* bias: of the last projection */
  const mica_rotary_options *rotary;
} mica_causal_attention_options;
MICA_API mica_status mica_nn_causal_attention_init(mica_node *node,
                                                   const mica_causal_attention_options *o);
MICA_API mica_var mica_nn_causal_attention(mica_tape *t, mica_node *node,
                                           const mica_causal_attention_options *o, mica_var x);

/* down_proj(act(gate_proj(x)) up_proj(x)), Llama's names (Shazeer 2020: SwiGLU with MICA_SILU). */
MICA_API mica_status mica_nn_gated_mlp_init(mica_node *node, int64_t in, int64_t hidden,
                                            int64_t out, bool bias);
MICA_API mica_var mica_nn_gated_mlp(mica_tape *t, mica_node *node, mica_activation act, mica_var x);

/* fc2(act(fc1(x))), names fc1 and fc2, dropout after both. */
MICA_API mica_status mica_nn_mlp_init(mica_node *node, int64_t in, int64_t hidden, int64_t out);
MICA_API mica_var mica_nn_mlp(mica_tape *t, mica_node *node, mica_activation act, double dropout,
                              mica_var x);

/* ---- classes as directions ---- */

/* What features and class vectors, both of length 1, give in training; in evaluation it is the
 * scale times their cosine. */
typedef enum mica_cosine_kind {
  MICA_COSINE_SOFTMAX,        /* no margin: normalised softmax (Wang et al. 2017) */
  MICA_COSINE_SPHEREFACE,     /* MICA_MARGIN_SPHERE */
  MICA_COSINE_ARCFACE,        /* MICA_MARGIN_ARC */
  MICA_COSINE_COSFACE,        /* MICA_MARGIN_COSINE */
  MICA_COSINE_CURRICULARFACE, /* MICA_MARGIN_ARC_FALLING, and other classes that are nearer than
                                 that, c, count as c (t + c), t a running mean of the own classes'
                                 cosines (Huang et al. 2020) */
  MICA_COSINE_ADACOS, /* the scale sqrt(2) ln(C - 1), or from each batch (Zhang et al. 2019) */
  MICA_COSINE_MADACOS /* scale and margin from each batch (Zhu et al. 2023, CFCD) */
} mica_cosine_kind;

/* What stands for the sum over other classes of e^(scale cosine) where MadaCos sets its margin. */
typedef enum mica_cosine_others {
  MICA_COSINE_OTHERS_SAMPLE, /* that of the example with the median cosine */
  MICA_COSINE_OTHERS_MEAN,   /* the mean over the batch */
  MICA_COSINE_OTHERS_MEDIAN  /* the (lower) median over the batch */
} mica_cosine_others;

typedef struct mica_cosine_options {
  uint32_t size;
  int32_t kind;  /* mica_cosine_kind */
  double scale;  /* 0: sqrt(2) ln(C - 1), at least 10 */
  double margin; /* below 0: as published: SphereFace 1.35, ArcFace and CurricularFace 0.5, CosFace
                    0.35 */
  int32_t
      constraint; /* 0 differentiable: class vectors are normalised in each forward; 1 project:
                     they are of length 1 and mica_nn_cosine_project makes them so after a step */
  bool dynamic;   /* AdaCos: from each batch, (ln of the mean sum over other classes) over
                     cos(min(pi / 4, the median angle)) */
  double alpha; /* MadaCos: the label's probability of the example with the median cosine c: margin
                   c - ln(B alpha / (1 - alpha)) / scale, at least 0, B as `others` says */
  double top_prob; /* and of one whose cosine is 1: scale ln(top (1 - alpha) / ((1 - top) alpha)) /
                      (1 - c) */
  double floor;    /* least scale */
  int32_t others;  /* mica_cosine_others */
  double momentum; /* CurricularFace: share of the batch in t */
} mica_cosine_options;
#define MICA_COSINE_OPTIONS                                                                        \
  { sizeof(mica_cosine_options), 0, 0, -1, 0, false, 0.02, 0.9999999, 32, 0, 0.01 }

/* What a batch's logits were made with. `hardness` (CurricularFace's t) and `scale` (dynamic
 * AdaCos') go on from one step to the next. */
typedef struct mica_cosine_state {
  double scale, margin;
  double median;     /* lower median of the own classes' cosines; NaN without labels */
  double log_others; /* MadaCos, AdaCos: ln B; NaN elsewhere */
  double hardness;
} mica_cosine_state;

/* The state before the first step. */
MICA_API mica_cosine_state mica_cosine_state_begin(const mica_cosine_options *o, int64_t classes);
/* Logits [N,C] of features [N,D] and class vectors [C,D] (float32 or float64). With labels (int64
 * [N]) in training as the kind says, in evaluation without a margin but with the scale that the
 * kind takes from the batch; without (MICA_NONE) with the state's scale. Scale and margin are
 * constants for the gradient. *state is read and then tells of this batch. MICA_ERR_INVALID for
 * options out of range. */
MICA_API mica_var mica_cosine_logits(mica_tape *t, mica_var features, mica_var weight,
                                     mica_var labels, const mica_cosine_options *o,
                                     mica_cosine_state *state);

/* The layer: weight [classes, width], Glorot uniform, and the state as buffers of one number each:
 * scale, margin, median, log_others, hardness. Training needs labels. */
MICA_API mica_status mica_nn_cosine_init(mica_node *node, int64_t width, int64_t classes,
                                         const mica_cosine_options *o);
MICA_API mica_var mica_nn_cosine(mica_tape *t, mica_node *node, const mica_cosine_options *o,
                                 mica_var x, mica_var labels);
/* Class vectors at length 1 again where they are to be, after a step. */
MICA_API void mica_nn_cosine_project(mica_node *node, const mica_cosine_options *o);
/* The state that the last committed step left; false where there is none below the node. */
MICA_API bool mica_nn_cosine_state(const mica_node *node, mica_cosine_state *out);

#ifdef __cplusplus
}
#endif
#endif
