/* Short ways to fit and ask an estimator in tests. */
#ifndef MICA_TESTS_ESTIMATOR_H
#define MICA_TESTS_ESTIMATOR_H

#include "support/near.h"
#include "support/test.h"

#include <mica/feature.h>

#include <stdlib.h>

static inline mica_engine *test_engine(int threads) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine;
  o.threads = threads;
  assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
  return engine;
}

static inline mica_view test_rows(const double *data, int64_t n, int64_t d) {
  return mica_view_of((void *)(uintptr_t)data, MICA_F64, MICA_SHAPE(n, d));
}

static inline mica_fit_data test_data(const double *x, int64_t n, int64_t d, const int64_t *label) {
  mica_fit_data data = MICA_FIT_DATA;
  data.x = test_rows(x, n, d);
  data.label = label;
  return data;
}

/* A fitted estimator, or a failed test. */
static inline mica_estimator *test_fit(const mica_engine *engine, const char *spec,
                                       const mica_fit_data *data, mica_fit_report *report) {
  mica_estimator *e;
  if (mica_estimator_create(engine, spec, &e) || mica_estimator_fit(e, data, report)) {
    print_error("%s: %s\n", spec, mica_last_error());
    fail();
  }
  return e;
}

static inline void test_predict(const mica_estimator *e, mica_view x, int64_t *label, double *score,
                                double *probability, double *anomaly) {
  mica_prediction p = MICA_PREDICTION;
  p.label = label;
  p.score = score;
  p.probability = probability;
  p.anomaly = anomaly;
  if (mica_estimator_predict(e, &x, &p)) {
    print_error("%s\n", mica_last_error());
    fail();
  }
}

#endif
