/* Decoders of tokens: GPT-2 (Radford et al. 2019) with its names, Llama (Touvron et al. 2023) with
 * its own, and what lies between. */
#include <mica/kv_cache.h>
#include <mica/model.h>

#include "autograd/rotary.h"
#include "tensor/element.h"

#include <math.h>

enum { LEARNED, ROTARY };
enum { LAYER_NORM, RMS_NORM };
enum { GELU, GELU_TANH, SWIGLU };
enum { BIAS_ALL, BIAS_NONE, BIAS_QKV };

/* What the parts are called. */
typedef struct names {
  const char *embedding, *blocks, *norm1, *attention, *norm2, *last_norm;
} names;

static const names *names_of(const mica_gpt_options *o) {
  static const names gpt2 = {"wte", "h", "ln_1", "attn", "ln_2", "ln_f"};
  static const names llama = {"model.embed_tokens",       "model.layers",
                              "input_layernorm",          "self_attn",
                              "post_attention_layernorm", "model.norm"};
  return o->position == LEARNED ? &gpt2 : &llama;
}

static mica_rotary_options rotary_of(const mica_gpt_options *o) {
  mica_rotary_options r = MICA_ROTARY_OPTIONS;
  r.layout = o->rotary;
  r.base = o->base;
  r.dim = o->rotary_dim;
  r.scaling = o->scaling;
  r.factor = o->factor;
  r.original = o->original;
  return r;
}

static mica_causal_attention_options attention_of(const mica_gpt_options *o,
                                                  const mica_rotary_options *rotary) {
  const bool learned = o->position == LEARNED;
  return (mica_causal_attention_options){.size = sizeof(mica_causal_attention_options),
                                         .dim = o->dim,
                                         .heads = o->heads,
                                         .kv_heads = o->kv_heads ? o->kv_heads : o->heads,
                                         .packed = learned,
                                         .qkv_bias = o->bias != BIAS_NONE,
                                         .bias = o->bias == BIAS_ALL,
                                         .rotary = learned ? NULL : rotary};
}

static int64_t hidden_of(const mica_gpt_options *o) {
  if (o->hidden) return o->hidden;
  return o->mlp == SWIGLU ? (8 * o->dim / 3 + 31) / 32 * 32 : 4 * o->dim;
}

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const mica_gpt_options *)options)->dim;
}

/* ---- parameters ---- */

/* Normal values for a linear layer; GPT-2's lie transposed in files. */
static mica_status linear_values(mica_node *node, double deviation, bool transposed) {
  const mica_init normal = {MICA_INIT_NORMAL, 0, deviation, 0, false};
  mica_param *weight = mica_node_param(node, "weight"), *bias = mica_node_param(node, "bias");
  mica_status status = mica_param_initialise(weight, &normal);
  if (transposed) mica_param_set_layout(weight, (mica_layout){MICA_LAYOUT_TRANSPOSED, 0, 0, 0});
  return status == MICA_OK && bias ? mica_param_initialise(bias, &MICA_INIT_ZEROS) : status;
}

static mica_status norm_init(mica_node *node, const mica_gpt_options *o) {
  return o->norm == RMS_NORM ? mica_nn_rms_norm_init(node, o->dim)
                             : mica_nn_layer_norm_init(node, o->dim);
}

static mica_status mlp_init(mica_node *node, const mica_gpt_options *o) {
  const int64_t d = o->dim, hidden = hidden_of(o);
  const bool bias = o->bias == BIAS_ALL;
  if (o->mlp == SWIGLU) return mica_nn_gated_mlp_init(node, d, hidden, d, bias);
  mica_status status = mica_nn_linear_init(mica_node_child(node, "c_fc"), d, hidden, bias);
  return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "c_proj"), hidden, d, bias)
                           : status;
}

static mica_status block_init(mica_node *node, const mica_gpt_options *o) {
  static const char *const linear[] = {"c_attn",    "c_proj",  "q_proj",   "k_proj",
                                       "v_proj",    "o_proj",  "c_fc",     "c_proj",
                                       "gate_proj", "up_proj", "down_proj"};
  const names *n = names_of(o);
  const mica_rotary_options rotary = rotary_of(o);
  const mica_causal_attention_options a = attention_of(o, &rotary);
  mica_node *attention = mica_node_child(node, n->attention), *mlp = mica_node_child(node, "mlp");
  mica_status status = norm_init(mica_node_child(node, n->norm1), o);
  if (status == MICA_OK) status = mica_nn_causal_attention_init(attention, &a);
  if (status == MICA_OK) status = norm_init(mica_node_child(node, n->norm2), o);
  if (status == MICA_OK) status = mlp_init(mlp, o);
  for (size_t i = 0; i < sizeof linear / sizeof *linear && status == MICA_OK; i++) {
    mica_node *child = mica_node_find(i < 6 ? attention : mlp, linear[i]);
    if (!child) continue;
    /* What a block adds to the stream. */
    const bool adds = i == 1 || i == 5 || i == 7 || i == 10;
    status = linear_values(child, adds ? 0.02 / sqrt(2 * (double)o->depth) : 0.02,
                           o->position == LEARNED && (i < 2 || i == 6 || i == 7));
  }
  return status;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_gpt_options *o = options;
  const mica_init normal = {MICA_INIT_NORMAL, 0, 0.02, 0, false};
  const names *n = names_of(o);
  if (task->channels) return mica_fail(MICA_ERR_INVALID, "gpt reads tokens alone");
  if (o->dim % o->heads)
    return mica_fail(MICA_ERR_INVALID, "gpt: %lld heads do not divide dim %lld",
                     (long long)o->heads, (long long)o->dim);
  if (o->position == ROTARY) { /* options out of range are told here */
    const mica_rotary_options r = rotary_of(o);
    mica_status status = mica_rotary_check(&r, o->dim / o->heads);
    if (status != MICA_OK) return status;
  }
  mica_node *embedding = mica_node_child(root, n->embedding);
  mica_status status =
      mica_param_add(embedding, "weight", MICA_F32, MICA_SHAPE(task->vocabulary, o->dim),
                     MICA_PARAM_TRAINABLE | MICA_PARAM_EMBEDDING, &normal, NULL);
  if (status == MICA_OK && o->position == LEARNED)
    status = mica_param_add(mica_node_child(root, "wpe"), "weight", MICA_F32,
                            MICA_SHAPE(task->length, o->dim),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_EMBEDDING, &normal, NULL);
  for (int64_t i = 0; i < o->depth && status == MICA_OK; i++)
    status = block_init(mica_node_childf(root, "%s.%lld", n->blocks, (long long)i), o);
  if (status == MICA_OK) status = norm_init(mica_node_child(root, n->last_norm), o);
  if (status != MICA_OK) return status;
  if (task->classes) {
    mica_node *score = mica_node_child(root, "score");
    status = mica_nn_linear_init(score, o->dim, task->classes, false);
    return status == MICA_OK ? linear_values(score, 0.02, false) : status;
  }
  mica_node *head = mica_node_child(root, "lm_head");
  if (o->tied) return mica_param_tie(head, "weight", mica_node_param(embedding, "weight"));
  status = mica_nn_linear_init(head, o->dim, task->vocabulary, false);
  return status == MICA_OK ? linear_values(head, 0.02, false) : status;
}

/* ---- forward ---- */

static mica_var norm(mica_tape *t, mica_node *node, const mica_gpt_options *o, mica_var x) {
  return o->norm == RMS_NORM ? mica_nn_rms_norm(t, node, o->eps, x)
                             : mica_nn_layer_norm(t, node, o->eps, x);
}

static mica_var mlp(mica_tape *t, mica_node *node, const mica_gpt_options *o, mica_var x) {
  if (o->mlp == SWIGLU) return mica_nn_gated_mlp(t, node, MICA_SILU, x);
  mica_nn_enter(t, node);
  mica_var h = mica_nn_linear(t, mica_node_find(node, "c_fc"), x);
  h = mica_replace(t, h, mica_activate(t, o->mlp == GELU ? MICA_GELU : MICA_GELU_TANH, h));
  return mica_scope_end(t, mica_nn_linear(t, mica_node_find(node, "c_proj"), h));
}

static mica_var block(mica_tape *t, mica_node *node, const mica_gpt_options *o,
                      const mica_causal_attention_options *a, mica_var x) {
  const names *n = names_of(o);
  mica_nn_enter(t, node);
  mica_var h = norm(t, mica_node_find(node, n->norm1), o, x);
  h = mica_replace(t, h, mica_nn_causal_attention(t, mica_node_find(node, n->attention), a, h));
  if (o->dropout > 0) h = mica_replace(t, h, mica_dropout(t, h, o->dropout));
  x = mica_add(t, x, h);
  h = mica_replace(t, h, norm(t, mica_node_find(node, n->norm2), o, x));
  h = mica_replace(t, h, mlp(t, mica_node_find(node, "mlp"), o, h));
  if (o->dropout > 0) h = mica_replace(t, h, mica_dropout(t, h, o->dropout));
  return mica_scope_end(t, mica_add(t, x, h));
}

/* Rows of the table of positions, from those that a cache has seen on. */
static mica_var positions(mica_tape *t, mica_node *root, int64_t length) {
  mica_var table = mica_adapted_weight(t, mica_node_find(root, "wpe"), "weight");
  const struct mica_kv_cache *cache = mica_cache(t);
  const int64_t from = cache ? mica_kv_cache_seen(cache) : 0, rows = mica_dim(t, table, 0);
  if (mica_ok(t) && from + length > rows)
    return mica_latch(t, MICA_ERR_SHAPE,
                      "gpt: tokens up to position %lld, and learned positions up to %lld",
                      (long long)(from + length), (long long)rows);
  return mica_slice(t, table, 0, from, from + length);
}

/* The last token of each row, or the last within the mask: [N,D]. */
static mica_var last_token(mica_tape *t, mica_var x) {
  const int64_t n = mica_dim(t, x, 0), length = mica_dim(t, x, 1), d = mica_dim(t, x, 2);
  if (mica_is_none(mica_mask(t))) {
    if (mica_ok(t) && !length) return mica_latch(t, MICA_ERR_SHAPE, "gpt: a row without tokens");
    return mica_reshape(t, mica_slice(t, x, 1, length - 1, length), MICA_SHAPE(n, d));
  }
  const mica_view mask = mica_read(t, mica_mask(t));
  mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(n), 0);
  const mica_view to = mica_read(t, ids);
  if (!mica_ok(t)) return MICA_NONE;
  if (mask.shape.rank != 2 || mask.shape.dim[0] != n || mask.shape.dim[1] != length)
    return mica_latch(t, MICA_ERR_SHAPE, "gpt: the mask does not fit the tokens");
  for (int64_t i = 0; i < n; i++) {
    int64_t last = length - 1;
    while (last > 0 && mica_view_element(&mask, i * length + last) == 0) last--;
    ((int64_t *)to.data)[i] = i * length + last;
  }
  return mica_gather_rows(t, mica_reshape(t, x, MICA_SHAPE(n * length, d)), ids);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_gpt_options *o = options;
  const names *n = names_of(o);
  const mica_rotary_options rotary = rotary_of(o);
  const mica_causal_attention_options a = attention_of(o, &rotary);
  const int64_t length = mica_dim(t, in->tokens, 1);
  mica_node *embedding = mica_node_find(root, n->embedding);
  mica_scope_begin(t, NULL);
  mica_var x = mica_nn_embedding(t, embedding, in->tokens);
  if (o->position == LEARNED) x = mica_add(t, x, positions(t, root, length));
  if (o->dropout > 0) x = mica_dropout(t, x, o->dropout);
  x = mica_scope_end(t, x);
  mica_scope_begin(t, n->blocks);
  for (int64_t i = 0; i < o->depth && mica_ok(t); i++) {
    char name[48];
    mica_node *node = mica_node_find(root, mica_node_index(name, sizeof name, n->blocks, i));
    x = mica_replace(t, x, block(t, node, o, &a, x));
  }
  x = mica_scope_end(t, x);
  x = mica_replace(t, x, norm(t, mica_node_find(root, n->last_norm), o, x));
  out->tokens = x;
  out->features = last_token(t, x);
  mica_node *score = mica_node_find(root, "score");
  if (score && mica_node_param(score, "weight")) {
    out->logits = mica_nn_linear(t, score, out->features);
    return;
  }
  const struct mica_kv_cache *cache = mica_cache(t);
  if (cache && !mica_kv_cache_options_of(cache)->all_logits)
    x = mica_slice(t, x, 1, length - 1, length);
  out->logits = mica_nn_linear(t, mica_node_find(root, "lm_head"), x);
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "384", 1, 1 << 16, NULL, "width", offsetof(mica_gpt_options, dim)},
    {"depth", MICA_OPTION_INT, "6", 1, 1000, NULL, "blocks", offsetof(mica_gpt_options, depth)},
    {"heads", MICA_OPTION_INT, "6", 1, 1024, NULL, "attention heads",
     offsetof(mica_gpt_options, heads)},
    {"kv_heads", MICA_OPTION_INT, "0", 0, 1024, NULL,
     "heads of keys and values, each for several of the queries'; 0: as many",
     offsetof(mica_gpt_options, kv_heads)},
    {"hidden", MICA_OPTION_INT, "0", 0, 1 << 20, NULL,
     "width of the feed-forward; 0: 4 dim, swiglu 8/3 dim", offsetof(mica_gpt_options, hidden)},
    {"position", MICA_OPTION_CHOICE, "learned", 0, 0, "learned|rotary",
     "learned (GPT-2's names) or rotary (Llama's)", offsetof(mica_gpt_options, position)},
    {"norm", MICA_OPTION_CHOICE, "layer", 0, 0, "layer|rms", "normalisation",
     offsetof(mica_gpt_options, norm)},
    {"mlp", MICA_OPTION_CHOICE, "gelu", 0, 0, "gelu|gelu_tanh|swiglu", "feed-forward",
     offsetof(mica_gpt_options, mlp)},
    {"bias", MICA_OPTION_CHOICE, "all", 0, 0, "all|none|qkv", "which linear layers have one",
     offsetof(mica_gpt_options, bias)},
    {"tied", MICA_OPTION_BOOL, "true", 0, 0, NULL, "the embedding is the last layer too",
     offsetof(mica_gpt_options, tied)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "of embeddings and each layer's results",
     offsetof(mica_gpt_options, dropout)},
    {"eps", MICA_OPTION_FLOAT, "1e-5", 1e-12, 1, NULL, "of the norms",
     offsetof(mica_gpt_options, eps)},
    {"rotary", MICA_OPTION_CHOICE, "halves", 0, 0, "halves|pairs", "which channels turn together",
     offsetof(mica_gpt_options, rotary)},
    {"base", MICA_OPTION_FLOAT, "10000", 1.0001, 1e12, NULL, "of the rotary frequencies",
     offsetof(mica_gpt_options, base)},
    {"rotary_dim", MICA_OPTION_INT, "0", 0, 1 << 16, NULL, "channels of a head that turn; 0: all",
     offsetof(mica_gpt_options, rotary_dim)},
    {"scaling", MICA_OPTION_CHOICE, "none", 0, 0, "none|linear|yarn",
     "of rotary positions, for lengths beyond those trained", offsetof(mica_gpt_options, scaling)},
    {"factor", MICA_OPTION_FLOAT, "1", 1e-6, 1e6, NULL, "length wanted over the original",
     offsetof(mica_gpt_options, factor)},
    {"original", MICA_OPTION_INT, "2048", 1, 1e12, NULL, "yarn: the length that was trained",
     offsetof(mica_gpt_options, original)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "score";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_gpt = {MICA_COMPONENT_HEAD,
                                                 MICA_KIND_MODEL,
                                                 "gpt",
                                                 "decoder of tokens (GPT-2, Llama)",
                                                 NULL,
                                                 options,
                                                 sizeof(mica_gpt_options),
                                                 MICA_NEED_TOKENS,
                                                 MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                     MICA_NEED_TOKENS,
                                                 &functions};
