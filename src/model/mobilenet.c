/* MobileNetV3 (Howard et al. 2019), small and large, with the names of torchvision's checkpoints.
 *
 * A stem, inverted bottlenecks whose depthwise convolutions have kernels of 3 or 5, some with
 * squeeze-and-excitation, a last 1x1 convolution, and a classifier with one hidden layer. Batch
 * norms have eps 1e-3 and keep 0.99 of their statistics.
 *
 * The pyramid is the last map of each size; features are the classifier's hidden layer.
 */
#include "model/inverted_bottleneck.h"

#include <mica/model.h>

#include <stddef.h>
#include <stdio.h>

enum { STEM = 16, SMALL_BLOCKS = 11, LARGE_BLOCKS = 15 };

typedef struct bottleneck {
  int kernel, expanded, out;
  bool squeeze, hard; /* with squeeze-and-excitation; hard swish, else ReLU */
  int stride;
} bottleneck;

static const bottleneck small_blocks[SMALL_BLOCKS] = {
    {3, 16, 16, true, false, 2}, {3, 72, 24, false, false, 2}, {3, 88, 24, false, false, 1},
    {5, 96, 40, true, true, 2},  {5, 240, 40, true, true, 1},  {5, 240, 40, true, true, 1},
    {5, 120, 48, true, true, 1}, {5, 144, 48, true, true, 1},  {5, 288, 96, true, true, 2},
    {5, 576, 96, true, true, 1}, {5, 576, 96, true, true, 1}};

static const bottleneck large_blocks[LARGE_BLOCKS] = {
    {3, 16, 16, false, false, 1}, {3, 64, 24, false, false, 2}, {3, 72, 24, false, false, 1},
    {5, 72, 40, true, false, 2},  {5, 120, 40, true, false, 1}, {5, 120, 40, true, false, 1},
    {3, 240, 80, false, true, 2}, {3, 200, 80, false, true, 1}, {3, 184, 80, false, true, 1},
    {3, 184, 80, false, true, 1}, {3, 480, 112, true, true, 1}, {3, 672, 112, true, true, 1},
    {5, 672, 160, true, true, 2}, {5, 960, 160, true, true, 1}, {5, 960, 160, true, true, 1}};

static const mica_norm_options norm = {sizeof(mica_norm_options), 1e-3, 0.01};

static const bottleneck *blocks_of(const mica_mobilenet_options *o, int *n) {
  *n = o->variant ? LARGE_BLOCKS : SMALL_BLOCKS;
  return o->variant ? large_blocks : small_blocks;
}

static int64_t wide(const mica_mobilenet_options *o, int channels) {
  return mica_round_to_eights(channels * o->width);
}

static int64_t features(const void *options, const mica_problem *task) {
  const mica_mobilenet_options *o = options;
  (void)task;
  return wide(o, o->variant ? 1280 : 1024);
}

static const char *head_of(const void *options) {
  (void)options;
  return "classifier.3";
}

/* ---- parameters ---- */

static mica_status block_init(mica_node *node, const bottleneck *b, int64_t in, int64_t expanded,
                              int64_t out) {
  mica_status status = MICA_OK;
  int layer = 0;
  if (expanded != in) {
    status = mica_conv_norm_init(mica_node_child(node, "0"), "0", "1", in, expanded, 1, 1);
    layer++;
  }
  if (status == MICA_OK)
    status = mica_conv_norm_init(mica_node_childf(node, "%d", layer++), "0", "1", expanded,
                                 expanded, b->kernel, expanded);
  if (status == MICA_OK && b->squeeze)
    status = mica_squeeze_and_excite_init(mica_node_childf(node, "%d", layer++), "fc1", "fc2",
                                          expanded, mica_round_to_eights((double)(expanded / 4)));
  return status == MICA_OK ? mica_conv_norm_init(mica_node_childf(node, "%d", layer), "0", "1",
                                                 expanded, out, 1, 1)
                           : status;
}

static mica_status linear_init(mica_node *node, int64_t in, int64_t out) {
  const mica_init little = {MICA_INIT_NORMAL, 0, 0.01, 0, false};
  mica_status status = mica_nn_linear_init(node, in, out, true);
  if (status == MICA_OK) status = mica_param_initialise(mica_node_param(node, "weight"), &little);
  return status == MICA_OK ? mica_param_initialise(mica_node_param(node, "bias"), &MICA_INIT_ZEROS)
                           : status;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_mobilenet_options *o = options;
  if (!task->height) return mica_fail(MICA_ERR_INVALID, "mobilenet reads images, not rows");
  int n;
  const bottleneck *blocks = blocks_of(o, &n);
  int64_t in = wide(o, STEM);
  mica_status status =
      mica_conv_norm_init(mica_node_child(root, "features.0"), "0", "1", task->channels, in, 3, 1);
  for (int i = 0; i < n && status == MICA_OK; i++) {
    status = block_init(mica_node_childf(root, "features.%d.block", i + 1), &blocks[i], in,
                        wide(o, blocks[i].expanded), wide(o, blocks[i].out));
    in = wide(o, blocks[i].out);
  }
  if (status == MICA_OK)
    status = mica_conv_norm_init(mica_node_childf(root, "features.%d", n + 1), "0", "1", in, 6 * in,
                                 1, 1);
  if (status == MICA_OK)
    status = linear_init(mica_node_child(root, "classifier.0"), 6 * in, features(o, task));
  if (status != MICA_OK || !task->classes) return status;
  return linear_init(mica_node_child(root, head_of(o)), features(o, task), task->classes);
}

/* ---- forward ---- */

static mica_var conv_norm(mica_tape *t, mica_node *node, int32_t kernel, int32_t stride,
                          int64_t groups, mica_activation act, mica_var x, mica_var residual) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  o.stride[0] = o.stride[1] = stride;
  o.groups = (int32_t)groups;
  for (int i = 0; i < 4; i++) o.pad[i] = kernel / 2;
  return mica_nn_conv2d_norm_with(t, mica_node_find(node, "0"), mica_node_find(node, "1"), &o,
                                  &norm, act, x, residual);
}

/* The next numbered layer of a block. */
static mica_node *next(mica_node *node, int *layer) {
  char name[16];
  snprintf(name, sizeof name, "%d", (*layer)++);
  return mica_node_find(node, name);
}

static mica_var block(mica_tape *t, mica_node *node, const bottleneck *b, int64_t expanded,
                      int64_t out, mica_var x) {
  const int64_t in = mica_dim(t, x, 3);
  const mica_activation act = b->hard ? MICA_HARD_SWISH : MICA_RELU;
  int layer = 0;
  mica_var h = x;
  mica_nn_enter(t, node);
  if (expanded != in) h = conv_norm(t, next(node, &layer), 1, 1, 1, act, x, MICA_NONE);
  h = mica_replace(
      t, h, conv_norm(t, next(node, &layer), b->kernel, b->stride, expanded, act, h, MICA_NONE));
  if (b->squeeze) {
    mica_node *gate = next(node, &layer);
    h = mica_replace(t, h,
                     mica_squeeze_and_excite(t, mica_node_find(gate, "fc1"),
                                             mica_node_find(gate, "fc2"), MICA_RELU,
                                             MICA_HARD_SIGMOID, h));
  }
  h = mica_replace(t, h,
                   conv_norm(t, next(node, &layer), 1, 1, 1, MICA_IDENTITY, h,
                             b->stride == 1 && in == out ? x : MICA_NONE));
  return mica_scope_end(t, h);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_mobilenet_options *o = options;
  int n;
  const bottleneck *blocks = blocks_of(o, &n);
  mica_scope_begin(t, NULL);
  mica_var x = mica_scope_end(t, conv_norm(t, mica_node_find(root, "features.0"), 3, 2, 1,
                                           MICA_HARD_SWISH, in->x, MICA_NONE));
  for (int i = 0; i < n && mica_ok(t); i++) {
    char name[32];
    const bool smaller = blocks[i].stride > 1;
    if (smaller) out->pyramid[out->n_pyramid++] = x;
    snprintf(name, sizeof name, "features.%d.block", i + 1);
    const mica_var y = block(t, mica_node_find(root, name), &blocks[i], wide(o, blocks[i].expanded),
                             wide(o, blocks[i].out), x);
    x = smaller ? y : mica_replace(t, x, y);
  }
  out->pyramid[out->n_pyramid++] = x;
  char last[32];
  snprintf(last, sizeof last, "features.%d", n + 1);
  mica_scope_begin(t, NULL);
  x = conv_norm(t, mica_node_find(root, last), 1, 1, 1, MICA_HARD_SWISH, x, MICA_NONE);
  x = mica_replace(t, x, mica_global_avg_pool(t, x));
  x = mica_replace(t, x, mica_nn_linear(t, mica_node_find(root, "classifier.0"), x));
  out->features = mica_scope_end(t, mica_hard_swish(t, x));
  mica_node *head = mica_node_find(root, head_of(o));
  if (!head || !mica_node_param(head, "weight")) return;
  const mica_var h = o->dropout > 0 ? mica_dropout(t, out->features, o->dropout) : out->features;
  out->logits = mica_nn_linear(t, head, h);
}

static const mica_option options[] = {
    {"variant", MICA_OPTION_CHOICE, "small", 0, 0, "small|large", "which of the two networks",
     offsetof(mica_mobilenet_options, variant)},
    {"width", MICA_OPTION_FLOAT, "1", 0.01, 16, NULL, "factor of the widths",
     offsetof(mica_mobilenet_options, width)},
    {"dropout", MICA_OPTION_FLOAT, "0.2", 0, 0.999, NULL, "before the classifier",
     offsetof(mica_mobilenet_options, dropout)},
    {0}};

static const mica_model_functions functions = {init, forward, head_of, features};

extern const mica_component mica_component_model_mobilenet;
const mica_component mica_component_model_mobilenet = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MODEL,
    "mobilenet",
    "MobileNetV3, small and large: inverted bottlenecks for small processors",
    NULL,
    options,
    sizeof(mica_mobilenet_options),
    MICA_NEED_IMAGES,
    MICA_NEED_LOGITS | MICA_NEED_FEATURES | MICA_NEED_PYRAMID,
    &functions};
