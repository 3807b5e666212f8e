/* Convolution on raw pointers, channels last: forward and both gradients.
 *
 * Images are [n, h, w, c], weights [o, kh, kw, c / groups], results [n, out_h, out_w, o], all
 * dense. A 1-D convolution has h = kh = 1. groups = c = o is a depthwise convolution. A transposed
 * convolution is backward_data: its input is `dy`, its result `dx`.
 *
 * float32 goes to oneDNN where the engine uses libraries and oneDNN is good at the geometry; the
 * rest, float64 and the embedded build, to im2col in bounded pieces with the GEMM loops, or to the
 * direct loops of loops/convolution.c for depthwise ones.
 */
#ifndef MICA_TENSOR_KERNEL_CONVOLUTION_H
#define MICA_TENSOR_KERNEL_CONVOLUTION_H

#include <mica/engine.h>
#include <mica/tensor.h>

typedef struct mica_convolution {
  mica_dtype dtype;   /* of everything in memory: MICA_F32 or MICA_F64 */
  mica_dtype compute; /* the same, or MICA_BF16 with MICA_F32: both factors of each product are
                         rounded to bf16, sums and results stay float32 */
  int64_t n, h, w, c; /* the input */
  int64_t o, kh, kw;  /* output channels, kernel */
  int64_t groups;     /* divides c and o */
  int64_t stride_h, stride_w, dilation_h, dilation_w; /* 1 or more; dilation 1 is dense */
  int64_t pad_top, pad_bottom, pad_left, pad_right;   /* zeros around the input, 0 or more */
} mica_convolution;

/* Checks the geometry and gives the size of the result, (h + pads - dilation_h * (kh - 1) - 1) /
 * stride_h + 1 rows, 0 when the kernel does not fit. MICA_ERR_SHAPE or MICA_ERR_UNSUPPORTED
 * otherwise. */
mica_status mica_convolution_output(const mica_convolution *conv, int64_t *out_h, int64_t *out_w);

/* y = relu(conv(x, w) + bias + residual); bias [o] and residual [n, out_h, out_w, o] may be NULL;
 * `residual` may be y itself. */
mica_status mica_convolution_forward(const mica_engine *engine, const mica_convolution *conv,
                                     const void *x, const void *w, const void *bias,
                                     const void *residual, bool relu, void *y);

/* dx = gradient of the input, plus bias [c] (NULL for a gradient, a layer's bias for a transposed
 * convolution). dx is overwritten. */
mica_status mica_convolution_backward_data(const mica_engine *engine, const mica_convolution *conv,
                                           const void *dy, const void *w, const void *bias,
                                           void *dx);

/* dw = gradient of the weights, db [o] (may be NULL) of the bias; both are overwritten. */
mica_status mica_convolution_backward_weights(const mica_engine *engine,
                                              const mica_convolution *conv, const void *x,
                                              const void *dy, void *dw, void *db);

/* ---- loops/convolution.c ---- */

/* The rows of im2col: one for each output position, kh * kw * (c / groups) columns of one group. */
typedef struct mica_convolution_kernels {
  /* Rows [begin, end) of the n * out_h * out_w output positions into `columns`, packed. */
  void (*im2col)(const mica_convolution *conv, int64_t out_h, int64_t out_w, int64_t group,
                 const void *x, int64_t begin, int64_t end, void *columns);
  /* The transposed view, for backward_data: input positions of one phase (those with the same rest
   * modulo the strides) against the taps that reach them. */
  void (*gather_phase)(const mica_convolution *conv, int64_t out_h, int64_t out_w, int64_t group,
                       int64_t phase_h, int64_t phase_w, const void *dy, int64_t begin, int64_t end,
                       void *columns);
  /* Depthwise, multiplier 1. `taps` is [kh * kw, c]. Output rows [begin, end) of n * out_h. */
  void (*depthwise_forward)(const mica_convolution *conv, int64_t out_h, int64_t out_w,
                            const void *x, const void *taps, const void *bias, const void *residual,
                            bool relu, int64_t begin, int64_t end, void *y);
  /* Input rows [begin, end) of n * h. */
  void (*depthwise_data)(const mica_convolution *conv, int64_t out_h, int64_t out_w, const void *dy,
                         const void *taps, const void *bias, int64_t begin, int64_t end, void *dx);
  /* Output rows [begin, end) of n * out_h, added up into dtaps [kh * kw, c], which is set first. */
  void (*depthwise_weights)(const mica_convolution *conv, int64_t out_h, int64_t out_w,
                            const void *x, const void *dy, int64_t begin, int64_t end, void *dtaps);
} mica_convolution_kernels;

#endif
