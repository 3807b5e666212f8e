/* Parts and views of pictures, regions made larger and square, histograms of gradients, and the
 * hidden layer of a plain convolutional network. */
#include "support/estimator.h"
#include "support/failing_alloc.h"

#include <mica/mica.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static mica_tensor *picture_of(int64_t h, int64_t w, int64_t c) {
  mica_tensor *t;
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(h, w, c), &t), MICA_OK);
  uint8_t *p = mica_tensor_data(t);
  for (int64_t i = 0; i < h * w * c; i++) p[i] = (uint8_t)(i * 37 % 251);
  return t;
}

static const uint8_t *bytes(const mica_tensor *t) {
  return mica_tensor_data(t);
}

/* ---- regions ---- */

static void same_region(mica_region r, int64_t y, int64_t x, int64_t h, int64_t w) {
  if (r.y != y || r.x != x || r.height != h || r.width != w)
    fail_msg("%lld %lld %lld %lld", (long long)r.y, (long long)r.x, (long long)r.height,
             (long long)r.width);
}

static void test_regions(void **state) {
  (void)state;
  const mica_region r = {10, 20, 8, 4};
  same_region(mica_region_enlarge(r, 1.5, 100, 100), 8, 19, 12, 6);
  same_region(mica_region_enlarge(r, 1, 100, 100), 10, 20, 8, 4);
  same_region(mica_region_enlarge(r, 50, 100, 90), 0, 0, 100, 90);
  same_region(mica_region_enlarge((mica_region){0, 0, 4, 4}, 1.5, 100, 100), 0, 0, 5, 5);
  same_region(mica_region_enlarge(r, 0, 100, 100), 14, 22, 1, 1);
  same_region(mica_region_square(r, 100, 100), 10, 18, 8, 8);
  same_region(mica_region_square((mica_region){0, 0, 8, 2}, 100, 100), 0, 0, 8, 8);
  same_region(mica_region_square((mica_region){0, 30, 2, 60}, 40, 100), 0, 40, 40, 40);
}

/* ---- pictures ---- */

static void test_crops(void **state) {
  (void)state;
  mica_tensor *t = picture_of(5, 7, 3), *part;
  const mica_region r = {1, 2, 3, 4};
  assert_int_equal(mica_picture_crop(t, &r, &part), MICA_OK);
  for (int64_t y = 0; y < 3; y++)
    for (int64_t x = 0; x < 12; x++)
      assert_int_equal(bytes(part)[y * 12 + x], bytes(t)[(y + 1) * 21 + 6 + x]);
  mica_tensor_free(part);
  static const mica_region bad[] = {
      {3, 0, 3, 1}, {0, 0, 0, 1}, {-1, 0, 2, 2}, {0, 6, 1, 2}, {INT64_MAX, 0, 1, 1}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(mica_picture_crop(t, &bad[i], &part), MICA_ERR_INVALID);
    assert_null(part);
  }
  mica_tensor_free(t);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(2, 2, 1), &t), MICA_OK);
  assert_int_equal(mica_picture_crop(t, &r, &part), MICA_ERR_SHAPE);
  mica_tensor_free(t);
}

static void test_affine(void **state) {
  (void)state;
  mica_tensor *t = picture_of(4, 5, 1), *out;
  const double same[6] = {1, 0, 0, 0, 1, 0}, down[6] = {1, 0, -1, 0, 1, 0};
  const double between[6] = {1, 0, 0, 0, 1, 0.25}, turn[6] = {-1, 0, 3, 0, -1, 4};
  assert_int_equal(mica_picture_affine(t, same, 0, &out), MICA_OK);
  assert_memory_equal(bytes(out), bytes(t), 20);
  mica_tensor_free(out);
  assert_int_equal(mica_picture_affine(t, down, 9, &out), MICA_OK);
  for (int x = 0; x < 5; x++) assert_int_equal(bytes(out)[x], 9);
  assert_memory_equal(bytes(out) + 5, bytes(t), 15);
  mica_tensor_free(out);
  assert_int_equal(mica_picture_affine(t, down, -1, &out), MICA_OK);
  assert_memory_equal(bytes(out), bytes(t), 5);
  mica_tensor_free(out);
  assert_int_equal(mica_picture_affine(t, between, -1, &out), MICA_OK);
  assert_int_equal(bytes(out)[0], (int)lround(0.75 * bytes(t)[0] + 0.25 * bytes(t)[1]));
  assert_int_equal(bytes(out)[4], bytes(t)[4]);
  mica_tensor_free(out);
  assert_int_equal(mica_picture_affine(t, turn, 0, &out), MICA_OK);
  for (int i = 0; i < 20; i++) assert_int_equal(bytes(out)[i], bytes(t)[19 - i]);
  mica_tensor_free(out);
  const double far[6] = {1e8, 0, 0, 0, 1, 0}, bad[6] = {NAN, 0, 0, 0, 1, 0};
  assert_int_equal(mica_picture_affine(t, far, 3, &out), MICA_OK);
  for (int x = 0; x < 5; x++) assert_int_equal(bytes(out)[x], bytes(t)[x]);
  for (int i = 5; i < 20; i++) assert_int_equal(bytes(out)[i], 3);
  mica_tensor_free(out);
  assert_int_equal(mica_picture_affine(t, bad, 0, &out), MICA_ERR_INVALID);
  assert_int_equal(mica_picture_affine(t, same, 256, &out), MICA_ERR_INVALID);
  assert_int_equal(mica_picture_affine(t, same, -2, &out), MICA_ERR_INVALID);
  mica_tensor_free(t);
}

static void test_views(void **state) {
  (void)state;
  mica_tensor *t = picture_of(6, 9, 3), *out, *mirrored, *wanted;
  const mica_region part[] = {{0, 0, 6, 9}, {0, 0, 4, 6}, {0, 3, 4, 6},
                              {2, 0, 4, 6}, {2, 3, 4, 6}, {1, 1, 4, 6}};
  for (int v = 0; v < 6; v++) {
    assert_int_equal(mica_picture_view(t, NULL, v, &out), MICA_OK);
    assert_int_equal(mica_picture_crop(t, &part[v], &wanted), MICA_OK);
    assert_int_equal(mica_tensor_count(out), mica_tensor_count(wanted));
    assert_memory_equal(bytes(out), bytes(wanted), (size_t)mica_tensor_count(out));
    mica_tensor_free(out);
    mica_tensor_free(wanted);
  }
  for (int v = 0; v < 8; v++) {
    assert_int_equal(mica_picture_view(t, NULL, v, &out), MICA_OK);
    assert_int_equal(mica_picture_view(t, NULL, v + 8, &mirrored), MICA_OK);
    const int64_t w = mica_tensor_dim(out, 1), n = mica_tensor_count(out);
    for (int64_t i = 0; i < n; i++) {
      const int64_t row = i / (3 * w), x = i / 3 % w;
      assert_int_equal(bytes(out)[i], bytes(mirrored)[(row * w + w - 1 - x) * 3 + i % 3]);
    }
    mica_tensor_free(out);
    mica_tensor_free(mirrored);
  }
  /* A right angle moves pixels; back by it is the other way around. */
  mica_tensor *square = picture_of(5, 5, 1);
  mica_picture_views_options o = MICA_PICTURE_VIEWS_OPTIONS;
  o.angle = 90;
  for (int v = 6; v < 8; v++) {
    assert_int_equal(mica_picture_view(square, &o, v, &out), MICA_OK);
    for (int y = 0; y < 5; y++)
      for (int x = 0; x < 5; x++)
        assert_int_equal(bytes(out)[5 * y + x],
                         bytes(square)[v == 6 ? 5 * x + 4 - y : 5 * (4 - x) + y]);
    mica_tensor_free(out);
  }
  assert_int_equal(mica_picture_view(square, &o, 16, &out), MICA_ERR_INVALID);
  assert_int_equal(mica_picture_view(square, &o, -1, &out), MICA_ERR_INVALID);
  o.crop = 0;
  assert_int_equal(mica_picture_view(square, &o, 0, &out), MICA_ERR_INVALID);
  assert_null(out);
  mica_tensor_free(square);
  mica_tensor_free(t);
}

/* ---- gradients ---- */

enum { SIDE = 16 };

/* Brightness that rises along a direction, in degrees against the x axis. */
static void slope(double degrees, float *p) {
  const double a = degrees * 3.14159265358979323846 / 180;
  for (int y = 0; y < SIDE; y++)
    for (int x = 0; x < SIDE; x++)
      p[y * SIDE + x] = (float)(0.5 + 0.02 * (x * cos(a) + y * sin(a)));
}

static void test_hog(void **state) {
  (void)state;
  mica_hog_options o = MICA_HOG_OPTIONS;
  assert_int_equal(mica_hog_width(NULL, SIDE, SIDE), 3 * 3 * 4 * 9);
  assert_int_equal(mica_hog_width(NULL, 7, SIDE), 0);
  o.block = 1;
  o.clip = 10;
  assert_int_equal(mica_hog_width(&o, SIDE, SIDE + 3), 4 * 4 * 9);
  float x[3][SIDE * SIDE], out[3][4 * 4 * 9];
  slope(10, x[0]);  /* the middle of the first direction of 20 degrees */
  slope(190, x[1]); /* the same line the other way */
  slope(110, x[2]);
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(3, SIDE, SIDE, 1));
  assert_int_equal(mica_hog(engine, &o, &v, &out[0][0]), MICA_OK);
  /* Inside, all of it is in one direction. */
  for (int cell = 0; cell < 16; cell++) {
    if (cell / 4 % 3 == 0 || cell % 4 % 3 == 0) continue;
    for (int b = 0; b < 9; b++) {
      assert_near(out[0][cell * 9 + b], b == 0, 1e-3);
      assert_near(out[1][cell * 9 + b], b == 0, 1e-3);
      assert_near(out[2][cell * 9 + b], b == 5, 1e-3);
    }
  }
  /* Between two directions the vote is halved. */
  slope(20, x[0]);
  assert_int_equal(mica_hog(engine, &o, &v, &out[0][0]), MICA_OK);
  assert_near(out[0][5 * 9], sqrt(0.5), 1e-3);
  assert_near(out[0][5 * 9 + 1], sqrt(0.5), 1e-3);
  /* Cut off, and the same for bytes; nothing where there is nothing. */
  uint8_t flat[SIDE * SIDE * 3];
  float nothing[3 * 3 * 4 * 9];
  memset(flat, 70, sizeof flat);
  const mica_view u = mica_view_of(flat, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 3));
  assert_int_equal(mica_hog(engine, NULL, &u, nothing), MICA_OK);
  for (int i = 0; i < 3 * 3 * 4 * 9; i++) assert_true(nothing[i] == 0);
  float bytes_out[16 * 9], float_out[16 * 9], real[SIDE * SIDE];
  uint8_t noise[SIDE * SIDE];
  for (int i = 0; i < SIDE * SIDE; i++) {
    noise[i] = (uint8_t)(i * i % 253);
    real[i] = (float)noise[i] / 255.0f;
  }
  const mica_view a = mica_view_of(noise, MICA_U8, MICA_SHAPE(1, SIDE, SIDE, 1));
  const mica_view b = mica_view_of(real, MICA_F32, MICA_SHAPE(1, SIDE, SIDE, 1));
  o.clip = 0.2;
  assert_int_equal(mica_hog(engine, &o, &a, bytes_out), MICA_OK);
  assert_int_equal(mica_hog(engine, &o, &b, float_out), MICA_OK);
  for (int i = 0; i < 16 * 9; i++) assert_near(bytes_out[i], float_out[i], 1e-5);
  /* Blocks have length 1. */
  for (int c = 0; c < 16; c++) {
    double sum = 0;
    for (int i = 0; i < 9; i++) sum += pow(bytes_out[9 * c + i], 2);
    assert_near(sum, 1, 1e-5);
  }
}

static void test_hog_errors(void **state) {
  (void)state;
  float x[SIDE * SIDE] = {0}, out[400];
  mica_hog_options o = MICA_HOG_OPTIONS;
  const mica_view small = mica_view_of(x, MICA_F32, MICA_SHAPE(1, 7, 7, 1));
  const mica_view rows = mica_view_of(x, MICA_F32, MICA_SHAPE(4, 64));
  const mica_view whole = mica_view_of(x, MICA_F32, MICA_SHAPE(1, SIDE, SIDE, 1));
  assert_int_equal(mica_hog(engine, NULL, &small, out), MICA_ERR_INVALID);
  assert_int_equal(mica_hog(engine, NULL, &rows, out), MICA_ERR_SHAPE);
  o.bins = 0;
  assert_int_equal(mica_hog(engine, &o, &whole, out), MICA_ERR_INVALID);
  x[70] = NAN;
  assert_int_equal(mica_hog(engine, NULL, &whole, out), MICA_ERR_NUMERIC);
  x[70] = 0;
  x[0] = NAN; /* a vote with no direction must not leave the first cell */
  assert_int_equal(mica_hog(engine, NULL, &whole, out), MICA_ERR_NUMERIC);
}

/* ---- the hidden layer ---- */

static void test_hidden(void **state) {
  (void)state;
  mica_net *net;
  mica_tensor *x, *y;
  const mica_problem problem = MICA_PROBLEM_IMAGES(12, 20, 1, 3);
  assert_int_equal(
      mica_net_create(engine, "convnet:widths=4,6:convolutions=1:hidden=10", &problem, 1, &net),
      MICA_OK);
  assert_int_equal(mica_net_features(net), 10);
  const mica_param *w = mica_params_find(mica_net_params(net), "hidden.weight");
  assert_non_null(w);
  assert_int_equal(mica_tensor_dim(mica_param_value(w), 1), 3 * 5 * 6);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(2, 12, 20, 1), &x), MICA_OK);
  for (int i = 0; i < 480; i++) ((float *)mica_tensor_data(x))[i] = (float)(i % 17) / 17;
  assert_int_equal(mica_claim_features(net, x, &y), MICA_OK);
  double sum = 0;
  for (int i = 0; i < 20; i++) {
    const float v = ((float *)mica_tensor_data(y))[i];
    assert_true(v >= 0);
    sum += (double)v;
  }
  assert_true(sum > 0);
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_net_free(net);
  /* Sides that poolings use up. */
  const mica_problem tiny = MICA_PROBLEM_IMAGES(2, 9, 1, 0);
  assert_int_equal(
      mica_net_create(engine, "convnet:widths=4,6,8:convolutions=1:hidden=5", &tiny, 1, &net),
      MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(1, 2, 9, 1), &x), MICA_OK);
  memset(mica_tensor_data(x), 0, 18 * sizeof(float));
  assert_int_equal(mica_claim_features(net, x, &y), MICA_OK);
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_net_free(net);
}

static mica_status life(void *ctx) {
  (void)ctx;
  static float x[SIDE * SIDE], out[400];
  mica_tensor *t = NULL, *view = NULL, *part = NULL;
  const mica_region r = {0, 0, 2, 2};
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(6, 6, 1), &t);
  if (!status) memset(mica_tensor_data(t), 1, 36);
  if (!status) status = mica_picture_view(t, NULL, 14, &view);
  if (!status) status = mica_picture_crop(t, &r, &part);
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(1, SIDE, SIDE, 1));
  if (!status) status = mica_hog(engine, NULL, &v, out);
  mica_tensor_free(t);
  mica_tensor_free(view);
  mica_tensor_free(part);
  return status;
}

static void test_failing_memory(void **state) {
  (void)state;
  assert_int_equal(life(NULL), MICA_OK);
  fail_each(life, NULL);
}

static int set_up(void **state) {
  (void)state;
  engine = test_engine(1);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_regions), cmocka_unit_test(test_crops),
      cmocka_unit_test(test_affine),  cmocka_unit_test(test_views),
      cmocka_unit_test(test_hog),     cmocka_unit_test(test_hog_errors),
      cmocka_unit_test(test_hidden),  cmocka_unit_test(test_failing_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
