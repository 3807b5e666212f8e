/* Element types and the conversion of runs between any two of them.
 *
 * Narrow floats are made with integer arithmetic alone: the host's floating-point mode (flushed
 * subnormals, another rounding) does not reach them, and there is one rounding, from the source's
 * own value: float64 does not pass through float32, nor a large int64 through float64.
 */
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

static const struct {
  const char *name;
  size_t size;
  bool is_float;
} types[MICA_DTYPE_COUNT] = {
    [MICA_F32] = {"float32", 4, true},   [MICA_F64] = {"float64", 8, true},
    [MICA_BF16] = {"bfloat16", 2, true}, [MICA_F16] = {"float16", 2, true},
    [MICA_I8] = {"int8", 1, false},      [MICA_I16] = {"int16", 2, false},
    [MICA_I32] = {"int32", 4, false},    [MICA_I64] = {"int64", 8, false},
    [MICA_U8] = {"uint8", 1, false},     [MICA_BOOL] = {"bool", 1, false},
};

bool mica_dtype_valid(mica_dtype dtype) {
  return (unsigned)dtype < MICA_DTYPE_COUNT;
}

const char *mica_dtype_name(mica_dtype dtype) {
  return mica_dtype_valid(dtype) ? types[dtype].name : "?";
}

size_t mica_dtype_size(mica_dtype dtype) {
  return mica_dtype_valid(dtype) ? types[dtype].size : 0;
}

bool mica_dtype_is_float(mica_dtype dtype) {
  return mica_dtype_valid(dtype) && types[dtype].is_float;
}

/* ---- narrow floats ---- */

static inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint32_t float_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline uint64_t double_bits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

float mica_bf16_to_f32(uint16_t x) {
  return float_of((uint32_t)x << 16);
}

float mica_f16_to_f32(uint16_t x) {
  uint32_t sign = (uint32_t)(x & 0x8000u) << 16, exponent = (x >> 10) & 31u, mantissa = x & 0x3ffu;
  if (exponent == 31) return float_of(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    if (mantissa == 0) return float_of(sign);
    exponent = 1;
    while (!(mantissa & 0x400u)) {
      mantissa <<= 1;
      exponent--;
    }
    mantissa &= 0x3ffu;
  }
  return float_of(sign | (exponent + 112u) << 23 | mantissa << 13);
}

uint16_t mica_f32_to_bf16(float x) {
  uint32_t bits = float_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The upper bits of v after dropping `drop` of them, to nearest, ties to even; drop is in 1..63. */
static inline uint64_t drop_bits(uint64_t v, int drop) {
  return (v + (((uint64_t)1 << (drop - 1)) - 1) + (v >> drop & 1)) >> drop;
}

/* A double as a 16-bit float of `mantissa` bits and exponent bias `bias`. */
static inline uint16_t narrow(double x, int mantissa, int bias) {
  uint64_t bits = double_bits(x), magnitude = bits & ~((uint64_t)1 << 63);
  uint16_t sign = (uint16_t)(bits >> 48 & 0x8000u);
  uint16_t infinity = (uint16_t)((2u * (unsigned)bias + 1u) << mantissa);
  const uint64_t double_infinity = (uint64_t)0x7ff << 52;
  if (magnitude > double_infinity) {
    unsigned payload = (unsigned)(magnitude >> (52 - mantissa)) & ((1u << mantissa) - 1u);
    return (uint16_t)(sign | infinity | 1u << (mantissa - 1) | payload);
  }
  int exponent = (int)(magnitude >> 52) - 1023, drop = 52 - mantissa;
  if (exponent > bias) return (uint16_t)(sign | infinity);
  if (exponent >= 1 - bias) /* rounding may carry into the exponent, up to infinity */
    return (uint16_t)(sign | drop_bits(magnitude - ((uint64_t)(1023 - bias) << 52), drop));
  drop += 1 - bias - exponent;
  if (drop > 53) return sign;
  uint64_t significand = (magnitude & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
  return (uint16_t)(sign | drop_bits(significand, drop));
}

uint16_t mica_f64_to_bf16(double x) {
  return narrow(x, 7, 127);
}

uint16_t mica_f64_to_f16(double x) {
  return narrow(x, 10, 15);
}

uint16_t mica_f32_to_f16(float x) {
  return narrow((double)x, 10, 15);
}

/* An int64 as a double for a second, coarser rounding: what does not fit is kept as a last odd bit,
 * so that a tie of the second rounding is a tie of the integer. */
static inline double sticky(int64_t x) {
  uint64_t m = x < 0 ? 0u - (uint64_t)x : (uint64_t)x;
  if (m < (uint64_t)1 << 53) return (double)x;
  double d = (double)(int64_t)(m >> 11 | ((m & 2047u) != 0)) * 2048.0;
  return x < 0 ? -d : d;
}

static inline int64_t float_to_integer(double x, int64_t lo, int64_t hi) {
  if (isnan(x)) return 0;
  if (x <= (double)lo) return lo;
  if (x >= (double)hi) return hi; /* for int64 (double)hi is 2^63, one past the end */
  return (int64_t)x;
}

static inline int64_t clamp(int64_t x, int64_t lo, int64_t hi) {
  return x < lo ? lo : x > hi ? hi : x;
}

/* ---- runs ---- */

/* Each type is read as one of three wide ones: float (f), double (d) or int64 (i), and written from
 * each of them. READ_x is the wide class, GET_x the reading, PUT_x_CLASS the writing. */
#define WIDE_F32                f
#define WIDE_F64                d
#define WIDE_BF16               f
#define WIDE_F16                f
#define WIDE_I8                 i
#define WIDE_I16                i
#define WIDE_I32                i
#define WIDE_I64                i
#define WIDE_U8                 i
#define WIDE_BOOL               i
#define WIDE_TYPE_f             float
#define WIDE_TYPE_d             double
#define WIDE_TYPE_i             int64_t
#define STORED_F32              float
#define STORED_F64              double
#define STORED_BF16             uint16_t
#define STORED_F16              uint16_t
#define STORED_I8               int8_t
#define STORED_I16              int16_t
#define STORED_I32              int32_t
#define STORED_I64              int64_t
#define STORED_U8               uint8_t
#define STORED_BOOL             uint8_t
#define GET_F32(x)              (x)
#define GET_F64(x)              (x)
#define GET_BF16(x)             mica_bf16_to_f32(x)
#define GET_F16(x)              mica_f16_to_f32(x)
#define GET_I8(x)               (x)
#define GET_I16(x)              (x)
#define GET_I32(x)              (x)
#define GET_I64(x)              (x)
#define GET_U8(x)               (x)
#define GET_BOOL(x)             ((x) != 0)
#define PUT_F32_f(x)            (x)
#define PUT_F32_d(x)            (float)(x)
#define PUT_F32_i(x)            (float)(x)
#define PUT_F64_f(x)            (double)(x)
#define PUT_F64_d(x)            (x)
#define PUT_F64_i(x)            (double)(x)
#define PUT_BF16_f(x)           mica_f32_to_bf16(x)
#define PUT_BF16_d(x)           mica_f64_to_bf16(x)
#define PUT_BF16_i(x)           mica_f64_to_bf16(sticky(x))
#define PUT_F16_f(x)            mica_f32_to_f16(x)
#define PUT_F16_d(x)            mica_f64_to_f16(x)
#define PUT_F16_i(x)            mica_f64_to_f16(sticky(x))
#define PUT_INT_f(x, t, lo, hi) (t) float_to_integer((double)(x), lo, hi)
#define PUT_INT_d(x, t, lo, hi) (t) float_to_integer((x), lo, hi)
#define PUT_INT_i(x, t, lo, hi) (t) clamp((x), lo, hi)
#define PUT_I8_f(x)             PUT_INT_f(x, int8_t, INT8_MIN, INT8_MAX)
#define PUT_I8_d(x)             PUT_INT_d(x, int8_t, INT8_MIN, INT8_MAX)
#define PUT_I8_i(x)             PUT_INT_i(x, int8_t, INT8_MIN, INT8_MAX)
#define PUT_I16_f(x)            PUT_INT_f(x, int16_t, INT16_MIN, INT16_MAX)
#define PUT_I16_d(x)            PUT_INT_d(x, int16_t, INT16_MIN, INT16_MAX)
#define PUT_I16_i(x)            PUT_INT_i(x, int16_t, INT16_MIN, INT16_MAX)
#define PUT_I32_f(x)            PUT_INT_f(x, int32_t, INT32_MIN, INT32_MAX)
#define PUT_I32_d(x)            PUT_INT_d(x, int32_t, INT32_MIN, INT32_MAX)
#define PUT_I32_i(x)            PUT_INT_i(x, int32_t, INT32_MIN, INT32_MAX)
#define PUT_I64_f(x)            PUT_INT_f(x, int64_t, INT64_MIN, INT64_MAX)
#define PUT_I64_d(x)            PUT_INT_d(x, int64_t, INT64_MIN, INT64_MAX)
#define PUT_I64_i(x)            (x)
#define PUT_U8_f(x)             PUT_INT_f(x, uint8_t, 0, UINT8_MAX)
#define PUT_U8_d(x)             PUT_INT_d(x, uint8_t, 0, UINT8_MAX)
#define PUT_U8_i(x)             PUT_INT_i(x, uint8_t, 0, UINT8_MAX)
#define PUT_BOOL_f(x)           (uint8_t)((x) < 0 || (x) > 0)
#define PUT_BOOL_d(x)           (uint8_t)((x) < 0 || (x) > 0)
#define PUT_BOOL_i(x)           (uint8_t)((x) != 0)

#define PASTE_(a, b)  a##b
#define PASTE(a, b)   PASTE_(a, b)
#define PUT_(T, wide) PASTE(PUT_##T##_, wide)

typedef void (*convert_fn)(void *to, const void *from, size_t n);

#define CONVERT(T, S)                                                                              \
  static void S##_to_##T(void *to, const void *from, size_t n) {                                   \
    STORED_##T *restrict out = to;                                                                 \
    const STORED_##S *restrict in = from;                                                          \
    for (size_t k = 0; k < n; k++) {                                                               \
      PASTE(WIDE_TYPE_, WIDE_##S) wide = GET_##S(in[k]);                                           \
      out[k] = PUT_(T, WIDE_##S)(wide);                                                            \
    }                                                                                              \
  }
#define CONVERT_FROM(S)                                                                            \
  CONVERT(F32, S)                                                                                  \
  CONVERT(F64, S)                                                                                  \
  CONVERT(BF16, S)                                                                                 \
  CONVERT(F16, S)                                                                                  \
  CONVERT(I8, S) CONVERT(I16, S) CONVERT(I32, S) CONVERT(I64, S) CONVERT(U8, S) CONVERT(BOOL, S)
CONVERT_FROM(F32)
CONVERT_FROM(F64)
CONVERT_FROM(BF16)
CONVERT_FROM(F16)
CONVERT_FROM(I8)
CONVERT_FROM(I16)
CONVERT_FROM(I32)
CONVERT_FROM(I64)
CONVERT_FROM(U8)
CONVERT_FROM(BOOL)

#define ROW(S)                                                                                     \
  [MICA_##S] = {S##_to_F32, S##_to_F64, S##_to_BF16, S##_to_F16, S##_to_I8,                        \
                S##_to_I16, S##_to_I32, S##_to_I64,  S##_to_U8,  S##_to_BOOL}
static const convert_fn converters[MICA_DTYPE_COUNT][MICA_DTYPE_COUNT] = {
    ROW(F32), ROW(F64), ROW(BF16), ROW(F16), ROW(I8),
    ROW(I16), ROW(I32), ROW(I64),  ROW(U8),  ROW(BOOL)};

void mica_convert(void *to, mica_dtype to_type, const void *from, mica_dtype from_type, size_t n) {
  if (n == 0) return;
  if (to_type == from_type)
    memmove(to, from, n * types[to_type].size);
  else
    converters[from_type][to_type](to, from, n);
}
