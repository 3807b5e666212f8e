/* Multi-head self-attention with a packed projection of queries, keys and values. */
#include <mica/nn.h>

mica_status mica_nn_attention_init(mica_node *node, int64_t channels, bool qkv_bias) {
  mica_status status =
      mica_nn_linear_init(mica_node_child(node, "qkv"), channels, 3 * channels, qkv_bias);
  return status == MICA_OK
             ? mica_nn_linear_init(mica_node_child(node, "proj"), channels, channels, true)
             : status;
}

mica_var mica_nn_attention(mica_tape *t, mica_node *node, int64_t heads,
                           const mica_attention_options *o, mica_var x, mica_var bias) {
  mica_nn_enter(t, node);
  const int64_t c = mica_dim(t, x, 2);
  if (mica_ok(t) && (heads < 1 || c % heads))
    mica_latch(t, MICA_ERR_INVALID, "attention: %lld heads do not divide %lld channels",
               (long long)heads, (long long)c);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  mica_var y = mica_nn_linear(t, mica_node_find(node, "qkv"), x);
  y = mica_replace(t, y, mica_packed_attention(t, y, heads, bias, o));
  return mica_scope_end(t, mica_nn_linear(t, mica_node_find(node, "proj"), y));
}
