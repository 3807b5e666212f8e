/* Allocation through the host's hooks.
 *
 * The hooks are the one setting that is process-wide: a block may be made by one engine and freed
 * after it. An aligned block is carved out of a larger one and keeps that one's address in the word
 * before its first byte.
 */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define ALIGNMENT 64u

static void *system_realloc(void *ctx, void *block, size_t bytes) {
  (void)ctx;
  return realloc(block, bytes);
}

static void system_free(void *ctx, void *block) {
  (void)ctx;
  free(block);
}

static mica_allocator hooks = {NULL, system_realloc, system_free};

void mica_set_allocator(const mica_allocator *allocator) {
  if (allocator)
    hooks = *allocator;
  else
    hooks = (mica_allocator){NULL, system_realloc, system_free};
}

static void *resize(void *block, size_t bytes) {
  if (bytes == 0) bytes = 1;
  void *got = bytes > PTRDIFF_MAX ? NULL : hooks.realloc_fn(hooks.ctx, block, bytes);
  if (!got) mica_fail(MICA_ERR_MEMORY, "out of memory: %zu bytes asked for", bytes);
  return got;
}

/* A block of zeros. The system's calloc knows which memory is still untouched and so zero. */
static void *zeroed(size_t bytes) {
  if (hooks.realloc_fn == system_realloc && bytes && bytes <= PTRDIFF_MAX) {
    void *got = calloc(1, bytes);
    if (got) return got;
  }
  void *block = resize(NULL, bytes);
  if (block) memset(block, 0, bytes);
  return block;
}

static bool product(size_t n, size_t size, size_t *bytes) {
  if (size && n > SIZE_MAX / size) {
    mica_fail(MICA_ERR_MEMORY, "out of memory: %zu elements of %zu bytes asked for", n, size);
    return false;
  }
  *bytes = n * size;
  return true;
}

void *mica_malloc(size_t bytes) {
  return resize(NULL, bytes);
}

void *mica_calloc(size_t n, size_t size) {
  size_t bytes;
  return product(n, size, &bytes) ? zeroed(bytes) : NULL;
}

void *mica_realloc_array(void *block, size_t n, size_t size) {
  size_t bytes;
  if (!product(n, size, &bytes)) return NULL;
  return resize(block, bytes);
}

char *mica_strndup(const char *text, size_t n) {
  n = strnlen(text, n);
  char *copy = mica_malloc(n + 1);
  if (!copy) return NULL;
  memcpy(copy, text, n);
  copy[n] = '\0';
  return copy;
}

char *mica_strdup(const char *text) {
  return mica_strndup(text, SIZE_MAX);
}

void mica_free(void *block) {
  if (block) hooks.free_fn(hooks.ctx, block);
}

/* A block carved out of a larger one, at an address that `to` divides. */
static void *aligned(size_t bytes, size_t to, void *(*take)(size_t bytes)) {
  size_t extra = sizeof(void *) + to - 1;
  if (bytes > SIZE_MAX - extra) {
    mica_fail(MICA_ERR_MEMORY, "out of memory: %zu bytes asked for", bytes);
    return NULL;
  }
  unsigned char *block = take(bytes + extra);
  if (!block) return NULL;
  unsigned char *after = block + sizeof(void *);
  size_t past = (uintptr_t)after % to;
  unsigned char *aligned = past ? after + (to - past) : after;
  memcpy(aligned - sizeof(void *), &block, sizeof block);
  return aligned;
}

#if defined(__linux__) && defined(MADV_HUGEPAGE)
#define LARGE_PAGE ((size_t)2 << 20)
#else
#define LARGE_PAGE SIZE_MAX
#endif

void mica_large_pages(void *block, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const size_t before = (LARGE_PAGE - (uintptr_t)block % LARGE_PAGE) % LARGE_PAGE;
  if (bytes < LARGE_PAGE + before) return;
  madvise((char *)block + before, (bytes - before) / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#else
  (void)block;
  (void)bytes;
#endif
}

/* Large blocks begin with a large page. Not zeroed blocks, of which much may never be touched. */
void *mica_malloc_aligned(size_t bytes) {
  void *block = aligned(bytes, bytes < LARGE_PAGE ? ALIGNMENT : LARGE_PAGE, mica_malloc);
  if (block) mica_large_pages(block, bytes);
  return block;
}

void *mica_calloc_aligned(size_t bytes) {
  return aligned(bytes, ALIGNMENT, zeroed);
}

void mica_free_aligned(void *block) {
  if (!block) return;
  void *whole;
  memcpy(&whole, (unsigned char *)block - sizeof(void *), sizeof whole);
  mica_free(whole);
}
