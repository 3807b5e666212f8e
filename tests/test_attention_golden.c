/* Attention of the papers from the parts of mica/ops.h, against reference tensors of softplus
 * attention with re-weighting, HSTU, ring attention, LM-Infinite, HyperAttention and Kronecker
 * attention (tests/golden/attention). Options are read from the files' metadata. */
#include "support/golden.h"

#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static int set_up(void **state) {
  (void)state;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 2;
  return mica_engine_create(&o, &engine) == MICA_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

/* ---- one file in one precision ---- */

enum { LEAVES = 8, HELD = 64 };

typedef struct file {
  const mica_archive *archive;
  mica_dtype dtype;
  double bound;
  mica_tape *t;
  mica_tensor *held[HELD];
  int n_held, n_leaves;
  struct {
    const char *name;
    mica_var v;
  } leaf[LEAVES];
} file;

static const char *text(const file *f, const char *key) {
  const char *s = mica_archive_metadata(f->archive, key);
  if (!s) fail_msg("%s has no %s", mica_archive_path(f->archive), key);
  return s;
}
static double number(const file *f, const char *key) {
  return strtod(text(f, key), NULL);
}

static mica_tensor *hold(file *f, const char *name) {
  assert_true(f->n_held < HELD);
  return f->held[f->n_held++] = golden_read(f->archive, f->dtype, name);
}
static mica_var constant(file *f, const char *name) {
  return mica_input(f->t, hold(f, name));
}
/* `in.NAME`, whose gradient is `grad.NAME`. */
static mica_var leaf(file *f, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "in.%s", name);
  assert_true(f->n_leaves < LEAVES);
  f->leaf[f->n_leaves].name = name;
  return f->leaf[f->n_leaves++].v = mica_leaf(f->t, hold(f, path));
}

static void agrees(file *f, const char *name, mica_var got) {
  char what[160];
  if (!mica_ok(f->t)) fail_msg("%s: %s", mica_archive_path(f->archive), mica_tape_error(f->t));
  snprintf(what, sizeof what, "%s %s", mica_archive_path(f->archive), name);
  mica_tensor *want = golden_read(f->archive, MICA_F64, name);
  mica_var shaped = mica_reshape(f->t, got, *mica_tensor_shape(want));
  const mica_view v = mica_read(f->t, mica_cast(f->t, shaped, MICA_F64));
  double largest = 1;
  for (int64_t i = 0; i < mica_tensor_count(want); i++)
    largest = fmax(largest, fabs(mica_tensor_get(want, i)));
  assert_int_equal(mica_view_count(&v), mica_tensor_count(want));
  for (int64_t i = 0; i < mica_view_count(&v); i++) {
    const double x = ((const double *)v.data)[i], w = mica_tensor_get(want, i);
    if (!(fabs(x - w) <= f->bound * largest))
      fail_msg("%s, %s: element %lld is %.9g, not %.9g", what, mica_dtype_name(f->dtype),
               (long long)i, x, w);
  }
  mica_tensor_free(want);
}

/* Backward from y with the file's cotangent; gradients are `grad.PREFIXname`. */
static void gradients_agree(file *f, const char *prefix, mica_var y, mica_var cotangent) {
  if (mica_backward_from(f->t, y, cotangent) != MICA_OK)
    fail_msg("%s: %s", mica_archive_path(f->archive), mica_tape_error(f->t));
  for (int i = 0; i < f->n_leaves; i++) {
    char name[80];
    snprintf(name, sizeof name, "grad.%s%s", prefix, f->leaf[i].name);
    agrees(f, name, mica_gradient(f->t, f->leaf[i].v));
  }
}

static void start(file *f) {
  f->n_leaves = 0;
  assert_int_equal(mica_tape_create(engine, NULL, &f->t), MICA_OK);
}
static void end(file *f) {
  mica_tape_free(f->t);
  for (int i = 0; i < f->n_held; i++) mica_tensor_free(f->held[i]);
  f->n_held = 0;
}

/* [B,h,L,d] <-> [B,L,h,d]. */
static mica_var swapped(file *f, mica_var x) {
  return mica_transpose(f->t, x, 1, 2);
}
static mica_var ids(mica_tape *t, int64_t n, const int64_t *at) {
  const mica_view v = mica_view_of((void *)(uintptr_t)at, MICA_I64, MICA_SHAPE(n));
  return mica_constant(t, &v);
}
static int64_t dim(const file *f, mica_var x, int axis) {
  return mica_read(f->t, x).shape.dim[axis];
}

/* ---- softplus attention with re-weighting ---- */

static mica_var lssa(file *f, const mica_var qkv[3], mica_var v, bool reweighted) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  const double d = (double)dim(f, qkv[0], 3);
  o.map = MICA_ATTEND_SOFTPLUS;
  o.scale = log(d) / sqrt(d);
  o.log_length = true;
  o.causal = strcmp(text(f, "causal"), "True") == 0;
  o.power = reweighted ? number(f, "power") : 0;
  o.threshold = number(f, "offset");
  return swapped(f, mica_attention(f->t, swapped(f, qkv[0]), swapped(f, qkv[1]), swapped(f, v),
                                   MICA_NONE, &o, NULL));
}

/* Attention to the rows of an identity is the weights themselves. */
static mica_var identities(file *f, mica_var k) {
  const int64_t b = dim(f, k, 0), h = dim(f, k, 1), n = dim(f, k, 2);
  double *x = calloc((size_t)(b * h * n * n + 1), sizeof *x);
  assert_non_null(x);
  for (int64_t i = 0; i < b * h * n; i++) x[i * n + i % n] = 1;
  const mica_view v = mica_view_of(x, MICA_F64, MICA_SHAPE(b, h, n, n));
  mica_var out = mica_cast(f->t, mica_constant(f->t, &v), f->dtype);
  free(x);
  return out;
}

static void softplus_attention(file *f) {
  if (number(f, "power") > 10) f->bound = fmax(f->bound, 1e-4);
  for (int reweighted = 0; reweighted < 2; reweighted++) {
    start(f);
    const mica_var in[3] = {leaf(f, "q"), leaf(f, "k"), leaf(f, "v")};
    mica_var y = lssa(f, in, in[2], reweighted);
    agrees(f, reweighted ? "out.lssar" : "out.lssa", y);
    agrees(f, reweighted ? "out.lssar_weights" : "out.lssa_weights",
           lssa(f, in, identities(f, in[1]), reweighted));
    gradients_agree(f, reweighted ? "lssar." : "lssa.", y, constant(f, "in.cotangent"));
    end(f);
  }
}

/* ---- ring attention ---- */

typedef struct ring {
  mica_var q, k, v, segments;
  mica_attention_options o;
} ring;

/* Queries and keys of two ranges of positions. */
static mica_var part_of(file *f, const ring *r, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
                        mica_var *lse) {
  int64_t at[64];
  assert_true(q1 <= 64 && k1 <= 64);
  for (int64_t i = 0; i < 64; i++) at[i] = i;
  mica_attention_options o = r->o;
  o.query_positions = ids(f->t, q1 - q0, at + q0);
  o.key_positions = ids(f->t, k1 - k0, at + k0);
  o.query_segments = mica_slice(f->t, r->segments, 1, q0, q1);
  o.key_segments = mica_slice(f->t, r->segments, 1, k0, k1);
  return mica_attention(f->t, mica_slice(f->t, r->q, 1, q0, q1), mica_slice(f->t, r->k, 1, k0, k1),
                        mica_slice(f->t, r->v, 1, k0, k1), MICA_NONE, &o, lse);
}

/* The sums that one rank has after a step, from result and logarithm: numerator / denominator, and
 * maximum + ln denominator. Rows that saw nothing yet are told by their maximum. */
static void trace_agrees(file *f, int step, mica_var y, mica_var lse) {
  mica_tensor *part[3];
  const char *const names[3] = {"num", "den", "max"};
  for (int i = 0; i < 3; i++) {
    char name[64];
    snprintf(name, sizeof name, "out.rank_last_step%d_%s", step, names[i]);
    part[i] = golden_read(f->archive, MICA_F64, name);
  }
  const mica_view yv = mica_read(f->t, mica_cast(f->t, y, MICA_F64)),
                  lv = mica_read(f->t, mica_cast(f->t, lse, MICA_F64));
  const int64_t length = yv.shape.dim[1], heads = yv.shape.dim[2], d = yv.shape.dim[3];
  int64_t seen = 0;
  for (int64_t n = 0; n < yv.shape.dim[0] * length * heads; n++) {
    const int64_t h = n % heads, i = n / heads % length, b = n / heads / length;
    const int64_t at = (b * heads + h) * length + i;
    const double den = mica_tensor_get(part[1], at), top = mica_tensor_get(part[2], at);
    const double l = ((const double *)lv.data)[at];
    if (top < -1e29) {
      assert_true(isinf(l) && l < 0);
      continue;
    }
    seen++;
    assert_true(fabs(l - top - log(den)) <= f->bound * fmax(1, fabs(l)));
    for (int64_t c = 0; c < d; c++)
      assert_true(fabs(((const double *)yv.data)[n * d + c] -
                       mica_tensor_get(part[0], n * d + c) / den) <= f->bound * 4);
  }
  assert_true(seen > 0);
  for (int i = 0; i < 3; i++) mica_tensor_free(part[i]);
}

static void ring_attention(file *f) {
  start(f);
  ring r = {.o = MICA_ATTENTION_OPTIONS};
  r.q = leaf(f, "q"), r.k = leaf(f, "k"), r.v = leaf(f, "v");
  r.segments = mica_cast(f->t, constant(f, "in.segment_ids"), MICA_I64);
  r.o.causal = strcmp(text(f, "causal"), "True") == 0;
  r.o.block = (int64_t)number(f, "causal_block_size");
  const int64_t n = dim(f, r.q, 1), ranks = (int64_t)number(f, "ranks"), c = n / ranks;
  /* All at once, and as the ring does it: queries of a rank meet one block of keys after the
   * other, the own block first. */
  mica_var lse, whole = part_of(f, &r, 0, n, 0, n, &lse);
  agrees(f, "out.y", whole);
  agrees(f, "out.lse", lse);
  const bool traced = mica_archive_find(f->archive, "out.rank_last_step0_num") >= 0;
  mica_var y[8];
  assert_true(ranks <= 8);
  for (int64_t rank = 0; rank < ranks; rank++) {
    mica_var l;
    for (int64_t step = 0; step < ranks; step++) {
      const int64_t block = (rank - step + ranks) % ranks;
      mica_var part_l,
          part = part_of(f, &r, rank * c, (rank + 1) * c, block * c, (block + 1) * c, &part_l);
      if (step == 0)
        y[rank] = part, l = part_l;
      else
        y[rank] = mica_attention_merge(f->t, y[rank], l, part, part_l, &l);
      if (traced && rank == ranks - 1) trace_agrees(f, (int)step, y[rank], l);
    }
  }
  mica_var joined = mica_concat(f->t, (int)ranks, y, 1);
  agrees(f, "out.y", joined);
  gradients_agree(f, "", joined, constant(f, "in.cotangent"));
  end(f);
}

/* ---- HSTU ---- */

/* Positions as its mask has them: the rows of the context are one position, targets another; a row
 * sees what is strictly before it, and itself. The rows of the context also see the whole history:
 * they attend a second time, and take those results. */
static void hstu(file *f) {
  start(f);
  mica_var q = leaf(f, "q"), k = leaf(f, "k"), v = leaf(f, "v");
  mica_tensor *offsets = hold(f, "in.offsets"), *targets = hold(f, "in.num_targets");
  const int64_t *offset = mica_tensor_data(offsets), *target = mica_tensor_data(targets);
  const int64_t n = mica_tensor_count(targets), total = offset[n];
  const int64_t context = (int64_t)number(f, "contextual_seq_len");
  int64_t at[64], row[64], key[64], row_offset[16] = {0}, key_offset[16] = {0}, pick[64];
  int64_t rows = 0, keys = 0;
  assert_true(total <= 64 && n < 16);
  for (int64_t b = 0; b < n; b++) {
    const int64_t length = offset[b + 1] - offset[b], shift = context ? context - 1 : 0;
    const int64_t last = length - shift - target[b];
    for (int64_t i = 0; i < length; i++) {
      int64_t p = i - shift > 0 ? i - shift : 0;
      if (p > last) p = last;
      at[offset[b] + i] = p;
      pick[offset[b] + i] = offset[b] + i;
      if (context && p == 0) {
        pick[offset[b] + i] = total + rows;
        row[rows++] = offset[b] + i;
      }
      if (p < last) key[keys++] = offset[b] + i;
    }
    row_offset[b + 1] = rows;
    key_offset[b + 1] = keys;
  }
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.map = MICA_ATTEND_SILU;
  o.divisor = number(f, "N");
  o.scale = number(f, "alpha");
  mica_attention_options history = o;
  o.causal = o.strict = true;
  o.query_positions = o.key_positions = ids(f->t, total, at);
  if (number(f, "max_attn_len") > 0) o.left = (int64_t)number(f, "max_attn_len");
  mica_var y = mica_ragged_attention(f->t, q, k, v, MICA_NONE, mica_input(f->t, offsets), MICA_NONE,
                                     &o, NULL);
  if (context) {
    mica_var all = mica_ragged_attention(f->t, mica_gather_rows(f->t, q, ids(f->t, rows, row)),
                                         mica_gather_rows(f->t, k, ids(f->t, keys, key)),
                                         mica_gather_rows(f->t, v, ids(f->t, keys, key)), MICA_NONE,
                                         ids(f->t, n + 1, row_offset), ids(f->t, n + 1, key_offset),
                                         &history, NULL);
    y = mica_gather_rows(f->t, mica_concat(f->t, 2, (mica_var[]){y, all}, 0),
                         ids(f->t, total, pick));
  }
  agrees(f, "out.y", y);
  gradients_agree(f, "", y, constant(f, "in.cotangent"));
  end(f);
}

/* ---- LM-Infinite ---- */

/* x [B,L,h,d] turned by rotary angles of the given positions, halves paired. */
static mica_var rotated(file *f, mica_var x, double base, const double *position) {
  const int64_t n = dim(f, x, 1), half = dim(f, x, 3) / 2;
  double cosine[64 * 8], sine[64 * 8];
  assert_true(n <= 64 && half <= 8);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < half; j++) {
      const double angle = position[i] * pow(base, -(double)j / (double)half);
      cosine[i * half + j] = cos(angle);
      sine[i * half + j] = sin(angle);
    }
  const mica_view cv = mica_view_of(cosine, MICA_F64, MICA_SHAPE(n, 1, half));
  const mica_view sv = mica_view_of(sine, MICA_F64, MICA_SHAPE(n, 1, half));
  mica_var c = mica_cast(f->t, mica_constant(f->t, &cv), f->dtype);
  mica_var s = mica_cast(f->t, mica_constant(f->t, &sv), f->dtype);
  mica_var a = mica_slice(f->t, x, -1, 0, half), b = mica_slice(f->t, x, -1, half, 2 * half);
  return mica_concat(f->t, 2,
                     (mica_var[]){mica_sub(f->t, mica_mul(f->t, a, c), mica_mul(f->t, b, s)),
                                  mica_add(f->t, mica_mul(f->t, b, c), mica_mul(f->t, a, s))},
                     3);
}

/* Queries from `first` on: the window with its own distances, and beyond it the first keys, all at
 * the distance that is the limit. */
static mica_var lambda_attention(file *f, mica_var q, mica_var k, mica_var v, int64_t first) {
  const int64_t n = dim(f, k, 1), local = (int64_t)number(f, "local_branch");
  const double base = number(f, "rope_base"), limit = number(f, "limit_distance");
  int64_t global = (int64_t)number(f, "global_branch");
  double at[64], far[64];
  assert_true(n <= 64);
  for (int64_t i = 0; i < n; i++) {
    at[i] = (double)i;
    far[i] = fmin(limit, (double)(n - 1));
  }
  if (global > n) global = n;
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  o.left = local - 1;
  mica_var l[2], y[2];
  q = mica_slice(f->t, q, 1, first, n);
  y[0] = mica_attention(f->t, rotated(f, q, base, at + first), rotated(f, k, base, at), v,
                        MICA_NONE, &o, &l[0]);
  o.left = -1;
  o.offset = first - local;
  y[1] = mica_attention(f->t, rotated(f, q, base, far), mica_slice(f->t, k, 1, 0, global),
                        mica_slice(f->t, v, 1, 0, global), MICA_NONE, &o, &l[1]);
  return mica_attention_merge(f->t, y[0], l[0], y[1], l[1], NULL);
}

static void lm_infinite(file *f) {
  start(f);
  mica_var q = swapped(f, leaf(f, "q")), k = swapped(f, leaf(f, "k")), v = swapped(f, leaf(f, "v"));
  const int64_t n = dim(f, q, 1);
  double at[64];
  for (int64_t i = 0; i < 64; i++) at[i] = (double)i;
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = true;
  const double base = number(f, "rope_base");
  agrees(f, "out.vanilla",
         swapped(f, mica_attention(f->t, rotated(f, q, base, at), rotated(f, k, base, at), v,
                                   MICA_NONE, &o, NULL)));
  agrees(f, "out.decode_last", swapped(f, lambda_attention(f, q, k, v, n - 1)));
  mica_var y = swapped(f, lambda_attention(f, q, k, v, 0));
  agrees(f, "out.y", y);
  gradients_agree(f, "", y, constant(f, "in.cotangent"));
  end(f);
}

/* ---- HyperAttention ---- */

/* q, k, v [h,n,1,d], heads as a batch; bucket numbers [h,n]. */
typedef struct hyper {
  mica_var q, k, v;
  const int64_t *q_bucket, *k_bucket;
  int64_t heads, queries, keys;
} hyper;

/* The block of each of n tokens when they are sorted by bucket, stably. */
static void blocks_of(const int64_t *bucket, int64_t n, int64_t size, int64_t *block) {
  for (int64_t i = 0; i < n; i++) {
    int64_t rank = 0;
    for (int64_t j = 0; j < n; j++)
      rank += bucket[j] < bucket[i] || (bucket[j] == bucket[i] && j < i);
    block[i] = rank / size;
  }
}

/* A query sees the keys of its block, as segments, and keys that were drawn for its head. */
static mica_var hyper_full(file *f, const hyper *x, int *draws, mica_var *lse) {
  mica_tape *t = f->t;
  const int64_t size = (int64_t)number(f, "block_size"), h = x->heads, n = x->queries, m = x->keys;
  const bool once = strcmp(text(f, "mask_duplicates"), "True") == 0;
  int64_t q_block[128], k_block[128], drawn[64], number_of[64];
  assert_true(h * n <= 128 && h * m <= 128);
  for (int64_t i = 0; i < h; i++) {
    blocks_of(x->q_bucket + i * n, n, size, q_block + i * n);
    blocks_of(x->k_bucket + i * m, m, size, k_block + i * m);
  }
  const mica_view qv = mica_view_of(q_block, MICA_I64, MICA_SHAPE(h, n));
  const mica_view kv = mica_view_of(k_block, MICA_I64, MICA_SHAPE(h, m));
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.query_segments = mica_constant(t, &qv);
  o.key_segments = mica_constant(t, &kv);
  mica_var l[2], y = mica_attention(t, x->q, x->k, x->v, MICA_NONE, &o, &l[0]);

  char name[32];
  snprintf(name, sizeof name, "in.sampled_%d", (*draws)++);
  const mica_tensor *places = hold(f, name);
  const int64_t samples = mica_tensor_count(places) / h;
  assert_true(h * samples <= 64);
  double *bias = calloc((size_t)(h * n * samples), sizeof *bias);
  assert_non_null(bias);
  for (int64_t i = 0; i < h; i++)
    for (int64_t s = 0; s < samples; s++) {
      /* A place among the sorted keys of the head. */
      const int64_t place = (int64_t)mica_tensor_get(places, i * samples + s);
      for (int64_t j = 0; j < m; j++) {
        int64_t rank = 0;
        const int64_t *bucket = x->k_bucket + i * m;
        for (int64_t c = 0; c < m; c++)
          rank += bucket[c] < bucket[j] || (bucket[c] == bucket[j] && c < j);
        if (rank == place) number_of[i * samples + s] = j;
      }
      drawn[i * samples + s] = i * m + number_of[i * samples + s];
      for (int64_t j = 0; j < n; j++)
        if (once && q_block[i * n + j] == place / size)
          bias[(i * n + j) * samples + s] = (double)-INFINITY;
    }
  const mica_view bv = mica_view_of(bias, MICA_F64, MICA_SHAPE(h, 1, n, samples));
  mica_var hidden = mica_cast(t, mica_constant(t, &bv), f->dtype), part[2] = {x->k, x->v};
  free(bias);
  for (int i = 0; i < 2; i++) {
    const int64_t d = dim(f, part[i], 3);
    part[i] = mica_gather_rows(t, mica_reshape(t, part[i], MICA_SHAPE(h * m, d)),
                               ids(t, h * samples, drawn));
    part[i] = mica_reshape(t, part[i], MICA_SHAPE(h, samples, 1, d));
  }
  mica_var sampled = mica_attention(t, x->q, part[0], part[1], hidden, NULL, &l[1]);
  l[1] = mica_affine(t, l[1], 1, log((double)m / (double)samples));
  return mica_attention_merge(t, y, l[0], sampled, l[1], lse);
}

/* Causal: halves by themselves, then the second half to the whole of the first. */
static mica_var hyper_causal(file *f, const hyper *x, int *draws, mica_var *lse) {
  mica_tape *t = f->t;
  const int64_t h = x->heads, n = x->queries, half = n / 2, d = dim(f, x->q, 3),
                e = dim(f, x->v, 3);
  if (n <= (int64_t)number(f, "min_seq_len")) {
    mica_attention_options o = MICA_ATTENTION_OPTIONS;
    o.causal = true;
    return mica_attention(t, x->q, x->k, x->v, MICA_NONE, &o, lse);
  }
  hyper parts = *x;
  parts.heads = 2 * h;
  parts.queries = parts.keys = half;
  parts.q = mica_reshape(t, x->q, MICA_SHAPE(2 * h, half, 1, d));
  parts.k = mica_reshape(t, x->k, MICA_SHAPE(2 * h, half, 1, d));
  parts.v = mica_reshape(t, x->v, MICA_SHAPE(2 * h, half, 1, e));
  mica_var l, y = hyper_causal(f, &parts, draws, &l);
  int64_t q_bucket[128], k_bucket[128];
  assert_true(h * half <= 128);
  for (int64_t i = 0; i < h * half; i++) {
    const int64_t from = i / half * n + i % half;
    k_bucket[i] = x->k_bucket[from];
    q_bucket[i] = x->q_bucket[from + half];
  }
  const hyper across = {.q = mica_slice(t, x->q, 1, half, n),
                        .k = mica_slice(t, x->k, 1, 0, half),
                        .v = mica_slice(t, x->v, 1, 0, half),
                        .q_bucket = q_bucket,
                        .k_bucket = k_bucket,
                        .heads = h,
                        .queries = half,
                        .keys = half};
  mica_var part_l, part = hyper_full(f, &across, draws, &part_l);
  y = mica_reshape(t, y, MICA_SHAPE(h, n, 1, e));
  l = mica_reshape(t, l, MICA_SHAPE(h, 1, n)); /* one head each: halves lie one after the other */
  mica_var second = mica_attention_merge(t, mica_slice(t, y, 1, half, n),
                                         mica_slice(t, l, 2, half, n), part, part_l, &part_l);
  *lse = mica_concat(t, 2, (mica_var[]){mica_slice(t, l, 2, 0, half), part_l}, 2);
  return mica_concat(t, 2, (mica_var[]){mica_slice(t, y, 1, 0, half), second}, 1);
}

static void hyperattention(file *f) {
  start(f);
  const mica_var in[3] = {leaf(f, "q"), leaf(f, "k"), leaf(f, "v")};
  const bool causal = strcmp(text(f, "causal"), "True") == 0;
  hyper x = {.heads = dim(f, in[0], 1), .queries = dim(f, in[0], 2), .keys = dim(f, in[1], 2)};
  assert_int_equal(dim(f, in[0], 0), 1);
  mica_var *const to[3] = {&x.q, &x.k, &x.v};
  for (int i = 0; i < 3; i++)
    *to[i] = mica_reshape(f->t, in[i], MICA_SHAPE(x.heads, dim(f, in[i], 2), 1, dim(f, in[i], 3)));
  int64_t bucket[2][128];
  static const char *const names[2] = {"out.hash_q", "out.hash_k"};
  for (int i = 0; i < 2; i++) {
    const mica_tensor *hash = hold(f, names[i]);
    assert_true(mica_tensor_count(hash) <= 128);
    for (int64_t j = 0; j < mica_tensor_count(hash); j++)
      bucket[i][j] = (int64_t)mica_tensor_get(hash, j);
  }
  x.q_bucket = bucket[0];
  x.k_bucket = bucket[1];
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  o.causal = causal;
  agrees(f, "out.exact", mica_attention(f->t, x.q, x.k, x.v, MICA_NONE, &o, NULL));
  int draws = 0;
  mica_var l, y = causal ? hyper_causal(f, &x, &draws, &l) : hyper_full(f, &x, &draws, &l);
  agrees(f, "out.attn", y);
  agrees(f, "out.lse", l);
  y = mica_reshape(f->t, y, mica_read(f->t, in[2]).shape);
  gradients_agree(f, "", y, constant(f, "in.cotangent"));
  end(f);
}

/* ---- Kronecker attention ---- */

enum { SETS = 3 };

/* Softmax over all tuples of keys of sets 0 .. n - 1: one of the last after the other, as queries
 * and values times it. */
static mica_var over_tuples(file *f, int n, mica_var q, const mica_var *k, const mica_var *v,
                            mica_var times, mica_var *lse) {
  mica_tape *t = f->t;
  const int64_t d = dim(f, q, 1), e = dim(f, v[0], 1), queries = dim(f, q, 0);
  if (n == 1) {
    mica_attention_options o = MICA_ATTENTION_OPTIONS;
    o.scale = 1 / (double)d;
    const int64_t keys = dim(f, k[0], 0);
    mica_var values = mica_is_none(times) ? v[0] : mica_mul(t, v[0], times);
    return mica_attention(t, mica_reshape(t, q, MICA_SHAPE(1, queries, 1, d)),
                          mica_reshape(t, k[0], MICA_SHAPE(1, keys, 1, d)),
                          mica_reshape(t, values, MICA_SHAPE(1, keys, 1, e)), MICA_NONE, &o, lse);
  }
  mica_var y = MICA_NONE, l = MICA_NONE;
  for (int64_t i = 0; i < dim(f, k[n - 1], 0); i++) {
    mica_var key = mica_slice(t, k[n - 1], 0, i, i + 1),
             value = mica_slice(t, v[n - 1], 0, i, i + 1);
    mica_var product = mica_is_none(times) ? value : mica_mul(t, times, value), part_l;
    mica_var part = over_tuples(f, n - 1, mica_mul(t, q, key), k, v, product, &part_l);
    if (i == 0)
      y = part, l = part_l;
    else
      y = mica_attention_merge(t, y, l, part, part_l, &l);
  }
  *lse = l;
  return y;
}

static void kronecker_attention(file *f) {
  start(f);
  static const char *const keys[SETS] = {"k1", "k2", "k3"}, *const values[SETS] = {"v1", "v2",
                                                                                   "v3"};
  const int n = (int)number(f, "order") - 1;
  assert_true(n >= 1 && n <= SETS);
  mica_var q = leaf(f, "q"), k[SETS], v[SETS], lse;
  for (int i = 0; i < n; i++) k[i] = leaf(f, keys[i]), v[i] = leaf(f, values[i]);
  mica_var y = over_tuples(f, n, q, k, v, MICA_NONE, &lse);
  y = mica_reshape(f->t, y, MICA_SHAPE(dim(f, q, 0), dim(f, v[0], 1)));
  agrees(f, "out.y", y);
  agrees(f, "out.lse", lse);
  gradients_agree(f, "", y, constant(f, "in.cotangent"));
  end(f);
}

/* ---- the files ---- */

static void run(const char *name, void (*fn)(file *f)) {
  char path[128];
  snprintf(path, sizeof path, "tests/golden/attention/%s.safetensors", name);
  mica_archive *a = golden_open(path);
  file f = {.archive = a, .dtype = MICA_F64, .bound = 1e-5};
  fn(&f);
  f.dtype = MICA_F32;
  f.bound = 2e-5;
  fn(&f);
  mica_archive_close(a);
}

#define TEST(name, fn, ...)                                                                        \
  static void test_##name(void **state) {                                                          \
    (void)state;                                                                                   \
    static const char *const files[] = {__VA_ARGS__};                                              \
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) run(files[i], fn);                   \
  }
TEST(softplus, softplus_attention, "softplus/causal_p3", "softplus/causal_p15", "softplus/full_p2")
TEST(ring, ring_attention, "ring/causal_packed", "ring/full_no_segments", "ring/block_causal")
TEST(hstu, hstu, "hstu/attention_targets", "hstu/attention_window_ctx")
TEST(lm_infinite, lm_infinite, "lm_infinite/long", "lm_infinite/short", "lm_infinite/limit_differs")
TEST(hyperattention, hyperattention, "hyper/noncausal_masked", "hyper/noncausal_unmasked",
     "hyper/causal_masked")
TEST(kronecker, kronecker_attention, "kronecker/order3", "kronecker/order3_ragged",
     "kronecker/order4")

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_softplus),       cmocka_unit_test(test_ring),
      cmocka_unit_test(test_hstu),           cmocka_unit_test(test_lm_infinite),
      cmocka_unit_test(test_hyperattention), cmocka_unit_test(test_kronecker),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
