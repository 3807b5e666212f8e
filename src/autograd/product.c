/* Products of matrices: batched matmul with broadcasting, and the fused linear layer.
 *
 * y = op(a) op(b), so with gy the gradient of y: g op(a) = gy op(b)^T and g op(b) = op(a)^T gy; a
 * transposed operand receives the transpose of that. Where a leading dimension was broadcast, the
 * gradients of its copies are added in order.
 */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/product.h"
#include "autograd/ranges.h"
#include "autograd/tape.h"
#include "tensor/kernel/elementwise.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"

#include <string.h>

static mica_status run(mica_tape *t, mica_gemm_args *g) {
  g->compute = g->dtype == MICA_F32 ? mica_compute(t) : g->dtype;
  return mica_gemm_run(mica_tape_engine(t), g);
}

/* ---- matmul ---- */

typedef struct matmul_plan {
  bool trans_a, trans_b;
  int64_t m, n, k;
  int rank; /* leading dimensions of the result */
  int64_t dim[MICA_MAX_RANK];
  int64_t step_a[MICA_MAX_RANK], step_b[MICA_MAX_RANK]; /* in matrices; 0 where broadcast */
  int64_t batch;
} matmul_plan;

/* The batch walks an operand in order, one matrix after the other, or stays on one. */
static bool uniform(const matmul_plan *p, const int64_t *step) {
  int64_t want = 1;
  bool all_zero = true, in_order = true;
  for (int d = p->rank; d-- > 0;) {
    if (p->dim[d] == 1) continue;
    all_zero &= step[d] == 0;
    in_order &= step[d] == want;
    want *= p->dim[d];
  }
  return all_zero || in_order;
}

static int64_t stride_of(const matmul_plan *p, const int64_t *step, int64_t matrix) {
  for (int d = 0; d < p->rank; d++)
    if (p->dim[d] > 1 && step[d]) return matrix;
  return 0;
}

typedef struct operand {
  const void *data;
  bool transposed;
  int64_t ld, matrix; /* elements of a row, of a matrix */
  const int64_t *step;
} operand;

/* C[i] = op(A[i]) op(B[i]) for the whole batch, C dense; in one call when the batches are regular.
 */
static mica_status products(mica_tape *t, const matmul_plan *p, mica_dtype dtype, int64_t m,
                            int64_t n, int64_t k, operand a, operand b, void *c, int64_t first,
                            int64_t count) {
  const size_t size = mica_dtype_size(dtype);
  mica_gemm_args g = {.dtype = dtype,
                      .trans_a = a.transposed,
                      .trans_b = b.transposed,
                      .m = m,
                      .n = n,
                      .k = k,
                      .alpha = 1,
                      .beta = 0,
                      .lda = a.ld,
                      .ldb = b.ld,
                      .ldc = n,
                      .batch = 1};
  if (count == p->batch && uniform(p, a.step) && uniform(p, b.step)) {
    g.a = a.data;
    g.b = b.data;
    g.c = c;
    g.batch = p->batch;
    g.stride_a = stride_of(p, a.step, a.matrix);
    g.stride_b = stride_of(p, b.step, b.matrix);
    g.stride_c = m * n;
    return run(t, &g);
  }
  for (int64_t i = 0; i < count; i++) {
    int64_t at_a = 0, at_b = 0;
    for (int64_t d = p->rank, left = first + i; d-- > 0; left /= p->dim[d]) {
      at_a += left % p->dim[d] * a.step[d];
      at_b += left % p->dim[d] * b.step[d];
    }
    g.a = (const char *)a.data + (size_t)(at_a * a.matrix) * size;
    g.b = (const char *)b.data + (size_t)(at_b * b.matrix) * size;
    g.c = (char *)c + (size_t)(i * m * n) * size;
    mica_status status = run(t, &g);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}

/* The gradient of one operand: products of gy with the other, added over broadcast copies. `result`
 * is that operand's own step table; dense is set when no two products go to the same matrix. */
static void operand_gradient(mica_call *c, int i, const matmul_plan *p, int64_t m, int64_t n,
                             int64_t k, operand x, operand y, const int64_t *result) {
  mica_tape *t = c->tape;
  mica_view *g = mica_call_grad(c, i);
  if (!g) return;
  const mica_dtype dtype = g->dtype;
  const int64_t matrix = m * n;
  bool shared = p->batch == 0; /* no product writes it: zeros */
  for (int d = 0; d < p->rank; d++) shared |= p->dim[d] > 1 && !result[d];
  if (!shared) {
    mica_status status = products(t, p, dtype, m, n, k, x, y, g->data, 0, p->batch);
    if (status != MICA_OK) mica_latch(t, status, "matmul backward: %s", mica_last_error());
    return;
  }
  const mica_kernels *kernels = mica_kernels_of(c->engine, dtype);
  const size_t size = mica_dtype_size(dtype);
  void *part = mica_call_scratch(c, (size_t)matrix * size);
  if (!part) return;
  memset(g->data, 0, (size_t)mica_view_count(g) * size);
  for (int64_t b = 0; b < p->batch; b++) {
    mica_status status = products(t, p, dtype, m, n, k, x, y, part, b, 1);
    if (status != MICA_OK) {
      mica_latch(t, status, "matmul backward: %s", mica_last_error());
      return;
    }
    int64_t to = 0;
    for (int64_t d = p->rank, left = b; d-- > 0; left /= p->dim[d])
      to += left % p->dim[d] * result[d];
    kernels->elementwise->add_into(matrix, part, (char *)g->data + (size_t)(to * matrix) * size);
  }
}

static void matmul_backward(mica_call *c) {
  const matmul_plan *p = c->ctx;
  const void *gy = c->grad_out[0].data;
  const int64_t m = p->m, n = p->n, k = p->k;
  int64_t step_y[MICA_MAX_RANK], matrices = 1;
  for (int d = p->rank; d-- > 0; matrices *= p->dim[d]) step_y[d] = matrices;
  const operand y = {gy, false, n, m * n, step_y}, yt = {gy, true, n, m * n, step_y};
  const operand a = {c->in[0].data, p->trans_a, p->trans_a ? m : k, m * k, p->step_a};
  const operand b = {c->in[1].data, p->trans_b, p->trans_b ? k : n, k * n, p->step_b};
  operand at = a, bt = b;
  at.transposed = !a.transposed;
  bt.transposed = !b.transposed;
  if (mica_call_needs_grad(c, 0)) {
    if (p->trans_a) /* g a = (gy op(b)^T)^T = op(b) gy^T */
      operand_gradient(c, 0, p, k, m, n, b, yt, p->step_a);
    else
      operand_gradient(c, 0, p, m, k, n, y, bt, p->step_a);
  }
  if (mica_call_needs_grad(c, 1)) {
    if (p->trans_b) /* g b = gy^T op(a) */
      operand_gradient(c, 1, p, n, k, m, yt, a, p->step_b);
    else
      operand_gradient(c, 1, p, k, n, m, at, y, p->step_b);
  }
}

static const mica_op matmul_op = {sizeof(mica_op), "matmul", MICA_OP_BY_EXAMPLE, matmul_backward};

mica_var mica_matmul_t(mica_tape *t, mica_var va, bool transpose_a, mica_var vb, bool transpose_b) {
  mica_call c;
  if (!mica_call_begin(&c, t, &matmul_op, 2, (mica_var[]){va, vb})) return MICA_NONE;
  const mica_view *a = &c.in[0], *b = &c.in[1];
  const int ra = a->shape.rank, rb = b->shape.rank;
  if (ra < 2 || rb < 2) return mica_call_fail(&c, MICA_ERR_SHAPE, "expected matrices:");
  if (a->dtype != b->dtype || (a->dtype != MICA_F32 && a->dtype != MICA_F64))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s and %s, expected the same float type:", mica_dtype_name(a->dtype),
                          mica_dtype_name(b->dtype));
  matmul_plan p = {.trans_a = transpose_a, .trans_b = transpose_b, .batch = 1};
  p.m = a->shape.dim[ra - (transpose_a ? 1 : 2)];
  p.k = a->shape.dim[ra - (transpose_a ? 2 : 1)];
  p.n = b->shape.dim[rb - (transpose_b ? 2 : 1)];
  if (b->shape.dim[rb - (transpose_b ? 1 : 2)] != p.k)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "inner dimensions %lld and %lld differ:", (long long)p.k,
                          (long long)b->shape.dim[rb - (transpose_b ? 1 : 2)]);
  p.rank = (ra > rb ? ra : rb) - 2;
  mica_shape shape = {p.rank + 2, {0}};
  int64_t matrices_a = 1, matrices_b = 1;
  for (int d = p.rank; d-- > 0;) {
    int da = d - (p.rank - (ra - 2)), db = d - (p.rank - (rb - 2));
    int64_t na = da < 0 ? 1 : a->shape.dim[da], nb = db < 0 ? 1 : b->shape.dim[db];
    if (na != nb && na != 1 && nb != 1)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "leading dimensions do not broadcast:");
    p.dim[d] = shape.dim[d] = na == 1 ? nb : na;
    p.step_a[d] = na == 1 ? 0 : matrices_a;
    p.step_b[d] = nb == 1 ? 0 : matrices_b;
    matrices_a *= na;
    matrices_b *= nb;
    p.batch *= p.dim[d];
  }
  shape.dim[p.rank] = p.m;
  shape.dim[p.rank + 1] = p.n;
  const mica_view *y = mica_call_output(&c, a->dtype, shape);
  if (y && mica_view_count(y)) {
    const operand oa = {a->data, transpose_a, transpose_a ? p.m : p.k, p.m * p.k, p.step_a};
    const operand ob = {b->data, transpose_b, transpose_b ? p.k : p.n, p.k * p.n, p.step_b};
    mica_status status = products(t, &p, a->dtype, p.m, p.n, p.k, oa, ob, y->data, 0, p.batch);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  /* Rows of a lone matrix a stay rows; whole matrices stay apart where neither was broadcast. */
  if (transpose_a && ra < 3) mica_call_mixes(&c, 0);
  if (rb < 3) mica_call_mixes(&c, 1);
  if (p.rank && (ra != p.rank + 2 || a->shape.dim[0] != shape.dim[0])) mica_call_mixes(&c, 0);
  if (p.rank && (rb != p.rank + 2 || b->shape.dim[0] != shape.dim[0])) mica_call_mixes(&c, 1);
  mica_call_context(&c, &p, sizeof p);
  if (mica_call_needs_grad(&c, 1)) mica_call_save_input(&c, 0);
  if (mica_call_needs_grad(&c, 0)) mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

mica_var mica_matmul(mica_tape *t, mica_var a, mica_var b) {
  return mica_matmul_t(t, a, false, b, false);
}

/* ---- linear ---- */

/* What |gy[e]^T x[e]|^2 is made of without forming the product (Goodfellow 2015, Rochette et al.
 * 2019): over all pairs of an example's rows, the product of what gy's and what x's have in common.
 */
typedef struct pair_job {
  const mica_view *gy, *x;
  int64_t rows, o, i; /* of an example */
  double *squares;
} pair_job;

static double inner(const mica_view *v, int64_t a, int64_t b, int64_t n) {
  double s[8] = {0};
  if (v->dtype == MICA_F32) {
    const float *p = (const float *)v->data + a * v->row_stride;
    const float *q = (const float *)v->data + b * v->row_stride;
    int64_t k = 0;
    for (; k + 8 <= n; k += 8)
      for (int j = 0; j < 8; j++) s[j] += (double)p[k + j] * (double)q[k + j];
    for (; k < n; k++) s[0] += (double)p[k] * (double)q[k];
  } else {
    const double *p = (const double *)v->data + a * v->row_stride;
    const double *q = (const double *)v->data + b * v->row_stride;
    for (int64_t k = 0; k < n; k++) s[k & 7] += p[k] * q[k];
  }
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static void pair_range(void *ctx, int64_t begin, int64_t end) {
  const pair_job *j = ctx;
  for (int64_t e = begin; e < end; e++) {
    double sum = 0;
    for (int64_t p = e * j->rows; p < (e + 1) * j->rows; p++)
      for (int64_t q = e * j->rows; q <= p; q++)
        sum += (p == q ? 1 : 2) * inner(j->gy, p, q, j->o) * inner(j->x, p, q, j->i);
    j->squares[e] += sum;
  }
}

/* Add the norms of the weight's gradients where that is asked for, allowed and less work. */
static bool linear_squares(mica_call *c, int64_t examples, int64_t rows, int64_t o, int64_t i) {
  double *squares = rows * (o + i) < o * i ? mica_call_example_squares(c, 1) : NULL;
  const mica_dtype dtype = c->grad_out[0].dtype;
  if (!squares || (dtype != MICA_F32 && dtype != MICA_F64) || c->in[0].dtype != dtype) return false;
  mica_view gy = c->grad_out[0];
  gy.row_stride = o;
  pair_job job = {&gy, &c->in[0], rows, o, i, squares};
  mica_parallel_for(mica_tape_engine(c->tape), examples, pair_range, &job);
  return true;
}

/* gw[e] = gy[e]^T x[e] and gb[e], the column sums of gy[e], over the rows of each example. */
static mica_status linear_examples(mica_call *c, int64_t examples) {
  const mica_view *x = &c->in[0], *gy = &c->grad_out[0];
  const int64_t o = c->in[1].shape.dim[0], i = c->in[1].shape.dim[1];
  const int64_t rows = mica_view_rows(x) / examples;
  const size_t size = mica_dtype_size(gy->dtype);
  mica_status status = MICA_OK;
  const bool squared = linear_squares(c, examples, rows, o, i);
  mica_view *gw = squared ? NULL : mica_call_grad_examples(c, 1);
  mica_view *gb = mica_call_grad_examples(c, 2);
  if (gw) {
    mica_gemm_args g = {.dtype = gy->dtype,
                        .trans_a = true,
                        .m = o,
                        .n = i,
                        .k = rows,
                        .alpha = 1,
                        .a = gy->data,
                        .lda = o,
                        .b = x->data,
                        .ldb = x->row_stride,
                        .c = gw->data,
                        .ldc = i,
                        .batch = examples,
                        .stride_a = rows * o,
                        .stride_b = rows * x->row_stride,
                        .stride_c = o * i};
    status = run(c->tape, &g);
  }
  for (int64_t e = 0; e < examples && gb; e++)
    mica_sum_axis(c, gy->dtype, 1, rows, o, 1,
                  (const char *)gy->data + (size_t)(e * rows * o) * size,
                  (char *)gb->data + (size_t)(e * o) * size);
  return status;
}

/* y = x w^T + b: gx = gy w, gw = gy^T x, gb = column sums of gy. */
static void linear_backward(mica_call *c) {
  mica_tape *t = c->tape;
  const void *gy = c->grad_out[0].data;
  const mica_view *wv = &c->in[1];
  const int64_t o = wv->shape.dim[0], i = wv->shape.dim[1];
  const mica_dtype dtype = wv->dtype;
  const int64_t rows = o ? mica_view_count(&c->grad_out[0]) / o : 0;
  const int64_t examples = mica_call_examples(c);
  mica_status status = examples ? linear_examples(c, examples) : MICA_OK;
  mica_view *gx = mica_call_grad(c, 0), *gw = examples ? NULL : mica_call_grad(c, 1);
  mica_view *gb = examples ? NULL : mica_call_grad(c, 2);
  if (gx && status == MICA_OK) {
    mica_gemm_args g = {.dtype = dtype,
                        .m = rows,
                        .n = i,
                        .k = o,
                        .alpha = 1,
                        .a = gy,
                        .lda = o,
                        .b = wv->data,
                        .ldb = i,
                        .c = gx->data,
                        .ldc = i,
                        .batch = 1};
    status = run(t, &g);
  }
  if (gw && status == MICA_OK) {
    mica_gemm_args g = {.dtype = dtype,
                        .trans_a = true,
                        .m = o,
                        .n = i,
                        .k = rows,
                        .alpha = 1,
                        .a = gy,
                        .lda = o,
                        .b = c->in[0].data,
                        .ldb = c->in[0].row_stride,
                        .c = gw->data,
                        .ldc = i,
                        .batch = 1};
    status = run(t, &g);
  }
  if (gb) mica_sum_axis(c, dtype, 1, rows, o, 1, gy, gb->data);
  if (status != MICA_OK) mica_latch(t, status, "linear backward: %s", mica_last_error());
}

static const mica_op linear_op = {sizeof(mica_op), "linear",
                                  MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM,
                                  linear_backward};

static mica_var linear(mica_tape *t, mica_var x, mica_var w, const void *packed, mica_var bias,
                       bool relu) {
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &linear_op, 3, (mica_var[]){x, w, bias}, 4))
    return MICA_NONE;
  const mica_view *xv = &c.in[0], *wv = &c.in[1], *bv = &c.in[2];
  if (wv->shape.rank != 2 || !mica_view_contiguous(wv))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "the weight must be [outputs, inputs]:");
  const int64_t o = wv->shape.dim[0], i = wv->shape.dim[1];
  if (xv->shape.rank < 1 || mica_view_cols(xv) != i)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "the input has %lld columns, the weight %lld:",
                          (long long)mica_view_cols(xv), (long long)i);
  if (bv->data && (bv->shape.rank != 1 || bv->shape.dim[0] != o))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "the bias must be [%lld]:", (long long)o);
  if (xv->dtype != wv->dtype || (bv->data && bv->dtype != wv->dtype) ||
      (wv->dtype != MICA_F32 && wv->dtype != MICA_F64))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s input and %s weight, expected the same float type:",
                          mica_dtype_name(xv->dtype), mica_dtype_name(wv->dtype));
  mica_shape shape = xv->shape;
  shape.dim[shape.rank - 1] = o;
  const mica_view *y = mica_call_output(&c, xv->dtype, shape);
  if (y && mica_view_count(y)) {
    mica_gemm_args g = {.dtype = xv->dtype,
                        .trans_b = true,
                        .m = mica_view_rows(xv),
                        .n = o,
                        .k = i,
                        .alpha = 1,
                        .a = xv->data,
                        .lda = xv->row_stride,
                        .b = wv->data,
                        .ldb = i,
                        .c = y->data,
                        .ldc = o,
                        .bias = bv->data,
                        .relu = relu,
                        .packed_b = packed,
                        .batch = 1};
    mica_status status = run(t, &g);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  mica_call_mixes(&c, 1);
  mica_call_mixes(&c, 2);
  if (mica_call_needs_grad(&c, 1)) mica_call_save_input(&c, 0);
  if (mica_call_needs_grad(&c, 0)) mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

mica_var mica_linear(mica_tape *t, mica_var x, mica_var w, mica_var bias, mica_activation act) {
  /* relu rides on the product, but where somebody looks at what lies between. */
  const bool fuse = act == MICA_RELU && mica_ok(t) && !t->taps.n && !t->overrides.n;
  mica_scope_begin(t, NULL);
  mica_var y = linear(t, x, mica_contiguous(t, w), NULL, mica_contiguous(t, bias), fuse);
  y = mica_scope_end(t, y);
  if (fuse && mica_ok(t) && mica_is_recording(t)) return mica_relu_there(t, y);
  if (fuse) return mica_relu_made(t, y);
  return act == MICA_IDENTITY ? y : mica_activate(t, act, y);
}

mica_var mica_linear_packed(mica_tape *t, mica_var x, mica_var w, const void *packed,
                            mica_var bias) {
  mica_scope_begin(t, NULL);
  return mica_scope_end(t, linear(t, x, w, packed, bias, false));
}
