/* See omniglot.h. */
#include "paper/claims/omniglot.h"

#include "base/file.h"
#include "data/zip.h"
#include "paper/claim.h"

#include <mica/image.h>

#include <stdio.h>
#include <string.h>

enum { FULL = 105, BLOCK = FULL / OMNIGLOT_SIDE };

void mica_omniglot_free(omniglot *o) {
  mica_tensor_free(o->x);
  mica_tensor_free(o->labels);
  *o = (omniglot){0};
}

static mica_status make(int64_t n, omniglot *o) {
  o->n = n;
  mica_status status =
      mica_tensor_create(MICA_F32, MICA_SHAPE(n, OMNIGLOT_SIDE, OMNIGLOT_SIDE, 1), &o->x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(n), &o->labels);
  return status;
}

/* One drawing: the share of ink in each block. */
static mica_status draw(const mica_zip *zip, const mica_zip_member *m, float *to) {
  mica_tensor *image = NULL;
  uint8_t *bytes = mica_malloc((size_t)m->size + 1);
  mica_status status =
      bytes ? mica_zip_extract(zip, m, 0, bytes, (size_t)m->size) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_image_decode(bytes, (size_t)m->size, m->name, &image);
  if (status == MICA_OK && (mica_tensor_dim(image, 0) != FULL || mica_tensor_dim(image, 1) != FULL))
    status = mica_fail(MICA_ERR_FORMAT, "%s: expected %dx%d pixels", m->name, FULL, FULL);
  const int64_t c = status == MICA_OK ? mica_tensor_dim(image, 2) : 0;
  for (int64_t y = 0; y < OMNIGLOT_SIDE && status == MICA_OK; y++)
    for (int64_t x = 0; x < OMNIGLOT_SIDE; x++) {
      const uint8_t *p = mica_tensor_data(image);
      int64_t sum = 0;
      for (int64_t i = 0; i < BLOCK * BLOCK; i++)
        sum += p[((BLOCK * y + i / BLOCK) * FULL + BLOCK * x + i % BLOCK) * c];
      to[y * OMNIGLOT_SIDE + x] = 1 - (float)sum / (255.0f * BLOCK * BLOCK);
    }
  mica_tensor_free(image);
  mica_free(bytes);
  return status;
}

static bool is_drawing(const mica_zip_member *m) {
  const size_t n = strlen(m->name);
  return n > 4 && strcmp(m->name + n - 4, ".png") == 0;
}

/* Characters are folders; members are gone through sorted by name. */
static mica_status read_all(const mica_zip *zip, omniglot *o) {
  int64_t n = 0;
  for (int64_t i = 0; i < zip->n; i++) n += is_drawing(&zip->member[i]);
  mica_status status = make(n, o);
  size_t folder = 0;
  const char *before = NULL;
  for (int64_t i = 0, k = 0; i < zip->n && status == MICA_OK; i++) {
    const mica_zip_member *m = &zip->member[zip->order[i]];
    if (!is_drawing(m)) continue;
    const size_t own = (size_t)(strrchr(m->name, '/') - m->name);
    if (!before || own != folder || strncmp(before, m->name, own) != 0) o->characters++;
    before = m->name;
    folder = own;
    status = draw(zip, m, (float *)mica_tensor_data(o->x) + k * OMNIGLOT_SIDE * OMNIGLOT_SIDE);
    ((int64_t *)mica_tensor_data(o->labels))[k++] = o->characters - 1;
  }
  return status;
}

mica_status mica_omniglot_read(int set, omniglot *out) {
  char name[64];
  mica_source source;
  mica_zip zip;
  *out = (omniglot){0};
  char *folder = mica_claim_find_data("omniglot");
  if (!folder) return mica_last_status();
  snprintf(name, sizeof name, "images_background_small%d.zip", set);
  char *path = mica_path_join(folder, name);
  mica_free(folder);
  if (!path) return MICA_ERR_MEMORY;
  mica_status status = mica_source_open(path, &source);
  mica_free(path);
  if (status != MICA_OK) return status;
  status = mica_zip_open(&source, &zip);
  if (status == MICA_OK) {
    status = read_all(&zip, out);
    mica_zip_close(&zip);
  }
  mica_source_close(&source);
  if (status != MICA_OK) mica_omniglot_free(out);
  return status;
}

/* Append drawing `from` of o as number `to`, with this label. */
static void copy(const omniglot *o, int64_t from, omniglot *out, int64_t to, int64_t label) {
  const size_t row = (size_t)OMNIGLOT_SIDE * OMNIGLOT_SIDE;
  memcpy((float *)mica_tensor_data(out->x) + (size_t)to * row,
         (const float *)mica_tensor_data(o->x) + (size_t)from * row, row * sizeof(float));
  ((int64_t *)mica_tensor_data(out->labels))[to] = label;
}

/* The drawings of a character in an order of the key; how many there are. */
static int64_t drawings(const omniglot *o, mica_key key, int64_t character, int64_t *row) {
  const int64_t *label = mica_tensor_data(o->labels);
  int64_t n = 0;
  for (int64_t i = 0; i < o->n; i++)
    if (label[i] == character) row[n++] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    const int64_t j = (int64_t)mica_random_below(mica_key_fold(key, (uint64_t)character),
                                                 (uint64_t)i, (uint64_t)i + 1);
    const int64_t other = row[j];
    row[j] = row[i];
    row[i] = other;
  }
  return n;
}

mica_status mica_omniglot_take(const omniglot *o, mica_key key, int64_t n, const int64_t *character,
                               const int64_t *each, omniglot *out, omniglot *rest) {
  *out = (omniglot){.characters = n};
  if (rest) *rest = (omniglot){.characters = n};
  int64_t *row = mica_calloc((size_t)o->n + 1, sizeof *row), taken = 0, left = 0;
  if (!row) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    const int64_t all = drawings(o, key, character[i], row);
    const int64_t own = each && each[i] && each[i] < all ? each[i] : all;
    taken += own;
    left += all - own;
  }
  mica_status status = make(taken, out);
  if (status == MICA_OK && rest) status = make(left, rest);
  taken = left = 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const int64_t all = drawings(o, key, character[i], row);
    const int64_t own = each && each[i] && each[i] < all ? each[i] : all;
    for (int64_t k = 0; k < all; k++)
      if (k < own)
        copy(o, row[k], out, taken++, i);
      else if (rest)
        copy(o, row[k], rest, left++, i);
  }
  mica_free(row);
  if (status != MICA_OK) {
    mica_omniglot_free(out);
    if (rest) mica_omniglot_free(rest);
  }
  return status;
}

/* ---- moved pictures ---- */

typedef struct shifts {
  const mica_stream *inner;
  mica_key key;
  int64_t pixels, epoch, batch;
  mica_tensor *x;
} shifts;

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  shifts *s = ctx;
  s->epoch = epoch;
  s->batch = batch;
  return s->inner->seek(s->inner->ctx, epoch, batch);
}

static mica_status next(void *ctx, mica_batch *out) {
  shifts *s = ctx;
  mica_status status = s->inner->next(s->inner->ctx, out);
  if (status != MICA_OK) return status;
  const mica_shape *shape = mica_tensor_shape(out->x);
  if (!s->x || !mica_shape_equal(mica_tensor_shape(s->x), shape)) {
    mica_tensor_free(s->x);
    s->x = NULL;
    status = mica_tensor_create(MICA_F32, *shape, &s->x);
    if (status != MICA_OK) return status;
  }
  const mica_key key = mica_key_fold(mica_key_fold(s->key, (uint64_t)s->epoch), (uint64_t)s->batch);
  const int64_t h = shape->dim[1], w = shape->dim[2];
  const uint64_t side = 2 * (uint64_t)s->pixels + 1;
  for (int64_t i = 0; i < out->n; i++) {
    const float *from = (const float *)mica_tensor_data(out->x) + i * h * w;
    float *to = (float *)mica_tensor_data(s->x) + i * h * w;
    const int64_t dy = (int64_t)mica_random_below(key, (uint64_t)(2 * i), side) - s->pixels;
    const int64_t dx = (int64_t)mica_random_below(key, (uint64_t)(2 * i + 1), side) - s->pixels;
    for (int64_t y = 0; y < h; y++)
      for (int64_t x = 0; x < w; x++) {
        const int64_t u = y + dy, v = x + dx;
        to[y * w + x] = u >= 0 && u < h && v >= 0 && v < w ? from[u * w + v] : 0;
      }
  }
  s->batch++;
  out->x = s->x;
  return MICA_OK;
}

mica_status mica_omniglot_shifts(const mica_stream *inner, int64_t pixels, uint64_t seed,
                                 mica_stream *out) {
  shifts *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->inner = inner;
  s->pixels = pixels;
  s->key = mica_key_fold_name(mica_key_seed(seed), "shift");
  *out = (mica_stream){s, inner->batches, seek, next};
  return MICA_OK;
}

void mica_omniglot_shifts_free(mica_stream *stream) {
  shifts *s = stream->ctx;
  if (!s) return;
  mica_tensor_free(s->x);
  mica_free(s);
  stream->ctx = NULL;
}
