/* Singular values through the smaller of the two products of a matrix with itself. */
#include "measure/spectrum.h"

#include "numeric/distance.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"

#include <math.h>
#include <string.h>

enum { block = 4096 };

mica_status mica_column_means(const mica_engine *engine, const mica_view *x, double *mean) {
  int64_t count = 0;
  const mica_status status = mica_group_sums(engine, x, NULL, NULL, 1, mean, &count);
  for (int64_t j = 0; j < mica_rows_d(x) && !status; j++) mean[j] /= (double)count;
  return status;
}

/* The k largest of n ascending eigenvalues, descending, without rounding. */
static void largest(const double *ascending, int64_t n, int64_t k, double *out) {
  const double least = ascending[n - 1] * MICA_SPECTRUM_ROUNDING;
  for (int64_t i = 0; i < k; i++) {
    const double v = ascending[n - 1 - i];
    out[i] = v > least ? v : 0;
  }
}

/* [N, N] products of centred rows. */
static mica_status gram(const mica_engine *engine, const mica_view *x, const double *centre,
                        double *out) {
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  double *rows = mica_realloc_array(NULL, (size_t)n, (size_t)d * sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  mica_rows_load(x, 0, n, centre, rows);
  const mica_view view = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, d));
  const mica_status status = mica_distances(engine, MICA_METRIC_INNER, &view, &view, out);
  for (int64_t i = 0; i < n * n && !status; i++) out[i] = -out[i];
  mica_free(rows);
  return status;
}

mica_status mica_squared_singular_values(const mica_engine *engine, const mica_view *x,
                                         const double *centre, double *square) {
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x), k = n < d ? n : d;
  double *a = mica_realloc_array(NULL, (size_t)(k + 1), (size_t)k * sizeof *a);
  double *zero = centre ? NULL : mica_calloc((size_t)d, sizeof *zero);
  mica_status status = a && (centre || zero) ? MICA_OK : MICA_ERR_MEMORY;
  if (!centre) centre = zero;
  if (!status)
    status = n < d ? gram(engine, x, centre, a) : mica_scatter(engine, x, NULL, centre, a, NULL);
  if (!status) status = mica_serial_eigen(engine, k, a, a + k * k, NULL);
  if (!status) largest(a + k * k, k, k, square);
  mica_free(zero);
  mica_free(a);
  return status;
}

mica_status mica_cross_scatter(const mica_engine *engine, const mica_view *x, const double *mx,
                               const mica_view *y, const double *my, double *cross) {
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x), e = mica_rows_d(y);
  const int64_t most = n < block ? n : block;
  double *a = mica_realloc_array(NULL, (size_t)most, (size_t)(d + e) * sizeof *a);
  double *part = mica_realloc_array(NULL, (size_t)d, (size_t)e * sizeof *part);
  mica_status status = a && part ? MICA_OK : MICA_ERR_MEMORY;
  memset(cross, 0, (size_t)(d * e) * sizeof *cross);
  for (int64_t from = 0; from < n && !status; from += block) {
    const int64_t to = n - from < block ? n : from + block;
    double *b = a + most * d;
    mica_rows_load(x, from, to, mx, a);
    mica_rows_load(y, from, to, my, b);
    status = mica_product(engine, true, d, e, to - from, a, b, part);
    for (int64_t i = 0; i < d * e && !status; i++) cross[i] += part[i];
  }
  mica_free(part);
  mica_free(a);
  return status;
}

mica_status mica_small_singular_values(const mica_engine *engine, int64_t m, int64_t n,
                                       const double *a, double *values) {
  const mica_view view = mica_view_of((void *)(uintptr_t)a, MICA_F64, MICA_SHAPE(m, n));
  const mica_status status = mica_squared_singular_values(engine, &view, NULL, values);
  for (int64_t i = 0; i < (m < n ? m : n) && !status; i++) values[i] = sqrt(values[i]);
  return status;
}
