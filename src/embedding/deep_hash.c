/* Deep hash embedding (Kang et al. 2021, DHE): no table at all. An id becomes k hash values, scaled
 * to -1 .. 1, and a network of five blocks makes its vector of them. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

/* ---- the encoding ---- */

typedef struct encoding {
  int64_t buckets;
  bool normal;
  mica_dtype dtype;
} encoding;

/* Where a x + b < 2^53 and p < 2 buckets, as the tables here have it: no division is needed. */
static void hash_exactly(int64_t buckets, double x, int64_t k, const int64_t *slope,
                         const int64_t *bias, const int64_t *prime, double *out) {
  const double most = (double)buckets, last = most - 1;
  for (int64_t j = 0; j < k; j++) {
    const double p = (double)prime[j], v = (double)slope[j] * x + (double)bias[j];
    double h = v - floor(v / p) * p; /* off by p at the most, where the quotient was rounded up */
    h = h < 0 ? h + p : h;
    h = h >= most ? h - most : h;
    out[j] = h / last;
  }
}

/* The k hash values of an id as numbers. */
static void encode(const encoding *o, int64_t id, int64_t k, const int64_t *slope,
                   const int64_t *bias, const int64_t *prime, bool exact, double *out) {
  const uint64_t x = (uint64_t)id;
  if (exact && id < (int64_t)1 << 32)
    hash_exactly(o->buckets, (double)id, k, slope, bias, prime, out);
  else
    for (int64_t j = 0; j < k; j++) {
      const uint64_t p = (uint64_t)prime[j];
      /* Each step below p < 2^31, so no product leaves 64 bits. */
      const uint64_t h = ((uint64_t)slope[j] % p * (x % p) + (uint64_t)bias[j]) % p;
      out[j] = (double)(h % (uint64_t)o->buckets) / (double)(o->buckets - 1);
    }
  if (!o->normal) {
    for (int64_t j = 0; j < k; j++) out[j] = 2 * out[j] - 1;
    return;
  }
  const double turn = 6.283185307179586477;
  for (int64_t j = 0; j + 1 < k; j += 2) {
    const double r = sqrt(-2 * log(fmax(out[j], 1e-300))), angle = turn * out[j + 1];
    out[j] = r * cos(angle);
    out[j + 1] = r * sin(angle);
  }
}

/* Are slopes and biases below 2^20, and primes from the buckets to less than twice as many? */
static bool small(const encoding *o, int64_t k, const int64_t *slope, const int64_t *bias,
                  const int64_t *prime) {
  for (int64_t j = 0; j < k; j++)
    if (slope[j] >= 1 << 20 || bias[j] >= 1 << 20 || prime[j] >= 2 * o->buckets) return false;
  return true;
}

static void encode_forward(mica_call *c) {
  const encoding *o = c->ctx;
  const int64_t k = mica_view_count(&c->in[1]), n = mica_view_count(&c->in[0]);
  mica_shape shape = c->in[0].shape;
  const int64_t *prime = c->in[3].data;
  for (int i = 0; i < 4; i++)
    if (c->in[i].dtype != MICA_I64 ||
        (i && (c->in[i].shape.rank != 1 || c->in[i].shape.dim[0] != k)) ||
        shape.rank >= MICA_MAX_RANK) {
      mica_call_fail(c, MICA_ERR_SHAPE, "expected int64 ids, and slopes, biases and primes [k]:");
      return;
    }
  for (int64_t j = 0; j < k; j++)
    for (int i = 1; i < 4; i++)
      if (((const int64_t *)c->in[i].data)[j] < 0 ||
          ((const int64_t *)c->in[i].data)[j] > INT32_MAX || prime[j] < 1) {
        mica_call_fail(c, MICA_ERR_INVALID, "a hash's numbers are outside of 0 .. 2^31 - 1:");
        return;
      }
  if (o->buckets < 2 || (o->normal && k % 2)) {
    mica_call_fail(c, MICA_ERR_INVALID,
                   "%lld buckets, %lld hashes; pairs are needed of them:", (long long)o->buckets,
                   (long long)k);
    return;
  }
  shape.dim[shape.rank++] = k;
  const mica_view *y = mica_call_output(c, o->dtype, shape);
  double *u = y ? mica_call_scratch(c, (size_t)k * sizeof *u) : NULL;
  if (!u) return;
  const bool exact = small(o, k, c->in[1].data, c->in[2].data, prime);
  for (int64_t i = 0; i < n; i++) {
    encode(o, ((const int64_t *)c->in[0].data)[i], k, c->in[1].data, c->in[2].data, prime, exact,
           u);
    if (o->dtype == MICA_F32)
      for (int64_t j = 0; j < k; j++) ((float *)y->data)[i * k + j] = (float)u[j];
    else
      memcpy((double *)y->data + i * k, u, (size_t)k * sizeof *u);
  }
}

static const mica_custom_op encode_op = {
    {sizeof(mica_op), "hash_encoding", MICA_OP_BY_EXAMPLE, NULL}, encode_forward, 0};

mica_var mica_hash_encoding(mica_tape *t, mica_var ids, mica_var slopes, mica_var biases,
                            mica_var primes, int64_t buckets, bool normal, mica_dtype dtype) {
  const encoding o = {buckets, normal, dtype};
  mica_var y = MICA_NONE;
  if (dtype != MICA_F32 && dtype != MICA_F64)
    return mica_latch(t, MICA_ERR_UNSUPPORTED, "hash_encoding: float32 or float64");
  mica_custom(t, &encode_op, &o, sizeof o, 4, (mica_var[]){ids, slopes, biases, primes}, 1, &y);
  return y;
}

/* ---- the table ---- */

typedef struct deep_options {
  uint32_t size;
  double bytes;
  int64_t hashes, seed;
  int32_t form; /* uniform|normal */
} deep_options;

enum { BUCKETS = 1000000, BLOCKS = 5 };

typedef struct deep_plan {
  int64_t k, w;
  int64_t number[]; /* slopes, biases, primes, [k] each */
} deep_plan;

static bool is_prime(int64_t n) {
  for (int64_t d = 3; d * d <= n; d += 2)
    if (n % d == 0) return false;
  return n % 2 == 1;
}

/* Drawn from the seed alone, so they need no place. */
static void draw_hashes(int64_t seed, int64_t k, int64_t *number) {
  const mica_key key = mica_key_fold_name(mica_key_seed((uint64_t)seed), "hash functions");
  int64_t prime = BUCKETS;
  for (int64_t j = 0; j < k; j++) {
    number[j] = 1 + (int64_t)mica_random_below(key, (uint64_t)(2 * j), BUCKETS - 1);
    number[k + j] = 1 + (int64_t)mica_random_below(key, (uint64_t)(2 * j + 1), BUCKETS - 1);
    do {
      prime++;
    } while (!is_prime(prime));
    number[2 * k + j] = prime;
  }
}

/* Of the packed form: layers and the last one with their biases. */
static int64_t parameters(int64_t k, int64_t w, int64_t d) {
  return (k + 1) * w + (BLOCKS - 1) * w * (w + 1) + (w + 1) * d;
}

static mica_status deep_network(mica_embedding_table *e, int64_t k, int64_t w) {
  mica_status status = MICA_OK;
  for (int i = 0; i < BLOCKS && status == MICA_OK; i++) {
    status = mica_nn_linear_init(mica_node_childf(e->node, "layers.%d", i), i ? w : k, w, true);
    if (status == MICA_OK)
      status = mica_nn_batch_norm_init(mica_node_childf(e->node, "norms.%d", i), w);
  }
  return status == MICA_OK
             ? mica_nn_linear_init(mica_node_child(e->node, "last"), w, e->width, true)
             : status;
}

static mica_status deep_init(mica_embedding_table *e) {
  const deep_options *o = e->options;
  const int64_t most = e->budget / 4, d = e->width;
  int64_t k = 0, w = 0;
  /* The narrowest network that leaves room for no more hashes than were asked for. */
  do {
    w++;
    k = (most - parameters(0, w, d)) / w;
  } while (k > o->hashes && w < 1 << 14);
  if (k > o->hashes) k = o->hashes;
  if (o->form == 1) k -= k % 2;
  if (k < 2) return mica_embedding_too_small(e, 4 * parameters(2, 1, d));
  deep_plan *plan = e->plan = mica_malloc(sizeof *plan + (size_t)(3 * k) * sizeof *plan->number);
  if (!plan) return MICA_ERR_MEMORY;
  plan->k = k;
  plan->w = w;
  draw_hashes(o->seed, k, plan->number);
  return deep_network(e, k, w);
}

static mica_var deep_lookup(mica_tape *t, const mica_embedding_table *e,
                            const mica_embedding_batch *b) {
  const deep_options *o = e->options;
  deep_plan *plan = e->plan;
  char name[64];
  mica_var number[3];
  for (int i = 0; i < 3; i++) {
    const mica_view v = mica_view_of(plan->number + i * plan->k, MICA_I64, MICA_SHAPE(plan->k));
    number[i] = mica_borrow(t, &v);
  }
  mica_var x = mica_hash_encoding(t, b->rows, number[0], number[1], number[2], BUCKETS,
                                  o->form == 1, MICA_F32);
  for (int i = 0; i < BLOCKS; i++) {
    mica_var y = mica_nn_linear(
        t, mica_node_find(e->node, mica_node_index(name, sizeof name, "layers", i)), x);
    y = mica_nn_batch_norm(t,
                           mica_node_find(e->node, mica_node_index(name, sizeof name, "norms", i)),
                           MICA_IDENTITY, y);
    x = mica_replace(t, x, mica_mish(t, y));
  }
  return mica_nn_linear(t, mica_node_find(e->node, "last"), x);
}

static int64_t deep_bytes(const mica_embedding_table *e) {
  const deep_plan *plan = e->plan;
  return 4 * parameters(plan->k, plan->w, e->width);
}

/* ---- the packed form: weight. Settings: hashes, width, seed, normal ----
 *
 * Batch norms are folded into the layers before them, so they take no room. */

static mica_status deep_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const deep_options *o = e->options;
  const deep_plan *plan = e->plan;
  const int64_t w = plan->w, d = e->width;
  p->form = &mica_packed_network;
  p->setting[0] = plan->k;
  p->setting[1] = w;
  p->setting[2] = o->seed;
  p->setting[3] = o->form;
  float *to = mica_packed_array(p, 0, deep_bytes(e) / 4);
  if (!to) return MICA_ERR_MEMORY;
  char name[64];
  for (int i = 0; i < BLOCKS; i++) {
    const int64_t in = i ? w : plan->k;
    const mica_node *layer =
        mica_node_find(e->node, mica_node_index(name, sizeof name, "layers", i));
    const mica_node *norm = mica_node_find(e->node, mica_node_index(name, sizeof name, "norms", i));
    const float *weight = mica_embedding_floats(layer, "weight"),
                *bias = mica_embedding_floats(layer, "bias"),
                *gain = mica_embedding_floats(norm, "weight"),
                *shift = mica_embedding_floats(norm, "bias"),
                *mean = mica_embedding_floats(norm, "running_mean"),
                *var = mica_embedding_floats(norm, "running_var");
    for (int64_t j = 0; j < w; j++) {
      const float scale = gain[j] / sqrtf(var[j] + 1e-5f);
      for (int64_t k = 0; k < in; k++) to[j * in + k] = scale * weight[j * in + k];
      to[w * in + j] = scale * (bias[j] - mean[j]) + shift[j];
    }
    to += w * (in + 1);
  }
  const mica_node *last = mica_node_find(e->node, "last");
  memcpy(to, mica_embedding_floats(last, "weight"), (size_t)(w * d) * sizeof *to);
  memcpy(to + w * d, mica_embedding_floats(last, "bias"), (size_t)d * sizeof *to);
  return MICA_OK;
}

#define DEEP_MOST 4096 /* hashes, and numbers of a layer */

static mica_status check(mica_packed_embedding *p) {
  const int64_t k = p->setting[0], w = p->setting[1], d = p->width;
  if (k < 2 || k > DEEP_MOST || w < 1 || w > DEEP_MOST || (p->setting[3] && k % 2) ||
      mica_packed_count(p, 0) != parameters(k, w, d))
    return mica_packed_wrong(p, "the network's sizes do not fit");
  p->derived = mica_calloc((size_t)(3 * k), sizeof *p->derived);
  if (!p->derived) return MICA_ERR_MEMORY;
  draw_hashes(p->setting[2], k, p->derived);
  return MICA_OK;
}

/* y = W x + b, both rows of W and then b lying at `from`; returns what lies behind. */
static const float *layer(const float *from, int64_t in, int64_t out, const float *x, float *y) {
  for (int64_t j = 0; j < out; j++) {
    float sum = from[out * in + j];
    for (int64_t i = 0; i < in; i++) sum += from[j * in + i] * x[i];
    y[j] = sum;
  }
  return from + out * (in + 1);
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const encoding o = {BUCKETS, p->setting[3] != 0, MICA_F32};
  const int64_t k = p->setting[0], w = p->setting[1];
  const float *from = mica_packed_data(p, 0);
  double u[DEEP_MOST];
  float x[DEEP_MOST], y[DEEP_MOST];
  encode(&o, p->offset[field] + id, k, p->derived, p->derived + k, p->derived + 2 * k, true, u);
  for (int64_t j = 0; j < k; j++) x[j] = (float)u[j];
  for (int i = 0; i < BLOCKS; i++) {
    from = layer(from, i ? w : k, w, x, y);
    for (int64_t j = 0; j < w; j++) x[j] = y[j] * tanhf(y[j] > 20 ? y[j] : log1pf(expf(y[j])));
  }
  layer(from, w, p->width, x, out);
}

const mica_packed_form mica_packed_network = {"network", {"weight"}, {MICA_F32}, check, row};

static const mica_option options[] = {MICA_EMBEDDING_BYTES(deep_options, "0.1"),
                                      {"hashes", MICA_OPTION_INT, "1024", 2, DEEP_MOST, NULL,
                                       "of an id, at most", offsetof(deep_options, hashes)},
                                      {"seed", MICA_OPTION_INT, "0", 0, 1 << 30, NULL,
                                       "of the hash functions", offsetof(deep_options, seed)},
                                      {"form", MICA_OPTION_CHOICE, "uniform", 0, 0,
                                       "uniform|normal", "what the network reads",
                                       offsetof(deep_options, form)},
                                      {0}};
static const mica_embedding_method dhe_method = {
    .init = deep_init, .lookup = deep_lookup, .bytes = deep_bytes, .pack = deep_pack};
MICA_EMBEDDING_COMPONENT(dhe, "dhe", "hash values through a network (deep hash embedding)", options,
                         deep_options);
