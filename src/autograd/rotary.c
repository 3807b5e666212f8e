/* Rotary position embedding: angles in float64, so that far positions keep their phase. */
#include "autograd/rotary.h"

#include <mica/nn.h>
#include <mica/op.h>

#include "autograd/ranges.h"
#include "tensor/kernel/rotary.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

mica_rotary_options mica_rotary_options_of(const mica_rotary_options *given) {
  mica_rotary_options o = MICA_ROTARY_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  return o;
}

int64_t mica_rotary_turned(const mica_rotary_options *o, int64_t dim) {
  return o->dim ? o->dim : dim - dim % 2;
}

mica_status mica_rotary_check(const mica_rotary_options *o, int64_t dim) {
  const int64_t turned = mica_rotary_turned(o, dim);
  if (turned < 0 || turned > dim || turned % 2)
    return mica_fail(MICA_ERR_INVALID,
                     "rotary: dim %lld of %lld channels, expected an even number of them",
                     (long long)turned, (long long)dim);
  if (!(o->base > 1) || isinf(o->base))
    return mica_fail(MICA_ERR_INVALID, "rotary: base %g, expected more than 1", o->base);
  if (o->layout != MICA_ROTARY_HALVES && o->layout != MICA_ROTARY_PAIRS)
    return mica_fail(MICA_ERR_INVALID, "rotary: unknown layout %d", (int)o->layout);
  if (o->scaling < MICA_ROTARY_UNSCALED || o->scaling > MICA_ROTARY_YARN)
    return mica_fail(MICA_ERR_INVALID, "rotary: unknown scaling %d", (int)o->scaling);
  if (!(o->attention >= 0) || isinf(o->attention))
    return mica_fail(MICA_ERR_INVALID, "rotary: attention %g, expected 0 or more", o->attention);
  if (o->scaling != MICA_ROTARY_UNSCALED && (!(o->factor > 0) || isinf(o->factor)))
    return mica_fail(MICA_ERR_INVALID, "rotary: factor %g, expected more than 0", o->factor);
  if (o->scaling == MICA_ROTARY_YARN && (o->original < 1 || !(o->beta_slow > 0) ||
                                         !(o->beta_fast > o->beta_slow) || isinf(o->beta_fast)))
    return mica_fail(MICA_ERR_INVALID,
                     "rotary: YaRN with original %lld, beta_slow %g and beta_fast %g, expected "
                     "original >= 1 and 0 < beta_slow < beta_fast",
                     (long long)o->original, o->beta_slow, o->beta_fast);
  return MICA_OK;
}

/* The pair that turns n times within the original length. */
static double crossing(const mica_rotary_options *o, int64_t turned, double n) {
  return (double)turned * log((double)o->original / (2 * PI * n)) / (2 * log(o->base));
}

mica_status mica_rotary_frequencies(const mica_rotary_options *given, int64_t dim,
                                    double *frequency, double *attention) {
  const mica_rotary_options o = mica_rotary_options_of(given);
  mica_status status = mica_rotary_check(&o, dim);
  if (status != MICA_OK) return status;
  const int64_t turned = mica_rotary_turned(&o, dim);
  const bool yarn = o.scaling == MICA_ROTARY_YARN && o.factor > 1;
  double low = 0, high = 0;
  if (yarn && turned) {
    low = fmax(floor(crossing(&o, turned, o.beta_fast)), 0);
    high = fmin(ceil(crossing(&o, turned, o.beta_slow)), (double)(turned - 1));
    if (low == high) high += 0.001;
  }
  for (int64_t i = 0; i < turned / 2; i++) {
    const double plain = pow(o.base, -2 * (double)i / (double)turned);
    const double ramp = yarn ? fmin(fmax(((double)i - low) / (high - low), 0), 1) : 0;
    frequency[i] = yarn ? ramp * plain / o.factor + (1 - ramp) * plain
                        : (o.scaling == MICA_ROTARY_LINEAR ? plain / o.factor : plain);
  }
  if (attention) *attention = o.attention != 0 ? o.attention : (yarn ? 0.1 * log(o.factor) + 1 : 1);
  return MICA_OK;
}

void mica_rotary_row(int64_t turned, const double *frequency, double scale, double position,
                     mica_dtype dtype, void *row) {
  const int64_t half = turned / 2;
  for (int64_t i = 0; i < half; i++) {
    const double angle = position * frequency[i];
    const double c = scale * cos(angle), s = scale * sin(angle);
    if (dtype == MICA_F32) {
      ((float *)row)[i] = (float)c;
      ((float *)row)[i + half] = (float)s;
    } else {
      ((double *)row)[i] = c;
      ((double *)row)[i + half] = s;
    }
  }
}

/* ---- the operation ---- */

typedef struct rotary {
  int64_t length, heads, dim, turned;
  bool pairs, by_example; /* positions [N,L] */
} rotary;

typedef struct rotary_job {
  const mica_rotary_kernels *loops;
  const rotary *r;
  size_t size;
  mica_dtype dtype;
  const double *frequency;
  double scale;
  const int64_t *position;
  int64_t offset, rows;
  char *table, *y;
  const char *x;
  int64_t stride;
  bool back;
} rotary_job;

/* Rows of the table, or of [N,L], worked off together. */
enum { ROWS_OF_A_CHUNK = 32 };

static int64_t chunk_end(int64_t rows, int64_t i) {
  const int64_t end = (i + 1) * ROWS_OF_A_CHUNK;
  return end < rows ? end : rows;
}

static void table_range(void *ctx, int64_t begin, int64_t end) {
  const rotary_job *j = ctx;
  for (int64_t i = begin; i < end; i++)
    for (int64_t k = i * ROWS_OF_A_CHUNK, n = chunk_end(j->rows, i); k < n; k++)
      mica_rotary_row(j->r->turned, j->frequency, j->scale,
                      (double)(j->position ? j->position[k] : j->offset + k), j->dtype,
                      j->table + (size_t)(k * j->r->turned) * j->size);
}

static void turn_range(void *ctx, int64_t begin, int64_t end) {
  const rotary_job *j = ctx;
  const rotary *r = j->r;
  for (int64_t i = begin; i < end; i++)
    for (int64_t k = i * ROWS_OF_A_CHUNK, n = chunk_end(j->rows, i); k < n; k++) {
      const int64_t at = r->by_example ? k : k % r->length;
      j->loops->turn(r->heads, r->dim, r->turned, r->pairs, j->back,
                     j->table + (size_t)(at * r->turned) * j->size,
                     j->x + (size_t)(k * r->heads * j->stride) * j->size, j->stride,
                     j->y + (size_t)(k * r->heads * r->dim) * j->size, r->dim);
    }
}

static int64_t chunks_of(int64_t rows) {
  return (rows + ROWS_OF_A_CHUNK - 1) / ROWS_OF_A_CHUNK;
}

static void rotary_backward(mica_call *c) {
  const rotary *r = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  rotary_job j = {.loops = mica_kernels_of(c->engine, gx->dtype)->rotary,
                  .r = r,
                  .size = mica_dtype_size(gx->dtype),
                  .rows = gx->shape.dim[0] * r->length,
                  .table = c->saved[0],
                  .x = c->grad_out[0].data,
                  .y = gx->data,
                  .stride = r->dim,
                  .back = true};
  mica_parallel_for(c->engine, chunks_of(j.rows), turn_range, &j);
}

static const mica_op rotary_op = {sizeof(mica_op), "rotary",
                                  MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, rotary_backward};

mica_var mica_rotary(mica_tape *t, mica_var x, mica_var positions,
                     const mica_rotary_options *given) {
  const mica_rotary_options o = mica_rotary_options_of(given);
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &rotary_op, 2, (mica_var[]){x, positions}, 2))
    return MICA_NONE;
  const mica_view *v = &c.in[0], *p = &c.in[1];
  if (v->shape.rank != 4 || !mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected [N,L,h,d] of float32 or float64:");
  const int64_t *d = v->shape.dim;
  const bool given_positions = !mica_is_none(positions),
             each = given_positions && p->shape.rank == 2;
  if (given_positions &&
      (p->dtype != MICA_I64 || !mica_view_contiguous(p) || p->shape.rank < 1 || p->shape.rank > 2 ||
       p->shape.dim[p->shape.rank - 1] != d[1] || (each && p->shape.dim[0] != d[0])))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected positions int64 [L] or [N,L]:");
  rotary r = {d[1], d[2], d[3], mica_rotary_turned(&o, d[3]), o.layout == MICA_ROTARY_PAIRS, each};
  if (mica_rotary_check(&o, r.dim) != MICA_OK)
    return mica_call_fail(&c, mica_last_status(), "%s:", mica_last_error());
  if (given_positions && !each) mica_call_mixes(&c, 1);
  const size_t size = mica_dtype_size(v->dtype);
  rotary_job j = {.loops = mica_kernels_of(c.engine, v->dtype)->rotary,
                  .r = &r,
                  .size = size,
                  .dtype = v->dtype,
                  .position = given_positions ? p->data : NULL,
                  .offset = o.offset,
                  .rows = each ? d[0] * d[1] : d[1],
                  .x = v->data,
                  .stride = v->row_stride};
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  double *frequency = mica_call_scratch(&c, (size_t)(r.turned / 2 + 1) * sizeof *frequency);
  j.table = mica_call_saved(&c, (size_t)(j.rows * r.turned + 1) * size);
  if (y && frequency && j.table) {
    mica_rotary_frequencies(&o, r.dim, frequency, &j.scale);
    j.frequency = frequency;
    j.y = y->data;
    mica_parallel_for(c.engine, chunks_of(j.rows), table_range, &j);
    j.rows = d[0] * d[1];
    mica_parallel_for(c.engine, chunks_of(j.rows), turn_range, &j);
  }
  mica_call_context(&c, &r, sizeof r);
  return mica_call_end(&c);
}
