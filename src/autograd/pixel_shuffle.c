/* Channels to pixels and back: permutations, each the other's inverse. */
#include "autograd/ranges.h"

#include <mica/ops.h>

enum { MOST_AXES = 3, MOST_FACTOR = 1 << 16 };

/* What both directions check: the number of spatial axes and r to their power; 0 after an error. */
static int check(mica_tape *t, const char *what, const mica_shape *shape, int64_t r,
                 mica_phase_order order, int64_t *phases) {
  const int axes = shape->rank - 2;
  char text[128];
  if (!mica_ok(t)) return 0;
  if (axes < 1 || axes > MOST_AXES) {
    mica_latch(t, MICA_ERR_SHAPE, "%s: expected [N,..,C] with one to three spatial axes: %s", what,
               mica_shape_text(shape, text, sizeof text));
    return 0;
  }
  if (r < 1 || r > MOST_FACTOR || order < MICA_PHASE_LAST || order > MICA_PHASE_SWAPPED) {
    mica_latch(t, MICA_ERR_INVALID, "%s: factor %lld (expected 1 to 65536), order %d (expected %s)",
               what, (long long)r, (int)order, "MICA_PHASE_*");
    return 0;
  }
  *phases = 1;
  for (int i = 0; i < axes; i++) *phases *= r;
  return axes;
}

/* Where the phase of spatial axis i and the channel lie in [N, spatial axes, ..]. */
static int phase_at(int axes, mica_phase_order order, int i) {
  if (order == MICA_PHASE_LAST) return axes + 2 + i;
  return axes + 1 + (order == MICA_PHASE_SWAPPED ? axes - 1 - i : i);
}

static int channel_at(int axes, mica_phase_order order) {
  return order == MICA_PHASE_LAST ? axes + 1 : 2 * axes + 1;
}

mica_var mica_pixel_shuffle(mica_tape *t, mica_var x, int64_t r, mica_phase_order order) {
  const mica_shape in = mica_read(t, x).shape;
  int64_t phases;
  const int axes = check(t, "pixel_shuffle", &in, r, order, &phases);
  char text[128];
  if (!axes) return MICA_NONE;
  if (in.dim[axes + 1] % phases)
    return mica_latch(t, MICA_ERR_SHAPE, "pixel_shuffle: %lld does not divide the channels of %s",
                      (long long)phases, mica_shape_text(&in, text, sizeof text));
  mica_shape apart = {.rank = 2 * axes + 2}, out = in;
  int from[MICA_MAX_RANK] = {0};
  apart.dim[0] = in.dim[0];
  for (int i = 0; i < axes; i++) {
    apart.dim[1 + i] = in.dim[1 + i];
    apart.dim[phase_at(axes, order, i)] = r;
    if (in.dim[1 + i] > INT64_MAX / r)
      return mica_latch(t, MICA_ERR_SHAPE, "pixel_shuffle: factor %lld is too large for %s",
                        (long long)r, mica_shape_text(&in, text, sizeof text));
    out.dim[1 + i] = in.dim[1 + i] * r;
    from[1 + 2 * i] = 1 + i;
    from[2 + 2 * i] = phase_at(axes, order, i);
  }
  from[2 * axes + 1] = channel_at(axes, order);
  apart.dim[channel_at(axes, order)] = out.dim[axes + 1] = in.dim[axes + 1] / phases;
  mica_scope_begin(t, NULL);
  x = mica_permute(t, mica_reshape(t, x, apart), apart.rank, from);
  return mica_scope_end(t, mica_reshape(t, x, out));
}

mica_var mica_pixel_unshuffle(mica_tape *t, mica_var x, int64_t r, mica_phase_order order) {
  const mica_shape in = mica_read(t, x).shape;
  int64_t phases;
  const int axes = check(t, "pixel_unshuffle", &in, r, order, &phases);
  char text[128];
  if (!axes) return MICA_NONE;
  mica_shape apart = {.rank = 2 * axes + 2}, out = in;
  int from[MICA_MAX_RANK] = {0};
  bool fits = in.dim[axes + 1] <= INT64_MAX / phases;
  apart.dim[0] = in.dim[0];
  for (int i = 0; i < axes; i++) {
    fits = fits && in.dim[1 + i] % r == 0;
    apart.dim[1 + 2 * i] = out.dim[1 + i] = in.dim[1 + i] / r;
    apart.dim[2 + 2 * i] = r;
    from[1 + i] = 1 + 2 * i;
    from[phase_at(axes, order, i)] = 2 + 2 * i;
  }
  if (!fits)
    return mica_latch(t, MICA_ERR_SHAPE, "pixel_unshuffle: %lld does not divide the sides of %s",
                      (long long)r, mica_shape_text(&in, text, sizeof text));
  from[channel_at(axes, order)] = 2 * axes + 1;
  apart.dim[2 * axes + 1] = in.dim[axes + 1];
  out.dim[axes + 1] = in.dim[axes + 1] * phases;
  mica_scope_begin(t, NULL);
  x = mica_permute(t, mica_reshape(t, x, apart), apart.rank, from);
  return mica_scope_end(t, mica_reshape(t, x, out));
}
