/* Counts the process's allocations, those of every library in it:
 *
 *     LD_PRELOAD=build/bench/count_mallocs.so build/bench/bench WORKLOAD PHASE
 *
 * bench.c asks for the count. The functions that are stood in front of are glibc's.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

static atomic_long calls;

#define SEEN __attribute__((visibility("default")))

SEEN long bench_count_mallocs(void);
SEEN long bench_count_mallocs(void) {
  return atomic_exchange(&calls, 0);
}

SEEN void *malloc(size_t n) {
  atomic_fetch_add(&calls, 1);
  return __libc_malloc(n);
}

SEEN void *calloc(size_t n, size_t size) {
  atomic_fetch_add(&calls, 1);
  return __libc_calloc(n, size);
}

SEEN void *realloc(void *block, size_t n) {
  atomic_fetch_add(&calls, 1);
  return __libc_realloc(block, n);
}

static void *aligned(size_t alignment, size_t n) {
  atomic_fetch_add(&calls, 1);
  return __libc_memalign(alignment, n);
}

SEEN void *memalign(size_t alignment, size_t n) {
  return aligned(alignment, n);
}

SEEN void *aligned_alloc(size_t alignment, size_t n) {
  return aligned(alignment, n);
}

SEEN int posix_memalign(void **out, size_t alignment, size_t n) {
  void *got = aligned(alignment, n);
  if (got) *out = got;
  return got ? 0 : ENOMEM;
}
