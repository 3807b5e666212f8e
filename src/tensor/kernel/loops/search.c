/* search.c: exact scores, and sums of table entries that codes name.
 *
 * With 256 entries a part the loads are all the work, so four rows are summed side by side. Tables
 * of 16 entries fit a register, where one permutation looks up 16 rows.
 */
#include "tensor/kernel/search.h"

#include "loop.h"
#if defined(MICA_ISA_avx512)
#include <immintrin.h>
#endif

#ifdef MICA_REAL_float

#define LANES 8

#define SUM_OVER(d, TERM)                                                                          \
  do {                                                                                             \
    int64_t j = 0;                                                                                 \
    for (; j + LANES <= (d); j += LANES)                                                           \
      SIMD for (int l = 0; l < LANES; l++) lane[l] += TERM(j + l);                                 \
    for (int l = 0; j < (d); j++, l++) lane[l] += TERM(j);                                         \
  } while (0)

static double add_lanes(const double *lane) {
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

static double dot(int64_t d, const double *x, const float *y) {
  double lane[LANES] = {0};
#define TERM(j) (x[j] * (double)y[j])
  SUM_OVER(d, TERM);
#undef TERM
  return add_lanes(lane);
}

static double squares(int64_t d, const double *x, const float *y) {
  double lane[LANES] = {0};
#define TERM(j) ((x[j] - (double)y[j]) * (x[j] - (double)y[j]))
  SUM_OVER(d, TERM);
#undef TERM
  return add_lanes(lane);
}

/* ---- in float32 ---- */

/* A row of a hundred numbers is a few registers; adding up the lanes of the last one after the
 * other would take longer than all before, so halves are added to halves. */
#define WIDE 32

#define NEAR_OVER(d, TERM)                                                                         \
  float lane[WIDE] = {0}, rest = 0;                                                                \
  int64_t j = 0;                                                                                   \
  for (; j + WIDE <= (d); j += WIDE) SIMD for (int l = 0; l < WIDE; l++) lane[l] += TERM(j + l);   \
  for (; j < (d); j++) rest += TERM(j);                                                            \
  SIMD for (int l = 0; l < 16; l++) lane[l] += lane[l + 16];                                       \
  SIMD for (int l = 0; l < 8; l++) lane[l] += lane[l + 8];                                         \
  SIMD for (int l = 0; l < 4; l++) lane[l] += lane[l + 4];                                         \
  return ((lane[0] + lane[2]) + (lane[1] + lane[3])) + rest

static float near_dot(int64_t d, const float *x, const float *y) {
#define TERM(j) (x[j] * y[j])
  NEAR_OVER(d, TERM);
#undef TERM
}

static float near_squares(int64_t d, const float *x, const float *y) {
#define TERM(j) ((x[j] - y[j]) * (x[j] - y[j]))
  NEAR_OVER(d, TERM);
#undef TERM
}

/* ---- codes ---- */

static void entries(int64_t columns, int64_t words, const float *x, const float *word,
                    float *entry) {
  SIMD for (int64_t w = 0; w < words; w++) entry[w] = x[0] * word[w];
  for (int64_t j = 1; j < columns; j++) {
    const float a = x[j], *row = word + j * words;
    SIMD for (int64_t w = 0; w < words; w++) entry[w] += a * row[w];
  }
}

static void sum(int64_t n, int64_t parts, int64_t words, const uint8_t *code, const float *table,
                float *score) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4, code += 4 * parts) {
    const float *t = table;
    float a = 0, b = 0, c = 0, d = 0;
    for (int64_t p = 0; p < parts; p++, t += words) {
      a += t[code[p]];
      b += t[code[parts + p]];
      c += t[code[2 * parts + p]];
      d += t[code[3 * parts + p]];
    }
    score[i] = a, score[i + 1] = b, score[i + 2] = c, score[i + 3] = d;
  }
  for (; i < n; i++, code += parts) {
    float a = 0;
    for (int64_t p = 0; p < parts; p++) a += table[p * words + code[p]];
    score[i] = a;
  }
}

static void sum_16(int64_t n, int64_t parts, const uint8_t *code, const float *table,
                   float *score) {
  for (int64_t i = 0; i < n; i += MICA_CODE_BLOCK, score += MICA_CODE_BLOCK) {
#if defined(MICA_ISA_avx512)
    __m512 low = _mm512_setzero_ps(), high = low;
    for (int64_t p = 0; p < parts; p++, code += 16) {
      const __m512 t = _mm512_loadu_ps(table + 16 * p);
      const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)code));
      low = _mm512_add_ps(low, _mm512_permutexvar_ps(c, t)); /* reads four bits of each index */
      high = _mm512_add_ps(high, _mm512_permutexvar_ps(_mm512_srli_epi32(c, 4), t));
    }
    _mm512_storeu_ps(score, low);
    _mm512_storeu_ps(score + 16, high);
#else
    for (int j = 0; j < MICA_CODE_BLOCK; j++) score[j] = 0;
    for (int64_t p = 0; p < parts; p++, code += 16)
      for (int j = 0; j < 16; j++) {
        score[j] += table[16 * p + (code[j] & 15)];
        score[16 + j] += table[16 * p + (code[j] >> 4)];
      }
#endif
  }
}

const mica_search_kernels MICA_KERNEL(search) = {dot,     squares, near_dot, near_squares,
                                                 entries, sum,     sum_16};
#else
const mica_search_kernels MICA_KERNEL(search) = {0};
#endif
