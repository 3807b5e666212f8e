/* Learning curves: estimators fitted on random draws of growing size, tested on the same rows.
 *
 * All estimators of a repeat see the same draw. Scaling is learnt from the draw alone, so that the
 * test rows tell nothing about themselves.
 */
#include "numeric/rows.h"

#include <mica/feature.h>

#include <math.h>
#include <string.h>

enum { draws = 100 }; /* before rows are picked so that every class is there */

typedef struct work {
  const mica_engine *engine;
  const mica_fit_data *pool;
  const mica_view *test;
  const int64_t *test_label;
  const mica_learning_curve_options *o;
  int64_t n, d, classes, present; /* rows of the pool; classes that it has */
  double *x, *test_x;             /* the draw and the test rows, scaled */
  int64_t *order, *label, *predicted, *seen;
} work;

static double value_at(const mica_view *x, int64_t row, int64_t column) {
  const int64_t at = row * x->row_stride + column;
  return x->dtype == MICA_F32 ? (double)((const float *)x->data)[at]
                              : ((const double *)x->data)[at];
}

static int64_t classes_in(const work *w, int64_t m) {
  int64_t found = 0;
  memset(w->seen, 0, (size_t)w->classes * sizeof *w->seen);
  for (int64_t i = 0; i < m; i++) found += !w->seen[w->pool->label[w->order[i]]]++;
  return found;
}

/* Move the first row of each class to the front of a random order. */
static void one_of_each(const work *w) {
  int64_t front = 0;
  memset(w->seen, 0, (size_t)w->classes * sizeof *w->seen);
  for (int64_t i = 0; i < w->n && front < w->present; i++) {
    const int64_t row = w->order[i];
    if (w->seen[w->pool->label[row]]++) continue;
    memmove(w->order + front + 1, w->order + front, (size_t)(i - front) * sizeof *w->order);
    w->order[front++] = row;
  }
}

/* order[0..m-1]: m rows of the pool, drawn again while they lack a class. */
static void draw(const work *w, mica_key key, int64_t m) {
  for (uint64_t k = 0; k < draws; k++) {
    mica_random_permutation(mica_key_fold(key, k), w->n, w->order);
    if (classes_in(w, m) == w->present) return;
  }
  one_of_each(w);
}

/* The draw and the test rows, column by column as the scaling says. */
static void scale(const work *w, int64_t m, int64_t tests) {
  for (int64_t j = 0; j < w->d; j++) {
    double lo = INFINITY, hi = -INFINITY, mean = 0, square = 0, shift = 0, by = 1;
    for (int64_t i = 0; i < m; i++) {
      const double v = value_at(&w->pool->x, w->order[i], j);
      lo = fmin(lo, v);
      hi = fmax(hi, v);
      mean += v / (double)m;
    }
    for (int64_t i = 0; i < m; i++) {
      const double v = value_at(&w->pool->x, w->order[i], j) - mean;
      square += v * v / (double)m;
    }
    if (w->o->scaling == MICA_SCALE_MINMAX) shift = lo, by = hi > lo ? hi - lo : 1;
    if (w->o->scaling == MICA_SCALE_STANDARD) shift = mean, by = square > 0 ? sqrt(square) : 1;
    for (int64_t i = 0; i < m; i++)
      w->x[i * w->d + j] = (value_at(&w->pool->x, w->order[i], j) - shift) / by;
    for (int64_t i = 0; i < tests; i++)
      w->test_x[i * w->d + j] = (value_at(w->test, i, j) - shift) / by;
  }
}

/* The test error of one estimator fitted on the draw. */
static mica_status error_of(const work *w, const char *spec, int64_t m, int64_t tests,
                            double *out) {
  const mica_view test = mica_view_of(w->test_x, MICA_F64, MICA_SHAPE(tests, w->d));
  mica_fit_data data = MICA_FIT_DATA;
  mica_prediction p = MICA_PREDICTION;
  mica_estimator *e;
  mica_status status = mica_estimator_create(w->engine, spec, &e);
  if (status != MICA_OK) return status;
  data.x = mica_view_of(w->x, MICA_F64, MICA_SHAPE(m, w->d));
  data.label = w->label;
  data.classes = w->classes;
  p.label = w->predicted;
  status = mica_estimator_fit(e, &data, NULL);
  if (status == MICA_OK) status = mica_estimator_set_rejection(e, 0);
  if (status == MICA_OK) status = mica_estimator_predict(e, &test, &p);
  if (status == MICA_OK) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < tests; i++) wrong += w->predicted[i] != w->test_label[i];
    *out = (double)wrong / (double)tests;
  }
  mica_estimator_free(e);
  return status == MICA_OK ? status : mica_fail_within("%s on %lld rows", spec, (long long)m);
}

static mica_status run(const work *w, int32_t n, const char *const *spec, double *error) {
  const mica_learning_curve_options *o = w->o;
  const mica_key key = mica_key_fold_name(mica_key_seed(o->seed), "learning curve");
  const int64_t tests = mica_rows_n(w->test), all = (int64_t)o->n_sizes * o->repeats * n;
  mica_status status = MICA_OK;
  for (int32_t s = 0; s < o->n_sizes; s++)
    for (int32_t r = 0; r < o->repeats && status == MICA_OK; r++) {
      const int64_t m = o->sizes[s];
      draw(w, mica_key_fold(mica_key_fold(key, (uint64_t)m), (uint64_t)r), m);
      for (int64_t i = 0; i < m; i++) w->label[i] = w->pool->label[w->order[i]];
      scale(w, m, tests);
      for (int32_t k = 0; k < n && status == MICA_OK; k++) {
        const int64_t done = ((int64_t)s * o->repeats + r) * n + k;
        if (o->progress && o->progress(o->progress_ctx, "learning curves", done, all))
          return mica_fail(MICA_ERR_CANCELLED, "learning curves cancelled");
        status =
            error_of(w, spec[k], m, tests, &error[((int64_t)k * o->n_sizes + s) * o->repeats + r]);
      }
    }
  return status;
}

static mica_status check(const mica_engine *engine, const work *w, int32_t n) {
  const mica_learning_curve_options *o = w->o;
  mica_status status = mica_rows_check(&w->pool->x, "features");
  if (status == MICA_OK) status = mica_rows_check(w->test, "test features");
  if (status == MICA_OK && mica_rows_d(w->test) != mica_rows_d(&w->pool->x))
    status = mica_fail(MICA_ERR_SHAPE, "learning curve: test rows of %lld columns, expected %lld",
                       (long long)mica_rows_d(w->test), (long long)mica_rows_d(&w->pool->x));
  if (status == MICA_OK &&
      (n < 1 || o->n_sizes < 1 || o->repeats < 1 || !w->pool->label || mica_rows_n(w->test) < 1))
    status = mica_fail(MICA_ERR_INVALID,
                       "learning curve: %d estimators, %d sizes, %d repeats, %lld test rows, and "
                       "labels are needed",
                       n, o->n_sizes, o->repeats, (long long)mica_rows_n(w->test));
  if (status == MICA_OK) status = mica_rows_check_finite(engine, &w->pool->x, "features");
  if (status == MICA_OK) status = mica_rows_check_finite(engine, w->test, "test features");
  return status;
}

/* Classes, those that the pool has, and whether every size can be drawn. */
static mica_status count_classes(work *w) {
  w->classes = w->pool->classes;
  for (int64_t i = 0; i < w->n; i++) {
    const int64_t y = w->pool->label[i];
    if (y < 0 || (w->pool->classes && y >= w->pool->classes) || y >= INT32_MAX)
      return mica_fail(MICA_ERR_INVALID, "learning curve: label %lld of row %lld", (long long)y,
                       (long long)i);
    if (y >= w->classes) w->classes = y + 1;
    w->order[i] = i;
  }
  w->seen = mica_calloc((size_t)w->classes + 1, sizeof *w->seen);
  if (!w->seen) return MICA_ERR_MEMORY;
  w->present = classes_in(w, w->n);
  for (int32_t s = 0; s < w->o->n_sizes; s++)
    if (w->o->sizes[s] < w->present || w->o->sizes[s] > w->n)
      return mica_fail(
          MICA_ERR_INVALID,
          "learning curve: draws of %lld rows, expected %lld (the classes) to %lld (the "
          "rows)",
          (long long)w->o->sizes[s], (long long)w->present, (long long)w->n);
  return MICA_OK;
}

mica_status mica_learning_curve(const mica_engine *engine, const mica_fit_data *given,
                                const mica_view *test, const int64_t *test_label,
                                const mica_learning_curve_options *options, int32_t n,
                                const char *const *spec, double *error) {
  mica_learning_curve_options o = MICA_LEARNING_CURVE_OPTIONS;
  mica_fit_data pool = MICA_FIT_DATA;
  memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  memcpy(&pool, given, given->size < sizeof pool ? given->size : sizeof pool);
  work w = {.engine = engine, .pool = &pool, .test = test, .test_label = test_label, .o = &o};
  mica_status status = check(engine, &w, n);
  if (status != MICA_OK) return status;
  int64_t most = 0;
  for (int32_t s = 0; s < o.n_sizes; s++) most = o.sizes[s] > most ? o.sizes[s] : most;
  w.n = mica_rows_n(&pool.x);
  w.d = mica_rows_d(&pool.x);
  if (most > w.n) most = w.n;
  w.order = mica_calloc((size_t)w.n + 1, sizeof *w.order);
  w.label = mica_calloc((size_t)most + 1, sizeof *w.label);
  w.predicted = mica_calloc((size_t)mica_rows_n(test) + 1, sizeof *w.predicted);
  w.x = mica_calloc((size_t)(most * w.d) + 1, sizeof *w.x);
  w.test_x = mica_calloc((size_t)(mica_rows_n(test) * w.d) + 1, sizeof *w.test_x);
  status =
      w.order && w.label && w.predicted && w.x && w.test_x ? count_classes(&w) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = run(&w, n, spec, error);
  mica_free(w.order);
  mica_free(w.label);
  mica_free(w.predicted);
  mica_free(w.seen);
  mica_free(w.x);
  mica_free(w.test_x);
  return status;
}

double mica_crossover(int32_t n, const int64_t *sizes, const double *first, const double *second) {
  double at = NAN;
  for (int32_t i = 0; i + 1 < n; i++) {
    const double here = first[i] - second[i], next = first[i + 1] - second[i + 1];
    if (!(here * next < 0) && !(next == 0 && here != 0)) continue;
    const double a = log((double)sizes[i]), b = log((double)sizes[i + 1]);
    at = exp(a + (b - a) * here / (here - next));
  }
  return at;
}
