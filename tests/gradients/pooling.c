/* Cases: pooling and resizing. */
#include "gradients/gradients.h"

static mica_pool_options options(int kernel, int stride, int dilation, int pad, bool up,
                                 bool count) {
  return (mica_pool_options){sizeof(mica_pool_options),
                             {kernel, kernel},
                             {stride, stride},
                             {dilation, dilation},
                             {pad, pad, pad, pad},
                             up,
                             count};
}
#define RUN(name, op, ...)                                                                         \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_pool_options o = options(__VA_ARGS__);                                              \
    return op(t, in[0], &o);                                                                       \
  }
RUN(max2, mica_max_pool2d, 2, 2, 1, 0, false, false)
RUN(max3, mica_max_pool2d, 3, 2, 1, 1, true, false)
RUN(max_dilated, mica_max_pool2d, 2, 1, 2, 0, false, false)
RUN(avg2, mica_avg_pool2d, 2, 2, 1, 0, false, false)
RUN(avg3, mica_avg_pool2d, 3, 2, 1, 1, true, false)
RUN(avg_count, mica_avg_pool2d, 3, 1, 1, 1, false, true)

#define CALL(name, ...)                                                                            \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }
CALL(adaptive_avg, mica_adaptive_avg_pool2d(t, in[0], 2, 3))
CALL(adaptive_max, mica_adaptive_max_pool2d(t, in[0], 2, 3))
CALL(global, mica_global_avg_pool(t, in[0]))
CALL(gem, mica_gem_pool(t, in[0], in[1], 1e-6))
CALL(nearest, mica_resize(t, in[0], 5, 3, MICA_NEAREST, false))
CALL(bilinear, mica_resize(t, in[0], 5, 7, MICA_BILINEAR, false))
CALL(corners, mica_resize(t, in[0], 2, 6, MICA_BILINEAR, true))

CALL(bicubic, mica_resize(t, in[0], 7, 3, MICA_BICUBIC, false))
CALL(bicubic_corners, mica_resize(t, in[0], 2, 9, MICA_BICUBIC, true))
CALL(area, mica_resize(t, in[0], 2, 7, MICA_AREA, false))
CALL(smooth, mica_resize(t, in[0], 2, 3, MICA_SMOOTH_BILINEAR, false))
CALL(smooth_bicubic, mica_resize(t, in[0], 2, 7, MICA_SMOOTH_BICUBIC, false))

#define LINE(name, op, ...)                                                                        \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_pool_options o = options(__VA_ARGS__);                                              \
    return op(t, in[0], &o);                                                                       \
  }
LINE(max_line, mica_max_pool1d, 3, 2, 1, 1, true, false)
LINE(avg_line, mica_avg_pool1d, 3, 2, 1, 1, false, true)
LINE(max_one, mica_max_pool1d, 1, 1, 1, 0, false, false)
LINE(avg_one, mica_avg_pool1d, 1, 1, 1, 0, false, false)

#define VOLUME(name, op, ...)                                                                      \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_pool3d_options o = {sizeof o, __VA_ARGS__};                                         \
    return op(t, in[0], &o);                                                                       \
  }
VOLUME(max_volume, mica_max_pool3d, {2, 3, 2}, {2, 1, 2}, {1, 1, 1}, {0, 0, 1, 1, 0, 0}, true,
       false)
VOLUME(max_volume_dilated, mica_max_pool3d, {2, 2, 2}, {1, 1, 1}, {2, 1, 2}, {1, 0, 0, 1, 0, 0},
       false, false)
VOLUME(avg_volume, mica_avg_pool3d, {3, 2, 2}, {2, 2, 1}, {1, 1, 1}, {1, 1, 0, 0, 1, 0}, true,
       false)
VOLUME(avg_volume_count, mica_avg_pool3d, {2, 3, 3}, {1, 2, 2}, {1, 1, 1}, {1, 0, 1, 1, 1, 1},
       false, true)
VOLUME(max_volume_one, mica_max_pool3d, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0}, false, false)
VOLUME(avg_volume_one, mica_avg_pool3d, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0}, false, false)
CALL(adaptive_avg_line, mica_adaptive_avg_pool1d(t, in[0], 3))
CALL(adaptive_max_line, mica_adaptive_max_pool1d(t, in[0], 3))
CALL(adaptive_avg_volume, mica_adaptive_avg_pool3d(t, in[0], 2, 3, 1))
CALL(adaptive_max_volume, mica_adaptive_max_pool3d(t, in[0], 2, 3, 1))

#define B 1e-5
#define ONE(op, run, ...)                                                                          \
  { op, #run, 1, {{MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false}}, run, B, false, false }
static const gradient_case cases[] = {
    ONE("max_pool2d", max2, 2, 4, 4, 3),
    ONE("max_pool2d", max3, 1, 5, 6, 2),
    ONE("max_pool2d", max_dilated, 1, 5, 4, 1),
    ONE("avg_pool2d", avg2, 2, 4, 5, 3),
    ONE("avg_pool2d", avg3, 1, 6, 5, 2),
    ONE("avg_pool2d", avg_count, 1, 3, 3, 2),
    ONE("adaptive_avg_pool2d", adaptive_avg, 2, 5, 4, 2),
    ONE("adaptive_max_pool2d", adaptive_max, 2, 5, 4, 2),
    ONE("global_avg_pool", global, 2, 3, 2, 4),
    {"gem_pool",
     "",
     2,
     {{MICA_SHAPE(2, 2, 3, 2), 0.2, 2, 0, false}, {MICA_SHAPE(1), 2.5, 3.5, 0, false}},
     gem,
     3e-5,
     false,
     false},
    ONE("max_pool1d", max_line, 2, 6, 3),
    ONE("max_pool1d", max_one, 1, 1, 1),
    ONE("max_pool1d", max_line, 0, 3, 1),
    ONE("avg_pool1d", avg_line, 2, 6, 3),
    ONE("avg_pool1d", avg_one, 1, 1, 1),
    ONE("avg_pool1d", avg_line, 0, 3, 1),
    ONE("adaptive_avg_pool1d", adaptive_avg_line, 2, 7, 2),
    ONE("adaptive_avg_pool1d", adaptive_avg_line, 1, 1, 1),
    ONE("adaptive_avg_pool1d", adaptive_avg_line, 0, 2, 1),
    ONE("adaptive_max_pool1d", adaptive_max_line, 2, 7, 2),
    ONE("adaptive_max_pool1d", adaptive_max_line, 1, 1, 1),
    ONE("adaptive_max_pool1d", adaptive_max_line, 0, 2, 1),
    ONE("max_pool3d", max_volume, 2, 3, 4, 5, 2),
    ONE("max_pool3d", max_volume_dilated, 1, 4, 3, 4, 1),
    ONE("max_pool3d", max_volume_one, 1, 1, 1, 1, 1),
    ONE("max_pool3d", max_volume, 0, 2, 2, 2, 1),
    ONE("avg_pool3d", avg_volume, 2, 3, 4, 3, 2),
    ONE("avg_pool3d", avg_volume_count, 1, 3, 4, 3, 1),
    ONE("avg_pool3d", avg_volume_one, 1, 1, 1, 1, 1),
    ONE("avg_pool3d", avg_volume, 0, 2, 2, 2, 1),
    ONE("adaptive_avg_pool3d", adaptive_avg_volume, 2, 3, 4, 2, 2),
    ONE("adaptive_avg_pool3d", adaptive_avg_volume, 1, 1, 1, 1, 1),
    ONE("adaptive_avg_pool3d", adaptive_avg_volume, 0, 2, 2, 2, 1),
    ONE("adaptive_max_pool3d", adaptive_max_volume, 2, 3, 4, 2, 2),
    ONE("adaptive_max_pool3d", adaptive_max_volume, 1, 1, 1, 1, 1),
    ONE("adaptive_max_pool3d", adaptive_max_volume, 0, 2, 2, 2, 1),
    ONE("resize", nearest, 2, 3, 4, 2),
    ONE("resize", bilinear, 1, 3, 4, 2),
    ONE("resize", corners, 1, 3, 4, 2),
    ONE("resize", bicubic, 2, 5, 6, 3),
    ONE("resize", bicubic, 1, 1, 2, 2),
    ONE("resize", bicubic_corners, 1, 3, 4, 1),
    ONE("resize", area, 2, 5, 4, 2),
    ONE("resize", smooth, 1, 7, 8, 2),
    ONE("resize", smooth, 0, 3, 4, 2),
    ONE("resize", smooth_bicubic, 1, 9, 4, 2),
    ONE("resize", smooth_bicubic, 1, 1, 1, 1),
};
FAMILY(pooling);
