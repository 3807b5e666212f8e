/* Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019), AMSGrad (Reddi et al. 2018). */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

static double lr(const void *o) {
  return ((const mica_adam_options *)o)->lr;
}
static double decay(const void *o) {
  return ((const mica_adam_options *)o)->weight_decay;
}
static uint32_t states(const void *o) {
  return ((const mica_adam_options *)o)->amsgrad ? 7 : 3;
}

static void step(const mica_engine *engine, const void *options, const mica_update *u,
                 bool decoupled) {
  const mica_adam_options *o = options;
  const mica_adam_update k = {u->lr,    o->beta1, o->beta2, o->eps,
                              u->decay, u->scale, u->step,  decoupled};
  mica_kernels_of(engine, u->dtype)
      ->optimiser->adam(&k, u->n, u->gradient, u->weight, u->state[0], u->state[1], u->state[2]);
}

static bool rows_only(const void *o, double weight_decay) {
  (void)weight_decay;
  return ((const mica_adam_options *)o)->lazy;
}

static void adam(const mica_engine *engine, const void *options, const mica_update *u) {
  step(engine, options, u, false);
}
static void adamw(const mica_engine *engine, const void *options, const mica_update *u) {
  step(engine, options, u, true);
}

/* clang-format off */
#define ROW(name, type, def, lo, hi, help)                                                         \
  {#name, MICA_OPTION_##type, def, lo, hi, NULL, help, offsetof(mica_adam_options, name)}
#define TABLE(default_decay)                                                                       \
  {                                                                                                \
    ROW(lr, FLOAT, "1e-3", 0, 1e6, "learning rate"),                                               \
    ROW(beta1, FLOAT, "0.9", 0, 1, "decay of the mean gradient"),                                  \
    ROW(beta2, FLOAT, "0.999", 0, 1, "decay of the mean squared gradient"),                        \
    ROW(eps, FLOAT, "1e-8", 0, 1, "added to the root"),                                            \
    ROW(weight_decay, FLOAT, default_decay, 0, 1e6, "weight decay"),                               \
    ROW(amsgrad, BOOL, "false", 0, 0, "never let the denominator shrink"),                         \
    ROW(lazy, BOOL, "false", 0, 0, "leave rows without a gradient alone"),                         \
    {0}                                                                                            \
  }
/* clang-format on */
static const mica_option adam_table[] = TABLE("0");
static const mica_option adamw_table[] = TABLE("0.01");

static const mica_optimiser_functions adam_functions = {
    3, {"mean", "square", "largest"}, lr, decay, states, rows_only, adam, NULL, NULL};
static const mica_optimiser_functions adamw_functions = {
    3, {"mean", "square", "largest"}, lr, decay, states, rows_only, adamw, NULL, NULL};

const mica_component mica_component_optimiser_adam = {MICA_COMPONENT_HEAD,
                                                      MICA_KIND_OPTIMISER,
                                                      "adam",
                                                      "Adam, weight decay added to the gradient",
                                                      NULL,
                                                      adam_table,
                                                      sizeof(mica_adam_options),
                                                      0,
                                                      0,
                                                      &adam_functions};
const mica_component mica_component_optimiser_adamw = {MICA_COMPONENT_HEAD,
                                                       MICA_KIND_OPTIMISER,
                                                       "adamw",
                                                       "Adam with decoupled weight decay",
                                                       NULL,
                                                       adamw_table,
                                                       sizeof(mica_adam_options),
                                                       0,
                                                       0,
                                                       &adamw_functions};
