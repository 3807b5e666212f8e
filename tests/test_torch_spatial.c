/* Agreement with PyTorch, and with definitions written in it: sizes, edges, windows, phases, and
 * what volumes have. */
#include "support/golden.h"

#include <mica/ops.h>

#include <math.h>
#include <string.h>

static mica_engine *engine;

#define leaf golden_leaf
#define RUN(name, ...)                                                                             \
  static mica_var name(golden_case *b) {                                                           \
    mica_tape *t = b->t;                                                                           \
    return __VA_ARGS__;                                                                            \
  }
#define X          leaf(b, "x")
#define SIZES(...) ((const int64_t[]){__VA_ARGS__})

/* ---- sizes ---- */

#define RESIZE(name, kind, corners, ...)                                                           \
  static mica_var name(golden_case *b) {                                                           \
    const mica_resize_options o = {sizeof o, kind, corners, {0, 0, 0}};                            \
    return mica_resize_axes(b->t, X, SIZES(__VA_ARGS__), &o);                                      \
  }
RESIZE(linear_line, MICA_BILINEAR, false, 11)
RESIZE(linear_line_align, MICA_BILINEAR, true, 4)
RESIZE(nearest_line, MICA_NEAREST, false, 9)
RESIZE(trilinear, MICA_BILINEAR, false, 7, 3, 5)
RESIZE(trilinear_align, MICA_BILINEAR, true, 2, 9, 4)
RESIZE(nearest_volume, MICA_NEAREST, false, 3, 7, 4)
RESIZE(area_volume, MICA_AREA, false, 3, 2, 5)
RESIZE(nearest_centre, MICA_NEAREST_CENTRE, false, 9, 5)
RESIZE(soft_up, MICA_BICUBIC_SOFT, false, 9, 11)
RESIZE(soft_down, MICA_BICUBIC_SOFT, false, 3, 5)
RESIZE(sharp_up, MICA_SMOOTH_BICUBIC_SHARP, false, 9, 11)
RESIZE(sharp_down, MICA_SMOOTH_BICUBIC_SHARP, false, 3, 5)
RESIZE(lanczos_up, MICA_SMOOTH_LANCZOS, false, 9, 11)
RESIZE(lanczos_down, MICA_SMOOTH_LANCZOS, false, 3, 5)

#define SCALED(name, kind)                                                                         \
  static mica_var name(golden_case *b) {                                                           \
    const mica_resize_options o = {sizeof o, kind, false, {0.6875, 1.4375, 0}};                    \
    return mica_resize_axes(b->t, X, SIZES(4, 11), &o);                                            \
  }
SCALED(scaled_nearest, MICA_NEAREST)
SCALED(scaled_nearest_exact, MICA_NEAREST_CENTRE)
SCALED(scaled_bilinear, MICA_BILINEAR)
SCALED(scaled_bicubic, MICA_BICUBIC)
SCALED(scaled_smooth_bilinear, MICA_SMOOTH_BILINEAR)
SCALED(scaled_smooth_bicubic, MICA_SMOOTH_BICUBIC)

/* ---- edges ---- */

#define PAD(name, mode, before, after)                                                             \
  RUN(name, mica_pad_edges(t, X, mode, SIZES before, SIZES after))
PAD(reflect_line, MICA_PAD_REFLECT, (3), (6))
PAD(replicate_line, MICA_PAD_REPLICATE, (3), (6))
PAD(circular_line, MICA_PAD_CIRCULAR, (3), (6))
PAD(reflect_image, MICA_PAD_REFLECT, (4, 2), (0, 5))
PAD(replicate_image, MICA_PAD_REPLICATE, (4, 2), (0, 5))
PAD(circular_image, MICA_PAD_CIRCULAR, (4, 2), (0, 5))
PAD(reflect_volume, MICA_PAD_REFLECT, (2, 3, 1), (3, 0, 2))
PAD(replicate_volume, MICA_PAD_REPLICATE, (2, 3, 1), (3, 0, 2))
PAD(circular_volume, MICA_PAD_CIRCULAR, (2, 3, 1), (3, 0, 2))
PAD(symmetric_image, MICA_PAD_SYMMETRIC, (4, 0), (6, 0))

/* ---- windows and phases ---- */

RUN(windows, mica_window_partition(t, X, SIZES(4, 3)))
static const mica_unfold_options cut = {
    sizeof cut, {3, 2, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2, 2, 0, 0}};
RUN(unfold, mica_unfold(t, X, &cut))
RUN(fold, mica_fold(t, X, SIZES(6, 8), &cut))
RUN(shuffle, mica_pixel_shuffle(t, X, 2, MICA_PHASE_LAST))
RUN(unshuffle, mica_pixel_unshuffle(t, X, 2, MICA_PHASE_LAST))
RUN(space_to_depth, mica_pixel_unshuffle(t, X, 2, MICA_PHASE_FIRST))
RUN(merging, mica_pixel_unshuffle(t, X, 2, MICA_PHASE_SWAPPED))

/* ---- volumes ---- */

/* Triples are depth, height, width; pads front, back, top, bottom, left, right. */
#define CONV(name, op, groups, stride, dilation, pad, output_pad)                                  \
  static mica_var name(golden_case *b) {                                                           \
    const mica_conv3d_options o = {sizeof o,     {TRIPLE stride}, {TRIPLE dilation},               \
                                   {TRIPLE pad}, groups,          {TRIPLE output_pad}};            \
    return op(b->t, leaf(b, "x"), leaf(b, "w"), leaf(b, "b"), &o);                                 \
  }
#define TRIPLE(...) __VA_ARGS__
CONV(conv3d, mica_conv3d, 1, (2, 1, 1), (1, 2, 1), (1, 1, 0, 0, 2, 2), (0, 0, 0))
CONV(conv3d_grouped, mica_conv3d, 2, (1, 1, 1), (1, 1, 1), (1, 1, 1, 1, 1, 1), (0, 0, 0))
CONV(conv3d_depthwise, mica_conv3d, 4, (1, 1, 1), (1, 1, 1), (1, 1, 1, 1, 2, 2), (0, 0, 0))
CONV(conv3d_asymmetric, mica_conv3d, 1, (1, 1, 1), (1, 1, 1), (1, 0, 2, 1, 0, 1), (0, 0, 0))
CONV(transpose3d, mica_conv_transpose3d, 2, (2, 1, 3), (1, 2, 1), (1, 1, 0, 0, 1, 1), (1, 0, 2))

#define POOL(name, op, kernel, stride, pad, ceil_mode, count)                                      \
  static mica_var name(golden_case *b) {                                                           \
    const mica_pool_options o = {sizeof o,         {1, kernel}, {1, stride}, {1, 1},               \
                                 {0, 0, pad, pad}, ceil_mode,   count};                            \
    return op(b->t, X, &o);                                                                        \
  }
POOL(max_pool1d, mica_max_pool1d, 3, 2, 1, false, false)
POOL(avg_pool1d, mica_avg_pool1d, 4, 3, 2, true, true)
#define POOL3D(name, op, dilation, ceil_mode, count)                                               \
  static mica_var name(golden_case *b) {                                                           \
    const mica_pool3d_options o = {sizeof o,           {2, 3, 2}, {1, 2, 3}, {dilation, 1, 1},     \
                                   {1, 1, 1, 1, 0, 0}, ceil_mode, count};                          \
    return op(b->t, X, &o);                                                                        \
  }
POOL3D(max_pool3d, mica_max_pool3d, 2, true, false)
POOL3D(avg_pool3d, mica_avg_pool3d, 1, false, false)
POOL3D(avg_pool3d_padding, mica_avg_pool3d, 1, false, true)
RUN(adaptive_avg1d, mica_adaptive_avg_pool1d(t, X, 4))
RUN(adaptive_max1d, mica_adaptive_max_pool1d(t, X, 4))
RUN(adaptive_avg3d, mica_adaptive_avg_pool3d(t, X, 2, 3, 5))
RUN(adaptive_max3d, mica_adaptive_max_pool3d(t, X, 2, 3, 5))

/* ---- grids ---- */

#define GRID(name, kind, edge, corners)                                                            \
  static mica_var name(golden_case *b) {                                                           \
    const mica_grid_sample_options o = {sizeof o, kind, edge, corners};                            \
    return mica_grid_sample(b->t, X, leaf(b, "grid"), &o);                                         \
  }
#define GRIDS(name, kind)                                                                          \
  GRID(name##_zeros_0, kind, MICA_EDGE_ZEROS, false)                                               \
  GRID(name##_zeros_1, kind, MICA_EDGE_ZEROS, true)                                                \
  GRID(name##_border_0, kind, MICA_EDGE_BORDER, false)                                             \
  GRID(name##_border_1, kind, MICA_EDGE_BORDER, true)                                              \
  GRID(name##_reflection_0, kind, MICA_EDGE_REFLECT, false)                                        \
  GRID(name##_reflection_1, kind, MICA_EDGE_REFLECT, true)
GRIDS(line_nearest, MICA_NEAREST)
GRIDS(line_bilinear, MICA_BILINEAR)
GRIDS(image_nearest, MICA_NEAREST)
GRIDS(image_bilinear, MICA_BILINEAR)
GRIDS(image_bicubic, MICA_BICUBIC)
GRIDS(volume_nearest, MICA_NEAREST)
GRIDS(volume_bilinear, MICA_BILINEAR)
RUN(affine_image_0, mica_affine_grid(t, X, SIZES(3, 5), false))
RUN(affine_image_1, mica_affine_grid(t, X, SIZES(3, 5), true))
RUN(affine_volume_0, mica_affine_grid(t, X, SIZES(2, 1, 4), false))
RUN(affine_volume_1, mica_affine_grid(t, X, SIZES(2, 1, 4), true))

#define CASE(name)                                                                                 \
  { #name, name }
static const golden_operation cases[] = {
    CASE(linear_line),
    CASE(linear_line_align),
    CASE(nearest_line),
    CASE(trilinear),
    CASE(trilinear_align),
    CASE(nearest_volume),
    CASE(area_volume),
    CASE(nearest_centre),
    CASE(soft_up),
    CASE(soft_down),
    CASE(sharp_up),
    CASE(sharp_down),
    CASE(lanczos_up),
    CASE(lanczos_down),
    CASE(scaled_nearest),
    {"scaled_nearest-exact", scaled_nearest_exact},
    CASE(scaled_bilinear),
    CASE(scaled_bicubic),
    CASE(scaled_smooth_bilinear),
    CASE(scaled_smooth_bicubic),
    CASE(reflect_line),
    CASE(replicate_line),
    CASE(circular_line),
    CASE(reflect_image),
    CASE(replicate_image),
    CASE(circular_image),
    CASE(reflect_volume),
    CASE(replicate_volume),
    CASE(circular_volume),
    CASE(symmetric_image),
    CASE(windows),
    CASE(unfold),
    CASE(fold),
    CASE(shuffle),
    CASE(unshuffle),
    CASE(space_to_depth),
    CASE(merging),
};

static const golden_operation volumes[] = {
    CASE(conv3d),         CASE(conv3d_grouped), CASE(conv3d_depthwise), CASE(conv3d_asymmetric),
    CASE(transpose3d),    CASE(max_pool1d),     CASE(avg_pool1d),       CASE(adaptive_avg1d),
    CASE(adaptive_max1d), CASE(max_pool3d),     CASE(avg_pool3d),       CASE(avg_pool3d_padding),
    CASE(adaptive_avg3d), CASE(adaptive_max3d),
};

#define SIX(name)                                                                                  \
  CASE(name##_zeros_0), CASE(name##_zeros_1), CASE(name##_border_0), CASE(name##_border_1),        \
      CASE(name##_reflection_0), CASE(name##_reflection_1)
static const golden_operation grids[] = {
    SIX(line_nearest),    SIX(line_bilinear),    SIX(image_nearest),    SIX(image_bilinear),
    SIX(image_bicubic),   SIX(volume_nearest),   SIX(volume_bilinear),  CASE(affine_image_0),
    CASE(affine_image_1), CASE(affine_volume_0), CASE(affine_volume_1),
};

static const struct {
  const char *file;
  const golden_operation *cases;
  size_t n;
} archives[] = {
    {GOLDEN_FOLDER "spatial.safetensors", cases, sizeof cases / sizeof *cases},
    {GOLDEN_FOLDER "grids.safetensors", grids, sizeof grids / sizeof *grids},
    {GOLDEN_FOLDER "volumes.safetensors", volumes, sizeof volumes / sizeof *volumes},
};

/* Every stored case is run: its result is the tensor NAME.y. */
static void test_every_case_is_run(void **state) {
  (void)state;
  for (size_t a = 0; a < sizeof archives / sizeof *archives; a++) {
    mica_archive *archive = golden_open(archives[a].file);
    for (int64_t i = 0; i < mica_archive_count(archive); i++) {
      const char *name = mica_archive_name(archive, i);
      const size_t n = strlen(name);
      if (n < 2 || strcmp(name + n - 2, ".y") != 0) continue;
      bool found = false;
      for (size_t k = 0; k < archives[a].n; k++) {
        const char *run = archives[a].cases[k].name;
        found |= strlen(run) == n - 2 && strncmp(run, name, n - 2) == 0;
      }
      if (!found) fail_msg("%s is compared with nothing", name);
    }
    mica_archive_close(archive);
  }
}

static void test_cases(void **state) {
  (void)state;
  for (size_t a = 0; a < sizeof archives / sizeof *archives; a++) {
    mica_archive *archive = golden_open(archives[a].file);
    assert_int_equal(golden_run(engine, archive, archives[a].cases, archives[a].n), 0);
    mica_archive_close(archive);
  }
}

/* ---- what is refused ---- */

/* The status that f latches for a fresh x of this shape. */
static mica_status refused(mica_shape shape, mica_var (*f)(mica_tape *t, mica_var x)) {
  mica_tape *t = NULL;
  mica_tensor *x = NULL;
  assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, shape, &x), MICA_OK);
  assert_true(mica_is_none(f(t, mica_input(t, x))));
  const mica_status status = mica_tape_status(t);
  mica_tensor_free(x);
  mica_tape_free(t);
  return status;
}

#define TRY(name, ...)                                                                             \
  static mica_var name(mica_tape *t, mica_var x) {                                                 \
    return __VA_ARGS__;                                                                            \
  }
TRY(reflect_whole, mica_pad_edges(t, x, MICA_PAD_REFLECT, SIZES(3, 0), SIZES(0, 0)))
TRY(reflect_all_but_one, mica_pad_edges(t, x, MICA_PAD_REFLECT, SIZES(0, 2), SIZES(0, 4)))
TRY(circular_more, mica_pad_edges(t, x, MICA_PAD_CIRCULAR, SIZES(0, 0), SIZES(0, 5)))
TRY(symmetric_more, mica_pad_edges(t, x, MICA_PAD_SYMMETRIC, SIZES(4, 0), SIZES(0, 0)))
TRY(negative_pad, mica_pad_edges(t, x, MICA_PAD_REPLICATE, SIZES(0, -1), SIZES(0, 2)))
TRY(huge_pad,
    mica_pad_edges(t, x, MICA_PAD_REPLICATE, SIZES(INT64_MAX / 8, 0), SIZES(INT64_MAX / 8, 0)))
TRY(no_mode, mica_pad_edges(t, x, (mica_pad_mode)7, SIZES(0, 0), SIZES(0, 0)))
TRY(replicate_nothing, mica_pad_edges(t, x, MICA_PAD_REPLICATE, SIZES(1, 0), SIZES(0, 0)))
TRY(no_window, mica_window_partition(t, x, SIZES(2, 0)))
TRY(huge_window, mica_window_partition(t, x, SIZES(INT64_MAX, 1)))
TRY(wrong_windows, mica_window_reverse(t, x, MICA_SHAPE(2, 6, 5, 2)))
TRY(negative_whole, mica_window_reverse(t, x, MICA_SHAPE(-1, 3, 4, 2)))
TRY(huge_whole, mica_window_reverse(t, x, MICA_SHAPE(1, INT64_MAX, INT64_MAX, 2)))
TRY(shuffle_odd, mica_pixel_shuffle(t, x, 2, MICA_PHASE_LAST))
TRY(shuffle_huge, mica_pixel_shuffle(t, x, INT64_MAX, MICA_PHASE_LAST))
TRY(unshuffle_odd, mica_pixel_unshuffle(t, x, 2, MICA_PHASE_FIRST))
TRY(no_phase, mica_pixel_unshuffle(t, x, 1, (mica_phase_order)3))
TRY(resize_to_none, mica_resize_axes(t, x, SIZES(2, 0), NULL))
TRY(resize_to_much, mica_resize_axes(t, x, SIZES(INT64_MAX / 2, INT64_MAX / 2), NULL))
static mica_var unfold_with(mica_tape *t, mica_var x, int kernel, int stride, int pad) {
  const mica_unfold_options o = {
      sizeof o, {kernel, 1, 1}, {stride, 1, 1}, {1, 1, 1}, {0, 0, 0, pad, 0, 0}};
  return mica_unfold(t, x, &o);
}
TRY(unfold_large, unfold_with(t, x, 4, 1, 0))
TRY(unfold_no_kernel, unfold_with(t, x, 0, 1, 0))
TRY(unfold_no_stride, unfold_with(t, x, 1, 0, 0))
TRY(unfold_negative, unfold_with(t, x, 1, 1, -1))
TRY(fold_wrong_taps, mica_fold(t, mica_unfold(t, x, NULL), SIZES(3, 4), &cut))
TRY(fold_wrong_size, mica_fold(t, mica_unfold(t, x, NULL), SIZES(3, 5), NULL))
TRY(fold_negative_size, mica_fold(t, mica_unfold(t, x, NULL), SIZES(-3, 5), NULL))
static mica_var grid_of(mica_tape *t, mica_var x, mica_shape shape, mica_interpolation kind,
                        int edge) {
  const mica_grid_sample_options o = {sizeof o, kind, (mica_edge)edge, false};
  return mica_grid_sample(t, x, mica_full(t, MICA_F32, shape, 0), &o);
}
TRY(grid_of_other_images, grid_of(t, x, MICA_SHAPE(1, 5, 2), MICA_BILINEAR, 0))
TRY(grid_of_three, grid_of(t, x, MICA_SHAPE(2, 5, 3), MICA_BILINEAR, 0))
TRY(grid_by_area, grid_of(t, x, MICA_SHAPE(2, 5, 2), MICA_AREA, 0))
TRY(grid_no_edge, grid_of(t, x, MICA_SHAPE(2, 5, 2), MICA_NEAREST, 3))
TRY(affine_of_image, mica_affine_grid(t, x, SIZES(2, 2), false))
static mica_var resize_with(mica_tape *t, mica_var x, mica_interpolation kind, bool corners,
                            double scale) {
  const mica_resize_options o = {sizeof o, kind, corners, {scale, 0, 0}};
  return mica_resize_axes(t, x, SIZES(2, 2), &o);
}
TRY(resize_no_kind, resize_with(t, x, (mica_interpolation)10, false, 0))
TRY(resize_smooth_corners, resize_with(t, x, MICA_SMOOTH_LANCZOS, true, 0))
TRY(resize_negative, resize_with(t, x, MICA_BILINEAR, false, -1))
TRY(resize_infinite, resize_with(t, x, MICA_BILINEAR, false, 1e300 * 1e300))

static void test_what_is_refused(void **state) {
  (void)state;
  const mica_shape image = MICA_SHAPE(2, 3, 4, 2), flat = MICA_SHAPE(3, 4),
                   empty = MICA_SHAPE(2, 0, 4, 2);
  static mica_var (*const shapes[])(mica_tape *, mica_var) = {
      reflect_whole,        reflect_all_but_one, circular_more,  symmetric_more,  negative_pad,
      replicate_nothing,    wrong_windows,       huge_whole,     negative_whole,  shuffle_odd,
      unshuffle_odd,        resize_to_none,      unfold_large,   fold_wrong_taps, fold_wrong_size,
      grid_of_other_images, grid_of_three,       affine_of_image};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    assert_int_equal(refused(shapes[i] == replicate_nothing ? empty : image, shapes[i]),
                     MICA_ERR_SHAPE);
  static mica_var (*const invalid[])(mica_tape *, mica_var) = {
      grid_by_area,          grid_no_edge,       unfold_no_kernel, unfold_no_stride,
      unfold_negative,       fold_negative_size, no_mode,          no_window,
      huge_window,           shuffle_huge,       no_phase,         resize_no_kind,
      resize_smooth_corners, resize_negative,    resize_infinite};
  for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
    assert_int_equal(refused(image, invalid[i]), MICA_ERR_INVALID);
  static mica_var (*const ranks[])(mica_tape *, mica_var) = {
      no_mode, no_window, wrong_windows, shuffle_odd, unshuffle_odd, resize_to_none};
  for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
    assert_int_equal(refused(flat, ranks[i]), MICA_ERR_SHAPE);
  assert_int_not_equal(refused(image, huge_pad), MICA_OK);
  assert_int_not_equal(refused(image, resize_to_much), MICA_OK);
}

/* ---- there and back ---- */

static void same_numbers(mica_tape *t, mica_var got, mica_var want) {
  const mica_view a = mica_read(t, got), b = mica_read(t, want);
  assert_true(mica_ok(t) && mica_view_count(&a) == mica_view_count(&b));
  assert_true(mica_shape_equal(&a.shape, &b.shape));
  assert_memory_equal(a.data, b.data, (size_t)mica_view_count(&a) * sizeof(float));
}

/* Windows that do not divide the sides, and phases in each order. */
static void test_there_and_back(void **state) {
  (void)state;
  const mica_shape shapes[] = {MICA_SHAPE(2, 7, 3), MICA_SHAPE(2, 7, 5, 3),
                               MICA_SHAPE(2, 5, 7, 4, 3)},
                   even[] = {MICA_SHAPE(2, 6, 3), MICA_SHAPE(2, 4, 6, 3),
                             MICA_SHAPE(1, 6, 2, 4, 3)};
  for (int i = 0; i < 3; i++) {
    mica_tape *t = NULL;
    assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
    mica_var x = mica_random_normal_like(t, shapes[i], MICA_F32, 0, 1);
    mica_var windows = mica_window_partition(t, x, SIZES(3, 2, 4));
    same_numbers(t, mica_window_reverse(t, windows, shapes[i]), x);
    mica_var y = mica_random_normal_like(t, even[i], MICA_F32, 0, 1);
    for (int order = MICA_PHASE_LAST; order <= MICA_PHASE_SWAPPED; order++) {
      mica_var deep = mica_pixel_unshuffle(t, y, 2, (mica_phase_order)order);
      same_numbers(t, mica_pixel_shuffle(t, deep, 2, (mica_phase_order)order), y);
    }
    mica_tape_free(t);
  }
}

/* ---- "same" ---- */

static void test_same_padding(void **state) {
  (void)state;
  for (int64_t size = 1; size < 12; size++)
    for (int32_t kernel = 1; kernel < 6; kernel++)
      for (int32_t stride = 1; stride < 4; stride++)
        for (int32_t dilation = 1; dilation < 3; dilation++) {
          int32_t pad[2];
          mica_same_padding(size, kernel, stride, dilation, pad);
          const int64_t extent = dilation * (kernel - 1) + 1;
          const int64_t places = (size + pad[0] + pad[1] - extent) / stride + 1;
          assert_int_equal(places, (size + stride - 1) / stride);
          assert_true(pad[1] == pad[0] || pad[1] == pad[0] + 1);
          /* One less would not do. */
          if (pad[1])
            assert_true((size + pad[0] + pad[1] - 1 - extent) / stride + 1 < places ||
                        size + pad[0] + pad[1] - 1 < extent);
        }
}

/* ---- places that are no numbers, or far away ---- */

static void test_strange_places(void **state) {
  (void)state;
  static const mica_interpolation kinds[] = {MICA_NEAREST, MICA_BILINEAR, MICA_BICUBIC};
  float image[6] = {1, 2, 3, 4, 5, 6},
        places[] = {NAN, 0, INFINITY, 0, -1e30F, 1e30F, 3e38F, -0.5F};
  for (int kind = 0; kind < 3; kind++)
    for (int edge = 0; edge < 3; edge++)
      for (int corners = 0; corners < 2; corners++) {
        mica_tape *t = NULL;
        assert_int_equal(mica_tape_create(engine, NULL, &t), MICA_OK);
        const mica_view x = mica_view_of(image, MICA_F32, MICA_SHAPE(1, 2, 3, 1)),
                        grid = mica_view_of(places, MICA_F32, MICA_SHAPE(1, 4, 2));
        const mica_grid_sample_options o = {sizeof o, kinds[kind], (mica_edge)edge, corners != 0};
        const mica_view y =
            mica_read(t, mica_grid_sample(t, mica_borrow(t, &x), mica_borrow(t, &grid), &o));
        assert_int_equal(mica_view_count(&y), 4);
        const float *v = y.data;
        assert_true(isnan(v[0]));
        if (edge == MICA_EDGE_ZEROS) assert_true(v[1] == 0 && v[2] == 0 && v[3] == 0);
        if (edge == MICA_EDGE_BORDER) assert_true(fabsf(v[2] - 4) < 1e-5F);
        if (edge == MICA_EDGE_REFLECT) assert_true(isnan(v[1]) && isfinite(v[2]));
        mica_tape_free(t);
      }
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cases),           cmocka_unit_test(test_every_case_is_run),
      cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_there_and_back),
      cmocka_unit_test(test_same_padding),    cmocka_unit_test(test_strange_places)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
