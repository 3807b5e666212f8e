/* Running sums and linear recurrences along an axis. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/scan.h"

#include <string.h>

/* ---- running sums ---- */

typedef struct cumsum_context {
  int64_t outer, length, inner;
  bool exclusive, reverse;
} cumsum_context;

typedef struct cumsum_job {
  const mica_scan_kernels *k;
  const cumsum_context *o;
  mica_tiles tiles;
  size_t size;
  bool reverse;
  const char *x;
  char *y;
} cumsum_job;

static void cumsum_range(void *ctx, int64_t begin, int64_t end) {
  const cumsum_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const mica_scan s = {j->o->length, t.columns, j->o->inner, 0, false, j->reverse};
    for (int64_t b = t.block; b < t.block + t.blocks; b++) {
      const size_t at = (size_t)(b * j->o->length * j->o->inner + t.column) * j->size;
      j->k->cumsum(&s, j->o->exclusive, j->x + at, j->y + at);
    }
  }
}

static void cumsum_run(const mica_call *c, const cumsum_context *o, bool reverse, mica_dtype dtype,
                       const void *x, void *y) {
  cumsum_job job = {.k = mica_kernels_of(c->engine, dtype)->scan,
                    .o = o,
                    .tiles = mica_tiles_of(o->outer, o->length, o->inner),
                    .size = mica_dtype_size(dtype),
                    .reverse = reverse,
                    .x = x,
                    .y = y};
  mica_parallel_for(c->engine, job.tiles.count, cumsum_range, &job);
}

/* x_i is in the sums of those behind it: the same sum the other way. */
static void cumsum_backward(mica_call *c) {
  const cumsum_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (gx) cumsum_run(c, o, !o->reverse, gx->dtype, c->grad_out[0].data, gx->data);
}

static const mica_op cumsum_op = {sizeof(mica_op), "cumsum", MICA_OP_BY_EXAMPLE, cumsum_backward};

mica_var mica_cumsum(mica_tape *t, mica_var x, int axis, bool exclusive, bool reverse) {
  mica_call c;
  int at;
  if (!mica_call_begin(&c, t, &cumsum_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v) || !mica_axis(&v->shape, axis, &at))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "axis %d of %s:", axis, mica_dtype_name(v->dtype));
  if (at == 0) mica_call_mixes(&c, 0);
  cumsum_context o = {.exclusive = exclusive, .reverse = reverse};
  mica_around(&v->shape, at, &o.outer, &o.length, &o.inner);
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  if (y) cumsum_run(&c, &o, reverse, v->dtype, v->data, y->data);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_cumprod(mica_tape *t, mica_var x, int axis, bool reverse) {
  const mica_view v = mica_read(t, x);
  int at;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_is_float(&v) || !mica_axis(&v.shape, axis, &at))
    return mica_latch(t, MICA_ERR_SHAPE, "cumprod: axis %d of %s of rank %d", axis,
                      mica_dtype_name(v.dtype), v.shape.rank);
  mica_shape state = v.shape;
  for (int d = at; d + 1 < state.rank; d++) state.dim[d] = state.dim[d + 1];
  state.rank--;
  mica_recurrence_options o = MICA_RECURRENCE_OPTIONS;
  o.axis = at;
  o.reverse = reverse;
  mica_scope_begin(t, NULL);
  mica_var zero = mica_full(t, v.dtype, v.shape, 0), one = mica_full(t, v.dtype, state, 1);
  return mica_scope_end(t, mica_linear_recurrence(t, x, zero, one, &o, NULL));
}

/* ---- recurrences ---- */

enum { A, B, H0 }; /* inputs */

typedef struct recurrence_context {
  int64_t outer, length, inner;
  bool a_outer, a_time; /* the factors differ along these */
  bool complex, reverse, has_h0;
} recurrence_context;

typedef struct recurrence_job {
  const mica_scan_kernels *k;
  const recurrence_context *o;
  mica_tiles tiles; /* over columns, or pairs of them */
  size_t size;
  const char *a, *b, *h0;
  char *h, *last;
  mica_scan_gradient g; /* backward: bases; ga of the full shape */
  bool backward;
} recurrence_job;

static const void *moved(const void *base, int64_t by, size_t size) {
  return base ? (const char *)base + (size_t)by * size : NULL;
}

static void *moved_to(void *base, int64_t by, size_t size) {
  return base ? (char *)base + (size_t)by * size : NULL;
}

static void recurrence_range(void *ctx, int64_t begin, int64_t end) {
  const recurrence_job *j = ctx;
  const recurrence_context *o = j->o;
  const int64_t unit = o->complex ? 2 : 1;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const mica_scan s = {o->length,  t.columns * unit, o->inner, o->a_time ? o->inner : 0,
                         o->complex, o->reverse};
    for (int64_t n = t.block; n < t.block + t.blocks; n++) {
      const int64_t column = t.column * unit, state = n * o->inner + column;
      const int64_t full = n * o->length * o->inner + column;
      const int64_t factor = (o->a_outer ? n * (o->a_time ? o->length : 1) * o->inner : 0) + column;
      if (!j->backward) {
        j->k->recurrence(&s, moved(j->a, factor, j->size), moved(j->b, full, j->size),
                         moved(j->h0, state, j->size), moved_to(j->h, full, j->size),
                         moved_to(j->last, state, j->size));
        continue;
      }
      const mica_scan_gradient g = {.a = moved(j->g.a, factor, j->size),
                                    .h = moved(j->g.h, full, j->size),
                                    .h0 = moved(j->g.h0, state, j->size),
                                    .gh = moved(j->g.gh, full, j->size),
                                    .glast = moved(j->g.glast, state, j->size),
                                    .gb = moved_to(j->g.gb, full, j->size),
                                    .ga = moved_to(j->g.ga, full, j->size),
                                    .shared = moved_to(j->g.shared, state, sizeof(double)),
                                    .gh0 = moved_to(j->g.gh0, state, j->size)};
      j->k->recurrence_grad(&s, &g);
    }
  }
}

static recurrence_job job_of(const mica_call *c, const recurrence_context *o, mica_dtype dtype) {
  return (recurrence_job){.k = mica_kernels_of(c->engine, dtype)->scan,
                          .o = o,
                          .tiles =
                              mica_tiles_of(o->outer, o->length, o->inner / (o->complex ? 2 : 1)),
                          .size = mica_dtype_size(dtype)};
}

/* ga [outer or 1, inner] = the sums of the steps, added over what shares them in order. */
static void write_shared(const recurrence_context *o, const double *shared, const mica_view *ga) {
  const int64_t rows = o->a_outer ? o->outer : 1, add = o->a_outer ? 1 : o->outer;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = 0; k < o->inner; k++) {
      double sum = 0;
      for (int64_t n = 0; n < add; n++) sum += shared[(r * add + n) * o->inner + k];
      if (ga->dtype == MICA_F32)
        ((float *)ga->data)[r * o->inner + k] = (float)sum;
      else
        ((double *)ga->data)[r * o->inner + k] = sum;
    }
}

static void recurrence_backward(mica_call *c) {
  const recurrence_context *o = c->ctx;
  const mica_dtype dtype = c->out[0].dtype;
  const size_t size = mica_dtype_size(dtype), all = (size_t)(o->outer * o->length * o->inner);
  mica_view *ga = mica_call_grad(c, A), *gb = mica_call_grad(c, B);
  mica_view *gh0 = o->has_h0 ? mica_call_grad(c, H0) : NULL;
  recurrence_job job = job_of(c, o, dtype);
  job.backward = true;
  const bool fold = ga && o->a_time && !o->a_outer;
  job.g = (mica_scan_gradient){.a = c->in[A].data,
                               .h = c->out[0].data,
                               .h0 = o->has_h0 ? c->in[H0].data : NULL,
                               .gh = c->grad_out[0].data,
                               .glast = c->n_out > 1 ? c->grad_out[1].data : NULL,
                               .gb = gb ? gb->data : mica_call_scratch(c, all * size),
                               .ga = fold ? mica_call_scratch(c, all * size)
                                          : (ga && o->a_time ? ga->data : NULL),
                               .gh0 = gh0 ? gh0->data : NULL};
  if (ga && !o->a_time)
    job.g.shared = mica_call_scratch(c, (size_t)(o->outer * o->inner) * sizeof(double));
  if (!mica_ok(c->tape)) return;
  mica_parallel_for(c->engine, job.tiles.count, recurrence_range, &job);
  if (fold)
    mica_sum_axis(c, dtype, 1, o->outer, o->length * o->inner, 1, job.g.ga, ga->data);
  else if (job.g.shared)
    write_shared(o, job.g.shared, ga);
}

static const mica_op recurrence_op = {sizeof(mica_op), "linear_recurrence", MICA_OP_BY_EXAMPLE,
                                      recurrence_backward};

/* How a, of a shape that broadcasts to b's, meets it; false when the loops do not have that. */
static bool factors_fit(const mica_shape *a, const mica_shape *b, int axis, recurrence_context *o) {
  const int before = b->rank - a->rank;
  bool each = true, once = true;
  for (int d = 0; d < b->rank; d++) {
    const int64_t n = d < before ? 1 : a->dim[d - before];
    if (d > axis && n != b->dim[d]) return false;
    if (d == axis) o->a_time = n == b->dim[d];
    if (d < axis) each &= n == b->dim[d], once &= n == 1;
  }
  o->a_outer = each && !once;
  return each || once;
}

static mica_var recurrence(mica_tape *t, mica_var a, mica_var b, mica_var h0, int axis,
                           recurrence_context *o, const mica_shape *state, mica_var *last) {
  mica_call c;
  mica_var out[2];
  if (!mica_call_begin_optional(&c, t, &recurrence_op, 3, (mica_var[]){a, b, h0}, 1u << H0))
    return MICA_NONE;
  if (axis == 0)
    for (int i = 0; i < 3; i++) mica_call_mixes(&c, i);
  else if (!o->a_outer)
    mica_call_mixes(&c, A);
  const mica_view *h = mica_call_output(&c, c.in[B].dtype, c.in[B].shape);
  const mica_view *end = last ? mica_call_output(&c, c.in[B].dtype, *state) : NULL;
  if (mica_ok(t)) {
    recurrence_job job = job_of(&c, o, h->dtype);
    job.a = c.in[A].data;
    job.b = c.in[B].data;
    job.h0 = o->has_h0 ? c.in[H0].data : NULL;
    job.h = h->data;
    job.last = end ? end->data : NULL;
    mica_parallel_for(c.engine, job.tiles.count, recurrence_range, &job);
  }
  mica_call_context(&c, o, sizeof *o);
  mica_call_save_input(&c, A);
  if (o->has_h0) mica_call_save_input(&c, H0);
  mica_call_save_output(&c, 0);
  mica_call_end_n(&c, last ? 2 : 1, out);
  if (last) *last = out[1];
  return out[0];
}

mica_var mica_linear_recurrence(mica_tape *t, mica_var a, mica_var b, mica_var h0,
                                const mica_recurrence_options *options, mica_var *last) {
  mica_recurrence_options w = MICA_RECURRENCE_OPTIONS;
  if (options) memcpy(&w, options, options->size < sizeof w ? options->size : sizeof w);
  const mica_view va = mica_read(t, a), vb = mica_read(t, b);
  const mica_view vh = mica_is_none(h0) ? vb : mica_read(t, h0);
  char ta[128], tb[128];
  int axis;
  if (last) *last = MICA_NONE;
  if (!mica_ok(t)) return MICA_NONE;
  mica_shape_text(&va.shape, ta, sizeof ta);
  mica_shape_text(&vb.shape, tb, sizeof tb);
  if (!mica_is_float(&vb) || va.dtype != vb.dtype || vh.dtype != vb.dtype)
    return mica_latch(t, MICA_ERR_SHAPE, "linear_recurrence: expected one float type, %s %s", ta,
                      tb);
  if (!mica_axis(&vb.shape, w.axis, &axis))
    return mica_latch(t, MICA_ERR_SHAPE, "linear_recurrence: no axis %d: %s", w.axis, tb);
  if (w.complex && (axis == vb.shape.rank - 1 || vb.shape.dim[vb.shape.rank - 1] != 2 ||
                    va.shape.rank < 1 || va.shape.dim[va.shape.rank - 1] != 2))
    return mica_latch(t, MICA_ERR_SHAPE,
                      "linear_recurrence: complex numbers are a last dimension of 2: %s %s", ta,
                      tb);
  mica_shape both, state = vb.shape;
  for (int d = axis; d + 1 < state.rank; d++) state.dim[d] = state.dim[d + 1];
  state.rank--;
  if (!mica_broadcast_shape(&va.shape, &vb.shape, &both) || !mica_shape_equal(&both, &vb.shape))
    return mica_latch(t, MICA_ERR_SHAPE, "linear_recurrence: %s does not broadcast to %s", ta, tb);
  if (!mica_is_none(h0) && !mica_shape_equal(&vh.shape, &state))
    return mica_latch(t, MICA_ERR_SHAPE, "linear_recurrence: the initial state is %s, expected %s",
                      mica_shape_text(&vh.shape, ta, sizeof ta),
                      mica_shape_text(&state, tb, sizeof tb));
  recurrence_context o = {.complex = w.complex, .reverse = w.reverse, .has_h0 = !mica_is_none(h0)};
  mica_around(&vb.shape, axis, &o.outer, &o.length, &o.inner);
  mica_scope_begin(t, NULL);
  if (!factors_fit(&va.shape, &vb.shape, axis, &o)) {
    a = mica_expand(t, a, vb.shape);
    o.a_outer = o.a_time = true;
  }
  mica_var y[2] = {MICA_NONE, MICA_NONE};
  y[0] = recurrence(t, a, b, h0, axis, &o, &state, last ? &y[1] : NULL);
  mica_scope_end_n(t, last ? 2 : 1, y);
  if (last) *last = y[1];
  return y[0];
}
