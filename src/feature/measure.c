/* Measures of classification and regression from predictions, and the paired comparison of two
 * classifiers. */
#include <mica/feature.h>

#include <float.h>
#include <math.h>
#include <string.h>

static mica_status check_rows(const char *what, int64_t n, double level) {
  if (n < 1)
    return mica_fail(MICA_ERR_INVALID, "%s of %lld rows, expected at least 1", what, (long long)n);
  if (!(level > 0 && level < 1))
    return mica_fail(MICA_ERR_INVALID, "%s: confidence level %g, expected between 0 and 1", what,
                     level);
  return MICA_OK;
}

static mica_status check_truth(const char *what, int64_t n, const int64_t *truth, int64_t classes) {
  for (int64_t i = 0; i < n; i++)
    if (truth[i] < 0 || truth[i] >= classes)
      return mica_fail(MICA_ERR_INVALID, "%s: class %lld of row %lld, expected 0..%lld", what,
                       (long long)truth[i], (long long)i, (long long)classes - 1);
  return MICA_OK;
}

static mica_estimate proportion(double hits, double n, double level) {
  return (mica_estimate){n > 0 ? hits / n : NAN, mica_wilson(hits, n, level)};
}

mica_status mica_confusion(int64_t n, const int64_t *truth, const int64_t *predicted,
                           int64_t classes, int64_t *counts) {
  mica_status status = check_truth("confusion matrix", n, truth, classes);
  if (status) return status;
  memset(counts, 0, (size_t)classes * (size_t)(classes + 1) * sizeof *counts);
  for (int64_t i = 0; i < n; i++) {
    int64_t p = predicted[i] == MICA_CLASS_NONE ? classes : predicted[i];
    if (p < 0 || p > classes || (p == classes && predicted[i] != MICA_CLASS_NONE))
      return mica_fail(MICA_ERR_INVALID,
                       "confusion matrix: prediction %lld of row %lld, expected 0..%lld or none",
                       (long long)predicted[i], (long long)i, (long long)classes - 1);
    counts[truth[i] * (classes + 1) + p]++;
  }
  return MICA_OK;
}

mica_status mica_accuracy(int64_t n, const int64_t *truth, const int64_t *predicted, double level,
                          mica_estimate *out) {
  mica_status status = check_rows("accuracy", n, level);
  if (status) return status;
  int64_t right = 0;
  for (int64_t i = 0; i < n; i++) right += truth[i] == predicted[i];
  *out = proportion((double)right, (double)n, level);
  return MICA_OK;
}

mica_status mica_by_class(const int64_t *counts, int64_t classes, double level,
                          mica_class_measures *by_class, double *macro_f1,
                          double *balanced_accuracy) {
  mica_status status = check_rows("measures by class", classes, level);
  if (status) return status;
  double f1 = 0, recall = 0, f1_classes = 0, recall_classes = 0;
  for (int64_t c = 0; c < classes; c++) {
    mica_class_measures m = {.right = counts[c * (classes + 1) + c]};
    for (int64_t p = 0; p <= classes; p++) m.support += counts[c * (classes + 1) + p];
    for (int64_t t = 0; t < classes; t++) m.predicted += counts[t * (classes + 1) + c];
    m.recall = proportion((double)m.right, (double)m.support, level);
    m.precision = m.predicted ? (double)m.right / (double)m.predicted : NAN;
    m.f1 = m.support + m.predicted ? 2 * (double)m.right / (double)(m.support + m.predicted) : NAN;
    if (m.support + m.predicted) f1 += m.f1, f1_classes++;
    if (m.support) recall += m.recall.value, recall_classes++;
    if (by_class) by_class[c] = m;
  }
  if (macro_f1) *macro_f1 = f1_classes > 0 ? f1 / f1_classes : NAN;
  if (balanced_accuracy) *balanced_accuracy = recall_classes > 0 ? recall / recall_classes : NAN;
  return MICA_OK;
}

mica_status mica_by_band(const int64_t *counts, int64_t classes, const int64_t *trained,
                         int64_t few, int64_t many, double level, mica_band *out) {
  mica_status status = check_rows("measures by band", classes, level);
  if (!status && few > many)
    status = mica_fail(MICA_ERR_INVALID, "bands: few is below %lld and many above %lld",
                       (long long)few, (long long)many);
  if (status) return status;
  double hits[MICA_BANDS] = {0}, recall[MICA_BANDS] = {0};
  for (int b = 0; b < MICA_BANDS; b++) out[b] = (mica_band){0};
  for (int64_t c = 0; c < classes; c++) {
    const int b = trained[c] < few    ? MICA_BAND_FEW
                  : trained[c] > many ? MICA_BAND_MANY
                                      : MICA_BAND_MEDIUM;
    const double right = (double)counts[c * (classes + 1) + c];
    int64_t support = 0;
    for (int64_t p = 0; p <= classes; p++) support += counts[c * (classes + 1) + p];
    if (!support) continue;
    out[b].classes++;
    out[b].rows += support;
    hits[b] += right;
    recall[b] += right / (double)support;
  }
  for (int b = 0; b < MICA_BANDS; b++) {
    out[b].accuracy = proportion(hits[b], (double)out[b].rows, level);
    out[b].mean_recall = out[b].classes ? recall[b] / (double)out[b].classes : NAN;
  }
  return MICA_OK;
}

mica_status mica_top_k_accuracy(int64_t n, int64_t classes, const double *score,
                                const int64_t *truth, int64_t k, double level, mica_estimate *out) {
  mica_status status = check_rows("top-k accuracy", n, level);
  if (!status) status = check_truth("top-k accuracy", n, truth, classes);
  if (!status && k < 1)
    status = mica_fail(MICA_ERR_INVALID, "top-k accuracy: k is %lld", (long long)k);
  if (status) return status;
  int64_t hits = 0;
  for (int64_t i = 0; i < n; i++) {
    const double *row = score + i * classes;
    int64_t above = 0;
    /* Not below the truth's score, NaN included: a tie counts against. */
    for (int64_t c = 0; c < classes; c++) above += c != truth[i] && !(row[c] < row[truth[i]]);
    hits += above < k;
  }
  *out = proportion((double)hits, (double)n, level);
  return MICA_OK;
}

mica_status mica_log_loss(int64_t n, int64_t classes, const double *probability,
                          const int64_t *truth, double *out) {
  mica_status status = check_rows("log-loss", n, 0.5);
  if (!status) status = check_truth("log-loss", n, truth, classes);
  if (status) return status;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double p = probability[i * classes + truth[i]];
    if (!(p >= 0 && p <= 1 + 1e-6))
      return mica_fail(MICA_ERR_NUMERIC, "log-loss: probability %g of row %lld", p, (long long)i);
    sum -= log(fmin(fmax(p, DBL_EPSILON), 1));
  }
  *out = sum / (double)n;
  return MICA_OK;
}

mica_status mica_calibration(int64_t n, int64_t classes, const double *probability,
                             const int64_t *truth, int32_t bins, double *ece, double *brier,
                             double *confidence, double *right, int64_t *count) {
  mica_status status = check_rows("calibration", n, 0.5);
  if (!status) status = check_truth("calibration", n, truth, classes);
  if (!status && bins < 1) status = mica_fail(MICA_ERR_INVALID, "calibration: %d bins", bins);
  if (status) return status;
  double *sums = mica_calloc((size_t)bins * 3, sizeof *sums), squares = 0, error = 0;
  if (!sums) return MICA_ERR_MEMORY;
  double *hit = sums + bins, *rows = hit + bins;
  for (int64_t i = 0; i < n; i++) {
    const double *p = probability + i * classes;
    int64_t best = 0;
    for (int64_t c = 0; c < classes; c++) {
      double difference = p[c] - (c == truth[i]);
      squares += difference * difference;
      if (p[c] > p[best]) best = c;
    }
    if (!(p[best] >= 0 && p[best] <= 1 + 1e-6)) {
      mica_free(sums);
      return mica_fail(MICA_ERR_NUMERIC, "calibration: probability %g of row %lld", p[best],
                       (long long)i);
    }
    /* Bins are (0, 1/b], (1/b, 2/b], ... as in the definition. */
    int32_t b = (int32_t)ceil(p[best] * bins) - 1;
    b = b < 0 ? 0 : b >= bins ? bins - 1 : b;
    sums[b] += p[best];
    hit[b] += best == truth[i];
    rows[b] += 1;
  }
  for (int32_t b = 0; b < bins; b++) {
    error += fabs(sums[b] - hit[b]) / (double)n;
    if (confidence) confidence[b] = rows[b] > 0 ? sums[b] / rows[b] : NAN;
    if (right) right[b] = rows[b] > 0 ? hit[b] / rows[b] : NAN;
    if (count) count[b] = (int64_t)rows[b];
  }
  if (ece) *ece = error;
  if (brier) *brier = squares / (double)n;
  mica_free(sums);
  return MICA_OK;
}

mica_status mica_compare(int64_t n, const int64_t *truth, const int64_t *first,
                         const int64_t *second, double level, mica_comparison *out) {
  mica_status status = check_rows("comparison", n, level);
  if (status) return status;
  *out = (mica_comparison){0};
  for (int64_t i = 0; i < n; i++) {
    bool a = first[i] == truth[i], b = second[i] == truth[i];
    if (a && b)
      out->both++;
    else if (a)
      out->first++;
    else if (b)
      out->second++;
    else
      out->none++;
  }
  out->difference.value = (double)(out->first - out->second) / (double)n;
  out->difference.interval = mica_newcombe_paired((double)out->both, (double)out->first,
                                                  (double)out->second, (double)out->none, level);
  out->p_value = mica_mcnemar_exact((double)out->first, (double)out->second);
  return MICA_OK;
}

mica_status mica_regression(int64_t n, int64_t outputs, const double *truth,
                            const double *predicted, mica_regression_measures *out) {
  mica_status status = check_rows("regression measures", n, 0.5);
  if (!status && outputs < 1)
    status = mica_fail(MICA_ERR_INVALID, "regression measures: no outputs");
  if (status) return status;
  double squares = 0, absolute = 0, r2 = 0, varying = 0;
  for (int64_t t = 0; t < outputs; t++) {
    double mean = 0, total = 0, residual = 0;
    for (int64_t i = 0; i < n; i++) mean += truth[i * outputs + t] / (double)n;
    for (int64_t i = 0; i < n; i++) {
      double y = truth[i * outputs + t], e = predicted[i * outputs + t] - y;
      total += (y - mean) * (y - mean);
      residual += e * e;
      absolute += fabs(e);
    }
    squares += residual;
    if (total > 0) r2 += 1 - residual / total, varying++;
  }
  double count = (double)n * (double)outputs;
  *out = (mica_regression_measures){squares / count, absolute / count,
                                    varying > 0 ? r2 / varying : NAN};
  return MICA_OK;
}
