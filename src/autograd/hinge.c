/* Margin losses. */
#include <mica/ops.h>

static bool options_fit(mica_tape *t, const char *op, double margin, int power) {
  if (!mica_ok(t)) return false;
  if (margin >= 0 && (power == 1 || power == 2)) return true;
  mica_latch(t, MICA_ERR_INVALID, "%s: margin %g and power %d, expected >= 0 and 1 or 2", op,
             margin, power);
  return false;
}

/* max(0, d)^power */
static mica_var violation(mica_tape *t, mica_var d, int power) {
  return power == 2 ? mica_squared_relu(t, d) : mica_relu(t, d);
}

mica_var mica_hinge(mica_tape *t, mica_var x, mica_var target, double margin, int power) {
  if (!options_fit(t, "hinge", margin, power)) return MICA_NONE;
  mica_scope_begin(t, NULL);
  const mica_var d = mica_affine(t, mica_mul(t, target, x), -1, margin);
  return mica_scope_end(t, mica_mean(t, violation(t, d, power), 0, NULL, false));
}

mica_var mica_multi_margin(mica_tape *t, mica_var logits, mica_var labels, double margin,
                           int power) {
  if (!options_fit(t, "multi_margin", margin, power)) return MICA_NONE;
  const mica_view x = mica_read(t, logits), y = mica_read(t, labels);
  if (!mica_ok(t)) return MICA_NONE;
  if (x.shape.rank != 2 || y.dtype != MICA_I64 || y.shape.rank != 1 ||
      y.shape.dim[0] != x.shape.dim[0] || !x.shape.dim[1]) {
    char a[96], b[96];
    return mica_latch(
        t, MICA_ERR_SHAPE, "multi_margin: expected logits [N,C] and int64 labels [N]: %s %s",
        mica_shape_text(&x.shape, a, sizeof a), mica_shape_text(&y.shape, b, sizeof b));
  }
  const double n = (double)x.shape.dim[0], classes = (double)x.shape.dim[1];
  mica_scope_begin(t, NULL);
  const mica_var own = mica_gather(t, logits, 1, mica_reshape(t, labels, MICA_SHAPE(-1, 1)));
  const mica_var d = mica_affine(t, mica_sub(t, logits, own), 1, margin);
  /* The label itself adds the margin, which is taken off again. */
  const mica_var sum = mica_sum(t, violation(t, d, power), 0, NULL, false);
  return mica_scope_end(t, mica_affine(t, sum, 1 / (n * classes),
                                       -(power == 2 ? margin * margin : margin) / classes));
}
