#include "support/loops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const int64_t loops_sizes[] = {0, 1, 7, 64, 1000};
const int loops_size_count = (int)(sizeof loops_sizes / sizeof *loops_sizes);

enum { GUARD = 16 };
#define GUARD_VALUE -12345.0

void loops_each(void (*check)(const loops_table *t)) {
  static const char *const isas[] = {"generic", "avx2", "avx512"};
  int tables = 0;
  for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.threads = 1;
    o.isa = isas[i];
    mica_engine *engine;
    if (mica_engine_create(&o, &engine) != MICA_OK) continue;
    for (int dtype = MICA_F32; dtype <= MICA_F64; dtype++, tables++) {
      const loops_table t = {mica_kernels_of(engine, (mica_dtype)dtype), (mica_dtype)dtype,
                             dtype == MICA_F32 ? 0x1p-23 : 0x1p-52};
      check(&t);
    }
    mica_engine_free(engine);
  }
  assert_true(tables >= 2); /* generic is everywhere */
}

void loops_need_long_double(void) {
  volatile long double one = 1, little = 0x1p-60L;
  if (one + little != one) return;
  print_message("skipped: the reference needs a long double wider than double\n");
  skip();
}

double loops_uniform(uint64_t stream, uint64_t i) {
  uint64_t z = (stream + 1) * UINT64_C(0x9e3779b97f4a7c15) + i * UINT64_C(0xd1342543de82ef95);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

double loops_get(const loops_table *t, const void *x, int64_t i) {
  return t->dtype == MICA_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

void loops_set(const loops_table *t, void *x, int64_t i, double value) {
  if (t->dtype == MICA_F32) {
    ((float *)x)[i] = (float)value;
  } else {
    ((double *)x)[i] = value;
  }
}

void *loops_at(const loops_table *t, const void *x, int64_t i) {
  return (char *)(uintptr_t)x + i * (int64_t)mica_dtype_size(t->dtype);
}

void *loops_zeros(const loops_table *t, int64_t n) {
  void *x = calloc((size_t)(n + GUARD), mica_dtype_size(t->dtype));
  assert_non_null(x);
  for (int64_t i = 0; i < GUARD; i++) loops_set(t, x, n + i, GUARD_VALUE);
  return x;
}

void *loops_random(const loops_table *t, int64_t n, double lo, double hi, uint64_t stream) {
  void *x = loops_zeros(t, n);
  for (int64_t i = 0; i < n; i++)
    loops_set(t, x, i, lo + (hi - lo) * loops_uniform(stream, (uint64_t)i));
  return x;
}

void *loops_copy(const loops_table *t, int64_t n, const void *x) {
  void *y = loops_zeros(t, n);
  if (n > 0) memcpy(y, x, (size_t)n * mica_dtype_size(t->dtype));
  return y;
}

void loops_free(const loops_table *t, int64_t n, void *x) {
  for (int64_t i = 0; i < GUARD; i++) assert_true(loops_get(t, x, n + i) == GUARD_VALUE);
  free(x);
}

bool loops_close(const loops_table *t, double got, double want, double units, double scale) {
  if (isnan(want)) return isnan(got);
  if (isinf(want)) return got == want;
  return fabs(got - want) <= units * t->eps * fmax(fmax(1, fabs(want)), scale);
}

void loops_check(const loops_table *t, const char *what, int64_t i, double got, double want,
                 double units, double scale) {
  if (!loops_close(t, got, want, units, scale))
    fail_msg("%s, %s %s, element %lld: got %.17g, expected %.17g", what, t->k->isa,
             t->dtype == MICA_F32 ? "float" : "double", (long long)i, got, want);
}
