/* Adagrad (Duchi, Hazan & Singer 2011), PyTorch's form. */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

static double lr(const void *o) {
  return ((const mica_adagrad_options *)o)->lr;
}
static double decay(const void *o) {
  return ((const mica_adagrad_options *)o)->weight_decay;
}
static uint32_t states(const void *o) {
  (void)o;
  return 1;
}

/* The initial sum is added where the sum is read, so the state begins at zero like all others. */
static void update(const mica_engine *engine, const void *options, const mica_update *u) {
  const mica_adagrad_options *o = options;
  const mica_adagrad_update k = {u->lr / (1 + (double)(u->step - 1) * o->lr_decay), o->initial,
                                 o->eps, u->decay, u->scale};
  mica_kernels_of(engine, u->dtype)
      ->optimiser->adagrad(&k, u->n, u->gradient, u->weight, u->state[0]);
}

static bool rows_only(const void *o, double weight_decay) {
  return ((const mica_adagrad_options *)o)->lazy || weight_decay == 0;
}

#define ROW(name, type, def, lo, hi, help)                                                         \
  { #name, MICA_OPTION_##type, def, lo, hi, NULL, help, offsetof(mica_adagrad_options, name) }
static const mica_option options[] = {
    ROW(lr, FLOAT, "1e-2", 0, 1e6, "learning rate"),
    ROW(lr_decay, FLOAT, "0", 0, 1e6, "the rate is lr / (1 + (step - 1) lr_decay)"),
    ROW(weight_decay, FLOAT, "0", 0, 1e6, "added to the gradient times the weight"),
    ROW(initial, FLOAT, "0", 0, 1e6, "added to the sum of squares"),
    ROW(eps, FLOAT, "1e-10", 0, 1, "added to the root"),
    ROW(lazy, BOOL, "false", 0, 0, "leave rows without a gradient alone"),
    {0}};

static const mica_optimiser_functions functions = {1,         {"square"}, lr,   decay, states,
                                                   rows_only, update,     NULL, NULL};

const mica_component mica_component_optimiser_adagrad = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_OPTIMISER,
    "adagrad",
    "steps over the root of the sum of squared gradients",
    NULL,
    options,
    sizeof(mica_adagrad_options),
    0,
    0,
    &functions};
