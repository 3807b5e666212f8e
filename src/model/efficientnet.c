/* EfficientNet B0 to B7 (Tan and Le 2019), with the names of the `efficientnet_pytorch`
 * checkpoints.
 *
 * A stem, seven stages of inverted bottlenecks with squeeze-and-excitation, a head convolution. The
 * variants scale widths (rounded to eights, never down by more than a tenth), depths (rounded up)
 * and the picture. Padding is "same" of TensorFlow: what is odd goes behind. Batch norms have eps
 * 1e-3 and keep 0.99 of their statistics.
 *
 * The pyramid is the stem's map and the last one of each stage; features are the mean of the
 * head's.
 */
#include "model/inverted_bottleneck.h"

#include <mica/model.h>

#include <math.h>
#include <stdio.h>

#define STAGES 7

static const struct {
  double width, depth, dropout;
} variants[] = {{1.0, 1.0, 0.2}, {1.0, 1.1, 0.2}, {1.1, 1.2, 0.3}, {1.2, 1.4, 0.3},
                {1.4, 1.8, 0.4}, {1.6, 2.2, 0.4}, {1.8, 2.6, 0.5}, {2.0, 3.1, 0.5}};

static const struct {
  int repeats, kernel, stride, expansion, out;
} stages[STAGES] = {{1, 3, 1, 1, 16},  {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40}, {3, 3, 2, 6, 80},
                    {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192}, {1, 3, 1, 6, 320}};

static const mica_norm_options norm = {sizeof(mica_norm_options), 1e-3, 0.01};

static int64_t scaled_width(const mica_efficientnet_options *o, int64_t width) {
  return mica_round_to_eights((double)width *
                              (o->width > 0 ? o->width : variants[o->variant].width));
}

static int scaled_depth(const mica_efficientnet_options *o, int repeats) {
  return (int)ceil(repeats * (o->depth > 0 ? o->depth : variants[o->variant].depth));
}

static int count_blocks(const mica_efficientnet_options *o) {
  int n = 0;
  for (int s = 0; s < STAGES; s++) n += scaled_depth(o, stages[s].repeats);
  return n;
}

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return scaled_width(options, 1280);
}

/* ---- parameters ---- */

static mica_status block_init(mica_node *node, int stage, int64_t in, int64_t out) {
  const int64_t wide = in * stages[stage].expansion, narrow = in / 4 > 1 ? in / 4 : 1;
  mica_status status = MICA_OK;
  if (wide != in) status = mica_conv_norm_init(node, "_expand_conv", "_bn0", in, wide, 1, 1);
  if (status == MICA_OK)
    status = mica_conv_norm_init(node, "_depthwise_conv", "_bn1", wide, wide, stages[stage].kernel,
                                 wide);
  if (status == MICA_OK)
    status = mica_squeeze_and_excite_init(node, "_se_reduce", "_se_expand", wide, narrow);
  return status == MICA_OK ? mica_conv_norm_init(node, "_project_conv", "_bn2", wide, out, 1, 1)
                           : status;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_efficientnet_options *o = options;
  if (!task->height) return mica_fail(MICA_ERR_INVALID, "efficientnet reads images, not rows");
  int64_t in = scaled_width(o, 32);
  mica_status status = mica_conv_norm_init(root, "_conv_stem", "_bn0", task->channels, in, 3, 1);
  for (int s = 0, n = 0; s < STAGES; s++)
    for (int b = 0; b < scaled_depth(o, stages[s].repeats) && status == MICA_OK; b++, n++) {
      const int64_t out = scaled_width(o, stages[s].out);
      status = block_init(mica_node_childf(root, "_blocks.%d", n), s, in, out);
      in = out;
    }
  if (status == MICA_OK)
    status = mica_conv_norm_init(root, "_conv_head", "_bn1", in, features(o, task), 1, 1);
  if (status != MICA_OK || !task->classes) return status;
  return mica_nn_linear_init(mica_node_child(root, "_fc"), features(o, task), task->classes, true);
}

/* ---- forward ---- */

static mica_var conv_norm(mica_tape *t, mica_node *node, const char *conv, const char *bn,
                          int32_t kernel, int32_t stride, int32_t groups, mica_activation act,
                          mica_var x) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  o.stride[0] = o.stride[1] = stride;
  o.groups = groups;
  mica_same_padding(mica_dim(t, x, 1), kernel, stride, 1, o.pad);
  mica_same_padding(mica_dim(t, x, 2), kernel, stride, 1, o.pad + 2);
  return mica_nn_conv2d_norm_with(t, mica_node_find(node, conv), mica_node_find(node, bn), &o,
                                  &norm, act, x, MICA_NONE);
}

static mica_var block(mica_tape *t, mica_node *node, int stage, int stride, double drop,
                      mica_var x) {
  const int64_t in = mica_dim(t, x, 3), wide = in * stages[stage].expansion;
  mica_nn_enter(t, node);
  mica_var h = x;
  if (wide != in) h = conv_norm(t, node, "_expand_conv", "_bn0", 1, 1, 1, MICA_SILU, x);
  h = mica_replace(t, h,
                   conv_norm(t, node, "_depthwise_conv", "_bn1", stages[stage].kernel, stride,
                             (int32_t)wide, MICA_SILU, h));
  h = mica_replace(t, h,
                   mica_squeeze_and_excite(t, mica_node_find(node, "_se_reduce"),
                                           mica_node_find(node, "_se_expand"), MICA_SILU,
                                           MICA_SIGMOID, h));
  h = mica_replace(t, h, conv_norm(t, node, "_project_conv", "_bn2", 1, 1, 1, MICA_IDENTITY, h));
  if (stride == 1 && mica_ok(t) && mica_dim(t, h, 3) == in) {
    if (drop > 0) h = mica_replace(t, h, mica_drop_path(t, h, drop));
    h = mica_replace(t, h, mica_add(t, h, x));
  }
  return mica_scope_end(t, h);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_efficientnet_options *o = options;
  const int blocks = count_blocks(o);
  mica_scope_begin(t, NULL);
  mica_var x =
      mica_scope_end(t, conv_norm(t, root, "_conv_stem", "_bn0", 3, 2, 1, MICA_SILU, in->x));
  out->pyramid[out->n_pyramid++] = x;
  for (int s = 0, n = 0; s < STAGES && mica_ok(t); s++) {
    mica_scope_begin(t, "_blocks");
    mica_var h = x;
    for (int b = 0; b < scaled_depth(o, stages[s].repeats) && mica_ok(t); b++, n++) {
      char name[32];
      snprintf(name, sizeof name, "_blocks.%d", n);
      h = mica_replace(t, h,
                       block(t, mica_node_find(root, name), s, b ? 1 : stages[s].stride,
                             o->drop_connect * n / blocks, h));
    }
    x = mica_scope_end(t, h);
    out->pyramid[out->n_pyramid++] = x;
  }
  mica_scope_begin(t, NULL);
  x = conv_norm(t, root, "_conv_head", "_bn1", 1, 1, 1, MICA_SILU, x);
  out->features = mica_scope_end(t, mica_global_avg_pool(t, x));
  mica_node *head = mica_node_find(root, "_fc");
  if (!head || !mica_node_param(head, "weight")) return;
  const double dropout = o->dropout >= 0 ? o->dropout : variants[o->variant].dropout;
  const mica_var h = dropout > 0 ? mica_dropout(t, out->features, dropout) : out->features;
  out->logits = mica_nn_linear(t, head, h);
}

static const mica_option options[] = {
    {"variant", MICA_OPTION_CHOICE, "b0", 0, 0, "b0|b1|b2|b3|b4|b5|b6|b7",
     "which scaling; made for pictures of 224, 240, 260, 300, 380, 456, 528, 600",
     offsetof(mica_efficientnet_options, variant)},
    {"dropout", MICA_OPTION_FLOAT, "-1", -1, 0.999, NULL,
     "before the classifier; -1: as the variant has it",
     offsetof(mica_efficientnet_options, dropout)},
    {"drop_connect", MICA_OPTION_FLOAT, "0.2", 0, 0.999, NULL,
     "share of examples that leave out a block; grows over depth up to this",
     offsetof(mica_efficientnet_options, drop_connect)},
    {"width", MICA_OPTION_FLOAT, "0", 0, 16, NULL, "factor of the widths; 0: the variant's",
     offsetof(mica_efficientnet_options, width)},
    {"depth", MICA_OPTION_FLOAT, "0", 0, 16, NULL, "factor of the depths; 0: the variant's",
     offsetof(mica_efficientnet_options, depth)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "_fc";
}

static const mica_model_functions functions = {init, forward, head_of, features};

extern const mica_component mica_component_model_efficientnet;
const mica_component mica_component_model_efficientnet = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MODEL,
    "efficientnet",
    "EfficientNet B0 to B7: scaled inverted bottlenecks with squeeze-and-excitation",
    NULL,
    options,
    sizeof(mica_efficientnet_options),
    MICA_NEED_IMAGES,
    MICA_NEED_LOGITS | MICA_NEED_FEATURES | MICA_NEED_PYRAMID,
    &functions};
