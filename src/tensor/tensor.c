/* Tensors: a contiguous block of elements with a type, a shape and owners that are counted.
 *
 * A slice or a reshape is a tensor of its own that keeps the one whose storage it shares alive.
 * Tensors are always contiguous; only views have a row stride.
 */
#include "base/memory.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

struct mica_tensor {
  atomic_int owners;
  mica_dtype dtype;
  mica_shape shape;
  int64_t count;
  void *data;
  mica_tensor *storage; /* the tensor that owns the data, NULL when this one does */
  void (*release)(void *ctx, void *data);
  void *release_ctx;
};

static void release_aligned(void *ctx, void *data) {
  (void)ctx;
  mica_free_aligned(data);
}

/* A tensor without data; checks type and shape. */
static mica_status begin(const char *what, mica_dtype dtype, mica_shape shape, mica_tensor **out) {
  *out = NULL;
  if (!mica_dtype_valid(dtype))
    return mica_fail(MICA_ERR_INVALID, "%s: element type %d is out of range", what, (int)dtype);
  char text[160];
  int64_t count = mica_shape_count(&shape);
  if (count < 0)
    return mica_fail(MICA_ERR_SHAPE, "%s: shape %s of rank %d is negative or too large", what,
                     mica_shape_text(&shape, text, sizeof text), (int)shape.rank);
  if ((uint64_t)count > PTRDIFF_MAX / mica_dtype_size(dtype))
    return mica_fail(MICA_ERR_MEMORY, "%s: %s of %s does not fit in memory", what,
                     mica_shape_text(&shape, text, sizeof text), mica_dtype_name(dtype));
  mica_tensor *t = mica_calloc(1, sizeof *t);
  if (!t) return MICA_ERR_MEMORY;
  atomic_init(&t->owners, 1);
  t->dtype = dtype;
  t->shape = shape;
  t->count = count;
  *out = t;
  return MICA_OK;
}

static mica_status create(mica_dtype dtype, mica_shape shape, void *(*take)(size_t bytes),
                          mica_tensor **out) {
  mica_tensor *t;
  *out = NULL;
  mica_status status = begin("tensor", dtype, shape, &t);
  if (status) return status;
  t->data = take((size_t)t->count * mica_dtype_size(dtype));
  if (!t->data) {
    mica_free(t);
    return MICA_ERR_MEMORY;
  }
  t->release = release_aligned;
  *out = t;
  return MICA_OK;
}

mica_status mica_tensor_create(mica_dtype dtype, mica_shape shape, mica_tensor **out) {
  return create(dtype, shape, mica_calloc_aligned, out);
}

mica_status mica_tensor_wrap(void *data, mica_dtype dtype, mica_shape shape,
                             void (*release)(void *ctx, void *data), void *ctx, mica_tensor **out) {
  mica_tensor *t;
  *out = NULL;
  mica_status status = begin("tensor around memory", dtype, shape, &t);
  if (status) return status;
  if (t->count > 0 && !data) {
    mica_free(t);
    return mica_fail(MICA_ERR_INVALID, "tensor around memory: data is NULL");
  }
  t->data = data;
  t->release = release;
  t->release_ctx = ctx;
  *out = t;
  return MICA_OK;
}

mica_status mica_tensor_from_view(const mica_view *view, mica_dtype dtype, mica_tensor **out) {
  mica_status status = create(dtype, view->shape, mica_malloc_aligned, out);
  if (status) return status;
  mica_view to = mica_tensor_view(*out);
  status = mica_view_copy(&to, view);
  if (status) {
    mica_tensor_free(*out);
    *out = NULL;
  }
  return status;
}

mica_tensor *mica_tensor_retain(mica_tensor *tensor) {
  if (tensor) atomic_fetch_add_explicit(&tensor->owners, 1, memory_order_relaxed);
  return tensor;
}

void mica_tensor_free(mica_tensor *tensor) {
  if (!tensor || atomic_fetch_sub_explicit(&tensor->owners, 1, memory_order_acq_rel) != 1) return;
  mica_tensor *storage = tensor->storage;
  if (!storage && tensor->release) tensor->release(tensor->release_ctx, tensor->data);
  mica_free(tensor);
  mica_tensor_free(storage); /* a storage has none of its own, so this goes one deep */
}

void *mica_tensor_data(const mica_tensor *tensor) {
  return tensor->data;
}

mica_dtype mica_tensor_dtype(const mica_tensor *tensor) {
  return tensor->dtype;
}

const mica_shape *mica_tensor_shape(const mica_tensor *tensor) {
  return &tensor->shape;
}

int64_t mica_tensor_dim(const mica_tensor *tensor, int axis) {
  int rank = tensor->shape.rank;
  if (axis < 0) axis += rank;
  return axis >= 0 && axis < rank ? tensor->shape.dim[axis] : 1;
}

int64_t mica_tensor_count(const mica_tensor *tensor) {
  return tensor->count;
}

mica_view mica_tensor_view(const mica_tensor *tensor) {
  return mica_view_of(tensor->data, tensor->dtype, tensor->shape);
}

/* A tensor over `tensor`'s elements from number `first` on. */
static mica_status share(const char *what, const mica_tensor *tensor, int64_t first,
                         mica_shape shape, mica_tensor **out) {
  mica_tensor *t;
  mica_status status = begin(what, tensor->dtype, shape, &t);
  if (status) return status;
  t->data = tensor->data;
  if (first) t->data = (unsigned char *)tensor->data + (size_t)first * mica_dtype_size(t->dtype);
  /* Counting owners does not change the tensor as its readers see it. */
  t->storage = mica_tensor_retain(tensor->storage ? tensor->storage : (mica_tensor *)tensor);
  *out = t;
  return MICA_OK;
}

mica_status mica_tensor_slice(const mica_tensor *tensor, int64_t first, int64_t end,
                              mica_tensor **out) {
  *out = NULL;
  char text[160];
  mica_shape shape = tensor->shape;
  if (shape.rank == 0)
    return mica_fail(MICA_ERR_SHAPE, "slice: a tensor of rank 0 has no leading dimension");
  if (first < 0 || end < first || end > shape.dim[0])
    return mica_fail(MICA_ERR_SHAPE, "slice: %" PRId64 "..%" PRId64 " is outside %s", first, end,
                     mica_shape_text(&shape, text, sizeof text));
  int64_t row = shape.dim[0] ? tensor->count / shape.dim[0] : 0;
  shape.dim[0] = end - first;
  return share("slice", tensor, first * row, shape, out);
}

mica_status mica_tensor_reshape(const mica_tensor *tensor, mica_shape shape, mica_tensor **out) {
  *out = NULL;
  if (mica_shape_count(&shape) != tensor->count) {
    char a[160], b[160];
    return mica_fail(MICA_ERR_SHAPE, "reshape: %s does not hold the elements of %s",
                     mica_shape_text(&shape, a, sizeof a),
                     mica_shape_text(&tensor->shape, b, sizeof b));
  }
  return share("reshape", tensor, 0, shape, out);
}

double mica_tensor_get(const mica_tensor *tensor, int64_t i) {
  if (i < 0 || i >= tensor->count) return 0;
  double value;
  const unsigned char *at = tensor->data;
  mica_convert(&value, MICA_F64, at + (size_t)i * mica_dtype_size(tensor->dtype), tensor->dtype, 1);
  return value;
}

void mica_tensor_set(mica_tensor *tensor, int64_t i, double value) {
  if (i < 0 || i >= tensor->count) return;
  unsigned char *at = tensor->data;
  mica_convert(at + (size_t)i * mica_dtype_size(tensor->dtype), tensor->dtype, &value, MICA_F64, 1);
}
