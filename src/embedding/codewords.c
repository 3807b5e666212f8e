/* Operations on product codes: the nearest codewords, the codewords of codes, and the soft choice
 * among keys. */
#include "embedding/table.h"

/* Codebook [P, K, d]; x [n, P d]. */
static bool codebook_fits(mica_call *c, const mica_view *x, const mica_view *codebook) {
  const bool fits = x->shape.rank == 2 && codebook->shape.rank == 3 &&
                    mica_dtype_is_float(x->dtype) && x->dtype == codebook->dtype &&
                    codebook->shape.dim[1] > 0 &&
                    x->shape.dim[1] == codebook->shape.dim[0] * codebook->shape.dim[2];
  if (!fits) mica_call_fail(c, MICA_ERR_SHAPE, "expected rows [n,P d] and a codebook [P,K,d]:");
  return fits;
}

#define NEAREST(T, name)                                                                           \
  static int64_t name(const T *x, const T *word, int64_t k, int64_t d) {                           \
    int64_t best = 0;                                                                              \
    T least = 0;                                                                                   \
    for (int64_t j = 0; j < k; j++) {                                                              \
      T sum = 0;                                                                                   \
      for (int64_t i = 0; i < d; i++) sum += (x[i] - word[j * d + i]) * (x[i] - word[j * d + i]);  \
      if (j == 0 || sum < least) least = sum, best = j;                                            \
    }                                                                                              \
    return best;                                                                                   \
  }
NEAREST(float, nearest_f32)
NEAREST(double, nearest_f64)

static void nearest_forward(mica_call *c) {
  const mica_view *x = &c->in[0], *codebook = &c->in[1], *words = &c->in[2];
  if (!codebook_fits(c, x, codebook)) return;
  const int64_t n = x->shape.dim[0], parts = codebook->shape.dim[0], k = codebook->shape.dim[1],
                d = codebook->shape.dim[2];
  if (words->data && (words->dtype != MICA_I64 || mica_view_count(words) != n)) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected int64 words [n]:");
    return;
  }
  const mica_view *y = mica_call_output(c, MICA_I64, MICA_SHAPE(n, parts));
  if (!y) return;
  int64_t *to = y->data;
  for (int64_t i = 0; i < n; i++) {
    int64_t most = words->data ? ((const int64_t *)words->data)[i] : k;
    if (most < 1 || most > k) most = k;
    for (int64_t p = 0; p < parts; p++)
      to[i * parts + p] = x->dtype == MICA_F32
                              ? nearest_f32((const float *)x->data + (i * parts + p) * d,
                                            (const float *)codebook->data + p * k * d, most, d)
                              : nearest_f64((const double *)x->data + (i * parts + p) * d,
                                            (const double *)codebook->data + p * k * d, most, d);
  }
}

static const mica_custom_op nearest_op = {
    {sizeof(mica_op), "nearest_codewords", MICA_OP_BY_EXAMPLE, NULL}, nearest_forward, 1u << 2};

mica_var mica_nearest_codewords(mica_tape *t, mica_var x, mica_var codebook, mica_var words) {
  mica_var y = MICA_NONE;
  mica_custom(t, &nearest_op, NULL, 0, 3,
              (mica_var[]){mica_detach(t, x), mica_detach(t, codebook), words}, 1, &y);
  return y;
}

/* code + K part */
static void place_forward(mica_call *c) {
  const mica_view *codes = &c->in[0];
  const int64_t k = *(const int64_t *)c->ctx, *code = codes->data;
  if (codes->dtype != MICA_I64 || codes->shape.rank != 2) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected int64 codes [n,P]:");
    return;
  }
  const mica_view *y = mica_call_output(c, MICA_I64, codes->shape);
  if (!y) return;
  const int64_t n = mica_view_count(codes), parts = codes->shape.dim[1];
  for (int64_t i = 0; i < n; i++) {
    if (code[i] < 0 || code[i] >= k) {
      mica_call_fail(c, MICA_ERR_INVALID, "code %lld of %lld words:", (long long)code[i],
                     (long long)k);
      return;
    }
    ((int64_t *)y->data)[i] = code[i] + k * (i % parts);
  }
}

static const mica_custom_op place_op = {
    {sizeof(mica_op), "codeword_places", MICA_OP_BY_EXAMPLE, NULL}, place_forward, 0};

mica_var mica_codeword_rows(mica_tape *t, mica_var codebook, mica_var codes) {
  const mica_view v = mica_read(t, codebook);
  if (!mica_ok(t)) return MICA_NONE;
  if (v.shape.rank != 3)
    return mica_latch(t, MICA_ERR_SHAPE, "codeword_rows: expected a codebook [P,K,d]");
  const int64_t parts = v.shape.dim[0], k = v.shape.dim[1], d = v.shape.dim[2];
  mica_scope_begin(t, NULL);
  mica_var at = MICA_NONE;
  if (mica_dim(t, codes, -1) != parts)
    mica_latch(t, MICA_ERR_SHAPE, "codeword_rows: expected codes of %lld parts", (long long)parts);
  mica_custom(t, &place_op, &k, sizeof k, 1, &codes, 1, &at);
  const mica_var words = mica_reshape(t, codebook, MICA_SHAPE(parts * k, d));
  const int64_t n = mica_dim(t, codes, 0);
  return mica_scope_end(t, mica_reshape(t, mica_embedding(t, words, at), MICA_SHAPE(n, parts * d)));
}

mica_var mica_softmax_codewords(mica_tape *t, mica_var x, mica_var keys, mica_var values,
                                mica_var statistics, mica_var *codes, mica_var *mean,
                                mica_var *var) {
  const mica_view v = mica_read(t, x), w = mica_read(t, keys);
  *codes = *mean = *var = MICA_NONE;
  if (!mica_ok(t)) return MICA_NONE;
  if (v.shape.rank != 2 || w.shape.rank != 3 || v.shape.dim[1] != w.shape.dim[0] * w.shape.dim[2])
    return mica_latch(t, MICA_ERR_SHAPE,
                      "softmax_codewords: expected rows [n,P d] and keys [P,K,d]");
  const int64_t n = v.shape.dim[0], parts = w.shape.dim[0], d = w.shape.dim[2];
  static const int to_parts[] = {1, 0, 2}, to_rows[] = {1, 0};
  mica_scope_begin(t, NULL);
  x = mica_permute(t, mica_reshape(t, x, MICA_SHAPE(n, parts, d)), 3, to_parts);
  mica_var r = mica_matmul_t(t, x, false, keys, true); /* [P, n, K] */
  if (mica_is_none(statistics)) {
    r = mica_batch_norm_train(t, r, MICA_NONE, MICA_NONE, 1e-5, MICA_IDENTITY, mean, var);
  } else {
    const mica_var m = mica_reshape(t, mica_slice(t, statistics, 0, 0, 1), MICA_SHAPE(-1)),
                   s = mica_reshape(t, mica_slice(t, statistics, 0, 1, 2), MICA_SHAPE(-1));
    r = mica_batch_norm(t, r, MICA_NONE, MICA_NONE, m, s, 1e-5, MICA_IDENTITY);
  }
  *codes = mica_permute(t, mica_argmax(t, mica_detach(t, r), -1), 2, to_rows);
  mica_var y = mica_matmul(t, mica_straight_through_argmax(t, r, 1), values); /* [P, n, d] */
  y = mica_reshape(t, mica_permute(t, y, 3, to_parts), MICA_SHAPE(n, parts * d));
  mica_var out[4] = {y, *codes, *mean, *var};
  mica_scope_end_n(t, mica_is_none(statistics) ? 4 : 2, out);
  *codes = out[1];
  if (mica_is_none(statistics)) *mean = out[2], *var = out[3];
  return out[0];
}

/* ---- a regulariser beside the loss ---- */

static void penalty_backward(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
  mica_view *g = mica_call_grad(c, 1);
  if (!g) return;
  if (g->dtype == MICA_F32)
    *(float *)g->data = 1;
  else
    *(double *)g->data = 1;
}

static void penalty_forward(mica_call *c) {
  const mica_view *x = &c->in[0], *penalty = &c->in[1];
  if (!mica_dtype_is_float(penalty->dtype) || mica_view_count(penalty) != 1)
    mica_call_fail(c, MICA_ERR_SHAPE, "expected a penalty of one number:");
  else
    mica_call_output_alias(c, 0, 0, x->shape, x->row_stride);
  mica_call_mixes(c, 1);
}

static const mica_custom_op penalty_op = {
    {sizeof(mica_op), "with_penalty", MICA_OP_BY_EXAMPLE, penalty_backward}, penalty_forward, 0};

mica_var mica_with_penalty(mica_tape *t, mica_var y, mica_var penalty) {
  mica_var out = MICA_NONE;
  mica_custom(t, &penalty_op, NULL, 0, 2, (mica_var[]){y, penalty}, 1, &out);
  return out;
}
