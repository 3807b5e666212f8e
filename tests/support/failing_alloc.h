/* Allocation failures on purpose, and a count of what was not given back.
 *
 * Between failing_alloc_install and _remove every block of the library comes from here: new memory
 * is filled with 0xcd, freed memory with 0xdd, and a reallocated block always moves, so that the
 * use of what is unset or stale shows. Install before anything is allocated, remove after all is
 * freed.
 */
#ifndef MICA_TESTS_FAILING_ALLOC_H
#define MICA_TESTS_FAILING_ALLOC_H

#include "support/test.h"

#include <mica/base.h>

void failing_alloc_install(void);
/* Fails the test when a block is still alive. */
void failing_alloc_remove(void);

/* From now on the n-th allocation fails, and it alone; 0 for none. */
void failing_alloc_arm(long n);
long failing_alloc_count(void);    /* allocations since the arming, with the failed one */
bool failing_alloc_happened(void); /* has the armed failure come to pass? */
long failing_alloc_live(void);     /* blocks now alive */

/* Run fn(ctx) with allocation 1, 2, 3, ... failing until it gets through without one. Each failed
 * run must return MICA_ERR_MEMORY with a message, and every run must give back what it took: fn
 * frees what it makes, also on success. Works with or without _install around it. Returns the
 * number of allocations of the successful run. What an engine from outside keeps (caches) would
 * count as a leak: make the engine inside fn, or run fn once before. */
long fail_each(mica_status (*fn)(void *ctx), void *ctx);
/* The same for every `stride`-th allocation, for work with thousands of them. */
long fail_every(long stride, mica_status (*fn)(void *ctx), void *ctx);

#endif
