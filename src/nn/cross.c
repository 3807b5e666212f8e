/* Cross layers: explicit products of the features (Wang et al. 2017, 2021). */
#include <mica/nn.h>

static mica_status add_matrix(mica_node *node, const char *name, int64_t rows, int64_t cols) {
  const mica_init init = {MICA_INIT_XAVIER_NORMAL, 0, 0, 0, false};
  return mica_param_add(node, name, MICA_F32, MICA_SHAPE(rows, cols),
                        MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_LINEAR, &init, NULL);
}

static mica_status expert_init(mica_node *node, int64_t width, int64_t rank, bool core) {
  mica_status status = add_matrix(node, "down", rank, width);
  if (status == MICA_OK && core) status = add_matrix(node, "core", rank, rank);
  return status == MICA_OK ? add_matrix(node, "up", width, rank) : status;
}

static mica_status layer_init(mica_node *node, int64_t width, const mica_cross_options *o) {
  mica_status status =
      mica_param_add(node, "bias", MICA_F32, MICA_SHAPE(width),
                     MICA_PARAM_TRAINABLE | MICA_PARAM_LINEAR, &MICA_INIT_ZEROS, NULL);
  if (status != MICA_OK) return status;
  if (!o->matrix || !o->rank) return add_matrix(node, "weight", o->matrix ? width : 1, width);
  if (o->experts == 1) return expert_init(node, width, o->rank, false);
  status = add_matrix(node, "gate", o->experts, width);
  for (int64_t e = 0; e < o->experts && status == MICA_OK; e++)
    status =
        expert_init(mica_node_childf(node, "experts.%lld", (long long)e), width, o->rank, true);
  return status;
}

mica_status mica_nn_cross_init(mica_node *node, int64_t width, const mica_cross_options *o) {
  mica_status status = node ? MICA_OK : mica_last_status();
  for (int64_t i = 0; i < o->layers && status == MICA_OK; i++)
    status = layer_init(mica_node_childf(node, "layers.%lld", (long long)i), width, o);
  return status;
}

/* U act(C act(V^T x)) + bias, without act and C where there is one expert. */
static mica_var expert(mica_tape *t, mica_node *node, mica_var bias, mica_var x) {
  mica_var core = mica_weight_optional(t, node, "core");
  const mica_activation act = mica_is_none(core) ? MICA_IDENTITY : MICA_TANH;
  mica_var h = mica_linear(t, x, mica_weight(t, node, "down"), MICA_NONE, act);
  if (!mica_is_none(core)) h = mica_replace(t, h, mica_linear(t, h, core, MICA_NONE, act));
  return mica_linear(t, h, mica_weight(t, node, "up"), bias, MICA_IDENTITY);
}

static mica_var mixture(mica_tape *t, mica_node *node, int64_t experts, mica_var bias, mica_var x) {
  mica_var scores = mica_linear(t, x, mica_weight(t, node, "gate"), MICA_NONE, MICA_IDENTITY);
  mica_var gate = mica_softmax(t, scores, -1), sum = MICA_NONE;
  for (int64_t e = 0; e < experts && mica_ok(t); e++) {
    char name[32];
    mica_node *one = mica_node_find(node, mica_node_index(name, sizeof name, "experts", e));
    mica_var y = mica_mul(t, mica_slice(t, gate, 1, e, e + 1), expert(t, one, bias, x));
    sum = e ? mica_replace(t, sum, mica_add(t, sum, y)) : y;
  }
  return sum;
}

static mica_var layer(mica_tape *t, mica_node *node, const mica_cross_options *o, mica_var x0,
                      mica_var x) {
  mica_nn_enter(t, node);
  mica_var bias = mica_weight(t, node, "bias"), y;
  if (!o->matrix) {
    mica_var dot =
        mica_linear(t, x, mica_adapted_weight(t, node, "weight"), MICA_NONE, MICA_IDENTITY);
    dot = mica_adapted_output(t, node, dot);
    y = mica_add(t, mica_mul(t, x0, dot), bias);
  } else if (!o->rank) {
    y = mica_mul(t, x0, mica_adapted_linear(t, node, x));
  } else {
    y = mica_mul(
        t, x0, o->experts == 1 ? expert(t, node, bias, x) : mixture(t, node, o->experts, bias, x));
  }
  return mica_scope_end(t, mica_add(t, y, x));
}

mica_var mica_nn_cross(mica_tape *t, mica_node *node, const mica_cross_options *o, mica_var x) {
  mica_nn_enter(t, node);
  mica_var y = x;
  for (int64_t i = 0; i < o->layers && mica_ok(t); i++) {
    char name[32];
    mica_node *one = mica_node_find(node, mica_node_index(name, sizeof name, "layers", i));
    mica_var next = layer(t, one, o, x, y);
    y = mica_replace(t, y, next);
  }
  return mica_scope_end(t, y);
}
