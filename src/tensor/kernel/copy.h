/* copy.h: elements moved or repeated, not changed. Integers of the same width travel through these
 * loops too: int32 as float, int64 as double.
 */
#ifndef MICA_TENSOR_KERNEL_COPY_H
#define MICA_TENSOR_KERNEL_COPY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_copy_kernels {
  /* y[i] = x[i], past the caches: for a result that is far larger than they are, made block by
   * block in x. Nobody may read y before the thread that wrote it has called stream_end. */
  void (*stream)(int64_t n, const void *x, void *y);
  void (*stream_end)(void);
  /* y[r,c] = x[r,c]; strides in elements, either may be negative or (x only) 0 */
  void (*rows)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
               int64_t y_stride);
  /* y[r,c] += x[r,c] */
  void (*add_rows)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                   int64_t y_stride);
  /* y[r,c] = x[r,c] + bias[c] */
  void (*add_bias)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *bias,
                   void *y, int64_t y_stride);
  /* y[r,c] = x[r,c] v[r]: rows weighted */
  void (*scale_rows)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, const void *v,
                     void *y, int64_t y_stride);
  /* y[r,c] = alpha row[c]: one row repeated */
  void (*repeat_row)(int64_t rows, int64_t cols, double alpha, const void *row, void *y,
                     int64_t y_stride);
  /* y[r,c] = alpha v[r]: each element repeated along its row */
  void (*repeat_element)(int64_t rows, int64_t cols, double alpha, const void *v, void *y,
                         int64_t y_stride);
  /* y[r,c] = x[r,cols-1-c] */
  void (*reverse_rows)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                       int64_t y_stride);
  /* y[c,r] = x[r,c], in blocks */
  void (*transpose)(int64_t rows, int64_t cols, const void *x, int64_t x_stride, void *y,
                    int64_t y_stride);
  /* Elements [begin, end) of the contiguous y of `rank` (1..8) dimensions `dim`; step[i] is how far
   * x moves, in elements, along dimension i of y: permutes, expands (step 0) and strided slices. */
  void (*strided)(int rank, const int64_t *dim, const int64_t *step, int64_t begin, int64_t end,
                  const void *x, void *y);
} mica_copy_kernels;

#endif
