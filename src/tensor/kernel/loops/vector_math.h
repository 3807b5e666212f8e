/* vector_math.h: elementary functions of `real` that a loop can be vectorised over.
 *
 * exp, expm1, log, log1p, tanh, sigmoid, softplus, erf, the normal distribution, sin, cos, pow:
 * argument reduction and a minimax polynomial, without branch or table. Errors are a few units in
 * the last place (tests/test_loops_math.c states and checks them), overflow, denormals, infinities
 * and NaN are as in C, but for sin and cos, which need |x| <= MATH_TRIG_LIMIT. Both element types
 * are defined everywhere: float's pow, sin and cos go through double.
 */
#ifndef MICA_VECTOR_MATH_H
#define MICA_VECTOR_MATH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "vector_math_polynomials.h"

/* Adding ROUND_MAGIC = 1.5 2^mantissa rounds to an integer and leaves it in the low bits.
 * LN2_HIGH has so few bits that k LN2_HIGH is exact; HIGH_HALF keeps what squares exactly. */
#define T               double
#define U               uint64_t
#define M_(name)        d_##name
#define d_fabs          fabs
#define d_copysign      copysign
#define MANTISSA_BITS   52
#define EXPONENT_BIAS   1023
#define ROUND_MAGIC     6755399441055744.0
#define LN2_HIGH        0x1.62e42fef00000p-1
#define LN2_LOW         0x1.473de6af278edp-34
#define EXP_HIGHEST     710.0
#define EXP_LOWEST      -746.0
#define SMALLEST_NORMAL 2.2250738585072014e-308
#define ONE_BITS        UINT64_C(0x3ff0000000000000)
#define SQRT_HALF_BITS  UINT64_C(0x3fe6a09e667f3bcd)
#define INTEGER_BITS    UINT64_C(0x4330000000000000) /* of 2^52, INTEGER_ONE */
#define INTEGER_ONE     4503599627370496.0
#define HIGH_HALF       UINT64_C(0xfffffffff8000000)
#define TAIL_FAR        38.6 /* its square's half is within -EXP_LOWEST */
#define TAIL_CENTRE     4.0
#include "vector_math_template.h"
#undef T
#undef U
#undef M_
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef ROUND_MAGIC
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_HIGHEST
#undef EXP_LOWEST
#undef SMALLEST_NORMAL
#undef ONE_BITS
#undef SQRT_HALF_BITS
#undef INTEGER_BITS
#undef INTEGER_ONE
#undef HIGH_HALF
#undef TAIL_FAR
#undef TAIL_CENTRE

#define T               float
#define U               uint32_t
#define M_(name)        f_##name
#define f_fabs          fabsf
#define f_copysign      copysignf
#define MANTISSA_BITS   23
#define EXPONENT_BIAS   127
#define ROUND_MAGIC     12582912.0f
#define LN2_HIGH        0x1.62e4000000000p-1f
#define LN2_LOW         0x1.7f7d1c0000000p-20f
#define EXP_HIGHEST     89.0f
#define EXP_LOWEST      -104.0f
#define SMALLEST_NORMAL 1.17549435e-38f
#define ONE_BITS        UINT32_C(0x3f800000)
#define SQRT_HALF_BITS  UINT32_C(0x3f3504f3)
#define INTEGER_BITS    UINT32_C(0x4b000000) /* of 2^23, INTEGER_ONE */
#define INTEGER_ONE     8388608.0f
#define HIGH_HALF       UINT32_C(0xfffff000)
#define TAIL_FAR        14.4f
#define TAIL_CENTRE     3.0f
#include "vector_math_template.h"
#undef T
#undef U
#undef M_
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef ROUND_MAGIC
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_HIGHEST
#undef EXP_LOWEST
#undef SMALLEST_NORMAL
#undef ONE_BITS
#undef SQRT_HALF_BITS
#undef INTEGER_BITS
#undef INTEGER_ONE
#undef HIGH_HALF
#undef TAIL_FAR
#undef TAIL_CENTRE

/* Beyond this sine and cosine lose digits: callers use libm's there. */
#define MATH_TRIG_LIMIT 1e5

/* x = k pi/2 + r; the sign and the choice of polynomial follow from k + shift (1 for the cosine).
 * pi/2 in parts of 33, 33 and 53 bits, so that k times the first two is exact. */
static inline double d_trig(double x, uint64_t shift) {
  const double shifted = x * 0x1.45f306dc9c883p-1 + 6755399441055744.0;
  const double k = shifted - 6755399441055744.0;
  const double r =
      ((x - k * 0x1.921fb54400000p+0) - k * 0x1.0b4611a600000p-34) - k * 0x1.3198a2e037073p-69;
  const uint64_t quadrant = d_bits(shifted) + shift;
  const double z = r * r;
  const double sine = r + r * z * d_poly_sin(z);
  const double cosine = 1.0 - (0.5 * z - z * z * d_poly_cos(z));
  const double y = (quadrant & 1) != 0 ? cosine : sine;
  return d_of_bits(d_bits(y) ^ ((quadrant & 2) << 62));
}

static inline double d_sin(double x) {
  return d_trig(x, 0);
}
static inline double d_cos(double x) {
  return d_trig(x, 1);
}
static inline float f_sin(float x) {
  return (float)d_trig((double)x, 0);
}
static inline float f_cos(float x) {
  return (float)d_trig((double)x, 1);
}

/* C's pow. In double the logarithm would need twice its digits: libm's. */
static inline double d_pow(double a, double b) {
  return pow(a, b);
}
static inline float f_pow(float af, float bf) {
  const double a = (double)af, b = (double)bf, size = fabs(a);
  const double whole = floor(b) == b ? 1.0 : 0.0;
  const double odd = floor(b * 0.5) * 2.0 != b ? whole : 0.0;
  double y = d_exp(b * d_log(size));
  y = b == 0.0 ? 1.0 : y;
  y = a == 1.0 ? 1.0 : y;
  y = size == 1.0 ? (fabs(b) == (double)INFINITY ? 1.0 : y) : y;
  y *= odd == 1.0 ? copysign(1.0, a) : 1.0;
  const double invalid = size < (double)INFINITY ? (1.0 - whole) : 0.0; /* negative to a fraction */
  y = a < 0.0 ? (invalid == 1.0 ? (double)NAN : y) : y;
  return (float)y;
}

#if defined(MICA_REAL_float)
#define MATH(name)   f_##name
#define REAL_EPSILON 1.1920929e-7f
#else
#define MATH(name)   d_##name
#define REAL_EPSILON 2.220446049250313e-16
#endif
#define math_fabs        MATH(fabs)
#define math_copysign    MATH(copysign)
#define math_exp         MATH(exp)
#define math_expm1       MATH(expm1)
#define math_log         MATH(log)
#define math_log1p       MATH(log1p)
#define math_tanh        MATH(tanh)
#define math_sigmoid     MATH(sigmoid)
#define math_softplus    MATH(softplus)
#define math_log_sigmoid MATH(log_sigmoid)
#define math_normal      MATH(normal)
#define math_gaussian    MATH(gaussian)
#define math_erf         MATH(erf)
#define math_sin         MATH(sin)
#define math_cos         MATH(cos)
#define math_pow         MATH(pow)

/* sqrt, floor and rint are instructions; the type-generic spelling keeps the loops readable. */
#if defined(MICA_REAL_float)
#define math_sqrt  sqrtf
#define math_floor floorf
#define math_rint  rintf
#else
#define math_sqrt  sqrt
#define math_floor floor
#define math_rint  rint
#endif

#endif
