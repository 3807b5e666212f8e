/* Cases: shape. Each result is squared, so that a wrong place shows in the gradient too. */
#include "gradients/gradients.h"

#define RUN(name, ...)                                                                             \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    mica_var y = __VA_ARGS__;                                                                      \
    return mica_square(t, y);                                                                      \
  }
RUN(reshape, mica_reshape(t, in[0], MICA_SHAPE(4, -1)))
RUN(flatten, mica_flatten(t, in[0], 1))
RUN(permute, mica_permute(t, in[0], 3, (int[]){2, 0, 1}))
RUN(transpose, mica_transpose(t, in[0], 0, -1))
RUN(expand, mica_expand(t, in[0], MICA_SHAPE(2, 3, 4)))
RUN(slice_first, mica_slice(t, in[0], 0, 1, 3))
RUN(slice_last, mica_slice(t, in[0], -1, 2, 5))
RUN(slice_middle, mica_slice(t, in[0], 1, 1, 2))
RUN(slice_of_slice, mica_slice(t, mica_slice(t, in[0], -1, 1, 5), 0, 1, 2))
RUN(concat, mica_concat(t, 3, (mica_var[]){in[0], in[1], in[0]}, 1))
RUN(concat_last, mica_concat(t, 2, (mica_var[]){in[1], in[0]}, -1))
RUN(stack, mica_stack(t, 2, (mica_var[]){in[0], in[1]}, 1))
RUN(pad, mica_pad(t, in[0], 2, (int64_t[]){1, 0}, (int64_t[]){0, 2}, 3))
RUN(roll, mica_roll(t, in[0], 1, 2))
RUN(roll_back, mica_roll(t, in[0], 0, -1))
RUN(flip, mica_flip(t, in[0], 1))

RUN(reshape_rows, mica_reshape(t, in[0], MICA_SHAPE(-1, 3)))
RUN(permute_wide, mica_permute(t, in[0], 3, (int[]){2, 0, 1}))
RUN(expand_wide, mica_expand(t, in[0], MICA_SHAPE(40, 31, 30)))
RUN(slice_wide, mica_slice(t, in[0], 1, 3, 19))
RUN(slice_wide_last, mica_slice(t, in[0], -1, 100, 12000))
RUN(slice_wide_first, mica_slice(t, in[0], 0, 1, 3))
RUN(pad_wide, mica_pad(t, in[0], 3, (int64_t[]){1, 2, 3}, (int64_t[]){3, 0, 1}, -1))

/* More parts than a call has outputs, of which some are not used. */
static mica_var split_many(mica_tape *t, const mica_var *in) {
  int64_t sizes[21];
  mica_var y[21], z[7];
  for (int i = 0; i < 21; i++) sizes[i] = i % 3;
  mica_split(t, in[0], 1, 21, sizes, y);
  for (int i = 0; i < 7; i++) z[i] = mica_square(t, y[20 - 3 * i]);
  return mica_concat(t, 7, z, 1);
}

/* More than a call keeps inline. */
static mica_var stack_many(mica_tape *t, const mica_var *in) {
  mica_var x[70];
  for (int i = 0; i < 70; i++) x[i] = i % 3 ? in[0] : mica_square(t, in[1]);
  return mica_stack(t, 70, x, -1);
}

static mica_var split(mica_tape *t, const mica_var *in) {
  mica_var y[3];
  mica_split(t, in[0], -1, 3, (int64_t[]){2, 1, 3}, y);
  return mica_concat(t, 2, (mica_var[]){mica_square(t, y[2]), y[0]}, 1);
}

#define B 1e-5
#define ONE(ops, run, ...)                                                                         \
  { ops, #run, 1, {{MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false}}, run, B, false, false }
#define TWO(ops, run)                                                                              \
  {                                                                                                \
    ops, #run, 2, {{MICA_SHAPE(3, 4), -2, 2, 0, false}, {MICA_SHAPE(3, 4), -2, 2, 0, false}}, run, \
        B, false, false                                                                            \
  }

static const gradient_case cases[] = {
    ONE("reshape", reshape, 2, 6),
    ONE("reshape", reshape, 4, 0),
    ONE("flatten", flatten, 2, 3, 2),
    ONE("permute", permute, 2, 3, 4),
    ONE("transpose", transpose, 3, 2, 4),
    ONE("expand", expand, 3, 1),
    ONE("slice", slice_first, 4, 3),
    ONE("slice", slice_last, 3, 6),
    ONE("slice", slice_middle, 2, 3, 2),
    ONE("slice", slice_of_slice, 3, 6),
    TWO("concat", concat),
    TWO("concat", concat_last),
    TWO("stack", stack),
    ONE("pad", pad, 2, 3),
    ONE("roll", roll, 3, 5),
    ONE("roll", roll_back, 4, 2),
    ONE("flip", flip, 2, 3, 2),
    ONE("split", split, 2, 6),
    ONE("split", split_many, 3, 21, 2),
    ONE("split", split_many, 2, 21),
    TWO("stack", stack_many),
    ONE("reshape", reshape_rows, 2, 4, 3),
    ONE("slice", slice_first, 4),
    ONE("pad", pad, 0, 3),
    ONE("flip", flip, 2, 0),
    ONE("roll", roll, 3, 1),
    ONE("permute", permute_wide, 30, 35, 40),
    ONE("expand", expand_wide, 1, 31, 1),
    ONE("slice", slice_wide, 50, 20, 41),
    ONE("slice", slice_wide_last, 3, 12001),
    ONE("slice", slice_wide_first, 4, 90, 101),
    ONE("pad", pad_wide, 40, 20, 45),
    ONE("flip", flip, 3, 12001),
    ONE("roll", roll, 70, 501),
};
FAMILY(shape);
