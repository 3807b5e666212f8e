/* resize.h: images [N,H,W,C] at another size.
 *
 * Bilinear: output o samples at (o + 1/2) size / out - 1/2, not below 0 (half-pixel centres), or at
 * o (size - 1) / (out - 1) when align_corners; nearest takes floor(o size / out) whatever
 * align_corners says. As PyTorch's interpolate without antialiasing. Forward works on a range of
 * output rows (n out_height + oy), backward on a range of images.
 */
#ifndef MICA_TENSOR_KERNEL_RESIZE_H
#define MICA_TENSOR_KERNEL_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_resize_geometry {
  int64_t height, width, channels, out_height, out_width;
  bool bilinear, align_corners;
} mica_resize_geometry;

/* Each place of a resampled axis as a weighted sum of `width` places from `first`. */
typedef struct mica_resample_taps {
  int64_t in, out, inner, width;
  const int64_t *first; /* [out] */
  const double *weight; /* [out, width] */
} mica_resample_taps;

typedef struct mica_resize_kernels {
  void (*resize)(const mica_resize_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                 void *y);
  void (*resize_grad)(const mica_resize_geometry *g, int64_t image_begin, int64_t image_end,
                      const void *gy, void *gx);
  /* y[o,k,i] = sum_j weight[k,j] x[o, first[k] + j, i], j < width, over [outer, in, inner] to
   * [outer, out, inner], for `blocks` of outer from `block` and `columns` of inner from `column`.
   * Taps of weight 0 are not read. */
  void (*resample)(const mica_resample_taps *taps, int64_t block, int64_t blocks, int64_t column,
                   int64_t columns, const void *x, void *y);
  /* gx = the transpose of that applied to gy; gx is overwritten. */
  void (*resample_grad)(const mica_resample_taps *taps, int64_t block, int64_t blocks,
                        int64_t column, int64_t columns, const void *gy, void *gx);
} mica_resize_kernels;

#endif
