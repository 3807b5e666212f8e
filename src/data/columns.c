/* Columns: a row of texts as a row of numbers, and their form in model files. */
#include "data/columns.h"

#include "base/number.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define WIDTH_MAX ((int64_t)1 << 24)

mica_status mica_columns_create(int64_t n, mica_columns **out) {
  *out = NULL;
  mica_columns *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  c->column = mica_calloc((size_t)n + 1, sizeof *c->column);
  if (!c->column) {
    mica_free(c);
    return MICA_ERR_MEMORY;
  }
  c->n = n;
  c->target_deviation = 1;
  for (int64_t i = 0; i < n; i++) c->column[i].deviation = 1;
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
  mica_free(c->label);
  mica_free(c);
}

static int64_t width_of(const mica_column *k) {
  if (k->kind == MICA_COLUMN_NUMERIC) return 1 + k->missing;
  return k->values.n + k->missing + k->other;
}

mica_status mica_columns_arrange(mica_columns *c) {
  c->width = 0;
  for (int64_t i = 0; i < c->n; i++) {
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

mica_status mica_columns_cell(const mica_columns *c, int64_t i, const char *text, double *out) {
  const mica_column *k = &c->column[i];
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

void mica_columns_expand(const mica_columns *c, const double *cells, float *x) {
  for (int64_t i = 0; i < c->n; i++) {
    const mica_column *k = &c->column[i];
    float *to = x + k->at;
    if (k->kind == MICA_COLUMN_NUMERIC) {
      const bool missing = isnan(cells[i]);
      to[0] = missing ? 0 : (float)((cells[i] - k->mean) / k->deviation);
      if (k->missing) to[1] = missing;
    } else {
      const int64_t width = width_of(k), place = (int64_t)cells[i];
      for (int64_t v = 0; v < width; v++) to[v] = v == place;
    }
  }
}

mica_status mica_columns_encode(const mica_columns *c, const char *const *cells, float *x) {
  for (int64_t i = 0; i < c->n; i++) {
    double cell;
    mica_status status = mica_columns_cell(c, i, cells[i], &cell);
    if (status != MICA_OK) return status;
    /* One column at a time, so that no row of cells has to be allocated. */
    const mica_columns one = {.column = &c->column[i], .n = 1};
    mica_columns_expand(&one, &cell, x);
  }
  return MICA_OK;
}

/* ---- JSON ---- */

void mica_columns_write(const mica_columns *c, mica_json_writer *w) {
  mica_json_begin_object(w);
  mica_json_write_name(w, "by_position");
  mica_json_write_bool(w, c->by_position);
  mica_json_put_int(w, "fields", c->fields);
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
    if (k->kind == MICA_COLUMN_NUMERIC) {
      mica_json_put_double(w, "mean", k->mean);
      mica_json_put_double(w, "deviation", k->deviation);
    } else {
      mica_json_write_name(w, "values");
      mica_json_begin_array(w);
      for (int64_t v = 0; v < k->values.n; v++) mica_json_write_string(w, k->values.text[v]);
      mica_json_end_array(w);
      mica_json_write_name(w, "other");
      mica_json_write_bool(w, k->other);
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

static mica_status read_column(const mica_json *object, mica_column *k) {
  const char *name;
  mica_status status = mica_json_need_string(object, "name", &name);
  if (status == MICA_OK && !(k->name = mica_strdup(name))) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = need_bool(object, "missing", &k->missing);
  if (status != MICA_OK) return status;
  const mica_json *values = mica_json_get(object, "values");
  if (!values) return read_scale(object, &k->mean, &k->deviation);
  k->kind = MICA_COLUMN_CATEGORICAL;
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
  if (status == MICA_OK) status = mica_json_need_int64(object, "fields", &c->fields);
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
