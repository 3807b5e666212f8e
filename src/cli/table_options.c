/* The flags about tables, for the verbs that read them. */
#include "cli/table.h"

bool cli_table_options(const cli_args *a, mica_data_table_options *o) {
  *o = (mica_data_table_options)MICA_DATA_TABLE_OPTIONS;
  o->label = cli_text(a, "--label");
  o->numeric = cli_text(a, "--numeric");
  o->categorical = cli_text(a, "--categorical");
  o->ignore = cli_text(a, "--ignore");
  o->strict = cli_on(a, "--strict");
  if (cli_on(a, "--no-header")) o->header = 0;
  return cli_int(a, "--max-categories", 1, 1048576, &o->max_categories) &&
         cli_double(a, "--val-split", 0, 0.9, &o->validation);
}

void cli_table_skipped(int64_t n, const char *text) {
  if (n) fprintf(stderr, "skipped %lld rows that cannot be used:\n%s", (long long)n, text);
}
