/* Convolution on raw pointers, channels last: forward and both gradients.
 *
 * Volumes are [n, d, h, w, c], weights [o, kd, kh, kw, c / groups], results [n, out_d, out_h,
 * out_w, o], all dense. An image has d = kd = 1, a line also h = kh = 1. groups = c = o is a
 * depthwise convolution. A transposed convolution is backward_data: its input is `dy`, its result
 * `dx`.
 *
 * A convolution with a kernel of one place and stride 1 is one product. Large 3x3 ones of stride 1
 * take a quarter of the multiplications (winograd.h). Others read their inputs where they lie
 * (direct.h), go to oneDNN, or image by image through im2col and a product; depthwise ones take
 * the loops of loops/depthwise.c.
 */
#ifndef MICA_TENSOR_KERNEL_CONVOLUTION_H
#define MICA_TENSOR_KERNEL_CONVOLUTION_H

#include <mica/engine.h>
#include <mica/tensor.h>

#define MICA_CONVOLUTION_AXES 3

/* Arrays have an element for depth, height and width. */
typedef struct mica_convolution {
  mica_dtype dtype;   /* of everything in memory: MICA_F32 or MICA_F64 */
  mica_dtype compute; /* the same, or MICA_BF16 with MICA_F32: both factors of each product are
                         rounded to bf16, sums and results stay float32 */
  int64_t n, c;       /* the input's images and channels */
  int64_t o, groups;  /* output channels; groups divides c and o */
  int64_t size[MICA_CONVOLUTION_AXES];                                 /* of the input */
  int64_t kernel[MICA_CONVOLUTION_AXES];                               /* 1 or more */
  int64_t stride[MICA_CONVOLUTION_AXES];                               /* 1 or more */
  int64_t dilation[MICA_CONVOLUTION_AXES];                             /* 1 is dense */
  int64_t before[MICA_CONVOLUTION_AXES], after[MICA_CONVOLUTION_AXES]; /* zeros around the input */
} mica_convolution;

/* Checks the geometry and gives the size of the result along each axis, (size + before + after -
 * dilation * (kernel - 1) - 1) / stride + 1, 0 when the kernel does not fit. MICA_ERR_SHAPE or
 * MICA_ERR_UNSUPPORTED otherwise. */
mica_status mica_convolution_output(const mica_convolution *conv,
                                    int64_t out[MICA_CONVOLUTION_AXES]);

/* Places of one image of the input, and taps of the kernel. */
static inline int64_t mica_convolution_places(const mica_convolution *v) {
  return v->size[0] * v->size[1] * v->size[2];
}
static inline int64_t mica_convolution_taps(const mica_convolution *v) {
  return v->kernel[0] * v->kernel[1] * v->kernel[2];
}

/* y = relu(conv(x, w) + bias + residual); bias [o] and residual [n, out_h, out_w, o] may be NULL;
 * `residual` may be y itself. */
mica_status mica_convolution_forward(const mica_engine *engine, const mica_convolution *conv,
                                     const void *x, const void *w, const void *bias,
                                     const void *residual, bool relu, void *y);

/* Weights laid out once for many calls of mica_convolution_forward_packed, which are those of the
 * same geometry and number of threads, with a bias. *packed is NULL (and MICA_OK) where nothing is
 * gained; free with mica_free_aligned. */
mica_status mica_convolution_pack(const mica_engine *engine, const mica_convolution *conv,
                                  const void *w, void **packed);
/* *done false and nothing written: use mica_convolution_forward. */
mica_status mica_convolution_forward_packed(const mica_engine *engine, const mica_convolution *conv,
                                            const void *x, const void *packed, const void *bias,
                                            const void *residual, bool relu, void *y, bool *done);

/* dx = gradient of the input, plus bias [c] (NULL for a gradient, a layer's bias for a transposed
 * convolution). dx is overwritten. */
mica_status mica_convolution_backward_data(const mica_engine *engine, const mica_convolution *conv,
                                           const void *dy, const void *w, const void *bias,
                                           void *dx);

/* dx += gradient of the input. *done false and nothing written where there is no such form: let
 * mica_convolution_backward_data write it elsewhere and add it. */
mica_status mica_convolution_add_data(const mica_engine *engine, const mica_convolution *conv,
                                      const void *dy, const void *w, void *dx, bool *done);

/* dw = gradient of the weights, db [o] (may be NULL) of the bias; both are overwritten. */
mica_status mica_convolution_backward_weights(const mica_engine *engine,
                                              const mica_convolution *conv, const void *x,
                                              const void *dy, void *dw, void *db);

/* ---- loops/convolution.c; `out` is what mica_convolution_output gives ---- */

typedef struct mica_convolution_kernels {
  /* Rows [begin, end) of the positions of one image's result, for one group: taps * (c / groups)
   * columns each, packed, zeros where the kernel overhangs. */
  void (*im2col)(const mica_convolution *conv, const int64_t *out, int64_t group, const void *x,
                 int64_t begin, int64_t end, void *columns);
  /* The reverse: rows [begin, end) added into the image dx, in order. */
  void (*col2im)(const mica_convolution *conv, const int64_t *out, int64_t group,
                 const void *columns, int64_t begin, int64_t end, void *dx);
  /* y[r,c] = max(y[r,c] + bias[c] + residual[r,c], 0); bias and residual may be NULL. */
  void (*finish)(int64_t rows, int64_t cols, const void *bias, const void *residual, bool relu,
                 void *y);
} mica_convolution_kernels;

#endif
