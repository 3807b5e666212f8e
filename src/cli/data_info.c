/* What a data set holds: pictures, a table, or features that were written before; their classes and
 * parts with counts, the pictures' sizes as they are on disk, and what could not be read. */
#include "cli/data_info.h"

#include <mica/mica.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/features.h"

#include <string.h>
#include <sys/stat.h>

/* Pictures are decoded once more for their own size; of a large set, this many spread over it. */
#define SIZES_MOST 500

static const char *const part_names[] = {"train", "validation", "test"};

typedef struct holdings {
  const char *kind;
  int64_t n, part[MICA_PART_COUNT];
  int64_t classes;
  const char **name; /* of the classes, borrowed */
  int64_t *count;    /* [part * classes + class] */
  int64_t skipped;
  const char *skipped_text;
  int64_t low[2], high[2];     /* pictures: height, width */
  int64_t measured, channels;  /* pictures looked at for these; 0: all have the one size */
  int64_t width;               /* features and tables: numbers in a row */
  const mica_columns *columns; /* tables */
  int64_t ids;                 /* tables: of all fields */
} holdings;

/* ---- counting ---- */

static mica_status make_room(holdings *h, int64_t classes) {
  h->classes = classes;
  h->name = mica_calloc((size_t)classes + 1, sizeof *h->name);
  h->count = mica_calloc((size_t)(MICA_PART_COUNT * (classes + 1)), sizeof *h->count);
  return h->name && h->count ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "out of memory");
}

static void count_one(holdings *h, mica_part part, int64_t label) {
  if (part < MICA_PART_COUNT && label >= 0 && label < h->classes)
    h->count[part * h->classes + label]++;
}

/* The sizes of picture files, whose names are relative to `folder`. */
static void measure(const mica_dataset *ds, const char *folder, holdings *h) {
  const int64_t n = mica_dataset_count(ds), step = n / SIZES_MOST + 1;
  for (int64_t i = 0; i < n; i += step) {
    char name[4096];
    mica_dataset_name(ds, i, name, sizeof name);
    char *path = *name == '/' ? mica_strdup(name) : mica_path_join(folder, name);
    mica_tensor *image = NULL;
    if (path && mica_file_exists(path) && mica_image_read(path, &image) == MICA_OK) {
      for (int k = 0; k < 2; k++) {
        const int64_t size = mica_tensor_shape(image)->dim[k];
        if (!h->measured || size < h->low[k]) h->low[k] = size;
        if (!h->measured || size > h->high[k]) h->high[k] = size;
      }
      h->measured++;
      mica_tensor_free(image);
    }
    mica_free(path);
  }
}

static mica_status look_at_pictures(const mica_dataset *ds, const char *path, holdings *h) {
  const mica_shape shape = mica_dataset_shape(ds);
  const int64_t *labels = mica_tensor_data(mica_dataset_labels(ds));
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (!mica_is_folder(path)) snprintf(slash ? slash : folder, 2, slash ? "" : ".");
  h->kind = "pictures";
  h->n = mica_dataset_count(ds);
  h->channels = shape.dim[2];
  for (int k = 0; k < 2; k++) h->low[k] = h->high[k] = shape.dim[k];
  measure(ds, folder, h);
  mica_status status = make_room(h, mica_dataset_classes(ds));
  for (int64_t i = 0; i < h->n && status == MICA_OK; i++)
    count_one(h, mica_dataset_part_of(ds, i), labels[i]);
  for (int64_t c = 0; c < h->classes && status == MICA_OK; c++)
    h->name[c] = mica_dataset_class(ds, c);
  for (int p = 0; p < MICA_PART_COUNT; p++) h->part[p] = mica_dataset_part_count(ds, (mica_part)p);
  h->skipped = mica_dataset_skipped(ds);
  h->skipped_text = mica_dataset_skipped_text(ds);
  return status;
}

static mica_status look_at_table(const mica_data_table *t, holdings *h) {
  const int64_t *labels = mica_data_table_labels(t);
  h->kind = "table";
  h->n = mica_data_table_count(t);
  h->columns = mica_data_table_columns(t);
  h->width = mica_columns_width(h->columns);
  for (int64_t f = 0; f < mica_columns_fields(h->columns); f++)
    h->ids += mica_columns_field_size(h->columns)[f];
  mica_status status = make_room(h, mica_data_table_classes(t));
  for (int64_t i = 0; i < h->n && labels && status == MICA_OK; i++)
    count_one(h, mica_data_table_part_of(t, i), labels[i]);
  for (int64_t c = 0; c < h->classes && status == MICA_OK; c++)
    h->name[c] = mica_data_table_class(t, c);
  for (int p = 0; p < MICA_PART_COUNT; p++)
    h->part[p] = mica_data_table_part_count(t, (mica_part)p);
  h->skipped = mica_data_table_skipped(t);
  h->skipped_text = mica_data_table_skipped_text(t);
  return status;
}

static mica_status look_at_features(const features *f, holdings *h) {
  h->kind = "features";
  h->width = f->width;
  mica_status status = make_room(h, f->classes);
  for (int p = 0; p < MICA_PART_COUNT && status == MICA_OK; p++) {
    const feature_part *part = &f->part[p];
    h->n += h->part[p] = part->n;
    for (int64_t i = 0; i < part->n && part->label; i++) count_one(h, (mica_part)p, part->label[i]);
  }
  for (int64_t c = 0; c < h->classes && status == MICA_OK; c++) h->name[c] = f->names[c];
  return status;
}

/* ---- telling ---- */

static const char *column_kind(const mica_columns *columns, int64_t i) {
  return mica_columns_kind(columns, i) == MICA_COLUMN_NUMERIC ? "numeric" : "categorical";
}

static void print_text(const holdings *h, const char *path) {
  printf("%s: %s, %lld examples in %lld classes\n", path, h->kind, (long long)h->n,
         (long long)h->classes);
  if (h->measured)
    printf("sizes: %lldx%lld to %lldx%lld (height x width, of %lld looked at)\n",
           (long long)h->low[0], (long long)h->low[1], (long long)h->high[0], (long long)h->high[1],
           (long long)h->measured);
  else if (h->channels)
    printf("sizes: %lldx%lldx%lld\n", (long long)h->low[0], (long long)h->low[1],
           (long long)h->channels);
  if (h->columns && mica_columns_format(h->columns))
    printf("format: %s, %s\n", mica_columns_format(h->columns),
           mica_columns_label(h->columns) ? "with labels" : "without labels");
  if (h->width) printf("numbers in a row: %lld\n", (long long)h->width);
  if (h->ids)
    printf("fields: %lld, of %lld ids in all\n", (long long)mica_columns_fields(h->columns),
           (long long)h->ids);
  for (int64_t i = 0; h->columns && i < mica_columns_count(h->columns); i++) {
    const int64_t field = mica_columns_field_of(h->columns, i);
    printf("column %-20s %s", mica_columns_name(h->columns, i), column_kind(h->columns, i));
    if (field >= 0) printf(", %lld ids", (long long)mica_columns_field_size(h->columns)[field]);
    putchar('\n');
  }
  printf("%-24s", "class");
  for (int p = 0; p < MICA_PART_COUNT; p++) printf(" %10s", part_names[p]);
  for (int64_t c = 0; c < h->classes; c++) {
    printf("\n%-24s", h->name[c]);
    for (int p = 0; p < MICA_PART_COUNT; p++)
      printf(" %10lld", (long long)h->count[p * h->classes + c]);
  }
  printf("\n%-24s", "all");
  for (int p = 0; p < MICA_PART_COUNT; p++) printf(" %10lld", (long long)h->part[p]);
  putchar('\n');
  if (h->skipped) printf("%lld cannot be read:\n%s", (long long)h->skipped, h->skipped_text);
}

static mica_status print_json(const holdings *h, const char *path) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "path", path);
  mica_json_put_text(&w, "kind", h->kind);
  mica_json_put_int(&w, "examples", h->n);
  mica_json_put_int(&w, "unreadable", h->skipped);
  mica_json_put_text(&w, "unreadable_files", h->skipped ? h->skipped_text : "");
  if (h->channels) {
    mica_json_write_name(&w, "sizes");
    mica_json_begin_object(&w);
    mica_json_put_int(&w, "height_least", h->low[0]);
    mica_json_put_int(&w, "height_most", h->high[0]);
    mica_json_put_int(&w, "width_least", h->low[1]);
    mica_json_put_int(&w, "width_most", h->high[1]);
    mica_json_end_object(&w);
  }
  if (h->width) mica_json_put_int(&w, "numbers", h->width);
  if (h->columns && mica_columns_format(h->columns))
    mica_json_put_text(&w, "format", mica_columns_format(h->columns));
  if (h->ids) mica_json_put_int(&w, "ids", h->ids);
  if (h->columns) {
    mica_json_write_name(&w, "columns");
    mica_json_begin_array(&w);
    for (int64_t i = 0; i < mica_columns_count(h->columns); i++) {
      mica_json_begin_object(&w);
      mica_json_put_text(&w, "name", mica_columns_name(h->columns, i));
      mica_json_put_text(&w, "kind", column_kind(h->columns, i));
      const int64_t field = mica_columns_field_of(h->columns, i);
      if (field >= 0) mica_json_put_int(&w, "ids", mica_columns_field_size(h->columns)[field]);
      mica_json_end_object(&w);
    }
    mica_json_end_array(&w);
  }
  mica_json_write_name(&w, "parts");
  mica_json_begin_object(&w);
  for (int p = 0; p < MICA_PART_COUNT; p++) mica_json_put_int(&w, part_names[p], h->part[p]);
  mica_json_end_object(&w);
  mica_json_write_name(&w, "classes");
  mica_json_begin_array(&w);
  for (int64_t c = 0; c < h->classes; c++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "name", h->name[c]);
    for (int p = 0; p < MICA_PART_COUNT; p++)
      mica_json_put_int(&w, part_names[p], h->count[p * h->classes + c]);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  const mica_status status = b.status;
  if (status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

/* ---- opening ---- */

/* Exactly one of the three is opened. */
typedef struct opened {
  mica_dataset *pictures;
  mica_data_table *table;
  features rows;
  bool has_rows;
} opened;

static mica_status open_table(const char *path, const char *label, mica_data_table **out) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  o.label = label;
  o.validation = 0;
  o.fields = mica_table_log_format(path) != NULL;
  return mica_data_table_open(path, &o, out);
}

static bool holds_features(const char *path) {
  mica_archive *f;
  if (!is_feature_file(path) || mica_archive_open(path, &f) != MICA_OK) return false;
  const bool there = mica_archive_find(f, "features") >= 0;
  mica_archive_close(f);
  return there;
}

/* What --label names makes it a table. Else pictures come first: a list of files with labels is
 * text with commas too. */
static mica_status open_any(const char *path, const char *label, opened *out) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.validation = 0; /* the parts that the set itself has */
  const bool folder = mica_is_folder(path);
  struct stat info;
  if (stat(path, &info) == 0 && !folder && !S_ISREG(info.st_mode)) /* read more than once below */
    return mica_fail(MICA_ERR_IO, "%s: is neither a file nor a folder", path);
  if (label || (folder && mica_is_table(path)) || mica_table_log_format(path))
    return open_table(path, label, &out->table);
  if (!folder && holds_features(path)) {
    const mica_status status = features_read(path, NULL, 0, 0, &out->rows);
    out->has_rows = status == MICA_OK;
    return status;
  }
  const mica_status status = mica_dataset_open(path, &o, &out->pictures);
  if (status == MICA_OK || folder || !mica_file_exists(path) || status == MICA_ERR_MEMORY ||
      is_feature_file(path))
    return status;
  char why[512];
  snprintf(why, sizeof why, "%s", mica_last_error());
  if (open_table(path, NULL, &out->table) == MICA_OK) return MICA_OK;
  char other[512];
  snprintf(other, sizeof other, "%s", mica_last_error());
  return mica_fail(MICA_ERR_FORMAT, "%s: neither pictures (%s) nor a table (%s)", path, why, other);
}

int data_info(const cli_args *a, const char *path) {
  /* MovieLens's folders say by their files what they are; other logs need the flag. */
  const char *log = cli_text(a, "--label") ? NULL : mica_table_log_format(path);
  if (cli_on(a, "--interactions") || (log && strcmp(log, "movielens") == 0 && mica_is_folder(path)))
    return data_interactions(a, path);
  opened o = {0};
  holdings h = {0};
  mica_status status = open_any(path, cli_text(a, "--label"), &o);
  if (status == MICA_OK && o.pictures)
    status = look_at_pictures(o.pictures, path, &h);
  else if (status == MICA_OK && o.table)
    status = look_at_table(o.table, &h);
  else if (status == MICA_OK)
    status = look_at_features(&o.rows, &h);
  if (status == MICA_OK && cli_on(a, "--json"))
    status = print_json(&h, path);
  else if (status == MICA_OK)
    print_text(&h, path);
  mica_free((void *)h.name);
  mica_free(h.count);
  mica_dataset_free(o.pictures);
  mica_data_table_free(o.table);
  if (o.has_rows) features_free(&o.rows);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
