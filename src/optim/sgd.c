/* Stochastic gradient descent with momentum (PyTorch's form). */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

static double lr(const void *o) {
  return ((const mica_sgd_options *)o)->lr;
}
static double decay(const void *o) {
  return ((const mica_sgd_options *)o)->weight_decay;
}
static uint32_t states(const void *o) {
  return ((const mica_sgd_options *)o)->momentum != 0 ? 1 : 0;
}

static void update(const mica_engine *engine, const void *options, const mica_update *u) {
  const mica_sgd_options *o = options;
  const mica_sgd_update k = {u->lr,    o->momentum, o->dampening, u->decay,
                             u->scale, o->nesterov, u->step == 1};
  mica_kernels_of(engine, u->dtype)->optimiser->sgd(&k, u->n, u->gradient, u->weight, u->state[0]);
}

static bool rows_only(const void *options, double decay) {
  const mica_sgd_options *o = options;
  return o->lazy || (o->momentum == 0 && decay == 0);
}

static const mica_option options[] = {
    {"lr", MICA_OPTION_FLOAT, "0.1", 0, 1e6, NULL, "learning rate", offsetof(mica_sgd_options, lr)},
    {"momentum", MICA_OPTION_FLOAT, "0", 0, 1, NULL, "share of the last update kept",
     offsetof(mica_sgd_options, momentum)},
    {"dampening", MICA_OPTION_FLOAT, "0", 0, 1, NULL,
     "share of the gradient left out of the momentum", offsetof(mica_sgd_options, dampening)},
    {"weight_decay", MICA_OPTION_FLOAT, "0", 0, 1e6, NULL, "added to the gradient times the weight",
     offsetof(mica_sgd_options, weight_decay)},
    {"nesterov", MICA_OPTION_BOOL, "false", 0, 0, NULL, "look ahead along the momentum",
     offsetof(mica_sgd_options, nesterov)},
    {"lazy", MICA_OPTION_BOOL, "false", 0, 0, NULL, "leave rows without a gradient alone",
     offsetof(mica_sgd_options, lazy)},
    {0}};

static const mica_optimiser_functions functions = {1,         {"momentum"}, lr,   decay, states,
                                                   rows_only, update,       NULL, NULL};

const mica_component mica_component_optimiser_sgd = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_OPTIMISER,
    "sgd",
    "stochastic gradient descent, momentum, Nesterov",
    NULL,
    options,
    sizeof(mica_sgd_options),
    0,
    0,
    &functions};
