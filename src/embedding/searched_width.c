/* OptEmbed (Lyu et al. 2022): rows whose L1 norm stays below a threshold of their field, which is
 * learnt, are dropped; and vectors keep their first elements only, a width for each field, found by
 * evolution on a network that was trained with random widths. */
#include "embedding/table.h"

#include <math.h>
#include <string.h>

/* ---- operations ---- */

#define SLOPE(T, name)                                                                             \
  static T name(T z) {                                                                             \
    const T a = z < 0 ? -z : z;                                                                    \
    return a <= (T)0.4 ? 2 - 4 * a : a <= 1 ? (T)0.4 : 0;                                          \
  }
SLOPE(float, slope_f32)
SLOPE(double, slope_f64)

/* z = |x|_1 - threshold, kept for backward. */
#define GATE(T, forward_name, backward_name, slope)                                                \
  static void forward_name(int64_t n, int64_t d, const T *x, const T *threshold, int64_t step,     \
                           T *z, T *y) {                                                           \
    for (int64_t i = 0; i < n; i++, x += d) {                                                      \
      T sum = 0;                                                                                   \
      for (int64_t k = 0; k < d; k++) sum += x[k] < 0 ? -x[k] : x[k];                              \
      z[i] = sum - threshold[i * step];                                                            \
      y[i] = z[i] > 0 ? 1 : 0;                                                                     \
    }                                                                                              \
  }                                                                                                \
  static void backward_name(int64_t n, int64_t d, const T *x, const T *z, const T *gy, T *gx,      \
                            T *gt, int64_t step) {                                                 \
    for (int64_t i = 0; i < n; i++, x += d) {                                                      \
      const T g = gy[i] * slope(z[i]);                                                             \
      if (gt) gt[i * step] = (step ? 0 : gt[0]) - g;                                               \
      if (!gx) continue;                                                                           \
      for (int64_t k = 0; k < d; k++) gx[i * d + k] = x[k] > 0 ? g : x[k] < 0 ? -g : 0;            \
    }                                                                                              \
  }
GATE(float, gate_f32, ungate_f32, slope_f32)
GATE(double, gate_f64, ungate_f64, slope_f64)

static void gate_forward(mica_call *c) {
  const mica_view *x = &c->in[0], *threshold = &c->in[1];
  const int64_t d = mica_view_cols(x), n = d ? mica_view_count(x) / d : 0,
                m = mica_view_count(threshold);
  if (x->shape.rank < 1 || !d || !mica_dtype_is_float(x->dtype) || threshold->dtype != x->dtype ||
      (m != n && m != 1)) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected rows [..,D] and a threshold for each, or one:");
    return;
  }
  mica_shape shape = x->shape;
  shape.dim[shape.rank - 1] = 1;
  const mica_view *y = mica_call_output(c, x->dtype, shape);
  void *z = y ? mica_call_saved(c, (size_t)n * mica_dtype_size(x->dtype)) : NULL;
  if (!z) return;
  if (x->dtype == MICA_F32)
    gate_f32(n, d, x->data, threshold->data, m == n && m > 1, z, y->data);
  else
    gate_f64(n, d, x->data, threshold->data, m == n && m > 1, z, y->data);
  mica_call_save_input(c, 0);
}

static void gate_backward(mica_call *c) {
  const int64_t d = mica_view_cols(&c->in[0]), n = mica_view_count(&c->in[0]) / d;
  mica_view *gx = mica_call_grad(c, 0), *gt = mica_call_grad(c, 1);
  const bool single = c->grad_out[0].dtype == MICA_F32;
  const int64_t step = gt && mica_view_count(gt) > 1;
  if (gt) memset(gt->data, 0, (size_t)mica_view_count(gt) * mica_dtype_size(gt->dtype));
  if (single)
    ungate_f32(n, d, c->in[0].data, c->saved[0], c->grad_out[0].data, gx ? gx->data : NULL,
               gt ? gt->data : NULL, step);
  else
    ungate_f64(n, d, c->in[0].data, c->saved[0], c->grad_out[0].data, gx ? gx->data : NULL,
               gt ? gt->data : NULL, step);
}

static const mica_custom_op gate_op = {
    {sizeof(mica_op), "row_gate", 0, gate_backward}, gate_forward, 0};

mica_var mica_row_gate(mica_tape *t, mica_var x, mica_var threshold) {
  mica_var y = MICA_NONE;
  mica_custom(t, &gate_op, NULL, 0, 2, (mica_var[]){x, threshold}, 1, &y);
  return y;
}

/* The first elements of each vector from `from`, zeros behind. */
static void cut(const mica_view *from, const int64_t *last, const mica_view *to) {
  const int64_t d = mica_view_cols(to), n = d ? mica_view_count(to) / d : 0;
  const size_t size = mica_dtype_size(to->dtype);
  for (int64_t i = 0; i < n; i++) {
    const int64_t keep = last[i] < 0 ? 0 : last[i] >= d ? d : last[i] + 1;
    char *at = (char *)to->data + (size_t)(i * d) * size;
    memcpy(at, (const char *)from->data + (size_t)(i * d) * size, (size_t)keep * size);
    memset(at + (size_t)keep * size, 0, (size_t)(d - keep) * size);
  }
}

static void prefix_forward(mica_call *c) {
  const mica_view *x = &c->in[0], *last = &c->in[1];
  if (x->shape.rank < 1 || !mica_dtype_is_float(x->dtype) || last->dtype != MICA_I64 ||
      mica_view_count(last) * mica_view_cols(x) != mica_view_count(x)) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected vectors [..,D] and int64 [..]:");
    return;
  }
  const mica_view *y = mica_call_output(c, x->dtype, x->shape);
  if (y) cut(x, last->data, y);
  mica_call_save_input(c, 1);
}

static void prefix_backward(mica_call *c) {
  const mica_view *g = mica_call_grad(c, 0);
  if (g) cut(&c->grad_out[0], c->in[1].data, g);
}

static const mica_custom_op prefix_op = {
    {sizeof(mica_op), "prefix", 0, prefix_backward}, prefix_forward, 0};

mica_var mica_prefix(mica_tape *t, mica_var x, mica_var last) {
  mica_var y = MICA_NONE;
  mica_custom(t, &prefix_op, NULL, 0, 2, (mica_var[]){x, last}, 1, &y);
  return y;
}

/* ---- the table ---- */

typedef struct width_options {
  uint32_t size;
  double bytes, alpha;
  int64_t generations, parents, mutants, children;
  double mutation;
} width_options;

/* Of the packed form: widths, bits of the rows that stay, how many lie before each 512 of them. */
#define RANKS 512

static int64_t overhead(const mica_embedding_table *e) {
  return 8 * e->fields + (e->rows + 7) / 8 + 8 * ((e->rows + RANKS - 1) / RANKS);
}

static mica_status width_init(mica_embedding_table *e) {
  if (overhead(e) + 4 * e->rows > e->budget)
    return mica_embedding_too_small(e, overhead(e) + 4 * e->rows);
  mica_status status = mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK)
    status = mica_param_add(e->node, "threshold", MICA_F32, MICA_SHAPE(e->fields, 1),
                            MICA_PARAM_TRAINABLE, &MICA_INIT_ZEROS, NULL);
  /* What has been decided: for each field the width, for each row whether it stays. */
  if (status == MICA_OK)
    status = mica_embedding_buffer(e, "widths", MICA_I64, MICA_SHAPE(e->fields), NULL);
  if (status == MICA_OK)
    status = mica_param_add(e->node, "kept", MICA_F32, MICA_SHAPE(e->rows, 1), MICA_PARAM_BUFFER,
                            &MICA_INIT_ONES, NULL);
  if (status == MICA_OK) status = mica_embedding_decided_init(e);
  if (status != MICA_OK) return status;
  int64_t *w = mica_param_write(mica_node_param(e->node, "widths"));
  for (int64_t f = 0; f < e->fields; f++) w[f] = e->width;
  return MICA_OK;
}

static int64_t own_field(const mica_embedding_table *e, int64_t field, int64_t id) {
  (void)e, (void)id;
  return field;
}

static int64_t last_of(const mica_embedding_table *e, int64_t field, int64_t id) {
  (void)id;
  return mica_embedding_integers(e->node, "widths")[field] - 1;
}

typedef struct draw_job {
  mica_key key;
  int64_t fields, width;
} draw_job;

/* A width for each field of this step. */
static void draw_forward(mica_call *c) {
  const draw_job *j = c->ctx;
  const int64_t n = mica_view_count(&c->in[0]);
  const mica_view *y = mica_call_output(c, MICA_I64, c->in[0].shape);
  if (!y) return;
  for (int64_t i = 0; i < n; i++)
    ((int64_t *)y->data)[i] =
        (int64_t)mica_random_below(j->key, (uint64_t)(i % j->fields), (uint64_t)j->width);
}

static const mica_custom_op draw_op = {
    {sizeof(mica_op), "random_widths", MICA_OP_BY_EXAMPLE, NULL}, draw_forward, 0};

static mica_var width_lookup(mica_tape *t, const mica_embedding_table *e,
                             const mica_embedding_batch *b) {
  const width_options *o = e->options;
  const mica_var x = mica_embedding_plain(t, e, b);
  mica_var last = mica_embedding_map(t, e, b, last_of);
  if (mica_embedding_decided(e))
    return mica_prefix(
        t, mica_mul(t, x, mica_embedding(t, mica_weight(t, e->node, "kept"), b->rows)), last);
  const mica_var threshold = mica_weight(t, e->node, "threshold");
  const mica_var own = mica_embedding(t, threshold, mica_embedding_map(t, e, b, own_field));
  const mica_var y = mica_mul(t, x, mica_row_gate(t, x, own));
  if (!mica_is_training(t)) return mica_prefix(t, y, last);
  const draw_job j = {mica_tape_draw(t, "widths"), b->fields, e->width};
  mica_custom(t, &draw_op, &j, sizeof j, 1, &b->rows, 1, &last);
  const mica_var low = mica_sum(t, mica_exp(t, mica_neg(t, threshold)), 0, NULL, false);
  return mica_with_penalty(t, mica_prefix(t, y, last), mica_affine(t, low, o->alpha, 0));
}

/* ---- deciding ---- */

/* The rows of each field that stay, into rows [fields]; and, unless NULL, 1 or 0 into kept. */
static void count_rows(const mica_embedding_table *e, int64_t *rows, float *kept) {
  const float *w = mica_embedding_floats(e->node, "weight"),
              *threshold = mica_embedding_floats(e->node, "threshold"),
              *as_is = mica_embedding_floats(e->node, "kept");
  const bool decided = mica_embedding_decided(e);
  for (int64_t f = 0; f < e->fields; f++) {
    rows[f] = 0;
    for (int64_t i = e->offset[f]; i < e->offset[f + 1]; i++) {
      float sum = 0;
      for (int64_t k = 0; k < e->width; k++) sum += fabsf(w[i * e->width + k]);
      const bool stays = decided ? as_is[i] > 0 : sum - threshold[f] > 0;
      rows[f] += stays;
      if (kept) kept[i] = stays ? 1 : 0;
    }
  }
}

static int64_t bytes_with(const mica_embedding_table *e, const int64_t *rows, const int64_t *w) {
  int64_t sum = overhead(e);
  for (int64_t f = 0; f < e->fields; f++) sum += 4 * rows[f] * w[f];
  return sum;
}

static int64_t width_bytes(const mica_embedding_table *e) {
  const int64_t *w = mica_embedding_integers(e->node, "widths");
  if (!mica_embedding_decided(e)) return e->budget;
  const float *kept = mica_embedding_floats(e->node, "kept");
  int64_t sum = overhead(e);
  for (int64_t f = 0; f < e->fields; f++) {
    int64_t rows = 0;
    for (int64_t i = e->offset[f]; i < e->offset[f + 1]; i++) rows += kept[i] > 0;
    sum += 4 * rows * w[f];
  }
  return sum;
}

/* Narrow a setting, the field of the most numbers first, until it fits. */
static void make_fit(const mica_embedding_table *e, const int64_t *rows, int64_t *w) {
  while (bytes_with(e, rows, w) > e->budget) {
    int64_t worst = -1;
    for (int64_t f = 0; f < e->fields; f++)
      if (w[f] > 1 && (worst < 0 || rows[f] * w[f] > rows[worst] * w[worst])) worst = f;
    if (worst < 0) return;
    w[worst]--;
  }
}

/* All fields as wide as may be. */
static void widest(const mica_embedding_table *e, const int64_t *rows, int64_t *w) {
  for (int64_t f = 0; f < e->fields; f++) w[f] = e->width;
  make_fit(e, rows, w);
  for (bool more = true; more;) {
    more = false;
    for (int64_t f = 0; f < e->fields; f++) {
      if (w[f] == e->width) continue;
      w[f]++;
      if (bytes_with(e, rows, w) > e->budget)
        w[f]--;
      else
        more = true;
    }
  }
}

typedef struct setting {
  double score;
  int64_t *w;
} setting;

typedef struct evolution {
  mica_embedding_table *e;
  mica_embedding_score_fn score;
  void *ctx;
  int64_t *rows, *tried; /* tried [fields]: the setting that is asked about */
  setting *best;         /* [parents], the best first */
  int64_t parents, n;
} evolution;

/* Ask for the score of `tried`, and keep a copy where it is among the best. */
static mica_status try_setting(evolution *v) {
  const int64_t fields = v->e->fields;
  const size_t bytes = (size_t)fields * sizeof *v->tried;
  for (int64_t i = 0; i < v->n; i++)
    if (memcmp(v->best[i].w, v->tried, bytes) == 0) return MICA_OK;
  memcpy(mica_param_write(mica_node_param(v->e->node, "widths")), v->tried, bytes);
  double score;
  const mica_status status = v->score(v->ctx, &score);
  if (status != MICA_OK) return status;
  int64_t at = v->n;
  while (at > 0 && v->best[at - 1].score < score) at--;
  if (at >= v->parents) return MICA_OK;
  if (v->n < v->parents) v->n++;
  int64_t *room = v->best[v->n - 1].w;
  for (int64_t i = v->n - 1; i > at; i--) v->best[i] = v->best[i - 1];
  v->best[at] = (setting){score, room};
  memcpy(room, v->tried, bytes);
  return MICA_OK;
}

static mica_status generation(evolution *v, const width_options *o, mica_key key) {
  const int64_t fields = v->e->fields, width = v->e->width;
  mica_status status = MICA_OK;
  uint64_t draw = 0;
  for (int64_t i = 0; i < o->mutants + o->children && status == MICA_OK; i++) {
    const int64_t *a = v->best[mica_random_below(key, draw++, (uint64_t)v->n)].w,
                  *b = v->best[mica_random_below(key, draw++, (uint64_t)v->n)].w;
    for (int64_t f = 0; f < fields; f++) {
      const double u = mica_random_uniform(key, draw++);
      if (i < o->mutants)
        v->tried[f] =
            u < o->mutation ? 1 + (int64_t)mica_random_below(key, draw++, (uint64_t)width) : a[f];
      else
        v->tried[f] = u < 0.5 ? a[f] : b[f];
    }
    make_fit(v->e, v->rows, v->tried);
    status = try_setting(v);
  }
  return status;
}

static mica_status evolve(evolution *v, const width_options *o, mica_key key) {
  const int64_t fields = v->e->fields;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < v->parents && status == MICA_OK; i++) {
    const mica_key own = mica_key_fold(mica_key_fold_name(key, "first"), (uint64_t)i);
    for (int64_t f = 0; f < fields; f++)
      v->tried[f] = 1 + (int64_t)mica_random_below(own, (uint64_t)f, (uint64_t)v->e->width);
    if (i)
      make_fit(v->e, v->rows, v->tried);
    else
      widest(v->e, v->rows, v->tried);
    status = try_setting(v);
  }
  for (int64_t g = 0; g < o->generations && status == MICA_OK; g++)
    status = generation(v, o, mica_key_fold(mica_key_fold_name(key, "generation"), (uint64_t)g));
  return status;
}

/* From now on these widths, and the rows that stay now. */
static void settle(mica_embedding_table *e, const int64_t *w, int64_t *rows) {
  count_rows(e, rows, mica_param_write(mica_node_param(e->node, "kept")));
  memcpy(mica_param_write(mica_node_param(e->node, "widths")), w, (size_t)e->fields * sizeof *w);
  mica_param_set_flags(mica_node_param(e->node, "threshold"), 0, MICA_PARAM_TRAINABLE);
}

static mica_status width_evolve(mica_embedding_table *e, mica_key key,
                                mica_embedding_score_fn score, void *ctx) {
  const width_options *o = e->options;
  if (mica_embedding_decided(e)) return MICA_OK;
  evolution v = {.e = e, .score = score, .ctx = ctx, .parents = o->parents};
  v.best = mica_calloc((size_t)o->parents, sizeof *v.best);
  v.rows = mica_calloc((size_t)(e->fields * (o->parents + 2)), sizeof *v.rows);
  mica_status status = v.best && v.rows ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    v.tried = v.rows + e->fields;
    for (int64_t i = 0; i < o->parents; i++) v.best[i].w = v.tried + (i + 1) * e->fields;
    count_rows(e, v.rows, NULL);
    status = evolve(&v, o, key);
  }
  if (status == MICA_OK) {
    settle(e, v.best[0].w, v.rows);
    *(int64_t *)mica_param_write(mica_node_param(e->node, "decided")) = 1;
  }
  mica_free(v.best);
  mica_free(v.rows);
  return status;
}

/* Without a score: fields as wide as one another. */
static mica_status width_decide(mica_embedding_table *e) {
  int64_t *rows = mica_calloc((size_t)(2 * e->fields), sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  int64_t *w = rows + e->fields;
  count_rows(e, rows, NULL);
  widest(e, rows, w);
  settle(e, w, rows);
  mica_free(rows);
  return MICA_OK;
}

/* ---- the packed form: widths [fields], kept (bits), ranks (rows that stay before each 512),
 * weight ---- */

static bool bit(const uint8_t *bits, int64_t i) {
  return bits[i / 8] >> i % 8 & 1;
}

static mica_status width_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  if (!mica_embedding_decided(e))
    return mica_fail(MICA_ERR_STATE, "table optembed: its widths have not been decided on");
  const float *kept = mica_embedding_floats(e->node, "kept"),
              *w = mica_embedding_floats(e->node, "weight");
  p->form = &mica_packed_prefix;
  int64_t *widths = mica_packed_array(p, 0, e->fields);
  uint8_t *bits = widths ? mica_packed_array(p, 1, (e->rows + 7) / 8) : NULL;
  int64_t *rank = bits ? mica_packed_array(p, 2, (e->rows + RANKS - 1) / RANKS) : NULL;
  float *to = rank ? mica_packed_array(p, 3, (width_bytes(e) - overhead(e)) / 4) : NULL;
  if (!to) return MICA_ERR_MEMORY;
  memcpy(widths, mica_embedding_integers(e->node, "widths"), (size_t)e->fields * sizeof *widths);
  int64_t before = 0;
  for (int64_t f = 0; f < e->fields; f++)
    for (int64_t i = e->offset[f]; i < e->offset[f + 1]; i++) {
      if (i % RANKS == 0) rank[i / RANKS] = before;
      if (!(kept[i] > 0)) continue;
      before++;
      bits[i / 8] |= (uint8_t)(1u << i % 8);
      memcpy(to, w + i * e->width, (size_t)widths[f] * sizeof *to);
      to += widths[f];
    }
  return MICA_OK;
}

/* derived: where each field's rows begin, and how many rows that stay lie before it. */
static mica_status check(mica_packed_embedding *p) {
  const int64_t *width = mica_packed_data(p, 0), *rank = mica_packed_data(p, 2);
  const uint8_t *bits = mica_packed_data(p, 1);
  if (mica_packed_count(p, 0) != p->fields || mica_packed_count(p, 1) != (p->rows + 7) / 8 ||
      mica_packed_count(p, 2) != (p->rows + RANKS - 1) / RANKS)
    return mica_packed_wrong(p, "widths and rows do not fit");
  p->derived = mica_calloc((size_t)(2 * p->fields), sizeof *p->derived);
  if (!p->derived) return MICA_ERR_MEMORY;
  int64_t before = 0, at = 0;
  for (int64_t f = 0; f < p->fields; f++) {
    if (width[f] < 1 || width[f] > p->width) return mica_packed_wrong(p, "a width is too large");
    p->derived[2 * f] = at;
    p->derived[2 * f + 1] = before;
    for (int64_t i = p->offset[f]; i < p->offset[f + 1]; i++) {
      if (i % RANKS == 0 && rank[i / RANKS] != before)
        return mica_packed_wrong(p, "the rows that stay were counted wrongly");
      if (bit(bits, i)) before++, at += width[f];
    }
  }
  return at == mica_packed_count(p, 3) ? MICA_OK : mica_packed_wrong(p, "too few numbers");
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t w = ((const int64_t *)mica_packed_data(p, 0))[field], at = p->offset[field] + id;
  const uint8_t *bits = mica_packed_data(p, 1);
  memset(out, 0, (size_t)p->width * sizeof *out);
  if (!bit(bits, at)) return;
  int64_t before = ((const int64_t *)mica_packed_data(p, 2))[at / RANKS];
  int64_t i = at / RANKS * RANKS;
  for (; i + 8 <= at; i += 8) before += __builtin_popcount(bits[i / 8]);
  for (; i < at; i++) before += bit(bits, i);
  memcpy(out,
         (const float *)mica_packed_data(p, 3) + p->derived[2 * field] +
             (before - p->derived[2 * field + 1]) * w,
         (size_t)w * sizeof *out);
}

const mica_packed_form mica_packed_prefix = {"prefix",
                                             {"widths", "kept", "ranks", "weight"},
                                             {MICA_I64, MICA_U8, MICA_I64, MICA_F32},
                                             check,
                                             row};

static const mica_option options[] = {
    MICA_EMBEDDING_BYTES(width_options, "0.5"),
    {"alpha", MICA_OPTION_FLOAT, "1e-5", 0, 1e6, NULL, "weight of the sum of exp(-threshold)",
     offsetof(width_options, alpha)},
    {"generations", MICA_OPTION_INT, "30", 0, 100000, NULL, "of the evolution",
     offsetof(width_options, generations)},
    {"parents", MICA_OPTION_INT, "15", 1, 10000, NULL, "that are kept",
     offsetof(width_options, parents)},
    {"mutants", MICA_OPTION_INT, "10", 0, 10000, NULL, "of a generation",
     offsetof(width_options, mutants)},
    {"children", MICA_OPTION_INT, "10", 0, 10000, NULL, "of two parents, of a generation",
     offsetof(width_options, children)},
    {"mutation", MICA_OPTION_FLOAT, "0.1", 0, 1, NULL, "chance that a field's width is drawn anew",
     offsetof(width_options, mutation)},
    {0}};
static const mica_embedding_method optembed_method = {.phases = MICA_EMBEDDING_EVOLVES |
                                                                MICA_EMBEDDING_RETRAINS,
                                                      .init = width_init,
                                                      .lookup = width_lookup,
                                                      .bytes = width_bytes,
                                                      .decide = width_decide,
                                                      .evolve = width_evolve,
                                                      .pack = width_pack};
MICA_EMBEDDING_COMPONENT(optembed, "optembed",
                         "rows dropped by norm, a width for each field by evolution (OptEmbed)",
                         options, width_options);
