/* Agreement with PyTorch: linear algebra. */
#include "support/golden.h"

#include <mica/linear_algebra.h>
#include <mica/ops.h>

#include <string.h>

static mica_engine *engine;

#define RUN(name, ...)                                                                             \
  static mica_var name(golden_case *b) {                                                           \
    mica_tape *t = b->t;                                                                           \
    return __VA_ARGS__;                                                                            \
  }
#define X golden_leaf(b, "x")
#define Z golden_leaf(b, "z")

static mica_var eye(mica_tape *t, mica_var x, double value) {
  const int64_t n = mica_dim(t, x, -1);
  double one[16] = {0};
  for (int64_t i = 0; i < n && n <= 4; i++) one[i * n + i] = value;
  const mica_view v = mica_view_of(one, MICA_F64, MICA_SHAPE(n, n));
  return mica_cast(t, mica_constant(t, &v), mica_dtype_of(t, x));
}

static mica_var positive(mica_tape *t, mica_var x) {
  return mica_add(t, mica_matmul_t(t, x, false, x, true),
                  eye(t, x, (double)mica_dim(t, x, -1) / 2));
}

static mica_var dominant(mica_tape *t, mica_var x) {
  return mica_add(t, x, eye(t, x, (double)mica_dim(t, x, -1)));
}

static mica_var row(mica_tape *t, int n, const mica_var *parts) {
  mica_var flat[3];
  for (int i = 0; i < n; i++) flat[i] = mica_flatten(t, parts[i], 0);
  return mica_concat(t, n, flat, 0);
}

RUN(solve, mica_solve(t, dominant(t, X), Z))
RUN(triangular_lower, mica_solve_triangular(t, dominant(t, X), Z, false, false, true))
RUN(triangular_upper_turned_right,
    mica_solve_triangular(t, dominant(t, X), mica_transpose(t, Z, 1, 2), true, true, false))
RUN(cholesky_solve, mica_cholesky_solve(t, dominant(t, X), Z))
RUN(inverse, mica_inverse(t, dominant(t, X)))
RUN(cholesky, mica_cholesky(t, positive(t, X)))
RUN(cholesky_log_det, mica_cholesky_log_det(t, mica_cholesky(t, positive(t, X))))
RUN(matrix_exp, mica_matrix_exp(t, X))
RUN(matrix_exp_large, mica_matrix_exp(t, mica_affine(t, X, 3, 0)))

static mica_var log_det(golden_case *b) {
  mica_var sign, y = mica_log_det(b->t, X, &sign);
  return mica_mul(b->t, sign, y);
}
static mica_var qr(golden_case *b) {
  mica_var y[2];
  y[0] = mica_qr(b->t, X, &y[1]);
  return row(b->t, 2, y);
}
static mica_var svd(golden_case *b) {
  mica_var y[3];
  y[0] = mica_svd(b->t, X, &y[1], &y[2]);
  return row(b->t, 3, y);
}
static mica_var eigen(golden_case *b) {
  mica_var y[2];
  y[0] = mica_eigen_symmetric(b->t, X, &y[1]);
  return row(b->t, 2, y);
}

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {
    CASE(solve),          CASE(triangular_lower), CASE(triangular_upper_turned_right),
    CASE(cholesky_solve), CASE(inverse),          CASE(log_det),
    CASE(cholesky),       CASE(cholesky_log_det), CASE(eigen),
    CASE(matrix_exp),     CASE(matrix_exp_large), {"solve_shared", solve},
    {"qr_tall", qr},      {"qr_wide", qr},        {"svd_tall", svd},
    {"svd_wide", svd},
};

static void test_linear_algebra(void **state) {
  (void)state;
  mica_archive *archive = golden_open(GOLDEN_FOLDER "linear_algebra.safetensors");
  int stored = 0;
  for (int64_t i = 0; i < mica_archive_count(archive); i++) {
    const char *name = mica_archive_name(archive, i);
    stored += strcmp(name + strlen(name) - 2, ".y") == 0;
  }
  assert_int_equal(stored, sizeof cases / sizeof *cases);
  assert_int_equal(golden_run(engine, archive, cases, sizeof cases / sizeof *cases), 0);
  mica_archive_close(archive);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_linear_algebra)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
