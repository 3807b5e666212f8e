/* Virtual ranks: each rank is a thread, and a collective is a meeting.
 *
 * In a meeting every rank shows where its data is, waits for all, reads what the others show, and
 * waits again before anyone may change its data. Messages are copied into a queue for the receiver,
 * so a ring of ranks that all send before they receive does not stop.
 */
#include "base/communicator.h"

#include <pthread.h>
#include <string.h>

typedef struct message {
  struct message *next;
  int from, tag;
  size_t bytes;
  unsigned char data[];
} message;

typedef struct group group;

typedef struct virtual_rank {
  mica_communicator base;
  group *group;
  pthread_t thread;
  mica_status status;
  char *error;
  bool stopped;
  const void *shown;
  int64_t shown_size; /* what the others check against theirs */
  message *inbox;     /* oldest first */
} virtual_rank;

struct group {
  pthread_mutex_t lock;
  pthread_cond_t change;
  int size, arrived;
  uint64_t meeting; /* how many were completed */
  int stopped;      /* the first rank that stopped, -1 while none has */
  int failed;       /* the first rank that failed for a reason of its own */
  virtual_rank *rank;
  mica_status (*fn)(mica_communicator *c, void *ctx);
  void *ctx;
};

static virtual_rank *self_of(mica_communicator *c) {
  return (virtual_rank *)c;
}

/* Wait until all ranks are here. */
static mica_status meet(virtual_rank *self) {
  group *g = self->group;
  pthread_mutex_lock(&g->lock);
  uint64_t meeting = g->meeting;
  /* A rank that has stopped will not come, so nobody is counted who would wait for it. */
  if (g->stopped < 0 && ++g->arrived == g->size) {
    g->arrived = 0;
    g->meeting++;
    pthread_cond_broadcast(&g->change);
  }
  while (g->meeting == meeting && g->stopped < 0) pthread_cond_wait(&g->change, &g->lock);
  bool met = g->meeting != meeting;
  int stopped = g->stopped;
  pthread_mutex_unlock(&g->lock);
  return met ? MICA_OK
             : mica_fail(MICA_ERR_STATE, "rank %d waits for rank %d, which has stopped",
                         self->base.rank, stopped);
}

/* The first half of a collective: after it `shown` of every rank may be read until the next meet.
 */
static mica_status show(virtual_rank *self, const void *data, int64_t size) {
  self->shown = data;
  self->shown_size = size;
  mica_status status = meet(self);
  if (status) return status;
  for (int r = 0; r < self->group->size; r++)
    if (self->group->rank[r].shown_size != size) {
      /* All ranks see that the sizes differ, so all leave, and none is left waiting. */
      int other = self->group->rank[r].base.rank;
      status = meet(self);
      return status ? status
                    : mica_fail(MICA_ERR_SHAPE, "ranks %d and %d call with different sizes",
                                self->base.rank, other);
    }
  return MICA_OK;
}

static mica_status virtual_all_reduce(mica_communicator *c, mica_reduction how, mica_dtype dtype,
                                      void *data, int64_t n) {
  virtual_rank *self = self_of(c);
  size_t bytes = (size_t)n * mica_dtype_size(dtype);
  void *result = mica_malloc(bytes);
  if (!result) return MICA_ERR_MEMORY;
  mica_status status = show(self, data, (int64_t)bytes);
  for (int r = 0; r < c->size && !status; r++) {
    if (r == 0 && bytes) memcpy(result, self->group->rank[0].shown, bytes);
    if (r > 0) mica_reduce_elements(how, dtype, result, self->group->rank[r].shown, n);
  }
  if (!status) status = meet(self);
  if (!status && bytes) memcpy(data, result, bytes);
  mica_free(result);
  return status;
}

static mica_status virtual_all_gather(mica_communicator *c, const void *send, size_t bytes,
                                      void *recv) {
  virtual_rank *self = self_of(c);
  mica_status status = show(self, send, (int64_t)bytes);
  if (status) return status;
  for (int r = 0; r < c->size && bytes; r++)
    memmove((char *)recv + (size_t)r * bytes, self->group->rank[r].shown, bytes);
  return meet(self);
}

static mica_status virtual_broadcast(mica_communicator *c, int root, void *data, size_t bytes) {
  virtual_rank *self = self_of(c);
  mica_status status = show(self, data, (int64_t)bytes);
  if (status) return status;
  if (c->rank != root && bytes) memcpy(data, self->group->rank[root].shown, bytes);
  return meet(self);
}

static mica_status virtual_send(mica_communicator *c, int to, int tag, const void *data,
                                size_t bytes) {
  group *g = self_of(c)->group;
  message *m = bytes > SIZE_MAX / 2 ? NULL : mica_malloc(sizeof *m + bytes);
  if (!m) return mica_fail(MICA_ERR_MEMORY, "out of memory: a message of %zu bytes", bytes);
  *m = (message){NULL, c->rank, tag, bytes};
  if (bytes) memcpy(m->data, data, bytes);
  pthread_mutex_lock(&g->lock);
  message **end = &g->rank[to].inbox;
  while (*end) end = &(*end)->next;
  *end = m;
  pthread_cond_broadcast(&g->change);
  pthread_mutex_unlock(&g->lock);
  return MICA_OK;
}

static mica_status virtual_receive(mica_communicator *c, int from, int tag, void *data,
                                   size_t bytes) {
  virtual_rank *self = self_of(c);
  group *g = self->group;
  message *m = NULL;
  bool hopeless;
  pthread_mutex_lock(&g->lock);
  for (;;) {
    message **at = &self->inbox;
    while (*at && ((*at)->from != from || (*at)->tag != tag)) at = &(*at)->next;
    m = *at;
    if (m) *at = m->next;
    /* Others may be done and gone, but not the sender, and nobody by a failure. */
    hopeless = g->rank[from].stopped || g->failed >= 0;
    if (m || hopeless) break;
    pthread_cond_wait(&g->change, &g->lock);
  }
  pthread_mutex_unlock(&g->lock);
  if (!m)
    return mica_fail(MICA_ERR_STATE, "rank %d waits for rank %d, but a rank has stopped", c->rank,
                     from);
  mica_status status = MICA_OK;
  if (m->bytes != bytes)
    status = mica_fail(MICA_ERR_SHAPE, "rank %d expects %zu bytes from rank %d, %zu came", c->rank,
                       bytes, from, m->bytes);
  else if (bytes)
    memcpy(data, m->data, bytes);
  mica_free(m);
  return status;
}

static mica_status virtual_barrier(mica_communicator *c) {
  return meet(self_of(c));
}

static const mica_communicator_functions virtual_functions = {
    virtual_all_reduce, virtual_all_gather, virtual_broadcast,
    virtual_send,       virtual_receive,    virtual_barrier};

static void *run_rank(void *ctx) {
  virtual_rank *self = ctx;
  group *g = self->group;
  mica_clear_error();
  self->status = g->fn(&self->base, g->ctx);
  if (self->status) self->error = mica_strdup(mica_last_error());
  pthread_mutex_lock(&g->lock);
  self->stopped = true;
  if (g->stopped < 0) g->stopped = self->base.rank;
  if (self->status && g->failed < 0) g->failed = self->base.rank;
  pthread_cond_broadcast(&g->change);
  pthread_mutex_unlock(&g->lock);
  return NULL;
}

static mica_status outcome(const group *g) {
  if (g->failed < 0) return MICA_OK;
  const virtual_rank *r = &g->rank[g->failed];
  return mica_fail(r->status, "rank %d: %s", g->failed,
                   r->error ? r->error : mica_status_name(r->status));
}

mica_status mica_virtual_ranks(int ranks, mica_status (*fn)(mica_communicator *c, void *ctx),
                               void *ctx) {
  if (ranks < 1 || ranks > 1024)
    return mica_fail(MICA_ERR_INVALID, "virtual ranks: %d are outside 1..1024", ranks);
  group g = {.size = ranks, .stopped = -1, .failed = -1, .fn = fn, .ctx = ctx};
  g.rank = mica_calloc((size_t)ranks, sizeof *g.rank);
  if (!g.rank) return MICA_ERR_MEMORY;
  pthread_mutex_init(&g.lock, NULL);
  pthread_cond_init(&g.change, NULL);
  int started = 0;
  for (; started < ranks; started++) {
    g.rank[started].base = (mica_communicator){&virtual_functions, started, ranks};
    g.rank[started].group = &g;
  }
  for (started = 0; started < ranks; started++)
    if (pthread_create(&g.rank[started].thread, NULL, run_rank, &g.rank[started]) != 0) break;
  if (started < ranks) {
    /* Those that run already would wait for the one that could not be started. */
    pthread_mutex_lock(&g.lock);
    if (g.stopped < 0) g.stopped = started;
    if (g.failed < 0) g.failed = started;
    pthread_cond_broadcast(&g.change);
    pthread_mutex_unlock(&g.lock);
  }
  for (int r = 0; r < started; r++) pthread_join(g.rank[r].thread, NULL);
  mica_status status =
      started < ranks
          ? mica_fail(MICA_ERR_STATE, "virtual ranks: the system refused thread %d", started)
          : outcome(&g);
  for (int r = 0; r < ranks; r++) {
    mica_free(g.rank[r].error);
    for (message *m = g.rank[r].inbox, *next; m; m = next) {
      next = m->next;
      mica_free(m);
    }
  }
  mica_free(g.rank);
  pthread_cond_destroy(&g.change);
  pthread_mutex_destroy(&g.lock);
  return status;
}
