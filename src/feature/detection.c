/* Measures of scores that should be high for positives: ROC, precision and recall, thresholds.
 *
 * Equal scores are one threshold everywhere: an AUROC counts a tied pair as half, a curve has one
 * point for them, whatever the order of the rows.
 */
#include "numeric/sort.h"

#include <mica/feature.h>

#include <math.h>

static mica_status check(const char *what, int64_t n, const double *score, const bool *positive,
                         double level, int64_t *positives) {
  if (!(level > 0 && level < 1))
    return mica_fail(MICA_ERR_INVALID, "%s: confidence level %g, expected between 0 and 1", what,
                     level);
  *positives = 0;
  for (int64_t i = 0; i < n; i++) {
    if (isnan(score[i]))
      return mica_fail(MICA_ERR_NUMERIC, "%s: the score of row %lld is NaN", what, (long long)i);
    *positives += positive[i];
  }
  if (*positives == 0 || *positives == n)
    return mica_fail(MICA_ERR_INVALID, "%s: %lld positives of %lld rows, expected both kinds", what,
                     (long long)*positives, (long long)n);
  return MICA_OK;
}

static mica_status sorted(int64_t n, const double *score, int64_t **order) {
  *order = mica_malloc((size_t)n * sizeof **order);
  if (!*order) return MICA_ERR_MEMORY;
  mica_status status = mica_sort_descending(n, score, *order);
  if (status) mica_free(*order);
  return status;
}

/* The end of the run of equal scores that begins at `at` of the order. */
static int64_t run_end(int64_t n, const double *score, const int64_t *order, int64_t at) {
  int64_t end = at + 1;
  while (end < n && score[order[end]] == score[order[at]]) end++;
  return end;
}

/* ---- AUROC ---- */

/* The interval on the logit scale, where the normal approximation respects 0 and 1. With perfect
 * separation the variance is zero; the smaller group, as that many successes, bounds it from one
 * side (Wilson). */
static mica_interval auroc_interval(double auc, double variance, double smaller, double level) {
  double z = mica_normal_quantile(0.5 + level / 2);
  if (auc >= 1) return (mica_interval){smaller / (smaller + z * z), 1};
  if (auc <= 0) return (mica_interval){0, z * z / (smaller + z * z)};
  if (!(variance > 0)) return (mica_interval){0, 1};
  double logit = log(auc / (1 - auc)), half = z * sqrt(variance) / (auc * (1 - auc));
  return (mica_interval){1 / (1 + exp(half - logit)), 1 / (1 + exp(-half - logit))};
}

mica_status mica_auroc(int64_t n, const double *score, const bool *positive, double level,
                       mica_estimate *out) {
  int64_t positives, *order;
  mica_status status = check("AUROC", n, score, positive, level, &positives);
  if (!status) status = sorted(n, score, &order);
  if (status) return status;
  /* DeLong's components: for a positive the share of negatives below it, for a negative the share
   * of positives above it; both sums run over tied groups from the largest score down. */
  double p = (double)positives, q = (double)(n - positives), above = 0, negatives_above = 0;
  double sum_p = 0, square_p = 0, sum_q = 0, square_q = 0;
  for (int64_t at = 0, end; at < n; at = end) {
    end = run_end(n, score, order, at);
    double here_p = 0, here_q = 0;
    for (int64_t i = at; i < end; i++) {
      if (positive[order[i]])
        here_p++;
      else
        here_q++;
    }
    double v = (q - negatives_above - here_q / 2) / q, w = (above + here_p / 2) / p;
    sum_p += here_p * v;
    square_p += here_p * v * v;
    sum_q += here_q * w;
    square_q += here_q * w * w;
    above += here_p;
    negatives_above += here_q;
  }
  mica_free(order);
  double auc = sum_p / p;
  double variance_p = p > 1 ? fmax(0, square_p - sum_p * sum_p / p) / (p - 1) : 0;
  double variance_q = q > 1 ? fmax(0, square_q - sum_q * sum_q / q) / (q - 1) : 0;
  *out =
      (mica_estimate){auc, auroc_interval(auc, variance_p / p + variance_q / q, fmin(p, q), level)};
  return MICA_OK;
}

/* ---- measures of resamples ---- */

typedef struct {
  int64_t n;
  const double *score;
  const bool *positive;
  const int64_t *order;
} ranking;

static double area(void *ctx, const int32_t *count) {
  const ranking *r = ctx;
  double p = 0, q = 0, sum = 0;
  for (int64_t at = 0, end; at < r->n; at = end) {
    end = run_end(r->n, r->score, r->order, at);
    double here_p = 0, here_q = 0;
    for (int64_t i = at; i < end; i++) {
      const double times = count ? count[r->order[i]] : 1;
      *(r->positive[r->order[i]] ? &here_p : &here_q) += times;
    }
    sum += here_q * (p + here_p / 2);
    p += here_p;
    q += here_q;
  }
  return p > 0 && q > 0 ? sum / (p * q) : NAN;
}

static double average_precision(void *ctx, const int32_t *count) {
  const ranking *r = ctx;
  double hits = 0, taken = 0, sum = 0;
  for (int64_t at = 0, end; at < r->n; at = end) {
    end = run_end(r->n, r->score, r->order, at);
    double here = 0;
    for (int64_t i = at; i < end; i++) {
      double times = count ? count[r->order[i]] : 1;
      taken += times;
      if (r->positive[r->order[i]]) here += times;
    }
    hits += here;
    if (here > 0) sum += here * hits / taken;
  }
  return hits > 0 ? sum / hits : NAN;
}

static mica_status resampled(const mica_engine *engine, mica_key key, const char *what,
                             mica_resampled_fn measure, int64_t n, const double *score,
                             const bool *positive, double level, int32_t resamples,
                             mica_estimate *out) {
  int64_t positives, *order;
  mica_status status = check(what, n, score, positive, level, &positives);
  if (!status) status = sorted(n, score, &order);
  if (status) return status;
  ranking r = {n, score, positive, order};
  *out = (mica_estimate){measure(&r, NULL), {NAN, NAN}};
  if (resamples > 0) {
    int32_t *group = mica_malloc((size_t)n * sizeof *group);
    if (!group) status = MICA_ERR_MEMORY;
    for (int64_t i = 0; i < n && !status; i++) group[i] = positive[i];
    if (!status)
      status =
          mica_bootstrap(engine, key, n, group, 2, resamples, level, measure, &r, &out->interval);
    mica_free(group);
  }
  mica_free(order);
  return status;
}

mica_status mica_average_precision(const mica_engine *engine, mica_key key, int64_t n,
                                   const double *score, const bool *positive, double level,
                                   int32_t resamples, mica_estimate *out) {
  return resampled(engine, key, "average precision", average_precision, n, score, positive, level,
                   resamples, out);
}

mica_status mica_auroc_bootstrap(const mica_engine *engine, mica_key key, int64_t n,
                                 const double *score, const bool *positive, double level,
                                 int32_t resamples, mica_estimate *out) {
  return resampled(engine, key, "AUROC", area, n, score, positive, level, resamples, out);
}

/* ---- thresholds ---- */

mica_status mica_best_f1(int64_t n, const double *score, const bool *positive, double *f1,
                         double *threshold) {
  int64_t positives, *order;
  mica_status status = check("best F1", n, score, positive, 0.5, &positives);
  if (!status) status = sorted(n, score, &order);
  if (status) return status;
  *f1 = -1;
  double hits = 0;
  for (int64_t at = 0, end; at < n; at = end) {
    end = run_end(n, score, order, at);
    for (int64_t i = at; i < end; i++) hits += positive[order[i]];
    double here = 2 * hits / ((double)end + (double)positives);
    if (here > *f1) {
      *f1 = here;
      *threshold = score[order[at]];
    }
  }
  mica_free(order);
  return MICA_OK;
}

mica_status mica_tpr_at_fpr(int64_t n, const double *score, const bool *positive, double fpr,
                            double level, mica_estimate *tpr, double *threshold) {
  int64_t positives, *order;
  mica_status status = check("TPR at FPR", n, score, positive, level, &positives);
  if (!status && !(fpr >= 0 && fpr <= 1))
    status = mica_fail(MICA_ERR_INVALID, "TPR at FPR: a rate of %g, expected 0..1", fpr);
  if (!status) status = sorted(n, score, &order);
  if (status) return status;
  int64_t allowed = (int64_t)floor(fpr * (double)(n - positives) + 1e-9), seen = 0;
  double limit = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    if (positive[order[i]]) continue;
    if (seen++ == allowed) {
      limit = score[order[i]]; /* the first negative that must stay below or at the threshold */
      break;
    }
  }
  mica_free(order);
  int64_t hits = 0;
  for (int64_t i = 0; i < n; i++)
    hits += positive[i] && (score[i] > limit || allowed == n - positives);
  *tpr = (mica_estimate){(double)hits / (double)positives,
                         mica_wilson((double)hits, (double)positives, level)};
  if (threshold) *threshold = limit;
  return MICA_OK;
}

mica_status mica_roc_curve(int64_t n, const double *score, const bool *positive, double *fpr,
                           double *tpr, int64_t *points) {
  int64_t positives, *order, count = 1, hits = 0;
  mica_status status = check("ROC curve", n, score, positive, 0.5, &positives);
  if (!status) status = sorted(n, score, &order);
  if (status) return status;
  fpr[0] = tpr[0] = 0;
  for (int64_t at = 0, end; at < n; at = end, count++) {
    end = run_end(n, score, order, at);
    for (int64_t i = at; i < end; i++) hits += positive[order[i]];
    tpr[count] = (double)hits / (double)positives;
    fpr[count] = (double)(end - hits) / (double)(n - positives);
  }
  mica_free(order);
  *points = count;
  return MICA_OK;
}
