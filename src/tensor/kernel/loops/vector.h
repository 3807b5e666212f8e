/* Short vectors of `real` for the loops that must keep a tile of sums in registers.
 *
 * Compilers vectorise plain loops well but seldom keep a two-dimensional tile of accumulators in
 * registers; the GNU vector types say so portably (x86 and arm64, gcc and clang). The one
 * intrinsic is the maximum: a comparison and a choice are three instructions where one does.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_VECTOR_H
#define MICA_TENSOR_KERNEL_LOOPS_VECTOR_H

#include <stdint.h>
#if defined(MICA_ISA_avx512) || defined(MICA_ISA_avx2)
#include <immintrin.h>
#endif

/* The register tile of products, TILE_ROWS x TILE_VECTORS sums: few rows and wide, which takes the
 * fewest loads for each product. */
#if defined(MICA_ISA_avx512)
#define VECTOR_BYTES 64
#define TILE_ROWS    6 /* of the 32 registers: 24 sums, 4 of B, 1 of A */
#define TILE_VECTORS 4
#elif defined(MICA_ISA_avx2)
#define VECTOR_BYTES 32
#define TILE_ROWS    6 /* of the 16 registers: 12 sums, 2 of B, 1 of A */
#define TILE_VECTORS 2
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define TILE_ROWS    6
#define TILE_VECTORS 4
#else
#define VECTOR_BYTES 16
#define TILE_ROWS    4
#define TILE_VECTORS 2
#endif

#define VECTOR_WIDTH ((int)(VECTOR_BYTES / sizeof(real)))
#define TILE_COLUMNS (TILE_VECTORS * VECTOR_WIDTH)

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));
typedef real vector_unaligned
    __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

typedef __typeof__((vector){0} < (vector){0}) vector_mask;

static inline vector vector_load(const real *p) {
  return *(const vector_unaligned *)p;
}

static inline void vector_store(real *p, vector v) {
  *(vector_unaligned *)p = v;
}

/* Integers of the elements' width: their bits, and what comparisons give. */
#if defined(MICA_REAL_float)
typedef int32_t vector_bits __attribute__((vector_size(VECTOR_BYTES)));
#else
typedef int64_t vector_bits __attribute__((vector_size(VECTOR_BYTES)));
#endif

static inline vector vector_of(real x) {
  return x - (vector){0};
}

/* The larger of both; b where one is NaN. */
static inline vector vector_max(vector a, vector b) {
#if defined(MICA_ISA_avx512) && defined(MICA_REAL_float)
  return (vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(MICA_ISA_avx512)
  return (vector)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(MICA_ISA_avx2) && defined(MICA_REAL_float)
  return (vector)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(MICA_ISA_avx2)
  return (vector)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
  const vector_bits larger = (vector_bits)(a > b);
  return (vector)(((vector_bits)a & larger) | ((vector_bits)b & ~larger));
#endif
}

/* Rows become columns: VECTOR_WIDTH vectors, halves of ever smaller squares exchanged. */
static inline void vector_transpose(vector *row) {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 4
  for (int side = 1; side < VECTOR_WIDTH; side *= 2) {
    vector_bits upper,
        lower; /* of the two rows side by side: VECTOR_WIDTH and more is the second */
#pragma GCC unroll 16
    for (int l = 0; l < VECTOR_WIDTH; l++) {
      upper[l] = l & side ? VECTOR_WIDTH + l - side : l;
      lower[l] = l & side ? VECTOR_WIDTH + l : l + side;
    }
#pragma GCC unroll 16
    for (int i = 0; i < VECTOR_WIDTH; i++)
      if (!(i & side)) {
        const vector a = row[i], b = row[i + side];
        row[i] = __builtin_shuffle(a, b, upper);
        row[i + side] = __builtin_shuffle(a, b, lower);
      }
  }
#else
  for (int i = 0; i < VECTOR_WIDTH; i++)
    for (int k = i + 1; k < VECTOR_WIDTH; k++) {
      const real kept = row[i][k];
      row[i][k] = row[k][i];
      row[k][i] = kept;
    }
#endif
}

/* A square of a matrix whose rows are `step` apart, column by column. Pieces of four elements come
 * from memory to where they belong, which leaves half the exchanges between registers. */
static inline void vector_load_columns(const real *from, int64_t step, vector *column) {
#if defined(MICA_ISA_avx512) && defined(MICA_REAL_float)
#pragma GCC unroll 4
  for (int p = 0; p < VECTOR_WIDTH; p += 4, from += 4) {
    __m512 row[4]; /* row q has rows q, 4 + q, 8 + q, 12 + q of the square */
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
      row[q] = _mm512_castps128_ps512(_mm_loadu_ps(from + q * step));
      row[q] = _mm512_insertf32x4(row[q], _mm_loadu_ps(from + (4 + q) * step), 1);
      row[q] = _mm512_insertf32x4(row[q], _mm_loadu_ps(from + (8 + q) * step), 2);
      row[q] = _mm512_insertf32x4(row[q], _mm_loadu_ps(from + (12 + q) * step), 3);
    }
    const __m512d a = (__m512d)_mm512_unpacklo_ps(row[0], row[1]),
                  b = (__m512d)_mm512_unpacklo_ps(row[2], row[3]),
                  c = (__m512d)_mm512_unpackhi_ps(row[0], row[1]),
                  d = (__m512d)_mm512_unpackhi_ps(row[2], row[3]);
    column[p] = (vector)_mm512_unpacklo_pd(a, b);
    column[p + 1] = (vector)_mm512_unpackhi_pd(a, b);
    column[p + 2] = (vector)_mm512_unpacklo_pd(c, d);
    column[p + 3] = (vector)_mm512_unpackhi_pd(c, d);
  }
#else
#pragma GCC unroll 16
  for (int r = 0; r < VECTOR_WIDTH; r++) column[r] = vector_load(from + r * step);
  vector_transpose(column);
#endif
}

/* a a - q, with q the rounded a a: what rounding took. By one fused operation, or by halves that
 * square exactly. */
static inline vector vector_square_rest(vector a, vector q) {
#if defined(MICA_ISA_avx512) && defined(MICA_REAL_float)
  return (vector)_mm512_fmsub_ps((__m512)a, (__m512)a, (__m512)q);
#elif defined(MICA_ISA_avx512)
  return (vector)_mm512_fmsub_pd((__m512d)a, (__m512d)a, (__m512d)q);
#elif defined(MICA_ISA_avx2) && defined(MICA_REAL_float)
  return (vector)_mm256_fmsub_ps((__m256)a, (__m256)a, (__m256)q);
#elif defined(MICA_ISA_avx2)
  return (vector)_mm256_fmsub_pd((__m256d)a, (__m256d)a, (__m256d)q);
#else
#if defined(MICA_REAL_float)
  const vector high = (vector)((vector_bits)a & ~0xfff);
#else
  const vector high = (vector)((vector_bits)a & ~INT64_C(0x7ffffff));
#endif
  return (high * high - q) + (a - high) * (a + high);
#endif
}

/* The first n lanes, fewer than there are; the others get `other`. */
static inline vector vector_load_some(int64_t n, const real *p, real other) {
  real lane[VECTOR_BYTES / sizeof(real)];
  for (int64_t i = 0; i < VECTOR_WIDTH; i++) lane[i] = i < n ? p[i] : other;
  return vector_load(lane);
}

static inline void vector_store_some(int64_t n, real *p, vector v) {
  real lane[VECTOR_BYTES / sizeof(real)];
  vector_store(lane, v);
  for (int64_t i = 0; i < n; i++) p[i] = lane[i];
}

/* In pairs, pairs of pairs and so on. */
static inline real vector_sum(vector v) {
  real lane[VECTOR_BYTES / sizeof(real)];
  vector_store(lane, v);
#pragma GCC unroll 4
  for (int half = VECTOR_WIDTH / 2; half; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

#endif
