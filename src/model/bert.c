/* BERT (Devlin et al. 2018) and sentence encoders of its form (MiniLM, Wang et al. 2020), with the
 * names of the `transformers` library: embeddings.{word,position,token_type}_embeddings,
 * embeddings.LayerNorm, encoder.layer.N.{attention.self.{query,key,value}, attention.output.{dense,
 * LayerNorm}, intermediate.dense, output.{dense, LayerNorm}}, pooler.dense, classifier. */
#include "model/transformer.h"

#include <mica/model.h>

#include <math.h>

#define DEVIATION 0.02
enum { POOL_CLS, POOL_MEAN, POOL_POOLER };

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const mica_bert_options *)options)->dim;
}

static mica_status block_init(mica_node *b, const mica_bert_options *o) {
  static const char *const name[] = {"attention.self.query", "attention.self.key",
                                     "attention.self.value", "attention.output.dense"};
  mica_status status = MICA_OK;
  for (int i = 0; i < 4 && status == MICA_OK; i++)
    status = mica_normal_linear_init(mica_node_child(b, name[i]), o->dim, o->dim, DEVIATION);
  if (status == MICA_OK)
    status = mica_nn_layer_norm_init(mica_node_child(b, "attention.output.LayerNorm"), o->dim);
  if (status == MICA_OK)
    status = mica_normal_linear_init(mica_node_child(b, "intermediate.dense"), o->dim, o->hidden,
                                     DEVIATION);
  if (status == MICA_OK)
    status =
        mica_normal_linear_init(mica_node_child(b, "output.dense"), o->hidden, o->dim, DEVIATION);
  return status == MICA_OK ? mica_nn_layer_norm_init(mica_node_child(b, "output.LayerNorm"), o->dim)
                           : status;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_bert_options *o = options;
  if (o->dim % o->heads)
    return mica_fail(MICA_ERR_INVALID, "bert: %lld heads do not divide dim %lld",
                     (long long)o->heads, (long long)o->dim);
  if (task->channels)
    return mica_fail(MICA_ERR_INVALID, "bert reads tokens, and nothing beside them");
  mica_node *e = mica_node_child(root, "embeddings");
  const struct {
    const char *name;
    int64_t rows;
  } table[] = {{"word_embeddings", task->vocabulary},
               {"position_embeddings", task->length},
               {"token_type_embeddings", o->types}};
  mica_status status = MICA_OK;
  for (int i = 0; i < 3 && status == MICA_OK; i++)
    status =
        mica_normal_table_init(mica_node_child(e, table[i].name), table[i].rows, o->dim, DEVIATION);
  if (status == MICA_OK) status = mica_nn_layer_norm_init(mica_node_child(e, "LayerNorm"), o->dim);
  for (int64_t i = 0; i < o->depth && status == MICA_OK; i++)
    status = block_init(mica_node_childf(root, "encoder.layer.%lld", (long long)i), o);
  if (status == MICA_OK && o->pool == POOL_POOLER)
    status =
        mica_normal_linear_init(mica_node_child(root, "pooler.dense"), o->dim, o->dim, DEVIATION);
  if (status != MICA_OK || !task->classes) return status;
  return mica_normal_linear_init(mica_node_child(root, "classifier"), o->dim, task->classes,
                                 DEVIATION);
}

/* What follows from the tokens alone: *mask [N,L], 1 where a token is none that fills up the row,
 * and *types [N,L], in which of two texts it stands. */
static void marks(mica_tape *t, const mica_bert_options *o, mica_var tokens, mica_var *mask,
                  mica_var *types) {
  const mica_view id = mica_read(t, tokens);
  if (!mica_ok(t)) return;
  *mask = mica_full(t, MICA_F32, id.shape, 0);
  *types = mica_full(t, MICA_I64, id.shape, 0);
  const mica_view m = mica_read(t, *mask), y = mica_read(t, *types);
  if (!mica_ok(t)) return;
  const int64_t n = id.shape.dim[0], length = id.shape.dim[1];
  for (int64_t i = 0; i < n; i++) {
    int64_t type = 0;
    for (int64_t k = 0; k < length; k++) {
      const int64_t at = i * length + k, token = ((const int64_t *)id.data)[at];
      if (token == o->pad) continue;
      ((float *)m.data)[at] = 1;
      ((int64_t *)y.data)[at] = type;
      if (token == o->separator && type + 1 < o->types) type++;
    }
  }
}

static mica_var embed(mica_tape *t, mica_node *root, const mica_bert_options *o, mica_var tokens,
                      mica_var types) {
  mica_node *e = mica_node_find(root, "embeddings");
  mica_nn_enter(t, e);
  const int64_t length = mica_dim(t, tokens, 1);
  mica_var x = mica_nn_embedding(t, mica_node_find(e, "word_embeddings"), tokens);
  mica_var type = mica_nn_embedding(t, mica_node_find(e, "token_type_embeddings"), types);
  mica_var place = mica_slice(
      t, mica_adapted_weight(t, mica_node_find(e, "position_embeddings"), "weight"), 0, 0, length);
  x = mica_add(t, mica_add(t, x, type), place);
  x = mica_nn_layer_norm(t, mica_node_find(e, "LayerNorm"), o->eps, x);
  return mica_scope_end(t, o->dropout > 0 ? mica_dropout(t, x, o->dropout) : x);
}

static mica_var block(mica_tape *t, mica_node *b, const mica_bert_options *o, mica_var x) {
  static const char *const name[] = {"query", "key", "value"};
  mica_nn_enter(t, b);
  mica_var h =
      mica_separate_attention(t, mica_node_find(b, "attention.self"), name, o->heads, NULL, x);
  h = mica_replace(t, h, mica_nn_linear(t, mica_node_find(b, "attention.output.dense"), h));
  if (o->dropout > 0) h = mica_replace(t, h, mica_dropout(t, h, o->dropout));
  h = mica_replace(t, h, mica_add(t, h, x));
  x = mica_nn_layer_norm(t, mica_node_find(b, "attention.output.LayerNorm"), o->eps, h);
  h = mica_replace(t, h, mica_nn_linear(t, mica_node_find(b, "intermediate.dense"), x));
  h = mica_replace(t, h, mica_gelu(t, h));
  h = mica_replace(t, h, mica_nn_linear(t, mica_node_find(b, "output.dense"), h));
  if (o->dropout > 0) h = mica_replace(t, h, mica_dropout(t, h, o->dropout));
  h = mica_replace(t, h, mica_add(t, h, x));
  return mica_scope_end(t, mica_nn_layer_norm(t, mica_node_find(b, "output.LayerNorm"), o->eps, h));
}

/* The mean over the positions that count; 0 where none does. */
static mica_var masked_mean(mica_tape *t, mica_var x, mica_var mask) {
  static const int positions[] = {1};
  mica_scope_begin(t, NULL);
  const mica_var m =
      mica_reshape(t, mask, MICA_SHAPE(mica_dim(t, mask, 0), mica_dim(t, mask, 1), 1));
  const mica_var count = mica_clamp(t, mica_sum(t, m, 1, positions, false), 1e-9, HUGE_VAL);
  const mica_var sum = mica_sum(t, mica_mul(t, x, m), 1, positions, false);
  return mica_scope_end(t, mica_div(t, sum, count));
}

static mica_var pool(mica_tape *t, mica_node *root, const mica_bert_options *o, mica_var x,
                     mica_var mask) {
  mica_scope_begin(t, NULL);
  mica_var y;
  if (o->pool == POOL_MEAN) {
    y = masked_mean(t, x, mask);
  } else {
    y = mica_reshape(t, mica_slice(t, x, 1, 0, 1), MICA_SHAPE(mica_dim(t, x, 0), o->dim));
    if (o->pool == POOL_POOLER)
      y = mica_tanh(t, mica_nn_linear(t, mica_node_find(root, "pooler.dense"), y));
  }
  if (o->normalise) y = mica_l2_normalise(t, y, 1e-12);
  return mica_scope_end(t, y);
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_bert_options *o = options;
  mica_var mask = MICA_NONE, types = MICA_NONE;
  mica_scope_begin(t, NULL);
  marks(t, o, in->tokens, &mask, &types);
  mica_var x = embed(t, root, o, in->tokens, types);
  mica_scope_begin(t, NULL);
  mica_set_mask(t, mask);
  for (int64_t i = 0; i < o->depth && mica_ok(t); i++) {
    char name[48];
    mica_node *b = mica_node_find(root, mica_node_index(name, sizeof name, "encoder.layer", i));
    x = mica_replace(t, x, block(t, b, o, x));
  }
  mica_var y[2] = {mica_scope_end(t, x), MICA_NONE};
  y[1] = pool(t, root, o, y[0], mask);
  mica_scope_end_n(t, 2, y);
  out->tokens = y[0];
  out->features = y[1];
  mica_node *head = mica_node_find(root, "classifier");
  if (head && mica_node_param(head, "weight")) {
    mica_var h = o->dropout > 0 ? mica_dropout(t, out->features, o->dropout) : out->features;
    out->logits = mica_nn_linear(t, head, h);
  }
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "384", 1, 1 << 16, NULL, "width", offsetof(mica_bert_options, dim)},
    {"depth", MICA_OPTION_INT, "6", 1, 1000, NULL, "blocks", offsetof(mica_bert_options, depth)},
    {"heads", MICA_OPTION_INT, "12", 1, 1024, NULL, "attention heads",
     offsetof(mica_bert_options, heads)},
    {"hidden", MICA_OPTION_INT, "1536", 1, 1 << 18, NULL, "width within a block",
     offsetof(mica_bert_options, hidden)},
    {"types", MICA_OPTION_INT, "2", 1, 1024, NULL, "texts that one example may have",
     offsetof(mica_bert_options, types)},
    {"pad", MICA_OPTION_INT, "0", -1, 1 << 24, NULL,
     "the token that fills up rows and is not read; -1: none", offsetof(mica_bert_options, pad)},
    {"separator", MICA_OPTION_INT, "-1", -1, 1 << 24, NULL,
     "the token behind which the next text begins; -1: none",
     offsetof(mica_bert_options, separator)},
    {"eps", MICA_OPTION_FLOAT, "1e-12", 0, 1, NULL, "of the layer norms",
     offsetof(mica_bert_options, eps)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "dropout",
     offsetof(mica_bert_options, dropout)},
    {"pool", MICA_OPTION_CHOICE, "cls", 0, 0, "cls|mean|pooler",
     "features: the first token, the mean over tokens, or the first through a tanh layer",
     offsetof(mica_bert_options, pool)},
    {"normalise", MICA_OPTION_BOOL, "false", 0, 0, NULL, "features have length 1",
     offsetof(mica_bert_options, normalise)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "classifier";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_bert = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_MODEL,
                                                  "bert",
                                                  "transformer encoder of tokens (BERT, MiniLM)",
                                                  NULL,
                                                  options,
                                                  sizeof(mica_bert_options),
                                                  MICA_NEED_TOKENS,
                                                  MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                      MICA_NEED_TOKENS,
                                                  &functions};
