/* LARS (You, Gitman & Ginsburg 2017): a learning rate for each parameter, from the norms of its
 * weights and gradient. */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

#include <math.h>

static double lr(const void *o) {
  return ((const mica_lars_options *)o)->lr;
}
static double decay(const void *o) {
  return ((const mica_lars_options *)o)->weight_decay;
}
static uint32_t states(const void *o) {
  (void)o;
  return 1;
}

static void prepare(const mica_engine *engine, const void *options, const mica_update *u,
                    double sum[MICA_OPTIMISER_SUMS]) {
  (void)options;
  mica_kernels_of(engine, u->dtype)->optimiser->squares(u->n, u->weight, u->gradient, sum);
}

static void update(const mica_engine *engine, const void *options, const mica_update *u) {
  const mica_lars_options *o = options;
  mica_lars_update k = {u->lr, o->momentum, u->decay, u->scale};
  const bool adapted = o->adapted == MICA_ADAPTED_ALL || u->flags & MICA_PARAM_DECAY;
  if (adapted && u->sum[0] > 0 && u->sum[1] > 0) {
    const double w = sqrt(u->sum[0]), g = fabs(u->scale) * sqrt(u->sum[1]);
    k.rate *= o->trust * w / (g + u->decay * w + o->eps);
  }
  mica_kernels_of(engine, u->dtype)->optimiser->lars(&k, u->n, u->gradient, u->weight, u->state[0]);
}

static bool rows_only(const void *o, double weight_decay) {
  (void)weight_decay;
  return ((const mica_lars_options *)o)->lazy;
}

#define ROW(name, type, def, lo, hi, help)                                                         \
  { #name, MICA_OPTION_##type, def, lo, hi, NULL, help, offsetof(mica_lars_options, name) }
static const mica_option options[] = {
    ROW(lr, FLOAT, "1", 0, 1e6, "learning rate"),
    ROW(momentum, FLOAT, "0.9", 0, 1, "share of the last update kept"),
    ROW(weight_decay, FLOAT, "0", 0, 1e6, "added to the gradient times the weight"),
    ROW(trust, FLOAT, "1e-3", 0, 1e6, "the rate's share of |w| / (|g| + weight_decay |w|)"),
    ROW(eps, FLOAT, "0", 0, 1, "added to that denominator"),
    {"adapted", MICA_OPTION_CHOICE, "decayed", 0, 0, "decayed|all",
     "parameters with a ratio: those that decay, or all", offsetof(mica_lars_options, adapted)},
    ROW(lazy, BOOL, "false", 0, 0, "leave rows without a gradient alone"),
    {0}};

static const mica_optimiser_functions functions = {1,         {"momentum"}, lr,      decay, states,
                                                   rows_only, update,       prepare, NULL};

const mica_component mica_component_optimiser_lars = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_OPTIMISER,
    "lars",
    "a rate for each parameter from the norms of weights and gradient",
    NULL,
    options,
    sizeof(mica_lars_options),
    0,
    0,
    &functions};
