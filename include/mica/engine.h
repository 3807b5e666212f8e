/* mica/engine.h: the engine owns what would otherwise be global.
 *
 * Thread count, instruction set, the component registry, library primitive caches and the log
 * callback belong to an engine; tapes, parameters and models are made from one. An engine may be
 * used by many threads at once; registering components is done before that.
 */
#ifndef MICA_ENGINE_H
#define MICA_ENGINE_H

#include <mica/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_engine mica_engine;

typedef enum mica_log_level { MICA_LOG_DEBUG, MICA_LOG_INFO, MICA_LOG_WARNING } mica_log_level;
typedef void (*mica_log_fn)(void *ctx, mica_log_level level, const char *message);

/* body(ctx, begin, end) works on the half-open range of chunk indices [begin, end). */
typedef void (*mica_range_fn)(void *ctx, int64_t begin, int64_t end);
/* A host's own parallel-for: must have run every chunk of 0..chunks-1 exactly once, in any order
 * and on any threads, before it returns. */
typedef void (*mica_parallel_fn)(void *host, int64_t chunks, mica_range_fn body, void *ctx);

/* Progress of long work: `done` of `total` (0 when unknown). A non-zero return cancels the work
 * with MICA_ERR_CANCELLED. */
typedef int (*mica_progress_fn)(void *ctx, const char *what, int64_t done, int64_t total);

typedef struct mica_engine_options {
  uint32_t size;
  int32_t threads;   /* 0: as many as the process may use */
  const char *isa;   /* "generic", "avx2", "avx512"; NULL: MICA_ISA of the environment, else best */
  int32_t libraries; /* 1: use oneDNN and OpenBLAS where present; 0: own kernels only, as with
                        MICA_LIBRARIES=0 in the environment */
  int32_t primitives; /* bound of the cache of compiled library primitives */
  mica_log_fn log;    /* NULL: silence */
  void *log_ctx;
  mica_parallel_fn
      parallel; /* NULL: OpenMP, or where it is not built in the engine's own threads */
  void *parallel_ctx;
} mica_engine_options;

#define MICA_ENGINE_OPTIONS                                                                        \
  { sizeof(mica_engine_options), 0, NULL, 1, 256, NULL, NULL, NULL, NULL }

/* NULL options are the defaults. A forced instruction set that the processor lacks is
 * MICA_ERR_UNSUPPORTED. Free the engine after everything made from it. */
MICA_API mica_status mica_engine_create(const mica_engine_options *options, mica_engine **out);
MICA_API void mica_engine_free(mica_engine *engine);

/* In a child after fork the answer is 1, also for an engine that is made there when the parent had
 * one with threads: pools of threads do not survive a fork. */
MICA_API int mica_engine_threads(const mica_engine *engine);
MICA_API const char *mica_engine_isa(const mica_engine *engine);
MICA_API bool mica_engine_uses_libraries(const mica_engine *engine);
MICA_API void mica_engine_log(const mica_engine *engine, mica_log_level level, const char *fmt, ...)
    MICA_PRINTF(3, 4);

/* Run body over chunks 0..chunks-1 on the engine's threads. The caller fixes the number of chunks
 * from the size of the work alone, never from the thread count: that is what keeps reductions the
 * same bits for every thread count. Nested calls run in the calling thread; a single chunk does
 * too, without counting as an outer call, so that what it calls may use the threads. */
MICA_API void mica_parallel_for(const mica_engine *engine, int64_t chunks, mica_range_fn body,
                                void *ctx);

/* Make a component known by name; it must outlive the engine. A second component of the same kind
 * and name is MICA_ERR_INVALID, a wrong abi or size MICA_ERR_UNSUPPORTED. See mica/component.h. */
struct mica_component;
MICA_API mica_status mica_engine_register(mica_engine *engine,
                                          const struct mica_component *component);

/* Load a shared object and call its `mica_status mica_plugin_init(mica_engine *)`. */
MICA_API mica_status mica_engine_load_plugin(mica_engine *engine, const char *path);

#ifdef __cplusplus
}
#endif
#endif
