/* Quadratic assignment by Frank-Wolfe (FAQ): from a doubly stochastic matrix P the gradient
 * A P B^T + A^T P B of tr(A P B^T P^T) names the best permutation to go towards, and the best step
 * on the way is that of a parabola. Seeds are pairs that every P keeps. */
#include "numeric/serial.h"

#include <mica/numeric.h>

#include <math.h>
#include <string.h>

typedef struct walk {
  const mica_engine *engine;
  int64_t n, seeds;
  const double *a, *b;
  double *at, *bt;                 /* transposes [n, n] */
  double *p, *q, *gradient, *half; /* [n, n] each */
  double *inner;                   /* [n - seeds]^2: of the gradient */
  int64_t *column;                 /* [n] */
} walk;

static double dot(const double *x, const double *y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

/* out = A X B^T (+ A^T X B with `both`). */
static mica_status sandwich(walk *w, const double *x, bool both, double *out) {
  const int64_t n = w->n;
  mica_status status = mica_product(w->engine, false, n, n, n, w->a, x, w->half);
  if (!status) status = mica_product(w->engine, false, n, n, n, w->half, w->bt, out);
  if (status || !both) return status;
  status = mica_product(w->engine, false, n, n, n, w->at, x, w->half);
  if (status) return status;
  double *more = w->q; /* not in use while a gradient is made */
  status = mica_product(w->engine, false, n, n, n, w->half, w->b, more);
  for (int64_t i = 0; i < n * n && !status; i++) out[i] += more[i];
  return status;
}

/* The permutation that goes with value's free rows and columns, into column. */
static mica_status best_permutation(walk *w, const double *value) {
  const int64_t n = w->n, s = w->seeds, free_rows = n - s;
  for (int64_t i = 0; i < free_rows; i++)
    memcpy(w->inner + i * free_rows, value + (s + i) * n + s, (size_t)free_rows * sizeof *w->inner);
  for (int64_t i = 0; i < s; i++) w->column[i] = i;
  const mica_status status =
      mica_linear_assignment(free_rows, free_rows, w->inner, true, w->column + s, NULL);
  for (int64_t i = s; i < n; i++) w->column[i] += s;
  return status;
}

/* P: seeds and the barycentre, or half way to a random doubly stochastic matrix (Sinkhorn). */
static void begin(walk *w, mica_key key, bool random) {
  const int64_t n = w->n, s = w->seeds, k = n - s;
  memset(w->p, 0, (size_t)(n * n) * sizeof *w->p);
  for (int64_t i = 0; i < s; i++) w->p[i * n + i] = 1;
  for (int64_t i = s; i < n; i++)
    for (int64_t j = s; j < n; j++) w->p[i * n + j] = 1 / (double)k;
  if (!random) return;
  for (int64_t i = 0; i < k * k; i++) w->inner[i] = 0.01 + mica_random_uniform(key, (uint64_t)i);
  for (int sweep = 0; sweep < 20; sweep++)
    for (int side = 0; side < 2; side++)
      for (int64_t i = 0; i < k; i++) {
        const int64_t step = side ? k : 1, at = side ? i : i * k;
        double sum = 0;
        for (int64_t j = 0; j < k; j++) sum += w->inner[at + j * step];
        for (int64_t j = 0; j < k; j++) w->inner[at + j * step] /= sum;
      }
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = 0; j < k; j++) {
      double *v = &w->p[(s + i) * n + s + j];
      *v = 0.5 * (*v + w->inner[i * k + j]);
    }
}

/* One step; *moved is how far P went. */
static mica_status advance(walk *w, double *moved) {
  const int64_t n = w->n;
  mica_status status = sandwich(w, w->p, true, w->gradient);
  if (!status) status = best_permutation(w, w->gradient);
  if (status) return status;
  for (int64_t i = 0; i < n; i++) /* q = the way from p to the permutation */
    for (int64_t j = 0; j < n; j++) w->q[i * n + j] = (w->column[i] == j) - w->p[i * n + j];
  const double slope = dot(w->gradient, w->q, n * n);
  status = sandwich(w, w->q, false, w->gradient);
  if (status) return status;
  const double bend = dot(w->gradient, w->q, n * n);
  double step = bend < 0 ? fmin(1, -slope / (2 * bend)) : 1;
  if (!(slope > 0) && !(bend + slope > 0)) step = 0;
  for (int64_t i = 0; i < n * n; i++) w->p[i] += step * w->q[i];
  *moved = step * sqrt(dot(w->q, w->q, n * n) / (double)n);
  return MICA_OK;
}

static double value_of(const walk *w) {
  double sum = 0;
  for (int64_t i = 0; i < w->n; i++)
    for (int64_t j = 0; j < w->n; j++)
      sum += w->a[i * w->n + j] * w->b[w->column[i] * w->n + w->column[j]];
  return sum;
}

static mica_status run(walk *w, const mica_qap_options *o, int64_t *permutation,
                       double *objective) {
  double best = -INFINITY;
  mica_status status = MICA_OK;
  for (int32_t r = 0; r < o->restarts && !status; r++) {
    double moved = INFINITY;
    begin(w, mica_key_fold(mica_key_seed(o->seed), (uint64_t)r), r > 0);
    for (int32_t i = 0; i < o->max_iterations && moved > o->tol && !status; i++)
      status = advance(w, &moved);
    if (!status) status = best_permutation(w, w->p);
    const double value = status ? 0 : value_of(w);
    if (!status && value > best) {
      best = value;
      memcpy(permutation, w->column, (size_t)w->n * sizeof *permutation);
    }
  }
  if (!status && objective) *objective = best;
  return status;
}

mica_status mica_quadratic_assignment(const mica_engine *engine, int64_t n, const double *a,
                                      const double *b, const mica_qap_options *options,
                                      int64_t *permutation, double *objective) {
  mica_qap_options o = MICA_QAP_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (n < 1 || o.seeds < 0 || o.seeds > n || o.max_iterations < 0 || o.restarts < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "quadratic assignment of %lld items, %lld of them seeds, in %d runs",
                     (long long)n, (long long)o.seeds, (int)o.restarts);
  for (int64_t i = 0; i < n * n; i++)
    if (!isfinite(a[i]) || !isfinite(b[i]))
      return mica_fail(MICA_ERR_NUMERIC,
                       "quadratic assignment: row %lld, column %lld is not finite",
                       (long long)(i / n), (long long)(i % n));
  walk w = {.engine = engine, .n = n, .seeds = o.seeds, .a = a, .b = b};
  double *room = mica_realloc_array(NULL, (size_t)n, (size_t)n * 7 * sizeof *room);
  w.column = mica_calloc((size_t)n, sizeof *w.column);
  mica_status status = room && w.column ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    double **part[] = {&w.at, &w.bt, &w.p, &w.q, &w.gradient, &w.half, &w.inner};
    for (int i = 0; i < 7; i++) *part[i] = room + (int64_t)i * n * n;
    for (int64_t i = 0; i < n * n; i++) {
      w.at[i] = a[i % n * n + i / n];
      w.bt[i] = b[i % n * n + i / n];
    }
    status = run(&w, &o, permutation, objective);
  }
  mica_free(w.column);
  mica_free(room);
  return status;
}
