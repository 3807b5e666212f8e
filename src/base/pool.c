/* Threads that wait for ranges of chunks.
 *
 * A range is posted by the caller and claimed by its thread; one that is not claimed when the
 * caller has done his own goes back to the caller. So work never waits for a thread that the system
 * has not let run yet: one that has just been started or woken, or that shares the caller's
 * processor. Which thread runs a chunk changes no result.
 *
 * Who waits looks again and again for a short while, as the next range follows soon, then lets
 * others run in between, then sleeps.
 */
#include "base/pool.h"

#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { IDLE, POSTED, RUNNING, ENDED };
/* Nanoseconds. The first is longer than most gaps between two operations; the second as long as the
 * work that a caller does by himself between two steps. */
enum { LOOK = 20 * 1000, YIELD = 2 * 1000 * 1000 };

typedef struct worker {
  _Alignas(64) _Atomic int state;
  _Atomic int sleepers;
  pthread_mutex_t lock;
  pthread_cond_t change;
  pthread_t thread;
  mica_pool *pool;
  int64_t begin, end;
} worker;

struct mica_pool {
  _Alignas(64) _Atomic int busy;
  int threads, started; /* started: workers; -1: not tried yet */
  mica_range_fn body;
  void *ctx;
  worker workers[];
};

static int64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void pause_a_little(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

/* Until the state is another one, which is returned. */
static int wait_while(worker *w, int state) {
  int now = atomic_load_explicit(&w->state, memory_order_acquire);
  int64_t began = 0, waited = 0;
  for (int looks = 1; now == state && waited < YIELD; looks++) {
    pause_a_little();
    if (looks % 16 == 0) {
      const int64_t time = nanoseconds();
      if (!began) began = time;
      waited = time - began;
      if (waited > LOOK) sched_yield();
    }
    now = atomic_load_explicit(&w->state, memory_order_acquire);
  }
  if (now != state) return now;
  pthread_mutex_lock(&w->lock);
  atomic_fetch_add(&w->sleepers, 1);
  while ((now = atomic_load(&w->state)) == state) pthread_cond_wait(&w->change, &w->lock);
  atomic_fetch_sub(&w->sleepers, 1);
  pthread_mutex_unlock(&w->lock);
  return now;
}

/* Where there are processors for all, a thread that starts or wakes is put on one of its own: left
 * to itself it often begins on the caller's, and stays there until the next tick of the clock. It
 * may move freely afterwards. */
static void spread(mica_pool *pool, worker *w, void (*begin)(worker *w)) {
  cpu_set_t all, one;
  const int here = sched_getcpu();
  const bool room = here >= 0 && here < CPU_SETSIZE &&
                    pthread_getaffinity_np(pthread_self(), sizeof all, &all) == 0 &&
                    CPU_COUNT(&all) >= pool->threads;
  if (room) {
    size_t cpu = (size_t)here;
    for (int64_t i = w - pool->workers; i >= 0; i--) do
        cpu = (cpu + 1) % CPU_SETSIZE;
      while (!CPU_ISSET(cpu, &all));
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(w->thread, sizeof one, &one);
  }
  if (begin) begin(w);
  if (room) pthread_setaffinity_np(w->thread, sizeof all, &all);
}

static void wake(worker *w) {
  pthread_mutex_lock(&w->lock);
  pthread_cond_broadcast(&w->change);
  pthread_mutex_unlock(&w->lock);
}

static void *work(void *ctx) {
  worker *w = ctx;
  while (wait_while(w, IDLE) != ENDED) {
    int posted = POSTED;
    if (!atomic_compare_exchange_strong(&w->state, &posted, RUNNING)) continue;
    w->pool->body(w->pool->ctx, w->begin, w->end);
    atomic_store(&w->state, IDLE);
    if (atomic_load(&w->sleepers)) wake(w);
  }
  return NULL;
}

static void start(mica_pool *pool) {
  pool->started = 0;
  for (int i = 0; i < pool->threads - 1; i++) {
    worker *w = &pool->workers[i];
    if (pthread_create(&w->thread, NULL, work, w)) break;
    pool->started++;
    spread(pool, w, NULL);
  }
}

void mica_pool_run(mica_pool *pool, int64_t chunks, mica_range_fn body, void *ctx) {
  if (atomic_exchange_explicit(&pool->busy, 1, memory_order_acquire)) {
    body(ctx, 0, chunks);
    return;
  }
  if (pool->started < 0) start(pool);
  const int team = pool->started + 1;
  pool->body = body;
  pool->ctx = ctx;
  for (int i = 0; i < pool->started; i++) {
    worker *w = &pool->workers[i];
    w->begin = mica_part_begin(chunks, team, i + 1);
    w->end = mica_part_begin(chunks, team, i + 2);
    if (w->begin == w->end) continue;
    atomic_store(&w->state, POSTED);
    if (atomic_load(&w->sleepers)) spread(pool, w, wake);
  }
  const int64_t own = mica_part_begin(chunks, team, 1);
  if (own) body(ctx, 0, own);
  for (int i = 0; i < pool->started; i++) {
    worker *w = &pool->workers[i];
    int posted = POSTED;
    if (w->begin == w->end) continue;
    if (atomic_compare_exchange_strong(&w->state, &posted, IDLE))
      body(ctx, w->begin, w->end);
    else
      wait_while(w, RUNNING);
  }
  atomic_store_explicit(&pool->busy, 0, memory_order_release);
}

mica_status mica_pool_create(int threads, mica_pool **out) {
  const size_t workers = (size_t)threads - 1;
  mica_pool *pool = mica_calloc_aligned(sizeof *pool + workers * sizeof pool->workers[0]);
  *out = pool;
  if (!pool) return MICA_ERR_MEMORY;
  pool->threads = threads;
  pool->started = -1;
  for (size_t i = 0; i < workers; i++) {
    worker *w = &pool->workers[i];
    w->pool = pool;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->change, NULL);
  }
  return MICA_OK;
}

void mica_pool_free(mica_pool *pool) {
  if (!pool) return;
  for (int i = 0; i < pool->started; i++) {
    atomic_store(&pool->workers[i].state, ENDED);
    if (atomic_load(&pool->workers[i].sleepers)) wake(&pool->workers[i]);
  }
  for (int i = 0; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
  for (int i = 0; i < pool->threads - 1; i++) {
    pthread_cond_destroy(&pool->workers[i].change);
    pthread_mutex_destroy(&pool->workers[i].lock);
  }
  mica_free_aligned(pool);
}

void mica_pool_abandon(mica_pool *pool) {
  mica_free_aligned(pool);
}
