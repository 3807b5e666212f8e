/* Pictures: resizing and preprocessing against Pillow. */
#include "support/test.h"

#include <mica/data.h>
#include <mica/image.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/images"

/* ---- the arithmetic of resizing ---- */

static mica_tensor *tensor_of(const mica_archive *a, const char *name) {
  const int64_t i = mica_archive_find(a, name);
  mica_tensor *t = NULL;
  if (i < 0 || mica_archive_read(a, i, &t) != MICA_OK) fail_msg("%s: no such tensor", name);
  return t;
}

static void assert_same(const char *name, const uint8_t *got, const mica_tensor *wanted) {
  const uint8_t *w = mica_tensor_data(wanted);
  for (int64_t i = 0; i < mica_tensor_count(wanted); i++)
    if (got[i] != w[i])
      fail_msg("%s: byte %lld is %d, expected %d", name, (long long)i, got[i], w[i]);
}

static void test_resize_is_pillows(void **state) {
  (void)state;
  mica_archive *a;
  assert_int_equal(mica_archive_open(GOLDEN "/resize.safetensors", &a), MICA_OK);
  int resized = 0, prepared = 0;
  for (int64_t i = 0; i < mica_archive_count(a); i++) {
    const char *key = mica_archive_name(a, i);
    char name[32], kind[32], from[64];
    int permille = 0;
    mica_image_filter filter;
    const bool is_resize = sscanf(key, "resize.%31[^.].%31[^.]", name, kind) == 2;
    const bool is_prepare = sscanf(key, "prepare.%31[^.].%31[^.].%d", name, kind, &permille) == 3;
    if (!is_resize && !is_prepare) continue;
    snprintf(from, sizeof from, "in.%s", name);
    assert_int_equal(mica_image_filter_find(kind, &filter), MICA_OK);
    mica_tensor *x = tensor_of(a, from), *wanted = tensor_of(a, key);
    const mica_shape *s = mica_tensor_shape(wanted);
    if (is_resize) {
      mica_tensor *y;
      assert_int_equal(mica_image_resize(x, s->dim[0], s->dim[1], filter, &y), MICA_OK);
      assert_same(key, mica_tensor_data(y), wanted);
      mica_tensor_free(y);
      resized++;
    } else {
      const mica_preprocess p = {s->dim[0], s->dim[1],         s->dim[2], {0},
                                 {0},       permille / 1000.0, filter};
      uint8_t *y = malloc((size_t)mica_tensor_count(wanted));
      assert_int_equal(mica_image_prepare(x, &p, y), MICA_OK);
      assert_same(key, y, wanted);
      free(y);
      prepared++;
    }
    mica_tensor_free(x);
    mica_tensor_free(wanted);
  }
  mica_archive_close(a);
  assert_int_equal(resized, 40);
  assert_int_equal(prepared, 36);
}

static void test_preprocess_errors(void **state) {
  (void)state;
  mica_tensor *x;
  uint8_t y[12];
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(4, 4, 3), &x), MICA_OK);
  memset(mica_tensor_data(x), 7, 48);
  const mica_preprocess good = {2, 2, 3, {0}, {0}, 0, MICA_FILTER_BILINEAR};
  mica_preprocess bad = good;
  assert_int_equal(mica_image_prepare(x, &good, y), MICA_OK);
  for (int i = 0; i < 12; i++) assert_int_equal(y[i], 7);
  bad.crop = 1.5;
  assert_int_equal(mica_image_prepare(x, &bad, y), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "crop 1.5"));
  bad = good;
  bad.channels = 2;
  assert_int_equal(mica_image_prepare(x, &bad, y), MICA_ERR_INVALID);
  bad = good;
  bad.interpolation = (mica_image_filter)9;
  assert_int_equal(mica_image_prepare(x, &bad, y), MICA_ERR_INVALID);
  mica_image_filter filter;
  assert_int_equal(mica_image_filter_find("lanczos", &filter), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "'lanczos', expected bilinear or bicubic"));
  mica_tensor_free(x);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(4, 4, 3), &x), MICA_OK);
  assert_int_equal(mica_image_prepare(x, &good, y), MICA_ERR_SHAPE);
  mica_tensor_free(x);
}

static void test_normalise(void **state) {
  (void)state;
  const mica_preprocess p = {1, 2, 3, {0.5, 0, 1}, {0.5, 1, 2}, 1, MICA_FILTER_BILINEAR};
  const uint8_t pixels[12] = {0, 0, 255, 255, 51, 0, 255, 255, 255, 0, 0, 0};
  const float wanted[12] = {-1, 0, 0, 1, 0.2f, -0.5f, 1, 1, 0, -1, 0, -0.5f};
  float got[12];
  mica_image_normalise(&p, pixels, 2, got);
  for (int i = 0; i < 12; i++) assert_float_equal(got[i], wanted[i], 1e-6f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize_is_pillows),
      cmocka_unit_test(test_preprocess_errors),
      cmocka_unit_test(test_normalise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
