/* Columns: a row of texts as a row of numbers, and their form in model files. */
#include "data/columns.h"

#include "base/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_MAX ((int64_t)1 << 24)

mica_status mica_columns_create(int64_t n, mica_columns **out) {
  *out = NULL;
  mica_columns *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  c->column = mica_calloc((size_t)n + 1, sizeof *c->column);
  c->field_size = mica_calloc((size_t)n + 1, sizeof *c->field_size);
  if (!c->column || !c->field_size) {
    mica_columns_free(c);
    return MICA_ERR_MEMORY;
  }
  c->n = n;
  c->target_deviation = 1;
  for (int64_t i = 0; i < n; i++) {
    c->column[i].form = MICA_NUMBER_STANDARD;
    c->column[i].deviation = 1;
  }
  *out = c;
  return MICA_OK;
}

void mica_columns_free(mica_columns *c) {
  if (!c) return;
  for (int64_t i = 0; i < c->n; i++) {
    mica_free(c->column[i].name);
    mica_dictionary_free(&c->column[i].values);
  }
  mica_dictionary_free(&c->classes);
  mica_free(c->column);
  mica_free(c->field_size);
  mica_free(c->label);
  mica_free(c);
}

/* Numbers of the encoded row, or ids of the field. */
static int64_t width_of(const mica_column *k) {
  if (k->buckets) return k->buckets + 1;
  if (!k->field && k->kind == MICA_COLUMN_NUMERIC) return 1 + k->missing;
  return k->values.n + k->missing + k->other;
}

mica_status mica_columns_arrange(mica_columns *c) {
  c->width = c->fields = 0;
  for (int64_t i = 0; i < c->n; i++) {
    if (c->column[i].field) {
      c->column[i].at = c->fields;
      c->field_size[c->fields++] = width_of(&c->column[i]);
      continue;
    }
    c->column[i].at = c->width;
    c->width += width_of(&c->column[i]);
    if (c->width > WIDTH_MAX)
      return mica_fail(MICA_ERR_UNSUPPORTED, "the columns make rows of more than %lld numbers",
                       (long long)WIDTH_MAX);
  }
  return MICA_OK;
}

/* ---- looking ---- */

int64_t mica_columns_count(const mica_columns *c) {
  return c->n;
}
const char *mica_columns_name(const mica_columns *c, int64_t i) {
  return i >= 0 && i < c->n ? c->column[i].name : NULL;
}
mica_column_kind mica_columns_kind(const mica_columns *c, int64_t i) {
  return i >= 0 && i < c->n ? c->column[i].kind : MICA_COLUMN_NUMERIC;
}
int64_t mica_columns_width(const mica_columns *c) {
  return c->width;
}
int64_t mica_columns_fields(const mica_columns *c) {
  return c->fields;
}
const int64_t *mica_columns_field_size(const mica_columns *c) {
  return c->field_size;
}
int64_t mica_columns_field_of(const mica_columns *c, int64_t i) {
  return i >= 0 && i < c->n && c->column[i].field ? c->column[i].at : -1;
}
const char *mica_columns_format(const mica_columns *c) {
  return c->format ? mica_log_format_name[c->format] : NULL;
}
const char *mica_columns_label(const mica_columns *c) {
  return c->label;
}
bool mica_columns_regression(const mica_columns *c) {
  return c->regression;
}
double mica_columns_target(const mica_columns *c, double output) {
  return c->target_mean + c->target_deviation * output;
}

/* ---- cells ---- */

bool mica_cell_missing(const char *text) {
  static const char *const words[] = {"?", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL"};
  if (!text || !*text) return true;
  if (*text != '?' && *text != 'N' && *text != 'n') return false;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(text, words[i]) == 0) return true;
  return false;
}

/* Is it a number but for a decimal comma: 1,5 or 1.234,5? */
static bool has_decimal_comma(const char *text) {
  const size_t digits = strspn(text, "+-.0123456789");
  return digits > 0 && text[digits] == ',' && text[digits + 1] &&
         strspn(text + digits + 1, "0123456789") == strlen(text + digits + 1);
}

mica_cell mica_cell_kind(const char *text, double *number) {
  if (mica_cell_missing(text)) return MICA_CELL_MISSING;
  const size_t n = strlen(text);
  if (mica_parse_double(text, n, true, number) == n) return MICA_CELL_NUMBER;
  return has_decimal_comma(text) ? MICA_CELL_COMMA : MICA_CELL_TEXT;
}

mica_status mica_cell_number(const char *text, double *out) {
  const mica_cell kind = mica_cell_kind(text, out);
  if (kind == MICA_CELL_COMMA)
    return mica_fail(MICA_ERR_FORMAT,
                     "'%.40s' has a decimal comma; numbers are written with a point", text);
  if (kind != MICA_CELL_NUMBER) return mica_fail(MICA_ERR_FORMAT, "'%.40s' is no number", text);
  if (!(fabs(*out) <= (double)FLT_MAX))
    return mica_fail(MICA_ERR_FORMAT, "'%.40s' is %s; numbers go to 3.4e38 in magnitude", text,
                     strpbrk(text, "123456789") ? "too large" : "not finite");
  return MICA_OK;
}

mica_status mica_column_value(const mica_column *k, const char *text, char buffer[48],
                              const char **value) {
  *value = text;
  if (k->kind == MICA_COLUMN_CATEGORICAL) return MICA_OK;
  double x;
  const mica_status status = mica_cell_number(text, &x);
  if (status != MICA_OK) return mica_fail_within("column '%s'", k->name);
  /* Small numbers are values of their own, so a 1 is not taken for the bucket of 3. */
  const double log_x = x > 2 ? log(x) : 0;
  const double whole = floor(x > 2 ? log_x * log_x : x) + 0.0;
  if (whole >= 0 && whole < 10) { /* most of them, and printing costs more than the rest */
    char *at = buffer;
    if (x <= 2) *at++ = '=';
    *at++ = (char)('0' + (int)whole);
    *at = 0;
  } else {
    snprintf(buffer, 48, x > 2 ? "%.0f" : "=%.0f", whole);
  }
  *value = buffer;
  return MICA_OK;
}

/* The column's name is the salt, so that equal values of two fields do not meet in both. */
static int64_t bucket_of(const mica_column *k, const char *value) {
  uint64_t h = mica_hash64(k->name, strlen(k->name) + 1, 0);
  h = mica_hash64(value, strlen(value), h);
  return (int64_t)mica_random_below(mica_key_fold(mica_key_seed(0), h), 0, (uint64_t)k->buckets);
}

static mica_status field_cell(const mica_column *k, const char *text, double *out) {
  if (mica_cell_missing(text)) {
    *out = (double)(k->buckets ? k->buckets : k->values.n);
    return MICA_OK;
  }
  char buffer[48];
  const char *value;
  const mica_status status = mica_column_value(k, text, buffer, &value);
  if (status != MICA_OK) return status;
  const int64_t id = k->buckets ? bucket_of(k, value) : mica_dictionary_find(&k->values, value);
  *out = (double)(id >= 0 ? id : k->values.n + 1);
  return MICA_OK;
}

mica_status mica_columns_cell(const mica_columns *c, int64_t i, const char *text, double *out) {
  const mica_column *k = &c->column[i];
  if (k->field) return field_cell(k, text, out);
  const bool missing = mica_cell_missing(text);
  if (k->kind == MICA_COLUMN_NUMERIC) {
    *out = NAN;
    if (missing || mica_cell_number(text, out) == MICA_OK) return MICA_OK;
    return mica_fail_within("column '%s'", k->name);
  }
  *out = -1;
  if (missing) {
    if (k->missing) *out = (double)k->values.n;
    return MICA_OK;
  }
  const int64_t value = mica_dictionary_find(&k->values, text);
  if (value >= 0)
    *out = (double)value;
  else if (k->other)
    *out = (double)(k->values.n + k->missing);
  return MICA_OK;
}

static double number_of(const mica_column *k, double cell) {
  switch (k->form) {
  case MICA_NUMBER_PLAIN: return cell;
  case MICA_NUMBER_LOG: return cell > 0 ? log1p(cell) : 0;
  default: return (cell - k->mean) / k->deviation;
  }
}

static void expand_one(const mica_column *k, double cell, float *x, int64_t *ids) {
  if (k->field) {
    if (ids) ids[k->at] = (int64_t)cell;
    return;
  }
  float *to = x + k->at;
  if (k->kind == MICA_COLUMN_NUMERIC) {
    const bool missing = isnan(cell);
    to[0] = missing ? 0 : (float)number_of(k, cell);
    if (k->missing) to[1] = missing;
  } else {
    const int64_t width = width_of(k), place = (int64_t)cell;
    for (int64_t v = 0; v < width; v++) to[v] = v == place;
  }
}

void mica_columns_expand(const mica_columns *c, const double *cells, float *x, int64_t *ids) {
  for (int64_t i = 0; i < c->n; i++) expand_one(&c->column[i], cells[i], x, ids);
}

mica_status mica_columns_encode_fields(const mica_columns *c, const char *const *cells, float *x,
                                       int64_t *ids) {
  for (int64_t i = 0; i < c->n; i++) {
    double cell;
    const mica_status status = mica_columns_cell(c, i, cells[i], &cell);
    if (status != MICA_OK) return status;
    expand_one(&c->column[i], cell, x, ids);
  }
  return MICA_OK;
}

mica_status mica_columns_encode(const mica_columns *c, const char *const *cells, float *x) {
  if (c->fields)
    return mica_fail(MICA_ERR_INVALID,
                     "the columns make %lld fields beside numbers; mica_columns_encode_fields "
                     "encodes both",
                     (long long)c->fields);
  return mica_columns_encode_fields(c, cells, x, NULL);
}

/* ---- JSON ---- */

static const char *const form_name[] = {"", "standard", "plain", "log"};

static void write_values(const mica_column *k, mica_json_writer *w) {
  mica_json_write_name(w, "values");
  mica_json_begin_array(w);
  for (int64_t v = 0; v < k->values.n; v++) mica_json_write_string(w, k->values.text[v]);
  mica_json_end_array(w);
  mica_json_write_name(w, "other");
  mica_json_write_bool(w, k->other);
}

void mica_columns_write(const mica_columns *c, mica_json_writer *w) {
  mica_json_begin_object(w);
  mica_json_write_name(w, "by_position");
  mica_json_write_bool(w, c->by_position);
  mica_json_put_int(w, "fields", c->line_fields);
  if (c->format) mica_json_put_text(w, "format", mica_log_format_name[c->format]);
  if (c->label) {
    mica_json_put_text(w, "label", c->label);
  }
  if (c->regression) {
    mica_json_write_name(w, "target");
    mica_json_begin_object(w);
    mica_json_put_double(w, "mean", c->target_mean);
    mica_json_put_double(w, "deviation", c->target_deviation);
    mica_json_end_object(w);
  }
  mica_json_write_name(w, "columns");
  mica_json_begin_array(w);
  for (int64_t i = 0; i < c->n; i++) {
    const mica_column *k = &c->column[i];
    mica_json_begin_object(w);
    mica_json_put_text(w, "name", k->name);
    if (k->field) {
      mica_json_put_text(w, "field", k->kind == MICA_COLUMN_NUMERIC ? "log-square" : "value");
    } else if (k->form != MICA_NUMBER_STANDARD) {
      mica_json_put_text(w, "form", form_name[k->form]);
    }
    if (k->buckets)
      mica_json_put_int(w, "buckets", k->buckets);
    else if (k->field || k->kind == MICA_COLUMN_CATEGORICAL)
      write_values(k, w);
    else if (k->form == MICA_NUMBER_STANDARD) {
      mica_json_put_double(w, "mean", k->mean);
      mica_json_put_double(w, "deviation", k->deviation);
    }
    mica_json_write_name(w, "missing");
    mica_json_write_bool(w, k->missing);
    mica_json_end_object(w);
  }
  mica_json_end_array(w);
  mica_json_end_object(w);
}

static mica_status need_bool(const mica_json *object, const char *name, bool *out) {
  return mica_json_bool(mica_json_get(object, name), out)
             ? MICA_OK
             : mica_fail(MICA_ERR_FORMAT, "\"%s\" is missing or not true or false", name);
}

static mica_status read_scale(const mica_json *object, double *mean, double *deviation) {
  mica_status status = mica_json_need_double(object, "mean", mean);
  if (status == MICA_OK) status = mica_json_need_double(object, "deviation", deviation);
  if (status == MICA_OK && !(isfinite(*mean) && isfinite(*deviation) && *deviation > 0))
    status = mica_fail(MICA_ERR_FORMAT, "mean and deviation must be finite, the deviation above 0");
  return status;
}

static mica_status read_values(const mica_json *object, mica_column *k) {
  const mica_json *values = mica_json_get(object, "values");
  const int64_t n = mica_json_count(values);
  if (mica_json_type_of(values) != MICA_JSON_ARRAY || n > MICA_CATEGORIES_MAX)
    return mica_fail(MICA_ERR_FORMAT, "\"values\" is no array of at most %d texts",
                     MICA_CATEGORIES_MAX);
  for (int64_t i = 0; i < n; i++) {
    const char *text = mica_json_string(mica_json_item(values, i));
    if (!text || mica_dictionary_find(&k->values, text) >= 0)
      return mica_fail(MICA_ERR_FORMAT, "values[%lld] is no text, or stands there twice",
                       (long long)i);
    if (mica_dictionary_add(&k->values, text) < 0) return MICA_ERR_MEMORY;
  }
  return need_bool(object, "other", &k->other);
}

static mica_status read_field(const mica_json *object, const char *what, mica_column *k) {
  k->field = true;
  const bool number = what && strcmp(what, "log-square") == 0;
  if (number)
    k->form = MICA_NUMBER_LOG_SQUARE;
  else if (what && strcmp(what, "value") == 0)
    k->kind = MICA_COLUMN_CATEGORICAL;
  else
    return mica_fail(MICA_ERR_FORMAT, "\"field\" is neither \"value\" nor \"log-square\"");
  if (!mica_json_get(object, "buckets")) {
    const mica_status status = read_values(object, k);
    if (status != MICA_OK || (k->missing && k->other)) return status;
    return mica_fail(MICA_ERR_FORMAT, "a field has ids for missing and other values");
  }
  mica_status status = mica_json_need_int64(object, "buckets", &k->buckets);
  if (status == MICA_OK && (k->buckets < 1 || k->buckets > MICA_BUCKETS_MAX))
    status =
        mica_fail(MICA_ERR_FORMAT, "\"buckets\" is no number from 1 to %lld", MICA_BUCKETS_MAX);
  return status;
}

static mica_status read_column(const mica_json *object, mica_column *k) {
  const char *name;
  mica_status status = mica_json_need_string(object, "name", &name);
  if (status == MICA_OK && !(k->name = mica_strdup(name))) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = need_bool(object, "missing", &k->missing);
  if (status != MICA_OK) return status;
  const mica_json *field = mica_json_get(object, "field"), *form = mica_json_get(object, "form");
  if (field) return read_field(object, mica_json_string(field), k);
  if (mica_json_get(object, "values")) {
    k->kind = MICA_COLUMN_CATEGORICAL;
    return read_values(object, k);
  }
  if (!form) return read_scale(object, &k->mean, &k->deviation);
  const char *text = mica_json_string(form);
  for (int f = MICA_NUMBER_PLAIN; f <= MICA_NUMBER_LOG; f++)
    if (text && strcmp(text, form_name[f]) == 0) k->form = (mica_number_form)f;
  return k->form != MICA_NUMBER_STANDARD
             ? MICA_OK
             : mica_fail(MICA_ERR_FORMAT, "\"form\" is neither \"plain\" nor \"log\"");
}

static mica_status read_format(const mica_json *object, mica_log_format *out) {
  const mica_json *format = mica_json_get(object, "format");
  if (!format) return MICA_OK;
  const char *text = mica_json_string(format);
  for (int k = 1; text && k < MICA_LOG_COUNT; k++)
    if (strcmp(text, mica_log_format_name[k]) == 0) *out = (mica_log_format)k;
  return *out ? MICA_OK
              : mica_fail(MICA_ERR_UNSUPPORTED, "a log in the format '%.40s' is not known here",
                          text ? text : "");
}

mica_status mica_columns_read(const mica_json *object, mica_columns **out) {
  *out = NULL;
  const mica_json *list, *target = mica_json_get(object, "target"),
                         *label = mica_json_get(object, "label");
  mica_columns *c = NULL;
  mica_status status = mica_json_need(object, "columns", MICA_JSON_ARRAY, &list);
  if (status == MICA_OK && mica_json_count(list) > MICA_CATEGORIES_MAX)
    status = mica_fail(MICA_ERR_FORMAT, "more than %d columns", MICA_CATEGORIES_MAX);
  if (status == MICA_OK) status = mica_columns_create(mica_json_count(list), &c);
  if (status == MICA_OK) status = need_bool(object, "by_position", &c->by_position);
  if (status == MICA_OK) status = mica_json_need_int64(object, "fields", &c->line_fields);
  if (status == MICA_OK) status = read_format(object, &c->format);
  if (status == MICA_OK && label) {
    const char *text = mica_json_string(label);
    if (!text)
      status = mica_fail(MICA_ERR_FORMAT, "\"label\" is no text");
    else if (!(c->label = mica_strdup(text)))
      status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK && target) {
    c->regression = true;
    status = read_scale(target, &c->target_mean, &c->target_deviation);
  }
  for (int64_t i = 0; status == MICA_OK && i < c->n; i++) {
    status = read_column(mica_json_item(list, i), &c->column[i]);
    if (status == MICA_ERR_FORMAT) status = mica_fail_within("columns[%lld]", (long long)i);
  }
  if (status == MICA_OK) status = mica_columns_arrange(c);
  if (status != MICA_OK) {
    mica_columns_free(c);
    return status;
  }
  *out = c;
  return MICA_OK;
}

mica_status mica_columns_set_classes(mica_columns *c, const char *const *names, int64_t n) {
  mica_dictionary_free(&c->classes);
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = mica_dictionary_add(&c->classes, names[i]);
    if (at < 0) return MICA_ERR_MEMORY;
    if (at != i) return mica_fail(MICA_ERR_FORMAT, "class '%s' stands there twice", names[i]);
  }
  return MICA_OK;
}

mica_status mica_columns_text(const mica_columns *c, char **out) {
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_columns_write(c, &w);
  const mica_status status = text.status;
  *out = mica_bytes_take(&text);
  return *out ? MICA_OK : status != MICA_OK ? status : MICA_ERR_MEMORY;
}

mica_status mica_columns_parse(const char *text, const char *const *classes, int64_t n,
                               mica_columns **out) {
  *out = NULL;
  mica_json_doc *doc;
  mica_status status = mica_json_parse(text, strlen(text), &doc);
  if (status != MICA_OK) return mica_fail_within("columns");
  mica_columns *c = NULL;
  status = mica_columns_read(mica_json_root(doc), &c);
  if (status == MICA_OK) status = mica_columns_set_classes(c, classes, n);
  mica_json_free(doc);
  if (status != MICA_OK) {
    mica_columns_free(c);
    return status;
  }
  *out = c;
  return MICA_OK;
}
