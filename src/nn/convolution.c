/* Convolution layers of lines, images and volumes, and their transposed forms. */
#include <mica/nn.h>

#include <math.h>

/* weight [first, kernel, last]; fan is what PyTorch takes for the number of inputs of an output. */
static mica_status add(mica_node *node, mica_layout_kind layout, int64_t first, int axes,
                       const int64_t *kernel, int64_t last, int64_t fan, int64_t out, bool bias,
                       const mica_init *given) {
  mica_shape shape = {.rank = axes + 2};
  double inputs = (double)fan;
  shape.dim[0] = first;
  for (int i = 0; i < axes; i++) {
    if (kernel[i] < 1)
      return mica_fail(MICA_ERR_INVALID, "convolution: kernel[%d] is %lld, expected 1 or more", i,
                       (long long)kernel[i]);
    shape.dim[1 + i] = kernel[i];
    inputs *= (double)kernel[i];
  }
  shape.dim[axes + 1] = last;
  const double bound = inputs > 0 ? 1 / sqrt(inputs) : 0;
  const mica_init init = {MICA_INIT_UNIFORM, -bound, bound, 0, false};
  mica_param *w;
  mica_status status = mica_param_add(
      node, "weight", MICA_F32, shape,
      MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_CONVOLUTION, given ? given : &init, &w);
  if (status != MICA_OK) return status;
  mica_param_set_layout(w, (mica_layout){layout, 0, 0, 0});
  if (bias)
    status = mica_param_add(node, "bias", MICA_F32, MICA_SHAPE(out),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_CONVOLUTION, &init, NULL);
  return status;
}

static mica_status check_groups(int64_t in, int64_t out, int64_t groups) {
  if (in >= 0 && out >= 0 && groups >= 1 && in % groups == 0 && out % groups == 0) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID,
                   "convolution: %lld groups do not divide %lld and %lld channels",
                   (long long)groups, (long long)in, (long long)out);
}

static mica_status plain(mica_node *node, int64_t in, int64_t out, int axes, const int64_t *kernel,
                         int64_t groups, bool bias, const mica_init *init) {
  const mica_status status = check_groups(in, out, groups);
  if (status != MICA_OK) return status;
  return add(node, MICA_LAYOUT_CONV, out, axes, kernel, in / groups, in / groups, out, bias, init);
}

static mica_status transposed(mica_node *node, int64_t in, int64_t out, int axes,
                              const int64_t *kernel, int64_t groups, bool bias,
                              const mica_init *init) {
  const mica_status status = check_groups(in, out, groups);
  if (status != MICA_OK) return status;
  return add(node, MICA_LAYOUT_CONV_TRANSPOSE, in, axes, kernel, out / groups, out / groups, out,
             bias, init);
}

mica_status mica_nn_conv1d_init(mica_node *node, int64_t in, int64_t out, int64_t k, int64_t groups,
                                bool bias, const mica_init *init) {
  return plain(node, in, out, 1, &k, groups, bias, init);
}
mica_status mica_nn_conv2d_init(mica_node *node, int64_t in, int64_t out, int64_t kh, int64_t kw,
                                int64_t groups, bool bias, const mica_init *init) {
  return plain(node, in, out, 2, (const int64_t[]){kh, kw}, groups, bias, init);
}
mica_status mica_nn_conv3d_init(mica_node *node, int64_t in, int64_t out, int64_t kd, int64_t kh,
                                int64_t kw, int64_t groups, bool bias, const mica_init *init) {
  return plain(node, in, out, 3, (const int64_t[]){kd, kh, kw}, groups, bias, init);
}
mica_status mica_nn_conv_transpose1d_init(mica_node *node, int64_t in, int64_t out, int64_t k,
                                          int64_t groups, bool bias, const mica_init *init) {
  return transposed(node, in, out, 1, &k, groups, bias, init);
}
mica_status mica_nn_conv_transpose2d_init(mica_node *node, int64_t in, int64_t out, int64_t kh,
                                          int64_t kw, int64_t groups, bool bias,
                                          const mica_init *init) {
  return transposed(node, in, out, 2, (const int64_t[]){kh, kw}, groups, bias, init);
}
mica_status mica_nn_conv_transpose3d_init(mica_node *node, int64_t in, int64_t out, int64_t kd,
                                          int64_t kh, int64_t kw, int64_t groups, bool bias,
                                          const mica_init *init) {
  return transposed(node, in, out, 3, (const int64_t[]){kd, kh, kw}, groups, bias, init);
}

#define FORWARD(form, options)                                                                     \
  mica_var mica_nn_##form(mica_tape *t, mica_node *node, const options *o, mica_var x) {           \
    mica_nn_enter(t, node);                                                                        \
    mica_var w = mica_adapted_weight(t, node, "weight");                                           \
    const mica_var y = mica_##form(t, x, w, mica_weight_optional(t, node, "bias"), o);             \
    return mica_scope_end(t, mica_adapted_output(t, node, y));                                     \
  }
FORWARD(conv1d, mica_conv_options)

/* A kernel in two factors is two convolutions: the first as this one, to fewer channels, the second
 * of single pixels. Of groups the product is used. */
mica_var mica_nn_conv2d(mica_tape *t, mica_node *node, const mica_conv_options *o, mica_var x) {
  mica_conv_options same = MICA_CONV_OPTIONS;
  mica_nn_enter(t, node);
  const bool pair = node && mica_node_low_rank(node);
  if (pair && (!o || o->groups == 1)) {
    const mica_var h = mica_nn_conv2d(t, mica_node_find(node, "0"), o, x);
    return mica_scope_end(t, mica_nn_conv2d(t, mica_node_find(node, "1"), &same, h));
  }
  const mica_var w = mica_adapted_weight(t, node, "weight");
  mica_node *at = pair ? mica_node_find(node, "1") : node;
  const mica_var y = mica_conv2d(t, x, w, mica_weight_optional(t, at, "bias"), o);
  return mica_scope_end(t, mica_adapted_output(t, node, y));
}

FORWARD(conv3d, mica_conv3d_options)
FORWARD(conv_transpose1d, mica_conv_options)
FORWARD(conv_transpose2d, mica_conv_options)
FORWARD(conv_transpose3d, mica_conv3d_options)
