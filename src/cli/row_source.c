/* Rows of features, a piece at a time. */
#include "cli/row_source.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/features.h"
#include "cli/picture_book.h"
#include "cli/text.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void row_source_close(row_source *s) {
  mica_free(s->id);
  mica_free(s->label);
  mica_free(s->classes);
  mica_archive_close(s->archive);
  mica_tensor_free(s->whole);
  mica_session_free(s->session);
  mica_dataset_free(s->ds);
  for (int64_t i = 0; i < s->files; i++) mica_free(s->file[i]);
  mica_free(s->file);
  mica_free(s->pixels);
  *s = (row_source){0};
}

static const char *const part_names[] = {"train", "val", "test"};

/* The number of a part's name, MICA_PART_COUNT for all. */
static mica_status find_part(const char *name, int *out) {
  *out = MICA_PART_COUNT;
  if (!name || strcmp(name, "all") == 0) return MICA_OK;
  for (int k = 0; k < MICA_PART_COUNT; k++)
    if (strcmp(name, part_names[k]) == 0) {
      *out = k;
      return MICA_OK;
    }
  return mica_fail(MICA_ERR_INVALID, "part '%s', expected train, val, test or all", name);
}

/* ---- files of features ---- */

/* One integer tensor [n] of an archive, the first of two names that is there; NULL when none is. */
static mica_status read_integers(const mica_archive *a, const char *name, const char *other,
                                 int64_t n, mica_tensor **out) {
  int64_t at = mica_archive_find(a, name);
  if (at < 0) at = mica_archive_find(a, other);
  *out = NULL;
  if (at < 0) return MICA_OK;
  const mica_shape *s = mica_archive_shape(a, at);
  mica_tensor *raw = NULL;
  char text[96];
  if (mica_shape_count(s) != n || s->rank < 1 || s->rank > 2)
    return mica_fail(MICA_ERR_FORMAT, "%s: '%s' is %s for %lld rows of features",
                     mica_archive_path(a), mica_archive_name(a, at),
                     mica_shape_text(s, text, sizeof text), (long long)n);
  mica_status status = mica_archive_read(a, at, &raw);
  const mica_view view = status ? (mica_view){0} : mica_tensor_view(raw);
  if (!status) status = mica_tensor_from_view(&view, MICA_I64, out);
  mica_tensor_free(raw);
  return status;
}

static mica_status read_labels(const row_source *s, const char *path, int64_t n,
                               mica_tensor **out) {
  mica_archive *a = s->archive;
  if (!path) {
    if (strcmp(mica_archive_format(a), "npy") == 0) return MICA_OK;
    return read_integers(a, "labels", "y", n, out);
  }
  mica_status status = mica_archive_open(path, &a);
  if (status) return status;
  status = read_integers(a, "array", "labels", n, out);
  if (!status && !*out) status = mica_fail(MICA_ERR_FORMAT, "%s: no labels in it", path);
  mica_archive_close(a);
  return status;
}

/* The rows of the part, with their labels. */
static mica_status choose_rows(row_source *s, int64_t n, const mica_tensor *label,
                               const mica_tensor *part, int wanted) {
  const int64_t *y = label ? mica_tensor_data(label) : NULL;
  const int64_t *p = part ? mica_tensor_data(part) : NULL;
  if (wanted != MICA_PART_COUNT && !p)
    return mica_fail(MICA_ERR_NOT_FOUND, "%s: tells no parts, so has no part '%s'",
                     mica_archive_path(s->archive), part_names[wanted]);
  s->id = mica_realloc_array(NULL, (size_t)n + 1, sizeof *s->id);
  s->label = y ? mica_realloc_array(NULL, (size_t)n + 1, sizeof *s->label) : NULL;
  if (!s->id || (y && !s->label)) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    if (wanted != MICA_PART_COUNT && p[i] != wanted) continue;
    if (y && y[i] < 0)
      return mica_fail(MICA_ERR_FORMAT, "%s: label %lld of row %lld, expected 0 or more",
                       mica_archive_path(s->archive), (long long)y[i], (long long)i);
    if (y) s->label[s->n] = y[i];
    s->id[s->n++] = i;
  }
  if (!s->n)
    return mica_fail(MICA_ERR_NOT_FOUND, "%s: no rows%s%s", mica_archive_path(s->archive),
                     wanted == MICA_PART_COUNT ? "" : " in part ",
                     wanted == MICA_PART_COUNT ? "" : part_names[wanted]);
  return MICA_OK;
}

static mica_status open_features(row_source *s, const char *labels, int wanted) {
  const mica_archive *a = s->archive;
  const bool bare = strcmp(mica_archive_format(a), "npy") == 0;
  s->tensor = mica_archive_find(a, bare ? "array" : "features");
  if (s->tensor < 0) s->tensor = mica_archive_find(a, "x");
  if (s->tensor < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: no tensor 'features'", mica_archive_path(a));
  const mica_shape *shape = mica_archive_shape(a, s->tensor);
  s->dtype = mica_archive_dtype(a, s->tensor);
  char text[96];
  if (shape->rank != 2 || shape->dim[1] < 1 || !mica_dtype_is_float(s->dtype))
    return mica_fail(MICA_ERR_FORMAT, "%s: features are %s %s, expected floats [rows, columns]",
                     mica_archive_path(a), mica_dtype_name(s->dtype),
                     mica_shape_text(shape, text, sizeof text));
  s->width = shape->dim[1];
  mica_tensor *label = NULL, *part = NULL;
  mica_status status = read_labels(s, labels, shape->dim[0], &label);
  if (!status && !bare) status = read_integers(a, "part", "parts", shape->dim[0], &part);
  if (!status) status = choose_rows(s, shape->dim[0], label, part, wanted);
  mica_tensor_free(label);
  mica_tensor_free(part);
  const char *classes = mica_archive_metadata(a, "classes");
  if (!status && classes && !(s->classes = mica_strdup(classes))) status = MICA_ERR_MEMORY;
  if (!status && !mica_archive_has_rows(a, s->tensor))
    status = mica_archive_read(a, s->tensor, &s->whole);
  return status;
}

mica_status row_source_features(const char *path, const char *labels, const char *part,
                                row_source *out) {
  int wanted;
  *out = (row_source){0};
  mica_status status = find_part(part, &wanted);
  if (!status) status = mica_archive_open(path, &out->archive);
  if (!status) status = open_features(out, labels, wanted);
  out->raw_width = out->width;
  out->raw_dtype = out->dtype;
  if (status) row_source_close(out);
  return status;
}

/* Runs of rows that follow each other are read at once. */
static mica_status next_features(row_source *s, int64_t *cursor, int64_t most, char *to,
                                 int64_t *which, int64_t *m) {
  const size_t bytes = (size_t)s->raw_width * mica_dtype_size(s->raw_dtype);
  mica_status status = MICA_OK;
  for (*m = 0; *m < most && *cursor < s->n && !status;) {
    const int64_t from = s->id[*cursor];
    int64_t run = 1;
    while (*m + run < most && *cursor + run < s->n && s->id[*cursor + run] == from + run) run++;
    if (s->whole)
      memcpy(to + (size_t)*m * bytes,
             (const char *)mica_tensor_data(s->whole) + (size_t)from * bytes, (size_t)run * bytes);
    else
      status =
          mica_archive_read_rows(s->archive, s->tensor, from, from + run, to + (size_t)*m * bytes);
    for (int64_t i = 0; i < run; i++) which[*m + i] = *cursor + i;
    *m += run;
    *cursor += run;
  }
  return status;
}

/* ---- pictures ---- */

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static mica_status add_file(row_source *s, char *path) {
  char **grown = path ? mica_realloc_array(s->file, (size_t)s->files + 1, sizeof *grown) : NULL;
  if (!grown) {
    mica_free(path);
    return MICA_ERR_MEMORY;
  }
  s->file = grown;
  s->file[s->files++] = path;
  return MICA_OK;
}

static mica_status add_folder(row_source *s, const char *folder) {
  const int64_t first = s->files;
  mica_status status = MICA_OK;
  DIR *d = opendir(folder);
  if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed", folder);
  for (struct dirent *e; !status && (e = readdir(d));) {
    char *path = e->d_name[0] == '.' ? NULL : mica_path_join(folder, e->d_name);
    if (path && mica_is_folder(path))
      mica_free(path);
    else if (e->d_name[0] != '.')
      status = add_file(s, path);
  }
  closedir(d);
  if (s->files > first)
    qsort(s->file + first, (size_t)(s->files - first), sizeof *s->file, by_name);
  return status;
}

static bool has_folders(const char *folder) {
  DIR *d = opendir(folder);
  bool found = false;
  for (struct dirent *e; d && !found && (e = readdir(d));) {
    char *path = e->d_name[0] == '.' ? NULL : mica_path_join(folder, e->d_name);
    found = path && mica_is_folder(path);
    mica_free(path);
  }
  if (d) closedir(d);
  return found;
}

bool is_picture_file(const char *path) {
  static const char *const ends[] = {".png", ".jpg", ".jpeg", ".pgm", ".ppm"};
  const char *dot = strrchr(path, '.');
  for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
    if (strcasecmp(dot, ends[i]) == 0) return true;
  return false;
}

/* A folder whose first visible file is a picture, and that has no folders in it. */
static bool is_heap_of_pictures(const char *folder) {
  bool picture = false;
  if (!mica_is_folder(folder) || has_folders(folder)) return false;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && !picture && (e = readdir(d));) picture = is_picture_file(e->d_name);
  if (d) closedir(d);
  return picture;
}

static mica_status class_names(const mica_dataset *ds, char **out) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_array(&w);
  for (int64_t i = 0; i < mica_dataset_classes(ds); i++)
    mica_json_write_string(&w, mica_dataset_class(ds, i));
  mica_json_end_array(&w);
  *out = mica_bytes_take(&b);
  return *out ? MICA_OK : MICA_ERR_MEMORY;
}

static mica_status choose_items(row_source *s, int wanted) {
  const int64_t n = s->ds ? mica_dataset_count(s->ds) : s->files;
  const int64_t *y = s->ds ? mica_tensor_data(mica_dataset_labels(s->ds)) : NULL;
  s->id = mica_realloc_array(NULL, (size_t)n + 1, sizeof *s->id);
  s->label = y ? mica_realloc_array(NULL, (size_t)n + 1, sizeof *s->label) : NULL;
  if (!s->id || (y && !s->label)) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    const int part = s->ds ? (int)mica_dataset_part_of(s->ds, i) : wanted;
    if (s->ds && (part == MICA_PART_COUNT || (wanted != MICA_PART_COUNT && part != wanted)))
      continue;
    if (y) s->label[s->n] = y[i];
    s->id[s->n++] = i;
  }
  return s->n ? MICA_OK : mica_fail(MICA_ERR_NOT_FOUND, "no pictures in that part");
}

mica_status row_source_pictures(const cli_args *a, mica_model *model, const char *const *paths,
                                int n, const char *part, row_source *out) {
  int wanted;
  *out = (row_source){.model = model, .dtype = MICA_F32, .raw_dtype = MICA_F32};
  const mica_preprocess *p = mica_model_preprocess(model);
  mica_status status = find_part(part, &wanted);
  if (!status && !p->height)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "the encoder reads rows, not pictures");
  if (!status) status = mica_session_create(model, &out->session);
  if (!status) mica_session_take_pictures(out->session, true);
  const bool heap = n != 1 || is_picture_file(paths[0]) || is_heap_of_pictures(paths[0]);
  if (!status && !heap) {
    status = open_pictures(a, model, paths[0], NULL, 0, &out->ds);
    if (!status) status = class_names(out->ds, &out->classes);
  }
  for (int i = 0; i < n && heap && !status; i++)
    status =
        mica_is_folder(paths[i]) ? add_folder(out, paths[i]) : add_file(out, mica_strdup(paths[i]));
  if (!status) status = choose_items(out, wanted);
  if (!status) {
    out->width = out->raw_width = mica_model_features(model);
    out->pixels = mica_malloc((size_t)(64 * p->height * p->width * p->channels));
    if (!out->pixels) status = MICA_ERR_MEMORY;
  }
  if (status) row_source_close(out);
  return status;
}

/* The pixels of one picture; false after a line about it when it cannot be read. */
static bool read_picture(const row_source *s, int64_t at, uint8_t *to, int64_t size) {
  mica_status status;
  if (s->ds) {
    status = mica_dataset_read(s->ds, s->id[at], to);
  } else {
    const char *const path = s->file[s->id[at]];
    mica_tensor *t = NULL;
    status = mica_model_read(s->model, 1, &path, &t);
    if (!status) memcpy(to, mica_tensor_data(t), (size_t)size);
    mica_tensor_free(t);
  }
  if (status) fprintf(stderr, "skipped: %s\n", mica_last_error());
  return !status;
}

static mica_status next_pictures(row_source *s, int64_t *cursor, int64_t most, float *to,
                                 int64_t *which, int64_t *m) {
  const mica_preprocess *p = mica_model_preprocess(s->model);
  const int64_t size = p->height * p->width * p->channels;
  mica_status status = MICA_OK;
  for (*m = 0; *m < most && *cursor < s->n && !status;) {
    int64_t n = 0;
    for (; n < 64 && *m + n < most && *cursor < s->n; ++*cursor)
      if (read_picture(s, *cursor, s->pixels + n * size, size)) which[*m + n++] = *cursor;
    const mica_view x =
        mica_view_of(s->pixels, MICA_U8, MICA_SHAPE(n, p->height, p->width, p->channels));
    if (n) status = mica_embed(s->session, &x, to + *m * s->raw_width);
    *m += n;
  }
  return status;
}

/* ---- texts ---- */

mica_status row_source_texts(mica_model *model, const char *path, row_source *out) {
  text_rows rows = {0};
  *out = (row_source){.model = model, .dtype = MICA_F32, .raw_dtype = MICA_F32};
  mica_status status = mica_session_create(model, &out->session);
  if (!status) status = cli_text_rows(model, out->session, path, &rows);
  out->file = rows.line;
  out->files = out->n = rows.n;
  out->width = out->raw_width = rows.width;
  out->id = mica_realloc_array(NULL, (size_t)rows.n + 1, sizeof *out->id);
  if (!status && !out->id) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < rows.n && out->id; i++) out->id[i] = i;
  if (!status) {
    const mica_view x = mica_view_of(rows.x, MICA_F32, MICA_SHAPE(rows.n, rows.width));
    status = mica_tensor_from_view(&x, MICA_F32, &out->whole);
  }
  mica_free(rows.x);
  if (status) row_source_close(out);
  return status;
}

/* ---- any of them ---- */

static mica_status next_raw(row_source *s, int64_t *cursor, int64_t most, void *to, int64_t *which,
                            int64_t *m) {
  return s->archive || s->whole ? next_features(s, cursor, most, to, which, m)
                                : next_pictures(s, cursor, most, to, which, m);
}

mica_status row_source_transform(row_source *s, const mica_engine *engine,
                                 const mica_transform *transform) {
  if (mica_transform_columns(transform) != s->raw_width)
    return mica_fail(MICA_ERR_SHAPE, "rows of %lld columns, the whitening was learned of %lld",
                     (long long)s->raw_width, (long long)mica_transform_columns(transform));
  s->transform = transform;
  s->engine = engine;
  s->width = mica_transform_width(transform);
  s->dtype = MICA_F32;
  return MICA_OK;
}

mica_status row_source_next(row_source *s, int64_t *cursor, int64_t most, void *to, int64_t *which,
                            int64_t *m) {
  if (!s->transform) return next_raw(s, cursor, most, to, which, m);
  void *raw =
      mica_realloc_array(NULL, (size_t)most, (size_t)s->raw_width * mica_dtype_size(s->raw_dtype));
  double *made = mica_realloc_array(NULL, (size_t)most, (size_t)s->width * sizeof *made);
  mica_status status = raw && made ? next_raw(s, cursor, most, raw, which, m) : MICA_ERR_MEMORY;
  if (!status && *m) {
    const mica_view x = mica_view_of(raw, s->raw_dtype, MICA_SHAPE(*m, s->raw_width));
    status = mica_transform_apply(s->engine, s->transform, &x, made);
  }
  for (int64_t i = 0; !status && i < *m * s->width; i++) ((float *)to)[i] = (float)made[i];
  mica_free(raw);
  mica_free(made);
  return status;
}

const char *row_source_name(const row_source *s, int64_t at, char *buf, size_t n) {
  if (n) buf[0] = 0;
  if (at < 0 || at >= s->n || s->archive) return buf;
  if (s->ds) return mica_dataset_name(s->ds, s->id[at], buf, n);
  snprintf(buf, n, "%s", s->file[s->id[at]]);
  return buf;
}

mica_status row_source_picture(const row_source *s, int64_t at, mica_tensor **out) {
  *out = NULL;
  if (s->ds) {
    const picture_book book = {.ds = s->ds, .n = mica_dataset_count(s->ds)};
    return picture_book_read(&book, s->id[at], out);
  }
  return picture_of_file(s->file[s->id[at]], out);
}
