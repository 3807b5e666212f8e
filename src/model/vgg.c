/* VGG networks (Simonyan & Zisserman 2015): stages of 3x3 convolutions with ReLU, with batch norm
 * or without, joined by max pooling; torchvision's names, in which the layers of `features` and
 * `classifier` are counted through, ReLU, pooling and dropout too.
 */
#include <mica/model.h>

#include <stdio.h>

#define STAGES    5
#define POOL_SIDE 7 /* of the map that the classifier reads */

/* Convolutions of the stages. */
static const int *counts_of(int64_t depth) {
  static const struct {
    int64_t depth;
    int counts[STAGES];
  } known[] = {
      {11, {1, 1, 2, 2, 2}}, {13, {2, 2, 2, 2, 2}}, {16, {2, 2, 3, 3, 3}}, {19, {2, 2, 4, 4, 4}}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].depth == depth) return known[i].counts;
  return NULL;
}

static int64_t stage_width(const mica_vgg_options *o, int stage) {
  return o->width << (stage < 3 ? stage : 3);
}

/* Layers that a convolution counts for: itself, its norm, ReLU. */
static int step_of(const mica_vgg_options *o) {
  return o->norm ? 3 : 2;
}

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  const mica_vgg_options *o = options;
  return o->small ? stage_width(o, STAGES - 1) : o->hidden;
}

static mica_status unit_init(mica_node *root, const mica_vgg_options *o, int number, int64_t in,
                             int64_t out) {
  const mica_init he = {MICA_INIT_KAIMING_NORMAL, 0, 0, 1.4142135623730951, true};
  mica_node *conv = mica_node_childf(root, "features.%d", number);
  mica_status status = mica_nn_conv2d_init(conv, in, out, 3, 3, 1, true, &he);
  if (status == MICA_OK)
    status = mica_param_initialise(mica_node_param(conv, "bias"), &MICA_INIT_ZEROS);
  return status == MICA_OK && o->norm
             ? mica_nn_batch_norm_init(mica_node_childf(root, "features.%d", number + 1), out)
             : status;
}

/* A layer of the classifier with its published initial values. */
static mica_status linear_init(mica_node *node, int64_t in, int64_t out, int64_t channels) {
  const mica_init small = {MICA_INIT_NORMAL, 0, 0.01, 0, false};
  mica_status status = mica_nn_linear_init(node, in, out, true);
  if (status != MICA_OK) return status;
  mica_param *weight = mica_node_param(node, "weight");
  if (channels)
    mica_param_set_layout(weight,
                          (mica_layout){MICA_LAYOUT_FLATTEN, channels, POOL_SIDE, POOL_SIDE});
  status = mica_param_initialise(weight, &small);
  return status == MICA_OK ? mica_param_initialise(mica_node_param(node, "bias"), &MICA_INIT_ZEROS)
                           : status;
}

static const char *head_of(const void *options) {
  return ((const mica_vgg_options *)options)->small ? "classifier" : "classifier.6";
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_vgg_options *o = options;
  const int *counts = counts_of(o->depth);
  if (!counts)
    return mica_fail(MICA_ERR_INVALID, "vgg: depth %lld, expected 11, 13, 16 or 19",
                     (long long)o->depth);
  if (!task->height) return mica_fail(MICA_ERR_INVALID, "vgg reads images, not rows");
  int64_t in = task->channels;
  int number = 0;
  mica_status status = MICA_OK;
  for (int s = 0; s < STAGES; s++, number++)
    for (int i = 0; i < counts[s] && status == MICA_OK; i++, number += step_of(o)) {
      status = unit_init(root, o, number, in, stage_width(o, s));
      in = stage_width(o, s);
    }
  if (status == MICA_OK && !o->small) {
    status = linear_init(mica_node_child(root, "classifier.0"), in * POOL_SIDE * POOL_SIDE,
                         o->hidden, in);
    if (status == MICA_OK)
      status = linear_init(mica_node_child(root, "classifier.3"), o->hidden, o->hidden, 0);
    in = o->hidden;
  }
  if (status != MICA_OK || !task->classes) return status;
  return linear_init(mica_node_child(root, head_of(o)), in, task->classes, 0);
}

static mica_var hidden(mica_tape *t, mica_node *node, double dropout, mica_var x) {
  mica_var h = mica_nn_linear(t, node, x);
  h = mica_replace(t, h, mica_relu(t, h));
  return dropout > 0 ? mica_replace(t, h, mica_dropout(t, h, dropout)) : h;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_vgg_options *o = options;
  const int *counts = counts_of(o->depth);
  mica_conv_options conv = MICA_CONV_OPTIONS;
  for (int i = 0; i < 4; i++) conv.pad[i] = 1;
  mica_node *layers = mica_node_find(root, "features"), *head = mica_node_find(root, head_of(o));
  mica_var x = in->x;
  int number = 0;
  mica_scope_begin(t, "features");
  for (int s = 0; s < STAGES && mica_ok(t); s++, number++) {
    for (int i = 0; i < counts[s] && mica_ok(t); i++, number += step_of(o)) {
      char c[16], n[16];
      snprintf(c, sizeof c, "%d", number);
      snprintf(n, sizeof n, "%d", number + 1);
      mica_node *at = mica_node_find(layers, c);
      mica_var h;
      if (o->norm) {
        h = mica_nn_conv2d_norm(t, at, mica_node_find(layers, n), &conv, MICA_RELU, x, MICA_NONE);
      } else {
        h = mica_nn_conv2d(t, at, &conv, x);
        mica_scope_begin(t, n);
        h = mica_replace(t, h, mica_scope_end(t, mica_relu(t, h)));
      }
      x = s || i ? mica_replace(t, x, h) : h;
    }
    if (mica_dim(t, x, 1) > 1 && mica_dim(t, x, 2) > 1)
      x = mica_replace(t, x, mica_max_pool2d(t, x, NULL));
    out->pyramid[out->n_pyramid++] = mica_keep(t, x);
  }
  x = mica_scope_end(t, x);
  if (o->small) {
    out->features = mica_global_avg_pool(t, x);
  } else {
    mica_var h = mica_adaptive_avg_pool2d(t, x, POOL_SIDE, POOL_SIDE);
    h = mica_replace(t, h, mica_flatten(t, h, 1));
    h = mica_replace(t, h, hidden(t, mica_node_find(root, "classifier.0"), o->dropout, h));
    out->features = hidden(t, mica_node_find(root, "classifier.3"), o->dropout, h);
  }
  if (mica_node_param(head, "weight")) out->logits = mica_nn_linear(t, head, out->features);
}

static const mica_option options[] = {
    {"depth", MICA_OPTION_INT, "16", 11, 19, NULL, "11, 13, 16 or 19",
     offsetof(mica_vgg_options, depth)},
    {"norm", MICA_OPTION_BOOL, "true", 0, 0, NULL, "batch norm behind each convolution",
     offsetof(mica_vgg_options, norm)},
    {"small", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "for small images: global average pooling and one linear layer",
     offsetof(mica_vgg_options, small)},
    {"width", MICA_OPTION_INT, "64", 1, 4096, NULL, "channels of the first stage",
     offsetof(mica_vgg_options, width)},
    {"hidden", MICA_OPTION_INT, "4096", 1, 1 << 20, NULL, "width of the classifier's hidden layers",
     offsetof(mica_vgg_options, hidden)},
    {"dropout", MICA_OPTION_FLOAT, "0.5", 0, 0.999, NULL, "behind them",
     offsetof(mica_vgg_options, dropout)},
    {0}};

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_vgg = {MICA_COMPONENT_HEAD,
                                                 MICA_KIND_MODEL,
                                                 "vgg",
                                                 "VGG network, with batch norm or without",
                                                 NULL,
                                                 options,
                                                 sizeof(mica_vgg_options),
                                                 MICA_NEED_IMAGES,
                                                 MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                     MICA_NEED_PYRAMID,
                                                 &functions};
