/* Ledoit-Wolf shrinkage of a covariance towards a multiple of the identity.
 *
 * Ledoit and Wolf (2004): with S the covariance divided by n and m = tr(S) / p, the convex
 * combination C = (1 - rho) S + rho m I that is closest to the truth in expectation, rho estimated
 * from the data. C is well conditioned also when there are fewer rows than columns.
 */
#ifndef MICA_NUMERIC_SHRINKAGE_H
#define MICA_NUMERIC_SHRINKAGE_H

#include <mica/engine.h>
#include <mica/tensor.h>

typedef struct mica_shrunk {
  double rho;   /* 0..1 */
  double scale; /* m */
} mica_shrunk;

/* covariance [D, D] of the rows around centre[group] (group NULL: row 0 of centre), shrunk in place
 * as above. */
mica_status mica_shrunk_covariance(const mica_engine *engine, const mica_view *x,
                                   const int64_t *group, const double *centre, double *covariance,
                                   mica_shrunk *out);

#endif
