/* Singular vectors of a weight, part by part, as adapters use them. */
#ifndef MICA_PARAM_BASIS_H
#define MICA_PARAM_BASIS_H

#include <mica/param.h>

/* Rank-k factors of a matrix [m, n]: u [m, k], s [k] and vt [k, n], double. */
typedef struct mica_basis {
  int64_t m, n, k;
  double *u, *s, *vt;
} mica_basis;

void mica_basis_free(mica_basis *b);

/* All min(m, n) singular values and vectors of w [m, n] (float32 or float64, contiguous). */
mica_status mica_basis_exact(mica_engine *engine, const mica_view *w, mica_basis *out);
/* The first k, by a random range of k + oversampling columns and `power` steps of subspace
 * iteration (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1). */
mica_status mica_basis_randomised(mica_engine *engine, const mica_view *w, int64_t k,
                                  int64_t oversampling, int64_t power, mica_key key,
                                  mica_basis *out);
/* k random orthonormal vectors on either side; s is 0. */
mica_status mica_basis_random(mica_engine *engine, int64_t m, int64_t n, int64_t k, mica_key key,
                              mica_basis *out);

/* The fewest leading values that hold `share` of the sum of s^2. */
int64_t mica_basis_rank(const mica_basis *b, double share);
/* Keep the vectors `at` [k] only, in that order. */
mica_status mica_basis_choose(mica_basis *b, const int64_t *at, int64_t k);

#endif
