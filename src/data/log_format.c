/* The well-known logs of clicks: see log_format.h. */
#include "data/log_format.h"

#include "base/number.h"

#include <stdio.h>
#include <string.h>

const char *const mica_log_format_name[] = {"none", "criteo", "avazu", "libfm", "movielens", NULL};

enum { COUNTS = 13, HASHES = 26, AVAZU = 24 };

static const char *const avazu_names[AVAZU] = {
    "id",         "click",        "hour",         "C1",
    "banner_pos", "site_id",      "site_domain",  "site_category",
    "app_id",     "app_domain",   "app_category", "device_id",
    "device_ip",  "device_model", "device_type",  "device_conn_type",
    "C14",        "C15",          "C16",          "C17",
    "C18",        "C19",          "C20",          "C21"};

/* ---- what a record shows ---- */

static bool is_flag(const char *text) {
  return (text[0] == '0' || text[0] == '1') && !text[1];
}
static bool is_hash(const char *text) {
  return strlen(text) == 8 && strspn(text, "0123456789abcdef") == 8;
}
static bool is_hour(const char *text) {
  return strlen(text) == 8 && strspn(text, "0123456789") == 8;
}
static bool is_count(const char *text) {
  double v;
  return !*text || mica_parse_double(text, strlen(text), false, &v) == strlen(text);
}

static bool holds(const char *const *field, int64_t n, const char *name) {
  for (int64_t i = 0; i < n; i++)
    if (strcmp(field[i], name) == 0) return true;
  return false;
}

static bool is_criteo(const char *const *field, int64_t n, bool *header) {
  char name[8];
  bool named = true, hashed = false;
  for (int i = 0; i < COUNTS + HASHES && named; i++) {
    snprintf(name, sizeof name, i < COUNTS ? "I%d" : "C%d", i < COUNTS ? i + 1 : i + 1 - COUNTS);
    named = holds(field, n, name);
  }
  *header = named;
  if (named) return true;
  const int64_t first = n - COUNTS - HASHES;
  if (first < 0 || first > 1 || (first && !is_flag(field[0]))) return false;
  for (int64_t i = first; i < n; i++) {
    if (i < first + COUNTS ? !is_count(field[i]) : *field[i] && !is_hash(field[i])) return false;
    hashed |= i >= first + COUNTS && *field[i];
  }
  return hashed;
}

static bool is_avazu(const char *const *field, int64_t n, bool *header) {
  static const char *const telling[] = {"hour", "banner_pos", "site_id", "app_id", "device_ip"};
  *header = true;
  for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
    *header = *header && holds(field, n, telling[i]);
  if (*header) return true;
  const int64_t clicks = n - (AVAZU - 1); /* the test part has no click */
  if (clicks < 0 || clicks > 1 || (clicks && !is_flag(field[1]))) return false;
  return is_hour(field[1 + clicks]) && is_hash(field[4 + clicks]) && is_hash(field[7 + clicks]);
}

/* "id:value"; the bytes of the id, 0 when it is no such thing. */
static size_t pair_of(const char *text, double *value) {
  const size_t n = strspn(text, "0123456789");
  if (!n || text[n] != ':') return 0;
  const size_t left = strlen(text + n + 1);
  return left && mica_parse_double(text + n + 1, left, false, value) == left ? n : 0;
}

static bool is_libfm(const char *const *field, int64_t n) {
  double v;
  int64_t pairs = 0;
  if (!*field[0] || !is_count(field[0])) return false;
  for (int64_t i = 1; i < n; i++) {
    if (*field[i] && !pair_of(field[i], &v)) return false;
    pairs += *field[i] != 0;
  }
  return pairs > 0;
}

static bool is_movielens(const char *const *field, int64_t n) {
  return n > 2 && strcmp(field[0], "user") == 0 && strcmp(field[1], "item") == 0 &&
         strcmp(field[n - 1], "click") == 0;
}

mica_log_format mica_log_format_of(const char *const *field, int64_t n, bool *header) {
  if (is_criteo(field, n, header)) return MICA_LOG_CRITEO;
  if (is_avazu(field, n, header)) return MICA_LOG_AVAZU;
  *header = is_movielens(field, n);
  if (*header) return MICA_LOG_MOVIELENS;
  return is_libfm(field, n) ? MICA_LOG_LIBFM : MICA_LOG_NONE;
}

const char *mica_log_format_label(mica_log_format format) {
  return format == MICA_LOG_AVAZU || format == MICA_LOG_MOVIELENS ? "click" : "label";
}

mica_log_role mica_log_format_role(mica_log_format format, const char *name) {
  if (strcmp(name, "id") == 0 && format != MICA_LOG_LIBFM) return MICA_LOG_IGNORED;
  if (format == MICA_LOG_CRITEO && name[0] == 'I' && name[1] >= '0' && name[1] <= '9')
    return MICA_LOG_NUMERIC;
  return MICA_LOG_CATEGORICAL;
}

/* ---- rows ---- */

void mica_log_rows_free(mica_log_rows *r) {
  mica_free(r->cell);
  mica_free(r->offset);
  mica_bytes_free(&r->text);
  *r = (mica_log_rows){0};
}

static void add(mica_log_rows *r, int64_t i, const char *text, size_t n) {
  r->offset[i] = r->text.n;
  mica_bytes_append(&r->text, text, n);
  mica_bytes_byte(&r->text, 0);
}

/* The texts that were added, as cells. */
static mica_status give(mica_log_rows *r) {
  if (r->text.status != MICA_OK) return r->text.status;
  for (int64_t i = 0; i < r->n; i++) r->cell[i] = r->text.data + r->offset[i];
  return MICA_OK;
}

static int64_t count_pairs(const char *const *field, int64_t n) {
  int64_t pairs = 0;
  for (int64_t i = 1; i < n; i++) pairs += *field[i] != 0;
  return pairs;
}

static void name_of(mica_log_rows *r, int64_t i, const char *const *field, bool header) {
  char name[24] = "label";
  const int64_t criteo = i - (r->raw - COUNTS - HASHES);
  if (r->format == MICA_LOG_LIBFM) {
    if (i) snprintf(name, sizeof name, "f%lld", (long long)i);
  } else if (r->format == MICA_LOG_AVAZU && i == r->raw) {
    snprintf(name, sizeof name, "weekday");
  } else if (header) {
    /* Kaggle's copies of Criteo's log have Id and Label. */
    const char *given = strcmp(field[i], "Label") == 0 ? "label" : field[i];
    if (strcmp(given, "Id") == 0) given = "id";
    add(r, i, given, strlen(given));
    return;
  } else if (r->format == MICA_LOG_AVAZU) {
    const char *given = avazu_names[i + (i > 0 && r->raw < AVAZU)];
    snprintf(name, sizeof name, "%s", given);
  } else if (criteo >= 0) {
    snprintf(name, sizeof name, criteo < COUNTS ? "I%lld" : "C%lld",
             (long long)(criteo < COUNTS ? criteo + 1 : criteo + 1 - COUNTS));
  }
  add(r, i, name, strlen(name));
}

mica_status mica_log_rows_begin(mica_log_rows *r, mica_log_format format, const char *const *field,
                                int64_t n, bool header) {
  *r = (mica_log_rows){.format = format, .raw = n, .n = n, .hour = -1};
  if (format == MICA_LOG_AVAZU) r->n++;
  if (format == MICA_LOG_LIBFM) r->n = 1 + count_pairs(field, n);
  r->cell = mica_calloc((size_t)r->n, sizeof *r->cell);
  r->offset = mica_calloc((size_t)r->n, sizeof *r->offset);
  if (!r->cell || !r->offset) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < r->n; i++) name_of(r, i, field, header);
  const mica_status status = give(r);
  for (int64_t i = 0; status == MICA_OK && format == MICA_LOG_AVAZU && i < n; i++)
    if (strcmp(r->cell[i], "hour") == 0) r->hour = i;
  return status;
}

static mica_status wrong_count(int64_t n, int64_t expected) {
  return mica_fail(MICA_ERR_FORMAT, "%lld %s, expected %lld as in the first line", (long long)n,
                   n == 1 ? "field" : "fields", (long long)expected);
}

/* 0: Sunday, by Sakamoto's shifts of the months. */
static int weekday(int year, int month, int day) {
  static const int shift[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
  if (month < 3) year--;
  return (year + year / 4 - year / 100 + year / 400 + shift[month - 1] + day) % 7;
}

/* The hour as in 14102100: the year in this century, month, day, hour. */
static mica_status split_hour(mica_log_rows *r, const char *text) {
  mica_bytes_clear(&r->text);
  int part[4] = {0};
  for (int k = 0; k < 8 && is_hour(text); k++) part[k / 2] = part[k / 2] * 10 + text[k] - '0';
  const bool good = part[1] >= 1 && part[1] <= 12 && part[2] >= 1 && part[2] <= 31 && part[3] < 24;
  if (*text && !good)
    return mica_fail(MICA_ERR_FORMAT,
                     "hour '%.40s', expected year, month, day and hour as 14102123", text);
  char value[16] = "";
  if (good) snprintf(value, sizeof value, "%02d", part[3]);
  add(r, 0, value, strlen(value));
  if (good) snprintf(value, sizeof value, "%d", weekday(2000 + part[0], part[1], part[2]));
  add(r, 1, value, strlen(value));
  if (r->text.status != MICA_OK) return r->text.status;
  r->cell[r->hour] = r->text.data + r->offset[0];
  r->cell[r->raw] = r->text.data + r->offset[1];
  return MICA_OK;
}

static mica_status split_pairs(mica_log_rows *r, const char *const *field, int64_t n) {
  const int64_t pairs = count_pairs(field, n);
  if (pairs != r->n - 1)
    return mica_fail(MICA_ERR_FORMAT,
                     "%lld values, expected %lld as in the first line: one of each field",
                     (long long)pairs, (long long)r->n - 1);
  mica_bytes_clear(&r->text);
  add(r, 0, field[0], strlen(field[0]));
  for (int64_t i = 1, k = 1; i < n; i++) {
    double value;
    if (!*field[i]) continue;
    const size_t id = pair_of(field[i], &value);
    if (!id || value != 1)
      return mica_fail(MICA_ERR_FORMAT, "'%.40s', expected ID:1: a field has one value", field[i]);
    add(r, k++, field[i], id);
  }
  return give(r);
}

mica_status mica_log_rows_next(mica_log_rows *r, const char *const *field, int64_t n,
                               const char *const **row) {
  *row = field;
  if (r->format != MICA_LOG_LIBFM && n != r->raw) return wrong_count(n, r->raw);
  if (r->format == MICA_LOG_LIBFM) {
    *row = r->cell;
    return split_pairs(r, field, n);
  }
  if (r->format != MICA_LOG_AVAZU) return MICA_OK;
  *row = r->cell;
  for (int64_t i = 0; i < n; i++) r->cell[i] = field[i];
  return split_hour(r, field[r->hour]);
}
