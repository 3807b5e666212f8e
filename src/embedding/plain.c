/* A row for each id, and rows that ids share by their remainder: full and hash. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

typedef struct full_options {
  uint32_t size;
  double bytes;
} full_options;

/* ---- full ---- */

static mica_status full_init(mica_embedding_table *e) {
  return mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
}

static int64_t full_bytes(const mica_embedding_table *e) {
  return 4 * e->rows * e->width + 8 * (e->fields + 1);
}

/* Rows `weight`, field f's from first[f] on. */
static mica_status pack_rows(const mica_embedding_table *e, const int64_t *first,
                             mica_packed_embedding *p) {
  p->form = &mica_packed_rows;
  int64_t *to = mica_packed_array(p, 0, e->fields + 1);
  if (!to || !mica_packed_array(p, 1, 0)) return MICA_ERR_MEMORY;
  memcpy(to, first, (size_t)(e->fields + 1) * sizeof *to);
  return mica_packed_copy(p, 2, mica_node_param(e->node, "weight"));
}

static mica_status full_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  return pack_rows(e, e->offset, p);
}

static const mica_option full_table[] = {
    {"bytes", MICA_OPTION_FLOAT, "1", 1, 1, NULL, "all", offsetof(full_options, bytes)}, {0}};

static const mica_embedding_method full_method = {
    .init = full_init, .lookup = mica_embedding_plain, .bytes = full_bytes, .pack = full_pack};
MICA_EMBEDDING_COMPONENT(full, "full", "a row for each id", full_table, full_options);

/* ---- hash ---- */

/* plan: first [fields + 1], the rows of each field. */
static int64_t hash_rows(const mica_embedding_table *e, int64_t field, double share) {
  const int64_t m = (int64_t)floor(share * (double)e->size[field]);
  return m < 1 ? 1 : m;
}

static int64_t share_bytes(const void *ctx, double share) {
  const mica_embedding_table *e = ctx;
  int64_t rows = 0;
  for (int64_t f = 0; f < e->fields; f++) rows += hash_rows(e, f, share);
  return 4 * rows * e->width + 8 * (e->fields + 1);
}

static mica_status hash_init(mica_embedding_table *e) {
  const double share = mica_embedding_share(e->budget, share_bytes, e);
  if (share < 0) return mica_embedding_too_small(e, share_bytes(e, 0));
  int64_t *first = e->plan = mica_calloc((size_t)e->fields + 1, sizeof *first);
  if (!first) return MICA_ERR_MEMORY;
  for (int64_t f = 0; f < e->fields; f++) first[f + 1] = first[f] + hash_rows(e, f, share);
  return mica_embedding_weight(e, "weight", MICA_SHAPE(first[e->fields], e->width), NULL);
}

static int64_t hash_row(const mica_embedding_table *e, int64_t field, int64_t id) {
  const int64_t *first = e->plan;
  return first[field] + id % (first[field + 1] - first[field]);
}

static mica_var hash_lookup(mica_tape *t, const mica_embedding_table *e,
                            const mica_embedding_batch *b) {
  return mica_embedding(t, mica_weight(t, e->node, "weight"),
                        mica_embedding_map(t, e, b, hash_row));
}

static int64_t hash_bytes(const mica_embedding_table *e) {
  return 4 * ((const int64_t *)e->plan)[e->fields] * e->width + 8 * (e->fields + 1);
}

static mica_status hash_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  return pack_rows(e, e->plan, p);
}

static const mica_option hash_table[] = {MICA_EMBEDDING_BYTES(full_options, "0.1"), {0}};

static const mica_embedding_method hash_method = {
    .init = hash_init, .lookup = hash_lookup, .bytes = hash_bytes, .pack = hash_pack};
MICA_EMBEDDING_COMPONENT(hash, "hash", "ids of a field share rows by their remainder", hash_table,
                         full_options);

/* ---- the packed form: first [fields + 1], frequent [m], weight ----
 *
 * Without frequent rows id i of field f has row first[f] + i mod the rows of f. With them row r of
 * the whole table has the row of its place among them, and others share those from m on by a hash
 * whose seed is setting 0 (see adaptive.c). */

static mica_status check(mica_packed_embedding *p) {
  const int64_t *first = mica_packed_data(p, 0);
  const int32_t *frequent = mica_packed_data(p, 1);
  const int64_t m = mica_packed_count(p, 1), rows = mica_packed_count(p, 2) / p->width;
  if (m) {
    for (int64_t i = 0; i < m; i++)
      if (frequent[i] < (i ? frequent[i - 1] + 1 : 0) || frequent[i] >= p->rows)
        return mica_packed_wrong(p, "the frequent rows do not rise");
    if (m > rows || (m == rows && m < p->rows)) return mica_packed_wrong(p, "too few rows");
    return MICA_OK;
  }
  if (mica_packed_count(p, 0) != p->fields + 1 || first[0] != 0 || first[p->fields] > rows)
    return mica_packed_wrong(p, "the fields' places do not fit");
  for (int64_t f = 0; f < p->fields; f++)
    if (first[f + 1] <= first[f] || first[f + 1] > rows)
      return mica_packed_wrong(p, "the fields' places do not rise");
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t *first = mica_packed_data(p, 0), m = mica_packed_count(p, 1);
  const float *weight = mica_packed_data(p, 2);
  int64_t at;
  if (m) {
    const int64_t whole = p->offset[field] + id;
    at = mica_embedding_find(mica_packed_data(p, 1), m, whole);
    if (at < 0)
      at = m + (int64_t)(mica_hash64(&whole, sizeof whole, (uint64_t)p->setting[0]) %
                         (uint64_t)(mica_packed_count(p, 2) / p->width - m));
  } else {
    const int64_t rows = first[field + 1] - first[field];
    at = first[field] + (id < rows ? id : id % rows);
  }
  memcpy(out, weight + at * p->width, (size_t)p->width * sizeof *out);
}

const mica_packed_form mica_packed_rows = {
    "rows", {"first", "frequent", "weight"}, {MICA_I64, MICA_I32, MICA_F32}, check, row};
