/* Quotient and remainder: an id's vector is made of a row for id div m and one for id mod m (Shi et
 * al. 2020, "Compositional Embeddings Using Complementary Partitions"). A field is cut so where
 * that saves rows; else it keeps a row for each id. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

/* ---- the operation ---- */

enum { QUOTIENT, REMAINDER, QUOTIENT_IDS, REMAINDER_IDS };

/* y = q[i] r[j] or q[i] + r[j]; q[i] alone where j is -1. */
#define COMBINE(T, forward_name, backward_name)                                                    \
  static void forward_name(const mica_call *c, bool multiply, int64_t n, int64_t d, T *y) {        \
    const T *q = c->in[QUOTIENT].data, *r = c->in[REMAINDER].data;                                 \
    const int64_t *i = c->in[QUOTIENT_IDS].data, *j = c->in[REMAINDER_IDS].data;                   \
    for (int64_t k = 0; k < n; k++, y += d) {                                                      \
      const T *a = q + i[k] * d, *b = j[k] < 0 ? NULL : r + j[k] * d;                              \
      if (!b)                                                                                      \
        memcpy(y, a, (size_t)d * sizeof *y);                                                       \
      else if (multiply)                                                                           \
        for (int64_t x = 0; x < d; x++) y[x] = a[x] * b[x];                                        \
      else                                                                                         \
        for (int64_t x = 0; x < d; x++) y[x] = a[x] + b[x];                                        \
    }                                                                                              \
  }                                                                                                \
  /* The gradients of one of the two, packed: rows that have it, and their numbers. */             \
  static int64_t backward_name(const mica_call *c, int side, bool multiply, int64_t n, int64_t d,  \
                               int64_t *ids, T *g) {                                               \
    const int64_t *own = c->in[QUOTIENT_IDS + side].data;                                          \
    const int64_t *its = c->in[REMAINDER_IDS - side].data;                                         \
    const T *other = c->in[1 - side].data, *gy = c->grad_out[0].data;                              \
    int64_t rows = 0;                                                                              \
    for (int64_t k = 0; k < n; k++) {                                                              \
      if (own[k] < 0) continue;                                                                    \
      const T *b = multiply && its[k] >= 0 ? other + its[k] * d : NULL, *from = gy + k * d;        \
      T *to = g + rows * d;                                                                        \
      ids[rows++] = own[k];                                                                        \
      if (!b)                                                                                      \
        memcpy(to, from, (size_t)d * sizeof *to);                                                  \
      else                                                                                         \
        for (int64_t x = 0; x < d; x++) to[x] = from[x] * b[x];                                    \
    }                                                                                              \
    return rows;                                                                                   \
  }
COMBINE(float, combine_f32, spread_f32)
COMBINE(double, combine_f64, spread_f64)

static bool ids_within(const mica_view *ids, int64_t least, int64_t rows) {
  const int64_t *id = ids->data, n = mica_view_count(ids);
  for (int64_t i = 0; i < n; i++)
    if (id[i] < least || id[i] >= rows) return false;
  return true;
}

static void forward(mica_call *c) {
  const mica_view *q = &c->in[QUOTIENT], *r = &c->in[REMAINDER];
  const mica_view *i = &c->in[QUOTIENT_IDS], *j = &c->in[REMAINDER_IDS];
  if (q->shape.rank != 2 || r->shape.rank != 2 || q->dtype != r->dtype ||
      !mica_dtype_is_float(q->dtype) || q->shape.dim[1] != r->shape.dim[1] ||
      !mica_shape_equal(&i->shape, &j->shape) || i->shape.rank >= MICA_MAX_RANK ||
      i->dtype != MICA_I64 || j->dtype != MICA_I64) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected two tables of one width and their ids:");
    return;
  }
  if (!ids_within(i, 0, q->shape.dim[0]) || !ids_within(j, -1, r->shape.dim[0])) {
    mica_call_fail(c, MICA_ERR_INVALID, "an id is outside of its table:");
    return;
  }
  mica_shape shape = i->shape;
  shape.dim[shape.rank++] = q->shape.dim[1];
  const mica_view *y = mica_call_output(c, q->dtype, shape);
  if (!y) return;
  const bool multiply = *(const bool *)c->ctx;
  const int64_t n = mica_view_count(i), d = q->shape.dim[1];
  if (q->dtype == MICA_F32)
    combine_f32(c, multiply, n, d, y->data);
  else
    combine_f64(c, multiply, n, d, y->data);
  mica_call_mixes(c, QUOTIENT);
  mica_call_mixes(c, REMAINDER);
  for (int k = multiply ? 0 : QUOTIENT_IDS; k <= REMAINDER_IDS; k++) mica_call_save_input(c, k);
}

static void backward(mica_call *c) {
  const bool multiply = *(const bool *)c->ctx, single = c->grad_out[0].dtype == MICA_F32;
  const int64_t n = mica_view_count(&c->in[QUOTIENT_IDS]), d = mica_view_cols(&c->grad_out[0]);
  for (int side = 0; side < 2; side++) {
    if (!mica_call_needs_grad(c, side)) continue;
    int64_t *ids = mica_call_scratch(c, (size_t)n * sizeof *ids);
    void *g = mica_call_scratch(c, (size_t)(n * d) * (single ? sizeof(float) : sizeof(double)));
    if (!ids || !g) return;
    const int64_t rows = single ? spread_f32(c, side, multiply, n, d, ids, g)
                                : spread_f64(c, side, multiply, n, d, ids, g);
    mica_call_grad_rows(c, side, ids, g, rows);
  }
}

static const mica_custom_op combine_op = {
    {sizeof(mica_op), "compositional_embedding", MICA_OP_BY_EXAMPLE, backward}, forward, 0};

static mica_var combine(mica_tape *t, const mica_var in[4], bool multiply) {
  mica_var y = MICA_NONE;
  mica_custom(t, &combine_op, &multiply, sizeof multiply, 4, in, 1, &y);
  return y;
}

/* id div m, and id mod m. */
static void digits_forward(mica_call *c) {
  const int64_t m = *(const int64_t *)c->ctx, n = mica_view_count(&c->in[0]);
  if (c->in[0].dtype != MICA_I64) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected int64 ids:");
    return;
  }
  const mica_view *q = mica_call_output(c, MICA_I64, c->in[0].shape);
  const mica_view *r = q ? mica_call_output(c, MICA_I64, c->in[0].shape) : NULL;
  if (!r) return;
  const int64_t *id = c->in[0].data;
  for (int64_t i = 0; i < n; i++) {
    if (id[i] < 0) {
      mica_call_fail(c, MICA_ERR_INVALID, "id %lld is negative:", (long long)id[i]);
      return;
    }
    ((int64_t *)q->data)[i] = id[i] / m;
    ((int64_t *)r->data)[i] = id[i] % m;
  }
}

static const mica_custom_op digits_op = {
    {sizeof(mica_op), "id_digits", MICA_OP_BY_EXAMPLE, NULL}, digits_forward, 0};

mica_var mica_compositional_embedding(mica_tape *t, mica_var quotient, mica_var remainder,
                                      mica_var ids, bool multiply) {
  const int64_t m = mica_dim(t, remainder, 0);
  if (!mica_ok(t)) return MICA_NONE;
  if (m < 1) return mica_latch(t, MICA_ERR_SHAPE, "compositional_embedding: no remainder rows");
  mica_var in[4] = {quotient, remainder, MICA_NONE, MICA_NONE};
  mica_scope_begin(t, NULL);
  mica_custom(t, &digits_op, &m, sizeof m, 1, &ids, 2, in + QUOTIENT_IDS);
  return mica_scope_end(t, combine(t, in, multiply));
}

/* ---- the table ---- */

typedef struct compositional_options {
  uint32_t size;
  double bytes;
  int32_t combine; /* mul|sum */
} compositional_options;

/* Field f's rows of `quotient` are first[f] .. first[f + 1] - 1, of `remainder` from second on, as
 * many as its m; none: a row for each id. */
typedef struct cut {
  int64_t first, second;
} cut;

static int64_t rows_with(int64_t n, int64_t m) {
  return m ? (n + m - 1) / m + m : n;
}

/* The m of n ids for at most `share` n rows: the largest that has no more, from sqrt n on, where
 * rows rise with m; the one with the fewest rows where none has; 0 where nothing is saved. */
static int64_t modulus(int64_t n, double share) {
  const double most = share * (double)n;
  int64_t least = (int64_t)ceil(sqrt((double)n));
  if (rows_with(n, least) >= n || most >= (double)n) return 0;
  int64_t lo = least, hi = n - 1, best = least;
  while (lo <= hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    if ((double)rows_with(n, middle) <= most)
      best = middle, lo = middle + 1;
    else
      hi = middle - 1;
  }
  return rows_with(n, best) < n ? best : 0;
}

static int64_t share_bytes(const void *ctx, double share) {
  const mica_embedding_table *e = ctx;
  int64_t rows = 0;
  for (int64_t f = 0; f < e->fields; f++) rows += rows_with(e->size[f], modulus(e->size[f], share));
  return 4 * rows * e->width + 16 * (e->fields + 1);
}

static mica_status compositional_init(mica_embedding_table *e) {
  const compositional_options *o = e->options;
  const double share = mica_embedding_share(e->budget, share_bytes, e);
  if (share < 0) return mica_embedding_too_small(e, share_bytes(e, 0));
  cut *plan = e->plan = mica_calloc((size_t)e->fields + 1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  for (int64_t f = 0; f < e->fields; f++) {
    const int64_t m = modulus(e->size[f], share);
    plan[f + 1].first = plan[f].first + (m ? (e->size[f] + m - 1) / m : e->size[f]);
    plan[f + 1].second = plan[f].second + m;
  }
  /* Of two factors the product has the usual spread. */
  mica_init init = mica_embedding_values(e);
  if (o->combine == 0) init.b = sqrt(sqrt(3.0) * init.b), init.a = -init.b;
  const int64_t m = plan[e->fields].second;
  mica_status status =
      mica_embedding_weight(e, "quotient", MICA_SHAPE(plan[e->fields].first, e->width), &init);
  if (status == MICA_OK)
    status = mica_embedding_weight(e, "remainder", MICA_SHAPE(m ? m : 1, e->width), &init);
  return status;
}

static int64_t quotient_row(const mica_embedding_table *e, int64_t field, int64_t id) {
  const cut *plan = (const cut *)e->plan + field;
  const int64_t m = plan[1].second - plan[0].second;
  return plan->first + (m ? id / m : id);
}

static int64_t remainder_row(const mica_embedding_table *e, int64_t field, int64_t id) {
  const cut *plan = (const cut *)e->plan + field;
  const int64_t m = plan[1].second - plan[0].second;
  return m ? plan->second + id % m : -1;
}

static mica_var compositional_lookup(mica_tape *t, const mica_embedding_table *e,
                                     const mica_embedding_batch *b) {
  const compositional_options *o = e->options;
  const mica_var in[4] = {mica_weight(t, e->node, "quotient"), mica_weight(t, e->node, "remainder"),
                          mica_embedding_map(t, e, b, quotient_row),
                          mica_embedding_map(t, e, b, remainder_row)};
  return combine(t, in, o->combine == 0);
}

static int64_t compositional_bytes(const mica_embedding_table *e) {
  const cut *all = (const cut *)e->plan + e->fields;
  return 4 * (all->first + all->second) * e->width + 16 * (e->fields + 1);
}

/* ---- the packed form: places [2 (fields + 1)], the cuts; quotient; remainder. Setting 0: multiply
 * ---- */

static mica_status compositional_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const compositional_options *o = e->options;
  p->form = &mica_packed_pairs;
  p->setting[0] = o->combine == 0;
  int64_t *at = mica_packed_array(p, 0, 2 * (e->fields + 1));
  if (!at) return MICA_ERR_MEMORY;
  memcpy(at, e->plan, (size_t)(e->fields + 1) * sizeof(cut));
  const int64_t m = ((const cut *)e->plan)[e->fields].second;
  mica_status status = mica_packed_copy(p, 1, mica_node_param(e->node, "quotient"));
  if (status != MICA_OK || m) /* where no field is cut the one row is of no use */
    return status == MICA_OK ? mica_packed_copy(p, 2, mica_node_param(e->node, "remainder"))
                             : status;
  return mica_packed_array(p, 2, 0) ? MICA_OK : MICA_ERR_MEMORY;
}

static mica_status check(mica_packed_embedding *p) {
  const int64_t fields = p->fields;
  if (mica_packed_count(p, 0) != 2 * (fields + 1))
    return mica_packed_wrong(p, "the fields' places do not fit");
  const cut *plan = mica_packed_data(p, 0);
  if (plan[0].first < 0 || plan[0].second < 0)
    return mica_packed_wrong(p, "the fields' places do not fit");
  for (int64_t f = 0; f < fields; f++) {
    if (plan[f + 1].first < plan[f].first || plan[f + 1].second < plan[f].second)
      return mica_packed_wrong(p, "the fields' places do not rise");
    const int64_t q = plan[f + 1].first - plan[f].first, m = plan[f + 1].second - plan[f].second;
    if (q < 1 || q > p->size[f] || m > p->size[f] ||
        q < (m ? (p->size[f] + m - 1) / m : p->size[f]))
      return mica_packed_wrong(p, "the fields' places do not fit");
  }
  if (plan[fields].first * p->width > mica_packed_count(p, 1) ||
      plan[fields].second * p->width > mica_packed_count(p, 2))
    return mica_packed_wrong(p, "too few rows");
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const cut *plan = (const cut *)mica_packed_data(p, 0) + field;
  const int64_t m = plan[1].second - plan[0].second, d = p->width;
  const float *q = (const float *)mica_packed_data(p, 1) + (plan->first + (m ? id / m : id)) * d;
  const float *r = (const float *)mica_packed_data(p, 2) + (plan->second + (m ? id % m : 0)) * d;
  if (!m)
    memcpy(out, q, (size_t)d * sizeof *out);
  else if (p->setting[0])
    for (int64_t i = 0; i < d; i++) out[i] = q[i] * r[i];
  else
    for (int64_t i = 0; i < d; i++) out[i] = q[i] + r[i];
}

const mica_packed_form mica_packed_pairs = {
    "pairs", {"places", "quotient", "remainder"}, {MICA_I64, MICA_F32, MICA_F32}, check, row};

static const mica_option options[] = {MICA_EMBEDDING_BYTES(compositional_options, "0.1"),
                                      {"combine", MICA_OPTION_CHOICE, "mul", 0, 0, "mul|sum",
                                       "how the two rows meet",
                                       offsetof(compositional_options, combine)},
                                      {0}};
static const mica_embedding_method compositional_method = {.init = compositional_init,
                                                           .lookup = compositional_lookup,
                                                           .bytes = compositional_bytes,
                                                           .pack = compositional_pack};
MICA_EMBEDDING_COMPONENT(compositional, "compositional",
                         "rows for quotient and remainder of an id (QR)", options,
                         compositional_options);
