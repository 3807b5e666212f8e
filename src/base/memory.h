/* Allocation beyond what <mica/base.h> has. */
#ifndef MICA_BASE_MEMORY_H
#define MICA_BASE_MEMORY_H

#include <mica/base.h>

#include <string.h>

/* mica_malloc_aligned, zeroed. Large blocks cost nothing until they are touched where the system's
 * allocator is used. */
void *mica_calloc_aligned(size_t bytes) MICA_CHECK_RESULT;
/* A block that will be filled or read here and there: ask for large pages where the system has
 * them. Fewer page faults, and fewer misses of the table of pages. */
void mica_large_pages(void *block, size_t bytes);

/* memcpy without a call for a row of one element, or of whole 16 bytes: of short ones there are
 * many. */
static inline void mica_copy_row(void *to, const void *from, size_t bytes) {
  if (bytes == sizeof(float))
    memcpy(to, from, sizeof(float));
  else if (bytes % 16 == 0 && bytes <= 256)
    for (size_t i = 0; i < bytes; i += 16) memcpy((char *)to + i, (const char *)from + i, 16);
  else
    memcpy(to, from, bytes);
}

#endif
