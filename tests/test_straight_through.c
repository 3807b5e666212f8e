/* Straight-through operations: the value is the hard one to the bit, the gradient the soft one's.
 */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

#define ROWS 4
#define COLS 5
#define N    (ROWS * COLS)

static mica_engine *engine;
static mica_tape *t;

static int setup(void **state) {
  (void)state;
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  return mica_tape_create(engine, NULL, &t) != MICA_OK;
}
static int teardown(void **state) {
  (void)state;
  mica_tape_free(t);
  mica_engine_free(engine);
  return 0;
}

/* Numbers around 0 with halves, which round to even, and a tie in each row. */
static mica_tensor *numbers(void) {
  mica_tensor *x;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(ROWS, COLS), &x), MICA_OK);
  for (int i = 0; i < N; i++)
    mica_tensor_set(x, i, i % COLS == 3 ? 1.5 : 0.5 * ((i * 7) % 11) - 3.5);
  return x;
}

/* A sum with a weight for each element, so that each gradient is another number. */
static mica_var weighed(mica_var y) {
  float w[N];
  for (int i = 0; i < N; i++) w[i] = (float)(i + 1) / 8;
  const mica_view v = mica_view_of(w, MICA_F32, MICA_SHAPE(ROWS, COLS));
  return mica_sum(t, mica_mul(t, y, mica_constant(t, &v)), 0, NULL, false);
}

typedef enum form { ROUND, STEP_IDENTITY, STEP_CLIPPED, STEP_SIGMOID, ARGMAX, FORMS } form;

static mica_var hard_form(form f, mica_var x) {
  switch (f) {
  case ROUND: return mica_straight_through_round(t, x);
  case STEP_IDENTITY: return mica_straight_through_step(t, x, MICA_STEP_IDENTITY);
  case STEP_CLIPPED: return mica_straight_through_step(t, x, MICA_STEP_CLIPPED);
  case STEP_SIGMOID: return mica_straight_through_step(t, x, MICA_STEP_SIGMOID);
  default: return mica_straight_through_argmax(t, x, 0.7);
  }
}
static mica_var soft_form(form f, mica_var x) {
  switch (f) {
  case STEP_CLIPPED: return mica_clamp(t, x, -1, 1);
  case STEP_SIGMOID: return mica_sigmoid(t, x);
  case ARGMAX: return mica_softmax(t, mica_affine(t, x, 1 / 0.7, 0), -1);
  default: return x;
  }
}

static double expected(form f, const float *x, int i) {
  if (f == ROUND) return rint((double)x[i]);
  if (f != ARGMAX) return x[i] > 0;
  const float *row = x + i / COLS * COLS;
  int best = 0;
  for (int c = 1; c < COLS; c++)
    if (row[c] > row[best]) best = c;
  return i % COLS == best;
}

static void gradient_of(mica_tensor *x, form f, mica_var (*of)(form, mica_var), float value[N],
                        float gradient[N]) {
  mica_tape_reset(t);
  const mica_var leaf = mica_leaf(t, x), y = of(f, leaf);
  mica_view v = mica_read(t, y);
  if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
  memcpy(value, v.data, N * sizeof *value);
  assert_int_equal(mica_backward(t, weighed(y)), MICA_OK);
  v = mica_read(t, mica_gradient(t, leaf));
  memcpy(gradient, v.data, N * sizeof *gradient);
}

static void test_values_and_gradients(void **state) {
  (void)state;
  mica_tensor *x = numbers();
  for (int f = 0; f < FORMS; f++) {
    float hard[N], soft[N], hard_gradient[N], soft_gradient[N];
    gradient_of(x, (form)f, hard_form, hard, hard_gradient);
    gradient_of(x, (form)f, soft_form, soft, soft_gradient);
    for (int i = 0; i < N; i++)
      assert_true((double)hard[i] == expected((form)f, mica_tensor_data(x), i));
    assert_memory_equal(hard_gradient, soft_gradient, sizeof hard_gradient);
    assert_memory_not_equal(hard, soft, sizeof hard);
  }
  mica_tensor_free(x);
}

/* hard - soft + soft is not always hard; the operation is. And nothing comes back to hard. */
static void test_bits(void **state) {
  (void)state;
  mica_tape_reset(t);
  mica_tensor *hard, *soft;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(3), &hard), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(3), &soft), MICA_OK);
  for (int i = 0; i < 3; i++) {
    mica_tensor_set(hard, i, 0.1 * (i + 1));
    mica_tensor_set(soft, i, 1e7);
  }
  const mica_var h = mica_leaf(t, hard), s = mica_leaf(t, soft);
  const mica_var y = mica_straight_through(t, h, s);
  const mica_view v = mica_read(t, y);
  assert_true(mica_ok(t));
  assert_memory_equal(v.data, mica_tensor_data(hard), 3 * sizeof(float));
  assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
  assert_true(mica_is_none(mica_gradient(t, h)));
  assert_false(mica_is_none(mica_gradient(t, s)));
  mica_tape_reset(t);
  mica_tensor_free(hard);
  mica_tensor_free(soft);
}

static void refused(mica_status status, const char *why) {
  assert_int_equal(mica_tape_status(t), status);
  if (!strstr(mica_tape_error(t), why)) fail_msg("%s", mica_tape_error(t));
  mica_tape_reset(t);
}

static void test_refused(void **state) {
  (void)state;
  mica_tape_reset(t);
  const mica_shape shape = MICA_SHAPE(2, 3);
  mica_straight_through(t, mica_full(t, MICA_F32, shape, 0),
                        mica_full(t, MICA_F32, MICA_SHAPE(3), 0));
  refused(MICA_ERR_SHAPE, "one shape");
  mica_straight_through_argmax(t, mica_full(t, MICA_F32, shape, 0), 0);
  refused(MICA_ERR_INVALID, "temperature 0");
  mica_straight_through_argmax(t, mica_full(t, MICA_F32, MICA_SHAPE(2, 0), 0), 1);
  refused(MICA_ERR_SHAPE, "[..,C]");
  mica_straight_through_step(t, mica_full(t, MICA_F32, shape, 0), (mica_step_slope)9);
  refused(MICA_ERR_INVALID, "unknown slope 9");
  mica_one_hot(t, mica_full(t, MICA_I64, shape, 4), 4, MICA_F32);
  refused(MICA_ERR_INVALID, "id 4 at 0, expected 0 to 3");
  mica_masked_fill(t, mica_full(t, MICA_F32, MICA_SHAPE(3), 0), mica_full(t, MICA_F32, shape, 0),
                   1);
  refused(MICA_ERR_SHAPE, "does not broadcast");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_values_and_gradients),
                                     cmocka_unit_test(test_bits), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
