/* CKA by its definition, and that of anchors with one more pair: the forms that the fast ones are
 * checked against, and the only ones for a kernel that is not linear. */
#include "feature/alignment.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "numeric/sort.h"

#include <mica/alignment.h>

#include <math.h>
#include <string.h>

static mica_status check_pair(const mica_engine *engine, const mica_view *x, const mica_view *y) {
  mica_status status = mica_rows_check(x, "features");
  if (!status) status = mica_rows_check(y, "the other features");
  if (!status && (mica_rows_n(x) != mica_rows_n(y) || mica_rows_n(x) < 2))
    status = mica_fail(MICA_ERR_SHAPE, "CKA of %lld and %lld rows, expected as many, at least 2",
                       (long long)mica_rows_n(x), (long long)mica_rows_n(y));
  if (!status) status = mica_rows_check_finite(engine, x, "features");
  return status ? status : mica_rows_check_finite(engine, y, "the other features");
}

/* ---- kernels ---- */

/* The lower median of the numbers above 0; 0 where there is none. */
static mica_status lower_median(const double *v, int64_t n, double *out) {
  double *kept = mica_realloc_array(NULL, (size_t)n, sizeof *kept);
  int64_t m = 0;
  if (!kept) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++)
    if (v[i] > 0) kept[m++] = v[i];
  mica_sort_doubles(kept, m);
  *out = m ? kept[(m - 1) / 2] : 0;
  mica_free(kept);
  return MICA_OK;
}

/* The centred kernel [n, n] of dense rows [n, d]. */
static mica_status centred_kernel(mica_cka_kernel kernel, int64_t n, int64_t d, const double *rows,
                                  double *k) {
  mica_status status = MICA_OK;
  double median = 1, all = 0;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) {
      double sum = 0;
      const double *a = rows + i * d, *b = rows + j * d;
      for (int64_t c = 0; c < d; c++)
        sum += kernel == MICA_CKA_RBF ? (a[c] - b[c]) * (a[c] - b[c]) : a[c] * b[c];
      k[i * n + j] = sum;
    }
  if (kernel == MICA_CKA_RBF) status = lower_median(k, n * n, &median);
  if (!status && !(median > 0))
    status = mica_fail(MICA_ERR_NUMERIC, "CKA: all rows of a side are the same");
  double *mean = mica_calloc((size_t)n, sizeof *mean);
  if (status || !mean) {
    mica_free(mean);
    return status ? status : MICA_ERR_MEMORY;
  }
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) {
      double *v = &k[i * n + j];
      if (kernel == MICA_CKA_RBF) *v = exp(-*v / (2 * median));
      mean[i] += *v / (double)n;
      all += *v / ((double)n * (double)n);
    }
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) k[i * n + j] += all - mean[i] - mean[j];
  mica_free(mean);
  return MICA_OK;
}

static mica_status alignment_of(const double *k, const double *l, int64_t n, double *out) {
  const double kl = mica_dot(k, l, n * n), kk = mica_dot(k, k, n * n), ll = mica_dot(l, l, n * n);
  if (!(kk > 0 && ll > 0))
    return mica_fail(MICA_ERR_NUMERIC, "CKA: all rows of a side are the same");
  *out = kl / sqrt(kk * ll);
  return MICA_OK;
}

mica_status mica_cka_reference(const mica_engine *engine, mica_cka_kernel kernel,
                               const mica_view *x, const mica_view *y, double *out) {
  mica_status status = check_pair(engine, x, y);
  if (status) return status;
  const int64_t n = mica_rows_n(x), p = mica_rows_d(x), q = mica_rows_d(y);
  double *k = mica_realloc_array(NULL, (size_t)n, (size_t)n * 2 * sizeof *k);
  double *rows = mica_realloc_array(NULL, (size_t)n, (size_t)(p > q ? p : q) * sizeof *rows);
  status = k && rows ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) mica_rows_load(x, 0, n, NULL, rows);
  if (!status) status = centred_kernel(kernel, n, p, rows, k);
  if (!status) mica_rows_load(y, 0, n, NULL, rows);
  if (!status) status = centred_kernel(kernel, n, q, rows, k + n * n);
  if (!status) status = alignment_of(k, k + n * n, n, out);
  mica_free(rows);
  mica_free(k);
  return status;
}

/* ---- one more pair ---- */

static mica_status check_queries(const mica_engine *engine, const mica_view *xa,
                                 const mica_view *ya, const mica_view *x, const mica_view *y) {
  mica_status status = check_pair(engine, xa, ya);
  if (!status) status = mica_rows_check(x, "rows");
  if (!status) status = mica_rows_check(y, "the other rows");
  if (!status && (mica_rows_d(x) != mica_rows_d(xa) || mica_rows_d(y) != mica_rows_d(ya)))
    status = mica_fail(MICA_ERR_SHAPE,
                       "local CKA: rows of %lld and %lld columns, anchors of %lld and %lld",
                       (long long)mica_rows_d(x), (long long)mica_rows_d(y),
                       (long long)mica_rows_d(xa), (long long)mica_rows_d(ya));
  if (!status) status = mica_rows_check_finite(engine, x, "rows");
  return status ? status : mica_rows_check_finite(engine, y, "the other rows");
}

mica_status mica_local_cka(const mica_engine *engine, const mica_view *xa, const mica_view *ya,
                           const mica_view *x, const mica_view *y, double *out) {
  mica_status status = check_queries(engine, xa, ya, x, y);
  mica_estimator *e = NULL;
  mica_fit_data data = MICA_FIT_DATA;
  if (status) return status;
  data.x = *xa;
  data.target = ya;
  status = mica_estimator_create(engine, "align:map=affine:score=cka", &e);
  if (!status) status = mica_estimator_fit(e, &data, NULL);
  if (!status) status = mica_estimator_pair_scores(e, x, y, out);
  mica_estimator_free(e);
  return status;
}

typedef struct local_job {
  mica_cka_kernel kernel;
  const mica_view *xa, *ya, *x, *y;
  double *out;
} local_job;

/* The centred kernel of the anchors and one more row. */
static mica_status with_row(const local_job *job, bool second, int64_t i, double *rows, double *k) {
  const mica_view *anchors = second ? job->ya : job->xa, *more = second ? job->y : job->x;
  const int64_t n = mica_rows_n(anchors), d = mica_rows_d(anchors);
  mica_rows_load(anchors, 0, n, NULL, rows);
  mica_rows_load(more, i, i + 1, NULL, rows + n * d);
  return centred_kernel(job->kernel, n + 1, d, rows, k);
}

/* All pairs of one y: its kernel is made once. */
static mica_status local_chunk(void *ctx, int64_t j, void *scratch) {
  const local_job *job = ctx;
  const int64_t n = mica_rows_n(job->xa) + 1, m = mica_rows_n(job->y);
  double *k = scratch, *l = k + n * n, *rows = l + n * n;
  mica_status status = with_row(job, true, j, rows, l);
  for (int64_t i = 0; i < mica_rows_n(job->x) && !status; i++) {
    status = with_row(job, false, i, rows, k);
    if (!status) status = alignment_of(k, l, n, &job->out[i * m + j]);
  }
  return status;
}

mica_status mica_local_cka_reference(const mica_engine *engine, mica_cka_kernel kernel,
                                     const mica_view *xa, const mica_view *ya, const mica_view *x,
                                     const mica_view *y, double *out) {
  const mica_status status = check_queries(engine, xa, ya, x, y);
  if (status) return status;
  const int64_t n = mica_rows_n(xa) + 1, p = mica_rows_d(xa), q = mica_rows_d(ya);
  local_job job = {kernel, xa, ya, x, y, out};
  return mica_chunks_run(engine, mica_rows_n(y),
                         (size_t)(2 * n * n + n * (p > q ? p : q)) * sizeof(double), local_chunk,
                         &job);
}
