/* Cases: running sums and linear recurrences. */
#include "gradients/gradients.h"

/* clang-format off */
#define RUN(name, ...)                                                                             \
  static mica_var run_##name(mica_tape *t, const mica_var *in) { return __VA_ARGS__; }
#define B 2e-5
#define IN(...) { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
#define FIX(...) { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, true }
#define DAMPED(...) { MICA_SHAPE(__VA_ARGS__), -0.6, 0.6, 0, false }
#define CASE(op, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##op, B, false, false }
#define WITH(op, run, what, n, ...) { #op, what, n, { __VA_ARGS__ }, run_##run, B, false, false }

RUN(cumsum, mica_cumsum(t, in[0], -1, false, false))
RUN(first_axis, mica_cumsum(t, in[0], 0, false, false))
RUN(exclusive, mica_cumsum(t, in[0], 1, true, false))
RUN(reverse, mica_cumsum(t, in[0], 1, false, true))
RUN(exclusive_reverse, mica_cumsum(t, in[0], 1, true, true))
RUN(cumprod, mica_cumprod(t, in[0], -1, false))
RUN(cumprod_reverse, mica_cumprod(t, in[0], 0, true))
/* Zeros along the way. */
RUN(cumprod_zeros, mica_cumprod(t, mica_mul(t, in[0], mica_sign(t, mica_floor(t, in[0]))), 1, false))
/* clang-format on */

/* All states, with the last ones once more. */
static mica_var scan(mica_tape *t, const mica_var *in, mica_var h0, int axis, bool complex,
                     bool reverse, bool last) {
  mica_recurrence_options o = MICA_RECURRENCE_OPTIONS;
  mica_var end;
  o.axis = axis;
  o.complex = complex;
  o.reverse = reverse;
  mica_var h = mica_linear_recurrence(t, in[0], in[1], h0, &o, last ? &end : NULL);
  if (!last) return h;
  return mica_concat(t, 2, (mica_var[]){mica_flatten(t, h, 0), mica_flatten(t, end, 0)}, 0);
}
static mica_var run_linear_recurrence(mica_tape *t, const mica_var *in) {
  return scan(t, in, MICA_NONE, 1, false, false, false);
}
static mica_var run_started(mica_tape *t, const mica_var *in) {
  return scan(t, in, in[2], 1, false, false, true);
}
static mica_var run_started_reverse(mica_tape *t, const mica_var *in) {
  return scan(t, in, in[2], 1, false, true, true);
}
static mica_var run_first(mica_tape *t, const mica_var *in) {
  return scan(t, in, in[2], 0, false, false, true);
}
static mica_var run_last_axis(mica_tape *t, const mica_var *in) {
  return scan(t, in, in[2], -1, false, false, true);
}
static mica_var run_complex(mica_tape *t, const mica_var *in) {
  return scan(t, in, in[2], 1, true, false, true);
}
static mica_var run_complex_reverse(mica_tape *t, const mica_var *in) {
  return scan(t, in, MICA_NONE, 1, true, true, true);
}
/* The last state alone. */
static mica_var run_last(mica_tape *t, const mica_var *in) {
  mica_var end;
  mica_linear_recurrence(t, in[0], in[1], in[2], NULL, &end);
  return end;
}

/* clang-format off */
static const gradient_case cases[] = {
    CASE(cumsum, "", 1, IN(3, 5)), CASE(cumsum, "vector", 1, IN(7)), CASE(cumsum, "one", 1, IN(1, 1)),
    CASE(cumsum, "none", 1, IN(0, 3)), CASE(cumsum, "of none", 1, IN(3, 0)),
    WITH(cumsum, first_axis, "first axis", 1, IN(4, 2, 3)), WITH(cumsum, exclusive, "exclusive", 1, IN(2, 4, 3)),
    WITH(cumsum, reverse, "reverse", 1, IN(2, 4, 3)),
    WITH(cumsum, exclusive_reverse, "exclusive, reverse", 1, IN(2, 4)),
    WITH(cumsum, exclusive, "large", 1, IN(3, 70, 300)), CASE(cumsum, "long", 1, IN(5, 9000)),
    CASE(cumprod, "", 1, IN(3, 5)), CASE(cumprod, "one", 1, IN(1, 1)), CASE(cumprod, "none", 1, IN(0, 3)),
    CASE(cumprod, "of none", 1, IN(3, 0)),
    WITH(cumprod, cumprod_reverse, "reverse", 1, IN(4, 2)), WITH(cumprod, cumprod_zeros, "zeros", 1, IN(3, 6)),

    CASE(linear_recurrence, "", 2, IN(2, 5, 3), IN(2, 5, 3)),
    CASE(linear_recurrence, "one", 2, IN(1, 1), IN(1, 1)),
    CASE(linear_recurrence, "none", 2, IN(0, 3, 2), IN(0, 3, 2)),
    WITH(linear_recurrence, started, "no steps", 3, IN(2, 0, 3), IN(2, 0, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "no steps, shared", 3, IN(3), IN(2, 0, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "none, shared", 3, IN(3), IN(0, 2, 3), IN(0, 3)),
    WITH(linear_recurrence, started, "none, shared over the batch", 3, IN(2, 3), IN(0, 2, 3), IN(0, 3)),
    WITH(linear_recurrence, started, "initial state", 3, IN(2, 4, 3), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, started_reverse, "reverse", 3, IN(2, 4, 3), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "shared", 3, IN(3), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "shared over time", 3, IN(2, 1, 3), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "shared over the batch", 3, IN(4, 3), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "a factor for each head", 3, IN(2, 4, 2, 1), IN(2, 4, 2, 3), IN(2, 2, 3)),
    WITH(linear_recurrence, started, "one factor", 3, IN(1), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, first, "first axis", 3, IN(5, 3), IN(5, 3), IN(3)),
    WITH(linear_recurrence, first, "first axis, shared", 3, IN(3), IN(5, 3), IN(3)),
    WITH(linear_recurrence, last_axis, "last axis", 3, IN(3, 5), IN(3, 5), IN(3)),
    WITH(linear_recurrence, last_axis, "last axis, shared", 3, IN(3, 1), IN(3, 5), IN(3)),
    WITH(linear_recurrence, complex, "complex", 3, IN(2, 4, 3, 2), IN(2, 4, 3, 2), IN(2, 3, 2)),
    WITH(linear_recurrence, complex, "complex, shared", 3, IN(3, 2), IN(2, 4, 3, 2), IN(2, 3, 2)),
    WITH(linear_recurrence, complex_reverse, "complex, reverse", 2, IN(2, 4, 1, 2), IN(2, 4, 1, 2)),
    WITH(linear_recurrence, last, "last state", 3, IN(2, 4, 3), IN(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, last, "factors alone", 3, IN(2, 4, 3), FIX(2, 4, 3), FIX(2, 3)),
    WITH(linear_recurrence, last, "initial state alone", 3, FIX(2, 4, 3), FIX(2, 4, 3), IN(2, 3)),
    WITH(linear_recurrence, started, "large", 3, IN(3, 90, 130), IN(3, 90, 130), IN(3, 130)),
    WITH(linear_recurrence, started, "large, shared", 3, IN(130), IN(3, 300, 130), IN(3, 130)),
    WITH(linear_recurrence, complex, "large, complex", 3, DAMPED(1, 33, 2), IN(2, 400, 33, 2), IN(2, 33, 2)),
};
/* clang-format on */
FAMILY(scan);
