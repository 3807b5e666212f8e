/* Residual networks (He et al. 2016): the CIFAR form of depth 6n + 2 (names of the well-known
 * CIFAR-10 checkpoints) and the ImageNet form 18, 34, 50, 101, 152, 200 (torchvision's names).
 *
 * A block is conv-bn-relu-conv-bn, added to its shortcut, relu; depth 50 and more use the
 * bottleneck 1x1-3x3-1x1 with stride on the 3x3. Shortcut a subsamples and pads channels with zeros
 * on both sides, shortcut b is a 1x1 convolution with batch norm.
 */
#include <mica/model.h>

#include <stdio.h>
#include <string.h>

typedef struct plan {
  bool cifar, bottleneck, shortcut_b, small;
  int stages, blocks[4];
  int64_t width;
} plan;

enum { AUTO, CIFAR, IMAGENET };

static mica_status plan_of(const mica_resnet_options *o, plan *p) {
  static const struct {
    int depth, blocks[4];
    bool bottleneck;
  } known[] = {{18, {2, 2, 2, 2}, false},  {34, {3, 4, 6, 3}, false},  {50, {3, 4, 6, 3}, true},
               {101, {3, 4, 23, 3}, true}, {152, {3, 8, 36, 3}, true}, {200, {3, 24, 36, 3}, true}};
  *p = (plan){.width = o->width, .small = o->small};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (o->depth == known[i].depth && o->form != CIFAR) {
      p->stages = 4;
      for (int k = 0; k < 4; k++) p->blocks[k] = known[i].blocks[k];
      p->bottleneck = known[i].bottleneck;
      p->shortcut_b = true;
      if (!p->width) p->width = 64;
      return MICA_OK;
    }
  if (o->depth < 8 || (o->depth - 2) % 6 || o->form == IMAGENET)
    return mica_fail(MICA_ERR_INVALID, "resnet: depth %lld, expected %s%s%s", (long long)o->depth,
                     o->form != CIFAR ? "18, 34, 50, 101, 152, 200" : "", o->form ? "" : ", or ",
                     o->form != IMAGENET ? "6 n + 2 (8, 14, 20, 32, 44, 56, ...)" : "");
  p->cifar = true;
  p->stages = 3;
  for (int k = 0; k < 3; k++) p->blocks[k] = (int)((o->depth - 2) / 6);
  p->shortcut_b = o->shortcut == 1;
  if (!p->width) p->width = 16;
  return MICA_OK;
}

static int64_t stage_width(const plan *p, int stage) {
  return p->width << stage;
}
static int64_t stage_out(const plan *p, int stage) {
  return stage_width(p, stage) * (p->bottleneck ? 4 : 1);
}

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  plan p;
  return plan_of(options, &p) == MICA_OK ? stage_out(&p, p.stages - 1) : 0;
}

static const char *head_name(const plan *p) {
  return p->cifar ? "linear" : "fc";
}

/* The shortcut changes shape: its module in the well-known checkpoints. */
static const char *shortcut_name(const plan *p) {
  return p->cifar ? "shortcut" : "downsample";
}

static mica_status conv_norm_init(mica_node *node, const char *conv, const char *bn, int64_t in,
                                  int64_t out, int64_t k) {
  const mica_init he = {MICA_INIT_KAIMING_NORMAL, 0, 0, 1.4142135623730951, true};
  mica_status status =
      mica_nn_conv2d_init(mica_node_child(node, conv), in, out, k, k, 1, false, &he);
  return status == MICA_OK ? mica_nn_batch_norm_init(mica_node_child(node, bn), out) : status;
}

static mica_status shortcut_init(mica_node *node, int64_t in, int64_t out) {
  const mica_status status = conv_norm_init(node, "0", "1", in, out, 1);
  if (status == MICA_OK) mica_node_set_flags(node, MICA_PARAM_SHORTCUT, 0);
  return status;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  plan p;
  mica_status status = plan_of(options, &p);
  if (status != MICA_OK) return status;
  if (!task->height) return mica_fail(MICA_ERR_INVALID, "resnet reads images, not rows");
  status =
      conv_norm_init(root, "conv1", "bn1", task->channels, p.width, p.cifar || p.small ? 3 : 7);
  int64_t in = p.width;
  for (int s = 0; s < p.stages && status == MICA_OK; s++)
    for (int b = 0; b < p.blocks[s] && status == MICA_OK; b++) {
      mica_node *node = mica_node_childf(root, "layer%d.%d", s + 1, b);
      const int64_t width = stage_width(&p, s), out = stage_out(&p, s);
      if (p.bottleneck) {
        status = conv_norm_init(node, "conv1", "bn1", in, width, 1);
        if (status == MICA_OK) status = conv_norm_init(node, "conv2", "bn2", width, width, 3);
        if (status == MICA_OK) status = conv_norm_init(node, "conv3", "bn3", width, out, 1);
      } else {
        status = conv_norm_init(node, "conv1", "bn1", in, width, 3);
        if (status == MICA_OK) status = conv_norm_init(node, "conv2", "bn2", width, width, 3);
      }
      if (status == MICA_OK && p.shortcut_b && (in != out || (s && !b)))
        status = shortcut_init(mica_node_child(node, shortcut_name(&p)), in, out);
      in = out;
    }
  if (status != MICA_OK || !task->classes) return status;
  return mica_nn_linear_init(mica_node_child(root, head_name(&p)), in, task->classes, true);
}

/* act(bn(conv(x)) + residual) */
static mica_var conv_norm(mica_tape *t, mica_node *node, const char *conv, const char *bn, int k,
                          int stride, mica_activation act, mica_var x, mica_var residual) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  o.stride[0] = o.stride[1] = stride;
  for (int i = 0; i < 4; i++) o.pad[i] = k / 2;
  return mica_nn_conv2d_norm(t, mica_node_find(node, conv), mica_node_find(node, bn), &o, act, x,
                             residual);
}

/* Every second row and column, channels padded with zeros on both sides: no parameters. */
static mica_var shortcut_a(mica_tape *t, mica_var x, int64_t out) {
  const mica_pool_options o = {sizeof o, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false, false};
  const int64_t in = mica_dim(t, x, 3), before[4] = {0, 0, 0, (out - in) / 2};
  const int64_t after[4] = {0, 0, 0, out - in - (out - in) / 2};
  return mica_pad(t, mica_avg_pool2d(t, x, &o), 4, before, after, 0);
}

/* A block is what its node holds: with bottleneck or without, with a convolution on its shortcut or
 * without. The first block of every stage but the first has stride 2. */
static mica_var block(mica_tape *t, mica_node *node, mica_var x) {
  mica_node *last = mica_node_find(node, "conv3"), *down = mica_node_find(node, "shortcut");
  const bool bottleneck = last != NULL;
  const char *path = mica_node_path(node); /* "layerS.B" */
  const int stride = path[strlen("layer")] != '1' && strcmp(mica_node_name(node), "0") == 0 ? 2 : 1;
  if (!down) down = mica_node_find(node, "downsample");
  mica_nn_enter(t, node);
  mica_var skip = x, h;
  if (down) {
    mica_nn_enter(t, down);
    skip = mica_scope_end(t, conv_norm(t, down, "0", "1", 1, stride, MICA_IDENTITY, x, MICA_NONE));
  } else if (stride > 1) {
    mica_node *conv = mica_node_find(node, "conv2");
    if (conv && mica_node_low_rank(conv)) conv = mica_node_find(conv, "1");
    skip = shortcut_a(t, x, mica_tensor_dim(mica_param_value(mica_node_param(conv, "weight")), 0));
  }
  if (bottleneck) {
    h = conv_norm(t, node, "conv1", "bn1", 1, 1, MICA_RELU, x, MICA_NONE);
    h = mica_replace(t, h, conv_norm(t, node, "conv2", "bn2", 3, stride, MICA_RELU, h, MICA_NONE));
    h = mica_replace(t, h, conv_norm(t, node, "conv3", "bn3", 1, 1, MICA_RELU, h, skip));
  } else {
    h = conv_norm(t, node, "conv1", "bn1", 3, stride, MICA_RELU, x, MICA_NONE);
    h = mica_replace(t, h, conv_norm(t, node, "conv2", "bn2", 3, 1, MICA_RELU, h, skip));
  }
  return mica_scope_end(t, h);
}

static void block_again(mica_tape *t, void *node, int n_in, const mica_var *in, int n_out,
                        mica_var *out) {
  (void)n_in;
  (void)n_out;
  out[0] = block(t, node, in[0]);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  plan p;
  mica_status status = plan_of(options, &p);
  if (status != MICA_OK) {
    mica_latch(t, status, "%s", mica_last_error());
    return;
  }
  const bool small = p.cifar || p.small;
  const bool recompute = ((const mica_resnet_options *)options)->recompute && mica_is_recording(t);
  mica_scope_begin(t, NULL);
  /* The stem's result has the name of its last layer, for taps. */
  mica_var h =
      conv_norm(t, root, "conv1", "bn1", small ? 3 : 7, small ? 1 : 2, MICA_RELU, in->x, MICA_NONE);
  if (!small) {
    const mica_pool_options o = {sizeof o, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, false, false};
    mica_scope_begin(t, "maxpool");
    h = mica_scope_end(t, mica_max_pool2d(t, h, &o));
  } else {
    mica_scope_begin(t, "relu");
    h = mica_scope_end(t, h);
  }
  mica_var x = mica_scope_end(t, h);
  for (int s = 0; s < p.stages && mica_ok(t); s++) {
    char name[16];
    snprintf(name, sizeof name, "layer%d", s + 1);
    mica_node *layer = mica_node_find(root, name);
    mica_scope_begin(t, name);
    h = x;
    for (int b = 0; b < p.blocks[s] && mica_ok(t); b++) {
      snprintf(name, sizeof name, "%d", b);
      mica_node *node = mica_node_find(layer, name);
      mica_var y = MICA_NONE;
      if (recompute)
        mica_recompute(t, block_again, node, 1, &h, 1, &y);
      else
        y = block(t, node, h);
      h = mica_replace(t, h, y);
      if (b == 0) mica_until_backward(t, x);
    }
    x = mica_scope_end(t, h);
    out->pyramid[out->n_pyramid++] = x;
  }
  out->features = mica_global_avg_pool(t, x);
  mica_until_backward(t, x);
  mica_node *head = mica_node_find(root, head_name(&p));
  if (head && mica_node_param(head, "weight")) out->logits = mica_nn_linear(t, head, out->features);
}

static const mica_option options[] = {
    {"depth", MICA_OPTION_INT, "20", 8, 2000, NULL,
     "18, 34, 50, 101, 152, 200 (ImageNet form) or 6 n + 2 (CIFAR form)",
     offsetof(mica_resnet_options, depth)},
    {"width", MICA_OPTION_INT, "0", 0, 4096, NULL, "channels of the first stage; 0: 16 or 64",
     offsetof(mica_resnet_options, width)},
    {"shortcut", MICA_OPTION_CHOICE, "a", 0, 0, "a|b",
     "CIFAR form: pad with zeros, or a 1x1 convolution", offsetof(mica_resnet_options, shortcut)},
    {"small", MICA_OPTION_BOOL, "false", 0, 0, NULL, "ImageNet form: 3x3 stem without pooling",
     offsetof(mica_resnet_options, small)},
    {"form", MICA_OPTION_CHOICE, "auto", 0, 0, "auto|cifar|imagenet",
     "auto: ImageNet where it has that depth", offsetof(mica_resnet_options, form)},
    {"recompute", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "run blocks again in backward instead of keeping what they made",
     offsetof(mica_resnet_options, recompute)},
    {0}};

static const char *head_of(const void *o) {
  plan p;
  return plan_of(o, &p) == MICA_OK ? head_name(&p) : "fc";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_resnet = {MICA_COMPONENT_HEAD,
                                                    MICA_KIND_MODEL,
                                                    "resnet",
                                                    "residual network, CIFAR and ImageNet forms",
                                                    NULL,
                                                    options,
                                                    sizeof(mica_resnet_options),
                                                    MICA_NEED_IMAGES,
                                                    MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                        MICA_NEED_PYRAMID,
                                                    &functions};
