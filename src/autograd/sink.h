/* Where the gradient of a leaf goes: parameters give the tape one of these, so that autograd knows
 * no parameter.
 */
#ifndef MICA_AUTOGRAD_SINK_H
#define MICA_AUTOGRAD_SINK_H

#include <mica/op.h>
#include <mica/tape.h>

typedef struct mica_sink {
  /* The dense gradient's memory; *fresh: nothing is in it yet, write; else add. NULL: out of
   * memory. */
  void *(*dense)(void *owner, bool *fresh);
  /* Add n rows. */
  mica_status (*rows)(void *owner, const int64_t *ids, const void *values, int64_t n);
  /* What came so far is not a gradient: backward failed. */
  void (*invalidate)(void *owner);
} mica_sink;

/* A leaf with the owner's memory whose gradient goes to the sink. */
mica_var mica_sink_leaf(mica_tape *t, const mica_view *view, const mica_sink *sink, void *owner);

/* Gradients of n examples from number `first`, [n, elements of the owner], of an owner of leaves.
 */
typedef mica_status (*mica_example_visit)(void *ctx, void *owner, int64_t first, int64_t n,
                                          const mica_view *gradient);
/* The losses that fn gives for the examples along the leading dimension of every input, and their
 * gradients, at_once examples at a time (0: 32): see mica_example_gradients. With `squares`
 * [examples] an operation may add the squared norm of an owner's gradient there instead of forming
 * it; the others are handed over. */
mica_status mica_examples_run(mica_tape *t, mica_fn fn, void *ctx, int n_in, const mica_var *in,
                              int64_t at_once, mica_example_visit visit, void *visit_ctx,
                              double *squares);

/* Backward of an operation with MICA_OP_CLOSED_FORM: where to add the squared norm of each
 * example's gradient of input i, which nobody else uses, instead of giving the gradient; NULL: give
 * it. */
double *mica_call_example_squares(mica_call *c, int i);

/* Queue fn(owner, weight, value) for mica_commit. */
typedef mica_status (*mica_commit_fn)(void *owner, double weight, const mica_view *value);
void mica_tape_queue(mica_tape *t, mica_commit_fn fn, void *owner, double weight, mica_var value);

#endif
