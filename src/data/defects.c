/* Folders of pictures with and without defects, as MVTec AD lays them out. */
#include "base/file.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

typedef struct category {
  char *name, *folder;
  mica_defect_picture *picture; /* with texts of their own */
  int64_t n, room;
} category;

struct mica_defects {
  category *v;
  int64_t n;
};

static void category_end(category *c) {
  for (int64_t i = 0; i < c->n; i++) {
    mica_free((char *)(uintptr_t)c->picture[i].path);
    mica_free((char *)(uintptr_t)c->picture[i].kind);
    mica_free((char *)(uintptr_t)c->picture[i].mask);
  }
  mica_free(c->picture);
  mica_free(c->name);
  mica_free(c->folder);
}

void mica_defects_free(mica_defects *d) {
  if (!d) return;
  for (int64_t c = 0; c < d->n; c++) category_end(&d->v[c]);
  mica_free(d->v);
  mica_free(d);
}

/* FOLDER/A/B, where it is a folder, else NULL. */
static mica_status below(const char *folder, const char *a, const char *b, char **out) {
  char *first = mica_path_join(folder, a);
  char *path = first ? mica_path_join(first, b) : NULL;
  *out = NULL;
  mica_free(first);
  if (!path) return MICA_ERR_MEMORY;
  if (mica_is_folder(path))
    *out = path;
  else
    mica_free(path);
  return MICA_OK;
}

bool mica_defects_here(const char *path) {
  char *good = NULL, **folders = NULL;
  int64_t n = 0;
  bool here = below(path, "train", "good", &good) == MICA_OK && good;
  mica_free(good);
  if (here || !mica_is_folder(path) || mica_folder_names(path, &folders, &n) != MICA_OK)
    return here;
  for (int64_t i = 0; i < n && !here; i++) {
    char *inner = mica_path_join(path, folders[i]);
    here = inner && below(inner, "train", "good", &good) == MICA_OK && good;
    if (inner) mica_free(good);
    mica_free(inner);
  }
  mica_names_free(folders, n);
  return here;
}

/* ---- one category ---- */

/* The mask of a picture 000.png of that kind: ground_truth/KIND/000_mask.png, or 000.png. */
static mica_status find_mask(const category *c, const char *kind, const char *file, char **out) {
  static const char *const end[] = {"_mask.png", ".png"};
  const char *dot = strrchr(file, '.');
  const size_t stem = dot ? (size_t)(dot - file) : strlen(file);
  char *folder;
  *out = NULL;
  const mica_status status = below(c->folder, "ground_truth", kind, &folder);
  if (status != MICA_OK) return status;
  for (int i = 0; i < 2 && folder && !*out; i++) {
    char *name = mica_calloc(stem + strlen(end[i]) + 1, 1);
    if (name) {
      memcpy(name, file, stem);
      memcpy(name + stem, end[i], strlen(end[i]));
    }
    char *path = name ? mica_path_join(folder, name) : NULL;
    mica_free(name);
    if (!path) {
      mica_free(folder);
      return MICA_ERR_MEMORY;
    }
    if (mica_file_exists(path))
      *out = path;
    else
      mica_free(path);
  }
  mica_free(folder);
  return MICA_OK;
}

static mica_status add_picture(category *c, const char *folder, const char *kind, const char *file,
                               mica_part part) {
  char *mask = NULL;
  if (c->n == c->room) {
    const int64_t room = c->room ? 2 * c->room : 64;
    mica_defect_picture *more = mica_realloc_array(c->picture, (size_t)room, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    c->picture = more;
    c->room = room;
  }
  const bool defect = strcmp(kind, "good") != 0;
  mica_status status = defect ? find_mask(c, kind, file, &mask) : MICA_OK;
  char *path = mica_path_join(folder, file), *name = mica_strdup(kind);
  if (status == MICA_OK && path && name) {
    c->picture[c->n++] = (mica_defect_picture){path, name, mask, part, defect};
    return MICA_OK;
  }
  mica_free(path);
  mica_free(name);
  mica_free(mask);
  return MICA_ERR_MEMORY;
}

static mica_status list_kind(category *c, const char *folder, const char *kind, mica_part part) {
  char **files = NULL;
  int64_t n = 0;
  mica_status status = mica_folder_names(folder, &files, &n);
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    if (mica_is_picture_name(files[i])) status = add_picture(c, folder, kind, files[i], part);
  mica_names_free(files, n);
  return status;
}

static mica_status list_category(category *c) {
  char *good = NULL, *test = mica_path_join(c->folder, "test"), **kinds = NULL;
  int64_t n = 0;
  mica_status status = test ? below(c->folder, "train", "good", &good) : MICA_ERR_MEMORY;
  if (status == MICA_OK && good) status = list_kind(c, good, "good", MICA_PART_TRAIN);
  if (status == MICA_OK && !c->n)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s/train/good: no pictures in it", c->folder);
  if (status == MICA_OK && mica_is_folder(test)) status = mica_folder_names(test, &kinds, &n);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char *folder = mica_path_join(test, kinds[i]);
    if (!folder)
      status = MICA_ERR_MEMORY;
    else if (mica_is_folder(folder))
      status = list_kind(c, folder, kinds[i], MICA_PART_TEST);
    mica_free(folder);
  }
  mica_names_free(kinds, n);
  mica_free(good);
  mica_free(test);
  return status;
}

/* ---- all of them ---- */

/* Takes the folder's path over. */
static mica_status add_category(mica_defects *d, const char *name, size_t length, char *folder) {
  category *more = folder ? mica_realloc_array(d->v, (size_t)d->n + 1, sizeof *more) : NULL;
  if (!more) {
    mica_free(folder);
    return MICA_ERR_MEMORY;
  }
  d->v = more;
  category *c = &d->v[d->n++];
  *c = (category){.folder = folder, .name = mica_strndup(name, length)};
  return c->name ? list_category(c) : MICA_ERR_MEMORY;
}

static mica_status list_all(mica_defects *d, const char *path) {
  char *good = NULL, **folders = NULL;
  int64_t n = 0;
  mica_status status = below(path, "train", "good", &good);
  if (status != MICA_OK) return status;
  if (good) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    mica_free(good);
    return add_category(d, path + begin, end - begin, mica_strdup(path));
  }
  status = mica_is_folder(path) ? mica_folder_names(path, &folders, &n)
                                : mica_fail(MICA_ERR_NOT_FOUND, "%s: no folder", path);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char *folder = mica_path_join(path, folders[i]);
    good = NULL;
    status = folder ? below(folder, "train", "good", &good) : MICA_ERR_MEMORY;
    if (status == MICA_OK && good)
      status = add_category(d, folders[i], strlen(folders[i]), folder);
    else
      mica_free(folder);
    mica_free(good);
  }
  mica_names_free(folders, n);
  if (status == MICA_OK && !d->n)
    status = mica_fail(MICA_ERR_NOT_FOUND,
                       "%s: no pictures without defects: expected train/good/picture and "
                       "test/DEFECT/picture, or folders with these",
                       path);
  return status;
}

mica_status mica_defects_open(const char *path, mica_defects **out) {
  *out = NULL;
  mica_defects *d = mica_calloc(1, sizeof *d);
  if (!d) return MICA_ERR_MEMORY;
  const mica_status status = list_all(d, path);
  if (status == MICA_OK)
    *out = d;
  else
    mica_defects_free(d);
  return status;
}

int64_t mica_defects_categories(const mica_defects *d) {
  return d->n;
}

const char *mica_defects_category(const mica_defects *d, int64_t c) {
  return c >= 0 && c < d->n ? d->v[c].name : NULL;
}

int64_t mica_defects_count(const mica_defects *d, int64_t c) {
  return c >= 0 && c < d->n ? d->v[c].n : 0;
}

const mica_defect_picture *mica_defects_at(const mica_defects *d, int64_t c, int64_t i) {
  return c >= 0 && c < d->n && i >= 0 && i < d->v[c].n ? &d->v[c].picture[i] : NULL;
}
