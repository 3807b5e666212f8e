/* What tells anomalies: covariances, distances by level, their thresholds. The numbers themselves
 * are compared with others' in tests/golden/gaussian-anomaly. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/numeric.h>

#include <stdio.h>
#include <string.h>

static mica_engine *engine;
static double rows[200 * 6], fresh[4000 * 6];

static void fill(double *x, int64_t n, uint64_t seed) {
  const mica_key key = mica_key_seed(seed);
  for (int64_t i = 0; i < n * 6; i++)
    x[i] =
        mica_random_normal(key, (uint64_t)i) * (1 + (double)(i % 6)) + (i % 6 ? 0.5 * x[i - 1] : 0);
}

/* ---- covariance ---- */

static void test_ledoit_wolf(void **state) {
  (void)state;
  const mica_view x = test_rows(rows, 200, 6);
  double mean[6], c[36], p[36], w[36], rho, other[6], by_precision[200], by_whitening[200];
  assert_int_equal(mica_ledoit_wolf(engine, &x, mean, c, p, w, &rho), MICA_OK);
  assert_true(rho > 0 && rho < 0.2);
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 6; j++) {
      double product = 0, square = 0;
      for (int k = 0; k < 6; k++) {
        product += c[i * 6 + k] * p[k * 6 + j];
        square += w[k * 6 + i] * w[k * 6 + j];
      }
      assert_near(product, i == j, 1e-12);
      assert_near(square, p[i * 6 + j], 1e-12);
    }
  assert_int_equal(mica_mahalanobis(engine, &x, mean, p, by_precision), MICA_OK);
  assert_int_equal(mica_mahalanobis_whitened(engine, &x, mean, w, by_whitening), MICA_OK);
  assert_all_near(by_precision, by_whitening, 200, 1e-12);
  /* What is not asked for is not needed. */
  assert_int_equal(mica_ledoit_wolf(engine, &x, other, NULL, NULL, NULL, NULL), MICA_OK);
  assert_all_near(other, mean, 6, 0);

  const double same[6] = {1, 2, 1, 2, 1, 2};
  mica_view bad = test_rows(same, 3, 2);
  assert_int_equal(mica_ledoit_wolf(engine, &bad, mean, c, NULL, NULL, NULL), MICA_OK);
  assert_int_equal(mica_ledoit_wolf(engine, &bad, mean, c, p, NULL, NULL), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_last_error(), "singular"));
  bad = test_rows(same, 0, 2);
  assert_int_equal(mica_ledoit_wolf(engine, &bad, mean, c, NULL, NULL, NULL), MICA_ERR_INVALID);
  const double gap[4] = {1, NAN, 2, 3};
  bad = test_rows(gap, 2, 2);
  assert_int_equal(mica_ledoit_wolf(engine, &bad, mean, c, NULL, NULL, NULL), MICA_ERR_NUMERIC);
}

static void test_components_kept(void **state) {
  (void)state;
  const double variance[6] = {8, 4, 2, 1.5, 0.5, 1e-12};
  const struct {
    double threshold;
    bool trailing, keep_null;
    int64_t first, end;
  } cases[] = {{0.4, false, false, 0, 1}, {0.7, false, false, 0, 2}, {0.74, false, false, 0, 2},
               {0.8, false, false, 0, 3}, {0.4, true, false, 0, 5},  {0.7, true, false, 0, 5},
               {0.8, true, false, 1, 5},  {0.9, true, false, 2, 5},  {0.9, true, true, 2, 6},
               {1, false, false, 0, 5},   {1, true, false, 3, 5},    {1, true, true, 4, 6}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t first, end;
    assert_int_equal(mica_components_kept(variance, 6, cases[i].threshold, cases[i].trailing,
                                          cases[i].keep_null, &first, &end),
                     MICA_OK);
    assert_int_equal(first, cases[i].first);
    assert_int_equal(end, cases[i].end);
  }
  int64_t first, end;
  const double none[2] = {0, 0};
  assert_int_equal(mica_components_kept(none, 2, 0.5, true, false, &first, &end), MICA_ERR_INVALID);
  assert_int_equal(mica_components_kept(variance, 6, 1.5, true, false, &first, &end),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_components_kept(variance, 6, NAN, true, false, &first, &end),
                   MICA_ERR_INVALID);
}

static void test_small_statistics(void **state) {
  (void)state;
  const double x[4] = {1, 2, 4, 5};
  double error;
  assert_near(mica_mean_error(x, 4, &error), 3, 1e-15);
  assert_near(error, sqrt(10.0 / 3 / 4), 1e-15);
  assert_near(mica_mean_error(x, 1, &error), 1, 0);
  assert_true(isnan(error));
  assert_near(mica_sigma_share(0), 1, 0);
  assert_near(mica_sigma_share(1), 0.31731050786291410, 1e-14);
  assert_near(mica_sigma_share(3), 0.0026997960632601866, 1e-15);
  assert_true(isnan(mica_sigma_share(-1)));
}

/* The bootstrapped AUROC is DeLong's, ties and all, and so, nearly, is its interval. */
static void test_auroc_bootstrap(void **state) {
  (void)state;
  enum { n = 300 };
  double score[n];
  bool positive[n], none[n] = {false};
  mica_estimate by_law, by_resamples, no_interval;
  for (int i = 0; i < n; i++) {
    positive[i] = i % 3 == 0;
    score[i] = floor(2 * (mica_random_normal(mica_key_seed(9), (uint64_t)i) + positive[i]));
  }
  const mica_key key = mica_key_seed(1);
  assert_int_equal(mica_auroc(n, score, positive, 0.95, &by_law), MICA_OK);
  assert_int_equal(mica_auroc_bootstrap(engine, key, n, score, positive, 0.95, 2000, &by_resamples),
                   MICA_OK);
  assert_near(by_resamples.value, by_law.value, 1e-12);
  assert_near(by_resamples.interval.lo, by_law.interval.lo, 0.02);
  assert_near(by_resamples.interval.hi, by_law.interval.hi, 0.02);
  assert_int_equal(mica_auroc_bootstrap(engine, key, n, score, positive, 0.95, 0, &no_interval),
                   MICA_OK);
  assert_true(isnan(no_interval.interval.lo));
  assert_int_equal(mica_auroc_bootstrap(engine, key, n, score, none, 0.95, 0, &no_interval),
                   MICA_ERR_INVALID);
}

/* ---- levels ---- */

static double share_above(const double *score, int64_t n, int64_t levels, int64_t l,
                          double threshold) {
  double above = 0;
  for (int64_t i = 0; i < n; i++) above += score[i * levels + l] > threshold;
  return above / (double)n;
}

static void test_level_thresholds(void **state) {
  (void)state;
  const mica_fit_data data = test_data(rows, 200, 6, NULL);
  const mica_view x = test_rows(fresh, 4000, 6);
  mica_fit_report report = {.size = sizeof report};
  static double score[4000 * 2], mean[4000], sum[4000];
  double threshold[2], kept[2];
  mica_estimator *e = test_fit(engine, "gaussian:levels=2,4", &data, &report);
  assert_int_equal(report.levels, 2);
  assert_int_equal(report.level[0].columns, 2);
  assert_int_equal(report.level[1].kept, 4);
  test_predict(e, x, NULL, score, NULL, mean);
  for (int from = MICA_THRESHOLD_QUANTILE; from <= MICA_THRESHOLD_LAW; from++) {
    assert_int_equal(mica_estimator_level_thresholds(e, 0.1, (mica_threshold_from)from, threshold),
                     MICA_OK);
    for (int l = 0; l < 2; l++)
      assert_near(share_above(score, 4000, 2, l, threshold[l]), 0.1, 0.04);
  }
  assert_near(threshold[1], sqrt(mica_chi2_quantile(0.9, 4)), 1e-14);
  assert_int_equal(mica_estimator_level_thresholds(e, 0, MICA_THRESHOLD_LAW, threshold),
                   MICA_ERR_INVALID);

  /* They are in the record. */
  mica_record *record;
  mica_estimator *again;
  assert_int_equal(mica_record_create(&record), MICA_OK);
  assert_int_equal(mica_estimator_save(e, record), MICA_OK);
  assert_int_equal(mica_estimator_load(engine, record, &again), MICA_OK);
  mica_record_free(record);
  assert_int_equal(mica_estimator_level_thresholds(e, 0.03, MICA_THRESHOLD_QUANTILE, threshold),
                   MICA_OK);
  assert_int_equal(mica_estimator_level_thresholds(again, 0.03, MICA_THRESHOLD_QUANTILE, kept),
                   MICA_OK);
  assert_all_near(kept, threshold, 2, 0);
  mica_estimator_free(again);
  mica_estimator_free(e);

  /* Sums are levels times the means, and so is their threshold. */
  e = test_fit(engine, "gaussian:levels=2,4:combine=sum", &data, NULL);
  test_predict(e, x, NULL, NULL, NULL, sum);
  for (int i = 0; i < 4000; i++) assert_near(sum[i], 2 * mean[i], 1e-13);
  assert_near(share_above(sum, 4000, 1, 0, mica_estimator_threshold(e)), 0.05, 0.03);
  mica_estimator_free(e);

  /* n sigma names the share. */
  e = test_fit(engine, "gaussian:law=chi2:sigma=3", &data, NULL);
  assert_near(mica_estimator_threshold(e), sqrt(mica_chi2_quantile(1 - mica_sigma_share(3), 6)),
              1e-12);
  mica_estimator_free(e);

  /* Held-out rows calibrate the levels too. */
  mica_fit_data held = data;
  held.held_out = &x;
  e = test_fit(engine, "gaussian:levels=2,4", &held, NULL);
  assert_int_equal(mica_estimator_level_thresholds(e, 0.1, MICA_THRESHOLD_QUANTILE, threshold),
                   MICA_OK);
  for (int l = 0; l < 2; l++) assert_near(share_above(score, 4000, 2, l, threshold[l]), 0.1, 1e-3);
  mica_estimator_free(e);

  /* No levels, no law. */
  static int64_t label[200];
  for (int i = 0; i < 200; i++) label[i] = i % 2;
  const mica_fit_data both = test_data(rows, 200, 6, label);
  e = test_fit(engine, "gaussian", &both, NULL);
  assert_int_equal(mica_estimator_level_thresholds(e, 0.1, MICA_THRESHOLD_QUANTILE, threshold),
                   MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
  e = test_fit(engine, "gaussian:distance=euclidean", &data, NULL);
  assert_int_equal(mica_estimator_level_thresholds(e, 0.1, MICA_THRESHOLD_LAW, threshold),
                   MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);
}

/* A reducer's kept components are told. */
static void test_reducer_report(void **state) {
  (void)state;
  const mica_fit_data data = test_data(rows, 200, 6, NULL);
  const double thresholds[] = {0.5, 0.8, 0.95, 0.99};
  const mica_view x = data.x;
  double variance[6];
  assert_int_equal(mica_pca(engine, &x, 6, NULL, NULL, variance, NULL), MICA_OK);
  for (int i = 0; i < 8; i++) {
    char spec[96];
    int64_t first, end;
    mica_fit_report report = {.size = sizeof report};
    const bool trailing = i % 2;
    snprintf(spec, sizeof spec, "gaussian:reducer=%s:variance=%g", trailing ? "npca" : "pca",
             thresholds[i / 2]);
    mica_estimator_free(test_fit(engine, spec, &data, &report));
    assert_int_equal(
        mica_components_kept(variance, 6, thresholds[i / 2], trailing, false, &first, &end),
        MICA_OK);
    assert_int_equal(report.level[0].first, first);
    assert_int_equal(report.level[0].kept, end - first);
  }
}

/* ---- one-class support vectors ---- */

/* The dual by projected gradients in tiny steps, whose sum is held by a shift found by halving. */
static void solve_slowly(const double *kernel, int n, double nu, double *alpha) {
  for (int i = 0; i < n; i++) alpha[i] = nu;
  for (int step = 0; step < 20000; step++) {
    double moved[64], lo = -10, hi = 10;
    for (int i = 0; i < n; i++) {
      moved[i] = alpha[i];
      for (int j = 0; j < n; j++) moved[i] -= 0.02 * kernel[i * n + j] * alpha[j];
    }
    while (hi - lo > 1e-14) {
      double sum = 0, shift = 0.5 * (lo + hi);
      for (int i = 0; i < n; i++) sum += fmin(1, fmax(0, moved[i] + shift));
      *(sum > nu * n ? &hi : &lo) = shift;
    }
    for (int i = 0; i < n; i++) alpha[i] = fmin(1, fmax(0, moved[i] + lo));
  }
}

static void test_support_vectors(void **state) {
  (void)state;
  enum { n = 40 };
  const double gamma = 0.05, nus[] = {0.1, 0.5, 0.9};
  double kernel[n * n], alpha[n], got[n];
  const mica_fit_data data = test_data(rows, n, 6, NULL);
  for (int i = 0; i < n * n; i++) {
    double square = 0;
    for (int k = 0; k < 6; k++) {
      const double v = rows[i / n * 6 + k] - rows[i % n * 6 + k];
      square += v * v;
    }
    kernel[i] = exp(-gamma * square);
  }
  for (int c = 0; c < 3; c++) {
    char spec[96];
    double sum[n], rho = 0, free = 0;
    solve_slowly(kernel, n, nus[c], alpha);
    for (int i = 0; i < n; i++) {
      sum[i] = 0;
      for (int j = 0; j < n; j++) sum[i] += kernel[i * n + j] * alpha[j];
      if (alpha[i] > 1e-6 && alpha[i] < 1 - 1e-6) rho += sum[i], free++;
    }
    assert_true(free > 0);
    snprintf(spec, sizeof spec, "one_class_svm:gamma=%g:nu=%g:tol=1e-9", gamma, nus[c]);
    mica_fit_report report = {.size = sizeof report};
    mica_estimator *e = test_fit(engine, spec, &data, &report);
    assert_int_equal(report.converged, 1);
    test_predict(e, data.x, NULL, NULL, NULL, got);
    for (int i = 0; i < n; i++) assert_near(got[i], (rho / free - sum[i]) / (nus[c] * n), 1e-7);
    mica_estimator_free(e);
  }
}

/* At most a share nu of the rows lies outside, about that much of new ones; other ways to say what
 * is refused. */
static void test_one_class_svm(void **state) {
  (void)state;
  const mica_fit_data data = test_data(rows, 200, 6, NULL);
  const mica_view x = test_rows(fresh, 4000, 6);
  static double score[4000 * 2], mean[4000];
  static int64_t label[4000];
  mica_estimator *e = test_fit(engine, "one_class_svm:nu=0.2:boundary", &data, NULL);
  assert_near(mica_estimator_threshold(e), 0, 0);
  test_predict(e, data.x, label, NULL, NULL, mean);
  double outside = 0;
  for (int i = 0; i < 200; i++) {
    outside += mean[i] > 1e-4;
    assert_int_equal(label[i], mean[i] > 0 ? MICA_CLASS_NONE : 0);
  }
  assert_true(outside <= 40);
  mica_estimator_free(e);

  e = test_fit(engine, "one_class_svm:levels=2,4:reject=0.1", &data, NULL);
  assert_int_equal(mica_estimator_outputs(e), 2);
  test_predict(e, x, NULL, score, NULL, mean);
  for (int i = 0; i < 4000; i++) assert_near(mean[i], (score[2 * i] + score[2 * i + 1]) / 2, 1e-12);
  assert_near(share_above(mean, 4000, 1, 0, mica_estimator_threshold(e)), 0.1, 0.05);
  double threshold[2];
  assert_int_equal(mica_estimator_level_thresholds(e, 0.1, MICA_THRESHOLD_QUANTILE, threshold),
                   MICA_OK);
  for (int l = 0; l < 2; l++) assert_near(share_above(score, 4000, 2, l, threshold[l]), 0.1, 0.05);
  assert_int_equal(mica_estimator_level_thresholds(e, 0.1, MICA_THRESHOLD_LAW, threshold),
                   MICA_ERR_UNSUPPORTED);
  mica_estimator_free(e);

  /* Far from zero the distances keep their digits, and a constant is no trouble. */
  static double far[200 * 6], near[200];
  for (int i = 0; i < 1200; i++) far[i] = rows[i] + 1e6;
  e = test_fit(engine, "one_class_svm:boundary:gamma=0.01:tol=1e-8", &data, NULL);
  test_predict(e, data.x, NULL, NULL, NULL, near);
  mica_estimator_free(e);
  const mica_fit_data moved = test_data(far, 200, 6, NULL);
  e = test_fit(engine, "one_class_svm:boundary:gamma=0.01:tol=1e-8", &moved, NULL);
  test_predict(e, moved.x, NULL, NULL, NULL, mean);
  assert_all_near(mean, near, 200, 1e-6);
  mica_estimator_free(e);
  for (int i = 0; i < 1200; i++) far[i] = 3;
  e = test_fit(engine, "one_class_svm", &moved, NULL);
  test_predict(e, moved.x, NULL, NULL, NULL, mean);
  assert_near(mean[0], 0, 1e-12);
  mica_estimator_free(e);

  mica_fit_report report = {.size = sizeof report};
  e = test_fit(engine, "one_class_svm:max_iter=1", &data, &report);
  assert_int_equal(report.converged, 0);
  mica_estimator_free(e);
  mica_estimator *bad;
  assert_int_equal(mica_estimator_create(engine, "one_class_svm:levels=1,2", &bad), MICA_OK);
  assert_int_equal(mica_estimator_fit(bad, &data, NULL), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "levels of 3 columns"));
  mica_estimator_free(bad);
}

static mica_status covariance_life(void *ctx) {
  const mica_view x = test_rows(rows, 40, 6);
  double mean[6], c[36], p[36], distance[40];
  (void)ctx;
  mica_status status = mica_ledoit_wolf(engine, &x, mean, c, p, NULL, NULL);
  return status ? status : mica_mahalanobis(engine, &x, mean, p, distance);
}

static void test_failures(void **state) {
  (void)state;
  assert_int_equal(covariance_life(NULL), MICA_OK);
  assert_true(fail_each(covariance_life, NULL) > 2);
}

static int set_up(void **state) {
  (void)state;
  engine = test_engine(1);
  fill(rows, 200, 1);
  fill(fresh, 4000, 2);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ledoit_wolf),      cmocka_unit_test(test_components_kept),
      cmocka_unit_test(test_small_statistics), cmocka_unit_test(test_level_thresholds),
      cmocka_unit_test(test_auroc_bootstrap),  cmocka_unit_test(test_reducer_report),
      cmocka_unit_test(test_support_vectors),  cmocka_unit_test(test_one_class_svm),
      cmocka_unit_test(test_failures)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
