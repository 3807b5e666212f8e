/* Parallel work in chunks that may fail, with scratch memory and serial matrix products inside.
 *
 * The number of chunks is fixed by the caller from the size of the work alone. Inside a chunk every
 * mica_gemm runs on one thread, also when there is only one chunk: a library may cut a sum
 * differently for another thread count, and the rooms above promise equal bits.
 */
#ifndef MICA_NUMERIC_CHUNKS_H
#define MICA_NUMERIC_CHUNKS_H

#include <mica/engine.h>

/* Work on one chunk; `scratch` is 64-byte aligned and this thread's alone until the call returns.
 */
typedef mica_status (*mica_chunk_fn)(void *ctx, int64_t chunk, void *scratch);

/* Run fn over 0..chunks-1. When chunks fail, the others that have not begun are left out and the
 * failure of the lowest chunk that ran becomes the calling thread's last error. `scratch_bytes` may
 * be 0. */
mica_status mica_chunks_run(const mica_engine *engine, int64_t chunks, size_t scratch_bytes,
                            mica_chunk_fn fn, void *ctx);
/* The same for work without matrix products: a lone chunk runs at once, without waking a thread. */
mica_status mica_chunks_run_light(const mica_engine *engine, int64_t chunks, size_t scratch_bytes,
                                  mica_chunk_fn fn, void *ctx);

/* The number of chunks that `rows` rows make at `rows_per_chunk`. */
static inline int64_t mica_chunks_of(int64_t rows, int64_t rows_per_chunk) {
  return (rows + rows_per_chunk - 1) / rows_per_chunk;
}

#endif
