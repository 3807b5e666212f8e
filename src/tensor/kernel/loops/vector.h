/* Short vectors of `real` for the loops that must keep a tile of sums in registers.
 *
 * Compilers vectorise plain loops well but seldom keep a two-dimensional tile of accumulators in
 * registers; the GNU vector types say so portably (x86 and arm64, gcc and clang) without
 * intrinsics.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_VECTOR_H
#define MICA_TENSOR_KERNEL_LOOPS_VECTOR_H

#include <stdint.h>

#if defined(MICA_ISA_avx512)
#define VECTOR_BYTES 64
#define TILE_ROWS    12 /* of the 32 registers: 24 sums, 2 of B, A broadcast from memory */
#define TILE_VECTORS 2
#elif defined(MICA_ISA_avx2)
#define VECTOR_BYTES 32
#define TILE_ROWS    6 /* of the 16 registers: 12 sums, 2 of B, 1 of A */
#define TILE_VECTORS 2
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define TILE_ROWS    8
#define TILE_VECTORS 3
#else
#define VECTOR_BYTES 16
#define TILE_ROWS    4
#define TILE_VECTORS 2
#endif

#define VECTOR_WIDTH ((int)(VECTOR_BYTES / sizeof(real)))
#define TILE_COLUMNS (TILE_VECTORS * VECTOR_WIDTH)

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));
typedef real vector_unaligned
    __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline vector vector_load(const real *p) {
  return *(const vector_unaligned *)p;
}

static inline void vector_store(real *p, vector v) {
  *(vector_unaligned *)p = v;
}

#endif
