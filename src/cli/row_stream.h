/* Rows that go to disk as they come, to be read again as one matrix: memory does not grow with
 * them. */
#ifndef MICA_CLI_ROW_STREAM_H
#define MICA_CLI_ROW_STREAM_H

#include "cli/features.h"

#include "base/file.h"

typedef struct row_stream {
  mica_writer *w;
  mica_mapping map;
  int64_t n, width;
} row_stream;

/* Rows of `width` numbers, beside the file OUT that they are for; nothing is left behind. */
mica_status row_stream_open(const char *out, int64_t width, row_stream *s);
mica_status row_stream_add(row_stream *s, const float *x, int64_t m);
/* All of them, float32 [n, width], until the stream is closed. */
mica_status row_stream_view(row_stream *s, mica_view *out);
void row_stream_close(row_stream *s);

/* Every picture of a data set through the model into a file as features_write has it, in the data
 * set's order; *rows of them. */
mica_status features_embed_to(const cli_args *a, mica_model *model, const mica_dataset *ds,
                              const char *path, int64_t *rows);

#endif
