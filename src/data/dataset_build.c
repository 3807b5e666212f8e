/* What the readers of data sets fill in: names, classes, blocks of pictures, items. */
#include "base/file.h"
#include "base/system.h"
#include "data/dataset.h"
#include "data/input.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MAX ((int64_t)1 << 16)

/* ---- classes ---- */

int64_t mica_dataset_class_find(const mica_dataset *ds, const char *name, size_t length) {
  for (int64_t i = 0; i < ds->n_classes; i++)
    if (strlen(ds->classes[i]) == length && memcmp(ds->classes[i], name, length) == 0) return i;
  return -1;
}

mica_status mica_dataset_class_add(mica_dataset *ds, const char *name, size_t length) {
  char **more = mica_realloc_array(ds->classes, (size_t)ds->n_classes + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  ds->classes = more;
  more[ds->n_classes] = mica_strndup(name, length);
  if (!more[ds->n_classes]) return MICA_ERR_MEMORY;
  ds->n_classes++;
  return MICA_OK;
}

/* The lines of a text without blanks at their ends and the empty ones at the text's end. */
static mica_status read_lines(const char *path, char ***lines, int64_t *n) {
  uint8_t *bytes;
  size_t size;
  *lines = NULL;
  *n = 0;
  mica_status status = mica_file_read(path, (size_t)1 << 26, &bytes, &size);
  if (status != MICA_OK) return status;
  char *at = (char *)bytes;
  int64_t filled = 0;
  while (status == MICA_OK && *at) {
    const size_t whole = strcspn(at, "\n");
    size_t length = whole;
    while (length && strchr(" \t\r", at[length - 1])) length--;
    char **more = mica_realloc_array(*lines, (size_t)*n + 1, sizeof *more);
    char *line = more ? mica_strndup(at, length) : NULL;
    if (more) *lines = more;
    if (!line) {
      status = MICA_ERR_MEMORY;
      break;
    }
    (*lines)[(*n)++] = line;
    if (length) filled = *n;
    at += whole + (at[whole] == '\n');
  }
  mica_free(bytes);
  while (*n > filled) mica_free((*lines)[--*n]);
  if (status != MICA_OK) {
    mica_names_free(*lines, *n);
    *lines = NULL;
    *n = 0;
  }
  return status;
}

mica_status mica_dataset_number_classes(mica_dataset *ds, const char *names) {
  char **line = NULL;
  int64_t lines = 0, most = -1;
  mica_status status = MICA_OK;
  if (names && mica_file_exists(names)) status = read_lines(names, &line, &lines);
  for (int64_t i = 0; i < ds->n && status == MICA_OK; i++) {
    const int64_t v = ds->item[i].label, end = line ? lines : LABEL_MAX;
    char name[256];
    if (v < 0 || v >= end)
      status = mica_fail(MICA_ERR_FORMAT, "%s: %s: label %lld, expected 0 to %lld%s%s", ds->path,
                         mica_dataset_name(ds, i, name, sizeof name), (long long)v,
                         (long long)end - 1, line ? ", the lines of " : "", line ? names : "");
    if (v > most) most = v;
  }
  /* The class of each number; -1 where it is not wanted. */
  int64_t *class_of = status == MICA_OK ? mica_calloc((size_t)most + 2, sizeof *class_of) : NULL;
  if (status == MICA_OK && !class_of) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < ds->n && class_of; i++) class_of[ds->item[i].label] = 1;
  for (int64_t v = 0; v <= most && status == MICA_OK; v++) {
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)v);
    const char *name = line && *line[v] ? line[v] : number;
    if (ds->chosen) {
      class_of[v] = mica_dataset_class_find(ds, name, strlen(name));
    } else if (class_of[v]) {
      class_of[v] = ds->n_classes;
      status = mica_dataset_class_add(ds, name, strlen(name));
    }
  }
  int64_t kept = 0;
  for (int64_t i = 0; i < ds->n && status == MICA_OK; i++) {
    const int64_t label = class_of[ds->item[i].label];
    if (label < 0) continue;
    ds->item[kept] = ds->item[i];
    ds->item[kept++].label = label;
  }
  if (status == MICA_OK && !kept && ds->n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: no item of the classes asked for", ds->path);
  if (status == MICA_OK) ds->n = kept;
  mica_free(class_of);
  if (line) mica_names_free(line, lines);
  return status;
}

/* ---- items ---- */

mica_status mica_dataset_name_add(mica_dataset *ds, const char *name, size_t *out) {
  *out = ds->names.n;
  mica_bytes_append(&ds->names, name, strlen(name) + 1);
  return ds->names.status;
}

mica_status mica_dataset_block_add(mica_dataset *ds, mica_tensor *pixels, int32_t *out) {
  mica_tensor **more = mica_realloc_array(ds->block, (size_t)ds->n_blocks + 1, sizeof *more);
  if (!more) {
    mica_tensor_free(pixels);
    return MICA_ERR_MEMORY;
  }
  ds->block = more;
  more[ds->n_blocks] = pixels;
  *out = ds->n_blocks++;
  return MICA_OK;
}

mica_status mica_dataset_item_add(mica_dataset *ds, mica_dataset_item item) {
  if (ds->n == ds->room) {
    const int64_t room = ds->room ? ds->room * 2 : 256;
    mica_dataset_item *more = mica_realloc_array(ds->item, (size_t)room, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    ds->item = more;
    ds->room = room;
  }
  ds->item[ds->n++] = item;
  return MICA_OK;
}

mica_status mica_dataset_box_add(mica_dataset *ds, mica_dataset_item *item, mica_dataset_box box) {
  if (ds->n_boxes == ds->box_room) {
    const int64_t room = ds->box_room ? ds->box_room * 2 : 64;
    mica_dataset_box *more = mica_realloc_array(ds->box, (size_t)room, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    ds->box = more;
    ds->box_room = room;
  }
  ds->box[ds->n_boxes++] = box;
  item->block = (int32_t)ds->n_boxes;
  return MICA_OK;
}

void mica_dataset_default_size(mica_dataset *ds, int64_t h, int64_t w, int64_t c) {
  if (!ds->o.height) {
    ds->o.height = h;
    ds->o.width = w;
  }
  if (!ds->o.channels) ds->o.channels = c;
}

/* ---- folders ---- */

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

mica_status mica_folder_names(const char *path, char ***names, int64_t *n) {
  int64_t room = 0;
  *names = NULL;
  *n = 0;
  DIR *d = opendir(path);
  if (!d) return mica_fail_errno(path, "cannot list");
  mica_status status = MICA_OK;
  for (struct dirent *e; status == MICA_OK && (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    if (*n == room) {
      room = room ? room * 2 : 16;
      char **more = mica_realloc_array(*names, (size_t)room, sizeof *more);
      if (!more) {
        status = MICA_ERR_MEMORY;
        break;
      }
      *names = more;
    }
    (*names)[*n] = mica_strdup(e->d_name);
    if ((*names)[*n])
      ++*n;
    else
      status = MICA_ERR_MEMORY;
  }
  closedir(d);
  if (status != MICA_OK) {
    mica_names_free(*names, *n);
    *names = NULL;
    *n = 0;
  } else if (*n) {
    qsort(*names, (size_t)*n, sizeof **names, by_name);
  }
  return status;
}

void mica_names_free(char **names, int64_t n) {
  for (int64_t i = 0; i < n; i++) mica_free(names[i]);
  mica_free(names);
}

bool mica_is_picture_name(const char *name) {
  static const char *const endings[] = {"png", "jpg", "jpeg", "ppm", "pgm"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++) {
    size_t k = 0;
    while (endings[i][k] && (dot[1 + k] | 0x20) == endings[i][k]) k++;
    if (!dot[1 + k] && !endings[i][k]) return true;
  }
  return false;
}
