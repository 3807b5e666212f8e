/* attention_weights.h: from the scores of a tile to weights. Part of attention.c. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_ATTENTION_WEIGHTS_H
#define MICA_TENSOR_KERNEL_LOOPS_ATTENTION_WEIGHTS_H

#include "attention_scores.h"

/* A number for each query of a block. */
typedef struct row_state {
  real *top, *sum;    /* largest score, or weight, so far; sum of the weights */
  real *shrink;       /* softmax: what all so far must be multiplied by */
  real *lift;         /* softmax: the log of the sum; else one over the divisor */
  real *peak, *total; /* sharpening: the largest excess; the sum */
} row_state;
enum { ROW_STATE = 6 * QUERIES };

static row_state row_state_at(real *p) {
  return (row_state){
      p, p + QUERIES, p + 2 * QUERIES, p + 3 * QUERIES, p + 4 * QUERIES, p + 5 * QUERIES};
}

/* Softmax's weights of a tile in place of its scores, not yet divided by their sum. */
static void soften(const block *k, int64_t keys, row_state *r) {
  const int64_t width = k->width;
  real *top = r->top, *sum = r->sum, *shrink = r->shrink;
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

/* The caller's map, which works in double. */
static void call_map(const block *k, real *s, real *slope) {
  const mica_attention_args *a = k->a;
  double score[QUERIES], weight[QUERIES], by[QUERIES];
  for (int64_t i = 0; i < k->width; i++) score[i] = s[i] == -INFINITY ? 0 : (double)s[i];
  a->function(a->function_ctx, k->n, score, weight, slope ? by : NULL);
  for (int64_t i = 0; i < k->width; i++) {
    const bool seen = i < k->n && s[i] != -INFINITY;
    s[i] = seen ? (real)weight[i] : 0;
    if (slope) slope[i] = seen ? (real)by[i] : 0;
  }
}

static inline real positive(real x) {
  return x > 0 || x != x ? x : 0;
}

/* Weights in place of scores, before any division, and with `slope` their derivatives; both 0 where
 * hidden. Not of softmax. */
static void map_scores(const block *k, int64_t keys, real *s, real *slope) {
#define MAP(weight, derivative)                                                                    \
  for (int64_t j = 0; j < keys; j++) {                                                             \
    real *x = s + j * QUERIES;                                                                     \
    if (slope) {                                                                                   \
      real *d = slope + j * QUERIES;                                                               \
      SIMD for (int64_t i = 0; i < k->width; i++) {                                                \
        const bool seen = x[i] != -INFINITY;                                                       \
        const real v = seen ? x[i] : 0;                                                            \
        x[i] = seen ? (weight) : 0;                                                                \
        d[i] = seen ? (derivative) : 0;                                                            \
      }                                                                                            \
    } else {                                                                                       \
      SIMD for (int64_t i = 0; i < k->width; i++) {                                                \
        const bool seen = x[i] != -INFINITY;                                                       \
        const real v = seen ? x[i] : 0;                                                            \
        x[i] = seen ? (weight) : 0;                                                                \
      }                                                                                            \
    }                                                                                              \
  }                                                                                                \
  break
  switch (k->a->curve) {
  case MICA_CURVE_SOFTPLUS: MAP(math_softplus(v), math_sigmoid(v));
  case MICA_CURVE_SIGMOID: MAP(math_sigmoid(v), math_sigmoid(v) * math_sigmoid(-v));
  case MICA_CURVE_SILU: MAP(v * math_sigmoid(v), math_sigmoid(v) * (1 + v * math_sigmoid(-v)));
  case MICA_CURVE_RELU: MAP(positive(v), v > 0 ? 1 : 0);
  case MICA_CURVE_RELU_SQUARED: MAP(positive(v) * positive(v), 2 * positive(v));
  case MICA_CURVE_CALLER:
    for (int64_t j = 0; j < keys; j++)
      call_map(k, s + j * QUERIES, slope ? slope + j * QUERIES : NULL);
    break;
  case MICA_CURVE_EXP: break;
  }
#undef MAP
}

/* Divided weights in place of scores, and with `slope` their derivatives while the divisor stays.
 */
static void divided(const block *k, int64_t keys, const row_state *r, real *s, real *slope) {
  if (k->a->curve == MICA_CURVE_EXP) {
    for (int64_t j = 0; j < keys; j++) {
      real *x = s + j * QUERIES;
      SIMD for (int64_t i = 0; i < k->width; i++) x[i] = math_exp(x[i] - r->lift[i]);
      if (slope) memcpy(slope + j * QUERIES, x, (size_t)k->width * sizeof(real));
    }
    return;
  }
  map_scores(k, keys, s, slope);
  for (int64_t j = 0; j < keys; j++) {
    real *x = s + j * QUERIES, *d = slope ? slope + j * QUERIES : NULL;
    SIMD for (int64_t i = 0; i < k->width; i++) x[i] *= r->lift[i];
    if (d) SIMD for (int64_t i = 0; i < k->width; i++) d[i] *= r->lift[i];
  }
}

/* x^p for x >= 0, 0 for x = 0 whatever p >= 0. Whole powers by squaring. */
static void raise_row(int64_t n, double p, real *x) {
  if (p != floor(p) || p > 64) {
    const real e = (real)p;
    for (int64_t i = 0; i < n; i++) x[i] = x[i] > 0 ? math_pow(x[i], e) : x[i];
    return;
  }
  real y[QUERIES];
  for (int64_t i = 0; i < n; i++) y[i] = x[i] > 0 ? 1 : x[i];
  for (int64_t e = (int64_t)p; e; e /= 2) {
    if (e % 2) SIMD for (int64_t i = 0; i < n; i++) y[i] *= x[i];
    SIMD for (int64_t i = 0; i < n; i++) x[i] *= x[i];
  }
  memcpy(x, y, (size_t)n * sizeof(real));
}

/* From divided weights A to max(N A - threshold, 0)^power over its largest, and with `slope` the
 * derivatives by A. Where nothing is above the threshold (peak 0) A stays. */
static void sharpen(const block *k, int64_t keys, const row_state *r, real *s, real *slope) {
  const mica_attention_args *a = k->a;
  for (int64_t j = 0; j < keys; j++) {
    real *x = s + j * QUERIES, above[QUERIES], by[QUERIES];
    SIMD for (int64_t i = 0; i < k->width; i++) {
      const real rest = k->seen[i] > 1 ? (real)a->threshold : 0;
      above[i] = r->peak[i] > 0 ? positive(k->seen[i] * x[i] - rest) / r->peak[i] : 0;
    }
    if (slope) {
      memcpy(by, above, (size_t)k->width * sizeof(real));
      raise_row(k->width, a->power - 1, by);
      real *d = slope + j * QUERIES;
      const real power = (real)a->power;
      SIMD for (int64_t i = 0; i < k->width; i++) d[i] =
          r->peak[i] > 0 ? power * by[i] * k->seen[i] / r->peak[i] : 1;
    }
    raise_row(k->width, a->power, above);
    SIMD for (int64_t i = 0; i < k->width; i++) x[i] = r->peak[i] > 0 ? above[i] : x[i];
  }
}

/* A look at all keys before the weights are sharpened: lift, peak. */
static void look_ahead(block *k, const void *kp, row_state *r) {
  const mica_attention_args *a = k->a;
  const bool softmax = a->curve == MICA_CURVE_EXP;
  fill(k->width, softmax ? -INFINITY : 0, r->top);
  fill(k->width, 0, r->sum);
  for (int64_t key = next_tile(k, 0); key < a->keys; key = next_tile(k, key + KEYS)) {
    const int64_t keys = smaller(KEYS, a->keys - key);
    scores(k, key, keys, ALL, strided(kp, a->k, k->b, key, k->g));
    if (softmax) {
      soften(k, keys, r);
      continue;
    }
    map_scores(k, keys, k->s, NULL);
    for (int64_t j = 0; j < keys; j++) {
      const real *s = k->s + j * QUERIES;
      SIMD for (int64_t i = 0; i < k->width; i++) {
        r->sum[i] += s[i];
        r->top[i] = s[i] > r->top[i] ? s[i] : r->top[i];
      }
    }
  }
  for (int64_t i = 0; i < k->width; i++) {
    const real rest = k->seen[i] > 1 ? (real)a->threshold : 0;
    const real largest = r->sum[i] == 0 ? 0 : (softmax ? 1 : r->top[i]) / r->sum[i];
    r->lift[i] = r->sum[i] == 0 ? (softmax ? INFINITY : 0)
                 : softmax      ? r->top[i] + (real)log((double)r->sum[i])
                                : 1 / r->sum[i];
    r->peak[i] = positive(k->seen[i] * largest - rest);
  }
}

#endif
