/* Passes over the rows of a table that stays in its files, mixed on the way.
 *
 * Rows come in the file's order through a buffer: each row that leaves is one of those in it, drawn
 * from (key, epoch, how many left before), and the next row of the file takes its place. So row k
 * of an epoch is always the same one, but all before it must be read to come to it.
 */
#ifndef MICA_DATA_TABLE_PASS_H
#define MICA_DATA_TABLE_PASS_H

#include "data/columns.h"

/* What a row says of the column to predict. */
typedef struct mica_row_label {
  int64_t label; /* the class, where there are any */
  double target; /* a numeric target in its own unit */
} mica_row_label;

typedef struct mica_table_pass mica_table_pass;

/* Over the rows of a part; `mix`: through the table's buffer, else in the file's order. */
mica_status mica_table_pass_create(const mica_data_table *table, mica_part part, bool mix,
                                   mica_key key, mica_table_pass **out);
void mica_table_pass_free(mica_table_pass *p);
/* Do its rows have a label? */
bool mica_table_pass_labelled(const mica_table_pass *p);
/* The epoch that is under way (-1: none), and the row of it that comes next. In a forked child,
 * whose place in the file is its parent's, none is. */
int64_t mica_table_pass_epoch(const mica_table_pass *p);
int64_t mica_table_pass_place(const mica_table_pass *p);
/* Begin an epoch. */
mica_status mica_table_pass_begin(mica_table_pass *p, int64_t epoch);
/* The next row: its cells (valid until the next call), label, and number among the rows of the
 * part in the file's order. MICA_ERR_FORMAT when there is none. */
mica_status mica_table_pass_next(mica_table_pass *p, const double **cell, mica_row_label *label,
                                 int64_t *number);

#endif
