/* Subspaces and steps among them (Edelman, Arias & Smith 1998). Dimensions are few, so all is
 * worked in float64 by one thread for each class.
 */
#include "numeric/subspace.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/kernel/factor.h"

#include <math.h>
#include <string.h>

static void load(mica_dtype dtype, const void *from, int64_t at, int64_t n, double *to) {
  for (int64_t i = 0; i < n; i++)
    to[i] =
        dtype == MICA_F32 ? (double)((const float *)from)[at + i] : ((const double *)from)[at + i];
}

static void store(mica_dtype dtype, const double *from, int64_t n, void *to, int64_t at) {
  for (int64_t i = 0; i < n; i++)
    if (dtype == MICA_F32)
      ((float *)to)[at + i] = (float)from[i];
    else
      ((double *)to)[at + i] = from[i];
}

static bool all_finite(const double *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return false;
  return true;
}

static void add_scaled(int64_t n, double by, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] += by * x[i];
}

/* The dimensions of a class: its last rows may be zero, where others have more. */
static int64_t dims_of(int64_t dim, int64_t in, const double *s) {
  while (dim > 0 && mica_sum_squares(s + (dim - 1) * in, in) == 0) dim--;
  return dim;
}

/* Gram-Schmidt, each row twice: after that what is left of the others is rounding. */
static bool orthonormal(int64_t dim, int64_t in, double *s) {
  for (int64_t i = 0; i < dim; i++) {
    double *row = s + i * in;
    const double before = sqrt(mica_sum_squares(row, in));
    for (int pass = 0; pass < 2; pass++)
      for (int64_t j = 0; j < i; j++)
        add_scaled(in, -mica_dot(s + j * in, row, in), s + j * in, row);
    const double length = sqrt(mica_sum_squares(row, in));
    if (!(length > 1e-12 * before)) return false;
    for (int64_t k = 0; k < in; k++) row[k] /= length;
  }
  return true;
}

/* Turn the rows whose place on R's diagonal Householder's reflections would make negative; `before`
 * is what the rows were, work has dim (in + 2) elements. */
static void householder_signs(int64_t dim, int64_t in, const double *before, double *s,
                              double *work) {
  double *a = work, *tau = a + dim * in, *more = tau + dim;
  for (int64_t i = 0; i < dim; i++)
    for (int64_t k = 0; k < in; k++) a[k * dim + i] = before[i * in + k];
  mica_factor_qr(in, dim, a, tau, more);
  for (int64_t i = 0; i < dim; i++)
    for (int64_t k = 0; k < in && a[i * dim + i] < 0; k++) s[i * in + k] = -s[i * in + k];
}

mica_status mica_subspaces_orthonormalise(mica_dtype dtype, int64_t classes, int64_t dim,
                                          int64_t in, void *weight) {
  const int64_t n = dim * in;
  double *s = mica_malloc((size_t)(n > 0 ? n : 1) * sizeof *s);
  mica_status status = s ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t c = 0; c < classes && status == MICA_OK; c++) {
    load(dtype, weight, c * n, n, s);
    if (!orthonormal(dims_of(dim, in, s), in, s))
      status =
          mica_fail(MICA_ERR_NUMERIC, "subspace %lld: its rows depend on each other", (long long)c);
    else
      store(dtype, s, n, weight, c * n);
  }
  mica_free(s);
  return status;
}

/* g less its part along the rows of s. */
static void horizontal(int64_t dim, int64_t in, const double *s, double *g) {
  for (int64_t i = 0; i < dim; i++)
    for (int64_t j = 0; j < dim; j++) {
      const double along = mica_dot(g + i * in, s + j * in, in);
      add_scaled(in, -along, s + j * in, g + i * in);
    }
}

/* Along the geodesic: with g = u diag(v) w, s becomes u (cos(rate v) u^T s - sin(rate v) w). u and
 * v^2 are those of g g^T, and v w = u^T g: what that loses of small v is as small in the result. */
static bool along_geodesic(int64_t dim, int64_t in, double rate, double *s, const double *g,
                           double *work) {
  double *turned = work, *gram = turned + dim * in, *u = gram + dim * dim, *v = u + dim * dim;
  for (int64_t i = 0; i < dim; i++)
    for (int64_t j = 0; j < dim; j++) gram[i * dim + j] = mica_dot(g + i * in, g + j * in, in);
  if (!mica_factor_eigen(dim, gram, v, u, v + dim)) return false;
  memset(turned, 0, (size_t)(dim * in) * sizeof *turned);
  for (int64_t i = 0; i < dim; i++) {
    const double length = sqrt(fmax(v[i], 0)), angle = rate * length;
    const double along = length > 0 ? sin(angle) / length : rate;
    for (int64_t j = 0; j < dim; j++) {
      add_scaled(in, u[j * dim + i] * cos(angle), s + j * in, turned + i * in);
      add_scaled(in, -u[j * dim + i] * along, g + j * in, turned + i * in);
    }
  }
  memset(s, 0, (size_t)(dim * in) * sizeof *s);
  for (int64_t i = 0; i < dim; i++)
    for (int64_t j = 0; j < dim; j++) add_scaled(in, u[i * dim + j], turned + j * in, s + i * in);
  return true;
}

typedef struct job {
  const mica_subspace_step *step;
  mica_dtype dtype;
  int64_t dim, in;
  const void *gradient;
  void *weight;
} job;

static mica_status step_class(void *ctx, int64_t c, void *scratch) {
  const job *j = ctx;
  const int64_t n = j->dim * j->in;
  double *s = scratch, *g = s + n, *work = g + n;
  load(j->dtype, j->weight, c * n, n, s);
  load(j->dtype, j->gradient, c * n, n, g);
  if (!all_finite(g, n) || !all_finite(s, n))
    return mica_fail(MICA_ERR_NUMERIC, "subspace %lld: its gradient or value is not finite",
                     (long long)c);
  const int64_t dim = dims_of(j->dim, j->in, s), own = dim * j->in;
  horizontal(dim, j->in, s, g);
  bool done = true;
  if (j->step->geodesic)
    done = along_geodesic(dim, j->in, j->step->rate, s, g, work);
  else
    add_scaled(own, -j->step->rate, g, s);
  if (done && (j->step->orthonormalise || !j->step->geodesic)) {
    memcpy(g, s, (size_t)own * sizeof *g);
    done = orthonormal(dim, j->in, s);
    if (done && j->step->householder) householder_signs(dim, j->in, g, s, work);
  }
  if (!done) return mica_fail(MICA_ERR_NUMERIC, "subspace %lld: no step", (long long)c);
  store(j->dtype, s, n, j->weight, c * n);
  return MICA_OK;
}

mica_status mica_subspaces_step(const mica_engine *engine, const mica_subspace_step *step,
                                mica_dtype dtype, int64_t classes, int64_t dim, int64_t in,
                                const void *gradient, void *weight) {
  job j = {step, dtype, dim, in, gradient, weight};
  const int64_t n = dim * in;
  return mica_chunks_run(
      engine, classes, (size_t)(3 * n + 4 * dim + 2 * dim * dim) * sizeof(double), step_class, &j);
}

/* ---- looking at them ---- */

static mica_status check(const mica_view *w, const char *what) {
  char text[128];
  if (w->shape.rank == 3 && (w->dtype == MICA_F32 || w->dtype == MICA_F64) &&
      mica_view_contiguous(w) && w->shape.dim[1] <= w->shape.dim[2])
    return MICA_OK;
  return mica_fail(MICA_ERR_SHAPE, "%s: %s %s, expected float [classes, dim, in], dim <= in", what,
                   mica_dtype_name(w->dtype), mica_shape_text(&w->shape, text, sizeof text));
}

mica_status mica_subspaces_error(const mica_view *weight, double *error) {
  const mica_status status = check(weight, "subspaces");
  if (status != MICA_OK) return status;
  const int64_t dim = weight->shape.dim[1], in = weight->shape.dim[2];
  double *s = mica_malloc((size_t)(dim * in > 0 ? dim * in : 1) * sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  *error = 0;
  for (int64_t c = 0; c < weight->shape.dim[0]; c++) {
    load(weight->dtype, weight->data, c * dim * in, dim * in, s);
    const int64_t own = dims_of(dim, in, s), rows = own ? own : dim;
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j <= i; j++) {
        const double off = fabs(mica_dot(s + i * in, s + j * in, in) - (i == j));
        *error = isnan(off) ? INFINITY : fmax(*error, off);
      }
  }
  mica_free(s);
  return MICA_OK;
}

mica_status mica_subspace_angles(const mica_view *weight, int64_t first, int64_t second,
                                 double *angle) {
  const mica_status status = check(weight, "subspace angles");
  if (status != MICA_OK) return status;
  const int64_t dim = weight->shape.dim[1], in = weight->shape.dim[2];
  if (first < 0 || second < 0 || first >= weight->shape.dim[0] || second >= weight->shape.dim[0])
    return mica_fail(MICA_ERR_INVALID, "subspaces %lld and %lld of %lld", (long long)first,
                     (long long)second, (long long)weight->shape.dim[0]);
  double *a = mica_malloc((size_t)(2 * dim * in + dim * dim + dim + 1) * sizeof *a);
  if (!a) return MICA_ERR_MEMORY;
  double *b = a + dim * in, *product = b + dim * in, *cosine = product + dim * dim;
  load(weight->dtype, weight->data, first * dim * in, dim * in, a);
  load(weight->dtype, weight->data, second * dim * in, dim * in, b);
  for (int64_t i = 0; i < dim; i++)
    for (int64_t j = 0; j < dim; j++) product[i * dim + j] = mica_dot(a + i * in, b + j * in, in);
  const bool done =
      all_finite(product, dim * dim) && mica_factor_svd(dim, dim, product, cosine, NULL);
  for (int64_t i = 0; i < dim && done; i++) angle[i] = acos(fmin(cosine[i], 1));
  mica_free(a);
  return done ? MICA_OK : mica_fail(MICA_ERR_NUMERIC, "subspace angles: not finite");
}

mica_status mica_subspaces_horizontal(const mica_view *weight, const mica_view *gradient,
                                      double *out) {
  mica_status status = check(weight, "subspaces");
  if (status == MICA_OK) status = check(gradient, "gradient of subspaces");
  if (status == MICA_OK && !mica_shape_equal(&weight->shape, &gradient->shape))
    status = mica_fail(MICA_ERR_SHAPE, "subspaces and their gradient differ in shape");
  if (status != MICA_OK) return status;
  const int64_t dim = weight->shape.dim[1], in = weight->shape.dim[2], n = dim * in;
  double *s = mica_malloc((size_t)(n > 0 ? n : 1) * sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  for (int64_t c = 0; c < weight->shape.dim[0]; c++) {
    load(weight->dtype, weight->data, c * n, n, s);
    load(gradient->dtype, gradient->data, c * n, n, out + c * n);
    horizontal(dim, in, s, out + c * n);
  }
  mica_free(s);
  return MICA_OK;
}
