/* The system is asked once in each process: an operation asks several times, and one call takes as
 * long as copying a kilobyte. */
#include "base/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

static _Atomic(pid_t) known; /* 0: not yet */
static bool told;            /* the child of a fork forgets it */

static void forget(void) {
  atomic_store_explicit(&known, 0, memory_order_relaxed);
}

static void begin(void) {
  told = pthread_atfork(NULL, NULL, forget) == 0;
}

pid_t mica_process(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pid_t self = atomic_load_explicit(&known, memory_order_relaxed);
  if (self) return self;
  pthread_once(&once, begin);
  self = getpid();
  if (told) atomic_store_explicit(&known, self, memory_order_relaxed);
  return self;
}
