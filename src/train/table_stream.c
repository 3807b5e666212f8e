/* Batches of rows from a data table, encoded as they are needed. */
#include "data/columns.h"
#include "train/item_stream.h"
#include "train/table_file_stream.h"

static void fill(void *ctx, int64_t item, float *x, int64_t *fields, float *target) {
  const mica_data_table *t = ctx;
  const mica_columns *c = mica_data_table_columns(t);
  mica_data_table_row_fields(t, item, x, fields);
  if (target)
    *target = (float)((mica_data_table_targets(t)[item] - c->target_mean) / c->target_deviation);
}

static void release(void *ctx) {
  (void)ctx; /* the table is the caller's */
}

void mica_table_stream_free(mica_stream *stream) {
  if (mica_table_file_stream_is(stream))
    mica_table_file_stream_free(stream);
  else
    mica_item_stream_free(stream);
}

mica_status mica_table_stream_create(mica_data_table *table, mica_part part, int64_t batch,
                                     bool shuffle, uint64_t seed, mica_stream *out) {
  *out = (mica_stream){0};
  const int64_t n = mica_data_table_part_count(table, part);
  if (!n) return mica_fail(MICA_ERR_NOT_FOUND, "stream: the table has no rows in that part");
  if (batch < 1)
    return mica_fail(MICA_ERR_INVALID, "stream: batch size %lld, expected 1 or more",
                     (long long)batch);
  if (mica_data_table_in_file(table))
    return mica_table_file_stream_create(table, part, batch, shuffle, seed, out);
  int64_t *item = mica_malloc((size_t)n * sizeof *item), k = 0;
  if (!item) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < mica_data_table_count(table); i++)
    if (mica_data_table_part_of(table, i) == part) item[k++] = i;
  const mica_item_stream_options o = {
      .n = n,
      .item = item,
      .example = MICA_SHAPE(mica_columns_width(mica_data_table_columns(table))),
      .fields = mica_columns_fields(mica_data_table_columns(table)),
      .batch = batch,
      .shuffle = shuffle,
      .seed = seed,
      .labels = mica_data_table_labels(table),
      .targets = mica_data_table_targets(table) ? 1 : 0,
      .fill = fill,
      .free = release,
      .ctx = table};
  const mica_status status = mica_item_stream_create(&o, out);
  mica_free(item);
  return status;
}
