/* pool.c: windows over [N,H,W,C]; the innermost loop runs over channels. */
#include "tensor/kernel/pool.h"

#include "loop.h"

/* Window `o` along an axis: taps at first, first + step, .. below last, all inside the input;
 * `padded` is how many taps lie inside input and padding together. */
typedef struct span {
  int64_t first, last, step, padded;
} span;

static span window(const mica_pool_geometry *g, int axis, int64_t o) {
  const int64_t size = axis == 0 ? g->height : g->width;
  const int64_t out = axis == 0 ? g->out_height : g->out_width;
  if (g->adaptive) {
    const int64_t first = o * size / out, last = ((o + 1) * size + out - 1) / out;
    return (span){first, last, 1, last - first};
  }
  const int64_t step = g->dilation[axis], before = g->pad[2 * axis], after = g->pad[2 * axis + 1];
  const int64_t start = o * g->stride[axis] - before, end = start + g->kernel[axis] * step;
  span s = {start, smaller(end, size), step, 0};
  if (start < 0) s.first = start + (-start + step - 1) / step * step;
  const int64_t reach = smaller(end, size + after); /* ceil mode may look beyond the padding */
  s.padded = reach > start ? (reach - start + step - 1) / step : 0;
  return s;
}

static int64_t taps(span s) {
  return s.last > s.first ? (s.last - s.first + s.step - 1) / s.step : 0;
}

/* Channels are taken CHANNELS at a time, so that maxima and their places stay on the stack. */
enum { CHANNELS = 64 };

static void max_pool(const mica_pool_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                     void *y, int32_t *arg) {
  const int64_t channels = g->channels;
  for (int64_t row = row_begin; row < row_end; row++) {
    const real *image = (const real *)x + row / g->out_height * g->height * g->width * channels;
    const span v = window(g, 0, row % g->out_height);
    for (int64_t ox = 0; ox < g->out_width; ox++) {
      const span h = window(g, 1, ox);
      const int64_t out = (row * g->out_width + ox) * channels;
      for (int64_t c0 = 0; c0 < channels; c0 += CHANNELS) {
        const int64_t width = smaller(CHANNELS, channels - c0);
        real best[CHANNELS];
        int32_t at[CHANNELS];
        const int32_t corner = (int32_t)(v.first * g->width + h.first);
        for (int64_t j = 0; j < width; j++) {
          best[j] = -(real)INFINITY;
          at[j] = corner;
        }
        for (int64_t iy = v.first; iy < v.last; iy += v.step)
          for (int64_t ix = h.first; ix < h.last; ix += h.step) {
            const int32_t place = (int32_t)(iy * g->width + ix);
            const real *tap = image + (int64_t)place * channels + c0;
            SIMD for (int64_t j = 0; j < width; j++) {
              const real t = tap[j], b = best[j];
              const bool wins = t <= b ? false : b == b; /* larger, or the first NaN */
              best[j] = wins ? t : b;
              at[j] = wins ? place : at[j];
            }
          }
        memcpy((real *)y + out + c0, best, (size_t)width * sizeof(real));
        if (arg != NULL) memcpy(arg + out + c0, at, (size_t)width * sizeof(int32_t));
      }
    }
  }
}

static void max_pool_grad(const mica_pool_geometry *g, int64_t image_begin, int64_t image_end,
                          const int32_t *arg, const void *gy, void *gx) {
  const int64_t channels = g->channels, in = g->height * g->width * channels;
  const int64_t outs = g->out_height * g->out_width;
  for (int64_t n = image_begin; n < image_end; n++) {
    const int32_t *from = arg + n * outs * channels;
    const real *pg = (const real *)gy + n * outs * channels;
    real *pz = (real *)gx + n * in;
    memset(pz, 0, (size_t)in * sizeof(real));
    for (int64_t o = 0; o < outs; o++, from += channels, pg += channels)
      for (int64_t c = 0; c < channels; c++) pz[(int64_t)from[c] * channels + c] += pg[c];
  }
}

static real divisor(const mica_pool_geometry *g, span v, span h) {
  const int64_t n = g->count_padding ? v.padded * h.padded : taps(v) * taps(h);
  return (real)(n > 0 ? n : 1);
}

static void avg_pool(const mica_pool_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                     void *y) {
  const int64_t channels = g->channels;
  for (int64_t row = row_begin; row < row_end; row++) {
    const real *image = (const real *)x + row / g->out_height * g->height * g->width * channels;
    const span v = window(g, 0, row % g->out_height);
    for (int64_t ox = 0; ox < g->out_width; ox++) {
      const span h = window(g, 1, ox);
      real *out = (real *)y + (row * g->out_width + ox) * channels;
      const real scale = (real)1 / divisor(g, v, h);
      for (int64_t c0 = 0; c0 < channels; c0 += CHANNELS) {
        const int64_t width = smaller(CHANNELS, channels - c0);
        double total[CHANNELS] = {0}; /* a global pool adds thousands */
        for (int64_t iy = v.first; iy < v.last; iy += v.step) {
          real part[CHANNELS] = {0};
          for (int64_t ix = h.first; ix < h.last; ix += h.step) {
            const real *tap = image + (iy * g->width + ix) * channels + c0;
            SIMD for (int64_t j = 0; j < width; j++) part[j] += tap[j];
          }
          SIMD for (int64_t j = 0; j < width; j++) total[j] += (double)part[j];
        }
        SIMD for (int64_t j = 0; j < width; j++) out[c0 + j] = (real)total[j] * scale;
      }
    }
  }
}

static void avg_pool_grad(const mica_pool_geometry *g, int64_t image_begin, int64_t image_end,
                          const void *gy, void *gx) {
  const int64_t channels = g->channels, in = g->height * g->width * channels;
  for (int64_t n = image_begin; n < image_end; n++) {
    const real *pg = (const real *)gy + n * g->out_height * g->out_width * channels;
    real *pz = (real *)gx + n * in;
    memset(pz, 0, (size_t)in * sizeof(real));
    for (int64_t oy = 0; oy < g->out_height; oy++) {
      const span v = window(g, 0, oy);
      for (int64_t ox = 0; ox < g->out_width; ox++, pg += channels) {
        const span h = window(g, 1, ox);
        const real scale = (real)1 / divisor(g, v, h);
        for (int64_t iy = v.first; iy < v.last; iy += v.step)
          for (int64_t ix = h.first; ix < h.last; ix += h.step) {
            real *tap = pz + (iy * g->width + ix) * channels;
            SIMD for (int64_t c = 0; c < channels; c++) tap[c] += scale * pg[c];
          }
      }
    }
  }
}

const mica_pool_kernels MICA_KERNEL(pool) = {
    .max_pool = max_pool,
    .max_pool_grad = max_pool_grad,
    .avg_pool = avg_pool,
    .avg_pool_grad = avg_pool_grad,
};
