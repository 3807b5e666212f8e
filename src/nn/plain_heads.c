/* Heads of one vector a class: linear, with hidden layers before it, and by cosine. Their weights
 * lie below "fc", apart from those of an architecture's own head. */
#include <mica/layer.h>

#include <math.h>

/* ---- linear ---- */

typedef struct linear_options {
  uint32_t size;
  mica_ints hidden;
  double dropout;
} linear_options;

static mica_status linear_init(mica_node *node, const void *given, const mica_layer_problem *p) {
  const linear_options *o = given;
  int64_t in = p->features;
  mica_status status = MICA_OK;
  for (int i = 0; i < o->hidden.n && status == MICA_OK; i++) {
    status = mica_nn_linear_init(mica_node_childf(node, "layers.%d", i), in, o->hidden.v[i], true);
    in = o->hidden.v[i];
  }
  return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "fc"), in, p->classes, true)
                           : status;
}

static void linear_forward(mica_tape *t, mica_node *node, const void *given,
                           const mica_layer_inputs *in, mica_layer_outputs *out) {
  const linear_options *o = given;
  mica_var x = in->features;
  for (int i = 0; i < o->hidden.n && mica_ok(t); i++) {
    char name[32];
    x = mica_nn_linear(t, mica_node_find(node, mica_node_index(name, sizeof name, "layers", i)), x);
    x = mica_relu(t, x);
  }
  if (o->dropout > 0) x = mica_dropout(t, x, o->dropout);
  out->logits = mica_nn_linear(t, mica_node_find(node, "fc"), x);
}

static const mica_option linear_table[] = {
    {"hidden", MICA_OPTION_INTS, "", 1, 1 << 20, NULL, "widths of layers before it, with ReLU",
     offsetof(linear_options, hidden)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "before the last layer",
     offsetof(linear_options, dropout)},
    {0}};

static const mica_layer_functions linear_functions = {linear_init, linear_forward, NULL};

extern const mica_component mica_component_layer_linear;
const mica_component mica_component_layer_linear = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LAYER,
    "linear",
    "a vector and a bias for each class, hidden layers before them if wanted",
    NULL,
    linear_table,
    sizeof(linear_options),
    MICA_NEED_FEATURES,
    MICA_NEED_LOGITS,
    &linear_functions};

/* ---- cosine ---- */

typedef struct cosine_options {
  uint32_t size;
  double scale;
} cosine_options;

static mica_status cosine_init(mica_node *node, const void *given, const mica_layer_problem *p) {
  (void)given;
  return mica_nn_linear_init(mica_node_child(node, "fc"), p->features, p->classes, false);
}

static void cosine_forward(mica_tape *t, mica_node *node, const void *given,
                           const mica_layer_inputs *in, mica_layer_outputs *out) {
  const cosine_options *o = given;
  mica_nn_enter(t, node);
  const mica_var x = mica_l2_normalise(t, in->features, 1e-12);
  const mica_var w =
      mica_l2_normalise(t, mica_adapted_weight(t, mica_node_find(node, "fc"), "weight"), 1e-12);
  const mica_var y = mica_linear(t, x, w, MICA_NONE, MICA_IDENTITY);
  out->logits = mica_scope_end(t, mica_affine(t, y, o->scale, 0));
}

static const mica_option cosine_table[] = {{"scale", MICA_OPTION_FLOAT, "25", 0, 1e6, NULL,
                                            "the largest logit", offsetof(cosine_options, scale)},
                                           {0}};

static const mica_layer_functions cosine_functions = {cosine_init, cosine_forward, NULL};

extern const mica_component mica_component_layer_cosine;
const mica_component mica_component_layer_cosine = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LAYER,
    "cosine",
    "a direction for each class: the cosine of feature and direction",
    NULL,
    cosine_table,
    sizeof(cosine_options),
    MICA_NEED_FEATURES,
    MICA_NEED_LOGITS,
    &cosine_functions};
