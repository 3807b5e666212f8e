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
  const int64_t n = mica_dim(t, x, 0), l = mica_dim(t, x, 1), c = mica_dim(t, x, 2);
  if (mica_ok(t) && (heads < 1 || c % heads))
    mica_latch(t, MICA_ERR_INVALID, "attention: %lld heads do not divide %lld channels",
               (long long)heads, (long long)c);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  mica_var packed = mica_nn_linear(t, mica_node_find(node, "qkv"), x), part[3];
  mica_split(t, packed, 2, 3, (int64_t[]){c, c, c}, part);
  for (int i = 0; i < 3; i++)
    part[i] = mica_reshape(t, part[i], MICA_SHAPE(n, l, heads, c / heads));
  mica_var y = mica_masked_attention(t, part[0], part[1], part[2], bias, o, NULL);
  y = mica_reshape(t, y, MICA_SHAPE(n, l, c));
  return mica_scope_end(t, mica_nn_linear(t, mica_node_find(node, "proj"), y));
}
