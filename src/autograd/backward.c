/* The way back: gradients flow from the newest record to the oldest.
 *
 * A record's backward writes each gradient once; where a value already has one, it writes to
 * scratch and the tape adds. As soon as a record is done, its outputs' gradients and what it had
 * saved go back to the arena: that is what bounds the memory of a step.
 */
#include "autograd/tape.h"

#include <assert.h>
#include <string.h>

/* ---- adding ---- */

typedef struct add_job {
  mica_dtype dtype;
  int64_t n;
  void *a;
  const void *b;
} add_job;

#define ADD_CHUNK 16384

static void add_range(void *ctx, int64_t begin, int64_t end) {
  const add_job *job = ctx;
  int64_t from = begin * ADD_CHUNK, to = end * ADD_CHUNK < job->n ? end * ADD_CHUNK : job->n;
  if (job->dtype == MICA_F32) {
    float *restrict a = job->a;
    const float *restrict b = job->b;
    for (int64_t i = from; i < to; i++) a[i] += b[i];
  } else {
    double *restrict a = job->a;
    const double *restrict b = job->b;
    for (int64_t i = from; i < to; i++) a[i] += b[i];
  }
}

void mica_accumulate(mica_tape *t, mica_dtype dtype, int64_t n, void *a, const void *b) {
  add_job job = {dtype, n, a, b};
  mica_parallel_for(t->engine, (n + ADD_CHUNK - 1) / ADD_CHUNK, add_range, &job);
}

/* ---- where gradients are written ---- */

/* What mica_call_grad promised for an input: nothing yet, written in place, or to be added from a
 * view, or to be added for each example from [examples, elements]. */
enum { PENDING_NONE, PENDING_DIRECT, PENDING_ADD, PENDING_EXAMPLES };

void *mica_grad_buffer(mica_tape *t, value *v) {
  uint32_t b = mica_buffer_new(t, mica_view_bytes(&v->view));
  if (!b) return NULL;
  v->grad_buffer = b;
  v->grad_kind = GRAD_OWN;
  v->grad = t->buffers.v[b].data;
  return v->grad;
}

/* Memory of somebody else as v's gradient; counted twice, so that whoever adds to it copies it. */
static bool lend_gradient(mica_tape *t, value *v, void *data) {
  const uint32_t b = mica_buffer_lent(t, data);
  if (!b) return false;
  v->grad_buffer = b;
  v->grad_kind = GRAD_OWN;
  v->grad = data;
  return true;
}

/* The gradient of y as that of v, in the same memory. */
static void share_gradient(mica_tape *t, value *v, const value *y) {
  t->buffers.v[y->grad_buffer].refs++;
  v->grad_kind = GRAD_OWN;
  v->grad_buffer = y->grad_buffer;
  v->grad = y->grad;
}

/* Memory for a first gradient of v; *fresh false when there is one to add to already. */
static void *target(mica_tape *t, value *v, bool *fresh) {
  *fresh = false;
  if (v->grad_kind != GRAD_NONE) return v->grad;
  if (!v->sink || !t->to_sinks) {
    *fresh = true;
    return mica_grad_buffer(t, v);
  }
  void *data = v->sink->dense(v->owner, fresh);
  if (!data) {
    mica_latch(t, MICA_ERR_MEMORY, "backward: out of memory for a parameter's gradient");
    return NULL;
  }
  v->grad_kind = GRAD_SINK;
  v->grad = data;
  return data;
}

/* ---- a gradient for each example: [examples, ...] at values that all of them share ---- */

static bool by_example(const mica_tape *t, const value *v) {
  return t->examples.n && !v->batched;
}

/* Memory for them, zeros when `clear`; *fresh as target's. */
static char *example_target(mica_tape *t, value *v, bool clear, bool *fresh) {
  *fresh = v->grad_kind == GRAD_NONE;
  if (!*fresh && !v->per_example) {
    mica_latch(t, MICA_ERR_STATE,
               "example gradients: a tensor made outside has a gradient already");
    return NULL;
  }
  if (!*fresh) return v->grad;
  const size_t bytes = mica_view_bytes(&v->view) * (size_t)t->examples.n;
  uint32_t b = mica_buffer_new(t, bytes);
  if (!b) return NULL;
  v->grad_buffer = b;
  v->grad_kind = GRAD_OWN;
  v->per_example = true;
  v->grad = t->buffers.v[b].data;
  if (clear) memset(v->grad, 0, bytes);
  return v->grad;
}

/* Where the gradient of the running example is added up. */
static void *example_sum(mica_tape *t, value *v) {
  bool fresh;
  char *data = example_target(t, v, true, &fresh);
  return data ? data + mica_view_bytes(&v->view) * (size_t)t->examples.at : NULL;
}

int64_t mica_call_examples(const mica_call *c) {
  const mica_tape *t = c->tape;
  return c->grad_out && t->examples.closed ? t->examples.n : 0;
}

mica_view *mica_call_grad_examples(mica_call *c, int i) {
  mica_tape *t = c->tape;
  struct mica_call_state *s = &c->state;
  if (!mica_ok(t) || !mica_call_examples(c) || !s->in_slot[i]) return NULL;
  value *v = &t->values.v[s->in_slot[i]];
  if (!v->needs_grad || v->batched) return NULL;
  assert(s->gin_buffers[i] == PENDING_NONE);
  bool fresh;
  void *data = example_target(t, v, false, &fresh);
  if (!data) return NULL;
  const int64_t n = t->examples.n, each = mica_view_count(&v->view);
  if (!fresh && !(data = mica_call_scratch(c, (size_t)(n * each) * mica_dtype_size(v->view.dtype))))
    return NULL;
  s->gin_view[i] = mica_view_of(data, v->view.dtype, MICA_SHAPE(n, each));
  s->gin_buffers[i] = fresh ? PENDING_DIRECT : PENDING_EXAMPLES;
  return &s->gin_view[i];
}

double *mica_call_example_squares(mica_call *c, int i) {
  mica_tape *t = c->tape;
  const struct mica_call_state *s = &c->state;
  if (!mica_ok(t) || !mica_call_examples(c) || !t->examples.squares || !s->in_slot[i]) return NULL;
  const value *v = &t->values.v[s->in_slot[i]];
  return v->needs_grad && !v->batched && v->lone ? t->examples.squares : NULL;
}

/* ---- what an operation's backward asks for ---- */

mica_view *mica_call_grad(mica_call *c, int i) {
  mica_tape *t = c->tape;
  if (!mica_ok(t) || !mica_call_needs_grad(c, i)) return NULL;
  struct mica_call_state *s = &c->state;
  value *v = &t->values.v[s->in_slot[i]];
  assert(s->gin_buffers[i] == PENDING_NONE);
  bool fresh = false;
  void *data = by_example(t, v) ? example_sum(t, v) : target(t, v, &fresh);
  if (!data) return NULL;
  s->gin_view[i] = mica_view_of(data, v->view.dtype, v->view.shape);
  if (!fresh) {
    s->gin_view[i].data = mica_call_scratch(c, mica_view_bytes(&s->gin_view[i]));
    if (!s->gin_view[i].data) return NULL;
  }
  s->gin_buffers[i] = fresh ? PENDING_DIRECT : PENDING_ADD;
  return &s->gin_view[i];
}

mica_view *mica_call_grad_over(mica_call *c, int i, int j) {
  mica_tape *t = c->tape;
  if (!mica_ok(t) || !mica_call_needs_grad(c, i)) return NULL;
  struct mica_call_state *s = &c->state;
  value *v = &t->values.v[s->in_slot[i]];
  const value *y = &t->values.v[s->out_slots[j]];
  /* Gradients for each example take several runs of a record, which all read the same. */
  if (t->examples.n || v->grad_kind != GRAD_NONE || (v->sink && t->to_sinks) || y->retain ||
      y->grad_kind != GRAD_OWN || t->buffers.v[y->grad_buffer].refs > 1)
    return mica_call_grad(c, i);
  share_gradient(t, v, y);
  s->gin_view[i] = mica_view_of(v->grad, v->view.dtype, v->view.shape);
  s->gin_buffers[i] = PENDING_DIRECT;
  return &s->gin_view[i];
}

void *mica_call_grad_sum(mica_call *c, int i) {
  mica_tape *t = c->tape;
  if (!mica_ok(t) || t->examples.n || !mica_call_needs_grad(c, i)) return NULL;
  const value *v = &t->values.v[c->state.in_slot[i]];
  return v->grad_kind == GRAD_OWN && t->buffers.v[v->grad_buffer].refs == 1 ? v->grad : NULL;
}

void mica_add_gradient(mica_tape *t, value *v, const void *more) {
  int64_t n = mica_view_count(&v->view);
  if (v->grad_kind == GRAD_OWN && t->buffers.v[v->grad_buffer].refs > 1) {
    uint32_t shared = v->grad_buffer;
    const void *old = v->grad;
    if (!mica_grad_buffer(t, v)) return;
    memcpy(v->grad, old, mica_view_bytes(&v->view));
    mica_buffer_unref(t, shared);
  }
  mica_accumulate(t, v->view.dtype, n, v->grad, more);
}

void mica_call_grad_pass(mica_call *c, int i, int j) {
  mica_tape *t = c->tape;
  const mica_view *gy = &c->grad_out[j];
  if (!mica_ok(t) || !gy->data || !mica_call_needs_grad(c, i)) return;
  value *v = &t->values.v[c->state.in_slot[i]];
  const value *y = &t->values.v[c->state.out_slots[j]];
  if (by_example(t, v)) {
    void *sum = example_sum(t, v);
    if (sum) mica_accumulate(t, v->view.dtype, mica_view_count(&v->view), sum, gy->data);
    return;
  }
  if (v->grad_kind == GRAD_NONE && !(v->sink && t->to_sinks) && y->grad_kind == GRAD_OWN) {
    share_gradient(t, v, y);
    return;
  }
  bool fresh;
  void *data = target(t, v, &fresh);
  if (!data) return;
  if (fresh)
    memcpy(data, gy->data, mica_view_bytes(&v->view));
  else
    mica_add_gradient(t, v, gy->data);
}

void mica_call_grad_rows(mica_call *c, int i, const int64_t *ids, const void *rows, int64_t n) {
  mica_tape *t = c->tape;
  if (!mica_ok(t) || !mica_call_needs_grad(c, i)) return;
  value *v = &t->values.v[c->state.in_slot[i]];
  if (v->sink && t->to_sinks && v->grad_kind == GRAD_NONE) {
    mica_status status = v->sink->rows(v->owner, ids, rows, n);
    if (status != MICA_OK) mica_latch(t, status, "backward: %s", mica_last_error());
    return;
  }
  bool fresh = false;
  char *data = by_example(t, v) ? example_sum(t, v) : target(t, v, &fresh);
  if (!data) return;
  if (fresh) {
    memset(data, 0, mica_view_bytes(&v->view));
  } else if (v->grad_kind == GRAD_OWN && t->buffers.v[v->grad_buffer].refs > 1) {
    uint32_t shared = v->grad_buffer;
    const void *old = v->grad;
    data = mica_grad_buffer(t, v);
    if (!data) return;
    memcpy(data, old, mica_view_bytes(&v->view));
    mica_buffer_unref(t, shared);
  }
  int64_t width = v->view.shape.dim[0] ? mica_view_count(&v->view) / v->view.shape.dim[0] : 0;
  for (int64_t k = 0; k < n; k++) {
    if (v->view.dtype == MICA_F32) {
      float *to = (float *)(void *)data + ids[k] * width;
      const float *from = (const float *)rows + k * width;
      for (int64_t d = 0; d < width; d++) to[d] += from[d];
    } else {
      double *to = (double *)(void *)data + ids[k] * width;
      const double *from = (const double *)rows + k * width;
      for (int64_t d = 0; d < width; d++) to[d] += from[d];
    }
  }
}

/* ---- one record ---- */

void mica_record_unsave(mica_tape *t, record *r) {
  uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in && i < 32; i++)
    if (r->saved_in >> i & 1 && link[i]) mica_value_unwant(t, link[i]);
  for (uint32_t i = 0; i < r->n_out; i++)
    if (r->saved_out >> i & 1) mica_value_unwant(t, link[r->n_in + i]);
  for (uint32_t i = 0; i < r->n_saved; i++) mica_buffer_unref(t, link[r->n_in + r->n_out + i]);
  if (r->ctx) mica_arena_release(t->arena, r->ctx);
  r->ctx = NULL;
  r->saved_in = r->saved_out = 0;
  r->n_saved = 0;
}

bool mica_record_bind(mica_tape *t, uint32_t at, mica_call *c) {
  const record *r = &t->records.v[at];
  struct mica_call_state *s = &c->state;
  c->tape = t;
  c->engine = t->engine;
  c->op = r->op;
  c->n_in = r->n_in;
  c->n_out = r->n_out;
  c->ctx = r->ctx;
  c->grad_out = NULL;
  s->record = at;
  s->spill = t->scratch.n;
  s->n_saved = r->n_saved;
  s->records = false;
  s->in_slot = s->in_slots;
  s->in_view = s->in_views;
  s->gin_view = s->gin_views;
  s->gin_buffers = s->gin_inline;
  c->saved = (void *const *)s->saved_data;
  if (r->n_in > MICA_CALL_INLINE) {
    size_t n = r->n_in;
    s->in_slot = mica_call_scratch(c, n * sizeof *s->in_slot);
    s->in_view = mica_call_scratch(c, n * sizeof *s->in_view);
    s->gin_view = mica_call_scratch(c, n * sizeof *s->gin_view);
    s->gin_buffers = mica_call_scratch(c, n * sizeof *s->gin_buffers);
    if (!mica_ok(t)) return false;
  }
  c->in = s->in_view;
  c->out = s->out_views;
  const uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in; i++) {
    const bool saved = i < 32 && (r->saved_in >> i & 1);
    if (saved && link[i] && !mica_value_remake(t, link[i])) return false;
    s->in_slot[i] = link[i];
    s->gin_buffers[i] = PENDING_NONE;
    s->in_view[i] = link[i] ? t->values.v[link[i]].view : mica_view_of(NULL, MICA_F32, MICA_SCALAR);
    if (!saved) s->in_view[i].data = NULL;
  }
  for (uint32_t i = 0; i < r->n_out; i++) {
    s->out_views[i] = t->values.v[s->out_slots[i] = link[r->n_in + i]].view;
    if (!(r->saved_out >> i & 1)) s->out_views[i].data = NULL;
  }
  for (uint32_t i = 0; i < r->n_saved; i++)
    s->saved_data[i] = t->buffers.v[s->saved_buffers[i] = link[r->n_in + r->n_out + i]].data;
  return true;
}

bool mica_record_call(mica_tape *t, uint32_t at, mica_call *c) {
  const record *r = &t->records.v[at];
  const uint32_t *out = t->links.v + r->links + r->n_in;
  bool any = false;
  for (uint32_t i = 0; i < r->n_out; i++) any |= t->values.v[out[i]].grad != NULL;
  if (!any) return false;
  if (!mica_record_bind(t, at, c)) {
    mica_record_end(c);
    return false;
  }
  for (uint32_t i = 0; i < r->n_out; i++) {
    const value *v = &t->values.v[out[i]];
    c->state.grad_views[i] = mica_view_of(v->grad, v->view.dtype, v->view.shape);
  }
  c->grad_out = c->state.grad_views;
  return true;
}

void mica_record_backward(mica_call *c) {
  mica_tape *t = c->tape;
  struct mica_call_state *s = &c->state;
  const uint32_t running = t->running;
  t->running = s->record + 1;
  t->records.v[s->record].op->backward(c);
  for (int i = 0; i < c->n_in && mica_ok(t); i++) {
    value *v = s->in_slot[i] ? &t->values.v[s->in_slot[i]] : NULL;
    const void *more = s->gin_view[i].data;
    if (s->gin_buffers[i] == PENDING_EXAMPLES)
      mica_accumulate(t, v->view.dtype, mica_view_count(&s->gin_view[i]), v->grad, more);
    else if (s->gin_buffers[i] == PENDING_ADD && by_example(t, v))
      mica_accumulate(t, v->view.dtype, mica_view_count(&v->view), example_sum(t, v), more);
    else if (s->gin_buffers[i] == PENDING_ADD)
      mica_add_gradient(t, v, more);
  }
  t->running = running;
}

void mica_record_end(mica_call *c) {
  mica_tape *t = c->tape;
  while (t->scratch.n > c->state.spill) mica_arena_release(t->arena, t->scratch.v[--t->scratch.n]);
}

void mica_record_done(mica_tape *t, uint32_t at, bool keep_graph) {
  record *r = &t->records.v[at];
  const uint32_t *link = t->links.v + r->links + r->n_in;
  for (uint32_t i = 0; i < r->n_out; i++) {
    value *v = &t->values.v[link[i]];
    if (!v->retain) mica_value_drop_grad(t, v);
  }
  if (keep_graph || r->done) return;
  /* The last moment to make again what a record wants that had no gradient. */
  for (uint32_t i = 0; i < r->n_out && mica_ok(t); i++)
    if (t->values.v[link[i]].wanted) mica_value_remake(t, link[i]);
  for (uint32_t i = 0; i < r->n_out; i++) t->values.v[link[i]].lost = false;
  mica_record_unsave(t, r);
  r->done = true;
}

static void run_record(mica_tape *t, uint32_t at, bool keep_graph) {
  mica_call c;
  if (!mica_record_call(t, at, &c)) return;
  const record *r = &t->records.v[at];
  if (r->done)
    mica_latch(t, MICA_ERR_STATE, "backward: the graph of %s was used up by an earlier backward",
               r->op->name);
  else
    mica_record_backward(&c);
  mica_record_end(&c);
  mica_record_done(t, at, keep_graph);
}

void mica_record_range(mica_tape *t, uint32_t first, bool keep_graph) {
  for (uint32_t at = t->records.n; at-- > first && mica_ok(t);) run_record(t, at, keep_graph);
}

/* ---- the public calls ---- */

/* `lent`: the gradient is memory that stays until the reset. */
static bool seed(mica_tape *t, mica_var y, const mica_view *gradient, bool lent, const char *what) {
  uint32_t slot = mica_value_slot(t, y, what);
  if (!slot) return false;
  value *v = &t->values.v[slot];
  if (!v->needs_grad) {
    mica_latch(t, MICA_ERR_STATE, "%s: the tensor depends on nothing that requires a gradient",
               what);
    return false;
  }
  if (!gradient && mica_view_count(&v->view) != 1) {
    char text[128];
    mica_latch(t, MICA_ERR_SHAPE, "%s: the loss has shape %s, expected one element", what,
               mica_shape_text(&v->view.shape, text, sizeof text));
    return false;
  }
  if (gradient && !mica_shape_equal(&gradient->shape, &v->view.shape)) {
    mica_latch(t, MICA_ERR_SHAPE, "%s: the gradient's shape is not the tensor's", what);
    return false;
  }
  if (v->grad_kind != GRAD_NONE) mica_value_drop_grad(t, v);
  if (gradient && lent && !v->retain && gradient->dtype == v->view.dtype &&
      mica_view_contiguous(gradient))
    return lend_gradient(t, v, gradient->data);
  void *g = mica_grad_buffer(t, v);
  if (!g) return false;
  mica_view to = mica_view_of(g, v->view.dtype, v->view.shape);
  double one = 1;
  mica_view from = gradient ? *gradient : mica_view_of(&one, MICA_F64, v->view.shape);
  if (mica_view_copy(&to, &from) != MICA_OK)
    mica_latch(t, mica_last_status(), "%s", mica_last_error());
  return mica_ok(t);
}

/* Values whose owner should know that the gradients are no good. */
static void invalidate(mica_tape *t) {
  for (uint32_t i = 1; i < t->values.n; i++)
    if (t->values.v[i].sink) t->values.v[i].sink->invalidate(t->values.v[i].owner);
}

/* What an earlier backward left at results of operations does not flow again; at leaves it adds up.
 */
static void forget_earlier(mica_tape *t) {
  for (uint32_t i = 1; i < t->values.n; i++) {
    value *v = &t->values.v[i];
    if (v->producer && v->grad_kind == GRAD_OWN) mica_value_drop_grad(t, v);
  }
}

static mica_status backward(mica_tape *t, mica_var y, const mica_view *gradient, bool lent) {
  if (mica_ok(t)) forget_earlier(t);
  if (mica_ok(t) && seed(t, y, gradient, lent, "backward")) {
    t->to_sinks = true;
    mica_record_range(t, 0, false);
    t->to_sinks = false;
  }
  if (!mica_ok(t)) invalidate(t);
  return mica_tape_status(t);
}

mica_status mica_backward(mica_tape *t, mica_var loss) {
  return backward(t, loss, NULL, false);
}

mica_status mica_backward_from(mica_tape *t, mica_var y, mica_var gradient) {
  mica_view view = mica_read(t, gradient);
  return backward(t, y, &view, mica_ok(t) && !t->values.v[gradient.slot].buffer);
}

/* Mark what depends on wrt: only that needs gradients. */
static void mark(mica_tape *t, int n, const mica_var *wrt) {
  for (uint32_t i = 1; i < t->values.n; i++) t->values.v[i].marked = false;
  for (int i = 0; i < n; i++) t->values.v[wrt[i].slot].marked = true;
  for (uint32_t at = 0; at < t->records.n; at++) {
    const record *r = &t->records.v[at];
    const uint32_t *link = t->links.v + r->links;
    bool any = false;
    for (uint32_t i = 0; i < r->n_in; i++) any |= link[i] && t->values.v[link[i]].marked;
    if (any)
      for (uint32_t i = 0; i < r->n_out; i++) t->values.v[link[r->n_in + i]].marked = true;
  }
}

/* Whatever gradients lie on the tape now, except the retained ones, are left-overs of other
 * branches. */
static void drop_strays(mica_tape *t) {
  for (uint32_t i = 1; i < t->values.n; i++) {
    value *v = &t->values.v[i];
    if (v->grad_kind == GRAD_OWN && !v->retain) mica_value_drop_grad(t, v);
  }
}

mica_status mica_grad(mica_tape *t, mica_var loss, int n, const mica_var *wrt, mica_var *out,
                      bool keep_graph) {
  for (int i = 0; i < n; i++) out[i] = MICA_NONE;
  for (int i = 0; i < n; i++) {
    uint32_t slot = mica_value_slot(t, wrt[i], "grad");
    if (!slot) return mica_tape_status(t);
    if (!t->values.v[slot].needs_grad) {
      mica_latch(t, MICA_ERR_STATE, "grad: tensor %d does not require a gradient", i);
      return mica_tape_status(t);
    }
  }
  if (!mica_ok(t)) return mica_tape_status(t);
  /* Retained gradients of an earlier backward must neither mix in nor be lost: set them aside. */
  value *values = t->values.v;
  mark(t, n, wrt);
  value *aside = mica_arena_alloc(t->arena, (size_t)n * sizeof *aside);
  if (!aside) {
    mica_latch(t, MICA_ERR_MEMORY, "grad: out of memory");
    return mica_tape_status(t);
  }
  for (int i = 0; i < n; i++) {
    value *v = &values[wrt[i].slot];
    aside[i] = *v;
    v->grad_kind = GRAD_NONE;
    v->grad_buffer = 0;
    v->grad = NULL;
    v->retain = true;
  }
  forget_earlier(t);
  uint32_t top = mica_value_slot(t, loss, "grad");
  if (top && seed(t, loss, NULL, false, "grad")) {
    t->marking = true;
    mica_record_range(t, 0, keep_graph);
    t->marking = false;
  }
  values = t->values.v;
  for (int i = 0; i < n; i++) {
    value *v = &values[wrt[i].slot];
    if (mica_ok(t)) {
      if (v->grad) {
        mica_view view = mica_view_of(v->grad, v->view.dtype, v->view.shape);
        if (v->grad_buffer) t->buffers.v[v->grad_buffer].refs++;
        uint32_t slot = mica_value_new(t, &view, v->grad_buffer);
        out[i] = mica_value_handle(t, slot);
      } else {
        out[i] = mica_full(t, v->view.dtype, v->view.shape, 0);
      }
      values = t->values.v;
      v = &values[wrt[i].slot];
    }
    mica_value_drop_grad(t, v);
    v->grad_kind = aside[i].grad_kind;
    v->grad_buffer = aside[i].grad_buffer;
    v->grad = aside[i].grad;
    v->retain = aside[i].retain;
  }
  drop_strays(t);
  mica_arena_release(t->arena, aside);
  return mica_tape_status(t);
}

mica_var mica_retain_grad(mica_tape *t, mica_var v) {
  uint32_t slot = mica_value_slot(t, v, "retain_grad");
  if (slot) t->values.v[slot].retain = true;
  return v;
}

mica_var mica_gradient(mica_tape *t, mica_var v) {
  uint32_t slot = mica_value_slot(t, v, "gradient");
  if (!slot || !t->values.v[slot].grad) return MICA_NONE;
  const value *from = &t->values.v[slot];
  mica_view view = mica_view_of(from->grad, from->view.dtype, from->view.shape);
  uint32_t b = from->grad_buffer;
  if (b) t->buffers.v[b].refs++;
  return mica_value_handle(t, mica_value_new(t, &view, b));
}

static const mica_op detach_op = {sizeof(mica_op), "detach",
                                  MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, NULL};

mica_var mica_detach(mica_tape *t, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, &detach_op, 1, &x)) return MICA_NONE;
  mica_call_output_alias(&c, 0, 0, c.in[0].shape, c.in[0].row_stride);
  return mica_call_end(&c);
}
