/* Batches made ahead of their use: see prefetch.h. */
#include "train/prefetch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* What became of a slot's batch; messages go from the thread to the caller. */
typedef struct result {
  mica_status status;
  char message[1024];
} result;

struct mica_prefetch {
  mica_prefetch_fn make;
  void *ctx;
  int64_t ahead;
  pid_t owner; /* the process whose thread it is; 0: none was made yet */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wanted, made_one; /* for the thread; for the caller */
  /* Under the lock where there is a thread: batches given < made <= end; the thread makes number
   * `made` unless that is `ahead` before the caller. */
  int64_t given, made, end;
  bool busy, quit;
  atomic_bool cancel;
  result slot[];
};

bool mica_prefetch_cancelled(const mica_prefetch *p) {
  return atomic_load(&p->cancel);
}

static bool has_thread(const mica_prefetch *p) {
  return p->owner && p->owner == getpid();
}

static void *work(void *ctx) {
  mica_prefetch *p = ctx;
  pthread_mutex_lock(&p->lock);
  for (;;) {
    while (!p->quit && (p->made >= p->end || p->made >= p->given + p->ahead))
      pthread_cond_wait(&p->wanted, &p->lock);
    if (p->quit) break;
    const int64_t i = p->made;
    result *r = &p->slot[i % (p->ahead + 1)];
    p->busy = true;
    pthread_mutex_unlock(&p->lock);
    r->status = p->make(p->ctx, i, i % (p->ahead + 1));
    if (r->status != MICA_OK) snprintf(r->message, sizeof r->message, "%s", mica_last_error());
    pthread_mutex_lock(&p->lock);
    p->busy = false;
    p->made++;
    pthread_cond_signal(&p->made_one);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

/* The thread takes no signals: they are the host's. */
static bool make_thread(mica_prefetch *p) {
  sigset_t all, before;
  sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
  const bool made = pthread_create(&p->thread, NULL, work, p) == 0;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return made;
}

mica_status mica_prefetch_create(mica_prefetch_fn make, void *ctx, int64_t ahead,
                                 mica_prefetch **out) {
  *out = NULL;
  mica_prefetch *p = mica_calloc(1, sizeof *p + (size_t)(ahead + 1) * sizeof *p->slot);
  if (!p) return MICA_ERR_MEMORY;
  p->make = make;
  p->ctx = ctx;
  p->ahead = ahead;
  if (ahead) {
    const bool lock = pthread_mutex_init(&p->lock, NULL) == 0;
    const bool wanted = lock && pthread_cond_init(&p->wanted, NULL) == 0;
    const bool made = wanted && pthread_cond_init(&p->made_one, NULL) == 0;
    if (made && make_thread(p)) {
      p->owner = getpid();
    } else {
      if (made) pthread_cond_destroy(&p->made_one);
      if (wanted) pthread_cond_destroy(&p->wanted);
      if (lock) pthread_mutex_destroy(&p->lock);
    }
  }
  *out = p;
  return MICA_OK;
}

void mica_prefetch_free(mica_prefetch *p) {
  if (!p) return;
  if (has_thread(p)) {
    atomic_store(&p->cancel, true);
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_signal(&p->wanted);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->made_one);
    pthread_cond_destroy(&p->wanted);
    pthread_mutex_destroy(&p->lock);
  }
  mica_free(p);
}

void mica_prefetch_stop(mica_prefetch *p) {
  if (has_thread(p)) {
    atomic_store(&p->cancel, true);
    pthread_mutex_lock(&p->lock);
    p->end = 0;
    while (p->busy) pthread_cond_wait(&p->made_one, &p->lock);
    pthread_mutex_unlock(&p->lock);
  }
  atomic_store(&p->cancel, false);
}

void mica_prefetch_start(mica_prefetch *p, int64_t first, int64_t end) {
  mica_prefetch_stop(p);
  const bool thread = has_thread(p);
  if (thread) pthread_mutex_lock(&p->lock);
  p->given = p->made = first;
  p->end = end;
  if (thread) {
    pthread_cond_signal(&p->wanted);
    pthread_mutex_unlock(&p->lock);
  }
}

mica_status mica_prefetch_next(mica_prefetch *p, int64_t *slot) {
  if (!has_thread(p)) {
    *slot = p->given % (p->ahead + 1);
    return p->make(p->ctx, p->given++, *slot);
  }
  pthread_mutex_lock(&p->lock);
  while (p->made <= p->given) pthread_cond_wait(&p->made_one, &p->lock);
  *slot = p->given++ % (p->ahead + 1);
  pthread_cond_signal(&p->wanted);
  pthread_mutex_unlock(&p->lock);
  const result *r = &p->slot[*slot];
  return r->status == MICA_OK ? MICA_OK : mica_fail(r->status, "%s", r->message);
}
