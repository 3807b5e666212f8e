/* Numbers to and from text, whatever locale the host has set. */
#ifndef MICA_BASE_NUMBER_H
#define MICA_BASE_NUMBER_H

#include <mica/base.h>

/* Parse a decimal number [-+]digits[.digits][e[-+]digits] at the start of text[0..n), correctly
 * rounded. Returns the number of bytes used, 0 when there is no number. Too large gives an
 * infinity. With `words`, also "inf", "infinity" and "nan" in any case. */
size_t mica_parse_double(const char *text, size_t n, bool words, double *value);

/* Parse [-+]digits at the start; returns the bytes used, 0 when there is no number or it does not
 * fit. */
size_t mica_parse_int64(const char *text, size_t n, int64_t *value);

/* The shortest text that reads back as exactly `value`; "inf", "-inf", "nan". Returns its length.
 */
#define MICA_DOUBLE_TEXT 32
int mica_format_double(double value, char buf[MICA_DOUBLE_TEXT]);
/* The same for a float: 0.1f is "0.1". */
int mica_format_float(float value, char buf[MICA_DOUBLE_TEXT]);

#endif
