/* Sums, moments, extremes and log-sum-exp of vectors, rows and columns against plain double loops.
 */
#include "support/loops.h"

#include "tensor/kernel/reduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void vectors(const loops_table *t) {
  const mica_reduce_kernels *k = t->k->reduce;
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    void *a = loops_random(t, n, -1, 2, 1), *b = loops_random(t, n, -1, 1, 2);
    double sum = 0, size = 0, squares = 0, dot = 0, distance = 0, top = -INFINITY, low = INFINITY;
    int64_t top_at = -1, low_at = -1, at;
    for (int64_t i = 0; i < n; i++) {
      const double u = loops_get(t, a, i), v = loops_get(t, b, i);
      sum += u, size += fabs(u), squares += u * u, dot += u * v, distance += (u - v) * (u - v);
      if (u > top) top = u, top_at = i;
      if (u < low) low = u, low_at = i;
    }
    const double scale = 3 * (double)n / 64 + 1; /* blocks keep the error far below n eps */
    loops_check(t, "sum", n, k->sum(n, a), sum, 8, scale);
    loops_check(t, "sum_abs", n, k->sum_abs(n, a), size, 8, scale);
    loops_check(t, "sum_squares", n, k->sum_squares(n, a), squares, 8, scale);
    loops_check(t, "dot", n, k->dot(n, a, b), dot, 8, scale);
    loops_check(t, "squared_distance", n, k->squared_distance(n, a, b), distance, 8, scale);
    assert_true(k->extreme(true, n, a, &at) == top && at == top_at);
    assert_true(k->extreme(false, n, a, &at) == low && at == low_at);
    assert_true(k->extreme(true, n, a, NULL) == top);
    assert_int_equal(k->count_nonfinite(n, a), 0);
    if (n >= 7) {
      loops_set(t, a, 6, loops_get(t, a, top_at)); /* of equals the first */
      k->extreme(true, n, a, &at);
      assert_int_equal(at, top_at < 6 ? top_at : 6);
      loops_set(t, a, 2, NAN);
      loops_set(t, a, 4, NAN);
      loops_set(t, a, n - 1, INFINITY);
      loops_set(t, a, 0, -INFINITY);
      assert_int_equal(k->count_nonfinite(n, a), 4);
      assert_true(isnan(k->extreme(true, n, a, &at)) && at == 2);
      assert_true(isnan(k->extreme(false, n, a, &at)) && at == 2);
    }
    loops_free(t, n, a);
    loops_free(t, n, b);
  }
}

/* A million equal numbers: a single float accumulator would be wrong in the third digit. */
static void long_sums(const loops_table *t) {
  const int64_t n = 1000000;
  void *x = loops_zeros(t, n);
  for (int64_t i = 0; i < n; i++) loops_set(t, x, i, 0.1);
  const double units = t->dtype == MICA_F64 ? 2000 : 100; /* one accumulator: 100000 */
  const double each = loops_get(t, x, 0), got = t->k->reduce->sum(n, x);
  assert_true(fabs(got - (double)n * each) <= units * t->eps * (double)n * each);
  double acc = 0;
  t->k->reduce->column_sum(n, 1, x, 1, &acc);
  assert_true(fabs(acc - (double)n * each) <= units * t->eps * (double)n * each);
  loops_free(t, n, x);
}

typedef struct matrix {
  int64_t rows, cols, stride;
} matrix;
static const matrix shapes[] = {{0, 3, 3},     {1, 1, 1},       {7, 1, 1},      {7, 1, 5},
                                {3, 0, 2},     {5, 7, 7},       {64, 3, 4},     {65, 64, 70},
                                {130, 65, 65}, {2, 1000, 1003}, {300, 130, 130}};

static void matrices(const loops_table *t) {
  const mica_reduce_kernels *k = t->k->reduce;
  const double own = t->dtype == MICA_F64 ? 16 : 1; /* the reference rounds too */
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const int64_t rows = shapes[s].rows, cols = shapes[s].cols, stride = shapes[s].stride;
    const int64_t n = rows * stride;
    void *x = loops_random(t, n, 10, 12, s), *z = loops_random(t, n, -1, 1, s + 50);
    void *y[5];
    for (int i = 0; i < 5; i++) y[i] = loops_zeros(t, rows);
    double *mean = calloc((size_t)(rows + cols + 1), 8), *m2 = calloc((size_t)(rows + cols + 1), 8);
    int64_t *arg = calloc((size_t)(rows + cols + 1), 8);
    k->row_sum(rows, cols, x, stride, 0.5, y[0]);
    k->row_sum_squares(rows, cols, x, stride, y[1]);
    k->row_dot(rows, cols, x, stride, z, stride, y[2]);
    k->row_extreme(true, rows, cols, x, stride, y[3], arg);
    k->row_log_sum_exp(rows, cols, x, stride, y[4]);
    k->row_moments(rows, cols, x, stride, mean, m2);
    for (int64_t r = 0; r < rows; r++) {
      double sum = 0, squares = 0, dot = 0, top = -INFINITY, spread = 0, exps = 0;
      int64_t at = -1;
      for (int64_t c = 0; c < cols; c++) {
        const double u = loops_get(t, x, r * stride + c);
        sum += u, squares += u * u, dot += u * loops_get(t, z, r * stride + c), exps += exp(u);
        if (u > top) top = u, at = c;
      }
      for (int64_t c = 0; c < cols; c++) {
        const double d = loops_get(t, x, r * stride + c) - sum / (double)cols;
        spread += d * d;
      }
      loops_check(t, "row_sum", r, loops_get(t, y[0], r), 0.5 * sum, 8 * own, 0);
      loops_check(t, "row_sum_squares", r, loops_get(t, y[1], r), squares, 8 * own, 0);
      loops_check(t, "row_dot", r, loops_get(t, y[2], r), dot, 8 * own, 12 * (double)cols);
      assert_true(loops_get(t, y[3], r) == top && arg[r] == at);
      loops_check(t, "row_log_sum_exp", r, loops_get(t, y[4], r), log(exps), 8 * own, 0);
      loops_check(t, "row mean", r, mean[r], cols > 0 ? sum / (double)cols : 0, 16 * own, 0);
      loops_check(t, "row m2", r, m2[r], spread, 16 * own, 0);
    }
    for (int i = 0; i < 5; i++) loops_free(t, rows, y[i]);

    void *top = loops_zeros(t, cols), *lse = loops_zeros(t, cols), *sums = loops_zeros(t, cols);
    double *acc = calloc((size_t)cols + 1, 8), *dots = calloc((size_t)cols + 1, 8);
    const int64_t half = rows / 2; /* two ranges, as two chunks would be */
    k->column_sum(half, cols, x, stride, acc);
    k->column_sum(rows - half, cols, loops_at(t, x, half * stride), stride, acc);
    k->column_dot(rows, cols, x, stride, z, stride, dots);
    k->column_extreme(false, rows, cols, x, stride, top, arg);
    k->column_log_sum_exp(rows, cols, x, stride, lse);
    double *more_mean = calloc((size_t)cols + 1, 8), *more_m2 = calloc((size_t)cols + 1, 8);
    k->column_moments(half, cols, x, stride, mean, m2);
    k->column_moments(rows - half, cols, loops_at(t, x, half * stride), stride, more_mean, more_m2);
    k->merge_moments(cols, (double)half, mean, m2, (double)(rows - half), more_mean, more_m2);
    k->combine(cols, 1, acc, 2, sums);
    for (int64_t c = 0; c < cols; c++) {
      double sum = 0, dot = 0, low = INFINITY, spread = 0, exps = 0;
      int64_t at = -1;
      for (int64_t r = 0; r < rows; r++) {
        const double u = loops_get(t, x, r * stride + c);
        sum += u, dot += u * loops_get(t, z, r * stride + c), exps += exp(u);
        if (u < low) low = u, at = r;
      }
      for (int64_t r = 0; r < rows; r++) {
        const double d = loops_get(t, x, r * stride + c) - sum / (double)rows;
        spread += d * d;
      }
      loops_check(t, "column_sum", c, acc[c], sum, 16 * own, 0);
      loops_check(t, "combine", c, loops_get(t, sums, c), 2 * acc[c], 1, 0);
      loops_check(t, "column_dot", c, dots[c], dot, 16 * own, 12 * (double)rows / 8);
      assert_true(loops_get(t, top, c) == low && arg[c] == at);
      loops_check(t, "column_log_sum_exp", c, loops_get(t, lse, c), log(exps), 8 * own, 0);
      loops_check(t, "column mean", c, mean[c], rows > 0 ? sum / (double)rows : 0, 16 * own, 0);
      loops_check(t, "column m2", c, m2[c], spread, 24 * own, 0);
    }
    loops_free(t, cols, top);
    loops_free(t, cols, lse);
    loops_free(t, cols, sums);
    free(acc), free(dots), free(more_mean), free(more_m2), free(mean), free(m2), free(arg);
    loops_free(t, n, x);
    loops_free(t, n, z);
  }
}

/* Mean 1e4 and deviation 1e-2 in float: sums of squares would lose the variance altogether. */
static void far_from_zero(const loops_table *t) {
  const int64_t rows = 1000, cols = 5;
  const double base = t->dtype == MICA_F32 ? 1e4 : 1e9;
  void *x = loops_random(t, rows * cols, base, base + 0.25, 3);
  double mean[5], m2[5];
  t->k->reduce->column_moments(rows, cols, x, cols, mean, m2);
  for (int64_t c = 0; c < cols; c++) {
    double sum = 0, spread = 0;
    for (int64_t r = 0; r < rows; r++) sum += loops_get(t, x, r * cols + c) - base;
    for (int64_t r = 0; r < rows; r++) {
      const double d = loops_get(t, x, r * cols + c) - base - sum / (double)rows;
      spread += d * d;
    }
    assert_true(spread > 1);
    assert_true(fabs(m2[c] - spread) <= 1e-5 * spread);
    assert_true(fabs(mean[c] - base - sum / (double)rows) <= 4 * t->eps * base);
  }
  loops_free(t, rows * cols, x);
}

static void infinite(const loops_table *t) {
  void *x = loops_zeros(t, 6), *y = loops_zeros(t, 3), *z = loops_zeros(t, 2);
  const double rows[] = {-INFINITY, -INFINITY, INFINITY, 0, NAN, 1};
  for (int i = 0; i < 6; i++) loops_set(t, x, i, rows[i]);
  t->k->reduce->row_log_sum_exp(3, 2, x, 2, y);
  assert_true(loops_get(t, y, 0) == -INFINITY && loops_get(t, y, 1) == INFINITY &&
              isnan(loops_get(t, y, 2)));
  t->k->reduce->column_log_sum_exp(2, 2, x, 2, z);
  assert_true(loops_get(t, z, 0) == INFINITY && loops_get(t, z, 1) == 0);
  t->k->reduce->column_log_sum_exp(3, 2, x, 2, z);
  assert_true(isnan(loops_get(t, z, 0)));
  int64_t arg[2];
  t->k->reduce->column_extreme(true, 3, 2, x, 2, NULL, arg);
  assert_true(arg[0] == 2 && arg[1] == 2);
  loops_free(t, 6, x);
  loops_free(t, 3, y);
  loops_free(t, 2, z);
}

static void extreme_grads(const loops_table *t) {
  const int64_t rows = 4, cols = 3, arg[] = {2, 0, 1, 1};
  void *gy = loops_random(t, 4, 1, 2, 5), *gx = loops_random(t, 12, 1, 2, 6);
  t->k->reduce->row_extreme_grad(rows, cols, arg, gy, gx);
  for (int64_t i = 0; i < 12; i++)
    assert_true(loops_get(t, gx, i) ==
                (arg[i / cols] == i % cols ? loops_get(t, gy, i / cols) : 0));
  t->k->reduce->column_extreme_grad(rows, cols, arg, gy, gx);
  for (int64_t i = 0; i < 12; i++)
    assert_true(loops_get(t, gx, i) ==
                (arg[i % cols] == i / cols ? loops_get(t, gy, i % cols) : 0));
  loops_free(t, 4, gy);
  loops_free(t, 12, gx);
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
TEST(of_a_vector, vectors)
TEST(long_sums_stay_exact, long_sums)
TEST(of_rows_and_columns, matrices)
TEST(moments_far_from_zero, far_from_zero)
TEST(log_sum_exp_of_infinities, infinite)
TEST(gradients_go_to_the_extreme, extreme_grads)

/* p a - b in halves, which are exact; a NaN is not below anything. */
static void reaching(const loops_table *t) {
  for (int s = 0; s < loops_size_count; s++) {
    const int64_t n = loops_sizes[s];
    void *p = loops_zeros(t, n), *a = loops_zeros(t, n), *b = loops_zeros(t, n);
    for (int64_t i = 0; i < n; i++) {
      loops_set(t, p, i, floor(8 * loops_uniform(1, (uint64_t)i)) / 2);
      loops_set(t, a, i, floor(3 * loops_uniform(2, (uint64_t)i)));
      loops_set(t, b, i, i % 37 == 36 ? NAN : floor(8 * loops_uniform(3, (uint64_t)i)) / 2);
    }
    for (double least = -5; least < 9; least += 3.5)
      for (int64_t from = 0; from <= n; from += from < 70 ? 1 : 50) {
        int64_t want = from;
        while (want < n &&
               loops_get(t, p, want) * loops_get(t, a, want) - loops_get(t, b, want) < least)
          want++;
        assert_int_equal(t->k->reduce->first_reaching(n, p, a, b, least, from), want);
      }
    loops_free(t, n, p);
    loops_free(t, n, a);
    loops_free(t, n, b);
  }
}

static void the_first_that_reaches_a_bound(void **state) {
  (void)state;
  loops_each(reaching);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(of_a_vector),
      cmocka_unit_test(long_sums_stay_exact),
      cmocka_unit_test(of_rows_and_columns),
      cmocka_unit_test(moments_far_from_zero),
      cmocka_unit_test(log_sum_exp_of_infinities),
      cmocka_unit_test(gradients_go_to_the_extreme),
      cmocka_unit_test(the_first_that_reaches_a_bound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
