/* Scores of training examples: by networks trained here, or by models and runs that are there.
 *
 * Networks are trained side by side, one a thread. Each has its own initial values and order of
 * examples; what is averaged are the scores.
 */
#include "cli/select.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/features.h"
#include "model/net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_forgetting(const cli_args *a) {
  return strcmp(cli_text(a, "--score"), "forgetting") == 0;
}

/* ---- streams ---- */

/* The training part as it is (training: shuffled and augmented). */
static mica_status make_stream(const select_job *job, bool training, uint64_t seed,
                               mica_stream *out) {
  const train_data *d = &job->data;
  if (d->table)
    return mica_table_stream_create(d->table, MICA_PART_TRAIN, job->batch, training, seed, out);
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  o.batch = job->batch;
  o.seed = seed;
  o.shuffle = training;
  o.ahead = 0; /* every thread trains a network already */
  if (training && !cli_int(job->a, "--crop", 0, 64, &o.crop)) return MICA_ERR_INVALID;
  o.flip = training && cli_on(job->a, "--flip");
  return mica_dataset_stream_create(d->pictures, MICA_PART_TRAIN, &d->preprocess, &o, out);
}

static void free_stream(const select_job *job, mica_stream *stream) {
  if (job->data.table)
    mica_table_stream_free(stream);
  else
    mica_dataset_stream_free(stream);
}

/* The scores by one network, as source number `source`. */
static mica_status score_by(select_job *job, const mica_net *net, int64_t source) {
  mica_stream stream = {0};
  double *score = mica_calloc((size_t)job->all + 1, sizeof *score);
  mica_status status = score ? make_stream(job, false, 0, &stream) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_score_examples(net, cli_text(job->a, "--score"), &stream, job->all, false, score);
  for (int64_t i = 0; i < job->n && status == MICA_OK; i++)
    job->each[source * job->n + i] = score[job->item[i]];
  free_stream(job, &stream);
  mica_free(score);
  return status;
}

/* ---- networks trained here ---- */

typedef struct crew {
  select_job *job;
  const char *architecture, *optimiser;
  int64_t seed, epochs, steps; /* steps -1: epochs count */
  mica_time_left left;
} crew;

/* What a run of its own has. */
typedef struct own_run {
  mica_stream train;
  mica_forgetting *forgetting;
} own_run;

static mica_status make_run(void *ctx, mica_engine *engine, int64_t k, mica_train_job *out) {
  const crew *c = ctx;
  const cli_args *a = c->job->a;
  const uint64_t seed = (uint64_t)(c->seed + k);
  own_run *own = mica_calloc(1, sizeof *own);
  if (!own) return MICA_ERR_MEMORY;
  out->own = own;
  snprintf(out->label, sizeof out->label, "seed %lld", (long long)seed);
  mica_status status =
      mica_net_create(engine, c->architecture, &c->job->data.problem, seed, &out->net);
  if (status == MICA_OK) status = make_stream(c->job, true, seed, &own->train);
  out->train = own->train;
  if (status == MICA_OK && c->steps > 0) {
    mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
    o.batches = c->steps;
    status = mica_mixed_stream_create(&own->train, 1, &o, &out->train);
  }
  out->options.loss = cli_text(a, "--loss") ? cli_text(a, "--loss") : c->job->data.loss;
  out->options.optimiser = c->optimiser;
  out->options.schedule = cli_text(a, "--schedule");
  out->options.epochs = c->steps > 0 ? 1 : c->epochs;
  out->options.seed = seed;
  out->options.report_every = 20;
  if (status == MICA_OK && is_forgetting(a)) {
    status = mica_forgetting_create(c->job->all, &own->forgetting);
    out->options.visit = mica_forgetting_visitor;
    out->options.visit_ctx = own->forgetting;
  }
  return status;
}

static mica_status end_run(void *ctx, int64_t k, const mica_train_job *trained,
                           mica_train_outcome *outcome) {
  const crew *c = ctx;
  select_job *job = c->job;
  const own_run *own = trained->own;
  (void)outcome;
  if (!own->forgetting) return score_by(job, trained->net, k);
  double *score = mica_calloc((size_t)job->all + 1, sizeof *score);
  if (!score) return MICA_ERR_MEMORY;
  mica_forgetting_scores(own->forgetting, score);
  for (int64_t i = 0; i < job->n; i++) job->each[k * job->n + i] = score[job->item[i]];
  mica_free(score);
  return MICA_OK;
}

static void release_run(void *ctx, int64_t k, mica_train_job *made) {
  const crew *c = ctx;
  own_run *own = made->own;
  (void)k;
  if (!own) return;
  if (made->train.ctx != own->train.ctx) mica_mixed_stream_free(&made->train);
  free_stream(c->job, &own->train);
  mica_forgetting_free(own->forgetting);
  mica_free(own);
}

static int on_progress(void *ctx, const char *what, int64_t done, int64_t total) {
  crew *c = ctx;
  if (isatty(2) && !cli_on(c->job->a, "--json")) {
    const double left = mica_time_left_update(&c->left, mica_seconds(), done, total);
    fprintf(stderr, "\r\033[K%s: %lld of %lld networks", what, (long long)done, (long long)total);
    if (left >= 0) fprintf(stderr, ", %.0f s left", left);
    if (done >= total) fprintf(stderr, "\r\033[K");
  }
  return cli_interrupted();
}

/* Networks as they begin, without a step. */
static mica_status score_untrained(crew *c) {
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < c->job->sources && status == MICA_OK; k++) {
    mica_net *net = NULL;
    status = mica_net_create(c->job->engine, c->architecture, &c->job->data.problem,
                             (uint64_t)(c->seed + k), &net);
    if (status == MICA_OK) status = score_by(c->job, net, k);
    if (on_progress(c, "scoring", k + 1, c->job->sources) && status == MICA_OK)
      status = mica_fail(MICA_ERR_CANCELLED, "stopped");
    mica_net_free(net);
  }
  return status;
}

static mica_status score_trained(crew *c) {
  select_job *job = c->job;
  mica_train_many_options o = MICA_TRAIN_MANY_OPTIONS;
  mica_train_outcome *outcome = mica_calloc((size_t)job->sources, sizeof *outcome);
  if (!outcome) return MICA_ERR_MEMORY;
  o.make = make_run;
  o.end = end_run;
  o.release = release_run;
  o.ctx = c;
  o.progress = on_progress;
  o.progress_ctx = c;
  mica_status status = mica_train_many(job->engine, job->sources, &o, outcome);
  for (int64_t k = 0; k < job->sources && status == MICA_OK; k++)
    if (outcome[k].status != MICA_OK)
      status = mica_fail(outcome[k].status, "%s: %s", outcome[k].label, outcome[k].message);
  mica_free(outcome);
  return status;
}

/* ---- the examples ---- */

static mica_status list_examples(select_job *job) {
  const train_data *d = &job->data;
  const mica_tensor *labels = d->pictures ? mica_dataset_labels(d->pictures) : NULL;
  const int64_t *label = labels ? mica_tensor_data(labels) : mica_data_table_labels(d->table);
  if (!label)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: scores need classes, the label is a number",
                     job->path);
  job->all = d->pictures ? mica_dataset_count(d->pictures) : mica_data_table_count(d->table);
  job->item = mica_calloc((size_t)job->all + 1, sizeof *job->item);
  job->label = mica_calloc((size_t)job->all + 1, sizeof *job->label);
  if (!job->item || !job->label) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < job->all; i++) {
    const mica_part part =
        d->pictures ? mica_dataset_part_of(d->pictures, i) : mica_data_table_part_of(d->table, i);
    if (part != MICA_PART_TRAIN) continue;
    job->label[job->n] = label[i];
    job->item[job->n++] = i;
  }
  job->each = mica_calloc((size_t)(job->n * job->sources) + 1, sizeof *job->each);
  return job->each ? MICA_OK : MICA_ERR_MEMORY;
}

static mica_status check_architecture(const select_job *job, const char *architecture) {
  mica_spec *spec;
  mica_status status = mica_net_parse(job->engine, architecture, &spec, NULL);
  if (status != MICA_OK) return status;
  const uint32_t needs = mica_spec_component(spec)->needs;
  if ((needs & MICA_NEED_TOKENS) && !(needs & MICA_NEED_IMAGES))
    status = mica_fail(MICA_ERR_UNSUPPORTED, "%s: examples of texts are not scored", architecture);
  mica_spec_free(spec);
  return status;
}

static mica_status open_data(select_job *job) {
  const cli_args *a = job->own;
  if (!cli_text(a, "--data")) return mica_fail(MICA_ERR_INVALID, "--data is missing");
  snprintf(job->path, sizeof job->path, "%s", cli_text(a, "--data"));
  mica_status status = check_architecture(job, a->operand[0]);
  if (status == MICA_OK) status = train_data_open(a, job->engine, job->batch, 0, &job->data);
  if (status == MICA_OK && job->data.table && mica_data_table_in_file(job->data.table))
    status =
        mica_fail(MICA_ERR_UNSUPPORTED, "%s: rows of tables are scored in memory alone", job->path);
  return status == MICA_OK ? list_examples(job) : status;
}

static mica_status score_by_architecture(select_job *job) {
  const cli_args *a = job->a;
  crew c = {.job = job, .architecture = job->own->operand[0], .steps = -1};
  char optimiser[512];
  if (!cli_int(a, "--seeds", 1, 1000, &job->sources) ||
      !cli_int(a, "--seed", 0, INT64_MAX - 1000, &c.seed) ||
      !cli_int(a, "--epochs", 1, 100000, &c.epochs) ||
      (cli_text(a, "--steps") && !cli_int(a, "--steps", 0, 1000000000, &c.steps)))
    return MICA_ERR_INVALID;
  const char *lr = cli_text(a, "--lr");
  snprintf(optimiser, sizeof optimiser, "%s%s%s", cli_text(a, "--optimiser"), lr ? ":lr=" : "",
           lr ? lr : "");
  c.optimiser = optimiser;
  if (!c.steps && is_forgetting(a))
    return mica_fail(MICA_ERR_INVALID, "forgetting is counted while a network is trained");
  mica_status status = open_data(job);
  if (status != MICA_OK) return status;
  char when[64];
  snprintf(when, sizeof when, "%lld %s", (long long)(c.steps >= 0 ? c.steps : c.epochs),
           c.steps >= 0    ? "steps"
           : c.epochs == 1 ? "epoch"
                           : "epochs");
  snprintf(job->what, sizeof job->what, "%.60s, mean of %lld networks (%.200s, %s)",
           cli_text(a, "--score"), (long long)job->sources, c.architecture, when);
  fprintf(stderr, "%s: %lld training examples; %s\n", job->path, (long long)job->n, job->what);
  return c.steps ? score_trained(&c) : score_untrained(&c);
}

/* ---- models and runs ---- */

static void set_value(cli_args *a, const char *name, const char *value) {
  for (int i = 0; a->verb->flags[i].name; i++)
    if (strcmp(a->verb->flags[i].name, name) == 0) a->value[i] = value;
}

/* --data, or what the model was trained on. */
static mica_status data_of(select_job *job, const mica_model *model) {
  const char *given = cli_text(job->a, "--data"), *text = mica_model_training(model);
  mica_json_doc *doc = NULL;
  if (!given && text && mica_json_parse(text, strlen(text), &doc) == MICA_OK)
    given = mica_json_string(mica_json_get(mica_json_root(doc), "data"));
  if (given) snprintf(job->path, sizeof job->path, "%s", given);
  mica_json_free(doc);
  return given ? MICA_OK : mica_fail(MICA_ERR_INVALID, "--data is missing");
}

/* The data as a model reads them, with its classes in its order. */
static mica_status open_data_for(select_job *job, const mica_model *model) {
  train_data *d = &job->data;
  mica_bytes names = {0};
  double validation;
  if (!cli_double(job->a, "--val-split", 0, 0.9, &validation) || data_of(job, model) != MICA_OK)
    return MICA_ERR_INVALID;
  const mica_problem *p = mica_net_problem(mica_model_net(model));
  d->classes = calloc((size_t)p->classes + 1, sizeof *d->classes);
  if (!d->classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  for (int64_t i = 0; i < p->classes; i++) {
    d->classes[i] = mica_model_class(model, i);
    mica_bytes_printf(&names, "%s%s", i ? "," : "", d->classes[i]);
  }
  mica_status status = names.status;
  if (status == MICA_OK)
    status = open_pictures(job->a, model, job->path, names.data, validation, &d->pictures);
  mica_bytes_free(&names);
  if (status != MICA_OK) return status;
  d->problem = *p;
  d->preprocess = *mica_model_preprocess(model);
  set_value(job->own, "--data", job->path);
  status = train_change_data(job->own, d);
  return status == MICA_OK ? list_examples(job) : status;
}

static mica_status score_by_model(select_job *job, const char *path, int64_t source) {
  mica_model *model = NULL;
  mica_status status = open_model(job->engine, path, &model);
  if (status == MICA_OK) status = whole_pictures(model);
  if (status == MICA_OK &&
      (!mica_net_problem(mica_model_net(model))->classes || mica_model_heads(model)))
    status = mica_fail(
        MICA_ERR_UNSUPPORTED,
        "%s: scores need a network with a classifier of its own, and no fitted heads", path);
  if (status == MICA_OK && source == 0) status = open_data_for(job, model);
  if (status == MICA_OK &&
      mica_net_problem(mica_model_net(model))->classes != job->data.problem.classes)
    status = mica_fail(MICA_ERR_INVALID, "%s: another number of classes than %s has", path,
                       job->a->operand[0]);
  for (int64_t i = 0; i < job->data.problem.classes && status == MICA_OK; i++)
    if (strcmp(mica_model_class(model, i), mica_dataset_class(job->data.pictures, i)) != 0)
      status =
          mica_fail(MICA_ERR_INVALID, "%s: other classes, or another order of them, than %s has",
                    path, job->a->operand[0]);
  if (status == MICA_OK && source == 0)
    for (int64_t i = 0; i < job->data.problem.classes; i++)
      job->data.classes[i] = mica_dataset_class(job->data.pictures, i); /* the model goes */
  if (status == MICA_OK) {
    job->data.preprocess = *mica_model_preprocess(model);
    status = score_by(job, mica_model_net(model), source);
  }
  mica_model_free(model);
  return status;
}

/* The folder of a run: the network as the run has left it. */
static mica_status score_by_run(select_job *job, const char *folder, int64_t source) {
  char *config = mica_path_join(folder, "config.json"),
       *values = mica_path_join(folder, "last.safetensors");
  mica_run_record *record = NULL;
  mica_net *net = NULL;
  char hex[65];
  mica_status status = config && values ? mica_run_record_load(config, &record) : MICA_ERR_MEMORY;
  const char *spec = status == MICA_OK ? mica_run_record_get(record, "model") : NULL;
  const char *data = status == MICA_OK ? mica_run_record_get(record, "data") : NULL;
  if (status == MICA_OK && !spec)
    status =
        mica_fail(MICA_ERR_FORMAT, "%s: no 'model', expected the record of `mica train`", config);
  if (status == MICA_OK && source == 0) {
    job->own->operand[0] = spec;
    if (!cli_text(job->own, "--data")) set_value(job->own, "--data", data);
    status = open_data(job);
    const char *made_of = mica_run_record_get(record, "data_fingerprint");
    if (!made_of) made_of = mica_run_record_get(record, "data_sha256");
    if (status == MICA_OK && made_of && train_data_hash(&job->data, job->path, hex) == MICA_OK &&
        strcmp(hex, made_of) != 0)
      fprintf(stderr,
              "%s: was trained on other data, another subset or another validation part; "
              "give the flags that it was trained with\n",
              folder);
    /* What the record holds goes with it. */
    job->own->operand[0] = job->a->operand[0];
    set_value(job->own, "--data", job->path);
  }
  const char *noise = status == MICA_OK ? mica_run_record_get(record, "label_noise") : NULL;
  if (noise && strcmp(noise, cli_text(job->a, "--label-noise")) != 0)
    fprintf(stderr, "%s: was trained with --label-noise %s; the scores are of other labels\n",
            folder, noise);
  if (status == MICA_OK) status = mica_net_create(job->engine, spec, &job->data.problem, 0, &net);
  if (status == MICA_OK) {
    mica_load_options o = MICA_LOAD_OPTIONS;
    o.strip = "model.";
    status = mica_params_load(mica_net_params(net), values, &o, NULL);
  }
  if (status == MICA_OK) status = score_by(job, net, source);
  mica_net_free(net);
  mica_run_record_free(record);
  mica_free(config);
  mica_free(values);
  return status;
}

static bool is_run(const char *path) {
  char *config = mica_path_join(path, "config.json");
  const bool is = config && mica_file_exists(config);
  mica_free(config);
  return is;
}

/* ---- all of it ---- */

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median of Spearman's correlations between each two sources. */
static mica_status agree(select_job *job) {
  const int64_t s = job->sources, pairs = s * (s - 1) / 2;
  job->agreement = NAN;
  if (!pairs) return MICA_OK;
  double *r = mica_calloc((size_t)pairs, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  int64_t m = 0;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < s && status == MICA_OK; i++)
    for (int64_t k = i + 1; k < s && status == MICA_OK; k++) {
      double value;
      status = mica_spearman(job->n, job->each + i * job->n, job->each + k * job->n, &value);
      if (isfinite(value)) r[m++] = value;
    }
  if (status == MICA_OK && m) {
    qsort(r, (size_t)m, sizeof *r, by_value);
    job->agreement = mica_quantile_sorted(r, m, 0.5);
  }
  mica_free(r);
  return status;
}

static mica_status average(select_job *job) {
  job->score = mica_calloc((size_t)job->n + 1, sizeof *job->score);
  job->order = mica_calloc((size_t)job->n + 1, sizeof *job->order);
  if (!job->score || !job->order) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < job->n; i++) {
    for (int64_t s = 0; s < job->sources; s++)
      job->score[i] += job->each[s * job->n + i] / (double)job->sources;
    if (isnan(job->score[i]))
      return mica_fail(MICA_ERR_NUMERIC, "the score of example %lld is not a number",
                       (long long)job->item[i]);
  }
  return agree(job);
}

static mica_status score_by_files(select_job *job) {
  const cli_args *a = job->a;
  mica_status status = MICA_OK;
  job->sources = a->n_operands;
  if (is_forgetting(a))
    return mica_fail(MICA_ERR_INVALID, "forgetting is counted while a network is trained: name an "
                                       "architecture, such as convnet");
  for (int64_t k = 0; k < job->sources && status == MICA_OK; k++) {
    const char *path = a->operand[k];
    if (is_run(path) != is_run(a->operand[0]))
      status = mica_fail(MICA_ERR_INVALID, "%s: expected runs, or models, not both", path);
    if (status == MICA_OK)
      status = is_run(path) ? score_by_run(job, path, k) : score_by_model(job, path, k);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  snprintf(job->what, sizeof job->what, "%.60s, %s%lld network%s (%.200s%s)",
           cli_text(a, "--score"), job->sources > 1 ? "mean of " : "of ", (long long)job->sources,
           job->sources > 1 ? "s" : "", a->operand[0], job->sources > 1 ? ", ..." : "");
  return status;
}

/* One name of an architecture, and no file of that name. */
static bool names_architecture(const select_job *job) {
  const char *first = job->own->operand[0];
  char name[64];
  if (job->a->n_operands > 1 || mica_file_exists(first)) return false;
  snprintf(name, sizeof name, "%.*s", (int)strcspn(first, ":"), first);
  return mica_component_find(job->engine, MICA_KIND_MODEL, name) != NULL;
}

mica_status select_score(select_job *job) {
  if (!job->a->n_operands) job->own->operand[0] = "convnet";
  const mica_status status =
      names_architecture(job) ? score_by_architecture(job) : score_by_files(job);
  return status == MICA_OK ? average(job) : status;
}
