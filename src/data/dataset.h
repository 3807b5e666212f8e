/* A data set from the inside: what its readers fill in.
 *
 * An item's pixels are a row of a *block* (pictures of one size in memory: IDX, CIFAR, npz) or a
 * file of its own. A reader adds blocks and items; labels may be numbers until
 * mica_dataset_number_classes makes classes of them. mica_dataset_open does the rest: which files
 * can be read, the validation part.
 */
#ifndef MICA_DATA_DATASET_H
#define MICA_DATA_DATASET_H

#include <mica/dataset.h>

#include "base/buffer.h"

#include <stdatomic.h>

#define MICA_DATASET_BYTES_MAX ((int64_t)1 << 33) /* of pixels in blocks */

typedef struct mica_dataset_item {
  size_t name; /* in names */
  int64_t row; /* of the block; -1: the file of that name */
  int64_t label;
  int32_t block; /* of a file: 1 + the number of its box, 0: all of it */
  uint8_t part;
} mica_dataset_item;

/* A part of a picture, in pixels. */
typedef struct mica_dataset_box {
  double left, top, right, bottom;
} mica_dataset_box;

struct mica_dataset {
  mica_dataset_options o; /* height, width and channels are the pictures' */
  char *path;             /* as opened */
  char *folder;           /* names of files are below it; "" for the current one */
  char **classes;
  int64_t n_classes;
  bool chosen;         /* the classes were asked for; items of others are left out */
  mica_bytes names;    /* NUL-terminated texts; a text is known by its offset */
  mica_tensor **block; /* uint8 [N,H,W,C] */
  int32_t n_blocks;
  mica_dataset_box *box;
  int64_t n_boxes, box_room;
  mica_dataset_item *item;
  int64_t n, room;
  int64_t skipped; /* at opening */
  mica_bytes skipped_text;
  /* made when all items are there */
  mica_tensor *labels;
  mica_tensor *truth; /* labels before any were flipped; NULL: none were */
  uint8_t *part;      /* MICA_PART_COUNT: in none */
  /* For each item: pixels of files that were read before, as far as the budget goes; and why it
   * cannot be read. Set once, without a lock, so that a fork at any moment is harmless. */
  _Atomic(uint8_t *) *cached;
  _Atomic(char *) *bad;
  _Atomic int64_t *held; /* bytes cached */
  mica_bytes *late_text; /* skipped_text and what was found bad later */
};

/* ---- filling in ---- */

/* The number of the class of this name, -1 where there is none. */
int64_t mica_dataset_class_find(const mica_dataset *ds, const char *name, size_t length);
mica_status mica_dataset_class_add(mica_dataset *ds, const char *name, size_t length);
mica_status mica_dataset_name_add(mica_dataset *ds, const char *name, size_t *out);
/* Takes the pixels over, uint8 [N,H,W,C], also when it fails. */
mica_status mica_dataset_block_add(mica_dataset *ds, mica_tensor *pixels, int32_t *out);
mica_status mica_dataset_item_add(mica_dataset *ds, mica_dataset_item item);
/* The item is this part of its file. */
mica_status mica_dataset_box_add(mica_dataset *ds, mica_dataset_item *item, mica_dataset_box box);
/* Count a file that is left out, for the reason that is the last error. */
void mica_dataset_skip(mica_dataset *ds);
/* Labels are numbers so far: make classes of those that occur, in their order. Their names are the
 * lines of the file `names` (may be NULL, or not exist: then the numbers themselves), from 0. */
mica_status mica_dataset_number_classes(mica_dataset *ds, const char *names);
/* Say which size the pictures have where the options leave it open. */
void mica_dataset_default_size(mica_dataset *ds, int64_t h, int64_t w, int64_t c);

/* ---- readers; ds->path is what to open ---- */

mica_status mica_dataset_is_idx(const char *folder, bool *out);
mica_status mica_dataset_open_idx(mica_dataset *ds);
mica_status mica_dataset_is_cifar(const char *folder, bool *out);
mica_status mica_dataset_open_cifar(mica_dataset *ds);
mica_status mica_dataset_open_folder(mica_dataset *ds);
mica_status mica_dataset_open_list(mica_dataset *ds);
mica_status mica_dataset_open_archive(mica_dataset *ds);
mica_status mica_dataset_open_revisited(mica_dataset *ds);

/* A table of Google Landmarks, as its first line tells it: places of columns, -1: none. */
typedef struct mica_landmark_table {
  int64_t id, images, label;
  mica_part part;
} mica_landmark_table;
/* Is it one? Then ds->folder becomes the pictures'. */
mica_status mica_landmark_head(mica_dataset *ds, const char *const *field, int64_t n,
                               mica_landmark_table *out, bool *is);
/* Calls add with each picture of a row and the text of its label. */
typedef mica_status (*mica_landmark_fn)(void *ctx, const char *name, const char *label);
mica_status mica_landmark_row(const mica_landmark_table *table, const char *file, int64_t line,
                              const char *const *field, int64_t n, mica_landmark_fn add, void *ctx);

/* The sorted names in a folder without those that begin with a dot; release with
 * mica_names_free. */
mica_status mica_folder_names(const char *path, char ***names, int64_t *n);
void mica_names_free(char **names, int64_t n);
/* Does this name end as a picture's does? */
bool mica_is_picture_name(const char *name);

/* ---- reading items ---- */

/* Make what reading needs, leave out the files that cannot be read. */
mica_status mica_dataset_prepare_reading(mica_dataset *ds);
void mica_dataset_end_reading(mica_dataset *ds);
/* Are all pictures in memory, or will be once they were read? */
bool mica_dataset_in_memory(const mica_dataset *ds);

#endif
