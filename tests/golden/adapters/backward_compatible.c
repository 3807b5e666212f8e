/* backward-compatible: the head of basis transformation with its losses and all gradients, through
 * the orthogonal weights; rankings of one embedding on rows of another. */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's names of what lies below the head. */
static const char *const entries[][2] = {
    {"fc3.weight", "fc3.weight"},
    {"fc3.bias", "fc3.bias"},
    {"fc_out.weight", "fc_out.weight"},
    {"ortholinear_p.parametrizations.weight.original", "p.original"},
    {"ortholinear_p.parametrizations.weight.0.base", "p.base"},
    {"ortholinear_old2.parametrizations.weight.original", "old2.original"},
    {"ortholinear_old2.parametrizations.weight.0.base", "old2.base"},
};
#define ENTRIES (sizeof entries / sizeof *entries)

static const char *name_of(const char *prefix, const char *name) {
  static char text[96];
  snprintf(text, sizeof text, "%s%s", prefix, name);
  return text;
}

static void check_loss(golden *g, mica_tape *t, mica_params *params, const char *name,
                       const char *text, const mica_loss_inputs *in, mica_var *out) {
  mica_loss *loss;
  golden_need(g, mica_loss_create(golden_engine(g), text, mica_params_root(params), 1, 1, &loss));
  const mica_var v = mica_loss_forward(t, loss, in);
  golden_check_var(g, name, t, v);
  if (out) *out = v;
}

static void run_head(golden *g) {
  mica_params *params;
  mica_tape *t;
  mica_bt2_options o = MICA_BT2_OPTIONS;
  o.old = golden_dim(g, "in.phi_old", 1);
  o.add = golden_integer(g, "to_add_dim", 4);
  o.scale = golden_number(g, "C", 2);
  golden_need(g, mica_params_create(golden_engine(g), 0, &params));
  mica_node *root = mica_params_root(params);
  golden_need(g, mica_nn_bt2_init(root, golden_dim(g, "in.backbone_feature", 1),
                                  golden_dim(g, "param.fc_out.weight", 0), &o));
  for (size_t i = 0; i < ENTRIES; i++)
    golden_need(g, mica_param_from_reference(
                       mica_params_find(params, entries[i][0]),
                       golden_tensor(g, name_of("param.", entries[i][1]), MICA_F32)));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  const mica_var z = mica_leaf(t, golden_tensor(g, "in.backbone_feature", MICA_F32));
  mica_loss_inputs in = {0};
  in.features = mica_nn_bt2(t, root, &o, z, &in.logits, &in.part[0], &in.part[1]);
  in.labels = mica_input(t, golden_tensor(g, "in.labels", MICA_I64));
  in.teacher_features = mica_input(t, golden_tensor(g, "in.phi_old", MICA_F32));
  in.guide_features = mica_input(t, golden_tensor(g, "in.phi_new_independent", MICA_F32));
  in.class_means = mica_input(t, golden_tensor(g, "in.pseudo_classifier", MICA_F32));
  golden_need_tape(g, t);
  golden_check_var(g, "out.logits", t, in.logits);
  golden_check_var(g, "out.bct_feature", t, in.part[0]);
  golden_check_var(g, "out.feature", t, in.part[1]);
  golden_check_var(g, "out.new_feature", t, in.features);
  golden_check_var(g, "out.p.weight", t,
                   mica_nn_orthogonal_weight(t, mica_node_find(root, "ortholinear_p"), 0));
  golden_check_var(g, "out.old2.weight", t,
                   mica_nn_orthogonal_weight(t, mica_node_find(root, "ortholinear_old2"), 0));
  char sum[160];
  mica_var loss;
  check_loss(g, t, params, "out.loss_ce", "ce", &in, NULL);
  check_loss(g, t, params, "out.loss_influence", "influence", &in, NULL);
  check_loss(g, t, params, "out.loss_cos_old", "align", &in, NULL);
  check_loss(g, t, params, "out.loss_cos_new", "align:to=new", &in, NULL);
  snprintf(sum, sizeof sum, "ce+%g*influence+%g*align+%g*align:to=new",
           golden_number(g, "lambda_2", 10), golden_number(g, "lambda_3", 5),
           golden_number(g, "lambda_1", 1));
  check_loss(g, t, params, "out.loss", sum, &in, &loss);
  golden_need(g, mica_backward(t, loss));
  golden_check_var(g, "grad.backbone_feature", t, mica_gradient(t, z));
  for (size_t i = 0; i < ENTRIES; i++)
    if (golden_has(g, name_of("grad.", entries[i][1])))
      golden_check(g, name_of("grad.", entries[i][1]),
                   mica_param_grad(mica_params_find(params, entries[i][0])));
}

static void run_ranking(golden *g) {
  mica_compat_data d = MICA_COMPAT_DATA;
  mica_compat_result found;
  d.query = golden_view(g, "in.query", MICA_F64);
  d.gallery = golden_view(g, "in.gallery", MICA_F64);
  d.query_label = d.gallery_label = golden_integers(g, "in.labels", NULL);
  golden_need(g, mica_compat_eval(golden_engine(g), &d, &found));
  const int64_t n = d.query.shape.dim[0], m = found.columns;
  const int64_t wide = d.query.shape.dim[1], k = golden_dim(g, "out.cmc", 0);
  double *distance = calloc((size_t)(n * n), sizeof *distance);
  if (!distance) golden_fail(g, "out of memory");
  const double *q = golden_doubles(g, "in.query", NULL), *r = golden_doubles(g, "in.gallery", NULL);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) {
      double product = 0;
      for (int64_t c = 0; c < m; c++)
        product += q[i * wide + c] * r[j * d.gallery.shape.dim[1] + c];
      distance[i * n + j] = 1 - product;
    }
  golden_check_within(g, "out.distance", mica_view_of(distance, MICA_F64, MICA_SHAPE(n, n)), 1e-9);
  /* The other ranks by the measures of retrieval. */
  double cmc[16] = {0};
  int64_t asked = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t best = n, right = 0;
    for (int64_t j = 0; j < n; j++) {
      int64_t before = 0;
      if (j == i || d.query_label[j] != d.query_label[i]) continue;
      right++;
      for (int64_t l = 0; l < n; l++)
        before += l != i && distance[i * n + l] < distance[i * n + j];
      if (before < best) best = before;
    }
    asked += right > 0;
    for (int64_t c = best; c < k && right; c++) cmc[c]++;
  }
  for (int64_t c = 0; c < k; c++) cmc[c] /= (double)asked;
  if (cmc[0] != found.cmc1.value || (k > 4 && cmc[4] != found.cmc5.value))
    golden_fail(g, "the measures are not those of the distances");
  golden_check_within(g, "out.cmc", mica_view_of(cmc, MICA_F64, MICA_SHAPE(k)), 1e-12);
  golden_check_within(g, "out.map", mica_view_of(&found.map.value, MICA_F64, MICA_SHAPE(1)), 1e-9);
}

static void run(golden *g) {
  if (golden_has(g, "in.query"))
    run_ranking(g);
  else
    run_head(g);
}

const golden_adapter golden_adapter_backward_compatible = {"backward-compatible", 1e-4, run};
