/* Losses of a batch's pairs and triplets by class: triplet, contrastive, constellation.
 *
 * Which examples belong together is read from the labels and becomes constants; distances and
 * similarities of all pairs are one product. A batch without a pair of the kind that a loss needs
 * gives 0, and gradients of 0.
 */
#include <mica/loss.h>

#include <string.h>

enum { HARD, ALL };

/* ---- who belongs to whom ---- */

typedef struct pairs {
  int64_t n;
  const int64_t *label;
  mica_var same, other; /* [N,N] 1 or 0: another example of the class; one of another class */
  mica_var anchors;     /* int64 [M]: those that have both */
  int64_t n_anchors, n_same, n_other;
} pairs;

static bool begin(mica_tape *t, const mica_loss_inputs *in, const char *name, pairs *p) {
  const mica_view x = mica_read(t, in->features), y = mica_read(t, in->labels);
  if (!mica_ok(t)) return false;
  char text[96];
  *p = (pairs){.n = x.shape.dim[0], .label = y.data};
  if (x.shape.rank != 2 || y.dtype != MICA_I64 || mica_view_count(&y) != p->n ||
      !mica_view_contiguous(&y)) {
    mica_latch(t, MICA_ERR_SHAPE, "loss %s reads features [N,D] and labels int64 [N], not %s", name,
               mica_shape_text(&y.shape, text, sizeof text));
    return false;
  }
  const int64_t n = p->n;
  p->same = mica_full(t, x.dtype, MICA_SHAPE(n, n), 0);
  p->other = mica_full(t, x.dtype, MICA_SHAPE(n, n), 0);
  const mica_view same = mica_read(t, p->same), other = mica_read(t, p->other);
  mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(n), 0);
  const mica_view id = mica_read(t, ids);
  if (!mica_ok(t)) return false;
  for (int64_t i = 0; i < n; i++) {
    int64_t with = 0, against = 0;
    for (int64_t j = 0; j < n; j++) {
      const bool equal = p->label[i] == p->label[j];
      const mica_view *to = equal ? &same : &other;
      if (i == j) continue;
      with += equal;
      against += !equal;
      if (x.dtype == MICA_F32)
        ((float *)to->data)[i * n + j] = 1;
      else
        ((double *)to->data)[i * n + j] = 1;
    }
    p->n_same += with;
    p->n_other += against;
    if (with && against) ((int64_t *)id.data)[p->n_anchors++] = i;
  }
  p->anchors = mica_slice(t, ids, 0, 0, p->n_anchors);
  return mica_ok(t);
}

/* 0 that hangs on the features. */
static mica_var nothing(mica_tape *t, const mica_loss_inputs *in) {
  return mica_affine(t, mica_sum(t, in->features, 0, NULL, false), 0, 0);
}

static mica_var features_of(mica_tape *t, const mica_loss_inputs *in, bool normalise) {
  return normalise ? mica_l2_normalise(t, in->features, 1e-12) : in->features;
}

/* The distances of all pairs; squares keep a gradient at 0, roots have none there. */
static mica_var distances(mica_tape *t, mica_var x, bool squared) {
  const mica_var d = mica_squared_distances(t, x, x);
  return squared ? d : mica_sqrt(t, mica_clamp(t, d, 1e-12, 1e30));
}

/* ---- triplets ---- */

static mica_var without(mica_tape *t, mica_var x, mica_var mask, double value) {
  return mica_masked_fill(t, x, mica_affine(t, mask, -1, 1), value);
}

/* The farthest of the class against the nearest of another. */
static mica_var hardest(mica_tape *t, const pairs *p, mica_var d) {
  const mica_var far = mica_max(t, without(t, d, p->same, -1e30), 1, false);
  const mica_var near = mica_min(t, without(t, d, p->other, 1e30), 1, false);
  return mica_gather_rows(t, mica_sub(t, far, near), p->anchors);
}

/* All triplets [N,N,N] (anchor, positive, negative): the mean over those that lack something. */
static mica_var all_triplets(mica_tape *t, const pairs *p, mica_var d, double margin) {
  const mica_shape own = MICA_SHAPE(p->n, p->n, 1), others = MICA_SHAPE(p->n, 1, p->n);
  const mica_var gap = mica_sub(t, mica_reshape(t, d, own), mica_reshape(t, d, others));
  const mica_var valid =
      mica_mul(t, mica_reshape(t, p->same, own), mica_reshape(t, p->other, others));
  const mica_var lack = mica_mul(t, mica_relu(t, mica_affine(t, gap, 1, margin)), valid);
  const double active = mica_item(t, mica_sum(t, mica_step(t, lack), 0, NULL, false));
  return mica_affine(t, mica_sum(t, lack, 0, NULL, false), active > 0 ? 1 / active : 0, 0);
}

static mica_var triplet(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  const mica_triplet_options *o = options;
  pairs p;
  mica_scope_begin(t, NULL);
  if (!begin(t, in, "triplet", &p)) return mica_scope_end(t, MICA_NONE);
  if (!p.n_anchors) return mica_scope_end(t, nothing(t, in));
  const mica_var d = distances(t, features_of(t, in, o->normalise), o->squared);
  if (o->mining == ALL) return mica_scope_end(t, all_triplets(t, &p, d, o->margin));
  const mica_var gap = mica_affine(t, hardest(t, &p, d), 1, o->margin);
  const mica_var lack = o->soft ? mica_softplus(t, gap) : mica_relu(t, gap);
  return mica_scope_end(t, mica_mean(t, lack, 0, NULL, false));
}

/* ---- pairs ---- */

static mica_var contrastive(mica_tape *t, mica_node *node, const void *options,
                            const mica_loss_inputs *in) {
  (void)node;
  const mica_contrastive_options *o = options;
  pairs p;
  mica_scope_begin(t, NULL);
  if (!begin(t, in, "contrastive", &p)) return mica_scope_end(t, MICA_NONE);
  const mica_var x = features_of(t, in, o->normalise);
  const mica_var close = mica_mul(t, mica_squared_distances(t, x, x), p.same);
  const mica_var lack = mica_relu(t, mica_affine(t, distances(t, x, false), -1, o->margin));
  const mica_var apart = mica_mul(t, mica_square(t, lack), p.other);
  const mica_var near =
      mica_affine(t, mica_sum(t, close, 0, NULL, false), p.n_same ? 0.5 / (double)p.n_same : 0, 0);
  const mica_var far = mica_affine(t, mica_sum(t, apart, 0, NULL, false),
                                   p.n_other ? 0.5 / (double)p.n_other : 0, 0);
  return mica_scope_end(t, mica_add(t, near, far));
}

/* ---- all of the batch at once ---- */

/* ln(1 + sum over positives p and negatives n of e^(s_an - s_ap)) is the softplus of two
 * log-sum-exps. */
static mica_var constellation(mica_tape *t, mica_node *node, const void *options,
                              const mica_loss_inputs *in) {
  (void)node;
  const mica_constellation_options *o = options;
  pairs p;
  mica_scope_begin(t, NULL);
  if (!begin(t, in, "constellation", &p)) return mica_scope_end(t, MICA_NONE);
  if (!p.n_anchors) return mica_scope_end(t, nothing(t, in));
  const mica_var x = features_of(t, in, o->normalise);
  const mica_var s = mica_affine(t, mica_matmul_t(t, x, false, x, true), o->scale, 0);
  const mica_var against = mica_log_sum_exp(t, without(t, s, p.other, -1e30), 1, false);
  const mica_var with = mica_log_sum_exp(t, without(t, mica_neg(t, s), p.same, -1e30), 1, false);
  const mica_var both = mica_gather_rows(t, mica_add(t, against, with), p.anchors);
  return mica_scope_end(t, mica_mean(t, mica_softplus(t, both), 0, NULL, false));
}

/* ---- components ---- */

#define NORMALISE(type)                                                                            \
  {                                                                                                \
    "normalise", MICA_OPTION_BOOL, "true", 0, 0, NULL, "features to length 1 first",               \
        offsetof(type, normalise)                                                                  \
  }

static const mica_option triplet_table[] = {
    {"margin", MICA_OPTION_FLOAT, "0.3", 0, 1e6, NULL, "how much nearer is near enough",
     offsetof(mica_triplet_options, margin)},
    {"mining", MICA_OPTION_CHOICE, "hard", 0, 0, "hard|all",
     "of each example the farthest of its class and the nearest other, or all triplets",
     offsetof(mica_triplet_options, mining)},
    {"soft", MICA_OPTION_BOOL, "false", 0, 0, NULL, "ln(1 + e^x) in place of max(0, x); hard alone",
     offsetof(mica_triplet_options, soft)},
    {"squared", MICA_OPTION_BOOL, "false", 0, 0, NULL, "squared distances",
     offsetof(mica_triplet_options, squared)},
    NORMALISE(mica_triplet_options),
    {0}};
static const mica_option contrastive_table[] = {{"margin", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL,
                                                 "how far apart is far enough",
                                                 offsetof(mica_contrastive_options, margin)},
                                                NORMALISE(mica_contrastive_options),
                                                {0}};
static const mica_option constellation_table[] = {{"scale", MICA_OPTION_FLOAT, "8", 1e-6, 1e6, NULL,
                                                   "of the similarities",
                                                   offsetof(mica_constellation_options, scale)},
                                                  NORMALISE(mica_constellation_options),
                                                  {0}};

static const mica_loss_functions triplet_functions = {.forward = triplet},
                                 contrastive_functions = {.forward = contrastive},
                                 constellation_functions = {.forward = constellation};

#define COMPONENT(name_, summary_, table_, type_)                                                  \
  extern const mica_component mica_component_loss_##name_;                                         \
  const mica_component mica_component_loss_##name_ = {MICA_COMPONENT_HEAD,                         \
                                                      MICA_KIND_LOSS,                              \
                                                      #name_,                                      \
                                                      summary_,                                    \
                                                      "hyperspherical",                            \
                                                      table_,                                      \
                                                      sizeof(type_),                               \
                                                      MICA_NEED_FEATURES | MICA_NEED_LABELS,       \
                                                      0,                                           \
                                                      &name_##_functions}
COMPONENT(triplet, "triplets of a batch by class, the hardest or all", triplet_table,
          mica_triplet_options);
COMPONENT(contrastive, "pairs of a batch by class: near, or far enough", contrastive_table,
          mica_contrastive_options);
COMPONENT(constellation, "each example against all triplets of a batch", constellation_table,
          mica_constellation_options);
