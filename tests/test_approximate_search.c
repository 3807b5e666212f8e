/* Approximate neighbour search: inverted lists, codes and graphs against the exact index. */
#include "support/failing_alloc.h"
#include "support/folder.h"
#include "support/near.h"

#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { n = 2000, m = 40, d = 24, k = 10 };

static mica_engine *engine;
static float *rows, *asked;

/* Clusters whose rows lie near a plane of six dimensions. */
static float *clustered(uint64_t seed, int64_t count) {
  enum { plane = 6, clusters = 30 };
  const mica_key key = mica_key_seed(11), own = mica_key_seed(seed);
  float *x = mica_malloc((size_t)(count * d) * sizeof *x);
  assert_non_null(x);
  for (int64_t i = 0; i < count; i++) {
    const uint64_t cluster = mica_random_below(own, (uint64_t)i, clusters);
    double z[plane];
    for (int j = 0; j < plane; j++)
      z[j] = 2 * mica_random_normal(mica_key_fold(key, 1), cluster * plane + (uint64_t)j) +
             mica_random_normal(mica_key_fold(own, 2), (uint64_t)(i * plane + j));
    for (int c = 0; c < d; c++) {
      double sum = 0.2 * mica_random_normal(mica_key_fold(own, 3), (uint64_t)(i * d + c));
      for (int j = 0; j < plane; j++)
        sum += z[j] * mica_random_normal(mica_key_fold(key, 4), (uint64_t)(j * d + c));
      x[i * d + c] = (float)sum;
    }
  }
  return x;
}

static mica_index *index_of(const mica_engine *e, const char *spec, int64_t count) {
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index *index = NULL;
  batch.x = mica_view_of(rows, MICA_F32, MICA_SHAPE(count, d));
  if (mica_index_create(e, spec, &batch, &index) != MICA_OK) fail_msg("%s", mica_last_error());
  return index;
}

typedef struct answer {
  int64_t row[m * k];
  double score[m * k];
} answer;

static void ask(const mica_index *index, const mica_index_query_options *o, answer *a) {
  const mica_view queries = mica_view_of(asked, MICA_F32, MICA_SHAPE(m, d));
  if (mica_index_query(index, &queries, o, a->row, a->score) != MICA_OK)
    fail_msg("%s", mica_last_error());
}

static double recall(const answer *truth, const answer *got) {
  int64_t hits = 0;
  for (int64_t q = 0; q < m; q++)
    for (int64_t i = 0; i < k; i++)
      for (int64_t j = 0; j < k; j++)
        hits += truth->row[q * k + i] >= 0 && truth->row[q * k + i] == got->row[q * k + j];
  return (double)hits / (m * k);
}

static mica_index_query_options with_effort(int64_t effort) {
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = k;
  o.effort = effort;
  return o;
}

static const char *const metrics[] = {"cosine", "l2", "inner"};

static void assert_same(const answer *a, const answer *b) {
  assert_memory_equal(a->row, b->row, sizeof a->row);
  assert_memory_equal(a->score, b->score, sizeof a->score);
}

/* ---- looking everywhere is exact ---- */

static void test_all_lists_are_exact(void **state) {
  (void)state;
  static const char *const kinds[] = {"ivf:lists=37",
                                      "ivf:lists=1",
                                      "ivf:lists=20:codes=pq:parts=6:words=16:rerank=2000",
                                      "ivf:lists=20:codes=opq:parts=5:words=32:rerank=2000",
                                      "pq:parts=6:words=16",
                                      "hnsw:candidates=2000"};
  static const char *const storage[] = {"f32", "f16", "bf16"};
  for (int t = 0; t < 3; t++)
    for (int s = 0; s < 3; s++) {
      char spec[128];
      answer truth, got;
      snprintf(spec, sizeof spec, "exact:metric=%s:storage=%s", metrics[t], storage[s]);
      mica_index *exact = index_of(engine, spec, n);
      const mica_index_query_options o = with_effort(n);
      ask(exact, &o, &truth);
      mica_index_free(exact);
      for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(spec, sizeof spec, "%s:metric=%s:storage=%s", kinds[i], metrics[t], storage[s]);
        mica_index *index = index_of(engine, spec, n);
        ask(index, &o, &got);
        if (kinds[i][0] != 'h' || t < 2) /* by inner products a graph need not hang together */
          assert_same(&truth, &got);
        else
          assert_true(recall(&truth, &got) > 0.99);
        mica_index_free(index);
      }
    }
}

/* ---- looking a little finds most ---- */

static void test_recall_rises_with_effort(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    int64_t effort[2];
    double at_least[2];
  } cases[] = {{"ivf:lists=40", {2, 8}, {0.6, 0.95}},
               {"ivf:lists=40:codes=pq:parts=8:words=64", {2, 8}, {0.6, 0.95}},
               {"ivf:lists=40:codes=opq:parts=6:words=16", {2, 8}, {0.6, 0.95}},
               {"ivf:lists=40:codes=opq:parts=12:words=64:rerank=0", {2, 40}, {0.4, 0.6}},
               {"pq:parts=6:words=16", {20, 200}, {0.4, 0.9}},
               {"pq:parts=12:words=64:rotations=4:rerank=0", {0, 0}, {0.4, 0.4}},
               {"hnsw:links=6:build=40", {10, 60}, {0.8, 0.97}}};
  for (int t = 0; t < 2; t++) {
    char spec[128];
    answer truth, got;
    snprintf(spec, sizeof spec, "exact:metric=%s", metrics[t]);
    mica_index *exact = index_of(engine, spec, n);
    mica_index_query_options o = with_effort(0);
    ask(exact, &o, &truth);
    mica_index_free(exact);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      snprintf(spec, sizeof spec, "%s:metric=%s", cases[i].spec, metrics[t]);
      mica_index *index = index_of(engine, spec, n);
      double last = 0;
      for (int e = 0; e < 2; e++) {
        o.effort = cases[i].effort[e];
        ask(index, &o, &got);
        const double r = recall(&truth, &got);
        if (r < cases[i].at_least[e] || r < last)
          fail_msg("%s, effort %d: recall %.3f after %.3f", spec, (int)o.effort, r, last);
        last = r;
      }
      mica_index_free(index);
    }
  }
}

/* Scores by codes alone are those of the decoded rows, so near the true ones. */
static void test_scores_of_codes(void **state) {
  (void)state;
  for (int t = 0; t < 3; t++) {
    char spec[128];
    answer got;
    snprintf(spec, sizeof spec, "ivf:lists=30:codes=opq:parts=12:words=256:rerank=0:metric=%s",
             metrics[t]);
    mica_index *index = index_of(engine, spec, n), *exact;
    const mica_index_query_options o = with_effort(30);
    ask(index, &o, &got);
    snprintf(spec, sizeof spec, "exact:metric=%s", metrics[t]);
    exact = index_of(engine, spec, n);
    double error = 0, size = 0;
    for (int64_t q = 0; q < m; q++) {
      mica_index_query_options all = with_effort(0);
      all.k = n;
      int64_t *row = mica_malloc(n * sizeof *row);
      double *score = mica_malloc(n * sizeof *score);
      assert_true(row && score);
      const mica_view query = mica_view_of(asked + q * d, MICA_F32, MICA_SHAPE(1, d));
      assert_int_equal(mica_index_query(exact, &query, &all, row, score), MICA_OK);
      for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++)
          if (row[j] == got.row[q * k + i]) {
            error += fabs(score[j] - got.score[q * k + i]);
            size += fabs(score[j]);
          }
      mica_free(row);
      mica_free(score);
    }
    if (!(error < 0.1 * size)) fail_msg("%s: scores off by %g of %g", metrics[t], error, size);
    mica_index_free(exact);
    mica_index_free(index);
  }
}

/* ---- what may be in an answer ---- */

static const char *const kinds[] = {"exact:metric=l2", "ivf:lists=20:metric=l2",
                                    "ivf:lists=20:codes=pq:parts=6:words=16:metric=l2",
                                    "pq:parts=6:words=16:rotations=2:metric=l2", "hnsw:metric=l2"};
enum { graph = 4 };

static void test_filters(void **state) {
  (void)state;
  uint64_t allowed[(n + 63) / 64];
  int64_t label[n], want[m];
  answer truth, got;
  for (int64_t i = 0; i < n; i++) label[i] = i % 7;
  for (int64_t i = 0; i < m; i++) want[i] = i % 3 ? i % 7 : -1;
  for (int every = 2; every <= 200; every *= 10) {
    memset(allowed, 0, sizeof allowed);
    for (int64_t i = 0; i < n; i += every) allowed[i / 64] |= UINT64_C(1) << i % 64;
    for (size_t s = 0; s < sizeof kinds / sizeof *kinds; s++) {
      mica_index_batch batch = MICA_INDEX_BATCH;
      mica_index *index = NULL;
      batch.x = mica_view_of(rows, MICA_F32, MICA_SHAPE(n, d));
      batch.label = label;
      assert_int_equal(mica_index_create(engine, kinds[s], &batch, &index), MICA_OK);
      mica_index_query_options o = with_effort(n);
      o.allowed = allowed;
      o.want_label = want;
      ask(index, &o, &got);
      for (int64_t i = 0; i < m * k; i++) {
        const int64_t row = got.row[i];
        if (row < 0) continue;
        assert_int_equal(row % every, 0);
        assert_true(want[i / k] < 0 || label[row] == want[i / k]);
      }
      if (!s) truth = got;
      assert_true(recall(&truth, &got) >= (s ? 0.99 : 0) * recall(&truth, &truth));
      mica_index_free(index);
    }
  }
  /* No row has a label, and none is allowed. */
  mica_index *index = index_of(engine, kinds[graph], n);
  mica_index_query_options o = with_effort(0);
  o.want_label = want;
  ask(index, &o, &got);
  for (int64_t i = 0; i < m * k; i++) assert_true(got.row[i] == -1 || want[i / k] < 0);
  memset(allowed, 0, sizeof allowed);
  o.allowed = allowed;
  ask(index, &o, &got);
  for (int64_t i = 0; i < m * k; i++) assert_int_equal(got.row[i], -1);
  o.effort = -1;
  const mica_view queries = mica_view_of(asked, MICA_F32, MICA_SHAPE(m, d));
  assert_int_equal(mica_index_query(index, &queries, &o, got.row, got.score), MICA_ERR_INVALID);
  mica_index_free(index);
}

/* ---- the same bits for every number of threads ---- */

static void test_bits_do_not_depend_on_threads(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof kinds / sizeof *kinds; s++) {
    answer got[2];
    for (int t = 0; t < 2; t++) {
      mica_engine_options e = MICA_ENGINE_OPTIONS;
      mica_engine *own;
      e.threads = t ? 3 : 1;
      assert_int_equal(mica_engine_create(&e, &own), MICA_OK);
      mica_index *index = index_of(own, kinds[s], n);
      const mica_index_query_options o = with_effort(0);
      ask(index, &o, &got[t]);
      if (!t) assert_int_equal(mica_index_save(index, folder_path("one.index")), MICA_OK);
      if (t) assert_int_equal(mica_index_save(index, folder_path("three.index")), MICA_OK);
      mica_index_free(index);
      mica_engine_free(own);
    }
    assert_same(&got[0], &got[1]);
    char command[512];
    snprintf(command, sizeof command, "cmp %s %s", folder_path("one.index"),
             folder_path("three.index"));
    assert_int_equal(system(command), 0);
  }
}

/* ---- few rows, equal rows, rows of zeros ---- */

static void test_small_indices(void **state) {
  (void)state;
  static const char *const small[] = {"ivf",
                                      "ivf:lists=100",
                                      "ivf:codes=pq:words=2:parts=100",
                                      "pq:words=2:parts=100",
                                      "hnsw",
                                      "hnsw:links=2:build=1:candidates=1"};
  float x[9 * d] = {0};
  for (int64_t i = 0; i < 9; i++) x[i * d] = (float)(i % 3); /* rows of zeros among them */
  for (size_t s = 0; s < sizeof small / sizeof *small; s++)
    for (int t = 0; t < 3; t++)
      for (int64_t count = 1; count <= 9; count += 4) {
        if (strstr(small[s], "words=2") && count < 2) continue;
        char spec[96];
        snprintf(spec, sizeof spec, "%s:metric=%s", small[s], metrics[t]);
        mica_index_batch batch = MICA_INDEX_BATCH;
        mica_index *index;
        batch.x = mica_view_of(x, MICA_F32, MICA_SHAPE(count, d));
        assert_int_equal(mica_index_create(engine, spec, &batch, &index), MICA_OK);
        int64_t row[10];
        double score[10];
        mica_index_query_options o = with_effort(100);
        o.k = 10;
        const mica_view query = mica_view_of(x, MICA_F32, MICA_SHAPE(1, d));
        assert_int_equal(mica_index_query(index, &query, &o, row, score), MICA_OK);
        assert_in_range(row[0], 0, count - 1);
        for (int64_t i = count; i < 10; i++) assert_int_equal(row[i], -1);
        mica_index_free(index);
      }
}

/* ---- files ---- */

static void read_all(const char *path, uint8_t **bytes, size_t *size) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  *size = (size_t)ftell(f);
  rewind(f);
  *bytes = mica_malloc_aligned(*size);
  assert_non_null(*bytes);
  assert_int_equal(fread(*bytes, 1, *size, f), *size);
  fclose(f);
}

static void test_files(void **state) {
  (void)state;
  for (size_t s = 1; s < sizeof kinds / sizeof *kinds; s++) {
    answer made, opened;
    mica_index *index = index_of(engine, kinds[s], n);
    const mica_index_query_options o = with_effort(0);
    ask(index, &o, &made);
    assert_int_equal(mica_index_save(index, folder_path("a.index")), MICA_OK);
    mica_index_free(index);
    assert_int_equal(mica_index_open(engine, folder_path("a.index"), &index), MICA_OK);
    ask(index, &o, &opened);
    assert_same(&made, &opened);
    mica_index_free(index);
  }
}

/* Rows that go to the file at once give the same index as rows that are kept until the end. */
static void test_building_in_the_file(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof kinds / sizeof *kinds; s++) {
    answer whole, pieces;
    mica_index *index = index_of(engine, kinds[s], n);
    const mica_index_query_options o = with_effort(0);
    ask(index, &o, &whole);
    mica_index_free(index);
    mica_index_builder *b;
    assert_int_equal(mica_index_builder_create(engine, kinds[s], d, folder_path("p.index"), &b),
                     MICA_OK);
    for (int64_t from = 0; from < n; from += 333) {
      const int64_t count = n - from < 333 ? n - from : 333;
      mica_index_batch batch = MICA_INDEX_BATCH;
      batch.x = mica_view_of(rows + from * d, MICA_F32, MICA_SHAPE(count, d));
      assert_int_equal(mica_index_builder_add(b, &batch), MICA_OK);
    }
    assert_int_equal(mica_index_builder_finish(b, &index), MICA_OK);
    mica_index_builder_free(b);
    ask(index, &o, &pieces);
    assert_same(&whole, &pieces);
    mica_index_free(index);
  }
}

/* Whatever a file says, it is refused or answers with rows that there are. */
static void test_damaged_files(void **state) {
  (void)state;
  enum { few = 60 };
  static const char *const damaged[] = {"ivf:lists=5:metric=l2", "hnsw:links=3:metric=l2",
                                        "ivf:lists=5:codes=opq:parts=3:words=16:metric=l2",
                                        "ivf:lists=5:codes=pq:parts=3:words=9:metric=l2"};
  int refused = 0, answered = 0;
  for (size_t s = 0; s < sizeof damaged / sizeof *damaged; s++) {
    uint8_t *bytes;
    size_t size;
    mica_index *index = index_of(engine, damaged[s], few);
    assert_int_equal(mica_index_save(index, folder_path("b.index")), MICA_OK);
    mica_index_free(index);
    read_all(folder_path("b.index"), &bytes, &size);
    const mica_key key = mica_key_seed(s);
    for (uint64_t trial = 0; trial < 600; trial++) {
      const size_t at = mica_random_below(key, 2 * trial, size);
      const uint8_t was = bytes[at];
      bytes[at] = (uint8_t)(trial % 2 ? 0xff : was ^ (1 << trial % 8));
      if (mica_index_open_memory(engine, bytes, size, "damaged", &index) == MICA_OK) {
        answer got;
        const mica_index_query_options o = with_effort(0);
        ask(index, &o, &got);
        for (int64_t i = 0; i < m * k; i++) assert_in_range(got.row[i] + 1, 0, few);
        mica_index_free(index);
        answered++;
      } else {
        assert_true(strlen(mica_last_error()) > 0);
        refused++;
      }
      bytes[at] = was;
    }
    for (size_t cut = 0; cut < size; cut += 1 + size / 50)
      assert_int_not_equal(mica_index_open_memory(engine, bytes, cut, "cut", &index), MICA_OK);
    mica_free_aligned(bytes);
  }
  assert_true(refused > 100 && answered > 100);
}

static void test_what_is_refused(void **state) {
  (void)state;
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index *index;
  batch.x = mica_view_of(rows, MICA_F32, MICA_SHAPE(20, d));
  assert_int_equal(mica_index_create(engine, "ivf:codes=pq", &batch, &index), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "256"));
  assert_int_equal(mica_index_create(engine, "ivf:codes=lz", &batch, &index), MICA_ERR_INVALID);
  assert_int_equal(mica_index_create(engine, "ivf:words=1", &batch, &index), MICA_ERR_INVALID);
  assert_int_equal(mica_index_create(engine, "hnsw:links=1", &batch, &index), MICA_ERR_INVALID);
}

static mica_status whole_life(void *spec) {
  int64_t row[k];
  double score[k];
  mica_index *index = NULL;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(rows, MICA_F32, MICA_SHAPE(100, d));
  const mica_view query = mica_view_of(asked, MICA_F32, MICA_SHAPE(1, d));
  const mica_index_query_options o = with_effort(0);
  mica_status status = mica_index_create(engine, spec, &batch, &index);
  if (!status) status = mica_index_save(index, folder_path("life.index"));
  mica_index_free(index);
  index = NULL;
  if (!status) status = mica_index_open(engine, folder_path("life.index"), &index);
  if (!status) status = mica_index_query(index, &query, &o, row, score);
  mica_index_free(index);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  static char specs[][64] = {"ivf:lists=4", "ivf:lists=3:codes=opq:words=4:rotations=2:parts=3",
                             "hnsw:links=4:build=8", "pq:words=4:parts=3"};
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    assert_int_equal(whole_life(specs[s]), MICA_OK);
    assert_true(fail_every(s ? 7 : 1, whole_life, specs[s]) > 20);
  }
}

static int set_up(void **state) {
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1; /* the n-th allocation is then the same one in every run */
  if (mica_engine_create(&o, &engine) != MICA_OK) return 1;
  rows = clustered(1, n);
  asked = clustered(2, m);
  return folder_setup(state);
}

static int tear_down(void **state) {
  mica_free(rows);
  mica_free(asked);
  mica_engine_free(engine);
  failing_alloc_remove();
  return folder_teardown(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_lists_are_exact),
      cmocka_unit_test(test_recall_rises_with_effort),
      cmocka_unit_test(test_scores_of_codes),
      cmocka_unit_test(test_filters),
      cmocka_unit_test(test_bits_do_not_depend_on_threads),
      cmocka_unit_test(test_small_indices),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_building_in_the_file),
      cmocka_unit_test(test_damaged_files),
      cmocka_unit_test(test_what_is_refused),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
