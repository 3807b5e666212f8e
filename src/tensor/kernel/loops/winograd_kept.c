/* winograd_kept.c: F(4x4, 3x3) whose weights are transformed in the loop that multiplies.
 *
 * The rows of a kernel are transformed once for all tiles, a block of channels at a time: three
 * numbers for each of the six columns of points. The loop over channels makes three of a column's
 * six points from them and multiplies each with all tiles of a group, whose sums stay in registers.
 * The factors that this leaves out of the points' rows are in the transform of the sums.
 */
#include "tensor/kernel/winograd_kept.h"

#include "tensor/kernel/loops/winograd_transforms.h"

enum {
  MOST = TILE_ROWS * TILE_VECTORS / 3, /* tiles of a group: three sums of each in registers */
  AT_ONCE = 64,                        /* channels whose rows are transformed at once */
  FEW_AT_ONCE = 32,                    /* the same for one group */
  HALVES = 2,                          /* of a column's points */
  THIRD = SIDE / HALVES,
  KERNEL = TAPS * TAPS,
  LINE = 64 / (int)sizeof(real)
};

static int64_t group_at(const mica_winograd_tiles *t, int64_t group, int64_t groups) {
  return t->first + group * (t->end - t->first) / groups;
}

static int64_t groups_of(const mica_winograd_tiles *t) {
  return (t->end - t->first + t->most - 1) / t->most;
}

/* ---- weights ---- */

static void pack(int64_t c, const void *wv, int64_t begin, int64_t end, void *packed) {
  for (int64_t f = begin; f < end; f += VECTOR_WIDTH)
    for (int64_t from = 0; from < c; from += VECTOR_WIDTH)
      for (int tap = 0; tap < KERNEL; tap++) {
        const real *w = (const real *)wv + (f * KERNEL + tap) * c + from;
        real *to = (real *)packed + f * c * KERNEL + (from * KERNEL + tap) * VECTOR_WIDTH;
        vector square[VECTOR_WIDTH];
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR_WIDTH; i++) square[i] = vector_load(w + i * KERNEL * c);
        vector_transpose(square);
#pragma GCC unroll 16
        for (int k = 0; k < VECTOR_WIDTH; k++)
          vector_store(to + k * KERNEL * VECTOR_WIDTH, square[k]);
      }
}

/* Two columns of points, those of a and -a or of b and -b, of `depth` kernels: [2, depth, 3,
 * vector]. Only so many at once that they stay in the first cache. */
INLINE void transform_pair(const bool b, int64_t depth, const real *packed, real *pair) {
  const real even0 = b ? NB : NA, even2 = b ? NB * B2 : NA * A2, odd1 = b ? NB * B1 : NA * A1;
  for (int64_t p = 0; p < depth; p++, packed += KERNEL * VECTOR_WIDTH, pair += TAPS * VECTOR_WIDTH)
#pragma GCC unroll 3
    for (int i = 0; i < TAPS; i++) {
      const real *w = packed + i * TAPS * VECTOR_WIDTH;
      const vector even = even0 * vector_load(w) + even2 * vector_load(w + 2 * VECTOR_WIDTH);
      const vector odd = odd1 * vector_load(w + VECTOR_WIDTH);
      vector_store(pair + i * VECTOR_WIDTH, even + odd);
      vector_store(pair + (depth * TAPS + i) * VECTOR_WIDTH, even - odd);
    }
}

/* ---- tiles ---- */

/* A group: its tiles side by side, so that stores go to a few pages at a time. */
static void group_input(const mica_winograd_map *map, int64_t first, int64_t n, const void *x,
                        const void *zeros, real *v) {
  const real *at[MOST][POINTS];
  const int64_t half_points = map->channels * THIRD * n;
  for (int64_t tile = 0; tile < n; tile++) {
    const position p = position_of(map, first + tile);
    places_of(map, image_of(map, x, p.image), zeros, p.h * OUT - map->before_h,
              p.w * OUT - map->before_w, SIDE, at[tile]);
  }
  for (int64_t c = 0; c < map->channels; c += VECTOR_WIDTH)
    for (int64_t tile = 0; tile < n; tile++) {
      vector half[SIDE][SIDE];
#pragma GCC unroll 6
      for (int i = 0; i < SIDE; i++) {
        vector d[SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++) d[j] = vector_load(at[tile][i * SIDE + j] + c);
        transform_input(d, 1, half[i], 1);
      }
      real *to = v + c * THIRD * n + tile * VECTOR_WIDTH;
      for (int j = 0; j < SIDE; j++, to += HALVES * half_points) {
        vector t[SIDE];
        transform_input(&half[0][j], SIDE, t, 1);
#pragma GCC unroll 6
        for (int i = 0; i < SIDE; i++)
          vector_store(to + i / THIRD * half_points + i % THIRD * n * VECTOR_WIDTH, t[i]);
      }
    }
}

static void input(const mica_winograd_map *map, const mica_winograd_tiles *tiles, const void *x,
                  const void *zeros, void *v) {
  const int64_t groups = groups_of(tiles);
  for (int64_t g = 0; g < groups; g++) {
    const int64_t first = group_at(tiles, g, groups);
    group_input(map, first, group_at(tiles, g + 1, groups) - first, x, zeros,
                (real *)v + (first - tiles->first) * POINTS * map->channels);
  }
}

/* y = A^T m with the factors of the points. */
static inline void transform_sums(const vector *m, int step, vector *y) {
  const vector s1 = m[step] + m[2 * step], d1 = m[step] - m[2 * step];
  const vector s2 = m[3 * step] + m[4 * step], d2 = m[3 * step] - m[4 * step];
  y[0] = m[0] + NA * s1 + NB * s2;
  y[1] = (NA * A1) * d1 + (NB * B1) * d2;
  y[2] = (NA * A2) * s1 + (NB * B2) * s2;
  y[3] = (NA * A3) * d1 + (NB * B3) * d2 + m[5 * step];
}

static void output(const mica_winograd_map *map, const mica_winograd_tiles *tiles, const void *mv,
                   int64_t from, const void *bias, const void *residual, bool relu, void *yv) {
  const int64_t c_all = map->channels, groups = groups_of(tiles);
  const vector add = bias ? vector_load((const real *)bias + from) : (vector){0};
  for (int64_t g = 0; g < groups; g++) {
    const int64_t first = group_at(tiles, g, groups), n = group_at(tiles, g + 1, groups) - first;
    for (int64_t tile = 0; tile < n; tile++) {
      const real *m = (const real *)mv + ((first - tiles->first) * POINTS + tile) * VECTOR_WIDTH;
      const position p = position_of(map, first + tile);
      const int64_t h = p.h * OUT, w = p.w * OUT;
      const int64_t start = ((p.image * map->height + h) * map->width + w) * c_all + from;
      const int rows = (int)smaller(OUT, map->height - h),
                columns = (int)smaller(OUT, map->width - w);
      vector half[SIDE][OUT];
      for (int i = 0; i < SIDE; i++) {
        vector t[SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++)
          t[j] = vector_load(m + ((j * HALVES + i / THIRD) * THIRD + i % THIRD) * n * VECTOR_WIDTH);
        transform_output(t, 1, half[i], 1);
      }
      for (int j = 0; j < columns; j++) {
        vector t[OUT];
        transform_sums(&half[0][j], OUT, t);
        for (int i = 0; i < rows; i++) {
          const int64_t at = start + (i * map->width + j) * c_all;
          vector y = t[i] + add;
          if (residual) y += vector_load((const real *)residual + at);
          vector_store((real *)yv + at, relu ? relu_of(y) : y);
        }
      }
    }
  }
}

/* ---- sums ---- */

typedef struct strip {
  int64_t depth;
  const real *v, *rows;   /* [depth / vector, 3, tiles, vector], [depth, 3] vectors */
  int64_t step, row_step; /* of the latter */
  bool fresh;
  real *m;
  const real *ahead; /* asked for meanwhile, `lines` for each vector of channels */
  int64_t lines;
} strip;

/* Three points of a column, `n` tiles. */
INLINE void three_points(const int n, const bool lower, const strip *s) {
  const real square = lower ? B2 : A2, first = lower ? B1 : A1;
  const real *v = s->v, *rows = s->rows, *ahead = s->ahead;
  const int64_t step = s->step, row_step = s->row_step;
  vector sum[THIRD][MOST];
#pragma GCC unroll 3
  for (int r = 0; r < THIRD; r++)
#pragma GCC unroll 8
    for (int t = 0; t < n; t++)
      sum[r][t] = s->fresh ? (vector){0} : vector_load(s->m + (r * n + t) * VECTOR_WIDTH);
  for (int64_t c = 0; c < s->depth; c += VECTOR_WIDTH, v += THIRD * n * VECTOR_WIDTH) {
    for (int64_t i = 0; i < s->lines; i++, ahead += LINE) __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 2
    for (int k = 0; k < VECTOR_WIDTH; k++, rows += step) {
      const vector w0 = vector_load(rows), w1 = vector_load(rows + row_step),
                   w2 = vector_load(rows + 2 * row_step);
      const vector even = w0 + square * w2;
      const vector plus = even + first * w1, minus = even - first * w1;
      const vector u[THIRD] = {lower ? plus : w0, lower ? minus : plus, lower ? w2 : minus};
#pragma GCC unroll 3
      for (int r = 0; r < THIRD; r++)
#pragma GCC unroll 8
        for (int t = 0; t < n; t++) sum[r][t] += v[(r * n + t) * VECTOR_WIDTH + k] * u[r];
    }
  }
#pragma GCC unroll 3
  for (int r = 0; r < THIRD; r++)
#pragma GCC unroll 8
    for (int t = 0; t < n; t++) vector_store(s->m + (r * n + t) * VECTOR_WIDTH, sum[r][t]);
}

typedef void (*strip_fn)(const strip *s);

#define STRIP(n)                                                                                   \
  static void upper_##n(const strip *s) {                                                          \
    three_points(n, false, s);                                                                     \
  }                                                                                                \
  static void lower_##n(const strip *s) {                                                          \
    three_points(n, true, s);                                                                      \
  }
#if TILE_ROWS * TILE_VECTORS >= 24
#define STRIPS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#elif TILE_ROWS * TILE_VECTORS >= 12
#define STRIPS(X) X(1) X(2) X(3) X(4)
#else
#define STRIPS(X) X(1) X(2)
#endif
STRIPS(STRIP)
#define UPPER(n) upper_##n,
#define LOWER(n) lower_##n,
static const strip_fn strips[HALVES][MOST] = {{STRIPS(UPPER)}, {STRIPS(LOWER)}};

/* The first and the last column of points are those of the kernel as they are. */
static void column_of_points(int column, int64_t depth, const real *packed, real *pair, strip *s) {
  const bool whole = column == 0 || column == SIDE - 1;
  if (column == 1) transform_pair(false, depth, packed, pair);
  if (column == 3) transform_pair(true, depth, packed, pair);
  s->rows = whole        ? packed + (column ? TAPS - 1 : 0) * VECTOR_WIDTH
            : column % 2 ? pair
                         : pair + depth * TAPS * VECTOR_WIDTH;
  s->step = (whole ? KERNEL : TAPS) * VECTOR_WIDTH;
  s->row_step = (whole ? TAPS : 1) * VECTOR_WIDTH;
}

static void sums(const mica_winograd_tiles *tiles, int64_t depth, const void *vv,
                 const void *packed, void *scratch, void *mv) {
  const int64_t groups = groups_of(tiles), at_once = groups > 1 ? AT_ONCE : FEW_AT_ONCE;
  for (int64_t c = 0; c < depth; c += at_once) {
    const real *w = (const real *)packed + c * KERNEL * VECTOR_WIDTH;
    const int64_t some = smaller(at_once, depth - c);
    const int64_t visits = groups * SIDE * HALVES * (some / VECTOR_WIDTH);
    const int64_t lines = (some * KERNEL * VECTOR_WIDTH / LINE + visits - 1) / visits;
    strip s = {
        .depth = some, .fresh = c == 0, .ahead = w + some * KERNEL * VECTOR_WIDTH, .lines = lines};
    for (int j = 0; j < SIDE; j++) {
      column_of_points(j, some, w, scratch, &s);
      for (int64_t g = 0; g < groups; g++) {
        const int64_t first = group_at(tiles, g, groups), before = first - tiles->first;
        const int64_t n = group_at(tiles, g + 1, groups) - first;
        for (int h = 0; h < HALVES; h++) {
          s.v = (const real *)vv + before * POINTS * depth +
                ((j * HALVES + h) * depth + c) * THIRD * n;
          s.m = (real *)mv + (before * POINTS + (j * HALVES + h) * THIRD * n) * VECTOR_WIDTH;
          strips[h][n - 1](&s);
          s.ahead += lines * LINE * (some / VECTOR_WIDTH);
        }
      }
    }
  }
}

const mica_winograd_kept_kernels MICA_KERNEL(winograd_kept) = {
    .vector = VECTOR_WIDTH,
    .most = MOST,
    .scratch = 2 * AT_ONCE * TAPS * VECTOR_WIDTH,
    .pack = pack,
    .input = input,
    .sums = sums,
    .output = output,
};
