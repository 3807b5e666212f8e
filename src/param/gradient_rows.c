/* Row gradients: a stable sort by id, by digits, then the rows of one id are added up in the order
 * in which they came. The first rows of a step are added up as they arrive, straight from where
 * they lie; later ones are put behind them, and all are sorted again when they are asked for.
 *
 * Every step of it is cut into pieces that follow from the number of rows alone. Each id is one
 * thread's, so the bits are the same for every number of threads; memory stays from step to step.
 */
#include "param/tree.h"

#include "base/memory.h"
#include "base/pool.h"

#include <string.h>

enum {
  DIGIT = 11,        /* bits sorted by at once, at most */
  SORT_PIECES = 8,   /* each with counts of its own */
  SORT_LEAST = 4096, /* rows of a piece */
  SUM_PIECES = 64,
  SUM_LEAST = 512,
  AHEAD = 8 /* rows asked for before they are added */
};

/* A row's key: its id above its place. */
typedef struct order {
  const mica_engine *engine;
  uint64_t *key, *spare;
  int64_t *count; /* of each digit in each piece; then of the ids that begin in a piece */
  const int64_t *ids;
  int64_t n, pieces, digits;
  int low, shift; /* bits of a place; where the digit begins */
} order;

/* Where piece p of those of n rows begins. */
static int64_t piece(const order *o, int64_t p) {
  return mica_part_begin(o->n, (int)o->pieces, (int)p);
}

static int bits_of(int64_t n) {
  int bits = 0;
  while (bits < 63 && n >> bits) bits++;
  return bits;
}

static int64_t pieces_of(int64_t n, int64_t least, int64_t most) {
  const int64_t pieces = n / least;
  return pieces < 1 ? 1 : pieces < most ? pieces : most;
}

static int64_t digit_of(const order *o, uint64_t key) {
  return (int64_t)(key >> o->shift) & (o->digits - 1);
}

static void make_keys(void *ctx, int64_t begin, int64_t end) {
  const order *o = ctx;
  const int64_t last = piece(o, end);
  for (int64_t i = piece(o, begin); i < last; i++)
    o->key[i] = (uint64_t)o->ids[i] << o->low | (uint64_t)i;
}

static void count_digits(void *ctx, int64_t begin, int64_t end) {
  const order *o = ctx;
  for (int64_t p = begin; p < end; p++) {
    int64_t *count = o->count + p * o->digits;
    const int64_t last = piece(o, p + 1);
    memset(count, 0, (size_t)o->digits * sizeof *count);
    for (int64_t i = piece(o, p); i < last; i++) count[digit_of(o, o->key[i])]++;
  }
}

static void place_keys(void *ctx, int64_t begin, int64_t end) {
  const order *o = ctx;
  for (int64_t p = begin; p < end; p++) {
    int64_t *place = o->count + p * o->digits;
    const int64_t last = piece(o, p + 1);
    for (int64_t i = piece(o, p); i < last; i++)
      o->spare[place[digit_of(o, o->key[i])]++] = o->key[i];
  }
}

/* Places of the keys in pieces [begin, end) that hold other ids are counted. */
static void count_others(void *ctx, int64_t begin, int64_t end) {
  const order *o = ctx;
  const uint64_t mask = ((uint64_t)1 << o->low) - 1;
  for (int64_t p = begin; p < end; p++) {
    const int64_t last = piece(o, p + 1);
    int64_t n = 0;
    for (int64_t i = piece(o, p); i < last; i++)
      n += o->key[i] >> o->low != (uint64_t)o->ids[o->key[i] & mask];
    o->count[p] = n;
  }
}

/* The keys are in order for these ids too: two tables are often read by the same. */
static bool in_order(order *o) {
  int64_t others = 0;
  mica_parallel_for(o->engine, o->pieces, count_others, o);
  for (int64_t p = 0; p < o->pieces; p++) others += o->count[p];
  return others == 0;
}

static void sort(order *o, int bits) {
  const int passes = (bits + DIGIT - 1) / DIGIT;
  mica_parallel_for(o->engine, o->pieces, make_keys, o);
  o->shift = o->low;
  for (int pass = 0; pass < passes; pass++) {
    const int width = (bits - (o->shift - o->low) + passes - pass - 1) / (passes - pass);
    o->digits = (int64_t)1 << width;
    mica_parallel_for(o->engine, o->pieces, count_digits, o);
    for (int64_t d = 0, at = 0; d < o->digits; d++)
      for (int64_t p = 0; p < o->pieces; p++) {
        const int64_t count = o->count[p * o->digits + d];
        o->count[p * o->digits + d] = at;
        at += count;
      }
    mica_parallel_for(o->engine, o->pieces, place_keys, o);
    uint64_t *swap = o->key;
    o->key = o->spare;
    o->spare = swap;
    o->shift += width;
  }
}

/* ---- sums ---- */

typedef struct sum_job {
  order o;
  int64_t width;
  bool single;
  const char *from;
  char *to;
  int64_t *ids;
} sum_job;

static bool begins(const order *o, int64_t i) {
  return i == 0 || o->key[i] >> o->low != o->key[i - 1] >> o->low;
}

static void count_ids(void *ctx, int64_t begin, int64_t end) {
  const order *o = &((const sum_job *)ctx)->o;
  for (int64_t p = begin; p < end; p++) {
    const int64_t last = piece(o, p + 1);
    int64_t n = 0;
    for (int64_t i = piece(o, p); i < last; i++) n += begins(o, i);
    o->count[p] = n;
  }
}

static void add_row(const sum_job *j, char *to, const char *from) {
  if (j->single) {
    float *restrict a = (float *)(void *)to;
    const float *restrict b = (const float *)(const void *)from;
    for (int64_t c = 0; c < j->width; c++) a[c] += b[c];
  } else {
    double *restrict a = (double *)(void *)to;
    const double *restrict b = (const double *)(const void *)from;
    for (int64_t c = 0; c < j->width; c++) a[c] += b[c];
  }
}

/* The ids that begin in pieces [begin, end). */
static void sum_range(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  const order *o = &j->o;
  const size_t row = (size_t)j->width * (j->single ? sizeof(float) : sizeof(double));
  const uint64_t mask = ((uint64_t)1 << o->low) - 1;
  const int64_t last = piece(o, end);
  int64_t i = piece(o, begin), out = o->count[begin];
  while (i < last && !begins(o, i)) i++;
  for (bool first = true; i < o->n; i++, first = false) {
    if (first || begins(o, i)) {
      if (i >= last) break;
      out += !first;
      j->ids[out] = (int64_t)(o->key[i] >> o->low);
      mica_copy_row(j->to + (size_t)out * row, j->from + (size_t)(o->key[i] & mask) * row, row);
    } else {
      add_row(j, j->to + (size_t)out * row, j->from + (size_t)(o->key[i] & mask) * row);
    }
    if (i + AHEAD < o->n) __builtin_prefetch(j->from + (size_t)(o->key[i + AHEAD] & mask) * row);
  }
}

static mica_status sort_room(mica_params *p, int64_t n) {
  mica_row_order *r = &p->row_order;
  if (n <= r->room) return MICA_OK;
  int64_t room = r->room ? r->room : 64;
  while (room < n) room *= 2;
  mica_free_aligned(r->block);
  *r = (mica_row_order){0};
  r->block = mica_malloc_aligned((size_t)room * 2 * sizeof(uint64_t) +
                                 ((size_t)SORT_PIECES << DIGIT) * sizeof(int64_t));
  if (!r->block) return MICA_ERR_MEMORY;
  r->room = room;
  return MICA_OK;
}

/* o->key becomes the order of the n ids. */
static mica_status find_order(mica_param *q, int64_t n, order *o) {
  mica_row_order *r = &q->tree->row_order;
  const int bits = bits_of(mica_tensor_dim(q->value, 0) - 1);
  const mica_status status = sort_room(q->tree, n);
  if (status != MICA_OK) return status;
  o->low = bits_of(n - 1);
  if (bits + o->low > 64)
    return mica_fail(MICA_ERR_INVALID, "parameter '%s': %lld rows of a gradient are too many",
                     q->path, (long long)n);
  uint64_t *key = r->block;
  o->count = (int64_t *)(void *)(key + 2 * r->room);
  o->pieces = pieces_of(n, SORT_LEAST, SORT_PIECES);
  o->key = r->second ? key + r->room : key;
  if (n == r->n && in_order(o)) return MICA_OK;
  o->key = key;
  o->spare = key + r->room;
  sort(o, bits);
  r->n = n;
  r->second = o->key != key;
  return MICA_OK;
}

/* n rows brought together in `to` and q->ids, which may be `ids` itself. */
static mica_status sum_rows(mica_param *q, const int64_t *ids, const void *values, int64_t n,
                            void *to) {
  sum_job j = {{.engine = q->tree->engine, .ids = ids, .n = n},
               mica_tensor_count(q->value) / mica_tensor_dim(q->value, 0),
               mica_tensor_dtype(q->value) == MICA_F32,
               values,
               to,
               q->ids};
  const mica_status status = find_order(q, n, &j.o);
  if (status != MICA_OK) return status;
  j.o.pieces = pieces_of(n, SUM_LEAST, SUM_PIECES);
  mica_parallel_for(j.o.engine, j.o.pieces, count_ids, &j);
  int64_t out = 0;
  for (int64_t p = 0; p < j.o.pieces; p++) {
    const int64_t here = j.o.count[p];
    j.o.count[p] = out;
    out += here;
  }
  mica_parallel_for(j.o.engine, j.o.pieces, sum_range, &j);
  q->n_rows = out;
  q->coalesced = true;
  return MICA_OK;
}

static mica_status rows_room(mica_param *q, int64_t n, size_t row) {
  if (n <= q->cap_rows) return MICA_OK;
  int64_t cap = q->cap_rows ? q->cap_rows : 64;
  while (cap < n) cap *= 2;
  int64_t *ids = mica_realloc_array(q->ids, (size_t)cap, sizeof *ids);
  if (!ids) return MICA_ERR_MEMORY;
  q->ids = ids;
  void *rows = mica_malloc_aligned((size_t)cap * row);
  if (!rows) return MICA_ERR_MEMORY;
  if (q->n_rows) memcpy(rows, q->rows, (size_t)q->n_rows * row);
  mica_free_aligned(q->rows);
  q->rows = rows;
  q->cap_rows = cap;
  return MICA_OK;
}

static size_t row_bytes(const mica_param *q) {
  const int64_t length = mica_tensor_dim(q->value, 0);
  const size_t element = mica_dtype_size(mica_tensor_dtype(q->value));
  return length ? (size_t)(mica_tensor_count(q->value) / length) * element : 0;
}

mica_status mica_param_put_rows(mica_param *q, const int64_t *ids, const void *values, int64_t n) {
  const size_t row = row_bytes(q);
  mica_status status = rows_room(q, q->n_rows + n, row);
  if (status == MICA_OK && n && !q->n_rows) {
    status = sum_rows(q, ids, values, n, q->rows);
  } else if (status == MICA_OK && n) {
    memcpy(q->ids + q->n_rows, ids, (size_t)n * sizeof *ids);
    memcpy((char *)q->rows + (size_t)q->n_rows * row, values, (size_t)n * row);
    q->n_rows += n;
    q->coalesced = false;
  }
  return status;
}

mica_status mica_param_coalesce(mica_param *q) {
  if (q->coalesced || !q->n_rows) return MICA_OK;
  if (q->cap_spare < q->cap_rows) {
    mica_free_aligned(q->spare_rows);
    q->cap_spare = 0;
    q->spare_rows = mica_malloc_aligned((size_t)q->cap_rows * row_bytes(q));
    if (!q->spare_rows) return MICA_ERR_MEMORY;
    q->cap_spare = q->cap_rows;
  }
  const mica_status status = sum_rows(q, q->ids, q->rows, q->n_rows, q->spare_rows);
  if (status != MICA_OK) return status;
  void *swap = q->rows;
  q->rows = q->spare_rows;
  q->spare_rows = swap;
  return MICA_OK;
}
