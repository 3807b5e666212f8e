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

static mica_conv3d_options volume(int stride, int dilation, int pad, int groups) {
  mica_conv3d_options o = MICA_CONV3D_OPTIONS;
  for (int i = 0; i < 3; i++) o.stride[i] = stride, o.dilation[i] = dilation;
  for (int i = 0; i < 6; i++) o.pad[i] = pad;
  o.groups = groups;
  return o;
}
#define VOLUME(name, op, stride, dilation, pad, groups)                                            \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_conv3d_options o = volume(stride, dilation, pad, groups);                           \
    return op(t, in[0], in[1], in[2], &o);                                                         \
  }
VOLUME(volume_plain, mica_conv3d, 1, 1, 0, 1)
VOLUME(volume_same, mica_conv3d, 1, 1, 1, 1)
VOLUME(volume_strided, mica_conv3d, 2, 1, 1, 1)
VOLUME(volume_dilated, mica_conv3d, 1, 2, 2, 1)
VOLUME(volume_grouped, mica_conv3d, 1, 1, 1, 2)
VOLUME(volume_depthwise, mica_conv3d, 1, 1, 1, 4)
VOLUME(volume_transposed, mica_conv_transpose3d, 2, 1, 1, 1)
VOLUME(volume_plain_back, mica_conv_transpose3d, 1, 1, 0, 1)
VOLUME(volume_transposed_grouped, mica_conv_transpose3d, 1, 1, 0, 2)

static mica_conv3d_options uneven(void) {
  return (mica_conv3d_options){sizeof(mica_conv3d_options), {2, 1, 3}, {1, 2, 1},
                               {1, 0, 2, 1, 0, 3},          1,         {1, 0, 2}};
}
static mica_var volume_uneven(mica_tape *t, const mica_var *in) {
  const mica_conv3d_options o = uneven();
  return mica_conv3d(t, in[0], in[1], MICA_NONE, &o);
}
static mica_var volume_transposed_uneven(mica_tape *t, const mica_var *in) {
  const mica_conv3d_options o = uneven();
  return mica_conv_transpose3d(t, in[0], in[1], MICA_NONE, &o);
}

#define B 2e-5
#define IN(...)                                                                                    \
  { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
#define DEEP(op, name, run, x, w, bias)                                                            \
  { op, name, 3, {IN x, IN w, IN(bias)}, run, B, false, false }
#define DEEP_PLAIN(op, name, run, x, w)                                                            \
  { op, name, 2, {IN x, IN w}, run, B, false, false }
static const gradient_case cases[] = {
    DEEP("conv3d", "plain", volume_plain, (2, 3, 4, 3, 2), (3, 2, 3, 2, 2), 3),
    DEEP("conv3d", "same", volume_same, (1, 3, 2, 4, 2), (2, 3, 3, 3, 2), 2),
    DEEP("conv3d", "strided", volume_strided, (1, 4, 3, 5, 2), (2, 3, 3, 3, 2), 2),
    DEEP("conv3d", "dilated", volume_dilated, (1, 3, 4, 3, 1), (2, 2, 3, 2, 1), 2),
    DEEP("conv3d", "grouped", volume_grouped, (2, 2, 3, 2, 4), (6, 3, 2, 3, 2), 6),
    DEEP("conv3d", "depthwise", volume_depthwise, (2, 3, 3, 9, 4), (4, 3, 3, 3, 1), 4),
    DEEP_PLAIN("conv3d", "uneven", volume_uneven, (1, 3, 4, 3, 2), (3, 2, 2, 3, 2)),
    DEEP("conv3d", "pointwise", volume_plain, (2, 2, 3, 2, 3), (4, 1, 1, 1, 3), 4),
    DEEP("conv3d", "large", volume_same, (2, 8, 9, 10, 16), (16, 3, 3, 3, 16), 16),
    DEEP("conv3d", "large, strided", volume_strided, (2, 9, 8, 7, 8), (16, 3, 3, 3, 8), 16),
    DEEP("conv3d", "one", volume_plain, (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), 1),
    DEEP("conv3d", "none", volume_plain, (0, 3, 2, 2, 2), (4, 2, 2, 2, 2), 4),
    DEEP("conv_transpose3d", "", volume_transposed, (1, 2, 3, 2, 2), (2, 3, 3, 3, 3), 3),
    DEEP("conv_transpose3d", "grouped", volume_transposed_grouped, (2, 2, 2, 3, 4), (4, 2, 1, 2, 3),
         6),
    DEEP_PLAIN("conv_transpose3d", "uneven", volume_transposed_uneven, (1, 3, 2, 2, 2),
               (2, 3, 4, 5, 3)),
    DEEP("conv_transpose3d", "large", volume_transposed, (1, 6, 5, 7, 16), (16, 3, 3, 3, 8), 8),
    DEEP("conv_transpose3d", "one", volume_transposed_grouped, (1, 1, 1, 1, 2), (2, 1, 1, 1, 1), 2),
    DEEP("conv_transpose3d", "one", volume_plain_back, (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), 1),
    DEEP("conv_transpose3d", "none", volume_transposed_grouped, (0, 2, 2, 3, 4), (4, 2, 1, 2, 3),
         6),
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
