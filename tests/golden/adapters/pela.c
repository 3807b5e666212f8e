/* pela: two linear layers, factored at a ratio: the products right after the decomposition; then, of
 * given factors, the feature loss on both layers' outputs, the perturbation loss, and the gradients
 * of feature_weight times the one and the other.
 */
#include "adapter.h"

#include <stdio.h>
#include <string.h>

static void add(golden *g, mica_node *node, const char *name, const char *key) {
  if (!golden_has(g, key)) return;
  const mica_view v = golden_view(g, key, MICA_F64);
  mica_param *q;
  golden_need(g, mica_param_add(node, name, MICA_F64, v.shape,
                                MICA_PARAM_LINEAR | MICA_PARAM_TRAINABLE, NULL, &q));
  memcpy(mica_param_write(q), v.data, (size_t)mica_view_count(&v) * sizeof(double));
}

static mica_params *make(golden *g) {
  mica_params *p;
  golden_need(g, mica_params_create(golden_engine(g), 0, &p));
  mica_node *root = mica_params_root(p);
  add(g, mica_node_child(root, "fc1"), "weight", "param.fc1.weight");
  add(g, mica_node_child(root, "fc1"), "bias", "param.fc1.bias");
  add(g, mica_node_child(root, "fc2"), "weight", "param.fc2.weight");
  return p;
}

/* What comes behind both layers and their activations. */
static void forward(mica_tape *t, mica_params *p, mica_var x, mica_var out[2]) {
  mica_node *root = mica_params_root(p);
  out[0] = mica_gelu(t, mica_adapted_linear(t, mica_node_find(root, "fc1"), x));
  out[1] = mica_adapted_linear(t, mica_node_find(root, "fc2"), out[0]);
}

/* The given factors in the place of those of the decomposition. */
static void put(golden *g, mica_params *p) {
  char key[64];
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    snprintf(key, sizeof key, "param.student.%s", mica_param_path(q));
    if (!golden_has(g, key)) golden_fail(g, "there is no %s", key);
    const mica_view v = golden_view(g, key, MICA_F64);
    if (mica_view_count(&v) != mica_tensor_count(mica_param_value(q)))
      golden_fail(g, "%s has another size", key);
    memcpy(mica_param_write(q), v.data, (size_t)mica_view_count(&v) * sizeof(double));
  }
}

static void run(golden *g) {
  mica_params *teacher = make(g), *student = make(g);
  mica_low_rank_options o = MICA_LOW_RANK_OPTIONS;
  mica_tape *t;
  mica_loss *losses[3];
  char spec[3][120];
  o.ratio = golden_number(g, "compress_ratio", 2);
  golden_need(g, mica_low_rank(student, &o, NULL));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  mica_node *root = mica_params_root(student);
  golden_check_var(g, "out.fc1_lowrank_product", t,
                   mica_low_rank_weight(t, mica_node_find(root, "fc1")));
  golden_check_var(g, "out.fc2_lowrank_product", t,
                   mica_low_rank_weight(t, mica_node_find(root, "fc2")));
  put(g, student);

  const double eps = golden_number(g, "perturbation_target", 0);
  snprintf(spec[0], sizeof spec[0], "feature_mse");
  snprintf(spec[1], sizeof spec[1], "perturbation:eps=%.17g", eps);
  snprintf(spec[2], sizeof spec[2], "%.17g*feature_mse+%.17g*perturbation:eps=%.17g",
           golden_number(g, "feature_weight", 0.1), golden_number(g, "perturbation_weight", 1), eps);
  for (int i = 0; i < 3; i++)
    golden_need(g, mica_loss_create(golden_engine(g), spec[i], root, 0, 0, &losses[i]));
  mica_tape_reset(t);
  mica_loss_inputs in = {.taps = 2, .params = student, .teacher = teacher};
  const mica_var x = mica_input(t, golden_tensor(g, "in.x", MICA_F64));
  mica_no_grad_begin(t);
  forward(t, teacher, x, in.teacher_tap);
  mica_no_grad_end(t);
  in.teacher_features = in.teacher_tap[1];
  forward(t, student, x, in.tap);
  golden_check_var(g, "out.feature_loss", t, mica_loss_forward(t, losses[0], &in));
  golden_check_var(g, "out.perturbation_loss", t, mica_loss_forward(t, losses[1], &in));
  golden_need(g, mica_backward(t, mica_loss_forward(t, losses[2], &in)));
  for (int64_t i = 0; i < mica_params_count(student); i++) {
    char key[64];
    mica_param *q = mica_params_at(student, i);
    snprintf(key, sizeof key, "grad.student.%s", mica_param_path(q));
    golden_check(g, key, mica_param_grad(q));
  }
  for (int i = 0; i < 3; i++) mica_loss_free(losses[i]);
}

const golden_adapter golden_adapter_pela = {"pela", 1e-5, run};
