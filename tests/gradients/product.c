/* Cases: products of matrices. */
#include "gradients/gradients.h"

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }
RUN(matmul, mica_matmul(t, in[0], in[1]))
RUN(matmul_ta, mica_matmul_t(t, in[0], true, in[1], false))
RUN(matmul_tb, mica_matmul_t(t, in[0], false, in[1], true))
RUN(matmul_tt, mica_matmul_t(t, in[0], true, in[1], true))
RUN(linear, mica_linear(t, in[0], in[1], in[2], MICA_IDENTITY))
RUN(linear_relu, mica_linear(t, in[0], in[1], in[2], MICA_RELU))
RUN(linear_gelu, mica_linear(t, in[0], in[1], in[2], MICA_GELU))
RUN(linear_plain, mica_linear(t, in[0], in[1], MICA_NONE, MICA_IDENTITY))

#define B 2e-5
#define IN(...)                                                                                    \
  { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
#define TWO(op, run, a, b)                                                                         \
  { op, #run, 2, {a, b}, run, B, false, false }

static const gradient_case cases[] = {
    {"matmul", "", 2, {IN(3, 4), IN(4, 5)}, matmul, B, false, false},
    {"matmul", "batch", 2, {IN(2, 3, 4), IN(2, 4, 2)}, matmul, B, false, false},
    {"matmul", "shared right", 2, {IN(2, 3, 4), IN(4, 2)}, matmul, B, false, false},
    {"matmul", "shared left", 2, {IN(3, 4), IN(2, 4, 2)}, matmul, B, false, false},
    {"matmul", "crossed", 2, {IN(2, 1, 3, 2), IN(1, 3, 2, 2)}, matmul, B, false, false},
    {"matmul", "one", 2, {IN(1, 1), IN(1, 1)}, matmul, B, false, false},
    {"matmul", "empty", 2, {IN(3, 0), IN(0, 2)}, matmul, B, false, false},
    {"matmul_t", "left", 2, {IN(4, 3), IN(4, 5)}, matmul_ta, B, false, false},
    {"matmul_t", "right", 2, {IN(2, 3, 4), IN(2, 5, 4)}, matmul_tb, B, false, false},
    {"matmul_t", "both", 2, {IN(4, 3), IN(5, 4)}, matmul_tt, B, false, false},
    {"matmul_t", "both, shared", 2, {IN(2, 4, 3), IN(5, 4)}, matmul_tt, B, false, false},
    {"linear", "", 3, {IN(3, 4), IN(5, 4), IN(5)}, linear, B, false, false},
    {"linear", "tokens", 3, {IN(2, 3, 4), IN(2, 4), IN(2)}, linear_gelu, B, false, false},
    {"linear", "relu", 3, {IN(3, 4), IN(5, 4), IN(5)}, linear_relu, B, false, false},
    {"linear", "no bias", 2, {IN(7, 3), IN(1, 3)}, linear_plain, B, false, false},
    /* Large enough for a library. */
    {"matmul", "large", 2, {IN(70, 85), IN(85, 93)}, matmul, B, false, false},
    {"matmul", "large batch", 2, {IN(3, 70, 65), IN(3, 65, 33)}, matmul, B, false, false},
    {"matmul_t", "large", 2, {IN(85, 70), IN(93, 85)}, matmul_tt, B, false, false},
    {"matmul_t", "large, shared", 2, {IN(3, 70, 65), IN(50, 65)}, matmul_tb, B, false, false},
    {"linear", "large", 3, {IN(5, 31, 67), IN(73, 67), IN(73)}, linear, B, false, false},
    {"linear", "large, gelu", 3, {IN(90, 67), IN(73, 67), IN(73)}, linear_gelu, B, false, false},
    {"linear", "no rows", 3, {IN(0, 4), IN(5, 4), IN(5)}, linear, B, false, false},
};
FAMILY(product);
