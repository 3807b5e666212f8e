/* Winograd's F(4x4, 3x3) with the weights of the kernel itself, kept in the order they are read in.
 *
 * A prediction for one picture meets each weight once, so that reading 36 transformed numbers for 9
 * takes longer than multiplying with them. Here a vector of filters is transformed in registers,
 * half of it once for all tiles and the rest in the loop that multiplies: six instructions for six
 * points of up to eight tiles. The same bits for every number of threads.
 */
#ifndef MICA_TENSOR_KERNEL_WINOGRAD_KEPT_H
#define MICA_TENSOR_KERNEL_WINOGRAD_KEPT_H

#include "tensor/kernel/winograd.h"

/* Does it pay for these sizes? Only then may the functions below be called. */
bool mica_winograd_kept_pays(const mica_engine *engine, const mica_convolution *conv);

/* Elements of packed weights, and the packing of w [o, 3, 3, c]. */
int64_t mica_winograd_kept_elements(const mica_convolution *conv);
void mica_winograd_keep(const mica_engine *engine, const mica_convolution *conv, const void *w,
                        void *packed);

/* As mica_convolution_forward. */
mica_status mica_winograd_kept_forward(const mica_engine *engine, const mica_convolution *conv,
                                       const void *packed, const void *x, const void *bias,
                                       const void *residual, bool relu, void *y);

/* ---- loops/winograd_kept.c ---- */

/* Tiles [first, end) that are worked on together. They are cut into groups of about one size, up to
 * `most`. */
typedef struct mica_winograd_tiles {
  int64_t first, end, most;
} mica_winograd_tiles;

/* Tiles of a group times channels are [6 columns of points, 2, channels / vector, 3, tiles,
 * vector], the second and fourth index together a point of the column; sums are the same with one
 * vector of channels. Groups follow one another. */
typedef struct mica_winograd_kept_kernels {
  int64_t vector, most; /* channels are multiples of `vector`; tiles of a group */
  int64_t scratch;      /* elements */
  /* Filters [begin, end), multiples of `vector`, as [o / vector, c, 3, 3, vector]. */
  void (*pack)(int64_t c, const void *w, int64_t begin, int64_t end, void *packed);
  /* Transforms tiles; `zeros`: as many zeros as there are channels. */
  void (*input)(const mica_winograd_map *map, const mica_winograd_tiles *tiles, const void *x,
                const void *zeros, void *v);
  /* Sums of a vector of filters over all `depth` channels. */
  void (*sums)(const mica_winograd_tiles *tiles, int64_t depth, const void *v, const void *packed,
               void *scratch, void *m);
  /* y = relu(A^T m A + bias + residual) for channels [from, from + vector). */
  void (*output)(const mica_winograd_map *map, const mica_winograd_tiles *tiles, const void *m,
                 int64_t from, const void *bias, const void *residual, bool relu, void *y);
} mica_winograd_kept_kernels;

#endif
