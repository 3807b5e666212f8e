#include "model/inverted_bottleneck.h"

int64_t mica_round_to_eights(double wanted) {
  int64_t eights = (int64_t)(wanted + 4) / 8 * 8;
  if (eights < 8) eights = 8;
  if ((double)eights < 0.9 * wanted) eights += 8;
  return eights;
}

mica_status mica_conv_norm_init(mica_node *node, const char *conv, const char *norm, int64_t in,
                                int64_t out, int64_t k, int64_t groups) {
  const mica_init he = {MICA_INIT_KAIMING_NORMAL, 0, 0, 1.4142135623730951, true};
  const mica_status status =
      mica_nn_conv2d_init(mica_node_child(node, conv), in, out, k, k, groups, false, &he);
  return status == MICA_OK ? mica_nn_batch_norm_init(mica_node_child(node, norm), out) : status;
}

mica_status mica_squeeze_and_excite_init(mica_node *node, const char *reduce, const char *expand,
                                         int64_t wide, int64_t narrow) {
  const mica_status status =
      mica_nn_conv2d_init(mica_node_child(node, reduce), wide, narrow, 1, 1, 1, true, NULL);
  return status == MICA_OK
             ? mica_nn_conv2d_init(mica_node_child(node, expand), narrow, wide, 1, 1, 1, true, NULL)
             : status;
}

mica_var mica_squeeze_and_excite(mica_tape *t, mica_node *reduce, mica_node *expand,
                                 mica_activation inner, mica_activation gate, mica_var x) {
  const mica_conv_options o = MICA_CONV_OPTIONS;
  mica_var mean = mica_global_avg_pool(t, x);
  mean = mica_reshape(t, mean, MICA_SHAPE(mica_dim(t, mean, 0), 1, 1, mica_dim(t, mean, 1)));
  mica_var h = mica_activate(t, inner, mica_nn_conv2d(t, reduce, &o, mean));
  h = mica_activate(t, gate, mica_nn_conv2d(t, expand, &o, h));
  return mica_mul(t, x, h);
}
