/* Attention over a dense batch: the kernel keeps memory linear in length, this file binds it. */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/attention_rules.h"
#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <math.h>
#include <string.h>

/* ---- what dense and ragged attention share ---- */

void mica_attention_gradients(mica_call *c) {
  const mica_attention_bound *x = c->ctx;
  mica_attention_args a = mica_attention_rebound(c);
  const size_t size = mica_dtype_size(a.dtype);
  void *grad[3];
  for (int i = 0; i < 3; i++) {
    const mica_view *v = &c->in[i];
    mica_view *g = mica_call_grad(c, i);
    grad[i] = g ? g->data : mica_call_scratch(c, (size_t)mica_view_count(v) * size);
  }
  mica_view *gbias = mica_call_grad(c, x->first + MICA_RULE_BIAS);
  const void *gy = c->grad_out[0].data;
  void *zeros = NULL;
  if (!gy) { /* only the log-sum-exp was used */
    const size_t bytes = (size_t)mica_view_count(&c->out[0]) * size;
    gy = zeros = mica_call_scratch(c, bytes);
    if (zeros) memset(zeros, 0, bytes);
  }
  if (!mica_ok(c->tape)) return;
  mica_status status = mica_attention_backward(
      c->engine, &a, c->in[0].data, c->in[1].data, c->in[2].data, c->out[0].data, gy,
      c->out[1].data, c->grad_out[1].data, grad[0], grad[1], grad[2], gbias ? gbias->data : NULL);
  if (status != MICA_OK)
    mica_latch(c->tape, status, "%s backward: %s", c->op->name, mica_last_error());
}

mica_var mica_attention_run(mica_call *c, const mica_attention_options *o, mica_attention_bound *x,
                            mica_shape out, mica_shape rows, mica_var *lse) {
  mica_tape *t = c->tape;
  mica_attention_args *a = &x->a;
  const mica_view *qv = &c->in[0], *kv = &c->in[1], *vv = &c->in[2];
  if (!mica_is_float(qv) || qv->dtype != kv->dtype || qv->dtype != vv->dtype)
    return mica_call_fail(c, MICA_ERR_SHAPE, "expected one float type for all:");
  a->dtype = qv->dtype;
  a->q = mica_attention_strides_of(qv);
  a->k = mica_attention_strides_of(kv);
  a->v = mica_attention_strides_of(vv);
  a->dq = mica_attention_dense(qv);
  a->dk = mica_attention_dense(kv);
  a->dv = mica_attention_dense(vv);
  const char *misfit = mica_attention_bind(c, o, x);
  if (misfit) return mica_call_fail(c, MICA_ERR_SHAPE, "%s:", misfit);
  if (lse && !mica_attention_has_lse(a))
    return mica_call_fail(c, MICA_ERR_INVALID,
                          "there is no log of the sum of weights that are not divided by it:");
  const mica_view *y = mica_call_output(c, qv->dtype, out);
  if (y) a->out = mica_attention_dense(y);
  const bool want_lse = lse || mica_call_recorded(c);
  const mica_view *l = want_lse ? mica_call_output(c, qv->dtype, rows) : NULL;
  if (mica_ok(t)) {
    mica_status status = mica_attention_forward(c->engine, a, qv->data, kv->data, vv->data, y->data,
                                                l ? l->data : NULL);
    if (status != MICA_OK) return mica_call_fail(c, status, "%s", mica_last_error());
  }
  for (int i = 0; i < 3; i++) mica_call_save_input(c, i);
  mica_attention_keep(c, x);
  mica_call_save_output(c, 0);
  if (want_lse) mica_call_save_output(c, 1);
  mica_var end[2] = {MICA_NONE, MICA_NONE};
  mica_call_end_n(c, want_lse ? 2 : 1, end);
  if (lse) *lse = end[1];
  return end[0];
}

/* ---- dense ---- */

static const mica_op attention_op = {sizeof(mica_op), "attention",
                                     MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE,
                                     mica_attention_gradients};

static mica_var attend(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                       const mica_attention_options *given, mica_var *lse) {
  const mica_attention_options o = mica_attention_defaults(given);
  mica_var in[3 + MICA_RULES] = {q, k, v};
  mica_attention_inputs(&o, bias, in + 3);
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &attention_op, 3 + MICA_RULES, in, ~UINT32_C(7)))
    return MICA_NONE;
  const mica_view *qv = &c.in[0], *kv = &c.in[1], *vv = &c.in[2];
  if (qv->shape.rank != 4 || kv->shape.rank != 4 || vv->shape.rank != 4)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected q [N,Lq,h,d], k [N,Lk,g,d], v [N,Lk,g,dv]:");
  const int64_t *qd = qv->shape.dim, *kd = kv->shape.dim, *vd = vv->shape.dim;
  if (qd[0] != kd[0] || qd[0] != vd[0] || kd[1] != vd[1] || kd[2] != vd[2] || qd[3] != kd[3] ||
      !kd[2] || qd[2] % kd[2])
    return mica_call_fail(&c, MICA_ERR_SHAPE, "q, k and v do not fit together:");
  mica_attention_bound x = {.first = 3,
                            .a = {.batch = qd[0],
                                  .heads = qd[2],
                                  .kv_heads = kd[2],
                                  .queries = qd[1],
                                  .keys = kd[1],
                                  .dim = qd[3],
                                  .value_dim = vd[3]}};
  return mica_attention_run(&c, &o, &x, MICA_SHAPE(qd[0], qd[1], qd[2], vd[3]),
                            MICA_SHAPE(qd[0], qd[2], qd[1]), lse);
}

static mica_var attention(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                          const mica_attention_options *o, mica_var *lse) {
  mica_scope_begin(t, NULL);
  bias = mica_contiguous(t, bias);
  mica_var y[2] = {MICA_NONE, MICA_NONE};
  y[0] = attend(t, q, k, v, bias, o, lse ? &y[1] : NULL);
  mica_scope_end_n(t, lse ? 2 : 1, y);
  if (lse) *lse = y[1];
  return y[0];
}

mica_var mica_attention(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                        const mica_attention_options *o, mica_var *lse) {
  if (lse) *lse = MICA_NONE;
  const scoped outside = t->now;
  if (!outside.attention || !mica_ok(t)) return attention(t, q, k, v, bias, o, lse);
  mica_set_attention(t, NULL, NULL);
  mica_var y =
      outside.attention(t, outside.attention_ctx, mica_tape_path(t), q, k, v, bias, o, lse);
  t->now = outside;
  return y;
}

mica_var mica_attention_mask_bias(mica_tape *t, mica_var k, mica_var bias) { /* k [N,Lk,...] */
  const mica_view m = mica_read(t, mica_mask(t)), kv = mica_read(t, k);
  if (!mica_ok(t)) return MICA_NONE;
  if (m.shape.rank != 2 || kv.shape.rank < 3 || m.shape.dim[0] != kv.shape.dim[0] ||
      m.shape.dim[1] != kv.shape.dim[1]) {
    char a[96], b[96];
    return mica_latch(t, MICA_ERR_SHAPE, "attention: the mask %s does not fit the keys %s",
                      mica_shape_text(&m.shape, a, sizeof a),
                      mica_shape_text(&kv.shape, b, sizeof b));
  }
  mica_var keep = mica_reshape(t, mica_mask(t), MICA_SHAPE(m.shape.dim[0], 1, 1, m.shape.dim[1]));
  mica_var out = mica_where(t, keep, mica_full(t, kv.dtype, MICA_SCALAR, 0),
                            mica_full(t, kv.dtype, MICA_SCALAR, -INFINITY));
  return mica_is_none(bias) ? out : mica_add(t, bias, out);
}

mica_var mica_masked_attention(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                               const mica_attention_options *o, mica_var *lse) {
  if (mica_is_none(mica_mask(t))) return mica_attention(t, q, k, v, bias, o, lse);
  mica_var y[2] = {MICA_NONE, MICA_NONE};
  if (lse) *lse = MICA_NONE;
  mica_scope_begin(t, NULL);
  y[0] = mica_attention(t, q, k, v, mica_attention_mask_bias(t, k, bias), o, lse ? &y[1] : NULL);
  mica_scope_end_n(t, lse ? 2 : 1, y);
  if (lse) *lse = y[1];
  return y[0];
}
