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
/* Chunk t * chunks / threads without its overflow. */
static int64_t split(int64_t chunks, int threads, int t) {
  return chunks / threads * t + chunks % threads * t / threads;
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
#pragma omp parallel num_threads(threads)
    {
      int team = omp_get_num_threads(), t = omp_get_thread_num();
      int64_t begin = split(chunks, team, t), end = split(chunks, team, t + 1);
      if (begin < end) run_guarded(&g, begin, end);
    }
    return;
  }
#endif
  if (threads > 1 && engine->pool) {
    mica_pool_run(engine->pool, chunks, run_guarded, &g);
    return;
  }
  body(ctx, 0, chunks);
}
