/* "None of these", calibrated: the anomaly scores of known rows that a fit had not seen, and the
 * threshold that refuses a wanted share of such rows.
 *
 * The threshold for a rate a from n scores is the order statistic number ceil((n + 1)(1 - a)): a
 * new known row exceeds it with probability at most a, whatever the distribution (split conformal
 * prediction, Vovk et al. 2005). Where that number is beyond n, the largest score serves: the share
 * refused is then about 1 / (n + 1), the least that n scores can tell. Of many scores the largest
 * 2,048 are kept and the rest thinned.
 */
#ifndef MICA_FEATURE_REFUSAL_H
#define MICA_FEATURE_REFUSAL_H

#include <mica/feature.h>

#define MICA_REFUSAL_KEPT 4096

typedef struct mica_refusal {
  int64_t rows;  /* scores that there were, 0: none */
  int64_t count; /* kept */
  double *score; /* ascending */
} mica_refusal;

/* Keep what is needed of n scores, which are sorted in place. NaN scores are left out. */
mica_status mica_refusal_keep(mica_refusal *refusal, double *score, int64_t n);
void mica_refusal_clear(mica_refusal *refusal);

/* The threshold for a rate in (0, 1); needs rows > 0. */
double mica_refusal_threshold(const mica_refusal *refusal, double rate);

/* Tensors "PREFIX.score" and "PREFIX.rows"; load accepts their absence. */
mica_status mica_refusal_save(const mica_refusal *refusal, const char *prefix, mica_record *record);
mica_status mica_refusal_load(mica_refusal *refusal, const char *prefix, const mica_record *record);

#endif
