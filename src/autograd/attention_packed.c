/* Attention whose queries, keys and values lie side by side, as one projection makes them. */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/attention_rules.h"
#include "autograd/ranges.h"
#include "autograd/tape.h"

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
  const mica_attention_bound *b = c->ctx;
  const mica_attention_args a = mica_attention_rebound(c);
  mica_view *g = mica_call_grad(c, 0), *gbias = mica_call_grad(c, 1), own = c->in[0];
  if (!g) { /* only the bias asks */
    own.data = mica_call_scratch(c, (size_t)mica_view_count(&own) * mica_dtype_size(own.dtype));
    g = &own;
  }
  if (!mica_ok(c->tape)) return;
  const packed x = parts_of(&c->in[0]), gx = parts_of(g);
  mica_status status = mica_attention_backward(
      c->engine, &a, x.part[0], x.part[1], x.part[2], c->out[0].data, c->grad_out[0].data,
      c->saved[b->saved], NULL, gx.part[0], gx.part[1], gx.part[2], gbias ? gbias->data : NULL);
  if (status != MICA_OK)
    mica_latch(c->tape, status, "packed_attention backward: %s", mica_last_error());
}

static const mica_op packed_op = {sizeof(mica_op), "packed_attention", MICA_OP_BY_EXAMPLE,
                                  packed_backward};

static mica_var attend_packed(mica_tape *t, mica_var x, int64_t heads, mica_var bias,
                              const mica_attention_options *given) {
  const mica_attention_options o = mica_attention_defaults(given);
  mica_var in[1 + MICA_RULES] = {x};
  mica_attention_inputs(&o, bias, in + 1);
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &packed_op, 1 + MICA_RULES, in, ~UINT32_C(1)))
    return MICA_NONE;
  const mica_view *v = &c.in[0];
  const int64_t n = v->shape.dim[0], length = v->shape.dim[1], channels = v->shape.dim[2] / 3;
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected one float type for all:");
  const int64_t dim = channels / heads;
  const mica_attention_strides packed_strides = {length * 3 * channels, 3 * channels, dim};
  mica_attention_bound b = {.first = 1,
                            .a = {.dtype = v->dtype,
                                  .batch = n,
                                  .heads = heads,
                                  .kv_heads = heads,
                                  .queries = length,
                                  .keys = length,
                                  .dim = dim,
                                  .value_dim = dim,
                                  .q = packed_strides,
                                  .k = packed_strides,
                                  .v = packed_strides,
                                  .out = {length * channels, channels, dim}}};
  const char *misfit = mica_attention_bind(&c, &o, &b);
  if (misfit) return mica_call_fail(&c, MICA_ERR_SHAPE, "%s:", misfit);
  const mica_view *y = mica_call_output(&c, v->dtype, MICA_SHAPE(n, length, channels));
  void *lse = mica_call_recorded(&c)
                  ? mica_call_saved(&c, (size_t)(n * heads * length) * mica_dtype_size(v->dtype))
                  : NULL;
  if (mica_ok(t)) {
    const packed p = parts_of(v);
    mica_status status =
        mica_attention_forward(c.engine, &b.a, p.part[0], p.part[1], p.part[2], y->data, lse);
    if (status != MICA_OK) return mica_call_fail(&c, status, "%s", mica_last_error());
  }
  mica_call_save_input(&c, 0);
  mica_attention_keep(&c, &b);
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
    if (!mica_is_none(mica_mask(t))) bias = mica_attention_mask_bias(t, x, bias);
    y = attend_packed(t, x, heads, bias, o);
  }
  return mica_scope_end(t, y);
}
