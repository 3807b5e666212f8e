/* A gradient for each example, from one forward and one backward over many examples.
 *
 * Every tensor that depends on the examples has them along its leading dimension and is called
 * batched; what they share (weights, and what is made of weights alone) is not. The gradient of a
 * batched tensor holds each example's own already. That of a shared tensor is [examples, ...] here:
 * an operation writes it in closed form, or its backward runs once for each example with the
 * gradients of the others set to zero, which is exact because backward is linear. A parameter is
 * handed over when the last of its uses is done, so sums over positions and over tied uses are
 * formed before anybody takes a norm.
 *
 * Where some operation mixes examples (it says so, or does not say) none of this holds; then the
 * examples run one by one.
 */
#include "autograd/tape.h"

#include "autograd/sink.h"

#include <mica/ops.h>

#include <string.h>

typedef struct owner_use {
  void *owner;
  uint32_t first; /* the first record that uses it: the last on the way back */
  int64_t times;
} owner_use;

typedef struct example_job {
  mica_tape *t;
  mica_fn fn;
  void *ctx;
  int n_in;
  const mica_var *in;
  mica_example_visit visit;
  void *visit_ctx;
  double *squares;
  int64_t first; /* example of the running part */
  owner_use *use;
  int64_t uses, room;
} example_job;

/* ---- one record ---- */

/* Does some input that is batched (or shared) need a gradient? */
static bool needs(const mica_tape *t, const record *r, bool batched) {
  const uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in; i++)
    if (link[i] && t->values.v[link[i]].needs_grad && t->values.v[link[i]].batched == batched)
      return true;
  return false;
}

static void run_once(mica_tape *t, uint32_t at) {
  mica_call c;
  if (!mica_record_call(t, at, &c)) return;
  mica_record_backward(&c);
  mica_record_end(&c);
}

/* The results are shared too: backward for each example's gradient. */
static void run_shared(mica_tape *t, uint32_t at) {
  for (int64_t n = 0; n < t->examples.n && mica_ok(t); n++) {
    mica_call c;
    t->examples.at = n;
    if (!mica_record_call(t, at, &c)) return;
    for (int j = 0; j < c.n_out; j++) {
      mica_view *g = &c.state.grad_views[j];
      if (g->data) g->data = (char *)g->data + (size_t)n * mica_view_bytes(g);
    }
    mica_record_backward(&c);
    mica_record_end(&c);
  }
}

/* Backward for each example with the gradients of the others zero. */
static void run_masked(mica_tape *t, uint32_t at) {
  const int64_t examples = t->examples.n;
  uint32_t masked[MICA_CALL_INLINE] = {0};
  for (int64_t n = 0; n < examples && mica_ok(t); n++) {
    mica_call c;
    t->examples.at = n;
    if (!mica_record_call(t, at, &c)) break;
    for (int j = 0; j < c.n_out && mica_ok(t); j++) {
      mica_view *g = &c.state.grad_views[j];
      if (!g->data) continue;
      const size_t bytes = mica_view_bytes(g), part = bytes / (size_t)examples;
      if (!masked[j]) {
        masked[j] = mica_buffer_new(t, bytes);
        if (!masked[j]) break;
        memset(t->buffers.v[masked[j]].data, 0, bytes);
      }
      char *to = t->buffers.v[masked[j]].data;
      if (n) memset(to + (size_t)(n - 1) * part, 0, part);
      memcpy(to + (size_t)n * part, (const char *)g->data + (size_t)n * part, part);
      g->data = to;
    }
    if (mica_ok(t)) mica_record_backward(&c);
    mica_record_end(&c);
  }
  for (int j = 0; j < MICA_CALL_INLINE; j++) mica_buffer_unref(t, masked[j]);
}

static void run_record(mica_tape *t, uint32_t at) {
  const record *r = &t->records.v[at];
  const uint32_t *out = t->links.v + r->links + r->n_in;
  const bool closed = r->op->flags & MICA_OP_CLOSED_FORM;
  bool batched = false, any = false;
  for (uint32_t i = 0; i < r->n_out; i++) {
    batched |= t->values.v[out[i]].batched;
    any |= t->values.v[out[i]].grad != NULL;
  }
  if (any && !batched) run_shared(t, at);
  if (any && batched) {
    t->examples.at = -1;
    t->examples.closed = closed;
    const bool shared = needs(t, r, false);
    if (needs(t, r, true) || (closed && shared)) run_once(t, at);
    t->examples.closed = false;
    if (shared && !closed && mica_ok(t)) run_masked(t, at);
  }
  mica_record_done(t, at, false);
}

/* ---- owners ---- */

static bool note_use(example_job *j, void *owner, uint32_t at) {
  for (int64_t i = 0; i < j->uses; i++)
    if (j->use[i].owner == owner) {
      j->use[i].times++;
      return true;
    }
  if (j->uses == j->room) {
    const int64_t room = j->room ? 2 * j->room : 64;
    owner_use *more = mica_realloc_array(j->use, (size_t)room, sizeof *more);
    if (!more) {
      mica_latch(j->t, MICA_ERR_MEMORY, "example gradients: out of memory");
      return false;
    }
    j->use = more;
    j->room = room;
  }
  j->use[j->uses++] = (owner_use){owner, at, 1};
  return true;
}

static bool note_uses(example_job *j, uint32_t first) {
  mica_tape *t = j->t;
  j->uses = 0;
  for (uint32_t at = first; at < t->records.n; at++) {
    const record *r = &t->records.v[at];
    const uint32_t *link = t->links.v + r->links;
    for (uint32_t i = 0; i < r->n_in; i++)
      if (link[i] && t->values.v[link[i]].sink && !note_use(j, t->values.v[link[i]].owner, at))
        return false;
  }
  return true;
}

/* Where norms are asked for, an operation may give that of an owner that nobody else uses. */
static void mark_lone(const example_job *j) {
  mica_tape *t = j->t;
  for (uint32_t i = 1; i < t->values.n && j->squares; i++) {
    value *v = &t->values.v[i];
    for (int64_t k = 0; k < j->uses && v->sink; k++)
      if (j->use[k].owner == v->owner) v->lone = j->use[k].times == 1;
  }
}

/* Add up what came to the owner's leaves, and hand it over. */
static void hand_over(example_job *j, void *owner) {
  mica_tape *t = j->t;
  value *sum = NULL;
  for (uint32_t i = 1; i < t->values.n; i++) {
    value *v = &t->values.v[i];
    if (!v->sink || v->owner != owner || !v->per_example) continue;
    if (!sum) {
      sum = v;
      continue;
    }
    mica_accumulate(t, v->view.dtype, t->examples.n * mica_view_count(&v->view), sum->grad,
                    v->grad);
    mica_value_drop_grad(t, v);
  }
  if (!sum) return;
  const mica_view g = mica_view_of(sum->grad, sum->view.dtype,
                                   MICA_SHAPE(t->examples.n, mica_view_count(&sum->view)));
  const mica_status status = j->visit(j->visit_ctx, owner, j->first, t->examples.n, &g);
  if (status != MICA_OK) mica_latch(t, status, "example gradients: %s", mica_last_error());
  mica_value_drop_grad(t, sum);
}

/* ---- a part of the examples ---- */

static void forward(example_job *j, int64_t n, mica_var *loss) {
  mica_tape *t = j->t;
  mica_var part[32];
  mica_scope_begin(t, NULL);
  mica_no_grad_begin(t);
  for (int i = 0; i < j->n_in; i++) {
    part[i] = mica_slice(t, j->in[i], 0, j->first, j->first + n);
    if (mica_ok(t)) t->values.v[part[i].slot].batched = true;
  }
  mica_no_grad_end(t);
  *loss = MICA_NONE;
  if (mica_ok(t)) j->fn(t, j->ctx, j->n_in, part, 1, loss);
  mica_scope_end_n(t, 1, loss);
}

static void backward(example_job *j, uint32_t first, mica_var loss) {
  mica_tape *t = j->t;
  value *v = &t->values.v[loss.slot];
  v->batched = true; /* one example: whatever it is */
  if (!note_uses(j, first) || !mica_grad_buffer(t, v)) return;
  mark_lone(j);
  for (int64_t i = 0; i < t->examples.n; i++)
    if (v->view.dtype == MICA_F32)
      ((float *)v->grad)[i] = 1;
    else
      ((double *)v->grad)[i] = 1;
  for (uint32_t at = t->records.n; at-- > first && mica_ok(t);) {
    run_record(t, at);
    for (int64_t i = 0; i < j->uses && mica_ok(t); i++)
      if (j->use[i].first == at) hand_over(j, j->use[i].owner);
  }
}

/* False: n examples cannot run together. */
static bool run_part(example_job *j, int64_t n) {
  mica_tape *t = j->t;
  const graph_mark graph = mica_graph_begin(t);
  t->examples =
      (example_run){.n = n, .at = -1, .squares = j->squares ? j->squares + j->first : NULL};
  mica_var loss;
  forward(j, n, &loss);
  bool apart = true;
  const uint32_t slot = mica_value_slot(t, loss, "example gradients");
  if (slot) {
    const value *v = &t->values.v[slot];
    char text[128];
    apart = n == 1 || (v->batched && !t->examples.mixed);
    if (apart && (mica_view_count(&v->view) != n ||
                  (v->view.dtype != MICA_F32 && v->view.dtype != MICA_F64)))
      mica_latch(t, MICA_ERR_SHAPE, "example gradients: %s of %lld examples, expected their losses",
                 mica_shape_text(&v->view.shape, text, sizeof text), (long long)n);
    else if (apart && v->needs_grad)
      backward(j, graph.records, loss);
  }
  for (uint32_t i = 1; i < t->values.n; i++)
    if (t->values.v[i].per_example) mica_value_drop_grad(t, &t->values.v[i]);
  mica_graph_end(t, &graph);
  t->examples = (example_run){0};
  return apart;
}

mica_status mica_examples_run(mica_tape *t, mica_fn fn, void *ctx, int n_in, const mica_var *in,
                              int64_t at_once, mica_example_visit visit, void *visit_ctx,
                              double *squares) {
  const int64_t examples = n_in > 0 ? mica_dim(t, in[0], 0) : 0;
  if (mica_ok(t) && (n_in < 1 || n_in > 32 || at_once < 0))
    mica_latch(t, MICA_ERR_INVALID, "example gradients: %d inputs, expected 1 to 32", n_in);
  for (int i = 1; i < n_in && mica_ok(t); i++)
    if (mica_dim(t, in[i], 0) != examples && mica_ok(t))
      mica_latch(t, MICA_ERR_SHAPE, "example gradients: input %d has %lld examples, input 0 %lld",
                 i, (long long)mica_dim(t, in[i], 0), (long long)examples);
  if (mica_ok(t) && t->examples.n)
    mica_latch(t, MICA_ERR_STATE, "example gradients: they cannot be taken inside themselves");
  if (!mica_ok(t)) return mica_tape_status(t);
  example_job j = {t, fn, ctx, n_in, in, visit, visit_ctx, squares, 0, NULL, 0, 0};
  const bool no_queue = t->no_queue, to_sinks = t->to_sinks, marking = t->marking;
  const int no_grad = t->no_grad;
  t->no_queue = true;
  t->to_sinks = t->marking = false;
  t->no_grad = 0;
  if (!at_once) at_once = 32;
  while (j.first < examples && mica_ok(t)) {
    const int64_t left = examples - j.first, n = at_once < left ? at_once : left;
    if (run_part(&j, n))
      j.first += n;
    else
      at_once = 1;
  }
  t->no_queue = no_queue;
  t->to_sinks = to_sinks;
  t->marking = marking;
  t->no_grad = no_grad;
  mica_free(j.use);
  return mica_tape_status(t);
}
