/* The stages of a network with a compressed table: see mica/train_embedding.h. */
#include "train/batch.h"

#include <mica/train_embedding.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A stream that others use meanwhile: where this reader stands. */
typedef struct reader {
  const mica_stream *stream;
  int64_t epoch, batch;
  bool lost; /* somebody else has moved it */
} reader;

static mica_status read_next(reader *r, mica_batch *out) {
  mica_status status = MICA_OK;
  if (r->batch == r->stream->batches) r->epoch++, r->batch = 0, r->lost = true;
  if (r->lost) status = r->stream->seek(r->stream->ctx, r->epoch, r->batch);
  r->lost = false;
  r->batch++;
  return status == MICA_OK ? r->stream->next(r->stream->ctx, out) : status;
}

typedef struct stages {
  const mica_train_embedding_options *o;
  mica_net *net;
  mica_params *params, *best; /* best: a clone */
  mica_embedding_table *table;
  uint32_t phases;
  reader train, validation;
  mica_tape *tape;
  mica_loss *loss;
  mica_optimiser *optimiser; /* of the running stage */
  char search[256];          /* the selection; "": nothing is searched */
  double best_auroc;
  int64_t step, total;
  mica_train_embedding_result *result;
} stages;

/* ---- one step ---- */

/* Forward and backward of a batch. */
static mica_status gradients(stages *s, reader *from, uint64_t micro) {
  mica_tape *t = s->tape;
  mica_batch batch = {0};
  mica_status status = read_next(from, &batch);
  if (status != MICA_OK) return status;
  mica_outputs o;
  mica_loss_inputs in = {0};
  mica_tape_reset(t);
  mica_tape_set_step(t, (uint64_t)s->step, micro);
  mica_set_training(t, true);
  mica_params_zero_grad(s->params);
  const mica_inputs inputs = mica_batch_inputs(t, &batch);
  mica_net_forward_inputs(t, s->net, &inputs, &o);
  in.logits = o.logits;
  in.features = o.features;
  if (batch.labels) in.labels = mica_input(t, batch.labels);
  if (batch.targets) in.targets = mica_input(t, batch.targets);
  const mica_var loss = mica_loss_forward(t, s->loss, &in);
  const double value = mica_item(t, loss);
  if (mica_ok(t) && !isfinite(value))
    mica_latch(t, MICA_ERR_NUMERIC, "the loss is %g at step %lld", value, (long long)s->step);
  return mica_backward(t, loss);
}

/* A step of what is searched, on a validation batch. Running statistics stay those of training. */
static mica_status search_step(stages *s) {
  bool done;
  mica_status status = mica_params_train_only(s->params, s->search);
  if (status == MICA_OK) status = gradients(s, &s->validation, 1);
  if (status == MICA_OK) status = mica_embedding_search_step(s->table, &done);
  if (status == MICA_OK && !done) status = mica_optimiser_step(s->optimiser, s->tape, 1);
  s->result->searched++;
  return status;
}

static mica_status train_step(stages *s) {
  mica_status status = gradients(s, &s->train, 0);
  if (status == MICA_OK) status = mica_commit(s->tape);
  if (status == MICA_OK) status = mica_optimiser_step(s->optimiser, s->tape, 1);
  s->step++;
  s->result->steps++;
  if (status == MICA_OK && s->o->progress &&
      s->o->progress(s->o->progress_ctx, "training", s->step, s->total))
    status = mica_fail(MICA_ERR_CANCELLED, "training was stopped");
  return status;
}

/* ---- stages ---- */

static mica_status validate(stages *s, double *auroc) {
  mica_evaluation e = {0};
  const mica_status status = mica_evaluate(s->net, s->validation.stream, false, false, &e);
  s->validation.lost = true;
  *auroc = isfinite(e.auroc) ? e.auroc : -e.loss;
  mica_evaluation_clear(&e);
  return status;
}

static mica_status keep_best(stages *s) {
  double auroc;
  mica_status status = validate(s, &auroc);
  if (status != MICA_OK || !(auroc > s->best_auroc)) return status;
  s->best_auroc = auroc;
  if (!s->best) return mica_params_clone(s->params, &s->best);
  return mica_params_copy(s->best, s->params);
}

/* What `all` means: everything that is trained, or all but what is searched. */
static mica_status train_all(stages *s, bool searched) {
  char selection[300];
  snprintf(selection, sizeof selection, *s->search ? "all&!%s" : "all", s->search);
  return mica_params_train_only(s->params, searched ? "all" : selection);
}

/* `steps` steps; with a search after the warm-up, or keeping the best. */
static mica_status stage(stages *s, int64_t steps, bool search, bool best) {
  mica_status status = train_all(s, search);
  mica_optimiser_free(s->optimiser);
  s->optimiser = NULL;
  if (status == MICA_OK) status = mica_optimiser_create(s->params, s->o->optimiser, &s->optimiser);
  if (status == MICA_OK && search) status = train_all(s, false);
  s->best_auroc = -INFINITY;
  for (int64_t i = 1; i <= steps && status == MICA_OK; i++) {
    status = train_step(s);
    if (status == MICA_OK && search && i > s->o->warm_up) {
      status = search_step(s);
      if (status == MICA_OK) status = train_all(s, false);
    }
    const bool look = s->o->evaluate ? i % s->o->evaluate == 0 || i == steps : i == steps;
    if (status == MICA_OK && best && look) status = keep_best(s);
  }
  if (status == MICA_OK && best && s->best) status = mica_params_copy(s->params, s->best);
  return status;
}

/* First values again for everything that is trained but what is searched, and for the statistics
 * of norms. */
static mica_status begin_anew(stages *s) {
  mica_status status = train_all(s, false);
  for (int64_t i = 0; i < mica_params_count(s->params) && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(s->params, i);
    const char *path = mica_param_path(q), *name = strrchr(path, '.');
    name = name ? name + 1 : path;
    if (mica_param_flags(q) & MICA_PARAM_TRAINABLE || strcmp(name, "running_mean") == 0 ||
        strcmp(name, "running_var") == 0)
      status = mica_params_reinitialise(s->params, path, s->o->seed, NULL);
  }
  return status;
}

static mica_status score(void *ctx, double *out) {
  stages *s = ctx;
  s->result->tried++;
  return validate(s, out);
}

static mica_status decide(stages *s) {
  mica_status status = MICA_OK;
  if (s->phases & MICA_EMBEDDING_EVOLVES)
    status = mica_embedding_evolve(
        s->table, mica_key_fold_name(mica_key_seed(s->o->seed), "evolution"), score, s);
  return status == MICA_OK ? mica_embedding_decide(s->table) : status;
}

static mica_status run(stages *s) {
  const bool search = *s->search, repeats = s->phases & MICA_EMBEDDING_REPEATS,
             retrains = s->phases & MICA_EMBEDDING_RETRAINS,
             tunes = s->phases & MICA_EMBEDDING_TUNES,
             changes = search || repeats || retrains || tunes;
  const int64_t steps = s->o->steps;
  s->total = steps * (1 + repeats + retrains) + (tunes ? s->o->tune : 0);
  mica_status status = stage(s, steps, search, !changes);
  if (status == MICA_OK && repeats) {
    status = begin_anew(s);
    if (status == MICA_OK) status = stage(s, steps, false, true);
  }
  if (status == MICA_OK) status = decide(s);
  if (status == MICA_OK && retrains) {
    status = begin_anew(s);
    if (status == MICA_OK) status = stage(s, steps, false, true);
  } else if (status == MICA_OK && tunes) {
    status = stage(s, s->o->tune, false, true);
  }
  if (status == MICA_OK) status = validate(s, &s->result->auroc);
  return status;
}

mica_status mica_train_embedding(mica_net *net, const mica_stream *train,
                                 const mica_stream *validation,
                                 const mica_train_embedding_options *options,
                                 mica_train_embedding_result *result) {
  mica_train_embedding_options o = MICA_TRAIN_EMBEDDING_OPTIONS;
  mica_train_embedding_result unused;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (!result) result = &unused;
  *result = (mica_train_embedding_result){0, 0, 0, NAN};
  mica_node *node = mica_node_find(mica_params_root(mica_net_params(net)), o.node);
  stages s = {.o = &o,
              .net = net,
              .params = mica_net_params(net),
              .table = mica_embedding_at(node),
              .train = {train, 0, 0, true},
              .validation = {validation, 0, 0, true},
              .result = result};
  if (!s.table)
    return mica_fail(MICA_ERR_INVALID, "the network has no embedding table at '%s'", o.node);
  if (!validation || o.steps < 1 || o.tune < 0 || o.warm_up < 0 || o.evaluate < 0)
    return mica_fail(MICA_ERR_INVALID,
                     "training a table takes a validation stream, and 1 or more steps");
  mica_embedding_facts facts;
  mica_embedding_describe(s.table, &facts);
  s.phases = facts.phases;
  if (!mica_embedding_search_selection(s.table, s.search, sizeof s.search)) s.search[0] = 0;
  mica_tape_options tape = MICA_TAPE_OPTIONS;
  tape.seed = o.seed;
  mica_engine *engine = mica_params_engine(s.params);
  mica_status status = mica_tape_create(engine, &tape, &s.tape);
  if (status == MICA_OK)
    status = mica_loss_create(engine, o.loss, mica_node_child(mica_params_root(s.params), "loss"),
                              mica_net_problem(net)->classes, mica_net_features(net), &s.loss);
  if (status == MICA_OK) status = run(&s);
  mica_optimiser_free(s.optimiser);
  mica_loss_free(s.loss);
  mica_tape_free(s.tape);
  mica_params_free(s.best);
  return status;
}
