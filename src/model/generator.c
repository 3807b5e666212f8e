/* Tokens one after another: a network, a cache, a tape, and how to draw. */
#include "model/sample.h"

#include <mica/kv_cache.h>

#include <string.h>

/* Tokens of a prompt that are read at once. */
enum { PIECE = 512 };

struct mica_generator {
  const mica_net *net;
  mica_tape *tape;
  mica_kv_cache *cache;
  mica_sampling sampling;
  int64_t vocabulary, length, count;
  bool streams;    /* positions may go on for ever */
  int64_t *recent; /* [length] the last tokens, by number modulo length */
  int64_t *again;  /* [length] those that are read again */
  uint8_t *came;   /* [vocabulary] */
  mica_candidate *candidates;
  const float *logits; /* on the tape; NULL: to be computed from `pending` */
  int64_t pending;     /* a token that was drawn and not read yet; -1: none */
};

static bool is_gpt(const mica_net *net) {
  return strcmp(mica_net_component(net)->name, "gpt") == 0;
}

/* A network whose positions are rotary can go on for ever. */
static bool streams(const mica_net *net) {
  return is_gpt(net) && !mica_params_find(mica_net_params(net), "wpe.weight");
}

mica_status mica_generator_create(const mica_net *net, const mica_generator_options *options,
                                  mica_generator **out) {
  *out = NULL;
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  const mica_problem *task = mica_net_problem(net);
  if (!is_gpt(net) || task->classes)
    return mica_fail(MICA_ERR_UNSUPPORTED, "model %s%s gives no tokens, expected a language model",
                     mica_net_component(net)->name, task->classes ? " with classes" : "");
  mica_status status = mica_sampling_check(&o.sampling);
  if (status != MICA_OK) return status;
  const bool stream = streams(net);
  const int64_t length = o.length ? o.length : task->length;
  if (length < 1 || (!stream && length > task->length))
    return mica_fail(MICA_ERR_INVALID, "generator: length %lld, expected 1 to %lld",
                     (long long)length, (long long)task->length);
  if (o.sinks < 0)
    return mica_fail(MICA_ERR_INVALID, "generator: %lld sinks, expected 0 or more",
                     (long long)o.sinks);
  mica_generator *g = mica_calloc(1, sizeof *g);
  if (!g) return MICA_ERR_MEMORY;
  g->net = net;
  g->sampling = o.sampling;
  g->vocabulary = task->vocabulary;
  g->length = length;
  g->streams = stream;
  g->pending = -1;
  mica_kv_cache_options c = MICA_KV_CACHE_OPTIONS;
  c.length = length;
  c.sinks = stream ? (o.sinks < length ? o.sinks : length - 1) : 0;
  mica_engine *engine = mica_params_engine(mica_net_params(net));
  g->recent = mica_calloc((size_t)length, sizeof *g->recent);
  g->again = mica_calloc((size_t)length, sizeof *g->again);
  g->came = mica_calloc((size_t)g->vocabulary, 1);
  g->candidates = mica_calloc((size_t)g->vocabulary, sizeof *g->candidates);
  status = g->recent && g->again && g->came && g->candidates ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &g->tape);
  if (status == MICA_OK) status = mica_kv_cache_create(engine, &c, &g->cache);
  if (status != MICA_OK) {
    mica_generator_free(g);
    return status;
  }
  *out = g;
  return MICA_OK;
}

void mica_generator_free(mica_generator *g) {
  if (!g) return;
  mica_kv_cache_free(g->cache);
  mica_tape_free(g->tape);
  mica_free(g->recent);
  mica_free(g->again);
  mica_free(g->came);
  mica_free(g->candidates);
  mica_free(g);
}

mica_status mica_generator_set_sampling(mica_generator *g, const mica_sampling *sampling) {
  mica_status status = mica_sampling_check(sampling);
  if (status == MICA_OK) g->sampling = *sampling;
  return status;
}

int64_t mica_generator_count(const mica_generator *g) {
  return g->count;
}

void mica_generator_clear(mica_generator *g) {
  mica_kv_cache_clear(g->cache);
  memset(g->came, 0, (size_t)g->vocabulary);
  g->count = 0;
  g->logits = NULL;
  g->pending = -1;
}

/* One forward over at most PIECE tokens. */
static mica_status step(mica_generator *g, int64_t n, const int64_t *tokens) {
  mica_tape *t = g->tape;
  mica_inputs in = {MICA_NONE, MICA_NONE, MICA_NONE};
  mica_outputs out;
  g->logits = NULL;
  mica_tape_reset(t);
  mica_no_grad_begin(t);
  mica_set_cache(t, g->cache);
  const mica_view view = mica_view_of((void *)(uintptr_t)tokens, MICA_I64, MICA_SHAPE(1, n));
  in.tokens = mica_borrow(t, &view);
  mica_net_forward_inputs(t, g->net, &in, &out);
  const mica_view logits = mica_read(t, out.logits);
  mica_status status = mica_kv_cache_advance(g->cache, t);
  if (status == MICA_OK) g->logits = logits.data;
  return status;
}

/* Read tokens; the cache of learned positions is filled anew where it is full. */
static mica_status read(mica_generator *g, int64_t n, const int64_t *tokens) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK;) {
    const int64_t room = g->length - mica_kv_cache_seen(g->cache);
    int64_t piece = n - i < PIECE ? n - i : PIECE;
    if (!g->streams && !room) {
      const int64_t half = g->length / 2;
      mica_kv_cache_clear(g->cache);
      for (int64_t k = 0; k < half; k++) g->again[k] = g->recent[(g->count - half + k) % g->length];
      for (int64_t k = 0; k < half && status == MICA_OK; k += PIECE)
        status = step(g, half - k < PIECE ? half - k : PIECE, g->again + k);
      continue;
    }
    if (!g->streams && piece > room) piece = room;
    status = step(g, piece, tokens + i);
    for (int64_t k = 0; k < piece; k++, g->count++) {
      g->recent[g->count % g->length] = tokens[i + k];
      g->came[tokens[i + k]] = 1;
    }
    i += piece;
  }
  if (status != MICA_OK) mica_generator_clear(g);
  return status;
}

static mica_status settle(mica_generator *g) {
  if (g->pending < 0) return MICA_OK;
  const int64_t token = g->pending;
  g->pending = -1;
  return read(g, 1, &token);
}

mica_status mica_generator_feed(mica_generator *g, int64_t n, const int64_t *tokens) {
  if (n < 1)
    return mica_fail(MICA_ERR_INVALID, "generator: %lld tokens, expected 1 or more", (long long)n);
  for (int64_t i = 0; i < n; i++)
    if (tokens[i] < 0 || tokens[i] >= g->vocabulary) {
      mica_generator_clear(g);
      return mica_fail(MICA_ERR_INVALID, "generator: token %lld at place %lld, expected 0 to %lld",
                       (long long)tokens[i], (long long)i, (long long)g->vocabulary - 1);
    }
  mica_status status = settle(g);
  return status == MICA_OK ? read(g, n, tokens) : status;
}

const float *mica_generator_logits(mica_generator *g) {
  return settle(g) == MICA_OK ? g->logits : NULL;
}

mica_status mica_generator_next(mica_generator *g, int64_t *token) {
  mica_status status = settle(g);
  if (status != MICA_OK) return status;
  if (!g->logits) return mica_fail(MICA_ERR_STATE, "generator: nothing was fed yet");
  status = mica_sample(&g->sampling, g->vocabulary, g->logits, g->came, (uint64_t)g->count,
                       g->candidates, token);
  if (status == MICA_OK) g->pending = *token;
  return status;
}
