/* Cases: normalisation. */
#include "gradients/gradients.h"

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }
RUN(layer, mica_layer_norm(t, in[0], in[1], in[2], 1e-5))
RUN(layer_plain, mica_layer_norm(t, in[0], MICA_NONE, MICA_NONE, 1e-5))
RUN(rms, mica_rms_norm(t, in[0], in[1], 1e-6))
RUN(group, mica_group_norm(t, in[0], in[1], in[2], 2, 1e-5))
RUN(instance, mica_instance_norm(t, in[0], in[1], in[2], 1e-5))
RUN(channel_groups, mica_group_norm(t, in[0], in[1], in[2], 4, 1e-5))
RUN(batch, mica_batch_norm_train(t, in[0], in[1], in[2], 1e-5, MICA_IDENTITY, NULL, NULL))
RUN(batch_gelu, mica_batch_norm_train(t, in[0], in[1], in[2], 1e-5, MICA_GELU, NULL, NULL))
RUN(batch_add,
    mica_batch_norm_add_train(t, in[0], in[1], in[2], in[3], 1e-5, MICA_IDENTITY, NULL, NULL))
RUN(batch_add_gelu,
    mica_batch_norm_add_train(t, in[0], in[1], in[2], in[3], 1e-5, MICA_GELU, NULL, NULL))
RUN(fixed, mica_batch_norm(t, in[0], in[1], in[2], in[3], in[4], 1e-5, MICA_IDENTITY))
RUN(fixed_relu, mica_batch_norm(t, in[0], in[1], in[2], in[3], in[4], 1e-5, MICA_RELU))

/* With a large bias on half the channels relu is never at its kink. */
static mica_var batch_relu(mica_tape *t, const mica_var *in) {
  mica_var bias = mica_affine(t, in[2], 1, 5);
  return mica_batch_norm_train(t, in[0], in[1], bias, 1e-5, MICA_RELU, NULL, NULL);
}

/* Far from the kink, above it and below. */
static mica_var batch_add_relu(mica_tape *t, const mica_var *in) {
  const mica_var far = mica_affine(t, mica_sign(t, in[3]), 9, 0);
  return mica_batch_norm_add_train(t, in[0], in[1], in[2], mica_add(t, in[3], far), 1e-5, MICA_RELU,
                                   NULL, NULL);
}

/* The residual is what is normalised, and used again: its gradient has three parts. */
static mica_var batch_add_itself(mica_tape *t, const mica_var *in) {
  const mica_var y =
      mica_batch_norm_add_train(t, in[0], in[1], in[2], in[0], 1e-5, MICA_TANH, NULL, NULL);
  return mica_add(t, y, in[0]);
}

/* A residual with a row stride, without gain and bias. */
static mica_var batch_add_plain(mica_tape *t, const mica_var *in) {
  const mica_var wide = mica_concat(t, 2, (mica_var[]){in[1], in[0]}, 1);
  const mica_var residual = mica_affine(t, mica_slice(t, wide, 1, 0, 3), 1, 9);
  return mica_batch_norm_add_train(t, in[0], MICA_NONE, MICA_NONE, residual, 1e-5, MICA_RELU, NULL,
                                   NULL);
}

RUN(response, mica_global_response_norm(t, in[0], in[1], in[2], 1e-6))

/* Every third position is left out. */
static mica_var masked_batch(mica_tape *t, const mica_var *in) {
  mica_shape positions = {mica_rank(t, in[0]) - 1, {0}};
  for (int i = 0; i < positions.rank; i++) positions.dim[i] = mica_dim(t, in[0], i);
  const mica_var mask = gradient_ids(t, positions, 0, 1, 3);
  return mica_masked_batch_norm_train(t, in[0], mask, in[1], in[2], 1e-5, MICA_TANH, NULL, NULL,
                                      NULL);
}

#define B 5e-5
#define IN(...)                                                                                    \
  { MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false }
#define POS(...)                                                                                   \
  { MICA_SHAPE(__VA_ARGS__), 0.5, 2, 0, false }
#define ST(lo, hi, ...)                                                                            \
  { MICA_SHAPE(__VA_ARGS__), lo, hi, 0, true }
static const gradient_case cases[] = {
    {"layer_norm", "", 3, {IN(4, 7), POS(7), IN(7)}, layer, B, false, false},
    {"layer_norm", "tokens", 3, {IN(2, 3, 5), POS(5), IN(5)}, layer, B, false, false},
    {"layer_norm", "plain", 1, {IN(3, 6)}, layer_plain, B, false, false},
    {"rms_norm", "", 2, {IN(4, 7), POS(7)}, rms, B, false, false},
    {"group_norm", "", 3, {IN(2, 3, 4), POS(4), IN(4)}, group, B, false, false},
    {"group_norm", "instance", 3, {IN(2, 3, 2, 4), POS(4), IN(4)}, channel_groups, B, false, false},
    {"instance_norm", "", 3, {IN(2, 3, 2, 4), POS(4), IN(4)}, instance, B, false, false},
    {"batch_norm_train", "", 3, {IN(5, 3), POS(3), IN(3)}, batch, B, false, true},
    {"batch_norm_train", "images", 3, {IN(2, 3, 2, 4), POS(4), IN(4)}, batch, B, false, true},
    {"batch_norm_train", "relu", 3, {IN(6, 3), POS(3), IN(3)}, batch_relu, B, false, true},
    {"batch_norm_train", "gelu", 3, {IN(6, 3), POS(3), IN(3)}, batch_gelu, B, false, true},
    {"batch_norm_add_train", "", 4, {IN(5, 3), POS(3), IN(3), IN(5, 3)}, batch_add, B, false, true},
    {"batch_norm_add_train",
     "relu",
     4,
     {IN(2, 3, 2, 4), POS(4), IN(4), IN(2, 3, 2, 4)},
     batch_add_relu,
     B,
     false,
     true},
    {"batch_norm_add_train",
     "gelu",
     4,
     {IN(6, 3), POS(3), IN(3), IN(6, 3)},
     batch_add_gelu,
     B,
     false,
     true},
    {"batch_norm_add_train",
     "itself",
     3,
     {IN(6, 3), POS(3), IN(3)},
     batch_add_itself,
     B,
     false,
     true},
    {"batch_norm_add_train", "plain", 2, {IN(6, 3), IN(6, 3)}, batch_add_plain, B, false, true},
    {"masked_batch_norm_train", "", 3, {IN(8, 3), POS(3), IN(3)}, masked_batch, B, false, true},
    {"masked_batch_norm_train",
     "images",
     3,
     {IN(2, 3, 2, 4), POS(4), IN(4)},
     masked_batch,
     B,
     false,
     true},
    {"masked_batch_norm_train",
     "nothing",
     3,
     {IN(1, 4), POS(4), IN(4)},
     masked_batch,
     B,
     false,
     true},
    {"global_response_norm", "", 3, {IN(2, 3, 2, 4), IN(4), IN(4)}, response, B, false, false},
    {"global_response_norm", "tokens", 3, {IN(3, 5, 1), IN(1), IN(1)}, response, B, false, false},
    {"global_response_norm", "empty", 3, {IN(0, 5, 2), IN(2), IN(2)}, response, B, false, false},
    {"batch_norm",
     "",
     5,
     {IN(4, 3), POS(3), IN(3), ST(-1, 1, 3), ST(0.5, 2, 3)},
     fixed,
     B,
     false,
     false},
    {"batch_norm",
     "relu",
     5,
     {IN(4, 3), POS(3), IN(3), ST(-1, 1, 3), ST(0.5, 2, 3)},
     fixed_relu,
     B,
     false,
     false},
};
FAMILY(normalisation);
