/* L-BFGS: see lbfgs.h for what it is; here, how it is kept safe.
 *
 * A step is only taken when the line search found a point that satisfies either pair of Wolfe
 * conditions, so the curvature pair (s, y) is always positive and the direction a descent
 * direction. If a search fails from a quasi-Newton direction, the memory is dropped and steepest
 * descent tried once before the run is declared to be at the limit of rounding.
 */
#include "numeric/lbfgs.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WOLFE_OK, WOLFE_NONE };

static const double sufficient_decrease = 1e-4, curvature = 0.9;

static double dot(int64_t n, const double *a, const double *b) {
  double sum[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int j = 0; j < 4; j++) sum[j] += a[i + j] * b[i + j];
  for (; i < n; i++) sum[0] += a[i] * b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static double max_abs(int64_t n, const double *a) {
  double m = 0;
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(a[i]) <= m)) m = fabs(a[i]);
  return m;
}

static void add_scaled(int64_t n, double *a, double scale, const double *b) {
  for (int64_t i = 0; i < n; i++) a[i] += scale * b[i];
}

typedef struct {
  int64_t n;
  mica_objective_fn objective;
  void *ctx;
  const double *origin, *direction;
  double *x, *gradient; /* at the latest trial */
  int64_t evaluations;
} ray;

typedef struct {
  double step, value, slope;
} trial;

static mica_status evaluate(ray *r, double step, trial *t) {
  for (int64_t i = 0; i < r->n; i++) r->x[i] = r->origin[i] + step * r->direction[i];
  r->evaluations++;
  t->step = step;
  mica_status status = r->objective(r->ctx, r->x, &t->value, r->gradient);
  if (status) return status;
  t->slope = dot(r->n, r->gradient, r->direction);
  if (!isfinite(t->value) || !isfinite(t->slope)) t->value = INFINITY, t->slope = INFINITY;
  return MICA_OK;
}

/* Values within this share of each other differ by rounding only. */
static const double value_noise = 1e-13;

static bool flat(double a, double b) {
  return fabs(a - b) <= value_noise * fabs(a);
}

/* The minimiser of the cubic through two values and slopes, kept off the ends of the interval. */
static double interpolate(const trial *a, const trial *b) {
  double width = b->step - a->step, middle = a->step + 0.5 * width;
  if (!isfinite(b->value) || !isfinite(a->value)) return a->step + 0.25 * width;
  if (flat(a->value, b->value)) { /* the secant of the slopes, which still have their digits */
    double share = a->slope / (a->slope - b->slope);
    return share > 0.01 && share < 0.99 ? a->step + share * width : middle;
  }
  double d1 = a->slope + b->slope - 3 * (a->value - b->value) / (a->step - b->step);
  double square = d1 * d1 - a->slope * b->slope;
  if (!(square >= 0)) return middle;
  double d2 = copysign(sqrt(square), width);
  double step = b->step - width * (b->slope + d2 - d1) / (b->slope - a->slope + 2 * d2);
  double lo = fmin(a->step, b->step), hi = fmax(a->step, b->step), margin = 0.1 * (hi - lo);
  if (!isfinite(step)) return middle;
  return fmin(fmax(step, lo + margin), hi - margin);
}

static bool acceptable(const trial *start, const trial *t) {
  if (!isfinite(t->value)) return false;
  bool decrease = t->value <= start->value + sufficient_decrease * t->step * start->slope;
  if (decrease && fabs(t->slope) <= curvature * -start->slope) return true;
  /* Differences of values are noise here: judge by the slopes alone. */
  return t->value <= start->value + value_noise * fabs(start->value) &&
         (2 * sufficient_decrease - 1) * start->slope >= t->slope &&
         t->slope >= curvature * start->slope;
}

/* On WOLFE_OK the ray's x and gradient are those of *found. */
static mica_status search(ray *r, const trial *start, double first, int limit, trial *found,
                          int *outcome) {
  trial low = *start, high = *start, t;
  bool bracketed = false;
  double step = first;
  *outcome = WOLFE_NONE;
  for (int i = 0; i < limit; i++) {
    mica_status status = evaluate(r, step, &t);
    if (status) return status;
    if (acceptable(start, &t)) {
      *found = t;
      *outcome = WOLFE_OK;
      return MICA_OK;
    }
    bool noise = flat(start->value, t.value);
    bool too_high =
        noise ? t.slope >= 0
              : !(t.value <= start->value + sufficient_decrease * t.step * start->slope) ||
                    !(t.value < low.value || low.step == 0);
    if (too_high) {
      high = t;
      bracketed = true;
    } else {
      if (!noise && (bracketed ? t.slope * (high.step - low.step) >= 0 : t.slope >= 0)) {
        high = low;
        bracketed = true;
      }
      low = t;
    }
    if (!bracketed) {
      step *= 4;
      if (!(step < 1e20)) return MICA_OK;
      continue;
    }
    if (fabs(high.step - low.step) <= DBL_EPSILON * fmax(fabs(high.step), fabs(low.step)))
      return MICA_OK;
    step = interpolate(&low, &high);
  }
  return MICA_OK;
}

typedef struct {
  int64_t n;
  int capacity, count, next;
  double *s, *y; /* capacity rows of n */
  double *rho, *alpha;
} history;

/* The two-loop recursion: direction = -H gradient. */
static void descend(history *h, const double *gradient, double *direction) {
  int64_t n = h->n;
  for (int64_t i = 0; i < n; i++) direction[i] = -gradient[i];
  for (int k = 1; k <= h->count; k++) {
    int j = (h->next - k + h->capacity) % h->capacity;
    h->alpha[j] = h->rho[j] * dot(n, h->s + j * n, direction);
    add_scaled(n, direction, -h->alpha[j], h->y + j * n);
  }
  if (h->count) {
    int last = (h->next - 1 + h->capacity) % h->capacity;
    double scale = 1 / (h->rho[last] * dot(n, h->y + last * n, h->y + last * n));
    for (int64_t i = 0; i < n; i++) direction[i] *= scale;
  }
  for (int k = h->count; k >= 1; k--) {
    int j = (h->next - k + h->capacity) % h->capacity;
    double beta = h->rho[j] * dot(n, h->y + j * n, direction);
    add_scaled(n, direction, h->alpha[j] - beta, h->s + j * n);
  }
}

static void remember(history *h, const double *x, const double *x_new, const double *g,
                     const double *g_new) {
  double *s = h->s + h->next * h->n, *y = h->y + h->next * h->n;
  for (int64_t i = 0; i < h->n; i++) {
    s[i] = x_new[i] - x[i];
    y[i] = g_new[i] - g[i];
  }
  double product = dot(h->n, s, y);
  if (!(product > DBL_EPSILON * dot(h->n, y, y) * 1e-4)) return;
  h->rho[h->next] = 1 / product;
  h->next = (h->next + 1) % h->capacity;
  if (h->count < h->capacity) h->count++;
}

static mica_status iterate(history *h, double *x, double *work, mica_objective_fn objective,
                           void *ctx, const mica_lbfgs_options *o, mica_lbfgs_report *report) {
  int64_t n = h->n;
  double *gradient = work, *direction = work + n, *x_new = work + 2 * n, *g_new = work + 3 * n;
  double value;
  mica_status status = objective(ctx, x, &value, gradient);
  report->evaluations = 1;
  if (status) return status;
  report->value = value;
  report->gradient_max = max_abs(n, gradient);
  if (!isfinite(value) || !isfinite(report->gradient_max))
    return mica_fail(MICA_ERR_NUMERIC, "minimisation: the objective is not finite at the start");
  report->stop = MICA_LBFGS_GRADIENT;
  while (report->gradient_max > o->gradient_tol) {
    if (report->iterations >= o->max_iterations) {
      report->stop = MICA_LBFGS_ITERATIONS;
      return MICA_OK;
    }
    descend(h, gradient, direction);
    trial start = {0, value, dot(n, gradient, direction)}, found = start;
    ray r = {n, objective, ctx, x, direction, x_new, g_new, 0};
    int outcome = WOLFE_NONE;
    if (start.slope < 0 && isfinite(start.slope)) {
      double first = h->count ? 1 : fmin(1, 1 / sqrt(dot(n, gradient, gradient)));
      status = search(&r, &start, first, o->max_evaluations, &found, &outcome);
      report->evaluations += r.evaluations;
      if (status) return status;
    }
    if (outcome != WOLFE_OK) {
      if (h->count == 0) {
        report->stop = MICA_LBFGS_ROUNDING;
        return MICA_OK;
      }
      h->count = h->next = 0;
      continue;
    }
    remember(h, x, x_new, gradient, g_new);
    double drop = (value - found.value) / fmax(1, fmax(fabs(value), fabs(found.value)));
    memcpy(x, x_new, (size_t)n * sizeof *x);
    memcpy(gradient, g_new, (size_t)n * sizeof *x);
    value = report->value = found.value;
    report->gradient_max = max_abs(n, gradient);
    report->iterations++;
    if (o->progress && o->progress(o->progress_ctx, "minimising", report->iterations, 0))
      return mica_fail(MICA_ERR_CANCELLED, "minimisation cancelled after %lld iterations",
                       (long long)report->iterations);
    if (report->gradient_max > o->gradient_tol && o->value_tol > 0 && drop <= o->value_tol) {
      report->stop = MICA_LBFGS_VALUE;
      return MICA_OK;
    }
  }
  return MICA_OK;
}

mica_status mica_lbfgs(int64_t n, double *x, mica_objective_fn objective, void *ctx,
                       const mica_lbfgs_options *options, mica_lbfgs_report *report) {
  static const mica_lbfgs_options defaults = MICA_LBFGS_OPTIONS;
  const mica_lbfgs_options *o = options ? options : &defaults;
  mica_lbfgs_report unused;
  if (!report) report = &unused;
  *report = (mica_lbfgs_report){0};
  if (n < 1 || o->memory < 1)
    return mica_fail(MICA_ERR_INVALID,
                     "minimisation: %lld variables and memory %d, expected at least 1",
                     (long long)n, o->memory);
  if (n > INT64_MAX / (int64_t)sizeof(double) / (2 * (int64_t)o->memory + 4))
    return mica_fail(MICA_ERR_MEMORY, "minimisation: %lld variables do not fit in memory",
                     (long long)n);
  size_t m = (size_t)o->memory, vectors = 2 * m + 4;
  double *block = mica_calloc(vectors * (size_t)n + 2 * m, sizeof *block);
  if (!block) return MICA_ERR_MEMORY;
  history h = {.n = n, .capacity = o->memory};
  h.s = block;
  h.y = block + m * (size_t)n;
  h.rho = block + vectors * (size_t)n;
  h.alpha = h.rho + m;
  mica_status status = iterate(&h, x, block + 2 * m * (size_t)n, objective, ctx, o, report);
  mica_free(block);
  return status;
}

const char *mica_lbfgs_stop_text(mica_lbfgs_stop stop) {
  switch (stop) {
  case MICA_LBFGS_GRADIENT: return "gradient tolerance reached";
  case MICA_LBFGS_VALUE: return "value tolerance reached";
  case MICA_LBFGS_ROUNDING: return "at the limit of rounding";
  case MICA_LBFGS_ITERATIONS: return "iteration limit reached before convergence";
  }
  return "unknown";
}
