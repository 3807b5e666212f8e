/* direct.c: tiles of a convolution's product, rows read through a list of addresses. */
#include "tensor/kernel/direct.h"

#include "loop.h"
#include "product_tile.h"

enum {
  CUT = 4608 / (int)sizeof(real), /* of a sum: longer ones are no faster */
  LINE = 64 / (int)sizeof(real),  /* of a cache */
  UNROLLED = 4,                   /* products of a sum */
  STEP_LINES = UNROLLED * TILE_COLUMNS / LINE,
  ROWS = 16 * TILE_ROWS,                  /* of a block */
  GROUP = 512 * 1024 / (int)sizeof(real), /* elements of panels */
  AT_ONCE = 256                           /* places of a strip of the weights' gradient */
};

#define INLINE static inline __attribute__((always_inline))

/* ---- where rows lie ---- */

typedef struct place {
  int64_t n, a, b;
} place;

static place place_of(const mica_direct *d, int64_t row) {
  const int64_t in_image = d->high * d->wide;
  return (place){row / in_image, row % in_image / d->wide, row % d->wide};
}

static void next(const mica_direct *d, place *p) {
  if (++p->b < d->wide) return;
  p->b = 0;
  if (++p->a < d->high) return;
  p->a = 0;
  p->n++;
}

/* The inputs that tap t multiplies. */
static inline const real *input_at(const mica_direct *d, const real *x, const real *zeros, place p,
                                   int t) {
  const int64_t h = p.a * d->step_h + d->at_h[t], w = p.b * d->step_w + d->at_w[t];
  const bool inside = h >= 0 && h < d->from_h && w >= 0 && w < d->from_w;
  return inside ? x + ((p.n * d->from_h + h) * d->from_w + w) * d->depth : zeros;
}

static inline int64_t output_at(const mica_direct *d, place p) {
  const int64_t h = p.a * d->to_step_h + d->to_first_h, w = p.b * d->to_step_w + d->to_first_w;
  return ((p.n * d->to_h + h) * d->to_w + w) * d->columns;
}

/* ---- sums ---- */

/* A NaN stays. */
static inline vector relu_of(vector v) {
  return (vector)((vector_bits)v & ~(vector_bits)(v < (vector){0}));
}

/* What a tile multiplies, and where its sums go. */
typedef struct tile {
  const real *left, *right; /* rows `step` apart; a panel */
  int64_t step, depth;
  const int64_t *to; /* places of the result, one a row */
  int64_t column;
  bool first, last; /* the first and the last cut of a sum */
  const real
      *ahead; /* what will be multiplied next, and how many lines of it to ask for at a step */
  int lines, ahead_step;
  bool once; /* not for each panel */
} tile;

/* `depth` products of each sum, all unrolled. Two pointers and multiples of the step address the
 * rows: one pointer a row would not fit the integer registers. */
INLINE void add_products(const int rows, const int vectors, const int depth, const real *left,
                         int64_t step, const real *right, vector sum[TILE_ROWS][TILE_VECTORS]) {
  const real *four[2] = {left, left + 4 * step};
  const int64_t three = 3 * step;
#pragma GCC unroll 4
  for (int p = 0; p < depth; p++) {
    vector r[TILE_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
      r[v] = vector_load(right + p * TILE_COLUMNS + v * VECTOR_WIDTH);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        sum[i][v] += four[i / 4][(i % 4 == 3 ? three : i % 4 * step) + p] * r[v];
  }
}

/* `rows` rows, `vectors` vectors of columns. */
INLINE void tile_sums(const int rows, const int vectors, const tile *t, const mica_direct_ending *e,
                      real *y) {
  vector sum[TILE_ROWS][TILE_VECTORS];
  /* It may be where the result goes. */
  const real *residual = t->first && t->last ? e->residual : NULL;
  const real *bias = t->last ? e->bias : NULL;
  const bool relu = t->last && e->relu;
  const real *before = !t->first ? y : t->last ? NULL : e->residual;
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
      sum[i][v] =
          before ? vector_load(before + t->to[i] + t->column + v * VECTOR_WIDTH) : (vector){0};
  const real *right = t->right, *left = t->left;
  const int64_t whole = t->depth & -UNROLLED;
  const real *ahead = t->ahead;
  int coming = 0;
  for (int64_t p = 0; p < whole;
       p += UNROLLED, right += UNROLLED * TILE_COLUMNS, left += UNROLLED) {
    for (int line = 0; line < t->lines; line++) __builtin_prefetch(ahead + line * LINE, 0, 2);
    ahead += t->ahead_step;
    if (coming < rows) { /* where the sums of a row go, and what is added to them */
      const int64_t at = t->to[coming++] + t->column;
      for (int v = 0; v < vectors; v++) {
        if (residual) __builtin_prefetch(residual + at + v * VECTOR_WIDTH);
        __builtin_prefetch(y + at + v * VECTOR_WIDTH, 1);
      }
    }
    add_products(rows, vectors, UNROLLED, left, t->step, right, sum);
  }
  for (int64_t p = whole; p < t->depth; p++, right += TILE_COLUMNS, left++)
    add_products(rows, vectors, 1, left, t->step, right, sum);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) {
    const int64_t at = t->column + v * VECTOR_WIDTH;
    const vector add = bias ? vector_load(bias + at) : (vector){0};
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
      vector s = sum[i][v] + add;
      if (residual) s += vector_load(residual + t->to[i] + at);
      vector_store(y + t->to[i] + at, relu ? relu_of(s) : s);
    }
  }
}

typedef void (*tile_fn)(const tile *t, const mica_direct_ending *e, real *y);

/* A function for each height, so that a rest of few rows takes no longer than it must. */
#define TILE(rows)                                                                                 \
  static void tile_##rows(const tile *t, const mica_direct_ending *e, real *y) {                   \
    tile_sums(rows, TILE_VECTORS, t, e, y);                                                        \
  }                                                                                                \
  static void narrow_##rows(const tile *t, const mica_direct_ending *e, real *y) {                 \
    tile_sums(rows, 1, t, e, y);                                                                   \
  }
#if TILE_ROWS == 4
#define TILES(X) X(1) X(2) X(3) X(4)
#elif TILE_ROWS == 6
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif
TILES(TILE)
#define WIDE(rows)   tile_##rows,
#define NARROW(rows) narrow_##rows,
static const tile_fn wide_tiles[] = {TILES(WIDE)}, narrow_tiles[] = {TILES(NARROW)};

/* Inputs [first, first + depth) of a place's, over its taps, side by side. */
static void gather(const mica_direct *d, const real *x, const real *zeros, place p, int64_t first,
                   int64_t depth, real *to) {
  int tap = (int)(first / d->depth);
  int64_t from = first % d->depth;
  for (; depth > 0; tap++, from = 0) {
    const int64_t n = smaller(depth, d->depth - from);
    const real *in = input_at(d, x, zeros, p, tap) + from;
    int64_t c = 0;
    for (; c + VECTOR_WIDTH <= n; c += VECTOR_WIDTH) vector_store(to + c, vector_load(in + c));
    for (; c < n; c++) to[c] = in[c];
    to += n;
    depth -= n;
  }
}

/* Cuts of a sum, equal but for the last. */
static int64_t cut_of(int64_t depth) {
  const int64_t cuts = (depth + CUT - 1) / CUT;
  if (cuts < 2) return depth;
  return ((depth + cuts - 1) / cuts + VECTOR_WIDTH - 1) / VECTOR_WIDTH * VECTOR_WIDTH;
}

static int64_t shared(int64_t all, int64_t parts, int64_t part) {
  return part * all / parts;
}

/* A tile's sums over a cut, for the panels of columns [t->column, until). */
static void tile_panels(const mica_direct *d, tile t, int rows, int64_t panel, int64_t until,
                        const mica_direct_ending *ending, real *y) {
  for (; t.column < until; t.column += TILE_COLUMNS, t.right += panel, t.lines *= !t.once)
    if (d->columns - t.column >= TILE_COLUMNS)
      wide_tiles[rows - 1](&t, ending, y);
    else
      for (; t.column < d->columns; t.column += VECTOR_WIDTH, t.right += VECTOR_WIDTH)
        narrow_tiles[rows - 1](&t, ending, y);
}

/* A block of rows and a group of panels stay in the second cache together. Rows are shared out
 * evenly over blocks and tiles, so that no tile is much smaller. */
static void sums(const mica_direct *d, const void *x, const void *zeros, const void *packed,
                 const mica_direct_ending *ending, int64_t begin, int64_t end, int64_t from,
                 int64_t until, void *scratch, void *y) {
  real *left = scratch;
  const int64_t whole = d->taps * d->depth, panel = whole * TILE_COLUMNS, cut = cut_of(whole);
  const int64_t last = smaller(until * TILE_COLUMNS, d->columns);
  const int64_t blocks = (end - begin + ROWS - 1) / ROWS;
  /* Where all rows are one block each panel is read once, from memory perhaps. */
  const int64_t group = blocks > 1 && cut * TILE_COLUMNS < GROUP / 2
                            ? GROUP / (cut * TILE_COLUMNS + 1) * TILE_COLUMNS
                            : TILE_COLUMNS;
  /* Rows of a product that lie in order are read in place, the next ones on their way meanwhile. */
  const bool plain = d->taps == 1 && d->step_h == 1 && d->step_w == 1 && !d->at_h[0] &&
                     !d->at_w[0] && d->high == d->from_h && d->wide == d->from_w;
  int64_t to[ROWS];
  place p = place_of(d, begin), at[ROWS];
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t rows =
        shared(end - begin, blocks, block + 1) - shared(end - begin, blocks, block);
    const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t i = 0; i < rows; i++, next(d, &p)) {
      at[i] = p;
      to[i] = output_at(d, p);
    }
    int64_t first = 0;
    do { /* once where no tap meets the places */
      const int64_t depth = smaller(cut, whole - first);
      if (!plain)
        for (int64_t i = 0; i < rows; i++)
          gather(d, x, zeros, at[i], first, depth, left + i * depth);
      const int64_t step = plain ? whole : depth;
      const real *in =
          plain ? (const real *)x + (begin + shared(end - begin, blocks, block)) * whole + first
                : left;
      for (int64_t column = from * TILE_COLUMNS; column < last; column += group)
        for (int64_t k = 0; k < tiles; k++) {
          const int64_t row = shared(rows, tiles, k);
          const real *right =
              (const real *)packed + column / TILE_COLUMNS * panel + first * TILE_COLUMNS;
          const real *ahead = column + group < last ? right + panel
                              : first + cut < whole ? (const real *)packed + from * panel +
                                                          (first + cut) * TILE_COLUMNS
                                                    : NULL;
          const int lines = (int)((STEP_LINES + tiles - 1) / tiles);
          const bool rows_ahead = plain && blocks > 1;
          const tile t = {.left = in + row * step,
                          .right = right,
                          .step = step,
                          .depth = depth,
                          .to = to + row,
                          .column = column,
                          .first = first == 0,
                          .last = first + depth == whole,
                          .ahead = rows_ahead ? in + (row + TILE_ROWS) * step
                                   : ahead    ? ahead + k * lines * LINE
                                              : NULL,
                          .lines = rows_ahead                                       ? 2
                                   : blocks == 1 && ahead && k * lines < STEP_LINES ? lines
                                                                                    : 0,
                          .ahead_step = rows_ahead ? 2 * LINE : UNROLLED * TILE_COLUMNS,
                          .once = rows_ahead};
          tile_panels(d, t, (int)(shared(rows, tiles, k + 1) - row), panel,
                      smaller(column + group, last), ending, y);
        }
      first += cut;
    } while (first < whole);
  }
}

/* ---- weights ---- */

/* A square of `to` from VECTOR_WIDTH filters, VECTOR_WIDTH channels of each. */
static void pack_square(const real *w, int64_t filter, int64_t channels, real *to) {
  vector square[VECTOR_WIDTH];
  if (channels < VECTOR_WIDTH) {
    for (int64_t c = 0; c < channels; c++)
      for (int i = 0; i < VECTOR_WIDTH; i++) to[c * TILE_COLUMNS + i] = w[i * filter + c];
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < VECTOR_WIDTH; i++) square[i] = vector_load(w + i * filter);
  vector_transpose(square);
#pragma GCC unroll 16
  for (int c = 0; c < VECTOR_WIDTH; c++) vector_store(to + c * TILE_COLUMNS, square[c]);
}

static void pack(const mica_direct *d, const void *wv, int64_t kernel, bool turned, int64_t begin,
                 int64_t end, void *packed) {
  const int64_t filter = kernel * (turned ? d->columns : d->depth);
  real *to = (real *)packed + begin * d->taps * d->depth * TILE_COLUMNS;
  for (int64_t j = begin * TILE_COLUMNS; j < end * TILE_COLUMNS; j += TILE_COLUMNS)
    for (int t = 0; t < d->taps; t++, to += d->depth * TILE_COLUMNS) {
      const int64_t width = smaller(TILE_COLUMNS, d->columns - j);
      if (turned) {
        const real *w = (const real *)wv + d->number[t] * d->columns + j;
        for (int64_t f = 0; f < d->depth; f++)
          memcpy(to + f * TILE_COLUMNS, w + f * filter, (size_t)width * sizeof *to);
        continue;
      }
      const real *w = (const real *)wv + j * filter + d->number[t] * d->depth;
      for (int64_t v = 0; v < width; v += VECTOR_WIDTH)
        for (int64_t c = 0; c < d->depth; c += VECTOR_WIDTH)
          pack_square(w + v * filter + c, filter, d->depth - c, to + c * TILE_COLUMNS + v);
    }
}

/* ---- the weights' gradient ---- */

static void pack_gradient(const void *dyv, int64_t o, int64_t first, int64_t begin, int64_t end,
                          void *packed) {
  const real *dy = (const real *)dyv + begin * o + first;
  const int64_t rows = end - begin, width = smaller(TILE_ROWS, o - first);
  real *to = packed;
  if (width == TILE_ROWS)
    for (int64_t r = 0; r < rows; r++)
      memcpy(to + r * TILE_ROWS, dy + r * o, TILE_ROWS * sizeof *to);
  else
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < TILE_ROWS; i++) to[r * TILE_ROWS + i] = i < width ? dy[r * o + i] : 0;
}

/* TILE_ROWS filters, `vectors` vectors of channels, over `places` places. */
INLINE void gradient_tile(const int vectors, int64_t filters, int64_t places, const real *left,
                          const real *right, bool fresh, int64_t filter, real *dw) {
  product_sums sum;
  const real *row[TILE_ROWS];
  product_rows(true, filters, left, TILE_ROWS, row);
  product_begin(vectors, fresh, filters, dw, filter, sum);
  product_add(vectors, true, places, row, TILE_ROWS, right, TILE_COLUMNS, sum);
  product_store(vectors, filters, sum, dw, filter);
}

static void gradient(const mica_direct *d, int64_t kernel, const void *x, const void *zeros,
                     const void *packed, int t, int64_t from, int64_t begin, int64_t end,
                     bool fresh, void *dw) {
  real strip[AT_ONCE * TILE_COLUMNS] __attribute__((aligned(64)));
  const int64_t width = smaller(TILE_COLUMNS, d->depth - from), filter = kernel * d->depth;
  real *to = (real *)dw + d->number[t] * d->depth + from;
  place p = place_of(d, begin);
  for (int64_t row = begin; row < end; row += AT_ONCE, fresh = false) {
    const int64_t rows = smaller(AT_ONCE, end - row);
    if (width == TILE_COLUMNS)
      for (int64_t r = 0; r < rows; r++, next(d, &p)) {
        const real *in = input_at(d, x, zeros, p, t) + from;
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; v++)
          vector_store(strip + r * TILE_COLUMNS + v * VECTOR_WIDTH,
                       vector_load(in + v * VECTOR_WIDTH));
      }
    else
      for (int64_t r = 0; r < rows; r++, next(d, &p))
        memcpy(strip + r * TILE_COLUMNS, input_at(d, x, zeros, p, t) + from,
               (size_t)width * sizeof(real));
    for (int64_t f = 0; f < d->columns; f += TILE_ROWS) {
      const real *left = (const real *)packed + f * (end - begin) + (row - begin) * TILE_ROWS;
      if (width == TILE_COLUMNS)
        gradient_tile(TILE_VECTORS, d->columns - f, rows, left, strip, fresh, filter,
                      to + f * filter);
      else
        for (int64_t v = 0; v < width; v += VECTOR_WIDTH)
          gradient_tile(1, d->columns - f, rows, left, strip + v, fresh, filter,
                        to + f * filter + v);
    }
  }
}

const mica_direct_kernels MICA_KERNEL(direct) = {
    .vector = VECTOR_WIDTH,
    .columns = TILE_COLUMNS,
    .rows = TILE_ROWS,
    .scratch = ROWS * CUT,
    .pack = pack,
    .sums = sums,
    .pack_gradient = pack_gradient,
    .gradient = gradient,
};
