/* Agreement with PyTorch: layers, losses, and ten training steps of two networks.
 *
 * The networks train in float32: the loss of each of the ten steps within 1e-5 relative, and the
 * parameters afterwards within 1e-4 of the largest of their tensor (no input of a ReLU comes
 * within 2e-5 of its kink: the script sees to that).
 */
#include "support/golden.h"

#include <mica/loss.h>
#include <mica/model.h>
#include <mica/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS 10

static mica_engine *engine;

static bool is(const golden_case *b, const char *name) {
  return strcmp(b->name, name) == 0;
}

static mica_var conv(golden_case *b) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  for (int i = 0; i < 4; i++) o.pad[i] = 1;
  if (is(b, "conv_strided")) {
    o.stride[0] = 2;
    o.pad[2] = o.pad[3] = 2;
  } else if (is(b, "conv_grouped")) {
    o.groups = 2;
  } else if (is(b, "conv_depthwise")) {
    o.stride[0] = o.stride[1] = 2;
    o.groups = 4;
  } else if (is(b, "conv_dilated")) {
    o.dilation[0] = o.dilation[1] = 2;
    for (int i = 0; i < 4; i++) o.pad[i] = 2;
  } else {
    o.stride[0] = o.stride[1] = 2;
    o.output_pad[0] = o.output_pad[1] = 1;
    o.groups = 2;
    return mica_conv_transpose2d(b->t, golden_leaf(b, "x"), golden_leaf(b, "w"),
                                 golden_leaf(b, "b"), &o);
  }
  return mica_conv2d(b->t, golden_leaf(b, "x"), golden_leaf(b, "w"), golden_leaf(b, "b"), &o);
}

static mica_var normalise(golden_case *b) {
  const mica_var x = golden_leaf(b, "x"), w = golden_leaf(b, "w"), bias = golden_leaf(b, "b");
  if (is(b, "layer_norm")) return mica_layer_norm(b->t, x, w, bias, 1e-5);
  if (is(b, "group_norm")) return mica_group_norm(b->t, x, w, bias, 2, 1e-5);
  mica_var mean, var;
  return mica_batch_norm_train(b->t, x, w, bias, 1e-5, MICA_IDENTITY, &mean, &var);
}

static mica_var pointwise(golden_case *b) {
  const mica_var x = golden_leaf(b, "x");
  if (is(b, "gelu")) return mica_gelu(b->t, x);
  if (is(b, "gelu_transposed")) return mica_transpose(b->t, mica_gelu(b->t, x), 0, 1);
  if (is(b, "gelu_tanh")) return mica_gelu_tanh(b->t, x);
  if (is(b, "softmax")) return mica_softmax(b->t, x, 1);
  return mica_log_softmax(b->t, x, -1);
}

static mica_var pool(golden_case *b) {
  const mica_var x = golden_leaf(b, "x");
  if (is(b, "adaptive_avg")) return mica_adaptive_avg_pool2d(b->t, x, 4, 3);
  if (is(b, "adaptive_max")) return mica_adaptive_max_pool2d(b->t, x, 4, 3);
  mica_pool_options o = MICA_POOL_OPTIONS;
  if (is(b, "max_pool_dilated")) {
    o.stride[0] = o.stride[1] = 1;
    o.dilation[0] = o.dilation[1] = 2;
    return mica_max_pool2d(b->t, x, &o);
  }
  o.kernel[0] = o.kernel[1] = 3;
  o.ceil_mode = strstr(b->name, "ceil");
  if (is(b, "max_pool_ceil")) return mica_max_pool2d(b->t, x, &o);
  for (int i = 0; i < 4; i++) o.pad[i] = 1;
  if (is(b, "max_pool")) return mica_max_pool2d(b->t, x, &o);
  o.count_padding = !is(b, "avg_pool_ceil");
  return mica_avg_pool2d(b->t, x, &o);
}

static mica_var resize(golden_case *b) {
  const mica_var x = golden_leaf(b, "x");
  if (is(b, "resize_up")) return mica_resize(b->t, x, 11, 12, MICA_BILINEAR, false);
  if (is(b, "resize_down")) return mica_resize(b->t, x, 5, 3, MICA_BILINEAR, false);
  return mica_resize(b->t, x, 11, 5, MICA_BILINEAR, true);
}

static mica_var attention(golden_case *b) {
  mica_tape *t = b->t;
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = is(b, "attention_causal");
  mica_var qkv = mica_linear(t, golden_leaf(b, "x"), golden_leaf(b, "wi"), golden_leaf(b, "bi"),
                             MICA_IDENTITY),
           part[3];
  mica_split(t, qkv, 2, 3, (int64_t[]){8, 8, 8}, part);
  for (int i = 0; i < 3; i++) part[i] = mica_reshape(t, part[i], MICA_SHAPE(2, 6, 2, 4));
  mica_var y = mica_attention(t, part[0], part[1], part[2], MICA_NONE, &o, NULL);
  return mica_linear(t, mica_reshape(t, y, MICA_SHAPE(2, 6, 8)), golden_leaf(b, "wo"),
                     golden_leaf(b, "bo"), MICA_IDENTITY);
}

static mica_var cross_entropy(golden_case *b) {
  const mica_var x = golden_leaf(b, "x");
  if (is(b, "ce_soft")) return mica_soft_cross_entropy(b->t, x, golden_constant(b, "target"));
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  const bool all = is(b, "ce_all") || is(b, "ce_each");
  if (is(b, "ce_smooth")) o.smoothing = 0.2;
  if (all) {
    o.smoothing = 0.1;
    o.ignore_index = -7;
    o.per_example = is(b, "ce_each");
  }
  return mica_cross_entropy(b->t, x, golden_constant(b, "labels"),
                            all || is(b, "ce_weighted") ? golden_constant(b, "weights") : MICA_NONE,
                            &o);
}

static mica_var distance(golden_case *b) {
  const mica_var x = golden_leaf(b, "x"), target = golden_constant(b, "target");
  if (is(b, "kl")) return mica_kl(b->t, mica_log_softmax(b->t, x, -1), target);
  if (is(b, "bce")) return mica_bce(b->t, x, target);
  return mica_huber(b->t, x, target, 0.7);
}

static const golden_operation cases[] = {
    {"conv_strided", conv},
    {"conv_grouped", conv},
    {"conv_depthwise", conv},
    {"conv_dilated", conv},
    {"conv_transpose", conv},
    {"batch_norm", normalise},
    {"layer_norm", normalise},
    {"group_norm", normalise},
    {"gelu", pointwise},
    {"gelu_transposed", pointwise},
    {"gelu_tanh", pointwise},
    {"softmax", pointwise},
    {"log_softmax", pointwise},
    {"max_pool", pool},
    {"max_pool_ceil", pool},
    {"max_pool_dilated", pool},
    {"avg_pool", pool},
    {"avg_pool_ceil", pool},
    {"avg_pool_ceil_padding", pool},
    {"adaptive_avg", pool},
    {"adaptive_max", pool},
    {"resize_up", resize},
    {"resize_down", resize},
    {"resize_align", resize},
    {"attention", attention},
    {"attention_causal", attention},
    {"ce", cross_entropy},
    {"ce_smooth", cross_entropy},
    {"ce_weighted", cross_entropy},
    {"ce_all", cross_entropy},
    {"ce_each", cross_entropy},
    {"ce_soft", cross_entropy},
    {"kl", distance},
    {"bce", distance},
    {"huber", distance},
};

static void test_layers(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "layers.safetensors");
  const int failed = golden_run(engine, archive, cases, sizeof cases / sizeof *cases);
  mica_archive_close(archive);
  assert_int_equal(failed, 0);
}

/* The layer with its running statistics after three steps on one batch. */
static void test_running_statistics(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "layers.safetensors");
  mica_tensor *x = golden_read(archive, MICA_F32, "batch_norm.x");
  mica_params *params;
  mica_tape *t;
  assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_node *node = mica_node_child(mica_params_root(params), "bn");
  assert_int_equal(mica_nn_batch_norm_init(node, 5), MICA_OK);
  mica_set_training(t, true);
  for (int i = 0; i < 3; i++) {
    (void)mica_nn_batch_norm(t, node, MICA_IDENTITY, mica_input(t, x));
    assert_int_equal(mica_commit(t), MICA_OK);
    mica_tape_reset(t);
  }
  static const char *const names[] = {"running_mean", "running_var"};
  for (int i = 0; i < 2; i++) {
    char name[64];
    snprintf(name, sizeof name, "batch_norm.%s", names[i]);
    mica_tensor *want = golden_read(archive, MICA_F64, name);
    const mica_view got = mica_tensor_view(mica_param_value(mica_node_param(node, names[i])));
    assert_true(golden_agrees(name, &got, want, 1e-6));
    mica_tensor_free(want);
  }
  assert_true(mica_tensor_get(mica_param_value(mica_node_param(node, "num_batches_tracked")), 0) ==
              3);
  mica_tape_free(t);
  mica_params_free(params);
  mica_tensor_free(x);
  mica_archive_close(archive);
}

/* ---- ten training steps ---- */

static double one_step(mica_tape *t, const mica_net *net, mica_optimiser *opt, mica_tensor *x,
                       mica_tensor *labels) {
  mica_outputs out = {0};
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  o.smoothing = 0.1;
  mica_params_zero_grad(mica_net_params(net));
  mica_net_forward(t, net, mica_input(t, x), &out);
  mica_var loss = mica_cross_entropy(t, out.logits, mica_input(t, labels), MICA_NONE, &o);
  const double value = mica_item(t, loss);
  if (mica_backward(t, loss) != MICA_OK || mica_optimiser_step(opt, t, 1) != MICA_OK ||
      mica_commit(t) != MICA_OK) {
    print_error("%s\n", mica_last_error());
    fail();
  }
  mica_tape_reset(t);
  return value;
}

/* The parameters after the run, in the reference layout, against those stored. */
static int compare_final(const mica_net *net, const mica_archive *run) {
  int failed = 0;
  mica_params *params = mica_net_params(net);
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    char name[128];
    mica_tensor *got;
    const mica_param *p = mica_params_at(params, i);
    snprintf(name, sizeof name, "final.%s", mica_param_path(p));
    mica_tensor *want = golden_read(run, MICA_F64, name);
    assert_int_equal(mica_param_to_reference(p, &got), MICA_OK);
    const mica_view view = mica_tensor_view(got);
    failed += !golden_agrees(name, &view, want, 1e-4);
    mica_tensor_free(got);
    mica_tensor_free(want);
  }
  return failed;
}

static void train(const char *name, const char *model, int64_t side, const char *optimiser) {
  char path[128];
  const mica_problem task = MICA_PROBLEM_IMAGES(side, side, 3, 5);
  mica_net *net;
  mica_optimiser *opt;
  mica_tape *t;
  mica_load_report report;
  assert_int_equal(mica_net_create(engine, model, &task, 1, &net), MICA_OK);
  snprintf(path, sizeof path, GOLDEN_FOLDER "%s.safetensors", name);
  if (mica_params_load(mica_net_params(net), path, NULL, &report) != MICA_OK)
    fail_msg("%s", mica_last_error());
  assert_true(report.share == 1 && report.missing == 0 && report.unexpected == 0);
  mica_free(report.text);
  assert_int_equal(mica_optimiser_create(mica_net_params(net), optimiser, &opt), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, true);
  snprintf(path, sizeof path, GOLDEN_FOLDER "%s_run.safetensors", name);
  mica_archive *run = golden_open(path);
  mica_tensor *x = golden_read(run, MICA_F32, "x"), *labels = golden_read(run, MICA_F32, "labels");
  mica_tensor *losses = golden_read(run, MICA_F64, "losses");
  int failed = 0;
  double worst = 0;
  for (int i = 0; i < STEPS; i++) {
    mica_tensor *some, *their;
    const int64_t at = 8 * (i % 2);
    assert_int_equal(mica_tensor_slice(x, at, at + 8, &some), MICA_OK);
    assert_int_equal(mica_tensor_slice(labels, at, at + 8, &their), MICA_OK);
    const double got = one_step(t, net, opt, some, their), want = mica_tensor_get(losses, i);
    const double d = fabs(got - want) / want;
    if (!(d <= 1e-5)) {
      print_error("%s, step %d: loss %.7f, PyTorch has %.7f\n", name, i, got, want);
      failed++;
    }
    if (d > worst) worst = d;
    mica_tensor_free(some);
    mica_tensor_free(their);
  }
  print_message("%s: losses of %d steps within %.1e relative\n", name, STEPS, worst);
  failed += compare_final(net, run);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_tensor_free(losses);
  mica_archive_close(run);
  mica_tape_free(t);
  mica_optimiser_free(opt);
  mica_net_free(net);
  assert_int_equal(failed, 0);
}

static void test_resnet(void **state) {
  (void)state;
  train("resnet", "resnet:depth=8:width=4", 8,
        "sgd:lr=0.1:momentum=0.9:nesterov=true:weight_decay=0.01");
}

static void test_vit(void **state) {
  (void)state;
  train("vit", "vit:patch=4:dim=16:depth=2:heads=2", 8, "adamw:lr=3e-3:weight_decay=0.1:eps=1e-5");
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_layers),
      cmocka_unit_test(test_running_statistics),
      cmocka_unit_test(test_resnet),
      cmocka_unit_test(test_vit),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
