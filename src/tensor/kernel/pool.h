/* pool.h: pooling windows over [N,D,H,W,C]; an image has a depth of 1, a line also a height.
 *
 * Forward works on a range of output rows (a row is one line of one image: (n out_d + z) out_h +
 * y), backward on a range of images, so that threads never write the same element. Padding never
 * wins a maximum; a NaN does, as in PyTorch.
 */
#ifndef MICA_TENSOR_KERNEL_POOL_H
#define MICA_TENSOR_KERNEL_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define MICA_POOL_AXES 3

/* Arrays have an element for depth, height and width. */
typedef struct mica_pool_geometry {
  int64_t channels;
  int64_t size[MICA_POOL_AXES]; /* of the input; its product is at most 2^31 - 1 */
  int64_t out[MICA_POOL_AXES];  /* worked out by the caller, ceil mode included; each window must
                                   start inside the input or its leading padding */
  int64_t kernel[MICA_POOL_AXES], stride[MICA_POOL_AXES], dilation[MICA_POOL_AXES];
  int64_t before[MICA_POOL_AXES], after[MICA_POOL_AXES]; /* padding */
  bool count_padding; /* averages divide by all of the window inside the padded input */
  bool adaptive; /* window o is floor(o size / out) .. ceil((o + 1) size / out); kernel, stride,
                    dilation, padding unused */
} mica_pool_geometry;

typedef struct mica_pool_kernels {
  /* arg[i] (may be NULL) is where output i came from: (z height + y) width + x in its image */
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
