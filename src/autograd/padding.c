/* Spatial axes made longer by what lies at their edges: one axis after the other. */
#include "autograd/ranges.h"
#include "autograd/resample.h"

#include <mica/ops.h>

enum { MOST_AXES = 3 };

/* Where place k - before of an endless axis lies in one of `in` places; it is less than `in` beyond
 * either end. */
static int64_t edge_taps(const mica_resample_rule *r, int64_t in, int64_t out, int64_t k,
                         double *weight) {
  const int64_t at = k - r->before;
  (void)out;
  weight[0] = 1;
  if (at >= 0 && at < in) return at;
  switch ((mica_pad_mode)r->kind) {
  case MICA_PAD_REFLECT: return at < 0 ? -at : 2 * (in - 1) - at;
  case MICA_PAD_SYMMETRIC: return at < 0 ? -at - 1 : 2 * in - 1 - at;
  case MICA_PAD_CIRCULAR: return at < 0 ? at + in : at - in;
  default: return at < 0 ? 0 : in - 1;
  }
}

static const mica_op edge_op = {sizeof(mica_op), "pad_edges", MICA_OP_BY_EXAMPLE,
                                mica_resample_backward};

mica_var mica_pad_edges(mica_tape *t, mica_var x, mica_pad_mode mode, const int64_t *before,
                        const int64_t *after) {
  static const char *const names[] = {"reflect", "symmetric", "replicate", "circular"};
  const mica_view v = mica_read(t, x);
  char text[128];
  if (!mica_ok(t)) return MICA_NONE;
  const int axes = v.shape.rank - 2;
  mica_shape_text(&v.shape, text, sizeof text);
  if (axes < 1 || axes > MOST_AXES || !mica_is_float(&v))
    return mica_latch(t, MICA_ERR_SHAPE,
                      "pad_edges: expected float [N,..,C] with one to three spatial axes: %s",
                      text);
  if (mode < MICA_PAD_REFLECT || mode > MICA_PAD_CIRCULAR)
    return mica_latch(t, MICA_ERR_INVALID, "pad_edges: there is no mode %d", (int)mode);
  for (int i = 0; i < axes; i++) {
    const int64_t in = v.shape.dim[i + 1], most = mode == MICA_PAD_REFLECT     ? in - 1
                                                  : mode == MICA_PAD_REPLICATE ? INT64_MAX / 4
                                                                               : in;
    if (before[i] < 0 || after[i] < 0 || before[i] > most || after[i] > most ||
        (!in && before[i] + after[i]))
      return mica_latch(t, MICA_ERR_SHAPE,
                        "pad_edges: %lld before and %lld after axis %d, expected 0 to %lld for "
                        "mode %s: %s",
                        (long long)before[i], (long long)after[i], i + 1,
                        (long long)(in && most > 0 ? most : 0), names[mode], text);
  }
  mica_scope_begin(t, NULL);
  x = mica_reshape(t, x, v.shape);
  for (int i = axes; i-- > 0;) {
    if (!before[i] && !after[i]) continue;
    const int64_t in = v.shape.dim[i + 1];
    const mica_resample_rule rule = {
        .taps = edge_taps, .width = 1, .kind = (int64_t)mode, .before = before[i]};
    x = mica_resample_axis(t, &edge_op, x, i + 1, in + before[i] + after[i], &rule);
  }
  return mica_scope_end(t, x);
}
