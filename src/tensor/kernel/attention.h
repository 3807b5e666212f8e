/* Attention on raw pointers, forward and backward, in memory linear in length.
 *
 * For each batch entry b, head h, query i and key j that i sees: score = scale * <q_i, k_j> +
 * bias[b, h, i, j] - slope_h * distance(i, j), weight = f(score), result = sum of weights_j * v_j,
 * the weights divided by their sum or by a number. f is e^x (softmax) or another map; the weights
 * may be sharpened, fade with distance, and be dropped. Scores are made tile by
 * tile, for softmax with an online maximum (Milakov & Gimelshein 2018; Dao et al. 2022), and made
 * again in the backward. What a mask hides may be NaN or infinite: it does not reach the result.
 *
 * Every operand has strides for batch, token and head, in elements, with the channels of one head
 * side by side: packed QKV, grouped heads and caches need no copy. Query head h reads key/value
 * head h / (heads / kv_heads). A query that sees no key gives zeros and a log-sum-exp of -inf.
 *
 * Results do not depend on the thread count.
 */
#ifndef MICA_TENSOR_KERNEL_ATTENTION_H
#define MICA_TENSOR_KERNEL_ATTENTION_H

#include <mica/engine.h>
#include <mica/tensor.h>

/* Elements from one batch entry, token and head to the next. */
typedef struct mica_attention_strides {
  int64_t batch, token, head;
} mica_attention_strides;

typedef enum mica_attention_curve {
  MICA_CURVE_EXP, /* with its sum: softmax. The only map that is free of overflow by a maximum */
  MICA_CURVE_SOFTPLUS,
  MICA_CURVE_SIGMOID,
  MICA_CURVE_SILU,
  MICA_CURVE_RELU,
  MICA_CURVE_RELU_SQUARED,
  MICA_CURVE_CALLER
} mica_attention_curve;

/* What the weights of a query are divided by. */
typedef enum mica_attention_divisor {
  MICA_ATTENTION_BY_SUM,
  MICA_ATTENTION_BY_SEEN, /* the number of keys that it sees */
  MICA_ATTENTION_BY_NUMBER
} mica_attention_divisor;

/* Between positions p and r; of a grid, position = row * columns + column. */
typedef enum mica_attention_metric {
  MICA_METRIC_ALONG,     /* |p - r| */
  MICA_METRIC_MANHATTAN, /* of a grid: rows plus columns */
  MICA_METRIC_CHEBYSHEV  /* of a grid: the larger */
} mica_attention_metric;

/* Numbers of tokens, one for each of [batch, tokens]; batch entries are `batch` apart. */
typedef struct mica_attention_ids {
  const int64_t *at; /* NULL: none */
  int64_t batch;
} mica_attention_ids;

typedef struct mica_attention_args {
  mica_dtype dtype; /* MICA_F32 or MICA_F64 */
  int64_t batch, heads, kv_heads, queries, keys;
  int64_t dim, value_dim; /* channels of a head: of q and k, and of v and the result */
  double scale;
  /* Positions: of query i, i + offset, and of key j, j; unless they are given, and then a key below
   * 0 is hidden. A query at p sees a key at r when all that follow hold. */
  int64_t offset;
  bool causal;          /* r <= p */
  bool strict;          /* causal: r < p, or the same token when both end together */
  int64_t causal_block; /* causal, above 1: r / causal_block <= p / causal_block */
  bool bounded;         /* p - left <= r <= p + right, or r < sinks */
  int64_t left, right, sinks;
  mica_attention_ids q_position, k_position;
  mica_attention_ids q_segment, k_segment; /* equal, neither below 0 */
  mica_attention_strides q, k, v, out;
  mica_attention_strides dq, dk, dv; /* of the gradients; all zero: those of q, k, v */
  /* Added to the scores before the softmax, -inf masks; NULL: none. Element (b, h, i, j) is at
   * b * bias_batch + h * bias_head + i * bias_query + j; a stride of 0 shares it. */
  const void *bias;
  int64_t bias_batch, bias_head, bias_query;
  const double *slopes; /* of each head, NULL: none */
  const double *decays; /* weights times decays[h]^distance after their division; NULL: none */
  mica_attention_metric metric;
  int64_t columns;        /* of the grid */
  int64_t distance_limit; /* distances beyond count as this; 0: none */
  mica_attention_curve curve;
  void (*function)(void *ctx, int64_t n, const double *score, double *weight, double *slope);
  void *function_ctx;
  mica_attention_divisor divide;
  double divisor;
  bool log_seen; /* scale times ln(keys that the query sees) */
  /* With A the weights divided by their sum and N the keys seen: max(N A - threshold, 0)^power,
   * divided by the sum of these (A itself where all are zero; threshold 0 where N is 1). power 0:
   * none. `sharpened`, [2][batch, heads, queries], then receives in the forward what the backward
   * needs. */
  double power, threshold;
  void *sharpened;
  /* Weights after their division are 0 with probability `drop`, else divided by 1 - drop; drawn by
   * a key, the entry's number (b where it is not ragged), head, query and key. */
  double drop;
  uint64_t drop_key;
  int64_t entry;
  /* Ragged: entry b has queries q_offsets[b] .. q_offsets[b + 1] of all that lie one after the
   * other (k_offsets: keys), positions as within it, and `offset` from the last of both where
   * `ends` is set. queries and keys are then the longest, all_queries what there are, and lse,
   * sharpened [heads, all_queries]. */
  const int64_t *q_offsets, *k_offsets;
  bool ends;
  int64_t all_queries;
} mica_attention_args;

/* True when lse means something: the weights are divided by their sum alone. */
static inline bool mica_attention_has_lse(const mica_attention_args *a) {
  return a->divide == MICA_ATTENTION_BY_SUM && a->power == 0;
}

/* `lse`, [batch, heads, queries] dense, receives the log of each query's sum of weights where they
 * are divided by it; NULL when neither the caller nor a backward needs it. */
mica_status mica_attention_forward(const mica_engine *engine, const mica_attention_args *args,
                                   const void *q, const void *k, const void *v, void *out,
                                   void *lse);

/* dq, dk, dv are overwritten; `out` and `dout` share a layout;
 * `lse` is the forward's. `dlse`, dense like lse, is the gradient that arrives at lse, or NULL.
 * `dbias` has the layout of bias and is overwritten (shared elements receive the sum over all that
 * share them), or is NULL. dq, dk and dv are all needed.
 * Threads work on different batch entries, key/value heads, and where these are few on parts of the
 * keys, which takes memory for a dq of each part. */
mica_status mica_attention_backward(const mica_engine *engine, const mica_attention_args *args,
                                    const void *q, const void *k, const void *v, const void *out,
                                    const void *dout, const void *lse, const void *dlse, void *dq,
                                    void *dk, void *dv, void *dbias);

/* ---- loops/attention.c ---- */

enum {
  MICA_ATTENTION_QUERIES = 64, /* of a block; a multiple of every vector's width */
  MICA_ATTENTION_KEYS = 48     /* of a tile */
};

typedef struct mica_attention_kernels {
  /* Elements of scratch that a call of forward and of backward needs. */
  int64_t (*forward_scratch)(const mica_attention_args *args);
  int64_t (*backward_scratch)(const mica_attention_args *args);
  /* Queries [begin, end) of batch entry b and head h; begin is a multiple of a block. lse may be
   * NULL. */
  void (*forward)(const mica_attention_args *args, const void *q, const void *k, const void *v,
                  int64_t b, int64_t h, int64_t begin, int64_t end, void *out, void *lse,
                  void *scratch);
  /* Batch entry b, key/value head g and keys [begin, end), both multiples of
   * MICA_ATTENTION_KEYS or all there are: dk and dv of these, what they give to dq of the query
   * heads, and dbias where wanted (added). All keys where weights are sharpened. */
  void (*backward)(const mica_attention_args *args, const void *q, const void *k, const void *v,
                   const void *out, const void *dout, const void *lse, const void *dlse, int64_t b,
                   int64_t g, int64_t begin, int64_t end, void *dq, void *dk, void *dv, void *dbias,
                   void *scratch);
} mica_attention_kernels;

#endif
