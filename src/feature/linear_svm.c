/* Linear support vector machines, one class against the rest or every two classes against each
 * other, by dual coordinate descent.
 *
 * For each machine, with y = 1 for the rows of its class and -1 for the others, minimise
 *   |w|^2 / 2 + C sum_i weight_i loss(1 - y_i w . x_i),   loss(z) = max(z, 0) or its square,
 * through its dual, one variable a row (Hsieh et al. 2008): alpha_i moves to its optimum between 0
 * and its bound while w = sum_i alpha_i y_i x_i is kept. The intercept is a further feature of
 * constant value, as in LIBLINEAR: it is penalised like a weight, less the larger `intercept` is.
 * The fit ends when the projected gradients of a whole pass lie within `tol` of each other; the
 * duality gap at the end is reported as the objective's distance from the optimum. With `bias=free`
 * the intercept is not penalised, as in LIBSVM: the dual then has sum_i alpha_i y_i = 0, and the
 * two variables that violate optimality most move together (Keerthi et al. 2001), each step reading
 * all rows: for some thousands of them.
 *
 * With `solver=primal` the squared loss is minimised as it stands, by Newton's method
 * (primal_svm.c): the same machine, sooner where there are many more rows than columns. Of several
 * costs C, cross-validation chooses the one that is right about most rows, of equals the first;
 * rows of a group stay in one fold.
 *
 * Classes are fitted side by side, each on one thread in an order of rows drawn by `seed`, so the
 * bits do not depend on the threads. Memory: 8 N (D + 1) bytes for the rows and 25 N bytes a
 * thread (primal: 56 N + 40 D).
 */
#include "base/options.h"
#include "feature/class_scores.h"
#include "feature/linear_head.h"
#include "feature/primal_svm.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  mica_floats C;
  double tol, intercept, reject;
  int32_t loss, class_weight, bias, scheme, solver;
  int64_t max_iter, seed, folds;
} options;

enum { HINGE, SQUARED_HINGE };
enum { PENALISED, FREE };
enum { AGAINST_REST, PAIRS };
enum { DUAL, PRIMAL };

static const mica_option option_table[] = {
    {"C", MICA_OPTION_FLOATS, "1", 1e-12, 1e12, NULL,
     "cost of a row on the wrong side; of several, cross-validation chooses", offsetof(options, C)},
    {"loss", MICA_OPTION_CHOICE, "squared_hinge", 0, 0, "hinge|squared_hinge", "of the margin",
     offsetof(options, loss)},
    {"tol", MICA_OPTION_FLOAT, "1e-3", 1e-12, 1, NULL,
     "stop when the projected gradients lie this close together; primal: when the gradient is this "
     "share of that at 0",
     offsetof(options, tol)},
    {"max_iter", MICA_OPTION_INT, "1000", 1, 1000000, NULL,
     "limit on passes over the rows; primal: on steps", offsetof(options, max_iter)},
    {"intercept", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL,
     "value of the feature that stands for the bias; 0: no bias", offsetof(options, intercept)},
    {"bias", MICA_OPTION_CHOICE, "penalised", 0, 0, "penalised|free",
     "free: the intercept costs nothing, for small sets", offsetof(options, bias)},
    {"scheme", MICA_OPTION_CHOICE, "ova", 0, 0, "ova|ovo",
     "one class against the rest, or every two against each other, which vote",
     offsetof(options, scheme)},
    {"class_weight", MICA_OPTION_CHOICE, "none", 0, 0, "none|balanced",
     "balanced: every class counts the same", offsetof(options, class_weight)},
    {"seed", MICA_OPTION_INT, "0", 0, 9e15, NULL, "of the order of the rows",
     offsetof(options, seed)},
    {"solver", MICA_OPTION_CHOICE, "dual", 0, 0, "dual|primal",
     "primal: of the squared loss, for many more rows than columns", offsetof(options, solver)},
    {"folds", MICA_OPTION_INT, "5", 2, 1000, NULL, "of the cross-validation that chooses C",
     offsetof(options, folds)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"; needs held-out rows",
     offsetof(options, reject)},
    {0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct problem {
  const options *o;
  double C;
  const mica_fit_data *data;
  int64_t n, d;         /* d with the intercept's feature */
  const double *x;      /* [n, d] */
  const double *square; /* [n] |x_i|^2 */
  const double *weight; /* [classes] of the class's rows */
  double *w;            /* [machines, d] */
  double *bias;         /* [machines], of a free one */
  int64_t *passes;      /* [machines] */
  double *primal, *gap; /* [machines] */
  bool *converged;      /* [machines] */
} problem;

/* Of one machine's dual: its classes, the variables, and the rows that are still looked at. */
typedef struct dual {
  int64_t positive, negative; /* negative -1: all others */
  double *alpha;
  int64_t *active;
  int64_t n, all; /* rows looked at, and rows there are */
} dual;

static int64_t machines_of(const options *o, int64_t classes) {
  return o->scheme == PAIRS ? classes * (classes - 1) / 2 : classes;
}

/* The classes of machine m: pairs in the order (0, 1), (0, 2), .. */
static void classes_of(const options *o, int64_t classes, int64_t m, int64_t *positive,
                       int64_t *negative) {
  *positive = m;
  *negative = -1;
  if (o->scheme != PAIRS) return;
  for (*positive = 0; m >= classes - 1 - *positive; ++*positive) m -= classes - 1 - *positive;
  *negative = *positive + 1 + m;
}

/* Bound of a variable, and what the squared loss adds to the diagonal. */
static double bound_of(const problem *p, double cost) {
  return p->o->loss == HINGE ? cost : INFINITY;
}
static double extra_of(const problem *p, double cost) {
  return p->o->loss == HINGE ? 0 : 0.5 / cost;
}

/* One pass in a fresh order; the range of the projected gradients. Rows that sit at a bound and
 * push beyond it are left out until the rest has converged (shrinking). */
static void pass(const problem *p, int64_t machine, mica_key key, dual *s, double limit_hi,
                 double limit_lo, double *hi, double *lo) {
  double *w = p->w + machine * p->d;
  *hi = -INFINITY;
  *lo = INFINITY;
  for (int64_t k = 0; k < s->n; k++) {
    const int64_t other = k + (int64_t)mica_random_below(key, (uint64_t)k, (uint64_t)(s->n - k));
    const int64_t i = s->active[other];
    s->active[other] = s->active[k];
    s->active[k] = i;
    const double y = p->data->label[i] == s->positive ? 1 : -1;
    const double cost = p->C * p->weight[p->data->label[i]];
    const double bound = bound_of(p, cost), extra = extra_of(p, cost);
    const double *x = p->x + i * p->d;
    const double gradient = y * mica_dot(w, x, p->d) - 1 + extra * s->alpha[i];
    double projected = gradient;
    if (s->alpha[i] <= 0) {
      if (gradient > limit_hi) {
        s->active[k--] = s->active[--s->n];
        s->active[s->n] = i;
        continue;
      }
      projected = fmin(gradient, 0);
    } else if (s->alpha[i] >= bound) {
      if (gradient < limit_lo) {
        s->active[k--] = s->active[--s->n];
        s->active[s->n] = i;
        continue;
      }
      projected = fmax(gradient, 0);
    }
    *hi = fmax(*hi, projected);
    *lo = fmin(*lo, projected);
    if (fabs(projected) <= 1e-14) continue;
    const double before = s->alpha[i];
    const double diagonal = p->square[i] + extra;
    s->alpha[i] = diagonal > 0 ? fmin(fmax(before - gradient / diagonal, 0), bound) : bound;
    const double step = (s->alpha[i] - before) * y;
    for (int64_t j = 0; j < p->d; j++) w[j] += step * x[j];
  }
}

static bool has(const dual *s, int64_t label) {
  return label == s->positive || s->negative < 0 || label == s->negative;
}

/* The primal value at w, and how far the dual is below it. */
static void values(const problem *p, int64_t machine, const dual *s, double *primal, double *gap) {
  const double *w = p->w + machine * p->d;
  const double half = 0.5 * mica_sum_squares(w, p->d);
  double loss = 0, lower = -half;
  for (int64_t i = 0; i < p->n; i++) {
    if (!has(s, p->data->label[i])) continue;
    const double y = p->data->label[i] == s->positive ? 1 : -1;
    const double cost = p->C * p->weight[p->data->label[i]];
    const double margin = fmax(0, 1 - y * (mica_dot(w, p->x + i * p->d, p->d) + p->bias[machine]));
    loss += cost * (p->o->loss == HINGE ? margin : margin * margin);
    lower += s->alpha[i] - 0.5 * extra_of(p, cost) * s->alpha[i] * s->alpha[i];
  }
  *primal = half + loss;
  *gap = *primal - lower;
}

static void descend(problem *p, int64_t machine, dual *s) {
  const mica_key key = mica_key_fold(mica_key_seed((uint64_t)p->o->seed), (uint64_t)machine);
  double limit_hi = INFINITY, limit_lo = -INFINITY;
  int64_t k = 0;
  for (; k < p->o->max_iter; k++) {
    double hi, lo;
    pass(p, machine, mica_key_fold(key, (uint64_t)k), s, limit_hi, limit_lo, &hi, &lo);
    if (!(hi - lo > p->o->tol)) {
      if (s->n == s->all) {
        p->converged[machine] = true;
        break;
      }
      /* What was left out gets a last look. */
      s->n = s->all;
      limit_hi = INFINITY;
      limit_lo = -INFINITY;
      continue;
    }
    limit_hi = hi > 0 ? hi : INFINITY;
    limit_lo = lo < 0 ? lo : -INFINITY;
  }
  p->passes[machine] = k;
}

/* What a row wants the bias to be, and whether it may still raise or lower it. */
typedef struct wish {
  double bias;
  bool up, down;
} wish;
static wish wish_of(const problem *p, const dual *s, const double *f, int64_t i) {
  const double y = p->data->label[i] == s->positive ? 1 : -1;
  const double cost = p->C * p->weight[p->data->label[i]], alpha = s->alpha[i];
  const bool below = alpha<bound_of(p, cost), above = alpha> 0;
  return (wish){y * (1 - extra_of(p, cost) * alpha) - f[i], y > 0 ? below : above,
                y > 0 ? above : below};
}

/* Pairs of variables with a free bias; f [n] is w . x. */
static void move_pairs(problem *p, int64_t machine, dual *s, double *f) {
  double *w = p->w + machine * p->d;
  const int64_t most = p->o->max_iter * (s->all > 0 ? s->all : 1);
  int64_t step = 0;
  double hi = 0, lo = 0;
  for (; step < most; step++) {
    int64_t i = -1, j = -1;
    for (int64_t k = 0; k < s->all; k++) {
      const int64_t at = s->active[k];
      const wish v = wish_of(p, s, f, at);
      if (v.up && (i < 0 || v.bias > hi)) i = at, hi = v.bias;
      if (v.down && (j < 0 || v.bias < lo)) j = at, lo = v.bias;
    }
    if (i < 0 || j < 0 || !(hi - lo > p->o->tol)) {
      p->converged[machine] = true;
      break;
    }
    const double *xi = p->x + i * p->d, *xj = p->x + j * p->d;
    const double ci = p->C * p->weight[p->data->label[i]];
    const double cj = p->C * p->weight[p->data->label[j]];
    const double yi = p->data->label[i] == s->positive ? 1 : -1;
    const double yj = p->data->label[j] == s->positive ? 1 : -1;
    const double bend = p->square[i] + p->square[j] - 2 * mica_dot(xi, xj, p->d) + extra_of(p, ci) +
                        extra_of(p, cj);
    double t = (hi - lo) / fmax(bend, 1e-12);
    t = fmin(t, yi > 0 ? bound_of(p, ci) - s->alpha[i] : s->alpha[i]);
    t = fmin(t, yj > 0 ? s->alpha[j] : bound_of(p, cj) - s->alpha[j]);
    s->alpha[i] = fmin(fmax(s->alpha[i] + yi * t, 0), bound_of(p, ci));
    s->alpha[j] = fmin(fmax(s->alpha[j] - yj * t, 0), bound_of(p, cj));
    for (int64_t k = 0; k < p->d; k++) w[k] += t * (xi[k] - xj[k]);
    for (int64_t k = 0; k < s->all; k++) {
      const double *x = p->x + s->active[k] * p->d;
      f[s->active[k]] += t * (mica_dot(x, xi, p->d) - mica_dot(x, xj, p->d));
    }
  }
  p->passes[machine] = s->all ? (step + s->all - 1) / s->all : 0;
  /* Rows on the margin say what the bias is; without one anything between will do. */
  double sum = 0;
  int64_t on = 0;
  for (int64_t k = 0; k < s->all; k++) {
    const wish v = wish_of(p, s, f, s->active[k]);
    if (v.up && v.down) sum += v.bias, on++;
  }
  p->bias[machine] = on ? sum / (double)on : (hi + lo) / 2;
}

/* The same machine by its primal; room for 2 n + 2 n + 5 d numbers. */
static void minimise(problem *p, int64_t machine, const dual *s, double *room) {
  double *y = room, *cost = y + p->n;
  for (int64_t k = 0; k < s->all; k++) {
    const int64_t label = p->data->label[s->active[k]];
    y[k] = label == s->positive ? 1 : -1;
    cost[k] = p->C * p->weight[label];
  }
  mica_primal_svm m = {.n = s->all,
                       .d = p->d,
                       .x = p->x,
                       .row = s->active,
                       .y = y,
                       .cost = cost,
                       .tol = p->o->tol,
                       .max_iter = p->o->max_iter};
  mica_primal_svm_fit(&m, p->w + machine * p->d, cost + p->n);
  p->passes[machine] = m.steps;
  p->converged[machine] = m.converged;
  p->primal[machine] = m.value;
  p->gap[machine] = m.excess;
}

static mica_status fit_machine(void *ctx, int64_t machine, void *scratch) {
  problem *p = ctx;
  dual s = {.alpha = scratch};
  double *f = s.alpha + p->n;
  s.active = (int64_t *)(void *)(f + p->n);
  classes_of(p->o, p->data->classes, machine, &s.positive, &s.negative);
  memset(scratch, 0, (size_t)p->n * 2 * sizeof(double));
  for (int64_t i = 0; i < p->n; i++)
    if (has(&s, p->data->label[i])) s.active[s.all++] = i;
  s.n = s.all;
  if (p->o->solver == PRIMAL) {
    minimise(p, machine, &s, (double *)(void *)(s.active + p->n));
    return MICA_OK;
  }
  if (p->o->bias == FREE)
    move_pairs(p, machine, &s, f);
  else
    descend(p, machine, &s);
  values(p, machine, &s, &p->primal[machine], &p->gap[machine]);
  return MICA_OK;
}

/* ---- the fit ---- */

static mica_status weigh(const options *o, const mica_fit_data *data, int64_t n, double *weight) {
  int64_t present = 0;
  for (int64_t i = 0; i < n; i++) weight[data->label[i]]++;
  for (int64_t c = 0; c < data->classes; c++) present += weight[c] > 0;
  for (int64_t c = 0; c < data->classes; c++)
    weight[c] = o->class_weight && weight[c] > 0 ? (double)n / ((double)present * weight[c]) : 1;
  if (present > 1) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID,
                   "linear_svm: examples of one class only, expected two or more");
}

static bool has_rows(const mica_fit_data *data, int64_t n, int64_t class_) {
  for (int64_t i = 0; i < n; i++)
    if (data->label[i] == class_) return true;
  return false;
}

/* A machine that lacks one of its classes: it never names it. */
static bool lacks(const problem *p, int64_t machine, double *bias) {
  int64_t positive, negative;
  classes_of(p->o, p->data->classes, machine, &positive, &negative);
  const bool first = has_rows(p->data, p->n, positive);
  const bool second = negative < 0 || has_rows(p->data, p->n, negative);
  *bias = negative < 0 ? -INFINITY : first ? 1 : -1;
  return !first || !second;
}

/* ---- the choice of a cost ---- */

/* The specification with one cost. */
static char *spec_of(const options *o, double C) {
  mica_bytes b = {0};
  options one = *o;
  one.C = (mica_floats){1, {C}};
  mica_bytes_text(&b, "linear_svm");
  for (const mica_option *row = option_table; row->name; row++) {
    mica_bytes_printf(&b, ":%s=", row->name);
    mica_option_write(&b, row, &one);
  }
  return mica_bytes_take(&b);
}

static mica_status choose(const mica_engine *engine, const options *o, const mica_fit_data *data,
                          mica_fit_report *report, double *C) {
  mica_contender c[MICA_LIST_MAX];
  char *spec[MICA_LIST_MAX] = {NULL};
  mica_fit_data rows = *data;
  mica_status status = MICA_OK;
  *C = o->C.v[0];
  if (o->C.n == 1) return MICA_OK;
  rows.held_out = NULL;
  for (int i = 0; i < o->C.n && status == MICA_OK; i++) {
    spec[i] = spec_of(o, o->C.v[i]);
    c[i] = (mica_contender)MICA_CONTENDER(spec[i]);
    if (!spec[i]) status = MICA_ERR_MEMORY;
  }
  if (status == MICA_OK)
    status = mica_cross_validate(engine, &rows, (int32_t)o->folds, (uint64_t)o->seed, 0.95, o->C.n,
                                 c, NULL);
  for (int i = 0; i < o->C.n && status == MICA_OK; i++) {
    if (c[i].status != MICA_OK) status = mica_fail(c[i].status, "%s", c[i].error);
    if (!c[i].best) continue;
    *C = report->chosen = o->C.v[i];
    snprintf(report->note, sizeof report->note, "C=%g: right about %.4g %% of the rows left out",
             *C, 100 * c[i].accuracy.value);
  }
  for (int i = 0; i < o->C.n; i++) mica_free(spec[i]);
  return status;
}

static mica_status check_options(const options *o) {
  if (!o->C.n) return mica_fail(MICA_ERR_INVALID, "linear_svm: no C");
  if (o->solver == PRIMAL && (o->loss == HINGE || o->bias == FREE))
    return mica_fail(MICA_ERR_INVALID,
                     "linear_svm: solver=primal is for loss=squared_hinge and bias=penalised");
  return MICA_OK;
}

/* Numbers of a thread's memory. */
static int64_t room_of(const problem *p) {
  return p->n * 3 + (p->o->solver == PRIMAL ? 2 * p->n + mica_primal_svm_room(p->n, p->d) : 0);
}

static mica_status run(const mica_engine *engine, problem *p, const mica_fit_data *data,
                       double intercept, mica_linear_head *head, mica_fit_report *report) {
  mica_status status =
      mica_chunks_run(engine, head->outputs, (size_t)room_of(p) * sizeof(double), fit_machine, p);
  double objective = 0, gap = 0;
  (void)data;
  for (int64_t c = 0; c < head->outputs && status == MICA_OK; c++) {
    const double *w = p->w + c * p->d;
    double bias;
    memcpy(head->weight + c * head->features, w, (size_t)head->features * sizeof *w);
    head->bias[c] = p->o->bias == FREE ? p->bias[c] : intercept > 0 ? intercept * w[p->d - 1] : 0;
    if (lacks(p, c, &bias)) {
      memset(head->weight + c * head->features, 0, (size_t)head->features * sizeof *w);
      head->bias[c] = bias;
      continue;
    }
    objective += p->primal[c];
    gap += p->gap[c];
    if (p->passes[c] > report->iterations) report->iterations = p->passes[c];
    if (!p->converged[c]) report->converged = 0;
  }
  report->objective = objective;
  if (!report->converged)
    snprintf(report->note, sizeof report->note,
             "stopped after %lld passes, %.2g %% above the optimum at most: scale the features or "
             "raise max_iter",
             (long long)report->iterations, 100 * gap / objective);
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  const options *o = given;
  const int64_t n = mica_rows_n(&data->x), own = mica_rows_d(&data->x);
  const double intercept = o->bias == FREE ? 0 : o->intercept;
  const int64_t d = own + (intercept > 0), k = data->classes, m = machines_of(o, k);
  const int64_t room = m > k ? m : k;
  double C;
  mica_status status = check_options(o);
  if (status == MICA_OK) status = choose(engine, o, data, report, &C);
  if (status != MICA_OK) return status;
  double *x = mica_calloc((size_t)(n * (d + 1)), sizeof *x);
  double *w = mica_calloc((size_t)(room * (d + 4)) + 1, sizeof *w);
  int64_t *passes = mica_calloc((size_t)m + 1, sizeof *passes);
  bool *converged = mica_calloc((size_t)m + 1, sizeof *converged);
  mica_linear_head *head = NULL;
  if (!x || !w || !passes || !converged) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = weigh(o, data, n, w + room * d);
  if (status == MICA_OK) status = mica_linear_head_create(own, m, &head);
  if (status == MICA_OK) {
    double *square = x + n * d;
    for (int64_t i = 0; i < n; i++) {
      mica_rows_load(&data->x, i, i + 1, NULL, x + i * d);
      if (intercept > 0) x[i * d + own] = intercept;
      square[i] = mica_sum_squares(x + i * d, d);
    }
    problem p = {.o = o,
                 .C = C,
                 .data = data,
                 .n = n,
                 .d = d,
                 .x = x,
                 .square = square,
                 .weight = w + room * d,
                 .w = w,
                 .passes = passes,
                 .primal = w + room * (d + 1),
                 .gap = w + room * (d + 2),
                 .bias = w + room * (d + 3),
                 .converged = converged};
    status = run(engine, &p, data, intercept, head, report);
  }
  mica_free(x);
  mica_free(w);
  mica_free(passes);
  mica_free(converged);
  if (status != MICA_OK) {
    mica_linear_head_free(head);
    return status;
  }
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = k;
  *state = head;
  return MICA_OK;
}

/* ---- the rest ---- */

/* On the far side of every class's boundary: less like what is known. */
static double outside(const double *score, int64_t classes) {
  double top = -INFINITY;
  for (int64_t c = 0; c < classes; c++) top = fmax(top, score[c]);
  return -top;
}

/* Votes of the pairs: the first class where the decision is above 0, else the second. The label is
 * the first class of the most votes. */
static mica_status vote(const mica_engine *engine, const options *o, const mica_linear_head *head,
                        const mica_view *x, mica_prediction *out) {
  const int64_t n = mica_rows_n(x), m = head->outputs;
  int64_t k = 2;
  while (k * (k - 1) / 2 < m) k++;
  double *own, *score = mica_scores_begin(n, k, out, &own);
  double *decision = score ? mica_malloc((size_t)(n * m) * sizeof *decision) : NULL;
  mica_status status =
      decision ? mica_linear_head_scores(engine, head, x, decision) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    memset(score + i * k, 0, (size_t)k * sizeof *score);
    for (int64_t p = 0; p < m; p++) {
      int64_t first, second;
      classes_of(o, k, p, &first, &second);
      score[i * k + (decision[i * m + p] > 0 ? first : second)]++;
    }
    if (out->anomaly) out->anomaly[i] = outside(score + i * k, k);
  }
  if (status == MICA_OK) mica_scores_answer(n, k, 1, score, out);
  mica_free(decision);
  mica_free(own);
  return status;
}

static mica_status predict(const mica_engine *engine, const void *given, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const options *o = given;
  if (o->scheme == PAIRS) return vote(engine, o, state, x, out);
  return mica_linear_head_predict(engine, state, x, outside, out);
}

static mica_status load(const mica_engine *engine, const void *given, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  mica_fitted machines = *fitted;
  machines.outputs = machines_of(given, fitted->classes);
  return mica_linear_head_load(engine, given, &machines, record, state);
}

static mica_status linear(const void *given, const void *state, double *weight, double *bias) {
  if (((const options *)given)->scheme == PAIRS)
    return mica_fail(MICA_ERR_UNSUPPORTED, "linear_svm: pairs that vote are no linear map");
  return mica_linear_head_linear(given, state, weight, bias);
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS,
    .rejection = rejection,
    .fit = fit,
    .free = mica_linear_head_free,
    .predict = predict,
    .save = mica_linear_head_save,
    .load = load,
    .linear = linear,
};

extern const mica_component mica_component_estimator_linear_svm;
const mica_component mica_component_estimator_linear_svm = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "linear_svm",
    "linear support vector machines, one class against the rest or in pairs",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
