/* Principal components through the smaller of the covariance (D x D) and the Gram matrix (N x N).
 *
 * The eigenvectors' signs are fixed by making each one's largest element positive, so that maps and
 * tests do not flip from one library to another.
 */
#include <mica/numeric.h>

#include "numeric/chunks.h"
#include "numeric/distance.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

/* Variances below this share of the largest are rounding: their direction means nothing. */
static const double rank_tolerance = 1e-13;

static void fix_sign(double *v, int64_t d) {
  int64_t largest = 0;
  for (int64_t i = 1; i < d; i++)
    if (fabs(v[i]) > fabs(v[largest])) largest = i;
  if (v[largest] < 0)
    for (int64_t i = 0; i < d; i++) v[i] = -v[i];
}

/* The k largest of n ascending eigenvalues, divided by `divisor`, and their vectors (columns of an
 * n x n matrix) as rows. */
static void take_largest(const double *values, const double *vectors, int64_t n, int64_t k,
                         double divisor, double *variance, double *rows) {
  for (int64_t i = 0; i < k; i++) {
    int64_t from = n - 1 - i;
    if (variance) variance[i] = fmax(0, values[from]) / divisor;
    for (int64_t j = 0; rows && j < n; j++) rows[i * n + j] = vectors[j * n + from];
  }
}

static mica_status primal(const mica_engine *engine, const mica_view *x, const double *mean,
                          int64_t k, double *components, double *variance, double *total) {
  int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  double *scatter = mica_malloc((size_t)(2 * d * d + d) * sizeof *scatter);
  if (!scatter) return MICA_ERR_MEMORY;
  double *vectors = scatter + d * d, *values = vectors + d * d;
  mica_status status = mica_scatter(engine, x, NULL, mean, scatter, NULL);
  if (!status) status = mica_serial_eigen(engine, d, scatter, values, components ? vectors : NULL);
  if (!status) {
    take_largest(values, vectors, d, k, (double)(n - 1), variance, components);
    *total = 0;
    for (int64_t i = 0; i < d; i++) *total += scatter[i * d + i] / (double)(n - 1);
  }
  mica_free(scatter);
  return status;
}

/* Fewer rows than columns: the eigenvectors U of X X^T give the components U^T X, scaled to
 * length 1. */
static mica_status dual(const mica_engine *engine, const mica_view *x, const double *mean,
                        int64_t k, double *components, double *variance, double *total) {
  int64_t n = mica_rows_n(x), d = mica_rows_d(x), kept = k < n ? k : n;
  double *rows = mica_malloc_aligned((size_t)(n * d) * sizeof *rows);
  double *gram = mica_malloc((size_t)(3 * n * n + n) * sizeof *gram);
  mica_status status = rows && gram ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    double *vectors = gram + n * n, *values = gram + 3 * n * n, *top = gram + 2 * n * n;
    mica_rows_load(x, 0, n, mean, rows);
    mica_view centred = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, d));
    status = mica_distances(engine, MICA_METRIC_INNER, &centred, &centred, gram);
    for (int64_t i = 0; i < n * n; i++) gram[i] = -gram[i];
    *total = 0;
    for (int64_t i = 0; i < n; i++) *total += gram[i * n + i] / (double)(n - 1);
    if (!status) status = mica_serial_eigen(engine, n, gram, values, vectors);
    if (!status) take_largest(values, vectors, n, kept, (double)(n - 1), variance, top);
    if (variance)
      for (int64_t i = kept; i < k && !status; i++) variance[i] = 0;
    if (!status && components) {
      memset(components, 0, (size_t)(k * d) * sizeof *components);
      /* One thread: its cost is small beside the Gram matrix and its bits must not depend on
       * threads. */
      for (int64_t i = 0; i < kept; i++) {
        double *to = components + i * d;
        if (!(values[n - 1 - i] > rank_tolerance * values[n - 1])) continue;
        for (int64_t r = 0; r < n; r++) {
          double weight = top[i * n + r];
          for (int64_t j = 0; j < d; j++) to[j] += weight * rows[r * d + j];
        }
        mica_rows_normalise(to, 1, d);
      }
    }
  }
  mica_free_aligned(rows);
  mica_free(gram);
  return status;
}

mica_status mica_pca(const mica_engine *engine, const mica_view *x, int64_t k, double *mean,
                     double *components, double *variance, double *total) {
  mica_status status = mica_rows_check(x, "principal components");
  if (!status) status = mica_rows_check_finite(engine, x, "principal components");
  if (status) return status;
  int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  if (n < 2 || k < 0 || k > d)
    return mica_fail(
        MICA_ERR_INVALID,
        "principal components: %lld of %lld columns from %lld rows, expected at most one "
        "for each column and at least 2 rows",
        (long long)k, (long long)d, (long long)n);
  double *centre = mica_malloc((size_t)d * sizeof *centre), sum = 0;
  int64_t count;
  if (!centre) return MICA_ERR_MEMORY;
  status = mica_group_sums(engine, x, NULL, NULL, 1, centre, &count);
  for (int64_t j = 0; j < d; j++) centre[j] /= (double)n;
  if (!status) status = (n < d ? dual : primal)(engine, x, centre, k, components, variance, &sum);
  for (int64_t i = 0; components && i < k && !status; i++) fix_sign(components + i * d, d);
  if (!status && mean) memcpy(mean, centre, (size_t)d * sizeof *mean);
  if (!status && total) *total = sum;
  mica_free(centre);
  return status;
}

typedef struct {
  const mica_engine *engine;
  const mica_view *x;
  const double *mean, *components;
  int64_t k, rows;
  double *y;
} project_job;

static mica_status project_chunk(void *ctx, int64_t chunk, void *scratch) {
  const project_job *j = ctx;
  int64_t n = mica_rows_n(j->x), d = mica_rows_d(j->x), begin = chunk * j->rows;
  int64_t end = begin + j->rows < n ? begin + j->rows : n;
  mica_rows_load(j->x, begin, end, j->mean, scratch);
  return mica_gemm(j->engine, MICA_F64, false, true, end - begin, j->k, d, 1, scratch, d,
                   j->components, d, 0, j->y + begin * j->k, j->k);
}

mica_status mica_project(const mica_engine *engine, const mica_view *x, const double *mean,
                         const double *components, int64_t k, double *y) {
  mica_status status = mica_rows_check(x, "projection");
  if (status) return status;
  if (k < 0) return mica_fail(MICA_ERR_INVALID, "projection: %lld components", (long long)k);
  project_job j = {engine, x, mean, components, k, 256, y};
  return mica_chunks_run(engine, mica_chunks_of(mica_rows_n(x), j.rows),
                         (size_t)(j.rows * mica_rows_d(x)) * sizeof(double), project_chunk, &j);
}
