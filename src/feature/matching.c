/* How well items of two spaces were matched, and Chamfer's distance of two clouds. */
#include "numeric/distance.h"
#include "numeric/rows.h"

#include <mica/alignment.h>

#include <math.h>

/* How many of row i's scores come before its pair's, ties by index; `step` and `start` walk a row
 * or a column. */
static int64_t before(const double *score, int64_t start, int64_t step, int64_t n, int64_t pair) {
  const double own = score[start + pair * step];
  int64_t rank = 0;
  for (int64_t j = 0; j < n; j++) {
    const double v = score[start + j * step];
    rank += v > own || (!(v < own) && j < pair);
  }
  return rank;
}

static mica_status check_truth(int64_t n, const int64_t *truth, bool *seen) {
  for (int64_t i = 0; i < n && truth; i++) {
    if (truth[i] < 0 || truth[i] >= n || seen[truth[i]])
      return mica_fail(MICA_ERR_INVALID, "match: pair %lld of row %lld, expected a permutation",
                       (long long)truth[i], (long long)i);
    seen[truth[i]] = true;
  }
  return MICA_OK;
}

mica_status mica_match_evaluate(int64_t n, const double *score, const int64_t *truth,
                                int64_t *match, mica_match_result *out) {
  if (n < 1) return mica_fail(MICA_ERR_INVALID, "match: no items");
  int64_t *column = mica_calloc((size_t)n, sizeof *column);
  bool *seen = mica_calloc((size_t)n, sizeof *seen);
  mica_status status = column && seen ? check_truth(n, truth, seen) : MICA_ERR_MEMORY;
  if (!status) status = mica_linear_assignment(n, n, score, true, column, NULL);
  int64_t hits[7] = {0};
  for (int64_t i = 0; i < n && !status; i++) {
    const int64_t pair = truth ? truth[i] : i;
    const int64_t there = before(score, i * n, 1, n, pair), back = before(score, pair, n, n, i);
    hits[0] += column[i] == pair;
    hits[1] += there < 1;
    hits[2] += there < 5;
    hits[3] += there < 10;
    hits[4] += back < 1;
    hits[5] += back < 5;
    hits[6] += back < 10;
    if (match) match[i] = column[i];
  }
  double share[7];
  for (int k = 0; k < 7; k++) share[k] = (double)hits[k] / (double)n;
  if (!status)
    *out =
        (mica_match_result){share[0], share[1], share[2], share[3], share[4], share[5], share[6]};
  mica_free(seen);
  mica_free(column);
  return status;
}

/* The mean over p of the squared distance to the nearest of q. */
static mica_status one_way(const mica_engine *engine, const mica_view *p, const mica_view *q,
                           double *out) {
  const int64_t n = mica_rows_n(p);
  double *distance = mica_realloc_array(NULL, (size_t)n, sizeof *distance);
  int64_t *index = mica_realloc_array(NULL, (size_t)n, sizeof *index);
  mica_status status = distance && index ? MICA_OK : MICA_ERR_MEMORY;
  if (!status)
    status =
        mica_nearest_rows(engine, MICA_METRIC_EUCLIDEAN_SQUARED, p, q, 1, NULL, index, distance);
  for (int64_t i = 0; i < n && !status; i++) *out += distance[i] / (double)n;
  mica_free(index);
  mica_free(distance);
  return status;
}

mica_status mica_chamfer_distance(const mica_engine *engine, const mica_view *p, const mica_view *q,
                                  double *out) {
  double sum = 0;
  mica_status status = mica_rows_check(p, "points");
  if (!status) status = mica_rows_check(q, "the other points");
  if (!status && (!mica_rows_n(p) || !mica_rows_n(q)))
    status = mica_fail(MICA_ERR_INVALID, "chamfer distance of a cloud without points");
  if (!status) status = mica_rows_check_finite(engine, p, "points");
  if (!status) status = mica_rows_check_finite(engine, q, "the other points");
  if (!status) status = one_way(engine, p, q, &sum);
  if (!status) status = one_way(engine, q, p, &sum);
  if (!status) *out = sum;
  return status;
}
