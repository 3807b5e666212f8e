/* Results so large that they are written past the caches are bit for bit those of a few rows by
 * themselves, and wrong labels are still found. */
#include "support/test.h"

#include <mica/mica.h>

#include <string.h>

enum { ROWS = 16500, COLS = 1030, FEW = 37 }; /* 65 MiB of float32 */
static mica_engine *engine;

static int set_up(void **state) {
  (void)state;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  return mica_engine_create(&o, &engine) == MICA_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

static mica_tensor *noise(int64_t rows, uint32_t seed) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(rows, COLS), &x), MICA_OK);
  float *v = mica_tensor_data(x);
  for (int64_t i = 0; i < rows * COLS; i++)
    v[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-22f - 2;
  return x;
}

static mica_tensor *last_rows(mica_tensor *x) {
  mica_tensor *y;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(FEW, COLS), &y), MICA_OK);
  memcpy(mica_tensor_data(y), (float *)mica_tensor_data(x) + (ROWS - FEW) * (int64_t)COLS,
         FEW * COLS * sizeof(float));
  return y;
}

typedef mica_var (*operation)(mica_tape *t, mica_var x);

static mica_var norm(mica_tape *t, mica_var x) {
  const mica_var gain = mica_full(t, MICA_F32, MICA_SHAPE(COLS), 1.25);
  const mica_var bias = mica_full(t, MICA_F32, MICA_SHAPE(COLS), -0.5);
  return mica_layer_norm(t, x, gain, bias, 1e-5);
}

static mica_var root_norm(mica_tape *t, mica_var x) {
  return mica_rms_norm(t, x, MICA_NONE, 1e-5);
}

static mica_var losses(mica_tape *t, mica_var x) {
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  o.per_example = true;
  o.smoothing = 0.1;
  const mica_var labels =
      mica_cast(t, mica_full(t, MICA_F32, MICA_SHAPE(mica_dim(t, x, 0)), 1021), MICA_I64);
  return mica_cross_entropy(t, x, labels, MICA_NONE, &o);
}

static void check(operation apply, mica_tensor *x, mica_tensor *gradient, mica_tensor *few_x,
                  mica_tensor *few_gradient) {
  mica_tape *t, *few;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_tape_create(engine, NULL, &few), MICA_OK);
  const mica_var vx = mica_leaf(t, x), vf = mica_leaf(few, few_x);
  const mica_var y = apply(t, vx), f = apply(few, vf);
  const bool whole = mica_rank(t, y) == 2;
  if (whole) {
    assert_int_equal(mica_backward_from(t, y, mica_input(t, gradient)), MICA_OK);
    assert_int_equal(mica_backward_from(few, f, mica_input(few, few_gradient)), MICA_OK);
  } else {
    assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
    assert_int_equal(mica_backward(few, mica_sum(few, f, 0, NULL, false)), MICA_OK);
  }
  const int64_t width = whole ? COLS : 1;
  const mica_view a = mica_read(t, y), b = mica_read(few, f);
  assert_memory_equal((const float *)a.data + (ROWS - FEW) * width, b.data,
                      (size_t)(FEW * width) * sizeof(float));
  const mica_view ga = mica_read(t, mica_gradient(t, vx)),
                  gb = mica_read(few, mica_gradient(few, vf));
  assert_memory_equal((const float *)ga.data + (ROWS - FEW) * (int64_t)COLS, gb.data,
                      FEW * COLS * sizeof(float));
  mica_tape_free(t);
  mica_tape_free(few);
}

static void test_same_bits(void **state) {
  (void)state;
  const operation operations[] = {mica_gelu, mica_gelu_tanh, mica_exp, norm, root_norm, losses};
  mica_tensor *x = noise(ROWS, 1), *gradient = noise(ROWS, 2);
  mica_tensor *few_x = last_rows(x), *few_gradient = last_rows(gradient);
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
    check(operations[i], x, gradient, few_x, few_gradient);
  mica_tensor_free(x), mica_tensor_free(gradient);
  mica_tensor_free(few_x), mica_tensor_free(few_gradient);
}

/* The first wrong label counts, whichever thread meets it. */
static void test_wrong_label(void **state) {
  (void)state;
  mica_tensor *x = noise(FEW * 20, 3), *labels;
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(FEW * 20), &labels), MICA_OK);
  for (int64_t i = 0; i < FEW * 20; i++) mica_tensor_set(labels, i, 5);
  mica_tensor_set(labels, 300, COLS);
  mica_tensor_set(labels, 700, -1);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  mica_cross_entropy(t, mica_input(t, x), mica_input(t, labels), MICA_NONE, NULL);
  assert_int_equal(mica_tape_status(t), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_tape_error(t), "label 1030 of row 300"));
  mica_tape_free(t);
  mica_tensor_free(x), mica_tensor_free(labels);
}

/* A gradient that is handed in is read where it lies, and never written to. */
static void test_gradient_stays(void **state) {
  (void)state;
  mica_tensor *x = noise(FEW, 4), *gradient = noise(FEW, 5), *before = noise(FEW, 5);
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  const mica_var v = mica_leaf(t, x), flat = mica_reshape(t, v, MICA_SHAPE(COLS, FEW));
  const mica_var y = mica_add(t, mica_reshape(t, flat, MICA_SHAPE(FEW, COLS)), v);
  assert_int_equal(mica_backward_from(t, y, mica_input(t, gradient)), MICA_OK);
  const float *g = mica_tensor_data(gradient), *sum = mica_read(t, mica_gradient(t, v)).data;
  assert_memory_equal(g, mica_tensor_data(before), FEW * COLS * sizeof(float));
  for (int64_t i = 0; i < FEW * COLS; i++) assert_true(sum[i] == 2 * g[i]);
  mica_tape_free(t);
  mica_tensor_free(x), mica_tensor_free(gradient), mica_tensor_free(before);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits),
                                     cmocka_unit_test(test_wrong_label),
                                     cmocka_unit_test(test_gradient_stays)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
