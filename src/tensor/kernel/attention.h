/* Scaled dot-product attention on raw pointers, forward and backward, in memory linear in length.
 *
 * For each batch entry b, head h and query i: weights = softmax over keys j of
 * scale * <q_i, k_j> + bias[b, h, i, j], result = sum of weights_j * v_j. Scores are made tile by
 * tile with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022) and made again in the
 * backward. What a mask hides may be NaN or infinite: it does not reach the result.
 *
 * Every operand has strides for batch, token and head, in elements, with the channels of one head
 * side by side: packed QKV, grouped heads and caches need no copy. Query head h reads key/value
 * head h / (heads / kv_heads). A query whose keys are all masked gives zeros and a log-sum-exp of
 * -inf.
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

typedef struct mica_attention_args {
  mica_dtype dtype; /* MICA_F32 or MICA_F64 */
  int64_t batch, heads, kv_heads, queries, keys;
  int64_t dim, value_dim; /* channels of a head: of q and k, and of v and the result */
  double scale;
  bool causal; /* query i sees keys j <= i + offset */
  int64_t
      offset; /* the position of query 0 among the keys: keys - queries when both end together */
  int64_t window; /* 0: none; else query i sees only keys j with |i + offset - j| < window */
  mica_attention_strides q, k, v, out;
  /* Added to the scores before the softmax, -inf masks; NULL: none. Element (b, h, i, j) is at
   * b * bias_batch + h * bias_head + i * bias_query + j; a stride of 0 shares it. */
  const void *bias;
  int64_t bias_batch, bias_head, bias_query;
} mica_attention_args;

/* `lse`, [batch, heads, queries] dense, receives the log of each query's sum of exponentials; NULL
 * when neither the caller nor a backward needs it. */
mica_status mica_attention_forward(const mica_engine *engine, const mica_attention_args *args,
                                   const void *q, const void *k, const void *v, void *out,
                                   void *lse);

/* dq, dk, dv have the layouts of q, k, v and are overwritten; `out` and `dout` share a layout;
 * `lse` is the forward's. `dlse`, dense like lse, is the gradient that arrives at lse, or NULL.
 * `dbias` has the layout of bias and is overwritten (shared elements receive the sum over all that
 * share them), or is NULL. dq, dk and dv are all needed.
 * Threads work on different batch entries and key/value heads. */
mica_status mica_attention_backward(const mica_engine *engine, const mica_attention_args *args,
                                    const void *q, const void *k, const void *v, const void *out,
                                    const void *dout, const void *lse, const void *dlse, void *dq,
                                    void *dk, void *dv, void *dbias);

/* ---- loops/attention.c ---- */

enum { MICA_ATTENTION_QUERIES = 64 }; /* of a block; a multiple of every vector's width */

typedef struct mica_attention_kernels {
  /* Elements of scratch that a call of forward and of backward needs. */
  int64_t (*forward_scratch)(const mica_attention_args *args);
  int64_t (*backward_scratch)(const mica_attention_args *args);
  /* Queries [begin, end) of batch entry b and head h; begin is a multiple of a block. lse may be
   * NULL. */
  void (*forward)(const mica_attention_args *args, const void *q, const void *k, const void *v,
                  int64_t b, int64_t h, int64_t begin, int64_t end, void *out, void *lse,
                  void *scratch);
  /* Batch entry b and key/value head g: dq of its query heads, dk, dv, and dbias where wanted
   * (added). */
  void (*backward)(const mica_attention_args *args, const void *q, const void *k, const void *v,
                   const void *out, const void *dout, const void *lse, const void *dlse, int64_t b,
                   int64_t g, void *dq, void *dk, void *dv, void *dbias, void *scratch);
} mica_attention_kernels;

#endif
