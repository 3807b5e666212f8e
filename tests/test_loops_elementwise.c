/* Elementwise loops: values in place and with an offset, gradients against central differences of
 * the long double definitions, all forms of two operands, and what happens to NaN and infinite
 * gradients.
 */
#include "support/loops.h"

#include "tensor/kernel/elementwise.h"

#include <math.h>

static long double softplus(long double x) {
  return fmaxl(x, 0) + log1pl(expl(-fabsl(x)));
}

static long double unary_ref(mica_unary_op op, long double x, double a, double b) {
  const long double alpha = 1.6732632423543772L, scale = 1.0507009873554805L;
  const long double hard = fminl(fmaxl(x + 3, 0), 6) / 6;
  switch (op) {
  case MICA_UNARY_IDENTITY: return x;
  case MICA_UNARY_NEG: return -x;
  case MICA_UNARY_ABS: return fabsl(x);
  case MICA_UNARY_EXP: return expl(x);
  case MICA_UNARY_EXPM1: return expm1l(x);
  case MICA_UNARY_LOG: return logl(x);
  case MICA_UNARY_LOG1P: return log1pl(x);
  case MICA_UNARY_SQRT: return sqrtl(x);
  case MICA_UNARY_RSQRT: return 1 / sqrtl(x);
  case MICA_UNARY_RECIPROCAL: return 1 / x;
  case MICA_UNARY_SQUARE: return x * x;
  case MICA_UNARY_SIN: return sinl(x);
  case MICA_UNARY_COS: return cosl(x);
  case MICA_UNARY_TANH: return tanhl(x);
  case MICA_UNARY_ERF: return erfl(x);
  case MICA_UNARY_SIGMOID: return 1 / (1 + expl(-x));
  case MICA_UNARY_LOG_SIGMOID: return -softplus(-x);
  case MICA_UNARY_SOFTPLUS: return softplus(x);
  case MICA_UNARY_RELU: return fmaxl(x, 0);
  case MICA_UNARY_LEAKY_RELU: return x > 0 ? x : a * x;
  case MICA_UNARY_ELU: return x > 0 ? x : a * expm1l(x);
  case MICA_UNARY_SELU: return scale * (x > 0 ? x : alpha * expm1l(x));
  case MICA_UNARY_GELU: return x * erfcl(-x / sqrtl(2.0L)) / 2;
  case MICA_UNARY_GELU_TANH:
    return x * (1 + tanhl(0.7978845608028653559L * (x + 0.044715L * x * x * x))) / 2;
  case MICA_UNARY_SILU: return x / (1 + expl(-x));
  case MICA_UNARY_MISH: return x * tanhl(softplus(x));
  case MICA_UNARY_HARD_SIGMOID: return hard;
  case MICA_UNARY_HARD_SWISH: return x * hard;
  case MICA_UNARY_SWISH: return x / (1 + expl(-(a * x)));
  case MICA_UNARY_CELU: return x > 0 ? x : a * expm1l(x / a);
  case MICA_UNARY_SOFT_SIGN: return x / (1 + fabsl(x));
  case MICA_UNARY_SOFT_SHRINK: return copysignl(fmaxl(fabsl(x) - a, 0), x);
  case MICA_UNARY_HARD_SHRINK: return fabsl(x) > a ? x : 0;
  case MICA_UNARY_TANH_SHRINK: return x - tanhl(x);
  case MICA_UNARY_SQUARED_RELU: return fmaxl(x, 0) * fmaxl(x, 0);
  case MICA_UNARY_SIGN: return (x > 0) - (x < 0);
  case MICA_UNARY_STEP: return x > 0;
  case MICA_UNARY_FLOOR: return floorl(x);
  case MICA_UNARY_ROUND: return rintl(x);
  case MICA_UNARY_CLAMP: return fminl(fmaxl(x, a), b);
  case MICA_UNARY_POW: return powl(x, a);
  case MICA_UNARY_AFFINE: return a * x + b;
  case MICA_UNARY_COUNT: break;
  }
  return NAN;
}

static bool positive_only(mica_unary_op op) {
  return op == MICA_UNARY_LOG || op == MICA_UNARY_SQRT || op == MICA_UNARY_RSQRT ||
         op == MICA_UNARY_POW || op == MICA_UNARY_LOG1P || op == MICA_UNARY_RECIPROCAL;
}

/* The slope by a difference of long doubles; 0 for those that say so. */
static long double slope_ref(mica_unary_op op, long double x, double a, double b) {
  if (op == MICA_UNARY_SIGN || op == MICA_UNARY_STEP || op == MICA_UNARY_FLOOR ||
      op == MICA_UNARY_ROUND)
    return 0;
  const long double h = 2e-5L; /* error h^4, and 1e-19 / h for rounding */
  return (8 * (unary_ref(op, x + h, a, b) - unary_ref(op, x - h, a, b)) -
          (unary_ref(op, x + 2 * h, a, b) - unary_ref(op, x - 2 * h, a, b))) /
         (12 * h);
}

static void unary_op(const loops_table *t, mica_unary_op op, int64_t n, double a, double b) {
  const mica_elementwise_kernels *k = t->k->elementwise;
  void *x = loops_random(t, n, positive_only(op) ? 0.1 : -4, 4, (uint64_t)op);
  void *gy = loops_random(t, n, -2, 2, 99), *y = loops_zeros(t, n), *gx = loops_zeros(t, n);
  const int reads = mica_unary_grad_reads(op);
  k->unary(op, n, x, y, a, b);
  k->unary_grad(op, n, reads & MICA_UNARY_READS_X ? x : NULL, reads & MICA_UNARY_READS_Y ? y : NULL,
                gy, gx, a, b);
  void *place = loops_copy(t, n, x), *gplace = loops_copy(t, n, gy);
  k->unary(op, n, place, place, a, b);
  k->unary_grad(op, n, reads & MICA_UNARY_READS_X ? x : NULL, reads & MICA_UNARY_READS_Y ? y : NULL,
                gplace, gplace, a, b);
  for (int64_t i = 0; i < n; i++) {
    const double v = loops_get(t, x, i);
    const double want = (double)unary_ref(op, (long double)v, a, b);
    const double slope = (double)slope_ref(op, (long double)v, a, b) * loops_get(t, gy, i);
    loops_check(t, "unary", i, loops_get(t, y, i), want, 8, 0);
    loops_check(t, "unary in place", i, loops_get(t, place, i), loops_get(t, y, i), 0, 0);
    /* the difference itself is good to about 1e-12 */
    if (!(fabs(loops_get(t, gx, i) - slope) <= (20 * t->eps + 2e-12) * fmax(20, fabs(slope))))
      fail_msg("slope of operation %d at %.17g, %s: got %.17g, expected %.17g", (int)op, v,
               t->k->isa, loops_get(t, gx, i), slope);
    loops_check(t, "slope in place", i, loops_get(t, gplace, i), loops_get(t, gx, i), 0, 0);
  }
  loops_free(t, n, x);
  loops_free(t, n, gy);
  loops_free(t, n, y);
  loops_free(t, n, gx);
  loops_free(t, n, place);
  loops_free(t, n, gplace);
}

static void unary(const loops_table *t) {
  for (int op = 0; op < MICA_UNARY_COUNT; op++)
    for (int s = 0; s < loops_size_count; s++) {
      const double a = op == MICA_UNARY_LEAKY_RELU ? 0.1
                       : op == MICA_UNARY_CLAMP    ? -1.5
                       : op == MICA_UNARY_POW      ? 2.5
                                                   : 1.3;
      unary_op(t, (mica_unary_op)op, loops_sizes[s], a, 0.75);
      if (op == MICA_UNARY_POW)
        for (int p = 0; p <= 3; p++) unary_op(t, (mica_unary_op)op, loops_sizes[s], p, 0);
    }
}

static void flat_pieces(const loops_table *t) {
  static const struct {
    mica_unary_op op;
    double x;
  } cases[] = {
      {MICA_UNARY_RELU, -1},       {MICA_UNARY_RELU, 0},         {MICA_UNARY_CLAMP, -5},
      {MICA_UNARY_CLAMP, 5},       {MICA_UNARY_HARD_SIGMOID, 4}, {MICA_UNARY_HARD_SIGMOID, -4},
      {MICA_UNARY_HARD_SWISH, -4}, {MICA_UNARY_SIGN, 2},         {MICA_UNARY_STEP, 2},
      {MICA_UNARY_SOFT_SHRINK, 0}, {MICA_UNARY_HARD_SHRINK, 0},  {MICA_UNARY_SQUARED_RELU, -1},
      {MICA_UNARY_FLOOR, 2.5},     {MICA_UNARY_ROUND, 2.25},     {MICA_UNARY_ABS, 0}};
  for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
    void *x = loops_zeros(t, 3), *y = loops_zeros(t, 3), *gy = loops_zeros(t, 3),
         *gx = loops_zeros(t, 3);
    for (int i = 0; i < 3; i++) loops_set(t, x, i, cases[j].x);
    loops_set(t, gy, 0, 3);
    loops_set(t, gy, 1, INFINITY);
    loops_set(t, gy, 2, NAN);
    const bool shrink =
        cases[j].op == MICA_UNARY_SOFT_SHRINK || cases[j].op == MICA_UNARY_HARD_SHRINK;
    const double a = shrink ? 1 : -1;
    t->k->elementwise->unary(cases[j].op, 3, x, y, a, 1);
    t->k->elementwise->unary_grad(cases[j].op, 3, x, y, gy, gx, a, 1);
    assert_true(loops_get(t, gx, 0) == 0);
    assert_true(loops_get(t, gx, 1) == 0);
    assert_true(isnan(loops_get(t, gx, 2)));
    loops_free(t, 3, x);
    loops_free(t, 3, y);
    loops_free(t, 3, gy);
    loops_free(t, 3, gx);
  }
}

static long double binary_ref(mica_binary_op op, long double a, long double b, double p) {
  const long double d = a - b, size = fabsl(d);
  switch (op) {
  case MICA_BINARY_ADD: return a + b;
  case MICA_BINARY_SUB: return d;
  case MICA_BINARY_MUL: return a * b;
  case MICA_BINARY_DIV: return a / b;
  case MICA_BINARY_MAX: return fmaxl(a, b);
  case MICA_BINARY_MIN: return fminl(a, b);
  case MICA_BINARY_POW: return powl(a, b);
  case MICA_BINARY_SQUARED_DIFFERENCE: return d * d;
  case MICA_BINARY_ABS_DIFFERENCE: return size;
  case MICA_BINARY_HUBER: return size < p ? d * d / 2 : p * (size - p / 2);
  case MICA_BINARY_BCE_LOGITS: return softplus(a) - a * b;
  case MICA_BINARY_KL: return b * (logl(b) - a);
  case MICA_BINARY_EQ: return a == b;
  case MICA_BINARY_NE: return a != b;
  case MICA_BINARY_LT: return a < b;
  case MICA_BINARY_LE: return a <= b;
  case MICA_BINARY_GT: return a > b;
  case MICA_BINARY_GE: return a >= b;
  case MICA_BINARY_COUNT: break;
  }
  return NAN;
}

static long double binary_slope(mica_binary_op op, long double a, long double b, double p,
                                int which) {
  const long double h = 2e-5L, u = which == 0 ? h : 0, v = which == 0 ? 0 : h;
  return (8 * (binary_ref(op, a + u, b + v, p) - binary_ref(op, a - u, b - v, p)) -
          (binary_ref(op, a + 2 * u, b + 2 * v, p) - binary_ref(op, a - 2 * u, b - 2 * v, p))) /
         (12 * h);
}

static void binary_form(const loops_table *t, mica_binary_op op, mica_form form, int64_t n) {
  const int64_t na = form == MICA_FORM_SV ? 1 : n, nb = form == MICA_FORM_VS ? 1 : n;
  const double p = 0.7;
  void *a = loops_random(t, na, 0.2, 3, 7), *b = loops_random(t, nb, 0.2, 3, 8);
  void *y = loops_zeros(t, n), *gy = loops_random(t, n, -2, 2, 9), *ga = loops_zeros(t, n),
       *gb = loops_zeros(t, n);
  if (op >= MICA_BINARY_EQ && na > 3 && nb > 3) loops_set(t, a, 3, loops_get(t, b, 3));
  t->k->elementwise->binary(op, form, n, a, b, y, p);
  t->k->elementwise->binary_grad(op, form, n, a, b, gy, ga, gb, p);
  for (int64_t i = 0; i < n; i++) {
    const long double u = (long double)loops_get(t, a, na == 1 ? 0 : i);
    const long double v = (long double)loops_get(t, b, nb == 1 ? 0 : i);
    const double g = loops_get(t, gy, i);
    double da = (double)binary_slope(op, u, v, p, 0) * g,
           db = (double)binary_slope(op, u, v, p, 1) * g;
    if (op >= MICA_BINARY_EQ) da = db = 0;
    loops_check(t, "binary", i, loops_get(t, y, i), (double)binary_ref(op, u, v, p), 8, 0);
    if (!(fabs(loops_get(t, ga, i) - da) <= (20 * t->eps + 2e-12) * fmax(20, fabs(da))) ||
        !(fabs(loops_get(t, gb, i) - db) <= (20 * t->eps + 2e-12) * fmax(20, fabs(db))))
      fail_msg("slopes of operation %d, form %d, at %Lg, %Lg, %s: got %.17g and %.17g, expected "
               "%.17g and "
               "%.17g",
               (int)op, (int)form, u, v, t->k->isa, loops_get(t, ga, i), loops_get(t, gb, i), da,
               db);
  }
  t->k->elementwise->binary_grad(op, form, n, a, b, gy, NULL, NULL, p); /* both may be unwanted */
  loops_free(t, na, a);
  loops_free(t, nb, b);
  loops_free(t, n, y);
  loops_free(t, n, gy);
  loops_free(t, n, ga);
  loops_free(t, n, gb);
}

static void binary(const loops_table *t) {
  for (int op = 0; op < MICA_BINARY_COUNT; op++)
    for (int form = 0; form < 3; form++)
      for (int s = 0; s < loops_size_count; s++)
        binary_form(t, (mica_binary_op)op, (mica_form)form, loops_sizes[s]);
}

static double one_binary(const loops_table *t, mica_binary_op op, double a, double b) {
  double pa[1], pb[1], py[1]; /* room for either type */
  loops_set(t, pa, 0, a);
  loops_set(t, pb, 0, b);
  t->k->elementwise->binary(op, MICA_FORM_VV, 1, pa, pb, py, 1);
  return loops_get(t, py, 0);
}

static void one_grad(const loops_table *t, mica_binary_op op, double a, double b, double *ga,
                     double *gb) {
  double pa[1], pb[1], pg[1], za[1], zb[1];
  loops_set(t, pa, 0, a);
  loops_set(t, pb, 0, b);
  loops_set(t, pg, 0, 3);
  t->k->elementwise->binary_grad(op, MICA_FORM_VV, 1, pa, pb, pg, za, zb, 1);
  *ga = loops_get(t, za, 0);
  *gb = loops_get(t, zb, 0);
}

static void binary_edges(const loops_table *t) {
  double ga, gb;
  assert_true(isnan(one_binary(t, MICA_BINARY_MAX, NAN, 1)));
  assert_true(isnan(one_binary(t, MICA_BINARY_MAX, 1, NAN)));
  assert_true(isnan(one_binary(t, MICA_BINARY_MIN, NAN, 1)));
  assert_true(isnan(one_binary(t, MICA_BINARY_MIN, 1, NAN)));
  one_grad(t, MICA_BINARY_MAX, 2, 2, &ga, &gb);
  assert_true(ga == 1.5 && gb == 1.5);
  one_grad(t, MICA_BINARY_POW, 0, 2, &ga, &gb);
  assert_true(ga == 0 && gb == 0);
  one_grad(t, MICA_BINARY_POW, 5, 0, &ga, &gb);
  assert_true(ga == 0);
  one_grad(t, MICA_BINARY_ABS_DIFFERENCE, 4, 4, &ga, &gb);
  assert_true(ga == 0 && gb == 0);
  assert_true(one_binary(t, MICA_BINARY_KL, -3, 0) == 0);
  assert_true(one_binary(t, MICA_BINARY_BCE_LOGITS, 1000, 0) == 1000);
  assert_true(one_binary(t, MICA_BINARY_BCE_LOGITS, -1000, 0) == 0);
}

static void vectors(const loops_table *t) {
  const mica_elementwise_kernels *k = t->k->elementwise;
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    void *x = loops_random(t, n, -1, 1, 1), *z = loops_random(t, n, -1, 1, 2),
         *c = loops_zeros(t, n);
    void *fill = loops_zeros(t, n), *scale = loops_zeros(t, n), *axpy = loops_copy(t, n, z);
    void *add = loops_copy(t, n, z), *fma = loops_copy(t, n, z), *y = loops_zeros(t, n);
    void *ga = loops_zeros(t, n), *gb = loops_zeros(t, n);
    for (int64_t i = 0; i < n; i++) loops_set(t, c, i, i % 3 == 0 ? 0 : (i % 3 == 1 ? 2 : NAN));
    k->fill(n, 2.5, fill);
    k->scale(n, 3, x, scale);
    k->axpy(n, 0.5, x, axpy);
    k->add_into(n, x, add);
    k->multiply_add(n, x, x, fma);
    k->where(n, c, x, z, y);
    k->where_grad(n, c, x, ga, gb);
    for (int64_t i = 0; i < n; i++) {
      const double u = loops_get(t, x, i), v = loops_get(t, z, i);
      const bool on = i % 3 != 0;
      assert_true(loops_get(t, fill, i) == 2.5);
      loops_check(t, "scale", i, loops_get(t, scale, i), 3 * u, 1, 0);
      loops_check(t, "axpy", i, loops_get(t, axpy, i), v + 0.5 * u, 1, 0);
      loops_check(t, "add_into", i, loops_get(t, add, i), v + u, 1, 0);
      loops_check(t, "multiply_add", i, loops_get(t, fma, i), v + u * u, 1, 0);
      assert_true(loops_get(t, y, i) == (on ? u : v));
      assert_true(loops_get(t, ga, i) == (on ? u : 0) && loops_get(t, gb, i) == (on ? 0 : u));
    }
    void *all[] = {x, z, c, fill, scale, axpy, add, fma, y, ga, gb};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) loops_free(t, n, all[i]);
  }
}

static void bias(const loops_table *t) {
  const int64_t rows = 5, cols = 19, stride = 23;
  const mica_unary_op ops[] = {MICA_UNARY_IDENTITY, MICA_UNARY_RELU, MICA_UNARY_GELU};
  void *x = loops_random(t, rows * stride, -3, 3, 1), *b = loops_random(t, cols, -1, 1, 2);
  for (int o = 0; o < 3; o++)
    for (int with = 0; with < 2; with++) {
      void *y = loops_zeros(t, rows * cols);
      t->k->elementwise->bias_unary(ops[o], rows, cols, x, stride, with ? b : NULL, y, cols, 0, 0);
      for (int64_t i = 0; i < rows * cols; i++) {
        const double v =
            loops_get(t, x, i / cols * stride + i % cols) + (with ? loops_get(t, b, i % cols) : 0);
        loops_check(t, "bias_unary", i, loops_get(t, y, i),
                    (double)unary_ref(ops[o], (long double)v, 0, 0), 8, 0);
      }
      loops_free(t, rows * cols, y);
    }
  loops_free(t, rows * stride, x);
  loops_free(t, cols, b);
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
static void one_operand_and_its_slope(void **state) {
  (void)state;
  loops_need_long_double();
  loops_each(unary);
}
TEST(flat_pieces_stop_infinities_and_show_nan, flat_pieces)
static void two_operands_and_their_slopes(void **state) {
  (void)state;
  loops_need_long_double();
  loops_each(binary);
}
TEST(two_operands_at_their_edges, binary_edges)
TEST(vector_updates, vectors)
TEST(bias_then_function, bias)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_operand_and_its_slope),
      cmocka_unit_test(flat_pieces_stop_infinities_and_show_nan),
      cmocka_unit_test(two_operands_and_their_slopes),
      cmocka_unit_test(two_operands_at_their_edges),
      cmocka_unit_test(vector_updates),
      cmocka_unit_test(bias_then_function),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
