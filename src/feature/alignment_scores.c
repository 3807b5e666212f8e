/* Rows through an alignment, and pairs of rows across it.
 *
 * Linear CKA of the anchors with one more pair: with n anchors, dx and dy the pair less the
 * anchors' means and c = n / (n + 1), the scatter C of the anchors becomes C + c dx dy^T, so
 *
 *   |C + c dx dy^T|^2 = |C|^2 + 2 c dx^T C dy + c^2 |dx|^2 |dy|^2,
 *
 * and the same on each side with itself: all pairs are one matrix product.
 */
#include "feature/alignment.h"

#include "numeric/distance.h"
#include "numeric/rows.h"
#include "numeric/serial.h"

#include <math.h>
#include <string.h>

static double *numbers(int64_t n, int64_t m) {
  return mica_realloc_array(NULL, (size_t)(n < 1 ? 1 : n), (size_t)m * sizeof(double));
}

/* Cosines of reduced rows [n, k] with anchors [anchors, k]. */
static mica_status cosines(const mica_engine *engine, int64_t n, int64_t k, const double *rows,
                           int64_t anchors, const double *anchor, double *out) {
  const mica_view x = mica_view_of((void *)(uintptr_t)rows, MICA_F64, MICA_SHAPE(n, k));
  const mica_view y = mica_view_of((void *)(uintptr_t)anchor, MICA_F64, MICA_SHAPE(anchors, k));
  const mica_status status = mica_distances(engine, MICA_METRIC_COSINE, &x, &y, out);
  for (int64_t i = 0; i < n * anchors && !status; i++) out[i] = 1 - out[i];
  return status;
}

static mica_status map_x(const mica_engine *engine, const mica_align_options *o,
                         const mica_alignment *a, const mica_view *x, double *out) {
  const int64_t n = mica_rows_n(x), k = a->x.k, m = a->outputs;
  const bool relative = o->map == MICA_ALIGN_RELATIVE;
  if (!relative && !a->map) return mica_align_reduce(engine, &a->x, x, false, out);
  double *rows = numbers(n, k);
  mica_status status = rows ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_align_reduce(engine, &a->x, x, relative && o->centre, rows);
  if (!status && relative) status = cosines(engine, n, k, rows, a->anchors, a->ax, out);
  if (!status && !relative) status = mica_product(engine, false, n, m, k, rows, a->map, out);
  for (int64_t i = 0; i < n * m && !status && !relative; i++) out[i] += a->bias[i % m];
  mica_free(rows);
  return status;
}

mica_status mica_alignment_predict(const mica_engine *engine, const void *options,
                                   const void *state, const mica_view *x, mica_prediction *out) {
  return out->score ? map_x(engine, options, state, x, out->score) : MICA_OK;
}

static mica_status check_targets(const mica_engine *engine, const mica_alignment *a,
                                 const mica_view *y) {
  const mica_status status = mica_rows_check(y, "targets");
  if (status) return status;
  if (mica_rows_d(y) != a->y.d)
    return mica_fail(MICA_ERR_SHAPE, "align: targets of %lld columns, fitted on %lld",
                     (long long)mica_rows_d(y), (long long)a->y.d);
  return mica_rows_check_finite(engine, y, "targets");
}

mica_status mica_alignment_targets(const mica_engine *engine, const void *options,
                                   const void *state, const mica_view *y, double *out) {
  const mica_align_options *o = options;
  const mica_alignment *a = state;
  const int64_t n = mica_rows_n(y), k = a->y.k;
  mica_status status = check_targets(engine, a, y);
  if (status || o->map != MICA_ALIGN_RELATIVE)
    return status ? status : mica_align_reduce(engine, &a->y, y, false, out);
  double *rows = numbers(n, k);
  if (!rows) return MICA_ERR_MEMORY;
  status = mica_align_reduce(engine, &a->y, y, o->centre, rows);
  if (!status) status = cosines(engine, n, k, rows, a->anchors, a->ay, out);
  mica_free(rows);
  return status;
}

/* ---- pairs ---- */

static mica_status cosine_scores(const mica_engine *engine, const mica_align_options *o,
                                 const mica_alignment *a, const mica_view *x, const mica_view *y,
                                 double *out) {
  const int64_t n = mica_rows_n(x), m = mica_rows_n(y), k = a->outputs;
  double *mapped = numbers(n, k), *target = numbers(m, k);
  mica_status status = mapped && target ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = map_x(engine, o, a, x, mapped);
  if (!status) status = mica_alignment_targets(engine, o, a, y, target);
  if (!status && o->centre && o->map != MICA_ALIGN_RELATIVE) {
    /* Without a map the two sides have means of their own. */
    for (int64_t i = 0; i < n * k; i++)
      mapped[i] -= a->map || a->x.w ? a->target[i % k] : a->x.mean[i % k];
    for (int64_t i = 0; i < m * k; i++) target[i] -= a->target[i % k];
  }
  if (!status) status = cosines(engine, n, k, mapped, m, target, out);
  mica_free(target);
  mica_free(mapped);
  return status;
}

static double squares(const double *v, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += v[i] * v[i];
  return sum;
}

/* |C + c d d^T|^2 of each row d [n, k]; length [n] receives |d|^2. */
static mica_status own_norms(const mica_engine *engine, int64_t n, int64_t k, double c,
                             const double *rows, const double *scatter, double *norm,
                             double *length) {
  double *turned = numbers(n, k);
  if (!turned) return MICA_ERR_MEMORY;
  const mica_status status = mica_product(engine, false, n, k, k, rows, scatter, turned);
  const double constant = squares(scatter, k * k);
  for (int64_t i = 0; i < n && !status; i++) {
    length[i] = mica_sum_squares(rows + i * k, k);
    norm[i] = constant + 2 * c * mica_dot(rows + i * k, turned + i * k, k) +
              c * c * length[i] * length[i];
  }
  mica_free(turned);
  return status;
}

static mica_status cka_scores(const mica_engine *engine, const mica_alignment *a,
                              const mica_view *x, const mica_view *y, double *out) {
  const int64_t n = mica_rows_n(x), m = mica_rows_n(y), p = a->x.k, q = a->y.k;
  const double c = (double)a->pairs.n / (double)(a->pairs.n + 1);
  double *dx = numbers(n, p + q + 2), *dy = numbers(m, q + 2);
  mica_status status = dx && dy ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_align_reduce(engine, &a->x, x, true, dx);
  if (!status) status = mica_align_reduce(engine, &a->y, y, true, dy);
  if (status) {
    mica_free(dy);
    mica_free(dx);
    return status;
  }
  double *half = dx + n * p, *nx = half + n * q, *lx = nx + n, *ny = dy + m * q, *ly = ny + m;
  for (int64_t i = 0; i < n * p; i++) dx[i] /= a->x.scale[i % p];
  for (int64_t i = 0; i < m * q; i++) dy[i] /= a->y.scale[i % q];
  status = own_norms(engine, n, p, c, dx, a->xx, nx, lx);
  if (!status) status = own_norms(engine, m, q, c, dy, a->yy, ny, ly);
  if (!status) status = mica_product(engine, false, n, q, p, dx, a->cross, half);
  if (!status) { /* half dy^T, as inner products */
    const mica_view l = mica_view_of(half, MICA_F64, MICA_SHAPE(n, q));
    const mica_view r = mica_view_of(dy, MICA_F64, MICA_SHAPE(m, q));
    status = mica_distances(engine, MICA_METRIC_INNER, &l, &r, out);
  }
  const double constant = squares(a->cross, p * q);
  for (int64_t i = 0; i < n && !status; i++)
    for (int64_t j = 0; j < m; j++) {
      double *v = &out[i * m + j];
      *v = (constant - 2 * c * *v + c * c * lx[i] * ly[j]) / sqrt(nx[i] * ny[j]);
    }
  mica_free(dy);
  mica_free(dx);
  return status;
}

mica_status mica_alignment_pair_scores(const mica_engine *engine, const void *options,
                                       const void *state, const mica_view *x, const mica_view *y,
                                       double *out) {
  const mica_align_options *o = options;
  const mica_alignment *a = state;
  const mica_status status = check_targets(engine, a, y);
  if (status) return status;
  if (o->score == MICA_SCORE_CKA) return cka_scores(engine, a, x, y, out);
  return cosine_scores(engine, o, a, x, y, out);
}
