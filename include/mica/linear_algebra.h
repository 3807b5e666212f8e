/* mica/linear_algebra.h: factorisations and solutions of linear systems, as operations on a tape.
 *
 * float32 or float64; a matrix is the last two dimensions, and those before are batches of which
 * each is worked on alone. Work is done in float64 and rounded once, whatever the type. A matrix
 * that an operation cannot do (singular, not positive definite, not finite, no convergence) latches
 * MICA_ERR_NUMERIC with its number in the batch. Every floating-point input has a gradient.
 *
 * Singular vectors and eigenvectors are defined up to their sign, and where values are equal up to
 * a rotation. The sign is fixed here: the first element within 1/10 of the column's largest in size
 * is positive (of an eigenvector, of a left singular vector). Values that differ by no more than
 * max(m, n) eps times the largest, eps that of the element type, count as equal: what a loss of
 * their vectors contributes by turning them into each other is left out, because it is 0 / 0 where
 * the loss does not depend on their choice and infinite where it does. So gradients are finite, and
 * those of a loss of the values alone are exact. mica_symmetric_log and mica_symmetric_power are
 * exact for equal values too.
 */
#ifndef MICA_LINEAR_ALGEBRA_H
#define MICA_LINEAR_ALGEBRA_H

#include <mica/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- systems ---- */

/* X of A X = B: a [..,n,n], b [..,n,k]; leading dimensions broadcast. Singular: an error. */
MICA_API mica_var mica_solve(mica_tape *t, mica_var a, mica_var b);
/* X of op(A) X = B (left) or X op(A) = B: a [..,n,n] of which the lower, or upper, triangle is
 * read, op transposes, b [..,n,k] or [..,k,n]; leading dimensions broadcast. A zero on the
 * diagonal: an error. */
MICA_API mica_var mica_solve_triangular(mica_tape *t, mica_var a, mica_var b, bool upper,
                                        bool transpose, bool left);
/* X of L L^T X = B, l [..,n,n] from mica_cholesky, b [..,n,k]. */
MICA_API mica_var mica_cholesky_solve(mica_tape *t, mica_var l, mica_var b);
/* A^-1, a [..,n,n]. Singular: an error. */
MICA_API mica_var mica_inverse(mica_tape *t, mica_var a);
/* ln |det A| [..], a [..,n,n]; *sign (may be NULL): that of the determinant, -1 or 1, detached.
 * Singular: an error. */
MICA_API mica_var mica_log_det(mica_tape *t, mica_var a, mica_var *sign);
/* ln det(L L^T) = 2 sum ln L_ii [..], l [..,n,n]. Not positive: an error. */
MICA_API mica_var mica_cholesky_log_det(mica_tape *t, mica_var l);

/* ---- factorisations ---- */

/* L of (A + A^T) / 2 = L L^T, lower triangular, a [..,n,n]. Not positive definite: an error. The
 * gradient is symmetric (Murray 2016, equation 10). */
MICA_API mica_var mica_cholesky(mica_tape *t, mica_var a);
/* A = Q R with r = min(m, n): a [..,m,n], returns Q [..,m,r], orthonormal columns; *upper R
 * [..,r,n], its diagonal not negative, which makes both unique. Backward through a matrix whose
 * leading r columns depend on each other is an error: there is no gradient. */
MICA_API mica_var mica_qr(mica_tape *t, mica_var a, mica_var *upper);
/* A = U diag(s) V^T with r = min(m, n): a [..,m,n], returns U [..,m,r]; *s [..,r], descending, *vt
 * [..,r,n]. Gradient: U (K + complements) V^T as in Townsend 2016. */
MICA_API mica_var mica_svd(mica_tape *t, mica_var a, mica_var *s, mica_var *vt);
/* (A + A^T) / 2 = V diag(w) V^T: a [..,n,n], returns w [..,n], ascending; *vectors (may be NULL) V
 * [..,n,n], in columns. The gradient is symmetric. */
MICA_API mica_var mica_eigen_symmetric(mica_tape *t, mica_var a, mica_var *vectors);

/* V diag(f(w)) V^T of (A + A^T) / 2 = V diag(w) V^T, a [..,n,n]: the logarithm, and the power w^p
 * (1/2: the square root, -1/2: whitening). Not positive definite: an error. Gradient: V (D o (V^T
 * gY V)) V^T, where D holds the divided differences of f (Daleckii and Krein 1965). */
MICA_API mica_var mica_symmetric_log(mica_tape *t, mica_var a);
MICA_API mica_var mica_symmetric_power(mica_tape *t, mica_var a, double p);

/* e^A = sum A^k / k!, a [..,n,n], by scaling and squaring of a Pade approximant of order up to 13
 * (Higham 2005); the gradient is that of exp([A^T G; 0 A^T]), upper right (Najfeld and Havel
 * 1995). A result that overflows: an error. */
MICA_API mica_var mica_matrix_exp(mica_tape *t, mica_var a);

#ifdef __cplusplus
}
#endif
#endif
