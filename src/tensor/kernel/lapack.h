/* Dense linear algebra, row-major, on the caller's memory: LAPACK from OpenBLAS where the engine
 * uses libraries and it can be loaded, own code otherwise.
 *
 * dtype is MICA_F64 or MICA_F32 (worked in float64 and rounded once at the end). Leading dimensions
 * count elements between rows. An empty matrix is no work. Not finite input is MICA_ERR_NUMERIC.
 * Signs of eigenvectors, singular vectors and QR columns are whatever the path gives.
 */
#ifndef MICA_TENSOR_KERNEL_LAPACK_H
#define MICA_TENSOR_KERNEL_LAPACK_H

#include <mica/engine.h>
#include <mica/tensor.h>

/* A (n x n symmetric; the lower triangle is read) = L L^T; L overwrites A, zeros above the
 * diagonal. MICA_ERR_NUMERIC when A is not positive definite; A is then unspecified. */
mica_status mica_lapack_cholesky(const mica_engine *engine, mica_dtype dtype, int64_t n, void *a,
                                 int64_t lda);

/* B (n x nrhs) becomes the solution X of op(T) X = B, T triangular. MICA_ERR_NUMERIC when T has a
 * zero on its diagonal. */
mica_status mica_lapack_solve_triangular(const mica_engine *engine, mica_dtype dtype, bool lower,
                                         bool trans, int64_t n, int64_t nrhs, const void *t,
                                         int64_t ldt, void *b, int64_t ldb);

/* B becomes the solution X of A X = B with A symmetric positive definite. A is kept. */
mica_status mica_lapack_solve_positive(const mica_engine *engine, mica_dtype dtype, int64_t n,
                                       int64_t nrhs, const void *a, int64_t lda, void *b,
                                       int64_t ldb);

/* B becomes the solution X of A X = B (LU with row exchanges). A is kept. MICA_ERR_NUMERIC when A
 * is singular. */
mica_status mica_lapack_solve(const mica_engine *engine, mica_dtype dtype, int64_t n, int64_t nrhs,
                              const void *a, int64_t lda, void *b, int64_t ldb);

/* log |det A| and its sign (-1, 0, 1; 0 with -inf when singular); 0 and 1 for n = 0. A is kept. */
mica_status mica_lapack_log_det(const mica_engine *engine, mica_dtype dtype, int64_t n,
                                const void *a, int64_t lda, double *log_abs, int *sign);

/* Eigenvalues of a symmetric A (lower triangle read), ascending, into `values` [n]; with `vectors`,
 * n x n dense, column j the unit eigenvector of values[j]. A is kept; `vectors` may be NULL. */
mica_status mica_lapack_eigen(const mica_engine *engine, mica_dtype dtype, int64_t n, const void *a,
                              int64_t lda, void *values, void *vectors);

/* Thin singular value decomposition A (m x n) = U diag(s) Vt with r = min(m, n): U m x r, s [r]
 * descending, Vt r x n, dense. U and Vt may both be NULL for the values alone. A is kept. */
mica_status mica_lapack_svd(const mica_engine *engine, mica_dtype dtype, int64_t m, int64_t n,
                            const void *a, int64_t lda, void *u, void *s, void *vt);

/* Thin QR decomposition A (m x n) = Q R with r = min(m, n): Q m x r with orthonormal columns, R r x
 * n upper triangular, dense. A is kept. */
mica_status mica_lapack_qr(const mica_engine *engine, mica_dtype dtype, int64_t m, int64_t n,
                           const void *a, int64_t lda, void *q, void *r);

#endif
