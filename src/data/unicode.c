/* Properties of code points, decomposition and composition. */
#include "data/unicode.h"

#include "base/utf8.h"
#include "data/unicode_tables.h"

#include <stdlib.h>

/* The lowest 8 bits of the run that the code point lies in. */
static unsigned run_of(const uint32_t *run, int n, uint32_t code) {
  int lo = 0, hi = n;
  while (hi - lo > 1) {
    const int mid = (lo + hi) / 2;
    if (run[mid] >> 8 <= code)
      lo = mid;
    else
      hi = mid;
  }
  return run[lo] & 255u;
}

unsigned mica_unicode_flags(uint32_t code) {
  if (code < 128) {
    if ((code | 32u) - 'a' < 26u) return MICA_UNICODE_LETTER;
    if (code == ' ') return MICA_UNICODE_SPACE;
  }
  return run_of(mica_unicode_flags_runs, mica_unicode_flags_runs_count, code);
}

static unsigned combining_class(uint32_t code) {
  if (code < 0x300) return 0;
  return run_of(mica_unicode_class_runs, mica_unicode_class_runs_count, code);
}

uint32_t mica_unicode_lower(uint32_t code, bool *dot) {
  if (dot) *dot = code == 0x130;
  if (code < 128) return code - 'A' < 26u ? code + 32 : code;
  if (code == 0x130) return 'i';
  int lo = 0, hi = mica_unicode_cases_count;
  while (lo < hi) {
    const int mid = (lo + hi) / 2;
    const mica_unicode_case *c = &mica_unicode_cases[mid];
    if (code < c->first)
      hi = mid;
    else if (code > c->last)
      lo = mid + 1;
    else
      return (code - c->first) % c->step ? code : (uint32_t)((int32_t)code + c->add);
  }
  return code;
}

uint32_t mica_unicode_next(const char *text, size_t n, size_t *length) {
  const unsigned char *p = (const unsigned char *)text;
  *length = 1;
  if (p[0] < 0x80) return p[0];
  const size_t m = mica_utf8_length(text, n);
  if (!m) return MICA_UNICODE_REPLACEMENT;
  *length = m;
  uint32_t code = p[0] & (0x7fu >> m);
  for (size_t i = 1; i < m; i++) code = code << 6 | (p[i] & 0x3fu);
  return code;
}

/* ---- texts ---- */

mica_status mica_codes_push(mica_codes *c, uint32_t code) {
  if (c->n == c->room) {
    const size_t room = c->room ? c->room * 2 : 64;
    uint32_t *codes = mica_realloc_array(c->code, room, sizeof *codes);
    if (!codes) return MICA_ERR_MEMORY;
    c->code = codes;
    c->room = room;
  }
  c->code[c->n++] = code;
  return MICA_OK;
}

void mica_codes_free(mica_codes *c) {
  mica_free(c->code);
  *c = (mica_codes){0};
}

/* Hangul syllables are composed by a rule (The Unicode Standard, 3.12). */
enum { S = 0xac00, L = 0x1100, V = 0x1161, T = 0x11a7, LS = 19, VS = 21, TS = 28 };

static const mica_unicode_pair *pair_of(uint32_t code) {
  int lo = 0, hi = mica_unicode_pairs_count;
  while (lo < hi) {
    const int mid = (lo + hi) / 2;
    if (mica_unicode_pairs[mid].whole < code)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo < mica_unicode_pairs_count && mica_unicode_pairs[lo].whole == code
             ? &mica_unicode_pairs[lo]
             : NULL;
}

/* The first part of a pair may be another pair, the second one never is. */
static mica_status push_decomposed(mica_codes *c, uint32_t code) {
  if (code < 0xc0) return mica_codes_push(c, code);
  if (code - S < LS * VS * TS) {
    const uint32_t i = code - S;
    mica_status status = mica_codes_push(c, L + i / (VS * TS));
    if (status == MICA_OK) status = mica_codes_push(c, V + i % (VS * TS) / TS);
    return status == MICA_OK && i % TS ? mica_codes_push(c, T + i % TS) : status;
  }
  uint32_t tail[8];
  int n = 0;
  const mica_unicode_pair *p;
  while (n < 8 && (p = pair_of(code))) {
    if (p->second) tail[n++] = p->second;
    code = p->first;
  }
  mica_status status = mica_codes_push(c, code);
  while (n && status == MICA_OK) status = mica_codes_push(c, tail[--n]);
  return status;
}

/* A mark with its class and place, for a sort that keeps the order of equal classes. */
typedef struct mark {
  uint32_t code, order;
  size_t at;
} mark;

static int by_class(const void *a, const void *b) {
  const mark *p = a, *q = b;
  if (p->order != q->order) return p->order < q->order ? -1 : 1;
  return p->at < q->at ? -1 : p->at > q->at;
}

/* Marks between two that are none, in the order of their classes. Few are sorted in place; for many
 * that would take their square. */
static mica_status order(uint32_t *code, size_t n) {
  if (n <= 16) {
    for (size_t i = 1; i < n; i++)
      for (size_t k = i; k && combining_class(code[k - 1]) > combining_class(code[k]); k--) {
        const uint32_t kept = code[k];
        code[k] = code[k - 1];
        code[k - 1] = kept;
      }
    return MICA_OK;
  }
  mark *marks = mica_realloc_array(NULL, n, sizeof *marks);
  if (!marks) return MICA_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) marks[i] = (mark){code[i], combining_class(code[i]), i};
  qsort(marks, n, sizeof *marks, by_class);
  for (size_t i = 0; i < n; i++) code[i] = marks[i].code;
  mica_free(marks);
  return MICA_OK;
}

mica_status mica_codes_read(mica_codes *c, const char *text, size_t n) {
  mica_status status = MICA_OK;
  for (size_t i = 0, length; i < n && status == MICA_OK; i += length)
    status = mica_codes_push(c, mica_unicode_next(text + i, n - i, &length));
  return status;
}

mica_status mica_codes_decompose(mica_codes *c, const mica_codes *from) {
  mica_status status = MICA_OK;
  size_t begin = c->n;
  for (size_t i = 0; i < from->n && status == MICA_OK; i++)
    status = push_decomposed(c, from->code[i]);
  while (begin < c->n && status == MICA_OK) {
    size_t end = begin;
    while (end < c->n && combining_class(c->code[end])) end++;
    if (end - begin > 1) status = order(c->code + begin, end - begin);
    begin = end + 1;
  }
  return status;
}

/* What two code points compose to, 0 when they do not. */
static uint32_t composed(uint32_t a, uint32_t b) {
  if (a - L < LS && b - V < VS) return S + ((a - L) * VS + (b - V)) * TS;
  if (a - S < LS * VS * TS && (a - S) % TS == 0 && b - T - 1 < TS - 1) return a + (b - T);
  int lo = 0, hi = mica_unicode_compositions_count;
  while (lo < hi) {
    const int mid = (lo + hi) / 2;
    const mica_unicode_pair *p = &mica_unicode_pairs[mica_unicode_compositions[mid]];
    if (p->first == a && p->second == b) return p->whole;
    if (p->first < a || (p->first == a && p->second < b))
      lo = mid + 1;
    else
      hi = mid;
  }
  return 0;
}

void mica_codes_compose(mica_codes *c) {
  size_t n = 0, starter = 0;
  bool has_starter = false;
  unsigned last = 0; /* the class of what was kept last after the starter */
  for (size_t i = 0; i < c->n; i++) {
    const uint32_t code = c->code[i];
    const unsigned order_of = combining_class(code);
    /* Blocked by a mark of the same class in between, or of class 0. */
    const bool next_to = has_starter && (n == starter + 1 || (last && last < order_of));
    const uint32_t whole = next_to ? composed(c->code[starter], code) : 0;
    if (whole) {
      c->code[starter] = whole;
      continue;
    }
    if (!order_of) {
      starter = n;
      has_starter = true;
    }
    last = order_of;
    c->code[n++] = code;
  }
  c->n = n;
}
