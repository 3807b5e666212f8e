/* Thumbnails as PNG (W3C Recommendation, 2003). The data room writes images with libpng where it
 * exists; reports must look the same in a build without it, and their pictures are small: so the
 * deflate stream (RFC 1951) here is one block of fixed codes with greedy matches, which comes
 * within some tenths of zlib's size on pictures of this kind. */
#include "report/png.h"

#include <stdlib.h>
#include <string.h>

enum { HASH_BITS = 12, WINDOW = 32768, MATCH_MIN = 3, MATCH_MAX = 258, CHAIN = 32 };

typedef struct bit_writer {
  uint8_t *to; /* has room for the worst case */
  size_t length;
  uint64_t bits;
  int count;
} bit_writer;

/* Least significant bit first. */
static void put_bits(bit_writer *w, uint32_t value, int n) {
  w->bits |= (uint64_t)value << w->count;
  w->count += n;
  while (w->count >= 8) {
    w->to[w->length++] = (uint8_t)w->bits;
    w->bits >>= 8;
    w->count -= 8;
  }
}

/* Huffman codes come most significant bit first. */
static void put_code(bit_writer *w, uint32_t code, int n) {
  uint32_t reversed = 0;
  for (int i = 0; i < n; i++) reversed |= (code >> i & 1) << (n - 1 - i);
  put_bits(w, reversed, n);
}

static void put_symbol(bit_writer *w, uint32_t symbol) {
  if (symbol < 144)
    put_code(w, 0x30 + symbol, 8);
  else if (symbol < 256)
    put_code(w, 0x190 + symbol - 144, 9);
  else if (symbol < 280)
    put_code(w, symbol - 256, 7);
  else
    put_code(w, 0xc0 + symbol - 280, 8);
}

static void put_match(bit_writer *w, uint32_t length, uint32_t distance) {
  /* lengths 3..10 have a code each; from there on each four codes span twice as much; 258 is alone
   */
  if (length == MATCH_MAX) {
    put_symbol(w, 285);
  } else {
    uint32_t rest = length - 3, extra = 0;
    while (rest >> (extra + 3)) extra++;
    put_symbol(w, 257 + 4 * extra + (rest >> extra));
    put_bits(w, rest & ((1u << extra) - 1), (int)extra);
  }
  /* distances 1..4 likewise, and each two codes span twice as much */
  uint32_t rest = distance - 1, extra = 0;
  while (rest >> (extra + 2)) extra++;
  put_code(w, 2 * extra + (rest >> extra), 5);
  put_bits(w, rest & ((1u << extra) - 1), (int)extra);
}

static uint32_t hash3(const uint8_t *p) {
  const uint32_t word = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
  return word * 0x9e3779b1u >> (32 - HASH_BITS);
}

/* One zlib stream (RFC 1950) of the n bytes, which fits in n + n / 8 + 64 bytes. */
static mica_status compress_zlib(const uint8_t *bytes, size_t n, uint8_t *to, size_t *length) {
  int32_t *head = mica_malloc(sizeof(int32_t) << HASH_BITS);
  int32_t *previous = mica_realloc_array(NULL, n ? n : 1, sizeof *previous);
  if (!head || !previous) {
    mica_free(head);
    mica_free(previous);
    return MICA_ERR_MEMORY;
  }
  for (size_t i = 0; i < (size_t)1 << HASH_BITS; i++) head[i] = -1;
  bit_writer w = {.to = to};
  put_bits(&w, 0x78, 8);
  put_bits(&w, 0x01, 8);
  put_bits(&w, 1, 1); /* the last block */
  put_bits(&w, 1, 2); /* fixed codes */
  for (size_t i = 0; i < n;) {
    size_t best = 0, distance = 0;
    if (n - i >= MATCH_MIN) {
      const size_t limit = n - i < MATCH_MAX ? n - i : MATCH_MAX;
      int32_t at = head[hash3(bytes + i)];
      for (int tries = 0; tries < CHAIN && at >= 0 && i - (size_t)at <= WINDOW; tries++) {
        size_t same = 0;
        while (same < limit && bytes[(size_t)at + same] == bytes[i + same]) same++;
        if (same > best) {
          best = same;
          distance = i - (size_t)at;
        }
        at = previous[at];
      }
    }
    const size_t advance = best >= MATCH_MIN ? best : 1;
    if (best >= MATCH_MIN)
      put_match(&w, (uint32_t)best, (uint32_t)distance);
    else
      put_symbol(&w, bytes[i]);
    for (size_t end = i + advance; i < end; i++)
      if (n - i >= MATCH_MIN) {
        const uint32_t h = hash3(bytes + i);
        previous[i] = head[h];
        head[h] = (int32_t)i;
      }
  }
  put_symbol(&w, 256);
  if (w.count) put_bits(&w, 0, 8 - w.count);
  uint32_t a = 1, b = 0; /* Adler-32 */
  for (size_t i = 0; i < n; i++) {
    a = (a + bytes[i]) % 65521;
    b = (b + a) % 65521;
  }
  const uint32_t sum = b << 16 | a;
  for (int shift = 24; shift >= 0; shift -= 8) w.to[w.length++] = (uint8_t)(sum >> shift);
  *length = w.length;
  mica_free(head);
  mica_free(previous);
  return MICA_OK;
}

static void put_u32(uint8_t *to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* CRC-32 of IEEE 802.3, four bits at a time. */
static uint32_t crc32(const uint8_t *bytes, size_t n) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i++) {
    crc ^= bytes[i];
    for (int half = 0; half < 2; half++) {
      uint32_t step = crc & 15;
      for (int bit = 0; bit < 4; bit++) step = step & 1 ? step >> 1 ^ 0xedb88320u : step >> 1;
      crc = crc >> 4 ^ step;
    }
  }
  return ~crc;
}

/* A chunk whose n bytes of content already stand behind its first 8 bytes. */
static size_t close_chunk(uint8_t *chunk, const char *type, size_t n) {
  put_u32(chunk, (uint32_t)n);
  memcpy(chunk + 4, type, 4);
  put_u32(chunk + 8 + n, crc32(chunk + 4, n + 4));
  return n + 12;
}

static uint8_t paeth(int left, int up, int corner) {
  const int p = left + up - corner;
  const int a = abs(p - left), b = abs(p - up), c = abs(p - corner);
  return (uint8_t)(a <= b && a <= c ? left : b <= c ? up : corner);
}

/* Filter one row into to[0..bytes], with the kind whose sum of absolute differences is least, which
 * is the standard's advice. `up` is NULL for the first row. */
static void filter_row(const uint8_t *row, const uint8_t *up, size_t bytes, size_t pixel,
                       uint8_t *to) {
  uint64_t least = UINT64_MAX;
  int best = 0;
  for (int pass = 0; pass < 6; pass++) {
    const int kind = pass < 5 ? pass : best;
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; i++) {
      const int left = i >= pixel ? row[i - pixel] : 0;
      const int above = up ? up[i] : 0;
      const int corner = up && i >= pixel ? up[i - pixel] : 0;
      const int guess = kind == 0   ? 0
                        : kind == 1 ? left
                        : kind == 2 ? above
                        : kind == 3 ? (left + above) / 2
                                    : paeth(left, above, corner);
      const uint8_t rest = (uint8_t)(row[i] - guess);
      if (pass == 5) to[i + 1] = rest;
      sum += rest < 128 ? rest : 256u - rest;
    }
    if (pass < 5 && sum < least) {
      least = sum;
      best = kind;
    }
  }
  to[0] = (uint8_t)best;
}

mica_status mica_png_thumbnail(const mica_picture *picture, uint8_t **png, size_t *length) {
  static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const size_t pixel = (size_t)picture->channels, row = (size_t)picture->width * pixel;
  const size_t height = (size_t)picture->height, raw_bytes = (row + 1) * height;
  uint8_t *raw = mica_malloc(raw_bytes);
  uint8_t *out = mica_malloc(8 + 25 + 12 + raw_bytes + raw_bytes / 8 + 64 + 12);
  mica_status status = raw && out ? MICA_OK : MICA_ERR_MEMORY;
  size_t at = 0, compressed = 0;
  if (!status) {
    for (size_t y = 0; y < height; y++)
      filter_row(picture->pixels + y * row, y ? picture->pixels + (y - 1) * row : NULL, row, pixel,
                 raw + y * (row + 1));
    memcpy(out, signature, 8);
    at = 8;
    uint8_t *header = out + at + 8;
    put_u32(header, (uint32_t)picture->width);
    put_u32(header + 4, (uint32_t)picture->height);
    header[8] = 8;
    header[9] = picture->channels == 1 ? 0 : picture->channels == 3 ? 2 : 6;
    header[10] = header[11] = header[12] = 0;
    at += close_chunk(out + at, "IHDR", 13);
    status = compress_zlib(raw, raw_bytes, out + at + 8, &compressed);
  }
  mica_free(raw);
  if (status) {
    mica_free(out);
    return status;
  }
  at += close_chunk(out + at, "IDAT", compressed);
  at += close_chunk(out + at, "IEND", 0);
  *png = out;
  *length = at;
  return MICA_OK;
}
