/* Matrix products for one thread: packing, a register tile, and row-vector products.
 *
 * Operands are packed into panels that the register tile then reads in order (Goto & van de Geijn,
 * "Anatomy of high-performance matrix multiplication", 2008): A in panels of TILE_ROWS rows, B in
 * panels of TILE_COLUMNS columns, padded with zeros. k is cut at fixed places, so each element's
 * sum has one order whatever rectangle of C a call computes. Products with a few rows read B in
 * place: packing would cost more than the product.
 */
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/loops/vector.h"

#include <string.h>

enum {
  DEPTH = 256,     /* of a panel: a panel of B fits the first cache */
  ROWS = 96,       /* of A packed at a time: multiple of every TILE_ROWS, fits the second cache */
  FEW_ROWS = 3,    /* up to this many rows B is read in place */
  DOTS = 16,       /* dot products between two visits to C */
  DOT_VECTORS = 8, /* vectors of one's sum */
  ROW_VECTORS = 4  /* vectors of a row of C kept in registers */
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

/* A panel of TILE_ROWS rows that lie one after another in memory: squares of a vector's width are
 * transposed in registers. The store of a column runs over into the next one, which comes later;
 * the last columns are stored by themselves. */
static void pack_panel_of_rows(const real *from, int64_t lda, int64_t depth, real *to) {
  int64_t p = 0;
  if (TILE_ROWS <= VECTOR_WIDTH)
    for (; p + VECTOR_WIDTH <= depth; p += VECTOR_WIDTH) {
      vector square[VECTOR_WIDTH];
#pragma GCC unroll 16
      for (int r = 0; r < VECTOR_WIDTH; r++)
        square[r] = vector_load(from + (r < TILE_ROWS ? r : TILE_ROWS - 1) * lda + p);
      vector_transpose(square);
      const bool last = p + 2 * VECTOR_WIDTH > depth;
#pragma GCC unroll 16
      for (int q = 0; q < VECTOR_WIDTH; q++)
        if (!last)
          vector_store(to + (p + q) * TILE_ROWS, square[q]);
        else
          memcpy(to + (p + q) * TILE_ROWS, &square[q], TILE_ROWS * sizeof(real));
    }
  for (; p < depth; p++)
    for (int64_t r = 0; r < TILE_ROWS; r++) to[p * TILE_ROWS + r] = from[r * lda + p];
}

/* Rows [0, rows) of op(A), columns [0, depth), as panels of TILE_ROWS. */
static void pack_rows(const real *a, int64_t lda, bool trans, int64_t rows, int64_t depth,
                      real *to) {
  for (int64_t i = 0; i < rows; i += TILE_ROWS, to += depth * TILE_ROWS) {
    const int64_t n = min_int(TILE_ROWS, rows - i);
    if (n < TILE_ROWS) memset(to, 0, (size_t)(depth * TILE_ROWS) * sizeof(real));
    if (trans) {
      const real *from = a + i;
      if (n == TILE_ROWS)
        for (int64_t p = 0; p < depth; p++)
          memcpy(to + p * TILE_ROWS, from + p * lda, TILE_ROWS * sizeof(real));
      else
        for (int64_t p = 0; p < depth; p++)
          for (int64_t r = 0; r < n; r++) to[p * TILE_ROWS + r] = from[p * lda + r];
    } else {
      const real *from = a + i * lda;
      if (n == TILE_ROWS)
        pack_panel_of_rows(from, lda, depth, to);
      else
        for (int64_t p = 0; p < depth; p++)
          for (int64_t r = 0; r < n; r++) to[p * TILE_ROWS + r] = from[r * lda + p];
    }
  }
}

/* One panel of op(B): `columns` of at most TILE_COLUMNS, `depth` rows. */
static void pack_panel(const real *b, int64_t ldb, bool trans, int64_t columns, int64_t depth,
                       real *to) {
  if (columns < TILE_COLUMNS) memset(to, 0, (size_t)(depth * TILE_COLUMNS) * sizeof(real));
  if (trans) {
    int64_t p = 0;
    for (; p + 8 <= depth; p += 8) /* eight at a time: each stored row of B gives a run */
      for (int64_t j = 0; j < columns; j++)
        for (int q = 0; q < 8; q++) to[(p + q) * TILE_COLUMNS + j] = b[j * ldb + p + q];
    for (; p < depth; p++)
      for (int64_t j = 0; j < columns; j++) to[p * TILE_COLUMNS + j] = b[j * ldb + p];
  } else if (columns == TILE_COLUMNS) {
    for (int64_t p = 0; p < depth; p++)
      memcpy(to + p * TILE_COLUMNS, b + p * ldb, (size_t)TILE_COLUMNS * sizeof(real));
  } else {
    for (int64_t p = 0; p < depth; p++)
      for (int64_t j = 0; j < columns; j++) to[p * TILE_COLUMNS + j] = b[p * ldb + j];
  }
}

/* The packed matrix: for each cut of k, its panels side by side. */
static int64_t panel_offset(int64_t n, int64_t k, int64_t first_p, int64_t column) {
  return first_p * round_up(n, TILE_COLUMNS) + column * min_int(DEPTH, k - first_p);
}

static void pack_b(const void *b_, int64_t ldb, bool trans, bool round_bf16, int64_t k, int64_t n,
                   int64_t begin, int64_t end, void *packed_) {
  const real *b = b_;
  real *packed = packed_;
  for (int64_t p = 0; p < k; p += DEPTH) {
    const int64_t depth = min_int(DEPTH, k - p);
    for (int64_t j = begin; j < end; j += TILE_COLUMNS) {
      real *to = packed + panel_offset(n, k, p, j);
      pack_panel(trans ? b + j * ldb + p : b + p * ldb + j, ldb, trans,
                 min_int(TILE_COLUMNS, n - j), depth, to);
      if (round_bf16) round_all(to, depth * TILE_COLUMNS);
    }
  }
}

/* What is done to a finished sum on its way to C. */
typedef struct finish {
  real alpha, beta;
  const real *bias; /* of the tile's first column, NULL before the last cut of k or without one */
  bool relu;
} finish;

static inline real relu_of(real x) {
  return x < 0 ? 0 : x;
}

static void store_tile(const real *sums, int64_t rows, int64_t columns, const finish *f, real *c,
                       int64_t ldc) {
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

/* A TILE_ROWS x TILE_COLUMNS tile of C from one panel of each side. */
static void multiply_tile(int64_t depth, const real *restrict a, const real *restrict b,
                          int64_t rows, int64_t columns, const finish *f, real *restrict c,
                          int64_t ldc) {
  vector sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < TILE_ROWS; i++) {
    if (i < rows) { /* C is on its way while the sums are formed */
      __builtin_prefetch(c + i * ldc, 1);
      __builtin_prefetch(c + i * ldc + columns - 1, 1);
    }
#pragma GCC unroll 4
    for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] = (vector){0};
  }
  for (int64_t p = 0; p < depth; p++, a += TILE_ROWS, b += TILE_COLUMNS) {
    vector right[TILE_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < TILE_VECTORS; v++) right[v] = vector_load(b + v * VECTOR_WIDTH);
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
      for (int v = 0; v < TILE_VECTORS; v++) sum[i][v] += a[i] * right[v];
  }
  if (rows == TILE_ROWS && columns == TILE_COLUMNS && !f->bias && !f->relu) {
    if (f->beta == 0) {
#pragma GCC unroll 16
      for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; v++)
          vector_store(c + i * ldc + v * VECTOR_WIDTH, f->alpha * sum[i][v]);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; v++) {
          real *to = c + i * ldc + v * VECTOR_WIDTH;
          vector_store(to, f->alpha * sum[i][v] + f->beta * vector_load(to));
        }
    }
    return;
  }
  real sums[TILE_ROWS * TILE_COLUMNS];
#pragma GCC unroll 16
  for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
    for (int v = 0; v < TILE_VECTORS; v++)
      vector_store(sums + i * TILE_COLUMNS + v * VECTOR_WIDTH, sum[i][v]);
  store_tile(sums, rows, columns, f, c, ldc);
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

/* Columns of B packed at a time when it does not come packed: about half a megabyte. */
static int64_t columns_at_once(const mica_gemm_block *g) {
  return min_int(round_up(g->n, TILE_COLUMNS),
                 round_up((int64_t)(2048 / sizeof(real)), TILE_COLUMNS));
}

static size_t scratch(const mica_gemm_block *g) {
  if (reads_in_place(g) || g->k == 0) return 0;
  const int64_t depth = min_int(DEPTH, g->k);
  const int64_t left = depth * min_int(ROWS, round_up(g->m, TILE_ROWS));
  const int64_t right = g->packed_b ? 0 : depth * columns_at_once(g);
  return (size_t)(left + right) * sizeof(real) + 64;
}

/* All the tiles of `rows` packed rows and `columns` packed columns. */
static void multiply_panels(int64_t depth, const real *left, int64_t rows, const real *right,
                            int64_t columns, finish f, real *c, int64_t ldc) {
  const real *bias = f.bias;
  for (int64_t j = 0; j < columns; j += TILE_COLUMNS) {
    if (bias) f.bias = bias + j;
    for (int64_t i = 0; i < rows; i += TILE_ROWS)
      multiply_tile(depth, left + i * depth, right + j * depth, min_int(TILE_ROWS, rows - i),
                    min_int(TILE_COLUMNS, columns - j), &f, c + i * ldc + j, ldc);
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
  const int64_t at_once = g->packed_b ? g->n : columns_at_once(g);
  real *left = scratch_,
       *packed = left + min_int(DEPTH, g->k) * min_int(ROWS, round_up(g->m, TILE_ROWS));
  for (int64_t j = 0; j < g->n; j += at_once) {
    const int64_t columns = min_int(at_once, g->n - j);
    for (int64_t p = 0; p < g->k; p += DEPTH) {
      const int64_t depth = min_int(DEPTH, g->k - p);
      const bool last = p + depth == g->k;
      const finish f = {(real)g->alpha, p == 0 ? (real)g->beta : 1,
                        last && g->bias ? (const real *)g->bias + j : NULL, last && g->relu};
      const real *right = packed;
      if (g->packed_b)
        right = (const real *)g->packed_b + panel_offset(g->packed_n, g->k, p, g->first_column + j);
      else
        for (int64_t q = 0; q < columns; q += TILE_COLUMNS) {
          const int64_t at = j + q;
          pack_panel(g->trans_b ? b + at * g->ldb + p : b + p * g->ldb + at, g->ldb, g->trans_b,
                     min_int(TILE_COLUMNS, columns - q), depth, packed + q * depth);
        }
      if (!g->packed_b && g->round_bf16) round_all(packed, round_up(columns, TILE_COLUMNS) * depth);
      for (int64_t i = 0; i < g->m; i += ROWS) {
        const int64_t rows = min_int(ROWS, g->m - i);
        pack_rows(g->trans_a ? a + p * g->lda + i : a + i * g->lda + p, g->lda, g->trans_a, rows,
                  depth, left);
        if (g->round_bf16) round_all(left, round_up(rows, TILE_ROWS) * depth);
        multiply_panels(depth, left, rows, right, columns, f, c + i * g->ldc + j, g->ldc);
      }
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

const mica_gemm_kernels MICA_KERNEL(gemm) = {
    TILE_ROWS, TILE_VECTORS *VECTOR_BYTES / sizeof(real), scratch, block, pack_b, combine, relu};
