/* Eigenvalues, singular values, and functions of a symmetric matrix.
 *
 * A perturbation turns vectors j and k into each other at a rate divided by the distance of their
 * values. Where that is no more than rounding, the rate is left out. A function of the matrix has
 * divided differences there instead, which have a limit.
 */
#include "autograd/matrices.h"

#include <mica/linear_algebra.h>

#include "tensor/kernel/lapack.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct spectral_context {
  int64_t m, n, r;
  double eps; /* values this far apart, relative to the largest, count as equal */
} spectral_context;

static spectral_context context_of(const mica_matrix_size *s, mica_dtype dtype) {
  return (spectral_context){s->rows, s->cols, s->rows < s->cols ? s->rows : s->cols,
                            (double)(s->rows > s->cols ? s->rows : s->cols) *
                                (dtype == MICA_F32 ? (double)FLT_EPSILON : DBL_EPSILON)};
}

static mica_matrices job_of(const spectral_context *o, int64_t count, mica_matrix_fn fn,
                            int64_t scratch) {
  return (mica_matrices){
      .count = count, .side = o->m > o->n ? o->m : o->n, .fn = fn, .ctx = o, .scratch = scratch};
}

/* 1 / x, 0 where x counts as 0. */
static double inverse(double x, double least) {
  return fabs(x) > least ? 1 / x : 0;
}

/* True when column j of v (rows x cols) is to change its sign. Elements of the same size up to
 * rounding, which symmetric matrices give, must not decide: the first of the large ones does. */
static bool turns(int64_t rows, int64_t cols, const double *v, int64_t j) {
  double largest = 0;
  for (int64_t i = 0; i < rows; i++) largest = fmax(largest, fabs(v[i * cols + j]));
  for (int64_t i = 0; i < rows; i++)
    if (fabs(v[i * cols + j]) >= 0.9 * largest) return v[i * cols + j] < 0;
  return false;
}

static void turn_column(int64_t rows, int64_t cols, double *v, int64_t j) {
  for (int64_t i = 0; i < rows; i++) v[i * cols + j] = -v[i * cols + j];
}

/* ---- symmetric eigenvalues ---- */

static mica_status eigen_body(const mica_matrix *w) { /* a; values, vectors */
  const int64_t n = ((const spectral_context *)w->ctx)->n;
  double *v = w->x[2];
  mica_matrix_symmetric(n, w->x[0], w->scratch);
  const mica_status status = mica_lapack_eigen(w->engine, MICA_F64, n, w->scratch, n, w->x[1], v);
  for (int64_t j = 0; j < n && status == MICA_OK; j++)
    if (turns(n, n, v, j)) turn_column(n, n, v, j);
  return status;
}

/* gA = V K V^T: K_jj = gw_j and K_jk = (P_jk - P_kj) / 2 / (w_k - w_j), P = V^T gV. */
static mica_status eigen_grad_body(const mica_matrix *w) { /* values, vectors, gw, gv; ga */
  const spectral_context *o = w->ctx;
  const int64_t n = o->n;
  const double *value = w->x[0], *v = w->x[1], *gw = w->x[2], *gv = w->x[3];
  double *k = w->scratch, *half = k + n * n;
  mica_status status = MICA_OK;
  if (gv)
    status = mica_matrix_product(w, true, false, n, n, n, 1, v, gv, 0, k);
  else
    memset(k, 0, (size_t)(n * n) * sizeof *k);
  const double least = n ? o->eps * fmax(fabs(value[0]), fabs(value[n - 1])) : 0;
  for (int64_t i = 0; i < n; i++) {
    k[i * n + i] = gw ? gw[i] : 0;
    for (int64_t j = 0; j < i; j++)
      k[i * n + j] = k[j * n + i] =
          (k[i * n + j] - k[j * n + i]) / 2 * inverse(value[j] - value[i], least);
  }
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, n, n, n, 1, v, k, 0, half);
  if (status == MICA_OK)
    status = mica_matrix_product(w, false, true, n, n, n, 1, half, v, 0, w->x[4]);
  return status;
}

static void eigen_backward(mica_call *c) {
  const spectral_context *o = c->ctx;
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices m = job_of(o, mica_matrices_size(ga).count, eigen_grad_body, 2 * o->n * o->n);
  mica_matrices_read(&m, &c->out[0], o->n);
  mica_matrices_read(&m, &c->out[1], o->n * o->n);
  mica_matrices_read(&m, &c->grad_out[0], o->n);
  mica_matrices_read(&m, &c->grad_out[1], o->n * o->n);
  mica_matrices_write(&m, ga, o->n * o->n);
  mica_matrices_run(c, &m);
}

static const mica_op eigen_op = {sizeof(mica_op), "eigen_symmetric", MICA_OP_BY_EXAMPLE,
                                 eigen_backward};

mica_var mica_eigen_symmetric(mica_tape *t, mica_var a, mica_var *vectors) {
  mica_call c;
  mica_matrix_size s;
  mica_var out[2];
  if (vectors) *vectors = MICA_NONE;
  if (!mica_call_begin(&c, t, &eigen_op, 1, &a)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  const mica_dtype dtype = c.in[0].dtype;
  const spectral_context o = context_of(&s, dtype);
  mica_matrices m = job_of(&o, s.count, eigen_body, o.n * o.n);
  mica_matrices_read(&m, &c.in[0], o.n * o.n);
  mica_matrices_write(&m, mica_call_output(&c, dtype, mica_matrices_shape(&c.in[0].shape, o.n, -1)),
                      o.n);
  mica_matrices_write(&m, mica_call_output(&c, dtype, c.in[0].shape), o.n * o.n);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_output(&c, 0);
  mica_call_save_output(&c, 1);
  mica_call_end_n(&c, 2, out);
  if (vectors)
    *vectors = out[1];
  else if (mica_ok(t))
    mica_release(t, out[1]);
  return out[0];
}

/* ---- functions of a symmetric matrix ---- */

typedef struct function_context {
  spectral_context size; /* first: the bodies of eigenvalues read it */
  bool log;
  double p;
} function_context;

static double value_of(const function_context *o, double w) {
  return o->log ? log(w) : pow(w, o->p);
}

/* (f(a) - f(b)) / (a - b), its limit where they are equal; without cancellation where they are
 * near. */
static double divided_difference(const function_context *o, double a, double b) {
  const double d = fabs(a - b), low = fmin(a, b);
  if (d == 0) return o->log ? 1 / a : o->p * pow(a, o->p - 1);
  const double l = log1p(d / low);
  return (o->log ? l : pow(low, o->p) * expm1(o->p * l)) / d;
}

static mica_status function_body(const mica_matrix *w) { /* a; y, values, vectors */
  const function_context *o = w->ctx;
  const int64_t n = o->size.n;
  double *value = w->x[2], *v = w->x[3], *scaled = w->scratch;
  mica_matrix_symmetric(n, w->x[0], scaled);
  const mica_status status = mica_lapack_eigen(w->engine, MICA_F64, n, scaled, n, value, v);
  if (status != MICA_OK) return status;
  if (n && !(value[0] > 0))
    return mica_fail(MICA_ERR_NUMERIC, "not positive definite: an eigenvalue is %g", value[0]);
  for (int64_t j = 0; j < n; j++) {
    const double f = value_of(o, value[j]);
    for (int64_t i = 0; i < n; i++) scaled[i * n + j] = v[i * n + j] * f;
  }
  return mica_matrix_product(w, false, true, n, n, n, 1, scaled, v, 0, w->x[1]);
}

static mica_status function_grad_body(const mica_matrix *w) { /* values, vectors, gy; ga */
  const function_context *o = w->ctx;
  const int64_t n = o->size.n;
  const double *value = w->x[0], *v = w->x[1];
  double *k = w->scratch, *half = k + n * n, *ga = w->x[3];
  mica_matrix_symmetric(n, w->x[2], ga);
  mica_status status = mica_matrix_product(w, true, false, n, n, n, 1, v, ga, 0, half);
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, n, n, n, 1, half, v, 0, k);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) k[i * n + j] *= divided_difference(o, value[i], value[j]);
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, n, n, n, 1, v, k, 0, half);
  if (status == MICA_OK) status = mica_matrix_product(w, false, true, n, n, n, 1, half, v, 0, ga);
  return status;
}

/* The saved decompositions as operands: float64 whatever the element type. */
static mica_view saved_view(void *data) {
  return mica_view_of(data, MICA_F64, MICA_SCALAR);
}

static void function_backward(mica_call *c) {
  const function_context *o = c->ctx;
  const int64_t n = o->size.n;
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices m = job_of(&o->size, mica_matrices_size(ga).count, function_grad_body, 2 * n * n);
  m.ctx = o;
  const mica_view values = saved_view(c->saved[0]), vectors = saved_view(c->saved[1]);
  mica_matrices_read(&m, &values, n);
  mica_matrices_read(&m, &vectors, n * n);
  mica_matrices_read(&m, &c->grad_out[0], n * n);
  mica_matrices_write(&m, ga, n * n);
  mica_matrices_run(c, &m);
}

static const mica_op log_op = {sizeof(mica_op), "symmetric_log", MICA_OP_BY_EXAMPLE,
                               function_backward};
static const mica_op power_op = {sizeof(mica_op), "symmetric_power", MICA_OP_BY_EXAMPLE,
                                 function_backward};

static mica_var symmetric_function(mica_tape *t, const mica_op *op, mica_var a, double p) {
  mica_call c;
  mica_matrix_size s;
  if (!mica_call_begin(&c, t, op, 1, &a)) return MICA_NONE;
  if (!mica_square_of(&c, 0, &s)) return MICA_NONE;
  const function_context o = {context_of(&s, c.in[0].dtype), op == &log_op, p};
  const int64_t n = s.rows;
  mica_matrices m = job_of(&o.size, s.count, function_body, n * n);
  m.ctx = &o;
  mica_matrices_read(&m, &c.in[0], n * n);
  mica_matrices_write(&m, mica_call_output(&c, c.in[0].dtype, c.in[0].shape), n * n);
  const mica_view values = saved_view(mica_call_saved(&c, (size_t)(s.count * n) * sizeof(double)));
  const mica_view vectors =
      saved_view(mica_call_saved(&c, (size_t)(s.count * n * n) * sizeof(double)));
  mica_matrices_write(&m, &values, n);
  mica_matrices_write(&m, &vectors, n * n);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

mica_var mica_symmetric_log(mica_tape *t, mica_var a) {
  return symmetric_function(t, &log_op, a, 0);
}

mica_var mica_symmetric_power(mica_tape *t, mica_var a, double p) {
  return symmetric_function(t, &power_op, a, p);
}

/* ---- singular values ---- */

static mica_status svd_body(const mica_matrix *w) { /* a; u, s, vt */
  const spectral_context *o = w->ctx;
  double *u = w->x[1], *vt = w->x[3];
  const mica_status status =
      mica_lapack_svd(w->engine, MICA_F64, o->m, o->n, w->x[0], o->n, u, w->x[2], vt);
  for (int64_t j = 0; j < o->r && status == MICA_OK; j++) {
    if (!turns(o->m, o->r, u, j)) continue;
    turn_column(o->m, o->r, u, j);
    for (int64_t k = 0; k < o->n; k++) vt[j * o->n + k] = -vt[j * o->n + k];
  }
  return status;
}

/* gA = U K V^T + (I - U U^T) gU S^-1 V^T + U S^-1 gV^T (I - V V^T). With a = P - P^T, P = U^T gU,
 * and b = Q - Q^T, Q = V^T gV: K_jj = gs_j and K_jk = (a_jk s_k + s_j b_jk) / (s_k^2 - s_j^2),
 * which is half of (a + b)_jk / (s_k - s_j) + (a - b)_jk / (s_k + s_j): equal values and vanishing
 * ones are told apart. */
static mica_status svd_grad_body(const mica_matrix *w) { /* u, s, vt, gu, gs, gvt; ga */
  const spectral_context *o = w->ctx;
  const int64_t m = o->m, n = o->n, r = o->r;
  const double *u = w->x[0], *s = w->x[1], *vt = w->x[2];
  const double *gu = w->x[3], *gs = w->x[4], *gvt = w->x[5];
  double *p = w->scratch, *q = p + r * r, *k = q + r * r, *left = k + r * r, *right = left + m * r;
  double *ga = w->x[6];
  const double least = r ? o->eps * s[0] : 0;
  mica_status status = MICA_OK;
  memset(p, 0, (size_t)(2 * r * r) * sizeof *p);
  if (gu) status = mica_matrix_product(w, true, false, r, r, m, 1, u, gu, 0, p);
  if (gvt && status == MICA_OK)
    status = mica_matrix_product(w, false, true, r, r, n, 1, vt, gvt, 0, q);
  for (int64_t i = 0; i < r; i++)
    for (int64_t j = 0; j < r; j++) {
      const double a = p[i * r + j] - p[j * r + i], b = q[i * r + j] - q[j * r + i];
      k[i * r + j] =
          i == j
              ? (gs ? gs[i] : 0)
              : ((a + b) * inverse(s[j] - s[i], least) + (a - b) * inverse(s[j] + s[i], least)) / 2;
    }
  /* left = U K + (gU - U P) S^-1, right = S^-1 (gV^T - Q^T V^T) */
  if (status == MICA_OK) {
    memset(left, 0, (size_t)(m * r) * sizeof *left);
    if (gu && m > r) {
      memcpy(left, gu, (size_t)(m * r) * sizeof *left);
      status = mica_matrix_product(w, false, false, m, r, r, -1, u, p, 1, left);
      for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < r; j++) left[i * r + j] *= inverse(s[j], least);
    }
  }
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, m, r, r, 1, u, k, 1, left);
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, m, n, r, 1, left, vt, 0, ga);
  if (status != MICA_OK || !gvt || n == r) return status;
  memcpy(right, gvt, (size_t)(r * n) * sizeof *right);
  status = mica_matrix_product(w, true, false, r, n, r, -1, q, vt, 1, right);
  for (int64_t i = 0; i < r; i++)
    for (int64_t j = 0; j < n; j++) right[i * n + j] *= inverse(s[i], least);
  if (status == MICA_OK) status = mica_matrix_product(w, false, false, m, n, r, 1, u, right, 1, ga);
  return status;
}

static void svd_backward(mica_call *c) {
  const spectral_context *o = c->ctx;
  mica_view *ga = mica_call_grad(c, 0);
  if (!ga) return;
  mica_matrices m = job_of(o, mica_matrices_size(ga).count, svd_grad_body,
                           3 * o->r * o->r + (o->m + o->n) * o->r);
  const int64_t size[3] = {o->m * o->r, o->r, o->r * o->n};
  for (int i = 0; i < 3; i++) mica_matrices_read(&m, &c->out[i], size[i]);
  for (int i = 0; i < 3; i++) mica_matrices_read(&m, &c->grad_out[i], size[i]);
  mica_matrices_write(&m, ga, o->m * o->n);
  mica_matrices_run(c, &m);
}

static const mica_op svd_op = {sizeof(mica_op), "svd", MICA_OP_BY_EXAMPLE, svd_backward};

mica_var mica_svd(mica_tape *t, mica_var a, mica_var *s, mica_var *vt) {
  mica_call c;
  mica_matrix_size size;
  mica_var out[3];
  *s = *vt = MICA_NONE;
  if (!mica_call_begin(&c, t, &svd_op, 1, &a)) return MICA_NONE;
  if (!mica_matrices_of(&c, 0, &size)) return MICA_NONE;
  const mica_dtype dtype = c.in[0].dtype;
  const spectral_context o = context_of(&size, dtype);
  mica_matrices m = job_of(&o, size.count, svd_body, 0);
  const mica_shape *shape = &c.in[0].shape;
  mica_matrices_read(&m, &c.in[0], o.m * o.n);
  mica_matrices_write(&m, mica_call_output(&c, dtype, mica_matrices_shape(shape, o.m, o.r)),
                      o.m * o.r);
  mica_matrices_write(&m, mica_call_output(&c, dtype, mica_matrices_shape(shape, o.r, -1)), o.r);
  mica_matrices_write(&m, mica_call_output(&c, dtype, mica_matrices_shape(shape, o.r, o.n)),
                      o.r * o.n);
  if (!mica_matrices_run(&c, &m)) return MICA_NONE;
  mica_call_context(&c, &o, sizeof o);
  for (int i = 0; i < 3; i++) mica_call_save_output(&c, i);
  mica_call_end_n(&c, 3, out);
  *s = out[1];
  *vt = out[2];
  return out[0];
}
