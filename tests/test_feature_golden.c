/* The estimators against scikit-learn's results on small data. */
#include "support/estimator.h"

#include "golden/feature_golden.h"

#include <stdio.h>
#include <string.h>

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

static mica_fit_data labelled(void) {
  return test_data(golden_x, 60, 5, golden_y);
}
static mica_view questions(void) {
  return test_rows(golden_xt, 12, 5);
}

/* The named float64 tensor of a fitted estimator's record. */
static void compare_state(const mica_estimator *e, const char *name, const double *want, int64_t n,
                          double tolerance) {
  mica_record *record;
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_estimator_save(e, record), MICA_OK);
  const mica_tensor *t = mica_record_get(record, name);
  assert_non_null(t);
  assert_int_equal(mica_tensor_count(t), n);
  assert_all_near((const double *)mica_tensor_data(t), want, n, tolerance);
  mica_record_free(record);
}

static void test_logistic(void **state) {
  (void)state;
  mica_fit_data data = labelled();
  mica_fit_report report = {.size = sizeof report};
  double probability[36], score[36];
  int64_t label[12];
  mica_estimator *e = test_fit(engine, "logistic:C=0.5:tol=1e-10", &data, &report);
  assert_true(report.converged && report.iterations > 3 && report.rows == 60);
  test_predict(e, questions(), label, score, probability, NULL);
  assert_all_near(probability, golden_logistic_probability, 36, 1e-7);
  for (int i = 0; i < 12; i++) {
    int64_t best = 0;
    for (int64_t c = 1; c < 3; c++)
      if (golden_logistic_probability[3 * i + c] > golden_logistic_probability[3 * i + best])
        best = c;
    assert_int_equal(label[i], best);
  }
  compare_state(e, "weight", golden_logistic_weight, 15, 1e-6);
  /* Biases are free up to a common constant: scikit-learn's sum to whatever its solver left. */
  double bias[3];
  for (int c = 0; c < 3; c++) bias[c] = score[c] - score[0];
  for (int c = 1; c < 3; c++)
    assert_near(bias[c], log(golden_logistic_probability[c] / golden_logistic_probability[0]),
                1e-6);
  mica_estimator_free(e);

  data.label = golden_y2;
  e = test_fit(engine, "logistic:C=2:tol=1e-10", &data, NULL);
  double zero_first[10] = {0}, zero_bias[2] = {0, golden_binary_bias[0]};
  memcpy(zero_first + 5, golden_binary_weight, sizeof golden_binary_weight);
  compare_state(e, "weight", zero_first, 10, 1e-6);
  compare_state(e, "bias", zero_bias, 2, 1e-6);
  mica_estimator_free(e);

  data.label = golden_y;
  e = test_fit(engine, "logistic:C=0.5:tol=1e-10:class_weight=balanced", &data, NULL);
  test_predict(e, questions(), NULL, NULL, probability, NULL);
  assert_all_near(probability, golden_balanced_probability, 36, 1e-7);
  mica_estimator_free(e);
  e = test_fit(engine, "logistic:C=0.5:tol=1e-10:intercept=false", &data, NULL);
  compare_state(e, "weight", golden_no_intercept_weight, 15, 1e-6);
  mica_estimator_free(e);
}

static void test_ridge(void **state) {
  (void)state;
  mica_fit_data data = test_data(golden_x, 60, 5, NULL);
  mica_view target = test_rows(golden_t, 60, 2), flat = test_rows(golden_wide_t, 9, 1);
  data.target = &target;
  mica_estimator *e = test_fit(engine, "ridge:lambda=0.7", &data, NULL);
  assert_int_equal(mica_estimator_task(e), MICA_TASK_REGRESSION);
  assert_int_equal(mica_estimator_outputs(e), 2);
  compare_state(e, "weight", golden_ridge_weight, 10, 1e-10);
  compare_state(e, "bias", golden_ridge_bias, 2, 1e-10);
  double fitted[120];
  mica_regression_measures m;
  test_predict(e, data.x, NULL, fitted, NULL, NULL);
  assert_int_equal(mica_regression(60, 2, golden_t, fitted, &m), MICA_OK);
  assert_near(m.r2, golden_r2, 1e-12);
  mica_estimator_free(e);
  e = test_fit(engine, "ridge:lambda=0.7:intercept=false", &data, NULL);
  compare_state(e, "weight", golden_ridge_no_intercept, 10, 1e-10);
  mica_estimator_free(e);

  data = test_data(golden_wide, 9, 20, NULL); /* more columns than rows */
  flat.shape = MICA_SHAPE(9);                 /* targets may have rank 1 */
  data.target = &flat;
  e = test_fit(engine, "ridge:lambda=0.7", &data, NULL);
  compare_state(e, "weight", golden_wide_weight, 20, 1e-10);
  compare_state(e, "bias", &golden_wide_bias, 1, 1e-10);
  mica_estimator_free(e);

  data = labelled();
  e = test_fit(engine, "ridge:lambda=0.7", &data, NULL);
  double score[36];
  test_predict(e, questions(), NULL, score, NULL, NULL);
  /* scikit-learn codes the classes -1 and 1, we 0 and 1. */
  for (int i = 0; i < 36; i++) assert_near(2 * score[i] - 1, golden_ridge_classifier[i], 1e-10);
  mica_estimator_free(e);
}

static double least(const double *v, int n, const double *at) {
  int best = 0;
  for (int i = 1; i < n; i++)
    if (v[i] < v[best]) best = i;
  return at[best];
}

static void test_ridge_path(void **state) {
  (void)state;
  mica_view target = test_rows(golden_t, 60, 2), wide_target = test_rows(golden_wide_t, 9, 1);
  mica_fit_data data = test_data(golden_x, 60, 5, NULL), wide = test_data(golden_wide, 9, 20, NULL);
  mica_fit_report r = {.size = sizeof r};
  data.target = &target;
  wide.target = &wide_target;
  const struct {
    const mica_fit_data *data;
    const char *select;
    const double *error;
  } c[] = {{&data, "loo", golden_ridge_loo},
           {&data, "gcv", golden_ridge_gcv},
           {&wide, "loo", golden_wide_loo},
           {&wide, "gcv", golden_wide_gcv}};
  for (int i = 0; i < 4; i++) {
    char spec[96];
    snprintf(spec, sizeof spec, "ridge:lambda=0.01,0.1,1,10,100:select=%s", c[i].select);
    mica_estimator_free(test_fit(engine, spec, c[i].data, &r));
    double best = least(c[i].error, 5, golden_alphas);
    assert_near(r.chosen, best, 0);
    for (int a = 0; a < 5; a++)
      if (golden_alphas[a] == best) assert_near(r.leave_one_out, c[i].error[a], 1e-9);
    /* A pair of equal lambdas tells the error of any one of them. */
    for (int a = 0; a < 5; a++) {
      snprintf(spec, sizeof spec, "ridge:lambda=%g,%g:select=%s", golden_alphas[a],
               golden_alphas[a], c[i].select);
      mica_estimator_free(test_fit(engine, spec, c[i].data, &r));
      assert_near(r.leave_one_out / c[i].error[a], 1, 1e-8);
    }
  }
  assert_near(least(golden_ridge_loo, 5, golden_alphas), golden_ridge_chosen, 0);
  mica_estimator *e = test_fit(engine, "ridge:lambda=0.01,0.1,1,10,100", &data, &r);
  compare_state(e, "weight", golden_ridge_chosen_weight, 10, 1e-9);
  mica_estimator_free(e);
  e = test_fit(engine, "ridge:lambda=0.01,0.1,1,10,100", &wide, &r);
  assert_near(r.chosen, golden_wide_chosen, 0);
  compare_state(e, "weight", golden_wide_chosen_weight, 20, 1e-9);
  mica_estimator_free(e);
}

static void test_neighbours(void **state) {
  (void)state;
  mica_fit_data data = labelled();
  const struct {
    const char *spec;
    const double *want;
  } c[] = {{"knn:k=4:metric=euclidean", golden_knn_euclidean_uniform},
           {"knn:k=4:metric=euclidean:weights=distance", golden_knn_euclidean_distance},
           {"knn:k=4", golden_knn_cosine_uniform},
           {"knn:k=4:weights=distance", golden_knn_cosine_distance}};
  for (int i = 0; i < 4; i++) {
    double probability[36];
    mica_estimator *e = test_fit(engine, c[i].spec, &data, NULL);
    test_predict(e, questions(), NULL, NULL, probability, NULL);
    assert_all_near(probability, c[i].want, 36, 1e-8);
    mica_estimator_free(e);
  }
}

static void test_nearest_mean(void **state) {
  (void)state;
  mica_fit_data data = labelled();
  int64_t label[12];
  mica_estimator *e =
      test_fit(engine, "prototypes:metric=euclidean:debias=false:reject=0", &data, NULL);
  test_predict(e, questions(), label, NULL, NULL, NULL);
  for (int i = 0; i < 12; i++) assert_int_equal(label[i], golden_nearest_centroid[i]);
  mica_estimator_free(e);
}

static void test_gaussian(void **state) {
  (void)state;
  const struct {
    mica_fit_data data;
    mica_view questions;
    const double *distance, *leave_one_out;
  } c[] = {
      {test_data(golden_x, 60, 5, NULL), questions(), golden_lw_distance, golden_lw_leave_one_out},
      {test_data(golden_wide, 9, 20, NULL), test_rows(golden_wide_q, 4, 20),
       golden_lw_wide_distance, golden_lw_wide_leave_one_out}};
  for (int i = 0; i < 2; i++) {
    double score[12], anomaly[12];
    int64_t n = c[i].data.x.shape.dim[0], q = c[i].questions.shape.dim[0];
    mica_estimator *e = test_fit(engine, "gaussian", &c[i].data, NULL);
    assert_int_equal(mica_estimator_task(e), MICA_TASK_ANOMALY);
    test_predict(e, c[i].questions, NULL, score, NULL, anomaly);
    assert_all_near(score, c[i].distance, q, 1e-10);
    assert_all_near(anomaly, c[i].distance, q, 1e-10);
    /* The calibration scores are the leave-one-out distances, in order of size. */
    double want[60];
    memcpy(want, c[i].leave_one_out, (size_t)n * sizeof *want);
    for (int64_t a = 0; a < n; a++)
      for (int64_t b = a + 1; b < n; b++)
        if (want[b] < want[a]) {
          double t = want[a];
          want[a] = want[b];
          want[b] = t;
        }
    compare_state(e, "refusal.score", want, n, 1e-9);
    mica_estimator_free(e);
  }
  double score[36];
  mica_estimator *e = test_fit(engine, "gaussian:distance=standardised", &c[0].data, NULL);
  test_predict(e, questions(), NULL, score, NULL, NULL);
  assert_all_near(score, golden_sed, 12, 1e-11);
  mica_estimator_free(e);
  e = test_fit(engine, "gaussian:distance=euclidean", &c[0].data, NULL);
  test_predict(e, questions(), NULL, score, NULL, NULL);
  assert_all_near(score, golden_l2, 12, 1e-11);
  mica_estimator_free(e);
  mica_fit_data data = labelled();
  e = test_fit(engine, "gaussian", &data, NULL);
  assert_int_equal(mica_estimator_task(e), MICA_TASK_CLASSIFICATION);
  test_predict(e, questions(), NULL, score, NULL, NULL);
  assert_all_near(score, golden_shared_logit, 36, 1e-9);
  mica_estimator_free(e);
  e = test_fit(engine, "gaussian:law=chi2:reject=0.01", &c[0].data, NULL);
  assert_near(mica_estimator_threshold(e), sqrt(mica_chi2_quantile(0.99, 5)), 1e-14);
  mica_estimator_free(e);
}

/* Keeping all components changes nothing; npca and pca cut where the card says. */
static void test_reducers(void **state) {
  (void)state;
  mica_fit_data data = test_data(golden_x, 60, 5, NULL);
  double total = 0, share[5], sum = 0;
  for (int i = 0; i < 5; i++) total += golden_pca_variance[i];
  for (int i = 0; i < 5; i++) share[i] = (sum += golden_pca_variance[i]) / total;
  for (int cut = 0; cut < 5; cut++) {
    double t = cut == 0 ? share[0] / 2 : (share[cut - 1] + share[cut]) / 2;
    for (int npca = 0; npca < 2; npca++) {
      char spec[96];
      snprintf(spec, sizeof spec, "gaussian:reducer=%s:variance=%.17g", npca ? "npca" : "pca", t);
      mica_estimator *e = test_fit(engine, spec, &data, NULL);
      int first = npca && cut ? cut - 1 : 0, last = npca ? 5 : cut + 1;
      mica_record *record;
      assert_int_equal(mica_record_create(&record), MICA_OK);
      assert_int_equal(mica_estimator_save(e, record), MICA_OK);
      const int64_t *size = mica_tensor_data(mica_record_get(record, "level0.size"));
      assert_int_equal(size[1], last - first);
      mica_record_free(record);
      mica_estimator_free(e);
    }
  }
  double all[12], plain[12];
  mica_estimator *e = test_fit(engine, "gaussian:reducer=pca:variance=1", &data, NULL);
  test_predict(e, questions(), NULL, NULL, NULL, all);
  assert_int_equal(mica_estimator_outputs(e), 1);
  mica_estimator_free(e);
  e = test_fit(engine, "gaussian", &data, NULL);
  test_predict(e, questions(), NULL, NULL, NULL, plain);
  assert_all_near(all, plain, 12, 1e-9); /* a rotation */
  mica_estimator_free(e);
  /* Two levels are two estimators: their scores stand side by side and their mean is the anomaly.
   */
  double both[24], left[12], right[12];
  e = test_fit(engine, "gaussian:levels=2,3", &data, NULL);
  test_predict(e, questions(), NULL, both, NULL, all);
  mica_estimator_free(e);
  mica_fit_data part = data;
  part.x.shape.dim[1] = 2;
  mica_view q = questions();
  q.shape.dim[1] = 2;
  e = test_fit(engine, "gaussian", &part, NULL);
  test_predict(e, q, NULL, NULL, NULL, left);
  mica_estimator_free(e);
  part.x.data = (double *)(uintptr_t)golden_x + 2;
  part.x.shape.dim[1] = 3;
  q.data = (double *)(uintptr_t)golden_xt + 2;
  q.shape.dim[1] = 3;
  e = test_fit(engine, "gaussian", &part, NULL);
  test_predict(e, q, NULL, NULL, NULL, right);
  mica_estimator_free(e);
  for (int i = 0; i < 12; i++) {
    assert_near(both[2 * i], left[i], 1e-11);
    assert_near(both[2 * i + 1], right[i], 1e-11);
    assert_near(all[i], (left[i] + right[i]) / 2, 1e-11);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_logistic),     cmocka_unit_test(test_ridge),
      cmocka_unit_test(test_ridge_path),   cmocka_unit_test(test_neighbours),
      cmocka_unit_test(test_nearest_mean), cmocka_unit_test(test_gaussian),
      cmocka_unit_test(test_reducers),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
