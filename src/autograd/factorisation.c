/* Cholesky and QR. */
#include "autograd/matrices.h"

#include <mica/linear_algebra.h>

#include "tensor/kernel/gemm.h"
#include "tensor/kernel/lapack.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Cholesky ---- */

static mica_status cholesky_body(const mica_matrix *w) {
  const int64_t n = *(const int64_t *)w->ctx;
  mica_matrix_symmetric(n, w->x[0], w->x[1]);
  return mica_lapack_cholesky(w->engine, MICA_F64, n, w->x[1], n);
}

/* dL = L Phi(L^-1 dA L^-T), where Phi takes the lower triangle and half of the diagonal; so gA is
 * the symmetric part of L^-T Phi(L^T gL) L^-1. */
static mica_status cholesky_grad_body(const mica_matrix *w) { /* l, gl; ga */
  const int64_t n = *(const int64_t *)w->ctx;
  const double *l = w->x[0];
  double *lower = w->scratch, *s = w->x[2];
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) lower[i * n + j] = j > i ? 0 : w->x[1][i * n + j];
  mica_status status = mica_matrix_product(w, true, false, n, n, n, 1, l, lower, 0, s);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i; j < n; j++) s[i * n + j] = j > i ? 0 : s[i * n + j] / 2;
  for (int pass = 0; pass < 2 && status == MICA_OK; pass++) {
    status = mica_lapack_solve_triangular(w->engine, MICA_F64, true, true, n, n, l, n, s, n);
    mica_matrix_turn(n, n, s, lower);
    memcpy(s, lower, (size_t)(n * n) * sizeof *s);
  }
  mica_matrix_symmetric(n, s, s);
  return status;
}

static void cholesky_backward(mica_call *c) {
  const mica_matrix_size s = mica_matrices_size(&c->out[0]);
  mica_matrices m = {.count = s.count,
                     .side = s.rows,
                     .fn = cholesky_grad_body,
                     .ctx = &s.rows,
                     .scratch = s.rows * s.rows};
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices_read(&m, &c->out[0], s.rows * s.rows);
  mica_matrices_read(&m, &c->grad_out[0], s.rows * s.rows);
  mica_matrices_write(&m, ga, s.rows * s.rows);
  mica_matrices_run(c, &m);
}

static const mica_op cholesky_op = {sizeof(mica_op), "cholesky", MICA_OP_BY_EXAMPLE,
                                    cholesky_backward};

mica_var mica_cholesky(mica_tape *t, mica_var a) {
  mica_call c;
  mica_matrix_size s;
  if (!mica_call_begin(&c, t, &cholesky_op, 1, &a)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  mica_matrices m = {.count = s.count, .side = s.rows, .fn = cholesky_body, .ctx = &s.rows};
  mica_matrices_read(&m, &c.in[0], s.rows * s.rows);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, c.in[0].shape), s.rows * s.rows);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

/* ---- QR ---- */

typedef struct qr_context {
  int64_t m, n, r;
  double eps; /* of the element type */
} qr_context;

static mica_status qr_body(const mica_matrix *w) {
  const qr_context *o = w->ctx;
  double *q = w->x[1], *upper = w->x[2];
  const mica_status status =
      mica_lapack_qr(w->engine, MICA_F64, o->m, o->n, w->x[0], o->n, q, upper);
  for (int64_t i = 0; i < o->r && status == MICA_OK; i++) {
    if (!(upper[i * o->n + i] < 0)) continue;
    for (int64_t j = i; j < o->n; j++) upper[i * o->n + j] = -upper[i * o->n + j];
    for (int64_t k = 0; k < o->m; k++) q[k * o->r + i] = -q[k * o->r + i];
  }
  return status;
}

/* For m >= n, with M = R gR^T - gQ^T Q of which the lower triangle is mirrored up:
 * gA = (gQ + Q M) R^-T (Walter and Lehmann 2013). For m < n, A = [X Y] and R = [U V]: X = Q U is
 * such a case, and V = Q^T Y adds Y gV^T = Q V gV^T to gQ. */
static mica_status qr_grad_body(const mica_matrix *w) { /* q, r, gq, gr; ga */
  const qr_context *o = w->ctx;
  const int64_t m = o->m, n = o->n, r = o->r;
  const double *q = w->x[0], *upper = w->x[1], *gq = w->x[2], *gr = w->x[3];
  double *mirror = w->scratch, *total = mirror + r * r, *square = total + m * r;
  double *masked = square + r * r, *turned = masked + r * n, *ga = w->x[4];
  double largest = 0;
  for (int64_t i = 0; i < r; i++) largest = fmax(largest, upper[i * n + i]);
  const double least = largest * o->eps * (double)(m > n ? m : n);
  for (int64_t i = 0; i < r; i++)
    if (!(upper[i * n + i] > least))
      return mica_fail(MICA_ERR_NUMERIC,
                       "column %lld depends on those before it: QR has no gradient there",
                       (long long)i);
  if (gq)
    memcpy(total, gq, (size_t)(m * r) * sizeof *total);
  else
    memset(total, 0, (size_t)(m * r) * sizeof *total);
  for (int64_t i = 0; i < r; i++) /* below the diagonal R is 0 whatever A */
    for (int64_t j = 0; j < n; j++) masked[i * n + j] = gr && j >= i ? gr[i * n + j] : 0;
  mica_status status = MICA_OK;
  if (n > r) { /* total += Q (V gV^T) */
    status = mica_gemm(w->engine, MICA_F64, false, true, r, r, n - r, 1, upper + r, n, masked + r,
                       n, 0, mirror, r);
    if (status == MICA_OK)
      status = mica_matrix_product(w, false, false, m, r, r, 1, q, mirror, 1, total);
  }
  if (status == MICA_OK)
    status =
        mica_gemm(w->engine, MICA_F64, false, true, r, r, r, 1, upper, n, masked, n, 0, mirror, r);
  if (status == MICA_OK)
    status = mica_matrix_product(w, true, false, r, r, m, -1, total, q, 1, mirror);
  for (int64_t i = 0; i < r; i++) {
    memcpy(square + i * r, upper + i * n, (size_t)r * sizeof *square);
    for (int64_t j = i + 1; j < r; j++) mirror[i * r + j] = mirror[j * r + i];
  }
  if (status == MICA_OK)
    status = mica_matrix_product(w, false, false, m, r, r, 1, q, mirror, 1, total);
  /* X R^T = total: R X^T = total^T */
  mica_matrix_turn(m, r, total, turned);
  if (status == MICA_OK)
    status =
        mica_lapack_solve_triangular(w->engine, MICA_F64, false, false, r, m, square, r, turned, m);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < r; j++) ga[i * n + j] = turned[j * m + i];
  if (n > r && status == MICA_OK)
    status = mica_gemm(w->engine, MICA_F64, false, false, m, n - r, r, 1, q, r, masked + r, n, 0,
                       ga + r, n);
  return status;
}

static mica_matrices qr_job(const qr_context *o, int64_t count, mica_matrix_fn fn,
                            int64_t scratch) {
  return (mica_matrices){
      .count = count, .side = o->m > o->n ? o->m : o->n, .fn = fn, .ctx = o, .scratch = scratch};
}

static void qr_backward(mica_call *c) {
  const qr_context *o = c->ctx;
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices m = qr_job(o, mica_matrices_size(ga).count, qr_grad_body,
                           2 * o->r * o->r + 2 * o->m * o->r + o->r * o->n);
  mica_matrices_read(&m, &c->out[0], o->m * o->r);
  mica_matrices_read(&m, &c->out[1], o->r * o->n);
  mica_matrices_read(&m, &c->grad_out[0], o->m * o->r);
  mica_matrices_read(&m, &c->grad_out[1], o->r * o->n);
  mica_matrices_write(&m, ga, o->m * o->n);
  mica_matrices_run(c, &m);
}

static const mica_op qr_op = {sizeof(mica_op), "qr", MICA_OP_BY_EXAMPLE, qr_backward};

mica_var mica_qr(mica_tape *t, mica_var a, mica_var *upper) {
  mica_call c;
  mica_matrix_size s;
  mica_var out[2];
  *upper = MICA_NONE;
  if (!mica_call_begin(&c, t, &qr_op, 1, &a)) return MICA_NONE;
  if (!mica_matrices_of(&c, 0, &s)) return MICA_NONE;
  const mica_dtype dtype = c.in[0].dtype;
  const qr_context o = {s.rows, s.cols, s.rows < s.cols ? s.rows : s.cols,
                        dtype == MICA_F32 ? FLT_EPSILON : DBL_EPSILON};
  mica_matrices m = qr_job(&o, s.count, qr_body, 0);
  mica_matrices_read(&m, &c.in[0], o.m * o.n);
  mica_matrices_write(
      &m, mica_call_output(&c, dtype, mica_matrices_shape(&c.in[0].shape, o.m, o.r)), o.m * o.r);
  mica_matrices_write(
      &m, mica_call_output(&c, dtype, mica_matrices_shape(&c.in[0].shape, o.r, o.n)), o.r * o.n);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_output(&c, 0);
  mica_call_save_output(&c, 1);
  mica_call_end_n(&c, 2, out);
  *upper = out[1];
  return out[0];
}
