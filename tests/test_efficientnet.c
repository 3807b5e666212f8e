/* EfficientNet: the published numbers of parameters, the checkpoint's names, and agreement with
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

/* Tan and Le 2019, with 1000 classes. */
static void test_sizes(void **state) {
  (void)state;
  static const int64_t published[] = {5288548,  7794184,  9109994,  12233232,
                                      19341616, 30389784, 43040704, 66347960};
  const mica_problem task = MICA_PROBLEM_IMAGES(64, 64, 3, 1000);
  for (int b = 0; b < 8; b++) {
    char spec[40];
    mica_net *net;
    snprintf(spec, sizeof spec, "efficientnet:variant=b%d", b);
    if (mica_net_create(engine, spec, &task, MICA_SEED_NONE, &net))
      fail_msg("%s", mica_last_error());
    assert_int_equal(count(net), published[b]);
    mica_net_free(net);
  }
}

/* The small network of the reference file, its pictures, and a tape. */
typedef struct small {
  mica_archive *file;
  mica_net *net;
  mica_tensor *x;
  mica_tape *tape;
} small;

static small begin(void) {
  static const char path[] = GOLDEN_FOLDER "efficientnet.safetensors";
  const mica_problem task = MICA_PROBLEM_IMAGES(33, 28, 3, 5);
  small s = {.file = golden_open(path)};
  mica_load_options o = MICA_LOAD_OPTIONS;
  mica_load_report report;
  o.strip = "";
  if (mica_net_create(engine, "efficientnet:width=0.05:depth=0.3:dropout=0:drop_connect=0", &task,
                      0, &s.net) ||
      mica_params_load(mica_net_params(s.net), path, &o, &report))
    fail_msg("%s", mica_last_error());
  /* The file has no counters of batches. */
  if (report.reshaped || report.share < 0.999) fail_msg("%s", report.text);
  mica_free(report.text);
  s.x = golden_read(s.file, MICA_F32, "x");
  assert_int_equal(mica_tape_create(engine, NULL, &s.tape), MICA_OK);
  return s;
}

static void end(small *s) {
  mica_tape_free(s->tape);
  mica_tensor_free(s->x);
  mica_net_free(s->net);
  mica_archive_close(s->file);
}

static void compare(const small *s, const char *name, mica_view got, double bound) {
  mica_tensor *want = golden_read(s->file, MICA_F64, name);
  assert_true(golden_agrees(name, &got, want, bound));
  mica_tensor_free(want);
}

static void agree(const small *s, const char *name, mica_var got, double bound) {
  const mica_view v = mica_read(s->tape, got);
  if (!mica_ok(s->tape)) fail_msg("%s", mica_tape_error(s->tape));
  compare(s, name, v, bound);
}

/* The mean of each block's map, as taps and with the norms folded into the convolutions. */
static void test_blocks(void **state) {
  (void)state;
  small s = begin();
  mica_net *net = s.net;
  mica_tape *t = s.tape;
  mica_outputs out;
  const char *const names[] = {"pyramid"};
  if (mica_net_set_taps(net, 1, names)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_taps(net), 9);
  assert_string_equal(mica_net_tap(net, 8, NULL), "features");
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, s.x), &out);
  int64_t at = 0;
  for (int64_t i = 0; i < 9; i++) {
    char name[16];
    int64_t width;
    mica_net_tap(net, i, &width);
    snprintf(name, sizeof name, "mean.%d", (int)i);
    agree(&s, name, mica_slice(t, out.features, 1, at, at + width), 2e-5);
    at += width;
  }
  agree(&s, "logits", out.logits, 2e-5);
  mica_tape_reset(t);
  /* The same by the names of their last layers. */
  const char *const stem[] = {"_bn0", "_blocks.0", "_bn1"};
  if (mica_net_set_taps(net, 3, stem)) fail_msg("%s", mica_last_error());
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, s.x), &out);
  int64_t width;
  mica_net_tap(net, 0, &width);
  agree(&s, "mean.0", mica_slice(t, out.features, 1, 0, width), 2e-5);
  end(&s);
}

static void test_gradients(void **state) {
  (void)state;
  small s = begin();
  mica_net *net = s.net;
  mica_tape *t = s.tape;
  mica_outputs out;
  int64_t compared = 0;
  mica_net_forward(t, net, mica_input(t, s.x), &out);
  mica_backward(t, mica_mean(t, mica_square(t, out.logits), 0, NULL, false));
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  for (int64_t i = 0; i < mica_archive_count(s.file); i++) {
    const char *name = mica_archive_name(s.file, i);
    if (strncmp(name, "grad.", 5) != 0) continue;
    mica_param *q = mica_params_find(mica_net_params(net), name + 5);
    assert_non_null(q);
    mica_tensor *want = golden_read(s.file, MICA_F64, name);
    const mica_shape *shape = mica_tensor_shape(want);
    mica_view got = mica_param_grad(q);
    /* Kernels of one input channel, and 1x1 ones, lie in the same order in both layouts but for the
     * stem's. */
    if (shape->rank == 4 && shape->dim[1] > 1 && shape->dim[2] > 1) {
      mica_tensor *turned;
      const int64_t o = shape->dim[0], c = shape->dim[1], k = shape->dim[2];
      assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(o, k, k, c), &turned), MICA_OK);
      double *to = mica_tensor_data(turned);
      const double *from = mica_tensor_data(want);
      for (int64_t j = 0; j < o * c * k * k; j++)
        to[(j / (c * k * k) * k * k + j % (k * k)) * c + j / (k * k) % c] = from[j];
      mica_tensor_free(want);
      want = turned;
    } else {
      got = mica_view_of(got.data, MICA_F32, *shape);
    }
    assert_true(golden_agrees(name, &got, want, 1e-4));
    mica_tensor_free(want);
    compared++;
  }
  assert_int_equal(compared, 6);
  end(&s);
}

/* Batch statistics with eps 1e-3, of which a hundredth is kept. */
static void test_training(void **state) {
  (void)state;
  small s = begin();
  mica_net *net = s.net;
  mica_tape *t = s.tape;
  mica_outputs out;
  mica_set_training(t, true);
  mica_net_forward(t, net, mica_input(t, s.x), &out);
  agree(&s, "training.logits", out.logits, 1e-3);
  assert_int_equal(mica_commit(t), MICA_OK);
  for (int64_t i = 0; i < mica_archive_count(s.file); i++) {
    const char *name = mica_archive_name(s.file, i);
    if (strncmp(name, "training._", 10) != 0) continue;
    mica_param *q = mica_params_find(mica_net_params(net), name + 9);
    assert_non_null(q);
    compare(&s, name, mica_tensor_view(mica_param_value(q)), 1e-4);
  }
  end(&s);
}

/* Dropping blocks is for training alone, and differs from step to step. */
static void test_drop_connect(void **state) {
  (void)state;
  const mica_problem task = MICA_PROBLEM_IMAGES(16, 16, 3, 2);
  mica_net *net;
  mica_tape *t;
  double value[4];
  if (mica_net_create(engine, "efficientnet:width=0.1:depth=2:drop_connect=0.9", &task, 0, &net))
    fail_msg("%s", mica_last_error());
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  for (int i = 0; i < 4; i++) {
    mica_outputs out;
    mica_tape_reset(t);
    mica_set_training(t, i >= 2);
    mica_tape_set_step(t, (uint64_t)i, 0);
    mica_net_forward(t, net, mica_full(t, MICA_F32, MICA_SHAPE(4, 16, 16, 3), 0.5), &out);
    value[i] = mica_item(t, mica_sum(t, out.logits, 0, NULL, false));
    if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  }
  assert_true(value[0] == value[1]);
  assert_true(value[2] != value[3]);
  mica_tape_free(t);
  mica_net_free(net);
  const mica_problem rows = MICA_PROBLEM_ROWS(4, 2);
  assert_int_equal(mica_net_create(engine, "efficientnet", &rows, 0, &net), MICA_ERR_INVALID);
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
      cmocka_unit_test(test_training), cmocka_unit_test(test_drop_connect)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
