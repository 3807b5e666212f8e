/* AdaptEmb: the most frequent ids have rows of their own, all others share the rest by a hash. */
#include "embedding/table.h"

#include <math.h>

typedef struct adaptive_options {
  uint32_t size;
  double bytes, frequent;
} adaptive_options;

typedef struct adaptive_plan {
  int64_t frequent, shared;
} adaptive_plan;

enum { SEED = 17 };

static mica_status adaptive_init(mica_embedding_table *e) {
  const adaptive_options *o = e->options;
  const int64_t each = 4 * e->width;
  /* Rows of their own take half of the bytes at most. */
  int64_t m = (int64_t)floor(fmin(o->frequent, e->rate / 2) * (double)e->rows);
  if (m < 1) m = 1;
  const int64_t shared = (e->budget - m * (each + 4)) / each;
  if (shared < 1) return mica_embedding_too_small(e, (m + 1) * each + 4 * m);
  adaptive_plan *plan = e->plan = mica_calloc(1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  *plan = (adaptive_plan){m, shared};
  mica_param *q;
  mica_status status = mica_embedding_weight(e, "weight", MICA_SHAPE(m + shared, e->width), NULL);
  if (status == MICA_OK) status = mica_embedding_buffer(e, "frequent", MICA_I32, MICA_SHAPE(m), &q);
  return status == MICA_OK ? mica_embedding_frequent(e, NULL, m, mica_param_write(q)) : status;
}

static mica_status adaptive_counts(mica_embedding_table *e, const int64_t *count) {
  const adaptive_plan *plan = e->plan;
  return mica_embedding_frequent(e, count, plan->frequent,
                                 mica_param_write(mica_node_param(e->node, "frequent")));
}

static int64_t own_or_shared(const mica_embedding_table *e, int64_t field, int64_t id) {
  const adaptive_plan *plan = e->plan;
  const int64_t row = e->offset[field] + id;
  const int64_t at =
      mica_embedding_find(mica_tensor_data(mica_param_value(mica_node_param(e->node, "frequent"))),
                          plan->frequent, row);
  if (at >= 0) return at;
  return plan->frequent + (int64_t)(mica_hash64(&row, sizeof row, SEED) % (uint64_t)plan->shared);
}

static mica_var adaptive_lookup(mica_tape *t, const mica_embedding_table *e,
                                const mica_embedding_batch *b) {
  return mica_embedding(t, mica_weight(t, e->node, "weight"),
                        mica_embedding_map(t, e, b, own_or_shared));
}

static int64_t adaptive_bytes(const mica_embedding_table *e) {
  const adaptive_plan *plan = e->plan;
  return 4 * (plan->frequent + plan->shared) * e->width + 4 * plan->frequent;
}

static mica_status adaptive_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  p->form = &mica_packed_rows;
  p->setting[0] = SEED;
  if (!mica_packed_array(p, 0, 0)) return MICA_ERR_MEMORY;
  mica_status status = mica_packed_copy(p, 1, mica_node_param(e->node, "frequent"));
  return status == MICA_OK ? mica_packed_copy(p, 2, mica_node_param(e->node, "weight")) : status;
}

static const mica_option options[] = {
    MICA_EMBEDDING_BYTES(adaptive_options, "0.1"),
    {"frequent", MICA_OPTION_FLOAT, "0.1", 1e-6, 1, NULL,
     "share of ids with rows of their own, at most half of `bytes`",
     offsetof(adaptive_options, frequent)},
    {0}};
static const mica_embedding_method adaptive_method = {.init = adaptive_init,
                                                      .lookup = adaptive_lookup,
                                                      .bytes = adaptive_bytes,
                                                      .counts = adaptive_counts,
                                                      .pack = adaptive_pack};
MICA_EMBEDDING_COMPONENT(adaptive, "adaptive",
                         "own rows for frequent ids, shared ones for others (AdaptEmb)", options,
                         adaptive_options);
