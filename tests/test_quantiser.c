/* Product quantisation: codes, what they stand for, the rotation, and what is refused. */
#include "support/failing_alloc.h"
#include "support/near.h"

#include <mica/mica.h>

#include <string.h>

enum { n = 1500, d = 20 };

static mica_engine *engine;
static float *rows;
static mica_view view;

/* Columns of unequal variance that hang together, so that a rotation has something to gain. */
static void make_rows(void) {
  const mica_key key = mica_key_seed(5);
  rows = mica_malloc(n * d * sizeof *rows);
  assert_non_null(rows);
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < d; c++) {
      double sum = 0.1 * mica_random_normal(key, (uint64_t)(i * d + c));
      for (int j = 0; j < 4; j++)
        sum += mica_random_normal(mica_key_fold(key, 1), (uint64_t)(i * 4 + j)) * (4 - j) *
               mica_random_normal(mica_key_fold(key, 2), (uint64_t)(j * d + c));
      rows[i * d + c] = (float)sum;
    }
  view = mica_view_of(rows, MICA_F32, MICA_SHAPE(n, d));
}

static mica_quantiser *fitted(const mica_engine *e, int64_t parts, int64_t words,
                              int64_t rotations) {
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_quantiser *q = NULL;
  o.parts = parts;
  o.words = words;
  o.rotations = rotations;
  if (mica_quantiser_fit(e, &view, &o, &q) != MICA_OK) fail_msg("%s", mica_last_error());
  return q;
}

/* y = R x, or R^T x. */
static void turn(const mica_quantiser *q, bool back, const float *x, double *y) {
  const float *r = mica_quantiser_rotation(q);
  for (int i = 0; i < d; i++) {
    y[i] = r ? 0 : (double)x[i];
    for (int j = 0; r && j < d; j++)
      y[i] += (double)(back ? r[j * d + i] : r[i * d + j]) * (double)x[j];
  }
}

static double squared_error(const mica_quantiser *q) {
  const int64_t parts = mica_quantiser_parts(q);
  uint8_t *code = mica_malloc((size_t)(n * parts));
  float *back = mica_malloc(n * d * sizeof *back);
  assert_true(code && back);
  assert_int_equal(mica_quantiser_encode(q, &view, code), MICA_OK);
  assert_int_equal(mica_quantiser_decode(q, code, n, back), MICA_OK);
  double sum = 0;
  for (int64_t i = 0; i < n * d; i++) {
    const double e = (double)back[i] - (double)rows[i];
    sum += e * e;
  }
  mica_free(code);
  mica_free(back);
  return sum;
}

/* ---- codes ---- */

static void test_codes_are_the_nearest_words(void **state) {
  (void)state;
  static const int64_t parts[] = {1, 3, 7, 20}, words[] = {256, 16, 2, 9};
  for (int s = 0; s < 8; s++) {
    mica_quantiser *q = fitted(engine, parts[s % 4], words[s % 4], s < 4 ? 0 : 3);
    const int64_t p_ = parts[s % 4], k = words[s % 4];
    assert_int_equal(mica_quantiser_width(q), d);
    assert_int_equal(mica_quantiser_column(q, p_), d);
    assert_true((mica_quantiser_rotation(q) != NULL) == (s >= 4));
    uint8_t *code = mica_malloc((size_t)(n * p_));
    assert_int_equal(mica_quantiser_encode(q, &view, code), MICA_OK);
    for (int64_t i = 0; i < n; i += 11) {
      double x[d];
      turn(q, false, rows + i * d, x);
      for (int64_t p = 0; p < p_; p++) {
        const int64_t from = mica_quantiser_column(q, p), to = mica_quantiser_column(q, p + 1);
        const float *word = mica_quantiser_codewords(q) + k * from;
        double least = INFINITY, got = 0, scale = 0;
        for (int64_t w = 0; w < k; w++) {
          double sum = 0;
          for (int64_t j = from; j < to; j++) {
            const double e = x[j] - (double)word[w * (to - from) + j - from];
            sum += e * e;
          }
          if (sum < least) least = sum;
          if (w == code[i * p_ + p]) got = sum;
        }
        for (int64_t j = from; j < to; j++) scale += x[j] * x[j];
        assert_true(code[i * p_ + p] < k);
        assert_true(got <= least + 1e-5 * (scale + 1)); /* float32 may not tell equals apart */
      }
    }
    mica_free(code);
    mica_quantiser_free(q);
  }
}

static void test_tables_add_up_to_inner_products(void **state) {
  (void)state;
  for (int rotated = 0; rotated < 2; rotated++) {
    mica_quantiser *q = fitted(engine, 6, 31, rotated * 2);
    float *table = mica_malloc(100 * 6 * 31 * sizeof *table), back[100 * d];
    uint8_t code[100 * 6];
    const mica_view some = mica_view_of(rows, MICA_F32, MICA_SHAPE(100, d));
    assert_int_equal(mica_quantiser_encode(q, &some, code), MICA_OK);
    assert_int_equal(mica_quantiser_decode(q, code, 100, back), MICA_OK);
    assert_int_equal(mica_quantiser_table(q, rows, 100, table), MICA_OK);
    for (int i = 0; i < 100; i++) {
      double dot = 0, sum = 0;
      for (int j = 0; j < d; j++) dot += (double)rows[i * d + j] * (double)back[(99 - i) * d + j];
      for (int p = 0; p < 6; p++) sum += (double)table[(i * 6 + p) * 31 + code[(99 - i) * 6 + p]];
      assert_near(sum, dot, 1e-4 * (fabs(dot) + 10));
    }
    mica_free(table);
    mica_quantiser_free(q);
  }
}

/* ---- the rotation ---- */

static void test_rotation_is_orthogonal_and_pays(void **state) {
  (void)state;
  mica_quantiser *plain = fitted(engine, 4, 16, 0), *turned = fitted(engine, 4, 16, 12);
  const float *r = mica_quantiser_rotation(turned);
  for (int i = 0; i < d; i++)
    for (int j = 0; j < d; j++) {
      double dot = 0;
      for (int c = 0; c < d; c++) dot += (double)r[i * d + c] * (double)r[j * d + c];
      assert_near(dot, i == j ? 1 : 0, 1e-5);
    }
  const double a = squared_error(plain), b = squared_error(turned);
  if (!(b < 0.7 * a)) fail_msg("error %g without a rotation, %g with one", a, b);
  mica_quantiser_free(plain);
  mica_quantiser_free(turned);
}

/* Rows that span two directions only: the rotation must stay orthogonal. */
static void test_rows_of_low_rank(void **state) {
  (void)state;
  float x[64 * 6];
  for (int i = 0; i < 64; i++)
    for (int j = 0; j < 6; j++) x[i * 6 + j] = (float)((j + 1) * (i % 8) - (j % 2) * (i / 8));
  const mica_view low = mica_view_of(x, MICA_F32, MICA_SHAPE(64, 6));
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_quantiser *q;
  uint8_t code[64 * 2];
  float back[64 * 6];
  o.parts = 2, o.words = 8, o.rotations = 10;
  assert_int_equal(mica_quantiser_fit(engine, &low, &o, &q), MICA_OK);
  assert_int_equal(mica_quantiser_encode(q, &low, code), MICA_OK);
  assert_int_equal(mica_quantiser_decode(q, code, 64, back), MICA_OK);
  double error = 0, size = 0;
  for (int i = 0; i < 64 * 6; i++) {
    error += fabs((double)back[i] - (double)x[i]);
    size += fabs((double)x[i]);
  }
  assert_true(error < 0.2 * size);
  mica_quantiser_free(q);
}

/* ---- the same bits ---- */

static void test_bits_do_not_depend_on_threads(void **state) {
  (void)state;
  float words[2][16 * d], rotation[2][d * d];
  uint8_t code[2][n * 5];
  for (int t = 0; t < 2; t++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    mica_engine *own;
    o.threads = t ? 3 : 1;
    assert_int_equal(mica_engine_create(&o, &own), MICA_OK);
    mica_quantiser *q = fitted(own, 5, 16, 3);
    assert_int_equal(mica_quantiser_encode(q, &view, code[t]), MICA_OK);
    memcpy(words[t], mica_quantiser_codewords(q), sizeof words[t]);
    memcpy(rotation[t], mica_quantiser_rotation(q), sizeof rotation[t]);
    mica_quantiser_free(q);
    mica_engine_free(own);
  }
  assert_memory_equal(words[0], words[1], sizeof words[0]);
  assert_memory_equal(rotation[0], rotation[1], sizeof rotation[0]);
  assert_memory_equal(code[0], code[1], sizeof code[0]);
}

/* ---- records, and what is refused ---- */

static void test_records(void **state) {
  (void)state;
  for (int rotated = 0; rotated < 2; rotated++) {
    mica_quantiser *q = fitted(engine, 5, 10, rotated), *again;
    mica_record *record;
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_quantiser_save(q, "pq", record), MICA_OK);
    assert_int_equal(mica_quantiser_load(engine, record, "pq", d, 5, 10, &again), MICA_OK);
    assert_memory_equal(mica_quantiser_codewords(q), mica_quantiser_codewords(again),
                        10 * d * sizeof(float));
    mica_quantiser_free(again);
    assert_int_equal(mica_quantiser_load(engine, record, "pq", d, 5, 11, &again), MICA_ERR_FORMAT);
    assert_int_equal(mica_quantiser_load(engine, record, "qp", d, 5, 10, &again), MICA_ERR_FORMAT);
    assert_int_equal(mica_quantiser_load(engine, record, "pq", d, 5, 1000, &again),
                     MICA_ERR_FORMAT);
    assert_null(again);
    mica_record_free(record);
    mica_quantiser_free(q);
  }
}

static void test_what_is_refused(void **state) {
  (void)state;
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_quantiser *q;
  o.parts = d + 1;
  assert_int_equal(mica_quantiser_fit(engine, &view, &o, &q), MICA_ERR_INVALID);
  o.parts = 4, o.words = 257;
  assert_int_equal(mica_quantiser_fit(engine, &view, &o, &q), MICA_ERR_INVALID);
  o.words = 16, o.iterations = 0;
  assert_int_equal(mica_quantiser_fit(engine, &view, &o, &q), MICA_ERR_INVALID);
  o.iterations = 2;
  const mica_view few = mica_view_of(rows, MICA_F32, MICA_SHAPE(15, d));
  assert_int_equal(mica_quantiser_fit(engine, &few, &o, &q), MICA_ERR_INVALID);
  float bad[16 * 2] = {0};
  bad[7] = NAN;
  const mica_view broken = mica_view_of(bad, MICA_F32, MICA_SHAPE(16, 2));
  o.parts = 1;
  assert_int_equal(mica_quantiser_fit(engine, &broken, &o, &q), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "row 3"));
  assert_null(q);
  q = fitted(engine, 4, 5, 0);
  const uint8_t beyond[4] = {0, 1, 5, 0};
  float back[d];
  uint8_t code[16 * 4];
  assert_int_equal(mica_quantiser_decode(q, beyond, 1, back), MICA_ERR_INVALID);
  assert_int_equal(mica_quantiser_encode(q, &broken, code), MICA_ERR_SHAPE);
  mica_quantiser_free(q);
  const float word[4] = {1, 2, 3, INFINITY};
  assert_int_equal(mica_quantiser_of(engine, 2, 1, 2, word, NULL, &q), MICA_ERR_NUMERIC);
}

static mica_status whole_life(void *ctx) {
  (void)ctx;
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_quantiser *q = NULL;
  const mica_view some = mica_view_of(rows, MICA_F32, MICA_SHAPE(50, d));
  uint8_t code[50 * 3];
  float back[50 * d], table[3 * 4];
  o.parts = 3, o.words = 4, o.rotations = 1, o.iterations = 2;
  mica_status status = mica_quantiser_fit(engine, &some, &o, &q);
  if (!status) status = mica_quantiser_encode(q, &some, code);
  if (!status) status = mica_quantiser_decode(q, code, 50, back);
  if (!status) status = mica_quantiser_table(q, rows, 1, table);
  mica_quantiser_free(q);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  assert_int_equal(whole_life(NULL), MICA_OK);
  assert_true(fail_every(3, whole_life, NULL) > 20);
}

static int set_up(void **state) {
  (void)state;
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  make_rows();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  mica_free(rows);
  mica_engine_free(engine);
  failing_alloc_remove();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_codes_are_the_nearest_words),
      cmocka_unit_test(test_tables_add_up_to_inner_products),
      cmocka_unit_test(test_rotation_is_orthogonal_and_pays),
      cmocka_unit_test(test_rows_of_low_rank),
      cmocka_unit_test(test_bits_do_not_depend_on_threads),
      cmocka_unit_test(test_records),
      cmocka_unit_test(test_what_is_refused),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
