/* Small things that the operations' files share: element chunks, axes, broadcasting. */
#ifndef MICA_AUTOGRAD_RANGES_H
#define MICA_AUTOGRAD_RANGES_H

#include <mica/op.h>

#include "tensor/kernel/kernel.h"

/* Elements of one chunk of a parallel map or sum: fixed, so that results do not depend on threads.
 */
#define MICA_CHUNK 16384

static inline int64_t mica_chunks(int64_t n) {
  return (n + MICA_CHUNK - 1) / MICA_CHUNK;
}
/* The end of chunk i of n elements, as a length. */
static inline int64_t mica_chunk_length(int64_t n, int64_t i) {
  return n - i * MICA_CHUNK < MICA_CHUNK ? n - i * MICA_CHUNK : MICA_CHUNK;
}

static inline bool mica_is_float(const mica_view *v) {
  return v->dtype == MICA_F32 || v->dtype == MICA_F64;
}

/* The table whose `real` has the width of the type, for loops that only move elements; NULL for
 * widths other than 4 and 8 bytes. */
const mica_kernels *mica_movers_of(const mica_engine *engine, mica_dtype dtype);

/* axis counted from either end; false when out of range. */
bool mica_axis(const mica_shape *shape, int axis, int *at);
/* Product of the dimensions before, at and after axis. */
void mica_around(const mica_shape *shape, int axis, int64_t *outer, int64_t *n, int64_t *inner);
/* NumPy's rule; false when the shapes do not fit. */
bool mica_broadcast_shape(const mica_shape *a, const mica_shape *b, mica_shape *out);
/* Steps through x of shape `from` along each dimension of `to` (0 where broadcast). */
void mica_broadcast_steps(const mica_shape *from, const mica_shape *to, int64_t *step);
/* Sum y's elements (shape `from`, dense) over the broadcast dimensions into x (shape `to`, dense).
 */
bool mica_sum_to(mica_call *c, mica_dtype dtype, const void *y, const mica_shape *from, void *x,
                 const mica_shape *to);
/* Copy x (dense, shape) to y where y's dimensions are y_step apart; whole rows at a time. */
void mica_copy_region(const mica_shape *shape, size_t size, const char *x, const int64_t *x_step,
                      char *y, const int64_t *y_step);
/* Elements between neighbours of each dimension of a dense tensor. */
void mica_dense_steps(const mica_shape *shape, int64_t *step);
/* y (dense) gathered from x with the given steps, in parallel. */
void mica_strided_copy(const mica_engine *engine, const mica_kernels *k, size_t size,
                       const mica_shape *shape, const int64_t *step, const void *x, void *y);
/* x itself, or a dense copy (recorded) where x has a row stride. MICA_NONE stays. */
mica_var mica_contiguous(mica_tape *t, mica_var x);
/* x with `axis` moved to the end (x itself when it is there), and back. */
mica_var mica_axis_to_last(mica_tape *t, mica_var x, int axis);
mica_var mica_axis_from_last(mica_tape *t, mica_var x, int axis);

#endif
