/* Focal losses: cross-entropy that counts what is already right for less. */
#include <mica/ops.h>

static bool gamma_fits(mica_tape *t, const char *op, double gamma) {
  if (!mica_ok(t)) return false;
  if (gamma >= 0) return true;
  mica_latch(t, MICA_ERR_INVALID, "%s: gamma %g, expected >= 0", op, gamma);
  return false;
}

mica_var mica_focal(mica_tape *t, mica_var logits, mica_var labels, double gamma) {
  if (!gamma_fits(t, "focal", gamma)) return MICA_NONE;
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  o.per_example = true;
  mica_scope_begin(t, NULL);
  const mica_var ce = mica_cross_entropy(t, logits, labels, MICA_NONE, &o);
  const mica_view y = mica_read(t, labels);
  int64_t counted = 0;
  for (int64_t i = 0; mica_ok(t) && i < mica_view_count(&y); i++)
    counted += ((const int64_t *)y.data)[i] != o.ignore_index;
  /* 1 - p = -(e^-ce - 1); held above 0, where a power below 1 has no slope. */
  const mica_var wrong = mica_neg(t, mica_expm1(t, mica_neg(t, ce)));
  const mica_var weight = mica_pow_scalar(t, mica_clamp(t, wrong, 1e-30, 1), gamma);
  const mica_var sum = mica_sum(t, mica_mul(t, weight, ce), 0, NULL, false);
  return mica_scope_end(t, mica_affine(t, sum, 1 / (double)counted, 0));
}

mica_var mica_binary_focal(mica_tape *t, mica_var logits, mica_var target, double gamma,
                           double alpha) {
  if (!gamma_fits(t, "binary_focal", gamma)) return MICA_NONE;
  if (alpha > 1)
    return mica_latch(t, MICA_ERR_INVALID, "binary_focal: alpha %g, expected at most 1", alpha);
  mica_scope_begin(t, NULL);
  /* p = sigmoid(z), so ln(1 - p) = log_sigmoid(-z) and -ln p = softplus(-z) */
  const mica_var minus_z = mica_mul(t, mica_affine(t, target, -2, 1), logits);
  const mica_var weight = mica_exp(t, mica_affine(t, mica_log_sigmoid(t, minus_z), gamma, 0));
  mica_var loss = mica_mul(t, weight, mica_softplus(t, minus_z));
  if (alpha >= 0) loss = mica_mul(t, loss, mica_affine(t, target, 2 * alpha - 1, 1 - alpha));
  return mica_scope_end(t, mica_mean(t, loss, 0, NULL, false));
}
