/* Detectors measured as published: the normal rows are cut into folds, each detector is fitted
 * without one of them and ranks the test rows. */
#include <mica/feature.h>

#include "numeric/rows.h"

#include <math.h>
#include <string.h>

/* The rows of x in or outside of a fold, float64. */
static mica_status take(const mica_view *x, const int32_t *fold, int32_t which, bool inside,
                        double **rows, mica_view *out) {
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  int64_t k = 0;
  *rows = mica_malloc((size_t)(n * d) * sizeof **rows);
  if (!*rows) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++)
    if ((fold[i] == which) == inside) mica_rows_load(x, i, i + 1, NULL, *rows + k++ * d);
  *out = mica_view_of(*rows, MICA_F64, MICA_SHAPE(k, d));
  return MICA_OK;
}

/* The share of rows beyond n sigma of a level, the mean over levels; NaN without such a law. */
static mica_status beyond_sigma(const mica_estimator *e, const mica_view *normal, double *out) {
  const int64_t n = mica_rows_n(normal), levels = mica_estimator_outputs(e);
  double *score = mica_malloc((size_t)((n + 1) * levels) * sizeof *score);
  if (!score) return MICA_ERR_MEMORY;
  double *limit = score + n * levels;
  mica_prediction p = MICA_PREDICTION;
  p.score = score;
  mica_status status = mica_estimator_predict(e, normal, &p);
  for (int s = 0; s < MICA_SIGMAS && status == MICA_OK; s++) {
    out[s] = NAN;
    if (mica_estimator_level_thresholds(e, mica_sigma_share(s + 1), MICA_THRESHOLD_LAW, limit))
      break;
    double above = 0;
    for (int64_t i = 0; i < n * levels; i++) above += score[i] > limit[i % levels];
    out[s] = above / (double)(n * levels);
  }
  mica_free(score);
  return status;
}

static mica_status one_fold(const mica_engine *engine, const char *spec, const mica_view *normal,
                            const int32_t *fold, int32_t which, const mica_view *test,
                            const bool *anomalous, mica_anomaly_fold *out) {
  const int64_t tests = mica_rows_n(test);
  double *fitted = NULL, *rest = NULL, *score = mica_malloc((size_t)tests * sizeof *score);
  mica_view fit_rows, rest_rows;
  mica_estimator *e = NULL;
  mica_fit_report report = {.size = sizeof report};
  mica_estimate auroc = {NAN, {NAN, NAN}};
  *out = (mica_anomaly_fold){.auroc = NAN};
  for (int s = 0; s < MICA_SIGMAS; s++) out->beyond[s] = NAN;
  mica_status status = score ? mica_estimator_create(engine, spec, &e) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = take(normal, fold, which, false, &fitted, &fit_rows);
  if (status == MICA_OK) status = take(normal, fold, which, true, &rest, &rest_rows);
  if (status == MICA_OK) {
    mica_fit_data data = MICA_FIT_DATA;
    data.x = fit_rows;
    status = mica_estimator_fit(e, &data, &report);
  }
  if (status == MICA_OK) {
    mica_prediction p = MICA_PREDICTION;
    p.anomaly = score;
    status = mica_estimator_predict(e, test, &p);
  }
  if (status == MICA_OK) status = mica_auroc(tests, score, anomalous, 0.95, &auroc);
  if (status == MICA_OK && mica_estimator_task(e) == MICA_TASK_ANOMALY)
    status = beyond_sigma(e, &rest_rows, out->beyond);
  out->auroc = auroc.value;
  for (int32_t l = 0; l < report.levels; l++) out->kept += report.level[l].kept;
  mica_estimator_free(e);
  mica_free(fitted);
  mica_free(rest);
  mica_free(score);
  return status;
}

mica_status mica_anomaly_folds(const mica_engine *engine, const char *spec, const mica_view *normal,
                               const mica_view *test, const bool *anomalous, int32_t folds,
                               uint64_t seed, mica_anomaly_fold *out) {
  mica_status status = mica_rows_check(normal, "normal rows");
  if (status == MICA_OK) status = mica_rows_check(test, "test rows");
  if (status != MICA_OK) return status;
  const int64_t n = mica_rows_n(normal);
  int32_t *fold = mica_malloc((size_t)(n + 1) * sizeof *fold);
  if (!fold) return MICA_ERR_MEMORY;
  status = mica_folds(mica_key_fold_name(mica_key_seed(seed), "folds"), n, NULL, 0, folds, fold);
  for (int32_t k = 0; k < folds && status == MICA_OK; k++)
    status = one_fold(engine, spec, normal, fold, k, test, anomalous, &out[k]);
  mica_free(fold);
  return status;
}
