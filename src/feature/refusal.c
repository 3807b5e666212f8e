/* Calibration scores, thinned so that the tail, which thresholds come from, stays exact. */
#include "feature/refusal.h"

#include "feature/record.h"
#include "numeric/sort.h"

#include <math.h>
#include <stdio.h>

enum { exact = MICA_REFUSAL_KEPT / 2 };

/* The rank (0-based, of `rows` ascending scores) of kept score i of `count`. */
static int64_t rank_of(int64_t i, int64_t count, int64_t rows) {
  if (count == rows) return i;
  int64_t thinned = count - exact;
  if (i >= thinned) return rows - count + i;
  /* Evenly over the ranks before the exact tail, the first among them. */
  return (int64_t)((double)i * (double)(rows - exact) / (double)thinned);
}

mica_status mica_refusal_keep(mica_refusal *refusal, double *score, int64_t n) {
  mica_sort_doubles(score, n);
  while (n > 0 && isnan(score[n - 1])) n--;
  int64_t count = n < MICA_REFUSAL_KEPT ? n : MICA_REFUSAL_KEPT;
  double *kept = mica_malloc((size_t)count * sizeof *kept);
  if (!kept) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < count; i++) kept[i] = score[rank_of(i, count, n)];
  mica_refusal_clear(refusal);
  *refusal = (mica_refusal){n, count, kept};
  return MICA_OK;
}

void mica_refusal_clear(mica_refusal *refusal) {
  mica_free(refusal->score);
  *refusal = (mica_refusal){0};
}

double mica_refusal_threshold(const mica_refusal *refusal, double rate) {
  double wanted = ceil((double)(refusal->rows + 1) * (1 - rate) - 1e-9);
  if (!(wanted < (double)refusal->rows)) return refusal->score[refusal->count - 1];
  int64_t rank = wanted < 1 ? 0 : (int64_t)wanted - 1;
  /* The first kept score that is not below that rank. */
  int64_t lo = 0, hi = refusal->count - 1;
  while (lo < hi) {
    int64_t middle = lo + (hi - lo) / 2;
    if (rank_of(middle, refusal->count, refusal->rows) >= rank)
      hi = middle;
    else
      lo = middle + 1;
  }
  return refusal->score[lo];
}

static const char *name_of(const char *prefix, const char *what, char buf[64]) {
  snprintf(buf, 64, "%s.%s", prefix, what);
  return buf;
}

mica_status mica_refusal_save(const mica_refusal *refusal, const char *prefix,
                              mica_record *record) {
  char name[64];
  if (refusal->rows == 0) return MICA_OK;
  mica_status status = mica_record_put_f64(record, name_of(prefix, "score", name),
                                           MICA_SHAPE(refusal->count), refusal->score);
  return status ? status
                : mica_record_put_i64(record, name_of(prefix, "rows", name), MICA_SHAPE(1),
                                      &refusal->rows);
}

mica_status mica_refusal_load(mica_refusal *refusal, const char *prefix,
                              const mica_record *record) {
  char name[64];
  *refusal = (mica_refusal){0};
  if (!mica_record_has(record, name_of(prefix, "score", name))) return MICA_OK;
  int64_t rows;
  mica_status status = mica_record_take_i64(record, name_of(prefix, "rows", name), MICA_SHAPE(1), 1,
                                            INT64_MAX, &rows);
  if (status) return status;
  int64_t count = rows < MICA_REFUSAL_KEPT ? rows : MICA_REFUSAL_KEPT;
  double *score = mica_malloc((size_t)count * sizeof *score);
  if (!score) return MICA_ERR_MEMORY;
  status =
      mica_record_take_f64(record, name_of(prefix, "score", name), MICA_SHAPE(count), false, score);
  for (int64_t i = 1; i < count && !status; i++)
    if (score[i] < score[i - 1])
      status =
          mica_fail(MICA_ERR_FORMAT, "estimator record: \"%s.score\" is not ascending", prefix);
  if (status)
    mica_free(score);
  else
    *refusal = (mica_refusal){rows, count, score};
  return status;
}
