/* The flags about tables, for the verbs that read them. */
#include "cli/table.h"

#include <string.h>

static bool form_of(const cli_args *a, mica_number_form *out) {
  static const char *const name[] = {"standard", "plain", "log", "log-square"};
  const char *given = cli_text(a, "--numbers");
  *out = MICA_NUMBER_BY_FORMAT;
  if (!given) return true;
  for (int k = 0; k < 4; k++) {
    *out = (mica_number_form)(MICA_NUMBER_STANDARD + k);
    if (strcmp(given, name[k]) == 0) return true;
  }
  cli_usage(a, "--numbers %s: expected standard, plain, log or log-square", given);
  return false;
}

bool cli_table_options(const cli_args *a, mica_data_table_options *o) {
  *o = (mica_data_table_options)MICA_DATA_TABLE_OPTIONS;
  o->label = cli_text(a, "--label");
  o->numeric = cli_text(a, "--numeric");
  o->categorical = cli_text(a, "--categorical");
  o->ignore = cli_text(a, "--ignore");
  o->strict = cli_on(a, "--strict");
  if (cli_on(a, "--no-header")) o->header = 0;
  if (cli_text(a, "--max-categories")) {
    if (!cli_int(a, "--max-categories", 1, 1048576, &o->max_categories)) return false;
    o->max_ids = o->max_categories;
  }
  o->min_count = 0;
  if (cli_text(a, "--min-count") && !cli_int(a, "--min-count", 1, INT64_MAX, &o->min_count))
    return false;
  o->format = cli_text(a, "--format");
  return form_of(a, &o->numbers) && cli_int(a, "--hash-buckets", 0, 1LL << 31, &o->hash_buckets) &&
         cli_double(a, "--val-split", 0, 0.9, &o->validation);
}

void cli_table_skipped(int64_t n, const char *text) {
  if (n) fprintf(stderr, "skipped %lld rows that cannot be used:\n%s", (long long)n, text);
}
