/* Cases: straight-through operations. Their gradient is not that of their value, so differences
 * have nothing to say; test_straight_through.c compares it with the soft form's. */
#include "gradients/gradients.h"

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }
RUN(both, mica_straight_through(t, mica_sign(t, in[0]), in[1]))
RUN(rounded, mica_straight_through_round(t, in[0]))
RUN(step, mica_straight_through_step(t, in[0], MICA_STEP_SIGMOID))
RUN(best, mica_straight_through_argmax(t, in[0], 0.5))

#define B 1e-6
#define CASE(op, name, run, ...)                                                                   \
  { op, name, 1, {{MICA_SHAPE(__VA_ARGS__), -3, 3, 0.01, false}}, run, B, true, false }
static const gradient_case cases[] = {
    {"straight_through",
     "",
     2,
     {{MICA_SHAPE(3, 4), -2, 2, 0.01, false}, {MICA_SHAPE(3, 4), -2, 2, 0, false}},
     both,
     B,
     true,
     false},
    CASE("straight_through_round", "", rounded, 3, 5),
    CASE("straight_through_step", "", step, 7),
    CASE("straight_through_step", "empty", step, 0),
    CASE("straight_through_argmax", "", best, 3, 5),
    CASE("straight_through_argmax", "one class", best, 2, 2, 1),
};
FAMILY(straight_through);
