/* bi-granular-retrieval: contrastive product quantisation: codes, what they stand for, the three
 * terms of the loss and the gradients of their sum. */
#include "adapter.h"

#include <string.h>

static mica_var leaf(golden *g, mica_tape *t, const char *name) {
  return mica_leaf(t, golden_tensor(g, name, MICA_F32));
}

static mica_var mask(golden *g, mica_tape *t, const char *name) {
  return golden_has(g, name) ? mica_input(t, golden_tensor(g, name, MICA_F32)) : MICA_NONE;
}

static void fill(golden *g, mica_param *q, const char *name) {
  const mica_view v = golden_view(g, name, MICA_F32);
  memcpy(mica_param_write(q), v.data, (size_t)mica_view_count(&v) * sizeof(float));
}

/* The codes of the layer and those of the quantiser that it exports. */
static void check_codes(golden *g, mica_node *node, mica_tape *t, mica_var k) {
  mica_var code;
  mica_quantiser *q;
  golden_check_var(g, "out.quant_k", t, mica_contrastive_pq(t, node, k, &code));
  golden_check_var(g, "out.codes_k", t, code);
  golden_check_var(g, "out.quant_k", t, mica_contrastive_pq_decode(t, node, code));
  golden_need(g, mica_contrastive_pq_export(node, &q));
  const mica_view x = golden_view(g, "in.k", MICA_F32);
  const int64_t n = x.shape.dim[0] * mica_quantiser_parts(q);
  uint8_t byte[256];
  int64_t number[256];
  if (n > 256) golden_fail(g, "%lld codes", (long long)n);
  golden_need(g, mica_quantiser_encode(q, &x, byte));
  for (int64_t i = 0; i < n; i++) number[i] = byte[i];
  golden_check_integers(g, "out.codes_k", number, n);
  mica_quantiser_free(q);
}

static void run(golden *g) {
  mica_params *p;
  mica_tape *t;
  golden_need(g, mica_params_create(golden_engine(g), 0, &p));
  mica_node *node = mica_params_root(p);
  const bool rotated = golden_has(g, "param.rotate");
  golden_need(g, mica_contrastive_pq_init(node, golden_dim(g, "in.q", 1),
                                          golden_dim(g, "param.codebook", 0),
                                          golden_dim(g, "param.codebook", 1), rotated));
  fill(g, mica_node_param(node, "codebook"), "param.codebook");
  if (rotated) fill(g, mica_node_param(node, "rotate"), "param.rotate");
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  mica_var q = leaf(g, t, "in.q"), k = leaf(g, t, "in.k"), n = leaf(g, t, "in.n");
  check_codes(g, node, t, k);
  golden_check_var(g, "out.quant_n", t, mica_contrastive_pq(t, node, n, NULL));
  mica_retriever_loss_options o = MICA_RETRIEVER_LOSS_OPTIONS;
  o.temperature = golden_number(g, "temperature", 1);
  o.squares = golden_number(g, "quant_weight", 0);
  o.unrotated = true;
  mica_retriever_losses terms;
  mica_var total = mica_contrastive_pq_loss(t, node, q, k, n, mask(g, t, "in.rel_pair_mask"),
                                            mask(g, t, "in.hard_pair_mask"), &o, &terms);
  golden_check_var(g, "out.total", t, total);
  golden_check_var(g, "out.dense_loss", t, terms.dense);
  golden_check_var(g, "out.quant_match_loss", t, terms.codes);
  golden_check_var(g, "out.weighted_l2", t, mica_affine(t, terms.squares, o.squares, 0));
  mica_backward(t, total);
  golden_need_tape(g, t);
  golden_check_var(g, "grad.q", t, mica_gradient(t, q));
  golden_check_var(g, "grad.k", t, mica_gradient(t, k));
  golden_check_var(g, "grad.n", t, mica_gradient(t, n));
  golden_check(g, "grad.codebook", mica_param_grad(mica_node_param(node, "codebook")));
}

const golden_adapter golden_adapter_bi_granular_retrieval = {"bi-granular-retrieval", 1e-5, run};
