/* product_tile.h: a tile of a matrix product, held in registers: TILE_ROWS rows of up to
 * TILE_VECTORS vectors.
 *
 * Element (i, p) of the left factor is left[i * step + p] or, where the factor lies `across`,
 * left[i + p * step]; row p of the right one begins at right + p * right_step. Rows from `rows` on
 * repeat the last and are not stored. A sum adds its products in the order of p. The flags and
 * `vectors` are constants where a tile is used, so that loops unroll and sums stay in registers.
 * PRODUCT_SHORT, defined before: sums are short, and their loops not unrolled.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_PRODUCT_TILE_H
#define MICA_TENSOR_KERNEL_LOOPS_PRODUCT_TILE_H

#include "vector.h"

#include <stdbool.h>

typedef vector product_sums[TILE_ROWS][TILE_VECTORS];

#if defined(MICA_ISA_avx512) && defined(MICA_REAL_float) && !defined(PRODUCT_SHORT)
#define PRODUCT_STEPS _Pragma("GCC unroll 4")
#else
#define PRODUCT_STEPS
#endif

#define PRODUCT_INLINE static inline __attribute__((always_inline))

/* Sums of nothing, or what `to` holds. */
PRODUCT_INLINE void product_begin(const int vectors, const bool fresh, int64_t rows, const real *to,
                                  int64_t to_step, product_sums sum) {
#pragma GCC unroll 16
  for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
      sum[i][v] = fresh ? (vector){0}
                        : vector_load(to + (i < rows ? i : rows - 1) * to_step + v * VECTOR_WIDTH);
}

/* Where the rows of the left factor begin. */
PRODUCT_INLINE void product_rows(const bool across, int64_t rows, const real *left, int64_t step,
                                 const real **row) {
#pragma GCC unroll 16
  for (int i = 0; i < TILE_ROWS; i++) {
    const int64_t at = i < rows ? i : rows - 1;
    row[i] = across ? left + at : left + at * step;
  }
}

/* Several steps at a time: where two programs share a core, what counts is the number of
 * instructions beside the products. The rows are moved on. */
PRODUCT_INLINE void product_add(const int vectors, const bool across, int64_t depth,
                                const real **row, int64_t step, const real *right,
                                int64_t right_step, product_sums sum) {
  int64_t at = 0;
  PRODUCT_STEPS
  for (int64_t p = 0; p < depth; p++, right += right_step, at += across ? step : 1) {
    vector r[TILE_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) r[v] = vector_load(right + v * VECTOR_WIDTH);
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[i][v] += row[i][at] * r[v];
  }
#pragma GCC unroll 16
  for (int i = 0; i < TILE_ROWS; i++) row[i] += at;
}

PRODUCT_INLINE void product_store(const int vectors, int64_t rows, const product_sums sum, real *to,
                                  int64_t to_step) {
#pragma GCC unroll 16
  for (int i = 0; i < TILE_ROWS; i++)
    if (i < rows)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        vector_store(to + i * to_step + v * VECTOR_WIDTH, sum[i][v]);
}

/* CALL(vectors) with a constant: the width of the tile. */
#if defined(MICA_ISA_avx512) || defined(__aarch64__)
#define PRODUCT_WIDTHS(width, CALL)                                                                \
  switch (width) {                                                                                 \
  case 1: CALL(1); break;                                                                          \
  case 2: CALL(2); break;                                                                          \
  case 3: CALL(3); break;                                                                          \
  case 4: CALL(4); break;                                                                          \
  default: break;                                                                                  \
  }
#else
#define PRODUCT_WIDTHS(width, CALL)                                                                \
  switch (width) {                                                                                 \
  case 1: CALL(1); break;                                                                          \
  case 2: CALL(2); break;                                                                          \
  default: break;                                                                                  \
  }
#endif

#endif
