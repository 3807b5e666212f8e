/* Codes that are given to an index: of its rows, and of what another encoder made of the same
 * documents, which a query then brings its own vector for. */
#include "support/failing_alloc.h"
#include "support/folder.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { n = 1200, m = 25, d = 12, c = 8, k = 5, parts = 4, words = 16 };

static mica_engine *engine;
static float *dense, *coarse, *ask_dense, *ask_coarse;
static mica_quantiser *of_dense, *of_coarse; /* 3 parts of 12 columns would do; both have 4 */

static float *draw(uint64_t seed, int64_t rows, int64_t columns) {
  const mica_key key = mica_key_seed(seed);
  float *x = mica_malloc((size_t)(rows * columns) * sizeof *x);
  assert_non_null(x);
  for (int64_t i = 0; i < rows * columns; i++) x[i] = (float)mica_random_normal(key, (uint64_t)i);
  return x;
}

static mica_quantiser *fit(const float *x, int64_t rows, int64_t columns) {
  const mica_view v = mica_view_of((float *)(uintptr_t)x, MICA_F32, MICA_SHAPE(rows, columns));
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_quantiser *q;
  o.parts = parts;
  o.words = words;
  o.rotations = 2;
  if (mica_quantiser_fit(engine, &v, &o, &q) != MICA_OK) fail_msg("%s", mica_last_error());
  return q;
}

static mica_index_batch rows_of(int64_t from, int64_t count, bool both) {
  mica_index_batch b = MICA_INDEX_BATCH;
  b.x = mica_view_of(dense + from * d, MICA_F32, MICA_SHAPE(count, d));
  if (both) b.coarse = mica_view_of(coarse + from * c, MICA_F32, MICA_SHAPE(count, c));
  return b;
}

static mica_status make(const char *spec, const mica_quantiser *q, bool both, const char *path,
                        int64_t piece, mica_index **out) {
  mica_index_builder *b = NULL;
  *out = NULL;
  mica_status status = mica_index_builder_create(engine, spec, d, path, &b);
  if (!status && q) status = mica_index_builder_set_codes(b, q);
  for (int64_t from = 0; from < n && !status; from += piece) {
    const mica_index_batch rows = rows_of(from, n - from < piece ? n - from : piece, both);
    status = mica_index_builder_add(b, &rows);
  }
  if (!status) status = mica_index_builder_finish(b, out);
  mica_index_builder_free(b);
  return status;
}

static void need(mica_status status) {
  if (status != MICA_OK) fail_msg("%s", mica_last_error());
}

static const mica_view *asked(void) {
  static mica_view v;
  v = mica_view_of(ask_dense, MICA_F32, MICA_SHAPE(m, d));
  return &v;
}

static const mica_view *asked_coarse(void) {
  static mica_view v;
  v = mica_view_of(ask_coarse, MICA_F32, MICA_SHAPE(m, c));
  return &v;
}

/* What the two stages are, written down: the best `kept` by the decoded codes, then by the rows. */
static void two_stages(const char *metric, int64_t query, int64_t kept, int64_t *best) {
  static float decoded[n * c];
  static uint8_t code[n * parts];
  static double score[n];
  static bool taken[n];
  const mica_view v = mica_view_of(coarse, MICA_F32, MICA_SHAPE(n, c));
  need(mica_quantiser_encode(of_coarse, &v, code));
  need(mica_quantiser_decode(of_coarse, code, n, decoded));
  const bool l2 = strcmp(metric, "l2") == 0, cosine = strcmp(metric, "cosine") == 0;
  for (int64_t i = 0; i < n; i++) {
    score[i] = 0;
    taken[i] = false;
    for (int64_t j = 0; j < c; j++) {
      const double q = ask_coarse[query * c + j], x = decoded[i * c + j];
      score[i] += l2 ? -(q - x) * (q - x) : q * x;
    }
  }
  for (int64_t r = 0; r < kept; r++) {
    int64_t top = -1;
    for (int64_t i = 0; i < n; i++)
      if (!taken[i] && (top < 0 || score[i] > score[top])) top = i;
    taken[top] = true;
  }
  for (int64_t i = 0; i < n; i++) {
    double sum = 0, length = 0;
    for (int64_t j = 0; j < d; j++) {
      const double q = ask_dense[query * d + j], x = dense[i * d + j];
      sum += l2 ? -(q - x) * (q - x) : q * x;
      length += x * x;
    }
    score[i] = taken[i] ? cosine ? sum / sqrt(length) : sum : -INFINITY;
  }
  for (int64_t r = 0; r < k; r++) {
    best[r] = 0;
    for (int64_t i = 1; i < n; i++)
      if (score[i] > score[best[r]]) best[r] = i;
    score[best[r]] = -INFINITY;
  }
}

static void test_codes_find_and_rows_decide(void **state) {
  (void)state;
  static const char *const metrics[] = {"inner", "l2", "cosine"};
  for (int t = 0; t < 3; t++) {
    char spec[96];
    mica_index *index;
    int64_t row[m * k], right = 0;
    double score[m * k];
    snprintf(spec, sizeof spec, "pq:parts=4:words=16:rerank=40:metric=%s", metrics[t]);
    need(make(spec, of_coarse, true, NULL, n, &index));
    mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
    o.k = k;
    o.coarse = asked_coarse();
    need(mica_index_query(index, asked(), &o, row, score));
    for (int64_t q = 0; q < m; q++) {
      int64_t best[k];
      two_stages(metrics[t], q, 40, best);
      for (int64_t i = 0; i < k; i++) right += row[q * k + i] == best[i];
    }
    /* The 40th and the 41st code may be as good as each other to float32. */
    assert_true(right >= m * k - 3);
    /* With all rows looked at again the codes do not matter. */
    int64_t all[m * k], exact[m * k];
    o.effort = n;
    need(mica_index_query(index, asked(), &o, all, score));
    o.exact = 1;
    o.coarse = NULL;
    need(mica_index_query(index, asked(), &o, exact, score));
    assert_memory_equal(all, exact, sizeof all);
    mica_index_free(index);
  }
}

/* From a file, in pieces, or one question at a time: the same answers. */
static void test_files_and_pieces(void **state) {
  (void)state;
  const char *spec = "pq:parts=4:words=16:rerank=30:metric=l2";
  mica_index *whole, *file;
  int64_t a[m * k], b[m * k];
  double sa[m * k], sb[m * k];
  need(make(spec, of_coarse, true, NULL, n, &whole));
  need(make(spec, of_coarse, true, folder_path("two.index"), 111, &file));
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  o.coarse = asked_coarse();
  need(mica_index_query(whole, asked(), &o, a, sa));
  need(mica_index_query(file, asked(), &o, b, sb));
  assert_memory_equal(a, b, sizeof a);
  assert_memory_equal(sa, sb, sizeof sa);
  for (int64_t q = 0; q < m; q++) {
    const mica_view one = mica_view_of(ask_dense + q * d, MICA_F32, MICA_SHAPE(1, d));
    const mica_view two = mica_view_of(ask_coarse + q * c, MICA_F32, MICA_SHAPE(1, c));
    o.coarse = &two;
    need(mica_index_query(file, &one, &o, b, sb));
    assert_memory_equal(a + q * k, b, k * sizeof *a);
    assert_memory_equal(sa + q * k, sb, k * sizeof *sa);
  }
  const mica_quantiser *q = mica_index_quantiser(file);
  assert_int_equal(mica_quantiser_width(q), c);
  assert_memory_equal(mica_quantiser_codewords(q), mica_quantiser_codewords(of_coarse),
                      words * c * sizeof(float));
  mica_index_free(whole);
  mica_index_free(file);
}

/* Given codes of the rows themselves need no second vector; scores by codes alone are those of the
 * decoded rows. */
static void test_codes_of_the_rows(void **state) {
  (void)state;
  static float decoded[n * d];
  static uint8_t code[n * parts];
  mica_index *index;
  int64_t row[m * k];
  double score[m * k];
  const mica_view v = mica_view_of(dense, MICA_F32, MICA_SHAPE(n, d));
  need(mica_quantiser_encode(of_dense, &v, code));
  need(mica_quantiser_decode(of_dense, code, n, decoded));
  for (int l2 = 0; l2 < 2; l2++) {
    need(make(l2 ? "pq:parts=4:words=16:rerank=0:metric=l2"
                 : "pq:parts=4:words=16:rerank=0:metric=inner",
              of_dense, false, NULL, n, &index));
    mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
    o.k = k;
    need(mica_index_query(index, asked(), &o, row, score));
    for (int64_t i = 0; i < m * k; i++) {
      double sum = 0;
      for (int64_t j = 0; j < d; j++) {
        const double q = ask_dense[i / k * d + j], x = decoded[row[i] * d + j];
        sum += l2 ? (q - x) * (q - x) : q * x;
      }
      assert_true(fabs(score[i] - (l2 ? -sqrt(sum) : sum)) < 1e-4);
    }
    mica_index_free(index);
  }
  /* Of length 1 under cosine: rows and their multiples have the same codes. */
  need(make("pq:parts=4:words=16:rerank=0", of_dense, false, NULL, n, &index));
  mica_index_free(index);
}

static void test_what_is_refused(void **state) {
  (void)state;
  mica_index *index;
  mica_index_builder *b;
  int64_t row[m * k];
  double score[m * k];
  assert_int_equal(make("exact", of_coarse, true, NULL, n, &index), MICA_ERR_UNSUPPORTED);
  assert_int_equal(make("pq:parts=5:words=16", of_coarse, true, NULL, n, &index), MICA_ERR_INVALID);
  assert_int_equal(make("pq:parts=4:words=32", of_coarse, true, NULL, n, &index), MICA_ERR_INVALID);
  assert_int_equal(make("pq:parts=4:words=16", of_coarse, false, NULL, n, &index), MICA_ERR_SHAPE);
  assert_int_equal(make("pq:parts=4:words=16", NULL, true, NULL, n, &index), MICA_ERR_STATE);
  assert_int_equal(make("pq:parts=4:words=2000", NULL, false, NULL, n, &index), MICA_ERR_INVALID);

  need(mica_index_builder_create(engine, "pq:parts=4:words=16", d, NULL, &b));
  need(mica_index_builder_set_codes(b, of_dense));
  mica_index_batch rows = rows_of(0, 10, false), both = rows_of(0, 10, true);
  need(mica_index_builder_add(b, &rows));
  assert_int_equal(mica_index_builder_set_codes(b, of_dense), MICA_ERR_STATE);
  assert_int_equal(mica_index_builder_add(b, &both), MICA_ERR_INVALID);
  both.coarse.shape.dim[0] = 9;
  assert_int_equal(mica_index_builder_add(b, &both), MICA_ERR_SHAPE);
  mica_index_builder_free(b);

  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  need(make("pq:parts=4:words=16", of_coarse, true, NULL, n, &index));
  assert_int_equal(mica_index_query(index, asked(), &o, row, score), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "another encoder"));
  o.coarse = asked(); /* of the wrong width */
  assert_int_equal(mica_index_query(index, asked(), &o, row, score), MICA_ERR_SHAPE);
  mica_view few = *asked_coarse();
  few.shape.dim[0] = m - 1;
  o.coarse = &few;
  assert_int_equal(mica_index_query(index, asked(), &o, row, score), MICA_ERR_SHAPE);
  const float kept = ask_coarse[3];
  ask_coarse[3] = NAN;
  o.coarse = asked_coarse();
  assert_int_equal(mica_index_query(index, asked(), &o, row, score), MICA_ERR_NUMERIC);
  ask_coarse[3] = kept;
  mica_index_free(index);

  static const char *const others[] = {"exact", "ivf", "hnsw"};
  for (int i = 0; i < 3; i++) {
    need(make(others[i], NULL, false, NULL, n, &index));
    assert_int_equal(mica_index_query(index, asked(), &o, row, score), MICA_ERR_UNSUPPORTED);
    assert_null(mica_index_quantiser(index));
    mica_index_free(index);
  }
  need(make("pq:parts=4:words=16", NULL, false, NULL, n, &index));
  assert_int_equal(mica_index_query(index, asked(), &o, row, score), MICA_ERR_INVALID);
  mica_index_free(index);
}

static void test_damaged_files(void **state) {
  (void)state;
  mica_index *index;
  int answered = 0, refused = 0;
  need(make("pq:parts=4:words=16:rerank=20:metric=l2", of_coarse, true, folder_path("d.index"), n,
            &index));
  mica_index_free(index);
  FILE *f = fopen(folder_path("d.index"), "rb");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  const size_t size = (size_t)ftell(f);
  rewind(f);
  uint8_t *bytes = mica_malloc_aligned(size);
  assert_int_equal(fread(bytes, 1, size, f), size);
  fclose(f);
  const mica_key key = mica_key_seed(5);
  for (uint64_t trial = 0; trial < 400; trial++) {
    /* Half of them in the header and in what is kept beside the rows. */
    const size_t at =
        trial % 2 ? mica_random_below(key, trial, size) : mica_random_below(key, trial, 2000);
    const uint8_t was = bytes[at];
    bytes[at] = (uint8_t)(trial % 3 ? 0xff : was ^ (1 << trial % 8));
    if (mica_index_open_memory(engine, bytes, size, "damaged", &index) == MICA_OK) {
      int64_t row[m * k];
      double score[m * k];
      mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
      o.k = k;
      o.coarse = asked_coarse();
      if (mica_index_query(index, asked(), &o, row, score) == MICA_OK)
        for (int64_t i = 0; i < m * k; i++) assert_in_range(row[i] + 1, 0, n);
      mica_index_free(index);
      answered++;
    } else {
      refused++;
    }
    bytes[at] = was;
  }
  mica_free_aligned(bytes);
  assert_true(answered > 50 && refused > 50);
}

static mica_status whole_life(void *ctx) {
  (void)ctx;
  mica_index *index = NULL;
  int64_t row[m * k];
  double score[m * k];
  mica_status status = make("pq:parts=4:words=16:rerank=20", of_coarse, true,
                            folder_path("life.index"), 700, &index);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  o.coarse = asked_coarse();
  if (!status) status = mica_index_query(index, asked(), &o, row, score);
  mica_index_free(index);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  need(whole_life(NULL));
  assert_true(fail_every(1, whole_life, NULL) > 30);
}

static int set_up(void **state) {
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  dense = draw(1, n, d);
  coarse = draw(2, n, c);
  ask_dense = draw(3, m, d);
  ask_coarse = draw(4, m, c);
  of_dense = fit(dense, n, d);
  of_coarse = fit(coarse, n, c);
  return folder_setup(state);
}

static int tear_down(void **state) {
  mica_quantiser_free(of_dense);
  mica_quantiser_free(of_coarse);
  mica_free(dense);
  mica_free(coarse);
  mica_free(ask_dense);
  mica_free(ask_coarse);
  mica_engine_free(engine);
  failing_alloc_remove();
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_codes_find_and_rows_decide),
      cmocka_unit_test(test_files_and_pieces),
      cmocka_unit_test(test_codes_of_the_rows),
      cmocka_unit_test(test_what_is_refused),
      cmocka_unit_test(test_damaged_files),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
