/* The estimators `align` and `cca`: tables of options, fits, records. */
#include "feature/alignment.h"
#include "feature/record.h"
#include "numeric/rows.h"

#include <mica/alignment.h>

#include <stdio.h>
#include <string.h>

static mica_status learn(const mica_engine *engine, const mica_align_options *o, mica_alignment *a,
                         const mica_fit_data *data) {
  mica_status status = mica_alignment_add(engine, a, &data->x, data->target);
  if (!status) status = mica_alignment_derive(engine, o, a);
  if (!status && o->map == MICA_ALIGN_RELATIVE)
    status = mica_alignment_keep(engine, o, a, &data->x, data->target);
  return status;
}

static void describe(const mica_alignment *a, mica_fitted *fitted) {
  fitted->task = MICA_TASK_REGRESSION;
  fitted->classes = 0;
  fitted->outputs = a->outputs;
}

static mica_status fit(const mica_engine *engine, const void *options, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  const mica_align_options *o = options;
  mica_alignment *a = NULL;
  mica_status status = mica_alignment_create(mica_rows_d(&data->x), mica_rows_d(data->target), &a);
  if (!status) status = learn(engine, o, a, data);
  if (status) {
    mica_alignment_free(a);
    return status;
  }
  if (o->reduce != MICA_REDUCE_NONE && a->x.k < o->k)
    snprintf(report->note, sizeof report->note, "%lld directions are all that vary",
             (long long)a->x.k);
  describe(a, fitted);
  *state = a;
  return MICA_OK;
}

/* What the moments of both are, in fresh memory, with all that follows from them. */
static mica_status update(const mica_engine *engine, const void *options, void *state,
                          const mica_fit_data *data, mica_fitted *fitted) {
  const mica_align_options *o = options;
  mica_alignment *a = state, *next = NULL;
  if (o->map == MICA_ALIGN_RELATIVE)
    return mica_fail(MICA_ERR_UNSUPPORTED, "align: map=relative is its anchors: fit it again");
  if (mica_rows_d(data->target) != a->y.d)
    return mica_fail(MICA_ERR_SHAPE, "align: targets of %lld columns, fitted on %lld",
                     (long long)mica_rows_d(data->target), (long long)a->y.d);
  mica_status status = mica_alignment_create(a->x.d, a->y.d, &next);
  if (!status) status = mica_moments_merge(&next->pairs, &a->pairs);
  if (!status) status = learn(engine, o, next, data);
  if (!status) {
    const mica_alignment old = *a;
    *a = *next;
    *next = old;
    describe(a, fitted);
  }
  mica_alignment_free(next);
  return status;
}

static int64_t correlations(const void *state, double *out) {
  const mica_alignment *a = state;
  if (out && a->rho) memcpy(out, a->rho, (size_t)a->correlations * sizeof *out);
  return a->correlations;
}

/* ---- records ---- */

static mica_status save(const void *state, mica_record *record) {
  const mica_alignment *a = state;
  const int64_t d = a->pairs.d, columns[3] = {a->x.d, a->y.d, a->pairs.n};
  mica_status status = mica_record_put_i64(record, "pairs", MICA_SHAPE(3), columns);
  if (!status) status = mica_record_put_f64(record, "mean", MICA_SHAPE(d), a->pairs.mean);
  if (!status) status = mica_record_put_f64(record, "scatter", MICA_SHAPE(d, d), a->pairs.scatter);
  if (status || !a->ax) return status;
  status = mica_record_put_f64(record, "anchor.x", MICA_SHAPE(a->anchors, a->x.k), a->ax);
  return status ? status
                : mica_record_put_f64(record, "anchor.y", MICA_SHAPE(a->anchors, a->y.k), a->ay);
}

static mica_status load_anchors(const mica_record *record, mica_alignment *a) {
  const mica_tensor *x = mica_record_get(record, "anchor.x");
  a->anchors = x && mica_tensor_shape(x)->rank == 2 ? mica_tensor_dim(x, 0) : 0;
  if (a->anchors < 1)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: map=relative without anchors");
  a->ax = mica_realloc_array(NULL, (size_t)a->anchors, (size_t)a->x.k * sizeof *a->ax);
  a->ay = mica_realloc_array(NULL, (size_t)a->anchors, (size_t)a->y.k * sizeof *a->ay);
  if (!a->ax || !a->ay) return MICA_ERR_MEMORY;
  mica_status status =
      mica_record_take_f64(record, "anchor.x", MICA_SHAPE(a->anchors, a->x.k), false, a->ax);
  if (!status)
    status = mica_record_take_f64(record, "anchor.y", MICA_SHAPE(a->anchors, a->y.k), false, a->ay);
  a->outputs = a->anchors;
  return status;
}

/* What follows from the moments is made again: the same steps on the same bits. */
static mica_status load(const mica_engine *engine, const void *options, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  const mica_align_options *o = options;
  mica_alignment *a = NULL;
  int64_t columns[3];
  mica_status status = mica_record_take_i64(record, "pairs", MICA_SHAPE(3), 1, INT32_MAX, columns);
  if (!status && (columns[0] != fitted->features || columns[1] > INT32_MAX - columns[0]))
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: pairs of %lld columns, expected %lld",
                       (long long)columns[0], (long long)fitted->features);
  const mica_tensor *scatter = status ? NULL : mica_record_get(record, "scatter");
  const int64_t d = status ? 0 : columns[0] + columns[1];
  if (!status && (!scatter || mica_tensor_count(scatter) != d * d))
    status =
        mica_fail(MICA_ERR_FORMAT, "estimator record: no scatter of %lld columns", (long long)d);
  if (!status) status = mica_alignment_create(columns[0], columns[1], &a);
  if (!status) {
    a->pairs.n = columns[2];
    status = mica_record_take_f64(record, "mean", MICA_SHAPE(d), false, a->pairs.mean);
  }
  if (!status)
    status = mica_record_take_f64(record, "scatter", MICA_SHAPE(d, d), false, a->pairs.scatter);
  for (int64_t j = 0; j < d && !status; j++) a->pairs.square[j] = a->pairs.scatter[j * d + j];
  if (!status) status = mica_alignment_derive(engine, o, a);
  if (!status && o->map == MICA_ALIGN_RELATIVE) status = load_anchors(record, a);
  if (!status && a->outputs != fitted->outputs)
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: %lld outputs, its moments give %lld",
                       (long long)fitted->outputs, (long long)a->outputs);
  if (status)
    mica_alignment_free(a);
  else
    *state = a;
  return status;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_REGRESSES | MICA_ESTIMATOR_UPDATES,
    .fit = fit,
    .free = mica_alignment_free,
    .predict = mica_alignment_predict,
    .save = save,
    .load = load,
    .update = update,
    .targets = mica_alignment_targets,
    .pair_scores = mica_alignment_pair_scores,
    .correlations = correlations,
};

/* ---- tables ---- */

#define FIELD(name) offsetof(mica_align_options, name)
#define K_ROW                                                                                      \
  { "k", MICA_OPTION_INT, "50", 1, 1 << 16, NULL, "directions that are kept", FIELD(k) }
#define RIDGE_ROW                                                                                  \
  {                                                                                                \
    "ridge", MICA_OPTION_FLOAT, "1e-4", 0, 1e6, NULL,                                              \
        "of canonical correlations: added to variances, as a share of their mean", FIELD(ridge)    \
  }
#define VARIANCE_ROW                                                                               \
  {                                                                                                \
    "variance", MICA_OPTION_FLOAT, "1", 0.01, 1, NULL,                                             \
        "share of the variance whose directions canonical correlations look at (SVCCA); 1: all",   \
        FIELD(variance)                                                                            \
  }

static const mica_option align_table[] = {
    {"map", MICA_OPTION_CHOICE, "affine", 0, 0, "none|affine|linear|procrustes|relative",
     "from the first space to the second: least squares with and without a bias, a rotation, "
     "cosines to the anchors",
     FIELD(map)},
    {"reduce", MICA_OPTION_CHOICE, "none", 0, 0, "none|cca|pca",
     "both spaces first: to canonical directions or principal components", FIELD(reduce)},
    {"score", MICA_OPTION_CHOICE, "cosine", 0, 0, "cosine|cka",
     "of a pair: cosine of the mapped row and the target, or local CKA", FIELD(score)},
    K_ROW,
    RIDGE_ROW,
    VARIANCE_ROW,
    {"standardise", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "procrustes and CKA: divide each column by its deviation first", FIELD(standardise)},
    {"zero_pad", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "procrustes: let widths differ, as if the smaller space had columns of zeros",
     FIELD(zero_pad)},
    {"centre", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "cosines are around the anchors' mean, not around 0", FIELD(centre)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

extern const mica_component mica_component_estimator_align;
const mica_component mica_component_estimator_align = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "align",
    "map one space of features into another, learnt from pairs",
    "latent-alignment-3d",
    align_table,
    sizeof(mica_align_options),
    MICA_NEED_FEATURES | MICA_NEED_TARGETS,
    0,
    &functions};

/* The canonical coordinates themselves: map none, reduce cca. */
static const mica_option cca_table[] = {
    K_ROW, RIDGE_ROW, VARIANCE_ROW, {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static mica_align_options canonical(const void *options) {
  mica_align_options o = *(const mica_align_options *)options;
  o.map = MICA_ALIGN_NONE;
  o.reduce = MICA_REDUCE_CCA;
  o.score = MICA_SCORE_COSINE;
  o.standardise = false;
  o.zero_pad = o.centre = true;
  return o;
}

static mica_status cca_fit(const mica_engine *engine, const void *options,
                           const mica_fit_data *data, mica_fitted *fitted, mica_fit_report *report,
                           void **state) {
  const mica_align_options o = canonical(options);
  return fit(engine, &o, data, fitted, report, state);
}
static mica_status cca_update(const mica_engine *engine, const void *options, void *state,
                              const mica_fit_data *data, mica_fitted *fitted) {
  const mica_align_options o = canonical(options);
  return update(engine, &o, state, data, fitted);
}
static mica_status cca_load(const mica_engine *engine, const void *options,
                            const mica_fitted *fitted, const mica_record *record, void **state) {
  const mica_align_options o = canonical(options);
  return load(engine, &o, fitted, record, state);
}
static mica_status cca_predict(const mica_engine *engine, const void *options, const void *state,
                               const mica_view *x, mica_prediction *out) {
  const mica_align_options o = canonical(options);
  return mica_alignment_predict(engine, &o, state, x, out);
}
static mica_status cca_targets(const mica_engine *engine, const void *options, const void *state,
                               const mica_view *y, double *out) {
  const mica_align_options o = canonical(options);
  return mica_alignment_targets(engine, &o, state, y, out);
}
static mica_status cca_pair_scores(const mica_engine *engine, const void *options,
                                   const void *state, const mica_view *x, const mica_view *y,
                                   double *out) {
  const mica_align_options o = canonical(options);
  return mica_alignment_pair_scores(engine, &o, state, x, y, out);
}

static const mica_estimator_functions cca_functions = {
    .size = sizeof cca_functions,
    .abilities = MICA_ESTIMATOR_REGRESSES | MICA_ESTIMATOR_UPDATES,
    .fit = cca_fit,
    .free = mica_alignment_free,
    .predict = cca_predict,
    .save = save,
    .load = cca_load,
    .update = cca_update,
    .targets = cca_targets,
    .pair_scores = cca_pair_scores,
    .correlations = correlations,
};

extern const mica_component mica_component_estimator_cca;
const mica_component mica_component_estimator_cca = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "cca",
    "the directions in which two spaces of the same items correlate most",
    "latent-alignment-3d",
    cca_table,
    sizeof(mica_align_options),
    MICA_NEED_FEATURES | MICA_NEED_TARGETS,
    0,
    &cca_functions};
