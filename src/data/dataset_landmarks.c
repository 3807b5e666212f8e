/* Sets of photographs of landmarks: the tables of Google Landmarks v2, and the ground truths of
 * revisited Oxford and Paris.
 *
 * Google's pictures lie three folders deep, under the first letters of their id: a/b/c/abc123.jpg.
 */
#include "base/file.h"
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- tables of Google Landmarks ---- */

static int64_t column(const char *const *field, int64_t n, const char *name) {
  for (int64_t i = 0; i < n; i++)
    if (strcasecmp(field[i], name) == 0) return i;
  return -1;
}

static const char *file_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* "train" of train_clean.csv; solutions are about the test pictures. */
static const char *word_of(const char *path) {
  static const char *const words[][2] = {{"train", "train"},
                                         {"index", "index"},
                                         {"test", "test"},
                                         {"recognition", "test"},
                                         {"retrieval", "test"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strncmp(file_of(path), words[i][0], strlen(words[i][0])) == 0) return words[i][1];
  return NULL;
}

/* `folder` with `more` behind it takes the place of ds->folder if it is one. */
static mica_status try_folder(mica_dataset *ds, const char *more) {
  char *folder = *ds->folder ? mica_path_join(ds->folder, more) : mica_strdup(more);
  if (!folder) return MICA_ERR_MEMORY;
  if (mica_is_folder(folder)) {
    mica_free(ds->folder);
    ds->folder = folder;
    return MICA_OK;
  }
  mica_free(folder);
  return MICA_ERR_NOT_FOUND;
}

mica_status mica_landmark_head(mica_dataset *ds, const char *const *field, int64_t n,
                               mica_landmark_table *out, bool *is) {
  const char *word = word_of(ds->path);
  char above[16];
  *out = (mica_landmark_table){column(field, n, "id"), -1, column(field, n, "landmark_id"),
                               MICA_PART_TRAIN};
  if (out->label < 0) out->label = column(field, n, "landmarks");
  if (out->id < 0 && out->label >= 0) out->images = column(field, n, "images");
  *is = out->id >= 0 || out->images >= 0;
  if (!*is || !word) return MICA_OK;
  if (strcmp(word, "test") == 0) out->part = MICA_PART_TEST;
  snprintf(above, sizeof above, "../%s", word);
  mica_status status = try_folder(ds, word);
  if (status == MICA_ERR_NOT_FOUND) status = try_folder(ds, above);
  return status == MICA_ERR_MEMORY ? status : MICA_OK;
}

static mica_status add_picture(const char *file, int64_t line, const char *id, size_t n,
                               const char *label, mica_landmark_fn add, void *ctx) {
  static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
  char name[96];
  if (n < 3 || n > 64 || strspn(id, letters) < n)
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: line %lld: '%.*s' is no picture's id: expected 3 to 64 letters and digits", file,
        (long long)line, (int)(n < 80 ? n : 80), id);
  snprintf(name, sizeof name, "%c/%c/%c/%.*s.jpg", id[0], id[1], id[2], (int)n, id);
  return add(ctx, name, label);
}

mica_status mica_landmark_row(const mica_landmark_table *table, const char *file, int64_t line,
                              const char *const *field, int64_t n, mica_landmark_fn add,
                              void *ctx) {
  char label[128] = "unknown";
  if (table->id >= n || table->images >= n || table->label >= n)
    return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: %lld fields, fewer than the first line", file,
                     (long long)line, (long long)n);
  if (table->label >= 0) {
    const size_t length = strcspn(field[table->label], " ");
    if (length >= sizeof label)
      return mica_fail(MICA_ERR_FORMAT, "%s: line %lld: a landmark of more than %d letters", file,
                       (long long)line, (int)sizeof label - 1);
    snprintf(label, sizeof label, "%.*s", (int)length, field[table->label]);
    if (!length) strcpy(label, "none");
  }
  if (table->id >= 0)
    return add_picture(file, line, field[table->id], strlen(field[table->id]), label, add, ctx);
  mica_status status = MICA_OK;
  for (const char *at = field[table->images]; *(at += strspn(at, " ")) && status == MICA_OK;) {
    const size_t length = strcspn(at, " ");
    status = add_picture(file, line, at, length, label, add, ctx);
    at += length;
  }
  return status;
}

/* ---- revisited Oxford and Paris ---- */

static mica_status add_named(mica_dataset *ds, const char *name, mica_dataset_item item) {
  char file[1024];
  if (snprintf(file, sizeof file, "%s.jpg", name) >= (int)sizeof file)
    return mica_fail(MICA_ERR_FORMAT, "%s: a picture's name of more than 1000 letters", ds->path);
  const mica_status status = mica_dataset_name_add(ds, file, &item.name);
  return status == MICA_OK ? mica_dataset_item_add(ds, item) : status;
}

static mica_status add_all(mica_dataset *ds, const mica_revisited *r) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < mica_revisited_images(r) && status == MICA_OK; i++)
    status = add_named(ds, mica_revisited_image(r, i),
                       (mica_dataset_item){.row = -1, .part = MICA_PART_TRAIN});
  for (int64_t q = 0; q < mica_revisited_queries(r) && status == MICA_OK; q++) {
    mica_dataset_item item = {.row = -1, .part = MICA_PART_TEST};
    double b[4];
    if (mica_revisited_box(r, q, b))
      status = mica_dataset_box_add(ds, &item, (mica_dataset_box){b[0], b[1], b[2], b[3]});
    if (status == MICA_OK) status = add_named(ds, mica_revisited_query(r, q), item);
  }
  return status;
}

mica_status mica_dataset_open_revisited(mica_dataset *ds) {
  mica_revisited *r = NULL;
  const char *file = file_of(ds->path);
  mica_dataset_default_size(ds, 32, 32, 3);
  if (ds->chosen)
    return mica_fail(MICA_ERR_INVALID, "%s: a ground truth has no classes to choose from",
                     ds->path);
  ds->o.strict = true;
  ds->o.validation = 0;
  ds->folder = mica_strndup(ds->path, (size_t)(file - ds->path));
  mica_status status = ds->folder ? mica_revisited_open(ds->path, &r) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = try_folder(ds, "jpg");
  if (status == MICA_ERR_NOT_FOUND && r) status = MICA_OK;
  /* The folder that the file lies in. */
  size_t end = (size_t)(file - ds->path);
  while (end && ds->path[end - 1] == '/') end--;
  size_t begin = end;
  while (begin && ds->path[begin - 1] != '/') begin--;
  if (status == MICA_OK)
    status = end > begin ? mica_dataset_class_add(ds, ds->path + begin, end - begin)
                         : mica_dataset_class_add(ds, "pictures", 8);
  if (status == MICA_OK) status = add_all(ds, r);
  mica_revisited_free(r);
  return status;
}
