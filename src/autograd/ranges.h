/* What the operations' files share: chunks of work, axes, broadcasting, sums and copies of regions.
 *
 * Work is cut into chunks whose number depends on its size alone, never on the threads, so that
 * every thread count gives the same bits.
 */
#ifndef MICA_AUTOGRAD_RANGES_H
#define MICA_AUTOGRAD_RANGES_H

#include <mica/op.h>

#include "tensor/kernel/kernel.h"

/* Elements of one chunk of a parallel map or sum. */
#define MICA_CHUNK 16384

static inline int64_t mica_chunks(int64_t n) {
  return (n + MICA_CHUNK - 1) / MICA_CHUNK;
}
/* The end of chunk i of n elements, as a length. */
static inline int64_t mica_chunk_length(int64_t n, int64_t i) {
  return n - i * MICA_CHUNK < MICA_CHUNK ? n - i * MICA_CHUNK : MICA_CHUNK;
}

/* A result of so many bytes is written past the caches: block by block of MICA_STREAM_BLOCK bytes,
 * which stay in the first of them, by the copy kernels' stream. */
#define MICA_STREAM_BLOCK 1024
static inline bool mica_streams(size_t bytes) {
  return bytes >= (size_t)64 << 20;
}

/* Work on [outer, axis, inner] cut along outer and, where one block alone is a chunk, along inner.
 */
typedef struct mica_tiles {
  int64_t outer, inner;
  int64_t group, width; /* outer blocks and inner columns of one tile */
  int64_t across;       /* tiles along inner */
  int64_t count;
} mica_tiles;

mica_tiles mica_tiles_of(int64_t outer, int64_t axis, int64_t inner);

typedef struct mica_tile {
  int64_t block, blocks, column, columns; /* first and how many */
} mica_tile;

mica_tile mica_tile_at(const mica_tiles *tiles, int64_t i);

static inline bool mica_is_float(const mica_view *v) {
  return v->dtype == MICA_F32 || v->dtype == MICA_F64;
}

/* axis counted from either end; false when out of range. */
bool mica_axis(const mica_shape *shape, int axis, int *at);
/* Product of the dimensions before, at and after axis. */
void mica_around(const mica_shape *shape, int axis, int64_t *outer, int64_t *n, int64_t *inner);
/* NumPy's rule; false when the shapes do not fit. */
bool mica_broadcast_shape(const mica_shape *a, const mica_shape *b, mica_shape *out);
/* Steps through x of shape `from` along each dimension of `to` (0 where broadcast). */
void mica_broadcast_steps(const mica_shape *from, const mica_shape *to, int64_t *step);
/* Elements between neighbours of each dimension: of a dense tensor, and of a view. */
void mica_dense_steps(const mica_shape *shape, int64_t *step);
void mica_view_steps(const mica_view *v, int64_t *step);

/* y [outer, inner] = alpha times the sum over axis of x [outer, axis, inner]; false has latched. */
bool mica_sum_axis(mica_call *c, mica_dtype dtype, int64_t outer, int64_t axis, int64_t inner,
                   double alpha, const void *x, void *y);
/* Sum y's elements (shape `from`, dense) over the broadcast dimensions into x (shape `to`, dense);
 * false has latched. */
bool mica_sum_to(mica_call *c, mica_dtype dtype, const void *y, const mica_shape *from, void *x,
                 const mica_shape *to);

/* Copy x to y, elements of `size` bytes and steps given for each dimension of shape (of y's and x's
 * last dimension: 1). */
void mica_copy_region(const mica_engine *engine, const mica_shape *shape, size_t size,
                      const void *x, const int64_t *x_step, void *y, const int64_t *y_step);
/* y[i,:] = x[i,:], n rows of cols elements of `size` bytes. */
void mica_copy_rows(const mica_engine *engine, int64_t n, int64_t cols, size_t size, const void *x,
                    int64_t x_stride, void *y, int64_t y_stride);
/* y (dense, shape) gathered from x with the given steps, which may be 0 or negative. */
void mica_strided_copy(const mica_engine *engine, mica_dtype dtype, const mica_shape *shape,
                       const int64_t *step, const void *x, void *y);
/* n elements set to the `size` bytes at `element`, NULL: zeros. */
void mica_fill(const mica_engine *engine, int64_t n, size_t size, const void *element, void *y);
/* mica_view_copy on the engine's threads; `to` contiguous, equal shapes. */
mica_status mica_convert_view(const mica_engine *engine, const mica_view *to,
                              const mica_view *from);

/* x itself, or a dense copy (recorded) where x has a row stride. MICA_NONE stays. */
mica_var mica_contiguous(mica_tape *t, mica_var x);
/* x with `axis` moved to the end (x itself when it is there), and back; `what` is the operation's
 * name for errors. */
mica_var mica_axis_to_last(mica_tape *t, const char *what, mica_var x, int axis);
mica_var mica_axis_from_last(mica_tape *t, mica_var x, int axis);

#endif
