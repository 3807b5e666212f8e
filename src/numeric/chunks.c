/* Chunked parallel work that collects errors: a failure in a worker is told to the thread that
 * asked. */
#include "numeric/chunks.h"

#include <stdatomic.h>
#include <stdio.h>

typedef struct {
  mica_chunk_fn fn;
  void *ctx;
  int64_t chunks;
  size_t scratch_bytes;
  atomic_bool failed;
  atomic_flag lock; /* guards what follows */
  int64_t failed_chunk;
  mica_status status;
  char message[512];
} job;

static void record_failure(job *j, int64_t chunk, mica_status status) {
  while (atomic_flag_test_and_set_explicit(&j->lock, memory_order_acquire)) {
  }
  if (j->status == MICA_OK || chunk < j->failed_chunk) {
    j->status = status;
    j->failed_chunk = chunk;
    snprintf(j->message, sizeof j->message, "%s", mica_last_error());
  }
  atomic_flag_clear_explicit(&j->lock, memory_order_release);
  atomic_store(&j->failed, true);
}

static void run_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  if (end > j->chunks) end = j->chunks;
  if (begin >= end) return;
  void *scratch = NULL;
  if (j->scratch_bytes && !(scratch = mica_malloc_aligned(j->scratch_bytes))) {
    record_failure(j, begin, MICA_ERR_MEMORY);
    return;
  }
  for (int64_t c = begin; c < end && !atomic_load(&j->failed); c++) {
    mica_status status = j->fn(j->ctx, c, scratch);
    if (status) record_failure(j, c, status);
  }
  mica_free_aligned(scratch);
}

mica_status mica_chunks_run(const mica_engine *engine, int64_t chunks, size_t scratch_bytes,
                            mica_chunk_fn fn, void *ctx) {
  if (chunks <= 0) return MICA_OK;
  job j = {.fn = fn, .ctx = ctx, .chunks = chunks, .scratch_bytes = scratch_bytes};
  atomic_flag_clear(&j.lock);
  /* A lone chunk gets an idle companion: the engine runs a single chunk outside its parallel
   * region, where a matrix product would use all threads. */
  mica_parallel_for(engine, chunks < 2 ? 2 : chunks, run_range, &j);
  return j.status ? mica_fail(j.status, "%s", j.message) : MICA_OK;
}

mica_status mica_chunks_run_light(const mica_engine *engine, int64_t chunks, size_t scratch_bytes,
                                  mica_chunk_fn fn, void *ctx) {
  if (chunks != 1) return mica_chunks_run(engine, chunks, scratch_bytes, fn, ctx);
  void *scratch = NULL;
  if (scratch_bytes && !(scratch = mica_malloc_aligned(scratch_bytes))) return MICA_ERR_MEMORY;
  mica_status status = fn(ctx, 0, scratch);
  mica_free_aligned(scratch);
  return status;
}
