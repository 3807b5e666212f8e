/* depthwise_panel.h: the panel, a copy of a part of the input as the tiles read it.
 *
 * One vector of channels side by side, zeros where the kernel overhangs, and the places of a line
 * sorted by their residue modulo the stride (a phase): then neighbouring places of the result read
 * neighbouring vectors, whatever the stride, no border is a special case, and channels that do not
 * fill a vector cost nothing but the rest of it.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_DEPTHWISE_PANEL_H
#define MICA_TENSOR_KERNEL_LOOPS_DEPTHWISE_PANEL_H

#include "tensor/kernel/depthwise.h"

#include "loop.h"
#include "vector.h"

/* Elements between phases of a line, lines of a slice, slices; lines of a slice. */
typedef struct panel {
  int64_t phases, phase, line, slice, lines;
} panel;

static inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static inline int64_t parts_of(int64_t n, int64_t step) {
  return (n + step - 1) / step;
}

/* Inputs that n neighbouring results of an axis reach over. */
static inline int64_t reached(const mica_depthwise_axis *a, int64_t n) {
  return a->taps ? (n - 1) * a->stride + a->dilation * (a->taps - 1) + 1 : 0;
}

static inline panel panel_of(const mica_depthwise *d, int64_t rows, int64_t columns) {
  const mica_depthwise_axis *a = d->axis;
  panel p;
  const int64_t width = reached(&a[2], columns);
  p.phases = smaller(a[2].stride, width);
  p.phase = parts_of(width, a[2].stride) * VECTOR_WIDTH;
  p.line = p.phases * p.phase;
  p.lines = reached(&a[1], rows);
  p.slice = p.lines * p.line;
  return p;
}

static inline int64_t panel_size(const mica_depthwise *d, const panel *p) {
  return p->slice * d->axis[0].taps;
}

/* Bytes of a panel that stays in the first cache, and of one that leaves room in the second for
 * what else passes through. Lines that overlap with the next panel's are read again: it may be
 * large until they are a quarter. */
enum { PANEL = 48 << 10, PANEL_MOST = 640 << 10 };

static inline bool panel_pays(int64_t elements, int64_t lines, int64_t overlap) {
  const int64_t most = lines < 4 * overlap ? PANEL_MOST : PANEL;
  return elements * (int64_t)sizeof(real) <= most;
}

/* Taps of an axis that have a place of the input for results [first, last]: [*lo, *hi). */
static inline void taps_inside(const mica_depthwise_axis *a, int64_t first, int64_t last,
                               int64_t *lo, int64_t *hi) {
  const int64_t low = last * a->stride - a->before, high = first * a->stride - a->before;
  *lo = low < 0 ? parts_of(-low, a->dilation) : 0;
  *hi = high < a->in ? smaller(a->taps, parts_of(a->in - high, a->dilation)) : 0;
  if (*hi < *lo) *lo = *hi = 0;
}

/* n places from `from` on, `step` elements apart, side by side. What is read beyond the channels
 * is never used, but it must not lie beyond the end of the array. */
static inline void gather_places(const real *from, int64_t step, int64_t n, int64_t lanes,
                                 const real *end, real *to) {
  int64_t last = 0;
  for (; n > 0 && end - from - (n - 1) * step < VECTOR_WIDTH; n--) last++;
  for (int64_t i = 0; i < n; i++, from += step, to += VECTOR_WIDTH)
    vector_store(to, vector_load(from));
  for (int64_t i = 0; i < last; i++, from += step, to += VECTOR_WIDTH) {
    memset(to, 0, VECTOR_BYTES);
    memcpy(to, from, (size_t)lanes * sizeof *to);
  }
}

/* The panel for results from (z, row, column) on, of the vector of channels at `channel`. */
static void fill_panel(const mica_depthwise *d, const panel *p, const real *x, int64_t z,
                       int64_t row, int64_t column, int64_t channel, const real *end, real *to) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t lanes = smaller(d->c - channel, VECTOR_WIDTH), step = a[2].stride;
  int64_t lo, hi;
  taps_inside(&a[0], z, z, &lo, &hi);
  for (int64_t t = lo; t < hi; t++) {
    const int64_t slice = z * a[0].stride + t * a[0].dilation - a[0].before;
    for (int64_t i = 0; i < p->lines; i++) {
      real *line = to + t * p->slice + i * p->line;
      const int64_t at = row * a[1].stride - a[1].before + i;
      if (at < 0 || at >= a[1].in) {
        memset(line, 0, (size_t)p->line * sizeof *line);
        continue;
      }
      const real *in = x + (slice * a[1].in + at) * a[2].in * d->c + channel;
      for (int64_t f = 0; f < p->phases; f++, line += p->phase) {
        const int64_t first = column * step - a[2].before + f, places = p->phase / VECTOR_WIDTH;
        const int64_t from = smaller(places, first < 0 ? parts_of(-first, step) : 0);
        const int64_t until =
            larger(from, smaller(places, first < a[2].in ? parts_of(a[2].in - first, step) : 0));
        memset(line, 0, (size_t)(from * VECTOR_WIDTH) * sizeof *line);
        gather_places(in + (first + from * step) * d->c, step * d->c, until - from, lanes, end,
                      line + from * VECTOR_WIDTH);
        memset(line + until * VECTOR_WIDTH, 0,
               (size_t)((places - until) * VECTOR_WIDTH) * sizeof *line);
      }
    }
  }
}

/* Ask for n elements from `from` on, to be read or written soon. A part is read and written a
 * vector of channels at a time, which no processor's own prefetching sees through. */
static inline void ask_to_read(const real *from, int64_t n, const real *end) {
  const int64_t step = 64 / (int64_t)sizeof(real);
  for (int64_t i = 0; i < smaller(n, end - from); i += step) __builtin_prefetch(from + i, 0, 2);
}
static inline void ask_to_write(const real *from, int64_t n, const real *end) {
  const int64_t step = 64 / (int64_t)sizeof(real);
  for (int64_t i = 0; i < smaller(n, end - from); i += step) __builtin_prefetch(from + i, 1, 2);
}

/* A run: taps of a line of the kernel that read neighbouring vectors of one phase. Without dilation
 * those of a phase, else each tap alone. */
typedef struct run {
  int64_t at; /* in a line of the panel */
  int64_t taps;
} run;

static inline int64_t runs_of(const mica_depthwise_axis *a) {
  return a->dilation == 1 ? smaller(a->stride, a->taps) : a->taps;
}

static inline run run_at(const mica_depthwise_axis *a, const panel *p, int64_t i) {
  const int64_t place = i * a->dilation;
  return (run){place % a->stride * p->phase + place / a->stride * VECTOR_WIDTH,
               a->dilation == 1 ? parts_of(a->taps - i, a->stride) : 1};
}

/* Tap k of run i. */
static inline int64_t run_tap(const mica_depthwise_axis *a, int64_t i, int64_t k) {
  return i + k * a->stride;
}

#endif
