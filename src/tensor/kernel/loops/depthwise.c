/* depthwise.c: depthwise convolution, directly: a tile of neighbouring places stays in registers
 * while the kernel passes over it. Up to three taps of a line are in registers as well, so each
 * vector that is read serves as many places, and multiplications, not loads, are the limit. */
#include "tensor/kernel/depthwise.h"

#include "depthwise_panel.h"
#include "depthwise_weights.h"

/* ---- the sums ---- */

/* One or two neighbouring taps of a line of the kernel: what the tile's first place reads in the
 * panel, and where they lie. */
typedef struct tap_step {
  int64_t x, tap;
} tap_step;

typedef struct window {
  const tap_step *pairs, *singles; /* the steps with two taps, then those with one */
  int64_t n_pairs, n_singles;
  int64_t next;      /* line of the panel that the next line of sums begins with */
  const real *x;     /* the tile's first place in the panel */
  const real *taps;  /* of its vector */
  const real *start; /* what is added to all of them; NULL: 0 */
  real *to;          /* the first */
  int64_t to_place, to_line;
} window;

#define INLINE static inline __attribute__((always_inline))

/* `taps` (a constant) neighbouring taps. */
INLINE void add_taps(int rows, int places, int taps, const real *x, int64_t next, const real *w,
                     vector *sum) {
  vector tap[2];
#pragma GCC unroll 2
  for (int t = 0; t < taps; t++) tap[t] = vector_load(w + t * VECTOR_WIDTH);
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 32
    for (int j = 0; j < places + taps - 1; j++) {
      const vector in = vector_load(x + r * next + j * VECTOR_WIDTH);
#pragma GCC unroll 2
      for (int t = 0; t < taps; t++)
        if (j - t >= 0 && j - t < places) sum[r * places + j - t] += in * tap[t];
    }
}

/* rows x places (constants) sums. Two plain loops: only in such do compilers keep the sums in
 * registers. */
INLINE void tile(int rows, int places, const window *w) {
  const vector start = w->start ? vector_load(w->start) : (vector){0};
  const real *x = w->x, *taps = w->taps;
  const int64_t next = w->next;
  vector sum[TILE];
#pragma GCC unroll 32
  for (int i = 0; i < rows * places; i++) sum[i] = start;
  for (const tap_step *s = w->pairs, *end = s + w->n_pairs; s < end; s++)
    add_taps(rows, places, 2, x + s->x, next, taps + s->tap, sum);
  for (const tap_step *s = w->singles, *end = s + w->n_singles; s < end; s++)
    add_taps(rows, places, 1, x + s->x, next, taps + s->tap, sum);
  real *to = w->to;
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++, to += w->to_line) {
    real *y = to;
#pragma GCC unroll 32
    for (int i = 0; i < places; i++, y += w->to_place) vector_store(y, sum[r * places + i]);
  }
}

#define DEFINE_TILE(rows, places)                                                                  \
  static void tile_##rows##_##places(const window *w) {                                            \
    tile(rows, places, w);                                                                         \
  }
#define TILE_ENTRY(rows, places) {rows, places, tile_##rows##_##places},
TILES(DEFINE_TILE)

static const struct {
  int rows, places;
  void (*sums)(const window *w);
} tiles[] = {TILES(TILE_ENTRY)};

/* ---- steps ---- */

/* The steps of the whole kernel, line after line, and room for those of one place. */
typedef struct kernel_steps {
  tap_step *pairs, *singles, *some_pairs, *some_singles;
  int64_t line_pairs, line_singles; /* of a line of the kernel */
} kernel_steps;

/* Without memory: only counts. */
static kernel_steps steps_of(const mica_depthwise *d, const panel *p, real *memory) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t runs = runs_of(&a[2]), lines = a[0].taps * a[1].taps;
  kernel_steps s = {0};
  for (int64_t i = 0; i < runs; i++) {
    const int64_t taps = run_at(&a[2], p, i).taps;
    s.line_pairs += taps / 2;
    s.line_singles += taps % 2;
  }
  if (!memory) return s;
  s.pairs = (tap_step *)(void *)memory;
  s.singles = s.pairs + lines * s.line_pairs;
  s.some_pairs = s.singles + lines * s.line_singles;
  s.some_singles = s.some_pairs + lines * s.line_pairs;
  tap_step *pair = s.pairs, *single = s.singles;
  for (int64_t i = 0, tap = 0; i < lines; i++)
    for (int64_t r = 0; r < runs; r++) {
      const run of = run_at(&a[2], p, r);
      int64_t x = i / a[1].taps * p->slice + i % a[1].taps * a[1].dilation * p->line + of.at;
      int64_t left = of.taps;
      for (; left >= 2; left -= 2, x += 2 * VECTOR_WIDTH, tap += 2 * VECTOR_WIDTH)
        *pair++ = (tap_step){x, tap};
      if (!left) continue;
      *single++ = (tap_step){x, tap};
      tap += VECTOR_WIDTH;
    }
  return s;
}

static int64_t steps_size(const mica_depthwise *d, const kernel_steps *s) {
  const int64_t n = 2 * d->axis[0].taps * d->axis[1].taps * (s->line_pairs + s->line_singles);
  return n * (int64_t)(sizeof(tap_step) / sizeof(real));
}

/* Those of taps [lo, hi) of depth and height. */
static void take_steps(const mica_depthwise *d, const kernel_steps *s, const int64_t *lo,
                       const int64_t *hi, window *w) {
  const int64_t taps = d->axis[1].taps, lines = hi[1] - lo[1], slices = hi[0] - lo[0];
  const int64_t pairs = lines * s->line_pairs, singles = lines * s->line_singles;
  w->n_pairs = slices * pairs;
  w->n_singles = slices * singles;
  w->pairs = slices > 1 ? s->some_pairs : s->pairs + (lo[0] * taps + lo[1]) * s->line_pairs;
  w->singles = slices > 1 ? s->some_singles : s->singles + (lo[0] * taps + lo[1]) * s->line_singles;
  for (int64_t i = 0; i < slices && slices > 1; i++) {
    const int64_t line = (lo[0] + i) * taps + lo[1];
    memcpy(s->some_pairs + i * pairs, s->pairs + line * s->line_pairs,
           (size_t)pairs * sizeof(tap_step));
    memcpy(s->some_singles + i * singles, s->singles + line * s->line_singles,
           (size_t)singles * sizeof(tap_step));
  }
}

/* ---- plan ---- */

enum { UNITS = 8 }; /* so many that two threads and more have something to do */

static void plan_as(const mica_depthwise *other, mica_depthwise *d) {
  const mica_depthwise_axis *a = d->axis;
  d->tile = other->tile;
  d->rows = other->rows;
  d->columns = other->columns;
  d->parts_down = other->parts_down;
  d->parts_across = other->parts_across;
  d->vectors = other->vectors;
  d->depth = other->axis[0].out;
  d->units = other->units;
  d->taps = a[0].taps * a[1].taps * a[2].taps * VECTOR_WIDTH;
  const panel p = panel_of(d, d->rows, d->columns);
  const kernel_steps s = steps_of(d, &p, NULL);
  d->scratch = panel_size(d, &p) + steps_size(d, &s);
}

static void plan(mica_depthwise *d) {
  const mica_depthwise_axis *a = d->axis;
  int64_t least = INT64_MAX;
  for (int i = 0; i < (int)(sizeof tiles / sizeof *tiles); i++) {
    const int64_t cost = parts_of(a[1].out, tiles[i].rows) * tiles[i].rows *
                         parts_of(a[2].out, tiles[i].places) * tiles[i].places;
    if (cost >= least) continue;
    least = cost;
    d->tile = i;
  }
  const int64_t down = tiles[d->tile].rows, across = tiles[d->tile].places;
  d->vectors = parts_of(d->c, VECTOR_WIDTH);
  d->columns = parts_of(a[2].out, across) * across;
  d->rows = down;
  panel p = panel_of(d, d->rows, d->columns);
  while (d->columns > across && panel_size(d, &p) * (int64_t)sizeof(real) > PANEL_MOST) {
    d->columns = parts_of(d->columns / 2, across) * across;
    p = panel_of(d, d->rows, d->columns);
  }
  const int64_t overlap = a[1].dilation * (a[1].taps - 1), all = parts_of(a[1].out, down) * down;
  for (int64_t rows = 2 * down; rows <= all; rows += down) {
    p = panel_of(d, rows, d->columns);
    const int64_t units = d->n * d->vectors * a[0].out * parts_of(a[1].out, rows);
    if (!panel_pays(panel_size(d, &p), d->rows * a[1].stride, overlap) ||
        (units < UNITS && d->rows * a[1].stride > overlap))
      break;
    d->rows = rows;
  }
  d->parts_down = parts_of(a[1].out, d->rows); /* of about the same size */
  d->rows = parts_of(parts_of(a[1].out, larger(d->parts_down, 1)), down) * down;
  d->parts_down = parts_of(a[1].out, d->rows);
  d->parts_across = parts_of(a[2].out, d->columns);
  d->units = d->n * a[0].out * d->parts_down * d->parts_across * d->vectors;
  plan_as(d, d);
}

/* ---- from registers to memory ---- */

static inline vector load_lanes(const real *from, int64_t lanes) {
  vector v = {0};
  memcpy(&v, from, (size_t)lanes * sizeof *from);
  return v;
}

static inline void store_lanes(real *to, vector v, int64_t lanes) {
  if (lanes == VECTOR_WIDTH)
    vector_store(to, v);
  else if (lanes == VECTOR_WIDTH / 2)
    memcpy(to, &v, sizeof v / 2);
  else
    memcpy(to, &v, (size_t)lanes * sizeof *to);
}

/* One line of a tile: n places, `step` elements apart. */
static void store_places(const real *sums, int64_t n, int64_t step, int64_t lanes,
                         const real *residual, bool relu, real *y) {
  for (int64_t i = 0; i < n; i++, y += step) {
    vector v = vector_load(sums + i * VECTOR_WIDTH);
    if (residual) v += load_lanes(residual + i * step, lanes);
    if (relu) { /* a NaN is not below 0 and stays */
      const vector_mask below = v < (vector){0};
      v = (vector)(~below & (vector_mask)v);
    }
    store_lanes(y, v, lanes);
  }
}

/* Where a unit lies. */
typedef struct part {
  int64_t n, z, row, column, vector;
} part;

static part part_at(const mica_depthwise *d, int64_t unit) {
  part p;
  p.vector = unit % d->vectors;
  unit /= d->vectors;
  p.column = unit % d->parts_across * d->columns;
  unit /= d->parts_across;
  p.row = unit % d->parts_down * d->rows;
  unit /= d->parts_down;
  p.z = unit % d->depth;
  p.n = unit / d->depth;
  return p;
}

/* The element of the result for (row, column) of a part. */
static int64_t result_at(const mica_depthwise *d, const part *p, int64_t row, int64_t column) {
  const int64_t at[] = {p->z, row, column};
  int64_t i = p->n;
  for (int j = 0; j < MICA_CONVOLUTION_AXES; j++)
    i = i * d->axis[j].to_size + d->axis[j].to_first + at[j] * d->axis[j].to_step;
  return i * d->c + p->vector * VECTOR_WIDTH;
}

enum { AHEAD_MOST = 256 << 10 }; /* bytes of a part that is not in the way of what is used now */

/* While a part's tile lines are made, one vector after another, each of them asks for its share of
 * the part below. */
static void ask_ahead(const mica_depthwise *d, const part *u, int64_t tile_line, const real *x,
                      const real *x_end, const real *y, const real *y_end) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t shares = d->vectors * (d->rows / tiles[d->tile].rows),
                share = u->vector * (d->rows / tiles[d->tile].rows) + tile_line;
  if (d->rows * a[1].stride * a[2].in * d->c * (int64_t)sizeof(real) > AHEAD_MOST ||
      d->rows * a[1].to_step * a[2].to_size * d->c * (int64_t)sizeof(real) > AHEAD_MOST)
    return;
  const int64_t slice = u->z * a[0].stride - a[0].before, in = (u->row + d->rows) * a[1].stride -
                                                               a[1].before +
                                                               a[1].dilation * (a[1].taps - 1);
  const int64_t from = ((u->n * a[0].in + slice) * a[1].in + in) * a[2].in * d->c,
                n = d->rows * a[1].stride * a[2].in * d->c / shares;
  if (from >= 0 && from + share * n < x_end - x) ask_to_read(x + from + share * n, n, x_end);
  const int64_t to = (((u->n * a[0].to_size + u->z * a[0].to_step) * a[1].to_size) +
                      (u->row + d->rows) * a[1].to_step) *
                     a[2].to_size * d->c,
                m = d->rows * a[1].to_step * a[2].to_size * d->c / shares;
  if (to + share * m < y_end - y) ask_to_write(y + to + share * m, m, y_end);
}

static void sums(const mica_depthwise *d, const void *xv, const void *taps,
                 const mica_depthwise_ending *e, int64_t begin, int64_t end, void *scratch,
                 void *yv) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t places = a[0].in * a[1].in * a[2].in * d->c;
  const int64_t down = tiles[d->tile].rows, across = tiles[d->tile].places;
  const int64_t place = a[2].to_step * d->c, line = a[1].to_step * a[2].to_size * d->c;
  const real *x = xv, *stop = x + d->n * places, *residual = e->residual;
  const panel p = panel_of(d, d->rows, d->columns);
  const kernel_steps steps = steps_of(d, &p, (real *)scratch + panel_size(d, &p));
  real *y = yv;
  const real *y_stop = y + d->n * a[0].to_size * a[1].to_size * line / a[1].to_step;
  for (int64_t unit = begin; unit < end; unit++) {
    const part u = part_at(d, unit);
    if (u.z >= a[0].out || u.row >= a[1].out || u.column >= a[2].out) continue;
    const int64_t channel = u.vector * VECTOR_WIDTH, lanes = smaller(d->c - channel, VECTOR_WIDTH);
    const int64_t last_row = smaller(u.row + d->rows, a[1].out),
                  last_column = smaller(u.column + d->columns, a[2].out);
    _Alignas(VECTOR_BYTES) real kept[TILE * VECTOR_WIDTH], bias[VECTOR_WIDTH];
    int64_t lo[2], hi[2];
    window w = {.next = a[1].stride * p.line, .taps = (const real *)taps + u.vector * d->taps};
    if (e->bias) {
      vector_store(bias, load_lanes((const real *)e->bias + channel, lanes));
      w.start = bias;
    }
    fill_panel(d, &p, x + u.n * places, u.z, u.row, u.column, channel, stop, scratch);
    taps_inside(&a[0], u.z, u.z, &lo[0], &hi[0]);
    for (int64_t row = u.row; row < last_row; row += down) {
      const int64_t rows = smaller(down, last_row - row);
      taps_inside(&a[1], row, row + rows - 1, &lo[1], &hi[1]);
      take_steps(d, &steps, lo, hi, &w);
      ask_ahead(d, &u, (row - u.row) / down, x, stop, y, y_stop);
      for (int64_t column = u.column; column < last_column; column += across) {
        const int64_t columns = smaller(across, last_column - column);
        const int64_t at = result_at(d, &u, row, column);
        const bool straight =
            rows == down && columns == across && lanes == VECTOR_WIDTH && !residual && !e->relu;
        w.x = (const real *)scratch + (row - u.row) * a[1].stride * p.line +
              (column - u.column) * VECTOR_WIDTH;
        w.to = straight ? y + at : kept;
        w.to_place = straight ? place : VECTOR_WIDTH;
        w.to_line = straight ? line : across * VECTOR_WIDTH;
        tiles[d->tile].sums(&w);
        for (int64_t r = 0; r < rows && !straight; r++)
          store_places(kept + r * across * VECTOR_WIDTH, columns, place, lanes,
                       residual ? residual + at + r * line : NULL, e->relu, y + at + r * line);
      }
    }
  }
}

/* ---- taps ---- */

/* Element of w of the first channel that packed tap k is. */
static int64_t tap_of(const mica_depthwise *d, int64_t k) {
  const mica_depthwise_axis *a = d->axis;
  int64_t i = 0, in_run = k % a[2].taps;
  for (; a[2].dilation == 1 && in_run >= parts_of(a[2].taps - i, a[2].stride); i++)
    in_run -= parts_of(a[2].taps - i, a[2].stride);
  const int64_t tap[] = {k / a[2].taps / a[1].taps, k / a[2].taps % a[1].taps,
                         a[2].dilation == 1 ? run_tap(&a[2], i, in_run) : in_run};
  int64_t at = 0;
  for (int j = 0; j < MICA_CONVOLUTION_AXES; j++)
    at = at * a[j].kernel + a[j].tap_first + tap[j] * a[j].tap_step;
  return at;
}

static void pack(const mica_depthwise *d, const void *wv, int64_t begin, int64_t end, void *tapsv) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t step = a[0].kernel * a[1].kernel * a[2].kernel, taps = d->taps / VECTOR_WIDTH;
  for (int64_t k = 0; k < taps; k++) {
    const int64_t at = tap_of(d, k);
    for (int64_t v = begin; v < end; v++) {
      real *to = (real *)tapsv + v * d->taps + k * VECTOR_WIDTH;
      const int64_t lanes = smaller(d->c - v * VECTOR_WIDTH, VECTOR_WIDTH);
      const real *w = (const real *)wv + v * VECTOR_WIDTH * step + at;
      for (int64_t i = 0; i < lanes; i++) to[i] = w[i * step];
      for (int64_t i = lanes; i < VECTOR_WIDTH; i++) to[i] = 0;
    }
  }
}

static void unpack(const mica_depthwise *d, int64_t pieces, int64_t step, const void *tapsv,
                   int64_t begin, int64_t end, void *dwv) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t kernel = a[0].kernel * a[1].kernel * a[2].kernel, taps = d->taps / VECTOR_WIDTH;
  for (int64_t k = 0; k < taps; k++) {
    const int64_t at = tap_of(d, k);
    for (int64_t v = begin; v < end; v++) {
      const real *from = (const real *)tapsv + v * d->taps + k * VECTOR_WIDTH;
      const int64_t lanes = smaller(d->c - v * VECTOR_WIDTH, VECTOR_WIDTH);
      vector sum = vector_load(from);
      for (int64_t i = 1; i < pieces; i++) sum += vector_load(from + i * step);
      real *dw = (real *)dwv + v * VECTOR_WIDTH * kernel + at;
      for (int64_t i = 0; i < lanes; i++) dw[i * kernel] = sum[i];
    }
  }
}

const mica_depthwise_kernels MICA_KERNEL(depthwise) = {
    .plan = plan,
    .plan_as = plan_as,
    .plan_weights = plan_weights,
    .pack = pack,
    .unpack = unpack,
    .sums = sums,
    .weights = weights,
};
