/* An estimator on transformed features: lengths, signed powers, whitened components, and then any
 * classifier. Where a row holds several views of an example side by side, each is a training row,
 * and the decision values of an example's views are summed, or the largest taken (Razavian et al.
 * 2014).
 */
#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/rows.h"

#include <mica/transform.h>

#include <stdio.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  const char *with;
  bool l2, whiten;
  double power;
  int64_t pca, views;
  int32_t form;
} options;

static const mica_option option_table[] = {
    {"with", MICA_OPTION_SPEC, "linear_svm:C=10", 0, 0, NULL, "the classifier",
     offsetof(options, with)},
    {"l2", MICA_OPTION_BOOL, "true", 0, 0, NULL, "make rows of length 1 first",
     offsetof(options, l2)},
    {"power", MICA_OPTION_FLOAT, "1", 1e-3, 100, NULL,
     "sign(x) |x|^power, and length 1 again; 1: none", offsetof(options, power)},
    {"pca", MICA_OPTION_INT, "0", 0, 1e6, NULL,
     "principal components that are kept; 0: all columns", offsetof(options, pca)},
    {"whiten", MICA_OPTION_BOOL, "true", 0, 0, NULL, "divide components by their deviations",
     offsetof(options, whiten)},
    {"views", MICA_OPTION_INT, "1", 1, 1000, NULL, "views of an example, side by side in its row",
     offsetof(options, views)},
    {"form", MICA_OPTION_CHOICE, "sum", 0, 0, "sum|max", "of the views' decision values",
     offsetof(options, form)},
    {0}};

typedef struct transformed {
  mica_transform *transform;
  mica_estimator *inner;
  int64_t views, columns; /* columns of a view */
} transformed;

static void free_state(void *state) {
  transformed *s = state;
  if (!s) return;
  mica_transform_free(s->transform);
  mica_estimator_free(s->inner);
  mica_free(s);
}

static mica_transform_options options_of(const options *o) {
  mica_transform_options t = MICA_TRANSFORM_OPTIONS;
  t.l2 = o->l2;
  t.power = o->power;
  t.pca = o->pca;
  t.whiten = o->whiten;
  return t;
}

static mica_status create(const options *o, int64_t features, transformed **out) {
  if (features % o->views)
    return mica_fail(MICA_ERR_SHAPE, "transformed: %lld features are no %lld views",
                     (long long)features, (long long)o->views);
  transformed *s = *out = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->views = o->views;
  s->columns = features / o->views;
  return MICA_OK;
}

/* Rows of views [N views, columns], dense. */
static double *spread(const transformed *s, const mica_view *x) {
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  double *rows = mica_malloc((size_t)(n * d + 1) * sizeof *rows);
  (void)s;
  if (rows) mica_rows_load(x, 0, n, NULL, rows);
  return rows;
}

/* The same, transformed: [N views, width]. */
static mica_status prepare(const mica_engine *engine, const transformed *s, const mica_view *x,
                           double **out) {
  const int64_t m = mica_rows_n(x) * s->views;
  double *rows = spread(s, x);
  *out = mica_malloc((size_t)(m * mica_transform_width(s->transform) + 1) * sizeof **out);
  mica_status status = rows && *out ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_view v = mica_view_of(rows, MICA_F64, MICA_SHAPE(m, s->columns));
    status = mica_transform_apply(engine, s->transform, &v, *out);
  }
  mica_free(rows);
  return status;
}

static mica_status learn(const mica_engine *engine, const options *o, transformed *s,
                         const mica_view *x) {
  const mica_transform_options t = options_of(o);
  double *rows = spread(s, x);
  if (!rows) return MICA_ERR_MEMORY;
  const mica_view v =
      mica_view_of(rows, MICA_F64, MICA_SHAPE(mica_rows_n(x) * s->views, s->columns));
  const mica_status status = mica_transform_fit(engine, &t, &v, &s->transform);
  mica_free(rows);
  return status;
}

static mica_status fit_inner(const mica_engine *engine, const options *o, transformed *s,
                             const mica_fit_data *data, mica_fit_report *report) {
  const int64_t n = mica_rows_n(&data->x), m = n * s->views;
  double *rows = NULL;
  int64_t *label = mica_malloc((size_t)(2 * m + 1) * sizeof *label), *group = label + m;
  mica_status status = label ? mica_estimator_create(engine, o->with, &s->inner) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_estimator_functions *f = mica_estimator_component(s->inner)->functions;
    if (!(f->abilities & MICA_ESTIMATOR_CLASSIFIES))
      status = mica_fail(MICA_ERR_INVALID, "transformed: %s is no classifier", o->with);
  }
  if (status == MICA_OK) status = prepare(engine, s, &data->x, &rows);
  /* All views of an example are of one group. */
  for (int64_t i = 0; i < m && status == MICA_OK; i++) {
    label[i] = data->label[i / s->views];
    group[i] = data->group ? data->group[i / s->views] : i / s->views;
  }
  if (status == MICA_OK) {
    mica_fit_data inner = *data;
    mica_fit_report told = {.size = sizeof told};
    inner.x = mica_view_of(rows, MICA_F64, MICA_SHAPE(m, mica_transform_width(s->transform)));
    inner.label = label;
    inner.group = s->views > 1 || data->group ? group : NULL;
    inner.held_out = NULL;
    status = mica_estimator_fit(s->inner, &inner, &told);
    report->iterations = told.iterations;
    report->converged = told.converged;
    report->objective = told.objective;
    report->chosen = told.chosen;
    report->leave_one_out = told.leave_one_out;
    snprintf(report->note, sizeof report->note, "%s", told.note);
  }
  mica_free(rows);
  mica_free(label);
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  const options *o = given;
  transformed *s = NULL;
  mica_status status = create(o, mica_rows_d(&data->x), &s);
  if (status == MICA_OK) status = learn(engine, o, s, &data->x);
  if (status == MICA_OK) status = fit_inner(engine, o, s, data, report);
  if (status != MICA_OK) {
    free_state(s);
    return status;
  }
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  *state = s;
  return MICA_OK;
}

static mica_status predict(const mica_engine *engine, const void *given, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const options *o = given;
  const transformed *s = state;
  const int64_t n = mica_rows_n(x), m = n * s->views, k = mica_estimator_outputs(s->inner);
  double *rows = NULL, *own = NULL, *each = mica_malloc((size_t)(m * k + 1) * sizeof *each);
  mica_status status = each ? prepare(engine, s, x, &rows) : MICA_ERR_MEMORY;
  double *score = status == MICA_OK ? mica_scores_begin(n, k, out, &own) : NULL;
  if (status == MICA_OK && !score) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_view v =
        mica_view_of(rows, MICA_F64, MICA_SHAPE(m, mica_transform_width(s->transform)));
    mica_prediction inner = MICA_PREDICTION;
    inner.score = each;
    status = mica_estimator_predict(s->inner, &v, &inner);
  }
  if (status == MICA_OK) {
    mica_view_scores((mica_view_form)o->form, n, s->views, k, each, score);
    mica_scores_answer(n, k, 1, score, out);
  }
  mica_free(each);
  mica_free(rows);
  mica_free(own);
  return status;
}

/* ---- the record: the inner estimator's, its names behind "inner." ---- */

static mica_status save(const void *state, mica_record *record) {
  const transformed *s = state;
  mica_record *inner = NULL;
  mica_tensor *json = NULL;
  mica_status status = mica_transform_save(s->transform, record);
  if (status == MICA_OK) status = mica_record_create(&inner);
  if (status == MICA_OK) status = mica_estimator_save(s->inner, inner);
  for (int64_t i = 0; status == MICA_OK && i < mica_record_count(inner); i++) {
    const char *name;
    char full[200];
    mica_tensor *tensor = mica_record_at(inner, i, &name);
    snprintf(full, sizeof full, "inner.%s", name);
    status = mica_record_put(record, full, tensor);
  }
  if (status == MICA_OK) {
    const size_t n = strlen(mica_record_json(inner));
    status = mica_tensor_create(MICA_U8, MICA_SHAPE((int64_t)n), &json);
    if (status == MICA_OK) memcpy(mica_tensor_data(json), mica_record_json(inner), n);
  }
  if (status == MICA_OK) status = mica_record_put(record, "inner_json", json);
  mica_tensor_free(json);
  mica_record_free(inner);
  return status;
}

static mica_status load_inner(const mica_engine *engine, const mica_record *record,
                              mica_estimator **out) {
  mica_record *inner = NULL;
  const mica_tensor *json = mica_record_get(record, "inner_json");
  if (!json || mica_tensor_dtype(json) != MICA_U8)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: no text of the inner estimator");
  char *text = mica_strndup(mica_tensor_data(json), (size_t)mica_tensor_count(json));
  mica_status status = text ? mica_record_create(&inner) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_record_set_json(inner, text);
  for (int64_t i = 0; status == MICA_OK && i < mica_record_count(record); i++) {
    const char *name;
    mica_tensor *tensor = mica_record_at(record, i, &name);
    if (strncmp(name, "inner.", 6) == 0) status = mica_record_put(inner, name + 6, tensor);
  }
  if (status == MICA_OK) status = mica_estimator_load(engine, inner, out);
  mica_record_free(inner);
  mica_free(text);
  return status;
}

static mica_status load(const mica_engine *engine, const void *given, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  const options *o = given;
  const mica_transform_options t = options_of(o);
  transformed *s = NULL;
  mica_status status = create(o, fitted->features, &s);
  if (status == MICA_OK) status = mica_transform_load(&t, s->columns, record, &s->transform);
  if (status == MICA_OK) status = load_inner(engine, record, &s->inner);
  if (status == MICA_OK &&
      (mica_estimator_features(s->inner) != mica_transform_width(s->transform) ||
       mica_estimator_classes(s->inner) != fitted->classes ||
       mica_estimator_outputs(s->inner) != fitted->outputs))
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: the inner estimator does not fit");
  if (status != MICA_OK) {
    free_state(s);
    return status;
  }
  *state = s;
  return MICA_OK;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .save = save,
    .load = load,
};

extern const mica_component mica_component_estimator_transformed;
const mica_component mica_component_estimator_transformed = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "transformed",
    "a classifier on rows of length 1, powers, whitened components; views summed",
    "off-the-shelf-features",
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
