/* Thumbnails: read back by a decoder that shares nothing with the encoder. */
#include "support/failing_alloc.h"

#include "report/png.h"

#include <stdlib.h>
#include <string.h>

/* ---- inflate of fixed-code blocks, straight from RFC 1951 ---- */

typedef struct bits {
  const uint8_t *bytes;
  size_t n, at; /* at: in bits */
} bits;

static unsigned take(bits *b, int n) {
  unsigned value = 0;
  for (int i = 0; i < n; i++, b->at++) {
    assert_true(b->at / 8 < b->n);
    value |= (unsigned)(b->bytes[b->at / 8] >> (b->at % 8) & 1) << i;
  }
  return value;
}

static unsigned symbol(bits *b) {
  unsigned code = 0;
  for (int length = 1; length <= 9; length++) {
    code = code << 1 | take(b, 1);
    if (length == 7 && code < 24) return 256 + code;
    if (length == 8 && code >= 48 && code < 192) return code - 48;
    if (length == 8 && code >= 192 && code < 200) return 280 + code - 192;
    if (length == 9) return 144 + code - 400;
  }
  fail();
  return 0;
}

static size_t inflate_fixed(const uint8_t *bytes, size_t n, uint8_t *to, size_t room) {
  static const unsigned base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                  31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
  static const int extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                              2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  static const unsigned far[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                 33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
  bits b = {bytes, n, 0};
  assert_int_equal(take(&b, 1), 1);
  assert_int_equal(take(&b, 2), 1);
  size_t made = 0;
  for (unsigned s; (s = symbol(&b)) != 256;) {
    if (s < 256) {
      assert_true(made < room);
      to[made++] = (uint8_t)s;
      continue;
    }
    assert_true(s <= 285);
    const unsigned length = base[s - 257] + take(&b, extra[s - 257]);
    unsigned code = 0;
    for (int i = 0; i < 5; i++) code = code << 1 | take(&b, 1);
    assert_true(code < 30);
    const unsigned distance = far[code] + take(&b, code < 4 ? 0 : (int)code / 2 - 1);
    assert_true(distance <= made && made + length <= room);
    for (unsigned i = 0; i < length; i++, made++) to[made] = to[made - distance];
  }
  assert_int_equal((b.at + 7) / 8, n);
  return made;
}

/* ---- PNG ---- */

static uint32_t u32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t crc_bitwise(const uint8_t *p, size_t n) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < n * 8; i++) {
    const uint32_t bit = (crc ^ (p[i / 8] >> (i % 8))) & 1;
    crc = crc >> 1 ^ (bit ? 0xedb88320u : 0);
  }
  return ~crc;
}

static const uint8_t *chunk(const uint8_t *at, const char *type, size_t *n) {
  *n = u32(at);
  assert_memory_equal(at + 4, type, 4);
  assert_int_equal(u32(at + 8 + *n), crc_bitwise(at + 4, *n + 4));
  return at + 8;
}

static void unfilter(uint8_t *raw, size_t height, size_t row, size_t pixel, uint8_t *out) {
  for (size_t y = 0; y < height; y++)
    for (size_t x = 0; x < row; x++) {
      const uint8_t *line = raw + y * (row + 1);
      const int a = x >= pixel ? out[y * row + x - pixel] : 0, b = y ? out[(y - 1) * row + x] : 0;
      const int c = x >= pixel && y ? out[(y - 1) * row + x - pixel] : 0;
      const int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
      const int guess[5] = {0, a, b, (a + b) / 2, pa <= pb && pa <= pc ? a : pb <= pc ? b : c};
      assert_true(line[0] < 5);
      out[y * row + x] = (uint8_t)(line[x + 1] + guess[line[0]]);
    }
}

/* Encode, decode, compare; returns the file's size. */
static size_t round_trip(const mica_picture *picture) {
  uint8_t *png = NULL;
  size_t length = 0, n;
  assert_int_equal(mica_png_thumbnail(picture, &png, &length), MICA_OK);
  assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
  const uint8_t *header = chunk(png + 8, "IHDR", &n);
  assert_int_equal(n, 13);
  assert_int_equal(u32(header), picture->width);
  assert_int_equal(u32(header + 4), picture->height);
  assert_int_equal(header[8], 8);
  assert_int_equal(header[9], picture->channels == 1 ? 0 : picture->channels == 3 ? 2 : 6);
  const uint8_t *data = chunk(header + 13 + 4, "IDAT", &n);
  assert_int_equal((data[0] << 8 | data[1]) % 31, 0);
  const size_t row = (size_t)picture->width * (size_t)picture->channels,
               height = (size_t)picture->height;
  uint8_t *raw = malloc((row + 1) * height), *out = malloc(row * height);
  assert_int_equal(inflate_fixed(data + 2, n - 6, raw, (row + 1) * height), (row + 1) * height);
  uint32_t a = 1, b = 0;
  for (size_t i = 0; i < (row + 1) * height; i++) {
    a = (a + raw[i]) % 65521;
    b = (a + b) % 65521;
  }
  assert_int_equal(u32(data + n - 4), b << 16 | a);
  unfilter(raw, height, row, (size_t)picture->channels, out);
  assert_memory_equal(out, picture->pixels, row * height);
  const uint8_t *end = chunk(data + n + 4, "IEND", &n);
  assert_int_equal(end + 4 - png, length);
  free(raw);
  free(out);
  mica_free(png);
  return length;
}

static void pictures_come_back(void **state) {
  (void)state;
  static const int size[][2] = {{1, 1}, {2, 1}, {1, 7}, {28, 28}, {33, 17}, {300, 200}};
  static uint8_t pixels[300 * 200 * 4];
  for (int kind = 0; kind < 4; kind++)
    for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1)
      for (size_t s = 0; s < sizeof size / sizeof *size; s++) {
        const int width = size[s][0], height = size[s][1];
        const mica_key key = mica_key_seed((uint64_t)kind);
        for (int i = 0; i < width * height * channels; i++)
          pixels[i] = kind == 0   ? 0
                      : kind == 1 ? (uint8_t)mica_random_bits(key, (uint64_t)i)
                      : kind == 2 ? (uint8_t)(i / channels % width + i / channels / width)
                                  : (uint8_t)(i % 251 < 100 ? 255 : i);
        const mica_picture picture = {pixels, width, height, channels};
        const size_t bytes = round_trip(&picture);
        if (kind == 0 && width == 300) assert_true(bytes < 4000);
        if (kind == 1)
          assert_true(bytes <= (size_t)(width * channels + 1) * (size_t)height * 9 / 8 + 100);
      }
}

static mica_status encode(void *ctx) {
  uint8_t *png = NULL;
  size_t length;
  const mica_status status = mica_png_thumbnail(ctx, &png, &length);
  mica_free(png);
  return status;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  static const uint8_t pixels[12] = {1, 2, 3};
  mica_picture picture = {pixels, 2, 2, 3};
  assert_int_equal(fail_each(encode, &picture), 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pictures_come_back),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
