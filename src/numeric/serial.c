/* Factorisations in one thread, and products in strips.
 *
 * Eigenvectors: Householder's reduction to a tridiagonal matrix, then QR steps with Wilkinson's
 * shift (Golub and Van Loan, 4th edition, 8.3), the vectors kept as rows so that every inner loop
 * runs along memory.
 */
#include "numeric/serial.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- symmetric eigenvalues ---- */

/* One reflection I - 2 v v^T that clears column k of a below the subdiagonal; vectors' columns
 * follow. */
static void reflect(int64_t n, int64_t k, double *a, double *vectors, double *v, double *w) {
  int64_t m = n - k - 1;
  for (int64_t i = 0; i < m; i++) v[i] = a[(k + 1 + i) * n + k];
  double length = sqrt(mica_sum_squares(v, m));
  if (!(mica_sum_squares(v + 1, m - 1) > 0)) return;
  double head = copysign(length, v[0]);
  v[0] += head;
  double size = sqrt(mica_sum_squares(v, m));
  for (int64_t i = 0; i < m; i++) v[i] /= size;
  for (int64_t i = 0; i < m; i++) w[i] = mica_dot(a + (k + 1 + i) * n + k + 1, v, m);
  double along = mica_dot(v, w, m);
  for (int64_t i = 0; i < m; i++) w[i] = 2 * (w[i] - along * v[i]);
  for (int64_t i = 0; i < m; i++) {
    double *row = a + (k + 1 + i) * n + k + 1;
    for (int64_t j = 0; j < m; j++) row[j] -= v[i] * w[j] + w[i] * v[j];
  }
  a[(k + 1) * n + k] = -head;
  /* The rows of `vectors` are Q^T: Q^T becomes (I - 2 v v^T) Q^T. */
  memset(w, 0, (size_t)n * sizeof *w);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) w[j] += v[i] * vectors[(k + 1 + i) * n + j];
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) vectors[(k + 1 + i) * n + j] -= 2 * v[i] * w[j];
}

/* One implicit step on the unreduced block p..q of diagonal d and subdiagonal e. */
static void qr_step(int64_t n, int64_t p, int64_t q, double *d, double *e, double *vectors) {
  double delta = (d[q - 1] - d[q]) / 2, last = e[q - 1];
  double shift = d[q] - last * last / (delta + copysign(hypot(delta, last), delta));
  double x = d[p] - shift, z = e[p];
  for (int64_t k = p; k < q; k++) {
    double r = hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
    double a = d[k], b = e[k], f = d[k + 1];
    if (k > p) e[k - 1] = r;
    d[k] = c * c * a + 2 * c * s * b + s * s * f;
    d[k + 1] = s * s * a - 2 * c * s * b + c * c * f;
    e[k] = c * s * (f - a) + (c * c - s * s) * b;
    if (k < q - 1) {
      x = e[k];
      z = s * e[k + 1];
      e[k + 1] *= c;
    }
    double *first = vectors + k * n, *second = first + n;
    for (int64_t j = 0; j < n; j++) {
      double t = c * first[j] + s * second[j];
      second[j] = c * second[j] - s * first[j];
      first[j] = t;
    }
  }
}

static mica_status diagonalise(int64_t n, double *d, double *e, double *vectors) {
  int64_t q = n - 1, steps = 0;
  while (q > 0) {
    if (fabs(e[q - 1]) <= DBL_EPSILON * (fabs(d[q - 1]) + fabs(d[q])) || e[q - 1] == 0) {
      e[--q] = 0;
      continue;
    }
    int64_t p = q - 1;
    while (p > 0 && fabs(e[p - 1]) > DBL_EPSILON * (fabs(d[p - 1]) + fabs(d[p]))) p--;
    if (steps++ > 60 * n)
      return mica_fail(MICA_ERR_NUMERIC, "eigenvalues of a %lld x %lld matrix do not converge",
                       (long long)n, (long long)n);
    qr_step(n, p, q, d, e, vectors);
  }
  return MICA_OK;
}

mica_status mica_serial_eigen(const mica_engine *engine, int64_t n, const double *a, double *values,
                              double *vectors) {
  (void)engine;
  size_t size = (size_t)n * (size_t)n;
  double *work = mica_malloc((2 * size + 4 * (size_t)n) * sizeof *work);
  if (!work) return MICA_ERR_MEMORY;
  double *rows = work + size, *d = rows + size, *e = d + n, *v = e + n, *w = v + n, sum = 0;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j <= i; j++) {
      work[i * n + j] = work[j * n + i] = a[i * n + j];
      sum += 0 * a[i * n + j];
    }
  memset(rows, 0, size * sizeof *rows);
  for (int64_t i = 0; i < n; i++) rows[i * n + i] = 1;
  for (int64_t k = 0; k + 2 < n; k++) reflect(n, k, work, rows, v, w);
  for (int64_t i = 0; i < n; i++) d[i] = work[i * n + i];
  for (int64_t i = 0; i + 1 < n; i++) e[i] = work[(i + 1) * n + i];
  mica_status status =
      sum == 0 ? diagonalise(n, d, e, rows)
               : mica_fail(MICA_ERR_NUMERIC, "eigenvalues of a matrix that is not finite");
  for (int64_t i = 0; i < n && !status; i++) { /* ascending */
    int64_t least = i;
    for (int64_t j = i + 1; j < n; j++)
      if (d[j] < d[least]) least = j;
    values[i] = d[least];
    d[least] = d[i];
    for (int64_t j = 0; j < n; j++) {
      double t = rows[least * n + j];
      rows[least * n + j] = rows[i * n + j];
      rows[i * n + j] = t;
      if (vectors) vectors[j * n + i] = t;
    }
  }
  mica_free(work);
  return status;
}

/* ---- Cholesky ---- */

/* The lower triangle of a becomes L. */
static mica_status cholesky(int64_t n, double *a) {
  for (int64_t i = 0; i < n; i++) {
    double *row = a + i * n;
    for (int64_t j = 0; j < i; j++) row[j] = (row[j] - mica_dot(row, a + j * n, j)) / a[j * n + j];
    double rest = row[i] - mica_sum_squares(row, i);
    if (!(rest > 0) || !isfinite(rest))
      return mica_fail(MICA_ERR_NUMERIC, "the matrix is not positive definite");
    row[i] = sqrt(rest);
  }
  return MICA_OK;
}

/* b [n, columns] becomes L^-1 b, or with `trans` L^-T b. */
static void solve_triangle(int64_t n, int64_t columns, bool trans, const double *l, double *b) {
  for (int64_t step = 0; step < n; step++) {
    int64_t i = trans ? n - 1 - step : step;
    double *row = b + i * columns;
    for (int64_t k = trans ? i + 1 : 0; k < (trans ? n : i); k++) {
      double weight = trans ? l[k * n + i] : l[i * n + k];
      for (int64_t c = 0; c < columns; c++) row[c] -= weight * b[k * columns + c];
    }
    for (int64_t c = 0; c < columns; c++) row[c] /= l[i * n + i];
  }
}

mica_status mica_serial_solve(const mica_engine *engine, int64_t n, int64_t columns,
                              const double *a, double *b) {
  (void)engine;
  double *l = mica_malloc((size_t)n * (size_t)n * sizeof *l);
  if (!l) return MICA_ERR_MEMORY;
  memcpy(l, a, (size_t)n * (size_t)n * sizeof *l);
  mica_status status = cholesky(n, l);
  if (!status) solve_triangle(n, columns, false, l, b);
  if (!status) solve_triangle(n, columns, true, l, b);
  mica_free(l);
  return status;
}

mica_status mica_serial_whitening(const mica_engine *engine, int64_t n, double *a,
                                  double *inverse) {
  (void)engine;
  mica_status status = cholesky(n, a);
  if (status) return status;
  memset(inverse, 0, (size_t)n * (size_t)n * sizeof *inverse);
  for (int64_t i = 0; i < n; i++) { /* row i of L^-1 from the rows above it */
    double *row = inverse + i * n;
    row[i] = 1;
    for (int64_t k = 0; k < i; k++)
      for (int64_t c = 0; c <= k; c++) row[c] -= a[i * n + k] * inverse[k * n + c];
    for (int64_t c = 0; c <= i; c++) row[c] /= a[i * n + i];
  }
  return MICA_OK;
}

/* ---- products ---- */

typedef struct {
  const mica_engine *engine;
  bool trans;
  int64_t m, n, k;
  const double *a, *b;
  double *out;
} product;

enum { strip = 64 };

static mica_status product_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const product *p = ctx;
  int64_t from = chunk * strip, rows = p->m - from < strip ? p->m - from : strip;
  return mica_gemm(p->engine, MICA_F64, p->trans, false, rows, p->n, p->k, 1,
                   p->a + (p->trans ? from : from * p->k), p->trans ? p->m : p->k, p->b, p->n, 0,
                   p->out + from * p->n, p->n);
}

mica_status mica_product(const mica_engine *engine, bool trans, int64_t m, int64_t n, int64_t k,
                         const double *a, const double *b, double *out) {
  product p = {engine, trans, m, n, k, a, b, out};
  return mica_chunks_run(engine, mica_chunks_of(m, strip), 0, product_chunk, &p);
}
