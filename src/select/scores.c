/* The scores of "Deep Learning on a Data Diet" (Paul, Ganguli and Dziugaite 2021): with p the
 * softmax of the logits and y one-hot, EL2N is the norm of the error p - y (the gradient with
 * respect to the logits), GraNd the norm of the gradient with respect to the weights.
 */
#include <mica/select.h>

#include <math.h>

/* The sum over classes of |p - y| or its square. */
static double error_of(const float *logit, int64_t classes, int64_t label, bool squared) {
  double top = logit[0], sum = 0, norm = 0;
  for (int64_t c = 1; c < classes; c++) top = fmax(top, (double)logit[c]);
  for (int64_t c = 0; c < classes; c++) sum += exp((double)logit[c] - top);
  for (int64_t c = 0; c < classes; c++) {
    const double e = fabs(exp((double)logit[c] - top) / sum - (c == label));
    norm += squared ? e * e : e;
  }
  return norm;
}

static mica_status el2n(const mica_score_input *in, const void *options, double *out) {
  (void)options;
  for (int64_t i = 0; i < in->n; i++)
    out[i] = sqrt(error_of(in->logits + i * in->classes, in->classes, in->labels[i], true));
  return MICA_OK;
}

static mica_status el1n(const mica_score_input *in, const void *options, double *out) {
  (void)options;
  for (int64_t i = 0; i < in->n; i++)
    out[i] = error_of(in->logits + i * in->classes, in->classes, in->labels[i], false);
  return MICA_OK;
}

/* The last layer's gradient alone, weights and bias: |p - y| sqrt(|h|^2 + 1), h its input. */
static mica_status last_layer(const mica_score_input *in, const void *options, double *out) {
  (void)options;
  if (!in->features) return mica_fail(MICA_ERR_INVALID, "grand_last needs the features");
  for (int64_t i = 0; i < in->n; i++) {
    const float *h = in->features + i * in->width;
    double square = 1;
    for (int64_t j = 0; j < in->width; j++) square += (double)h[j] * (double)h[j];
    out[i] =
        sqrt(error_of(in->logits + i * in->classes, in->classes, in->labels[i], true) * square);
  }
  return MICA_OK;
}

/* The norm of each example's gradient over all trainable tensors. */
static mica_status all_layers(const mica_score_input *in, const void *options, double *out) {
  (void)options;
  return mica_example_gradient_norms(in->t, in->loss, in->loss_ctx, in->n_in, in->in, 0, out);
}

/* max_{c != y} p_c - p_y, and the sum over c != y of p_c - p_y. */
static void margins(const float *logit, int64_t classes, int64_t label, double *max, double *sum) {
  double top = logit[0], total = 0, best = 0;
  for (int64_t c = 1; c < classes; c++) top = fmax(top, (double)logit[c]);
  for (int64_t c = 0; c < classes; c++) total += exp((double)logit[c] - top);
  const double own = exp((double)logit[label] - top) / total;
  for (int64_t c = 0; c < classes; c++)
    if (c != label) best = fmax(best, exp((double)logit[c] - top) / total);
  *max = best - own;
  *sum = 1 - own - (double)(classes - 1) * own;
}

static mica_status max_margin(const mica_score_input *in, const void *options, double *out) {
  (void)options;
  double sum;
  for (int64_t i = 0; i < in->n; i++)
    margins(in->logits + i * in->classes, in->classes, in->labels[i], &out[i], &sum);
  return MICA_OK;
}

static mica_status sum_margin(const mica_score_input *in, const void *options, double *out) {
  (void)options;
  double max;
  for (int64_t i = 0; i < in->n; i++)
    margins(in->logits + i * in->classes, in->classes, in->labels[i], &max, &out[i]);
  return MICA_OK;
}

#define SCORE(name_, summary_, needs_, score_)                                                     \
  static const mica_score_functions functions_##name_ = {sizeof functions_##name_, score_};        \
  extern const mica_component mica_component_score_##name_;                                        \
  const mica_component mica_component_score_##name_ = {                                            \
      MICA_COMPONENT_HEAD, MICA_KIND_SCORE, #name_, summary_, "data-diet", NULL, 0, needs_, 0,     \
      &functions_##name_};

SCORE(el2n, "norm of the error p - y", MICA_NEED_LOGITS | MICA_NEED_LABELS, el2n)
SCORE(el1n, "sum of the absolute error p - y", MICA_NEED_LOGITS | MICA_NEED_LABELS, el1n)
SCORE(grand, "norm of the gradient of all weights", MICA_NEED_LOGITS | MICA_NEED_LABELS, all_layers)
SCORE(grand_last, "norm of the last layer's gradient",
      MICA_NEED_LOGITS | MICA_NEED_LABELS | MICA_NEED_FEATURES, last_layer)
SCORE(max_margin, "largest wrong probability less the right one",
      MICA_NEED_LOGITS | MICA_NEED_LABELS, max_margin)
SCORE(sum_margin, "sum of the wrong probabilities, each less the right one",
      MICA_NEED_LOGITS | MICA_NEED_LABELS, sum_margin)
