/* report/markup.h: escapes for XML and HTML, coordinates and base64, appended to a growing buffer.
 *
 * The buffer's first error latches, so that drawing code reads straight through and is checked
 * once, by mica_markup_finish.
 */
#ifndef MICA_REPORT_MARKUP_H
#define MICA_REPORT_MARKUP_H

#include "base/buffer.h"

/* Escaped for XML and HTML content and for attributes in double quotes. What is not UTF-8, and
 * characters that XML forbids, become U+FFFD. NULL is nothing. */
void mica_markup_escaped(mica_bytes *m, const char *text);
/* The first n bytes of text, escaped. */
void mica_markup_escaped_n(mica_bytes *m, const char *text, size_t n);

/* A coordinate to a tenth of a pixel; clamped to +-100000. */
void mica_markup_coordinate(mica_bytes *m, double value);

/* Bytes in base64 (RFC 4648). */
void mica_markup_base64(mica_bytes *m, const uint8_t *bytes, size_t n);

/* Hand over the text (to release with mica_free, its length unless NULL) or the latched error.
 * Either way the buffer is empty again. */
mica_status mica_markup_finish(mica_bytes *m, char **text, size_t *length);

/* ---- characters ---- */

/* Decode the character at `text` (not at its end, NUL-terminated): its bytes, and its code point
 * into `code`. What is not UTF-8 is one byte with the code U+FFFD. */
int mica_utf8_next(const char *text, uint32_t *code);
/* Columns that a terminal gives to a code point: 0 for combining marks, 2 for wide ones, else 1. */
int mica_code_columns(uint32_t code);
/* Whether a code point is text rather than a control character or a noncharacter. */
bool mica_code_is_text(uint32_t code);

#endif
