/* mica info: what is in a file. */
#include "cli/cli.h"

#include <mica/model.h>

#include <inttypes.h>
#include <string.h>

static int run(const cli_args *a) {
  mica_archive *f;
  if (mica_archive_open(a->operand[0], &f) != MICA_OK) return cli_failed(a);
  const int64_t n = mica_archive_count(f);
  int64_t elements = 0;
  for (int64_t i = 0; i < n; i++) elements += mica_shape_count(mica_archive_shape(f, i));
  printf("%s: %s, %" PRId64 " tensors, %" PRId64 " elements\n", a->operand[0],
         mica_archive_format(f), n, elements);
  for (int64_t i = 0; i < mica_archive_metadata_count(f); i++)
    printf("  %s: %s\n", mica_archive_metadata_key(f, i), mica_archive_metadata_value(f, i));
  for (int64_t i = 0; i < n; i++) {
    char shape[128];
    printf("  %-48s %-8s %s\n", mica_archive_name(f, i), mica_dtype_name(mica_archive_dtype(f, i)),
           mica_shape_text(mica_archive_shape(f, i), shape, sizeof shape));
  }
  mica_archive_close(f);
  return EXIT_OK;
}

static const cli_flag flags[] = {CLI_COMMON_FLAGS};

const cli_verb verb_info = {
    "info", "FILE", "tell what a model file or checkpoint holds", flags, 1, 1, run, NULL};
