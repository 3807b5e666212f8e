/* A picture at another size, with Pillow's arithmetic.
 *
 * Rows and columns are resized apart, columns' positions first. A filter whose support grows with
 * the shrinking factor weighs the samples around the output's centre; samples outside the picture
 * do not count, and the weights are normalised. Weights are rounded to 22 fractional bits, sums are
 * integers, and what goes from the first pass to the second is rounded to 8 bits: so the result is
 * exact, and only the part of the output that is wanted need be computed.
 */
#include "data/image_resize.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/pixel.h"

#include <math.h>
#include <string.h>

enum { BITS = MICA_PIXEL_BITS };

static double triangle(double x) {
  x = fabs(x);
  return x < 1 ? 1 - x : 0;
}

static double cubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double box(double x) {
  return x > -0.5 && x <= 0.5 ? 1 : 0;
}

static double sinc(double x) {
  if (x == 0) return 1;
  x *= 3.14159265358979323846;
  return sin(x) / x;
}

static double lanczos(double x) {
  return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

static const struct {
  const char *name;
  double (*weight)(double x);
  double support;
} filters[MICA_FILTER_COUNT] = {[MICA_FILTER_BILINEAR] = {"bilinear", triangle, 1},
                                [MICA_FILTER_BICUBIC] = {"bicubic", cubic, 2},
                                [MICA_FILTER_BOX] = {"box", box, 0.5},
                                [MICA_FILTER_LANCZOS] = {"lanczos", lanczos, 3}};

const char *mica_image_filter_name(mica_image_filter interpolation) {
  return (unsigned)interpolation < MICA_FILTER_COUNT ? filters[interpolation].name : NULL;
}

mica_status mica_image_filter_find(const char *name, mica_image_filter *out) {
  for (int i = 0; i < MICA_FILTER_COUNT; i++)
    if (name && strcmp(name, filters[i].name) == 0) {
      *out = (mica_image_filter)i;
      return MICA_OK;
    }
  return mica_fail(MICA_ERR_INVALID,
                   "interpolation '%s', expected bilinear, bicubic, box or lanczos",
                   name ? name : "");
}

/* Output position i of one axis is the sum of samples first[i] .. first[i]+n[i]-1 times the weights
 * weight[i*most ..]. */
typedef struct axis {
  int64_t count, most;
  int64_t *first, *n;
  int32_t *weight;
} axis;

static void axis_free(axis *a) {
  mica_free(a->first);
  mica_free(a->n);
  mica_free(a->weight);
}

/* Positions begin .. begin+count-1 of `size` samples resized to `full`. */
static mica_status axis_make(int64_t size, int64_t full, int64_t begin, int64_t count,
                             mica_image_filter interpolation, axis *a) {
  const double scale = (double)size / (double)full, widen = scale < 1 ? 1 : scale;
  const double support = filters[interpolation].support * widen;
  memset(a, 0, sizeof *a);
  a->count = count;
  a->most = 2 * (int64_t)ceil(support) + 1;
  a->first = mica_calloc((size_t)count, sizeof *a->first);
  a->n = mica_calloc((size_t)count, sizeof *a->n);
  a->weight = mica_calloc((size_t)count, (size_t)a->most * sizeof *a->weight);
  double *w = mica_calloc((size_t)a->most, sizeof *w);
  if (!a->first || !a->n || !a->weight || !w) {
    axis_free(a);
    mica_free(w);
    return MICA_ERR_MEMORY;
  }
  for (int64_t i = 0; i < count; i++) {
    const double centre = ((double)(begin + i) + 0.5) * scale;
    int64_t first = (int64_t)(centre - support + 0.5), last = (int64_t)(centre + support + 0.5);
    if (first < 0) first = 0;
    if (last > size) last = size;
    double sum = 0;
    for (int64_t k = 0; k < last - first; k++) {
      w[k] = filters[interpolation].weight(((double)(k + first) - centre + 0.5) * (1 / widen));
      sum += w[k];
    }
    a->first[i] = first;
    a->n[i] = last - first;
    for (int64_t k = 0; k < last - first; k++) {
      const double v = (sum != 0 ? w[k] / sum : w[k]) * (1 << BITS);
      a->weight[i * a->most + k] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
    }
  }
  mica_free(w);
  return MICA_OK;
}

/* The axis as the loops over rows want it: taps of every byte of a row [count, inner], all equally
 * many; those that a position has too few of weigh nothing. NULL: no memory. */
static int32_t *spread(const axis *a, int64_t inner, mica_pixel_taps *out) {
  int64_t taps = 1;
  for (int64_t i = 0; i < a->count; i++)
    if (a->n[i] > taps) taps = a->n[i];
  const int64_t n = a->count * inner;
  int32_t *at = mica_calloc((size_t)(2 * taps), (size_t)n * sizeof *at), *weight = at + taps * n;
  if (!at) return NULL;
  for (int64_t i = 0; i < a->count; i++)
    for (int64_t k = 0; k < a->n[i]; k++)
      for (int64_t c = 0; c < inner; c++) {
        at[k * n + i * inner + c] = (int32_t)((a->first[i] + k) * inner + c);
        weight[k * n + i * inner + c] = a->weight[i * a->most + k];
      }
  *out = (mica_pixel_taps){n, taps, at, weight};
  return at;
}

/* Rows [begin, end) of x resized across, then down to out. */
static mica_status resize_both(const axis *across, const axis *down, int64_t begin, int64_t end,
                               const uint8_t *x, int64_t w, int64_t c, uint8_t *out) {
  const mica_pixel_kernels *k = mica_kernels_default(MICA_F32)->pixel;
  mica_pixel_taps taps;
  int32_t *table = spread(across, c, &taps);
  int32_t *wide = mica_malloc((size_t)(w * c) * sizeof *wide);
  uint8_t *rows = table && wide ? mica_malloc((size_t)((end - begin) * taps.n)) : NULL;
  if (rows) {
    k->across(&taps, end - begin, w * c, x + begin * w * c, wide, rows);
    for (int64_t i = 0; i < down->count; i++)
      k->down(down->n[i], down->weight + i * down->most, taps.n,
              rows + (down->first[i] - begin) * taps.n, taps.n, out + i * taps.n);
  }
  const mica_status status = rows ? MICA_OK : MICA_ERR_MEMORY;
  mica_free(rows);
  mica_free(wide);
  mica_free(table);
  return status;
}

mica_status mica_resize_window(const uint8_t *x, int64_t h, int64_t w, int64_t c,
                               const mica_resize_to *to, uint8_t *out) {
  axis across, down;
  mica_status status =
      axis_make(w, to->full_width, to->left, to->width, to->interpolation, &across);
  if (status != MICA_OK) return status;
  status = axis_make(h, to->full_height, to->top, to->height, to->interpolation, &down);
  if (status != MICA_OK) {
    axis_free(&across);
    return status;
  }
  /* Only the rows that the second pass will look at. */
  const int64_t begin = down.first[0];
  const int64_t end = down.first[to->height - 1] + down.n[to->height - 1];
  status = resize_both(&across, &down, begin, end, x, w, c, out);
  axis_free(&across);
  axis_free(&down);
  return status;
}

mica_status mica_image_resize(const mica_tensor *image, int64_t height, int64_t width,
                              mica_image_filter interpolation, mica_tensor **out) {
  const mica_shape *s = mica_tensor_shape(image);
  *out = NULL;
  if (s->rank != 3 || mica_tensor_dtype(image) != MICA_U8 || (s->dim[2] != 1 && s->dim[2] != 3) ||
      s->dim[0] < 1 || s->dim[1] < 1)
    return mica_fail(MICA_ERR_SHAPE, "image: expected uint8 [H,W,1 or 3]");
  if (height < 1 || width < 1 || height > MICA_IMAGE_SIDE_MAX || width > MICA_IMAGE_SIDE_MAX ||
      height * width > MICA_IMAGE_PIXELS_MAX || !mica_image_filter_name(interpolation))
    return mica_fail(MICA_ERR_INVALID,
                     "image: resize to %lldx%lld, expected 1 to 2^28 pixels and a known "
                     "interpolation",
                     (long long)height, (long long)width);
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(height, width, s->dim[2]), out);
  if (status != MICA_OK) return status;
  const mica_resize_to to = {height, width, 0, 0, height, width, interpolation};
  status = mica_resize_window(mica_tensor_data(image), s->dim[0], s->dim[1], s->dim[2], &to,
                              mica_tensor_data(*out));
  if (status != MICA_OK) {
    mica_tensor_free(*out);
    *out = NULL;
  }
  return status;
}
