/* The covariance of rows, shrunk, with its inverse and the distance that it makes; which principal
 * components a share of variance keeps. */
#include <mica/numeric.h>

#include "numeric/chunks.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"
#include "numeric/shrinkage.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

static mica_status invert(const mica_engine *engine, int64_t d, double *covariance, double *inverse,
                          double *precision, double *whitening) {
  mica_status status = mica_serial_whitening(engine, d, covariance, inverse);
  if (status == MICA_ERR_NUMERIC)
    return mica_fail(status, "the covariance is singular: the rows vary too little");
  if (!status && precision)
    status = mica_product(engine, true, d, d, d, inverse, inverse, precision);
  if (!status && whitening) memcpy(whitening, inverse, (size_t)(d * d) * sizeof *inverse);
  return status;
}

mica_status mica_ledoit_wolf(const mica_engine *engine, const mica_view *x, double *mean,
                             double *covariance, double *precision, double *whitening,
                             double *shrinkage) {
  mica_status status = mica_rows_check(x, "covariance");
  if (!status) status = mica_rows_check_finite(engine, x, "covariance");
  if (status) return status;
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  int64_t count;
  if (n < 1) return mica_fail(MICA_ERR_INVALID, "covariance of no rows");
  double *work = mica_malloc((size_t)(2 * d * d) * sizeof *work);
  if (!work) return MICA_ERR_MEMORY;
  mica_shrunk shrunk = {0};
  status = mica_group_sums(engine, x, NULL, NULL, 1, mean, &count);
  for (int64_t j = 0; j < d && !status; j++) mean[j] /= (double)n;
  if (!status) status = mica_shrunk_covariance(engine, x, NULL, mean, work, &shrunk);
  if (!status && covariance) memcpy(covariance, work, (size_t)(d * d) * sizeof *work);
  if (!status && shrinkage) *shrinkage = shrunk.rho;
  if (!status && (precision || whitening))
    status = invert(engine, d, work, work + d * d, precision, whitening);
  mica_free(work);
  return status;
}

/* ---- distances ---- */

enum { block_rows = 128 };

typedef struct {
  const mica_engine *engine;
  const mica_view *x;
  const double *mean, *matrix;
  bool whitening;
  double *distance;
} distance_job;

static mica_status distance_chunk(void *ctx, int64_t chunk, void *scratch) {
  const distance_job *j = ctx;
  const int64_t n = mica_rows_n(j->x), d = mica_rows_d(j->x), begin = chunk * block_rows;
  const int64_t end = begin + block_rows < n ? begin + block_rows : n;
  double *rows = scratch, *images = rows + block_rows * d;
  mica_rows_load(j->x, begin, end, j->mean, rows);
  /* A precision is symmetric, so both matrices may be read by rows. */
  const mica_status status = mica_gemm(j->engine, MICA_F64, false, true, end - begin, d, d, 1, rows,
                                       d, j->matrix, d, 0, images, d);
  for (int64_t i = 0; i < end - begin && !status; i++) {
    const double *y = images + i * d;
    const double square = mica_dot(y, j->whitening ? y : rows + i * d, d);
    j->distance[begin + i] = sqrt(square < 0 ? 0 : square);
  }
  return status;
}

static mica_status distances(distance_job *j) {
  const mica_status status = mica_rows_check(j->x, "Mahalanobis distance");
  if (status) return status;
  return mica_chunks_run(j->engine, mica_chunks_of(mica_rows_n(j->x), block_rows),
                         (size_t)(2 * block_rows * mica_rows_d(j->x)) * sizeof(double),
                         distance_chunk, j);
}

mica_status mica_mahalanobis(const mica_engine *engine, const mica_view *x, const double *mean,
                             const double *precision, double *distance) {
  distance_job j = {engine, x, mean, precision, false, distance};
  return distances(&j);
}

mica_status mica_mahalanobis_whitened(const mica_engine *engine, const mica_view *x,
                                      const double *mean, const double *whitening,
                                      double *distance) {
  distance_job j = {engine, x, mean, whitening, true, distance};
  return distances(&j);
}

/* ---- components ---- */

mica_status mica_components_kept(const double *variance, int64_t n, double threshold, bool trailing,
                                 bool keep_null, int64_t *first, int64_t *end) {
  double total = 0, sum = 0;
  int64_t limit = n, last = 0;
  for (int64_t i = 0; i < n; i++) total += variance[i];
  if (n < 1 || !(total > 0) || !(threshold >= 0 && threshold <= 1))
    return mica_fail(MICA_ERR_INVALID,
                     "components kept: a share of %g of a variance of %g, expected a share of 0 to "
                     "1 of something above 0",
                     threshold, n < 1 ? 0.0 : total);
  /* Directions without variance are arbitrary vectors of the null space. */
  for (limit = 0; limit < n && variance[limit] > 1e-10 * variance[0];) limit++;
  if (keep_null) limit = n;
  for (; last < limit - 1; last++) {
    sum += variance[last];
    if (sum / total > threshold) break;
  }
  *first = !trailing || last == 0 ? 0 : last - 1;
  *end = trailing ? limit : last + 1;
  return MICA_OK;
}
