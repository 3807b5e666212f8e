/* The self-attention of decoders: causal, with grouped queries, rotary positions and a cache. */
#include <mica/kv_cache.h>

mica_status mica_nn_causal_attention_init(mica_node *node, const mica_causal_attention_options *o) {
  if (o->heads < 1 || o->kv_heads < 1 || o->dim % o->heads || o->heads % o->kv_heads)
    return mica_fail(MICA_ERR_INVALID,
                     "attention: %lld channels, %lld heads, %lld key/value heads, expected each to "
                     "divide the one before",
                     (long long)o->dim, (long long)o->heads, (long long)o->kv_heads);
  const int64_t c = o->dim, kv = c / o->heads * o->kv_heads;
  if (o->packed) {
    mica_status status =
        mica_nn_linear_init(mica_node_child(node, "c_attn"), c, c + 2 * kv, o->qkv_bias);
    return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "c_proj"), c, c, o->bias)
                             : status;
  }
  mica_status status = mica_nn_linear_init(mica_node_child(node, "q_proj"), c, c, o->qkv_bias);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(node, "k_proj"), c, kv, o->qkv_bias);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(node, "v_proj"), c, kv, o->qkv_bias);
  return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "o_proj"), c, c, o->bias)
                           : status;
}

/* Queries, keys and values [N,L,heads,d] of the projections. */
static void project(mica_tape *t, mica_node *node, const mica_causal_attention_options *o,
                    mica_var x, mica_var out[3]) {
  static const char *const name[3] = {"q_proj", "k_proj", "v_proj"};
  const int64_t d = o->dim / o->heads, kv = d * o->kv_heads;
  mica_scope_begin(t, NULL);
  if (o->packed) {
    mica_var y = mica_nn_linear(t, mica_node_find(node, "c_attn"), x);
    mica_split(t, y, -1, 3, (int64_t[]){o->dim, kv, kv}, out);
  } else {
    for (int i = 0; i < 3; i++) out[i] = mica_nn_linear(t, mica_node_find(node, name[i]), x);
  }
  const int64_t n = mica_dim(t, x, 0), length = mica_dim(t, x, 1);
  for (int i = 0; i < 3; i++)
    out[i] = mica_reshape(t, out[i], MICA_SHAPE(n, length, i ? o->kv_heads : o->heads, d));
  mica_scope_end_n(t, 3, out);
}

static mica_var attend(mica_tape *t, mica_node *node, const mica_causal_attention_options *o,
                       mica_var x) {
  mica_attention_options attention = MICA_ATTENTION_OPTIONS;
  attention.causal = true;
  struct mica_kv_cache *cache = mica_cache(t);
  if (o->packed && o->heads == o->kv_heads && !o->rotary && !cache) {
    mica_var y = mica_nn_linear(t, mica_node_find(node, "c_attn"), x);
    return mica_packed_attention(t, y, o->heads, MICA_NONE, &attention);
  }
  mica_var part[3];
  project(t, node, o, x, part);
  mica_var y;
  if (cache) {
    if (mica_ok(t) && !mica_is_none(mica_mask(t)))
      return mica_latch(t, MICA_ERR_UNSUPPORTED, "attention: a mask beside a cache");
    y = mica_cached_attention(t, cache, part[0], part[1], part[2], o->rotary, 0);
  } else {
    for (int i = 0; i < 2 && o->rotary; i++)
      part[i] = mica_replace(t, part[i], mica_rotary(t, part[i], MICA_NONE, o->rotary));
    y = mica_masked_attention(t, part[0], part[1], part[2], MICA_NONE, &attention, NULL);
  }
  return mica_flatten(t, y, 2);
}

mica_var mica_nn_causal_attention(mica_tape *t, mica_node *node,
                                  const mica_causal_attention_options *o, mica_var x) {
  mica_nn_enter(t, node);
  if (mica_ok(t) && (mica_rank(t, x) != 3 || mica_dim(t, x, 2) != o->dim))
    mica_latch(t, MICA_ERR_SHAPE, "attention: expected [N,L,%lld]", (long long)o->dim);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  mica_var y = attend(t, node, o, x);
  return mica_scope_end(
      t, mica_nn_linear(t, mica_node_find(node, o->packed ? "c_proj" : "o_proj"), y));
}
