/* The driver of optimisers: which parameters, which rule and factors, which state; the rules
 * themselves are one file each.
 *
 * State lives in a tree of the same kind as parameters, so a checkpoint saves it without knowing
 * what it is, and the order of things in memory does not matter to a resume.
 */
#include <mica/optim.h>

#include "optim/rules.h"

#include <math.h>
#include <string.h>

typedef struct group {
  char *pattern;
  double lr, decay;
} group;

typedef struct slot {
  mica_param *param, *counter;
  mica_param *state[MICA_OPTIMISER_STATES];
  const mica_rule *rule;
  int64_t step;
} slot;

struct mica_optimiser {
  mica_params *params, *state;
  mica_rules rules;
  mica_param *counter;
  int64_t step;
  slot *slots;
  int64_t n, room;
  group *groups;
  int n_groups;
  double clip, norm;
};

/* ---- rules and state ---- */

static mica_status add_state(mica_optimiser *opt, slot *s) {
  mica_node *node = mica_node_child(mica_params_root(opt->state), mica_param_path(s->param));
  if (!node) return mica_last_status();
  const mica_tensor *value = mica_param_value(s->param);
  const uint32_t used = s->rule->f->states_used(s->rule->options);
  mica_status status =
      mica_param_add(node, "step", MICA_I64, MICA_SCALAR, MICA_PARAM_BUFFER, NULL, &s->counter);
  for (int i = 0; i < s->rule->f->states && status == MICA_OK; i++)
    if (used >> i & 1)
      status = mica_param_add(node, s->rule->f->state_name[i], mica_tensor_dtype(value),
                              *mica_tensor_shape(value), MICA_PARAM_BUFFER, NULL, &s->state[i]);
  return status;
}

static bool has_slot(const mica_optimiser *opt, const mica_param *q) {
  for (int64_t i = 0; i < opt->n; i++)
    if (opt->slots[i].param == q) return true;
  return false;
}

mica_status mica_optimiser_refresh(mica_optimiser *opt) {
  const int64_t n = mica_params_count(opt->params), had = opt->n;
  if (n > opt->room) {
    slot *more = mica_realloc_array(opt->slots, (size_t)n, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    opt->slots = more;
    opt->room = n;
  }
  for (int64_t i = 0; i < n; i++) {
    mica_param *q = mica_params_at(opt->params, i);
    if (!(mica_param_flags(q) & MICA_PARAM_TRAINABLE) || (had && has_slot(opt, q))) continue;
    slot s = {.param = q, .rule = mica_rules_of(&opt->rules, mica_param_path(q))};
    if (!s.rule) return mica_last_status();
    const mica_status status = add_state(opt, &s);
    if (status != MICA_OK) return status;
    opt->slots[opt->n++] = s;
  }
  return opt->n ? MICA_OK : mica_fail(MICA_ERR_INVALID, "optimiser: no parameter is trainable");
}

mica_status mica_optimiser_create(mica_params *params, const char *text, mica_optimiser **out) {
  *out = NULL;
  mica_optimiser *opt = mica_calloc(1, sizeof *opt);
  if (!opt) return MICA_ERR_MEMORY;
  opt->params = params;
  mica_engine *engine = mica_params_engine(params);
  mica_status status = mica_rules_parse(params, text, &opt->rules);
  if (status == MICA_OK) status = mica_params_create(engine, 0, &opt->state);
  if (status == MICA_OK)
    status = mica_param_add(mica_params_root(opt->state), "step", MICA_I64, MICA_SCALAR,
                            MICA_PARAM_BUFFER, NULL, &opt->counter);
  if (status == MICA_OK) status = mica_optimiser_refresh(opt);
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
  mica_rules_free(&opt->rules);
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
  const mica_rule *first = &opt->rules.rule[0];
  return first->f->lr(first->options);
}
mica_params *mica_optimiser_state(mica_optimiser *opt) {
  return opt->state;
}

void mica_optimiser_sync(mica_optimiser *opt) {
  opt->step = (int64_t)mica_tensor_get(mica_param_value(opt->counter), 0);
  for (int64_t i = 0; i < opt->n; i++)
    opt->slots[i].step = (int64_t)mica_tensor_get(mica_param_value(opt->slots[i].counter), 0);
}

void mica_optimiser_reset(mica_optimiser *opt, const char *pattern) {
  for (int64_t i = 0; i < opt->n; i++) {
    slot *s = &opt->slots[i];
    if (pattern && !mica_path_matches(pattern, mica_param_path(s->param))) continue;
    s->step = 0;
    mica_tensor_set(mica_param_value(s->counter), 0, 0);
    for (int k = 0; k < MICA_OPTIMISER_STATES; k++) {
      if (!s->state[k]) continue;
      const mica_tensor *value = mica_param_value(s->state[k]);
      memset(mica_param_write(s->state[k]), 0,
             (size_t)mica_tensor_count(value) * mica_dtype_size(mica_tensor_dtype(value)));
    }
  }
}

/* ---- a step ---- */

#define PIECE      65536
#define ROWS_PIECE 16384 /* their memory lies apart */
#define SUMS       1024  /* pieces whose sums are kept at once */

/* A parameter's elements, or the rows that have a gradient, in pieces. */
typedef struct pass {
  const mica_engine *engine;
  const mica_rule *rule;
  const mica_update *whole;
  const int64_t *ids;                 /* NULL: all elements */
  int64_t n;                          /* elements, or rows */
  int64_t size;                       /* of a piece, in the same unit */
  int64_t width;                      /* elements of a row */
  int64_t first;                      /* piece */
  double (*sum)[MICA_OPTIMISER_SUMS]; /* of prepare's pieces; NULL: update */
} pass;

static void run_update(const pass *p, const mica_update *u, double *sum) {
  if (sum)
    p->rule->f->prepare(p->engine, p->rule->options, u, sum);
  else
    p->rule->f->update(p->engine, p->rule->options, u);
}

/* n elements from `at` on. */
static void run_part(const pass *p, int64_t at, int64_t n, double *sum) {
  mica_update u = *p->whole;
  const size_t skip = (size_t)at * mica_dtype_size(u.dtype);
  u.n = n;
  u.weight = (char *)u.weight + skip;
  u.gradient = (const char *)u.gradient + skip;
  for (int k = 0; k < MICA_OPTIMISER_STATES; k++)
    if (u.state[k]) u.state[k] = (char *)u.state[k] + skip;
  run_update(p, &u, sum);
}

#define TOGETHER 512 /* elements of rows that are updated by one call */

/* Rows [begin, end) that have a gradient. Short rows are brought together, so that a rule is asked
 * once for many. */
static void run_rows(const pass *p, int64_t begin, int64_t end, double *sum) {
  double block[1 + MICA_OPTIMISER_STATES][TOGETHER];
  const size_t row = (size_t)p->width * mica_dtype_size(p->whole->dtype);
  const bool copied = p->width > 0 && p->width <= TOGETHER / 2;
  const int64_t most = copied ? TOGETHER / p->width : 1;
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < most ? end - i : most;
    mica_update u = *p->whole;
    u.n = n * p->width;
    u.gradient = (const char *)u.gradient + (size_t)i * row;
    for (int k = -1; k < MICA_OPTIMISER_STATES; k++) {
      void **at = k < 0 ? &u.weight : &u.state[k];
      char *from = *at;
      if (!from) continue;
      *at = copied ? (void *)block[k + 1] : from + (size_t)p->ids[i] * row;
      for (int64_t r = 0; r < n && copied; r++)
        memcpy((char *)*at + (size_t)r * row, from + (size_t)p->ids[i + r] * row, row);
    }
    run_update(p, &u, sum);
    for (int k = -1; k < MICA_OPTIMISER_STATES && copied; k++) {
      char *to = k < 0 ? p->whole->weight : p->whole->state[k];
      for (int64_t r = 0; r < n && to; r++)
        memcpy(to + (size_t)p->ids[i + r] * row, (const char *)block[k + 1] + (size_t)r * row, row);
    }
  }
}

static void run_pieces(void *ctx, int64_t begin, int64_t end) {
  const pass *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = (p->first + i) * p->size;
    const int64_t to = from + p->size < p->n ? from + p->size : p->n;
    double *sum = p->sum ? p->sum[i] : NULL;
    for (int k = 0; sum && k < MICA_OPTIMISER_SUMS; k++) sum[k] = 0;
    if (p->ids)
      run_rows(p, from, to, sum);
    else
      run_part(p, from, to - from, sum);
  }
}

static void run_rule(pass *p, mica_update *u) {
  const int64_t pieces = (p->n + p->size - 1) / p->size;
  double sums[SUMS][MICA_OPTIMISER_SUMS];
  if (p->rule->f->prepare) {
    p->sum = sums;
    for (p->first = 0; p->first < pieces; p->first += SUMS) {
      const int64_t here = pieces - p->first < SUMS ? pieces - p->first : SUMS;
      mica_parallel_for(p->engine, here, run_pieces, p);
      for (int64_t i = 0; i < here; i++)
        for (int k = 0; k < MICA_OPTIMISER_SUMS; k++) u->sum[k] += sums[i][k];
    }
    p->sum = NULL;
  }
  p->first = 0;
  mica_parallel_for(p->engine, pieces, run_pieces, p);
}

/* Update the parameter from its gradient, dense or rows; u has all but these. */
static mica_status update(const mica_optimiser *opt, slot *s, mica_update *u) {
  const mica_rule *rule = s->rule;
  const mica_tensor *value = mica_param_value(s->param);
  pass p = {mica_params_engine(opt->params), rule, u, .size = PIECE};
  u->dtype = mica_tensor_dtype(value);
  if (mica_param_grad_kind(s->param) == MICA_GRAD_ROWS && rule->f->rows_only &&
      rule->f->rows_only(rule->options, u->decay)) {
    const mica_status status = mica_param_grad_rows(s->param, &p.ids, &u->gradient, &p.n);
    if (status != MICA_OK) return status;
    const int64_t length = mica_tensor_dim(value, 0);
    p.width = length ? mica_tensor_count(value) / length : 0;
    p.size = p.width < ROWS_PIECE && p.width > 0 ? ROWS_PIECE / p.width : 1;
  } else {
    const mica_view g = mica_param_grad(s->param);
    if (!g.data) return MICA_ERR_MEMORY;
    u->gradient = g.data;
    p.n = mica_view_count(&g);
  }
  u->weight = mica_param_write(s->param);
  for (int k = 0; k < MICA_OPTIMISER_STATES; k++)
    if (s->state[k]) u->state[k] = mica_param_write(s->state[k]);
  run_rule(&p, u);
  return MICA_OK;
}

/* A norm is one of rows that have been brought together, for which memory may be short. */
static mica_status coalesce(const mica_optimiser *opt) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < opt->n && status == MICA_OK; i++) {
    const int64_t *ids;
    const void *values;
    int64_t n;
    if (mica_param_grad_kind(opt->slots[i].param) == MICA_GRAD_ROWS)
      status = mica_param_grad_rows(opt->slots[i].param, &ids, &values, &n);
  }
  return status;
}

mica_status mica_optimiser_step(mica_optimiser *opt, mica_tape *t, double lr_factor) {
  if (t && !mica_ok(t)) return mica_tape_status(t);
  if (!mica_params_grad_valid(opt->params))
    return mica_fail(MICA_ERR_STATE,
                     "optimiser: a backward failed half-way; its gradients are not valid");
  double scale = 1;
  opt->norm = 0;
  if (opt->clip > 0) {
    const mica_status status = coalesce(opt);
    if (status != MICA_OK) return status;
    opt->norm = mica_params_grad_norm(opt->params);
    if (!isfinite(opt->norm))
      return mica_fail(MICA_ERR_NUMERIC, "optimiser: the gradients' norm is not finite");
    if (opt->norm > opt->clip) scale = opt->clip / (opt->norm + 1e-6);
  }
  opt->step++;
  mica_tensor_set(mica_param_value(opt->counter), 0, (double)opt->step);
  for (int64_t i = 0; i < opt->n; i++) {
    slot *s = &opt->slots[i];
    const uint32_t flags = mica_param_flags(s->param);
    /* Frozen since, or no gradient in this step: left alone. */
    if (!(flags & MICA_PARAM_TRAINABLE) || mica_param_grad_kind(s->param) == MICA_GRAD_NONE)
      continue;
    double lr = 1, decay = flags & MICA_PARAM_DECAY ? 1 : 0;
    for (int k = 0; k < opt->n_groups; k++)
      if (mica_path_matches(opt->groups[k].pattern, mica_param_path(s->param))) {
        lr = opt->groups[k].lr;
        decay = flags & MICA_PARAM_DECAY ? opt->groups[k].decay : 0;
      }
    s->step++;
    mica_tensor_set(mica_param_value(s->counter), 0, (double)s->step);
    mica_update u = {.step = s->step,
                     .lr = s->rule->f->lr(s->rule->options) * lr_factor * lr,
                     .decay = s->rule->f->decay(s->rule->options) * decay,
                     .scale = scale,
                     .flags = flags};
    const mica_status status = update(opt, s, &u);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}
