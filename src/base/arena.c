/* The step's allocator; arena.h tells the idea.
 *
 * A region is a run of blocks, each behind a 64-byte header, closed by a used block of size 0. Free
 * blocks hang in lists by size class: the power of two (first level) split in eight (second level).
 * Two bitmaps find the smallest class that surely fits. Before that, a few blocks of the size's own
 * class are tried: what a layer gave back is what the next layer asks for.
 */
#include "base/arena.h"

#include <assert.h>
#include <string.h>

#define ALIGN     64u
#define CLASSES   64
#define SPLIT     8
#define MIN_BLOCK 64u
#define MIN_GROW  ((size_t)1 << 20)
#define TRIES     16

typedef struct block {
  size_t size;          /* payload bytes, a multiple of ALIGN; bit 0 set: free */
  struct block *before; /* the block physically before, NULL for a region's first */
  struct block *next_free, *prev_free;
  char pad[ALIGN - sizeof(size_t) - 3 * sizeof(void *)];
} block;
_Static_assert(sizeof(block) == ALIGN, "a payload must start aligned");

typedef struct region {
  struct region *next;
  size_t bytes; /* of the whole allocation, this header included */
  char pad[ALIGN - sizeof(size_t) - sizeof(void *)];
} region;
_Static_assert(sizeof(region) == ALIGN, "the first block must start aligned");

struct mica_arena {
  region *regions;
  size_t in_use, peak, held;
  bool joined;    /* the regions have been made one before */
  uint64_t first; /* bit i: some list of class i is not empty */
  uint8_t second[CLASSES];
  block *lists[CLASSES][SPLIT];
};

static size_t size_of(const block *b) {
  return b->size & ~(size_t)1;
}
static bool is_free(const block *b) {
  return b->size & 1;
}
static block *after(block *b) {
  return (block *)((char *)(b + 1) + size_of(b));
}

static void class_of(size_t size, int *i, int *j) {
  *i = 63 - __builtin_clzll((unsigned long long)size);
  *j = (int)((size >> (*i - 3)) & (SPLIT - 1));
}

static void list_add(mica_arena *a, block *b) {
  int i, j;
  class_of(size_of(b), &i, &j);
  b->size |= 1;
  b->prev_free = NULL;
  b->next_free = a->lists[i][j];
  if (b->next_free) b->next_free->prev_free = b;
  a->lists[i][j] = b;
  a->first |= 1ull << i;
  a->second[i] |= (uint8_t)(1u << j);
}

static void list_remove(mica_arena *a, block *b) {
  int i, j;
  class_of(size_of(b), &i, &j);
  if (b->next_free) b->next_free->prev_free = b->prev_free;
  if (b->prev_free) {
    b->prev_free->next_free = b->next_free;
  } else if (!(a->lists[i][j] = b->next_free)) {
    a->second[i] = (uint8_t)(a->second[i] & ~(1u << j));
    if (!a->second[i]) a->first &= ~(1ull << i);
  }
  b->size &= ~(size_t)1;
}

/* One free block over the whole region. */
static void region_clear(mica_arena *a, region *r) {
  block *b = (block *)(r + 1);
  b->size = r->bytes - sizeof(region) - 2 * sizeof(block);
  b->before = NULL;
  block *end = after(b);
  end->size = 0;
  end->before = b;
  list_add(a, b);
}

static region *region_add(mica_arena *a, size_t payload) {
  size_t bytes = payload + sizeof(region) + 2 * sizeof(block);
  region *r = mica_malloc_aligned(bytes);
  if (!r) return NULL;
  r->bytes = bytes;
  r->next = a->regions;
  a->regions = r;
  a->held += bytes;
  region_clear(a, r);
  return r;
}

mica_arena *mica_arena_create(size_t reserve) {
  if (reserve > SIZE_MAX / 4) {
    mica_fail(MICA_ERR_MEMORY, "an arena of %zu bytes cannot be reserved", reserve);
    return NULL;
  }
  mica_arena *a = mica_calloc(1, sizeof *a);
  if (a && reserve && !region_add(a, (reserve + ALIGN - 1) & ~(size_t)(ALIGN - 1))) {
    mica_free(a);
    return NULL;
  }
  return a;
}

static void regions_free(mica_arena *a) {
  while (a->regions) {
    region *r = a->regions;
    a->regions = r->next;
    mica_free_aligned(r);
  }
  a->held = 0;
}

void mica_arena_free(mica_arena *a) {
  if (!a) return;
  regions_free(a);
  mica_free(a);
}

/* A free block of at least `size` bytes, NULL when none was found. Rounding up to the next class
 * makes every block of that class fit. */
static block *find(mica_arena *a, size_t size) {
  int i, j;
  class_of(size, &i, &j);
  block *best = NULL, *b = a->lists[i][j];
  for (int tries = 0; b && tries < TRIES; b = b->next_free, tries++)
    if (size_of(b) >= size && (!best || size_of(b) < size_of(best))) best = b;
  if (best) return best;
  size_t step = (size_t)1 << (i - 3);
  class_of((size + step - 1) & ~(step - 1), &i, &j);
  unsigned in_class = a->second[i] & (0xffu << j);
  if (in_class) return a->lists[i][__builtin_ctz(in_class)];
  uint64_t above = i == 63 ? 0 : a->first & (~0ull << (i + 1));
  if (!above) return NULL;
  i = __builtin_ctzll(above);
  return a->lists[i][__builtin_ctz(a->second[i])];
}

void *mica_arena_alloc(mica_arena *a, size_t bytes) {
  if (bytes > SIZE_MAX / 8) {
    mica_fail(MICA_ERR_MEMORY, "a tensor of %zu bytes cannot be allocated", bytes);
    return NULL;
  }
  size_t size = bytes < MIN_BLOCK ? MIN_BLOCK : (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  block *b = find(a, size);
  if (!b) {
    /* Growing with what is held keeps the regions few, so that what lies free in them is wide; the
     * quarter of the size makes the new block findable. */
    size_t grow = size + size / 4 + a->held / 4;
    if (grow < MIN_GROW) grow = MIN_GROW;
    if (!region_add(a, (grow + ALIGN - 1) & ~(size_t)(ALIGN - 1))) return NULL;
    b = find(a, size);
    assert(b);
  }
  list_remove(a, b);
  if (size_of(b) >= size + sizeof(block) + MIN_BLOCK) {
    block *rest = (block *)((char *)(b + 1) + size);
    rest->size = size_of(b) - size - sizeof(block);
    rest->before = b;
    b->size = size;
    after(rest)->before = rest;
    list_add(a, rest);
  }
  a->in_use += size_of(b) + sizeof(block);
  if (a->in_use > a->peak) a->peak = a->in_use;
  return b + 1;
}

void mica_arena_release(mica_arena *a, void *payload) {
  if (!payload) return;
  block *b = (block *)payload - 1;
  assert(!is_free(b));
  a->in_use -= size_of(b) + sizeof(block);
  block *next = after(b);
  if (is_free(next)) {
    list_remove(a, next);
    b->size += size_of(next) + sizeof(block);
  }
  if (b->before && is_free(b->before)) {
    block *before = b->before;
    list_remove(a, before);
    before->size += size_of(b) + sizeof(block);
    b = before;
  }
  after(b)->before = b;
  list_add(a, b);
}

/* The size of the one region that takes the place of several. The first time they hold more than a
 * step needs, since each grew beside what lay free in the others. What is there beyond the peak is
 * for holes that nothing fits; a second region for these would cost more. If that was too little
 * after all, it is their sum. */
static size_t joined_size(mica_arena *a) {
  const size_t enough = a->peak + a->peak / 16 * 3;
  const size_t total = a->joined || a->held < enough ? a->held : enough;
  a->joined = true;
  return (total + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

void mica_arena_reset(mica_arena *a) {
  memset(a->lists, 0, sizeof a->lists);
  memset(a->second, 0, sizeof a->second);
  a->first = 0;
  a->in_use = 0;
  if (a->regions && a->regions->next) {
    const size_t total = joined_size(a);
    regions_free(a);
    /* Failing here is no error yet: the next allocation asks again and reports it. */
    if (!region_add(a, total)) mica_clear_error();
  } else if (a->regions) {
    region_clear(a, a->regions);
  }
  a->peak = 0;
}

size_t mica_arena_in_use(const mica_arena *a) {
  return a->in_use;
}
size_t mica_arena_peak(const mica_arena *a) {
  return a->peak;
}
size_t mica_arena_held(const mica_arena *a) {
  return a->held;
}
