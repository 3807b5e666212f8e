/* report/table.h: a table's cells, for those who write it as text, HTML and JSON. */
#ifndef MICA_REPORT_TABLE_H
#define MICA_REPORT_TABLE_H

#include <mica/report.h>

#include "base/json.h"
#include "report/markup.h"

typedef struct mica_table_cell {
  char *text; /* as shown, owned; NULL: empty */
  double value;
  bool number; /* value holds */
} mica_table_cell;

typedef struct mica_table_head {
  char *text;
  mica_align align;
} mica_table_head;

struct mica_table {
  mica_table_head *heads;
  int32_t columns;
  mica_table_cell *cells; /* row-major */
  int64_t count, room;
};

/* Deep copy, for a report that outlives the table. */
mica_status mica_table_copy(const mica_table *table, mica_table **out);
/* <table>...</table> with values for sorting. */
void mica_table_html(const mica_table *table, mica_bytes *out);
/* {"columns": [...], "rows": [[...], ...]} */
void mica_table_json(const mica_table *table, mica_json_writer *w);

#endif
