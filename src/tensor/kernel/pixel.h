/* pixel.h: bytes of pictures: another size, and numbers for a network.
 *
 * Resizing is in integers: weights have MICA_PIXEL_BITS fractional bits, a sum is rounded to the
 * nearest and kept within a byte, so every instruction set gives the same bytes.
 */
#ifndef MICA_TENSOR_KERNEL_PIXEL_H
#define MICA_TENSOR_KERNEL_PIXEL_H

#include <stdint.h>

#define MICA_PIXEL_BITS 22

/* Each byte of a row of the result as a weighted sum of `taps` bytes of a row. */
typedef struct mica_pixel_taps {
  int64_t n, taps;
  const int32_t *at;     /* [taps, n]: places in the row */
  const int32_t *weight; /* [taps, n] */
} mica_pixel_taps;

typedef struct mica_pixel_kernels {
  /* Rows y [rows, taps->n] from rows x [rows, width]; `wide` is scratch of `width` numbers. */
  void (*across)(const mica_pixel_taps *taps, int64_t rows, int64_t width, const uint8_t *x,
                 int32_t *wide, uint8_t *y);
  /* One row y [n]: the sum of `taps` rows of x, `stride` bytes apart, each by its weight. */
  void (*down)(int64_t taps, const int32_t *weight, int64_t n, const uint8_t *x, int64_t stride,
               uint8_t *y);
  /* y = scale[c] x + shift[c] for n pixels of c < channels <= 4 bytes; y is float or double. */
  void (*normalise)(int64_t n, int64_t channels, const double *scale, const double *shift,
                    const uint8_t *x, void *y);
} mica_pixel_kernels;

#endif
