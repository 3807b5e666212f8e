/* k nearest neighbours: the training rows are the model.
 *
 * Class scores are the neighbours' votes: equal, by inverse distance, or softmax(-distance /
 * temperature), or the sum of their similarities, as landmarks are recognised (Weyand et al. 2020).
 * Rows of a class `background`, pictures of nothing that is known, vote for nothing: the mean
 * similarity of the k nearest of them is taken off the scores, which then say how sure an answer is
 * also where most questions show nothing known. The anomaly score is the distance to the k-th
 * neighbour (Sun et al. 2022), calibrated leave-one-out on at most 1,024 evenly spaced training
 * rows. Adding a class appends rows. Memory: the features as given (float32 or float64) and 8 bytes
 * a row.
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
  int64_t background;
} options;

enum { COSINE, EUCLIDEAN };
enum { UNIFORM, DISTANCE, SOFTMAX, SIMILARITY };
enum { calibration_rows = 1024 };

static const mica_option option_table[] = {
    {"k", MICA_OPTION_INT, "5", 1, 10000, NULL, "neighbours that vote", offsetof(options, k)},
    {"metric", MICA_OPTION_CHOICE, "cosine", 0, 0, "cosine|euclidean", "distance between rows",
     offsetof(options, metric)},
    {"weights", MICA_OPTION_CHOICE, "uniform", 0, 0, "uniform|distance|softmax|similarity",
     "votes: equal, inverse distance, softmax of -distance / temperature, or cosines, whose sums "
     "are "
     "the scores",
     offsetof(options, weights)},
    {"temperature", MICA_OPTION_FLOAT, "0.07", 1e-6, 1e6, NULL, "of the softmax",
     offsetof(options, temperature)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"", offsetof(options, reject)},
    {"background", MICA_OPTION_INT, "-1", -1, INT32_MAX, NULL,
     "similarity: the class of what shows nothing known; -1: none", offsetof(options, background)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct {
  int64_t classes;
  mica_tensor *x;          /* [N, D] */
  int64_t *label;          /* [N] */
  mica_tensor *background; /* [M, D] rows that are of no class, NULL: none */
} neighbours;

static void free_state(void *state) {
  neighbours *s = state;
  if (!s) return;
  mica_tensor_free(s->x);
  mica_tensor_free(s->background);
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
    if (o->weights == SIMILARITY) {
      weight[j] = 1 - distance[j];
      continue;
    }
    /* Neighbours at distance zero outvote all others. */
    if (o->weights == DISTANCE)
      weight[j] = distance[0] > 0 ? 1 / distance[j] : distance[j] == 0;
    else
      weight[j] = exp((distance[0] - distance[j]) / o->temperature);
  }
}

/* Sums of each class's votes, and of all. */
static double vote(const neighbours *s, int64_t k, const int64_t *index, const double *weight,
                   double *share) {
  double sum = 0;
  memset(share, 0, (size_t)s->classes * sizeof *share);
  for (int64_t j = 0; j < k; j++) {
    if (index[j] < 0) continue;
    share[s->label[index[j]]] += weight[j];
    sum += weight[j];
  }
  return sum;
}

/* The mean cosine of each row's k nearest of the background, [N]. */
static mica_status background_of(const mica_engine *engine, const options *o, const neighbours *s,
                                 const mica_view *x, double *mean) {
  const mica_view rows = mica_tensor_view(s->background);
  const int64_t n = mica_rows_n(x), k = o->k < mica_rows_n(&rows) ? o->k : mica_rows_n(&rows);
  int64_t *index = mica_malloc((size_t)(n * k) * sizeof *index);
  double *distance = mica_malloc((size_t)(n * k) * sizeof *distance);
  mica_status status = index && distance ? mica_nearest_rows(engine, MICA_METRIC_COSINE, x, &rows,
                                                             k, NULL, index, distance)
                                         : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mean[i] = 0;
    for (int64_t j = 0; j < k; j++) mean[i] += (1 - distance[i * k + j]) / (double)k;
  }
  mica_free(index);
  mica_free(distance);
  return status;
}

/* Shares without the negative ones; all alike where none is left. */
static void to_probabilities(int64_t classes, double *p) {
  double sum = 0;
  for (int64_t c = 0; c < classes; c++) sum += p[c] = fmax(p[c], 0);
  for (int64_t c = 0; c < classes; c++) p[c] = sum > 0 ? p[c] / sum : 1 / (double)classes;
}

static mica_status predict(const mica_engine *engine, const void *given, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const options *o = given;
  const neighbours *s = state;
  int64_t n = mica_rows_n(x), rows = mica_tensor_dim(s->x, 0), k = o->k < rows ? o->k : rows;
  int64_t *index = mica_malloc((size_t)(n * k) * sizeof *index);
  double *distance = mica_malloc((size_t)(n * k + k + s->classes + n) * sizeof *distance);
  mica_status status = index && distance ? MICA_OK : MICA_ERR_MEMORY;
  double *weight = distance + n * k, *share = weight + k, *nothing = share + s->classes;
  if (!status) status = find(engine, o, s, x, k, NULL, index, distance);
  if (!status && s->background) status = background_of(engine, o, s, x, nothing);
  for (int64_t i = 0; i < n && !status; i++) {
    weigh(o, k, index + i * k, distance + i * k, weight);
    const double sum = vote(s, k, index + i * k, weight, share);
    const double off = s->background ? nothing[i] : 0;
    int64_t best;
    mica_best_class(1, s->classes, share, &best);
    if (out->label) out->label[i] = best;
    for (int64_t c = 0; c < s->classes; c++) {
      if (out->score)
        out->score[i * s->classes + c] = o->weights == SIMILARITY ? share[c] - off : share[c] / sum;
      /* Opposite neighbours have cosines below 0: they vote for nothing here. */
      if (out->probability) out->probability[i * s->classes + c] = sum > 0 ? share[c] / sum : 0;
    }
    if (out->probability && (!(sum > 0) || o->weights == SIMILARITY))
      to_probabilities(s->classes, out->probability + i * s->classes);
    if (out->anomaly)
      out->anomaly[i] = o->weights == SIMILARITY ? off - share[best] : distance[i * k + k - 1];
  }
  mica_free(index);
  mica_free(distance);
  return status;
}

/* ---- fit ---- */

/* Minus the largest sum of similarities, less the background's. */
static mica_status calibrate_sums(const mica_engine *engine, const options *o, const neighbours *s,
                                  const mica_view *x, int64_t k, const int64_t *index,
                                  const double *distance, double *score) {
  double *weight = mica_malloc((size_t)(k + s->classes) * sizeof *weight);
  if (!weight) return MICA_ERR_MEMORY;
  double *share = weight + k;
  mica_status status = s->background ? background_of(engine, o, s, x, score) : MICA_OK;
  for (int64_t i = 0; i < mica_rows_n(x) && !status; i++) {
    int64_t best;
    weigh(o, k, index + i * k, distance + i * k, weight);
    (void)vote(s, k, index + i * k, weight, share);
    mica_best_class(1, s->classes, share, &best);
    score[i] = (s->background ? score[i] : 0) - share[best];
  }
  mica_free(weight);
  return status;
}

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
    if (!status && o->weights == SIMILARITY)
      status = calibrate_sums(engine, o, s, &x, k, index, distance, score);
    else
      for (int64_t i = 0; i < m && !status; i++) score[i] = distance[i * k + k - 1];
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

/* The rows of classes, and those of the background apart. */
static mica_status keep_rows(const options *o, const mica_fit_data *data, neighbours *s) {
  const int64_t n = mica_rows_n(&data->x), d = mica_rows_d(&data->x);
  const mica_dtype dtype = data->x.dtype;
  int64_t apart = 0, to[2] = {0, 0};
  for (int64_t i = 0; i < n; i++) apart += data->label[i] == o->background;
  if (apart == n) return mica_fail(MICA_ERR_INVALID, "knn: all rows are background");
  if (o->background >= 0 && (o->weights != SIMILARITY || o->metric != COSINE))
    return mica_fail(MICA_ERR_INVALID,
                     "knn: a background needs weights=similarity and metric=cosine");
  mica_status status = mica_tensor_create(dtype, MICA_SHAPE(n - apart, d), &s->x);
  if (!status && apart) status = mica_tensor_create(dtype, MICA_SHAPE(apart, d), &s->background);
  for (int64_t i = 0; i < n && !status; i++) {
    const bool off = data->label[i] == o->background;
    mica_view from = data->x;
    from.data = (char *)from.data + (size_t)(i * from.row_stride) * mica_dtype_size(dtype);
    from.shape.dim[0] = 1;
    char *base = mica_tensor_data(off ? s->background : s->x);
    mica_view row = mica_view_of(base + (size_t)(to[off]++ * d) * mica_dtype_size(dtype), dtype,
                                 MICA_SHAPE(1, d));
    status = mica_view_copy(&row, &from);
    if (!off) s->label[to[0] - 1] = data->label[i];
  }
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
  mica_status status = s->label ? keep_rows(given, data, s) : MICA_ERR_MEMORY;
  if (!status) status = calibrate(engine, given, s, fitted);
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
  neighbours next = {.classes = s->classes + 1, .background = s->background};
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
  if (!status && s->background) status = mica_record_put(record, "background", s->background);
  if (status) return status;
  return mica_record_put_i64(record, "label", MICA_SHAPE(mica_tensor_dim(s->x, 0)), s->label);
}

/* The named feature matrix of the record, of as many columns as the fit had. */
static mica_status take_rows(const mica_engine *engine, const mica_fitted *fitted,
                             const mica_record *record, const char *name, mica_tensor **out) {
  const mica_tensor *x = mica_record_get(record, name);
  if (!x) return mica_fail(MICA_ERR_FORMAT, "estimator record: knn needs a tensor \"%s\"", name);
  mica_view view = mica_tensor_view(x);
  mica_status status = mica_rows_check(&view, name);
  if (!status) status = mica_rows_check_finite(engine, &view, name);
  if (status || mica_rows_d(&view) != fitted->features || mica_rows_n(&view) < 1)
    return mica_fail(MICA_ERR_FORMAT,
                     "estimator record: tensor \"%s\" is no feature matrix of %lld columns", name,
                     (long long)fitted->features);
  return mica_tensor_from_view(&view, view.dtype, out);
}

static mica_status load(const mica_engine *engine, const void *o, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)o;
  neighbours *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->classes = fitted->classes;
  mica_status status = take_rows(engine, fitted, record, "rows", &s->x);
  if (!status && mica_record_has(record, "background"))
    status = take_rows(engine, fitted, record, "background", &s->background);
  const int64_t n = status ? 0 : mica_tensor_dim(s->x, 0);
  s->label = mica_malloc((size_t)n * sizeof *s->label + 1);
  if (!status && !s->label) status = MICA_ERR_MEMORY;
  if (!status)
    status = mica_record_take_i64(record, "label", MICA_SHAPE(n), 0, s->classes - 1, s->label);
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
