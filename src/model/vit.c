/* Vision transformers (Dosovitskiy et al. 2021) with timm's names: patch_embed.proj, cls_token,
 * pos_embed, blocks.N.{norm1, attn.{qkv, proj}, norm2, mlp.{fc1, fc2}}, norm (or fc_norm), head. */
#include <mica/model.h>

#include <math.h>

#define EPS 1e-6

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const mica_vit_options *)options)->dim;
}

/* timm's defaults: truncated normal of deviation 0.02 for linear weights, zero biases. */
static void linear_values(mica_node *node, mica_status *status) {
  const mica_init normal = {MICA_INIT_TRUNC_NORMAL, 0, 0.02, 0, false};
  if (*status == MICA_OK) *status = mica_param_initialise(mica_node_param(node, "weight"), &normal);
  mica_param *bias = mica_node_param(node, "bias");
  if (*status == MICA_OK && bias) *status = mica_param_initialise(bias, &MICA_INIT_ZEROS);
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_vit_options *o = options;
  if (!task->height) return mica_fail(MICA_ERR_INVALID, "vit reads images, not rows");
  if (task->height % o->patch || task->width % o->patch)
    return mica_fail(MICA_ERR_INVALID, "vit: patch %lld does not divide images of %lldx%lld",
                     (long long)o->patch, (long long)task->height, (long long)task->width);
  if (o->dim % o->heads)
    return mica_fail(MICA_ERR_INVALID, "vit: %lld heads do not divide dim %lld",
                     (long long)o->heads, (long long)o->dim);
  if (o->deep_prompts && !o->prompts)
    return mica_fail(MICA_ERR_INVALID, "vit: deep_prompts without prompts");
  const int64_t patches = task->height / o->patch * (task->width / o->patch), d = o->dim;
  const int64_t hidden = (int64_t)llround((double)d * o->mlp_ratio);
  const bool token = o->pool == 0;
  const mica_init small = {MICA_INIT_NORMAL, 0, 1e-6, 0, false};
  const mica_init position = {MICA_INIT_TRUNC_NORMAL, 0, 0.02, 0, false};
  mica_status status = MICA_OK;
  if (token)
    status = mica_param_add(root, "cls_token", MICA_F32, MICA_SHAPE(1, 1, d), MICA_PARAM_TRAINABLE,
                            &small, NULL);
  if (status == MICA_OK)
    status = mica_param_add(root, "pos_embed", MICA_F32, MICA_SHAPE(1, patches + token, d),
                            MICA_PARAM_TRAINABLE | MICA_PARAM_EMBEDDING, &position, NULL);
  if (status == MICA_OK && o->prompts)
    status = mica_param_add(root, "prompts", MICA_F32,
                            MICA_SHAPE(o->deep_prompts ? o->depth : 1, o->prompts, d),
                            MICA_PARAM_TRAINABLE, &position, NULL);
  if (status == MICA_OK)
    status = mica_nn_conv2d_init(mica_node_child(root, "patch_embed.proj"), task->channels, d,
                                 o->patch, o->patch, 1, true, NULL);
  for (int64_t i = 0; i < o->depth && status == MICA_OK; i++) {
    mica_node *b = mica_node_childf(root, "blocks.%lld", (long long)i);
    status = mica_nn_layer_norm_init(mica_node_child(b, "norm1"), d);
    if (status == MICA_OK)
      status = mica_nn_attention_init(mica_node_child(b, "attn"), d, o->qkv_bias);
    if (status == MICA_OK) status = mica_nn_layer_norm_init(mica_node_child(b, "norm2"), d);
    if (status == MICA_OK) status = mica_nn_mlp_init(mica_node_child(b, "mlp"), d, hidden, d);
    linear_values(mica_node_find(b, "attn.qkv"), &status);
    linear_values(mica_node_find(b, "attn.proj"), &status);
    linear_values(mica_node_find(b, "mlp.fc1"), &status);
    linear_values(mica_node_find(b, "mlp.fc2"), &status);
    if (status == MICA_OK && o->recalibrate)
      status = mica_nn_recalibration_init(mica_node_child(b, "psrp"), d, o->recalibrate_rank,
                                          o->recalibrate_zero);
  }
  if (status == MICA_OK)
    status = mica_nn_layer_norm_init(mica_node_child(root, token ? "norm" : "fc_norm"), d);
  if (status != MICA_OK || !task->classes) return status;
  mica_node *head = mica_node_child(root, "head");
  status = mica_nn_linear_init(head, d, task->classes, true);
  linear_values(head, &status);
  return status;
}

static mica_var block(mica_tape *t, mica_node *node, const mica_vit_options *o, double drop_path,
                      mica_var x) {
  mica_nn_enter(t, node);
  mica_var h = mica_nn_layer_norm(t, mica_node_find(node, "norm1"), EPS, x);
  h = mica_replace(
      t, h, mica_nn_attention(t, mica_node_find(node, "attn"), o->heads, NULL, h, MICA_NONE));
  if (o->dropout > 0) h = mica_dropout(t, h, o->dropout);
  if (drop_path > 0) h = mica_drop_path(t, h, drop_path);
  x = mica_add(t, x, h);
  h = mica_replace(t, h, mica_nn_layer_norm(t, mica_node_find(node, "norm2"), EPS, x));
  h = mica_replace(t, h, mica_nn_mlp(t, mica_node_find(node, "mlp"), MICA_GELU, o->dropout, h));
  if (o->recalibrate) {
    mica_var weight, bias;
    mica_nn_recalibration(t, mica_node_find(node, "psrp"), x, &weight, &bias);
    h = mica_replace(t, h, mica_add(t, mica_mul(t, mica_affine(t, weight, 1, 1), h), bias));
  }
  if (drop_path > 0) h = mica_drop_path(t, h, drop_path);
  return mica_scope_end(t, mica_add(t, x, h));
}

/* x [N,lead+rest,D] with tokens [1,P,D] between the two, and without. */
static mica_var with_prompts(mica_tape *t, mica_var prompts, int64_t lead, mica_var x) {
  const int64_t n = mica_dim(t, x, 0), l = mica_dim(t, x, 1), d = mica_dim(t, x, 2);
  const mica_var p = mica_expand(t, prompts, MICA_SHAPE(n, mica_dim(t, prompts, 1), d));
  if (!lead) return mica_concat(t, 2, (mica_var[]){p, x}, 1);
  return mica_concat(
      t, 3, (mica_var[]){mica_slice(t, x, 1, 0, lead), p, mica_slice(t, x, 1, lead, l)}, 1);
}
/* The prompts [1,P,D] of block i. */
static mica_var row_of(mica_tape *t, mica_var prompts, int64_t i) {
  return mica_dim(t, prompts, 0) == 1 ? prompts : mica_slice(t, prompts, 0, i, i + 1);
}
static mica_var without_prompts(mica_tape *t, int64_t prompts, int64_t lead, mica_var x) {
  const mica_var rest = mica_slice(t, x, 1, lead + prompts, mica_dim(t, x, 1));
  return lead ? mica_concat(t, 2, (mica_var[]){mica_slice(t, x, 1, 0, lead), rest}, 1) : rest;
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_vit_options *o = options;
  const bool token = o->pool == 0;
  const int64_t n = mica_dim(t, in->x, 0), d = o->dim;
  mica_conv_options conv = MICA_CONV_OPTIONS;
  conv.stride[0] = conv.stride[1] = (int32_t)o->patch;
  mica_scope_begin(t, NULL);
  mica_var h = mica_nn_conv2d(t, mica_node_find(root, "patch_embed.proj"), &conv, in->x);
  h = mica_reshape(t, h, MICA_SHAPE(n, -1, d));
  if (token) {
    mica_var cls = mica_expand(t, mica_weight(t, root, "cls_token"), MICA_SHAPE(n, 1, d));
    h = mica_concat(t, 2, (mica_var[]){cls, h}, 1);
  }
  mica_var x = mica_scope_end(t, mica_add(t, h, mica_weight(t, root, "pos_embed")));
  if (o->dropout > 0) x = mica_replace(t, x, mica_dropout(t, x, o->dropout));
  mica_var prompts = o->prompts ? mica_weight(t, root, "prompts") : MICA_NONE;
  if (o->prompts) x = mica_replace(t, x, with_prompts(t, row_of(t, prompts, 0), token, x));
  mica_scope_begin(t, "blocks");
  h = x;
  for (int64_t i = 0; i < o->depth && mica_ok(t); i++) {
    char name[32];
    mica_node *node = mica_node_find(root, mica_node_index(name, sizeof name, "blocks", i));
    const double drop =
        o->depth > 1 ? o->drop_path * (double)i / (double)(o->depth - 1) : o->drop_path;
    if (i && o->deep_prompts && o->prompts) {
      h = mica_replace(t, h, without_prompts(t, o->prompts, token, h));
      h = mica_replace(t, h, with_prompts(t, row_of(t, prompts, i), token, h));
    }
    h = mica_replace(t, h, block(t, node, o, drop, h));
  }
  x = mica_scope_end(t, h);
  if (o->prompts) x = mica_replace(t, x, without_prompts(t, o->prompts, token, x));
  if (token) {
    x = mica_replace(t, x, mica_nn_layer_norm(t, mica_node_find(root, "norm"), EPS, x));
    out->tokens = x;
    out->class_tokens = 1;
    out->features = mica_reshape(t, mica_slice(t, x, 1, 0, 1), MICA_SHAPE(n, d));
  } else {
    out->tokens = x;
    mica_var mean = mica_mean(t, x, 1, (int[]){1}, false);
    out->features = mica_nn_layer_norm(t, mica_node_find(root, "fc_norm"), EPS, mean);
  }
  mica_node *head = mica_node_find(root, "head");
  if (head && mica_node_param(head, "weight")) out->logits = mica_nn_linear(t, head, out->features);
}

static const mica_option options[] = {
    {"patch", MICA_OPTION_INT, "4", 1, 256, NULL, "side of a patch",
     offsetof(mica_vit_options, patch)},
    {"dim", MICA_OPTION_INT, "192", 1, 1 << 16, NULL, "width", offsetof(mica_vit_options, dim)},
    {"depth", MICA_OPTION_INT, "12", 1, 1000, NULL, "blocks", offsetof(mica_vit_options, depth)},
    {"heads", MICA_OPTION_INT, "3", 1, 1024, NULL, "attention heads",
     offsetof(mica_vit_options, heads)},
    {"mlp_ratio", MICA_OPTION_FLOAT, "4", 0.01, 64, NULL, "hidden width over width",
     offsetof(mica_vit_options, mlp_ratio)},
    {"dropout", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "dropout",
     offsetof(mica_vit_options, dropout)},
    {"drop_path", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL, "of the last block; linear over depth",
     offsetof(mica_vit_options, drop_path)},
    {"qkv_bias", MICA_OPTION_BOOL, "true", 0, 0, NULL, "bias of the packed projection",
     offsetof(mica_vit_options, qkv_bias)},
    {"pool", MICA_OPTION_CHOICE, "token", 0, 0, "token|avg", "class token, or mean of the patches",
     offsetof(mica_vit_options, pool)},
    {"recalibrate", MICA_OPTION_CHOICE, "none", 0, 0, "none|psrp",
     "a thin module in each block, to tune a frozen network",
     offsetof(mica_vit_options, recalibrate)},
    {"recalibrate_rank", MICA_OPTION_INT, "16", 1, 65536, NULL, "its width",
     offsetof(mica_vit_options, recalibrate_rank)},
    {"recalibrate_zero", MICA_OPTION_BOOL, "false", 0, 0, NULL, "at first it changes nothing",
     offsetof(mica_vit_options, recalibrate_zero)},
    {"prompts", MICA_OPTION_INT, "0", 0, 65536, NULL, "learnt tokens, to tune a frozen network",
     offsetof(mica_vit_options, prompts)},
    {"deep_prompts", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "tokens of its own for each block, in place of those before",
     offsetof(mica_vit_options, deep_prompts)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "head";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_vit = {MICA_COMPONENT_HEAD,
                                                 MICA_KIND_MODEL,
                                                 "vit",
                                                 "vision transformer",
                                                 NULL,
                                                 options,
                                                 sizeof(mica_vit_options),
                                                 MICA_NEED_IMAGES,
                                                 MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                     MICA_NEED_TOKENS,
                                                 &functions};
