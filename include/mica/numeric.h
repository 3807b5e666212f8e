/* mica/numeric.h: statistics and algorithms on arrays that need no tape: intervals, quantiles,
 * k-means, principal components, and maps of points to the plane.
 *
 * Matrices are views of rank 2, [N, D], float32 or float64, any row stride; sums are kept in
 * float64. Results depend on the data and the seed only: the same bits for every thread count.
 */
#ifndef MICA_NUMERIC_H
#define MICA_NUMERIC_H

#include <mica/engine.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- intervals ---- */

typedef struct mica_interval {
  double lo, hi;
} mica_interval;

/* Wilson's score interval (1927) of a proportion with `hits` of `n` at confidence `level`, such as
 * 0.95. n = 0 gives [0, 1]; hits may be fractional (weighted counts). NaN when level is not inside
 * (0, 1). */
MICA_API mica_interval mica_wilson(double hits, double n, double level);

/* Newcombe's score interval (1998, method 10) of the difference between two proportions measured on
 * the same items, first minus second. The counts: both right, only the first, only the second,
 * none. */
MICA_API mica_interval mica_newcombe_paired(double both, double first, double second, double none,
                                            double level);

/* Two-sided exact McNemar test: the probability of a split at least as uneven as b against c when
 * both kinds of discordant pair are equally likely. 1 when there is none. */
MICA_API double mica_mcnemar_exact(double b, double c);

/* `statistic(ctx, count)` of a sample in which item i occurs count[i] times; NaN marks a resample
 * on which it is undefined. Called from several threads at once. */
typedef double (*mica_resampled_fn)(void *ctx, const int32_t *count);

/* Percentile bootstrap (Efron 1979): n items are drawn with replacement `resamples` times, inside
 * their group (group[i] in 0..groups-1; NULL for one group). Undefined resamples are left out; when
 * more than half are, MICA_ERR_NUMERIC. Memory: 4 n bytes for each thread's chunk and 8 bytes a
 * resample. */
MICA_API mica_status mica_bootstrap(const mica_engine *engine, mica_key key, int64_t n,
                                    const int32_t *group, int32_t groups, int32_t resamples,
                                    double level, mica_resampled_fn statistic, void *ctx,
                                    mica_interval *out);

/* The same for m statistics of each resample, which `statistics(ctx, count, values)` writes to
 * values [m]: `out` [m]. One that is undefined in more than half of the resamples gets an interval
 * of NaN. Memory: 8 m bytes a resample beside the above. */
typedef void (*mica_resampled_many_fn)(void *ctx, const int32_t *count, double *values);
MICA_API mica_status mica_bootstrap_many(const mica_engine *engine, mica_key key, int64_t n,
                                         const int32_t *group, int32_t groups, int32_t resamples,
                                         double level, int32_t m, mica_resampled_many_fn statistics,
                                         void *ctx, mica_interval *out);

/* ---- distributions ---- */

/* The x that a chi-square variable with k > 0 degrees of freedom stays below with probability p,
 * and the probability for an x; relative accuracy about 1e-12. NaN outside the ranges. */
MICA_API double mica_chi2_quantile(double p, double k);
MICA_API double mica_chi2_cdf(double x, double k);
/* The same for the standard normal distribution; p = 0 and 1 give infinities. */
MICA_API double mica_normal_quantile(double p);
MICA_API double mica_normal_cdf(double z);

/* The same for Student's distribution with k > 0 degrees of freedom. */
MICA_API double mica_student_quantile(double p, double k);
MICA_API double mica_student_cdf(double t, double k);

/* The share of a normal variable that lies farther than n >= 0 standard deviations from its mean:
 * the false alarms that a working point of "n sigma" accepts. */
MICA_API double mica_sigma_share(double n);

/* Mean of n values, and its standard error sqrt(variance over n - 1 / n), NaN for n below 2;
 * `error` may be NULL. */
MICA_API double mica_mean_error(const double *values, int64_t n, double *error);

/* The q-quantile (0..1) of n >= 1 ascending values, linear between order statistics. */
MICA_API double mica_quantile_sorted(const double *sorted, int64_t n, double q);

/* ---- correlation ---- */

/* Pearson's correlation of n pairs, and Spearman's: that of their ranks, where ties share the mean
 * rank. NaN where one side does not vary, with fewer than two pairs, and with NaN among them.
 * Spearman's takes 32 n bytes; MICA_ERR_MEMORY. */
MICA_API double mica_pearson(int64_t n, const double *a, const double *b);
MICA_API mica_status mica_spearman(int64_t n, const double *a, const double *b, double *out);

/* ---- assignment ---- */

/* Give each of n rows a column of its own, n <= m, so that the sum of value [n, m] is least, or
 * with `maximise` largest: column [n]; with n > m each column gets a row, and rows without one get
 * -1. Shortest augmenting paths (Jonker and Volgenant 1987): O(n^2 m) time, O(n + m) memory.
 * MICA_ERR_NUMERIC for a value that is not finite. `total` may be NULL. */
MICA_API mica_status mica_linear_assignment(int64_t n, int64_t m, const double *value,
                                            bool maximise, int64_t *column, double *total);

typedef struct mica_qap_options {
  uint32_t size;
  int64_t seeds; /* the first so many rows have columns 0, 1, ... already */
  int32_t max_iterations;
  double tol; /* stop when a step moves the matrix by less than this (Frobenius, over root n) */
  int32_t restarts; /* the best of so many runs: the first from the barycentre, others at random */
  uint64_t seed;
} mica_qap_options;
#define MICA_QAP_OPTIONS                                                                           \
  { sizeof(mica_qap_options), 0, 30, 0.03, 1, 0 }

/* The quadratic assignment problem, approximately: the permutation that makes sum a_ij b_p(i)p(j)
 * large, a and b [n, n], which matches two graphs or kernels of the same n items. Frank-Wolfe steps
 * over doubly stochastic matrices (FAQ, Vogelstein et al. 2015; with seeds Fishkind et al. 2019).
 * permutation [n]; *objective (may be NULL) the sum. O(n^3) a step. */
MICA_API mica_status mica_quadratic_assignment(const mica_engine *engine, int64_t n,
                                               const double *a, const double *b,
                                               const mica_qap_options *options,
                                               int64_t *permutation, double *objective);

/* ---- k-means ---- */

typedef struct mica_kmeans_options {
  uint32_t size;
  int32_t cosine; /* 1: rows are scaled to length 1 and centres kept on the sphere; 0: Euclidean */
  int32_t max_iterations;
  int32_t restarts; /* the best of so many runs, each from its own seeding */
  double tol;       /* stop when the inertia falls by less than this share; 0: when no row moves */
  uint64_t seed;
} mica_kmeans_options;
#define MICA_KMEANS_OPTIONS                                                                        \
  { sizeof(mica_kmeans_options), 0, 100, 1, 0, 0 }

typedef struct mica_kmeans_report {
  double inertia; /* sum of squared distances to the nearest centre (cosine: of the unit rows) */
  int64_t iterations;
  int32_t converged; /* 0: max_iterations came first */
} mica_kmeans_report;

/* Lloyd's algorithm after k-means++ seeding (Arthur and Vassilvitskii 2007, greedy: the best of
 * 2 + ln k candidates). `centres` receives [k, D] float64, `assignment` [N] cluster numbers (may be
 * NULL), `report` may be NULL. A cluster that runs empty takes the row farthest from its centre. 1
 * <= k <= N; a row that is not finite, or for cosine is zero, is MICA_ERR_NUMERIC. Memory: 8 k D +
 * 24 N bytes and a block of rows. */
MICA_API mica_status mica_kmeans(const mica_engine *engine, const mica_view *x, int64_t k,
                                 const mica_kmeans_options *options, double *centres,
                                 int64_t *assignment, mica_kmeans_report *report);

/* ---- principal components ---- */

/* The eigenvectors of the covariance (divided by N - 1) with the `k` largest variances, k <= D:
 * `mean` [D], `components` [k, D] with unit rows whose largest element is positive, `variance` [k]
 * descending and `total` the sum of all D variances. Any pointer may be NULL. N >= 2. Memory: 16
 * D^2 bytes and a block of rows. */
MICA_API mica_status mica_pca(const mica_engine *engine, const mica_view *x, int64_t k,
                              double *mean, double *components, double *variance, double *total);

/* y [N, k] = (x - mean) components^T. */
MICA_API mica_status mica_project(const mica_engine *engine, const mica_view *x, const double *mean,
                                  const double *components, int64_t k, double *y);

/* ---- covariance and the distance that it makes ---- */

/* Mean [D] and covariance of the rows of x (N >= 1), shrunk towards a multiple of the identity as
 * Ledoit and Wolf (2004) estimate it from the data, in float64: with S the covariance divided by N
 * and m = tr(S) / D, `covariance` [D, D] is C = (1 - rho) S + rho m I, and *shrinkage rho in 0..1.
 * `precision` [D, D] is C^-1 and `whitening` [D, D], lower triangular, its square root:
 * |whitening x|^2 = x^T C^-1 x. Any pointer but `mean` may be NULL. MICA_ERR_NUMERIC for a feature
 * that is not finite, and where an inverse is asked for of rows that are all equal. Memory: 24 D^2
 * bytes and a block of rows. */
MICA_API mica_status mica_ledoit_wolf(const mica_engine *engine, const mica_view *x, double *mean,
                                      double *covariance, double *precision, double *whitening,
                                      double *shrinkage);

/* distance [N] = sqrt((x - mean)^T precision (x - mean)) of each row. */
MICA_API mica_status mica_mahalanobis(const mica_engine *engine, const mica_view *x,
                                      const double *mean, const double *precision,
                                      double *distance);
/* The same from a whitening matrix: |whitening (x - mean)|, which keeps more digits. */
MICA_API mica_status mica_mahalanobis_whitened(const mica_engine *engine, const mica_view *x,
                                               const double *mean, const double *whitening,
                                               double *distance);

/* Which of the components with these variances [n] (descending, as mica_pca gives them) a reducer
 * keeps at `threshold`, a share of the whole variance: components *first .. *end - 1. With `last`
 * the first whose cumulative share exceeds it, the leading ones are 0 .. last, and the trailing
 * ones begin at last - 1, so that both overlap by two (Rippel, Mertens and Merhof 2020); where last
 * is 0 the trailing ones are all. Trailing components below 1e-10 of the largest variance are left
 * out unless `keep_null`: their direction is arbitrary. */
MICA_API mica_status mica_components_kept(const double *variance, int64_t n, double threshold,
                                          bool trailing, bool keep_null, int64_t *first,
                                          int64_t *end);

/* ---- a map of points ---- */

typedef struct mica_map_options {
  uint32_t size;
  double perplexity; /* 30: the number of neighbours that a point feels; at most (N - 1) / 3 */
  int32_t iterations;
  mica_progress_fn progress;
  void *progress_ctx;
} mica_map_options;
#define MICA_MAP_OPTIONS                                                                           \
  { sizeof(mica_map_options), 30, 500, NULL, NULL }

#define MICA_MAP_MAX_POINTS 4000

/* Place N points (2..MICA_MAP_MAX_POINTS) in the plane so that neighbours stay neighbours: t-SNE
 * (van der Maaten and Hinton 2008) with exact forces, started from the first two principal
 * components, so that it needs no seed. y receives [N, 2], centred, in units without meaning.
 * `divergence` (may be NULL) is the final Kullback-Leibler divergence. Fewer than 8 points are
 * placed by their principal components alone. Memory: 12 N^2 bytes; time grows with N^2 (2,000
 * points: a few seconds). */
MICA_API mica_status mica_map_points(const mica_engine *engine, const mica_view *x,
                                     const mica_map_options *options, double *y,
                                     double *divergence);

/* ---- subspaces ---- */

/* Sets of subspaces, each an orthonormal set of rows: contiguous views [classes, dim, in] (the
 * weight of mica_nn_grassmann). The last rows of one may be zero: it has fewer dimensions. */

/* The largest |S S^T - I| over all classes; infinity where a value is not a number. */
MICA_API mica_status mica_subspaces_error(const mica_view *weight, double *error);
/* Principal angles between two of them, ascending, in radians: angle [dim] (Bjorck and Golub 1973);
 * pi / 2 beyond the dimensions that both have. */
MICA_API mica_status mica_subspace_angles(const mica_view *weight, int64_t first, int64_t second,
                                          double *angle);
/* The gradient [classes, dim, in] less its part along each subspace: the Riemannian gradient on the
 * Grassmann manifold (Edelman, Arias & Smith 1998). */
MICA_API mica_status mica_subspaces_horizontal(const mica_view *weight, const mica_view *gradient,
                                               double *out);

#ifdef __cplusplus
}
#endif
#endif
