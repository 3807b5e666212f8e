#include "tensor/kernel/factor.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SWEEPS = 60 }; /* Jacobi needs about ten */

static double dot(int64_t n, const double *a, const double *b) {
  double sum[4] = {0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int l = 0; l < 4; l++) sum[l] += a[i + l] * b[i + l];
  for (; i < n; i++) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void add_scaled(int64_t n, double alpha, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

bool mica_factor_cholesky(int64_t n, double *a) {
  for (int64_t i = 0; i < n; i++) {
    double *row = a + i * n;
    for (int64_t j = 0; j < i; j++) row[j] = (row[j] - dot(j, row, a + j * n)) / a[j * n + j];
    const double left = row[i] - dot(i, row, row);
    if (!(left > 0 && left <= DBL_MAX)) return false;
    row[i] = sqrt(left);
  }
  return true;
}

void mica_factor_triangular(bool lower, bool trans, int64_t n, int64_t nrhs, const double *t,
                            double *b) {
  /* op(t) is lower, and so solved from the top, when exactly one of the two holds. */
  const bool down = lower != trans;
  for (int64_t step = 0; step < n; step++) {
    const int64_t i = down ? step : n - 1 - step;
    double *row = b + i * nrhs;
    for (int64_t k = 0; k < nrhs; k++) row[k] /= t[i * n + i];
    const int64_t begin = down ? i + 1 : 0, end = down ? n : i;
    for (int64_t j = begin; j < end; j++)
      add_scaled(nrhs, -(trans ? t[i * n + j] : t[j * n + i]), row, b + j * nrhs);
  }
}

static void swap_rows(int64_t n, double *a, double *b) {
  for (int64_t i = 0; i < n; i++) {
    const double x = a[i];
    a[i] = b[i];
    b[i] = x;
  }
}

bool mica_factor_lu(int64_t n, double *a, int64_t *pivot) {
  bool regular = true;
  for (int64_t k = 0; k < n; k++) {
    int64_t best = k;
    for (int64_t i = k + 1; i < n; i++)
      if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
    pivot[k] = best;
    if (best != k) swap_rows(n, a + k * n, a + best * n);
    const double p = a[k * n + k];
    if (p == 0) {
      regular = false;
      continue;
    }
    for (int64_t i = k + 1; i < n; i++) {
      const double factor = a[i * n + k] / p;
      a[i * n + k] = factor;
      add_scaled(n - k - 1, -factor, a + k * n + k + 1, a + i * n + k + 1);
    }
  }
  return regular;
}

void mica_factor_lu_solve(int64_t n, int64_t nrhs, const double *lu, const int64_t *pivot,
                          double *b) {
  for (int64_t i = 0; i < n; i++)
    if (pivot[i] != i) swap_rows(nrhs, b + i * nrhs, b + pivot[i] * nrhs);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < i; j++) add_scaled(nrhs, -lu[i * n + j], b + j * nrhs, b + i * nrhs);
  mica_factor_triangular(false, false, n, nrhs, lu, b);
}

/* Rows [k, m) of columns [column, n) of a := (I - tau v v^T) a, where v is 1 at row k and v[i *
 * ldv] below; row by row, so that memory is read in order. */
static void reflect(int64_t m, int64_t k, double tau, const double *v, int64_t ldv, double *a,
                    int64_t lda, int64_t column, int64_t n, double *work) {
  if (tau == 0 || column >= n) return;
  const int64_t width = n - column;
  memcpy(work, a + k * lda + column, (size_t)width * sizeof *work);
  for (int64_t i = k + 1; i < m; i++) add_scaled(width, v[i * ldv], a + i * lda + column, work);
  add_scaled(width, -tau, work, a + k * lda + column);
  for (int64_t i = k + 1; i < m; i++)
    add_scaled(width, -tau * v[i * ldv], work, a + i * lda + column);
}

void mica_factor_qr(int64_t m, int64_t n, double *a, double *tau, double *work) {
  const int64_t r = m < n ? m : n;
  for (int64_t k = 0; k < r; k++) {
    double scale = 0, sum = 0;
    for (int64_t i = k + 1; i < m; i++) scale = fmax(scale, fabs(a[i * n + k]));
    if (scale == 0) {
      tau[k] = 0;
      continue;
    }
    scale = fmax(scale, fabs(a[k * n + k]));
    for (int64_t i = k; i < m; i++) sum += a[i * n + k] / scale * (a[i * n + k] / scale);
    const double alpha = a[k * n + k], beta = -copysign(scale * sqrt(sum), alpha);
    tau[k] = (beta - alpha) / beta;
    for (int64_t i = k + 1; i < m; i++) a[i * n + k] /= alpha - beta;
    a[k * n + k] = beta;
    reflect(m, k, tau[k], a + k, n, a, n, k + 1, n, work);
  }
}

void mica_factor_qr_form(int64_t m, int64_t n, int64_t r, const double *a, const double *tau,
                         double *q, double *work) {
  memset(q, 0, (size_t)(m * r) * sizeof *q);
  for (int64_t i = 0; i < r; i++) q[i * r + i] = 1;
  for (int64_t k = r; k-- > 0;) reflect(m, k, tau[k], a + k, n, q, r, k, r, work);
}

static void rotate_rows(int64_t n, double c, double s, double *a, double *b) {
  for (int64_t i = 0; i < n; i++) {
    const double x = a[i], y = b[i];
    a[i] = c * x - s * y;
    b[i] = s * x + c * y;
  }
}

static double largest(int64_t n, const double *a) {
  double most = 0;
  for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i]));
  return most;
}

/* ---- symmetric eigenvalues: Householder's reduction to a tridiagonal matrix, then QR steps with
 * Wilkinson's shift (8.3), the vectors kept as rows so that every inner loop runs along memory ----
 */

/* One reflection I - 2 v v^T that clears column k of a below the subdiagonal; the rows of `rows`,
 * which are Q^T unless it is NULL, follow. v and w have n elements. */
static void reduce_column(int64_t n, int64_t k, double *a, double *rows, double *v, double *w) {
  const int64_t m = n - k - 1;
  for (int64_t i = 0; i < m; i++) v[i] = a[(k + 1 + i) * n + k];
  if (!(dot(m - 1, v + 1, v + 1) > 0)) return;
  const double head = copysign(sqrt(dot(m, v, v)), v[0]);
  v[0] += head;
  const double size = sqrt(dot(m, v, v));
  for (int64_t i = 0; i < m; i++) v[i] /= size;
  for (int64_t i = 0; i < m; i++) w[i] = dot(m, a + (k + 1 + i) * n + k + 1, v);
  const double along = dot(m, v, w);
  for (int64_t i = 0; i < m; i++) w[i] = 2 * (w[i] - along * v[i]);
  for (int64_t i = 0; i < m; i++) {
    double *row = a + (k + 1 + i) * n + k + 1;
    for (int64_t j = 0; j < m; j++) row[j] -= v[i] * w[j] + w[i] * v[j];
  }
  a[(k + 1) * n + k] = -head;
  if (!rows) return;
  memset(w, 0, (size_t)n * sizeof *w);
  for (int64_t i = 0; i < m; i++) add_scaled(n, v[i], rows + (k + 1 + i) * n, w);
  for (int64_t i = 0; i < m; i++) add_scaled(n, -2 * v[i], w, rows + (k + 1 + i) * n);
}

/* One implicit step on the unreduced block p..q of diagonal d and subdiagonal e. */
static void qr_step(int64_t n, int64_t p, int64_t q, double *d, double *e, double *rows) {
  const double delta = (d[q - 1] - d[q]) / 2, last = e[q - 1];
  const double shift = d[q] - last * last / (delta + copysign(hypot(delta, last), delta));
  double x = d[p] - shift, z = e[p];
  for (int64_t k = p; k < q; k++) {
    const double r = hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
    const double a = d[k], b = e[k], f = d[k + 1];
    if (k > p) e[k - 1] = r;
    d[k] = c * c * a + 2 * c * s * b + s * s * f;
    d[k + 1] = s * s * a - 2 * c * s * b + c * c * f;
    e[k] = c * s * (f - a) + (c * c - s * s) * b;
    if (k < q - 1) {
      x = e[k];
      z = s * e[k + 1];
      e[k + 1] *= c;
    }
    if (rows) rotate_rows(n, c, -s, rows + k * n, rows + (k + 1) * n);
  }
}

static bool diagonalise(int64_t n, double *d, double *e, double *rows) {
  int64_t q = n - 1, steps = 0;
  while (q > 0) {
    if (fabs(e[q - 1]) <= DBL_EPSILON * (fabs(d[q - 1]) + fabs(d[q]))) {
      e[--q] = 0;
      continue;
    }
    int64_t p = q - 1;
    while (p > 0 && fabs(e[p - 1]) > DBL_EPSILON * (fabs(d[p - 1]) + fabs(d[p]))) p--;
    if (steps++ > SWEEPS * n) return false;
    qr_step(n, p, q, d, e, rows);
  }
  return true;
}

bool mica_factor_eigen(int64_t n, double *a, double *values, double *vectors, double *work) {
  double *e = work, *v = e + n, *w = v + n;
  if (vectors) {
    memset(vectors, 0, (size_t)(n * n) * sizeof *vectors);
    for (int64_t i = 0; i < n; i++) vectors[i * n + i] = 1;
  }
  /* Work on a scaled matrix, so that squares neither overflow nor vanish. */
  const double scale = largest(n * n, a);
  for (int64_t i = 0; i < n * n && scale > 0; i++) a[i] /= scale;
  for (int64_t k = 0; k + 2 < n; k++) reduce_column(n, k, a, vectors, v, w);
  for (int64_t i = 0; i < n; i++) values[i] = a[i * n + i];
  for (int64_t i = 0; i + 1 < n; i++) e[i] = a[(i + 1) * n + i];
  const bool converged = diagonalise(n, values, e, vectors);
  for (int64_t i = 0; i < n; i++) { /* ascending, by selection: a swap moves a row */
    int64_t least = i;
    for (int64_t j = i + 1; j < n; j++)
      if (values[j] < values[least]) least = j;
    if (least != i) {
      swap_rows(1, values + i, values + least);
      if (vectors) swap_rows(n, vectors + i * n, vectors + least * n);
    }
    values[i] *= scale;
  }
  for (int64_t i = 0; vectors && i < n; i++) /* rows become columns */
    for (int64_t j = 0; j < i; j++) swap_rows(1, vectors + i * n + j, vectors + j * n + i);
  return converged;
}

/* ---- singular values: one-sided Jacobi ---- */

/* The rotation that makes the symmetric [[p, x], [x, q]] diagonal, by the smaller angle. */
static void rotation(double p, double x, double q, double *c, double *s) {
  const double theta = (q - p) / (2 * x);
  const double t = copysign(1 / (fabs(theta) + hypot(theta, 1)), theta);
  *c = 1 / hypot(t, 1);
  *s = t * *c;
}

static void rotate_columns(int64_t n, int64_t ld, double c, double s, double *a, double *b) {
  for (int64_t i = 0; i < n; i++) {
    const double x = a[i * ld], y = b[i * ld];
    a[i * ld] = c * x - s * y;
    b[i * ld] = s * x + c * y;
  }
}

bool mica_factor_svd(int64_t r, int64_t n, double *a, double *s, double *u) {
  if (u) {
    memset(u, 0, (size_t)(r * r) * sizeof *u);
    for (int64_t i = 0; i < r; i++) u[i * r + i] = 1;
  }
  const double scale = largest(r * n, a);
  if (scale > 0)
    for (int64_t i = 0; i < r * n; i++) a[i] /= scale;
  bool converged = scale == 0 || r < 2;
  for (int sweep = 0; sweep < SWEEPS && !converged; sweep++) {
    converged = true;
    for (int64_t p = 0; p < r; p++)
      for (int64_t q = p + 1; q < r; q++) {
        double *x = a + p * n, *y = a + q * n;
        const double xx = dot(n, x, x), yy = dot(n, y, y), xy = dot(n, x, y);
        if (fabs(xy) <= DBL_EPSILON * sqrt(xx) * sqrt(yy) || fabs(xy) < DBL_MIN) continue;
        converged = false;
        double c, sine;
        rotation(xx, xy, yy, &c, &sine);
        rotate_rows(n, c, sine, x, y);
        if (u) rotate_columns(r, r, c, sine, u + p, u + q);
      }
  }
  for (int64_t i = 0; i < r; i++) s[i] = sqrt(dot(n, a + i * n, a + i * n));
  for (int64_t i = 0; i < r; i++) {
    int64_t most = i;
    for (int64_t j = i + 1; j < r; j++)
      if (s[j] > s[most]) most = j;
    if (most == i) continue;
    swap_rows(1, s + i, s + most);
    swap_rows(n, a + i * n, a + most * n);
    for (int64_t k = 0; u && k < r; k++) swap_rows(1, u + k * r + i, u + k * r + most);
  }
  /* Unit rows; where a singular value vanishes, rows that complete the others: of the axes, the one
   * that keeps most after what is there has been taken out, twice for accuracy. */
  const double tiny = r > 0 ? s[0] * DBL_EPSILON * (double)n * 0.25 : 0;
  for (int64_t i = 0; i < r; i++) {
    double *row = a + i * n;
    if (s[i] > tiny) {
      for (int64_t k = 0; k < n; k++) row[k] /= s[i];
      s[i] *= scale;
      continue;
    }
    s[i] *= scale;
    int64_t axis = 0;
    double room = -1;
    for (int64_t k = 0; k < n; k++) {
      double used = 0;
      for (int64_t j = 0; j < i; j++) used += a[j * n + k] * a[j * n + k];
      if (1 - used > room) room = 1 - used, axis = k;
    }
    memset(row, 0, (size_t)n * sizeof *row);
    row[axis] = 1;
    for (int pass = 0; pass < 2; pass++)
      for (int64_t j = 0; j < i; j++) add_scaled(n, -dot(n, row, a + j * n), a + j * n, row);
    const double length = sqrt(dot(n, row, row));
    for (int64_t k = 0; k < n; k++) row[k] /= length;
  }
  return converged;
}
