/* attention_products.h: products of small matrices, held in registers a tile at a time, and moves
 * in and out of the layouts that they need. Part of attention.c. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_ATTENTION_PRODUCTS_H
#define MICA_TENSOR_KERNEL_LOOPS_ATTENTION_PRODUCTS_H

#include "tensor/kernel/attention.h"

#define PRODUCT_SHORT
#include "loop.h"
#include "product_tile.h"

enum { QUERIES = MICA_ATTENTION_QUERIES, KEYS = MICA_ATTENTION_KEYS };

static int64_t padded(int64_t n) {
  return (n + VECTOR_WIDTH - 1) / VECTOR_WIDTH * VECTOR_WIDTH;
}

/* ---- products ---- */

/* Where the elements of a factor or a result lie. */
typedef struct matrix {
  real *at;
  int64_t step; /* from row to row */
} matrix;

static real *row_of(matrix m, int64_t i) {
  return m.at + i * m.step;
}

static matrix rows_from(matrix m, int64_t i) {
  return (matrix){row_of(m, i), m.step};
}

/* C (rows x vectors) += A B over depths [from, to). `across`: A lies transposed, its rows side by
 * side. `fresh`: what C held does not count. */
PRODUCT_INLINE void multiply_tile(const int vectors, const bool across, const bool fresh,
                                  int64_t rows, int64_t from, int64_t to, matrix a, matrix b,
                                  matrix c) {
  product_sums sum;
  const real *row[TILE_ROWS];
  product_rows(across, rows, a.at + from * (across ? a.step : 1), a.step, row);
  product_begin(vectors, fresh, rows, c.at, c.step, sum);
  product_add(vectors, across, to - from, row, a.step, row_of(b, from), b.step, sum);
  product_store(vectors, rows, sum, c.at, c.step);
}

/* What a product of a tile on the diagonal of a causal mask may leave out, because key j of the
 * tile is hidden from query i where j > i + diagonal. ALL where nothing is. */
enum { ALL = 1 << 30 };
typedef enum triangle {
  RESULT_BY_KEY,  /* C is keys x queries; what is left out keeps what it held */
  SUM_OF_QUERIES, /* C has a row for each key, and queries are summed over */
  SUM_OF_KEYS     /* the reverse */
} triangle;

/* C += A B; C has `columns` columns, a multiple of the vector's width. */
static inline __attribute__((always_inline)) void multiply(const bool across, const bool fresh,
                                                           const triangle shape, int64_t diagonal,
                                                           int64_t rows, int64_t columns,
                                                           int64_t depth, matrix a, matrix b,
                                                           matrix c) {
  for (int64_t column = 0; column < columns; column += TILE_COLUMNS)
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
      int64_t first = column, from = 0, to = depth;
      const int64_t seen = i - diagonal; /* the first query that sees key i */
      if (shape == RESULT_BY_KEY && seen > first) first = seen - seen % VECTOR_WIDTH;
      if (shape == SUM_OF_QUERIES && seen > 0) from = seen;
      if (shape == SUM_OF_KEYS) to = smaller(depth, i + TILE_ROWS + diagonal);
      const int64_t end = smaller(columns, column + TILE_COLUMNS);
      const matrix left = {across ? a.at + i : row_of(a, i), a.step};
      const matrix right = {b.at + first, b.step}, out = {row_of(c, i) + first, c.step};
      /* Nothing is left where all of it is hidden. */
#define TILE(vectors) multiply_tile(vectors, across, fresh, rows - i, from, to, left, right, out)
      PRODUCT_WIDTHS((end - first) / VECTOR_WIDTH, TILE)
#undef TILE
    }
}

/* Scores, or gradients of weights: [keys, queries] = A B, B being [depth, queries]. */
static void by_key(int64_t diagonal, int64_t keys, int64_t queries, int64_t depth, matrix a,
                   matrix b, matrix c) {
  multiply(false, true, RESULT_BY_KEY, diagonal, keys, queries, depth, a, b, c);
}

/* [keys, columns] += A B, A being [keys, queries]. */
static void over_queries(int64_t diagonal, int64_t keys, int64_t columns, int64_t queries, matrix a,
                         matrix b, matrix c) {
  multiply(false, false, SUM_OF_QUERIES, diagonal, keys, columns, queries, a, b, c);
}

/* [queries, columns] += A^T B, A being [keys, queries]. */
static void over_keys(int64_t diagonal, int64_t queries, int64_t columns, int64_t keys, matrix a,
                      matrix b, matrix c) {
  multiply(true, false, SUM_OF_KEYS, diagonal, queries, columns, keys, a, b, c);
}

/* The same leaving out zeros of A (row_step and depth_step apart), whose partners in B may be NaN.
 */
static void careful(int64_t rows, int64_t columns, int64_t depth, const real *a, int64_t row_step,
                    int64_t depth_step, matrix b, matrix c) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t p = 0; p < depth; p++) {
      const real left = a[i * row_step + p * depth_step], *right = row_of(b, p);
      real *to = row_of(c, i);
      if (left != 0) SIMD for (int64_t j = 0; j < columns; j++) to[j] += left * right[j];
    }
}

static bool all_finite(int64_t rows, int64_t columns, matrix m) {
  real sum = 0;
  for (int64_t i = 0; i < rows; i++) {
    const real *x = row_of(m, i);
    SIMD_SUM(sum)
    for (int64_t j = 0; j < columns; j++) sum += x[j] * 0;
  }
  return sum == 0;
}

/* ---- moving in and out ---- */

static matrix strided(const void *p, mica_attention_strides s, int64_t b, int64_t token,
                      int64_t head) {
  return (matrix){(real *)(uintptr_t)p + b * s.batch + token * s.token + head * s.head, s.token};
}

/* Towards the caches, what the next tile reads. */
static void fetch(int64_t rows, int64_t columns, matrix m) {
  const int64_t line = 64 / (int64_t)sizeof(real);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j += line) __builtin_prefetch(row_of(m, i) + j);
}

static void fill(int64_t n, real value, real *x) {
  SIMD for (int64_t i = 0; i < n; i++) x[i] = value;
}

/* Rows of `columns` elements, each times a number of its own (NULL: 1), zeros up to `width`. */
static void copy(int64_t rows, int64_t columns, int64_t width, const real *scale, matrix from,
                 matrix to) {
  for (int64_t i = 0; i < rows; i++) {
    const real *x = row_of(from, i), by = scale ? scale[i] : 1;
    real *y = row_of(to, i);
    SIMD for (int64_t j = 0; j < columns; j++) y[j] = by * x[j];
    fill(width - columns, 0, row_of(to, i) + columns);
  }
}

/* to[p][i] = scale[i] from[i][p] for rows i < n, zeros up to `width`, QUERIES apart. */
static void transpose(int64_t n, int64_t width, int64_t depth, const real *scale, matrix from,
                      real *to) {
  enum { SIDE = 8 };
  int64_t i = 0;
  for (; i + SIDE <= n; i += SIDE)
    for (int64_t p = 0; p < depth; p++)
#pragma GCC unroll 8
      for (int64_t k = 0; k < SIDE; k++)
        to[p * QUERIES + i + k] = scale[i + k] * from.at[(i + k) * from.step + p];
  for (; i < width; i++)
    for (int64_t p = 0; p < depth; p++)
      to[p * QUERIES + i] = i < n ? scale[i] * from.at[i * from.step + p] : 0;
}

#endif
