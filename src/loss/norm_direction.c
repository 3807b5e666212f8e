/* Norm and direction of features (Wang et al. 2023): a student's features are turned towards the
 * teacher's mean of their class, and grow as long as they are shorter than the teacher's.
 *
 * While |s| < |t| the loss is linear in s; above it is 1 - cos(s, e), which leaves the norm alone.
 * On a tie the student's norm counts, and has a gradient.
 */
#include "loss/warmup.h"

#include <mica/nn.h>

/* Of the widths: features of the same width need no adapter. */
static mica_status init(mica_node *node, const void *options, const mica_loss_shapes *shapes) {
  (void)options;
  if (!shapes->teacher_features || shapes->features == shapes->teacher_features) return MICA_OK;
  mica_status status = mica_nn_batch_norm_init(mica_node_child(node, "norm"), shapes->features);
  return status == MICA_OK ? mica_nn_linear_init(mica_node_child(node, "linear"), shapes->features,
                                                 shapes->teacher_features, true)
                           : status;
}

static mica_var adapted(mica_tape *t, mica_node *node, const mica_nd_options *o, mica_var x) {
  mica_node *linear = node ? mica_node_find(node, "linear") : NULL;
  if (!linear) return x;
  x = mica_nn_batch_norm(t, mica_node_find(node, "norm"), MICA_IDENTITY, x);
  if (o->dropout > 0) x = mica_dropout(t, x, o->dropout);
  return mica_nn_linear(t, linear, x);
}

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  const mica_nd_options *o = options;
  const int last[] = {-1};
  mica_scope_begin(t, NULL);
  const mica_var s = adapted(t, node, o, in->features);
  const mica_var target = o->target == MICA_ND_SAMPLE
                              ? in->teacher_features
                              : mica_gather_rows(t, in->class_means, in->labels);
  mica_var loss;
  if (o->form == MICA_ND_MSE) {
    loss = mica_mse(t, s, target);
  } else {
    mica_var length = mica_norm(t, s, -1, false);
    mica_var along = length;
    if (o->form != MICA_ND_NORM)
      along = mica_sum(t, mica_mul(t, s, mica_l2_normalise(t, target, 1e-12)), 1, last, false);
    if (o->form != MICA_ND_DIRECTION) {
      const mica_var teacher = mica_norm(t, in->teacher_features, -1, false);
      length = mica_where(t, mica_less(t, length, teacher), teacher, length);
    }
    loss = mica_affine(t, mica_mean(t, mica_div(t, along, length), 0, NULL, false), -1, 1);
  }
  return mica_scope_end(t, mica_warm(t, loss, in, o->warmup));
}

static const mica_option options[] = {
    {"form", MICA_OPTION_CHOICE, "both", 0, 0, "both|direction|norm|mse",
     "norm and direction, one of them, or the squared distance", offsetof(mica_nd_options, form)},
    {"target", MICA_OPTION_CHOICE, "class", 0, 0, "class|sample",
     "the teacher's mean of the class, or its features of the example",
     offsetof(mica_nd_options, target)},
    {"dropout", MICA_OPTION_FLOAT, "0.5", 0, 0.999, NULL, "of the adapter between widths",
     offsetof(mica_nd_options, dropout)},
    MICA_WARMUP_ROW(mica_nd_options),
    {0}};

static const mica_loss_functions functions = {.forward = forward, .init_with = init};

const mica_component mica_component_loss_nd = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "nd",
    "features turned to the teacher's class means, and made longer",
    "norm-direction-distillation",
    options,
    sizeof(mica_nd_options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS | MICA_NEED_TEACHER | MICA_NEED_CLASS_MEANS,
    0,
    &functions};
