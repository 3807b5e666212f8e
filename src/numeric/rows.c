/* Reading feature matrices: checks, conversion, centring, normalisation. */
#include "numeric/rows.h"

#include "numeric/chunks.h"

#include <math.h>

mica_status mica_rows_check(const mica_view *x, const char *what) {
  char text[96];
  if (x->shape.rank != 2)
    return mica_fail(MICA_ERR_SHAPE, "%s: shape %s, expected [rows, columns]", what,
                     mica_shape_text(&x->shape, text, sizeof text));
  if (x->dtype != MICA_F32 && x->dtype != MICA_F64)
    return mica_fail(MICA_ERR_SHAPE, "%s: element type %s, expected float32 or float64", what,
                     mica_dtype_name(x->dtype));
  if (mica_shape_count(&x->shape) < 0 || x->shape.dim[1] < 1 || x->row_stride < x->shape.dim[1])
    return mica_fail(MICA_ERR_SHAPE,
                     "%s: shape %s with row stride %lld, expected at least one column", what,
                     mica_shape_text(&x->shape, text, sizeof text), (long long)x->row_stride);
  if (x->shape.dim[0] > 0 && !x->data) return mica_fail(MICA_ERR_INVALID, "%s: no data", what);
  return MICA_OK;
}

typedef struct {
  const mica_view *x;
  const char *what;
  int64_t rows_per_chunk;
} finite_check;

static double element(const mica_view *x, int64_t i, int64_t j) {
  int64_t at = i * x->row_stride + j;
  return x->dtype == MICA_F32 ? (double)((const float *)x->data)[at]
                              : ((const double *)x->data)[at];
}

/* A sum of zeros times the elements is zero exactly when all of them are finite. */
static bool row_is_finite(const mica_view *x, int64_t i) {
  int64_t d = mica_rows_d(x);
  if (x->dtype == MICA_F32) {
    const float *row = (const float *)x->data + i * x->row_stride;
    float sum = 0;
    for (int64_t j = 0; j < d; j++) sum += 0.0f * row[j];
    return sum == 0;
  }
  const double *row = (const double *)x->data + i * x->row_stride;
  double sum = 0;
  for (int64_t j = 0; j < d; j++) sum += 0.0 * row[j];
  return sum == 0;
}

static mica_status check_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const finite_check *c = ctx;
  int64_t begin = chunk * c->rows_per_chunk, end = begin + c->rows_per_chunk;
  if (end > mica_rows_n(c->x)) end = mica_rows_n(c->x);
  for (int64_t i = begin; i < end; i++) {
    if (row_is_finite(c->x, i)) continue;
    int64_t j = 0;
    while (isfinite(element(c->x, i, j))) j++;
    return mica_fail(MICA_ERR_NUMERIC, "%s: row %lld, column %lld is %s, expected a finite number",
                     c->what, (long long)i, (long long)j,
                     isnan(element(c->x, i, j)) ? "NaN" : "infinite");
  }
  return MICA_OK;
}

mica_status mica_rows_check_finite(const mica_engine *engine, const mica_view *x,
                                   const char *what) {
  int64_t per_chunk = 1 + 65536 / mica_rows_d(x);
  finite_check c = {x, what, per_chunk};
  return mica_chunks_run(engine, mica_chunks_of(mica_rows_n(x), per_chunk), 0, check_chunk, &c);
}

void mica_rows_load(const mica_view *x, int64_t begin, int64_t end, const double *mean,
                    double *out) {
  int64_t d = mica_rows_d(x);
  for (int64_t i = begin; i < end; i++, out += d) {
    if (x->dtype == MICA_F32) {
      const float *row = (const float *)x->data + i * x->row_stride;
      for (int64_t j = 0; j < d; j++) out[j] = (double)row[j];
    } else {
      const double *row = (const double *)x->data + i * x->row_stride;
      for (int64_t j = 0; j < d; j++) out[j] = row[j];
    }
    if (mean)
      for (int64_t j = 0; j < d; j++) out[j] -= mean[j];
  }
}

mica_view mica_rows_columns(const mica_view *x, int64_t begin, int64_t end) {
  mica_view v = *x;
  v.data = (char *)x->data + (size_t)begin * mica_dtype_size(x->dtype);
  v.shape.dim[1] = end - begin;
  return v;
}

double mica_dot(const double *a, const double *b, int64_t n) {
  double sum[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int j = 0; j < 4; j++) sum[j] += a[i + j] * b[i + j];
  for (; i < n; i++) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

double mica_sum_squares(const double *v, int64_t n) {
  return mica_dot(v, v, n);
}

int64_t mica_rows_normalise(double *rows, int64_t n, int64_t d) {
  int64_t zero = -1;
  for (int64_t i = 0; i < n; i++, rows += d) {
    double norm = sqrt(mica_sum_squares(rows, d));
    if (!(norm > 0)) {
      if (zero < 0) zero = i;
      continue;
    }
    for (int64_t j = 0; j < d; j++) rows[j] /= norm;
  }
  return zero;
}
