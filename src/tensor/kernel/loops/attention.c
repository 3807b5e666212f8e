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
#include "attention_softmax.h"

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
  return ROW_STATE + QUERIES * (a->dim + KEYS + value + 2) + KEYS * value + padded(tiles(a)) +
         2 * VECTOR_WIDTH;
}

static int64_t backward_scratch(const mica_attention_args *a) {
  const int64_t dim = padded(a->dim), value = padded(a->value_dim);
  return ROW_STATE + QUERIES * (a->dim + a->value_dim + 3 * KEYS + 2 * dim + value + 4) +
         a->keys * (2 * dim + value) + padded(tiles(a)) + 9 * VECTOR_WIDTH;
}

/* Where a number of query first + i is kept. */
static int64_t row_at(const block *k, int64_t i) {
  const mica_attention_args *a = k->a;
  const int64_t length = a->q_offsets ? a->all_queries : a->queries;
  return (k->b * a->heads + k->h) * length + k->first + i;
}

/* The second plane of what sharpening keeps. */
static real *sharpened_totals(const mica_attention_args *a) {
  const int64_t rows = a->q_offsets ? a->all_queries : a->batch * a->queries;
  return (real *)a->sharpened + rows * a->heads;
}

/* ---- forward ---- */

/* The weights of a tile in place of its scores; what they are still divided by at the end is in
 * r->sum (softmax, and the divisor a sum) or r->total (sharpened). */
static void weigh(const block *k, int64_t key, int64_t keys, int64_t diagonal, row_state *r) {
  const mica_attention_args *a = k->a;
  if (k->simple) {
    soften_simply(k, keys, diagonal, r);
    return;
  }
  if (a->power != 0) {
    divided(k, keys, r, k->s, NULL);
    sharpen(k, keys, r, k->s, NULL);
  } else if (a->curve == MICA_CURVE_EXP) {
    soften(k, keys, r);
  } else {
    map_scores(k, keys, k->s, NULL);
  }
  if (a->power != 0 || a->curve != MICA_CURVE_EXP) {
    real *sum = a->power != 0 ? r->total : r->sum;
    for (int64_t j = 0; j < keys; j++) {
      const real *s = k->s + j * QUERIES;
      SIMD for (int64_t i = 0; i < k->width; i++) sum[i] += s[i];
    }
  }
  thin(k, key, keys, k->s);
}

/* One over what the result of query i is divided by; 0 where it saw nothing. */
static real last_factor(const block *k, const row_state *r, int64_t i) {
  const mica_attention_args *a = k->a;
  if (a->power != 0) return r->total[i] == 0 ? 0 : 1 / r->total[i];
  switch (a->divide) {
  case MICA_ATTENTION_BY_SEEN: return k->seen[i] == 0 ? 0 : 1 / k->seen[i];
  case MICA_ATTENTION_BY_NUMBER: return 1 / (real)a->divisor;
  default: break;
  }
  if (a->curve == MICA_CURVE_EXP) return r->top[i] == -INFINITY ? 0 : 1 / r->sum[i];
  return r->sum[i] == 0 ? 0 : 1 / r->sum[i];
}

/* What the backward needs of query i, and the caller may ask for. */
static void keep_row(const block *k, const row_state *r, int64_t i, real *lse) {
  const mica_attention_args *a = k->a;
  const bool softmax = a->curve == MICA_CURVE_EXP;
  const int64_t at = row_at(k, i);
  if (a->power != 0) {
    if (a->sharpened) {
      ((real *)a->sharpened)[at] = r->peak[i];
      sharpened_totals(a)[at] = r->total[i];
    }
    if (lse) lse[at] = r->sum[i] == 0 ? -INFINITY : softmax ? r->lift[i] : -math_log(r->lift[i]);
  } else if (lse) {
    if (softmax)
      lse[at] = r->top[i] == -INFINITY ? -INFINITY : r->top[i] + (real)log((double)r->sum[i]);
    else
      lse[at] = a->divide == MICA_ATTENTION_BY_SUM ? (real)log((double)r->sum[i]) : 0;
  }
}

static void forward(const mica_attention_args *a, const void *q, const void *kp, const void *vp,
                    int64_t b, int64_t h, int64_t begin, int64_t end, void *outv, void *lse,
                    void *scratch_) {
  real *scratch = scratch_;
  const int64_t value = padded(a->value_dim);
  const bool softmax = a->curve == MICA_CURVE_EXP && a->power == 0;
  block k = {.qt = take(&scratch, QUERIES * a->dim),
             .s = take(&scratch, QUERIES * KEYS),
             .scale = take(&scratch, QUERIES),
             .seen = take(&scratch, QUERIES)};
  real *result = take(&scratch, QUERIES * value), *values = take(&scratch, KEYS * value);
  real *clean = take(&scratch, tiles(a));
  row_state r = row_state_at(take(&scratch, ROW_STATE));
  const int64_t g = h / (a->heads / a->kv_heads);
  for (int64_t j = 0; j < tiles(a); j++)
    clean[j] = all_finite(smaller(KEYS, a->keys - j * KEYS), a->value_dim,
                          strided(vp, a->v, b, j * KEYS, g));
  for (int64_t first = begin; first < end; first += QUERIES) {
    block_begin(&k, a, b, h, first, end, q);
    const matrix to = {result, value}, weights = {k.s, QUERIES};
    fill(k.n * value, 0, result);
    if (a->power != 0) look_ahead(&k, kp, &r);
    if (a->power == 0) {
      fill(k.width, -INFINITY, r.top);
      fill(k.width, 0, r.sum);
    }
    fill(k.width, 0, r.total);
    bool begun = false;
    for (int64_t key = next_tile(&k, 0), next; key < a->keys; key = next) {
      next = next_tile(&k, key + KEYS);
      fetch(smaller(KEYS, a->keys - next), a->dim, strided(kp, a->k, b, next, g));
      fetch(smaller(KEYS, a->keys - next), a->value_dim, strided(vp, a->v, b, next, g));
      const int64_t keys = tile_keys(&k, key), diagonal = diagonal_of(&k, key, keys);
      matrix v = strided(vp, a->v, b, key, g);
      scores(&k, key, keys, diagonal, strided(kp, a->k, b, key, g));
      weigh(&k, key, keys, diagonal, &r);
      if (begun && softmax)
        for (int64_t i = 0; i < k.n; i++) {
          real *x = row_of(to, i);
          const real factor = r.shrink[i];
          SIMD for (int64_t c = 0; c < value; c++) x[c] *= factor;
        }
      begun = true;
      if (value != a->value_dim) {
        copy(keys, a->value_dim, value, NULL, v, (matrix){values, value});
        v = (matrix){values, value};
      }
      if (clean[key / KEYS] != 0)
        over_keys(diagonal, k.n, value, keys, weights, v, to);
      else
        careful(k.n, value, keys, k.s, 1, QUERIES, v, to);
    }
    const matrix out = strided(outv, a->out, b, first, h);
    for (int64_t i = 0; i < k.n; i++) {
      const real factor = last_factor(&k, &r, i), *from = row_of(to, i);
      real *y = row_of(out, i);
      SIMD for (int64_t c = 0; c < a->value_dim; c++) y[c] = from[c] * factor;
      keep_row(&k, &r, i, lse);
    }
  }
}

/* ---- backward ---- */

/* What the tiles of one key/value head share. */
typedef struct pass {
  const void *v;
  matrix keys, dk, dv; /* rows padded to whole vectors */
  const real *clean;   /* of the tiles of keys */
  real *dot, *ds, *dq; /* transposed gradient of the results; gradient of scores; of queries */
  real *slope;         /* derivatives of weights */
  row_state r;
  /* Of each query: what its weights' gradients are added; sharpening: the mean of the gradients of
   * the weights that were sharpened. */
  real *shift, *mean;
} pass;

/* <dout, v_j> of a tile, into w->ds. */
static void value_gradients(const block *k, const pass *w, int64_t key, int64_t keys,
                            int64_t diagonal) {
  by_key(diagonal, keys, k->width, k->a->value_dim, strided(w->v, k->a->v, k->b, key, k->g),
         (matrix){w->dot, QUERIES}, (matrix){w->ds, QUERIES});
}

/* The mean that dividing by the sum takes off: sum_j A_j dA_j. It needs all keys beforehand. */
static void sharpened_means(const block *k, pass *w) {
  const mica_attention_args *a = k->a;
  fill(k->width, 0, w->mean);
  for (int64_t key = next_tile(k, 0); key < a->keys; key = next_tile(k, key + KEYS)) {
    const int64_t keys = smaller(KEYS, a->keys - key);
    scores(k, key, keys, ALL, rows_from(w->keys, key));
    divided(k, keys, &w->r, k->s, NULL);
    value_gradients(k, w, key, keys, ALL);
    thin(k, key, keys, w->ds);
    for (int64_t j = 0; j < keys; j++) {
      const real *ds = w->ds + j * QUERIES;
      real weight[QUERIES], last[QUERIES], steep[QUERIES];
      memcpy(weight, k->s + j * QUERIES, sizeof weight);
      memcpy(last, weight, sizeof last);
      sharpen(k, 1, &w->r, last, steep);
      SIMD for (int64_t i = 0; i < k->width; i++) w->mean[i] +=
          weight[i] == 0 || steep[i] == 0
              ? 0
              : weight[i] * steep[i] * (ds[i] + w->shift[i]) * w->r.total[i];
    }
  }
}

/* From scores to weights (k->s) and gradients of scores (w->ds). */
static void score_gradients(const block *k, const pass *w, int64_t key, int64_t keys,
                            int64_t diagonal) {
  const mica_attention_args *a = k->a;
  value_gradients(k, w, key, keys, diagonal);
  if (a->curve == MICA_CURVE_EXP && a->power == 0 && !thins(a)) {
    soften_gradients(k, keys, diagonal, &w->r, w->shift, w->ds);
    return;
  }
  thin(k, key, keys, w->ds);
  divided(k, keys, &w->r, k->s, w->slope);
  if (a->power != 0) {
    for (int64_t j = 0; j < keys; j++) {
      real *s = k->s + j * QUERIES, *ds = w->ds + j * QUERIES, steep[QUERIES];
      const real *slope = w->slope + j * QUERIES;
      sharpen(k, 1, &w->r, s, steep);
      SIMD for (int64_t i = 0; i < k->width; i++) {
        const real through = steep[i] == 0 ? 0 : steep[i] * (ds[i] + w->shift[i]) * w->r.total[i];
        ds[i] = slope[i] == 0 ? 0 : slope[i] * (through - w->mean[i]);
        s[i] *= w->r.total[i];
      }
    }
  } else {
    for (int64_t j = 0; j < keys; j++) {
      real *ds = w->ds + j * QUERIES;
      const real *slope = w->slope + j * QUERIES;
      SIMD for (int64_t i = 0; i < k->width; i++) ds[i] =
          slope[i] == 0 ? 0 : slope[i] * (ds[i] + w->shift[i]);
    }
  }
  thin(k, key, keys, k->s);
}

static void bias_gradients(const block *k, const pass *w, int64_t key, int64_t keys, void *dbias) {
  const mica_attention_args *a = k->a;
  real *to =
      (real *)dbias + k->b * a->bias_batch + k->h * a->bias_head + k->first * a->bias_query + key;
  for (int64_t i = 0; i < k->n; i++)
    for (int64_t j = 0; j < keys; j++) to[i * a->bias_query + j] += w->ds[j * QUERIES + i];
}

/* One over what the weights of query i were divided by, or for softmax its logarithm's negative:
 * INFINITY and 0 make all weights 0. */
static real lift_of(const block *k, int64_t i, real lse) {
  const mica_attention_args *a = k->a;
  if (a->curve == MICA_CURVE_EXP) return lse == -INFINITY ? INFINITY : lse;
  if (a->divide == MICA_ATTENTION_BY_NUMBER) return 1 / (real)a->divisor;
  if (a->divide == MICA_ATTENTION_BY_SEEN) return k->seen[i] == 0 ? 0 : 1 / k->seen[i];
  return lse == -INFINITY ? 0 : math_exp(-lse);
}

/* lift and shift of the block's queries. */
static void recall_rows(const block *k, pass *w, const real *lse, const real *dlse, matrix y,
                        matrix gy) {
  const mica_attention_args *a = k->a;
  for (int64_t i = 0; i < k->width; i++) {
    w->r.lift[i] = w->shift[i] = w->r.peak[i] = w->r.total[i] = 0;
    if (i >= k->n) continue;
    const int64_t at = row_at(k, i);
    const real *left = row_of(gy, i), *right = row_of(y, i);
    real sum = 0;
    SIMD_SUM(sum)
    for (int64_t c = 0; c < a->value_dim; c++) sum += left[c] * right[c];
    w->r.lift[i] = lift_of(k, i, lse[at]);
    if (a->divide == MICA_ATTENTION_BY_SUM) w->shift[i] = (dlse ? dlse[at] : 0) - sum;
    if (a->power != 0) {
      const real total = sharpened_totals(a)[at];
      w->r.peak[i] = ((const real *)a->sharpened)[at];
      w->r.total[i] = total == 0 ? 0 : 1 / total;
    }
  }
}

static mica_attention_strides given_or(mica_attention_strides own, mica_attention_strides other) {
  return own.batch || own.token || own.head ? own : other;
}

static void backward(const mica_attention_args *a, const void *q, const void *kp, const void *vp,
                     const void *outv, const void *doutv, const void *lse, const void *dlse,
                     int64_t b, int64_t g, int64_t begin, int64_t end, void *dqv, void *dkv,
                     void *dvv, void *dbias, void *scratch_) {
  real *scratch = scratch_;
  const int64_t group = a->heads / a->kv_heads;
  const int64_t dim = padded(a->dim), value = padded(a->value_dim);
  block k = {.qt = take(&scratch, QUERIES * a->dim),
             .s = take(&scratch, QUERIES * KEYS),
             .scale = take(&scratch, QUERIES),
             .seen = take(&scratch, QUERIES)};
  pass w = {.v = vp,
            .r = row_state_at(take(&scratch, ROW_STATE)),
            .shift = take(&scratch, QUERIES),
            .mean = take(&scratch, QUERIES)};
  w.dot = take(&scratch, QUERIES * a->value_dim);
  w.ds = take(&scratch, QUERIES * KEYS);
  w.slope = take(&scratch, QUERIES * KEYS);
  w.dq = take(&scratch, QUERIES * dim);
  real *queries = take(&scratch, QUERIES * dim), *grads = take(&scratch, QUERIES * value);
  real *clean = take(&scratch, tiles(a)), ones[QUERIES];
  fill(QUERIES, 1, ones);
  const matrix keys_in = strided(kp, a->k, b, 0, g),
               dk = strided(dkv, given_or(a->dk, a->k), b, 0, g),
               dv = strided(dvv, given_or(a->dv, a->v), b, 0, g);
  /* Where rows are padded, or lie apart and would share few sets of a cache, they are moved. */
  const bool move_k = keys_in.step != dim || dim != a->dim;
  const bool move_dk = dk.step != dim || dim != a->dim;
  const bool move_dv = dv.step != value || value != a->value_dim;
  w.keys = move_k ? (matrix){take(&scratch, a->keys * dim), dim} : keys_in;
  w.dk = move_dk ? (matrix){take(&scratch, a->keys * dim), dim} : dk;
  w.dv = move_dv ? (matrix){take(&scratch, a->keys * value), value} : dv;
  if (move_k)
    copy(end - begin, a->dim, dim, NULL, rows_from(keys_in, begin), rows_from(w.keys, begin));
  for (int64_t j = begin; j < end; j++) {
    fill(dim, 0, row_of(w.dk, j));
    fill(value, 0, row_of(w.dv, j));
  }
  for (int64_t j = begin / KEYS; j * KEYS < end; j++)
    clean[j] = all_finite(smaller(KEYS, end - j * KEYS), dim, rows_from(w.keys, j * KEYS));
  w.clean = clean;
  for (int64_t h = g * group; h < (g + 1) * group; h++)
    for (int64_t first = 0; first < a->queries; first += QUERIES) {
      block_begin(&k, a, b, h, first, a->queries, q);
      matrix in = strided(q, a->q, b, first, h), gy = strided(doutv, a->out, b, first, h);
      const matrix dq = {w.dq, dim};
      transpose(k.n, k.width, a->value_dim, ones, gy, w.dot);
      recall_rows(&k, &w, lse, dlse, strided(outv, a->out, b, first, h), gy);
      if (a->power != 0) sharpened_means(&k, &w);
      copy(k.n, a->dim, dim, k.scale, in, (matrix){queries, dim});
      copy(k.n, a->value_dim, value, NULL, gy, (matrix){grads, value});
      in = (matrix){queries, dim};
      gy = (matrix){grads, value};
      const bool clean_q = all_finite(k.n, dim, in), clean_gy = all_finite(k.n, value, gy);
      fill(k.n * dim, 0, w.dq);
      for (int64_t key = next_tile(&k, begin), next; key < end; key = next) {
        next = next_tile(&k, key + KEYS);
        const int64_t coming = smaller(KEYS, end - next);
        fetch(coming, dim, rows_from(w.keys, next));
        fetch(coming, a->value_dim, strided(vp, a->v, b, next, g));
        fetch(coming, dim, rows_from(w.dk, next));
        fetch(coming, value, rows_from(w.dv, next));
        const int64_t keys = tile_keys(&k, key), diagonal = diagonal_of(&k, key, keys);
        const matrix p = {k.s, QUERIES}, ds = {w.ds, QUERIES};
        const matrix at_k = rows_from(w.keys, key), at_dk = rows_from(w.dk, key);
        const matrix at_dv = rows_from(w.dv, key);
        scores(&k, key, keys, diagonal, at_k);
        score_gradients(&k, &w, key, keys, diagonal);
        if (dbias) bias_gradients(&k, &w, key, keys, dbias);
        if (clean_gy)
          over_queries(diagonal, keys, value, k.n, p, gy, at_dv);
        else
          careful(keys, value, k.n, k.s, QUERIES, 1, gy, at_dv);
        if (clean_q)
          over_queries(diagonal, keys, dim, k.n, ds, in, at_dk);
        else
          careful(keys, dim, k.n, w.ds, QUERIES, 1, in, at_dk);
        if (clean[key / KEYS] != 0)
          over_keys(diagonal, k.n, dim, keys, ds, at_k, dq);
        else
          careful(k.n, dim, keys, w.ds, 1, QUERIES, at_k, dq);
      }
      copy(k.n, a->dim, a->dim, k.scale, dq, strided(dqv, given_or(a->dq, a->q), b, first, h));
    }
  if (move_dk)
    copy(end - begin, a->dim, a->dim, NULL, rows_from(w.dk, begin), rows_from(dk, begin));
  if (move_dv)
    copy(end - begin, a->value_dim, a->value_dim, NULL, rows_from(w.dv, begin),
         rows_from(dv, begin));
}

const mica_attention_kernels MICA_KERNEL(attention) = {
    .forward_scratch = forward_scratch,
    .backward_scratch = backward_scratch,
    .forward = forward,
    .backward = backward,
};
