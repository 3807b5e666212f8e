/* depthwise_weights.h: the gradient of the taps. A block of the kernel's taps stays in registers
 * while all places of an image pass; two places at once, so that what is read of the input serves
 * twice. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_DEPTHWISE_WEIGHTS_H
#define MICA_TENSOR_KERNEL_LOOPS_DEPTHWISE_WEIGHTS_H

#include "depthwise_panel.h"

/* Tiles of sums, rows x places, and blocks of taps, rows x columns for places
 * that are 1 or 2 vectors of the panel apart, that registers hold. */
#if (defined(MICA_ISA_avx512) || defined(__aarch64__))
enum { TILE = 28, BLOCK_TAPS = 28 };
#define TILES(X)  X(2, 12) X(2, 14) X(3, 8) X(4, 7) X(6, 4) X(1, 24)
#define BLOCKS(X) X(3, 3, 1) X(5, 5, 1) X(4, 7, 1) X(3, 8, 1) X(2, 13, 1) X(3, 3, 2) X(5, 5, 2)
#else
enum { TILE = 12, BLOCK_TAPS = 12 };
#define TILES(X)  X(1, 12) X(2, 6) X(3, 4) X(4, 3)
#define BLOCKS(X) X(3, 3, 1) X(2, 5, 1) X(2, 6, 1) X(3, 3, 2) X(2, 5, 2)
#endif

/* The places of some lines, in pairs. */
typedef struct gradient_lines {
  const real *dy;
  int64_t dy_place, dy_line, x_line, lines, pairs;
  bool odd;         /* one more place in each line */
  int64_t tap_line; /* of the gradient */
} gradient_lines;

/* x: what the block's first tap reads for the first place. One plain loop over all pairs: only in
 * such do compilers keep the sums in registers. */
static inline __attribute__((always_inline)) void block(int rows, int columns, int apart,
                                                        const gradient_lines *g, const real *x,
                                                        int64_t row_step, int64_t taps_down,
                                                        int64_t taps, real *dtaps) {
  const int64_t next = g->dy_place, pairs = g->pairs, all = pairs * g->lines;
  const int64_t x_jump = g->x_line - pairs * 2 * apart * VECTOR_WIDTH,
                dy_jump = g->dy_line - pairs * 2 * next;
  vector sum[BLOCK_TAPS];
#pragma GCC unroll 32
  for (int i = 0; i < rows * columns; i++) sum[i] = (vector){0};
  const real *in = x, *dy = g->dy;
  int64_t left = pairs;
  for (int64_t i = 0; i < all; i++) {
    const vector a = vector_load(dy), b = vector_load(dy + next);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
      for (int j = 0; j < columns + apart; j++) {
        const vector at = vector_load(in + r * row_step + j * VECTOR_WIDTH);
        if (j < columns) sum[r * columns + j] += at * a;
        if (j >= apart) sum[r * columns + j - apart] += at * b;
      }
    left--;
    const int64_t last = left ? 0 : -1; /* of the line */
    in += 2 * apart * VECTOR_WIDTH + (last & x_jump);
    dy += 2 * next + (last & dy_jump);
    left += last & pairs;
  }
  in = x + pairs * 2 * apart * VECTOR_WIDTH;
  dy = g->dy + pairs * 2 * next;
  for (int64_t i = 0; g->odd && i < g->lines; i++, in += g->x_line, dy += g->dy_line) {
    const vector a = vector_load(dy);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
      for (int j = 0; j < columns; j++)
        sum[r * columns + j] += vector_load(in + r * row_step + j * VECTOR_WIDTH) * a;
  }
  _Alignas(VECTOR_BYTES) real kept[BLOCK_TAPS * VECTOR_WIDTH];
#pragma GCC unroll 32
  for (int i = 0; i < rows * columns; i++) vector_store(kept + i * VECTOR_WIDTH, sum[i]);
  for (int64_t r = 0; r < taps_down; r++)
    for (int64_t j = 0; j < taps; j++) {
      real *to = dtaps + r * g->tap_line + j * VECTOR_WIDTH;
      vector_store(to, vector_load(to) + vector_load(kept + (r * columns + j) * VECTOR_WIDTH));
    }
}

#define DEFINE_BLOCK(rows, columns, apart)                                                         \
  static void block_##rows##_##columns##_##apart(const gradient_lines *g, const real *x,           \
                                                 int64_t row_step, int64_t taps_down,              \
                                                 int64_t taps, real *dtaps) {                      \
    block(rows, columns, apart, g, x, row_step, taps_down, taps, dtaps);                           \
  }
#define BLOCK_ENTRY(rows, columns, apart)                                                          \
  {rows, columns, apart, block_##rows##_##columns##_##apart},
BLOCKS(DEFINE_BLOCK)

static const struct {
  int rows, columns, apart;
  void (*add)(const gradient_lines *g, const real *x, int64_t row_step, int64_t taps_down,
              int64_t taps, real *dtaps);
} blocks[] = {BLOCKS(BLOCK_ENTRY)};

/* The panel of a part: columns and rows to spare for the taps that a block has too many. */
static panel gradient_panel(const mica_depthwise *d, int64_t rows) {
  mica_depthwise wide = *d;
  wide.axis[1].taps = parts_of(d->axis[1].taps, blocks[d->tile].rows) * blocks[d->tile].rows;
  panel p = panel_of(&wide, rows, (d->columns + blocks[d->tile].columns) * blocks[d->tile].apart);
  return p;
}

enum { SMALL_KERNEL = 5 };

static void plan_weights(mica_depthwise *d) {
  const mica_depthwise_axis *a = d->axis;
  /* Every second place with a small kernel: the panel's places stay in their order, so that one
   * block has all taps of a line. */
  const int apart = a[2].stride == 2 && a[2].dilation == 1 && a[2].taps <= SMALL_KERNEL ? 2 : 1;
  if (apart == 2) d->axis[2].stride = 1;
  int64_t least = INT64_MAX;
  for (int i = 0; i < (int)(sizeof blocks / sizeof *blocks); i++) {
    if (blocks[i].apart != apart) continue;
    int64_t across = 0;
    const panel none = {0};
    for (int64_t r = 0; r < runs_of(&a[2]); r++)
      across += parts_of(run_at(&a[2], &none, r).taps, blocks[i].columns) * blocks[i].columns;
    const int64_t cost = across * parts_of(a[1].taps, blocks[i].rows) * blocks[i].rows;
    if (cost >= least) continue;
    least = cost;
    d->tile = i;
  }
  d->vectors = parts_of(d->c, VECTOR_WIDTH);
  d->columns = a[2].out;
  d->rows = 1;
  const int64_t overlap = a[1].dilation * (a[1].taps - 1);
  for (int64_t rows = 1; rows <= a[1].out; rows++) {
    const panel p = gradient_panel(d, rows);
    const int64_t size = panel_size(d, &p) + rows * d->columns * VECTOR_WIDTH;
    if (!panel_pays(size, d->rows * a[1].stride, overlap)) break;
    d->rows = rows;
  }
  d->parts_down = parts_of(a[1].out, d->rows); /* of about the same size */
  d->rows = parts_of(a[1].out, larger(d->parts_down, 1));
  const panel p = gradient_panel(d, d->rows);
  d->parts_across = 1;
  d->units = d->vectors;
  d->taps = a[0].taps * a[1].taps * a[2].taps * VECTOR_WIDTH;
  d->scratch = panel_size(d, &p) + d->rows * d->columns * VECTOR_WIDTH;
}

/* All blocks of the kernel over one part. */
static void part_weights(const mica_depthwise *d, const panel *p, const real *x, const real *dy,
                         int64_t dy_place, int64_t z, int64_t row, int64_t rows, real *dtaps) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t down = blocks[d->tile].rows, across = blocks[d->tile].columns;
  int64_t lo, hi;
  taps_inside(&a[0], z, z, &lo, &hi);
  for (int64_t td = lo; td < hi; td++)
    for (int64_t th = 0; th < a[1].taps; th += down) {
      const int64_t last = smaller(th + down, a[1].taps) - 1;
      /* Lines for which one of these taps is inside. */
      const int64_t need = a[1].before - last * a[1].dilation,
                    room = a[1].in - 1 + a[1].before - th * a[1].dilation;
      const int64_t first = larger(row, need > 0 ? parts_of(need, a[1].stride) : 0);
      const int64_t until = smaller(row + rows, room < 0 ? 0 : room / a[1].stride + 1);
      if (first >= until) continue;
      const gradient_lines g = {.dy = dy + (first - row) * a[2].out * dy_place,
                                .dy_place = dy_place,
                                .dy_line = a[2].out * dy_place,
                                .x_line = a[1].stride * p->line,
                                .lines = until - first,
                                .pairs = a[2].out / 2,
                                .odd = a[2].out % 2,
                                .tap_line = a[2].taps * VECTOR_WIDTH};
      const real *line =
          x + td * p->slice + ((first - row) * a[1].stride + th * a[1].dilation) * p->line;
      int64_t tap = 0;
      for (int64_t i = 0; i < runs_of(&a[2]); i++) {
        const run r = run_at(&a[2], p, i);
        for (int64_t t = 0; t < r.taps; t += across)
          blocks[d->tile].add(&g, line + r.at + t * VECTOR_WIDTH, a[1].dilation * p->line,
                              last + 1 - th, smaller(across, r.taps - t),
                              dtaps + ((td * a[1].taps + th) * a[2].taps + tap + t) * VECTOR_WIDTH);
        tap += r.taps;
      }
    }
}

static void weights(const mica_depthwise *d, const void *xv, const void *dyv, int64_t from,
                    int64_t until, int64_t begin, int64_t end, void *scratch, void *dtaps) {
  const mica_depthwise_axis *a = d->axis;
  const int64_t x_line = a[2].in * d->c, x_image = a[0].in * a[1].in * x_line;
  const int64_t line = a[2].out * d->c, image = a[0].out * a[1].out * line;
  const panel p = gradient_panel(d, d->rows);
  const real *x_end = (const real *)xv + d->n * x_image, *dy_end = (const real *)dyv + d->n * image;
  /* What is read once need not be copied first. */
  const bool once = a[1].taps <= blocks[d->tile].rows && runs_of(&a[2]) == 1 &&
                    a[2].taps <= blocks[d->tile].columns;
  real *copied = (real *)scratch + panel_size(d, &p);
  memset((real *)dtaps + from * d->taps, 0, (size_t)((until - from) * d->taps) * sizeof(real));
  for (int64_t n = begin; n < end; n++)
    for (int64_t z = 0; z < a[0].out; z++)
      for (int64_t row = 0; row < a[1].out; row += d->rows) {
        const int64_t rows = smaller(d->rows, a[1].out - row);
        const real *x = (const real *)xv + n * x_image,
                   *dy = (const real *)dyv + n * image + (z * a[1].out + row) * line;
        for (int64_t v = from; v < until; v++) {
          const int64_t channel = v * VECTOR_WIDTH, lanes = smaller(d->c - channel, VECTOR_WIDTH);
          const bool copy = !once || lanes < VECTOR_WIDTH;
          fill_panel(d, &p, x, z, row, 0, channel, x_end, scratch);
          if (copy) gather_places(dy + channel, d->c, rows * a[2].out, lanes, dy_end, copied);
          part_weights(d, &p, scratch, copy ? copied : dy + channel, copy ? VECTOR_WIDTH : d->c, z,
                       row, rows, (real *)dtaps + v * d->taps);
        }
      }
}

#endif
