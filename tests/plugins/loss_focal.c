/* A loss outside the library, in one file: the focal loss (Lin et al. 2017), -(1 - p)^gamma ln p of
 * the label's class. It is loaded by mica_engine_load_plugin and then composes by name like any
 * built-in loss. */
#include <mica/mica.h>

typedef struct focal_options {
  uint32_t size;
  double gamma;
} focal_options;

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  const focal_options *o = options;
  mica_cross_entropy_options each = MICA_CROSS_ENTROPY_OPTIONS;
  each.per_example = true;
  mica_var loss = mica_cross_entropy(t, in->logits, in->labels, MICA_NONE, &each); /* -ln p */
  mica_var p = mica_exp(t, mica_neg(t, loss));
  mica_var weight = mica_pow_scalar(t, mica_affine(t, p, -1, 1), o->gamma);
  return mica_mean(t, mica_mul(t, weight, loss), 0, NULL, false);
}

static const mica_option options[] = {{"gamma", MICA_OPTION_FLOAT, "2", 0, 10, NULL,
                                       "how much easy examples count less",
                                       offsetof(focal_options, gamma)},
                                      {0}};

static const mica_loss_functions functions = {.forward = forward};

static const mica_component focal = {MICA_COMPONENT_HEAD,
                                     MICA_KIND_LOSS,
                                     "own_focal",
                                     "cross-entropy that looks at hard examples",
                                     NULL,
                                     options,
                                     sizeof(focal_options),
                                     MICA_NEED_LOGITS | MICA_NEED_LABELS,
                                     0,
                                     &functions};

__attribute__((visibility("default"))) mica_status mica_plugin_init(mica_engine *engine);
mica_status mica_plugin_init(mica_engine *engine) {
  return mica_engine_register(engine, &focal);
}
