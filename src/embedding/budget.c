/* What a share of bytes buys: bisection, sparse rows, frequent ids. */
#include "embedding/table.h"

#include <math.h>
#include <stdlib.h>

int64_t mica_embedding_largest(int64_t lo, int64_t hi, int64_t budget, mica_bytes_fn bytes,
                               const void *ctx) {
  int64_t good = lo - 1;
  while (lo <= hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    if (bytes(ctx, middle) <= budget)
      good = middle, lo = middle + 1;
    else
      hi = middle - 1;
  }
  return good;
}

double mica_embedding_share(int64_t budget, mica_share_fn bytes, const void *ctx) {
  if (bytes(ctx, 1) <= budget) return 1;
  if (bytes(ctx, 0) > budget) return -1;
  double good = 0, bad = 1;
  for (int i = 0; i < 52; i++) {
    const double middle = (good + bad) / 2;
    *(bytes(ctx, middle) <= budget ? &good : &bad) = middle;
  }
  return good;
}

/* ---- sparse rows ---- */

int64_t mica_sparse_bytes(int64_t rows, int64_t elements, bool csr) {
  return csr ? 8 * elements + 4 * (rows + 1) : 12 * elements;
}

int64_t mica_sparse_elements(int64_t rows, int64_t n, int64_t bytes, bool *csr) {
  const int64_t by_rows = (bytes - 4 * (rows + 1)) / 8, alone = bytes / 12;
  *csr = by_rows >= alone;
  const int64_t most = *csr ? by_rows : alone;
  return most < n ? most : n;
}

/* ---- frequent ids ---- */

typedef struct counted {
  double count;
  int64_t row;
} counted;

static int by_count(const void *a, const void *b) {
  const counted *x = a, *y = b;
  if (x->count > y->count || x->count < y->count) return x->count > y->count ? -1 : 1;
  return x->row < y->row ? -1 : x->row > y->row;
}

static int by_row(const void *a, const void *b) {
  const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return x < y ? -1 : x > y;
}

mica_status mica_embedding_frequent(const mica_embedding_table *e, const int64_t *count, int64_t n,
                                    int32_t *rows) {
  if (e->rows > INT32_MAX)
    return mica_fail(MICA_ERR_UNSUPPORTED, "a list of frequent ids is for less than 2^31 of them");
  counted *all = mica_calloc((size_t)e->rows, sizeof *all);
  if (!all) return MICA_ERR_MEMORY;
  for (int64_t f = 0; f < e->fields; f++)
    for (int64_t i = e->offset[f]; i < e->offset[f + 1]; i++)
      all[i] =
          (counted){count ? (double)count[i] : -(double)(i - e->offset[f]) / (double)e->size[f], i};
  qsort(all, (size_t)e->rows, sizeof *all, by_count);
  for (int64_t i = 0; i < n; i++) rows[i] = (int32_t)all[i].row;
  qsort(rows, (size_t)n, sizeof *rows, by_row);
  mica_free(all);
  return MICA_OK;
}

int64_t mica_embedding_find(const int32_t *rows, int64_t n, int64_t row) {
  int64_t lo = 0, hi = n;
  while (lo < hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    if (rows[middle] < row)
      lo = middle + 1;
    else
      hi = middle;
  }
  return lo < n && rows[lo] == row ? lo : -1;
}
