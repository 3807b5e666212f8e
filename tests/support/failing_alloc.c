/* The hooks keep all live blocks in a ring, under a lock: any thread may allocate. */
#include "support/failing_alloc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x6d696361u

typedef struct ring {
  struct ring *before, *after;
} ring;

typedef struct header {
  ring link; /* first, so that a link is its block */
  size_t bytes;
  uint32_t magic;
  long number;
  _Alignas(max_align_t) unsigned char data[];
} header;

static struct {
  pthread_mutex_t lock;
  ring ring;
  long live, count, fail_at, total;
  bool happened, installed;
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER, .ring = {.before = &heap.ring, .after = &heap.ring}};

static header *header_of(void *block) {
  header *h = (header *)((unsigned char *)block - offsetof(header, data));
  if (h->magic != MAGIC) {
    fprintf(stderr, "a block that is not ours, or is freed already, came to the allocator\n");
    abort();
  }
  return h;
}

static void unlink_locked(header *h) {
  h->link.before->after = h->link.after;
  h->link.after->before = h->link.before;
  heap.live--;
}

static void failing_free(void *ctx, void *block) {
  (void)ctx;
  header *h = header_of(block);
  pthread_mutex_lock(&heap.lock);
  unlink_locked(h);
  pthread_mutex_unlock(&heap.lock);
  memset(h->data, 0xdd, h->bytes);
  h->magic = 0;
  free(h);
}

static void *failing_realloc(void *ctx, void *block, size_t bytes) {
  pthread_mutex_lock(&heap.lock);
  bool fails = ++heap.count == heap.fail_at;
  heap.happened |= fails;
  pthread_mutex_unlock(&heap.lock);
  header *h = fails || bytes > SIZE_MAX - sizeof *h ? NULL : malloc(sizeof *h + bytes);
  if (!h) return NULL;
  h->bytes = bytes;
  h->magic = MAGIC;
  memset(h->data, 0xcd, bytes);
  pthread_mutex_lock(&heap.lock);
  h->number = ++heap.total;
  h->link = (ring){heap.ring.before, &heap.ring};
  h->link.before->after = h->link.after->before = &h->link;
  heap.live++;
  pthread_mutex_unlock(&heap.lock);
  if (block) {
    size_t old = header_of(block)->bytes;
    memcpy(h->data, block, old < bytes ? old : bytes);
    failing_free(ctx, block);
  }
  return h->data;
}

void failing_alloc_install(void) {
  static const mica_allocator hooks = {NULL, failing_realloc, failing_free};
  failing_alloc_arm(0);
  mica_set_allocator(&hooks);
  heap.installed = true;
}

static void list_live(long after) {
  for (const ring *r = heap.ring.after; r != &heap.ring; r = r->after) {
    const header *h = (const header *)r;
    if (h->number > after)
      print_error("block %ld of %zu bytes is still alive\n", h->number, h->bytes);
  }
}

void failing_alloc_remove(void) {
  failing_alloc_arm(0);
  if (heap.live) {
    list_live(0);
    fail_msg("%ld blocks were not given back", heap.live);
  }
  mica_set_allocator(NULL);
  heap.installed = false;
}

void failing_alloc_arm(long n) {
  pthread_mutex_lock(&heap.lock);
  heap.count = 0;
  heap.fail_at = n;
  heap.happened = false;
  pthread_mutex_unlock(&heap.lock);
}

long failing_alloc_count(void) {
  return heap.count;
}
bool failing_alloc_happened(void) {
  return heap.happened;
}
long failing_alloc_live(void) {
  return heap.live;
}

long fail_each(mica_status (*fn)(void *ctx), void *ctx) {
  return fail_every(1, fn, ctx);
}

long fail_every(long stride, mica_status (*fn)(void *ctx), void *ctx) {
  bool ours = !heap.installed;
  if (ours) failing_alloc_install();
  long count = 0;
  for (long n = 1;; n += stride) {
    long live = heap.live, total = heap.total;
    mica_clear_error();
    failing_alloc_arm(n);
    mica_status status = fn(ctx);
    bool happened = failing_alloc_happened();
    count = failing_alloc_count();
    failing_alloc_arm(0);
    if (heap.live != live) {
      list_live(total);
      fail_msg("%ld blocks were not given back when allocation %ld failed", heap.live - live, n);
    }
    if (!happened) {
      if (status) fail_msg("failed without cause: %s", mica_last_error());
      break;
    }
    if (status != MICA_ERR_MEMORY)
      fail_msg("allocation %ld failed, the result was '%s' (%s)", n, mica_status_name(status),
               mica_last_error());
    if (mica_last_status() != MICA_ERR_MEMORY || !*mica_last_error())
      fail_msg("allocation %ld failed and left no message", n);
  }
  if (ours) failing_alloc_remove();
  return count;
}
