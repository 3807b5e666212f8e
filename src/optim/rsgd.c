/* Riemannian SGD for subspaces (Wang et al. 2023): the momentum is Euclidean and is not carried
 * along; what it has outside the subspace is the direction of a geodesic. */
#include <mica/optim.h>

#include "numeric/subspace.h"

static double lr(const void *o) {
  return ((const mica_rsgd_options *)o)->lr;
}
static double decay(const void *o) {
  (void)o;
  return 0;
}
static uint32_t states(const void *o) {
  (void)o;
  return 1;
}

/* The state becomes what the step goes by: the momentum, or without one the gradient. */
#define MOMENTUM(real)                                                                             \
  for (int64_t i = 0; i < u->n; i++) {                                                             \
    const double d = u->scale * (double)((const real *)u->gradient)[i];                            \
    real *m = (real *)u->state[0] + i;                                                             \
    *m = (real)(first ? d : o->momentum * (double)*m + (1 - o->dampening) * d);                    \
  }
static void gather(const mica_rsgd_options *o, const mica_update *u) {
  const bool first = u->step == 1 || o->momentum == 0;
  if (u->dtype == MICA_F32)
    MOMENTUM(float)
  else
    MOMENTUM(double)
}

static mica_status whole(const mica_engine *engine, const void *options, const mica_update *u) {
  const mica_rsgd_options *o = options;
  const int rank = u->shape->rank;
  const int64_t *dim = u->shape->dim;
  char text[128];
  if ((rank != 2 && rank != 3) || dim[rank - 2] > dim[rank - 1])
    return mica_fail(MICA_ERR_SHAPE, "rsgd: %s, expected [classes, dim, in] with dim at most in",
                     mica_shape_text(u->shape, text, sizeof text));
  gather(o, u);
  const mica_subspace_step step = {u->lr, o->retraction == MICA_RETRACTION_GEODESIC,
                                   o->reorth > 0 && (u->step - 1) % o->reorth == 0, o->signs == 1};
  return mica_subspaces_step(engine, &step, u->dtype, rank == 3 ? dim[0] : 1, dim[rank - 2],
                             dim[rank - 1], u->state[0], u->weight);
}

#define ROW(name, type, def, lo, hi, help)                                                         \
  { #name, MICA_OPTION_##type, def, lo, hi, NULL, help, offsetof(mica_rsgd_options, name) }
static const mica_option options[] = {
    ROW(lr, FLOAT, "0.1", 0, 1e6, "learning rate, in radians for a singular value of 1"),
    ROW(momentum, FLOAT, "0.9", 0, 1, "share of the last direction kept"),
    ROW(dampening, FLOAT, "0", 0, 1, "share of the gradient left out of the momentum"),
    ROW(reorth, INT, "5", 0, 1e9, "steps between making rows orthonormal again; 0: never"),
    {"retraction", MICA_OPTION_CHOICE, "geodesic", 0, 0, "geodesic|qr",
     "the way back to the manifold", offsetof(mica_rsgd_options, retraction)},
    {"signs", MICA_OPTION_CHOICE, "positive", 0, 0, "positive|householder",
     "of rows made orthonormal again: as before, or as Householder's QR has them",
     offsetof(mica_rsgd_options, signs)},
    {0}};

static const mica_optimiser_functions functions = {1,    {"momentum"}, lr,   decay, states,
                                                   NULL, NULL,         NULL, whole};

extern const mica_component mica_component_optimiser_rsgd;
const mica_component mica_component_optimiser_rsgd = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_OPTIMISER,
    "rsgd",
    "steps along geodesics, for weights that are subspaces",
    "grassmann-classes",
    options,
    sizeof(mica_rsgd_options),
    0,
    0,
    &functions};
