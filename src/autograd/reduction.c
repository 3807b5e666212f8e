/* Reductions: every one works on [outer, axis, inner]; several axes are neighbours taken together,
 * group after group. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"
#include "tensor/kernel/elementwise.h"
#include "tensor/kernel/reduce.h"
#include "tensor/kernel/softmax.h"

#include <string.h>

typedef struct reduce_context {
  int64_t outer, axis, inner;
  double alpha;
  bool maximum;
} reduce_context;

typedef struct reduce_job {
  const mica_kernels *k;
  const reduce_context *o;
  mica_tiles tiles;
  size_t size;
  const char *x, *gy;
  char *y;
  int64_t *arg;
} reduce_job;

/* ---- sum and mean ---- */

static void spread_range(void *ctx, int64_t begin, int64_t end) {
  const reduce_job *j = ctx;
  const reduce_context *o = j->o;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    if (o->inner == 1) {
      j->k->copy->repeat_element(t.blocks, o->axis, o->alpha, j->gy + (size_t)t.block * j->size,
                                 j->y + (size_t)(t.block * o->axis) * j->size, o->axis);
      continue;
    }
    for (int64_t b = t.block; b < t.block + t.blocks; b++)
      j->k->copy->repeat_row(
          o->axis, t.columns, o->alpha, j->gy + (size_t)(b * o->inner + t.column) * j->size,
          j->y + (size_t)(b * o->axis * o->inner + t.column) * j->size, o->inner);
  }
}

static void fill_range(void *ctx, int64_t begin, int64_t end) {
  const reduce_job *j = ctx;
  for (int64_t i = begin; i < end; i++)
    j->k->copy->repeat_element(1, mica_chunk_length(j->o->axis, i), j->o->alpha, j->gy,
                               j->y + (size_t)(i * MICA_CHUNK) * j->size, 0);
}

static void sum_backward(mica_call *c) {
  const reduce_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  reduce_job job = {.k = mica_kernels_of(c->engine, gx->dtype),
                    .o = o,
                    .tiles = mica_tiles_of(o->outer, o->axis, o->inner),
                    .size = mica_dtype_size(gx->dtype),
                    .gy = c->grad_out[0].data,
                    .y = gx->data};
  if (o->outer == 1 && o->inner == 1)
    mica_parallel_for(c->engine, mica_chunks(o->axis), fill_range, &job);
  else
    mica_parallel_for(c->engine, job.tiles.count, spread_range, &job);
}

static const mica_op sum_op = {sizeof(mica_op), "sum", MICA_OP_BY_EXAMPLE, sum_backward};
static const mica_op mean_op = {sizeof(mica_op), "mean", MICA_OP_BY_EXAMPLE, sum_backward};

/* alpha times the sum over dimensions [first, last] of x, which stay as 1. */
static mica_var sum_group(mica_tape *t, const mica_op *op, mica_var x, int first, int last,
                          double alpha) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s, expected float32 or float64:", mica_dtype_name(v->dtype));
  reduce_context o = {1, 1, 1, alpha, false};
  mica_shape shape = v->shape;
  for (int d = 0; d < shape.rank; d++) {
    *(d < first ? &o.outer : d > last ? &o.inner : &o.axis) *= shape.dim[d];
    if (d >= first && d <= last) shape.dim[d] = 1;
  }
  if (first == 0) mica_call_mixes(&c, 0);
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y) mica_sum_axis(&c, v->dtype, o.outer, o.axis, o.inner, alpha, v->data, y->data);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

/* The axes as a mask; all when n is 0. False latches. */
static bool axes_mask(mica_tape *t, const char *what, const mica_shape *shape, int n,
                      const int *axes, unsigned *mask) {
  *mask = n ? 0 : (1u << shape->rank) - 1;
  for (int i = 0; i < n; i++) {
    int at;
    if (!mica_axis(shape, axes[i], &at) || *mask >> at & 1) {
      mica_latch(t, MICA_ERR_SHAPE, "%s: axis %d of a tensor of rank %d, each once", what, axes[i],
                 shape->rank);
      return false;
    }
    *mask |= 1u << at;
  }
  return true;
}

/* The shape without the dimensions of the mask. */
static mica_shape without(const mica_shape *shape, unsigned mask) {
  mica_shape out = {0};
  for (int d = 0; d < shape->rank; d++)
    if (!(mask >> d & 1)) out.dim[out.rank++] = shape->dim[d];
  return out;
}

static mica_var sum_axes(mica_tape *t, const mica_op *op, mica_var x, int n, const int *axes,
                         bool keep) {
  const mica_view v = mica_read(t, x);
  unsigned mask;
  if (!mica_ok(t) || !axes_mask(t, op->name, &v.shape, n, axes, &mask)) return MICA_NONE;
  double count = 1;
  for (int d = 0; d < v.shape.rank; d++)
    if (mask >> d & 1) count *= (double)v.shape.dim[d];
  double alpha = op == &mean_op ? 1 / count : 1;
  mica_scope_begin(t, NULL);
  /* From the back, so that what is left of a group stays where it was. */
  for (int last = v.shape.rank - 1; last >= 0; last--) {
    if (!(mask >> last & 1)) continue;
    int first = last;
    while (first > 0 && mask >> (first - 1) & 1) first--;
    x = sum_group(t, op, x, first, last, alpha);
    alpha = 1;
    last = first;
  }
  if (!mask) x = sum_group(t, op, x, 0, -1, 1);
  if (!keep) x = mica_reshape(t, x, without(&v.shape, mask));
  return mica_scope_end(t, x);
}

mica_var mica_sum(mica_tape *t, mica_var x, int n, const int *axes, bool keep) {
  return sum_axes(t, &sum_op, x, n, axes, keep);
}
mica_var mica_mean(mica_tape *t, mica_var x, int n, const int *axes, bool keep) {
  return sum_axes(t, &mean_op, x, n, axes, keep);
}

mica_var mica_variance(mica_tape *t, mica_var x, int n, const int *axes, bool keep,
                       double correction) {
  const mica_view v = mica_read(t, x);
  unsigned mask;
  if (!mica_ok(t) || !axes_mask(t, "variance", &v.shape, n, axes, &mask)) return MICA_NONE;
  double count = 1;
  for (int d = 0; d < v.shape.rank; d++)
    if (mask >> d & 1) count *= (double)v.shape.dim[d];
  mica_scope_begin(t, NULL);
  mica_var d = mica_sub(t, x, mica_mean(t, x, n, axes, true));
  mica_var s = mica_sum(t, mica_square(t, d), n, axes, keep);
  return mica_scope_end(t, mica_affine(t, s, 1 / (count - correction), 0));
}

/* ---- extremes ---- */

static void extreme_range(void *ctx, int64_t begin, int64_t end) {
  const reduce_job *j = ctx;
  const reduce_context *o = j->o;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    if (o->inner == 1) {
      j->k->reduce->row_extreme(o->maximum, t.blocks, o->axis,
                                j->x + (size_t)(t.block * o->axis) * j->size, o->axis,
                                j->y ? j->y + (size_t)t.block * j->size : NULL, j->arg + t.block);
      continue;
    }
    for (int64_t b = t.block; b < t.block + t.blocks; b++) {
      const int64_t at = b * o->inner + t.column;
      j->k->reduce->column_extreme(o->maximum, o->axis, t.columns,
                                   j->x + (size_t)(b * o->axis * o->inner + t.column) * j->size,
                                   o->inner, j->y ? j->y + (size_t)at * j->size : NULL,
                                   j->arg + at);
    }
  }
}

/* Whole blocks: the loop that zeroes and places takes dense ones. */
static void extreme_grad_range(void *ctx, int64_t begin, int64_t end) {
  const reduce_job *j = ctx;
  const reduce_context *o = j->o;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    if (o->inner == 1) {
      j->k->reduce->row_extreme_grad(t.blocks, o->axis, j->arg + t.block,
                                     j->gy + (size_t)t.block * j->size,
                                     j->y + (size_t)(t.block * o->axis) * j->size);
      continue;
    }
    for (int64_t b = t.block; b < t.block + t.blocks; b++)
      j->k->reduce->column_extreme_grad(o->axis, o->inner, j->arg + b * o->inner,
                                        j->gy + (size_t)(b * o->inner) * j->size,
                                        j->y + (size_t)(b * o->axis * o->inner) * j->size);
  }
}

static void extreme_backward(mica_call *c) {
  const reduce_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  reduce_job job = {.k = mica_kernels_of(c->engine, gx->dtype),
                    .o = o,
                    .tiles = mica_tiles_of(o->inner ? o->outer : 0, o->axis * o->inner, 1),
                    .size = mica_dtype_size(gx->dtype),
                    .gy = c->grad_out[0].data,
                    .y = gx->data,
                    .arg = c->saved[0]};
  mica_parallel_for(c->engine, job.tiles.count, extreme_grad_range, &job);
}

static const mica_op max_op = {sizeof(mica_op), "max", MICA_OP_BY_EXAMPLE, extreme_backward};
static const mica_op min_op = {sizeof(mica_op), "min", MICA_OP_BY_EXAMPLE, extreme_backward};
static const mica_op argmax_op = {sizeof(mica_op), "argmax", MICA_OP_BY_EXAMPLE, NULL};

static mica_var extreme(mica_tape *t, const mica_op *op, mica_var x, int axis, bool keep,
                        bool maximum) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  int at;
  if (!mica_is_float(v) || !mica_axis(&v->shape, axis, &at) || !v->shape.dim[at])
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "axis %d must be there and not empty, of a float tensor:", axis);
  reduce_context o = {.alpha = 1, .maximum = maximum};
  mica_around(&v->shape, at, &o.outer, &o.axis, &o.inner);
  mica_shape shape = v->shape;
  shape.dim[at] = 1;
  if (!keep) shape = without(&v->shape, 1u << at);
  if (at == 0) mica_call_mixes(&c, 0);
  const bool index = op == &argmax_op;
  const mica_view *y = mica_call_output(&c, index ? MICA_I64 : v->dtype, shape);
  int64_t *arg =
      index ? (y ? y->data : NULL) : mica_call_saved(&c, (size_t)(o.outer * o.inner) * sizeof *arg);
  if (mica_ok(t)) {
    reduce_job job = {.k = mica_kernels_of(c.engine, v->dtype),
                      .o = &o,
                      .tiles = mica_tiles_of(o.outer, o.axis, o.inner),
                      .size = mica_dtype_size(v->dtype),
                      .x = v->data,
                      .y = index ? NULL : y->data,
                      .arg = arg};
    mica_parallel_for(c.engine, job.tiles.count, extreme_range, &job);
  }
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_max(mica_tape *t, mica_var x, int axis, bool keep) {
  return extreme(t, &max_op, x, axis, keep, true);
}
mica_var mica_min(mica_tape *t, mica_var x, int axis, bool keep) {
  return extreme(t, &min_op, x, axis, keep, false);
}
mica_var mica_argmax(mica_tape *t, mica_var x, int axis) {
  return extreme(t, &argmax_op, x, axis, false, true);
}

/* ---- log-sum-exp and norm, over the last axis; another is moved there ---- */

typedef struct row_job {
  const mica_kernels *k;
  bool lse;
  mica_tiles tiles;
  size_t size;
  int64_t cols, stride;
  const char *x, *gy;
  char *factor, *y; /* a value for each row; rows */
} row_job;

static void row_range(void *ctx, int64_t begin, int64_t end) {
  const row_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const char *x = j->x + (size_t)(t.block * j->stride) * j->size;
    char *y = j->y + (size_t)t.block * j->size;
    if (j->lse) {
      j->k->reduce->row_log_sum_exp(t.blocks, j->cols, x, j->stride, y);
    } else {
      j->k->reduce->row_sum_squares(t.blocks, j->cols, x, j->stride, y);
      j->k->elementwise->unary(MICA_UNARY_SQRT, t.blocks, y, y, 0, 0);
    }
  }
}

/* gx = gy softmax(x), or gx = factor x */
static void row_grad_range(void *ctx, int64_t begin, int64_t end) {
  const row_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const char *x = j->x + (size_t)(t.block * j->stride) * j->size;
    char *gx = j->y + (size_t)(t.block * j->cols) * j->size;
    if (j->lse) {
      j->k->softmax->softmax(t.blocks, j->cols, x, j->stride, gx, j->cols);
      j->k->copy->scale_rows(t.blocks, j->cols, gx, j->cols, j->gy + (size_t)t.block * j->size, gx,
                             j->cols);
    } else {
      j->k->copy->scale_rows(t.blocks, j->cols, x, j->stride, j->factor + (size_t)t.block * j->size,
                             gx, j->cols);
    }
  }
}

static row_job row_job_of(const mica_call *c, bool lse, char *y) {
  const mica_view *x = &c->in[0];
  return (row_job){.k = mica_kernels_of(c->engine, x->dtype),
                   .lse = lse,
                   .tiles = mica_tiles_of(mica_view_rows(x), mica_view_cols(x), 1),
                   .size = mica_dtype_size(x->dtype),
                   .cols = mica_view_cols(x),
                   .stride = x->row_stride,
                   .x = x->data,
                   .y = y};
}

static void lse_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  row_job job = row_job_of(c, true, gx->data);
  job.gy = c->grad_out[0].data;
  mica_parallel_for(c->engine, job.tiles.count, row_grad_range, &job);
}

/* gx = gy x / y, 0 where y is 0 */
static void norm_backward(mica_call *c) {
  const mica_view *x = &c->in[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  row_job job = row_job_of(c, false, gx->data);
  const int64_t rows = mica_view_rows(x);
  job.factor = mica_call_scratch(c, (size_t)rows * job.size);
  if (!job.factor) return;
  const void *gy = c->grad_out[0].data, *y = c->out[0].data;
  for (int64_t r = 0; r < rows; r++)
    if (x->dtype == MICA_F32)
      ((float *)(void *)job.factor)[r] =
          ((const float *)y)[r] == 0 ? 0 : ((const float *)gy)[r] / ((const float *)y)[r];
    else
      ((double *)(void *)job.factor)[r] =
          ((const double *)y)[r] == 0 ? 0 : ((const double *)gy)[r] / ((const double *)y)[r];
  mica_parallel_for(c->engine, job.tiles.count, row_grad_range, &job);
}

static const mica_op lse_op = {sizeof(mica_op), "log_sum_exp",
                               MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, lse_backward};
static const mica_op norm_op = {sizeof(mica_op), "norm", MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE,
                                norm_backward};

static mica_var last_axis(mica_tape *t, const mica_op *op, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s, expected float32 or float64:", mica_dtype_name(v->dtype));
  mica_shape shape = v->shape;
  shape.rank--;
  if (!shape.rank) mica_call_mixes(&c, 0);
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y) {
    row_job job = row_job_of(&c, op == &lse_op, y->data);
    mica_parallel_for(c.engine, job.tiles.count, row_range, &job);
  }
  mica_call_save_input(&c, 0);
  if (op == &norm_op) mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

static mica_var over_axis(mica_tape *t, const mica_op *op, mica_var x, int axis, bool keep) {
  const mica_view v = mica_read(t, x);
  mica_scope_begin(t, NULL);
  mica_var y = last_axis(t, op, mica_axis_to_last(t, op->name, x, axis));
  int at;
  if (keep && mica_axis(&v.shape, axis, &at)) {
    mica_shape shape = v.shape;
    shape.dim[at] = 1;
    y = mica_reshape(t, y, shape);
  }
  return mica_scope_end(t, y);
}

mica_var mica_log_sum_exp(mica_tape *t, mica_var x, int axis, bool keep) {
  return over_axis(t, &lse_op, x, axis, keep);
}
mica_var mica_norm(mica_tape *t, mica_var x, int axis, bool keep) {
  return over_axis(t, &norm_op, x, axis, keep);
}
