/* Softmax and log-softmax over the last axis; another axis is moved there and back. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/norm.h"
#include "tensor/kernel/softmax.h"

typedef struct softmax_job {
  const mica_softmax_kernels *k;
  bool log;
  size_t size;
  int64_t rows, cols, chunk, stride;
  const char *x, *gy;
  char *y;
} softmax_job;

static int64_t chunk_of(int64_t cols) {
  const int64_t rows = MICA_CHUNK / (cols ? cols : 1);
  return rows < 1 ? 1 : rows;
}

static void softmax_range(void *ctx, int64_t begin, int64_t end) {
  const softmax_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * j->chunk, rows = j->rows - from < j->chunk ? j->rows - from : j->chunk;
    const size_t x = (size_t)(from * j->stride) * j->size, y = (size_t)(from * j->cols) * j->size;
    (j->log ? j->k->log_softmax : j->k->softmax)(rows, j->cols, j->x + x, j->stride, j->y + y,
                                                 j->cols);
  }
}

static void softmax_grad_range(void *ctx, int64_t begin, int64_t end) {
  const softmax_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * j->chunk, rows = j->rows - from < j->chunk ? j->rows - from : j->chunk;
    const size_t at = (size_t)(from * j->cols) * j->size;
    (j->log ? j->k->log_softmax_grad : j->k->softmax_grad)(rows, j->cols, j->x + at, j->cols,
                                                           j->gy + at, j->cols, j->y + at, j->cols);
  }
}

static void backward(mica_call *c, bool log) {
  const mica_view *y = &c->out[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const int64_t cols = mica_view_cols(y), rows = mica_view_rows(y), chunk = chunk_of(cols);
  softmax_job job = {mica_kernels_of(c->engine, y->dtype)->softmax,
                     log,
                     mica_dtype_size(y->dtype),
                     rows,
                     cols,
                     chunk,
                     cols,
                     y->data,
                     c->grad_out[0].data,
                     gx->data};
  mica_parallel_for(c->engine, (rows + chunk - 1) / chunk, softmax_grad_range, &job);
}

static void softmax_backward(mica_call *c) {
  backward(c, false);
}
static void log_softmax_backward(mica_call *c) {
  backward(c, true);
}

static const mica_op softmax_op = {sizeof(mica_op), "softmax", MICA_OP_ROW_STRIDES,
                                   softmax_backward};
static const mica_op log_softmax_op = {sizeof(mica_op), "log_softmax", MICA_OP_ROW_STRIDES,
                                       log_softmax_backward};

static mica_var last_axis(mica_tape *t, const mica_op *op, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s, expected float32 or float64:", mica_dtype_name(v->dtype));
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  if (y) {
    const int64_t cols = mica_view_cols(v), rows = mica_view_rows(v), chunk = chunk_of(cols);
    softmax_job job = {mica_kernels_of(c.engine, v->dtype)->softmax,
                       op == &log_softmax_op,
                       mica_dtype_size(v->dtype),
                       rows,
                       cols,
                       chunk,
                       v->row_stride,
                       v->data,
                       NULL,
                       y->data};
    mica_parallel_for(c.engine, (rows + chunk - 1) / chunk, softmax_range, &job);
  }
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

static mica_var over_axis(mica_tape *t, const mica_op *op, mica_var x, int axis) {
  mica_scope_begin(t, NULL);
  mica_var y = last_axis(t, op, mica_axis_to_last(t, x, axis));
  return mica_scope_end(t, mica_axis_from_last(t, y, axis));
}

mica_var mica_softmax(mica_tape *t, mica_var x, int axis) {
  return over_axis(t, &softmax_op, x, axis);
}
mica_var mica_log_softmax(mica_tape *t, mica_var x, int axis) {
  return over_axis(t, &log_softmax_op, x, axis);
}
