/* A partly shared recalibration of a frozen block: one thin layer down, two up. */
#include <mica/layer.h>

static mica_status add(mica_node *node, const char *name, int64_t in, int64_t out,
                       const mica_init *init) {
  return mica_param_add(mica_node_child(node, name), "weight", MICA_F32, MICA_SHAPE(out, in),
                        MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_LINEAR, init, NULL);
}

mica_status mica_nn_recalibration_init(mica_node *node, int64_t channels, int64_t rank, bool zero) {
  const mica_init normal = {MICA_INIT_TRUNC_NORMAL, 0, 0.02, 0, false};
  const mica_init *up = zero ? &MICA_INIT_ZEROS : &normal;
  mica_status status = add(node, "down", channels, rank, &normal);
  if (status == MICA_OK) status = add(node, "up_weight", rank, channels, up);
  return status == MICA_OK ? add(node, "up_bias", rank, channels, up) : status;
}

void mica_nn_recalibration(mica_tape *t, mica_node *node, mica_var x, mica_var *weight,
                           mica_var *bias) {
  mica_nn_enter(t, node);
  const mica_var u = mica_relu(t, mica_nn_linear(t, mica_node_find(node, "down"), x));
  mica_var y[2] = {mica_nn_linear(t, mica_node_find(node, "up_weight"), u),
                   mica_nn_linear(t, mica_node_find(node, "up_bias"), u)};
  mica_scope_end_n(t, 2, y);
  *weight = y[0];
  *bias = y[1];
}
