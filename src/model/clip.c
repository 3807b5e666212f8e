/* CLIP (Radford et al. 2021): an image tower and a text tower that meet in one space, with the
 * names of the `transformers` library: vision_model.{embeddings, pre_layrnorm, encoder.layers.N,
 * post_layernorm}, text_model.{embeddings, encoder.layers.N, final_layer_norm}, visual_projection,
 * text_projection, logit_scale. */
#include "model/transformer.h"

#include <mica/model.h>

#include <math.h>

#define SCALE_MAX 100.0

/* The transformer of one tower. */
typedef struct tower {
  int64_t dim, depth, heads, hidden;
} tower;

static tower image_tower(const mica_clip_options *o) {
  const int64_t d = o->vision_dim;
  return (tower){d, o->vision_depth, o->vision_heads, llround((double)d * o->mlp_ratio)};
}
static tower text_tower(const mica_clip_options *o) {
  const int64_t d = o->text_dim;
  return (tower){d, o->text_depth, o->text_heads, llround((double)d * o->mlp_ratio)};
}

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const mica_clip_options *)options)->dim;
}

/* ---- parameters ---- */

static double over_root(double x) {
  return 1 / sqrt(x);
}

/* A projection without a bias. */
static mica_status projection_init(mica_node *node, int64_t in, int64_t out) {
  const mica_init normal = {MICA_INIT_NORMAL, 0, over_root((double)in), 0, false};
  const mica_status status = mica_nn_linear_init(node, in, out, false);
  return status == MICA_OK ? mica_param_initialise(mica_node_param(node, "weight"), &normal)
                           : status;
}

static mica_status block_init(mica_node *b, const tower *w) {
  static const char *const name[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
  const double d = (double)w->dim, adds = over_root(d) * over_root(2 * (double)w->depth);
  mica_node *attention = mica_node_child(b, "self_attn"), *mlp = mica_node_child(b, "mlp");
  mica_status status = MICA_OK;
  for (int i = 0; i < 4 && status == MICA_OK; i++)
    status = mica_normal_linear_init(mica_node_child(attention, name[i]), w->dim, w->dim,
                                     i < 3 ? over_root(d) : adds);
  if (status == MICA_OK)
    status = mica_nn_layer_norm_init(mica_node_child(b, "layer_norm1"), w->dim);
  if (status == MICA_OK)
    status =
        mica_normal_linear_init(mica_node_child(mlp, "fc1"), w->dim, w->hidden, over_root(2 * d));
  if (status == MICA_OK)
    status = mica_normal_linear_init(mica_node_child(mlp, "fc2"), w->hidden, w->dim, adds);
  return status == MICA_OK ? mica_nn_layer_norm_init(mica_node_child(b, "layer_norm2"), w->dim)
                           : status;
}

static mica_status blocks_init(mica_node *root, const tower *w) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < w->depth && status == MICA_OK; i++)
    status = block_init(mica_node_childf(root, "encoder.layers.%lld", (long long)i), w);
  return status;
}

static mica_status image_init(mica_node *root, const mica_clip_options *o,
                              const mica_problem *task) {
  const tower w = image_tower(o);
  const double deviation = over_root((double)w.dim);
  const mica_init normal = {MICA_INIT_NORMAL, 0, deviation, 0, false};
  const mica_init small = {MICA_INIT_NORMAL, 0, 0.02, 0, false};
  mica_node *e = mica_node_child(root, "embeddings");
  mica_status status = mica_param_add(e, "class_embedding", MICA_F32, MICA_SHAPE(w.dim),
                                      MICA_PARAM_TRAINABLE, &normal, NULL);
  if (status == MICA_OK)
    status = mica_nn_conv2d_init(mica_node_child(e, "patch_embedding"), task->channels, w.dim,
                                 o->patch, o->patch, 1, false, &small);
  if (status == MICA_OK)
    status = mica_normal_table_init(mica_node_child(e, "position_embedding"),
                                    task->height / o->patch * (task->width / o->patch) + 1, w.dim,
                                    deviation);
  if (status == MICA_OK)
    status = mica_nn_layer_norm_init(mica_node_child(root, "pre_layrnorm"), w.dim);
  if (status == MICA_OK) status = blocks_init(root, &w);
  return status == MICA_OK ? mica_nn_layer_norm_init(mica_node_child(root, "post_layernorm"), w.dim)
                           : status;
}

static mica_status text_init(mica_node *root, const mica_clip_options *o,
                             const mica_problem *task) {
  const tower w = text_tower(o);
  mica_node *e = mica_node_child(root, "embeddings");
  mica_status status =
      mica_normal_table_init(mica_node_child(e, "token_embedding"), task->vocabulary, w.dim, 0.02);
  if (status == MICA_OK)
    status =
        mica_normal_table_init(mica_node_child(e, "position_embedding"), task->length, w.dim, 0.01);
  if (status == MICA_OK) status = blocks_init(root, &w);
  return status == MICA_OK
             ? mica_nn_layer_norm_init(mica_node_child(root, "final_layer_norm"), w.dim)
             : status;
}

static mica_status check(const mica_clip_options *o, const mica_problem *task) {
  if (!task->height)
    return mica_fail(MICA_ERR_INVALID, "clip reads images beside tokens, and there are none");
  if (task->height % o->patch || task->width % o->patch)
    return mica_fail(MICA_ERR_INVALID, "clip: patch %lld does not divide images of %lldx%lld",
                     (long long)o->patch, (long long)task->height, (long long)task->width);
  if (o->vision_dim % o->vision_heads)
    return mica_fail(MICA_ERR_INVALID, "clip: %lld heads do not divide vision_dim %lld",
                     (long long)o->vision_heads, (long long)o->vision_dim);
  if (o->text_dim % o->text_heads)
    return mica_fail(MICA_ERR_INVALID, "clip: %lld heads do not divide text_dim %lld",
                     (long long)o->text_heads, (long long)o->text_dim);
  return MICA_OK;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_clip_options *o = options;
  const mica_init scale = {MICA_INIT_CONSTANT, log(1 / 0.07), 0, 0, false};
  mica_status status = check(o, task);
  if (status == MICA_OK) status = image_init(mica_node_child(root, "vision_model"), o, task);
  if (status == MICA_OK)
    status = projection_init(mica_node_child(root, "visual_projection"), o->vision_dim, o->dim);
  if (status == MICA_OK) status = text_init(mica_node_child(root, "text_model"), o, task);
  if (status == MICA_OK)
    status = projection_init(mica_node_child(root, "text_projection"), o->text_dim, o->dim);
  if (status == MICA_OK)
    status = mica_param_add(root, "logit_scale", MICA_F32, MICA_SCALAR, MICA_PARAM_TRAINABLE,
                            &scale, NULL);
  if (status != MICA_OK || !task->classes) return status;
  return mica_normal_linear_init(mica_node_child(root, "classifier"), o->dim, task->classes, 0.02);
}

/* ---- forward ---- */

static mica_var block(mica_tape *t, mica_node *b, const mica_clip_options *o, int64_t heads,
                      const mica_attention_options *a, mica_var x) {
  static const char *const name[] = {"q_proj", "k_proj", "v_proj"};
  mica_node *attention = mica_node_find(b, "self_attn");
  mica_nn_enter(t, b);
  mica_var h = mica_nn_layer_norm(t, mica_node_find(b, "layer_norm1"), o->eps, x);
  h = mica_replace(t, h, mica_separate_attention(t, attention, name, heads, a, h));
  h = mica_replace(t, h, mica_nn_linear(t, mica_node_find(attention, "out_proj"), h));
  x = mica_add(t, x, h);
  h = mica_replace(t, h, mica_nn_layer_norm(t, mica_node_find(b, "layer_norm2"), o->eps, x));
  h = mica_replace(t, h,
                   mica_nn_mlp(t, mica_node_find(b, "mlp"),
                               o->activation == 0 ? MICA_QUICK_GELU : MICA_GELU, 0, h));
  return mica_scope_end(t, mica_add(t, x, h));
}

static mica_var blocks(mica_tape *t, mica_node *root, const mica_clip_options *o, const tower *w,
                       const mica_attention_options *a, mica_var x) {
  mica_scope_begin(t, NULL);
  for (int64_t i = 0; i < w->depth && mica_ok(t); i++) {
    char name[48];
    mica_node *b = mica_node_find(root, mica_node_index(name, sizeof name, "encoder.layers", i));
    x = mica_replace(t, x, block(t, b, o, w->heads, a, x));
  }
  return mica_scope_end(t, x);
}

static mica_var embed(mica_tape *t, mica_node *projection, mica_var x) {
  return mica_l2_normalise(t, mica_nn_linear(t, projection, x), 1e-12);
}

/* y: the last block's positions [N,L,C] and the embedding [N,D]. */
static void image(mica_tape *t, mica_node *root, const mica_clip_options *o, mica_var x,
                  mica_var y[2]) {
  const tower w = image_tower(o);
  mica_node *v = mica_node_find(root, "vision_model"), *e = mica_node_find(v, "embeddings");
  const int64_t n = mica_dim(t, x, 0);
  mica_conv_options conv = MICA_CONV_OPTIONS;
  conv.stride[0] = conv.stride[1] = (int32_t)o->patch;
  mica_nn_enter(t, v);
  mica_set_mask(t, MICA_NONE); /* it is the tokens' */
  mica_scope_begin(t, NULL);
  mica_var h = mica_nn_conv2d(t, mica_node_find(e, "patch_embedding"), &conv, x);
  h = mica_reshape(t, h, MICA_SHAPE(n, -1, w.dim));
  const mica_var cls =
      mica_expand(t, mica_weight(t, e, "class_embedding"), MICA_SHAPE(n, 1, w.dim));
  h = mica_concat(t, 2, (mica_var[]){cls, h}, 1);
  h = mica_add(t, h, mica_adapted_weight(t, mica_node_find(e, "position_embedding"), "weight"));
  h = mica_scope_end(t, mica_nn_layer_norm(t, mica_node_find(v, "pre_layrnorm"), o->eps, h));
  y[0] = mica_replace(t, h, blocks(t, v, o, &w, NULL, h));
  h = mica_reshape(t, mica_slice(t, y[0], 1, 0, 1), MICA_SHAPE(n, w.dim));
  h = mica_nn_layer_norm(t, mica_node_find(v, "post_layernorm"), o->eps, h);
  y[1] = embed(t, mica_node_find(root, "visual_projection"), h);
  mica_scope_end_n(t, 2, y);
}

/* Where the end of each text is in the tokens one after the other: the first of its largest id. */
static mica_var text_ends(mica_tape *t, mica_var tokens) {
  const int64_t n = mica_dim(t, tokens, 0), length = mica_dim(t, tokens, 1);
  mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(n), 0);
  mica_scope_begin(t, NULL);
  const mica_view to = mica_read(t, ids);
  const mica_view end = mica_read(t, mica_argmax(t, mica_cast(t, tokens, MICA_F64), 1));
  for (int64_t i = 0; i < n && mica_ok(t); i++)
    ((int64_t *)to.data)[i] = i * length + ((const int64_t *)end.data)[i];
  return mica_scope_end(t, ids);
}

static mica_var text(mica_tape *t, mica_node *root, const mica_clip_options *o, mica_var tokens) {
  const tower w = text_tower(o);
  mica_node *v = mica_node_find(root, "text_model"), *e = mica_node_find(v, "embeddings");
  mica_attention_options causal = MICA_ATTENTION_OPTIONS;
  causal.causal = true;
  mica_nn_enter(t, v);
  const int64_t n = mica_dim(t, tokens, 0), length = mica_dim(t, tokens, 1);
  const mica_var place = mica_adapted_weight(t, mica_node_find(e, "position_embedding"), "weight");
  const int64_t rows = mica_dim(t, place, 0);
  if (mica_ok(t) && (length < 1 || length > rows))
    mica_latch(t, MICA_ERR_SHAPE, "clip: texts of %lld tokens, expected 1 to %lld",
               (long long)length, (long long)rows);
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  mica_scope_begin(t, NULL);
  mica_var x = mica_nn_embedding(t, mica_node_find(e, "token_embedding"), tokens);
  x = mica_scope_end(t, mica_add(t, x, mica_slice(t, place, 0, 0, length)));
  x = mica_replace(t, x, blocks(t, v, o, &w, &causal, x));
  x = mica_gather_rows(t, mica_reshape(t, x, MICA_SHAPE(n * length, w.dim)), text_ends(t, tokens));
  x = mica_nn_layer_norm(t, mica_node_find(v, "final_layer_norm"), o->eps, x);
  return mica_scope_end(t, embed(t, mica_node_find(root, "text_projection"), x));
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_clip_options *o = options;
  mica_var y[2] = {MICA_NONE, MICA_NONE};
  if (!mica_is_none(in->x)) image(t, root, o, in->x, y);
  out->tokens = y[0];
  out->class_tokens = 1;
  out->features = y[1];
  if (!mica_is_none(in->tokens)) out->text = text(t, root, o, in->tokens);
  if (mica_is_none(in->x)) return;
  mica_node *head = mica_node_find(root, "classifier");
  if (head && mica_node_param(head, "weight")) {
    out->logits = mica_nn_linear(t, head, out->features);
    return;
  }
  if (mica_is_none(in->tokens)) return;
  mica_scope_begin(t, NULL);
  const mica_var limited =
      mica_clamp(t, mica_weight(t, root, "logit_scale"), -HUGE_VAL, log(SCALE_MAX));
  const mica_var similar = mica_matmul_t(t, out->features, false, out->text, true);
  out->logits = mica_scope_end(t, mica_mul(t, similar, mica_exp(t, limited)));
}

static const mica_option options[] = {
    {"dim", MICA_OPTION_INT, "512", 1, 1 << 16, NULL, "of the space where the towers meet",
     offsetof(mica_clip_options, dim)},
    {"patch", MICA_OPTION_INT, "32", 1, 256, NULL, "side of a patch",
     offsetof(mica_clip_options, patch)},
    {"vision_dim", MICA_OPTION_INT, "768", 1, 1 << 16, NULL, "width of the image tower",
     offsetof(mica_clip_options, vision_dim)},
    {"vision_depth", MICA_OPTION_INT, "12", 1, 1000, NULL, "its blocks",
     offsetof(mica_clip_options, vision_depth)},
    {"vision_heads", MICA_OPTION_INT, "12", 1, 1024, NULL, "its attention heads",
     offsetof(mica_clip_options, vision_heads)},
    {"text_dim", MICA_OPTION_INT, "512", 1, 1 << 16, NULL, "width of the text tower",
     offsetof(mica_clip_options, text_dim)},
    {"text_depth", MICA_OPTION_INT, "12", 1, 1000, NULL, "its blocks",
     offsetof(mica_clip_options, text_depth)},
    {"text_heads", MICA_OPTION_INT, "8", 1, 1024, NULL, "its attention heads",
     offsetof(mica_clip_options, text_heads)},
    {"mlp_ratio", MICA_OPTION_FLOAT, "4", 0.01, 64, NULL, "hidden width over width",
     offsetof(mica_clip_options, mlp_ratio)},
    {"activation", MICA_OPTION_CHOICE, "quick_gelu", 0, 0, "quick_gelu|gelu",
     "quick_gelu (OpenAI's weights) or gelu", offsetof(mica_clip_options, activation)},
    {"eps", MICA_OPTION_FLOAT, "1e-5", 1e-12, 1, NULL, "of the norms",
     offsetof(mica_clip_options, eps)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "classifier";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_clip = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_MODEL,
                                                  "clip",
                                                  "image tower and text tower (CLIP)",
                                                  NULL,
                                                  options,
                                                  sizeof(mica_clip_options),
                                                  MICA_NEED_IMAGES | MICA_NEED_TOKENS,
                                                  MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                      MICA_NEED_TOKENS | MICA_NEED_PAIRS,
                                                  &functions};
