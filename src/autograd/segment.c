/* Rows of different numbers brought together: bags of embeddings, and segments of a tensor's own
 * rows. Offsets and ids out of range latch an error: nothing is ever read or written outside a
 * tensor. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/gather.h"
#include "tensor/kernel/segment.h"

#include <string.h>

/* Inputs of both operations. */
enum { X, OFFSETS, IDS, WEIGHTS };

static const mica_segment_kernels *loops(const mica_call *c, mica_dtype dtype) {
  return mica_kernels_of(c->engine, dtype)->segment;
}

/* offsets[n + 1] must rise from 0 to the number of places; false has latched. */
static bool offsets_ok(mica_call *c, int64_t places) {
  const mica_view *v = &c->in[OFFSETS];
  if (v->dtype != MICA_I64 || v->shape.rank != 1 || v->shape.dim[0] < 1) {
    mica_call_fail(c, MICA_ERR_SHAPE,
                   "offsets are %s, expected int64 [segments + 1]:", mica_dtype_name(v->dtype));
    return false;
  }
  const int64_t *offset = v->data, n = v->shape.dim[0] - 1;
  int64_t at = 0;
  while (at < n && offset[at] <= offset[at + 1]) at++;
  if (offset[0] == 0 && at == n && offset[n] == places) return true;
  mica_call_fail(
      c, MICA_ERR_INVALID,
      "offsets[0] is %lld, offsets[%lld] %lld and the last %lld; expected 0, rising, and "
      "%lld at the end:",
      (long long)offset[0], (long long)at, (long long)offset[at], (long long)offset[n],
      (long long)places);
  return false;
}

/* Bags of one length: any part of the bags has its own part of the places. */
static bool even(const mica_view *offsets) {
  const int64_t *o = offsets->data, n = offsets->shape.dim[0] - 1;
  for (int64_t i = 2; i <= n; i++)
    if (o[i] - o[i - 1] != o[1]) return false;
  return true;
}

static int64_t row_width(const mica_view *x) {
  int64_t n = 1;
  for (int d = 1; d < x->shape.rank; d++) n *= x->shape.dim[d];
  return n;
}

/* ---- work on segments, cut into tiles of about equally many elements ---- */

typedef struct segment_job {
  const mica_segment_kernels *k;
  enum { SUM, MAX, SPREAD, SPREAD_MAX, DOT } what;
  mica_tiles tiles;
  size_t size;
  int64_t cols;
  const int64_t *offsets, *ids;
  const void *weights;
  bool mean;
  const void *x;
  const char *gy;
  char *y; /* by segment in SUM and MAX, else by place */
  int64_t *place;
} segment_job;

static void segment_range(void *ctx, int64_t begin, int64_t end) {
  const segment_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const int64_t *offsets = j->offsets + t.block, cols = j->cols;
    const size_t at = (size_t)(t.block * cols) * j->size;
    int64_t *place = j->place ? j->place + t.block * cols : NULL;
    switch (j->what) {
    case SUM:
      j->k->sum(t.blocks, cols, offsets, j->ids, j->weights, j->mean, j->x, j->y + at);
      break;
    case MAX: j->k->max(t.blocks, cols, offsets, j->ids, j->x, j->y + at, place); break;
    case SPREAD:
      j->k->spread(t.blocks, cols, offsets, j->weights, j->mean, j->gy + at, j->y);
      break;
    case SPREAD_MAX: j->k->spread_max(t.blocks, cols, offsets, place, j->gy + at, j->y); break;
    case DOT: j->k->dot(t.blocks, cols, offsets, j->ids, j->x, j->gy + at, j->y); break;
    }
  }
}

static void run(const mica_call *c, segment_job *j, const mica_view *offsets) {
  const int64_t n = offsets->shape.dim[0] - 1;
  j->offsets = offsets->data;
  const int64_t length = n ? j->offsets[n] / n + 1 : 1;
  j->tiles = mica_tiles_of(n, length * (j->cols ? j->cols : 1), 1);
  mica_parallel_for(c->engine, j->tiles.count, segment_range, j);
}

typedef struct segment_options {
  mica_bag mode;
  int64_t width; /* of a row */
} segment_options;

/* The gradient of each place's row, [places, width]. */
static void place_gradients(mica_call *c, void *g) {
  const segment_options *o = c->ctx;
  segment_job j = {.k = loops(c, c->in[X].dtype),
                   .what = o->mode == MICA_BAG_MAX ? SPREAD_MAX : SPREAD,
                   .size = mica_dtype_size(c->in[X].dtype),
                   .cols = o->width,
                   .weights = c->n_in > WEIGHTS ? c->in[WEIGHTS].data : NULL,
                   .mean = o->mode == MICA_BAG_MEAN,
                   .gy = c->grad_out[0].data,
                   .y = g,
                   .place = o->mode == MICA_BAG_MAX ? c->saved[0] : NULL};
  run(c, &j, &c->in[OFFSETS]);
}

/* ---- bags of embeddings ---- */

/* For each example the rows of its own places. */
static void bag_examples(mica_call *c, int64_t examples, const void *places, int64_t n) {
  mica_view *g = mica_call_grad_examples(c, X);
  if (!g) return;
  const segment_options *o = c->ctx;
  const int64_t each = mica_view_cols(g), part = n / examples;
  const size_t size = mica_dtype_size(g->dtype);
  memset(g->data, 0, (size_t)mica_view_count(g) * size);
  for (int64_t e = 0; e < examples; e++)
    mica_kernels_of(c->engine, g->dtype)
        ->gather->scatter_add_rows(part, o->width, (const int64_t *)c->in[IDS].data + e * part, 1,
                                   (const char *)places + (size_t)(e * part * o->width) * size,
                                   o->width, (char *)g->data + (size_t)(e * each) * size, o->width);
}

/* [places], or for each example [places] with zeros but at its own. */
static void weight_gradients(mica_call *c, int64_t examples, int64_t n) {
  mica_view *g = mica_call_grad(c, WEIGHTS), *of_each = NULL;
  if (!g && examples) of_each = mica_call_grad_examples(c, WEIGHTS);
  if (!g && !of_each) return;
  const segment_options *o = c->ctx;
  const size_t size = mica_dtype_size(c->in[X].dtype);
  char *to = g ? g->data : mica_call_scratch(c, (size_t)n * size);
  if (!to) return;
  segment_job j = {.k = loops(c, c->in[X].dtype),
                   .what = DOT,
                   .size = size,
                   .cols = o->width,
                   .ids = c->in[IDS].data,
                   .x = c->in[X].data,
                   .gy = c->grad_out[0].data,
                   .y = to};
  run(c, &j, &c->in[OFFSETS]);
  if (!of_each) return;
  const size_t part = (size_t)(n / examples) * size;
  memset(of_each->data, 0, (size_t)mica_view_count(of_each) * size);
  for (int64_t e = 0; e < examples; e++)
    memcpy((char *)of_each->data + (size_t)e * ((size_t)n * size + part), to + (size_t)e * part,
           part);
}

static void bag_backward(mica_call *c) {
  const segment_options *o = c->ctx;
  const int64_t n = mica_view_count(&c->in[IDS]), examples = mica_call_examples(c);
  if (examples || mica_call_needs_grad(c, X)) {
    void *g = mica_call_scratch(c, (size_t)(n * o->width) * mica_dtype_size(c->in[X].dtype));
    if (!g) return;
    place_gradients(c, g);
    if (examples)
      bag_examples(c, examples, g, n);
    else
      mica_call_grad_rows(c, X, c->in[IDS].data, g, n);
  }
  if (c->in[WEIGHTS].data) weight_gradients(c, examples, n);
}

static const mica_op bag_op = {sizeof(mica_op), "embedding_bag",
                               MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM, bag_backward};

/* The result of both operations; c->in[X].shape has been checked. */
static mica_var reduce(mica_call *c, mica_bag mode, const int64_t *ids, const void *weights,
                       mica_shape shape) {
  const mica_view *x = &c->in[X], *offsets = &c->in[OFFSETS];
  const segment_options o = {mode, row_width(x)};
  shape.dim[0] = offsets->shape.dim[0] - 1;
  const mica_view *y = mica_call_output(c, x->dtype, shape);
  mica_call_context(c, &o, sizeof o);
  int64_t *place = NULL;
  if (mode == MICA_BAG_MAX && y)
    place = mica_call_saved(c, (size_t)mica_view_count(y) * sizeof *place);
  if (mica_ok(c->tape)) {
    segment_job j = {.k = loops(c, x->dtype),
                     .what = mode == MICA_BAG_MAX ? MAX : SUM,
                     .size = mica_dtype_size(x->dtype),
                     .cols = o.width,
                     .ids = ids,
                     .weights = weights,
                     .mean = mode == MICA_BAG_MEAN,
                     .x = x->data,
                     .y = y->data,
                     .place = place};
    run(c, &j, offsets);
  }
  mica_call_save_input(c, OFFSETS);
  mica_call_mixes(c, OFFSETS);
  return mica_call_end(c);
}

mica_var mica_embedding_bag(mica_tape *t, mica_var table, mica_var ids, mica_var offsets,
                            mica_var weights, mica_bag mode) {
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &bag_op, 4, (mica_var[]){table, offsets, ids, weights},
                                1u << WEIGHTS))
    return MICA_NONE;
  const mica_view *v = &c.in[X], *iv = &c.in[IDS], *wv = &c.in[WEIGHTS];
  if (mode != MICA_BAG_SUM && mode != MICA_BAG_MEAN && mode != MICA_BAG_MAX)
    return mica_call_fail(&c, MICA_ERR_INVALID, "mode %d, expected sum, mean or max:", (int)mode);
  if (!mica_is_float(v) || v->shape.rank != 2 || iv->dtype != MICA_I64 || iv->shape.rank != 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected a table [V,D] of floats and int64 ids:");
  const int64_t n = mica_view_count(iv);
  if (!mica_is_none(weights)) {
    if (mode != MICA_BAG_SUM)
      return mica_call_fail(&c, MICA_ERR_INVALID, "weights go with the sum only:");
    if (wv->dtype != v->dtype || wv->shape.rank != 1 || wv->shape.dim[0] != n)
      return mica_call_fail(&c, MICA_ERR_SHAPE,
                            "expected a weight of the table's type for each "
                            "id:");
  }
  if (!offsets_ok(&c, n)) return MICA_NONE;
  const int64_t bad =
      mica_kernels_of(c.engine, MICA_F32)->gather->first_bad(n, iv->data, v->shape.dim[0]);
  if (bad >= 0)
    return mica_call_fail(
        &c, MICA_ERR_INVALID, "id %lld at place %lld, expected 0 or more and below %lld:",
        (long long)((const int64_t *)iv->data)[bad], (long long)bad, (long long)v->shape.dim[0]);
  mica_call_mixes(&c, X);
  if (!even(&c.in[OFFSETS])) mica_call_mixes(&c, IDS), mica_call_mixes(&c, WEIGHTS);
  mica_call_save_input(&c, IDS);
  if (!mica_is_none(weights)) {
    mica_call_save_input(&c, WEIGHTS);
    if (mica_call_needs_grad(&c, WEIGHTS)) mica_call_save_input(&c, X);
  }
  return reduce(&c, mode, iv->data, wv->data, v->shape);
}

/* ---- segments of rows ---- */

static void segment_backward(mica_call *c) {
  mica_view *g = mica_call_grad(c, X);
  if (g) place_gradients(c, g->data);
}

static const mica_op segment_ops[] = {
    [MICA_BAG_SUM] = {sizeof(mica_op), "segment_sum", MICA_OP_BY_EXAMPLE, segment_backward},
    [MICA_BAG_MEAN] = {sizeof(mica_op), "segment_mean", MICA_OP_BY_EXAMPLE, segment_backward},
    [MICA_BAG_MAX] = {sizeof(mica_op), "segment_max", MICA_OP_BY_EXAMPLE, segment_backward},
};

static mica_var segments(mica_tape *t, mica_bag mode, mica_var x, mica_var offsets) {
  mica_call c;
  if (!mica_call_begin(&c, t, &segment_ops[mode], 2, (mica_var[]){x, offsets})) return MICA_NONE;
  const mica_view *v = &c.in[X];
  if (!mica_is_float(v) || v->shape.rank < 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected rows of floats:");
  if (!offsets_ok(&c, v->shape.dim[0])) return MICA_NONE;
  if (!even(&c.in[OFFSETS])) mica_call_mixes(&c, X);
  return reduce(&c, mode, NULL, NULL, v->shape);
}

mica_var mica_segment_sum(mica_tape *t, mica_var x, mica_var offsets) {
  return segments(t, MICA_BAG_SUM, x, offsets);
}
mica_var mica_segment_mean(mica_tape *t, mica_var x, mica_var offsets) {
  return segments(t, MICA_BAG_MEAN, x, offsets);
}
mica_var mica_segment_max(mica_tape *t, mica_var x, mica_var offsets) {
  return segments(t, MICA_BAG_MAX, x, offsets);
}
