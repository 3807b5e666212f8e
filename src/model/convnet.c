/* A plain convolutional network: stages of 3x3 convolutions with batch norm and ReLU, max pooling
 * between stages, global average pooling (or a hidden layer on the last map), a linear head. */
#include <mica/model.h>

#include <stdio.h>

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  const mica_convnet_options *o = options;
  return o->hidden ? o->hidden : o->widths.v[o->widths.n - 1];
}

/* A side of the map behind all poolings. */
static int64_t side_of(const mica_convnet_options *o, const mica_problem *task, int64_t side) {
  int64_t h = task->height, w = task->width;
  for (int i = 0; i < o->widths.n && h > 1 && w > 1; i++) {
    h /= 2;
    w /= 2;
    side /= 2;
  }
  return side;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_convnet_options *o = options;
  if (!task->height) return mica_fail(MICA_ERR_INVALID, "convnet reads images, not rows");
  if (!o->widths.n)
    return mica_fail(MICA_ERR_INVALID, "convnet: widths is empty, expected 1 or more");
  const mica_init he = {MICA_INIT_KAIMING_NORMAL, 0, 0, 1.4142135623730951, true};
  int64_t in = task->channels;
  for (int i = 0; i < o->widths.n; i++)
    for (int j = 0; j < o->convolutions; j++) {
      const int64_t out = o->widths.v[i];
      mica_status status = mica_nn_conv2d_init(mica_node_childf(root, "stages.%d.conv%d", i, j + 1),
                                               in, out, 3, 3, 1, false, &he);
      if (status == MICA_OK)
        status = mica_nn_batch_norm_init(mica_node_childf(root, "stages.%d.bn%d", i, j + 1), out);
      if (status != MICA_OK) return status;
      in = out;
    }
  if (o->hidden) {
    const int64_t cells = side_of(o, task, task->height) * side_of(o, task, task->width);
    const mica_status status =
        mica_nn_linear_init(mica_node_child(root, "hidden"), in * cells, o->hidden, true);
    if (status != MICA_OK) return status;
    in = o->hidden;
  }
  mica_node *head = mica_node_child(root, "head");
  if (!task->classes) return head ? MICA_OK : mica_last_status();
  return mica_nn_linear_init(head, in, task->classes, true);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_convnet_options *o = options;
  mica_conv_options conv = MICA_CONV_OPTIONS;
  conv.pad[0] = conv.pad[1] = conv.pad[2] = conv.pad[3] = 1;
  mica_var x = in->x;
  for (int i = 0; i < o->widths.n && mica_ok(t); i++) {
    char name[32];
    mica_node *stage = mica_node_find(root, mica_node_index(name, sizeof name, "stages", i));
    mica_scope_begin(t, name);
    mica_var h = x;
    if (i && mica_dim(t, h, 1) > 1 && mica_dim(t, h, 2) > 1) h = mica_max_pool2d(t, h, NULL);
    for (int j = 0; j < o->convolutions && mica_ok(t); j++) {
      char c[16], n[16];
      snprintf(c, sizeof c, "conv%d", j + 1);
      snprintf(n, sizeof n, "bn%d", j + 1);
      h = mica_replace(t, h,
                       mica_nn_conv2d_norm(t, mica_node_find(stage, c), mica_node_find(stage, n),
                                           &conv, MICA_RELU, h, MICA_NONE));
    }
    x = mica_scope_end(t, h);
    if (i < MICA_PYRAMID_MAX) out->pyramid[out->n_pyramid++] = x;
  }
  if (o->hidden) {
    if (mica_dim(t, x, 1) > 1 && mica_dim(t, x, 2) > 1) x = mica_max_pool2d(t, x, NULL);
    mica_var h = mica_flatten(t, x, 1);
    h = mica_nn_linear(t, mica_node_find(root, "hidden"), h);
    out->features = mica_replace(t, h, mica_relu(t, h));
  } else {
    out->features = mica_global_avg_pool(t, x);
  }
  mica_node *head = mica_node_find(root, "head");
  if (!mica_node_param(head, "weight")) return;
  mica_var h = o->dropout > 0 ? mica_dropout(t, out->features, o->dropout) : out->features;
  out->logits = mica_nn_linear(t, head, h);
}

static const mica_option options[] = {
    {"widths", MICA_OPTION_INTS, "32,64,128", 1, 1 << 16, NULL, "channels of the stages",
     offsetof(mica_convnet_options, widths)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "before the head",
     offsetof(mica_convnet_options, dropout)},
    {"convolutions", MICA_OPTION_INT, "2", 1, 64, NULL, "of each stage",
     offsetof(mica_convnet_options, convolutions)},
    {"hidden", MICA_OPTION_INT, "0", 0, 1 << 16, NULL,
     "width of a layer with ReLU on the last map; 0: none, features are its mean",
     offsetof(mica_convnet_options, hidden)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "head";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_convnet = {MICA_COMPONENT_HEAD,
                                                     MICA_KIND_MODEL,
                                                     "convnet",
                                                     "plain convolutional network with batch norm",
                                                     NULL,
                                                     options,
                                                     sizeof(mica_convnet_options),
                                                     MICA_NEED_IMAGES,
                                                     MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                         MICA_NEED_PYRAMID,
                                                     &functions};
