/* Attention in tiles (Dao et al. 2022): a block of queries against one tile of keys after the
 * other, with a softmax that is corrected as larger scores appear (Milakov & Gimelshein 2018).
 *
 * Scores of a tile are kept transposed, a row for each key, so that the softmax runs over vectors
 * of queries without a sum across a vector, and so that every product below reads keys and values
 * where they lie: only the queries of a block (and in the backward the gradient of their results)
 * are transposed. What a mask hides must stay hidden even when it is not finite: hidden scores are
 * chosen to be -inf, not made so by adding, and tiles whose keys or values are not finite take a
 * loop that leaves out weights of zero.
 */
#include "tensor/kernel/attention.h"

#include "loop.h"
#include "vector.h"
#include "vector_math.h"

enum { QUERIES = MICA_ATTENTION_QUERIES, KEYS = 48 };

/* The register tile: ROWS rows of VECTORS vectors, and a row of the other factor. */
#if defined(MICA_ISA_avx512) || defined(__aarch64__)
enum { ROWS = 6, VECTORS = 4 };
#elif defined(MICA_ISA_avx2)
enum { ROWS = 6, VECTORS = 2 };
#else
enum { ROWS = 4, VECTORS = 2 };
#endif

static int64_t padded(int64_t n) {
  return (n + VECTOR_WIDTH - 1) / VECTOR_WIDTH * VECTOR_WIDTH;
}

/* ---- products ---- */

/* Where the elements of a factor or a result lie. */
typedef struct matrix {
  real *at;
  int64_t step; /* from row to row */
} matrix;

static real *row_of(matrix m, int64_t i) {
  return m.at + i * m.step;
}

/* C (rows x vectors) += A B over `depth`. `across`: A lies transposed, its rows side by side. Rows
 * of A beyond `rows` repeat the last, or are what lies beside it; they are not stored. */
static inline __attribute__((always_inline)) void multiply_tile(const int vectors,
                                                                const bool across, int64_t rows,
                                                                int64_t depth, matrix a, matrix b,
                                                                matrix c) {
  vector sum[ROWS][VECTORS];
  const real *from[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    const int64_t row = i < rows ? i : rows - 1;
    from[i] = across ? a.at + i : a.at + row * a.step;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[i][v] = vector_load(row_of(c, row) + v * VECTOR_WIDTH);
  }
  const real *right = b.at;
  int64_t at = 0;
  for (int64_t p = 0; p < depth; p++, right += b.step, at += across ? a.step : 1) {
    vector r[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) r[v] = vector_load(right + v * VECTOR_WIDTH);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[i][v] += from[i][at] * r[v];
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
    if (i < rows)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) vector_store(row_of(c, i) + v * VECTOR_WIDTH, sum[i][v]);
}

/* C += A B; C has `columns` columns, a multiple of the vector's width. */
static inline __attribute__((always_inline)) void multiply(const bool across, int64_t rows,
                                                           int64_t columns, int64_t depth, matrix a,
                                                           matrix b, matrix c) {
  while (columns > 0) {
    const int64_t vectors = smaller(VECTORS, columns / VECTOR_WIDTH);
    for (int64_t i = 0; i < rows; i += ROWS) {
      const matrix left = {across ? a.at + i : row_of(a, i), a.step}, to = {row_of(c, i), c.step};
      switch (vectors) {
      case 1: multiply_tile(1, across, rows - i, depth, left, b, to); break;
#if defined(MICA_ISA_avx512) || defined(__aarch64__)
      case 2: multiply_tile(2, across, rows - i, depth, left, b, to); break;
      case 3: multiply_tile(3, across, rows - i, depth, left, b, to); break;
#endif
      default: multiply_tile(VECTORS, across, rows - i, depth, left, b, to);
      }
    }
    b.at += vectors * VECTOR_WIDTH;
    c.at += vectors * VECTOR_WIDTH;
    columns -= vectors * VECTOR_WIDTH;
  }
}

static void by_rows(int64_t rows, int64_t columns, int64_t depth, matrix a, matrix b, matrix c) {
  multiply(false, rows, columns, depth, a, b, c);
}

static void across(int64_t rows, int64_t columns, int64_t depth, matrix a, matrix b, matrix c) {
  multiply(true, rows, columns, depth, a, b, c);
}

/* The same leaving out zeros of A (row_step and depth_step apart), whose partners in B may be NaN.
 */
static void careful(int64_t rows, int64_t columns, int64_t depth, const real *a, int64_t row_step,
                    int64_t depth_step, matrix b, matrix c) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t p = 0; p < depth; p++) {
      const real left = a[i * row_step + p * depth_step], *right = row_of(b, p);
      real *to = row_of(c, i);
      if (left != 0) SIMD for (int64_t j = 0; j < columns; j++) to[j] += left * right[j];
    }
}

static bool all_finite(int64_t rows, int64_t columns, matrix m) {
  real sum = 0;
  for (int64_t i = 0; i < rows; i++) {
    const real *x = row_of(m, i);
    SIMD_SUM(sum)
    for (int64_t j = 0; j < columns; j++) sum += x[j] * 0;
  }
  return sum == 0;
}

/* ---- moving in and out ---- */

static matrix strided(const void *p, mica_attention_strides s, int64_t b, int64_t token,
                      int64_t head) {
  return (matrix){(real *)(uintptr_t)p + b * s.batch + token * s.token + head * s.head, s.token};
}

static void fill(int64_t n, real value, real *x) {
  SIMD for (int64_t i = 0; i < n; i++) x[i] = value;
}

static void copy(int64_t rows, int64_t columns, int64_t width, matrix from, matrix to) {
  for (int64_t i = 0; i < rows; i++) {
    memcpy(row_of(to, i), row_of(from, i), (size_t)columns * sizeof(real));
    fill(width - columns, 0, row_of(to, i) + columns);
  }
}

/* to[p][i] = scale from[i][p] for rows i < n, zeros up to `width`, QUERIES apart. */
static void transpose(int64_t n, int64_t width, int64_t depth, real scale, matrix from, real *to) {
  enum { SIDE = 8 };
  int64_t i = 0;
  for (; i + SIDE <= n; i += SIDE)
    for (int64_t p = 0; p < depth; p++)
#pragma GCC unroll 8
      for (int64_t k = 0; k < SIDE; k++)
        to[p * QUERIES + i + k] = scale * from.at[(i + k) * from.step + p];
  for (; i < width; i++)
    for (int64_t p = 0; p < depth; p++)
      to[p * QUERIES + i] = i < n ? scale * from.at[i * from.step + p] : 0;
}

/* ---- scores ---- */

/* A block of queries of one head: [first, first + n), `width` vectors' elements with the padding.
 */
typedef struct block {
  const mica_attention_args *a;
  int64_t b, h, g, first, n, width;
  int64_t see_first, see_last;        /* keys that any of its queries sees */
  int32_t from[QUERIES], to[QUERIES]; /* keys that each sees */
  real *qt, *s;                       /* transposed and scaled queries; scores */
} block;

static void block_begin(block *k, const mica_attention_args *a, int64_t b, int64_t h, int64_t first,
                        int64_t end, const void *q) {
  k->a = a;
  k->b = b;
  k->h = h;
  k->g = h / (a->heads / a->kv_heads);
  k->first = first;
  k->n = smaller(QUERIES, end - first);
  k->width = padded(k->n);
  k->see_first = a->keys;
  k->see_last = 0;
  for (int64_t i = 0; i < k->width; i++) {
    const int64_t at = first + smaller(i, k->n - 1) + a->offset;
    int64_t from = 0, to = a->keys;
    if (a->causal && to > at + 1) to = at + 1;
    if (a->window) {
      if (from < at - a->window + 1) from = at - a->window + 1;
      if (to > at + a->window) to = at + a->window;
    }
    if (to <= from) from = to = 0;
    k->from[i] = (int32_t)from;
    k->to[i] = (int32_t)to;
    if (to > from && from < k->see_first) k->see_first = from;
    if (to > k->see_last) k->see_last = to;
  }
  k->see_first -= k->see_first % KEYS;
  transpose(k->n, k->width, a->dim, (real)a->scale, strided(q, a->q, b, first, h), k->qt);
}

/* Scores of keys [key, key + keys), transposed, hidden ones -inf. */
static void scores(const block *k, int64_t key, int64_t keys, const void *kv) {
  const mica_attention_args *a = k->a;
  const int64_t width = k->width;
  real *s = k->s;
  for (int64_t j = 0; j < keys; j++) fill(width, 0, s + j * QUERIES);
  by_rows(keys, width, a->dim, strided(kv, a->k, k->b, key, k->g), (matrix){k->qt, QUERIES},
          (matrix){s, QUERIES});
  if (a->bias) {
    const real *bias = (const real *)a->bias + k->b * a->bias_batch + k->h * a->bias_head +
                       k->first * a->bias_query + key;
    for (int64_t j = 0; j < keys; j++) {
      real *to = s + j * QUERIES;
      if (!a->bias_query) {
        const real add = bias[j];
        SIMD for (int64_t i = 0; i < width; i++) to[i] = add == -INFINITY ? add : to[i] + add;
      } else {
        for (int64_t i = 0; i < k->n; i++) {
          const real add = bias[i * a->bias_query + j];
          to[i] = add == -INFINITY ? add : to[i] + add;
        }
      }
    }
  }
  if (!a->causal && !a->window) return;
  bool whole = true;
  for (int64_t i = 0; i < k->n; i++) whole &= k->from[i] <= key && k->to[i] >= key + keys;
  if (whole) return;
  for (int64_t j = 0; j < keys; j++) {
    const int32_t at = (int32_t)(key + j);
    real *to = s + j * QUERIES;
    SIMD for (int64_t i = 0; i < width; i++) to[i] =
        ((at >= k->from[i]) & (at < k->to[i])) ? to[i] : -INFINITY;
  }
}

/* ---- scratch ---- */

/* Elements of each piece, one after the other, all multiples of the vector's width. */
static real *take(real **scratch, int64_t n) {
  real *p = *scratch;
  *scratch += padded(n);
  return p;
}

static int64_t tiles(const mica_attention_args *a) {
  return (a->keys + KEYS - 1) / KEYS;
}

static int64_t forward_scratch(const mica_attention_args *a) {
  const int64_t value = padded(a->value_dim);
  return QUERIES * (a->dim + KEYS + value + 4) + KEYS * value + padded(tiles(a)) + 2 * VECTOR_WIDTH;
}

static int64_t backward_scratch(const mica_attention_args *a) {
  const int64_t dim = padded(a->dim), value = padded(a->value_dim);
  return QUERIES * (a->dim + a->value_dim + 2 * KEYS + 2 * dim + value + 2) +
         a->keys * (2 * dim + value) + padded(tiles(a)) + 8 * VECTOR_WIDTH;
}

/* ---- forward ---- */

/* Weights of a tile in place of its scores; `top`, `sum` are the running maximum and sum, and
 * `shrink` what everything so far must be multiplied by. */
static void soften(const block *k, int64_t keys, real *top, real *sum, real *shrink) {
  const int64_t width = k->width;
  real base[QUERIES];
  memcpy(base, top, (size_t)width * sizeof(real));
  for (int64_t j = 0; j < keys; j++) {
    const real *s = k->s + j * QUERIES;
    SIMD for (int64_t i = 0; i < width; i++) base[i] =
        ((s[i] > base[i]) | (s[i] != s[i])) ? s[i] : base[i];
  }
  SIMD for (int64_t i = 0; i < width; i++) {
    const real old = top[i];
    top[i] = base[i];
    base[i] = base[i] == -INFINITY ? 0 : base[i];
    shrink[i] = math_exp(old - base[i]);
    sum[i] *= shrink[i];
  }
  for (int64_t j = 0; j < keys; j++) {
    real *s = k->s + j * QUERIES;
    SIMD for (int64_t i = 0; i < width; i++) {
      s[i] = math_exp(s[i] - base[i]);
      sum[i] += s[i];
    }
  }
}

static void forward(const mica_attention_args *a, const void *q, const void *kp, const void *vp,
                    int64_t b, int64_t h, int64_t begin, int64_t end, void *outv, void *lse,
                    void *scratch_) {
  real *scratch = scratch_;
  const int64_t value = padded(a->value_dim);
  block k = {.qt = take(&scratch, QUERIES * a->dim), .s = take(&scratch, QUERIES * KEYS)};
  real *result = take(&scratch, QUERIES * value), *values = take(&scratch, KEYS * value);
  real *top = take(&scratch, QUERIES), *sum = take(&scratch, QUERIES);
  real *shrink = take(&scratch, QUERIES), *clean = take(&scratch, tiles(a));
  const int64_t g = h / (a->heads / a->kv_heads);
  for (int64_t j = 0; j < tiles(a); j++)
    clean[j] = all_finite(smaller(KEYS, a->keys - j * KEYS), a->value_dim,
                          strided(vp, a->v, b, j * KEYS, g));
  for (int64_t first = begin; first < end; first += QUERIES) {
    block_begin(&k, a, b, h, first, end, q);
    const matrix to = {result, value}, weights = {k.s, QUERIES};
    fill(k.n * value, 0, result);
    fill(k.width, -INFINITY, top);
    fill(k.width, 0, sum);
    for (int64_t key = k.see_first; key < k.see_last; key += KEYS) {
      const int64_t keys = smaller(KEYS, a->keys - key);
      matrix v = strided(vp, a->v, b, key, g);
      scores(&k, key, keys, kp);
      soften(&k, keys, top, sum, shrink);
      if (key > k.see_first)
        for (int64_t i = 0; i < k.n; i++) {
          real *r = row_of(to, i);
          const real factor = shrink[i];
          SIMD for (int64_t c = 0; c < value; c++) r[c] *= factor;
        }
      if (value != a->value_dim) {
        copy(keys, a->value_dim, value, v, (matrix){values, value});
        v = (matrix){values, value};
      }
      if (clean[key / KEYS] != 0)
        across(k.n, value, keys, weights, v, to);
      else
        careful(k.n, value, keys, k.s, 1, QUERIES, v, to);
    }
    const matrix out = strided(outv, a->out, b, first, h);
    for (int64_t i = 0; i < k.n; i++) {
      const bool hidden = top[i] == -INFINITY;
      const real factor = hidden ? 0 : 1 / sum[i], *from = row_of(to, i);
      real *y = row_of(out, i);
      SIMD for (int64_t c = 0; c < a->value_dim; c++) y[c] = from[c] * factor;
      if (lse)
        ((real *)lse)[(b * a->heads + h) * a->queries + first + i] =
            hidden ? -INFINITY : top[i] + (real)log((double)sum[i]);
    }
  }
}

/* ---- backward ---- */

/* What the tiles of one key/value head share. */
typedef struct pass {
  const void *k, *v, *lse, *dlse;
  matrix keys, dk, dv; /* rows padded to whole vectors */
  const real *clean;   /* of the tiles of keys */
  real *dot, *ds, *dq; /* transposed gradient of the results; gradient of scores; of queries */
  real *lift, *shift;  /* of each query: its log-sum-exp; what its weights' gradients are added */
} pass;

/* With p the weights: ds_j = p_j (<dout, v_j> - <dout, out> + dlse), without the scale. */
static void score_gradients(const block *k, const pass *w, int64_t key, int64_t keys) {
  const mica_attention_args *a = k->a;
  for (int64_t j = 0; j < keys; j++) fill(k->width, 0, w->ds + j * QUERIES);
  by_rows(keys, k->width, a->value_dim, strided(w->v, a->v, k->b, key, k->g),
          (matrix){w->dot, QUERIES}, (matrix){w->ds, QUERIES});
  for (int64_t j = 0; j < keys; j++) {
    real *p = k->s + j * QUERIES, *ds = w->ds + j * QUERIES;
    SIMD for (int64_t i = 0; i < k->width; i++) {
      p[i] = math_exp(p[i] - w->lift[i]);
      ds[i] = p[i] == 0 ? 0 : p[i] * (ds[i] + w->shift[i]);
    }
  }
}

static void bias_gradients(const block *k, const pass *w, int64_t key, int64_t keys, void *dbias) {
  const mica_attention_args *a = k->a;
  real *to =
      (real *)dbias + k->b * a->bias_batch + k->h * a->bias_head + k->first * a->bias_query + key;
  for (int64_t i = 0; i < k->n; i++)
    for (int64_t j = 0; j < keys; j++) to[i * a->bias_query + j] += w->ds[j * QUERIES + i];
}

static void backward(const mica_attention_args *a, const void *q, const void *kp, const void *vp,
                     const void *outv, const void *doutv, const void *lse, const void *dlse,
                     int64_t b, int64_t g, void *dqv, void *dkv, void *dvv, void *dbias,
                     void *scratch_) {
  real *scratch = scratch_;
  const int64_t group = a->heads / a->kv_heads;
  const int64_t dim = padded(a->dim), value = padded(a->value_dim);
  const bool pad_dim = dim != a->dim, pad_value = value != a->value_dim;
  block k = {.qt = take(&scratch, QUERIES * a->dim), .s = take(&scratch, QUERIES * KEYS)};
  pass w = {.k = kp, .v = vp, .lse = lse, .dlse = dlse};
  w.dot = take(&scratch, QUERIES * a->value_dim);
  w.ds = take(&scratch, QUERIES * KEYS);
  w.dq = take(&scratch, QUERIES * dim);
  w.lift = take(&scratch, QUERIES);
  w.shift = take(&scratch, QUERIES);
  real *queries = take(&scratch, QUERIES * dim), *grads = take(&scratch, QUERIES * value);
  real *clean = take(&scratch, tiles(a));
  const matrix keys_in = strided(kp, a->k, b, 0, g), dk = strided(dkv, a->k, b, 0, g),
               dv = strided(dvv, a->v, b, 0, g);
  w.keys = pad_dim ? (matrix){take(&scratch, a->keys * dim), dim} : keys_in;
  w.dk = pad_dim ? (matrix){take(&scratch, a->keys * dim), dim} : dk;
  w.dv = pad_value ? (matrix){take(&scratch, a->keys * value), value} : dv;
  if (pad_dim) copy(a->keys, a->dim, dim, keys_in, w.keys);
  for (int64_t j = 0; j < a->keys; j++) {
    fill(dim, 0, row_of(w.dk, j));
    fill(value, 0, row_of(w.dv, j));
  }
  for (int64_t j = 0; j < tiles(a); j++)
    clean[j] = all_finite(smaller(KEYS, a->keys - j * KEYS), dim,
                          (matrix){row_of(w.keys, j * KEYS), w.keys.step});
  w.clean = clean;
  for (int64_t h = g * group; h < (g + 1) * group; h++)
    for (int64_t first = 0; first < a->queries; first += QUERIES) {
      block_begin(&k, a, b, h, first, a->queries, q);
      matrix in = strided(q, a->q, b, first, h), gy = strided(doutv, a->out, b, first, h);
      const matrix y = strided(outv, a->out, b, first, h), dq = {w.dq, dim};
      transpose(k.n, k.width, a->value_dim, 1, gy, w.dot);
      for (int64_t i = 0; i < k.width; i++) {
        const int64_t n = (b * a->heads + h) * a->queries + first + i;
        w.lift[i] = w.shift[i] = 0;
        if (i >= k.n) continue;
        const real l = ((const real *)lse)[n], *left = row_of(gy, i), *right = row_of(y, i);
        real sum = 0;
        SIMD_SUM(sum)
        for (int64_t c = 0; c < a->value_dim; c++) sum += left[c] * right[c];
        w.lift[i] = l == -INFINITY ? INFINITY : l; /* nothing seen: all weights are zero */
        w.shift[i] = (dlse ? ((const real *)dlse)[n] : 0) - sum;
      }
      if (pad_dim) {
        copy(k.n, a->dim, dim, in, (matrix){queries, dim});
        in = (matrix){queries, dim};
      }
      if (pad_value) {
        copy(k.n, a->value_dim, value, gy, (matrix){grads, value});
        gy = (matrix){grads, value};
      }
      const bool clean_q = all_finite(k.n, dim, in), clean_gy = all_finite(k.n, value, gy);
      fill(k.n * dim, 0, w.dq);
      for (int64_t key = k.see_first; key < k.see_last; key += KEYS) {
        const int64_t keys = smaller(KEYS, a->keys - key);
        const matrix p = {k.s, QUERIES}, ds = {w.ds, QUERIES};
        const matrix at_k = {row_of(w.keys, key), w.keys.step};
        const matrix at_dk = {row_of(w.dk, key), w.dk.step}, at_dv = {row_of(w.dv, key), w.dv.step};
        scores(&k, key, keys, kp);
        score_gradients(&k, &w, key, keys);
        if (dbias) bias_gradients(&k, &w, key, keys, dbias);
        const real scale = (real)a->scale;
        for (int64_t j = 0; j < keys; j++) {
          real *x = w.ds + j * QUERIES;
          SIMD for (int64_t i = 0; i < k.width; i++) x[i] *= scale;
        }
        if (clean_gy)
          by_rows(keys, value, k.n, p, gy, at_dv);
        else
          careful(keys, value, k.n, k.s, QUERIES, 1, gy, at_dv);
        if (clean_q)
          by_rows(keys, dim, k.n, ds, in, at_dk);
        else
          careful(keys, dim, k.n, w.ds, QUERIES, 1, in, at_dk);
        if (clean[key / KEYS] != 0)
          across(k.n, dim, keys, ds, at_k, dq);
        else
          careful(k.n, dim, keys, w.ds, 1, QUERIES, at_k, dq);
      }
      copy(k.n, a->dim, a->dim, dq, strided(dqv, a->q, b, first, h));
    }
  if (pad_dim) copy(a->keys, a->dim, a->dim, w.dk, dk);
  if (pad_value) copy(a->keys, a->value_dim, a->value_dim, w.dv, dv);
}

const mica_attention_kernels MICA_KERNEL(attention) = {
    .forward_scratch = forward_scratch,
    .backward_scratch = backward_scratch,
    .forward = forward,
    .backward = backward,
};
