/* Drawing a token: repetition penalty, temperature, the k likeliest, the nucleus. The likeliest
 * come off a heap, so that a large vocabulary is not sorted. */
#include "model/sample.h"

#include <math.h>

mica_status mica_sampling_check(const mica_sampling *s) {
  if (!(s->repetition >= 1) || isinf(s->repetition))
    return mica_fail(MICA_ERR_INVALID, "sampling: repetition %g, expected 1 or more",
                     s->repetition);
  if (!(s->temperature >= 0) || isinf(s->temperature))
    return mica_fail(MICA_ERR_INVALID, "sampling: temperature %g, expected 0 or more",
                     s->temperature);
  if (s->top_k < 0)
    return mica_fail(MICA_ERR_INVALID, "sampling: top_k %lld, expected 0 or more",
                     (long long)s->top_k);
  if (!(s->top_p > 0 && s->top_p <= 1))
    return mica_fail(MICA_ERR_INVALID, "sampling: top_p %g, expected above 0 and at most 1",
                     s->top_p);
  return MICA_OK;
}

/* a before b: more likely, ties by number. */
static bool before(const mica_candidate *a, const mica_candidate *b) {
  return a->probability > b->probability || (a->probability == b->probability && a->id < b->id);
}

static void sift(mica_candidate *heap, int64_t n, int64_t at) {
  if (n < 1) return;
  const mica_candidate down = heap[at];
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && before(&heap[child + 1], &heap[child])) child++;
    if (!before(&heap[child], &down)) break;
    heap[at] = heap[child];
  }
  heap[at] = down;
}

static double penalised(const mica_sampling *s, double logit, bool came) {
  if (!came || s->repetition == 1) return logit;
  return logit > 0 ? logit / s->repetition : logit * s->repetition;
}

/* The candidate whose share of the line [0, total) holds u. */
static int64_t pick(const mica_candidate *c, int64_t n, double u) {
  double sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!(c[i].probability > 0)) continue;
    last = i;
    sum += c[i].probability;
    if (u < sum) break;
  }
  return c[last].id;
}

mica_status mica_sample(const mica_sampling *s, int64_t n, const float *logits, const uint8_t *came,
                        uint64_t number, mica_candidate *c, int64_t *token) {
  double top = -INFINITY;
  int64_t best = -1;
  for (int64_t i = 0; i < n; i++) {
    const double logit = penalised(s, (double)logits[i], came[i] != 0);
    if (isnan(logit))
      return mica_fail(MICA_ERR_NUMERIC, "the logit of token %lld is not a number", (long long)i);
    c[i] = (mica_candidate){logit, i};
    if (logit > top) {
      top = logit;
      best = i;
    }
  }
  if (best < 0 || isinf(top))
    return mica_fail(MICA_ERR_NUMERIC, "the largest logit is %g, expected a number", top);
  *token = best;
  if (s->temperature == 0) return MICA_OK;
  double total = 0;
  for (int64_t i = 0; i < n; i++) {
    c[i].probability = exp((c[i].probability - top) / s->temperature);
    total += c[i].probability;
  }
  const double u = mica_random_uniform(mica_key_fold_name(mica_key_seed(s->seed), "token"), number);
  const int64_t most = s->top_k && s->top_k < n ? s->top_k : n;
  double kept = total;
  int64_t taken = n;
  if (most < n || s->top_p < 1) {
    /* The likeliest go to the end of the array, falling towards the front. */
    const double reach = most < n ? INFINITY : s->top_p * total;
    for (int64_t i = n / 2; i-- > 0;) sift(c, n, i);
    for (kept = 0, taken = 0; taken < most && kept < reach; taken++) {
      const mica_candidate first = c[0];
      kept += first.probability;
      c[0] = c[n - taken - 1];
      sift(c, n - taken - 1, 0);
      c[n - taken - 1] = first;
    }
  }
  if (most < n && s->top_p < 1) { /* p is a share of those k */
    const double reach = s->top_p * kept;
    for (kept = 0, taken = 0; taken < most && kept < reach; taken++)
      kept += c[n - 1 - taken].probability;
  }
  *token = pick(c + (n - taken), taken, u * kept);
  return MICA_OK;
}
