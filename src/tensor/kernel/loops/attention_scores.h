/* attention_scores.h: which keys a query sees, and the scores of a tile. Part of attention.c. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_ATTENTION_SCORES_H
#define MICA_TENSOR_KERNEL_LOOPS_ATTENTION_SCORES_H

#include "attention_products.h"
#include "vector_math.h"

/* A block of queries of one head: [first, first + n), `width` vectors' elements with the padding.
 *
 * A query sees the keys whose position is in [from, to) or below `sink`, if they share its segment.
 * Where positions are the keys' own numbers and there are no segments (`by_number`), a range of
 * tiles is known beforehand. */
typedef struct block {
  const mica_attention_args *a;
  int64_t b, h, g, first, n, width;
  bool by_number;
  /* Softmax of the products alone, all keys seen or those up to the query's position: what most
   * networks have, and what softmax_tile.h is for. */
  bool simple;
  int64_t see_first, see_last, see_sink; /* positions that any of its queries sees: as above */
  int32_t from_number[QUERIES], to_number[QUERIES], sink_number[QUERIES]; /* by_number */
  int64_t position[QUERIES], from[QUERIES], to[QUERIES], sink[QUERIES];
  int64_t segment[QUERIES], segment_first, segment_last;
  real *scale, *seen; /* of each query; seen: how many keys, where counts_seen */
  real *qt, *s;       /* transposed and scaled queries; scores */
} block;

/* Positions, and distances between them, that cannot overflow. */
#define FAR (INT64_C(1) << 60)

static int64_t within(int64_t x, int64_t least, int64_t most) {
  return x < least ? least : x > most ? most : x;
}

static int64_t id_of(const mica_attention_ids *ids, int64_t b, int64_t i) {
  return within(ids->at[b * ids->batch + i], -FAR, FAR);
}

static bool thins(const mica_attention_args *a) {
  return a->decays || a->drop != 0;
}

static bool counts_seen(const mica_attention_args *a) {
  return a->log_seen || a->power != 0 || a->divide == MICA_ATTENTION_BY_SEEN;
}

static int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

/* What the query at block place i sees, without regard to how many keys there are. */
static void set_range(block *k, int64_t i, int64_t p) {
  const mica_attention_args *a = k->a;
  int64_t from = -FAR, to = FAR;
  if (a->causal)
    to = a->causal_block > 1 ? (floor_divide(p, a->causal_block) + 1) * a->causal_block
         : a->strict         ? p
                             : p + 1;
  const int64_t end = to;
  if (a->bounded) {
    from = p - within(a->left, 0, FAR);
    to = smaller(to, p + within(a->right, 0, FAR) + 1);
  }
  if (to < from) from = to = end;
  k->position[i] = p;
  k->from[i] = from;
  k->to[i] = to;
  k->sink[i] = a->bounded ? smaller(a->sinks, end) : -FAR;
}

static void see_nothing(block *k, int64_t i) {
  k->from[i] = k->to[i] = k->sink[i] = -FAR;
}

/* Ranges cut to the keys that there are, and as short numbers. */
static void number_ranges(block *k) {
  const int64_t keys = k->a->keys;
  k->see_first = keys;
  k->see_last = k->see_sink = 0;
  for (int64_t i = 0; i < k->width; i++) {
    const int64_t from = within(k->from[i], 0, keys), to = within(k->to[i], 0, keys);
    const int64_t sink = within(k->sink[i], 0, keys);
    k->from_number[i] = (int32_t)from;
    k->to_number[i] = (int32_t)to;
    k->sink_number[i] = (int32_t)sink;
    if (to > from) {
      if (from < k->see_first) k->see_first = from;
      if (to > k->see_last) k->see_last = to;
    }
    if (sink > k->see_sink) k->see_sink = sink;
  }
}

static void id_ranges(block *k) {
  k->see_first = FAR;
  k->see_last = k->see_sink = -FAR;
  k->segment_first = FAR;
  k->segment_last = -FAR;
  for (int64_t i = 0; i < k->width; i++) {
    if (k->to[i] > k->from[i] || (k->a->strict && k->to[i] > -FAR)) {
      if (k->from[i] < k->see_first) k->see_first = k->from[i];
      if (k->to[i] > k->see_last) k->see_last = k->to[i];
    }
    if (k->sink[i] > k->see_sink) k->see_sink = k->sink[i];
    if (k->segment[i] < k->segment_first) k->segment_first = k->segment[i];
    if (k->segment[i] > k->segment_last) k->segment_last = k->segment[i];
  }
}

static int64_t key_position(const block *k, int64_t key) {
  return k->a->k_position.at ? id_of(&k->a->k_position, k->b, key) : key;
}

/* The segment of a key: 0 where there are none. */
static int64_t key_segment(const block *k, int64_t key) {
  return k->a->k_segment.at ? id_of(&k->a->k_segment, k->b, key) : 0;
}

/* No query of the block sees any of the keys. */
static bool all_hidden(const block *k, int64_t key, int64_t keys) {
  if (k->by_number) return key >= k->see_sink && (key >= k->see_last || key + keys <= k->see_first);
  /* With `strict` a query sees itself, at a position that its range leaves out. */
  const int64_t first = k->see_first, last = k->see_last + k->a->strict;
  for (int64_t j = key; j < key + keys; j++) {
    const int64_t r = key_position(k, j), s = key_segment(k, j);
    if (r >= 0 && s >= 0 && s >= k->segment_first && s <= k->segment_last &&
        (r < k->see_sink || (r >= first && r < last)))
      return false;
  }
  return true;
}

static void hide_by_number(const block *k, int64_t key, int64_t keys, real *s) {
  const mica_attention_args *a = k->a;
  if (!a->causal && !a->bounded) return;
  bool whole = true;
  for (int64_t i = 0; i < k->n; i++)
    whole &= (k->from_number[i] <= key && k->to_number[i] >= key + keys) ||
             k->sink_number[i] >= key + keys;
  if (whole) return;
  for (int64_t j = 0; j < keys; j++) {
    const int32_t at = (int32_t)(key + j);
    real *to = s + j * QUERIES;
    if (!k->see_sink) {
      SIMD for (int64_t i = 0; i < k->width; i++) to[i] =
          ((at >= k->from_number[i]) & (at < k->to_number[i])) ? to[i] : -INFINITY;
    } else {
      SIMD for (int64_t i = 0; i < k->width; i++) to[i] =
          (((at >= k->from_number[i]) & (at < k->to_number[i])) | (at < k->sink_number[i]))
              ? to[i]
              : -INFINITY;
    }
  }
}

static void hide_by_id(const block *k, int64_t key, int64_t keys, real *s) {
  const mica_attention_args *a = k->a;
  for (int64_t j = 0; j < keys; j++) {
    const int64_t r = key_position(k, key + j), segment = key_segment(k, key + j);
    real *to = s + j * QUERIES;
    if (r < 0 || segment < 0) {
      fill(k->width, -INFINITY, to);
      continue;
    }
    const int64_t self = key + j - (a->keys - a->queries) - k->first;
    const bool own = a->strict && self >= 0 && self < k->n && k->segment[self] == segment &&
                     r == k->position[self];
    const real kept = own ? to[self] : 0;
    SIMD for (int64_t i = 0; i < k->width; i++) to[i] =
        ((((r >= k->from[i]) & (r < k->to[i])) | (r < k->sink[i])) & (k->segment[i] == segment))
            ? to[i]
            : -INFINITY;
    if (own) to[self] = kept;
  }
}

/* Scores that are hidden become -inf. */
static void hide(const block *k, int64_t key, int64_t keys, real *s) {
  if (k->by_number)
    hide_by_number(k, key, keys, s);
  else
    hide_by_id(k, key, keys, s);
}

static void add_bias(const block *k, int64_t key, int64_t keys, real *s) {
  const mica_attention_args *a = k->a;
  if (!a->bias) return;
  const real *bias = (const real *)a->bias + k->b * a->bias_batch + k->h * a->bias_head +
                     k->first * a->bias_query + key;
  for (int64_t j = 0; j < keys; j++) {
    real *to = s + j * QUERIES;
    if (!a->bias_query) {
      const real add = bias[j];
      SIMD for (int64_t i = 0; i < k->width; i++) to[i] = add == -INFINITY ? add : to[i] + add;
    } else {
      for (int64_t i = 0; i < k->n; i++) {
        const real add = bias[i * a->bias_query + j];
        to[i] = add == -INFINITY ? add : to[i] + add;
      }
    }
  }
}

/* From each query to a key. */
static void distances(const block *k, int64_t key, real *d) {
  const mica_attention_args *a = k->a;
  const int64_t r = key_position(k, key), columns = a->columns;
  const real limit = a->distance_limit > 0 ? (real)a->distance_limit : INFINITY;
  if (a->metric == MICA_METRIC_ALONG) {
    SIMD for (int64_t i = 0; i < k->width; i++) d[i] = (real)(k->position[i] - r);
    SIMD for (int64_t i = 0; i < k->width; i++) d[i] = d[i] < 0 ? -d[i] : d[i];
  } else {
    const int64_t row = r / columns, column = r % columns;
    for (int64_t i = 0; i < k->width; i++) {
      const int64_t y = k->position[i] / columns - row, x = k->position[i] % columns - column;
      const int64_t down = y < 0 ? -y : y, along = x < 0 ? -x : x;
      d[i] = (real)(a->metric == MICA_METRIC_MANHATTAN ? down + along
                    : down > along                     ? down
                                                       : along);
    }
  }
  SIMD for (int64_t i = 0; i < k->width; i++) d[i] = d[i] > limit ? limit : d[i];
}

static void add_slopes(const block *k, int64_t key, int64_t keys, real *s) {
  if (!k->a->slopes) return;
  const real slope = (real)k->a->slopes[k->h];
  real d[QUERIES];
  for (int64_t j = 0; j < keys; j++) {
    real *to = s + j * QUERIES;
    distances(k, key + j, d);
    SIMD for (int64_t i = 0; i < k->width; i++) to[i] -= slope * d[i];
  }
}

/* The random words of the block's queries and a key, four runs of queries at a time: Philox 4x32-10
 * (Salmon et al. 2011) with the numbers of the key, the run and the head as counter. */
enum { RUN = QUERIES / 4 };
static void draw_words(const block *k, int64_t key, uint32_t words[QUERIES]) {
  const mica_attention_args *a = k->a;
  const uint64_t head = (uint64_t)((a->entry + k->b) * a->heads + k->h);
  SIMD for (int i = 0; i < RUN; i++) {
    uint32_t c0 = (uint32_t)key, c1 = (uint32_t)(k->first / 4 + i), c2 = (uint32_t)head;
    uint32_t c3 = UINT32_C(0x6174746e) ^ (uint32_t)(head >> 32);
    uint32_t k0 = (uint32_t)a->drop_key, k1 = (uint32_t)(a->drop_key >> 32);
    for (int round = 0; round < 10; round++) {
      const uint64_t p0 = (uint64_t)c0 * UINT32_C(0xd2511f53);
      const uint64_t p1 = (uint64_t)c2 * UINT32_C(0xcd9e8d57);
      c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
      c1 = (uint32_t)p1;
      c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
      c3 = (uint32_t)p0;
      k0 += UINT32_C(0x9e3779b9);
      k1 += UINT32_C(0xbb67ae85);
    }
    words[i] = c0;
    words[RUN + i] = c1;
    words[2 * RUN + i] = c2;
    words[3 * RUN + i] = c3;
  }
}

static void drop(const block *k, int64_t key, int64_t keys, real *x) {
  const double p = k->a->drop;
  const uint64_t threshold = (uint64_t)(p * 4294967296.0 + 0.5); /* up to 2^32: everything */
  const real scale = p < 1 ? (real)(1 / (1 - p)) : 0;
  uint32_t words[QUERIES];
  for (int64_t j = 0; j < keys; j++) {
    real *to = x + j * QUERIES;
    draw_words(k, key + j, words);
    for (int64_t i = 0; i < k->width; i++) to[i] = words[i] >= threshold ? to[i] * scale : 0;
  }
}

/* Divided weights, or their gradients, times decay^distance and dropped. */
static void thin(const block *k, int64_t key, int64_t keys, real *x) {
  if (k->a->drop != 0) drop(k, key, keys, x);
  if (!k->a->decays) return;
  const real rate = (real)log(k->a->decays[k->h]);
  real d[QUERIES];
  for (int64_t j = 0; j < keys; j++) {
    real *to = x + j * QUERIES;
    distances(k, key + j, d);
    SIMD for (int64_t i = 0; i < k->width; i++) to[i] *= math_exp(rate * d[i]);
  }
}

/* How many keys each query sees. */
static void count_seen(block *k) {
  const mica_attention_args *a = k->a;
  if (k->by_number && !a->bias) {
    for (int64_t i = 0; i < k->width; i++) {
      const int32_t from = k->from_number[i], to = k->to_number[i], sink = k->sink_number[i];
      const int64_t both = smaller(to, sink) - from;
      k->seen[i] = (real)(to > from ? to - from + sink - (both > 0 ? both : 0) : sink);
    }
    return;
  }
  fill(k->width, 0, k->seen);
  for (int64_t key = 0; key < a->keys; key += KEYS) {
    const int64_t keys = smaller(KEYS, a->keys - key);
    if (all_hidden(k, key, keys)) continue;
    for (int64_t j = 0; j < keys; j++) fill(k->width, 0, k->s + j * QUERIES);
    add_bias(k, key, keys, k->s);
    hide(k, key, keys, k->s);
    for (int64_t j = 0; j < keys; j++) {
      const real *s = k->s + j * QUERIES;
      SIMD for (int64_t i = 0; i < k->width; i++) k->seen[i] += s[i] == -INFINITY ? 0 : 1;
    }
  }
}

static void set_ranges(block *k) {
  const mica_attention_args *a = k->a;
  for (int64_t i = 0; i < k->width; i++) {
    const int64_t n = k->first + smaller(i, k->n - 1);
    set_range(k, i, a->q_position.at ? id_of(&a->q_position, k->b, n) : n + a->offset);
    k->segment[i] = a->q_segment.at ? id_of(&a->q_segment, k->b, n) : 0;
    if (k->segment[i] < 0) see_nothing(k, i);
  }
  if (k->by_number)
    number_ranges(k);
  else
    id_ranges(k);
}

static void block_begin(block *k, const mica_attention_args *a, int64_t b, int64_t h, int64_t first,
                        int64_t end, const void *q) {
  k->a = a;
  k->b = b;
  k->h = h;
  k->g = h / (a->heads / a->kv_heads);
  k->first = first;
  k->n = smaller(QUERIES, end - first);
  k->width = padded(k->n);
  k->by_number = !a->k_position.at && !a->k_segment.at && !a->strict;
  k->simple = k->by_number && !a->q_position.at && !a->q_segment.at && !a->bounded &&
              a->causal_block <= 1 && !a->bias && !a->slopes && !thins(a) && !counts_seen(a) &&
              a->curve == MICA_CURVE_EXP && a->divide == MICA_ATTENTION_BY_SUM;
  if (k->by_number && !a->causal && !a->bounded && !a->slopes && !a->decays && !counts_seen(a)) {
    k->see_first = k->see_sink = 0;
    k->see_last = a->keys;
  } else {
    set_ranges(k);
  }
  if (counts_seen(a)) count_seen(k);
  for (int64_t i = 0; i < k->width; i++)
    k->scale[i] =
        (real)(a->log_seen ? a->scale * log(k->seen[i] > 1 ? (double)k->seen[i] : 1) : a->scale);
  transpose(k->n, k->width, a->dim, k->scale, strided(q, a->q, b, first, h), k->qt);
}

/* The first key of the next tile, at `key` or after it, of which a query sees something; `keys`
 * where there is none. */
static int64_t next_tile(const block *k, int64_t key) {
  const int64_t keys = k->a->keys;
  if (k->by_number) {
    if (key >= k->see_sink && key < k->see_first) key = k->see_first - k->see_first % KEYS;
    return key >= k->see_last && key >= k->see_sink ? keys : key;
  }
  while (key < keys && all_hidden(k, key, smaller(KEYS, keys - key))) key += KEYS;
  return smaller(key, keys);
}

/* Query i of the block sees keys [0, i + diagonal] of a tile, counted from its first; ALL where
 * nothing is known. */
static int64_t diagonal_of(const block *k, int64_t key, int64_t keys) {
  const mica_attention_args *a = k->a;
  if (!k->simple || !a->causal) return ALL;
  const int64_t diagonal = k->first + a->offset - key;
  return diagonal >= keys - 1 ? ALL : diagonal < -QUERIES ? -QUERIES : diagonal;
}

/* Keys of the tile from `key` on; of a causal mask only those that some query sees. */
static int64_t tile_keys(const block *k, int64_t key) {
  const int64_t end = k->simple && k->a->causal ? k->see_last : k->a->keys;
  return smaller(KEYS, end - key);
}

/* Scores of keys [key, key + keys), which are the rows of at_k, transposed, hidden ones -inf. */
static void scores(const block *k, int64_t key, int64_t keys, int64_t diagonal, matrix at_k) {
  const mica_attention_args *a = k->a;
  real *s = k->s;
  by_key(diagonal, keys, k->width, a->dim, at_k, (matrix){k->qt, QUERIES}, (matrix){s, QUERIES});
  if (k->simple) return;
  add_bias(k, key, keys, s);
  add_slopes(k, key, keys, s);
  hide(k, key, keys, s);
}

#endif
