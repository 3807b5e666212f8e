/* pair.c: sums of products of pairs by the square of the sum, and the dot products of all pairs. */
#include "tensor/kernel/pair.h"

#include "loop.h"

enum { COLUMNS = 64 };

static void sum(int64_t n, int64_t m, int64_t cols, const void *x, void *y) {
  const real *px = x;
  real *py = y;
  for (int64_t e = 0; e < n; e++, px += m * cols, py += cols)
    for (int64_t c = 0; c < cols; c += COLUMNS) {
      const int64_t width = smaller(cols - c, COLUMNS);
      double s[COLUMNS] = {0}, q[COLUMNS] = {0};
      for (int64_t i = 0; i < m; i++) {
        const real *row = px + i * cols + c;
        SIMD for (int64_t k = 0; k < width; k++) {
          const double v = (double)row[k];
          s[k] += v;
          q[k] += v * v;
        }
      }
      for (int64_t k = 0; k < width; k++) py[c + k] = (real)(0.5 * (s[k] * s[k] - q[k]));
    }
}

static void sum_back(int64_t n, int64_t m, int64_t cols, const void *x, const void *gy, void *g) {
  const real *px = x, *pg = gy;
  real *to = g;
  for (int64_t e = 0; e < n; e++, px += m * cols, to += m * cols, pg += cols)
    for (int64_t c = 0; c < cols; c += COLUMNS) {
      const int64_t width = smaller(cols - c, COLUMNS);
      double s[COLUMNS] = {0};
      for (int64_t i = 0; i < m; i++) {
        const real *row = px + i * cols + c;
        SIMD for (int64_t k = 0; k < width; k++) s[k] += (double)row[k];
      }
      for (int64_t i = 0; i < m; i++) {
        const real *row = px + i * cols + c;
        real *out = to + i * cols + c;
        SIMD for (int64_t k = 0; k < width; k++) {
          out[k] = pg[c + k] * (real)(s[k] - (double)row[k]);
        }
      }
    }
}

static void dots(int64_t n, int64_t m, int64_t cols, const void *x, void *y, void *scratch) {
  const real *px = x;
  real *py = y, *turned = scratch, *acc = turned + m * cols;
  for (int64_t e = 0; e < n; e++, px += m * cols) {
    for (int64_t i = 0; i < m; i++)
      for (int64_t c = 0; c < cols; c++) turned[c * m + i] = px[i * cols + c];
    for (int64_t i = 1; i < m; i++) {
      const real *row = px + i * cols;
      for (int64_t j = 0; j < i; j++) acc[j] = 0;
      for (int64_t c = 0; c < cols; c++) {
        const real v = row[c], *across = turned + c * m;
        SIMD for (int64_t j = 0; j < i; j++) acc[j] += v * across[j];
      }
      memcpy(py, acc, (size_t)i * sizeof(real));
      py += i;
    }
  }
}

static void dots_back(int64_t n, int64_t m, int64_t cols, const void *x, const void *gy, void *g) {
  const real *px = x, *pg = gy;
  real *to = g;
  for (int64_t e = 0; e < n; e++, px += m * cols, to += m * cols, pg += m * (m - 1) / 2)
    for (int64_t i = 0; i < m; i++) {
      real *out = to + i * cols;
      for (int64_t c = 0; c < cols; c++) out[c] = 0;
      for (int64_t j = 0; j < m; j++) {
        if (j == i) continue;
        const real v = j < i ? pg[i * (i - 1) / 2 + j] : pg[j * (j - 1) / 2 + i];
        const real *row = px + j * cols;
        SIMD for (int64_t c = 0; c < cols; c++) out[c] += v * row[c];
      }
    }
}

const mica_pair_kernels MICA_KERNEL(pair) = {
    .sum = sum,
    .sum_back = sum_back,
    .dots = dots,
    .dots_back = dots_back,
};
