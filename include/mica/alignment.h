/* mica/alignment.h: two spaces of features that were learnt apart, brought together by pairs.
 *
 * Anchors are rows x [N, P] and y [N, Q] of which row i of one is the pair of row i of the other.
 * Two estimators learn from them, with y as the targets of the fit: `cca`, the directions in which
 * the two correlate most, and `align`, which maps the first space into the second, whole or
 * reduced by canonical correlations or principal components first. What is learnt (means too) is
 * the anchors' alone. mica_estimator_predict gives the mapped x as `score`; the functions below
 * give the mapped y, compare items across the spaces, and say how well they were matched.
 *
 * The reduction before the map, and local CKA as a score: Hadgi et al. 2025; Maniparambil et al.
 * 2024.
 */
#ifndef MICA_ALIGNMENT_H
#define MICA_ALIGNMENT_H

#include <mica/feature.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what an aligning estimator gives beside its predictions ---- */

/* The targets y [M, Q] in the space that `score` lies in: out [M, outputs]. MICA_ERR_UNSUPPORTED
 * for estimators that do not align. */
MICA_API mica_status mica_estimator_targets(const mica_estimator *estimator, const mica_view *y,
                                            double *out);
/* How well each x [N, P] goes with each y [M, Q], larger is better: out [N, M], cosines of the
 * mapped rows, or CKA as the specification says. */
MICA_API mica_status mica_estimator_pair_scores(const mica_estimator *estimator, const mica_view *x,
                                                const mica_view *y, double *out);
/* The canonical correlations that the estimator kept, descending, out [k]; returns k, 0 where it
 * has none. `out` may be NULL. */
MICA_API int64_t mica_estimator_correlations(const mica_estimator *estimator, double *out);

/* ---- scores without a map ---- */

typedef enum mica_cka_kernel { MICA_CKA_LINEAR, MICA_CKA_RBF } mica_cka_kernel;

/* CKA of x [N, P] and y [N, Q] by its definition, tr(KHLH) / sqrt(tr(KHKH) tr(LHLH)) with kernels
 * [N, N]: O(N^2) memory. RBF: exp(-d^2 / (2 s^2)), s^2 the lower median of the squared distances
 * above 0. MICA_ERR_NUMERIC where a side does not vary. The measure `cka` is the fast form. */
MICA_API mica_status mica_cka_reference(const mica_engine *engine, mica_cka_kernel kernel,
                                        const mica_view *x, const mica_view *y, double *out);
/* Local CKA: out [N, M] is at (i, j) the CKA of the anchors xa [A, P], ya [A, Q] with the row x_i
 * added on one side and y_j on the other. The linear kernel in O(PQ) a pair, from scatters that
 * only a rank-one term changes (`align:score=cka` keeps them). */
MICA_API mica_status mica_local_cka(const mica_engine *engine, const mica_view *xa,
                                    const mica_view *ya, const mica_view *x, const mica_view *y,
                                    double *out);
/* The same by its definition, either kernel: O(N M A^2). */
MICA_API mica_status mica_local_cka_reference(const mica_engine *engine, mica_cka_kernel kernel,
                                              const mica_view *xa, const mica_view *ya,
                                              const mica_view *x, const mica_view *y, double *out);

/* ---- how well items were matched ---- */

typedef struct mica_match_result {
  double matching;          /* share of pairs that the best one-to-one assignment recovers */
  double top1, top5, top10; /* share of x whose pair is among the k best y */
  double back_top1, back_top5, back_top10; /* and of y whose pair is among the k best x */
} mica_match_result;

/* Judge score [n, n], larger is better: the pair of x_i is y_truth[i], a permutation (NULL: y_i).
 * Of equal scores those with a lower index come first. `match` [n] (may be NULL) receives the y
 * assigned to each x. */
MICA_API mica_status mica_match_evaluate(int64_t n, const double *score, const int64_t *truth,
                                         int64_t *match, mica_match_result *out);

/* ---- shapes ---- */

/* Chamfer distance of two clouds p [N, D] and q [M, D]: the mean over p of the squared distance to
 * the nearest of q, and the mean over q of that to the nearest of p, added. */
MICA_API mica_status mica_chamfer_distance(const mica_engine *engine, const mica_view *p,
                                           const mica_view *q, double *out);

#ifdef __cplusplus
}
#endif
#endif
