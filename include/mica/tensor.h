/* mica/tensor.h: element types, shapes, and tensors: data that knows no tape.
 *
 * A tensor is row-major. Its one freedom is the row stride: the number of elements from one row
 * (the last dimension) to the next, so that a slice of the leading or of the last dimension is a
 * view. Images are [N,H,W,C], volumes [N,D,H,W,C], tokens [N,L,C]; complex numbers a trailing 2.
 */
#ifndef MICA_TENSOR_H
#define MICA_TENSOR_H

#include <mica/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mica_dtype {
  MICA_F32,
  MICA_F64,
  MICA_BF16,
  MICA_F16,
  MICA_I8,
  MICA_I16,
  MICA_I32,
  MICA_I64,
  MICA_U8,
  MICA_BOOL,
  MICA_DTYPE_COUNT
} mica_dtype;

MICA_API const char *mica_dtype_name(mica_dtype dtype); /* "float32", ...; "?" out of range */
MICA_API size_t mica_dtype_size(mica_dtype dtype);      /* bytes of an element; 0 out of range */
MICA_API bool mica_dtype_is_float(mica_dtype dtype);    /* float32, float64, bf16, f16 */

typedef enum mica_device { MICA_CPU } mica_device;

#define MICA_MAX_RANK 8

typedef struct mica_shape {
  int32_t rank;
  int64_t dim[MICA_MAX_RANK];
} mica_shape;

/* MICA_SHAPE(2, 3) is a shape of rank 2; MICA_SCALAR is rank 0. */
#define MICA_SHAPE(...)                                                                            \
  ((mica_shape){(int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})
#define MICA_SCALAR ((mica_shape){0, {0}})

/* The number of elements: 1 for rank 0, 0 when a dimension is 0, -1 when a dimension is negative,
 * the rank is out of range or the product does not fit in 62 bits. */
MICA_API int64_t mica_shape_count(const mica_shape *shape);
MICA_API bool mica_shape_equal(const mica_shape *a, const mica_shape *b);
/* "[2,3]" into buf, always terminated; returns buf. */
MICA_API const char *mica_shape_text(const mica_shape *shape, char *buf, size_t n);

/* A borrowed look at some elements: what kernels, readers and operations are given. */
typedef struct mica_view {
  void *data;
  mica_dtype dtype;
  mica_device device;
  mica_shape shape;
  int64_t row_stride; /* elements between rows; the last dimension when contiguous */
} mica_view;

/* contiguous elements on the CPU */
MICA_API mica_view mica_view_of(void *data, mica_dtype dtype, mica_shape shape);
MICA_API int64_t mica_view_count(const mica_view *v);   /* -1 where the shape is bad */
MICA_API int64_t mica_view_rows(const mica_view *v);    /* product of all but the last dimension */
MICA_API int64_t mica_view_cols(const mica_view *v);    /* the last dimension, 1 for rank 0 */
MICA_API bool mica_view_contiguous(const mica_view *v); /* row stride = columns, or one row */
/* Copy elements with conversion between any two types; shapes must hold equally many elements.
 * Float to integer truncates and saturates, NaN becomes 0; a wider integer saturates; anything to a
 * narrower float rounds once, to even; bool is "not 0", false for NaN. The two must not overlap
 * unless they have the same type and are contiguous. */
MICA_API mica_status mica_view_copy(const mica_view *to, const mica_view *from);

typedef struct mica_tensor mica_tensor;

/* A tensor of zeros. Reference counted (atomically): _retain adds an owner, _free removes one.
 * Elements may be read by many threads at once, written by one. */
MICA_API mica_status mica_tensor_create(mica_dtype dtype, mica_shape shape, mica_tensor **out);
/* Wrap the caller's memory without a copy; `release(ctx, data)` (may be NULL) runs with the last
 * owner. */
MICA_API mica_status mica_tensor_wrap(void *data, mica_dtype dtype, mica_shape shape,
                                      void (*release)(void *ctx, void *data), void *ctx,
                                      mica_tensor **out);
/* A fresh contiguous copy of a view, converted to `dtype`. */
MICA_API mica_status mica_tensor_from_view(const mica_view *view, mica_dtype dtype,
                                           mica_tensor **out);
MICA_API mica_tensor *mica_tensor_retain(mica_tensor *tensor);
MICA_API void mica_tensor_free(mica_tensor *tensor);

/* Each property, for as long as the tensor has an owner; a view borrows its memory. */
MICA_API void *mica_tensor_data(const mica_tensor *tensor);
MICA_API mica_dtype mica_tensor_dtype(const mica_tensor *tensor);
MICA_API const mica_shape *mica_tensor_shape(const mica_tensor *tensor);
/* Negative axes count from the end. */
MICA_API int64_t mica_tensor_dim(const mica_tensor *tensor, int axis);
MICA_API int64_t mica_tensor_count(const mica_tensor *tensor);
MICA_API mica_view mica_tensor_view(const mica_tensor *tensor);
/* Elements [begin, end) of the leading dimension, sharing the storage. */
MICA_API mica_status mica_tensor_slice(const mica_tensor *tensor, int64_t begin, int64_t end,
                                       mica_tensor **out);
/* The same elements under another shape, sharing the storage. */
MICA_API mica_status mica_tensor_reshape(const mica_tensor *tensor, mica_shape shape,
                                         mica_tensor **out);
/* Element i (row-major) as a double / set from a double, whatever the type; 0 out of range. */
MICA_API double mica_tensor_get(const mica_tensor *tensor, int64_t i);
MICA_API void mica_tensor_set(mica_tensor *tensor, int64_t i, double value);

/* Sequences of different lengths: values [total, ...], item i is rows offsets[i]..offsets[i+1]. */
typedef struct mica_ragged {
  mica_tensor *values;
  int64_t *offsets; /* n + 1 of them, offsets[0] = 0 */
  int64_t n, longest;
} mica_ragged;

#ifdef __cplusplus
}
#endif
#endif
