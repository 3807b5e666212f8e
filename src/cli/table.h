/* Tables in the tool: the flags about them, and the verbs' work on their rows. */
#ifndef MICA_CLI_TABLE_H
#define MICA_CLI_TABLE_H

#include "cli/cli.h"

#include <mica/model.h>
#include <mica/table.h>

/* The flags about a table that columns are learnt from; a verb that has them takes its options with
 * cli_table_options (false after a message), and says with cli_table_skipped which rows it could
 * not use. */
#define CLI_TABLE_FLAGS                                                                            \
  {"--label", NULL, "COLUMN", NULL, "table: the column to predict"},                               \
      {"--numeric", NULL, "A,B", NULL, "table: columns of numbers, whatever they hold"},           \
      {"--categorical", NULL, "A,B", NULL, "table: columns of categories, whatever they hold"},    \
      {"--ignore", NULL, "A,B", NULL, "table: columns to leave out"},                              \
      {"--max-categories", NULL, "N", NULL,                                                        \
       "table: different values of a column (1000), of a field (1048576)"},                        \
      {"--format", NULL, "NAME", NULL,                                                             \
       "table: criteo, avazu, libfm, movielens or none; by the first line when not given"},        \
      {"--numbers", NULL, "FORM", NULL,                                                            \
       "table: what numbers become: standard, plain, log, log-square"},                            \
      {"--min-count", NULL, "N", NULL,                                                             \
       "table, for click models: values that are rarer share one id (1; 2 in a known log)"},       \
      {"--hash-buckets", NULL, "N", "0", "table, for click models: ids by hash; 0: by value"}, {   \
    "--no-header", NULL, NULL, NULL, "table: the first line is data; columns are c1, c2, ..."      \
  }
bool cli_table_options(const cli_args *a, mica_data_table_options *o);
void cli_table_skipped(int64_t n, const char *text);

/* `mica predict` and `eval` for a model that has columns: its operands, or --data, are tables. They
 * return the exit code. */
int cli_table_predict(const cli_args *a, mica_model *model, mica_session *session);
int cli_table_eval(const cli_args *a, mica_model *model);
/* The features of all rows of the operands behind the model, to an .npy file. */
mica_status cli_table_embed(const cli_args *a, mica_model *model, mica_session *session,
                            const char *out, int64_t *rows);

#endif
