/* The driver of optimisers: which parameters, which factors, which state; the rules themselves are
 * one file each.
 *
 * State lives in a tree of the same kind as parameters, so a checkpoint saves it without knowing
 * what it is, and the order of things in memory does not matter to a resume.
 */
#include <mica/optim.h>

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/optimiser.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct group {
  char *pattern;
  double lr, decay;
} group;

typedef struct slot {
  mica_param *param;
  mica_param *state[MICA_OPTIMISER_STATES];
} slot;

struct mica_optimiser {
  mica_params *params, *state;
  mica_spec *spec;
  const mica_optimiser_functions *f;
  const void *options;
  mica_param *counter;
  int64_t step;
  int states;
  slot *slots;
  int64_t n;
  group *groups;
  int n_groups;
  double clip, norm;
};

static mica_status add_state(mica_optimiser *opt, slot *s) {
  mica_node *node = mica_node_child(mica_params_root(opt->state), mica_param_path(s->param));
  if (!node) return mica_last_status();
  const mica_tensor *value = mica_param_value(s->param);
  for (int i = 0; i < opt->states; i++) {
    mica_status status =
        mica_param_add(node, opt->f->state_name[i], mica_tensor_dtype(value),
                       *mica_tensor_shape(value), MICA_PARAM_BUFFER, NULL, &s->state[i]);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}

mica_status mica_optimiser_create(mica_params *params, const char *text, mica_optimiser **out) {
  *out = NULL;
  mica_optimiser *opt = mica_calloc(1, sizeof *opt);
  if (!opt) return MICA_ERR_MEMORY;
  opt->params = params;
  mica_engine *engine = mica_params_engine(params);
  mica_status status = mica_spec_parse(engine, MICA_KIND_OPTIMISER, text, &opt->spec);
  if (status == MICA_OK) status = mica_params_create(engine, 0, &opt->state);
  if (status == MICA_OK) {
    opt->f = mica_spec_component(opt->spec)->functions;
    opt->options = mica_spec_options(opt->spec);
    opt->states = opt->f->states_used(opt->options);
    status = mica_param_add(mica_params_root(opt->state), "step", MICA_I64, MICA_SCALAR,
                            MICA_PARAM_BUFFER, NULL, &opt->counter);
  }
  const int64_t n = mica_params_count(params);
  if (status == MICA_OK && !(opt->slots = mica_calloc((size_t)(n ? n : 1), sizeof *opt->slots)))
    status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mica_param *q = mica_params_at(params, i);
    if (!(mica_param_flags(q) & MICA_PARAM_TRAINABLE)) continue;
    opt->slots[opt->n].param = q;
    status = add_state(opt, &opt->slots[opt->n++]);
  }
  if (status == MICA_OK && !opt->n)
    status = mica_fail(MICA_ERR_INVALID, "optimiser: no parameter is trainable");
  if (status != MICA_OK) {
    mica_optimiser_free(opt);
    return status;
  }
  *out = opt;
  return MICA_OK;
}

void mica_optimiser_free(mica_optimiser *opt) {
  if (!opt) return;
  for (int i = 0; i < opt->n_groups; i++) mica_free(opt->groups[i].pattern);
  mica_free(opt->groups);
  mica_free(opt->slots);
  mica_params_free(opt->state);
  mica_spec_free(opt->spec);
  mica_free(opt);
}

mica_status mica_optimiser_group(mica_optimiser *opt, const char *pattern, double lr,
                                 double decay) {
  group *more = mica_realloc_array(opt->groups, (size_t)opt->n_groups + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  opt->groups = more;
  char *copy = mica_strdup(pattern);
  if (!copy) return MICA_ERR_MEMORY;
  opt->groups[opt->n_groups++] = (group){copy, lr, decay};
  return MICA_OK;
}

void mica_optimiser_clip(mica_optimiser *opt, double max_norm) {
  opt->clip = max_norm;
}
double mica_optimiser_grad_norm(const mica_optimiser *opt) {
  return opt->norm;
}
double mica_optimiser_lr(const mica_optimiser *opt) {
  return opt->f->lr(opt->options);
}
mica_params *mica_optimiser_state(mica_optimiser *opt) {
  return opt->state;
}

void mica_optimiser_sync(mica_optimiser *opt) {
  opt->step = (int64_t)mica_tensor_get(mica_param_value(opt->counter), 0);
}

#define PIECE 65536

typedef struct update_job {
  const mica_engine *engine;
  const mica_optimiser *opt;
  const mica_update *whole;
} update_job;

static void update_range(void *ctx, int64_t begin, int64_t end) {
  const update_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    mica_update u = *j->whole;
    const int64_t from = i * PIECE;
    const size_t at = (size_t)from * mica_dtype_size(u.dtype);
    u.n = u.n - from < PIECE ? u.n - from : PIECE;
    u.weight = (char *)u.weight + at;
    u.gradient = (const char *)u.gradient + at;
    for (int k = 0; k < j->opt->states; k++) u.state[k] = (char *)u.state[k] + at;
    j->opt->f->update(j->engine, j->opt->options, &u);
  }
}

/* Row by row: each is a short parameter of its own. */
typedef struct rows_job {
  const mica_optimiser *opt;
  const mica_engine *engine;
  const mica_update *whole;
  const int64_t *ids;
  int64_t n, width, rows; /* rows of a piece */
} rows_job;

static void rows_range(void *ctx, int64_t begin, int64_t end) {
  const rows_job *j = ctx;
  const int64_t to = end * j->rows < j->n ? end * j->rows : j->n;
  const size_t row = (size_t)j->width * mica_dtype_size(j->whole->dtype);
  for (int64_t i = begin * j->rows; i < to; i++) {
    mica_update u = *j->whole;
    const size_t at = (size_t)j->ids[i] * row;
    u.n = j->width;
    u.weight = (char *)u.weight + at;
    u.gradient = (const char *)u.gradient + (size_t)i * row;
    for (int k = 0; k < j->opt->states; k++) u.state[k] = (char *)u.state[k] + at;
    j->opt->f->update(j->engine, j->opt->options, &u);
  }
}

/* Update the parameter from its gradient, dense or rows; u has all but these. */
static mica_status update(mica_optimiser *opt, slot *s, mica_update *u) {
  mica_engine *engine = mica_params_engine(opt->params);
  const int64_t *ids = NULL;
  int64_t rows = 0;
  u->dtype = mica_tensor_dtype(mica_param_value(s->param));
  const bool by_row = mica_param_grad_kind(s->param) == MICA_GRAD_ROWS && opt->f->rows_only &&
                      opt->f->rows_only(opt->options, u->decay);
  if (by_row) {
    const mica_status status = mica_param_grad_rows(s->param, &ids, &u->gradient, &rows);
    if (status != MICA_OK) return status;
  } else {
    const mica_view g = mica_param_grad(s->param);
    if (!g.data) return MICA_ERR_MEMORY;
    u->gradient = g.data;
    u->n = mica_view_count(&g);
  }
  u->weight = mica_param_write(s->param);
  for (int k = 0; k < opt->states; k++) u->state[k] = mica_param_write(s->state[k]);
  if (by_row) {
    const int64_t length = mica_tensor_dim(mica_param_value(s->param), 0);
    const int64_t width = length ? mica_tensor_count(mica_param_value(s->param)) / length : 0;
    const int64_t piece = width < PIECE && width > 0 ? PIECE / width : 1;
    rows_job job = {opt, engine, u, ids, rows, width, piece};
    mica_parallel_for(engine, (rows + piece - 1) / piece, rows_range, &job);
  } else {
    update_job job = {engine, opt, u};
    mica_parallel_for(engine, (u->n + PIECE - 1) / PIECE, update_range, &job);
  }
  return MICA_OK;
}

mica_status mica_optimiser_step(mica_optimiser *opt, mica_tape *t, double lr_factor) {
  if (t && !mica_ok(t)) return mica_tape_status(t);
  if (!mica_params_grad_valid(opt->params))
    return mica_fail(MICA_ERR_STATE,
                     "optimiser: a backward failed half-way; its gradients are not valid");
  double scale = 1;
  opt->norm = 0;
  if (opt->clip > 0) {
    opt->norm = mica_params_grad_norm(opt->params);
    if (!isfinite(opt->norm))
      return mica_fail(MICA_ERR_NUMERIC, "optimiser: the gradients' norm is not finite");
    if (opt->norm > opt->clip) scale = opt->clip / (opt->norm + 1e-6);
  }
  opt->step++;
  mica_tensor_set(mica_param_value(opt->counter), 0, (double)opt->step);
  for (int64_t i = 0; i < opt->n; i++) {
    slot *s = &opt->slots[i];
    /* Frozen since, or no gradient in this step: left alone. */
    if (!(mica_param_flags(s->param) & MICA_PARAM_TRAINABLE) ||
        mica_param_grad_kind(s->param) == MICA_GRAD_NONE)
      continue;
    double lr = 1, decay = 1;
    for (int k = 0; k < opt->n_groups; k++)
      if (mica_path_matches(opt->groups[k].pattern, mica_param_path(s->param))) {
        lr = opt->groups[k].lr;
        decay = opt->groups[k].decay;
      }
    if (!(mica_param_flags(s->param) & MICA_PARAM_DECAY)) decay = 0;
    mica_update u = {.step = opt->step,
                     .lr = opt->f->lr(opt->options) * lr_factor * lr,
                     .decay = opt->f->decay(opt->options) * decay,
                     .scale = scale};
    const mica_status status = update(opt, s, &u);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}

/* ---- moving average ---- */

typedef struct average_job {
  const mica_optimiser_kernels *k;
  size_t size;
  int64_t n;
  double decay;
  const char *x;
  char *average;
} average_job;

static void average_range(void *ctx, int64_t begin, int64_t end) {
  const average_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * PIECE, n = j->n - from < PIECE ? j->n - from : PIECE;
    const size_t at = (size_t)from * j->size;
    j->k->average(n, j->decay, j->x + at, j->average + at);
  }
}

mica_status mica_average_update(mica_params *average, const mica_params *params, double decay,
                                const mica_tape *t) {
  if (t && !mica_ok(t)) return mica_tape_status(t);
  const mica_engine *engine = mica_params_engine(average);
  for (int64_t i = 0; i < mica_params_count(average); i++) {
    mica_param *to = mica_params_at(average, i);
    const mica_param *from = mica_params_find(params, mica_param_path(to));
    if (!from)
      return mica_fail(MICA_ERR_NOT_FOUND, "average: no parameter '%s'", mica_param_path(to));
    const mica_tensor *x = mica_param_value(from);
    const int64_t n = mica_tensor_count(x);
    const mica_dtype dtype = mica_tensor_dtype(x);
    if (mica_param_flags(to) & MICA_PARAM_BUFFER || (dtype != MICA_F32 && dtype != MICA_F64)) {
      const mica_view a = mica_tensor_view(mica_param_value(to)), b = mica_tensor_view(x);
      mica_param_write(to);
      mica_status status = mica_view_copy(&a, &b);
      if (status != MICA_OK) return status;
      continue;
    }
    average_job job = {mica_kernels_of(engine, dtype)->optimiser,
                       mica_dtype_size(dtype),
                       n,
                       decay,
                       mica_tensor_data(x),
                       mica_param_write(to)};
    mica_parallel_for(engine, (n + PIECE - 1) / PIECE, average_range, &job);
  }
  return MICA_OK;
}
