/* Tables that stay in their files: columns learnt from one pass over the training rows, and rows
 * counted, in memory that does not grow with the files.
 *
 * What is learnt is what a table in memory learns, as long as the values that categories have fit
 * the bound. The validation part is every row whose content's hash is below the share, without the
 * corrections for small classes that need all rows at once.
 */
#include "data/table_rows.h"
#include "data/value_counts.h"
#include "data/value_order.h"

#include <math.h>
#include <string.h>

/* What one column, or the target, has been so far. */
typedef struct moments {
  double mean, squares;
  int64_t n;
} moments;

typedef struct learning {
  mica_data_table *t;
  mica_columns *c;
  const mica_data_table_options *o;
  mica_table_file f;
  int64_t *at;
  moments *number;          /* [columns + 1], the last is the target's */
  mica_value_counts *value; /* [columns] */
  bool *missing;            /* [columns] */
  double *cell;             /* [columns + 1], of the row */
  int64_t *class_count, classes_room;
} learning;

bool mica_table_row_held_out(const mica_data_table *t, uint64_t hash) {
  return (double)hash < t->hold_out * 18446744073709551616.0;
}

static void moments_add(moments *m, double x) {
  const double d = x - m->mean;
  m->mean += d / (double)++m->n;
  m->squares += d * (x - m->mean);
}

static void moments_end(const moments *m, double *mean, double *deviation) {
  const double s = m->n ? sqrt(m->squares / (double)m->n) : 0;
  *mean = m->mean;
  *deviation = s > 1e-12 * fabs(m->mean) && s > 0 ? s : 1;
}

static bool is_number(const mica_column *k) {
  return !k->field && k->kind == MICA_COLUMN_NUMERIC;
}

/* ---- one row ---- */

/* Numbers first: a row that cannot be used must leave no trace. */
static mica_status check(learning *l, const char *const *field) {
  const mica_columns *c = l->c;
  for (int64_t i = 0; i < c->n; i++) {
    const mica_column *k = &c->column[i];
    const char *text = field[l->at[i]], *value;
    char buffer[48];
    mica_status status = MICA_OK;
    if (is_number(k))
      status = mica_columns_cell(c, i, text, &l->cell[i]);
    else if (!mica_cell_missing(text))
      status = mica_column_value(k, text, buffer, &value);
    if (status != MICA_OK) return status;
  }
  if (l->at[c->n] < 0) return MICA_OK;
  const char *text = field[l->at[c->n]];
  if (mica_cell_missing(text))
    return mica_fail(MICA_ERR_FORMAT, "the label '%s' is missing", c->label);
  if (c->regression && mica_cell_number(text, &l->cell[c->n]) != MICA_OK)
    return mica_fail_within("label '%s'", c->label);
  return MICA_OK;
}

static mica_status count_class(learning *l, const char *text) {
  mica_dictionary *d = &l->c->classes;
  const int64_t before = d->n, at = mica_dictionary_add(d, text);
  if (at < 0) return MICA_ERR_MEMORY;
  if (d->n > l->classes_room) {
    int64_t *count = mica_realloc_array(l->class_count, (size_t)d->room, sizeof *count);
    if (!count) return MICA_ERR_MEMORY;
    l->class_count = count;
    l->classes_room = d->room;
  }
  if (at == before) l->class_count[at] = 0;
  l->class_count[at]++;
  return d->n <= MICA_CATEGORIES_MAX
             ? MICA_OK
             : mica_fail(MICA_ERR_UNSUPPORTED, "the label '%s' has more than %d different values",
                         l->c->label, MICA_CATEGORIES_MAX);
}

static mica_status take(learning *l, const char *const *field) {
  const mica_columns *c = l->c;
  for (int64_t i = 0; i < c->n; i++) {
    const mica_column *k = &c->column[i];
    const char *text = field[l->at[i]], *value;
    char buffer[48];
    if (is_number(k)) {
      if (isnan(l->cell[i]))
        l->missing[i] = true;
      else
        moments_add(&l->number[i], l->cell[i]);
    } else if (mica_cell_missing(text)) {
      l->missing[i] = true;
    } else if (!k->buckets) {
      mica_status status = mica_column_value(k, text, buffer, &value);
      if (status == MICA_OK) status = mica_value_counts_add(&l->value[i], value);
      if (status != MICA_OK) return status;
    }
  }
  if (c->regression) moments_add(&l->number[c->n], l->cell[c->n]);
  return mica_value_counts_bound(l->value, c->n, l->o->memory);
}

/* ---- the training file ---- */

static mica_status read_rows(learning *l) {
  mica_data_table *t = l->t;
  for (;;) {
    const char *const *field;
    mica_status status = mica_table_file_next(&l->f, &field);
    if (status != MICA_OK || !field) return status;
    status = check(l, field);
    if (status != MICA_OK) {
      if (status != MICA_ERR_FORMAT) return status;
      if ((status = mica_table_file_skip(&l->f)) != MICA_OK) return status;
      continue;
    }
    const bool held_out =
        t->hold_out > 0 && mica_table_row_held_out(t, mica_table_row_hash(field, l->f.n));
    t->rows[held_out ? MICA_PART_VALIDATION : MICA_PART_TRAIN]++;
    if (l->at[l->c->n] >= 0 && !l->c->regression) status = count_class(l, field[l->at[l->c->n]]);
    if (status == MICA_OK && !held_out) status = take(l, field);
    if (status != MICA_OK) return status;
  }
}

static mica_status finish_column(learning *l, int64_t i) {
  mica_column *k = &l->c->column[i];
  if (is_number(k)) {
    moments_end(&l->number[i], &k->mean, &k->deviation);
    k->missing = l->missing[i];
    return MICA_OK;
  }
  if (k->buckets) return MICA_OK;
  mica_value_counts *v = &l->value[i];
  const int64_t most = k->field ? l->o->max_ids : l->o->max_categories;
  bool others = false;
  const mica_status status =
      mica_values_reorder(&v->values, v->count, most, k->field ? mica_min_count(l->c, l->o) : 1,
                          MICA_ORDER_COUNT, NULL, &others);
  if (status != MICA_OK) return status;
  mica_dictionary_free(&k->values);
  k->values = v->values;
  v->values = (mica_dictionary){0};
  k->other = k->field || others || v->lost;
  k->missing = k->field || l->missing[i];
  return MICA_OK;
}

static mica_status finish(learning *l) {
  mica_columns *c = l->c;
  bool others = false;
  mica_status status = MICA_OK;
  if (c->classes.n)
    status = mica_values_reorder(&c->classes, l->class_count, INT64_MAX, 1, MICA_ORDER_TEXT, NULL,
                                 &others);
  if (c->regression) moments_end(&l->number[c->n], &c->target_mean, &c->target_deviation);
  for (int64_t i = 0; i < c->n && status == MICA_OK; i++) status = finish_column(l, i);
  return status == MICA_OK ? mica_columns_arrange(c) : status;
}

static mica_status begin(learning *l) {
  const mica_columns *c = l->c;
  const size_t n = (size_t)c->n + 1;
  l->number = mica_calloc(n, sizeof *l->number);
  l->value = mica_calloc(n, sizeof *l->value);
  l->missing = mica_calloc(n, sizeof *l->missing);
  l->cell = mica_calloc(n, sizeof *l->cell);
  if (!l->number || !l->value || !l->missing || !l->cell) return MICA_ERR_MEMORY;
  const mica_status status = mica_table_file_open(l->t->file[MICA_PART_TRAIN], l->o, &l->f);
  if (status == MICA_OK && l->f.n != c->line_fields)
    return mica_fail(MICA_ERR_FORMAT, "%s: changed while it was read", l->f.path);
  return status;
}

static mica_status take_skipped(mica_data_table *t, const mica_table_file *f) {
  t->skipped += f->skipped;
  if (f->skipped_text.n)
    mica_bytes_append(&t->skipped_text, f->skipped_text.data, f->skipped_text.n);
  return t->skipped_text.status;
}

mica_status mica_table_in_file_learn(mica_data_table *t, const mica_data_table_options *o) {
  learning l = {.t = t, .o = o};
  mica_status status = mica_table_guess(t->file[MICA_PART_TRAIN], o, &t->own, &l.at, NULL);
  t->columns = l.c = t->own;
  if (status == MICA_OK) status = begin(&l);
  if (status == MICA_OK) status = read_rows(&l);
  if (status == MICA_OK) status = take_skipped(t, &l.f);
  if (status == MICA_OK) status = finish(&l);
  t->labelled = status == MICA_OK && l.at[l.c->n] >= 0;
  t->header = t->own && !t->own->by_position;
  for (int64_t i = 0; l.value && i < l.c->n; i++) mica_value_counts_free(&l.value[i]);
  mica_free(l.value);
  mica_free(l.number);
  mica_free(l.missing);
  mica_free(l.cell);
  mica_free(l.class_count);
  mica_free(l.at);
  mica_table_file_close(&l.f);
  return status;
}

mica_status mica_table_in_file_count(mica_data_table *t, mica_part part, bool first) {
  mica_table_rows r;
  mica_row_label label;
  double *cell = mica_malloc((size_t)(t->columns->n + 1) * sizeof *cell);
  mica_status status = cell ? mica_table_rows_open(t, part, &r) : MICA_ERR_MEMORY;
  if (!cell) return status;
  if (status == MICA_OK && !first && r.labelled != t->labelled)
    status = mica_table_parts_differ(t, r.f.path, r.labelled);
  if (status == MICA_OK) t->labelled = r.labelled;
  bool got = true;
  while (status == MICA_OK && got) {
    status = mica_table_rows_next(&r, cell, &label, &got);
    t->rows[part] += got;
  }
  if (status == MICA_OK) status = take_skipped(t, &r.f);
  mica_table_rows_close(&r);
  mica_free(cell);
  return status;
}
