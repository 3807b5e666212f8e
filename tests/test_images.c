/* Pictures: decoding, resizing and preprocessing against Pillow; damaged and hostile files. */
#include "support/failing_alloc.h"
#include "support/test.h"

#include "base/file.h"

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
                                 {0},       permille / 1000.0, filter,    MICA_FIT_COVER};
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
  assert_int_equal(resized, 80);
  assert_int_equal(prepared, 72);
}

static void test_preprocess_errors(void **state) {
  (void)state;
  mica_tensor *x;
  uint8_t y[12];
  assert_int_equal(mica_tensor_create(MICA_U8, MICA_SHAPE(4, 4, 3), &x), MICA_OK);
  memset(mica_tensor_data(x), 7, 48);
  const mica_preprocess good = {2, 2, 3, {0}, {0}, 0, MICA_FILTER_BILINEAR, MICA_FIT_COVER};
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
  assert_int_equal(mica_image_filter_find("hamming", &filter), MICA_ERR_INVALID);
  assert_non_null(
      strstr(mica_last_error(), "'hamming', expected bilinear, bicubic, box or lanczos"));
  mica_tensor_free(x);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(4, 4, 3), &x), MICA_OK);
  assert_int_equal(mica_image_prepare(x, &good, y), MICA_ERR_SHAPE);
  mica_tensor_free(x);
}

static void test_normalise(void **state) {
  (void)state;
  const mica_preprocess p = {
      1, 2, 3, {0.5, 0, 1}, {0.5, 1, 2}, 1, MICA_FILTER_BILINEAR, MICA_FIT_COVER};
  const uint8_t pixels[12] = {0, 0, 255, 255, 51, 0, 255, 255, 255, 0, 0, 0};
  const float wanted[12] = {-1, 0, 0, 1, 0.2f, -0.5f, 1, 1, 0, -1, 0, -0.5f};
  float got[12];
  mica_image_normalise(&p, pixels, 2, got);
  for (int i = 0; i < 12; i++) assert_float_equal(got[i], wanted[i], 1e-6f);
}

/* ---- files ---- */

/* The build without libraries reads PPM and PGM only. */
static bool can_read(const char *file) {
#ifdef MICA_HAVE_PNG
  if (strstr(file, ".png")) return true;
#endif
#ifdef MICA_HAVE_JPEG
  if (strstr(file, ".jpg")) return true;
#endif
  return strstr(file, ".p") && !strstr(file, ".png");
}

static void test_every_kind_of_file(void **state) {
  (void)state;
  mica_archive *a;
  assert_int_equal(mica_archive_open(GOLDEN "/decode.safetensors", &a), MICA_OK);
  assert_int_equal(mica_archive_count(a), 23);
  for (int64_t i = 0; i < mica_archive_count(a); i++) {
    const char *file = mica_archive_name(a, i);
    char path[128];
    mica_tensor *got = NULL, *wanted = tensor_of(a, file);
    snprintf(path, sizeof path, GOLDEN "/%s", file);
    const mica_status status = mica_image_read(path, &got);
    if (!can_read(file)) {
      assert_int_equal(status, MICA_ERR_UNSUPPORTED);
    } else {
      if (status != MICA_OK) fail_msg("%s", mica_last_error());
      if (!mica_shape_equal(mica_tensor_shape(got), mica_tensor_shape(wanted)))
        fail_msg("%s: another shape", file);
      /* JPEG leaves the last bit of its transform to the library; the lossless are exact. */
      const int tolerance = strstr(file, ".jpg") ? 4 : 0;
      const uint8_t *x = mica_tensor_data(got), *y = mica_tensor_data(wanted);
      for (int64_t k = 0; k < mica_tensor_count(got); k++)
        if (abs(x[k] - y[k]) > tolerance)
          fail_msg("%s: byte %lld is %d, expected %d", file, (long long)k, x[k], y[k]);
    }
    mica_tensor_free(got);
    mica_tensor_free(wanted);
  }
  mica_archive_close(a);
}

static void refuse(const void *bytes, size_t n, mica_status status, const char *part) {
  mica_tensor *image;
  /* A copy of the exact length, so that a read beyond it shows. */
  uint8_t *exact = malloc(n ? n : 1);
  memcpy(exact, bytes, n);
  const mica_status got = mica_image_decode(exact, n, "bad", &image);
  free(exact);
  if (got != status) fail_msg("status %d for \"%s\"", (int)got, got ? mica_last_error() : part);
  assert_null(image);
  if (!strstr(mica_last_error(), part)) fail_msg("\"%s\" lacks \"%s\"", mica_last_error(), part);
}

static void test_no_pictures(void **state) {
  (void)state;
  refuse("", 0, MICA_ERR_FORMAT, "bad: is empty, expected a picture");
  refuse("<html>not here</html>", 21, MICA_ERR_FORMAT, "bad: not a picture: expected PNG, JPEG");
  refuse("P5 4 4 255\n....", 15, MICA_ERR_FORMAT, "truncated: 4x4 pixels announced, 4 bytes there");
  refuse("P6 99999999 99999999 255\n", 25, MICA_ERR_FORMAT, "99999999x99999999 pixels announced");
  refuse("P5 0 4 255\n....", 15, MICA_ERR_FORMAT, "PNM: expected width, height");
  refuse("P5 4 4 65536\n....", 17, MICA_ERR_FORMAT, "PNM: expected width, height");
  refuse("P5 4 99999999999999999999 255\n", 30, MICA_ERR_FORMAT, "PNM: expected width, height");
  mica_tensor *image;
  assert_int_equal(mica_image_read("no/such.png", &image), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "no/such.png"));
}

#ifdef MICA_HAVE_PNG
static void test_hostile_png(void **state) {
  (void)state;
  uint8_t *bytes;
  size_t n;
  assert_int_equal(mica_file_read(GOLDEN "/colour.png", 1 << 20, &bytes, &n), MICA_OK);
  for (size_t cut = 8; cut + 20 < n; cut += 7)
    refuse(bytes, cut, MICA_ERR_FORMAT, "PNG: truncated: the file ends in the middle");
  bytes[n - 20] ^= 1; /* in the checksum of the pixels, or the pixels */
  refuse(bytes, n, MICA_ERR_FORMAT, "PNG: ");
  mica_free(bytes);
  /* 65535 x 4096 pixels in a file of less than a kilobyte. */
  static const uint8_t bomb[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0,    0,
                                 13,   'I', 'H', 'D', 'R',  0,    0,    0xff, 0xff, 0,    0,
                                 0x10, 0,   8,   2,   0,    0,    0,    0xf4, 0xa0, 0x8e, 0x99,
                                 0,    0,   0,   10,  'I',  'D',  'A',  'T',  0x78, 0x9c, 0x63};
  uint8_t padded[1000] = {0};
  memcpy(padded, bomb, sizeof bomb);
  /* The head's checksum: the CRC of zip and PNG over type and contents. */
  uint32_t crc = 0xffffffffu;
  for (int i = 12; i < 29; i++) {
    crc ^= padded[i];
    for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  crc = ~crc;
  for (int i = 0; i < 4; i++) padded[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
  refuse(padded, sizeof padded, MICA_ERR_FORMAT,
         "PNG: 4096x65535 pixels announced, 1000 bytes cannot hold them");
}
#endif

#ifdef MICA_HAVE_JPEG
static void test_hostile_jpeg(void **state) {
  (void)state;
  uint8_t *bytes;
  size_t n;
  assert_int_equal(mica_file_read(GOLDEN "/progressive.jpg", 1 << 20, &bytes, &n), MICA_OK);
  for (size_t cut = 4; cut + 2 < n; cut += 13) refuse(bytes, cut, MICA_ERR_FORMAT, "JPEG: ");
  refuse(bytes, n - 5, MICA_ERR_FORMAT, "JPEG: truncated: the file ends in the middle");
  /* Bytes that do not belong there bring a warning, and the picture. */
  uint8_t *odd = malloc(n + 2);
  mica_tensor *image, *same;
  assert_int_equal(mica_image_decode(bytes, n, "good", &image), MICA_OK);
  memcpy(odd, bytes, n - 2);
  memcpy(odd + n - 2, "xy\xff\xd9", 4);
  if (mica_image_decode(odd, n + 2, "odd", &same) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_memory_equal(mica_tensor_data(image), mica_tensor_data(same),
                      (size_t)mica_tensor_count(image));
  mica_tensor_free(image);
  mica_tensor_free(same);
  free(odd);
  /* The size in the frame's head: 65500 x 65500. */
  for (size_t i = 2; i + 9 < n; i++)
    if (bytes[i] == 0xff && bytes[i + 1] == 0xc2) {
      memcpy(bytes + i + 5, "\xff\xdc\xff\xdc", 4);
      break;
    }
  refuse(bytes, n, MICA_ERR_FORMAT, "JPEG: 65500x65500 pixels announced");
  mica_free(bytes);
}
#endif

static mica_status read_one(void *path) {
  mica_tensor *image;
  mica_status status = mica_image_read(path, &image);
  uint8_t small[5 * 4 * 3];
  if (status == MICA_OK) status = mica_image_cover(image, 5, 4, 3, small);
  mica_tensor_free(image);
  return status;
}

static void test_each_allocation_fails(void **state) {
  (void)state;
  static char ppm[] = GOLDEN "/colour.ppm";
  assert_true(fail_each(read_one, ppm) > 5);
#ifdef MICA_HAVE_PNG
  static char alpha[] = GOLDEN "/grey-alpha.png", turned[] = GOLDEN "/exif.png";
  assert_true(fail_each(read_one, alpha) > 8);
  assert_true(fail_each(read_one, turned) > 8);
#endif
#ifdef MICA_HAVE_JPEG
  static char cmyk[] = GOLDEN "/cmyk.jpg", jpeg[] = GOLDEN "/orientation-7.jpg";
  assert_true(fail_each(read_one, cmyk) > 5);
  assert_true(fail_each(read_one, jpeg) > 5);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize_is_pillows),
      cmocka_unit_test(test_preprocess_errors),
      cmocka_unit_test(test_normalise),
      cmocka_unit_test(test_every_kind_of_file),
      cmocka_unit_test(test_no_pictures),
#ifdef MICA_HAVE_PNG
      cmocka_unit_test(test_hostile_png),
#endif
#ifdef MICA_HAVE_JPEG
      cmocka_unit_test(test_hostile_jpeg),
#endif
      cmocka_unit_test(test_each_allocation_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
