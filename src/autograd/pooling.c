/* Pooling over [N,H,W,C]; the global forms are reductions. */
#include <mica/op.h>
#include <mica/ops.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/pool.h"

#include <math.h>
#include <string.h>

typedef struct pool_context {
  mica_pool_geometry g;
  bool maximum;
} pool_context;

/* One chunk is an output row forward, an image backward. */
typedef struct pool_job {
  const mica_pool_kernels *k;
  const mica_pool_geometry *g;
  bool maximum;
  const void *x;
  void *y;
  int32_t *arg;
} pool_job;

static void pool_range(void *ctx, int64_t begin, int64_t end) {
  const pool_job *j = ctx;
  if (j->maximum)
    j->k->max_pool(j->g, begin, end, j->x, j->y, j->arg);
  else
    j->k->avg_pool(j->g, begin, end, j->x, j->y);
}

static void pool_grad_range(void *ctx, int64_t begin, int64_t end) {
  const pool_job *j = ctx;
  if (j->maximum)
    j->k->max_pool_grad(j->g, begin, end, j->arg, j->x, j->y);
  else
    j->k->avg_pool_grad(j->g, begin, end, j->x, j->y);
}

static void pool_backward(mica_call *c) {
  const pool_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  pool_job job = {mica_kernels_of(c->engine, gx->dtype)->pool,
                  &o->g,
                  o->maximum,
                  c->grad_out[0].data,
                  gx->data,
                  o->maximum ? c->saved[0] : NULL};
  mica_parallel_for(c->engine, gx->shape.dim[0], pool_grad_range, &job);
}

static const mica_op max_op = {sizeof(mica_op), "max_pool2d", MICA_OP_BY_EXAMPLE, pool_backward};
static const mica_op avg_op = {sizeof(mica_op), "avg_pool2d", MICA_OP_BY_EXAMPLE, pool_backward};
static const mica_op adaptive_max_op = {sizeof(mica_op), "adaptive_max_pool2d", MICA_OP_BY_EXAMPLE,
                                        pool_backward};
static const mica_op adaptive_avg_op = {sizeof(mica_op), "adaptive_avg_pool2d", MICA_OP_BY_EXAMPLE,
                                        pool_backward};

/* Windows along one axis; with ceil_mode the last may overhang, but must start before the trailing
 * padding. */
static int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                       int64_t before, int64_t after, bool ceil_mode) {
  int64_t span = size + before + after - dilation * (kernel - 1) - 1;
  if (span < 0) return 0;
  int64_t n = (span + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (n - 1) * stride >= size + before) n--;
  return n;
}

static mica_var pool(mica_tape *t, mica_var x, const mica_op *op, bool maximum,
                     const mica_pool_options *given, int64_t h, int64_t w) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *xv = &c.in[0];
  if (xv->shape.rank != 4 || (xv->dtype != MICA_F32 && xv->dtype != MICA_F64))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float images [N,H,W,C]:");
  const int64_t *d = xv->shape.dim;
  pool_context o = {{.height = d[1], .width = d[2], .channels = d[3]}, maximum};
  if (op == &adaptive_avg_op || op == &adaptive_max_op) {
    if (h < 1 || w < 1 || !d[1] || !d[2])
      return mica_call_fail(&c, MICA_ERR_SHAPE, "no %lldx%lld windows:", (long long)h,
                            (long long)w);
    o.g.adaptive = true;
    o.g.out_height = h;
    o.g.out_width = w;
  } else {
    mica_pool_options p = MICA_POOL_OPTIONS;
    if (given) memcpy(&p, given, given->size < sizeof p ? given->size : sizeof p);
    for (int i = 0; i < 2; i++) {
      if (p.kernel[i] < 1 || p.stride[i] < 1 || p.dilation[i] < 1 || p.pad[2 * i] < 0 ||
          p.pad[2 * i + 1] < 0 || 2 * p.pad[2 * i] > p.kernel[i] ||
          2 * p.pad[2 * i + 1] > p.kernel[i])
        return mica_call_fail(
            &c, MICA_ERR_INVALID,
            "kernel, stride and dilation must be 1 or more, padding at most half the "
            "kernel:");
      o.g.kernel[i] = p.kernel[i];
      o.g.stride[i] = p.stride[i];
      o.g.dilation[i] = p.dilation[i];
    }
    for (int i = 0; i < 4; i++) o.g.pad[i] = p.pad[i];
    o.g.count_padding = p.count_padding;
    o.g.out_height =
        windows(d[1], p.kernel[0], p.stride[0], p.dilation[0], p.pad[0], p.pad[1], p.ceil_mode);
    o.g.out_width =
        windows(d[2], p.kernel[1], p.stride[1], p.dilation[1], p.pad[2], p.pad[3], p.ceil_mode);
    if (o.g.out_height < 1 || o.g.out_width < 1)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "the window does not fit the padded input:");
  }
  const mica_shape shape = MICA_SHAPE(d[0], o.g.out_height, o.g.out_width, d[3]);
  const mica_view *y = mica_call_output(&c, xv->dtype, shape);
  int32_t *arg = NULL;
  if (y && maximum && mica_call_recorded(&c))
    arg = mica_call_saved(&c, (size_t)mica_view_count(y) * sizeof *arg);
  if (y && mica_ok(t)) {
    pool_job job = {
        mica_kernels_of(c.engine, xv->dtype)->pool, &o.g, maximum, xv->data, y->data, arg};
    mica_parallel_for(c.engine, d[0] * o.g.out_height, pool_range, &job);
  }
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_max_pool2d(mica_tape *t, mica_var x, const mica_pool_options *o) {
  return pool(t, x, &max_op, true, o, 0, 0);
}
mica_var mica_avg_pool2d(mica_tape *t, mica_var x, const mica_pool_options *o) {
  return pool(t, x, &avg_op, false, o, 0, 0);
}
mica_var mica_adaptive_avg_pool2d(mica_tape *t, mica_var x, int64_t h, int64_t w) {
  return pool(t, x, &adaptive_avg_op, false, NULL, h, w);
}
mica_var mica_adaptive_max_pool2d(mica_tape *t, mica_var x, int64_t h, int64_t w) {
  return pool(t, x, &adaptive_max_op, true, NULL, h, w);
}

/* [N,..,C] -> [N,P,C] */
static mica_var positions(mica_tape *t, mica_var x, const char *what) {
  const mica_view v = mica_read(t, x);
  if (!mica_ok(t)) return MICA_NONE;
  if (v.shape.rank < 3) {
    char text[128];
    return mica_latch(t, MICA_ERR_SHAPE, "%s: the input is %s, expected [N,..,C]", what,
                      mica_shape_text(&v.shape, text, sizeof text));
  }
  int64_t p = 1;
  for (int i = 1; i < v.shape.rank - 1; i++) p *= v.shape.dim[i];
  return mica_reshape(t, x, MICA_SHAPE(v.shape.dim[0], p, v.shape.dim[v.shape.rank - 1]));
}

mica_var mica_global_avg_pool(mica_tape *t, mica_var x) {
  mica_scope_begin(t, NULL);
  return mica_scope_end(t, mica_mean(t, positions(t, x, "global_avg_pool"), 1, (int[]){1}, false));
}

mica_var mica_gem_pool(mica_tape *t, mica_var x, mica_var p, double eps) {
  mica_scope_begin(t, NULL);
  mica_var v = mica_clamp(t, positions(t, x, "gem_pool"), eps, INFINITY);
  mica_var m = mica_mean(t, mica_pow(t, v, p), 1, (int[]){1}, false);
  return mica_scope_end(t, mica_pow(t, m, mica_reciprocal(t, p)));
}
