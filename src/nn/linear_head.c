/* The head of a vector and a bias for each class, behind an embedding and hidden layers if wanted.
 * Its last layer is "fc". */
#include "nn/head_front.h"

typedef mica_linear_head_options options;

static int64_t width(const void *given, int64_t features) {
  return mica_front_width(&((const options *)given)->front, features);
}

static mica_status init(mica_node *node, const void *given, const mica_layer_problem *p) {
  const options *o = given;
  int64_t in = width(o, p->features);
  mica_status status = mica_front_init(node, &o->front, p->features);
  for (int i = 0; i < o->hidden.n && status == MICA_OK; i++) {
    status = mica_nn_linear_init(mica_node_childf(node, "layers.%d", i), in, o->hidden.v[i], true);
    in = o->hidden.v[i];
  }
  return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "fc"), in, p->classes, true)
                           : status;
}

static void forward(mica_tape *t, mica_node *node, const void *given, const mica_layer_inputs *in,
                    mica_layer_outputs *out) {
  const options *o = given;
  mica_var x = mica_front(t, node, &o->front, in);
  if (o->front.dim || o->front.pool) out->features = x;
  for (int i = 0; i < o->hidden.n && mica_ok(t); i++) {
    char name[32];
    x = mica_nn_linear(t, mica_node_find(node, mica_node_index(name, sizeof name, "layers", i)), x);
    x = mica_relu(t, x);
  }
  if (o->dropout > 0) x = mica_dropout(t, x, o->dropout);
  out->logits = mica_nn_linear(t, mica_node_find(node, "fc"), x);
}

static const mica_option table[] = {MICA_FRONT_ROWS(options),
                                    {"hidden", MICA_OPTION_INTS, "", 1, 1 << 20, NULL,
                                     "widths of layers before it, with ReLU",
                                     offsetof(options, hidden)},
                                    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
                                     "before the last layer", offsetof(options, dropout)},
                                    {0}};

static const mica_layer_functions functions = {init, forward, width, NULL, NULL, NULL};

extern const mica_component mica_component_layer_linear;
const mica_component mica_component_layer_linear = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LAYER,
    "linear",
    "a vector and a bias for each class, hidden layers before them if wanted",
    NULL,
    table,
    sizeof(options),
    MICA_NEED_FEATURES,
    MICA_NEED_LOGITS | MICA_NEED_FEATURES,
    &functions};
