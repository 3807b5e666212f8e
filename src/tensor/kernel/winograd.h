/* 3x3 convolution with a quarter of the multiplications: Winograd's F(4x4, 3x3).
 *
 * A tile of 4x4 results depends on 6x6 inputs. With fixed small matrices A, B, G (loops/winograd.c)
 *
 *     y = A^T [ (G w G^T) * (B^T x B) ] A,    * element by element, summed over the input's
 * channels,
 *
 * so that 36 products of matrices [tiles, c] [c, o] take the place of 16 * 9 (Lavin & Gray, "Fast
 * algorithms for convolutional neural networks", 2015, arXiv:1509.09308). The gradients are the
 * transposes: dx is the convolution of dy with the kernel turned round, and dw = G^T [ (A dy A^T)^T
 * (B^T x B) ] G, summed over tiles.
 *
 * Results differ from the direct sum by a few units in the last place more, and a value that is not
 * finite reaches all results of the tiles it lies in. The same bits for every number of threads.
 */
#ifndef MICA_TENSOR_KERNEL_WINOGRAD_H
#define MICA_TENSOR_KERNEL_WINOGRAD_H

#include "tensor/kernel/convolution.h"

/* Does it pay for these sizes? Only then may the functions below be called. It depends on the
 * geometry and the engine's instruction set alone. */
bool mica_winograd_pays(const mica_engine *engine, const mica_convolution *conv);
bool mica_winograd_weights_pay(const mica_engine *engine, const mica_convolution *conv);

/* As mica_convolution_forward, with w [o, 3, 3, c], or packed by mica_winograd_pack (w NULL). */
mica_status mica_winograd_forward(const mica_engine *engine, const mica_convolution *conv,
                                  const void *w, const void *packed, const void *x,
                                  const void *bias, const void *residual, bool relu, void *y);

/* Elements of packed weights, and the packing itself. */
int64_t mica_winograd_packed(const mica_engine *engine, const mica_convolution *conv);
mica_status mica_winograd_pack(const mica_engine *engine, const mica_convolution *conv,
                               const void *w, void *packed);

/* As mica_convolution_backward_data and mica_convolution_backward_weights, which makes no db. */
mica_status mica_winograd_data(const mica_engine *engine, const mica_convolution *conv,
                               const void *dy, const void *w, const void *bias,
                               const void *residual, void *dx);
mica_status mica_winograd_weights(const mica_engine *engine, const mica_convolution *conv,
                                  const void *x, const void *dy, void *dw);

/* ---- loops/winograd.c ---- */

enum { MICA_WINOGRAD_POINTS = 36 };

/* The tiles of the result, four places high and wide, counted over images, rows, columns. */
typedef struct mica_winograd_map {
  int64_t height, width, channels; /* of the input of a transform, or the output of the last */
  int64_t before_h, before_w;      /* zeros above and left of it */
  int64_t tiles_h, tiles_w;
} mica_winograd_map;

/* Transformed values are [36, tiles, channels], `step` elements from point to point. */
typedef struct mica_winograd_kernels {
  int64_t vector, columns; /* channels must be a multiple of `vector`; columns of packed panels */
  /* B^T x B of tiles [begin, end). `zeros`: as many zeros as there are channels. */
  void (*input)(const mica_winograd_map *map, const void *x, const void *zeros, int64_t begin,
                int64_t end, int64_t step, void *v);
  /* A dy A^T of tiles [begin, end); places outside count as 0. */
  void (*output_gradient)(const mica_winograd_map *map, const void *dy, const void *zeros,
                          int64_t begin, int64_t end, int64_t step, void *m);
  /* y = relu(A^T m A + bias + residual) of tiles [begin, end). */
  void (*output)(const mica_winograd_map *map, const void *m, int64_t step, int64_t begin,
                 int64_t end, const void *bias, const void *residual, bool relu, void *y);
  /* G w G^T of w [o, 3, 3, c] as panels [36, columns of the product / columns, its depth, columns].
   * Forward: depth c, columns o; begin is a multiple of `vector`. `turned`: the kernel turned
   * round, depth o, columns c. Filters [begin, end). */
  void (*weights)(int64_t o, int64_t c, const void *w, bool turned, int64_t begin, int64_t end,
                  int64_t step, void *packed);
  /* dw = G^T u G of filters [begin, end), u [36, o, c]. */
  void (*weight_gradient)(int64_t c, const void *u, int64_t step, int64_t begin, int64_t end,
                          void *dw);
  /* m = v times the panels of one point: [rows, depth] [depth, columns]. */
  void (*product)(int64_t rows, int64_t depth, int64_t columns, const void *v, const void *packed,
                  void *m);
  /* u (+)= m^T v of one point: m [rows, o], v [rows, c]; added to u unless `fresh`. */
  void (*gradient_product)(int64_t rows, int64_t o, int64_t c, const void *m, const void *v,
                           bool fresh, void *u);
} mica_winograd_kernels;

#endif
