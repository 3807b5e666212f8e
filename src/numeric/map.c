/* A map of points to the plane: t-SNE with exact forces, deterministic.
 *
 * The similarities are Gaussians whose widths give each point the wanted perplexity, made
 * symmetric. The force on a point is one pass over all others, in which attraction and repulsion
 * are summed apart:
 *
 *   F_i = 4 (exaggeration * sum_j p_ij q_ij (y_i - y_j)  -  sum_j q_ij^2 (y_i - y_j) / sum_kl
 * q_kl), q_ij = 1 / (1 + |y_i - y_j|^2)
 *
 * so that no second N x N matrix is kept. Steps with momentum and per-coordinate gains (Jacobs
 * 1988), early exaggeration and the learning rate N / exaggeration of Belkina et al. (2019). The
 * loops run in float32 over lanes whose order of summation is written down, so the bits do not
 * depend on threads.
 */
#include <mica/numeric.h>

#include "numeric/chunks.h"
#include "numeric/distance.h"
#include "numeric/rows.h"

#include <math.h>
#include <string.h>

enum { lanes = 8, rows_per_chunk = 32 };

typedef struct {
  int64_t n, padded; /* padded: a multiple of the lanes; the surplus is too far away to matter */
  float *p;          /* [n, padded] similarities times n, zero beyond n */
  float *x, *y;      /* [padded] the coordinates */
  float *attract, *repel; /* [2, n] */
  double *z;              /* [n] sums of q over the row */
} map;

/* ---- similarities ---- */

/* The precision (1 / 2 sigma^2) at which exp(-precision * distance) has the wanted entropy, by
 * bisection; `similarity` then sums to 1. */
static void fit_row(const double *distance, int64_t n, int64_t self, double entropy,
                    double *similarity) {
  double lo = 0, hi = INFINITY, least = INFINITY;
  for (int64_t j = 0; j < n; j++)
    if (j != self) least = fmin(least, distance[j]);
  double spread = 0;
  for (int64_t j = 0; j < n; j++)
    if (j != self) spread += distance[j] - least;
  /* All at one distance: every precision gives the same similarities. */
  double precision = spread > 0 ? (double)(n - 1) / spread : 1;
  for (int round = 0; round < 100; round++) {
    double sum = 0, weighted = 0;
    for (int64_t j = 0; j < n; j++) {
      similarity[j] = j == self ? 0 : exp(-precision * (distance[j] - least));
      sum += similarity[j];
      weighted += similarity[j] * (distance[j] - least);
    }
    double got = log(sum) + precision * weighted / sum;
    for (int64_t j = 0; j < n; j++) similarity[j] /= sum;
    if (fabs(got - entropy) < 1e-6) break;
    if (got > entropy)
      lo = precision;
    else
      hi = precision;
    precision = isinf(hi) ? 2 * precision : 0.5 * (lo + hi);
    if (!(precision < 1e300)) break;
  }
}

typedef struct {
  int64_t n;
  double entropy;
  double *matrix; /* [n, n] squared distances, replaced by similarities */
} fit_job;

static mica_status fit_chunk(void *ctx, int64_t chunk, void *scratch) {
  const fit_job *j = ctx;
  int64_t begin = chunk * rows_per_chunk, end = begin + rows_per_chunk;
  for (int64_t i = begin; i < end && i < j->n; i++) {
    double *row = j->matrix + i * j->n;
    memcpy(scratch, row, (size_t)j->n * sizeof *row);
    fit_row(scratch, j->n, i, j->entropy, row);
  }
  return MICA_OK;
}

static mica_status similarities(const mica_engine *engine, const mica_view *x, double perplexity,
                                map *m) {
  int64_t n = m->n;
  double *matrix = mica_malloc((size_t)(n * n) * sizeof *matrix);
  if (!matrix) return MICA_ERR_MEMORY;
  mica_status status = mica_distances(engine, MICA_METRIC_EUCLIDEAN_SQUARED, x, x, matrix);
  if (!status) {
    fit_job j = {n, log(perplexity), matrix};
    status = mica_chunks_run(engine, mica_chunks_of(n, rows_per_chunk), (size_t)n * sizeof(double),
                             fit_chunk, &j);
  }
  for (int64_t i = 0; i < n && !status; i++)
    for (int64_t j = 0; j < n; j++)
      m->p[i * m->padded + j] = (float)(0.5 * (matrix[i * n + j] + matrix[j * n + i]));
  mica_free(matrix);
  return status;
}

/* ---- forces ---- */

typedef struct {
  float ax[lanes], ay[lanes], rx[lanes], ry[lanes], z[lanes];
} sums;

static void forces_of_row(const map *m, int64_t i, sums *restrict s) {
  const float *restrict p = m->p + i * m->padded, *restrict x = m->x, *restrict y = m->y;
  float xi = x[i], yi = y[i];
  memset(s, 0, sizeof *s);
  for (int64_t j = 0; j < m->padded; j += lanes)
    for (int l = 0; l < lanes; l++) {
      float dx = xi - x[j + l], dy = yi - y[j + l];
      float q = 1 / (1 + dx * dx + dy * dy);
      float pull = p[j + l] * q, push = q * q;
      s->ax[l] += pull * dx;
      s->ay[l] += pull * dy;
      s->rx[l] += push * dx;
      s->ry[l] += push * dy;
      s->z[l] += q;
    }
}

static double total(const float *v) {
  double sum = 0;
  for (int l = 0; l < lanes; l++) sum += (double)v[l];
  return sum;
}

static mica_status force_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const map *m = ctx;
  int64_t begin = chunk * rows_per_chunk, end = begin + rows_per_chunk;
  for (int64_t i = begin; i < end && i < m->n; i++) {
    sums s;
    forces_of_row(m, i, &s);
    m->attract[2 * i] = (float)total(s.ax);
    m->attract[2 * i + 1] = (float)total(s.ay);
    m->repel[2 * i] = (float)total(s.rx);
    m->repel[2 * i + 1] = (float)total(s.ry);
    m->z[i] = total(s.z) - 1; /* q_ii */
  }
  return MICA_OK;
}

static mica_status forces(const mica_engine *engine, map *m, double *z) {
  mica_status status =
      mica_chunks_run(engine, mica_chunks_of(m->n, rows_per_chunk), 0, force_chunk, m);
  *z = 0;
  for (int64_t i = 0; i < m->n; i++) *z += m->z[i];
  return status;
}

static void centre(map *m) {
  double sx = 0, sy = 0;
  for (int64_t i = 0; i < m->n; i++) sx += (double)m->x[i], sy += (double)m->y[i];
  for (int64_t i = 0; i < m->n; i++) {
    m->x[i] -= (float)(sx / (double)m->n);
    m->y[i] -= (float)(sy / (double)m->n);
  }
}

static mica_status descend(const mica_engine *engine, map *m, const mica_map_options *o,
                           float *speed, float *gain) {
  const double exaggeration = 12;
  int64_t n = m->n;
  int32_t early = o->iterations / 4 < 250 ? o->iterations / 4 : 250;
  double rate = fmax((double)n / exaggeration / 4, 50);
  for (int64_t i = 0; i < 2 * n; i++) speed[i] = 0, gain[i] = 1;
  for (int32_t t = 0; t < o->iterations; t++) {
    double z, boost = t < early ? exaggeration : 1;
    float momentum = t < early ? 0.5f : 0.8f;
    mica_status status = forces(engine, m, &z);
    if (status) return status;
    for (int64_t i = 0; i < 2 * n; i++) {
      /* p holds n times the similarities. */
      float force =
          (float)(4 * (boost * (double)m->attract[i] / (double)n - (double)m->repel[i] / z));
      gain[i] = (force > 0) == (speed[i] > 0) ? fmaxf(gain[i] * 0.8f, 0.01f) : gain[i] + 0.2f;
      speed[i] = momentum * speed[i] - (float)rate * gain[i] * force;
      if (i % 2)
        m->y[i / 2] += speed[i];
      else
        m->x[i / 2] += speed[i];
    }
    centre(m);
    if (o->progress && o->progress(o->progress_ctx, "mapping points", t + 1, o->iterations))
      return mica_fail(MICA_ERR_CANCELLED, "mapping points cancelled");
  }
  return MICA_OK;
}

static double divergence_of(const map *m, double z) {
  double sum = 0, n = (double)m->n;
  for (int64_t i = 0; i < m->n; i++)
    for (int64_t j = 0; j < m->n; j++) {
      double p = (double)m->p[i * m->padded + j] / n;
      double dx = (double)m->x[i] - (double)m->x[j], dy = (double)m->y[i] - (double)m->y[j];
      if (p > 0) sum += p * log(p * z * (1 + dx * dx + dy * dy));
    }
  return sum;
}

/* The first two principal components (one column: that and zero), scaled to a deviation of 1e-4. */
static mica_status start(const mica_engine *engine, const mica_view *x, double *y, double *spread) {
  int64_t n = mica_rows_n(x), d = mica_rows_d(x), k = d < 2 ? d : 2;
  double *memory = mica_malloc((size_t)(d + k * d + n * k) * sizeof *memory);
  if (!memory) return MICA_ERR_MEMORY;
  double *mean = memory, *components = memory + d, *projected = components + k * d;
  double variance[2] = {0, 0};
  mica_status status = mica_pca(engine, x, k, mean, components, variance, NULL);
  if (!status) status = mica_project(engine, x, mean, components, k, projected);
  for (int64_t i = 0; i < n && !status; i++) {
    y[2 * i] = projected[i * k];
    y[2 * i + 1] = k > 1 ? projected[i * k + 1] : 0;
  }
  *spread = sqrt(variance[0]);
  mica_free(memory);
  return status;
}

static mica_status run(const mica_engine *engine, const mica_view *x, const mica_map_options *o,
                       double spread, double *y, double *divergence) {
  map m = {.n = mica_rows_n(x)};
  m.padded = (m.n + lanes - 1) / lanes * lanes;
  size_t n = (size_t)m.n, padded = (size_t)m.padded;
  float *memory = mica_calloc(n * padded + 2 * padded + 8 * n, sizeof *memory);
  m.z = mica_malloc(n * sizeof *m.z);
  mica_status status = memory && m.z ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    m.p = memory;
    m.x = memory + n * padded;
    m.y = m.x + padded;
    m.attract = m.y + padded;
    m.repel = m.attract + 2 * n;
    for (size_t i = 0; i < padded; i++) {
      m.x[i] = i < n ? (float)(y[2 * i] / spread * 1e-4) : 1e18f;
      m.y[i] = i < n ? (float)(y[2 * i + 1] / spread * 1e-4) : 1e18f;
    }
    status = similarities(engine, x, fmin(o->perplexity, (double)(m.n - 1) / 3), &m);
  }
  if (!status) status = descend(engine, &m, o, m.repel + 2 * n, m.repel + 4 * n);
  double z = 1;
  if (!status && divergence) status = forces(engine, &m, &z);
  if (!status) {
    if (divergence) *divergence = divergence_of(&m, z);
    for (size_t i = 0; i < n; i++) y[2 * i] = (double)m.x[i], y[2 * i + 1] = (double)m.y[i];
  }
  mica_free(memory);
  mica_free(m.z);
  return status;
}

mica_status mica_map_points(const mica_engine *engine, const mica_view *x,
                            const mica_map_options *options, double *y, double *divergence) {
  mica_map_options o = MICA_MAP_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  mica_status status = mica_rows_check(x, "map of points");
  if (!status) status = mica_rows_check_finite(engine, x, "map of points");
  if (status) return status;
  int64_t n = mica_rows_n(x);
  if (n < 2 || n > MICA_MAP_MAX_POINTS)
    return mica_fail(MICA_ERR_INVALID, "map of %lld points, expected 2 to %d: choose some of them",
                     (long long)n, MICA_MAP_MAX_POINTS);
  if (!(o.perplexity >= 1) || o.iterations < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "map of points: perplexity %g and %d iterations, expected at least 1",
                     o.perplexity, o.iterations);
  double spread;
  status = start(engine, x, y, &spread);
  if (divergence) *divergence = 0;
  if (status || n < 8 || !(spread > 0)) return status;
  return run(engine, x, &o, spread, y, divergence);
}
