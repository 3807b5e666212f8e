/* Numeric loops, one table of functions a family, compiled for each instruction set and element
 * type.
 *
 * A file in loops/ is compiled with `real` defined as float or double and once for each instruction
 * set; it ends with `const mica_FAMILY_kernels MICA_KERNEL(FAMILY) = {...}`. A family is added with
 * its header, its file and one line in one of the two lists below.
 */
#ifndef MICA_TENSOR_KERNEL_H
#define MICA_TENSOR_KERNEL_H

#include <mica/engine.h>
#include <mica/tensor.h>

/* What algorithms on float64 arrays spend their time in. */
#define MICA_NUMERIC_FAMILIES(X)                                                                   \
  X(copy)                                                                                          \
  X(reduce)                                                                                        \
  X(gemm)
/* What networks do. Nobody trains those in float64 for speed: their float64 loops are the generic
 * ones on every processor, which keeps the library small. */
#define MICA_NETWORK_FAMILIES(X)                                                                   \
  X(elementwise)                                                                                   \
  X(softmax)                                                                                       \
  X(norm)                                                                                          \
  X(optimiser)                                                                                     \
  X(pool)                                                                                          \
  X(dropout)                                                                                       \
  X(gather)                                                                                        \
  X(segment)                                                                                       \
  X(pair)                                                                                          \
  X(scan)                                                                                          \
  X(fft)                                                                                           \
  X(resize)                                                                                        \
  X(pixel)                                                                                         \
  X(grid)                                                                                          \
  X(convolution)                                                                                   \
  X(depthwise)                                                                                     \
  X(direct)                                                                                        \
  X(winograd)                                                                                      \
  X(winograd_kept)                                                                                 \
  X(attention)                                                                                     \
  X(rotary)                                                                                        \
  X(decode)                                                                                        \
  X(search)
#define MICA_KERNEL_FAMILIES(X) MICA_NUMERIC_FAMILIES(X) MICA_NETWORK_FAMILIES(X)

#define MICA_KERNEL_PASTE_(a, b, c) a##b##_##c
#define MICA_KERNEL_PASTE(a, b, c)  MICA_KERNEL_PASTE_(a, b, c)
/* The name of this compilation's table of a family: mica_norm_kernels_avx2_float, ... */
#define MICA_KERNEL(family) MICA_KERNEL_PASTE(mica_##family, _kernels, MICA_LOOP_SUFFIX)

#define MICA_KERNEL_FIELD_(family) const struct mica_##family##_kernels *family;
typedef struct mica_kernels {
  const char *isa;
  MICA_KERNEL_FAMILIES(MICA_KERNEL_FIELD_)
} mica_kernels;

/* The tables for the engine's instruction set; dtype is MICA_F32 or MICA_F64. */
const mica_kernels *mica_kernels_of(const mica_engine *engine, mica_dtype dtype);
/* Those for work that knows no engine: what an engine without options would have. */
const mica_kernels *mica_kernels_default(mica_dtype dtype);

#endif
