/* vector_exp.h: exponentials on explicit vectors, of what a maximum was subtracted from. They need
 * half the instructions of vector_math.h's, because results neither overflow nor are denormal:
 * below the smallest normal number they are 0. */
#ifndef MICA_TENSOR_KERNEL_LOOPS_VECTOR_EXP_H
#define MICA_TENSOR_KERNEL_LOOPS_VECTOR_EXP_H

#include "vector.h"
#include "vector_math.h"

#define LOG2_E ((real)1.4426950408889634)
#if defined(MICA_REAL_float)
#define ROUNDER       12582912.0f /* 1.5 2^23: adding it rounds to an integer, in the low bits */
#define FRACTION_BITS 23
#define EXPONENT_ZERO 127
/* So few bits that its product with an integer is exact. */
#define LN2_UPPER    0x1.62e4000000000p-1f
#define LN2_REST     0x1.7f7d1c0000000p-20f
#define EXP_SMALLEST -87.0f
static const real exp2_terms[] = F_POLY_EXP2, exp_terms[] = F_POLY_EXP;
#else
#define ROUNDER       6755399441055744.0
#define FRACTION_BITS 52
#define EXPONENT_ZERO 1023
#define LN2_UPPER     0x1.62e42fef00000p-1
#define LN2_REST      0x1.473de6af278edp-34
#define EXP_SMALLEST  -708.0
static const real exp2_terms[] = D_POLY_EXP2, exp_terms[] = D_POLY_EXP;
#endif
enum { EXP2_TERMS = sizeof exp2_terms / sizeof(real), EXP_TERMS = sizeof exp_terms / sizeof(real) };

/* p 2^k, k an integer in the low bits of `shifted`. */
static inline vector scaled(vector p, vector shifted) {
  return p * (vector)(((vector_bits)shifted + EXPONENT_ZERO) << FRACTION_BITS);
}

/* 2^x for x below 64; 0 where x <= -EXPONENT_ZERO, NaN where it is. The cheapest: x itself must be
 * good enough. */
static inline vector power_of_two(vector x) {
  x = vector_max(vector_of(-EXPONENT_ZERO), x);
  const vector shifted = x + ROUNDER, f = x - (shifted - ROUNDER);
  vector p = vector_of(exp2_terms[EXP2_TERMS - 1]);
#pragma GCC unroll 16
  for (int i = EXP2_TERMS - 2; i >= 0; i--) p = p * f + exp2_terms[i];
  return scaled(1 + f * p, shifted);
}

/* e^x to few units in the last place for x below 40; 0 where x <= EXP_SMALLEST, NaN where it is. */
static inline vector exponential(vector x) {
  const vector_bits small = (vector_bits)(x <= EXP_SMALLEST);
  const vector v = vector_max(vector_of(EXP_SMALLEST), x);
  const vector shifted = v * LOG2_E + ROUNDER, k = shifted - ROUNDER;
  const vector r = (v - k * LN2_UPPER) - k * LN2_REST;
  vector p = vector_of(exp_terms[EXP_TERMS - 1]);
#pragma GCC unroll 16
  for (int i = EXP_TERMS - 2; i >= 0; i--) p = p * r + exp_terms[i];
  return (vector)((vector_bits)scaled(1 + (r + r * r * p), shifted) & ~small);
}

#endif
