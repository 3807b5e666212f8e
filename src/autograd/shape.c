/* Shape: views where the tensor's one freedom, the row stride, allows; else copies by rows.
 *
 * Slices of the leading or the last dimension and reshapes of dense tensors are views. The gradient
 * of a view of a part is zero elsewhere, so mica_split, which covers the whole, is cheaper than
 * slices.
 */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"

#include <string.h>

/* ---- reshape ---- */

static void pass_backward(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
}

static const mica_op reshape_op = {sizeof(mica_op), "reshape", 0, pass_backward};

mica_var mica_reshape(mica_tape *t, mica_var x, mica_shape shape) {
  mica_call c;
  if (!mica_call_begin(&c, t, &reshape_op, 1, &x)) return MICA_NONE;
  const int64_t n = mica_view_count(&c.in[0]);
  char text[128];
  int unknown = -1;
  int64_t known = 1;
  for (int d = 0; d < shape.rank && d < MICA_MAX_RANK; d++) {
    if (shape.dim[d] != -1)
      known *= shape.dim[d];
    else if (unknown < 0)
      unknown = d;
    else
      known = 0;
  }
  if (unknown >= 0 && known > 0 && n % known == 0) shape.dim[unknown] = n / known;
  if (mica_shape_count(&shape) != n)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "to %s from",
                          mica_shape_text(&shape, text, sizeof text));
  mica_call_output_alias(&c, 0, 0, shape, shape.rank ? shape.dim[shape.rank - 1] : 1);
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

/* y gathered from x by steps; only widths of 4 and 8 bytes have loops. */
static mica_var gather_steps(mica_call *c, const mica_shape *shape, const int64_t *step,
                             int64_t offset) {
  const mica_view *v = &c->in[0];
  const mica_kernels *k = mica_movers_of(c->engine, v->dtype);
  if (!k)
    return mica_call_fail(c, MICA_ERR_UNSUPPORTED,
                          "%s elements; cast first:", mica_dtype_name(v->dtype));
  const mica_view *y = mica_call_output(c, v->dtype, *shape);
  const size_t size = mica_dtype_size(v->dtype);
  if (y && mica_view_count(y))
    mica_strided_copy(c->engine, k, size, shape, step,
                      (const char *)v->data + offset * (int64_t)size, y->data);
  return MICA_NONE;
}

static void permute_backward(mica_call *c) {
  const permute_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  const mica_view *gy = &c->grad_out[0];
  if (!gx || !mica_view_count(gx)) return;
  int64_t dense[MICA_MAX_RANK], step[MICA_MAX_RANK];
  mica_dense_steps(&gy->shape, dense);
  for (int d = 0; d < gy->shape.rank; d++) step[o->axes[d]] = dense[d];
  mica_strided_copy(c->engine, mica_movers_of(c->engine, gx->dtype), mica_dtype_size(gx->dtype),
                    &gx->shape, step, gy->data, gx->data);
}

static const mica_op permute_op = {sizeof(mica_op), "permute", 0, permute_backward};

mica_var mica_permute(mica_tape *t, mica_var x, int n, const int *axes) {
  mica_call c;
  if (!mica_call_begin(&c, t, &permute_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  permute_context o = {{0}};
  mica_shape shape = v->shape;
  int64_t dense[MICA_MAX_RANK], step[MICA_MAX_RANK];
  unsigned seen = 0;
  mica_dense_steps(&v->shape, dense);
  for (int d = 0; d < n && n == v->shape.rank; d++) {
    int at;
    if (!mica_axis(&v->shape, axes[d], &at)) break;
    seen |= 1u << at;
    o.axes[d] = at;
    shape.dim[d] = v->shape.dim[at];
    step[d] = dense[at];
  }
  if (n != v->shape.rank || seen != (1u << n) - 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "%d axes, expected each of the tensor's once:", n);
  gather_steps(&c, &shape, step, 0);
  if (!mica_ok(t)) return MICA_NONE;
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

static const mica_op expand_op = {sizeof(mica_op), "expand", 0, expand_backward};

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
  return mica_ok(t) ? mica_call_end(&c) : MICA_NONE;
}

/* ---- slice and split ---- */

typedef struct slice_context {
  int axis;
  int64_t begin;
} slice_context;

/* The part [begin, begin + shape.dim[axis]) of `whole`, copied out of it (in) or into it. */
static void copy_part(const mica_shape *whole, size_t size, int axis, int64_t begin,
                      const mica_shape *part, const char *from, char *to, bool out) {
  int64_t w[MICA_MAX_RANK], p[MICA_MAX_RANK];
  mica_dense_steps(whole, w);
  mica_dense_steps(part, p);
  const int64_t offset = begin * w[axis] * (int64_t)size;
  if (out)
    mica_copy_region(part, size, from + offset, w, to, p);
  else
    mica_copy_region(part, size, from, p, to + offset, w);
}

static void slice_backward(mica_call *c) {
  const slice_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  const mica_view *gy = &c->grad_out[0];
  if (!gx) return;
  const size_t size = mica_dtype_size(gx->dtype);
  memset(gx->data, 0, (size_t)mica_view_count(gx) * size);
  copy_part(&gx->shape, size, o->axis, o->begin, &gy->shape, gy->data, gx->data, false);
}

static const mica_op slice_op = {sizeof(mica_op), "slice", MICA_OP_ROW_STRIDES, slice_backward};
static const mica_op slice_copy_op = {sizeof(mica_op), "slice", 0, slice_backward};

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
    copy_part(&v->shape, mica_dtype_size(v->dtype), axis, begin, &shape, v->data, y->data, true);
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
  if (!all) memset(gx->data, 0, (size_t)mica_view_count(gx) * size);
  int64_t begin = 0;
  for (int i = 0; i < c->n_out; i++) {
    const mica_view *gy = &c->grad_out[i];
    if (gy->data) copy_part(&gx->shape, size, axis, begin, &gy->shape, gy->data, gx->data, false);
    begin += gy->shape.dim[axis];
  }
}

static const mica_op split_op = {sizeof(mica_op), "split", MICA_OP_ROW_STRIDES, split_backward};
static const mica_op split_copy_op = {sizeof(mica_op), "split", 0, split_backward};

void mica_split(mica_tape *t, mica_var x, int axis, int n, const int64_t *sizes, mica_var *out) {
  for (int i = 0; i < n; i++) out[i] = MICA_NONE;
  const mica_view v = mica_read(t, x);
  int at;
  if (!mica_ok(t)) return;
  int64_t total = 0;
  for (int i = 0; i < n; i++) total = sizes[i] < 0 ? -1 : total < 0 ? -1 : total + sizes[i];
  if (!mica_axis(&v.shape, axis, &at) || total != v.shape.dim[at]) {
    char text[128];
    mica_latch(t, MICA_ERR_SHAPE, "split: %d parts of %lld in all along axis %d of %s", n,
               (long long)total, axis, mica_shape_text(&v.shape, text, sizeof text));
    return;
  }
  int64_t begin = 0;
  if (n > MICA_CALL_INLINE) {
    for (int i = 0; i < n; begin += sizes[i++])
      out[i] = mica_slice(t, x, at, begin, begin + sizes[i]);
    return;
  }
  mica_call c;
  if (!mica_call_begin(&c, t, at == 0 || at == v.shape.rank - 1 ? &split_op : &split_copy_op, 1,
                       &x))
    return;
  for (int i = 0; i < n && part_output(&c, at, begin, sizes[i]); i++) begin += sizes[i];
  mica_call_context(&c, &at, sizeof at);
  mica_call_end_n(&c, n, out);
}

/* ---- concat and stack ---- */

static void concat_backward(mica_call *c) {
  const int axis = *(const int *)c->ctx;
  const mica_view *gy = &c->grad_out[0];
  const size_t size = mica_dtype_size(gy->dtype);
  int64_t begin = 0;
  for (int i = 0; i < c->n_in; i++) {
    mica_view *g = mica_call_grad(c, i);
    if (g) copy_part(&gy->shape, size, axis, begin, &g->shape, gy->data, g->data, true);
    begin += c->in[i].shape.dim[axis];
  }
}

static const mica_op concat_op = {sizeof(mica_op), "concat", 0, concat_backward};

mica_var mica_concat(mica_tape *t, int n, const mica_var *x, int axis) {
  mica_call c;
  if (n < 1) return mica_latch(t, MICA_ERR_INVALID, "concat: %d tensors, expected 1 or more", n);
  if (!mica_call_begin(&c, t, &concat_op, n, x)) return MICA_NONE;
  mica_shape shape = c.in[0].shape;
  int at;
  if (!mica_axis(&shape, axis, &at)) return mica_call_fail(&c, MICA_ERR_SHAPE, "axis %d of", axis);
  shape.dim[at] = 0;
  for (int i = 0; i < n; i++) {
    mica_shape one = c.in[i].shape;
    const int64_t size = one.rank > at ? one.dim[at] : 0;
    if (one.rank > at) one.dim[at] = shape.dim[at];
    if (!mica_shape_equal(&one, &shape) || c.in[i].dtype != c.in[0].dtype)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "tensor %d differs in more than axis %d:", i, axis);
    shape.dim[at] += size;
  }
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, shape);
  int64_t begin = 0;
  for (int i = 0; i < n && y; i++) {
    copy_part(&shape, mica_dtype_size(y->dtype), at, begin, &c.in[i].shape, c.in[i].data, y->data,
              false);
    begin += c.in[i].shape.dim[at];
  }
  mica_call_context(&c, &at, sizeof at);
  return mica_call_end(&c);
}

mica_var mica_stack(mica_tape *t, int n, const mica_var *x, int axis) {
  enum { MANY = 64 };
  mica_var one[MANY];
  if (n < 1 || n > MANY)
    return mica_latch(t, MICA_ERR_INVALID, "stack: %d tensors, expected 1 to %d", n, MANY);
  mica_scope_begin(t, NULL);
  for (int i = 0; i < n; i++) {
    const mica_view v = mica_read(t, x[i]);
    if (!mica_ok(t)) break;
    const int at = axis < 0 ? axis + v.shape.rank + 1 : axis;
    if (at < 0 || at > v.shape.rank || v.shape.rank == MICA_MAX_RANK) {
      mica_latch(t, MICA_ERR_SHAPE, "stack: axis %d for tensors of rank %d", axis, v.shape.rank);
      break;
    }
    mica_shape shape = {v.shape.rank + 1, {0}};
    for (int d = 0; d < shape.rank; d++)
      shape.dim[d] = d < at ? v.shape.dim[d] : d == at ? 1 : v.shape.dim[d - 1];
    one[i] = mica_reshape(t, x[i], shape);
  }
  return mica_scope_end(t, mica_ok(t) ? mica_concat(t, n, one, axis) : MICA_NONE);
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
  mica_copy_region(&gx->shape, size,
                   (const char *)gy->data + (size_t)pad_offset(&gy->shape, c->ctx) * size, from,
                   gx->data, to);
}

static const mica_op pad_op = {sizeof(mica_op), "pad", 0, pad_backward};

mica_var mica_pad(mica_tape *t, mica_var x, int n, const int64_t *before, const int64_t *after,
                  double value) {
  mica_call c;
  if (!mica_call_begin(&c, t, &pad_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  pad_context o = {{0}};
  mica_shape shape = v->shape;
  bool fine = n >= 0 && n <= shape.rank;
  for (int d = 0; d < n && fine; d++) {
    fine = before[d] >= 0 && after[d] >= 0;
    o.before[d] = before[d];
    shape.dim[d] += before[d] + after[d];
  }
  if (!fine) return mica_call_fail(&c, MICA_ERR_INVALID, "%d dimensions, padding 0 or more:", n);
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y && mica_view_count(y)) {
    const size_t size = mica_dtype_size(v->dtype);
    const int64_t count = mica_view_count(y);
    char *to = y->data;
    double element = value;
    const mica_view from = mica_view_of(&element, MICA_F64, MICA_SCALAR);
    const mica_view first = mica_view_of(to, v->dtype, MICA_SCALAR);
    if (mica_view_copy(&first, &from) != MICA_OK)
      return mica_call_fail(&c, mica_last_status(), "%s", mica_last_error());
    for (int64_t i = 1; i < count; i++) memcpy(to + (size_t)i * size, to, size);
    int64_t xs[MICA_MAX_RANK], ys[MICA_MAX_RANK];
    mica_dense_steps(&v->shape, xs);
    mica_dense_steps(&shape, ys);
    mica_copy_region(&v->shape, size, v->data, xs, to + (size_t)pad_offset(&shape, &o) * size, ys);
  }
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_roll(mica_tape *t, mica_var x, int axis, int64_t shift) {
  const int64_t n = mica_dim(t, x, axis);
  if (!mica_ok(t)) return MICA_NONE;
  const int64_t cut = n ? ((-shift) % n + n) % n : 0;
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
  const size_t size = mica_dtype_size(gx->dtype);
  mica_strided_copy(c->engine, mica_movers_of(c->engine, gx->dtype), size, &gx->shape, step,
                    (const char *)c->grad_out[0].data + (size_t)offset * size, gx->data);
}

static const mica_op flip_op = {sizeof(mica_op), "flip", 0, flip_backward};

mica_var mica_flip(mica_tape *t, mica_var x, int axis) {
  mica_call c;
  if (!mica_call_begin(&c, t, &flip_op, 1, &x)) return MICA_NONE;
  int at;
  if (!mica_axis(&c.in[0].shape, axis, &at))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "axis %d of", axis);
  int64_t step[MICA_MAX_RANK], offset;
  flip_steps(&c.in[0].shape, at, step, &offset);
  gather_steps(&c, &c.in[0].shape, step, offset);
  if (!mica_ok(t)) return MICA_NONE;
  mica_call_context(&c, &at, sizeof at);
  return mica_call_end(&c);
}
