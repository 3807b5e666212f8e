/* Rows for columns that are known: see table_rows.h. */
#include "data/table_rows.h"

#include <string.h>

static mica_status read_label(const mica_columns *c, const char *text, mica_row_label *out) {
  if (mica_cell_missing(text))
    return mica_fail(MICA_ERR_FORMAT, "the label '%s' is missing", c->label);
  if (c->regression) {
    const mica_status status = mica_cell_number(text, &out->target);
    return status == MICA_OK ? status : mica_fail_within("label '%s'", c->label);
  }
  out->label = mica_dictionary_find(&c->classes, text);
  return out->label >= 0
             ? MICA_OK
             : mica_fail(MICA_ERR_NOT_FOUND, "label '%s': '%.40s' is no class of the training part",
                         c->label, text);
}

mica_status mica_table_decode(const mica_columns *c, const int64_t *at, const char *const *field,
                              double *cell, mica_row_label *label) {
  for (int64_t i = 0; i < c->n; i++) {
    const mica_status status = mica_columns_cell(c, i, field[at[i]], &cell[i]);
    if (status != MICA_OK) return status;
  }
  return at[c->n] < 0 ? MICA_OK : read_label(c, field[at[c->n]], label);
}

uint64_t mica_table_row_hash(const char *const *field, int64_t n) {
  uint64_t h = 0;
  for (int64_t i = 0; i < n; i++) h = mica_hash64(field[i], strlen(field[i]) + 1, h);
  return mica_random_bits(mica_key_fold(mica_key_seed(0), h), 0);
}

mica_status mica_table_rows_open(const mica_data_table *t, mica_part part, mica_table_rows *r) {
  const bool held_out = part == MICA_PART_VALIDATION && !t->file[part];
  const char *path = t->file[held_out ? MICA_PART_TRAIN : part];
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  *r = (mica_table_rows){.table = t, .part = part};
  o.delimiter = t->delimiter;
  o.strict = t->strict;
  o.header = t->header;
  o.format = mica_log_format_name[t->columns->format];
  if (!(r->at = mica_malloc((size_t)(t->columns->n + 1) * sizeof *r->at))) return MICA_ERR_MEMORY;
  mica_status status = mica_table_file_open(path, &o, &r->f);
  if (status == MICA_OK) status = mica_table_file_match(&r->f, t->columns, r->at);
  r->labelled = status == MICA_OK && r->at[t->columns->n] >= 0;
  return status;
}

void mica_table_rows_close(mica_table_rows *r) {
  mica_table_file_close(&r->f);
  mica_free(r->at);
  *r = (mica_table_rows){0};
}

/* Is the row one of the part that is read? */
static bool belongs(const mica_table_rows *r, const char *const *field) {
  const mica_data_table *t = r->table;
  if (!(t->hold_out > 0) || r->part == MICA_PART_TEST) return true;
  const bool held_out = mica_table_row_held_out(t, mica_table_row_hash(field, r->f.n));
  return held_out == (r->part == MICA_PART_VALIDATION);
}

mica_status mica_table_rows_next(mica_table_rows *r, double *cell, mica_row_label *label,
                                 bool *got) {
  *got = false;
  for (;;) {
    const char *const *field;
    mica_status status = mica_table_file_next(&r->f, &field);
    if (status != MICA_OK || !field) return status;
    if (!belongs(r, field)) continue;
    status = mica_table_decode(r->table->columns, r->at, field, cell, label);
    *got = status == MICA_OK;
    if (*got) return MICA_OK;
    if (status == MICA_ERR_FORMAT)
      status = mica_table_file_skip(&r->f);
    else if (status != MICA_ERR_MEMORY)
      status = mica_fail_within("%s: line %lld", r->f.path,
                                (long long)mica_delimited_line(r->f.records));
    if (status != MICA_OK) return status;
  }
}
