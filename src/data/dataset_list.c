/* A list of pictures with labels: a CSV or TSV file, or lines on standard input. */
#include "data/dataset.h"
#include "data/delimited.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RECORD_LIMIT ((size_t)1 << 20)

enum { PATH, LABEL, PART, BOX, COLUMNS, PLAIN = BOX /* without a header */ };

#define NAMES 7
static const char *const names[COLUMNS][NAMES] = {
    {"path", "file", "filename", "file_name", "image", "filepath"},
    {"label", "class", "category", "target", "caption", "text", "title"},
    {"part", "split", "set", "subset"},
    {"box", "bbx"}};

/* Text and the item that has it. */
typedef struct labelled {
  const char *text;
  int64_t item;
} labelled;

typedef struct list {
  mica_dataset *ds;
  mica_input *input;
  mica_delimited *records;
  const char *name;    /* of the file, for messages */
  int64_t at[COLUMNS]; /* -1: there is no such column */
  bool landmarks;      /* by this table instead */
  mica_landmark_table table;
} list;

/* ---- the header ---- */

/* The column of each name in this record. */
static void find_columns(list *l, const char *const *field, int64_t n) {
  for (int c = 0; c < COLUMNS; c++) {
    l->at[c] = -1;
    for (int k = NAMES - 1; k >= 0; k--)
      for (int64_t i = n - 1; i >= 0 && names[c][k]; i--)
        if (strcasecmp(field[i], names[c][k]) == 0) l->at[c] = i;
  }
}

static mica_status no_header(const list *l, const char *const *field, int64_t n) {
  mica_bytes all = {0};
  for (int64_t i = 0; i < n && i < 20; i++)
    mica_bytes_printf(&all, "%s%.60s", i ? ", " : "", field[i]);
  const mica_status status =
      mica_fail(MICA_ERR_FORMAT,
                "%s: no list of pictures: expected a header with the columns path, label and "
                "perhaps part, or rows of a picture's path and its label; the first line has: %s",
                l->name, all.data ? all.data : "");
  mica_bytes_free(&all);
  return status;
}

/* Where the columns stand; *row is true when the first record is no header but a row. */
static mica_status head(list *l, const char *const *field, int64_t n, bool *row) {
  *row = false;
  find_columns(l, field, n);
  if (l->at[PATH] >= 0) {
    if (l->at[LABEL] >= 0) return MICA_OK;
    return mica_fail(MICA_ERR_FORMAT, "%s: the header has no column 'label'", l->name);
  }
  /* Of landmarks only where no column has labels by another name. */
  const mica_status status =
      l->at[LABEL] < 0 ? mica_landmark_head(l->ds, field, n, &l->table, &l->landmarks) : MICA_OK;
  if (status != MICA_OK || l->landmarks) return status;
  if (n < 2 || n > PLAIN || !mica_is_picture_name(field[0])) return no_header(l, field, n);
  *row = true;
  for (int c = 0; c < PLAIN; c++) l->at[c] = c < n ? c : -1;
  return MICA_OK;
}

/* ---- rows ---- */

static bool part_of(const char *text, uint8_t *out) {
  static const struct {
    const char *name;
    mica_part part;
  } parts[] = {{"train", MICA_PART_TRAIN},
               {"training", MICA_PART_TRAIN},
               {"val", MICA_PART_VALIDATION},
               {"valid", MICA_PART_VALIDATION},
               {"validation", MICA_PART_VALIDATION},
               {"dev", MICA_PART_VALIDATION},
               {"test", MICA_PART_TEST}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (strcasecmp(text, parts[i].name) == 0) {
      *out = (uint8_t)parts[i].part;
      return true;
    }
  return false;
}

/* A picture as an item; its label is the offset of its text for now. */
static mica_status add(list *l, mica_dataset_item item, const char *path, const char *label) {
  size_t text = 0;
  mica_status status = mica_dataset_name_add(l->ds, path, &item.name);
  if (status == MICA_OK) status = mica_dataset_name_add(l->ds, label, &text);
  item.label = (int64_t)text;
  return status == MICA_OK ? mica_dataset_item_add(l->ds, item) : status;
}

static mica_status add_landmark(void *ctx, const char *name, const char *label) {
  list *l = ctx;
  return add(l, (mica_dataset_item){.row = -1, .part = (uint8_t)l->table.part}, name, label);
}

static bool box_of(const char *text, mica_dataset_box *b) {
  int end = 0;
  return sscanf(text, "%lf %lf %lf %lf %n", &b->left, &b->top, &b->right, &b->bottom, &end) == 4 &&
         !text[end] && fabs(b->left) < 1e9 && fabs(b->top) < 1e9 && b->right < 1e9 &&
         b->bottom < 1e9 && b->right > b->left && b->bottom > b->top;
}

static mica_status add_row(list *l, const char *const *field, int64_t n) {
  const long long line = (long long)mica_delimited_line(l->records);
  if (l->landmarks) return mica_landmark_row(&l->table, l->name, line, field, n, add_landmark, l);
  mica_dataset_item item = {.row = -1, .part = MICA_PART_TRAIN};
  for (int c = 0; c < COLUMNS; c++)
    if (l->at[c] >= n)
      return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: %lld fields, expected %s in field %lld",
                       l->name, line, (long long)n, names[c][0], (long long)l->at[c] + 1);
  const char *path = field[l->at[PATH]], *label = field[l->at[LABEL]];
  if (!*path || !*label)
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: an empty %s", l->name, line,
                     *path ? "label" : "path");
  if (l->at[PART] >= 0 && !part_of(field[l->at[PART]], &item.part))
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: part '%.40s', expected train, val or test",
                     l->name, line, field[l->at[PART]]);
  if (l->at[BOX] >= 0 && *field[l->at[BOX]]) {
    mica_dataset_box box;
    if (!box_of(field[l->at[BOX]], &box))
      return mica_fail(MICA_ERR_FORMAT,
                       "%s: line %lld: box '%.60s', expected LEFT TOP RIGHT BOTTOM", l->name, line,
                       field[l->at[BOX]]);
    const mica_status status = mica_dataset_box_add(l->ds, &item, box);
    if (status != MICA_OK) return status;
  }
  return add(l, item, path, label);
}

/* ---- classes ---- */

static bool is_number(const char *text) {
  const size_t n = strspn(text, "0123456789");
  return n && n < 19 && !text[n];
}

static int by_text(const void *a, const void *b) {
  const labelled *x = a, *y = b;
  const int order = strcmp(x->text, y->text);
  return order ? order : x->item < y->item ? -1 : x->item > y->item;
}

static int by_number(const void *a, const void *b) {
  const labelled *x = a, *y = b;
  const long long v = atoll(x->text), w = atoll(y->text);
  return v != w ? (v < w ? -1 : 1) : by_text(a, b);
}

/* The texts of labels become classes; items of classes that were not asked for go. */
static mica_status classes(mica_dataset *ds) {
  labelled *all = mica_calloc((size_t)ds->n, sizeof *all);
  if (!all) return MICA_ERR_MEMORY;
  bool numbers = true;
  for (int64_t i = 0; i < ds->n; i++) {
    all[i] = (labelled){ds->names.data + ds->item[i].label, i};
    numbers &= is_number(all[i].text);
  }
  qsort(all, (size_t)ds->n, sizeof *all, numbers ? by_number : by_text);
  mica_status status = MICA_OK;
  int64_t label = -1;
  for (int64_t k = 0; k < ds->n && status == MICA_OK; k++) {
    if (!k || strcmp(all[k].text, all[k - 1].text) != 0) {
      const size_t length = strlen(all[k].text);
      if (ds->chosen) {
        label = mica_dataset_class_find(ds, all[k].text, length);
      } else {
        label = ds->n_classes;
        status = mica_dataset_class_add(ds, all[k].text, length);
      }
    }
    ds->item[all[k].item].label = label;
  }
  mica_free(all);
  int64_t kept = 0;
  for (int64_t i = 0; i < ds->n && status == MICA_OK; i++)
    if (ds->item[i].label >= 0) ds->item[kept++] = ds->item[i];
  if (status != MICA_OK) return status;
  ds->n = kept;
  return kept ? MICA_OK
              : mica_fail(MICA_ERR_NOT_FOUND, "%s: no item of the classes asked for", ds->path);
}

/* ---- the file ---- */

static mica_status read_list(list *l) {
  const char *const *field;
  int64_t n;
  bool row;
  mica_status status = mica_delimited_next(l->records, &field, &n);
  if (status == MICA_OK && !n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: is empty, expected a list of pictures", l->name);
  if (status == MICA_OK) status = head(l, field, n, &row);
  if (status == MICA_OK && row) status = add_row(l, field, n);
  while (status == MICA_OK) {
    status = mica_delimited_next(l->records, &field, &n);
    if (status != MICA_OK || !n) break;
    status = add_row(l, field, n);
  }
  if (status == MICA_OK && !l->ds->n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: a header and no rows", l->name);
  return status;
}

mica_status mica_dataset_open_list(mica_dataset *ds) {
  const bool standard_input = strcmp(ds->path, "-") == 0;
  const char *slash = strrchr(ds->path, '/');
  list l = {.ds = ds};
  mica_dataset_default_size(ds, 32, 32, 3);
  ds->folder = slash ? mica_strndup(ds->path, (size_t)(slash - ds->path) + 1) : mica_strdup("");
  mica_status status = ds->folder ? mica_input_open(ds->path, &l.input) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    l.name = mica_input_name(l.input);
    status = mica_delimited_create(l.input, standard_input || strstr(ds->path, ".tsv") ? '\t' : 0,
                                   RECORD_LIMIT, &l.records);
  }
  if (status == MICA_OK) status = read_list(&l);
  mica_delimited_free(l.records);
  mica_input_close(l.input);
  return status == MICA_OK ? classes(ds) : status;
}
