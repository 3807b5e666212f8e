/* dropout.c: Philox 4x32-10 for a run of counters at once. */
#include "tensor/kernel/dropout.h"

#include "loop.h"

enum { COUNTERS = 64 }; /* four words each */

/* The four words of counters first .. first + COUNTERS - 1, word k of counter i at words[k][i]. */
static void philox(uint64_t key, uint64_t first, uint32_t words[4][COUNTERS]) {
  SIMD for (int i = 0; i < COUNTERS; i++) {
    const uint64_t counter = first + (uint64_t)i;
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = UINT32_C(0x64726f70),
             c3 = 0;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
      const uint64_t p0 = (uint64_t)c0 * UINT32_C(0xd2511f53);
      const uint64_t p1 = (uint64_t)c2 * UINT32_C(0xcd9e8d57);
      c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
      c1 = (uint32_t)p1;
      c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
      c3 = (uint32_t)p0;
      k0 += UINT32_C(0x9e3779b9);
      k1 += UINT32_C(0xbb67ae85);
    }
    words[0][i] = c0;
    words[1][i] = c1;
    words[2][i] = c2;
    words[3][i] = c3;
  }
}

/* keep[i] = element begin + i stays, for at most 4 COUNTERS elements of which the first is a
 * multiple of four away from `begin`'s counter. */
static void keep_run(uint64_t key, uint64_t counter, double p, uint8_t keep[4 * COUNTERS]) {
  uint32_t words[4][COUNTERS];
  const uint64_t threshold = (uint64_t)(p * 4294967296.0 + 0.5); /* up to 2^32: everything */
  philox(key, counter, words);
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < COUNTERS; i++) keep[4 * i + k] = words[k][i] >= threshold;
}

/* body(i, keep) for each element, a run of counters at a time */
#define EACH_RUN(statement)                                                                        \
  for (int64_t i = 0; i < n;) {                                                                    \
    const uint64_t index = (uint64_t)(begin + i);                                                  \
    uint8_t keep[4 * COUNTERS];                                                                    \
    keep_run(key, index / 4, p, keep);                                                             \
    const int64_t skip = (int64_t)(index % 4), count = smaller(4 * COUNTERS - skip, n - i);        \
    statement i += count;                                                                          \
  }

static void dropout(uint64_t key, int64_t begin, int64_t n, double p, const void *x, void *y) {
  const real *px = x;
  real *py = y;
  const real scale = p < 1 ? (real)(1 / (1 - p)) : (real)0;
  EACH_RUN({
    SIMD for (int64_t j = 0; j < count; j++) py[i + j] =
        keep[skip + j] != 0 ? px[i + j] * scale : (real)0;
  })
}

static void mask_(uint64_t key, int64_t begin, int64_t n, double p, uint8_t *mask) {
  EACH_RUN({ memcpy(mask + i, keep + skip, (size_t)count); })
}

const mica_dropout_kernels MICA_KERNEL(dropout) = {
    .dropout = dropout,
    .mask = mask_,
};
