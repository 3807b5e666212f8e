/* mica/table.h: tables of numbers and categories: CSV and TSV files, columns, rows.
 *
 * *Columns* say how a row of texts becomes a row of numbers. A numeric column gives its value, less
 * the mean, over the deviation; a missing value gives 0, and columns that had missing values in the
 * training part give one more number that is 1 where the value is missing. A categorical column
 * gives a 1 in the place of its value and 0 in those of the others. They are learnt from the
 * training part of a *data table* and stored in the model file; a *row reader* then turns the rows
 * of any file that has these columns, in any order, into what the network reads.
 *
 * Opened with `fields`, categories do not widen the row: each is a *field* that gives one id, for a
 * network that looks its vector up in a table. A field's ids are those of its values, the most
 * frequent first, then one for a missing value, then one that all other values share, be they rare
 * or new; or, with hash buckets, a hash of value and column name, then one for a missing value.
 *
 * Logs of clicks are known by their first line: Criteo's (tabs, without a header: label, I1 .. I13,
 * C1 .. C26; or CSV with these names), Avazu's (CSV; id is ignored, the hour 14102100 becomes the
 * hour of the day and a column weekday, 0 for Sunday) and libFM's ("label id:1 id:1 ...", in each
 * row one value of each field f1, f2, ...). A folder of MovieLens (u.data or ratings.dat, and the
 * files beside it) is one too: user, item, age, gender, occupation, zip, year, genre (all of an
 * item's genres are one value) and click, 1 for ratings above 3 and 0 below; ratings of 3 are left
 * out. Their label, label or click, needs no naming, and their columns are numeric (I1 .. I13) or
 * categorical whatever they hold.
 *
 * Files: RFC 4180 with commas, tabs, semicolons, bars or spaces, .gz or not, UTF-8. Missing are
 * empty fields, ?, NA, N/A, NaN and null. Numbers have a decimal point, whatever the locale.
 */
#ifndef MICA_TABLE_H
#define MICA_TABLE_H

#include <mica/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- columns ---- */

typedef enum mica_column_kind { MICA_COLUMN_NUMERIC, MICA_COLUMN_CATEGORICAL } mica_column_kind;

/* What a numeric column gives. A missing value gives 0 (and 1 in a number of its own, see above),
 * in LOG_SQUARE the id for missing values. */
typedef enum mica_number_form {
  MICA_NUMBER_BY_FORMAT, /* as is usual: LOG_SQUARE for the fields of Criteo's log, LOG for its rows
                            without fields, STANDARD for other tables */
  MICA_NUMBER_STANDARD,  /* the value, less the mean, over the deviation */
  MICA_NUMBER_PLAIN,     /* the value */
  MICA_NUMBER_LOG,       /* log(1 + value), 0 for a negative one: counts (DLRM reads Criteo so) */
  MICA_NUMBER_LOG_SQUARE /* a field: values above 2 are in buckets by floor(log(value)^2), others
                            are floor(value) itself (what won Criteo's contest of 2014) */
} mica_number_form;

/* Immutable; shared by threads. All of these take columns that are not NULL. */
typedef struct mica_columns mica_columns;
/* NULL does nothing. */
MICA_API void mica_columns_free(mica_columns *columns);
/* The columns that a row is made of, without the label. */
MICA_API int64_t mica_columns_count(const mica_columns *columns);
/* NULL out of range; a file without a header has the columns c1, c2, ... */
MICA_API const char *mica_columns_name(const mica_columns *columns, int64_t i);
MICA_API mica_column_kind mica_columns_kind(const mica_columns *columns, int64_t i);
/* The numbers of an encoded row; of columns with fields those beside them, maybe none. */
MICA_API int64_t mica_columns_width(const mica_columns *columns);
/* The fields of an encoded row, 0 unless they were asked for; the number of ids of each, borrowed
 * [fields], as mica_problem has them; and the field that column i gives, -1 for none. */
MICA_API int64_t mica_columns_fields(const mica_columns *columns);
MICA_API const int64_t *mica_columns_field_size(const mica_columns *columns);
MICA_API int64_t mica_columns_field_of(const mica_columns *columns, int64_t i);
/* The format of the log that the columns were learnt from, NULL for other tables. */
MICA_API const char *mica_columns_format(const mica_columns *columns);
/* The name of the column to predict, NULL when there is none. */
MICA_API const char *mica_columns_label(const mica_columns *columns);
/* The label is a number, not a class. */
MICA_API bool mica_columns_regression(const mica_columns *columns);
/* An output of a regression network (the target less its mean, over its deviation) in the label's
 * own unit. */
MICA_API double mica_columns_target(const mica_columns *columns, double output);
/* Encode one row: a text for each column in their order (NULL: missing) into x
 * [mica_columns_width]. A text that is no number in a numeric column is MICA_ERR_FORMAT and names
 * the column; a value that the training part did not have gives zeros, or the column's place for
 * other values where it has one. MICA_ERR_INVALID for columns with fields. */
MICA_API mica_status mica_columns_encode(const mica_columns *columns, const char *const *cells,
                                         float *x);
/* The same for any columns, with the fields in ids [mica_columns_fields]. */
MICA_API mica_status mica_columns_encode_fields(const mica_columns *columns,
                                                const char *const *cells, float *x, int64_t *ids);

/* The columns as JSON text for a model file (mica_model_set_columns), without the class names,
 * which the model has anyway; release with mica_free. */
MICA_API mica_status mica_columns_text(const mica_columns *columns, char **out);
/* The same read back, with n class names. */
MICA_API mica_status mica_columns_parse(const char *text, const char *const *classes, int64_t n,
                                        mica_columns **out);

/* ---- data tables ---- */

/* How the label is read: by what the column holds (text, or whole numbers of up to 100 different
 * values, are classes; other numbers a numeric target), or as the caller says. */
typedef enum mica_target_kind {
  MICA_TARGET_BY_CONTENT,
  MICA_TARGET_CLASSES,
  MICA_TARGET_NUMBER
} mica_target_kind;

typedef struct mica_data_table_options {
  uint32_t size;
  const char *label; /* the column to predict; NULL: none (or what `columns`, or the log's format,
                        says) */
  mica_target_kind target;
  const char *numeric, *categorical,
      *ignore;            /* names of columns, separated by commas; NULL: none. What is named in
                             neither is numeric when all its values are numbers */
  int32_t header;         /* 1: the first line holds names, 0: it does not, -1: judged by content */
  char delimiter;         /* 0: judged by content */
  int64_t max_categories; /* different values of a column, 1 to 1048576. More is an error for a
                             column that `categorical` does not name; one that it names keeps the
                             most frequent, and a place for all others */
  double validation;      /* share of the training part held out where no validation part is given;
                             each class gives its share, chosen by a hash of the row's content, so adding
                             rows moves none, and equal rows stay together */
  bool strict; /* stop at the first row that cannot be used; else it is skipped and counted */
  const mica_columns *columns; /* of a model: learn nothing, match by name; borrowed until the
                                  table is freed. NULL: learn them from the training part */
  mica_number_form numbers;    /* of all numeric columns */
  bool fields;                 /* categories as ids, not in places of the row */
  int64_t max_ids;      /* of a field: the most frequent values that have an id of their own, 0 to
                           1048576; max_categories does not count then */
  int64_t min_count;    /* of a field: values that the training part has fewer times have none; 0:
                           2 in logs of a known format, 1 in other tables */
  int64_t hash_buckets; /* of each field: ids by hash, up to 2^31; 0: by value */
  int32_t in_file;      /* 1: rows stay in their files; 0: in memory; -1: in the file when that has
                           more than `memory` bytes (.gz: a fifth of them) */
  int64_t memory; /* of rows in files: bytes for the values seen while columns are learnt, 65536 or
                     more; beyond them rare values are forgotten, so that a count may be too low */
  int64_t buffer; /* of rows in files: how many a shuffling stream mixes */
  const char *format; /* "criteo", "avazu", "libfm", "movielens" (see above), "none"; NULL: by the
                         first line, unless a header, or a label of another name, is asked for */
} mica_data_table_options;
#define MICA_DATA_TABLE_OPTIONS                                                                    \
  {                                                                                                \
    sizeof(mica_data_table_options), NULL, MICA_TARGET_BY_CONTENT, NULL, NULL, NULL, -1, 0, 1000,  \
        0.1, false, NULL, MICA_NUMBER_BY_FORMAT, false, 1048576, 0, 0, 0, (int64_t)1 << 30, 65536, \
        NULL                                                                                       \
  }

/* Rows in memory, 8 bytes for each value, with their label and part; or rows that stay in files of
 * any size (`in_file`), and are read anew by each stream (mica_table_stream_create) in each epoch.
 * Of these the columns, classes, parts and counts are known, and there is no row, label or target
 * to look at: mica_data_table_row gives zeros, _labels and _targets NULL, _part_of says training
 * part, a matrix is MICA_ERR_UNSUPPORTED. Their validation part is each row whose content's hash
 * is below the share, whatever its class. The files must not change while the table is used. */
typedef struct mica_data_table mica_data_table;

/* Can this be a table: is it a file, or a folder with train.csv or train.tsv (.gz or not)? */
MICA_API bool mica_is_table(const char *path);
/* The name of the known log that the file (or the folder's training file) is by its first line,
 * NULL for any other. */
MICA_API const char *mica_table_log_format(const char *path);
/* The file of a part in such a folder (train, val, test), to release with mica_free. NULL where
 * there is none, or, with *status set, where memory is short. */
MICA_API char *mica_table_part_path(const char *folder, mica_part part, mica_status *status);
/* Open a file (the training part), or a folder with train.csv and, where they are there, val.csv
 * and test.csv (.tsv, .gz too). With `columns`, and no label in the file, rows have no labels. Each
 * file is read twice to learn columns; once with given ones, and where the format of a log tells
 * them all (Criteo, Avazu, MovieLens). A missing column, a label outside the training part's
 * classes, a column of too many values are errors with file, line and column. */
MICA_API mica_status mica_data_table_open(const char *path, const mica_data_table_options *options,
                                          mica_data_table **out);
/* NULL does nothing. */
MICA_API void mica_data_table_free(mica_data_table *table);
MICA_API bool mica_data_table_in_file(const mica_data_table *table);
MICA_API int64_t mica_data_table_count(const mica_data_table *table);
MICA_API int64_t mica_data_table_part_count(const mica_data_table *table, mica_part part);
/* MICA_PART_COUNT for a row that mica_data_table_subset left out. */
MICA_API mica_part mica_data_table_part_of(const mica_data_table *table, int64_t i);
/* Borrowed from the table, or those that it was opened with. */
MICA_API const mica_columns *mica_data_table_columns(const mica_data_table *table);
/* Class names; 0 without labels and for a numeric target. NULL out of range. */
MICA_API int64_t mica_data_table_classes(const mica_data_table *table);
MICA_API const char *mica_data_table_class(const mica_data_table *table, int64_t i);
/* For each row the class, NULL when there are none; or the target in its own unit, NULL when there
 * are none. Borrowed. */
MICA_API const int64_t *mica_data_table_labels(const mica_data_table *table);
MICA_API const double *mica_data_table_targets(const mica_data_table *table);
/* Row i as numbers, x [mica_columns_width], and as ids [mica_columns_fields]. */
MICA_API void mica_data_table_row(const mica_data_table *table, int64_t i, float *x);
MICA_API void mica_data_table_row_fields(const mica_data_table *table, int64_t i, float *x,
                                         int64_t *ids);
/* All rows of a part: float32 [n, width], and in the same order their labels, int64 [n], or
 * targets, float64 [n] in the label's unit; *labels is NULL when there are none. `labels` may be
 * NULL. */
MICA_API mica_status mica_data_table_matrix(const mica_data_table *table, mica_part part,
                                            mica_tensor **x, mica_tensor **labels);
/* The same, and the ids, int64 [n, fields]; *ids is NULL where there are no fields. */
MICA_API mica_status mica_data_table_matrix_fields(const mica_data_table *table, mica_part part,
                                                   mica_tensor **x, mica_tensor **ids,
                                                   mica_tensor **labels);
/* What tells row i from others in whatever order: a hash of its content, "row:1f..."; "" of a table
 * that stays in its files, and out of range. Written to buf; returns buf. */
MICA_API const char *mica_data_table_name(const mica_data_table *table, int64_t i, char *buf,
                                          size_t n);
/* Leave in a part only these n of its rows, as mica_dataset_subset does: before streams are made.
 * What was learnt of the columns stays. MICA_ERR_UNSUPPORTED for rows in files. */
MICA_API mica_status mica_data_table_subset(mica_data_table *table, mica_part part, int64_t n,
                                            const int64_t *row);
/* The rows of all entries of a list, as mica_item_list_find gives items. */
MICA_API mica_status mica_item_list_find_rows(const mica_item_list *list,
                                              const mica_data_table *table, mica_part part,
                                              int64_t *row);
/* The columns leave the table, which keeps working and must not outlive them. Free with
 * mica_columns_free. */
MICA_API mica_columns *mica_data_table_take_columns(mica_data_table *table);
/* Rows skipped, and a line "FILE: line N: why" for each of the first hundred. */
MICA_API int64_t mica_data_table_skipped(const mica_data_table *table);
MICA_API const char *mica_data_table_skipped_text(const mica_data_table *table);

/* ---- rows of a file, one after the other ---- */

typedef struct mica_row_reader mica_row_reader;
/* Open a file ("-": standard input) for columns that stay the caller's; of `options` only header,
 * delimiter and strict count. The columns are found by name in any order, others are passed over;
 * MICA_ERR_NOT_FOUND names those that are not there. */
MICA_API mica_status mica_row_reader_open(const char *path, const mica_columns *columns,
                                          const mica_data_table_options *options,
                                          mica_row_reader **out);
/* NULL does nothing. */
MICA_API void mica_row_reader_close(mica_row_reader *reader);
/* Up to `most` rows, encoded, into x [most, width], and the number of each among the rows of the
 * file, from 1, into row [most] (may be NULL). *n is 0 at the end. */
MICA_API mica_status mica_row_reader_next(mica_row_reader *reader, int64_t most, float *x,
                                          int64_t *row, int64_t *n);
/* The same, and the ids into ids [most, fields]. */
MICA_API mica_status mica_row_reader_next_fields(mica_row_reader *reader, int64_t most, float *x,
                                                 int64_t *ids, int64_t *row, int64_t *n);
/* As for a data table. */
MICA_API int64_t mica_row_reader_skipped(const mica_row_reader *reader);
MICA_API const char *mica_row_reader_skipped_text(const mica_row_reader *reader);

#ifdef __cplusplus
}
#endif
#endif
