/* depthwise.c: depthwise convolution, directly: a tile of a few neighbouring places and a few
 * vectors of channels stays in registers while the kernel passes over it. */
#include "tensor/kernel/convolution.h"

#include "loop.h"
#include "place.h"
#include "vector.h"

enum { PIXELS = 6, TAPS = 6, CHANNELS = 256 };

/* The line of the input that tap (d, h) of an output line reads, at width 0. */
static int64_t line_at(const mica_convolution *v, const reach *d, const reach *h, int64_t td,
                       int64_t th) {
  return (reach_at(d, td) * v->size[1] + reach_at(h, th)) * v->size[2];
}

/* ---- forward ---- */

typedef struct line {
  const mica_convolution *v;
  reach d, h;
  const real *x, *taps; /* one image; the kernel */
} line;

/* y = add (NULL: 0) plus the sums: n channels from `from` at one place. */
static void one_place(const line *l, int64_t ow, int64_t from, int64_t n, const real *add,
                      real *y) {
  const mica_convolution *v = l->v;
  const int64_t c = v->c;
  const reach w = reach_of(v, 2, ow);
  real sum[CHANNELS];
  if (add)
    memcpy(sum, add + from, (size_t)n * sizeof *sum);
  else
    memset(sum, 0, (size_t)n * sizeof *sum);
  for (int64_t td = l->d.lo; td < l->d.hi; td++)
    for (int64_t th = l->h.lo; th < l->h.hi; th++) {
      const int64_t at = line_at(v, &l->d, &l->h, td, th);
      for (int64_t tw = w.lo; tw < w.hi; tw++) {
        const real *in = l->x + (at + reach_at(&w, tw)) * c + from;
        const real *tap = l->taps + ((td * v->kernel[1] + th) * v->kernel[2] + tw) * c + from;
        SIMD for (int64_t i = 0; i < n; i++) sum[i] += in[i] * tap[i];
      }
    }
  memcpy(y + from, sum, (size_t)n * sizeof *sum);
}

static void place(const line *l, int64_t ow, int64_t from, const real *add, real *y) {
  for (; from < l->v->c; from += CHANNELS)
    one_place(l, ow, from, smaller(l->v->c - from, CHANNELS), add, y);
}

/* PIXELS places from ow, whose kernels lie inside the line, and a vector of channels. */
static void tile(const line *l, int64_t ow, int64_t from, const real *add, real *y) {
  const mica_convolution *v = l->v;
  const int64_t c = v->c, step = v->stride[2] * c, next = v->dilation[2] * c;
  const int64_t start = (ow * v->stride[2] - v->before[2]) * c + from;
  vector sum[PIXELS];
  for (int p = 0; p < PIXELS; p++) sum[p] = add ? vector_load(add + p * c + from) : (vector){0};
  for (int64_t td = l->d.lo; td < l->d.hi; td++)
    for (int64_t th = l->h.lo; th < l->h.hi; th++) {
      const real *in = l->x + line_at(v, &l->d, &l->h, td, th) * c + start;
      const real *tap = l->taps + (td * v->kernel[1] + th) * v->kernel[2] * c + from;
      for (int64_t tw = 0; tw < v->kernel[2]; tw++, in += next, tap += c) {
        const vector k = vector_load(tap);
        for (int p = 0; p < PIXELS; p++) sum[p] += vector_load(in + p * step) * k;
      }
    }
  for (int p = 0; p < PIXELS; p++) vector_store(y + p * c + from, sum[p]);
}

/* The places of a line that have taps [first, last) inside: [lo, hi). */
static void inner_places(const mica_convolution *v, int64_t out, int64_t first, int64_t last,
                         int64_t *lo, int64_t *hi) {
  const int64_t stride = v->stride[2], pad = v->before[2];
  const int64_t need = pad - first * v->dilation[2]; /* o stride >= need */
  const int64_t room = v->size[2] - 1 + pad - (last - 1) * v->dilation[2];
  *lo = need > 0 ? smaller(out, (need + stride - 1) / stride) : 0;
  *hi = room < 0 ? 0 : smaller(out, room / stride + 1);
  if (*hi < *lo) *hi = *lo;
}

static void finish(int64_t rows, int64_t c, const real *bias, bool relu, real *y) {
  for (int64_t r = 0; r < rows; r++, y += c) {
    if (bias)
      for (int64_t i = 0; i < c; i++) y[i] += bias[i];
    if (relu) /* a NaN is not below 0 and stays */
      for (int64_t i = 0; i < c; i++) y[i] = y[i] < 0 ? 0 : y[i];
  }
}

static void forward(const mica_convolution *v, const int64_t *out, const void *x, const void *taps,
                    const void *bias, const void *residual, bool relu, int64_t begin, int64_t end,
                    void *yv) {
  const int64_t c = v->c, whole = c / VECTOR_WIDTH * VECTOR_WIDTH;
  int64_t lo, hi;
  inner_places(v, out[2], 0, v->kernel[2], &lo, &hi);
  for (int64_t row = begin; row < end; row++) {
    const int64_t n = row / (out[0] * out[1]);
    const line l = {v, reach_of(v, 0, row / out[1] % out[0]), reach_of(v, 1, row % out[1]),
                    (const real *)x + n * mica_convolution_places(v) * c, taps};
    for (int64_t ow = 0, places; ow < out[2]; ow += places) {
      /* The last tile goes over places that are done, if nothing is added to what is there. */
      if (!residual && ow > lo && ow < hi && ow + PIXELS > hi && hi - PIXELS >= lo)
        ow = hi - PIXELS;
      real *y = (real *)yv + (row * out[2] + ow) * c;
      const real *add = residual ? (const real *)residual + (row * out[2] + ow) * c : NULL;
      const bool inside = ow >= lo && ow + PIXELS <= hi;
      places = inside ? PIXELS : 1;
      if (inside)
        for (int64_t from = 0; from < whole; from += VECTOR_WIDTH) tile(&l, ow, from, add, y);
      for (int64_t p = 0; p < places; p++)
        place(&l, ow + p, inside ? whole : 0, add ? add + p * c : NULL, y + p * c);
      if (bias || relu) finish(places, c, bias, relu, y);
    }
  }
}

/* ---- backward: input ---- */

static void data(const mica_convolution *v, const int64_t *out, const void *dyv, const void *tapsv,
                 const void *bias, int64_t begin, int64_t end, void *dxv) {
  const int64_t c = v->c, in = mica_convolution_places(v) * c, lines = out[0] * out[1];
  for (int64_t n = begin; n < end; n++) {
    real *dx = (real *)dxv + n * in;
    memset(dx, 0, (size_t)in * sizeof *dx);
    for (int64_t row = 0; row < lines; row++) {
      const reach d = reach_of(v, 0, row / out[1]), h = reach_of(v, 1, row % out[1]);
      const real *dy = (const real *)dyv + (n * lines + row) * out[2] * c;
      for (int64_t td = d.lo; td < d.hi; td++)
        for (int64_t th = h.lo; th < h.hi; th++) {
          real *to = dx + line_at(v, &d, &h, td, th) * c;
          const real *taps = (const real *)tapsv + (td * v->kernel[1] + th) * v->kernel[2] * c;
          for (int64_t ow = 0; ow < out[2]; ow++) {
            const reach w = reach_of(v, 2, ow);
            for (int64_t tw = w.lo; tw < w.hi; tw++) {
              real *restrict z = to + reach_at(&w, tw) * c;
              const real *from = dy + ow * c, *tap = taps + tw * c;
              SIMD for (int64_t i = 0; i < c; i++) z[i] += from[i] * tap[i];
            }
          }
        }
    }
    if (bias) finish(in / (c ? c : 1), c, bias, false, dx);
  }
}

/* ---- backward: weights ---- */

/* n channels of one tap: places [from, to) of a line of dy with those of the input. */
static void one_tap(const mica_convolution *v, const real *x, const real *dy, int64_t tap,
                    int64_t from, int64_t to, int64_t n, real *restrict sum) {
  for (int64_t ow = from; ow < to; ow++) {
    const real *in = x + (ow * v->stride[2] + tap * v->dilation[2] - v->before[2]) * v->c;
    const real *g = dy + ow * v->c;
    SIMD for (int64_t i = 0; i < n; i++) sum[i] += in[i] * g[i];
  }
}

/* `taps` of the kernel, a constant where this is called, over places [from, to), a vector of
 * channels. */
static inline __attribute__((always_inline)) void tap_tile(const mica_convolution *v,
                                                           const real *in, const real *g,
                                                           int64_t places, int taps, real *sum) {
  const int64_t c = v->c, next = v->dilation[2] * c, step = v->stride[2] * c;
  vector s[TAPS];
  for (int k = 0; k < taps; k++) s[k] = vector_load(sum + k * c);
  for (int64_t ow = 0; ow < places; ow++, in += step, g += c) {
    const vector y = vector_load(g);
    for (int k = 0; k < taps; k++) s[k] += vector_load(in + k * next) * y;
  }
  for (int k = 0; k < taps; k++) vector_store(sum + k * c, s[k]);
}

/* One line of dy with one line of the input, into the taps of a line of the kernel. */
static void line_weights(const mica_convolution *v, int64_t out, const real *x, const real *dy,
                         real *dtaps) {
  const int64_t c = v->c, whole = c / VECTOR_WIDTH * VECTOR_WIDTH;
  for (int64_t tap = 0; tap < v->kernel[2]; tap += TAPS) {
    const int64_t taps = smaller(TAPS, v->kernel[2] - tap);
    int64_t lo, hi; /* where all of them are inside */
    inner_places(v, out, tap, tap + taps, &lo, &hi);
    const real *in = x + (lo * v->stride[2] + tap * v->dilation[2] - v->before[2]) * c;
    const real *g = dy + lo * c;
    real *sum = dtaps + tap * c;
    for (int64_t i = 0; i < whole && lo < hi; i += VECTOR_WIDTH) {
      switch (taps) {
      case 1: tap_tile(v, in + i, g + i, hi - lo, 1, sum + i); break;
      case 2: tap_tile(v, in + i, g + i, hi - lo, 2, sum + i); break;
      case 3: tap_tile(v, in + i, g + i, hi - lo, 3, sum + i); break;
      case 4: tap_tile(v, in + i, g + i, hi - lo, 4, sum + i); break;
      case 5: tap_tile(v, in + i, g + i, hi - lo, 5, sum + i); break;
      default: tap_tile(v, in + i, g + i, hi - lo, TAPS, sum + i); break;
      }
    }
    for (int64_t k = tap; k < tap + taps; k++) {
      int64_t first, last;
      inner_places(v, out, k, k + 1, &first, &last);
      if (lo < hi) {
        one_tap(v, x, dy, k, first, lo, whole, dtaps + k * c);
        one_tap(v, x, dy, k, hi, last, whole, dtaps + k * c);
      } else {
        one_tap(v, x, dy, k, first, last, whole, dtaps + k * c);
      }
      if (whole < c)
        one_tap(v, x + whole, dy + whole, k, first, last, c - whole, dtaps + k * c + whole);
    }
  }
}

static void weights(const mica_convolution *v, const int64_t *out, const void *x, const void *dy,
                    int64_t begin, int64_t end, void *dtapsv) {
  const int64_t c = v->c, in = mica_convolution_places(v) * c, lines = out[0] * out[1];
  real *dtaps = dtapsv;
  memset(dtaps, 0, (size_t)(mica_convolution_taps(v) * c) * sizeof *dtaps);
  for (int64_t n = begin; n < end; n++)
    for (int64_t row = 0; row < lines; row++) {
      const reach d = reach_of(v, 0, row / out[1]), h = reach_of(v, 1, row % out[1]);
      for (int64_t td = d.lo; td < d.hi; td++)
        for (int64_t th = h.lo; th < h.hi; th++)
          line_weights(v, out[2], (const real *)x + n * in + line_at(v, &d, &h, td, th) * c,
                       (const real *)dy + (n * lines + row) * out[2] * c,
                       dtaps + (td * v->kernel[1] + th) * v->kernel[2] * c);
    }
}

const mica_depthwise_kernels MICA_KERNEL(depthwise) = {
    .forward = forward,
    .data = data,
    .weights = weights,
};
