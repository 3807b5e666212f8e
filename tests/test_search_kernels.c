/* The loops of neighbour search against sums written down plainly. */
#include "support/test.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/search.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

enum { most = 200 };

static mica_engine *engine;
static const mica_search_kernels *kernels;
static float x[most * 8], y[most * 8];
static double wide[most];

static void draw(uint64_t seed) {
  for (int i = 0; i < most * 8; i++) {
    x[i] = (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i);
    y[i] = (float)mica_random_normal(mica_key_seed(seed + 1), (uint64_t)i);
  }
  for (int i = 0; i < most; i++) wide[i] = (double)x[i] * 1.000000001;
}

static void test_products_and_distances(void **state) {
  (void)state;
  draw(1);
  for (int64_t d = 1; d <= most; d++)
    for (int shift = 0; shift < 3; shift++) {
      const float *a = x + shift, *b = y + 2 * shift;
      double dot = 0, square = 0, size = 0, wide_dot = 0, wide_square = 0;
      for (int64_t j = 0; j < d; j++) {
        const double p = a[j], q = b[j];
        dot += p * q;
        square += (p - q) * (p - q);
        size += fabs(p * q);
        wide_dot += wide[j] * q;
        wide_square += (wide[j] - q) * (wide[j] - q);
      }
      assert_true(fabs((double)kernels->near_dot(d, a, b) - dot) < 1e-6 * (size + 1));
      assert_true(fabs((double)kernels->near_squares(d, a, b) - square) < 1e-6 * (square + 1));
      assert_true(fabs(kernels->dot(d, wide, b) - wide_dot) < 1e-13 * (size + 1));
      assert_true(fabs(kernels->squares(d, wide, b) - wide_square) < 1e-13 * (wide_square + 1));
    }
  /* What is not finite stays so, wherever it is. */
  for (int at = 0; at < 70; at++) {
    draw(1);
    y[at] = NAN;
    assert_true(isnan(kernels->near_dot(70, x, y)) && isnan(kernels->near_squares(70, x, y)));
    y[at] = INFINITY;
    assert_true(isinf(kernels->near_squares(70, x, y)));
  }
}

static void test_sums_of_entries(void **state) {
  (void)state;
  enum { rows = 101 };
  static uint8_t code[rows * 9], packed[4 * 16 * 9];
  static float table[9 * 256], score[128];
  for (int64_t words = 16; words <= 256; words *= 4)
    for (int64_t parts = 1; parts <= 9; parts++)
      for (int64_t n = 1; n <= rows; n += 7) {
        memset(packed, 0, sizeof packed);
        for (int64_t i = 0; i < parts * words; i++)
          table[i] = (float)mica_random_normal(mica_key_seed(3), (uint64_t)i);
        for (int64_t i = 0; i < n * parts; i++)
          code[i] = (uint8_t)mica_random_below(mica_key_seed(4), (uint64_t)i, (uint64_t)words);
        for (int64_t i = 0; i < n && words == 16; i++)
          for (int64_t p = 0; p < parts; p++) {
            uint8_t *at = packed + (i / 32 * parts + p) * 16 + i % 16;
            *at = (uint8_t)(*at | code[i * parts + p] << (i % 32 < 16 ? 0 : 4));
          }
        for (int form = 0; form < (words == 16 ? 2 : 1); form++) {
          if (form)
            kernels->sum_16(n, parts, packed, table, score);
          else
            kernels->sum(n, parts, words, code, table, score);
          for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t p = 0; p < parts; p++)
              sum += (double)table[p * words + code[i * parts + p]];
            assert_true(fabs((double)score[i] - sum) < 1e-5);
          }
        }
      }
}

static void test_entries(void **state) {
  (void)state;
  draw(5);
  float entry[40];
  for (int64_t columns = 1; columns <= 7; columns++)
    for (int64_t words = 2; words <= 40; words += 3) {
      kernels->entries(columns, words, x, y, entry);
      for (int64_t w = 0; w < words; w++) {
        double sum = 0;
        for (int64_t j = 0; j < columns; j++) sum += (double)x[j] * (double)y[j * words + w];
        assert_true(fabs((double)entry[w] - sum) < 1e-5);
      }
    }
}

static int set_up(void **state) {
  (void)state;
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  kernels = mica_kernels_of(engine, MICA_F32)->search;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_products_and_distances),
      cmocka_unit_test(test_sums_of_entries),
      cmocka_unit_test(test_entries),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
