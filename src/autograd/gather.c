/* Rows and elements by number, and order. Numbers out of range latch an error: nothing is ever read
 * or written outside a tensor. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/elementwise.h"
#include "tensor/kernel/gather.h"

#include <string.h>

static const mica_gather_kernels *loops(mica_call *c, mica_dtype dtype) {
  return mica_kernels_of(c->engine, dtype)->gather;
}

/* Ids must be int64 in [0, limit); false has latched. */
static bool ids_ok(mica_call *c, int i, int64_t limit) {
  const mica_view *ids = &c->in[i];
  if (ids->dtype != MICA_I64) {
    mica_call_fail(c, MICA_ERR_SHAPE, "ids are %s, expected int64:", mica_dtype_name(ids->dtype));
    return false;
  }
  const int64_t bad = loops(c, MICA_F32)->first_bad(mica_view_count(ids), ids->data, limit);
  if (bad < 0) return true;
  mica_call_fail(c, MICA_ERR_INVALID, "id %lld at place %lld, expected 0 to %lld:",
                 (long long)((const int64_t *)ids->data)[bad], (long long)bad,
                 (long long)limit - 1);
  return false;
}

/* Elements of one row of a tensor whose leading dimension is gathered. */
static int64_t row_width(const mica_view *x) {
  int64_t n = 1;
  for (int d = 1; d < x->shape.rank; d++) n *= x->shape.dim[d];
  return n;
}

/* ---- rows ---- */

static void rows_backward(mica_call *c) {
  mica_call_grad_rows(c, 0, c->in[1].data, c->grad_out[0].data, mica_view_count(&c->in[1]));
}

static const mica_op embedding_op = {sizeof(mica_op), "embedding", 0, rows_backward};
static const mica_op gather_rows_op = {sizeof(mica_op), "gather_rows", 0, rows_backward};

static mica_var rows(mica_tape *t, const mica_op *op, mica_var x, mica_var ids) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 2, (mica_var[]){x, ids})) return MICA_NONE;
  const mica_view *v = &c.in[0], *iv = &c.in[1];
  if (!mica_is_float(v) || v->shape.rank < 1 || v->shape.rank - 1 + iv->shape.rank > MICA_MAX_RANK)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected a float table and ids:");
  if (!ids_ok(&c, 1, v->shape.dim[0])) return MICA_NONE;
  mica_shape shape = iv->shape;
  for (int d = 1; d < v->shape.rank; d++) shape.dim[shape.rank++] = v->shape.dim[d];
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  const int64_t width = row_width(v);
  if (y)
    loops(&c, v->dtype)->rows(mica_view_count(iv), width, iv->data, v->data, width, y->data, width);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

mica_var mica_embedding(mica_tape *t, mica_var table, mica_var ids) {
  return rows(t, &embedding_op, table, ids);
}
mica_var mica_gather_rows(mica_tape *t, mica_var x, mica_var ids) {
  return rows(t, &gather_rows_op, x, ids);
}

/* y = x with rows added: gx = gy, and each added row sees the gradient of where it went. */
static void scatter_backward(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
  mica_view *g = mica_call_grad(c, 2);
  const int64_t width = row_width(&c->in[0]);
  if (g)
    loops(c, g->dtype)
        ->rows(mica_view_count(&c->in[1]), width, c->in[1].data, c->grad_out[0].data, width,
               g->data, width);
}

static const mica_op scatter_add_op = {sizeof(mica_op), "scatter_add", 0, scatter_backward};

mica_var mica_scatter_add(mica_tape *t, mica_var x, mica_var ids, mica_var added) {
  mica_call c;
  if (!mica_call_begin(&c, t, &scatter_add_op, 3, (mica_var[]){x, ids, added})) return MICA_NONE;
  const mica_view *v = &c.in[0], *iv = &c.in[1], *rv = &c.in[2];
  if (!mica_is_float(v) || v->dtype != rv->dtype || v->shape.rank < 1 ||
      mica_view_count(rv) != mica_view_count(iv) * row_width(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected a row of the tensor for each id:");
  if (!ids_ok(&c, 1, v->shape.dim[0])) return MICA_NONE;
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  const int64_t width = row_width(v);
  if (y) {
    memcpy(y->data, v->data, (size_t)mica_view_count(v) * mica_dtype_size(v->dtype));
    loops(&c, v->dtype)
        ->scatter_add_rows(mica_view_count(iv), width, iv->data, 1, rv->data, width, y->data,
                           width);
  }
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

/* ---- elements of rows: gather, top-k, sort ---- */

/* gx zero but at the ids of each row; ids are input 1 or output 1. */
static void elements_backward(mica_call *c) {
  const mica_view *ids = c->n_in > 1 ? &c->in[1] : &c->out[1];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  memset(gx->data, 0, (size_t)mica_view_count(gx) * mica_dtype_size(gx->dtype));
  const int64_t k = mica_view_cols(ids);
  loops(c, gx->dtype)
      ->scatter_add_elements(mica_view_rows(ids), k, ids->data, c->grad_out[0].data, gx->data,
                             mica_view_cols(gx));
}

static const mica_op gather_op = {sizeof(mica_op), "gather", 0, elements_backward};
static const mica_op top_k_op = {sizeof(mica_op), "top_k", 0, elements_backward};
static const mica_op sort_op = {sizeof(mica_op), "sort", 0, elements_backward};

static mica_var gather_last(mica_tape *t, mica_var x, mica_var ids) {
  mica_call c;
  if (!mica_call_begin(&c, t, &gather_op, 2, (mica_var[]){x, ids})) return MICA_NONE;
  const mica_view *v = &c.in[0], *iv = &c.in[1];
  bool fits = mica_is_float(v) && v->shape.rank >= 1 && v->shape.rank == iv->shape.rank;
  for (int d = 0; d < v->shape.rank - 1 && fits; d++) fits = v->shape.dim[d] == iv->shape.dim[d];
  if (!fits)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "ids must have the tensor's shape but for the axis:");
  if (!ids_ok(&c, 1, mica_view_cols(v))) return MICA_NONE;
  const mica_view *y = mica_call_output(&c, v->dtype, iv->shape);
  if (y)
    loops(&c, v->dtype)
        ->elements(mica_view_rows(v), mica_view_cols(iv), iv->data, v->data, mica_view_cols(v),
                   y->data);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

mica_var mica_gather(mica_tape *t, mica_var x, int axis, mica_var ids) {
  mica_scope_begin(t, NULL);
  mica_var y = gather_last(t, mica_axis_to_last(t, x, axis), mica_axis_to_last(t, ids, axis));
  return mica_scope_end(t, mica_axis_from_last(t, y, axis));
}

static mica_var ordered(mica_tape *t, const mica_op *op, mica_var x, int64_t k, bool descending,
                        mica_var *ids) {
  if (ids) *ids = MICA_NONE;
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  const int64_t rows_n = mica_view_rows(v), cols = mica_view_cols(v);
  if (!mica_is_float(v) || v->shape.rank < 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected rows of floats:");
  if (k < 0 || k > cols)
    return mica_call_fail(&c, MICA_ERR_INVALID, "k is %lld of %lld columns:", (long long)k,
                          (long long)cols);
  mica_shape shape = v->shape;
  shape.dim[shape.rank - 1] = k;
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  const mica_view *i = mica_call_output(&c, MICA_I64, shape);
  int64_t *scratch = mica_call_scratch(&c, (size_t)cols * sizeof *scratch);
  if (mica_ok(t)) {
    if (op == &top_k_op)
      loops(&c, v->dtype)->top_k(rows_n, cols, k, v->data, cols, y->data, i->data, scratch);
    else
      loops(&c, v->dtype)->sort(rows_n, cols, descending, v->data, cols, y->data, i->data, scratch);
  }
  mica_call_save_output(&c, 1);
  mica_var out[2];
  mica_call_end_n(&c, 2, out);
  if (ids)
    *ids = out[1];
  else if (mica_ok(t))
    mica_release(t, out[1]);
  return out[0];
}

mica_var mica_top_k(mica_tape *t, mica_var x, int64_t k, mica_var *ids) {
  return ordered(t, &top_k_op, x, k, true, ids);
}
mica_var mica_sort(mica_tape *t, mica_var x, bool descending, mica_var *ids) {
  const mica_view v = mica_read(t, x);
  return ordered(t, &sort_op, x, mica_view_cols(&v), descending, ids);
}
