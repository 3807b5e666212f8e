/* Properties of code points (Unicode 16.0) and the canonical forms NFD and NFC (UAX 15). */
#ifndef MICA_DATA_UNICODE_H
#define MICA_DATA_UNICODE_H

#include <mica/base.h>

#define MICA_UNICODE_REPLACEMENT 0xfffdu

enum {
  MICA_UNICODE_LETTER = 1,       /* L* */
  MICA_UNICODE_NUMBER = 2,       /* N* */
  MICA_UNICODE_SPACE = 4,        /* White_Space */
  MICA_UNICODE_CONTROL = 8,      /* Cc, Cf, Co */
  MICA_UNICODE_PUNCTUATION = 16, /* P* */
  MICA_UNICODE_MARK = 32         /* Mn */
};
unsigned mica_unicode_flags(uint32_t code);

/* The small letter of a capital one, without regard to its neighbours; other code points as they
 * are. U+0130 gives i, and *dot (which may be NULL) tells that U+0307 follows. */
uint32_t mica_unicode_lower(uint32_t code, bool *dot);

/* The code point at text[0..n), n > 0, and the bytes that it takes; a byte that begins no
 * well-formed one is a U+FFFD of one byte. */
uint32_t mica_unicode_next(const char *text, size_t n, size_t *length);

/* A text as code points. Begin with {0}. */
typedef struct mica_codes {
  uint32_t *code;
  size_t n, room;
} mica_codes;
mica_status mica_codes_push(mica_codes *c, uint32_t code);
void mica_codes_free(mica_codes *c);
/* Append the code points of text[0..n). */
mica_status mica_codes_read(mica_codes *c, const char *text, size_t n);
/* Append `from`, canonically decomposed (NFD). */
mica_status mica_codes_decompose(mica_codes *c, const mica_codes *from);
/* Compose what is decomposed (NFC). */
void mica_codes_compose(mica_codes *c);

#endif
