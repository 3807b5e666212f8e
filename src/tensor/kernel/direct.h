/* Convolution by products that read their rows where they lie.
 *
 * A row of the product is a place of the result, and its left factor the inputs under the kernel,
 * one tap after another. The tiles of loops/direct.c hold sums in registers over all taps and read
 * the inputs through a list of addresses, so nothing is copied: strides, padding and dilation are
 * only other addresses (zeros for what lies outside). The gradient of the input is the same, one
 * such sum for each residue of its places modulo the stride, with the taps that meet them.
 */
#ifndef MICA_TENSOR_KERNEL_DIRECT_H
#define MICA_TENSOR_KERNEL_DIRECT_H

#include "tensor/kernel/convolution.h"

/* Does it pay for these sizes? Only then may the pass below be called. It depends on the geometry
 * and the engine's options alone. */
bool mica_direct_pays(const mica_engine *engine, const mica_convolution *conv);
bool mica_direct_packed_pays(const mica_engine *engine, const mica_convolution *conv);
bool mica_direct_data_pays(const mica_engine *engine, const mica_convolution *conv);
bool mica_direct_weights_pay(const mica_engine *engine, const mica_convolution *conv);

/* As mica_convolution_forward, with w [o, kh, kw, c], or packed by mica_direct_pack (w NULL). */
mica_status mica_direct_forward(const mica_engine *engine, const mica_convolution *conv,
                                const void *w, const void *packed, const void *x, const void *bias,
                                const void *residual, bool relu, void *y);

/* Elements of packed weights, and the packing itself. */
int64_t mica_direct_packed(const mica_engine *engine, const mica_convolution *conv);
void mica_direct_pack(const mica_engine *engine, const mica_convolution *conv, const void *w,
                      void *packed);

/* As mica_convolution_backward_data and mica_convolution_backward_weights, which makes no db. */
mica_status mica_direct_data(const mica_engine *engine, const mica_convolution *conv,
                             const void *dy, const void *w, const void *bias, void *dx);
mica_status mica_direct_weights(const mica_engine *engine, const mica_convolution *conv,
                                const void *x, const void *dy, void *dw);

/* ---- loops/direct.c ---- */

enum { MICA_DIRECT_TAPS = 49 };

/* Place (n, a, b), a < high, b < wide, of a result: at [n, a * to_step_h + to_first_h, b *
 * to_step_w + to_first_w] of a map [*, to_h, to_w, columns]. It is the sum over taps t of input [n,
 * a * step_h + at_h[t], b * step_w + at_w[t]] of a map [*, from_h, from_w, depth] times the tap's
 * matrix [depth, columns]. */
typedef struct mica_direct {
  int64_t n, high, wide;
  int64_t from_h, from_w, depth, step_h, step_w;
  int64_t to_h, to_w, columns, to_first_h, to_first_w, to_step_h, to_step_w;
  int taps;
  int64_t at_h[MICA_DIRECT_TAPS], at_w[MICA_DIRECT_TAPS];
  int number[MICA_DIRECT_TAPS]; /* of the tap in the kernel */
} mica_direct;

typedef struct mica_direct_ending {
  const void *bias, *residual; /* [columns], like the result; may be NULL */
  bool relu;
} mica_direct_ending;

typedef struct mica_direct_kernels {
  int64_t vector, columns, rows; /* columns of the result are a multiple of `vector`; those of a
                                    packed panel; rows of a tile */
  int64_t scratch;               /* elements that `sums` needs */
  /* Panels [begin, end) of w [*, kernel, *] as [panel, tap, depth, columns]: w [columns, kernel,
   * depth], or `turned` [depth, kernel, columns]. Columns that are not there are not written. */
  void (*pack)(const mica_direct *d, const void *w, int64_t kernel, bool turned, int64_t begin,
               int64_t end, void *packed);
  /* Places [begin, end) of the result, columns of panels [from, until). `zeros`: as many as depth.
   */
  void (*sums)(const mica_direct *d, const void *x, const void *zeros, const void *packed,
               const mica_direct_ending *ending, int64_t begin, int64_t end, int64_t from,
               int64_t until, void *scratch, void *y);
  /* Filters [first, first + rows) of rows [begin, end) of dy [*, o] as [end - begin, rows], what is
   * not there as 0. */
  void (*pack_gradient)(const void *dy, int64_t o, int64_t first, int64_t begin, int64_t end,
                        void *packed);
  /* dw [columns, kernel, depth] (+)= sums over places [begin, end) of dy (packed as above) times
   * the inputs of tap `t`, of depth [from, from + columns); added unless `fresh`. */
  void (*gradient)(const mica_direct *d, int64_t kernel, const void *x, const void *zeros,
                   const void *packed, int t, int64_t from, int64_t begin, int64_t end, bool fresh,
                   void *dw);
} mica_direct_kernels;

#endif
