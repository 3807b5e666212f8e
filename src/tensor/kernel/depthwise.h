/* Depthwise convolution on raw pointers: the part of convolution.h where groups = c = o, in the
 * element type itself.
 *
 * Every pass is one or several of the same problem, a mica_depthwise: sums over taps of an input
 * with zeros around it, of which every place of the result goes where it belongs. The gradient of
 * the input is such a problem for each residue of its places modulo the stride, with the taps that
 * meet them, in reverse.
 */
#ifndef MICA_TENSOR_KERNEL_DEPTHWISE_H
#define MICA_TENSOR_KERNEL_DEPTHWISE_H

#include "tensor/kernel/convolution.h"

/* Along one axis place o of the result is the sum over i < taps of input o * stride + i * dilation
 * - before (0 outside of [0, in)) times tap tap_first + i * tap_step of the kernel. It lies at
 * to_first + o * to_step of to_size places in memory. */
typedef struct mica_depthwise_axis {
  int64_t in, taps, stride, dilation, before, out;
  int64_t kernel, tap_first, tap_step; /* of `kernel` taps in memory */
  int64_t to_size, to_first, to_step;
} mica_depthwise_axis;

typedef struct mica_depthwise {
  int64_t n, c;
  mica_depthwise_axis axis[MICA_CONVOLUTION_AXES];
  /* What the loops plan: the tile of sums in registers, and how large a part of the result is made
   * at once of a copy of the input, the panel. */
  int tile;
  int64_t rows, columns; /* of a part; whole tiles */
  int64_t parts_down, parts_across, depth, vectors;
  int64_t units;   /* vectors * parts of all images: what threads share */
  int64_t taps;    /* elements of packed taps of a vector */
  int64_t scratch; /* elements that a thread needs */
} mica_depthwise;

/* What goes over the sums on their way to memory. */
typedef struct mica_depthwise_ending {
  const void *bias, *residual; /* [c], like the result; may be NULL */
  bool relu;
} mica_depthwise_ending;

typedef struct mica_depthwise_kernels {
  /* Fill in the plan: for the sums, for those of a problem that shares its parts with another, or
   * for the gradient of the taps. */
  void (*plan)(mica_depthwise *d);
  void (*plan_as)(const mica_depthwise *other, mica_depthwise *d);
  void (*plan_weights)(mica_depthwise *d);
  /* Taps [c, kernel] in the order in which the tiles read them, `taps` elements for each of the
   * vectors [begin, end); and the sum of `pieces` packed gradients, `step` elements apart, back. */
  void (*pack)(const mica_depthwise *d, const void *w, int64_t begin, int64_t end, void *taps);
  void (*unpack)(const mica_depthwise *d, int64_t pieces, int64_t step, const void *taps,
                 int64_t begin, int64_t end, void *dw);
  /* Units [begin, end) of the result. */
  void (*sums)(const mica_depthwise *d, const void *x, const void *taps,
               const mica_depthwise_ending *ending, int64_t begin, int64_t end, void *scratch,
               void *y);
  /* Packed gradients of the taps of vectors [from, until), of images [begin, end). */
  void (*weights)(const mica_depthwise *d, const void *x, const void *dy, int64_t from,
                  int64_t until, int64_t begin, int64_t end, void *scratch, void *dtaps);
} mica_depthwise_kernels;

/* As mica_convolution_forward and its two gradients; `out` is what mica_convolution_output gives.
 */
mica_status mica_depthwise_forward(const mica_engine *engine, const mica_convolution *v,
                                   const int64_t *out, const void *x, const void *w,
                                   const mica_depthwise_ending *ending, void *y);
/* Weights as the loops read them, for many calls of mica_depthwise_forward_packed with the same
 * kernel, stride and dilation; free with mica_free_aligned. */
mica_status mica_depthwise_pack(const mica_engine *engine, const mica_convolution *v,
                                const int64_t *out, const void *w, void **packed);
mica_status mica_depthwise_forward_packed(const mica_engine *engine, const mica_convolution *v,
                                          const int64_t *out, const void *x, const void *packed,
                                          const mica_depthwise_ending *ending, void *y);
mica_status mica_depthwise_data(const mica_engine *engine, const mica_convolution *v,
                                const int64_t *out, const void *dy, const void *w, const void *bias,
                                void *dx);
mica_status mica_depthwise_weights(const mica_engine *engine, const mica_convolution *v,
                                   const int64_t *out, const void *x, const void *dy, void *dw);

#endif
