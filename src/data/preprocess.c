/* A decoded picture becomes what a network reads: resize, centre crop, channels, normalisation. */
#include "data/image_resize.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/pixel.h"

#include <math.h>
#include <string.h>

/* Where a crop of n begins in `full`: the middle, a half rounded to the even side as torchvision
 * does. */
static int64_t centre(int64_t full, int64_t n) {
  const int64_t d = full - n;
  return d / 2 + (d % 4 == 3);
}

mica_status mica_prepare_pixels(const uint8_t *x, int64_t h, int64_t w, int64_t c,
                                const mica_preprocess *p, uint8_t *out) {
  const double crop = p->crop == 0 ? 1 : p->crop;
  if (p->height < 1 || p->width < 1 || p->height > MICA_IMAGE_SIDE_MAX ||
      p->width > MICA_IMAGE_SIDE_MAX || (p->channels != 1 && p->channels != 3) ||
      !(crop >= 0.01 && crop <= 1) || !mica_image_filter_name(p->interpolation) ||
      (unsigned)p->fit > MICA_FIT_WHOLE)
    return mica_fail(MICA_ERR_INVALID,
                     "preprocess: to %lldx%lldx%lld with crop %g, expected 1 or 3 channels, a crop "
                     "of 0.01 to 1, a known interpolation and fit",
                     (long long)p->height, (long long)p->width, (long long)p->channels, crop);
  if (h == p->height && w == p->width && c == p->channels && crop == 1) {
    memcpy(out, x, (size_t)(h * w * c));
    return MICA_OK;
  }
  /* The resized picture covers the target over `crop`: one side fits, the other overhangs, unless
   * each is resized by itself. */
  mica_resize_to to = {.height = p->height, .width = p->width, .interpolation = p->interpolation};
  to.full_height = (int64_t)floor((double)p->height / crop);
  to.full_width = (int64_t)floor((double)p->width / crop);
  if (p->fit == MICA_FIT_WHOLE)
    ; /* both sides as they are */
  else if (h * to.full_width < w * to.full_height)
    to.full_width = to.full_height * w / h;
  else
    to.full_height = to.full_width * h / w;
  to.top = centre(to.full_height, to.height);
  to.left = centre(to.full_width, to.width);
  uint8_t *grey = NULL;
  if (c == 3 && p->channels == 1) {
    grey = mica_malloc((size_t)(h * w));
    if (!grey) return MICA_ERR_MEMORY;
    for (int64_t i = 0; i < h * w; i++, x += 3)
      grey[i] = (uint8_t)((19595 * x[0] + 38470 * x[1] + 7471 * x[2] + 32768) >> 16);
    x = grey;
    c = 1;
  }
  mica_status status = mica_resize_window(x, h, w, c, &to, out);
  mica_free(grey);
  if (status == MICA_OK && c == 1 && p->channels == 3)
    for (int64_t i = to.height * to.width; i-- > 0;) memset(out + 3 * i, out[i], 3);
  return status;
}

mica_status mica_image_prepare(const mica_tensor *image, const mica_preprocess *p, uint8_t *out) {
  const mica_shape *s = mica_tensor_shape(image);
  if (s->rank != 3 || mica_tensor_dtype(image) != MICA_U8 || (s->dim[2] != 1 && s->dim[2] != 3) ||
      s->dim[0] < 1 || s->dim[1] < 1)
    return mica_fail(MICA_ERR_SHAPE, "image: expected uint8 [H,W,1 or 3]");
  return mica_prepare_pixels(mica_tensor_data(image), s->dim[0], s->dim[1], s->dim[2], p, out);
}

mica_status mica_image_cover(const mica_tensor *image, int64_t height, int64_t width,
                             int64_t channels, uint8_t *out) {
  const mica_preprocess p = {.height = height, .width = width, .channels = channels, .crop = 1};
  return mica_image_prepare(image, &p, out);
}

void mica_image_normalise(const mica_preprocess *p, const uint8_t *pixels, int64_t n, float *out) {
  double scale[4], shift[4];
  for (int64_t c = 0; c < p->channels; c++) {
    scale[c] = 1 / (255 * p->deviation[c]);
    shift[c] = -p->mean[c] / p->deviation[c];
  }
  mica_kernels_default(MICA_F32)->pixel->normalise(n * p->height * p->width, p->channels, scale,
                                                   shift, pixels, out);
}
