/* Rows of a file, one after the other, for columns that are known. */
#include "data/table.h"

#include <string.h>

struct mica_row_reader {
  const mica_columns *columns;
  mica_table_file f;
  int64_t *at;
  const char **cell;
};

mica_status mica_row_reader_open(const char *path, const mica_columns *columns,
                                 const mica_data_table_options *given, mica_row_reader **out) {
  *out = NULL;
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_table_file_options(columns, &o);
  mica_row_reader *r = mica_calloc(1, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  r->columns = columns;
  r->at = mica_malloc((size_t)(columns->n + 1) * sizeof *r->at);
  r->cell = mica_malloc((size_t)(columns->n + 1) * sizeof *r->cell);
  mica_status status = mica_table_file_open(path, &o, &r->f);
  if (!r->at || !r->cell) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_table_file_match(&r->f, columns, r->at);
  if (status != MICA_OK) {
    mica_row_reader_close(r);
    return status;
  }
  *out = r;
  return MICA_OK;
}

void mica_row_reader_close(mica_row_reader *r) {
  if (!r) return;
  mica_table_file_close(&r->f);
  mica_free(r->at);
  mica_free(r->cell);
  mica_free(r);
}

mica_status mica_row_reader_next_fields(mica_row_reader *r, int64_t most, float *x, int64_t *ids,
                                        int64_t *row, int64_t *n) {
  *n = 0;
  while (*n < most) {
    const char *const *field;
    mica_status status = mica_table_file_next(&r->f, &field);
    if (status != MICA_OK || !field) return status;
    for (int64_t i = 0; i < r->columns->n; i++) r->cell[i] = field[r->at[i]];
    status = mica_columns_encode_fields(r->columns, r->cell, x + *n * r->columns->width,
                                        ids ? ids + *n * r->columns->fields : NULL);
    if (status == MICA_OK) {
      if (row) row[*n] = r->f.rows;
      ++*n;
    } else if ((status = mica_table_file_skip(&r->f)) != MICA_OK) {
      return status;
    }
  }
  return MICA_OK;
}

mica_status mica_row_reader_next(mica_row_reader *r, int64_t most, float *x, int64_t *row,
                                 int64_t *n) {
  return mica_row_reader_next_fields(r, most, x, NULL, row, n);
}

int64_t mica_row_reader_skipped(const mica_row_reader *r) {
  return r->f.skipped;
}
const char *mica_row_reader_skipped_text(const mica_row_reader *r) {
  return r->f.skipped_text.data ? r->f.skipped_text.data : "";
}
