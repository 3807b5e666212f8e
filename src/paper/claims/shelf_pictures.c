/* See shelf_pictures.h. */
#include "paper/claims/shelf_pictures.h"

#include "base/file.h"
#include "paper/claims/digits.h"

#include <mica/image.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mica_shelf_free(mica_shelf_set *set) {
  mica_tensor_free(set->pictures);
  mica_free(set->label);
  *set = (mica_shelf_set){0};
}

static mica_status room(int64_t n, int64_t h, int64_t w, int64_t c, mica_shelf_set *out) {
  *out = (mica_shelf_set){.n = n};
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(n, h, w, c), &out->pictures);
  out->label = mica_calloc((size_t)n + 1, sizeof *out->label);
  return status == MICA_OK && !out->label ? MICA_ERR_MEMORY : status;
}

static int64_t count_of(const char *classes) {
  int64_t n = 1;
  for (const char *at = classes; *at; at++) n += *at == ',';
  return n;
}

/* ---- drawing ---- */

mica_status mica_shelf_draw(const mica_claim_images *from, mica_key key, const char *classes,
                            int64_t each, int64_t skip, mica_shelf_set *out) {
  const int64_t count = count_of(classes), size = from->height * from->width * from->channels;
  int64_t *order = mica_malloc((size_t)from->n * sizeof *order);
  mica_status status = room(count * each, from->height, from->width, from->channels, out);
  if (status == MICA_OK && !order) status = MICA_ERR_MEMORY;
  out->classes = count;
  for (int64_t c = 0; c < count && status == MICA_OK; c++) {
    const int64_t wanted = strtoll(classes, NULL, 10);
    int64_t seen = 0;
    classes += strcspn(classes, ",") + 1;
    mica_random_permutation(mica_key_fold(key, (uint64_t)wanted), from->n, order);
    for (int64_t i = 0; i < from->n && seen < skip + each; i++) {
      if (from->labels[order[i]] != wanted || seen++ < skip) continue;
      const int64_t to = c * each + seen - skip - 1;
      memcpy((uint8_t *)mica_tensor_data(out->pictures) + to * size, from->pixels + order[i] * size,
             (size_t)size);
      out->label[to] = c;
    }
    if (seen < skip + each)
      status = mica_fail(MICA_ERR_INVALID, "%lld pictures wanted of class %lld, there are %lld",
                         (long long)(skip + each), (long long)wanted, (long long)seen);
  }
  mica_free(order);
  if (status != MICA_OK) mica_shelf_free(out);
  return status;
}

/* ---- sources ---- */

void mica_shelf_images_free(mica_claim_images *images) {
  mica_free((void *)(uintptr_t)images->pixels);
  mica_free((void *)(uintptr_t)images->labels);
  *images = (mica_claim_images){0};
}

mica_status mica_shelf_archive(const char *data, const char *file, const mica_archived *each) {
  char *folder = mica_claim_find_data(data);
  if (!folder) return mica_last_status();
  char *path = mica_path_join(folder, file);
  const mica_status status = path ? mica_archived_pictures(path, each) : MICA_ERR_MEMORY;
  mica_free(folder);
  mica_free(path);
  return status;
}

mica_status mica_shelf_digits(mica_claim_cell *cell, mica_claim_images *out) {
  enum { SIDE = 28 };
  mica_tensor *x = NULL, *label = NULL;
  *out = (mica_claim_images){0};
  mica_status status = mica_claim_digits(cell, SIDE, &x, &label);
  const int64_t n = status == MICA_OK ? mica_tensor_dim(x, 0) : 0;
  uint8_t *pixels = mica_malloc((size_t)(n * SIDE * SIDE) + 1);
  int64_t *labels = mica_malloc((size_t)(n + 1) * sizeof *labels);
  if (status == MICA_OK && (!pixels || !labels)) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const float *from = mica_tensor_data(x);
    for (int64_t i = 0; i < n * SIDE * SIDE; i++) pixels[i] = (uint8_t)lroundf(255 * from[i]);
    memcpy(labels, mica_tensor_data(label), (size_t)n * sizeof *labels);
    *out = (mica_claim_images){n, SIDE, SIDE, 1, 10, pixels, labels};
  } else {
    mica_free(pixels);
    mica_free(labels);
  }
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

enum { CIFAR_SIDE = 32, CIFAR_CLASSES = 10, CIFAR_BYTES = CIFAR_SIDE * CIFAR_SIDE * 3 };
static const char *const cifar_class[CIFAR_CLASSES] = {
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};

typedef struct reading {
  uint8_t *pixels;
  int64_t *labels;
  int64_t n, most, found[CIFAR_CLASSES];
} reading;

/* train/CLASS/NUMBER.jpg */
static int class_of(const char *name) {
  const char *folder = strchr(name, '/');
  for (int c = 0; folder && c < CIFAR_CLASSES; c++) {
    const size_t length = strlen(cifar_class[c]);
    if (strncmp(folder + 1, cifar_class[c], length) == 0 && folder[1 + length] == '/') return c;
  }
  return -1;
}

static bool wanted(void *ctx, const char *name) {
  const reading *r = ctx;
  const int c = class_of(name);
  return c >= 0 && r->found[c] < r->most;
}

static mica_status take(void *ctx, const char *name, const mica_tensor *picture) {
  reading *r = ctx;
  const int c = class_of(name);
  if (mica_tensor_dim(picture, 0) != CIFAR_SIDE || mica_tensor_dim(picture, 1) != CIFAR_SIDE ||
      mica_tensor_dim(picture, 2) != 3)
    return mica_fail(MICA_ERR_FORMAT, "%s: expected a colour picture of 32x32", name);
  memcpy(r->pixels + r->n * CIFAR_BYTES, mica_tensor_data(picture), CIFAR_BYTES);
  r->labels[r->n++] = c;
  r->found[c]++;
  return MICA_OK;
}

mica_status mica_shelf_cifar(int64_t most, mica_claim_images *out) {
  reading r = {.most = most};
  *out = (mica_claim_images){0};
  r.pixels = mica_malloc((size_t)(most * CIFAR_CLASSES * CIFAR_BYTES));
  r.labels = mica_malloc((size_t)(most * CIFAR_CLASSES) * sizeof *r.labels);
  const mica_archived each = {wanted, take, &r};
  mica_status status =
      r.pixels && r.labels
          ? mica_shelf_archive("cifar-10", "cifar10-train2500perclass-jpg.tar.gz", &each)
          : MICA_ERR_MEMORY;
  *out = (mica_claim_images){r.n, CIFAR_SIDE, CIFAR_SIDE, 3, CIFAR_CLASSES, r.pixels, r.labels};
  if (status != MICA_OK) mica_shelf_images_free(out);
  return status;
}

/* ---- pictures ---- */

static mica_status one(const mica_shelf_set *set, int64_t i, mica_tensor **out) {
  const int64_t h = mica_tensor_dim(set->pictures, 1), w = mica_tensor_dim(set->pictures, 2);
  const int64_t c = mica_tensor_dim(set->pictures, 3);
  const mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(h, w, c), out);
  if (status == MICA_OK)
    memcpy(mica_tensor_data(*out), (const uint8_t *)mica_tensor_data(set->pictures) + i * h * w * c,
           (size_t)(h * w * c));
  return status;
}

/* Pixel p of the result is what the picture has at R(-a) (p - centre - shift) / scale + centre. */
static void similarity(mica_key key, double height, double width, double m[6]) {
  const double scale = 0.6 + 0.35 * mica_random_uniform(key, 0);
  const double a = 0.35 * (2 * mica_random_uniform(key, 1) - 1);
  const double down = (1 - scale) * height * (mica_random_uniform(key, 2) - 0.5);
  const double right = (1 - scale) * width * (mica_random_uniform(key, 3) - 0.5);
  const double y = (height - 1) / 2, x = (width - 1) / 2;
  const double c = cos(a) / scale, s = sin(a) / scale;
  m[0] = c;
  m[1] = s;
  m[2] = y - c * (y + down) - s * (x + right);
  m[3] = -s;
  m[4] = c;
  m[5] = x + s * (y + down) - c * (x + right);
}

mica_status mica_shelf_warp(mica_key key, mica_shelf_set *set) {
  const int64_t h = mica_tensor_dim(set->pictures, 1), w = mica_tensor_dim(set->pictures, 2);
  const int64_t size = h * w * mica_tensor_dim(set->pictures, 3);
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < set->n && status == MICA_OK; i++) {
    mica_tensor *picture = NULL, *moved = NULL;
    double m[6];
    similarity(mica_key_fold(key, (uint64_t)i), (double)h, (double)w, m);
    status = one(set, i, &picture);
    if (status == MICA_OK) status = mica_picture_affine(picture, m, 0, &moved);
    if (status == MICA_OK)
      memcpy((uint8_t *)mica_tensor_data(set->pictures) + i * size, mica_tensor_data(moved),
             (size_t)size);
    mica_tensor_free(picture);
    mica_tensor_free(moved);
  }
  return status;
}

static void to_float(const uint8_t *from, int64_t n, float *to) {
  for (int64_t i = 0; i < n; i++) to[i] = (float)from[i] / 255.0f;
}

mica_status mica_shelf_input(const mica_shelf_set *set, mica_tensor **out) {
  const mica_status status = mica_tensor_create(MICA_F32, *mica_tensor_shape(set->pictures), out);
  if (status == MICA_OK)
    to_float(mica_tensor_data(set->pictures), mica_tensor_count(*out), mica_tensor_data(*out));
  return status;
}

mica_status mica_shelf_labels(const mica_shelf_set *set, mica_tensor **out) {
  const mica_status status = mica_tensor_create(MICA_I64, MICA_SHAPE(set->n), out);
  if (status == MICA_OK)
    memcpy(mica_tensor_data(*out), set->label, (size_t)set->n * sizeof(int64_t));
  return status;
}

/* ---- descriptions ---- */

/* View v of picture i at the size of pictures, float32. */
static mica_status view_of(const mica_shelf_set *set, int64_t i, int v, float *to) {
  const int64_t h = mica_tensor_dim(set->pictures, 1), w = mica_tensor_dim(set->pictures, 2);
  mica_tensor *picture = NULL, *view = NULL, *sized = NULL;
  mica_status status = one(set, i, &picture);
  if (status == MICA_OK) status = mica_picture_view(picture, NULL, v, &view);
  if (status == MICA_OK) status = mica_image_resize(view, h, w, MICA_FILTER_BILINEAR, &sized);
  if (status == MICA_OK) to_float(mica_tensor_data(sized), mica_tensor_count(sized), to);
  mica_tensor_free(picture);
  mica_tensor_free(view);
  mica_tensor_free(sized);
  return status;
}

/* Pictures x [n, H, W, C] described one by one. */
static mica_status describe(const mica_engine *engine, const mica_shelf_look *look, mica_tensor *x,
                            mica_tensor **out) {
  const int64_t n = mica_tensor_dim(x, 0);
  if (look->net) return mica_claim_features(look->net, x, out);
  const mica_view v = mica_tensor_view(x);
  if (!look->cell) {
    const mica_view rows = mica_view_of(v.data, MICA_F32, MICA_SHAPE(n, mica_tensor_count(x) / n));
    return mica_tensor_from_view(&rows, MICA_F32, out);
  }
  mica_hog_options o = MICA_HOG_OPTIONS;
  o.cell = look->cell;
  o.block = look->block;
  const int64_t width = mica_hog_width(&o, mica_tensor_dim(x, 1), mica_tensor_dim(x, 2));
  const mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, width), out);
  return status == MICA_OK ? mica_hog(engine, &o, &v, mica_tensor_data(*out)) : status;
}

/* Some pictures at a time, so that the views of all are never there together. */
static mica_status describe_views(const mica_engine *engine, const mica_shelf_look *look,
                                  const mica_shelf_set *set, int64_t from, int64_t n,
                                  mica_tensor **rows) {
  mica_shape shape = *mica_tensor_shape(set->pictures);
  const int64_t size = shape.dim[1] * shape.dim[2] * shape.dim[3];
  mica_tensor *x = NULL;
  shape.dim[0] = n * MICA_PICTURE_VIEWS;
  mica_status status = mica_tensor_create(MICA_F32, shape, &x);
  for (int64_t k = 0; k < n * MICA_PICTURE_VIEWS && status == MICA_OK; k++)
    status = view_of(set, from + k / MICA_PICTURE_VIEWS, (int)(k % MICA_PICTURE_VIEWS),
                     (float *)mica_tensor_data(x) + k * size);
  if (status == MICA_OK) status = describe(engine, look, x, rows);
  mica_tensor_free(x);
  return status;
}

mica_status mica_shelf_describe(const mica_engine *engine, const mica_shelf_look *look,
                                const mica_shelf_set *set, mica_tensor **out) {
  enum { PIECE = 64 };
  mica_status status = MICA_OK;
  *out = NULL;
  if (!look->views) {
    mica_tensor *x = NULL;
    status = mica_shelf_input(set, &x);
    if (status == MICA_OK) status = describe(engine, look, x, out);
    mica_tensor_free(x);
    return status;
  }
  for (int64_t from = 0; from < set->n && status == MICA_OK; from += PIECE) {
    const int64_t n = set->n - from < PIECE ? set->n - from : PIECE;
    mica_tensor *rows = NULL;
    status = describe_views(engine, look, set, from, n, &rows);
    const int64_t width = status == MICA_OK ? mica_tensor_count(rows) / n : 0;
    if (status == MICA_OK && !*out)
      status = mica_tensor_create(MICA_F32, MICA_SHAPE(set->n, width), out);
    if (status == MICA_OK)
      memcpy((float *)mica_tensor_data(*out) + from * width, mica_tensor_data(rows),
             (size_t)(n * width) * sizeof(float));
    mica_tensor_free(rows);
  }
  return status;
}
