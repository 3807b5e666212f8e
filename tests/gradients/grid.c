/* Cases: sampling at places of a grid, and affine grids. */
#include "gradients/gradients.h"

#define SAMPLE(name, kind, edge, corners)                                                          \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    const mica_grid_sample_options o = {sizeof o, kind, edge, corners};                            \
    return mica_grid_sample(t, in[0], in[1], &o);                                                  \
  }
#define EDGES(name, kind)                                                                          \
  SAMPLE(name##_zeros, kind, MICA_EDGE_ZEROS, false)                                               \
  SAMPLE(name##_border, kind, MICA_EDGE_BORDER, false)                                             \
  SAMPLE(name##_reflect, kind, MICA_EDGE_REFLECT, false)                                           \
  SAMPLE(name##_zeros_corners, kind, MICA_EDGE_ZEROS, true)                                        \
  SAMPLE(name##_border_corners, kind, MICA_EDGE_BORDER, true)                                      \
  SAMPLE(name##_reflect_corners, kind, MICA_EDGE_REFLECT, true)
EDGES(nearest, MICA_NEAREST)
EDGES(linear, MICA_BILINEAR)
EDGES(cubic, MICA_BICUBIC)

#define AFFINE(name, corners, ...)                                                                 \
  static mica_var name(mica_tape *t, const mica_var *in) {                                         \
    return mica_affine_grid(t, in[0], (const int64_t[]){__VA_ARGS__}, corners);                    \
  }
AFFINE(affine, false, 3, 4)
AFFINE(affine_corners, true, 2, 5)
AFFINE(affine_line, true, 6)
AFFINE(affine_volume, false, 2, 3, 1)

static mica_var transformed(mica_tape *t, const mica_var *in) {
  return mica_grid_sample(t, in[0], mica_affine_grid(t, in[1], (const int64_t[]){4, 3}, false),
                          NULL);
}
/* One element of x. */
static mica_var single(mica_tape *t, const mica_var *in) {
  const mica_grid_sample_options o = {sizeof o, MICA_BICUBIC, MICA_EDGE_ZEROS, false};
  return mica_grid_sample(t, in[0], in[1], &o);
}

#define B 3e-5
#define X(...)                                                                                     \
  { MICA_SHAPE(__VA_ARGS__), -1, 1, 0, false }
/* Some of it outside. */
#define GRID(...)                                                                                  \
  { MICA_SHAPE(__VA_ARGS__), -1.7, 1.7, 0, false }
#define CASE(run, x, grid)                                                                         \
  { "grid_sample", #run, 2, {X x, GRID grid}, run, B, false, false }
#define SIX(name, x, grid)                                                                         \
  CASE(name##_zeros, x, grid), CASE(name##_border, x, grid), CASE(name##_reflect, x, grid),        \
      CASE(name##_zeros_corners, x, grid), CASE(name##_border_corners, x, grid),                   \
      CASE(name##_reflect_corners, x, grid)
#define ONE(op, run, ...)                                                                          \
  { op, #run, 1, {X(__VA_ARGS__)}, run, B, false, false }
static const gradient_case cases[] = {
    SIX(nearest, (2, 4, 5, 3), (2, 3, 4, 2)),
    SIX(linear, (2, 4, 5, 3), (2, 3, 4, 2)),
    SIX(cubic, (2, 4, 5, 2), (2, 3, 4, 2)),
    SIX(linear, (2, 6, 2), (2, 5, 1)),
    SIX(linear, (1, 3, 2, 4, 2), (1, 2, 2, 3, 3)),
    SIX(nearest, (1, 3, 2, 4, 2), (1, 5, 3)),
    SIX(cubic, (2, 5, 1), (2, 6, 1)),
    CASE(cubic_reflect, (1, 2, 3, 2, 1), (1, 4, 3)),
    CASE(linear_border, (3, 4, 5, 70), (3, 30, 9, 2)),
    CASE(linear_reflect_corners, (1, 1, 1, 2), (1, 3, 2)),
    CASE(linear_zeros, (2, 3, 4, 2), (2, 2)),
    CASE(single, (1, 1, 1), (1, 1, 1)),
    CASE(linear_zeros, (0, 2, 3, 2), (0, 4, 2)),
    CASE(linear_zeros, (2, 2, 3, 0), (2, 4, 2)),
    CASE(linear_zeros, (2, 2, 3, 2), (2, 0, 2)),
    {"grid_sample affine_grid",
     "transformed",
     2,
     {X(2, 5, 4, 2), X(2, 2, 3)},
     transformed,
     B,
     false,
     false},
    ONE("affine_grid", affine, 2, 2, 3),
    ONE("affine_grid", affine_corners, 1, 2, 3),
    ONE("affine_grid", affine_line, 2, 1, 2),
    ONE("affine_grid", affine_volume, 2, 3, 4),
    ONE("affine_grid", affine, 0, 2, 3),
};
FAMILY(grid);
