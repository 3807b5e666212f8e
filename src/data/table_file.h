/* A delimited file as a table: names of columns, and rows with as many fields as there are names.
 *
 * A row that cannot be used is skipped, counted and listed, or, strictly, ends the reading.
 */
#ifndef MICA_DATA_TABLE_FILE_H
#define MICA_DATA_TABLE_FILE_H

#include <mica/table.h>

#include "base/buffer.h"
#include "data/delimited.h"
#include "data/log_format.h"

typedef struct mica_table_file {
  char *path;
  mica_input *input;
  mica_delimited *records;
  char **name; /* n columns */
  int64_t n;
  bool header;  /* the names come from the file or its format; else they are c1, c2, ... */
  bool pending; /* the first record was read and is a row */
  mica_log_rows log;
  mica_bytes text; /* of a table that is made of other files */
  int64_t first_n; /* fields of the first record */
  bool strict;
  int64_t rows; /* seen so far, with those that were skipped */
  int64_t skipped;
  mica_bytes skipped_text;
  const char *const *first;
} mica_table_file;

/* Fills *f, also on failure; close it in any case. Where the options leave format and header open,
 * the first line shows a log of a known format; else it is a header when it holds the label's name,
 * or only different texts. */
mica_status mica_table_file_open(const char *path, const mica_data_table_options *o,
                                 mica_table_file *f);
void mica_table_file_close(mica_table_file *f);

/* The column of that name, -1 when there is none. */
int64_t mica_table_file_find(const mica_table_file *f, const char *name);

/* Where in the file each of the columns stands: at[0..n), and at[n] for the label, -1 when the file
 * lacks it (or there is none). MICA_ERR_NOT_FOUND names the columns that are missing. */
mica_status mica_table_file_match(const mica_table_file *f, const mica_columns *c, int64_t *at);

/* For the columns of a model: its format, and a header where they have names. */
void mica_table_file_options(const mica_columns *c, mica_data_table_options *o);

/* The next row of n fields, NULL at the end. */
mica_status mica_table_file_next(mica_table_file *f, const char *const **cells);
/* The latest row cannot be used, for the reason in the last error: MICA_OK after it was counted, or
 * the failure, with file and line, when reading is strict or memory is short. */
mica_status mica_table_file_skip(mica_table_file *f);

#endif
