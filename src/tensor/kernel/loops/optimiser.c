/* optimiser.c: one pass over parameter, gradient and moments. Scalars are formed in double. */
#include "tensor/kernel/optimiser.h"

#include "loop.h"
#include "vector_math.h"

static void sgd(const mica_sgd_update *u, int64_t n, const void *g, void *w, void *b) {
  const real *pg = g;
  real *pw = w, *pb = b;
  const real lr = (real)u->lr, scale = (real)u->grad_scale, decay = (real)u->weight_decay;
  const real momentum = (real)u->momentum, fresh = (real)(1 - u->dampening);
  if (u->momentum == 0) {
    SIMD for (int64_t i = 0; i < n; i++) pw[i] -= lr * (scale * pg[i] + decay * pw[i]);
    return;
  }
  const real keep = u->first ? (real)0 : momentum, take = u->first ? (real)1 : fresh;
  if (u->first) { /* what b holds now may be anything, a NaN too */
    SIMD for (int64_t i = 0; i < n; i++) pb[i] = 0;
  }
  if (u->nesterov) {
    SIMD for (int64_t i = 0; i < n; i++) {
      const real d = scale * pg[i] + decay * pw[i], v = keep * pb[i] + take * d;
      pb[i] = v;
      pw[i] -= lr * (d + momentum * v);
    }
  } else {
    SIMD for (int64_t i = 0; i < n; i++) {
      const real d = scale * pg[i] + decay * pw[i], v = keep * pb[i] + take * d;
      pb[i] = v;
      pw[i] -= lr * v;
    }
  }
}

static void adam(const mica_adam_update *u, int64_t n, const void *g, void *w, void *m, void *v,
                 void *vmax) {
  const real *pg = g;
  real *pw = w, *pm = m, *pv = v, *pt = vmax;
  const double step = (double)u->step;
  const double correct1 = 1 - pow(u->beta1, step), correct2 = sqrt(1 - pow(u->beta2, step));
  const real scale = (real)u->grad_scale, eps = (real)u->eps;
  const real keep1 = (real)u->beta1, take1 = (real)(1 - u->beta1);
  const real keep2 = (real)u->beta2, take2 = (real)(1 - u->beta2);
  const real rate = (real)(u->lr / correct1), root = (real)(1 / correct2);
  const real shrink = u->decoupled ? (real)(1 - u->lr * u->weight_decay) : (real)1;
  const real decay = u->decoupled ? (real)0 : (real)u->weight_decay;
  if (pt != NULL) {
    SIMD for (int64_t i = 0; i < n; i++) {
      const real d = scale * pg[i] + decay * pw[i];
      const real a = keep1 * pm[i] + take1 * d, b = keep2 * pv[i] + take2 * d * d;
      const real t = pt[i] > b ? pt[i] : b;
      pm[i] = a;
      pv[i] = b;
      pt[i] = t;
      pw[i] = shrink * pw[i] - rate * a / (math_sqrt(t) * root + eps);
    }
  } else {
    SIMD for (int64_t i = 0; i < n; i++) {
      const real d = scale * pg[i] + decay * pw[i];
      const real a = keep1 * pm[i] + take1 * d, b = keep2 * pv[i] + take2 * d * d;
      pm[i] = a;
      pv[i] = b;
      pw[i] = shrink * pw[i] - rate * a / (math_sqrt(b) * root + eps);
    }
  }
}

static void average(int64_t n, double decay, const void *x, void *avg) {
  const real *px = x;
  real *pa = avg;
  const real take = (real)(1 - decay);
  SIMD for (int64_t i = 0; i < n; i++) pa[i] += take * (px[i] - pa[i]);
}

const mica_optimiser_kernels MICA_KERNEL(optimiser) = {
    .sgd = sgd,
    .adam = adam,
    .average = average,
};
