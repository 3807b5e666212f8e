/* The tape: its values, buffers, errors, and what goes in and comes out.
 *
 * scope.c has the scopes, paths, taps and random keys; call.c the life of one operation; backward.c
 * the way back. tape.h tells how values, records and buffers hang together.
 */
#include "autograd/tape.h"

#include "base/engine.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool mica_tape_grow(mica_tape *t, void **v, uint32_t *cap, uint32_t need, size_t size) {
  uint32_t room = *cap ? *cap : 64;
  while (room < need) room *= 2;
  void *grown = mica_realloc_array(*v, room, size);
  if (!grown) {
    mica_latch(t, MICA_ERR_MEMORY, "the tape cannot grow to %" PRIu32 " entries", room);
    return false;
  }
  *v = grown;
  *cap = room;
  return true;
}

/* ---- life ---- */

mica_status mica_tape_create(mica_engine *engine, const mica_tape_options *options,
                             mica_tape **out) {
  *out = NULL;
  mica_tape_options o = MICA_TAPE_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (!engine) return mica_fail(MICA_ERR_INVALID, "a tape needs an engine");
  if (o.compute != MICA_F32 && o.compute != MICA_BF16)
    return mica_fail(MICA_ERR_INVALID, "tape: compute is %s, expected float32 or bfloat16",
                     mica_dtype_name(o.compute));
  mica_tape *t = mica_calloc(1, sizeof *t);
  if (!t) return MICA_ERR_MEMORY;
  t->engine = engine;
  t->seed = o.seed;
  t->compute = o.compute;
  /* Stamps of two tapes start apart, so a handle that strays to another tape is noticed. */
  t->next_stamp = (uint32_t)mica_hash64(&t, sizeof(void *), 0) | 1u;
  t->arena = mica_arena_create((size_t)o.reserve);
  if (!t->arena || !VEC_ROOM(t, t->values, 1) || !VEC_ROOM(t, t->buffers, 1)) {
    mica_tape_free(t);
    return MICA_ERR_MEMORY;
  }
  mica_tape_reset(t);
  *out = t;
  return MICA_OK;
}

void mica_tape_free(mica_tape *t) {
  if (!t) return;
  for (uint32_t i = 0; i < t->inputs.n; i++) mica_tensor_free(t->inputs.v[i]);
  mica_taps_clear(t);
  void *tables[] = {t->values.v,        t->free_values.v,  t->births.v,    t->trail.v,
                    t->buffers.v,       t->free_buffers.v, t->records.v,   t->links.v,
                    t->scratch.v,       t->scopes.v,       t->paths.v,     t->inputs.v,
                    t->queue.v,         t->taps.v,         t->overrides.v, t->draws.slot,
                    t->spare_draws.slot};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) mica_free(tables[i]);
  mica_arena_free(t->arena);
  mica_free(t);
}

void mica_tape_reset(mica_tape *t) {
  for (uint32_t i = 0; i < t->inputs.n; i++) mica_tensor_free(t->inputs.v[i]);
  t->inputs.n = 0;
  /* Slot 0 and buffer 0 mean "none". */
  t->values.n = t->buffers.n = 1;
  memset(&t->values.v[0], 0, sizeof(value));
  memset(&t->buffers.v[0], 0, sizeof(buffer));
  t->free_values.n = t->free_buffers.n = t->births.n = t->trail.n = 0;
  t->records.n = t->links.n = t->scratch.n = t->scopes.n = t->paths.n = t->queue.n = 0;
  t->no_grad = t->recomputing = 0;
  t->no_queue = t->marking = t->to_sinks = false;
  t->running = 0;
  t->now = (scoped){0};
  t->examples = (example_run){0};
  t->status = MICA_OK;
  t->message[0] = 0;
  mica_draw_table_clear(&t->draws);
  mica_arena_reset(t->arena);
}

void mica_tape_set_step(mica_tape *t, uint64_t step, uint64_t micro_batch) {
  t->step = step;
  t->micro = micro_batch;
}

mica_engine *mica_tape_engine(const mica_tape *t) {
  return t->engine;
}

mica_tape_memory mica_tape_memory_use(const mica_tape *t) {
  return (mica_tape_memory){mica_arena_in_use(t->arena), mica_arena_peak(t->arena),
                            mica_arena_held(t->arena)};
}

/* ---- errors ---- */

bool mica_ok(const mica_tape *t) {
  return t->status == MICA_OK;
}

mica_status mica_tape_status(const mica_tape *t) {
  return t->status == MICA_OK ? MICA_OK : mica_fail(t->status, "%s", t->message);
}

const char *mica_tape_error(const mica_tape *t) {
  return t->message;
}

mica_tape *mica_tape_at(mica_tape *t, const char *file, int line) {
  t->file = file;
  t->line = line;
  return t;
}

mica_var mica_latch(mica_tape *t, mica_status status, const char *fmt, ...) {
  if (t->status != MICA_OK) return MICA_NONE;
  t->status = status;
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(t->message, sizeof t->message, fmt, args);
  va_end(args);
  size_t used = n < 0 ? 0 : (size_t)n < sizeof t->message ? (size_t)n : sizeof t->message - 1;
  /* In backward the error belongs to where the operation was called. */
  const record *r = t->running ? &t->records.v[t->running - 1] : NULL;
  const char *path = !r ? mica_tape_path(t) : r->path == UINT32_MAX ? "" : t->paths.v + r->path;
  const char *file = r ? r->file : t->file;
  if (*path) {
    n = snprintf(t->message + used, sizeof t->message - used, ", in %s", path);
    if (n > 0) used += (size_t)n;
    if (used >= sizeof t->message) used = sizeof t->message - 1;
  }
  if (file)
    snprintf(t->message + used, sizeof t->message - used, " (%s:%d)", file, r ? r->line : t->line);
  mica_fail(status, "%s", t->message);
  return MICA_NONE;
}

/* ---- buffers ---- */

size_t mica_view_bytes(const mica_view *v) {
  return (size_t)mica_view_count(v) * mica_dtype_size(v->dtype);
}

uint32_t mica_buffer_new(mica_tape *t, size_t bytes) {
  if (!t->free_buffers.n && !VEC_ROOM(t, t->buffers, 1)) return 0;
  void *data = mica_arena_alloc(t->arena, bytes);
  if (!data) {
    mica_latch(t, MICA_ERR_MEMORY, "out of memory for a tensor of %zu bytes", bytes);
    return 0;
  }
  uint32_t b = t->free_buffers.n ? t->free_buffers.v[--t->free_buffers.n] : t->buffers.n++;
  t->buffers.v[b] = (buffer){data, 1};
  return b;
}

uint32_t mica_buffer_lent(mica_tape *t, void *data) {
  if (!VEC_ROOM(t, t->buffers, 1)) return 0;
  t->buffers.v[t->buffers.n] = (buffer){data, 2};
  return t->buffers.n++;
}

void mica_buffer_unref(mica_tape *t, uint32_t b) {
  if (!b || --t->buffers.v[b].refs) return;
  mica_arena_release(t->arena, t->buffers.v[b].data);
  /* Without room the index is lost until the reset, and the error latched. */
  if (VEC_ROOM(t, t->free_buffers, 1)) t->free_buffers.v[t->free_buffers.n++] = b;
}

/* ---- values ---- */

uint32_t mica_value_new(mica_tape *t, const mica_view *view, uint32_t b) {
  bool fresh = !t->free_values.n;
  if ((fresh && !VEC_ROOM(t, t->values, 1)) || !VEC_ROOM(t, t->births, 1) ||
      (t->recomputing && !VEC_ROOM(t, t->trail, 1)))
    return 0;
  uint32_t slot = fresh ? t->values.n++ : t->free_values.v[--t->free_values.n];
  value *v = &t->values.v[slot];
  memset(v, 0, sizeof *v);
  v->view = *view;
  v->buffer = b;
  v->wanted = 1;
  v->stamp = t->next_stamp++;
  if (!v->stamp) v->stamp = t->next_stamp++;
  t->births.v[t->births.n++] = slot;
  if (t->recomputing) t->trail.v[t->trail.n++] = slot;
  return slot;
}

mica_var mica_value_handle(const mica_tape *t, uint32_t slot) {
  return slot ? (mica_var){slot, t->values.v[slot].stamp} : MICA_NONE;
}

uint32_t mica_value_slot(mica_tape *t, mica_var v, const char *what) {
  if (t->status != MICA_OK) return 0;
  if (v.stamp && v.slot < t->values.n && t->values.v[v.slot].stamp == v.stamp) return v.slot;
  if (!v.stamp)
    mica_latch(t, MICA_ERR_INVALID, "%s: a required tensor is absent", what);
  else
    mica_latch(t, MICA_ERR_STATE,
               "%s: the tensor was released (its scope ended or the tape was reset), or belongs to "
               "another tape",
               what);
  return 0;
}

void mica_value_unwant(mica_tape *t, uint32_t slot) {
  value *v = &t->values.v[slot];
  assert(v->wanted > 0);
  if (--v->wanted) return;
  mica_buffer_unref(t, v->buffer);
  v->buffer = 0;
  v->view.data = NULL;
}

void mica_value_drop_grad(mica_tape *t, value *v) {
  mica_buffer_unref(t, v->grad_buffer);
  v->grad_buffer = 0;
  v->grad = NULL;
  v->grad_kind = GRAD_NONE;
  v->per_example = v->lone = false;
}

void mica_value_drop_handle(mica_tape *t, uint32_t slot) {
  value *v = &t->values.v[slot];
  if (!v->stamp) return;
  v->stamp = 0;
  if (v->weak)
    v->weak = false;
  else
    mica_value_unwant(t, slot);
  mica_value_lose(t, slot);
  if (!v->graph && !v->wanted && !v->grad_buffer && VEC_ROOM(t, t->free_values, 1))
    t->free_values.v[t->free_values.n++] = slot;
}

/* ---- in ---- */

static mica_var constant_of(mica_tape *t, const mica_view *view, uint32_t b) {
  return mica_value_handle(t, mica_value_new(t, view, b));
}

mica_var mica_input(mica_tape *t, mica_tensor *tensor) {
  if (!mica_ok(t)) return MICA_NONE;
  if (!tensor) return mica_latch(t, MICA_ERR_INVALID, "input: the tensor is NULL");
  if (!VEC_ROOM(t, t->inputs, 1)) return MICA_NONE;
  t->inputs.v[t->inputs.n++] = mica_tensor_retain(tensor);
  const mica_view view = mica_tensor_view(tensor);
  return constant_of(t, &view, 0);
}

mica_var mica_leaf(mica_tape *t, mica_tensor *tensor) {
  mica_var v = mica_input(t, tensor);
  if (mica_is_none(v)) return v;
  value *leaf = &t->values.v[v.slot];
  if (leaf->view.dtype != MICA_F32 && leaf->view.dtype != MICA_F64)
    return mica_latch(t, MICA_ERR_SHAPE, "leaf: %s has no gradient, expected float32 or float64",
                      mica_dtype_name(leaf->view.dtype));
  leaf->needs_grad = leaf->retain = true;
  return v;
}

mica_var mica_sink_leaf(mica_tape *t, const mica_view *view, const mica_sink *sink, void *owner) {
  if (!mica_ok(t)) return MICA_NONE;
  mica_var v = constant_of(t, view, 0);
  if (mica_is_none(v) || !sink || t->no_grad) return v;
  value *leaf = &t->values.v[v.slot];
  leaf->needs_grad = true;
  leaf->sink = sink;
  leaf->owner = owner;
  return v;
}

mica_var mica_borrow(mica_tape *t, const mica_view *view) {
  if (!mica_ok(t)) return MICA_NONE;
  if (!view || mica_view_count(view) < 0 || (!view->data && mica_view_count(view)))
    return mica_latch(t, MICA_ERR_INVALID, "borrow: the view has no data or no valid shape");
  return constant_of(t, view, 0);
}

/* A constant with memory of its own, uninitialised. */
static mica_var fresh(mica_tape *t, mica_dtype dtype, mica_shape shape, mica_view *view) {
  if (!mica_ok(t)) return MICA_NONE;
  *view = mica_view_of(NULL, dtype, shape);
  if (mica_view_count(view) < 0 || !mica_dtype_size(dtype)) {
    char text[128];
    return mica_latch(t, MICA_ERR_SHAPE, "%s is no valid shape",
                      mica_shape_text(&shape, text, sizeof text));
  }
  uint32_t b = mica_buffer_new(t, mica_view_bytes(view));
  if (!b) return MICA_NONE;
  view->data = t->buffers.v[b].data;
  mica_var v = constant_of(t, view, b);
  if (mica_is_none(v)) mica_buffer_unref(t, b);
  return v;
}

mica_var mica_constant(mica_tape *t, const mica_view *from) {
  mica_view view;
  mica_var v = fresh(t, from->dtype, from->shape, &view);
  if (!mica_is_none(v) && mica_view_copy(&view, from) != MICA_OK)
    return mica_latch(t, mica_last_status(), "constant: %s", mica_last_error());
  return v;
}

mica_var mica_full(mica_tape *t, mica_dtype dtype, mica_shape shape, double x) {
  mica_view view;
  mica_var v = fresh(t, dtype, shape, &view);
  if (mica_is_none(v)) return v;
  int64_t n = mica_view_count(&view);
  if (x == 0) {
    memset(view.data, 0, mica_view_bytes(&view));
  } else if (n) {
    /* One converted element, copied n times, serves every type. */
    size_t size = mica_dtype_size(dtype);
    mica_view one = mica_view_of(view.data, dtype, MICA_SCALAR);
    mica_view from = mica_view_of(&x, MICA_F64, MICA_SCALAR);
    if (mica_view_copy(&one, &from) != MICA_OK)
      return mica_latch(t, mica_last_status(), "full: %s", mica_last_error());
    for (int64_t i = 1; i < n; i++) memcpy((char *)view.data + (size_t)i * size, view.data, size);
  }
  return v;
}

/* ---- out ---- */

mica_view mica_read(mica_tape *t, mica_var v) {
  uint32_t slot = mica_value_slot(t, v, "read");
  return slot && mica_value_there(t, slot, "read") ? t->values.v[slot].view
                                                   : mica_view_of(NULL, MICA_F32, MICA_SCALAR);
}

int mica_rank(mica_tape *t, mica_var v) {
  return mica_read(t, v).shape.rank;
}

int64_t mica_dim(mica_tape *t, mica_var v, int axis) {
  mica_view view = mica_read(t, v);
  if (!mica_ok(t)) return 0;
  int at = axis < 0 ? axis + view.shape.rank : axis;
  if (at < 0 || at >= view.shape.rank) {
    mica_latch(t, MICA_ERR_SHAPE, "dim: axis %d of a tensor of rank %d", axis, view.shape.rank);
    return 0;
  }
  return view.shape.dim[at];
}

mica_dtype mica_dtype_of(mica_tape *t, mica_var v) {
  return mica_read(t, v).dtype;
}

double mica_item(mica_tape *t, mica_var v) {
  mica_view view = mica_read(t, v);
  if (!mica_ok(t)) return 0;
  if (mica_view_count(&view) != 1) {
    char text[128];
    mica_latch(t, MICA_ERR_SHAPE, "item: the tensor has shape %s, expected one element",
               mica_shape_text(&view.shape, text, sizeof text));
    return 0;
  }
  double x = 0;
  mica_view to = mica_view_of(&x, MICA_F64, view.shape);
  if (mica_view_copy(&to, &view) != MICA_OK)
    mica_latch(t, mica_last_status(), "%s", mica_last_error());
  return x;
}

mica_status mica_copy_out(mica_tape *t, mica_var v, mica_tensor **out) {
  *out = NULL;
  mica_view view = mica_read(t, v);
  if (!mica_ok(t)) return mica_tape_status(t);
  return mica_tensor_from_view(&view, view.dtype, out);
}

bool mica_requires_grad(mica_tape *t, mica_var v) {
  uint32_t slot = mica_value_slot(t, v, "requires_grad");
  return slot && t->values.v[slot].needs_grad;
}

/* ---- context ---- */

void mica_set_training(mica_tape *t, bool training) {
  t->training = training;
}
bool mica_is_training(const mica_tape *t) {
  return t->training;
}
void mica_set_compute(mica_tape *t, mica_dtype compute) {
  if (compute == MICA_F32 || compute == MICA_BF16)
    t->compute = compute;
  else
    mica_latch(t, MICA_ERR_INVALID, "set_compute: %s, expected float32 or bfloat16",
               mica_dtype_name(compute));
}
mica_dtype mica_compute(const mica_tape *t) {
  return t->compute;
}
void mica_set_mask(mica_tape *t, mica_var mask) {
  if (!mica_is_none(mask) && !mica_value_slot(t, mask, "set_mask")) return;
  t->now.mask = mask;
}
mica_var mica_mask(const mica_tape *t) {
  return t->now.mask;
}
void mica_set_labels(mica_tape *t, mica_var labels) {
  if (!mica_is_none(labels) && !mica_value_slot(t, labels, "set_labels")) return;
  t->now.labels = labels;
}
mica_var mica_labels(const mica_tape *t) {
  return t->now.labels;
}
void mica_set_attention(mica_tape *t, mica_attention_fn fn, void *ctx) {
  t->now.attention = fn;
  t->now.attention_ctx = ctx;
}
void mica_set_cache(mica_tape *t, struct mica_kv_cache *cache) {
  t->now.cache = cache;
}
struct mica_kv_cache *mica_cache(const mica_tape *t) {
  return t->now.cache;
}
void mica_no_grad_begin(mica_tape *t) {
  t->no_grad++;
}
void mica_no_grad_end(mica_tape *t) {
  if (t->no_grad)
    t->no_grad--;
  else
    mica_latch(t, MICA_ERR_STATE, "no_grad_end without its begin");
}
bool mica_is_recording(const mica_tape *t) {
  return !t->no_grad;
}

/* ---- the queue of buffer updates ---- */

void mica_tape_queue(mica_tape *t, mica_commit_fn fn, void *owner, double weight, mica_var v) {
  if (t->no_queue || !mica_ok(t)) return;
  uint32_t slot = mica_value_slot(t, v, "buffer update");
  if (!slot || !VEC_ROOM(t, t->queue, 1)) return;
  mica_keep(t, v);
  t->queue.v[t->queue.n++] = (queued){fn, owner, weight, slot, v.stamp};
}

mica_status mica_commit(mica_tape *t) {
  if (!mica_ok(t)) return mica_tape_status(t);
  mica_status status = MICA_OK;
  for (uint32_t i = 0; i < t->queue.n && status == MICA_OK; i++) {
    const queued *q = &t->queue.v[i];
    /* Released by hand since: that is the caller's error, not a stale read. */
    if (!mica_value_slot(t, (mica_var){q->slot, q->stamp}, "commit")) return mica_tape_status(t);
    status = q->fn(q->owner, q->weight, &t->values.v[q->slot].view);
  }
  t->queue.n = 0;
  return status;
}
