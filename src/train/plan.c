/* The stages of a run: see plan.h. */
#include "train/plan.h"

#include <mica/scheme.h>

#include "base/options.h"
#include "optim/rule.h"

#include <string.h>

/* clang-format off */
#define ROW(name, type, def, lo, hi, choices, help)                                                \
  {#name, MICA_OPTION_##type, def, lo, hi, choices, help, offsetof(mica_stage_options, name)}
static const mica_option stage_table[] = {
    ROW(epochs, INT, "1", 1, 1e6, NULL, "passes over the stream"),
    ROW(train, STRING, NULL, 0, 0, NULL, "train these parameters and no others"),
    ROW(freeze, STRING, NULL, 0, 0, NULL, "train these no longer"),
    ROW(unfreeze, STRING, NULL, 0, 0, NULL, "train these again"),
    ROW(loss, SPEC, NULL, 0, 0, NULL, "another loss"),
    ROW(optimiser, SPEC, NULL, 0, 0, NULL, "another optimiser, with fresh state"),
    ROW(schedule, SPEC, NULL, 0, 0, NULL, "another schedule"),
    ROW(lr, FLOAT, "0", 0, 1e6, NULL, "learning rate of the first rule; 0: the optimiser's"),
    ROW(rewind, STRING, NULL, 0, 0, NULL, "put these back to earlier values"),
    ROW(rewind_epoch, INT, "0", 0, 1e9, NULL, "those after so many epochs of the run"),
    ROW(rewind_step, INT, "0", 0, 1e15, NULL, "or after so many steps"),
    ROW(retrain, STRING, NULL, 0, 0, NULL, "draw initial values for these again"),
    ROW(state, CHOICE, "keep", 0, 0, "keep|reset", "of the optimiser"),
    {0}};
/* clang-format on */

/* There is one kind of stage: its name is left out of the text. */
const mica_component mica_component_stage = {MICA_COMPONENT_HEAD,
                                             MICA_KIND_STAGE,
                                             "stage",
                                             "a part of a training run",
                                             NULL,
                                             stage_table,
                                             sizeof(mica_stage_options),
                                             0,
                                             0,
                                             NULL};

/* ---- losses ---- */

static void losses_free(mica_losses *losses) {
  if (!losses) return;
  for (int i = 0; i < losses->n; i++) mica_loss_free(losses->loss[i]);
  mica_free(losses);
}

/* The losses of "a | b". Their parameters are at the root, below "stage.K" and "stream.I" where
 * there is more than one. */
static mica_status losses_create(mica_net *net, const mica_train_options *o, const char *text,
                                 int64_t k, mica_losses **out) {
  mica_params *params = mica_net_params(net);
  const mica_problem *problem = mica_net_problem(net);
  mica_loss_shapes shapes = {.size = sizeof shapes,
                             .classes = problem->classes ? problem->classes : problem->vocabulary,
                             .features = mica_net_features(net)};
  if (o->teacher) shapes.teacher_features = mica_net_features(o->teacher);
  if (o->scheme) mica_scheme_describe(o->scheme, &shapes);
  char **part;
  int n;
  *out = mica_calloc(1, sizeof **out);
  if (!*out) return MICA_ERR_MEMORY;
  mica_status status = text ? mica_spec_split(text, '|', MICA_STAGE_LOSSES, &part, &n)
                            : mica_fail(MICA_ERR_INVALID, "the loss is NULL");
  if (status != MICA_OK) return status;
  for (int i = 0; i < n && status == MICA_OK; i++) {
    mica_node *node = mica_params_root(params);
    if (k) node = mica_node_childf(node, "stage.%lld", (long long)k);
    if (i && node) node = mica_node_childf(node, "stream.%d", i);
    status = node ? mica_loss_create_with(mica_params_engine(params), part[i], node, &shapes,
                                          &(*out)->loss[i])
                  : mica_last_status();
    if (status == MICA_OK) (*out)->n++;
  }
  mica_spec_split_free(part, n);
  return status;
}

/* ---- flags ---- */

static bool is_buffer(const mica_param *q) {
  return mica_param_flags(q) & MICA_PARAM_BUFFER;
}

/* How many entries, buffers counted or not, match. */
static int64_t matches(const mica_params *p, const char *pattern, bool buffers) {
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    n += (buffers || !is_buffer(q)) && mica_param_selected(q, pattern);
  }
  return n;
}

void mica_plan_flags(const mica_plan *plan, int64_t k) {
  const mica_stage_options *o = &plan->stage[k].o;
  for (int64_t i = 0; i < mica_params_count(plan->params); i++) {
    mica_param *q = mica_params_at(plan->params, i);
    if (is_buffer(q)) continue;
    bool on = mica_param_flags(q) & MICA_PARAM_TRAINABLE;
    if (o->train) on = mica_param_selected(q, o->train);
    if (o->freeze && mica_param_selected(q, o->freeze)) on = false;
    if (o->unfreeze && mica_param_selected(q, o->unfreeze)) on = true;
    mica_param_set_flags(q, on ? MICA_PARAM_TRAINABLE : 0, on ? 0 : MICA_PARAM_TRAINABLE);
  }
}

static void restore_flags(const mica_plan *plan) {
  for (int64_t i = 0; plan->flags && i < plan->entries; i++) {
    mica_param *q = mica_params_at(plan->params, i);
    mica_param_set_flags(q, plan->flags[i], ~plan->flags[i]);
  }
}

static mica_status save_flags(mica_plan *plan) {
  plan->entries = mica_params_count(plan->params);
  plan->flags = mica_calloc((size_t)plan->entries + 1, sizeof *plan->flags);
  if (!plan->flags) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < plan->entries; i++)
    plan->flags[i] = mica_param_flags(mica_params_at(plan->params, i));
  return MICA_OK;
}

/* ---- what can be wrong ---- */

static mica_status check_patterns(const mica_plan *plan, const mica_stage_options *o) {
  const struct {
    const char *key, *pattern;
    bool buffers;
  } all[] = {{"train", o->train, false},
             {"freeze", o->freeze, false},
             {"unfreeze", o->unfreeze, false},
             {"rewind", o->rewind, true},
             {"retrain", o->retrain, true}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (all[i].pattern && mica_selection_check(all[i].pattern) != MICA_OK)
      return mica_fail_within("%s", all[i].key);
    if (all[i].pattern && !matches(plan->params, all[i].pattern, all[i].buffers))
      return mica_fail(MICA_ERR_NOT_FOUND, "%s: '%s' matches no parameter", all[i].key,
                       all[i].pattern);
  }
  return MICA_OK;
}

/* The rules parse, and each parameter that is trained has one. */
static mica_status check_rules(const mica_plan *plan, const char *text) {
  mica_rules rules;
  mica_status status = mica_rules_parse(plan->params, MICA_KIND_OPTIMISER, text, &rules);
  if (status != MICA_OK) return status;
  int64_t trained = 0;
  for (int64_t i = 0; i < mica_params_count(plan->params) && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(plan->params, i);
    if (!(mica_param_flags(q) & MICA_PARAM_TRAINABLE)) continue;
    trained++;
    if (!mica_optimiser_rule(&rules, q)) status = mica_last_status();
  }
  mica_rules_free(&rules);
  if (status == MICA_OK && !trained)
    return mica_fail(MICA_ERR_INVALID, "no parameter is trainable");
  return status;
}

static mica_status check_rewind(mica_stage *s, int64_t first_step, int64_t steps_of_epoch) {
  const mica_stage_options *o = &s->o;
  s->rewind_to = -1;
  if (!o->rewind) {
    if (o->rewind_epoch || o->rewind_step)
      return mica_fail(MICA_ERR_INVALID,
                       "rewind_epoch and rewind_step say when, and `rewind` which parameters");
    return MICA_OK;
  }
  if (o->rewind_epoch && o->rewind_step)
    return mica_fail(MICA_ERR_INVALID, "one of rewind_epoch and rewind_step is enough");
  s->rewind_to = o->rewind_step ? o->rewind_step : o->rewind_epoch * steps_of_epoch;
  if (s->rewind_to > first_step)
    return mica_fail(MICA_ERR_INVALID, "rewind to step %lld, and the stage begins at step %lld",
                     (long long)s->rewind_to, (long long)first_step);
  return MICA_OK;
}

/* ---- the plan ---- */

static mica_status make_stage(mica_plan *plan, mica_net *net, const mica_train_options *o,
                              int64_t k, int64_t first_step, int64_t steps_of_epoch) {
  mica_stage *s = &plan->stage[k];
  const mica_stage *before = k ? s - 1 : NULL;
  mica_status status =
      mica_spec_options_parse(&mica_component_stage, o->n_stages ? o->stages[k] : "", &s->spec);
  if (status != MICA_OK) return status;
  memcpy(&s->o, mica_spec_options(s->spec), sizeof s->o);
  if (!o->n_stages) s->o.epochs = o->epochs;
  const char *loss = s->o.loss ? s->o.loss : before ? NULL : o->loss;
  const char *schedule = s->o.schedule ? s->o.schedule : before ? NULL : o->schedule;
  s->optimiser = s->o.optimiser ? s->o.optimiser : before ? before->optimiser : o->optimiser;
  s->new_optimiser = !before || s->o.optimiser;
  s->own_losses = !before || loss;
  s->own_schedule = !before || schedule;
  s->losses = s->own_losses ? NULL : before->losses;
  s->schedule = s->own_schedule ? NULL : before->schedule;
  if (s->own_losses) status = losses_create(net, o, loss, k, &s->losses);
  if (status == MICA_OK && s->own_schedule)
    status = mica_schedule_parse(mica_params_engine(plan->params), schedule, &s->schedule);
  return status == MICA_OK ? check_rewind(s, first_step, steps_of_epoch) : status;
}

static mica_status fill(mica_plan *plan, mica_net *net, const mica_train_options *o,
                        int64_t steps_of_epoch) {
  int64_t first = 0;
  mica_status status = MICA_OK;
  int64_t k = 0;
  for (; k < plan->n && status == MICA_OK; k++) {
    status = make_stage(plan, net, o, k, first * steps_of_epoch, steps_of_epoch);
    first += plan->stage[k].o.epochs;
  }
  /* The losses' parameters are there now: they have flags like all others. */
  if (status == MICA_OK) {
    status = save_flags(plan);
    for (k = 0; k < plan->n && status == MICA_OK; k++) {
      status = check_patterns(plan, &plan->stage[k].o);
      if (status != MICA_OK) continue;
      mica_plan_flags(plan, k);
      status = check_rules(plan, plan->stage[k].optimiser);
    }
    restore_flags(plan);
  }
  if (status != MICA_OK && o->n_stages) mica_fail_within("stage %lld", (long long)k);
  return status;
}

mica_status mica_plan_create(mica_net *net, const mica_train_options *o, int64_t steps_of_epoch,
                             mica_plan *out) {
  *out = (mica_plan){.params = mica_net_params(net), .seed = o->seed};
  if (o->n_stages < 0 || o->n_stages > MICA_STAGES || (o->n_stages && !o->stages))
    return mica_fail(MICA_ERR_INVALID, "training: %lld stages, expected 0 to %d",
                     (long long)o->n_stages, MICA_STAGES);
  out->stage = mica_calloc(o->n_stages ? (size_t)o->n_stages : 1, sizeof *out->stage);
  if (!out->stage) return MICA_ERR_MEMORY;
  out->n = o->n_stages ? o->n_stages : 1;
  const mica_status status = fill(out, net, o, steps_of_epoch);
  if (status != MICA_OK) mica_plan_free(out);
  return status;
}

void mica_plan_free(mica_plan *plan) {
  restore_flags(plan);
  for (int64_t k = 0; k < plan->n; k++) {
    mica_stage *s = &plan->stage[k];
    if (s->own_losses) losses_free(s->losses);
    if (s->own_schedule) mica_spec_free(s->schedule);
    mica_spec_free(s->spec);
  }
  mica_free(plan->stage);
  mica_free(plan->flags);
  *plan = (mica_plan){0};
}

bool mica_plan_keeps(const mica_plan *plan, int64_t k, int64_t step) {
  for (int64_t i = k + 1; i < plan->n; i++)
    if (plan->stage[i].rewind_to == step) return true;
  return false;
}

mica_status mica_plan_retrain(const mica_plan *plan, int64_t k) {
  const mica_key key = mica_key_fold_name(mica_key_seed(plan->seed), "retrain");
  const uint64_t seed = mica_random_bits(key, (uint64_t)k);
  return mica_params_reinitialise(plan->params, plan->stage[k].o.retrain,
                                  seed == MICA_SEED_NONE ? 0 : seed, NULL);
}

void mica_plan_copy(mica_params *to, const mica_params *from, const char *selection) {
  for (int64_t i = 0; i < mica_params_count(to); i++) {
    mica_param *q = mica_params_at(to, i);
    const mica_param *old = mica_params_find(from, mica_param_path(q));
    if (!old || !mica_param_selected(q, selection)) continue;
    const mica_tensor *value = mica_param_value(old);
    memcpy(mica_param_write(q), mica_tensor_data(value),
           (size_t)mica_tensor_count(value) * mica_dtype_size(mica_tensor_dtype(value)));
  }
}
