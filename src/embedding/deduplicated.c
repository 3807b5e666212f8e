/* Deduplication: after training, blocks of rows that are nearly alike are stored once (Zhou et al.
 * 2022, "Serving Deep Learning Models with Deduplication from Relational Databases"). Blocks go in
 * ascending order of their third quartile, and one is replaced by an earlier one of which most
 * elements are near. Candidates come from an L2 hash (p-stable, Datar et al. 2004): those that
 * share a bucket in one of several tables. With a byte budget the tolerance is the smallest that
 * keeps it. */
#include "base/random.h"
#include "embedding/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct dedup_options {
  uint32_t size;
  double bytes;
  int64_t block, tables;
  double tolerance, share, width;
} dedup_options;

static int64_t blocks_of(const mica_embedding_table *e) {
  const dedup_options *o = e->options;
  return (e->rows + o->block - 1) / o->block;
}

static int64_t stored_bytes(const mica_embedding_table *e, int64_t kept) {
  const dedup_options *o = e->options;
  return 4 * (kept * o->block * e->width + blocks_of(e));
}

static mica_status dedup_init(mica_embedding_table *e) {
  mica_param *map;
  if (stored_bytes(e, 1) > e->budget) return mica_embedding_too_small(e, stored_bytes(e, 1));
  mica_status status = mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK)
    status = mica_embedding_buffer(e, "map", MICA_I64, MICA_SHAPE(blocks_of(e)), &map);
  if (status != MICA_OK) return status;
  int64_t *to = mica_param_write(map);
  for (int64_t b = 0; b < blocks_of(e); b++) to[b] = b;
  return mica_embedding_decided_init(e);
}

static int64_t shared_row(const mica_embedding_table *e, int64_t field, int64_t id) {
  const dedup_options *o = e->options;
  const int64_t row = e->offset[field] + id, b = row / o->block;
  const int64_t to = mica_embedding_integers(e->node, "map")[b];
  /* The last block may be short; a map from a file may be anything. */
  const int64_t at = to >= 0 && to < blocks_of(e) ? to * o->block + row % o->block : row;
  return at < e->rows ? at : row;
}

static mica_var dedup_lookup(mica_tape *t, const mica_embedding_table *e,
                             const mica_embedding_batch *b) {
  return mica_embedding(t, mica_weight(t, e->node, "weight"),
                        mica_embedding_map(t, e, b, shared_row));
}

static int64_t kept_blocks(const mica_embedding_table *e) {
  const int64_t *map = mica_embedding_integers(e->node, "map"), n = blocks_of(e);
  int64_t kept = 0;
  for (int64_t b = 0; b < n; b++) kept += map[b] == b;
  return kept;
}

static int64_t dedup_bytes(const mica_embedding_table *e) {
  return stored_bytes(e, kept_blocks(e));
}

/* ---- deciding ---- */

typedef struct block_order {
  float quartile;
  int64_t block;
} block_order;

static int by_value(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

static int by_quartile(const void *a, const void *b) {
  const block_order *x = a, *y = b;
  if (x->quartile < y->quartile || x->quartile > y->quartile)
    return x->quartile < y->quartile ? -1 : 1;
  return x->block < y->block ? -1 : x->block > y->block;
}

typedef struct dedup_job {
  const mica_embedding_table *e;
  const float *weight;
  int64_t blocks, full; /* full: those that are not short */
  const block_order *order;
  int32_t *bucket; /* [tables, blocks] */
  int64_t *map;
} dedup_job;

static const float *block_at(const dedup_job *j, int64_t b) {
  const dedup_options *o = j->e->options;
  return j->weight + b * o->block * j->e->width;
}

/* The bucket of each block in each table, of the line that normal draws make of it; `line` has room
 * for them. */
static void hash_blocks(dedup_job *j, double width, double *line) {
  const dedup_options *o = j->e->options;
  const int64_t n = o->block * j->e->width;
  const mica_key key = mica_key_fold_name(mica_key_seed(0), "block hash");
  for (int64_t h = 0; h < o->tables; h++) {
    const mica_key own = mica_key_fold(key, (uint64_t)h);
    const double shift = mica_random_uniform(own, (uint64_t)n) * width;
    mica_random_normal_fill(own, 0, n, line);
    for (int64_t b = 0; b < j->full; b++) {
      const float *x = block_at(j, b);
      double sum = shift;
      for (int64_t i = 0; i < n; i++) sum += (double)x[i] * line[i];
      const double bucket = floor(sum / width);
      j->bucket[h * j->blocks + b] = (int32_t)fmax(fmin(bucket, 2e9), -2e9);
    }
  }
}

static bool share_bucket(const dedup_job *j, int64_t a, int64_t b) {
  const dedup_options *o = j->e->options;
  for (int64_t h = 0; h < o->tables; h++)
    if (j->bucket[h * j->blocks + a] == j->bucket[h * j->blocks + b]) return true;
  return false;
}

static bool alike(const dedup_job *j, int64_t a, int64_t b, double tolerance) {
  const dedup_options *o = j->e->options;
  const int64_t n = o->block * j->e->width, wanted = (int64_t)ceil(o->share * (double)n);
  const float *x = block_at(j, a), *y = block_at(j, b);
  int64_t near = 0;
  for (int64_t i = 0; i < n; i++) near += fabs((double)x[i] - (double)y[i]) <= tolerance;
  return near >= wanted;
}

/* How many blocks stay with this tolerance; the map is left. `hashed`: candidates by bucket. */
static int64_t share_blocks(dedup_job *j, double tolerance, bool hashed, int64_t *kept) {
  int64_t n = 0;
  for (int64_t k = 0; k < j->full; k++) {
    const int64_t b = j->order[k].block;
    int64_t to = b;
    for (int64_t i = 0; i < n && to == b; i++)
      if ((!hashed || share_bucket(j, kept[i], b)) && alike(j, kept[i], b, tolerance)) to = kept[i];
    if (to == b) kept[n++] = b;
    j->map[b] = to;
  }
  for (int64_t b = j->full; b < j->blocks; b++) j->map[b] = b, n++;
  return n;
}

static mica_status find_blocks(dedup_job *j, double *line, block_order *order, int64_t *kept) {
  float *room = (float *)line;
  const mica_embedding_table *e = j->e;
  const dedup_options *o = e->options;
  const int64_t n = o->block * e->width;
  for (int64_t b = 0; b < j->full; b++) {
    memcpy(room, block_at(j, b), (size_t)n * sizeof *room);
    qsort(room, (size_t)n, sizeof *room, by_value);
    order[b] = (block_order){room[(n * 3) / 4], b};
  }
  qsort(order, (size_t)j->full, sizeof *order, by_quartile);
  j->order = order;
  hash_blocks(j, o->width, line);
  if (stored_bytes(e, share_blocks(j, o->tolerance, true, kept)) <= e->budget) return MICA_OK;
  /* The tolerance that the budget takes: no bucket is as wide, so all blocks are looked at. */
  double lo = o->tolerance, hi = o->tolerance;
  do {
    hi *= 2;
  } while (hi < 1e30 && stored_bytes(e, share_blocks(j, hi, false, kept)) > e->budget);
  for (int i = 0; i < 30; i++) {
    const double middle = (lo + hi) / 2;
    *(stored_bytes(e, share_blocks(j, middle, false, kept)) > e->budget ? &lo : &hi) = middle;
  }
  return stored_bytes(e, share_blocks(j, hi, false, kept)) <= e->budget
             ? MICA_OK
             : mica_embedding_too_small(e, stored_bytes(e, 1));
}

static mica_status dedup_decide(mica_embedding_table *e) {
  const dedup_options *o = e->options;
  dedup_job j = {.e = e, .blocks = blocks_of(e), .full = e->rows / o->block};
  const size_t n = (size_t)j.blocks;
  j.weight = mica_embedding_floats(e->node, "weight");
  j.bucket = mica_calloc(n * (size_t)o->tables, sizeof *j.bucket);
  j.map = mica_calloc(2 * n, sizeof *j.map);
  block_order *order = mica_calloc(n, sizeof *order);
  double *room = mica_calloc((size_t)(o->block * e->width), sizeof *room);
  mica_status status = j.bucket && j.map && order && room ? find_blocks(&j, room, order, j.map + n)
                                                          : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    memcpy(mica_param_write(mica_node_param(e->node, "map")), j.map, n * sizeof *j.map);
  mica_free(room);
  mica_free(order);
  mica_free(j.map);
  mica_free(j.bucket);
  return status;
}

/* ---- the packed form: map [blocks], weight. Setting 0: rows of a block ---- */

static mica_status dedup_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const dedup_options *o = e->options;
  const int64_t n = blocks_of(e), *from = mica_embedding_integers(e->node, "map"),
                kept = kept_blocks(e);
  const float *weight = mica_embedding_floats(e->node, "weight");
  p->form = &mica_packed_blocks;
  p->setting[0] = o->block;
  int32_t *map = mica_packed_array(p, 0, n);
  float *to = map ? mica_packed_array(p, 1, kept * o->block * e->width) : NULL;
  if (!to) return MICA_ERR_MEMORY;
  int64_t next = 0;
  for (int64_t b = 0; b < n; b++) {
    if (from[b] != b) continue;
    const int64_t rows = b < n - 1 ? o->block : e->rows - b * o->block;
    memcpy(to + next * o->block * e->width, weight + b * o->block * e->width,
           (size_t)(rows * e->width) * sizeof *to);
    map[b] = (int32_t)next++;
  }
  for (int64_t b = 0; b < n; b++)
    if (from[b] != b) {
      if (from[b] < 0 || from[b] >= n || from[from[b]] != from[b])
        return mica_fail(MICA_ERR_FORMAT, "table dedup: a wrong map of blocks");
      map[b] = map[from[b]];
    }
  return MICA_OK;
}

static mica_status check(mica_packed_embedding *p) {
  const int64_t block = p->setting[0], n = mica_packed_count(p, 0);
  if (block < 1 || block > 1 << 30 || n != (p->rows + block - 1) / block)
    return mica_packed_wrong(p, "the blocks do not fit");
  const int32_t *map = mica_packed_data(p, 0);
  const int64_t kept = mica_packed_count(p, 1) / p->width / block;
  for (int64_t b = 0; b < n; b++)
    if (map[b] < 0 || map[b] >= kept) return mica_packed_wrong(p, "a block is not there");
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t block = p->setting[0], at = p->offset[field] + id;
  const int32_t *map = mica_packed_data(p, 0);
  memcpy(out,
         (const float *)mica_packed_data(p, 1) + (map[at / block] * block + at % block) * p->width,
         (size_t)p->width * sizeof *out);
}

const mica_packed_form mica_packed_blocks = {
    "blocks", {"map", "weight"}, {MICA_I32, MICA_F32}, check, row};

static const mica_option options[] = {
    MICA_EMBEDDING_BYTES(dedup_options, "0.5"),
    {"block", MICA_OPTION_INT, "10000", 1, 1 << 30, NULL, "rows that are shared together",
     offsetof(dedup_options, block)},
    {"tables", MICA_OPTION_INT, "90", 1, 4096, NULL, "hash tables that find candidates",
     offsetof(dedup_options, tables)},
    {"tolerance", MICA_OPTION_FLOAT, "0.01", 1e-12, 1e12, NULL,
     "elements no farther apart are alike", offsetof(dedup_options, tolerance)},
    {"share", MICA_OPTION_FLOAT, "0.7", 0.01, 1, NULL, "of a block's elements that must be alike",
     offsetof(dedup_options, share)},
    {"width", MICA_OPTION_FLOAT, "0.09", 1e-12, 1e12, NULL, "of a hash table's buckets",
     offsetof(dedup_options, width)},
    {0}};
static const mica_embedding_method dedup_method = {.phases = MICA_EMBEDDING_TUNES,
                                                   .init = dedup_init,
                                                   .lookup = dedup_lookup,
                                                   .bytes = dedup_bytes,
                                                   .decide = dedup_decide,
                                                   .pack = dedup_pack};
MICA_EMBEDDING_COMPONENT(dedup, "dedup", "blocks of rows that are alike are stored once", options,
                         dedup_options);
