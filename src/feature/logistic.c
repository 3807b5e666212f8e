/* Multinomial logistic regression by L-BFGS.
 *
 * Minimises (1 / (C N)) |W|^2 / 2 + (1 / N) sum_i w_i loss_i: scikit-learn's objective divided by C
 * N, so that the tolerance means the same for any amount of data. The intercept is not penalised.
 * Two classes have one weight vector (the sigmoid form), more have one each. Classes without
 * examples get no weights and a bias of minus infinity: probability zero.
 *
 * Rows are centred (harmless beside a free intercept, and far better conditioned) and, with
 * `standardise`, scaled to unit variance while they are read; the fitted weights are folded back,
 * so predicting knows nothing of it. Memory: (2 * 10 + 5) K D doubles for the solver, and at most
 * 16 partial gradients of K D doubles, fewer when they would exceed 128 MB.
 */
#include "feature/linear_head.h"
#include "numeric/chunks.h"
#include "numeric/lbfgs.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  uint32_t size;
  double C, tol, reject;
  int64_t max_iter;
  bool intercept, standardise;
  int32_t class_weight;
} options;

enum { WEIGHT_NONE, WEIGHT_BALANCED, block_rows = 128 };

static const mica_option option_table[] = {
    {"C", MICA_OPTION_FLOAT, "1", 1e-12, 1e12, NULL,
     "inverse strength of the L2 penalty, as in scikit-learn", offsetof(options, C)},
    {"max_iter", MICA_OPTION_INT, "500", 1, 1000000, NULL, "limit on L-BFGS iterations",
     offsetof(options, max_iter)},
    {"tol", MICA_OPTION_FLOAT, "1e-6", 1e-14, 1, NULL,
     "stop when no element of the mean loss's gradient is larger", offsetof(options, tol)},
    {"intercept", MICA_OPTION_BOOL, "true", 0, 0, NULL, "fit a bias, which is not penalised",
     offsetof(options, intercept)},
    {"standardise", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "scale every feature to unit variance before the penalty", offsetof(options, standardise)},
    {"class_weight", MICA_OPTION_CHOICE, "none", 0, 0, "none|balanced",
     "balanced: every class counts the same", offsetof(options, class_weight)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"; needs held-out rows",
     offsetof(options, reject)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct {
  const mica_engine *engine;
  const options *o;
  const mica_view *x;
  const int64_t *label;
  int64_t n, d, k;            /* k: free weight vectors */
  int64_t present;            /* classes with examples; k is 1 when present is 2 */
  const int64_t *place;       /* [classes] rank among the present classes */
  const double *weight;       /* [classes] of a row of this class */
  const double *mean, *scale; /* [D]; scale NULL: 1 */
  const double *point;        /* [k, D] weights, then [k] biases */
  int64_t chunks;
  double *gradient; /* [chunks, k (D + 1)] */
  double *loss;     /* [chunks] */
} problem;

static void load(const problem *p, int64_t begin, int64_t end, double *rows) {
  mica_rows_load(p->x, begin, end, p->mean, rows);
  for (int64_t i = 0; p->scale && i < end - begin; i++)
    for (int64_t j = 0; j < p->d; j++) rows[i * p->d + j] *= p->scale[j];
}

/* Loss of one row; its logits become the weighted residual (probability minus truth). */
static double residual(const problem *p, int64_t row, double *logit) {
  int64_t truth = p->place[p->label[row]],
          first = p->present - p->k; /* class `first` owns logit 0 */
  double weight = p->weight[p->label[row]];
  double top = first ? 0 : -INFINITY;
  for (int64_t c = 0; c < p->k; c++) top = fmax(top, logit[c]);
  double own = truth < first ? 0 : logit[truth - first];
  double sum = first ? exp(-top) : 0;
  for (int64_t c = 0; c < p->k; c++) sum += exp(logit[c] - top);
  for (int64_t c = 0; c < p->k; c++)
    logit[c] = weight * (exp(logit[c] - top) / sum - (c + first == truth));
  return weight * (top + log(sum) - own);
}

static mica_status gradient_chunk(void *ctx, int64_t chunk, void *scratch) {
  const problem *p = ctx;
  int64_t n = p->n, d = p->d, k = p->k;
  int64_t begin = n / p->chunks * chunk + n % p->chunks * chunk / p->chunks;
  int64_t end = n / p->chunks * (chunk + 1) + n % p->chunks * (chunk + 1) / p->chunks;
  double *rows = scratch, *logit = rows + block_rows * d;
  double *gradient = p->gradient + chunk * k * (d + 1), loss = 0;
  const double *bias = p->point + k * d;
  memset(gradient, 0, (size_t)(k * (d + 1)) * sizeof *gradient);
  for (int64_t from = begin; from < end; from += block_rows) {
    int64_t to = from + block_rows < end ? from + block_rows : end, m = to - from;
    load(p, from, to, rows);
    mica_status status =
        mica_gemm(p->engine, MICA_F64, false, true, m, k, d, 1, rows, d, p->point, d, 0, logit, k);
    if (status) return status;
    for (int64_t i = 0; i < m; i++) {
      for (int64_t c = 0; c < k; c++) logit[i * k + c] += bias[c];
      loss += residual(p, from + i, logit + i * k);
      for (int64_t c = 0; c < k; c++) gradient[k * d + c] += logit[i * k + c];
    }
    status =
        mica_gemm(p->engine, MICA_F64, true, false, k, d, m, 1, logit, k, rows, d, 1, gradient, d);
    if (status) return status;
  }
  p->loss[chunk] = loss;
  return MICA_OK;
}

static mica_status objective(void *ctx, const double *x, double *value, double *gradient) {
  problem *p = ctx;
  int64_t size = p->k * (p->d + 1), weights = p->k * p->d;
  p->point = x;
  mica_status status =
      mica_chunks_run(p->engine, p->chunks, (size_t)(block_rows * (p->d + p->k)) * sizeof(double),
                      gradient_chunk, p);
  if (status) return status;
  double n = (double)p->n, penalty = 1 / (p->o->C * n), loss = 0;
  for (int64_t c = 0; c < p->chunks; c++) loss += p->loss[c];
  for (int64_t i = 0; i < size; i++) {
    double sum = 0;
    for (int64_t c = 0; c < p->chunks; c++) sum += p->gradient[c * size + i];
    gradient[i] = sum / n + (i < weights ? penalty * x[i] : 0);
    if (i >= weights && !p->o->intercept) gradient[i] = 0;
  }
  *value = loss / n + 0.5 * penalty * mica_sum_squares(x, weights);
  return MICA_OK;
}

/* Means (zero without an intercept: centring would then change the problem) and inverse deviations.
 * A constant column is left as it is. */
static mica_status prepare_columns(const mica_engine *engine, const options *o, const mica_view *x,
                                   double *mean, double *scale) {
  int64_t d = mica_rows_d(x);
  mica_moments m;
  mica_status status = mica_moments_begin(&m, d, false);
  if (!status) status = mica_moments_add(engine, &m, x);
  for (int64_t j = 0; j < d && !status; j++) {
    double deviation = sqrt(m.square[j] / (double)m.n);
    mean[j] = o->intercept ? m.mean[j] : 0;
    scale[j] = deviation > 1e-12 * fabs(m.mean[j]) ? 1 / deviation : 1;
  }
  mica_moments_end(&m);
  return status;
}

/* Undo centring and scaling: W' = W scale, b' = b - W' mean. */
static void fold_back(const problem *p, int64_t classes, const double *x, mica_linear_head *head) {
  int64_t first = p->present - p->k;
  for (int64_t c = 0; c < classes; c++) {
    int64_t place = p->place[c];
    if (place < 0) head->bias[c] = -INFINITY;
    if (place < first) continue;
    const double *from = x + (place - first) * p->d;
    double *to = head->weight + c * p->d;
    for (int64_t j = 0; j < p->d; j++) to[j] = p->scale ? from[j] * p->scale[j] : from[j];
    head->bias[c] = x[p->k * p->d + place - first] - mica_dot(to, p->mean, p->d);
  }
}

static mica_status solve(problem *p, const mica_fit_data *data, double *x,
                         mica_fit_report *report) {
  mica_lbfgs_options o = MICA_LBFGS_OPTIONS;
  mica_lbfgs_report r;
  o.max_iterations = (int32_t)p->o->max_iter;
  o.gradient_tol = p->o->tol;
  o.progress = data->progress;
  o.progress_ctx = data->progress_ctx;
  mica_status status = mica_lbfgs(p->k * (p->d + 1), x, objective, p, &o, &r);
  if (status) return status;
  report->iterations = r.iterations;
  report->objective = r.value;
  report->converged = r.stop != MICA_LBFGS_ITERATIONS;
  if (!report->converged)
    snprintf(report->note, sizeof report->note,
             "stopped after %lld iterations with a gradient of %.2g: raise max_iter or standardise",
             (long long)r.iterations, r.gradient_max);
  return MICA_OK;
}

/* place and weight of every class; the number of classes with examples. */
static int64_t count_classes(const options *o, const mica_fit_data *data, int64_t n, int64_t *place,
                             double *weight) {
  int64_t present = 0;
  memset(place, 0, (size_t)data->classes * sizeof *place);
  for (int64_t i = 0; i < n; i++) place[data->label[i]]++;
  for (int64_t c = 0; c < data->classes; c++) present += place[c] > 0;
  int64_t next = 0;
  for (int64_t c = 0; c < data->classes; c++) {
    weight[c] = o->class_weight == WEIGHT_BALANCED && place[c]
                    ? (double)n / ((double)present * (double)place[c])
                    : 1;
    place[c] = place[c] ? next++ : -1;
  }
  return present;
}

static mica_status fit_present(problem *p, const mica_fit_data *data, mica_fit_report *report,
                               mica_linear_head *head) {
  int64_t size = p->k * (p->d + 1);
  p->chunks = 1 + p->n / 512 < 16 ? 1 + p->n / 512 : 16;
  while (p->chunks > 1 && p->chunks * size > (128 << 20) / 8) p->chunks--;
  double *x = mica_calloc((size_t)(size * (p->chunks + 1) + p->chunks), sizeof *x);
  if (!x) return MICA_ERR_MEMORY;
  p->gradient = x + size;
  p->loss = p->gradient + p->chunks * size;
  mica_status status = solve(p, data, x, report);
  if (!status) fold_back(p, data->classes, x, head);
  mica_free(x);
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  const options *o = given;
  int64_t n = mica_rows_n(&data->x), d = mica_rows_d(&data->x);
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  double *columns = mica_malloc((size_t)(2 * d + data->classes) * sizeof *columns);
  int64_t *place = mica_malloc((size_t)data->classes * sizeof *place);
  mica_linear_head *head = NULL;
  mica_status status = columns && place ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_linear_head_create(d, data->classes, &head);
  if (!status) status = prepare_columns(engine, o, &data->x, columns, columns + d);
  if (!status) {
    problem p = {.engine = engine,
                 .o = o,
                 .x = &data->x,
                 .label = data->label,
                 .n = n,
                 .d = d,
                 .place = place,
                 .weight = columns + 2 * d,
                 .mean = columns,
                 .scale = o->standardise ? columns + d : NULL};
    p.present = count_classes(o, data, n, place, columns + 2 * d);
    p.k = p.present == 2 ? 1 : p.present;
    status = p.present < 2 ? mica_fail(MICA_ERR_INVALID,
                                       "logistic: examples of one class only, expected two or more")
                           : fit_present(&p, data, report, head);
  }
  mica_free(columns);
  mica_free(place);
  if (status)
    mica_linear_head_free(head);
  else
    *state = head;
  return status;
}

/* One minus the largest probability (Hendrycks and Gimpel, 2017). */
static double unsure(const double *score, int64_t classes) {
  double top = -INFINITY, sum = 0;
  for (int64_t c = 0; c < classes; c++) top = fmax(top, score[c]);
  for (int64_t c = 0; c < classes; c++) sum += exp(score[c] - top);
  return 1 - 1 / sum;
}

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  (void)o;
  return mica_linear_head_predict(engine, state, x, unsure, out);
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_PROBABILITIES,
    .rejection = rejection,
    .fit = fit,
    .free = mica_linear_head_free,
    .predict = predict,
    .save = mica_linear_head_save,
    .load = mica_linear_head_load,
    .linear = mica_linear_head_linear,
};

extern const mica_component mica_component_estimator_logistic;
const mica_component mica_component_estimator_logistic = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "logistic",
    "multinomial logistic regression (L-BFGS)",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
