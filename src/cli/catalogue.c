/* The catalogue: our tables, the user's entries, and the folders they are fetched into. */
#include "cli/catalogue.h"

#include <mica/component.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- entries from MICA_CATALOGUE ---- */

typedef struct own_entries {
  mica_json_doc *doc; /* owns every text */
  catalogue_item *item;
  const char ***classes; /* of each item, NULL for none */
  int64_t n;
} own_entries;

static void own_free(own_entries *own) {
  if (!own) return;
  for (int64_t i = 0; own->classes && i < own->n; i++) mica_free((void *)own->classes[i]);
  mica_free((void *)own->classes);
  mica_free(own->item);
  mica_json_free(own->doc);
  mica_free(own);
}

static const char *text_or(const mica_json *v, const char *name, const char *other) {
  const char *text = mica_json_string(mica_json_get(v, name));
  return text ? text : other;
}

static bool plain_name(const char *name) {
  return *name && *name != '.' && !strchr(name, '/') && strlen(name) < 128;
}

static mica_status read_file(const mica_json *v, const char *item, catalogue_file *f) {
  mica_status status = mica_json_need_string(v, "url", &f->url);
  if (status == MICA_OK) status = mica_json_need_string(v, "name", &f->name);
  if (status != MICA_OK) return mica_fail_within("the file of '%s'", item);
  if (!plain_name(f->name))
    return mica_fail(MICA_ERR_FORMAT, "'%s': the file's name '%s' is no plain name", item, f->name);
  mica_json_int64(mica_json_get(v, "bytes"), &f->bytes);
  f->sha256 = text_or(v, "sha256", NULL);
  if (f->bytes < 0 ||
      (f->sha256 && (strspn(f->sha256, "0123456789abcdefABCDEF") != strlen(f->sha256) ||
                     strlen(f->sha256) > 64 || strlen(f->sha256) < 8)))
    return mica_fail(MICA_ERR_FORMAT, "'%s': bytes or sha256 of %s is none (8 to 64 hex digits)",
                     item, f->name);
  mica_json_bool(mica_json_get(v, "archive"), &f->archive);
  return MICA_OK;
}

static mica_status read_numbers(const mica_json *v, const char *name, double out[4]) {
  const mica_json *list = mica_json_get(v, name);
  for (int64_t i = 0; i < mica_json_count(list) && i < 4; i++)
    if (!mica_json_double(mica_json_item(list, i), &out[i]))
      return mica_fail(MICA_ERR_FORMAT, "%s: expected numbers", name);
  return MICA_OK;
}

static mica_status read_item(const mica_json *v, catalogue_item *item, const char ***classes) {
  mica_status status = mica_json_need_string(v, "name", &item->name);
  if (status != MICA_OK) return status;
  if (!plain_name(item->name))
    return mica_fail(MICA_ERR_FORMAT, "the name '%s' is no plain name", item->name);
  item->summary = text_or(v, "summary", "");
  item->page = text_or(v, "page", "");
  item->licence = text_or(v, "licence", "not stated");
  item->source = text_or(v, "source", "the catalogue");
  item->class_mark = text_or(v, "class_mark", NULL);
  item->architecture = text_or(v, "architecture", NULL);
  item->side = 224;
  item->channels = 3;
  item->crop = 1;
  for (int i = 0; i < 4; i++) item->deviation[i] = 1;
  mica_json_int64(mica_json_get(v, "side"), &item->side);
  mica_json_int64(mica_json_get(v, "channels"), &item->channels);
  mica_json_double(mica_json_get(v, "crop"), &item->crop);
  status = read_numbers(v, "mean", item->mean);
  if (status == MICA_OK) status = read_numbers(v, "deviation", item->deviation);
  const char *filter = text_or(v, "interpolation", "bilinear");
  if (status == MICA_OK) status = mica_image_filter_find(filter, &item->interpolation);
  const mica_json *files = mica_json_get(v, "files"), *names = mica_json_get(v, "classes");
  const int64_t n = mica_json_count(files);
  if (status == MICA_OK && (n < 1 || n > CATALOGUE_FILES))
    status =
        mica_fail(MICA_ERR_FORMAT, "'%s': expected 1 to %d files", item->name, CATALOGUE_FILES);
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    status = read_file(mica_json_item(files, i), item->name, &item->file[i]);
  item->n_classes = mica_json_count(names);
  if (status == MICA_OK && item->n_classes) {
    *classes = mica_calloc((size_t)item->n_classes, sizeof **classes);
    if (!*classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
    for (int64_t i = 0; i < item->n_classes && status == MICA_OK; i++)
      if (!((*classes)[i] = mica_json_string(mica_json_item(names, i))))
        status = mica_fail(MICA_ERR_FORMAT, "'%s': classes are texts", item->name);
    item->classes = *classes;
  }
  return status;
}

static mica_status own_read(const char *path, catalogue_kind kind, own_entries **out) {
  own_entries *own = *out = mica_calloc(1, sizeof *own);
  if (!own) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  mica_status status = mica_json_read(path, (size_t)16 << 20, &own->doc);
  if (status != MICA_OK) return mica_fail_within("MICA_CATALOGUE");
  const mica_json *list =
      mica_json_get(mica_json_root(own->doc), kind == CATALOGUE_MODELS ? "models" : "data");
  const int64_t n = mica_json_count(list);
  own->item = mica_calloc((size_t)n + 1, sizeof *own->item);
  own->classes = mica_calloc((size_t)n + 1, sizeof *own->classes);
  if (!own->item || !own->classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  own->n = n;
  for (int64_t i = 0; i < n; i++)
    if (read_item(mica_json_item(list, i), &own->item[i], &own->classes[i]) != MICA_OK)
      return mica_fail_within("%s: entry %lld", path, (long long)i + 1);
  return MICA_OK;
}

/* ---- the whole ---- */

mica_status catalogue_open(catalogue_kind kind, catalogue *out) {
  const catalogue_item *table = kind == CATALOGUE_MODELS ? catalogue_models : catalogue_data;
  const char *path = getenv("MICA_CATALOGUE");
  own_entries *own = NULL;
  *out = (catalogue){0};
  mica_status status = path && *path ? own_read(path, kind, &own) : MICA_OK;
  out->own = own;
  int64_t n = 0;
  while (table[n].name) n++;
  const int64_t more = own ? own->n : 0;
  if (status == MICA_OK && !(out->item = mica_calloc((size_t)(n + more) + 1, sizeof *out->item)))
    status = mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status != MICA_OK) {
    catalogue_close(out);
    return status;
  }
  for (int64_t i = 0; i < n; i++) out->item[out->n++] = &table[i];
  for (int64_t k = 0; k < more; k++) {
    int64_t at = 0;
    while (at < out->n && strcmp(out->item[at]->name, own->item[k].name) != 0) at++;
    out->item[at] = &own->item[k];
    if (at == out->n) out->n++;
  }
  return MICA_OK;
}

void catalogue_close(catalogue *c) {
  mica_free((void *)c->item);
  own_free(c->own);
  *c = (catalogue){0};
}

const catalogue_item *catalogue_find(const catalogue *c, const char *name) {
  const char *names[256];
  int n = 0;
  for (int64_t i = 0; i < c->n; i++) {
    if (strcmp(c->item[i]->name, name) == 0) return c->item[i];
    if (n < 256) names[n++] = c->item[i]->name;
  }
  const char *near = mica_nearest_name(name, names, n);
  mica_fail(MICA_ERR_NOT_FOUND, "the catalogue has no '%s'%s%s%s", name,
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
  return NULL;
}

int64_t catalogue_bytes(const catalogue_item *item) {
  int64_t sum = 0;
  for (int i = 0; i < CATALOGUE_FILES && item->file[i].name; i++) {
    if (!item->file[i].bytes) return 0;
    sum += item->file[i].bytes;
  }
  return sum;
}

char *catalogue_folder(catalogue_kind kind) {
  const char *own = getenv(kind == CATALOGUE_MODELS ? "MICA_MODELS" : "MICA_DATA");
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  const char *below = kind == CATALOGUE_MODELS ? "mica/models" : "mica/data";
  if (own && *own) return mica_strdup(own);
  if (cache && *cache == '/') return mica_path_join(cache, below);
  mica_bytes b = {0};
  mica_bytes_printf(&b, "%s/.cache/%s", home && *home ? home : ".", below);
  mica_bytes_byte(&b, 0);
  return mica_bytes_take(&b);
}

char *catalogue_resolve(catalogue_kind kind, const char *name) {
  const bool standard_input = kind == CATALOGUE_DATA && strcmp(name, "-") == 0;
  if (standard_input || mica_file_exists(name) || mica_is_folder(name)) return mica_strdup(name);
  if (!plain_name(name)) {
    mica_fail(MICA_ERR_NOT_FOUND, "%s: there is no such file or folder", name);
    return NULL;
  }
  char *folder = catalogue_folder(kind), file[160];
  snprintf(file, sizeof file, "%s%s", name, kind == CATALOGUE_MODELS ? ".mica" : "");
  char *path = folder ? mica_path_join(folder, file) : NULL;
  if (!path) {
    mica_fail(MICA_ERR_MEMORY, "out of memory");
  } else if (!mica_file_exists(path) && !mica_is_folder(path)) {
    catalogue c;
    const char *verb = kind == CATALOGUE_MODELS ? "model" : "data";
    if (catalogue_open(kind, &c) == MICA_OK) {
      if (catalogue_find(&c, name))
        mica_fail(MICA_ERR_NOT_FOUND, "%s: not fetched yet: mica %s get %s", name, verb, name);
      else
        mica_fail(MICA_ERR_NOT_FOUND, "%s: neither a file nor in the catalogue: mica %s list", name,
                  verb);
      catalogue_close(&c);
    }
    mica_free(path);
    path = NULL;
  }
  mica_free(folder);
  return path;
}

mica_status catalogue_open_dataset(const char *name, const mica_dataset_options *options,
                                   mica_dataset **out) {
  char *path = catalogue_resolve(CATALOGUE_DATA, name);
  if (!path) return mica_last_status();
  const mica_status status = mica_dataset_open(path, options, out);
  mica_free(path);
  return status;
}
