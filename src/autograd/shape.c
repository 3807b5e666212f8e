/* Shape: views where the tensor's one freedom, the row stride, allows; else copies by rows.
 *
 * Slices of the leading or the last dimension are views, and so are reshapes of dense tensors and
 * of strided ones whose last dimension stays. The gradient
 * of a view of a part is zero elsewhere, so mica_split, which covers the whole, is cheaper than
 * slices.
 */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include <string.h>

/* ---- reshape ---- */

static void pass_backward(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
}

static const mica_op reshape_op = {sizeof(mica_op), "reshape", MICA_OP_BY_EXAMPLE, pass_backward};
static const mica_op reshape_rows_op = {sizeof(mica_op), "reshape",
                                        MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, pass_backward};

/* Put what is left of n elements in the place of one -1; false where that cannot be. */
static bool complete(mica_shape *shape, int64_t n) {
  int unknown = -1;
  if (shape->rank < 0 || shape->rank > MICA_MAX_RANK) return false;
  mica_shape known = *shape;
  for (int d = 0; d < shape->rank; d++) {
    if (shape->dim[d] != -1) continue;
    if (unknown >= 0) return false;
    unknown = d;
    known.dim[d] = 1;
  }
  const int64_t m = mica_shape_count(&known);
  if (unknown >= 0 && m > 0 && n % m == 0) shape->dim[unknown] = n / m;
  return mica_shape_count(shape) == n;
}

mica_var mica_reshape(mica_tape *t, mica_var x, mica_shape shape) {
  const mica_view v = mica_read(t, x);
  if (!mica_ok(t)) return MICA_NONE;
  const mica_shape asked = shape;
  const bool fits = complete(&shape, mica_view_count(&v));
  const bool rows = fits && v.shape.rank > 0 && shape.rank > 0 &&
                    shape.dim[shape.rank - 1] == v.shape.dim[v.shape.rank - 1];
  mica_call c;
  if (!mica_call_begin(&c, t, rows ? &reshape_rows_op : &reshape_op, 1, &x)) return MICA_NONE;
  char text[128];
  if (!fits)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "to %s from",
                          mica_shape_text(&asked, text, sizeof text));
  mica_call_output_alias(&c, 0, 0, shape,
                         rows         ? c.in[0].row_stride
                         : shape.rank ? shape.dim[shape.rank - 1]
                                      : 1);
  return mica_call_end(&c);
}

mica_var mica_flatten(mica_tape *t, mica_var x, int from_axis) {
  const mica_view v = mica_read(t, x);
  int at;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_axis(&v.shape, from_axis, &at))
    return mica_latch(t, MICA_ERR_SHAPE, "flatten: axis %d of a tensor of rank %d", from_axis,
                      v.shape.rank);
  mica_shape shape = v.shape;
  shape.rank = at + 1;
  for (int d = at + 1; d < v.shape.rank; d++) shape.dim[at] *= v.shape.dim[d];
  return mica_reshape(t, x, shape);
}

/* ---- permute and expand ---- */

typedef struct permute_context {
  int axes[MICA_MAX_RANK];
} permute_context;

/* The next output, gathered from input 0 by steps. */
static void gather_steps(mica_call *c, const mica_shape *shape, const int64_t *step,
                         int64_t offset) {
  const mica_view *v = &c->in[0], *y = mica_call_output(c, v->dtype, *shape);
  if (y && mica_view_count(y))
    mica_strided_copy(c->engine, v->dtype, shape, step,
                      (const char *)v->data + offset * (int64_t)mica_dtype_size(v->dtype), y->data);
}

static void permute_backward(mica_call *c) {
  const permute_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  const mica_view *gy = &c->grad_out[0];
  if (!gx || !mica_view_count(gx)) return;
  int64_t dense[MICA_MAX_RANK], step[MICA_MAX_RANK];
  mica_dense_steps(&gy->shape, dense);
  for (int d = 0; d < gy->shape.rank; d++) step[o->axes[d]] = dense[d];
  mica_strided_copy(c->engine, gx->dtype, &gx->shape, step, gy->data, gx->data);
}

static const mica_op permute_op = {sizeof(mica_op), "permute",
                                   MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, permute_backward};

mica_var mica_permute(mica_tape *t, mica_var x, int n, const int *axes) {
  mica_call c;
  if (!mica_call_begin(&c, t, &permute_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  permute_context o = {{0}};
  mica_shape shape = v->shape;
  int64_t of_x[MICA_MAX_RANK], step[MICA_MAX_RANK];
  unsigned seen = 0;
  mica_view_steps(v, of_x);
  for (int d = 0; d < n && n == v->shape.rank; d++) {
    int at;
    if (!mica_axis(&v->shape, axes[d], &at)) break;
    seen |= 1u << at;
    o.axes[d] = at;
    shape.dim[d] = v->shape.dim[at];
    step[d] = of_x[at];
  }
  if (n != v->shape.rank || seen != (1u << n) - 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "%d axes, expected each of the tensor's once:", n);
  gather_steps(&c, &shape, step, 0);
  if (n && o.axes[0]) mica_call_mixes(&c, 0);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_transpose(mica_tape *t, mica_var x, int a, int b) {
  const mica_view v = mica_read(t, x);
  int order[MICA_MAX_RANK], i, j;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_axis(&v.shape, a, &i) || !mica_axis(&v.shape, b, &j))
    return mica_latch(t, MICA_ERR_SHAPE, "transpose: axes %d and %d of a tensor of rank %d", a, b,
                      v.shape.rank);
  for (int d = 0; d < v.shape.rank; d++) order[d] = d;
  order[i] = j;
  order[j] = i;
  return mica_permute(t, x, v.shape.rank, order);
}

static void expand_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  const mica_view *gy = &c->grad_out[0];
  if (gx) mica_sum_to(c, gx->dtype, gy->data, &gy->shape, gx->data, &gx->shape);
}

static const mica_op expand_op = {sizeof(mica_op), "expand", MICA_OP_BY_EXAMPLE, expand_backward};

mica_var mica_expand(mica_tape *t, mica_var x, mica_shape shape) {
  mica_call c;
  if (!mica_call_begin(&c, t, &expand_op, 1, &x)) return MICA_NONE;
  mica_shape both;
  int64_t step[MICA_MAX_RANK];
  char text[128];
  if (mica_shape_count(&shape) < 0 || !mica_broadcast_shape(&c.in[0].shape, &shape, &both) ||
      !mica_shape_equal(&both, &shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "to %s from",
                          mica_shape_text(&shape, text, sizeof text));
  mica_broadcast_steps(&c.in[0].shape, &shape, step);
  gather_steps(&c, &shape, step, 0);
  if (c.in[0].shape.rank != shape.rank || (shape.rank && c.in[0].shape.dim[0] != shape.dim[0]))
    mica_call_mixes(&c, 0);
  return mica_call_end(&c);
}

/* ---- slice and split ---- */

typedef struct slice_context {
  int axis;
  int64_t begin;
} slice_context;

/* The part [begin, begin + part's axis) of a dense tensor whose axis has n: one block for each
 * index before the axis. Copied out of the whole, or into it from rows `stride` apart. */
static void copy_out(const mica_engine *engine, size_t size, int axis, int64_t n, int64_t begin,
                     const mica_shape *part, const char *whole, char *to) {
  int64_t outer, m, inner;
  mica_around(part, axis, &outer, &m, &inner);
  mica_copy_rows(engine, outer, m * inner, size, whole + (size_t)(begin * inner) * size, n * inner,
                 to, m * inner);
}
static void copy_in(const mica_engine *engine, size_t size, int axis, int64_t n, int64_t begin,
                    const mica_shape *part, const char *from, int64_t stride, char *whole) {
  int64_t outer, m, inner;
  mica_around(part, axis, &outer, &m, &inner);
  mica_copy_rows(engine, outer, m * inner, size, from, stride ? stride : m * inner,
                 whole + (size_t)(begin * inner) * size, n * inner);
}

static void slice_backward(mica_call *c) {
  const slice_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  const mica_view *gy = &c->grad_out[0];
  if (!gx) return;
  const size_t size = mica_dtype_size(gx->dtype);
  mica_fill(c->engine, mica_view_count(gx), size, NULL, gx->data);
  copy_in(c->engine, size, o->axis, gx->shape.dim[o->axis], o->begin, &gy->shape, gy->data, 0,
          gx->data);
}

static const mica_op slice_op = {sizeof(mica_op), "slice", MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE,
                                 slice_backward};
static const mica_op slice_copy_op = {sizeof(mica_op), "slice", MICA_OP_BY_EXAMPLE, slice_backward};

/* Output of a call: the part of input 0, as a view where that is possible. */
static bool part_output(mica_call *c, int axis, int64_t begin, int64_t n) {
  const mica_view *v = &c->in[0];
  mica_shape shape = v->shape;
  shape.dim[axis] = n;
  if (axis == shape.rank - 1 && shape.rank > 1)
    return mica_call_output_alias(c, 0, begin, shape, v->row_stride);
  if (axis == 0) {
    int64_t rows = 1;
    for (int d = 1; d < shape.rank - 1; d++) rows *= shape.dim[d];
    const int64_t step = shape.rank == 1 ? 1 : rows * v->row_stride;
    return mica_call_output_alias(c, 0, begin * step, shape, shape.rank == 1 ? n : v->row_stride);
  }
  const mica_view *y = mica_call_output(c, v->dtype, shape);
  if (y)
    copy_out(c->engine, mica_dtype_size(v->dtype), axis, v->shape.dim[axis], begin, &shape, v->data,
             y->data);
  return y != NULL;
}

mica_var mica_slice(mica_tape *t, mica_var x, int axis, int64_t begin, int64_t end) {
  const mica_view view = mica_read(t, x);
  int at;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_axis(&view.shape, axis, &at))
    return mica_latch(t, MICA_ERR_SHAPE, "slice: axis %d of a tensor of rank %d", axis,
                      view.shape.rank);
  const bool is_view = at == 0 || at == view.shape.rank - 1;
  mica_call c;
  if (!mica_call_begin(&c, t, is_view ? &slice_op : &slice_copy_op, 1, &x)) return MICA_NONE;
  if (begin < 0 || end < begin || end > view.shape.dim[at])
    return mica_call_fail(&c, MICA_ERR_SHAPE, "%lld to %lld of axis %d of", (long long)begin,
                          (long long)end, axis);
  part_output(&c, at, begin, end - begin);
  if (at == 0 && end - begin != view.shape.dim[0]) mica_call_mixes(&c, 0);
  const slice_context o = {at, begin};
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

/* Parts without a gradient are zero. */
static void split_backward(mica_call *c) {
  const int axis = *(const int *)c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const size_t size = mica_dtype_size(gx->dtype);
  bool all = true;
  for (int i = 0; i < c->n_out; i++) all &= c->grad_out[i].data != NULL;
  if (!all) mica_fill(c->engine, mica_view_count(gx), size, NULL, gx->data);
  int64_t begin = 0;
  for (int i = 0; i < c->n_out; i++) {
    const mica_view *gy = &c->grad_out[i];
    if (gy->data)
      copy_in(c->engine, size, axis, gx->shape.dim[axis], begin, &gy->shape, gy->data, 0, gx->data);
    begin += gy->shape.dim[axis];
  }
}

static const mica_op split_op = {sizeof(mica_op), "split", MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE,
                                 split_backward};
static const mica_op split_copy_op = {sizeof(mica_op), "split", MICA_OP_BY_EXAMPLE, split_backward};

/* n at most MICA_CALL_INLINE parts. */
static void split_few(mica_tape *t, mica_var x, int axis, int n, const int64_t *sizes,
                      mica_var *out) {
  const int rank = mica_rank(t, x);
  mica_call c;
  if (!mica_call_begin(&c, t, axis == 0 || axis == rank - 1 ? &split_op : &split_copy_op, 1, &x))
    return;
  int64_t begin = 0;
  for (int i = 0; i < n && part_output(&c, axis, begin, sizes[i]); i++) begin += sizes[i];
  if (axis == 0) mica_call_mixes(&c, 0);
  mica_call_context(&c, &axis, sizeof axis);
  mica_call_end_n(&c, n, out);
}

/* Many parts are parts of a few larger ones, so that backward writes each element a few times, not
 * once for each part. */
static void split_many(mica_tape *t, mica_var x, int axis, int n, const int64_t *sizes,
                       mica_var *out) {
  if (n <= MICA_CALL_INLINE) {
    split_few(t, x, axis, n, sizes, out);
    return;
  }
  int64_t sums[MICA_CALL_INLINE] = {0};
  int first[MICA_CALL_INLINE + 1];
  mica_var part[MICA_CALL_INLINE];
  for (int g = 0; g <= MICA_CALL_INLINE; g++) first[g] = (int)((int64_t)n * g / MICA_CALL_INLINE);
  for (int g = 0; g < MICA_CALL_INLINE; g++)
    for (int i = first[g]; i < first[g + 1]; i++) sums[g] += sizes[i];
  split_few(t, x, axis, MICA_CALL_INLINE, sums, part);
  for (int g = 0; g < MICA_CALL_INLINE && mica_ok(t); g++)
    split_many(t, part[g], axis, first[g + 1] - first[g], sizes + first[g], out + first[g]);
}

void mica_split(mica_tape *t, mica_var x, int axis, int n, const int64_t *sizes, mica_var *out) {
  for (int i = 0; i < n; i++) out[i] = MICA_NONE;
  const mica_view v = mica_read(t, x);
  int at;
  if (!mica_ok(t)) return;
  char text[128];
  mica_shape_text(&v.shape, text, sizeof text);
  if (!mica_axis(&v.shape, axis, &at)) {
    mica_latch(t, MICA_ERR_SHAPE, "split: axis %d of %s", axis, text);
    return;
  }
  int64_t left = v.shape.dim[at];
  for (int i = 0; i < n && left >= 0; i++)
    left = sizes[i] < 0 || sizes[i] > left ? -1 : left - sizes[i];
  if (left != 0) {
    mica_latch(t, MICA_ERR_SHAPE, "split: the sizes of %d parts do not add up to axis %d of %s", n,
               axis, text);
    return;
  }
  mica_scope_begin(t, NULL);
  split_many(t, x, at, n, sizes, out);
  mica_scope_end_n(t, n, out);
}

/* ---- concat and stack ---- */

typedef struct concat_context {
  int axis;
  bool stacked; /* the axis is new: each input has one of it */
} concat_context;

/* Input i's shape with the axis there. */
static mica_shape part_shape(const mica_shape *x, const concat_context *o) {
  if (!o->stacked) return *x;
  mica_shape shape = {x->rank + 1, {0}};
  for (int d = 0; d < shape.rank; d++)
    shape.dim[d] = d < o->axis ? x->dim[d] : d == o->axis ? 1 : x->dim[d - 1];
  return shape;
}

static void concat_backward(mica_call *c) {
  const concat_context *o = c->ctx;
  const mica_view *gy = &c->grad_out[0];
  const size_t size = mica_dtype_size(gy->dtype);
  int64_t begin = 0;
  for (int i = 0; i < c->n_in; i++) {
    mica_view *g = mica_call_grad(c, i);
    const mica_shape shape = part_shape(&c->in[i].shape, o);
    if (g)
      copy_out(c->engine, size, o->axis, gy->shape.dim[o->axis], begin, &shape, gy->data, g->data);
    begin += shape.dim[o->axis];
  }
}

static const mica_op concat_op = {sizeof(mica_op), "concat", MICA_OP_BY_EXAMPLE, concat_backward};
/* Along the last axis a row is a block. */
static const mica_op concat_rows_op = {sizeof(mica_op), "concat",
                                       MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, concat_backward};
static const mica_op stack_op = {sizeof(mica_op), "stack", MICA_OP_BY_EXAMPLE, concat_backward};

static mica_var join(mica_tape *t, const mica_op *op, int n, const mica_var *x, int axis) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, n, x)) return MICA_NONE;
  concat_context o = {0, op == &stack_op};
  const int rank = c.in[0].shape.rank + o.stacked;
  o.axis = axis < 0 ? axis + rank : axis;
  if (o.axis < 0 || o.axis >= rank || rank > MICA_MAX_RANK)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "axis %d of a result of rank %d, from", axis, rank);
  mica_shape shape = part_shape(&c.in[0].shape, &o);
  shape.dim[o.axis] = 0;
  for (int i = 0; i < n; i++) {
    if (c.in[i].dtype != c.in[0].dtype)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "tensor %d is %s, expected %s:", i,
                            mica_dtype_name(c.in[i].dtype), mica_dtype_name(c.in[0].dtype));
    bool fits = c.in[i].shape.rank == c.in[0].shape.rank;
    mica_shape one = part_shape(&c.in[i].shape, &o);
    for (int d = 0; d < rank && fits; d++) fits = d == o.axis || one.dim[d] == shape.dim[d];
    if (!fits)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "tensor %d does not have tensor 0's shape%s:", i,
                            o.stacked ? "" : " but for the axis");
    shape.dim[o.axis] += one.dim[o.axis];
  }
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, shape);
  int64_t begin = 0;
  for (int i = 0; i < n && y; i++) {
    const mica_shape one = part_shape(&c.in[i].shape, &o);
    copy_in(c.engine, mica_dtype_size(y->dtype), o.axis, shape.dim[o.axis], begin, &one,
            c.in[i].data, op == &concat_rows_op ? c.in[i].row_stride : 0, y->data);
    begin += one.dim[o.axis];
    if (o.axis == 0) mica_call_mixes(&c, i);
  }
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_concat(mica_tape *t, int n, const mica_var *x, int axis) {
  if (n < 1) return mica_latch(t, MICA_ERR_INVALID, "concat: %d tensors, expected 1 or more", n);
  const int rank = mica_rank(t, x[0]);
  const bool last = axis == -1 || axis == rank - 1;
  return join(t, last ? &concat_rows_op : &concat_op, n, x, axis);
}

mica_var mica_stack(mica_tape *t, int n, const mica_var *x, int axis) {
  if (n < 1) return mica_latch(t, MICA_ERR_INVALID, "stack: %d tensors, expected 1 or more", n);
  return join(t, &stack_op, n, x, axis);
}

/* ---- pad, roll, flip ---- */

typedef struct pad_context {
  int64_t before[MICA_MAX_RANK];
} pad_context;

static int64_t pad_offset(const mica_shape *padded, const pad_context *o) {
  int64_t step[MICA_MAX_RANK], offset = 0;
  mica_dense_steps(padded, step);
  for (int d = 0; d < padded->rank; d++) offset += o->before[d] * step[d];
  return offset;
}

static void pad_backward(mica_call *c) {
  const mica_view *gy = &c->grad_out[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  int64_t from[MICA_MAX_RANK], to[MICA_MAX_RANK];
  mica_dense_steps(&gy->shape, from);
  mica_dense_steps(&gx->shape, to);
  const size_t size = mica_dtype_size(gx->dtype);
  mica_copy_region(c->engine, &gx->shape, size,
                   (const char *)gy->data + (size_t)pad_offset(&gy->shape, c->ctx) * size, from,
                   gx->data, to);
}

#define PAD_MOST ((int64_t)1 << 40)

static const mica_op pad_op = {sizeof(mica_op), "pad", MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE,
                               pad_backward};

mica_var mica_pad(mica_tape *t, mica_var x, int n, const int64_t *before, const int64_t *after,
                  double value) {
  mica_call c;
  if (!mica_call_begin(&c, t, &pad_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  pad_context o = {{0}};
  mica_shape shape = v->shape;
  bool fine = n >= 0 && n <= shape.rank;
  for (int d = 0; d < n && fine; d++) {
    fine = before[d] >= 0 && after[d] >= 0 && before[d] <= PAD_MOST && after[d] <= PAD_MOST;
    o.before[d] = before[d];
    if (fine) shape.dim[d] += before[d] + after[d];
  }
  if (n && fine && before[0] + after[0]) mica_call_mixes(&c, 0);
  if (!fine) return mica_call_fail(&c, MICA_ERR_INVALID, "%d dimensions, padding of 0 to 2^40:", n);
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y && mica_view_count(y)) {
    const size_t size = mica_dtype_size(v->dtype);
    char *to = y->data;
    double element;
    const mica_view from = mica_view_of(&value, MICA_F64, MICA_SCALAR);
    const mica_view first = mica_view_of(&element, v->dtype, MICA_SCALAR);
    if (mica_view_copy(&first, &from) != MICA_OK)
      return mica_call_fail(&c, mica_last_status(), "%s", mica_last_error());
    mica_fill(c.engine, mica_view_count(y), size, &element, to);
    int64_t xs[MICA_MAX_RANK], ys[MICA_MAX_RANK];
    mica_view_steps(v, xs);
    mica_dense_steps(&shape, ys);
    mica_copy_region(c.engine, &v->shape, size, v->data, xs,
                     to + (size_t)pad_offset(&shape, &o) * size, ys);
  }
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_roll(mica_tape *t, mica_var x, int axis, int64_t shift) {
  const int64_t n = mica_dim(t, x, axis);
  if (!mica_ok(t)) return MICA_NONE;
  const int64_t cut = n ? (n - shift % n) % n : 0;
  if (!cut) return mica_slice(t, x, axis, 0, n);
  mica_scope_begin(t, NULL);
  mica_var part[2];
  mica_split(t, x, axis, 2, (int64_t[]){cut, n - cut}, part);
  return mica_scope_end(t, mica_concat(t, 2, (mica_var[]){part[1], part[0]}, axis));
}

/* Its own inverse. */
static void flip_steps(const mica_shape *shape, int axis, int64_t *step, int64_t *offset) {
  mica_dense_steps(shape, step);
  *offset = shape->dim[axis] ? (shape->dim[axis] - 1) * step[axis] : 0;
  step[axis] = -step[axis];
}

static void flip_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx || !mica_view_count(gx)) return;
  int64_t step[MICA_MAX_RANK], offset;
  flip_steps(&gx->shape, *(const int *)c->ctx, step, &offset);
  mica_strided_copy(c->engine, gx->dtype, &gx->shape, step,
                    (const char *)c->grad_out[0].data + (size_t)offset * mica_dtype_size(gx->dtype),
                    gx->data);
}

static const mica_op flip_op = {sizeof(mica_op), "flip", MICA_OP_BY_EXAMPLE, flip_backward};

mica_var mica_flip(mica_tape *t, mica_var x, int axis) {
  mica_call c;
  if (!mica_call_begin(&c, t, &flip_op, 1, &x)) return MICA_NONE;
  int at;
  if (!mica_axis(&c.in[0].shape, axis, &at))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "axis %d of", axis);
  int64_t step[MICA_MAX_RANK], offset;
  flip_steps(&c.in[0].shape, at, step, &offset);
  gather_steps(&c, &c.in[0].shape, step, offset);
  if (at == 0) mica_call_mixes(&c, 0);
  mica_call_context(&c, &at, sizeof at);
  return mica_call_end(&c);
}
