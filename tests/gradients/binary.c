/* Cases: two inputs with broadcasting. */
#include "gradients/gradients.h"

#define RUN(op)                                                                                    \
  static mica_var run_##op(mica_tape *t, const mica_var *in) {                                     \
    return mica_##op(t, in[0], in[1]);                                                             \
  }
/* clang-format off */
RUN(add) RUN(sub) RUN(mul) RUN(div) RUN(pow) RUN(maximum) RUN(minimum) RUN(equal) RUN(less)
    /* clang-format on */

    static mica_var run_where(mica_tape *t, const mica_var *in) {
  return mica_where(t, mica_less(t, in[0], mica_full(t, mica_dtype_of(t, in[0]), MICA_SCALAR, 0)),
                    in[1], in[2]);
}
static mica_var run_masked_fill(mica_tape *t, const mica_var *in) {
  return mica_masked_fill(t, in[0], gradient_ids(t, MICA_SHAPE(4), 0, 1, 3), -2.5);
}
static mica_var run_same(mica_tape *t, const mica_var *in) {
  return mica_mul(t, in[0], in[0]);
}

#define B 1e-5
#define PAIR(op, name, a, b)                                                                       \
  { #op, name, 2, {{a, 0.5, 2, 0, false }, {b, 2.5, 4, 0, false } }, run_##op, B, false, false }
#define FLAT(op)                                                                                   \
  {                                                                                                \
#op, "", 2,                                                                                    \
        {{MICA_SHAPE(3, 4), -1, 1, 0, false }, {MICA_SHAPE(4), -1, 1, 0, false } }, run_##op, B,   \
          true, false                                                                              \
  }

static const gradient_case cases[] = {
    PAIR(add, "same", MICA_SHAPE(3, 5), MICA_SHAPE(3, 5)),
    PAIR(add, "bias", MICA_SHAPE(2, 3, 5), MICA_SHAPE(5)),
    PAIR(add, "bias first", MICA_SHAPE(5), MICA_SHAPE(4, 5)),
    PAIR(sub, "column", MICA_SHAPE(4, 3), MICA_SHAPE(4, 1)),
    PAIR(sub, "both", MICA_SHAPE(4, 1), MICA_SHAPE(1, 3)),
    PAIR(sub, "scalar", MICA_SCALAR, MICA_SHAPE(3, 2)),
    PAIR(mul, "same", MICA_SHAPE(7), MICA_SHAPE(7)),
    PAIR(mul, "middle", MICA_SHAPE(2, 1, 3), MICA_SHAPE(2, 4, 3)),
    PAIR(mul, "ones", MICA_SHAPE(1, 1), MICA_SHAPE(1)),
    PAIR(mul, "planes", MICA_SHAPE(2, 3, 4), MICA_SHAPE(3, 4)),
    PAIR(div, "rows", MICA_SHAPE(3, 4), MICA_SHAPE(1, 4)),
    PAIR(div, "scalar", MICA_SHAPE(3, 4), MICA_SCALAR),
    PAIR(pow, "", MICA_SHAPE(3, 4), MICA_SHAPE(4)),
    PAIR(maximum, "", MICA_SHAPE(3, 4), MICA_SHAPE(3, 1)),
    PAIR(minimum, "", MICA_SHAPE(3, 4), MICA_SHAPE(3, 4)),
    PAIR(mul, "empty", MICA_SHAPE(0, 4), MICA_SHAPE(4)),
    {"masked_fill",
     "",
     1,
     {{MICA_SHAPE(2, 3, 4), -1, 1, 0, false}},
     run_masked_fill,
     B,
     false,
     false},
    {"masked_fill",
     "empty",
     1,
     {{MICA_SHAPE(0, 4), -1, 1, 0, false}},
     run_masked_fill,
     B,
     false,
     false},
    /* More than a chunk of work, for each way in which an operand meets the result. */
    PAIR(mul, "chunks", MICA_SHAPE(3, 12001), MICA_SHAPE(3, 12001)),
    PAIR(sub, "chunks", MICA_SHAPE(3, 12001), MICA_SHAPE(3, 12001)),
    PAIR(mul, "chunks by a scalar", MICA_SHAPE(3, 12001), MICA_SHAPE(1)),
    PAIR(div, "chunks of a scalar", MICA_SCALAR, MICA_SHAPE(3, 12001)),
    PAIR(mul, "chunks, short repeats", MICA_SHAPE(7001, 5), MICA_SHAPE(5)),
    PAIR(mul, "chunks, long repeats", MICA_SHAPE(701, 50), MICA_SHAPE(50)),
    PAIR(div, "chunks, repeats first", MICA_SHAPE(50), MICA_SHAPE(701, 50)),
    PAIR(mul, "chunks, short holds", MICA_SHAPE(7001, 5), MICA_SHAPE(7001, 1)),
    PAIR(mul, "chunks, long holds", MICA_SHAPE(70, 501), MICA_SHAPE(70, 1)),
    PAIR(div, "chunks, holds first", MICA_SHAPE(7, 5, 1), MICA_SHAPE(7, 5, 1001)),
    PAIR(div, "chunks, holds over two", MICA_SHAPE(70, 501, 2), MICA_SHAPE(70, 1, 1)),
    PAIR(mul, "chunks, middle", MICA_SHAPE(40, 1, 31), MICA_SHAPE(40, 30, 31)),
    PAIR(mul, "chunks, outer product", MICA_SHAPE(201, 1), MICA_SHAPE(1, 203)),
    PAIR(mul, "chunks, apart", MICA_SHAPE(1, 70, 1), MICA_SHAPE(30, 70, 20)),
    PAIR(add, "chunks, all", MICA_SHAPE(40001), MICA_SHAPE(1)),
    PAIR(sub, "chunks, column", MICA_SHAPE(4, 1), MICA_SHAPE(4, 10001)),
    FLAT(equal),
    FLAT(less),
    {"where",
     "",
     3,
     {{MICA_SHAPE(3, 1), -1, 1, 0.01, true},
      {MICA_SHAPE(3, 4), -1, 1, 0, false},
      {MICA_SHAPE(4), -1, 1, 0, false}},
     run_where,
     B,
     false,
     false},
    {"where",
     "chunks",
     3,
     {{MICA_SHAPE(3, 1), -1, 1, 0.01, true},
      {MICA_SHAPE(3, 12001), -1, 1, 0, false},
      {MICA_SCALAR, -1, 1, 0, false}},
     run_where,
     B,
     false,
     false},
    {"mul", "with itself", 1, {{MICA_SHAPE(3, 2), -2, 2, 0, false}}, run_same, B, false, false},
};
FAMILY(binary);
