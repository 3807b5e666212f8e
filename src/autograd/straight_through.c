/* Operations whose value is a hard choice and whose gradient is that of a soft one. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include <string.h>

static void pass_to_soft(mica_call *c) {
  mica_call_grad_pass(c, 1, 0);
}

static const mica_op straight_through_op = {sizeof(mica_op), "straight_through", MICA_OP_BY_EXAMPLE,
                                            pass_to_soft};

mica_var mica_straight_through(mica_tape *t, mica_var hard, mica_var soft) {
  mica_call c;
  if (!mica_call_begin(&c, t, &straight_through_op, 2, (mica_var[]){mica_detach(t, hard), soft}))
    return MICA_NONE;
  const mica_view *h = &c.in[0], *s = &c.in[1];
  if (!mica_is_float(h) || h->dtype != s->dtype || !mica_shape_equal(&h->shape, &s->shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected two tensors of one shape and float type:");
  const mica_view *y = mica_call_output(&c, h->dtype, h->shape);
  if (y) memcpy(y->data, h->data, (size_t)mica_view_count(h) * mica_dtype_size(h->dtype));
  return mica_call_end(&c);
}

mica_var mica_straight_through_round(mica_tape *t, mica_var x) {
  mica_scope_begin(t, NULL);
  return mica_scope_end(t, mica_straight_through(t, mica_round(t, mica_detach(t, x)), x));
}

mica_var mica_straight_through_step(mica_tape *t, mica_var x, mica_step_slope slope) {
  mica_scope_begin(t, NULL);
  mica_var soft = x;
  if (slope == MICA_STEP_CLIPPED)
    soft = mica_clamp(t, x, -1, 1);
  else if (slope == MICA_STEP_SIGMOID)
    soft = mica_sigmoid(t, x);
  else if (slope != MICA_STEP_IDENTITY)
    mica_latch(t, MICA_ERR_INVALID, "straight_through_step: unknown slope %d", (int)slope);
  return mica_scope_end(t, mica_straight_through(t, mica_step(t, mica_detach(t, x)), soft));
}

mica_var mica_straight_through_argmax(mica_tape *t, mica_var x, double temperature) {
  const mica_view v = mica_read(t, x);
  if (!mica_ok(t)) return MICA_NONE;
  if (!(temperature > 0))
    return mica_latch(t, MICA_ERR_INVALID,
                      "straight_through_argmax: temperature %g, expected above 0", temperature);
  if (!mica_is_float(&v) || v.shape.rank < 1 || !mica_view_cols(&v))
    return mica_latch(t, MICA_ERR_SHAPE, "straight_through_argmax: expected float [..,C]");
  mica_scope_begin(t, NULL);
  const mica_var best = mica_argmax(t, mica_detach(t, x), -1);
  const mica_var hard = mica_one_hot(t, best, mica_view_cols(&v), v.dtype);
  const mica_var soft = mica_softmax(t, mica_affine(t, x, 1 / temperature, 0), -1);
  return mica_scope_end(t, mica_straight_through(t, hard, soft));
}
