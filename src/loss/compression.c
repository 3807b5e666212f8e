/* What keeps a network whose weights are in two factors near the one they came from (Guo et al.
 * 2024): the features of inner places, and the distance of the products from the weights.
 */
#include "loss/warmup.h"

#include "param/low_rank.h"

#include <stdio.h>

/* ---- inner places ---- */

typedef struct feature_options {
  uint32_t size;
  double warmup;
} feature_options;

static mica_var feature_mse(mica_tape *t, mica_node *node, const void *options,
                            const mica_loss_inputs *in) {
  (void)node;
  const feature_options *o = options;
  mica_var sum = MICA_NONE;
  mica_scope_begin(t, NULL);
  for (int i = 0; i < in->taps && mica_ok(t); i++) {
    const mica_var one = mica_mse(t, in->tap[i], in->teacher_tap[i]);
    sum = i ? mica_add(t, sum, one) : one;
  }
  return mica_scope_end(t, mica_warm(t, mica_affine(t, sum, 1.0 / in->taps, 0), in, o->warmup));
}

static const mica_option feature_table[] = {MICA_WARMUP_ROW(feature_options), {0}};
static const mica_loss_functions feature_functions = {.forward = feature_mse};
const mica_component mica_component_loss_feature_mse = {MICA_COMPONENT_HEAD,
                                                        MICA_KIND_LOSS,
                                                        "feature_mse",
                                                        "squared distance of inner places",
                                                        "pela",
                                                        feature_table,
                                                        sizeof(feature_options),
                                                        MICA_NEED_TEACHER | MICA_NEED_TAPS,
                                                        0,
                                                        &feature_functions};

/* ---- weights ---- */

typedef struct perturbation_options {
  uint32_t size;
  double eps, warmup;
  int32_t mode; /* maxabs | fro | hinge */
} perturbation_options;

typedef struct sum {
  mica_tape *t;
  const perturbation_options *o;
  const mica_params *teacher;
  mica_var total;
  int layers;
} sum;

/* The largest element of |W1 W0 - W|, or the mean square. */
static mica_status add_layer(void *ctx, mica_node *node) {
  sum *s = ctx;
  mica_tape *t = s->t;
  if (!mica_node_low_rank(node) || !mica_ok(t)) return MICA_OK;
  char path[512];
  snprintf(path, sizeof path, "%s.weight", mica_node_path(node));
  const mica_param *original = mica_params_find(s->teacher, path);
  if (!original) {
    mica_latch(t, MICA_ERR_NOT_FOUND, "the teacher has no '%s'", path);
    return MICA_OK;
  }
  mica_var d = mica_low_rank_weight(t, node);
  d = mica_sub(t, d, mica_input(t, mica_param_value(original)));
  if (!mica_ok(t)) return MICA_OK;
  const mica_view v = mica_read(t, d);
  d = mica_reshape(t, d, MICA_SHAPE(mica_view_count(&v)));
  if (s->o->mode == 1) {
    d = mica_mean(t, mica_square(t, d), 0, NULL, false);
  } else {
    d = mica_affine(t, mica_max(t, mica_abs(t, d), 0, false), 1, -s->o->eps);
    if (s->o->mode == 2) d = mica_relu(t, d);
    d = mica_square(t, d);
  }
  s->total = s->layers++ ? mica_add(t, s->total, d) : d;
  return MICA_OK;
}

static mica_var perturbation(mica_tape *t, mica_node *node, const void *options,
                             const mica_loss_inputs *in) {
  (void)node;
  const perturbation_options *o = options;
  sum s = {t, o, in->teacher, MICA_NONE, 0};
  mica_scope_begin(t, NULL);
  if (!in->teacher || !in->params)
    mica_latch(t, MICA_ERR_INVALID, "loss perturbation needs the weights of both networks");
  else
    (void)mica_node_each(mica_params_root(in->params), add_layer, &s);
  if (mica_ok(t) && !s.layers)
    mica_latch(t, MICA_ERR_INVALID, "loss perturbation: no weight is in two factors");
  return mica_scope_end(
      t, mica_warm(t, mica_affine(t, s.total, s.layers ? 1.0 / s.layers : 1, 0), in, o->warmup));
}

static const mica_option perturbation_table[] = {
    {"mode", MICA_OPTION_CHOICE, "maxabs", 0, 0, "maxabs|fro|hinge",
     "squared distance of the largest element to eps; mean square; only where it is above eps",
     offsetof(perturbation_options, mode)},
    {"eps", MICA_OPTION_FLOAT, "0.001", 0, 1e6, NULL, "what the largest element may be",
     offsetof(perturbation_options, eps)},
    MICA_WARMUP_ROW(perturbation_options),
    {0}};
static const mica_loss_functions perturbation_functions = {.forward = perturbation};
const mica_component mica_component_loss_perturbation = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "perturbation",
    "how far products of factors are from the weights",
    "pela",
    perturbation_table,
    sizeof(perturbation_options),
    MICA_NEED_TEACHER | MICA_NEED_FACTORS,
    0,
    &perturbation_functions};
