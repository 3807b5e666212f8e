/* Numbers as text. printf writes the locale's decimal point, which no file format wants, and a
 * library must not change the locale of its host: so what printf writes is repaired. */
#include "report/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Replace whatever stands between the digits by a point. The longest decimal separator of a C
 * library is a few bytes. */
static void repair_point(char *text) {
  char *to = text;
  for (const char *from = text; *from;) {
    if ((*from >= '0' && *from <= '9') || *from == '-' || *from == '+' || *from == 'e') {
      *to++ = *from++;
      continue;
    }
    *to++ = '.';
    while (*from && !((*from >= '0' && *from <= '9') || *from == 'e')) from++;
  }
  *to = 0;
}

/* Drop zeros behind a point, and the point when nothing is left behind it. */
static void trim_zeros(char *text) {
  char *point = strchr(text, '.');
  if (!point) return;
  char *exponent = strchr(point, 'e');
  char *end = exponent ? exponent : text + strlen(text);
  char *last = end;
  while (last > point + 1 && last[-1] == '0') last--;
  if (last == point + 1) last = point;
  memmove(last, end, strlen(end) + 1);
}

/* "-0.00" is 0 to a reader. */
static void drop_negative_zero(char *text) {
  if (text[0] == '-' && strspn(text + 1, "0.") == strlen(text + 1))
    memmove(text, text + 1, strlen(text));
}

const char *mica_number_fixed(char out[MICA_NUMBER_TEXT], double value, int decimals, bool trim) {
  if (!isfinite(value)) return strcpy(out, "n/a");
  if (fabs(value) >= 1e15) return mica_number_significant(out, value, 6, trim);
  if (decimals < 0) decimals = 0;
  if (decimals > 17) decimals = 17;
  snprintf(out, MICA_NUMBER_TEXT, "%.*f", decimals, value);
  repair_point(out);
  if (trim) trim_zeros(out);
  drop_negative_zero(out);
  return out;
}

/* The decimal exponent of a finite value once it is rounded to `digits` digits; 0 for 0. */
static int rounded_exponent(double value, int digits) {
  char text[MICA_NUMBER_TEXT];
  snprintf(text, sizeof text, "%.*e", digits - 1, value);
  const char *e = strchr(text, 'e');
  return e ? atoi(e + 1) : 0;
}

static int clamp_digits(int digits) {
  return digits < 1 ? 1 : digits > 17 ? 17 : digits;
}

const char *mica_number_significant(char out[MICA_NUMBER_TEXT], double value, int digits,
                                    bool trim) {
  if (!isfinite(value)) return strcpy(out, "n/a");
  digits = clamp_digits(digits);
  if (value == 0) return strcpy(out, "0");
  const int exponent = rounded_exponent(value, digits);
  if (exponent >= -4 && exponent < 7) {
    const int decimals = digits - 1 - exponent;
    snprintf(out, MICA_NUMBER_TEXT, "%.*f", decimals < 0 ? 0 : decimals, value);
  } else {
    snprintf(out, MICA_NUMBER_TEXT, "%.*e", digits - 1, value);
  }
  repair_point(out);
  if (trim) trim_zeros(out);
  return out;
}

const char *mica_number_scientific(char out[MICA_NUMBER_TEXT], double value, int digits) {
  static const char *const superscript[10] = {"\u2070", "\u00b9", "\u00b2", "\u00b3", "\u2074",
                                              "\u2075", "\u2076", "\u2077", "\u2078", "\u2079"};
  if (!isfinite(value)) return strcpy(out, "n/a");
  if (value == 0) return strcpy(out, "0");
  char text[MICA_NUMBER_TEXT];
  snprintf(text, sizeof text, "%.*e", clamp_digits(digits) - 1, value);
  repair_point(text);
  char *e = strchr(text, 'e');
  const int exponent = e ? atoi(e + 1) : 0;
  if (e) *e = 0;
  trim_zeros(text);
  size_t length = 0;
  if (strcmp(text, "1") == 0)
    length = (size_t)snprintf(out, MICA_NUMBER_TEXT, "10");
  else
    length = (size_t)snprintf(out, MICA_NUMBER_TEXT, "%s\u00d710", text);
  char power[16];
  snprintf(power, sizeof power, "%d", abs(exponent));
  if (exponent < 0) length += (size_t)snprintf(out + length, MICA_NUMBER_TEXT - length, "\u207b");
  for (const char *p = power; *p; p++)
    length +=
        (size_t)snprintf(out + length, MICA_NUMBER_TEXT - length, "%s", superscript[*p - '0']);
  return out;
}

const char *mica_number_grouped(char out[MICA_NUMBER_TEXT], int64_t value) {
  char digits[24];
  const int n = snprintf(digits, sizeof digits, "%lld", (long long)value);
  char *to = out;
  for (int i = 0; i < n; i++) {
    *to++ = digits[i];
    if (digits[i] != '-' && i + 1 < n && (n - i - 1) % 3 == 0) *to++ = ',';
  }
  *to = 0;
  return out;
}

static void time_text(char out[MICA_NUMBER_TEXT], double seconds) {
  const double magnitude = fabs(seconds);
  const char *sign = seconds < 0 ? "-" : "";
  char number[MICA_NUMBER_TEXT];
  if (magnitude == 0) {
    strcpy(out, "0\u202fs");
  } else if (magnitude < 1e-3) {
    snprintf(out, MICA_NUMBER_TEXT, "%s\u202f\u00b5s",
             mica_number_significant(number, seconds * 1e6, 3, true));
  } else if (magnitude < 1) {
    snprintf(out, MICA_NUMBER_TEXT, "%s\u202fms",
             mica_number_significant(number, seconds * 1e3, 3, true));
  } else if (magnitude < 59.95) {
    snprintf(out, MICA_NUMBER_TEXT, "%s\u202fs",
             mica_number_fixed(number, seconds, magnitude < 10 ? 2 : 1, true));
  } else if (magnitude < 1e9) {
    const long long whole = llround(magnitude);
    if (whole < 3600)
      snprintf(out, MICA_NUMBER_TEXT, "%s%lld\u202fmin %lld\u202fs", sign, whole / 60, whole % 60);
    else
      snprintf(out, MICA_NUMBER_TEXT, "%s%lld\u202fh %lld\u202fmin", sign, whole / 3600,
               whole % 3600 / 60);
  } else {
    snprintf(out, MICA_NUMBER_TEXT, "%s\u202fs", mica_number_significant(number, seconds, 3, true));
  }
}

static void bytes_text(char out[MICA_NUMBER_TEXT], double bytes) {
  static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int power = 0;
  double scaled = bytes;
  while (power < 5 && fabs(scaled) >= 999.5) {
    scaled /= 1000;
    power++;
  }
  char number[MICA_NUMBER_TEXT];
  snprintf(out, MICA_NUMBER_TEXT, "%s\u202f%s", mica_number_significant(number, scaled, 3, true),
           unit[power]);
}

const char *mica_number_unit(char out[MICA_NUMBER_TEXT], double value, const char *unit,
                             const char **suffix) {
  *suffix = "";
  if (!unit) unit = "";
  if (!isfinite(value)) return strcpy(out, "n/a");
  if (strcmp(unit, "fraction") == 0) {
    char number[MICA_NUMBER_TEXT];
    const double percent = value * 100;
    /* near the ends one more digit tells 99.96 % from 100 % */
    const int decimals = (fabs(percent) > 99.9 && fabs(percent) < 100) ? 2 : 1;
    snprintf(out, MICA_NUMBER_TEXT, "%s\u202f%%",
             mica_number_fixed(number, percent, decimals, false));
    return out;
  }
  if (strcmp(unit, "seconds") == 0) return time_text(out, value), out;
  if (strcmp(unit, "bytes") == 0) return bytes_text(out, value), out;
  if (strcmp(unit, "count") == 0 && fabs(value) < 1e15)
    return mica_number_grouped(out, (int64_t)llround(value));
  if (strcmp(unit, "count") != 0) *suffix = unit;
  if (fabs(value) < 1e15 && value == trunc(value) && fabs(value) < 1e7)
    return mica_number_fixed(out, value, 0, false);
  return mica_number_significant(out, value, 4, true);
}
