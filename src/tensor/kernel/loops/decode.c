/* decode.c: attention of single queries; keys and values stream through once. */
#include "tensor/kernel/decode.h"

#include "loop.h"
#include "vector_math.h"

static real dot(int64_t n, const real *a, const real *b) {
  real sum = 0;
  SIMD_SUM(sum) for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/* out = the sum of four rows at a time, so that it is read and written less often. */
static void weigh(int64_t keys, int64_t n, const real *weight, const real *v, real *out) {
  memset(out, 0, (size_t)n * sizeof(real));
  int64_t j = 0;
  for (; j + 4 <= keys; j += 4, v += 4 * n) {
    const real a = weight[j], b = weight[j + 1], c = weight[j + 2], d = weight[j + 3];
    SIMD for (int64_t i = 0; i < n; i++) out[i] +=
        a * v[i] + b * v[n + i] + (c * v[2 * n + i] + d * v[3 * n + i]);
  }
  for (; j < keys; j++, v += n) {
    const real a = weight[j];
    SIMD for (int64_t i = 0; i < n; i++) out[i] += a * v[i];
  }
}

static void attend(int64_t group, int64_t keys, int64_t dim, int64_t value_dim, double scale,
                   const void *q, const void *k, const void *v, void *out, void *scratch) {
  real *score = scratch;
  for (int64_t r = 0; r < group; r++) {
    const real *query = (const real *)q + r * dim;
    real top = -(real)INFINITY;
    for (int64_t j = 0; j < keys; j++) {
      score[j] = (real)scale * dot(dim, query, (const real *)k + j * dim);
      top = score[j] > top ? score[j] : top;
    }
    SIMD for (int64_t j = 0; j < keys; j++) score[j] = math_exp(score[j] - top);
    real sum = 0;
    for (int64_t j = 0; j < keys; j++) sum += score[j];
    const real share = (real)1 / sum;
    SIMD for (int64_t j = 0; j < keys; j++) score[j] *= share;
    weigh(keys, value_dim, score, v, (real *)out + r * value_dim);
  }
}

const mica_decode_kernels MICA_KERNEL(decode) = {attend};
