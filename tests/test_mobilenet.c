/* MobileNetV3: the published numbers of parameters, the checkpoint's names, and agreement with
 * PyTorch in evaluation, in gradients and in training. */
#include "support/reference_network.h"

#include <stdio.h>

static mica_engine *engine;

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
    assert_int_equal(reference_trainable(net), published[i].parameters);
    mica_net_free(net);
  }
}

static reference_network small(void) {
  return reference_begin(engine, "mobilenet:width=0.05:dropout=0", 25, 28,
                         GOLDEN_FOLDER "mobilenet.safetensors");
}

enum { MAPS = 5 };

/* The mean of each map of the pyramid, as taps and with the norms folded into the convolutions. */
static void test_blocks(void **state) {
  (void)state;
  reference_network r = small();
  mica_net *net = r.net;
  mica_tape *t = r.tape;
  mica_outputs out;
  const char *const names[] = {"pyramid"};
  if (mica_net_set_taps(net, 1, names)) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_net_taps(net), MAPS + 1);
  assert_string_equal(mica_net_tap(net, MAPS, NULL), "features");
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_input(t, r.x), &out);
  int64_t at = 0;
  for (int64_t i = 0; i < MAPS; i++) {
    char name[16];
    int64_t width;
    mica_net_tap(net, i, &width);
    snprintf(name, sizeof name, "mean.%d", (int)i);
    reference_agrees(&r, name, mica_slice(t, out.features, 1, at, at + width), 2e-5);
    at += width;
  }
  reference_agrees(&r, "logits", out.logits, 2e-5);
  reference_end(&r);
}

static void test_gradients(void **state) {
  (void)state;
  reference_network r = small();
  reference_gradients(&r, 6, 5e-4);
  reference_end(&r);
}

/* Batch statistics with eps 1e-3, of which a hundredth is kept. */
static void test_training(void **state) {
  (void)state;
  reference_network r = small();
  reference_training(&r);
  reference_end(&r);
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
