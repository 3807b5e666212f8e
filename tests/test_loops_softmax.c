/* Softmax and cross-entropies against double references; gradients against differences of those. */
#include "support/loops.h"

#include "tensor/kernel/softmax.h"

#include <math.h>
#include <stdlib.h>

typedef struct matrix {
  int64_t rows, cols, stride;
} matrix;
static const matrix shapes[] = {{0, 4, 4}, {3, 1, 1}, {3, 7, 9}, {2, 64, 64}, {2, 1000, 1001}};

static double lse_of(const loops_table *t, const void *x, int64_t begin, int64_t cols) {
  double top = -INFINITY, sum = 0;
  for (int64_t c = 0; c < cols; c++) top = fmax(top, loops_get(t, x, begin + c));
  for (int64_t c = 0; c < cols; c++) sum += exp(loops_get(t, x, begin + c) - top);
  return top + log(sum);
}

static void softmax(const loops_table *t) {
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const int64_t rows = shapes[s].rows, cols = shapes[s].cols, stride = shapes[s].stride;
    const int64_t n = rows * stride, m = rows * cols;
    void *x = loops_random(t, n, -8, 8, s), *gy = loops_random(t, m, -1, 1, s + 9);
    void *y = loops_zeros(t, m), *l = loops_zeros(t, m), *gx = loops_zeros(t, m),
         *gl = loops_zeros(t, m);
    t->k->softmax->softmax(rows, cols, x, stride, y, cols);
    t->k->softmax->log_softmax(rows, cols, x, stride, l, cols);
    t->k->softmax->softmax_grad(rows, cols, y, cols, gy, cols, gx, cols);
    t->k->softmax->log_softmax_grad(rows, cols, l, cols, gy, cols, gl, cols);
    for (int64_t r = 0; r < rows; r++) {
      const double lse = lse_of(t, x, r * stride, cols);
      double dot = 0, sum = 0;
      for (int64_t c = 0; c < cols; c++) {
        const double p = exp(loops_get(t, x, r * stride + c) - lse),
                     g = loops_get(t, gy, r * cols + c);
        dot += p * g, sum += g;
      }
      for (int64_t c = 0; c < cols; c++) {
        const int64_t i = r * cols + c;
        const double v = loops_get(t, x, r * stride + c), p = exp(v - lse), g = loops_get(t, gy, i);
        loops_check(t, "softmax", i, loops_get(t, y, i), p, 8, 0);
        loops_check(t, "log_softmax", i, loops_get(t, l, i), v - lse, 8, 0);
        loops_check(t, "softmax_grad", i, loops_get(t, gx, i), p * (g - dot), 8, 0);
        loops_check(t, "log_softmax_grad", i, loops_get(t, gl, i), g - p * sum, 16, fabs(sum));
      }
    }
    void *all[] = {y, l, gx, gl, gy};
    for (int i = 0; i < 5; i++) loops_free(t, m, all[i]);
    loops_free(t, n, x);
  }
}

static void masked(const loops_table *t) {
  void *x = loops_zeros(t, 9), *y = loops_zeros(t, 9);
  const double v[] = {-INFINITY, -INFINITY, -INFINITY, 0, -INFINITY, 0, 1000, -1000, 1000};
  for (int i = 0; i < 9; i++) loops_set(t, x, i, v[i]);
  t->k->softmax->softmax(3, 3, x, 3, y, 3);
  const double want[] = {0, 0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5};
  for (int i = 0; i < 9; i++) assert_true(loops_get(t, y, i) == want[i]);
  t->k->softmax->log_softmax(3, 3, x, 3, y, 3);
  for (int i = 0; i < 3; i++) assert_true(loops_get(t, y, i) == -INFINITY);
  assert_true(loops_get(t, y, 4) == -INFINITY);
  loops_check(t, "log_softmax", 3, loops_get(t, y, 3), -log(2), 2, 0);
  loops_set(t, x, 4, NAN);
  t->k->softmax->softmax(3, 3, x, 3, y, 3);
  for (int i = 3; i < 6; i++) assert_true(isnan(loops_get(t, y, i)));
  assert_true(loops_get(t, y, 6) == 0.5);
  loops_free(t, 9, x);
  loops_free(t, 9, y);
}

/* The loss of one row by its definition. */
static double hard_ref(const double *x, int64_t cols, int64_t label, double s, const double *w) {
  double sum = 0, value;
  for (int64_t c = 0; c < cols; c++) sum += exp(x[c]);
  const double lse = log(sum);
  value = (1 - s) * (w ? w[label] : 1) * (lse - x[label]);
  for (int64_t c = 0; c < cols; c++) value += s / (double)cols * (w ? w[c] : 1) * (lse - x[c]);
  return value;
}

static void hard(const loops_table *t) {
  enum { ROWS = 5, COLS = 37, STRIDE = 40 };
  const int64_t labels[ROWS] = {0, 36, -100, 7, 20};
  for (int variant = 0; variant < 8; variant++) {
    const double s = variant & 1 ? 0.1 : 0;
    void *x = loops_random(t, ROWS * STRIDE, -3, 3, 1), *w = loops_random(t, COLS, 0.5, 2, 2);
    void *g = loops_random(t, ROWS, 0.5, 1, 3), *loss = loops_zeros(t, ROWS),
         *weight = loops_zeros(t, ROWS);
    void *lse = loops_zeros(t, 2 * ROWS), *gx = loops_zeros(t, ROWS * COLS);
    const bool weighted = variant & 2, each = variant & 4;
    const mica_hard_labels h = {labels, -100, s, weighted ? w : NULL};
    double wd[COLS];
    for (int c = 0; c < COLS; c++) wd[c] = loops_get(t, w, c);
    assert_int_equal(t->k->softmax->cross_entropy(ROWS, COLS, x, STRIDE, &h, loss, weight, lse),
                     -1);
    t->k->softmax->cross_entropy_grad(ROWS, COLS, x, STRIDE, &h, lse, each ? g : NULL, 0.25, each,
                                      gx);
    for (int r = 0; r < ROWS; r++) {
      double row[COLS];
      for (int c = 0; c < COLS; c++) row[c] = loops_get(t, x, r * STRIDE + c);
      if (labels[r] == -100) {
        assert_true(loops_get(t, loss, r) == 0 && loops_get(t, weight, r) == 0);
        for (int c = 0; c < COLS; c++) assert_true(loops_get(t, gx, r * COLS + c) == 0);
        continue;
      }
      const double *ww = weighted ? wd : NULL;
      loops_check(t, "cross_entropy", r, loops_get(t, loss, r),
                  hard_ref(row, COLS, labels[r], s, ww), 16, 4);
      loops_check(t, "weight", r, loops_get(t, weight, r), weighted ? wd[labels[r]] : 1, 0, 0);
      for (int c = 0; c < COLS; c++) {
        const double at = row[c], step = 1e-5;
        row[c] = at + step;
        const double up = hard_ref(row, COLS, labels[r], s, ww);
        row[c] = at - step;
        const double want = (up - hard_ref(row, COLS, labels[r], s, ww)) / (2 * step);
        row[c] = at;
        const double scale = each ? loops_get(t, g, r) : 0.25;
        assert_true(fabs(loops_get(t, gx, r * COLS + c) - want * scale) <= 1e-9 + 16 * t->eps);
      }
    }
    const int64_t bad[] = {3, 37, -1};
    const mica_hard_labels hb = {bad, -100, 0, NULL};
    assert_int_equal(t->k->softmax->cross_entropy(3, COLS, x, STRIDE, &hb, loss, weight, lse), 1);
    loops_free(t, ROWS * STRIDE, x), loops_free(t, COLS, w), loops_free(t, ROWS, g);
    loops_free(t, ROWS, loss), loops_free(t, ROWS, weight), loops_free(t, 2 * ROWS, lse);
    loops_free(t, ROWS * COLS, gx);
  }
}

static void soft(const loops_table *t) {
  enum { ROWS = 3, COLS = 300 };
  void *x = loops_random(t, ROWS * COLS, -3, 3, 1), *p = loops_random(t, ROWS * COLS, 0, 0.02, 2);
  void *loss = loops_zeros(t, ROWS), *lse = loops_zeros(t, ROWS),
       *g = loops_random(t, ROWS, 1, 2, 3);
  void *gx = loops_zeros(t, ROWS * COLS), *gt = loops_zeros(t, ROWS * COLS);
  loops_set(t, x, COLS + 5, -INFINITY); /* a masked class with no share of the target */
  loops_set(t, p, COLS + 5, 0);
  t->k->softmax->soft_cross_entropy(ROWS, COLS, x, COLS, p, COLS, loss, lse);
  t->k->softmax->soft_cross_entropy_grad(ROWS, COLS, x, COLS, p, COLS, lse, g, 0, gx, gt);
  for (int r = 0; r < ROWS; r++) {
    const double l = lse_of(t, x, r * COLS, COLS);
    double want = 0, mass = 0;
    for (int c = 0; c < COLS; c++) {
      const double q = loops_get(t, p, r * COLS + c);
      want += q == 0 ? 0 : q * (l - loops_get(t, x, r * COLS + c)), mass += q;
    }
    loops_check(t, "soft_cross_entropy", r, loops_get(t, loss, r), want, 16, 0);
    for (int c = 0; c < COLS; c++) {
      const int i = r * COLS + c;
      const double v = loops_get(t, x, i), q = loops_get(t, p, i), gr = loops_get(t, g, r);
      loops_check(t, "gx", i, loops_get(t, gx, i), gr * (exp(v - l) * mass - q), 8, 0);
      loops_check(t, "gt", i, loops_get(t, gt, i), gr * (l - v), 8, 0);
    }
  }
  loops_free(t, ROWS * COLS, x), loops_free(t, ROWS * COLS, p), loops_free(t, ROWS, loss);
  loops_free(t, ROWS, lse), loops_free(t, ROWS, g), loops_free(t, ROWS * COLS, gx);
  loops_free(t, ROWS * COLS, gt);
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
TEST(softmax_and_its_logarithm, softmax)
TEST(masked_rows, masked)
TEST(hard_labels, hard)
TEST(soft_targets, soft)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(softmax_and_its_logarithm),
      cmocka_unit_test(masked_rows),
      cmocka_unit_test(hard_labels),
      cmocka_unit_test(soft_targets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
