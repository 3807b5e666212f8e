/* Images, lines and volumes at another size: images by nearest and bilinear at once, everything
 * else one axis after the other. */
#include "autograd/ranges.h"
#include "autograd/resample.h"

#include <mica/ops.h>

#include "tensor/kernel/resize.h"

#include <math.h>
#include <string.h>

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
  if (!gx || !mica_view_count(gx)) return;
  resize_job job = {mica_kernels_of(c->engine, gx->dtype)->resize, c->ctx, c->grad_out[0].data,
                    gx->data};
  mica_parallel_for(c->engine, gx->shape.dim[0], resize_grad_range, &job);
}

static const mica_op resize_op = {sizeof(mica_op), "resize", MICA_OP_BY_EXAMPLE, resize_backward};

/* ---- any filter, along one axis ---- */

enum { KINDS = MICA_SMOOTH_LANCZOS + 1, MOST_AXES = 3 };

/* `reach` is half the width of a filter that is widened when it shrinks, 0: not widened. */
static const struct {
  double reach, cubic;
  bool corners;
} kinds[KINDS] = {
    [MICA_BILINEAR] = {.corners = true},
    [MICA_NEAREST] = {.corners = true},
    [MICA_NEAREST_CENTRE] = {.corners = true},
    [MICA_BICUBIC] = {.cubic = -0.75, .corners = true},
    [MICA_BICUBIC_SOFT] = {.cubic = -0.5, .corners = true},
    [MICA_SMOOTH_BILINEAR] = {.reach = 1},
    [MICA_SMOOTH_BICUBIC] = {.reach = 2, .cubic = -0.5},
    [MICA_SMOOTH_BICUBIC_SHARP] = {.reach = 2, .cubic = -0.75},
    [MICA_SMOOTH_LANCZOS] = {.reach = 3},
};

static double cubic(double a, double x) {
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static double sinc(double x) {
  const double a = 3.14159265358979323846 * x;
  return x == 0 ? 1 : sin(a) / a;
}

static double smooth(mica_interpolation kind, double x) {
  if (kind == MICA_SMOOTH_LANCZOS) return fabs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
  if (kinds[kind].cubic != 0) return cubic(kinds[kind].cubic, x);
  return fabs(x) < 1 ? 1 - fabs(x) : 0;
}

static int64_t between(double x, int64_t lo, int64_t hi) {
  return !(x > (double)lo) ? lo : x >= (double)hi ? hi : (int64_t)x;
}

/* Half the width of a smooth filter at this scale. */
static double support(const mica_resample_rule *r) {
  return kinds[r->kind].reach * (r->scale > 1 ? r->scale : 1);
}

static int64_t width_of(const mica_resample_rule *r, int64_t in, int64_t out) {
  int64_t width = 1;
  if (r->kind == MICA_BILINEAR) width = 2;
  if (r->kind == MICA_BICUBIC || r->kind == MICA_BICUBIC_SOFT) width = 4;
  if (r->kind == MICA_AREA) width = in / out + 2;
  if (kinds[r->kind].reach != 0) width = between(ceil(support(r)) * 2 + 1, 1, in);
  return width < in ? width : in;
}

/* The samples around a centre, weighted by the filter; those outside do not count. */
static int64_t smooth_taps(const mica_resample_rule *r, int64_t in, int64_t k, double *weight) {
  const double centre = r->scale * ((double)k + 0.5), half = support(r);
  int64_t first = between(centre - half + 0.5, 0, in - 1);
  const int64_t last = between(centre + half + 0.5, first + 1, in);
  if (last - first > r->width) first = last - r->width;
  double sum = 0;
  for (int64_t j = 0; j < last - first; j++) {
    const double from = (double)(first + j) - centre + 0.5;
    sum += weight[j] = smooth((mica_interpolation)r->kind, r->scale > 1 ? from / r->scale : from);
  }
  if (sum == 0) sum = weight[0] = 1; /* the given scale leads beyond the axis */
  for (int64_t j = 0; j < last - first; j++) weight[j] /= sum;
  if (first > in - r->width) { /* the window of taps ends with the axis */
    const int64_t by = first - (in - r->width);
    memmove(weight + by, weight, (size_t)(r->width - by) * sizeof *weight);
    memset(weight, 0, (size_t)by * sizeof *weight);
    first -= by;
  }
  return first;
}

static int64_t taps_of(const mica_resample_rule *r, int64_t in, int64_t out, int64_t k,
                       double *weight) {
  const int64_t width = r->width;
  memset(weight, 0, (size_t)width * sizeof *weight);
  if (kinds[r->kind].reach != 0) return smooth_taps(r, in, k, weight);
  if (r->kind == MICA_AREA) {
    int64_t first = k * in / out;
    const int64_t last = ((k + 1) * in + out - 1) / out, n = last - first;
    const int64_t by = first > in - width ? first - (in - width) : 0;
    for (int64_t j = 0; j < n; j++) weight[by + j] = 1 / (double)n;
    return first - by;
  }
  if (r->kind == MICA_NEAREST || r->kind == MICA_NEAREST_CENTRE) {
    const double half = r->kind == MICA_NEAREST ? 0 : 0.5;
    weight[0] = 1;
    /* Without a given scale whole numbers tell it exactly. */
    if (r->given) return between(((double)k + half) * r->scale, 0, in - 1);
    return r->kind == MICA_NEAREST ? k * in / out : (2 * k + 1) * in / (2 * out);
  }
  const double at = r->align_corners ? (double)k * r->scale : ((double)k + 0.5) * r->scale - 0.5;
  if (r->kind == MICA_BILINEAR) {
    const int64_t low = between(at, 0, in - 1), first = low > in - width ? in - width : low;
    const double share = at <= 0 || low == in - 1 ? 0 : at - (double)low;
    weight[low - first] = 1 - share;
    if (share != 0) weight[low - first + 1] = share;
    return first;
  }
  const double inside = at < -2 ? -2 : at > (double)in + 1 ? (double)in + 1 : at;
  const int64_t floor_at = (int64_t)floor(inside);
  int64_t first = floor_at - 1 < 0 ? 0 : floor_at - 1;
  if (first > in - width) first = in - width;
  for (int64_t i = floor_at - 1; i <= floor_at + 2; i++) { /* the edge repeats */
    const int64_t place = i < 0 ? 0 : i > in - 1 ? in - 1 : i;
    weight[place - first] += cubic(kinds[r->kind].cubic, inside - (double)i);
  }
  return first;
}

static const mica_op resample_op = {sizeof(mica_op), "resize", MICA_OP_BY_EXAMPLE,
                                    mica_resample_backward};

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
  if (y && mica_view_count(y)) {
    resize_job job = {mica_kernels_of(c.engine, v->dtype)->resize, &g, v->data, y->data};
    mica_parallel_for(c.engine, d[0] * h, resize_range, &job);
  }
  mica_call_context(&c, &g, sizeof g);
  return mica_call_end(&c);
}

mica_var mica_resize_axes(mica_tape *t, mica_var x, const int64_t *size,
                          const mica_resize_options *given) {
  mica_resize_options o = MICA_RESIZE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  const mica_view v = mica_read(t, x);
  char text[128];
  if (!mica_ok(t)) return MICA_NONE;
  mica_shape_text(&v.shape, text, sizeof text);
  const int axes = v.shape.rank - 2;
  if (axes < 1 || axes > MOST_AXES || !mica_is_float(&v))
    return mica_latch(t, MICA_ERR_SHAPE,
                      "resize: expected float [N,..,C] with one to three spatial axes: %s", text);
  if ((int)o.kind < 0 || (int)o.kind >= KINDS)
    return mica_latch(t, MICA_ERR_INVALID, "resize: there is no interpolation %d", (int)o.kind);
  if (o.align_corners && !kinds[o.kind].corners)
    return mica_latch(t, MICA_ERR_INVALID,
                      "resize: align_corners is for nearest, bilinear and bicubic interpolation");
  bool scaled = false;
  for (int i = 0; i < axes; i++) {
    if (size[i] < 1 || !v.shape.dim[i + 1])
      return mica_latch(t, MICA_ERR_SHAPE, "resize: no axis of %lld from axis %d of %s",
                        (long long)size[i], i + 1, text);
    if (!(o.scale[i] >= 0) || isinf(o.scale[i]))
      return mica_latch(t, MICA_ERR_INVALID, "resize: scale[%d] is %g, expected 0 or more", i,
                        o.scale[i]);
    scaled |= o.scale[i] > 0;
  }
  if (axes == 2 && o.kind <= MICA_BILINEAR && !scaled)
    return sample(t, x, size[0], size[1], o.kind == MICA_BILINEAR, o.align_corners);
  mica_scope_begin(t, NULL);
  for (int i = axes; i-- > 0;) {
    const int64_t in = v.shape.dim[i + 1], out = size[i];
    const bool corners = o.align_corners && o.kind != MICA_NEAREST && o.kind != MICA_NEAREST_CENTRE;
    mica_resample_rule rule = {.taps = taps_of, .kind = (int64_t)o.kind, .align_corners = corners};
    rule.scale = o.scale[i] > 0 ? 1 / o.scale[i] : (double)in / (double)out;
    rule.given = o.scale[i] > 0;
    if (corners) rule.scale = out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
    rule.width = width_of(&rule, in, out);
    x = mica_resample_axis(t, &resample_op, x, i + 1, out, &rule);
  }
  return mica_scope_end(t, x);
}

mica_var mica_resize(mica_tape *t, mica_var x, int64_t h, int64_t w, mica_interpolation kind,
                     bool align_corners) {
  const mica_view v = mica_read(t, x);
  char text[128];
  if (mica_ok(t) && v.shape.rank != 4)
    return mica_latch(t, MICA_ERR_SHAPE, "resize: expected float images [N,H,W,C]: %s",
                      mica_shape_text(&v.shape, text, sizeof text));
  mica_resize_options o = MICA_RESIZE_OPTIONS;
  o.kind = kind;
  o.align_corners = align_corners;
  return mica_resize_axes(t, x, (const int64_t[]){h, w}, &o);
}
