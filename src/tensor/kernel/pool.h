/* pool.h: pooling windows over [N,H,W,C].
 *
 * Forward works on a range of output rows (a row is one y of one image: n out_h + oy), backward on
 * a range of images, so that threads never write the same element. Padding never wins a maximum; a
 * NaN does, as in PyTorch.
 */
#ifndef MICA_TENSOR_KERNEL_POOL_H
#define MICA_TENSOR_KERNEL_POOL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_pool_geometry {
  int64_t height, width, channels; /* of the input */
  int64_t out_height, out_width;   /* worked out by the caller, ceil mode included; each window must
                                      start inside the input or its leading padding */
  int64_t kernel[2], stride[2], dilation[2]; /* height, width */
  int64_t pad[4];                            /* top, bottom, left, right */
  bool count_padding; /* averages divide by all of the window inside the padded input */
  bool adaptive; /* window o is floor(o size / out) .. ceil((o + 1) size / out); kernel, stride,
                    dilation, pad unused */
} mica_pool_geometry;

typedef struct mica_pool_kernels {
  /* arg[i] (may be NULL) is where output i came from: y width + x in its image */
  void (*max_pool)(const mica_pool_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                   void *y, int32_t *arg);
  void (*max_pool_grad)(const mica_pool_geometry *g, int64_t image_begin, int64_t image_end,
                        const int32_t *arg, const void *gy, void *gx);
  void (*avg_pool)(const mica_pool_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                   void *y);
  void (*avg_pool_grad)(const mica_pool_geometry *g, int64_t image_begin, int64_t image_end,
                        const void *gy, void *gx);
} mica_pool_kernels;

#endif
