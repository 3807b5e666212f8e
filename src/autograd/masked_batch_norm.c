/* Batch norm over some of the positions: they are gathered, normalised together, and put back. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/element.h"

/* The numbers of the positions where the mask is not 0, int64 [n]. */
static mica_var active(mica_tape *t, const mica_view *mask, int64_t *n) {
  const int64_t all = mica_view_count(mask);
  *n = 0;
  for (int64_t i = 0; i < all; i++) *n += mica_view_element(mask, i) != 0;
  const mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(*n), 0);
  const mica_view v = mica_read(t, ids);
  if (!mica_ok(t)) return MICA_NONE;
  int64_t *id = v.data;
  for (int64_t i = 0; i < all; i++)
    if (mica_view_element(mask, i) != 0) *id++ = i;
  return ids;
}

mica_var mica_masked_batch_norm_train(mica_tape *t, mica_var x, mica_var mask, mica_var gain,
                                      mica_var bias, double eps, mica_activation act,
                                      mica_var *mean, mica_var *var, int64_t *count) {
  if (mean) *mean = MICA_NONE;
  if (var) *var = MICA_NONE;
  if (count) *count = 0;
  const mica_view vx = mica_read(t, x), vm = mica_read(t, mica_contiguous(t, mask));
  if (!mica_ok(t)) return MICA_NONE;
  const int64_t channels = vx.shape.rank ? mica_view_cols(&vx) : 0;
  mica_shape positions = vx.shape;
  positions.rank--;
  if (!mica_is_float(&vx) || vx.shape.rank < 2 || !mica_shape_equal(&vm.shape, &positions)) {
    char a[96], b[96];
    return mica_latch(t, MICA_ERR_SHAPE,
                      "masked_batch_norm_train: expected float x [..,C] and a mask [..]: %s %s",
                      mica_shape_text(&vx.shape, a, sizeof a),
                      mica_shape_text(&vm.shape, b, sizeof b));
  }
  int64_t n;
  mica_var m = MICA_NONE, v = MICA_NONE;
  mica_scope_begin(t, NULL);
  const mica_var ids = active(t, &vm, &n);
  /* Of x even where nothing is active, so that a gradient of zeros comes back. */
  const mica_var all = mica_full(t, vx.dtype, MICA_SCALAR, 1);
  mica_var y = n ? MICA_NONE : mica_masked_fill(t, x, all, 0);
  if (n) {
    const mica_var zeros = mica_full(t, vx.dtype, MICA_SHAPE(mica_view_rows(&vx), channels), 0);
    const mica_var rows =
        mica_gather_rows(t, mica_reshape(t, x, MICA_SHAPE(mica_view_rows(&vx), channels)), ids);
    y = mica_batch_norm_train(t, rows, gain, bias, eps, act, &m, &v);
    y = mica_scatter_add(t, zeros, ids, y);
  }
  mica_var keep[3] = {mica_reshape(t, y, vx.shape), m, v};
  mica_scope_end_n(t, n ? 3 : 1, keep);
  if (!mica_ok(t)) return MICA_NONE;
  if (mean) *mean = keep[1];
  if (var) *var = keep[2];
  if (count) *count = n;
  return keep[0];
}
