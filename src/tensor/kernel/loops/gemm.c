/* Matrix products for one thread: a register tile over packed columns, and row-vector products.
 *
 * B is packed into panels of TILE_COLUMNS columns, padded with zeros, and a block of it stays in
 * the second cache while all rows of A pass by: TILE_ROWS of them are read in place and stay in the
 * first cache while the panels pass by. Only where A lies transposed, or is rounded, is a tile of
 * it copied first. k is cut at places that follow from k alone, so each element's sum has one order
 * whatever rectangle of C a call computes. Products with a few rows read B in place: packing would
 * cost more than the product.
 */
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/loops/product_tile.h"

#include <string.h>

enum {
  DEPTH = 2048 / (int)sizeof(real), /* the most of a cut of k: the first cache holds a tile of A */
  BLOCK = (1 << 20) / (int)sizeof(real), /* elements of B that stay in the second cache */
  FEW_COLUMNS = 2 * TILE_COLUMNS,        /* up to this many a transposed A is read in place */
  COPIED = 4 * TILE_ROWS,                /* rows of A copied at a time */
  FEW_ELEMENTS = BLOCK / 2,              /* of A: with fewer it is B that streams by */
  FEW_ROWS = 3,                          /* up to this many rows B is read in place */
  DOTS = 16,                             /* dot products between two visits to C */
  DOT_VECTORS = 8,                       /* vectors of one's sum */
  ROW_VECTORS = 4                        /* vectors of a row of C kept in registers */
};

static inline int64_t min_int(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static inline int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

/* bf16 rounding, to nearest with ties to even; NaN stays NaN. Only float is ever rounded. */
static inline real rounded(real x) {
#ifdef MICA_REAL_float
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  const uint32_t nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t up = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  bits = nan ? (bits | 0x00400000u) & 0xffff0000u : up;
  memcpy(&x, &bits, sizeof(bits));
#endif
  return x;
}

static void round_all(real *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = rounded(x[i]);
}

static int64_t cuts(int64_t k) {
  return (k + DEPTH - 1) / DEPTH;
}

/* They are equal, but the last may be shorter. */
static int64_t depth_of(int64_t k) {
  const int64_t n = cuts(k);
  return n < 2 ? k : round_up((k + n - 1) / n, VECTOR_WIDTH);
}

/* ---- packing ---- */

/* One panel of op(B), B lying transposed: `columns` of at most TILE_COLUMNS, `depth` rows. */
static void pack_panel_across(const real *b, int64_t ldb, int64_t columns, int64_t depth,
                              real *to) {
  int64_t j = 0;
  for (; j + VECTOR_WIDTH <= columns; j += VECTOR_WIDTH, b += VECTOR_WIDTH * ldb) {
    int64_t p = 0;
    for (; p + VECTOR_WIDTH <= depth; p += VECTOR_WIDTH) {
      vector square[VECTOR_WIDTH];
      vector_load_columns(b + p, ldb, square);
#pragma GCC unroll 16
      for (int q = 0; q < VECTOR_WIDTH; q++)
        vector_store(to + (p + q) * TILE_COLUMNS + j, square[q]);
    }
    for (; p < depth; p++)
      for (int r = 0; r < VECTOR_WIDTH; r++) to[p * TILE_COLUMNS + j + r] = b[r * ldb + p];
  }
  for (; j < columns; j++, b += ldb)
    for (int64_t p = 0; p < depth; p++) to[p * TILE_COLUMNS + j] = b[p];
}

/* Columns [0, columns) and `depth` rows of op(B) as panels. B's rows are read as they lie. `wide`:
 * tiles of all vectors read them, else a tile of as many as there are. */
static void pack_panels(const real *b, int64_t ldb, bool trans, bool round, bool wide,
                        int64_t columns, int64_t depth, real *to) {
  const int64_t whole = columns / TILE_COLUMNS * TILE_COLUMNS;
  if (whole < columns && (wide || columns % VECTOR_WIDTH))
    memset(to + whole * depth, 0, (size_t)(depth * TILE_COLUMNS) * sizeof(real));
  if (trans)
    for (int64_t j = 0; j < columns; j += TILE_COLUMNS)
      pack_panel_across(b + j * ldb, ldb, min_int(TILE_COLUMNS, columns - j), depth,
                        to + j * depth);
  else
    for (int64_t p = 0; p < depth; p++, b += ldb) {
      real *row = to + p * TILE_COLUMNS;
      for (int64_t j = 0; j < whole; j += TILE_COLUMNS)
        memcpy(row + j * depth, b + j, TILE_COLUMNS * sizeof(real));
      for (int64_t j = whole; j < columns; j++) row[whole * depth + j - whole] = b[j];
    }
  if (round) round_all(to, round_up(columns, TILE_COLUMNS) * depth);
}

/* The packed matrix: for each cut of k, its panels side by side. */
static int64_t panel_offset(int64_t n, int64_t depth, int64_t first_p, int64_t column) {
  return first_p * round_up(n, TILE_COLUMNS) + column * depth;
}

static void pack_b(const void *b_, int64_t ldb, bool trans, bool round_bf16, int64_t k, int64_t n,
                   int64_t cut, int64_t begin, int64_t end, void *packed) {
  const int64_t most = depth_of(k), p = cut * most, depth = min_int(most, k - p);
  const real *b = (const real *)b_ + (trans ? begin * ldb + p : p * ldb + begin);
  if (depth > 0)
    pack_panels(b, ldb, trans, round_bf16, true, end - begin, depth,
                (real *)packed + panel_offset(n, depth, p, begin));
}

/* `rows` of op(A) where they cannot be read in place: across with COPIED in a row if A lies
 * transposed, else row by row. */
static void copy_rows(const real *a, int64_t lda, bool trans, bool round, int64_t rows,
                      int64_t depth, real *to) {
  if (trans && rows == COPIED)
    for (int64_t p = 0; p < depth; p++) memcpy(to + p * COPIED, a + p * lda, COPIED * sizeof(real));
  else if (trans)
    for (int64_t p = 0; p < depth; p++)
      for (int64_t i = 0; i < COPIED; i++) to[p * COPIED + i] = i < rows ? a[p * lda + i] : 0;
  else
    for (int64_t i = 0; i < rows; i++)
      memcpy(to + i * depth, a + i * lda, (size_t)depth * sizeof(real));
  if (round) round_all(to, (trans ? COPIED : rows) * depth);
}

/* ---- the tile ---- */

/* What is done to a finished sum on its way to C. */
typedef struct finish {
  real alpha, beta;
  const real *bias; /* of the tile's first column, NULL before the last cut of k or without one */
  bool relu;
} finish;

static inline real relu_of(real x) {
  return x < 0 ? 0 : x;
}

static __attribute__((noinline)) void store_tile(const real *sums, int64_t rows, int64_t columns,
                                                 const finish *f, real *c, int64_t ldc) {
  for (int64_t i = 0; i < rows; i++, c += ldc, sums += TILE_COLUMNS) {
    if (f->beta == 0)
      for (int64_t j = 0; j < columns; j++) c[j] = f->alpha * sums[j];
    else
      for (int64_t j = 0; j < columns; j++) c[j] = f->alpha * sums[j] + f->beta * c[j];
    if (f->bias)
      for (int64_t j = 0; j < columns; j++) c[j] += f->bias[j];
    if (f->relu)
      for (int64_t j = 0; j < columns; j++) c[j] = relu_of(c[j]);
  }
}

/* Lines that will be wanted, asked for a few at a time while sums are formed: many at once would
 * wait for each other. `rows` lines from `at` on, `step` apart, and the same `next` elements
 * further at the next visit. */
typedef struct ahead {
  const real *at;
  int64_t rows, step, next;
} ahead;

/* A tile's factors, the rows and columns of it that there are, and what the next tiles will read.
 */
typedef struct tile {
  const real *left, *right;
  int64_t step, depth, rows, columns;
  real *c;
  int64_t ldc;
  ahead a;
} tile;

enum { VISIT = 64 / (int)sizeof(real) }; /* rows of a panel between two visits: a line of A */

static inline vector finished(vector sum, int v, const finish *f, const real *c) {
  sum *= f->alpha;
  if (f->beta != 0) sum += f->beta * vector_load(c);
  if (f->bias) sum += vector_load(f->bias + v * VECTOR_WIDTH);
  if (f->relu) sum = (vector)((vector_bits)sum & ~(vector_bits)(sum < 0));
  return sum;
}

PRODUCT_INLINE void multiply(const int vectors, const bool across, const tile *t, const finish *f) {
  const int64_t rows = (TILE_ROWS * VISIT + t->depth - 1) / t->depth; /* of C, at a visit */
  const real *right = t->right, *coming = t->a.at, *left[TILE_ROWS];
  int64_t row = 0, p = 0;
  product_sums sum;
  product_rows(across, t->rows, t->left, t->step, left);
  product_begin(vectors, true, t->rows, NULL, 0, sum);
  for (; p + VISIT <= t->depth; p += VISIT) {
    for (int64_t i = 0; i < t->a.rows; i++) __builtin_prefetch(coming + i * t->a.step);
    coming += t->a.next;
    for (int64_t i = 0; i < rows && row < t->rows; i++, row++)
      for (int v = 0; v < vectors; v++)
        __builtin_prefetch(t->c + row * t->ldc + v * VECTOR_WIDTH, 1);
    product_add(vectors, across, VISIT, left, t->step, right, TILE_COLUMNS, sum);
    right += VISIT * TILE_COLUMNS;
  }
  if (p < t->depth)
    product_add(vectors, across, t->depth - p, left, t->step, right, TILE_COLUMNS, sum);
  if (t->columns == vectors * VECTOR_WIDTH) {
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
      if (i < t->rows)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
          real *c = t->c + i * t->ldc + v * VECTOR_WIDTH;
          vector_store(c, finished(sum[i][v], v, f, c));
        }
    return;
  }
  real sums[TILE_ROWS * TILE_COLUMNS];
  product_store(vectors, TILE_ROWS, sum, sums, TILE_COLUMNS);
  store_tile(sums, t->rows, t->columns, f, t->c, t->ldc);
}

/* Rare where a library takes a transposed A: two widths do. */
static void multiply_across(const tile *t, const finish *f) {
  if (t->columns <= VECTOR_WIDTH)
    multiply(1, true, t, f);
  else
    multiply(TILE_VECTORS, true, t, f);
}

static void multiply_rows(const tile *t, const finish *f) {
#define TILE(vectors) multiply(vectors, false, t, f)
  PRODUCT_WIDTHS((t->columns + VECTOR_WIDTH - 1) / VECTOR_WIDTH, TILE)
#undef TILE
}

/* ---- few rows ---- */

/* Sum of a[i] b[i]. One row of b after another: what streams from memory in one run comes twice as
 * fast as several rows side by side. */
static real dot(const real *a, const real *b, int64_t n) {
  vector sum[DOT_VECTORS] = {{0}};
  int64_t i = 0;
  if (n >= DOT_VECTORS * VECTOR_WIDTH) {
    for (; i + DOT_VECTORS * VECTOR_WIDTH <= n; i += DOT_VECTORS * VECTOR_WIDTH)
#pragma GCC unroll 8
      for (int v = 0; v < DOT_VECTORS; v++)
        sum[v] += vector_load(a + i + v * VECTOR_WIDTH) * vector_load(b + i + v * VECTOR_WIDTH);
#pragma GCC unroll 4
    for (int half = DOT_VECTORS / 2; half > 0; half /= 2)
#pragma GCC unroll 4
      for (int v = 0; v < half; v++) sum[v] += sum[v + half];
  }
  for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH)
    sum[0] += vector_load(a + i) * vector_load(b + i);
  real lanes[VECTOR_BYTES / sizeof(real)];
  vector_store(lanes, sum[0]);
  for (int64_t l = 0; i + l < n; l++) lanes[l] += a[i + l] * b[i + l];
#pragma GCC unroll 4
  for (int half = VECTOR_WIDTH / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

/* One row of C: `a` is the row of op(A) with step `step`. */
static void multiply_row(const mica_gemm_block *g, const real *a, int64_t step, const real *b,
                         real *c) {
  const finish f = {(real)g->alpha, (real)g->beta, NULL, g->relu};
  const real *bias = g->bias;
  const bool round = g->round_bf16;
  const int64_t ldb = g->ldb;
  if (g->trans_b && step == 1 && !round) {
    for (int64_t j = 0; j < g->n; j += DOTS) {
      const int count = (int)min_int(DOTS, g->n - j);
      real sums[DOTS];
      for (int d = 0; d < count; d++) sums[d] = dot(a, b + (j + d) * ldb, g->k);
      const finish some = {f.alpha, f.beta, bias ? bias + j : NULL, f.relu};
      store_tile(sums, 1, count, &some, c + j, 0);
    }
    return;
  }
  if (g->trans_b) { /* a strided row, or rounding: rare here */
    for (int64_t j = 0; j < g->n; j++) {
      real sum = 0;
      for (int64_t p = 0; p < g->k; p++)
        sum +=
            round ? rounded(a[p * step]) * rounded(b[j * ldb + p]) : a[p * step] * b[j * ldb + p];
      const finish one = {f.alpha, f.beta, bias ? bias + j : NULL, f.relu};
      store_tile(&sum, 1, 1, &one, c + j, 0);
    }
    return;
  }
  int64_t j = 0;
  for (; !round && j + ROW_VECTORS * VECTOR_WIDTH <= g->n; j += ROW_VECTORS * VECTOR_WIDTH) {
    vector sum[ROW_VECTORS] = {{0}};
    for (int64_t p = 0; p < g->k; p++) {
      const real *from = b + p * ldb + j;
      const real left = a[p * step];
#pragma GCC unroll 4
      for (int v = 0; v < ROW_VECTORS; v++) sum[v] += left * vector_load(from + v * VECTOR_WIDTH);
    }
    for (int v = 0; v < ROW_VECTORS; v++) {
      real sums[VECTOR_BYTES / sizeof(real)];
      vector_store(sums, sum[v]);
      const int64_t at = j + v * VECTOR_WIDTH;
      const finish part = {f.alpha, f.beta, bias ? bias + at : NULL, f.relu};
      store_tile(sums, 1, VECTOR_WIDTH, &part, c + at, 0);
    }
  }
  for (; j < g->n; j += VECTOR_WIDTH) {
    const int64_t columns = min_int(VECTOR_WIDTH, g->n - j);
    real sums[VECTOR_BYTES / sizeof(real)] = {0};
    for (int64_t p = 0; p < g->k; p++) {
      const real left = round ? rounded(a[p * step]) : a[p * step];
      for (int64_t l = 0; l < columns; l++) {
        const real right = b[p * ldb + j + l];
        sums[l] += left * (round ? rounded(right) : right);
      }
    }
    const finish part = {f.alpha, f.beta, bias ? bias + j : NULL, f.relu};
    store_tile(sums, 1, columns, &part, c + j, 0);
  }
}

/* ---- the block ---- */

static bool reads_in_place(const mica_gemm_block *g) {
  return !g->packed_b && g->m <= FEW_ROWS;
}

static bool copies_rows(const mica_gemm_block *g) {
  return (g->trans_a && g->n > FEW_COLUMNS) || g->round_bf16;
}

/* All rows stay in the first caches and it is B that streams by. */
static bool few_rows(const mica_gemm_block *g) {
  return !g->trans_a && !copies_rows(g) && g->m * depth_of(g->k) <= FEW_ELEMENTS;
}

/* Columns of B that pass by at a time: parts of one size. Where rows are few each panel is used as
 * soon as it is packed, and its place again. */
static int64_t columns_at_once(const mica_gemm_block *g) {
  if (!g->packed_b && few_rows(g)) return TILE_COLUMNS;
  const int64_t parts = (g->n * depth_of(g->k) + BLOCK - 1) / BLOCK;
  return round_up((g->n + parts - 1) / parts, TILE_COLUMNS);
}

static size_t scratch(const mica_gemm_block *g) {
  if (reads_in_place(g) || g->k == 0) return 0;
  const int64_t depth = depth_of(g->k);
  const int64_t left = copies_rows(g) ? depth * COPIED : 0;
  const int64_t right = g->packed_b ? 0 : depth * columns_at_once(g);
  return (size_t)(left + right) * sizeof(real) + 64;
}

/* What rows `down` below read, shared out among the `panels` that these meet. */
static ahead below(const mica_gemm_block *g, const real *a, int64_t rows, int64_t down,
                   int64_t depth, int64_t panel, int64_t panels) {
  if (g->trans_a) { /* a row of A for each of the panel: their ends suffice */
    const int64_t visit = (VISIT + panels - 1) / panels;
    const int64_t first = panel * visit * ((depth + VISIT - 1) / VISIT);
    if (first >= depth) return (ahead){a, 0, 0, 0};
    return (ahead){a + first * g->lda + down + rows - 1, visit, g->lda, visit * g->lda};
  }
  const int64_t first = rows * panel / panels, end = rows * (panel + 1) / panels;
  return (ahead){a + (down + first) * g->lda, end - first, g->lda, VISIT};
}

/* A tile's rows times all panels, while rows `down` below are on their way (0: there are none). */
static void multiply_panels(const mica_gemm_block *g, tile t, const real *a, int64_t columns,
                            int64_t down, finish f) {
  const int64_t panels = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
  const real *right = t.right, *bias = f.bias;
  for (int64_t j = 0; j < panels; j++) {
    t.right = right + j * TILE_COLUMNS * t.depth;
    t.columns = min_int(TILE_COLUMNS, columns - j * TILE_COLUMNS);
    t.a = down ? below(g, a, t.rows, down, t.depth, j, panels) : (ahead){a, 0, 0, 0};
    if (bias) f.bias = bias + j * TILE_COLUMNS;
    if (g->trans_a)
      multiply_across(&t, &f);
    else
      multiply_rows(&t, &f);
    t.c += TILE_COLUMNS;
  }
}

/* All rows of the block times `columns` packed columns, from row p of op(B) on. */
static void multiply_all(const mica_gemm_block *g, int64_t p, int64_t depth, const real *right,
                         int64_t columns, const finish *f, real *copy, real *c) {
  const real *a = (const real *)g->a + (g->trans_a ? p * g->lda : p);
  const int64_t to_next = g->trans_a ? 1 : g->lda;
  for (int64_t i = 0; i < g->m; i += TILE_ROWS) {
    const real *at = a + i * to_next;
    tile t = {.left = at,
              .right = right,
              .step = g->lda,
              .depth = depth,
              .rows = min_int(TILE_ROWS, g->m - i),
              .c = c + i * g->ldc,
              .ldc = g->ldc};
    if (copy) {
      const int64_t first = i % COPIED, to_row = g->trans_a ? 1 : depth;
      if (!first)
        copy_rows(at, g->lda, g->trans_a, g->round_bf16, min_int(COPIED, g->m - i), depth, copy);
      t.left = copy + first * to_row;
      t.step = g->trans_a ? COPIED : depth;
    }
    const int64_t down = copy ? COPIED : TILE_ROWS;
    multiply_panels(g, t, at, columns, i + down + TILE_ROWS <= g->m ? down : 0, *f);
  }
}

/* What is asked for of the next panel while one is multiplied: lines in a run where B is packed,
 * else rows of B that is transposed; `at` is NULL where there is none, or where B's rows lie across
 * it. */
typedef struct coming {
  const real *at;
  int64_t ldb; /* 0: a run */
} coming;

static ahead part_of(const coming *next, int64_t part, int64_t parts, int64_t visits) {
  if (!next->at) return (ahead){NULL, 0, 0, 0};
  if (next->ldb) {
    const int64_t first = TILE_COLUMNS * part / parts, end = TILE_COLUMNS * (part + 1) / parts;
    return (ahead){next->at + first * next->ldb, end - first, next->ldb, VISIT};
  }
  /* A row of a panel has TILE_COLUMNS / VISIT lines; so many at a visit. */
  const int64_t lines = (VISIT * TILE_COLUMNS / VISIT + parts - 1) / parts;
  return (ahead){next->at + part * visits * lines * VISIT, lines, VISIT, lines * VISIT};
}

/* All rows times one panel, in C from `c` on. */
static void multiply_panel(const mica_gemm_block *g, int64_t p, int64_t depth, const real *panel,
                           int64_t columns, const coming *next, const finish *f, real *c) {
  const int64_t tiles = (g->m + TILE_ROWS - 1) / TILE_ROWS;
  const int64_t visits = (depth + VISIT - 1) / VISIT;
  for (int64_t i = 0; i < tiles; i++) {
    const tile t = {.left = (const real *)g->a + i * TILE_ROWS * g->lda + p,
                    .right = panel,
                    .step = g->lda,
                    .depth = depth,
                    .rows = min_int(TILE_ROWS, g->m - i * TILE_ROWS),
                    .columns = columns,
                    .c = c + i * TILE_ROWS * g->ldc,
                    .ldc = g->ldc,
                    .a = part_of(next, i, tiles, visits)};
    multiply_rows(&t, f);
  }
}

/* multiply_all where few_rows. `first`: column of B. */
static void multiply_few(const mica_gemm_block *g, int64_t p, int64_t depth, const real *right,
                         int64_t first, int64_t columns, finish f, real *c) {
  const real *bias = f.bias;
  for (int64_t j = 0; j < columns; j += TILE_COLUMNS) {
    const real *panel = right + j * depth;
    coming next = {NULL, 0};
    if (g->packed_b) {
      if (g->first_column + first + j + TILE_COLUMNS < g->packed_n)
        next.at = panel + depth * TILE_COLUMNS;
    } else if (g->trans_b) {
      next.ldb = g->ldb;
      if (p + depth < g->k)
        next.at = (const real *)g->b + first * g->ldb + p + depth;
      else if (first + 2 * TILE_COLUMNS <= g->n)
        next.at = (const real *)g->b + (first + TILE_COLUMNS) * g->ldb;
    }
    if (bias) f.bias = bias + j;
    multiply_panel(g, p, depth, panel, min_int(TILE_COLUMNS, columns - j), &next, &f, c + j);
  }
}

static void block(const mica_gemm_block *g, void *scratch_) {
  const real *a = g->a, *b = g->b;
  real *c = g->c;
  if (g->k == 0) {
    const real zeros[TILE_COLUMNS] = {0};
    for (int64_t j = 0; j < g->n; j += TILE_COLUMNS)
      for (int64_t i = 0; i < g->m; i++) {
        const finish f = {(real)g->alpha, (real)g->beta, g->bias ? (const real *)g->bias + j : NULL,
                          g->relu};
        store_tile(zeros, 1, min_int(TILE_COLUMNS, g->n - j), &f, c + i * g->ldc + j, 0);
      }
    return;
  }
  if (reads_in_place(g)) {
    for (int64_t i = 0; i < g->m; i++)
      multiply_row(g, g->trans_a ? a + i : a + i * g->lda, g->trans_a ? g->lda : 1, b,
                   c + i * g->ldc);
    return;
  }
  const int64_t at_once = columns_at_once(g), most = depth_of(g->k);
  const bool few = few_rows(g);
  real *copy = copies_rows(g) ? scratch_ : NULL;
  real *packed = (real *)scratch_ + (copy ? most * COPIED : 0);
  for (int64_t j = 0; j < g->n; j += at_once) {
    const int64_t columns = min_int(at_once, g->n - j);
    for (int64_t p = 0; p < g->k; p += most) {
      const int64_t depth = min_int(most, g->k - p);
      const bool last = p + depth == g->k;
      const finish f = {(real)g->alpha, p == 0 ? (real)g->beta : 1,
                        last && g->bias ? (const real *)g->bias + j : NULL, last && g->relu};
      const real *right = packed;
      if (g->packed_b)
        right =
            (const real *)g->packed_b + panel_offset(g->packed_n, depth, p, g->first_column + j);
      else
        pack_panels(g->trans_b ? b + j * g->ldb + p : b + p * g->ldb + j, g->ldb, g->trans_b,
                    g->round_bf16, !few, columns, depth, packed);
      if (few)
        multiply_few(g, p, depth, right, j, columns, f, c + j);
      else
        multiply_all(g, p, depth, right, columns, &f, copy, c + j);
    }
  }
}

static void combine(const void *partial_, int64_t parts, int64_t m, int64_t n, int64_t begin,
                    int64_t end, double beta, void *c_, int64_t ldc, const void *bias_, bool relu) {
  const real *partial = partial_, *bias = bias_;
  for (int64_t i = begin; i < end; i++) {
    real *c = (real *)c_ + i * ldc;
    for (int64_t j = 0; j < n; j++) {
      real sum = partial[i * n + j];
      for (int64_t q = 1; q < parts; q++) sum += partial[(q * m + i) * n + j];
      if (beta != 0) sum += (real)beta * c[j];
      if (bias) sum += bias[j];
      c[j] = relu ? relu_of(sum) : sum;
    }
  }
}

static void relu(int64_t m, int64_t n, void *c_, int64_t ldc) {
  for (int64_t i = 0; i < m; i++) {
    real *c = (real *)c_ + i * ldc;
    for (int64_t j = 0; j < n; j++) c[j] = relu_of(c[j]);
  }
}

const mica_gemm_kernels MICA_KERNEL(gemm) = {TILE_ROWS, TILE_COLUMNS, VECTOR_WIDTH, scratch, block,
                                             cuts,      pack_b,       combine,      relu};
