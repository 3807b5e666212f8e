/* One axis at other places: each of its new places a weighted sum of old ones. Resizing and padding
 * are made of it. */
#ifndef MICA_AUTOGRAD_RESAMPLE_H
#define MICA_AUTOGRAD_RESAMPLE_H

#include <mica/op.h>

/* The rule of an axis, copied for backward. */
typedef struct mica_resample_rule mica_resample_rule;
struct mica_resample_rule {
  /* The taps of place k of `out`, of an axis of `in` places: writes `width` weights and returns the
   * place of the first; first + width is at most `in`. */
  int64_t (*taps)(const mica_resample_rule *rule, int64_t in, int64_t out, int64_t k,
                  double *weight);
  int64_t width; /* 1 to `in` */
  int64_t kind;  /* the rest is the rule's own */
  bool align_corners;
  bool given;     /* the scale is not that of the sizes */
  double scale;   /* old places for each new one */
  int64_t before; /* places added in front */
};

/* What an operation that calls mica_resample_axis has as its backward. */
void mica_resample_backward(mica_call *c);
/* x with `axis` of size `out` after the rule, as an application of `op`. */
mica_var mica_resample_axis(mica_tape *t, const mica_op *op, mica_var x, int axis, int64_t out,
                            const mica_resample_rule *rule);

#endif
