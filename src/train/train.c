/* The trainer: epochs of steps in stages, evaluation, checkpoints and resume. step.c does a step,
 * plan.c reads the stages, run_state.c saves and restores all that a step changes.
 */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int64_t steps_of_epoch(const mica_trainer *r) {
  return (r->train->batches + r->o->accumulate - 1) / r->o->accumulate;
}

/* ---- an epoch ---- */

static mica_status path_of(const mica_trainer *r, const char *name, char path[4096]) {
  if (snprintf(path, 4096, "%s/%s", r->o->dir, name) < 4096) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "'%s' is too long a path", r->o->dir);
}

static mica_status save_last(mica_trainer *r) {
  char path[4096];
  if (!r->o->dir) return MICA_OK;
  mica_status status = path_of(r, "last.safetensors", path);
  return status == MICA_OK ? mica_run_state_save(&r->state, path) : status;
}

static mica_status save_best(mica_trainer *r) {
  char path[4096];
  if (!r->o->dir) return MICA_OK;
  const mica_params *best = r->state.average ? r->state.average : mica_net_params(r->net);
  mica_status status = path_of(r, "best.safetensors", path);
  return status == MICA_OK ? mica_params_save(best, path, NULL, 0) : status;
}

static mica_status validate(mica_trainer *r, mica_train_metrics *m) {
  mica_params *params = mica_net_params(r->net), *own = NULL;
  mica_status status = MICA_OK;
  /* The average is what will be used: evaluate with its values in place. */
  if (r->state.average) {
    status = mica_params_clone(params, &own);
    if (status == MICA_OK) status = mica_params_copy(params, r->state.average);
  }
  mica_evaluation e = {0};
  if (status == MICA_OK) status = mica_evaluate(r->net, r->validation, false, false, &e);
  if (own) {
    mica_status back = mica_params_copy(params, own);
    if (status == MICA_OK) status = back;
    mica_params_free(own);
  }
  if (status != MICA_OK) return status;
  m->val_loss = e.loss;
  m->val_accuracy = e.accuracy;
  m->val_auroc = e.auroc;
  run_state *s = &r->state;
  /* The lower loss decides between equal accuracies, and where there are none. */
  const bool equal = r->o->best_by_loss || isnan(e.accuracy) || e.accuracy == s->best_accuracy;
  const bool higher = !r->o->best_by_loss && e.accuracy > s->best_accuracy;
  m->best = s->best_epoch < 0 || higher || (equal && e.loss < s->best_loss);
  if (m->best) {
    s->best_epoch = s->epoch;
    s->best_accuracy = e.accuracy;
    s->best_loss = e.loss;
    status = save_best(r);
  }
  return status;
}

static mica_status report(mica_trainer *r, const mica_train_metrics *m) {
  if (r->o->report && r->o->report(r->o->report_ctx, m)) {
    mica_status status = save_last(r);
    return status != MICA_OK ? status
                             : mica_fail(MICA_ERR_CANCELLED, "training was stopped by the caller");
  }
  return MICA_OK;
}

/* Steps of the run when no stage ends before its time from here on. */
static int64_t steps_in_all(const mica_trainer *r) {
  int64_t epochs = r->state.stage_epoch;
  for (int64_t k = r->state.stage; k < r->plan.n; k++) epochs += r->plan.stage[k].o.epochs;
  return epochs * steps_of_epoch(r);
}

/* What the optimiser's rates are multiplied by in the coming step. */
static double rate_factor(const mica_trainer *r) {
  const mica_stage *stage = mica_trainer_stage(r);
  const run_state *s = &r->state;
  const int64_t steps = steps_of_epoch(r);
  const double base = mica_optimiser_lr(s->optimiser), lr = stage->o.lr > 0 ? stage->o.lr : base;
  const double factor = mica_schedule_rate(stage->schedule, lr, s->step - s->stage_epoch * steps,
                                           stage->o.epochs * steps);
  return stage->o.lr > 0 ? factor * (lr / base) : factor;
}

/* The values now, where a later stage goes back to them. */
static mica_status keep_values(mica_trainer *r) {
  run_state *s = &r->state;
  return mica_plan_keeps(&r->plan, s->stage, s->step) ? mica_run_state_keep(s, s->step) : MICA_OK;
}

static mica_status epoch(mica_trainer *r, double *epoch_loss) {
  const mica_train_options *o = r->o;
  run_state *s = &r->state;
  const int64_t steps = steps_of_epoch(r);
  mica_status status = r->train->seek(r->train->ctx, s->epoch, s->step_in_epoch * o->accumulate);
  mica_train_metrics m = {.val_loss = NAN,
                          .val_accuracy = NAN,
                          .val_auroc = NAN,
                          .steps_total = steps_in_all(r),
                          .stage = s->stage};
  double since = 0;
  int64_t counted = 0;
  while (s->step_in_epoch < steps && status == MICA_OK) {
    const int64_t left = r->train->batches - s->step_in_epoch * o->accumulate;
    const double factor = rate_factor(r);
    double loss;
    status = mica_trainer_step(r, left < o->accumulate ? left : o->accumulate, factor, &loss);
    if (status != MICA_OK) break;
    s->step++;
    status = keep_values(r);
    s->step_in_epoch++;
    s->loss_sum += loss;
    since += loss;
    counted++;
    const bool last = s->step_in_epoch == steps;
    m.epoch = s->epoch;
    m.step = s->step;
    m.examples = s->examples;
    m.lr = mica_optimiser_lr(s->optimiser) * factor;
    m.grad_norm = mica_optimiser_grad_norm(s->optimiser);
    if (!last && o->save_every && s->step % o->save_every == 0 && status == MICA_OK)
      status = save_last(r);
    if (!last && o->report_every && s->step % o->report_every == 0 && status == MICA_OK) {
      m.loss = since / (double)counted;
      m.seconds = now() - r->start;
      since = 0;
      counted = 0;
      status = report(r, &m);
    }
  }
  if (status != MICA_OK) return status;
  *epoch_loss = s->loss_sum / (double)steps;
  if (r->validation) status = validate(r, &m);
  m.end_of_epoch = true;
  m.loss = *epoch_loss;
  m.seconds = now() - r->start;
  s->epoch++;
  s->step_in_epoch = 0;
  s->loss_sum = 0;
  s->last_loss = *epoch_loss;
  /* Reported first: a run that is killed between the two reports the epoch again when resumed,
   * instead of never. */
  if (status == MICA_OK) status = report(r, &m);
  return status == MICA_OK ? save_last(r) : status;
}

/* ---- stages ---- */

/* Only what a stage after this one goes back to stays. */
static void drop_values(mica_trainer *r) {
  run_state *s = &r->state;
  for (int i = s->snapshots; i-- > 0;)
    if (!mica_plan_keeps(&r->plan, s->stage, s->snapshot[i].step)) mica_run_state_drop(s, i);
}

static mica_status rewind_values(mica_trainer *r, const mica_stage *stage) {
  const run_state *s = &r->state;
  if (stage->rewind_to == s->step) return MICA_OK;
  for (int i = 0; i < s->snapshots; i++)
    if (s->snapshot[i].step == stage->rewind_to) {
      mica_plan_copy(s->params, s->snapshot[i].values, stage->o.rewind);
      return MICA_OK;
    }
  return mica_fail(MICA_ERR_STATE,
                   "stage %lld: rewind to step %lld, which the run did not come to: a stage before "
                   "ended early, at step %lld",
                   (long long)s->stage + 1, (long long)stage->rewind_to, (long long)s->step);
}

/* The optimiser of stage k, which is the latest of those before it that had another. */
static mica_status make_optimiser(mica_trainer *r, int64_t k) {
  const mica_stage *stage = &r->plan.stage[k];
  run_state *s = &r->state;
  mica_status status = MICA_OK;
  if (!stage->new_optimiser) return mica_optimiser_refresh(s->optimiser);
  mica_optimiser_free(s->optimiser);
  s->optimiser = NULL;
  status = mica_optimiser_create(s->params, stage->optimiser, &s->optimiser);
  if (status == MICA_OK) mica_optimiser_clip(s->optimiser, r->o->clip);
  return status;
}

static mica_status check_rate(const mica_trainer *r) {
  if (mica_trainer_stage(r)->o.lr > 0 && !(mica_optimiser_lr(r->state.optimiser) > 0))
    return mica_fail(MICA_ERR_INVALID,
                     "stage %lld: lr stands for the rate of the optimiser's first rule, which is 0",
                     (long long)r->state.stage + 1);
  return MICA_OK;
}

static mica_status begin_stage(mica_trainer *r, int64_t k) {
  run_state *s = &r->state;
  const mica_stage *stage = &r->plan.stage[k];
  s->stage = k;
  s->stage_epoch = s->epoch;
  s->best_epoch = -1;
  mica_plan_flags(&r->plan, k);
  mica_status status = stage->rewind_to >= 0 ? rewind_values(r, stage) : MICA_OK;
  drop_values(r);
  if (status == MICA_OK && stage->o.retrain) status = mica_plan_retrain(&r->plan, k);
  if (s->average && stage->rewind_to >= 0) mica_plan_copy(s->average, s->params, stage->o.rewind);
  if (s->average && stage->o.retrain) mica_plan_copy(s->average, s->params, stage->o.retrain);
  if (status == MICA_OK) status = make_optimiser(r, k);
  if (status == MICA_OK && stage->o.state) mica_optimiser_reset(s->optimiser, NULL);
  return status == MICA_OK ? check_rate(r) : status;
}

static bool patience_is_over(const mica_trainer *r) {
  const run_state *s = &r->state;
  const int64_t best = s->best_epoch < 0 ? s->stage_epoch - 1 : s->best_epoch;
  return r->o->patience && r->validation && s->epoch - 1 - best >= r->o->patience;
}

static bool stage_is_over(const mica_trainer *r) {
  return r->state.epoch - r->state.stage_epoch >= mica_trainer_stage(r)->o.epochs ||
         patience_is_over(r);
}

/* ---- the run ---- */

static mica_status check(const mica_trainer *r) {
  const mica_train_options *o = r->o;
  if (o->epochs < 1 || o->accumulate < 1 || !(o->clip >= 0) ||
      !(o->average >= 0 && o->average < 1) || o->save_every < 0 || o->patience < 0 ||
      o->report_every < 0)
    return mica_fail(
        MICA_ERR_INVALID,
        "training: epochs and accumulate must be 1 or more, clip, save_every, patience "
        "and report_every 0 or more, average from 0 to below 1");
  if (r->train->batches < 1)
    return mica_fail(MICA_ERR_INVALID, "training: the stream has no batches");
  return MICA_OK;
}

/* The streams and stages must be those that the run was started with: others would be a run that
 * nobody can repeat. */
static mica_status check_resumed(const mica_trainer *r, const char *path) {
  const run_state *s = &r->state;
  const int64_t steps = steps_of_epoch(r);
  if (s->step_in_epoch >= steps || (s->step - s->step_in_epoch) % steps != 0 ||
      (s->step - s->step_in_epoch) / steps != s->epoch)
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: step %lld in epoch %lld is of another run than this one with %lld steps an "
        "epoch; resume with the data, batch size and accumulation it was started with",
        path, (long long)s->step, (long long)s->epoch, (long long)steps);
  if (s->stage >= r->plan.n || s->stage_epoch > s->epoch)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: stage %lld, begun in epoch %lld, is of another run than this one with "
                     "%lld stages",
                     path, (long long)s->stage + 1, (long long)s->stage_epoch,
                     (long long)r->plan.n);
  return MICA_OK;
}

/* Take up the run in `dir`, where there is one. The counters say in which stage it was, and so what
 * trees the rest of the file holds. */
static mica_status resume(mica_trainer *r, bool *found) {
  char path[4096];
  run_state *s = &r->state;
  mica_status status = path_of(r, "last.safetensors", path);
  if (status == MICA_OK) status = mica_run_state_counters(s, path, found);
  if (status != MICA_OK || !*found) return status;
  status = check_resumed(r, path);
  for (int64_t k = 0; status == MICA_OK && k <= s->stage; k++) {
    mica_plan_flags(&r->plan, k);
    status = make_optimiser(r, k);
  }
  for (int64_t k = s->stage + 1; status == MICA_OK && k < r->plan.n; k++) {
    const int64_t step = r->plan.stage[k].rewind_to;
    bool have = step < 0 || step > s->step;
    for (int i = 0; i < s->snapshots; i++) have |= s->snapshot[i].step == step;
    if (!have) status = mica_run_state_keep(s, step);
  }
  return status == MICA_OK ? mica_run_state_load(s, path) : status;
}

static mica_status begin(mica_trainer *r) {
  bool found = false;
  mica_status status = MICA_OK;
  if (r->o->resume && r->o->dir) status = resume(r, &found);
  if (status != MICA_OK || found) return status;
  /* The stages after the first may go back to what the run begins with. */
  if (mica_plan_keeps(&r->plan, 0, 0)) status = mica_run_state_keep(&r->state, 0);
  return status == MICA_OK ? begin_stage(r, 0) : status;
}

static void release(mica_trainer *r) {
  run_state *s = &r->state;
  while (s->snapshots) mica_run_state_drop(s, s->snapshots - 1);
  mica_params_free(s->average);
  mica_optimiser_free(s->optimiser);
  mica_plan_free(&r->plan);
  mica_tape_free(r->tape);
}

mica_status mica_train(mica_net *net, const mica_stream *train, const mica_stream *validation,
                       const mica_train_options *given, mica_train_result *result) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_params *params = mica_net_params(net);
  mica_trainer r = {.o = &o, .net = net, .train = train, .validation = validation, .start = now()};
  r.state.params = params;
  r.state.best_epoch = -1;
  const mica_tape_options to = {sizeof to, o.seed, o.compute, 0};
  mica_status status = mica_tape_create(mica_params_engine(params), &to, &r.tape);
  if (status == MICA_OK) status = check(&r);
  if (status == MICA_OK) status = mica_plan_create(net, &o, steps_of_epoch(&r), &r.plan);
  if (status == MICA_OK) status = mica_trainer_check_losses(&r);
  if (status == MICA_OK && o.average > 0) status = mica_params_clone(params, &r.state.average);
  if (status == MICA_OK) status = begin(&r);
  double loss = r.state.last_loss;
  while (status == MICA_OK) {
    if (!stage_is_over(&r))
      status = epoch(&r, &loss);
    else if (r.state.stage + 1 < r.plan.n)
      status = begin_stage(&r, r.state.stage + 1);
    else
      break;
  }
  const run_state *s = &r.state;
  if (result)
    *result = (mica_train_result){s->epoch,
                                  s->step,
                                  loss,
                                  s->best_epoch < 0 ? NAN : s->best_accuracy,
                                  s->best_epoch,
                                  r.plan.n && s->stage + 1 == r.plan.n && patience_is_over(&r) &&
                                      s->epoch - s->stage_epoch < mica_trainer_stage(&r)->o.epochs,
                                  s->best_epoch < 0 ? NAN : s->best_loss};
  if (status == MICA_OK && s->average) status = mica_params_copy(params, s->average);
  release(&r);
  return status;
}
