/* An allocator for one step: blocks come and go inside regions that are kept from step to step.
 *
 * Two-level segregated fit (Masmano et al. 2004): constant time, neighbours merge on release. When
 * a step needed more than one region, the reset joins them into one of the size that was needed, so
 * that after a few steps of the same sizes the hooks are not called at all.
 */
#ifndef MICA_BASE_ARENA_H
#define MICA_BASE_ARENA_H

#include <mica/base.h>

typedef struct mica_arena mica_arena;

/* `reserve` bytes are taken now (0: at the first use). NULL when memory is short. */
mica_arena *mica_arena_create(size_t reserve);
void mica_arena_free(mica_arena *a);
/* 64-byte aligned, uninitialised; a size of 0 is a valid block. NULL, with the last error, when the
 * hooks refuse. */
void *mica_arena_alloc(mica_arena *a, size_t bytes);
/* Give one block back; NULL is ignored. */
void mica_arena_release(mica_arena *a, void *block);
/* Give all blocks back. */
void mica_arena_reset(mica_arena *a);
size_t mica_arena_in_use(const mica_arena *a); /* bytes of live blocks, headers included */
size_t mica_arena_peak(const mica_arena *a);   /* the most since the last reset */
size_t mica_arena_held(const mica_arena *a);   /* bytes of all regions */

#endif
