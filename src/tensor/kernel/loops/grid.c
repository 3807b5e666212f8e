/* grid.c: sampling at given places; the innermost loop runs over channels. */
#include "tensor/kernel/grid_sample.h"

#include "loop.h"

enum { AXES = MICA_GRID_AXES, MOST_TAPS = 4 };

/* The pixels that a coordinate reads along one axis (-1: none, a zero), how much each counts, and
 * the derivative of that by the coordinate. */
typedef struct taps {
  int n;
  int64_t at[MOST_TAPS];
  double weight[MOST_TAPS], slope[MOST_TAPS];
} taps;

/* Mirrored at the ends until it lies between them; *slope turns its sign each time. */
static double reflect(const mica_grid_geometry *g, int axis, double p, double *slope) {
  const double low = g->corners ? 0 : -0.5;
  const double span = (double)(g->corners ? g->size[axis] - 1 : g->size[axis]);
  if (span == 0) {
    *slope = 0;
    return 0;
  }
  p -= low;
  if (p < 0) {
    p = -p;
    *slope = -*slope;
  }
  const double turns = floor(p / span), rest = fmod(p, span);
  if (fmod(turns, 2) == 0) return rest + low;
  *slope = -*slope;
  return span - rest + low;
}

static double clip(const mica_grid_geometry *g, int axis, double p, double *slope) {
  const double most = (double)(g->size[axis] - 1);
  if (p > 0 && p < most) return p;
  *slope = 0;
  return p <= 0 ? 0 : most;
}

/* The pixel at a whole p, -1: none. */
static int64_t pixel(const mica_grid_geometry *g, int axis, double p) {
  double none = 1;
  if (g->edge == MICA_GRID_REFLECT) p = reflect(g, axis, p, &none);
  if (g->edge != MICA_GRID_ZEROS) p = clip(g, axis, p, &none);
  return p >= 0 && p < (double)g->size[axis] ? (int64_t)p : -1;
}

static double cubic(double x) {
  const double a = -0.75;
  x = fabs(x);
  return x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

static double cubic_slope(double x) {
  const double a = -0.75, sign = x < 0 ? -1 : 1;
  x = fabs(x);
  return sign * (x <= 1 ? (3 * (a + 2) * x - 2 * (a + 3)) * x : (3 * a * x - 10 * a) * x + 8 * a);
}

static taps taps_of(const mica_grid_geometry *g, int axis, double coordinate) {
  const double size = (double)g->size[axis];
  double slope = (g->corners ? size - 1 : size) / 2;
  double p = g->corners ? (coordinate + 1) / 2 * (size - 1) : ((coordinate + 1) * size - 1) / 2;
  if (p != p || (isinf(p) && g->edge == MICA_GRID_REFLECT))
    return (taps){1, {0}, {(double)NAN}, {(double)NAN}};
  if (g->edge != MICA_GRID_REFLECT) { /* farther out nothing changes */
    if (p < -8) p = -8;
    if (p > size + 8) p = size + 8;
  }
  if (g->kind == MICA_GRID_CUBIC) {
    const double low = floor(p), share = p - low;
    taps t = {.n = 4};
    for (int i = 0; i < 4; i++) {
      t.at[i] = pixel(g, axis, low + i - 1);
      t.weight[i] = cubic(share - (i - 1));
      t.slope[i] = slope * cubic_slope(share - (i - 1));
    }
    return t;
  }
  if (g->edge == MICA_GRID_REFLECT) p = reflect(g, axis, p, &slope);
  if (g->edge != MICA_GRID_ZEROS) p = clip(g, axis, p, &slope);
  if (g->kind == MICA_GRID_NEAREST) {
    const double at = rint(p);
    return (taps){1, {at >= 0 && at < size ? (int64_t)at : -1}, {1}, {0}};
  }
  const double low = floor(p), share = p - low;
  return (taps){2,
                {low >= 0 && low < size ? (int64_t)low : -1,
                 low + 1 >= 0 && low + 1 < size ? (int64_t)low + 1 : -1},
                {1 - share, share},
                {-slope, slope}};
}

/* The taps of a place along every axis; an axis without a coordinate has one. */
static void place_of(const mica_grid_geometry *g, const real *coordinate, taps t[AXES]) {
  for (int axis = 0; axis < AXES; axis++) {
    const int from = AXES - 1 - axis;
    t[axis] =
        from < g->axes ? taps_of(g, axis, (double)coordinate[from]) : (taps){1, {0}, {1}, {0}};
  }
}

/* Pixel (z, y, x) of the taps, -1: none. */
static int64_t pixel_of(const mica_grid_geometry *g, const taps t[AXES], int z, int y, int x) {
  if (t[0].at[z] < 0 || t[1].at[y] < 0 || t[2].at[x] < 0) return -1;
  return (t[0].at[z] * g->size[1] + t[1].at[y]) * g->size[2] + t[2].at[x];
}

#define EACH_TAP(t)                                                                                \
  for (int z = 0; z < (t)[0].n; z++)                                                               \
    for (int y = 0; y < (t)[1].n; y++)                                                             \
      for (int x = 0; x < (t)[2].n; x++)

static int64_t pixels(const mica_grid_geometry *g) {
  return g->size[0] * g->size[1] * g->size[2];
}

static void sample(const mica_grid_geometry *g, int64_t begin, int64_t end, const void *xv,
                   const void *grid, void *yv) {
  const int64_t channels = g->channels;
  taps t[AXES];
  for (int64_t i = begin; i < end; i++) {
    const real *image = (const real *)xv + i / g->points * pixels(g) * channels;
    real *out = (real *)yv + i * channels;
    place_of(g, (const real *)grid + i * g->axes, t);
    memset(out, 0, (size_t)channels * sizeof(real));
    EACH_TAP(t) {
      const int64_t at = pixel_of(g, t, z, y, x);
      if (at < 0) continue;
      const real weight = (real)(t[0].weight[z] * t[1].weight[y] * t[2].weight[x]);
      const real *from = image + at * channels;
      SIMD for (int64_t c = 0; c < channels; c++) out[c] += weight * from[c];
    }
  }
}

static void grad(const mica_grid_geometry *g, int64_t n, int64_t channel, int64_t count,
                 const void *grid, const void *gyv, void *gxv) {
  const int64_t channels = g->channels, places = pixels(g);
  real *image = (real *)gxv + n * places * channels + channel;
  for (int64_t i = 0; i < places; i++)
    memset(image + i * channels, 0, (size_t)count * sizeof(real));
  taps t[AXES];
  for (int64_t i = n * g->points; i < (n + 1) * g->points; i++) {
    const real *gy = (const real *)gyv + i * channels + channel;
    place_of(g, (const real *)grid + i * g->axes, t);
    EACH_TAP(t) {
      const int64_t at = pixel_of(g, t, z, y, x);
      if (at < 0) continue;
      const real weight = (real)(t[0].weight[z] * t[1].weight[y] * t[2].weight[x]);
      real *to = image + at * channels;
      SIMD for (int64_t c = 0; c < count; c++) to[c] += weight * gy[c];
    }
  }
}

static void grid_grad(const mica_grid_geometry *g, int64_t begin, int64_t end, const void *xv,
                      const void *grid, const void *gyv, void *ggrid) {
  const int64_t channels = g->channels;
  taps t[AXES];
  for (int64_t i = begin; i < end; i++) {
    const real *image = (const real *)xv + i / g->points * pixels(g) * channels;
    const real *gy = (const real *)gyv + i * channels;
    double sum[AXES] = {0};
    place_of(g, (const real *)grid + i * g->axes, t);
    EACH_TAP(t) {
      const int64_t at = pixel_of(g, t, z, y, x);
      if (at < 0) continue;
      const real *from = image + at * channels;
      double dot = 0;
      for (int64_t c0 = 0; c0 < channels; c0 += BLOCK) {
        const int64_t last = smaller(c0 + BLOCK, channels);
        real part = 0;
        SIMD_SUM(part) for (int64_t c = c0; c < last; c++) part += gy[c] * from[c];
        dot += (double)part;
      }
      sum[0] += dot * t[2].slope[x] * t[1].weight[y] * t[0].weight[z];
      sum[1] += dot * t[2].weight[x] * t[1].slope[y] * t[0].weight[z];
      sum[2] += dot * t[2].weight[x] * t[1].weight[y] * t[0].slope[z];
    }
    for (int a = 0; a < g->axes; a++) ((real *)ggrid)[i * g->axes + a] = (real)sum[a];
  }
}

const mica_grid_kernels MICA_KERNEL(grid) = {
    .sample = sample,
    .grad = grad,
    .grid_grad = grid_grad,
};
