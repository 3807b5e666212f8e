/* Measures of ranked answers: by hand, against every pair, and against the figures of published
 * evaluators. */
#include "support/failing_alloc.h"
#include "support/golden.h"
#include "support/near.h"

#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static mica_ranking ranking_of(const double *grade, int64_t n, int64_t relevant) {
  mica_ranking r = MICA_RANKING;
  r.n = n;
  r.grade = grade;
  r.relevant = relevant;
  return r;
}

/* ---- one query, by hand ---- */

static void test_by_hand(void **state) {
  (void)state;
  const double grade[6] = {1, 0, 1, 0, 0, 1}, junk = MICA_GRADE_JUNK;
  mica_ranking r = ranking_of(grade, 6, 4);
  assert_near(mica_ranking_average_precision(&r, 0), (1 + 2. / 3 + 3. / 6) / 4, 1e-15);
  assert_near(mica_ranking_average_precision(&r, 2), 1. / 2, 1e-15);
  assert_near(mica_ranking_average_precision(&r, 5), (1 + 2. / 3) / 4, 1e-15);
  assert_near(mica_ranking_trapezoid_precision(&r),
              (1 + (1. / 2 + 2. / 3) / 2 + (2. / 5 + 3. / 6) / 2) / 4, 1e-15);
  assert_near(mica_ranking_precision(&r, 3), 2. / 3, 1e-15);
  assert_near(mica_ranking_precision(&r, 10), 3. / 10, 1e-15);
  assert_near(mica_ranking_recall(&r, 3), 2. / 4, 1e-15);
  assert_near(mica_ranking_hit(&r, 1), 1, 0);
  assert_near(mica_ranking_last_precision(&r, 2), 1. / 2, 1e-15);
  assert_near(mica_ranking_last_precision(&r, 10), 3. / 6, 1e-15);
  assert_near(mica_ranking_reciprocal_rank(&r, 0), 1, 0);
  assert_near(mica_ranking_ndcg(&r, 3, false), (1 + 1. / 2) / (1 + 1 / log2(3) + 1. / 2), 1e-15);
  assert_near(mica_ranking_first(&r, 1), 1, 0);

  /* Junk takes no rank; the first right answer comes third. */
  const double late[7] = {0, junk, 0, junk, 1, junk, 0};
  r = ranking_of(late, 7, 1);
  assert_near(mica_ranking_average_precision(&r, 0), 1. / 3, 1e-15);
  assert_near(mica_ranking_trapezoid_precision(&r), 1. / 6, 1e-15);
  assert_near(mica_ranking_reciprocal_rank(&r, 0), 1. / 3, 1e-15);
  assert_near(mica_ranking_reciprocal_rank(&r, 2), 0, 0);
  assert_near(mica_ranking_hit(&r, 2), 0, 0);
  assert_near(mica_ranking_first(&r, 3), 3, 0);
  assert_near(mica_ranking_first(&r, 2), 3, 0);
  assert_near(mica_ranking_hit(&r, 3), 1, 0);
  assert_near(mica_ranking_ndcg(&r, 0, false), 1 / log2(4), 1e-15);

  /* Graded gain: the best order is 3, 2, 1. */
  const double graded[4] = {2, 0, 3, 1}, ideal[3] = {3, 2, 1};
  r = ranking_of(graded, 4, 3);
  r.ideal = ideal;
  const double linear = 2 + 3 / log2(4) + 1 / log2(5), best = 3 + 2 / log2(3) + 1 / log2(4);
  assert_near(mica_ranking_ndcg(&r, 0, false), linear / best, 1e-15);
  assert_near(mica_ranking_ndcg(&r, 2, false), 2 / (3 + 2 / log2(3)), 1e-15);
  assert_near(mica_ranking_ndcg(&r, 1, true), 3. / 7, 1e-15);

  /* Nothing found, and nothing to find. */
  const double wrong[2] = {0, 0};
  r = ranking_of(wrong, 2, 1);
  assert_near(mica_ranking_average_precision(&r, 0), 0, 0);
  assert_near(mica_ranking_last_precision(&r, 5), 0, 0);
  r = ranking_of(wrong, 2, 0);
  assert_true(isnan(mica_ranking_average_precision(&r, 0)) && isnan(mica_ranking_hit(&r, 1)) &&
              isnan(mica_ranking_ndcg(&r, 1, false)) && isnan(mica_ranking_recall(&r, 1)) &&
              isnan(mica_ranking_precision(&r, 1)) && isnan(mica_ranking_last_precision(&r, 1)) &&
              isnan(mica_ranking_trapezoid_precision(&r)) &&
              isnan(mica_ranking_reciprocal_rank(&r, 0)));
}

/* ---- all queries ---- */

static mica_retrieval *measures(const char *names, mica_ties ties) {
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_retrieval *r;
  o.measures = names;
  o.ties = ties;
  if (mica_retrieval_create(engine, &o, &r) != MICA_OK) fail_msg("%s", mica_last_error());
  return r;
}

static double only_result(mica_retrieval *r) {
  mica_estimate e;
  assert_int_equal(mica_retrieval_measures(r), 1);
  if (mica_retrieval_result(r, &e) != MICA_OK) fail_msg("%s", mica_last_error());
  mica_retrieval_free(r);
  return e.value;
}

static void test_means_and_intervals(void **state) {
  (void)state;
  enum { n = 200 };
  mica_retrieval *r =
      measures("map,cmc@1,mrr@3,gap,precision@r,map@r,ndcg-exp@2", MICA_TIES_AS_GIVEN);
  double sum = 0, hits = 0;
  for (int q = 0; q < n; q++) {
    double grade[5] = {0}, score[5] = {5, 4, 3, 2, 1};
    const int at = (int)mica_random_below(mica_key_seed(3), (uint64_t)q, 8);
    if (at < 5) grade[at] = 1;
    mica_ranking g = ranking_of(grade, 5, 1);
    g.score = score;
    assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
    sum += at < 5 ? 1. / (at + 1) : 0;
    hits += at == 0;
  }
  const double nothing[1] = {0}, one[1] = {1};
  mica_ranking g = ranking_of(nothing, 1, 0);
  g.score = one;
  assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
  mica_estimate e[7], again[7];
  assert_int_equal(mica_retrieval_result(r, e), MICA_OK);
  assert_int_equal(mica_retrieval_queries(r), n + 1);
  assert_int_equal(mica_retrieval_unanswerable(r), 1);
  assert_near(e[0].value, sum / n, 1e-13);
  assert_near(e[1].value, hits / n, 1e-13);
  /* One right answer: the first of 1 is what each of these asks. */
  assert_near(e[4].value, hits / n, 1e-13);
  assert_near(e[5].value, hits / n, 1e-13);
  const mica_interval w = mica_wilson(hits, n, 0.95);
  assert_near(e[1].interval.lo, w.lo, 1e-13);
  /* About the normal interval of the mean. */
  double squares = 0;
  for (int q = 0; q < n; q++) {
    const double v = mica_retrieval_value(r, 0, q) - sum / n;
    squares += v * v;
  }
  const double half = 1.96 * sqrt(squares / (n - 1) / n);
  assert_near(e[0].interval.lo, sum / n - half, 0.015);
  assert_near(e[0].interval.hi, sum / n + half, 0.015);
  assert_true(e[3].interval.lo < e[3].value && e[3].value < e[3].interval.hi);
  assert_int_equal(mica_retrieval_result(r, again), MICA_OK);
  assert_memory_equal(e, again, sizeof e);
  assert_string_equal(mica_retrieval_measure(r, 2), "mrr@3");
  assert_null(mica_retrieval_measure(r, 7));
  assert_true(isnan(mica_retrieval_value(r, 0, n)) && isnan(mica_retrieval_value(r, 9, 0)));
  mica_retrieval_free(r);
}

static void test_queries_without_an_answer(void **state) {
  (void)state;
  const double right[1] = {1}, wrong[1] = {0};
  for (int count = 0; count < 2; count++) {
    mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
    mica_retrieval *r;
    mica_estimate e[2];
    o.measures = "map,hr@1";
    o.count_unanswerable = count;
    assert_int_equal(mica_retrieval_create(engine, &o, &r), MICA_OK);
    mica_ranking none = ranking_of(wrong, 1, 0), all = ranking_of(right, 1, 1);
    assert_int_equal(mica_retrieval_result(r, e), MICA_ERR_INVALID);
    assert_int_equal(mica_retrieval_add(r, &none), MICA_OK);
    assert_int_equal(mica_retrieval_result(r, e), count ? MICA_OK : MICA_ERR_INVALID);
    assert_int_equal(mica_retrieval_add(r, &all), MICA_OK);
    assert_int_equal(mica_retrieval_result(r, e), MICA_OK);
    for (int i = 0; i < 2; i++) assert_near(e[i].value, count ? 0.5 : 1, 0);
    /* All alike, but not for certain. */
    if (!count) assert_true(e[0].interval.lo < 0.3 && e[0].interval.hi == 1);
    mica_retrieval_free(r);
  }
}

/* The right answer shares its score with two wrong ones. */
static void test_ties(void **state) {
  (void)state;
  const double grade[4] = {1, 0, 0, 1}, score[4] = {2, 2, 2, 1}, flat[4] = {2, 2, 2, 2};
  mica_ranking g = ranking_of(grade, 4, 2);
  g.score = score;
  const struct {
    mica_ties ties;
    const double *score;
    double map;
  } cases[] = {{MICA_TIES_AS_GIVEN, score, (1 + 2. / 4) / 2},
               {MICA_TIES_AGAINST, score, (1. / 3 + 2. / 4) / 2},
               {MICA_TIES_AGAINST, flat, (1. / 3 + 2. / 4) / 2}};
  for (size_t i = 0; i < 3; i++) {
    mica_retrieval *r = measures("map", cases[i].ties);
    g.score = cases[i].score;
    assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
    assert_near(only_result(r), cases[i].map, 1e-15);
  }
  /* In the pool too. */
  const double yes[1] = {1}, no[1] = {0}, same[1] = {1};
  for (int against = 0; against < 2; against++) {
    mica_retrieval *r = measures("gap", against ? MICA_TIES_AGAINST : MICA_TIES_AS_GIVEN);
    for (int q = 0; q < 2; q++) {
      g = ranking_of(q ? no : yes, 1, 1);
      g.score = same;
      assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
    }
    assert_near(only_result(r), against ? 0.25 : 0.5, 1e-15);
  }
}

static void test_pools(void **state) {
  (void)state;
  /* By score: right (9), wrong (8), right (7), wrong (6); the second query has three right ones. */
  const double a[2] = {1, 1}, b[2] = {0, 0}, sa[2] = {9, 7}, sb[2] = {8, 6};
  const struct {
    const char *name;
    double want;
  } cases[] = {{"gap", 1. / 2}, {"gap@2", (1 + 2. / 3) / 4}, {"gap@5", (1 + 2. / 3) / 5}};
  for (size_t i = 0; i < 3; i++) {
    mica_retrieval *r = measures(cases[i].name, MICA_TIES_AS_GIVEN);
    mica_ranking g = ranking_of(a, 2, 2);
    g.score = sa;
    assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
    g = ranking_of(b, 2, 3);
    g.score = sb;
    assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
    assert_near(only_result(r), cases[i].want, 1e-15);
  }
}

static void test_what_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *names, *message;
  } bad[] = {{"mpa", "did you mean"},  {"recall", "recall@K"},
             {"map@0", "number"},      {"map@x", "number"},
             {"map@r@3", "number"},    {"map-trapezoid@3", "takes no"},
             {"map,mrr,map", "twice"}, {"", "no such"},
             {"map,,mrr", "no such"},  {"a-name-that-is-longer-than-any-measure", "no such"}};
  mica_retrieval *r;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
    o.measures = bad[i].names;
    assert_int_equal(mica_retrieval_create(engine, &o, &r), MICA_ERR_INVALID);
    if (!strstr(mica_last_error(), bad[i].message)) fail_msg("%s", mica_last_error());
  }
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  o.level = 1;
  assert_int_equal(mica_retrieval_create(engine, &o, &r), MICA_ERR_INVALID);
  r = measures("gap", MICA_TIES_AS_GIVEN);
  const double grade[2] = {1, 1}, odd[2] = {1, -3}, up[2] = {1, 2}, ideal[2] = {1, 2};
  mica_ranking g = ranking_of(grade, 2, 2);
  assert_int_equal(mica_retrieval_add(r, &g), MICA_ERR_INVALID); /* no scores */
  g.score = up;
  assert_int_equal(mica_retrieval_add(r, &g), MICA_ERR_INVALID);
  g.score = grade;
  g.relevant = 1;
  assert_int_equal(mica_retrieval_add(r, &g), MICA_ERR_INVALID);
  g.relevant = 2;
  g.ideal = ideal;
  assert_int_equal(mica_retrieval_add(r, &g), MICA_ERR_INVALID);
  g.ideal = NULL;
  g.grade = odd;
  assert_int_equal(mica_retrieval_add(r, &g), MICA_ERR_INVALID);
  assert_int_equal(mica_retrieval_queries(r), 0);
  mica_retrieval_free(r);
}

/* ---- published evaluators ---- */

static const int64_t *integers(const mica_archive *a, const char *name, mica_tensor **out) {
  mica_tensor *raw = golden_read(a, MICA_I64, name);
  const mica_view view = mica_tensor_view(raw);
  assert_int_equal(mica_tensor_from_view(&view, MICA_I64, out), MICA_OK);
  mica_tensor_free(raw);
  return mica_tensor_data(*out);
}

static double stored(const mica_archive *a, const char *name, int64_t i) {
  mica_tensor *t = golden_read(a, MICA_F64, name);
  const double v = mica_tensor_get(t, i);
  mica_tensor_free(t);
  return v;
}

/* Recognition: one answer of each query. Landmarks of a query: up to two, -1 pads. */
static void test_landmark_recognition(void **state) {
  (void)state;
  static const char *const files[] = {"tests/golden/landmarks-retrieval/gap.safetensors",
                                      "tests/golden/landmarks-retrieval/gap_ties.safetensors"};
  for (int f = 0; f < 2; f++) {
    mica_archive *a = golden_open(files[f]);
    mica_tensor *t[3], *s = golden_read(a, MICA_F64, "in.pred_score");
    const int64_t *truth = integers(a, "in.ground_truth", &t[0]);
    const int64_t *answer = integers(a, "in.pred_class", &t[1]);
    const int64_t *given = integers(a, "in.has_prediction", &t[2]);
    for (int ignore = 0; ignore < 2; ignore++) {
      mica_retrieval *r = measures("gap", MICA_TIES_AS_GIVEN);
      for (int64_t q = 0; q < mica_tensor_dim(s, 0); q++) {
        const int64_t *own = truth + 2 * q;
        const bool known = own[0] >= 0 || own[1] >= 0;
        const double grade = known && (answer[q] == own[0] || answer[q] == own[1]);
        const double score = mica_tensor_get(s, q);
        mica_ranking g = ranking_of(&grade, given[q], known);
        g.score = &score;
        if (ignore && !known) continue;
        assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
      }
      assert_near(only_result(r), stored(a, ignore ? "out.gap_ignore_non_gt" : "out.gap", 0),
                  1e-12);
    }
    for (int i = 0; i < 3; i++) mica_tensor_free(t[i]);
    mica_tensor_free(s);
    mica_archive_close(a);
  }
}

static void test_landmark_retrieval(void **state) {
  (void)state;
  static const char *const files[] = {
      "tests/golden/landmarks-retrieval/map100.safetensors",
      "tests/golden/landmarks-retrieval/map100_duplicates.safetensors"};
  for (int f = 0; f < 2; f++) {
    mica_archive *a = golden_open(files[f]);
    mica_tensor *t[2];
    const int64_t *ranked = integers(a, "in.ranked", &t[0]);
    const int64_t *relevant = integers(a, "in.relevant", &t[1]);
    const int64_t queries = mica_tensor_dim(t[0], 0), depth = mica_tensor_dim(t[0], 1),
                  rows = mica_tensor_dim(t[1], 1);
    mica_retrieval *r = measures("map@100,map@10", MICA_TIES_AS_GIVEN);
    for (int64_t q = 0; q < queries; q++) {
      double grade[120];
      int64_t n = 0, all = 0;
      assert_int_equal(depth, 120);
      for (int64_t i = 0; i < rows; i++) all += relevant[q * rows + i];
      for (; n < depth && ranked[q * depth + n] >= 0; n++) {
        const int64_t row = ranked[q * depth + n];
        grade[n] = (double)relevant[q * rows + row];
        for (int64_t i = 0; i < n; i++)
          if (ranked[q * depth + i] == row) grade[n] = 0;
      }
      mica_ranking g = ranking_of(grade, n, all);
      assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
    }
    mica_estimate e[2];
    assert_int_equal(mica_retrieval_result(r, e), MICA_OK);
    assert_near(e[0].value, stored(a, "out.map100", 0), 1e-12);
    assert_near(e[1].value, stored(a, "out.map10", 0), 1e-12);
    mica_retrieval_free(r);
    for (int i = 0; i < 2; i++) mica_tensor_free(t[i]);
    mica_archive_close(a);
  }
}

typedef struct found {
  double score;
  int64_t row;
} found;

static int nearer(const void *pa, const void *pb) {
  const found *a = pa, *b = pb;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  return a->row < b->row ? -1 : 1;
}

static void test_revisited_protocols(void **state) {
  (void)state;
  static const char *const protocols[] = {"easy", "medium", "hard"};
  mica_archive *a = golden_open("tests/golden/landmarks-retrieval/revisited_map.safetensors");
  mica_tensor *labels, *s = golden_read(a, MICA_F64, "in.similarity");
  const int64_t *kind = integers(a, "in.labels", &labels);
  const int64_t rows = mica_tensor_dim(s, 0), queries = mica_tensor_dim(s, 1);
  assert_true(rows <= 100);
  for (int p = 0; p < 3; p++) {
    mica_retrieval *r = measures("map-trapezoid,mp@1,mp@5,mp@10", MICA_TIES_AS_GIVEN);
    char name[32];
    for (int64_t q = 0; q < queries; q++) {
      found list[100];
      double grade[100];
      int64_t right = 0;
      for (int64_t i = 0; i < rows; i++) list[i] = (found){mica_tensor_get(s, i * queries + q), i};
      qsort(list, (size_t)rows, sizeof *list, nearer);
      for (int64_t i = 0; i < rows; i++) {
        grade[i] = mica_revisited_grade((mica_revisited_protocol)p,
                                        (mica_revisited_kind)kind[q * rows + list[i].row]);
        right += grade[i] > 0;
      }
      mica_ranking g = ranking_of(grade, rows, right);
      assert_int_equal(mica_retrieval_add(r, &g), MICA_OK);
      snprintf(name, sizeof name, "out.ap_%s", protocols[p]);
      assert_near(mica_retrieval_value(r, 0, q), stored(a, name, q), 1e-12);
    }
    mica_estimate e[4];
    assert_int_equal(mica_retrieval_result(r, e), MICA_OK);
    snprintf(name, sizeof name, "out.map_%s", protocols[p]);
    assert_near(e[0].value, stored(a, name, 0), 1e-12);
    snprintf(name, sizeof name, "out.mp_%s", protocols[p]);
    for (int i = 0; i < 3; i++) assert_near(e[i + 1].value, stored(a, name, i), 1e-12);
    mica_retrieval_free(r);
  }
  assert_true(isnan(mica_revisited_grade(MICA_REVISITED_PROTOCOL_HARD, (mica_revisited_kind)4)));
  mica_tensor_free(labels);
  mica_tensor_free(s);
  mica_archive_close(a);
}

/* ---- of an index ---- */

static mica_index *index_of(const char *spec, const mica_view *x, const int64_t *label,
                            const int64_t *id) {
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index *index;
  batch.x = *x;
  batch.label = label;
  batch.id = id;
  if (mica_index_create(engine, spec, &batch, &index) != MICA_OK) fail_msg("%s", mica_last_error());
  return index;
}

static void test_cross_retrieval(void **state) {
  (void)state;
  mica_archive *a = golden_open("tests/golden/backward-compatible/cross_retrieval.safetensors");
  mica_tensor *labels, *q = golden_read(a, MICA_F64, "in.query"),
                       *gallery = golden_read(a, MICA_F64, "in.gallery");
  const int64_t *label = integers(a, "in.labels", &labels);
  const int64_t n = mica_tensor_dim(q, 0), width = mica_tensor_dim(gallery, 1);
  mica_view queries = mica_tensor_view(q), rows = mica_tensor_view(gallery);
  queries.shape.dim[1] = width; /* the first columns of the wider ones */
  mica_index *index = index_of("exact:metric=inner", &rows, label, NULL);
  mica_retrieval *r = measures("cmc@1,cmc@2,cmc@3,cmc@4,cmc@5,map", MICA_TIES_AS_GIVEN);
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  int64_t self[64];
  assert_true(n <= 64);
  for (int64_t i = 0; i < n; i++) self[i] = i;
  truth.label = label;
  o.k = n;
  o.self_row = self;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  mica_estimate e[6];
  assert_int_equal(mica_retrieval_result(r, e), MICA_OK);
  for (int i = 0; i < 5; i++) assert_near(e[i].value, stored(a, "out.cmc", i), 1e-12);
  assert_near(e[5].value, stored(a, "out.map", 0), 1e-9);
  mica_retrieval_free(r);
  mica_index_free(index);
  mica_tensor_free(labels);
  mica_tensor_free(q);
  mica_tensor_free(gallery);
  mica_archive_close(a);
}

/* Points on a line; what each query leaves out is no right answer either. */
static void test_what_is_left_out_is_not_missed(void **state) {
  (void)state;
  double x[6] = {1, 2, 3, 4, 5, 6};
  const int64_t label[6] = {0, 1, 0, 1, 0, 7}, id[6] = {15, 14, 13, 12, 11, 10};
  const int64_t asked[2] = {0, 1}, self_id[2] = {15, -1}, self_row[2] = {2, -1};
  const int64_t at[3] = {0, 3, 3}, seen[3] = {15, 13, 14};
  const mica_view rows = mica_view_of(x, MICA_F64, MICA_SHAPE(6, 1));
  const mica_view queries = mica_view_of(x, MICA_F64, MICA_SHAPE(2, 1));
  mica_index *index = index_of("exact:metric=l2", &rows, label, id);
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  truth.label = asked;
  o.k = 6;
  /* Query 0: rows 1..5 are left, right ones are 2 and 4. Query 1: 1, 0, 2, 3; right are 1 and 3. */
  mica_retrieval *r = measures("map", MICA_TIES_AS_GIVEN);
  o.self_id = self_id;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  assert_near(mica_retrieval_value(r, 0, 0), (1. / 2 + 2. / 4) / 2, 1e-15);
  assert_near(mica_retrieval_value(r, 0, 1), (1 + 2. / 4) / 2, 1e-15);
  mica_retrieval_free(r);
  /* Row 2 twice over, by its number and its id: 4 is right, at rank 2 of 3, 4, 5. */
  r = measures("map", MICA_TIES_AS_GIVEN);
  o.self_row = self_row;
  o.seen_at = at;
  o.seen = seen;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  assert_near(mica_retrieval_value(r, 0, 0), 1. / 2, 1e-15);
  mica_retrieval_free(r);
  /* A short list misses what lies beyond it. */
  r = measures("map,map@1,recall@6", MICA_TIES_AS_GIVEN);
  o = (mica_index_query_options)MICA_INDEX_QUERY_OPTIONS;
  o.k = 1;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  assert_near(mica_retrieval_value(r, 0, 0), 1. / 3, 1e-15);
  assert_near(mica_retrieval_value(r, 1, 0), 1, 1e-15);
  assert_near(mica_retrieval_value(r, 2, 0), 1. / 3, 1e-15);
  mica_retrieval_free(r);
  mica_index_free(index);
}

static void test_lists(void **state) {
  (void)state;
  double x[6] = {1, 2, 3, 4, 5, 6};
  const int64_t id[6] = {10, 11, 11, 13, 14, 15}, at[3] = {0, 4, 4};
  const int64_t right[4] = {14, 11, 13, 99};
  const double grade[4] = {3, 1, MICA_GRADE_JUNK, 2};
  const mica_view rows = mica_view_of(x, MICA_F64, MICA_SHAPE(6, 1));
  const mica_view queries = mica_view_of(x, MICA_F64, MICA_SHAPE(2, 1));
  mica_index *index = index_of("exact:metric=l2", &rows, NULL, id);
  mica_retrieval *r = measures("map,ndcg,hr@1", MICA_TIES_AS_GIVEN);
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  truth.at = at;
  truth.id = right;
  truth.grade = grade;
  o.k = 100;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  /* Ranks: 10, 11, 11 again (wrong), [13 is junk], 14, 15; id 99 is never found. */
  assert_near(mica_retrieval_value(r, 0, 0), (1. / 2 + 2. / 4) / 3, 1e-15);
  assert_near(mica_retrieval_value(r, 1, 0),
              (1 / log2(3) + 3 / log2(5)) / (3 + 2 / log2(3) + 1 / log2(4)), 1e-15);
  assert_near(mica_retrieval_value(r, 2, 0), 0, 0);
  assert_int_equal(mica_retrieval_unanswerable(r), 1);
  const int64_t self_id[2] = {14, -1};
  o.self_id = self_id;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  assert_near(mica_retrieval_value(r, 0, 2), (1. / 2) / 2, 1e-15);
  const int64_t self_row[2] = {4, -1};
  o.self_id = NULL;
  o.self_row = self_row;
  assert_int_equal(mica_retrieval_ask(r, index, &queries, &truth, &o), MICA_OK);
  assert_near(mica_retrieval_value(r, 0, 4), (1. / 2) / 2, 1e-15);
  mica_retrieval_free(r);
  mica_index_free(index);
}

static void test_bad_truth(void **state) {
  (void)state;
  double x[4] = {1, 2, 3, 4}, bad = -5;
  const int64_t label[2] = {0, 1}, at[3] = {0, 1, 0}, id[1] = {0}, good[3] = {0, 1, 1};
  const mica_view rows = mica_view_of(x, MICA_F64, MICA_SHAPE(2, 2));
  const mica_view line = mica_view_of(x, MICA_F64, MICA_SHAPE(4));
  mica_index *index = index_of("exact", &rows, NULL, NULL);
  mica_retrieval *r = measures("map", MICA_TIES_AS_GIVEN);
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  assert_int_equal(mica_retrieval_ask(r, index, &rows, &truth, NULL), MICA_ERR_INVALID);
  truth.label = label;
  assert_int_equal(mica_retrieval_ask(r, index, &rows, &truth, NULL), MICA_ERR_INVALID);
  truth.label = NULL;
  truth.at = at;
  truth.id = id;
  assert_int_equal(mica_retrieval_ask(r, index, &rows, &truth, NULL), MICA_ERR_INVALID);
  truth.at = good;
  truth.grade = &bad;
  assert_int_equal(mica_retrieval_ask(r, index, &rows, &truth, NULL), MICA_ERR_INVALID);
  truth.grade = NULL;
  assert_int_equal(mica_retrieval_ask(r, index, &line, &truth, NULL), MICA_ERR_SHAPE);
  o.k = 0;
  assert_int_equal(mica_retrieval_ask(r, index, &rows, &truth, &o), MICA_ERR_INVALID);
  assert_int_equal(mica_retrieval_queries(r), 0);
  mica_retrieval_free(r);
  mica_index_free(index);
}

/* ---- memory that runs out ---- */

static mica_status whole_life(void *ctx) {
  (void)ctx;
  double x[4] = {1, 2, 3, 4};
  const int64_t label[4] = {0, 1, 0, 1}, id[4] = {9, 8, 7, 6}, at[5] = {0, 1, 1, 2, 2},
                seen[2] = {9, 7};
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_index_query_options q = MICA_INDEX_QUERY_OPTIONS;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  mica_index *index = NULL;
  mica_retrieval *r = NULL;
  mica_estimate e[16];
  batch.x = mica_view_of(x, MICA_F64, MICA_SHAPE(4, 1));
  batch.id = id;
  batch.label = truth.label = label;
  o.resamples = 3;
  o.ties = MICA_TIES_AGAINST;
  q.seen_at = at;
  q.seen = seen;
  mica_status status = mica_index_create(engine, "exact", &batch, &index);
  if (!status) status = mica_retrieval_create(engine, &o, &r);
  if (!status) status = mica_retrieval_ask(r, index, &batch.x, &truth, &q);
  if (!status) status = mica_retrieval_result(r, e);
  mica_retrieval_free(r);
  mica_index_free(index);
  return status;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  assert_int_equal(whole_life(NULL), MICA_OK);
  assert_true(fail_each(whole_life, NULL) > 30);
}

static int set_up(void **state) {
  (void)state;
  failing_alloc_install();
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  return mica_engine_create(&o, &engine) != MICA_OK;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  failing_alloc_remove();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_by_hand),
      cmocka_unit_test(test_means_and_intervals),
      cmocka_unit_test(test_queries_without_an_answer),
      cmocka_unit_test(test_ties),
      cmocka_unit_test(test_pools),
      cmocka_unit_test(test_what_is_refused),
      cmocka_unit_test(test_landmark_recognition),
      cmocka_unit_test(test_landmark_retrieval),
      cmocka_unit_test(test_revisited_protocols),
      cmocka_unit_test(test_cross_retrieval),
      cmocka_unit_test(test_what_is_left_out_is_not_missed),
      cmocka_unit_test(test_lists),
      cmocka_unit_test(test_bad_truth),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
