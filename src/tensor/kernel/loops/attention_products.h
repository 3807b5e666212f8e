/* attention_products.h: products of small matrices, held in registers a tile at a time, and moves
 * in and out of the layouts that they need. Part of attention.c. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_ATTENTION_PRODUCTS_H
#define MICA_TENSOR_KERNEL_LOOPS_ATTENTION_PRODUCTS_H

#include "tensor/kernel/attention.h"

#include "loop.h"
#include "vector.h"

enum { QUERIES = MICA_ATTENTION_QUERIES, KEYS = 48 };

/* The register tile: ROWS rows of VECTORS vectors, and a row of the other factor. */
#if defined(MICA_ISA_avx512) || defined(__aarch64__)
enum { ROWS = 6, VECTORS = 4 };
#elif defined(MICA_ISA_avx2)
enum { ROWS = 6, VECTORS = 2 };
#else
enum { ROWS = 4, VECTORS = 2 };
#endif

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

/* C (rows x vectors) += A B over `depth`. `across`: A lies transposed, its rows side by side. Rows
 * of A beyond `rows` repeat the last, or are what lies beside it; they are not stored. */
static inline __attribute__((always_inline)) void multiply_tile(const int vectors,
                                                                const bool across, int64_t rows,
                                                                int64_t depth, matrix a, matrix b,
                                                                matrix c) {
  vector sum[ROWS][VECTORS];
  const real *from[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    const int64_t row = i < rows ? i : rows - 1;
    from[i] = across ? a.at + i : a.at + row * a.step;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[i][v] = vector_load(row_of(c, row) + v * VECTOR_WIDTH);
  }
  const real *right = b.at;
  int64_t at = 0;
  for (int64_t p = 0; p < depth; p++, right += b.step, at += across ? a.step : 1) {
    vector r[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) r[v] = vector_load(right + v * VECTOR_WIDTH);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[i][v] += from[i][at] * r[v];
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
    if (i < rows)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) vector_store(row_of(c, i) + v * VECTOR_WIDTH, sum[i][v]);
}

/* C += A B; C has `columns` columns, a multiple of the vector's width. */
static inline __attribute__((always_inline)) void multiply(const bool across, int64_t rows,
                                                           int64_t columns, int64_t depth, matrix a,
                                                           matrix b, matrix c) {
  while (columns > 0) {
    const int64_t vectors = smaller(VECTORS, columns / VECTOR_WIDTH);
    for (int64_t i = 0; i < rows; i += ROWS) {
      const matrix left = {across ? a.at + i : row_of(a, i), a.step}, to = {row_of(c, i), c.step};
      switch (vectors) {
      case 1: multiply_tile(1, across, rows - i, depth, left, b, to); break;
#if defined(MICA_ISA_avx512) || defined(__aarch64__)
      case 2: multiply_tile(2, across, rows - i, depth, left, b, to); break;
      case 3: multiply_tile(3, across, rows - i, depth, left, b, to); break;
#endif
      default: multiply_tile(VECTORS, across, rows - i, depth, left, b, to);
      }
    }
    b.at += vectors * VECTOR_WIDTH;
    c.at += vectors * VECTOR_WIDTH;
    columns -= vectors * VECTOR_WIDTH;
  }
}

static void by_rows(int64_t rows, int64_t columns, int64_t depth, matrix a, matrix b, matrix c) {
  multiply(false, rows, columns, depth, a, b, c);
}

static void across(int64_t rows, int64_t columns, int64_t depth, matrix a, matrix b, matrix c) {
  multiply(true, rows, columns, depth, a, b, c);
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

static void fill(int64_t n, real value, real *x) {
  SIMD for (int64_t i = 0; i < n; i++) x[i] = value;
}

static void copy(int64_t rows, int64_t columns, int64_t width, matrix from, matrix to) {
  for (int64_t i = 0; i < rows; i++) {
    memcpy(row_of(to, i), row_of(from, i), (size_t)columns * sizeof(real));
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
