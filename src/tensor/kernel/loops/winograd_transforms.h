/* winograd_transforms.h: what both files of Winograd's F(4x4, 3x3) share: one-dimensional
 * transforms, and where tiles lie.
 *
 * The points of interpolation are 0, +-a, +-b and infinity with a = 1/sqrt(2), b = sqrt(2): the
 * matrices then hold no number above 2.5, and the rounding errors are smaller than with the usual
 * 0, +-1, +-2.
 */
#ifndef MICA_TENSOR_KERNEL_LOOPS_WINOGRAD_TRANSFORMS_H
#define MICA_TENSOR_KERNEL_LOOPS_WINOGRAD_TRANSFORMS_H

#include "tensor/kernel/winograd.h"

#include "loop.h"
#include "vector.h"

enum { SIDE = 6, OUT = 4, TAPS = 3, POINTS = MICA_WINOGRAD_POINTS };

#define A1 ((real)0.70710678118654752440) /* a */
#define A2 ((real)0.5)                    /* its square and cube */
#define A3 ((real)0.35355339059327376220)
#define B1 ((real)1.41421356237309504880)
#define B2 ((real)2)
#define B3 ((real)2.82842712474619009760)
#define NA ((real)(-1.0 / 1.5)) /* 1 / (2 a^2 (a^2 - b^2)) */
#define NB ((real)(1.0 / 6))    /* 1 / (2 b^2 (b^2 - a^2)); that of point 0 is 1 */

/* ---- the one-dimensional transforms; `step` vectors from element to element ---- */

#define INLINE static inline __attribute__((always_inline))

/* t = B^T d, 6 from 6 */
INLINE void transform_input(const vector *d, int step, vector *t, int t_step) {
  const vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
               d5 = d[5 * step];
  const vector ea = d4 - B2 * d2, oa = A1 * d3 - (A1 * B2) * d1;
  const vector eb = d4 - A2 * d2, ob = B1 * d3 - (B1 * A2) * d1;
  t[0] = d0 + d4 - (A2 + B2) * d2;
  t[t_step] = ea + oa;
  t[2 * t_step] = ea - oa;
  t[3 * t_step] = eb + ob;
  t[4 * t_step] = eb - ob;
  t[5 * t_step] = d1 + d5 - (A2 + B2) * d3;
}

/* y = A^T m, 4 from 6 */
INLINE void transform_output(const vector *m, int step, vector *y, int y_step) {
  const vector s1 = m[step] + m[2 * step], d1 = m[step] - m[2 * step];
  const vector s2 = m[3 * step] + m[4 * step], d2 = m[3 * step] - m[4 * step];
  y[0] = m[0] + s1 + s2;
  y[y_step] = A1 * d1 + B1 * d2;
  y[2 * y_step] = A2 * s1 + B2 * s2;
  y[3 * y_step] = A3 * d1 + B3 * d2 + m[5 * step];
}

/* u = G w, 6 from 3 */
INLINE void transform_kernel(const vector *w, int step, vector *u, int u_step) {
  const vector w0 = w[0], w1 = w[step], w2 = w[2 * step];
  const vector ea = NA * w0 + (NA * A2) * w2, oa = (NA * A1) * w1;
  const vector eb = NB * w0 + (NB * B2) * w2, ob = (NB * B1) * w1;
  u[0] = w0;
  u[u_step] = ea + oa;
  u[2 * u_step] = ea - oa;
  u[3 * u_step] = eb + ob;
  u[4 * u_step] = eb - ob;
  u[5 * u_step] = w2;
}

/* ---- tiles ---- */

/* Where the `side` x `side` places of a tile lie, from (h, w) on; zeros outside the map. */
static inline void places_of(const mica_winograd_map *map, const real *image, const real *zeros,
                             int64_t h, int64_t w, int side, const real **at) {
  for (int i = 0; i < side; i++)
    for (int j = 0; j < side; j++) {
      const int64_t y = h + i, x = w + j;
      const bool inside = y >= 0 && y < map->height && x >= 0 && x < map->width;
      at[i * side + j] = inside ? image + (y * map->width + x) * map->channels : zeros;
    }
}

typedef struct position {
  int64_t image, h, w; /* in tiles */
} position;

static inline position position_of(const mica_winograd_map *map, int64_t tile) {
  const int64_t in_image = map->tiles_h * map->tiles_w;
  return (position){tile / in_image, tile % in_image / map->tiles_w, tile % map->tiles_w};
}

static inline const real *image_of(const mica_winograd_map *map, const void *x, int64_t image) {
  return (const real *)x + image * map->height * map->width * map->channels;
}

/* A NaN stays. */
static inline vector relu_of(vector v) {
  return (vector)((vector_bits)v & ~(vector_bits)(v < (vector){0}));
}

#endif
