/* Factorisations: each is checked by what defines it (products give back the matrix, factors are
 * orthogonal or triangular), with LAPACK and with own code, both element types, strided rows. */
#include "support/test.h"
#include "tensor/kernel/lapack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engines[2]; /* without and with libraries */

static int set_up(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.libraries = i;
    o.threads = 1;
    if (mica_engine_create(&o, &engines[i]) != MICA_OK) return -1;
  }
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) mica_engine_free(engines[i]);
  return 0;
}

static const mica_dtype dtypes[] = {MICA_F32, MICA_F64};
static const double tolerances[] = {2e-5, 1e-11};
enum { PAD = 3 }; /* spare columns of strided operands */

static uint64_t random_state = 1;
static double draw(void) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7,
      random_state ^= random_state << 17;
  return ldexp((double)(random_state >> 11), -52) - 1;
}

/* Matrices live in doubles (dense); `pack` makes the operand, `unpack` reads it back. */
static double *dense(int64_t m, int64_t n) {
  double *a = calloc((size_t)(m * n) + 1, sizeof *a);
  assert_non_null(a);
  return a;
}

static double *random_matrix(int64_t m, int64_t n) {
  double *a = dense(m, n);
  for (int64_t i = 0; i < m * n; i++) a[i] = (double)(float)draw(); /* exact in both types */
  return a;
}

static void *pack(mica_dtype dtype, int64_t m, int64_t n, int64_t ld, const double *a) {
  void *to = calloc((size_t)(m * ld) + 1, mica_dtype_size(dtype));
  assert_non_null(to);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < ld; j++) {
      const double x = j < n ? a[i * n + j] : 7;
      if (dtype == MICA_F32)
        ((float *)to)[i * ld + j] = (float)x;
      else
        ((double *)to)[i * ld + j] = x;
    }
  return to;
}

static double *unpack(mica_dtype dtype, int64_t m, int64_t n, int64_t ld, const void *a) {
  double *to = dense(m, n);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < ld; j++) {
      const double x = dtype == MICA_F32 ? (double)((const float *)a)[i * ld + j]
                                         : ((const double *)a)[i * ld + j];
      if (j < n)
        to[i * n + j] = x;
      else
        assert_true(x == 7); /* spare columns are left alone */
    }
  return to;
}

/* c = op(a) op(b), op(a) m x k, op(b) k x n */
static double *product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a,
                       const double *b) {
  double *c = dense(m, n);
  for (int64_t i = 0; i < m; i++)
    for (int64_t p = 0; p < k; p++) {
      const double x = ta ? a[p * m + i] : a[i * k + p];
      for (int64_t j = 0; j < n; j++) c[i * n + j] += x * (tb ? b[j * k + p] : b[p * n + j]);
    }
  return c;
}

static void assert_close(const char *what, int64_t n, const double *got, const double *want,
                         double tolerance) {
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(got[i] - want[i]) <= tolerance))
      fail_msg("%s: element %lld is %.17g, not %.17g", what, (long long)i, got[i], want[i]);
}

static void assert_orthonormal(const char *what, bool columns, int64_t m, int64_t n,
                               const double *q, double tolerance) {
  const int64_t r = columns ? n : m;
  double *g = columns ? product(true, false, r, r, m, q, q) : product(false, true, r, r, n, q, q);
  for (int64_t i = 0; i < r; i++) g[i * r + i] -= 1;
  double *zero = dense(r, r);
  assert_close(what, r * r, g, zero, tolerance);
  free(g);
  free(zero);
}

static double *positive(int64_t n) {
  double *b = random_matrix(n, n), *a = product(false, true, n, n, n, b, b);
  for (int64_t i = 0; i < n * n; i++) a[i] = (double)(float)a[i];
  for (int64_t i = 0; i < n; i++) a[i * n + i] += (double)n / 4 + 1;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < i; j++) a[j * n + i] = a[i * n + j];
  free(b);
  return a;
}

static const int64_t sizes[] = {1, 2, 5, 17, 70};
#define EVERY_CASE                                                                                 \
  for (int e = 0; e < 2; e++)                                                                      \
    for (int t = 0; t < 2; t++)                                                                    \
      for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)

static void test_cholesky(void **state) {
  (void)state;
  EVERY_CASE {
    const int64_t n = sizes[z], ld = n + PAD;
    const double tolerance = tolerances[t] * (double)n;
    double *a = positive(n), *spoilt = dense(n, n);
    memcpy(spoilt, a, (size_t)(n * n) * sizeof *a);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = i + 1; j < n; j++) spoilt[i * n + j] = (double)NAN; /* must not be read */
    void *x = pack(dtypes[t], n, n, ld, spoilt);
    assert_int_equal(mica_lapack_cholesky(engines[e], dtypes[t], n, x, ld), MICA_OK);
    double *l = unpack(dtypes[t], n, n, ld, x), *back = product(false, true, n, n, n, l, l);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = i + 1; j < n; j++) assert_true(l[i * n + j] == 0);
    assert_close("L L^T", n * n, back, a, tolerance * 4);
    /* A X = B with the same matrix */
    double *want = random_matrix(n, 3), *b = product(false, false, n, 3, n, a, want);
    void *pa = pack(dtypes[t], n, n, ld, spoilt), *pb = pack(dtypes[t], n, 3, 3 + PAD, b);
    assert_int_equal(mica_lapack_solve_positive(engines[e], dtypes[t], n, 3, pa, ld, pb, 3 + PAD),
                     MICA_OK);
    double *got = unpack(dtypes[t], n, 3, 3 + PAD, pb);
    assert_close("solve_positive", n * 3, got, want, tolerance);
    a[(n - 1) * n + n - 1] = -1;
    void *bad = pack(dtypes[t], n, n, n, a);
    assert_int_equal(mica_lapack_cholesky(engines[e], dtypes[t], n, bad, n), MICA_ERR_NUMERIC);
    free(a), free(spoilt), free(x), free(l), free(back), free(want), free(b), free(pa), free(pb),
        free(got), free(bad);
  }
}

static void test_triangular(void **state) {
  (void)state;
  EVERY_CASE for (int form = 0; form < 8; form++) {
    const bool lower = form & 1, trans = form & 2;
    const int64_t n = sizes[z], ld = n + PAD, nrhs = form & 4 ? 55 : 2;
    double *a = random_matrix(n, n), *clean = dense(n, n);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < n; j++) {
        if (i == j)
          a[i * n + j] = 2 + (double)(i % 3);
        else if (lower ? j < i : j > i)
          a[i * n + j] = (double)(float)(a[i * n + j] / (double)n);
        else {
          a[i * n + j] = (double)NAN;
          continue;
        }
        clean[i * n + j] = a[i * n + j];
      }
    double *want = random_matrix(n, nrhs), *b = product(trans, false, n, nrhs, n, clean, want);
    void *pa = pack(dtypes[t], n, n, ld, a), *pb = pack(dtypes[t], n, nrhs, nrhs + PAD, b);
    assert_int_equal(mica_lapack_solve_triangular(engines[e], dtypes[t], lower, trans, n, nrhs, pa,
                                                  ld, pb, nrhs + PAD),
                     MICA_OK);
    double *got = unpack(dtypes[t], n, nrhs, nrhs + PAD, pb);
    assert_close("triangular", n * nrhs, got, want, tolerances[t]);
    a[0] = 0;
    void *bad = pack(dtypes[t], n, n, n, a);
    assert_int_equal(mica_lapack_solve_triangular(engines[e], dtypes[t], lower, trans, n, nrhs, bad,
                                                  n, pb, nrhs + PAD),
                     MICA_ERR_NUMERIC);
    free(a), free(clean), free(want), free(b), free(pa), free(pb), free(got), free(bad);
  }
}

static void test_lu(void **state) {
  (void)state;
  EVERY_CASE {
    const int64_t n = sizes[z], ld = n + PAD;
    double *a = random_matrix(n, n);
    for (int64_t i = 0; i < n; i++)
      a[(n - 1 - i) * n + i] += (double)n; /* rows must change places */
    double *want = random_matrix(n, 4), *b = product(false, false, n, 4, n, a, want);
    void *pa = pack(dtypes[t], n, n, ld, a), *pb = pack(dtypes[t], n, 4, 4 + PAD, b);
    assert_int_equal(mica_lapack_solve(engines[e], dtypes[t], n, 4, pa, ld, pb, 4 + PAD), MICA_OK);
    double *got = unpack(dtypes[t], n, 4, 4 + PAD, pb);
    assert_close("solve", n * 4, got, want, tolerances[t]);
    /* det(A D) = det A * prod D, and a swap of rows turns the sign */
    double log_abs, log_scaled;
    int sign, turned;
    assert_int_equal(mica_lapack_log_det(engines[e], dtypes[t], n, pa, ld, &log_abs, &sign),
                     MICA_OK);
    assert_true(sign == 1 || sign == -1);
    double *scaled = dense(n, n);
    for (int64_t i = 0; i < n * n; i++) scaled[i] = 2 * a[i];
    for (int64_t j = 0; n > 1 && j < n; j++) {
      const double x = scaled[j];
      scaled[j] = scaled[n + j];
      scaled[n + j] = x;
    }
    void *ps = pack(dtypes[t], n, n, ld, scaled);
    assert_int_equal(mica_lapack_log_det(engines[e], dtypes[t], n, ps, ld, &log_scaled, &turned),
                     MICA_OK);
    assert_true(fabs(log_scaled - log_abs - (double)n * log(2)) <= 1e-9);
    assert_int_equal(turned, n > 1 ? -sign : sign);
    for (int64_t j = 0; j < n; j++) a[(n - 1) * n + j] = 0; /* singular */
    void *bad = pack(dtypes[t], n, n, ld, a);
    assert_int_equal(mica_lapack_solve(engines[e], dtypes[t], n, 4, bad, ld, pb, 4 + PAD),
                     MICA_ERR_NUMERIC);
    assert_int_equal(mica_lapack_log_det(engines[e], dtypes[t], n, bad, ld, &log_abs, &sign),
                     MICA_OK);
    assert_int_equal(sign, 0);
    assert_true(isinf(log_abs) && log_abs < 0);
    free(a), free(want), free(b), free(pa), free(pb), free(got), free(scaled), free(ps), free(bad);
  }
  double two[4] = {1, 2, 3, 4}, log_abs;
  int sign;
  assert_int_equal(mica_lapack_log_det(engines[0], MICA_F64, 2, two, 2, &log_abs, &sign), MICA_OK);
  assert_int_equal(sign, -1);
  assert_true(fabs(log_abs - log(2)) < 1e-14);
  assert_int_equal(mica_lapack_log_det(engines[0], MICA_F64, 0, two, 0, &log_abs, &sign), MICA_OK);
  assert_true(sign == 1 && log_abs == 0);
}

static void test_eigen(void **state) {
  (void)state;
  EVERY_CASE {
    const int64_t n = sizes[z], ld = n + PAD;
    double *a = random_matrix(n, n);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = i; j < n; j++) a[i * n + j] = a[j * n + i];
    void *pa = pack(dtypes[t], n, n, ld, a);
    void *values = malloc((size_t)n * 8), *vectors = malloc((size_t)(n * n) * 8),
         *alone = malloc((size_t)n * 8);
    assert_int_equal(mica_lapack_eigen(engines[e], dtypes[t], n, pa, ld, values, vectors), MICA_OK);
    assert_int_equal(mica_lapack_eigen(engines[e], dtypes[t], n, pa, ld, alone, NULL), MICA_OK);
    double *w = unpack(dtypes[t], 1, n, n, values), *w2 = unpack(dtypes[t], 1, n, n, alone);
    double *v = unpack(dtypes[t], n, n, n, vectors), *av = product(false, false, n, n, n, a, v);
    double *vw = dense(n, n);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < n; j++) vw[i * n + j] = v[i * n + j] * w[j];
    const double tolerance = tolerances[t] * 10;
    assert_close("A V", n * n, av, vw, tolerance);
    assert_orthonormal("V", true, n, n, v, tolerance);
    assert_close("values alone", n, w2, w, tolerance);
    for (int64_t i = 1; i < n; i++) assert_true(w[i] >= w[i - 1]);
    free(a), free(pa), free(values), free(vectors), free(alone), free(w), free(w2), free(v),
        free(av), free(vw);
  }
}

static const int64_t rectangles[][2] = {{1, 1}, {1, 6},   {6, 1},   {5, 5},  {7, 4},
                                        {4, 7}, {80, 20}, {20, 80}, {64, 64}};

static void test_svd(void **state) {
  (void)state;
  for (int e = 0; e < 2; e++)
    for (int t = 0; t < 2; t++)
      for (size_t z = 0; z < sizeof rectangles / sizeof *rectangles; z++)
        for (int poor = 0; poor < 3; poor++) { /* full rank, repeated rows, zero */
          const int64_t m = rectangles[z][0], n = rectangles[z][1], r = m < n ? m : n, ld = n + PAD;
          double *a = random_matrix(m, n);
          if (poor == 1)
            for (int64_t i = 1; i < m; i += 2)
              memcpy(a + i * n, a + (i - 1) * n, (size_t)n * sizeof *a);
          if (poor == 2) memset(a, 0, (size_t)(m * n) * sizeof *a);
          void *pa = pack(dtypes[t], m, n, ld, a);
          void *pu = malloc((size_t)(m * r) * 8), *ps = malloc((size_t)r * 8),
               *pv = malloc((size_t)(r * n) * 8);
          void *alone = malloc((size_t)r * 8);
          assert_int_equal(mica_lapack_svd(engines[e], dtypes[t], m, n, pa, ld, pu, ps, pv),
                           MICA_OK);
          assert_int_equal(mica_lapack_svd(engines[e], dtypes[t], m, n, pa, ld, NULL, alone, NULL),
                           MICA_OK);
          double *u = unpack(dtypes[t], m, r, r, pu), *s = unpack(dtypes[t], 1, r, r, ps);
          double *vt = unpack(dtypes[t], r, n, n, pv), *s2 = unpack(dtypes[t], 1, r, r, alone);
          const double tolerance = tolerances[t] * 10;
          assert_orthonormal("U", true, m, r, u, tolerance);
          assert_orthonormal("Vt", false, r, n, vt, tolerance);
          for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < r; j++) u[i * r + j] *= s[j];
          double *back = product(false, false, m, n, r, u, vt);
          assert_close("U S Vt", m * n, back, a, tolerance);
          assert_close("values alone", r, s2, s, tolerance);
          for (int64_t i = 0; i < r; i++) assert_true(s[i] >= 0 && (i == 0 || s[i] <= s[i - 1]));
          free(a), free(pa), free(pu), free(ps), free(pv), free(alone), free(u), free(s), free(vt),
              free(s2), free(back);
        }
}

static void test_qr(void **state) {
  (void)state;
  for (int e = 0; e < 2; e++)
    for (int t = 0; t < 2; t++)
      for (size_t z = 0; z < sizeof rectangles / sizeof *rectangles; z++) {
        const int64_t m = rectangles[z][0], n = rectangles[z][1], r = m < n ? m : n, ld = n + PAD;
        double *a = random_matrix(m, n);
        void *pa = pack(dtypes[t], m, n, ld, a), *pq = malloc((size_t)(m * r) * 8),
             *pr = malloc((size_t)(r * n) * 8);
        assert_int_equal(mica_lapack_qr(engines[e], dtypes[t], m, n, pa, ld, pq, pr), MICA_OK);
        double *q = unpack(dtypes[t], m, r, r, pq), *upper = unpack(dtypes[t], r, n, n, pr);
        assert_orthonormal("Q", true, m, r, q, tolerances[t]);
        for (int64_t i = 0; i < r; i++)
          for (int64_t j = 0; j < i && j < n; j++) assert_true(upper[i * n + j] == 0);
        double *back = product(false, false, m, n, r, q, upper);
        assert_close("Q R", m * n, back, a, tolerances[t] * 10);
        free(a), free(pa), free(pq), free(pr), free(q), free(upper), free(back);
      }
}

static void test_refusals(void **state) {
  (void)state;
  for (int e = 0; e < 2; e++)
    for (int64_t n = 2; n <= 60; n += 58) {
      double *a = positive(n), *u = dense(n, n), *v = dense(n, n), s[64];
      int sign;
      a[n] = (double)NAN; /* row 1, column 0 */
      assert_int_equal(mica_lapack_cholesky(engines[e], MICA_F64, n, a, n), MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_solve(engines[e], MICA_F64, n, n, a, n, u, n), MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_solve_positive(engines[e], MICA_F64, n, n, a, n, u, n),
                       MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_log_det(engines[e], MICA_F64, n, a, n, s, &sign),
                       MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_eigen(engines[e], MICA_F64, n, a, n, s, u), MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_svd(engines[e], MICA_F64, n, n, a, n, u, s, v),
                       MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_qr(engines[e], MICA_F64, n, n, a, n, u, v), MICA_ERR_NUMERIC);
      assert_int_equal(mica_lapack_svd(engines[e], MICA_F64, n, n, a, n, u, s, NULL),
                       MICA_ERR_INVALID);
      assert_int_equal(mica_lapack_qr(engines[e], MICA_F64, n, n, a, n - 1, u, v),
                       MICA_ERR_INVALID);
      assert_int_equal(mica_lapack_cholesky(engines[e], MICA_I32, n, a, n), MICA_ERR_UNSUPPORTED);
      assert_int_equal(mica_lapack_cholesky(engines[e], MICA_F64, 0, NULL, 0), MICA_OK);
      assert_int_equal(mica_lapack_svd(engines[e], MICA_F64, 0, 3, NULL, 3, NULL, NULL, NULL),
                       MICA_OK);
      free(a), free(u), free(v);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cholesky), cmocka_unit_test(test_triangular), cmocka_unit_test(test_lu),
      cmocka_unit_test(test_eigen),    cmocka_unit_test(test_svd),        cmocka_unit_test(test_qr),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
