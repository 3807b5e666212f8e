#include "tensor/kernel/library.h"

#include "base/engine.h"
#include "base/process.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { BLOCKS = 64 };                        /* idle scratch blocks kept */
static const size_t IDLE_BYTES = 512u << 20; /* and their size together */

/* In front of every scratch block; keeps the alignment. */
typedef struct block_header {
  size_t bytes;
  bool pooled;
} block_header;
enum { HEADER = 64 };

typedef struct primitive {
  void *object;
  void (*destroy)(void *object);
  uint64_t hash, used;
  size_t key_bytes;
  unsigned char key[MICA_PRIMITIVE_KEY_MAX];
} primitive;

typedef struct library {
  pthread_mutex_t lock;
  pid_t creator;
  void *block[BLOCKS]; /* idle ones */
  int blocks;
  size_t idle_bytes;
  primitive *primitives; /* `count` of `room` */
  int count, room;
  uint64_t clock;
  void *handle[MICA_LIBRARY_COUNT];
  bool tried[MICA_LIBRARY_COUNT];
} library;

static block_header *header_of(void *block) {
  return (block_header *)(void *)((char *)block - HEADER);
}

static void *create(const mica_engine *engine) {
  library *l = mica_calloc(1, sizeof(*l));
  if (!l) return NULL;
  l->room = engine->primitives > 0 ? engine->primitives : 0;
  l->primitives = mica_calloc((size_t)l->room, sizeof(*l->primitives));
  if (!l->primitives || pthread_mutex_init(&l->lock, NULL) != 0) {
    mica_free(l->primitives);
    mica_free(l);
    return NULL;
  }
  l->creator = mica_process();
  return l;
}

static void destroy(void *object) {
  library *l = object;
  if (l->creator == mica_process())
    for (int i = 0; i < l->count; i++) l->primitives[i].destroy(l->primitives[i].object);
  for (int i = 0; i < l->blocks; i++) mica_free_aligned(header_of(l->block[i]));
  pthread_mutex_destroy(&l->lock);
  mica_free(l->primitives);
  mica_free(l);
}

/* NULL in a child after fork, where the lock may be held for ever, and when memory is short. */
static library *library_of(const mica_engine *engine) {
  if (mica_process() != engine->creator) return NULL;
  return mica_engine_slot(engine, create, destroy);
}

/* ---- scratch ---- */

static void *block_make(size_t bytes, bool pooled) {
  if (bytes > SIZE_MAX - HEADER) {
    mica_fail(MICA_ERR_MEMORY, "scratch of %zu bytes is too large", bytes);
    return NULL;
  }
  block_header *h = mica_malloc_aligned(bytes + HEADER);
  if (!h) return NULL;
  h->bytes = bytes;
  h->pooled = pooled;
  return (char *)h + HEADER;
}

void *mica_workspace_acquire(const mica_engine *engine, size_t bytes) {
  /* A forked child works without the pool; where memory is short even for that, say so now. */
  if (mica_process() != engine->creator) return block_make(bytes, false);
  library *l = library_of(engine);
  if (!l) return NULL;
  bytes = (bytes + 4095) & ~(size_t)4095;
  void *fit = NULL, *outgrown = NULL;
  pthread_mutex_lock(&l->lock);
  int best = -1, largest = -1;
  for (int i = 0; i < l->blocks; i++) {
    const size_t size = header_of(l->block[i])->bytes;
    if (size >= bytes && (best < 0 || size < header_of(l->block[best])->bytes)) best = i;
    if (largest < 0 || size > header_of(l->block[largest])->bytes) largest = i;
  }
  /* A request that outgrows all idle blocks replaces the largest, so that sizes that creep up do
   * not leave a trail of blocks. */
  const int take = best >= 0 ? best : largest;
  if (take >= 0) {
    if (best >= 0)
      fit = l->block[take];
    else
      outgrown = l->block[take];
    l->idle_bytes -= header_of(l->block[take])->bytes;
    l->block[take] = l->block[--l->blocks];
  }
  pthread_mutex_unlock(&l->lock);
  if (outgrown) mica_free_aligned(header_of(outgrown));
  return fit ? fit : block_make(bytes, true);
}

void mica_workspace_release(const mica_engine *engine, void *block) {
  if (!block) return;
  block_header *h = header_of(block);
  library *l = h->pooled ? library_of(engine) : NULL;
  bool kept = false;
  if (l) {
    pthread_mutex_lock(&l->lock);
    if (l->blocks < BLOCKS && h->bytes <= IDLE_BYTES - l->idle_bytes) {
      l->block[l->blocks++] = block;
      l->idle_bytes += h->bytes;
      kept = true;
    }
    pthread_mutex_unlock(&l->lock);
  }
  if (!kept) mica_free_aligned(h);
}

/* ---- threads ---- */

bool mica_libraries_usable(const mica_engine *engine) {
  return engine->libraries && mica_process() == engine->creator;
}

int mica_library_threads(const mica_engine *engine) {
  if (engine->parallel || mica_in_parallel()) return 1;
  return mica_engine_threads(engine);
}

int mica_library_threads_set(int threads) {
#ifdef _OPENMP
  const int before = omp_get_max_threads();
  if (before != threads) omp_set_num_threads(threads);
  return before;
#else
  return threads;
#endif
}

void mica_library_threads_restore(int before) {
#ifdef _OPENMP
  if (omp_get_max_threads() != before) omp_set_num_threads(before);
#else
  (void)before;
#endif
}

/* ---- primitives ---- */

mica_status mica_primitive_take(const mica_engine *engine, const void *key, size_t bytes,
                                void **out) {
  *out = NULL;
  if (mica_process() != engine->creator) return MICA_OK;
  library *l = library_of(engine);
  if (!l) return MICA_ERR_MEMORY;
  const uint64_t hash = mica_hash64(key, bytes, 0);
  void *object = NULL;
  pthread_mutex_lock(&l->lock);
  for (int i = 0; i < l->count && !object; i++) {
    primitive *p = &l->primitives[i];
    if (p->hash != hash || p->key_bytes != bytes || memcmp(p->key, key, bytes) != 0) continue;
    object = p->object;
    *p = l->primitives[--l->count];
  }
  pthread_mutex_unlock(&l->lock);
  *out = object;
  return MICA_OK;
}

void mica_primitive_put(const mica_engine *engine, const void *key, size_t bytes, void *object,
                        void (*destroy_object)(void *object)) {
  library *l = library_of(engine);
  void *unwanted = object;
  void (*release)(void *) = destroy_object;
  if (l && l->room > 0 && bytes <= MICA_PRIMITIVE_KEY_MAX) {
    pthread_mutex_lock(&l->lock);
    int at = l->count;
    unwanted = NULL;
    if (l->count < l->room) {
      l->count++;
    } else {
      at = 0;
      for (int i = 1; i < l->count; i++)
        if (l->primitives[i].used < l->primitives[at].used) at = i;
      unwanted = l->primitives[at].object;
      release = l->primitives[at].destroy;
    }
    primitive *p = &l->primitives[at];
    p->object = object;
    p->destroy = destroy_object;
    p->hash = mica_hash64(key, bytes, 0);
    p->used = ++l->clock;
    p->key_bytes = bytes;
    memcpy(p->key, key, bytes);
    pthread_mutex_unlock(&l->lock);
  }
  if (unwanted) release(unwanted);
}

/* ---- loaded libraries ---- */

void *mica_library_handle(const mica_engine *engine, int which, const char *const *names) {
  library *l = mica_libraries_usable(engine) ? library_of(engine) : NULL;
  if (!l) return NULL;
  pthread_mutex_lock(&l->lock);
  if (!l->tried[which]) {
    l->tried[which] = true;
    for (; *names && !l->handle[which]; names++)
      l->handle[which] = dlopen(*names, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  }
  void *handle = l->handle[which];
  pthread_mutex_unlock(&l->lock);
  return handle;
}
