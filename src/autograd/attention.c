/* Scaled dot-product attention: the kernel keeps memory linear in length, this file binds it. */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/ranges.h"
#include "autograd/tape.h"
#include "tensor/kernel/attention.h"

#include <math.h>
#include <string.h>

/* Strides of a dense [N,L,heads,d], or of a view with a row stride: the last dimension of a packed
 * [N,L,heads,3d] cut into slices. */
static mica_attention_strides strides_of(const mica_view *v) {
  const int64_t row = v->row_stride, heads = v->shape.dim[2], length = v->shape.dim[1];
  return (mica_attention_strides){length * heads * row, heads * row, row};
}

static mica_attention_strides dense_strides(const mica_view *v) {
  const int64_t row = v->shape.dim[3], heads = v->shape.dim[2], length = v->shape.dim[1];
  return (mica_attention_strides){length * heads * row, heads * row, row};
}

/* The kernel reads q, k, v with the strides of the forward and writes their gradients with the
 * same; a gradient is dense, so strided inputs are made dense first. */
static void attention_backward(mica_call *c) {
  mica_attention_args a = *(const mica_attention_args *)c->ctx;
  const size_t size = mica_dtype_size(a.dtype);
  void *grad[3];
  for (int i = 0; i < 3; i++) {
    const mica_view *v = &c->in[i];
    mica_view *g = mica_call_grad(c, i);
    grad[i] = g ? g->data : mica_call_scratch(c, (size_t)mica_view_count(v) * size);
  }
  mica_view *gbias = mica_call_grad(c, 3);
  const void *gy = c->grad_out[0].data;
  void *zeros = NULL;
  if (!gy) { /* only the log-sum-exp was used */
    const size_t bytes = (size_t)mica_view_count(&c->out[0]) * size;
    gy = zeros = mica_call_scratch(c, bytes);
    if (zeros) memset(zeros, 0, bytes);
  }
  if (!mica_ok(c->tape)) return;
  a.bias = c->in[3].data;
  mica_status status = mica_attention_backward(
      c->engine, &a, c->in[0].data, c->in[1].data, c->in[2].data, c->out[0].data, gy,
      c->out[1].data, c->grad_out[1].data, grad[0], grad[1], grad[2], gbias ? gbias->data : NULL);
  if (status != MICA_OK) mica_latch(c->tape, status, "attention backward: %s", mica_last_error());
}

static const mica_op attention_op = {sizeof(mica_op), "attention",
                                     MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, attention_backward};

/* Input i as the bias of `a`; NULL, or what is wrong with it. */
static const char *bind_bias(mica_call *c, int i, mica_attention_args *a) {
  const mica_view *b = &c->in[i];
  const int64_t want[4] = {a->batch, a->heads, a->queries, a->keys};
  if (!b->data) return NULL;
  int64_t stride[4], step = 1;
  if (b->shape.rank > 4 || !mica_view_contiguous(b)) return "the bias must be a dense [N,h,Lq,Lk]";
  for (int d = 3, at = b->shape.rank - 1; d >= 0; d--, at--) {
    const int64_t n = at < 0 ? 1 : b->shape.dim[at];
    if (n != want[d] && n != 1) return "the bias does not broadcast to [N,h,Lq,Lk]";
    stride[d] = n == 1 ? 0 : step;
    step *= n;
  }
  if (want[3] != 1 && stride[3] != 1) return "the bias must have a column for each key";
  a->bias = b->data;
  a->bias_batch = stride[0];
  a->bias_head = stride[1];
  a->bias_query = stride[2];
  if (b->shape.rank < 4 || b->shape.dim[0] != a->batch) mica_call_mixes(c, i);
  return NULL;
}

static mica_attention_options options_of(const mica_attention_options *given) {
  mica_attention_options o = MICA_ATTENTION_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  return o;
}

static double scale_of(const mica_attention_options *o, int64_t dim) {
  return o->scale != 0 ? o->scale : 1 / sqrt((double)(dim ? dim : 1));
}

static mica_var attend(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                       const mica_attention_options *given, mica_var *lse) {
  const mica_attention_options o = options_of(given);
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &attention_op, 4, (mica_var[]){q, k, v, bias}, 8))
    return MICA_NONE;
  const mica_view *qv = &c.in[0], *kv = &c.in[1], *vv = &c.in[2], *bv = &c.in[3];
  if (qv->shape.rank != 4 || kv->shape.rank != 4 || vv->shape.rank != 4)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected q [N,Lq,h,d], k [N,Lk,g,d], v [N,Lk,g,dv]:");
  const int64_t *qd = qv->shape.dim, *kd = kv->shape.dim, *vd = vv->shape.dim;
  if (qd[0] != kd[0] || qd[0] != vd[0] || kd[1] != vd[1] || kd[2] != vd[2] || qd[3] != kd[3] ||
      !kd[2] || qd[2] % kd[2])
    return mica_call_fail(&c, MICA_ERR_SHAPE, "q, k and v do not fit together:");
  if (qv->dtype != kv->dtype || qv->dtype != vv->dtype ||
      (qv->dtype != MICA_F32 && qv->dtype != MICA_F64) || (bv->data && bv->dtype != qv->dtype))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected one float type for all:");
  mica_attention_args a = {.dtype = qv->dtype,
                           .batch = qd[0],
                           .heads = qd[2],
                           .kv_heads = kd[2],
                           .queries = qd[1],
                           .keys = kd[1],
                           .dim = qd[3],
                           .value_dim = vd[3],
                           .scale = scale_of(&o, qd[3]),
                           .causal = o.causal,
                           .offset = kd[1] - qd[1],
                           .window = o.window,
                           .q = strides_of(qv),
                           .k = strides_of(kv),
                           .v = strides_of(vv)};
  const char *misfit = bind_bias(&c, 3, &a);
  if (misfit) return mica_call_fail(&c, MICA_ERR_SHAPE, "%s:", misfit);
  const mica_view *y = mica_call_output(&c, qv->dtype, MICA_SHAPE(qd[0], qd[1], qd[2], vd[3]));
  if (y) a.out = dense_strides(y);
  const bool want_lse = lse || mica_call_recorded(&c);
  const mica_view *l =
      want_lse ? mica_call_output(&c, qv->dtype, MICA_SHAPE(qd[0], qd[2], qd[1])) : NULL;
  if (mica_ok(t)) {
    mica_status status = mica_attention_forward(c.engine, &a, qv->data, kv->data, vv->data, y->data,
                                                l ? l->data : NULL);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  mica_call_context(&c, &a, sizeof a);
  for (int i = 0; i < 4; i++)
    if (c.in[i].data) mica_call_save_input(&c, i);
  mica_call_save_output(&c, 0);
  if (want_lse) mica_call_save_output(&c, 1);
  mica_var out[2] = {MICA_NONE, MICA_NONE};
  mica_call_end_n(&c, want_lse ? 2 : 1, out);
  if (lse) *lse = out[1];
  return out[0];
}

static mica_var attention(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                          const mica_attention_options *o, mica_var *lse) {
  mica_scope_begin(t, NULL);
  /* Gradients are dense and have the strides of what was read. */
  if (mica_is_recording(t)) {
    q = mica_contiguous(t, q);
    k = mica_contiguous(t, k);
    v = mica_contiguous(t, v);
  }
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

/* The mask as a bias that every head and query shares: 0, and -inf for keys that are left out. */
static mica_var mask_bias(mica_tape *t, mica_var k, mica_var bias) { /* k [N,Lk,...] */
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
  y[0] = mica_attention(t, q, k, v, mask_bias(t, k, bias), o, lse ? &y[1] : NULL);
  mica_scope_end_n(t, lse ? 2 : 1, y);
  if (lse) *lse = y[1];
  return y[0];
}

/* ---- queries, keys and values side by side ---- */

/* Channels 0, C and 2C of a packed tensor. */
typedef struct packed {
  void *part[3];
} packed;

static packed parts_of(const mica_view *v) {
  const size_t width = (size_t)(mica_view_cols(v) / 3) * mica_dtype_size(v->dtype);
  char *p = v->data;
  return (packed){{p, p ? p + width : NULL, p ? p + 2 * width : NULL}};
}

static void packed_backward(mica_call *c) {
  mica_attention_args a = *(const mica_attention_args *)c->ctx;
  a.bias = c->in[1].data;
  mica_view *g = mica_call_grad(c, 0), *gbias = mica_call_grad(c, 1), own = c->in[0];
  if (!g) { /* only the bias asks */
    own.data = mica_call_scratch(c, (size_t)mica_view_count(&own) * mica_dtype_size(own.dtype));
    g = &own;
  }
  if (!mica_ok(c->tape)) return;
  const packed x = parts_of(&c->in[0]), gx = parts_of(g);
  mica_status status = mica_attention_backward(
      c->engine, &a, x.part[0], x.part[1], x.part[2], c->out[0].data, c->grad_out[0].data,
      c->saved[0], NULL, gx.part[0], gx.part[1], gx.part[2], gbias ? gbias->data : NULL);
  if (status != MICA_OK)
    mica_latch(c->tape, status, "packed_attention backward: %s", mica_last_error());
}

static const mica_op packed_op = {sizeof(mica_op), "packed_attention", MICA_OP_BY_EXAMPLE,
                                  packed_backward};

static mica_var attend_packed(mica_tape *t, mica_var x, int64_t heads, mica_var bias,
                              const mica_attention_options *given) {
  const mica_attention_options o = options_of(given);
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &packed_op, 2, (mica_var[]){x, bias}, 2)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  const int64_t n = v->shape.dim[0], length = v->shape.dim[1], channels = v->shape.dim[2] / 3;
  if (!mica_is_float(v) || (c.in[1].data && c.in[1].dtype != v->dtype))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected one float type for all:");
  const int64_t dim = channels / heads;
  const mica_attention_strides in = {length * 3 * channels, 3 * channels, dim};
  mica_attention_args a = {.dtype = v->dtype,
                           .batch = n,
                           .heads = heads,
                           .kv_heads = heads,
                           .queries = length,
                           .keys = length,
                           .dim = dim,
                           .value_dim = dim,
                           .scale = scale_of(&o, dim),
                           .causal = o.causal,
                           .window = o.window,
                           .q = in,
                           .k = in,
                           .v = in,
                           .out = {length * channels, channels, dim}};
  const char *misfit = bind_bias(&c, 1, &a);
  if (misfit) return mica_call_fail(&c, MICA_ERR_SHAPE, "%s:", misfit);
  const mica_view *y = mica_call_output(&c, v->dtype, MICA_SHAPE(n, length, channels));
  void *lse = mica_call_recorded(&c)
                  ? mica_call_saved(&c, (size_t)(n * heads * length) * mica_dtype_size(v->dtype))
                  : NULL;
  if (mica_ok(t)) {
    const packed p = parts_of(v);
    mica_status status =
        mica_attention_forward(c.engine, &a, p.part[0], p.part[1], p.part[2], y->data, lse);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  mica_call_context(&c, &a, sizeof a);
  mica_call_save_input(&c, 0);
  if (c.in[1].data) mica_call_save_input(&c, 1);
  mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

mica_var mica_packed_attention(mica_tape *t, mica_var x, int64_t heads, mica_var bias,
                               const mica_attention_options *o) {
  const mica_view v = mica_read(t, x);
  if (!mica_ok(t)) return MICA_NONE;
  char text[96];
  if (v.shape.rank != 3 || heads < 1 || v.shape.dim[2] % (3 * heads))
    return mica_latch(t, MICA_ERR_SHAPE,
                      "packed_attention: expected [N,L,3 C] with %lld heads dividing C, not %s",
                      (long long)heads, mica_shape_text(&v.shape, text, sizeof text));
  const int64_t n = v.shape.dim[0], length = v.shape.dim[1], channels = v.shape.dim[2] / 3;
  mica_scope_begin(t, NULL);
  mica_var y;
  if (t->now.attention) { /* another rule takes the three apart */
    mica_var part[3];
    mica_split(t, x, 2, 3, (int64_t[]){channels, channels, channels}, part);
    for (int i = 0; i < 3; i++)
      part[i] = mica_reshape(t, part[i], MICA_SHAPE(n, length, heads, channels / heads));
    y = mica_masked_attention(t, part[0], part[1], part[2], bias, o, NULL);
    y = mica_reshape(t, y, MICA_SHAPE(n, length, channels));
  } else {
    if (!mica_is_none(mica_mask(t))) bias = mask_bias(t, x, bias);
    y = attend_packed(t, x, heads, bias, o);
  }
  return mica_scope_end(t, y);
}
