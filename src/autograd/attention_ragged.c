/* Attention over sequences of different lengths that lie one after the other. */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/attention_rules.h"
#include "autograd/ranges.h"
#include "autograd/tape.h"

enum { QUERY_OFFSETS = 3 + MICA_RULES, KEY_OFFSETS, INPUTS };

static void ragged_backward(mica_call *c) {
  mica_attention_bound *x = c->ctx; /* the offsets lie where the saved inputs do now */
  x->a.q_offsets = c->in[QUERY_OFFSETS].data;
  x->a.k_offsets = c->in[KEY_OFFSETS].data ? c->in[KEY_OFFSETS].data : c->in[QUERY_OFFSETS].data;
  mica_attention_gradients(c);
}

static const mica_op ragged_op = {sizeof(mica_op), "ragged_attention", MICA_OP_ROW_STRIDES,
                                  ragged_backward};

/* The longest sequence, -1 where these are not offsets of `total` tokens. */
static int64_t longest_of(const mica_view *v, int64_t total) {
  if (v->dtype != MICA_I64 || v->shape.rank != 1 || v->shape.dim[0] < 1) return -1;
  const int64_t *offset = v->data, n = v->shape.dim[0] - 1;
  int64_t longest = 0;
  if (offset[0] != 0 || offset[n] != total) return -1;
  for (int64_t i = 0; i < n; i++) {
    if (offset[i + 1] < offset[i] || offset[i + 1] > total) return -1;
    if (offset[i + 1] - offset[i] > longest) longest = offset[i + 1] - offset[i];
  }
  return longest;
}

static mica_var attend_ragged(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                              mica_var query_offsets, mica_var key_offsets,
                              const mica_attention_options *given, mica_var *lse) {
  const mica_attention_options o = mica_attention_defaults(given);
  mica_var in[INPUTS] = {q, k, v};
  mica_attention_inputs(&o, bias, in + 3);
  in[QUERY_OFFSETS] = query_offsets;
  in[KEY_OFFSETS] = key_offsets;
  mica_call c;
  const uint32_t needed = 7 | UINT32_C(1) << QUERY_OFFSETS;
  if (!mica_call_begin_optional(&c, t, &ragged_op, INPUTS, in, ~needed)) return MICA_NONE;
  mica_attention_heads s;
  const char *misfit = mica_attention_heads_of(&c, &o, 3, &s);
  if (misfit) return mica_call_fail(&c, MICA_ERR_SHAPE, "%s:", misfit);
  const int64_t *qd = s.q.dim, *kd = s.k.dim;
  const mica_view *qo = &c.in[QUERY_OFFSETS], *ko = &c.in[KEY_OFFSETS];
  if (!ko->data) ko = qo;
  const int64_t queries = longest_of(qo, qd[0]), keys = longest_of(ko, kd[0]);
  if (queries < 0 || keys < 0 || qo->shape.dim[0] != ko->shape.dim[0])
    return mica_call_fail(&c, MICA_ERR_INVALID,
                          "offsets are int64 [sequences + 1] and rise from 0 to the %s:",
                          queries < 0 ? "queries" : "keys, as many as those of the queries");
  mica_attention_bound x = {.first = 3,
                            .a = {.batch = qo->shape.dim[0] - 1,
                                  .queries = queries,
                                  .keys = keys,
                                  .q_offsets = qo->data,
                                  .k_offsets = ko->data,
                                  .all_queries = qd[0]}};
  return mica_attention_run(&c, &o, &s, &x, MICA_SHAPE(qd[1], qd[0]), lse);
}

mica_var mica_ragged_attention(mica_tape *t, mica_var q, mica_var k, mica_var v, mica_var bias,
                               mica_var query_offsets, mica_var key_offsets,
                               const mica_attention_options *o, mica_var *lse) {
  if (lse) *lse = MICA_NONE;
  mica_scope_begin(t, NULL);
  bias = mica_contiguous(t, bias);
  mica_var y[2] = {MICA_NONE, MICA_NONE};
  y[0] = attend_ragged(t, q, k, v, bias, query_offsets, key_offsets, o, lse ? &y[1] : NULL);
  mica_scope_end_n(t, lse ? 2 : 1, y);
  if (lse) *lse = y[1];
  return y[0];
}
