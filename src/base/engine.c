/* The engine's life: options, environment, threads, log, plug-ins and the library slot. */
#include "base/engine.h"
#include "base/pool.h"
#include "base/process.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* OpenMP's pool of threads belongs to the process, and so does the fact that must be known about
 * it: which process may have started it. A child that inherits the pool's bookkeeping without its
 * threads would wait for them for ever, so its engines have one thread, in every build. */
static _Atomic(pid_t) pool_owner;

static bool may_use_pool(void) {
  pid_t none = 0, self = mica_process();
  return atomic_compare_exchange_strong(&pool_owner, &none, self) || none == self;
}

static mica_status choose_isa(const char *asked, mica_isa *isa) {
  mica_isa best = mica_isa_detect();
  const char *where = "option isa";
  if (!asked) {
    asked = getenv("MICA_ISA");
    where = "environment MICA_ISA";
  }
  if (!asked || !*asked) {
    *isa = best;
    return MICA_OK;
  }
  for (mica_isa i = MICA_ISA_GENERIC; i <= MICA_ISA_AVX512; i++) {
    if (strcmp(asked, mica_isa_name(i)) != 0) continue;
    if (i > best)
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s: this processor or build has no %s (best: %s)",
                       where, asked, mica_isa_name(best));
    *isa = i;
    return MICA_OK;
  }
  return mica_fail(MICA_ERR_INVALID, "%s: '%s' is none of generic, avx2, avx512", where, asked);
}

static mica_status configure(mica_engine *engine, const mica_engine_options *o) {
  if (o->threads < 0 || o->threads > MICA_THREADS_MAX)
    return mica_fail(MICA_ERR_INVALID, "option threads: %d is outside 0..%d", (int)o->threads,
                     MICA_THREADS_MAX);
  if (o->libraries != 0 && o->libraries != 1)
    return mica_fail(MICA_ERR_INVALID, "option libraries: %d is neither 0 nor 1",
                     (int)o->libraries);
  if (o->primitives < 0)
    return mica_fail(MICA_ERR_INVALID, "option primitives: %d is negative", (int)o->primitives);
  mica_status status = choose_isa(o->isa, &engine->isa);
  if (status) return status;
  const char *libraries = getenv("MICA_LIBRARIES");
  engine->libraries = o->libraries == 1 && !(libraries && strcmp(libraries, "0") == 0);
#if !defined(MICA_HAVE_ONEDNN) && !defined(MICA_HAVE_OPENBLAS)
  engine->libraries = false;
#endif
  engine->threads = o->threads ? o->threads : mica_process_threads();
  if (!o->parallel && engine->threads > 1 && !may_use_pool()) engine->threads = 1;
  engine->creator = mica_process();
  engine->primitives = o->primitives;
  engine->log = o->log;
  engine->log_ctx = o->log_ctx;
  engine->parallel = o->parallel;
  engine->parallel_ctx = o->parallel_ctx;
  return MICA_OK;
}

mica_status mica_engine_create(const mica_engine_options *options, mica_engine **out) {
  if (!out) return mica_fail(MICA_ERR_INVALID, "mica_engine_create: out is NULL");
  *out = NULL;
  mica_engine_options full = MICA_ENGINE_OPTIONS;
  if (options) {
    if (options->size < sizeof options->size)
      return mica_fail(MICA_ERR_INVALID, "engine options: size %u; begin with MICA_ENGINE_OPTIONS",
                       (unsigned)options->size);
    memcpy(&full, options, options->size < sizeof full ? options->size : sizeof full);
  }
  mica_engine *engine = mica_calloc(1, sizeof *engine);
  if (!engine) return MICA_ERR_MEMORY;
  mica_status status = configure(engine, &full);
  if (!status) {
    engine->shared = mica_calloc(1, sizeof *engine->shared);
    if (!engine->shared) status = MICA_ERR_MEMORY;
  }
#ifndef _OPENMP
  if (!status && engine->threads > 1 && !engine->parallel)
    status = mica_pool_create(engine->threads, &engine->pool);
#endif
  int n = 0;
  const mica_component *const *builtin = mica_builtin_components(&n);
  for (int i = 0; i < n && !status; i++) status = mica_engine_add(engine, builtin[i]);
  if (status) {
    mica_engine_free(engine);
    return status;
  }
  *out = engine;
  return MICA_OK;
}

mica_status mica_engine_create_worker(const mica_engine *engine, mica_engine **out) {
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = 1;
  o.isa = mica_isa_name(engine->isa);
  o.libraries = engine->libraries;
  o.primitives = engine->primitives;
  o.log = engine->log;
  o.log_ctx = engine->log_ctx;
  mica_status status = mica_engine_create(&o, out);
  for (int k = 0; k < MICA_KIND_COUNT && status == MICA_OK; k++) {
    const mica_component_list *all = &engine->components[k];
    /* The built-in ones come first, in the same order. */
    for (int i = (*out)->components[k].n; i < all->n && status == MICA_OK; i++)
      status = mica_engine_register(*out, all->item[i]);
  }
  if (status != MICA_OK) {
    mica_engine_free(*out);
    *out = NULL;
  }
  return status;
}

void mica_engine_free(mica_engine *engine) {
  if (!engine) return;
  if (engine->creator == mica_process())
    mica_pool_free(engine->pool);
  else
    mica_pool_abandon(engine->pool);
  if (engine->shared) {
    void *object = atomic_load(&engine->shared->slot);
    void (*destroy)(void *) = atomic_load(&engine->shared->slot_free);
    if (object && destroy) destroy(object);
  }
  mica_free(engine->shared);
  for (int k = 0; k < MICA_KIND_COUNT; k++) mica_free((void *)engine->components[k].item);
  /* Last: components of a plug-in live in its data. */
  for (int i = 0; i < engine->plugin_count; i++) dlclose(engine->plugins[i]);
  mica_free(engine->plugins);
  mica_free(engine);
}

int mica_engine_threads(const mica_engine *engine) {
  return engine->threads > 1 && engine->creator != mica_process() ? 1 : engine->threads;
}

const char *mica_engine_isa(const mica_engine *engine) {
  return mica_isa_name(engine->isa);
}

bool mica_engine_uses_libraries(const mica_engine *engine) {
  return engine->libraries;
}

void mica_engine_log(const mica_engine *engine, mica_log_level level, const char *fmt, ...) {
  if (!engine->log) return;
  char text[1024];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n >= 0) engine->log(engine->log_ctx, level, text);
}

void *mica_engine_slot(const mica_engine *engine, void *(*create)(const mica_engine *engine),
                       void (*destroy)(void *object)) {
  void *object = atomic_load(&engine->shared->slot);
  if (object) return object;
  object = create(engine);
  if (!object) return NULL;
  atomic_store(&engine->shared->slot_free, destroy);
  void *first = NULL;
  if (atomic_compare_exchange_strong(&engine->shared->slot, &first, object)) return object;
  destroy(object);
  return first;
}

mica_status mica_engine_load_plugin(mica_engine *engine, const char *path) {
  if (!engine || !path)
    return mica_fail(MICA_ERR_INVALID, "mica_engine_load_plugin: NULL argument");
  void **grown = mica_realloc_array(engine->plugins, (size_t)engine->plugin_count + 1,
                                    sizeof *engine->plugins);
  if (!grown) return MICA_ERR_MEMORY;
  engine->plugins = grown;
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return mica_fail(MICA_ERR_IO, "plug-in %s: %s", path, dlerror());
  mica_status (*init)(mica_engine *) = NULL;
  /* POSIX promises that a function's address passes through a void pointer; ISO C has no cast. */
  void *symbol = dlsym(handle, "mica_plugin_init");
  memcpy(&init, &symbol, sizeof init);
  if (!init) {
    dlclose(handle);
    return mica_fail(MICA_ERR_FORMAT, "plug-in %s: it has no function mica_plugin_init", path);
  }
  /* Kept open even when init fails: it may have registered some of its components. */
  engine->plugins[engine->plugin_count++] = handle;
  mica_clear_error();
  mica_status status = init(engine);
  if (!status) return MICA_OK;
  if (mica_last_status() == MICA_OK) mica_fail(status, "mica_plugin_init failed");
  mica_fail_within("plug-in %s", path);
  return status;
}
