/* product_tile.h: a tile of a matrix product, held in registers.
 *
 * `height` rows of `vectors` vectors; both are constants where a tile is used, so that the loops
 * unroll and the sums stay in registers. Element (i, p) of the left factor is left[i * step + p],
 * or, where the factor lies `across`, left[i + p * step]; row p of the right one begins at
 * right + p * right_step. A sum adds its products in the order of p, whatever the tile's size.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_PRODUCT_TILE_H
#define MICA_TENSOR_KERNEL_LOOPS_PRODUCT_TILE_H

#include "vector.h"

#include <stdbool.h>

enum { PRODUCT_ROWS = 14, PRODUCT_VECTORS = 4 }; /* the most of any tile */

typedef vector product_sums[PRODUCT_ROWS][PRODUCT_VECTORS];

#define PRODUCT_INLINE static inline __attribute__((always_inline))

/* Sums of nothing, or what `to` holds. */
PRODUCT_INLINE void product_begin(const int height, const int vectors, bool fresh, const real *to,
                                  int64_t to_step, product_sums sum) {
#pragma GCC unroll 16
  for (int i = 0; i < height; i++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
      sum[i][v] = fresh ? (vector){0} : vector_load(to + i * to_step + v * VECTOR_WIDTH);
}

/* Four pointers and multiples of the step address the rows: one pointer a row would not fit the
 * integer registers. */
PRODUCT_INLINE void product_add(const int height, const int vectors, const bool across,
                                int64_t depth, const real *left, int64_t step, const real *right,
                                int64_t right_step, product_sums sum) {
  const real *four[4] = {left, left + 4 * step, left + 8 * step, left + 12 * step};
  const int64_t three = 3 * step;
  for (int64_t p = 0; p < depth; p++, right += right_step) {
    vector r[PRODUCT_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) r[v] = vector_load(right + v * VECTOR_WIDTH);
#pragma GCC unroll 16
    for (int i = 0; i < height; i++) {
      const real l = across ? left[i] : four[i / 4][i % 4 == 3 ? three : i % 4 * step];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[i][v] += l * r[v];
    }
    left += step;
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) four[q]++;
  }
}

PRODUCT_INLINE void product_store(const int height, const int vectors, const product_sums sum,
                                  real *to, int64_t to_step) {
#pragma GCC unroll 16
  for (int i = 0; i < height; i++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) vector_store(to + i * to_step + v * VECTOR_WIDTH, sum[i][v]);
}

#endif
