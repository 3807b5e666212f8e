/* Values that are made again for backward instead of being kept for it.
 *
 * A transformer's hidden layer is kept twice: as what its activation read, and as what the next
 * layer read. The second costs one pass to make again, which memory would otherwise hold from
 * forward to backward. What a lost value is made from is never lost itself, so that making one
 * makes no other.
 */
#include "autograd/tape.h"

/* Below this, the block is not worth the call. */
#define LOSS_BYTES ((size_t)64 << 10)

/* The inputs that a value of this record is made from all there, and to stay so? */
static bool can_remake(const mica_tape *t, const record *r) {
  if (!(r->op->flags & MICA_OP_REMADE) || r->done || r->n_out != 1 || r->saved_out) return false;
  const uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in; i++)
    if (link[i] && (!(r->saved_in >> i & 1) || t->values.v[link[i]].lost)) return false;
  return true;
}

void mica_value_lose(mica_tape *t, uint32_t slot) {
  value *v = &t->values.v[slot];
  if (!v->wanted || !v->buffer || !v->producer || v->base || t->buffers.v[v->buffer].refs > 1 ||
      mica_view_bytes(&v->view) < LOSS_BYTES)
    return;
  const record *r = &t->records.v[v->producer - 1];
  if (!can_remake(t, r)) return;
  const uint32_t *link = t->links.v + r->links;
  for (uint32_t i = 0; i < r->n_in; i++)
    if (link[i]) t->values.v[link[i]].base = true;
  mica_buffer_unref(t, v->buffer);
  v->buffer = 0;
  v->view.data = NULL;
  v->lost = true;
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
