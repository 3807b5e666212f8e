/* segment.c: sums, means and largest of rows in segments, and their gradients. */
#include "tensor/kernel/segment.h"

#include "loop.h"

static inline int64_t row_of(const int64_t *ids, int64_t i) {
  return ids != NULL ? ids[i] : i;
}

enum { COLUMNS = 64 };

static void sum(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *ids,
                const void *weights, bool mean, const void *x, void *y) {
  const real *px = x, *pw = weights;
  real *py = y;
  for (int64_t s = 0; s < n; s++, py += cols) {
    const int64_t begin = offsets[s], end = offsets[s + 1];
    const double scale = mean && end > begin ? 1 / (double)(end - begin) : 1;
    for (int64_t c = 0; c < cols; c += COLUMNS) {
      const int64_t width = smaller(cols - c, COLUMNS);
      double acc[COLUMNS] = {0};
      for (int64_t i = begin; i < end; i++) {
        const real *row = px + row_of(ids, i) * cols + c;
        const double w = pw != NULL ? (double)pw[i] : 1;
        SIMD for (int64_t k = 0; k < width; k++) acc[k] += w * (double)row[k];
      }
      for (int64_t k = 0; k < width; k++) py[c + k] = (real)(acc[k] * scale);
    }
  }
}

static void max(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *ids, const void *x,
                void *y, int64_t *place) {
  const real *px = x;
  real *py = y;
  for (int64_t s = 0; s < n; s++, py += cols, place += cols) {
    const int64_t begin = offsets[s], end = offsets[s + 1];
    if (begin == end) {
      for (int64_t c = 0; c < cols; c++) py[c] = 0, place[c] = -1;
      continue;
    }
    const real *first = px + row_of(ids, begin) * cols;
    for (int64_t c = 0; c < cols; c++) py[c] = first[c], place[c] = begin;
    for (int64_t i = begin + 1; i < end; i++) {
      const real *row = px + row_of(ids, i) * cols;
      for (int64_t c = 0; c < cols; c++)
        if (row[c] > py[c] || (row[c] != row[c] && py[c] == py[c])) py[c] = row[c], place[c] = i;
    }
  }
}

static void spread(int64_t n, int64_t cols, const int64_t *offsets, const void *weights, bool mean,
                   const void *gy, void *g) {
  const real *pg = gy, *pw = weights;
  for (int64_t s = 0; s < n; s++, pg += cols) {
    const int64_t begin = offsets[s], end = offsets[s + 1];
    const double scale = mean && end > begin ? 1 / (double)(end - begin) : 1;
    for (int64_t i = begin; i < end; i++) {
      real *to = (real *)g + i * cols;
      const real w = pw != NULL ? (real)((double)pw[i] * scale) : (real)scale;
      SIMD for (int64_t c = 0; c < cols; c++) to[c] = w * pg[c];
    }
  }
}

static void spread_max(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *place,
                       const void *gy, void *g) {
  const real *pg = gy;
  real *to = g;
  for (int64_t s = 0; s < n; s++, pg += cols, place += cols) {
    const int64_t begin = offsets[s], end = offsets[s + 1];
    if (begin == end) continue;
    memset(to + begin * cols, 0, (size_t)((end - begin) * cols) * sizeof(real));
    for (int64_t c = 0; c < cols; c++) to[place[c] * cols + c] = pg[c];
  }
}

static void dot(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *ids, const void *x,
                const void *gy, void *g) {
  const real *px = x, *pg = gy;
  real *to = g;
  for (int64_t s = 0; s < n; s++, pg += cols)
    for (int64_t i = offsets[s]; i < offsets[s + 1]; i++) {
      const real *row = px + row_of(ids, i) * cols;
      double total = 0;
      for (int64_t c = 0; c < cols; c += BLOCK) {
        const int64_t end = smaller(c + BLOCK, cols);
        real part = 0;
        SIMD_SUM(part) for (int64_t k = c; k < end; k++) part += row[k] * pg[k];
        total += (double)part;
      }
      to[i] = (real)total;
    }
}

const mica_segment_kernels MICA_KERNEL(segment) = {
    .sum = sum,
    .max = max,
    .spread = spread,
    .spread_max = spread_max,
    .dot = dot,
};
