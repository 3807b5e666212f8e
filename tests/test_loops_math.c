/* The vector functions against libm's long double: the largest error in units of the last place
 * over their whole range, and their special values.
 */
#include "support/loops.h"

#include "tensor/kernel/elementwise.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static long double sigmoid_ref(long double x) {
  return 1 / (1 + expl(-x));
}
static long double softplus_ref(long double x) {
  return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
}
static long double log_sigmoid_ref(long double x) {
  return -softplus_ref(-x);
}
static long double normal_ref(long double x) {
  return erfcl(-x / sqrtl(2.0L)) / 2;
}
static long double gelu_ref(long double x) {
  return x * normal_ref(x);
}

typedef struct function {
  const char *name;
  mica_unary_op op;
  long double (*f)(long double);
  double lo, hi;     /* range in float */
  double lo64, hi64; /* range in double */
  bool logarithmic;  /* sample magnitudes evenly; lo > 0, both signs when `both` */
  bool both;
  double ulp; /* bound */
} function;

static const function functions[] = {
    {"exp", MICA_UNARY_EXP, expl, -110, 90, -760, 712, false, false, 1.5},
    {"exp near 0", MICA_UNARY_EXP, expl, 1e-10, 1, 1e-20, 1, true, true, 1.5},
    {"expm1", MICA_UNARY_EXPM1, expm1l, -30, 90, -60, 712, false, false, 2.5},
    {"expm1 near 0", MICA_UNARY_EXPM1, expm1l, 1e-30, 1, 1e-300, 1, true, true, 2.5},
    {"log", MICA_UNARY_LOG, logl, 1e-45, 3e38, 5e-324, 1.7e308, true, false, 1.5},
    {"log near 1", MICA_UNARY_LOG, logl, 0.5, 2, 0.5, 2, false, false, 1.5},
    {"log1p", MICA_UNARY_LOG1P, log1pl, -0.9999, 4, -0.9999, 4, false, false, 2.5},
    {"log1p near 0", MICA_UNARY_LOG1P, log1pl, 1e-30, 0.5, 1e-300, 0.5, true, true, 2.5},
    {"log1p large", MICA_UNARY_LOG1P, log1pl, 1, 3e38, 1, 1.7e308, true, false, 2.5},
    {"sin", MICA_UNARY_SIN, sinl, -100, 100, -100, 100, false, false, 1.5},
    {"sin large", MICA_UNARY_SIN, sinl, 1e-10, 1e5, 1e-100, 1e5, true, true, 2},
    {"sin larger", MICA_UNARY_SIN, sinl, 1e5, 1e30, 1e5, 1e300, true, true, 1},
    {"cos", MICA_UNARY_COS, cosl, -100, 100, -100, 100, false, false, 1.5},
    {"cos large", MICA_UNARY_COS, cosl, 1, 1e5, 1, 1e5, true, true, 2},
    {"tanh", MICA_UNARY_TANH, tanhl, -12, 12, -25, 25, false, false, 3},
    {"tanh near 0", MICA_UNARY_TANH, tanhl, 1e-30, 1, 1e-300, 1, true, true, 3},
    {"erf", MICA_UNARY_ERF, erfl, -6, 6, -8, 8, false, false, 2.5},
    {"erf near 0", MICA_UNARY_ERF, erfl, 1e-30, 1, 1e-300, 1, true, true, 2.5},
    {"sigmoid", MICA_UNARY_SIGMOID, sigmoid_ref, -87, 100, -708, 800, false, false, 3},
    {"softplus", MICA_UNARY_SOFTPLUS, softplus_ref, -87, 100, -708, 800, false, false, 3},
    {"log sigmoid", MICA_UNARY_LOG_SIGMOID, log_sigmoid_ref, -100, 87, -800, 708, false, false, 3},
    {"gelu", MICA_UNARY_GELU, gelu_ref, -12.9, 20, -37, 50, false, false, 6},
    {"gelu near 0", MICA_UNARY_GELU, gelu_ref, 1e-20, 1, 1e-100, 1, true, true, 6},
};

static double unit(const loops_table *t, double want) {
  if (t->dtype == MICA_F32) {
    const double size = fmax(fabs(want), (double)FLT_MIN);
    return ldexp(1, ilogb(size) - 23);
  }
  return ldexp(1, ilogb(fmax(fabs(want), DBL_MIN)) - 52);
}

static void accuracy(const loops_table *t) {
  const int64_t n = 4003;
  for (size_t j = 0; j < sizeof functions / sizeof *functions; j++) {
    const function *f = &functions[j];
    const double lo = t->dtype == MICA_F32 ? f->lo : f->lo64,
                 hi = t->dtype == MICA_F32 ? f->hi : f->hi64;
    void *x = loops_random(t, n, lo, hi, j), *y = loops_zeros(t, n);
    if (f->logarithmic)
      for (int64_t i = 0; i < n; i++) {
        const double u = loops_uniform(j, (uint64_t)i);
        const double v = exp(log(lo) + u * (log(hi) - log(lo)));
        loops_set(t, x, i, f->both && i % 2 ? -v : v);
      }
    t->k->elementwise->unary(f->op, n, x, y, 0, 0);
    double worst = 0, at = 0;
    for (int64_t i = 0; i < n; i++) {
      const double v = loops_get(t, x, i), got = loops_get(t, y, i);
      const long double want = f->f((long double)v);
      const double largest = t->dtype == MICA_F32 ? (double)FLT_MAX : DBL_MAX;
      if (fabsl(want) > (long double)largest) { /* overflow, or just rounded up to it */
        assert_true(isinf(got) || fabs(got) == largest);
        continue;
      }
      const double error = isfinite(got)
                               ? (double)fabsl((long double)got - want) / unit(t, (double)want)
                               : (fabsl(want) > 0.9999999L * (long double)largest ? 0 : 1e300);
      if (!(error <= worst)) worst = error, at = v;
    }
    if (getenv("MICA_TEST_VERBOSE"))
      print_message("%-12s %-7s %-6s %.3f ulp at %g\n", f->name, t->k->isa,
                    t->dtype == MICA_F32 ? "float" : "double", worst, at);
    if (!(worst <= f->ulp))
      fail_msg("%s, %s %s: error of %.3g units at %.17g, bound %g", f->name, t->k->isa,
               t->dtype == MICA_F32 ? "float" : "double", worst, at, f->ulp);
    loops_free(t, n, x);
    loops_free(t, n, y);
  }
}

static void special(const loops_table *t) {
  static const struct {
    mica_unary_op op;
    double x, y, a;
  } cases[] = {
      {MICA_UNARY_EXP, INFINITY, INFINITY, 0},
      {MICA_UNARY_EXP, -INFINITY, 0, 0},
      {MICA_UNARY_EXP, NAN, NAN, 0},
      {MICA_UNARY_EXP, 0, 1, 0},
      {MICA_UNARY_EXP, 1000, INFINITY, 0},
      {MICA_UNARY_EXP, -1000, 0, 0},
      {MICA_UNARY_EXPM1, INFINITY, INFINITY, 0},
      {MICA_UNARY_EXPM1, -INFINITY, -1, 0},
      {MICA_UNARY_EXPM1, NAN, NAN, 0},
      {MICA_UNARY_EXPM1, 0, 0, 0},
      {MICA_UNARY_LOG, INFINITY, INFINITY, 0},
      {MICA_UNARY_LOG, 0, -INFINITY, 0},
      {MICA_UNARY_LOG, -0.0, -INFINITY, 0},
      {MICA_UNARY_LOG, -1, NAN, 0},
      {MICA_UNARY_LOG, -INFINITY, NAN, 0},
      {MICA_UNARY_LOG, NAN, NAN, 0},
      {MICA_UNARY_LOG, 1, 0, 0},
      {MICA_UNARY_LOG1P, -1, -INFINITY, 0},
      {MICA_UNARY_LOG1P, INFINITY, INFINITY, 0},
      {MICA_UNARY_LOG1P, -2, NAN, 0},
      {MICA_UNARY_LOG1P, NAN, NAN, 0},
      {MICA_UNARY_LOG1P, 0, 0, 0},
      {MICA_UNARY_TANH, INFINITY, 1, 0},
      {MICA_UNARY_TANH, -INFINITY, -1, 0},
      {MICA_UNARY_TANH, NAN, NAN, 0},
      {MICA_UNARY_ERF, INFINITY, 1, 0},
      {MICA_UNARY_ERF, -INFINITY, -1, 0},
      {MICA_UNARY_ERF, NAN, NAN, 0},
      {MICA_UNARY_SIGMOID, INFINITY, 1, 0},
      {MICA_UNARY_SIGMOID, -INFINITY, 0, 0},
      {MICA_UNARY_SIGMOID, NAN, NAN, 0},
      {MICA_UNARY_SOFTPLUS, INFINITY, INFINITY, 0},
      {MICA_UNARY_SOFTPLUS, -INFINITY, 0, 0},
      {MICA_UNARY_SOFTPLUS, NAN, NAN, 0},
      {MICA_UNARY_LOG_SIGMOID, INFINITY, 0, 0},
      {MICA_UNARY_LOG_SIGMOID, -INFINITY, -INFINITY, 0},
      {MICA_UNARY_SIN, INFINITY, NAN, 0},
      {MICA_UNARY_COS, -INFINITY, NAN, 0},
      {MICA_UNARY_SIN, NAN, NAN, 0},
      {MICA_UNARY_COS, 0, 1, 0},
      {MICA_UNARY_SQRT, -1, NAN, 0},
      {MICA_UNARY_RSQRT, 0, INFINITY, 0},
      {MICA_UNARY_GELU, INFINITY, INFINITY, 0},
      {MICA_UNARY_GELU, NAN, NAN, 0},
      {MICA_UNARY_RELU, NAN, NAN, 0},
      {MICA_UNARY_CLAMP, NAN, NAN, 0},
      {MICA_UNARY_SIGN, NAN, NAN, 0},
      {MICA_UNARY_HARD_SIGMOID, NAN, NAN, 0},
      {MICA_UNARY_HARD_SIGMOID, INFINITY, 1, 0},
      {MICA_UNARY_HARD_SIGMOID, -INFINITY, 0, 0},
      {MICA_UNARY_ROUND, 0.5, 0, 0},
      {MICA_UNARY_ROUND, 1.5, 2, 0},
      {MICA_UNARY_ROUND, -2.5, -2, 0},
      {MICA_UNARY_FLOOR, -0.5, -1, 0},
      {MICA_UNARY_POW, 0, 1, 0},
      {MICA_UNARY_POW, NAN, 1, 0},
      {MICA_UNARY_POW, -2, -0.125, -3},
      {MICA_UNARY_POW, -2, NAN, 0.5},
      {MICA_UNARY_POW, 0, INFINITY, -2},
      {MICA_UNARY_POW, -INFINITY, -INFINITY, 5},
      {MICA_UNARY_POW, -1, 1, INFINITY},
      {MICA_UNARY_POW, 2, INFINITY, INFINITY},
  };
  for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
    void *x = loops_zeros(t, 37), *y = loops_zeros(t, 37); /* vector body and remainder */
    for (int64_t i = 0; i < 37; i++) loops_set(t, x, i, cases[j].x);
    t->k->elementwise->unary(cases[j].op, 37, x, y, cases[j].a, 1);
    for (int64_t i = 0; i < 37; i++) {
      const double got = loops_get(t, y, i);
      if (!loops_close(t, got, cases[j].y, 1, 0))
        fail_msg("operation %d of %g, %s %s: got %g, expected %g", (int)cases[j].op, cases[j].x,
                 t->k->isa, t->dtype == MICA_F32 ? "float" : "double", got, cases[j].y);
    }
    loops_free(t, 37, x);
    loops_free(t, 37, y);
  }
}

/* gelu's derivative, whose zero lies between -1 and -1/2; near and far lanes side by side give what
 * each gives alone. */
static void gelu_slope(const loops_table *t) {
  const int64_t n = 4003;
  const double far = t->dtype == MICA_F32 ? 12.9 : 37;
  void *x = loops_random(t, n, -far, far, 60), *one = loops_zeros(t, n), *gx = loops_zeros(t, n),
       *y = loops_zeros(t, n), *alone = loops_zeros(t, 2);
  const size_t size = mica_dtype_size(t->dtype);
  for (int64_t i = 0; i < n; i++) loops_set(t, one, i, 1);
  for (int64_t i = 0; i < n; i += 3) loops_set(t, x, i, loops_get(t, x, i) / 4);
  loops_set(t, x, 7, (double)NAN);
  t->k->elementwise->unary(MICA_UNARY_GELU, n, x, y, 0, 0);
  t->k->elementwise->unary_grad(MICA_UNARY_GELU, n, x, NULL, one, gx, 0, 0);
  assert_true(isnan(loops_get(t, y, 7)) && isnan(loops_get(t, gx, 7)));
  loops_set(t, x, 7, 1);
  t->k->elementwise->unary(MICA_UNARY_GELU, n, x, y, 0, 0);
  t->k->elementwise->unary_grad(MICA_UNARY_GELU, n, x, NULL, one, gx, 0, 0);
  for (int64_t i = 0; i < n; i++) {
    const double v = loops_get(t, x, i), got = loops_get(t, gx, i);
    const long double phi = expl(-(long double)v * v / 2) * 0.39894228040143267794L;
    const double want = (double)(normal_ref(v) + v * phi);
    if (!(fabs(got - want) <= 8 * unit(t, v > -1.5 && v < 0 ? 0.25 : want)))
      fail_msg("gelu's slope at %.17g, %s %s: got %.17g, expected %.17g", v, t->k->isa,
               t->dtype == MICA_F32 ? "float" : "double", got, want);
    const char *at = (const char *)x + (size_t)i * size;
    t->k->elementwise->unary(MICA_UNARY_GELU, 1, at, alone, 0, 0);
    assert_memory_equal(alone, (const char *)y + (size_t)i * size, size);
    t->k->elementwise->unary_grad(MICA_UNARY_GELU, 1, at, NULL, one, alone, 0, 0);
    assert_memory_equal(alone, (const char *)gx + (size_t)i * size, size);
  }
  loops_free(t, n, x);
  loops_free(t, n, one);
  loops_free(t, n, gx);
  loops_free(t, n, y);
  loops_free(t, 2, alone);
}

static void power(const loops_table *t) {
  const int64_t n = 4000;
  void *a = loops_random(t, n, 0, 1, 50), *b = loops_random(t, n, -20, 20, 51),
       *y = loops_zeros(t, n);
  for (int64_t i = 0; i < n; i++) {
    loops_set(t, a, i, exp(8 * loops_uniform(50, (uint64_t)i) - 4));
    if (i % 4 == 0) { /* negative bases take whole exponents */
      loops_set(t, a, i, -loops_get(t, a, i));
      loops_set(t, b, i, floor(loops_get(t, b, i)));
    }
  }
  t->k->elementwise->binary(MICA_BINARY_POW, MICA_FORM_VV, n, a, b, y, 0);
  for (int64_t i = 0; i < n; i++) {
    const double want =
        (double)powl((long double)loops_get(t, a, i), (long double)loops_get(t, b, i));
    const double got = loops_get(t, y, i);
    if (fabs(want) > (t->dtype == MICA_F32 ? 3.4e38 : 1e308)) continue;
    if (!(fabs(got - want) <= 1.01 * unit(t, want)))
      fail_msg("%.17g ^ %.17g, %s: got %.17g, expected %.17g", loops_get(t, a, i),
               loops_get(t, b, i), t->k->isa, got, want);
  }
  loops_free(t, n, a);
  loops_free(t, n, b);
  loops_free(t, n, y);
}

/* Valgrind computes long double as double, which is no reference for double. */
static void need_long_double(void) {
  volatile long double one = 1, tiny = LDBL_EPSILON;
  if (one + tiny != one) return;
  print_message("skip: long double is emulated with the precision of double\n");
  skip();
}

static void errors_are_a_few_units(void **state) {
  (void)state;
  need_long_double();
  loops_need_long_double();
  loops_each(accuracy);
}

static void slopes_of_gelu(void **state) {
  (void)state;
  need_long_double();
  loops_each(gelu_slope);
}

static void special_values_are_c_s(void **state) {
  (void)state;
  need_long_double();
  loops_each(special);
}

static void powers_are_close(void **state) {
  (void)state;
  need_long_double();
  loops_need_long_double();
  loops_each(power);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slopes_of_gelu),
      cmocka_unit_test(errors_are_a_few_units),
      cmocka_unit_test(special_values_are_c_s),
      cmocka_unit_test(powers_are_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
