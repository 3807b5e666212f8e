/* saliency: every cell of the recipe at two layers of a small network, real convolutions, layers
 * combined, a step of training before the map, class sensitivity.
 */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's network: conv 3x3, relu (layer1), conv 3x3 stride 2 (c2), relu (layer2), global average
 * pooling, linear. */
typedef struct widths {
  uint32_t size;
  int64_t first, second;
} widths;

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const widths *w = options;
  const mica_init he = {MICA_INIT_KAIMING_NORMAL, 0, 0, 1, false};
  mica_status status = mica_nn_conv2d_init(mica_node_child(root, "c1"), task->channels, w->first, 3,
                                           3, 1, true, &he);
  if (status == MICA_OK)
    status =
        mica_nn_conv2d_init(mica_node_child(root, "c2"), w->first, w->second, 3, 3, 1, true, &he);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(root, "fc"), w->second, task->classes, true);
  return status;
}

static mica_conv_options convolution(int32_t stride) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  for (int i = 0; i < 4; i++) o.pad[i] = 1;
  o.stride[0] = o.stride[1] = stride;
  return o;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  (void)options;
  const mica_conv_options one = convolution(1), two = convolution(2);
  mica_var x = mica_nn_conv2d(t, mica_node_find(root, "c1"), &one, in->x);
  mica_scope_begin(t, "layer1");
  x = mica_scope_end(t, mica_relu(t, x));
  x = mica_nn_conv2d(t, mica_node_find(root, "c2"), &two, x);
  mica_scope_begin(t, "layer2");
  x = mica_scope_end(t, mica_relu(t, x));
  out->features = mica_global_avg_pool(t, x);
  out->logits = mica_nn_linear(t, mica_node_find(root, "fc"), out->features);
}

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const widths *)options)->second;
}

static const char *head(const void *options) {
  (void)options;
  return "fc";
}

static const mica_option table[] = {
    {"first", MICA_OPTION_INT, "5", 1, 1000, NULL, "channels", offsetof(widths, first)},
    {"second", MICA_OPTION_INT, "6", 1, 1000, NULL, "channels", offsetof(widths, second)},
    {0}};
static const mica_model_functions functions = {init, forward, head, features};
static const mica_component model = {MICA_COMPONENT_HEAD,
                                     MICA_KIND_MODEL,
                                     "two-convolutions",
                                     "the network of the golden vectors",
                                     NULL,
                                     table,
                                     sizeof(widths),
                                     MICA_NEED_IMAGES,
                                     MICA_NEED_LOGITS | MICA_NEED_FEATURES,
                                     &functions};

static mica_net *build(golden *g, const mica_tensor *x) {
  mica_net *net;
  char spec[100];
  snprintf(spec, sizeof spec, "two-convolutions:first=%lld:second=%lld",
           (long long)golden_dim(g, "param.c1.weight", 0),
           (long long)golden_dim(g, "param.c2.weight", 0));
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(mica_tensor_dim(x, 1), mica_tensor_dim(x, 2), mica_tensor_dim(x, 3),
                          golden_dim(g, "param.fc.weight", 0));
  golden_need(g, mica_engine_register(golden_engine(g), &model));
  golden_need(g, mica_net_create(golden_engine(g), spec, &problem, 0, &net));
  mica_params *p = mica_net_params(net);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    char key[100];
    snprintf(key, sizeof key, "param.%s", mica_param_path(q));
    golden_need(g, mica_param_from_reference(q, golden_tensor(g, key, MICA_F32)));
  }
  return net;
}

static const char *const layers[] = {"scaling", "bias", "conv1x1", "conv3x3", "conv3x3_depthwise"};
static const char *const squeezes[] = {"norm", "filter_norm", "sum", "max"};

static void check(golden *g, const char *name, mica_tensor *map) {
  golden_check(g, name, mica_tensor_view(map));
  mica_tensor_free(map);
}

/* All that a layer's probe gives. */
static void check_layer(golden *g, const mica_net *net, const mica_tensor *x, const char *layer) {
  mica_probe p;
  mica_tensor *map;
  char name[100];
  golden_need(g, mica_probe_layer(net, x, golden_integers(g, "in.target", NULL), layer,
                                  MICA_RELU_PLAIN, &p));
  snprintf(name, sizeof name, "out.%s.activation", layer);
  golden_check_channels_last(g, name, mica_tensor_view(p.activation));
  snprintf(name, sizeof name, "out.%s.gradient", layer);
  golden_check_channels_last(g, name, mica_tensor_view(p.gradient));
  for (int a = 0; a < 5; a++)
    for (int b = 0; b < 4; b++) {
      snprintf(name, sizeof name, "out.%s.%s.%s", layer, layers[a], squeezes[b]);
      golden_need(g, mica_saliency(p.activation, p.gradient, (mica_saliency_layer)a,
                                   (mica_saliency_squeeze)b, &map));
      check(g, name, map);
    }
  golden_need(g, mica_saliency_grad_cam(p.activation, p.gradient, &map));
  snprintf(name, sizeof name, "out.%s.grad_cam", layer);
  check(g, name, map);
  golden_need(g, mica_saliency(p.activation, p.gradient, MICA_SALIENCY_BIAS, MICA_SQUEEZE_MAX_ABS,
                               &map));
  snprintf(name, sizeof name, "out.%s.gradient_max", layer);
  check(g, name, map);
  mica_probe_clear(&p);
}

static void check_image(golden *g, const mica_net *net, const mica_tensor *x) {
  mica_probe p;
  golden_need(g, mica_probe_layer(net, x, golden_integers(g, "in.target", NULL), NULL,
                                  MICA_RELU_PLAIN, &p));
  golden_check(g, "out.scores", mica_tensor_view(p.scores));
  golden_check_channels_last(g, "grad.x", mica_tensor_view(p.gradient));
  mica_probe_clear(&p);
}

static void check_real_convolution(golden *g, const mica_net *net, const mica_tensor *x) {
  mica_probe in, out;
  mica_tensor *map;
  const int64_t *target = golden_integers(g, "in.target", NULL);
  const mica_conv_options two = convolution(2);
  golden_need(g, mica_probe_layer(net, x, target, "layer1", MICA_RELU_PLAIN, &in));
  golden_need(g, mica_probe_layer(net, x, target, "c2", MICA_RELU_PLAIN, &out));
  golden_check_channels_last(g, "out.c2.gradient", mica_tensor_view(out.gradient));
  golden_need(g, mica_saliency_convolution(in.activation, out.gradient, 3, 3, &two,
                                           MICA_SQUEEZE_NORM, &map));
  check(g, "out.c2.norm_grad_real", map);
  mica_probe_clear(&in);
  mica_probe_clear(&out);
}

/* The product over the two layers of the maps at the file's size, each from 0 to 1. */
static void check_combined(golden *g, const mica_net *net, const mica_tensor *x) {
  static const struct {
    const char *expected, *method;
  } all[] = {{"out.combined.conv1x1.norm", "norm_grad"},
             {"out.combined.conv3x3.norm", "norm_grad:phase1=conv3x3"},
             {"out.combined.scaling.filter_norm", "norm_grad:phase1=scaling:phase2=filter_norm"},
             {"out.combined.scaling.sum", "linear"}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const int64_t height = golden_dim(g, all[i].expected, 1), width = golden_dim(g, all[i].expected, 2);
    mica_tensor *map[2], *product;
    for (int l = 0; l < 2; l++) {
      mica_explain_options o = MICA_EXPLAIN_OPTIONS;
      mica_tensor *small;
      o.layer = l ? "layer2" : "layer1";
      o.resize = false;
      golden_need(g, mica_explain(net, all[i].method, x, golden_integers(g, "in.target", NULL), &o,
                                  &small));
      golden_need(g, mica_map_resize(small, height, width, &map[l]));
      mica_map_normalise(map[l]);
      mica_tensor_free(small);
    }
    golden_need(g, mica_map_combine(2, (const mica_tensor *const *)map, NULL, true, &product));
    golden_check_within(g, all[i].expected, mica_tensor_view(product), 1e-4);
    mica_tensor_free(product);
    mica_tensor_free(map[0]);
    mica_tensor_free(map[1]);
  }
}

/* Of the first image alone. */
static void check_meta(golden *g, const mica_net *net, const mica_tensor *x) {
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  mica_tensor *one, *map;
  const int64_t *target = golden_integers(g, "in.target", NULL);
  double rate = 0.1, sensitivity;
  const char *text = golden_text(g, "meta", "");
  if (strncmp(text, "lr ", 3) == 0) rate = atof(text + 3);
  golden_need(g, mica_tensor_slice(x, 0, 1, &one));
  o.resize = false;
  o.layer = "layer2";
  o.meta = rate;
  golden_need(g, mica_explain(net, "norm_grad", one, target, &o, &map));
  check(g, "out.meta.plus", map);
  o.meta = -rate;
  golden_need(g, mica_explain(net, "norm_grad", one, target, &o, &map));
  check(g, "out.meta.minus", map);
  o.meta = 0;
  o.layer = "layer1";
  golden_need(g, mica_class_sensitivity(net, "norm_grad", one, &o, &sensitivity));
  golden_check_doubles(g, "out.class_sensitivity", &sensitivity, 1);
  mica_tensor_free(one);
}

static void run(golden *g) {
  mica_tensor *x = golden_channels_last(g, "in.x", MICA_F32);
  const mica_net *net = build(g, x);
  check_image(g, net, x);
  check_layer(g, net, x, "layer1");
  check_layer(g, net, x, "layer2");
  check_real_convolution(g, net, x);
  check_combined(g, net, x);
  check_meta(g, net, x);
}

const golden_adapter golden_adapter_saliency = {"saliency", 1e-5, run};
