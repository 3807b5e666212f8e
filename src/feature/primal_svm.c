/* Newton's method on a piecewise quadratic (Mangasarian 2002; Keerthi and DeCoste 2005).
 *
 * On the rows with a margin below 1, the objective is a quadratic whose curvature is 1 + 2 X^T cost
 * X. Its minimum, by conjugate gradients, is the direction; how far to go is where the slope along
 * it, a piecewise linear function that rises, is 0. The objective's curvature is at least 1, so it
 * is above the optimum by half the gradient's square at most.
 */
#include "feature/primal_svm.h"

#include "numeric/rows.h"

#include <math.h>
#include <string.h>

typedef struct vectors {
  double *m, *e;         /* [n] w . x_i, direction . x_i */
  double *g, *s, *r, *p; /* [d] gradient, direction; residual and search direction of it */
  double *hp;            /* [d] curvature times p */
} vectors;

static const double *row_of(const mica_primal_svm *p, int64_t i) {
  return p->x + p->row[i] * p->d;
}

static bool inside(const mica_primal_svm *p, const vectors *v, int64_t i) {
  return p->y[i] * v->m[i] < 1;
}

static void gradient(const mica_primal_svm *p, const vectors *v, const double *w) {
  memcpy(v->g, w, (size_t)p->d * sizeof *w);
  for (int64_t i = 0; i < p->n; i++) {
    if (!inside(p, v, i)) continue;
    const double by = 2 * p->cost[i] * (v->m[i] - p->y[i]), *x = row_of(p, i);
    for (int64_t j = 0; j < p->d; j++) v->g[j] += by * x[j];
  }
}

static void curvature(const mica_primal_svm *p, const vectors *v) {
  memcpy(v->hp, v->p, (size_t)p->d * sizeof *v->p);
  for (int64_t i = 0; i < p->n; i++) {
    if (!inside(p, v, i)) continue;
    const double *x = row_of(p, i), by = 2 * p->cost[i] * mica_dot(x, v->p, p->d);
    for (int64_t j = 0; j < p->d; j++) v->hp[j] += by * x[j];
  }
}

/* The direction s: the quadratic's minimum, to a share of the gradient. */
static void direction(const mica_primal_svm *p, const vectors *v, double length, double share) {
  double square = 0;
  for (int64_t j = 0; j < p->d; j++) {
    v->s[j] = 0;
    v->p[j] = v->r[j] = -v->g[j];
    square += v->r[j] * v->r[j];
  }
  for (int64_t k = 0; k < 2 * p->d && sqrt(square) > share * length; k++) {
    curvature(p, v);
    const double bend = mica_dot(v->p, v->hp, p->d), step = square / bend;
    double next = 0;
    for (int64_t j = 0; j < p->d; j++) {
      v->s[j] += step * v->p[j];
      v->r[j] -= step * v->hp[j];
      next += v->r[j] * v->r[j];
    }
    for (int64_t j = 0; j < p->d; j++) v->p[j] = v->r[j] + next / square * v->p[j];
    square = next;
  }
}

/* The slope along the direction at t, and how fast it rises. */
static double slope(const mica_primal_svm *p, const vectors *v, double along, double square,
                    double t, double *rise) {
  double at = along + t * square;
  *rise = square;
  for (int64_t i = 0; i < p->n; i++) {
    const double m = v->m[i] + t * v->e[i];
    if (p->y[i] * m >= 1) continue;
    at += 2 * p->cost[i] * (m - p->y[i]) * v->e[i];
    *rise += 2 * p->cost[i] * v->e[i] * v->e[i];
  }
  return at;
}

/* Where the slope is 0: Newton's steps between bounds that are halved where these leave them. */
static double how_far(const mica_primal_svm *p, const vectors *v, const double *w) {
  const double along = mica_dot(v->s, w, p->d), square = mica_sum_squares(v->s, p->d);
  double rise, t = 1, lo = 0, hi = INFINITY;
  const double first = fabs(slope(p, v, along, square, 0, &rise));
  for (int k = 0; k < 100; k++) {
    const double at = slope(p, v, along, square, t, &rise);
    if (fabs(at) <= 1e-12 * first) break;
    if (at < 0)
      lo = t;
    else
      hi = t;
    const double next = t - at / rise;
    t = next > lo && next < hi ? next : isinf(hi) ? 2 * t : (lo + hi) / 2;
    if (hi - lo <= 1e-15 * hi) break;
  }
  return t;
}

static void outcome(mica_primal_svm *p, const vectors *v, const double *w, double length) {
  p->value = 0.5 * mica_sum_squares(w, p->d);
  for (int64_t i = 0; i < p->n; i++) {
    const double margin = fmax(0, 1 - p->y[i] * v->m[i]);
    p->value += p->cost[i] * margin * margin;
  }
  p->excess = 0.5 * length * length;
}

void mica_primal_svm_fit(mica_primal_svm *p, double *w, double *room) {
  const int64_t n = p->n, d = p->d;
  const vectors v = {room,
                     room + n,
                     room + 2 * n,
                     room + 2 * n + d,
                     room + 2 * n + 2 * d,
                     room + 2 * n + 3 * d,
                     room + 2 * n + 4 * d};
  /* The gradient at 0 says what is small. */
  memset(v.m, 0, (size_t)n * sizeof *v.m);
  memset(v.s, 0, (size_t)d * sizeof *v.s);
  gradient(p, &v, v.s);
  const double start = sqrt(mica_sum_squares(v.g, d));
  double length = 0;
  p->converged = false;
  for (int64_t i = 0; i < n; i++) v.m[i] = mica_dot(w, row_of(p, i), d);
  for (p->steps = 0;; p->steps++) {
    gradient(p, &v, w);
    length = sqrt(mica_sum_squares(v.g, d));
    p->converged = length <= p->tol * start;
    if (p->converged || p->steps == p->max_iter) break;
    direction(p, &v, length, fmin(0.1, length / start));
    for (int64_t i = 0; i < n; i++) v.e[i] = mica_dot(v.s, row_of(p, i), d);
    const double t = how_far(p, &v, w);
    for (int64_t j = 0; j < d; j++) w[j] += t * v.s[j];
    for (int64_t i = 0; i < n; i++) v.m[i] += t * v.e[i];
  }
  outcome(p, &v, w, length);
}
