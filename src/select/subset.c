/* Choosing a subset of examples by their scores. */
#include <mica/select.h>

#include "numeric/sort.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* What is sorted from the largest: what is kept comes first, behind what is skipped. */
static void keys(int64_t n, const double *score, const mica_select_options *o, double *key) {
  const mica_key random = mica_key_fold_name(mica_key_seed(o->seed), "select");
  for (int64_t i = 0; i < n; i++) switch (o->order) {
    case MICA_SELECT_EASIEST: key[i] = -score[i]; break;
    case MICA_SELECT_ABSOLUTE: key[i] = fabs(score[i]); break;
    case MICA_SELECT_RANDOM: key[i] = mica_random_uniform(random, (uint64_t)i); break;
    default: key[i] = score[i];
    }
}

static int64_t share_of(double share, int64_t n) {
  return (int64_t)llround(share * (double)n);
}

/* Of the members in their order, keep the share behind the skipped. */
static void keep(const int64_t *member, int64_t n, const mica_select_options *o, int64_t *kept,
                 int64_t *count) {
  const int64_t from = share_of(o->skip, n);
  int64_t to = from + share_of(o->keep, n);
  if (to > n) to = n;
  for (int64_t i = from; i < to; i++) kept[(*count)++] = member[i];
}

static mica_status check(int64_t n, const double *score, const int64_t *label,
                         const mica_select_options *o) {
  if (n < 0 || !(o->keep > 0) || !(o->keep <= 1) || !(o->skip >= 0) || !(o->skip < 1))
    return mica_fail(MICA_ERR_INVALID,
                     "select: keep %g and skip %g of %lld examples, expected above 0 to 1 and 0 to "
                     "below 1",
                     o->keep, o->skip, (long long)n);
  if (!score && o->order != MICA_SELECT_RANDOM)
    return mica_fail(MICA_ERR_INVALID, "select: no scores to choose by");
  if (o->balanced && !label) return mica_fail(MICA_ERR_INVALID, "select: balanced needs labels");
  for (int64_t i = 0; score && o->order != MICA_SELECT_RANDOM && i < n; i++)
    if (isnan(score[i]))
      return mica_fail(MICA_ERR_NUMERIC, "select: the score of example %lld is not a number",
                       (long long)i);
  return MICA_OK;
}

mica_status mica_select_examples(int64_t n, const double *score, const int64_t *label,
                                 const mica_select_options *given, int64_t *kept, int64_t *count) {
  mica_select_options o = MICA_SELECT_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_status status = check(n, score, label, &o);
  if (status != MICA_OK) return status;
  double *key = mica_calloc((size_t)n + 1, sizeof *key);
  int64_t *order = mica_calloc(2 * (size_t)n + 1, sizeof *order), classes = 0;
  status = key && order ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    keys(n, score, &o, key);
    status = mica_sort_descending(n, key, order);
  }
  *count = 0;
  if (status == MICA_OK && !o.balanced) keep(order, n, &o, kept, count);
  for (int64_t i = 0; o.balanced && i < n; i++)
    classes = label[i] >= classes ? label[i] + 1 : classes;
  for (int64_t c = 0; c < classes && status == MICA_OK; c++) {
    int64_t members = 0;
    for (int64_t i = 0; i < n; i++)
      if (label[order[i]] == c) order[n + members++] = order[i];
    keep(order + n, members, &o, kept, count);
  }
  if (status == MICA_OK) qsort(kept, (size_t)*count, sizeof *kept, ascending);
  mica_free(key);
  mica_free(order);
  return status;
}

mica_status mica_score_noise(int64_t n, const double *score, const bool *wrong, int64_t k,
                             mica_noise_report *out) {
  int64_t bad = 0, found = 0;
  for (int64_t i = 0; i < n; i++) bad += wrong[i];
  if (k < 0 || k > n)
    return mica_fail(MICA_ERR_INVALID, "the %lld largest of %lld scores", (long long)k,
                     (long long)n);
  mica_status status = mica_auroc(n, score, wrong, 0.95, &out->auroc);
  if (status != MICA_OK) return status;
  int64_t *order = mica_calloc((size_t)n + 1, sizeof *order);
  if (!order) return MICA_ERR_MEMORY;
  status = mica_sort_descending(n, score, order);
  out->k = k ? k : bad;
  for (int64_t i = 0; i < out->k && status == MICA_OK; i++) found += wrong[order[i]];
  out->precision = out->k ? (double)found / (double)out->k : NAN;
  mica_free(order);
  return status;
}
