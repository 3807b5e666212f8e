/* A convolution with its batch norm folded in gives what the two layers give, and notices when a
 * value has been written. */
#include "support/test.h"

#include <mica/mica.h>

#include "tensor/kernel/library.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The largest difference of all, and whether there was a library to fold for. */
static double parted;
static bool libraries;

static void fill(mica_param *q, double low, double high, uint32_t s) {
  const mica_view v = mica_tensor_view(mica_param_value(q));
  float *x = mica_param_write(q);
  for (int64_t i = 0; i < mica_view_count(&v); i++) {
    s = s * 1664525u + 1013904223u;
    x[i] = (float)(low + (high - low) * (double)(s >> 8) / (double)(1 << 24));
  }
}

/* The largest difference over the largest value, of the folded form and the layers themselves,
 * which run when the tape records. */
static double difference(mica_tape *t, mica_node *root, const mica_conv_options *o, int64_t side,
                         int64_t c, bool residual) {
  mica_node *conv = mica_node_find(root, "conv"), *norm = mica_node_find(root, "norm");
  float *x = malloc((size_t)(2 * side * side * c) * sizeof *x);
  for (int64_t i = 0; i < 2 * side * side * c; i++) x[i] = (float)sin((double)i);
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(2, side, side, c));
  double worst = 0, largest = 0;
  mica_tape_reset(t);
  mica_var in = mica_constant(t, &v);
  free(x);
  mica_var skip = MICA_NONE;
  if (residual) skip = mica_affine(t, mica_nn_conv2d(t, conv, o, in), -0.5, 0.25);
  mica_var layers = mica_nn_conv2d_norm(t, conv, norm, o, MICA_RELU, in, skip);
  mica_no_grad_begin(t);
  mica_var folded = mica_nn_conv2d_norm(t, conv, norm, o, MICA_RELU, in, skip);
  mica_no_grad_end(t);
  const mica_view a = mica_read(t, layers), b = mica_read(t, folded);
  assert_true(mica_ok(t));
  assert_int_equal(mica_view_count(&a), mica_view_count(&b));
  for (int64_t i = 0; i < mica_view_count(&a); i++) {
    const double p = (double)((const float *)a.data)[i], q = (double)((const float *)b.data)[i];
    if (fabs(p - q) > worst) worst = fabs(p - q);
    if (fabs(p) > largest) largest = fabs(p);
  }
  assert_true(largest > 0);
  if (worst > parted) parted = worst;
  return worst / largest;
}

static void one(int64_t c, int64_t out, int64_t k, int32_t groups, int32_t stride, bool bias) {
  mica_engine *engine;
  mica_params *params;
  mica_tape *t;
  mica_conv_options o = MICA_CONV_OPTIONS;
  o.groups = groups;
  o.stride[0] = o.stride[1] = stride;
  for (int i = 0; i < 4; i++) o.pad[i] = (int32_t)k / 2;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  libraries = mica_libraries_usable(engine);
  mica_node *root = mica_params_root(params);
  assert_int_equal(
      mica_nn_conv2d_init(mica_node_child(root, "conv"), c, out, k, k, groups, bias, NULL),
      MICA_OK);
  assert_int_equal(mica_nn_batch_norm_init(mica_node_child(root, "norm"), out), MICA_OK);
  const char *const written[] = {"norm.weight", "norm.bias", "norm.running_mean",
                                 "norm.running_var", "conv.weight"};
  for (uint32_t i = 0; i < 5; i++) {
    fill(mica_params_find(params, written[i]), i == 3 ? 0.5 : -1, 1.5, i);
    for (int residual = 0; residual < 2; residual++)
      assert_true(difference(t, root, &o, 9, c, residual) < 1e-5);
  }
  for (int64_t side = 5; side < 15; side++) /* more geometries than are kept */
    assert_true(difference(t, root, &o, side, c, side % 2) < 1e-5);
  mica_tape_free(t);
  mica_params_free(params);
  mica_engine_free(engine);
}

static void folded_is_the_layers(void **state) {
  (void)state;
  one(16, 32, 3, 1, 1, false);
  one(3, 16, 7, 1, 2, true);
  one(32, 48, 1, 1, 2, false);
  one(8, 16, 3, 2, 1, true);
  one(12, 12, 3, 12, 1, false);
#ifdef MICA_HAVE_ONEDNN
  /* Folding rounds otherwise than the layers do: equal bits would mean that nothing was folded. */
  if (libraries) assert_true(parted > 0);
#endif
  parted = 0;
  one(40, 40, 5, 40, 2, true);
  if (libraries) assert_true(parted > 0);
}

/* ---- in training the norm, the residual and relu are one operation ---- */

enum { SIDE = 6, WIDE = 40, ALL = 2 * SIDE * SIDE * WIDE };

/* Whether the norm's result, before the residual, came by; it has negative elements. */
static mica_var look(mica_tape *t, void *seen, const char *path, mica_var y) {
  assert_string_equal(path, "norm");
  const mica_view v = mica_read(t, y);
  for (int64_t i = 0; i < mica_view_count(&v); i++) *(int *)seen += ((const float *)v.data)[i] < 0;
  return y;
}

static void count_relu(mica_tape *t, void *seen, const char *path, mica_var y) {
  (void)t, (void)path, (void)y;
  ++*(int *)seen;
}

/* The result and the gradients of x and of the norm's gain, of two blocks one after another. */
static void train(mica_tape *t, mica_node *root, float *result) {
  mica_node *conv = mica_node_find(root, "conv"), *norm = mica_node_find(root, "norm");
  mica_conv_options o = MICA_CONV_OPTIONS;
  mica_tensor *x;
  for (int i = 0; i < 4; i++) o.pad[i] = 1;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(2, SIDE, SIDE, WIDE), &x), MICA_OK);
  for (int i = 0; i < ALL; i++) ((float *)mica_tensor_data(x))[i] = (float)sin((double)i);
  mica_params_zero_grad(mica_node_params(root));
  mica_set_training(t, true);
  const mica_var in = mica_leaf(t, x);
  mica_scope_begin(t, NULL);
  mica_var y = in;
  for (int i = 0; i < 2; i++)
    y = mica_replace(t, y, mica_nn_conv2d_norm(t, conv, norm, &o, MICA_RELU, y, y));
  const mica_view v = mica_read(t, y);
  assert_true(mica_ok(t));
  memcpy(result, v.data, ALL * sizeof *result);
  y = mica_scope_end(t, mica_sum(t, mica_square(t, y), 0, NULL, false));
  if (mica_backward(t, y) != MICA_OK) fail_msg("%s", mica_last_error());
  const mica_view gx = mica_read(t, mica_gradient(t, in));
  memcpy(result + ALL, gx.data, ALL * sizeof *result);
  const mica_view gain = mica_param_grad(mica_node_param(norm, "weight"));
  memcpy(result + 2 * ALL, gain.data, WIDE * sizeof *result);
  mica_tape_reset(t);
  mica_tensor_free(x);
}

static void training_gives_the_same_to_who_looks_on(void **state) {
  (void)state;
  mica_engine *engine;
  mica_params *params;
  mica_tape *t;
  static float alone[2 * ALL + WIDE], seen[2 * ALL + WIDE];
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  assert_int_equal(mica_params_create(engine, 1, &params), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_node *root = mica_params_root(params);
  assert_int_equal(
      mica_nn_conv2d_init(mica_node_child(root, "conv"), WIDE, WIDE, 3, 3, 1, false, NULL),
      MICA_OK);
  assert_int_equal(mica_nn_batch_norm_init(mica_node_child(root, "norm"), WIDE), MICA_OK);
  train(t, root, alone);
  int below = 0, rectifiers = 0;
  assert_int_equal(mica_tap(t, "norm", look, &below), MICA_OK);
  train(t, root, seen);
  assert_true(below > 0);
  mica_taps_clear(t);
  for (int i = 0; i < 2 * ALL + WIDE; i++)
    assert_true(fabsf(alone[i] - seen[i]) <= 1e-5f * (1 + fabsf(seen[i])));
  mica_watch_relu(t, count_relu, &rectifiers);
  train(t, root, seen);
  assert_int_equal(rectifiers, 2);
  for (int i = 0; i < 2 * ALL + WIDE; i++)
    assert_true(fabsf(alone[i] - seen[i]) <= 1e-5f * (1 + fabsf(seen[i])));
  mica_tape_free(t);
  mica_params_free(params);
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(folded_is_the_layers),
                                     cmocka_unit_test(training_gives_the_same_to_who_looks_on)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
