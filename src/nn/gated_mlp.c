/* The gated feed-forward of Llama and its kin. */
#include <mica/nn.h>

mica_status mica_nn_gated_mlp_init(mica_node *node, int64_t in, int64_t hidden, int64_t out,
                                   bool bias) {
  mica_status status = mica_nn_linear_init(mica_node_child(node, "gate_proj"), in, hidden, bias);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(node, "up_proj"), in, hidden, bias);
  return status == MICA_OK
             ? mica_nn_linear_init(mica_node_child(node, "down_proj"), hidden, out, bias)
             : status;
}

mica_var mica_nn_gated_mlp(mica_tape *t, mica_node *node, mica_activation act, mica_var x) {
  mica_nn_enter(t, node);
  mica_var gate = mica_nn_linear(t, mica_node_find(node, "gate_proj"), x);
  gate = mica_replace(t, gate, mica_activate(t, act, gate));
  mica_var h = mica_nn_linear(t, mica_node_find(node, "up_proj"), x);
  h = mica_replace(t, h, mica_mul(t, gate, h));
  return mica_scope_end(t, mica_nn_linear(t, mica_node_find(node, "down_proj"), h));
}
