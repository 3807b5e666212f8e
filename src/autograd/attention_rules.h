/* attention_rules.h: from mica_attention_options and the inputs they name to what the kernel takes.
 */
#ifndef MICA_AUTOGRAD_ATTENTION_RULES_H
#define MICA_AUTOGRAD_ATTENTION_RULES_H

#include <mica/op.h>
#include <mica/ops.h>

#include "tensor/kernel/attention.h"

/* Inputs that every attention has behind its own. */
enum {
  MICA_RULE_BIAS,
  MICA_RULE_QUERY_POSITIONS,
  MICA_RULE_KEY_POSITIONS,
  MICA_RULE_QUERY_SEGMENTS,
  MICA_RULE_KEY_SEGMENTS,
  MICA_RULES
};

/* What is known of a call in forward and in backward. Buffers that the backward needs are numbered
 * in the order of mica_call_saved, -1: none. */
typedef struct mica_attention_bound {
  mica_attention_args a;
  int first; /* number of the first rule among the inputs */
  int saved, tables, sharpened;
} mica_attention_bound;

/* A copy whose missing fields are the defaults. */
mica_attention_options mica_attention_defaults(const mica_attention_options *given);
/* Fill in[0 .. MICA_RULES - 1]. */
void mica_attention_inputs(const mica_attention_options *o, mica_var bias, mica_var *in);

/* Sizes, strides, q_offsets, k_offsets and all_queries of x->a are set; everything else is set here
 * from the options and the inputs at x->first. NULL, or what is wrong. */
const char *mica_attention_bind(mica_call *c, const mica_attention_options *o,
                                mica_attention_bound *x);
/* Save the inputs from `x->first` on, and x as the call's context. */
void mica_attention_keep(mica_call *c, const mica_attention_bound *x);
/* The arguments again, in backward. */
mica_attention_args mica_attention_rebound(const mica_call *c);

/* q, k, v with an axis of heads, [..,L,h,d], or heads side by side, [..,L,h d]. */
typedef struct mica_attention_heads {
  mica_shape q, k, v; /* with an axis of heads */
  bool side_by_side;
} mica_attention_heads;
/* NULL, or what is wrong with inputs 0, 1, 2; `rank` is that with an axis of heads. */
const char *mica_attention_heads_of(const mica_call *c, const mica_attention_options *o, int rank,
                                    mica_attention_heads *out);

/* Backward of q, k, v (inputs 0, 1, 2) with their rules; output 0 the result, 1 the lse. */
void mica_attention_gradients(mica_call *c);

/* The checks, outputs and forward that dense and ragged attention share: inputs 0, 1, 2 are q, k,
 * v; x->a has its sizes, `rows` is the shape of the lse. */
mica_var mica_attention_run(mica_call *c, const mica_attention_options *o,
                            const mica_attention_heads *s, mica_attention_bound *x, mica_shape rows,
                            mica_var *lse);

/* `bias` with the tape's mask: -inf for keys (k [N,Lk,..]) that are left out, for every head and
 * query. */
mica_var mica_attention_mask_bias(mica_tape *t, mica_var k, mica_var bias);

#endif
