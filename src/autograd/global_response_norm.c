/* Global response normalisation: channels compete by their norms over the positions. */
#include "autograd/ranges.h"

#include <mica/ops.h>

mica_var mica_global_response_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                   double eps) {
  const mica_view v = mica_read(t, x), g = mica_read(t, gain), b = mica_read(t, bias);
  if (!mica_ok(t)) return MICA_NONE;
  const int64_t channels = v.shape.rank ? mica_view_cols(&v) : 0;
  int64_t positions = 1;
  for (int i = 1; i < v.shape.rank - 1; i++) positions *= v.shape.dim[i];
  if (!mica_is_float(&v) || v.shape.rank < 2 || g.shape.rank != 1 || b.shape.rank != 1 ||
      mica_view_count(&g) != channels || mica_view_count(&b) != channels) {
    char text[128];
    return mica_latch(t, MICA_ERR_SHAPE,
                      "global_response_norm: expected float [N,..,C], gain and bias [C]: %s",
                      mica_shape_text(&v.shape, text, sizeof text));
  }
  static const int over_channels[] = {2};
  mica_scope_begin(t, NULL);
  const mica_var rows = mica_reshape(t, x, MICA_SHAPE(v.shape.dim[0], positions, channels));
  const mica_var norm = mica_norm(t, rows, 1, true); /* [N,1,C] */
  const mica_var mean = mica_affine(t, mica_mean(t, norm, 1, over_channels, true), 1, eps);
  /* (gain n + 1) x + bias, n the norm's share */
  const mica_var factor = mica_affine(t, mica_mul(t, mica_div(t, norm, mean), gain), 1, 1);
  const mica_var y = mica_add(t, mica_mul(t, rows, factor), bias);
  return mica_scope_end(t, mica_reshape(t, y, v.shape));
}
