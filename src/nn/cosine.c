/* Classes as directions: scaled cosines of features and class vectors, with the margins and the
 * scales that adapt to the batch.
 *
 * A margin changes one logit of each example, so it is a column of its own that is added to the
 * cosines. What is taken from a batch (scale, margin, t) is read from the values, not from the
 * graph: it is a constant of the step.
 */
#include "nn/cosine.h"

#include <math.h>
#include <string.h>

/* ---- options ---- */

static mica_cosine_options complete(const mica_cosine_options *given) {
  mica_cosine_options o = MICA_COSINE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if (o.margin < 0)
    o.margin = o.kind == MICA_COSINE_SPHEREFACE                                        ? 1.35
               : o.kind == MICA_COSINE_COSFACE                                         ? 0.35
               : o.kind == MICA_COSINE_ARCFACE || o.kind == MICA_COSINE_CURRICULARFACE ? 0.5
                                                                                       : 0;
  return o;
}

static mica_status check(const mica_cosine_options *o) {
  if ((unsigned)o->kind > MICA_COSINE_MADACOS || (unsigned)o->constraint > 1 ||
      (unsigned)o->others > MICA_COSINE_OTHERS_MEDIAN)
    return mica_fail(MICA_ERR_INVALID, "cosine: no kind %d, constraint %d or others %d",
                     (int)o->kind, (int)o->constraint, (int)o->others);
  if (!(o->scale >= 0) || !isfinite(o->scale) || !isfinite(o->margin) || !(o->floor >= 0) ||
      !(o->alpha > 0 && o->alpha < 1) || !(o->top_prob > o->alpha && o->top_prob < 1) ||
      !(o->momentum >= 0 && o->momentum <= 1))
    return mica_fail(MICA_ERR_INVALID,
                     "cosine: expected scale and floor of 0 or more, 0 < alpha < top_prob < 1, and "
                     "a momentum of 0 to 1");
  return MICA_OK;
}

static double fixed_scale(double classes) {
  return sqrt(2) * log(fmax(classes - 1, 1.0001));
}

mica_cosine_state mica_cosine_state_begin(const mica_cosine_options *given, int64_t classes) {
  const mica_cosine_options o = complete(given);
  mica_cosine_state s = {o.scale, o.margin, NAN, NAN, 0};
  if (o.kind == MICA_COSINE_ADACOS)
    s.scale = fixed_scale((double)classes);
  else if (o.kind == MICA_COSINE_MADACOS)
    s.scale = o.floor, s.margin = 0;
  else if (!(o.scale > 0))
    s.scale = fmax(10, fixed_scale((double)classes));
  return s;
}

/* ---- logits ---- */

static mica_margin margin_of(int32_t kind) {
  return kind == MICA_COSINE_SPHEREFACE                              ? MICA_MARGIN_SPHERE
         : kind == MICA_COSINE_ARCFACE                               ? MICA_MARGIN_ARC
         : kind == MICA_COSINE_CURRICULARFACE                        ? MICA_MARGIN_ARC_FALLING
         : kind == MICA_COSINE_SOFTMAX || kind == MICA_COSINE_ADACOS ? MICA_MARGIN_NONE
                                                                     : MICA_MARGIN_COSINE;
}

/* Other classes that are nearer than the own one, c, as c (t + c). */
static mica_var harder(mica_tape *t, mica_var cosine, mica_var own, double hardness) {
  const mica_var hard = mica_less(t, own, cosine);
  return mica_where(t, hard, mica_mul(t, cosine, mica_affine(t, cosine, 1, hardness)), cosine);
}

/* The cosines with each example's own one as its margin has it. */
static mica_var with_margin(mica_tape *t, mica_var cosine, mica_var labels,
                            const mica_cosine_options *o, const mica_cosine_state *state) {
  const int64_t n = mica_dim(t, cosine, 0), classes = mica_dim(t, cosine, 1);
  const mica_margin kind = margin_of(o->kind);
  if (!mica_ok(t) || kind == MICA_MARGIN_NONE) return cosine;
  const mica_var at = mica_reshape(t, labels, MICA_SHAPE(-1, 1));
  const mica_var own = mica_gather(t, cosine, 1, at);
  const mica_var changed = mica_cosine_margin(t, own, kind, state->margin);
  mica_var all = cosine, before = own;
  if (o->kind == MICA_COSINE_CURRICULARFACE) {
    all = harder(t, cosine, changed, state->hardness);
    before = mica_gather(t, all, 1, at);
  }
  const mica_var place = mica_full(t, MICA_I64, MICA_SHAPE(n), 0);
  const mica_view to = mica_read(t, place), label = mica_read(t, labels);
  for (int64_t i = 0; i < n && mica_ok(t); i++)
    ((int64_t *)to.data)[i] = i * classes + ((const int64_t *)label.data)[i];
  const mica_var more = mica_reshape(t, mica_sub(t, changed, before), MICA_SHAPE(-1));
  const mica_var flat = mica_reshape(t, all, MICA_SHAPE(-1));
  return mica_reshape(t, mica_scatter_add(t, flat, place, more), MICA_SHAPE(n, classes));
}

static bool labels_fit(mica_tape *t, mica_var cosine, mica_var labels) {
  const mica_view c = mica_read(t, cosine), y = mica_read(t, labels);
  if (!mica_ok(t)) return false;
  char text[96];
  if (y.dtype != MICA_I64 || mica_view_count(&y) != c.shape.dim[0] || !mica_view_contiguous(&y)) {
    mica_latch(t, MICA_ERR_SHAPE, "cosine: expected %lld int64 labels, not %s %s",
               (long long)c.shape.dim[0], mica_dtype_name(y.dtype),
               mica_shape_text(&y.shape, text, sizeof text));
    return false;
  }
  for (int64_t i = 0; i < c.shape.dim[0]; i++) {
    const int64_t label = ((const int64_t *)y.data)[i];
    if (label >= 0 && label < c.shape.dim[1]) continue;
    mica_latch(t, MICA_ERR_INVALID, "cosine: label %lld of row %lld, expected 0 to %lld",
               (long long)label, (long long)i, (long long)c.shape.dim[1] - 1);
    return false;
  }
  return true;
}

mica_var mica_cosine_logits(mica_tape *t, mica_var features, mica_var weight, mica_var labels,
                            const mica_cosine_options *given, mica_cosine_state *state) {
  const mica_cosine_options o = complete(given);
  mica_scope_begin(t, NULL);
  if (mica_ok(t) && check(&o) != MICA_OK) mica_latch(t, MICA_ERR_INVALID, "%s", mica_last_error());
  const mica_var x = mica_l2_normalise(t, features, 1e-12);
  const mica_var w = o.constraint ? weight : mica_l2_normalise(t, weight, 1e-12);
  mica_var cosine = mica_linear(t, x, w, MICA_NONE, MICA_IDENTITY);
  if (mica_ok(t) && (mica_rank(t, cosine) != 2 || mica_dim(t, cosine, 1) < 1))
    mica_latch(t, MICA_ERR_SHAPE, "cosine: expected features [N,D] and class vectors [C,D]");
  if (!mica_is_none(labels) && mica_ok(t) && labels_fit(t, cosine, labels)) {
    const mica_view c = mica_read(t, cosine), y = mica_read(t, labels);
    if (mica_ok(t) && mica_cosine_adapt(&o, &c, y.data, mica_is_training(t), state) != MICA_OK)
      mica_latch(t, mica_last_status(), "%s", mica_last_error());
    if (mica_is_training(t)) cosine = with_margin(t, cosine, labels, &o, state);
  } else if (mica_ok(t)) {
    state->median = state->log_others = NAN;
  }
  return mica_scope_end(t, mica_affine(t, cosine, state->scale, 0));
}

/* ---- the layer ---- */

static const char *const names[] = {"scale", "margin", "median", "log_others", "hardness"};
enum { NUMBERS = 5 };

/* The numbers of a state in the order of their names; those that are not known are 0. */
static void numbers_of(const mica_cosine_state *s, double *out) {
  const double v[NUMBERS] = {s->scale, s->margin, s->median, s->log_others, s->hardness};
  for (int i = 0; i < NUMBERS; i++) out[i] = isnan(v[i]) ? 0 : v[i];
}

mica_status mica_nn_cosine_init(mica_node *node, int64_t width, int64_t classes,
                                const mica_cosine_options *given) {
  const mica_cosine_options o = complete(given);
  if (check(&o) != MICA_OK) return MICA_ERR_INVALID;
  if (classes < 1 || width < 1)
    return mica_fail(MICA_ERR_INVALID, "cosine: %lld classes of %lld features, expected 1 or more",
                     (long long)classes, (long long)width);
  const mica_cosine_state begin = mica_cosine_state_begin(&o, classes);
  const mica_init init = {MICA_INIT_XAVIER_UNIFORM, 0, 0, 0, false};
  double value[NUMBERS];
  numbers_of(&begin, value);
  mica_status status = mica_param_add(node, "weight", MICA_F32, MICA_SHAPE(classes, width),
                                      MICA_PARAM_TRAINABLE | (o.constraint ? 0 : MICA_PARAM_DECAY) |
                                          MICA_PARAM_LINEAR,
                                      &init, NULL);
  for (int i = 0; i < NUMBERS && status == MICA_OK; i++) {
    const mica_init constant = {MICA_INIT_CONSTANT, value[i], 0, 0, false};
    status =
        mica_param_add(node, names[i], MICA_F32, MICA_SCALAR, MICA_PARAM_BUFFER, &constant, NULL);
  }
  if (status == MICA_OK) mica_nn_cosine_project(node, &o);
  return status;
}

bool mica_nn_cosine_state(const mica_node *node, mica_cosine_state *out) {
  double v[NUMBERS];
  for (int i = 0; i < NUMBERS; i++) {
    const mica_param *q = node ? mica_node_param(node, names[i]) : NULL;
    if (!q || mica_tensor_dtype(mica_param_value(q)) != MICA_F32) return false;
    v[i] = (double)*(const float *)mica_tensor_data(mica_param_value(q));
  }
  *out = (mica_cosine_state){v[0], v[1], v[2], v[3], v[4]};
  return true;
}

mica_var mica_nn_cosine(mica_tape *t, mica_node *node, const mica_cosine_options *o, mica_var x,
                        mica_var labels) {
  mica_cosine_state state = {1, 0, NAN, NAN, 0};
  mica_nn_enter(t, node);
  const mica_var w = mica_weight(t, node, "weight");
  if (mica_ok(t) && !mica_nn_cosine_state(node, &state))
    mica_latch(t, MICA_ERR_NOT_FOUND, "no state of a cosine layer below '%s'",
               mica_node_path(node));
  if (mica_ok(t) && mica_is_training(t) && mica_is_none(labels))
    mica_latch(t, MICA_ERR_INVALID, "cosine: training needs labels");
  const mica_var y = mica_cosine_logits(t, x, w, labels, o, &state);
  if (mica_is_training(t) && mica_ok(t)) {
    double value[NUMBERS];
    numbers_of(&state, value);
    for (int i = 0; i < NUMBERS; i++)
      mica_buffer_set(t, mica_node_param(node, names[i]),
                      mica_full(t, MICA_F32, MICA_SCALAR, value[i]));
  }
  return mica_scope_end(t, y);
}

void mica_nn_cosine_project(mica_node *node, const mica_cosine_options *given) {
  const mica_cosine_options o = complete(given);
  mica_param *q = o.constraint ? mica_node_param(node, "weight") : NULL;
  if (!q) return;
  const int64_t classes = mica_tensor_dim(mica_param_value(q), 0);
  const int64_t width = mica_tensor_dim(mica_param_value(q), 1);
  float *w = mica_param_write(q);
  for (int64_t c = 0; c < classes; c++, w += width) {
    double sum = 0;
    for (int64_t j = 0; j < width; j++) sum += (double)w[j] * (double)w[j];
    const double length = fmax(sqrt(sum), 1e-12);
    for (int64_t j = 0; j < width; j++) w[j] = (float)((double)w[j] / length);
  }
}
