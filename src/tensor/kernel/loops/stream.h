/* stream.h: stores that go past the caches, for results far larger than these: a line is then
 * written without being read first, a third less to move where one array becomes another. Nobody
 * may read what was written before stream_end. Intrinsics, because C has no word for it. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_STREAM_H
#define MICA_TENSOR_KERNEL_LOOPS_STREAM_H

#include "loop.h"

#if defined(__SSE2__)
#include <immintrin.h>
#if defined(MICA_ISA_avx512)
enum { STREAM_BYTES = 64 };
#define STREAM_STEP(from, to) _mm512_stream_si512((void *)(to), _mm512_loadu_si512(from))
#elif defined(MICA_ISA_avx2)
enum { STREAM_BYTES = 32 };
#define STREAM_STEP(from, to)                                                                      \
  _mm256_stream_si256((__m256i *)(to), _mm256_loadu_si256((const __m256i_u *)(from)))
#else
enum { STREAM_BYTES = 16 };
#define STREAM_STEP(from, to)                                                                      \
  _mm_stream_si128((__m128i *)(to), _mm_loadu_si128((const __m128i_u *)(from)))
#endif

static inline void stream_copy(int64_t n, const real *x, real *y) {
  const int64_t each = STREAM_BYTES / (int64_t)sizeof(real);
  int64_t i = 0;
  for (; i < n && (uintptr_t)(y + i) % STREAM_BYTES; i++) y[i] = x[i];
  for (; i + each <= n; i += each) STREAM_STEP(x + i, y + i);
  for (; i < n; i++) y[i] = x[i];
}

static inline void stream_end(void) {
  _mm_sfence();
}
#else
static inline void stream_copy(int64_t n, const real *x, real *y) {
  if (n > 0) memcpy(y, x, (size_t)n * sizeof(real));
}

static inline void stream_end(void) {}
#endif

#endif
