/* The well-known logs of clicks: how their records are told apart, what their columns are called
 * and hold, and how a record becomes a row of a table.
 *
 * Criteo: label, 13 counts, 26 hashes; tabs without a header (the challenge's own form, its test
 * part without the label), or names label, I1 .. I13, C1 .. C26 in a header. Avazu: 24 columns with
 * a header or, in their order, without; the hour 14102100 becomes the hour of the day and the
 * weekday. libFM: "label id:1 id:1 ...", each place a field. MovieLens: what
 * data/movielens_table.h makes of its folders.
 */
#ifndef MICA_DATA_LOG_FORMAT_H
#define MICA_DATA_LOG_FORMAT_H

#include <mica/table.h>

#include "base/buffer.h"

typedef enum mica_log_format {
  MICA_LOG_NONE,
  MICA_LOG_CRITEO,
  MICA_LOG_AVAZU,
  MICA_LOG_LIBFM,
  MICA_LOG_MOVIELENS,
  MICA_LOG_COUNT
} mica_log_format;
/* "none", "criteo", "avazu", "libfm", "movielens"; ends with NULL. */
extern const char *const mica_log_format_name[];

/* What the first record of a file shows; *header: it holds names. */
mica_log_format mica_log_format_of(const char *const *field, int64_t n, bool *header);
/* The column to predict. */
const char *mica_log_format_label(mica_log_format format);

typedef enum mica_log_role {
  MICA_LOG_IGNORED,
  MICA_LOG_NUMERIC,
  MICA_LOG_CATEGORICAL
} mica_log_role;
mica_log_role mica_log_format_role(mica_log_format format, const char *name);

/* Rows made of records. Begin with {0}. */
typedef struct mica_log_rows {
  mica_log_format format;
  int64_t raw, n, hour; /* fields of a record and of a row; where the hour is, -1: nowhere */
  const char **cell;    /* [n] */
  size_t *offset;       /* [n], of the cells in text */
  mica_bytes text;
} mica_log_rows;

/* By the first record; `cell` then holds the names of the columns. */
mica_status mica_log_rows_begin(mica_log_rows *r, mica_log_format format, const char *const *field,
                                int64_t n, bool header);
/* The row [r->n] of a record, valid until the next call or as long as the record. */
mica_status mica_log_rows_next(mica_log_rows *r, const char *const *field, int64_t n,
                               const char *const **row);
void mica_log_rows_free(mica_log_rows *r);

#endif
