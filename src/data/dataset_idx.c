/* A folder with MNIST's four IDX files, packed or not; classes.txt names the classes. */
#include "base/file.h"
#include "data/dataset.h"

#include <stdio.h>

/* images, labels of each part */
static const char *const files[2][2] = {{"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
                                        {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}};
static const struct {
  const char *name;
  mica_part part;
} parts[2] = {{"train", MICA_PART_TRAIN}, {"t10k", MICA_PART_TEST}};

/* The file of this name, packed or not; NULL when neither is there. */
static mica_status path_of(const char *folder, const char *name, char **out) {
  char packed[64];
  snprintf(packed, sizeof packed, "%s.gz", name);
  for (int k = 0; k < 2; k++) {
    *out = mica_path_join(folder, k ? packed : name);
    if (!*out) return MICA_ERR_MEMORY;
    if (mica_file_exists(*out)) return MICA_OK;
    mica_free(*out);
    *out = NULL;
  }
  return MICA_OK;
}

/* Are some of part k's two files there? */
static mica_status has_part(const char *folder, int k, bool *out) {
  *out = false;
  for (int i = 0; i < 2 && !*out; i++) {
    char *path;
    const mica_status status = path_of(folder, files[k][i], &path);
    if (status != MICA_OK) return status;
    *out = path != NULL;
    mica_free(path);
  }
  return MICA_OK;
}

mica_status mica_dataset_is_idx(const char *folder, bool *out) {
  const mica_status status = has_part(folder, 0, out);
  return status == MICA_OK && !*out ? has_part(folder, 1, out) : status;
}

static mica_status read_file(const mica_dataset *ds, const char *name, mica_tensor **out) {
  char *path;
  mica_status status = path_of(ds->path, name, &path);
  if (status == MICA_OK)
    status = path ? mica_idx_read(path, out)
                  : mica_fail(MICA_ERR_NOT_FOUND, "%s: no %s or %s.gz", ds->path, name, name);
  mica_free(path);
  return status;
}

static mica_status open_part(mica_dataset *ds, int k) {
  mica_tensor *x = NULL, *y = NULL, *block = NULL;
  mica_status status = read_file(ds, files[k][0], &x);
  if (status == MICA_OK) status = read_file(ds, files[k][1], &y);
  const mica_shape *s = status == MICA_OK ? mica_tensor_shape(x) : NULL;
  char text[96];
  if (s && (mica_tensor_dtype(x) != MICA_U8 || s->rank != 3 || s->dim[1] < 1 || s->dim[2] < 1))
    status =
        mica_fail(MICA_ERR_FORMAT, "%s: %s: %s %s, expected uint8 [N,H,W]", ds->path, files[k][0],
                  mica_dtype_name(mica_tensor_dtype(x)), mica_shape_text(s, text, sizeof text));
  else if (s && (mica_tensor_dtype(y) != MICA_U8 || mica_tensor_shape(y)->rank != 1 ||
                 mica_tensor_dim(y, 0) != s->dim[0]))
    status =
        mica_fail(MICA_ERR_FORMAT, "%s: %s: %s %s, expected uint8 [%lld], a label an image",
                  ds->path, files[k][1], mica_dtype_name(mica_tensor_dtype(y)),
                  mica_shape_text(mica_tensor_shape(y), text, sizeof text), (long long)s->dim[0]);
  mica_dataset_item item = {.part = (uint8_t)parts[k].part};
  if (status == MICA_OK) {
    mica_dataset_default_size(ds, s->dim[1], s->dim[2], 1);
    status = mica_tensor_reshape(x, MICA_SHAPE(s->dim[0], s->dim[1], s->dim[2], 1), &block);
  }
  if (status == MICA_OK) status = mica_dataset_name_add(ds, parts[k].name, &item.name);
  if (status == MICA_OK) {
    status = mica_dataset_block_add(ds, block, &item.block);
    block = NULL;
  }
  for (; status == MICA_OK && item.row < s->dim[0]; item.row++) {
    item.label = ((const uint8_t *)mica_tensor_data(y))[item.row];
    status = mica_dataset_item_add(ds, item);
  }
  mica_tensor_free(block);
  mica_tensor_free(x);
  mica_tensor_free(y);
  return status;
}

mica_status mica_dataset_open_idx(mica_dataset *ds) {
  bool test;
  mica_status status = open_part(ds, 0);
  if (status == MICA_OK) status = has_part(ds->path, 1, &test);
  if (status == MICA_OK && test) status = open_part(ds, 1);
  char *names = status == MICA_OK ? mica_path_join(ds->path, "classes.txt") : NULL;
  if (status == MICA_OK) status = names ? mica_dataset_number_classes(ds, names) : MICA_ERR_MEMORY;
  mica_free(names);
  return status;
}
