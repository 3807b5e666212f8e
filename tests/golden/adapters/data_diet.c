/* data-diet: scores of examples from a small network with a batch norm in evaluation mode, and the
 * counter of forgetting events.
 */
#include "adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Linear(0) - ReLU - BatchNorm(2) - Linear(3), as the file says. */
typedef struct network {
  mica_params *params;
  mica_node *first, *norm, *last;
} network;

static void fill(golden *g, mica_node *node, const char *prefix, const char *name) {
  char key[80];
  snprintf(key, sizeof key, "param.%s.%s", prefix, name);
  mica_param *p = mica_node_param(node, name);
  if (!p) golden_fail(g, "there is no %s", key);
  golden_need(g, mica_param_from_reference(p, golden_tensor(g, key, MICA_F32)));
}

static network build(golden *g) {
  network n = {0};
  const int64_t in = golden_dim(g, "param.0.weight", 1), width = golden_dim(g, "param.0.weight", 0);
  golden_need(g, mica_params_create(golden_engine(g), 0, &n.params));
  mica_node *root = mica_params_root(n.params);
  n.first = mica_node_child(root, "first");
  n.norm = mica_node_child(root, "norm");
  n.last = mica_node_child(root, "last");
  golden_need(g, mica_nn_linear_init(n.first, in, width, true));
  golden_need(g, mica_nn_batch_norm_init(n.norm, width));
  golden_need(g, mica_nn_linear_init(n.last, width, golden_dim(g, "param.3.weight", 0), true));
  fill(g, n.first, "0", "weight");
  fill(g, n.first, "0", "bias");
  fill(g, n.norm, "2", "weight");
  fill(g, n.norm, "2", "bias");
  fill(g, n.norm, "2", "running_mean");
  fill(g, n.norm, "2", "running_var");
  fill(g, n.last, "3", "weight");
  fill(g, n.last, "3", "bias");
  return n;
}

static mica_var forward(mica_tape *t, const network *n, mica_var x, mica_var *features) {
  mica_var h = mica_relu(t, mica_nn_linear(t, n->first, x));
  *features = mica_nn_batch_norm(t, n->norm, MICA_IDENTITY, h);
  return mica_nn_linear(t, n->last, *features);
}

static void losses(mica_tape *t, void *ctx, int n_in, const mica_var *in, int n_out, mica_var *out) {
  (void)n_in, (void)n_out;
  mica_var features;
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  o.per_example = true;
  out[0] = mica_cross_entropy(t, forward(t, ctx, in[0], &features), in[1], MICA_NONE, &o);
}

static void scores(golden *g) {
  static const struct {
    const char *expected, *score;
  } all[] = {{"out.el2n", "el2n"},
             {"out.el1n", "el1n"},
             {"out.grand", "grand"},
             {"out.grand_last_layer", "grand_last"},
             {"out.max_margin", "max_margin"},
             {"out.sum_margin", "sum_margin"}};
  network net = build(g);
  mica_tape *t;
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  const mica_var in[2] = {mica_input(t, golden_tensor(g, "in.x", MICA_F32)),
                          mica_input(t, golden_tensor(g, "in.labels", MICA_I64))};
  mica_var features;
  const mica_var logits = forward(t, &net, in[0], &features);
  golden_check_var(g, "out.logits", t, logits);
  const mica_view l = mica_read(t, logits), f = mica_read(t, features);
  const int64_t n = l.shape.dim[0];
  const mica_score_input input = {.n = n,
                                  .classes = l.shape.dim[1],
                                  .width = f.shape.dim[1],
                                  .logits = l.data,
                                  .labels = golden_integers(g, "in.labels", NULL),
                                  .features = f.data,
                                  .t = t,
                                  .loss = losses,
                                  .loss_ctx = &net,
                                  .n_in = 2,
                                  .in = in};
  double *score = calloc((size_t)n, sizeof *score);
  if (!score) golden_fail(g, "out of memory");
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (!golden_has(g, all[i].expected)) continue;
    const mica_component *c = mica_component_find(golden_engine(g), MICA_KIND_SCORE, all[i].score);
    if (!c) golden_fail(g, "%s", mica_last_error());
    const mica_score_functions *fn = c->functions;
    golden_need(g, fn->score(&input, NULL, score));
    golden_check_doubles(g, all[i].expected, score, n);
  }
}

static void forgetting(golden *g) {
  mica_forgetting *f;
  int64_t visits, n;
  const int64_t *ids = golden_integers(g, "in.batch_indices", &visits);
  const int64_t *right = golden_integers(g, "in.batch_correct", NULL);
  (void)golden_doubles(g, "out.forgetting", &n);
  double *score = calloc((size_t)n, sizeof *score);
  int64_t *count = calloc((size_t)n, sizeof *count), *never = calloc((size_t)n, sizeof *never);
  if (!score || !count || !never) golden_fail(g, "out of memory");
  golden_need(g, mica_forgetting_create(n, &f));
  for (int64_t i = 0; i < visits; i++) {
    const bool ok = right[i] != 0;
    golden_need(g, mica_forgetting_visit(f, 1, &ids[i], &ok));
  }
  mica_forgetting_scores(f, score);
  /* The file writes -1 for infinity. */
  for (int64_t i = 0; i < n; i++) {
    never[i] = isinf(score[i]);
    count[i] = never[i] ? -1 : (int64_t)score[i];
  }
  golden_check_within(g, "out.forgetting", mica_view_of(count, MICA_I64, MICA_SHAPE(n)), 0);
  golden_check_integers(g, "out.never_correct", never, n);
}

static void run(golden *g) {
  if (golden_has(g, "in.batch_indices"))
    forgetting(g);
  else
    scores(g);
}

const golden_adapter golden_adapter_data_diet = {"data-diet", 1e-5, run};
