/* Rows and elements by number, and order. Numbers out of range latch an error: nothing is ever read
 * or written outside a tensor. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/element.h"
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
  mica_call_fail(c, MICA_ERR_INVALID, "id %lld at place %lld, expected 0 or more and below %lld:",
                 (long long)((const int64_t *)ids->data)[bad], (long long)bad, (long long)limit);
  return false;
}

/* Elements of one row of a tensor whose leading dimension is gathered. */
static int64_t row_width(const mica_view *x) {
  int64_t n = 1;
  for (int d = 1; d < x->shape.rank; d++) n *= x->shape.dim[d];
  return n;
}

/* ---- rows ---- */

typedef struct rows_job {
  const mica_gather_kernels *k; /* NULL: bytes */
  mica_tiles tiles;
  size_t size;
  int64_t width;
  const int64_t *ids;
  const char *x;
  char *y;
} rows_job;

static void rows_range(void *ctx, int64_t begin, int64_t end) {
  const rows_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const int64_t *ids = j->ids + t.block;
    char *y = j->y + (size_t)(t.block * j->width) * j->size;
    if (j->k) {
      j->k->rows(t.blocks, j->width, ids, j->x, j->width, y, j->width);
      continue;
    }
    const size_t bytes = (size_t)j->width * j->size;
    for (int64_t r = 0; r < t.blocks; r++)
      memcpy(y + (size_t)r * bytes, j->x + (size_t)ids[r] * bytes, bytes);
  }
}

/* y[i,:] = x[ids[i],:] */
static void copy_by_id(mica_call *c, const mica_view *ids, int64_t width, const mica_view *x,
                       void *y) {
  rows_job job = {mica_is_float(x) ? loops(c, x->dtype) : NULL,
                  mica_tiles_of(mica_view_count(ids), width, 1),
                  mica_dtype_size(x->dtype),
                  width,
                  ids->data,
                  x->data,
                  y};
  mica_parallel_for(c->engine, job.tiles.count, rows_range, &job);
}

/* For each example the rows of its own ids. */
static void rows_examples(mica_call *c, int64_t examples) {
  mica_view *g = mica_call_grad_examples(c, 0);
  if (!g) return;
  const int64_t n = mica_view_count(&c->in[1]) / examples, width = row_width(&c->in[0]);
  const int64_t each = mica_view_cols(g);
  const size_t size = mica_dtype_size(g->dtype);
  memset(g->data, 0, (size_t)mica_view_count(g) * size);
  for (int64_t e = 0; e < examples; e++)
    loops(c, g->dtype)
        ->scatter_add_rows(n, width, (const int64_t *)c->in[1].data + e * n, 1,
                           (const char *)c->grad_out[0].data + (size_t)(e * n * width) * size,
                           width, (char *)g->data + (size_t)(e * each) * size, width);
}

static void rows_backward(mica_call *c) {
  if (mica_call_examples(c)) {
    rows_examples(c, mica_call_examples(c));
    return;
  }
  mica_call_grad_rows(c, 0, c->in[1].data, c->grad_out[0].data, mica_view_count(&c->in[1]));
}

static const mica_op embedding_op = {sizeof(mica_op), "embedding",
                                     MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM, rows_backward};
static const mica_op gather_rows_op = {sizeof(mica_op), "gather_rows",
                                       MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM, rows_backward};

static mica_var rows(mica_tape *t, const mica_op *op, mica_var x, mica_var ids) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 2, (mica_var[]){x, ids})) return MICA_NONE;
  const mica_view *v = &c.in[0], *iv = &c.in[1];
  if (v->shape.rank < 1 || v->shape.rank - 1 + iv->shape.rank > MICA_MAX_RANK)
    return mica_call_fail(
        &c, MICA_ERR_SHAPE,
        "expected a table of rows and ids, %d dimensions in all:", MICA_MAX_RANK + 1);
  if (!ids_ok(&c, 1, v->shape.dim[0])) return MICA_NONE;
  mica_shape shape = iv->shape;
  for (int d = 1; d < v->shape.rank; d++) shape.dim[shape.rank++] = v->shape.dim[d];
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  if (y) copy_by_id(&c, iv, row_width(v), v, y->data);
  mica_call_mixes(&c, 0);
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
  if (g) copy_by_id(c, &c->in[1], row_width(&c->in[0]), &c->grad_out[0], g->data);
}

static const mica_op scatter_add_op = {sizeof(mica_op), "scatter_add", 0, scatter_backward};

mica_var mica_scatter_add(mica_tape *t, mica_var x, mica_var ids, mica_var added) {
  mica_call c;
  if (!mica_call_begin(&c, t, &scatter_add_op, 3, (mica_var[]){x, ids, added})) return MICA_NONE;
  const mica_view *v = &c.in[0], *iv = &c.in[1], *rv = &c.in[2];
  bool fits = mica_is_float(v) && v->dtype == rv->dtype && v->shape.rank >= 1 &&
              rv->shape.rank == iv->shape.rank + v->shape.rank - 1;
  for (int d = 0; d < rv->shape.rank && fits; d++)
    fits = rv->shape.dim[d] ==
           (d < iv->shape.rank ? iv->shape.dim[d] : v->shape.dim[d - iv->shape.rank + 1]);
  if (!fits) return mica_call_fail(&c, MICA_ERR_SHAPE, "expected a row of the tensor for each id:");
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

typedef struct elements_job {
  const mica_gather_kernels *k;
  enum { ELEMENTS, SCATTER, TOP_K, SORT_UP, SORT_DOWN } what;
  mica_tiles tiles;
  size_t size;
  int64_t cols, k_n;
  const char *x;
  int64_t *ids, *scratch; /* scratch: cols for each tile */
  char *y;
} elements_job;

static void elements_range(void *ctx, int64_t begin, int64_t end) {
  const elements_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const int64_t rows = t.blocks, k = j->k_n, cols = j->cols;
    const size_t wide = (size_t)(t.block * cols) * j->size,
                 narrow = (size_t)(t.block * k) * j->size;
    int64_t *ids = j->ids + t.block * k, *scratch = j->scratch ? j->scratch + i * cols : NULL;
    switch (j->what) {
    case ELEMENTS: j->k->elements(rows, k, ids, j->x + wide, cols, j->y + narrow); break;
    case SCATTER: /* zero but at the ids of each row */
      memset(j->y + wide, 0, (size_t)(rows * cols) * j->size);
      j->k->scatter_add_elements(rows, k, ids, j->x + narrow, j->y + wide, cols);
      break;
    case TOP_K: j->k->top_k(rows, cols, k, j->x + wide, cols, j->y + narrow, ids, scratch); break;
    case SORT_UP:
    case SORT_DOWN:
      j->k->sort(rows, cols, j->what == SORT_DOWN, j->x + wide, cols, j->y + wide, ids, scratch);
      break;
    }
  }
}

/* Ids are input 1 or output 1. */
static void elements_backward(mica_call *c) {
  const mica_view *ids = c->n_in > 1 ? &c->in[1] : &c->out[1];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  elements_job job = {.k = loops(c, gx->dtype),
                      .what = SCATTER,
                      .tiles = mica_tiles_of(mica_view_rows(gx), mica_view_cols(gx), 1),
                      .size = mica_dtype_size(gx->dtype),
                      .cols = mica_view_cols(gx),
                      .k_n = mica_view_cols(ids),
                      .x = c->grad_out[0].data,
                      .ids = ids->data,
                      .y = gx->data};
  mica_parallel_for(c->engine, job.tiles.count, elements_range, &job);
}

static const mica_op gather_op = {sizeof(mica_op), "gather", MICA_OP_BY_EXAMPLE, elements_backward};
static const mica_op top_k_op = {sizeof(mica_op), "top_k", MICA_OP_BY_EXAMPLE, elements_backward};
static const mica_op sort_op = {sizeof(mica_op), "sort", MICA_OP_BY_EXAMPLE, elements_backward};

static mica_var gather_last(mica_tape *t, mica_var x, mica_var ids) {
  mica_call c;
  if (!mica_call_begin(&c, t, &gather_op, 2, (mica_var[]){x, ids})) return MICA_NONE;
  const mica_view *v = &c.in[0], *iv = &c.in[1];
  bool fits = mica_is_float(v) && v->shape.rank >= 1 && v->shape.rank == iv->shape.rank;
  for (int d = 0; d < v->shape.rank - 1 && fits; d++) fits = v->shape.dim[d] == iv->shape.dim[d];
  if (!fits)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "ids must have the tensor's shape but for the axis:");
  if (!ids_ok(&c, 1, mica_view_cols(v))) return MICA_NONE;
  if (v->shape.rank < 2) mica_call_mixes(&c, 0);
  const mica_view *y = mica_call_output(&c, v->dtype, iv->shape);
  if (y) {
    elements_job job = {.k = loops(&c, v->dtype),
                        .what = ELEMENTS,
                        .tiles = mica_tiles_of(mica_view_rows(v), mica_view_cols(iv), 1),
                        .size = mica_dtype_size(v->dtype),
                        .cols = mica_view_cols(v),
                        .k_n = mica_view_cols(iv),
                        .x = v->data,
                        .ids = iv->data,
                        .y = y->data};
    mica_parallel_for(c.engine, job.tiles.count, elements_range, &job);
  }
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

mica_var mica_gather(mica_tape *t, mica_var x, int axis, mica_var ids) {
  mica_scope_begin(t, NULL);
  mica_var y = gather_last(t, mica_axis_to_last(t, "gather", x, axis),
                           mica_axis_to_last(t, "gather", ids, axis));
  return mica_scope_end(t, mica_axis_from_last(t, y, axis));
}

#define ORDER_TILES 64

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
  if (v->shape.rank < 2) mica_call_mixes(&c, 0);
  mica_shape shape = v->shape;
  shape.dim[shape.rank - 1] = k;
  const mica_view *y = mica_call_output(&c, v->dtype, shape);
  const mica_view *i = mica_call_output(&c, MICA_I64, shape);
  /* Tiles have scratch each, so there are few of them. */
  mica_tiles tiles = mica_tiles_of(rows_n, cols, 1);
  const int64_t least = (rows_n + ORDER_TILES - 1) / ORDER_TILES;
  if (tiles.group < least) {
    tiles.group = least;
    tiles.count = (rows_n + least - 1) / least;
  }
  int64_t *scratch = mica_call_scratch(&c, (size_t)(tiles.count * cols) * sizeof *scratch);
  if (mica_ok(t)) {
    elements_job job = {.k = loops(&c, v->dtype),
                        .what = op == &top_k_op ? TOP_K
                                : descending    ? SORT_DOWN
                                                : SORT_UP,
                        .tiles = tiles,
                        .size = mica_dtype_size(v->dtype),
                        .cols = cols,
                        .k_n = k,
                        .x = v->data,
                        .ids = i->data,
                        .scratch = scratch,
                        .y = y->data};
    mica_parallel_for(c.engine, job.tiles.count, elements_range, &job);
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

/* ---- one-hot ---- */

mica_var mica_one_hot(mica_tape *t, mica_var ids, int64_t classes, mica_dtype dtype) {
  const mica_view v = mica_read(t, ids);
  if (!mica_ok(t)) return MICA_NONE;
  if (v.dtype != MICA_I64 || classes < 1 || v.shape.rank >= MICA_MAX_RANK ||
      !mica_view_contiguous(&v)) {
    char text[128];
    return mica_latch(t, MICA_ERR_SHAPE, "one_hot: %s %s in %lld classes, expected int64 [..]",
                      mica_dtype_name(v.dtype), mica_shape_text(&v.shape, text, sizeof text),
                      (long long)classes);
  }
  mica_shape shape = v.shape;
  shape.dim[shape.rank++] = classes;
  const mica_var y = mica_full(t, dtype, shape, 0);
  const mica_view to = mica_read(t, y);
  const int64_t *id = v.data;
  for (int64_t i = 0; mica_ok(t) && i < mica_view_count(&v); i++) {
    if (id[i] < 0 || id[i] >= classes)
      return mica_latch(t, MICA_ERR_INVALID, "one_hot: id %lld at %lld, expected 0 to %lld",
                        (long long)id[i], (long long)i, (long long)classes - 1);
    mica_view_put(&to, i * classes + id[i], 1);
  }
  return y;
}
