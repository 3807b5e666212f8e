/* Pooling of lines, images and volumes; the global forms are reductions. */
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
  if (!gx || !mica_view_count(gx)) return;
  pool_job job = {mica_kernels_of(c->engine, gx->dtype)->pool,
                  &o->g,
                  o->maximum,
                  c->grad_out[0].data,
                  gx->data,
                  o->maximum ? c->saved[0] : NULL};
  mica_parallel_for(c->engine, gx->shape.dim[0], pool_grad_range, &job);
}

static const mica_op max_op = {sizeof(mica_op), "max_pool", MICA_OP_BY_EXAMPLE, pool_backward};
static const mica_op avg_op = {sizeof(mica_op), "avg_pool", MICA_OP_BY_EXAMPLE, pool_backward};
static const mica_op adaptive_max_op = {sizeof(mica_op), "adaptive_max_pool", MICA_OP_BY_EXAMPLE,
                                        pool_backward};
static const mica_op adaptive_avg_op = {sizeof(mica_op), "adaptive_avg_pool", MICA_OP_BY_EXAMPLE,
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

/* ---- one to three axes: the last of each array count ---- */

enum { AXES = MICA_POOL_AXES };

typedef struct settings {
  int32_t kernel[AXES], stride[AXES], dilation[AXES], before[AXES], after[AXES];
  bool ceil_mode, count_padding;
} settings;

/* Options of `axes` axes, of which the last `used` count. */
static settings settings_of(int axes, int used, const int32_t *kernel, const int32_t *stride,
                            const int32_t *dilation, const int32_t *pad) {
  settings s = {.ceil_mode = false};
  for (int i = 0; i < AXES; i++) {
    const int from = i - (AXES - axes);
    s.kernel[i] = s.stride[i] = s.dilation[i] = 1;
    if (i < AXES - used) continue;
    s.kernel[i] = kernel[from];
    s.stride[i] = stride[from];
    s.dilation[i] = dilation[from];
    s.before[i] = pad[2 * from];
    s.after[i] = pad[2 * from + 1];
  }
  return s;
}

/* Windows of `given`, or without them adaptive ones to the sizes of `out`. */
static mica_var pool(mica_tape *t, mica_var x, const mica_op *op, int used, const settings *given,
                     const int64_t *out) {
  const bool maximum = op == &max_op || op == &adaptive_max_op;
  const int rank = used + 2, first = AXES - used;
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *xv = &c.in[0];
  if (xv->shape.rank != rank || (xv->dtype != MICA_F32 && xv->dtype != MICA_F64))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected a float input of rank %d, [N,..,C]:", rank);
  pool_context o = {{.channels = xv->shape.dim[rank - 1], .adaptive = !given}, maximum};
  mica_shape shape = xv->shape;
  int64_t lines = xv->shape.dim[0], places = 1;
  for (int i = 0; i < AXES; i++) {
    o.g.size[i] = i < first ? 1 : xv->shape.dim[1 + i - first];
    if (given) {
      const int32_t kernel = given->kernel[i], before = given->before[i], after = given->after[i];
      if (kernel < 1 || given->stride[i] < 1 || given->dilation[i] < 1 || before < 0 || after < 0 ||
          before > kernel / 2 || after > kernel / 2)
        return mica_call_fail(
            &c, MICA_ERR_INVALID,
            "kernel, stride and dilation must be 1 or more, padding at most half the kernel:");
      o.g.kernel[i] = kernel;
      o.g.stride[i] = given->stride[i];
      o.g.dilation[i] = given->dilation[i];
      o.g.before[i] = before;
      o.g.after[i] = after;
      o.g.count_padding = given->count_padding;
      o.g.out[i] = windows(o.g.size[i], kernel, given->stride[i], given->dilation[i], before, after,
                           given->ceil_mode);
      if (o.g.out[i] < 1)
        return mica_call_fail(&c, MICA_ERR_SHAPE, "the window does not fit the padded input:");
    } else {
      o.g.out[i] = i < first ? 1 : out[i - first];
      if (o.g.out[i] < 1 || !o.g.size[i])
        return mica_call_fail(&c, MICA_ERR_SHAPE,
                              "no %lld windows along axis %d:", (long long)o.g.out[i],
                              1 + i - first);
    }
    if (o.g.size[i] > INT32_MAX / (places ? places : 1))
      return mica_call_fail(&c, MICA_ERR_UNSUPPORTED, "more than 2^31 - 1 places:");
    places *= o.g.size[i];
    if (i >= first) shape.dim[1 + i - first] = o.g.out[i];
  }
  const mica_view *y = mica_call_output(&c, xv->dtype, shape);
  int32_t *arg = NULL;
  if (y && maximum && mica_call_recorded(&c))
    arg = mica_call_saved(&c, (size_t)mica_view_count(y) * sizeof *arg);
  if (y && mica_ok(t) && mica_view_count(y)) {
    pool_job job = {
        mica_kernels_of(c.engine, xv->dtype)->pool, &o.g, maximum, xv->data, y->data, arg};
    lines *= o.g.out[0] * o.g.out[1];
    mica_parallel_for(c.engine, lines, pool_range, &job);
  }
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

static mica_var flat(mica_tape *t, mica_var x, const mica_op *op, int used,
                     const mica_pool_options *given) {
  mica_pool_options o = MICA_POOL_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  settings s = settings_of(2, used, o.kernel, o.stride, o.dilation, o.pad);
  s.ceil_mode = o.ceil_mode;
  s.count_padding = o.count_padding;
  return pool(t, x, op, used, &s, NULL);
}

static mica_var deep(mica_tape *t, mica_var x, const mica_op *op,
                     const mica_pool3d_options *given) {
  mica_pool3d_options o = MICA_POOL3D_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  settings s = settings_of(3, 3, o.kernel, o.stride, o.dilation, o.pad);
  s.ceil_mode = o.ceil_mode;
  s.count_padding = o.count_padding;
  return pool(t, x, op, 3, &s, NULL);
}

mica_var mica_max_pool1d(mica_tape *t, mica_var x, const mica_pool_options *o) {
  return flat(t, x, &max_op, 1, o);
}
mica_var mica_max_pool2d(mica_tape *t, mica_var x, const mica_pool_options *o) {
  return flat(t, x, &max_op, 2, o);
}
mica_var mica_max_pool3d(mica_tape *t, mica_var x, const mica_pool3d_options *o) {
  return deep(t, x, &max_op, o);
}
mica_var mica_avg_pool1d(mica_tape *t, mica_var x, const mica_pool_options *o) {
  return flat(t, x, &avg_op, 1, o);
}
mica_var mica_avg_pool2d(mica_tape *t, mica_var x, const mica_pool_options *o) {
  return flat(t, x, &avg_op, 2, o);
}
mica_var mica_avg_pool3d(mica_tape *t, mica_var x, const mica_pool3d_options *o) {
  return deep(t, x, &avg_op, o);
}
mica_var mica_adaptive_avg_pool1d(mica_tape *t, mica_var x, int64_t l) {
  return pool(t, x, &adaptive_avg_op, 1, NULL, &l);
}
mica_var mica_adaptive_avg_pool2d(mica_tape *t, mica_var x, int64_t h, int64_t w) {
  return pool(t, x, &adaptive_avg_op, 2, NULL, (const int64_t[]){h, w});
}
mica_var mica_adaptive_avg_pool3d(mica_tape *t, mica_var x, int64_t d, int64_t h, int64_t w) {
  return pool(t, x, &adaptive_avg_op, 3, NULL, (const int64_t[]){d, h, w});
}
mica_var mica_adaptive_max_pool1d(mica_tape *t, mica_var x, int64_t l) {
  return pool(t, x, &adaptive_max_op, 1, NULL, &l);
}
mica_var mica_adaptive_max_pool2d(mica_tape *t, mica_var x, int64_t h, int64_t w) {
  return pool(t, x, &adaptive_max_op, 2, NULL, (const int64_t[]){h, w});
}
mica_var mica_adaptive_max_pool3d(mica_tape *t, mica_var x, int64_t d, int64_t h, int64_t w) {
  return pool(t, x, &adaptive_max_op, 3, NULL, (const int64_t[]){d, h, w});
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
