/* Tensor train: the table of a field as a product of three cores (Yin et al. 2021, "TT-Rec"). An
 * id's digits choose a slice of each core; their product is its vector. */
#include "embedding/table.h"
#include "tensor/kernel/factor.h"

#include <math.h>
#include <string.h>

typedef struct train_shape {
  int64_t d[3], rank;
} train_shape;

/* Numbers of core k's rows. */
static int64_t row_of(const train_shape *s, int k) {
  return (k ? s->rank : 1) * s->d[k] * (k < 2 ? s->rank : 1);
}

/* ---- the operation ---- */

enum { CORE, IDS = 3 };

/* y [d0 d1, d2] = (a b) c with a [d0, r], b [r, d1 r], c [r, d2]; ab [d0 d1, r] is left. */
#define TRAIN(T, product_name, gradient_name)                                                      \
  static void product_name(const train_shape *s, const T *a, const T *b, const T *c, T *ab,        \
                           T *y) {                                                                 \
    const int64_t r = s->rank, w = s->d[1] * r, rows = s->d[0] * s->d[1], d = s->d[2];             \
    for (int64_t i = 0; i < s->d[0]; i++) {                                                        \
      T *to = ab + i * w;                                                                          \
      for (int64_t j = 0; j < w; j++) to[j] = a[i * r] * b[j];                                     \
      for (int64_t k = 1; k < r; k++)                                                              \
        for (int64_t j = 0; j < w; j++) to[j] += a[i * r + k] * b[k * w + j];                      \
    }                                                                                              \
    for (int64_t i = 0; i < rows; i++) {                                                           \
      T *to = y + i * d;                                                                           \
      for (int64_t j = 0; j < d; j++) to[j] = ab[i * r] * c[j];                                    \
      for (int64_t k = 1; k < r; k++)                                                              \
        for (int64_t j = 0; j < d; j++) to[j] += ab[i * r + k] * c[k * d + j];                     \
    }                                                                                              \
  }                                                                                                \
  static void gradient_name(const train_shape *s, const T *a, const T *b, const T *c, const T *ab, \
                            T *gab, const T *gy, T *ga, T *gb, T *gc) {                            \
    const int64_t r = s->rank, w = s->d[1] * r, rows = s->d[0] * s->d[1], d = s->d[2];             \
    memset(gc, 0, (size_t)(r * d) * sizeof *gc);                                                   \
    for (int64_t i = 0; i < rows; i++)                                                             \
      for (int64_t k = 0; k < r; k++) {                                                            \
        T sum = 0;                                                                                 \
        for (int64_t j = 0; j < d; j++) {                                                          \
          gc[k * d + j] += ab[i * r + k] * gy[i * d + j];                                          \
          sum += gy[i * d + j] * c[k * d + j];                                                     \
        }                                                                                          \
        gab[i * r + k] = sum;                                                                      \
      }                                                                                            \
    memset(gb, 0, (size_t)(r * w) * sizeof *gb);                                                   \
    for (int64_t i = 0; i < s->d[0]; i++)                                                          \
      for (int64_t k = 0; k < r; k++) {                                                            \
        T sum = 0;                                                                                 \
        for (int64_t j = 0; j < w; j++) {                                                          \
          gb[k * w + j] += a[i * r + k] * gab[i * w + j];                                          \
          sum += gab[i * w + j] * b[k * w + j];                                                    \
        }                                                                                          \
        ga[i * r + k] = sum;                                                                       \
      }                                                                                            \
  }
TRAIN(float, product_f32, gradient_f32)
TRAIN(double, product_f64, gradient_f64)

typedef struct train_job {
  train_shape shape;
  bool single;
  const void *core[3];
  const int64_t *id[3]; /* digits */
  int64_t n;
  void *scratch; /* of each id: ab, and in backward its gradient behind it */
  const void *gy;
  void *y, *g[3];
} train_job;

#define PIECE 64

static const char *at(const void *from, const train_job *j, int64_t elements) {
  return (const char *)from + (size_t)elements * (j->single ? sizeof(float) : sizeof(double));
}

static void train_range(void *ctx, int64_t begin, int64_t end) {
  const train_job *j = ctx;
  const train_shape *s = &j->shape;
  const int64_t ab = s->d[0] * s->d[1] * s->rank, d = s->d[0] * s->d[1] * s->d[2];
  const int64_t last = end * PIECE < j->n ? end * PIECE : j->n;
  for (int64_t i = begin * PIECE; i < last; i++) {
    const void *core[3];
    void *g[3];
    for (int k = 0; k < 3; k++) {
      core[k] = at(j->core[k], j, j->id[k][i] * row_of(s, k));
      g[k] = j->gy ? (void *)(uintptr_t)at(j->g[k], j, i * row_of(s, k)) : NULL;
    }
    void *own = (void *)(uintptr_t)at(j->scratch, j, i * ab * (j->gy ? 2 : 1));
    void *second = j->gy ? (void *)(uintptr_t)at(own, j, ab) : NULL;
    void *y = (void *)(uintptr_t)at(j->y, j, i * d);
    if (j->single)
      product_f32(s, core[0], core[1], core[2], own, y);
    else
      product_f64(s, core[0], core[1], core[2], own, y);
    if (!j->gy) continue;
    const void *gy = at(j->gy, j, i * d);
    if (j->single)
      gradient_f32(s, core[0], core[1], core[2], own, second, gy, g[0], g[1], g[2]);
    else
      gradient_f64(s, core[0], core[1], core[2], own, second, gy, g[0], g[1], g[2]);
  }
}

static void forward(mica_call *c) {
  train_job j = {.shape = *(const train_shape *)c->ctx};
  const mica_view *ids = &c->in[IDS];
  const int64_t n = mica_view_count(ids), *id = ids->data;
  j.single = c->in[CORE].dtype == MICA_F32;
  j.n = n;
  int64_t rows[3], most = 1;
  for (int k = 0; k < 3; k++) {
    const mica_view *core = &c->in[CORE + k];
    if (core->shape.rank != 2 || core->dtype != c->in[CORE].dtype ||
        !mica_dtype_is_float(core->dtype) || core->shape.dim[1] != row_of(&j.shape, k) ||
        ids->dtype != MICA_I64 || ids->shape.rank >= MICA_MAX_RANK) {
      mica_call_fail(c, MICA_ERR_SHAPE, "expected ids and cores [n, r d r] of one type:");
      return;
    }
    rows[k] = core->shape.dim[0];
    most *= rows[k];
    j.core[k] = core->data;
  }
  int64_t *digit = mica_call_saved(c, (size_t)(3 * n) * sizeof *digit);
  mica_shape shape = ids->shape;
  shape.dim[shape.rank++] = j.shape.d[0] * j.shape.d[1] * j.shape.d[2];
  const mica_view *y = digit ? mica_call_output(c, c->in[CORE].dtype, shape) : NULL;
  const int64_t ab = j.shape.d[0] * j.shape.d[1] * j.shape.rank;
  j.scratch = y ? mica_call_scratch(c, (size_t)(n * ab) * mica_dtype_size(y->dtype)) : NULL;
  if (!j.scratch) return;
  for (int64_t i = 0; i < n; i++) {
    if (id[i] < 0 || id[i] >= most) {
      mica_call_fail(c, MICA_ERR_INVALID,
                     "id %lld, expected 0 or more and below %lld:", (long long)id[i],
                     (long long)most);
      return;
    }
    digit[i] = id[i] % rows[0];
    digit[n + i] = id[i] / rows[0] % rows[1];
    digit[2 * n + i] = id[i] / rows[0] / rows[1];
  }
  for (int k = 0; k < 3; k++) j.id[k] = digit + k * n;
  j.y = y->data;
  mica_parallel_for(c->engine, (n + PIECE - 1) / PIECE, train_range, &j);
  for (int k = 0; k < 3; k++) {
    mica_call_mixes(c, CORE + k);
    mica_call_save_input(c, CORE + k);
  }
  mica_call_save_input(c, IDS);
}

static void backward(mica_call *c) {
  train_job j = {.shape = *(const train_shape *)c->ctx};
  const int64_t n = mica_view_count(&c->in[IDS]);
  const mica_dtype dtype = c->grad_out[0].dtype;
  const int64_t ab = j.shape.d[0] * j.shape.d[1] * j.shape.rank;
  const int64_t *digit = c->saved[0];
  j.single = dtype == MICA_F32;
  j.n = n;
  j.scratch = mica_call_scratch(c, (size_t)(2 * n * ab) * mica_dtype_size(dtype));
  j.y =
      mica_call_scratch(c, (size_t)(n * mica_view_cols(&c->grad_out[0])) * mica_dtype_size(dtype));
  for (int k = 0; k < 3; k++) {
    j.core[k] = c->in[CORE + k].data;
    j.id[k] = digit + k * n;
    j.g[k] = mica_call_scratch(c, (size_t)(n * row_of(&j.shape, k)) * mica_dtype_size(dtype));
    if (!j.g[k]) return;
  }
  if (!j.scratch || !j.y) return;
  j.gy = c->grad_out[0].data;
  mica_parallel_for(c->engine, (n + PIECE - 1) / PIECE, train_range, &j);
  for (int k = 0; k < 3; k++)
    if (mica_call_needs_grad(c, CORE + k)) mica_call_grad_rows(c, CORE + k, j.id[k], j.g[k], n);
}

static const mica_custom_op train_op = {
    {sizeof(mica_op), "tensor_train_embedding", MICA_OP_BY_EXAMPLE, backward}, forward, 0};

mica_var mica_tensor_train_embedding(mica_tape *t, const mica_var core[3], mica_var ids,
                                     const int64_t dims[3], int64_t rank) {
  const train_shape s = {{dims[0], dims[1], dims[2]}, rank};
  const mica_var in[4] = {core[0], core[1], core[2], ids};
  mica_var y = MICA_NONE;
  if (dims[0] < 1 || dims[1] < 1 || dims[2] < 1 || rank < 1)
    return mica_latch(t, MICA_ERR_INVALID, "tensor_train_embedding: sizes below 1");
  mica_custom(t, &train_op, &s, sizeof s, 4, in, 1, &y);
  return y;
}

/* ---- the table ---- */

#define TRAIN_MOST 4096 /* numbers of the product of the first two cores */

typedef struct train_options {
  uint32_t size;
  double bytes;
} train_options;

/* Of a field: rows of the cores, rank 0: a row for each id; `first`: its first number of all. */
typedef struct train_field {
  int64_t n[3], rank, first;
} train_field;

/* D = d0 d1 d2, the last the largest: 16 = 2 2 4. */
static void cut_width(int64_t width, int64_t d[3]) {
  d[0] = d[1] = 1;
  for (int k = 0; k < 2; k++) {
    const int64_t most = (int64_t)(pow((double)width, 1.0 / (3 - k)) + 1e-9);
    for (d[k] = most; width % d[k]; d[k]--) {
    }
    width /= d[k];
  }
  d[2] = width;
}

static void cut_rows(int64_t size, int64_t n[3]) {
  n[2] = (int64_t)ceil(cbrt((double)size) - 1e-9);
  n[1] = (int64_t)ceil(sqrt((double)size / (double)n[2]) - 1e-9);
  n[0] = (size + n[1] * n[2] - 1) / (n[1] * n[2]);
}

static int64_t numbers_of(const int64_t n[3], const int64_t d[3], int64_t rank) {
  const train_shape s = {{d[0], d[1], d[2]}, rank};
  return n[0] * row_of(&s, 0) + n[1] * row_of(&s, 1) + n[2] * row_of(&s, 2);
}

/* Of a field with this rank at most: the rank that it gets, 0 where a row for each id is no
 * larger. */
static int64_t rank_of(const mica_embedding_table *e, int64_t field, int64_t rank,
                       int64_t *numbers) {
  int64_t n[3], d[3];
  cut_rows(e->size[field], n);
  cut_width(e->width, d);
  *numbers = numbers_of(n, d, rank);
  if (*numbers < e->size[field] * e->width) return rank;
  *numbers = e->size[field] * e->width;
  return 0;
}

static int64_t overhead(const mica_embedding_table *e) {
  return (int64_t)sizeof(train_field) * e->fields;
}

static int64_t rank_bytes(const void *ctx, int64_t rank) {
  const mica_embedding_table *e = ctx;
  int64_t sum = 0, numbers;
  for (int64_t f = 0; f < e->fields; f++) {
    rank_of(e, f, rank, &numbers);
    sum += numbers;
  }
  return 4 * sum + overhead(e);
}

/* Standard normal draws, those nearer to 0 than half a deviation or beyond two drawn again: an
 * entry of the table is a product of them, and would be far too small too often. */
static float kept_away(mica_key key, uint64_t i) {
  double v = 1;
  for (uint64_t k = 0; k < 64; k++) {
    v = mica_random_normal(mica_key_fold(key, k), i);
    if (fabs(v) >= 0.5 && fabs(v) <= 2) break;
  }
  return (float)v;
}

static mica_status make_field(mica_embedding_table *e, int64_t f, const train_field *plan) {
  static const char *const names[] = {"core0", "core1", "core2"};
  const uint32_t flags = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING;
  mica_node *node = mica_node_childf(e->node, "fields.%lld", (long long)f);
  train_shape s = {.rank = plan->rank};
  if (!node) return MICA_ERR_MEMORY;
  cut_width(e->width, s.d);
  if (!plan->rank) {
    const mica_init usual = mica_embedding_values(e);
    return mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(e->size[f], e->width), flags, &usual,
                          NULL);
  }
  const mica_init normal = {MICA_INIT_NORMAL, 0, 1, 0, false};
  const double deviation =
      pow(1 / sqrt((double)(plan->n[0] * plan->n[1] * plan->n[2]) / 3), 1.0 / 3);
  mica_status status = MICA_OK;
  for (int k = 0; k < 3 && status == MICA_OK; k++) {
    mica_param *q;
    status = mica_param_add(node, names[k], MICA_F32, MICA_SHAPE(plan->n[k], row_of(&s, k)), flags,
                            &normal, &q);
    if (status != MICA_OK) break;
    /* The draws of the tree's own seed are the key of these. */
    float *v = mica_param_write(q);
    const int64_t count = mica_tensor_count(mica_param_value(q));
    const mica_key key = mica_key_fold_name(
        mica_key_seed(mica_hash64(v, sizeof *v * (size_t)(count < 8 ? count : 8), 0)),
        mica_param_path(q));
    for (int64_t i = 0; i < count; i++) v[i] = kept_away(key, (uint64_t)i) * (float)deviation;
  }
  return status;
}

static mica_status train_init(mica_embedding_table *e) {
  int64_t numbers, more, sum;
  if (e->fields > MICA_EMBEDDING_OWN_FIELDS)
    return mica_fail(MICA_ERR_UNSUPPORTED, "table tt: %lld fields, at most %d",
                     (long long)e->fields, MICA_EMBEDDING_OWN_FIELDS);
  int64_t d[3];
  cut_width(e->width, d);
  const int64_t rank =
      mica_embedding_largest(1, TRAIN_MOST / (d[0] * d[1]) - 1, e->budget, rank_bytes, e);
  if (rank < 1) return mica_embedding_too_small(e, rank_bytes(e, 1));
  train_field *plan = e->plan = mica_calloc((size_t)e->fields, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  sum = rank_bytes(e, rank);
  /* What is left goes to further ranks of the fields that it does for. */
  for (int64_t f = 0, first = 0; f < e->fields; f++) {
    plan[f].rank = rank_of(e, f, rank, &numbers);
    const int64_t next = plan[f].rank ? rank_of(e, f, rank + 1, &more) : 0;
    if (plan[f].rank && sum + 4 * (more - numbers) <= e->budget) {
      sum += 4 * (more - numbers);
      plan[f].rank = next;
      numbers = more;
    }
    cut_rows(e->size[f], plan[f].n);
    plan[f].first = first;
    first += numbers;
  }
  mica_status status = MICA_OK;
  for (int64_t f = 0; f < e->fields && status == MICA_OK; f++) status = make_field(e, f, &plan[f]);
  return status;
}

static mica_var field_lookup(mica_tape *t, const mica_embedding_table *e, int64_t f, mica_var ids) {
  const train_field *plan = (const train_field *)e->plan + f;
  mica_node *node = mica_embedding_field(e, f);
  int64_t d[3];
  if (!plan->rank) return mica_embedding(t, mica_weight(t, node, "weight"), ids);
  cut_width(e->width, d);
  const mica_var core[3] = {mica_weight(t, node, "core0"), mica_weight(t, node, "core1"),
                            mica_weight(t, node, "core2")};
  return mica_tensor_train_embedding(t, core, ids, d, plan->rank);
}

static mica_var train_lookup(mica_tape *t, const mica_embedding_table *e,
                             const mica_embedding_batch *b) {
  return mica_embedding_by_field(t, e, b, field_lookup);
}

static int64_t numbers_in(const train_field *plan, int64_t size, int64_t width) {
  int64_t d[3];
  cut_width(width, d);
  return plan->rank ? numbers_of(plan->n, d, plan->rank) : size * width;
}

static int64_t train_bytes(const mica_embedding_table *e) {
  const train_field *last = (const train_field *)e->plan + e->fields - 1;
  return 4 * (last->first + numbers_in(last, e->size[e->fields - 1], e->width)) + overhead(e);
}

/* ---- the packed form: shapes [5 fields], weight ---- */

static mica_status train_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  static const char *const names[] = {"core0", "core1", "core2"};
  const train_field *plan = e->plan;
  p->form = &mica_packed_train;
  int64_t *shapes = mica_packed_array(p, 0, 5 * e->fields);
  float *to = shapes ? mica_packed_array(p, 1, (train_bytes(e) - overhead(e)) / 4) : NULL;
  if (!to) return MICA_ERR_MEMORY;
  memcpy(shapes, plan, (size_t)e->fields * sizeof *plan);
  for (int64_t f = 0; f < e->fields; f++) {
    const mica_node *node = mica_embedding_field(e, f);
    for (int k = 0; k < (plan[f].rank ? 3 : 1); k++) {
      const mica_tensor *v =
          mica_param_value(mica_node_param(node, plan[f].rank ? names[k] : "weight"));
      memcpy(to, mica_tensor_data(v), (size_t)mica_tensor_count(v) * sizeof *to);
      to += mica_tensor_count(v);
    }
  }
  return MICA_OK;
}

static mica_status check(mica_packed_embedding *p) {
  if (mica_packed_count(p, 0) != 5 * p->fields) return mica_packed_wrong(p, "no shape of a field");
  const train_field *plan = mica_packed_data(p, 0);
  int64_t d[3];
  cut_width(p->width, d);
  for (int64_t f = 0; f < p->fields; f++) {
    bool fits = plan[f].first >= 0 && plan[f].rank >= 0 && plan[f].rank <= TRAIN_MOST / d[0] / d[1];
    for (int k = 0; k < 3; k++) fits = fits && plan[f].n[k] >= 1 && plan[f].n[k] < 1 << 20;
    if (!fits || plan[f].n[0] * plan[f].n[1] < 1 ||
        (p->size[f] - 1) / plan[f].n[0] / plan[f].n[1] >= plan[f].n[2] ||
        plan[f].first > mica_packed_count(p, 1) ||
        numbers_in(&plan[f], p->size[f], p->width) > mica_packed_count(p, 1) - plan[f].first)
      return mica_packed_wrong(p, "a field's shape does not fit");
  }
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const train_field *plan = (const train_field *)mica_packed_data(p, 0) + field;
  const float *core = (const float *)mica_packed_data(p, 1) + plan->first;
  float ab[TRAIN_MOST];
  if (!plan->rank) {
    memcpy(out, core + id * p->width, (size_t)p->width * sizeof *out);
    return;
  }
  train_shape s = {.rank = plan->rank};
  cut_width(p->width, s.d);
  const float *second = core + plan->n[0] * row_of(&s, 0),
              *third = second + plan->n[1] * row_of(&s, 1);
  product_f32(&s, core + id % plan->n[0] * row_of(&s, 0),
              second + id / plan->n[0] % plan->n[1] * row_of(&s, 1),
              third + id / plan->n[0] / plan->n[1] * row_of(&s, 2), ab, out);
}

const mica_packed_form mica_packed_train = {
    "train", {"shapes", "cores"}, {MICA_I64, MICA_F32}, check, row};

/* ---- a finished matrix ----
 *
 * With (i0, d0), (i1, d1), (i2, d2) as three axes it is a tensor; its first core are the leading
 * left singular vectors of the unfolding along the first axis, the second those of what is left
 * along the first two (Oseledets 2011, "Tensor-Train Decomposition"). */

typedef struct decomposition {
  int64_t n[3], d[3], rank;
} decomposition;

/* The `rank` leading left singular vectors [n, rank] of a [n, m], zeros beyond n or m of them: from
 * the eigenvectors of the smaller of a a^T and a^T a. */
static mica_status leading(const double *a, int64_t n, int64_t m, int64_t rank, double *out) {
  const bool wide = n <= m;
  const int64_t k = wide ? n : m, inner = wide ? m : n;
  const int64_t row = wide ? m : 1, column = wide ? 1 : m; /* of the smaller side, and along it */
  double *room = mica_calloc((size_t)(2 * k * k + 4 * k), sizeof *room);
  if (!room) return MICA_ERR_MEMORY;
  double *gram = room, *vectors = room + k * k, *values = vectors + k * k, *work = values + k;
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = 0; j <= i; j++) {
      double sum = 0;
      for (int64_t x = 0; x < inner; x++) sum += a[i * row + x * column] * a[j * row + x * column];
      gram[i * k + j] = gram[j * k + i] = sum;
    }
  const bool good = mica_factor_eigen(k, gram, values, vectors, work);
  for (int64_t r = 0; r < rank && good; r++) {
    const int64_t at = k - 1 - r;
    const double size = at >= 0 && values[at] > 0 ? sqrt(values[at]) : 0;
    for (int64_t i = 0; i < n; i++) {
      double v = at >= 0 && wide ? vectors[i * k + at] : 0;
      if (at >= 0 && !wide && size > 0) {
        for (int64_t x = 0; x < m; x++) v += a[i * m + x] * vectors[x * k + at];
        v /= size;
      }
      out[i * rank + r] = v;
    }
  }
  mica_free(room);
  return good ? MICA_OK : mica_fail(MICA_ERR_NUMERIC, "tt: eigenvalues did not converge");
}

/* left [r, m] = u^T a, u [n, r], a [n, m]. */
static void project(const double *u, const double *a, int64_t n, int64_t r, int64_t m,
                    double *left) {
  memset(left, 0, (size_t)(r * m) * sizeof *left);
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < r; k++)
      for (int64_t j = 0; j < m; j++) left[k * m + j] += u[i * r + k] * a[i * m + j];
}

/* Row id of the table is x[id]; ids beyond the last are 0. */
static void unfold(const decomposition *o, const float *x, int64_t rows, int64_t width, double *a) {
  const int64_t m2 = o->n[2] * o->d[2], m1 = o->n[1] * o->d[1];
  for (int64_t id = 0; id < rows; id++)
    for (int64_t k = 0; k < width; k++) {
      const int64_t i0 = id % o->n[0], i1 = id / o->n[0] % o->n[1], i2 = id / o->n[0] / o->n[1];
      const int64_t k2 = k % o->d[2], k1 = k / o->d[2] % o->d[1], k0 = k / o->d[2] / o->d[1];
      a[((i0 * o->d[0] + k0) * m1 + i1 * o->d[1] + k1) * m2 + i2 * o->d[2] + k2] =
          (double)x[id * width + k];
    }
}

static mica_status decompose(const decomposition *o, const float *x, int64_t rows, int64_t width,
                             float *core) {
  const int64_t r = o->rank, m0 = o->n[0] * o->d[0], m1 = o->n[1] * o->d[1], m2 = o->n[2] * o->d[2];
  double *a = mica_calloc((size_t)(m0 * m1 * m2), sizeof *a);
  double *left = mica_calloc((size_t)(r * m1 * m2), sizeof *left);
  double *u = mica_calloc((size_t)(m0 * r + r * m1 * r + r * m2), sizeof *u);
  mica_status status = a && left && u ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    unfold(o, x, rows, width, a);
    status = leading(a, m0, m1 * m2, r, u);
  }
  double *second = u + m0 * r, *third = second + r * m1 * r;
  if (status == MICA_OK) {
    project(u, a, m0, r, m1 * m2, left);
    status = leading(left, r * m1, m2, r, second);
  }
  if (status == MICA_OK) {
    project(second, left, r * m1, r, m2, third);
    /* [i0, d0, r], [r, i1, d1, r], [r, i2, d2] to cores of rows for i. */
    for (int64_t i = 0; i < m0 * r; i++) *core++ = (float)u[i];
    for (int64_t i = 0; i < o->n[1]; i++)
      for (int64_t k = 0; k < r; k++)
        for (int64_t j = 0; j < o->d[1] * r; j++)
          *core++ = (float)second[(k * o->n[1] + i) * o->d[1] * r + j];
    for (int64_t i = 0; i < o->n[2]; i++)
      for (int64_t k = 0; k < r; k++)
        for (int64_t j = 0; j < o->d[2]; j++)
          *core++ = (float)third[(k * o->n[2] + i) * o->d[2] + j];
  }
  mica_free(u);
  mica_free(left);
  mica_free(a);
  return status;
}

static mica_status train_compress(const mica_embedding_table *e, const float *x, mica_key key,
                                  mica_packed_embedding *p) {
  (void)key;
  decomposition o;
  cut_rows(e->rows, o.n);
  cut_width(e->width, o.d);
  int64_t most = TRAIN_MOST / (o.d[0] * o.d[1]);
  if (most > o.n[0] * o.d[0]) most = o.n[0] * o.d[0];
  if (most > o.n[2] * o.d[2]) most = o.n[2] * o.d[2];
  o.rank = mica_embedding_largest(1, most, e->budget, rank_bytes, e);
  if (o.rank < 1) return mica_embedding_too_small(e, rank_bytes(e, 1));
  p->form = &mica_packed_train;
  const train_field plan = {{o.n[0], o.n[1], o.n[2]}, o.rank, 0};
  int64_t *shapes = mica_packed_array(p, 0, 5);
  float *core = shapes ? mica_packed_array(p, 1, numbers_of(o.n, o.d, o.rank)) : NULL;
  if (!core) return MICA_ERR_MEMORY;
  memcpy(shapes, &plan, sizeof plan);
  return decompose(&o, x, e->rows, e->width, core);
}

static const mica_option options[] = {MICA_EMBEDDING_BYTES(train_options, "0.1"), {0}};
static const mica_embedding_method tt_method = {.init = train_init,
                                                .lookup = train_lookup,
                                                .bytes = train_bytes,
                                                .pack = train_pack,
                                                .compress = train_compress};
MICA_EMBEDDING_COMPONENT(tt, "tt", "tensor train: three cores for each field (TT-Rec)", options,
                         train_options);
