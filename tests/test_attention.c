/* Attention by every map and mask, dense, packed and ragged, against the definition in double: the
 * results of random rules everywhere, gradients along random directions, and what is refused. */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 4, HEADS_MOST = 4, KEYS_MOST = 160, VALUES_MOST = 20, SEQUENCES_MOST = 4 };
static mica_engine *engines[ENGINES];

static int set_up(void **state) {
  (void)state;
  const char *const isas[ENGINES] = {"generic", "avx2", "avx512", NULL};
  for (int i = 0; i < ENGINES; i++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.isa = isas[i];
    o.threads = i == ENGINES - 1 ? 2 : 1;
    if (mica_engine_create(&o, &engines[i]) != MICA_OK &&
        mica_last_status() != MICA_ERR_UNSUPPORTED)
      return -1;
  }
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < ENGINES; i++) mica_engine_free(engines[i]);
  return 0;
}

static uint64_t random_state = 1;
static double draw(void) { /* in [-1, 1) */
  random_state ^= random_state << 13, random_state ^= random_state >> 7,
      random_state ^= random_state << 17;
  return ldexp((double)(random_state >> 11), -52) - 1;
}
static int64_t draw_below(int64_t n) {
  const int64_t i = (int64_t)((draw() + 1) / 2 * (double)n);
  return i < n ? i : n - 1;
}
static bool draw_chance(int64_t one_in) {
  return draw_below(one_in) == 0;
}

/* ---- a problem ---- */

enum { Q, K, V, BIAS, FLOATS };

typedef struct problem {
  int64_t batch, heads, kv_heads, dim, value_dim;
  int64_t queries, keys; /* of each example, or the longest */
  bool ragged, shared_offsets, side_by_side;
  int64_t q_offset[SEQUENCES_MOST + 1], k_offset[SEQUENCES_MOST + 1];
  mica_attention_options o;
  double slopes[HEADS_MOST], decays[HEADS_MOST];
  bool q_at, k_at, segments, shared_ids; /* given; one row for all examples */
  int64_t *q_position, *k_position, *q_segment, *k_segment;
  mica_shape bias_shape; /* rank 0: none */
  double *x[FLOATS];
  int64_t n[FLOATS];
  bool lse;
} problem;

static void bump(void *ctx, int64_t n, const double *score, double *weight, double *slope) {
  const double width = *(const double *)ctx;
  for (int64_t i = 0; i < n; i++) {
    weight[i] = exp(-score[i] * score[i] / width);
    if (slope) slope[i] = -2 * score[i] / width * weight[i];
  }
}
static double bump_width = 3;

static double mapped(const problem *p, double s) {
  double w;
  switch (p->o.map) {
  case MICA_ATTEND_SOFTMAX: return exp(s);
  case MICA_ATTEND_SOFTPLUS: return log1p(exp(s));
  case MICA_ATTEND_SIGMOID: return 1 / (1 + exp(-s));
  case MICA_ATTEND_SILU: return s / (1 + exp(-s));
  case MICA_ATTEND_RELU: return s > 0 ? s : 0;
  case MICA_ATTEND_RELU_SQUARED: return s > 0 ? s * s : 0;
  case MICA_ATTEND_CUSTOM: bump(&bump_width, 1, &s, &w, NULL); return w;
  }
  return NAN;
}

static int64_t floor_divide(int64_t a, int64_t b) {
  return (int64_t)floor((double)a / (double)b);
}

/* One query's weights for all keys of its example, before the bias: what the header says. */
typedef struct row {
  int64_t b, h, i, q0, k0, queries, keys; /* q0, k0: the first token of the example */
} row;

static int64_t id(const problem *p, const int64_t *ids, const row *r, int64_t first, int64_t length,
                  int64_t i) {
  return p->ragged ? ids[first + i] : p->shared_ids ? ids[i] : ids[r->b * length + i];
}
static int64_t position_of(const problem *p, const row *r, int64_t i) {
  if (p->q_at) return id(p, p->q_position, r, r->q0, p->queries, i);
  return i + (p->o.offset == MICA_ATTENTION_ENDS ? r->keys - r->queries : p->o.offset);
}

static bool sees(const problem *p, const row *r, int64_t j) {
  const mica_attention_options *o = &p->o;
  const int64_t at = position_of(p, r, r->i);
  const int64_t key = p->k_at ? id(p, p->k_position, r, r->k0, p->keys, j) : j;
  if (p->k_at && key < 0) return false;
  if (p->segments) {
    const int64_t a = id(p, p->q_segment, r, r->q0, p->queries, r->i);
    const int64_t b = id(p, p->k_segment, r, r->k0, p->keys, j);
    if (a < 0 || a != b) return false;
  }
  if (o->causal && o->strict)
    if (key > at || (key == at && r->i + r->keys - r->queries != j)) return false;
  if (o->causal && o->block > 1 && floor_divide(key, o->block) > floor_divide(at, o->block))
    return false;
  if (o->causal && o->block <= 1 && key > at) return false;
  bool near = true;
  if (o->window) near &= llabs(at - key) < o->window;
  if (o->left >= 0) near &= at - key <= o->left;
  if (o->right >= 0) near &= key - at <= o->right;
  return near || key < o->sinks;
}

static double distance_of(const problem *p, const row *r, int64_t j) {
  const mica_attention_options *o = &p->o;
  const int64_t a = position_of(p, r, r->i),
                b = p->k_at ? id(p, p->k_position, r, r->k0, p->keys, j) : j;
  int64_t d = llabs(a - b);
  if (o->distance != MICA_DISTANCE_SEQUENCE) {
    const int64_t y = llabs(a / o->columns - b / o->columns),
                  x = llabs(a % o->columns - b % o->columns);
    d = o->distance == MICA_DISTANCE_MANHATTAN ? x + y : x > y ? x : y;
  }
  return (double)(o->distance_limit && d > o->distance_limit ? o->distance_limit : d);
}

static double bias_of(const problem *p, const row *r, int64_t j) {
  const int64_t at[4] = {r->b, r->h, r->i, j};
  int64_t place = 0;
  for (int d = 0; d < p->bias_shape.rank; d++) {
    const int64_t n = p->bias_shape.dim[d];
    place = place * n + (n == 1 ? 0 : at[4 - p->bias_shape.rank + d]);
  }
  return p->x[BIAS][place];
}

static void define_row(const problem *p, const row *r, double *out, double *lse) {
  const mica_attention_options *o = &p->o;
  const int64_t g = r->h / (p->heads / p->kv_heads);
  double w[KEYS_MOST], seen = 0, sum = 0;
  bool open[KEYS_MOST];
  for (int64_t j = 0; j < r->keys; j++) {
    open[j] = sees(p, r, j) && !(p->bias_shape.rank && isinf(bias_of(p, r, j)));
    seen += open[j];
  }
  for (int64_t j = 0; j < r->keys; j++) {
    w[j] = 0;
    if (!open[j]) continue;
    double s = 0;
    for (int64_t c = 0; c < p->dim; c++)
      s += p->x[Q][((r->q0 + r->i) * p->heads + r->h) * p->dim + c] *
           p->x[K][((r->k0 + j) * p->kv_heads + g) * p->dim + c];
    s *= (o->scale != 0 ? o->scale : 1 / sqrt((double)p->dim)) * (o->log_length ? log(seen) : 1);
    if (p->bias_shape.rank) s += bias_of(p, r, j);
    if (o->slopes) s -= o->slopes[r->h] * distance_of(p, r, j);
    w[j] = mapped(p, s);
    sum += w[j];
  }
  *lse = log(sum);
  const double divisor = o->divisor == 0 ? sum : o->divisor < 0 ? seen : o->divisor;
  for (int64_t j = 0; j < r->keys; j++) w[j] = divisor == 0 ? 0 : w[j] / divisor;
  if (o->power != 0) {
    double total = 0, sharp[KEYS_MOST], least = seen > 1 ? o->threshold : 0;
    for (int64_t j = 0; j < r->keys; j++) {
      sharp[j] = open[j] ? pow(fmax(seen * w[j] - least, 0), o->power) : 0;
      total += sharp[j];
    }
    for (int64_t j = 0; j < r->keys && total > 0; j++) w[j] = sharp[j] / total;
  }
  for (int64_t c = 0; c < p->value_dim; c++) out[c] = 0;
  for (int64_t j = 0; j < r->keys; j++) {
    if (w[j] != 0 && o->decays) w[j] *= pow(o->decays[r->h], distance_of(p, r, j));
    for (int64_t c = 0; c < p->value_dim && w[j] != 0; c++)
      out[c] += w[j] * p->x[V][((r->k0 + j) * p->kv_heads + g) * p->value_dim + c];
  }
}

static row row_of(const problem *p, int64_t b) {
  if (!p->ragged)
    return (row){
        .b = b, .q0 = b * p->queries, .k0 = b * p->keys, .queries = p->queries, .keys = p->keys};
  return (row){.b = b,
               .q0 = p->q_offset[b],
               .k0 = p->k_offset[b],
               .queries = p->q_offset[b + 1] - p->q_offset[b],
               .keys = p->k_offset[b + 1] - p->k_offset[b]};
}

static int64_t all_queries(const problem *p) {
  return p->ragged ? p->q_offset[p->batch] : p->batch * p->queries;
}

/* out as the tape has it; lse [N,h,L] or [h,total]. */
static void define(const problem *p, double *out, double *lse) {
  for (int64_t b = 0; b < p->batch; b++) {
    row r = row_of(p, b);
    for (r.h = 0; r.h < p->heads; r.h++)
      for (r.i = 0; r.i < r.queries; r.i++)
        define_row(p, &r, out + ((r.q0 + r.i) * p->heads + r.h) * p->value_dim,
                   lse + (p->ragged ? r.h * all_queries(p) + r.q0 + r.i
                                    : (b * p->heads + r.h) * p->queries + r.i));
  }
}

/* ---- random problems ---- */

static void *array(int64_t n, size_t size) {
  void *p = calloc((size_t)n + 1, size);
  assert_non_null(p);
  return p;
}

static int64_t *draw_ids(int64_t n, int64_t from, int64_t to) {
  int64_t *ids = array(n, sizeof *ids);
  for (int64_t i = 0; i < n; i++) ids[i] = from + draw_below(to - from);
  return ids;
}

static void draw_sizes(problem *p, bool ragged) {
  const bool large = draw_chance(4);
  p->ragged = ragged;
  p->side_by_side = draw_chance(3);
  p->batch = 1 + draw_below(ragged ? SEQUENCES_MOST : 2);
  p->kv_heads = 1 + draw_below(2);
  p->heads = p->kv_heads * (1 + draw_below(2));
  p->dim = 1 + draw_below(20);
  p->value_dim = 1 + draw_below(VALUES_MOST);
  p->queries = 1 + draw_below(large ? 140 : 9);
  p->keys = 1 + draw_below(large ? KEYS_MOST : 12);
  if (draw_chance(3)) p->queries = p->keys;
  if (!ragged) return;
  int64_t longest[2] = {0, 0};
  p->shared_offsets = draw_chance(2);
  for (int64_t b = 0; b < p->batch; b++) {
    const int64_t q = draw_below(p->queries + 1),
                  k = p->shared_offsets ? q : draw_below(p->keys + 1);
    p->q_offset[b + 1] = p->q_offset[b] + q;
    p->k_offset[b + 1] = p->k_offset[b] + k;
    if (q > longest[0]) longest[0] = q;
    if (k > longest[1]) longest[1] = k;
  }
  p->queries = longest[0];
  p->keys = longest[1];
}

static void draw_rules(problem *p) {
  mica_attention_options *o = &p->o;
  *o = (mica_attention_options)MICA_ATTENTION_OPTIONS;
  if (draw_chance(3)) o->scale = 0.3 + 0.2 * draw();
  o->map = (mica_attention_map)draw_below(MICA_ATTEND_CUSTOM + 1);
  if (o->map == MICA_ATTEND_CUSTOM) {
    o->function = bump;
    o->function_ctx = &bump_width;
  }
  if (o->map == MICA_ATTEND_SILU || (o->map != MICA_ATTEND_SOFTMAX && draw_chance(3)))
    o->divisor = draw_chance(2) ? MICA_ATTENTION_SEEN : 3.5;
  if (o->divisor == 0 && draw_chance(4)) {
    o->power = draw_chance(2) ? 1 + (double)draw_below(4) : 2.5;
    o->threshold = draw_chance(3) ? 0.5 : 1;
  }
  p->lse = o->divisor == 0 && o->power == 0 && draw_chance(2);
  o->log_length = draw_chance(4);
  o->causal = draw_chance(2);
  if (o->causal && draw_chance(3)) o->block = 2 + draw_below(4);
  if (draw_chance(4)) o->window = 1 + draw_below(8);
  if (draw_chance(4)) o->left = draw_below(9);
  if (draw_chance(4)) o->right = draw_below(9);
  if (draw_chance(3)) o->sinks = draw_below(5);
  if (draw_chance(3)) o->offset = draw_below(12) - 4;
  const int64_t queries = all_queries(p),
                keys = p->ragged ? p->k_offset[p->batch] : p->batch * p->keys;
  p->q_at = draw_chance(4);
  p->k_at = draw_chance(4);
  p->segments = draw_chance(4);
  p->shared_ids = draw_chance(2);
  o->strict = o->causal && o->block == 0 && (p->q_at || p->k_at) && draw_chance(2);
  p->q_position = draw_ids(queries, 0, 40);
  p->k_position = draw_ids(keys, -2, 40);
  p->q_segment = draw_ids(queries, -1, 3);
  p->k_segment = draw_ids(keys, -1, 3);
  for (int64_t h = 0; h < p->heads; h++) {
    p->slopes[h] = 0.2 * draw();
    p->decays[h] = 0.7 + 0.3 * fabs(draw());
  }
  o->slopes = draw_chance(4) ? p->slopes : NULL;
  o->decays = draw_chance(4) ? p->decays : NULL;
  const bool positive = o->offset >= 0 && (p->q_at || o->offset != MICA_ATTENTION_ENDS);
  if (positive && draw_chance(2)) {
    o->distance = draw_chance(2) ? MICA_DISTANCE_MANHATTAN : MICA_DISTANCE_CHEBYSHEV;
    o->columns = 1 + draw_below(6);
  }
  if (draw_chance(2)) o->distance_limit = 1 + draw_below(6);
  if (draw_chance(5)) o->dropout = 0.3;
  if (draw_chance(3) && p->keys) {
    p->bias_shape = draw_chance(2)   ? MICA_SHAPE(p->batch, p->heads, p->queries, p->keys)
                    : draw_chance(2) ? MICA_SHAPE(p->heads, p->queries, p->keys)
                    : draw_chance(2) ? MICA_SHAPE(p->heads, 1, p->keys)
                                     : MICA_SHAPE(p->batch, 1, 1, p->keys);
  }
}

static void draw_problem(problem *p, bool ragged) {
  memset(p, 0, sizeof *p);
  draw_sizes(p, ragged);
  draw_rules(p);
  const int64_t queries = all_queries(p),
                keys = ragged ? p->k_offset[p->batch] : p->batch * p->keys;
  p->n[Q] = queries * p->heads * p->dim;
  p->n[K] = keys * p->kv_heads * p->dim;
  p->n[V] = keys * p->kv_heads * p->value_dim;
  p->n[BIAS] = p->bias_shape.rank ? mica_shape_count(&p->bias_shape) : 0;
  for (int i = 0; i < FLOATS; i++) {
    p->x[i] = array(p->n[i], sizeof(double));
    for (int64_t k = 0; k < p->n[i]; k++) p->x[i][k] = (double)(float)(1.5 * draw());
  }
  for (int64_t k = 0; k < p->n[BIAS]; k++)
    if (draw_chance(9)) p->x[BIAS][k] = (double)-INFINITY;
}

static void free_problem(problem *p) {
  for (int i = 0; i < FLOATS; i++) free(p->x[i]);
  free(p->q_position), free(p->k_position), free(p->q_segment), free(p->k_segment);
}

/* ---- on the tape ---- */

static mica_var floats(mica_tape *t, mica_dtype dtype, mica_shape shape, const double *x,
                       bool leaf) {
  const mica_view view = mica_view_of((void *)(uintptr_t)x, MICA_F64, shape);
  mica_tensor *own;
  assert_int_equal(mica_tensor_from_view(&view, dtype, &own), MICA_OK);
  mica_var v = leaf ? mica_leaf(t, own) : mica_input(t, own);
  mica_tensor_free(own);
  return v;
}

static mica_var ids_of(mica_tape *t, const problem *p, const int64_t *ids, int64_t total,
                       int64_t length) {
  const mica_view v = mica_view_of((void *)(uintptr_t)ids, MICA_I64,
                                   p->ragged       ? MICA_SHAPE(total)
                                   : p->shared_ids ? MICA_SHAPE(length)
                                                   : MICA_SHAPE(p->batch, length));
  return mica_constant(t, &v);
}

/* The result and, where asked for, its logarithms; in[] are the leaves. */
static mica_var attend(mica_tape *t, mica_dtype dtype, const problem *p, mica_var in[FLOATS],
                       mica_var *lse) {
  const int64_t queries = all_queries(p),
                keys = p->ragged ? p->k_offset[p->batch] : p->batch * p->keys;
  mica_shape shape[3];
  for (int i = 0; i < 3; i++) {
    const int64_t heads = i == Q ? p->heads : p->kv_heads, dim = i == V ? p->value_dim : p->dim;
    const int64_t length = i == Q ? p->queries : p->keys, total = i == Q ? queries : keys;
    if (p->side_by_side)
      shape[i] =
          p->ragged ? MICA_SHAPE(total, heads * dim) : MICA_SHAPE(p->batch, length, heads * dim);
    else
      shape[i] =
          p->ragged ? MICA_SHAPE(total, heads, dim) : MICA_SHAPE(p->batch, length, heads, dim);
    in[i] = floats(t, dtype, shape[i], p->x[i], true);
  }
  in[BIAS] = p->bias_shape.rank ? floats(t, dtype, p->bias_shape, p->x[BIAS], true) : MICA_NONE;
  mica_attention_options o = p->o;
  if (p->side_by_side) {
    o.heads = p->heads;
    o.kv_heads = p->kv_heads == p->heads ? 0 : p->kv_heads;
  }
  if (p->q_at) o.query_positions = ids_of(t, p, p->q_position, queries, p->queries);
  if (p->k_at) o.key_positions = ids_of(t, p, p->k_position, keys, p->keys);
  if (p->segments) {
    o.query_segments = ids_of(t, p, p->q_segment, queries, p->queries);
    o.key_segments = ids_of(t, p, p->k_segment, keys, p->keys);
  }
  mica_var *want = p->lse ? lse : NULL;
  if (!p->ragged) return mica_attention(t, in[Q], in[K], in[V], in[BIAS], &o, want);
  const mica_view qo =
      mica_view_of((void *)(uintptr_t)p->q_offset, MICA_I64, MICA_SHAPE(p->batch + 1));
  const mica_view ko =
      mica_view_of((void *)(uintptr_t)p->k_offset, MICA_I64, MICA_SHAPE(p->batch + 1));
  return mica_ragged_attention(t, in[Q], in[K], in[V], in[BIAS], mica_constant(t, &qo),
                               p->shared_offsets ? MICA_NONE : mica_constant(t, &ko), &o, want);
}

static void compare(const char *what, int number, mica_tape *t, mica_var got, const double *want,
                    int64_t n, double tolerance) {
  const mica_view v = mica_read(t, got);
  if (!mica_ok(t)) fail_msg("problem %d: %s", number, mica_tape_error(t));
  assert_int_equal(mica_view_count(&v), n);
  for (int64_t i = 0; i < n; i++) {
    const double x = v.dtype == MICA_F32 ? (double)((float *)v.data)[i] : ((double *)v.data)[i];
    const double size = fabs(want[i]) > 1 ? fabs(want[i]) : 1;
    if (!(fabs(x - want[i]) <= tolerance * size) && !(isinf(want[i]) && x == want[i]))
      fail_msg("problem %d, %s, %s: element %lld is %.9g, not %.9g", number, what,
               mica_dtype_name(v.dtype), (long long)i, x, want[i]);
  }
}

static void check_results(int number, const problem *p) {
  const int64_t rows = all_queries(p) * p->heads;
  double *out = array(rows * p->value_dim, sizeof(double)), *lse = array(rows, sizeof(double));
  define(p, out, lse);
  for (int e = 0; e < ENGINES; e++)
    for (int type = 0; engines[e] && type < 2; type++) {
      const mica_dtype dtype = type ? MICA_F64 : MICA_F32;
      mica_tape *t;
      assert_int_equal(mica_tape_create(engines[e], NULL, &t), MICA_OK);
      mica_var in[FLOATS], l = MICA_NONE;
      mica_var y = attend(t, dtype, p, in, &l);
      /* A threshold that is passed by a rounding error makes a jump that a power of 1 shows. */
      const double loose = p->o.power != 0 ? 50 : 1;
      compare("result", number, t, y, out, rows * p->value_dim, (type ? 1e-12 : 2e-5) * loose);
      if (p->lse) compare("lse", number, t, l, lse, rows, type ? 1e-12 : 2e-5);
      mica_tape_free(t);
    }
  free(out);
  free(lse);
}

/* The result and the lse, -inf left out, on fixed weights. */
static double project(mica_tape *t, mica_var y, mica_var l, const double *weight, mica_var *loss) {
  const mica_view v = mica_read(t, y), lv = mica_is_none(l) ? (mica_view){0} : mica_read(t, l);
  const int64_t n = mica_view_count(&v), m = mica_is_none(l) ? 0 : mica_view_count(&lv);
  mica_var w = floats(t, MICA_F64, MICA_SHAPE(n), weight, false);
  *loss = mica_sum(t, mica_mul(t, mica_reshape(t, y, MICA_SHAPE(n)), w), 0, NULL, false);
  if (m) {
    mica_var flat = mica_reshape(t, l, MICA_SHAPE(m));
    mica_var seen = mica_less(t, mica_full(t, MICA_F64, MICA_SCALAR, -1e300), flat);
    mica_var kept = mica_where(t, seen, flat, mica_full(t, MICA_F64, MICA_SCALAR, 0));
    kept = mica_mul(t, kept, floats(t, MICA_F64, MICA_SHAPE(m), weight, false));
    *loss = mica_add(t, *loss, mica_sum(t, kept, 0, NULL, false));
  }
  return mica_item(t, *loss);
}

static double value_at(const problem *p, double *const direction[FLOATS], double h,
                       const double *weight) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engines[ENGINES - 1], NULL, &t), MICA_OK);
  problem moved = *p;
  for (int i = 0; i < FLOATS; i++) {
    moved.x[i] = array(p->n[i], sizeof(double));
    for (int64_t k = 0; k < p->n[i]; k++) moved.x[i][k] = p->x[i][k] + h * direction[i][k];
  }
  mica_var in[FLOATS], l = MICA_NONE, loss;
  mica_set_training(t, true);
  mica_var y = attend(t, MICA_F64, &moved, in, &l);
  const double value = project(t, y, l, weight, &loss);
  for (int i = 0; i < FLOATS; i++) free(moved.x[i]);
  mica_tape_free(t);
  return value;
}

static void check_gradients(int number, const problem *p) {
  const int64_t rows = all_queries(p) * p->heads, n = rows * (p->value_dim + 1);
  double *weight = array(n, sizeof(double)), *direction[FLOATS], slope = 0;
  for (int64_t i = 0; i < n; i++) weight[i] = draw();
  mica_tape *t;
  assert_int_equal(mica_tape_create(engines[ENGINES - 1], NULL, &t), MICA_OK);
  mica_var in[FLOATS], l = MICA_NONE, loss;
  mica_set_training(t, true);
  mica_var y = attend(t, MICA_F64, p, in, &l);
  project(t, y, l, weight, &loss);
  if (mica_backward(t, loss) != MICA_OK) fail_msg("problem %d: %s", number, mica_tape_error(t));
  for (int i = 0; i < FLOATS; i++) {
    direction[i] = array(p->n[i], sizeof(double));
    for (int64_t k = 0; k < p->n[i]; k++) direction[i][k] = draw();
    mica_var g = mica_is_none(in[i]) ? MICA_NONE : mica_gradient(t, in[i]);
    if (mica_is_none(g)) continue;
    const mica_view v = mica_read(t, g);
    for (int64_t k = 0; k < p->n[i]; k++) slope += direction[i][k] * ((double *)v.data)[k];
  }
  mica_tape_free(t);
  const double h = 1e-6;
  const double up = value_at(p, direction, h, weight), down = value_at(p, direction, -h, weight);
  const double by_differences = (up - down) / (2 * h);
  const double size = fabs(by_differences) > 1 ? fabs(by_differences) : 1;
  if (!(fabs(slope - by_differences) <= 2e-6 * size))
    fail_msg("problem %d: the slope along a direction is %.10g, by differences %.10g", number,
             slope, by_differences);
  for (int i = 0; i < FLOATS; i++) free(direction[i]);
  free(weight);
}

static void check_problems(bool ragged, int n, uint64_t seed) {
  random_state = seed;
  for (int i = 0; i < n; i++) {
    problem p;
    draw_problem(&p, ragged);
    check_results(i, &p);
    check_gradients(i, &p);
    free_problem(&p);
  }
}

static void test_dense(void **state) {
  (void)state;
  check_problems(false, 400, 11);
}

static void test_ragged(void **state) {
  (void)state;
  check_problems(true, 300, 12);
}

/* ---- what is refused ---- */

enum { N = 2, LENGTH = 3, WIDTH = 4 };

/* The message of attention by `o` over [N,LENGTH,2,2], or ragged over [LENGTH,2,2]. */
static void refused(const char *message, const mica_attention_options *o, bool lse,
                    const int64_t *offsets, int64_t n_offsets) {
  static const double x[N * LENGTH * WIDTH];
  mica_tape *t;
  assert_int_equal(mica_tape_create(engines[ENGINES - 1], NULL, &t), MICA_OK);
  mica_var l, y;
  if (offsets) {
    mica_var q = floats(t, MICA_F32, MICA_SHAPE(LENGTH, 2, 2), x, true);
    const mica_view v = mica_view_of((void *)(uintptr_t)offsets, MICA_I64, MICA_SHAPE(n_offsets));
    y = mica_ragged_attention(t, q, q, q, MICA_NONE, mica_constant(t, &v), MICA_NONE, o,
                              lse ? &l : NULL);
  } else {
    mica_var q =
        floats(t, MICA_F32, o->heads ? MICA_SHAPE(N, LENGTH, WIDTH) : MICA_SHAPE(N, LENGTH, 2, 2),
               x, true);
    mica_attention_options own = *o;
    const int64_t three[LENGTH] = {0};
    const mica_view v = mica_view_of((void *)(uintptr_t)three, MICA_I64, MICA_SHAPE(LENGTH));
    if (o->window == 77) { /* segments of the queries alone */
      own.window = 0;
      own.query_segments = mica_constant(t, &v);
    }
    if (o->window == 78) { /* positions that are no numbers of tokens */
      own.window = 0;
      own.key_positions = q;
    }
    y = mica_attention(t, q, q, q, MICA_NONE, &own, lse ? &l : NULL);
  }
  assert_false(mica_ok(t));
  assert_true(mica_is_none(y) && (!lse || mica_is_none(l)));
  if (!strstr(mica_tape_error(t), message))
    fail_msg("%s: expected \"%s\"", mica_tape_error(t), message);
  mica_tape_free(t);
}

#define REFUSED(message, lse, ...)                                                                 \
  do {                                                                                             \
    mica_attention_options o = MICA_ATTENTION_OPTIONS;                                             \
    __VA_ARGS__;                                                                                   \
    refused(message, &o, lse, NULL, 0);                                                            \
  } while (0)

static void test_refusals(void **state) {
  (void)state;
  const double unbounded[2] = {0, (double)INFINITY}, growing[2] = {1, 1.5};
  REFUSED("no such map", false, o.map = (mica_attention_map)99);
  REFUSED("needs its function", false, o.map = MICA_ATTEND_CUSTOM);
  REFUSED("softmax divides by the sum", false, o.divisor = 2);
  REFUSED("needs a divisor", false, o.map = MICA_ATTEND_SILU);
  REFUSED("the divisor is", false, o.map = MICA_ATTEND_RELU, o.divisor = -3);
  REFUSED("the divisor is", false, o.map = MICA_ATTEND_RELU, o.divisor = (double)NAN);
  REFUSED("a power of 1 or more", false, o.power = 0.5);
  REFUSED("a power of 1 or more", false, o.power = 2, o.threshold = -1);
  REFUSED("divided by their sum", false, o.map = MICA_ATTEND_RELU, o.divisor = 3, o.power = 2);
  REFUSED("0 or more", false, o.window = -1);
  REFUSED("0 or more", false, o.left = -2);
  REFUSED("out of range", false, o.offset = INT64_MAX);
  REFUSED("strict is a kind of causal", false, o.strict = true);
  REFUSED("must be finite", false, o.slopes = unbounded);
  REFUSED("at most 1", false, o.decays = growing);
  REFUSED("no such distance", false, o.distance = (mica_attention_distance)9);
  REFUSED("need its columns", false, o.slopes = growing, o.distance = MICA_DISTANCE_MANHATTAN);
  REFUSED("dropout is a probability", false, o.dropout = 1.5);
  REFUSED("those of the queries and those of the keys", false, o.window = 77);
  REFUSED("are int64", false, o.window = 78);
  REFUSED("not a multiple of the heads", false, o.heads = 3);
  REFUSED("not a multiple of the heads", false, o.heads = 2, o.kv_heads = -1);
  REFUSED("do not fit together", false, o.heads = 2, o.kv_heads = 4);
  REFUSED("no log of the sum", true, o.power = 2);
  REFUSED("no log of the sum", true, o.map = MICA_ATTEND_SILU, o.divisor = 3);
  const mica_attention_options o = MICA_ATTENTION_OPTIONS;
  refused("offsets are int64", &o, false, (int64_t[]){0, 2}, 2);
  refused("offsets are int64", &o, false, (int64_t[]){1, 3}, 2);
  refused("offsets are int64", &o, true, (int64_t[]){0, 2, 1, 3}, 4);
  refused("offsets are int64", &o, false, (int64_t[]){0, 9, 3}, 3);
  refused("offsets are int64", &o, false, (int64_t[]){0}, 1);
}

/* Scores that would overflow e^s, and numbers that are hidden and not finite. */
static void test_large_and_hidden(void **state) {
  (void)state;
  double x[LENGTH * 2] = {300, 0, 0, 300, 1, (double)NAN}, v[LENGTH * 2] = {1, 2, 3, 4, 5, 6};
  v[4] = (double)INFINITY;
  for (int map = MICA_ATTEND_SOFTMAX; map <= MICA_ATTEND_RELU_SQUARED; map++) {
    mica_tape *t;
    assert_int_equal(mica_tape_create(engines[ENGINES - 1], NULL, &t), MICA_OK);
    const int64_t segment[LENGTH] = {0, 0, -1};
    const mica_view ids = mica_view_of((void *)(uintptr_t)segment, MICA_I64, MICA_SHAPE(LENGTH));
    mica_attention_options o = MICA_ATTENTION_OPTIONS;
    o.map = (mica_attention_map)map;
    o.divisor = map == MICA_ATTEND_SILU ? 1e6 : 0;
    o.query_segments = o.key_segments = mica_constant(t, &ids);
    o.scale = 1;
    mica_var q = floats(t, MICA_F32, MICA_SHAPE(1, LENGTH, 1, 2), x, true);
    mica_var values = floats(t, MICA_F32, MICA_SHAPE(1, LENGTH, 1, 2), v, true);
    mica_var y = mica_attention(t, q, q, values, MICA_NONE, &o, NULL);
    const mica_view out = mica_read(t, y);
    const float *at = out.data;
    for (int i = 0; i < 4; i++) assert_true(isfinite(at[i]) && at[i] >= 0);
    assert_true(at[0] > 0 && at[3] > 0 && at[4] == 0 && at[5] == 0);
    assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
    const mica_view g = mica_read(t, mica_gradient(t, q)),
                    gv = mica_read(t, mica_gradient(t, values));
    for (int i = 0; i < 2 * LENGTH; i++)
      assert_true(isfinite(((float *)g.data)[i]) && isfinite(((float *)gv.data)[i]));
    assert_true(((float *)gv.data)[4] == 0 && ((float *)g.data)[5] == 0);
    mica_tape_free(t);
  }
}

/* Weights, as attention to the rows of an identity gives them, are kept and scaled or dropped,
 * nearly as many as asked for, others for other heads and sequences, the same on every engine. */
static void test_dropout(void **state) {
  (void)state;
  enum { TOTAL = 160, HEADS = 2, SEQUENCES = 2, EACH = TOTAL / SEQUENCES };
  double *x = array(TOTAL * HEADS * 4, sizeof *x), *eye = array(TOTAL * HEADS * EACH, sizeof *eye);
  for (int64_t i = 0; i < TOTAL * HEADS * 4; i++) x[i] = draw();
  for (int64_t i = 0; i < TOTAL; i++)
    for (int64_t h = 0; h < HEADS; h++) eye[(i * HEADS + h) * EACH + i % EACH] = 1;
  for (int ragged = 0; ragged < 2; ragged++) {
    static float first[TOTAL * HEADS * EACH];
    for (int e = 0; e < ENGINES; e++) {
      if (!engines[e]) continue;
      mica_tape *t;
      assert_int_equal(mica_tape_create(engines[e], NULL, &t), MICA_OK);
      const int64_t offsets[SEQUENCES + 1] = {0, EACH, TOTAL};
      const mica_view ov =
          mica_view_of((void *)(uintptr_t)offsets, MICA_I64, MICA_SHAPE(SEQUENCES + 1));
      mica_attention_options o = MICA_ATTENTION_OPTIONS;
      o.dropout = 0.25;
      float *weight[2];
      for (int training = 0; training < 2; training++) {
        mica_set_training(t, training);
        mica_var y;
        if (ragged) {
          mica_var q = floats(t, MICA_F32, MICA_SHAPE(TOTAL, HEADS, 4), x, false);
          y = mica_ragged_attention(t, q, q,
                                    floats(t, MICA_F32, MICA_SHAPE(TOTAL, HEADS, EACH), eye, false),
                                    MICA_NONE, mica_constant(t, &ov), MICA_NONE, &o, NULL);
        } else {
          mica_var q = floats(t, MICA_F32, MICA_SHAPE(SEQUENCES, EACH, HEADS, 4), x, false);
          y = mica_attention(
              t, q, q, floats(t, MICA_F32, MICA_SHAPE(SEQUENCES, EACH, HEADS, EACH), eye, false),
              MICA_NONE, &o, NULL);
        }
        if (!mica_ok(t)) fail_msg("%s", mica_tape_error(t));
        weight[training] = mica_read(t, y).data;
      }
      int64_t dropped = 0, alike[2] = {0, 0};
      for (int64_t i = 0; i < TOTAL * HEADS * EACH; i++) {
        const float kept = weight[1][i];
        dropped += kept == 0;
        assert_true(kept == 0 || fabsf(kept - weight[0][i] / 0.75f) <= 1e-5f * kept);
        if (i / EACH % HEADS == 0) alike[0] += (kept == 0) == (weight[1][i + EACH] == 0);
        if (i < EACH * HEADS * EACH)
          alike[1] += (kept == 0) == (weight[1][i + EACH * HEADS * EACH] == 0);
        if (e == 0)
          first[i] = kept;
        else
          assert_true((kept == 0) == (first[i] == 0));
      }
      /* 5 deviations; two independent draws agree with probability 5 / 8. */
      const double n = TOTAL * HEADS * EACH;
      assert_true(fabs((double)dropped - n / 4) < 5 * sqrt(n * 3 / 16));
      for (int i = 0; i < 2; i++)
        assert_true(fabs((double)alike[i] - n / 2 * 5 / 8) < 5 * sqrt(n / 2 * 15 / 64));
      mica_tape_free(t);
    }
  }
  free(x);
  free(eye);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_dense),
      cmocka_unit_test(test_ragged),
      cmocka_unit_test(test_dropout),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_large_and_hidden),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
