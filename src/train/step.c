/* One step of the trainer: micro-batches forward and backward, one update, buffers committed, the
 * average moved. */
#include "train/batch.h"
#include "train/teach.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Show a batch and its logits to whoever asked for them. */
static void show(const mica_trainer *r, const mica_batch *batch, mica_var logits) {
  mica_tape *t = r->tape;
  const mica_view view = mica_is_none(logits) ? (mica_view){0} : mica_read(t, logits);
  if (!view.data || view.dtype != MICA_F32 || !mica_view_contiguous(&view))
    mica_latch(t, MICA_ERR_UNSUPPORTED, "visit: the network gives no plain float32 logits");
  else if (r->o->visit(r->o->visit_ctx, batch, &view))
    mica_latch(t, MICA_ERR_CANCELLED, "training was stopped by visit");
}

/* Forward of a batch, and its loss. */
static mica_var batch_loss(const mica_trainer *r, const mica_batch *batch, const mica_loss *loss) {
  mica_tape *t = r->tape;
  mica_outputs o;
  mica_loss_inputs in = {0};
  const mica_inputs inputs = mica_batch_inputs(t, batch);
  in.mask = mica_mask(t);
  in.epoch = (double)r->state.epoch;
  if (batch->ids) in.ids = mica_input(t, batch->ids);
  in.params = mica_net_params(r->net);
  if (r->o->teacher) mica_teach(t, r->o->teacher, &inputs, NULL, &in);
  if (r->o->scheme)
    mica_scheme_forward(t, r->o->scheme, r->net, &inputs, &o, &in);
  else
    mica_net_forward_inputs(t, r->net, &inputs, &o);
  if (r->o->visit && mica_ok(t)) show(r, batch, o.logits);
  in.logits = o.logits;
  in.features = o.features;
  memcpy(in.part, o.part, sizeof in.part);
  if (o.n_pyramid) in.map = o.pyramid[o.n_pyramid - 1];
  in.labels = mica_labels(t);
  if (batch->ids) in.ids = mica_input(t, batch->ids);
  if (batch->targets) in.targets = mica_input(t, batch->targets);
  return mica_loss_forward(t, loss, &in);
}

/* The sum of the losses of a zipped batch's parts; a mask holds for its own part only. */
static mica_var parts_loss(const mica_trainer *r, const mica_batch *batch,
                           const mica_losses *losses) {
  mica_tape *t = r->tape;
  if (losses->n > 1 && losses->n != batch->parts)
    mica_latch(t, MICA_ERR_INVALID, "%d losses for a batch of %lld streams", losses->n,
               (long long)batch->parts);
  mica_var sum = MICA_NONE;
  for (int64_t i = 0; i < batch->parts && mica_ok(t); i++) {
    char name[32];
    snprintf(name, sizeof name, "stream.%lld", (long long)i);
    mica_scope_begin(t, name);
    const mica_loss *loss = losses->loss[losses->n > 1 ? i : 0];
    const mica_var one = mica_scope_end(t, batch_loss(r, &batch->part[i], loss));
    sum = i ? mica_add(t, sum, one) : one;
  }
  return sum;
}

/* Forward and backward of one micro-batch; its mean loss in *loss, its examples added to *n. */
static mica_status micro_batch(mica_trainer *r, int64_t index, double weight, double *loss,
                               int64_t *n) {
  mica_tape *t = r->tape;
  mica_batch batch = {0};
  mica_status status = r->train->next(r->train->ctx, &batch);
  if (status != MICA_OK) return status;
  *n += batch.n;
  mica_tape_reset(t);
  mica_tape_set_step(t, (uint64_t)r->state.step, (uint64_t)index);
  mica_set_training(t, true);
  const mica_losses *losses = mica_trainer_stage(r)->losses;
  const mica_var value =
      batch.parts ? parts_loss(r, &batch, losses) : batch_loss(r, &batch, losses->loss[0]);
  *loss = mica_item(t, value);
  if (mica_ok(t) && !isfinite(*loss))
    mica_latch(t, MICA_ERR_NUMERIC,
               "the loss is %g at step %lld of epoch %lld; a lower learning rate or "
               "clipping may help",
               *loss, (long long)r->state.step, (long long)r->state.epoch);
  mica_backward(t, weight == 1 ? value : mica_affine(t, value, weight, 0));
  return mica_commit(t);
}

mica_status mica_trainer_step(mica_trainer *r, int64_t micro, double factor, double *loss) {
  mica_params *params = mica_net_params(r->net);
  mica_params_zero_grad(params);
  int64_t examples = 0;
  *loss = 0;
  for (int64_t i = 0; i < micro; i++) {
    double one;
    mica_status status = micro_batch(r, i, 1 / (double)micro, &one, &examples);
    if (status != MICA_OK) return status;
    *loss += one / (double)micro;
  }
  mica_status status = mica_optimiser_step(r->state.optimiser, r->tape, factor);
  if (status == MICA_OK) mica_net_after_step(r->net);
  if (status == MICA_OK && r->state.average)
    status = mica_average_update(r->state.average, params, r->o->average, r->tape);
  if (status == MICA_OK) r->state.examples += examples;
  return status;
}

/* ---- what the losses need ---- */

static uint32_t provided(const mica_trainer *r, const mica_batch *b) {
  const mica_problem *problem = mica_net_problem(r->net);
  const uint32_t provides = mica_net_component(r->net)->provides;
  /* Classes, or the tokens that a network without classes may give scores of. */
  return (problem->classes || problem->vocabulary ? provides & MICA_NEED_LOGITS : 0) |
         (problem->classes ? 0 : provides & MICA_NEED_PAIRS) |
         (provides & (MICA_NEED_FEATURES | MICA_NEED_PYRAMID)) |
         (r->o->teacher ? MICA_NEED_TEACHER : 0) | (b->labels ? MICA_NEED_LABELS : 0) |
         (b->ids ? MICA_NEED_IDS : 0) | (b->targets ? MICA_NEED_TARGETS : 0) |
         (b->mask ? MICA_NEED_MASK : 0) |
         (mica_params_factored(mica_net_params(r->net)) ? MICA_NEED_FACTORS : 0) |
         (r->o->scheme ? mica_scheme_component(r->o->scheme)->provides : 0);
}

static mica_status check_one(const mica_trainer *r, const mica_loss *loss, const mica_batch *b,
                             const char *what) {
  const uint32_t has = provided(r, b);
  if (mica_loss_check(loss, has) == MICA_OK) return MICA_OK;
  char why[256], text[128];
  snprintf(why, sizeof why, "%s", mica_last_error());
  return mica_fail(MICA_ERR_INVALID, "%s; %s has %s", why, what,
                   mica_needs_text(has, text, sizeof text));
}

static mica_status check_stage(const mica_trainer *r, const mica_losses *losses,
                               const mica_batch *b) {
  const int64_t parts = b->parts ? b->parts : 1;
  if (losses->n > 1 && losses->n != parts)
    return mica_fail(MICA_ERR_INVALID, "%d losses for %lld streams", losses->n, (long long)parts);
  if (!b->parts) return check_one(r, losses->loss[0], b, "this run");
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < parts && status == MICA_OK; i++) {
    char what[40];
    snprintf(what, sizeof what, "stream %lld", (long long)i + 1);
    status = check_one(r, losses->loss[losses->n > 1 ? i : 0], &b->part[i], what);
  }
  return status;
}

mica_status mica_trainer_check_losses(const mica_trainer *r) {
  mica_batch b = {0};
  mica_status status = r->train->seek(r->train->ctx, 0, 0);
  if (status == MICA_OK) status = r->train->next(r->train->ctx, &b);
  for (int64_t k = 0; k < r->plan.n && status == MICA_OK; k++) {
    status = check_stage(r, r->plan.stage[k].losses, &b);
    if (status != MICA_OK && r->o->n_stages) mica_fail_within("stage %lld", (long long)k + 1);
  }
  return status;
}
