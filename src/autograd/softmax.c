/* Softmax and log-softmax over the last axis; another axis is moved there and back. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/softmax.h"

typedef struct softmax_job {
  const mica_softmax_kernels *k;
  bool log;
  mica_tiles tiles;
  size_t size;
  int64_t cols, stride;
  const char *x, *gy;
  char *y;
} softmax_job;

static softmax_job job_of(const mica_call *c, bool log, const mica_view *x, char *y) {
  return (softmax_job){.k = mica_kernels_of(c->engine, x->dtype)->softmax,
                       .log = log,
                       .tiles = mica_tiles_of(mica_view_rows(x), mica_view_cols(x), 1),
                       .size = mica_dtype_size(x->dtype),
                       .cols = mica_view_cols(x),
                       .stride = x->row_stride,
                       .x = x->data,
                       .y = y};
}

static void softmax_range(void *ctx, int64_t begin, int64_t end) {
  const softmax_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    (j->log ? j->k->log_softmax
            : j->k->softmax)(t.blocks, j->cols, j->x + (size_t)(t.block * j->stride) * j->size,
                             j->stride, j->y + (size_t)(t.block * j->cols) * j->size, j->cols);
  }
}

static void softmax_grad_range(void *ctx, int64_t begin, int64_t end) {
  const softmax_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const size_t at = (size_t)(t.block * j->cols) * j->size;
    (j->log ? j->k->log_softmax_grad : j->k->softmax_grad)(t.blocks, j->cols, j->x + at, j->cols,
                                                           j->gy + at, j->cols, j->y + at, j->cols);
  }
}

static void backward(mica_call *c, bool log) {
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  softmax_job job = job_of(c, log, &c->out[0], gx->data);
  job.gy = c->grad_out[0].data;
  mica_parallel_for(c->engine, job.tiles.count, softmax_grad_range, &job);
}

static void softmax_backward(mica_call *c) {
  backward(c, false);
}
static void log_softmax_backward(mica_call *c) {
  backward(c, true);
}

static const mica_op softmax_op = {sizeof(mica_op), "softmax",
                                   MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, softmax_backward};
static const mica_op log_softmax_op = {
    sizeof(mica_op), "log_softmax", MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, log_softmax_backward};

static mica_var last_axis(mica_tape *t, const mica_op *op, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s, expected float32 or float64:", mica_dtype_name(v->dtype));
  if (v->shape.rank < 2) mica_call_mixes(&c, 0);
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  if (y) {
    softmax_job job = job_of(&c, op == &log_softmax_op, v, y->data);
    mica_parallel_for(c.engine, job.tiles.count, softmax_range, &job);
  }
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

static mica_var over_axis(mica_tape *t, const mica_op *op, mica_var x, int axis) {
  mica_scope_begin(t, NULL);
  mica_var y = last_axis(t, op, mica_axis_to_last(t, op->name, x, axis));
  return mica_scope_end(t, mica_axis_from_last(t, y, axis));
}

mica_var mica_softmax(mica_tape *t, mica_var x, int axis) {
  return over_axis(t, &softmax_op, x, axis);
}
mica_var mica_log_softmax(mica_tape *t, mica_var x, int axis) {
  return over_axis(t, &log_softmax_op, x, axis);
}
