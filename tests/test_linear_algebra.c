/* Matrices that linear algebra cannot do, and those on the edge: equal and vanishing values,
 * whose gradient must be that of a loss which does not depend on the choice of vectors. */
#include "support/failing_alloc.h"

#include <mica/linear_algebra.h>
#include <mica/ops.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

#define SIDE 60 /* beyond what own code does where there is LAPACK */

static mica_var matrices(mica_tape *t, const double *x, mica_shape shape, bool leaf) {
  mica_tensor *tensor;
  const mica_view v = mica_view_of((void *)(uintptr_t)x, MICA_F64, shape);
  assert_int_equal(mica_tensor_from_view(&v, MICA_F64, &tensor), MICA_OK);
  mica_var y = leaf ? mica_leaf(t, tensor) : mica_input(t, tensor);
  mica_tensor_free(tensor);
  return y;
}

static mica_tape *tape(void) {
  mica_tape *t;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  return t;
}

/* ---- errors ---- */

typedef mica_var (*single_fn)(mica_tape *t, mica_var a);
static mica_var qr(mica_tape *t, mica_var a) {
  mica_var r;
  return mica_qr(t, a, &r);
}
static mica_var svd(mica_tape *t, mica_var a) {
  mica_var s, vt;
  return mica_svd(t, a, &s, &vt);
}
static mica_var eigen(mica_tape *t, mica_var a) {
  return mica_eigen_symmetric(t, a, NULL);
}
static mica_var log_det(mica_tape *t, mica_var a) {
  mica_var sign;
  return mica_log_det(t, a, &sign);
}
static mica_var solve(mica_tape *t, mica_var a) {
  return mica_solve(t, a, a);
}
static mica_var triangular(mica_tape *t, mica_var a) {
  return mica_solve_triangular(t, a, a, true, false, true);
}

/* `batch` unit matrices, in the last of which the last element of the diagonal is `odd`. */
static void expect(single_fn fn, int64_t batch, int64_t n, double odd, const char *words) {
  static double x[7 * SIDE * SIDE];
  assert_true(batch * n * n <= (int64_t)(sizeof x / sizeof *x));
  memset(x, 0, sizeof x);
  for (int64_t i = 0; i < batch; i++)
    for (int64_t j = 0; j < n; j++) x[(i * n + j) * n + j] = 1;
  x[batch * n * n - 1] = odd;
  mica_tape *t = tape();
  assert_true(mica_is_none(fn(t, matrices(t, x, MICA_SHAPE(batch, n, n), true))));
  assert_int_equal(mica_tape_status(t), MICA_ERR_NUMERIC);
  if (!strstr(mica_tape_error(t), words))
    fail_msg("\"%s\" does not say \"%s\"", mica_tape_error(t), words);
  mica_tape_free(t);
}

static void test_impossible_matrices(void **state) {
  (void)state;
  for (int64_t n = 3; n <= SIDE; n += SIDE - 3) {
    const char *last = "matrix 7 of 7";
    expect(mica_cholesky, 7, n, -1, last);
    expect(mica_cholesky, 7, n, 0, "not positive definite");
    expect(mica_symmetric_log, 7, n, 0, last);
    expect(mica_symmetric_log, 7, n, -1, "not positive definite");
    expect(mica_inverse, 7, n, 0, "singular");
    expect(mica_inverse, 7, n, 0, last);
    expect(solve, 7, n, 0, "singular");
    expect(solve, 1, n, 0, "matrix 1 of 1");
    expect(log_det, 7, n, 0, "singular");
    expect(triangular, 7, n, 0, "diagonal is zero");
    expect(mica_cholesky_log_det, 7, n, -2, last);
    expect(mica_matrix_exp, 7, n, 1000, "overflows");
    const single_fn all[] = {mica_cholesky,
                             mica_inverse,
                             solve,
                             log_det,
                             triangular,
                             qr,
                             svd,
                             eigen,
                             mica_cholesky_log_det,
                             mica_matrix_exp,
                             mica_symmetric_log};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
      expect(all[i], 7, n, NAN, last);
      expect(all[i], 2, n, INFINITY, "matrix 2 of 2");
    }
  }
}

static void test_shapes(void **state) {
  (void)state;
  const double x[12] = {0};
  const struct {
    mica_shape a, b;
  } wrong[] = {{MICA_SHAPE(2, 3), MICA_SHAPE(3, 1)},
               {MICA_SHAPE(2, 2), MICA_SHAPE(3, 1)},
               {MICA_SHAPE(2, 2), MICA_SHAPE(2)},
               {MICA_SHAPE(2, 2, 2), MICA_SHAPE(3, 2, 1)}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    for (int which = 0; which < 2; which++) {
      mica_tape *t = tape();
      mica_var a = matrices(t, x, wrong[i].a, true), b = matrices(t, x, wrong[i].b, true);
      assert_true(mica_is_none(which ? mica_solve(t, a, b)
                                     : mica_solve_triangular(t, a, b, true, true, true)));
      assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
      mica_tape_free(t);
    }
  const single_fn square[] = {mica_cholesky, mica_inverse,          log_det,
                              eigen,         mica_cholesky_log_det, mica_matrix_exp};
  for (size_t i = 0; i < sizeof square / sizeof *square; i++) {
    mica_tape *t = tape();
    assert_true(mica_is_none(square[i](t, matrices(t, x, MICA_SHAPE(2, 3), true))));
    assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
    mica_tape_free(t);
  }
  const single_fn any[] = {qr, svd};
  for (size_t i = 0; i < 2; i++) {
    mica_tape *t = tape();
    assert_true(mica_is_none(any[i](t, matrices(t, x, MICA_SHAPE(4), true))));
    assert_int_equal(mica_tape_status(t), MICA_ERR_SHAPE);
    mica_tape_free(t);
  }
}

/* A matrix that depends on itself has factors, but backward must refuse. */
static void test_dependent_columns(void **state) {
  (void)state;
  const double x[6] = {1, 2, 1, 2, 1, 2};
  mica_tape *t = tape();
  mica_var r, q = mica_qr(t, matrices(t, x, MICA_SHAPE(3, 2), true), &r);
  assert_true(mica_ok(t));
  assert_int_equal(mica_backward(t, mica_sum(t, q, 0, NULL, false)), MICA_ERR_NUMERIC);
  assert_non_null(strstr(mica_tape_error(t), "column 1"));
  mica_tape_free(t);
}

/* ---- equal and vanishing values ---- */

static const double weight[9] = {0.3, -0.7, 0.2, 0.9, 0.4, -0.5, -0.1, 0.8, 0.6};

/* Of the sum of squares of the values the gradient is 2 A; of the vectors alone it is finite. */
static void test_equal_eigenvalues(void **state) {
  (void)state;
  const double diagonals[][3] = {
      {2, 2, 2}, {1, 2, 2}, {0, 0, 0}, {2, 2 + 1e-15, 2 + 1e-9}, {0, 0, 1}};
  for (size_t k = 0; k < sizeof diagonals / sizeof *diagonals; k++) {
    const double *d = diagonals[k];
    const double x[9] = {d[0], 0, 0, 0, d[1], 0, 0, 0, d[2]};
    mica_tape *t = tape();
    mica_var a = matrices(t, x, MICA_SHAPE(3, 3), true), v;
    mica_var w = mica_eigen_symmetric(t, a, NULL);
    assert_int_equal(mica_backward(t, mica_sum(t, mica_square(t, w), 0, NULL, false)), MICA_OK);
    mica_view g = mica_read(t, mica_gradient(t, a));
    for (int i = 0; i < 9; i++) assert_true(fabs(((const double *)g.data)[i] - 2 * x[i]) < 1e-12);
    mica_tape_reset(t);
    a = matrices(t, x, MICA_SHAPE(3, 3), true);
    mica_eigen_symmetric(t, a, &v);
    v = mica_mul(t, v, matrices(t, weight, MICA_SHAPE(3, 3), false));
    assert_int_equal(mica_backward(t, mica_sum(t, v, 0, NULL, false)), MICA_OK);
    g = mica_read(t, mica_gradient(t, a));
    for (int i = 0; i < 9; i++) assert_true(isfinite(((const double *)g.data)[i]));
    mica_tape_free(t);
  }
}

/* w . A^2 of A = D has the gradient (w D + D w), made symmetric, and w . log A that of divided
 * differences; equal values are no exception. */
static void test_functions_of_equal_values(void **state) {
  (void)state;
  const double diagonals[][3] = {{2, 2, 2}, {1, 2, 2}, {2, 2 + 1e-15, 2 + 1e-9}, {1, 5, 7}};
  for (size_t k = 0; k < sizeof diagonals / sizeof *diagonals; k++)
    for (int logarithm = 0; logarithm < 2; logarithm++) {
      const double *d = diagonals[k];
      const double x[9] = {d[0], 0, 0, 0, d[1], 0, 0, 0, d[2]};
      mica_tape *t = tape();
      mica_var a = matrices(t, x, MICA_SHAPE(3, 3), true);
      mica_var y = logarithm ? mica_symmetric_log(t, a) : mica_symmetric_power(t, a, 2);
      y = mica_mul(t, y, matrices(t, weight, MICA_SHAPE(3, 3), false));
      assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
      const mica_view g = mica_read(t, mica_gradient(t, a));
      for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
          double slope = d[i] + d[j];
          if (logarithm) /* the midpoint's where rounding would spoil the quotient */
            slope = fabs(d[i] - d[j]) < 1e-6 ? 2 / slope : log(d[i] / d[j]) / (d[i] - d[j]);
          const double want = (weight[i * 3 + j] + weight[j * 3 + i]) / 2 * slope;
          assert_true(fabs(((const double *)g.data)[i * 3 + j] - want) < 1e-12);
        }
      mica_tape_free(t);
    }
}

/* w . U V^T of a matrix near c Q: for A = c I, d(U V^T) = (dA - dA^T) / (2 c). */
static void test_equal_singular_values(void **state) {
  (void)state;
  const double x[9] = {2, 0, 0, 0, 2, 0, 0, 0, 2};
  mica_tape *t = tape();
  mica_var a = matrices(t, x, MICA_SHAPE(3, 3), true), s, vt, u = mica_svd(t, a, &s, &vt);
  mica_var y = mica_mul(t, mica_matmul(t, u, vt), matrices(t, weight, MICA_SHAPE(3, 3), false));
  assert_int_equal(mica_backward(t, mica_sum(t, y, 0, NULL, false)), MICA_OK);
  const mica_view g = mica_read(t, mica_gradient(t, a));
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) {
      const double want = (weight[i * 3 + j] - weight[j * 3 + i]) / 4;
      assert_true(fabs(((const double *)g.data)[i * 3 + j] - want) < 1e-9);
    }
  mica_tape_free(t);
}

/* Of the sum of squares of the values the gradient is 2 A, whatever the rank; of the vectors alone
 * it is finite. */
static void test_vanishing_singular_values(void **state) {
  (void)state;
  const double ranks[][12] = {{0}, {1, 2, 3, 4, 2, 4, 6, 8, -1, -2, -3, -4}};
  for (size_t k = 0; k < 2; k++)
    for (int tall = 0; tall < 2; tall++) {
      mica_tape *t = tape();
      mica_var a = matrices(t, ranks[k], tall ? MICA_SHAPE(4, 3) : MICA_SHAPE(3, 4), true);
      mica_var s, vt, u = mica_svd(t, a, &s, &vt);
      mica_var loss = mica_sum(t, mica_square(t, s), 0, NULL, false);
      assert_int_equal(mica_backward(t, loss), MICA_OK);
      mica_view g = mica_read(t, mica_gradient(t, a));
      for (int i = 0; i < 12; i++)
        assert_true(fabs(((const double *)g.data)[i] - 2 * ranks[k][i]) < 1e-12);
      mica_tape_reset(t);
      a = matrices(t, ranks[k], tall ? MICA_SHAPE(4, 3) : MICA_SHAPE(3, 4), true);
      u = mica_svd(t, a, &s, &vt);
      loss = mica_add(t, mica_sum(t, u, 0, NULL, false), mica_sum(t, vt, 0, NULL, false));
      assert_int_equal(mica_backward(t, loss), MICA_OK);
      g = mica_read(t, mica_gradient(t, a));
      for (int i = 0; i < 12; i++) assert_true(isfinite(((const double *)g.data)[i]));
      mica_tape_free(t);
    }
}

/* Own code and LAPACK choose the same signs. */
static void test_signs(void **state) {
  (void)state;
  static double x[SIDE * SIDE];
  for (int i = 0; i < SIDE * SIDE; i++)
    x[i] = mica_random_uniform(mica_key_seed(3), (uint64_t)i) - 0.5;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.libraries = 0;
  mica_engine *own;
  assert_int_equal(mica_engine_create(&o, &own), MICA_OK);
  mica_engine *engines[2] = {engine, own};
  mica_tape *t[2];
  mica_view v[2][5];
  for (int e = 0; e < 2; e++) {
    assert_int_equal(mica_tape_create(engines[e], NULL, &t[e]), MICA_OK);
    mica_var a = matrices(t[e], x, MICA_SHAPE(SIDE, SIDE), true), s, vt, r, w;
    v[e][0] = mica_read(t[e], mica_svd(t[e], a, &s, &vt));
    v[e][1] = mica_read(t[e], vt);
    v[e][2] = mica_read(t[e], mica_qr(t[e], a, &r));
    v[e][3] = mica_read(t[e], r);
    mica_eigen_symmetric(t[e], a, &w);
    v[e][4] = mica_read(t[e], w);
    assert_true(mica_ok(t[e]));
  }
  for (int k = 0; k < 5; k++)
    for (int i = 0; i < SIDE * SIDE; i++)
      assert_true(fabs(((const double *)v[0][k].data)[i] - ((const double *)v[1][k].data)[i]) <
                  1e-8);
  for (int e = 0; e < 2; e++) mica_tape_free(t[e]);
  mica_engine_free(own);
}

/* ---- memory ---- */

/* Two matrices of float32, so that every operand is copied. */
static mica_status use_all(void *ctx) {
  (void)ctx;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = 0;
  mica_engine *own;
  mica_tape *t = NULL;
  mica_tensor *x = NULL;
  mica_status status = mica_engine_create(&o, &own);
  if (status != MICA_OK) return status;
  status = mica_tensor_create(MICA_F32, MICA_SHAPE(2, 3, 3), &x);
  if (status == MICA_OK) {
    for (int i = 0; i < 2; i++) /* 2 I + 1 / 2 */
      for (int k = 0; k < 9; k++) mica_tensor_set(x, i * 9 + k, k % 4 ? 0.5 : 2.5);
    status = mica_tape_create(own, NULL, &t);
  }
  if (status == MICA_OK) {
    mica_var a = mica_leaf(t, x), r, s, vt, v, sum = MICA_NONE;
    mica_var l = mica_cholesky(t, a), u = mica_svd(t, a, &s, &vt);
    mica_var w = mica_eigen_symmetric(t, a, &v), b = mica_matmul(t, mica_qr(t, a, &r), r);
    const mica_var all[] = {mica_cholesky_solve(t, l, b),
                            mica_solve(t, a, b),
                            mica_inverse(t, a),
                            mica_matmul(t, u, vt),
                            mica_mul(t, v, mica_reshape(t, s, MICA_SHAPE(2, 1, 3))),
                            mica_symmetric_power(t, a, 0.5),
                            mica_matrix_exp(t, a),
                            mica_log_det(t, a, NULL),
                            mica_cholesky_log_det(t, l),
                            w};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
      mica_var y = mica_sum(t, all[i], 0, NULL, false);
      sum = i ? mica_add(t, sum, y) : y;
    }
    status = mica_backward(t, sum);
  }
  mica_tape_free(t);
  mica_tensor_free(x);
  mica_engine_free(own);
  return status;
}

static void test_memory(void **state) {
  (void)state;
  failing_alloc_install();
  assert_true(fail_each(use_all, NULL) > 20);
  failing_alloc_remove();
}

int main(void) {
  const struct CMUnitTest memory[] = {cmocka_unit_test(test_memory)};
  int failed = cmocka_run_group_tests(memory, NULL, NULL);
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_impossible_matrices),
                                     cmocka_unit_test(test_shapes),
                                     cmocka_unit_test(test_dependent_columns),
                                     cmocka_unit_test(test_equal_eigenvalues),
                                     cmocka_unit_test(test_functions_of_equal_values),
                                     cmocka_unit_test(test_equal_singular_values),
                                     cmocka_unit_test(test_vanishing_singular_values),
                                     cmocka_unit_test(test_signs)};
  failed += cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
