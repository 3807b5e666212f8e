/* A delimited file as a table: see table_file.h. */
#include "data/table_file.h"

#include "base/number.h"
#include "data/columns.h"
#include "data/movielens_table.h"

#include <stdio.h>
#include <string.h>

#define SKIPPED_LISTED 100

void mica_table_file_close(mica_table_file *f) {
  for (int64_t i = 0; i < f->n; i++) mica_free(f->name[i]);
  mica_free(f->name);
  mica_free(f->path);
  mica_log_rows_free(&f->log);
  mica_delimited_free(f->records);
  mica_input_close(f->input);
  mica_bytes_free(&f->text);
  mica_bytes_free(&f->skipped_text);
  *f = (mica_table_file){0};
}

/* Names are all there, all different, and none is a number; or one of them is the label's. */
static mica_status looks_like_header(const char *const *field, int64_t n, const char *label,
                                     bool *header) {
  mica_dictionary seen = {0};
  mica_status status = MICA_OK;
  *header = true;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    double number;
    if (label && strcmp(field[i], label) == 0) {
      *header = true;
      break;
    }
    if (mica_cell_kind(field[i], &number) == MICA_CELL_MISSING ||
        mica_cell_kind(field[i], &number) == MICA_CELL_NUMBER)
      *header = false;
    const int64_t before = seen.n, at = mica_dictionary_add(&seen, field[i]);
    if (at < 0) status = MICA_ERR_MEMORY;
    if (at < before) *header = false;
  }
  mica_dictionary_free(&seen);
  return status;
}

static mica_status set_names(mica_table_file *f, const char *const *field, int64_t n) {
  f->name = mica_calloc((size_t)n, sizeof *f->name);
  if (!f->name) return MICA_ERR_MEMORY;
  mica_dictionary seen = {0};
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char number[24];
    snprintf(number, sizeof number, "c%lld", (long long)i + 1);
    /* A column without a name (row numbers often have none) is called as in a file without a
     * header. */
    f->name[i] = mica_strdup(f->header && *field[i] ? field[i] : number);
    if (!f->name[i]) {
      status = MICA_ERR_MEMORY;
      break;
    }
    f->n++;
    const int64_t at = mica_dictionary_add(&seen, f->name[i]);
    if (at < 0) status = MICA_ERR_MEMORY;
    if (at >= 0 && at != i)
      status = mica_fail(MICA_ERR_FORMAT, "%s: two columns are named '%s'", f->path, f->name[i]);
  }
  mica_dictionary_free(&seen);
  return status;
}

/* By name, or by content where the caller has not said otherwise with a header or another label. */
static mica_status choose_format(mica_table_file *f, const mica_data_table_options *o,
                                 const char *const *field, int64_t n, mica_log_format *out) {
  bool header;
  const mica_log_format looks = mica_log_format_of(field, n, &header);
  if (!o->format) {
    if (!looks || o->header >= 0 ||
        (o->label && strcmp(o->label, mica_log_format_label(looks)) != 0))
      return MICA_OK;
    *out = looks;
  } else {
    int k = 0;
    while (k < MICA_LOG_COUNT && strcmp(o->format, mica_log_format_name[k]) != 0) k++;
    if (k == MICA_LOG_COUNT)
      return mica_fail(MICA_ERR_INVALID,
                       "table: format '%.40s', expected none, criteo, avazu, libfm or movielens",
                       o->format);
    /* Rows to be predicted may have any of its columns. */
    if (k == MICA_LOG_MOVIELENS) header = true;
    if (k != MICA_LOG_NONE && k != MICA_LOG_MOVIELENS && (int)looks != k)
      return mica_fail(MICA_ERR_FORMAT, "%s: the first line is none of a log in %s's format",
                       f->path, o->format);
    *out = (mica_log_format)k;
  }
  if (*out) f->header = header;
  return MICA_OK;
}

static mica_status open_input(mica_table_file *f) {
  if (!mica_is_movielens(f->path)) return mica_input_open(f->path, &f->input);
  const mica_status status = mica_movielens_text(f->path, &f->text);
  return status == MICA_OK ? mica_input_open_memory(f->text.data, f->text.n, f->path, &f->input)
                           : status;
}

mica_status mica_table_file_open(const char *path, const mica_data_table_options *o,
                                 mica_table_file *f) {
  *f = (mica_table_file){.strict = o->strict};
  if (!(f->path = mica_strdup(path))) return MICA_ERR_MEMORY;
  mica_status status = open_input(f);
  if (status == MICA_OK) status = mica_delimited_create(f->input, o->delimiter, 0, &f->records);
  const char *const *field = NULL;
  int64_t n = 0;
  if (status == MICA_OK) status = mica_delimited_next(f->records, &field, &n);
  if (status == MICA_OK && !n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: is empty; expected lines of fields", path);
  mica_log_format format = MICA_LOG_NONE;
  f->header = o->header > 0;
  if (status == MICA_OK) status = choose_format(f, o, field, n, &format);
  if (status == MICA_OK && o->header < 0 && !format)
    status = looks_like_header(field, n, o->label, &f->header);
  if (status != MICA_OK) return status;
  f->pending = !f->header;
  f->first = field;
  f->first_n = n;
  if (!format) {
    f->log = (mica_log_rows){.raw = n, .n = n};
    return set_names(f, field, n);
  }
  status = mica_log_rows_begin(&f->log, format, field, n, f->header);
  f->header = true;
  return status == MICA_OK ? set_names(f, f->log.cell, f->log.n) : status;
}

void mica_table_file_options(const mica_columns *c, mica_data_table_options *o) {
  o->format = mica_log_format_name[c->format];
  if (o->header < 0) o->header = !c->by_position;
}

int64_t mica_table_file_find(const mica_table_file *f, const char *name) {
  for (int64_t i = 0; i < f->n; i++)
    if (strcmp(f->name[i], name) == 0) return i;
  return -1;
}

/* "c7" is 6; -1 for what is no such name. */
static int64_t position_of(const char *name) {
  const size_t n = strlen(name);
  int64_t k;
  if (n < 2 || name[0] != 'c' || mica_parse_int64(name + 1, n - 1, &k) != n - 1 || k < 1) return -1;
  return k - 1;
}

/* Files without a header have the columns of the training file in their order, with the label or
 * without it. */
static mica_status match_by_position(const mica_table_file *f, const mica_columns *c, int64_t *at) {
  int64_t label = c->label ? position_of(c->label) : -1;
  const bool without = label >= 0 && f->n == c->line_fields - 1;
  if (f->n != c->line_fields && !without)
    return mica_fail(MICA_ERR_NOT_FOUND,
                     "%s: %lld fields a line, expected the %lld of the training file%s", f->path,
                     (long long)f->n, (long long)c->line_fields,
                     label >= 0 ? ", or those without the label" : "");
  for (int64_t i = 0; i < c->n; i++) {
    const int64_t k = position_of(c->column[i].name);
    at[i] = k - (without && k > label);
    if (k < 0 || at[i] >= f->n)
      return mica_fail(MICA_ERR_FORMAT, "%s: the model's column '%s' is no position", f->path,
                       c->column[i].name);
  }
  at[c->n] = without || label >= f->n ? -1 : label;
  return MICA_OK;
}

mica_status mica_table_file_match(const mica_table_file *f, const mica_columns *c, int64_t *at) {
  if (c->by_position && !f->header) return match_by_position(f, c, at);
  mica_dictionary names = {0};
  mica_bytes missing = {0};
  int64_t absent = 0;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < f->n && status == MICA_OK; i++)
    if (mica_dictionary_add(&names, f->name[i]) < 0) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < c->n && status == MICA_OK; i++) {
    at[i] = mica_dictionary_find(&names, c->column[i].name);
    if (at[i] < 0 && absent++ < 10)
      mica_bytes_printf(&missing, "%s'%s'", absent > 1 ? ", " : "", c->column[i].name);
  }
  if (status == MICA_OK) {
    at[c->n] = c->label ? mica_dictionary_find(&names, c->label) : -1;
    status = missing.status;
  }
  if (status == MICA_OK && absent)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: no column %s%s; %s", f->path, missing.data,
                       absent > 10 ? " and others" : "",
                       f->header ? "its first line names the columns it has"
                                 : "its columns have no names");
  mica_dictionary_free(&names);
  mica_bytes_free(&missing);
  return status;
}

mica_status mica_table_file_skip(mica_table_file *f) {
  if (mica_last_status() == MICA_ERR_MEMORY) return MICA_ERR_MEMORY;
  const mica_status why =
      mica_fail_within("%s: line %lld", f->path, (long long)mica_delimited_line(f->records));
  if (f->strict) return why;
  if (f->skipped++ < SKIPPED_LISTED) mica_bytes_printf(&f->skipped_text, "%s\n", mica_last_error());
  return f->skipped_text.status;
}

mica_status mica_table_file_next(mica_table_file *f, const char *const **cells) {
  *cells = NULL;
  for (;;) {
    const char *const *field = f->first;
    int64_t n = f->first_n;
    if (!f->pending) {
      mica_status status = mica_delimited_next(f->records, &field, &n);
      if (status != MICA_OK || !n) return status;
    }
    f->pending = false;
    f->rows++;
    mica_status status = mica_log_rows_next(&f->log, field, n, cells);
    if (status == MICA_OK) return MICA_OK;
    *cells = NULL;
    status = mica_table_file_skip(f);
    if (status != MICA_OK) return status;
  }
}
