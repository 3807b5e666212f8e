/* Matrix products against a plain triple loop in double: every instruction set, element type,
 * layout and epilogue, with libraries and without, one thread and two. */
#include "tensor/kernel/gemm.h"

#include "support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const isas[] = {"generic", "avx2", "avx512"};

/* NULL where the processor lacks the instruction set. */
static mica_engine *engine_of(const char *isa, int libraries, int threads) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.isa = isa;
  o.libraries = libraries;
  o.threads = threads;
  mica_engine *engine = NULL;
  if (mica_engine_create(&o, &engine) != MICA_OK) {
    assert_int_equal(mica_last_status(), MICA_ERR_UNSUPPORTED);
    return NULL;
  }
  return engine;
}

static void put(void *data, mica_dtype dtype, int64_t i, double x) {
  if (dtype == MICA_F32)
    ((float *)data)[i] = (float)x;
  else
    ((double *)data)[i] = x;
}

static double get(const void *data, mica_dtype dtype, int64_t i) {
  return dtype == MICA_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static void *filled(mica_dtype dtype, int64_t n, uint64_t seed) {
  void *data = malloc((size_t)n * mica_dtype_size(dtype) + 1);
  assert_non_null(data);
  uint64_t x = mica_hash64(&seed, sizeof(seed), 0) | 1;
  for (int64_t i = 0; i < n; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift: millions are drawn */
    put(data, dtype, i, ldexp((double)(x >> 11), -52) - 1);
  }
  return data;
}

static double bf16(double x) {
  float f = (float)x;
  uint32_t bits;
  memcpy(&bits, &f, sizeof(bits));
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
  memcpy(&f, &bits, sizeof(f));
  return (double)f;
}

typedef struct shape {
  int64_t m, n, k, batch;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1},      {1, 37, 19, 1},   {3, 64, 65, 1},   {5, 1, 7, 1},     {300, 1, 40, 1},
    {4, 4, 4, 7},      {13, 33, 257, 1}, {65, 70, 64, 1},  {97, 70, 300, 1}, {12, 32, 0, 1},
    {20, 33, 2100, 1}, {33, 17, 21, 9},  {200, 530, 7, 1}, {2, 300, 515, 3}, {0, 5, 5, 1},
    {130, 10, 70, 3},  {5, 0, 5, 1},     {1, 900, 300, 1}, {5, 5, 5, 0},     {65, 203, 600, 1},
    {40, 200, 100, 3},
};

enum { ENGINES = 8 };

/* Compare one setting with the reference on every engine; spare columns of C must stay as they
 * were. */
static void check(mica_engine *const *engines, mica_dtype dtype, mica_dtype compute, const shape *s,
                  int layout, int form) {
  const bool ta = layout & 1, tb = layout & 2, shared_b = form == 3;
  const int64_t spare = form == 1 ? 3 : 0;
  mica_gemm_args g = {.dtype = dtype,
                      .compute = compute,
                      .trans_a = ta,
                      .trans_b = tb,
                      .m = s->m,
                      .n = s->n,
                      .k = s->k,
                      .alpha = form == 1 ? -0.5 : 1,
                      .beta = form == 1   ? 0.25
                              : form == 2 ? 1
                                          : 0,
                      .relu = form == 2,
                      .batch = s->batch};
  g.lda = (ta ? g.m : g.k) + spare;
  g.ldb = (tb ? g.k : g.n) + spare;
  g.ldc = g.n + spare;
  g.stride_a = g.lda * (ta ? g.k : g.m) + spare;
  g.stride_b = shared_b ? 0 : g.ldb * (tb ? g.n : g.k) + spare;
  g.stride_c = g.ldc * g.m + spare;
  const int64_t size_c = g.stride_c * s->batch + 1;
  void *a = filled(dtype, g.stride_a * s->batch + g.lda * (g.k + g.m), 1);
  void *b = filled(dtype, (g.stride_b + 1) * s->batch + g.ldb * (g.k + g.n), 2);
  void *c = filled(dtype, size_c, 3), *before = filled(dtype, size_c, 3);
  void *bias = filled(dtype, g.n, 4);
  double *want = malloc((size_t)size_c * sizeof(*want));
  assert_non_null(want);
  for (int64_t i = 0; i < size_c; i++) want[i] = get(before, dtype, i);
  for (int64_t q = 0; q < s->batch; q++)
    for (int64_t i = 0; i < g.m; i++)
      for (int64_t j = 0; j < g.n; j++) {
        const int64_t at = q * g.stride_c + i * g.ldc + j;
        double sum = 0;
        for (int64_t p = 0; p < g.k; p++) {
          double x = get(a, dtype, q * g.stride_a + (ta ? p * g.lda + i : i * g.lda + p));
          double y = get(b, dtype, q * g.stride_b + (tb ? j * g.ldb + p : p * g.ldb + j));
          if (compute == MICA_BF16) x = bf16(x), y = bf16(y);
          sum += x * y;
        }
        sum = g.alpha * sum + (g.beta == 0 ? 0 : g.beta * want[at]);
        if (form >= 2) sum += get(bias, dtype, j);
        want[at] = g.relu && sum < 0 ? 0 : sum;
        if (g.beta == 0) put(before, dtype, at, (double)NAN); /* must not be read */
      }
  g.a = a;
  g.b = b;
  g.c = c;
  g.bias = form >= 2 ? bias : NULL;
  const double bound = ldexp(16 + 2 * (double)g.k, dtype == MICA_F32 ? -24 : -53);
  for (int e = 0; e < ENGINES; e++) {
    if (!engines[e]) continue;
    memcpy(c, before, (size_t)size_c * mica_dtype_size(dtype));
    assert_int_equal(mica_gemm_run(engines[e], &g), MICA_OK);
    for (int64_t i = 0; i < size_c; i++) {
      const double got = get(c, dtype, i);
      if (!(fabs(got - want[i]) <= bound))
        fail_msg(
            "engine %d (%s) %lldx%lldx%lld batch %lld layout %d form %d compute %s: element %lld "
            "is %.9g, not %.9g",
            e, mica_engine_isa(engines[e]), (long long)g.m, (long long)g.n, (long long)g.k,
            (long long)g.batch, layout, form, mica_dtype_name(compute), (long long)i, got, want[i]);
    }
  }
  free(a);
  free(b);
  free(c);
  free(before);
  free(bias);
  free(want);
}

static void test_against_reference(void **state) {
  (void)state;
  mica_engine *engines[ENGINES];
  for (int e = 0; e < 6; e++) engines[e] = engine_of(isas[e / 2], e % 2, 1);
  for (int e = 6; e < ENGINES; e++) engines[e] = engine_of(NULL, e % 2, 2);
  for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++)
    for (int layout = 0; layout < 4; layout++)
      for (int form = 0; form < 4; form++) {
        check(engines, MICA_F32, MICA_F32, &shapes[s], layout, form);
        check(engines, MICA_F64, MICA_F64, &shapes[s], layout, form);
        check(engines, MICA_F32, MICA_BF16, &shapes[s], layout, form);
      }
  for (int e = 0; e < ENGINES; e++) mica_engine_free(engines[e]);
}

/* Own loops: the same bits for every number of threads. */
static void test_threads_same_bits(void **state) {
  (void)state;
  const shape sizes[] = {
      {64, 48, 5000, 1}, {300, 200, 100, 1}, {1, 2000, 700, 1}, {40, 30, 50, 6}, {65, 200, 600, 1}};
  mica_engine *engine[2] = {engine_of(NULL, 0, 1), engine_of(NULL, 0, 2)};
  for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
    const shape *z = &sizes[s];
    float *a = filled(MICA_F32, z->m * z->k * z->batch, 1),
          *b = filled(MICA_F32, z->n * z->k * z->batch, 2);
    float *c[2];
    for (int e = 0; e < 2; e++) {
      c[e] = filled(MICA_F32, z->m * z->n * z->batch, 3);
      const mica_gemm_args g = {.dtype = MICA_F32,
                                .m = z->m,
                                .n = z->n,
                                .k = z->k,
                                .alpha = 1,
                                .a = a,
                                .lda = z->k,
                                .b = b,
                                .ldb = z->n,
                                .c = c[e],
                                .ldc = z->n,
                                .batch = z->batch,
                                .stride_a = z->m * z->k,
                                .stride_b = z->n * z->k,
                                .stride_c = z->m * z->n};
      assert_int_equal(mica_gemm_run(engine[e], &g), MICA_OK);
    }
    assert_memory_equal(c[0], c[1], (size_t)(z->m * z->n * z->batch) * sizeof(float));
    free(a);
    free(b);
    free(c[0]);
    free(c[1]);
  }
  mica_engine_free(engine[0]);
  mica_engine_free(engine[1]);
}

static void test_nan_survives(void **state) {
  (void)state;
  for (int libraries = 0; libraries < 2; libraries++) {
    mica_engine *engine = engine_of(NULL, libraries, 1);
    for (int relu = 0; relu < 2; relu++) {
      float a[4 * 3] = {0}, b[3 * 5] = {0}, c[4 * 5] = {0};
      a[3] = NAN;
      const mica_gemm_args g = {.dtype = MICA_F32,
                                .m = 4,
                                .n = 5,
                                .k = 3,
                                .alpha = 1,
                                .a = a,
                                .lda = 3,
                                .b = b,
                                .ldb = 5,
                                .c = c,
                                .ldc = 5,
                                .relu = relu,
                                .batch = 1};
      assert_int_equal(mica_gemm_run(engine, &g), MICA_OK);
      for (int i = 0; i < 20; i++) assert_int_equal(isnan(c[i]) != 0, i / 5 == 1);
    }
    mica_engine_free(engine);
  }
}

static void test_refusals(void **state) {
  (void)state;
  mica_engine *engine = engine_of(NULL, 0, 1);
  float x[16] = {0};
  assert_int_equal(mica_gemm(engine, MICA_I32, false, false, 2, 2, 2, 1, x, 2, x, 2, 0, x, 2),
                   MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_gemm(engine, MICA_F32, false, false, -1, 2, 2, 1, x, 2, x, 2, 0, x, 2),
                   MICA_ERR_INVALID);
  assert_int_equal(mica_gemm(engine, MICA_F32, false, false, 2, 2, 3, 1, x, 2, x, 2, 0, x, 2),
                   MICA_ERR_INVALID);
  const mica_gemm_args g = {.dtype = MICA_F64,
                            .compute = MICA_BF16,
                            .m = 1,
                            .n = 1,
                            .k = 1,
                            .lda = 1,
                            .ldb = 1,
                            .ldc = 1,
                            .a = x,
                            .b = x,
                            .c = x,
                            .batch = 1};
  assert_int_equal(mica_gemm_run(engine, &g), MICA_ERR_UNSUPPORTED);
  mica_engine_free(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_reference),
      cmocka_unit_test(test_threads_same_bits),
      cmocka_unit_test(test_nan_survives),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
