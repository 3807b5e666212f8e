/* Linear systems, inverses and determinants.
 *
 * With gX the gradient of X = A^-1 B: gB = A^-T gX and gA = -gB X^T. The factorisation is not kept:
 * backward makes one of A^T.
 */
#include "autograd/matrices.h"
#include "autograd/ranges.h"

#include <mica/linear_algebra.h>
#include <mica/ops.h>

#include "tensor/kernel/lapack.h"

#include <math.h>
#include <string.h>

static size_t bytes(int64_t n) {
  return (size_t)n * sizeof(double);
}

static void diagonal(int64_t n, double value, double *x) {
  memset(x, 0, bytes(n * n));
  for (int64_t i = 0; i < n; i++) x[i * n + i] = value;
}

/* a and b with the same leading dimensions, which broadcast. */
static bool broadcast(mica_tape *t, const char *what, mica_var *a, mica_var *b) {
  const mica_view va = mica_read(t, *a), vb = mica_read(t, *b);
  if (!mica_ok(t)) return false;
  if (va.shape.rank < 2 || vb.shape.rank < 2 || va.dtype != vb.dtype) {
    mica_latch(t, MICA_ERR_SHAPE, "%s: expected matrices [..,n,n] and [..,n,k] of one float type",
               what);
    return false;
  }
  mica_shape la = va.shape, lb = vb.shape, both;
  la.rank -= 2;
  lb.rank -= 2;
  if (!mica_broadcast_shape(&la, &lb, &both) || both.rank + 2 > MICA_MAX_RANK) {
    mica_latch(t, MICA_ERR_SHAPE, "%s: the leading dimensions do not broadcast", what);
    return false;
  }
  both.rank += 2;
  if (!mica_shape_equal(&va.shape, &vb.shape)) {
    mica_shape to = mica_matrices_shape(&both, va.shape.dim[va.shape.rank - 2],
                                        va.shape.dim[va.shape.rank - 1]);
    if (!mica_shape_equal(&to, &va.shape)) *a = mica_expand(t, *a, to);
    to = mica_matrices_shape(&both, vb.shape.dim[vb.shape.rank - 2],
                             vb.shape.dim[vb.shape.rank - 1]);
    if (!mica_shape_equal(&to, &vb.shape)) *b = mica_expand(t, *b, to);
  }
  return mica_ok(t);
}

/* ---- a square system ---- */

typedef struct system_size {
  int64_t n, k;
} system_size;

static mica_status solve_body(const mica_matrix *w) {
  const system_size *s = w->ctx;
  memcpy(w->x[2], w->x[1], bytes(s->n * s->k));
  return mica_lapack_solve(w->engine, MICA_F64, s->n, s->k, w->x[0], s->n, w->x[2], s->k);
}

static mica_status solve_grad_body(const mica_matrix *w) { /* a, x, gx; ga, gb */
  const system_size *s = w->ctx;
  const int64_t n = s->n, k = s->k;
  double *turned = w->scratch, *gb = w->x[4] ? w->x[4] : turned + n * n;
  mica_matrix_turn(n, n, w->x[0], turned);
  memcpy(gb, w->x[2], bytes(n * k));
  mica_status status = mica_lapack_solve(w->engine, MICA_F64, n, k, turned, n, gb, k);
  if (status == MICA_OK && w->x[3])
    status = mica_matrix_product(w, false, true, n, n, k, -1, gb, w->x[1], 0, w->x[3]);
  return status;
}

static void solve_backward(mica_call *c) {
  const mica_matrix_size b = mica_matrices_size(&c->out[0]);
  const system_size s = {b.rows, b.cols};
  mica_matrices m = {.count = b.count,
                     .side = s.n > s.k ? s.n : s.k,
                     .fn = solve_grad_body,
                     .ctx = &s,
                     .scratch = s.n * s.n + s.n * s.k};
  mica_matrices_read(&m, &c->in[0], s.n * s.n);
  mica_matrices_read(&m, &c->out[0], s.n * s.k);
  mica_matrices_read(&m, &c->grad_out[0], s.n * s.k);
  mica_matrices_write(&m, mica_call_grad(c, 0), s.n * s.n);
  mica_matrices_write(&m, mica_call_grad(c, 1), s.n * s.k);
  mica_matrices_run(c, &m);
}

static const mica_op solve_op = {sizeof(mica_op), "solve", MICA_OP_BY_EXAMPLE, solve_backward};

static mica_var solve(mica_tape *t, mica_var a, mica_var b) {
  mica_call c;
  mica_matrix_size sa, sb;
  if (!mica_call_begin(&c, t, &solve_op, 2, (mica_var[]){a, b})) return MICA_NONE;
  if (!mica_square_of(&c, 0, &sa) || !mica_matrices_of(&c, 1, &sb)) return MICA_NONE;
  if (sa.cols != sb.rows) return mica_call_fail(&c, MICA_ERR_SHAPE, "sizes do not fit:");
  const mica_view *x = mica_call_output(&c, c.in[1].dtype, c.in[1].shape);
  const system_size s = {sb.rows, sb.cols};
  mica_matrices m = {.count = sb.count, .side = s.n > s.k ? s.n : s.k, .fn = solve_body, .ctx = &s};
  mica_matrices_read(&m, &c.in[0], s.n * s.n);
  mica_matrices_read(&m, &c.in[1], s.n * s.k);
  mica_matrices_write(&m, x, s.n * s.k);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_save_input(&c, 0);
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

mica_var mica_solve(mica_tape *t, mica_var a, mica_var b) {
  mica_scope_begin(t, NULL);
  const bool fit = broadcast(t, "solve", &a, &b);
  return mica_scope_end(t, fit ? solve(t, a, b) : MICA_NONE);
}

/* ---- a triangular system ---- */

typedef struct triangular_context {
  bool upper, transpose, left;
  int64_t n, k; /* of the triangle; the other side of B */
} triangular_context;

/* x of op(a) x = b, or of x op(a) = b, which is op(a)^T x^T = b^T; `turned` has n k elements. */
static mica_status triangular(const mica_matrix *w, bool transpose, const double *a,
                              const double *b, double *x, double *turned) {
  const triangular_context *o = w->ctx;
  if (o->left) {
    memcpy(x, b, bytes(o->n * o->k));
    return mica_lapack_solve_triangular(w->engine, MICA_F64, !o->upper, transpose, o->n, o->k, a,
                                        o->n, x, o->k);
  }
  mica_matrix_turn(o->k, o->n, b, turned);
  const mica_status status = mica_lapack_solve_triangular(
      w->engine, MICA_F64, !o->upper, !transpose, o->n, o->k, a, o->n, turned, o->k);
  if (status == MICA_OK) mica_matrix_turn(o->n, o->k, turned, x);
  return status;
}

static mica_status triangular_body(const mica_matrix *w) {
  const triangular_context *o = w->ctx;
  return triangular(w, o->transpose, w->x[0], w->x[1], w->x[2], w->scratch);
}

static mica_status triangular_grad_body(const mica_matrix *w) { /* a, x, gx; ga, gb */
  const triangular_context *o = w->ctx;
  const int64_t n = o->n, k = o->k;
  double *gb = w->x[4] ? w->x[4] : w->scratch + n * k, *ga = w->x[3];
  const double *x = w->x[1];
  mica_status status = triangular(w, !o->transpose, w->x[0], w->x[2], gb, w->scratch);
  if (status != MICA_OK || !ga) return status;
  /* gop(a) = -gb x^T, or -x^T gb from the right; op turns it. */
  const bool first_gb = o->left != o->transpose;
  status = mica_matrix_product(w, !o->left, o->left, n, n, k, -1, first_gb ? gb : x,
                               first_gb ? x : gb, 0, ga);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++)
      if (o->upper ? j < i : j > i) ga[i * n + j] = 0;
  return status;
}

static mica_matrices triangular_job(const triangular_context *o, int64_t count, mica_matrix_fn fn,
                                    int64_t scratch) {
  return (mica_matrices){
      .count = count, .side = o->n > o->k ? o->n : o->k, .fn = fn, .ctx = o, .scratch = scratch};
}

static void triangular_backward(mica_call *c) {
  const triangular_context *o = c->ctx;
  const int64_t square = o->n * o->n, side = o->n * o->k;
  mica_matrices m =
      triangular_job(o, mica_matrices_size(&c->out[0]).count, triangular_grad_body, 2 * side);
  mica_matrices_read(&m, &c->in[0], square);
  mica_matrices_read(&m, &c->out[0], side);
  mica_matrices_read(&m, &c->grad_out[0], side);
  mica_matrices_write(&m, mica_call_grad(c, 0), square);
  mica_matrices_write(&m, mica_call_grad(c, 1), side);
  mica_matrices_run(c, &m);
}

static const mica_op triangular_op = {sizeof(mica_op), "solve_triangular", MICA_OP_BY_EXAMPLE,
                                      triangular_backward};

static mica_var solve_triangular(mica_tape *t, mica_var a, mica_var b, bool upper, bool transpose,
                                 bool left) {
  mica_call c;
  mica_matrix_size sa, sb;
  if (!mica_call_begin(&c, t, &triangular_op, 2, (mica_var[]){a, b})) return MICA_NONE;
  if (!mica_square_of(&c, 0, &sa) || !mica_matrices_of(&c, 1, &sb)) return MICA_NONE;
  const triangular_context o = {upper, transpose, left, sa.rows, left ? sb.cols : sb.rows};
  if ((left ? sb.rows : sb.cols) != o.n)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "sizes do not fit:");
  const mica_view *x = mica_call_output(&c, c.in[1].dtype, c.in[1].shape);
  mica_matrices m = triangular_job(&o, sb.count, triangular_body, o.n * o.k);
  mica_matrices_read(&m, &c.in[0], o.n * o.n);
  mica_matrices_read(&m, &c.in[1], o.n * o.k);
  mica_matrices_write(&m, x, o.n * o.k);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_input(&c, 0);
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

mica_var mica_solve_triangular(mica_tape *t, mica_var a, mica_var b, bool upper, bool transpose,
                               bool left) {
  mica_scope_begin(t, NULL);
  const bool fit = broadcast(t, "solve_triangular", &a, &b);
  return mica_scope_end(t, fit ? solve_triangular(t, a, b, upper, transpose, left) : MICA_NONE);
}

mica_var mica_cholesky_solve(mica_tape *t, mica_var l, mica_var b) {
  mica_scope_begin(t, NULL);
  mica_var y = mica_solve_triangular(t, l, b, false, false, true);
  return mica_scope_end(t, mica_solve_triangular(t, l, y, false, true, true));
}

/* ---- inverse ---- */

static mica_status inverse_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  diagonal(n, 1, w->x[1]);
  return mica_lapack_solve(w->engine, MICA_F64, n, n, w->x[0], n, w->x[1], n);
}

/* ga = -y^T gy y^T */
static mica_status inverse_grad_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  const mica_status status =
      mica_matrix_product(w, true, false, n, n, n, -1, w->x[0], w->x[1], 0, w->scratch);
  if (status != MICA_OK) return status;
  return mica_matrix_product(w, false, true, n, n, n, 1, w->scratch, w->x[0], 0, w->x[2]);
}

static void inverse_backward(mica_call *c) {
  const mica_matrix_size s = mica_matrices_size(&c->out[0]);
  mica_matrices m = {.count = s.count,
                     .side = s.rows,
                     .fn = inverse_grad_body,
                     .ctx = &s.rows,
                     .scratch = s.rows * s.rows};
  mica_matrices_read(&m, &c->out[0], s.rows * s.rows);
  mica_matrices_read(&m, &c->grad_out[0], s.rows * s.rows);
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices_write(&m, ga, s.rows * s.rows);
  mica_matrices_run(c, &m);
}

static const mica_op inverse_op = {sizeof(mica_op), "inverse", MICA_OP_BY_EXAMPLE,
                                   inverse_backward};

mica_var mica_inverse(mica_tape *t, mica_var a) {
  mica_call c;
  mica_matrix_size s;
  if (!mica_call_begin(&c, t, &inverse_op, 1, &a)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  mica_matrices m = {.count = s.count, .side = s.rows, .fn = inverse_body, .ctx = &s.rows};
  mica_matrices_read(&m, &c.in[0], s.rows * s.rows);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, c.in[0].shape), s.rows * s.rows);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

/* ---- determinants ---- */

static mica_status log_det_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  int sign;
  const mica_status status =
      mica_lapack_log_det(w->engine, MICA_F64, n, w->x[0], n, w->x[1], &sign);
  if (status == MICA_OK && sign == 0)
    return mica_fail(MICA_ERR_NUMERIC, "log-determinant: the %lld x %lld matrix is singular",
                     (long long)n, (long long)n);
  w->x[2][0] = sign;
  return status;
}

/* ga = g a^-T */
static mica_status log_det_grad_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  mica_matrix_turn(n, n, w->x[0], w->scratch);
  diagonal(n, w->x[1][0], w->x[2]);
  return mica_lapack_solve(w->engine, MICA_F64, n, n, w->scratch, n, w->x[2], n);
}

static void log_det_backward(mica_call *c) {
  const mica_matrix_size s = mica_matrices_size(&c->in[0]);
  mica_matrices m = {.count = s.count,
                     .side = s.rows,
                     .fn = log_det_grad_body,
                     .ctx = &s.rows,
                     .scratch = s.rows * s.rows};
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices_read(&m, &c->in[0], s.rows * s.rows);
  mica_matrices_read(&m, &c->grad_out[0], 1);
  mica_matrices_write(&m, ga, s.rows * s.rows);
  mica_matrices_run(c, &m);
}

static const mica_op log_det_op = {sizeof(mica_op), "log_det", MICA_OP_BY_EXAMPLE,
                                   log_det_backward};

mica_var mica_log_det(mica_tape *t, mica_var a, mica_var *sign) {
  mica_call c;
  mica_matrix_size s;
  mica_var out[2];
  if (sign) *sign = MICA_NONE;
  if (!mica_call_begin(&c, t, &log_det_op, 1, &a)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  mica_matrices m = {.count = s.count, .side = s.rows, .fn = log_det_body, .ctx = &s.rows};
  const mica_shape shape = mica_matrices_shape(&c.in[0].shape, -1, -1);
  mica_matrices_read(&m, &c.in[0], s.rows * s.rows);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, shape), 1);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, shape), 1);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_save_input(&c, 0);
  mica_call_end_n(&c, 2, out);
  if (sign) *sign = mica_detach(t, out[1]);
  mica_release(t, out[1]);
  return out[0];
}

static mica_status cholesky_log_det_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const double d = w->x[0][i * n + i];
    if (!(d > 0) || !isfinite(d))
      return mica_fail(MICA_ERR_NUMERIC,
                       "log-determinant: element %lld of the factor's diagonal is %g, expected a "
                       "positive number",
                       (long long)i, d);
    sum += log(d);
  }
  w->x[1][0] = 2 * sum;
  return MICA_OK;
}

static mica_status cholesky_log_det_grad_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  diagonal(n, 0, w->x[2]);
  for (int64_t i = 0; i < n; i++) w->x[2][i * n + i] = 2 * w->x[1][0] / w->x[0][i * n + i];
  return MICA_OK;
}

static void cholesky_log_det_backward(mica_call *c) {
  const mica_matrix_size s = mica_matrices_size(&c->in[0]);
  mica_matrices m = {
      .count = s.count, .side = s.rows, .fn = cholesky_log_det_grad_body, .ctx = &s.rows};
  mica_view *gl = mica_call_grad(c, 0);
  if (!gl) return;
  mica_matrices_read(&m, &c->in[0], s.rows * s.rows);
  mica_matrices_read(&m, &c->grad_out[0], 1);
  mica_matrices_write(&m, gl, s.rows * s.rows);
  mica_matrices_run(c, &m);
}

static const mica_op cholesky_log_det_op = {sizeof(mica_op), "cholesky_log_det", MICA_OP_BY_EXAMPLE,
                                            cholesky_log_det_backward};

mica_var mica_cholesky_log_det(mica_tape *t, mica_var l) {
  mica_call c;
  mica_matrix_size s;
  if (!mica_call_begin(&c, t, &cholesky_log_det_op, 1, &l)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  mica_matrices m = {.count = s.count, .side = s.rows, .fn = cholesky_log_det_body, .ctx = &s.rows};
  const mica_shape shape = mica_matrices_shape(&c.in[0].shape, -1, -1);
  mica_matrices_read(&m, &c.in[0], s.rows * s.rows);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, shape), 1);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_save_input(&c, 0);
  return mica_call_end(&c);
}
