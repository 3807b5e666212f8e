/* Images at another size. */
#include <mica/op.h>
#include <mica/ops.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/resize.h"

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

mica_var mica_resize(mica_tape *t, mica_var x, int64_t h, int64_t w, mica_interpolation kind,
                     bool align_corners) {
  mica_call c;
  if (!mica_call_begin(&c, t, &resize_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (v->shape.rank != 4 || (v->dtype != MICA_F32 && v->dtype != MICA_F64))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float images [N,H,W,C]:");
  const int64_t *d = v->shape.dim;
  if (h < 1 || w < 1 || !d[1] || !d[2])
    return mica_call_fail(&c, MICA_ERR_SHAPE, "no image of %lldx%lld from:", (long long)h,
                          (long long)w);
  const mica_resize_geometry g = {d[1], d[2], d[3], h, w, kind == MICA_BILINEAR, align_corners};
  const mica_view *y = mica_call_output(&c, v->dtype, MICA_SHAPE(d[0], h, w, d[3]));
  if (y) {
    resize_job job = {mica_kernels_of(c.engine, v->dtype)->resize, &g, v->data, y->data};
    mica_parallel_for(c.engine, d[0] * h, resize_range, &job);
  }
  mica_call_context(&c, &g, sizeof g);
  return mica_call_end(&c);
}
