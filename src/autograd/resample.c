#include "autograd/resample.h"

#include "autograd/ranges.h"

#include "tensor/kernel/resize.h"

typedef struct resample_context {
  mica_resample_rule rule;
  int axis;
} resample_context;

typedef struct resample_job {
  const mica_resize_kernels *k;
  mica_resample_taps taps;
  mica_tiles tiles;
  const void *x;
  void *y;
  bool grad;
} resample_job;

static void resample_range(void *ctx, int64_t begin, int64_t end) {
  const resample_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile m = mica_tile_at(&j->tiles, i);
    (j->grad ? j->k->resample_grad : j->k->resample)(&j->taps, m.block, m.blocks, m.column,
                                                     m.columns, j->x, j->y);
  }
}

/* x [outer, in, inner] to y [outer, out, inner], or for a gradient the other way. */
static void run(mica_call *c, const resample_context *o, const mica_shape *shape, int64_t out,
                const void *x, const mica_view *y, bool grad) {
  int64_t outer, in, inner;
  if (!mica_shape_count(shape)) return;
  mica_around(shape, o->axis, &outer, &in, &inner);
  const int64_t width = o->rule.width;
  if (out > INT64_MAX / 16 / width) {
    mica_latch(c->tape, MICA_ERR_MEMORY, "%s: %lld places of %lld taps", c->op->name,
               (long long)out, (long long)width);
    return;
  }
  int64_t *first = mica_call_scratch(c, (size_t)out * sizeof *first);
  double *weight = mica_call_scratch(c, (size_t)(out * width) * sizeof *weight);
  if (!first || !weight) return;
  for (int64_t k = 0; k < out; k++)
    first[k] = o->rule.taps(&o->rule, in, out, k, weight + k * width);
  resample_job job = {mica_kernels_of(c->engine, y->dtype)->resize,
                      {in, out, inner, width, first, weight},
                      mica_tiles_of(outer, in > out ? in : out, inner),
                      x,
                      y->data,
                      grad};
  mica_parallel_for(c->engine, job.tiles.count, resample_range, &job);
}

void mica_resample_backward(mica_call *c) {
  const resample_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (gx) run(c, o, &gx->shape, c->grad_out[0].shape.dim[o->axis], c->grad_out[0].data, gx, true);
}

mica_var mica_resample_axis(mica_tape *t, const mica_op *op, mica_var x, int axis, int64_t out,
                            const mica_resample_rule *rule) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  mica_shape shape = c.in[0].shape;
  const resample_context o = {*rule, axis};
  shape.dim[axis] = out;
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, shape);
  if (y) run(&c, &o, &c.in[0].shape, out, c.in[0].data, y, false);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}
