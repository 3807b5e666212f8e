/* A decoder writes 200 bytes, one after another, after a prompt of 32. */
#include "bench.h"

#include <stdlib.h>

enum { BYTES = 256, LENGTH = 256, PROMPT = 32, GENERATED = 200 };

typedef struct writer {
  mica_net *net;
  mica_generator *generator;
} writer;

static void make(bench *b) {
  const mica_problem problem = MICA_PROBLEM_TOKENS(BYTES, LENGTH, 0);
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  writer *w = b->made = calloc(1, sizeof *w);
  o.sampling.temperature = 0;
  if (!in_phase(b, "generate")) no_phase(b);
  need(mica_net_create(b->engine, "gpt:dim=384:depth=6:heads=6", &problem, 1, &w->net));
  need(mica_generator_create(w->net, &o, &w->generator));
}

static void step(bench *b) {
  writer *w = b->made;
  int64_t prompt[PROMPT], token;
  for (int i = 0; i < PROMPT; i++) prompt[i] = i;
  mica_generator_clear(w->generator);
  need(mica_generator_feed(w->generator, PROMPT, prompt));
  for (int i = 0; i < GENERATED; i++) need(mica_generator_next(w->generator, &token));
  if (!mica_generator_logits(w->generator)) need(mica_last_status());
}

static void release(bench *b) {
  writer *w = b->made;
  mica_generator_free(w->generator);
  mica_net_free(w->net);
  free(w);
}

const workload generation_workloads[] = {
    {"gpt", "a decoder of bytes, 6 layers of 384, writes 200", make, step, release, NULL}, {0}};
