/* Fitting one level of the Gaussian estimator.
 *
 * Mahalanobis: mean and Ledoit-Wolf covariance of the columns, or of their principal components
 * (the leading ones that explain `variance`, or for NPCA the trailing ones, which overlap by two as
 * published), then whiten = L^-1 (V). Standardised and Euclidean distances are diagonal.
 *
 * Leave-one-out distances are exact for a fixed shrinkage. Without row x of a class of m rows among
 * n, with d = x - class mean and S the covariance over n: S' = n / (n - 1) S - m / ((n - 1) (m -
 * 1)) d d^T,    x - mean' = m / (m - 1) d, so with A = (1 - rho) n / (n - 1) S + rho s I, c = (1 -
 * rho) m / ((n - 1) (m - 1)) and q = d^T A^-1 d, Sherman and Morrison give the squared distance (m
 * / (m - 1))^2 q / (1 - c q).
 */
#include "feature/gaussian.h"
#include "numeric/chunks.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"
#include "numeric/shrinkage.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

enum { block_rows = 128 };

void mica_gaussian_level_end(mica_gaussian_level *level) {
  mica_free(level->mean);
  mica_free(level->whiten);
  mica_free(level->class_mean);
  level->mean = level->whiten = level->class_mean = NULL;
}

/* ---- whitening ---- */

typedef struct {
  const mica_engine *engine;
  const mica_view *x;
  const int64_t *group;
  const double *centre; /* [groups, d]: row of the group is subtracted */
  const double *whiten; /* [k, d], or [d] when diagonal */
  bool diagonal;
  int64_t k;
  double *w; /* [N, k] */
} whiten_job;

static mica_status whiten_chunk(void *ctx, int64_t chunk, void *scratch) {
  const whiten_job *j = ctx;
  int64_t n = mica_rows_n(j->x), d = mica_rows_d(j->x), begin = chunk * block_rows;
  int64_t end = begin + block_rows < n ? begin + block_rows : n;
  double *rows = j->diagonal ? j->w + begin * d : scratch;
  for (int64_t i = begin; i < end; i++)
    mica_rows_load(j->x, i, i + 1, j->centre + (j->group ? j->group[i] * d : 0),
                   rows + (i - begin) * d);
  if (!j->diagonal)
    return mica_gemm(j->engine, MICA_F64, false, true, end - begin, j->k, d, 1, rows, d, j->whiten,
                     d, 0, j->w + begin * j->k, j->k);
  for (int64_t i = 0; i < end - begin; i++)
    for (int64_t c = 0; c < d; c++) rows[i * d + c] *= j->whiten[c];
  return MICA_OK;
}

static mica_status whiten(whiten_job *j) {
  size_t scratch = j->diagonal ? 0 : (size_t)(block_rows * mica_rows_d(j->x)) * sizeof(double);
  return mica_chunks_run(j->engine, mica_chunks_of(mica_rows_n(j->x), block_rows), scratch,
                         whiten_chunk, j);
}

mica_status mica_gaussian_whiten(const mica_engine *engine, const mica_gaussian_level *level,
                                 const mica_view *x, double *w) {
  mica_view columns = mica_rows_columns(x, level->begin, level->begin + level->d);
  whiten_job j = {engine, &columns, NULL, level->mean, level->whiten, level->diagonal, level->k, w};
  return whiten(&j);
}

/* ---- what a fit works with ---- */

typedef struct {
  const mica_engine *engine;
  const mica_gaussian_options *o;
  mica_view x; /* the rows to model: the level's columns, or their components */
  const int64_t *group;
  int64_t groups, n, d, k;
  const double *count;
  double *centre;     /* [groups, k] class means of x */
  double *components; /* [k, d], NULL without a reducer */
  double *projected;  /* [n, k], what x points to then */
} fitting;

static mica_status class_means(const fitting *f) {
  int64_t *count = mica_malloc((size_t)f->groups * sizeof *count);
  if (!count) return MICA_ERR_MEMORY;
  mica_status status =
      mica_group_sums(f->engine, &f->x, NULL, f->group, f->groups, f->centre, count);
  for (int64_t g = 0; g < f->groups && !status; g++)
    for (int64_t j = 0; j < f->k && count[g]; j++) f->centre[g * f->k + j] /= (double)count[g];
  mica_free(count);
  return status;
}

/* ---- reducers ---- */

static mica_status reduce(fitting *f, mica_gaussian_level *level) {
  int64_t n = f->n, d = f->d, first, last;
  if (n < 2) return mica_fail(MICA_ERR_INVALID, "gaussian: principal components of one row");
  double *all = mica_malloc((size_t)(d * d + d) * sizeof *all), total;
  if (!all) return MICA_ERR_MEMORY;
  double *variance = all + d * d;
  mica_status status = mica_pca(f->engine, &f->x, d, level->mean, all, variance, &total);
  if (!status && !(total > 0))
    status = mica_fail(MICA_ERR_NUMERIC, "gaussian: all training rows are equal");
  if (!status) {
    /* A decomposition of the n rows has that many components. */
    status =
        mica_components_kept(variance, f->n < d ? f->n : d, f->o->variance,
                             f->o->reducer == MICA_GAUSSIAN_NPCA, f->o->keep_null, &first, &last);
  }
  if (!status) {
    level->first = first;
    f->k = last - first;
    f->components = mica_malloc((size_t)(f->k * d) * sizeof *f->components);
    f->projected = mica_malloc_aligned((size_t)(n * f->k) * sizeof *f->projected);
    status = f->components && f->projected ? MICA_OK : MICA_ERR_MEMORY;
  }
  if (!status) {
    memcpy(f->components, all + first * d, (size_t)(f->k * d) * sizeof *all);
    status = mica_project(f->engine, &f->x, level->mean, f->components, f->k, f->projected);
  }
  if (!status) f->x = mica_view_of(f->projected, MICA_F64, MICA_SHAPE(n, f->k));
  mica_free(all);
  return status;
}

/* ---- Mahalanobis ---- */

/* own[i] from q = |w_i|^2 under A. */
static mica_status leave_one_out(const fitting *f, const double *whitening, double rho,
                                 double *own) {
  double *w = mica_malloc_aligned((size_t)(f->n * f->k) * sizeof *w);
  if (!w) return MICA_ERR_MEMORY;
  whiten_job j = {f->engine, &f->x, f->group, f->centre, whitening, false, f->k, w};
  mica_status status = whiten(&j);
  for (int64_t i = 0; i < f->n && !status; i++) {
    double m = f->count[f->group ? f->group[i] : 0], n = (double)f->n;
    own[i] = -1;
    if (m < 2) continue;
    double q = mica_sum_squares(w + i * f->k, f->k), ratio = m / (m - 1);
    double c = (1 - rho) * m / ((n - 1) * (m - 1));
    own[i] = ratio * sqrt(q / fmax(1 - c * q, 1e-12));
  }
  mica_free_aligned(w);
  return status;
}

static mica_status singular(mica_status status) {
  return status == MICA_ERR_NUMERIC
             ? mica_fail(
                   status,
                   "gaussian: the covariance is singular: a level's training rows vary too little")
             : status;
}

static mica_status fit_mahalanobis(fitting *f, mica_gaussian_level *level, double *own) {
  int64_t k = f->k, size = k * k;
  double *covariance = mica_malloc((size_t)(3 * size) * sizeof *covariance);
  if (!covariance) return MICA_ERR_MEMORY;
  double *without = covariance + size, *inverse = without + size, n = (double)f->n;
  mica_shrunk shrunk;
  mica_status status =
      mica_shrunk_covariance(f->engine, &f->x, f->group, f->centre, covariance, &shrunk);
  if (!status && !(shrunk.scale > 0))
    status = mica_fail(MICA_ERR_NUMERIC, "gaussian: all training rows are equal");
  if (!status && f->n > 1) {
    for (int64_t i = 0; i < size; i++) {
      double identity = i / k == i % k ? shrunk.rho * shrunk.scale : 0;
      without[i] = n / (n - 1) * (covariance[i] - identity) + identity;
    }
    status = singular(mica_serial_whitening(f->engine, k, without, inverse));
    if (!status) status = leave_one_out(f, inverse, shrunk.rho, own);
  } else {
    for (int64_t i = 0; i < f->n; i++) own[i] = -1;
  }
  if (!status) status = singular(mica_serial_whitening(f->engine, k, covariance, inverse));
  level->rho = shrunk.rho;
  level->whiten = status ? NULL : mica_malloc((size_t)(k * f->d) * sizeof *level->whiten);
  if (!status && !level->whiten) status = MICA_ERR_MEMORY;
  if (!status && f->components)
    status = mica_product(f->engine, false, k, f->d, k, inverse, f->components, level->whiten);
  else if (!status)
    memcpy(level->whiten, inverse, (size_t)size * sizeof *inverse);
  if (!status) {
    /* Class means in w; without a reducer they are still in the level's own coordinates. */
    for (int64_t i = 0; i < f->groups * k && !f->components; i++)
      f->centre[i] -= level->mean[i % k];
    mica_view centres = mica_view_of(f->centre, MICA_F64, MICA_SHAPE(f->groups, k));
    double *zero = without;
    memset(zero, 0, (size_t)k * sizeof *zero);
    whiten_job j = {f->engine, &centres, NULL, zero, inverse, false, k, level->class_mean};
    status = whiten(&j);
  }
  mica_free(covariance);
  return status;
}

/* ---- the simple distances ---- */

static mica_status fit_diagonal(const fitting *f, mica_gaussian_level *level, double *own) {
  int64_t d = f->d;
  double n = (double)f->n, ratio = n / (n - 1);
  bool scaled = f->o->distance == MICA_GAUSSIAN_STANDARDISED;
  mica_moments m;
  level->diagonal = true;
  level->whiten = mica_malloc((size_t)d * sizeof *level->whiten);
  double *row = mica_malloc((size_t)d * sizeof *row);
  mica_status status = level->whiten && row ? mica_moments_begin(&m, d, false) : MICA_ERR_MEMORY;
  if (status) {
    mica_free(row);
    return status;
  }
  status = mica_moments_add(f->engine, &m, &f->x);
  if (!status && scaled && f->n < 2)
    status = mica_fail(MICA_ERR_INVALID, "gaussian: a deviation from one row");
  for (int64_t c = 0; c < d && !status; c++) {
    double deviation = scaled ? sqrt(m.square[c] / (n - 1)) : 1;
    /* A constant column says nothing here. */
    level->whiten[c] = deviation > 1e-12 * fabs(m.mean[c]) ? 1 / (deviation * sqrt((double)d)) : 0;
  }
  for (int64_t i = 0; i < f->n && !status; i++) {
    own[i] = -1;
    if (f->n < (scaled ? 3 : 2)) continue;
    double sum = 0;
    mica_rows_load(&f->x, i, i + 1, level->mean, row);
    for (int64_t c = 0; c < d; c++) {
      double square = row[c] * row[c];
      double rest = scaled ? fmax(m.square[c] - ratio * square, 1e-12 * m.square[c]) / (n - 2) : 1;
      if (level->whiten[c] > 0) sum += square / rest;
    }
    own[i] = ratio * sqrt(sum / (double)d);
  }
  memset(level->class_mean, 0, (size_t)(f->groups * level->k) * sizeof *level->class_mean);
  mica_moments_end(&m);
  mica_free(row);
  return status;
}

/* ---- a level ---- */

mica_status mica_gaussian_fit_level(const mica_engine *engine, const mica_gaussian_options *o,
                                    const mica_view *x, const int64_t *group, int64_t groups,
                                    const double *count, mica_gaussian_level *level, double *own) {
  fitting f = {.engine = engine,
               .o = o,
               .group = group,
               .groups = groups,
               .count = count,
               .n = mica_rows_n(x),
               .d = level->d,
               .k = level->d};
  f.x = mica_rows_columns(x, level->begin, level->begin + level->d);
  bool full = o->distance == MICA_GAUSSIAN_MAHALANOBIS;
  int64_t rows;
  level->mean = mica_malloc((size_t)level->d * sizeof *level->mean);
  mica_status status = level->mean ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_group_sums(engine, &f.x, NULL, NULL, 1, level->mean, &rows);
  for (int64_t j = 0; j < level->d && !status; j++) level->mean[j] /= (double)f.n;
  if (!status && full && o->reducer != MICA_GAUSSIAN_FULL) status = reduce(&f, level);
  level->k = f.k;
  if (!status) {
    level->class_mean = mica_malloc((size_t)(groups * f.k) * sizeof *level->class_mean);
    f.centre = mica_malloc((size_t)(groups * f.k) * sizeof *f.centre);
    status = level->class_mean && f.centre ? class_means(&f) : MICA_ERR_MEMORY;
  }
  if (!status) status = full ? fit_mahalanobis(&f, level, own) : fit_diagonal(&f, level, own);
  mica_free(f.centre);
  mica_free(f.components);
  mica_free_aligned(f.projected);
  return status;
}
