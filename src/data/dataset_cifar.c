/* CIFAR-10 and CIFAR-100, the binary version (Krizhevsky 2009): records of one label (CIFAR-100:
 * the coarse and the fine one) and 32x32 pixels, all red ones, then green, then blue. */
#include "base/file.h"
#include "data/dataset.h"
#include "data/input.h"

#include <stdio.h>
#include <string.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE };

typedef struct kind {
  mica_part part;
  int labels, classes; /* bytes before the pixels; the last one counts */
  const char *names;
} kind;

/* What a file of this name holds; false for none of CIFAR's. */
static bool kind_of(const char *name, kind *out) {
  static const char *const tens[] = {"data_batch", "test_batch"}, *const hundreds[] = {"train.bin",
                                                                                       "test.bin"};
  const char *end = strstr(name, ".bin");
  if (!end || (strcmp(end, ".bin") != 0 && strcmp(end, ".bin.gz") != 0)) return false;
  for (int k = 0; k < 2; k++) {
    const mica_part part = k ? MICA_PART_TEST : MICA_PART_TRAIN;
    *out = (kind){part, 1, 10, "batches.meta.txt"};
    if (strncmp(name, tens[k], strlen(tens[k])) == 0) return true;
    *out = (kind){part, 2, 100, "fine_label_names.txt"};
    if (strncmp(name, hundreds[k], strlen(hundreds[k])) == 0) return true;
  }
  return false;
}

mica_status mica_dataset_is_cifar(const char *folder, bool *out) {
  char **names;
  int64_t n;
  kind k;
  *out = false;
  const mica_status status = mica_folder_names(folder, &names, &n);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < n; i++) *out |= kind_of(names[i], &k);
  mica_names_free(names, n);
  return MICA_OK;
}

/* Planes to pixels. */
static void interleave(const uint8_t *from, uint8_t *to) {
  for (int p = 0; p < PLANE; p++)
    for (int c = 0; c < 3; c++) *to++ = from[c * PLANE + p];
}

static mica_status open_file(mica_dataset *ds, const char *name, const kind *k) {
  char *path = mica_path_join(ds->path, name), stem[256];
  mica_input *in = NULL;
  uint8_t *bytes = NULL;
  size_t size = 0;
  mica_tensor *block = NULL;
  mica_status status = path ? mica_input_open(path, &in) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_input_rest(in, (size_t)MICA_DATASET_BYTES_MAX, &bytes, &size);
  mica_input_close(in);
  const size_t record = (size_t)k->labels + PIXELS;
  const int64_t n = (int64_t)(size / record);
  if (status == MICA_OK && (!n || size % record))
    status = mica_fail(MICA_ERR_FORMAT, "%s: %zu bytes, expected records of %zu (CIFAR-%d)", path,
                       size, record, k->classes);
  if (status == MICA_OK) status = mica_tensor_create(MICA_U8, MICA_SHAPE(n, SIDE, SIDE, 3), &block);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const uint8_t *from = bytes + (size_t)i * record + k->labels;
    if (from[-1] >= k->classes)
      status = mica_fail(MICA_ERR_FORMAT, "%s: record %lld: label %d, expected 0 to %d", path,
                         (long long)i, from[-1], k->classes - 1);
    interleave(from, (uint8_t *)mica_tensor_data(block) + i * PIXELS);
  }
  /* Packed or not, an item keeps its name. */
  snprintf(stem, sizeof stem, "%.*s", (int)(strstr(name, ".bin") + 4 - name), name);
  mica_dataset_item item = {.part = (uint8_t)k->part};
  if (status == MICA_OK) status = mica_dataset_name_add(ds, stem, &item.name);
  if (status == MICA_OK) {
    status = mica_dataset_block_add(ds, block, &item.block);
    block = NULL;
  }
  for (; item.row < n && status == MICA_OK; item.row++) {
    item.label = bytes[(size_t)item.row * record + (size_t)k->labels - 1];
    status = mica_dataset_item_add(ds, item);
  }
  mica_tensor_free(block);
  mica_free(bytes);
  mica_free(path);
  return status;
}

mica_status mica_dataset_open_cifar(mica_dataset *ds) {
  char **files = NULL, *names = NULL;
  int64_t n = 0;
  int classes = 0;
  kind k = {0};
  mica_status status = mica_folder_names(ds->path, &files, &n);
  mica_dataset_default_size(ds, SIDE, SIDE, 3);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    kind of;
    if (!kind_of(files[i], &of)) continue;
    k = of;
    if (classes && classes != k.classes)
      status = mica_fail(MICA_ERR_FORMAT, "%s: files of CIFAR-10 and of CIFAR-100 in one folder",
                         ds->path);
    classes = k.classes;
    if (status == MICA_OK) status = open_file(ds, files[i], &k);
  }
  mica_names_free(files, n);
  if (status == MICA_OK && !(names = mica_path_join(ds->path, k.names))) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_dataset_number_classes(ds, names);
  mica_free(names);
  return status;
}
