/* pixel.c: bytes of pictures. Sums of a block stay in registers or the nearest cache while the taps
 * go over it. */
#include "tensor/kernel/pixel.h"

#include "loop.h"

#define HALF (1 << (MICA_PIXEL_BITS - 1))

static inline uint8_t rounded(int32_t sum) {
  const int32_t v = sum >> MICA_PIXEL_BITS;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void across(const mica_pixel_taps *t, int64_t rows, int64_t width, const uint8_t *x,
                   int32_t *restrict wide, uint8_t *restrict y) {
  enum { PIECE = 128 };
  int32_t sum[PIECE];
  for (int64_t r = 0; r < rows; r++, x += width, y += t->n) {
    SIMD for (int64_t j = 0; j < width; j++) wide[j] = x[j];
    for (int64_t begin = 0; begin < t->n; begin += PIECE) {
      const int64_t m = smaller(PIECE, t->n - begin);
      for (int64_t j = 0; j < m; j++) sum[j] = HALF;
      for (int64_t k = 0; k < t->taps; k++) {
        const int32_t *at = t->at + k * t->n + begin, *w = t->weight + k * t->n + begin;
        SIMD for (int64_t j = 0; j < m; j++) sum[j] += wide[at[j]] * w[j];
      }
      SIMD for (int64_t j = 0; j < m; j++) y[begin + j] = rounded(sum[j]);
    }
  }
}

static void down(int64_t taps, const int32_t *weight, int64_t n, const uint8_t *x, int64_t stride,
                 uint8_t *restrict y) {
  enum { PIECE = 256 };
  int32_t sum[PIECE];
  for (int64_t begin = 0; begin < n; begin += PIECE) {
    const int64_t m = smaller(PIECE, n - begin);
    for (int64_t j = 0; j < m; j++) sum[j] = HALF;
    for (int64_t k = 0; k < taps; k++) {
      const uint8_t *row = x + k * stride + begin;
      const int32_t w = weight[k];
      SIMD for (int64_t j = 0; j < m; j++) sum[j] += row[j] * w;
    }
    SIMD for (int64_t j = 0; j < m; j++) y[begin + j] = rounded(sum[j]);
  }
}

/* Many pixels at a time, so that scale and shift are the same vectors all along. */
static void normalise(int64_t n, int64_t channels, const double *scale, const double *shift,
                      const uint8_t *x, void *y) {
  enum { PIXELS = 64, MOST = 4 * PIXELS };
  real a[MOST], b[MOST], *restrict py = y;
  const int64_t count = n * channels, piece = PIXELS * channels;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t j = 0; j < PIXELS; j++) {
      a[j * channels + c] = (real)scale[c];
      b[j * channels + c] = (real)shift[c];
    }
  for (int64_t i = 0; i < count; i += piece) {
    const int64_t m = smaller(piece, count - i);
    SIMD for (int64_t j = 0; j < m; j++) py[i + j] = (real)x[i + j] * a[j] + b[j];
  }
}

const mica_pixel_kernels MICA_KERNEL(pixel) = {
    .across = across, .down = down, .normalise = normalise};
