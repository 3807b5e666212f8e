/* Recomputation: a function runs without a record of its steps, and again in backward.
 *
 * The graph of the second run is taken apart as soon as its gradients are out.
 */
#include "autograd/tape.h"

#include <string.h>

/* ---- a graph inside a graph ---- */

graph_mark mica_graph_begin(mica_tape *t) {
  t->recomputing++;
  return (graph_mark){t->records.n, t->links.n, t->births.n, t->trail.n};
}

void mica_graph_end(mica_tape *t, const graph_mark *mark) {
  for (uint32_t at = t->records.n; at-- > mark->records;)
    if (!t->records.v[at].done) mica_record_unsave(t, &t->records.v[at]);
  for (uint32_t i = t->trail.n; i-- > mark->trail;) {
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
  t->trail.n = mark->trail;
  t->births.n = mark->births;
  t->records.n = mark->records;
  t->links.n = mark->links;
  t->recomputing--;
}

/* ---- recomputation ---- */

typedef struct recompute_context {
  mica_fn fn;
  void *ctx;
  uint64_t draws; /* the path hash that the function's draws count below */
  bool training;
  mica_dtype compute;
  scoped now; /* the mask is the last input */
  bool masked;
} recompute_context;

static void recompute_backward(mica_call *c);
static const mica_op recompute_op = {sizeof(mica_op), "recompute", 0, recompute_backward};

/* Run fn below a scope whose draws are its own; the table of counts starts empty both times. `path`
 * is where the first run was, in the pool of paths; UINT32_MAX: here. */
static void run_fn(mica_tape *t, const recompute_context *r, uint32_t path, int n_in,
                   const mica_var *in, int n_out, mica_var *out) {
  const draw_table outer = t->draws;
  t->draws = t->spare_draws;
  t->spare_draws = (draw_table){0};
  mica_scope_begin(t, NULL);
  if (t->scopes.n) t->scopes.v[t->scopes.n - 1].draws = r->draws;
  if (t->scopes.n && path != UINT32_MAX) t->scopes.v[t->scopes.n - 1].path = path;
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
  if (n_in < 0 || n_in > 31) {
    mica_latch(t, MICA_ERR_INVALID, "recompute: %d inputs, expected at most 31", n_in);
    return;
  }
  mica_key key = mica_tape_draw(t, "recompute");
  const bool masked = !mica_is_none(t->now.mask);
  const recompute_context r = {fn, ctx, key.word | 1, t->training, t->compute, t->now, masked};
  if (t->no_grad || t->examples.n) {
    run_fn(t, &r, UINT32_MAX, n_in, in, n_out, out);
    return;
  }
  mica_call c;
  mica_var all[32];
  for (int i = 0; i < n_in; i++) all[i] = in[i];
  if (masked) all[n_in] = t->now.mask;
  if (!mica_call_begin(&c, t, &recompute_op, n_in + masked, all)) return;
  mica_no_grad_begin(t);
  run_fn(t, &r, UINT32_MAX, n_in, in, n_out, out);
  mica_no_grad_end(t);
  if (!mica_ok(t)) {
    mica_call_end_n(&c, 0, NULL);
    return;
  }
  c.state.records = true; /* weights used inside may need gradients even where no input does */
  for (int i = 0; i < c.n_in; i++) mica_call_save_input(&c, i);
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
  const bool training = t->training, no_queue = t->no_queue;
  const mica_dtype compute = t->compute;
  mica_var in[32], out[MICA_CALL_INLINE];
  t->training = r->training;
  t->compute = r->compute;
  t->no_queue = true;
  const graph_mark graph = mica_graph_begin(t);
  const int no_grad = t->no_grad;
  t->no_grad = 0;
  const bool marking = t->marking;
  for (int i = 0; i < c->n_in; i++) {
    uint32_t slot = mica_value_new(t, &c->in[i], 0);
    in[i] = mica_value_handle(t, slot);
    if (slot && mica_call_needs_grad(c, i))
      t->values.v[slot].needs_grad = t->values.v[slot].retain = true;
  }
  const uint32_t running = t->running;
  const scoped now = t->now;
  t->running = 0;
  t->now = r->now;
  if (r->masked) t->now.mask = in[c->n_in - 1];
  if (mica_ok(t))
    run_fn(t, r, t->records.v[c->state.record].path, c->n_in - r->masked, in, c->n_out, out);
  t->now = now;
  t->running = running;
  for (int i = 0; i < c->n_out && mica_ok(t); i++) {
    if (!c->grad_out[i].data) continue;
    uint32_t slot = mica_value_slot(t, out[i], "recompute");
    if (!slot || !t->values.v[slot].needs_grad) continue;
    value *v = &t->values.v[slot];
    if (v->grad_kind == GRAD_NONE) {
      void *g = mica_grad_buffer(t, v);
      if (g) memcpy(g, c->grad_out[i].data, mica_view_bytes(&v->view));
    } else {
      mica_add_gradient(t, v, c->grad_out[i].data);
    }
  }
  /* Inside, weights get their gradients through their sinks, unless only marked tensors ask. */
  t->marking = false;
  if (mica_ok(t)) mica_record_range(t, graph.records, false);
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
  /* Nothing outside points to the recomputed graph. */
  mica_graph_end(t, &graph);
  t->training = training;
  t->compute = compute;
  t->no_queue = no_queue;
  t->no_grad = no_grad;
}
