/* One application of an operation: inputs resolved, outputs made, the record written.
 *
 * mica/op.h shows the use. A call that fails gives back all it took; a call that is not recorded
 * keeps nothing but its outputs.
 */
#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <stdio.h>
#include <string.h>

static void end_scratch(mica_call *c) {
  mica_tape *t = c->tape;
  while (t->scratch.n > c->state.spill) mica_arena_release(t->arena, t->scratch.v[--t->scratch.n]);
}

void *mica_call_scratch(mica_call *c, size_t bytes) {
  mica_tape *t = c->tape;
  if (!mica_ok(t) || !VEC_ROOM(t, t->scratch, 1)) return NULL;
  void *block = mica_arena_alloc(t->arena, bytes);
  if (!block) {
    mica_latch(t, MICA_ERR_MEMORY, "%s: out of memory for %zu bytes of scratch", c->op->name,
               bytes);
    return NULL;
  }
  t->scratch.v[t->scratch.n++] = block;
  return block;
}

/* ---- contiguous copies of strided inputs ---- */

static void copy_backward(mica_call *c) {
  mica_call_grad_pass(c, 0, 0);
}
static const mica_op contiguous_op = {sizeof(mica_op), "contiguous",
                                      MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, copy_backward};

mica_var mica_contiguous(mica_tape *t, mica_var x) {
  const uint32_t slot = x.stamp ? mica_value_slot(t, x, "contiguous") : 0;
  if (!slot || mica_view_contiguous(&t->values.v[slot].view)) return x;
  mica_call c;
  if (!mica_call_begin(&c, t, &contiguous_op, 1, &x)) return MICA_NONE;
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, c.in[0].shape);
  if (y && mica_convert_view(c.engine, y, &c.in[0]) != MICA_OK)
    return mica_call_fail(&c, mica_last_status(), "%s", mica_last_error());
  return mica_call_end(&c);
}

/* ---- begin ---- */

bool mica_call_begin(mica_call *c, mica_tape *t, const mica_op *op, int n, const mica_var *in) {
  return mica_call_begin_optional(c, t, op, n, in, 0);
}

bool mica_call_begin_optional(mica_call *c, mica_tape *t, const mica_op *op, int n,
                              const mica_var *in, uint32_t optional) {
  if (!mica_ok(t)) return false;
  struct mica_call_state *s = &c->state;
  c->tape = t;
  c->engine = t->engine;
  c->op = op;
  c->n_in = n;
  c->n_out = 0;
  c->grad_out = NULL;
  c->saved = (void *const *)s->saved_data;
  c->ctx = NULL;
  s->saved_in = s->saved_out = s->mixes = 0;
  s->n_saved = 0;
  s->record = 0;
  s->spill = t->scratch.n;
  s->in_slot = s->in_slots;
  s->in_view = s->in_views;
  if (n < 0 || n > UINT16_MAX) {
    mica_latch(t, MICA_ERR_INVALID, "%s: %d inputs", op->name, n);
    return false;
  }
  if (n > MICA_CALL_INLINE) {
    s->in_slot = mica_call_scratch(c, (size_t)n * sizeof(uint32_t));
    s->in_view = mica_call_scratch(c, (size_t)n * sizeof(mica_view));
    if (!s->in_view || !s->in_slot) {
      end_scratch(c);
      return false;
    }
  }
  c->in = s->in_view;
  c->out = s->out_views;
  bool needs = false;
  for (int i = 0; i < n; i++) {
    mica_var v = in[i];
    if (mica_is_none(v) && i < 32 && (optional >> i & 1)) {
      s->in_slot[i] = 0;
      s->in_view[i] = mica_view_of(NULL, MICA_F32, MICA_SCALAR);
      continue;
    }
    uint32_t slot = mica_value_slot(t, v, op->name);
    if (slot && !mica_value_there(t, slot, op->name)) slot = 0;
    if (slot && !(op->flags & MICA_OP_ROW_STRIDES)) {
      v = mica_contiguous(t, v);
      slot = v.stamp ? v.slot : 0;
    }
    if (!slot) {
      end_scratch(c);
      return false;
    }
    s->in_slot[i] = slot;
    s->in_view[i] = t->values.v[slot].view;
    needs |= t->values.v[slot].needs_grad;
  }
  s->records = needs && op->backward && !t->no_grad;
  return true;
}

bool mica_call_recorded(const mica_call *c) {
  return c->state.records;
}

bool mica_call_needs_grad(const mica_call *c, int i) {
  const mica_tape *t = c->tape;
  uint32_t slot = c->state.in_slot[i];
  if (!slot || !t->values.v[slot].needs_grad) return false;
  if (c->grad_out && t->examples.n) return t->values.v[slot].batched == (t->examples.at < 0);
  if (c->grad_out) return !t->marking || t->values.v[slot].marked;
  return c->state.records;
}

/* ---- outputs ---- */

static const mica_view *add_output(mica_call *c, const mica_view *view, uint32_t b) {
  mica_tape *t = c->tape;
  uint32_t slot = 0;
  if (c->n_out < MICA_CALL_INLINE)
    slot = mica_value_new(t, view, b);
  else
    mica_latch(t, MICA_ERR_INVALID, "%s: more than %d outputs", c->op->name, MICA_CALL_INLINE);
  if (!slot) {
    mica_buffer_unref(t, b);
    return NULL;
  }
  c->state.out_slots[c->n_out] = slot;
  c->state.out_views[c->n_out] = *view;
  return &c->state.out_views[c->n_out++];
}

const mica_view *mica_call_output(mica_call *c, mica_dtype dtype, mica_shape shape) {
  mica_tape *t = c->tape;
  if (!mica_ok(t)) return NULL;
  mica_view view = mica_view_of(NULL, dtype, shape);
  if (mica_view_count(&view) < 0) {
    char text[128];
    mica_latch(t, MICA_ERR_SHAPE, "%s: the result would have shape %s", c->op->name,
               mica_shape_text(&shape, text, sizeof text));
    return NULL;
  }
  uint32_t b = mica_buffer_new(t, mica_view_bytes(&view));
  if (!b) return NULL;
  view.data = t->buffers.v[b].data;
  return add_output(c, &view, b);
}

const mica_view *mica_call_output_alias(mica_call *c, int i, int64_t offset, mica_shape shape,
                                        int64_t row_stride) {
  mica_tape *t = c->tape;
  if (!mica_ok(t)) return NULL;
  const mica_view *in = &c->in[i];
  mica_view view = mica_view_of((char *)in->data + (size_t)offset * mica_dtype_size(in->dtype),
                                in->dtype, shape);
  view.row_stride = row_stride;
  uint32_t b = t->values.v[c->state.in_slot[i]].buffer;
  if (b) t->buffers.v[b].refs++;
  return add_output(c, &view, b);
}

const mica_view *mica_call_output_adopt(mica_call *c, uint32_t slot) {
  mica_tape *t = c->tape;
  if (!mica_ok(t)) return NULL;
  const mica_view view = t->values.v[slot].view;
  uint32_t b = t->values.v[slot].buffer;
  if (b) t->buffers.v[b].refs++;
  return add_output(c, &view, b);
}

/* ---- what backward needs ---- */

void *mica_call_context(mica_call *c, const void *options, size_t bytes) {
  mica_tape *t = c->tape;
  if (!mica_ok(t)) return NULL;
  if (!c->state.records) {
    c->ctx = mica_call_scratch(c, bytes);
  } else {
    c->ctx = mica_arena_alloc(t->arena, bytes);
    if (!c->ctx) mica_latch(t, MICA_ERR_MEMORY, "%s: out of memory", c->op->name);
  }
  if (c->ctx) memcpy(c->ctx, options, bytes);
  return c->ctx;
}

void mica_call_save_input(mica_call *c, int i) {
  c->state.saved_in |= 1u << i;
}
void mica_call_save_output(mica_call *c, int i) {
  c->state.saved_out |= 1u << i;
}

void *mica_call_saved(mica_call *c, size_t bytes) {
  mica_tape *t = c->tape;
  if (!c->state.records) return mica_call_scratch(c, bytes);
  if (!mica_ok(t)) return NULL;
  if (c->state.n_saved == MICA_CALL_INLINE) {
    mica_latch(t, MICA_ERR_INVALID, "%s: more than %d saved buffers", c->op->name,
               MICA_CALL_INLINE);
    return NULL;
  }
  uint32_t b = mica_buffer_new(t, bytes);
  if (!b) return NULL;
  c->state.saved_buffers[c->state.n_saved] = b;
  c->state.saved_data[c->state.n_saved++] = t->buffers.v[b].data;
  return t->buffers.v[b].data;
}

/* ---- end ---- */

/* Give back all that the call took. */
static void undo(mica_call *c) {
  mica_tape *t = c->tape;
  for (int i = 0; i < c->state.n_saved; i++) mica_buffer_unref(t, c->state.saved_buffers[i]);
  for (int i = 0; i < c->n_out; i++) mica_value_drop_handle(t, c->state.out_slots[i]);
  c->state.n_saved = c->n_out = 0;
  end_scratch(c);
}

mica_var mica_call_fail(mica_call *c, mica_status status, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  for (int i = 0; i < c->n_in && i < 4 && used + 2 < sizeof text; i++) {
    char shape[96];
    n = snprintf(text + used, sizeof text - used, " %s",
                 mica_shape_text(&c->in[i].shape, shape, sizeof shape));
    if (n > 0) used += (size_t)n;
  }
  mica_latch(c->tape, status, "%s: %s", c->op->name, text);
  if (!c->grad_out) undo(c);
  return MICA_NONE;
}

void mica_call_mixes(mica_call *c, int i) {
  c->state.mixes |= i < 32 ? 1u << i : 1u << 31;
}

/* Results of what has a part for each example have one too, unless the operation mixes them. */
static void follow_examples(mica_call *c) {
  mica_tape *t = c->tape;
  bool batched = false, mixed = !(c->op->flags & MICA_OP_BY_EXAMPLE);
  for (int i = 0; i < c->n_in; i++) {
    if (!c->state.in_slot[i] || !t->values.v[c->state.in_slot[i]].batched) continue;
    batched = true;
    mixed |= c->state.mixes >> (i < 31 ? i : 31) & 1;
  }
  if (!batched) return;
  for (int i = 0; i < c->n_out; i++) {
    value *v = &t->values.v[c->state.out_slots[i]];
    v->batched = true;
    mixed |= !v->view.shape.rank || v->view.shape.dim[0] % t->examples.n;
  }
  if (mixed && !t->examples.mixed) t->examples.mixed = c->op->name;
}

/* Links and the record itself; every slot it names stays until the reset. */
static bool write_record(mica_call *c) {
  mica_tape *t = c->tape;
  struct mica_call_state *s = &c->state;
  uint32_t n = (uint32_t)(c->n_in + c->n_out + s->n_saved);
  if (!VEC_ROOM(t, t->records, 1) || !VEC_ROOM(t, t->links, n)) return false;
  const mica_op *op = c->op;
  for (uint32_t i = 0; i < t->overrides.n; i++)
    if (strcmp(t->overrides.v[i].name, op->name) == 0) op = t->overrides.v[i].op;
  if (op != c->op && (op->flags & MICA_OP_SAVES_ALL)) {
    for (int i = 0; i < c->n_in && i < 32; i++) s->saved_in |= s->in_slot[i] ? 1u << i : 0;
    for (int i = 0; i < c->n_out; i++) s->saved_out |= 1u << i;
  }
  record r = {op,
              c->ctx,
              t->links.n,
              t->scopes.n ? t->scopes.v[t->scopes.n - 1].path : UINT32_MAX,
              (uint16_t)c->n_in,
              (uint16_t)c->n_out,
              (uint16_t)s->n_saved,
              s->saved_in,
              s->saved_out,
              false,
              t->line,
              t->file};
  uint32_t *link = t->links.v + t->links.n;
  t->links.n += n;
  for (int i = 0; i < c->n_in; i++) {
    *link++ = s->in_slot[i];
    if (!s->in_slot[i]) continue;
    t->values.v[s->in_slot[i]].graph = true;
    if (i < 32 && (s->saved_in >> i & 1)) t->values.v[s->in_slot[i]].wanted++;
  }
  for (int i = 0; i < c->n_out; i++) {
    *link++ = s->out_slots[i];
    value *v = &t->values.v[s->out_slots[i]];
    v->graph = true;
    v->needs_grad = v->view.dtype == MICA_F32 || v->view.dtype == MICA_F64;
    v->producer = t->records.n + 1;
    if (s->saved_out >> i & 1) v->wanted++;
  }
  for (int i = 0; i < s->n_saved; i++) *link++ = s->saved_buffers[i];
  t->records.v[t->records.n++] = r;
  return true;
}

void mica_call_end_n(mica_call *c, int n, mica_var *out) {
  mica_tape *t = c->tape;
  for (int i = 0; i < n; i++) out[i] = MICA_NONE;
  if (mica_ok(t) && n > c->n_out)
    mica_latch(t, MICA_ERR_INVALID, "%s: %d outputs made, %d asked for", c->op->name, c->n_out, n);
  if (!mica_ok(t) || (c->state.records && !write_record(c))) {
    undo(c);
    return;
  }
  if (t->examples.n) follow_examples(c);
  for (int i = 0; i < n; i++) out[i] = mica_value_handle(t, c->state.out_slots[i]);
  end_scratch(c);
}

void mica_custom(mica_tape *t, const mica_custom_op *op, const void *ctx, size_t bytes, int n_in,
                 const mica_var *in, int n_out, mica_var *out) {
  for (int i = 0; i < n_out; i++) out[i] = MICA_NONE;
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &op->op, n_in, in, op->optional)) return;
  if (ctx) mica_call_context(&c, ctx, bytes);
  if (mica_ok(t)) op->forward(&c);
  mica_call_end_n(&c, n_out, out);
}

mica_var mica_call_end(mica_call *c) {
  mica_var y;
  mica_call_end_n(c, 1, &y);
  return y;
}
