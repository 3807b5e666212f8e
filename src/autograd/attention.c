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

/* Elements from one batch entry, token and head to the next; `row`: from one row of the last axis
 * to the next, which is a head, or a token where heads lie side by side. */
static mica_attention_strides strides_of(const mica_shape *s, bool side_by_side, int64_t row) {
  const int64_t heads = s->dim[s->rank - 2], length = s->dim[s->rank - 3];
  const int64_t token = side_by_side ? row : heads * row;
  return (mica_attention_strides){length * token, token, side_by_side ? s->dim[s->rank - 1] : row};
}

static mica_attention_strides dense_strides(const mica_shape *s) {
  return strides_of(s, false, s->dim[s->rank - 1]);
}

mica_var mica_attention_run(mica_call *c, const mica_attention_options *o,
                            const mica_attention_heads *s, mica_attention_bound *x, mica_shape rows,
                            mica_var *lse) {
  mica_tape *t = c->tape;
  mica_attention_args *a = &x->a;
  const mica_view *qv = &c->in[0], *kv = &c->in[1], *vv = &c->in[2];
  if (!mica_is_float(qv) || qv->dtype != kv->dtype || qv->dtype != vv->dtype)
    return mica_call_fail(c, MICA_ERR_SHAPE, "expected one float type for all:");
  mica_shape out = s->q;
  const int last = out.rank - 1;
  a->dtype = qv->dtype;
  a->heads = s->q.dim[last - 1];
  a->kv_heads = s->k.dim[last - 1];
  a->dim = s->q.dim[last];
  a->value_dim = out.dim[last] = s->v.dim[last];
  a->q = strides_of(&s->q, s->side_by_side, qv->row_stride);
  a->k = strides_of(&s->k, s->side_by_side, kv->row_stride);
  a->v = strides_of(&s->v, s->side_by_side, vv->row_stride);
  a->dq = dense_strides(&s->q);
  a->dk = dense_strides(&s->k);
  a->dv = dense_strides(&s->v);
  a->out = dense_strides(&out);
  if (s->side_by_side) {
    out.dim[last - 1] *= out.dim[last];
    out.rank--;
  }
  const char *misfit = mica_attention_bind(c, o, x);
  if (misfit) return mica_call_fail(c, MICA_ERR_SHAPE, "%s:", misfit);
  if (lse && !mica_attention_has_lse(a))
    return mica_call_fail(c, MICA_ERR_INVALID,
                          "there is no log of the sum of weights that are not divided by it:");
  const mica_view *y = mica_call_output(c, qv->dtype, out);
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
  mica_attention_heads s;
  const char *misfit = mica_attention_heads_of(&c, &o, 4, &s);
  if (misfit) return mica_call_fail(&c, MICA_ERR_SHAPE, "%s:", misfit);
  const int64_t *qd = s.q.dim;
  mica_attention_bound x = {.first = 3,
                            .a = {.batch = qd[0], .queries = qd[1], .keys = s.k.dim[1]}};
  return mica_attention_run(&c, &o, &s, &x, MICA_SHAPE(qd[0], qd[2], qd[1]), lse);
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
