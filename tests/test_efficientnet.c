/* EfficientNet: the published numbers of parameters, the checkpoint's names, and agreement with
 * PyTorch in evaluation, in gradients and in training. */
#include "support/reference_network.h"

#include <stdio.h>

static mica_engine *engine;

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
    assert_int_equal(reference_trainable(net), published[b]);
    mica_net_free(net);
  }
}

static reference_network small(void) {
  return reference_begin(engine, "efficientnet:width=0.05:depth=0.3:dropout=0:drop_connect=0", 33,
                         28, GOLDEN_FOLDER "efficientnet.safetensors");
}

/* The mean of each block's map, as taps and with the norms folded into the convolutions. */
static void test_blocks(void **state) {
  (void)state;
  reference_network s = small();
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
    reference_agrees(&s, name, mica_slice(t, out.features, 1, at, at + width), 2e-5);
    at += width;
  }
  reference_agrees(&s, "logits", out.logits, 2e-5);
  mica_tape_reset(t);
  /* The same by the names of their last layers. */
  const char *const stem[] = {"_bn0", "_blocks.0", "_bn1"};
  if (mica_net_set_taps(net, 3, stem)) fail_msg("%s", mica_last_error());
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, s.x), &out);
  int64_t width;
  mica_net_tap(net, 0, &width);
  reference_agrees(&s, "mean.0", mica_slice(t, out.features, 1, 0, width), 2e-5);
  reference_end(&s);
}

static void test_gradients(void **state) {
  (void)state;
  reference_network r = small();
  reference_gradients(&r, 6, 1e-4);
  reference_end(&r);
}

/* Batch statistics with eps 1e-3, of which a hundredth is kept. */
static void test_training(void **state) {
  (void)state;
  reference_network r = small();
  reference_training(&r);
  reference_end(&r);
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
