/* Rows for columns that are known: one row decoded, and those of one part of a table that stays in
 * its files, in their order. */
#ifndef MICA_DATA_TABLE_ROWS_H
#define MICA_DATA_TABLE_ROWS_H

#include "data/table.h"
#include "data/table_pass.h"

/* The fields of a row to cells [columns] (see columns.h) and, where at[columns] is not -1, its
 * label. MICA_ERR_FORMAT when the row alone cannot be used, MICA_ERR_NOT_FOUND for a class that the
 * columns do not have. */
mica_status mica_table_decode(const mica_columns *c, const int64_t *at, const char *const *field,
                              double *cell, mica_row_label *label);

/* A number for the row's content: of all its fields, ignored ones too, whatever the quotes and
 * blanks around them were. */
uint64_t mica_table_row_hash(const char *const *field, int64_t n);

typedef struct mica_table_rows {
  const mica_data_table *table;
  mica_part part;
  mica_table_file f;
  int64_t *at;
  bool labelled;
} mica_table_rows;

/* Fills *r, also on failure; close it in any case. */
mica_status mica_table_rows_open(const mica_data_table *t, mica_part part, mica_table_rows *r);
/* The next row that can be used; *got is false at the end. Rows that cannot be used are passed
 * over, counted and listed in r->f, or end the reading where it is strict. */
mica_status mica_table_rows_next(mica_table_rows *r, double *cell, mica_row_label *label,
                                 bool *got);
void mica_table_rows_close(mica_table_rows *r);

#endif
