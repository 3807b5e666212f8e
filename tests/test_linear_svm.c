/* The linear support vector machine: optimality, margins, weights of classes, threads. */
#include "support/estimator.h"

#include <mica/mica.h>

#include <math.h>
#include <string.h>

enum { N = 60, D = 3, K = 3 };

static mica_engine *engine;
static double x[N * D];
static int64_t label[N];

static void make_data(void) {
  for (int i = 0; i < N; i++) {
    label[i] = i % K;
    for (int j = 0; j < D; j++)
      x[i * D + j] =
          mica_random_normal(mica_key_seed(8), (uint64_t)(i * D + j)) + (label[i] == j ? 1.5 : 0);
  }
}

/* The primal objective of class c at (w, b), the intercept being a feature of value v. */
static double primal(const double *w, double b, double v, int c, double cost, bool squared) {
  double value = 0.5 * (b / v) * (b / v), sum = 0;
  for (int j = 0; j < D; j++) value += 0.5 * w[j] * w[j];
  for (int i = 0; i < N; i++) {
    double score = b;
    for (int j = 0; j < D; j++) score += w[j] * x[i * D + j];
    const double margin = fmax(0, 1 - (label[i] == c ? 1 : -1) * score);
    sum += squared ? margin * margin : margin;
  }
  return value + cost * sum;
}

/* No step in any direction makes the objective of any class smaller. */
static void test_optimal(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    double cost, value;
    bool squared;
  } cases[] = {{"linear_svm:tol=1e-10:max_iter=100000", 1, 1, true},
               {"linear_svm:loss=hinge:tol=1e-10:max_iter=100000:C=0.3", 0.3, 1, false},
               {"linear_svm:C=5:intercept=3:tol=1e-10:max_iter=100000", 5, 3, true}};
  const mica_fit_data data = test_data(x, N, D, label);
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    double w[K * D], b[K], total = 0;
    mica_fit_report report = {.size = sizeof report};
    mica_estimator *e = test_fit(engine, cases[k].spec, &data, &report);
    assert_int_equal(report.converged, 1);
    assert_int_equal(mica_estimator_linear(e, w, b), MICA_OK);
    for (int c = 0; c < K; c++) {
      double *own = w + c * D;
      const double at = primal(own, b[c], cases[k].value, c, cases[k].cost, cases[k].squared);
      total += at;
      for (int j = 0; j <= D; j++)
        for (int sign = -1; sign <= 1; sign += 2) {
          double *v = j < D ? &own[j] : &b[c], old = *v;
          *v += sign * 1e-4;
          assert_true(primal(own, b[c], cases[k].value, c, cases[k].cost, cases[k].squared) >=
                      at - 1e-9);
          *v = old;
        }
    }
    assert_near(report.objective, total, 1e-9);
    mica_estimator_free(e);
  }
}

/* Two points on a line through the origin, without a bias: both margins are 1. */
static void test_margin(void **state) {
  (void)state;
  const double line[] = {-2, 2};
  const int64_t two[] = {0, 1};
  const mica_fit_data data = test_data(line, 2, 1, two);
  double w[2], b[2];
  mica_estimator *e =
      test_fit(engine, "linear_svm:loss=hinge:C=100:intercept=0:tol=1e-9", &data, NULL);
  assert_int_equal(mica_estimator_linear(e, w, b), MICA_OK);
  assert_near(w[1], 0.5, 1e-9);
  assert_near(w[0], -0.5, 1e-9);
  assert_true(b[0] == 0 && b[1] == 0);
  mica_estimator_free(e);
}

static void test_answers(void **state) {
  (void)state;
  const mica_fit_data data = test_data(x, N, D, label);
  int64_t got[N];
  double score[N * K], anomaly[N];
  int right = 0;
  mica_estimator *e = test_fit(engine, "linear_svm", &data, NULL);
  test_predict(e, data.x, got, score, NULL, anomaly);
  for (int i = 0; i < N; i++) {
    right += got[i] == label[i];
    assert_near(anomaly[i], -score[i * K + got[i]], 1e-12);
  }
  assert_true(right > N * 0.7);
  mica_estimator_free(e);
  /* A class without rows is never the answer. */
  mica_fit_data more = data;
  more.classes = 5;
  double wide[N * 5];
  e = test_fit(engine, "linear_svm:class_weight=balanced", &more, NULL);
  test_predict(e, data.x, got, wide, NULL, NULL);
  for (int i = 0; i < N; i++) assert_true(isinf(wide[i * 5 + 4]) && got[i] < 3);
  mica_estimator_free(e);
  const mica_fit_data one = test_data(x, 1, D, label);
  assert_int_equal(mica_estimator_create(engine, "linear_svm", &e), MICA_OK);
  assert_int_equal(mica_estimator_fit(e, &one, NULL), MICA_ERR_INVALID);
  mica_estimator_free(e);
  mica_fit_report report = {.size = sizeof report};
  e = test_fit(engine, "linear_svm:max_iter=1:tol=1e-12", &data, &report);
  assert_int_equal(report.converged, 0);
  assert_non_null(strstr(report.note, "above the optimum"));
  mica_estimator_free(e);
}

static void test_threads(void **state) {
  (void)state;
  double w[2][K * D], b[2][K];
  const mica_fit_data data = test_data(x, N, D, label);
  for (int k = 0; k < 2; k++) {
    mica_engine *own = test_engine(k + 1);
    mica_estimator *e = test_fit(own, "linear_svm", &data, NULL);
    assert_int_equal(mica_estimator_linear(e, w[k], b[k]), MICA_OK);
    mica_estimator_free(e);
    mica_engine_free(own);
  }
  assert_memory_equal(w[0], w[1], sizeof w[0]);
  assert_memory_equal(b[0], b[1], sizeof b[0]);
}

int main(void) {
  engine = test_engine(1);
  make_data();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_optimal), cmocka_unit_test(test_margin),
                                     cmocka_unit_test(test_answers),
                                     cmocka_unit_test(test_threads)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
