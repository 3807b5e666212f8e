/* grid_sample.h: images, lines and volumes read at given places.
 *
 * A place has a coordinate in [-1, 1] for each axis, width first: the ends are the centres of the
 * outermost pixels with `corners`, else their outer edges. As PyTorch's grid_sample. A coordinate
 * that is not a number gives results that are not, and so does an infinite one that is reflected.
 */
#ifndef MICA_TENSOR_KERNEL_GRID_SAMPLE_H
#define MICA_TENSOR_KERNEL_GRID_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

enum { MICA_GRID_AXES = 3, MICA_GRID_NEAREST = 0, MICA_GRID_LINEAR, MICA_GRID_CUBIC };
enum { MICA_GRID_ZEROS = 0, MICA_GRID_BORDER, MICA_GRID_REFLECT };

typedef struct mica_grid_geometry {
  int64_t channels, points;     /* of an image of the input, of the grid */
  int64_t size[MICA_GRID_AXES]; /* depth, height, width of the input, 1 or more */
  int axes;                     /* coordinates of a place: of the last so many axes */
  int kind, edge;
  bool corners;
} mica_grid_geometry;

typedef struct mica_grid_kernels {
  /* Points [begin, end) of n * points: y [point, channels]. */
  void (*sample)(const mica_grid_geometry *g, int64_t begin, int64_t end, const void *x,
                 const void *grid, void *y);
  /* The gradient of `channels` channels from `channel` of image n, written. */
  void (*grad)(const mica_grid_geometry *g, int64_t n, int64_t channel, int64_t channels,
               const void *grid, const void *gy, void *gx);
  /* The gradient of the places of points [begin, end), written. */
  void (*grid_grad)(const mica_grid_geometry *g, int64_t begin, int64_t end, const void *x,
                    const void *grid, const void *gy, void *ggrid);
} mica_grid_kernels;

#endif
