/* Counts of values in bounded memory: see value_counts.h. */
#include "data/value_counts.h"

#include <stdlib.h>
#include <string.h>

/* What a value takes: its text with the allocator's share, and its places in the tables. */
static int64_t bytes_of(const char *text) {
  return (int64_t)strlen(text) + 1 + 64;
}

mica_status mica_value_counts_add(mica_value_counts *v, const char *text) {
  const int64_t before = v->values.n, at = mica_dictionary_add(&v->values, text);
  if (at < 0) return MICA_ERR_MEMORY;
  if (at < before) {
    v->count[at]++;
    return MICA_OK;
  }
  if (v->values.n > v->room) {
    int64_t *count = mica_realloc_array(v->count, (size_t)v->values.room, sizeof *count);
    if (!count) return MICA_ERR_MEMORY;
    v->count = count;
    v->room = v->values.room;
  }
  v->count[at] = 1;
  v->bytes += bytes_of(text);
  return MICA_OK;
}

void mica_value_counts_free(mica_value_counts *v) {
  mica_dictionary_free(&v->values);
  mica_free(v->count);
  *v = (mica_value_counts){0};
}

static int by_size(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

/* Forget the values whose count is not above that of the middle one. */
static mica_status halve(mica_value_counts *v) {
  const int64_t n = v->values.n;
  int64_t *sorted = mica_malloc((size_t)(n ? n : 1) * sizeof *sorted);
  if (!sorted) return MICA_ERR_MEMORY;
  memcpy(sorted, v->count, (size_t)n * sizeof *sorted);
  qsort(sorted, (size_t)n, sizeof *sorted, by_size);
  const int64_t bound = sorted[n / 2];
  mica_free(sorted);
  mica_value_counts kept = {.lost = v->lost + bound};
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < n && status == MICA_OK; k++) {
    if (v->count[k] <= bound) continue;
    status = mica_value_counts_add(&kept, v->values.text[k]);
    if (status == MICA_OK) kept.count[kept.values.n - 1] = v->count[k];
  }
  if (status != MICA_OK) {
    mica_value_counts_free(&kept);
    return status;
  }
  mica_value_counts_free(v);
  *v = kept;
  return MICA_OK;
}

mica_status mica_value_counts_bound(mica_value_counts *columns, int64_t n, int64_t limit) {
  for (;;) {
    int64_t total = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
      total += columns[i].bytes;
      if (columns[i].bytes > columns[largest].bytes) largest = i;
    }
    if (total <= limit || !n) return MICA_OK;
    const mica_status status = halve(&columns[largest]);
    if (status != MICA_OK) return status;
  }
}
