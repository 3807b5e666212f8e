/* Linear support vector machine, one class against the rest, by dual coordinate descent.
 *
 * For each class c, with y = 1 for its rows and -1 for the others, minimise
 *   |w|^2 / 2 + C sum_i weight_i loss(1 - y_i w . x_i),   loss(z) = max(z, 0) or its square,
 * through its dual, one variable a row (Hsieh et al. 2008): alpha_i moves to its optimum between 0
 * and its bound while w = sum_i alpha_i y_i x_i is kept. The intercept is a further feature of
 * constant value, as in LIBLINEAR: it is penalised like a weight, less the larger `intercept` is.
 * The fit ends when the projected gradients of a whole pass lie within `tol` of each other; the
 * duality gap at the end is reported as the objective's distance from the optimum.
 *
 * Classes are fitted side by side, each on one thread in an order of rows drawn by `seed`, so the
 * bits do not depend on the threads. Memory: 8 N (D + 1) bytes for the rows and 25 N bytes a
 * thread.
 */
#include "feature/linear_head.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  double C, tol, intercept, reject;
  int32_t loss, class_weight;
  int64_t max_iter, seed;
} options;

enum { HINGE, SQUARED_HINGE };

static const mica_option option_table[] = {
    {"C", MICA_OPTION_FLOAT, "1", 1e-12, 1e12, NULL, "cost of a row on the wrong side",
     offsetof(options, C)},
    {"loss", MICA_OPTION_CHOICE, "squared_hinge", 0, 0, "hinge|squared_hinge", "of the margin",
     offsetof(options, loss)},
    {"tol", MICA_OPTION_FLOAT, "1e-3", 1e-12, 1, NULL,
     "stop when the projected gradients lie this close together", offsetof(options, tol)},
    {"max_iter", MICA_OPTION_INT, "1000", 1, 1000000, NULL, "limit on passes over the rows",
     offsetof(options, max_iter)},
    {"intercept", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL,
     "value of the feature that stands for the bias; 0: no bias", offsetof(options, intercept)},
    {"class_weight", MICA_OPTION_CHOICE, "none", 0, 0, "none|balanced",
     "balanced: every class counts the same", offsetof(options, class_weight)},
    {"seed", MICA_OPTION_INT, "0", 0, 9e15, NULL, "of the order of the rows",
     offsetof(options, seed)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"; needs held-out rows",
     offsetof(options, reject)},
    {0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct problem {
  const options *o;
  const mica_fit_data *data;
  int64_t n, d;         /* d with the intercept's feature */
  const double *x;      /* [n, d] */
  const double *square; /* [n] |x_i|^2 */
  const double *weight; /* [classes] of the class's rows */
  double *w;            /* [classes, d] */
  int64_t *passes;      /* [classes] */
  double *primal, *gap; /* [classes] */
  bool *converged;      /* [classes] */
} problem;

/* Of one class's dual: the variables, and the rows that are still looked at. */
typedef struct dual {
  double *alpha;
  int64_t *active;
  int64_t n;
} dual;

/* Bound of a variable, and what the squared loss adds to the diagonal. */
static double bound_of(const problem *p, double cost) {
  return p->o->loss == HINGE ? cost : INFINITY;
}
static double extra_of(const problem *p, double cost) {
  return p->o->loss == HINGE ? 0 : 0.5 / cost;
}

/* One pass in a fresh order; the range of the projected gradients. Rows that sit at a bound and
 * push beyond it are left out until the rest has converged (shrinking). */
static void pass(const problem *p, int64_t class_, mica_key key, dual *s, double limit_hi,
                 double limit_lo, double *hi, double *lo) {
  double *w = p->w + class_ * p->d;
  *hi = -INFINITY;
  *lo = INFINITY;
  for (int64_t k = 0; k < s->n; k++) {
    const int64_t other = k + (int64_t)mica_random_below(key, (uint64_t)k, (uint64_t)(s->n - k));
    const int64_t i = s->active[other];
    s->active[other] = s->active[k];
    s->active[k] = i;
    const double y = p->data->label[i] == class_ ? 1 : -1;
    const double cost = p->o->C * p->weight[p->data->label[i]];
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

/* The primal value at w, and how far the dual is below it. */
static void values(const problem *p, int64_t class_, const dual *s, double *primal, double *gap) {
  const double *w = p->w + class_ * p->d;
  const double half = 0.5 * mica_sum_squares(w, p->d);
  double loss = 0, lower = -half;
  for (int64_t i = 0; i < p->n; i++) {
    const double y = p->data->label[i] == class_ ? 1 : -1;
    const double cost = p->o->C * p->weight[p->data->label[i]];
    const double margin = fmax(0, 1 - y * mica_dot(w, p->x + i * p->d, p->d));
    loss += cost * (p->o->loss == HINGE ? margin : margin * margin);
    lower += s->alpha[i] - 0.5 * extra_of(p, cost) * s->alpha[i] * s->alpha[i];
  }
  *primal = half + loss;
  *gap = *primal - lower;
}

static mica_status fit_class(void *ctx, int64_t class_, void *scratch) {
  problem *p = ctx;
  dual s = {scratch, (int64_t *)(void *)((double *)scratch + p->n), p->n};
  const mica_key key = mica_key_fold(mica_key_seed((uint64_t)p->o->seed), (uint64_t)class_);
  double limit_hi = INFINITY, limit_lo = -INFINITY;
  memset(s.alpha, 0, (size_t)p->n * sizeof *s.alpha);
  for (int64_t i = 0; i < p->n; i++) s.active[i] = i;
  int64_t k = 0;
  for (; k < p->o->max_iter; k++) {
    double hi, lo;
    pass(p, class_, mica_key_fold(key, (uint64_t)k), &s, limit_hi, limit_lo, &hi, &lo);
    if (!(hi - lo > p->o->tol)) {
      if (s.n == p->n) {
        p->converged[class_] = true;
        break;
      }
      /* What was left out gets a last look. */
      s.n = p->n;
      limit_hi = INFINITY;
      limit_lo = -INFINITY;
      continue;
    }
    limit_hi = hi > 0 ? hi : INFINITY;
    limit_lo = lo < 0 ? lo : -INFINITY;
  }
  p->passes[class_] = k;
  values(p, class_, &s, &p->primal[class_], &p->gap[class_]);
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

static mica_status run(const mica_engine *engine, problem *p, const mica_fit_data *data,
                       double intercept, mica_linear_head *head, mica_fit_report *report) {
  mica_status status =
      mica_chunks_run(engine, data->classes, (size_t)p->n * 2 * sizeof(double), fit_class, p);
  double objective = 0, gap = 0;
  for (int64_t c = 0; c < data->classes && status == MICA_OK; c++) {
    const double *w = p->w + c * p->d;
    memcpy(head->weight + c * head->features, w, (size_t)head->features * sizeof *w);
    head->bias[c] = intercept > 0 ? intercept * w[p->d - 1] : 0;
    if (!has_rows(data, p->n, c)) {
      memset(head->weight + c * head->features, 0, (size_t)head->features * sizeof *w);
      head->bias[c] = -INFINITY;
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
  const int64_t d = own + (o->intercept > 0), k = data->classes;
  double *x = mica_calloc((size_t)(n * (d + 1)), sizeof *x);
  double *w = mica_calloc((size_t)(k * (d + 3)), sizeof *w);
  int64_t *passes = mica_calloc((size_t)k, sizeof *passes);
  bool *converged = mica_calloc((size_t)k, sizeof *converged);
  mica_linear_head *head = NULL;
  mica_status status = x && w && passes && converged ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_linear_head_create(own, k, &head);
  if (status == MICA_OK) status = weigh(o, data, n, w + k * d);
  if (status == MICA_OK) {
    double *square = x + n * d;
    for (int64_t i = 0; i < n; i++) {
      mica_rows_load(&data->x, i, i + 1, NULL, x + i * d);
      if (o->intercept > 0) x[i * d + own] = o->intercept;
      square[i] = mica_sum_squares(x + i * d, d);
    }
    problem p = {.o = o,
                 .data = data,
                 .n = n,
                 .d = d,
                 .x = x,
                 .square = square,
                 .weight = w + k * d,
                 .w = w,
                 .passes = passes,
                 .primal = w + k * (d + 1),
                 .gap = w + k * (d + 2),
                 .converged = converged};
    status = run(engine, &p, data, o->intercept, head, report);
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

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  (void)o;
  return mica_linear_head_predict(engine, state, x, outside, out);
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS,
    .rejection = rejection,
    .fit = fit,
    .free = mica_linear_head_free,
    .predict = predict,
    .save = mica_linear_head_save,
    .load = mica_linear_head_load,
    .linear = mica_linear_head_linear,
};

extern const mica_component mica_component_estimator_linear_svm;
const mica_component mica_component_estimator_linear_svm = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "linear_svm",
    "linear support vector machine, one class against the rest",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
