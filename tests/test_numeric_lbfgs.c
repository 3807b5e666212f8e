/* L-BFGS on functions whose minimum is known. */
#include "support/near.h"
#include "support/test.h"

#include "numeric/lbfgs.h"

#include <string.h>

/* Rosenbrock's valley in n dimensions: minimum 0 at all ones. */
static mica_status rosenbrock(void *ctx, const double *x, double *value, double *gradient) {
  int64_t n = *(const int64_t *)ctx;
  *value = 0;
  memset(gradient, 0, (size_t)n * sizeof *gradient);
  for (int64_t i = 0; i + 1 < n; i++) {
    double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
    *value += 100 * a * a + b * b;
    gradient[i] += -400 * a * x[i] - 2 * b;
    gradient[i + 1] += 200 * a;
  }
  return MICA_OK;
}

static void test_rosenbrock(void **state) {
  (void)state;
  for (int64_t n = 2; n <= 50; n += 16) {
    double x[50];
    for (int64_t i = 0; i < n; i++) x[i] = i % 2 ? 1 : -1.2;
    mica_lbfgs_options o = MICA_LBFGS_OPTIONS;
    mica_lbfgs_report r;
    o.gradient_tol = 1e-9;
    assert_int_equal(mica_lbfgs(n, x, rosenbrock, &n, &o, &r), MICA_OK);
    assert_int_equal(r.stop, MICA_LBFGS_GRADIENT);
    assert_true(r.gradient_max <= 1e-9 && r.iterations < 400 && r.evaluations < 800);
    for (int64_t i = 0; i < n; i++) assert_near(x[i], 1, 1e-8);
  }
}

/* A quadratic of condition 1e6 with a large constant: the value stops changing long before the
 * gradient is small. */
static mica_status quadratic(void *ctx, const double *x, double *value, double *gradient) {
  (void)ctx;
  *value = 1e6;
  for (int i = 0; i < 20; i++) {
    double curve = pow(10, 6.0 * i / 19 - 3);
    *value += 0.5 * curve * (x[i] - i) * (x[i] - i);
    gradient[i] = curve * (x[i] - i);
  }
  return MICA_OK;
}

static void test_below_the_value_noise(void **state) {
  (void)state;
  double x[20] = {0};
  mica_lbfgs_options o = MICA_LBFGS_OPTIONS;
  mica_lbfgs_report r;
  o.gradient_tol = 1e-7;
  o.max_iterations = 20000;
  assert_int_equal(mica_lbfgs(20, x, quadratic, NULL, &o, &r), MICA_OK);
  assert_int_equal(r.stop, MICA_LBFGS_GRADIENT);
  for (int i = 0; i < 20; i++) assert_near(x[i], i, 2e-4);
}

/* -log x + x: infinite outside x > 0, minimum at 1; the first step would leave the domain. */
static mica_status barrier(void *ctx, const double *x, double *value, double *gradient) {
  (void)ctx;
  *value = x[0] > 0 ? x[0] - log(x[0]) : NAN;
  gradient[0] = 1 - 1 / x[0];
  return MICA_OK;
}

static mica_status linear(void *ctx, const double *x, double *value, double *gradient) {
  (void)ctx;
  *value = x[0];
  gradient[0] = 1;
  return MICA_OK;
}

static mica_status failing(void *ctx, const double *x, double *value, double *gradient) {
  int *calls = ctx;
  if (++*calls == 3) return mica_fail(MICA_ERR_IO, "the objective gave up");
  return barrier(NULL, x, value, gradient);
}

static mica_status nowhere(void *ctx, const double *x, double *value, double *gradient) {
  (void)ctx, (void)x;
  *value = NAN;
  gradient[0] = 1;
  return MICA_OK;
}

static int cancel(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)ctx, (void)what, (void)total;
  return done >= 2;
}

static void test_edges(void **state) {
  (void)state;
  mica_lbfgs_report r;
  double x = 40;
  assert_int_equal(mica_lbfgs(1, &x, barrier, NULL, NULL, &r), MICA_OK);
  assert_near(x, 1, 1e-6);
  x = 1;
  assert_int_equal(mica_lbfgs(1, &x, barrier, NULL, NULL, &r), MICA_OK);
  assert_int_equal(r.iterations, 0);
  x = 0; /* unbounded below */
  mica_lbfgs_options o = MICA_LBFGS_OPTIONS;
  o.max_iterations = 5;
  assert_int_equal(mica_lbfgs(1, &x, linear, NULL, &o, &r), MICA_OK);
  assert_true(r.stop == MICA_LBFGS_ITERATIONS || r.stop == MICA_LBFGS_ROUNDING);
  int calls = 0;
  x = 40;
  assert_int_equal(mica_lbfgs(1, &x, failing, &calls, NULL, &r), MICA_ERR_IO);
  assert_string_equal(mica_last_error(), "the objective gave up");
  assert_int_equal(mica_lbfgs(1, &x, nowhere, NULL, NULL, &r), MICA_ERR_NUMERIC);
  assert_int_equal(mica_lbfgs(0, &x, barrier, NULL, NULL, &r), MICA_ERR_INVALID);
  assert_int_equal(mica_lbfgs(INT64_MAX / 8, &x, barrier, NULL, NULL, &r), MICA_ERR_MEMORY);
  int64_t n = 10;
  double many[10] = {-1.2, 1, -1.2, 1, -1.2, 1, -1.2, 1, -1.2, 1};
  o = (mica_lbfgs_options)MICA_LBFGS_OPTIONS;
  o.progress = cancel;
  assert_int_equal(mica_lbfgs(n, many, rosenbrock, &n, &o, &r), MICA_ERR_CANCELLED);
  o.progress = NULL;
  o.value_tol = 1e-3;
  assert_int_equal(mica_lbfgs(n, many, rosenbrock, &n, &o, &r), MICA_OK);
  assert_int_equal(r.stop, MICA_LBFGS_VALUE);
  assert_true(strlen(mica_lbfgs_stop_text(r.stop)) > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rosenbrock),
      cmocka_unit_test(test_below_the_value_noise),
      cmocka_unit_test(test_edges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
