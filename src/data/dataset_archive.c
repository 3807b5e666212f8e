/* Pictures and labels as arrays in an npz or safetensors file. */
#include "data/dataset.h"

#include "base/file.h"

#include <mica/data.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The names that pictures and their labels go by, for each part; the first pair that is there. */
static const struct {
  const char *images, *labels, *name;
  mica_part part;
} keys[] = {
    {"train_images", "train_labels", "train", MICA_PART_TRAIN},
    {"x_train", "y_train", "train", MICA_PART_TRAIN},
    {"X_train", "y_train", "train", MICA_PART_TRAIN},
    {"images", "labels", "item", MICA_PART_TRAIN},
    {"x", "y", "item", MICA_PART_TRAIN},
    {"X", "y", "item", MICA_PART_TRAIN},
    {"image", "label", "item", MICA_PART_TRAIN},
    {"val_images", "val_labels", "val", MICA_PART_VALIDATION},
    {"x_val", "y_val", "val", MICA_PART_VALIDATION},
    {"X_val", "y_val", "val", MICA_PART_VALIDATION},
    {"test_images", "test_labels", "test", MICA_PART_TEST},
    {"x_test", "y_test", "test", MICA_PART_TEST},
    {"X_test", "y_test", "test", MICA_PART_TEST},
};

/* ---- elements ---- */

/* Any numbers as uint8: see the header for the rules. Replaces *t. */
static mica_status to_bytes(const char *path, const char *name, mica_tensor **t) {
  const mica_dtype dtype = mica_tensor_dtype(*t);
  if (dtype == MICA_U8) return MICA_OK;
  const int64_t n = mica_tensor_count(*t), rows = mica_tensor_dim(*t, 0);
  mica_tensor *bytes = NULL;
  double least = 0, most = 0;
  for (int64_t i = 0; i < n; i++) {
    const double v = mica_tensor_get(*t, i);
    if (!isfinite(v))
      return mica_fail(MICA_ERR_FORMAT, "%s: %s: item %lld has a value that is not finite", path,
                       name, (long long)(i / (n / rows)));
    if (v < least) least = v;
    if (v > most) most = v;
  }
  if (least < 0 || most > 255)
    return mica_fail(MICA_ERR_FORMAT, "%s: %s: values from %g to %g, expected 0 to 1 or 0 to 255",
                     path, name, least, most);
  const double scale = dtype == MICA_BOOL || (mica_dtype_is_float(dtype) && most <= 1) ? 255 : 1;
  mica_status status = mica_tensor_create(MICA_U8, *mica_tensor_shape(*t), &bytes);
  if (status != MICA_OK) return status;
  uint8_t *to = mica_tensor_data(bytes);
  for (int64_t i = 0; i < n; i++) to[i] = (uint8_t)(mica_tensor_get(*t, i) * scale + 0.5);
  mica_tensor_free(*t);
  *t = bytes;
  return MICA_OK;
}

/* [N,C,H,W] to [N,H,W,C]. Replaces *t. */
static mica_status channels_last(mica_tensor **t) {
  const int64_t *d = mica_tensor_shape(*t)->dim, n = d[0], c = d[1], pixels = d[2] * d[3];
  mica_tensor *last;
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(n, d[2], d[3], c), &last);
  if (status != MICA_OK) return status;
  const uint8_t *from = mica_tensor_data(*t);
  uint8_t *to = mica_tensor_data(last);
  for (int64_t i = 0; i < n; i++, from += c * pixels)
    for (int64_t p = 0; p < pixels; p++)
      for (int64_t k = 0; k < c; k++) *to++ = from[k * pixels + p];
  mica_tensor_free(*t);
  *t = last;
  return MICA_OK;
}

static bool is_channels(int64_t n) {
  return n == 1 || n == 3;
}

static mica_status read_images(const mica_archive *a, int64_t k, mica_tensor **out) {
  const char *path = mica_archive_path(a), *name = mica_archive_name(a, k);
  const mica_shape s = *mica_archive_shape(a, k);
  const int64_t *d = s.dim, count = mica_shape_count(&s);
  const bool last = s.rank == 4 && is_channels(d[3]);
  const bool first = s.rank == 4 && !last && is_channels(d[1]);
  char text[96];
  *out = NULL;
  if (!(s.rank == 3 || last || first) || count < 1)
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: %s has the shape %s, expected pictures [N,H,W], [N,H,W,C] or [N,C,H,W] of "
        "1 or 3 channels",
        path, name, mica_shape_text(&s, text, sizeof text));
  if (count > MICA_DATASET_BYTES_MAX)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: %s: %lld samples, the limit is 2^33", path, name,
                     (long long)count);
  mica_status status = mica_archive_read(a, k, out);
  if (status == MICA_OK) status = to_bytes(path, name, out);
  if (status == MICA_OK && first) status = channels_last(out);
  if (status == MICA_OK && s.rank == 3) {
    mica_tensor *grey;
    status = mica_tensor_reshape(*out, MICA_SHAPE(d[0], d[1], d[2], 1), &grey);
    if (status == MICA_OK) {
      mica_tensor_free(*out);
      *out = grey;
    }
  }
  if (status != MICA_OK) {
    mica_tensor_free(*out);
    *out = NULL;
  }
  return status;
}

/* Whole numbers, one for each of n pictures. */
static mica_status read_labels(const mica_archive *a, int64_t k, int64_t n, mica_tensor **out) {
  const mica_shape s = *mica_archive_shape(a, k);
  const mica_dtype dtype = mica_archive_dtype(a, k);
  char text[96];
  *out = NULL;
  if (mica_dtype_is_float(dtype) || dtype == MICA_BOOL || s.rank < 1 || s.rank > 2 ||
      s.dim[0] != n || (s.rank == 2 && s.dim[1] != 1))
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: %s is %s %s, expected integers [%lld], a label a picture",
                     mica_archive_path(a), mica_archive_name(a, k), mica_dtype_name(dtype),
                     mica_shape_text(&s, text, sizeof text), (long long)n);
  mica_tensor *any;
  mica_status status = mica_archive_read(a, k, &any);
  if (status != MICA_OK) return status;
  const mica_view view = mica_tensor_view(any);
  status = mica_tensor_from_view(&view, MICA_I64, out);
  mica_tensor_free(any);
  return status;
}

/* ---- the file ---- */

static mica_status add_part(mica_dataset *ds, const mica_archive *a, int64_t images, int64_t labels,
                            const char *name, mica_part part) {
  mica_tensor *x = NULL, *y = NULL;
  mica_dataset_item item = {.part = (uint8_t)part};
  mica_status status = read_images(a, images, &x);
  const int64_t n = status == MICA_OK ? mica_tensor_dim(x, 0) : 0;
  if (status == MICA_OK) status = read_labels(a, labels, n, &y);
  if (status == MICA_OK) status = mica_dataset_name_add(ds, name, &item.name);
  if (status == MICA_OK) {
    const int64_t *d = mica_tensor_shape(x)->dim;
    mica_dataset_default_size(ds, d[1], d[2], d[3]);
    status = mica_dataset_block_add(ds, x, &item.block);
    x = NULL;
  }
  for (; item.row < n && status == MICA_OK; item.row++) {
    item.label = ((const int64_t *)mica_tensor_data(y))[item.row];
    status = mica_dataset_item_add(ds, item);
  }
  mica_tensor_free(x);
  mica_tensor_free(y);
  return status;
}

static mica_status add_parts(mica_dataset *ds, const mica_archive *a) {
  bool done[MICA_PART_COUNT] = {false};
  for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
    const int64_t images = mica_archive_find(a, keys[k].images);
    const int64_t labels = mica_archive_find(a, keys[k].labels);
    if (done[keys[k].part] || images < 0 || labels < 0) continue;
    done[keys[k].part] = true;
    const mica_status status = add_part(ds, a, images, labels, keys[k].name, keys[k].part);
    if (status != MICA_OK) return status;
  }
  if (ds->n) return MICA_OK;
  mica_bytes all = {0};
  for (int64_t i = 0; i < mica_archive_count(a) && i < 20; i++)
    mica_bytes_printf(&all, "%s%.60s", i ? ", " : "", mica_archive_name(a, i));
  const mica_status status =
      mica_fail(MICA_ERR_NOT_FOUND,
                "%s: no pictures with labels: expected images and labels, x and y, train_images "
                "and train_labels, or x_train and y_train; there are: %s",
                ds->path, all.data ? all.data : "none");
  mica_bytes_free(&all);
  return status;
}

mica_status mica_dataset_open_archive(mica_dataset *ds) {
  mica_archive *a;
  mica_status status = mica_archive_open(ds->path, &a);
  if (status != MICA_OK) return status;
  status = add_parts(ds, a);
  mica_archive_close(a);
  if (status != MICA_OK) return status;
  const char *slash = strrchr(ds->path, '/');
  const size_t folder = slash ? (size_t)(slash - ds->path) + 1 : 0;
  mica_bytes names = {0};
  mica_bytes_append(&names, ds->path, folder);
  mica_bytes_text(&names, "classes.txt");
  status = names.status == MICA_OK ? mica_dataset_number_classes(ds, names.data) : names.status;
  mica_bytes_free(&names);
  return status;
}
