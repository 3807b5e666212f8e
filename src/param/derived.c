#include "param/derived.h"

#include "param/tree.h"

static void drop(mica_derived *d) {
  if (d->object) d->destroy(d->object);
  mica_free(d);
}

void mica_derived_free(mica_param *q) {
  while (q->derived) {
    mica_derived *next = q->derived->next;
    drop(q->derived);
    q->derived = next;
  }
}

/* Newest first; those that nobody holds go if they are of an earlier value, or beyond the bound. */
static void trim(mica_param *q) {
  int n = 0;
  for (mica_derived **at = &q->derived; *at;) {
    mica_derived *d = *at;
    n++;
    if (!d->holders && (n > MICA_DERIVED_MAX || d->version != q->version)) {
      *at = d->next;
      drop(d);
    } else {
      at = &d->next;
    }
  }
}

mica_status mica_derived_hold(mica_param *q, uint64_t key,
                              mica_status (*make)(void *ctx, void **object), void *ctx,
                              void (*destroy)(void *object), mica_derived **out) {
  mica_status status = MICA_OK;
  *out = NULL;
  pthread_mutex_lock(&q->tree->lock);
  mica_derived *d = q->derived;
  while (d && d->key != key) d = d->next;
  if (!d) {
    d = mica_calloc(1, sizeof *d);
    status = d ? make(ctx, &d->object) : MICA_ERR_MEMORY;
    if (status == MICA_OK) {
      d->key = key;
      d->version = q->version;
      d->destroy = destroy;
      d->next = q->derived;
      q->derived = d;
      d->holders = 1;
      trim(q);
      d->holders = 0;
    } else {
      mica_free(d);
    }
  }
  if (status == MICA_OK) {
    d->holders++;
    *out = d;
  }
  pthread_mutex_unlock(&q->tree->lock);
  return status;
}

void mica_derived_release(mica_param *q, mica_derived *held) {
  if (!held) return;
  pthread_mutex_lock(&q->tree->lock);
  held->holders--;
  pthread_mutex_unlock(&q->tree->lock);
}
