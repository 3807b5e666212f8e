/* The trainer. A step: micro-batches forward and backward, one update, buffers committed, the
 * average moved. run_state.c saves and restores all that a step changes.
 */
#include <mica/train.h>

#include "train/batch.h"
#include "train/run_state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct trainer {
  const mica_train_options *o;
  mica_net *net;
  const mica_stream *train, *validation;
  mica_tape *tape;
  mica_loss *loss;
  mica_spec *schedule;
  run_state state;
  double start;
} trainer;

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int64_t steps_of_epoch(const trainer *r) {
  return (r->train->batches + r->o->accumulate - 1) / r->o->accumulate;
}

static double current_lr(const trainer *r, double factor) {
  return mica_optimiser_lr(r->state.optimiser) * factor;
}

/* ---- one step ---- */

/* Forward and backward of one micro-batch; its mean loss in *loss. */
static mica_status micro_batch(trainer *r, int64_t index, double weight, double *loss) {
  mica_tape *t = r->tape;
  mica_batch batch = {0};
  mica_status status = r->train->next(r->train->ctx, &batch);
  if (status != MICA_OK) return status;
  mica_tape_reset(t);
  mica_tape_set_step(t, (uint64_t)r->state.step, (uint64_t)index);
  mica_set_training(t, true);
  mica_outputs o;
  mica_loss_inputs in = {0};
  const mica_inputs inputs = mica_batch_inputs(t, &batch);
  in.mask = mica_mask(t);
  if (r->o->teacher) {
    mica_outputs teacher;
    mica_no_grad_begin(t);
    mica_set_training(t, false);
    mica_scope_begin(t, "teacher");
    mica_net_forward_inputs(t, r->o->teacher, &inputs, &teacher);
    mica_var keep[2] = {teacher.logits, teacher.features};
    mica_scope_end_n(t, 2, keep);
    mica_set_training(t, true);
    mica_no_grad_end(t);
    in.teacher_logits = keep[0];
    in.teacher_features = keep[1];
  }
  mica_net_forward_inputs(t, r->net, &inputs, &o);
  in.logits = o.logits;
  in.features = o.features;
  if (batch.labels) in.labels = mica_input(t, batch.labels);
  if (batch.ids) in.ids = mica_input(t, batch.ids);
  if (batch.targets) in.targets = mica_input(t, batch.targets);
  mica_var value = mica_loss_forward(t, r->loss, &in);
  *loss = mica_item(t, value);
  if (mica_ok(t) && !isfinite(*loss))
    mica_latch(t, MICA_ERR_NUMERIC,
               "the loss is %g at step %lld of epoch %lld; a lower learning rate or "
               "clipping may help",
               *loss, (long long)r->state.step, (long long)r->state.epoch);
  mica_backward(t, weight == 1 ? value : mica_affine(t, value, weight, 0));
  return mica_commit(t);
}

static mica_status step(trainer *r, int64_t micro, double factor, double *loss) {
  mica_params *params = mica_net_params(r->net);
  mica_params_zero_grad(params);
  *loss = 0;
  for (int64_t i = 0; i < micro; i++) {
    double one;
    mica_status status = micro_batch(r, i, 1 / (double)micro, &one);
    if (status != MICA_OK) return status;
    *loss += one / (double)micro;
  }
  mica_status status = mica_optimiser_step(r->state.optimiser, r->tape, factor);
  if (status == MICA_OK && r->state.average)
    status = mica_average_update(r->state.average, params, r->o->average, r->tape);
  return status;
}

/* ---- an epoch ---- */

static mica_status path_of(const trainer *r, const char *name, char path[4096]) {
  if (snprintf(path, 4096, "%s/%s", r->o->dir, name) < 4096) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "'%s' is too long a path", r->o->dir);
}

static mica_status save_last(trainer *r) {
  char path[4096];
  if (!r->o->dir) return MICA_OK;
  mica_status status = path_of(r, "last.safetensors", path);
  return status == MICA_OK ? mica_run_state_save(&r->state, path) : status;
}

static mica_status save_best(trainer *r) {
  char path[4096];
  if (!r->o->dir) return MICA_OK;
  const mica_params *best = r->state.average ? r->state.average : mica_net_params(r->net);
  mica_status status = path_of(r, "best.safetensors", path);
  return status == MICA_OK ? mica_params_save(best, path, NULL, 0) : status;
}

static mica_status validate(trainer *r, mica_train_metrics *m) {
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
  run_state *s = &r->state;
  /* The lower loss decides between equal accuracies, and where there are none. */
  const bool equal = isnan(e.accuracy) || e.accuracy == s->best_accuracy;
  m->best = s->best_epoch < 0 || e.accuracy > s->best_accuracy || (equal && e.loss < s->best_loss);
  if (m->best) {
    s->best_epoch = s->epoch;
    s->best_accuracy = e.accuracy;
    s->best_loss = e.loss;
    status = save_best(r);
  }
  return status;
}

static mica_status report(trainer *r, const mica_train_metrics *m) {
  if (r->o->report && r->o->report(r->o->report_ctx, m)) {
    mica_status status = save_last(r);
    return status != MICA_OK ? status
                             : mica_fail(MICA_ERR_CANCELLED, "training was stopped by the caller");
  }
  return MICA_OK;
}

static mica_status epoch(trainer *r, double *epoch_loss) {
  const mica_train_options *o = r->o;
  run_state *s = &r->state;
  const int64_t steps = steps_of_epoch(r), total = steps * o->epochs;
  mica_status status = r->train->seek(r->train->ctx, s->epoch, s->step_in_epoch * o->accumulate);
  mica_train_metrics m = {.val_loss = NAN, .val_accuracy = NAN, .steps_total = total};
  double since = 0;
  int64_t counted = 0;
  while (s->step_in_epoch < steps && status == MICA_OK) {
    const int64_t left = r->train->batches - s->step_in_epoch * o->accumulate;
    const double factor =
        mica_schedule_rate(r->schedule, mica_optimiser_lr(s->optimiser), s->step, total);
    double loss;
    status = step(r, left < o->accumulate ? left : o->accumulate, factor, &loss);
    if (status != MICA_OK) break;
    s->step++;
    s->step_in_epoch++;
    s->loss_sum += loss;
    since += loss;
    counted++;
    const bool last = s->step_in_epoch == steps;
    m.epoch = s->epoch;
    m.step = s->step;
    m.lr = current_lr(r, factor);
    m.grad_norm = mica_optimiser_grad_norm(s->optimiser);
    if (!last && o->save_every && s->step % o->save_every == 0) status = save_last(r);
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

/* ---- the run ---- */

/* Classes, or the tokens that a network without classes may give scores of; 0: neither. */
static int64_t outputs_of(const mica_net *net) {
  const mica_problem *problem = mica_net_problem(net);
  return problem->classes ? problem->classes : problem->vocabulary;
}

/* What a loss may ask for and this run does not have is said before the first step. */
static mica_status check_loss(const trainer *r) {
  const uint32_t provides = mica_net_component(r->net)->provides;
  mica_batch b = {0};
  mica_status status = r->train->seek(r->train->ctx, 0, 0);
  if (status == MICA_OK) status = r->train->next(r->train->ctx, &b);
  if (status != MICA_OK) return status;
  const uint32_t has = (outputs_of(r->net) ? provides & MICA_NEED_LOGITS : 0) |
                       (provides & MICA_NEED_FEATURES) | (r->o->teacher ? MICA_NEED_TEACHER : 0) |
                       (b.labels ? MICA_NEED_LABELS : 0) | (b.ids ? MICA_NEED_IDS : 0) |
                       (b.targets ? MICA_NEED_TARGETS : 0) | (b.mask ? MICA_NEED_MASK : 0);
  if (mica_loss_check(r->loss, has) == MICA_OK) return MICA_OK;
  char why[256], text[128];
  snprintf(why, sizeof why, "%s", mica_last_error());
  return mica_fail(MICA_ERR_INVALID, "%s; this run has %s", why,
                   mica_needs_text(has, text, sizeof text));
}

static mica_status check(const trainer *r) {
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
  return check_loss(r);
}

/* Take up the run in `dir`. The streams must be those it was started with: other batches would be a
 * run that nobody can repeat. */
static mica_status resume(trainer *r) {
  char path[4096];
  run_state *s = &r->state;
  mica_status status = path_of(r, "last.safetensors", path);
  if (status == MICA_OK) status = mica_run_state_load(s, path);
  if (status != MICA_OK) return status;
  const int64_t steps = steps_of_epoch(r);
  if (s->step_in_epoch < steps && (s->step - s->step_in_epoch) % steps == 0 &&
      (s->step - s->step_in_epoch) / steps == s->epoch)
    return MICA_OK;
  return mica_fail(MICA_ERR_FORMAT,
                   "%s: step %lld in epoch %lld is of another run than this one with %lld steps an "
                   "epoch; resume with the data, batch size and accumulation it was started with",
                   path, (long long)s->step, (long long)s->epoch, (long long)steps);
}

static bool patience_is_over(const trainer *r) {
  return r->o->patience && r->validation &&
         r->state.epoch - 1 - r->state.best_epoch >= r->o->patience;
}

mica_status mica_train(mica_net *net, const mica_stream *train, const mica_stream *validation,
                       const mica_train_options *given, mica_train_result *result) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_params *params = mica_net_params(net);
  mica_engine *engine = mica_params_engine(params);
  trainer r = {.o = &o, .net = net, .train = train, .validation = validation, .start = now()};
  r.state.params = params;
  r.state.best_epoch = -1;
  const mica_tape_options to = {sizeof to, o.seed, o.compute, 0};
  mica_status status = mica_tape_create(engine, &to, &r.tape);
  if (status == MICA_OK)
    status = mica_loss_create(engine, o.loss, mica_params_root(params), outputs_of(net),
                              mica_net_features(net), &r.loss);
  if (status == MICA_OK) status = check(&r);
  if (status == MICA_OK) status = mica_schedule_parse(engine, o.schedule, &r.schedule);
  if (status == MICA_OK) status = mica_optimiser_create(params, o.optimiser, &r.state.optimiser);
  if (status == MICA_OK && o.average > 0) status = mica_params_clone(params, &r.state.average);
  if (status == MICA_OK) {
    mica_optimiser_clip(r.state.optimiser, o.clip);
    if (o.resume && o.dir) status = resume(&r);
  }
  double loss = r.state.last_loss;
  while (status == MICA_OK && r.state.epoch < o.epochs && !patience_is_over(&r))
    status = epoch(&r, &loss);
  if (result)
    *result = (mica_train_result){r.state.epoch,
                                  r.state.step,
                                  loss,
                                  r.state.best_epoch < 0 ? NAN : r.state.best_accuracy,
                                  r.state.best_epoch,
                                  patience_is_over(&r) && r.state.epoch < o.epochs,
                                  r.state.best_epoch < 0 ? NAN : r.state.best_loss};
  if (status == MICA_OK && r.state.average) status = mica_params_copy(params, r.state.average);
  mica_params_free(r.state.average);
  mica_optimiser_free(r.state.optimiser);
  mica_spec_free(r.schedule);
  mica_loss_free(r.loss);
  mica_tape_free(r.tape);
  return status;
}
