/* gather.h: rows and elements by number, and order.
 *
 * Ids are int64 and must have been checked (`first_bad`). Order treats a NaN as larger than any
 * number and breaks ties by index, so it is the same everywhere.
 */
#ifndef MICA_TENSOR_KERNEL_GATHER_H
#define MICA_TENSOR_KERNEL_GATHER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_gather_kernels {
  /* -1, or the first i whose ids[i] is not in [0, limit) */
  int64_t (*first_bad)(int64_t n, const int64_t *ids, int64_t limit);
  /* y[i,:] = x[ids[i],:] */
  void (*rows)(int64_t n, int64_t cols, const int64_t *ids, const void *x, int64_t x_stride,
               void *y, int64_t y_stride);
  /* y[ids[i],:] += alpha x[i,:], in the order of i */
  void (*scatter_add_rows)(int64_t n, int64_t cols, const int64_t *ids, double alpha, const void *x,
                           int64_t x_stride, void *y, int64_t y_stride);
  /* y[r,j] = x[r,ids[r,j]], ids and y [rows, k] */
  void (*elements)(int64_t rows, int64_t k, const int64_t *ids, const void *x, int64_t x_stride,
                   void *y);
  /* y[r,ids[r,j]] += x[r,j], in the order of j */
  void (*scatter_add_elements)(int64_t rows, int64_t k, const int64_t *ids, const void *x, void *y,
                               int64_t y_stride);
  /* The k (0..cols) largest of each row, largest first; y and ids [rows, k], y may be NULL.
   * scratch: cols int64. */
  void (*top_k)(int64_t rows, int64_t cols, int64_t k, const void *x, int64_t x_stride, void *y,
                int64_t *ids, int64_t *scratch);
  /* Each row in order, stable; y and ids [rows, cols], y may be NULL. scratch: cols int64. */
  void (*sort)(int64_t rows, int64_t cols, bool descending, const void *x, int64_t x_stride,
               void *y, int64_t *ids, int64_t *scratch);
} mica_gather_kernels;

#endif
