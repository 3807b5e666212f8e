/* Images at another size: nearest and bilinear at once, the wider filters one axis after the other.
 */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/resize.h"

#include <math.h>

typedef struct resize_job {
  const mica_resize_kernels *k;
  const mica_resize_geometry *g;
  const void *x;
  void *y;
} resize_job;

static void resize_range(void *ctx, int64_t begin, int64_t end) {
  const resize_job *j = ctx;
  j->k->resize(j->g, begin, end, j->x, j->y);
}

static void resize_grad_range(void *ctx, int64_t begin, int64_t end) {
  const resize_job *j = ctx;
  j->k->resize_grad(j->g, begin, end, j->x, j->y);
}

static void resize_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  resize_job job = {mica_kernels_of(c->engine, gx->dtype)->resize, c->ctx, c->grad_out[0].data,
                    gx->data};
  mica_parallel_for(c->engine, gx->shape.dim[0], resize_grad_range, &job);
}

static const mica_op resize_op = {sizeof(mica_op), "resize", MICA_OP_BY_EXAMPLE, resize_backward};

/* ---- any filter, along one axis ---- */

typedef struct resample_context {
  mica_interpolation kind;
  bool align_corners;
  int axis;
  int64_t outer;
} resample_context;

static double cubic(double a, double x) {
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static double smooth(mica_interpolation kind, double x) {
  if (kind == MICA_SMOOTH_BICUBIC) return cubic(-0.5, x);
  return fabs(x) < 1 ? 1 - fabs(x) : 0;
}

/* Half the width of a smooth filter at this scale. */
static double support(mica_interpolation kind, double scale) {
  return (kind == MICA_SMOOTH_BICUBIC ? 2 : 1) * (scale > 1 ? scale : 1);
}

static int64_t width_of(mica_interpolation kind, int64_t in, int64_t out) {
  const double scale = (double)in / (double)out;
  int64_t width = 4;
  if (kind == MICA_AREA) width = in / out + 2;
  if (kind > MICA_AREA) width = (int64_t)ceil(support(kind, scale)) * 2 + 1;
  return width < in ? width : in;
}

/* The taps of output k: where they begin and their weights. */
static int64_t taps_of(const resample_context *o, int64_t in, int64_t out, int64_t width, int64_t k,
                       double *weight) {
  const double scale = (double)in / (double)out;
  for (int64_t j = 0; j < width; j++) weight[j] = 0;
  int64_t first, last;
  if (o->kind == MICA_BICUBIC) {
    const double step = out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
    const double at = o->align_corners ? (double)k * step : ((double)k + 0.5) * scale - 0.5;
    const int64_t floor_at = (int64_t)floor(at);
    first = floor_at - 1 < 0 ? 0 : floor_at - 1;
    if (first > in - width) first = in - width;
    for (int64_t i = floor_at - 1; i <= floor_at + 2; i++) { /* the edge repeats */
      const int64_t inside = i < 0 ? 0 : i > in - 1 ? in - 1 : i;
      weight[inside - first] += cubic(-0.75, at - (double)i);
    }
    return first;
  }
  if (o->kind == MICA_AREA) {
    first = k * in / out;
    last = ((k + 1) * in + out - 1) / out;
    for (int64_t j = 0; j < last - first; j++) weight[j] = 1 / (double)(last - first);
  } else {
    const double centre = scale * ((double)k + 0.5), half = support(o->kind, scale);
    first = (int64_t)(centre - half + 0.5);
    if (centre - half + 0.5 < 0) first = 0;
    last = (int64_t)(centre + half + 0.5);
    if (last > in) last = in;
    double sum = 0;
    for (int64_t j = 0; j < last - first; j++) {
      const double from = (double)(first + j) - centre + 0.5;
      sum += weight[j] = smooth(o->kind, scale > 1 ? from / scale : from);
    }
    for (int64_t j = 0; j < last - first; j++) weight[j] /= sum;
  }
  return first;
}

typedef struct resample_job {
  const mica_resize_kernels *k;
  mica_resample_taps taps;
  const void *x;
  void *y;
  bool grad;
} resample_job;

static void resample_range(void *ctx, int64_t begin, int64_t end) {
  const resample_job *j = ctx;
  (j->grad ? j->k->resample_grad : j->k->resample)(&j->taps, begin, end, j->x, j->y);
}

static void resample_run(mica_call *c, const resample_context *o, const mica_shape *in, int64_t out,
                         const void *x, const mica_view *y, bool grad) {
  const int64_t n = in->dim[o->axis], width = width_of(o->kind, n, out);
  int64_t *first = mica_call_scratch(c, (size_t)out * sizeof *first), inner = 1;
  double *weight = mica_call_scratch(c, (size_t)(out * width) * sizeof *weight);
  if (!first || !weight) return;
  for (int64_t k = 0; k < out; k++) first[k] = taps_of(o, n, out, width, k, weight + k * width);
  for (int d = o->axis + 1; d < in->rank; d++) inner *= in->dim[d];
  resample_job job = {mica_kernels_of(c->engine, y->dtype)->resize,
                      {n, out, inner, width, first, weight},
                      x,
                      y->data,
                      grad};
  mica_parallel_for(c->engine, o->outer, resample_range, &job);
}

static void resample_backward(mica_call *c) {
  const resample_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (gx)
    resample_run(c, o, &gx->shape, c->grad_out[0].shape.dim[o->axis], c->grad_out[0].data, gx,
                 true);
}

static const mica_op resample_op = {sizeof(mica_op), "resize", MICA_OP_BY_EXAMPLE,
                                    resample_backward};

static mica_var resample(mica_tape *t, mica_var x, int axis, int64_t out, mica_interpolation kind,
                         bool align_corners) {
  mica_call c;
  if (!mica_call_begin(&c, t, &resample_op, 1, &x)) return MICA_NONE;
  mica_shape shape = c.in[0].shape;
  resample_context o = {kind, align_corners, axis, 1};
  for (int d = 0; d < axis; d++) o.outer *= shape.dim[d];
  shape.dim[axis] = out;
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, shape);
  if (y) resample_run(&c, &o, &c.in[0].shape, out, c.in[0].data, y, false);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

/* ---- both ---- */

/* Nearest and bilinear. */
static mica_var sample(mica_tape *t, mica_var x, int64_t h, int64_t w, bool bilinear,
                       bool align_corners) {
  mica_call c;
  if (!mica_call_begin(&c, t, &resize_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  const int64_t *d = v->shape.dim;
  const mica_resize_geometry g = {d[1], d[2], d[3], h, w, bilinear, align_corners};
  const mica_view *y = mica_call_output(&c, v->dtype, MICA_SHAPE(d[0], h, w, d[3]));
  if (y) {
    resize_job job = {mica_kernels_of(c.engine, v->dtype)->resize, &g, v->data, y->data};
    mica_parallel_for(c.engine, d[0] * h, resize_range, &job);
  }
  mica_call_context(&c, &g, sizeof g);
  return mica_call_end(&c);
}

mica_var mica_resize(mica_tape *t, mica_var x, int64_t h, int64_t w, mica_interpolation kind,
                     bool align_corners) {
  const mica_view v = mica_read(t, x);
  char text[128];
  if (!mica_ok(t)) return MICA_NONE;
  mica_shape_text(&v.shape, text, sizeof text);
  if (v.shape.rank != 4 || !mica_is_float(&v))
    return mica_latch(t, MICA_ERR_SHAPE, "resize: expected float images [N,H,W,C]: %s", text);
  if (h < 1 || w < 1 || !v.shape.dim[1] || !v.shape.dim[2])
    return mica_latch(t, MICA_ERR_SHAPE, "resize: no image of %lldx%lld from: %s", (long long)h,
                      (long long)w, text);
  if (kind < MICA_NEAREST || kind > MICA_SMOOTH_BICUBIC)
    return mica_latch(t, MICA_ERR_INVALID, "resize: there is no interpolation %d", (int)kind);
  if (kind >= MICA_AREA && align_corners)
    return mica_latch(t, MICA_ERR_INVALID,
                      "resize: align_corners is for bilinear and bicubic interpolation");
  if (kind <= MICA_BILINEAR) return sample(t, x, h, w, kind == MICA_BILINEAR, align_corners);
  mica_scope_begin(t, NULL);
  mica_var y = resample(t, x, 2, w, kind, align_corners);
  return mica_scope_end(t, resample(t, y, 1, h, kind, align_corners));
}
