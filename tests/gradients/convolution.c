/* Cases: convolution and its transposed form. */
#include "gradients/gradients.h"

static mica_conv_options options(int stride, int dilation, int pad, int groups) {
  mica_conv_options o = MICA_CONV_OPTIONS;
  for (int i = 0; i < 2; i++) o.stride[i] = stride, o.dilation[i] = dilation;
  for (int i = 0; i < 4; i++) o.pad[i] = pad;
  o.groups = groups;
  return o;
}

#define RUN(name, op, stride, dilation, pad, groups)                                               \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_conv_options o = options(stride, dilation, pad, groups);                            \
    return op(t, in[0], in[1], in[2], &o);                                                         \
  }
RUN(plain, mica_conv2d, 1, 1, 0, 1)
RUN(same, mica_conv2d, 1, 1, 1, 1)
RUN(strided, mica_conv2d, 2, 1, 1, 1)
RUN(dilated, mica_conv2d, 1, 2, 1, 1)
RUN(grouped, mica_conv2d, 1, 1, 1, 2)
RUN(depthwise, mica_conv2d, 2, 1, 1, 3)
RUN(line, mica_conv1d, 2, 1, 1, 1)
RUN(transposed, mica_conv_transpose2d, 2, 1, 1, 1)
RUN(transposed_grouped, mica_conv_transpose2d, 1, 1, 0, 2)
RUN(transposed_line, mica_conv_transpose1d, 2, 1, 0, 1)

static mica_var asymmetric(mica_tape *t, const mica_var *in) {
  mica_conv_options o = options(1, 1, 0, 1);
  o.pad[0] = 2;
  o.pad[3] = 1;
  o.stride[1] = 2;
  return mica_conv2d(t, in[0], in[1], MICA_NONE, &o);
}
static mica_var output_pad(mica_tape *t, const mica_var *in) {
  mica_conv_options o = options(2, 1, 1, 1);
  o.output_pad[0] = 1;
  return mica_conv_transpose2d(t, in[0], in[1], in[2], &o);
}

#define B 2e-5
#define IN(...)                                                                                    \
  { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
static const gradient_case cases[] = {
    {"conv2d", "plain", 3, {IN(2, 4, 5, 3), IN(2, 3, 3, 3), IN(2)}, plain, B, false, false},
    {"conv2d", "pointwise", 3, {IN(2, 3, 2, 3), IN(4, 1, 1, 3), IN(4)}, plain, B, false, false},
    {"conv2d", "same", 3, {IN(1, 4, 4, 2), IN(3, 3, 3, 2), IN(3)}, same, B, false, false},
    {"conv2d", "one channel", 3, {IN(2, 5, 5, 1), IN(4, 3, 3, 1), IN(4)}, same, B, false, false},
    {"conv2d", "strided", 3, {IN(2, 5, 4, 2), IN(2, 3, 3, 2), IN(2)}, strided, B, false, false},
    {"conv2d", "dilated", 3, {IN(1, 5, 6, 2), IN(2, 3, 2, 2), IN(2)}, dilated, B, false, false},
    {"conv2d", "grouped", 3, {IN(2, 3, 3, 4), IN(6, 3, 3, 2), IN(6)}, grouped, B, false, false},
    {"conv2d", "depthwise", 3, {IN(2, 5, 4, 3), IN(3, 3, 3, 1), IN(3)}, depthwise, B, false, false},
    {"conv2d", "asymmetric", 2, {IN(1, 3, 4, 2), IN(2, 2, 3, 2)}, asymmetric, B, false, false},
    {"conv2d", "many images", 3, {IN(19, 2, 2, 1), IN(1, 2, 2, 1), IN(1)}, plain, B, false, false},
    /* Large enough for a library and for several tasks. */
    {"conv2d", "large", 3, {IN(3, 14, 13, 16), IN(24, 3, 3, 16), IN(24)}, same, B, false, false},
    {"conv2d",
     "large, pointwise",
     3,
     {IN(3, 14, 13, 32), IN(24, 1, 1, 32), IN(24)},
     plain,
     B,
     false,
     false},
    {"conv2d",
     "large, strided",
     3,
     {IN(2, 15, 16, 16), IN(32, 3, 3, 16), IN(32)},
     strided,
     B,
     false,
     false},
    {"conv2d",
     "large, dilated",
     3,
     {IN(2, 12, 12, 16), IN(16, 3, 3, 16), IN(16)},
     dilated,
     B,
     false,
     false},
    {"conv2d",
     "large, grouped",
     3,
     {IN(2, 12, 12, 32), IN(32, 3, 3, 16), IN(32)},
     grouped,
     B,
     false,
     false},
    {"conv2d",
     "large, depthwise",
     3,
     {IN(3, 21, 20, 3), IN(3, 5, 5, 1), IN(3)},
     depthwise,
     B,
     false,
     false},
    {"conv_transpose2d",
     "large",
     3,
     {IN(2, 9, 8, 16), IN(16, 3, 3, 24), IN(24)},
     transposed,
     B,
     false,
     false},
    {"conv1d", "", 3, {IN(2, 7, 2), IN(3, 3, 2), IN(3)}, line, B, false, false},
    {"conv_transpose2d",
     "",
     3,
     {IN(2, 3, 2, 3), IN(3, 3, 3, 2), IN(2)},
     transposed,
     B,
     false,
     false},
    {"conv_transpose2d",
     "grouped",
     3,
     {IN(1, 3, 3, 4), IN(4, 2, 2, 3), IN(6)},
     transposed_grouped,
     B,
     false,
     false},
    {"conv_transpose2d",
     "output_pad",
     3,
     {IN(1, 3, 3, 2), IN(2, 3, 3, 2), IN(2)},
     output_pad,
     B,
     false,
     false},
    {"conv_transpose1d",
     "",
     3,
     {IN(2, 4, 2), IN(2, 3, 3), IN(3)},
     transposed_line,
     B,
     false,
     false},
};
FAMILY(convolution);
