/* UTF-8, checked. */
#ifndef MICA_BASE_UTF8_H
#define MICA_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed sequence at text[0..n): 1 to 4; 0 when there is none (cut short,
 * overlong, a surrogate, beyond U+10FFFF). */
size_t mica_utf8_length(const char *text, size_t n);

/* Write the code point as 1 to 4 bytes; returns their number. It must be valid. */
size_t mica_utf8_encode(uint32_t code, char out[4]);

#endif
