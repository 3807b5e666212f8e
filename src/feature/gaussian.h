/* The Gaussian estimator's levels, shared by its fit and its use.
 *
 * A level is a range of feature columns with its own Gaussian. Whatever the reducer and the
 * distance, what is left after the fit is affine: w = whiten (x - mean), and the squared distance
 * to class c is |w - class_mean_c|^2.
 */
#ifndef MICA_FEATURE_GAUSSIAN_H
#define MICA_FEATURE_GAUSSIAN_H

#include <mica/feature.h>

typedef struct mica_gaussian_options {
  uint32_t size;
  mica_ints levels;
  int32_t classes, distance, reducer, law, combine;
  double variance, reject, sigma;
  bool keep_null;
} mica_gaussian_options;

enum { MICA_GAUSSIAN_AUTO, MICA_GAUSSIAN_ONE, MICA_GAUSSIAN_EACH };
enum { MICA_GAUSSIAN_MAHALANOBIS, MICA_GAUSSIAN_STANDARDISED, MICA_GAUSSIAN_EUCLIDEAN };
enum { MICA_GAUSSIAN_FULL, MICA_GAUSSIAN_PCA, MICA_GAUSSIAN_NPCA };
enum { MICA_GAUSSIAN_QUANTILE, MICA_GAUSSIAN_CHI2 };
enum { MICA_GAUSSIAN_MEAN, MICA_GAUSSIAN_SUM };

typedef struct mica_gaussian_level {
  int64_t begin, d;   /* columns */
  int64_t k;          /* dimensions of w */
  int64_t first;      /* the first component that a reducer kept; not saved */
  bool diagonal;      /* whiten is [d], and k = d */
  double *mean;       /* [d] */
  double *whiten;     /* [k, d] */
  double *class_mean; /* [room, k] in w */
  double rho;         /* shrinkage used */
} mica_gaussian_level;

/* Fit a level on the columns of x: group and groups name the classes that share a covariance (NULL,
 * 1: one class), count [groups] their rows. `own` [N] receives the leave-one-out distance of each
 * row to its class, -1 where it cannot be had. */
mica_status mica_gaussian_fit_level(const mica_engine *engine, const mica_gaussian_options *o,
                                    const mica_view *x, const int64_t *group, int64_t groups,
                                    const double *count, mica_gaussian_level *level, double *own);

/* w [N, k] of rows of the whole feature matrix. */
mica_status mica_gaussian_whiten(const mica_engine *engine, const mica_gaussian_level *level,
                                 const mica_view *x, double *w);

void mica_gaussian_level_end(mica_gaussian_level *level);

#endif
