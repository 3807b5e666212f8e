/* Cross-entropy with class labels. */
#include <mica/loss.h>

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  const mica_ce_options *given = options;
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  o.smoothing = given->smoothing;
  return mica_cross_entropy(t, in->logits, in->labels, MICA_NONE, &o);
}

static const mica_option options[] = {{"smoothing", MICA_OPTION_FLOAT, "0", 0, 1, NULL,
                                       "share of the target spread over all classes",
                                       offsetof(mica_ce_options, smoothing)},
                                      {0}};

static const mica_loss_functions functions = {.forward = forward};

const mica_component mica_component_loss_ce = {MICA_COMPONENT_HEAD,
                                               MICA_KIND_LOSS,
                                               "ce",
                                               "cross-entropy with class labels",
                                               NULL,
                                               options,
                                               sizeof(mica_ce_options),
                                               MICA_NEED_LOGITS | MICA_NEED_LABELS,
                                               0,
                                               &functions};
