/* A thread that prepares what comes next while the caller uses what came before.
 *
 * Batch i is made by a function of i alone, into one of ahead + 1 slots, so what comes is the same
 * with the thread and without it. Without: where no thread can be made, with ahead 0, and in a
 * forked child, which has none of its parent's threads; there the caller makes each batch itself.
 * One thread uses a prefetch at a time.
 */
#ifndef MICA_TRAIN_PREFETCH_H
#define MICA_TRAIN_PREFETCH_H

#include <mica/base.h>

typedef struct mica_prefetch mica_prefetch;

/* Make batch i in a slot. Called by one thread at a time; should ask mica_prefetch_cancelled now
 * and then, and return MICA_ERR_CANCELLED when it is true. */
typedef mica_status (*mica_prefetch_fn)(void *ctx, int64_t i, int64_t slot);

mica_status mica_prefetch_create(mica_prefetch_fn make, void *ctx, int64_t ahead,
                                 mica_prefetch **out);
/* Stops the thread; NULL does nothing. */
void mica_prefetch_free(mica_prefetch *p);
/* Forget what was made. When it returns, nothing is being made until the next call of _start. */
void mica_prefetch_stop(mica_prefetch *p);
/* Stop, then begin to make batches first .. end-1. */
void mica_prefetch_start(mica_prefetch *p, int64_t first, int64_t end);
/* The slot of the next batch, which is the caller's until the next call; its failure, if it
 * failed. Not beyond the end. */
mica_status mica_prefetch_next(mica_prefetch *p, int64_t *slot);
bool mica_prefetch_cancelled(const mica_prefetch *p);

#endif
