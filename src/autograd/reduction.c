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
  size_t size;
  int64_t chunk; /* rows, or outer blocks, of a chunk */
  const char *x;
  char *y;
  double *partial;
  int64_t *arg;
} reduce_job;

static int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static int64_t chunk_rows(int64_t width) {
  const int64_t rows = MICA_CHUNK / (width ? width : 1);
  return rows < 1 ? 1 : rows;
}

/* ---- sum and mean ---- */

/* Rows of [outer, axis]. */
static void row_sum_range(void *ctx, int64_t begin, int64_t end) {
  const reduce_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * j->chunk, rows = at_most(j->chunk, j->o->outer - from);
    j->k->reduce->row_sum(rows, j->o->axis, j->x + (size_t)(from * j->o->axis) * j->size,
                          j->o->axis, j->o->alpha, j->y + (size_t)from * j->size);
  }
}

/* Columns of [axis, inner] in chunks of rows: part i of outer block o at partial[(o chunks + i)
 * inner]. */
static void column_sum_range(void *ctx, int64_t begin, int64_t end) {
  const reduce_job *j = ctx;
  const int64_t axis = j->o->axis, inner = j->o->inner, chunks = (axis + j->chunk - 1) / j->chunk;
  for (int64_t i = begin; i < end; i++) {
    const int64_t block = i / chunks, from = i % chunks * j->chunk,
                  rows = at_most(j->chunk, axis - from);
    double *acc = j->partial + i * inner;
    memset(acc, 0, (size_t)inner * sizeof *acc);
    j->k->reduce->column_sum(rows, inner, j->x + (size_t)((block * axis + from) * inner) * j->size,
                             inner, acc);
  }
}

static void sum_backward(mica_call *c) {
  const reduce_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const mica_kernels *k = mica_kernels_of(c->engine, gx->dtype);
  const size_t size = mica_dtype_size(gx->dtype);
  const char *gy = c->grad_out[0].data;
  if (o->inner == 1) {
    k->copy->repeat_element(o->outer, o->axis, o->alpha, gy, gx->data, o->axis);
    return;
  }
  for (int64_t b = 0; b < o->outer; b++)
    k->copy->repeat_row(o->axis, o->inner, o->alpha, gy + (size_t)(b * o->inner) * size,
                        (char *)gx->data + (size_t)(b * o->axis * o->inner) * size, o->inner);
}

static const mica_op sum_op = {sizeof(mica_op), "sum", 0, sum_backward};

/* alpha times the sum over dimensions [first, last] of x, which stay as 1. */
static mica_var sum_group(mica_tape *t, mica_var x, int first, int last, double alpha) {
  mica_call c;
  if (!mica_call_begin(&c, t, &sum_op, 1, &x)) return MICA_NONE;
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
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  reduce_job job = {.k = mica_kernels_of(c.engine, v->dtype),
                    .o = &o,
                    .size = mica_dtype_size(v->dtype),
                    .x = v->data,
                    .y = y ? y->data : NULL};
  if (y && o.inner == 1 && o.outer > 1) {
    job.chunk = chunk_rows(o.axis);
    mica_parallel_for(c.engine, (o.outer + job.chunk - 1) / job.chunk, row_sum_range, &job);
  } else if (y && mica_view_count(y)) {
    job.chunk = chunk_rows(o.inner);
    const int64_t chunks = (o.axis + job.chunk - 1) / job.chunk;
    job.partial = mica_call_scratch(&c, (size_t)(o.outer * chunks * o.inner) * sizeof(double));
    if (job.partial) {
      mica_parallel_for(c.engine, o.outer * chunks, column_sum_range, &job);
      for (int64_t b = 0; b < o.outer; b++)
        job.k->reduce->combine(o.inner, chunks, job.partial + b * chunks * o.inner, alpha,
                               job.y + (size_t)(b * o.inner) * job.size);
    }
  }
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

static mica_var sum_axes(mica_tape *t, const char *what, mica_var x, int n, const int *axes,
                         bool keep, bool mean) {
  const mica_view v = mica_read(t, x);
  unsigned mask;
  if (!mica_ok(t) || !axes_mask(t, what, &v.shape, n, axes, &mask)) return MICA_NONE;
  double count = 1;
  for (int d = 0; d < v.shape.rank; d++)
    if (mask >> d & 1) count *= (double)v.shape.dim[d];
  double alpha = mean ? 1 / count : 1;
  mica_scope_begin(t, NULL);
  /* From the back, so that what is left of a group stays where it was. */
  for (int last = v.shape.rank - 1; last >= 0; last--) {
    if (!(mask >> last & 1)) continue;
    int first = last;
    while (first > 0 && mask >> (first - 1) & 1) first--;
    x = sum_group(t, x, first, last, alpha);
    alpha = 1;
    last = first;
  }
  if (!mask) x = mica_affine(t, x, 1, 0);
  if (!keep) x = mica_reshape(t, x, without(&v.shape, mask));
  return mica_scope_end(t, x);
}

mica_var mica_sum(mica_tape *t, mica_var x, int n, const int *axes, bool keep) {
  return sum_axes(t, "sum", x, n, axes, keep, false);
}
mica_var mica_mean(mica_tape *t, mica_var x, int n, const int *axes, bool keep) {
  return sum_axes(t, "mean", x, n, axes, keep, true);
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
  for (int64_t b = begin; b < end; b++) {
    const char *x = j->x + (size_t)(b * o->axis * o->inner) * j->size;
    char *y = j->y ? j->y + (size_t)(b * o->inner) * j->size : NULL;
    if (o->inner == 1)
      j->k->reduce->row_extreme(o->maximum, 1, o->axis, x, o->axis, y, j->arg + b);
    else
      j->k->reduce->column_extreme(o->maximum, o->axis, o->inner, x, o->inner, y,
                                   j->arg + b * o->inner);
  }
}

static void extreme_backward(mica_call *c) {
  const reduce_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const mica_kernels *k = mica_kernels_of(c->engine, gx->dtype);
  const size_t size = mica_dtype_size(gx->dtype);
  const int64_t *arg = c->saved[0];
  const char *gy = c->grad_out[0].data;
  for (int64_t b = 0; b < o->outer; b++) {
    char *to = (char *)gx->data + (size_t)(b * o->axis * o->inner) * size;
    if (o->inner == 1)
      k->reduce->row_extreme_grad(1, o->axis, arg + b, gy + (size_t)b * size, to);
    else
      k->reduce->column_extreme_grad(o->axis, o->inner, arg + b * o->inner,
                                     gy + (size_t)(b * o->inner) * size, to);
  }
}

static const mica_op max_op = {sizeof(mica_op), "max", 0, extreme_backward};
static const mica_op min_op = {sizeof(mica_op), "min", 0, extreme_backward};
static const mica_op argmax_op = {sizeof(mica_op), "argmax", 0, NULL};

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
  const bool index = op == &argmax_op;
  const mica_view *y = mica_call_output(&c, index ? MICA_I64 : v->dtype, shape);
  int64_t *arg =
      index ? (y ? y->data : NULL) : mica_call_saved(&c, (size_t)(o.outer * o.inner) * sizeof *arg);
  if (mica_ok(t)) {
    reduce_job job = {.k = mica_kernels_of(c.engine, v->dtype),
                      .o = &o,
                      .size = mica_dtype_size(v->dtype),
                      .x = v->data,
                      .y = index ? NULL : y->data,
                      .arg = arg};
    mica_parallel_for(c.engine, o.outer, extreme_range, &job);
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

/* gx = gy softmax(x) */
static void lse_backward(mica_call *c) {
  const mica_view *x = &c->in[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const mica_kernels *k = mica_kernels_of(c->engine, x->dtype);
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  k->softmax->softmax(rows, cols, x->data, x->row_stride, gx->data, cols);
  k->copy->scale_rows(rows, cols, gx->data, cols, c->grad_out[0].data, gx->data, cols);
}

/* gx = gy x / y, 0 where y is 0 */
static void norm_backward(mica_call *c) {
  const mica_view *x = &c->in[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const mica_kernels *k = mica_kernels_of(c->engine, x->dtype);
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  void *factor = mica_call_scratch(c, (size_t)rows * mica_dtype_size(x->dtype));
  if (!factor) return;
  const void *gy = c->grad_out[0].data, *y = c->out[0].data;
  for (int64_t r = 0; r < rows; r++)
    if (x->dtype == MICA_F32)
      ((float *)factor)[r] =
          ((const float *)y)[r] == 0 ? 0 : ((const float *)gy)[r] / ((const float *)y)[r];
    else
      ((double *)factor)[r] =
          ((const double *)y)[r] == 0 ? 0 : ((const double *)gy)[r] / ((const double *)y)[r];
  k->copy->scale_rows(rows, cols, x->data, x->row_stride, factor, gx->data, cols);
}

static const mica_op lse_op = {sizeof(mica_op), "log_sum_exp", MICA_OP_ROW_STRIDES, lse_backward};
static const mica_op norm_op = {sizeof(mica_op), "norm", MICA_OP_ROW_STRIDES, norm_backward};

static mica_var last_axis(mica_tape *t, const mica_op *op, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s, expected float32 or float64:", mica_dtype_name(v->dtype));
  const int64_t rows = mica_view_rows(v), cols = mica_view_cols(v);
  mica_shape shape = v->shape;
  shape.rank--;
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  const mica_kernels *k = mica_kernels_of(c.engine, v->dtype);
  if (y && op == &lse_op) {
    k->reduce->row_log_sum_exp(rows, cols, v->data, v->row_stride, y->data);
  } else if (y) {
    k->reduce->row_sum_squares(rows, cols, v->data, v->row_stride, y->data);
    k->elementwise->unary(MICA_UNARY_SQRT, rows, y->data, y->data, 0, 0);
  }
  mica_call_save_input(&c, 0);
  if (op == &norm_op) mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

static mica_var over_axis(mica_tape *t, const mica_op *op, mica_var x, int axis, bool keep) {
  const mica_view v = mica_read(t, x);
  int at;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_axis(&v.shape, axis, &at))
    return mica_latch(t, MICA_ERR_SHAPE, "%s: axis %d of a tensor of rank %d", op->name, axis,
                      v.shape.rank);
  mica_scope_begin(t, NULL);
  mica_var y = last_axis(t, op, mica_axis_to_last(t, x, at));
  if (keep) {
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
