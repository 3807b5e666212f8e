/* resize.c: nearest and bilinear, channels last, and any filter along one axis; the innermost loop
 * runs over channels. */
#include "tensor/kernel/resize.h"

#include "loop.h"

/* Output o of an axis mixes inputs low and high: (1 - share) x[low] + share x[high]. */
typedef struct mix {
  int64_t low, high;
  real share;
} mix;

static mix source(bool bilinear, bool corners, int64_t size, int64_t out, int64_t o) {
  if (!bilinear) {
    const int64_t at = smaller(o * size / out, size - 1);
    return (mix){at, at, (real)0};
  }
  double at;
  if (corners) {
    at = out > 1 ? (double)o * (double)(size - 1) / (double)(out - 1) : 0;
  } else {
    at = ((double)o + 0.5) * (double)size / (double)out - 0.5;
    if (at < 0) at = 0;
  }
  const int64_t low = smaller((int64_t)at, size - 1);
  return (mix){low, smaller(low + 1, size - 1), (real)(at - (double)low)};
}

static void resize(const mica_resize_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                   void *y) {
  const int64_t channels = g->channels;
  for (int64_t row = row_begin; row < row_end; row++) {
    const mix v =
        source(g->bilinear, g->align_corners, g->height, g->out_height, row % g->out_height);
    const real *image = (const real *)x + row / g->out_height * g->height * g->width * channels;
    const real *top = image + v.low * g->width * channels,
               *bottom = image + v.high * g->width * channels;
    real *out = (real *)y + row * g->out_width * channels;
    for (int64_t ox = 0; ox < g->out_width; ox++, out += channels) {
      const mix h = source(g->bilinear, g->align_corners, g->width, g->out_width, ox);
      const real *a = top + h.low * channels, *b = top + h.high * channels;
      const real *c = bottom + h.low * channels, *d = bottom + h.high * channels;
      if (!g->bilinear) {
        memcpy(out, a, (size_t)channels * sizeof(real));
        continue;
      }
      const real right = h.share, left = (real)1 - right, under = v.share, over = (real)1 - under;
      SIMD for (int64_t i = 0; i < channels; i++) out[i] =
          over * (left * a[i] + right * b[i]) + under * (left * c[i] + right * d[i]);
    }
  }
}

static void resize_grad(const mica_resize_geometry *g, int64_t image_begin, int64_t image_end,
                        const void *gy, void *gx) {
  const int64_t channels = g->channels, in = g->height * g->width * channels;
  for (int64_t n = image_begin; n < image_end; n++) {
    const real *pg = (const real *)gy + n * g->out_height * g->out_width * channels;
    real *image = (real *)gx + n * in;
    memset(image, 0, (size_t)in * sizeof(real));
    for (int64_t oy = 0; oy < g->out_height; oy++) {
      const mix v = source(g->bilinear, g->align_corners, g->height, g->out_height, oy);
      real *top = image + v.low * g->width * channels,
           *bottom = image + v.high * g->width * channels;
      for (int64_t ox = 0; ox < g->out_width; ox++, pg += channels) {
        const mix h = source(g->bilinear, g->align_corners, g->width, g->out_width, ox);
        const real right = h.share, left = (real)1 - right, under = v.share, over = (real)1 - under;
        /* The four may be the same pixel at an edge: one loop each. */
        real *to[4] = {top + h.low * channels, top + h.high * channels, bottom + h.low * channels,
                       bottom + h.high * channels};
        const real weight[4] = {over * left, over * right, under * left, under * right};
        for (int k = 0; k < 4; k++) {
          if (weight[k] == (real)0) continue;
          real *z = to[k];
          const real w = weight[k];
          SIMD for (int64_t i = 0; i < channels; i++) z[i] += w * pg[i];
        }
      }
    }
  }
}

static void resample(const mica_resample_taps *t, int64_t block, int64_t blocks, int64_t column,
                     int64_t columns, const void *x, void *y) {
  const int64_t inner = t->inner;
  for (int64_t o = block; o < block + blocks; o++) {
    const real *in = (const real *)x + o * t->in * inner + column;
    real *out = (real *)y + o * t->out * inner + column;
    for (int64_t k = 0; k < t->out; k++, out += inner) {
      const double *weight = t->weight + k * t->width;
      const real *from = in + t->first[k] * inner;
      int64_t j = 0;
      while (j < t->width && weight[j] == 0) j++;
      if (j == t->width) {
        memset(out, 0, (size_t)columns * sizeof(real));
        continue;
      }
      const real w0 = (real)weight[j];
      if (w0 == (real)1)
        memcpy(out, from + j * inner, (size_t)columns * sizeof(real));
      else
        SIMD for (int64_t i = 0; i < columns; i++) out[i] = w0 * from[j * inner + i];
      for (j++; j < t->width; j++) {
        if (weight[j] == 0) continue;
        const real w = (real)weight[j];
        const real *tap = from + j * inner;
        SIMD for (int64_t i = 0; i < columns; i++) out[i] += w * tap[i];
      }
    }
  }
}

static void resample_grad(const mica_resample_taps *t, int64_t block, int64_t blocks,
                          int64_t column, int64_t columns, const void *gy, void *gx) {
  const int64_t inner = t->inner;
  for (int64_t o = block; o < block + blocks; o++) {
    const real *out = (const real *)gy + o * t->out * inner + column;
    real *in = (real *)gx + o * t->in * inner + column;
    for (int64_t k = 0; k < t->in; k++) memset(in + k * inner, 0, (size_t)columns * sizeof(real));
    for (int64_t k = 0; k < t->out; k++, out += inner)
      for (int64_t j = 0; j < t->width; j++) {
        const double weight = t->weight[k * t->width + j];
        if (weight == 0) continue;
        const real w = (real)weight;
        real *to = in + (t->first[k] + j) * inner;
        SIMD for (int64_t i = 0; i < columns; i++) to[i] += w * out[i];
      }
  }
}

const mica_resize_kernels MICA_KERNEL(resize) = {
    .resize = resize,
    .resize_grad = resize_grad,
    .resample = resample,
    .resample_grad = resample_grad,
};
