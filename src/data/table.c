/* Data tables: files to rows of cells, their labels, and their parts.
 *
 * The training file is looked through for what its columns hold (table_guess.c), and read again for
 * its cells where these could not be kept meanwhile; then a part is held out, and the columns are
 * completed from what remains (table_learn.c). Other files, and all files for given columns, are
 * read once.
 */
#include "data/table_rows.h"

#include "base/file.h"
#include "data/movielens_table.h"
#include "data/subset_parts.h"
#include "data/validation_split.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void mica_data_table_free(mica_data_table *t) {
  if (!t) return;
  mica_columns_free(t->own);
  mica_free(t->cell);
  mica_free(t->part);
  mica_free(t->hash);
  mica_free(t->label);
  mica_free(t->target);
  for (int k = 0; k < MICA_PART_COUNT; k++) mica_free(t->file[k]);
  mica_bytes_free(&t->skipped_text);
  mica_free(t);
}

/* ---- rows ---- */

/* Room for one row more. `labels` and `targets`: which of the two rows have. */
static mica_status reserve(mica_data_table *t, bool labels, bool targets) {
  if (t->n < t->room) return MICA_OK;
  const size_t room = t->room ? (size_t)t->room * 2 : 1024;
  double *cell = mica_realloc_array(t->cell, room, (size_t)t->columns->n * sizeof *cell);
  if (!cell) return MICA_ERR_MEMORY;
  t->cell = cell;
  uint8_t *part = mica_realloc_array(t->part, room, sizeof *part);
  if (!part) return MICA_ERR_MEMORY;
  t->part = part;
  uint64_t *hash = mica_realloc_array(t->hash, room, sizeof *hash);
  if (!hash) return MICA_ERR_MEMORY;
  t->hash = hash;
  int64_t *label = labels ? mica_realloc_array(t->label, room, sizeof *label) : NULL;
  if (labels && !label) return MICA_ERR_MEMORY;
  t->label = label;
  double *target = targets ? mica_realloc_array(t->target, room, sizeof *target) : NULL;
  if (targets && !target) return MICA_ERR_MEMORY;
  t->target = target;
  t->room = (int64_t)room;
  return MICA_OK;
}

/* A file being read into the table. `learn` is its columns while values and classes still arrive,
 * else NULL. */
typedef struct loading {
  mica_data_table *t;
  mica_columns *learn;
  const int64_t *at; /* [columns + 1] */
  mica_table_file *f;
} loading;

/* The label while classes still arrive. */
static mica_status learn_label(const loading *l, const char *text, mica_row_label *out) {
  const mica_columns *c = l->t->columns;
  if (mica_cell_missing(text))
    return mica_fail(MICA_ERR_FORMAT, "the label '%s' is missing", c->label);
  if (c->regression) {
    const mica_status status = mica_cell_number(text, &out->target);
    return status == MICA_OK ? status : mica_fail_within("label '%s'", c->label);
  }
  out->label = mica_dictionary_add(&l->learn->classes, text);
  return out->label >= 0 ? MICA_OK : MICA_ERR_MEMORY;
}

/* A cell while values still arrive. */
static mica_status learn_value(const loading *l, int64_t i, const char *text, double *cell) {
  mica_column *k = &l->learn->column[i];
  if (k->buckets || (!k->field && k->kind == MICA_COLUMN_NUMERIC))
    return mica_columns_cell(l->t->columns, i, text, cell);
  *cell = -1;
  if (mica_cell_missing(text)) return MICA_OK;
  char buffer[48];
  const char *what;
  const mica_status status = mica_column_value(k, text, buffer, &what);
  if (status != MICA_OK) return status;
  const int64_t value = mica_dictionary_add(&k->values, what);
  if (value < 0) return MICA_ERR_MEMORY;
  if (!k->field && value >= MICA_CATEGORIES_MAX)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "column '%s' has more than %d different values; ignore it", k->name,
                     MICA_CATEGORIES_MAX);
  *cell = (double)value;
  return MICA_OK;
}

static mica_status learn_row(const loading *l, const char *const *field, double *cell,
                             mica_row_label *label) {
  const int64_t n = l->learn->n;
  mica_status status = MICA_OK;
  /* Cells first: a row that cannot be used must add no class. */
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    status = learn_value(l, i, field[l->at[i]], &cell[i]);
  if (status == MICA_OK && l->t->labelled) status = learn_label(l, field[l->at[n]], label);
  return status;
}

/* One row; MICA_ERR_FORMAT when it alone cannot be used. */
static mica_status read_row(const loading *l, const char *const *field, mica_part part) {
  mica_data_table *t = l->t;
  mica_status status =
      reserve(t, t->labelled && !t->columns->regression, t->labelled && t->columns->regression);
  if (status != MICA_OK) return status;
  double *cell = t->cell + t->n * t->columns->n;
  mica_row_label label = {0};
  status = l->learn ? learn_row(l, field, cell, &label)
                    : mica_table_decode(t->columns, l->at, field, cell, &label);
  if (status != MICA_OK) return status;
  if (t->label) t->label[t->n] = label.label;
  if (t->target) t->target[t->n] = label.target;
  t->part[t->n] = (uint8_t)part;
  t->hash[t->n++] = mica_table_row_hash(field, l->f->n);
  return MICA_OK;
}

mica_status mica_table_parts_differ(const mica_data_table *t, const char *path, bool labelled) {
  return mica_fail(MICA_ERR_NOT_FOUND,
                   "%s: %s column '%s' with the labels, unlike the file before it", path,
                   labelled ? "has a" : "no", t->columns->label);
}

/* `given` NULL: match by name. Parts of one table all have labels or none has. */
static mica_status load(mica_data_table *t, const char *path, mica_part part, mica_columns *learn,
                        const int64_t *given) {
  mica_table_file f;
  mica_data_table_options o = *t->o;
  if (!learn) mica_table_file_options(t->columns, &o);
  int64_t *at = mica_malloc((size_t)(t->columns->n + 1) * sizeof *at);
  mica_status status = mica_table_file_open(path, &o, &f);
  if (!at) status = MICA_ERR_MEMORY;
  if (status == MICA_OK && given && f.n != t->columns->line_fields)
    status = mica_fail(MICA_ERR_FORMAT, "%s: changed while it was read", path);
  if (status == MICA_OK && given)
    memcpy(at, given, (size_t)(t->columns->n + 1) * sizeof *at);
  else if (status == MICA_OK)
    status = mica_table_file_match(&f, t->columns, at);
  if (status == MICA_OK) {
    const bool labelled = at[t->columns->n] >= 0;
    if (t->files++ && labelled != t->labelled) status = mica_table_parts_differ(t, path, labelled);
    t->labelled = labelled;
  }
  const loading l = {t, learn, at, &f};
  while (status == MICA_OK) {
    const char *const *field;
    status = mica_table_file_next(&f, &field);
    if (status != MICA_OK || !field) break;
    status = read_row(&l, field, part);
    if (status == MICA_ERR_FORMAT)
      status = mica_table_file_skip(&f);
    else if (status != MICA_OK && status != MICA_ERR_MEMORY)
      status = mica_fail_within("%s: line %lld", path, (long long)mica_delimited_line(f.records));
  }
  t->skipped += f.skipped;
  if (f.skipped_text.n) mica_bytes_append(&t->skipped_text, f.skipped_text.data, f.skipped_text.n);
  if (status == MICA_OK && t->skipped_text.status != MICA_OK) status = t->skipped_text.status;
  mica_table_file_close(&f);
  mica_free(at);
  return status;
}

/* ---- files and parts ---- */

char *mica_table_part_path(const char *folder, mica_part part, mica_status *status) {
  static const char *const names[MICA_PART_COUNT] = {"train", "val", "test"};
  static const char *const endings[] = {".csv", ".tsv", ".csv.gz", ".tsv.gz"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    mica_bytes b = {0};
    mica_bytes_printf(&b, "%s/%s%s", folder, names[part], endings[i]);
    char *path = mica_bytes_take(&b);
    if (!path) *status = MICA_ERR_MEMORY;
    if (!path || (mica_file_exists(path) && !mica_is_folder(path))) return path;
    mica_free(path);
  }
  return NULL;
}

bool mica_is_table(const char *path) {
  mica_status status = MICA_OK;
  if (!mica_is_folder(path)) return mica_file_exists(path);
  if (mica_is_movielens(path)) return true;
  char *train = mica_table_part_path(path, MICA_PART_TRAIN, &status);
  const bool there = train != NULL;
  mica_free(train);
  return there;
}

const char *mica_table_log_format(const char *path) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_table_file f = {0};
  mica_status status = MICA_OK;
  if (mica_is_movielens(path)) return mica_log_format_name[MICA_LOG_MOVIELENS];
  char *file = mica_is_folder(path) ? mica_table_part_path(path, MICA_PART_TRAIN, &status)
                                    : mica_strdup(path);
  struct stat s; /* a pipe could not be read again */
  if (file && stat(file, &s) == 0 && S_ISREG(s.st_mode)) {
    status = mica_table_file_open(file, &o, &f);
    if (status != MICA_OK) mica_clear_error();
  }
  const mica_log_format format = f.log.format;
  mica_table_file_close(&f);
  mica_free(file);
  return format ? mica_log_format_name[format] : NULL;
}

static mica_status no_row(const mica_data_table *t) {
  return mica_fail(MICA_ERR_FORMAT, "%s: no row can be used%s%.*s", t->file[MICA_PART_TRAIN],
                   t->skipped ? "; the first: " : "",
                   t->skipped ? (int)strcspn(t->skipped_text.data, "\n") : 0,
                   t->skipped ? t->skipped_text.data : "");
}

/* The rows of the training file as they were seen while its columns were judged. */
static mica_status take_seen(mica_data_table *t, const int64_t *at, mica_table_seen *s) {
  const mica_columns *c = t->columns;
  const size_t n = (size_t)s->n;
  const int64_t label = at[c->n];
  t->labelled = label >= 0;
  t->files++;
  t->cell = mica_realloc_array(NULL, n, (size_t)c->n * sizeof *t->cell);
  t->part = mica_calloc(n, sizeof *t->part);
  if (label >= 0 && c->regression && !(t->target = mica_realloc_array(NULL, n, sizeof *t->target)))
    return MICA_ERR_MEMORY;
  if (!t->cell || !t->part) return MICA_ERR_MEMORY;
  for (int64_t r = 0; r < s->n; r++) {
    const double *from = s->cell + r * s->columns;
    for (int64_t i = 0; i < c->n; i++) t->cell[r * c->n + i] = from[at[i]];
    if (t->target) t->target[r] = from[label];
  }
  t->hash = s->hash;
  s->hash = NULL;
  if (label >= 0 && !c->regression) {
    t->label = s->label;
    s->label = NULL;
  }
  t->n = t->room = s->n;
  return MICA_OK;
}

static mica_status learn_in_memory(mica_data_table *t, bool hold_out) {
  int64_t *at = NULL;
  mica_table_seen seen = {0};
  mica_status status = mica_table_guess(t->file[MICA_PART_TRAIN], t->o, &t->own, &at, &seen);
  t->columns = t->own;
  if (status == MICA_OK)
    status = seen.usable ? take_seen(t, at, &seen)
                         : load(t, t->file[MICA_PART_TRAIN], MICA_PART_TRAIN, t->own, at);
  mica_table_seen_free(&seen);
  mica_free(at);
  if (status != MICA_OK) return status;
  if (!t->n) return no_row(t);
  if (hold_out)
    status = mica_validation_split(t->n, t->hash, t->label, t->own->classes.n, t->o->validation,
                                   t->part);
  return status == MICA_OK ? mica_table_learn(t, t->own, t->o) : status;
}

static mica_status learn(mica_data_table *t) {
  const bool hold_out = !t->file[MICA_PART_VALIDATION] && t->o->validation > 0;
  if (strcmp(t->file[MICA_PART_TRAIN], "-") == 0)
    return mica_fail(MICA_ERR_INVALID,
                     "standard input cannot be read twice, as learning columns needs; give a file");
  if (!t->in_file) return learn_in_memory(t, hold_out);
  if (hold_out) t->hold_out = t->o->validation;
  const mica_status status = mica_table_in_file_learn(t, t->o);
  return status == MICA_OK && !t->rows[MICA_PART_TRAIN] ? no_row(t) : status;
}

static mica_status read_part(mica_data_table *t, mica_part part) {
  return t->in_file ? mica_table_in_file_count(t, part, part == MICA_PART_TRAIN)
                    : load(t, t->file[part], part, NULL, NULL);
}

/* Does the file hold more than the bound? What .gz unpacks to is not known before it was read;
 * tables come to about five times their packed size. */
static bool is_large(const char *path, int64_t bound) {
  struct stat s;
  const size_t n = strlen(path);
  const bool packed = n > 3 && strcmp(path + n - 3, ".gz") == 0;
  return stat(path, &s) == 0 && S_ISREG(s.st_mode) && s.st_size / (packed ? 1 : 5) > bound / 5;
}

static mica_status open_parts(mica_data_table *t, const char *path) {
  char **file = t->file;
  mica_status status = MICA_OK;
  if (!mica_is_folder(path) || mica_is_movielens(path)) {
    if (!(file[0] = mica_strdup(path))) return MICA_ERR_MEMORY;
  } else {
    for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++)
      file[k] = mica_table_part_path(path, (mica_part)k, &status);
    if (status == MICA_OK && !file[0])
      status = mica_fail(MICA_ERR_NOT_FOUND, "%s: no train.csv, train.tsv or either .gz", path);
  }
  if (status != MICA_OK) return status;
  t->in_file = t->o->in_file > 0 || (t->o->in_file < 0 && is_large(file[0], t->o->memory));
  if (t->columns) t->header = t->o->header < 0 ? !t->columns->by_position : t->o->header;
  status = t->columns ? read_part(t, MICA_PART_TRAIN) : learn(t);
  for (int k = 1; k < MICA_PART_COUNT && status == MICA_OK; k++)
    if (file[k]) status = read_part(t, (mica_part)k);
  return status;
}

/* The first option outside its range, as an error. */
static mica_status check(const mica_data_table_options *o) {
  if (o->max_categories < 1 || o->max_categories > MICA_CATEGORIES_MAX ||
      !(o->validation >= 0 && o->validation < 1) || o->target < MICA_TARGET_BY_CONTENT ||
      o->target > MICA_TARGET_NUMBER)
    return mica_fail(MICA_ERR_INVALID,
                     "table: max-categories from 1 to %d, a validation share from 0 to below 1",
                     MICA_CATEGORIES_MAX);
  if (o->numbers < MICA_NUMBER_BY_FORMAT || o->numbers > MICA_NUMBER_LOG_SQUARE ||
      o->min_count < 0 || o->max_ids < 0 || o->max_ids > MICA_CATEGORIES_MAX ||
      o->hash_buckets < 0 || o->hash_buckets > MICA_BUCKETS_MAX)
    return mica_fail(MICA_ERR_INVALID,
                     "table: numbers are standard, plain, log or log-square, min-count is 0 or "
                     "more, max-ids up to %d, hash-buckets up to %lld",
                     MICA_CATEGORIES_MAX, MICA_BUCKETS_MAX);
  if (o->in_file && (o->memory < 65536 || o->buffer < 1 || o->buffer > INT32_MAX))
    return mica_fail(MICA_ERR_INVALID,
                     "table: rows in files need 65536 bytes or more of memory, and a buffer of 1 "
                     "to %d rows",
                     INT32_MAX);
  if (o->fields && o->hash_buckets && o->min_count > 1)
    return mica_fail(MICA_ERR_INVALID,
                     "table: min-count counts values, hash-buckets keeps none; give one of them");
  if (!o->fields && (o->hash_buckets || o->min_count > 1 || o->numbers == MICA_NUMBER_LOG_SQUARE))
    return mica_fail(MICA_ERR_INVALID,
                     "table: min-count, hash-buckets and log-square numbers need fields");
  return MICA_OK;
}

mica_status mica_data_table_open(const char *path, const mica_data_table_options *given,
                                 mica_data_table **out) {
  *out = NULL;
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if (!path || !*path) return mica_fail(MICA_ERR_INVALID, "a table needs a path");
  mica_status status = check(&o);
  if (status != MICA_OK) return status;
  mica_data_table *t = mica_calloc(1, sizeof *t);
  if (!t) return MICA_ERR_MEMORY;
  t->o = &o;
  t->columns = o.columns;
  t->strict = o.strict;
  t->delimiter = o.delimiter;
  t->buffer = o.buffer;
  status = open_parts(t, path);
  t->o = NULL;
  if (status != MICA_OK) {
    mica_data_table_free(t);
    return status;
  }
  *out = t;
  return MICA_OK;
}

/* ---- looking ---- */

bool mica_data_table_in_file(const mica_data_table *t) {
  return t->in_file;
}
int64_t mica_data_table_count(const mica_data_table *t) {
  return t->n + t->rows[MICA_PART_TRAIN] + t->rows[MICA_PART_VALIDATION] + t->rows[MICA_PART_TEST];
}
int64_t mica_data_table_part_count(const mica_data_table *t, mica_part part) {
  int64_t n = t->rows[part];
  for (int64_t i = 0; i < t->n; i++) n += t->part[i] == part;
  return n;
}
mica_part mica_data_table_part_of(const mica_data_table *t, int64_t i) {
  return t->in_file ? MICA_PART_TRAIN : (mica_part)t->part[i];
}
const char *mica_data_table_name(const mica_data_table *t, int64_t i, char *buf, size_t n) {
  if (t->in_file || i < 0 || i >= t->n)
    snprintf(buf, n, "%s", "");
  else
    snprintf(buf, n, "row:%016llx", (unsigned long long)t->hash[i]);
  return buf;
}
mica_status mica_data_table_subset(mica_data_table *t, mica_part part, int64_t n,
                                   const int64_t *row) {
  if (t->in_file)
    return mica_fail(MICA_ERR_UNSUPPORTED, "subset: the table's rows stay in their file");
  return mica_subset_parts(t->n, t->part, part, n, row);
}
const mica_columns *mica_data_table_columns(const mica_data_table *t) {
  return t->columns;
}
int64_t mica_data_table_classes(const mica_data_table *t) {
  return t->columns->classes.n;
}
const char *mica_data_table_class(const mica_data_table *t, int64_t i) {
  return i >= 0 && i < t->columns->classes.n ? t->columns->classes.text[i] : NULL;
}
const int64_t *mica_data_table_labels(const mica_data_table *t) {
  return t->label;
}
const double *mica_data_table_targets(const mica_data_table *t) {
  return t->target;
}
void mica_data_table_row(const mica_data_table *t, int64_t i, float *x) {
  mica_data_table_row_fields(t, i, x, NULL);
}
void mica_data_table_row_fields(const mica_data_table *t, int64_t i, float *x, int64_t *ids) {
  if (!t->in_file) {
    mica_columns_expand(t->columns, t->cell + i * t->columns->n, x, ids);
    return;
  }
  for (int64_t k = 0; k < t->columns->width; k++) x[k] = 0;
  for (int64_t k = 0; ids && k < t->columns->fields; k++) ids[k] = 0;
}
int64_t mica_data_table_skipped(const mica_data_table *t) {
  return t->skipped;
}
const char *mica_data_table_skipped_text(const mica_data_table *t) {
  return t->skipped_text.data ? t->skipped_text.data : "";
}
mica_columns *mica_data_table_take_columns(mica_data_table *t) {
  mica_columns *own = t->own;
  t->own = NULL;
  return own;
}

/* Which of the tensors of a part are wanted. */
typedef struct part_tensors {
  mica_tensor *x, *ids, *y;
} part_tensors;

static mica_status make_tensors(const mica_data_table *t, int64_t n, bool ids, bool labels,
                                part_tensors *p) {
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, t->columns->width), &p->x);
  if (status == MICA_OK && ids)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(n, t->columns->fields), &p->ids);
  if (status == MICA_OK && labels && (t->label || t->target))
    status = mica_tensor_create(t->label ? MICA_I64 : MICA_F64, MICA_SHAPE(n), &p->y);
  if (status != MICA_OK) {
    mica_tensor_free(p->x);
    mica_tensor_free(p->ids);
    *p = (part_tensors){0};
  }
  return status;
}

mica_status mica_data_table_matrix_fields(const mica_data_table *t, mica_part part, mica_tensor **x,
                                          mica_tensor **ids, mica_tensor **labels) {
  const int64_t width = t->columns->width, fields = t->columns->fields;
  part_tensors p = {0};
  *x = NULL;
  if (ids) *ids = NULL;
  if (labels) *labels = NULL;
  if (t->in_file)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: the rows stay in the file; a stream reads them, or open the table in "
                     "memory",
                     t->file[MICA_PART_TRAIN]);
  const mica_status status =
      make_tensors(t, mica_data_table_part_count(t, part), ids && fields, labels != NULL, &p);
  float *to = status == MICA_OK ? mica_tensor_data(p.x) : NULL;
  int64_t *id = p.ids ? mica_tensor_data(p.ids) : NULL, k = 0;
  for (int64_t i = 0; i < t->n && status == MICA_OK; i++) {
    if (t->part[i] != part) continue;
    mica_data_table_row_fields(t, i, to + k * width, id ? id + k * fields : NULL);
    if (p.y && t->label)
      ((int64_t *)mica_tensor_data(p.y))[k] = t->label[i];
    else if (p.y)
      ((double *)mica_tensor_data(p.y))[k] = t->target[i];
    k++;
  }
  *x = p.x;
  if (ids) *ids = p.ids;
  if (labels) *labels = p.y;
  return status;
}

mica_status mica_data_table_matrix(const mica_data_table *t, mica_part part, mica_tensor **x,
                                   mica_tensor **labels) {
  return mica_data_table_matrix_fields(t, part, x, NULL, labels);
}
