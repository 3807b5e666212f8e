/* gather.c: rows and elements by number; selection and sorting of rows. */
#include "tensor/kernel/gather.h"

#include "base/memory.h"
#include "loop.h"

enum { AHEAD = 8 };

static int64_t first_bad(int64_t n, const int64_t *ids, int64_t limit) {
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= limit) return i;
  return -1;
}

static void rows_(int64_t n, int64_t cols, const int64_t *ids, const void *x, int64_t x_stride,
                  void *y, int64_t y_stride) {
  const real *px = x;
  real *py = y;
  if (cols <= 0) return;
  for (int64_t i = 0; i < n; i++) {
    /* A table's rows lie apart: those to come are asked for. */
    if (i + AHEAD < n) __builtin_prefetch(px + ids[i + AHEAD] * x_stride);
    mica_copy_row(py + i * y_stride, px + ids[i] * x_stride, (size_t)cols * sizeof(real));
  }
}

static void scatter_add_rows(int64_t n, int64_t cols, const int64_t *ids, double alpha,
                             const void *x, int64_t x_stride, void *y, int64_t y_stride) {
  const real *px = x;
  const real a = (real)alpha;
  for (int64_t i = 0; i < n; i++, px += x_stride) {
    real *py = (real *)y + ids[i] * y_stride;
    SIMD for (int64_t c = 0; c < cols; c++) py[c] += a * px[c];
  }
}

static void elements(int64_t rows, int64_t k, const int64_t *ids, const void *x, int64_t x_stride,
                     void *y) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += k, ids += k)
    for (int64_t j = 0; j < k; j++) py[j] = px[ids[j]];
}

static void scatter_add_elements(int64_t rows, int64_t k, const int64_t *ids, const void *x,
                                 void *y, int64_t y_stride) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += k, py += y_stride, ids += k)
    for (int64_t j = 0; j < k; j++) py[ids[j]] += px[j];
}

/* ---- order: a NaN above every number ---- */

static inline bool below(real a, real b) {
  return a < b || (b != b && a == a);
}

/* Element a comes after element b when the largest comes first and ties go by index. */
static inline bool after(const real *x, int64_t a, int64_t b) {
  return below(x[a], x[b]) || (!below(x[b], x[a]) && a > b);
}

/* A heap whose top comes after all others in it. */
static void sink(const real *x, int64_t *heap, int64_t n, int64_t i) {
  const int64_t moving = heap[i];
  for (;;) {
    int64_t child = 2 * i + 1;
    if (child >= n) break;
    if (child + 1 < n && after(x, heap[child + 1], heap[child])) child++;
    if (!after(x, heap[child], moving)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = moving;
}

static void top_k(int64_t rows, int64_t cols, int64_t k, const void *x, int64_t x_stride, void *y,
                  int64_t *ids, int64_t *scratch) {
  const real *px = x;
  real *py = y;
  (void)scratch;
  for (int64_t r = 0; r < rows && k > 0; r++, px += x_stride, ids += k) {
    for (int64_t j = 0; j < k; j++) ids[j] = j;
    for (int64_t j = k / 2 - 1; j >= 0; j--) sink(px, ids, k, j);
    for (int64_t c = k; c < cols; c++)
      if (after(px, ids[0], c)) {
        ids[0] = c;
        sink(px, ids, k, 0);
      }
    for (int64_t n = k - 1; n > 0; n--) { /* the last goes to the end, again and again */
      const int64_t last = ids[0];
      ids[0] = ids[n];
      ids[n] = last;
      sink(px, ids, n, 0);
    }
    if (py != NULL)
      for (int64_t j = 0; j < k; j++) py[r * k + j] = px[ids[j]];
  }
}

/* Merge sort of ids by value: runs of 16 by insertion, then merging between ids and scratch. */
static void sort_row(int64_t n, bool descending, const real *x, int64_t *ids, int64_t *scratch) {
  enum { SHORT = 16 };
#define COMES_FIRST(a, b) (descending ? below(x[b], x[a]) : below(x[a], x[b]))
  for (int64_t i = 0; i < n; i++) ids[i] = i;
  for (int64_t begin = 0; begin < n; begin += SHORT) {
    const int64_t end = smaller(begin + SHORT, n);
    for (int64_t i = begin + 1; i < end; i++) {
      const int64_t moving = ids[i];
      int64_t j = i;
      for (; j > begin && COMES_FIRST(moving, ids[j - 1]); j--) ids[j] = ids[j - 1];
      ids[j] = moving;
    }
  }
  int64_t *from = ids, *to = scratch;
  for (int64_t size = SHORT; size < n; size *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * size) {
      const int64_t middle = smaller(begin + size, n), end = smaller(begin + 2 * size, n);
      int64_t a = begin, b = middle;
      for (int64_t i = begin; i < end; i++) {
        const bool right = b < end && (a >= middle || COMES_FIRST(from[b], from[a]));
        to[i] = right ? from[b++] : from[a++];
      }
    }
    int64_t *swap = from;
    from = to;
    to = swap;
  }
  if (from != ids) memcpy(ids, from, (size_t)n * sizeof *ids);
#undef COMES_FIRST
}

static void sort(int64_t rows, int64_t cols, bool descending, const void *x, int64_t x_stride,
                 void *y, int64_t *ids, int64_t *scratch) {
  const real *px = x;
  real *py = y;
  for (int64_t r = 0; r < rows; r++, px += x_stride, ids += cols) {
    sort_row(cols, descending, px, ids, scratch);
    if (py != NULL)
      for (int64_t c = 0; c < cols; c++) py[r * cols + c] = px[ids[c]];
  }
}

const mica_gather_kernels MICA_KERNEL(gather) = {
    .first_bad = first_bad,
    .rows = rows_,
    .scatter_add_rows = scatter_add_rows,
    .elements = elements,
    .scatter_add_elements = scatter_add_elements,
    .top_k = top_k,
    .sort = sort,
};
