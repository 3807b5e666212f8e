/* What estimators promise: refusal at the wanted rate, classes added at run time, records that
 * predict the same bits, the same bits for every thread count, and clean errors. */
#include "support/estimator.h"

#include "feature/refusal.h"

#include <stdio.h>
#include <string.h>

enum { d = 12 };

static const char *const specs[] = {
    "logistic:C=10",
    "logistic:standardise=true:class_weight=balanced",
    "ridge:lambda=0.1,1,10",
    "ridge:standardise=true",
    "knn:k=3",
    "knn:weights=similarity",
    "knn:metric=euclidean:weights=softmax:temperature=1",
    "prototypes",
    "prototypes:metric=euclidean:doubt=true",
    "naive_bayes",
    "naive_bayes:variance=class",
    "linear_svm",
    "gaussian",
    "gaussian:levels=5,7:classes=one",
    "gaussian:distance=standardised",
    "gaussian:reducer=npca:variance=0.9:classes=one",
};
enum { spec_count = sizeof specs / sizeof *specs };

/* n rows around class centres that are 3 deviations apart: row i is of class i % classes + first.
 */
static void make_rows(int64_t n, int64_t first, int64_t classes, uint64_t seed, double *x,
                      int64_t *label) {
  for (int64_t i = 0; i < n; i++) {
    label[i] = first + i % classes;
    for (int64_t j = 0; j < d; j++) {
      mica_key centre = mica_key_fold(mica_key_seed(77), (uint64_t)label[i]);
      x[i * d + j] = 1.5 * mica_random_normal(centre, (uint64_t)j) +
                     mica_random_normal(mica_key_seed(seed), (uint64_t)(i * d + j)) + 1;
    }
  }
}

static mica_engine *engine;

static int set_up(void **state) {
  (void)state;
  engine = test_engine(2);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

/* Share of rows answered "none of these", and of right answers. */
static double refused(const mica_estimator *e, const double *x, const int64_t *label, int64_t n,
                      double *right) {
  int64_t *got = malloc((size_t)n * sizeof *got), none = 0, hits = 0;
  test_predict(e, test_rows(x, n, d), got, NULL, NULL, NULL);
  for (int64_t i = 0; i < n; i++) none += got[i] == MICA_CLASS_NONE, hits += got[i] == label[i];
  free(got);
  if (right) *right = (double)hits / (double)n;
  return (double)none / (double)n;
}

enum { train = 600, test = 3000 };

static void test_refusal(void **state) {
  (void)state;
  static double x[train * d], q[test * d], unknown[test * d];
  static int64_t y[train], yq[test], yu[test];
  const char *const with[] = {"prototypes", "prototypes:metric=euclidean", "prototypes:doubt=true",
                              "knn:reject=0.05", "gaussian"};
  make_rows(train, 0, 6, 1, x, y);
  make_rows(test, 0, 6, 2, q, yq);
  make_rows(test, 10, 6, 3, unknown, yu);
  mica_fit_data data = test_data(x, train, d, y);
  for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
    mica_estimator *e = test_fit(engine, with[i], &data, NULL);
    double right, rate = refused(e, q, yq, test, &right),
                  strange = refused(e, unknown, yu, test, NULL);
    if (!(rate > 0.02 && rate < 0.09 && right > 0.85 && strange > 0.2)) {
      print_error("%s: refuses %g of known rows, %g of unknown ones, %g right\n", with[i], rate,
                  strange, right);
      fail();
    }
    assert_int_equal(mica_estimator_set_rejection(e, 0.2), MICA_OK);
    double more = refused(e, q, yq, test, NULL);
    assert_true(more > 0.13 && more < 0.28);
    assert_int_equal(mica_estimator_set_rejection(e, 0), MICA_OK);
    assert_true(isinf(mica_estimator_threshold(e)) && refused(e, q, yq, test, NULL) == 0);
    assert_int_equal(mica_estimator_set_rejection(e, 1), MICA_ERR_INVALID);
    assert_int_equal(mica_estimator_set_rejection(e, NAN), MICA_ERR_INVALID);
    mica_estimator_free(e);
  }
  /* Held-out rows calibrate those that have no leave-one-out scores. */
  mica_view held = test_rows(q, test / 2, d);
  mica_fit_report report = {.size = sizeof report};
  mica_estimator *e = test_fit(engine, "logistic:reject=0.05", &data, &report);
  assert_true(strlen(report.note) > 10 && refused(e, q, yq, test, NULL) == 0);
  assert_int_equal(mica_estimator_set_rejection(e, 0.1), MICA_ERR_STATE);
  mica_estimator_free(e);
  data.held_out = &held;
  e = test_fit(engine, "logistic:reject=0.05", &data, &report);
  double rate = refused(e, q + test / 2 * d, yq, test / 2, NULL);
  assert_true(rate > 0.03 && rate < 0.075 && refused(e, q, yq, test / 2, NULL) <= 0.0501);
  mica_estimator_free(e);
}

/* The threshold is the conformal order statistic, exact in the tail also of many scores. */
static void test_thresholds(void **state) {
  (void)state;
  for (int64_t n = 10; n <= 100000; n *= 100) {
    double *score = malloc((size_t)n * sizeof *score);
    int64_t *order = malloc((size_t)n * sizeof *order);
    mica_random_permutation(mica_key_seed(4), n, order);
    for (int64_t i = 0; i < n; i++) score[order[i]] = (double)(i + 1);
    mica_refusal r = {0};
    assert_int_equal(mica_refusal_keep(&r, score, n), MICA_OK);
    assert_true(r.rows == n && r.count <= MICA_REFUSAL_KEPT);
    const double rates[] = {0.001, 0.01, 0.02, 0.05, 0.5, 0.9};
    for (int i = 0; i < 6; i++) {
      double want = fmin(ceil((double)(n + 1) * (1 - rates[i]) - 1e-9), (double)n);
      double got = mica_refusal_threshold(&r, rates[i]);
      /* Thinned ranks are 1 in 48 here, and never below the wanted one. */
      assert_true(got >= want && got <= want + ((double)n - want >= 2048 ? 49 : 0));
    }
    mica_refusal_clear(&r);
    free(score), free(order);
  }
}

static void test_added_classes(void **state) {
  (void)state;
  static double x[train * d], q[test * d], more[20 * d], both[2 * test * d];
  static int64_t y[train], yq[test], ym[20], yb[2 * test];
  const char *const with[] = {"prototypes", "prototypes:metric=euclidean", "knn:k=3", "gaussian"};
  make_rows(train, 0, 5, 1, x, y);
  make_rows(test, 0, 5, 2, q, yq);
  make_rows(test, 5, 2, 3, both, yb);
  memcpy(both + test * d, q, sizeof q);
  memcpy(yb + test, yq, sizeof yq);
  make_rows(20, 5, 2, 4, more, ym); /* rows 0, 2, ... are of class 5, the others of class 6 */
  mica_fit_data data = test_data(x, train, d, y);
  for (size_t s = 0; s < sizeof with / sizeof *with; s++) {
    mica_estimator *e = test_fit(engine, with[s], &data, NULL);
    double before;
    refused(e, q, yq, test, &before);
    for (int64_t c = 0; c < 2; c++) {
      mica_view examples = test_rows(more + c * d, 5, d);
      examples.row_stride = 2 * d;
      int64_t label = -7;
      assert_int_equal(mica_estimator_add_class(e, &examples, &label), MICA_OK);
      assert_int_equal(label, 5 + c);
      assert_int_equal(mica_estimator_classes(e), 6 + c);
      assert_int_equal(mica_estimator_outputs(e), 6 + c);
    }
    double added, all;
    refused(e, both, yb, test, &added);
    refused(e, both, yb, 2 * test, &all);
    if (!(added > 0.75 && all > 0.8)) {
      print_error("%s: %g of the added classes right, %g of all, %g before\n", with[s], added, all,
                  before);
      fail();
    }
    mica_estimator_free(e);
  }
  /* One example is enough to be found again, and many classes grow the tables. */
  mica_estimator *e = test_fit(engine, "prototypes:reject=0", &data, NULL);
  for (int64_t c = 0; c < 30; c++) {
    double one[d];
    for (int64_t j = 0; j < d; j++)
      one[j] = (double)(c + 2) * (j == c % d ? 40 : j == c / d ? -30 : 0);
    mica_view row = test_rows(one, 1, d);
    int64_t label, got;
    assert_int_equal(mica_estimator_add_class(e, &row, &label), MICA_OK);
    test_predict(e, row, &got, NULL, NULL, NULL);
    assert_int_equal(label, 5 + c);
    assert_int_equal(got, label);
  }
  mica_view none = test_rows(x, 0, d), narrow = test_rows(x, 3, d - 1);
  assert_int_equal(mica_estimator_add_class(e, &none, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_estimator_add_class(e, &narrow, NULL), MICA_ERR_SHAPE);
  assert_int_equal(mica_estimator_classes(e), 35);
  mica_estimator_free(e);
  mica_view row = test_rows(x, 2, d);
  e = test_fit(engine, "logistic", &data, NULL);
  assert_int_equal(mica_estimator_add_class(e, &row, NULL), MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
  e = test_fit(engine, "gaussian:classes=one", &data, NULL);
  assert_int_equal(mica_estimator_add_class(e, &row, NULL), MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
}

/* A head of one example a class refuses nothing, until a class of several gives it a scale. */
static void test_single_examples(void **state) {
  (void)state;
  double x[4 * d], far[d], more[6 * d];
  int64_t y[4], ym[6], label;
  make_rows(4, 0, 4, 1, x, y);
  make_rows(6, 4, 1, 2, more, ym);
  for (int j = 0; j < d; j++) far[j] = j % 2 ? 300 : -200;
  mica_fit_data data = test_data(x, 4, d, y);
  mica_fit_report report = {.size = sizeof report};
  mica_estimator *e = test_fit(engine, "prototypes", &data, &report);
  assert_true(strlen(report.note) > 10 && isinf(mica_estimator_threshold(e)));
  test_predict(e, test_rows(far, 1, d), &label, NULL, NULL, NULL);
  assert_true(label >= 0);
  mica_view examples = test_rows(more, 6, d);
  assert_int_equal(mica_estimator_add_class(e, &examples, &label), MICA_OK);
  assert_true(isfinite(mica_estimator_threshold(e)));
  test_predict(e, test_rows(more, 1, d), &label, NULL, NULL, NULL);
  assert_int_equal(label, 4);
  test_predict(e, test_rows(far, 1, d), &label, NULL, NULL, NULL);
  assert_int_equal(label, MICA_CLASS_NONE);
  mica_estimator_free(e);
}

typedef struct {
  int64_t label[40];
  double score[40 * 4], probability[40 * 4], anomaly[40];
} answers;

static void ask(const mica_estimator *e, mica_view x, answers *a) {
  const mica_estimator_functions *fn = mica_estimator_component(e)->functions;
  bool probability = fn->abilities & MICA_ESTIMATOR_PROBABILITIES &&
                     mica_estimator_task(e) == MICA_TASK_CLASSIFICATION;
  memset(a, 0, sizeof *a);
  test_predict(e, x, a->label, a->score, probability ? a->probability : NULL,
               fn->abilities & MICA_ESTIMATOR_DETECTS ? a->anomaly : NULL);
  for (int i = 0; i < 40 && probability; i++) {
    double sum = 0;
    for (int c = 0; c < 4; c++) sum += a->probability[4 * i + c];
    assert_near(sum, 1, 1e-12);
  }
}

static void test_records(void **state) {
  (void)state;
  double x[160 * d], q[40 * d];
  int64_t y[160], yq[40];
  make_rows(160, 0, 4, 1, x, y);
  make_rows(40, 0, 6, 2, q, yq);
  mica_fit_data data = test_data(x, 160, d, y);
  for (int s = 0; s < spec_count; s++) {
    mica_estimator *e = test_fit(engine, specs[s], &data, NULL), *again;
    mica_record *record, *twice;
    answers before, after;
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_record_create(&twice), MICA_OK);
    assert_int_equal(mica_estimator_save(e, record), MICA_OK);
    assert_int_equal(mica_estimator_load(engine, record, &again), MICA_OK);
    ask(e, test_rows(q, 40, d), &before);
    ask(again, test_rows(q, 40, d), &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_true(mica_estimator_threshold(e) == mica_estimator_threshold(again));
    assert_int_equal(mica_estimator_task(e), mica_estimator_task(again));
    assert_int_equal(mica_estimator_save(again, twice), MICA_OK);
    assert_string_equal(mica_record_json(record), mica_record_json(twice));
    assert_int_equal(mica_record_count(record), mica_record_count(twice));
    /* What can learn before a save can learn after it. */
    mica_view row = test_rows(q + 4 * d, 1, d);
    assert_int_equal(mica_estimator_add_class(e, &row, NULL),
                     mica_estimator_add_class(again, &row, NULL));
    mica_estimator_free(again);
    /* Every tensor is needed, and each is checked. */
    for (int64_t i = 0; i < mica_record_count(record); i++) {
      mica_record *part;
      const char *gone;
      assert_int_equal(mica_record_create(&part), MICA_OK);
      assert_int_equal(mica_record_set_json(part, mica_record_json(record)), MICA_OK);
      for (int64_t j = 0; j < mica_record_count(record); j++) {
        const char *name;
        mica_tensor *t = mica_record_at(record, j, &name);
        if (j == i)
          gone = name;
        else
          assert_int_equal(mica_record_put(part, name, t), MICA_OK);
      }
      assert_non_null(mica_record_at(record, i, &gone));
      mica_status status = mica_estimator_load(engine, part, &again);
      /* Without its scores a record says that it refuses but not when; one that never refuses needs
       * none. */
      if (strncmp(gone, "refusal.score", 13) == 0 && status == MICA_OK)
        assert_true(isinf(mica_estimator_threshold(again)));
      else if (strncmp(gone, "refusal", 7) == 0)
        assert_true(status == MICA_ERR_FORMAT || status == MICA_ERR_STATE || status == MICA_OK);
      else
        assert_int_equal(status, MICA_ERR_FORMAT);
      mica_estimator_free(again);
      mica_tensor *odd;
      assert_int_equal(mica_tensor_create(MICA_F64, MICA_SHAPE(3, 1, 2), &odd), MICA_OK);
      mica_status put = mica_record_put(part, gone, odd);
      assert_int_equal(put, MICA_OK);
      assert_int_equal(mica_estimator_load(engine, part, &again), MICA_ERR_FORMAT);
      assert_null(again);
      mica_tensor_free(odd);
      mica_record_free(part);
    }
    mica_record_free(record);
    mica_record_free(twice);
    mica_estimator_free(e);
  }
}

static void test_negative_count(void **state) {
  (void)state;
  static const char *const counting[] = {"prototypes", "gaussian", "naive_bayes"};
  double x[60 * d];
  int64_t y[60];
  make_rows(60, 0, 3, 1, x, y);
  const mica_fit_data data = test_data(x, 60, d, y);
  for (int s = 0; s < 3; s++) {
    mica_estimator *e = test_fit(engine, counting[s], &data, NULL), *again;
    mica_record *record;
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_estimator_save(e, record), MICA_OK);
    for (int64_t i = 0; i < mica_record_count(record); i++) {
      const char *name;
      mica_tensor *t = mica_record_at(record, i, &name);
      if (strcmp(name, "count") == 0) ((double *)mica_tensor_data(t))[1] = -4;
    }
    assert_int_equal(mica_estimator_load(engine, record, &again), MICA_ERR_FORMAT);
    assert_non_null(strstr(mica_last_error(), "class 1 has -4 examples"));
    mica_record_free(record);
    mica_estimator_free(e);
  }
}

static void test_hostile_records(void **state) {
  (void)state;
  const char *const bad[] = {
      "{}",
      "nonsense",
      "{\"format\":1}",
      "{\"format\":\"1\"}",
      "{\"format\":1,\"estimator\":\"prototypes\",\"task\":\"classification\",\"features\":-3,"
      "\"classes\":2,"
      "\"outputs\":2,\"rejection\":0}",
      "{\"format\":1,\"estimator\":\"prototypes\",\"task\":\"classification\",\"features\":"
      "2147483647,"
      "\"classes\":2147483647,\"outputs\":2147483647,\"rejection\":0}",
      "{\"format\":1,\"estimator\":\"prototypes\",\"task\":\"classification\",\"features\":3,"
      "\"classes\":2,"
      "\"outputs\":5,\"rejection\":0}",
      "{\"format\":1,\"estimator\":\"prototypes\",\"task\":\"magic\",\"features\":3,\"classes\":2,"
      "\"outputs\":2,\"rejection\":0}",
      "{\"format\":1,\"estimator\":\"prototypes\",\"task\":\"classification\",\"features\":3,"
      "\"classes\":2,"
      "\"outputs\":2,\"rejection\":2}",
      "{\"format\":1,\"estimator\":\"ridge\",\"task\":\"anomaly\",\"features\":3,\"classes\":1,"
      "\"outputs\":1,\"rejection\":0}",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mica_record *record;
    mica_estimator *e;
    assert_int_equal(mica_record_create(&record), MICA_OK);
    assert_int_equal(mica_record_set_json(record, bad[i]), MICA_OK);
    mica_status status = mica_estimator_load(engine, record, &e);
    if (status != MICA_ERR_FORMAT && status != MICA_ERR_MEMORY) {
      print_error("%s: %s\n", bad[i], status ? mica_last_error() : "loaded");
      fail();
    }
    assert_null(e);
    mica_record_free(record);
  }
  mica_record *record;
  mica_estimator *e;
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_record_set_json(record, "{\"format\":2}"), MICA_OK);
  assert_int_equal(mica_estimator_load(engine, record, &e), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "newer"));
  /* Tasks that the estimator is not for. */
  static const char *const tasks[][2] = {{"linear_svm", "anomaly"},
                                         {"logistic", "regression"},
                                         {"ridge", "anomaly"},
                                         {"naive_bayes", "anomaly"},
                                         {"knn", "anomaly"},
                                         {"prototypes", "anomaly"},
                                         {"gaussian", "regression"},
                                         {"one_class_svm", "classification"},
                                         {0}};
  for (int i = 0; tasks[i][0]; i++) {
    char json[200], said[100];
    snprintf(json, sizeof json,
             "{\"format\":1,\"estimator\":\"%s\",\"task\":\"%s\",\"features\":3,\"classes\":2,"
             "\"outputs\":2,\"rejection\":0}",
             tasks[i][0], tasks[i][1]);
    snprintf(said, sizeof said, "%s is not for %s", tasks[i][0], tasks[i][1]);
    assert_int_equal(mica_record_set_json(record, json), MICA_OK);
    assert_int_equal(mica_estimator_load(engine, record, &e), MICA_ERR_FORMAT);
    assert_non_null(strstr(mica_last_error(), said));
  }
  assert_int_equal(mica_record_set_json(record,
                                        "{\"format\":1,\"estimator\":\"prototipes\",\"task\":"
                                        "\"classification\",\"features\":3,\"classes\":2,"
                                        "\"outputs\":2,\"rejection\":0}"),
                   MICA_OK);
  assert_int_equal(mica_estimator_load(engine, record, &e), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "prototypes"));
  mica_tensor *t;
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(2), &t), MICA_OK);
  assert_int_equal(mica_record_put(record, "a b", t), MICA_ERR_INVALID);
  assert_int_equal(mica_record_put(record, "", t), MICA_ERR_INVALID);
  assert_int_equal(mica_record_put(record, "a", t), MICA_OK);
  assert_int_equal(mica_record_put(record, "a", t), MICA_ERR_INVALID);
  assert_null(mica_record_get(record, "b"));
  assert_int_equal(mica_last_status(), MICA_ERR_NOT_FOUND);
  mica_tensor_free(t);
  mica_record_free(record);
}

/* float32 rows with a stride, and 1, 2 and 5 threads: the same bits. */
static void test_bits(void **state) {
  (void)state;
  enum { rows = 1500, stride = d + 4 };
  static double x[rows * d], q[40 * d];
  static float f[rows * stride];
  static int64_t y[rows], yq[40];
  make_rows(rows, 0, 4, 1, x, y);
  make_rows(40, 0, 6, 2, q, yq);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < stride; j++) f[i * stride + j] = j < d ? (float)x[i * d + j] : NAN;
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_view_of(f, MICA_F32, MICA_SHAPE(rows, d));
  data.x.row_stride = stride;
  data.label = y;
  for (int s = 0; s < spec_count; s++) {
    answers first, other;
    double threshold = 0;
    for (int t = 0; t < 3; t++) {
      mica_engine *one = test_engine(t == 0 ? 1 : t == 1 ? 2 : 5);
      mica_estimator *e = test_fit(one, specs[s], &data, NULL);
      ask(e, test_rows(q, 40, d), t ? &other : &first);
      if (t) assert_memory_equal(&first, &other, sizeof first);
      if (t) assert_true(threshold == mica_estimator_threshold(e));
      threshold = mica_estimator_threshold(e);
      mica_estimator_free(e);
      mica_engine_free(one);
    }
  }
}

/* Few rows, more columns than rows, constant columns, equal rows, absent classes. */
static void test_awkward_data(void **state) {
  (void)state;
  enum { wide = 40 };
  double x[6 * wide];
  int64_t y[6] = {0, 2, 0, 2, 0, 2};
  for (int i = 0; i < 6 * wide; i++)
    x[i] = i % wide == 3
               ? 7
               : mica_random_normal(mica_key_seed(5), (uint64_t)i) + 3 * (double)y[i / wide];
  mica_fit_data data = test_data(x, 6, wide, y);
  data.classes = 4; /* 1 and 3 have no examples */
  for (int s = 0; s < spec_count; s++) {
    if (strstr(specs[s], "levels")) continue;
    mica_estimator *e = test_fit(engine, specs[s], &data, NULL);
    int64_t label[6];
    double score[24];
    test_predict(e, data.x, label, score, NULL, NULL);
    for (int i = 0; i < 6; i++)
      if (mica_estimator_task(e) == MICA_TASK_CLASSIFICATION) {
        assert_true(label[i] == 0 || label[i] == 2 || label[i] == MICA_CLASS_NONE);
        for (int c = 0; c < 4; c++) assert_true(score[4 * i + c] == score[4 * i + c]);
      }
    mica_estimator_free(e);
  }
  /* Equal rows have no covariance; everything else still answers. */
  for (int i = 0; i < 6 * wide; i++) x[i] = (double)y[i / wide] + 1;
  for (int s = 0; s < spec_count; s++) {
    mica_estimator *e;
    if (strstr(specs[s], "levels")) continue;
    assert_int_equal(mica_estimator_create(engine, specs[s], &e), MICA_OK);
    mica_status status = mica_estimator_fit(e, &data, NULL);
    bool each = strcmp(specs[s], "gaussian") == 0;
    assert_int_equal(status, each ? MICA_ERR_NUMERIC : MICA_OK);
    int64_t label[6];
    if (!status) test_predict(e, data.x, label, NULL, NULL, NULL);
    if (!status && mica_estimator_task(e) == MICA_TASK_CLASSIFICATION &&
        !strstr(specs[s], "cosine") && !strstr(specs[s], "similarity") &&
        strcmp(specs[s], "knn:k=3") != 0)
      for (int i = 0; i < 6; i++) assert_int_equal(label[i], y[i]);
    mica_estimator_free(e);
  }
}

static void expect(const char *spec, const mica_fit_data *data, mica_status status,
                   const char *text) {
  mica_estimator *e;
  assert_int_equal(mica_estimator_create(engine, spec, &e), MICA_OK);
  assert_int_equal(mica_estimator_fit(e, data, NULL), status);
  if (!strstr(mica_last_error(), text)) {
    print_error("%s: \"%s\" lacks \"%s\"\n", spec, mica_last_error(), text);
    fail();
  }
  assert_false(mica_estimator_fitted(e));
  mica_estimator_free(e);
}

static int cancel(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)ctx, (void)what, (void)done, (void)total;
  return 1;
}

static void test_errors(void **state) {
  (void)state;
  double x[60 * d], t[60];
  int64_t y[60];
  make_rows(60, 0, 3, 1, x, y);
  for (int i = 0; i < 60; i++) t[i] = x[i * d];
  mica_fit_data data = test_data(x, 60, d, y), bad = data;
  mica_view target = test_rows(t, 60, 1);
  expect("gaussian:levels=3,4", &data, MICA_ERR_INVALID, "levels of 7 columns");
  expect("gaussian:classes=each:distance=euclidean", &data, MICA_ERR_INVALID, "classes=each");
  expect("gaussian:law=chi2:levels=6,6", &data, MICA_ERR_INVALID, "law=chi2");
  expect("ridge:lambda=0,1", &data, MICA_ERR_INVALID, "lambda 0");
  bad.label = NULL;
  expect("logistic", &bad, MICA_ERR_INVALID, "needs labels");
  expect("gaussian:classes=each", &bad, MICA_ERR_INVALID, "classes=each");
  bad.target = &target;
  expect("prototypes", &bad, MICA_ERR_UNSUPPORTED, "not real values");
  bad.label = y;
  expect("ridge", &bad, MICA_ERR_INVALID, "both labels and targets");
  bad.label = NULL;
  target.shape.dim[0] = 59;
  expect("ridge", &bad, MICA_ERR_SHAPE, "59 rows of targets");
  target.shape.dim[0] = 60;
  t[13] = NAN;
  expect("ridge", &bad, MICA_ERR_NUMERIC, "targets: row 13, column 0 is NaN");
  bad = data;
  bad.x.shape.dim[0] = 0;
  expect("knn", &bad, MICA_ERR_INVALID, "no rows");
  bad = data;
  bad.x.dtype = MICA_I32;
  expect("knn", &bad, MICA_ERR_SHAPE, "expected float32 or float64");
  bad = data;
  bad.classes = 2;
  expect("logistic", &bad, MICA_ERR_INVALID, "label 2 of row 2, expected 0..1");
  y[5] = -1;
  expect("prototypes", &data, MICA_ERR_INVALID, "label -1 of row 5");
  y[5] = INT64_MAX - 5;
  expect("prototypes", &data, MICA_ERR_INVALID, "class count");
  y[5] = 2;
  for (int i = 0; i < 60; i++) y[i] = 1;
  expect("logistic", &data, MICA_ERR_INVALID, "one class only");
  for (int i = 0; i < 60; i++) y[i] = i % 3;
  bad = data;
  bad.progress = cancel;
  expect("logistic", &bad, MICA_ERR_CANCELLED, "cancelled");
  expect("gaussian", &bad, MICA_ERR_CANCELLED, "cancelled");
  mica_view narrow = test_rows(x, 10, d - 1);
  bad = data;
  bad.held_out = &narrow;
  expect("prototypes", &bad, MICA_ERR_SHAPE, "held-out features have 11 columns");
  x[7 * d + 2] = NAN;
  expect("prototypes", &data, MICA_ERR_NUMERIC, "features: row 7, column 2 is NaN");
  x[7 * d + 2] = 0;
  mica_estimator *e;
  assert_int_equal(mica_estimator_create(engine, "prototype", &e), MICA_ERR_NOT_FOUND);
  assert_null(e);
  assert_non_null(strstr(mica_last_error(), "prototypes"));
  assert_int_equal(mica_estimator_create(engine, "knn:K=3", &e), MICA_ERR_INVALID);

  int64_t label[60];
  mica_prediction p = MICA_PREDICTION;
  p.label = label;
  assert_int_equal(mica_estimator_create(engine, "ridge", &e), MICA_OK);
  assert_int_equal(mica_estimator_predict(e, &data.x, &p), MICA_ERR_STATE);
  assert_int_equal(mica_estimator_add_class(e, &data.x, NULL), MICA_ERR_STATE);
  assert_int_equal(mica_estimator_set_rejection(e, 0.1), MICA_ERR_STATE);
  assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_OK);
  assert_int_equal(mica_estimator_predict(e, &data.x, &p), MICA_OK);
  p.probability = t;
  assert_int_equal(mica_estimator_predict(e, &data.x, &p), MICA_ERR_UNSUPPORTED);
  assert_non_null(strstr(mica_last_error(), "no probabilities"));
  p.probability = NULL;
  assert_int_equal(mica_estimator_predict(e, &narrow, &p), MICA_ERR_SHAPE);
  x[3] = INFINITY;
  assert_int_equal(mica_estimator_predict(e, &data.x, &p), MICA_ERR_NUMERIC);
  /* A failed fit keeps the earlier one. */
  assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_ERR_NUMERIC);
  x[3] = 0;
  assert_true(mica_estimator_fitted(e));
  assert_int_equal(mica_estimator_predict(e, &data.x, &p), MICA_OK);
  mica_view empty = test_rows(x, 0, d);
  assert_int_equal(mica_estimator_predict(e, &empty, &p), MICA_OK);
  char *spec = mica_estimator_spec(e);
  assert_string_equal(spec, "ridge");
  mica_free(spec);
  mica_estimator_free(e);
  mica_estimator_free(NULL);
}

/* Rows of the background vote for nothing and are taken off: what resembles them is not sure. */
static void test_background(void **state) {
  (void)state;
  const double x[] = {1, 0, 0, 1, 0.1, 0, 0, 1, 0, 0.1, 1, 0, 0, 0, 1, 0, 0.1, 1};
  const int64_t y[] = {0, 0, 1, 1, 2, 2};
  const double ask[] = {1, 0.05, 0, 0.6, 0, 0.7};
  const mica_view q = mica_view_of((void *)(uintptr_t)ask, MICA_F64, MICA_SHAPE(2, 3));
  mica_fit_data data = MICA_FIT_DATA;
  mica_estimator *e, *again;
  mica_record *record;
  data.x = mica_view_of((void *)(uintptr_t)x, MICA_F64, MICA_SHAPE(6, 3));
  data.label = y;
  assert_int_equal(mica_estimator_create(engine, "knn:k=2:weights=similarity:background=2", &e),
                   MICA_OK);
  assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_OK);
  double score[6], more[6], p[6], anomaly[2];
  int64_t label[2];
  test_predict(e, q, label, score, p, anomaly);
  assert_true(label[0] == 0 && label[1] == 0 && score[2] < 0 && p[2] == 0);
  /* The second question is as near to the background as to its class. */
  assert_true(score[0] > 1.8 && score[3] < 0.6 && anomaly[0] == -score[0]);
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_estimator_save(e, record), MICA_OK);
  assert_int_equal(mica_estimator_load(engine, record, &again), MICA_OK);
  test_predict(again, q, label, more, NULL, NULL);
  assert_memory_equal(score, more, sizeof score);
  mica_record_free(record);
  mica_estimator_free(again);
  mica_estimator_free(e);
  expect("knn:background=2", &data, MICA_ERR_INVALID, "weights=similarity");
  const int64_t nothing[] = {2, 2, 2, 2, 2, 2};
  data.label = nothing;
  expect("knn:weights=similarity:background=2", &data, MICA_ERR_INVALID, "all rows");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refusal),         cmocka_unit_test(test_thresholds),
      cmocka_unit_test(test_added_classes),   cmocka_unit_test(test_single_examples),
      cmocka_unit_test(test_records),         cmocka_unit_test(test_negative_count),
      cmocka_unit_test(test_hostile_records), cmocka_unit_test(test_bits),
      cmocka_unit_test(test_awkward_data),    cmocka_unit_test(test_background),
      cmocka_unit_test(test_errors),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
