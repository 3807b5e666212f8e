/* Losses against float targets: squared, absolute, Huber, and binary cross-entropy. */
#include <mica/loss.h>

typedef struct plain_options {
  uint32_t size;
} plain_options;

static mica_var mse(mica_tape *t, mica_node *node, const void *options,
                    const mica_loss_inputs *in) {
  (void)node, (void)options;
  return mica_mse(t, in->logits, in->targets);
}
static mica_var l1(mica_tape *t, mica_node *node, const void *options, const mica_loss_inputs *in) {
  (void)node, (void)options;
  return mica_l1(t, in->logits, in->targets);
}
static mica_var bce(mica_tape *t, mica_node *node, const void *options,
                    const mica_loss_inputs *in) {
  (void)node;
  const double weight = ((const mica_bce_options *)options)->pos_weight;
  if (weight == 1) return mica_bce(t, in->logits, in->targets);
  const int64_t classes = mica_dim(t, in->logits, -1);
  mica_var w = mica_full(t, mica_dtype_of(t, in->logits), MICA_SHAPE(classes), weight);
  return mica_weighted_bce(t, in->logits, in->targets, w);
}
static mica_var huber(mica_tape *t, mica_node *node, const void *options,
                      const mica_loss_inputs *in) {
  (void)node;
  return mica_huber(t, in->logits, in->targets, ((const mica_huber_options *)options)->delta);
}

static const mica_option none[] = {{0}};
static const mica_option huber_table[] = {{"delta", MICA_OPTION_FLOAT, "1", 1e-9, 1e9, NULL,
                                           "where the quadratic part ends",
                                           offsetof(mica_huber_options, delta)},
                                          {0}};

static const mica_option bce_table[] = {{"pos_weight", MICA_OPTION_FLOAT, "1", 0, 1e9, NULL,
                                         "how much a target of 1 counts",
                                         offsetof(mica_bce_options, pos_weight)},
                                        {0}};

static const mica_loss_functions mse_functions = {.forward = mse}, l1_functions = {.forward = l1},
                                 bce_functions = {.forward = bce},
                                 huber_functions = {.forward = huber};

const mica_component mica_component_loss_mse = {MICA_COMPONENT_HEAD,
                                                MICA_KIND_LOSS,
                                                "mse",
                                                "mean squared error",
                                                NULL,
                                                none,
                                                sizeof(plain_options),
                                                MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                                0,
                                                &mse_functions};
const mica_component mica_component_loss_l1 = {MICA_COMPONENT_HEAD,
                                               MICA_KIND_LOSS,
                                               "l1",
                                               "mean absolute error",
                                               NULL,
                                               none,
                                               sizeof(plain_options),
                                               MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                               0,
                                               &l1_functions};
const mica_component mica_component_loss_bce = {MICA_COMPONENT_HEAD,
                                                MICA_KIND_LOSS,
                                                "bce",
                                                "binary cross-entropy with logits",
                                                NULL,
                                                bce_table,
                                                sizeof(mica_bce_options),
                                                MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                                0,
                                                &bce_functions};
const mica_component mica_component_loss_huber = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_LOSS,
                                                  "huber",
                                                  "Huber's loss: quadratic near, linear far",
                                                  NULL,
                                                  huber_table,
                                                  sizeof(mica_huber_options),
                                                  MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                                  0,
                                                  &huber_functions};
