/* Values that are made again for backward instead of being kept for it.
 *
 * A transformer's hidden layer is kept twice: as what its activation read, and as what the next
 * layer read. The second costs one pass to make again, which memory would otherwise hold from
 * forward to backward. Values are lost in the order of forward: one may be made from others that
 * are lost, as a residual block's result is from that of the block before it, but what a lost value
 * is made from is not lost after it. So it is known how many one takes.
 */
#include "autograd/tape.h"

/* Below this, the block is not worth the call. */
#define LOSS_BYTES ((size_t)64 << 10)

/* Lost values that one is made from, one from the other: each takes some of the stack. */
#define MOST_DEPTH 32

/* How many lost values the value of this record would be made from, itself one of them; 0: it
 * cannot be made again. */
static unsigned depth_of(const mica_tape *t, const record *r) {
  if (!(r->op->flags & MICA_OP_REMADE) || r->done || r->n_out != 1 || r->saved_out) return 0;
  const uint32_t *link = t->links.v + r->links;
  unsigned most = 0;
  for (uint32_t i = 0; i < r->n_in; i++) {
    if (!link[i]) continue;
    if (!(r->saved_in >> i & 1)) return 0;
    const value *v = &t->values.v[link[i]];
    if (v->lost && v->depth > most) most = v->depth;
  }
  return most < MOST_DEPTH ? most + 1 : 0;
}

void mica_value_lose(mica_tape *t, uint32_t slot) {
  value *v = &t->values.v[slot];
  if (!v->wanted || !v->buffer || !v->producer || v->base || t->buffers.v[v->buffer].refs > 1 ||
      mica_view_bytes(&v->view) < LOSS_BYTES)
    return;
  const record *r = &t->records.v[v->producer - 1];
  const unsigned depth = depth_of(t, r);
  if (!depth) return;
  const uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in; i++)
    if (link[i]) t->values.v[link[i]].base = true;
  mica_buffer_unref(t, v->buffer);
  v->buffer = 0;
  v->view.data = NULL;
  v->lost = true;
  v->depth = (uint8_t)depth;
}

bool mica_value_remake(mica_tape *t, uint32_t slot) {
  value *v = &t->values.v[slot];
  if (!v->lost) return true;
  const uint32_t b = mica_buffer_new(t, mica_view_bytes(&v->view));
  if (!b) return false;
  v->buffer = b;
  v->view.data = t->buffers.v[b].data;
  v->lost = false;
  mica_call c;
  if (mica_record_bind(t, v->producer - 1, &c)) {
    c.state.out_views[0] = v->view;
    ((const remade_op *)c.op)->remake(&c);
  }
  mica_record_end(&c);
  return mica_ok(t);
}

mica_var mica_until_backward(mica_tape *t, mica_var var) {
  const uint32_t slot = mica_value_slot(t, var, "until_backward");
  if (!slot) return MICA_NONE;
  value *v = &t->values.v[slot];
  /* Who taps values may hold on to their data. */
  if (!v->producer || v->weak || v->kept || v->retain || t->taps.n) return var;
  mica_value_lose(t, slot);
  if (v->lost || v->wanted > 1) {
    v->weak = true;
    mica_value_unwant(t, slot);
  }
  return var;
}

bool mica_value_there(mica_tape *t, uint32_t slot, const char *what) {
  value *v = &t->values.v[slot];
  if (!v->weak) return true;
  if (v->lost) {
    if (!mica_value_remake(t, slot)) return false;
  } else if (!v->buffer) {
    mica_latch(t, MICA_ERR_STATE, "%s: the tensor was given back in backward", what);
    return false;
  }
  v->weak = false;
  v->wanted++;
  return true;
}
