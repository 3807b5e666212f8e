/* Convolution's three passes against the definition in double: strides, dilation, groups,
 * depthwise, asymmetric padding, epilogues; every instruction set, with libraries and without. */
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
} setting;

static const setting settings[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {2, 7, 6, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {2, 9, 11, 16, 32, 3, 3, 1, 2, 2, 1, 1, 1, 1, 1, 1},
    {1, 8, 9, 4, 6, 3, 2, 2, 2, 1, 1, 2, 0, 2, 3, 1},
    {3, 5, 5, 8, 8, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {2, 6, 6, 8, 12, 1, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0},
    {2, 12, 10, 20, 20, 3, 3, 20, 1, 1, 1, 1, 1, 1, 1, 1},
    {2, 12, 13, 33, 33, 5, 5, 33, 2, 2, 1, 1, 2, 1, 0, 3},
    {1, 15, 14, 6, 6, 3, 3, 6, 1, 2, 2, 3, 2, 2, 3, 3},
    {1, 5, 6, 4, 8, 3, 3, 4, 1, 1, 1, 1, 1, 1, 1, 1},   /* two outputs for each input */
    {20, 6, 6, 1, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}, /* one channel */
    {2, 1, 40, 7, 9, 1, 5, 1, 1, 3, 1, 2, 0, 0, 4, 4},  /* one-dimensional */
    {1, 10, 10, 3, 4, 4, 4, 1, 4, 4, 1, 1, 0, 0, 0, 0}, /* patches, a rest that no kernel covers */
    {1, 11, 11, 2, 3, 3, 3, 1, 4, 4, 1, 1, 0, 0, 0, 0}, /* stride beyond the kernel */
    {2, 14, 14, 48, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 3, 3, 2, 2, 7, 7, 1, 1, 1, 1, 1, 3, 3, 3, 3}, /* a kernel larger than the image */
    {1, 3, 3, 2, 2, 5, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0}, /* that does not fit: no output */
    {0, 3, 3, 2, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {1, 20, 21, 19, 19, 13, 13, 19, 1, 1, 1, 1, 6, 6, 6, 6},
};

static void check(int number, const setting *s, mica_dtype dtype, mica_dtype compute) {
  const mica_convolution v = {.dtype = dtype,
                              .compute = compute,
                              .n = s->n,
                              .h = s->h,
                              .w = s->w,
                              .c = s->c,
                              .o = s->o,
                              .kh = s->kh,
                              .kw = s->kw,
                              .groups = s->groups,
                              .stride_h = s->sh,
                              .stride_w = s->sw,
                              .dilation_h = s->dh,
                              .dilation_w = s->dw,
                              .pad_top = s->top,
                              .pad_bottom = s->bottom,
                              .pad_left = s->left,
                              .pad_right = s->right};
  int64_t oh, ow;
  assert_int_equal(mica_convolution_output(&v, &oh, &ow), MICA_OK);
  const int64_t in = v.c / v.groups, out = v.o / v.groups;
  const int64_t nx = v.n * v.h * v.w * v.c, ny = v.n * oh * ow * v.o, nw = v.o * v.kh * v.kw * in;
  double *x = random_array(nx), *w = random_array(nw), *dy = random_array(ny),
         *b = random_array(v.o);
  double *bc = random_array(v.c), *residual = random_array(ny);
  const bool bf16 = compute == MICA_BF16;
  double *rx = rounded(x, nx, bf16), *rw = rounded(w, nw, bf16), *rdy = rounded(dy, ny, bf16);
  double *y = zeros(ny), *dx = zeros(nx), *dw = zeros(nw), *db = zeros(v.o);
  for (int64_t n = 0; n < v.n; n++)
    for (int64_t i = 0; i < oh; i++)
      for (int64_t j = 0; j < ow; j++)
        for (int64_t o = 0; o < v.o; o++) {
          const int64_t at = ((n * oh + i) * ow + j) * v.o + o;
          db[o] += dy[at];
          for (int64_t k = 0; k < v.kh; k++)
            for (int64_t l = 0; l < v.kw; l++) {
              const int64_t h = i * v.stride_h + k * v.dilation_h - v.pad_top,
                            ww = j * v.stride_w + l * v.dilation_w - v.pad_left;
              if (h < 0 || h >= v.h || ww < 0 || ww >= v.w) continue;
              for (int64_t c = 0; c < in; c++) {
                const int64_t ax = ((n * v.h + h) * v.w + ww) * v.c + o / out * in + c,
                              aw = ((o * v.kh + k) * v.kw + l) * in + c;
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
  const double small = unit * (16 + 2 * (double)(v.kh * v.kw * (in + out))),
               large = unit * (16 + 2 * (double)(v.n * oh * ow));
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
    memset(pdx, 0x55, (size_t)nx * mica_dtype_size(dtype));
    assert_int_equal(mica_convolution_backward_data(engines[e], &v, pdy, pw, NULL, pdx), MICA_OK);
    assert_close("backward data", number, e, &v, pdx, dx, nx, small);
    assert_int_equal(mica_convolution_backward_data(engines[e], &v, pdy, pw, pbc, pdx), MICA_OK);
    assert_close("backward data + bias", number, e, &v, pdx, dxb, nx, small);
    memset(pdw, 0x55, (size_t)nw * mica_dtype_size(dtype));
    assert_int_equal(mica_convolution_backward_weights(engines[e], &v, px, pdy, pdw, pdb), MICA_OK);
    assert_close("backward weights", number, e, &v, pdw, dw, nw, large);
    assert_close("backward bias", number, e, &v, pdb, db, v.o, large);
  }
  free(x), free(w), free(dy), free(b), free(bc), free(residual), free(rx), free(rw), free(rdy),
      free(y), free(dx), free(dw);
  free(db), free(plain), free(full), free(dxb), free(px), free(pw), free(pdy), free(pb), free(pbc),
      free(pr), free(py);
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
                                .h = 4,
                                .w = 4,
                                .c = 16,
                                .o = 16,
                                .kh = 3,
                                .kw = 3,
                                .groups = 1,
                                .stride_h = 1,
                                .stride_w = 1,
                                .dilation_h = 1,
                                .dilation_w = 1};
    float x[256] = {0}, w[16 * 9 * 16] = {0}, y[64] = {0};
    x[0] = NAN; /* only the first output position sees it */
    assert_int_equal(mica_convolution_forward(engines[e], &v, x, w, NULL, NULL, true, y), MICA_OK);
    for (int i = 0; i < 64; i++) assert_int_equal(isnan(y[i]) != 0, i < 16);
  }
}

static void test_refusals(void **state) {
  (void)state;
  const mica_convolution good = {.dtype = MICA_F32,
                                 .compute = MICA_F32,
                                 .n = 1,
                                 .h = 4,
                                 .w = 4,
                                 .c = 4,
                                 .o = 4,
                                 .kh = 3,
                                 .kw = 3,
                                 .groups = 2,
                                 .stride_h = 1,
                                 .stride_w = 1,
                                 .dilation_h = 1,
                                 .dilation_w = 1};
  int64_t h, w;
  assert_int_equal(mica_convolution_output(&good, &h, &w), MICA_OK);
  assert_true(h == 2 && w == 2);
  mica_convolution v = good;
  v.groups = 3;
  assert_int_equal(mica_convolution_output(&v, &h, &w), MICA_ERR_SHAPE);
  v = good;
  v.stride_w = 0;
  assert_int_equal(mica_convolution_output(&v, &h, &w), MICA_ERR_SHAPE);
  v = good;
  v.pad_left = -1;
  assert_int_equal(mica_convolution_output(&v, &h, &w), MICA_ERR_SHAPE);
  v = good;
  v.dtype = MICA_I8;
  assert_int_equal(mica_convolution_output(&v, &h, &w), MICA_ERR_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_definition),
      cmocka_unit_test(test_nan_survives),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
