/* Tables of small integers that are trained as such (Li et al. 2023, "Adaptive Low-Precision
 * Training for Embeddings"): a row is integers times a scale, the gradient changes the row that
 * they stand for, and the result is rounded again, up or down by chance, so that steps smaller than
 * the scale are not lost. The scale is one for all, or (alpt) one for each row, which is learnt.
 *
 * In training the values are float32, and on the grid from each use of a row to its next: what a
 * step reads is rounded, and mica_commit puts it back before the optimiser adds to it. */
#include "embedding/table.h"

#include "autograd/tape.h"

#include <math.h>
#include <string.h>

/* ---- the operation ---- */

typedef struct rounding {
  int bits;
  bool chance;
  mica_key key;
  double scale_factor;
} rounding;

/* The code of x, whose draw is number i. */
static double code_of(const rounding *o, double x, double scale, uint64_t i) {
  const double top = exp2(o->bits - 1);
  const double u = o->chance ? mica_random_uniform(o->key, i) : 0.5;
  return fmax(-top, fmin(top - 1, floor(x / scale + u)));
}

static double at(const mica_view *v, int64_t i) {
  return v->dtype == MICA_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

static void put(const mica_view *v, int64_t i, double x) {
  if (v->dtype == MICA_F32)
    ((float *)v->data)[i] = (float)x;
  else
    ((double *)v->data)[i] = x;
}

enum { X, SCALE, NUMBER };

/* Draws belong to an element of the row that `number` [n] names, so that a row which comes twice
 * is rounded once. */
static void round_forward(mica_call *c) {
  const rounding *o = c->ctx;
  const mica_view *x = &c->in[X], *scale = &c->in[SCALE], *number = &c->in[NUMBER];
  if (x->shape.rank != 2 || !mica_dtype_is_float(x->dtype) || scale->dtype != x->dtype ||
      (mica_view_count(scale) != x->shape.dim[0] && mica_view_count(scale) != 1) ||
      (number->data && (number->dtype != MICA_I64 || mica_view_count(number) != x->shape.dim[0]))) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected rows [n,D] and scales [n,1] or [1]:");
    return;
  }
  const int64_t n = x->shape.dim[0], d = x->shape.dim[1];
  const bool own = mica_view_count(scale) > 1;
  const mica_view *y = mica_call_output(c, x->dtype, x->shape);
  const mica_view *codes = y ? mica_call_output(c, MICA_I64, x->shape) : NULL;
  if (!codes) return;
  for (int64_t i = 0; i < n; i++) {
    const double s = at(scale, own ? i : 0);
    const int64_t row = number->data ? ((const int64_t *)number->data)[i] : i;
    if (!(s > 0)) {
      mica_call_fail(c, MICA_ERR_NUMERIC, "scale %g of row %lld, expected above 0:", s,
                     (long long)i);
      return;
    }
    for (int64_t k = 0; k < d; k++) {
      const double code = code_of(o, at(x, i * d + k), s, (uint64_t)(row * d + k));
      ((int64_t *)codes->data)[i * d + k] = (int64_t)code;
      put(y, i * d + k, code * s);
    }
  }
  mica_call_save_input(c, X);
  mica_call_save_input(c, SCALE);
  mica_call_save_output(c, 1);
}

static void round_backward(mica_call *c) {
  const rounding *o = c->ctx;
  const mica_view *x = &c->in[X], *scale = &c->in[SCALE], *gy = &c->grad_out[0];
  const int64_t n = x->shape.dim[0], d = x->shape.dim[1], *code = c->out[1].data;
  const double lo = -exp2(o->bits - 1), hi = exp2(o->bits - 1) - 1;
  const bool own = mica_view_count(scale) > 1;
  mica_view *gx = mica_call_grad(c, X), *gs = mica_call_grad(c, SCALE);
  double all = 0;
  for (int64_t i = 0; i < n; i++) {
    const double s = at(scale, own ? i : 0);
    double sum = 0;
    for (int64_t k = 0; k < d; k++) {
      const double z = at(x, i * d + k) / s, g = gy->data ? at(gy, i * d + k) : 0;
      const bool inside = z >= lo && z <= hi;
      if (gx) put(gx, i * d + k, inside ? g : 0);
      sum += g * (inside ? (double)code[i * d + k] - z : z < lo ? lo : hi);
    }
    all += sum;
    if (gs && own) put(gs, i, sum * o->scale_factor);
  }
  if (gs && !own) put(gs, 0, all * o->scale_factor);
}

static const mica_custom_op round_op = {
    {sizeof(mica_op), "quantise_rows", 0, round_backward}, round_forward, 1u << NUMBER};

static mica_var round_rows(mica_tape *t, mica_var x, mica_var scale, mica_var number,
                           const rounding *o, mica_var *codes) {
  mica_var out[2] = {MICA_NONE, MICA_NONE};
  mica_custom(t, &round_op, o, sizeof *o, 3, (mica_var[]){x, scale, number}, 2, out);
  if (codes) *codes = out[1];
  return out[0];
}

mica_var mica_quantise_rows(mica_tape *t, mica_var x, mica_var scale, int bits, const mica_key *key,
                            double scale_factor, mica_var *codes) {
  if (bits < 2 || bits > 32)
    return mica_latch(t, MICA_ERR_INVALID, "quantise_rows: %d bits, expected 2 to 32", bits);
  const rounding o = {bits, key != NULL, key ? *key : (mica_key){0}, scale_factor};
  return round_rows(t, x, scale, MICA_NONE, &o, codes);
}

/* ---- the table ---- */

#define LEAST_SCALE 1e-12 /* a scale that learns may step over 0 */

typedef struct integer_options {
  uint32_t size;
  double bytes, scale;
  int64_t bits;
  bool alpt;
} integer_options;

typedef struct integer_plan {
  int bits;
  const int64_t *rows; /* between two commits of one step */
} integer_plan;

static int64_t bytes_with(const mica_embedding_table *e, int64_t bits) {
  const integer_options *o = e->options;
  return e->rows * e->width * bits / 8 + 4 * (o->alpt ? e->rows : 1);
}

static double scale_of(const mica_embedding_table *e) {
  const integer_options *o = e->options;
  const integer_plan *plan = e->plan;
  /* 0.01 at 8 bits; the same range with more. */
  return o->scale > 0 ? o->scale : 0.01 * exp2(8 - plan->bits);
}

static mica_status integer_init(mica_embedding_table *e) {
  const integer_options *o = e->options;
  if (o->bits && o->bits != 8 && o->bits != 16)
    return mica_fail(MICA_ERR_INVALID, "table int: %lld bits, expected 8 or 16",
                     (long long)o->bits);
  const int64_t bits = o->bits ? o->bits : bytes_with(e, 16) <= e->budget ? 16 : 8;
  if (bytes_with(e, bits) > e->budget) return mica_embedding_too_small(e, bytes_with(e, bits));
  integer_plan *plan = e->plan = mica_calloc(1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  plan->bits = (int)bits;
  const mica_init scale = {MICA_INIT_CONSTANT, scale_of(e), 0, 0, false};
  mica_status status = mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK)
    status =
        mica_param_add(e->node, "scale", MICA_F32, o->alpt ? MICA_SHAPE(e->rows, 1) : MICA_SHAPE(1),
                       o->alpt ? MICA_PARAM_TRAINABLE : MICA_PARAM_BUFFER, &scale, NULL);
  return status;
}

/* The rows of a step, and then what was read of them. */
static mica_status note_rows(void *owner, double weight, const mica_view *rows) {
  (void)weight;
  ((integer_plan *)((mica_embedding_table *)owner)->plan)->rows = rows->data;
  return MICA_OK;
}

static mica_status put_back(void *owner, double weight, const mica_view *values) {
  (void)weight;
  mica_embedding_table *e = owner;
  const int64_t *rows = ((integer_plan *)e->plan)->rows, n = values->shape.dim[0];
  float *w = mica_param_write(mica_node_param(e->node, "weight"));
  for (int64_t i = 0; i < n; i++)
    memcpy(w + rows[i] * e->width, (const float *)values->data + i * e->width,
           (size_t)e->width * sizeof *w);
  return MICA_OK;
}

static mica_var integer_lookup(mica_tape *t, const mica_embedding_table *e,
                               const mica_embedding_batch *b) {
  const integer_options *o = e->options;
  const integer_plan *plan = e->plan;
  mica_embedding_table *owner = (mica_embedding_table *)(uintptr_t)e;
  const bool training = mica_is_training(t) && mica_is_recording(t);
  rounding how = {plan->bits, training, {0}, 1};
  if (training) how.key = mica_tape_draw(t, "rounding");
  mica_var scale = mica_weight(t, e->node, "scale");
  if (o->alpt) {
    scale = mica_clamp(t, mica_embedding(t, scale, b->rows), LEAST_SCALE, INFINITY);
    how.scale_factor =
        1 / sqrt((double)(b->n / b->fields) * (double)e->width * (exp2(plan->bits - 1) - 1));
  }
  const mica_var y = round_rows(t, mica_embedding_plain(t, e, b), scale, b->rows, &how, NULL);
  if (training) {
    mica_tape_queue(t, note_rows, owner, 0, b->rows);
    mica_tape_queue(t, put_back, owner, 0, mica_detach(t, y));
  }
  return y;
}

static int64_t integer_bytes(const mica_embedding_table *e) {
  return bytes_with(e, ((const integer_plan *)e->plan)->bits);
}

/* ---- the packed form: scale [1 or rows], codes (1 or 2 bytes each). Setting 0: bits ---- */

mica_status mica_integer_pack(mica_packed_embedding *p, const float *w, int bits, int64_t scales,
                              const float *scale) {
  const int64_t n = p->rows * p->width;
  const rounding how = {bits, false, {0}, 1};
  p->form = &mica_packed_integer;
  p->setting[0] = bits;
  float *s = mica_packed_array(p, 0, scales);
  uint8_t *to = s ? mica_packed_array(p, 1, n * bits / 8) : NULL;
  if (!to) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < scales; i++) s[i] = fmaxf(scale[i], (float)LEAST_SCALE);
  for (int64_t i = 0; i < n; i++) {
    const double code =
        code_of(&how, (double)w[i], (double)s[scales > 1 ? i / p->width : 0], (uint64_t)i);
    const int16_t wide = (int16_t)code;
    const int8_t narrow = (int8_t)(bits == 8 ? code : 0);
    if (bits == 8)
      memcpy(to + i, &narrow, 1);
    else
      memcpy(to + 2 * i, &wide, 2);
  }
  return MICA_OK;
}

static mica_status integer_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const mica_tensor *scale = mica_param_value(mica_node_param(e->node, "scale"));
  return mica_integer_pack(p, mica_embedding_floats(e->node, "weight"),
                           ((const integer_plan *)e->plan)->bits, mica_tensor_count(scale),
                           mica_tensor_data(scale));
}

/* A finished matrix: each row's largest magnitude is the last code. */
static mica_status integer_compress(const mica_embedding_table *e, const float *x, mica_key key,
                                    mica_packed_embedding *p) {
  (void)key;
  const integer_options *o = e->options;
  const int64_t overhead = 4 * e->rows, n = e->rows * e->width;
  const int bits = o->bits ? (int)o->bits : 2 * n + overhead <= e->budget ? 16 : 8;
  if (n * bits / 8 + overhead > e->budget)
    return mica_embedding_too_small(e, n * bits / 8 + overhead);
  float *scale = mica_calloc((size_t)e->rows, sizeof *scale);
  if (!scale) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < e->rows; i++) {
    float most = 0;
    for (int64_t k = 0; k < e->width; k++) most = fmaxf(most, fabsf(x[i * e->width + k]));
    scale[i] = most > 0 ? most / (float)(exp2(bits - 1) - 1) : 1;
  }
  const mica_status status = mica_integer_pack(p, x, bits, e->rows, scale);
  mica_free(scale);
  return status;
}

static mica_status check(mica_packed_embedding *p) {
  const int64_t bits = p->setting[0], scales = mica_packed_count(p, 0);
  if ((bits != 8 && bits != 16) || mica_packed_count(p, 1) != p->rows * p->width * bits / 8 ||
      (scales != 1 && scales != p->rows))
    return mica_packed_wrong(p, "scales and codes do not fit");
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int64_t at_row = p->offset[field] + id, d = p->width;
  const float *scale = mica_packed_data(p, 0);
  const float s = scale[mica_packed_count(p, 0) > 1 ? at_row : 0];
  if (p->setting[0] == 8) {
    const int8_t *code = (const int8_t *)mica_packed_data(p, 1) + at_row * d;
    for (int64_t i = 0; i < d; i++) out[i] = s * (float)code[i];
  } else {
    const int16_t *code = (const int16_t *)mica_packed_data(p, 1) + at_row * d;
    for (int64_t i = 0; i < d; i++) out[i] = s * (float)code[i];
  }
}

const mica_packed_form mica_packed_integer = {
    "integer", {"scale", "codes"}, {MICA_F32, MICA_U8}, check, row};

static const mica_option options[] = {
    MICA_EMBEDDING_BYTES(integer_options, "0.51"),
    {"bits", MICA_OPTION_INT, "0", 0, 16, NULL, "8 or 16; 0: what `bytes` allows",
     offsetof(integer_options, bits)},
    {"alpt", MICA_OPTION_BOOL, "false", 0, 0, NULL, "a scale for each row, which is learnt",
     offsetof(integer_options, alpt)},
    {"scale", MICA_OPTION_FLOAT, "0", 0, 1e6, NULL,
     "at first; 0: 0.01 with 8 bits, 0.01/256 with 16", offsetof(integer_options, scale)},
    {0}};
static const mica_embedding_method int_method = {.init = integer_init,
                                                 .lookup = integer_lookup,
                                                 .bytes = integer_bytes,
                                                 .pack = integer_pack,
                                                 .compress = integer_compress};
MICA_EMBEDDING_COMPONENT(int, "int", "8 or 16 bits an element, rounded by chance in training",
                         options, integer_options);
