/* Training: it learns, two runs are the same bits, a resumed run is the run that was not stopped,
 * and what cannot work is said before the first step. */
#include "support/test.h"

#include <mica/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N       300
#define CLASSES 3

static mica_engine *engine;
static char dir[] = "/tmp/mica-test-train-XXXXXX";

/* Small images whose class is where the bright corner is, with noise. */
static void make_data(mica_tensor **x, mica_tensor **labels) {
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(N, 8, 8, 1), x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(N), labels), MICA_OK);
  float *to = mica_tensor_data(*x);
  const mica_key key = mica_key_seed(5);
  for (int n = 0; n < N; n++) {
    const int label = n % CLASSES;
    ((int64_t *)mica_tensor_data(*labels))[n] = label;
    for (int p = 0; p < 64; p++) {
      const int h = p / 8, w = p % 8;
      const bool bright = label == 0   ? h < 3 && w < 3
                          : label == 1 ? h > 4 && w > 4
                                       : h < 3 && w > 4;
      to[n * 64 + p] = (float)(0.5 * mica_random_normal(key, (uint64_t)(n * 64 + p)) + bright);
    }
  }
}

typedef struct run {
  mica_net *net;
  mica_train_result result;
  mica_status status;
  double seen_loss;
} run;

static int stop_at(void *ctx, const mica_train_metrics *m) {
  return m->step >= *(const int64_t *)ctx;
}

/* One run: stops after `stop` steps when that is positive. */
static run train(const char *model, const char *folder, bool resume, int64_t stop, int64_t epochs) {
  run r = {0};
  mica_tensor *x, *labels;
  make_data(&x, &labels);
  const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);
  assert_int_equal(mica_net_create(engine, model, &task, 3, &r.net), MICA_OK);
  mica_stream stream, validation;
  assert_int_equal(mica_memory_stream_create(x, labels, 32, true, false, 11, &stream), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, 64, false, false, 0, &validation), MICA_OK);
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.loss = "ce:smoothing=0.05";
  o.optimiser = "adamw:lr=5e-3";
  o.epochs = epochs;
  o.average = 0.9;
  o.clip = 1;
  o.accumulate = 2;
  o.seed = 7;
  o.dir = folder;
  o.resume = resume;
  o.report_every = 1;
  if (stop > 0) {
    o.report = stop_at;
    o.report_ctx = &stop;
  }
  r.status = mica_train(r.net, &stream, &validation, &o, &r.result);
  mica_memory_stream_free(&stream);
  mica_memory_stream_free(&validation);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  return r;
}

static void assert_same_weights(const mica_net *a, const mica_net *b) {
  mica_params *p = mica_net_params(a), *q = mica_net_params(b);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_tensor *u = mica_param_value(mica_params_at(p, i)),
                      *v = mica_param_value(mica_params_at(q, i));
    assert_memory_equal(mica_tensor_data(u), mica_tensor_data(v),
                        (size_t)mica_tensor_count(u) * mica_dtype_size(mica_tensor_dtype(u)));
  }
}

static void test_learns(void **state) {
  (void)state;
  static const char *const models[] = {"mlp:hidden=32:dropout=0.1", "convnet:widths=8,16",
                                       "resnet:depth=8:width=8",
                                       "vit:patch=4:dim=16:depth=2:heads=2"};
  static const int64_t epochs[] = {4, 4, 4, 24};
  for (int i = 0; i < 4; i++) {
    run r = train(models[i], NULL, false, 0, epochs[i]);
    if (r.status != MICA_OK) print_error("%s: %s\n", models[i], mica_last_error());
    assert_int_equal(r.status, MICA_OK);
    print_message("%s: accuracy %.3f, loss %.3f\n", models[i], r.result.best_val_accuracy,
                  r.result.loss);
    assert_true(r.result.best_val_accuracy > 0.9);
    assert_int_equal(r.result.epochs, epochs[i]);
    mica_net_free(r.net);
  }
}

static void test_same_bits_and_resume(void **state) {
  (void)state;
  const char *model = "convnet:widths=4,8:dropout=0.2";
  run a = train(model, NULL, false, 0, 4), b = train(model, NULL, false, 0, 4);
  assert_int_equal(a.status, MICA_OK);
  assert_same_weights(a.net, b.net);
  /* Stopped in the middle of the second epoch, then taken up again. */
  run c = train(model, dir, true, 8, 4);
  assert_int_equal(c.status, MICA_ERR_CANCELLED);
  run d = train(model, dir, true, 0, 4);
  if (d.status != MICA_OK) print_error("%s\n", mica_last_error());
  assert_int_equal(d.status, MICA_OK);
  assert_same_weights(a.net, d.net);
  assert_true(a.result.loss == d.result.loss && a.result.best_epoch == d.result.best_epoch);
  /* A finished run has nothing left to do. */
  run e = train(model, dir, true, 0, 4);
  assert_int_equal(e.status, MICA_OK);
  assert_same_weights(a.net, e.net);
  /* Another model does not take up the run, and says why. */
  run f = train("convnet:widths=4,4", dir, true, 0, 4);
  assert_int_equal(f.status, MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "another model"));
  mica_net_free(a.net);
  mica_net_free(b.net);
  mica_net_free(c.net);
  mica_net_free(d.net);
  mica_net_free(e.net);
  mica_net_free(f.net);
}

static void test_refusals(void **state) {
  (void)state;
  mica_tensor *x, *labels;
  make_data(&x, &labels);
  const mica_problem task = MICA_PROBLEM_IMAGES(8, 8, 1, CLASSES);
  mica_net *net;
  mica_stream stream;
  assert_int_equal(mica_net_create(engine, "mlp", &task, 3, &net), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, 32, true, false, 11, &stream), MICA_OK);
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.loss = "ce+0.5*kd:T=2";
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(),
                         "loss kd needs teacher; this run has logits, features, ids, labels"));
  o.loss = "cee";
  assert_int_not_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_OK);
  assert_non_null(strstr(mica_last_error(), "ce"));
  o.loss = "ce";
  o.optimiser = "sgd:lr=1e6";
  o.epochs = 3;
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "loss is"));
  /* A label outside the classes, for a network that the last run did not ruin. */
  mica_net_free(net);
  assert_int_equal(mica_net_create(engine, "mlp", &task, 3, &net), MICA_OK);
  ((int64_t *)mica_tensor_data(labels))[17] = 9;
  o = (mica_train_options)MICA_TRAIN_OPTIONS;
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "label 9"));
  mica_memory_stream_free(&stream);
  mica_net_free(net);
  mica_tensor_free(x);
  mica_tensor_free(labels);
}

/* A loss of a plug-in that asks for what only some runs have. */
static mica_var greedy(mica_tape *t, mica_node *node, const void *options,
                       const mica_loss_inputs *in) {
  (void)node, (void)options;
  return mica_sum(t, in->features, 0, NULL, false);
}
static const mica_loss_functions greedy_functions = {.forward = greedy};
#define GREEDY(symbol, need)                                                                       \
  static const mica_component symbol = {                                                           \
      MICA_COMPONENT_HEAD, MICA_KIND_LOSS, #symbol, "asks", NULL, NULL, 0, need, 0,                \
      &greedy_functions}
GREEDY(hydra, MICA_NEED_TWO_VIEWS | MICA_NEED_FEATURES);
GREEDY(masked, MICA_NEED_MASK);
GREEDY(goal, MICA_NEED_TARGETS);
GREEDY(numbered, MICA_NEED_IDS | MICA_NEED_LABELS);

/* What a loss needs and the run does not have is told by name, with what it has. */
static void test_needs(void **state) {
  (void)state;
  static const mica_component *const losses[] = {&hydra, &masked, &goal, &numbered};
  for (size_t i = 0; i < 4; i++) assert_int_equal(mica_engine_register(engine, losses[i]), MICA_OK);
  mica_tensor *x, *labels;
  make_data(&x, &labels);
  const mica_problem headless = MICA_PROBLEM_IMAGES(8, 8, 1, 0);
  mica_net *net;
  mica_stream stream, bare;
  assert_int_equal(mica_net_create(engine, "mlp:hidden=8", &headless, 3, &net), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, labels, 32, true, false, 11, &stream), MICA_OK);
  assert_int_equal(mica_memory_stream_create(x, NULL, 32, true, false, 11, &bare), MICA_OK);
  static const struct {
    const char *loss, *message;
    bool bare;
  } cases[] = {
      {"hydra", "loss hydra needs two_views; this run has features, ids, labels", false},
      {"0.5*numbered+masked", "loss masked needs mask; this run has features, ids, labels", false},
      {"goal", "loss goal needs targets; this run has", false},
      {"mse", "loss mse needs logits, targets; this run has", false},
      {"ce", "loss ce needs logits; this run has", false},
      {"numbered", "loss numbered needs labels; this run has features, ids", true},
  };
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.epochs = 1;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    o.loss = cases[i].loss;
    assert_int_equal(mica_train(net, cases[i].bare ? &bare : &stream, NULL, &o, NULL),
                     MICA_ERR_INVALID);
    if (!strstr(mica_last_error(), cases[i].message)) fail_msg("%s", mica_last_error());
  }
  o.loss = "numbered";
  assert_int_equal(mica_train(net, &stream, NULL, &o, NULL), MICA_OK);
  /* The forward itself refuses too, naming the loss. */
  mica_loss *loss;
  mica_tape *t;
  const mica_loss_inputs none = {0};
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(
      mica_loss_create(engine, "hydra", mica_params_root(mica_net_params(net)), 3, 8, &loss),
      MICA_OK);
  assert_true(mica_is_none(mica_loss_forward(t, loss, &none)));
  assert_non_null(strstr(mica_tape_error(t), "loss hydra needs features, two_views, in loss"));
  mica_loss_free(loss);
  mica_tape_free(t);
  mica_memory_stream_free(&stream);
  mica_memory_stream_free(&bare);
  mica_net_free(net);
  mica_tensor_free(x);
  mica_tensor_free(labels);
}

static int make_dir(void **state) {
  (void)state;
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  char path[256];
  snprintf(path, sizeof path, "%s/last.safetensors", dir);
  remove(path);
  snprintf(path, sizeof path, "%s/best.safetensors", dir);
  remove(path);
  return rmdir(dir);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_learns),
      cmocka_unit_test(test_same_bits_and_resume),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_needs),
  };
  int failed = cmocka_run_group_tests(tests, make_dir, remove_dir);
  mica_engine_free(engine);
  return failed;
}
