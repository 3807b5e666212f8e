/* vector_gelu.h: x Phi(x), its derivative and the form with tanh on explicit vectors. They are
 * limited by arithmetic: half the instructions of vector_math.h's functions, because arguments are
 * held where no result is denormal. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_VECTOR_GELU_H
#define MICA_TENSOR_KERNEL_LOOPS_VECTOR_GELU_H

#include "vector_exp.h"
#include "vector_gelu_terms.h"

#if defined(MICA_REAL_float)
#define NORMAL_FAR    13.19f /* e^(-x^2/2) is a normal number up to here */
#define NORMAL_CENTRE 3.0f
static const real tail_terms[] = F_POLY_TAIL;
#else
#define NORMAL_FAR    37.6
#define NORMAL_CENTRE 4.0
static const real tail_terms[] = D_POLY_TAIL;
#endif
enum { TAIL_TERMS = sizeof tail_terms / sizeof(real) };

static inline vector vector_abs(vector x) {
  return (vector)((vector_bits)x & ~(vector_bits)vector_of(-(real)0.0));
}

/* Phi(-a) and e^(-a^2/2) for 0 <= a <= NORMAL_FAR, to few units in the last place. a^2 is formed
 * with what its rounding took, because e^ would multiply that. */
static inline vector normal_tail(vector a, vector *gaussian) {
  const vector q = a * a, rest = vector_square_rest(a, q), half = (real)-0.5 * q;
  const vector shifted = q * ((real)-0.5 * LOG2_E) + ROUNDER, k = shifted - ROUNDER;
  const vector r = ((half - k * LN2_UPPER) - k * LN2_REST) - (real)0.5 * rest;
  vector p = vector_of(exp_terms[EXP_TERMS - 1]);
#pragma GCC unroll 16
  for (int i = EXP_TERMS - 2; i >= 0; i--) p = p * r + exp_terms[i];
  const vector g = scaled(1 + (r + r * r * p), shifted);
  const vector by = 1 / (NORMAL_CENTRE + a), u = (NORMAL_CENTRE - a) * by;
  vector t = vector_of(tail_terms[TAIL_TERMS - 1]);
#pragma GCC unroll 32
  for (int i = TAIL_TERMS - 2; i >= 0; i--) t = t * u + tail_terms[i];
  *gaussian = g;
  return g * t * by;
}

/* |x| held to NORMAL_FAR, which is also what a NaN gets. */
static inline vector held(vector x) {
  return -vector_max(-vector_abs(x), vector_of(-NORMAL_FAR));
}

/* Phi(-a), and Phi(-a) - a phi(a), which is the slope at -a. */
static inline vector tail_of(vector a) {
  vector gaussian;
  return normal_tail(a, &gaussian);
}

static inline vector slope_of(vector a) {
  vector gaussian;
  const vector tail = normal_tail(a, &gaussian);
  return tail - a * (gaussian * (real)0.3989422804014327);
}

#if defined(MICA_ISA_avx512) && defined(MICA_REAL_float)

/* Polynomials whose coefficients one instruction finds in two registers take half the time as far
 * as they reach. Further out are few: a lane's result does not depend on the others. */
static __attribute__((noinline, cold)) vector far_tail(vector a) {
  return tail_of(a);
}

static __attribute__((noinline, cold)) vector far_slope(vector a) {
  return slope_of(a);
}

static inline vector term_at(const real term[GELU_PIECES], vector_bits piece) {
  return (vector)_mm512_permutex2var_ps(_mm512_loadu_ps(term), (__m512i)piece,
                                        _mm512_loadu_ps(term + VECTOR_WIDTH));
}

static inline vector polynomial_at(const real terms[GELU_TERMS][GELU_PIECES], vector a) {
  const vector shifted = a * (1 / GELU_STEP) + ROUNDER, t = a - (shifted - ROUNDER) * GELU_STEP;
  const vector_bits piece = (vector_bits)shifted; /* of which the lowest bits count */
  vector p = term_at(terms[GELU_TERMS - 1], piece);
#pragma GCC unroll 8
  for (int i = GELU_TERMS - 2; i >= 0; i--) p = p * t + term_at(terms[i], piece);
  return p;
}

static inline vector near_or_far(vector a, vector near, vector (*far)(vector)) {
  const __mmask16 beyond = _mm512_cmp_ps_mask((__m512)a, _mm512_set1_ps(GELU_REACH), _CMP_GT_OQ);
  if (__builtin_expect(beyond != 0, 0))
    near = (vector)_mm512_mask_mov_ps((__m512)near, beyond, (__m512)far(a));
  return near;
}

static inline vector gelu_tail(vector a) {
  return near_or_far(a, polynomial_at(gelu_tail_terms, a), far_tail);
}

static inline vector gelu_slope(vector a) {
  return near_or_far(a, polynomial_at(gelu_slope_terms, a), far_slope);
}

#else

static inline vector gelu_tail(vector a) {
  return tail_of(a);
}

static inline vector gelu_slope(vector a) {
  return slope_of(a);
}

#endif

static inline vector vector_gelu(vector x) {
  const vector a = held(x);
  return vector_max(vector_of(0), x) - a * gelu_tail(a);
}

/* (x Phi(x))' = Phi(x) + x phi(x), which is 1 less that of -x. */
static inline vector vector_gelu_slope(vector x) {
  const vector s = gelu_slope(held(x));
  const vector_bits below = (vector_bits)(x < 0), nan = (vector_bits)(x != x);
  return (vector)(((vector_bits)s & below) | ((vector_bits)(1 - s) & ~below) | nan);
}

/* sigmoid(z), z = x (a + b x^2) being twice the argument of tanh; (1 + tanh u) / 2 = sigmoid(2 u),
 * which keeps its precision where tanh is near -1. */
#define GELU_TANH_A ((real)(2 * 0.7978845608028654))
#define GELU_TANH_B ((real)(2 * 0.7978845608028654 * 0.044715))
static inline vector vector_gelu_gate(vector x) {
  const vector z = x * (GELU_TANH_A + GELU_TANH_B * (x * x));
  const vector_bits far = (vector_bits)(z < EXP_SMALLEST);
  const vector e = exponential(-vector_max(vector_of(EXP_SMALLEST), z));
  return (vector)((vector_bits)(1 / (1 + e)) & ~far);
}

static inline vector vector_gelu_tanh(vector x) {
  return x * vector_gelu_gate(x);
}

static inline vector vector_gelu_tanh_slope(vector x) {
  const vector below = vector_max(vector_of(-30), x), near = -vector_max(vector_of(-30), -below);
  const vector s = vector_gelu_gate(near);
  return s + near * s * (1 - s) * (GELU_TANH_A + 3 * GELU_TANH_B * (near * near));
}

#endif
