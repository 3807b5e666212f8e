/* A picture at another size: resize to cover, crop the centre.
 *
 * The resize is a triangle filter whose support grows with the shrinking factor, rows and columns
 * apart: what Pillow calls BILINEAR. Samples outside the picture do not count and the weights are
 * normalised.
 */
#include <mica/dataset.h>

#include <math.h>
#include <string.h>

/* Weights of one output position: sources first..first+n-1. */
typedef struct taps {
  int64_t first, n;
} taps;

static taps taps_of(int64_t out, double scale, int64_t size, double *weight) {
  const double support = scale > 1 ? scale : 1, centre = ((double)out + 0.5) * scale;
  int64_t first = (int64_t)floor(centre - support + 0.5),
          last = (int64_t)floor(centre + support + 0.5);
  if (first < 0) first = 0;
  if (last > size) last = size;
  double sum = 0;
  for (int64_t i = first; i < last; i++) {
    const double d = fabs(((double)i + 0.5 - centre) / support);
    weight[i - first] = d < 1 ? 1 - d : 0;
    sum += weight[i - first];
  }
  for (int64_t i = 0; i < last - first; i++) weight[i] /= sum;
  return (taps){first, last - first};
}

/* Positions begin..begin+n-1 along one axis of [outer, size, inner]. */
static mica_status resize_axis(const float *x, int64_t outer, int64_t size, int64_t inner,
                               double scale, int64_t begin, int64_t n, float *y) {
  double *weight = mica_malloc(((size_t)(2 * (scale > 1 ? scale : 1)) + 3) * sizeof *weight);
  if (!weight) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    const taps t = taps_of(begin + i, scale, size, weight);
    for (int64_t o = 0; o < outer; o++) {
      float *to = y + (o * n + i) * inner;
      memset(to, 0, (size_t)inner * sizeof *to);
      for (int64_t k = 0; k < t.n; k++) {
        const float *from = x + (o * size + t.first + k) * inner, w = (float)weight[k];
        for (int64_t c = 0; c < inner; c++) to[c] += w * from[c];
      }
    }
  }
  mica_free(weight);
  return MICA_OK;
}

mica_status mica_image_cover(const mica_tensor *image, int64_t height, int64_t width,
                             int64_t channels, uint8_t *out) {
  const mica_shape *s = mica_tensor_shape(image);
  if (s->rank != 3 || mica_tensor_dtype(image) != MICA_U8 || (s->dim[2] != 1 && s->dim[2] != 3) ||
      (channels != 1 && channels != 3) || height < 1 || width < 1)
    return mica_fail(MICA_ERR_SHAPE, "image: expected uint8 [H,W,1 or 3] to 1 or 3 channels");
  const int64_t h = s->dim[0], w = s->dim[1], c = s->dim[2];
  const double fy = (double)h / (double)height, fx = (double)w / (double)width,
               f = fy < fx ? fy : fx;
  /* One factor for both axes; the longer one overhangs and is cropped. */
  const int64_t full_h = (int64_t)llround((double)h / f), full_w = (int64_t)llround((double)w / f);
  const int64_t top = (full_h - height) / 2, left = (full_w - width) / 2;
  float *x = mica_malloc((size_t)(h * w * c) * sizeof *x);
  float *rows = mica_malloc((size_t)(height * w * c) * sizeof *rows);
  float *y = mica_malloc((size_t)(height * width * c) * sizeof *y);
  mica_status status = x && rows && y ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const uint8_t *from = mica_tensor_data(image);
    for (int64_t i = 0; i < h * w * c; i++) x[i] = from[i];
    status = resize_axis(x, 1, h, w * c, (double)h / (double)full_h, top, height, rows);
  }
  if (status == MICA_OK)
    status = resize_axis(rows, height, w, c, (double)w / (double)full_w, left, width, y);
  for (int64_t p = 0; p < height * width && status == MICA_OK; p++) {
    const float *v = y + p * c;
    float made[3] = {v[0], v[0], v[0]};
    if (c == 3 && channels == 3) memcpy(made, v, sizeof made);
    if (c == 3 && channels == 1) made[0] = 0.299f * v[0] + 0.587f * v[1] + 0.114f * v[2];
    for (int64_t k = 0; k < channels; k++) {
      const float r = floorf(made[k] + 0.5f);
      out[p * channels + k] = (uint8_t)(r < 0 ? 0 : r > 255 ? 255 : r);
    }
  }
  mica_free(x);
  mica_free(rows);
  mica_free(y);
  return status;
}
