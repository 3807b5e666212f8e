/* The head of backward-compatible training by basis transformation: rotations that put what an
 * older index understands first and lose nothing.
 */
#include <mica/layer.h>

mica_status mica_nn_bt2_init(mica_node *node, int64_t features, int64_t classes,
                             const mica_bt2_options *o) {
  const int64_t d = features - o->old;
  if (o->old < 1 || d < 1 || o->add < 0 || o->add > o->old || o->old > d + o->add)
    return mica_fail(MICA_ERR_INVALID,
                     "bt2: %lld features with old=%lld and add=%lld, expected old below the "
                     "features and add <= old <= features - old + add",
                     (long long)features, (long long)o->old, (long long)o->add);
  mica_status status = mica_nn_linear_init(mica_node_child(node, "fc3"), features, o->old, true);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(node, "fc_out"), d, classes, false);
  if (status == MICA_OK)
    status = mica_nn_orthogonal_init(mica_node_child(node, "ortholinear_p"), d, d);
  return status == MICA_OK
             ? mica_nn_orthogonal_init(mica_node_child(node, "ortholinear_old2"), o->old, o->old)
             : status;
}

mica_var mica_nn_bt2(mica_tape *t, mica_node *node, const mica_bt2_options *o, mica_var z,
                     mica_var *logits, mica_var *old_part, mica_var *new_part) {
  const mica_orthogonal_map map = (mica_orthogonal_map)o->map;
  mica_nn_enter(t, node);
  const int64_t width = mica_dim(t, z, 1), d = width - o->old, all = d + o->add;
  mica_var f = mica_l2_normalise(t, mica_slice(t, z, 1, 0, d), 1e-12);
  mica_var y = mica_nn_linear(t, mica_node_find(node, "fc_out"), f);
  mica_var v = mica_nn_orthogonal(t, mica_node_find(node, "ortholinear_p"), map,
                                  mica_affine(t, f, o->scale, 0));
  if (o->add) {
    mica_var more = mica_nn_linear(t, mica_node_find(node, "fc3"), mica_relu(t, z));
    more = mica_l2_normalise(t, mica_slice(t, more, 1, 0, o->add), 1e-12);
    v = mica_concat(t, 2, (mica_var[]){more, v}, 1);
  }
  mica_var b = mica_nn_orthogonal(t, mica_node_find(node, "ortholinear_old2"), map,
                                  mica_slice(t, v, 1, 0, o->old));
  mica_var embedding = b;
  if (o->old < all)
    embedding = mica_concat(t, 2, (mica_var[]){b, mica_slice(t, v, 1, o->old, all)}, 1);
  mica_var keep[4] = {embedding, y, b, f};
  mica_scope_end_n(t, 4, keep);
  if (logits) *logits = keep[1];
  if (old_part) *old_part = keep[2];
  if (new_part) *new_part = keep[3];
  return keep[0];
}

/* ---- the component ---- */

static mica_status init(mica_node *node, const void *options, const mica_layer_problem *p) {
  return mica_nn_bt2_init(node, p->features, p->classes, options);
}

static void forward(mica_tape *t, mica_node *node, const void *options, const mica_layer_inputs *in,
                    mica_layer_outputs *out) {
  out->features =
      mica_nn_bt2(t, node, options, in->features, &out->logits, &out->part[0], &out->part[1]);
}

static int64_t features(const void *options, int64_t given) {
  const mica_bt2_options *o = options;
  return given - o->old + o->add;
}

#define ROW(name, type, def, lo, hi, choices, help)                                                \
  { #name, MICA_OPTION_##type, def, lo, hi, choices, help, offsetof(mica_bt2_options, name) }
static const mica_option table[] = {
    ROW(old, INT, "16", 1, 1 << 20, NULL, "dimensions of the older embedding"),
    ROW(add, INT, "4", 0, 1 << 20, NULL, "dimensions that come to those of the new one"),
    ROW(scale, FLOAT, "2", 0, 1e6, NULL, "of the new part beside what is added"),
    ROW(map, CHOICE, "exp", 0, 0, "exp|cayley|householder", "how rotations are made"),
    {0}};

static const mica_layer_functions functions = {init, forward, features, NULL, NULL, NULL};

extern const mica_component mica_component_layer_bt2;
const mica_component mica_component_layer_bt2 = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LAYER,
    "bt2",
    "an embedding whose first dimensions answer an older one's index",
    "backward-compatible",
    table,
    sizeof(mica_bt2_options),
    MICA_NEED_FEATURES,
    MICA_NEED_LOGITS | MICA_NEED_FEATURES,
    &functions};
