/* PointNet (Qi et al. 2017) without its transforms: the same layers for every point of a cloud, the
 * largest value of each channel over the points, a head. A cloud is a row of points one after the
 * other, [N, points * dims], or a picture of one column whose channels are the coordinates. */
#include <mica/model.h>

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  const mica_pointnet_options *o = options;
  return o->widths.v[o->widths.n - 1];
}

static int64_t dims_of(const mica_pointnet_options *o, const mica_problem *task) {
  return task->height ? task->channels : o->dims;
}

static mica_status check(const mica_pointnet_options *o, const mica_problem *task) {
  if (!o->widths.n)
    return mica_fail(MICA_ERR_INVALID, "pointnet: widths is empty, expected 1 or more");
  if (!task->height && task->channels % o->dims)
    return mica_fail(MICA_ERR_INVALID,
                     "pointnet: rows of %lld columns are no points of %lld coordinates",
                     (long long)task->channels, (long long)o->dims);
  return MICA_OK;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_pointnet_options *o = options;
  mica_status status = check(o, task);
  int64_t in = dims_of(o, task);
  for (int i = 0; i < o->widths.n && status == MICA_OK; i++) {
    status =
        mica_nn_linear_init(mica_node_childf(root, "point.%d", i), in, o->widths.v[i], !o->norm);
    if (status == MICA_OK && o->norm)
      status = mica_nn_batch_norm_init(mica_node_childf(root, "bn.%d", i), o->widths.v[i]);
    in = o->widths.v[i];
  }
  mica_node *head = status == MICA_OK ? mica_node_child(root, "head") : NULL;
  if (status != MICA_OK || !head) return status == MICA_OK ? mica_last_status() : status;
  for (int i = 0; i < o->hidden.n && task->classes && status == MICA_OK; i++) {
    status = mica_nn_linear_init(mica_node_childf(root, "layers.%d", i), in, o->hidden.v[i], true);
    in = o->hidden.v[i];
  }
  if (status != MICA_OK || !task->classes) return status;
  return mica_nn_linear_init(head, in, task->classes, true);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_pointnet_options *o = options;
  const int64_t n = mica_dim(t, in->x, 0),
                dims = mica_rank(t, in->x) > 2 ? mica_dim(t, in->x, -1) : o->dims;
  char name[32];
  mica_scope_begin(t, NULL);
  mica_var x = mica_reshape(t, in->x, MICA_SHAPE(-1, dims)); /* batch norm is over all points */
  for (int i = 0; i < o->widths.n && mica_ok(t); i++) {
    const mica_activation act = i + 1 < o->widths.n ? MICA_RELU : MICA_IDENTITY;
    mica_node *point = mica_node_find(root, mica_node_index(name, sizeof name, "point", i));
    x = mica_replace(t, x, mica_nn_linear(t, point, x));
    mica_node *bn = mica_node_find(root, mica_node_index(name, sizeof name, "bn", i));
    x = mica_replace(t, x, o->norm ? mica_nn_batch_norm(t, bn, act, x) : mica_activate(t, act, x));
  }
  x = mica_reshape(t, x, MICA_SHAPE(n, -1, features(o, NULL)));
  out->features = mica_scope_end(t, mica_max(t, x, 1, false));
  mica_node *head = mica_node_find(root, "head");
  if (!mica_node_param(head, "weight")) return;
  x = out->features;
  for (int i = 0; i < o->hidden.n && mica_ok(t); i++) {
    mica_node *layer = mica_node_find(root, mica_node_index(name, sizeof name, "layers", i));
    x = mica_activate(t, MICA_RELU, mica_nn_linear(t, layer, x));
    if (o->dropout > 0) x = mica_dropout(t, x, o->dropout);
  }
  out->logits = mica_nn_linear(t, head, x);
}

static const mica_option options[] = {
    {"dims", MICA_OPTION_INT, "3", 1, 64, NULL, "coordinates of a point",
     offsetof(mica_pointnet_options, dims)},
    {"widths", MICA_OPTION_INTS, "64,128,1024", 1, 1 << 16, NULL, "layers of each point",
     offsetof(mica_pointnet_options, widths)},
    {"hidden", MICA_OPTION_INTS, "512,256", 1, 1 << 16, NULL, "layers before the classes",
     offsetof(mica_pointnet_options, hidden)},
    {"norm", MICA_OPTION_BOOL, "true", 0, 0, NULL, "batch norm behind the layers of each point",
     offsetof(mica_pointnet_options, norm)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "of the layers before the classes",
     offsetof(mica_pointnet_options, dropout)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "head";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_pointnet = {MICA_COMPONENT_HEAD,
                                                      MICA_KIND_MODEL,
                                                      "pointnet",
                                                      "clouds of points, in any order (PointNet)",
                                                      "latent-alignment-3d",
                                                      options,
                                                      sizeof(mica_pointnet_options),
                                                      0,
                                                      MICA_NEED_LOGITS | MICA_NEED_FEATURES,
                                                      &functions};
