/* Columns from the inside: how they are built, stored and applied. */
#ifndef MICA_DATA_COLUMNS_H
#define MICA_DATA_COLUMNS_H

#include <mica/table.h>

#include "base/json.h"
#include "data/dictionary.h"
#include "data/log_format.h"

#define MICA_CATEGORIES_MAX 1048576 /* values of a column, or classes */
#define MICA_BUCKETS_MAX    (1LL << 31)

/* A cell as a number: of a field its id; of a numeric column its value, NaN when missing; of a
 * categorical one the place of the 1 in its part of the encoded row, -1 for none. */

typedef struct mica_column {
  char *name;
  mica_column_kind kind;
  mica_number_form form;  /* numeric */
  bool field;             /* gives an id: categorical, or numeric of the form LOG_SQUARE */
  int64_t buckets;        /* of a field: ids are hashes below it instead of `values`; 0: are not */
  int64_t at;             /* of its first number in the encoded row; of a field its place there */
  double mean, deviation; /* numeric, form STANDARD */
  mica_dictionary values; /* categorical and fields: the most frequent first */
  bool missing;           /* numeric: a number more tells missing; else: a place for it */
  bool other;             /* not numeric: a last place for values that have none */
} mica_column;

struct mica_columns {
  mica_column *column;
  int64_t n, width, fields;
  int64_t *field_size; /* [n + 1], the first `fields` are used */
  bool by_position;    /* the file had no header: c1, c2, ... */
  mica_log_format format;
  int64_t line_fields; /* of a line of the training file, with label and ignored ones */
  char *label;         /* NULL: none */
  bool regression;
  double target_mean, target_deviation;
  mica_dictionary classes;
};

/* Room for n columns, all numeric and without a name. */
mica_status mica_columns_create(int64_t n, mica_columns **out);
/* Set `at`, `width` and `fields` from what the columns are. MICA_ERR_UNSUPPORTED beyond 2^24
 * numbers. */
mica_status mica_columns_arrange(mica_columns *c);

/* NULL, an empty text, ?, NA, N/A, NaN, null. */
bool mica_cell_missing(const char *text);
/* What a cell holds; its value into *number where it is one, which may be infinite. */
typedef enum mica_cell {
  MICA_CELL_MISSING,
  MICA_CELL_NUMBER,
  MICA_CELL_COMMA, /* a number but for its decimal comma */
  MICA_CELL_TEXT
} mica_cell;
mica_cell mica_cell_kind(const char *text, double *number);
/* A finite number of at most 3.4e38 in magnitude, or MICA_ERR_FORMAT saying why not. */
mica_status mica_cell_number(const char *text, double *out);
/* The value whose id a field of this text has: the text itself, or that of the number's bucket,
 * written to `buffer`. */
mica_status mica_column_value(const mica_column *k, const char *text, char buffer[48],
                              const char **value);
/* The cell of column i; errors name the column. */
mica_status mica_columns_cell(const mica_columns *c, int64_t i, const char *text, double *out);
/* n cells to the encoded row; `ids` may be NULL where there are no fields, or none is wanted. */
void mica_columns_expand(const mica_columns *c, const double *cells, float *x, int64_t *ids);

/* As a JSON object, and back: mica_columns_text, mica_columns_parse. */
void mica_columns_write(const mica_columns *c, mica_json_writer *w);
mica_status mica_columns_read(const mica_json *object, mica_columns **out);
mica_status mica_columns_set_classes(mica_columns *c, const char *const *names, int64_t n);

#endif
