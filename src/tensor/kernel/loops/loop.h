/* loop.h: what every file of loops begins with.
 *
 * SIMD marks a loop whose iterations are independent (an output may be an input, element for
 * element), or a reduction whose order is the compiler's for this instruction set, the same at each
 * call. BLOCK elements are summed in `real` before they are added up in double.
 */
#ifndef MICA_TENSOR_KERNEL_LOOP_H
#define MICA_TENSOR_KERNEL_LOOP_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tensor/kernel/kernel.h"

#define LOOP_PRAGMA(text) _Pragma(#text)
#define SIMD              LOOP_PRAGMA(omp simd)
#define SIMD_SUM(...)     LOOP_PRAGMA(omp simd reduction(+ : __VA_ARGS__))

enum { BLOCK = 256 };

static inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

#endif
