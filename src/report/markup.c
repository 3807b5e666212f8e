/* Escapes for XML and HTML, coordinates and base64. */
#include "report/markup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

int mica_utf8_next(const char *text, uint32_t *code) {
  const unsigned char *s = (const unsigned char *)text;
  const size_t n = mica_utf8_length(text, strnlen(text, 4));
  if (n == 0) {
    *code = 0xfffd;
    return 1;
  }
  *code = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
  for (size_t i = 1; i < n; i++) *code = *code << 6 | (s[i] & 0x3fu);
  return (int)n;
}

int mica_code_columns(uint32_t code) {
  static const struct {
    uint32_t first, last;
  } combining[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                   {0x64b, 0x65f},   {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},
                   {0x202a, 0x202e}, {0x2060, 0x2064}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f},
                   {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}},
    wide[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
              {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
              {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
  for (size_t i = 0; i < sizeof combining / sizeof *combining; i++)
    if (code >= combining[i].first && code <= combining[i].last) return 0;
  for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
    if (code >= wide[i].first && code <= wide[i].last) return 2;
  return 1;
}

bool mica_code_is_text(uint32_t code) {
  if (code < 0x20) return code == '\t' || code == '\n' || code == '\r';
  return !(code >= 0x7f && code <= 0x9f) && code != 0xfffe && code != 0xffff;
}

void mica_markup_escaped_n(mica_bytes *m, const char *text, size_t n) {
  if (!text) return;
  for (const char *end = text + n; text < end && *text;) {
    uint32_t code;
    int bytes = mica_utf8_next(text, &code);
    if (bytes > end - text) { /* a character cut by the caller's n */
      bytes = (int)(end - text);
      code = 0xfffd;
    }
    switch (code) {
    case '&': mica_bytes_text(m, "&amp;"); break;
    case '<': mica_bytes_text(m, "&lt;"); break;
    case '>': mica_bytes_text(m, "&gt;"); break;
    case '"': mica_bytes_text(m, "&quot;"); break;
    case '\'': mica_bytes_text(m, "&#39;"); break;
    default:
      if (code == 0xfffd || !mica_code_is_text(code))
        mica_bytes_text(m, "\xef\xbf\xbd");
      else
        mica_bytes_append(m, text, (size_t)bytes);
    }
    text += bytes;
  }
}

void mica_markup_escaped(mica_bytes *m, const char *text) {
  if (text) mica_markup_escaped_n(m, text, strlen(text));
}

void mica_markup_coordinate(mica_bytes *m, double value) {
  if (!(value > -100000)) value = -100000; /* NaN too, which callers never pass */
  if (value > 100000) value = 100000;
  const long tenths = lround(value * 10);
  const long magnitude = tenths < 0 ? -tenths : tenths;
  char text[24];
  int n = snprintf(text, sizeof text, "%s%ld", tenths < 0 ? "-" : "", magnitude / 10);
  if (magnitude % 10) n += snprintf(text + n, sizeof text - (size_t)n, ".%ld", magnitude % 10);
  mica_bytes_append(m, text, (size_t)n);
}

void mica_markup_base64(mica_bytes *m, const uint8_t *bytes, size_t n) {
  static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const size_t length = (n + 2) / 3 * 4; /* pictures are far below SIZE_MAX / 4 */
  char *to = mica_bytes_reserve(m, length);
  if (!to) return;
  for (size_t i = 0; i < n; i += 3) {
    const size_t left = n - i;
    const uint32_t word = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                          (left > 2 ? bytes[i + 2] : 0);
    *to++ = digit[word >> 18];
    *to++ = digit[word >> 12 & 63];
    *to++ = left > 1 ? digit[word >> 6 & 63] : '=';
    *to++ = left > 2 ? digit[word & 63] : '=';
  }
  m->n += length;
  m->data[m->n] = 0;
}

mica_status mica_markup_finish(mica_bytes *m, char **text, size_t *length) {
  mica_bytes_append(m, "", 0); /* nothing at all is an empty text */
  const size_t n = m->n;
  const mica_status status = m->status;
  char *taken = mica_bytes_take(m);
  if (!status && !taken) return MICA_ERR_MEMORY;
  if (status) return status;
  *text = taken;
  if (length) *length = n;
  return MICA_OK;
}
