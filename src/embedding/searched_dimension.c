/* AutoDim (Zhao et al. 2021): each field tries several widths at once, each through a linear layer
 * and a batch norm, added up with weights that validation batches train; then it keeps one. */
#include "embedding/table.h"

#include "autograd/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct dimension_options {
  uint32_t size;
  double bytes, cooling;
  mica_ints widths;
} dimension_options;

/* plan: the widths that there are, rising, the last the vector's. */
typedef struct dimension_plan {
  int64_t n, width[MICA_LIST_MAX];
} dimension_plan;

static int64_t width_bytes(const mica_embedding_table *e, int64_t f, int64_t w) {
  return 4 * (e->size[f] * w + (w + 1) * e->width);
}

static int64_t least_bytes(const mica_embedding_table *e, const dimension_plan *plan) {
  int64_t sum = 8 * e->fields;
  for (int64_t f = 0; f < e->fields; f++) sum += width_bytes(e, f, plan->width[0]);
  return sum;
}

static mica_status make_width(mica_embedding_table *e, int64_t f, int64_t i, int64_t w) {
  const uint32_t flags = MICA_PARAM_TRAINABLE | MICA_PARAM_DECAY | MICA_PARAM_EMBEDDING;
  const mica_init usual = mica_embedding_values(e);
  mica_node *node = mica_node_childf(e->node, "fields.%lld.%lld", (long long)f, (long long)i);
  mica_status status =
      node ? mica_param_add(node, "table", MICA_F32, MICA_SHAPE(e->size[f], w), flags, &usual, NULL)
           : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_nn_linear_init(node, w, e->width, true);
  if (status == MICA_OK)
    status = mica_param_add(node, "running_mean", MICA_F32, MICA_SHAPE(e->width), MICA_PARAM_BUFFER,
                            &MICA_INIT_ZEROS, NULL);
  if (status == MICA_OK)
    status = mica_param_add(node, "running_var", MICA_F32, MICA_SHAPE(e->width), MICA_PARAM_BUFFER,
                            &MICA_INIT_ONES, NULL);
  return status;
}

static mica_status dimension_init(mica_embedding_table *e) {
  const dimension_options *o = e->options;
  dimension_plan *plan = e->plan = mica_calloc(1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  for (int32_t i = 0; i < o->widths.n; i++)
    if (o->widths.v[i] < e->width && (!plan->n || o->widths.v[i] > plan->width[plan->n - 1]))
      plan->width[plan->n++] = o->widths.v[i];
  if (plan->n < MICA_LIST_MAX) plan->width[plan->n++] = e->width;
  if (e->fields > MICA_EMBEDDING_OWN_FIELDS)
    return mica_fail(MICA_ERR_UNSUPPORTED, "table autodim: %lld fields, at most %d",
                     (long long)e->fields, MICA_EMBEDDING_OWN_FIELDS);
  if (least_bytes(e, plan) > e->budget) return mica_embedding_too_small(e, least_bytes(e, plan));
  mica_status status = mica_param_add(e->node, "alpha", MICA_F32, MICA_SHAPE(e->fields, plan->n),
                                      MICA_PARAM_TRAINABLE, &MICA_INIT_ZEROS, NULL);
  for (int64_t f = 0; f < e->fields; f++)
    for (int64_t i = 0; i < plan->n && status == MICA_OK; i++)
      status = make_width(e, f, i, plan->width[i]);
  if (status == MICA_OK)
    status = mica_embedding_buffer(e, "choice", MICA_I64, MICA_SHAPE(e->fields), NULL);
  return status == MICA_OK ? mica_embedding_decided_init(e) : status;
}

static mica_node *width_node(const mica_embedding_table *e, int64_t f, int64_t i) {
  char name[64];
  mica_node *node = mica_embedding_field(e, f);
  snprintf(name, sizeof name, "%lld", (long long)i);
  return node ? mica_node_find(node, name) : NULL;
}

static mica_var one_width(mica_tape *t, mica_node *node, mica_var ids) {
  const mica_var x = mica_embedding(t, mica_weight(t, node, "table"), ids);
  const mica_var y = mica_linear(t, x, mica_weight(t, node, "weight"), mica_weight(t, node, "bias"),
                                 MICA_IDENTITY);
  mica_param *mean = mica_node_param(node, "running_mean"),
             *var = mica_node_param(node, "running_var");
  if (!mica_is_training(t))
    return mica_batch_norm(t, y, MICA_NONE, MICA_NONE, mica_param_var(t, mean),
                           mica_param_var(t, var), 1e-5, MICA_IDENTITY);
  mica_var m, v;
  const mica_var z = mica_batch_norm_train(t, y, MICA_NONE, MICA_NONE, 1e-5, MICA_IDENTITY, &m, &v);
  mica_buffer_lerp(t, mean, 0.1, m);
  mica_buffer_lerp(t, var, 0.1, v);
  return z;
}

static int64_t choice_of(const mica_embedding_table *e, int64_t f) {
  const dimension_plan *plan = e->plan;
  const int64_t i = mica_embedding_integers(e->node, "choice")[f];
  return i >= 0 && i < plan->n ? i : 0;
}

/* The weights of a field's widths [1, n]: softmax of log softmax of alpha, with Gumbel noise in
 * training, over a temperature that falls. */
static mica_var weights_of(mica_tape *t, const mica_embedding_table *e, int64_t f, int64_t n,
                           int64_t examples) {
  const dimension_options *o = e->options;
  mica_var a = mica_slice(t, mica_weight(t, e->node, "alpha"), 0, f, f + 1);
  a = mica_log_softmax(t, a, -1);
  double temperature = 0.01;
  if (mica_is_training(t)) {
    const mica_var u = mica_random_uniform_like(t, MICA_SHAPE(1, n), MICA_F32, 1e-7, 1 - 1e-7);
    const mica_var gumbel = mica_neg(t, mica_log(t, mica_neg(t, mica_log(t, u))));
    a = mica_add(t, a, gumbel);
    temperature = fmax(0.01, 1 - o->cooling / 2000 * (double)examples * (double)t->step);
  }
  return mica_softmax(t, mica_affine(t, a, 1 / temperature, 0), -1);
}

static mica_var field_lookup(mica_tape *t, const mica_embedding_table *e, int64_t f, mica_var ids) {
  const dimension_plan *plan = e->plan;
  if (mica_embedding_decided(e)) return one_width(t, width_node(e, f, choice_of(e, f)), ids);
  mica_var sum = MICA_NONE;
  mica_scope_begin(t, NULL);
  const mica_var w = weights_of(t, e, f, plan->n, mica_dim(t, ids, 0));
  for (int64_t i = 0; i < plan->n && mica_ok(t); i++) {
    const mica_var y =
        mica_mul(t, one_width(t, width_node(e, f, i), ids), mica_slice(t, w, 1, i, i + 1));
    sum = i ? mica_add(t, sum, y) : y;
  }
  return mica_scope_end(t, sum);
}

static mica_var dimension_lookup(mica_tape *t, const mica_embedding_table *e,
                                 const mica_embedding_batch *b) {
  return mica_embedding_by_field(t, e, b, field_lookup);
}

/* Before the decision: what it may take. */
static int64_t dimension_bytes(const mica_embedding_table *e) {
  const dimension_plan *plan = e->plan;
  if (!mica_embedding_decided(e)) return e->budget;
  int64_t sum = 8 * e->fields;
  for (int64_t f = 0; f < e->fields; f++) sum += width_bytes(e, f, plan->width[choice_of(e, f)]);
  return sum;
}

/* Each field takes its best width; while that is too much the one goes down that loses the least
 * for a byte. */
static mica_status dimension_decide(mica_embedding_table *e) {
  const dimension_plan *plan = e->plan;
  const float *alpha = mica_embedding_floats(e->node, "alpha");
  int64_t *choice = mica_param_write(mica_node_param(e->node, "choice"));
  int64_t sum = 8 * e->fields;
  for (int64_t f = 0; f < e->fields; f++) {
    choice[f] = 0;
    for (int64_t i = 1; i < plan->n; i++)
      if (alpha[f * plan->n + i] > alpha[f * plan->n + choice[f]]) choice[f] = i;
    sum += width_bytes(e, f, plan->width[choice[f]]);
  }
  while (sum > e->budget) {
    int64_t worst = -1, to = 0;
    double least = INFINITY;
    for (int64_t f = 0; f < e->fields; f++)
      for (int64_t i = 0; i < choice[f]; i++) {
        const double loss = (double)alpha[f * plan->n + choice[f]] - (double)alpha[f * plan->n + i];
        const double saves =
            (double)(width_bytes(e, f, plan->width[choice[f]]) - width_bytes(e, f, plan->width[i]));
        if (loss / saves < least) least = loss / saves, worst = f, to = i;
      }
    sum -=
        width_bytes(e, worst, plan->width[choice[worst]]) - width_bytes(e, worst, plan->width[to]);
    choice[worst] = to;
  }
  mica_param_set_flags(mica_node_param(e->node, "alpha"), 0, MICA_PARAM_TRAINABLE);
  return MICA_OK;
}

/* The batch norm goes into the linear layer before it. */
static mica_status dimension_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const dimension_plan *plan = e->plan;
  const int64_t d = e->width;
  int64_t rows = 0, projections = 0;
  if (!mica_embedding_decided(e))
    return mica_fail(MICA_ERR_STATE, "table autodim: its widths have not been decided on");
  p->form = &mica_packed_narrow;
  p->setting[0] = 1;
  for (int64_t f = 0; f < e->fields; f++) {
    const int64_t w = plan->width[choice_of(e, f)];
    rows += e->size[f] * w;
    projections += (w + 1) * d;
  }
  int64_t *widths = mica_packed_array(p, 0, e->fields);
  float *x = widths ? mica_packed_array(p, 1, rows) : NULL;
  float *m = x ? mica_packed_array(p, 2, projections) : NULL;
  if (!m) return MICA_ERR_MEMORY;
  for (int64_t f = 0; f < e->fields; f++) {
    const mica_node *node = width_node(e, f, choice_of(e, f));
    const int64_t w = widths[f] = plan->width[choice_of(e, f)];
    const float *weight = mica_embedding_floats(node, "weight"),
                *bias = mica_embedding_floats(node, "bias"),
                *mean = mica_embedding_floats(node, "running_mean"),
                *var = mica_embedding_floats(node, "running_var");
    memcpy(x, mica_embedding_floats(node, "table"), (size_t)(e->size[f] * w) * sizeof *x);
    x += e->size[f] * w;
    for (int64_t j = 0; j < d; j++) {
      const float scale = 1 / sqrtf(var[j] + 1e-5f);
      for (int64_t k = 0; k < w; k++) m[k * d + j] = scale * weight[j * w + k];
      m[w * d + j] = scale * (bias[j] - mean[j]);
    }
    m += (w + 1) * d;
  }
  return MICA_OK;
}

static const mica_option options[] = {
    MICA_EMBEDDING_BYTES(dimension_options, "0.5"),
    {"widths", MICA_OPTION_INTS, "1,2,4,8", 1, 65536, NULL,
     "that a field may have, rising, besides the vector's", offsetof(dimension_options, widths)},
    {"cooling", MICA_OPTION_FLOAT, "5e-5", 0, 1, NULL,
     "the choice's temperature falls by 1/2000 of this with each example",
     offsetof(dimension_options, cooling)},
    {0}};
static const mica_embedding_method autodim_method = {.phases = MICA_EMBEDDING_SEARCHES |
                                                               MICA_EMBEDDING_RETRAINS,
                                                     .search = "alpha",
                                                     .init = dimension_init,
                                                     .lookup = dimension_lookup,
                                                     .bytes = dimension_bytes,
                                                     .decide = dimension_decide,
                                                     .pack = dimension_pack};
MICA_EMBEDDING_COMPONENT(autodim, "autodim", "a width for each field, by gradient (AutoDim)",
                         options, dimension_options);
