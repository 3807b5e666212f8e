/* Bytes in order, from a file, a gzip file, standard input or memory.
 *
 * What begins with gzip's two bytes is inflated on the way (several members in one file too), so every
 * reader of a sequential format takes FILE and FILE.gz alike.
 */
#ifndef MICA_DATA_STREAM_H
#define MICA_DATA_STREAM_H

#include <mica/base.h>

typedef struct mica_stream mica_stream;

/* "-" is standard input. */
mica_status mica_stream_open(const char *path, mica_stream **out);
mica_status mica_stream_open_memory(const void *bytes, size_t n, const char *name, mica_stream **out);
void mica_stream_close(mica_stream *stream);
const char *mica_stream_name(const mica_stream *stream);
/* Bytes handed out so far. */
uint64_t mica_stream_position(const mica_stream *stream);

/* Up to n bytes; *got is less than n at the end only. */
mica_status mica_stream_read(mica_stream *stream, void *to, size_t n, size_t *got);
/* Exactly n bytes; a shorter stream is MICA_ERR_FORMAT, naming `what` was expected. */
mica_status mica_stream_exact(mica_stream *stream, void *to, size_t n, const char *what);
mica_status mica_stream_skip(mica_stream *stream, uint64_t n);
/* Everything that is left, at most `limit` bytes, into *bytes (release with mica_free). The block grows
 * with what arrives, so a false size claimed somewhere costs nothing. */
mica_status mica_stream_rest(mica_stream *stream, size_t limit, uint8_t **bytes, size_t *n);
/* The next byte or -1 at the end; on an error -1 too, and *status is set. */
int mica_stream_byte(mica_stream *stream, mica_status *status);

#endif
