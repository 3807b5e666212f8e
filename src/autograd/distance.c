/* Distances and unit vectors. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/norm.h"

#include <math.h>

typedef struct unit_context {
  double eps;
} unit_context;

typedef struct unit_job {
  const mica_norm_kernels *k;
  double eps;
  mica_tiles tiles;
  size_t size;
  int64_t cols, stride;
  const char *x, *gy;
  char *y, *norm;
} unit_job;

static unit_job job_of(const mica_call *c, double eps, const mica_view *x, char *y, char *norm) {
  return (unit_job){.k = mica_kernels_of(c->engine, x->dtype)->norm,
                    .eps = eps,
                    .tiles = mica_tiles_of(mica_view_rows(x), mica_view_cols(x), 1),
                    .size = mica_dtype_size(x->dtype),
                    .cols = mica_view_cols(x),
                    .stride = x->row_stride,
                    .x = x->data,
                    .y = y,
                    .norm = norm};
}

static void unit_range(void *ctx, int64_t begin, int64_t end) {
  const unit_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const size_t at = (size_t)(t.block * j->cols) * j->size;
    const char *x = j->x + (size_t)(t.block * j->stride) * j->size;
    char *norm = j->norm + (size_t)t.block * j->size;
    if (j->gy)
      j->k->l2_normalise_grad(t.blocks, j->cols, x, j->stride, norm, j->eps, j->gy + at, j->y + at);
    else
      j->k->l2_normalise(t.blocks, j->cols, x, j->stride, j->eps, j->y + at, j->cols, norm);
  }
}

static void unit_backward(mica_call *c) {
  const unit_context *o = c->ctx;
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  unit_job job = job_of(c, o->eps, &c->out[0], gx->data, c->saved[0]);
  job.gy = c->grad_out[0].data;
  mica_parallel_for(c->engine, job.tiles.count, unit_range, &job);
}

static const mica_op unit_op = {sizeof(mica_op), "l2_normalise",
                                MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, unit_backward};

mica_var mica_l2_normalise(mica_tape *t, mica_var x, double eps) {
  mica_call c;
  if (!mica_call_begin(&c, t, &unit_op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v) || v->shape.rank < 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected rows of floats:");
  if (v->shape.rank < 2) mica_call_mixes(&c, 0);
  const unit_context o = {eps};
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  void *norm = mica_call_saved(&c, (size_t)mica_view_rows(v) * mica_dtype_size(v->dtype));
  if (mica_ok(t)) {
    unit_job job = job_of(&c, eps, v, y->data, norm);
    mica_parallel_for(c.engine, job.tiles.count, unit_range, &job);
  }
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

/* Two matrices of equally wide rows. */
static bool pairs(mica_tape *t, const char *what, mica_var a, mica_var b) {
  const mica_view va = mica_read(t, a), vb = mica_read(t, b);
  if (!mica_ok(t)) return false;
  if (va.shape.rank == 2 && vb.shape.rank == 2 && va.shape.dim[1] == vb.shape.dim[1]) return true;
  char ta[128], tb[128];
  mica_latch(t, MICA_ERR_SHAPE, "%s: %s and %s, expected [N,D] and [M,D]", what,
             mica_shape_text(&va.shape, ta, sizeof ta), mica_shape_text(&vb.shape, tb, sizeof tb));
  return false;
}

mica_var mica_squared_distances(mica_tape *t, mica_var a, mica_var b) {
  if (!pairs(t, "squared_distances", a, b)) return MICA_NONE;
  mica_scope_begin(t, NULL);
  /* |a|^2 + |b|^2 - 2 a b, which rounding can take below 0 */
  mica_var aa = mica_sum(t, mica_square(t, a), 1, (int[]){1}, true);
  mica_var bb = mica_sum(t, mica_square(t, b), 1, (int[]){1}, false);
  mica_var ab = mica_affine(t, mica_matmul_t(t, a, false, b, true), -2, 0);
  return mica_scope_end(t, mica_clamp(t, mica_add(t, mica_add(t, ab, aa), bb), 0, INFINITY));
}

mica_var mica_cosine_similarity(mica_tape *t, mica_var a, mica_var b, double eps) {
  if (!pairs(t, "cosine_similarity", a, b)) return MICA_NONE;
  mica_scope_begin(t, NULL);
  mica_var ua = mica_l2_normalise(t, a, eps), ub = mica_l2_normalise(t, b, eps);
  return mica_scope_end(t, mica_matmul_t(t, ua, false, ub, true));
}
