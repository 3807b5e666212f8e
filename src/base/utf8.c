/* UTF-8 (RFC 3629). */
#include "base/utf8.h"

size_t mica_utf8_length(const char *text, size_t n) {
  if (n == 0) return 0;
  const unsigned char *p = (const unsigned char *)text;
  if (p[0] < 0x80) return 1;
  /* The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF. */
  unsigned lo = 0x80, hi = 0xbf;
  size_t length;
  if (p[0] >= 0xc2 && p[0] <= 0xdf) {
    length = 2;
  } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
    length = 3;
    if (p[0] == 0xe0) lo = 0xa0;
    if (p[0] == 0xed) hi = 0x9f;
  } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
    length = 4;
    if (p[0] == 0xf0) lo = 0x90;
    if (p[0] == 0xf4) hi = 0x8f;
  } else {
    return 0;
  }
  if (n < length || p[1] < lo || p[1] > hi) return 0;
  for (size_t i = 2; i < length; i++)
    if ((p[i] & 0xc0u) != 0x80u) return 0;
  return length;
}

size_t mica_utf8_encode(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80u | (code & 0x3fu));
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  out[0] = (char)(lead[length] | code);
  return length;
}
