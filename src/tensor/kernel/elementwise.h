/* elementwise.h: maps over n elements, their gradients, and the small vector updates between them.
 *
 * `x` and `y` point to elements of the table's type (`real`). Outputs may be an input (in place),
 * but must not overlap one in any other way. Formulas are on the line; `a` and `b` are an
 * operation's two parameters. Gradients are gx = gy f'(x): where f' is 0 because the operation is
 * flat there, an infinite gy gives 0 and a NaN stays NaN.
 */
#ifndef MICA_TENSOR_KERNEL_ELEMENTWISE_H
#define MICA_TENSOR_KERNEL_ELEMENTWISE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum mica_unary_op {
  MICA_UNARY_IDENTITY,    /* x */
  MICA_UNARY_NEG,         /* -x */
  MICA_UNARY_ABS,         /* |x|, gradient 0 at 0 */
  MICA_UNARY_EXP,         /* e^x */
  MICA_UNARY_EXPM1,       /* e^x - 1 */
  MICA_UNARY_LOG,         /* ln x */
  MICA_UNARY_LOG1P,       /* ln(1 + x) */
  MICA_UNARY_SQRT,        /* x^1/2 */
  MICA_UNARY_RSQRT,       /* x^-1/2 */
  MICA_UNARY_RECIPROCAL,  /* 1 / x */
  MICA_UNARY_SQUARE,      /* x^2 */
  MICA_UNARY_SIN,         /* sin x */
  MICA_UNARY_COS,         /* cos x */
  MICA_UNARY_TANH,        /* tanh x */
  MICA_UNARY_ERF,         /* erf x */
  MICA_UNARY_SIGMOID,     /* 1 / (1 + e^-x) */
  MICA_UNARY_LOG_SIGMOID, /* -ln(1 + e^-x) */
  MICA_UNARY_SOFTPLUS,    /* ln(1 + e^x) */
  MICA_UNARY_RELU,        /* max(x, 0), gradient 0 at 0 */
  MICA_UNARY_LEAKY_RELU,  /* x > 0 ? x : a x */
  MICA_UNARY_ELU,         /* x > 0 ? x : a (e^x - 1) */
  MICA_UNARY_SELU, /* scale (x > 0 ? x : alpha (e^x - 1)), constants of Klambauer et al. 2017 */
  MICA_UNARY_GELU, /* x (1 + erf(x / sqrt 2)) / 2 */
  MICA_UNARY_GELU_TANH,    /* x (1 + tanh(sqrt(2/pi)(x + .044715 x^3))) / 2 */
  MICA_UNARY_SILU,         /* x / (1 + e^-x) */
  MICA_UNARY_MISH,         /* x tanh(ln(1 + e^x)) */
  MICA_UNARY_HARD_SIGMOID, /* clamp(x + 3, 0, 6) / 6 */
  MICA_UNARY_HARD_SWISH,   /* x clamp(x + 3, 0, 6) / 6 */
  MICA_UNARY_SWISH,        /* x / (1 + e^-ax) */
  MICA_UNARY_CELU,         /* x > 0 ? x : a (e^(x/a) - 1) */
  MICA_UNARY_SOFT_SIGN,    /* x / (1 + |x|) */
  MICA_UNARY_SOFT_SHRINK,  /* x > a ? x - a : x < -a ? x + a : 0 */
  MICA_UNARY_HARD_SHRINK,  /* |x| > a ? x : 0 */
  MICA_UNARY_TANH_SHRINK,  /* x - tanh x */
  MICA_UNARY_SQUARED_RELU, /* max(x, 0)^2 */
  MICA_UNARY_SIGN,         /* -1, 0, 1; gradient 0 */
  MICA_UNARY_STEP,         /* x > 0 ? 1 : 0; gradient 0 */
  MICA_UNARY_FLOOR,        /* gradient 0 */
  MICA_UNARY_ROUND,        /* half to even; gradient 0 */
  MICA_UNARY_CLAMP,        /* min(max(x, a), b); gradient 1 in [a, b], 0 outside */
  MICA_UNARY_POW,          /* x^a */
  MICA_UNARY_AFFINE,       /* a x + b */
  MICA_UNARY_COUNT
} mica_unary_op;

/* What unary_grad reads besides gy; the other pointer may be NULL. */
enum { MICA_UNARY_READS_X = 1, MICA_UNARY_READS_Y = 2 };
static inline int mica_unary_grad_reads(mica_unary_op op) {
  switch (op) {
  case MICA_UNARY_IDENTITY:
  case MICA_UNARY_NEG:
  case MICA_UNARY_SIGN:
  case MICA_UNARY_STEP:
  case MICA_UNARY_FLOOR:
  case MICA_UNARY_ROUND:
  case MICA_UNARY_AFFINE: return 0;
  case MICA_UNARY_EXP:
  case MICA_UNARY_EXPM1:
  case MICA_UNARY_SQRT:
  case MICA_UNARY_RSQRT:
  case MICA_UNARY_RECIPROCAL:
  case MICA_UNARY_TANH:
  case MICA_UNARY_HARD_SHRINK:
  case MICA_UNARY_SIGMOID:
  case MICA_UNARY_RELU: return MICA_UNARY_READS_Y;
  default: return MICA_UNARY_READS_X;
  }
}

typedef enum mica_binary_op {
  MICA_BINARY_ADD, /* a + b */
  MICA_BINARY_SUB, /* a - b */
  MICA_BINARY_MUL, /* a b */
  MICA_BINARY_DIV, /* a / b */
  MICA_BINARY_MAX, /* max(a, b), NaN if either is; a tie gives half the gradient to each */
  MICA_BINARY_MIN, /* min(a, b), likewise */
  MICA_BINARY_POW, /* a^b */
  MICA_BINARY_SQUARED_DIFFERENCE, /* (a - b)^2 */
  MICA_BINARY_ABS_DIFFERENCE,     /* |a - b|, gradient 0 at 0 */
  MICA_BINARY_HUBER,              /* d = a - b: |d| < p ? d^2 / 2 : p (|d| - p / 2) */
  MICA_BINARY_BCE_LOGITS,         /* max(a, 0) - a b + ln(1 + e^-|a|): logits a, targets b */
  MICA_BINARY_KL, /* b ln b - b a, with 0 ln 0 = 0: log-probabilities a, probabilities b */
  MICA_BINARY_EQ, /* 1 or 0; no gradient, as the five below */
  MICA_BINARY_NE,
  MICA_BINARY_LT,
  MICA_BINARY_LE,
  MICA_BINARY_GT,
  MICA_BINARY_GE,
  MICA_BINARY_COUNT
} mica_binary_op;

/* Which operand is a vector of n and which a single element. */
typedef enum mica_form { MICA_FORM_VV, MICA_FORM_VS, MICA_FORM_SV } mica_form;

typedef struct mica_elementwise_kernels {
  /* y = f(x) */
  void (*unary)(mica_unary_op op, int64_t n, const void *x, void *y, double a, double b);
  /* gx = gy f'(x), from x or from y as mica_unary_grad_reads says */
  void (*unary_grad)(mica_unary_op op, int64_t n, const void *x, const void *y, const void *gy,
                     void *gx, double a, double b);
  /* y[r,c] = f(x[r,c] + bias[c]); bias may be NULL */
  void (*bias_unary)(mica_unary_op op, int64_t rows, int64_t cols, const void *x, int64_t x_stride,
                     const void *bias, void *y, int64_t y_stride, double a, double b);
  /* y = f(a, b) with parameter p */
  void (*binary)(mica_binary_op op, mica_form form, int64_t n, const void *a, const void *b,
                 void *y, double p);
  /* ga = gy df/da, gb = gy df/db, n elements each whatever the form (the caller sums those of a
   * single operand); either may be NULL. ga is written first: it may be gy or an operand only when
   * gb is NULL. */
  void (*binary_grad)(mica_binary_op op, mica_form form, int64_t n, const void *a, const void *b,
                      const void *gy, void *ga, void *gb, double p);
  void (*fill)(int64_t n, double value, void *y);                         /* y = value */
  void (*scale)(int64_t n, double alpha, const void *x, void *y);         /* y = alpha x */
  void (*axpy)(int64_t n, double alpha, const void *x, void *y);          /* y += alpha x */
  void (*add_into)(int64_t n, const void *x, void *y);                    /* y += x */
  void (*multiply_add)(int64_t n, const void *a, const void *b, void *y); /* y += a b */
  /* y = c != 0 ? a : b */
  void (*where)(int64_t n, const void *c, const void *a, const void *b, void *y);
  /* ga = c != 0 ? gy : 0, gb = c != 0 ? 0 : gy; either may be NULL */
  void (*where_grad)(int64_t n, const void *c, const void *gy, void *ga, void *gb);
} mica_elementwise_kernels;

#endif
