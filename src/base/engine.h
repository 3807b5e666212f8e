/* The engine's inside, for the rooms of the library that keep something in it. */
#ifndef MICA_BASE_ENGINE_H
#define MICA_BASE_ENGINE_H

#include <mica/component.h>
#include <mica/engine.h>

#include <stdatomic.h>
#include <sys/types.h>

typedef enum mica_isa { MICA_ISA_GENERIC, MICA_ISA_AVX2, MICA_ISA_AVX512 } mica_isa;

typedef struct mica_component_list {
  const mica_component **item;
  int n, room;
} mica_component_list;

/* What may still change while many threads share a `const mica_engine *`. */
typedef struct mica_engine_shared {
  _Atomic(void *) slot;
  _Atomic(void (*)(void *)) slot_free;
} mica_engine_shared;

struct mica_engine {
  int threads;
  pid_t creator;
  mica_isa isa;
  bool libraries;
  int primitives;
  mica_log_fn log;
  void *log_ctx;
  mica_parallel_fn parallel;
  void *parallel_ctx;
  struct mica_pool *pool; /* NULL: one thread, the host's, or OpenMP's */
  mica_component_list components[MICA_KIND_COUNT];
  void **plugins;
  int plugin_count;
  mica_engine_shared *shared;
};

/* The one object that src/tensor/kernel keeps for library primitives: made by `create` on first use
 * (NULL, with the last error set, when it fails), released by `destroy` with the engine. Threads
 * that race each make one; the first is kept. No lock is held, so a fork at any moment is harmless.
 */
void *mica_engine_slot(const mica_engine *engine, void *(*create)(const mica_engine *engine),
                       void (*destroy)(void *object));

/* An engine of one thread with the instruction set, libraries, log and components of another, which
 * must outlive it. */
mica_status mica_engine_create_worker(const mica_engine *engine, mica_engine **out);

/* The best instruction set of this processor that the build has loops for. */
mica_isa mica_isa_detect(void);
/* The one of MICA_ISA of the environment, where this processor has it, else the best. Asked once
 * a process: the answer does not change, and asking the processor is slow in a virtual machine. */
mica_isa mica_isa_default(void);
const char *mica_isa_name(mica_isa isa);

#define MICA_THREADS_MAX 1024
/* How many threads the process may use at once: its processors, its share of time, OMP_NUM_THREADS.
 */
int mica_process_threads(void);
/* A control group's quota and period (as text) in processors, rounded up; 0 for no limit. */
int mica_quota_threads(const char *quota, const char *period);

/* True inside a body that mica_parallel_for runs: work started there stays in its thread. */
bool mica_in_parallel(void);

/* mica_engine_register without its checks, which the tests make for the components below: an engine
 * has some hundreds of them, and a program that starts should not wait. */
mica_status mica_engine_add(mica_engine *engine, const mica_component *component);
/* The components of src/components.def, `*n` of them. */
const mica_component *const *mica_builtin_components(int *n);

#endif
