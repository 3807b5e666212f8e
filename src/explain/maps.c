/* Maps: another size, a common range, several as one, over a picture. */
#include <mica/explain.h>

#include <math.h>
#include <string.h>

static mica_status check_map(const mica_tensor *map) {
  if (mica_tensor_dtype(map) == MICA_F32 && mica_tensor_shape(map)->rank == 3) return MICA_OK;
  return mica_fail(MICA_ERR_SHAPE, "a saliency map is float32 [N,h,w]");
}

/* Where a pixel of the larger map lies in the smaller one, and the weight of the second neighbour.
 */
static void source(int64_t i, int64_t to, int64_t from, int64_t *a, int64_t *b, double *part) {
  double at = ((double)i + 0.5) * (double)from / (double)to - 0.5;
  if (at < 0) at = 0;
  *a = (int64_t)at;
  if (*a > from - 1) *a = from - 1;
  *b = *a + 1 < from ? *a + 1 : *a;
  *part = at - (double)*a;
}

mica_status mica_map_resize(const mica_tensor *map, int64_t height, int64_t width,
                            mica_tensor **out) {
  mica_tensor *to = NULL;
  mica_status status = check_map(map);
  const mica_shape *s = mica_tensor_shape(map);
  if (status == MICA_OK && (height < 1 || width < 1 || s->dim[1] < 1 || s->dim[2] < 1))
    status = mica_fail(MICA_ERR_SHAPE, "a map of %lld x %lld at %lld x %lld", (long long)s->dim[1],
                       (long long)s->dim[2], (long long)height, (long long)width);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->dim[0], height, width), &to);
  if (status != MICA_OK) return status;
  const float *from = mica_tensor_data(map);
  float *at = mica_tensor_data(to);
  for (int64_t i = 0; i < s->dim[0]; i++, from += s->dim[1] * s->dim[2])
    for (int64_t r = 0; r < height; r++) {
      int64_t ra, rb, ca, cb;
      double rp, cp;
      source(r, height, s->dim[1], &ra, &rb, &rp);
      for (int64_t c = 0; c < width; c++) {
        source(c, width, s->dim[2], &ca, &cb, &cp);
        const double upper =
            (double)from[ra * s->dim[2] + ca] * (1 - cp) + (double)from[ra * s->dim[2] + cb] * cp;
        const double lower =
            (double)from[rb * s->dim[2] + ca] * (1 - cp) + (double)from[rb * s->dim[2] + cb] * cp;
        *at++ = (float)(upper * (1 - rp) + lower * rp);
      }
    }
  *out = to;
  return MICA_OK;
}

void mica_map_normalise(mica_tensor *map) {
  const int64_t n = mica_tensor_dim(map, 0), size = n ? mica_tensor_count(map) / n : 0;
  float *v = mica_tensor_data(map);
  for (int64_t i = 0; i < n; i++, v += size) {
    float lo = INFINITY, hi = -INFINITY;
    for (int64_t k = 0; k < size; k++) {
      lo = fminf(lo, v[k]);
      hi = fmaxf(hi, v[k]);
    }
    for (int64_t k = 0; k < size; k++) v[k] = hi > lo ? (v[k] - lo) / (hi - lo) : 0;
  }
}

void mica_map_depth_weights(int n, double *weights) {
  for (int l = 0; l < n; l++) weights[l] = 2.0 * (l + 1) / ((double)n * (n + 1));
}

mica_status mica_map_combine(int n, const mica_tensor *const *maps, const double *weights,
                             bool product, mica_tensor **out) {
  double total = 0;
  mica_tensor *to = NULL;
  if (n < 1 || n > 64) return mica_fail(MICA_ERR_INVALID, "%d maps, expected 1 to 64", n);
  mica_status status = check_map(maps[0]);
  for (int l = 0; l < n && status == MICA_OK; l++) {
    if (!mica_shape_equal(mica_tensor_shape(maps[l]), mica_tensor_shape(maps[0])) ||
        mica_tensor_dtype(maps[l]) != MICA_F32)
      status = mica_fail(MICA_ERR_SHAPE, "maps of different shapes cannot be combined");
    if (weights && !(weights[l] >= 0))
      status =
          mica_fail(MICA_ERR_INVALID, "a layer's weight of %g, expected 0 or more", weights[l]);
    total += weights ? weights[l] : 1;
  }
  if (status == MICA_OK && !(total > 0))
    status = mica_fail(MICA_ERR_INVALID, "the layers' weights sum to 0");
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, *mica_tensor_shape(maps[0]), &to);
  if (status != MICA_OK) return status;
  float *at = mica_tensor_data(to);
  for (int64_t i = 0; i < mica_tensor_count(to); i++) {
    double v = product ? 1 : 0;
    for (int l = 0; l < n; l++) {
      const double m = (double)((const float *)mica_tensor_data(maps[l]))[i];
      const double w = weights ? weights[l] / total : 1;
      if (product)
        v *= weights ? pow(m, w) : m;
      else
        v += weights ? w * m : m / n;
    }
    at[i] = (float)v;
  }
  *out = to;
  return MICA_OK;
}

/* From blue through green and yellow to red: black body colours would vanish on dark pictures. */
static void heat(double v, double rgb[3]) {
  const double x = 4 * v;
  rgb[0] = fmax(0, fmin(1, fmin(x - 1.5, 4.5 - x)));
  rgb[1] = fmax(0, fmin(1, fmin(x - 0.5, 3.5 - x)));
  rgb[2] = fmax(0, fmin(1, fmin(x + 0.5, 2.5 - x)));
}

mica_status mica_map_overlay(const float *map, const uint8_t *image, int64_t height, int64_t width,
                             int64_t channels, double alpha, uint8_t *rgb) {
  if (height < 1 || width < 1 || (channels != 1 && channels != 3) || !(alpha >= 0) || !(alpha <= 1))
    return mica_fail(MICA_ERR_INVALID, "an overlay of %lld x %lld x %lld with alpha %g",
                     (long long)height, (long long)width, (long long)channels, alpha);
  for (int64_t i = 0; i < height * width; i++) {
    double colour[3];
    const double v = fmax(0, fmin(1, (double)map[i])), a = alpha * (0.3 + 0.7 * v);
    heat(isnan(v) ? 0 : v, colour);
    for (int k = 0; k < 3; k++) {
      const double under = image[i * channels + (channels == 3 ? k : 0)];
      rgb[3 * i + k] = (uint8_t)lround((1 - a) * under + a * 255 * colour[k]);
    }
  }
  return MICA_OK;
}
