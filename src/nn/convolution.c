/* The 2-D convolution layer. */
#include <mica/nn.h>

#include <math.h>

mica_status mica_nn_conv2d_init(mica_node *node, int64_t in, int64_t out, int64_t kh, int64_t kw,
                                int64_t groups, bool bias, const mica_init *given) {
  if (groups < 1 || in % groups || out % groups)
    return mica_fail(MICA_ERR_INVALID,
                     "convolution: %lld groups do not divide %lld and %lld channels",
                     (long long)groups, (long long)in, (long long)out);
  const double fan = (double)(in / groups * kh * kw), bound = fan > 0 ? 1 / sqrt(fan) : 0;
  const mica_init init = {MICA_INIT_UNIFORM, -bound, bound, 0, false};
  mica_param *w;
  mica_status status =
      mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(out, kh, kw, in / groups),
                     MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY, given ? given : &init, &w);
  if (status != MICA_OK) return status;
  mica_param_set_layout(w, (mica_layout){MICA_LAYOUT_CONV, 0, 0, 0});
  if (bias)
    status =
        mica_param_add(node, "bias", MICA_F32, MICA_SHAPE(out), MICA_PARAM_TRAINABLE, &init, NULL);
  return status;
}

mica_var mica_nn_conv2d(mica_tape *t, mica_node *node, const mica_conv_options *o, mica_var x) {
  mica_nn_enter(t, node);
  mica_var w = mica_adapted_weight(t, node, "weight");
  return mica_scope_end(t, mica_conv2d(t, x, w, mica_weight_optional(t, node, "bias"), o));
}
