/* What all estimators share: checks of what comes in, refusal, and the record around a state.
 *
 * A component only ever sees clean data. A fit builds a new state beside the old one and replaces
 * it when everything has worked, so a failed fit leaves the estimator as it was.
 */
#include "base/json.h"
#include "feature/record.h"
#include "feature/refusal.h"
#include "numeric/rows.h"

#include <mica/alignment.h>
#include <mica/zero_shot.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { record_format = 1 };

/* Does a table have this function? Tables grow at their end; older ones are shorter. */
#define HAS(fn, name)                                                                              \
  ((fn)->size >= offsetof(mica_estimator_functions, name) + sizeof((fn)->name) && (fn)->name)

struct mica_estimator {
  const mica_engine *engine;
  mica_spec *spec;
  const mica_estimator_functions *fn;
  void *state; /* NULL: not fitted */
  mica_fitted fitted;
  mica_refusal refusal;
  mica_refusal *level; /* [outputs] of the scores by level; NULL: none */
  double rate, threshold;
};

static const char *name_of(const mica_estimator *e) {
  return mica_spec_component(e->spec)->name;
}

mica_status mica_estimator_create(const mica_engine *engine, const char *spec,
                                  mica_estimator **out) {
  *out = NULL;
  mica_estimator *e = mica_calloc(1, sizeof *e);
  if (!e) return MICA_ERR_MEMORY;
  e->engine = engine;
  e->threshold = INFINITY;
  mica_status status = mica_spec_parse(engine, MICA_KIND_ESTIMATOR, spec, &e->spec);
  if (!status) {
    e->fn = mica_spec_component(e->spec)->functions;
    if (!e->fn || e->fn->size < offsetof(mica_estimator_functions, threshold) || !e->fn->fit ||
        !e->fn->free || !e->fn->predict)
      status =
          mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s: its functions are incomplete", name_of(e));
  }
  if (status) {
    mica_estimator_free(e);
    return status;
  }
  *out = e;
  return MICA_OK;
}

static void clear(mica_estimator *e) {
  if (e->state) e->fn->free(e->state);
  e->state = NULL;
  mica_refusal_clear(&e->refusal);
  for (int64_t l = 0; e->level && l < e->fitted.outputs; l++) mica_refusal_clear(&e->level[l]);
  mica_free(e->level);
  e->level = NULL;
  e->fitted = (mica_fitted){0};
  e->threshold = INFINITY;
}

void mica_estimator_free(mica_estimator *estimator) {
  if (!estimator) return;
  clear(estimator);
  mica_spec_free(estimator->spec);
  mica_free(estimator);
}

/* ---- refusal ---- */

static mica_status set_rate(mica_estimator *e, double rate) {
  if (!(rate >= 0) || !(rate < 1))
    return mica_fail(MICA_ERR_INVALID,
                     "estimator %s: a share of %g to refuse, expected 0 to below 1", name_of(e),
                     rate);
  double threshold = INFINITY;
  if (rate > 0) {
    bool has_law = HAS(e->fn, threshold);
    threshold = has_law ? e->fn->threshold(mica_spec_options(e->spec), e->state, rate) : NAN;
    if (isnan(threshold)) {
      if (e->refusal.rows == 0)
        return mica_fail(
            MICA_ERR_STATE,
            "estimator %s: nothing to calibrate \"none of these\" with: fit with held-out "
            "rows, or with at least two rows of a class",
            name_of(e));
      threshold = mica_refusal_threshold(&e->refusal, rate);
    }
  }
  e->rate = rate;
  e->threshold = threshold;
  return MICA_OK;
}

mica_status mica_estimator_set_rejection(mica_estimator *estimator, double rate) {
  if (!estimator->state)
    return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(estimator));
  return set_rate(estimator, rate);
}

double mica_estimator_threshold(const mica_estimator *estimator) {
  return estimator->threshold;
}

mica_status mica_estimator_level_thresholds(const mica_estimator *e, double rate,
                                            mica_threshold_from from, double *out) {
  if (!e->state) return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(e));
  if (!(rate > 0 && rate < 1))
    return mica_fail(MICA_ERR_INVALID, "estimator %s: a share of %g, expected above 0 and below 1",
                     name_of(e), rate);
  const bool has_law = HAS(e->fn, level_threshold);
  if (e->fitted.task != MICA_TASK_ANOMALY || (from == MICA_THRESHOLD_LAW && !has_law))
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s, fitted as it is, has no %s", name_of(e),
                     from == MICA_THRESHOLD_LAW ? "law of its scores by level" : "levels");
  if (from == MICA_THRESHOLD_QUANTILE && !e->level)
    return mica_fail(MICA_ERR_STATE,
                     "estimator %s: the fit kept no scores by level to take a threshold from",
                     name_of(e));
  for (int64_t l = 0; l < e->fitted.outputs; l++) {
    out[l] = from == MICA_THRESHOLD_LAW
                 ? e->fn->level_threshold(mica_spec_options(e->spec), e->state, l, rate)
                 : mica_refusal_threshold(&e->level[l], rate);
    if (isnan(out[l]))
      return mica_fail(MICA_ERR_UNSUPPORTED,
                       "estimator %s, fitted as it is, has no law of its "
                       "scores by level",
                       name_of(e));
  }
  return MICA_OK;
}

static double wanted_rate(const mica_estimator *e) {
  return e->fn->rejection ? e->fn->rejection(mica_spec_options(e->spec)) : 0;
}

/* ---- fit ---- */

static mica_status check_labels(const mica_fit_data *data, int64_t *classes) {
  int64_t n = mica_rows_n(&data->x), most = data->classes;
  if (most < 0) return mica_fail(MICA_ERR_INVALID, "fit: %lld classes", (long long)most);
  for (int64_t i = 0; i < n; i++) {
    if (data->label[i] < 0 || (data->classes > 0 && data->label[i] >= data->classes))
      return mica_fail(MICA_ERR_INVALID, "fit: label %lld of row %lld, expected 0..%lld",
                       (long long)data->label[i], (long long)i,
                       data->classes > 0 ? (long long)data->classes - 1 : INT64_MAX);
    if (data->label[i] >= most) most = data->label[i] + 1;
  }
  /* One stray label must not make a head of a billion classes. */
  if (data->classes == 0 && most > 65536 && most > 16 * n)
    return mica_fail(
        MICA_ERR_INVALID,
        "fit: the largest label is %lld in %lld rows: give the class count if that is meant",
        (long long)most - 1, (long long)n);
  *classes = most;
  return MICA_OK;
}

static mica_status check_targets(const mica_engine *engine, const mica_fit_data *data,
                                 mica_view *target) {
  *target = *data->target;
  if (target->shape.rank == 1) {
    target->shape = MICA_SHAPE(target->shape.dim[0], 1);
    target->row_stride = 1;
  }
  mica_status status = mica_rows_check(target, "targets");
  if (!status && mica_rows_n(target) != mica_rows_n(&data->x))
    status = mica_fail(MICA_ERR_SHAPE, "fit: %lld rows of targets for %lld rows of features",
                       (long long)mica_rows_n(target), (long long)mica_rows_n(&data->x));
  return status ? status : mica_rows_check_finite(engine, target, "targets");
}

/* The caller's data, checked and completed; `target` is storage for a reshaped view. */
static mica_status check_data(const mica_estimator *e, const mica_fit_data *given,
                              mica_fit_data *data, mica_view *target) {
  *data = (mica_fit_data)MICA_FIT_DATA;
  memcpy(data, given, given->size < sizeof *data ? given->size : sizeof *data);
  mica_status status = mica_rows_check(&data->x, "features");
  if (status) return status;
  if (mica_rows_n(&data->x) == 0) return mica_fail(MICA_ERR_INVALID, "fit: no rows");
  if (data->label && data->target)
    return mica_fail(MICA_ERR_INVALID, "fit: both labels and targets given, expected one of them");
  uint32_t can = e->fn->abilities;
  if (data->target && !(can & MICA_ESTIMATOR_REGRESSES))
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s predicts classes, not real values",
                     name_of(e));
  if (data->label && !(can & MICA_ESTIMATOR_CLASSIFIES))
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s takes no labels", name_of(e));
  if (!data->label && !data->target && !(can & MICA_ESTIMATOR_NO_LABELS))
    return mica_fail(MICA_ERR_INVALID, "estimator %s needs %s", name_of(e),
                     can & MICA_ESTIMATOR_CLASSIFIES ? "labels" : "targets");
  status = mica_rows_check_finite(e->engine, &data->x, "features");
  if (!status && data->label) status = check_labels(data, &data->classes);
  if (!status && data->target) {
    status = check_targets(e->engine, data, target);
    data->target = target;
  }
  if (!data->label) data->classes = 0;
  if (!status && data->held_out) {
    status = mica_rows_check(data->held_out, "held-out features");
    if (!status && mica_rows_d(data->held_out) != mica_rows_d(&data->x))
      status = mica_fail(MICA_ERR_SHAPE, "held-out features have %lld columns, expected %lld",
                         (long long)mica_rows_d(data->held_out), (long long)mica_rows_d(&data->x));
    if (!status) status = mica_rows_check_finite(e->engine, data->held_out, "held-out features");
  }
  return status;
}

/* Anomaly scores of the held-out rows under the fresh state. */
static mica_status score_held_out(const mica_estimator *e, const mica_view *x,
                                  mica_fitted *fitted) {
  int64_t n = mica_rows_n(x);
  double *score = mica_malloc((size_t)n * sizeof *score);
  if (!score) return MICA_ERR_MEMORY;
  mica_prediction p = MICA_PREDICTION;
  p.anomaly = score;
  if (fitted->task == MICA_TASK_ANOMALY) {
    p.score = mica_malloc((size_t)(n * fitted->outputs) * sizeof *score);
    if (!p.score) {
      mica_free(score);
      return MICA_ERR_MEMORY;
    }
  }
  mica_status status = e->fn->predict(e->engine, mica_spec_options(e->spec), e->state, x, &p);
  if (status) {
    mica_free(score);
    mica_free(p.score);
    return status;
  }
  mica_free(fitted->calibration);
  mica_free(fitted->level_calibration);
  fitted->calibration = score;
  fitted->calibration_count = n;
  fitted->level_calibration = p.score;
  return MICA_OK;
}

static void forget_scores(mica_fitted *fitted) {
  mica_free(fitted->calibration);
  mica_free(fitted->level_calibration);
  fitted->calibration = fitted->level_calibration = NULL;
  fitted->calibration_count = 0;
}

/* A column of scores by level for each level. */
static mica_status keep_levels(mica_estimator *e, const mica_fitted *fitted) {
  const int64_t n = fitted->calibration_count, levels = fitted->outputs;
  double *column = mica_malloc((size_t)n * sizeof *column);
  mica_status status = column ? MICA_OK : MICA_ERR_MEMORY;
  if (!status && !(e->level = mica_calloc((size_t)levels, sizeof *e->level)))
    status = MICA_ERR_MEMORY;
  for (int64_t l = 0; l < levels && !status; l++) {
    for (int64_t i = 0; i < n; i++) column[i] = fitted->level_calibration[i * levels + l];
    status = mica_refusal_keep(&e->level[l], column, n);
  }
  mica_free(column);
  return status;
}

/* Take the calibration scores out of `fitted`. */
static mica_status keep_scores(mica_estimator *e, mica_fitted *fitted) {
  mica_status status = MICA_OK;
  if (fitted->calibration && fitted->calibration_count > 0)
    status = mica_refusal_keep(&e->refusal, fitted->calibration, fitted->calibration_count);
  if (!status && fitted->level_calibration && fitted->calibration_count > 0)
    status = keep_levels(e, fitted);
  forget_scores(fitted);
  return status;
}

mica_status mica_estimator_fit(mica_estimator *estimator, const mica_fit_data *given,
                               mica_fit_report *report) {
  mica_fit_data data;
  mica_view target;
  mica_status status = check_data(estimator, given, &data, &target);
  if (status) return status;
  mica_estimator fresh = *estimator;
  mica_fit_report full = {.size = sizeof full,
                          .rows = mica_rows_n(&data.x),
                          .converged = 1,
                          .objective = NAN,
                          .leave_one_out = NAN,
                          .chosen = NAN};
  fresh.state = NULL;
  fresh.fitted = (mica_fitted){.features = mica_rows_d(&data.x)};
  fresh.refusal = (mica_refusal){0};
  fresh.level = NULL;
  fresh.rate = 0;
  fresh.threshold = INFINITY;
  const void *options = mica_spec_options(fresh.spec);
  status = fresh.fn->fit(fresh.engine, options, &data, &fresh.fitted, &full, &fresh.state);
  if (!status && data.held_out && mica_rows_n(data.held_out) > 0 &&
      fresh.fn->abilities & MICA_ESTIMATOR_DETECTS)
    status = score_held_out(&fresh, data.held_out, &fresh.fitted);
  if (!status) status = keep_scores(&fresh, &fresh.fitted);
  forget_scores(&fresh.fitted);
  if (!status && wanted_rate(&fresh) > 0 && set_rate(&fresh, wanted_rate(&fresh)) != MICA_OK)
    snprintf(full.note, sizeof full.note,
             "nothing to calibrate \"none of these\" with: no row is refused");
  if (status) {
    clear(&fresh);
    return status;
  }
  clear(estimator);
  *estimator = fresh;
  if (report) {
    uint32_t size = report->size < sizeof full ? report->size : (uint32_t)sizeof full;
    full.size = report->size;
    memcpy(report, &full, size);
  }
  return MICA_OK;
}

/* ---- prediction ---- */

static mica_status check_rows(const mica_estimator *e, const mica_view *x) {
  if (!e->state) return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(e));
  mica_status status = mica_rows_check(x, "features");
  if (!status && mica_rows_d(x) != e->fitted.features)
    status = mica_fail(MICA_ERR_SHAPE, "estimator %s: features of %lld columns, fitted on %lld",
                       name_of(e), (long long)mica_rows_d(x), (long long)e->fitted.features);
  return status ? status : mica_rows_check_finite(e->engine, x, "features");
}

static mica_status check_wanted(const mica_estimator *e, const mica_prediction *p) {
  const char *lacks = NULL;
  if (p->label && e->fitted.task == MICA_TASK_REGRESSION) lacks = "classes";
  if (p->probability && (!(e->fn->abilities & MICA_ESTIMATOR_PROBABILITIES) ||
                         e->fitted.task != MICA_TASK_CLASSIFICATION))
    lacks = "probabilities";
  if (p->anomaly && !(e->fn->abilities & MICA_ESTIMATOR_DETECTS)) lacks = "anomaly scores";
  if (!lacks) return MICA_OK;
  return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s, fitted as it is, predicts no %s",
                   name_of(e), lacks);
}

mica_status mica_estimator_predict(const mica_estimator *e, const mica_view *x,
                                   mica_prediction *out) {
  mica_status status = check_rows(e, x);
  if (status) return status;
  mica_prediction p = MICA_PREDICTION;
  memcpy(&p, out, out->size < sizeof p ? out->size : sizeof p);
  status = check_wanted(e, &p);
  int64_t n = mica_rows_n(x);
  if (status || n == 0) return status;
  bool refuses = p.label && e->threshold < INFINITY;
  double *scores = NULL;
  if (refuses && !p.anomaly) {
    if (!(scores = mica_malloc((size_t)n * sizeof *scores))) return MICA_ERR_MEMORY;
    p.anomaly = scores;
  }
  status = e->fn->predict(e->engine, mica_spec_options(e->spec), e->state, x, &p);
  for (int64_t i = 0; refuses && !status && i < n; i++)
    if (!(p.anomaly[i] <= e->threshold)) p.label[i] = MICA_CLASS_NONE;
  mica_free(scores);
  return status;
}

mica_status mica_estimator_add_class(mica_estimator *e, const mica_view *x, int64_t *label) {
  mica_status status = check_rows(e, x);
  if (status) return status;
  if (!e->fn->add_class || !(e->fn->abilities & MICA_ESTIMATOR_ADDS_CLASSES) ||
      e->fitted.task != MICA_TASK_CLASSIFICATION)
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s, fitted as it is, cannot add a class",
                     name_of(e));
  if (mica_rows_n(x) == 0) return mica_fail(MICA_ERR_INVALID, "a new class without examples");
  mica_fitted fitted = e->fitted;
  status = e->fn->add_class(e->engine, mica_spec_options(e->spec), e->state, x, &fitted);
  if (status) return status;
  if (label) *label = e->fitted.classes;
  /* A head of single examples had nothing to calibrate with; now there may be something. What was
   * calibrated on all classes stays as it is. A lack of memory here only leaves the head
   * uncalibrated, as it was. */
  if (e->refusal.rows == 0 && fitted.calibration && keep_scores(e, &fitted) == MICA_OK &&
      wanted_rate(e) > 0)
    (void)set_rate(e, wanted_rate(e));
  forget_scores(&fitted);
  e->fitted = fitted;
  return MICA_OK;
}

mica_status mica_estimator_update(mica_estimator *e, const mica_fit_data *given) {
  mica_fit_data data;
  mica_view target;
  if (!e->state) return mica_estimator_fit(e, given, NULL);
  if (!HAS(e->fn, update) || !(e->fn->abilities & MICA_ESTIMATOR_UPDATES))
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s cannot add data to a fit", name_of(e));
  mica_status status = check_data(e, given, &data, &target);
  if (status) return status;
  if (mica_rows_d(&data.x) != e->fitted.features)
    return mica_fail(MICA_ERR_SHAPE, "estimator %s: features of %lld columns, fitted on %lld",
                     name_of(e), (long long)mica_rows_d(&data.x), (long long)e->fitted.features);
  mica_fitted fitted = e->fitted;
  status = e->fn->update(e->engine, mica_spec_options(e->spec), e->state, &data, &fitted);
  if (!status) e->fitted = fitted;
  return status;
}

mica_status mica_estimator_linear(const mica_estimator *e, double *weight, double *bias) {
  if (!e->state) return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(e));
  if (!HAS(e->fn, linear) || e->fitted.task != MICA_TASK_CLASSIFICATION)
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s has no linear form", name_of(e));
  return e->fn->linear(mica_spec_options(e->spec), e->state, weight, bias);
}

/* ---- two spaces ---- */

static mica_status check_aligns(const mica_estimator *e) {
  if (!e->state) return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(e));
  if (!HAS(e->fn, correlations))
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s does not align two spaces", name_of(e));
  return MICA_OK;
}

mica_status mica_estimator_targets(const mica_estimator *e, const mica_view *y, double *out) {
  const mica_status status = check_aligns(e);
  return status ? status : e->fn->targets(e->engine, mica_spec_options(e->spec), e->state, y, out);
}

mica_status mica_estimator_pair_scores(const mica_estimator *e, const mica_view *x,
                                       const mica_view *y, double *out) {
  mica_status status = check_aligns(e);
  if (!status) status = check_rows(e, x);
  return status ? status
                : e->fn->pair_scores(e->engine, mica_spec_options(e->spec), e->state, x, y, out);
}

int64_t mica_estimator_correlations(const mica_estimator *e, double *out) {
  return e->state && HAS(e->fn, correlations) ? e->fn->correlations(e->state, out) : 0;
}

/* ---- classes known by texts ---- */

static mica_status check_texts(const mica_estimator *e) {
  if (!e->state) return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(e));
  if (!HAS(e->fn, set_texts))
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s does not know its classes by texts",
                     name_of(e));
  return MICA_OK;
}

mica_status mica_estimator_set_phrases(mica_estimator *e, const mica_phrases *phrases) {
  const mica_status status = check_texts(e);
  return status ? status : e->fn->set_phrases(mica_spec_options(e->spec), e->state, phrases);
}

const mica_phrases *mica_estimator_phrases(const mica_estimator *e) {
  return e->state && HAS(e->fn, set_texts) ? e->fn->phrases(e->state) : NULL;
}

int64_t mica_estimator_texts(const mica_estimator *e) {
  return e->state && HAS(e->fn, set_texts) ? e->fn->texts(e->state) : 0;
}

mica_status mica_estimator_text_scores(const mica_estimator *e, const mica_view *x, double *out) {
  mica_status status = check_texts(e);
  if (!status) status = check_rows(e, x);
  return status ? status : e->fn->text_scores(e->engine, e->state, x, out);
}

mica_status mica_estimator_describe(mica_estimator *e, int64_t label, const char *name, int64_t n,
                                    const char *const *phrase, const mica_view *x) {
  mica_status status = check_texts(e);
  if (!status) status = check_rows(e, x);
  if (status) return status;
  const mica_phrases *old = e->fn->phrases(e->state);
  mica_phrases *next = NULL;
  mica_fitted fitted = e->fitted;
  if (!old) return mica_fail(MICA_ERR_STATE, "estimator %s was fitted without phrases", name_of(e));
  if (label < 0 || label > fitted.classes ||
      (label < fitted.classes ? mica_phrases_find(old, name) != label
                              : mica_phrases_find(old, name) >= 0))
    return mica_fail(MICA_ERR_INVALID, "estimator %s: class %lld is not \"%.100s\"", name_of(e),
                     (long long)label, name);
  status = mica_phrases_first(old, INT64_MAX, &next);
  if (!status) status = mica_phrases_set(next, name, n, phrase);
  if (!status)
    status =
        e->fn->set_texts(e->engine, mica_spec_options(e->spec), e->state, label, x, next, &fitted);
  if (!status) e->fitted = fitted;
  mica_phrases_free(next);
  return status;
}

/* ---- what is known about it ---- */

const mica_component *mica_estimator_component(const mica_estimator *e) {
  return mica_spec_component(e->spec);
}
bool mica_estimator_fitted(const mica_estimator *e) {
  return e->state != NULL;
}
mica_task mica_estimator_task(const mica_estimator *e) {
  return e->fitted.task;
}
int64_t mica_estimator_features(const mica_estimator *e) {
  return e->fitted.features;
}
int64_t mica_estimator_classes(const mica_estimator *e) {
  return e->fitted.classes;
}
int64_t mica_estimator_outputs(const mica_estimator *e) {
  return e->fitted.outputs;
}
char *mica_estimator_spec(const mica_estimator *e) {
  return mica_spec_text(e->spec);
}

/* ---- records ---- */

static const char *const task_names[] = {"classification", "regression", "anomaly"};

static mica_status write_json(const mica_estimator *e, const char *spec, mica_record *record) {
  mica_bytes bytes = {0};
  mica_json_writer w = {&bytes, 0, 0, 0, false};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "format", record_format);
  mica_json_put_text(&w, "estimator", spec);
  mica_json_put_text(&w, "task", task_names[e->fitted.task]);
  mica_json_put_int(&w, "features", e->fitted.features);
  mica_json_put_int(&w, "classes", e->fitted.classes);
  mica_json_put_int(&w, "outputs", e->fitted.outputs);
  mica_json_put_double(&w, "rejection", e->rate);
  mica_json_end_object(&w);
  mica_bytes_byte(&bytes, '\0');
  mica_status status = bytes.status ? bytes.status : mica_record_set_json(record, bytes.data);
  mica_bytes_free(&bytes);
  return status;
}

static const char *level_prefix(int64_t l, char buf[48]) {
  snprintf(buf, 48, "refusal.level%lld", (long long)l);
  return buf;
}

mica_status mica_estimator_save(const mica_estimator *e, mica_record *record) {
  if (!e->state) return mica_fail(MICA_ERR_STATE, "estimator %s is not fitted", name_of(e));
  if (!e->fn->save)
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s cannot be saved", name_of(e));
  char *spec = mica_spec_text(e->spec);
  if (!spec) return MICA_ERR_MEMORY;
  mica_status status = write_json(e, spec, record);
  mica_free(spec);
  if (!status) status = e->fn->save(e->state, record);
  if (!status) status = mica_refusal_save(&e->refusal, "refusal", record);
  for (int64_t l = 0; e->level && l < e->fitted.outputs && !status; l++) {
    char prefix[48];
    status = mica_refusal_save(&e->level[l], level_prefix(l, prefix), record);
  }
  return status;
}

/* Scores by level, where the record has them for every level. */
static mica_status load_levels(mica_estimator *e, const mica_record *record) {
  char prefix[48], first[64];
  snprintf(first, sizeof first, "%s.score", level_prefix(0, prefix));
  if (e->fitted.task != MICA_TASK_ANOMALY || !mica_record_has(record, first)) return MICA_OK;
  e->level = mica_calloc((size_t)e->fitted.outputs, sizeof *e->level);
  if (!e->level) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t l = 0; l < e->fitted.outputs && !status; l++) {
    status = mica_refusal_load(&e->level[l], level_prefix(l, prefix), record);
    if (!status && !e->level[l].rows)
      status = mica_fail(MICA_ERR_FORMAT, "estimator record: no \"%s.score\"", prefix);
  }
  return status;
}

typedef struct {
  const char *spec;
  mica_fitted fitted;
  double rate;
} described;

static mica_status read_description(const mica_json *root, described *d) {
  int64_t format;
  const char *task;
  mica_status status = mica_json_need_int64(root, "format", &format);
  if (status) return status;
  if (format != record_format)
    return mica_fail(
        MICA_ERR_UNSUPPORTED,
        "estimator record: format %lld, this version reads format %d: a newer mica wrote it",
        (long long)format, record_format);
  *d = (described){0};
  status = mica_json_need_string(root, "estimator", &d->spec);
  if (!status) status = mica_json_need_string(root, "task", &task);
  if (!status) status = mica_json_need_int64(root, "features", &d->fitted.features);
  if (!status) status = mica_json_need_int64(root, "classes", &d->fitted.classes);
  if (!status) status = mica_json_need_int64(root, "outputs", &d->fitted.outputs);
  if (!status) status = mica_json_need_double(root, "rejection", &d->rate);
  if (status) return status;
  int t = 0;
  while (t < 3 && strcmp(task, task_names[t]) != 0) t++;
  const int64_t most = INT32_MAX;
  const mica_fitted *f = &d->fitted;
  if (t == 3 || f->features < 1 || f->features > most || f->outputs < 1 || f->outputs > most ||
      f->classes < 0 || f->classes > most || (t != MICA_TASK_REGRESSION && f->classes < 1) ||
      (t == MICA_TASK_CLASSIFICATION && f->outputs != f->classes) ||
      f->features > INT64_MAX / 16 / f->outputs || !(d->rate >= 0 && d->rate < 1))
    return mica_fail(
        MICA_ERR_FORMAT,
        "estimator record: task \"%.32s\" with %lld features, %lld classes, %lld outputs and "
        "rejection %g do not go together",
        task, (long long)f->features, (long long)f->classes, (long long)f->outputs, d->rate);
  d->fitted.task = (mica_task)t;
  return MICA_OK;
}

/* The abilities that a fit for this task needs. */
static uint32_t needed_for(mica_task task) {
  switch (task) {
  case MICA_TASK_REGRESSION: return MICA_ESTIMATOR_REGRESSES;
  case MICA_TASK_ANOMALY: return MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_NO_LABELS;
  default: return MICA_ESTIMATOR_CLASSIFIES;
  }
}

static mica_status load(const mica_engine *engine, const mica_record *record, const mica_json *root,
                        mica_estimator **out) {
  described d;
  mica_status status = read_description(root, &d);
  if (status) return status;
  mica_estimator *e;
  status = mica_estimator_create(engine, d.spec, &e);
  if (status) return status;
  /* Before memory is taken by their word. What an estimator makes of features and outputs is of the
   * order of what it stores; one that reads tokens stores less than a number for each feature. */
  int64_t held = 0;
  const int64_t features = d.fitted.features, outputs = d.fitted.outputs;
  for (int64_t i = 0; i < mica_record_count(record); i++)
    held += mica_tensor_count(mica_record_at(record, i, NULL));
  if (needed_for(d.fitted.task) & ~e->fn->abilities)
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: %s is not for %s", name_of(e),
                       task_names[d.fitted.task]);
  else if (features > 64 * held + (1 << 20) || features * outputs > 64 * held + (1 << 20) ||
           d.fitted.classes > 64 * held + (1 << 20))
    status = mica_fail(MICA_ERR_FORMAT,
                       "estimator record: %lld features and %lld outputs, in tensors of %lld "
                       "elements",
                       (long long)features, (long long)outputs, (long long)held);
  if (!status && !e->fn->load)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s cannot be loaded", name_of(e));
  e->fitted = d.fitted;
  if (!status)
    status = e->fn->load(engine, mica_spec_options(e->spec), &d.fitted, record, &e->state);
  if (!status) status = mica_refusal_load(&e->refusal, "refusal", record);
  if (!status) status = load_levels(e, record);
  if (!status) status = set_rate(e, d.rate);
  if (status)
    mica_estimator_free(e);
  else
    *out = e;
  return status;
}

mica_status mica_estimator_load(const mica_engine *engine, const mica_record *record,
                                mica_estimator **out) {
  *out = NULL;
  const char *json = mica_record_json(record);
  mica_json_doc *doc;
  mica_status status = mica_json_parse(json, strlen(json), &doc);
  if (status) return mica_fail_within("estimator record");
  status = load(engine, record, mica_json_root(doc), out);
  mica_json_free(doc);
  return status;
}
