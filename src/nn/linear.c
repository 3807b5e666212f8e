/* The fully connected layer, and the two-layer perceptron of transformers. */
#include <mica/nn.h>

#include <math.h>

void mica_nn_enter(mica_tape *t, const mica_node *node) {
  mica_scope_begin(t, node ? mica_node_name(node) : NULL);
}

mica_status mica_nn_linear_init(mica_node *node, int64_t in, int64_t out, bool bias) {
  const double bound = in > 0 ? 1 / sqrt((double)in) : 0;
  const mica_init init = {MICA_INIT_UNIFORM, -bound, bound, 0, false};
  mica_status status =
      mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(out, in),
                     MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_LINEAR, &init, NULL);
  if (status == MICA_OK && bias)
    status = mica_param_add(node, "bias", MICA_F32, MICA_SHAPE(out),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_LINEAR, &init, NULL);
  return status;
}

mica_var mica_nn_linear(mica_tape *t, mica_node *node, mica_var x) {
  mica_nn_enter(t, node);
  return mica_scope_end(t, mica_adapted_linear(t, node, x));
}

mica_status mica_nn_mlp_init(mica_node *node, int64_t in, int64_t hidden, int64_t out) {
  mica_status status = mica_nn_linear_init(mica_node_child(node, "fc1"), in, hidden, true);
  return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "fc2"), hidden, out, true)
                           : status;
}

mica_var mica_nn_mlp(mica_tape *t, mica_node *node, mica_activation act, double dropout,
                     mica_var x) {
  mica_nn_enter(t, node);
  mica_var h = mica_nn_linear(t, mica_node_find(node, "fc1"), x);
  h = mica_replace(t, h, mica_activate(t, act, h));
  if (dropout > 0) h = mica_dropout(t, h, dropout);
  h = mica_replace(t, h, mica_nn_linear(t, mica_node_find(node, "fc2"), h));
  if (dropout > 0) h = mica_dropout(t, h, dropout);
  return mica_scope_end(t, h);
}
