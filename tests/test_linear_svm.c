/* The linear support vector machine: optimality, margins, weights of classes, threads; the primal
 * against the dual, the choice of a cost, rows in groups. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
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

/* Both solvers find one machine; its objective is as the primal says. */
static void test_primal(void **state) {
  (void)state;
  static const char *const specs[] = {
      "C=1",
      "C=300",
      "C=0.001:intercept=0",
      "C=7:intercept=3:class_weight=balanced",
      "C=2:scheme=ovo",
  };
  const mica_fit_data data = test_data(x, N, D, label);
  for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
    mica_estimator *e[2];
    mica_fit_report report[2];
    double score[2][N * K];
    for (int solver = 0; solver < 2; solver++) {
      char spec[160];
      report[solver].size = sizeof report[solver];
      snprintf(spec, sizeof spec, "linear_svm:%s:solver=%s:tol=1e-11:max_iter=1000000", specs[k],
               solver ? "primal" : "dual");
      e[solver] = test_fit(engine, spec, &data, &report[solver]);
      assert_int_equal(report[solver].converged, 1);
      test_predict(e[solver], data.x, NULL, score[solver], NULL, NULL);
    }
    assert_near(report[1].objective, report[0].objective, 1e-8 * report[0].objective);
    assert_true(report[1].iterations < 40);
    for (int i = 0; i < N * K; i++) assert_near(score[1][i], score[0][i], 1e-5);
    mica_estimator_free(e[0]);
    mica_estimator_free(e[1]);
  }
  /* Stopped early, it says by how much at most; that is so. */
  mica_fit_report early = {.size = sizeof early}, best = {.size = sizeof best};
  mica_estimator *e = test_fit(engine, "linear_svm:C=50:solver=primal:max_iter=2", &data, &early);
  assert_int_equal(early.converged, 0);
  assert_int_equal(early.iterations, 2);
  assert_non_null(strstr(early.note, "above the optimum"));
  mica_estimator_free(e);
  e = test_fit(engine, "linear_svm:C=50:solver=primal:tol=1e-11", &data, &best);
  assert_true(best.objective <= early.objective);
  mica_estimator_free(e);
  /* Rows of zeros, whose machine is 0. */
  double zeros[4] = {0};
  const int64_t two[] = {0, 1, 0, 1};
  const mica_fit_data nothing = test_data(zeros, 4, 1, two);
  e = test_fit(engine, "linear_svm:solver=primal:intercept=0", &nothing, &best);
  assert_int_equal(best.converged, 1);
  assert_near(best.objective, 8, 0);
  mica_estimator_free(e);
  static const char *const bad[] = {"linear_svm:solver=primal:loss=hinge",
                                    "linear_svm:solver=primal:bias=free"};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(mica_estimator_create(engine, bad[i], &e), MICA_OK);
    assert_int_equal(mica_estimator_fit(e, &data, NULL), MICA_ERR_INVALID);
    mica_estimator_free(e);
  }
}

/* What cross-validation by hand prefers is what the fit takes. */
static void test_choice(void **state) {
  (void)state;
  const mica_fit_data data = test_data(x, N, D, label);
  mica_fit_report report = {.size = sizeof report}, alone = {.size = sizeof alone};
  mica_contender c[3] = {MICA_CONTENDER("linear_svm:C=0.0001:seed=3"),
                         MICA_CONTENDER("linear_svm:C=0.1:seed=3"),
                         MICA_CONTENDER("linear_svm:C=1000:seed=3")};
  const double cost[] = {0.0001, 0.1, 1000};
  assert_int_equal(mica_cross_validate(engine, &data, 4, 3, 0.95, 3, c, NULL), MICA_OK);
  int best = 0;
  for (int i = 2; i >= 0; i--)
    if (c[i].best) best = i;
  mica_estimator *e =
      test_fit(engine, "linear_svm:C=0.0001,0.1,1000:seed=3:folds=4", &data, &report);
  assert_near(report.chosen, cost[best], 0);
  assert_non_null(strstr(report.note, "C="));
  double w[2][K * D], b[2][K];
  assert_int_equal(mica_estimator_linear(e, w[0], b[0]), MICA_OK);
  mica_estimator_free(e);
  char spec[80];
  snprintf(spec, sizeof spec, "linear_svm:C=%g:seed=3", cost[best]);
  e = test_fit(engine, spec, &data, &alone);
  assert_true(isnan(alone.chosen));
  assert_int_equal(mica_estimator_linear(e, w[1], b[1]), MICA_OK);
  assert_memory_equal(w[0], w[1], sizeof w[0]);
  mica_estimator_free(e);
  const mica_fit_data few = test_data(x, 3, D, label);
  assert_int_equal(mica_estimator_create(engine, "linear_svm:C=1,10", &e), MICA_OK);
  assert_int_equal(mica_estimator_fit(e, &few, NULL), MICA_ERR_INVALID);
  mica_estimator_free(e);
}

/* Rows that are there four times: apart they give each other away, as a group they do not. */
static void test_groups(void **state) {
  (void)state;
  enum { ROWS = 80, WIDE = 60 };
  static double noise[ROWS * WIDE];
  int64_t coin[ROWS], group[ROWS];
  int32_t fold[ROWS];
  for (int i = 0; i < ROWS; i++) {
    group[i] = 1000 - i / 4;
    coin[i] = i / 4 % 2;
    for (int j = 0; j < WIDE; j++)
      noise[i * WIDE + j] =
          mica_random_normal(mica_key_seed(5), (uint64_t)i / 4 * WIDE + (uint64_t)j);
  }
  mica_fit_data data = test_data(noise, ROWS, WIDE, coin);
  double accuracy[2];
  for (int k = 0; k < 2; k++) {
    mica_contender c = MICA_CONTENDER("linear_svm:C=100");
    data.group = k ? group : NULL;
    assert_int_equal(mica_cross_validate(engine, &data, 5, 1, 0.95, 1, &c, NULL), MICA_OK);
    accuracy[k] = c.accuracy.value;
  }
  assert_true(accuracy[0] == 1 && accuracy[1] < 0.8);
  /* Folds are of whole groups, as even as can be. */
  int64_t count[5] = {0};
  assert_int_equal(mica_group_folds(mica_key_seed(2), ROWS, coin, 2, group, 5, fold), MICA_OK);
  for (int i = 0; i < ROWS; i++) {
    count[fold[i]]++;
    assert_int_equal(fold[i], fold[i / 4 * 4]);
  }
  for (int k = 0; k < 5; k++) assert_int_equal(count[k], ROWS / 5);
  assert_int_equal(mica_group_folds(mica_key_seed(2), ROWS, NULL, 0, group, 20, fold), MICA_OK);
  assert_int_equal(mica_group_folds(mica_key_seed(2), ROWS, coin, 2, group, 21, fold),
                   MICA_ERR_INVALID);
  /* The choice of a cost keeps to them, also inside folds; and views of a row are a group. */
  mica_fit_report apart = {.size = sizeof apart}, together = {.size = sizeof together};
  data.group = NULL;
  mica_estimator *e = test_fit(engine, "linear_svm:C=0.0001,100", &data, &apart);
  assert_non_null(strstr(apart.note, "100 %"));
  mica_estimator_free(e);
  data.group = group;
  e = test_fit(engine, "linear_svm:C=0.0001,100", &data, &together);
  assert_null(strstr(together.note, "100 %"));
  mica_estimator_free(e);
  mica_contender nested = MICA_CONTENDER("linear_svm:C=0.01,1:folds=3");
  assert_int_equal(mica_cross_validate(engine, &data, 4, 1, 0.95, 1, &nested, NULL), MICA_OK);
  assert_int_equal(nested.status, MICA_OK);
  int64_t side[ROWS / 4];
  for (int i = 0; i < ROWS / 4; i++) side[i] = coin[4 * i];
  const mica_fit_data views = test_data(noise, ROWS / 4, 4 * WIDE, side);
  e = test_fit(engine, "transformed:views=4:with=(linear_svm:C=0.0001,100)", &views, &together);
  assert_null(strstr(together.note, "100 %"));
  assert_true(together.chosen > 0);
  mica_estimator_free(e);
}

static mica_status search(void *ctx) {
  const mica_fit_data data = test_data(x, N, D, label);
  mica_estimator *e = NULL;
  mica_status status = mica_estimator_create(engine, ctx, &e);
  if (!status) status = mica_estimator_fit(e, &data, NULL);
  mica_estimator_free(e);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  char spec[] = "linear_svm:C=1,10:folds=2:solver=primal";
  assert_int_equal(search(spec), MICA_OK);
  fail_each(search, spec);
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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_optimal),        cmocka_unit_test(test_margin),
      cmocka_unit_test(test_answers),        cmocka_unit_test(test_primal),
      cmocka_unit_test(test_choice),         cmocka_unit_test(test_groups),
      cmocka_unit_test(test_failing_memory), cmocka_unit_test(test_threads)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
