/* place.h: where the taps of a convolution's kernel lie. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_PLACE_H
#define MICA_TENSOR_KERNEL_LOOPS_PLACE_H

#include "tensor/kernel/convolution.h"

/* Along one axis: tap k lies at start + k * step; those from lo to before hi are inside. */
typedef struct reach {
  int64_t start, step, lo, hi;
} reach;

static inline reach reach_of(const mica_convolution *v, int axis, int64_t out) {
  const int64_t step = v->dilation[axis], size = v->size[axis];
  reach r = {out * v->stride[axis] - v->before[axis], step, 0, v->kernel[axis]};
  if (r.start < 0) r.lo = (-r.start + step - 1) / step;
  const int64_t fit = r.start < size ? (size - r.start + step - 1) / step : 0;
  if (fit < r.hi) r.hi = fit;
  if (r.hi < r.lo) r.lo = r.hi = 0;
  return r;
}

static inline int64_t reach_at(const reach *r, int64_t tap) {
  return r->start + tap * r->step;
}

#endif
