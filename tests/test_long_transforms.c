/* Long transforms, memory that runs out, and what a transform cannot mean. */
#include "support/failing_alloc.h"

#include <mica/ops.h>

#include <math.h>

static mica_tape *tape(mica_engine *engine) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

/* There and back is the identity; a prime takes the detour. */
static void test_there_and_back(void **state) {
  (void)state;
  const int64_t lengths[] = {65536, 50000, 65537};
  mica_engine *engine;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  for (int type = 0; type < 2; type++)
    for (int i = 0; i < 3; i++) {
      mica_tape *t = tape(engine);
      const mica_dtype dtype = type ? MICA_F64 : MICA_F32;
      mica_var x = mica_random_normal_like(t, MICA_SHAPE(1, lengths[i]), dtype, 0, 1);
      mica_var half = mica_rfft(t, x, 1, MICA_FFT_BACKWARD);
      mica_var y = mica_irfft(t, half, 1, lengths[i], MICA_FFT_BACKWARD);
      mica_var off = mica_max(t, mica_flatten(t, mica_abs(t, mica_sub(t, x, y)), 0), 0, false);
      assert_true(mica_item(t, off) < (type ? 1e-12 : 1e-5));
      assert_true(mica_ok(t));
      mica_tape_free(t);
    }
  mica_engine_free(engine);
}

static void test_shapes(void **state) {
  (void)state;
  mica_engine *engine;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  for (int i = 0; i < 9; i++) {
    mica_tape *t = tape(engine);
    mica_long_convolution_options o = MICA_LONG_CONVOLUTION_OPTIONS;
    o.circular = true;
    mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(2, 4, 3), 1), y = MICA_NONE;
    mica_var none = mica_full(t, MICA_F32, MICA_SHAPE(2, 0), 1);
    mica_var pairs = mica_full(t, MICA_F32, MICA_SHAPE(3, 2), 1);
    mica_var taps = mica_full(t, MICA_F32, MICA_SHAPE(3, 5), 1);
    if (i == 0) y = mica_fft(t, x, 1, MICA_FFT_ORTHO);
    if (i == 1) y = mica_rfft(t, x, 3, MICA_FFT_ORTHO);
    if (i == 2) y = mica_rfft(t, none, 1, MICA_FFT_ORTHO);
    if (i == 3) y = mica_irfft(t, pairs, 0, 6, MICA_FFT_ORTHO);
    if (i == 4) y = mica_irfft(t, pairs, 0, 0, MICA_FFT_ORTHO);
    if (i == 5) y = mica_rfft2(t, x, MICA_FFT_ORTHO);
    if (i == 6) y = mica_irfft2(t, x, 3, MICA_FFT_ORTHO);
    if (i == 7) y = mica_long_convolution(t, x, pairs, &(mica_long_convolution_options){0});
    if (i == 8) y = mica_long_convolution(t, x, taps, &o);
    if (i == 7) {
      assert_true(mica_ok(t)); /* options of size 0 are the defaults */
      mica_tape_free(t);
      continue;
    }
    assert_true(mica_is_none(y));
    assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
    mica_tape_free(t);
  }
  mica_engine_free(engine);
}

static mica_status use_all(void *ctx) {
  (void)ctx;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_long_convolution_options long_options = MICA_LONG_CONVOLUTION_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  long_options.direct = 0;
  mica_engine *engine;
  mica_tape *t = NULL;
  mica_tensor *x = NULL;
  mica_status status = mica_engine_create(&o, &engine);
  if (status != MICA_OK) return status;
  status = mica_tensor_create(MICA_F32, MICA_SHAPE(2, 7, 3), &x);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  if (status == MICA_OK) {
    for (int64_t i = 0; i < 42; i++) mica_tensor_set(x, i, (double)(i % 5));
    mica_var v = mica_leaf(t, x), half = mica_rfft(t, v, 1, MICA_FFT_BACKWARD), last;
    mica_var y = mica_irfft(t, half, 1, 7, MICA_FFT_BACKWARD);
    mica_var k =
        mica_transpose(t, mica_reshape(t, mica_slice(t, v, 0, 0, 1), MICA_SHAPE(7, 3)), 0, 1);
    y = mica_long_convolution(t, y, k, &long_options);
    y = mica_linear_recurrence(t, v, mica_cumsum(t, y, 1, false, false), MICA_NONE, NULL, &last);
    status = mica_backward(t, mica_sum(t, y, 0, NULL, false));
  }
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_engine_free(engine);
  return status;
}

static void test_memory(void **state) {
  (void)state;
  failing_alloc_install();
  assert_true(fail_each(use_all, NULL) > 20);
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory),
                                     cmocka_unit_test(test_there_and_back),
                                     cmocka_unit_test(test_shapes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
