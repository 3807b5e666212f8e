/* Labelled features: gathered from pictures through a model, or read from files. */
#include "cli/features.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/catalogue.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 64 /* pictures decoded at once */

void features_free(features *f) {
  for (int k = 0; k < MICA_PART_COUNT; k++) {
    mica_tensor_free(f->part[k].x);
    mica_free(f->part[k].label);
  }
  for (int64_t i = 0; i < f->classes && f->names; i++) mica_free(f->names[i]);
  mica_free(f->names);
  memset(f, 0, sizeof *f);
}

mica_status open_model(mica_engine *engine, const char *name, mica_model **out) {
  char *path = catalogue_resolve(CATALOGUE_MODELS, name);
  if (!path) return mica_last_status();
  const mica_status status = mica_model_open(engine, path, out);
  mica_free(path);
  return status;
}

mica_status whole_pictures(const mica_model *model) {
  return mica_model_parts(model) == 1
             ? MICA_OK
             : mica_fail(MICA_ERR_UNSUPPORTED, "the model describes parts of pictures (--views, "
                                               "--regions): take the one that it was made from");
}

mica_status open_pictures(const cli_args *a, const mica_model *model, const char *path,
                          const char *classes, double validation, mica_dataset **out) {
  const mica_preprocess *p = mica_model_preprocess(model);
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  if (!p->height)
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model reads rows of %lld columns, not pictures",
                     (long long)p->channels);
  o.height = p->height;
  o.width = p->width;
  o.channels = p->channels;
  o.crop = p->crop == 0 ? 1 : p->crop;
  o.interpolation = p->interpolation;
  o.fit = p->fit;
  o.classes = classes;
  o.validation = validation;
  o.strict = cli_text(a, "--strict") != NULL;
  mica_status status = catalogue_open_dataset(path, &o, out);
  if (status == MICA_OK && mica_dataset_skipped(*out))
    fprintf(stderr, "skipped %lld files that could not be read:\n%s",
            (long long)mica_dataset_skipped(*out), mica_dataset_skipped_text(*out));
  return status;
}

/* Room for the parts' features and labels, and the classes' names. */
static mica_status make_parts(const mica_dataset *ds, int64_t width, features *f) {
  mica_status status = MICA_OK;
  f->width = width;
  f->names = mica_calloc((size_t)mica_dataset_classes(ds) + 1, sizeof *f->names);
  if (!f->names) return MICA_ERR_MEMORY;
  for (; f->classes < mica_dataset_classes(ds); f->classes++)
    if (!(f->names[f->classes] = mica_strdup(mica_dataset_class(ds, f->classes))))
      return MICA_ERR_MEMORY;
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    feature_part *part = &f->part[k];
    part->n = mica_dataset_part_count(ds, (mica_part)k);
    if (!part->n) continue;
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(part->n, width), &part->x);
    if (status == MICA_OK && !(part->label = mica_calloc((size_t)part->n, sizeof *part->label)))
      status = MICA_ERR_MEMORY;
  }
  return status;
}

/* Keep the first n rows. */
static mica_status shorten(feature_part *part, int64_t n) {
  mica_tensor *kept = NULL;
  if (n == part->n) return MICA_OK;
  const mica_status status = mica_tensor_slice(part->x, 0, n, &kept);
  if (status != MICA_OK) return status;
  mica_tensor_free(part->x);
  part->x = kept;
  part->n = n;
  return MICA_OK;
}

/* The taps of the model's network. */
void features_levels(const mica_model *model, features *out) {
  const mica_net *net = mica_model_net(model);
  if (mica_model_parts(model) > 1) return;
  for (; out->levels.n < mica_net_taps(net) && out->levels.n < MICA_LIST_MAX; out->levels.n++)
    mica_net_tap(net, out->levels.n, &out->levels.v[out->levels.n]);
}

mica_status features_of_pictures(const cli_args *a, mica_model *model, const mica_dataset *ds,
                                 features_take_fn take, void *ctx) {
  const mica_preprocess *p = mica_model_preprocess(model);
  const int64_t size = p->height * p->width * p->channels, n = mica_dataset_count(ds);
  const int64_t *labels = mica_tensor_data(mica_dataset_labels(ds));
  const bool shown = isatty(2) && !cli_on(a, "--json");
  int64_t label[PIECE];
  mica_time_left left = {0};
  mica_session *session = NULL;
  uint8_t *pixels = mica_malloc((size_t)(PIECE * size));
  float *rows = mica_malloc((size_t)(PIECE * mica_model_features(model)) * sizeof *rows);
  mica_status status = pixels && rows ? mica_session_create(model, &session)
                                      : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK) mica_session_take_pictures(session, true);
  for (int64_t from = 0; from < n && status == MICA_OK;) {
    /* Items of one part that follow each other go through the network together; one that turns out
     * unreadable has left its part and is passed over. */
    const mica_part k = mica_dataset_part_of(ds, from);
    int64_t m = 0, at = from;
    for (; m < PIECE && at < n && mica_dataset_part_of(ds, at) == k && k < MICA_PART_COUNT; at++) {
      status = mica_dataset_read(ds, at, pixels + m * size);
      if (status != MICA_OK && mica_dataset_part_of(ds, at) == k) break;
      if (status == MICA_OK) label[m++] = labels[at];
      status = MICA_OK;
    }
    const mica_view x =
        mica_view_of(pixels, MICA_U8, MICA_SHAPE(m, p->height, p->width, p->channels));
    if (status == MICA_OK && m) status = mica_embed(session, &x, rows);
    if (status == MICA_OK && m) status = take(ctx, k, m, label, rows);
    from = at > from ? at : from + 1;
    const double rest = mica_time_left_update(&left, mica_seconds(), from, n);
    if (shown)
      fprintf(stderr, "\r\033[Kfeatures of %lld of %lld pictures, %.0f s left", (long long)from,
              (long long)n, rest > 0 ? rest : 0);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  if (shown) fprintf(stderr, "\r\033[K");
  mica_session_free(session);
  mica_free(pixels);
  mica_free(rows);
  return status;
}

typedef struct in_memory {
  features *f;
  int64_t done[MICA_PART_COUNT];
} in_memory;

static mica_status keep(void *ctx, mica_part k, int64_t m, const int64_t *label, const float *x) {
  in_memory *j = ctx;
  const int64_t width = j->f->width;
  feature_part *part = &j->f->part[k];
  memcpy((float *)mica_tensor_data(part->x) + j->done[k] * width, x,
         (size_t)(m * width) * sizeof *x);
  memcpy(part->label + j->done[k], label, (size_t)m * sizeof *label);
  j->done[k] += m;
  return MICA_OK;
}

mica_status features_embed(const cli_args *a, mica_model *model, const mica_dataset *ds,
                           features *out) {
  in_memory j = {.f = out};
  memset(out, 0, sizeof *out);
  features_levels(model, out);
  mica_status status = make_parts(ds, mica_model_features(model), out);
  if (status == MICA_OK) status = features_of_pictures(a, model, ds, keep, &j);
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++)
    status = shorten(&out->part[k], j.done[k]);
  if (status != MICA_OK) features_free(out);
  return status;
}

/* ---- files of features ---- */

static bool ends_with(const char *text, const char *end) {
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

bool is_feature_file(const char *path) {
  return ends_with(path, ".npy") || ends_with(path, ".npz") || ends_with(path, ".safetensors");
}

/* One tensor of an archive, converted: the first of two names that is there, or NULL. */
static mica_status read_tensor(const mica_archive *archive, const char *name, const char *other,
                               mica_dtype dtype, int rank, mica_tensor **out) {
  int64_t at = mica_archive_find(archive, name);
  if (at < 0) at = mica_archive_find(archive, other);
  *out = NULL;
  if (at < 0) return MICA_OK;
  mica_tensor *raw = NULL;
  mica_status status = mica_archive_read(archive, at, &raw);
  if (status == MICA_OK && mica_tensor_shape(raw)->rank != rank) {
    char text[128];
    status = mica_fail(MICA_ERR_FORMAT, "%s: '%s' is %s, expected %s", mica_archive_path(archive),
                       mica_archive_name(archive, at),
                       mica_shape_text(mica_tensor_shape(raw), text, sizeof text),
                       rank == 2 ? "[rows, columns]" : "[rows]");
  }
  if (status == MICA_OK) {
    const mica_view view = mica_tensor_view(raw);
    status = mica_tensor_from_view(&view, dtype, out);
  }
  mica_tensor_free(raw);
  return status;
}

/* Names from the metadata, else the numbers. */
static mica_status read_names(const mica_archive *archive, features *f) {
  const char *text = mica_archive_metadata(archive, "classes");
  mica_json_doc *doc = NULL;
  mica_status status = text ? mica_json_parse(text, strlen(text), &doc) : MICA_OK;
  const mica_json *array = doc ? mica_json_root(doc) : NULL;
  const int64_t n = f->classes;
  if (status != MICA_OK) return mica_fail_within("%s: classes", mica_archive_path(archive));
  if (array && mica_json_count(array) < n)
    status =
        mica_fail(MICA_ERR_FORMAT, "%s: %lld class names, the labels go to %lld",
                  mica_archive_path(archive), (long long)mica_json_count(array), (long long)n - 1);
  f->classes = 0;
  f->names = mica_calloc((size_t)n + 1, sizeof *f->names);
  if (!f->names) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char number[24];
    const char *name = mica_json_string(mica_json_item(array, i));
    snprintf(number, sizeof number, "%lld", (long long)i);
    if (!(f->names[i] = mica_strdup(name ? name : number)))
      status = MICA_ERR_MEMORY;
    else
      f->classes++;
  }
  mica_json_free(doc);
  return status;
}

/* Levels from the metadata: they must be the columns in all. */
static mica_status read_levels(const mica_archive *archive, features *f) {
  const char *text = mica_archive_metadata(archive, "levels");
  mica_json_doc *doc = NULL;
  int64_t sum = 0;
  mica_status status = text ? mica_json_parse(text, strlen(text), &doc) : MICA_OK;
  if (!text || status != MICA_OK) return status;
  const mica_json *array = mica_json_root(doc);
  const int64_t n = mica_json_count(array);
  for (int64_t i = 0; i < n && i < MICA_LIST_MAX; i++) {
    int64_t width = 0;
    if (mica_json_int64(mica_json_item(array, i), &width) && width > 0 && width <= f->width)
      f->levels.v[f->levels.n++] = width;
    sum += width;
  }
  if (f->levels.n != n || sum != f->width)
    status = mica_fail(MICA_ERR_FORMAT,
                       "%s: levels are no list of at most %d widths that add up to %lld columns",
                       mica_archive_path(archive), MICA_LIST_MAX, (long long)f->width);
  mica_json_free(doc);
  return status;
}

/* The part of each row: as the file says, else a share of each class for validation. */
static mica_status choose_parts(const mica_archive *archive, int64_t n, const int64_t *label,
                                int64_t classes, double validation, uint64_t seed, uint8_t *part) {
  mica_tensor *given = NULL;
  mica_status status = read_tensor(archive, "part", "parts", MICA_I64, 1, &given);
  if (status == MICA_OK && !given) {
    bool *out = mica_calloc((size_t)n + 1, sizeof *out);
    status = out ? mica_hold_out(mica_key_seed(seed), n, label, classes, validation, out)
                 : MICA_ERR_MEMORY;
    for (int64_t i = 0; i < n && status == MICA_OK; i++)
      part[i] = out[i] ? MICA_PART_VALIDATION : MICA_PART_TRAIN;
    mica_free(out);
    return status;
  }
  if (status == MICA_OK && mica_tensor_dim(given, 0) != n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: %lld parts for %lld rows", mica_archive_path(archive),
                       (long long)mica_tensor_dim(given, 0), (long long)n);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const int64_t k = ((const int64_t *)mica_tensor_data(given))[i];
    if (k < 0 || k >= MICA_PART_COUNT)
      status = mica_fail(MICA_ERR_FORMAT,
                         "%s: part %lld of row %lld, expected 0 training, 1 validation, 2 test",
                         mica_archive_path(archive), (long long)k, (long long)i);
    else
      part[i] = (uint8_t)k;
  }
  mica_tensor_free(given);
  return status;
}

static mica_status deal(const mica_tensor *x, const int64_t *label, const uint8_t *part,
                        features *f) {
  const int64_t n = mica_tensor_dim(x, 0), width = mica_tensor_dim(x, 1);
  mica_status status = MICA_OK;
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    feature_part *to = &f->part[k];
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) to->n += part[i] == k;
    if (!to->n) continue;
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(to->n, width), &to->x);
    if (status == MICA_OK && label && !(to->label = mica_calloc((size_t)to->n, sizeof *to->label)))
      status = MICA_ERR_MEMORY;
    for (int64_t i = 0; i < n && status == MICA_OK; i++) {
      if (part[i] != k) continue;
      memcpy((float *)mica_tensor_data(to->x) + at * width,
             (const float *)mica_tensor_data(x) + i * width, (size_t)width * sizeof(float));
      if (label) to->label[at] = label[i];
      at++;
    }
  }
  return status;
}

static mica_status read_labels(const char *path, mica_tensor **out) {
  mica_archive *archive;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  status = read_tensor(archive, "array", "labels", MICA_I64, 1, out);
  if (status == MICA_OK && !*out) status = mica_fail(MICA_ERR_FORMAT, "%s: no labels in it", path);
  mica_archive_close(archive);
  return status;
}

mica_status features_read(const char *path, const char *labels, double validation, uint64_t seed,
                          features *out) {
  mica_archive *archive;
  mica_tensor *x = NULL, *y = NULL;
  memset(out, 0, sizeof *out);
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  const bool bare = strcmp(mica_archive_format(archive), "npy") == 0;
  status = read_tensor(archive, bare ? "array" : "features", "x", MICA_F32, 2, &x);
  if (status == MICA_OK && !x)
    status = mica_fail(MICA_ERR_FORMAT, "%s: no tensor 'features'", path);
  if (status == MICA_OK && labels)
    status = read_labels(labels, &y);
  else if (status == MICA_OK && !bare)
    status = read_tensor(archive, "labels", "y", MICA_I64, 1, &y);
  if (status == MICA_OK && y && mica_tensor_dim(y, 0) != mica_tensor_dim(x, 0))
    status = mica_fail(MICA_ERR_FORMAT, "%s: %lld labels for %lld rows", labels ? labels : path,
                       (long long)mica_tensor_dim(y, 0), (long long)mica_tensor_dim(x, 0));
  const int64_t *label = y ? mica_tensor_data(y) : NULL;
  for (int64_t i = 0; status == MICA_OK && label && i < mica_tensor_dim(x, 0); i++) {
    if (label[i] < 0 || label[i] >= 1000000)
      status = mica_fail(MICA_ERR_FORMAT, "%s: label %lld of row %lld, expected 0 to 999999",
                         labels ? labels : path, (long long)label[i], (long long)i);
    else if (label[i] >= out->classes)
      out->classes = label[i] + 1;
  }
  if (status == MICA_OK) out->width = mica_tensor_dim(x, 1);
  if (status == MICA_OK) status = read_names(archive, out);
  if (status == MICA_OK) status = read_levels(archive, out);
  uint8_t *part =
      status == MICA_OK ? mica_calloc((size_t)mica_tensor_dim(x, 0) + 1, sizeof *part) : NULL;
  if (status == MICA_OK && !part) status = MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status =
        choose_parts(archive, mica_tensor_dim(x, 0), label, out->classes, validation, seed, part);
  if (status == MICA_OK) status = deal(x, label, part, out);
  mica_free(part);
  mica_tensor_free(x);
  mica_tensor_free(y);
  mica_archive_close(archive);
  if (status != MICA_OK) features_free(out);
  return status;
}

static mica_status levels_text(const features *f, mica_bytes *text) {
  mica_json_writer w = {.out = text};
  mica_json_begin_array(&w);
  for (int i = 0; i < f->levels.n; i++) mica_json_write_int(&w, f->levels.v[i]);
  mica_json_end_array(&w);
  mica_bytes_byte(text, 0);
  return text->status;
}

static mica_status names_text(const features *f, mica_bytes *text) {
  mica_json_writer w = {.out = text};
  mica_json_begin_array(&w);
  for (int64_t i = 0; i < f->classes; i++) mica_json_write_string(&w, f->names[i]);
  mica_json_end_array(&w);
  mica_bytes_byte(text, 0);
  return text->status;
}

mica_status features_write_rows(const features *f, const mica_view *x, const mica_view *labels,
                                const mica_view *part, const char *path) {
  mica_bytes names = {0}, levels = {0};
  mica_status status = names_text(f, &names);
  if (status == MICA_OK) status = levels_text(f, &levels);
  if (status == MICA_OK) {
    const mica_named_view views[] = {{"features", *x}, {"labels", *labels}, {"part", *part}};
    const mica_text_pair pairs[] = {{"classes", names.data}, {"levels", levels.data}};
    if (ends_with(path, ".npz"))
      status = mica_npz_write(path, views, 3, false);
    else if (ends_with(path, ".safetensors"))
      status = mica_safetensors_write(path, views, 3, pairs, f->levels.n > 1 ? 2 : 1);
    else
      status = mica_fail(MICA_ERR_INVALID, "%s: expected a name in .safetensors or .npz", path);
  }
  mica_bytes_free(&names);
  mica_bytes_free(&levels);
  return status;
}

mica_status features_write(const features *f, const char *path) {
  int64_t n = 0, at = 0;
  mica_tensor *x = NULL, *label = NULL, *part = NULL;
  for (int k = 0; k < MICA_PART_COUNT; k++) n += f->part[k].n;
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, f->width), &x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(n), &label);
  if (status == MICA_OK) status = mica_tensor_create(MICA_U8, MICA_SHAPE(n), &part);
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    const feature_part *from = &f->part[k];
    if (!from->n) continue;
    memcpy((float *)mica_tensor_data(x) + at * f->width, mica_tensor_data(from->x),
           (size_t)(from->n * f->width) * sizeof(float));
    memcpy((int64_t *)mica_tensor_data(label) + at, from->label,
           (size_t)from->n * sizeof *from->label);
    memset((uint8_t *)mica_tensor_data(part) + at, k, (size_t)from->n);
    at += from->n;
  }
  if (status == MICA_OK) {
    const mica_view rows = mica_tensor_view(x), labels = mica_tensor_view(label);
    const mica_view parts = mica_tensor_view(part);
    status = features_write_rows(f, &rows, &labels, &parts, path);
  }
  mica_tensor_free(x);
  mica_tensor_free(label);
  mica_tensor_free(part);
  return status;
}
