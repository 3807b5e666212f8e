/* The pixels of an item: from a block, from a file, or from memory where they were read before.
 *
 * Readers share no lock. An item's pixels are published once by exchanging a pointer that was NULL;
 * so is the reason why a file cannot be read. There is no eviction: an epoch visits every item once
 * in a random order, so dropping one to keep another would gain nothing.
 */
#include "base/file.h"
#include "data/dataset.h"
#include "data/image_file.h"
#include "data/source.h"

#include <math.h>
#include <string.h>

static int64_t size_of(const mica_dataset *ds) {
  return ds->o.height * ds->o.width * ds->o.channels;
}

static char *path_of(const mica_dataset *ds, int64_t i) {
  const char *name = ds->names.data + ds->item[i].name;
  return *name == '/' || !*ds->folder ? mica_strdup(name) : mica_path_join(ds->folder, name);
}

/* The part of a picture that a box means, its sides rounded to whole pixels as Pillow's crop does;
 * what lies outside the picture is left out. */
static mica_status cut(const mica_dataset_box *b, const char *name, mica_tensor **image) {
  const int64_t *dim = mica_tensor_shape(*image)->dim, c = dim[2];
  const int64_t left = (int64_t)fmax(rint(b->left), 0), top = (int64_t)fmax(rint(b->top), 0);
  const int64_t right = (int64_t)fmin(rint(b->right), (double)dim[1]);
  const int64_t bottom = (int64_t)fmin(rint(b->bottom), (double)dim[0]);
  mica_tensor *part;
  if (right <= left || bottom <= top)
    return mica_fail(MICA_ERR_FORMAT, "%s: its box lies outside the picture of %lldx%lld", name,
                     (long long)dim[1], (long long)dim[0]);
  const mica_status status =
      mica_tensor_create(MICA_U8, MICA_SHAPE(bottom - top, right - left, c), &part);
  if (status != MICA_OK) return status;
  const uint8_t *from = mica_tensor_data(*image);
  uint8_t *to = mica_tensor_data(part);
  for (int64_t y = top; y < bottom; y++, to += (right - left) * c)
    memcpy(to, from + (y * dim[1] + left) * c, (size_t)((right - left) * c));
  mica_tensor_free(*image);
  *image = part;
  return MICA_OK;
}

static mica_status read_file(const mica_dataset *ds, int64_t i, const mica_preprocess *p,
                             uint8_t *out) {
  char *path = path_of(ds, i);
  if (!path) return MICA_ERR_MEMORY;
  mica_tensor *image = NULL;
  mica_status status = mica_image_read_regular(path, &image);
  if (status == MICA_OK && ds->item[i].block)
    status = cut(&ds->box[ds->item[i].block - 1], path, &image);
  if (status == MICA_OK) status = mica_image_prepare(image, p, out);
  mica_tensor_free(image);
  mica_free(path);
  return status;
}

/* Only the first bytes of a file: is it a picture at all? */
static mica_status recognise_file(const mica_dataset *ds, int64_t i) {
  char *path = path_of(ds, i);
  if (!path) return MICA_ERR_MEMORY;
  mica_source source;
  uint8_t head[16];
  mica_status status = mica_source_open(path, &source);
  if (status == MICA_OK) {
    const size_t n = source.size < sizeof head ? (size_t)source.size : sizeof head;
    status = mica_source_read(&source, 0, head, n);
    if (status == MICA_OK) status = mica_image_recognise(head, n, path);
    mica_source_close(&source);
  }
  mica_free(path);
  return status;
}

static mica_status read_block(const mica_dataset *ds, int64_t i, const mica_preprocess *p,
                              uint8_t *out) {
  const mica_tensor *block = ds->block[ds->item[i].block];
  const int64_t *dim = mica_tensor_shape(block)->dim, n = dim[1] * dim[2] * dim[3];
  const uint8_t *x = (const uint8_t *)mica_tensor_data(block) + ds->item[i].row * n;
  return mica_prepare_pixels(x, dim[1], dim[2], dim[3], p, out);
}

/* Remember why item i cannot be read; true when that was remembered. Short memory says nothing
 * about the file, and a strict data set only passes the error on. */
static bool mark_bad(const mica_dataset *ds, int64_t i, mica_status status) {
  if (status == MICA_ERR_MEMORY || ds->o.strict) return false;
  char *why = mica_strdup(mica_last_error()), *none = NULL;
  if (!why) return false;
  if (!atomic_compare_exchange_strong(&ds->bad[i], &none, why)) mica_free(why);
  return true;
}

static mica_status keep(const mica_dataset *ds, int64_t i, const uint8_t *pixels) {
  const int64_t size = size_of(ds);
  if (atomic_fetch_add(ds->held, size) + size <= ds->o.memory) {
    uint8_t *copy = mica_malloc((size_t)size), *none = NULL;
    if (!copy) return MICA_ERR_MEMORY;
    memcpy(copy, pixels, (size_t)size);
    if (atomic_compare_exchange_strong(&ds->cached[i], &none, copy)) return MICA_OK;
    mica_free(copy);
  }
  atomic_fetch_sub(ds->held, size);
  return MICA_OK;
}

mica_status mica_dataset_read(const mica_dataset *ds, int64_t i, uint8_t *out) {
  if (i < 0 || i >= ds->n)
    return mica_fail(MICA_ERR_INVALID, "data set: item %lld of %lld", (long long)i,
                     (long long)ds->n);
  const uint8_t *have = atomic_load(&ds->cached[i]);
  if (have) {
    memcpy(out, have, (size_t)size_of(ds));
    return MICA_OK;
  }
  const mica_preprocess p = {.height = ds->o.height,
                             .width = ds->o.width,
                             .channels = ds->o.channels,
                             .crop = ds->o.crop,
                             .interpolation = ds->o.interpolation,
                             .fit = ds->o.fit};
  if (ds->item[i].row >= 0) return read_block(ds, i, &p, out);
  const mica_status status = read_file(ds, i, &p, out);
  if (status == MICA_OK) return keep(ds, i, out);
  if (!mark_bad(ds, i, status) && mica_last_status() == MICA_ERR_MEMORY) return MICA_ERR_MEMORY;
  return status;
}

bool mica_dataset_in_memory(const mica_dataset *ds) {
  return !ds->n || ds->item[0].row >= 0 || ds->n <= ds->o.memory / size_of(ds);
}

/* ---- what was left out ---- */

static void skipped_line(mica_bytes *text, int64_t number, const char *line) {
  if (number <= 100) mica_bytes_printf(text, "%s\n", line);
}

void mica_dataset_skip(mica_dataset *ds) {
  skipped_line(&ds->skipped_text, ++ds->skipped, mica_last_error());
}

int64_t mica_dataset_skipped(const mica_dataset *ds) {
  int64_t n = ds->skipped;
  for (int64_t i = 0; i < ds->n; i++) n += atomic_load(&ds->bad[i]) != NULL;
  return n;
}

const char *mica_dataset_skipped_text(const mica_dataset *ds) {
  int64_t n = ds->skipped;
  mica_bytes_clear(ds->late_text);
  mica_bytes_append(ds->late_text, ds->skipped_text.data, ds->skipped_text.n);
  for (int64_t i = 0; i < ds->n; i++) {
    const char *why = atomic_load(&ds->bad[i]);
    if (why) skipped_line(ds->late_text, ++n, why);
  }
  return ds->late_text->data ? ds->late_text->data : "";
}

/* ---- at opening ---- */

/* Read, or only recognise, every file; those that fail leave the list. */
static mica_status leave_out_unreadable(mica_dataset *ds) {
  const int64_t n = ds->n;
  const bool whole = mica_dataset_in_memory(ds);
  uint8_t *pixels = mica_malloc((size_t)size_of(ds));
  mica_status status = pixels ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    if (whole) {
      status = mica_dataset_read(ds, i, pixels);
    } else {
      status = recognise_file(ds, i);
      if (status != MICA_OK && !mark_bad(ds, i, status)) status = mica_last_status();
    }
    if (atomic_load(&ds->bad[i])) status = MICA_OK;
  }
  mica_free(pixels);
  int64_t kept = 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char *why = atomic_exchange(&ds->bad[i], NULL);
    if (why) {
      skipped_line(&ds->skipped_text, ++ds->skipped, why);
      mica_free(why);
      continue;
    }
    ds->item[kept] = ds->item[i];
    atomic_store(&ds->cached[kept], atomic_exchange(&ds->cached[i], NULL));
    kept++;
  }
  if (status == MICA_OK) ds->n = kept;
  if (status == MICA_OK && !kept)
    status = mica_fail(MICA_ERR_FORMAT, "%s: none of %lld pictures could be read; the first: %.*s",
                       ds->path, (long long)n,
                       ds->skipped_text.data ? (int)strcspn(ds->skipped_text.data, "\n") : 0,
                       ds->skipped_text.data ? ds->skipped_text.data : "");
  return status;
}

mica_status mica_dataset_prepare_reading(mica_dataset *ds) {
  ds->cached = mica_calloc((size_t)ds->n, sizeof *ds->cached);
  ds->bad = mica_calloc((size_t)ds->n, sizeof *ds->bad);
  ds->held = mica_calloc(1, sizeof *ds->held);
  ds->late_text = mica_calloc(1, sizeof *ds->late_text);
  if (!ds->cached || !ds->bad || !ds->held || !ds->late_text) return MICA_ERR_MEMORY;
  return ds->n && ds->item[0].row < 0 ? leave_out_unreadable(ds) : MICA_OK;
}

void mica_dataset_end_reading(mica_dataset *ds) {
  for (int64_t i = 0; i < ds->n; i++) {
    if (ds->cached) mica_free(atomic_load(&ds->cached[i]));
    if (ds->bad) mica_free(atomic_load(&ds->bad[i]));
  }
  if (ds->late_text) mica_bytes_free(ds->late_text);
  mica_free(ds->cached);
  mica_free(ds->bad);
  mica_free(ds->held);
  mica_free(ds->late_text);
}
