/* Classes as directions: the class of the largest cosine, classes added at run time.
 *
 * A class is the mean of its rows at length 1, at length 1 again: what a network trained with
 * normalised softmax has as a class vector, so that a fit, a trained network's vectors and a class
 * that is added later all stand in one matrix. Probabilities are the softmax of scale times the
 * cosines; the anomaly score is one less the largest cosine, calibrated on the rows of the fit
 * with the row itself taken out of its class. Memory: 8 C D bytes.
 */
#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/chunks.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  uint32_t size;
  double scale, reject;
} options;

enum { block_rows = 128, calibration_rows = 4096 };

static const mica_option option_table[] = {
    {"scale", MICA_OPTION_FLOAT, "10", 1e-6, 1e6, NULL,
     "of the cosines, before the softmax that probabilities are", offsetof(options, scale)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"", offsetof(options, reject)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct {
  int64_t classes, d;
  double *vector; /* [classes, D] of length 1; 0 for a class without a direction */
} directions;

static void free_state(void *state) {
  directions *s = state;
  if (!s) return;
  mica_free(s->vector);
  mica_free(s);
}

static const mica_row_form unit = {NULL, true};

static mica_status create(int64_t classes, int64_t d, directions **out) {
  directions *s = *out = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->classes = classes;
  s->d = d;
  s->vector = mica_calloc((size_t)classes * (size_t)d, sizeof *s->vector);
  if (s->vector) return MICA_OK;
  mica_free(s);
  *out = NULL;
  return MICA_ERR_MEMORY;
}

/* A sum of unit rows to length 1; what cancels out has no direction. */
static void to_unit(double *v, int64_t d) {
  const double length = sqrt(mica_sum_squares(v, d));
  for (int64_t j = 0; j < d; j++) v[j] = length > 1e-12 ? v[j] / length : 0;
}

/* ---- cosines ---- */

typedef struct {
  const mica_engine *engine;
  const directions *s;
  const mica_view *x;
  double *score; /* [N, classes] */
} cosine_job;

static mica_status cosine_chunk(void *ctx, int64_t chunk, void *scratch) {
  const cosine_job *j = ctx;
  const directions *s = j->s;
  const int64_t n = mica_rows_n(j->x), begin = chunk * block_rows;
  const int64_t end = begin + block_rows < n ? begin + block_rows : n;
  mica_rows_load_form(j->x, begin, end, &unit, scratch);
  return mica_gemm(j->engine, MICA_F64, false, true, end - begin, s->classes, s->d, 1, scratch,
                   s->d, s->vector, s->d, 0, j->score + begin * s->classes, s->classes);
}

static mica_status cosines(const mica_engine *engine, const directions *s, const mica_view *x,
                           double *score) {
  cosine_job j = {engine, s, x, score};
  return mica_chunks_run(engine, mica_chunks_of(mica_rows_n(x), block_rows),
                         (size_t)(block_rows * s->d) * sizeof(double), cosine_chunk, &j);
}

static void scaled(double *score, int64_t n, double scale, double *anomaly, int64_t classes) {
  for (int64_t i = 0; i < n; i++, score += classes) {
    double best = -1;
    for (int64_t c = 0; c < classes; c++) {
      best = fmax(best, score[c]);
      score[c] *= scale;
    }
    if (anomaly) anomaly[i] = 1 - best;
  }
}

static mica_status predict(const mica_engine *engine, const void *given, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const options *o = given;
  const directions *s = state;
  const int64_t n = mica_rows_n(x);
  double *own, *score = mica_scores_begin(n, s->classes, out, &own);
  if (!score) return MICA_ERR_MEMORY;
  const mica_status status = cosines(engine, s, x, score);
  if (status == MICA_OK) {
    scaled(score, n, o->scale, out->anomaly, s->classes);
    mica_scores_answer(n, s->classes, 1, score, out);
  }
  mica_free(own);
  return status;
}

/* ---- fit ---- */

/* Anomaly scores of evenly spaced rows whose class has others, the row taken out of its class. */
static mica_status calibrate(const mica_engine *engine, const directions *s, const double *sum,
                             const int64_t *count, const mica_fit_data *data, mica_fitted *fitted) {
  const int64_t n = mica_rows_n(&data->x), d = s->d;
  const int64_t step = n > calibration_rows ? (n + calibration_rows - 1) / calibration_rows : 1;
  double *anomaly = mica_malloc((size_t)(n / step + 1) * sizeof *anomaly);
  double *score = mica_malloc((size_t)(s->classes + 2 * d) * sizeof *score);
  mica_status status = anomaly && score ? MICA_OK : MICA_ERR_MEMORY;
  int64_t m = 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i += step) {
    const int64_t own = data->label[i];
    double *row = score + s->classes, *rest = row + d, best = -1;
    if (count[own] < 2) continue;
    mica_rows_load_form(&data->x, i, i + 1, &unit, row);
    status = mica_gemm(engine, MICA_F64, false, true, 1, s->classes, d, 1, row, d, s->vector, d, 0,
                       score, s->classes);
    for (int64_t j = 0; j < d; j++) rest[j] = sum[own * d + j] - row[j];
    to_unit(rest, d);
    score[own] = mica_dot(row, rest, d);
    for (int64_t c = 0; c < s->classes; c++) best = fmax(best, score[c]);
    anomaly[m++] = 1 - best;
  }
  mica_free(score);
  if (status == MICA_OK && m) {
    fitted->calibration = anomaly;
    fitted->calibration_count = m;
  } else {
    mica_free(anomaly);
  }
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  (void)given, (void)report;
  const int64_t d = mica_rows_d(&data->x), classes = data->classes;
  directions *s;
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = classes;
  mica_status status = create(classes, d, &s);
  if (status != MICA_OK) return status;
  int64_t *count = mica_malloc((size_t)classes * sizeof *count);
  double *sum = mica_malloc((size_t)classes * (size_t)d * sizeof *sum);
  status = count && sum ? mica_group_sums(engine, &data->x, &unit, data->label, classes, sum, count)
                        : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    memcpy(s->vector, sum, (size_t)classes * (size_t)d * sizeof *sum);
    for (int64_t c = 0; c < classes; c++) to_unit(s->vector + c * d, d);
    status = calibrate(engine, s, sum, count, data, fitted);
  }
  mica_free(count);
  mica_free(sum);
  if (status != MICA_OK)
    free_state(s);
  else
    *state = s;
  return status;
}

static mica_status add_class(const mica_engine *engine, const void *o, void *state,
                             const mica_view *x, mica_fitted *fitted) {
  (void)o;
  directions *s = state;
  int64_t count;
  double *more =
      mica_realloc_array(s->vector, (size_t)(s->classes + 1) * (size_t)s->d, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  s->vector = more;
  double *own = more + s->classes * s->d;
  const mica_status status = mica_group_sums(engine, x, &unit, NULL, 1, own, &count);
  if (status != MICA_OK) return status;
  to_unit(own, s->d);
  fitted->classes = fitted->outputs = ++s->classes;
  return MICA_OK;
}

mica_status mica_cosine_estimator(const mica_engine *engine, const mica_view *vectors, double scale,
                                  mica_estimator **out) {
  char spec[64];
  mica_fit_data data = MICA_FIT_DATA;
  *out = NULL;
  mica_status status = mica_rows_check(vectors, "class vectors");
  if (status != MICA_OK) return status;
  const int64_t classes = mica_rows_n(vectors);
  int64_t *label = mica_malloc((size_t)classes * sizeof *label + 1);
  if (!label) return MICA_ERR_MEMORY;
  for (int64_t c = 0; c < classes; c++) label[c] = c;
  snprintf(spec, sizeof spec, "cosine:scale=%.17g", scale);
  data.x = *vectors;
  data.label = label;
  data.classes = classes;
  status = mica_estimator_create(engine, spec, out);
  if (status == MICA_OK) status = mica_estimator_fit(*out, &data, NULL);
  mica_free(label);
  if (status != MICA_OK) {
    mica_estimator_free(*out);
    *out = NULL;
  }
  return status;
}

/* ---- record ---- */

static mica_status save(const void *state, mica_record *record) {
  const directions *s = state;
  return mica_record_put_f64(record, "vector", MICA_SHAPE(s->classes, s->d), s->vector);
}

static mica_status load(const mica_engine *engine, const void *o, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)engine, (void)o;
  directions *s;
  mica_status status = create(fitted->classes, fitted->features, &s);
  if (status == MICA_OK)
    status = mica_record_take_f64(record, "vector", MICA_SHAPE(s->classes, s->d), false, s->vector);
  if (status != MICA_OK)
    free_state(s);
  else
    *state = s;
  return status;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_ADDS_CLASSES |
                 MICA_ESTIMATOR_PROBABILITIES,
    .rejection = rejection,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .add_class = add_class,
    .save = save,
    .load = load,
};

extern const mica_component mica_component_estimator_cosine;
const mica_component mica_component_estimator_cosine = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "cosine",
    "classes as directions, added at run time: the largest cosine",
    "hyperspherical",
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
