/* Lines, images and volumes read at places of a grid, and grids of an affine map. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/grid_sample.h"

#include <string.h>

enum { MOST_AXES = MICA_GRID_AXES, POINTS = 64, CHANNELS = 64 };

typedef struct grid_job {
  const mica_grid_kernels *k;
  const mica_grid_geometry *g;
  int64_t points, blocks; /* in all; of channels */
  const void *x, *grid, *gy;
  void *to;
} grid_job;

static int64_t until(const grid_job *j, int64_t i) {
  return (i + 1) * POINTS < j->points ? (i + 1) * POINTS : j->points;
}

static void sample_range(void *ctx, int64_t begin, int64_t end) {
  const grid_job *j = ctx;
  for (int64_t i = begin; i < end; i++)
    j->k->sample(j->g, i * POINTS, until(j, i), j->x, j->grid, j->to);
}

static void grid_grad_range(void *ctx, int64_t begin, int64_t end) {
  const grid_job *j = ctx;
  for (int64_t i = begin; i < end; i++)
    j->k->grid_grad(j->g, i * POINTS, until(j, i), j->x, j->grid, j->gy, j->to);
}

static void grad_range(void *ctx, int64_t begin, int64_t end) {
  const grid_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i % j->blocks * CHANNELS, left = j->g->channels - from;
    j->k->grad(j->g, i / j->blocks, from, left < CHANNELS ? left : CHANNELS, j->grid, j->gy, j->to);
  }
}

static void grid_sample_backward(mica_call *c) {
  const mica_grid_geometry *g = c->ctx;
  const mica_view *gy = &c->grad_out[0];
  mica_view *gx = mica_call_grad(c, 0), *ggrid = mica_call_grad(c, 1);
  const int64_t n = gy->shape.dim[0];
  grid_job job = {.k = mica_kernels_of(c->engine, gy->dtype)->grid,
                  .g = g,
                  .points = n * g->points,
                  .blocks = (g->channels + CHANNELS - 1) / CHANNELS,
                  .x = c->in[0].data,
                  .grid = c->in[1].data,
                  .gy = gy->data};
  if (gx) {
    job.to = gx->data;
    mica_parallel_for(c->engine, n * job.blocks, grad_range, &job);
  }
  if (ggrid) {
    job.to = ggrid->data;
    mica_parallel_for(c->engine, (job.points + POINTS - 1) / POINTS, grid_grad_range, &job);
  }
}

static const mica_op grid_sample_op = {sizeof(mica_op), "grid_sample", MICA_OP_BY_EXAMPLE,
                                       grid_sample_backward};

mica_var mica_grid_sample(mica_tape *t, mica_var x, mica_var grid,
                          const mica_grid_sample_options *given) {
  mica_grid_sample_options o = MICA_GRID_SAMPLE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_call c;
  if (!mica_call_begin(&c, t, &grid_sample_op, 2, (mica_var[]){x, grid})) return MICA_NONE;
  const mica_view *xv = &c.in[0], *gv = &c.in[1];
  const int axes = xv->shape.rank - 2;
  if (axes < 1 || axes > MOST_AXES || !mica_is_float(xv))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected float [N,..,C] with one to three spatial axes:");
  if (gv->dtype != xv->dtype)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "%s input and %s grid, expected the same type:",
                          mica_dtype_name(xv->dtype), mica_dtype_name(gv->dtype));
  const int last = gv->shape.rank - 1;
  if (last < 1 || gv->shape.dim[last] != axes || gv->shape.dim[0] != xv->shape.dim[0])
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected a grid [%lld,..,%d]:", (long long)xv->shape.dim[0], axes);
  if ((o.kind != MICA_NEAREST && o.kind != MICA_BILINEAR && o.kind != MICA_BICUBIC) ||
      (int)o.edge < 0 || o.edge > MICA_EDGE_REFLECT)
    return mica_call_fail(&c, MICA_ERR_INVALID,
                          "interpolation %d and edge %d, expected nearest, bilinear or bicubic and "
                          "MICA_EDGE_*:",
                          (int)o.kind, (int)o.edge);
  mica_grid_geometry g = {.channels = xv->shape.dim[axes + 1],
                          .points = 1,
                          .axes = axes,
                          .kind = o.kind == MICA_NEAREST    ? MICA_GRID_NEAREST
                                  : o.kind == MICA_BILINEAR ? MICA_GRID_LINEAR
                                                            : MICA_GRID_CUBIC,
                          .edge = (int)o.edge,
                          .corners = o.align_corners};
  for (int i = 0; i < MOST_AXES; i++) {
    const int at = i - (MOST_AXES - axes);
    g.size[i] = at < 0 ? 1 : xv->shape.dim[1 + at];
    if (!g.size[i]) return mica_call_fail(&c, MICA_ERR_SHAPE, "no pixels to sample:");
  }
  mica_shape shape = gv->shape;
  shape.dim[last] = g.channels;
  for (int i = 1; i < last; i++) g.points *= gv->shape.dim[i];
  const mica_view *y = mica_call_output(&c, xv->dtype, shape);
  if (y && mica_view_count(y)) {
    grid_job job = {.k = mica_kernels_of(c.engine, xv->dtype)->grid,
                    .g = &g,
                    .points = shape.dim[0] * g.points,
                    .x = xv->data,
                    .grid = gv->data,
                    .to = y->data};
    mica_parallel_for(c.engine, (job.points + POINTS - 1) / POINTS, sample_range, &job);
  }
  mica_call_context(&c, &g, sizeof g);
  if (mica_call_needs_grad(&c, 1)) mica_call_save_input(&c, 0);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

/* ---- grids ---- */

/* Coordinates [-1, 1] of the places of an axis. */
static double coordinate(int64_t i, int64_t size, bool corners) {
  if (size == 1) return 0;
  const double at = 2 * (double)i / (double)(size - 1) - 1;
  return corners ? at : at * (double)(size - 1) / (double)size;
}

mica_var mica_affine_grid(mica_tape *t, mica_var theta, const int64_t *size, bool align_corners) {
  const mica_view v = mica_read(t, theta);
  char text[128];
  if (!mica_ok(t)) return MICA_NONE;
  const int axes = v.shape.rank == 3 ? (int)v.shape.dim[1] : 0;
  mica_shape_text(&v.shape, text, sizeof text);
  if (axes < 1 || axes > MOST_AXES || v.shape.dim[2] != axes + 1 || !mica_is_float(&v))
    return mica_latch(t, MICA_ERR_SHAPE, "affine_grid: expected float [N,d,d+1], d 1 to 3: %s",
                      text);
  mica_shape base = MICA_SHAPE(1, axes + 1), out = {.rank = axes + 2};
  out.dim[0] = v.shape.dim[0];
  out.dim[axes + 1] = axes;
  for (int i = 0; i < axes; i++) {
    if (size[i] < 1 || size[i] > INT32_MAX || base.dim[0] > INT32_MAX / size[i])
      return mica_latch(t, MICA_ERR_SHAPE, "affine_grid: size[%d] is %lld, expected 1 or more", i,
                        (long long)size[i]);
    out.dim[1 + i] = size[i];
    base.dim[0] *= size[i];
  }
  double *at = mica_malloc((size_t)mica_shape_count(&base) * sizeof *at);
  if (!at) return mica_latch(t, MICA_ERR_MEMORY, "affine_grid: out of memory");
  for (int64_t p = 0; p < base.dim[0]; p++) {
    int64_t rest = p;
    for (int i = axes; i-- > 0; rest /= size[i])
      at[p * (axes + 1) + axes - 1 - i] = coordinate(rest % size[i], size[i], align_corners);
    at[p * (axes + 1) + axes] = 1;
  }
  const mica_view view = mica_view_of(at, MICA_F64, base);
  mica_scope_begin(t, NULL);
  mica_var places = mica_cast(t, mica_constant(t, &view), v.dtype);
  mica_free(at);
  mica_var y = mica_matmul_t(t, places, false, theta, true);
  return mica_scope_end(t, mica_reshape(t, y, out));
}
