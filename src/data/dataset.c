/* Data sets: what kind a path is, the validation part, and what is asked about items.
 *
 * The validation part is chosen item by item from a hash of its name, so a folder that grows keeps
 * the choice for the items it had; within a class the share is met as nearly as that allows.
 */
#include "data/dataset.h"

#include "base/file.h"
#include "data/validation_split.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void mica_dataset_free(mica_dataset *ds) {
  if (!ds) return;
  mica_dataset_end_reading(ds);
  for (int64_t i = 0; i < ds->n_classes; i++) mica_free(ds->classes[i]);
  for (int32_t i = 0; i < ds->n_blocks; i++) mica_tensor_free(ds->block[i]);
  mica_free(ds->classes);
  mica_free(ds->block);
  mica_free(ds->box);
  mica_free(ds->item);
  mica_free(ds->part);
  mica_free(ds->path);
  mica_free(ds->folder);
  mica_tensor_free(ds->labels);
  mica_tensor_free(ds->truth);
  mica_bytes_free(&ds->names);
  mica_bytes_free(&ds->skipped_text);
  mica_free(ds);
}

/* ---- opening ---- */

static mica_status classes_asked_for(mica_dataset *ds) {
  for (const char *at = ds->o.classes; at && *at;) {
    const size_t n = strcspn(at, ",");
    if (n) {
      mica_status status = mica_dataset_class_add(ds, at, n);
      if (status != MICA_OK) return status;
    }
    at += n + (at[n] == ',');
  }
  ds->chosen = ds->n_classes > 0;
  ds->o.classes = NULL;
  return MICA_OK;
}

static bool ends_with(const char *path, const char *ending) {
  const size_t n = strlen(path), m = strlen(ending);
  return n >= m && strcmp(path + n - m, ending) == 0;
}

static mica_status open_folder(mica_dataset *ds) {
  bool is;
  mica_status status = mica_dataset_is_idx(ds->path, &is);
  if (status != MICA_OK || is) return is ? mica_dataset_open_idx(ds) : status;
  status = mica_dataset_is_cifar(ds->path, &is);
  if (status != MICA_OK || is) return is ? mica_dataset_open_cifar(ds) : status;
  return mica_dataset_open_folder(ds);
}

static mica_status open_items(mica_dataset *ds) {
  static const struct {
    const char *ending;
    mica_status (*open)(mica_dataset *ds);
  } files[] = {{".csv", mica_dataset_open_list},     {".tsv", mica_dataset_open_list},
               {".txt", mica_dataset_open_list},     {".csv.gz", mica_dataset_open_list},
               {".tsv.gz", mica_dataset_open_list},  {".txt.gz", mica_dataset_open_list},
               {".npz", mica_dataset_open_archive},  {".safetensors", mica_dataset_open_archive},
               {".pkl", mica_dataset_open_revisited}};
  const char *path = ds->path;
  if (strcmp(path, "-") == 0) return mica_dataset_open_list(ds);
  if (mica_is_folder(path)) return open_folder(ds);
  if (!mica_file_exists(path))
    return mica_fail(MICA_ERR_NOT_FOUND, "%s: no such file or folder", path);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (ends_with(path, files[i].ending)) return files[i].open(ds);
  return mica_fail(MICA_ERR_UNSUPPORTED,
                   "%s: not a data set: expected a folder, a list (.csv, .tsv, .txt), arrays "
                   "(.npz, .safetensors) or a ground truth (.pkl)",
                   path);
}

static mica_status labels_and_parts(mica_dataset *ds) {
  mica_status status = mica_tensor_create(MICA_I64, MICA_SHAPE(ds->n), &ds->labels);
  if (status != MICA_OK) return status;
  ds->part = mica_malloc((size_t)ds->n);
  if (!ds->part) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < ds->n; i++) {
    ((int64_t *)mica_tensor_data(ds->labels))[i] = ds->item[i].label;
    ds->part[i] = ds->item[i].part;
  }
  return MICA_OK;
}

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
  const int64_t *label = ds->o.captions ? NULL : mica_tensor_data(ds->labels);
  const mica_status status =
      mica_validation_split(ds->n, hash, label, ds->n_classes, ds->o.validation, ds->part);
  mica_free(hash);
  return status;
}

mica_status mica_dataset_open(const char *path, const mica_dataset_options *given,
                              mica_dataset **out) {
  *out = NULL;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if (o.height < 0 || o.width < 0 || o.height > 4096 || o.width > 4096 ||
      (o.height == 0) != (o.width == 0) || (o.channels && o.channels != 1 && o.channels != 3) ||
      !(o.validation >= 0 && o.validation < 1) || !(o.crop >= 0.01 && o.crop <= 1) ||
      !mica_image_filter_name(o.interpolation) || o.memory < 0)
    return mica_fail(MICA_ERR_INVALID,
                     "data set: pictures of 1 to 4096 pixels a side, 1 or 3 channels, a validation "
                     "share from 0 to below 1, a crop of 0.01 to 1, a known interpolation and a "
                     "memory of 0 or more");
  if (!path) return mica_fail(MICA_ERR_INVALID, "data set: no path to open");
  mica_dataset *ds = mica_calloc(1, sizeof *ds);
  if (!ds) return MICA_ERR_MEMORY;
  ds->o = o;
  ds->path = mica_strdup(path);
  mica_status status = ds->path ? classes_asked_for(ds) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = open_items(ds);
  if (status == MICA_OK) status = ds->names.status;
  if (status == MICA_OK) status = mica_dataset_prepare_reading(ds);
  if (status == MICA_OK) status = labels_and_parts(ds);
  if (status == MICA_OK) status = hold_out(ds);
  if (status == MICA_OK) status = ds->skipped_text.status;
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
mica_part mica_dataset_part_of(const mica_dataset *ds, int64_t i) {
  return i < 0 || i >= ds->n || atomic_load(&ds->bad[i]) ? MICA_PART_COUNT : (mica_part)ds->part[i];
}
int64_t mica_dataset_part_count(const mica_dataset *ds, mica_part part) {
  int64_t n = 0;
  for (int64_t i = 0; i < ds->n; i++) n += mica_dataset_part_of(ds, i) == part;
  return n;
}
mica_shape mica_dataset_shape(const mica_dataset *ds) {
  return MICA_SHAPE(ds->o.height, ds->o.width, ds->o.channels);
}
const mica_tensor *mica_dataset_labels(const mica_dataset *ds) {
  return ds->labels;
}
const char *mica_dataset_name(const mica_dataset *ds, int64_t i, char *buf, size_t n) {
  const mica_dataset_item *it = i >= 0 && i < ds->n ? &ds->item[i] : NULL;
  if (!it)
    snprintf(buf, n, "%s", "");
  else if (it->row < 0)
    snprintf(buf, n, "%s", ds->names.data + it->name);
  else
    snprintf(buf, n, "%s:%lld", ds->names.data + it->name, (long long)it->row);
  return buf;
}
int64_t mica_dataset_classes(const mica_dataset *ds) {
  return ds->n_classes;
}
const char *mica_dataset_class(const mica_dataset *ds, int64_t i) {
  return i >= 0 && i < ds->n_classes ? ds->classes[i] : NULL;
}

/* Mean and deviation need no more than some thousands of pictures; reading all of a set that is not
 * in memory would take as long as an epoch. */
enum { SAMPLE = 4096 };

mica_status mica_dataset_statistics(const mica_dataset *ds, double mean[4], double deviation[4]) {
  const int64_t pixels = ds->o.height * ds->o.width, c = ds->o.channels;
  double sum[4] = {0}, square[4] = {0}, n = 0;
  uint8_t *x = mica_malloc((size_t)(pixels * c));
  if (!x) return MICA_ERR_MEMORY;
  const int64_t train = mica_dataset_part_count(ds, MICA_PART_TRAIN);
  const int64_t taken = mica_dataset_in_memory(ds) || train < SAMPLE ? train : SAMPLE;
  mica_status status = MICA_OK;
  for (int64_t i = 0, k = 0, next = 0; i < ds->n && next < taken && status == MICA_OK; i++) {
    if (mica_dataset_part_of(ds, i) != MICA_PART_TRAIN) continue;
    /* Number k of the part is taken when it is the next of `taken` evenly spaced ones. */
    if (k++ < (int64_t)((double)next * (double)train / (double)taken)) continue;
    next++;
    status = mica_dataset_read(ds, i, x);
    if (status != MICA_OK) {
      if (mica_dataset_part_of(ds, i) == MICA_PART_COUNT) status = MICA_OK;
      continue;
    }
    n += (double)pixels;
    /* Integers: exact whatever the order. */
    int64_t s[4] = {0}, q[4] = {0};
    for (int64_t p = 0; p < pixels; p++)
      for (int64_t j = 0; j < c; j++) {
        const int64_t v = x[p * c + j];
        s[j] += v;
        q[j] += v * v;
      }
    for (int64_t j = 0; j < c; j++) {
      sum[j] += (double)s[j];
      square[j] += (double)q[j];
    }
  }
  mica_free(x);
  for (int64_t j = 0; j < 4; j++) {
    mean[j] = n > 0 ? sum[j] / n / 255 : 0;
    const double v = n > 0 ? square[j] / n / 65025 - mean[j] * mean[j] : 0;
    deviation[j] = v > 1e-12 ? sqrt(v) : 1;
  }
  return status;
}
