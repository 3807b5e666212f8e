/* LAMB (You et al. 2020): the direction of Adam, its length set by that of the weights. */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

#include <math.h>

static double lr(const void *o) {
  return ((const mica_lamb_options *)o)->lr;
}
static double decay(const void *o) {
  return ((const mica_lamb_options *)o)->weight_decay;
}
static uint32_t states(const void *o) {
  (void)o;
  return 3;
}

static mica_lamb_update kernel(const mica_lamb_options *o, const mica_update *u) {
  const double step = (double)u->step;
  const double correct1 = o->correct ? 1 / (1 - pow(o->beta1, step)) : 1;
  const double correct2 = o->correct ? 1 / sqrt(1 - pow(o->beta2, step)) : 1;
  return (mica_lamb_update){u->lr,    o->beta1, o->beta2, o->eps,
                            correct1, correct2, u->decay, u->scale};
}

static void prepare(const mica_engine *engine, const void *options, const mica_update *u,
                    double sum[MICA_OPTIMISER_SUMS]) {
  const mica_lamb_update k = kernel(options, u);
  mica_kernels_of(engine, u->dtype)
      ->optimiser->lamb_moments(&k, u->n, u->gradient, u->weight, u->state[0], u->state[1], sum);
}

static void update(const mica_engine *engine, const void *options, const mica_update *u) {
  const mica_lamb_options *o = options;
  mica_lamb_update k = kernel(o, u);
  const bool adapted = o->adapted == MICA_ADAPTED_ALL || u->flags & MICA_PARAM_DECAY;
  if (adapted && u->sum[0] > 0 && u->sum[1] > 0) {
    const double w = sqrt(u->sum[0]);
    k.rate *= (o->bound > 0 && w > o->bound ? o->bound : w) / sqrt(u->sum[1]);
  }
  mica_kernels_of(engine, u->dtype)->optimiser->lamb(&k, u->n, u->state[0], u->state[1], u->weight);
}

static bool rows_only(const void *o, double weight_decay) {
  (void)weight_decay;
  return ((const mica_lamb_options *)o)->lazy;
}

#define ROW(name, type, def, lo, hi, help)                                                         \
  { #name, MICA_OPTION_##type, def, lo, hi, NULL, help, offsetof(mica_lamb_options, name) }
static const mica_option options[] = {
    ROW(lr, FLOAT, "1e-3", 0, 1e6, "learning rate"),
    ROW(beta1, FLOAT, "0.9", 0, 1, "decay of the mean gradient"),
    ROW(beta2, FLOAT, "0.999", 0, 1, "decay of the mean squared gradient"),
    ROW(eps, FLOAT, "1e-6", 0, 1, "added to the root"),
    ROW(weight_decay, FLOAT, "0.01", 0, 1e6, "added to the direction times the weight"),
    ROW(bound, FLOAT, "0", 0, 1e9, "largest norm of the weights in the ratio; 0: any"),
    ROW(correct, BOOL, "true", 0, 0, "correct the moments for their start at zero"),
    {"adapted", MICA_OPTION_CHOICE, "decayed", 0, 0, "decayed|all",
     "parameters with a ratio: those that decay, or all", offsetof(mica_lamb_options, adapted)},
    ROW(lazy, BOOL, "false", 0, 0, "leave rows without a gradient alone"),
    {0}};

static const mica_optimiser_functions functions = {
    2, {"mean", "square"}, lr, decay, states, rows_only, update, prepare, NULL};

const mica_component mica_component_optimiser_lamb = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_OPTIMISER,
    "lamb",
    "Adam's direction, as long as the weights; for large batches",
    NULL,
    options,
    sizeof(mica_lamb_options),
    0,
    0,
    &functions};
