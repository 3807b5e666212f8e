/* Naive Bayes: features are independent given the class. Fitted in one pass, in closed form.
 *
 * distribution=gaussian, variance=shared (Zheng et al. 2023): one diagonal variance for all
 * classes, score_k(x) = log pi_k - (1/2) sum_j (x_j - mu_kj)^2 / v_j,   v_j = sum_k pi_k v_kj,
 * which is a linear classifier: W_k = mu_k / v, b_k = log pi_k - (1/2) sum_j mu_kj^2 / v_j, the
 * term in x^2 being the same for all. variance=class keeps v_kj, with its log-determinant:
 * quadratic, and in need of many examples a class. Variances are biased (divided by the class's
 * count) plus eps.
 *
 * multinomial: counts, score_k(x) = log pi_k + sum_j x_j log theta_kj. complement: its weights from
 * all other classes, without priors (Rennie et al. 2003). bernoulli: of x_j > threshold.
 *
 * All of them are made from three mergeable statistics: each class's count, mean and variance, so
 * data may come in any number of pieces, and a piece may lack classes.
 */
#include "feature/class_scores.h"
#include "feature/linear_head.h"
#include "feature/record.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"

#include <math.h>
#include <string.h>

enum { GAUSSIAN, MULTINOMIAL, COMPLEMENT, BERNOULLI };
enum { SHARED, EACH_CLASS };
enum { block_rows = 64, block_columns = 64 };

typedef struct options {
  uint32_t size;
  int32_t distribution, variance, priors;
  double eps, smoothing, threshold;
} options;

static const mica_option option_table[] = {
    {"distribution", MICA_OPTION_CHOICE, "gaussian", 0, 0,
     "gaussian|multinomial|complement|bernoulli", "of a feature in a class",
     offsetof(options, distribution)},
    {"variance", MICA_OPTION_CHOICE, "shared", 0, 0, "shared|class",
     "gaussian: one variance of a feature for all classes, or one for each",
     offsetof(options, variance)},
    {"priors", MICA_OPTION_CHOICE, "counts", 0, 0, "counts|uniform", "of the classes",
     offsetof(options, priors)},
    {"eps", MICA_OPTION_FLOAT, "1e-9", 0, 1e12, NULL, "gaussian: added to every variance",
     offsetof(options, eps)},
    {"smoothing", MICA_OPTION_FLOAT, "1", 1e-12, 1e6, NULL,
     "multinomial, complement, bernoulli: added to every count", offsetof(options, smoothing)},
    {"threshold", MICA_OPTION_FLOAT, "0", -1e300, 1e300, NULL, "bernoulli: larger values are 1",
     offsetof(options, threshold)},
    {0}};

/* What is kept, and the scores' constants made from it. */
typedef struct bayes {
  int64_t d, classes;
  double *count;            /* [classes] */
  double *mean;             /* [classes, D], of the indicator for bernoulli */
  double *variance;         /* [classes, D] without eps; gaussian only, else zeros */
  double *inverse;          /* gaussian: [D] or [classes, D] 1 / v */
  double *constant;         /* gaussian: [classes] what is not quadratic in x */
  mica_linear_head *linear; /* NULL for variance=class */
} bayes;

static void free_state(void *state) {
  bayes *s = state;
  if (!s) return;
  mica_free(s->count);
  mica_free(s->mean);
  mica_free(s->variance);
  mica_free(s->inverse);
  mica_free(s->constant);
  mica_linear_head_free(s->linear);
  mica_free(s);
}

/* Zero rows of every class. */
static mica_status create(const options *o, int64_t d, int64_t classes, bayes **out) {
  bayes *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  *s = (bayes){.d = d, .classes = classes};
  const size_t k = (size_t)classes, all = k * (size_t)d;
  const bool each = o->distribution == GAUSSIAN && o->variance == EACH_CLASS;
  s->count = mica_calloc(k, sizeof(double));
  s->mean = mica_calloc(all, sizeof(double));
  s->variance = mica_calloc(all, sizeof(double));
  s->inverse = mica_calloc(each ? all : (size_t)d, sizeof(double));
  s->constant = mica_calloc(k, sizeof(double));
  mica_status status =
      s->count && s->mean && s->variance && s->inverse && s->constant ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && !each) status = mica_linear_head_create(d, classes, &s->linear);
  if (status == MICA_OK)
    *out = s;
  else
    free_state(s);
  return status;
}

/* ---- statistics ---- */

typedef struct pass {
  const options *o;
  const mica_view *x;
  const int64_t *label;
  bayes *s;
} pass;

/* Two passes over some of the columns, so that nothing cancels. */
static mica_status count_columns(void *ctx, int64_t chunk, void *scratch) {
  const pass *p = ctx;
  const bayes *s = p->s;
  const int64_t n = mica_rows_n(p->x), begin = chunk * block_columns;
  const int64_t width = begin + block_columns < s->d ? block_columns : s->d - begin;
  const mica_view columns = mica_rows_columns(p->x, begin, begin + width);
  double *row = scratch;
  for (int twice = 0; twice < (p->o->distribution == GAUSSIAN ? 2 : 1); twice++) {
    for (int64_t i = 0; i < n; i++) {
      const int64_t at = p->label[i] * s->d + begin;
      mica_rows_load(&columns, i, i + 1, NULL, row);
      for (int64_t j = 0; j < width; j++) {
        if (p->o->distribution == BERNOULLI) row[j] = row[j] > p->o->threshold;
        if (p->o->distribution != GAUSSIAN && row[j] < 0)
          return mica_fail(MICA_ERR_INVALID,
                           "naive_bayes: feature %lld of row %lld is %g, expected counts of 0 or "
                           "more",
                           (long long)(begin + j), (long long)i, row[j]);
        const double difference = row[j] - s->mean[at + j];
        if (twice)
          s->variance[at + j] += difference * difference;
        else
          s->mean[at + j] += row[j];
      }
    }
    /* Sums become means; the second pass is about those. */
    for (int64_t c = 0; c < s->classes; c++)
      for (int64_t j = begin; j < begin + width && s->count[c] > 0; j++)
        (twice ? s->variance : s->mean)[c * s->d + j] /= s->count[c];
  }
  return MICA_OK;
}

static mica_status gather(const mica_engine *engine, const options *o, const mica_view *x,
                          const int64_t *label, bayes *s) {
  pass p = {o, x, label, s};
  for (int64_t i = 0; i < mica_rows_n(x); i++) s->count[label[i]]++;
  return mica_chunks_run(engine, mica_chunks_of(s->d, block_columns),
                         block_columns * sizeof(double), count_columns, &p);
}

/* s becomes the statistics of both (Chan, Golub and LeVeque 1979). */
static void merge(bayes *s, const bayes *more) {
  for (int64_t c = 0; c < more->classes; c++) {
    const double n = s->count[c], m = more->count[c], all = n + m;
    if (m == 0) continue;
    for (int64_t j = c * s->d; j < (c + 1) * s->d; j++) {
      const double apart = s->mean[j] - more->mean[j];
      s->mean[j] = (n * s->mean[j] + m * more->mean[j]) / all;
      s->variance[j] =
          (n * s->variance[j] + m * more->variance[j] + n * m / all * apart * apart) / all;
    }
    s->count[c] = all;
  }
}

/* ---- from statistics to scores ---- */

static double log_prior(const options *o, const bayes *s, int64_t c, double rows, int64_t present) {
  if (s->count[c] == 0) return -INFINITY;
  return o->priors ? -log((double)present) : log(s->count[c] / rows);
}

/* The head of a class without examples: never chosen. */
static void empty_class(bayes *s, int64_t c) {
  for (int64_t j = 0; j < s->d; j++) s->linear->weight[c * s->d + j] = 0;
  s->linear->bias[c] = -INFINITY;
}

static void gaussian_shared(const options *o, bayes *s, double rows) {
  for (int64_t j = 0; j < s->d; j++) {
    double pooled = 0;
    for (int64_t c = 0; c < s->classes; c++)
      pooled += s->count[c] / rows * (s->variance[c * s->d + j] + o->eps);
    s->inverse[j] = 1 / pooled;
  }
  for (int64_t c = 0; c < s->classes; c++) {
    const double *mean = s->mean + c * s->d;
    double sum = 0;
    for (int64_t j = 0; j < s->d; j++) {
      s->linear->weight[c * s->d + j] = mean[j] * s->inverse[j];
      sum += mean[j] * mean[j] * s->inverse[j];
    }
    s->linear->bias[c] = s->constant[c] - 0.5 * sum;
    if (s->count[c] == 0) empty_class(s, c);
  }
}

static void gaussian_each(const options *o, bayes *s) {
  for (int64_t c = 0; c < s->classes; c++)
    for (int64_t j = 0; j < s->d; j++) {
      const double v = s->variance[c * s->d + j] + o->eps;
      s->inverse[c * s->d + j] = 1 / v;
      s->constant[c] -= 0.5 * log(2 * 3.14159265358979323846 * v);
    }
}

static void multinomial(const options *o, bayes *s) {
  for (int64_t c = 0; c < s->classes; c++) {
    double total = o->smoothing * (double)s->d;
    for (int64_t j = 0; j < s->d; j++) total += s->count[c] * s->mean[c * s->d + j];
    for (int64_t j = 0; j < s->d; j++)
      s->linear->weight[c * s->d + j] =
          log((s->count[c] * s->mean[c * s->d + j] + o->smoothing) / total);
    s->linear->bias[c] = s->constant[c];
    if (s->count[c] == 0) empty_class(s, c);
  }
}

static void complement(const options *o, bayes *s) {
  double all = 0;
  /* s->inverse holds the features' sums over all classes meanwhile. */
  for (int64_t j = 0; j < s->d; j++) {
    s->inverse[j] = 0;
    for (int64_t c = 0; c < s->classes; c++) s->inverse[j] += s->count[c] * s->mean[c * s->d + j];
    all += s->inverse[j];
  }
  for (int64_t c = 0; c < s->classes; c++) {
    double total = all + o->smoothing * (double)s->d;
    for (int64_t j = 0; j < s->d; j++) total -= s->count[c] * s->mean[c * s->d + j];
    for (int64_t j = 0; j < s->d; j++) {
      const double others = s->inverse[j] - s->count[c] * s->mean[c * s->d + j];
      s->linear->weight[c * s->d + j] = -log((others + o->smoothing) / total);
    }
    s->linear->bias[c] = 0;
    if (s->count[c] == 0) empty_class(s, c);
  }
}

static void bernoulli(const options *o, bayes *s) {
  for (int64_t c = 0; c < s->classes; c++) {
    s->linear->bias[c] = s->constant[c];
    for (int64_t j = 0; j < s->d; j++) {
      const double p =
          (s->count[c] * s->mean[c * s->d + j] + o->smoothing) / (s->count[c] + 2 * o->smoothing);
      s->linear->weight[c * s->d + j] = log(p) - log1p(-p);
      s->linear->bias[c] += log1p(-p);
    }
    if (s->count[c] == 0) empty_class(s, c);
  }
}

/* The constants of the scores. */
static mica_status finish(const options *o, bayes *s) {
  double rows = 0;
  int64_t present = 0;
  for (int64_t c = 0; c < s->classes; c++) {
    rows += s->count[c];
    present += s->count[c] > 0;
  }
  for (int64_t c = 0; c < s->classes; c++) s->constant[c] = log_prior(o, s, c, rows, present);
  switch (o->distribution) {
  case MULTINOMIAL: multinomial(o, s); break;
  case COMPLEMENT: complement(o, s); break;
  case BERNOULLI: bernoulli(o, s); break;
  default:
    if (o->variance == SHARED)
      gaussian_shared(o, s, rows);
    else
      gaussian_each(o, s);
  }
  const double *v = s->inverse;
  const int64_t n = o->distribution != GAUSSIAN ? 0
                    : o->variance == SHARED     ? s->d
                                                : s->classes * s->d;
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(v[i]))
      return mica_fail(MICA_ERR_NUMERIC,
                       "naive_bayes: feature %lld does not vary and eps is 0: raise eps",
                       (long long)(i % s->d));
  return MICA_OK;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  (void)report;
  bayes *s = NULL;
  mica_status status = create(given, mica_rows_d(&data->x), data->classes, &s);
  if (status == MICA_OK) status = gather(engine, given, &data->x, data->label, s);
  if (status == MICA_OK) status = finish(given, s);
  if (status != MICA_OK) {
    free_state(s);
    return status;
  }
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  *state = s;
  return MICA_OK;
}

/* ---- more data, and a class more ---- */

/* A copy with room for `classes`, so that a failure leaves the old one as it was. */
static mica_status grown(const options *o, const bayes *s, int64_t classes, bayes **out) {
  bayes *more;
  const mica_status status = create(o, s->d, classes, &more);
  if (status != MICA_OK) return status;
  memcpy(more->count, s->count, (size_t)s->classes * sizeof(double));
  memcpy(more->mean, s->mean, (size_t)(s->classes * s->d) * sizeof(double));
  memcpy(more->variance, s->variance, (size_t)(s->classes * s->d) * sizeof(double));
  *out = more;
  return MICA_OK;
}

static mica_status take(const mica_engine *engine, const options *o, bayes *s, const mica_view *x,
                        const int64_t *label, int64_t classes) {
  bayes *next = NULL, *piece = NULL;
  if (classes < s->classes) classes = s->classes;
  mica_status status = grown(o, s, classes, &next);
  if (status == MICA_OK) status = create(o, s->d, classes, &piece);
  if (status == MICA_OK) status = gather(engine, o, x, label, piece);
  if (status == MICA_OK) {
    merge(next, piece);
    status = finish(o, next);
  }
  free_state(piece);
  if (status == MICA_OK) {
    const bayes old = *s;
    *s = *next;
    *next = old;
  }
  free_state(next);
  return status;
}

static mica_status update(const mica_engine *engine, const void *o, void *state,
                          const mica_fit_data *data, mica_fitted *fitted) {
  bayes *s = state;
  const mica_status status = take(engine, o, s, &data->x, data->label, data->classes);
  if (status == MICA_OK) fitted->classes = fitted->outputs = s->classes;
  return status;
}

static mica_status add_class(const mica_engine *engine, const void *o, void *state,
                             const mica_view *x, mica_fitted *fitted) {
  bayes *s = state;
  const int64_t n = mica_rows_n(x);
  int64_t *label = mica_calloc((size_t)n, sizeof *label);
  if (!label) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) label[i] = s->classes;
  const mica_status status = take(engine, o, s, x, label, s->classes + 1);
  mica_free(label);
  if (status == MICA_OK) fitted->classes = fitted->outputs = s->classes;
  return status;
}

/* ---- prediction ---- */

typedef struct scoring {
  const options *o;
  const bayes *s;
  const mica_view *x;
  double *score;
} scoring;

/* The joint log-density by its definition: the linear form loses digits where a variance is tiny.
 */
static mica_status score_block(void *ctx, int64_t chunk, void *scratch) {
  const scoring *p = ctx;
  const bayes *s = p->s;
  const int64_t n = mica_rows_n(p->x), begin = chunk * block_rows;
  const int64_t end = begin + block_rows < n ? begin + block_rows : n;
  double *row = scratch;
  for (int64_t i = begin; i < end; i++) {
    mica_rows_load(p->x, i, i + 1, NULL, row);
    for (int64_t j = 0; j < s->d && p->o->distribution == BERNOULLI; j++)
      row[j] = row[j] > p->o->threshold;
    for (int64_t c = 0; c < s->classes; c++) {
      const double *mean = s->mean + c * s->d;
      double sum = 0;
      if (p->o->distribution != GAUSSIAN) {
        sum = s->linear->bias[c] + mica_dot(row, s->linear->weight + c * s->d, s->d);
      } else if (s->count[c] == 0) {
        sum = -INFINITY;
      } else {
        const double *inverse = s->inverse + (p->o->variance == SHARED ? 0 : c * s->d);
        for (int64_t j = 0; j < s->d; j++)
          sum += (row[j] - mean[j]) * (row[j] - mean[j]) * inverse[j];
        sum = s->constant[c] - 0.5 * sum;
      }
      p->score[i * s->classes + c] = sum;
    }
  }
  return MICA_OK;
}

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const bayes *s = state;
  const int64_t n = mica_rows_n(x);
  double *own, *score = mica_scores_begin(n, s->classes, out, &own);
  if (!score) return MICA_ERR_MEMORY;
  scoring p = {o, s, x, score};
  const mica_status status = mica_chunks_run(engine, mica_chunks_of(n, block_rows),
                                             (size_t)s->d * sizeof(double), score_block, &p);
  if (status == MICA_OK) mica_scores_answer(n, s->classes, 1, score, out);
  mica_free(own);
  return status;
}

static mica_status linear(const void *given, const void *state, double *weight, double *bias) {
  const options *o = given;
  const bayes *s = state;
  if (!s->linear || o->distribution == BERNOULLI)
    return mica_fail(MICA_ERR_UNSUPPORTED, "naive_bayes: %s is not linear in the features",
                     s->linear ? "distribution=bernoulli" : "variance=class");
  return mica_linear_head_linear(given, s->linear, weight, bias);
}

/* ---- records ---- */

static mica_status save(const void *state, mica_record *record) {
  const bayes *s = state;
  const mica_shape shape = MICA_SHAPE(s->classes, s->d);
  mica_status status = mica_record_put_f64(record, "count", MICA_SHAPE(s->classes), s->count);
  if (status == MICA_OK) status = mica_record_put_f64(record, "mean", shape, s->mean);
  if (status == MICA_OK) status = mica_record_put_f64(record, "variance", shape, s->variance);
  return status;
}

static mica_status load(const mica_engine *engine, const void *o, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)engine;
  bayes *s = NULL;
  const mica_shape shape = MICA_SHAPE(fitted->classes, fitted->features);
  mica_status status = create(o, fitted->features, fitted->classes, &s);
  if (status == MICA_OK) status = mica_record_take_counts(record, s->classes, s->count);
  if (status == MICA_OK) status = mica_record_take_f64(record, "mean", shape, false, s->mean);
  if (status == MICA_OK)
    status = mica_record_take_f64(record, "variance", shape, false, s->variance);
  double rows = 0;
  for (int64_t c = 0; status == MICA_OK && c < s->classes; c++) rows += s->count[c];
  for (int64_t i = 0; status == MICA_OK && i < s->classes * s->d; i++)
    if (s->variance[i] < 0)
      status = mica_fail(MICA_ERR_FORMAT, "estimator record: a variance below 0");
  if (status == MICA_OK && !(rows > 0))
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: naive_bayes of no rows");
  if (status == MICA_OK) status = finish(o, s);
  if (status == MICA_OK)
    *state = s;
  else
    free_state(s);
  return status;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_ADDS_CLASSES |
                 MICA_ESTIMATOR_PROBABILITIES | MICA_ESTIMATOR_UPDATES,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .add_class = add_class,
    .save = save,
    .load = load,
    .update = update,
    .linear = linear,
};

extern const mica_component mica_component_estimator_naive_bayes;
const mica_component mica_component_estimator_naive_bayes = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "naive_bayes",
    "naive Bayes: Gaussian (shared or own variances), multinomial, complement, Bernoulli",
    "discriminative-generative",
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
