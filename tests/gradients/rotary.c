/* Cases: rotary positions. */
#include "gradients/gradients.h"

#define RUN(name, positions, ...)                                                                  \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_rotary_options o = {sizeof(mica_rotary_options), __VA_ARGS__};                      \
    return mica_square(t, mica_rotary(t, in[0], positions, &o));                                   \
  }
RUN(halves, MICA_NONE, MICA_ROTARY_HALVES, 100, 0, 0, 0, 1, 2048, 32, 1, 0)
RUN(pairs, MICA_NONE, MICA_ROTARY_PAIRS, 10, 0, 7, 0, 1, 2048, 32, 1, 0)
RUN(part, MICA_NONE, MICA_ROTARY_HALVES, 50, 4, 0, 0, 1, 2048, 32, 1, 0)
RUN(part_pairs, MICA_NONE, MICA_ROTARY_PAIRS, 50, 2, 0, 0, 1, 2048, 32, 1, 1.5)
RUN(linear, MICA_NONE, MICA_ROTARY_HALVES, 20, 0, -3, MICA_ROTARY_LINEAR, 4, 2048, 32, 1, 0)
RUN(yarn, MICA_NONE, MICA_ROTARY_HALVES, 100, 0, 9, MICA_ROTARY_YARN, 4, 40, 32, 1, 0)
RUN(by_token, gradient_ids(t, MICA_SHAPE(3), 2, 5, 11), MICA_ROTARY_PAIRS, 100, 0, 0, 0, 1, 2048,
    32, 1, 0)
RUN(by_example, gradient_ids(t, MICA_SHAPE(2, 3), 2, 5, 11), MICA_ROTARY_HALVES, 100, 0, 0, 0, 1,
    2048, 32, 1, 0)
RUN(strided, MICA_NONE, MICA_ROTARY_HALVES, 10000, 0, 5, 0, 1, 2048, 32, 1, 0)

#define B 1e-5
#define CASE(run, ...)                                                                             \
  { "rotary", #run, 1, {{MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false}}, run, B, false, false }

static const gradient_case cases[] = {
    CASE(halves, 2, 3, 2, 4),     CASE(halves, 1, 1, 1, 2),     CASE(halves, 0, 3, 2, 4),
    CASE(halves, 2, 0, 2, 4),     CASE(pairs, 2, 3, 2, 6),      CASE(part, 1, 5, 3, 7),
    CASE(part_pairs, 2, 2, 1, 3), CASE(linear, 1, 4, 2, 4),     CASE(yarn, 1, 4, 1, 16),
    CASE(by_token, 2, 3, 1, 4),   CASE(by_example, 2, 3, 2, 4), CASE(strided, 2, 70, 3, 34),
};
FAMILY(rotary);
