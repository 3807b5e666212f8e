/* Classes with known Gaussians, to count the examples that a classifier needs. */
#include <mica/experimental.h>

#include "numeric/rows.h"
#include "numeric/serial.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

static double variance_of(int64_t j, int64_t d) {
  return j < d / 2 ? (double)d : 1;
}

/* factor [d, d] with factor factor^T the covariance. */
static mica_status hard_factor(const mica_engine *engine, mica_key world, int64_t d,
                               double *factor) {
  double *a = mica_calloc((size_t)(2 * d * d + d), sizeof *a);
  if (!a) return MICA_ERR_MEMORY;
  double *covariance = a + d * d, *values = covariance + d * d;
  for (int64_t i = 0; i < d * d; i++) a[i] = 2 * mica_random_uniform(world, (uint64_t)i) - 1;
  mica_status status =
      mica_gemm(engine, MICA_F64, true, false, d, d, d, 1, a, d, a, d, 0, covariance, d);
  for (int64_t j = 0; j < d; j++) covariance[j * d + j] = variance_of(j, d);
  if (status == MICA_OK) status = mica_serial_eigen(engine, d, covariance, values, factor);
  for (int64_t i = 0; i < d && status == MICA_OK; i++)
    for (int64_t j = 0; j < d; j++) factor[i * d + j] *= sqrt(fabs(values[j]));
  mica_free(a);
  return status;
}

static mica_status correlate(const mica_engine *engine, mica_key world, int64_t n, int64_t d,
                             double *noise) {
  double *factor = mica_calloc((size_t)(d * d), sizeof *factor);
  double *from = mica_calloc((size_t)(n * d), sizeof *from);
  mica_status status = factor && from ? hard_factor(engine, world, d, factor) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    memcpy(from, noise, (size_t)(n * d) * sizeof *from);
    status = mica_gemm(engine, MICA_F64, false, true, n, d, d, 1, from, d, factor, d, 0, noise, d);
  }
  mica_free(factor);
  mica_free(from);
  return status;
}

mica_status mica_gaussian_mixture_draw(const mica_engine *engine, mica_key world, mica_key key,
                                       mica_mixture kind, int64_t classes, const mica_view *x,
                                       int64_t *label) {
  mica_status status = mica_rows_check(x, "mixture");
  if (status != MICA_OK) return status;
  if (classes < 2 || classes > 30)
    return mica_fail(MICA_ERR_INVALID, "a mixture of %lld classes, expected 2 to 30",
                     (long long)classes);
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  double *row = mica_calloc((size_t)(n * d + 1), sizeof *row);
  if (!row) return MICA_ERR_MEMORY;
  const mica_key labels = mica_key_fold_name(key, "label"),
                 noise = mica_key_fold_name(key, "noise");
  for (int64_t i = 0; i < n * d; i++) row[i] = mica_random_normal(noise, (uint64_t)i);
  if (kind == MICA_MIXTURE_HARD) status = correlate(engine, world, n, d, row);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    label[i] = (int64_t)mica_random_below(labels, (uint64_t)i, (uint64_t)classes);
    const double mean = label[i] ? ldexp(1, (int)label[i] - 1) : -1;
    for (int64_t j = 0; j < d; j++)
      row[i * d + j] =
          mean + row[i * d + j] * (kind == MICA_MIXTURE_EASY ? sqrt(variance_of(j, d)) : 1);
  }
  const mica_view drawn = mica_view_of(row, MICA_F64, MICA_SHAPE(n, d));
  if (status == MICA_OK) status = mica_view_copy(x, &drawn);
  mica_free(row);
  return status;
}
