/* Factorisations on one thread.
 *
 * A library may cut the sums of a factorisation by its number of threads; these give the same bits
 * for every thread count, and are small beside the passes over the rows. All are row-major dense
 * float64.
 */
#ifndef MICA_NUMERIC_SERIAL_H
#define MICA_NUMERIC_SERIAL_H

#include <mica/engine.h>

/* Eigenvalues of a symmetric matrix (the lower triangle is read), ascending, and unless NULL its
 * unit eigenvectors in the columns of `vectors`. Memory: 8 n^2 bytes. MICA_ERR_NUMERIC when not
 * finite. */
mica_status mica_serial_eigen(const mica_engine *engine, int64_t n, const double *a, double *values,
                              double *vectors);
/* b [n, columns] becomes a^-1 b for a symmetric positive definite a, which is kept.
 * MICA_ERR_NUMERIC when it is not. Memory: 8 n^2 bytes. */
mica_status mica_serial_solve(const mica_engine *engine, int64_t n, int64_t columns,
                              const double *a, double *b);
/* inverse [n, n] = L^-1, lower triangular, where a = L L^T; a is overwritten. MICA_ERR_NUMERIC when
 * a is not positive definite. |inverse x|^2 = x^T a^-1 x. */
mica_status mica_serial_whitening(const mica_engine *engine, int64_t n, double *a, double *inverse);

/* out [m, n] = op(A) B, A stored [k, m] when `trans`, else [m, k]: strips of rows over the threads.
 */
mica_status mica_product(const mica_engine *engine, bool trans, int64_t m, int64_t n, int64_t k,
                         const double *a, const double *b, double *out);

#endif
