/* Cases: factorisations and linear systems. Inputs of random matrices are made well conditioned on
 * the tape; what is unique only up to rounding (vectors of many close values) enters by what does
 * not depend on the choice. */
#include "gradients/gradients.h"

#include <mica/linear_algebra.h>

/* clang-format off */
#define RUN(name, ...)                                                                             \
  static mica_var run_##name(mica_tape *t, const mica_var *in) { return __VA_ARGS__; }
#define B 2e-5
#define IN(...) { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
#define CASE(op, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##op, B, false, false }
#define WITH(op, run, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##run, B, false, false }
/* clang-format on */

static mica_var eye(mica_tape *t, mica_var x, double value) {
  const int64_t n = mica_dim(t, x, -1);
  double one[64 * 64] = {0};
  for (int64_t i = 0; i < n; i++) one[i * n + i] = value;
  const mica_view v = mica_view_of(one, MICA_F64, MICA_SHAPE(n, n));
  return mica_cast(t, mica_constant(t, &v), mica_dtype_of(t, x));
}

/* x x^T + n / 2 I */
static mica_var positive(mica_tape *t, mica_var x) {
  return mica_add(t, mica_matmul_t(t, x, false, x, true),
                  eye(t, x, (double)mica_dim(t, x, -1) / 2));
}

/* x + n I */
static mica_var dominant(mica_tape *t, mica_var x) {
  return mica_add(t, x, eye(t, x, (double)mica_dim(t, x, -1)));
}

static int64_t batch_of(mica_tape *t, mica_var x) {
  int64_t n = 1;
  for (int d = 0; d + 2 < mica_rank(t, x); d++) n *= mica_dim(t, x, d);
  return n;
}

/* What follows the batch, in a row. */
static mica_var row(mica_tape *t, mica_var x, int64_t batch, int64_t size) {
  return mica_reshape(t, x, MICA_SHAPE(batch, size));
}

RUN(solve, mica_solve(t, dominant(t, in[0]), in[1]))
RUN(lower, mica_solve_triangular(t, dominant(t, in[0]), in[1], false, false, true))
RUN(upper, mica_solve_triangular(t, dominant(t, in[0]), in[1], true, false, true))
RUN(lower_t, mica_solve_triangular(t, dominant(t, in[0]), in[1], false, true, true))
RUN(upper_t, mica_solve_triangular(t, dominant(t, in[0]), in[1], true, true, true))
RUN(lower_right, mica_solve_triangular(t, dominant(t, in[0]), in[1], false, false, false))
RUN(upper_right, mica_solve_triangular(t, dominant(t, in[0]), in[1], true, false, false))
RUN(lower_t_right, mica_solve_triangular(t, dominant(t, in[0]), in[1], false, true, false))
RUN(upper_t_right, mica_solve_triangular(t, dominant(t, in[0]), in[1], true, true, false))
RUN(cholesky_solve, mica_cholesky_solve(t, dominant(t, in[0]), in[1]))
RUN(inverse, mica_inverse(t, dominant(t, in[0])))
RUN(log_det, mica_log_det(t, dominant(t, in[0]), NULL))
RUN(cholesky_log_det, mica_cholesky_log_det(t, dominant(t, in[0])))
RUN(cholesky, mica_cholesky(t, positive(t, in[0])))
/* The other part of the matrix must not matter. */
RUN(cholesky_skew, mica_cholesky(t, mica_add(t, positive(t, in[0]), in[1])))
RUN(symmetric_log, mica_symmetric_log(t, positive(t, in[0])))
RUN(symmetric_power, mica_symmetric_power(t, positive(t, in[0]), -0.5))
RUN(root_skew, mica_symmetric_power(t, mica_add(t, positive(t, in[0]), in[1]), 0.5))
RUN(matrix_exp, mica_matrix_exp(t, in[0]))
RUN(exp_tiny, mica_matrix_exp(t, mica_affine(t, in[0], 0.003, 0)))
RUN(exp_small, mica_matrix_exp(t, mica_affine(t, in[0], 0.06, 0)))
RUN(exp_medium, mica_matrix_exp(t, mica_affine(t, in[0], 0.2, 0)))
RUN(exp_large, mica_matrix_exp(t, mica_affine(t, in[0], 4, 0)))

static mica_var run_sign_log_det(mica_tape *t, const mica_var *in) {
  mica_var sign, log_abs = mica_log_det(t, mica_neg(t, dominant(t, in[0])), &sign);
  return mica_mul(t, sign, log_abs);
}

static mica_var run_qr(mica_tape *t, const mica_var *in) {
  mica_var r, q = mica_qr(t, in[0], &r);
  const int64_t m = mica_dim(t, in[0], -2), n = mica_dim(t, in[0], -1), k = m < n ? m : n;
  const int64_t batch = batch_of(t, in[0]);
  return mica_concat(t, 2, (mica_var[]){row(t, q, batch, m * k), row(t, r, batch, k * n)}, 1);
}
static mica_var run_qr_q(mica_tape *t, const mica_var *in) {
  mica_var r;
  return mica_qr(t, in[0], &r);
}
static mica_var run_qr_r(mica_tape *t, const mica_var *in) {
  mica_var r;
  mica_qr(t, in[0], &r);
  return r;
}

static mica_var run_svd(mica_tape *t, const mica_var *in) {
  mica_var s, vt, u = mica_svd(t, in[0], &s, &vt);
  const int64_t m = mica_dim(t, in[0], -2), n = mica_dim(t, in[0], -1), r = m < n ? m : n;
  const int64_t batch = batch_of(t, in[0]);
  const mica_var all[] = {row(t, u, batch, m * r), row(t, s, batch, r), row(t, vt, batch, r * n)};
  return mica_concat(t, 3, all, 1);
}
static mica_var run_svd_u(mica_tape *t, const mica_var *in) {
  mica_var s, vt;
  return mica_svd(t, in[0], &s, &vt);
}
static mica_var run_svd_vt(mica_tape *t, const mica_var *in) {
  mica_var s, vt;
  mica_svd(t, in[0], &s, &vt);
  return vt;
}
static mica_var run_svd_values(mica_tape *t, const mica_var *in) {
  mica_var s, vt;
  mica_svd(t, in[0], &s, &vt);
  return s;
}
/* U V^T, the nearest matrix with orthonormal columns: smooth wherever no value is 0. */
static mica_var run_svd_polar(mica_tape *t, const mica_var *in) {
  mica_var s, vt, u = mica_svd(t, mica_add(t, in[0], eye(t, in[0], 8)), &s, &vt);
  return mica_matmul(t, u, vt);
}

static mica_var run_eigen_symmetric(mica_tape *t, const mica_var *in) {
  mica_var v, w = mica_eigen_symmetric(t, in[0], &v);
  const int64_t n = mica_dim(t, in[0], -1);
  const int64_t batch = batch_of(t, in[0]);
  return mica_concat(t, 2, (mica_var[]){row(t, w, batch, n), row(t, v, batch, n * n)}, 1);
}
RUN(eigen_values, mica_eigen_symmetric(t, in[0], NULL))
static mica_var run_eigen_vectors(mica_tape *t, const mica_var *in) {
  mica_var v;
  mica_eigen_symmetric(t, in[0], &v);
  return v;
}
/* V exp(w / n) V^T */
static mica_var run_eigen_function(mica_tape *t, const mica_var *in) {
  const int64_t n = mica_dim(t, in[0], -1);
  mica_var v, w = mica_eigen_symmetric(t, in[0], &v);
  w = mica_reshape(t, mica_exp(t, mica_affine(t, w, 1.0 / (double)n, 0)), MICA_SHAPE(1, n));
  return mica_matmul_t(t, mica_mul(t, v, w), false, v, true);
}

/* clang-format off */
#define SYSTEM(run)                                                                                \
  WITH(solve_triangular, run, #run, 2, IN(4, 4), IN(4, 3)),                                        \
  WITH(solve_triangular, run, #run " batch", 2, IN(2, 3, 3), IN(2, 3, 2)),                         \
  WITH(solve_triangular, run, #run " large", 2, IN(50, 50), IN(50, 49))
#define RIGHT(run)                                                                                 \
  WITH(solve_triangular, run, #run, 2, IN(4, 4), IN(3, 4)),                                        \
  WITH(solve_triangular, run, #run " batch", 2, IN(2, 3, 3), IN(2, 2, 3)),                         \
  WITH(solve_triangular, run, #run " large", 2, IN(50, 50), IN(49, 50))
#define SQUARE(op)                                                                                 \
  CASE(op, "", 1, IN(4, 4)), CASE(op, "odd", 1, IN(3, 3)), CASE(op, "one", 1, IN(1, 1)),           \
  CASE(op, "batch", 1, IN(2, 3, 3)), CASE(op, "batches", 1, IN(2, 2, 2, 2)),                       \
  CASE(op, "none", 1, IN(0, 2, 2)), CASE(op, "large", 1, IN(50, 50))
#define THIN(op)                                                                                   \
  CASE(op, "square", 1, IN(4, 4)), CASE(op, "tall", 1, IN(5, 3)), CASE(op, "wide", 1, IN(3, 5)),   \
  CASE(op, "one", 1, IN(1, 1)), CASE(op, "column", 1, IN(4, 1)), CASE(op, "row", 1, IN(1, 4)),     \
  CASE(op, "batch", 1, IN(2, 4, 3)), CASE(op, "none", 1, IN(0, 2, 3))

static const gradient_case cases[] = {
    CASE(solve, "", 2, IN(4, 4), IN(4, 3)), CASE(solve, "one", 2, IN(1, 1), IN(1, 1)),
    CASE(solve, "batch", 2, IN(2, 3, 3), IN(2, 3, 1)),
    CASE(solve, "shared matrix", 2, IN(3, 3), IN(2, 2, 3, 2)),
    CASE(solve, "shared right side", 2, IN(2, 3, 3), IN(3, 2)),
    CASE(solve, "crossed", 2, IN(2, 1, 2, 2), IN(1, 3, 2, 2)),
    CASE(solve, "none", 2, IN(0, 3, 3), IN(0, 3, 2)), CASE(solve, "no columns", 2, IN(3, 3), IN(3, 0)),
    CASE(solve, "no rows", 2, IN(2, 0, 0), IN(2, 0, 2)),
    CASE(solve, "large", 2, IN(50, 50), IN(50, 3)),
    CASE(solve, "many", 2, IN(70, 12, 12), IN(70, 12, 2)),
    SYSTEM(lower), SYSTEM(upper), SYSTEM(lower_t), SYSTEM(upper_t),
    RIGHT(lower_right), RIGHT(upper_right), RIGHT(lower_t_right), RIGHT(upper_t_right),
    WITH(solve_triangular, lower, "one", 2, IN(1, 1), IN(1, 1)),
    WITH(solve_triangular, lower, "none", 2, IN(0, 2, 2), IN(2, 3)),
    WITH(solve_triangular, upper_right, "shared matrix", 2, IN(2, 2), IN(3, 2, 2)),
    CASE(cholesky_solve, "", 2, IN(4, 4), IN(4, 2)), CASE(cholesky_solve, "one", 2, IN(1, 1), IN(1, 1)),
    CASE(cholesky_solve, "batch", 2, IN(2, 3, 3), IN(2, 3, 2)),
    CASE(cholesky_solve, "none", 2, IN(0, 3, 3), IN(0, 3, 2)),
    SQUARE(inverse), SQUARE(log_det), SQUARE(cholesky_log_det), SQUARE(cholesky),
    WITH(log_det, sign_log_det, "with its sign", 1, IN(2, 3, 3)),
    WITH(log_det, log_det, "of nothing", 1, IN(2, 0, 0)),
    WITH(cholesky, cholesky_skew, "not symmetric", 2, IN(3, 3), IN(3, 3)),
    WITH(cholesky, cholesky, "many", 1, IN(90, 11, 11)),

    THIN(qr), WITH(qr, qr_q, "Q alone", 1, IN(4, 3)), WITH(qr, qr_r, "R alone", 1, IN(3, 3)),
    WITH(qr, qr_q, "Q alone, wide", 1, IN(2, 4)), WITH(qr, qr_r, "R alone, wide", 1, IN(2, 4)),
    WITH(qr, qr, "large", 1, IN(60, 10)), WITH(qr, qr, "large, wide", 1, IN(10, 60)),
    THIN(svd), WITH(svd, svd_u, "U alone", 1, IN(4, 3)), WITH(svd, svd_vt, "V alone", 1, IN(3, 4)),
    WITH(svd, svd_values, "values alone", 1, IN(4, 3)),
    WITH(svd, svd_values, "large, values", 1, IN(20, 60)),
    WITH(svd, svd_polar, "large", 1, IN(50, 50)),
    SQUARE(eigen_symmetric), WITH(eigen_symmetric, eigen_values, "values alone", 1, IN(3, 3)),
    WITH(eigen_symmetric, eigen_vectors, "vectors alone", 1, IN(2, 3, 3)),
    WITH(eigen_symmetric, eigen_function, "function", 1, IN(4, 4)),
    WITH(eigen_symmetric, eigen_function, "large, function", 1, IN(60, 60)),

    SQUARE(symmetric_log), SQUARE(symmetric_power),
    WITH(symmetric_power, root_skew, "not symmetric", 2, IN(3, 3), IN(3, 3)),

    CASE(matrix_exp, "", 1, IN(4, 4)), CASE(matrix_exp, "one", 1, IN(1, 1)),
    CASE(matrix_exp, "batch", 1, IN(2, 3, 3)), CASE(matrix_exp, "none", 1, IN(0, 2, 2)),
    CASE(matrix_exp, "of nothing", 1, IN(2, 0, 0)),
    WITH(matrix_exp, exp_tiny, "order 3", 1, IN(3, 3)),
    WITH(matrix_exp, exp_small, "order 5", 1, IN(3, 3)),
    WITH(matrix_exp, exp_medium, "order 7", 1, IN(3, 3)),
    WITH(matrix_exp, exp_large, "squarings", 1, IN(3, 3)),
    WITH(matrix_exp, exp_small, "large", 1, IN(50, 50)),
};
/* clang-format on */
FAMILY(linear_algebra);
