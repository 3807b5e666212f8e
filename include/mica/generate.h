/* mica/generate.h: tokens one after another from a language model.
 *
 *     mica_generator_options o = MICA_GENERATOR_OPTIONS;
 *     o.sampling.temperature = 0.8;
 *     mica_generator_create(net, &o, &g);
 *     mica_generator_feed(g, n, prompt);
 *     while (... && mica_generator_next(g, &token) == MICA_OK) ...
 *
 * A generator keeps what its network has seen (mica/kv_cache.h), so a token costs one step on one
 * token, and allocates nothing once it is warm. The network is only read: any number of generators
 * may use it at once, each in one thread.
 */
#ifndef MICA_GENERATE_H
#define MICA_GENERATE_H

#include <mica/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the next token is drawn. The steps are taken in this order. */
typedef struct mica_sampling {
  double repetition;  /* 1 or more: a logit of a token that came before is divided by this where it
                         is positive and multiplied where it is not (Keskar et al. 2019) */
  double temperature; /* logits are divided by it; 0: always the most likely token */
  int64_t top_k;      /* only the k most likely tokens; 0: all */
  double top_p;  /* of those, only the fewest whose probabilities reach p (Holtzman et al. 2020);
                    1: all */
  uint64_t seed; /* token number i of a text is a function of it, i and the logits */
} mica_sampling;

typedef struct mica_generator_options {
  uint32_t size;
  mica_sampling sampling;
  int64_t length; /* tokens kept at most; 0: the network's own length */
  int64_t sinks;  /* rotary positions: first tokens that are kept when the text grows beyond */
} mica_generator_options;
#define MICA_GENERATOR_OPTIONS                                                                     \
  { sizeof(mica_generator_options), {1, 1, 0, 1, 0}, 0, 4 }

typedef struct mica_generator mica_generator;

/* The network reads tokens and gives logits for each (gpt without classes), and must outlive the
 * generator. MICA_ERR_INVALID for options out of range, MICA_ERR_UNSUPPORTED for another network.
 */
MICA_API mica_status mica_generator_create(const mica_net *net,
                                           const mica_generator_options *options,
                                           mica_generator **out);
MICA_API void mica_generator_free(mica_generator *g);
/* Another way of drawing from here on; checked as at creation. */
MICA_API mica_status mica_generator_set_sampling(mica_generator *g, const mica_sampling *sampling);

/* Let the network read n >= 1 tokens: a prompt, or what comes between. A token outside the
 * vocabulary is MICA_ERR_INVALID; after an error the text is empty. */
MICA_API mica_status mica_generator_feed(mica_generator *g, int64_t n, const int64_t *tokens);
/* Draw the token that follows; the network reads it when the next one is asked for. MICA_ERR_STATE
 * before anything was fed, MICA_ERR_NUMERIC where the network's logits are not numbers.
 *
 * A text longer than `length`: a network of rotary positions goes on with the first `sinks` and the
 * most recent tokens; one of learned positions reads the most recent half again, as a new text. */
MICA_API mica_status mica_generator_next(mica_generator *g, int64_t *token);
/* The logits of what follows, [vocabulary], as the network gave them; valid until the next call.
 * NULL before anything was fed, and where the network fails: then with a last error. */
MICA_API const float *mica_generator_logits(mica_generator *g);
/* Tokens that the network has read since the text began, and beginning anew. */
MICA_API int64_t mica_generator_count(const mica_generator *g);
MICA_API void mica_generator_clear(mica_generator *g);

#ifdef __cplusplus
}
#endif
#endif
