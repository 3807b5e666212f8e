/* Aligning two spaces from the moments of pairs alone.
 *
 * One pass over rows [x, y] gives means and the scatter of both sides and between them; canonical
 * directions, principal components, least squares, Procrustes and the constant part of linear CKA
 * are algebra on those, so pairs may come in any number of pieces.
 *
 * Whitening goes through the eigenvectors of a side's covariance, W = V diag(w + r)^-1/2, which
 * leaves out the directions that do not vary; with M = Wx^T Sxy Wy = U diag(rho) T^T the canonical
 * directions are Wx U and Wy T.
 */
#include "feature/alignment.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "numeric/serial.h"
#include "tensor/kernel/factor.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

#define ROUNDING 1e-12 /* eigenvalues below this share of the largest are rounding */

enum { block = 1024 };

static double *numbers(int64_t n, int64_t m) {
  return mica_realloc_array(NULL, (size_t)(n < 1 ? 1 : n),
                            (size_t)(m < 1 ? 1 : m) * sizeof(double));
}

/* ---- state ---- */

static void forget_derived(mica_alignment *a) {
  double **const owned[] = {&a->x.w, &a->x.scale, &a->y.w,    &a->y.scale, &a->rho,
                            &a->map, &a->bias,    &a->target, &a->cross,   &a->xx,
                            &a->yy,  &a->x.mean,  &a->y.mean};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) {
    mica_free(*owned[i]);
    *owned[i] = NULL;
  }
}

void mica_alignment_free(void *state) {
  mica_alignment *a = state;
  if (!a) return;
  forget_derived(a);
  mica_free(a->ax);
  mica_free(a->ay);
  mica_moments_end(&a->pairs);
  mica_free(a);
}

mica_status mica_alignment_create(int64_t p, int64_t q, mica_alignment **out) {
  mica_alignment *a = mica_calloc(1, sizeof *a);
  if (!a) return MICA_ERR_MEMORY;
  a->x.d = p;
  a->y.d = q;
  const mica_status status = mica_moments_begin(&a->pairs, p + q, true);
  if (status)
    mica_free(a);
  else
    *out = a;
  return status;
}

mica_status mica_alignment_add(const mica_engine *engine, mica_alignment *a, const mica_view *x,
                               const mica_view *y) {
  const int64_t n = mica_rows_n(x), p = a->x.d, q = a->y.d, d = p + q;
  const int64_t most = n < 4 * block ? n : 4 * block;
  double *rows = numbers(most, d + (p > q ? p : q));
  mica_status status = rows ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < n && !status; from += most) {
    const int64_t m = n - from < most ? n - from : most;
    double *side = rows + most * d;
    mica_rows_load(x, from, from + m, NULL, side);
    for (int64_t i = 0; i < m; i++) memcpy(rows + i * d, side + i * p, (size_t)p * sizeof *rows);
    mica_rows_load(y, from, from + m, NULL, side);
    for (int64_t i = 0; i < m; i++)
      memcpy(rows + i * d + p, side + i * q, (size_t)q * sizeof *rows);
    const mica_view view = mica_view_of(rows, MICA_F64, MICA_SHAPE(m, d));
    status = mica_moments_add(engine, &a->pairs, &view);
  }
  mica_free(rows);
  return status;
}

/* ---- reductions ---- */

/* A dense copy of one block of the scatter. */
static double *scatter_block(const mica_alignment *a, int64_t row, int64_t rows, int64_t column,
                             int64_t columns) {
  double *out = numbers(rows, columns);
  for (int64_t i = 0; i < rows && out; i++)
    memcpy(out + i * columns, a->pairs.scatter + (row + i) * a->pairs.d + column,
           (size_t)columns * sizeof *out);
  return out;
}

/* The directions of a side that vary, from the largest: *vectors [d, kept] and *variance [kept]. */
typedef struct spectrum {
  int64_t kept;
  double *vector, *variance;
} spectrum;

static void spectrum_end(spectrum *s) {
  mica_free(s->vector);
  mica_free(s->variance);
}

static mica_status spectrum_of(const mica_engine *engine, const mica_alignment *a, bool second,
                               double share, spectrum *out) {
  const int64_t d = second ? a->y.d : a->x.d, at = second ? a->x.d : 0;
  double *s = scatter_block(a, at, d, at, d), *value = numbers(d, 1), *vector = numbers(d, d);
  *out = (spectrum){0, numbers(d, d), numbers(d, 1)};
  mica_status status =
      s && value && vector && out->vector && out->variance ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_serial_eigen(engine, d, s, value, vector);
  double all = 0, so_far = 0;
  for (int64_t i = 0; i < d && !status; i++) all += fmax(0, value[i]);
  for (int64_t i = d - 1; i >= 0 && !status; i--) {
    if (!(value[i] > ROUNDING * value[d - 1])) break;
    if (out->kept && share < 1 && so_far >= share * all * (1 - 1e-12)) break;
    so_far += value[i];
    out->variance[out->kept++] = value[i] / (double)(a->pairs.n - 1);
  }
  for (int64_t j = 0; j < d && !status; j++)
    for (int64_t i = 0; i < out->kept; i++)
      out->vector[j * out->kept + i] = vector[j * d + d - 1 - i];
  if (!status && !out->kept)
    status = mica_fail(MICA_ERR_NUMERIC, "align: the anchors of the %s side are all the same",
                       second ? "second" : "first");
  mica_free(vector);
  mica_free(value);
  mica_free(s);
  return status;
}

/* The leading k columns of v [d, n]. */
static double *leading(const double *v, int64_t d, int64_t n, int64_t k) {
  double *out = numbers(d, k);
  for (int64_t i = 0; i < d && out; i++) memcpy(out + i * k, v + i * n, (size_t)k * sizeof *out);
  return out;
}

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static mica_status reduce_pca(const mica_align_options *o, mica_alignment *a, const spectrum *x,
                              const spectrum *y) {
  a->x.k = least(o->k, x->kept);
  a->y.k = least(o->k, y->kept);
  a->x.w = leading(x->vector, a->x.d, x->kept, a->x.k);
  a->y.w = leading(y->vector, a->y.d, y->kept, a->y.k);
  return a->x.w && a->y.w ? MICA_OK : MICA_ERR_MEMORY;
}

/* u [m, r], s [r], v [n, r] of a [m, n] with r = min(m, n); any of u and v may be NULL. */
static mica_status thin_svd(int64_t m, int64_t n, const double *a, double *u, double *s,
                            double *v) {
  const bool tall = m > n;
  const int64_t r = tall ? n : m, c = tall ? m : n;
  double *work = numbers(r, c), *turn = numbers(r, r);
  mica_status status = work && turn ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < r && !status; i++)
    for (int64_t j = 0; j < c; j++) work[i * c + j] = tall ? a[j * n + i] : a[i * n + j];
  if (!status && !mica_factor_svd(r, c, work, s, turn))
    status = mica_fail(MICA_ERR_NUMERIC, "singular values of %lld x %lld numbers do not converge",
                       (long long)m, (long long)n);
  double *longer = tall ? u : v, *shorter = tall ? v : u;
  for (int64_t i = 0; i < c && !status && longer; i++)
    for (int64_t j = 0; j < r; j++) longer[i * r + j] = work[j * c + i];
  if (!status && shorter) memcpy(shorter, turn, (size_t)(r * r) * sizeof *turn);
  mica_free(turn);
  mica_free(work);
  return status;
}

/* Columns divided by the root of their variance, and the ridge on top. */
static void whiten(spectrum *s, int64_t d, double ridge) {
  double all = 0;
  for (int64_t i = 0; i < s->kept; i++) all += s->variance[i];
  for (int64_t j = 0; j < d; j++)
    for (int64_t i = 0; i < s->kept; i++)
      s->vector[j * s->kept + i] /= sqrt(s->variance[i] + ridge * all / (double)d);
}

static mica_status reduce_cca(const mica_engine *engine, const mica_align_options *o,
                              mica_alignment *a, spectrum *x, spectrum *y) {
  const int64_t p = a->x.d, q = a->y.d, m = x->kept, n = y->kept, r = least(m, n);
  double *cross = scatter_block(a, 0, p, p, q), *half = numbers(p, n), *white = numbers(m, n);
  double *u = numbers(m, r), *v = numbers(n, r), *s = numbers(r, 1), *w = numbers(p > q ? p : q, r);
  mica_status status = cross && half && white && u && v && s && w ? MICA_OK : MICA_ERR_MEMORY;
  whiten(x, p, o->ridge);
  whiten(y, q, o->ridge);
  if (!status) status = mica_product(engine, false, p, n, q, cross, y->vector, half);
  if (!status) status = mica_product(engine, true, m, n, p, x->vector, half, white);
  for (int64_t i = 0; i < m * n && !status; i++) white[i] /= (double)(a->pairs.n - 1);
  if (!status) status = thin_svd(m, n, white, u, s, v);
  a->x.k = a->y.k = a->correlations = least(o->k, r);
  if (!status) status = mica_product(engine, false, p, r, m, x->vector, u, w);
  if (!status && !(a->x.w = leading(w, p, r, a->x.k))) status = MICA_ERR_MEMORY;
  if (!status) status = mica_product(engine, false, q, r, n, y->vector, v, w);
  if (!status && !(a->y.w = leading(w, q, r, a->y.k))) status = MICA_ERR_MEMORY;
  if (!status && !(a->rho = leading(s, 1, r, a->correlations))) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < a->correlations && !status; i++) a->rho[i] = fmin(1, a->rho[i]);
  double *const owned[] = {w, s, v, u, white, half, cross};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mica_free(owned[i]);
  return status;
}

static mica_status reduce(const mica_engine *engine, const mica_align_options *o,
                          mica_alignment *a) {
  spectrum x = {0}, y = {0};
  const double share = o->reduce == MICA_REDUCE_CCA ? o->variance : 1;
  a->x.k = a->x.d;
  a->y.k = a->y.d;
  a->correlations = 0;
  if (o->reduce == MICA_REDUCE_NONE) return MICA_OK;
  mica_status status = spectrum_of(engine, a, false, share, &x);
  if (!status) status = spectrum_of(engine, a, true, share, &y);
  if (!status)
    status =
        o->reduce == MICA_REDUCE_PCA ? reduce_pca(o, a, &x, &y) : reduce_cca(engine, o, a, &x, &y);
  spectrum_end(&x);
  spectrum_end(&y);
  return status;
}

/* The scatter of the reduced sides: out [left.k, right.k]. */
static mica_status reduced_scatter(const mica_engine *engine, const mica_alignment *a,
                                   bool left_second, bool right_second, double **out) {
  const mica_align_side *l = left_second ? &a->y : &a->x, *r = right_second ? &a->y : &a->x;
  double *s = scatter_block(a, left_second ? a->x.d : 0, l->d, right_second ? a->x.d : 0, r->d);
  mica_status status = s ? MICA_OK : MICA_ERR_MEMORY;
  if (!status && r->w) {
    double *half = numbers(l->d, r->k);
    status = half ? mica_product(engine, false, l->d, r->k, r->d, s, r->w, half) : MICA_ERR_MEMORY;
    mica_free(s);
    s = half;
  }
  if (!status && l->w) {
    double *full = numbers(l->k, r->k);
    status = full ? mica_product(engine, true, l->k, r->k, l->d, l->w, s, full) : MICA_ERR_MEMORY;
    mica_free(s);
    s = full;
  }
  if (status)
    mica_free(s);
  else
    *out = s;
  return status;
}

/* ---- maps ---- */

/* The mean of a side as reduced: 0 where it was centred. */
static double mean_of(const mica_align_side *s, int64_t j) {
  return s->w ? 0 : s->mean[j];
}

/* map = xx^+ cross, where xx [k, k] and cross [k, m]. */
static mica_status least_squares(const mica_engine *engine, int64_t k, int64_t m, const double *xx,
                                 const double *cross, double *map) {
  double *value = numbers(k, 1), *vector = numbers(k, k), *turned = numbers(k, m);
  mica_status status = value && vector && turned ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_serial_eigen(engine, k, xx, value, vector);
  if (!status) status = mica_product(engine, true, k, m, k, vector, cross, turned);
  for (int64_t i = 0; i < k && !status; i++)
    for (int64_t j = 0; j < m; j++)
      turned[i * m + j] = value[i] > ROUNDING * value[k - 1] ? turned[i * m + j] / value[i] : 0;
  if (!status) status = mica_product(engine, false, k, m, k, vector, turned, map);
  mica_free(turned);
  mica_free(vector);
  mica_free(value);
  return status;
}

/* bias = mean of y - mean of x, mapped. */
static void set_bias(mica_alignment *a) {
  for (int64_t j = 0; j < a->outputs; j++) {
    double sum = mean_of(&a->y, j);
    for (int64_t i = 0; i < a->x.k; i++) sum -= mean_of(&a->x, i) * a->map[i * a->outputs + j];
    a->bias[j] = sum;
  }
}

static mica_status fit_affine(const mica_engine *engine, mica_alignment *a, bool bias,
                              const double *xx, const double *cross) {
  const int64_t k = a->x.k, m = a->y.k;
  double *raw = numbers(k, k + m), *other = raw ? raw + k * k : NULL;
  if (!raw) return MICA_ERR_MEMORY;
  const double n = bias ? 0 : (double)a->pairs.n; /* without: products about 0, not the means */
  for (int64_t i = 0; i < k; i++) {
    for (int64_t j = 0; j < k; j++)
      raw[i * k + j] = xx[i * k + j] + n * mean_of(&a->x, i) * mean_of(&a->x, j);
    for (int64_t j = 0; j < m; j++)
      other[i * m + j] = cross[i * m + j] + n * mean_of(&a->x, i) * mean_of(&a->y, j);
  }
  const mica_status status = least_squares(engine, k, m, raw, other, a->map);
  if (!status && bias) set_bias(a);
  mica_free(raw);
  return status;
}

static double deviation(double scatter, int64_t n) {
  const double v = sqrt(fmax(0, scatter) / (double)(n - 1));
  return v > 0 ? v : 1;
}

/* An orthogonal map of centred, and with `standardise` scaled, coordinates: the polar factor of
 * their cross-products. Where one side has fewer columns it is as if padded with zeros. */
static mica_status fit_procrustes(const mica_align_options *o, mica_alignment *a, const double *xx,
                                  const double *yy, const double *cross) {
  const int64_t k = a->x.k, m = a->y.k, r = least(k, m), n = a->pairs.n;
  if (k != m && !o->zero_pad)
    return mica_fail(MICA_ERR_SHAPE,
                     "align: spaces of %lld and of %lld columns have no rotation between them "
                     "without zero_pad",
                     (long long)k, (long long)m);
  double *c = numbers(k, m), *u = numbers(k, r), *v = numbers(m, r), *s = numbers(r, 1);
  double *dx = numbers(k, 1), *dy = numbers(m, 1);
  mica_status status = c && u && v && s && dx && dy ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < k && !status; i++)
    dx[i] = o->standardise ? deviation(xx[i * k + i], n) : 1;
  for (int64_t j = 0; j < m && !status; j++)
    dy[j] = o->standardise ? deviation(yy[j * m + j], n) : 1;
  for (int64_t i = 0; i < k * m && !status; i++) c[i] = cross[i] / (dx[i / m] * dy[i % m]);
  if (!status) status = thin_svd(k, m, c, u, s, v);
  for (int64_t i = 0; i < k && !status; i++)
    for (int64_t j = 0; j < m; j++)
      a->map[i * m + j] = mica_dot(u + i * r, v + j * r, r) / dx[i] * dy[j];
  if (!status) set_bias(a);
  double *const owned[] = {dy, dx, s, v, u, c};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) mica_free(owned[i]);
  return status;
}

static mica_status make_map(const mica_engine *engine, const mica_align_options *o,
                            mica_alignment *a, const double *xx, const double *yy,
                            const double *cross) {
  a->outputs = a->y.k;
  a->bias = mica_calloc((size_t)a->outputs, sizeof *a->bias);
  if (!a->bias) return MICA_ERR_MEMORY;
  if (o->map == MICA_ALIGN_RELATIVE) {
    a->outputs = a->anchors;
    return MICA_OK;
  }
  if (o->map == MICA_ALIGN_NONE) {
    if (a->x.k == a->y.k) return MICA_OK;
    return mica_fail(MICA_ERR_SHAPE,
                     "align: spaces of %lld and of %lld columns cannot be compared without a map",
                     (long long)a->x.k, (long long)a->y.k);
  }
  a->map = numbers(a->x.k, a->outputs);
  if (!a->map) return MICA_ERR_MEMORY;
  if (o->map == MICA_ALIGN_PROCRUSTES) return fit_procrustes(o, a, xx, yy, cross);
  return fit_affine(engine, a, o->map == MICA_ALIGN_AFFINE, xx, cross);
}

/* Scatters divided by the scale of their columns. */
static void scale_scatter(const mica_align_side *l, const mica_align_side *r, double *s) {
  for (int64_t i = 0; i < l->k * r->k; i++) s[i] /= l->scale[i / r->k] * r->scale[i % r->k];
}

static mica_status make_scales(const mica_align_options *o, mica_alignment *a, const double *xx,
                               const double *yy) {
  a->x.scale = numbers(a->x.k, 1);
  a->y.scale = numbers(a->y.k, 1);
  if (!a->x.scale || !a->y.scale) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < a->x.k; i++)
    a->x.scale[i] = o->standardise ? deviation(xx[i * a->x.k + i], a->pairs.n) : 1;
  for (int64_t i = 0; i < a->y.k; i++)
    a->y.scale[i] = o->standardise ? deviation(yy[i * a->y.k + i], a->pairs.n) : 1;
  return MICA_OK;
}

static mica_status split_means(mica_alignment *a) {
  a->x.mean = numbers(a->x.d, 1);
  a->y.mean = numbers(a->y.d, 1);
  if (!a->x.mean || !a->y.mean) return MICA_ERR_MEMORY;
  memcpy(a->x.mean, a->pairs.mean, (size_t)a->x.d * sizeof(double));
  memcpy(a->y.mean, a->pairs.mean + a->x.d, (size_t)a->y.d * sizeof(double));
  return MICA_OK;
}

mica_status mica_alignment_derive(const mica_engine *engine, const mica_align_options *o,
                                  mica_alignment *a) {
  forget_derived(a);
  if (a->pairs.n < 2)
    return mica_fail(MICA_ERR_INVALID, "align: %lld pairs, expected at least 2",
                     (long long)a->pairs.n);
  mica_status status = split_means(a);
  if (!status) status = reduce(engine, o, a);
  if (!status) status = reduced_scatter(engine, a, false, false, &a->xx);
  if (!status) status = reduced_scatter(engine, a, true, true, &a->yy);
  if (!status) status = reduced_scatter(engine, a, false, true, &a->cross);
  if (!status) status = make_scales(o, a, a->xx, a->yy);
  if (!status) status = make_map(engine, o, a, a->xx, a->yy, a->cross);
  if (!status && !(a->target = numbers(a->y.k, 1))) status = MICA_ERR_MEMORY;
  for (int64_t j = 0; j < a->y.k && !status; j++) a->target[j] = mean_of(&a->y, j);
  if (status) return status;
  scale_scatter(&a->x, &a->x, a->xx);
  scale_scatter(&a->y, &a->y, a->yy);
  scale_scatter(&a->x, &a->y, a->cross);
  return MICA_OK;
}

/* ---- rows ---- */

typedef struct reduction {
  const mica_engine *engine;
  const mica_align_side *side;
  const mica_view *rows;
  bool centred;
  double *out;
} reduction;

static mica_status reduce_chunk(void *ctx, int64_t chunk, void *scratch) {
  const reduction *r = ctx;
  const mica_align_side *s = r->side;
  const int64_t n = mica_rows_n(r->rows), from = chunk * block;
  const int64_t to = n - from < block ? n : from + block;
  double *out = r->out + from * s->k;
  mica_rows_load(r->rows, from, to, s->w || r->centred ? s->mean : NULL, s->w ? scratch : out);
  if (!s->w) return MICA_OK;
  return mica_gemm(r->engine, MICA_F64, false, false, to - from, s->k, s->d, 1, scratch, s->d, s->w,
                   s->k, 0, out, s->k);
}

mica_status mica_align_reduce(const mica_engine *engine, const mica_align_side *side,
                              const mica_view *rows, bool centred, double *out) {
  reduction r = {engine, side, rows, centred, out};
  return mica_chunks_run(engine, mica_chunks_of(mica_rows_n(rows), block),
                         (size_t)(block * side->d) * sizeof(double), reduce_chunk, &r);
}

mica_status mica_alignment_keep(const mica_engine *engine, const mica_align_options *o,
                                mica_alignment *a, const mica_view *x, const mica_view *y) {
  const int64_t n = mica_rows_n(x), all = a->anchors + n;
  double *ax = mica_realloc_array(a->ax, (size_t)all, (size_t)a->x.k * sizeof *ax);
  if (!ax) return MICA_ERR_MEMORY;
  a->ax = ax;
  double *ay = mica_realloc_array(a->ay, (size_t)all, (size_t)a->y.k * sizeof *ay);
  if (!ay) return MICA_ERR_MEMORY;
  a->ay = ay;
  mica_status status = mica_align_reduce(engine, &a->x, x, o->centre, ax + a->anchors * a->x.k);
  if (!status) status = mica_align_reduce(engine, &a->y, y, o->centre, ay + a->anchors * a->y.k);
  if (status) return status;
  mica_rows_normalise(ax + a->anchors * a->x.k, n, a->x.k);
  mica_rows_normalise(ay + a->anchors * a->y.k, n, a->y.k);
  a->anchors = a->outputs = all;
  return MICA_OK;
}
