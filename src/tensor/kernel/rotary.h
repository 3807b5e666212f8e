/* rotary.h: rotary position embedding (Su et al. 2021): pairs of channels turned by angles.
 *
 * `turn` holds one position's `turned` numbers: the cosines of its turned / 2 angles, then their
 * sines, both times what scales the result. Pair i is channels i and i + turned / 2, or with
 * `pairs` channels 2 i and 2 i + 1; the channels from `turned` on stay as they are.
 */
#ifndef MICA_TENSOR_KERNEL_ROTARY_H
#define MICA_TENSOR_KERNEL_ROTARY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_rotary_kernels {
  /* n rows of dim elements; `back` turns the other way, which is the gradient. y may be x. */
  void (*turn)(int64_t n, int64_t dim, int64_t turned, bool pairs, bool back, const void *turn,
               const void *x, int64_t x_stride, void *y, int64_t y_stride);
} mica_rotary_kernels;

#endif
