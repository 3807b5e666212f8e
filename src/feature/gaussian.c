/* Gaussian anomaly detection and classification on frozen features.
 *
 * One class (Rippel, Mertens and Merhof 2020): every level, a range of columns such as one block's
 * pooled activations, has a mean and a Ledoit-Wolf covariance; a row's score is the mean (or the
 * sum) over levels of its Mahalanobis distances. Each class: class means and one shared covariance
 * a level. The logit of class c is the predictive density of a Gaussian whose mean is known from m
 * examples,
 *   -(1/2) sum_levels distance_c^2 / (1 + 1/m) - (K/2) log(1 + 1/m),
 * equal priors; the anomaly score is the mean distance to the chosen class, over sqrt(1 + 1/m). A
 * class is added from its examples' mean alone.
 *
 * The threshold for a rate comes from leave-one-out distances, or with law=chi2 (one level) from
 * the chi-square law that squared distances of Gaussian data follow. Fit in float64. Memory: 32 d^2
 * bytes for the widest level and 8 (d + k) bytes a row.
 */
#include "feature/gaussian.h"

#include "feature/class_scores.h"
#include "feature/levels.h"
#include "feature/record.h"
#include "numeric/moments.h"
#include "numeric/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef mica_gaussian_options options;

static const mica_option option_table[] = {
    {"levels", MICA_OPTION_INTS, "", 1, 1e9, NULL,
     "columns of each level, in order; empty: all columns are one level",
     offsetof(options, levels)},
    {"classes", MICA_OPTION_CHOICE, "auto", 0, 0, "auto|one|each",
     "one Gaussian, or a mean for each class and a shared covariance; auto: each when there are "
     "labels of two",
     offsetof(options, classes)},
    {"distance", MICA_OPTION_CHOICE, "mahalanobis", 0, 0, "mahalanobis|standardised|euclidean",
     "standardised: by each column's deviation", offsetof(options, distance)},
    {"reducer", MICA_OPTION_CHOICE, "none", 0, 0, "none|pca|npca",
     "keep the principal components with the most variance, or those with the least",
     offsetof(options, reducer)},
    {"variance", MICA_OPTION_FLOAT, "0.99", 0, 1, NULL, "share of variance where the reducer cuts",
     offsetof(options, variance)},
    {"keep_null", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "npca: keep components without variance too, whose direction is arbitrary",
     offsetof(options, keep_null)},
    {"law", MICA_OPTION_CHOICE, "quantile", 0, 0, "quantile|chi2",
     "threshold from leave-one-out distances, or from the chi-square law (one level)",
     offsetof(options, law)},
    {"reject", MICA_OPTION_FLOAT, "0.05", 0, 0.999, NULL,
     "share of normal rows that may be called anomalous", offsetof(options, reject)},
    {"sigma", MICA_OPTION_FLOAT, "0", 0, 37, NULL,
     "that share as what lies outside so many deviations of a normal variable; 0: reject says it",
     offsetof(options, sigma)},
    {"combine", MICA_OPTION_CHOICE, "mean", 0, 0, "mean|sum",
     "what is made of the distances by level; both rank alike", offsetof(options, combine)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  const options *given = o;
  return given->sigma > 0 ? mica_sigma_share(given->sigma) : given->reject;
}

typedef struct {
  int64_t levels, classes, room;
  bool each;
  double *count; /* [room] */
  mica_gaussian_level *level;
} gaussian;

static void free_state(void *state) {
  gaussian *s = state;
  if (!s) return;
  for (int64_t l = 0; s->level && l < s->levels; l++) mica_gaussian_level_end(&s->level[l]);
  mica_free(s->level);
  mica_free(s->count);
  mica_free(s);
}

/* Levels without contents, from the options. */
static mica_status create(const options *o, int64_t d, int64_t classes, bool each, gaussian **out) {
  mica_status status = mica_levels_check(&o->levels, d, "gaussian");
  if (status) return status;
  gaussian *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  *s = (gaussian){
      .levels = mica_levels_count(&o->levels), .classes = classes, .room = classes, .each = each};
  s->level = mica_calloc((size_t)s->levels, sizeof *s->level);
  s->count = mica_calloc((size_t)classes, sizeof *s->count);
  if (!s->level || !s->count) {
    free_state(s);
    return MICA_ERR_MEMORY;
  }
  int64_t begin = 0;
  for (int64_t l = 0; l < s->levels; l++) {
    const int64_t width = mica_levels_width(&o->levels, l, d);
    s->level[l] = (mica_gaussian_level){.begin = begin, .d = width, .k = width};
    begin += width;
  }
  *out = s;
  return MICA_OK;
}

/* ---- fit ---- */

static double inflation(const gaussian *s, double count) {
  return s->each && count > 0 ? 1 + 1 / count : 1;
}

/* What one level adds to the combined distance. */
static double weight_of(const options *o, const gaussian *s) {
  return o->combine == MICA_GAUSSIAN_SUM ? 1 : 1 / (double)s->levels;
}

/* Leave-one-out distances of all rows that have one, combined over levels, and of one class by
 * level too. */
static mica_status fit_levels(const mica_engine *engine, const options *o, gaussian *s,
                              const mica_fit_data *data, mica_fitted *fitted) {
  int64_t n = mica_rows_n(&data->x), usable = 0;
  const int64_t *group = s->each ? data->label : NULL;
  double *own = mica_malloc((size_t)(2 * n) * sizeof *own);
  double *by_level =
      s->each ? NULL : mica_malloc((size_t)(n * s->levels) * sizeof *fitted->level_calibration);
  if (!own || (!s->each && !by_level)) {
    mica_free(own);
    mica_free(by_level);
    return MICA_ERR_MEMORY;
  }
  double *level = own + n;
  memset(own, 0, (size_t)n * sizeof *own);
  mica_status status = MICA_OK;
  for (int64_t l = 0; l < s->levels && !status; l++) {
    status = mica_gaussian_fit_level(engine, o, &data->x, group, s->classes, s->count, &s->level[l],
                                     level);
    for (int64_t i = 0; i < n && !status; i++) {
      own[i] = level[i] < 0 || own[i] < 0 ? -1 : own[i] + level[i] * weight_of(o, s);
      if (by_level) by_level[i * s->levels + l] = level[i];
    }
    if (data->progress && !status &&
        data->progress(data->progress_ctx, "fitting levels", l + 1, s->levels))
      status = mica_fail(MICA_ERR_CANCELLED, "gaussian: cancelled");
  }
  for (int64_t i = 0; i < n && !status; i++) {
    if (own[i] < 0) continue;
    double count = s->count[group ? group[i] : 0];
    if (by_level)
      memmove(by_level + usable * s->levels, by_level + i * s->levels,
              (size_t)s->levels * sizeof *by_level);
    own[usable++] = own[i] / sqrt(inflation(s, count - 1));
  }
  if (status) {
    mica_free(own);
    mica_free(by_level);
    return status;
  }
  fitted->calibration = own;
  fitted->calibration_count = usable;
  fitted->level_calibration = by_level;
  return MICA_OK;
}

static void describe(const options *o, const gaussian *s, mica_fit_report *report) {
  size_t at = 0, room = sizeof report->note;
  for (int64_t l = 0; l < s->levels && l < MICA_LIST_MAX; l++) {
    const mica_gaussian_level *v = &s->level[l];
    report->level[report->levels++] = (mica_fit_level){v->d, v->first, v->k, v->rho};
  }
  if (o->distance != MICA_GAUSSIAN_MAHALANOBIS) return;
  for (int64_t l = 0; l < s->levels && at + 48 < room; l++)
    at += (size_t)snprintf(report->note + at, room - at,
                           "%s%lld of %lld dimensions, shrinkage %.3g", l ? "; " : "",
                           (long long)s->level[l].k, (long long)s->level[l].d, s->level[l].rho);
}

static bool labels_differ(const mica_fit_data *data) {
  for (int64_t i = 1; i < mica_rows_n(&data->x); i++)
    if (data->label[i] != data->label[0]) return true;
  return false;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  const options *o = given;
  int64_t n = mica_rows_n(&data->x), present = 0;
  bool full = o->distance == MICA_GAUSSIAN_MAHALANOBIS;
  bool each = data->label && (o->classes == MICA_GAUSSIAN_EACH ||
                              (o->classes == MICA_GAUSSIAN_AUTO && full && labels_differ(data)));
  if (o->classes == MICA_GAUSSIAN_EACH && (!data->label || !full))
    return mica_fail(MICA_ERR_INVALID,
                     "gaussian: classes=each needs labels and the Mahalanobis distance");
  if (o->law == MICA_GAUSSIAN_CHI2 && (o->levels.n > 1 || !full))
    return mica_fail(MICA_ERR_INVALID,
                     "gaussian: law=chi2 holds for one level of Mahalanobis distances");
  gaussian *s;
  mica_status status = create(o, mica_rows_d(&data->x), each ? data->classes : 1, each, &s);
  if (status) return status;
  for (int64_t i = 0; i < n; i++) s->count[each ? data->label[i] : 0] += 1;
  for (int64_t c = 0; c < s->classes; c++) present += s->count[c] > 0;
  if (n <= present)
    status = mica_fail(MICA_ERR_INVALID, "gaussian: %lld rows of %lld classes have no covariance",
                       (long long)n, (long long)present);
  fitted->task = each ? MICA_TASK_CLASSIFICATION : MICA_TASK_ANOMALY;
  fitted->classes = s->classes;
  fitted->outputs = each ? s->classes : s->levels;
  if (!status) status = fit_levels(engine, o, s, data, fitted);
  if (status) {
    free_state(s);
    return status;
  }
  describe(o, s, report);
  *state = s;
  return MICA_OK;
}

/* ---- prediction ---- */

/* distance [N, classes] += squared distances of a level. */
static mica_status add_squares(const mica_engine *engine, const mica_gaussian_level *level,
                               int64_t classes, const mica_view *x, double *w, double *square) {
  mica_status status = mica_gaussian_whiten(engine, level, x, w);
  for (int64_t i = 0; i < mica_rows_n(x) && !status; i++)
    for (int64_t c = 0; c < classes; c++) {
      const double *row = w + i * level->k, *mean = level->class_mean + c * level->k;
      double sum = 0;
      for (int64_t j = 0; j < level->k; j++) sum += (row[j] - mean[j]) * (row[j] - mean[j]);
      square[i * classes + c] = sum;
    }
  return status;
}

/* One block of rows: `square` [levels, rows, classes] is filled, then read. */
static void decide(const options *o, const gaussian *s, int64_t rows, const double *square,
                   double *logit, int64_t first, const mica_prediction *out) {
  int64_t classes = s->classes, dimensions = 0;
  for (int64_t l = 0; l < s->levels; l++) dimensions += s->level[l].k;
  for (int64_t i = 0; i < rows; i++) {
    int64_t best = 0;
    for (int64_t c = 0; c < classes && s->each; c++) {
      double sum = 0, wide = inflation(s, s->count[c]);
      for (int64_t l = 0; l < s->levels; l++) sum += square[(l * rows + i) * classes + c];
      logit[c] =
          s->count[c] > 0 ? -0.5 * sum / wide - 0.5 * (double)dimensions * log(wide) : -INFINITY;
      if (logit[c] > logit[best]) best = c;
    }
    double anomaly = 0;
    for (int64_t l = 0; l < s->levels; l++) {
      double distance =
          sqrt(square[(l * rows + i) * classes + best] / inflation(s, s->count[best]));
      anomaly += distance * weight_of(o, s);
      if (out->score && !s->each) out->score[(first + i) * s->levels + l] = distance;
    }
    if (out->label) out->label[first + i] = best;
    if (out->anomaly) out->anomaly[first + i] = anomaly;
    if (out->score && s->each)
      memcpy(out->score + (first + i) * classes, logit, (size_t)classes * sizeof *logit);
    if (out->probability)
      mica_softmax_rows(1, classes, 1, logit, out->probability + (first + i) * classes);
  }
}

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const gaussian *s = state;
  enum { block_rows = 1024 };
  int64_t n = mica_rows_n(x), widest = 0, rows = n < block_rows ? n : block_rows;
  for (int64_t l = 0; l < s->levels; l++)
    if (s->level[l].k > widest) widest = s->level[l].k;
  double *w = mica_malloc_aligned((size_t)(rows * (widest + s->levels * s->classes) + s->classes) *
                                  sizeof *w);
  if (!w) return MICA_ERR_MEMORY;
  double *square = w + rows * widest, *logit = square + rows * s->levels * s->classes;
  mica_status status = MICA_OK;
  for (int64_t from = 0; from < n && !status; from += rows) {
    mica_view block = *x;
    block.shape.dim[0] = n - from < rows ? n - from : rows;
    block.data = (char *)x->data + (size_t)(from * x->row_stride) * mica_dtype_size(x->dtype);
    for (int64_t l = 0; l < s->levels && !status; l++)
      status = add_squares(engine, &s->level[l], s->classes, &block, w,
                           square + l * block.shape.dim[0] * s->classes);
    if (!status) decide(o, s, block.shape.dim[0], square, logit, from, out);
  }
  mica_free_aligned(w);
  return status;
}

static double level_threshold(const void *given, const void *state, int64_t l, double rate) {
  const options *o = given;
  const gaussian *s = state;
  if (o->distance != MICA_GAUSSIAN_MAHALANOBIS || s->each) return NAN;
  return sqrt(mica_chi2_quantile(1 - rate, (double)s->level[l].k));
}

static double threshold(const void *given, const void *state, double rate) {
  const options *o = given;
  const gaussian *s = state;
  return o->law == MICA_GAUSSIAN_CHI2 ? sqrt(mica_chi2_quantile(1 - rate, (double)s->level[0].k))
                                      : NAN;
}

/* ---- a new class ---- */

static mica_status make_room(gaussian *s) {
  if (s->classes < s->room) return MICA_OK;
  int64_t room = 2 * s->room;
  double *count = mica_realloc_array(s->count, (size_t)room, sizeof *count);
  if (!count) return MICA_ERR_MEMORY;
  s->count = count;
  for (int64_t l = 0; l < s->levels; l++) {
    mica_gaussian_level *level = &s->level[l];
    double *mean = mica_realloc_array(level->class_mean, (size_t)(room * level->k), sizeof *mean);
    if (!mean) return MICA_ERR_MEMORY;
    level->class_mean = mean;
  }
  s->room = room;
  return MICA_OK;
}

static mica_status add_class(const mica_engine *engine, const void *o, void *state,
                             const mica_view *x, mica_fitted *fitted) {
  (void)o;
  gaussian *s = state;
  int64_t d = mica_rows_d(x), n;
  mica_status status = make_room(s);
  if (status) return status;
  double *mean = mica_malloc((size_t)d * sizeof *mean);
  if (!mean) return MICA_ERR_MEMORY;
  status = mica_group_sums(engine, x, NULL, NULL, 1, mean, &n);
  for (int64_t j = 0; j < d; j++) mean[j] /= (double)mica_rows_n(x);
  mica_view row = mica_view_of(mean, MICA_F64, MICA_SHAPE(1, d));
  for (int64_t l = 0; l < s->levels && !status; l++)
    status = mica_gaussian_whiten(engine, &s->level[l], &row,
                                  s->level[l].class_mean + s->classes * s->level[l].k);
  mica_free(mean);
  if (status) return status;
  s->count[s->classes++] = (double)mica_rows_n(x);
  fitted->classes = fitted->outputs = s->classes;
  return MICA_OK;
}

/* ---- record ---- */

static mica_status save(const void *state, mica_record *record) {
  const gaussian *s = state;
  char name[48];
  mica_status status = mica_record_put_f64(record, "count", MICA_SHAPE(s->classes), s->count);
  for (int64_t l = 0; l < s->levels && !status; l++) {
    const mica_gaussian_level *v = &s->level[l];
    int64_t sizes[2] = {v->d, v->k};
    status = mica_record_put_i64(record, mica_level_name(l, "size", name), MICA_SHAPE(2), sizes);
    if (!status)
      status =
          mica_record_put_f64(record, mica_level_name(l, "mean", name), MICA_SHAPE(v->d), v->mean);
    if (!status)
      status =
          mica_record_put_f64(record, mica_level_name(l, "whiten", name),
                              v->diagonal ? MICA_SHAPE(v->d) : MICA_SHAPE(v->k, v->d), v->whiten);
    if (!status)
      status = mica_record_put_f64(record, mica_level_name(l, "class_mean", name),
                                   MICA_SHAPE(s->classes, v->k), v->class_mean);
    if (!status)
      status = mica_record_put_f64(record, mica_level_name(l, "shrinkage", name), MICA_SHAPE(1),
                                   &v->rho);
  }
  return status;
}

static mica_status load_level(const mica_record *record, int64_t l, const options *o,
                              int64_t classes, mica_gaussian_level *v) {
  char name[48];
  int64_t sizes[2];
  mica_status status =
      mica_record_take_i64(record, mica_level_name(l, "size", name), MICA_SHAPE(2), 1, v->d, sizes);
  if (status) return status;
  v->diagonal = o->distance != MICA_GAUSSIAN_MAHALANOBIS;
  if (sizes[0] != v->d || (v->diagonal && sizes[1] != v->d))
    return mica_fail(MICA_ERR_FORMAT,
                     "estimator record: level %lld has %lld columns, its options say %lld",
                     (long long)l, (long long)sizes[0], (long long)v->d);
  v->k = sizes[1];
  v->mean = mica_malloc((size_t)v->d * sizeof *v->mean);
  v->whiten = mica_calloc((size_t)v->d, (v->diagonal ? 1 : (size_t)v->k) * sizeof *v->whiten);
  v->class_mean = mica_calloc((size_t)classes, (size_t)v->k * sizeof *v->class_mean);
  if (!v->mean || !v->whiten || !v->class_mean) return MICA_ERR_MEMORY;
  status = mica_record_take_f64(record, mica_level_name(l, "mean", name), MICA_SHAPE(v->d), false,
                                v->mean);
  if (!status)
    status = mica_record_take_f64(record, mica_level_name(l, "whiten", name),
                                  v->diagonal ? MICA_SHAPE(v->d) : MICA_SHAPE(v->k, v->d), false,
                                  v->whiten);
  if (!status)
    status = mica_record_take_f64(record, mica_level_name(l, "class_mean", name),
                                  MICA_SHAPE(classes, v->k), false, v->class_mean);
  return status ? status
                : mica_record_take_f64(record, mica_level_name(l, "shrinkage", name), MICA_SHAPE(1),
                                       false, &v->rho);
}

static mica_status load(const mica_engine *engine, const void *given, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)engine;
  const options *o = given;
  bool each = fitted->task == MICA_TASK_CLASSIFICATION;
  gaussian *s;
  if ((!each && fitted->classes != 1) || (o->law == MICA_GAUSSIAN_CHI2 && o->levels.n > 1))
    return mica_fail(MICA_ERR_FORMAT, "estimator record: no such task for gaussian");
  mica_status status = create(o, fitted->features, fitted->classes, each, &s);
  if (status) return mica_fail_within("estimator record");
  if (!each && fitted->outputs != s->levels)
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: %lld outputs of %lld levels",
                       (long long)fitted->outputs, (long long)s->levels);
  if (!status) status = mica_record_take_counts(record, s->classes, s->count);
  for (int64_t l = 0; l < s->levels && !status; l++)
    status = load_level(record, l, o, s->classes, &s->level[l]);
  if (status)
    free_state(s);
  else
    *state = s;
  return status;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_ADDS_CLASSES |
                 MICA_ESTIMATOR_NO_LABELS | MICA_ESTIMATOR_PROBABILITIES,
    .rejection = rejection,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .add_class = add_class,
    .save = save,
    .load = load,
    .threshold = threshold,
    .level_threshold = level_threshold,
};

extern const mica_component mica_component_estimator_gaussian;
const mica_component mica_component_estimator_gaussian = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "gaussian",
    "Gaussian with Ledoit-Wolf covariance: anomaly score, or classes that share a covariance",
    "gaussian-anomaly",
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES,
    MICA_NEED_LOGITS,
    &functions};
