/* An engine's own threads, where mica is built without OpenMP. */
#ifndef MICA_BASE_POOL_H
#define MICA_BASE_POOL_H

#include <mica/engine.h>

typedef struct mica_pool mica_pool;

/* Where part `part` of `parts` begins among the chunks: chunks * part / parts without its overflow.
 */
static inline int64_t mica_part_begin(int64_t chunks, int parts, int part) {
  return chunks / parts * part + chunks % parts * part / parts;
}

/* Room for `threads` of them, the caller's among them. None is started before there is work. */
mica_status mica_pool_create(int threads, mica_pool **out);
/* Ends its threads. NULL is allowed. */
void mica_pool_free(mica_pool *pool);
/* In a child after fork, where the threads are not: gives back the memory and nothing else. */
void mica_pool_abandon(mica_pool *pool);

/* Chunks 0..chunks-1 in contiguous ranges, one a thread. Who finds the pool at work for another
 * caller does it all himself. */
void mica_pool_run(mica_pool *pool, int64_t chunks, mica_range_fn body, void *ctx);

#endif
