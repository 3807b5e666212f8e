/* Rows and elements by number, order, copies, and dropout. */
#include "support/loops.h"

#include "tensor/kernel/copy.h"
#include "tensor/kernel/dropout.h"
#include "tensor/kernel/gather.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void gather(const loops_table *t) {
  enum { ROWS = 6, COLS = 37, STRIDE = 40, N = 5 };
  const int64_t ids[N] = {3, 0, 3, 5, 3};
  void *x = loops_random(t, ROWS * STRIDE, -1, 1, 1), *y = loops_zeros(t, N * COLS);
  void *z = loops_random(t, ROWS * STRIDE, -1, 1, 2), *old = loops_copy(t, ROWS * STRIDE, z);
  assert_int_equal(t->k->gather->first_bad(N, ids, 6), -1);
  assert_int_equal(t->k->gather->first_bad(N, ids, 5), 3);
  assert_int_equal(t->k->gather->first_bad(1, (const int64_t[]){-1}, 5), 0);
  assert_int_equal(t->k->gather->first_bad(0, ids, 0), -1);
  t->k->gather->rows(N, COLS, ids, x, STRIDE, y, COLS);
  t->k->gather->scatter_add_rows(N, COLS, ids, 0.5, y, COLS, z, STRIDE);
  for (int64_t i = 0; i < N * COLS; i++)
    assert_true(loops_get(t, y, i) == loops_get(t, x, ids[i / COLS] * STRIDE + i % COLS));
  for (int64_t i = 0; i < ROWS * STRIDE; i++) {
    const int64_t r = i / STRIDE;
    const double times = i % STRIDE >= COLS ? 0 : (r == 3 ? 3 : (r == 0 || r == 5 ? 1 : 0));
    loops_check(t, "scatter_add_rows", i, loops_get(t, z, i),
                loops_get(t, old, i) + 0.5 * times * loops_get(t, x, i), 4, 0);
  }
  const int64_t places[] = {2, 2, 36, 0, 1, 36}; /* two rows of three */
  void *e = loops_zeros(t, 6), *acc = loops_zeros(t, 2 * COLS);
  t->k->gather->elements(2, 3, places, x, STRIDE, e);
  t->k->gather->scatter_add_elements(2, 3, places, e, acc, COLS);
  for (int i = 0; i < 6; i++)
    assert_true(loops_get(t, e, i) == loops_get(t, x, i / 3 * STRIDE + places[i]));
  loops_check(t, "scatter_add_elements", 2, loops_get(t, acc, 2), 2 * loops_get(t, x, 2), 1, 0);
  assert_true(loops_get(t, acc, COLS + 36) == loops_get(t, x, STRIDE + 36) &&
              loops_get(t, acc, 1) == 0);
  loops_free(t, ROWS * STRIDE, x), loops_free(t, N * COLS, y), loops_free(t, ROWS * STRIDE, z);
  loops_free(t, ROWS * STRIDE, old), loops_free(t, 6, e), loops_free(t, 2 * COLS, acc);
}

/* Does element a come before b: by value, NaN largest, then by index. */
static bool before(const loops_table *t, const void *x, int64_t a, int64_t b, bool descending) {
  const double u = loops_get(t, x, a), v = loops_get(t, x, b);
  const bool smaller = u < v || (isnan(v) && !isnan(u)), larger = v < u || (isnan(u) && !isnan(v));
  if (smaller || larger) return descending ? larger : smaller;
  return a < b;
}

static void order(const loops_table *t) {
  for (int s = 0; s < loops_size_count; s++)
    for (int kind = 0; kind < 2; kind++) {
      const int64_t n = loops_sizes[s], rows = 2, stride = n + 3;
      void *x = loops_random(t, rows * stride, -5, 5, (uint64_t)s), *y = loops_zeros(t, rows * n);
      for (int64_t i = 0; kind == 1 && i < rows * stride; i++) /* ties, NaN and infinities */
        loops_set(t, x, i,
                  i % 11 == 4 ? NAN : (i % 13 == 2 ? -INFINITY : floor(loops_get(t, x, i))));
      int64_t *ids = calloc((size_t)(rows * n) + 1, 8), *scratch = calloc((size_t)n + 1, 8);
      for (int descending = 0; descending < 2; descending++) {
        t->k->gather->sort(rows, n, descending, x, stride, y, ids, scratch);
        for (int64_t r = 0; r < rows; r++) {
          bool *seen = calloc((size_t)n + 1, sizeof *seen);
          for (int64_t j = 0; j < n; j++) {
            const int64_t id = ids[r * n + j];
            assert_true(id >= 0 && id < n && !seen[id]);
            seen[id] = true;
            const double v = loops_get(t, x, r * stride + id), got = loops_get(t, y, r * n + j);
            assert_true(got == v || (isnan(got) && isnan(v)));
            if (j > 0)
              assert_true(
                  before(t, loops_at(t, x, r * stride), ids[r * n + j - 1], id, descending));
          }
          free(seen);
        }
      }
      /* ids now hold the descending order: each top k is its beginning. */
      const int64_t ks[] = {0, 1, 2, 10, n};
      for (int j = 0; j < 5; j++) {
        const int64_t k = ks[j] < n ? ks[j] : n;
        int64_t *top = calloc((size_t)(rows * k) + 1, 8);
        t->k->gather->top_k(rows, n, k, x, stride, y, top, scratch);
        for (int64_t i = 0; i < rows * k; i++) {
          assert_int_equal(top[i], ids[i / k * n + i % k]);
          const double v = loops_get(t, x, i / k * stride + top[i]), got = loops_get(t, y, i);
          assert_true(got == v || (isnan(got) && isnan(v)));
        }
        t->k->gather->top_k(rows, n, k, x, stride, NULL, top, scratch);
        free(top);
      }
      loops_free(t, rows * stride, x), loops_free(t, rows * n, y);
      free(ids), free(scratch);
    }
}

static void copies(const loops_table *t) {
  const mica_copy_kernels *k = t->k->copy;
  static const int64_t shapes[][2] = {{0, 3}, {1, 1}, {3, 0}, {7, 5}, {5, 64}, {33, 40}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const int64_t rows = shapes[s][0], cols = shapes[s][1], stride = cols + 2, n = rows * cols;
    void *x = loops_random(t, rows * stride, -1, 1, 1), *v = loops_random(t, rows, -1, 1, 2);
    void *b = loops_random(t, cols, -1, 1, 3), *y[8];
    for (int i = 0; i < 8; i++) y[i] = loops_random(t, n, 1, 2, 4);
    void *old = loops_copy(t, n, y[1]);
    k->rows(rows, cols, x, stride, y[0], cols);
    k->add_rows(rows, cols, x, stride, y[1], cols);
    k->add_bias(rows, cols, x, stride, b, y[2], cols);
    k->scale_rows(rows, cols, x, stride, v, y[3], cols);
    k->repeat_row(rows, cols, 2, b, y[4], cols);
    k->repeat_element(rows, cols, 2, v, y[5], cols);
    k->reverse_rows(rows, cols, x, stride, y[6], cols);
    k->transpose(rows, cols, x, stride, y[7], rows);
    for (int64_t i = 0; i < n; i++) {
      const int64_t r = i / cols, c = i % cols;
      const double u = loops_get(t, x, r * stride + c);
      assert_true(loops_get(t, y[0], i) == u);
      loops_check(t, "add_rows", i, loops_get(t, y[1], i), loops_get(t, old, i) + u, 1, 0);
      loops_check(t, "add_bias", i, loops_get(t, y[2], i), u + loops_get(t, b, c), 1, 0);
      loops_check(t, "scale_rows", i, loops_get(t, y[3], i), u * loops_get(t, v, r), 1, 0);
      assert_true(loops_get(t, y[4], i) == 2 * loops_get(t, b, c));
      assert_true(loops_get(t, y[5], i) == 2 * loops_get(t, v, r));
      assert_true(loops_get(t, y[6], i) == loops_get(t, x, r * stride + cols - 1 - c));
      assert_true(loops_get(t, y[7], c * rows + r) == u);
    }
    for (int i = 0; i < 8; i++) loops_free(t, n, y[i]);
    loops_free(t, n, old), loops_free(t, rows * stride, x), loops_free(t, rows, v),
        loops_free(t, cols, b);
  }
}

/* Permutations, expansions and slices of a 3 x 4 x 5 x 6 block, in ranges that begin and end
 * anywhere. */
static void strided(const loops_table *t) {
  static const struct {
    int rank;
    int64_t dim[5], step[5], offset;
  } cases[] = {
      {4, {3, 4, 5, 6}, {120, 30, 6, 1}, 0},
      {4, {6, 5, 4, 3}, {1, 6, 30, 120}, 0},
      {4, {3, 6, 4, 5}, {120, 1, 30, 6}, 0},
      {4, {4, 3, 5, 6}, {30, 120, 6, 1}, 0},
      {3, {12, 6, 5}, {30, 1, 6}, 0},
      {2, {20, 18}, {1, 20}, 0},
      {4, {3, 1, 5, 6}, {120, 0, 6, 1}, 30},
      {4, {3, 7, 5, 6}, {120, 0, 6, 1}, 0},
      {2, {4, 6}, {0, 1}, 10},
      {2, {6, 4}, {1, 0}, 10},
      {3, {2, 3, 2}, {240, 12, 3}, 1},
      {1, {6}, {-1}, 5},
      {5, {3, 2, 2, 5, 6}, {120, 60, 30, 6, 1}, 0},
      {0, {0}, {0}, 3},
      {2, {37, 8}, {1, 40}, 0},
  };
  const int64_t total = 360;
  void *x = loops_random(t, total, -1, 1, 1);
  for (size_t s = 0; s < sizeof cases / sizeof *cases; s++) {
    int64_t n = 1;
    for (int d = 0; d < cases[s].rank; d++) n *= cases[s].dim[d];
    for (int64_t parts = 1; parts <= 5; parts += 2) {
      void *y = loops_zeros(t, n);
      for (int64_t p = 0; p < parts; p++)
        t->k->copy->strided(cases[s].rank, cases[s].dim, cases[s].step, n * p / parts,
                            n * (p + 1) / parts, loops_at(t, x, cases[s].offset), y);
      for (int64_t i = 0; i < n; i++) {
        int64_t from = cases[s].offset, rest = i;
        for (int d = cases[s].rank - 1; d >= 0; d--) {
          from += rest % cases[s].dim[d] * cases[s].step[d];
          rest /= cases[s].dim[d];
        }
        if (loops_get(t, y, i) != loops_get(t, x, from))
          fail_msg("case %zu, %lld parts, element %lld", s, (long long)parts, (long long)i);
      }
      loops_free(t, n, y);
    }
  }
  loops_free(t, total, x);
}

/* Philox 4x32-10 written as its paper has it: word i mod 4 of counter i / 4. */
static uint32_t philox(uint64_t key, uint64_t index) {
  uint32_t c[4] = {(uint32_t)(index / 4), (uint32_t)(index / 4 >> 32), 0x64726f70u, 0};
  uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
  for (int round = 0; round < 10; round++) {
    const uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;
    const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
                              (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
    memcpy(c, next, sizeof c);
    k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u;
  }
  return c[index % 4];
}

static void dropout(const loops_table *t) {
  const uint64_t key = 0x0123456789abcdefu;
  const int64_t n = 1000, begins[] = {0, 3, 1021, (int64_t)1 << 34};
  const double ps[] = {0, 0.1, 0.5, 1};
  for (int b = 0; b < 4; b++)
    for (int j = 0; j < 4; j++) {
      void *x = loops_random(t, n, 1, 2, 1), *y = loops_zeros(t, n), *z = loops_copy(t, n, x);
      uint8_t mask[1000];
      int64_t dropped = 0;
      t->k->dropout->dropout(key, begins[b], n, ps[j], x, y);
      t->k->dropout->mask(key, begins[b], n, ps[j], mask);
      for (int64_t i = 0; i < n;) { /* uneven pieces, in place */
        const int64_t piece = i % 3 == 0 ? 7 : 259, count = piece < n - i ? piece : n - i;
        t->k->dropout->dropout(key, begins[b] + i, count, ps[j], loops_at(t, z, i),
                               loops_at(t, z, i));
        i += count;
      }
      for (int64_t i = 0; i < n; i++) {
        const bool drop =
            philox(key, (uint64_t)(begins[b] + i)) < (uint64_t)(ps[j] * 4294967296.0 + 0.5);
        dropped += drop;
        assert_int_equal(mask[i], !drop);
        loops_check(t, "dropout", i, loops_get(t, y, i),
                    drop ? 0 : loops_get(t, x, i) / (1 - ps[j]), 2, 0);
        assert_true(loops_get(t, z, i) == loops_get(t, y, i));
      }
      assert_true(fabs((double)dropped - ps[j] * (double)n) <=
                  4 * sqrt(ps[j] * (1 - ps[j]) * (double)n));
      loops_free(t, n, x), loops_free(t, n, y), loops_free(t, n, z);
    }
  t->k->dropout->dropout(key, 0, 0, 0.5, NULL, NULL);
}

#define TEST(name, check)                                                                          \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    loops_each(check);                                                                             \
  }
TEST(rows_and_elements_by_number, gather)
TEST(sorting_and_selection, order)
TEST(copies_and_repeats, copies)
TEST(strided_copies, strided)
TEST(dropout_is_philox, dropout)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_and_elements_by_number), cmocka_unit_test(sorting_and_selection),
      cmocka_unit_test(copies_and_repeats),          cmocka_unit_test(strided_copies),
      cmocka_unit_test(dropout_is_philox),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
