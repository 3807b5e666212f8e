/* mica/experimental.h: functions of single methods. They are documented and tested like the rest,
 * but may change from release to release; mica/mica.h does not include them.
 */
#ifndef MICA_EXPERIMENTAL_H
#define MICA_EXPERIMENTAL_H

#include <mica/engine.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a mixture of Gaussians whose best error is known (Zheng et al. 2023) ---- */

/* The covariance that all classes share. Easy: diagonal, the first half of the d coordinates with
 * variance d and the others with 1. Hard: the same diagonal with the off-diagonal elements of A^T
 * A, the elements of A uniform in (-1, 1) and drawn by `world`; where that matrix is not positive
 * its eigenvalues' absolute values are taken, as NumPy's multivariate_normal does. */
typedef enum mica_mixture { MICA_MIXTURE_EASY, MICA_MIXTURE_HARD } mica_mixture;

/* Draw rows x [n, d] (float32 or float64, written) of `classes` (2 to 30) equally likely classes,
 * whose means have -1 (class 0) or 2^(k - 1) (class k) in every coordinate, and their labels [n].
 * Draws with the same `world` are of the same mixture. Memory of a hard one: 16 d^2 + 8 n d bytes.
 */
MICA_API mica_status mica_gaussian_mixture_draw(const mica_engine *engine, mica_key world,
                                                mica_key key, mica_mixture kind, int64_t classes,
                                                const mica_view *x, int64_t *label);

#ifdef __cplusplus
}
#endif
#endif
