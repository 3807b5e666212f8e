/* mica_parallel_for: chunks over OpenMP's threads, the engine's own or the host's.
 *
 * The schedule is static: thread t of T gets one contiguous range. OpenMP's team always has the
 * engine's thread count, even when there are fewer chunks: libgomp ends threads that a smaller team
 * leaves over and would have to start them again for the next.
 */
#include "base/engine.h"
#include "base/pool.h"

#ifdef _OPENMP
#include <omp.h>
#include <stdatomic.h>
#endif

static _Thread_local bool inside;

bool mica_in_parallel(void) {
  return inside;
}

typedef struct guarded {
  mica_range_fn body;
  void *ctx;
} guarded;

/* The host's threads are marked while they work for us, so that nested calls stay where they are.
 */
static void run_guarded(void *ctx, int64_t begin, int64_t end) {
  const guarded *g = ctx;
  bool was = inside;
  inside = true;
  g->body(g->ctx, begin, end);
  inside = was;
}

#ifdef _OPENMP
enum { PIECES = 4, SHARES = 64 };

/* What a thread has yet to take of its range: others take from it when theirs is done. */
typedef struct share {
  _Alignas(64) _Atomic int64_t next;
  int64_t end, piece;
} share;

/* Chunk t * chunks / threads without its overflow. */
static int64_t split(int64_t chunks, int threads, int t) {
  return chunks / threads * t + chunks % threads * t / threads;
}

static void take_all(share *s, guarded *g) {
  for (;;) {
    if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) return;
    const int64_t begin = atomic_fetch_add_explicit(&s->next, s->piece, memory_order_relaxed);
    if (begin >= s->end) return;
    run_guarded(g, begin, begin + s->piece < s->end ? begin + s->piece : s->end);
  }
}

static void run_team(guarded *g, int64_t chunks, int threads) {
  share all[SHARES];
  const int shares = threads < SHARES ? threads : SHARES;
  for (int t = 0; t < shares; t++) {
    const int64_t begin = split(chunks, shares, t), end = split(chunks, shares, t + 1);
    all[t].next = begin;
    all[t].end = end;
    all[t].piece = (end - begin + PIECES - 1) / PIECES;
  }
#pragma omp parallel num_threads(threads)
  {
    const int t = omp_get_thread_num();
    for (int i = 0; i < shares; i++) take_all(&all[(t + i) % shares], g);
  }
}
#endif

void mica_parallel_for(const mica_engine *engine, int64_t chunks, mica_range_fn body, void *ctx) {
  if (chunks <= 0) return;
  guarded g = {body, ctx};
  int threads = inside || chunks == 1 ? 1 : mica_engine_threads(engine);
  if (threads > 1 && engine->parallel) {
    engine->parallel(engine->parallel_ctx, chunks, run_guarded, &g);
    return;
  }
#ifdef _OPENMP
  if (threads > 1) {
    run_team(&g, chunks, threads);
    return;
  }
#endif
  if (threads > 1 && engine->pool) {
    mica_pool_run(engine->pool, chunks, run_guarded, &g);
    return;
  }
  body(ctx, 0, chunks);
}
