/* Data sets in memory: IDX folders and folders of pictures.
 *
 * The validation part is chosen item by item from a hash of its name, so a folder that grows keeps
 * the choice for the items it had; within a class the share is met as nearly as that allows.
 */
#include <mica/dataset.h>

#include "base/buffer.h"
#include "base/file.h"
#include "data/validation_split.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ITEMS_MAX ((int64_t)1 << 33) /* bytes of pixels held */

typedef struct entry {
  char *name; /* below the folder */
  int64_t label;
  mica_part part;
} entry;

struct mica_dataset {
  mica_dataset_options o;
  char *path;
  char **classes;
  int64_t n_classes;
  mica_tensor *images, *labels;
  uint8_t *part;
  entry *entry;
  int64_t n, cap;
  int64_t skipped;
  mica_bytes skipped_text;
};

void mica_dataset_free(mica_dataset *ds) {
  if (!ds) return;
  for (int64_t i = 0; i < ds->n_classes; i++) mica_free(ds->classes[i]);
  if (ds->entry)
    for (int64_t i = 0; i < ds->n; i++) mica_free(ds->entry[i].name);
  mica_free(ds->entry);
  mica_free(ds->classes);
  mica_free(ds->part);
  mica_free(ds->path);
  mica_tensor_free(ds->images);
  mica_tensor_free(ds->labels);
  mica_bytes_free(&ds->skipped_text);
  mica_free(ds);
}

/* ---- classes ---- */

static int64_t class_find(const mica_dataset *ds, const char *name, size_t length) {
  for (int64_t i = 0; i < ds->n_classes; i++)
    if (strlen(ds->classes[i]) == length && memcmp(ds->classes[i], name, length) == 0) return i;
  return -1;
}

static mica_status class_add(mica_dataset *ds, const char *name, size_t length) {
  char **more = mica_realloc_array(ds->classes, (size_t)ds->n_classes + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  ds->classes = more;
  more[ds->n_classes] = mica_strndup(name, length);
  if (!more[ds->n_classes]) return MICA_ERR_MEMORY;
  ds->n_classes++;
  return MICA_OK;
}

static mica_status classes_asked_for(mica_dataset *ds) {
  for (const char *at = ds->o.classes; at && *at;) {
    const size_t n = strcspn(at, ",");
    if (n) {
      mica_status status = class_add(ds, at, n);
      if (status != MICA_OK) return status;
    }
    at += n + (at[n] == ',');
  }
  return MICA_OK;
}

/* ---- the validation part ---- */

static mica_status hold_out(mica_dataset *ds) {
  for (int64_t i = 0; i < ds->n; i++)
    if (ds->part[i] == MICA_PART_VALIDATION) return MICA_OK;
  if (!(ds->o.validation > 0)) return MICA_OK;
  uint64_t *hash = mica_malloc((size_t)(ds->n ? ds->n : 1) * sizeof *hash);
  if (!hash) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < ds->n; i++) {
    char name[1024];
    mica_dataset_name(ds, i, name, sizeof name);
    /* FNV leaves the high bits of short names poorly mixed. */
    hash[i] = mica_random_bits(mica_key_fold_name(mica_key_seed(0), name), 0);
  }
  const mica_status status = mica_validation_split(ds->n, hash, mica_tensor_data(ds->labels),
                                                   ds->n_classes, ds->o.validation, ds->part);
  mica_free(hash);
  return status;
}

/* ---- IDX ---- */

static const char *const idx_names[4] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

/* The file of this name, packed or not; NULL when neither is there. */
static char *idx_path(const char *folder, const char *name) {
  char packed[64];
  snprintf(packed, sizeof packed, "%s.gz", name);
  for (int k = 0; k < 2; k++) {
    char *path = mica_path_join(folder, k ? packed : name);
    if (path && mica_file_exists(path)) return path;
    mica_free(path);
  }
  return NULL;
}

static mica_status open_idx(mica_dataset *ds) {
  mica_tensor *part[4] = {0};
  mica_status status = MICA_OK;
  for (int k = 0; k < 4 && status == MICA_OK; k++) {
    char *path = idx_path(ds->path, idx_names[k]);
    if (!path && k < 2)
      status =
          mica_fail(MICA_ERR_NOT_FOUND, "%s: no %s or %s.gz", ds->path, idx_names[k], idx_names[k]);
    if (path) status = mica_idx_read(path, &part[k]);
    const mica_shape *s = part[k] ? mica_tensor_shape(part[k]) : NULL;
    if (status == MICA_OK && s &&
        (mica_tensor_dtype(part[k]) != MICA_U8 || s->rank != (k % 2 ? 1 : 3) ||
         (k % 2 && (!part[k - 1] || mica_tensor_dim(part[k - 1], 0) != s->dim[0])) ||
         (k == 2 &&
          (s->dim[1] != mica_tensor_dim(part[0], 1) || s->dim[2] != mica_tensor_dim(part[0], 2)))))
      status =
          mica_fail(MICA_ERR_FORMAT, "%s: %s does not fit the other files", ds->path, idx_names[k]);
    mica_free(path);
  }
  if (status == MICA_OK && !part[3]) {
    mica_tensor_free(part[2]);
    part[2] = NULL;
  }
  /* Class names are the digits, or the ones asked for, which then also choose. */
  int64_t keep = 0;
  int64_t map[256];
  bool seen[256] = {false};
  for (int k = 1; k < 4 && status == MICA_OK; k += 2)
    for (int64_t i = 0; part[k] && i < mica_tensor_count(part[k]); i++)
      seen[((const uint8_t *)mica_tensor_data(part[k]))[i]] = true;
  const bool chosen = ds->o.classes != NULL;
  if (chosen && status == MICA_OK) status = classes_asked_for(ds);
  for (int v = 0; v < 256 && status == MICA_OK; v++) {
    char name[8];
    snprintf(name, sizeof name, "%d", v);
    if (!chosen && seen[v]) status = class_add(ds, name, strlen(name));
    map[v] = class_find(ds, name, strlen(name));
  }
  const int64_t h = status == MICA_OK ? mica_tensor_dim(part[0], 1) : 0;
  const int64_t w = status == MICA_OK ? mica_tensor_dim(part[0], 2) : 0;
  if (status == MICA_OK) {
    for (int k = 1; k < 4; k += 2)
      for (int64_t i = 0; part[k] && i < mica_tensor_count(part[k]); i++)
        keep += map[((const uint8_t *)mica_tensor_data(part[k]))[i]] >= 0;
    ds->o.height = h;
    ds->o.width = w;
    ds->o.channels = 1;
    if (!keep)
      status =
          mica_fail(MICA_ERR_NOT_FOUND, "%s: no item of the classes %s", ds->path, ds->o.classes);
  }
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_U8, MICA_SHAPE(keep, h, w, 1), &ds->images);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(keep), &ds->labels);
  if (status == MICA_OK && !(ds->part = mica_malloc((size_t)keep))) status = MICA_ERR_MEMORY;
  /* The names of items carry their number in the file, kept or not. */
  if (status == MICA_OK && !(ds->entry = mica_calloc((size_t)keep, sizeof *ds->entry)))
    status = MICA_ERR_MEMORY;
  for (int k = 0; k < 4 && status == MICA_OK; k += 2) {
    if (!part[k]) continue;
    const uint8_t *x = mica_tensor_data(part[k]), *y = mica_tensor_data(part[k + 1]);
    for (int64_t i = 0; i < mica_tensor_dim(part[k], 0) && status == MICA_OK; i++) {
      if (map[y[i]] < 0) continue;
      char name[48];
      snprintf(name, sizeof name, "%s:%lld", k ? "t10k" : "train", (long long)i);
      ds->entry[ds->n].name = mica_strdup(name);
      if (!ds->entry[ds->n].name) {
        status = MICA_ERR_MEMORY;
        break;
      }
      memcpy((uint8_t *)mica_tensor_data(ds->images) + ds->n * h * w, x + i * h * w,
             (size_t)(h * w));
      ((int64_t *)mica_tensor_data(ds->labels))[ds->n] = map[y[i]];
      ds->part[ds->n++] = k ? MICA_PART_TEST : MICA_PART_TRAIN;
    }
  }
  for (int k = 0; k < 4; k++) mica_tensor_free(part[k]);
  return status;
}

/* ---- folders of pictures ---- */

/* Names in a folder, sorted, without those that begin with a dot. */
static mica_status list(const char *path, char ***names, int64_t *n) {
  *names = NULL;
  *n = 0;
  DIR *d = opendir(path);
  if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed", path);
  mica_status status = MICA_OK;
  for (struct dirent *e; status == MICA_OK && (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    char **more = mica_realloc_array(*names, (size_t)*n + 1, sizeof *more);
    if (more) {
      *names = more;
      more[*n] = mica_strdup(e->d_name);
    }
    if (!more || !more[*n])
      status = MICA_ERR_MEMORY;
    else
      ++*n;
  }
  closedir(d);
  for (int64_t i = 1; i < *n; i++) { /* insertion is enough: folders come nearly sorted or small */
    char *x = (*names)[i];
    int64_t k = i;
    for (; k > 0 && strcmp((*names)[k - 1], x) > 0; k--) (*names)[k] = (*names)[k - 1];
    (*names)[k] = x;
  }
  return status;
}

static void list_free(char **names, int64_t n) {
  for (int64_t i = 0; i < n; i++) mica_free(names[i]);
  mica_free(names);
}

static bool is_picture(const char *name) {
  static const char *const endings[] = {".png", ".jpg", ".jpeg", ".ppm", ".pgm"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++) {
    size_t k = 0;
    while (dot[k] && endings[i][k] && ((dot[k] | 0x20) == endings[i][k] || dot[k] == endings[i][k]))
      k++;
    if (!dot[k] && !endings[i][k]) return true;
  }
  return false;
}

static mica_status add_entry(mica_dataset *ds, char *name, int64_t label, mica_part part) {
  if (ds->n == ds->cap) {
    const int64_t cap = ds->cap ? ds->cap * 2 : 256;
    entry *more = mica_realloc_array(ds->entry, (size_t)cap, sizeof *more);
    if (!more) {
      mica_free(name);
      return MICA_ERR_MEMORY;
    }
    ds->entry = more;
    ds->cap = cap;
  }
  ds->entry[ds->n++] = (entry){name, label, part};
  return MICA_OK;
}

/* DIR/CLASS/picture below `below` ("" or "train"). */
static mica_status list_classes(mica_dataset *ds, const char *below, mica_part part, bool chosen) {
  char *root = *below ? mica_path_join(ds->path, below) : mica_strdup(ds->path), **folders = NULL;
  int64_t n = 0;
  mica_status status = root ? list(root, &folders, &n) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char *folder = mica_path_join(root, folders[i]), **files = NULL;
    int64_t m = 0, label = class_find(ds, folders[i], strlen(folders[i]));
    if (!folder) status = MICA_ERR_MEMORY;
    if (status == MICA_OK && mica_is_folder(folder) && (label >= 0 || !chosen)) {
      if (label < 0) {
        status = class_add(ds, folders[i], strlen(folders[i]));
        label = ds->n_classes - 1;
      }
      if (status == MICA_OK) status = list(folder, &files, &m);
      for (int64_t k = 0; k < m && status == MICA_OK; k++) {
        if (!is_picture(files[k])) continue;
        const size_t size = strlen(below) + strlen(folders[i]) + strlen(files[k]) + 3;
        char *name = mica_malloc(size);
        if (!name) {
          status = MICA_ERR_MEMORY;
          break;
        }
        snprintf(name, size, "%s%s%s/%s", below, *below ? "/" : "", folders[i], files[k]);
        status = add_entry(ds, name, label, part);
      }
      list_free(files, m);
    }
    mica_free(folder);
  }
  list_free(folders, n);
  mica_free(root);
  return status;
}

/* Decode every picture; those that fail leave the list. */
static mica_status read_pictures(mica_dataset *ds) {
  const int64_t h = ds->o.height, w = ds->o.width, c = ds->o.channels, size = h * w * c;
  if (ds->n > ITEMS_MAX / size)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: %lld pictures of %lldx%lldx%lld do not fit in memory", ds->path,
                     (long long)ds->n, (long long)h, (long long)w, (long long)c);
  mica_tensor *all = NULL;
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(ds->n, h, w, c), &all);
  int64_t kept = 0;
  const int64_t n = ds->n;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char *path = mica_path_join(ds->path, ds->entry[i].name);
    mica_tensor *image = NULL;
    mica_status one = path ? mica_image_read(path, &image) : MICA_ERR_MEMORY;
    if (one == MICA_OK)
      one = mica_image_cover(image, h, w, c, (uint8_t *)mica_tensor_data(all) + kept * size);
    mica_tensor_free(image);
    mica_free(path);
    if (one == MICA_OK) {
      const entry e = ds->entry[i];
      ds->entry[i] = ds->entry[kept];
      ds->entry[kept++] = e;
    } else if (one == MICA_ERR_MEMORY || ds->o.strict) {
      status = one;
    } else if (ds->skipped++ < 100) {
      mica_bytes_printf(&ds->skipped_text, "%s\n", mica_last_error());
    }
  }
  for (int64_t i = kept; i < n && status == MICA_OK; i++) {
    mica_free(ds->entry[i].name);
    ds->n--;
  }
  if (status == MICA_OK && !kept)
    status = mica_fail(MICA_ERR_FORMAT, "%s: none of %lld pictures could be read; the first: %s",
                       ds->path, (long long)n,
                       ds->skipped_text.data ? ds->skipped_text.data : "none there");
  if (status == MICA_OK) status = mica_tensor_slice(all, 0, kept, &ds->images);
  mica_tensor_free(all);
  if (status == MICA_OK) status = mica_tensor_create(MICA_I64, MICA_SHAPE(kept), &ds->labels);
  if (status == MICA_OK && !(ds->part = mica_malloc((size_t)kept))) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < kept && status == MICA_OK; i++) {
    ((int64_t *)mica_tensor_data(ds->labels))[i] = ds->entry[i].label;
    ds->part[i] = (uint8_t)ds->entry[i].part;
  }
  return status;
}

static mica_status open_folder(mica_dataset *ds) {
  static const struct {
    const char *name;
    mica_part part;
  } parts[] = {{"train", MICA_PART_TRAIN}, {"val", MICA_PART_VALIDATION}, {"test", MICA_PART_TEST}};
  if (!ds->o.height) ds->o.height = ds->o.width = 32;
  if (!ds->o.channels) ds->o.channels = 3;
  mica_status status = classes_asked_for(ds);
  const bool chosen = ds->n_classes > 0;
  char *train = mica_path_join(ds->path, "train");
  if (!train) return MICA_ERR_MEMORY;
  const bool apart = mica_is_folder(train);
  mica_free(train);
  for (int k = 0; k < 3 && apart && status == MICA_OK; k++) {
    char *folder = mica_path_join(ds->path, parts[k].name);
    if (!folder)
      status = MICA_ERR_MEMORY;
    else if (mica_is_folder(folder))
      status = list_classes(ds, parts[k].name, parts[k].part, chosen);
    mica_free(folder);
  }
  if (!apart && status == MICA_OK) status = list_classes(ds, "", MICA_PART_TRAIN, chosen);
  if (status == MICA_OK && !ds->n)
    status = mica_fail(
        MICA_ERR_NOT_FOUND,
        "%s: no pictures: expected CLASS/picture.{png,jpg,ppm}, {train,val,test}/CLASS/picture, "
        "or MNIST's four IDX files",
        ds->path);
  return status == MICA_OK ? read_pictures(ds) : status;
}

/* ---- opening ---- */

mica_status mica_dataset_open(const char *path, const mica_dataset_options *given,
                              mica_dataset **out) {
  *out = NULL;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if (o.height < 0 || o.width < 0 || o.height > 4096 || o.width > 4096 ||
      (o.height == 0) != (o.width == 0) || (o.channels && o.channels != 1 && o.channels != 3) ||
      !(o.validation >= 0 && o.validation < 1))
    return mica_fail(MICA_ERR_INVALID,
                     "data set: pictures of 1 to 4096 pixels a side, 1 or 3 channels, a "
                     "validation share from 0 to below 1");
  if (!mica_is_folder(path)) return mica_fail(MICA_ERR_NOT_FOUND, "%s: no such folder", path);
  mica_dataset *ds = mica_calloc(1, sizeof *ds);
  if (!ds) return MICA_ERR_MEMORY;
  ds->o = o;
  ds->path = mica_strdup(path);
  char *idx = ds->path ? idx_path(path, idx_names[0]) : NULL;
  mica_status status = !ds->path ? MICA_ERR_MEMORY : idx ? open_idx(ds) : open_folder(ds);
  mica_free(idx);
  if (status == MICA_OK) status = hold_out(ds);
  if (status != MICA_OK) {
    mica_dataset_free(ds);
    return status;
  }
  *out = ds;
  return MICA_OK;
}

/* ---- looking ---- */

int64_t mica_dataset_count(const mica_dataset *ds) {
  return ds->n;
}
int64_t mica_dataset_part_count(const mica_dataset *ds, mica_part part) {
  int64_t n = 0;
  for (int64_t i = 0; i < ds->n; i++) n += ds->part[i] == part;
  return n;
}
mica_shape mica_dataset_shape(const mica_dataset *ds) {
  return (mica_shape){3, {ds->o.height, ds->o.width, ds->o.channels}};
}
mica_status mica_dataset_read(const mica_dataset *ds, int64_t i, uint8_t *out) {
  const int64_t size = ds->o.height * ds->o.width * ds->o.channels;
  if (i < 0 || i >= ds->n)
    return mica_fail(MICA_ERR_INVALID, "data set: item %lld of %lld", (long long)i,
                     (long long)ds->n);
  memcpy(out, (const uint8_t *)mica_tensor_data(ds->images) + i * size, (size_t)size);
  return MICA_OK;
}
const mica_tensor *mica_dataset_labels(const mica_dataset *ds) {
  return ds->labels;
}
mica_part mica_dataset_part_of(const mica_dataset *ds, int64_t i) {
  return (mica_part)ds->part[i];
}
const char *mica_dataset_name(const mica_dataset *ds, int64_t i, char *buf, size_t n) {
  snprintf(buf, n, "%s", i >= 0 && i < ds->n ? ds->entry[i].name : "");
  return buf;
}
int64_t mica_dataset_classes(const mica_dataset *ds) {
  return ds->n_classes;
}
const char *mica_dataset_class(const mica_dataset *ds, int64_t i) {
  return i >= 0 && i < ds->n_classes ? ds->classes[i] : NULL;
}
int64_t mica_dataset_skipped(const mica_dataset *ds) {
  return ds->skipped;
}
const char *mica_dataset_skipped_text(const mica_dataset *ds) {
  return ds->skipped_text.data ? ds->skipped_text.data : "";
}

void mica_dataset_statistics(const mica_dataset *ds, double mean[4], double deviation[4]) {
  const int64_t pixels = ds->o.height * ds->o.width, c = ds->o.channels;
  double sum[4] = {0}, square[4] = {0}, n = 0;
  const uint8_t *x = mica_tensor_data(ds->images);
  for (int64_t i = 0; i < ds->n; i++) {
    if (ds->part[i] != MICA_PART_TRAIN) continue;
    n += (double)pixels;
    /* Integers: exact whatever the order. */
    int64_t s[4] = {0}, q[4] = {0};
    for (int64_t p = 0; p < pixels; p++)
      for (int64_t k = 0; k < c; k++) {
        const int64_t v = x[(i * pixels + p) * c + k];
        s[k] += v;
        q[k] += v * v;
      }
    for (int64_t k = 0; k < c; k++) {
      sum[k] += (double)s[k];
      square[k] += (double)q[k];
    }
  }
  for (int64_t k = 0; k < 4; k++) {
    mean[k] = n > 0 ? sum[k] / n / 255 : 0;
    const double v = n > 0 ? square[k] / n / 65025 - mean[k] * mean[k] : 0;
    deviation[k] = v > 1e-12 ? sqrt(v) : 1;
  }
}
