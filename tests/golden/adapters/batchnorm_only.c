/* batchnorm-only: steps of SGD on a residual network of which a part is frozen: losses, the first
 * step's gradients, every trained value and running statistic afterwards, logits in evaluation. */
#include "adapter.h"

#include <stdio.h>
#include <string.h>

typedef struct trial {
  golden *g;
  mica_net *net;
  mica_params *params;
  mica_tape *tape;
  int64_t blocks; /* of each stage */
} trial;

/* The reference's name of an entry, after a prefix: blocks are counted through there. */
static const char *name_of(const trial *r, const char *prefix, const mica_param *q) {
  static char name[256];
  const char *path = mica_param_path(q);
  long long stage, block;
  int used = 0;
  if (sscanf(path, "layer%lld.%lld.%n", &stage, &block, &used) == 2 && used)
    snprintf(name, sizeof name, "%sblocks.%lld.%s", prefix,
             (stage - 1) * (long long)r->blocks + block, path + used);
  else if (strncmp(path, "linear.", 7) == 0)
    snprintf(name, sizeof name, "%sfc.%s", prefix, path + 7);
  else /* conv1, bn1 */
    snprintf(name, sizeof name, "%s%.*s%s", prefix, (int)(strchr(path, '1') - path), path,
             strchr(path, '1') + 1);
  return name;
}

static const char *numbered(const char *name, int64_t i) {
  static char text[64];
  snprintf(text, sizeof text, "%s%lld", name, (long long)i);
  return text;
}

/* The network that the given tensors are of, with their values. */
static void make_net(trial *r) {
  golden *g = r->g;
  char spec[96], name[64];
  int64_t blocks = 0;
  while (snprintf(name, sizeof name, "param.blocks.%lld.conv1.weight", (long long)blocks),
         golden_has(g, name))
    blocks++;
  if (!blocks || blocks % 3) golden_fail(g, "%lld blocks, expected three stages", (long long)blocks);
  r->blocks = blocks / 3;
  snprintf(spec, sizeof spec, "resnet:depth=%lld:form=cifar:width=%lld:shortcut=b",
           (long long)(2 * blocks + 2), (long long)golden_dim(g, "param.conv.weight", 0));
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(golden_dim(g, "in.x0", 2), golden_dim(g, "in.x0", 3),
                          golden_dim(g, "in.x0", 1), golden_dim(g, "param.fc.weight", 0));
  golden_need(g, mica_net_create(golden_engine(g), spec, &problem, 0, &r->net));
  r->params = mica_net_params(r->net);
  for (int64_t i = 0; i < mica_params_count(r->params); i++) {
    mica_param *q = mica_params_at(r->params, i);
    if (strcmp(strrchr(mica_param_path(q), '.'), ".num_batches_tracked") == 0) continue;
    golden_need(g, mica_param_from_reference(
                       q, golden_tensor(g, name_of(r, "param.", q), MICA_F32)));
  }
}

/* The metadata's `train`, as a selection; NULL for a text that is not known here. */
static const char *selection_of(golden *g) {
  static const struct {
    const char *text, *selection;
  } rules[] = {
      {"BatchNorm weight and bias", "bn"},
      {"BatchNorm weight and bias and the output layer", "bn,output"},
      {"BatchNorm weight and bias and the shortcut convolutions", "bn,shortcut"},
      {"the output layer", "output"},
      {"everything but BatchNorm", "!bn"},
      {"everything", "all"},
  };
  const char *text = golden_text(g, "train", "everything");
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (strcmp(rules[i].text, text) == 0) return rules[i].selection;
  return NULL;
}

/* What the metadata says is trained, or else what a gradient is expected of. */
static void freeze(trial *r) {
  const char *selection = selection_of(r->g);
  if (selection) {
    golden_need(r->g, mica_params_train_only(r->params, selection));
    return;
  }
  for (int64_t i = 0; i < mica_params_count(r->params); i++) {
    mica_param *q = mica_params_at(r->params, i);
    const bool trained = golden_has(r->g, name_of(r, "grad.", q));
    mica_param_set_flags(q, trained ? MICA_PARAM_TRAINABLE : 0, trained ? 0 : MICA_PARAM_TRAINABLE);
  }
}

static mica_var forward(trial *r, int64_t k) {
  mica_outputs out;
  mica_tensor *x = golden_channels_last(r->g, numbered("in.x", k), MICA_F32);
  mica_net_forward(r->tape, r->net, mica_input(r->tape, x), &out);
  golden_need_tape(r->g, r->tape);
  return out.logits;
}

/* What is expected of an entry is in the reference's layout. */
static void check_entry(trial *r, const char *prefix, const mica_param *q, mica_view got) {
  mica_tensor *value;
  mica_params *p;
  mica_param *copy;
  const char *name = name_of(r, prefix, q);
  golden_need(r->g, mica_params_create(golden_engine(r->g), MICA_SEED_NONE, &p));
  golden_need(r->g, mica_param_add(mica_params_root(p), "x", got.dtype, got.shape, 0, NULL, &copy));
  mica_param_set_layout(copy, mica_param_layout(q));
  const mica_view to = mica_tensor_view(mica_param_value(copy));
  golden_need(r->g, mica_view_copy(&to, &got));
  golden_need(r->g, mica_param_to_reference(copy, &value));
  golden_check(r->g, name, mica_tensor_view(value));
}

static void check_gradients(trial *r) {
  for (int64_t i = 0; i < mica_params_count(r->params); i++) {
    mica_param *q = mica_params_at(r->params, i);
    const bool expected = golden_has(r->g, name_of(r, "grad.", q));
    if (expected != (mica_param_grad_kind(q) != MICA_GRAD_NONE))
      golden_fail(r->g, "%s %s a gradient", mica_param_path(q), expected ? "lacks" : "has");
    if (expected) check_entry(r, "grad.", q, mica_param_grad(q));
  }
}

static void step(trial *r, int64_t k, mica_optimiser *opt) {
  golden *g = r->g;
  mica_tape *t = r->tape;
  mica_params_zero_grad(r->params);
  mica_tape_reset(t);
  mica_set_training(t, true);
  const mica_var logits = forward(r, k);
  const mica_var labels = mica_input(t, golden_tensor(g, numbered("in.target", k), MICA_I64));
  const mica_var loss = mica_cross_entropy(t, logits, labels, MICA_NONE, NULL);
  golden_need_tape(g, t);
  if (golden_has(g, numbered("out.logits", k)))
    golden_check_var(g, numbered("out.logits", k), t, logits);
  if (golden_has(g, numbered("out.loss", k)))
    golden_check_within(g, numbered("out.loss", k), mica_read(t, loss), k ? 1e-4 : 1e-5);
  golden_need(g, mica_backward(t, loss));
  golden_need(g, mica_commit(t));
  if (!k) check_gradients(r);
  golden_need(g, mica_optimiser_step(opt, t, 1));
}

static void run(golden *g) {
  trial r = {.g = g};
  char rule[160];
  mica_optimiser *opt;
  mica_params *before;
  if (golden_number(g, "bn_eps", 1e-5) != 1e-5 || golden_number(g, "bn_momentum", 0.1) != 0.1)
    golden_fail(g, "batch norm has eps 1e-5 and momentum 0.1 here");
  make_net(&r);
  freeze(&r);
  golden_need(g, mica_params_decay_only(r.params, "all"));
  snprintf(rule, sizeof rule, "sgd:lr=%.17g:momentum=%.17g:weight_decay=%.17g:nesterov=%s",
           golden_number(g, "lr", 0.1), golden_number(g, "momentum", 0.9),
           golden_number(g, "weight_decay", 0),
           golden_flag(g, "nesterov", false) ? "true" : "false");
  golden_need(g, mica_optimiser_create(r.params, rule, &opt));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &r.tape));
  golden_need(g, mica_params_clone(r.params, &before));
  for (int64_t k = 0; golden_has(g, numbered("in.x", k)); k++) step(&r, k, opt);
  for (int64_t i = 0; i < mica_params_count(r.params); i++) {
    const mica_param *q = mica_params_at(r.params, i);
    const mica_tensor *now = mica_param_value(q), *old = mica_param_value(mica_params_at(before, i));
    if (golden_has(g, name_of(&r, "out.after.", q)))
      check_entry(&r, "out.after.", q, mica_tensor_view(now));
    if (!(mica_param_flags(q) & (MICA_PARAM_TRAINABLE | MICA_PARAM_BUFFER)) &&
        memcmp(mica_tensor_data(now), mica_tensor_data(old),
               (size_t)mica_tensor_count(now) * sizeof(float)) != 0)
      golden_fail(g, "%s is frozen, and has changed", mica_param_path(q));
  }
  if (!golden_has(g, "out.eval_logits")) return;
  mica_tape_reset(r.tape);
  mica_set_training(r.tape, false);
  golden_check_var(g, "out.eval_logits", r.tape, forward(&r, 0));
}

const golden_adapter golden_adapter_batchnorm_only = {"batchnorm-only", 1e-4, run};
