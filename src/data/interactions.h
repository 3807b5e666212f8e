/* Interactions from the inside: the log as it is read, and how it is kept. */
#ifndef MICA_DATA_INTERACTIONS_H
#define MICA_DATA_INTERACTIONS_H

#include <mica/interactions.h>

#include "base/buffer.h"
#include "data/dictionary.h"
#include "data/lines.h"

/* An attribute, and while it is read, the row of each value. */
typedef struct mica_attribute_table {
  mica_attribute view; /* `name` owned; the rest set by mica_attribute_end */
  mica_dictionary values;
  int64_t *offsets, *ids, *row; /* [rows + 1], [n], [n] */
  int64_t n, room;
} mica_attribute_table;

struct mica_interactions {
  const char *format;
  mica_dictionary users, items;
  int64_t n, room;
  /* While read: [n] in the file's order; `user` goes when it is sorted. */
  int64_t *user, *item, *time;
  float *rating;
  uint8_t *part;
  bool has_rating, has_time, has_part;
  int64_t *offsets;
  int64_t *seen, *seen_offsets; /* of each user the different items, by number */
  mica_attribute_table *user_attribute, *item_attribute;
  int64_t user_attributes, item_attributes;
  bool strict;
  int64_t skipped;
  mica_bytes skipped_text;
};

/* Append one. */
mica_status mica_interactions_add(mica_interactions *x, const char *user, const char *item,
                                  float rating, int64_t time, mica_part part);
/* The latest line cannot be used, for the reason in the last error: MICA_OK after it was counted,
 * or the failure, with file and line, when reading is strict or memory is short. */
mica_status mica_interactions_skip(mica_interactions *x, const char *path, int64_t line);

/* Read a file or folder into x, and what stands beside it. */
mica_status mica_interactions_read(const char *path, const char *format, mica_interactions *x);
/* Attributes of MovieLens's users and items, in the folder or beside the file, for the users and
 * items that x has. */
mica_status mica_interactions_read_attributes(const char *from, mica_interactions *x);

/* An attribute more; its values, of any row next; and their order by row. */
mica_status mica_attribute_begin(mica_attribute_table **list, int64_t *n, const char *name);
mica_status mica_attribute_put(mica_attribute_table *a, int64_t row, const char *value);
mica_status mica_attribute_end(mica_attribute_table *a, int64_t rows);
void mica_attribute_free(mica_attribute_table *a);

#endif
