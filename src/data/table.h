/* Data tables from the inside: rows of cells before and after the columns are known. */
#ifndef MICA_DATA_TABLE_H
#define MICA_DATA_TABLE_H

#include "data/columns.h"
#include "data/table_file.h"

struct mica_data_table {
  const mica_data_table_options *o; /* while opening */
  mica_columns *own;                /* learnt here; NULL: given, or taken */
  const mica_columns *columns;
  double *cell; /* [n, columns], see columns.h */
  uint8_t *part;
  uint64_t *hash; /* of each row's content */
  int64_t *label; /* NULL: none */
  double *target; /* NULL: none */
  int64_t n, room;
  int32_t files; /* read so far; all have labels or none has */
  bool labelled;
  int64_t skipped;
  mica_bytes skipped_text;
  /* Where the rows stay in their files. */
  bool in_file, strict;
  char *file[MICA_PART_COUNT]; /* NULL: none */
  int64_t rows[MICA_PART_COUNT], buffer;
  double hold_out; /* share of the training file that is the validation part */
  char delimiter;
  int32_t header; /* of its files, where they have no known format */
};

/* What was in the cells of a file while it was looked through. */
typedef struct mica_table_seen {
  bool usable; /* as it stands: else the file is read again */
  int64_t n, room, columns;
  double *cell; /* [n, columns of the file]: a number, NAN for missing; a text's number in order of
                   arrival, -1 for missing */
  int64_t *label; /* [n]: the label's number in order of arrival */
  uint64_t *hash; /* [n], of each row's content */
} mica_table_seen;
void mica_table_seen_free(mica_table_seen *seen);

/* Look through the training file for what its columns hold: columns with names and kinds, not yet
 * with values or statistics. at[0..n] as mica_table_file_match would give it, released with
 * mica_free. `seen` (begin with {0}; NULL: not wanted) gets the cells; where these are usable, the
 * columns have their values, in order of arrival. */
mica_status mica_table_guess(const char *path, const mica_data_table_options *o, mica_columns **out,
                             int64_t **at, mica_table_seen *seen);
/* Complete the columns from the rows of the training part: statistics, the order of values and
 * classes; the cells and labels of the table are renumbered. */
mica_status mica_table_learn(mica_data_table *t, mica_columns *c, const mica_data_table_options *o);

/* Of a table that stays in its files: learn the columns from the training file and count its rows;
 * count the rows of a part for known columns; and is a row of this hash held out? */
mica_status mica_table_in_file_learn(mica_data_table *t, const mica_data_table_options *o);
mica_status mica_table_in_file_count(mica_data_table *t, mica_part part, bool first);
bool mica_table_row_held_out(const mica_data_table *t, uint64_t hash);

/* How often a field's value must be there: as asked for, or as is usual with the format. */
int64_t mica_min_count(const mica_columns *c, const mica_data_table_options *o);

/* MICA_ERR_NOT_FOUND: one file of a table has labels, another has not. */
mica_status mica_table_parts_differ(const mica_data_table *t, const char *path, bool labelled);

#endif
