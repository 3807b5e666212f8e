/* Bytes in order, from a file, a gzip file, standard input or memory.
 *
 * What begins with gzip's two bytes is inflated on the way (several members in one file too), so
 * every reader of a sequential format takes FILE and FILE.gz alike.
 */
#ifndef MICA_DATA_INPUT_H
#define MICA_DATA_INPUT_H

#include <mica/base.h>

typedef struct mica_input mica_input;

/* "-" is standard input. */
mica_status mica_input_open(const char *path, mica_input **out);
mica_status mica_input_open_memory(const void *bytes, size_t n, const char *name, mica_input **out);
void mica_input_close(mica_input *stream);
const char *mica_input_name(const mica_input *stream);
/* Bytes handed out so far. */
uint64_t mica_input_position(const mica_input *stream);
/* The most bytes that can come in all: the size of a file or block, times what deflate can unpack
 * at best when it is gzip; UINT64_MAX for a pipe. */
uint64_t mica_input_bound(const mica_input *stream);

/* Up to n bytes; *got is less than n at the end only. */
mica_status mica_input_read(mica_input *stream, void *to, size_t n, size_t *got);
/* Exactly n bytes; a shorter stream is MICA_ERR_FORMAT, naming `what` was expected. */
mica_status mica_input_exact(mica_input *stream, void *to, size_t n, const char *what);
mica_status mica_input_skip(mica_input *stream, uint64_t n);
/* Everything that is left, at most `limit` bytes, into *bytes (release with mica_free). The block
 * grows with what arrives, so a false size claimed somewhere costs nothing. */
mica_status mica_input_rest(mica_input *stream, size_t limit, uint8_t **bytes, size_t *n);
/* The next byte or -1 at the end; on an error -1 too, and *status is set. */
int mica_input_byte(mica_input *stream, mica_status *status);

#endif
