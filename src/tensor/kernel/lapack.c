/* The linear algebra of lapack.h: operands are copied into float64 scratch in the layout that the
 * path wants, worked on, and copied out. LAPACK takes problems of LARGE rows and more; smaller ones
 * are done before a library could be loaded. LAPACK is column-major: a row-major matrix is to it
 * the transpose. */
#include "tensor/kernel/lapack.h"

#include "tensor/kernel/factor.h"
#include "tensor/kernel/library.h"
#include "tensor/kernel/openblas.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum { LARGE = 48 };

/* ---- scratch and copies ---- */

static void *doubles(const mica_engine *engine, int64_t a, int64_t b) {
  if (b && a > INT64_MAX / 8 / b) {
    mica_fail(MICA_ERR_MEMORY, "matrix of %lld x %lld is too large", (long long)a, (long long)b);
    return NULL;
  }
  return mica_workspace_acquire(engine, (size_t)(a * b) * sizeof(double));
}

static double read_at(mica_dtype dtype, const void *a, int64_t i) {
  return dtype == MICA_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
}

static void write_at(mica_dtype dtype, void *a, int64_t i, double x) {
  if (dtype == MICA_F32)
    ((float *)a)[i] = (float)x;
  else
    ((double *)a)[i] = x;
}

/* to (rows x cols dense; cols x rows when turned) = a; false when an element is not finite. */
static bool copy_in(mica_dtype dtype, int64_t rows, int64_t cols, const void *a, int64_t lda,
                    bool turn, double *to) {
  bool finite = true;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) {
      const double x = read_at(dtype, a, i * lda + j);
      finite &= isfinite(x) != 0;
      to[turn ? j * rows + i : i * cols + j] = x;
    }
  return finite;
}

/* A symmetric matrix from its lower triangle. */
static bool copy_symmetric(mica_dtype dtype, int64_t n, const void *a, int64_t lda, double *to) {
  bool finite = true;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j <= i; j++) {
      const double x = read_at(dtype, a, i * lda + j);
      finite &= isfinite(x) != 0;
      to[i * n + j] = to[j * n + i] = x;
    }
  return finite;
}

static void copy_out(mica_dtype dtype, int64_t rows, int64_t cols, const double *from, bool turned,
                     void *a, int64_t lda) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++)
      write_at(dtype, a, i * lda + j, from[turned ? j * rows + i : i * cols + j]);
}

static mica_status check(const char *what, mica_dtype dtype, int64_t rows, int64_t cols,
                         int64_t lda) {
  if (dtype != MICA_F32 && dtype != MICA_F64)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: %s, expected float32 or float64", what,
                     mica_dtype_name(dtype));
  if (rows < 0 || cols < 0 || lda < cols)
    return mica_fail(MICA_ERR_INVALID, "%s: %lld x %lld with rows %lld apart", what,
                     (long long)rows, (long long)cols, (long long)lda);
  return MICA_OK;
}

static mica_status not_finite(const char *what) {
  return mica_fail(MICA_ERR_NUMERIC, "%s: the matrix holds values that are not finite", what);
}

/* LAPACK for a problem with this largest side; int is what it counts in. */
static bool lapack_for(const mica_engine *engine, int64_t side, mica_openblas *l) {
  return side >= LARGE && side <= INT_MAX / 8 && mica_openblas_load(engine, l);
}

/* ---- Cholesky ---- */

/* a (dense, symmetric) becomes L in its lower triangle. */
static bool cholesky(const mica_engine *engine, int64_t n, double *a) {
  mica_openblas l;
  if (!lapack_for(engine, n, &l)) return mica_factor_cholesky(n, a);
  const int size = (int)n;
  int info = 0;
  const int before = mica_library_threads_set(mica_library_threads(engine));
  l.dpotrf("U", &size, a, &size, &info, 1); /* our lower triangle is its upper one */
  mica_library_threads_restore(before);
  return info == 0;
}

mica_status mica_lapack_cholesky(const mica_engine *engine, mica_dtype dtype, int64_t n, void *a,
                                 int64_t lda) {
  mica_status status = check("cholesky", dtype, n, n, lda);
  if (status != MICA_OK || n == 0) return status;
  double *work = doubles(engine, n, n);
  if (!work) return MICA_ERR_MEMORY;
  if (!copy_symmetric(dtype, n, a, lda, work))
    status = not_finite("cholesky");
  else if (!cholesky(engine, n, work))
    status =
        mica_fail(MICA_ERR_NUMERIC, "cholesky: the %lld x %lld matrix is not positive definite",
                  (long long)n, (long long)n);
  if (status == MICA_OK) {
    for (int64_t i = 0; i < n; i++)
      memset(work + i * n + i + 1, 0, (size_t)(n - i - 1) * sizeof *work);
    copy_out(dtype, n, n, work, false, a, lda);
  }
  mica_workspace_release(engine, work);
  return status;
}

/* ---- triangular systems ---- */

mica_status mica_lapack_solve_triangular(const mica_engine *engine, mica_dtype dtype, bool lower,
                                         bool trans, int64_t n, int64_t nrhs, const void *t,
                                         int64_t ldt, void *b, int64_t ldb) {
  mica_status status = check("triangular solve", dtype, n, n, ldt);
  if (status == MICA_OK) status = check("triangular solve", dtype, n, nrhs, ldb);
  if (status != MICA_OK || n == 0 || nrhs == 0) return status;
  double *work = doubles(engine, n, n), *x = doubles(engine, n, nrhs);
  if (!work || !x) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    bool finite = true; /* the other triangle may hold anything */
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < n; j++) {
        const double v = (lower ? j <= i : j >= i) ? read_at(dtype, t, i * ldt + j) : 0;
        finite &= isfinite(v) != 0;
        work[i * n + j] = v;
      }
    mica_openblas l;
    if (!finite || !copy_in(dtype, n, nrhs, b, ldb, false, x))
      status = not_finite("triangular solve");
    for (int64_t i = 0; i < n && status == MICA_OK; i++)
      if (work[i * n + i] == 0)
        status = mica_fail(MICA_ERR_NUMERIC,
                           "triangular solve: element %lld of the diagonal is zero", (long long)i);
    if (status == MICA_OK && nrhs >= LARGE && lapack_for(engine, n > nrhs ? n : nrhs, &l)) {
      /* What we store is its transpose of either side: turn the right side, swap the roles of t. */
      const int size = (int)n, columns = (int)nrhs;
      int info = 0;
      copy_in(dtype, n, nrhs, b, ldb, true, x);
      const int before = mica_library_threads_set(mica_library_threads(engine));
      l.dtrtrs(lower ? "U" : "L", trans ? "N" : "T", "N", &size, &columns, work, &size, x, &size,
               &info, 1, 1, 1);
      mica_library_threads_restore(before);
      copy_out(dtype, n, nrhs, x, true, b, ldb);
    } else if (status == MICA_OK) {
      mica_factor_triangular(lower, trans, n, nrhs, work, x);
      copy_out(dtype, n, nrhs, x, false, b, ldb);
    }
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, x);
  return status;
}

mica_status mica_lapack_solve_positive(const mica_engine *engine, mica_dtype dtype, int64_t n,
                                       int64_t nrhs, const void *a, int64_t lda, void *b,
                                       int64_t ldb) {
  mica_status status = check("solve", dtype, n, n, lda);
  if (status == MICA_OK) status = check("solve", dtype, n, nrhs, ldb);
  if (status != MICA_OK || n == 0 || nrhs == 0) return status;
  double *work = doubles(engine, n, n), *x = doubles(engine, n, nrhs);
  if (!work || !x) {
    status = MICA_ERR_MEMORY;
  } else if (!copy_symmetric(dtype, n, a, lda, work) ||
             !copy_in(dtype, n, nrhs, b, ldb, false, x)) {
    status = not_finite("solve");
  } else if (!cholesky(engine, n, work)) {
    status = mica_fail(MICA_ERR_NUMERIC, "solve: the %lld x %lld matrix is not positive definite",
                       (long long)n, (long long)n);
  } else {
    mica_factor_triangular(true, false, n, nrhs, work, x);
    mica_factor_triangular(true, true, n, nrhs, work, x);
    copy_out(dtype, n, nrhs, x, false, b, ldb);
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, x);
  return status;
}

/* ---- LU ---- */

mica_status mica_lapack_solve(const mica_engine *engine, mica_dtype dtype, int64_t n, int64_t nrhs,
                              const void *a, int64_t lda, void *b, int64_t ldb) {
  mica_status status = check("solve", dtype, n, n, lda);
  if (status == MICA_OK) status = check("solve", dtype, n, nrhs, ldb);
  if (status != MICA_OK || n == 0 || nrhs == 0) return status;
  mica_openblas l;
  const bool large = lapack_for(engine, n > nrhs ? n : nrhs, &l);
  double *work = doubles(engine, n, n), *x = doubles(engine, n, nrhs);
  int64_t *pivot = doubles(engine, n, 1);
  bool regular = true;
  if (!work || !x || !pivot) {
    status = MICA_ERR_MEMORY;
  } else if (!copy_in(dtype, n, n, a, lda, false, work) ||
             !copy_in(dtype, n, nrhs, b, ldb, large, x)) {
    status = not_finite("solve");
  } else if (large) { /* it factors the transpose and solves with the transpose of that */
    const int size = (int)n, columns = (int)nrhs;
    int info = 0, *places = (int *)(void *)pivot;
    const int before = mica_library_threads_set(mica_library_threads(engine));
    l.dgetrf(&size, &size, work, &size, places, &info);
    regular = info == 0;
    if (regular) l.dgetrs("T", &size, &columns, work, &size, places, x, &size, &info, 1);
    mica_library_threads_restore(before);
  } else {
    regular = mica_factor_lu(n, work, pivot);
    if (regular) mica_factor_lu_solve(n, nrhs, work, pivot, x);
  }
  if (status == MICA_OK && !regular)
    status = mica_fail(MICA_ERR_NUMERIC, "solve: the %lld x %lld matrix is singular", (long long)n,
                       (long long)n);
  if (status == MICA_OK) copy_out(dtype, n, nrhs, x, large, b, ldb);
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, x);
  mica_workspace_release(engine, pivot);
  return status;
}

mica_status mica_lapack_log_det(const mica_engine *engine, mica_dtype dtype, int64_t n,
                                const void *a, int64_t lda, double *log_abs, int *sign) {
  mica_status status = check("log-determinant", dtype, n, n, lda);
  if (status != MICA_OK) return status;
  *log_abs = 0;
  *sign = 1;
  if (n == 0) return MICA_OK;
  mica_openblas l;
  double *work = doubles(engine, n, n);
  int64_t *pivot = doubles(engine, n, 1);
  if (!work || !pivot) {
    status = MICA_ERR_MEMORY;
  } else if (!copy_in(dtype, n, n, a, lda, false, work)) {
    status = not_finite("log-determinant");
  } else {
    const bool large = lapack_for(engine, n, &l);
    if (large) { /* the transpose has the same determinant */
      const int size = (int)n;
      int info = 0;
      const int before = mica_library_threads_set(mica_library_threads(engine));
      l.dgetrf(&size, &size, work, &size, (int *)(void *)pivot, &info);
      mica_library_threads_restore(before);
    } else {
      mica_factor_lu(n, work, pivot);
    }
    for (int64_t i = 0; i < n; i++) {
      const double d = work[i * n + i];
      const int64_t place = large ? ((int *)(void *)pivot)[i] - 1 : pivot[i];
      *log_abs += log(fabs(d));
      if ((d < 0) != (place != i)) *sign = -*sign;
    }
    if (!isfinite(*log_abs)) { /* some pivot was zero */
      *log_abs = (double)-INFINITY;
      *sign = 0;
    }
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, pivot);
  return status;
}

/* ---- eigenvalues ---- */

static bool eigen(const mica_engine *engine, int64_t n, double *a, double *values, double *vectors,
                  mica_status *status) {
  mica_openblas l;
  if (!lapack_for(engine, n, &l)) {
    double *work = doubles(engine, n, 3);
    if (!work) *status = MICA_ERR_MEMORY;
    const bool converged = work && mica_factor_eigen(n, a, values, vectors, work);
    mica_workspace_release(engine, work);
    return converged;
  }
  const int size = (int)n, ask = -1;
  int info = 0, indices = 0;
  double length = 0;
  const char *job = vectors ? "V" : "N";
  l.dsyevd(job, "U", &size, a, &size, values, &length, &ask, &indices, &ask, &info, 1, 1);
  const int room = (int)length;
  double *work = doubles(engine, room, 1);
  int *index = doubles(engine, indices, 1);
  if (work && index) {
    const int before = mica_library_threads_set(mica_library_threads(engine));
    l.dsyevd(job, "U", &size, a, &size, values, work, &room, index, &indices, &info, 1, 1);
    mica_library_threads_restore(before);
    for (int64_t i = 0; vectors && i < n; i++)
      for (int64_t j = 0; j < n; j++) vectors[i * n + j] = a[j * n + i];
  } else {
    *status = MICA_ERR_MEMORY;
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, index);
  return info == 0;
}

mica_status mica_lapack_eigen(const mica_engine *engine, mica_dtype dtype, int64_t n, const void *a,
                              int64_t lda, void *values, void *vectors) {
  mica_status status = check("eigenvalues", dtype, n, n, lda);
  if (status != MICA_OK || n == 0) return status;
  double *work = doubles(engine, n, n), *w = doubles(engine, n, 1);
  double *v = vectors ? doubles(engine, n, n) : NULL;
  if (!work || !w || (vectors && !v)) {
    status = MICA_ERR_MEMORY;
  } else if (!copy_symmetric(dtype, n, a, lda, work)) {
    status = not_finite("eigenvalues");
  } else if (!eigen(engine, n, work, w, v, &status) && status == MICA_OK) {
    status = mica_fail(MICA_ERR_NUMERIC, "eigenvalues: no convergence");
  }
  if (status == MICA_OK) {
    copy_out(dtype, 1, n, w, false, values, n);
    if (vectors) copy_out(dtype, n, n, v, false, vectors, n);
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, w);
  mica_workspace_release(engine, v);
  return status;
}

/* ---- singular values ---- */

/* a (m x n dense, destroyed) = u diag(s) vt by LAPACK, which sees n x m: its left factor, n x r in
 * columns, is our vt, its right one, r x m in columns, our u. */
static bool svd_lapack(const mica_engine *engine, const mica_openblas *l, int64_t m, int64_t n,
                       double *a, double *s, double *u, double *vt, mica_status *status) {
  const int rows = (int)n, cols = (int)m, r = rows < cols ? rows : cols, ask = -1;
  int info = 0;
  double length = 0;
  const char *job = u ? "S" : "N";
  l->dgesdd(job, &rows, &cols, a, &rows, s, vt, &rows, u, &r, &length, &ask, NULL, &info, 1);
  const int room = (int)length;
  double *work = doubles(engine, room, 1);
  int *index = doubles(engine, r, 4);
  if (work && index) {
    const int before = mica_library_threads_set(mica_library_threads(engine));
    l->dgesdd(job, &rows, &cols, a, &rows, s, vt, &rows, u, &r, work, &room, index, &info, 1);
    mica_library_threads_restore(before);
  } else {
    *status = MICA_ERR_MEMORY;
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, index);
  return info == 0;
}

mica_status mica_lapack_svd(const mica_engine *engine, mica_dtype dtype, int64_t m, int64_t n,
                            const void *a, int64_t lda, void *u, void *s, void *vt) {
  mica_status status = check("singular values", dtype, m, n, lda);
  if (status == MICA_OK && !u != !vt)
    status = mica_fail(MICA_ERR_INVALID, "singular values: u and vt are given both or neither");
  const int64_t r = m < n ? m : n;
  if (status != MICA_OK || r == 0) return status;
  mica_openblas l;
  const bool large = lapack_for(engine, m > n ? m : n, &l), tall = m > n;
  /* Own code wants the shorter side as rows: a tall matrix is turned, and u and vt change roles. */
  double *work = doubles(engine, m, n), *values = doubles(engine, r, 1);
  double *square = u ? doubles(engine, r, r) : NULL,
         *left = u && large ? doubles(engine, m, r) : NULL;
  double *right = u && large ? doubles(engine, r, n) : NULL;
  bool converged = true;
  if (!work || !values || (u && !square) || (u && large && (!left || !right))) {
    status = MICA_ERR_MEMORY;
  } else if (!copy_in(dtype, m, n, a, lda, tall && !large, work)) {
    status = not_finite("singular values");
  } else if (large) {
    converged = svd_lapack(engine, &l, m, n, work, values, left, right, &status);
  } else {
    converged = mica_factor_svd(r, tall ? m : n, work, values, square);
  }
  if (status == MICA_OK && !converged)
    status = mica_fail(MICA_ERR_NUMERIC, "singular values: no convergence");
  if (status == MICA_OK) {
    copy_out(dtype, 1, r, values, false, s, r);
    if (u && large) {
      copy_out(dtype, m, r, left, false, u, r);
      copy_out(dtype, r, n, right, false, vt, n);
    } else if (u && tall) {
      copy_out(dtype, m, r, work, true, u, r);
      copy_out(dtype, r, n, square, true, vt, n);
    } else if (u) {
      copy_out(dtype, m, r, square, false, u, r);
      copy_out(dtype, r, n, work, false, vt, n);
    }
  }
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, values);
  mica_workspace_release(engine, square);
  mica_workspace_release(engine, left);
  mica_workspace_release(engine, right);
  return status;
}

/* ---- QR ---- */

/* a holds m x n in columns; R is copied out, then a becomes Q (its first r columns). */
static mica_status qr_lapack(const mica_engine *engine, const mica_openblas *l, int64_t m,
                             int64_t n, double *a, double *tau, double *upper) {
  const int rows = (int)m, cols = (int)n, r = rows < cols ? rows : cols, ask = -1;
  int info = 0;
  double factor = 0, form = 0;
  l->dgeqrf(&rows, &cols, a, &rows, tau, &factor, &ask, &info);
  l->dorgqr(&rows, &r, &r, a, &rows, tau, &form, &ask, &info);
  const int room = (int)fmax(factor, form);
  double *work = doubles(engine, room, 1);
  if (!work) return MICA_ERR_MEMORY;
  const int before = mica_library_threads_set(mica_library_threads(engine));
  l->dgeqrf(&rows, &cols, a, &rows, tau, work, &room, &info);
  for (int64_t i = 0; i < r; i++)
    for (int64_t j = 0; j < n; j++) upper[i * n + j] = j < i ? 0 : a[j * m + i];
  l->dorgqr(&rows, &r, &r, a, &rows, tau, work, &room, &info);
  mica_library_threads_restore(before);
  mica_workspace_release(engine, work);
  return MICA_OK;
}

mica_status mica_lapack_qr(const mica_engine *engine, mica_dtype dtype, int64_t m, int64_t n,
                           const void *a, int64_t lda, void *q, void *r) {
  mica_status status = check("QR", dtype, m, n, lda);
  const int64_t k = m < n ? m : n;
  if (status != MICA_OK || k == 0) return status;
  mica_openblas l;
  const bool large = lapack_for(engine, m > n ? m : n, &l);
  double *work = doubles(engine, m, n), *tau = doubles(engine, k + n, 1);
  double *upper = doubles(engine, k, n), *columns = large ? NULL : doubles(engine, m, k);
  if (!work || !tau || !upper || (!large && !columns)) {
    status = MICA_ERR_MEMORY;
  } else if (!copy_in(dtype, m, n, a, lda, large, work)) {
    status = not_finite("QR");
  } else if (large) {
    status = qr_lapack(engine, &l, m, n, work, tau, upper);
    if (status == MICA_OK) copy_out(dtype, m, k, work, true, q, k);
  } else {
    mica_factor_qr(m, n, work, tau, tau + k);
    for (int64_t i = 0; i < k; i++)
      for (int64_t j = 0; j < n; j++) upper[i * n + j] = j < i ? 0 : work[i * n + j];
    mica_factor_qr_form(m, n, k, work, tau, columns, tau + k);
    copy_out(dtype, m, k, columns, false, q, k);
  }
  if (status == MICA_OK) copy_out(dtype, k, n, upper, false, r, n);
  mica_workspace_release(engine, work);
  mica_workspace_release(engine, tau);
  mica_workspace_release(engine, upper);
  mica_workspace_release(engine, columns);
  return status;
}
