/* Allocation beyond what <mica/base.h> has. */
#ifndef MICA_BASE_MEMORY_H
#define MICA_BASE_MEMORY_H

#include <mica/base.h>

/* mica_malloc_aligned, zeroed. Large blocks cost nothing until they are touched where the system's
 * allocator is used. */
void *mica_calloc_aligned(size_t bytes) MICA_CHECK_RESULT;

#endif
