/* Allocation beyond what <mica/base.h> has. */
#ifndef MICA_BASE_MEMORY_H
#define MICA_BASE_MEMORY_H

#include <mica/base.h>

/* mica_malloc_aligned, zeroed. Large blocks cost nothing until they are touched where the system's
 * allocator is used. */
void *mica_calloc_aligned(size_t bytes) MICA_CHECK_RESULT;
/* A block that will be filled or read here and there: ask for large pages where the system has
 * them. Fewer page faults, and fewer misses of the table of pages. */
void mica_large_pages(void *block, size_t bytes);

#endif
