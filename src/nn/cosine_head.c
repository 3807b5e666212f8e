/* The head whose classes are directions: pooling, an embedding, and the cosine layer "fc". */
#include "nn/head_front.h"

typedef mica_cosine_head_options options;

/* The table fills the fields of the inner options, not their size. */
static mica_cosine_options cosine_of(const options *o) {
  mica_cosine_options cosine = o->cosine;
  cosine.size = sizeof cosine;
  return cosine;
}

static int64_t width(const void *given, int64_t features) {
  return mica_front_width(&((const options *)given)->front, features);
}

static mica_status init(mica_node *node, const void *given, const mica_layer_problem *p) {
  const options *o = given;
  const mica_cosine_options cosine = cosine_of(o);
  mica_status status = mica_front_init(node, &o->front, p->features);
  if (status == MICA_OK)
    status = mica_nn_cosine_init(mica_node_child(node, "fc"), width(o, p->features), p->classes,
                                 &cosine);
  return status;
}

static void forward(mica_tape *t, mica_node *node, const void *given, const mica_layer_inputs *in,
                    mica_layer_outputs *out) {
  const options *o = given;
  const mica_cosine_options cosine = cosine_of(o);
  /* Evaluation must not depend on what is to be found out. */
  const mica_var labels = mica_is_training(t) ? mica_labels(t) : MICA_NONE;
  mica_var v[2];
  mica_nn_enter(t, node);
  v[0] = mica_front(t, node, &o->front, in);
  v[1] = mica_nn_cosine(t, mica_node_find(node, "fc"), &cosine, v[0], labels);
  mica_scope_end_n(t, 2, v);
  out->features = v[0];
  out->logits = v[1];
}

static mica_status resize(mica_node *node, const void *given, const mica_layer_problem *p) {
  const options *o = given;
  const mica_cosine_options cosine = cosine_of(o);
  const mica_init init = {MICA_INIT_XAVIER_UNIFORM, 0, 0, 0, false};
  const mica_status status =
      mica_param_resize(mica_node_param(mica_node_find(node, "fc"), "weight"),
                        MICA_SHAPE(p->classes, width(o, p->features)), &init);
  if (status == MICA_OK) mica_nn_cosine_project(mica_node_find(node, "fc"), &cosine);
  return status;
}

static void after_step(mica_node *node, const void *given) {
  const mica_cosine_options cosine = cosine_of(given);
  mica_nn_cosine_project(mica_node_find(node, "fc"), &cosine);
}

/* Directions and the scale of training, as a fit of the estimator would leave them. */
static mica_status estimator(const mica_engine *engine, mica_node *node, const void *given,
                             mica_estimator **out) {
  (void)given;
  mica_cosine_state state;
  const mica_param *weight = mica_node_param(mica_node_find(node, "fc"), "weight");
  if (!weight || !mica_nn_cosine_state(mica_node_find(node, "fc"), &state))
    return mica_fail(MICA_ERR_STATE, "no cosine layer below '%s'", mica_node_path(node));
  const mica_view v = mica_tensor_view(mica_param_value(weight));
  return mica_cosine_estimator(engine, &v, state.scale, out);
}

#define AT(field) offsetof(options, field)
static const mica_option table[] = {
    {"kind", MICA_OPTION_CHOICE, "softmax", 0, 0,
     "softmax|sphereface|arcface|cosface|curricularface|adacos|madacos",
     "margin, or scale and margin that follow the batch", AT(cosine.kind)},
    MICA_FRONT_ROWS(options),
    {"scale", MICA_OPTION_FLOAT, "0", 0, 1e6, NULL,
     "of the cosines; 0: sqrt(2) ln(classes - 1), at least 10", AT(cosine.scale)},
    {"margin", MICA_OPTION_FLOAT, "-1", -1, 10, NULL, "below 0: as published for the kind",
     AT(cosine.margin)},
    {"constraint", MICA_OPTION_CHOICE, "differentiable", 0, 0, "differentiable|project",
     "how class vectors get length 1: in each forward, or after each step", AT(cosine.constraint)},
    {"dynamic", MICA_OPTION_BOOL, "false", 0, 0, NULL, "adacos: the scale from each batch",
     AT(cosine.dynamic)},
    {"alpha", MICA_OPTION_FLOAT, "0.02", 1e-6, 0.999, NULL,
     "madacos: probability of the label at the median cosine", AT(cosine.alpha)},
    {"top_prob", MICA_OPTION_FLOAT, "0.9999999", 1e-3, 0.9999999999, NULL,
     "madacos: probability of the label at cosine 1", AT(cosine.top_prob)},
    {"floor", MICA_OPTION_FLOAT, "32", 0, 1e6, NULL, "madacos: least scale", AT(cosine.floor)},
    {"others", MICA_OPTION_CHOICE, "sample", 0, 0, "sample|mean|median",
     "madacos: whose other classes the margin goes by", AT(cosine.others)},
    {"momentum", MICA_OPTION_FLOAT, "0.01", 0, 1, NULL,
     "curricularface: share of the batch in the running mean", AT(cosine.momentum)},
    {0}};

static const mica_layer_functions functions = {init, forward, width, resize, after_step, estimator};

extern const mica_component mica_component_layer_cosine;
const mica_component mica_component_layer_cosine = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LAYER,
    "cosine",
    "classes as directions: normalised softmax and its margins",
    "hyperspherical",
    table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS | MICA_NEED_FEATURES,
    &functions};
