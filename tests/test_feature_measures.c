/* Measures of predictions, against scikit-learn and by hand. */
#include "support/estimator.h"

#include "golden/feature_golden.h"

static void test_auroc(void **state) {
  (void)state;
  mica_estimate e;
  assert_int_equal(mica_auroc(80, golden_score, golden_positive, 0.95, &e), MICA_OK);
  assert_near(e.value, golden_auroc, 1e-14);
  double logit = log(e.value / (1 - e.value)),
         half =
             mica_normal_quantile(0.975) * sqrt(golden_auroc_variance) / (e.value * (1 - e.value));
  assert_near(log(e.interval.lo / (1 - e.interval.lo)), logit - half, 1e-12);
  assert_near(log(e.interval.hi / (1 - e.interval.hi)), logit + half, 1e-12);
  /* All tied: a coin. Perfect: 1, with doubt. Reversed: 0. */
  double score[6] = {1, 1, 1, 1, 1, 1};
  bool positive[6] = {true, false, true, false, false, false};
  assert_int_equal(mica_auroc(6, score, positive, 0.95, &e), MICA_OK);
  assert_true(e.value == 0.5 && e.interval.lo == 0 && e.interval.hi == 1);
  score[0] = score[2] = 2;
  assert_int_equal(mica_auroc(6, score, positive, 0.95, &e), MICA_OK);
  assert_true(e.value == 1 && e.interval.lo > 0.2 && e.interval.lo < 0.5 && e.interval.hi == 1);
  score[0] = score[2] = 0;
  assert_int_equal(mica_auroc(6, score, positive, 0.95, &e), MICA_OK);
  assert_true(e.value == 0 && e.interval.hi < 0.8);
  score[3] = NAN;
  assert_int_equal(mica_auroc(6, score, positive, 0.95, &e), MICA_ERR_NUMERIC);
  assert_int_equal(mica_auroc(2, score, positive + 4, 0.95, &e), MICA_ERR_INVALID);
  assert_int_equal(mica_auroc(2, score, positive, 0, &e), MICA_ERR_INVALID);
}

static void test_one_vs_rest(void **state) {
  (void)state;
  mica_engine *engine = test_engine(2), *alone = test_engine(1);
  mica_estimate area[4], precision[4], mean_area, mean_precision, one, again[4], mean[2];
  double score[80 * 4], column[80];
  int64_t truth[80];
  bool positive[80];
  for (int i = 0; i < 80; i++) {
    truth[i] = i % 3; /* the fourth class has no rows */
    for (int c = 0; c < 4; c++)
      score[4 * i + c] = floor(3 * golden_score[(7 * i + c) % 80]) + (truth[i] == c);
  }
  assert_int_equal(mica_one_vs_rest(engine, mica_key_seed(1), 80, 4, score, truth, 0.95, 200, area,
                                    precision, &mean_area, &mean_precision),
                   MICA_OK);
  assert_true(isnan(area[3].value) && isnan(precision[3].value));
  double sum = 0;
  for (int c = 0; c < 3; c++) {
    for (int i = 0; i < 80; i++) {
      column[i] = score[4 * i + c];
      positive[i] = truth[i] == c;
    }
    assert_int_equal(mica_auroc(80, column, positive, 0.95, &one), MICA_OK);
    assert_true(one.value == area[c].value && one.interval.lo == area[c].interval.lo);
    assert_int_equal(
        mica_average_precision(engine, mica_key_seed(1), 80, column, positive, 0.95, 0, &one),
        MICA_OK);
    assert_true(one.value == precision[c].value);
    assert_true(precision[c].interval.lo < one.value && one.value < precision[c].interval.hi);
    sum += area[c].value / 3;
  }
  assert_near(mean_area.value, sum, 1e-15);
  assert_true(mean_area.interval.lo < sum && sum < mean_area.interval.hi);
  assert_true(mean_precision.interval.hi - mean_precision.interval.lo < 0.4);
  /* The same bits on one thread; without resamples no interval. */
  assert_int_equal(mica_one_vs_rest(alone, mica_key_seed(1), 80, 4, score, truth, 0.95, 200, again,
                                    precision, &mean[0], &mean[1]),
                   MICA_OK);
  assert_true(mean[0].interval.lo == mean_area.interval.lo);
  assert_int_equal(mica_one_vs_rest(alone, mica_key_seed(1), 80, 4, score, truth, 0.95, 0, again,
                                    precision, &mean[0], &mean[1]),
                   MICA_OK);
  assert_true(isnan(mean[0].interval.lo) && mean[0].value == mean_area.value);
  assert_int_equal(mica_one_vs_rest(alone, mica_key_seed(1), 80, 2, score, truth, 0.95, 0, again,
                                    precision, &mean[0], &mean[1]),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_one_vs_rest(alone, mica_key_seed(1), 0, 4, score, truth, 0.95, 0, again,
                                    precision, &mean[0], &mean[1]),
                   MICA_ERR_INVALID);
  score[5] = NAN;
  assert_int_equal(mica_one_vs_rest(alone, mica_key_seed(1), 80, 4, score, truth, 0.95, 0, again,
                                    precision, &mean[0], &mean[1]),
                   MICA_ERR_NUMERIC);
  mica_engine_free(engine);
  mica_engine_free(alone);
}

static void test_bands(void **state) {
  (void)state;
  /* 5 classes; the last column is "none of these". */
  const int64_t counts[5 * 6] = {4, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0,  0,
                                 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0};
  const int64_t trained[5] = {19, 20, 100, 100, 101};
  mica_band band[MICA_BANDS];
  assert_int_equal(mica_by_band(counts, 5, trained, 20, 100, 0.95, band), MICA_OK);
  assert_true(band[MICA_BAND_FEW].classes == 1 && band[MICA_BAND_FEW].rows == 5);
  assert_near(band[MICA_BAND_FEW].accuracy.value, 0.8, 1e-15);
  /* The class without rows counts in no band. */
  assert_true(band[MICA_BAND_MEDIUM].classes == 2 && band[MICA_BAND_MEDIUM].rows == 7);
  assert_near(band[MICA_BAND_MEDIUM].accuracy.value, 4.0 / 7, 1e-15);
  assert_near(band[MICA_BAND_MEDIUM].mean_recall, 0.55, 1e-15);
  assert_true(band[MICA_BAND_MANY].accuracy.value == 1 &&
              band[MICA_BAND_MANY].accuracy.interval.lo < 0.8);
  assert_int_equal(mica_by_band(counts, 5, trained, 0, 1000, 0.95, band), MICA_OK);
  assert_true(band[MICA_BAND_FEW].rows == 0 && isnan(band[MICA_BAND_FEW].accuracy.value));
  assert_int_equal(mica_by_band(counts, 5, trained, 5, 4, 0.95, band), MICA_ERR_INVALID);
}

static void test_ranking(void **state) {
  (void)state;
  mica_engine *engine = test_engine(2);
  mica_estimate e;
  double f1, threshold, fpr[81], tpr[81];
  int64_t points;
  assert_int_equal(mica_average_precision(engine, mica_key_seed(1), 80, golden_score,
                                          golden_positive, 0.9, 500, &e),
                   0);
  assert_near(e.value, golden_average_precision, 1e-13);
  assert_true(e.interval.lo < e.value && e.value < e.interval.hi &&
              e.interval.hi - e.interval.lo < 0.4);
  assert_int_equal(mica_average_precision(engine, mica_key_seed(1), 80, golden_score,
                                          golden_positive, 0.9, 0, &e),
                   0);
  assert_true(isnan(e.interval.lo));
  assert_int_equal(mica_best_f1(80, golden_score, golden_positive, &f1, &threshold), MICA_OK);
  assert_near(f1, golden_best_f1, 1e-14);
  int both = 0, taken = 0;
  for (int i = 0; i < 80; i++) {
    taken += golden_score[i] >= threshold;
    both += golden_score[i] >= threshold && golden_positive[i];
  }
  assert_near(f1, 2.0 * both / (taken + 30), 1e-14);
  assert_int_equal(mica_roc_curve(80, golden_score, golden_positive, fpr, tpr, &points), MICA_OK);
  double area = 0;
  for (int64_t i = 1; i < points; i++) area += (fpr[i] - fpr[i - 1]) * (tpr[i] + tpr[i - 1]) / 2;
  assert_near(area, golden_auroc, 1e-13);
  assert_true(fpr[points - 1] == 1 && tpr[points - 1] == 1 && points < 81);
  for (double rate = 0; rate <= 1; rate += 0.1) {
    assert_int_equal(mica_tpr_at_fpr(80, golden_score, golden_positive, rate, 0.9, &e, &threshold),
                     0);
    int through = 0, hits = 0;
    for (int i = 0; i < 80; i++) {
      through += !golden_positive[i] && golden_score[i] > threshold;
      hits += golden_positive[i] && golden_score[i] > threshold;
    }
    assert_true(through <= rate * 50 + 1e-6);
    assert_near(e.value, hits / 30.0, 1e-14);
  }
  mica_engine_free(engine);
}

static void test_probabilities(void **state) {
  (void)state;
  double v, ece, brier, confidence[10], right[10];
  int64_t count[10], sum = 0;
  mica_estimate e;
  assert_int_equal(mica_log_loss(50, 4, golden_prob, golden_truth, &v), MICA_OK);
  assert_near(v, golden_log_loss, 1e-10);
  assert_int_equal(mica_top_k_accuracy(50, 4, golden_prob, golden_truth, 2, 0.95, &e), MICA_OK);
  assert_near(e.value, golden_top2, 1e-14);
  assert_int_equal(mica_top_k_accuracy(50, 4, golden_prob, golden_truth, 4, 0.95, &e), MICA_OK);
  assert_true(e.value == 1);
  assert_int_equal(mica_calibration(50, 4, golden_prob, golden_truth, 10, &ece, &brier, confidence,
                                    right, count),
                   0);
  assert_near(ece, golden_ece, 1e-13);
  assert_near(brier, golden_brier, 1e-13);
  for (int b = 0; b < 10; b++) {
    sum += count[b];
    if (count[b]) assert_true(confidence[b] > b / 10.0 && confidence[b] <= (b + 1) / 10.0);
  }
  assert_int_equal(sum, 50);
  const double tied[3] = {0.4, 0.4, 0.2};
  const int64_t second = 1;
  assert_int_equal(mica_top_k_accuracy(1, 3, tied, &second, 1, 0.95, &e), MICA_OK);
  assert_true(e.value == 0); /* a constant score must not look clever */
  const double sure[2] = {1, 0};
  assert_int_equal(mica_log_loss(1, 2, sure, &second, &v), MICA_OK);
  assert_near(v, 52 * log(2), 1e-12);
  const double broken[2] = {NAN, 0.5};
  const int64_t first = 0;
  assert_int_equal(mica_log_loss(1, 2, broken, &first, &v), MICA_ERR_NUMERIC);
}

static void test_counts(void **state) {
  (void)state;
  int64_t guess[50], counts[20];
  for (int i = 0; i < 50; i++) {
    guess[i] = 0;
    for (int64_t c = 1; c < 4; c++)
      if (golden_prob[4 * i + c] > golden_prob[4 * i + guess[i]]) guess[i] = c;
  }
  mica_class_measures by[4];
  mica_estimate e;
  double macro, balanced;
  assert_int_equal(mica_confusion(50, golden_truth, guess, 4, counts), MICA_OK);
  assert_int_equal(mica_by_class(counts, 4, 0.95, by, &macro, &balanced), MICA_OK);
  assert_near(macro, golden_macro_f1, 1e-13);
  assert_near(balanced, golden_balanced_accuracy, 1e-13);
  assert_int_equal(mica_accuracy(50, golden_truth, guess, 0.95, &e), MICA_OK);
  int64_t right = by[0].right + by[1].right + by[2].right + by[3].right;
  assert_near(e.value, (double)right / 50, 1e-14);
  assert_near(e.interval.hi, mica_wilson((double)right, 50, 0.95).hi, 1e-14);
  guess[7] = MICA_CLASS_NONE;
  assert_int_equal(mica_confusion(50, golden_truth, guess, 4, counts), MICA_OK);
  assert_int_equal(counts[golden_truth[7] * 5 + 4], 1);
  guess[7] = 4;
  assert_int_equal(mica_confusion(50, golden_truth, guess, 4, counts), MICA_ERR_INVALID);
  guess[7] = -2;
  assert_int_equal(mica_confusion(50, golden_truth, guess, 4, counts), MICA_ERR_INVALID);
  /* A class that neither occurs nor is predicted has no F1 and does not count. */
  const int64_t one[4] = {2, 2, 2, 2};
  assert_int_equal(mica_confusion(4, one, one, 4, counts), MICA_OK);
  assert_int_equal(mica_by_class(counts, 4, 0.95, by, &macro, &balanced), MICA_OK);
  assert_true(macro == 1 && balanced == 1 && isnan(by[0].f1) && isnan(by[0].precision));
}

static void test_comparison(void **state) {
  (void)state;
  const int64_t truth[8] = {0, 0, 0, 0, 1, 1, 1, 1}, a[8] = {0, 0, 0, 0, 1, 1, 0, 0},
                b[8] = {0, 0, 1, 1, 1, 0, 1, -1};
  mica_comparison c;
  assert_int_equal(mica_compare(8, truth, a, b, 0.95, &c), MICA_OK);
  assert_true(c.both == 3 && c.first == 3 && c.second == 1 && c.none == 1);
  assert_near(c.difference.value, 0.25, 1e-15);
  assert_near(c.p_value, 0.625, 1e-12); /* 2 (1 + 4) / 16 */
  assert_true(c.difference.interval.lo < 0 && c.difference.interval.hi > 0.25);
  assert_int_equal(mica_compare(0, truth, a, b, 0.95, &c), MICA_ERR_INVALID);
}

static void test_regression(void **state) {
  (void)state;
  const double truth[6] = {1, 5, 2, 5, 3, 5}, predicted[6] = {1, 5, 3, 6, 3, 5};
  mica_regression_measures m;
  assert_int_equal(mica_regression(3, 2, truth, predicted, &m), MICA_OK);
  assert_near(m.mse, 2.0 / 6, 1e-15);
  assert_near(m.mae, 2.0 / 6, 1e-15);
  assert_near(m.r2, 0.5, 1e-15); /* the second output never varies */
}

static void test_splits(void **state) {
  (void)state;
  enum { n = 103, folds = 5 };
  int64_t label[n];
  int32_t fold[n], again[n];
  bool held[n];
  int in[folds][3] = {{0}}, size[folds] = {0}, of_class[3] = {0}, out[3] = {0};
  for (int i = 0; i < n; i++) of_class[label[i] = i < 60 ? 0 : i < 102 ? 1 : 2]++;
  assert_int_equal(mica_folds(mica_key_seed(1), n, label, 3, folds, fold), MICA_OK);
  assert_int_equal(mica_folds(mica_key_seed(1), n, label, 3, folds, again), MICA_OK);
  assert_memory_equal(fold, again, sizeof fold);
  for (int i = 0; i < n; i++) in[fold[i]][label[i]]++, size[fold[i]]++;
  for (int f = 0; f < folds; f++) {
    assert_true(size[f] == 20 || size[f] == 21);
    for (int c = 0; c < 3; c++)
      assert_true(in[f][c] >= of_class[c] / folds && in[f][c] <= (of_class[c] + folds - 1) / folds);
  }
  assert_int_equal(mica_folds(mica_key_seed(2), n, NULL, 0, folds, again), MICA_OK);
  assert_int_equal(mica_folds(mica_key_seed(1), n, label, 3, 1, fold), MICA_ERR_INVALID);
  assert_int_equal(mica_folds(mica_key_seed(1), 3, label, 3, 4, fold), MICA_ERR_INVALID);
  assert_int_equal(mica_folds(mica_key_seed(1), n, label, 2, folds, fold), MICA_ERR_INVALID);
  assert_int_equal(mica_hold_out(mica_key_seed(1), n, label, 3, 0.1, held), MICA_OK);
  for (int i = 0; i < n; i++) out[label[i]] += held[i];
  assert_true(out[0] == 6 && out[1] == 4 && out[2] == 0);
  assert_int_equal(mica_hold_out(mica_key_seed(1), n, label, 3, 1.5, held), MICA_ERR_INVALID);
}

static void test_cross_validation(void **state) {
  (void)state;
  mica_engine *engine = test_engine(2);
  mica_fit_data data = test_data(golden_x, 60, 5, golden_y);
  mica_contender c[] = {
      MICA_CONTENDER("prototypes"),           MICA_CONTENDER("logistic"),
      MICA_CONTENDER("knn:k=nonsense"),       MICA_CONTENDER("gaussian"),
      MICA_CONTENDER("gaussian:classes=one"), MICA_CONTENDER("ridge:lambda=0.1,1,10")};
  int64_t predicted[6 * 60];
  assert_int_equal(mica_cross_validate(engine, &data, 5, 1, 0.95, 6, c, predicted), MICA_OK);
  int best = 0;
  for (int i = 0; i < 6; i++) {
    if (i == 2 || i == 4) {
      assert_true(c[i].status == (i == 2 ? MICA_ERR_INVALID : MICA_ERR_UNSUPPORTED));
      assert_true(c[i].error[0] && isnan(c[i].accuracy.value) && !c[i].best);
      continue;
    }
    mica_estimate e;
    assert_int_equal(c[i].status, MICA_OK);
    assert_int_equal(mica_accuracy(60, golden_y, predicted + 60 * i, 0.95, &e), MICA_OK);
    assert_near(c[i].accuracy.value, e.value, 1e-15);
    assert_true(c[i].accuracy.value > 0.5 && c[i].macro_f1 > 0.35);
    assert_true(isnan(c[i].log_loss) == (i == 5));
    assert_true(c[i].difference.value <= 0 && c[i].p_value <= 1);
    best += c[i].best;
    if (c[i].best) assert_true(c[i].difference.value == 0 && c[i].p_value == 1);
  }
  assert_int_equal(best, 1);
  mica_view target = test_rows(golden_t, 60, 2);
  data = test_data(golden_x, 60, 5, NULL);
  assert_int_equal(mica_cross_validate(engine, &data, 5, 1, 0.95, 1, c, NULL), MICA_ERR_INVALID);
  data.target = &target;
  mica_contender r[] = {MICA_CONTENDER("ridge:lambda=1e6"), MICA_CONTENDER("ridge:lambda=0.1"),
                        MICA_CONTENDER("logistic")};
  assert_int_equal(mica_cross_validate(engine, &data, 6, 1, 0.95, 3, r, NULL), MICA_OK);
  assert_true(r[1].best && r[1].r2 > 0.5 && r[0].r2 < 0.1 && r[1].mse < r[0].mse);
  assert_int_equal(r[2].status, MICA_ERR_UNSUPPORTED);
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_auroc),         cmocka_unit_test(test_ranking),
      cmocka_unit_test(test_one_vs_rest),   cmocka_unit_test(test_bands),
      cmocka_unit_test(test_probabilities), cmocka_unit_test(test_counts),
      cmocka_unit_test(test_comparison),    cmocka_unit_test(test_regression),
      cmocka_unit_test(test_splits),        cmocka_unit_test(test_cross_validation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
