/* Folding all batch norms of a network that follow a convolution. Which do is seen in a forward. */
#include "autograd/tape.h"
#include "model/taps.h"
#include "param/low_rank.h"

typedef struct pairs {
  int64_t n, room;
  struct pair {
    mica_node *conv, *norm;
    double eps;
  } * v;
  bool short_of_memory;
} pairs;

static void note(void *ctx, void *conv, void *norm, double eps) {
  pairs *p = ctx;
  if (!conv || !norm || mica_node_folded(norm)) return;
  for (int64_t i = 0; i < p->n; i++)
    if (p->v[i].conv == conv || p->v[i].norm == norm) return;
  if (p->n == p->room) {
    const int64_t room = p->room ? 2 * p->room : 32;
    struct pair *more = mica_realloc_array(p->v, (size_t)room, sizeof *more);
    if (!more) {
      p->short_of_memory = true;
      return;
    }
    p->v = more;
    p->room = room;
  }
  p->v[p->n++] = (struct pair){conv, norm, eps};
}

mica_status mica_net_fold(mica_net *net, int64_t *count) {
  pairs p = {0};
  mica_tape *t = NULL;
  mica_outputs out;
  mica_status status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status == MICA_OK) {
    mica_no_grad_begin(t);
    t->pair_fn = note;
    t->pair_ctx = &p;
    const mica_inputs in = mica_net_blank_inputs(t, net, 2);
    mica_net_forward_inputs(t, net, &in, &out);
    status = p.short_of_memory ? MICA_ERR_MEMORY : mica_tape_status(t);
  }
  mica_tape_free(t);
  for (int64_t i = 0; i < p.n && status == MICA_OK; i++)
    status = mica_norm_fold(p.v[i].conv, p.v[i].norm, p.v[i].eps, true);
  if (count) *count = p.n;
  mica_free(p.v);
  return status;
}
