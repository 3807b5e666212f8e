/* Contrastive product quantisation: codewords as weights, chosen by distance, trained by what the
 * codes are for; and the losses of retrieval within a batch.
 *
 * -|x'_p - c_pk|^2 and 2 x'_p . c_pk - |c_pk|^2 differ by what is the same for all k: the nearest
 * codeword and the softmax over k are those of the second, which is a product of matrices.
 */
#include <mica/retriever.h>

#include <string.h>

/* ---- the layer ---- */

mica_status mica_contrastive_pq_init(mica_node *node, int64_t d, int64_t parts, int64_t words,
                                     bool rotated) {
  const mica_init init = {MICA_INIT_UNIFORM, -0.1, 0.1, 0, false};
  if (!node) return MICA_ERR_MEMORY;
  if (d < 1 || parts < 1 || d % parts || words < 2 || words > 256)
    return mica_fail(MICA_ERR_INVALID,
                     "contrastive codes: %lld parts of %lld words for %lld columns; expected parts "
                     "that divide them and 2 to 256 words",
                     (long long)parts, (long long)words, (long long)d);
  mica_status status =
      mica_param_add(node, "codebook", MICA_F32, MICA_SHAPE(parts, words, d / parts),
                     MICA_PARAM_TRAINABLE, &init, NULL);
  if (status || !rotated) return status;
  mica_param *rotate;
  status =
      mica_param_add(node, "rotate", MICA_F32, MICA_SHAPE(d, d), MICA_PARAM_BUFFER, NULL, &rotate);
  if (status) return status;
  float *r = mica_param_write(rotate);
  for (int64_t i = 0; i < d; i++) r[i * d + i] = 1;
  return MICA_OK;
}

/* The node's entries and sizes; MICA_ERR_NOT_FOUND where it has none. */
typedef struct {
  mica_param *codebook, *rotate;
  int64_t parts, words, columns;
} layer;

static mica_status find(const mica_node *node, layer *out) {
  *out = (layer){node ? mica_node_param(node, "codebook") : NULL,
                 node ? mica_node_param(node, "rotate") : NULL, 0, 0, 0};
  if (!out->codebook)
    return mica_fail(MICA_ERR_NOT_FOUND, "contrastive codes: %s has no codebook",
                     node ? mica_node_path(node) : "no node");
  const mica_tensor *c = mica_param_value(out->codebook);
  out->parts = mica_tensor_dim(c, 0);
  out->words = mica_tensor_dim(c, 1);
  out->columns = mica_tensor_dim(c, 2);
  return MICA_OK;
}

mica_status mica_contrastive_pq_import(mica_node *node, const mica_quantiser *quantiser) {
  layer l;
  mica_status status = find(node, &l);
  if (status) return status;
  const int64_t d = l.parts * l.columns;
  if (mica_quantiser_width(quantiser) != d || mica_quantiser_parts(quantiser) != l.parts ||
      mica_quantiser_words(quantiser) != l.words)
    return mica_fail(
        MICA_ERR_INVALID,
        "contrastive codes of %lld columns, %lld parts, %lld words from a quantiser of "
        "%lld, %lld, %lld",
        (long long)d, (long long)l.parts, (long long)l.words,
        (long long)mica_quantiser_width(quantiser), (long long)mica_quantiser_parts(quantiser),
        (long long)mica_quantiser_words(quantiser));
  const float *rotation = mica_quantiser_rotation(quantiser);
  if (rotation && !l.rotate)
    return mica_fail(MICA_ERR_INVALID, "contrastive codes without a rotation take none");
  memcpy(mica_param_write(l.codebook), mica_quantiser_codewords(quantiser),
         (size_t)(l.words * d) * sizeof(float));
  if (!l.rotate) return MICA_OK;
  float *r = mica_param_write(l.rotate);
  for (int64_t i = 0; i < d * d; i++) r[i] = rotation ? rotation[i] : i % (d + 1) ? 0 : 1;
  return MICA_OK;
}

mica_status mica_contrastive_pq_export(const mica_node *node, mica_quantiser **out) {
  layer l;
  *out = NULL;
  mica_status status = find(node, &l);
  if (status) return status;
  const mica_engine *engine = mica_params_engine(mica_node_params((mica_node *)(uintptr_t)node));
  return mica_quantiser_of(engine, l.parts * l.columns, l.parts, l.words,
                           mica_tensor_data(mica_param_value(l.codebook)),
                           l.rotate ? mica_tensor_data(mica_param_value(l.rotate)) : NULL, out);
}

mica_var mica_contrastive_pq_rotate(mica_tape *t, mica_node *node, mica_var x) {
  mica_var rotate = mica_weight_optional(t, node, "rotate");
  return mica_is_none(rotate) ? x : mica_linear(t, x, rotate, MICA_NONE, MICA_IDENTITY);
}

static const int parts_first[] = {1, 0, 2};

/* [P, n, C] -> [n, P C]. */
static mica_var join(mica_tape *t, mica_var parts) {
  return mica_flatten(t, mica_permute(t, parts, 3, parts_first), 1);
}

/* Of rows that have been rotated. */
static mica_var quantise(mica_tape *t, mica_node *node, mica_var x, mica_var *code) {
  static const int last[] = {2};
  mica_var c = mica_weight(t, node, "codebook");
  const int64_t parts = mica_dim(t, c, 0), words = mica_dim(t, c, 1), columns = mica_dim(t, c, 2);
  const int64_t n = mica_dim(t, x, 0);
  if (!mica_ok(t)) return MICA_NONE;
  mica_var split =
      mica_permute(t, mica_reshape(t, x, MICA_SHAPE(n, parts, columns)), 3, parts_first);
  mica_var square =
      mica_reshape(t, mica_sum(t, mica_square(t, c), 1, last, false), MICA_SHAPE(parts, 1, words));
  mica_var near =
      mica_sub(t, mica_affine(t, mica_matmul_t(t, split, false, c, true), 2, 0), square);
  if (code) *code = mica_transpose(t, mica_argmax(t, near, 2), 0, 1);
  mica_var chosen = mica_straight_through_argmax(t, near, 1);
  return join(t, mica_matmul(t, chosen, c));
}

mica_var mica_contrastive_pq(mica_tape *t, mica_node *node, mica_var x, mica_var *code) {
  mica_scope_begin(t, node ? mica_node_name(node) : NULL);
  mica_var own = MICA_NONE;
  mica_var y = quantise(t, node, mica_contrastive_pq_rotate(t, node, x), code ? &own : NULL);
  if (code) *code = mica_keep(t, own);
  return mica_scope_end(t, y);
}

mica_var mica_contrastive_pq_decode(mica_tape *t, mica_node *node, mica_var code) {
  mica_scope_begin(t, node ? mica_node_name(node) : NULL);
  mica_var c = mica_weight(t, node, "codebook");
  mica_var one = mica_one_hot(t, code, mica_dim(t, c, 1), mica_dtype_of(t, c));
  return mica_scope_end(t, join(t, mica_matmul(t, mica_permute(t, one, 3, parts_first), c)));
}

mica_var mica_contrastive_pq_score(mica_tape *t, mica_node *node, mica_var q, mica_var code) {
  mica_scope_begin(t, NULL);
  mica_var k = mica_contrastive_pq_decode(t, node, code);
  return mica_scope_end(t,
                        mica_matmul_t(t, mica_contrastive_pq_rotate(t, node, q), false, k, true));
}

/* ---- losses ---- */

/* 1 where a pair is hidden: where its mask is 0 and, of own pairs, off the diagonal. */
static mica_var hidden(mica_tape *t, mica_var mask, bool own) {
  char text[96];
  const mica_view m = mica_read(t, mask);
  if (!mica_ok(t)) return MICA_NONE;
  if (m.shape.rank != 2 || (m.dtype != MICA_F32 && m.dtype != MICA_F64))
    return mica_latch(t, MICA_ERR_SHAPE, "masks of pairs %s of %s, expected [B,B] or [B,M] floats",
                      mica_shape_text(&m.shape, text, sizeof text), mica_dtype_name(m.dtype));
  mica_var h = mica_full(t, MICA_U8, m.shape, 0);
  const mica_view v = mica_read(t, h);
  const int64_t columns = m.shape.dim[1];
  for (int64_t i = 0; mica_ok(t) && i < m.shape.dim[0]; i++)
    for (int64_t j = 0; j < columns; j++) {
      const int64_t at = i * m.row_stride + j;
      const bool zero = m.dtype == MICA_F32 ? ((const float *)m.data)[at] == 0
                                            : ((const double *)m.data)[at] == 0;
      ((uint8_t *)v.data)[i * columns + j] = zero && !(own && i == j);
    }
  return h;
}

static mica_var scores(mica_tape *t, mica_var q, mica_var k, mica_var mask, bool own) {
  mica_var s = mica_matmul_t(t, q, false, k, true);
  return mica_is_none(mask) ? s : mica_masked_fill(t, s, hidden(t, mask, own), -10000);
}

mica_var mica_in_batch_loss(mica_tape *t, mica_var q, mica_var k, mica_var n, mica_var pairs,
                            mica_var more, double temperature) {
  mica_scope_begin(t, NULL);
  if (!(temperature > 0))
    mica_latch(t, MICA_ERR_INVALID, "a temperature of %g, expected more than 0", temperature);
  if (mica_ok(t) && mica_dim(t, q, 0) != mica_dim(t, k, 0))
    mica_latch(t, MICA_ERR_SHAPE, "%lld queries with %lld documents, expected one each",
               (long long)mica_dim(t, q, 0), (long long)mica_dim(t, k, 0));
  mica_var s[2] = {scores(t, q, k, pairs, true)};
  if (!mica_is_none(n)) {
    s[1] = scores(t, q, n, more, false);
    s[0] = mica_concat(t, 2, s, 1);
  }
  const int64_t b = mica_dim(t, q, 0);
  mica_var own = mica_full(t, MICA_I64, MICA_SHAPE(mica_ok(t) ? b : 0), 0);
  const mica_view id = mica_read(t, own);
  for (int64_t i = 0; mica_ok(t) && i < b; i++) ((int64_t *)id.data)[i] = i;
  return mica_scope_end(
      t, mica_cross_entropy(t, mica_affine(t, s[0], 1 / temperature, 0), own, MICA_NONE, NULL));
}

/* mean |x - y|^2 over rows */
static mica_var squares(mica_tape *t, mica_var x, mica_var y) {
  static const int last[] = {1};
  return mica_mean(t, mica_sum(t, mica_square(t, mica_sub(t, x, y)), 1, last, false), 0, NULL,
                   false);
}

static mica_var plus(mica_tape *t, mica_var sum, double weight, mica_var term) {
  term = mica_affine(t, term, weight, 0);
  return mica_is_none(sum) ? term : mica_add(t, sum, term);
}

mica_var mica_contrastive_pq_loss(mica_tape *t, mica_node *node, mica_var q, mica_var k, mica_var n,
                                  mica_var pairs, mica_var more,
                                  const mica_retriever_loss_options *options,
                                  mica_retriever_losses *terms) {
  mica_retriever_loss_options o = MICA_RETRIEVER_LOSS_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  mica_retriever_losses l = {MICA_NONE, MICA_NONE, MICA_NONE};
  mica_var total = MICA_NONE;
  mica_scope_begin(t, node ? mica_node_name(node) : NULL);
  if (o.dense == 0 && o.codes == 0 && o.squares == 0)
    mica_latch(t, MICA_ERR_INVALID, "a loss all of whose terms count nothing");
  if (o.dense != 0) {
    l.dense = mica_in_batch_loss(t, q, k, n, pairs, more, o.temperature);
    total = plus(t, total, o.dense, l.dense);
  }
  if (o.codes != 0 || o.squares != 0) {
    mica_var turned = mica_contrastive_pq_rotate(t, node, k), turned_n = MICA_NONE;
    mica_var k_hat = quantise(t, node, turned, NULL), n_hat = MICA_NONE;
    if (!mica_is_none(n)) {
      turned_n = mica_contrastive_pq_rotate(t, node, n);
      n_hat = quantise(t, node, turned_n, NULL);
    }
    if (o.codes != 0) {
      l.codes = mica_in_batch_loss(t, mica_contrastive_pq_rotate(t, node, q), k_hat, n_hat, pairs,
                                   more, o.temperature);
      total = plus(t, total, o.codes, l.codes);
    }
    if (o.squares != 0) {
      l.squares = squares(t, o.unrotated ? k : turned, k_hat);
      if (!mica_is_none(n))
        l.squares = mica_add(t, l.squares, squares(t, o.unrotated ? n : turned_n, n_hat));
      total = plus(t, total, o.squares, l.squares);
    }
  }
  if (terms) {
    *terms = l;
    if (!mica_is_none(l.dense)) mica_keep(t, l.dense);
    if (!mica_is_none(l.codes)) mica_keep(t, l.codes);
    if (!mica_is_none(l.squares)) mica_keep(t, l.squares);
  }
  return mica_scope_end(t, total);
}
