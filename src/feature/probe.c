/* A head of mica/layer.h trained on features that stay as they are: linear, cosine, subspaces, or
 * moments of tokens where a row holds the tokens of an example one behind the other.
 *
 * Training runs on an engine of its own with the library's own kernels, whose results are the same
 * bits for every thread count. Memory: the head with its gradient and the optimiser's state, and
 * the steps of one batch.
 */
#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/rows.h"

#include <mica/layer.h>
#include <mica/loss.h>
#include <mica/optim.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  const char *head, *optimiser, *schedule;
  int64_t steps, batch, channels, seed;
  double smoothing, average, reject;
  bool class_token;
} options;

static const mica_option option_table[] = {
    {"head", MICA_OPTION_SPEC, "linear", 0, 0, NULL, "the head", offsetof(options, head)},
    {"optimiser", MICA_OPTION_SPEC, "adamw:lr=3e-3", 0, 0, NULL,
     "update rules, as of training; subspaces want \"| subspace=rsgd\"",
     offsetof(options, optimiser)},
    {"schedule", MICA_OPTION_SPEC, "cosine", 0, 0, NULL, "of the learning rate",
     offsetof(options, schedule)},
    {"steps", MICA_OPTION_INT, "300", 1, 1e9, NULL, "updates", offsetof(options, steps)},
    {"batch", MICA_OPTION_INT, "64", 1, 1e6, NULL, "rows of an update", offsetof(options, batch)},
    {"channels", MICA_OPTION_INT, "0", 0, 1e6, NULL,
     "features of a token, of which a row has several; 0: no tokens", offsetof(options, channels)},
    {"class_token", MICA_OPTION_BOOL, "false", 0, 0, NULL, "the first token stands for the whole",
     offsetof(options, class_token)},
    {"smoothing", MICA_OPTION_FLOAT, "0", 0, 1, NULL, "share of the target spread over all classes",
     offsetof(options, smoothing)},
    {"average", MICA_OPTION_FLOAT, "0", 0, 1, NULL,
     "decay of a moving average of the weights, which then answers; 0: none",
     offsetof(options, average)},
    {"seed", MICA_OPTION_INT, "0", 0, 9e15, NULL, "of initial values and the order of the rows",
     offsetof(options, seed)},
    {"reject", MICA_OPTION_FLOAT, "0", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"; needs held-out rows",
     offsetof(options, reject)},
    {0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct probe {
  mica_engine *engine;
  mica_spec *head;
  mica_params *params;
  int64_t classes;
} probe;

static void free_state(void *state) {
  probe *p = state;
  if (!p) return;
  mica_params_free(p->params);
  mica_spec_free(p->head);
  mica_engine_free(p->engine);
  mica_free(p);
}

static const mica_layer_functions *functions_of(const probe *p) {
  return mica_spec_component(p->head)->functions;
}

static mica_status check_tokens(const options *o, const probe *p, int64_t features) {
  const mica_component *c = mica_spec_component(p->head);
  if (!o->channels && c->needs & MICA_NEED_TOKENS)
    return mica_fail(MICA_ERR_INVALID,
                     "probe: the head %s reads tokens; channels says how wide "
                     "they are",
                     c->name);
  if (o->channels && (features % o->channels || features / o->channels < 1 + o->class_token))
    return mica_fail(MICA_ERR_SHAPE, "probe: %lld features are no tokens of %lld channels",
                     (long long)features, (long long)o->channels);
  return MICA_OK;
}

/* A head with fresh values from the seed. */
static mica_status create(const mica_engine *engine, const options *o, int64_t features,
                          int64_t classes, uint64_t seed, probe **out) {
  mica_engine_options own = MICA_ENGINE_OPTIONS;
  probe *p = *out = mica_calloc(1, sizeof *p);
  if (!p) return MICA_ERR_MEMORY;
  own.threads = mica_engine_threads(engine);
  own.isa = mica_engine_isa(engine);
  own.libraries = 0;
  p->classes = classes;
  mica_status status = mica_spec_parse(engine, MICA_KIND_LAYER, o->head, &p->head);
  if (status == MICA_OK) status = check_tokens(o, p, features);
  if (status == MICA_OK) status = mica_engine_create(&own, &p->engine);
  if (status == MICA_OK) status = mica_params_create(p->engine, seed, &p->params);
  if (status == MICA_OK) {
    const mica_layer_problem problem = {o->channels ? o->channels : features, classes};
    mica_node *node = mica_node_child(mica_params_root(p->params), "head");
    status = node ? functions_of(p)->init(node, mica_spec_options(p->head), &problem)
                  : mica_last_status();
  }
  if (status == MICA_OK) return MICA_OK;
  free_state(p);
  *out = NULL;
  return status;
}

/* ---- forward ---- */

/* Rows of x that `index` names (NULL: from..) as float32. */
static void gather(const mica_view *x, const int64_t *index, int64_t from, int64_t n, float *to) {
  const int64_t d = mica_rows_d(x), stride = x->row_stride;
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = (index ? index[i] : from + i) * stride;
    for (int64_t j = 0; j < d; j++)
      to[i * d + j] = x->dtype == MICA_F32 ? ((const float *)x->data)[at + j]
                                           : (float)((const double *)x->data)[at + j];
  }
}

static mica_var logits_of(mica_tape *t, const options *o, const probe *p, const float *rows,
                          int64_t n, int64_t d) {
  const mica_view view = mica_view_of((void *)(uintptr_t)rows, MICA_F32, MICA_SHAPE(n, d));
  mica_layer_inputs in = {.features = mica_borrow(t, &view)};
  mica_layer_outputs out = {0};
  if (o->channels) {
    const int64_t l = d / o->channels, first = o->class_token;
    const mica_var x = mica_reshape(t, in.features, MICA_SHAPE(n, l, o->channels));
    in.tokens = first ? mica_slice(t, x, 1, 1, l) : x;
    in.features = first ? mica_reshape(t, mica_slice(t, x, 1, 0, 1), MICA_SHAPE(n, o->channels))
                        : mica_mean(t, x, 1, (int[]){1}, false);
  }
  functions_of(p)->forward(t, mica_node_find(mica_params_root(p->params), "head"),
                           mica_spec_options(p->head), &in, &out);
  return out.logits;
}

/* ---- fit ---- */

typedef struct training {
  const options *o;
  const mica_fit_data *data;
  probe *p;
  mica_tape *tape;
  mica_optimiser *optimiser;
  mica_spec *schedule;
  mica_params *average;
  int64_t *order; /* [n] of the epoch */
  int64_t *label; /* [batch] */
  float *rows;    /* [batch, d] */
  double loss;    /* sum over the rows of the last n that were seen, about */
} training;

static void shuffle(mica_key key, int64_t n, int64_t *order) {
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = 0; i < n - 1; i++) {
    const int64_t j = i + (int64_t)mica_random_below(key, (uint64_t)i, (uint64_t)(n - i));
    const int64_t k = order[i];
    order[i] = order[j];
    order[j] = k;
  }
}

static mica_status step(training *r, int64_t number, const int64_t *index, int64_t n) {
  const options *o = r->o;
  mica_tape *t = r->tape;
  mica_cross_entropy_options ce = MICA_CROSS_ENTROPY_OPTIONS;
  ce.smoothing = o->smoothing;
  gather(&r->data->x, index, 0, n, r->rows);
  for (int64_t i = 0; i < n; i++) r->label[i] = r->data->label[index[i]];
  const mica_view label = mica_view_of(r->label, MICA_I64, MICA_SHAPE(n));
  mica_params_zero_grad(r->p->params);
  mica_tape_reset(t);
  mica_tape_set_step(t, (uint64_t)number, 0);
  mica_set_training(t, true);
  mica_set_labels(t, mica_borrow(t, &label)); /* for margins */
  const mica_var logits = logits_of(t, o, r->p, r->rows, n, mica_rows_d(&r->data->x));
  const mica_var loss = mica_cross_entropy(t, logits, mica_labels(t), MICA_NONE, &ce);
  r->loss = mica_item(t, loss);
  if (mica_ok(t) && !isfinite(r->loss))
    mica_latch(t, MICA_ERR_NUMERIC,
               "probe: the loss is %g at step %lld; a lower learning rate may "
               "help",
               r->loss, (long long)number);
  mica_status status = mica_backward(t, loss);
  if (status == MICA_OK) status = mica_commit(t);
  if (status == MICA_OK)
    status = mica_optimiser_step(
        r->optimiser, t,
        mica_schedule_rate(r->schedule, mica_optimiser_lr(r->optimiser), number, o->steps));
  if (status == MICA_OK && functions_of(r->p)->after_step)
    functions_of(r->p)->after_step(mica_node_find(mica_params_root(r->p->params), "head"),
                                   mica_spec_options(r->p->head));
  if (status == MICA_OK && r->average)
    status = mica_average_update(r->average, r->p->params, o->average, t);
  return status;
}

static mica_status train(training *r, mica_fit_report *report) {
  const options *o = r->o;
  const int64_t n = mica_rows_n(&r->data->x);
  const mica_key key = mica_key_seed((uint64_t)o->seed);
  mica_status status = MICA_OK;
  double mean = 0;
  for (int64_t k = 0, at = n, epoch = 0; k < o->steps && status == MICA_OK; k++) {
    if (at >= n) {
      shuffle(mica_key_fold(key, (uint64_t)epoch++), n, r->order);
      at = 0;
    }
    const int64_t m = n - at < o->batch ? n - at : o->batch;
    status = step(r, k, r->order + at, m);
    at += m;
    mean = k ? 0.95 * mean + 0.05 * r->loss : r->loss;
    if (status == MICA_OK && r->data->progress &&
        r->data->progress(r->data->progress_ctx, "probe", k + 1, o->steps))
      status = mica_fail(MICA_ERR_CANCELLED, "probe: cancelled at step %lld", (long long)k);
  }
  report->iterations = o->steps;
  report->objective = mean;
  return status;
}

static mica_status run(training *r, mica_fit_report *report) {
  const int64_t n = mica_rows_n(&r->data->x), d = mica_rows_d(&r->data->x);
  const int64_t batch = r->o->batch < n ? r->o->batch : n;
  mica_params *params = r->p->params;
  mica_tape_options t = MICA_TAPE_OPTIONS;
  t.seed = (uint64_t)r->o->seed;
  r->order = mica_calloc((size_t)n, sizeof *r->order);
  r->label = mica_calloc((size_t)batch, sizeof *r->label);
  r->rows = mica_calloc((size_t)(batch * d), sizeof *r->rows);
  mica_status status = r->order && r->label && r->rows ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_optimiser_create(params, r->o->optimiser, &r->optimiser);
  if (status == MICA_OK) status = mica_schedule_parse(r->p->engine, r->o->schedule, &r->schedule);
  if (status == MICA_OK && r->o->average > 0) status = mica_params_clone(params, &r->average);
  if (status == MICA_OK) status = mica_tape_create(r->p->engine, &t, &r->tape);
  if (status == MICA_OK) status = train(r, report);
  if (status == MICA_OK && r->average) status = mica_params_copy(params, r->average);
  mica_params_zero_grad(params);
  mica_tape_free(r->tape);
  mica_params_free(r->average);
  mica_spec_free(r->schedule);
  mica_optimiser_free(r->optimiser);
  mica_free(r->order);
  mica_free(r->label);
  mica_free(r->rows);
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  training r = {.o = given, .data = data};
  mica_status status =
      create(engine, given, mica_rows_d(&data->x), data->classes, (uint64_t)r.o->seed, &r.p);
  if (status == MICA_OK) status = run(&r, report);
  if (status != MICA_OK) {
    free_state(r.p);
    return status;
  }
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  *state = r.p;
  return MICA_OK;
}

/* ---- the rest ---- */

/* One minus the largest probability. */
static double unsure(const double *score, int64_t classes) {
  double top = -INFINITY, sum = 0;
  for (int64_t c = 0; c < classes; c++) top = fmax(top, score[c]);
  for (int64_t c = 0; c < classes; c++) sum += exp(score[c] - top);
  return 1 - 1 / sum;
}

static mica_status score_rows(const options *o, const probe *p, const mica_view *x, double *score) {
  enum { AT_ONCE = 64 };
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x), k = p->classes;
  mica_tape *t = NULL;
  float *rows = mica_malloc((size_t)((n < AT_ONCE ? n : AT_ONCE) * d) * sizeof *rows);
  mica_status status = rows ? mica_tape_create(p->engine, NULL, &t) : MICA_ERR_MEMORY;
  if (status == MICA_OK) mica_no_grad_begin(t);
  for (int64_t from = 0; from < n && status == MICA_OK; from += AT_ONCE) {
    const int64_t m = n - from < AT_ONCE ? n - from : AT_ONCE;
    gather(x, NULL, from, m, rows);
    mica_scope_begin(t, NULL);
    const mica_var y = logits_of(t, o, p, rows, m, d);
    const mica_view v = mica_read(t, y);
    for (int64_t i = 0; mica_ok(t) && i < m * k; i++)
      score[from * k + i] = (double)((const float *)v.data)[i / k * v.row_stride + i % k];
    mica_scope_end(t, MICA_NONE);
    status = mica_tape_status(t);
  }
  mica_tape_free(t);
  mica_free(rows);
  return status;
}

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  (void)engine;
  const probe *p = state;
  const int64_t n = mica_rows_n(x), k = p->classes;
  double *own, *score = mica_scores_begin(n, k, out, &own);
  if (!score) return MICA_ERR_MEMORY;
  const mica_status status = score_rows(o, p, x, score);
  for (int64_t i = 0; out->anomaly && status == MICA_OK && i < n; i++)
    out->anomaly[i] = unsure(score + i * k, k);
  if (status == MICA_OK) mica_scores_answer(n, k, 1, score, out);
  mica_free(own);
  return status;
}

static mica_status save(const void *state, mica_record *record) {
  const probe *p = state;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < mica_params_count(p->params) && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(p->params, i);
    mica_tensor *value = NULL;
    const mica_view v = mica_tensor_view(mica_param_value(q));
    status = mica_tensor_from_view(&v, MICA_F32, &value);
    if (status == MICA_OK) status = mica_record_put(record, mica_param_path(q), value);
    mica_tensor_free(value);
  }
  return status;
}

static mica_status load(const mica_engine *engine, const void *given, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  probe *p = NULL;
  mica_status status = create(engine, given, fitted->features, fitted->classes, MICA_SEED_NONE, &p);
  for (int64_t i = 0; status == MICA_OK && i < mica_params_count(p->params); i++) {
    mica_param *q = mica_params_at(p->params, i);
    const mica_tensor *from = mica_record_get(record, mica_param_path(q));
    const mica_tensor *value = mica_param_value(q);
    if (!from || mica_tensor_dtype(from) != MICA_F32 ||
        !mica_shape_equal(mica_tensor_shape(from), mica_tensor_shape(value))) {
      status = mica_fail(MICA_ERR_FORMAT, "estimator record: '%s' is missing or of another shape",
                         mica_param_path(q));
      break;
    }
    const float *v = mica_tensor_data(from);
    for (int64_t k = 0; k < mica_tensor_count(from) && status == MICA_OK; k++)
      if (!isfinite(v[k]))
        status =
            mica_fail(MICA_ERR_FORMAT, "estimator record: '%s' is not finite", mica_param_path(q));
    memcpy(mica_param_write(q), v, (size_t)mica_tensor_count(from) * sizeof *v);
  }
  if (status != MICA_OK) {
    free_state(p);
    return status;
  }
  *state = p;
  return MICA_OK;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_PROBABILITIES,
    .rejection = rejection,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .save = save,
    .load = load,
};

extern const mica_component mica_component_estimator_probe;
const mica_component mica_component_estimator_probe = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "probe",
    "a head trained by steps: linear, cosine, subspaces, moments of tokens",
    "moment-probing",
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
