/* Cases: sizes, edges, windows and phases of lines, images and volumes. */
#include "gradients/gradients.h"

#define CALL(name, ...)                                                                            \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return __VA_ARGS__;                                                                            \
  }
#define SIZES(...) ((const int64_t[]){__VA_ARGS__})

/* ---- sizes ---- */

#define RESIZE(name, kind, corners, ...)                                                           \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_resize_options o = {sizeof o, kind, corners, {0, 0, 0}};                            \
    return mica_resize_axes(t, in[0], SIZES(__VA_ARGS__), &o);                                     \
  }
RESIZE(line_linear, MICA_BILINEAR, false, 7)
RESIZE(line_corners, MICA_BILINEAR, true, 1)
RESIZE(volume_linear, MICA_BILINEAR, false, 3, 2, 5)
RESIZE(volume_corners, MICA_BILINEAR, true, 2, 5, 3)
RESIZE(volume_nearest, MICA_NEAREST, false, 4, 5, 2)
RESIZE(volume_area, MICA_AREA, false, 3, 1, 4)
RESIZE(centre, MICA_NEAREST_CENTRE, false, 5, 2)
RESIZE(soft, MICA_BICUBIC_SOFT, false, 3, 8)
RESIZE(sharp, MICA_SMOOTH_BICUBIC_SHARP, false, 3, 7)
RESIZE(lanczos, MICA_SMOOTH_LANCZOS, false, 2, 9)
RESIZE(image_plain, MICA_BILINEAR, false, 9, 3)

#define SCALED(name, kind, ...)                                                                    \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_resize_options o = {sizeof o, kind, false, {0.55, 1.7, 0}};                         \
    return mica_resize_axes(t, in[0], SIZES(__VA_ARGS__), &o);                                     \
  }
SCALED(scaled_linear, MICA_BILINEAR, 3, 8)
SCALED(scaled_nearest, MICA_NEAREST, 3, 8)
SCALED(scaled_cubic, MICA_BICUBIC, 3, 8)
SCALED(scaled_smooth, MICA_SMOOTH_BICUBIC, 3, 8)
SCALED(scaled_beyond, MICA_SMOOTH_BILINEAR, 6, 13) /* the factor leads outside */
SCALED(scaled_beyond_cubic, MICA_BICUBIC, 9, 20)
SCALED(scaled_lanczos, MICA_SMOOTH_LANCZOS, 9, 20)

/* ---- edges ---- */

#define PAD(name, mode, before, after)                                                             \
  CALL(name, mica_pad_edges(t, in[0], mode, SIZES before, SIZES after))
PAD(reflect, MICA_PAD_REFLECT, (2, 1), (0, 3))
PAD(symmetric, MICA_PAD_SYMMETRIC, (3, 0), (1, 4))
PAD(replicate, MICA_PAD_REPLICATE, (0, 5), (7, 1))
PAD(circular, MICA_PAD_CIRCULAR, (3, 2), (1, 4))
PAD(reflect_line, MICA_PAD_REFLECT, (4), (4))
PAD(replicate_volume, MICA_PAD_REPLICATE, (1, 0, 2), (0, 3, 1))
PAD(circular_volume, MICA_PAD_CIRCULAR, (1, 1, 1), (2, 0, 1))
PAD(nothing, MICA_PAD_CIRCULAR, (0, 0), (0, 0))

/* ---- windows and phases ---- */

CALL(windows, mica_window_partition(t, in[0], SIZES(2, 3)))
CALL(windows_line, mica_window_partition(t, in[0], SIZES(3)))
CALL(windows_volume, mica_window_partition(t, in[0], SIZES(2, 1, 3)))
CALL(whole, mica_window_reverse(t, in[0], MICA_SHAPE(2, 4, 5, 3)))
CALL(whole_line, mica_window_reverse(t, in[0], MICA_SHAPE(1, 4, 2)))
CALL(whole_volume, mica_window_reverse(t, in[0], MICA_SHAPE(1, 3, 2, 3, 2)))
CALL(whole_none, mica_window_reverse(t, in[0], MICA_SHAPE(0, 3, 2, 1)))
CALL(whole_one, mica_window_reverse(t, in[0], MICA_SHAPE(1, 1, 1, 1)))

CALL(shuffle_last, mica_pixel_shuffle(t, in[0], 2, MICA_PHASE_LAST))
CALL(shuffle_first, mica_pixel_shuffle(t, in[0], 2, MICA_PHASE_FIRST))
CALL(shuffle_swapped, mica_pixel_shuffle(t, in[0], 2, MICA_PHASE_SWAPPED))
CALL(shuffle_one, mica_pixel_shuffle(t, in[0], 1, MICA_PHASE_LAST))
CALL(unshuffle_last, mica_pixel_unshuffle(t, in[0], 3, MICA_PHASE_LAST))
CALL(unshuffle_first, mica_pixel_unshuffle(t, in[0], 2, MICA_PHASE_FIRST))
CALL(unshuffle_swapped, mica_pixel_unshuffle(t, in[0], 2, MICA_PHASE_SWAPPED))
CALL(unshuffle_one, mica_pixel_unshuffle(t, in[0], 1, MICA_PHASE_SWAPPED))

/* ---- patches ---- */

#define PATCHES(name, ...)                                                                         \
  static const mica_unfold_options name##_options = {sizeof name##_options, __VA_ARGS__};          \
  CALL(name, mica_unfold(t, in[0], &name##_options))
#define FOLD(name, options, ...)                                                                   \
  CALL(name, mica_fold(t, in[0], SIZES(__VA_ARGS__), &options##_options))
PATCHES(patches, {3, 2, 0}, {2, 1, 0}, {1, 2, 0}, {1, 2, 0, 1, 0, 0})
PATCHES(patches_line, {3, 0, 0}, {1, 0, 0}, {2, 0, 0}, {2, 2, 0, 0, 0, 0})
PATCHES(patches_volume, {2, 1, 2}, {1, 2, 1}, {2, 1, 1}, {1, 0, 0, 0, 1, 1})
PATCHES(patches_single, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0, 0, 0, 0})
PATCHES(patches_apart, {2, 2, 0}, {3, 3, 0}, {1, 1, 0}, {0, 0, 0, 0, 0, 0})
FOLD(folded, patches, 4, 5)
FOLD(folded_line, patches_line, 5)
FOLD(folded_volume, patches_volume, 3, 3, 2)
FOLD(folded_single, patches_single, 1, 1)
FOLD(folded_apart, patches_apart, 6, 5)

#define B 1e-5
#define ONE(op, run, ...)                                                                          \
  { op, #run, 1, {{MICA_SHAPE(__VA_ARGS__), -2, 2, 0, false}}, run, B, false, false }
static const gradient_case cases[] = {
    ONE("resize_axes", line_linear, 2, 4, 3),
    ONE("resize_axes", line_corners, 1, 5, 2),
    ONE("resize_axes", volume_linear, 2, 2, 5, 3, 2),
    ONE("resize_axes", volume_corners, 1, 3, 2, 4, 1),
    ONE("resize_axes", volume_nearest, 1, 2, 3, 4, 2),
    ONE("resize_axes", volume_area, 1, 5, 2, 3, 2),
    ONE("resize_axes", volume_linear, 1, 20, 21, 22, 5),
    ONE("resize_axes", centre, 1, 3, 5, 2),
    ONE("resize_axes", soft, 1, 7, 5, 2),
    ONE("resize_axes", sharp, 2, 8, 3, 1),
    ONE("resize_axes", lanczos, 1, 9, 4, 2),
    ONE("resize_axes", lanczos, 1, 1, 2, 1),
    ONE("resize_axes", image_plain, 1, 4, 5, 2),
    ONE("resize_axes", image_plain, 1, 1, 1, 1),
    ONE("resize_axes", image_plain, 0, 2, 3, 1),
    ONE("resize_axes", lanczos, 3, 4, 5, 0),
    ONE("resize_axes", scaled_linear, 1, 6, 5, 2),
    ONE("resize_axes", scaled_nearest, 1, 6, 5, 2),
    ONE("resize_axes", scaled_cubic, 1, 6, 5, 2),
    ONE("resize_axes", scaled_smooth, 1, 6, 5, 2),
    ONE("resize_axes", scaled_beyond, 1, 4, 5, 1),
    ONE("resize_axes", scaled_beyond_cubic, 1, 2, 3, 1),
    ONE("resize_axes", scaled_lanczos, 1, 4, 3, 1),
    ONE("unfold", patches, 2, 4, 5, 3),
    ONE("unfold", patches_line, 2, 5, 2),
    ONE("unfold", patches_volume, 1, 3, 3, 2, 2),
    ONE("unfold", patches_apart, 1, 6, 5, 2),
    ONE("unfold", patches, 2, 40, 41, 7),
    ONE("unfold", patches_single, 1, 1, 1, 1),
    ONE("unfold", patches, 0, 3, 4, 2),
    ONE("fold", folded, 2, 3, 4, 6, 2),
    ONE("fold", folded_line, 2, 5, 3, 2),
    ONE("fold", folded_volume, 1, 2, 2, 3, 4, 2),
    ONE("fold", folded_apart, 2, 2, 2, 4, 1),
    ONE("fold", folded_single, 1, 1, 1, 1, 1),
    ONE("fold", folded_single, 0, 1, 1, 1, 2),
    ONE("pad_edges", reflect, 2, 3, 4, 2),
    ONE("pad_edges", symmetric, 1, 3, 4, 2),
    ONE("pad_edges", replicate, 2, 3, 1, 2),
    ONE("pad_edges", circular, 1, 3, 4, 2),
    ONE("pad_edges", reflect_line, 2, 5, 3),
    ONE("pad_edges", replicate_volume, 1, 2, 3, 2, 2),
    ONE("pad_edges", circular_volume, 2, 2, 1, 3, 1),
    ONE("pad_edges", circular, 1, 70, 90, 4),
    ONE("pad_edges", replicate, 1, 1, 1, 1),
    ONE("pad_edges", replicate, 0, 2, 2, 1),
    ONE("pad_edges", nothing, 2, 0, 3, 1),
    ONE("window_partition", windows, 2, 4, 6, 3),
    ONE("window_partition", windows, 1, 3, 4, 2),
    ONE("window_partition", windows_line, 2, 7, 2),
    ONE("window_partition", windows_volume, 1, 3, 2, 4, 2),
    ONE("window_partition", windows, 1, 1, 1, 1),
    ONE("window_partition", windows, 2, 0, 3, 2),
    ONE("window_reverse", whole, 8, 2, 3, 3),
    ONE("window_reverse", whole_line, 2, 3, 2),
    ONE("window_reverse", whole_volume, 4, 2, 2, 2, 2),
    ONE("window_reverse", whole_one, 1, 1, 1, 1),
    ONE("window_reverse", whole_none, 0, 2, 2, 1),
    ONE("pixel_shuffle", shuffle_last, 2, 3, 2, 8),
    ONE("pixel_shuffle", shuffle_first, 1, 2, 3, 8),
    ONE("pixel_shuffle", shuffle_swapped, 1, 2, 2, 12),
    ONE("pixel_shuffle", shuffle_last, 2, 4, 6),
    ONE("pixel_shuffle", shuffle_swapped, 1, 2, 1, 2, 16),
    ONE("pixel_shuffle", shuffle_one, 1, 1, 1, 1),
    ONE("pixel_shuffle", shuffle_first, 0, 2, 2, 4),
    ONE("pixel_unshuffle", unshuffle_last, 1, 3, 6, 2),
    ONE("pixel_unshuffle", unshuffle_first, 2, 4, 2, 3),
    ONE("pixel_unshuffle", unshuffle_swapped, 1, 4, 4, 2),
    ONE("pixel_unshuffle", unshuffle_last, 2, 6, 2),
    ONE("pixel_unshuffle", unshuffle_first, 1, 2, 4, 2, 2),
    ONE("pixel_unshuffle", unshuffle_one, 1, 1, 1, 1),
    ONE("pixel_unshuffle", unshuffle_first, 2, 0, 2, 3),
};
FAMILY(spatial);
