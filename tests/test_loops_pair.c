/* Products of the vectors of one example with each other: sums and dot products of all pairs, and
 * their gradients, against the plain double sums; a vector that is not finite spoils only what it
 * is multiplied into.
 */
#include "support/loops.h"

#include "tensor/kernel/pair.h"

#include <math.h>

enum { EXAMPLES = 3 };

static int64_t pair_of(int64_t i, int64_t j) {
  return i > j ? i * (i - 1) / 2 + j : j * (j - 1) / 2 + i;
}

static double dot(const loops_table *t, const void *x, int64_t cols, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t c = 0; c < cols; c++)
    sum += loops_get(t, x, i * cols + c) * loops_get(t, x, j * cols + c);
  return sum;
}

static void check_dots(const loops_table *t, int64_t m, int64_t cols, void *x) {
  const int64_t pairs = m * (m - 1) / 2, each = t->k->pair->dots_scratch(m, cols);
  void *y = loops_zeros(t, EXAMPLES * pairs), *scratch = loops_random(t, each, -1, 1, 3);
  t->k->pair->dots(EXAMPLES, m, cols, x, y, scratch);
  for (int64_t e = 0; e < EXAMPLES; e++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < i; j++)
        loops_check(t, "dots", e * pairs + pair_of(i, j),
                    loops_get(t, y, e * pairs + pair_of(i, j)),
                    dot(t, loops_at(t, x, e * m * cols), cols, i, j), 4, (double)cols);
  loops_free(t, EXAMPLES * pairs, y);
  loops_free(t, each, scratch);
}

static void check_dots_back(const loops_table *t, int64_t m, int64_t cols, void *x) {
  const int64_t pairs = m * (m - 1) / 2, each = t->k->pair->dots_scratch(m, cols);
  void *gy = loops_random(t, EXAMPLES * pairs, -1, 1, 2),
       *scratch = loops_random(t, each, -1, 1, 3);
  void *g = loops_zeros(t, EXAMPLES * m * cols);
  t->k->pair->dots_back(EXAMPLES, m, cols, x, gy, g, scratch);
  for (int64_t e = 0; e < EXAMPLES; e++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t c = 0; c < cols; c++) {
        double want = 0;
        for (int64_t j = 0; j < m; j++)
          if (j != i)
            want += loops_get(t, gy, e * pairs + pair_of(i, j)) *
                    loops_get(t, x, (e * m + j) * cols + c);
        const int64_t at = (e * m + i) * cols + c;
        loops_check(t, "gradient of dots", at, loops_get(t, g, at), want, 4, (double)m);
      }
  loops_free(t, EXAMPLES * pairs, gy);
  loops_free(t, each, scratch);
  loops_free(t, EXAMPLES * m * cols, g);
}

static void check_sum(const loops_table *t, int64_t m, int64_t cols, void *x) {
  void *y = loops_zeros(t, EXAMPLES * cols), *g = loops_zeros(t, EXAMPLES * m * cols);
  void *gy = loops_random(t, EXAMPLES * cols, -1, 1, 2);
  t->k->pair->sum(EXAMPLES, m, cols, x, y);
  t->k->pair->sum_back(EXAMPLES, m, cols, x, gy, g);
  for (int64_t e = 0; e < EXAMPLES; e++)
    for (int64_t c = 0; c < cols; c++) {
      double want = 0;
      for (int64_t i = 0; i < m; i++) {
        double others = 0;
        for (int64_t j = 0; j < m; j++) {
          const double v = loops_get(t, x, (e * m + j) * cols + c);
          if (j != i) others += v;
          if (j < i) want += v * loops_get(t, x, (e * m + i) * cols + c);
        }
        const int64_t at = (e * m + i) * cols + c;
        loops_check(t, "gradient of the sum", at, loops_get(t, g, at),
                    others * loops_get(t, gy, e * cols + c), 4, (double)m);
      }
      loops_check(t, "sum", e * cols + c, loops_get(t, y, e * cols + c), want, 4, (double)(m * m));
    }
  loops_free(t, EXAMPLES * cols, y);
  loops_free(t, EXAMPLES * cols, gy);
  loops_free(t, EXAMPLES * m * cols, g);
}

static const int64_t vectors[] = {1, 2, 3, 5, 6, 7, 13, 16, 17, 27, 40};
static const int64_t columns[] = {1, 3, 4, 8, 10, 15, 16, 17, 33, 64, 70};

#define EACH(a) for (size_t a##_ = 0; a##_ < sizeof a / sizeof *a; a##_++)

static void check_sizes(const loops_table *t) {
  EACH(vectors) EACH(columns) {
    const int64_t m = vectors[vectors_], cols = columns[columns_];
    void *x = loops_random(t, EXAMPLES * m * cols, -1, 1, 1);
    check_dots(t, m, cols, x);
    check_dots_back(t, m, cols, x);
    check_sum(t, m, cols, x);
    loops_free(t, EXAMPLES * m * cols, x);
  }
}

static void check_not_finite(const loops_table *t) {
  EACH(vectors) EACH(columns) {
    const int64_t m = vectors[vectors_], cols = columns[columns_];
    void *x = loops_random(t, EXAMPLES * m * cols, -1, 1, 1);
    loops_set(t, x, (m + m / 2) * cols + cols / 2, INFINITY);
    loops_set(t, x, (2 * m + m - 1) * cols, NAN);
    check_dots(t, m, cols, x);
    check_dots_back(t, m, cols, x);
    loops_free(t, EXAMPLES * m * cols, x);
  }
}

static void test_sizes(void **state) {
  (void)state;
  loops_each(check_sizes);
}

static void test_not_finite(void **state) {
  (void)state;
  loops_each(check_not_finite);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes),
                                     cmocka_unit_test(test_not_finite)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
