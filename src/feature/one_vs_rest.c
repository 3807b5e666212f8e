/* Each class against the rest: areas and average precisions, their means, and intervals from one
 * bootstrap over all of them.
 *
 * Each column is sorted once; a resample is a weight for each row, so that it costs one pass.
 */
#include "numeric/sort.h"

#include <mica/feature.h>

#include <math.h>

typedef struct columns {
  int64_t n, classes;
  const double *score;  /* [n, classes] */
  const int64_t *truth; /* [n] */
  const bool *measured; /* [classes] */
  int32_t *order;       /* [classes, n] rows by falling score */
} columns;

/* Area and average precision of class c where row i occurs count[i] times. */
static void measure(const columns *s, int64_t c, const int32_t *count, double *auroc,
                    double *precision) {
  const int32_t *order = s->order + c * s->n;
  double positive = 0, negative = 0, pairs = 0, sum = 0;
  for (int64_t i = 0; i < s->n;) {
    const double tie = s->score[order[i] * s->classes + c];
    double in = 0, out = 0;
    for (; i < s->n && s->score[order[i] * s->classes + c] == tie; i++)
      *(s->truth[order[i]] == c ? &in : &out) += count[order[i]];
    pairs += out * (positive + in / 2);
    positive += in;
    negative += out;
    if (in > 0) sum += in * positive / (positive + negative);
  }
  *auroc = pairs / (positive * negative);
  *precision = sum / positive;
}

/* values: of each class its area and precision, then the two means. */
static void resampled(void *ctx, const int32_t *count, double *values) {
  const columns *s = ctx;
  double area = 0, precision = 0, classes = 0;
  for (int64_t c = 0; c < s->classes; c++) {
    double *v = values + 2 * c;
    v[0] = v[1] = NAN;
    if (!s->measured[c]) continue;
    measure(s, c, count, &v[0], &v[1]);
    area += v[0], precision += v[1], classes++;
  }
  values[2 * s->classes] = area / classes;
  values[2 * s->classes + 1] = precision / classes;
}

static mica_status sort_columns(columns *s) {
  double *column = mica_malloc((size_t)s->n * sizeof *column);
  int64_t *order = mica_malloc((size_t)s->n * sizeof *order);
  s->order = mica_calloc((size_t)(s->n * s->classes), sizeof *s->order);
  mica_status status = column && order && s->order ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t c = 0; c < s->classes && status == MICA_OK; c++) {
    if (!s->measured[c]) continue;
    for (int64_t i = 0; i < s->n; i++) column[i] = s->score[i * s->classes + c];
    status = mica_sort_descending(s->n, column, order);
    for (int64_t i = 0; i < s->n && status == MICA_OK; i++)
      s->order[c * s->n + i] = (int32_t)order[i];
  }
  mica_free(column);
  mica_free(order);
  return status;
}

/* Intervals of the average precisions and of the means. */
static mica_status bootstrap(const mica_engine *engine, mica_key key, columns *s, double level,
                             int32_t resamples, mica_estimate *precision, mica_estimate *mean_auroc,
                             mica_estimate *mean_precision) {
  const int32_t m = (int32_t)(2 * s->classes + 2);
  mica_interval *interval = mica_malloc((size_t)m * sizeof *interval);
  int32_t *group = mica_malloc((size_t)s->n * sizeof *group);
  mica_status status = interval && group ? sort_columns(s) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < s->n && status == MICA_OK; i++) group[i] = (int32_t)s->truth[i];
  if (status == MICA_OK)
    status = mica_bootstrap_many(engine, key, s->n, group, (int32_t)s->classes, resamples, level, m,
                                 resampled, s, interval);
  if (status == MICA_OK) {
    for (int64_t c = 0; c < s->classes; c++) precision[c].interval = interval[2 * c + 1];
    mean_auroc->interval = interval[2 * s->classes];
    mean_precision->interval = interval[2 * s->classes + 1];
  }
  mica_free(s->order);
  mica_free(interval);
  mica_free(group);
  return status;
}

/* Both measures of one class without a bootstrap. */
static mica_status one_class(const mica_engine *engine, const columns *s, int64_t c, double *column,
                             bool *positive, double level, mica_estimate *auroc,
                             mica_estimate *precision) {
  for (int64_t i = 0; i < s->n; i++) {
    column[i] = s->score[i * s->classes + c];
    positive[i] = s->truth[i] == c;
  }
  const mica_status status = mica_auroc(s->n, column, positive, level, auroc);
  return status == MICA_OK ? mica_average_precision(engine, mica_key_seed(0), s->n, column,
                                                    positive, level, 0, precision)
                           : status;
}

static mica_status check(int64_t n, int64_t classes, const int64_t *truth, int32_t resamples) {
  if (n < 1 || n > INT32_MAX || classes < 1 || classes > INT32_MAX / 4 || resamples < 0)
    return mica_fail(MICA_ERR_INVALID,
                     "one against the rest: %lld rows, %lld classes, %d resamples", (long long)n,
                     (long long)classes, resamples);
  for (int64_t i = 0; i < n; i++)
    if (truth[i] < 0 || truth[i] >= classes)
      return mica_fail(MICA_ERR_INVALID,
                       "one against the rest: class %lld of row %lld, expected "
                       "0..%lld",
                       (long long)truth[i], (long long)i, (long long)classes - 1);
  return MICA_OK;
}

mica_status mica_one_vs_rest(const mica_engine *engine, mica_key key, int64_t n, int64_t classes,
                             const double *score, const int64_t *truth, double level,
                             int32_t resamples, mica_estimate *auroc, mica_estimate *precision,
                             mica_estimate *mean_auroc, mica_estimate *mean_precision) {
  const mica_estimate unknown = {NAN, {NAN, NAN}};
  mica_status status = check(n, classes, truth, resamples);
  if (status != MICA_OK) return status;
  double *column = mica_malloc((size_t)n * sizeof *column), area = 0, sum = 0;
  bool *positive = mica_malloc((size_t)n * sizeof *positive);
  bool *measured = mica_calloc((size_t)classes, sizeof *measured);
  int64_t *support = mica_calloc((size_t)classes, sizeof *support), found = 0;
  if (!column || !positive || !measured || !support) status = MICA_ERR_MEMORY;
  columns s = {n, classes, score, truth, measured, NULL};
  for (int64_t i = 0; i < n && status == MICA_OK; i++) support[truth[i]]++;
  for (int64_t c = 0; c < classes && status == MICA_OK; c++) {
    auroc[c] = precision[c] = unknown;
    measured[c] = support[c] > 0 && support[c] < n;
    if (!measured[c]) continue;
    status = one_class(engine, &s, c, column, positive, level, &auroc[c], &precision[c]);
    area += auroc[c].value, sum += precision[c].value, found++;
  }
  *mean_auroc = *mean_precision = unknown;
  if (found) mean_auroc->value = area / (double)found, mean_precision->value = sum / (double)found;
  if (status == MICA_OK && found && resamples)
    status = bootstrap(engine, key, &s, level, resamples, precision, mean_auroc, mean_precision);
  mica_free(column);
  mica_free(positive);
  mica_free(measured);
  mica_free(support);
  return status;
}
