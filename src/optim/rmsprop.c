/* RMSProp (Tieleman & Hinton 2012), centred (Graves 2013) and with momentum; PyTorch's form. */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

enum { SQUARE, MEAN, MOMENTUM };

static double lr(const void *o) {
  return ((const mica_rmsprop_options *)o)->lr;
}
static double decay(const void *o) {
  return ((const mica_rmsprop_options *)o)->weight_decay;
}
static uint32_t states(const void *options) {
  const mica_rmsprop_options *o = options;
  return 1u << SQUARE | (o->centred ? 1u << MEAN : 0) | (o->momentum != 0 ? 1u << MOMENTUM : 0);
}

static void update(const mica_engine *engine, const void *options, const mica_update *u) {
  const mica_rmsprop_options *o = options;
  const mica_rmsprop_update k = {u->lr, o->alpha, o->eps, o->momentum, u->decay, u->scale};
  mica_kernels_of(engine, u->dtype)
      ->optimiser->rmsprop(&k, u->n, u->gradient, u->weight, u->state[SQUARE], u->state[MEAN],
                           u->state[MOMENTUM]);
}

static bool rows_only(const void *o, double weight_decay) {
  (void)weight_decay;
  return ((const mica_rmsprop_options *)o)->lazy;
}

#define ROW(name, type, def, lo, hi, help)                                                         \
  { #name, MICA_OPTION_##type, def, lo, hi, NULL, help, offsetof(mica_rmsprop_options, name) }
static const mica_option options[] = {
    ROW(lr, FLOAT, "1e-2", 0, 1e6, "learning rate"),
    ROW(alpha, FLOAT, "0.99", 0, 1, "decay of the mean squared gradient"),
    ROW(eps, FLOAT, "1e-8", 0, 1, "added to the root"),
    ROW(momentum, FLOAT, "0", 0, 1, "share of the last update kept"),
    ROW(weight_decay, FLOAT, "0", 0, 1e6, "added to the gradient times the weight"),
    ROW(centred, BOOL, "false", 0, 0, "divide by the gradient's deviation"),
    ROW(lazy, BOOL, "false", 0, 0, "leave rows without a gradient alone"),
    {0}};

static const mica_optimiser_functions functions = {
    3, {"square", "mean", "momentum"}, lr, decay, states, rows_only, update, NULL, NULL};

const mica_component mica_component_optimiser_rmsprop = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_OPTIMISER,
    "rmsprop",
    "steps over the root mean square of the gradient",
    NULL,
    options,
    sizeof(mica_rmsprop_options),
    0,
    0,
    &functions};
