/* Images, lines and volumes cut into windows and put together again: a permutation of blocks. */
#include "autograd/ranges.h"

#include <mica/ops.h>

enum { MOST_AXES = 3 };

/* The spatial axes of x, 0 after an error. */
static int axes_of(mica_tape *t, const char *what, const mica_shape *shape) {
  const int axes = shape->rank - 2;
  char text[128];
  if (!mica_ok(t)) return 0;
  if (axes >= 1 && axes <= MOST_AXES) return axes;
  mica_latch(t, MICA_ERR_SHAPE, "%s: expected [N,..,C] with one to three spatial axes: %s", what,
             mica_shape_text(shape, text, sizeof text));
  return 0;
}

/* [N, n1, w1, n2, w2, .., C] to [N, n1, n2, .., w1, w2, .., C], or back. */
static mica_var interleave(mica_tape *t, mica_var x, int axes, bool apart) {
  int order[MICA_MAX_RANK] = {0};
  for (int i = 0; i < axes; i++) {
    const int mixed = 1 + 2 * i, block = 1 + i, inside = 1 + axes + i;
    if (apart)
      order[block] = mixed, order[inside] = mixed + 1;
    else
      order[mixed] = block, order[mixed + 1] = inside;
  }
  order[2 * axes + 1] = 2 * axes + 1;
  return mica_permute(t, x, 2 * axes + 2, order);
}

mica_var mica_window_partition(mica_tape *t, mica_var x, const int64_t *window) {
  const mica_shape in = mica_read(t, x).shape;
  const int axes = axes_of(t, "window_partition", &in);
  if (!axes) return MICA_NONE;
  int64_t none[MICA_MAX_RANK] = {0}, after[MICA_MAX_RANK] = {0};
  mica_shape mixed = {.rank = 2 * axes + 2}, out = {.rank = axes + 2};
  bool padded = false;
  out.dim[0] = mixed.dim[0] = in.dim[0];
  out.dim[axes + 1] = mixed.dim[2 * axes + 1] = in.dim[axes + 1];
  for (int i = 0; i < axes; i++) {
    const int64_t size = in.dim[i + 1], w = window[i];
    if (w < 1)
      return mica_latch(t, MICA_ERR_INVALID, "window_partition: window[%d] is %lld, expected >= 1",
                        i, (long long)w);
    const int64_t n = size / w + (size % w != 0);
    after[i + 1] = size % w ? w - size % w : 0;
    padded |= after[i + 1] > 0;
    mixed.dim[1 + 2 * i] = n;
    mixed.dim[2 + 2 * i] = out.dim[i + 1] = w;
    out.dim[0] *= n;
  }
  mica_scope_begin(t, NULL);
  if (padded) x = mica_pad(t, x, axes + 1, none, after, 0);
  x = interleave(t, mica_reshape(t, x, mixed), axes, true);
  return mica_scope_end(t, mica_reshape(t, x, out));
}

mica_var mica_window_reverse(mica_tape *t, mica_var windows, mica_shape shape) {
  const mica_shape in = mica_read(t, windows).shape;
  const int axes = axes_of(t, "window_reverse", &in);
  if (!axes) return MICA_NONE;
  mica_shape apart = {.rank = 2 * axes + 2}, whole = {.rank = axes + 2};
  bool fits = shape.rank == in.rank && shape.dim[axes + 1] == in.dim[axes + 1] && shape.dim[0] >= 0;
  int64_t count = fits ? shape.dim[0] : 0;
  apart.dim[0] = whole.dim[0] = shape.dim[0];
  apart.dim[2 * axes + 1] = whole.dim[axes + 1] = in.dim[axes + 1];
  for (int i = 0; i < axes && fits; i++) {
    const int64_t size = shape.dim[i + 1], w = in.dim[i + 1];
    fits = size >= 0 && w >= 1 && size <= INT64_MAX - w;
    const int64_t n = fits ? size / w + (size % w != 0) : 0;
    fits = fits && (n == 0 || count <= in.dim[0] / n);
    count = fits ? count * n : 0;
    apart.dim[1 + i] = n;
    apart.dim[1 + axes + i] = w;
    whole.dim[1 + i] = fits ? n * w : 0;
  }
  char a[128], b[128];
  if (!fits || count != in.dim[0])
    return mica_latch(t, MICA_ERR_SHAPE, "window_reverse: %s is not cut into windows %s",
                      mica_shape_text(&shape, a, sizeof a), mica_shape_text(&in, b, sizeof b));
  mica_scope_begin(t, NULL);
  mica_var x = interleave(t, mica_reshape(t, windows, apart), axes, false);
  x = mica_reshape(t, x, whole);
  for (int i = 1; i <= axes; i++)
    if (shape.dim[i] != whole.dim[i]) x = mica_slice(t, x, i, 0, shape.dim[i]);
  return mica_scope_end(t, x);
}
