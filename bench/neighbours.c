/* Exact search for the ten nearest rows: 1000 queries in 10^5 rows of 128 numbers.
 *
 *     l2      by Euclidean distance
 *     inner   by inner product
 */
#include "bench.h"

#include <stdlib.h>

enum { ROWS = 100000, WIDTH = 128, QUERIES = 1000, NEAREST = 10 };

typedef struct search {
  mica_index *index;
  mica_tensor *queries;
  int64_t row[QUERIES * NEAREST];
  double score[QUERIES * NEAREST];
} search;

static void make(bench *b) {
  search *s = b->made = calloc(1, sizeof *s);
  const bool l2 = in_phase(b, "l2");
  if (!l2 && !in_phase(b, "inner")) no_phase(b);
  mica_tensor *rows = noise(MICA_SHAPE(ROWS, WIDTH), 1);
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_tensor_view(rows);
  need(mica_index_create(b->engine, l2 ? "exact:metric=l2" : "exact:metric=inner", &batch,
                         &s->index));
  mica_tensor_free(rows);
  s->queries = noise(MICA_SHAPE(b->batch ? b->batch : QUERIES, WIDTH), 2);
}

static void step(bench *b) {
  search *s = b->made;
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = NEAREST;
  const mica_view queries = mica_tensor_view(s->queries);
  need(mica_index_query(s->index, &queries, &o, s->row, s->score));
}

static void release(bench *b) {
  search *s = b->made;
  mica_index_free(s->index);
  mica_tensor_free(s->queries);
  free(s);
}

const workload neighbour_workloads[] = {
    {"neighbours", "the 10 nearest of 10^5 rows, 1000 queries", make, step, release, NULL}, {0}};
