/* Gaussians of normal data: `in.train` [n, d] is fitted and `in.test` scored.
 *
 * out.mean, covariance, precision, shrinkage, mahalanobis; sed and l2; for "pca" and "npca" the
 * number of components k that the threshold of the metadata keeps, their projector and shares of
 * variance, and shrinkage and distances among them; out.chi2_threshold for the shares in.chi2_p.
 */
#include "adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct given {
  mica_view train, test;
  int64_t n, d, tests;
  double tolerance;
} given;

static double *room(golden *g, int64_t n) {
  double *v = calloc((size_t)n + 1, sizeof *v);
  if (!v) golden_fail(g, "out of memory");
  return v;
}

static void check(golden *g, const char *name, const double *got, mica_shape shape,
                  double tolerance) {
  if (golden_has(g, name))
    golden_check_within(g, name, mica_view_of((void *)(uintptr_t)got, MICA_F64, shape), tolerance);
}

/* The estimator of a specification: distances of the test rows, and what the fit told. */
static void fit(golden *g, const given *v, const char *spec, const char *name,
                mica_fit_report *report) {
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  mica_prediction p = MICA_PREDICTION;
  if (!golden_has(g, name)) return;
  data.x = v->train;
  p.anomaly = room(g, v->tests);
  golden_need(g, mica_estimator_create(golden_engine(g), spec, &e));
  golden_need(g, mica_estimator_fit(e, &data, report));
  golden_need(g, mica_estimator_predict(e, &v->test, &p));
  check(g, name, p.anomaly, MICA_SHAPE(v->tests), v->tolerance);
}

static void covariance(golden *g, const given *v) {
  const int64_t d = v->d;
  double *mean = room(g, d), *c = room(g, d * d), *p = room(g, d * d), *w = room(g, d * d), rho;
  double *distance = room(g, v->tests), *whitened = room(g, v->tests);
  mica_engine *engine = golden_engine(g);
  golden_need(g, mica_ledoit_wolf(engine, &v->train, mean, c, p, w, &rho));
  golden_need(g, mica_mahalanobis(engine, &v->test, mean, p, distance));
  golden_need(g, mica_mahalanobis_whitened(engine, &v->test, mean, w, whitened));
  check(g, "out.mean", mean, MICA_SHAPE(d), v->tolerance);
  check(g, "out.shrinkage", &rho, MICA_SHAPE(1), v->tolerance);
  check(g, "out.covariance", c, MICA_SHAPE(d, d), v->tolerance);
  check(g, "out.precision", p, MICA_SHAPE(d, d), v->tolerance);
  check(g, "out.mahalanobis", distance, MICA_SHAPE(v->tests), v->tolerance);
  check(g, "out.mahalanobis", whitened, MICA_SHAPE(v->tests), v->tolerance);
}

/* "pca" or "npca". */
static void reduced(golden *g, const given *v, const char *reducer) {
  char name[64], key[64], spec[96];
  const bool trailing = reducer[0] == 'n';
  const int64_t d = v->d, most = v->n < d ? v->n : d;
  int64_t first, end;
  snprintf(name, sizeof name, "out.%s.k", reducer);
  if (!golden_has(g, name)) return;
  snprintf(key, sizeof key, "%s_threshold", reducer);
  const double threshold = golden_number(g, key, trailing ? 0.99 : 0.95);
  double *variance = room(g, d), *components = room(g, d * d), *projector = room(g, d * d), total;
  golden_need(
      g, mica_pca(golden_engine(g), &v->train, d, NULL, components, variance, &total));
  golden_need(g, mica_components_kept(variance, most, threshold, trailing, false, &first, &end));
  const int64_t kept = end - first;
  golden_check_integers(g, name, &kept, 1);
  for (int64_t i = 0; i < most; i++) variance[i] /= total;
  snprintf(name, sizeof name, "out.%s.explained_variance_ratio", reducer);
  check(g, name, variance, MICA_SHAPE(most), v->tolerance);
  for (int64_t k = first; k < end; k++)
    for (int64_t i = 0; i < d * d; i++)
      projector[i] += components[k * d + i / d] * components[k * d + i % d];
  snprintf(name, sizeof name, "out.%s.projector", reducer);
  check(g, name, projector, MICA_SHAPE(d, d), v->tolerance);

  mica_fit_report report = {.size = sizeof report};
  snprintf(spec, sizeof spec, "gaussian:reducer=%s:variance=%.17g", reducer, threshold);
  snprintf(name, sizeof name, "out.%s.mahalanobis", reducer);
  fit(g, v, spec, name, &report);
  if (report.levels && report.level[0].kept != kept)
    golden_fail(g, "the fit kept %lld components, expected %lld", (long long)report.level[0].kept,
                (long long)kept);
  snprintf(name, sizeof name, "out.%s.shrinkage", reducer);
  check(g, name, &report.level[0].shrinkage, MICA_SHAPE(1), v->tolerance);
}

static void run(golden *g) {
  const mica_view stored = golden_view(g, "in.train", MICA_DTYPE_COUNT);
  given v = {.train = golden_view(g, "in.train", MICA_F64),
             .test = golden_view(g, "in.test", MICA_F64),
             .n = golden_dim(g, "in.train", 0),
             .d = golden_dim(g, "in.train", 1),
             .tests = golden_dim(g, "in.test", 0),
             .tolerance = stored.dtype == MICA_F32 ? 1e-3 : 1e-8};
  covariance(g, &v);
  fit(g, &v, "gaussian", "out.mahalanobis", NULL);
  fit(g, &v, "gaussian:distance=standardised", "out.sed", NULL);
  fit(g, &v, "gaussian:distance=euclidean", "out.l2", NULL);
  reduced(g, &v, "pca");
  reduced(g, &v, "npca");
  if (golden_has(g, "out.chi2_threshold")) {
    int64_t n;
    const double *p = golden_doubles(g, "in.chi2_p", &n);
    double *threshold = room(g, n);
    for (int64_t i = 0; i < n; i++) threshold[i] = sqrt(mica_chi2_quantile(p[i], (double)v.d));
    check(g, "out.chi2_threshold", threshold, MICA_SHAPE(n), 1e-8);
  }
}

const golden_adapter golden_adapter_gaussian_anomaly = {"gaussian-anomaly", 1e-8, run};
