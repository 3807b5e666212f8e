/* k nearest neighbours: the training rows are the model.
 *
 * Class scores are the neighbours' votes: equal, by inverse distance, or softmax(-distance /
 * temperature). The anomaly score is the distance to the k-th neighbour (Sun et al. 2022),
 * calibrated leave-one-out on at most 1,024 evenly spaced training rows. Adding a class appends
 * rows. Memory: the features as given (float32 or float64) and 8 bytes a row.
 */
#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/distance.h"
#include "numeric/rows.h"

#include <math.h>
#include <string.h>

typedef struct {
  uint32_t size;
  int64_t k;
  int32_t metric, weights;
  double temperature, reject;
} options;

enum { COSINE, EUCLIDEAN };
enum { UNIFORM, DISTANCE, SOFTMAX };
enum { calibration_rows = 1024 };

static const mica_option option_table[] = {
    {"k", MICA_OPTION_INT, "5", 1, 10000, NULL, "neighbours that vote", offsetof(options, k)},
    {"metric", MICA_OPTION_CHOICE, "cosine", 0, 0, "cosine|euclidean", "distance between rows",
     offsetof(options, metric)},
    {"weights", MICA_OPTION_CHOICE, "uniform", 0, 0, "uniform|distance|softmax",
     "votes: equal, inverse distance, or softmax of -distance / temperature",
     offsetof(options, weights)},
    {"temperature", MICA_OPTION_FLOAT, "0.07", 1e-6, 1e6, NULL, "of the softmax",
     offsetof(options, temperature)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"", offsetof(options, reject)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct {
  int64_t classes;
  mica_tensor *x; /* [N, D] */
  int64_t *label; /* [N] */
} neighbours;

static void free_state(void *state) {
  neighbours *s = state;
  if (!s) return;
  mica_tensor_free(s->x);
  mica_free(s->label);
  mica_free(s);
}

static double distance_of(const options *o, double d) {
  return o->metric == COSINE ? d : sqrt(d);
}

static mica_status find(const mica_engine *engine, const options *o, const neighbours *s,
                        const mica_view *x, int64_t k, const int64_t *skip, int64_t *index,
                        double *distance) {
  mica_view own = mica_tensor_view(s->x);
  mica_status status = mica_nearest_rows(
      engine, o->metric == COSINE ? MICA_METRIC_COSINE : MICA_METRIC_EUCLIDEAN_SQUARED, x, &own, k,
      skip, index, distance);
  for (int64_t i = 0; i < mica_rows_n(x) * k && !status; i++)
    distance[i] = distance_of(o, distance[i]);
  return status;
}

/* ---- votes ---- */

/* Weights of one row's neighbours: those found, nearest first. */
static void weigh(const options *o, int64_t k, const int64_t *index, const double *distance,
                  double *weight) {
  for (int64_t j = 0; j < k; j++) {
    weight[j] = index[j] < 0 ? 0 : 1;
    if (index[j] < 0 || o->weights == UNIFORM) continue;
    /* Neighbours at distance zero outvote all others. */
    if (o->weights == DISTANCE)
      weight[j] = distance[0] > 0 ? 1 / distance[j] : distance[j] == 0;
    else
      weight[j] = exp((distance[0] - distance[j]) / o->temperature);
  }
}

static void vote(const neighbours *s, int64_t k, const int64_t *index, const double *weight,
                 double *share) {
  double sum = 0;
  memset(share, 0, (size_t)s->classes * sizeof *share);
  for (int64_t j = 0; j < k; j++) {
    if (index[j] < 0) continue;
    share[s->label[index[j]]] += weight[j];
    sum += weight[j];
  }
  for (int64_t c = 0; c < s->classes; c++) share[c] /= sum;
}

static mica_status predict(const mica_engine *engine, const void *given, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const options *o = given;
  const neighbours *s = state;
  int64_t n = mica_rows_n(x), rows = mica_tensor_dim(s->x, 0), k = o->k < rows ? o->k : rows;
  int64_t *index = mica_malloc((size_t)(n * k) * sizeof *index);
  double *distance = mica_malloc((size_t)(n * k + k + s->classes) * sizeof *distance);
  mica_status status = index && distance ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = find(engine, o, s, x, k, NULL, index, distance);
  for (int64_t i = 0; i < n && !status; i++) {
    double *weight = distance + n * k, *share = weight + k;
    weigh(o, k, index + i * k, distance + i * k, weight);
    vote(s, k, index + i * k, weight, share);
    if (out->label) mica_best_class(1, s->classes, share, out->label + i);
    if (out->score) memcpy(out->score + i * s->classes, share, (size_t)s->classes * sizeof *share);
    if (out->probability)
      memcpy(out->probability + i * s->classes, share, (size_t)s->classes * sizeof *share);
    if (out->anomaly) out->anomaly[i] = distance[i * k + k - 1];
  }
  mica_free(index);
  mica_free(distance);
  return status;
}

/* ---- fit ---- */

/* Distances to the k-th other row, of evenly spaced training rows. */
static mica_status calibrate(const mica_engine *engine, const options *o, const neighbours *s,
                             mica_fitted *fitted) {
  mica_view all = mica_tensor_view(s->x);
  int64_t n = mica_rows_n(&all), d = mica_rows_d(&all),
          m = n < calibration_rows ? n : calibration_rows;
  int64_t k = o->k < n - 1 ? o->k : n - 1;
  if (k < 1) return MICA_OK;
  size_t bytes = (size_t)d * mica_dtype_size(all.dtype);
  char *rows = mica_malloc((size_t)m * bytes);
  int64_t *index = mica_malloc((size_t)(m * (k + 1)) * sizeof *index);
  double *distance = mica_malloc((size_t)(m * k) * sizeof *distance);
  double *score = mica_malloc((size_t)m * sizeof *score);
  mica_status status = rows && index && distance && score ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    int64_t *skip = index + m * k;
    for (int64_t i = 0; i < m; i++) {
      skip[i] = (int64_t)((double)i * (double)n / (double)m);
      memcpy(rows + (size_t)i * bytes, (const char *)all.data + (size_t)skip[i] * bytes, bytes);
    }
    mica_view x = mica_view_of(rows, all.dtype, MICA_SHAPE(m, d));
    status = find(engine, o, s, &x, k, skip, index, distance);
    for (int64_t i = 0; i < m; i++) score[i] = distance[i * k + k - 1];
  }
  mica_free(rows);
  mica_free(index);
  mica_free(distance);
  if (status)
    mica_free(score);
  else
    fitted->calibration = score, fitted->calibration_count = m;
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  (void)report;
  int64_t n = mica_rows_n(&data->x);
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  neighbours *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->classes = data->classes;
  s->label = mica_malloc((size_t)n * sizeof *s->label);
  mica_status status =
      s->label ? mica_tensor_from_view(&data->x, data->x.dtype, &s->x) : MICA_ERR_MEMORY;
  if (!status) {
    memcpy(s->label, data->label, (size_t)n * sizeof *s->label);
    status = calibrate(engine, given, s, fitted);
  }
  if (status)
    free_state(s);
  else
    *state = s;
  return status;
}

static mica_status add_class(const mica_engine *engine, const void *given, void *state,
                             const mica_view *x, mica_fitted *fitted) {
  neighbours *s = state;
  int64_t old = mica_tensor_dim(s->x, 0), d = mica_tensor_dim(s->x, 1), more = mica_rows_n(x);
  mica_dtype dtype = mica_tensor_dtype(s->x);
  neighbours next = {.classes = s->classes + 1};
  next.label = mica_malloc((size_t)(old + more) * sizeof *next.label);
  mica_status status =
      next.label ? mica_tensor_create(dtype, MICA_SHAPE(old + more, d), &next.x) : MICA_ERR_MEMORY;
  if (!status) {
    size_t bytes = (size_t)(old * d) * mica_dtype_size(dtype);
    char *data = mica_tensor_data(next.x);
    memcpy(data, mica_tensor_data(s->x), bytes);
    mica_view tail = mica_view_of(data + bytes, dtype, MICA_SHAPE(more, d));
    status = mica_view_copy(&tail, x);
    memcpy(next.label, s->label, (size_t)old * sizeof *next.label);
    for (int64_t i = 0; i < more; i++) next.label[old + i] = s->classes;
  }
  if (!status) status = calibrate(engine, given, &next, fitted);
  if (status) {
    mica_tensor_free(next.x);
    mica_free(next.label);
    return status;
  }
  mica_tensor_free(s->x);
  mica_free(s->label);
  *s = next;
  fitted->classes = fitted->outputs = s->classes;
  return MICA_OK;
}

/* ---- record ---- */

static mica_status save(const void *state, mica_record *record) {
  const neighbours *s = state;
  mica_status status = mica_record_put(record, "rows", s->x);
  if (status) return status;
  return mica_record_put_i64(record, "label", MICA_SHAPE(mica_tensor_dim(s->x, 0)), s->label);
}

static mica_status load(const mica_engine *engine, const void *o, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)o;
  const mica_tensor *x = mica_record_get(record, "rows");
  if (!x) return mica_fail(MICA_ERR_FORMAT, "estimator record: knn needs a tensor \"rows\"");
  mica_view view = mica_tensor_view(x);
  mica_status status = mica_rows_check(&view, "tensor \"rows\"");
  if (!status) status = mica_rows_check_finite(engine, &view, "tensor \"rows\"");
  if (status || mica_rows_d(&view) != fitted->features || mica_rows_n(&view) < 1)
    return mica_fail(MICA_ERR_FORMAT,
                     "estimator record: tensor \"rows\" is no feature matrix of %lld columns",
                     (long long)fitted->features);
  neighbours *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->classes = fitted->classes;
  s->label = mica_malloc((size_t)mica_rows_n(&view) * sizeof *s->label);
  status = s->label ? mica_tensor_from_view(&view, view.dtype, &s->x) : MICA_ERR_MEMORY;
  if (!status)
    status = mica_record_take_i64(record, "label", MICA_SHAPE(mica_rows_n(&view)), 0,
                                  s->classes - 1, s->label);
  if (status)
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

extern const mica_component mica_component_estimator_knn;
const mica_component mica_component_estimator_knn = {MICA_COMPONENT_HEAD,
                                                     MICA_KIND_ESTIMATOR,
                                                     "knn",
                                                     "k nearest neighbours",
                                                     NULL,
                                                     option_table,
                                                     sizeof(options),
                                                     MICA_NEED_FEATURES | MICA_NEED_LABELS,
                                                     MICA_NEED_LOGITS,
                                                     &functions};
