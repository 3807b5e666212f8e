/* Focal losses: with class labels, and with a target for each class. */
#include <mica/loss.h>

static mica_var focal(mica_tape *t, mica_node *node, const void *options,
                      const mica_loss_inputs *in) {
  (void)node;
  return mica_focal(t, in->logits, in->labels, ((const mica_focal_options *)options)->gamma);
}
static mica_var binary(mica_tape *t, mica_node *node, const void *options,
                       const mica_loss_inputs *in) {
  (void)node;
  const mica_focal_options *o = options;
  return mica_binary_focal(t, in->logits, in->targets, o->gamma, o->alpha);
}

#define GAMMA                                                                                      \
  {                                                                                                \
    "gamma", MICA_OPTION_FLOAT, "2", 0, 100, NULL, "how little counts what is right already",      \
        offsetof(mica_focal_options, gamma)                                                        \
  }
static const mica_option focal_table[] = {GAMMA, {0}};
static const mica_option binary_table[] = {
    GAMMA,
    {"alpha", MICA_OPTION_FLOAT, "0.25", -1, 1, NULL,
     "weight of targets of 1; the others have the rest; below 0: neither has one",
     offsetof(mica_focal_options, alpha)},
    {0}};

static const mica_loss_functions focal_functions = {.forward = focal},
                                 binary_functions = {.forward = binary};

const mica_component mica_component_loss_focal = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_LOSS,
                                                  "focal",
                                                  "focal loss with class labels",
                                                  NULL,
                                                  focal_table,
                                                  sizeof(mica_focal_options),
                                                  MICA_NEED_LOGITS | MICA_NEED_LABELS,
                                                  0,
                                                  &focal_functions};
const mica_component mica_component_loss_binary_focal = {MICA_COMPONENT_HEAD,
                                                         MICA_KIND_LOSS,
                                                         "binary_focal",
                                                         "focal loss of independent classes",
                                                         NULL,
                                                         binary_table,
                                                         sizeof(mica_focal_options),
                                                         MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                                         0,
                                                         &binary_functions};
