/* Folders of pictures: DIR/CLASS/picture or DIR/{train,val,test}/CLASS/picture. Nothing below that
 * is looked at, so a link that leads back up ends there. */
#include "base/file.h"
#include "data/dataset.h"

#include <string.h>

/* The pictures of one class folder, DIR/below. */
static mica_status list_pictures(mica_dataset *ds, const char *below, int64_t label,
                                 mica_part part) {
  char *path = *below ? mica_path_join(ds->path, below) : mica_strdup(ds->path), **files = NULL;
  int64_t n = 0, before = ds->n;
  mica_status status = path ? mica_folder_names(path, &files, &n) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    if (!mica_is_picture_name(files[i])) continue;
    mica_dataset_item item = {.row = -1, .label = label, .part = (uint8_t)part};
    char *name = *below ? mica_path_join(below, files[i]) : mica_strdup(files[i]);
    status = name ? mica_dataset_name_add(ds, name, &item.name) : MICA_ERR_MEMORY;
    if (status == MICA_OK) status = mica_dataset_item_add(ds, item);
    mica_free(name);
  }
  if (status == MICA_OK && ds->n == before) {
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: a class folder without pictures", path);
    if (!ds->o.strict) {
      mica_dataset_skip(ds);
      status = MICA_OK;
    }
  }
  mica_names_free(files, n);
  mica_free(path);
  return status;
}

/* The class folders below `below` ("" or "train"). */
static mica_status list_classes(mica_dataset *ds, const char *below, mica_part part) {
  char *root = *below ? mica_path_join(ds->path, below) : mica_strdup(ds->path), **folders = NULL;
  int64_t n = 0;
  mica_status status = root ? mica_folder_names(root, &folders, &n) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const char *name = folders[i];
    char *folder = mica_path_join(root, name);
    char *inner = *below ? mica_path_join(below, name) : mica_strdup(name);
    const int64_t label = mica_dataset_class_find(ds, name, strlen(name)), before = ds->n;
    if (!folder || !inner)
      status = MICA_ERR_MEMORY;
    else if (mica_is_folder(folder) && (label >= 0 || !ds->chosen)) {
      status = list_pictures(ds, inner, label >= 0 ? label : ds->n_classes, part);
      if (status == MICA_OK && label < 0 && ds->n > before)
        status = mica_dataset_class_add(ds, name, strlen(name));
    }
    mica_free(folder);
    mica_free(inner);
  }
  mica_names_free(folders, n);
  mica_free(root);
  return status;
}

/* Pictures without folders around them: one class, of the folder's name. */
static mica_status list_flat(mica_dataset *ds) {
  size_t n = strlen(ds->path);
  while (n > 1 && ds->path[n - 1] == '/') n--;
  size_t begin = n;
  while (begin > 0 && ds->path[begin - 1] != '/') begin--;
  bool any = false;
  char **files = NULL;
  int64_t count = 0;
  mica_status status = mica_folder_names(ds->path, &files, &count);
  for (int64_t i = 0; i < count && status == MICA_OK; i++) any |= mica_is_picture_name(files[i]);
  mica_names_free(files, count);
  if (status != MICA_OK || !any) return status;
  status = mica_dataset_class_add(ds, ds->path + begin, n - begin);
  return status == MICA_OK ? list_pictures(ds, "", 0, MICA_PART_TRAIN) : status;
}

mica_status mica_dataset_open_folder(mica_dataset *ds) {
  static const struct {
    const char *name;
    mica_part part;
  } parts[] = {{"train", MICA_PART_TRAIN}, {"val", MICA_PART_VALIDATION}, {"test", MICA_PART_TEST}};
  mica_dataset_default_size(ds, 32, 32, 3);
  ds->folder = mica_strdup(ds->path);
  char *train = mica_path_join(ds->path, "train");
  mica_status status = train && ds->folder ? MICA_OK : MICA_ERR_MEMORY;
  const bool apart = status == MICA_OK && mica_is_folder(train);
  mica_free(train);
  for (int k = 0; k < 3 && apart && status == MICA_OK; k++) {
    char *folder = mica_path_join(ds->path, parts[k].name);
    if (!folder)
      status = MICA_ERR_MEMORY;
    else if (mica_is_folder(folder))
      status = list_classes(ds, parts[k].name, parts[k].part);
    mica_free(folder);
  }
  if (!apart && status == MICA_OK) status = list_classes(ds, "", MICA_PART_TRAIN);
  if (!apart && status == MICA_OK && !ds->n && !ds->chosen) status = list_flat(ds);
  if (status == MICA_OK && !ds->n)
    status = mica_fail(
        MICA_ERR_NOT_FOUND,
        "%s: no pictures: expected CLASS/picture.{png,jpg,ppm}, {train,val,test}/CLASS/picture, "
        "MNIST's four IDX files or CIFAR's binary files",
        ds->path);
  return status;
}
