/* Vectors of ids from compressed tables against a plain one: DLRM's look-up, 26 fields with as many
 * ids as Criteo's have (at most 150,000), batches of 2048, an id of rank r as often as 1 / r.
 *
 *     build/bench/tables [THREADS [ROUNDS [METHOD...]]]
 *
 * For each method the plain table and the compressed one take turns; its line tells the share of
 * bytes, nanoseconds a vector of both, and the median of their ratios.
 */
#include <mica/mica.h>

#include "base/progress.h"
#include "numbers.h"

#include <string.h>

enum { FIELDS = 26, WIDTH = 16, BATCH = 2048, BATCHES = 16, ROUNDS = 101 };

static const int64_t criteo[FIELDS] = {
    1460, 583,   150000, 150000, 305,  24,   12517, 633,    3,  93145, 5683,   150000, 3194,
    27,   14992, 150000, 10,     5652, 2173, 4,     150000, 18, 15,    150000, 105,    142572};

static const char *const usual[] = {"hash:bytes=0.1",       "compositional:bytes=0.1",
                                    "tt:bytes=0.01",        "dhe:bytes=0.001:hashes=128",
                                    "robe:bytes=0.1",       "dedup:bytes=1",
                                    "dpq:bytes=0.1",        "mgqe:bytes=0.1",
                                    "adaptive:bytes=0.1",   "mde:bytes=0.1",
                                    "autodim:bytes=0.25",   "optembed:bytes=0.25",
                                    "deeplight:bytes=0.25", "deeplight:bytes=0.1",
                                    "int:bits=16",          "int:bits=8"};

static int64_t *ids[BATCHES];
static float *out;
static mica_engine *engine;

static mica_packed_embedding *make(const char *spec) {
  mica_params *params;
  mica_packed_embedding *packed;
  need(mica_params_create(engine, 1, &params));
  mica_node *node = mica_node_child(mica_params_root(params), "table");
  need(mica_embedding_init(node, spec, FIELDS, criteo, WIDTH));
  need(mica_embedding_decide(mica_embedding_at(node)));
  need(mica_embedding_export(mica_embedding_at(node), &packed));
  mica_params_free(params);
  return packed;
}

static double once(const mica_packed_embedding *p, int round) {
  const double begin = mica_seconds();
  need(mica_packed_embedding_lookup(p, engine, BATCH, ids[round % BATCHES], out));
  return (mica_seconds() - begin) / (BATCH * FIELDS) * 1e9;
}

static void compare(const mica_packed_embedding *plain, const char *spec, int rounds) {
  static double of_plain[ROUNDS], of_own[ROUNDS], ratio[ROUNDS];
  mica_packed_embedding *own = make(spec);
  mica_embedding_facts f;
  mica_packed_embedding_describe(own, &f);
  for (int i = 0; i < BATCHES; i++) once(own, i);
  for (int i = 0; i < rounds; i++) {
    of_plain[i] = once(plain, i);
    of_own[i] = once(own, i);
    ratio[i] = of_own[i] / of_plain[i];
  }
  printf("%-28s %8.4f %10.1f %10.1f %8.2f\n", spec, f.rate, median(of_plain, rounds),
         median(of_own, rounds), median(ratio, rounds));
  fflush(stdout);
  mica_packed_embedding_free(own);
}

int main(int argc, char **argv) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = argc > 1 ? atoi(argv[1]) : 1;
  int rounds = argc > 2 ? atoi(argv[2]) : 31;
  if (rounds < 1 || rounds > ROUNDS) rounds = 31;
  need(mica_engine_create(&o, &engine));
  out = mica_malloc((size_t)(BATCH * FIELDS * WIDTH) * sizeof *out);
  if (!out) need(MICA_ERR_MEMORY);
  for (int b = 0; b < BATCHES; b++) {
    const mica_key key = mica_key_seed((uint64_t)b + 1);
    ids[b] = mica_malloc((size_t)(BATCH * FIELDS) * sizeof **ids);
    if (!ids[b]) need(MICA_ERR_MEMORY);
    for (int64_t i = 0; i < BATCH * FIELDS; i++)
      ids[b][i] = (int64_t)exp(mica_random_uniform(key, (uint64_t)i) *
                               log((double)criteo[i % FIELDS] + 1)) -
                  1;
  }
  mica_packed_embedding *plain = make("full");
  printf("%-28s %8s %10s %10s %8s\n", "method", "share", "plain, ns", "own, ns", "ratio");
  const int given = argc > 3 ? argc - 3 : 0,
            n = given ? given : (int)(sizeof usual / sizeof *usual);
  for (int i = 0; i < n; i++) compare(plain, given ? argv[3 + i] : usual[i], rounds);
  mica_packed_embedding_free(plain);
  for (int b = 0; b < BATCHES; b++) mica_free(ids[b]);
  mica_free(out);
  mica_engine_free(engine);
  return 0;
}
