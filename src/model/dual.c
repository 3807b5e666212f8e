/* Two small towers that meet in one space: pictures through convolutions, texts as the mean of
 * their words; trained as CLIP is, by which text of a batch is a picture's. */
#include <mica/model.h>

#include <math.h>
#include <stdio.h>

#define SCALE_MAX 100.0

static int64_t features(const void *options, const mica_problem *task) {
  (void)task;
  return ((const mica_dual_options *)options)->dim;
}

static mica_status image_init(mica_node *root, const mica_dual_options *o,
                              const mica_problem *task) {
  const mica_init he = {MICA_INIT_KAIMING_NORMAL, 0, 0, 1.4142135623730951, true};
  int64_t in = task->channels;
  mica_status status = MICA_OK;
  for (int i = 0; i < o->widths.n && status == MICA_OK; i++) {
    status = mica_nn_conv2d_init(mica_node_childf(root, "stages.%d.conv", i), in, o->widths.v[i], 3,
                                 3, 1, false, &he);
    if (status == MICA_OK)
      status = mica_nn_batch_norm_init(mica_node_childf(root, "stages.%d.bn", i), o->widths.v[i]);
    in = o->widths.v[i];
  }
  return status == MICA_OK
             ? mica_nn_linear_init(mica_node_child(root, "projection"), in, o->dim, true)
             : status;
}

static mica_status text_init(mica_node *root, const mica_dual_options *o,
                             const mica_problem *task) {
  mica_status status =
      mica_nn_embedding_init(mica_node_child(root, "words"), task->vocabulary, o->words);
  if (status == MICA_OK)
    status = mica_nn_linear_init(mica_node_child(root, "hidden"), o->words, o->hidden, true);
  return status == MICA_OK
             ? mica_nn_linear_init(mica_node_child(root, "projection"), o->hidden, o->dim, true)
             : status;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  const mica_dual_options *o = options;
  const mica_init scale = {MICA_INIT_CONSTANT, log(1 / 0.07), 0, 0, false};
  if (!task->height)
    return mica_fail(MICA_ERR_INVALID, "dual reads images beside tokens, and there are none");
  if (!o->widths.n) return mica_fail(MICA_ERR_INVALID, "dual: widths is empty, expected 1 or more");
  mica_status status = image_init(mica_node_child(root, "image"), o, task);
  if (status == MICA_OK) status = text_init(mica_node_child(root, "text"), o, task);
  if (status == MICA_OK)
    status = mica_param_add(root, "logit_scale", MICA_F32, MICA_SCALAR, MICA_PARAM_TRAINABLE,
                            &scale, NULL);
  if (status != MICA_OK || !task->classes) return status;
  return mica_nn_linear_init(mica_node_child(root, "classifier"), o->dim, task->classes, true);
}

static mica_var image(mica_tape *t, mica_node *root, const mica_dual_options *o, mica_var x) {
  mica_conv_options conv = MICA_CONV_OPTIONS;
  conv.pad[0] = conv.pad[1] = conv.pad[2] = conv.pad[3] = 1;
  mica_nn_enter(t, root);
  mica_var h = x;
  for (int i = 0; i < o->widths.n && mica_ok(t); i++) {
    mica_node *stage = mica_node_find(root, "stages");
    char name[32];
    snprintf(name, sizeof name, "%d", i);
    stage = mica_node_find(stage, name);
    if (i && mica_dim(t, h, 1) > 1 && mica_dim(t, h, 2) > 1)
      h = mica_replace(t, h, mica_max_pool2d(t, h, NULL));
    const mica_var y =
        mica_nn_conv2d_norm(t, mica_node_find(stage, "conv"), mica_node_find(stage, "bn"), &conv,
                            MICA_RELU, h, MICA_NONE);
    h = i ? mica_replace(t, h, y) : y;
  }
  h = mica_nn_linear(t, mica_node_find(root, "projection"), mica_global_avg_pool(t, h));
  return mica_scope_end(t, mica_l2_normalise(t, h, 1e-12));
}

/* What each token counts for: its share of the text's words, [N,L,1]. */
static mica_var shares(mica_tape *t, mica_var tokens, int64_t pad) {
  const mica_view id = mica_read(t, tokens);
  const int64_t n = mica_dim(t, tokens, 0), length = mica_dim(t, tokens, 1);
  const mica_var out = mica_full(t, MICA_F32, MICA_SHAPE(n, length, 1), 0);
  const mica_view to = mica_read(t, out);
  for (int64_t i = 0; i < n && mica_ok(t); i++) {
    const int64_t *row = (const int64_t *)id.data + i * length;
    int64_t words = 0;
    for (int64_t j = 0; j < length; j++) words += row[j] != pad;
    for (int64_t j = 0; j < length; j++)
      ((float *)to.data)[i * length + j] = row[j] != pad ? 1.0f / (float)words : 0;
  }
  return out;
}

static mica_var text(mica_tape *t, mica_node *root, const mica_dual_options *o, mica_var tokens) {
  mica_nn_enter(t, root);
  mica_var h = mica_nn_embedding(t, mica_node_find(root, "words"), tokens);
  h = mica_sum(t, mica_mul(t, h, shares(t, tokens, o->pad)), 1, (int[]){1}, false);
  h = mica_activate(t, MICA_RELU, mica_nn_linear(t, mica_node_find(root, "hidden"), h));
  h = mica_nn_linear(t, mica_node_find(root, "projection"), h);
  return mica_scope_end(t, mica_l2_normalise(t, h, 1e-12));
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  const mica_dual_options *o = options;
  mica_node *head = mica_node_find(root, "classifier");
  if (!mica_is_none(in->x)) out->features = image(t, mica_node_find(root, "image"), o, in->x);
  if (!mica_is_none(in->tokens)) out->text = text(t, mica_node_find(root, "text"), o, in->tokens);
  if (mica_is_none(in->x)) return;
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
    {"dim", MICA_OPTION_INT, "64", 1, 1 << 16, NULL, "of the space where the towers meet",
     offsetof(mica_dual_options, dim)},
    {"widths", MICA_OPTION_INTS, "16,32,64", 1, 1 << 16, NULL, "of the image tower's stages",
     offsetof(mica_dual_options, widths)},
    {"words", MICA_OPTION_INT, "64", 1, 1 << 16, NULL, "width of a word",
     offsetof(mica_dual_options, words)},
    {"hidden", MICA_OPTION_INT, "64", 1, 1 << 16, NULL, "of the text tower's layer",
     offsetof(mica_dual_options, hidden)},
    {"pad", MICA_OPTION_INT, "0", -1, 1 << 30, NULL,
     "the token that fills up rows and counts for nothing; -1: none",
     offsetof(mica_dual_options, pad)},
    {0}};

static const char *head_of(const void *o) {
  (void)o;
  return "classifier";
}

static const mica_model_functions functions = {init, forward, head_of, features};

const mica_component mica_component_model_dual = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_MODEL,
                                                  "dual",
                                                  "pictures and texts in two small towers",
                                                  "classify-by-description",
                                                  options,
                                                  sizeof(mica_dual_options),
                                                  MICA_NEED_IMAGES | MICA_NEED_TOKENS,
                                                  MICA_NEED_LOGITS | MICA_NEED_FEATURES |
                                                      MICA_NEED_PAIRS,
                                                  &functions};
