/* svfit: a linear layer with the adapter: singular values, what of the weight they make up, the
 * output at first and after a change of the values, the merged weight, gradients.
 */
#include "adapter.h"

#include <stdio.h>
#include <string.h>

static mica_view matrix(const mica_param *q) {
  return mica_tensor_view(mica_param_value(q));
}

/* A float64 layer, so that only the reference's own rounding counts. */
static mica_node *make_layer(golden *g, mica_params *params) {
  mica_node *node = mica_node_child(mica_params_root(params), "layer");
  const mica_view w = golden_view(g, "param.weight", MICA_F64),
                  b = golden_view(g, "param.bias", MICA_F64);
  mica_param *weight, *bias;
  golden_need(g,
              mica_param_add(node, "weight", MICA_F64, w.shape, MICA_PARAM_LINEAR, NULL, &weight));
  golden_need(g, mica_param_add(node, "bias", MICA_F64, b.shape, MICA_PARAM_LINEAR, NULL, &bias));
  memcpy(mica_param_write(weight), w.data, (size_t)mica_view_count(&w) * sizeof(double));
  memcpy(mica_param_write(bias), b.data, (size_t)mica_view_count(&b) * sizeof(double));
  return node;
}

static void run(golden *g) {
  mica_params *params, *whole;
  mica_tape *t;
  char spec[40];
  golden_need(g, mica_params_create(golden_engine(g), 0, &params));
  golden_need(g, mica_params_create(golden_engine(g), 0, &whole));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  mica_node *node = make_layer(g, params);
  make_layer(g, whole);
  snprintf(spec, sizeof spec, "svfit:rank=%lld", (long long)golden_integer(g, "rank", 1));
  golden_need(g, mica_adapt(params, "layer", spec, NULL));
  golden_need(g, mica_adapt(whole, "layer", "svf", NULL));
  mica_param *sigma = mica_params_find(params, "layer.adapter.default.sigma");
  mica_param *u = mica_params_find(params, "layer.adapter.default.u0");
  mica_param *v = mica_params_find(params, "layer.adapter.default.v");
  golden_check(g, "out.singular_values",
               matrix(mica_params_find(whole, "layer.adapter.default.sigma")));

  /* U diag(s) V^T, and what is left of the weight. */
  const int64_t rank = mica_tensor_count(mica_param_value(sigma));
  mica_var vs = mica_mul(t, mica_param_var(t, v),
                         mica_reshape(t, mica_param_var(t, sigma), MICA_SHAPE(rank, 1)));
  mica_var top = mica_matmul(t, mica_param_var(t, u), vs);
  golden_check_var(g, "out.rank_r_approximation", t, top);
  golden_check_var(g, "out.residual", t,
                   mica_sub(t, mica_param_var(t, mica_node_param(node, "weight")), top));
  golden_need_tape(g, t);

  mica_tape_reset(t);
  const mica_var x = mica_leaf(t, golden_tensor(g, "in.x", MICA_F64));
  golden_check_var(g, "out.y_at_init", t, mica_adapted_linear(t, node, x));
  const double *delta = golden_doubles(g, "in.delta", NULL);
  double *value = mica_param_write(sigma);
  for (int64_t i = 0; i < rank; i++) value[i] += delta[i];

  mica_tape_reset(t);
  const mica_var again = mica_leaf(t, golden_tensor(g, "in.x", MICA_F64));
  const mica_var y = mica_adapted_linear(t, node, again);
  golden_check_var(g, "out.y", t, y);
  golden_need_tape(g, t);
  golden_need(g,
              mica_backward_from(t, y, mica_input(t, golden_tensor(g, "in.cotangent", MICA_F64))));
  golden_check_var(g, "grad.x", t, mica_gradient(t, again));
  golden_check(g, "grad.singular_values", mica_param_grad(sigma));
  golden_need(g, mica_adapters_merge(params));
  golden_check(g, "out.merged_weight", matrix(mica_node_param(node, "weight")));
}

const golden_adapter golden_adapter_svfit = {"svfit", 1e-4, run};
