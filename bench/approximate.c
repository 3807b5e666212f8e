/* Approximate neighbours: 1000 questions for the ten nearest of 50,000 rows of 64 numbers, each
 * side with the least effort that finds 95 % of them; building; training a quantiser.
 *
 *     hnsw, ivfpq              questions, all at once
 *     hnsw-one, ivfpq-one      100 of them, one at a time
 *     hnsw-build, ivfpq-build  an index of the rows
 *     pq-train                 16 parts of 256 words, 25 steps of k-means on 16,384 rows
 *
 * bench/peer/approximate.py makes rows of the same distribution: 200 clusters near a plane of 16
 * dimensions.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 50000, WIDTH = 64, QUERIES = 1000, NEAREST = 10, SAMPLE = 16384, PLANE = 16 };

typedef struct work {
  float *x; /* [ROWS + QUERIES, WIDTH] */
  const char *spec;
  mica_index *index;
  int64_t effort, at_once, asked;
  int64_t row[QUERIES * NEAREST], truth[QUERIES * NEAREST];
  double score[QUERIES * NEAREST];
} work;

/* Without arrays beside them, as memory is compared. */
static float *make_rows(void) {
  const mica_key key = mica_key_seed(1), own = mica_key_fold(key, 1), off = mica_key_fold(key, 2);
  float plane[PLANE][WIDTH], centre[200][PLANE];
  for (int i = 0; i < PLANE * WIDTH; i++)
    plane[i / WIDTH][i % WIDTH] = (float)mica_random_normal(mica_key_fold(key, 3), (uint64_t)i);
  for (int i = 0; i < 200 * PLANE; i++)
    centre[i / PLANE][i % PLANE] = (float)mica_random_normal(mica_key_fold(key, 4), (uint64_t)i);
  float *x = malloc((size_t)(ROWS + QUERIES) * WIDTH * sizeof *x);
  for (int64_t i = 0; i < ROWS + QUERIES; i++) {
    const float *c = centre[mica_random_below(mica_key_fold(key, 5), (uint64_t)i, 200)];
    float *to = x + i * WIDTH;
    for (int j = 0; j < WIDTH; j++)
      to[j] = 0.3f * (float)mica_random_normal(off, (uint64_t)(i * WIDTH + j));
    for (int k = 0; k < PLANE; k++) {
      const float v = 1.5f * c[k] + (float)mica_random_normal(own, (uint64_t)(i * PLANE + k));
      for (int j = 0; j < WIDTH; j++) to[j] += v * plane[k][j];
    }
  }
  return x;
}

static void build(bench *b, work *w) {
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(w->x, MICA_F32, MICA_SHAPE(ROWS, WIDTH));
  mica_index_free(w->index);
  need(mica_index_create(b->engine, w->spec, &batch, &w->index));
}

static void ask(work *w, int64_t from, int64_t n, int32_t exact, int64_t *row) {
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  const mica_view x = mica_view_of(w->x + (ROWS + from) * WIDTH, MICA_F32, MICA_SHAPE(n, WIDTH));
  o.k = NEAREST;
  o.effort = w->effort;
  o.exact = exact;
  need(mica_index_query(w->index, &x, &o, row, w->score));
}

static double recall(const work *w) {
  int64_t hits = 0;
  for (int64_t q = 0; q < QUERIES; q++)
    for (int i = 0; i < NEAREST; i++)
      for (int j = 0; j < NEAREST; j++)
        hits += w->row[q * NEAREST + i] == w->truth[q * NEAREST + j];
  return (double)hits / (QUERIES * NEAREST);
}

static void find_effort(work *w) {
  ask(w, 0, QUERIES, 1, w->truth);
  for (w->effort = 1; w->effort < 4096; w->effort += 1 + w->effort / 8) {
    ask(w, 0, QUERIES, 0, w->row);
    if (recall(w) >= 0.95) return;
  }
}

static bool begins(const bench *b, const char *name) {
  return strncmp(b->phase, name, strlen(name)) == 0;
}

static void make(bench *b) {
  work *w = b->made = calloc(1, sizeof *w);
  w->x = make_rows();
  w->spec = begins(b, "hnsw") ? "hnsw:metric=l2:links=16:build=128"
                              : "ivf:metric=l2:lists=894:codes=pq:parts=16:rerank=100";
  if (!begins(b, "hnsw") && !begins(b, "ivfpq") && !in_phase(b, "pq-train")) no_phase(b);
  if (strstr(b->phase, "-build") || in_phase(b, "pq-train")) return;
  build(b, w);
  find_effort(w);
  w->asked = strstr(b->phase, "-one") ? 100 : QUERIES;
  w->at_once = strstr(b->phase, "-one") ? 1 : QUERIES;
}

static void step(bench *b) {
  work *w = b->made;
  if (strstr(b->phase, "-build")) {
    build(b, w);
  } else if (in_phase(b, "pq-train")) {
    mica_quantiser *q;
    mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
    o.parts = 16;
    o.sample = SAMPLE;
    const mica_view x = mica_view_of(w->x, MICA_F32, MICA_SHAPE(SAMPLE, WIDTH));
    need(mica_quantiser_fit(b->engine, &x, &o, &q));
    mica_quantiser_free(q);
  } else {
    for (int64_t i = 0; i < w->asked; i += w->at_once) ask(w, i, w->at_once, 0, w->row);
  }
}

static void release(bench *b) {
  work *w = b->made;
  mica_index_free(w->index);
  free(w->x);
  free(w);
}

const workload approximate_workloads[] = {
    {"approximate", "95 % of the 10 nearest of 50,000 rows", make, step, release, NULL}, {0}};
