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

static void adagrad(const mica_adagrad_update *u, int64_t n, const void *g, void *w, void *s) {
  const real *pg = g;
  real *pw = w, *ps = s;
  const real rate = (real)u->rate, initial = (real)u->initial, eps = (real)u->eps;
  const real scale = (real)u->grad_scale, decay = (real)u->weight_decay;
  SIMD for (int64_t i = 0; i < n; i++) {
    const real d = scale * pg[i] + decay * pw[i], sum = ps[i] + d * d;
    ps[i] = sum;
    pw[i] -= rate * d / (math_sqrt(sum + initial) + eps);
  }
}

/* One loop; its two conditions are known where it is put. */
static inline void rmsprop_loop(const mica_rmsprop_update *u, int64_t n, const real *pg, real *pw,
                                real *pv, real *pm, real *pb, const bool centred,
                                const bool momentum) {
  const real lr = (real)u->lr, keep = (real)u->alpha, take = (real)(1 - u->alpha);
  const real eps = (real)u->eps, inert = (real)u->momentum;
  const real scale = (real)u->grad_scale, decay = (real)u->weight_decay;
  SIMD for (int64_t i = 0; i < n; i++) {
    const real d = scale * pg[i] + decay * pw[i];
    real v = keep * pv[i] + take * d * d;
    pv[i] = v;
    if (centred) {
      const real m = pm[i] + take * (d - pm[i]);
      pm[i] = m;
      v -= m * m;
      v = v > 0 ? v : 0; /* below zero by rounding alone */
    }
    real step = d / (math_sqrt(v) + eps);
    if (momentum) {
      step += inert * pb[i];
      pb[i] = step;
    }
    pw[i] -= lr * step;
  }
}

static void rmsprop(const mica_rmsprop_update *u, int64_t n, const void *g, void *w, void *v,
                    void *m, void *b) {
  if (m != NULL && b != NULL)
    rmsprop_loop(u, n, g, w, v, m, b, true, true);
  else if (m != NULL)
    rmsprop_loop(u, n, g, w, v, m, NULL, true, false);
  else if (b != NULL)
    rmsprop_loop(u, n, g, w, v, NULL, b, false, true);
  else
    rmsprop_loop(u, n, g, w, v, NULL, NULL, false, false);
}

static void lamb_moments(const mica_lamb_update *u, int64_t n, const void *g, const void *w,
                         void *m, void *v, double sum[2]) {
  const real *pg = g, *pw = w;
  real *pm = m, *pv = v;
  const real keep1 = (real)u->beta1, take1 = (real)(1 - u->beta1);
  const real keep2 = (real)u->beta2, take2 = (real)(1 - u->beta2);
  const real correct1 = (real)u->correct1, correct2 = (real)u->correct2, eps = (real)u->eps;
  const real scale = (real)u->grad_scale, decay = (real)u->weight_decay;
  double ww = 0, rr = 0;
  SIMD_SUM(ww, rr) for (int64_t i = 0; i < n; i++) {
    const real d = scale * pg[i], x = pw[i];
    const real a = keep1 * pm[i] + take1 * d, b = keep2 * pv[i] + take2 * d * d;
    const real r = correct1 * a / (math_sqrt(b) * correct2 + eps) + decay * x;
    pm[i] = a;
    pv[i] = b;
    ww += (double)x * (double)x;
    rr += (double)r * (double)r;
  }
  sum[0] += ww;
  sum[1] += rr;
}

static void lamb(const mica_lamb_update *u, int64_t n, const void *m, const void *v, void *w) {
  const real *pm = m, *pv = v;
  real *pw = w;
  const real correct1 = (real)u->correct1, correct2 = (real)u->correct2, eps = (real)u->eps;
  const real rate = (real)u->rate, decay = (real)u->weight_decay;
  SIMD for (int64_t i = 0; i < n; i++) {
    const real r = correct1 * pm[i] / (math_sqrt(pv[i]) * correct2 + eps) + decay * pw[i];
    pw[i] -= rate * r;
  }
}

static void squares(int64_t n, const void *w, const void *g, double sum[2]) {
  const real *pw = w, *pg = g;
  double ww = 0, gg = 0;
  SIMD_SUM(ww, gg) for (int64_t i = 0; i < n; i++) {
    const double x = (double)pw[i], d = (double)pg[i];
    ww += x * x;
    gg += d * d;
  }
  sum[0] += ww;
  sum[1] += gg;
}

static void lars(const mica_lars_update *u, int64_t n, const void *g, void *w, void *b) {
  const real *pg = g;
  real *pw = w, *pb = b;
  const real rate = (real)u->rate, momentum = (real)u->momentum;
  const real scale = (real)u->grad_scale, decay = (real)u->weight_decay;
  SIMD for (int64_t i = 0; i < n; i++) {
    const real v = momentum * pb[i] + rate * (scale * pg[i] + decay * pw[i]);
    pb[i] = v;
    pw[i] -= v;
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
    .adagrad = adagrad,
    .rmsprop = rmsprop,
    .lamb_moments = lamb_moments,
    .lamb = lamb,
    .squares = squares,
    .lars = lars,
    .average = average,
};
