/* Cases: random operations; the same key gives the same numbers in every run. */
#include "gradients/gradients.h"

static mica_var dropout(mica_tape *t, const mica_var *in) {
  return mica_dropout(t, mica_square(t, in[0]), 0.4);
}
static mica_var drop_path(mica_tape *t, const mica_var *in) {
  return mica_drop_path(t, mica_square(t, in[0]), 0.5);
}
static mica_var normal(mica_tape *t, const mica_var *in) {
  return mica_mul(t, in[0],
                  mica_random_normal_like(t, MICA_SHAPE(4, 3), mica_dtype_of(t, in[0]), 1, 2));
}
static mica_var uniform(mica_tape *t, const mica_var *in) {
  return mica_mul(t, in[0],
                  mica_random_uniform_like(t, MICA_SHAPE(4, 3), mica_dtype_of(t, in[0]), -1, 2));
}

#define CASE(op, run)                                                                              \
  { op, "", 1, {{MICA_SHAPE(4, 3), -2, 2, 0, false}}, run, 1e-5, false, true }
static const gradient_case cases[] = {
    CASE("dropout", dropout),
    CASE("drop_path", drop_path),
    CASE("random_normal_like", normal),
    CASE("random_uniform_like", uniform),
    {"dropout", "chunks", 1, {{MICA_SHAPE(3, 12001), -2, 2, 0, false}}, dropout, 1e-5, false, true},
    {"drop_path",
     "chunks",
     1,
     {{MICA_SHAPE(701, 53), -2, 2, 0, false}},
     drop_path,
     1e-5,
     false,
     true},
    {"dropout",
     "evaluation",
     1,
     {{MICA_SHAPE(4, 3), -2, 2, 0, false}},
     dropout,
     1e-5,
     false,
     false},
};
FAMILY(random);
