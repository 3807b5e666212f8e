/* pool.c: windows over [N,D,H,W,C]; the innermost loop runs over channels. */
#include "tensor/kernel/pool.h"

#include "loop.h"

enum { AXES = MICA_POOL_AXES };

/* Window `o` along an axis: taps at first, first + step, .. below last, all inside the input;
 * `padded` is how many taps lie inside input and padding together. */
typedef struct span {
  int64_t first, last, step, padded;
} span;

static span span_of(const mica_pool_geometry *g, int axis, int64_t o) {
  const int64_t size = g->size[axis], out = g->out[axis];
  if (g->adaptive) {
    const int64_t first = o * size / out, last = ((o + 1) * size + out - 1) / out;
    return (span){first, last, 1, last - first};
  }
  const int64_t step = g->dilation[axis];
  const int64_t start = o * g->stride[axis] - g->before[axis], end = start + g->kernel[axis] * step;
  span s = {start, smaller(end, size), step, 0};
  if (start < 0) s.first = start + (-start + step - 1) / step * step;
  const int64_t reach = smaller(end, size + g->after[axis]); /* ceil mode may look beyond that */
  s.padded = reach > start ? (reach - start + step - 1) / step : 0;
  return s;
}

static int64_t taps(span s) {
  return s.last > s.first ? (s.last - s.first + s.step - 1) / s.step : 0;
}

/* A window: a span along each axis. */
typedef struct window {
  span at[AXES];
} window;

/* Of an output line; the width's span is set for each place. */
static window window_of(const mica_pool_geometry *g, int64_t line) {
  window w = {{{0}}};
  w.at[0] = span_of(g, 0, line / g->out[1] % g->out[0]);
  w.at[1] = span_of(g, 1, line % g->out[1]);
  return w;
}

static int64_t places(const mica_pool_geometry *g) {
  return g->size[0] * g->size[1] * g->size[2];
}

/* Channels are taken CHANNELS at a time, so that maxima and their places stay on the stack. */
enum { CHANNELS = 64 };

#define EACH_LINE(w, z, y)                                                                         \
  for (int64_t z = (w).at[0].first; z < (w).at[0].last; z += (w).at[0].step)                       \
    for (int64_t y = (w).at[1].first; y < (w).at[1].last; y += (w).at[1].step)

static void max_pool(const mica_pool_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                     void *y, int32_t *arg) {
  const int64_t channels = g->channels, lines = g->out[0] * g->out[1];
  for (int64_t row = row_begin; row < row_end; row++) {
    const real *image = (const real *)x + row / lines * places(g) * channels;
    window w = window_of(g, row % lines);
    for (int64_t ox = 0; ox < g->out[2]; ox++) {
      const span h = w.at[2] = span_of(g, 2, ox);
      const int64_t out = (row * g->out[2] + ox) * channels;
      for (int64_t c0 = 0; c0 < channels; c0 += CHANNELS) {
        const int64_t width = smaller(CHANNELS, channels - c0);
        real best[CHANNELS];
        int32_t at[CHANNELS];
        const int32_t corner =
            (int32_t)((w.at[0].first * g->size[1] + w.at[1].first) * g->size[2] + h.first);
        for (int64_t j = 0; j < width; j++) {
          best[j] = -(real)INFINITY;
          at[j] = corner;
        }
        EACH_LINE(w, iz, iy) {
          for (int64_t ix = h.first; ix < h.last; ix += h.step) {
            const int32_t place = (int32_t)((iz * g->size[1] + iy) * g->size[2] + ix);
            const real *tap = image + (int64_t)place * channels + c0;
            SIMD for (int64_t j = 0; j < width; j++) {
              const real t = tap[j], b = best[j];
              const bool wins = t <= b ? false : b == b; /* larger, or the first NaN */
              best[j] = wins ? t : b;
              at[j] = wins ? place : at[j];
            }
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
  const int64_t channels = g->channels, in = places(g) * channels;
  const int64_t outs = g->out[0] * g->out[1] * g->out[2];
  for (int64_t n = image_begin; n < image_end; n++) {
    const int32_t *from = arg + n * outs * channels;
    const real *pg = (const real *)gy + n * outs * channels;
    real *pz = (real *)gx + n * in;
    memset(pz, 0, (size_t)in * sizeof(real));
    for (int64_t o = 0; o < outs; o++, from += channels, pg += channels)
      for (int64_t c = 0; c < channels; c++) pz[(int64_t)from[c] * channels + c] += pg[c];
  }
}

static real divisor(const mica_pool_geometry *g, const window *w) {
  int64_t n = 1;
  for (int i = 0; i < AXES; i++) n *= g->count_padding ? w->at[i].padded : taps(w->at[i]);
  return (real)(n > 0 ? n : 1);
}

static void avg_pool(const mica_pool_geometry *g, int64_t row_begin, int64_t row_end, const void *x,
                     void *y) {
  const int64_t channels = g->channels, lines = g->out[0] * g->out[1];
  for (int64_t row = row_begin; row < row_end; row++) {
    const real *image = (const real *)x + row / lines * places(g) * channels;
    window w = window_of(g, row % lines);
    for (int64_t ox = 0; ox < g->out[2]; ox++) {
      const span h = w.at[2] = span_of(g, 2, ox);
      real *out = (real *)y + (row * g->out[2] + ox) * channels;
      const real scale = (real)1 / divisor(g, &w);
      for (int64_t c0 = 0; c0 < channels; c0 += CHANNELS) {
        const int64_t width = smaller(CHANNELS, channels - c0);
        double total[CHANNELS]; /* a global pool adds thousands */
        memset(total, 0, (size_t)width * sizeof *total);
        EACH_LINE(w, iz, iy) {
          real part[CHANNELS];
          memset(part, 0, (size_t)width * sizeof *part);
          for (int64_t ix = h.first; ix < h.last; ix += h.step) {
            const real *tap = image + ((iz * g->size[1] + iy) * g->size[2] + ix) * channels + c0;
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
  const int64_t channels = g->channels, in = places(g) * channels, lines = g->out[0] * g->out[1];
  for (int64_t n = image_begin; n < image_end; n++) {
    const real *pg = (const real *)gy + n * lines * g->out[2] * channels;
    real *pz = (real *)gx + n * in;
    memset(pz, 0, (size_t)in * sizeof(real));
    for (int64_t line = 0; line < lines; line++) {
      window w = window_of(g, line);
      for (int64_t ox = 0; ox < g->out[2]; ox++, pg += channels) {
        const span h = w.at[2] = span_of(g, 2, ox);
        const real scale = (real)1 / divisor(g, &w);
        EACH_LINE(w, iz, iy)
        for (int64_t ix = h.first; ix < h.last; ix += h.step) {
          real *tap = pz + ((iz * g->size[1] + iy) * g->size[2] + ix) * channels;
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
