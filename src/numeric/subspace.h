/* Sets of subspaces, each an orthonormal set of rows: [classes, dim, in], float32 or float64. The
 * last rows of a class may be zero: it has fewer dimensions, and keeps them. */
#ifndef MICA_NUMERIC_SUBSPACE_H
#define MICA_NUMERIC_SUBSPACE_H

#include <mica/numeric.h>

/* Make the rows of each class orthonormal, as the Q of a QR decomposition whose R has a positive
 * diagonal. MICA_ERR_NUMERIC for rows that depend on each other or are not finite; a class of zeros
 * stays. */
mica_status mica_subspaces_orthonormalise(mica_dtype dtype, int64_t classes, int64_t dim,
                                          int64_t in, void *weight);

typedef struct mica_subspace_step {
  double rate;
  bool geodesic;       /* else QR of what a straight step gives */
  bool orthonormalise; /* at the end, against rounding */
  bool householder;    /* with the signs that Householder's QR leaves, not a positive diagonal */
} mica_subspace_step;

/* One step of each class against the gradient [classes, dim, in] (Euclidean; the part along the
 * subspace is taken out). Changes nothing of a class whose gradient is not finite, which is
 * MICA_ERR_NUMERIC. */
mica_status mica_subspaces_step(const mica_engine *engine, const mica_subspace_step *step,
                                mica_dtype dtype, int64_t classes, int64_t dim, int64_t in,
                                const void *gradient, void *weight);

#endif
