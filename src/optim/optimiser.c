/* The driver of optimisers: which parameters, which rule and factors, which state; the rules
 * themselves are one file each.
 *
 * State lives in a tree of the same kind as parameters, so a checkpoint saves it without knowing
 * what it is, and the order of things in memory does not matter to a resume.
 */
#include <mica/optim.h>

#include "base/memory.h"
#include "optim/rule.h"

#include <math.h>
#include <string.h>

typedef struct group {
  char *selection;
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

static const mica_optimiser_functions *functions_of(const mica_rule *rule) {
  return rule->functions;
}

static mica_status add_state(mica_optimiser *opt, slot *s) {
  mica_node *node = mica_node_child(mica_params_root(opt->state), mica_param_path(s->param));
  if (!node) return mica_last_status();
  const mica_tensor *value = mica_param_value(s->param);
  const mica_optimiser_functions *f = functions_of(s->rule);
  const uint32_t used = f->states_used(s->rule->options);
  mica_status status =
      mica_param_add(node, "step", MICA_I64, MICA_SCALAR, MICA_PARAM_BUFFER, NULL, &s->counter);
  for (int i = 0; i < f->states && status == MICA_OK; i++)
    if (used >> i & 1) {
      status = mica_param_add(node, f->state_name[i], mica_tensor_dtype(value),
                              *mica_tensor_shape(value), MICA_PARAM_BUFFER, NULL, &s->state[i]);
      if (status == MICA_OK) /* touched wherever the parameter learns */
        mica_large_pages(mica_tensor_data(mica_param_value(s->state[i])),
                         (size_t)mica_tensor_count(value) *
                             mica_dtype_size(mica_tensor_dtype(value)));
    }
  return status;
}

const mica_rule *mica_optimiser_rule(const mica_rules *rules, const mica_param *q) {
  const mica_rule *rule = mica_rules_find(rules, q);
  if (!rule)
    mica_fail(MICA_ERR_INVALID,
              "optimiser: no rule for parameter '%s'; begin with a rule without a pattern",
              mica_param_path(q));
  return rule;
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
    slot s = {.param = q, .rule = mica_optimiser_rule(&opt->rules, q)};
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
  mica_status status = mica_rules_parse(params, MICA_KIND_OPTIMISER, text, &opt->rules);
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
  for (int i = 0; i < opt->n_groups; i++) mica_free(opt->groups[i].selection);
  mica_free(opt->groups);
  mica_free(opt->slots);
  mica_params_free(opt->state);
  mica_rules_free(&opt->rules);
  mica_free(opt);
}

mica_status mica_optimiser_group(mica_optimiser *opt, const char *selection, double lr,
                                 double decay) {
  const mica_status status = mica_selection_check(selection);
  if (status != MICA_OK) return status;
  group *more = mica_realloc_array(opt->groups, (size_t)opt->n_groups + 1, sizeof *more);
  if (!more) return MICA_ERR_MEMORY;
  opt->groups = more;
  char *copy = mica_strdup(selection);
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
  return functions_of(first)->lr(first->options);
}
mica_params *mica_optimiser_state(mica_optimiser *opt) {
  return opt->state;
}

void mica_optimiser_sync(mica_optimiser *opt) {
  opt->step = (int64_t)mica_tensor_get(mica_param_value(opt->counter), 0);
  for (int64_t i = 0; i < opt->n; i++)
    opt->slots[i].step = (int64_t)mica_tensor_get(mica_param_value(opt->slots[i].counter), 0);
}

void mica_optimiser_reset(mica_optimiser *opt, const char *selection) {
  for (int64_t i = 0; i < opt->n; i++) {
    slot *s = &opt->slots[i];
    if (selection && !mica_param_selected(s->param, selection)) continue;
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
  const mica_optimiser_functions *f;
  const mica_update *whole;
  const uint8_t *mask;                /* of the elements that are trained; NULL: all */
  const int64_t *ids;                 /* NULL: all elements */
  int64_t n;                          /* elements, or rows */
  int64_t size;                       /* of a piece, in the same unit */
  int64_t width;                      /* elements of a row */
  int64_t first;                      /* piece */
  double (*sum)[MICA_OPTIMISER_SUMS]; /* of prepare's pieces; NULL: update */
} pass;

static void run_update(const pass *p, const mica_update *u, double *sum) {
  if (sum)
    p->f->prepare(p->engine, p->rule->options, u, sum);
  else
    p->f->update(p->engine, p->rule->options, u);
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

/* Rows brought together in `to`; those of the next call are asked for, since each is a miss of the
 * caches and of the table of pages. */
static void gather_rows(char *to, const char *from, const int64_t *ids, int64_t n, int64_t next,
                        size_t row) {
  for (int64_t r = 0; r < n; r++, to += row) {
    if (r < next)
      for (size_t i = 0; i < row; i += 64)
        __builtin_prefetch(from + (size_t)ids[n + r] * row + i, 1);
    mica_copy_row(to, from + (size_t)ids[r] * row, row);
  }
}

/* Rows [begin, end) that have a gradient. Short rows are brought together, so that a rule is asked
 * once for many. */
static void run_rows(const pass *p, int64_t begin, int64_t end, double *sum) {
  double block[1 + MICA_OPTIMISER_STATES][TOGETHER];
  const size_t row = (size_t)p->width * mica_dtype_size(p->whole->dtype);
  const bool copied = p->width > 0 && p->width <= TOGETHER / 2;
  const int64_t most = copied ? TOGETHER / p->width : 1;
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < most ? end - i : most;
    const int64_t *ids = p->ids + i;
    mica_update u = *p->whole;
    u.n = n * p->width;
    u.gradient = (const char *)u.gradient + (size_t)i * row;
    for (int k = -1; k < MICA_OPTIMISER_STATES; k++) {
      void **at = k < 0 ? &u.weight : &u.state[k];
      char *from = *at;
      if (!from) continue;
      *at = copied ? (void *)block[k + 1] : from + (size_t)ids[0] * row;
      if (copied) gather_rows(*at, from, ids, n, end - i - n < n ? end - i - n : n, row);
    }
    run_update(p, &u, sum);
    for (int k = -1; k < MICA_OPTIMISER_STATES && copied; k++) {
      char *to = k < 0 ? p->whole->weight : p->whole->state[k];
      const char *from = (const char *)block[k + 1];
      for (int64_t r = 0; r < n && to; r++, from += row)
        mica_copy_row(to + (size_t)ids[r] * row, from, row);
    }
  }
}

/* Elements that are trained, brought together so that the rule never sees the others. */
typedef struct gathered {
  int64_t n;
  int64_t at[TOGETHER], gradient[TOGETHER]; /* their numbers */
} gathered;

static void run_gathered(const pass *p, gathered *g, double *sum) {
  double block[2 + MICA_OPTIMISER_STATES][TOGETHER];
  const size_t size = mica_dtype_size(p->whole->dtype);
  mica_update u = *p->whole;
  u.n = g->n;
  for (int64_t i = 0; i < g->n; i++)
    memcpy((char *)block[0] + (size_t)i * size,
           (const char *)u.gradient + (size_t)g->gradient[i] * size, size);
  u.gradient = block[0];
  for (int k = -1; k < MICA_OPTIMISER_STATES; k++) {
    void **at = k < 0 ? &u.weight : &u.state[k];
    const char *from = *at;
    if (!from) continue;
    *at = block[k + 2];
    for (int64_t i = 0; i < g->n; i++)
      memcpy((char *)*at + (size_t)i * size, from + (size_t)g->at[i] * size, size);
  }
  if (g->n) run_update(p, &u, sum);
  for (int k = -1; k < MICA_OPTIMISER_STATES; k++) {
    char *to = k < 0 ? p->whole->weight : p->whole->state[k];
    for (int64_t i = 0; i < g->n && to; i++)
      memcpy(to + (size_t)g->at[i] * size, (const char *)block[k + 2] + (size_t)i * size, size);
  }
  g->n = 0;
}

/* Elements, or rows that have a gradient, [begin, end), without those that the mask holds back. */
static void run_masked(const pass *p, int64_t begin, int64_t end, double *sum) {
  gathered g;
  g.n = 0;
  const int64_t width = p->ids ? p->width : 1;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < width; j++) {
      const int64_t at = (p->ids ? p->ids[i] : i) * width + j;
      if (!p->mask[at]) continue;
      g.at[g.n] = at;
      g.gradient[g.n] = i * width + j;
      if (++g.n == TOGETHER) run_gathered(p, &g, sum);
    }
  run_gathered(p, &g, sum);
}

static void run_pieces(void *ctx, int64_t begin, int64_t end) {
  const pass *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = (p->first + i) * p->size;
    const int64_t to = from + p->size < p->n ? from + p->size : p->n;
    double *sum = p->sum ? p->sum[i] : NULL;
    for (int k = 0; sum && k < MICA_OPTIMISER_SUMS; k++) sum[k] = 0;
    if (p->mask)
      run_masked(p, from, to, sum);
    else if (p->ids)
      run_rows(p, from, to, sum);
    else
      run_part(p, from, to - from, sum);
  }
}

static void run_rule(pass *p, mica_update *u) {
  const int64_t pieces = (p->n + p->size - 1) / p->size;
  double sums[SUMS][MICA_OPTIMISER_SUMS];
  if (p->f->prepare) {
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
  const mica_optimiser_functions *f = functions_of(rule);
  const mica_tensor *value = mica_param_value(s->param), *mask = mica_param_mask(s->param);
  pass p = {mica_params_engine(opt->params), rule, f, u, .size = PIECE};
  if (mask) p.mask = mica_tensor_data(mask);
  u->dtype = mica_tensor_dtype(value);
  u->shape = mica_tensor_shape(value);
  if (mask && f->whole)
    return mica_fail(MICA_ERR_UNSUPPORTED, "optimiser: '%s' has a mask, which its rule cannot heed",
                     mica_param_path(s->param));
  if (mica_param_grad_kind(s->param) == MICA_GRAD_ROWS && f->rows_only &&
      f->rows_only(rule->options, u->decay)) {
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
  if (f->whole) {
    u->n = p.n;
    return f->whole(p.engine, rule->options, u);
  }
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
      if (mica_param_selected(s->param, opt->groups[k].selection)) {
        lr = opt->groups[k].lr;
        decay = flags & MICA_PARAM_DECAY ? opt->groups[k].decay : 0;
      }
    s->step++;
    mica_tensor_set(mica_param_value(s->counter), 0, (double)s->step);
    const mica_optimiser_functions *f = functions_of(s->rule);
    mica_update u = {.step = s->step,
                     .lr = f->lr(s->rule->options) * lr_factor * lr,
                     .decay = f->decay(s->rule->options) * decay,
                     .scale = scale,
                     .flags = flags};
    const mica_status status = update(opt, s, &u);
    if (status != MICA_OK) return status;
  }
  return MICA_OK;
}
