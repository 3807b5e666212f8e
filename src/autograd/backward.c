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
 * view or from rows. */
enum { PENDING_NONE, PENDING_DIRECT, PENDING_ADD };

static void *grad_buffer(mica_tape *t, value *v) {
  uint32_t b = mica_buffer_new(t, mica_view_bytes(&v->view));
  if (!b) return NULL;
  v->grad_buffer = b;
  v->grad_kind = GRAD_OWN;
  v->grad = t->buffers.v[b].data;
  return v->grad;
}

/* Memory for a first gradient of v; *fresh false when there is one to add to already. */
static void *target(mica_tape *t, value *v, bool *fresh) {
  *fresh = false;
  if (v->grad_kind != GRAD_NONE) return v->grad;
  if (!v->sink || !t->to_sinks) {
    *fresh = true;
    return grad_buffer(t, v);
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

mica_view *mica_call_grad(mica_call *c, int i) {
  mica_tape *t = c->tape;
  if (!mica_ok(t) || !mica_call_needs_grad(c, i)) return NULL;
  struct mica_call_state *s = &c->state;
  value *v = &t->values.v[s->in_slot[i]];
  assert(s->gin_buffers[i] == PENDING_NONE);
  bool fresh;
  void *data = target(t, v, &fresh);
  if (!data) return NULL;
  s->gin_view[i] = mica_view_of(data, v->view.dtype, v->view.shape);
  if (!fresh) {
    s->gin_view[i].data = mica_call_scratch(c, mica_view_bytes(&s->gin_view[i]));
    if (!s->gin_view[i].data) return NULL;
  }
  s->gin_buffers[i] = fresh ? PENDING_DIRECT : PENDING_ADD;
  return &s->gin_view[i];
}

/* Add n elements to the gradient of v, which may share its buffer with another value's. */
static void add_to(mica_tape *t, value *v, const void *more) {
  int64_t n = mica_view_count(&v->view);
  if (v->grad_kind == GRAD_OWN && t->buffers.v[v->grad_buffer].refs > 1) {
    uint32_t shared = v->grad_buffer;
    const void *old = v->grad;
    if (!grad_buffer(t, v)) return;
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
  value *y = &t->values.v[c->state.out_slots[j]];
  if (v->grad_kind == GRAD_NONE && !(v->sink && t->to_sinks) && y->grad_kind == GRAD_OWN) {
    t->buffers.v[y->grad_buffer].refs++;
    v->grad_kind = GRAD_OWN;
    v->grad_buffer = y->grad_buffer;
    v->grad = gy->data;
    return;
  }
  bool fresh;
  void *data = target(t, v, &fresh);
  if (!data) return;
  if (fresh)
    memcpy(data, gy->data, mica_view_bytes(&v->view));
  else
    add_to(t, v, gy->data);
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
  bool fresh;
  char *data = target(t, v, &fresh);
  if (!data) return;
  if (fresh) {
    memset(data, 0, mica_view_bytes(&v->view));
  } else if (v->grad_kind == GRAD_OWN && t->buffers.v[v->grad_buffer].refs > 1) {
    uint32_t shared = v->grad_buffer;
    const void *old = v->grad;
    data = grad_buffer(t, v);
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

static void unsave(mica_tape *t, record *r) {
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

/* The call that an operation's backward is given. False: no output has a gradient, or nobody asks.
 */
static bool backward_call(mica_tape *t, uint32_t at, mica_call *c) {
  const record *r = &t->records.v[at];
  struct mica_call_state *s = &c->state;
  c->tape = t;
  c->engine = t->engine;
  c->op = r->op;
  c->n_in = r->n_in;
  c->n_out = r->n_out;
  c->ctx = r->ctx;
  s->record = at;
  s->spill = t->scratch.n;
  s->n_saved = r->n_saved;
  s->records = false;
  s->in_slot = s->in_slots;
  s->in_view = s->in_views;
  s->gin_view = s->gin_views;
  s->gin_buffers = s->gin_inline;
  c->grad_out = s->grad_views;
  c->saved = (void *const *)s->saved_data;
  bool any = false;
  const uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_out; i++) {
    const value *v = &t->values.v[s->out_slots[i] = link[r->n_in + i]];
    s->out_views[i] = v->view;
    if (!(r->saved_out >> i & 1)) s->out_views[i].data = NULL;
    s->grad_views[i] = mica_view_of(v->grad, v->view.dtype, v->view.shape);
    any |= v->grad != NULL;
  }
  if (!any) return false;
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
  link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in; i++) {
    s->in_slot[i] = link[i];
    s->gin_buffers[i] = PENDING_NONE;
    s->in_view[i] = link[i] ? t->values.v[link[i]].view : mica_view_of(NULL, MICA_F32, MICA_SCALAR);
    if (i >= 32 || !(r->saved_in >> i & 1)) s->in_view[i].data = NULL;
  }
  for (uint32_t i = 0; i < r->n_saved; i++)
    s->saved_data[i] = t->buffers.v[s->saved_buffers[i] = link[r->n_in + r->n_out + i]].data;
  return true;
}

static void run_record(mica_tape *t, uint32_t at, bool keep_graph) {
  mica_call c;
  if (!backward_call(t, at, &c)) return;
  record *r = &t->records.v[at];
  if (r->done) {
    mica_latch(t, MICA_ERR_STATE, "backward: the graph of %s was used up by an earlier backward",
               r->op->name);
  } else {
    r->op->backward(&c);
    for (int i = 0; i < c.n_in && mica_ok(t); i++)
      if (c.state.gin_buffers[i] == PENDING_ADD)
        add_to(t, &t->values.v[c.state.in_slot[i]], c.state.gin_view[i].data);
  }
  while (t->scratch.n > c.state.spill) mica_arena_release(t->arena, t->scratch.v[--t->scratch.n]);
  for (int i = 0; i < c.n_out; i++) {
    value *v = &t->values.v[c.state.out_slots[i]];
    if (!v->retain) mica_value_drop_grad(t, v);
  }
  r = &t->records.v[at]; /* a recomputation may have moved the table */
  if (keep_graph || r->done) return;
  unsave(t, r);
  r->done = true;
}

static void run_range(mica_tape *t, uint32_t first, bool keep_graph) {
  for (uint32_t at = t->records.n; at-- > first && mica_ok(t);) run_record(t, at, keep_graph);
}

/* ---- the public calls ---- */

static bool seed(mica_tape *t, mica_var y, const mica_view *gradient, const char *what) {
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
  void *g = grad_buffer(t, v);
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

static mica_status backward(mica_tape *t, mica_var y, const mica_view *gradient) {
  if (mica_ok(t) && seed(t, y, gradient, "backward")) {
    t->to_sinks = true;
    run_range(t, 0, false);
    t->to_sinks = false;
  }
  if (!mica_ok(t)) invalidate(t);
  return mica_tape_status(t);
}

mica_status mica_backward(mica_tape *t, mica_var loss) {
  return backward(t, loss, NULL);
}

mica_status mica_backward_from(mica_tape *t, mica_var y, mica_var gradient) {
  mica_view view = mica_read(t, gradient);
  return backward(t, y, &view);
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
  uint32_t top = mica_value_slot(t, loss, "grad");
  if (top && seed(t, loss, NULL, "grad")) {
    t->marking = true;
    run_range(t, 0, keep_graph);
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

static const mica_op detach_op = {sizeof(mica_op), "detach", MICA_OP_ROW_STRIDES, NULL};

mica_var mica_detach(mica_tape *t, mica_var x) {
  mica_call c;
  if (!mica_call_begin(&c, t, &detach_op, 1, &x)) return MICA_NONE;
  mica_call_output_alias(&c, 0, 0, c.in[0].shape, c.in[0].row_stride);
  return mica_call_end(&c);
}

/* ---- recomputation ---- */

typedef struct recompute_context {
  mica_fn fn;
  void *ctx;
  uint64_t draws; /* the path hash that the function's draws count below */
  bool training;
  mica_dtype compute;
} recompute_context;

static void recompute_backward(mica_call *c);
static const mica_op recompute_op = {sizeof(mica_op), "recompute", 0, recompute_backward};

/* Run fn below a scope whose draws are its own; the table of counts starts empty both times. */
static void run_fn(mica_tape *t, const recompute_context *r, int n_in, const mica_var *in,
                   int n_out, mica_var *out) {
  const draw_table outer = t->draws;
  t->draws = t->spare_draws;
  t->spare_draws = (draw_table){0};
  mica_scope_begin(t, NULL);
  if (t->scopes.n) t->scopes.v[t->scopes.n - 1].draws = r->draws;
  for (int i = 0; i < n_out; i++) out[i] = MICA_NONE;
  if (mica_ok(t)) r->fn(t, r->ctx, n_in, in, n_out, out);
  mica_scope_end_n(t, n_out, out);
  mica_draw_table_clear(&t->draws);
  mica_free(t->spare_draws.slot);
  t->spare_draws = t->draws;
  t->draws = outer;
}

void mica_recompute(mica_tape *t, mica_fn fn, void *ctx, int n_in, const mica_var *in, int n_out,
                    mica_var *out) {
  for (int i = 0; i < n_out; i++) out[i] = MICA_NONE;
  mica_key key = mica_tape_draw(t, "recompute");
  const recompute_context r = {fn, ctx, key.word | 1, t->training, t->compute};
  if (t->no_grad) {
    run_fn(t, &r, n_in, in, n_out, out);
    return;
  }
  mica_call c;
  if (!mica_call_begin(&c, t, &recompute_op, n_in, in)) return;
  mica_no_grad_begin(t);
  run_fn(t, &r, n_in, in, n_out, out);
  mica_no_grad_end(t);
  if (!mica_ok(t)) {
    mica_call_end_n(&c, 0, NULL);
    return;
  }
  c.state.records = true; /* weights used inside may need gradients even where no input does */
  for (int i = 0; i < n_in; i++) mica_call_save_input(&c, i);
  mica_call_context(&c, &r, sizeof r);
  for (int i = 0; i < n_out; i++) {
    mica_call_output_adopt(&c, out[i].slot);
    mica_release(t, out[i]);
  }
  mica_call_end_n(&c, n_out, out);
}

static void recompute_backward(mica_call *c) {
  mica_tape *t = c->tape;
  const recompute_context *r = c->ctx;
  const uint32_t first = t->records.n, links = t->links.n, births = t->births.n, trail = t->trail.n;
  const bool training = t->training, no_queue = t->no_queue;
  const mica_dtype compute = t->compute;
  mica_var in[32], out[MICA_CALL_INLINE];
  if (c->n_in > 32) {
    mica_latch(t, MICA_ERR_INVALID, "recompute: more than 32 inputs");
    return;
  }
  t->training = r->training;
  t->compute = r->compute;
  t->no_queue = true;
  t->recomputing++;
  const int no_grad = t->no_grad;
  t->no_grad = 0;
  const bool marking = t->marking;
  for (int i = 0; i < c->n_in; i++) {
    uint32_t slot = mica_value_new(t, &c->in[i], 0);
    in[i] = mica_value_handle(t, slot);
    if (slot && mica_call_needs_grad(c, i))
      t->values.v[slot].needs_grad = t->values.v[slot].retain = true;
  }
  if (mica_ok(t)) run_fn(t, r, c->n_in, in, c->n_out, out);
  for (int i = 0; i < c->n_out && mica_ok(t); i++) {
    if (!c->grad_out[i].data) continue;
    uint32_t slot = mica_value_slot(t, out[i], "recompute");
    if (!slot || !t->values.v[slot].needs_grad) continue;
    value *v = &t->values.v[slot];
    if (v->grad_kind == GRAD_NONE) {
      void *g = grad_buffer(t, v);
      if (g) memcpy(g, c->grad_out[i].data, mica_view_bytes(&v->view));
    } else {
      add_to(t, v, c->grad_out[i].data);
    }
  }
  /* Inside, weights get their gradients through their sinks, unless only marked tensors ask. */
  t->marking = false;
  if (mica_ok(t)) run_range(t, first, false);
  t->marking = marking;
  for (int i = 0; i < c->n_in && mica_ok(t); i++) {
    const value *v = &t->values.v[in[i].slot];
    if (!v->needs_grad) continue;
    const void *g = v->grad;
    mica_view *to = mica_call_grad(c, i);
    v = &t->values.v[in[i].slot];
    g = v->grad;
    if (to && g)
      memcpy(to->data, g, mica_view_bytes(to));
    else if (to)
      memset(to->data, 0, mica_view_bytes(to));
  }
  /* Take the recomputed graph apart: nothing outside points to it. */
  for (uint32_t at = t->records.n; at-- > first;)
    if (!t->records.v[at].done) unsave(t, &t->records.v[at]);
  for (uint32_t i = t->trail.n; i-- > trail;) {
    uint32_t slot = t->trail.v[i];
    value *v = &t->values.v[slot];
    if (!v->graph && !v->stamp) continue; /* already free */
    if (v->grad_kind == GRAD_SINK) v->grad_kind = GRAD_NONE;
    mica_value_drop_grad(t, v);
    v->graph = false;
    v->retain = v->needs_grad = false;
    if (v->stamp)
      mica_value_drop_handle(t, slot);
    else if (VEC_ROOM(t, t->free_values, 1))
      t->free_values.v[t->free_values.n++] = slot;
  }
  t->trail.n = trail;
  t->births.n = births;
  t->records.n = first;
  t->links.n = links;
  t->training = training;
  t->compute = compute;
  t->no_queue = no_queue;
  t->recomputing--;
  t->no_grad = no_grad;
}
