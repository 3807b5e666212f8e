/* Folds, held-out shares, and estimators compared on the same folds. */
#include "numeric/rows.h"

#include <mica/feature.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- splits ---- */

/* rank[i]: the place of row i among the rows of its class in a random order; size [classes]. */
static mica_status rank_in_class(mica_key key, int64_t n, const int64_t *label, int64_t classes,
                                 int64_t *rank, int64_t **size) {
  if (!label) classes = 1;
  if (classes < 1) return mica_fail(MICA_ERR_INVALID, "split: %lld classes", (long long)classes);
  for (int64_t i = 0; label && i < n; i++)
    if (label[i] < 0 || label[i] >= classes)
      return mica_fail(MICA_ERR_INVALID, "split: label %lld of row %lld, expected 0..%lld",
                       (long long)label[i], (long long)i, (long long)classes - 1);
  int64_t *order = mica_malloc((size_t)n * sizeof *order);
  *size = mica_calloc((size_t)classes, sizeof **size);
  if (!order || !*size) {
    mica_free(order);
    mica_free(*size);
    *size = NULL;
    return MICA_ERR_MEMORY;
  }
  mica_random_permutation(key, n, order);
  for (int64_t i = 0; i < n; i++) rank[order[i]] = (*size)[label ? label[order[i]] : 0]++;
  mica_free(order);
  return MICA_OK;
}

mica_status mica_folds(mica_key key, int64_t n, const int64_t *label, int64_t classes,
                       int32_t folds, int32_t *fold) {
  if (folds < 2 || folds > n)
    return mica_fail(MICA_ERR_INVALID, "%d folds of %lld rows, expected 2 to as many as rows",
                     folds, (long long)n);
  int64_t *rank = mica_malloc((size_t)n * sizeof *rank), *size = NULL, begin = 0;
  mica_status status = rank ? rank_in_class(key, n, label, classes, rank, &size) : MICA_ERR_MEMORY;
  /* Dealing on where the class before ended keeps the folds' sizes within one of each other. */
  for (int64_t c = 0; !status && c < (label ? classes : 1); c++) {
    int64_t count = size[c];
    size[c] = begin;
    begin += count;
  }
  for (int64_t i = 0; !status && i < n; i++)
    fold[i] = (int32_t)((size[label ? label[i] : 0] + rank[i]) % folds);
  mica_free(rank);
  mica_free(size);
  return status;
}

typedef struct grouped {
  int64_t group, row;
} grouped;

static int by_group(const void *pa, const void *pb) {
  const grouped *a = pa, *b = pb;
  if (a->group != b->group) return a->group < b->group ? -1 : 1;
  return a->row < b->row ? -1 : a->row > b->row;
}

mica_status mica_group_folds(mica_key key, int64_t n, const int64_t *label, int64_t classes,
                             const int64_t *group, int32_t folds, int32_t *fold) {
  int64_t groups = 0;
  grouped *sorted = mica_malloc((size_t)(n + 1) * sizeof *sorted);
  int64_t *first = mica_malloc((size_t)(n + 1) * sizeof *first);
  int32_t *dealt = mica_malloc((size_t)(n + 1) * sizeof *dealt);
  mica_status status = sorted && first && dealt ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; !status && i < n; i++) sorted[i] = (grouped){group[i], i};
  if (!status) qsort(sorted, (size_t)n, sizeof *sorted, by_group);
  for (int64_t i = 0; !status && i < n; i++)
    if (i == 0 || sorted[i].group != sorted[i - 1].group)
      first[groups++] = label ? label[sorted[i].row] : 0;
  if (!status && folds > groups)
    status = mica_fail(MICA_ERR_INVALID, "%d folds of %lld groups, expected at most as many", folds,
                       (long long)groups);
  if (!status) status = mica_folds(key, groups, label ? first : NULL, classes, folds, dealt);
  for (int64_t i = 0, g = 0; !status && i < n; i++) {
    g += i > 0 && sorted[i].group != sorted[i - 1].group;
    fold[sorted[i].row] = dealt[g];
  }
  mica_free(sorted);
  mica_free(first);
  mica_free(dealt);
  return status;
}

mica_status mica_hold_out(mica_key key, int64_t n, const int64_t *label, int64_t classes,
                          double share, bool *held_out) {
  if (!(share >= 0 && share <= 1))
    return mica_fail(MICA_ERR_INVALID, "a share of %g to hold out, expected 0..1", share);
  if (n == 0) return MICA_OK;
  int64_t *rank = mica_malloc((size_t)n * sizeof *rank), *size = NULL;
  mica_status status = rank ? rank_in_class(key, n, label, classes, rank, &size) : MICA_ERR_MEMORY;
  for (int64_t i = 0; !status && i < n; i++) {
    int64_t count = size[label ? label[i] : 0], take = (int64_t)floor(share * (double)count + 0.5);
    if (share > 0 && count >= 2 && take < 1) take = 1;
    if (share < 1 && take >= count) take = count - 1;
    held_out[i] = rank[i] < take;
  }
  mica_free(rank);
  mica_free(size);
  return status;
}

/* ---- comparison ---- */

typedef struct {
  const mica_engine *engine;
  const mica_fit_data *data;
  const int32_t *fold;
  int64_t n, d, outputs; /* outputs: classes, or columns of the target */
  double level;
  /* of the current fold */
  int64_t train, test;
  char *x;        /* [n, D] training rows, then test rows */
  int64_t *label; /* [n] in that order */
  double *target; /* [n, outputs] in that order */
  int64_t *row;   /* [n] where they come from */
  int64_t *group; /* [n] of the rows, in that order; NULL: none */
  int64_t *got;   /* [n] predictions in that order */
  double *value;  /* [n, outputs] probabilities or values in that order */
} session;

/* What is kept of a contender over all folds. */
typedef struct {
  int64_t *label; /* [n] */
  double *value;  /* [n, outputs] */
  bool values;
} outcome;

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double target_of(const mica_view *y, int64_t i, int64_t t) {
  int64_t at = i * y->row_stride + t;
  return y->dtype == MICA_F32 ? (double)((const float *)y->data)[at]
                              : ((const double *)y->data)[at];
}

static void gather(session *s, int32_t fold) {
  const mica_view *x = &s->data->x;
  size_t element = mica_dtype_size(x->dtype), bytes = (size_t)s->d * element;
  int64_t at = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (int64_t i = 0; i < s->n; i++) {
      if ((s->fold[i] == fold) != (pass == 1)) continue;
      memcpy(s->x + (size_t)at * bytes,
             (const char *)x->data + (size_t)(i * x->row_stride) * element, bytes);
      if (s->data->label) s->label[at] = s->data->label[i];
      if (s->group) s->group[at] = s->data->group[i];
      for (int64_t t = 0; s->data->target && t < s->outputs; t++)
        s->target[at * s->outputs + t] = target_of(s->data->target, i, t);
      s->row[at++] = i;
    }
    if (pass == 0) s->train = at;
  }
  s->test = at - s->train;
}

static mica_status predict_fold(const session *s, mica_estimator *e, mica_contender *c,
                                outcome *o) {
  size_t bytes = (size_t)s->d * mica_dtype_size(s->data->x.dtype);
  mica_view x =
      mica_view_of(s->x + (size_t)s->train * bytes, s->data->x.dtype, MICA_SHAPE(s->test, s->d));
  mica_prediction p = MICA_PREDICTION;
  const mica_estimator_functions *fn = mica_estimator_component(e)->functions;
  if (s->data->label) {
    if (mica_estimator_task(e) != MICA_TASK_CLASSIFICATION)
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s, fitted as it is, predicts no classes", c->spec);
    p.label = s->got;
    o->values = fn->abilities & MICA_ESTIMATOR_PROBABILITIES;
    if (o->values) p.probability = s->value;
  } else {
    p.score = s->value;
    o->values = true;
  }
  double begin = seconds();
  mica_status status = mica_estimator_predict(e, &x, &p);
  c->predict_seconds += seconds() - begin;
  for (int64_t i = 0; i < s->test && !status; i++) {
    int64_t row = s->row[s->train + i];
    if (p.label) o->label[row] = s->got[i];
    if (o->values)
      memcpy(o->value + row * s->outputs, s->value + i * s->outputs,
             (size_t)s->outputs * sizeof(double));
  }
  return status;
}

static mica_status run_fold(const session *s, mica_contender *c, outcome *o) {
  mica_estimator *e;
  mica_status status = mica_estimator_create(s->engine, c->spec, &e);
  if (status) return status;
  mica_fit_data data = MICA_FIT_DATA;
  mica_view target = mica_view_of(s->target, MICA_F64, MICA_SHAPE(s->train, s->outputs));
  data.x = mica_view_of(s->x, s->data->x.dtype, MICA_SHAPE(s->train, s->d));
  data.label = s->data->label ? s->label : NULL;
  data.classes = s->data->label ? s->outputs : 0;
  data.target = s->data->target ? &target : NULL;
  data.group = s->group;
  double begin = seconds();
  status = mica_estimator_fit(e, &data, NULL);
  c->fit_seconds += seconds() - begin;
  if (!status && mica_estimator_outputs(e) != s->outputs)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "%s predicts %lld values, not the %lld targets",
                       c->spec, (long long)mica_estimator_outputs(e), (long long)s->outputs);
  if (!status) status = mica_estimator_set_rejection(e, 0);
  if (!status) status = predict_fold(s, e, c, o);
  mica_estimator_free(e);
  return status;
}

static mica_status measure(const session *s, mica_contender *c, const outcome *o) {
  if (!s->data->label) {
    mica_regression_measures m;
    mica_status status = MICA_OK;
    double *truth = mica_malloc((size_t)(s->n * s->outputs) * sizeof *truth);
    if (!truth) return MICA_ERR_MEMORY;
    for (int64_t i = 0; i < s->n * s->outputs; i++)
      truth[i] = target_of(s->data->target, i / s->outputs, i % s->outputs);
    status = mica_regression(s->n, s->outputs, truth, o->value, &m);
    mica_free(truth);
    if (!status) c->mse = m.mse, c->r2 = m.r2;
    return status;
  }
  int64_t *counts = mica_malloc((size_t)(s->outputs * (s->outputs + 1)) * sizeof *counts);
  if (!counts) return MICA_ERR_MEMORY;
  mica_status status = mica_accuracy(s->n, s->data->label, o->label, s->level, &c->accuracy);
  if (!status) status = mica_confusion(s->n, s->data->label, o->label, s->outputs, counts);
  if (!status) status = mica_by_class(counts, s->outputs, s->level, NULL, &c->macro_f1, NULL);
  if (!status && o->values)
    status = mica_log_loss(s->n, s->outputs, o->value, s->data->label, &c->log_loss);
  mica_free(counts);
  return status;
}

static mica_status compare_with_best(const session *s, int32_t n, mica_contender *c,
                                     const outcome *o) {
  int32_t best = -1;
  for (int32_t i = 0; i < n; i++) {
    if (c[i].status) continue;
    bool better = best < 0 || (s->data->label ? c[i].accuracy.value > c[best].accuracy.value
                                              : c[i].mse < c[best].mse);
    if (better) best = i;
  }
  if (best >= 0) c[best].best = 1;
  for (int32_t i = 0; i < n && best >= 0 && s->data->label; i++) {
    if (c[i].status) continue;
    mica_comparison pair;
    mica_status status =
        mica_compare(s->n, s->data->label, o[i].label, o[best].label, s->level, &pair);
    if (status) return status;
    c[i].difference = i == best ? (mica_estimate){0, {0, 0}} : pair.difference;
    c[i].p_value = i == best ? 1 : pair.p_value;
  }
  return MICA_OK;
}

static void forget(mica_contender *c) {
  const mica_estimate unknown = {NAN, {NAN, NAN}};
  c->status = MICA_OK;
  c->error[0] = '\0';
  c->accuracy = c->difference = unknown;
  c->p_value = c->macro_f1 = c->log_loss = c->mse = c->r2 = NAN;
  c->fit_seconds = c->predict_seconds = 0;
  c->best = 0;
}

/* All contenders on one fold after the other; only lack of memory and cancelling end it. */
static mica_status run(session *s, int32_t folds, int32_t n, mica_contender *c, outcome *o) {
  for (int32_t f = 0; f < folds; f++) {
    gather(s, f);
    for (int32_t i = 0; i < n; i++) {
      if (s->data->progress && s->data->progress(s->data->progress_ctx, "cross-validating",
                                                 (int64_t)f * n + i, (int64_t)folds * n))
        return mica_fail(MICA_ERR_CANCELLED, "cross-validation cancelled");
      if (c[i].status) continue;
      c[i].status = run_fold(s, &c[i], &o[i]);
      if (c[i].status == MICA_ERR_MEMORY) return MICA_ERR_MEMORY;
      if (c[i].status) snprintf(c[i].error, sizeof c[i].error, "%s", mica_last_error());
    }
  }
  for (int32_t i = 0; i < n; i++) {
    mica_status status = c[i].status ? MICA_OK : measure(s, &c[i], &o[i]);
    if (status) return status;
  }
  return compare_with_best(s, n, c, o);
}

static mica_status check(const mica_engine *engine, const mica_fit_data *data, int32_t n,
                         double level, mica_view *target, int64_t *outputs) {
  mica_status status = mica_rows_check(&data->x, "features");
  if (!status) status = mica_rows_check_finite(engine, &data->x, "features");
  if (!status && !data->label == !data->target)
    status = mica_fail(MICA_ERR_INVALID, "cross-validation needs labels or targets, one of them");
  if (!status && (n < 1 || !(level > 0 && level < 1)))
    status = mica_fail(MICA_ERR_INVALID, "cross-validation of %d estimators at level %g", n, level);
  if (status) return status;
  if (data->target) {
    *target = *data->target;
    if (target->shape.rank == 1) {
      target->shape = MICA_SHAPE(target->shape.dim[0], 1);
      target->row_stride = 1;
    }
    status = mica_rows_check(target, "targets");
    if (!status && mica_rows_n(target) != mica_rows_n(&data->x))
      status = mica_fail(MICA_ERR_SHAPE, "cross-validation: %lld targets of %lld rows",
                         (long long)mica_rows_n(target), (long long)mica_rows_n(&data->x));
    *outputs = status ? 0 : mica_rows_d(target);
    return status;
  }
  *outputs = data->classes;
  for (int64_t i = 0; i < mica_rows_n(&data->x); i++) {
    if (data->classes == 0 && data->label[i] >= *outputs) *outputs = data->label[i] + 1;
    if (data->label[i] < 0 || data->label[i] >= *outputs || *outputs > INT32_MAX)
      return mica_fail(MICA_ERR_INVALID,
                       "cross-validation: label %lld of row %lld, expected 0..%lld",
                       (long long)data->label[i], (long long)i, (long long)*outputs - 1);
  }
  return MICA_OK;
}

mica_status mica_cross_validate(const mica_engine *engine, const mica_fit_data *given,
                                int32_t folds, uint64_t seed, double level, int32_t n,
                                mica_contender *contenders, int64_t *predicted) {
  mica_fit_data data = MICA_FIT_DATA;
  memcpy(&data, given, given->size < sizeof data ? given->size : sizeof data);
  mica_view target;
  int64_t outputs;
  mica_status status = check(engine, &data, n, level, &target, &outputs);
  if (status) return status;
  if (data.target) data.target = &target;
  session s = {.engine = engine,
               .data = &data,
               .n = mica_rows_n(&data.x),
               .d = mica_rows_d(&data.x),
               .outputs = outputs,
               .level = level};
  size_t rows = (size_t)s.n, cells = rows * (size_t)outputs;
  int32_t *fold = mica_malloc(rows * sizeof *fold);
  s.x = mica_malloc(rows * (size_t)s.d * mica_dtype_size(data.x.dtype));
  s.label = mica_malloc(rows * 4 * sizeof *s.label);
  s.target = mica_malloc(2 * cells * sizeof *s.target);
  outcome *o = mica_calloc((size_t)n, sizeof *o);
  int64_t *labels = mica_calloc((size_t)n * rows, sizeof *labels);
  double *values = mica_calloc((size_t)n * cells, sizeof *values);
  if (!fold || !s.x || !s.label || !s.target || !o || !labels || !values) status = MICA_ERR_MEMORY;
  if (!status) {
    mica_key key = mica_key_fold_name(mica_key_seed(seed), "cross-validation");
    status = data.group ? mica_group_folds(key, s.n, data.label, outputs, data.group, folds, fold)
                        : mica_folds(key, s.n, data.label, outputs, folds, fold);
  }
  if (!status) {
    s.fold = fold;
    s.row = s.label + rows;
    s.got = s.row + rows;
    s.group = data.group ? s.got + rows : NULL;
    s.value = s.target + cells;
    for (int32_t i = 0; i < n; i++) {
      forget(&contenders[i]);
      o[i] = (outcome){labels + (size_t)i * rows, values + (size_t)i * cells, false};
    }
    status = run(&s, folds, n, contenders, o);
  }
  if (!status && predicted) memcpy(predicted, labels, (size_t)n * rows * sizeof *labels);
  mica_free(fold);
  mica_free(s.x);
  mica_free(s.label);
  mica_free(s.target);
  mica_free(o);
  mica_free(labels);
  mica_free(values);
  return status;
}
