/* Tables of which single elements stay: pruned by magnitude while they train (Deng et al. 2021,
 * DeepLight), by how much groups of ids matter (Kong et al. 2022, AutoSrh), by learnt thresholds
 * (Liu et al. 2021, PEP). And their packed form, sparse rows. */
#include "embedding/table.h"

#include "autograd/tape.h"

#include <math.h>
#include <string.h>

typedef struct sparse_options {
  uint32_t size;
  double bytes;
  /* deeplight */
  double damping;
  int64_t every, period;
  /* autosrh */
  int64_t groups;
  double lr, l1;
  /* pep */
  double start;
  int32_t threshold; /* global|dimension|feature|feature_dimension */
} sparse_options;

typedef struct sparse_plan {
  int64_t keep; /* elements */
  bool csr;
} sparse_plan;

static mica_status plan_elements(mica_embedding_table *e) {
  sparse_plan *plan = e->plan = mica_calloc(1, sizeof *plan);
  if (!plan) return MICA_ERR_MEMORY;
  plan->keep = mica_sparse_elements(e->rows, e->rows * e->width, e->budget, &plan->csr);
  return plan->keep >= 1 ? MICA_OK : mica_embedding_too_small(e, 12);
}

/* ---- pruning ---- */

/* The bits of a magnitude rise with it. */
static uint32_t magnitude(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffffu;
}

int64_t mica_prune_magnitude(int64_t n, float *x, int64_t keep) {
  if (keep >= n) keep = n;
  if (keep < 0) keep = 0;
  /* The keep-th largest magnitude, digit by digit from the highest. */
  uint32_t prefix = 0, mask = 0;
  int64_t left = keep;
  int64_t *count = mica_calloc(1 << 16, sizeof *count);
  if (!count) return -1;
  for (int shift = 16; shift >= 0; shift -= 16) {
    memset(count, 0, sizeof *count << 16);
    for (int64_t i = 0; i < n; i++)
      if ((magnitude(x[i]) & mask) == prefix) count[magnitude(x[i]) >> shift & 0xffff]++;
    int64_t digit = 0xffff;
    while (digit > 0 && count[digit] < left) left -= count[digit--];
    prefix |= (uint32_t)digit << shift;
    mask |= 0xffffu << shift;
  }
  mica_free(count);
  int64_t zeros = 0;
  for (int64_t i = 0; i < n; i++) {
    const uint32_t m = magnitude(x[i]);
    if (m < prefix || keep == 0 || (m == prefix && left-- <= 0)) x[i] = 0;
    zeros += x[i] == 0; /* NOLINT */
  }
  return zeros;
}

double mica_pruning_rate(double rate, int64_t iteration, int64_t epoch) {
  if (iteration % 10 && (!epoch || iteration % epoch)) return 0;
  return rate * (1 - pow(0.99, (double)iteration / 100));
}

static int64_t nonzero(const mica_embedding_table *e) {
  const float *w = mica_embedding_floats(e->node, "weight");
  int64_t n = 0;
  for (int64_t i = 0; i < e->rows * e->width; i++) n += w[i] != 0; /* NOLINT */
  return n;
}

/* Once decided, what is there; before, what may be. */
static int64_t sparse_bytes(const mica_embedding_table *e) {
  const sparse_plan *plan = e->plan;
  const int64_t n = mica_embedding_decided(e) ? nonzero(e) : plan->keep;
  return mica_sparse_bytes(e->rows, n, plan->csr);
}

/* Only the elements that are not 0 are trained from now on. */
static mica_status hold_zeros(mica_embedding_table *e) {
  const int64_t n = e->rows * e->width;
  const float *w = mica_embedding_floats(e->node, "weight");
  uint8_t *mask = mica_malloc((size_t)n);
  if (!mask) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) mask[i] = w[i] != 0; /* NOLINT */
  const mica_view v = mica_view_of(mask, MICA_U8, MICA_SHAPE(e->rows, e->width));
  const mica_status status = mica_param_set_mask(mica_node_param(e->node, "weight"), &v);
  mica_free(mask);
  return status;
}

/* ---- deeplight ---- */

static mica_status deeplight_init(mica_embedding_table *e) {
  mica_status status = plan_elements(e);
  if (status == MICA_OK)
    status = mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK) status = mica_embedding_buffer(e, "steps", MICA_I64, MICA_SHAPE(1), NULL);
  return status == MICA_OK ? mica_embedding_decided_init(e) : status;
}

/* Of a step that was taken: count it, and prune now and then. */
static mica_status prune_now(void *owner, double weight, const mica_view *rows) {
  (void)weight, (void)rows;
  mica_embedding_table *e = owner;
  const sparse_options *o = e->options;
  const sparse_plan *plan = e->plan;
  const int64_t n = e->rows * e->width;
  const int64_t step = ++*(int64_t *)mica_param_write(mica_node_param(e->node, "steps"));
  if (step % o->every || mica_embedding_decided(e)) return MICA_OK;
  const double last = 1 - (double)plan->keep / (double)n;
  const double rate = last * (1 - pow(o->damping, (double)step / (double)o->period));
  float *w = mica_param_write(mica_node_param(e->node, "weight"));
  return mica_prune_magnitude(n, w, n - (int64_t)(rate * (double)n)) < 0 ? MICA_ERR_MEMORY
                                                                         : MICA_OK;
}

static mica_var deeplight_lookup(mica_tape *t, const mica_embedding_table *e,
                                 const mica_embedding_batch *b) {
  if (mica_is_training(t) && mica_is_recording(t))
    mica_tape_queue(t, prune_now, (mica_embedding_table *)(uintptr_t)e, 0, b->rows);
  return mica_embedding_plain(t, e, b);
}

static mica_status deeplight_decide(mica_embedding_table *e) {
  const sparse_plan *plan = e->plan;
  if (mica_prune_magnitude(e->rows * e->width, mica_param_write(mica_node_param(e->node, "weight")),
                           plan->keep) < 0)
    return MICA_ERR_MEMORY;
  return hold_zeros(e);
}

/* ---- autosrh ---- */

void mica_importance_step(int64_t groups, int64_t width, const float *gradient, double lr,
                          float *alpha) {
  for (int64_t g = 0; g < groups; g++, gradient += width, alpha += width) {
    double mean = 0;
    for (int64_t i = 0; i < width; i++) mean += fabs((double)gradient[i]) / (double)width;
    for (int64_t i = 0; i < width; i++) {
      const double a = (double)alpha[i] - lr * (double)gradient[i] / (mean + 1e-8);
      alpha[i] = (float)fmin(1, fmax(0, a));
    }
  }
}

/* Groups of equal size from the most frequent ids on. */
static mica_status set_groups(mica_embedding_table *e, const int64_t *count) {
  const sparse_options *o = e->options;
  int64_t *group = mica_param_write(mica_node_param(e->node, "group"));
  int32_t *rows = mica_calloc((size_t)e->rows, sizeof *rows);
  if (!rows) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < e->rows; i++) group[i] = o->groups - 1;
  mica_status status = MICA_OK;
  for (int64_t g = o->groups - 1; g > 0 && status == MICA_OK; g--) {
    const int64_t n = e->rows * g / o->groups;
    status = mica_embedding_frequent(e, count, n, rows);
    for (int64_t i = 0; i < n && status == MICA_OK; i++) group[rows[i]] = g - 1;
  }
  mica_free(rows);
  return status;
}

static mica_status autosrh_init(mica_embedding_table *e) {
  const sparse_options *o = e->options;
  mica_status status = plan_elements(e);
  if (status == MICA_OK)
    status = mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK)
    status = mica_param_add(e->node, "alpha", MICA_F32, MICA_SHAPE(o->groups, e->width),
                            MICA_PARAM_TRAINABLE, &MICA_INIT_ONES, NULL);
  if (status == MICA_OK)
    status = mica_embedding_buffer(e, "group", MICA_I64, MICA_SHAPE(e->rows), NULL);
  if (status == MICA_OK) status = set_groups(e, NULL);
  return status == MICA_OK ? mica_embedding_decided_init(e) : status;
}

static int64_t group_of(const mica_embedding_table *e, int64_t field, int64_t id) {
  const sparse_options *o = e->options;
  const int64_t g = mica_embedding_integers(e->node, "group")[e->offset[field] + id];
  return g >= 0 && g < o->groups ? g : o->groups - 1;
}

/* Once decided alpha has become part of the rows. */
static mica_var autosrh_lookup(mica_tape *t, const mica_embedding_table *e,
                               const mica_embedding_batch *b) {
  const sparse_options *o = e->options;
  const mica_var x = mica_embedding_plain(t, e, b);
  if (mica_embedding_decided(e)) return x;
  const mica_var alpha = mica_weight(t, e->node, "alpha");
  const mica_var a = mica_embedding(t, alpha, mica_embedding_map(t, e, b, group_of));
  const mica_var y = mica_mul(t, x, a);
  if (!mica_is_training(t) || !mica_requires_grad(t, alpha)) return y;
  return mica_with_penalty(
      t, y, mica_affine(t, mica_sum(t, mica_abs(t, alpha), 0, NULL, false), o->l1, 0));
}

static mica_status autosrh_search_step(mica_embedding_table *e) {
  const sparse_options *o = e->options;
  mica_param *alpha = mica_node_param(e->node, "alpha");
  const mica_view g = mica_param_grad(alpha);
  if (g.data) mica_importance_step(o->groups, e->width, g.data, o->lr, mica_param_write(alpha));
  return MICA_OK;
}

static mica_status autosrh_decide(mica_embedding_table *e) {
  const sparse_plan *plan = e->plan;
  mica_param *q = mica_node_param(e->node, "alpha");
  const float *alpha = mica_tensor_data(mica_param_value(q));
  float *w = mica_param_write(mica_node_param(e->node, "weight"));
  for (int64_t f = 0; f < e->fields; f++)
    for (int64_t i = 0; i < e->size[f]; i++)
      for (int64_t k = 0; k < e->width; k++)
        w[(e->offset[f] + i) * e->width + k] *= alpha[group_of(e, f, i) * e->width + k];
  mica_param_set_flags(q, 0, MICA_PARAM_TRAINABLE);
  if (mica_prune_magnitude(e->rows * e->width, w, plan->keep) < 0) return MICA_ERR_MEMORY;
  return hold_zeros(e);
}

/* ---- pep ---- */

mica_var mica_soft_threshold(mica_tape *t, mica_var x, mica_var s) {
  mica_scope_begin(t, NULL);
  const mica_var over = mica_relu(t, mica_sub(t, mica_abs(t, x), mica_sigmoid(t, s)));
  return mica_scope_end(t, mica_mul(t, mica_sign(t, mica_detach(t, x)), over));
}

enum { GLOBAL, DIMENSION, FEATURE, FEATURE_DIMENSION };

static mica_status pep_init(mica_embedding_table *e) {
  const sparse_options *o = e->options;
  const mica_init start = {MICA_INIT_CONSTANT, o->start, 0, 0, false};
  const bool each_row = o->threshold >= FEATURE,
             each_column = o->threshold == DIMENSION || o->threshold == FEATURE_DIMENSION;
  const int64_t columns = each_column ? e->width : 1;
  mica_status status = plan_elements(e);
  if (status == MICA_OK)
    status = mica_embedding_weight(e, "weight", MICA_SHAPE(e->rows, e->width), NULL);
  if (status == MICA_OK)
    status = mica_param_add(e->node, "threshold", MICA_F32,
                            each_row ? MICA_SHAPE(e->rows, columns) : MICA_SHAPE(columns),
                            MICA_PARAM_TRAINABLE, &start, NULL);
  if (status == MICA_OK)
    status = mica_embedding_buffer(e, "mask", MICA_F32, MICA_SHAPE(e->rows, e->width), NULL);
  return status == MICA_OK ? mica_embedding_decided_init(e) : status;
}

/* Once decided, elements outside of the mask are 0. */
static mica_var pep_lookup(mica_tape *t, const mica_embedding_table *e,
                           const mica_embedding_batch *b) {
  const sparse_options *o = e->options;
  const mica_var x = mica_embedding_plain(t, e, b);
  if (mica_embedding_decided(e))
    return mica_mul(t, x, mica_embedding(t, mica_weight(t, e->node, "mask"), b->rows));
  mica_var s = mica_weight(t, e->node, "threshold");
  if (o->threshold >= FEATURE) s = mica_embedding(t, s, b->rows);
  return mica_soft_threshold(t, x, s);
}

/* What lies most above its threshold stays. */
static mica_status pep_decide(mica_embedding_table *e) {
  const sparse_options *o = e->options;
  const sparse_plan *plan = e->plan;
  const int64_t n = e->rows * e->width,
                columns =
                    mica_tensor_dim(mica_param_value(mica_node_param(e->node, "threshold")), -1);
  const float *w = mica_embedding_floats(e->node, "weight"),
              *s = mica_embedding_floats(e->node, "threshold");
  float *mask = mica_param_write(mica_node_param(e->node, "mask"));
  for (int64_t i = 0; i < n; i++) {
    const int64_t row = o->threshold >= FEATURE ? i / e->width : 0;
    const float least = 1 / (1 + expf(-s[row * columns + i % e->width % columns]));
    mask[i] = fmaxf(fabsf(w[i]) - least, 0);
  }
  if (mica_prune_magnitude(n, mask, plan->keep) < 0) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) mask[i] = mask[i] > 0 ? 1 : 0;
  mica_param_set_flags(mica_node_param(e->node, "threshold"), 0, MICA_PARAM_TRAINABLE);
  return MICA_OK;
}

static int64_t pep_bytes(const mica_embedding_table *e) {
  const sparse_plan *plan = e->plan;
  int64_t kept = plan->keep;
  if (mica_embedding_decided(e)) {
    const float *mask = mica_embedding_floats(e->node, "mask");
    kept = 0;
    for (int64_t i = 0; i < e->rows * e->width; i++) kept += mask[i] > 0;
  }
  return mica_sparse_bytes(e->rows, kept, plan->csr);
}

/* ---- the packed form: starts [rows + 1] and column, or row and column of each element; value.
 * Setting 0: by rows (CSR), else coordinates in order (COO) ---- */

/* Elements of w [rows, width] where keep (NULL: w itself) is not 0. */
mica_status mica_sparse_pack(mica_packed_embedding *p, const float *w, const float *keep,
                             bool csr) {
  const int64_t n = p->rows * p->width;
  int64_t kept = 0;
  p->form = &mica_packed_sparse;
  p->setting[0] = csr;
  if (!keep) keep = w;
  if (p->rows > INT32_MAX || n > (int64_t)INT32_MAX * 64)
    return mica_fail(MICA_ERR_UNSUPPORTED, "sparse rows are for less than 2^31 of them");
  for (int64_t i = 0; i < n; i++) kept += keep[i] != 0; /* NOLINT */
  int32_t *place = mica_packed_array(p, 0, csr ? p->rows + 1 : kept);
  int32_t *column = place ? mica_packed_array(p, 1, kept) : NULL;
  float *kept_value = column ? mica_packed_array(p, 2, kept) : NULL;
  if (!kept_value) return MICA_ERR_MEMORY;
  int32_t at = 0;
  for (int64_t i = 0; i < n; i++) {
    if (csr && i % p->width == 0) place[i / p->width] = at;
    if (keep[i] == 0) continue; /* NOLINT */
    if (!csr) place[at] = (int32_t)(i / p->width);
    column[at] = (int32_t)(i % p->width);
    kept_value[at++] = w[i];
  }
  if (csr) place[p->rows] = at;
  return MICA_OK;
}

static mica_status sparse_pack(const mica_embedding_table *e, mica_packed_embedding *p) {
  const sparse_plan *plan = e->plan;
  if (!mica_embedding_decided(e))
    return mica_fail(MICA_ERR_STATE, "table %s: what is pruned has not been decided on",
                     mica_spec_component(e->spec)->name);
  const float *mask =
      mica_node_param(e->node, "mask") ? mica_embedding_floats(e->node, "mask") : NULL;
  return mica_sparse_pack(p, mica_embedding_floats(e->node, "weight"), mask, plan->csr);
}

static mica_status check(mica_packed_embedding *p) {
  const int32_t *place = mica_packed_data(p, 0), *column = mica_packed_data(p, 1);
  const int64_t n = mica_packed_count(p, 1), m = mica_packed_count(p, 0);
  if (mica_packed_count(p, 2) != n || m != (p->setting[0] ? p->rows + 1 : n) ||
      (p->setting[0] && (place[0] != 0 || place[p->rows] != n)))
    return mica_packed_wrong(p, "rows, columns and values do not fit");
  for (int64_t i = 1; i < m; i++)
    if (place[i] < place[i - 1]) return mica_packed_wrong(p, "the rows do not rise");
  if (!p->setting[0] && n && (place[0] < 0 || place[n - 1] >= p->rows))
    return mica_packed_wrong(p, "a row is not there");
  for (int64_t i = 0; i < n; i++)
    if (column[i] < 0 || column[i] >= p->width) return mica_packed_wrong(p, "a wrong column");
  return MICA_OK;
}

static void row(const mica_packed_embedding *p, int64_t field, int64_t id, float *out) {
  const int32_t *place = mica_packed_data(p, 0), *column = mica_packed_data(p, 1);
  const float *element = mica_packed_data(p, 2);
  const int64_t n = mica_packed_count(p, 1), at = p->offset[field] + id;
  memset(out, 0, (size_t)p->width * sizeof *out);
  if (p->setting[0]) {
    for (int64_t i = place[at]; i < place[at + 1]; i++) out[column[i]] = element[i];
    return;
  }
  int64_t lo = 0, hi = n;
  while (lo < hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    if (place[middle] < at)
      lo = middle + 1;
    else
      hi = middle;
  }
  for (; lo < n && place[lo] == at; lo++) out[column[lo]] = element[lo];
}

const mica_packed_form mica_packed_sparse = {
    "sparse", {"rows", "columns", "values"}, {MICA_I32, MICA_I32, MICA_F32}, check, row};

/* ---- descriptors ---- */

static const mica_option deeplight_options[] = {
    MICA_EMBEDDING_BYTES(sparse_options, "0.25"),
    {"every", MICA_OPTION_INT, "10", 1, 1 << 30, NULL, "steps between two prunings",
     offsetof(sparse_options, every)},
    {"damping", MICA_OPTION_FLOAT, "0.99", 0, 1, NULL,
     "what is still to be pruned falls by this factor in `period` steps",
     offsetof(sparse_options, damping)},
    {"period", MICA_OPTION_INT, "100", 1, 1 << 30, NULL, "steps", offsetof(sparse_options, period)},
    {0}};
static const mica_option autosrh_options[] = {
    MICA_EMBEDDING_BYTES(sparse_options, "0.25"),
    {"groups", MICA_OPTION_INT, "6", 1, 65536, NULL, "of ids, by frequency",
     offsetof(sparse_options, groups)},
    {"lr", MICA_OPTION_FLOAT, "0.001", 0, 1, NULL, "of what a group's elements matter",
     offsetof(sparse_options, lr)},
    {"l1", MICA_OPTION_FLOAT, "1e-5", 0, 1e6, NULL, "weight of its L1 norm",
     offsetof(sparse_options, l1)},
    {0}};
static const mica_option pep_options[] = {
    MICA_EMBEDDING_BYTES(sparse_options, "0.25"),
    {"threshold", MICA_OPTION_CHOICE, "feature_dimension", 0, 0,
     "global|dimension|feature|feature_dimension", "what has a threshold of its own",
     offsetof(sparse_options, threshold)},
    {"start", MICA_OPTION_FLOAT, "-8", -200, 20, NULL, "of the thresholds, before a sigmoid",
     offsetof(sparse_options, start)},
    {0}};
static const mica_embedding_method deeplight_method = {.phases = MICA_EMBEDDING_TUNES,
                                                       .init = deeplight_init,
                                                       .lookup = deeplight_lookup,
                                                       .bytes = sparse_bytes,
                                                       .decide = deeplight_decide,
                                                       .pack = sparse_pack};
static const mica_embedding_method autosrh_method = {.phases = MICA_EMBEDDING_SEARCHES |
                                                               MICA_EMBEDDING_REPEATS,
                                                     .search = "alpha",
                                                     .init = autosrh_init,
                                                     .lookup = autosrh_lookup,
                                                     .bytes = sparse_bytes,
                                                     .counts = set_groups,
                                                     .decide = autosrh_decide,
                                                     .search_step = autosrh_search_step,
                                                     .pack = sparse_pack};
static const mica_embedding_method pep_method = {.phases = MICA_EMBEDDING_RETRAINS,
                                                 .init = pep_init,
                                                 .lookup = pep_lookup,
                                                 .bytes = pep_bytes,
                                                 .decide = pep_decide,
                                                 .pack = sparse_pack};
MICA_EMBEDDING_COMPONENT(deeplight, "deeplight", "pruned by magnitude while it trains (DeepLight)",
                         deeplight_options, sparse_options);
MICA_EMBEDDING_COMPONENT(autosrh, "autosrh",
                         "pruned by what groups of ids matter on validation data (AutoSrh)",
                         autosrh_options, sparse_options);
MICA_EMBEDDING_COMPONENT(pep, "pep", "pruned by thresholds that are learnt (PEP)", pep_options,
                         sparse_options);
