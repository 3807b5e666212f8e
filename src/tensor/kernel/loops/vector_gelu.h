/* vector_gelu.h: x Phi(x), its derivative and the form with tanh on explicit vectors. They are
 * limited by arithmetic: half the instructions of vector_math.h's functions, because arguments are
 * held where no result is denormal. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_VECTOR_GELU_H
#define MICA_TENSOR_KERNEL_LOOPS_VECTOR_GELU_H

#include "vector_exp.h"

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

static inline vector vector_gelu(vector x) {
  vector gaussian;
  const vector a = held(x);
  return vector_max(vector_of(0), x) - a * normal_tail(a, &gaussian);
}

/* (x Phi(x))' = Phi(x) + x phi(x) */
static inline vector vector_gelu_slope(vector x) {
  vector gaussian;
  const vector tail = normal_tail(held(x), &gaussian);
  const vector_bits below = (vector_bits)(x < 0);
  const vector phi = (vector)(((vector_bits)tail & below) | ((vector_bits)(1 - tail) & ~below));
  const vector near = vector_max(vector_of(-NORMAL_FAR), x); /* keeps a NaN */
  return phi + near * (gaussian * (real)0.3989422804014327);
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
