/* MobileNetV3: the published numbers of parameters, the checkpoint's names, and agreement with
 * PyTorch in evaluation, in gradients and in training. */
#include "support/golden.h"
#include "support/near.h"

#include <mica/model.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static int64_t count(const mica_net *net) {
  const mica_params *p = mica_net_params(net);
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    if (mica_param_flags(q) & MICA_PARAM_TRAINABLE) n += mica_tensor_count(mica_param_value(q));
  }
  return n;
}

/* torchvision's counts, with 1000 classes. */
static void test_sizes(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    int64_t parameters;
  } published[] = {{"mobilenet", 2542856}, {"mobilenet:variant=large", 5483032}};
  const mica_problem task = MICA_PROBLEM_IMAGES(64, 64, 3, 1000);
  for (int i = 0; i < 2; i++) {
    mica_net *net;
    if (mica_net_create(engine, published[i].spec, &task, MICA_SEED_NONE, &net))
      fail_msg("%s", mica_last_error());
    assert_int_equal(count(net), published[i].parameters);
    mica_net_free(net);
  }
}

static mica_net *small(void) {
  const mica_problem task = MICA_PROBLEM_IMAGES(25, 28, 3, 5);
  mica_net *net;
  mica_load_options o = MICA_LOAD_OPTIONS;
  mica_load_report report;
  o.strip = "";
  if (mica_net_create(engine, "mobilenet:width=0.05:dropout=0", &task, 0, &net) ||
      mica_params_load(mica_net_params(net), GOLDEN_FOLDER "mobilenet.safetensors", &o, &report))
    fail_msg("%s", mica_last_error());
  /* The file has no counters of batches. */
  if (report.reshaped || report.share < 0.999) fail_msg("%s", report.text);
  mica_free(report.text);
  return net;
}

static void agree(mica_tape *t, const mica_archive *a, const char *name, mica_var got) {
  const mica_view v = mica_read(t, got);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  mica_tensor *want = golden_read(a, MICA_F64, name);
  assert_true(golden_agrees(name, &v, want, 2e-5));
  mica_tensor_free(want);
}

enum { MAPS = 5 };

/* The mean of each map of the pyramid, as taps and with the norms folded into the convolutions. */
static void test_blocks(void **state) {
  (void)state;
  mica_archive *a = golden_open(GOLDEN_FOLDER "mobilenet.safetensors");
  mica_net *net = small();
  mica_tensor *x = golden_read(a, MICA_F32, "x");
  mica_tape *t;
  mica_outputs out;
  const char *const names[] = {"pyramid"};
  if (mica_net_set_taps(net, 1, names)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_taps(net), MAPS + 1);
  assert_string_equal(mica_net_tap(net, MAPS, NULL), "features");
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, x), &out);
  int64_t at = 0;
  for (int64_t i = 0; i < MAPS; i++) {
    char name[16];
    int64_t width;
    mica_net_tap(net, i, &width);
    snprintf(name, sizeof name, "mean.%d", (int)i);
    agree(t, a, name, mica_slice(t, out.features, 1, at, at + width));
    at += width;
  }
  agree(t, a, "logits", out.logits);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_net_free(net);
  mica_archive_close(a);
}

static void test_gradients(void **state) {
  (void)state;
  mica_archive *a = golden_open(GOLDEN_FOLDER "mobilenet.safetensors");
  mica_net *net = small();
  mica_tensor *x = golden_read(a, MICA_F32, "x");
  mica_tape *t;
  mica_outputs out;
  int64_t compared = 0;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_net_forward(t, net, mica_input(t, x), &out);
  mica_backward(t, mica_mean(t, mica_square(t, out.logits), 0, NULL, false));
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  for (int64_t i = 0; i < mica_archive_count(a); i++) {
    const char *name = mica_archive_name(a, i);
    if (strncmp(name, "grad.", 5) != 0) continue;
    mica_param *q = mica_params_find(mica_net_params(net), name + 5);
    assert_non_null(q);
    mica_tensor *want = golden_read(a, MICA_F64, name);
    const mica_shape *s = mica_tensor_shape(want);
    mica_view got = mica_param_grad(q);
    /* Kernels of one input channel, and 1x1 ones, lie in the same order in both layouts but for the
     * stem's. */
    if (s->rank == 4 && s->dim[1] > 1 && s->dim[2] > 1) {
      mica_tensor *turned;
      const int64_t o = s->dim[0], c = s->dim[1], k = s->dim[2];
      assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(o, k, k, c), &turned), MICA_OK);
      double *to = mica_tensor_data(turned);
      const double *from = mica_tensor_data(want);
      for (int64_t j = 0; j < o * c * k * k; j++)
        to[(j / (c * k * k) * k * k + j % (k * k)) * c + j / (k * k) % c] = from[j];
      mica_tensor_free(want);
      want = turned;
    } else {
      got = mica_view_of(got.data, MICA_F32, *s);
    }
    assert_true(golden_agrees(name, &got, want, 5e-4));
    mica_tensor_free(want);
    compared++;
  }
  assert_int_equal(compared, 6);
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_net_free(net);
  mica_archive_close(a);
}

/* Batch statistics with eps 1e-3, of which a hundredth is kept. */
static void test_training(void **state) {
  (void)state;
  mica_archive *a = golden_open(GOLDEN_FOLDER "mobilenet.safetensors");
  mica_net *net = small();
  mica_tensor *x = golden_read(a, MICA_F32, "x");
  mica_tape *t;
  mica_outputs out;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_set_training(t, true);
  mica_net_forward(t, net, mica_input(t, x), &out);
  const mica_view logits = mica_read(t, out.logits);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  mica_tensor *want = golden_read(a, MICA_F64, "training.logits");
  assert_true(golden_agrees("training.logits", &logits, want, 1e-3));
  mica_tensor_free(want);
  assert_int_equal(mica_commit(t), MICA_OK);
  for (int64_t i = 0; i < mica_archive_count(a); i++) {
    const char *name = mica_archive_name(a, i);
    if (strncmp(name, "training.f", 10) != 0) continue;
    mica_param *q = mica_params_find(mica_net_params(net), name + 9);
    assert_non_null(q);
    const mica_view v = mica_tensor_view(mica_param_value(q));
    want = golden_read(a, MICA_F64, name);
    assert_true(golden_agrees(name, &v, want, 1e-4));
    mica_tensor_free(want);
  }
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_net_free(net);
  mica_archive_close(a);
}

/* Both variants train and answer; dropout is for training alone. */
static void test_variants(void **state) {
  (void)state;
  const mica_problem task = MICA_PROBLEM_IMAGES(32, 32, 3, 2);
  const char *const spec[] = {"mobilenet:width=0.3:dropout=0.5",
                              "mobilenet:variant=large:width=0.2:dropout=0.5"};
  mica_net *net;
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(4, 32, 32, 3), &x), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    ((float *)mica_tensor_data(x))[i] = (float)mica_random_normal(mica_key_seed(1), (uint64_t)i);
  for (int k = 0; k < 2; k++) {
    mica_tape *t;
    double value[4];
    if (mica_net_create(engine, spec[k], &task, 0, &net)) fail_msg("%s", mica_last_error());
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    for (int i = 0; i < 4; i++) {
      mica_outputs out;
      mica_tape_reset(t);
      mica_set_training(t, i >= 2);
      mica_tape_set_step(t, (uint64_t)i, 0);
      mica_net_forward(t, net, mica_input(t, x), &out);
      const mica_var sum = mica_sum(t, out.logits, 0, NULL, false);
      value[i] = mica_item(t, sum);
      if (i >= 2) mica_backward(t, sum);
      if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
    }
    assert_true(value[0] == value[1]);
    assert_true(value[2] != value[3]);
    mica_tape_free(t);
    mica_net_free(net);
  }
  mica_tensor_free(x);
  const mica_problem rows = MICA_PROBLEM_ROWS(4, 2);
  assert_int_equal(mica_net_create(engine, "mobilenet", &rows, 0, &net), MICA_ERR_INVALID);
}

static int setup(void **state) {
  (void)state;
  return mica_engine_create(NULL, &engine);
}

static int teardown(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sizes), cmocka_unit_test(test_blocks), cmocka_unit_test(test_gradients),
      cmocka_unit_test(test_training), cmocka_unit_test(test_variants)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
