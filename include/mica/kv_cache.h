/* mica/kv_cache.h: keys and values of past tokens, kept between the steps of a decoder.
 *
 * A cache on the tape (mica_set_cache) makes attention layers that know caches read what came
 * before from it, so that a step computes new tokens only. It keeps the first `sinks` tokens and
 * the most recent ones, `length` in all; what lies between is forgotten, so memory and the time of
 * a token stay bounded however long the text becomes (Xiao et al. 2023, StreamingLLM; Han et al.
 * 2023, LM-Infinite). While nothing has been forgotten the results are those without a cache.
 *
 *     mica_tape_reset(t);
 *     mica_no_grad_begin(t);
 *     mica_set_cache(t, cache);
 *     mica_net_forward(t, net, tokens, &out);
 *     if (mica_kv_cache_advance(cache, t) != MICA_OK) ...
 *
 * There is no gradient through a cache. One thread uses it at a time. mica/generate.h does all
 * this.
 */
#ifndef MICA_KV_CACHE_H
#define MICA_KV_CACHE_H

#include <mica/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_kv_cache mica_kv_cache;

typedef struct mica_kv_cache_options {
  uint32_t size;
  int64_t length; /* the most tokens kept, 1 or more */
  int64_t sinks;  /* the first tokens that are never forgotten, below `length` */
  /* Rotary positions: a token at position p sees the last w = length - sinks ones, itself among
   * them, at their true distance, and first token j beyond those at distance `distance`
   * (LM-Infinite's limit, usually w). 0: as if nothing lay between, at length - 1 - j or its true
   * distance, whichever is less (StreamingLLM's positions inside the cache). */
  int64_t distance;
  bool all_logits; /* language models give logits for each new token, not for the last alone */
} mica_kv_cache_options;
#define MICA_KV_CACHE_OPTIONS                                                                      \
  { sizeof(mica_kv_cache_options), 1024, 0, 0, false }

/* An empty cache. A layer's memory is taken when it first comes, for as many rows as its batch has
 * then; the engine must outlive the cache. */
MICA_API mica_status mica_kv_cache_create(mica_engine *engine, const mica_kv_cache_options *options,
                                          mica_kv_cache **out);
MICA_API void mica_kv_cache_free(mica_kv_cache *cache);
/* Forget all tokens and keep the memory. */
MICA_API void mica_kv_cache_clear(mica_kv_cache *cache);
/* Tokens seen since the last clear, which is the position of the next one; and those still kept. */
MICA_API int64_t mica_kv_cache_seen(const mica_kv_cache *cache);
MICA_API int64_t mica_kv_cache_kept(const mica_kv_cache *cache);
/* The layers that have used the cache, and its options. */
MICA_API int64_t mica_kv_cache_layers(const mica_kv_cache *cache);
MICA_API const mica_kv_cache_options *mica_kv_cache_options_of(const mica_kv_cache *cache);
/* After a forward: its tokens are now seen. Where the tape is latched the cache is cleared, because
 * some layers may have forgotten tokens, and its status is returned. MICA_ERR_STATE when the layers
 * were given different numbers of tokens. */
MICA_API mica_status mica_kv_cache_advance(mica_kv_cache *cache, mica_tape *t);

/* Causal attention of new tokens to themselves and to what the cache holds for the layer at the
 * tape's path: q [N,L,h,d], k [N,L,g,d], v [N,L,g,dv], not turned yet -> [N,L,h,dv]. `rotary` NULL:
 * none; its offset is not used, positions go on from those seen. scale 0: 1 / sqrt(d). */
MICA_API mica_var mica_cached_attention(mica_tape *t, mica_kv_cache *cache, mica_var q, mica_var k,
                                        mica_var v, const mica_rotary_options *rotary,
                                        double scale);

#ifdef __cplusplus
}
#endif
#endif
