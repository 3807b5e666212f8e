/* The soft Dice loss of independent classes. */
#include <mica/loss.h>

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  const mica_dice_options *o = options;
  return mica_dice(t, mica_sigmoid(t, in->logits), in->targets, o->smooth, o->squared);
}

static const mica_option table[] = {
    {"smooth", MICA_OPTION_FLOAT, "1", 0, 1e9, NULL, "added to both sides of the ratio",
     offsetof(mica_dice_options, smooth)},
    {"squared", MICA_OPTION_BOOL, "false", 0, 0, NULL, "sizes are sums of squares",
     offsetof(mica_dice_options, squared)},
    {0}};

static const mica_loss_functions functions = {.forward = forward};

const mica_component mica_component_loss_dice = {MICA_COMPONENT_HEAD,
                                                 MICA_KIND_LOSS,
                                                 "dice",
                                                 "one less the overlap with the targets",
                                                 NULL,
                                                 table,
                                                 sizeof(mica_dice_options),
                                                 MICA_NEED_LOGITS | MICA_NEED_TARGETS,
                                                 0,
                                                 &functions};
