/* Losses on a teacher's logits: kd (Hinton, Vinyals & Dean 2015), T^2 KL(softmax(teacher / T) ||
 * softmax(logits / T)); dkd (Zhao et al. 2022), the same of the label against the rest and of the
 * rest, weighed apart; dist (Huang et al. 2022), correlations in the place of the divergence. */
#include "loss/warmup.h"

/* ---- kd ---- */

static mica_var kd(mica_tape *t, mica_node *node, const void *options, const mica_loss_inputs *in) {
  (void)node;
  const mica_kd_options *o = options;
  mica_var p = mica_softmax(t, mica_affine(t, in->teacher_logits, 1 / o->t, 0), -1);
  mica_var log_q = mica_log_softmax(t, mica_affine(t, in->logits, 1 / o->t, 0), -1);
  return mica_warm(t, mica_affine(t, mica_kl(t, log_q, p), o->t * o->t, 0), in, o->warmup);
}

static const mica_option kd_options[] = {
    {"T", MICA_OPTION_FLOAT, "4", 1e-3, 1e3, NULL, "temperature", offsetof(mica_kd_options, t)},
    MICA_WARMUP_ROW(mica_kd_options),
    {0}};
static const mica_loss_functions kd_functions = {.forward = kd};
const mica_component mica_component_loss_kd = {MICA_COMPONENT_HEAD,
                                               MICA_KIND_LOSS,
                                               "kd",
                                               "distillation of a teacher's softened logits",
                                               NULL,
                                               kd_options,
                                               sizeof(mica_kd_options),
                                               MICA_NEED_LOGITS | MICA_NEED_TEACHER,
                                               0,
                                               &kd_functions};

/* ---- dkd ---- */

/* What takes the label's class out of a softmax. */
#define FAR (-1000.0)

/* Logarithms: of the probabilities of (label, the rest) [N,2] in *two, and of the classes but the
 * label's among themselves [N,C]. */
static mica_var decouple(mica_tape *t, mica_var logits, mica_var own, mica_var *two) {
  mica_var rest = mica_add(t, logits, mica_affine(t, own, FAR, 0));
  const mica_var all = mica_log_sum_exp(t, logits, -1, true);
  const mica_var label = mica_sum(t, mica_mul(t, logits, own), 1, (const int[]){-1}, true);
  const mica_var parts[2] = {mica_sub(t, label, all),
                             mica_sub(t, mica_log_sum_exp(t, rest, -1, true), all)};
  *two = mica_concat(t, 2, parts, -1);
  return mica_log_softmax(t, rest, -1);
}

static mica_var dkd(mica_tape *t, mica_node *node, const void *options,
                    const mica_loss_inputs *in) {
  (void)node;
  const mica_dkd_options *o = options;
  mica_scope_begin(t, NULL);
  const mica_var own =
      mica_one_hot(t, in->labels, mica_dim(t, in->logits, -1), mica_dtype_of(t, in->logits));
  mica_var student_two, teacher_two;
  const mica_var student = decouple(t, mica_affine(t, in->logits, 1 / o->t, 0), own, &student_two);
  const mica_var teacher =
      decouple(t, mica_affine(t, in->teacher_logits, 1 / o->t, 0), own, &teacher_two);
  const mica_var target = mica_kl(t, student_two, mica_exp(t, teacher_two));
  const mica_var others = mica_kl(t, student, mica_exp(t, teacher));
  const double scale = o->t * o->t;
  mica_var sum = mica_add(t, mica_affine(t, target, scale * o->alpha, 0),
                          mica_affine(t, others, scale * o->beta, 0));
  return mica_scope_end(t, mica_warm(t, sum, in, o->warmup));
}

static const mica_option dkd_options[] = {
    {"T", MICA_OPTION_FLOAT, "4", 1e-3, 1e3, NULL, "temperature", offsetof(mica_dkd_options, t)},
    {"alpha", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL, "weight of the label against the rest",
     offsetof(mica_dkd_options, alpha)},
    {"beta", MICA_OPTION_FLOAT, "8", 0, 1e6, NULL, "weight of the rest",
     offsetof(mica_dkd_options, beta)},
    MICA_WARMUP_ROW(mica_dkd_options),
    {0}};
static const mica_loss_functions dkd_functions = {.forward = dkd};
const mica_component mica_component_loss_dkd = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "dkd",
    "distillation of the label's share and of the other classes, apart",
    "norm-direction-distillation",
    dkd_options,
    sizeof(mica_dkd_options),
    MICA_NEED_LOGITS | MICA_NEED_TEACHER | MICA_NEED_LABELS,
    0,
    &dkd_functions};

/* ---- dist ---- */

/* Mean over the rows along `axis` of 1 - Pearson's correlation. */
static mica_var decorrelation(mica_tape *t, mica_var a, mica_var b, int axis) {
  const int axes[] = {axis};
  a = mica_sub(t, a, mica_mean(t, a, 1, axes, true));
  b = mica_sub(t, b, mica_mean(t, b, 1, axes, true));
  const mica_var dot = mica_sum(t, mica_mul(t, a, b), 1, axes, false);
  mica_var size = mica_mul(t, mica_sum(t, mica_square(t, a), 1, axes, false),
                           mica_sum(t, mica_square(t, b), 1, axes, false));
  size = mica_sqrt(t, mica_affine(t, size, 1, 1e-16));
  const mica_var r = mica_div(t, dot, size);
  return mica_affine(t, mica_mean(t, r, 0, NULL, false), -1, 1);
}

static mica_var dist(mica_tape *t, mica_node *node, const void *options,
                     const mica_loss_inputs *in) {
  (void)node;
  const mica_dist_options *o = options;
  mica_scope_begin(t, NULL);
  const int64_t classes = mica_dim(t, in->logits, -1);
  mica_var p = mica_softmax(t, mica_affine(t, in->logits, 1 / o->t, 0), -1);
  mica_var q = mica_softmax(t, mica_affine(t, in->teacher_logits, 1 / o->t, 0), -1);
  const int64_t rows = mica_ok(t) && classes
                           ? mica_view_count(&(mica_view){.shape = mica_read(t, p).shape}) / classes
                           : 0;
  p = mica_reshape(t, p, MICA_SHAPE(rows, classes));
  q = mica_reshape(t, q, MICA_SHAPE(rows, classes));
  const double scale = o->t * o->t;
  const mica_var sum = mica_add(t, mica_affine(t, decorrelation(t, p, q, 1), scale * o->beta, 0),
                                mica_affine(t, decorrelation(t, p, q, 0), scale * o->gamma, 0));
  return mica_scope_end(t, mica_warm(t, sum, in, o->warmup));
}

static const mica_option dist_options[] = {
    {"T", MICA_OPTION_FLOAT, "1", 1e-3, 1e3, NULL, "temperature", offsetof(mica_dist_options, t)},
    {"beta", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL, "weight of the classes of each example",
     offsetof(mica_dist_options, beta)},
    {"gamma", MICA_OPTION_FLOAT, "1", 0, 1e6, NULL, "weight of the examples of each class",
     offsetof(mica_dist_options, gamma)},
    MICA_WARMUP_ROW(mica_dist_options),
    {0}};
static const mica_loss_functions dist_functions = {.forward = dist};
const mica_component mica_component_loss_dist = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "dist",
    "correlation with a teacher's probabilities, by example and by class",
    "norm-direction-distillation",
    dist_options,
    sizeof(mica_dist_options),
    MICA_NEED_LOGITS | MICA_NEED_TEACHER,
    0,
    &dist_functions};
