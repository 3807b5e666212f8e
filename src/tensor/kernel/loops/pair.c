/* pair.c: sums of products of pairs by the square of the sum, and the dot products of all pairs. */
#include "tensor/kernel/pair.h"

#include "loop.h"

#define PRODUCT_SHORT
#include "product_tile.h"

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

/* What recommenders train by; elsewhere plain loops, which are a quarter of the code. */
#if defined(MICA_REAL_float) && (VECTOR_BYTES > 16 || defined(__aarch64__))

/* The sums of TILE_ROWS vectors at a time stay in registers, one vector of columns wide. */
static int64_t padded(int64_t n) {
  return (n + VECTOR_WIDTH - 1) / VECTOR_WIDTH * VECTOR_WIDTH;
}

/* turned[c,i] = x[i,c], its rows `step` apart; squares overlap where they do not fit. */
static void turn(int64_t m, int64_t cols, const real *x, int64_t step, real *turned) {
  if (m < VECTOR_WIDTH || cols < VECTOR_WIDTH) {
    for (int64_t i = 0; i < m; i++)
      for (int64_t c = 0; c < cols; c++) turned[c * step + i] = x[i * cols + c];
    return;
  }
  for (int64_t i = 0; i < m; i += VECTOR_WIDTH)
    for (int64_t c = 0; c < cols; c += VECTOR_WIDTH) {
      const int64_t r = smaller(i, m - VECTOR_WIDTH), k = smaller(c, cols - VECTOR_WIDTH);
      vector column[VECTOR_BYTES / sizeof(real)];
      vector_load_columns(x + r * cols + k, cols, column);
#pragma GCC unroll 16
      for (int l = 0; l < VECTOR_WIDTH; l++) vector_store(turned + (k + l) * step + r, column[l]);
    }
}

static void dots(int64_t n, int64_t m, int64_t cols, const void *x, void *y, void *scratch) {
  const real *px = x;
  real *py = y, *turned = scratch;
  const int64_t step = padded(m);
  const real *end = py + n * (m * (m - 1) / 2);
  real *acc = turned + cols * step; /* of TILE_ROWS rows */
  for (int64_t i = 0; i < cols * step; i++) turned[i] = 0;
  for (int64_t e = 0; e < n; e++, px += m * cols) {
    turn(m, cols, px, step, turned);
    for (int64_t i = 0; i < m; i += TILE_ROWS) {
      const int64_t rows = smaller(m - i, TILE_ROWS);
      for (int64_t j = 0; j < i + rows - 1; j += VECTOR_WIDTH) {
        product_sums sum;
        const real *row[TILE_ROWS];
        product_begin(1, true, rows, acc, step, sum);
        product_rows(false, rows, px + i * cols, cols, row);
        product_add(1, false, cols, row, cols, turned + j, step, sum);
        product_store(1, rows, sum, acc + j, step);
      }
      /* What a row's last vector has too much is where the next row goes. */
      for (int64_t r = 0; r < rows; r++, py += i + r - 1)
        for (int64_t j = 0; j < i + r; j += VECTOR_WIDTH) {
          const vector v = vector_load(acc + r * step + j);
          if (end - py - j >= VECTOR_WIDTH)
            vector_store(py + j, v);
          else
            vector_store_some(smaller(i + r - j, VECTOR_WIDTH), py + j, v);
        }
    }
  }
}

/* Columns [c, c + VECTOR_WIDTH) of rows [i, i + TILE_ROWS) of g; row j of x begins at x + j step.
 */
static void dots_back_tile(int64_t m, int64_t i, const real *x, int64_t step, const real *gy,
                           vector *sum) {
  const int64_t after = smaller(i + TILE_ROWS, m);
  const real *row[TILE_ROWS];
#pragma GCC unroll 16
  for (int r = 0; r < TILE_ROWS; r++) {
    const int64_t at = smaller(i + r, m - 1);
    row[r] = gy + at * (at - 1) / 2;
    sum[r] = (vector){0};
  }
  int64_t j = 0;
  for (; j < i; j++) {
    const vector v = vector_load(x + j * step);
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) sum[r] += row[r][j] * v;
  }
  const real *across = gy + j * (j - 1) / 2 + i; /* the pairs of j and i, i + 1, ... */
  for (; j < after; across += j++) {
    const vector v = vector_load(x + j * step);
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++)
      if (i + r < after && i + r != j) sum[r] += (i + r < j ? across[r] : row[r][j]) * v;
  }
  for (; j < m; across += j++) {
    const vector v = vector_load(x + j * step);
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) sum[r] += across[r] * v;
  }
}

static void dots_back(int64_t n, int64_t m, int64_t cols, const void *x, const void *gy, void *g,
                      void *scratch) {
  const real *px = x, *pg = gy;
  real *to = g, *wide = scratch;
  const int64_t step = padded(cols);
  for (int64_t k = 0; k < m * step && step != cols; k++) wide[k] = 0;
  for (int64_t e = 0; e < n; e++, px += m * cols, to += m * cols, pg += m * (m - 1) / 2) {
    const real *from = step == cols ? px : wide;
    for (int64_t i = 0; i < m && step != cols; i++)
      memcpy(wide + i * step, px + i * cols, (size_t)cols * sizeof(real));
    for (int64_t i = 0; i < m; i += TILE_ROWS)
      for (int64_t c = 0; c < cols; c += VECTOR_WIDTH) {
        vector sum[TILE_ROWS];
        dots_back_tile(m, i, from + c, step, pg, sum);
        for (int r = 0; r < TILE_ROWS && i + r < m; r++) {
          real *out = to + (i + r) * cols + c;
          if (cols - c >= VECTOR_WIDTH)
            vector_store(out, sum[r]);
          else
            vector_store_some(cols - c, out, sum[r]);
        }
      }
  }
}

/* For either of the two, in elements. */
static int64_t dots_scratch(int64_t m, int64_t cols) {
  const int64_t turned = (cols + TILE_ROWS) * padded(m), wide = m * padded(cols);
  return turned > wide ? turned : wide;
}

#else

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

static void dots_back(int64_t n, int64_t m, int64_t cols, const void *x, const void *gy, void *g,
                      void *scratch) {
  const real *px = x, *pg = gy;
  real *to = g;
  (void)scratch;
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

static int64_t dots_scratch(int64_t m, int64_t cols) {
  return m * (cols + 1);
}

#endif

const mica_pair_kernels MICA_KERNEL(pair) = {
    .sum = sum,
    .sum_back = sum_back,
    .dots = dots,
    .dots_back = dots_back,
    .dots_scratch = dots_scratch,
};
