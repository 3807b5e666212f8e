/* A tower of linear layers with ReLU, as recommenders have them. */
#include <mica/nn.h>

mica_status mica_nn_tower_init(mica_node *node, int64_t in, const mica_ints *widths, bool norm) {
  mica_status status = node ? MICA_OK : mica_last_status();
  for (int i = 0; i < widths->n && status == MICA_OK; i++) {
    status = mica_nn_linear_init(mica_node_childf(node, "layers.%d", i), in, widths->v[i], true);
    in = widths->v[i];
    if (status == MICA_OK && norm)
      status = mica_nn_batch_norm_init(mica_node_childf(node, "norms.%d", i), in);
  }
  return status;
}

/* In training relu comes with the product; a prediction's weights are packed. */
static mica_var layer_relu(mica_tape *t, mica_node *layer, mica_var x) {
  if (!layer || mica_node_adapted(layer) || !mica_is_recording(t)) {
    const mica_var y = mica_nn_linear(t, layer, x);
    return mica_replace(t, y, mica_relu(t, y));
  }
  mica_nn_enter(t, layer);
  const mica_var w = mica_weight(t, layer, "weight"), b = mica_weight_optional(t, layer, "bias");
  return mica_scope_end(t, mica_linear(t, x, w, b, MICA_RELU));
}

mica_var mica_nn_tower(mica_tape *t, mica_node *node, const mica_ints *widths, double dropout,
                       mica_var x) {
  mica_nn_enter(t, node);
  mica_var h = x;
  for (int i = 0; i < widths->n && mica_ok(t); i++) {
    char name[32];
    mica_node *layer = mica_node_find(node, mica_node_index(name, sizeof name, "layers", i)),
              *norm = mica_node_find(node, mica_node_index(name, sizeof name, "norms", i));
    mica_var y = norm ? mica_nn_linear(t, layer, h) : layer_relu(t, layer, h);
    if (norm) y = mica_replace(t, y, mica_nn_batch_norm(t, norm, MICA_RELU, y));
    if (dropout > 0) y = mica_replace(t, y, mica_dropout(t, y, dropout));
    h = mica_replace(t, h, y);
  }
  return mica_scope_end(t, h);
}
