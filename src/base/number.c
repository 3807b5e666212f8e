/* Numbers to and from text.
 *
 * strtod and printf follow the host's locale, which may write 0,5; we neither change the locale nor
 * depend on it. Up to 15 digits with a small power of ten is exact in one multiplication or
 * division (Clinger 1990), which is nearly every number of a CSV or JSON file. Up to 19 digits with
 * a power of ten between -27 and 27, as numbers are that programs print in full, take one product
 * or quotient of integers of 128 bits, which tells on which side of the middle between two doubles
 * they lie. The rest goes to strtod_l in the C locale.
 */
#include "base/number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Beyond this many significant digits none can matter: a tie between two doubles has at most 767.
 */
#define DIGITS_MAX 800

static inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static size_t parse_word(const char *text, size_t n, bool negative, double *value) {
  static const struct {
    const char *word;
    size_t n;
    double value;
  } words[] = {{"infinity", 8, HUGE_VAL}, {"inf", 3, HUGE_VAL}, {"nan", 3, NAN}};
  if (*text != 'i' && *text != 'I' && *text != 'n' && *text != 'N') return 0;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (n < words[i].n || strncasecmp(text, words[i].word, words[i].n) != 0) continue;
    *value = negative ? -words[i].value : words[i].value;
    return words[i].n;
  }
  return 0;
}

/* The number that text[0..n) writes, without sign: digits, perhaps a point among them; times ten to
 * the power, which counts from behind the last of them. */
static double slow_double(const char *from, size_t n, int64_t power) {
  char text[DIGITS_MAX + 32];
  int count = 0;
  bool beyond = false;
  for (size_t i = 0; i < n; i++) {
    if (from[i] == '.' || (!count && from[i] == '0')) continue;
    if (count < DIGITS_MAX - 1) {
      text[count++] = from[i];
    } else {
      beyond |= from[i] != '0';
      power++;
    }
  }
  /* A last 1 stands for all digits that were left out: it breaks a tie as they would. */
  if (beyond) {
    text[count++] = '1';
    power--;
  }
  int e = power > 100000 ? 100000 : power < -100000 ? -100000 : (int)power;
  snprintf(text + count, 32, "e%d", e);
  locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (!c) return NAN;
  double value = strtod_l(text, NULL, c);
  freelocale(c);
  return value;
}

#ifdef __SIZEOF_INT128__
#define EXACT_POWER 27 /* the largest p for which 5^p fits in 64 bits */
__extension__ typedef unsigned __int128 wide;

/* m 10^power, to the nearest double, ties to even; m is not 0, power from -27 to 27. 10^p is 5^p
 * 2^p: the product with 5^p is exact, and of a quotient the remainder tells whether it is. */
static double exact_double(uint64_t m, int power) {
  static const uint64_t ones[] = {1, 5, 25, 125, 625, 3125, 15625, 78125};
  static const uint64_t eights[] = {1, 390625, 152587890625, 59604644775390625};
  const unsigned p = (unsigned)(power < 0 ? -power : power);
  const uint64_t five = eights[p / 8] * ones[p % 8];
  int exponent = power;
  wide v;
  if (power >= 0) {
    v = (wide)m * five;
  } else {
    const int up = __builtin_clzll(m);
    const wide over = (wide)(m << up) << 64;
    v = over / five; /* of 65 bits or more */
    v |= v * five != over;
    exponent -= up + 64;
  }
  /* The first 64 bits; the last of them also stands for all that follow. */
  const uint64_t high = (uint64_t)(v >> 64);
  const int drop = high ? 64 - __builtin_clzll(high) : 0;
  uint64_t top = (uint64_t)(v >> drop);
  top |= v != (wide)top << drop;
  return ldexp((double)top, exponent + drop);
}
#else
#define EXACT_POWER (-1)
static double exact_double(uint64_t m, int power) {
  return (void)m, (void)power, NAN;
}
#endif

size_t mica_parse_double(const char *text, size_t n, bool words, double *value) {
  static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  size_t i = 0;
  bool negative = n > 0 && text[0] == '-';
  if (n > 0 && (text[0] == '-' || text[0] == '+')) i++;
  if (words && i < n && !is_digit(text[i]) && text[i] != '.') {
    size_t used = parse_word(text + i, n - i, negative, value);
    return used ? i + used : 0;
  }
  const size_t begin = i;
  int64_t power = 0, count = 0; /* significant digits */
  uint64_t mantissa = 0;        /* the first 19 of them */
  bool any = false;
  for (bool point = false; i < n; i++) {
    if (text[i] == '.' && !point) {
      point = true;
      continue;
    }
    if (!is_digit(text[i])) break;
    any = true;
    if (count || text[i] != '0') {
      if (count < 19) mantissa = mantissa * 10 + (uint64_t)(text[i] - '0');
      count++;
    }
    power -= point;
  }
  if (!any) return 0;
  const size_t written = i - begin;
  if (i < n && (text[i] == 'e' || text[i] == 'E')) {
    size_t j = i + 1;
    bool down = j < n && text[j] == '-';
    if (j < n && (text[j] == '-' || text[j] == '+')) j++;
    if (j < n && is_digit(text[j])) {
      int64_t e = 0;
      for (; j < n && is_digit(text[j]); j++)
        if (e < 1000000000) e = e * 10 + (text[j] - '0');
      power += down ? -e : e;
      i = j;
    }
  }
  double magnitude;
  if (count == 0)
    magnitude = 0;
  else if (count <= 15 && power >= -22 && power <= 22)
    magnitude = power < 0 ? (double)mantissa / tens[-power] : (double)mantissa * tens[power];
  else if (count <= 19 && power >= -EXACT_POWER && power <= EXACT_POWER)
    magnitude = exact_double(mantissa, (int)power);
  else
    magnitude = slow_double(text + begin, written, power);
  *value = negative ? -magnitude : magnitude;
  return i;
}

size_t mica_parse_int64(const char *text, size_t n, int64_t *value) {
  size_t i = 0;
  bool negative = n > 0 && text[0] == '-';
  if (n > 0 && (text[0] == '-' || text[0] == '+')) i++;
  size_t first = i;
  uint64_t magnitude = 0, limit = (uint64_t)INT64_MAX + negative;
  for (; i < n && is_digit(text[i]); i++) {
    uint64_t digit = (uint64_t)(text[i] - '0');
    if (magnitude > (limit - digit) / 10) return 0;
    magnitude = magnitude * 10 + digit;
  }
  if (i == first) return 0;
  *value = negative ? (int64_t)(0u - magnitude) : (int64_t)magnitude;
  return i;
}

/* printf writes the locale's decimal point, of one byte or more; ours is '.'. */
static int normalise(char *buf) {
  char *out = buf;
  bool point = false;
  for (const char *in = buf; *in; in++) {
    if (is_digit(*in) || *in == '-' || *in == '+' || *in == 'e') {
      *out++ = *in;
    } else if (!point) {
      point = true;
      *out++ = '.';
    }
  }
  *out = '\0';
  return (int)(out - buf);
}

static int special(double value, char *buf) {
  return snprintf(buf, MICA_DOUBLE_TEXT, "%s", isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
}

int mica_format_double(double value, char buf[MICA_DOUBLE_TEXT]) {
  if (!isfinite(value)) return special(value, buf);
  int n = 0;
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(buf, MICA_DOUBLE_TEXT, "%.*g", digits, value);
    n = normalise(buf);
    double back;
    if (mica_parse_double(buf, (size_t)n, false, &back) && back == value) break;
  }
  return n;
}

int mica_format_float(float value, char buf[MICA_DOUBLE_TEXT]) {
  if (!isfinite(value)) return special((double)value, buf);
  int n = 0;
  for (int digits = 6; digits <= 9; digits++) {
    snprintf(buf, MICA_DOUBLE_TEXT, "%.*g", digits, (double)value);
    n = normalise(buf);
    double back;
    if (mica_parse_double(buf, (size_t)n, false, &back) && (float)back == value) break;
  }
  return n;
}
