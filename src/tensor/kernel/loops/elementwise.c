/* elementwise.c: one loop for each operation. See elementwise.h for the formulas.
 *
 * Loops see whole pieces of WHOLE elements and two operands of the same length: what is left over
 * is filled up to a piece, a single operand is spread over a block. There are some hundred loops,
 * each would otherwise be compiled again for its last elements and for each form, and nearly all of
 * the code would be that.
 */
#include "tensor/kernel/elementwise.h"

#include "loop.h"
#include "vector_gelu.h"

enum { WHOLE = 64 / sizeof(real), SPREAD = 1024 };

/* Up to a piece, with copies of the first. */
static inline const real *filled(int64_t n, const real *x, real *piece) {
  if (x == NULL) return NULL;
  for (int64_t i = 0; i < WHOLE; i++) piece[i] = x[i < n ? i : 0];
  return piece;
}

#define SELU_ALPHA ((real)1.6732632423543772)
#define SELU_SCALE ((real)1.0507009873554805)

/* ---- one operand ---- */

/* Of x sigmoid(a x). */
static inline real swish_slope(real x, real a) {
  const real s = math_sigmoid(a * x);
  return s + a * x * s * ((real)1 - s);
}

static inline real mish_slope(real x) {
  const real t = math_tanh(math_softplus(x));
  return t + x * ((real)1 - t * t) * math_sigmoid(x);
}

/* x / 6 + 1/2 held in [0, 1]; comparisons let a NaN pass. */
static inline real hard_sigmoid(real x) {
  real y = x * (real)(1.0 / 6.0) + (real)0.5;
  y = x <= (real)-3 ? (real)0 : y;
  return x >= (real)3 ? (real)1 : y;
}

/* What a flat piece passes back: nothing, except that a NaN stays visible. */
static inline real flat(real gy) {
  return gy != gy ? gy : (real)0;
}

static inline real clamp(real x, real lo, real hi) {
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

/* Sine and cosine in blocks: one that holds a large argument goes to libm. */
enum { TRIG_SINE, TRIG_COSINE };
static void trig(int which, int64_t n, const real *x, real *y) {
  for (int64_t begin = 0; begin < n; begin += BLOCK) {
    const int64_t count = smaller(BLOCK, n - begin);
    const real *px = x + begin;
    real *py = y + begin;
    int large = 0;
    LOOP_PRAGMA(omp simd reduction(| : large))
    for (int64_t i = 0; i < count; i++) large |= math_fabs(px[i]) > (real)MATH_TRIG_LIMIT ? 1 : 0;
    if (large) {
      for (int64_t i = 0; i < count; i++)
        py[i] = (real)(which == TRIG_SINE ? sin((double)px[i]) : cos((double)px[i]));
    } else if (which == TRIG_SINE) {
      SIMD for (int64_t i = 0; i < count; i++) py[i] = math_sin(px[i]);
    } else {
      SIMD for (int64_t i = 0; i < count; i++) py[i] = math_cos(px[i]);
    }
  }
}

#define MAP(expression)                                                                            \
  {                                                                                                \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real v = px[i];                                                                        \
      py[i] = (expression);                                                                        \
    }                                                                                              \
    return;                                                                                        \
  }

/* Of explicit vectors. */
#define MAP_VECTORS(function)                                                                      \
  {                                                                                                \
    for (int64_t i = 0; i < n; i += VECTOR_WIDTH)                                                  \
      vector_store(py + i, function(vector_load(px + i)));                                         \
    return;                                                                                        \
  }
#define SLOPE_VECTORS(function)                                                                    \
  {                                                                                                \
    for (int64_t i = 0; i < n; i += VECTOR_WIDTH)                                                  \
      vector_store(pz + i, vector_load(pg + i) * function(vector_load(px + i)));                   \
    return;                                                                                        \
  }

static void unary_pieces(mica_unary_op op, int64_t pieces, const real *px, real *py, double pa,
                         double pb) {
  const int64_t n = pieces * WHOLE;
  const real a = (real)pa, b = (real)pb;
  switch (op) {
  case MICA_UNARY_IDENTITY:
    if (py != px) memcpy(py, px, (size_t)n * sizeof(real));
    return;
  case MICA_UNARY_NEG: MAP(-v)
  case MICA_UNARY_ABS: MAP(math_fabs(v))
  case MICA_UNARY_EXP: MAP(math_exp(v))
  case MICA_UNARY_EXPM1: MAP(math_expm1(v))
  case MICA_UNARY_LOG: MAP(math_log(v))
  case MICA_UNARY_LOG1P: MAP(math_log1p(v))
  case MICA_UNARY_SQRT: MAP(math_sqrt(v))
  case MICA_UNARY_RSQRT: MAP((real)1 / math_sqrt(v))
  case MICA_UNARY_RECIPROCAL: MAP((real)1 / v)
  case MICA_UNARY_SQUARE: MAP(v * v)
  case MICA_UNARY_SIN: trig(TRIG_SINE, n, px, py); return;
  case MICA_UNARY_COS: trig(TRIG_COSINE, n, px, py); return;
  case MICA_UNARY_TANH: MAP(math_tanh(v))
  case MICA_UNARY_ERF: MAP(math_erf(v))
  case MICA_UNARY_SIGMOID: MAP(math_sigmoid(v))
  case MICA_UNARY_LOG_SIGMOID: MAP(math_log_sigmoid(v))
  case MICA_UNARY_SOFTPLUS: MAP(math_softplus(v))
  case MICA_UNARY_RELU: MAP(v < (real)0 ? (real)0 : v)
  case MICA_UNARY_LEAKY_RELU: MAP(v > (real)0 ? v : a * v)
  case MICA_UNARY_ELU: MAP(v > (real)0 ? v : a * math_expm1(v))
  case MICA_UNARY_SELU: MAP(SELU_SCALE * (v > (real)0 ? v : SELU_ALPHA * math_expm1(v)))
  case MICA_UNARY_GELU: MAP_VECTORS(vector_gelu)
  case MICA_UNARY_GELU_TANH: MAP_VECTORS(vector_gelu_tanh)
  case MICA_UNARY_SILU: MAP(v * math_sigmoid(v))
  case MICA_UNARY_MISH: MAP(v * math_tanh(math_softplus(v)))
  case MICA_UNARY_HARD_SIGMOID: MAP(hard_sigmoid(v))
  case MICA_UNARY_HARD_SWISH: MAP(v * hard_sigmoid(v))
  case MICA_UNARY_SWISH: MAP(v * math_sigmoid(a * v))
  case MICA_UNARY_CELU: MAP(v > (real)0 ? v : a * math_expm1(v / a))
  case MICA_UNARY_SOFT_SIGN: MAP(v / ((real)1 + math_fabs(v)))
  case MICA_UNARY_SOFT_SHRINK: MAP(v > a ? v - a : (v < -a ? v + a : (v != v ? v : (real)0)))
  case MICA_UNARY_HARD_SHRINK: MAP(math_fabs(v) <= a ? (real)0 : v)
  case MICA_UNARY_TANH_SHRINK: MAP(v - math_tanh(v))
  case MICA_UNARY_SQUARED_RELU: MAP(v < (real)0 ? (real)0 : v * v)
  case MICA_UNARY_STEP: MAP(v > (real)0 ? (real)1 : (v != v ? v : (real)0))
  case MICA_UNARY_SIGN: MAP(v > (real)0 ? (real)1 : (v < (real)0 ? (real)-1 : v))
  case MICA_UNARY_FLOOR: MAP(math_floor(v))
  case MICA_UNARY_ROUND: MAP(math_rint(v))
  case MICA_UNARY_CLAMP: MAP(clamp(v, a, b))
  case MICA_UNARY_POW:
    if (pa == 1) MAP(v)
    if (pa == 2) MAP(v * v)
    if (pa == 3) MAP(v * v * v)
    MAP(math_pow(v, a))
  case MICA_UNARY_AFFINE: MAP(a * v + b)
  case MICA_UNARY_COUNT: return;
  }
}

static void unary(mica_unary_op op, int64_t n, const void *x, void *y, double a, double b) {
  const real *px = x;
  real *py = y, in[WHOLE], out[WHOLE];
  if (n >= WHOLE) unary_pieces(op, n / WHOLE, px, py, a, b);
  const int64_t rest = n % WHOLE, done = n - rest;
  if (rest <= 0) return;
  unary_pieces(op, 1, filled(rest, px + done, in), out, a, b);
  memcpy(py + done, out, (size_t)rest * sizeof(real));
}

/* gx = slope gy, v = x[i], u = y[i], g = gy[i] */
#define SLOPE_X(expression)                                                                        \
  {                                                                                                \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real v = px[i], g = pg[i];                                                             \
      pz[i] = (expression);                                                                        \
    }                                                                                              \
    return;                                                                                        \
  }
#define SLOPE_Y(expression)                                                                        \
  {                                                                                                \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real u = py[i], g = pg[i];                                                             \
      pz[i] = (expression);                                                                        \
    }                                                                                              \
    return;                                                                                        \
  }
#define SLOPE(expression)                                                                          \
  {                                                                                                \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real g = pg[i];                                                                        \
      pz[i] = (expression);                                                                        \
    }                                                                                              \
    return;                                                                                        \
  }

/* gx = +-gy trig(x), a block at a time so that gx may be gy. */
static void trig_grad(int which, real sign, int64_t n, const real *x, const real *gy, real *gx) {
  real slope[BLOCK];
  for (int64_t begin = 0; begin < n; begin += BLOCK) {
    const int64_t count = smaller(BLOCK, n - begin);
    trig(which, count, x + begin, slope);
    SIMD for (int64_t i = 0; i < count; i++) gx[begin + i] = sign * slope[i] * gy[begin + i];
  }
}

static void unary_grad_pieces(mica_unary_op op, int64_t pieces, const real *px, const real *py,
                              const real *pg, real *pz, double pa, double pb) {
  const int64_t n = pieces * WHOLE;
  const real a = (real)pa, b = (real)pb;
  switch (op) {
  case MICA_UNARY_IDENTITY:
    if (pz != pg) memcpy(pz, pg, (size_t)n * sizeof(real));
    return;
  case MICA_UNARY_NEG: SLOPE(-g)
  case MICA_UNARY_ABS: SLOPE_X(v > (real)0 ? g : (v < (real)0 ? -g : v == (real)0 ? flat(g) : v))
  case MICA_UNARY_EXP: SLOPE_Y(g * u)
  case MICA_UNARY_EXPM1: SLOPE_Y(g * (u + (real)1))
  case MICA_UNARY_LOG: SLOPE_X(g / v)
  case MICA_UNARY_LOG1P: SLOPE_X(g / ((real)1 + v))
  case MICA_UNARY_SQRT: SLOPE_Y(g * (real)0.5 / u)
  case MICA_UNARY_RSQRT: SLOPE_Y(g * (real)-0.5 * u * u * u)
  case MICA_UNARY_RECIPROCAL: SLOPE_Y(-g * u * u)
  case MICA_UNARY_SQUARE: SLOPE_X((real)2 * v * g)
  case MICA_UNARY_SIN: trig_grad(TRIG_COSINE, (real)1, n, px, pg, pz); return;
  case MICA_UNARY_COS: trig_grad(TRIG_SINE, (real)-1, n, px, pg, pz); return;
  case MICA_UNARY_TANH: SLOPE_Y(g * ((real)1 - u * u))
  case MICA_UNARY_ERF:
    SLOPE_X(g * (real)1.1283791670955126 * math_gaussian(math_fabs(v) * (real)1.4142135623730951))
  case MICA_UNARY_SIGMOID: SLOPE_Y(g * u * ((real)1 - u))
  case MICA_UNARY_LOG_SIGMOID: SLOPE_X(g * math_sigmoid(-v))
  case MICA_UNARY_SOFTPLUS: SLOPE_X(g * math_sigmoid(v))
  case MICA_UNARY_RELU: SLOPE_Y(u <= (real)0 ? flat(g) : g)
  case MICA_UNARY_LEAKY_RELU: SLOPE_X(v > (real)0 ? g : a * g)
  case MICA_UNARY_ELU: SLOPE_X(v > (real)0 ? g : g * a * math_exp(v))
  case MICA_UNARY_SELU: SLOPE_X(SELU_SCALE * (v > (real)0 ? g : g * SELU_ALPHA * math_exp(v)))
  case MICA_UNARY_GELU: SLOPE_VECTORS(vector_gelu_slope)
  case MICA_UNARY_GELU_TANH: SLOPE_VECTORS(vector_gelu_tanh_slope)
  case MICA_UNARY_SILU: SLOPE_X(g * swish_slope(v, (real)1))
  case MICA_UNARY_MISH: SLOPE_X(g * mish_slope(v))
  case MICA_UNARY_HARD_SIGMOID:
    SLOPE_X(v <= (real)-3 ? flat(g) : (v >= (real)3 ? flat(g) : g * (real)(1.0 / 6.0)))
  case MICA_UNARY_HARD_SWISH:
    SLOPE_X(v <= (real)-3 ? flat(g) : v >= (real)3 ? g : g * (v * (real)(1.0 / 3.0) + (real)0.5))
  case MICA_UNARY_SWISH: SLOPE_X(g * swish_slope(v, a))
  case MICA_UNARY_CELU: SLOPE_X(v > (real)0 ? g : g * math_exp(v / a))
  case MICA_UNARY_SOFT_SIGN: SLOPE_X(g / (((real)1 + math_fabs(v)) * ((real)1 + math_fabs(v))))
  case MICA_UNARY_SOFT_SHRINK: SLOPE_X(math_fabs(v) <= a ? flat(g) : g)
  case MICA_UNARY_HARD_SHRINK: SLOPE_Y(u == (real)0 ? flat(g) : g)
  case MICA_UNARY_TANH_SHRINK: SLOPE_X(g * math_tanh(v) * math_tanh(v))
  case MICA_UNARY_SQUARED_RELU: SLOPE_X(v <= (real)0 ? flat(g) : (real)2 * v * g)
  case MICA_UNARY_SIGN:
  case MICA_UNARY_STEP:
  case MICA_UNARY_FLOOR:
  case MICA_UNARY_ROUND: SLOPE(flat(g))
  case MICA_UNARY_CLAMP: SLOPE_X(v < a ? flat(g) : (v > b ? flat(g) : g))
  case MICA_UNARY_POW:
    if (pa == 0) SLOPE(flat(g))
    if (pa == 1) SLOPE(g)
    if (pa == 2) SLOPE_X(g * (real)2 * v)
    if (pa == 3) SLOPE_X(g * (real)3 * v * v) {
        const real c = (real)(pa - 1.0);
        SLOPE_X(g * a * math_pow(v, c))
      }
  case MICA_UNARY_AFFINE: SLOPE(a * g)
  case MICA_UNARY_COUNT: return;
  }
}

static const real *from(const real *x, int64_t offset) {
  return x == NULL ? NULL : x + offset;
}

static void unary_grad(mica_unary_op op, int64_t n, const void *x, const void *y, const void *gy,
                       void *gx, double a, double b) {
  const real *px = x, *py = y, *pg = gy;
  real *pz = gx, in[3][WHOLE], out[WHOLE];
  if (n >= WHOLE) unary_grad_pieces(op, n / WHOLE, px, py, pg, pz, a, b);
  const int64_t rest = n % WHOLE, done = n - rest;
  if (rest <= 0) return;
  unary_grad_pieces(op, 1, filled(rest, from(px, done), in[0]), filled(rest, from(py, done), in[1]),
                    filled(rest, pg + done, in[2]), out, a, b);
  memcpy(pz + done, out, (size_t)rest * sizeof(real));
}

static void bias_unary(mica_unary_op op, int64_t rows, int64_t cols, const void *x,
                       int64_t x_stride, const void *bias, void *y, int64_t y_stride, double a,
                       double b) {
  const real *px = x, *pb = bias;
  real *py = y;
  if (pb == NULL && x_stride == cols && y_stride == cols) {
    unary(op, rows * cols, x, y, a, b);
    return;
  }
  for (int64_t r = 0; r < rows; r++, px += x_stride, py += y_stride) {
    if (pb == NULL) {
      unary(op, cols, px, py, a, b);
    } else if (op == MICA_UNARY_RELU) {
      SIMD for (int64_t c = 0; c < cols; c++) {
        const real v = px[c] + pb[c];
        py[c] = v < (real)0 ? (real)0 : v;
      }
    } else {
      SIMD for (int64_t c = 0; c < cols; c++) py[c] = px[c] + pb[c];
      if (op != MICA_UNARY_IDENTITY) unary(op, cols, py, py, a, b);
    }
  }
}

/* ---- two operands ---- */

/* A NaN in either wins. */
static inline real larger_of(real a, real b) {
  return a >= b ? a : (b == b ? (a == a ? b : a) : b);
}
static inline real smaller_of(real a, real b) {
  return a <= b ? a : (b == b ? (a == a ? b : a) : b);
}

static inline real huber(real d, real delta) {
  const real size = math_fabs(d);
  return size < delta ? (real)0.5 * d * d : delta * (size - (real)0.5 * delta);
}

/* max(a, 0) - a b + ln(1 + e^-|a|) */
static inline real bce(real a, real b) {
  return (a > (real)0 ? a : (real)0) - a * b + math_log1p(math_exp(-math_fabs(a)));
}

static inline real kl(real a, real b) {
  return b == (real)0 ? (real)0 : b * (math_log(b) - a);
}

/* u = a[i], v = b[i] */
#define BINARY(expression)                                                                         \
  {                                                                                                \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real u = pa[i], v = pb[i];                                                             \
      py[i] = (expression);                                                                        \
    }                                                                                              \
    return;                                                                                        \
  }

static void binary_pieces(mica_binary_op op, int64_t pieces, const real *pa, const real *pb,
                          real *py, real p) {
  const int64_t n = pieces * WHOLE;
  switch (op) {
  case MICA_BINARY_ADD: BINARY(u + v)
  case MICA_BINARY_SUB: BINARY(u - v)
  case MICA_BINARY_MUL: BINARY(u * v)
  case MICA_BINARY_DIV: BINARY(u / v)
  case MICA_BINARY_MAX: BINARY(larger_of(u, v))
  case MICA_BINARY_MIN: BINARY(smaller_of(u, v))
  case MICA_BINARY_POW: BINARY(math_pow(u, v))
  case MICA_BINARY_SQUARED_DIFFERENCE: BINARY((u - v) * (u - v))
  case MICA_BINARY_ABS_DIFFERENCE: BINARY(math_fabs(u - v))
  case MICA_BINARY_HUBER: BINARY(huber(u - v, p))
  case MICA_BINARY_BCE_LOGITS: BINARY(bce(u, v))
  case MICA_BINARY_KL: BINARY(kl(u, v))
  case MICA_BINARY_EQ: BINARY(u == v ? (real)1 : (real)0)
  case MICA_BINARY_NE: BINARY(u != v ? (real)1 : (real)0)
  case MICA_BINARY_LT: BINARY(u < v ? (real)1 : (real)0)
  case MICA_BINARY_LE: BINARY(u <= v ? (real)1 : (real)0)
  case MICA_BINARY_GT: BINARY(u > v ? (real)1 : (real)0)
  case MICA_BINARY_GE: BINARY(u >= v ? (real)1 : (real)0)
  case MICA_BINARY_COUNT: return;
  }
}

/* A single operand spread over as much of a block as n elements need: at most that many at a time.
 */
static int64_t spread(mica_form form, int64_t n, const real *a, const real *b, real *block) {
  if (form == MICA_FORM_VV) return n;
  const int64_t count = smaller(n, SPREAD);
  const real value = form == MICA_FORM_VS ? b[0] : a[0];
  for (int64_t i = 0; i < count; i++) block[i] = value;
  return count;
}

static void binary(mica_binary_op op, mica_form form, int64_t n, const void *a, const void *b,
                   void *y, double parameter) {
  real block[SPREAD], in[2][WHOLE], out[WHOLE];
  const real p = (real)parameter;
  if (n <= 0) return;
  const int64_t step = spread(form, n, a, b, block);
  for (int64_t begin = 0; begin < n; begin += step) {
    const real *pa = form == MICA_FORM_SV ? block : (const real *)a + begin;
    const real *pb = form == MICA_FORM_VS ? block : (const real *)b + begin;
    real *py = (real *)y + begin;
    const int64_t count = smaller(step, n - begin), rest = count % WHOLE, done = count - rest;
    if (done) binary_pieces(op, done / WHOLE, pa, pb, py, p);
    if (!rest) continue;
    binary_pieces(op, 1, filled(rest, pa + done, in[0]), filled(rest, pb + done, in[1]), out, p);
    memcpy(py + done, out, (size_t)rest * sizeof(real));
  }
}

static inline real sign_of(real x) {
  return x > (real)0 ? (real)1 : (x < (real)0 ? (real)-1 : x);
}

/* d/da a^b = b a^(b - 1), 0 where b is 0 */
static inline real pow_slope_base(real a, real b, real g) {
  const real slope = b * math_pow(a, b - (real)1);
  return b == (real)0 ? flat(g) : g * slope;
}

/* d/db a^b = a^b ln a, 0 where a is 0 and b is not negative */
static inline real pow_slope_exponent(real a, real b, real g) {
  const real slope = math_pow(a, b) * math_log(a);
  return a == (real)0 ? (b >= (real)0 ? flat(g) : g * slope) : g * slope;
}

/* g times the share of `a` in max(a, b): 1, 1/2 at a tie, 0 */
static inline real winner(real a, real b, real g) {
  return a > b ? g : (a < b ? flat(g) : (a == b ? (real)0.5 * g : a + b));
}

static inline real huber_slope(real d, real delta) {
  const real size = math_fabs(d);
  return size < delta ? d : delta * sign_of(d);
}

#define BINARY_SLOPE(output, expression)                                                           \
  if ((output) != NULL) {                                                                          \
    real *pz = (output);                                                                           \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real u = pa[i], v = pb[i], g = pg[i];                                                  \
      pz[i] = (expression);                                                                        \
    }                                                                                              \
  }
/* For slopes that read neither operand. */
#define CONSTANT_SLOPE(output, expression)                                                         \
  if ((output) != NULL) {                                                                          \
    real *pz = (output);                                                                           \
    SIMD for (int64_t i = 0; i < n; i++) {                                                         \
      const real g = pg[i];                                                                        \
      pz[i] = (expression);                                                                        \
    }                                                                                              \
  }

static void binary_grad_pieces(mica_binary_op op, int64_t pieces, const real *pa, const real *pb,
                               const real *pg, real *ga, real *gb, real p) {
  const int64_t n = pieces * WHOLE;
  switch (op) {
  case MICA_BINARY_ADD:
    CONSTANT_SLOPE(ga, g)
    CONSTANT_SLOPE(gb, g)
    return;
  case MICA_BINARY_SUB:
    CONSTANT_SLOPE(ga, g)
    CONSTANT_SLOPE(gb, -g)
    return;
  case MICA_BINARY_MUL:
    BINARY_SLOPE(ga, ((void)u, g * v))
    BINARY_SLOPE(gb, ((void)v, g * u))
    return;
  case MICA_BINARY_DIV:
    BINARY_SLOPE(ga, ((void)u, g / v))
    BINARY_SLOPE(gb, -g * u / (v * v))
    return;
  case MICA_BINARY_MAX:
    BINARY_SLOPE(ga, winner(u, v, g))
    BINARY_SLOPE(gb, winner(v, u, g))
    return;
  case MICA_BINARY_MIN:
    BINARY_SLOPE(ga, winner(v, u, g))
    BINARY_SLOPE(gb, winner(u, v, g))
    return;
  case MICA_BINARY_POW:
    BINARY_SLOPE(ga, pow_slope_base(u, v, g))
    BINARY_SLOPE(gb, pow_slope_exponent(u, v, g))
    return;
  case MICA_BINARY_SQUARED_DIFFERENCE:
    BINARY_SLOPE(ga, (real)2 * (u - v) * g)
    BINARY_SLOPE(gb, (real)2 * (v - u) * g)
    return;
  case MICA_BINARY_ABS_DIFFERENCE:
    BINARY_SLOPE(ga, sign_of(u - v) * g)
    BINARY_SLOPE(gb, sign_of(v - u) * g)
    return;
  case MICA_BINARY_HUBER:
    BINARY_SLOPE(ga, huber_slope(u - v, p) * g)
    BINARY_SLOPE(gb, huber_slope(v - u, p) * g)
    return;
  case MICA_BINARY_BCE_LOGITS:
    BINARY_SLOPE(ga, (math_sigmoid(u) - v) * g)
    BINARY_SLOPE(gb, ((void)v, -u * g))
    return;
  case MICA_BINARY_KL:
    BINARY_SLOPE(ga, ((void)u, -v * g))
    BINARY_SLOPE(gb, (math_log(v) + (real)1 - u) * g)
    return;
  case MICA_BINARY_EQ:
  case MICA_BINARY_NE:
  case MICA_BINARY_LT:
  case MICA_BINARY_LE:
  case MICA_BINARY_GT:
  case MICA_BINARY_GE:
    CONSTANT_SLOPE(ga, flat(g))
    CONSTANT_SLOPE(gb, flat(g))
    return;
  case MICA_BINARY_COUNT: return;
  }
}

static void binary_grad(mica_binary_op op, mica_form form, int64_t n, const void *a, const void *b,
                        const void *gy, void *ga, void *gb, double parameter) {
  real block[SPREAD], in[3][WHOLE], out[2][WHOLE];
  const real p = (real)parameter;
  if (n <= 0) return;
  const int64_t step = spread(form, n, a, b, block);
  for (int64_t begin = 0; begin < n; begin += step) {
    const real *pa = form == MICA_FORM_SV ? block : (const real *)a + begin;
    const real *pb = form == MICA_FORM_VS ? block : (const real *)b + begin;
    const real *pg = (const real *)gy + begin;
    real *za = ga == NULL ? NULL : (real *)ga + begin, *zb = gb == NULL ? NULL : (real *)gb + begin;
    const int64_t count = smaller(step, n - begin), rest = count % WHOLE, done = count - rest;
    if (done) binary_grad_pieces(op, done / WHOLE, pa, pb, pg, za, zb, p);
    if (!rest) continue;
    binary_grad_pieces(op, 1, filled(rest, pa + done, in[0]), filled(rest, pb + done, in[1]),
                       filled(rest, pg + done, in[2]), za ? out[0] : NULL, zb ? out[1] : NULL, p);
    if (za) memcpy(za + done, out[0], (size_t)rest * sizeof(real));
    if (zb) memcpy(zb + done, out[1], (size_t)rest * sizeof(real));
  }
}

/* ---- vector updates ---- */

static void fill(int64_t n, double value, void *y) {
  real *py = y;
  const real v = (real)value;
  SIMD for (int64_t i = 0; i < n; i++) py[i] = v;
}

static void scale(int64_t n, double alpha, const void *x, void *y) {
  const real *px = x;
  real *py = y;
  const real a = (real)alpha;
  SIMD for (int64_t i = 0; i < n; i++) py[i] = a * px[i];
}

static void axpy(int64_t n, double alpha, const void *x, void *y) {
  const real *px = x;
  real *py = y;
  const real a = (real)alpha;
  SIMD for (int64_t i = 0; i < n; i++) py[i] += a * px[i];
}

static void add_into(int64_t n, const void *x, void *y) {
  const real *px = x;
  real *py = y;
  SIMD for (int64_t i = 0; i < n; i++) py[i] += px[i];
}

static void multiply_add(int64_t n, const void *a, const void *b, void *y) {
  const real *pa = a, *pb = b;
  real *py = y;
  SIMD for (int64_t i = 0; i < n; i++) py[i] += pa[i] * pb[i];
}

static void where(int64_t n, const void *c, const void *a, const void *b, void *y) {
  const real *pc = c, *pa = a, *pb = b;
  real *py = y;
  SIMD for (int64_t i = 0; i < n; i++) {
    const real u = pa[i], v = pb[i];
    py[i] = pc[i] != (real)0 ? u : v;
  }
}

static void where_grad(int64_t n, const void *c, const void *gy, void *ga, void *gb) {
  const real *pc = c, *pg = gy;
  if (ga != NULL) {
    real *pz = ga;
    SIMD for (int64_t i = 0; i < n; i++) pz[i] = pc[i] != (real)0 ? pg[i] : (real)0;
  }
  if (gb != NULL) {
    real *pz = gb;
    SIMD for (int64_t i = 0; i < n; i++) pz[i] = pc[i] != (real)0 ? (real)0 : pg[i];
  }
}

const mica_elementwise_kernels MICA_KERNEL(elementwise) = {
    .unary = unary,
    .unary_grad = unary_grad,
    .bias_unary = bias_unary,
    .binary = binary,
    .binary_grad = binary_grad,
    .fill = fill,
    .scale = scale,
    .axpy = axpy,
    .add_into = add_into,
    .multiply_add = multiply_add,
    .where = where,
    .where_grad = where_grad,
};
