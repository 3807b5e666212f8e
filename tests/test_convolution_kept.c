/* Predictions' 3x3 convolutions with kept weights, or transformed ones where there are many tiles,
 * against the definition in double: maps that end inside tiles, one tile to many, epilogues; every
 * instruction set, and the same bits for every number of threads. */
#include "support/failing_alloc.h"
#include "support/test.h"
#include "tensor/kernel/convolution.h"
#include "tensor/kernel/winograd_kept.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct geometry {
  int64_t n, h, w, c, o, top, left, bottom, right;
} geometry;

/* Groups of all sizes; filters and channels that are no multiple of a block; parts of the tiles;
 * the last has many. */
static const geometry geometries[] = {
    {1, 4, 4, 32, 32, 1, 1, 1, 1},    {1, 7, 7, 48, 32, 1, 1, 1, 1},
    {1, 9, 6, 32, 80, 1, 1, 1, 1},    {1, 9, 14, 64, 32, 0, 2, 1, 0},
    {1, 14, 14, 112, 48, 1, 1, 1, 1}, {1, 11, 18, 32, 32, 2, 0, 2, 1},
    {2, 12, 11, 32, 48, 1, 1, 1, 1},  {1, 28, 27, 32, 48, 1, 1, 1, 1},
    {3, 29, 23, 48, 32, 1, 1, 1, 1},  {10, 29, 30, 32, 48, 1, 1, 1, 1},
};

static mica_convolution convolution_of(const geometry *g) {
  return (mica_convolution){.dtype = MICA_F32,
                            .compute = MICA_F32,
                            .n = g->n,
                            .c = g->c,
                            .o = g->o,
                            .groups = 1,
                            .size = {1, g->h, g->w},
                            .kernel = {1, 3, 3},
                            .stride = {1, 1, 1},
                            .dilation = {1, 1, 1},
                            .before = {0, g->top, g->left},
                            .after = {0, g->bottom, g->right}};
}

static float *numbers(int64_t n, uint32_t s) {
  float *x = malloc((size_t)(n + 1) * sizeof *x);
  assert_non_null(x);
  for (int64_t i = 0; i < n; i++) {
    s = s * 1664525u + 1013904223u;
    x[i] = (float)((double)(s >> 8) / (double)(1 << 23) - 1);
  }
  return x;
}

typedef struct arrays {
  mica_convolution v;
  int64_t out[MICA_CONVOLUTION_AXES], results;
  float *x, *w, *bias, *residual;
} arrays;

static arrays arrays_of(const geometry *g) {
  arrays a = {.v = convolution_of(g)};
  assert_int_equal(mica_convolution_output(&a.v, a.out), MICA_OK);
  a.results = g->n * a.out[1] * a.out[2] * g->o;
  a.x = numbers(g->n * g->h * g->w * g->c, 1);
  a.w = numbers(g->o * 9 * g->c, 2);
  a.bias = numbers(g->o, 3);
  a.residual = numbers(a.results, 4);
  return a;
}

static void release(arrays *a) {
  free(a->x), free(a->w), free(a->bias), free(a->residual);
}

static double direct_sum(const arrays *a, int64_t at) {
  const mica_convolution *v = &a->v;
  const int64_t o = at % v->o, place = at / v->o, x = place % a->out[2],
                y = place / a->out[2] % a->out[1], n = place / a->out[2] / a->out[1];
  double sum = 0;
  for (int64_t i = 0; i < 3; i++)
    for (int64_t j = 0; j < 3; j++) {
      const int64_t h = y + i - v->before[1], w = x + j - v->before[2];
      if (h < 0 || h >= v->size[1] || w < 0 || w >= v->size[2]) continue;
      const float *in = a->x + ((n * v->size[1] + h) * v->size[2] + w) * v->c;
      const float *filter = a->w + ((o * 3 + i) * 3 + j) * v->c;
      for (int64_t c = 0; c < v->c; c++) sum += (double)in[c] * (double)filter[c];
    }
  return sum;
}

/* The results with an engine, or NULL where it has not that instruction set. */
static float *convolve(const arrays *a, const char *isa, int threads, bool ending) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_engine *engine;
  o.isa = isa;
  o.threads = threads;
  if (mica_engine_create(&o, &engine) != MICA_OK) return NULL;
  void *packed = NULL;
  bool done = false;
  float *y = numbers(a->results, 5);
  assert_int_equal(mica_winograd_kept_pays(engine, &a->v), a->v.n < 10);
  assert_int_equal(mica_convolution_pack(engine, &a->v, a->w, &packed), MICA_OK);
  assert_int_equal(mica_convolution_forward_packed(engine, &a->v, a->x, packed,
                                                   ending ? a->bias : NULL,
                                                   ending ? a->residual : NULL, ending, y, &done),
                   MICA_OK);
  assert_true(done);
  mica_free_aligned(packed);
  mica_engine_free(engine);
  return y;
}

static void kept_is_the_definition(void **state) {
  (void)state;
  static const char *const isas[] = {"generic", "avx2", "avx512"};
  for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++) {
    arrays a = arrays_of(&geometries[i]);
    double *want = malloc((size_t)a.results * sizeof *want);
    for (int64_t k = 0; k < a.results; k++) want[k] = direct_sum(&a, k);
    for (int isa = 0; isa < 3; isa++)
      for (int ending = 0; ending < 2; ending++) {
        float *one = convolve(&a, isas[isa], 1, ending),
              *three = convolve(&a, isas[isa], 3, ending);
        for (int64_t k = 0; one && k < a.results; k++) {
          double expected = want[k];
          if (ending) expected += (double)a.bias[k % a.v.o] + (double)a.residual[k];
          if (ending && expected < 0) expected = 0;
          if (!(fabs((double)one[k] - expected) < 2e-5 * sqrt((double)a.v.c)))
            fail_msg("geometry %zu, %s: element %lld is %g, not %g", i, isas[isa], (long long)k,
                     (double)one[k], expected);
        }
        if (one) assert_memory_equal(one, three, (size_t)a.results * sizeof *one);
        free(one), free(three);
      }
    free(want);
    release(&a);
  }
}

/* Tiles that cost more than they save, strides, other types: not taken. */
static void others_are_left(void **state) {
  (void)state;
  mica_engine *engine;
  assert_int_equal(mica_engine_create(NULL, &engine), MICA_OK);
  const mica_convolution good = convolution_of(&geometries[4]);
  assert_true(mica_winograd_kept_pays(engine, &good));
  mica_convolution v = good;
  v.size[1] = v.size[2] = 2;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.n = 100;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.stride[1] = 2;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.dilation[2] = 2;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.kernel[2] = 1;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.before[1] = 3;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.groups = 2;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.c = 30;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.o = 16;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.dtype = v.compute = MICA_F64;
  assert_false(mica_winograd_kept_pays(engine, &v));
  v = good;
  v.compute = MICA_BF16;
  assert_false(mica_winograd_kept_pays(engine, &v));
  mica_engine_free(engine);
}

typedef struct prediction {
  arrays a;
  float *y;
} prediction;

static mica_status predict(void *ctx) {
  const prediction *p = ctx;
  mica_engine *engine;
  void *packed = NULL;
  bool done;
  mica_status status = mica_engine_create(NULL, &engine);
  if (status != MICA_OK) return status;
  status = mica_convolution_pack(engine, &p->a.v, p->a.w, &packed);
  if (status == MICA_OK)
    status = mica_convolution_forward_packed(engine, &p->a.v, p->a.x, packed, p->a.bias, NULL, true,
                                             p->y, &done);
  mica_free_aligned(packed);
  mica_engine_free(engine);
  return status;
}

static void without_memory(void **state) {
  (void)state;
  static const int few_and_many[] = {1, 8};
  for (int i = 0; i < 2; i++) {
    prediction p = {.a = arrays_of(&geometries[few_and_many[i]])};
    p.y = numbers(p.a.results, 5);
    fail_each(predict, &p);
    free(p.y);
    release(&p.a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kept_is_the_definition),
      cmocka_unit_test(others_are_left),
      cmocka_unit_test(without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
