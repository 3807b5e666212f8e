/* Factorisations in plain C for one thread: what lapack.c falls back on, and what must give
 * the same bits for every thread count stands on. Dense row-major doubles,
 * all finite; the arrays do not overlap. Golub & Van Loan, Matrix Computations, 4th edition. */
#ifndef MICA_TENSOR_KERNEL_FACTOR_H
#define MICA_TENSOR_KERNEL_FACTOR_H

#include <stdbool.h>
#include <stdint.h>

/* The lower triangle of a becomes L; false when a is not positive definite. Above the diagonal
 * nothing is read or written. */
bool mica_factor_cholesky(int64_t n, double *a);

/* b (n x nrhs) := op(t)^-1 b; the diagonal of t has no zero. */
void mica_factor_triangular(bool lower, bool trans, int64_t n, int64_t nrhs, const double *t,
                            double *b);

/* P a = L U with row exchanges: pivot[i] is the row that changed places with row i. Goes on past a
 * zero pivot and returns false then. */
bool mica_factor_lu(int64_t n, double *a, int64_t *pivot);
/* b := a^-1 b with what mica_factor_lu left. */
void mica_factor_lu_solve(int64_t n, int64_t nrhs, const double *lu, const int64_t *pivot,
                          double *b);

/* Householder: a (m x n) becomes R on and above the diagonal, the vectors below it; tau has
 * min(m, n) elements, work n. */
void mica_factor_qr(int64_t m, int64_t n, double *a, double *tau, double *work);
/* The first r columns of Q, m x r, from those vectors (r = min(m, n), lda = n). */
void mica_factor_qr_form(int64_t m, int64_t n, int64_t r, const double *a, const double *tau,
                         double *q, double *work);

/* Eigenvalues of a symmetric a, which is destroyed: values ascending, columns of `vectors` (n x n,
 * or NULL). work has 3 n elements. False when it does not converge. */
bool mica_factor_eigen(int64_t n, double *a, double *values, double *vectors, double *work);

/* One-sided Jacobi: the rows of a (r x n, r <= n) are turned until orthogonal. Then a = u diag(s)
 * vt with vt left in a (r x n) and u r x r (or NULL); s descending. False when it does not
 * converge. */
bool mica_factor_svd(int64_t r, int64_t n, double *a, double *s, double *u);

#endif
