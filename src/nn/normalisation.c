/* Normalisation layers: batch, layer, RMS, group. */
#include <mica/nn.h>

#include "nn/batch_norm.h"

#include <string.h>

mica_norm_options mica_norm_options_of(const mica_norm_options *given) {
  mica_norm_options o = MICA_NORM_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  return o;
}

static mica_status add(mica_node *node, const char *name, mica_dtype dtype, mica_shape shape,
                       uint32_t flags, double value) {
  const mica_init init = {MICA_INIT_CONSTANT, value, 0, 0, false};
  return mica_param_add(node, name, dtype, shape, flags, &init, NULL);
}

#define TRAINED (MICA_PARAM_TRAINABLE | MICA_PARAM_NORM)

static mica_status gain_and_bias(mica_node *node, int64_t channels, double gain, uint32_t flags) {
  mica_status status = add(node, "weight", MICA_F32, MICA_SHAPE(channels), flags, gain);
  return status == MICA_OK ? add(node, "bias", MICA_F32, MICA_SHAPE(channels), flags, 0) : status;
}

mica_status mica_nn_batch_norm_init(mica_node *node, int64_t channels) {
  const uint32_t state = MICA_PARAM_BUFFER | MICA_PARAM_NORM | MICA_PARAM_BATCH_NORM;
  mica_status status = gain_and_bias(node, channels, 1, TRAINED | MICA_PARAM_BATCH_NORM);
  if (status == MICA_OK)
    status = add(node, "running_mean", MICA_F32, MICA_SHAPE(channels), state, 0);
  if (status == MICA_OK)
    status = add(node, "running_var", MICA_F32, MICA_SHAPE(channels), state, 1);
  if (status == MICA_OK) status = add(node, "num_batches_tracked", MICA_I64, MICA_SCALAR, state, 0);
  return status;
}

/* Queue the statistics of a batch of `rows` positions. */
static void keep_statistics(mica_tape *t, mica_node *node, double momentum, mica_var mean,
                            mica_var var, double rows) {
  if (!mica_ok(t)) return;
  mica_buffer_lerp(t, mica_node_param(node, "running_mean"), momentum, mean);
  mica_buffer_lerp(t, mica_node_param(node, "running_var"), momentum,
                   rows > 1 ? mica_affine(t, var, rows / (rows - 1), 0) : var);
  mica_param *count = mica_node_param(node, "num_batches_tracked");
  if (count) mica_buffer_add(t, count, mica_full(t, MICA_F32, MICA_SCALAR, 1));
}

/* Over all positions, or over those of the mask. */
static mica_var batch_norm(mica_tape *t, mica_node *node, const mica_norm_options *given,
                           mica_activation act, mica_var x, mica_var mask, mica_var residual) {
  const mica_norm_options o = mica_norm_options_of(given);
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight(t, node, "bias");
  mica_param *mean = mica_node_param(node, "running_mean"),
             *var = mica_node_param(node, "running_var");
  if (mica_ok(t) && (!mean || !var))
    mica_latch(t, MICA_ERR_NOT_FOUND, "no running statistics below '%s'", mica_node_path(node));
  const mica_view view = mica_read(t, x);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  if (!mica_is_training(t)) {
    mica_var m = mica_param_var(t, mean), v = mica_param_var(t, var);
    mica_var y = mica_batch_norm(t, x, gain, bias, m, v, o.eps, act);
    if (!mica_is_none(mask)) {
      mica_shape positions = view.shape;
      positions.dim[positions.rank - 1] = 1;
      const mica_var out =
          mica_equal(t, mask, mica_full(t, mica_dtype_of(t, mask), MICA_SCALAR, 0));
      y = mica_masked_fill(t, y, mica_reshape(t, out, positions), 0);
    }
    return mica_scope_end(t, y);
  }
  mica_var m, v, y;
  int64_t rows = mica_view_rows(&view);
  if (!mica_is_none(residual))
    y = mica_batch_norm_add_train(t, x, gain, bias, residual, o.eps, act, &m, &v);
  else if (mica_is_none(mask))
    y = mica_batch_norm_train(t, x, gain, bias, o.eps, act, &m, &v);
  else
    y = mica_masked_batch_norm_train(t, x, mask, gain, bias, o.eps, act, &m, &v, &rows);
  if (rows) keep_statistics(t, node, o.momentum, m, v, (double)rows);
  return mica_scope_end(t, y);
}

mica_var mica_nn_batch_norm(mica_tape *t, mica_node *node, mica_activation act, mica_var x) {
  return batch_norm(t, node, NULL, act, x, MICA_NONE, MICA_NONE);
}

mica_var mica_nn_batch_norm_with(mica_tape *t, mica_node *node, const mica_norm_options *o,
                                 mica_activation act, mica_var x) {
  return batch_norm(t, node, o, act, x, MICA_NONE, MICA_NONE);
}

mica_var mica_nn_masked_batch_norm(mica_tape *t, mica_node *node, mica_activation act, mica_var x,
                                   mica_var mask) {
  return batch_norm(t, node, NULL, act, x, mask, MICA_NONE);
}

mica_var mica_nn_batch_norm_add(mica_tape *t, mica_node *node, const mica_norm_options *o,
                                mica_activation act, mica_var x, mica_var residual) {
  return batch_norm(t, node, o, act, x, MICA_NONE, residual);
}

mica_status mica_nn_global_response_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels, 0, TRAINED);
}

mica_var mica_nn_global_response_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight(t, node, "bias");
  return mica_scope_end(t, mica_global_response_norm(t, x, gain, bias, eps));
}

mica_status mica_nn_layer_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels, 1, TRAINED);
}

mica_var mica_nn_layer_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight_optional(t, node, "bias");
  return mica_scope_end(t, mica_layer_norm(t, x, gain, bias, eps));
}

mica_status mica_nn_rms_norm_init(mica_node *node, int64_t channels) {
  return add(node, "weight", MICA_F32, MICA_SHAPE(channels), TRAINED, 1);
}

mica_var mica_nn_rms_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  mica_nn_enter(t, node);
  return mica_scope_end(t, mica_rms_norm(t, x, mica_weight(t, node, "weight"), eps));
}

mica_status mica_nn_group_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels, 1, TRAINED);
}

mica_var mica_nn_group_norm(mica_tape *t, mica_node *node, int64_t groups, double eps, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gain = mica_weight(t, node, "weight"), bias = mica_weight(t, node, "bias");
  return mica_scope_end(t, mica_group_norm(t, x, gain, bias, groups, eps));
}

mica_status mica_nn_instance_norm_init(mica_node *node, int64_t channels) {
  return gain_and_bias(node, channels, 1, TRAINED);
}

mica_var mica_nn_instance_norm(mica_tape *t, mica_node *node, double eps, mica_var x) {
  return mica_nn_group_norm(t, node, mica_dim(t, x, -1), eps, x);
}
