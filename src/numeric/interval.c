/* Intervals for proportions, differences of proportions, and resampled statistics.
 *
 * The bootstrap counts how often each item occurs in a resample instead of copying items: a
 * statistic then sorts once and walks its order with weights. Draw number i of resample r has its
 * own counter, so resamples can run on any thread.
 */
#include <mica/numeric.h>

#include "numeric/chunks.h"
#include "numeric/sort.h"
#include "numeric/special.h"

#include <math.h>
#include <string.h>

static bool level_ok(double level) {
  return level > 0 && level < 1;
}

mica_interval mica_wilson(double hits, double n, double level) {
  if (!level_ok(level) || !(n >= 0) || !(hits >= 0) || hits > n) return (mica_interval){NAN, NAN};
  if (n == 0) return (mica_interval){0, 1};
  double z = mica_normal_quantile(0.5 + level / 2), p = hits / n, z2 = z * z;
  double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  double half = z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
  return (mica_interval){hits == 0 ? 0 : fmax(0, middle - half),
                         hits == n ? 1 : fmin(1, middle + half)};
}

mica_interval mica_newcombe_paired(double both, double first, double second, double none,
                                   double level) {
  double n = both + first + second + none;
  if (!level_ok(level) || !(both >= 0) || !(first >= 0) || !(second >= 0) || !(none >= 0))
    return (mica_interval){NAN, NAN};
  if (n == 0) return (mica_interval){-1, 1};
  double p1 = (both + first) / n, p2 = (both + second) / n;
  mica_interval w1 = mica_wilson(both + first, n, level), w2 = mica_wilson(both + second, n, level);
  double rows = (both + first) * (second + none), columns = (both + second) * (first + none);
  double phi = 0;
  if (rows > 0 && columns > 0) {
    double a = both * none - first * second;
    if (a > 0) a = fmax(a - n / 2, 0);
    phi = a / sqrt(rows * columns);
  }
  double d1 = p1 - w1.lo, e1 = w1.hi - p1, d2 = p2 - w2.lo, e2 = w2.hi - p2;
  double lower = sqrt(fmax(0, d1 * d1 - 2 * phi * d1 * e2 + e2 * e2));
  double upper = sqrt(fmax(0, e1 * e1 - 2 * phi * e1 * d2 + d2 * d2));
  return (mica_interval){fmax(-1, p1 - p2 - lower), fmin(1, p1 - p2 + upper)};
}

double mica_mcnemar_exact(double b, double c) {
  if (!(b >= 0) || !(c >= 0)) return NAN;
  return fmin(1, 2 * mica_binomial_cdf(fmin(b, c), b + c, 0.5));
}

double mica_quantile_sorted(const double *sorted, int64_t n, double q) {
  if (n < 1 || !(q >= 0) || !(q <= 1)) return NAN;
  double at = q * (double)(n - 1);
  int64_t low = (int64_t)floor(at);
  if (low >= n - 1) return sorted[n - 1];
  double part = at - (double)low;
  return part == 0 ? sorted[low] : sorted[low] + part * (sorted[low + 1] - sorted[low]);
}

typedef struct {
  mica_key key;
  int64_t n;
  int32_t groups;
  const int64_t *start;  /* [groups + 1] into member */
  const int64_t *member; /* items ordered by group */
  mica_resampled_many_fn statistics;
  void *ctx;
  int32_t m;
  double *value; /* [resamples, m] */
} bootstrap;

static mica_status resample(void *ctx, int64_t r, void *scratch) {
  const bootstrap *b = ctx;
  int32_t *count = scratch;
  memset(count, 0, (size_t)b->n * sizeof *count);
  mica_key key = mica_key_fold(b->key, (uint64_t)r);
  for (int32_t g = 0; g < b->groups; g++) {
    int64_t begin = b->start[g], size = b->start[g + 1] - begin;
    for (int64_t i = 0; i < size; i++)
      count[b->member[begin +
                      (int64_t)mica_random_below(key, (uint64_t)(begin + i), (uint64_t)size)]]++;
  }
  b->statistics(b->ctx, count, b->value + r * b->m);
  return MICA_OK;
}

/* Items in the order of their group: a counting sort. */
static mica_status order_by_group(int64_t n, const int32_t *group, int32_t groups, int64_t *start,
                                  int64_t *member) {
  memset(start, 0, ((size_t)groups + 1) * sizeof *start);
  for (int64_t i = 0; i < n; i++) {
    int32_t g = group ? group[i] : 0;
    if (g < 0 || g >= groups)
      return mica_fail(MICA_ERR_INVALID, "bootstrap: group %d of item %lld, expected 0..%d", g,
                       (long long)i, groups - 1);
    start[g + 1]++;
  }
  for (int32_t g = 0; g < groups; g++) start[g + 1] += start[g];
  for (int64_t i = 0; i < n; i++) member[start[group ? group[i] : 0]++] = i;
  for (int32_t g = groups; g > 0; g--) start[g] = start[g - 1];
  start[0] = 0;
  return MICA_OK;
}

mica_status mica_bootstrap_many(const mica_engine *engine, mica_key key, int64_t n,
                                const int32_t *group, int32_t groups, int32_t resamples,
                                double level, int32_t m, mica_resampled_many_fn statistics,
                                void *ctx, mica_interval *out) {
  for (int32_t k = 0; k < m; k++) out[k] = (mica_interval){NAN, NAN};
  if (!group) groups = 1;
  if (n < 1 || groups < 1 || resamples < 1 || m < 1 || !level_ok(level))
    return mica_fail(
        MICA_ERR_INVALID,
        "bootstrap: %lld items, %d groups, %d resamples, level %g; expected at least one "
        "of each and a level between 0 and 1",
        (long long)n, groups, resamples, level);
  int64_t *start = mica_malloc(((size_t)groups + 1 + (size_t)n) * sizeof *start);
  double *value = mica_malloc((size_t)resamples * (size_t)m * sizeof *value);
  double *one = mica_malloc((size_t)resamples * sizeof *one);
  mica_status status = start && value && one ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = order_by_group(n, group, groups, start, start + groups + 1);
  if (!status) {
    bootstrap b = {key, n, groups, start, start + groups + 1, statistics, ctx, m, value};
    status = mica_chunks_run(engine, resamples, (size_t)n * sizeof(int32_t), resample, &b);
  }
  for (int32_t k = 0; k < m && !status; k++) {
    for (int64_t r = 0; r < resamples; r++) one[r] = value[r * m + k];
    mica_sort_doubles(one, resamples);
    int64_t defined = resamples;
    while (defined > 0 && isnan(one[defined - 1])) defined--;
    if (2 * defined >= resamples)
      out[k] = (mica_interval){mica_quantile_sorted(one, defined, 0.5 - level / 2),
                               mica_quantile_sorted(one, defined, 0.5 + level / 2)};
  }
  mica_free(start);
  mica_free(value);
  mica_free(one);
  return status;
}

typedef struct {
  mica_resampled_fn statistic;
  void *ctx;
} single;

static void one_statistic(void *ctx, const int32_t *count, double *value) {
  const single *s = ctx;
  *value = s->statistic(s->ctx, count);
}

mica_status mica_bootstrap(const mica_engine *engine, mica_key key, int64_t n, const int32_t *group,
                           int32_t groups, int32_t resamples, double level,
                           mica_resampled_fn statistic, void *ctx, mica_interval *out) {
  single s = {statistic, ctx};
  mica_status status = mica_bootstrap_many(engine, key, n, group, groups, resamples, level, 1,
                                           one_statistic, &s, out);
  if (!status && isnan(out->lo))
    status = mica_fail(MICA_ERR_NUMERIC,
                       "bootstrap: the statistic is undefined on more than half of %d resamples",
                       resamples);
  return status;
}

double mica_mean_error(const double *values, int64_t n, double *error) {
  double sum = 0, square = 0;
  for (int64_t i = 0; i < n; i++) sum += values[i];
  const double mean = sum / (double)n;
  for (int64_t i = 0; i < n; i++) square += (values[i] - mean) * (values[i] - mean);
  if (error) *error = n < 2 ? NAN : sqrt(square / (double)(n - 1) / (double)n);
  return mean;
}
