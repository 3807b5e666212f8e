/* Keys and values of past tokens, head by head, and attention over them.
 *
 * Slot p holds token p for the first tokens, and the others take turns in the rest. Keys are stored
 * turned to their own positions, so that a step turns new keys only; the first tokens' are kept
 * unturned as well, because once tokens have been forgotten each step sees them from elsewhere.
 */
#include <mica/kv_cache.h>

#include <mica/op.h>

#include "autograd/ranges.h"
#include "autograd/rotary.h"
#include "tensor/kernel/attention.h"
#include "tensor/kernel/decode.h"
#include "tensor/kernel/library.h"
#include "tensor/kernel/rotary.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

typedef struct layer {
  char *path;
  mica_dtype dtype;
  int64_t batch, heads, dim, value_dim; /* heads: of keys and values */
  char *keys, *values;                  /* [batch, heads, length, dim] */
  char *first;                          /* unturned keys [batch, heads, sinks, dim] */
} layer;

struct mica_kv_cache {
  mica_engine *engine;
  mica_kv_cache_options o;
  int64_t seen;
  int64_t coming; /* tokens of the step that has not been counted yet */
  bool torn;      /* its layers were given different numbers of them */
  layer *layers;
  int64_t n_layers, next; /* the layer that is expected next */
};

mica_status mica_kv_cache_create(mica_engine *engine, const mica_kv_cache_options *options,
                                 mica_kv_cache **out) {
  *out = NULL;
  mica_kv_cache_options o = MICA_KV_CACHE_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (o.length < 1 || o.sinks < 0 || o.sinks >= o.length || o.distance < 0)
    return mica_fail(MICA_ERR_INVALID,
                     "kv cache: length %lld, sinks %lld, distance %lld, expected length >= 1, 0 <= "
                     "sinks < length and distance >= 0",
                     (long long)o.length, (long long)o.sinks, (long long)o.distance);
  mica_kv_cache *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  c->engine = engine;
  c->o = o;
  *out = c;
  return MICA_OK;
}

static void layer_free(layer *l) {
  mica_free(l->path);
  mica_free_aligned(l->keys);
  mica_free_aligned(l->values);
  mica_free_aligned(l->first);
}

void mica_kv_cache_free(mica_kv_cache *c) {
  if (!c) return;
  for (int64_t i = 0; i < c->n_layers; i++) layer_free(&c->layers[i]);
  mica_free(c->layers);
  mica_free(c);
}

void mica_kv_cache_clear(mica_kv_cache *c) {
  c->seen = c->coming = c->next = 0;
  c->torn = false;
}

int64_t mica_kv_cache_seen(const mica_kv_cache *c) {
  return c->seen;
}
int64_t mica_kv_cache_kept(const mica_kv_cache *c) {
  return c->seen < c->o.length ? c->seen : c->o.length;
}
int64_t mica_kv_cache_layers(const mica_kv_cache *c) {
  return c->n_layers;
}
const mica_kv_cache_options *mica_kv_cache_options_of(const mica_kv_cache *c) {
  return &c->o;
}

mica_status mica_kv_cache_advance(mica_kv_cache *c, mica_tape *t) {
  mica_status status = mica_tape_status(t);
  if (status == MICA_OK && c->torn)
    status = mica_fail(MICA_ERR_STATE, "kv cache: layers were given different numbers of tokens");
  if (status != MICA_OK) {
    mica_kv_cache_clear(c);
    return status;
  }
  c->seen += c->coming;
  c->coming = c->next = 0;
  return MICA_OK;
}

/* ---- the layer at a path ---- */

static mica_status layer_make(mica_kv_cache *c, const char *path, const layer *like, layer *l) {
  *l = *like;
  const int64_t rows = l->batch * l->heads;
  const size_t size = mica_dtype_size(l->dtype);
  int64_t keys, values;
  if (__builtin_mul_overflow(rows * c->o.length, l->dim, &keys) ||
      __builtin_mul_overflow(rows * c->o.length, l->value_dim, &values))
    return mica_fail(MICA_ERR_MEMORY, "kv cache: too large");
  l->path = mica_strdup(path);
  l->keys = mica_malloc_aligned((size_t)keys * size);
  l->values = mica_malloc_aligned((size_t)values * size);
  l->first = mica_malloc_aligned((size_t)(rows * c->o.sinks * l->dim) * size);
  if (l->path && l->keys && l->values && l->first) return MICA_OK;
  layer_free(l);
  return MICA_ERR_MEMORY;
}

static bool same_form(const layer *a, const layer *b) {
  return a->dtype == b->dtype && a->batch == b->batch && a->heads == b->heads && a->dim == b->dim &&
         a->value_dim == b->value_dim;
}

static mica_status layer_of(mica_kv_cache *c, const char *path, const layer *form, layer **out) {
  for (int64_t k = 0; k < c->n_layers; k++) {
    const int64_t i = (c->next + k) % c->n_layers;
    layer *l = &c->layers[i];
    if (strcmp(l->path, path) != 0) continue;
    c->next = i + 1;
    *out = l;
    if (same_form(l, form)) return MICA_OK;
    if (c->seen)
      return mica_fail(MICA_ERR_SHAPE, "the cache holds other heads, channels or rows for '%s'",
                       path);
    layer fresh;
    mica_status status = layer_make(c, path, form, &fresh);
    if (status != MICA_OK) return status;
    layer_free(l);
    *l = fresh;
    return MICA_OK;
  }
  if (c->seen) return mica_fail(MICA_ERR_STATE, "the cache holds tokens, but none for '%s'", path);
  layer *more = mica_realloc_array(c->layers, (size_t)c->n_layers + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  c->layers = more;
  *out = &c->layers[c->n_layers];
  mica_status status = layer_make(c, path, form, *out);
  if (status == MICA_OK) c->next = ++c->n_layers;
  return status;
}

/* ---- attention ---- */

/* Tokens whose turns are prepared together. */
enum { TOKENS_AT_ONCE = 64 };

typedef struct job {
  const mica_kv_cache *c;
  const layer *l;
  const mica_rotary_kernels *rotary;
  const mica_decode_kernels *decode;
  size_t size;
  int64_t group, turned;
  bool pairs, by_token;
  int64_t first, n;       /* tokens of the step that are worked on */
  const char *turns;      /* their rows [n, turned] */
  const char *sink_turns; /* [n, sinks, turned] */
  mica_view q, k, v;
  char *queries; /* turned [N,L,h,d] */
  char *out;     /* [N,L,h,dv] */
  atomic_bool failed;
} job;

static int64_t window_of(const mica_kv_cache *c) {
  return c->o.length - c->o.sinks;
}

/* The position, seen from p, of first token j; its own while it is near. */
static int64_t place_of(const mica_kv_cache *c, int64_t p, int64_t j) {
  if (p - j < window_of(c)) return j;
  if (c->o.distance) return p - c->o.distance;
  const int64_t within = c->o.length - 1 - j;
  return p - j < within ? j : p - within;
}

static char *at(const mica_view *v, size_t size, int64_t b, int64_t token, int64_t head) {
  const int64_t *d = v->shape.dim;
  return (char *)v->data + (size_t)(((b * d[1] + token) * d[2] + head) * v->row_stride) * size;
}

/* n rows to y; copied where there are no rotary positions. */
static void turn(const job *j, int64_t n, int64_t dim, const char *row, const char *x,
                 int64_t x_stride, char *y) {
  j->rotary->turn(n, dim, j->turned, j->pairs, false, row, x, x_stride, y, dim);
}

/* Put token i's key and value in their slot. */
static void store(const job *j, int64_t b, int64_t g, int64_t i) {
  const mica_kv_cache *c = j->c;
  const layer *l = j->l;
  const int64_t p = c->seen + i, sinks = c->o.sinks, head = b * l->heads + g;
  const int64_t slot = p < sinks ? p : sinks + (p - sinks) % window_of(c);
  const size_t row = (size_t)l->dim * j->size, value_row = (size_t)l->value_dim * j->size;
  const char *key = at(&j->k, j->size, b, i, g);
  if (p < sinks) memcpy(l->first + (size_t)(head * sinks + p) * row, key, row);
  turn(j, 1, l->dim, j->turns + (size_t)((i - j->first) * j->turned) * j->size, key, l->dim,
       l->keys + (size_t)(head * c->o.length + slot) * row);
  memcpy(l->values + (size_t)(head * c->o.length + slot) * value_row, at(&j->v, j->size, b, i, g),
         value_row);
}

/* Turn the first tokens' keys to where token i sees them. */
static void turn_sinks(const job *j, int64_t b, int64_t g, int64_t i) {
  const mica_kv_cache *c = j->c;
  const layer *l = j->l;
  const int64_t p = c->seen + i, sinks = c->o.sinks, head = b * l->heads + g;
  const size_t row = (size_t)l->dim * j->size;
  for (int64_t s = 0; s < sinks && s <= p; s++)
    turn(j, 1, l->dim, j->sink_turns + (size_t)(((i - j->first) * sinks + s) * j->turned) * j->size,
         l->first + (size_t)(head * sinks + s) * row, l->dim,
         l->keys + (size_t)(head * c->o.length + s) * row);
}

/* Token i's queries of key/value head g over what is kept. */
static void attend(const job *j, int64_t b, int64_t g, int64_t i, double scale, void *score) {
  const mica_kv_cache *c = j->c;
  const layer *l = j->l;
  const int64_t p = c->seen + i, head = b * l->heads + g, heads = l->heads * j->group;
  const int64_t token = b * j->q.shape.dim[1] + i;
  const size_t slots = (size_t)(head * c->o.length) * j->size;
  j->decode->attend(j->group, p < c->o.length ? p + 1 : c->o.length, l->dim, l->value_dim, scale,
                    j->queries + (size_t)((token * heads + g * j->group) * l->dim) * j->size,
                    l->keys + slots * (size_t)l->dim, l->values + slots * (size_t)l->value_dim,
                    j->out + (size_t)((token * heads + g * j->group) * l->value_dim) * j->size,
                    score);
}

typedef struct scaled_job {
  job *j;
  double scale;
} scaled_job;

/* Every batch row and key/value head by itself: tokens one after the other. */
static void heads_range(void *ctx, int64_t begin, int64_t end) {
  const scaled_job *s = ctx;
  job *j = s->j;
  const layer *l = j->l;
  void *score =
      j->by_token ? mica_workspace_acquire(j->c->engine, (size_t)j->c->o.length * j->size) : NULL;
  if (j->by_token && !score) {
    j->failed = true;
    return;
  }
  for (int64_t n = begin; n < end; n++) {
    const int64_t b = n / l->heads, g = n % l->heads, heads = l->heads * j->group;
    for (int64_t i = j->first; i < j->first + j->n; i++) {
      const int64_t token = b * j->q.shape.dim[1] + i;
      turn(j, j->group, l->dim, j->turns + (size_t)((i - j->first) * j->turned) * j->size,
           at(&j->q, j->size, b, i, g * j->group), j->q.row_stride,
           j->queries + (size_t)((token * heads + g * j->group) * l->dim) * j->size);
      store(j, b, g, i);
      if (!j->by_token) continue;
      if (j->sink_turns) turn_sinks(j, b, g, i);
      attend(j, b, g, i, s->scale, score);
    }
  }
  mica_workspace_release(j->c->engine, score);
}

/* All at once, while no token has to be forgotten or seen from elsewhere. */
static mica_status attend_together(const job *j, double scale) {
  const layer *l = j->l;
  const int64_t *d = j->q.shape.dim, length = j->c->o.length, heads = d[2];
  const mica_attention_args a = {
      .dtype = l->dtype,
      .batch = d[0],
      .heads = heads,
      .kv_heads = l->heads,
      .queries = d[1],
      .keys = j->c->seen + d[1],
      .dim = l->dim,
      .value_dim = l->value_dim,
      .scale = scale,
      .causal = true,
      .offset = j->c->seen,
      .q = {d[1] * heads * l->dim, heads * l->dim, l->dim},
      .k = {l->heads * length * l->dim, l->dim, length * l->dim},
      .v = {l->heads * length * l->value_dim, l->value_dim, length * l->value_dim},
      .out = {d[1] * heads * l->value_dim, heads * l->value_dim, l->value_dim}};
  return mica_attention_forward(j->c->engine, &a, j->queries, l->keys, l->values, j->out, NULL);
}

static void prepare_turns(job *j, const double *frequency, double factor, char *turns,
                          char *sink_turns) {
  const int64_t sinks = j->c->o.sinks;
  j->turns = turns;
  j->sink_turns = sink_turns;
  for (int64_t i = 0; i < j->n && j->turned; i++) {
    const int64_t p = j->c->seen + j->first + i;
    mica_rotary_row(j->turned, frequency, factor, (double)p, j->l->dtype,
                    turns + (size_t)(i * j->turned) * j->size);
    for (int64_t s = 0; s < sinks && sink_turns; s++)
      mica_rotary_row(j->turned, frequency, factor, (double)place_of(j->c, p, s), j->l->dtype,
                      sink_turns + (size_t)((i * sinks + s) * j->turned) * j->size);
  }
}

static const mica_op cached_op = {sizeof(mica_op), "cached_attention", MICA_OP_ROW_STRIDES, NULL};

mica_var mica_cached_attention(mica_tape *t, mica_kv_cache *c, mica_var q, mica_var k, mica_var v,
                               const mica_rotary_options *rotary, double scale) {
  if (mica_ok(t) && mica_is_recording(t) &&
      (mica_requires_grad(t, q) || mica_requires_grad(t, k) || mica_requires_grad(t, v)))
    return mica_latch(t, MICA_ERR_UNSUPPORTED,
                      "cached_attention: there is no gradient through a cache; run it between "
                      "mica_no_grad_begin and _end");
  mica_call call;
  if (!mica_call_begin(&call, t, &cached_op, 3, (mica_var[]){q, k, v})) return MICA_NONE;
  const mica_view *qv = &call.in[0], *kv = &call.in[1], *vv = &call.in[2];
  const int64_t *qd = qv->shape.dim, *kd = kv->shape.dim, *vd = vv->shape.dim;
  if (qv->shape.rank != 4 || kv->shape.rank != 4 || vv->shape.rank != 4 || !mica_is_float(qv) ||
      kv->dtype != qv->dtype || vv->dtype != qv->dtype || qd[0] != kd[0] || qd[0] != vd[0] ||
      qd[1] != kd[1] || qd[1] != vd[1] || kd[2] != vd[2] || !kd[2] || qd[2] % kd[2] ||
      qd[3] != kd[3])
    return mica_call_fail(&call, MICA_ERR_SHAPE,
                          "expected q [N,L,h,d], k [N,L,g,d], v [N,L,g,dv] of one float type:");
  const int64_t tokens = qd[1], sinks = c->o.sinks;
  if (c->coming && c->coming != tokens) c->torn = true;
  c->coming = tokens;
  const layer form = {
      .dtype = qv->dtype, .batch = qd[0], .heads = kd[2], .dim = qd[3], .value_dim = vd[3]};
  layer *l = NULL;
  if (layer_of(c, mica_tape_path(t), &form, &l) != MICA_OK)
    return mica_call_fail(&call, mica_last_status(), "%s:", mica_last_error());
  const mica_rotary_options r = mica_rotary_options_of(rotary);
  const mica_kernels *kernels = mica_kernels_of(c->engine, qv->dtype);
  job j = {.c = c,
           .l = l,
           .rotary = kernels->rotary,
           .decode = kernels->decode,
           .size = mica_dtype_size(qv->dtype),
           .group = qd[2] / kd[2],
           .turned = rotary ? mica_rotary_turned(&r, qd[3]) : 0,
           .pairs = r.layout == MICA_ROTARY_PAIRS,
           .by_token =
               tokens == 1 || c->seen + tokens > (rotary && sinks ? window_of(c) : c->o.length),
           .q = *qv,
           .k = *kv,
           .v = *vv};
  const mica_view *y = mica_call_output(&call, qv->dtype, MICA_SHAPE(qd[0], tokens, qd[2], vd[3]));
  const bool sinks_turn = j.turned && sinks && c->seen + tokens > window_of(c);
  double *frequency = mica_call_scratch(&call, (size_t)(qd[3] / 2 + 1) * sizeof *frequency);
  char *turns = mica_call_scratch(&call, (size_t)(TOKENS_AT_ONCE * qd[3] + 1) * j.size);
  char *sink_turns =
      sinks_turn ? mica_call_scratch(&call, (size_t)(TOKENS_AT_ONCE * sinks * qd[3] + 1) * j.size)
                 : NULL;
  j.queries = mica_call_scratch(&call, (size_t)(mica_view_count(qv) + 1) * j.size);
  if (!mica_ok(t)) return mica_call_end(&call);
  j.out = y->data;
  double factor = 1;
  if (rotary && mica_rotary_frequencies(&r, qd[3], frequency, &factor) != MICA_OK)
    return mica_call_fail(&call, mica_last_status(), "%s:", mica_last_error());
  scaled_job s = {&j, scale != 0 ? scale : 1 / sqrt((double)(qd[3] ? qd[3] : 1))};
  for (j.first = 0; j.first < tokens && !j.failed; j.first += j.n) {
    j.n = tokens - j.first < TOKENS_AT_ONCE ? tokens - j.first : TOKENS_AT_ONCE;
    prepare_turns(&j, frequency, factor, turns, sink_turns);
    mica_parallel_for(c->engine, qd[0] * kd[2], heads_range, &s);
  }
  mica_status status =
      j.failed ? MICA_ERR_MEMORY : (j.by_token || !tokens ? MICA_OK : attend_together(&j, s.scale));
  if (status != MICA_OK) return mica_call_fail(&call, status, "%s", mica_last_error());
  return mica_call_end(&call);
}
