/* Option tables: values from text, defaults, ranges, and the completion of a caller's struct.
 *
 * A field is reached as bytes at its offset and copied in and out, so nothing depends on how the
 * caller's struct is aligned or aliased.
 */
#include "base/options.h"

#include "base/nearest.h"
#include "base/number.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef union value {
  bool truth;
  int64_t integer;
  double number;
  const char *text;
  int32_t choice;
  mica_ints ints;
  mica_floats floats;
} value;

size_t mica_option_size(mica_option_type type) {
  switch (type) {
  case MICA_OPTION_BOOL: return sizeof(bool);
  case MICA_OPTION_INT: return sizeof(int64_t);
  case MICA_OPTION_FLOAT: return sizeof(double);
  case MICA_OPTION_STRING:
  case MICA_OPTION_SPEC: return sizeof(const char *);
  case MICA_OPTION_CHOICE: return sizeof(int32_t);
  case MICA_OPTION_INTS: return sizeof(mica_ints);
  case MICA_OPTION_FLOATS: return sizeof(mica_floats);
  }
  return 0;
}

const char *mica_option_type_name(mica_option_type type) {
  static const char *const names[] = {"true or false", "an integer",         "a number",
                                      "a text",        "one of its choices", "integers a,b,c",
                                      "numbers a,b,c", "a specification"};
  return (unsigned)type <= MICA_OPTION_SPEC ? names[type] : "?";
}

static value load(const mica_option *row, const void *options) {
  value v;
  memset(&v, 0, sizeof v);
  memcpy(&v, (const char *)options + row->offset, mica_option_size(row->type));
  return v;
}

static void store(const mica_option *row, void *options, const value *v) {
  memcpy((char *)options + row->offset, v, mica_option_size(row->type));
}

static mica_status fail_names(const mica_option *table, const char *name, const char *nearest) {
  mica_bytes list = {0};
  for (const mica_option *row = table; row && row->name; row++) {
    if (row != table) mica_bytes_text(&list, ", ");
    mica_bytes_text(&list, row->name);
  }
  mica_status status;
  if (list.status)
    status = list.status;
  else if (nearest)
    status = mica_fail(MICA_ERR_INVALID, "no option '%s'; did you mean '%s'?", name, nearest);
  else if (list.n)
    status = mica_fail(MICA_ERR_INVALID, "no option '%s'; there are: %s", name, list.data);
  else
    status = mica_fail(MICA_ERR_INVALID, "no option '%s'; there are none", name);
  mica_bytes_free(&list);
  return status;
}

const mica_option *mica_option_find(const mica_option *table, const char *name) {
  mica_nearest best = {NULL, 0};
  for (const mica_option *row = table; row && row->name; row++) {
    if (strcmp(row->name, name) == 0) return row;
    mica_nearest_offer(&best, name, row->name);
  }
  fail_names(table, name, best.name);
  return NULL;
}

/* ---- ranges ---- */

static mica_status out_of_range(const mica_option *row, const char *shown) {
  if (row->hi == HUGE_VAL)
    return mica_fail(MICA_ERR_INVALID, "option %s: %s is less than %g", row->name, shown, row->lo);
  if (row->lo == -HUGE_VAL)
    return mica_fail(MICA_ERR_INVALID, "option %s: %s is more than %g", row->name, shown, row->hi);
  return mica_fail(MICA_ERR_INVALID, "option %s: %s is outside %g..%g", row->name, shown, row->lo,
                   row->hi);
}

static mica_status check_number(const mica_option *row, double x) {
  char shown[MICA_DOUBLE_TEXT];
  mica_format_double(x, shown);
  if (isnan(x)) return mica_fail(MICA_ERR_INVALID, "option %s: not a number", row->name);
  bool bounded = row->lo != 0 || row->hi != 0;
  return bounded && !(x >= row->lo && x <= row->hi) ? out_of_range(row, shown) : MICA_OK;
}

static int choice_count(const char *choices) {
  int n = 1;
  for (const char *p = choices; *p; p++) n += *p == '|';
  return n;
}

/* Choice i of "a|b|c" begins at the result and has *length bytes. */
static const char *choice_at(const char *choices, int i, size_t *length) {
  while (i-- > 0) choices = strchr(choices, '|') + 1;
  *length = strcspn(choices, "|");
  return choices;
}

static mica_status check_value(const mica_option *row, const value *v) {
  mica_status status = MICA_OK;
  switch (row->type) {
  case MICA_OPTION_BOOL:
  case MICA_OPTION_STRING:
  case MICA_OPTION_SPEC: return MICA_OK;
  case MICA_OPTION_INT: return check_number(row, (double)v->integer);
  case MICA_OPTION_FLOAT: return check_number(row, v->number);
  case MICA_OPTION_CHOICE:
    if (v->choice < 0 || v->choice >= choice_count(row->choices))
      return mica_fail(MICA_ERR_INVALID, "option %s: %d is no index into %s", row->name,
                       (int)v->choice, row->choices);
    return MICA_OK;
  case MICA_OPTION_INTS:
  case MICA_OPTION_FLOATS: {
    bool ints = row->type == MICA_OPTION_INTS;
    int32_t n = ints ? v->ints.n : v->floats.n;
    if (n < 0 || n > MICA_LIST_MAX)
      return mica_fail(MICA_ERR_INVALID, "option %s: a list of %d numbers; 0 to %d are allowed",
                       row->name, (int)n, MICA_LIST_MAX);
    for (int32_t i = 0; i < n && !status; i++)
      status = check_number(row, ints ? (double)v->ints.v[i] : v->floats.v[i]);
    return status;
  }
  }
  return mica_fail(MICA_ERR_INVALID, "option %s: type %d is out of range", row->name,
                   (int)row->type);
}

/* ---- values from text ---- */

static mica_status expected(const mica_option *row, const char *text, size_t n) {
  return mica_fail(MICA_ERR_INVALID, "option %s: '%.*s' is not %s", row->name,
                   (int)(n < 200 ? n : 200), text, mica_option_type_name(row->type));
}

static bool same(const char *text, size_t n, const char *word) {
  return strlen(word) == n && memcmp(text, word, n) == 0;
}

static bool parse_bool(const char *text, size_t n, bool *out) {
  static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no",
                                                                              "off"};
  for (int i = 0; i < 4; i++)
    if (same(text, n, yes[i]) || same(text, n, no[i])) {
      *out = same(text, n, yes[i]);
      return true;
    }
  return false;
}

/* Also 1e6 and 2.5e3, where they are exact integers. */
static bool parse_int(const char *text, size_t n, int64_t *out) {
  if (n && mica_parse_int64(text, n, out) == n) return true;
  double x;
  if (!n || !memchr(text, 'e', n) || mica_parse_double(text, n, false, &x) != n) return false;
  if (!(fabs(x) <= 0x1p53) || x != floor(x)) return false;
  *out = (int64_t)x;
  return true;
}

static bool parse_float(const char *text, size_t n, double *out) {
  return n && mica_parse_double(text, n, true, out) == n;
}

/* Comma-separated numbers; nothing at all is the empty list. */
static mica_status parse_list(const mica_option *row, const char *text, size_t n, value *v) {
  bool ints = row->type == MICA_OPTION_INTS;
  int32_t count = 0;
  const char *at = text, *end = text + n;
  while (n && at <= end) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    size_t length = (size_t)((comma ? comma : end) - at);
    if (count == MICA_LIST_MAX)
      return mica_fail(MICA_ERR_INVALID, "option %s: more than %d numbers", row->name,
                       MICA_LIST_MAX);
    bool good = ints ? parse_int(at, length, &v->ints.v[count])
                     : parse_float(at, length, &v->floats.v[count]);
    if (!good) return expected(row, text, n);
    count++;
    at += length + 1;
  }
  if (ints)
    v->ints.n = count;
  else
    v->floats.n = count;
  return MICA_OK;
}

static mica_status parse_choice(const mica_option *row, const char *text, size_t n, int32_t *out) {
  int count = choice_count(row->choices);
  for (int i = 0; i < count; i++) {
    size_t length;
    const char *choice = choice_at(row->choices, i, &length);
    if (length == n && memcmp(choice, text, n) == 0) {
      *out = i;
      return MICA_OK;
    }
  }
  return mica_fail(MICA_ERR_INVALID, "option %s: '%.*s' is not one of %s", row->name,
                   (int)(n < 200 ? n : 200), text, row->choices);
}

/* `kept` is the text as it may stay in the struct. */
static mica_status parse_value(const mica_option *row, const char *kept, value *v) {
  memset(v, 0, sizeof *v);
  size_t n = kept ? strlen(kept) : 0;
  const char *text = kept ? kept : "";
  mica_status status = MICA_OK;
  bool good = true;
  switch (row->type) {
  case MICA_OPTION_BOOL: good = parse_bool(text, n, &v->truth); break;
  case MICA_OPTION_INT: good = parse_int(text, n, &v->integer); break;
  case MICA_OPTION_FLOAT: good = parse_float(text, n, &v->number); break;
  case MICA_OPTION_STRING:
  case MICA_OPTION_SPEC: v->text = n ? kept : NULL; break;
  case MICA_OPTION_CHOICE: status = parse_choice(row, text, n, &v->choice); break;
  case MICA_OPTION_INTS:
  case MICA_OPTION_FLOATS: status = parse_list(row, text, n, v); break;
  }
  if (!good) status = expected(row, text, n);
  return status ? status : check_value(row, v);
}

mica_status mica_options_set(mica_spec *spec, const mica_option *table, void *options,
                             const char *name, const char *text) {
  const mica_option *row = mica_option_find(table, name);
  if (!row) return mica_last_status();
  bool textual = row->type == MICA_OPTION_STRING || row->type == MICA_OPTION_SPEC;
  value v;
  mica_status status = parse_value(row, text, &v);
  if (status) return status;
  if (textual && spec && v.text) {
    v.text = mica_spec_keep(spec, v.text, strlen(v.text));
    if (!v.text) return MICA_ERR_MEMORY;
  }
  store(row, options, &v);
  return MICA_OK;
}

/* ---- whole structs ---- */

static void set_size(void *options, size_t bytes) {
  uint32_t size = (uint32_t)bytes;
  memcpy(options, &size, sizeof size);
}

mica_status mica_options_default(const mica_option *table, void *options, size_t bytes) {
  if (bytes < sizeof(uint32_t) || bytes > UINT32_MAX)
    return mica_fail(MICA_ERR_INVALID, "options: a struct of %zu bytes", bytes);
  memset(options, 0, bytes);
  set_size(options, bytes);
  for (const mica_option *row = table; row && row->name; row++) {
    value v;
    mica_status status = parse_value(row, row->def, &v);
    if (status) return mica_fail_within("default");
    store(row, options, &v);
  }
  return MICA_OK;
}

mica_status mica_options_complete(const mica_option *table, const void *given, void *out,
                                  size_t bytes) {
  mica_status status = mica_options_default(table, out, bytes);
  if (status || !given) return status;
  uint32_t size;
  memcpy(&size, given, sizeof size);
  if (size < sizeof size)
    return mica_fail(MICA_ERR_INVALID,
                     "options: size is %u; begin with the header's initialiser macro",
                     (unsigned)size);
  size_t whole = size < bytes ? size : bytes;
  /* Rows first, so that a field the caller's struct has only a part of keeps its default; then what
   * stands between them and is in no table: callbacks and the like. */
  size_t done = sizeof size;
  for (size_t next = 0; done < whole; done = next) {
    const mica_option *inside = NULL;
    next = whole;
    for (const mica_option *row = table; row && row->name; row++) {
      if (row->offset == done)
        inside = row;
      else if (row->offset > done && row->offset < next)
        next = row->offset;
    }
    size_t length = next - done;
    if (inside) {
      size_t field = mica_option_size(inside->type);
      if (field > whole - done) break;
      length = field < length ? field : length;
      next = done + length;
    }
    memcpy((char *)out + done, (const char *)given + done, length);
  }
  for (const mica_option *row = table; row && row->name; row++) {
    value v = load(row, out);
    status = check_value(row, &v);
    if (status) return status;
  }
  return MICA_OK;
}

/* ---- the table itself ---- */

static bool valid_option_name(const char *name) {
  size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
  return n > 0 && name[n] == '\0';
}

mica_status mica_options_check(const mica_option *table, size_t bytes) {
  for (const mica_option *row = table; row && row->name; row++) {
    if (!valid_option_name(row->name))
      return mica_fail(MICA_ERR_INVALID, "option '%s': letters, digits, '_' and '-' are allowed",
                       row->name);
    for (const mica_option *other = table; other != row; other++)
      if (strcmp(other->name, row->name) == 0)
        return mica_fail(MICA_ERR_INVALID, "option %s: twice in the table", row->name);
    size_t field = mica_option_size(row->type);
    if (field == 0)
      return mica_fail(MICA_ERR_INVALID, "option %s: type %d is out of range", row->name,
                       (int)row->type);
    if (row->offset < sizeof(uint32_t) || field > bytes || row->offset > bytes - field)
      return mica_fail(MICA_ERR_INVALID, "option %s: offset %zu is outside a struct of %zu bytes",
                       row->name, row->offset, bytes);
    if (row->type == MICA_OPTION_CHOICE && (!row->choices || !*row->choices))
      return mica_fail(MICA_ERR_INVALID, "option %s: no choices", row->name);
    value v;
    if (parse_value(row, row->def, &v)) return mica_fail_within("default");
  }
  return MICA_OK;
}

/* ---- back to text ---- */

bool mica_option_equal(const mica_option *row, const void *a, const void *b) {
  value x = load(row, a), y = load(row, b);
  switch (row->type) {
  case MICA_OPTION_BOOL: return x.truth == y.truth;
  case MICA_OPTION_INT: return x.integer == y.integer;
  case MICA_OPTION_FLOAT: return x.number == y.number;
  case MICA_OPTION_CHOICE: return x.choice == y.choice;
  case MICA_OPTION_STRING:
  case MICA_OPTION_SPEC: return strcmp(x.text ? x.text : "", y.text ? y.text : "") == 0;
  case MICA_OPTION_INTS:
    if (x.ints.n != y.ints.n) return false;
    for (int32_t i = 0; i < x.ints.n; i++)
      if (x.ints.v[i] != y.ints.v[i]) return false;
    return true;
  case MICA_OPTION_FLOATS:
    if (x.floats.n != y.floats.n) return false;
    for (int32_t i = 0; i < x.floats.n; i++)
      if (x.floats.v[i] != y.floats.v[i]) return false;
    return true;
  }
  return false;
}

static void write_double(mica_bytes *out, double x) {
  char text[MICA_DOUBLE_TEXT];
  mica_bytes_append(out, text, (size_t)mica_format_double(x, text));
}

void mica_option_write(mica_bytes *out, const mica_option *row, const void *options) {
  value v = load(row, options);
  switch (row->type) {
  case MICA_OPTION_BOOL: mica_bytes_text(out, v.truth ? "true" : "false"); break;
  case MICA_OPTION_INT: mica_bytes_printf(out, "%" PRId64, v.integer); break;
  case MICA_OPTION_FLOAT: write_double(out, v.number); break;
  case MICA_OPTION_STRING:
  case MICA_OPTION_SPEC: mica_bytes_text(out, v.text ? v.text : ""); break;
  case MICA_OPTION_CHOICE: {
    size_t length;
    const char *choice = choice_at(row->choices, v.choice, &length);
    mica_bytes_append(out, choice, length);
    break;
  }
  case MICA_OPTION_INTS:
    for (int32_t i = 0; i < v.ints.n; i++)
      mica_bytes_printf(out, i ? ",%" PRId64 : "%" PRId64, v.ints.v[i]);
    break;
  case MICA_OPTION_FLOATS:
    for (int32_t i = 0; i < v.floats.n; i++) {
      if (i) mica_bytes_byte(out, ',');
      write_double(out, v.floats.v[i]);
    }
    break;
  }
}
