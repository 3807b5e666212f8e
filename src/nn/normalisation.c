/* Normalisation layers: batch, layer, RMS, group. */
#include <mica/nn.h>

#include "nn/batch_norm.h"

#define BATCH_MOMENTUM 0.1

static mica_status add(mica_node *node, const char *name, mica_dtype dtype, mica_shape shape,
                       uint32_t flags, double value) {
  const mica_init init = {MICA_INIT_CONSTANT, value, 0, 0, false};
  return mica_param_add(node, name, dtype, shape, flags, &init, NULL);
}

static mica_status gain_and_bias(mica_node *node, int64_t channels) {
  mica_status status = add(node, "weight", MICA_F32, MICA_SHAPE(channels), MICA_PARAM_TRAINABLE, 1);
  return status == MICA_OK
             ? add(node, "bias", MICA_F32, MICA_SHAPE(channels), MICA_PARAM_TRAINABLE, 0)
             : status;
}

mica_status mica_nn_batch_norm_init(mica_node *node, int64_t channels) {
  mica_status status = gain_and_bias(node, channels);
  if (status == MICA_OK)
    status = add(node, "running_mean", MICA_F32, MICA_SHAPE(channels), MICA_PARAM_BUFFER, 0);
  if (status == MICA_OK)
    status = add(node, "running_var", MICA_F32, MICA_SHAPE(channels), MICA_PARAM_BUFFER, 1);
  if (status == MICA_OK)
    status = add(node, "num_batches_tracked", MICA_I64, MICA_SCALAR, MICA_PARAM_BUFFER, 0);
  return status;
}

mica_var mica_nn_batch_norm(mica_tape *t, mica_node *node, mica_activation act, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight(t, node, "bias");
  mica_param *mean = mica_node_param(node, "running_mean"),
             *var = mica_node_param(node, "running_var");
  if (mica_ok(t) && (!mean || !var))
    mica_latch(t, MICA_ERR_NOT_FOUND, "no running statistics below '%s'", mica_node_path(node));
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  if (!mica_is_training(t)) {
    mica_var m = mica_param_var(t, mean), v = mica_param_var(t, var);
    return mica_scope_end(t, mica_batch_norm(t, x, gain, bias, m, v, MICA_BATCH_NORM_EPS, act));
  }
  mica_var m, v;
  mica_var y = mica_batch_norm_train(t, x, gain, bias, MICA_BATCH_NORM_EPS, act, &m, &v);
  const mica_view view = mica_read(t, x);
  const double rows = (double)mica_view_rows(&view);
  if (mica_ok(t)) {
    mica_buffer_lerp(t, mean, BATCH_MOMENTUM, m);
    mica_buffer_lerp(t, var, BATCH_MOMENTUM,
                     rows > 1 ? mica_affine(t, v, rows / (rows - 1), 0) : v);
    mica_param *count = mica_node_param(node, "num_batches_tracked");
    if (count) mica_buffer_add(t, count, mica_full(t, MICA_F32, MICA_SCALAR, 1));
  }
  return mica_scope_end(t, y);
}

mica_status mica_nn_layer_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels);
}

mica_var mica_nn_layer_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight_optional(t, node, "bias");
  return mica_scope_end(t, mica_layer_norm(t, x, gain, bias, eps));
}

mica_status mica_nn_rms_norm_init(mica_node *node, int64_t channels) {
  return add(node, "weight", MICA_F32, MICA_SHAPE(channels), MICA_PARAM_TRAINABLE, 1);
}

mica_var mica_nn_rms_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  mica_nn_enter(t, node);
  return mica_scope_end(t, mica_rms_norm(t, x, mica_weight(t, node, "weight"), eps));
}

mica_status mica_nn_group_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels);
}

mica_var mica_nn_group_norm(mica_tape *t, mica_node *node, int64_t groups, double eps, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight(t, node, "bias");
  return mica_scope_end(t, mica_group_norm(t, x, gain, bias, groups, eps));
}

mica_status mica_nn_instance_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels);
}

mica_var mica_nn_instance_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  return mica_nn_group_norm(t, node, mica_dim(t, x, -1), eps, x);
}
