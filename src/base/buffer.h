/* A buffer that grows: bytes or text under construction.
 *
 * Begin with `mica_bytes b = {0}`. The first failure latches in `status` and later calls do
 * nothing, so a writer checks once at its end. The text always ends with a NUL that is not counted.
 */
#ifndef MICA_BASE_BUFFER_H
#define MICA_BASE_BUFFER_H

#include <mica/base.h>

typedef struct mica_bytes {
  char *data; /* NULL while nothing was written */
  size_t n, room;
  mica_status status;
} mica_bytes;

/* Make room for `more` bytes beyond n; the pointer to them, or NULL. The caller raises n itself. */
char *mica_bytes_reserve(mica_bytes *b, size_t more);
void mica_bytes_append(mica_bytes *b, const void *bytes, size_t n);
void mica_bytes_byte(mica_bytes *b, char byte);
void mica_bytes_text(mica_bytes *b, const char *text);
/* A field of a CSV line, in quotes where it needs them. */
void mica_bytes_csv(mica_bytes *b, const char *text);
void mica_bytes_printf(mica_bytes *b, const char *fmt, ...) MICA_PRINTF(2, 3);
void mica_bytes_clear(mica_bytes *b); /* forget the contents and the failure, keep the memory */
void mica_bytes_free(mica_bytes *b);
/* Hand the block over (release with mica_free) and begin anew; NULL, freed, after a failure. */
char *mica_bytes_take(mica_bytes *b);

#endif
