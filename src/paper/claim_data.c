/* The pictures that cells share: each data set is read once a run, whoever asks first. */
#include "paper/claim.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

static char *below(const char *folder, const char *name) {
  char *path = folder && *folder ? mica_path_join(folder, name) : NULL;
  if (path && !mica_file_exists(path) && !mica_is_folder(path)) {
    mica_free(path);
    path = NULL;
  }
  return path;
}

char *mica_claim_find_data(const char *name) {
  const char *own = getenv("MICA_DATA"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char fetched[4096] = "";
  if (mica_is_folder(name) || mica_file_exists(name)) return mica_strdup(name);
  char *path = below(own, name);
  if (!path) path = below("/usr/share/datasets", name);
  if (cache && *cache == '/')
    snprintf(fetched, sizeof fetched, "%s/mica/data", cache);
  else if (home && *home)
    snprintf(fetched, sizeof fetched, "%s/.cache/mica/data", home);
  if (!path) path = below(fetched, name);
  if (!path)
    mica_fail(MICA_ERR_NOT_FOUND,
              "the data set %s is not there: looked in $MICA_DATA (%s), /usr/share/datasets (a "
              "package dataset-%s of Debian puts it there) and %s (`mica data get %s`)",
              name, own && *own ? own : "not set", name, *fetched ? fetched : "no cache folder",
              name);
  return path;
}

/* ---- reading ---- */

void mica_claim_images_free(mica_claim_images_of *list) {
  while (list) {
    mica_claim_images_of *next = list->next;
    mica_tensor_free(list->pixels);
    mica_tensor_free(list->labels);
    mica_free(list->name);
    mica_free(list);
    list = next;
  }
}

static mica_status copy_part(const mica_dataset *ds, mica_part part, mica_claim_images_of *out) {
  const mica_shape shape = mica_dataset_shape(ds);
  const int64_t n = mica_dataset_part_count(ds, part), all = mica_dataset_count(ds);
  const int64_t bytes = shape.dim[0] * shape.dim[1] * shape.dim[2];
  mica_status status = mica_tensor_create(
      MICA_U8, MICA_SHAPE(n, shape.dim[0], shape.dim[1], shape.dim[2]), &out->pixels);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(n), &out->labels);
  if (status != MICA_OK) return status;
  uint8_t *pixels = mica_tensor_data(out->pixels);
  int64_t *labels = mica_tensor_data(out->labels), k = 0;
  const int64_t *label = mica_tensor_data(mica_dataset_labels(ds));
  for (int64_t i = 0; i < all && k < n && status == MICA_OK; i++) {
    if (mica_dataset_part_of(ds, i) != part) continue;
    status = mica_dataset_read(ds, i, pixels + k * bytes);
    labels[k++] = label[i];
  }
  out->images = (mica_claim_images){
      k, shape.dim[0], shape.dim[1], shape.dim[2], mica_dataset_classes(ds), pixels, labels};
  return status;
}

static mica_status read_images(const char *name, mica_part part, mica_claim_images_of *out) {
  char *path = mica_claim_find_data(name);
  if (!path) return mica_last_status();
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset *ds = NULL;
  o.validation = 0; /* the training part is whole */
  o.strict = true;
  mica_status status = mica_dataset_open(path, &o, &ds);
  if (status == MICA_OK) status = copy_part(ds, part, out);
  if (status == MICA_OK && !out->images.n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: the data set has no such part", path);
  mica_dataset_free(ds);
  mica_free(path);
  return status;
}

mica_status mica_claim_data(mica_claim_cell *cell, const char *name, mica_part part,
                            const mica_claim_images **out) {
  mica_claim_run *r = cell->run;
  mica_status status = MICA_OK;
  pthread_mutex_lock(&r->lock);
  mica_claim_images_of *at = r->images;
  while (at && (at->part != part || strcmp(at->name, name) != 0)) at = at->next;
  if (!at) {
    at = mica_calloc(1, sizeof *at);
    if (at) at->name = mica_strdup(name);
    status = at && at->name ? read_images(name, part, at) : MICA_ERR_MEMORY;
    if (status == MICA_OK) {
      at->part = part;
      at->next = r->images;
      r->images = at;
    } else {
      mica_claim_images_free(at);
    }
  }
  pthread_mutex_unlock(&r->lock);
  if (status == MICA_OK) *out = &at->images;
  return status;
}

/* ---- drawing ---- */

/* Which classes a list "0,1,5" names; NULL names all. */
static mica_status named_classes(const char *list, int64_t classes, bool *in) {
  for (int64_t c = 0; c < classes; c++) in[c] = !list;
  while (list && *list) {
    char *end;
    const long c = strtol(list, &end, 10);
    if (end == list || c < 0 || c >= classes || (*end && *end != ','))
      return mica_fail(MICA_ERR_INVALID, "classes '%s', expected numbers below %lld", list,
                       (long long)classes);
    in[c] = true;
    list = *end ? end + 1 : end;
  }
  return MICA_OK;
}

mica_status mica_claim_draw(const mica_claim_images *images, mica_key key, int64_t n,
                            const char *classes, int64_t *item) {
  int64_t *order = mica_calloc((size_t)images->n, sizeof *order);
  bool *in = mica_calloc((size_t)images->classes, sizeof *in);
  int64_t k = 0;
  mica_status status = order && in ? named_classes(classes, images->classes, in) : MICA_ERR_MEMORY;
  if (status == MICA_OK) mica_random_permutation(key, images->n, order);
  for (int64_t i = 0; i < images->n && k < n && status == MICA_OK; i++)
    if (in[images->labels[order[i]]]) item[k++] = order[i];
  if (status == MICA_OK && k < n)
    status = mica_fail(MICA_ERR_INVALID, "%lld pictures wanted of %s, there are %lld", (long long)n,
                       classes ? classes : "all classes", (long long)k);
  mica_free(order);
  mica_free(in);
  return status;
}

mica_status mica_claim_take(const mica_claim_images *m, int64_t n, const int64_t *item,
                            mica_tensor **x, mica_tensor **labels) {
  const int64_t size = m->height * m->width * m->channels;
  mica_tensor *pixels = NULL, *label = NULL;
  mica_status status = MICA_OK;
  if (x)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, m->height, m->width, m->channels), &pixels);
  if (labels && status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(n), &label);
  if (status != MICA_OK) {
    mica_tensor_free(pixels);
    return status;
  }
  if (x) {
    float *to = mica_tensor_data(pixels);
    for (int64_t i = 0; i < n; i++)
      for (int64_t k = 0; k < size; k++)
        to[i * size + k] = (float)m->pixels[item[i] * size + k] / 255.0f;
    *x = pixels;
  }
  if (labels) {
    int64_t *to = mica_tensor_data(label);
    for (int64_t i = 0; i < n; i++) to[i] = m->labels[item[i]];
    *labels = label;
  }
  return MICA_OK;
}
