/* Bytes spelt as visible characters. */
#include "data/byte_pieces.h"

#include "base/utf8.h"

#include <string.h>

static bool visible(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
}

uint32_t mica_byte_code(unsigned byte) {
  if (visible(byte)) return byte;
  uint32_t code = 256;
  for (unsigned b = 0; b < byte; b++) code += !visible(b);
  return code;
}

/* The byte that a code point spells, -1 when it spells none. */
static int byte_of(uint32_t code) {
  if (code < 256) return visible(code) ? (int)code : -1;
  for (unsigned b = 0; b < 256; b++)
    if (!visible(b) && code-- == 256) return (int)b;
  return -1;
}

static size_t spell(unsigned byte, const char *suffix, char out[16]) {
  const size_t n = mica_utf8_encode(mica_byte_code(byte), out);
  strcpy(out + n, suffix);
  return n + strlen(suffix);
}

mica_status mica_byte_pieces_add(mica_pieces *p, const char *suffix) {
  char text[16];
  mica_status status = MICA_OK;
  for (unsigned pass = 0; pass < 2; pass++)
    for (unsigned b = 0; b < 256 && status == MICA_OK; b++)
      if (visible(b) == (pass == 0)) status = mica_pieces_add(p, text, spell(b, suffix, text));
  return status;
}

void mica_byte_pieces_find(const mica_pieces *p, const char *suffix, int32_t of[256]) {
  char text[16];
  for (unsigned b = 0; b < 256; b++)
    of[b] = (int32_t)mica_pieces_find(p, text, spell(b, suffix, text));
}

/* The bytes that a spelling stands for; false when it has characters that spell none. */
static bool plain_of(const char *text, size_t n, char *to, size_t *bytes) {
  *bytes = 0;
  for (size_t i = 0, length; i < n; i += length) {
    const int byte = byte_of(mica_unicode_next(text + i, n - i, &length));
    if (byte < 0) return false;
    to[(*bytes)++] = (char)byte;
  }
  return true;
}

mica_status mica_byte_pieces_plain(mica_tokenizer *t) {
  char *to = mica_malloc(t->spelling.longest + 1);
  if (!to) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  const size_t end = strlen(MICA_WORD_END);
  for (int64_t i = 0; i < t->spelling.n && status == MICA_OK; i++) {
    size_t n, bytes;
    const char *text = mica_pieces_text(&t->spelling, i, &n);
    const bool word = t->kind == MICA_TOKENIZER_CLIP && n >= end &&
                      memcmp(text + n - end, MICA_WORD_END, end) == 0;
    if (mica_tokenizer_is_special(t, i) || !plain_of(text, word ? n - end : n, to, &bytes)) {
      status = mica_pieces_add(&t->plain, text, n);
      continue;
    }
    if (word) to[bytes++] = ' ';
    status = mica_pieces_add(&t->plain, to, bytes);
  }
  mica_free(to);
  return status;
}

size_t mica_contraction(const char *text, size_t n) {
  if (n < 2 || *text != '\'') return 0;
  if (strchr("stmd", text[1]) && text[1]) return 2;
  if (n < 3) return 0;
  const char *two = text + 1;
  return memcmp(two, "re", 2) == 0 || memcmp(two, "ve", 2) == 0 || memcmp(two, "ll", 2) == 0 ? 3
                                                                                             : 0;
}
