/* Tables of Unicode, made by scripts/make_unicode.py. */
#ifndef MICA_DATA_UNICODE_TABLES_H
#define MICA_DATA_UNICODE_TABLES_H

#include <stdint.h>

typedef struct mica_unicode_case {
  uint32_t first, last, step;
  int32_t add;
} mica_unicode_case;

typedef struct mica_unicode_pair {
  uint32_t whole, first, second; /* second 0: it stands for one other code point */
} mica_unicode_pair;

extern const uint32_t mica_unicode_flags_runs[], mica_unicode_class_runs[];
extern const mica_unicode_case mica_unicode_cases[];
extern const mica_unicode_pair mica_unicode_pairs[];
extern const uint16_t mica_unicode_compositions[];
extern const int mica_unicode_flags_runs_count, mica_unicode_class_runs_count,
    mica_unicode_cases_count, mica_unicode_pairs_count, mica_unicode_compositions_count;

#endif
