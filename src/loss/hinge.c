/* Margin losses with class labels. */
#include <mica/loss.h>

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  const mica_hinge_options *o = options;
  const int64_t classes = mica_dim(t, in->logits, -1);
  const mica_var logits = mica_reshape(t, in->logits, MICA_SHAPE(-1, classes));
  const mica_var labels = mica_reshape(t, in->labels, MICA_SHAPE(-1));
  if (o->form == 0) return mica_multi_margin(t, logits, labels, o->margin, o->squared ? 2 : 1);
  const mica_var one = mica_one_hot(t, labels, classes, mica_dtype_of(t, logits));
  return mica_hinge(t, logits, mica_affine(t, one, 2, -1), o->margin, o->squared ? 2 : 1);
}

static const mica_option table[] = {
    {"form", MICA_OPTION_CHOICE, "against_label", 0, 0, "against_label|one_vs_all",
     "each class against the label's, or each class for itself",
     offsetof(mica_hinge_options, form)},
    {"margin", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL, "how far apart is far enough",
     offsetof(mica_hinge_options, margin)},
    {"squared", MICA_OPTION_BOOL, "false", 0, 0, NULL, "squares of what is missing",
     offsetof(mica_hinge_options, squared)},
    {0}};

static const mica_loss_functions functions = {.forward = forward};

const mica_component mica_component_loss_hinge = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_LOSS,
                                                  "hinge",
                                                  "margin loss with class labels",
                                                  NULL,
                                                  table,
                                                  sizeof(mica_hinge_options),
                                                  MICA_NEED_LOGITS | MICA_NEED_LABELS,
                                                  0,
                                                  &functions};
