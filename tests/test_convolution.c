/* Convolution's three passes against the definition in double: strides, dilation, groups,
 * depthwise, asymmetric padding, epilogues; every instruction set, with libraries and without. */
#include "support/failing_alloc.h"
#include "support/test.h"
#include "tensor/kernel/convolution.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 6 };
static mica_engine *engines[ENGINES];

static int set_up(void **state) {
  (void)state;
  const char *const isas[ENGINES] = {"generic", "avx2", "avx512", NULL, NULL, NULL};
  for (int i = 0; i < ENGINES; i++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.isa = isas[i];
    o.libraries = i >= 4;
    o.threads = i == 3 || i == 5 ? 2 : 1;
    if (mica_engine_create(&o, &engines[i]) != MICA_OK &&
        mica_last_status() != MICA_ERR_UNSUPPORTED)
      return -1;
  }
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < ENGINES; i++) mica_engine_free(engines[i]);
  return 0;
}

static uint64_t random_state = 1;
static double draw(void) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7,
      random_state ^= random_state << 17;
  return ldexp((double)(random_state >> 11), -52) - 1;
}

static void *zeros(int64_t n) {
  void *p = calloc((size_t)n + 1, sizeof(double));
  assert_non_null(p);
  return p;
}

static double *random_array(int64_t n) {
  double *a = zeros(n);
  for (int64_t i = 0; i < n; i++) a[i] = (double)(float)draw(); /* exact in both types */
  return a;
}

static void *narrowed(mica_dtype dtype, const double *a, int64_t n) {
  void *to = zeros(n);
  for (int64_t i = 0; i < n; i++)
    if (dtype == MICA_F32)
      ((float *)to)[i] = (float)a[i];
    else
      ((double *)to)[i] = a[i];
  return to;
}

static double *rounded(const double *a, int64_t n, bool bf16) {
  double *to = zeros(n);
  for (int64_t i = 0; i < n; i++) {
    float f = (float)a[i];
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof f);
    to[i] = bf16 ? (double)f : a[i];
  }
  return to;
}

static void assert_close(const char *what, int number, int engine, const mica_convolution *v,
                         const void *got, const double *want, int64_t n, double tolerance) {
  for (int64_t i = 0; i < n; i++) {
    const double x =
        v->dtype == MICA_F32 ? (double)((const float *)got)[i] : ((const double *)got)[i];
    if (!(fabs(x - want[i]) <= tolerance))
      fail_msg("case %d, engine %d, %s computed in %s, %s: element %lld is %.9g, not %.9g", number,
               engine, mica_dtype_name(v->dtype), mica_dtype_name(v->compute), what, (long long)i,
               x, want[i]);
  }
}

typedef struct setting {
  int64_t n, h, w, c, o, kh, kw, groups, sh, sw, dh, dw, top, bottom, left, right;
  struct {
    int64_t size, kernel, stride, dilation, front, back;
  } depth;
} setting;

/* The depth of images. */
#define FLAT                                                                                       \
  { 1, 1, 1, 1, 0, 0 }

/* clang-format off */
static const setting settings[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, FLAT},
    {2, 7, 6, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, FLAT},
    {2, 9, 11, 16, 32, 3, 3, 1, 2, 2, 1, 1, 1, 1, 1, 1, FLAT},
    {1, 8, 9, 4, 6, 3, 2, 2, 2, 1, 1, 2, 0, 2, 3, 1, FLAT},
    {3, 5, 5, 8, 8, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, FLAT},
    {2, 6, 6, 8, 12, 1, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, FLAT},
    {2, 12, 10, 20, 20, 3, 3, 20, 1, 1, 1, 1, 1, 1, 1, 1, FLAT},
    {2, 12, 13, 33, 33, 5, 5, 33, 2, 2, 1, 1, 2, 1, 0, 3, FLAT},
    {1, 15, 14, 6, 6, 3, 3, 6, 1, 2, 2, 3, 2, 2, 3, 3, FLAT},
    {1, 5, 6, 4, 8, 3, 3, 4, 1, 1, 1, 1, 1, 1, 1, 1, FLAT},   /* two outputs for each input */
    {20, 6, 6, 1, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, FLAT}, /* one channel */
    {2, 1, 40, 7, 9, 1, 5, 1, 1, 3, 1, 2, 0, 0, 4, 4, FLAT},  /* one-dimensional */
    {1, 10, 10, 3, 4, 4, 4, 1, 4, 4, 1, 1, 0, 0, 0, 0, FLAT}, /* patches, a rest that no kernel covers */
    {1, 11, 11, 2, 3, 3, 3, 1, 4, 4, 1, 1, 0, 0, 0, 0, FLAT}, /* stride beyond the kernel */
    {2, 14, 14, 48, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, FLAT},
    {3, 30, 29, 32, 48, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, FLAT}, /* large 3x3 ones: winograd.c */
    {2, 29, 31, 48, 64, 3, 3, 1, 1, 1, 1, 1, 0, 2, 2, 1, FLAT},
    {40, 7, 8, 80, 48, 3, 3, 1, 1, 1, 1, 1, 2, 0, 0, 0, FLAT},
    {2, 15, 14, 64, 128, 1, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, FLAT}, /* strided and wide: direct.c */
    {1, 13, 14, 128, 144, 3, 3, 1, 2, 2, 1, 1, 1, 0, 0, 1, FLAT},
    {1, 25, 23, 64, 512, 1, 2, 1, 1, 1, 1, 1, 0, 0, 0, 1, FLAT},
    {3, 19, 18, 64, 80, 3, 2, 1, 3, 2, 2, 3, 2, 1, 3, 0, FLAT},
    {2, 7, 7, 144, 128, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, FLAT},
    {1, 10, 9, 19, 32, 4, 5, 1, 1, 4, 2, 1, 3, 2, 4, 0, FLAT},
    {1, 3, 3, 2, 2, 7, 7, 1, 1, 1, 1, 1, 3, 3, 3, 3, FLAT}, /* a kernel larger than the image */
    {1, 3, 3, 2, 2, 5, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0, FLAT}, /* that does not fit: no output */
    {0, 3, 3, 2, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, FLAT},
    {1, 20, 21, 19, 19, 13, 13, 19, 1, 1, 1, 1, 6, 6, 6, 6, FLAT},
    {2, 9, 40, 37, 37, 3, 7, 37, 1, 1, 1, 1, 1, 1, 3, 3, FLAT},   /* depthwise, more than a vector */
    {1, 9, 40, 37, 37, 3, 7, 37, 1, 1, 2, 3, 2, 3, 20, 20, FLAT}, /* dilated, padded beyond the kernel */
    {2, 9, 41, 35, 35, 2, 9, 35, 3, 2, 1, 2, 1, 1, 4, 3, FLAT},
    {1, 7, 6, 4, 4, 3, 3, 4, 2000000011, 2000000000, 1, 2, 1, 1, 1, 1, FLAT}, /* huge strides */
    {3, 14, 15, 40, 40, 3, 3, 40, 2, 2, 1, 1, 1, 1, 1, 1, FLAT},
    {2, 11, 12, 24, 24, 7, 7, 24, 2, 2, 1, 1, 3, 3, 3, 3, FLAT},
    {2, 7, 9, 17, 17, 2, 4, 17, 3, 4, 2, 3, 1, 2, 3, 4, FLAT}, /* some places of the input meet no tap */
    {1, 3, 3, 4, 4, 5, 5, 4, 1, 1, 1, 1, 0, 0, 0, 0, FLAT}, /* that does not fit, depthwise */
    {1, 3, 9, 4, 4, 2, 11, 4, 2, 2, 1, 1, 0, 0, 0, 0, FLAT},
    {2, 6, 7, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, {5, 3, 1, 1, 1, 1}},
    {1, 5, 6, 16, 24, 3, 2, 1, 2, 1, 1, 2, 1, 0, 2, 1, {7, 2, 2, 3, 2, 1}},
    {1, 5, 6, 4, 6, 1, 3, 2, 1, 2, 1, 1, 0, 0, 1, 1, {4, 3, 1, 1, 0, 2}},
    {3, 4, 3, 8, 8, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, {2, 1, 1, 1, 0, 0}},
    {2, 5, 30, 33, 33, 3, 5, 33, 1, 1, 1, 1, 1, 1, 2, 2, {4, 3, 1, 1, 1, 1}},
    {1, 5, 9, 20, 20, 3, 3, 20, 2, 1, 1, 1, 1, 1, 1, 1, {6, 2, 2, 2, 0, 1}},
    {1, 5, 3, 3, 2, 3, 3, 1, 2, 2, 1, 1, 1, 1, 1, 1, {3, 3, 2, 1, 1, 1}},
    {2, 5, 5, 2, 3, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0, {2, 3, 1, 1, 0, 0}}, /* no output */
};
/* clang-format on */

static void check(int number, const setting *s, mica_dtype dtype, mica_dtype compute) {
  const mica_convolution v = {.dtype = dtype,
                              .compute = compute,
                              .n = s->n,
                              .c = s->c,
                              .o = s->o,
                              .groups = s->groups,
                              .size = {s->depth.size, s->h, s->w},
                              .kernel = {s->depth.kernel, s->kh, s->kw},
                              .stride = {s->depth.stride, s->sh, s->sw},
                              .dilation = {s->depth.dilation, s->dh, s->dw},
                              .before = {s->depth.front, s->top, s->left},
                              .after = {s->depth.back, s->bottom, s->right}};
  int64_t size[3];
  assert_int_equal(mica_convolution_output(&v, size), MICA_OK);
  const int64_t in = v.c / v.groups, out = v.o / v.groups, taps = mica_convolution_taps(&v);
  const int64_t positions = size[0] * size[1] * size[2], places = mica_convolution_places(&v);
  const int64_t nx = v.n * places * v.c, ny = v.n * positions * v.o, nw = v.o * taps * in;
  double *x = random_array(nx), *w = random_array(nw), *dy = random_array(ny),
         *b = random_array(v.o);
  double *bc = random_array(v.c), *residual = random_array(ny);
  const bool bf16 = compute == MICA_BF16;
  double *rx = rounded(x, nx, bf16), *rw = rounded(w, nw, bf16), *rdy = rounded(dy, ny, bf16);
  double *y = zeros(ny), *dx = zeros(nx), *dw = zeros(nw), *db = zeros(v.o);
  for (int64_t at = 0; at < ny; at++) {
    const int64_t n = at / v.o / positions, p = at / v.o % positions, o = at % v.o;
    const int64_t place[3] = {p / size[2] / size[1], p / size[2] % size[1], p % size[2]};
    db[o] += dy[at];
    for (int64_t k = 0; k < taps; k++) {
      const int64_t tap[3] = {k / v.kernel[2] / v.kernel[1], k / v.kernel[2] % v.kernel[1],
                              k % v.kernel[2]};
      int64_t from = n;
      for (int i = 0; i < 3; i++) {
        const int64_t q = place[i] * v.stride[i] + tap[i] * v.dilation[i] - v.before[i];
        from = from < 0 || q < 0 || q >= v.size[i] ? -1 : from * v.size[i] + q;
      }
      if (from < 0) continue;
      for (int64_t c = 0; c < in; c++) {
        const int64_t ax = from * v.c + o / out * in + c, aw = (o * taps + k) * in + c;
        y[at] += rx[ax] * rw[aw];
        dx[ax] += rdy[at] * rw[aw];
        dw[aw] += rdy[at] * rx[ax];
      }
    }
  }
  double *plain = zeros(ny), *full = zeros(ny), *dxb = zeros(nx);
  for (int64_t i = 0; i < ny; i++) {
    plain[i] = y[i] + b[i % v.o];
    full[i] = fmax(0, plain[i] + residual[i]);
  }
  for (int64_t i = 0; i < nx; i++) dxb[i] = dx[i] + bc[i % v.c];
  void *px = narrowed(dtype, x, nx), *pw = narrowed(dtype, w, nw), *pdy = narrowed(dtype, dy, ny),
       *pb = narrowed(dtype, b, v.o);
  void *pbc = narrowed(dtype, bc, v.c), *pr = narrowed(dtype, residual, ny), *py = zeros(ny),
       *pdx = zeros(nx), *pdw = zeros(nw), *pdb = zeros(v.o);
  const double unit = dtype == MICA_F32 ? 1e-7 : 1e-15;
  const double small = unit * (16 + 2 * (double)(taps * (in + out))),
               large = unit * (16 + 2 * (double)(v.n * positions));
  double *twice = malloc((size_t)(nx + 1) * sizeof *twice);
  for (int64_t i = 0; i < nx; i++) twice[i] = dxb[i] + dx[i];
  for (int e = 0; e < ENGINES; e++) {
    if (!engines[e]) continue;
    memset(py, 0x55, (size_t)ny * mica_dtype_size(dtype));
    assert_int_equal(mica_convolution_forward(engines[e], &v, px, pw, NULL, NULL, false, py),
                     MICA_OK);
    assert_close("forward", number, e, &v, py, y, ny, small);
    assert_int_equal(mica_convolution_forward(engines[e], &v, px, pw, pb, NULL, false, py),
                     MICA_OK);
    assert_close("forward + bias", number, e, &v, py, plain, ny, small);
    assert_int_equal(mica_convolution_forward(engines[e], &v, px, pw, pb, pr, true, py), MICA_OK);
    assert_close("forward + bias + residual, relu", number, e, &v, py, full, ny, small);
    memcpy(py, pr, (size_t)ny * mica_dtype_size(dtype));
    assert_int_equal(mica_convolution_forward(engines[e], &v, px, pw, pb, py, true, py), MICA_OK);
    assert_close("forward into the residual", number, e, &v, py, full, ny, small);
    void *packed = NULL;
    bool done = false;
    if (ny && compute == dtype)
      assert_int_equal(mica_convolution_pack(engines[e], &v, pw, &packed), MICA_OK);
    memset(py, 0x55, (size_t)ny * mica_dtype_size(dtype));
    if (packed)
      assert_int_equal(
          mica_convolution_forward_packed(engines[e], &v, px, packed, pb, pr, true, py, &done),
          MICA_OK);
    if (done) assert_close("forward, packed weights", number, e, &v, py, full, ny, small);
    mica_free_aligned(packed);
    memset(pdx, 0x55, (size_t)nx * mica_dtype_size(dtype));
    assert_int_equal(mica_convolution_backward_data(engines[e], &v, pdy, pw, NULL, pdx), MICA_OK);
    assert_close("backward data", number, e, &v, pdx, dx, nx, small);
    assert_int_equal(mica_convolution_backward_data(engines[e], &v, pdy, pw, pbc, pdx), MICA_OK);
    assert_close("backward data + bias", number, e, &v, pdx, dxb, nx, small);
    assert_int_equal(mica_convolution_add_data(engines[e], &v, pdy, pw, pdx, &done), MICA_OK);
    if (done) assert_close("backward data, added", number, e, &v, pdx, twice, nx, 2 * small);
    memset(pdw, 0x55, (size_t)nw * mica_dtype_size(dtype));
    assert_int_equal(mica_convolution_backward_weights(engines[e], &v, px, pdy, pdw, pdb), MICA_OK);
    assert_close("backward weights", number, e, &v, pdw, dw, nw, large);
    assert_close("backward bias", number, e, &v, pdb, db, v.o, large);
  }
  free(x), free(w), free(dy), free(b), free(bc), free(residual), free(rx), free(rw), free(rdy),
      free(y), free(dx), free(dw);
  free(db), free(plain), free(full), free(dxb), free(twice), free(px), free(pw), free(pdy),
      free(pb), free(pbc), free(pr), free(py);
  free(pdx), free(pdw), free(pdb);
}

static void test_against_definition(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    check((int)i, &settings[i], MICA_F32, MICA_F32);
    check((int)i, &settings[i], MICA_F64, MICA_F64);
    check((int)i, &settings[i], MICA_F32, MICA_BF16);
  }
}

static void test_nan_survives(void **state) {
  (void)state;
  for (int e = 0; e < ENGINES; e++) {
    if (!engines[e]) continue;
    const mica_convolution v = {.dtype = MICA_F32,
                                .compute = MICA_F32,
                                .n = 1,
                                .c = 16,
                                .o = 16,
                                .groups = 1,
                                .size = {1, 4, 4},
                                .kernel = {1, 3, 3},
                                .stride = {1, 1, 1},
                                .dilation = {1, 1, 1}};
    float x[256] = {0}, w[16 * 9 * 16] = {0}, y[64] = {0};
    x[0] = NAN; /* only the first output position sees it */
    assert_int_equal(mica_convolution_forward(engines[e], &v, x, w, NULL, NULL, true, y), MICA_OK);
    for (int i = 0; i < 64; i++) assert_int_equal(isnan(y[i]) != 0, i < 16);
  }
}

typedef struct passes {
  const mica_convolution v;
  float *x, *y, *w;
} passes;

static mica_status all_passes(void *ctx) {
  const passes *p = ctx;
  mica_engine *engine = NULL;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.libraries = false;
  mica_status status = mica_engine_create(&o, &engine);
  if (status == MICA_OK)
    status = mica_convolution_forward(engine, &p->v, p->x, p->w, NULL, NULL, false, p->y);
  if (status == MICA_OK)
    status = mica_convolution_backward_data(engine, &p->v, p->y, p->w, NULL, p->x);
  if (status == MICA_OK)
    status = mica_convolution_backward_weights(engine, &p->v, p->x, p->y, p->w, NULL);
  mica_engine_free(engine);
  return status;
}

static void test_without_memory(void **state) {
  (void)state;
  passes p = {.v = {.dtype = MICA_F32,
                    .compute = MICA_F32,
                    .n = 1,
                    .c = 64,
                    .o = 128,
                    .groups = 1,
                    .size = {1, 5, 5},
                    .kernel = {1, 3, 3},
                    .stride = {1, 2, 2},
                    .dilation = {1, 1, 1},
                    .before = {0, 1, 1},
                    .after = {0, 1, 1}},
              .x = zeros(25 * 64),
              .y = zeros(9 * 128),
              .w = zeros(128 * 9 * 64)};
  fail_each(all_passes, &p);
  free(p.x), free(p.y), free(p.w);
}

static void test_refusals(void **state) {
  (void)state;
  const mica_convolution good = {.dtype = MICA_F32,
                                 .compute = MICA_F32,
                                 .n = 1,
                                 .c = 4,
                                 .o = 4,
                                 .groups = 2,
                                 .size = {1, 4, 4},
                                 .kernel = {1, 3, 3},
                                 .stride = {1, 1, 1},
                                 .dilation = {1, 1, 1}};
  int64_t out[3];
  assert_int_equal(mica_convolution_output(&good, out), MICA_OK);
  assert_true(out[0] == 1 && out[1] == 2 && out[2] == 2);
  mica_convolution v = good;
  v.groups = 3;
  assert_int_equal(mica_convolution_output(&v, out), MICA_ERR_SHAPE);
  v = good;
  v.stride[2] = 0;
  assert_int_equal(mica_convolution_output(&v, out), MICA_ERR_SHAPE);
  v = good;
  v.before[0] = -1;
  assert_int_equal(mica_convolution_output(&v, out), MICA_ERR_SHAPE);
  v = good;
  v.dtype = MICA_I8;
  assert_int_equal(mica_convolution_output(&v, out), MICA_ERR_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_definition),
      cmocka_unit_test(test_nan_survives),
      cmocka_unit_test(test_without_memory),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
