/* A head whose classes are subspaces: the logit is the length of the feature's projection. */
#include <mica/layer.h>

#include "numeric/subspace.h"

/* Orthonormal rows for each class, from what was drawn. */
static mica_status orthonormalise(mica_param *q) {
  const mica_tensor *value = mica_param_value(q);
  return mica_subspaces_orthonormalise(mica_tensor_dtype(value), mica_tensor_dim(value, 0),
                                       mica_tensor_dim(value, 1), mica_tensor_dim(value, 2),
                                       mica_param_write(q));
}

mica_status mica_nn_grassmann_init(mica_node *node, int64_t in, int64_t classes, int64_t dim) {
  return mica_nn_grassmann_init_each(node, in, classes, &(mica_ints){1, {dim}});
}

mica_status mica_nn_grassmann_init_each(mica_node *node, int64_t in, int64_t classes,
                                        const mica_ints *dims) {
  const mica_init normal = {MICA_INIT_NORMAL, 0, 1, 0, false};
  mica_param *weight = NULL;
  int64_t dim = 0;
  for (int i = 0; i < dims->n; i++) {
    if (dims->v[i] < 1 || dims->v[i] > in)
      return mica_fail(MICA_ERR_INVALID,
                       "grassmann: subspaces of %lld dimensions, expected 1 to %lld, the features",
                       (long long)dims->v[i], (long long)in);
    if (dims->v[i] > dim) dim = dims->v[i];
  }
  if (!dim) return mica_fail(MICA_ERR_INVALID, "grassmann: no dimensions");
  mica_status status = mica_param_add(
      mica_node_child(node, "fc"), "weight", MICA_F32, MICA_SHAPE(classes, dim, in),
      MICA_PARAM_TRAINABLE | MICA_PARAM_LINEAR | MICA_PARAM_SUBSPACE, &normal, &weight);
  if (status != MICA_OK) return status;
  mica_param_set_layout(weight, (mica_layout){MICA_LAYOUT_STACKED, 0, 0, 0});
  float *w = mica_param_write(weight);
  for (int64_t c = 0; c < classes; c++)
    for (int64_t i = dims->v[c % dims->n] * in; i < dim * in; i++) w[c * dim * in + i] = 0;
  return orthonormalise(weight);
}

mica_var mica_nn_grassmann(mica_tape *t, mica_node *node, double scale, bool normalise,
                           mica_var x) {
  mica_nn_enter(t, node);
  mica_var w = mica_weight(t, mica_node_find(node, "fc"), "weight");
  const mica_view v = mica_read(t, w);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  const int64_t classes = v.shape.dim[0], dim = v.shape.dim[1], in = v.shape.dim[2];
  if (normalise) x = mica_l2_normalise(t, x, 1e-12);
  w = mica_reshape(t, w, MICA_SHAPE(classes * dim, in));
  mica_var p = mica_linear(t, x, w, MICA_NONE, MICA_IDENTITY);
  p = mica_reshape(t, p, MICA_SHAPE(-1, classes, dim));
  return mica_scope_end(t, mica_affine(t, mica_norm(t, p, 2, false), scale, 0));
}

/* ---- the component ---- */

typedef struct options {
  uint32_t size;
  int64_t dim;
  double gamma;
  bool normalise;
  mica_ints dims;
} options;

static mica_status init(mica_node *node, const void *given, const mica_layer_problem *p) {
  const options *o = given;
  return o->dims.n ? mica_nn_grassmann_init_each(node, p->features, p->classes, &o->dims)
                   : mica_nn_grassmann_init(node, p->features, p->classes, o->dim);
}

static void forward(mica_tape *t, mica_node *node, const void *given, const mica_layer_inputs *in,
                    mica_layer_outputs *out) {
  const options *o = given;
  out->logits = mica_nn_grassmann(t, node, o->gamma, o->normalise, in->features);
}

static const mica_option table[] = {
    {"dim", MICA_OPTION_INT, "8", 1, 65536, NULL, "dimensions of a class's subspace",
     offsetof(options, dim)},
    {"gamma", MICA_OPTION_FLOAT, "25", 0, 1e6, NULL, "the largest logit", offsetof(options, gamma)},
    {"normalise", MICA_OPTION_BOOL, "true", 0, 0, NULL, "divide the feature by its length",
     offsetof(options, normalise)},
    {"dims", MICA_OPTION_INTS, "", 1, 65536, NULL,
     "dimensions of the classes in turn, in the place of dim", offsetof(options, dims)},
    {0}};

static const mica_layer_functions functions = {init, forward, NULL, NULL, NULL, NULL};

extern const mica_component mica_component_layer_grassmann;
const mica_component mica_component_layer_grassmann = {
    MICA_COMPONENT_HEAD, MICA_KIND_LAYER,
    "grassmann",         "a subspace for each class; train it by the rule rsgd",
    "grassmann-classes", table,
    sizeof(options),     MICA_NEED_FEATURES,
    MICA_NEED_LOGITS,    &functions};
