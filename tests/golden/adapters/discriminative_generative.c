/* discriminative-generative: naive Bayes with one variance a feature, fitted whole and in two
 * pieces, its linear form; multinomial logistic regression on features scaled to [0, 1].
 */
#include "adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What a fitted naive Bayes holds and says, under PREFIX. */
static void check_bayes(golden *g, const char *prefix, mica_estimator *e, double eps) {
  const int64_t k = mica_estimator_classes(e), d = mica_estimator_features(e);
  const mica_view x = golden_view(g, "in.X_test", MICA_F64);
  const int64_t n = x.shape.dim[0];
  char name[80];
#define NAME(what) (snprintf(name, sizeof name, "out.%s.%s", prefix, what), name)
  mica_record *record;
  golden_need(g, mica_record_create(&record));
  golden_need(g, mica_estimator_save(e, record));
  const double *count = mica_tensor_data(mica_record_get(record, "count"));
  const double *mean = mica_tensor_data(mica_record_get(record, "mean"));
  const double *variance = mica_tensor_data(mica_record_get(record, "variance"));
  double *v = calloc((size_t)(k * d), sizeof *v), *pooled = calloc((size_t)d, sizeof *pooled);
  double *prior = calloc((size_t)k, sizeof *prior), rows = 0;
  double *joint = calloc((size_t)(n * k), sizeof *joint), *p = calloc((size_t)(n * k), sizeof *p);
  double *weight = calloc((size_t)(k * d), sizeof *weight), *bias = calloc((size_t)k, sizeof *bias);
  int64_t *label = calloc((size_t)n, sizeof *label);
  if (!v || !pooled || !prior || !joint || !p || !weight || !bias || !label)
    golden_fail(g, "out of memory");
  for (int64_t c = 0; c < k; c++) rows += count[c];
  for (int64_t c = 0; c < k; c++) {
    prior[c] = count[c] / rows;
    for (int64_t j = 0; j < d; j++) {
      v[c * d + j] = variance[c * d + j] + eps;
      pooled[j] += prior[c] * v[c * d + j];
    }
  }
  golden_check_doubles(g, NAME("means"), mean, k * d);
  golden_check_doubles(g, NAME("class_vars"), v, k * d);
  golden_check_doubles(g, NAME("prior"), prior, k);
  golden_check_doubles(g, NAME("pooled_var"), pooled, d);
  mica_prediction out = MICA_PREDICTION;
  out.label = label;
  out.score = joint;
  out.probability = p;
  golden_need(g, mica_estimator_predict(e, &x, &out));
  golden_check_doubles(g, NAME("joint"), joint, n * k);
  golden_check_integers(g, NAME("pred"), label, n);
  golden_need(g, mica_estimator_linear(e, weight, bias));
  golden_check_doubles(g, NAME("linear_weight"), weight, k * d);
  golden_check_doubles(g, NAME("linear_bias"), bias, k);
  /* The logarithm of the posterior from the joint scores: exact where it is far below one. */
  for (int64_t i = 0; i < n; i++) {
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < k; c++) top = fmax(top, joint[i * k + c]);
    for (int64_t c = 0; c < k; c++) sum += exp(joint[i * k + c] - top);
    for (int64_t c = 0; c < k; c++) {
      const double log_posterior = joint[i * k + c] - top - log(sum);
      if (fabs(exp(log_posterior) - p[i * k + c]) > 1e-12)
        golden_fail(g, "%s: the probability is not the softmax of the scores", prefix);
      p[i * k + c] = log_posterior;
    }
  }
  golden_check_doubles(g, NAME("log_posterior"), p, n * k);
#undef NAME
}

/* The rows whose numbers a tensor holds. */
static mica_fit_data piece(golden *g, const char *rows, int64_t classes) {
  int64_t n;
  const int64_t *item = golden_integers(g, rows, &n), *y = golden_integers(g, "in.y", NULL);
  const double *x = golden_doubles(g, "in.X", NULL);
  const int64_t d = golden_dim(g, "in.X", 1);
  double *own = calloc((size_t)(n * d), sizeof *own);
  int64_t *label = calloc((size_t)n, sizeof *label);
  if (!own || !label) golden_fail(g, "out of memory");
  for (int64_t i = 0; i < n; i++) {
    label[i] = y[item[i]];
    for (int64_t j = 0; j < d; j++) own[i * d + j] = x[item[i] * d + j];
  }
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_view_of(own, MICA_F64, MICA_SHAPE(n, d));
  data.label = label;
  data.classes = classes;
  return data;
}

static void check_logistic(golden *g) {
  const mica_view test = golden_view(g, "in.minmax_X_test", MICA_F64);
  mica_fit_data data = MICA_FIT_DATA;
  mica_fit_report report = {.size = sizeof report};
  mica_estimator *e;
  char spec[120];
  data.x = golden_view(g, "in.minmax_X", MICA_F64);
  data.label = golden_integers(g, "in.y", NULL);
  const double strength = golden_number(g, "C", 1);
  snprintf(spec, sizeof spec, "logistic:C=%.17g:tol=1e-12:max_iter=100000", strength);
  golden_need(g, mica_estimator_create(golden_engine(g), spec, &e));
  golden_need(g, mica_estimator_fit(e, &data, &report));
  const int64_t k = mica_estimator_classes(e), d = mica_estimator_features(e);
  const int64_t n = test.shape.dim[0];
  double *weight = calloc((size_t)(k * d), sizeof *weight), *bias = calloc((size_t)k, sizeof *bias);
  double *p = calloc((size_t)(n * k), sizeof *p), mean = 0;
  if (!weight || !bias || !p) golden_fail(g, "out of memory");
  golden_need(g, mica_estimator_linear(e, weight, bias));
  /* The bias is free up to a constant; the reference has it with mean 0. */
  for (int64_t c = 0; c < k; c++) mean += bias[c] / (double)k;
  for (int64_t c = 0; c < k; c++) bias[c] -= mean;
  golden_check_within(g, "out.logistic.weight", mica_view_of(weight, MICA_F64, MICA_SHAPE(k, d)), 1e-5);
  golden_check_within(g, "out.logistic.bias", mica_view_of(bias, MICA_F64, MICA_SHAPE(k)), 1e-5);
  mica_prediction out = MICA_PREDICTION;
  out.probability = p;
  golden_need(g, mica_estimator_predict(e, &test, &out));
  for (int64_t i = 0; i < n * k; i++) p[i] = log(p[i]);
  golden_check_within(g, "out.logistic.log_proba", mica_view_of(p, MICA_F64, MICA_SHAPE(n, k)), 1e-5);
  /* C sum CE + |W|^2 / 2, from the mean that the solver minimises. */
  const double objective = report.objective * strength * (double)data.x.shape.dim[0];
  golden_check_within(g, "out.logistic.objective",
                      mica_view_of((void *)&objective, MICA_F64, MICA_SHAPE(1)), 1e-5);
}

static void run(golden *g) {
  const double eps = golden_number(g, "val_epsilon", 1e-9);
  mica_fit_data data = MICA_FIT_DATA;
  mica_estimator *e;
  char spec[80];
  snprintf(spec, sizeof spec, "naive_bayes:eps=%.17g", eps);
  data.x = golden_view(g, "in.X", MICA_F64);
  data.label = golden_integers(g, "in.y", NULL);
  golden_need(g, mica_estimator_create(golden_engine(g), spec, &e));
  golden_need(g, mica_estimator_fit(e, &data, NULL));
  check_bayes(g, "full", e, eps);
  if (golden_has(g, "in.chunk1")) {
    const int64_t k = mica_estimator_classes(e);
    mica_estimator *pieces;
    const mica_fit_data first = piece(g, "in.chunk1", k), second = piece(g, "in.chunk2", k);
    golden_need(g, mica_estimator_create(golden_engine(g), spec, &pieces));
    golden_need(g, mica_estimator_update(pieces, &first));
    golden_need(g, mica_estimator_update(pieces, &second));
    check_bayes(g, "chunked", pieces, eps);
  }
  if (golden_has(g, "out.logistic.weight")) check_logistic(g);
}

const golden_adapter golden_adapter_discriminative_generative = {"discriminative-generative", 1e-8,
                                                                 run};
