/* Neighbour search: the exact index against every pair in float64, in memory and as a file. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/near.h"

#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static float *numbers(uint64_t seed, int64_t n) {
  float *x = mica_malloc((size_t)n * sizeof *x);
  assert_non_null(x);
  for (int64_t i = 0; i < n; i++)
    x[i] = (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i);
  return x;
}

static mica_view rows_of(float *x, int64_t n, int64_t d) {
  return mica_view_of(x, MICA_F32, MICA_SHAPE(n, d));
}

static mica_index *index_of(const char *spec, float *x, int64_t n, int64_t d, const int64_t *id) {
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index *index = NULL;
  batch.x = rows_of(x, n, d);
  batch.id = id;
  if (mica_index_create(engine, spec, &batch, &index) != MICA_OK) fail_msg("%s", mica_last_error());
  return index;
}

/* ---- every pair, as the header defines it ---- */

static double score_of(mica_index_metric metric, const float *x, const float *y, int64_t d) {
  double dot = 0, xx = 0, yy = 0, difference = 0;
  for (int64_t j = 0; j < d; j++) {
    const double a = (double)x[j], b = (double)y[j];
    dot += a * b;
    xx += a * a;
    yy += b * b;
    difference += (a - b) * (a - b);
  }
  if (metric == MICA_INDEX_INNER) return dot;
  if (metric == MICA_INDEX_L2) return -sqrt(difference);
  return xx > 0 && yy > 0 ? dot / sqrt(xx) / sqrt(yy) : 0;
}

typedef struct pair {
  double score;
  int64_t id, row;
} pair;

static int better(const void *pa, const void *pb) {
  const pair *a = pa, *b = pb;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->id != b->id) return a->id < b->id ? -1 : 1;
  return a->row < b->row ? -1 : 1;
}

/* Scores agree with those of every pair sorted; a row may differ only where scores tie to the last
 * digits. */
static void check_answers(mica_index_metric metric, const float *x, const float *q, int64_t n,
                          int64_t m, int64_t d, int64_t k, const int64_t *row,
                          const double *score) {
  pair *all = mica_malloc((size_t)n * sizeof *all);
  assert_non_null(all);
  for (int64_t i = 0; i < m; i++) {
    for (int64_t r = 0; r < n; r++)
      all[r] = (pair){score_of(metric, q + i * d, x + r * d, d), r, r};
    qsort(all, (size_t)n, sizeof *all, better);
    for (int64_t j = 0; j < k; j++) {
      const int64_t got = row[i * k + j];
      if (j >= n) {
        assert_int_equal(got, -1);
        assert_true(isnan(score[i * k + j]));
        continue;
      }
      assert_in_range(got, 0, n - 1);
      assert_near(score[i * k + j], all[j].score, 1e-13);
      assert_near(score_of(metric, q + i * d, x + got * d, d), all[j].score, 1e-13);
    }
  }
  mica_free(all);
}

static const char *const specs[] = {"exact:metric=cosine", "exact:metric=l2", "exact:metric=inner"};

static void test_against_every_pair(void **state) {
  (void)state;
  const struct {
    int64_t n, m, d, k;
    float offset, scale;
  } sizes[] = {{1, 1, 1, 1, 0, 1},          {7, 3, 5, 9, 0, 1},        {3000, 140, 19, 10, 0, 1},
               {6000, 2, 33, 4, 0, 1},      {500, 50, 8, 500, 0, 1},   {2500, 40, 64, 5, 100, 1},
               {2500, 9, 16, 5, 0, 1e-18f}, {2500, 9, 16, 5, 0, 1e17f}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int t = 0; t < 3; t++) {
      const int64_t n = sizes[s].n, m = sizes[s].m, d = sizes[s].d, k = sizes[s].k;
      float *x = numbers(1, n * d), *q = numbers(2, m * d);
      for (int64_t i = 0; i < n * d; i++) x[i] = x[i] * sizes[s].scale + sizes[s].offset;
      for (int64_t i = 0; i < m * d; i++) q[i] = q[i] * sizes[s].scale + sizes[s].offset;
      mica_index *index = index_of(specs[t], x, n, d, NULL);
      int64_t *row = mica_malloc((size_t)(m * k) * sizeof *row);
      double *score = mica_malloc((size_t)(m * k) * sizeof *score);
      assert_true(row && score);
      mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
      o.k = k;
      mica_view queries = rows_of(q, m, d);
      assert_int_equal(mica_index_query(index, &queries, &o, row, score), MICA_OK);
      check_answers(mica_index_metric_of(index), x, q, n, m, d, k, row, score);
      mica_index_free(index);
      mica_free(row);
      mica_free(score);
      mica_free(x);
      mica_free(q);
    }
}

/* ---- ties, and what is left out ---- */

/* Rows 0..7: four directions, each twice; ids count down, so the later row has the lower id. */
static void test_ties_go_to_the_lower_id(void **state) {
  (void)state;
  float x[16] = {1, 0, 0, 1, -1, 0, 0, -1, 1, 0, 0, 1, -1, 0, 0, -1}, q[2] = {1, 0};
  const int64_t id[8] = {80, 70, 60, 50, 40, 30, 20, 10}, shared[8] = {5, 9, 9, 9, 5, 9, 9, 9};
  int64_t row[8];
  double score[8];
  mica_view query = rows_of(q, 1, 2);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = 8;
  for (int t = 0; t < 3; t++) {
    mica_index *index = index_of(specs[t], x, 8, 2, id);
    assert_int_equal(mica_index_query(index, &query, &o, row, score), MICA_OK);
    const int64_t want[8] = {4, 0, 7, 5, 3, 1, 6, 2};
    for (int i = 0; i < 8; i++) assert_int_equal(row[i], want[i]);
    mica_index_free(index);
  }
  mica_index *index = index_of("exact", x, 8, 2, shared);
  o.k = 2;
  assert_int_equal(mica_index_query(index, &query, &o, row, score), MICA_OK);
  assert_int_equal(row[0], 0);
  assert_int_equal(row[1], 4);
  mica_index_free(index);
}

static void test_what_is_left_out(void **state) {
  (void)state;
  float x[5] = {1, 2, 3, 4, 5}, q[2] = {1, 5};
  const int64_t id[5] = {10, 11, 12, 13, 14}, self[2] = {10, -1}, self_row[2] = {-1, 4};
  const int64_t at[3] = {0, 2, 3}, seen[3] = {12, 11, 14};
  int64_t row[10];
  double score[10];
  mica_view queries = rows_of(q, 2, 1);
  mica_index *index = index_of("exact:metric=l2", x, 5, 1, id);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = 5;
  o.self_id = self;
  assert_int_equal(mica_index_query(index, &queries, &o, row, score), MICA_OK);
  const int64_t by_id[10] = {1, 2, 3, 4, -1, 4, 3, 2, 1, 0};
  for (int i = 0; i < 10; i++) assert_int_equal(row[i], by_id[i]);
  assert_true(isnan(score[4]));
  o.self_row = self_row;
  o.seen_at = at;
  o.seen = seen;
  assert_int_equal(mica_index_query(index, &queries, &o, row, score), MICA_OK);
  const int64_t all[10] = {3, 4, -1, -1, -1, 3, 2, 1, 0, -1};
  for (int i = 0; i < 10; i++) assert_int_equal(row[i], all[i]);
  const int64_t descending[3] = {2, 1, 3};
  o.seen_at = descending;
  assert_int_equal(mica_index_query(index, &queries, &o, row, score), MICA_ERR_INVALID);
  mica_index_free(index);
}

static void test_rows_of_zeros(void **state) {
  (void)state;
  float x[6] = {0, 0, 1, 1, -1, 0}, q[4] = {1, 0, 0, 0};
  int64_t row[6];
  double score[6];
  mica_view queries = rows_of(q, 2, 2);
  mica_index *index = index_of("exact", x, 3, 2, NULL);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = 3;
  assert_int_equal(mica_index_zero_rows(index), 1);
  assert_int_equal(mica_index_query(index, &queries, &o, row, score), MICA_OK);
  const int64_t want[6] = {1, 0, 2, 0, 1, 2};
  for (int i = 0; i < 6; i++) assert_int_equal(row[i], want[i]);
  assert_true(score[1] == 0 && score[3] == 0 && score[4] == 0 && score[2] == -1);
  mica_index_free(index);
}

/* ---- the same bits however it is done ---- */

static void test_bits_do_not_depend_on_threads_or_grouping(void **state) {
  (void)state;
  enum { n = 9000, m = 150, d = 24, k = 6 };
  float *x = numbers(3, n * d), *q = numbers(4, m * d);
  int64_t row[2][m * k];
  double score[2][m * k];
  for (int t = 0; t < 3; t++) {
    for (int run = 0; run < 2; run++) {
      mica_engine_options e = MICA_ENGINE_OPTIONS;
      mica_engine *own;
      e.threads = run ? 3 : 1;
      e.libraries = run ? 0 : 1;
      assert_int_equal(mica_engine_create(&e, &own), MICA_OK);
      mica_index_batch batch = MICA_INDEX_BATCH;
      batch.x = rows_of(x, n, d);
      mica_index *index;
      assert_int_equal(mica_index_create(own, specs[t], &batch, &index), MICA_OK);
      mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
      o.k = k;
      /* All at once, and one by one. */
      for (int64_t i = 0; i < (run ? m : 1); i++) {
        mica_view queries = rows_of(q + i * d, run ? 1 : m, d);
        assert_int_equal(
            mica_index_query(index, &queries, &o, row[run] + i * k, score[run] + i * k), MICA_OK);
      }
      mica_index_free(index);
      mica_engine_free(own);
    }
    assert_memory_equal(row[0], row[1], sizeof row[0]);
    assert_memory_equal(score[0], score[1], sizeof score[0]);
  }
  mica_free(x);
  mica_free(q);
}

/* ---- storage types ---- */

static void test_narrow_rows(void **state) {
  (void)state;
  enum { n = 3000, m = 20, d = 21, k = 5 };
  float *x = numbers(5, n * d), *q = numbers(6, m * d), *stored = numbers(5, n * d);
  static const mica_dtype types[] = {MICA_BF16, MICA_F16};
  for (int s = 0; s < 2; s++)
    for (int t = 0; t < 3; t++) {
      char spec[64];
      int64_t row[m * k];
      double score[m * k];
      snprintf(spec, sizeof spec, "%s:storage=%s", specs[t], s ? "f16" : "bf16");
      mica_index *index = index_of(spec, x, n, d, NULL);
      assert_int_equal(mica_index_storage(index), types[s]);
      mica_view view = mica_index_view(index), to = rows_of(stored, n, d),
                queries = rows_of(q, m, d);
      assert_int_equal(mica_view_copy(&to, &view), MICA_OK);
      mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
      o.k = k;
      assert_int_equal(mica_index_query(index, &queries, &o, row, score), MICA_OK);
      check_answers(mica_index_metric_of(index), stored, q, n, m, d, k, row, score);
      mica_index_free(index);
    }
  float huge[1] = {70000};
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index *index;
  batch.x = rows_of(huge, 1, 1);
  assert_int_equal(mica_index_create(engine, "exact:storage=f16", &batch, &index),
                   MICA_ERR_NUMERIC);
  mica_free(x);
  mica_free(q);
  mica_free(stored);
}

/* ---- files ---- */

static void build_file(const char *path, float *x, int64_t n, int64_t d, int64_t piece) {
  mica_index_builder *b;
  char text[32];
  assert_int_equal(mica_index_builder_create(engine, "exact:metric=l2", d, path, &b), MICA_OK);
  assert_int_equal(mica_index_builder_set_text(b, "encoder", "none"), MICA_OK);
  assert_int_equal(mica_index_builder_set_text(b, "encoder", "net \"1\""), MICA_OK);
  for (int64_t from = 0; from < n; from += piece) {
    const int64_t m = from + piece < n ? piece : n - from;
    int64_t *number = mica_malloc((size_t)(2 * m) * sizeof *number);
    const char **name = mica_malloc((size_t)m * sizeof *name);
    assert_true(number && name);
    for (int64_t i = 0; i < m; i++) {
      number[i] = 3 * (from + i);
      number[m + i] = (from + i) % 4 - 1;
      snprintf(text, sizeof text, "row%lld", (long long)(from + i));
      name[i] = (from + i) % 3 ? mica_strdup(text) : NULL;
    }
    mica_index_batch batch = MICA_INDEX_BATCH;
    batch.x = rows_of(x + from * d, m, d);
    batch.id = number;
    batch.label = number + m;
    batch.name = name;
    assert_int_equal(mica_index_builder_add(b, &batch), MICA_OK);
    assert_int_equal(mica_index_builder_set_text(b, "late", "x"), MICA_ERR_STATE);
    for (int64_t i = 0; i < m; i++) mica_free((char *)(uintptr_t)name[i]);
    mica_free(name);
    mica_free(number);
  }
  assert_int_equal(mica_index_builder_finish(b, NULL), MICA_OK);
  assert_int_equal(mica_index_builder_finish(b, NULL), MICA_ERR_STATE);
  mica_index_builder_free(b);
}

static void check_file(const mica_index *index, int64_t n) {
  char name[32], want[32];
  assert_int_equal(mica_index_count(index), n);
  assert_int_equal(mica_index_metric_of(index), MICA_INDEX_L2);
  assert_string_equal(mica_index_text(index, "encoder"), "net \"1\"");
  assert_null(mica_index_text(index, "late"));
  for (int64_t i = 0; i < n; i++) {
    assert_int_equal(mica_index_ids(index)[i], 3 * i);
    assert_int_equal(mica_index_labels(index)[i], i % 4 - 1);
    snprintf(want, sizeof want, "row%lld", (long long)i);
    assert_string_equal(mica_index_name(index, i, name, sizeof name), i % 3 ? want : "");
  }
  assert_string_equal(mica_index_name(index, 1, name, 3), "ro");
  assert_string_equal(mica_index_name(index, n, name, sizeof name), "");
}

static void test_files(void **state) {
  (void)state;
  enum { n = 333, d = 7, k = 4 };
  float *x = numbers(7, n * d);
  mica_view queries = rows_of(x, n, d);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  int64_t row[3][n * k];
  double score[3][n * k];
  build_file(folder_path("a.index"), x, n, d, 50);
  build_file(folder_path("b.index"), x, n, d, n);
  mica_index *index = NULL, *again = NULL;
  assert_int_equal(mica_index_open(engine, folder_path("a.index"), &index), MICA_OK);
  check_file(index, n);
  assert_int_equal(mica_index_query(index, &queries, &o, row[0], score[0]), MICA_OK);
  assert_int_equal(mica_index_save(index, folder_path("c.index")), MICA_OK);
  mica_index_free(index);
  assert_int_equal(mica_index_open(engine, folder_path("c.index"), &again), MICA_OK);
  check_file(again, n);
  assert_int_equal(mica_index_query(again, &queries, &o, row[1], score[1]), MICA_OK);
  /* Over itself: what is mapped stays. */
  assert_int_equal(mica_index_save(again, folder_path("c.index")), MICA_OK);
  assert_int_equal(mica_index_query(again, &queries, &o, row[2], score[2]), MICA_OK);
  mica_index_free(again);
  for (int i = 1; i < 3; i++) {
    assert_memory_equal(row[0], row[i], sizeof row[0]);
    assert_memory_equal(score[0], score[i], sizeof score[0]);
  }
  char a[65], b[65];
  mica_archive *file;
  for (int i = 0; i < 2; i++) {
    mica_sha256 h;
    mica_sha256_begin(&h);
    FILE *f = fopen(folder_path(i ? "b.index" : "a.index"), "rb");
    uint8_t bytes[4096];
    for (size_t got; (got = fread(bytes, 1, sizeof bytes, f)) > 0;)
      mica_sha256_update(&h, bytes, got);
    fclose(f);
    mica_sha256_end(&h, i ? b : a);
  }
  assert_string_equal(a, b); /* pieces leave no trace */
  assert_int_equal(mica_archive_open(folder_path("a.index"), &file), MICA_OK);
  assert_string_equal(mica_archive_metadata(file, "metric"), "l2");
  mica_archive_close(file);
  mica_free(x);
}

static void test_a_builder_that_stops_leaves_nothing(void **state) {
  (void)state;
  float x[4] = {1, 2, NAN, 4};
  mica_index_builder *b;
  mica_index *index;
  mica_index_batch batch = MICA_INDEX_BATCH;
  assert_int_equal(mica_index_builder_create(engine, "exact", 2, folder_path("no.index"), &b),
                   MICA_OK);
  assert_int_equal(mica_index_builder_finish(b, &index), MICA_ERR_INVALID); /* no rows */
  batch.x = rows_of(x, 2, 2);
  assert_int_equal(mica_index_builder_add(b, &batch), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "row 1"));
  batch.x = rows_of(x, 1, 2);
  assert_int_equal(mica_index_builder_add(b, &batch), MICA_OK);
  batch.x = rows_of(x, 2, 2);
  assert_int_equal(mica_index_builder_add(b, &batch), MICA_ERR_NUMERIC);
  mica_index_builder_free(b);
  assert_int_equal(mica_index_open(engine, folder_path("no.index"), &index), MICA_ERR_NOT_FOUND);
}

/* ---- what is refused ---- */

static void test_bad_rows(void **state) {
  (void)state;
  float x[6] = {1, 2, 3, 4, 5, 6};
  const int64_t bad[2] = {1, -2};
  mica_index *index;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = rows_of(x, 3, 2);
  assert_int_equal(mica_index_create(engine, "exakt", &batch, &index), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_index_create(engine, "exact:metric=l3", &batch, &index), MICA_ERR_INVALID);
  batch.x = rows_of(x, 2, 3);
  batch.id = bad;
  assert_int_equal(mica_index_create(engine, "exact", &batch, &index), MICA_ERR_INVALID);
  batch.id = NULL;
  batch.label = bad;
  assert_int_equal(mica_index_create(engine, "exact", &batch, &index), MICA_ERR_INVALID);
  batch.label = NULL;
  batch.x.dtype = MICA_I32;
  assert_int_equal(mica_index_create(engine, "exact", &batch, &index), MICA_ERR_SHAPE);
  batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(6));
  assert_int_equal(mica_index_create(engine, "exact", &batch, &index), MICA_ERR_SHAPE);
  mica_index_builder *b;
  assert_int_equal(mica_index_builder_create(engine, "exact", 0, NULL, &b), MICA_ERR_SHAPE);
  assert_int_equal(mica_index_builder_create(engine, "exact", 3, NULL, &b), MICA_OK);
  batch.x = rows_of(x, 3, 2);
  assert_int_equal(mica_index_builder_add(b, &batch), MICA_ERR_SHAPE);
  mica_index_builder_free(b);
}

static int stop(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)what;
  (void)done;
  (void)total;
  ++*(int *)ctx;
  return 1;
}

static void test_bad_queries(void **state) {
  (void)state;
  float x[6] = {1, 2, 3, 4, 5, 6}, nan[2] = {1, NAN};
  int64_t row[10];
  double score[10], huge[2] = {1e200, 1};
  mica_index *index = index_of("exact", x, 3, 2, NULL);
  mica_view wide = rows_of(x, 2, 3), bad = rows_of(nan, 1, 2), good = rows_of(x, 1, 2);
  mica_view far = mica_view_of(huge, MICA_F64, MICA_SHAPE(1, 2));
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  assert_int_equal(mica_index_query(index, &wide, NULL, row, score), MICA_ERR_SHAPE);
  assert_int_equal(mica_index_query(index, &bad, NULL, row, score), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "query 0, column 1 is NaN"));
  assert_int_equal(mica_index_query(index, &far, NULL, row, score), MICA_ERR_NUMERIC);
  o.k = 0;
  assert_int_equal(mica_index_query(index, &good, &o, row, score), MICA_ERR_INVALID);
  int calls = 0;
  o.k = 10;
  o.progress = stop;
  o.progress_ctx = &calls;
  assert_int_equal(mica_index_query(index, &good, &o, row, score), MICA_ERR_CANCELLED);
  assert_int_equal(calls, 1);
  mica_view none = rows_of(x, 0, 2);
  assert_int_equal(mica_index_query(index, &none, NULL, row, score), MICA_OK);
  mica_index_free(index);
}

/* Every truncation and, in the header, every changed byte: an error or a usable index. */
static void test_damaged_files(void **state) {
  (void)state;
  float *x = numbers(9, 12);
  build_file(folder_path("d.index"), x, 4, 3, 4);
  mica_free(x);
  static union {
    uint8_t byte[16384];
    int64_t align;
  } whole, damaged;
  FILE *f = fopen(folder_path("d.index"), "rb");
  const size_t n = fread(whole.byte, 1, sizeof whole.byte, f);
  fclose(f);
  assert_true(n > 4096 && n < sizeof whole.byte);
  mica_index *index;
  for (size_t cut = 0; cut < n; cut += cut < 16 ? 1 : 61)
    assert_int_not_equal(mica_index_open_memory(engine, whole.byte, cut, "cut", &index), MICA_OK);
  for (size_t at = 0; at < n; at += at < 800 || at > n - 400 ? 1 : 97) {
    damaged = whole;
    damaged.byte[at] ^= 0x11;
    if (mica_index_open_memory(engine, damaged.byte, n, "damaged", &index) != MICA_OK) continue;
    float q[3] = {1, 2, 3};
    int64_t row[10];
    double score[10];
    mica_view query = rows_of(q, 1, mica_index_width(index) == 3 ? 3 : 1);
    if (mica_index_width(index) == 3)
      assert_int_equal(mica_index_query(index, &query, NULL, row, score), MICA_OK);
    mica_index_free(index);
  }
  assert_int_equal(mica_index_open_memory(engine, whole.byte + 1, n - 1, "odd", &index),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_index_open(engine, folder_put("text", "no index"), &index),
                   MICA_ERR_FORMAT);
}

static void test_newer_and_foreign_files(void **state) {
  (void)state;
  float x[2] = {1, 2};
  mica_index *index;
  const mica_named_view rows = {"rows", rows_of(x, 1, 2)};
  const mica_text_pair newer[] = {{"index", "9"}, {"spec", "exact"}};
  const mica_text_pair current[] = {{"index", "1"}, {"spec", "exact"}, {"metric", "cosine"}};
  const mica_text_pair other[] = {{"index", "1"}, {"spec", "exact"}, {"metric", "l2"}};
  const mica_text_pair unknown[] = {{"index", "1"}, {"spec", "magic"}};
  const char *path = folder_path("m.index");
  assert_int_equal(mica_safetensors_write(path, &rows, 1, newer, 2), MICA_OK);
  assert_int_equal(mica_index_open(engine, path, &index), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_safetensors_write(path, &rows, 1, current, 3), MICA_OK);
  assert_int_equal(mica_index_open(engine, path, &index), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "norms"));
  assert_int_equal(mica_safetensors_write(path, &rows, 1, other, 3), MICA_OK);
  assert_int_equal(mica_index_open(engine, path, &index), MICA_ERR_FORMAT);
  assert_int_equal(mica_safetensors_write(path, &rows, 1, unknown, 2), MICA_OK);
  assert_int_equal(mica_index_open(engine, path, &index), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_safetensors_write(path, &rows, 1, NULL, 0), MICA_OK);
  assert_int_equal(mica_index_open(engine, path, &index), MICA_ERR_FORMAT);
}

/* ---- memory that runs out ---- */

static mica_status whole_life(void *ctx) {
  const char *path = ctx;
  float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const int64_t id[4] = {4, 3, 2, 1}, at[3] = {0, 1, 2}, seen[2] = {1, 2};
  const char *const name[4] = {"a", "b", NULL, "d"};
  int64_t row[20];
  double score[20];
  mica_index_builder *b = NULL;
  mica_index *index = NULL;
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  batch.x = rows_of(x, 4, 3);
  batch.id = batch.label = id;
  batch.name = name;
  o.seen_at = at;
  o.seen = seen;
  mica_view queries = rows_of(x, 2, 3);
  mica_status status = mica_index_builder_create(engine, "exact:metric=l2", 3, path, &b);
  if (!status) status = mica_index_builder_set_text(b, "key", "value");
  if (!status) status = mica_index_builder_add(b, &batch);
  if (!status) status = mica_index_builder_finish(b, &index);
  if (!status) status = mica_index_query(index, &queries, &o, row, score);
  if (!status) status = mica_index_save(index, folder_path("saved.index"));
  char *spec = status ? NULL : mica_index_spec(index);
  if (!status && !spec) status = MICA_ERR_MEMORY;
  mica_free(spec);
  mica_index_free(index);
  mica_index_builder_free(b);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  char path[512];
  snprintf(path, sizeof path, "%s", folder_path("life.index"));
  assert_int_equal(whole_life(NULL), MICA_OK);
  assert_true(fail_each(whole_life, NULL) > 20);
  assert_int_equal(whole_life(path), MICA_OK);
  assert_true(fail_each(whole_life, path) > 20);
}

static int set_up(void **state) {
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1; /* the n-th allocation is then the same one in every run */
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  return folder_setup(state);
}

static int tear_down(void **state) {
  mica_engine_free(engine);
  failing_alloc_remove();
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_every_pair),
      cmocka_unit_test(test_ties_go_to_the_lower_id),
      cmocka_unit_test(test_what_is_left_out),
      cmocka_unit_test(test_rows_of_zeros),
      cmocka_unit_test(test_bits_do_not_depend_on_threads_or_grouping),
      cmocka_unit_test(test_narrow_rows),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_a_builder_that_stops_leaves_nothing),
      cmocka_unit_test(test_bad_rows),
      cmocka_unit_test(test_bad_queries),
      cmocka_unit_test(test_damaged_files),
      cmocka_unit_test(test_newer_and_foreign_files),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
