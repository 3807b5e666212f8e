/* Cases: one input, element by element. */
#include "gradients/gradients.h"

#define RUN(op)                                                                                    \
  static mica_var run_##op(mica_tape *t, const mica_var *in) {                                     \
    return mica_##op(t, in[0]);                                                                    \
  }
#define RUN_WITH(op, ...)                                                                          \
  static mica_var run_##op(mica_tape *t, const mica_var *in) {                                     \
    return mica_##op(t, in[0], __VA_ARGS__);                                                       \
  }

/* clang-format off */
RUN(neg) RUN(abs) RUN(exp) RUN(expm1) RUN(log) RUN(log1p) RUN(sqrt) RUN(rsqrt) RUN(reciprocal)
RUN(square) RUN(sin) RUN(cos) RUN(tanh) RUN(erf) RUN(sigmoid) RUN(log_sigmoid) RUN(softplus)
RUN(relu) RUN(selu) RUN(gelu) RUN(gelu_tanh) RUN(silu) RUN(mish) RUN(hard_sigmoid)
RUN(hard_swish) RUN(sign) RUN(floor) RUN(round) RUN_WITH(leaky_relu, 0.1) RUN_WITH(elu, 0.7)
RUN(step) RUN(soft_sign) RUN(tanh_shrink) RUN(squared_relu)
RUN_WITH(swish, 1.702) RUN_WITH(celu, 0.7) RUN_WITH(soft_shrink, 0.5) RUN_WITH(hard_shrink, 0.5)
RUN_WITH(glu, MICA_SILU) RUN_WITH(clamp, -0.8, 0.9) RUN_WITH(pow_scalar, 2.5) RUN_WITH(affine, -1.5, 0.25)
    /* clang-format on */

    /* There and back: float64 would only pass it on. */
    static mica_var run_cast(mica_tape *t, const mica_var *in) {
  mica_var y = mica_cast(t, in[0], MICA_F64);
  return mica_cast(t, mica_square(t, y), mica_dtype_of(t, in[0]));
}

static mica_var run_prelu(mica_tape *t, const mica_var *in) {
  return mica_prelu(t, in[0], in[1]);
}

/* Every activation in one result. */
static mica_var run_activate(mica_tape *t, const mica_var *in) {
  mica_var sum = MICA_NONE;
  for (int k = MICA_IDENTITY; k <= MICA_SQUARED_RELU; k++) {
    mica_var y = mica_affine(t, mica_activate(t, (mica_activation)k, in[0]), 0.1 * (k + 1), 0);
    sum = k ? mica_add(t, sum, y) : y;
  }
  return sum;
}

#define B 1e-5
#define ANY(op)                                                                                    \
  { #op, "", 1, {{MICA_SHAPE(3, 7), -2, 2, 0, false } }, run_##op, B, false, false }
#define KINK(op)                                                                                   \
  { #op, "", 1, {{MICA_SHAPE(5, 3), -4, 4, 0.01, false } }, run_##op, B, false, false }
#define OVER(op)                                                                                   \
  { #op, "", 1, {{MICA_SHAPE(2, 1, 9), 0.1, 4, 0, false } }, run_##op, B, false, false }
#define FLAT(op)                                                                                   \
  { #op, "", 1, {{MICA_SHAPE(4, 5), -3, 3, 0.01, false } }, run_##op, B, true, false }

static const gradient_case cases[] = {
    ANY(neg),
    KINK(abs),
    ANY(exp),
    ANY(expm1),
    OVER(log),
    OVER(log1p),
    OVER(sqrt),
    OVER(rsqrt),
    OVER(reciprocal),
    ANY(square),
    ANY(sin),
    ANY(cos),
    ANY(tanh),
    ANY(erf),
    ANY(sigmoid),
    ANY(log_sigmoid),
    ANY(softplus),
    KINK(relu),
    KINK(selu),
    ANY(gelu),
    ANY(gelu_tanh),
    ANY(silu),
    ANY(mish),
    {"hard_sigmoid",
     "",
     1,
     {{MICA_SHAPE(6), -2.9, 2.9, 0, false}},
     run_hard_sigmoid,
     B,
     false,
     false},
    {"hard_swish", "", 1, {{MICA_SHAPE(6), -2.9, 2.9, 0, false}}, run_hard_swish, B, false, false},
    FLAT(sign),
    FLAT(step),
    ANY(soft_sign),
    ANY(tanh_shrink),
    KINK(squared_relu),
    ANY(swish),
    KINK(celu),
    {"soft_shrink",
     "outside",
     1,
     {{MICA_SHAPE(6), -3, 3, 0.6, false}},
     run_soft_shrink,
     B,
     false,
     false},
    {"soft_shrink",
     "inside",
     1,
     {{MICA_SHAPE(6), -0.4, 0.4, 0, false}},
     run_soft_shrink,
     B,
     false,
     false},
    {"hard_shrink",
     "outside",
     1,
     {{MICA_SHAPE(6), -3, 3, 0.6, false}},
     run_hard_shrink,
     B,
     false,
     false},
    {"hard_shrink",
     "inside",
     1,
     {{MICA_SHAPE(6), -0.4, 0.4, 0, false}},
     run_hard_shrink,
     B,
     false,
     false},
    {"prelu",
     "channels",
     2,
     {{MICA_SHAPE(4, 5), -3, 3, 0.01, false}, {MICA_SHAPE(5), 0.1, 0.4, 0, false}},
     run_prelu,
     B,
     false,
     false},
    {"prelu",
     "one slope",
     2,
     {{MICA_SHAPE(2, 3, 5), -3, 3, 0.01, false}, {MICA_SHAPE(1), 0.1, 0.4, 0, false}},
     run_prelu,
     B,
     false,
     false},
    {"glu", "", 1, {{MICA_SHAPE(3, 8), -2, 2, 0, false}}, run_glu, B, false, false},
    {"glu", "empty", 1, {{MICA_SHAPE(0, 4), -2, 2, 0, false}}, run_glu, B, false, false},
    FLAT(floor),
    FLAT(round),
    KINK(leaky_relu),
    KINK(elu),
    {"clamp", "inside", 1, {{MICA_SHAPE(6), -0.7, 0.8, 0, false}}, run_clamp, B, false, false},
    {"clamp", "outside", 1, {{MICA_SHAPE(6), 1, 2, 0, false}}, run_clamp, B, false, false},
    OVER(pow_scalar),
    ANY(affine),
    ANY(cast),
    {"activate",
     "small",
     1,
     {{MICA_SHAPE(7), -0.9, 0.9, 0.01, false}},
     run_activate,
     B,
     false,
     false},
    {"activate", "", 1, {{MICA_SHAPE(7), -2.5, 2.5, 1.1, false}}, run_activate, B, false, false},
    {"gelu", "one element", 1, {{MICA_SCALAR, -2, 2, 0, false}}, run_gelu, B, false, false},
    {"gelu", "empty", 1, {{MICA_SHAPE(0, 3), -2, 2, 0, false}}, run_gelu, B, false, false},
    {"gelu", "chunks", 1, {{MICA_SHAPE(3, 12001), -4, 4, 0, false}}, run_gelu, B, false, false},
    {"cast", "chunks", 1, {{MICA_SHAPE(5, 7001), -2, 2, 0, false}}, run_cast, B, false, false},
    {"tanh", "long", 1, {{MICA_SHAPE(1, 67), -5, 5, 0, false}}, run_tanh, B, false, false},
};
FAMILY(elementwise);
