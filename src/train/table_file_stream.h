/* Batches of a table whose rows stay in their files. */
#ifndef MICA_TRAIN_TABLE_FILE_STREAM_H
#define MICA_TRAIN_TABLE_FILE_STREAM_H

#include <mica/train.h>

mica_status mica_table_file_stream_create(const mica_data_table *table, mica_part part,
                                          int64_t batch, bool shuffle, uint64_t seed,
                                          mica_stream *out);
/* Is it one of these? */
bool mica_table_file_stream_is(const mica_stream *stream);
void mica_table_file_stream_free(mica_stream *stream);

#endif
