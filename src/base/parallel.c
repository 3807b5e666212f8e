/* mica_parallel_for: chunks over OpenMP's threads, the engine's own or the host's.
 *
 * Thread t of T begins with the t-th contiguous range, so that it meets again what is in its
 * caches. Who is done takes over what others have not begun: on a shared machine some thread always
 * is the slow one, and all would wait for it. OpenMP's team always has the engine's thread count,
 * even when there are fewer chunks: libgomp ends threads that a smaller team leaves over and would
 * have to start them again for the next.
 */
#include "base/engine.h"
#include "base/pool.h"

#include <stdatomic.h>

#ifdef _OPENMP
#include <omp.h>
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

/* ---- shares ---- */

enum { PIECES = 4, SHARES = 64 };

/* What is left of a thread's range. Pieces of it are taken by its thread, and by those that have
 * done theirs. */
typedef struct share {
  _Alignas(64) _Atomic int64_t next;
  int64_t end, piece;
} share;

typedef struct team {
  guarded *work;
  int shares;
  share share[SHARES];
} team;

static void share_out(team *all, guarded *work, int64_t chunks, int threads) {
  all->work = work;
  all->shares = threads < SHARES ? threads : SHARES;
  for (int t = 0; t < all->shares; t++) {
    share *s = &all->share[t];
    atomic_init(&s->next, mica_part_begin(chunks, all->shares, t));
    s->end = mica_part_begin(chunks, all->shares, t + 1);
    s->piece = (s->end - s->next + PIECES - 1) / PIECES;
  }
}

static void work_off(share *s, guarded *work) {
  while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->end) {
    const int64_t begin = atomic_fetch_add_explicit(&s->next, s->piece, memory_order_relaxed);
    const int64_t end = begin + s->piece < s->end ? begin + s->piece : s->end;
    if (begin < end) run_guarded(work, begin, end);
  }
}

/* Threads [begin, end) of the team: their own shares first. */
static void take_part(void *ctx, int64_t begin, int64_t end) {
  team *all = ctx;
  for (int64_t t = begin; t < end; t++)
    for (int i = 0; i < all->shares; i++) work_off(&all->share[(t + i) % all->shares], all->work);
}

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
    team all;
    share_out(&all, &g, chunks, threads);
#pragma omp parallel num_threads(threads)
    take_part(&all, omp_get_thread_num(), omp_get_thread_num() + 1);
    return;
  }
#endif
  if (threads > 1 && engine->pool) {
    team all;
    share_out(&all, &g, chunks, threads);
    mica_pool_run(engine->pool, all.shares, take_part, &all);
    return;
  }
  body(ctx, 0, chunks);
}
