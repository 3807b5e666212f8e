/* The soft Dice loss: one less the overlap of two masks. */
#include <mica/ops.h>

mica_var mica_dice(mica_tape *t, mica_var p, mica_var target, double smooth, bool squared) {
  const mica_view vp = mica_read(t, p), vg = mica_read(t, target);
  if (!mica_ok(t)) return MICA_NONE;
  if (vp.shape.rank < 2 || !mica_shape_equal(&vp.shape, &vg.shape)) {
    char a[96], b[96];
    return mica_latch(t, MICA_ERR_SHAPE, "dice: expected two tensors of one shape [N,..]: %s %s",
                      mica_shape_text(&vp.shape, a, sizeof a),
                      mica_shape_text(&vg.shape, b, sizeof b));
  }
  if (!(smooth >= 0))
    return mica_latch(t, MICA_ERR_INVALID, "dice: smooth %g, expected >= 0", smooth);
  static const int within[] = {1};
  mica_scope_begin(t, NULL);
  p = mica_flatten(t, p, 1);
  target = mica_flatten(t, target, 1);
  const mica_var both = mica_sum(t, mica_mul(t, p, target), 1, within, false);
  const mica_var size_p = mica_sum(t, squared ? mica_square(t, p) : p, 1, within, false);
  const mica_var size_g = mica_sum(t, squared ? mica_square(t, target) : target, 1, within, false);
  const mica_var share = mica_div(t, mica_affine(t, both, 2, smooth),
                                  mica_affine(t, mica_add(t, size_p, size_g), 1, smooth));
  return mica_scope_end(t, mica_affine(t, mica_mean(t, share, 0, NULL, false), -1, 1));
}
