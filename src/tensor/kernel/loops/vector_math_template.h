/* vector_math_template.h: the functions of vector_math.h for one element type.
 *
 * Included with T the type, U the unsigned integer of its width, M_ naming functions and TABLE
 * naming coefficients. No branch and no table look-up, so that a loop around any of these
 * vectorises.
 */

static inline U M_(bits)(T x) {
  union {
    T x;
    U u;
  } v = {x};
  return v.u;
}

static inline T M_(of_bits)(U u) {
  union {
    U u;
    T x;
  } v = {u};
  return v.x;
}

/* e^r = 1 + r + r^2 q(r) */
static inline T M_(exp_poly)(T r) {
  return M_(poly_exp)(r);
}

/* r and k ln 2 with x = k ln 2 + r, |r| <= ln 2 / 2; k sits in the low bits of *shifted. */
static inline T M_(exp_reduce)(T x, T *shifted) {
  *shifted = x * (T)1.4426950408889634 + ROUND_MAGIC;
  const T k = *shifted - ROUND_MAGIC;
  return (x - k * LN2_HIGH) - k * LN2_LOW;
}

/* e^(x + low), |low| <= 0.11: the scale 2^k is applied in two factors, so that results may be
 * denormal or infinite. */
static inline T M_(exp_sum)(T x, T low) {
  x = x > EXP_HIGHEST ? EXP_HIGHEST : x; /* both comparisons let a NaN pass */
  x = x < EXP_LOWEST ? EXP_LOWEST : x;
  T shifted;
  const T r = M_(exp_reduce)(x, &shifted) + low;
  const T p = (T)1 + (r + r * r * M_(exp_poly)(r));
  const bool small = shifted < ROUND_MAGIC;
  const U bias = small ? (U)(EXPONENT_BIAS + 64) : (U)(EXPONENT_BIAS - 1);
  const T rest = small ? (T)5.421010862427522e-20 /* 2^-64 */ : (T)2;
  return p * M_(of_bits)((U)(M_(bits)(shifted) + bias) << MANTISSA_BITS) * rest;
}

static inline T M_(exp)(T x) {
  return M_(exp_sum)(x, (T)0);
}

/* The same for EXP_LOWEST <= x <= 0, without the comparisons; a NaN passes. */
static inline T M_(exp_negative)(T x, T low) {
  T shifted;
  const T r = M_(exp_reduce)(x, &shifted) + low;
  const T p = (T)1 + (r + r * r * M_(exp_poly)(r));
  return p * M_(of_bits)((U)(M_(bits)(shifted) + (U)(EXPONENT_BIAS + 64)) << MANTISSA_BITS) *
         (T)5.421010862427522e-20 /* 2^-64 */;
}

static inline T M_(expm1)(T x) {
  x = x > EXP_HIGHEST ? EXP_HIGHEST : x;
  x = x < (T)-50 ? (T)-50 : x;
  T shifted;
  const T r = M_(exp_reduce)(x, &shifted);
  const T e = r + r * r * M_(exp_poly)(r);
  const T half = M_(of_bits)((U)(M_(bits)(shifted) + (U)(EXPONENT_BIAS - 1)) << MANTISSA_BITS);
  return (T)2 * (half * e + (half - (T)0.5)); /* 2^k (e^r - 1) + (2^k - 1) */
}

/* x = 2^k m, sqrt(1/2) <= m < sqrt(2); log x = k ln 2 + log1p(m - 1), the latter from the series of
 * log((1 + s) / (1 - s)). */
static inline T M_(log)(T x) {
  const bool tiny = x < SMALLEST_NORMAL;
  const T v = tiny ? x * (T)18014398509481984 /* 2^54 */ : x;
  const U u = M_(bits)(v) + (ONE_BITS - SQRT_HALF_BITS);
  const T m = M_(of_bits)((u & (((U)1 << MANTISSA_BITS) - 1)) + SQRT_HALF_BITS);
  T k = M_(of_bits)((u >> MANTISSA_BITS) | INTEGER_BITS) - (INTEGER_ONE + (T)EXPONENT_BIAS);
  k -= tiny ? (T)54 : (T)0;
  const T f = m - (T)1, s = f / ((T)2 + f), z = s * s, half = (T)0.5 * f * f;
  T y = k * LN2_HIGH - ((half - (s * (half + z * M_(poly_log)(z)) + k * LN2_LOW)) - f);
  y = x < (T)INFINITY ? y : x;
  y = x == (T)0 ? -(T)INFINITY : y;
  return x < (T)0 ? (T)NAN : y;
}

/* log(u) + (1 + x - u) / u with u = 1 + x rounded */
static inline T M_(log1p)(T x) {
  const T u = (T)1 + x, lost = x < (T)1 ? x - (u - (T)1) : (T)1 - (u - x), y = M_(log)(u);
  return u > (T)0 && u < (T)INFINITY ? y + lost / u : y;
}

static inline T M_(tanh)(T x) {
  T a = M_(fabs)(x);
  a = a > (T)22 ? (T)22 : a;
  const T e = M_(expm1)(a + a);
  return M_(copysign)(e / (e + (T)2), x);
}

static inline T M_(sigmoid)(T x) {
  T a = M_(fabs)(x);
  a = a > -EXP_LOWEST ? -EXP_LOWEST : a;
  const T e = M_(exp_negative)(-a, (T)0);
  return (x >= (T)0 ? (T)1 : e) / ((T)1 + e);
}

static inline T M_(softplus)(T x) {
  const T tail = M_(log1p)(M_(exp)(-M_(fabs)(x)));
  return x < (T)0 ? tail : x + tail;
}

static inline T M_(log_sigmoid)(T x) {
  return -M_(softplus)(-x);
}

/* e^(-x^2/2) for 0 <= x <= TAIL_FAR: x^2 is formed in two parts, for its rounding error would be
 * amplified by x^2 */
static inline T M_(gaussian_within)(T x) {
  const T high = M_(of_bits)(M_(bits)(x) & HIGH_HALF), low = x - high;
  return M_(exp_negative)((T)-0.5 * high * high, (T)-0.5 * low * (x + high));
}

/* For all x >= 0. */
static inline T M_(gaussian)(T x) {
  return M_(gaussian_within)(x > TAIL_FAR ? TAIL_FAR : x);
}

/* Phi(x), the normal distribution function, to full relative precision in both tails; *density (may
 * not be NULL) is e^(-x^2/2) / sqrt(2 pi). */
static inline T M_(normal)(T x, T *density) {
  T a = M_(fabs)(x);
  a = a > TAIL_FAR ? TAIL_FAR : a;
  const T g = M_(gaussian_within)(a), d = (T)1 / (TAIL_CENTRE + a);
  const T tail = g * M_(poly_tail)((TAIL_CENTRE - a) * d) * d;
  *density = g * (T)0.3989422804014327;
  return x < (T)0 ? tail : (T)1 - tail;
}

static inline T M_(erf)(T x) {
  const T a = M_(fabs)(x), b = a > (T)1 ? (T)1 : a;
  T density;
  const T near = a * M_(poly_erf)(b * b);
  const T far = (T)1 - (T)2 * M_(normal)(a * (T)-1.4142135623730951, &density);
  return M_(copysign)(a > (T)1 ? far : near, x);
}
