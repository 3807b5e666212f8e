/* rotary.c: channels turned two by two. */
#include "tensor/kernel/rotary.h"

#include "loop.h"

static void halves(int64_t half, real sign, const real *cosine, const real *sine, const real *x,
                   real *y) {
  SIMD for (int64_t i = 0; i < half; i++) {
    const real a = x[i], b = x[i + half], s = sign * sine[i];
    y[i] = a * cosine[i] - b * s;
    y[i + half] = b * cosine[i] + a * s;
  }
}

static void neighbours(int64_t half, real sign, const real *cosine, const real *sine, const real *x,
                       real *y) {
  SIMD for (int64_t i = 0; i < half; i++) {
    const real a = x[2 * i], b = x[2 * i + 1], s = sign * sine[i];
    y[2 * i] = a * cosine[i] - b * s;
    y[2 * i + 1] = b * cosine[i] + a * s;
  }
}

static void turn(int64_t n, int64_t dim, int64_t turned, bool pairs, bool back, const void *angles,
                 const void *x, int64_t x_stride, void *y, int64_t y_stride) {
  const int64_t half = turned / 2;
  const real *cosine = angles, *sine = cosine + half;
  const real sign = back ? (real)-1 : (real)1;
  for (int64_t r = 0; r < n; r++) {
    const real *from = (const real *)x + r * x_stride;
    real *to = (real *)y + r * y_stride;
    (pairs ? neighbours : halves)(half, sign, cosine, sine, from, to);
    if (to != from) memcpy(to + turned, from + turned, (size_t)(dim - turned) * sizeof(real));
  }
}

const mica_rotary_kernels MICA_KERNEL(rotary) = {turn};
