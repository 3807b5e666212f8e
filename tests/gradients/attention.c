/* Cases: attention. */
#include "gradients/gradients.h"

#include <mica/nn.h>

#include <math.h>
#include <stdint.h>

static mica_var attend(mica_tape *t, const mica_var *in, bool causal, int64_t window, bool bias,
                       bool lse) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = causal;
  o.window = window;
  mica_var l,
      y = mica_attention(t, in[0], in[1], in[2], bias ? in[3] : MICA_NONE, &o, lse ? &l : NULL);
  if (!lse) return y;
  mica_var flat[2] = {mica_reshape(t, y, MICA_SHAPE(-1)), mica_reshape(t, l, MICA_SHAPE(-1))};
  return mica_concat(t, 2, flat, 0);
}
#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return attend(t, in, __VA_ARGS__);                                                             \
  }
RUN(plain, false, 0, false, false)
RUN(causal, true, 0, false, false)
RUN(window, false, 2, false, false)
RUN(biased, false, 0, true, false)
RUN(with_lse, true, 0, false, true)

static mica_var masked(mica_tape *t, const mica_var *in) {
  const double keep[2][4] = {{1, 1, 0, 1}, {0, 1, 1, 0}};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(2, 4));
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  return mica_scope_end(t, mica_masked_attention(t, in[0], in[1], in[2], in[3], &o, NULL));
}
static mica_var masked_lse(mica_tape *t, const mica_var *in) {
  const double keep[4] = {1, 0, 1, 1};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(1, 4));
  mica_var l;
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  mica_masked_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, &l);
  return mica_scope_end(t, l);
}

static mica_var only_lse(mica_tape *t, const mica_var *in) {
  mica_var l;
  mica_attention(t, in[0], in[1], in[2], MICA_NONE, NULL, &l);
  return l;
}

static mica_var packed(mica_tape *t, const mica_var *in) {
  return mica_packed_attention(t, in[0], 2, MICA_NONE, NULL);
}
static mica_var packed_biased(mica_tape *t, const mica_var *in) {
  const double keep[2][3] = {{1, 0, 1}, {0, 1, 1}};
  const mica_view view = mica_view_of((void *)(uintptr_t)keep, MICA_F64, MICA_SHAPE(2, 3));
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.window = 2;
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mica_constant(t, &view));
  return mica_scope_end(t, mica_packed_attention(t, in[0], 3, in[1], &o));
}

/* ---- maps ---- */

static mica_var mapped(mica_tape *t, const mica_var *in, mica_attention_map map, double divisor,
                       double power, bool log_length) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.map = map;
  o.divisor = divisor;
  o.power = power;
  o.log_length = log_length;
  o.causal = true;
  return mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, NULL);
}
#define MAP(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return mapped(t, in, __VA_ARGS__);                                                             \
  }
MAP(softplus, MICA_ATTEND_SOFTPLUS, 0, 0, true)
MAP(sigmoid, MICA_ATTEND_SIGMOID, MICA_ATTENTION_SEEN, 0, false)
MAP(silu, MICA_ATTEND_SILU, 9, 0, false)
MAP(relu, MICA_ATTEND_RELU, MICA_ATTENTION_SEEN, 0, false)
MAP(relu_squared, MICA_ATTEND_RELU_SQUARED, 0, 0, false)
MAP(sharpened, MICA_ATTEND_SOFTPLUS, 0, 3, true)
MAP(sharpened_softmax, MICA_ATTEND_SOFTMAX, 0, 2.5, false)

/* 1 + sin s, by a function of the caller's. */
static void wave(void *ctx, int64_t n, const double *score, double *weight, double *slope) {
  (void)ctx;
  for (int64_t i = 0; i < n; i++) {
    weight[i] = 1 + sin(score[i]);
    if (slope) slope[i] = cos(score[i]);
  }
}
static mica_var custom(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.map = MICA_ATTEND_CUSTOM;
  o.function = wave;
  mica_var l, y = mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, &l);
  mica_var flat[2] = {mica_reshape(t, y, MICA_SHAPE(-1)), mica_reshape(t, l, MICA_SHAPE(-1))};
  return mica_concat(t, 2, flat, 0);
}

/* ---- masks and biases ---- */

static mica_var numbers(mica_tape *t, int64_t n, const int64_t *ids) {
  const mica_view view = mica_view_of((void *)(uintptr_t)ids, MICA_I64, MICA_SHAPE(n));
  return mica_constant(t, &view);
}

static mica_var blocks(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  o.block = 2;
  o.left = 2;
  o.sinks = 1;
  o.offset = 1;
  return mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, NULL);
}
static mica_var segments(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.query_segments = numbers(t, 5, (int64_t[]){0, 0, 1, -1, 4});
  o.key_segments = numbers(t, 6, (int64_t[]){0, 0, 0, 1, 1, -1});
  mica_var l, y = mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, &l);
  /* The last two queries see nothing: their logarithms are -inf. */
  l = mica_slice(t, l, 2, 0, 3);
  mica_var flat[2] = {mica_reshape(t, y, MICA_SHAPE(-1)), mica_reshape(t, l, MICA_SHAPE(-1))};
  return mica_concat(t, 2, flat, 0);
}
/* A ring of six places, two of them empty; targets at one position do not see each other. */
static mica_var ring(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = o.strict = true;
  o.left = 4;
  o.query_positions = numbers(t, 5, (int64_t[]){6, 7, 8, 8, 8});
  o.key_positions = numbers(t, 6, (int64_t[]){-1, 6, 7, 8, 8, 8});
  return mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, NULL);
}
static mica_var alibi(mica_tape *t, const mica_var *in) {
  double slopes[3];
  mica_nn_alibi_slopes(3, slopes);
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  o.slopes = slopes;
  o.distance_limit = 2;
  return mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, NULL);
}
/* Softmax, then a decay over a grid of three columns. */
static mica_var decaying(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  const double decays[2] = {0.5, 0.9};
  o.decays = decays;
  o.distance = MICA_DISTANCE_CHEBYSHEV;
  o.columns = 3;
  return mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, NULL);
}
/* Cosine attention with a learned scale for each head (Liu et al. 2022). */
static mica_var cosine(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.scale = 1;
  mica_var scale = mica_exp(t, mica_reshape(t, in[3], MICA_SHAPE(2, 1)));
  mica_var q = mica_mul(t, mica_l2_normalise(t, in[0], 1e-6), scale);
  return mica_attention(t, q, mica_l2_normalise(t, in[1], 1e-6), in[2], MICA_NONE, &o, NULL);
}

/* Two heads side by side share one head of keys. */
static mica_var side_by_side(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.heads = 2;
  o.kv_heads = 1;
  return mica_attention(t, in[0], in[1], in[2], MICA_NONE, &o, NULL);
}

/* ---- ragged, and merged ---- */

static mica_var ragged(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  mica_var l,
      y = mica_ragged_attention(t, in[0], in[1], in[2], in[3],
                                numbers(t, 5, (int64_t[]){0, 3, 3, 4, 6}), MICA_NONE, &o, &l);
  mica_var flat[2] = {mica_reshape(t, y, MICA_SHAPE(-1)), mica_reshape(t, l, MICA_SHAPE(-1))};
  return mica_concat(t, 2, flat, 0);
}
static mica_var ragged_across(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.map = MICA_ATTEND_SOFTPLUS;
  o.power = 2;
  return mica_ragged_attention(t, in[0], in[1], in[2], MICA_NONE,
                               numbers(t, 4, (int64_t[]){0, 2, 2, 5}),
                               numbers(t, 4, (int64_t[]){0, 4, 6, 7}), &o, NULL);
}
static mica_var ragged_long(mica_tape *t, const mica_var *in) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.map = MICA_ATTEND_SILU;
  o.divisor = 100;
  o.left = 20;
  return mica_ragged_attention(t, in[0], in[1], in[2], MICA_NONE,
                               numbers(t, 4, (int64_t[]){0, 80, 80, 150}), MICA_NONE, &o, NULL);
}

static mica_var ragged_one(mica_tape *t, const mica_var *in) {
  const int64_t n = mica_read(t, in[0]).shape.dim[0];
  return mica_ragged_attention(t, in[0], in[1], in[2], MICA_NONE, numbers(t, 2, (int64_t[]){0, n}),
                               MICA_NONE, NULL, NULL);
}

static mica_var merged(mica_tape *t, const mica_var *in) {
  mica_var l, y = mica_attention_merge(t, in[0], in[1], in[2], in[3], &l);
  mica_var flat[2] = {mica_reshape(t, y, MICA_SHAPE(-1)), mica_reshape(t, l, MICA_SHAPE(-1))};
  return mica_concat(t, 2, flat, 0);
}
/* Attention to the first keys and to the rest, which the first queries do not see. */
static mica_var merged_halves(mica_tape *t, const mica_var *in) {
  mica_var y[2], l[2];
  for (int64_t i = 0; i < 2; i++) {
    mica_attention_options o = MICA_ATTENTION_OPTIONS;
    o.causal = true;
    o.offset = i ? -3 : 0;
    y[i] = mica_attention(t, in[0], mica_slice(t, in[1], 1, 3 * i, 3 + 3 * i),
                          mica_slice(t, in[2], 1, 3 * i, 3 + 3 * i), MICA_NONE, &o, &l[i]);
  }
  return mica_attention_merge(t, y[0], l[0], y[1], l[1], NULL);
}

#define B 2e-5
#define IN(...)                                                                                    \
  { MICA_SHAPE(__VA_ARGS__), -1.5, 1.5, 0, false }
static const gradient_case cases[] = {
    {"attention",
     "plain",
     3,
     {IN(2, 3, 2, 4), IN(2, 5, 2, 4), IN(2, 5, 2, 3)},
     plain,
     B,
     false,
     false},
    {"attention",
     "grouped",
     3,
     {IN(1, 3, 4, 2), IN(1, 3, 2, 2), IN(1, 3, 2, 2)},
     plain,
     B,
     false,
     false},
    {"attention",
     "causal",
     3,
     {IN(1, 4, 2, 3), IN(1, 4, 2, 3), IN(1, 4, 2, 3)},
     causal,
     B,
     false,
     false},
    {"attention",
     "causal, longer keys",
     3,
     {IN(1, 2, 1, 3), IN(1, 5, 1, 3), IN(1, 5, 1, 3)},
     causal,
     B,
     false,
     false},
    {"attention",
     "causal, longer queries",
     3,
     {IN(1, 5, 1, 3), IN(1, 2, 1, 3), IN(1, 2, 1, 3)},
     causal,
     B,
     false,
     false},
    {"attention",
     "window",
     3,
     {IN(1, 6, 1, 2), IN(1, 6, 1, 2), IN(1, 6, 1, 2)},
     window,
     B,
     false,
     false},
    {"attention",
     "bias",
     4,
     {IN(2, 3, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 2, 3, 4)},
     biased,
     B,
     false,
     false},
    {"attention",
     "shared bias",
     4,
     {IN(2, 3, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 1, 4)},
     biased,
     B,
     false,
     false},
    {"attention",
     "log-sum-exp",
     3,
     {IN(2, 3, 2, 2), IN(2, 3, 2, 2), IN(2, 3, 2, 2)},
     with_lse,
     B,
     false,
     false},
    {"masked_attention",
     "with bias",
     4,
     {IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 2, 2), IN(2, 4, 4)},
     masked,
     B,
     false,
     false},
    {"masked_attention",
     "log-sum-exp",
     3,
     {IN(1, 3, 2, 2), IN(1, 4, 2, 2), IN(1, 4, 2, 2)},
     masked_lse,
     B,
     false,
     false},
    {"attention",
     "only log-sum-exp",
     3,
     {IN(1, 3, 2, 2), IN(1, 3, 2, 2), IN(1, 3, 2, 2)},
     only_lse,
     B,
     false,
     false},
    {"attention",
     "several tiles",
     4,
     {IN(1, 67, 2, 3), IN(1, 52, 1, 3), IN(1, 52, 1, 2), IN(67, 52)},
     biased,
     B,
     false,
     false},
    {"attention",
     "several tiles, window",
     3,
     {IN(1, 66, 1, 2), IN(1, 99, 1, 2), IN(1, 99, 1, 2)},
     window,
     B,
     false,
     false},
    {"packed_attention", "", 1, {IN(2, 3, 12)}, packed, B, false, false},
    {"packed_attention",
     "bias and mask",
     2,
     {IN(2, 3, 18), IN(3, 3, 3)},
     packed_biased,
     B,
     false,
     false},
    {"attention",
     "softplus",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     softplus,
     B,
     false,
     false},
    {"attention",
     "sigmoid",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     sigmoid,
     B,
     false,
     false},
    {"attention",
     "silu",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     silu,
     B,
     false,
     false},
    {"attention",
     "relu",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     relu,
     B,
     false,
     false},
    {"attention",
     "relu squared",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     relu_squared,
     B,
     false,
     false},
    {"attention",
     "sharpened",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     sharpened,
     1e-4,
     false,
     false},
    {"attention",
     "sharpened softmax",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     sharpened_softmax,
     1e-4,
     false,
     false},
    {"attention",
     "custom",
     3,
     {IN(2, 4, 2, 3), IN(2, 5, 1, 3), IN(2, 5, 1, 2)},
     custom,
     B,
     false,
     false},
    {"attention",
     "silu, several tiles",
     3,
     {IN(1, 70, 1, 3), IN(1, 101, 1, 3), IN(1, 101, 1, 2)},
     silu,
     B,
     false,
     false},
    {"attention",
     "sharpened, several tiles",
     3,
     {IN(1, 66, 1, 3), IN(1, 99, 1, 3), IN(1, 99, 1, 2)},
     sharpened,
     1e-4,
     false,
     false},
    {"attention",
     "blocks, left, sinks",
     3,
     {IN(1, 6, 2, 2), IN(1, 8, 2, 2), IN(1, 8, 2, 2)},
     blocks,
     B,
     false,
     false},
    {"attention",
     "segments",
     3,
     {IN(1, 5, 2, 2), IN(1, 6, 2, 2), IN(1, 6, 2, 2)},
     segments,
     B,
     false,
     false},
    {"attention",
     "ring of positions",
     3,
     {IN(2, 5, 2, 2), IN(2, 6, 2, 2), IN(2, 6, 2, 2)},
     ring,
     B,
     false,
     false},
    {"attention",
     "slopes",
     3,
     {IN(1, 5, 3, 2), IN(1, 5, 3, 2), IN(1, 5, 3, 2)},
     alibi,
     B,
     false,
     false},
    {"attention",
     "decays",
     3,
     {IN(1, 6, 2, 2), IN(1, 6, 2, 2), IN(1, 6, 2, 2)},
     decaying,
     B,
     false,
     false},
    {"attention l2_normalise",
     "cosine",
     4,
     {IN(1, 4, 2, 3), IN(1, 4, 2, 3), IN(1, 4, 2, 2), IN(2)},
     cosine,
     B,
     false,
     false},
    {"attention",
     "heads side by side",
     3,
     {IN(2, 4, 6), IN(2, 5, 3), IN(2, 5, 2)},
     side_by_side,
     B,
     false,
     false},
    {"ragged_attention",
     "causal, bias",
     4,
     {IN(6, 4, 2), IN(6, 2, 2), IN(6, 2, 3), IN(4, 3, 3)},
     ragged,
     B,
     false,
     false},
    {"ragged_attention",
     "cross, sharpened",
     3,
     {IN(5, 2, 2), IN(7, 1, 2), IN(7, 1, 3)},
     ragged_across,
     1e-4,
     false,
     false},
    {"ragged_attention",
     "several tiles",
     3,
     {IN(150, 1, 2), IN(150, 1, 2), IN(150, 1, 2)},
     ragged_long,
     B,
     false,
     false},
    {"ragged_attention",
     "size one",
     3,
     {IN(1, 1, 1), IN(1, 1, 1), IN(1, 1, 1)},
     ragged_one,
     B,
     false,
     false},
    {"ragged_attention",
     "empty",
     3,
     {IN(0, 2, 2), IN(0, 1, 2), IN(0, 1, 3)},
     ragged_one,
     B,
     false,
     false},
    {"attention_merge",
     "",
     4,
     {IN(2, 3, 2, 3), IN(2, 2, 3), IN(2, 3, 2, 3), IN(2, 2, 3)},
     merged,
     B,
     false,
     false},
    {"attention_merge",
     "ragged, size one",
     4,
     {IN(1, 1, 1), IN(1, 1), IN(1, 1, 1), IN(1, 1)},
     merged,
     B,
     false,
     false},
    {"attention_merge",
     "empty",
     4,
     {IN(0, 2, 1, 3), IN(0, 1, 2), IN(0, 2, 1, 3), IN(0, 1, 2)},
     merged,
     B,
     false,
     false},
    {"attention_merge attention",
     "of halves",
     3,
     {IN(1, 6, 2, 2), IN(1, 6, 2, 2), IN(1, 6, 2, 2)},
     merged_halves,
     B,
     false,
     false},
    {"attention",
     "no keys",
     3,
     {IN(1, 3, 2, 2), IN(1, 0, 2, 2), IN(1, 0, 2, 2)},
     softplus,
     B,
     false,
     false},
};
FAMILY(attention);
