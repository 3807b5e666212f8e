/* report/number.h: numbers as text, with a point whatever the locale. */
#ifndef MICA_REPORT_NUMBER_H
#define MICA_REPORT_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MICA_NUMBER_TEXT = 64 }; /* bytes that hold any number written here, with its end */

/* `digits` significant digits (1 to 17), fixed from 1e-4 up to 1e7 and else with an exponent;
 * `trim` drops zeros at the end. "n/a" when not finite. Returns `out`. */
const char *mica_number_significant(char out[MICA_NUMBER_TEXT], double value, int digits,
                                    bool trim);

/* `decimals` (0 to 17) digits behind the point; magnitudes from 1e15 on get an exponent. */
const char *mica_number_fixed(char out[MICA_NUMBER_TEXT], double value, int decimals, bool trim);

/* A power-of-ten number such as 2.5 x 10^-7, with Unicode superscripts. */
const char *mica_number_scientific(char out[MICA_NUMBER_TEXT], double value, int digits);

/* 60,000 */
const char *mica_number_grouped(char out[MICA_NUMBER_TEXT], int64_t value);

/* A number with its unit, as mica_report_number describes units. `suffix` says what to write behind
 * it
 * ("" for units that are part of the number). */
const char *mica_number_unit(char out[MICA_NUMBER_TEXT], double value, const char *unit,
                             const char **suffix);

#endif
