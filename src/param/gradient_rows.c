/* Row gradients brought together: a stable sort by id, by digits, then the rows of one id are added
 * up in the order in which they came. Each id is one thread's, so the bits are the same for every
 * number of threads; memory stays from step to step.
 */
#include "param/tree.h"

#include <string.h>

typedef struct row_id {
  int64_t id, at;
} row_id;

#define DIGIT  11
#define DIGITS ((int64_t)1 << DIGIT)

/* Sorted in a or b, whichever is returned. */
static row_id *sort(row_id *a, row_id *b, int64_t n, int64_t largest) {
  int64_t place[DIGITS];
  for (int shift = 0; shift < 63 && largest >> shift; shift += DIGIT) {
    memset(place, 0, sizeof place);
    for (int64_t i = 0; i < n; i++) place[a[i].id >> shift & (DIGITS - 1)]++;
    for (int64_t d = 0, at = 0; d < DIGITS; d++) {
      const int64_t count = place[d];
      place[d] = at;
      at += count;
    }
    for (int64_t i = 0; i < n; i++) b[place[a[i].id >> shift & (DIGITS - 1)]++] = a[i];
    row_id *swap = a;
    a = b;
    b = swap;
  }
  return a;
}

/* Ids of one piece of the sums. */
#define IDS 512

typedef struct sum_job {
  const row_id *order;
  const int64_t *start; /* of each id in the order, and the end */
  int64_t n, width;     /* ids, elements of a row */
  bool single;
  const char *from;
  char *to;
} sum_job;

static void sum_range(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  const int64_t width = j->width, last = end * IDS < j->n ? end * IDS : j->n;
  const size_t row = (size_t)width * (j->single ? sizeof(float) : sizeof(double));
  for (int64_t k = begin * IDS; k < last; k++) {
    char *to = j->to + (size_t)k * row;
    memcpy(to, j->from + (size_t)j->order[j->start[k]].at * row, row);
    for (int64_t i = j->start[k] + 1; i < j->start[k + 1]; i++) {
      const char *from = j->from + (size_t)j->order[i].at * row;
      if (j->single) {
        float *restrict a = (float *)(void *)to;
        const float *restrict b = (const float *)(const void *)from;
        for (int64_t c = 0; c < width; c++) a[c] += b[c];
      } else {
        double *restrict a = (double *)(void *)to;
        const double *restrict b = (const double *)(const void *)from;
        for (int64_t c = 0; c < width; c++) a[c] += b[c];
      }
    }
  }
}

static bool make_room(mica_param *q, size_t row) {
  if (q->cap_spare == q->cap_rows) return true;
  mica_free_aligned(q->spare_rows);
  mica_free_aligned(q->order);
  q->cap_spare = 0;
  q->spare_rows = mica_malloc_aligned((size_t)q->cap_rows * row);
  q->order = mica_malloc_aligned((size_t)q->cap_rows * 2 * sizeof(row_id) +
                                 (size_t)(q->cap_rows + 1) * sizeof(int64_t));
  if (!q->spare_rows || !q->order) return false;
  q->cap_spare = q->cap_rows;
  return true;
}

mica_status mica_param_coalesce(mica_param *q) {
  if (q->coalesced || !q->n_rows) return MICA_OK;
  const int64_t n = q->n_rows, length = mica_tensor_dim(q->value, 0);
  const int64_t width = length ? mica_tensor_count(q->value) / length : 0;
  const mica_dtype dtype = mica_tensor_dtype(q->value);
  if (!make_room(q, (size_t)width * mica_dtype_size(dtype))) return MICA_ERR_MEMORY;
  row_id *order = q->order;
  int64_t *start = (int64_t *)(void *)(order + 2 * q->cap_spare), largest = 0;
  for (int64_t i = 0; i < n; i++) {
    order[i] = (row_id){q->ids[i], i};
    if (q->ids[i] > largest) largest = q->ids[i];
  }
  const row_id *sorted = sort(order, order + q->cap_spare, n, largest);
  int64_t out = 0;
  for (int64_t i = 0; i < n; i++) {
    if (out && q->ids[out - 1] == sorted[i].id) continue;
    start[out] = i;
    q->ids[out++] = sorted[i].id;
  }
  start[out] = n;
  sum_job job = {sorted, start, out, width, dtype == MICA_F32, q->rows, q->spare_rows};
  mica_parallel_for(q->tree->engine, (out + IDS - 1) / IDS, sum_range, &job);
  void *swap = q->rows;
  q->rows = q->spare_rows;
  q->spare_rows = swap;
  q->n_rows = out;
  q->coalesced = true;
  return MICA_OK;
}
