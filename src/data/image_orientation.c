/* The Exif orientation of a picture: where the camera's top was (Exif 2.3, tag 0x0112). */
#include "data/image_file.h"

#include <string.h>

static uint32_t number(const uint8_t *p, int bytes, bool big) {
  uint32_t v = 0;
  for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << 8 * (big ? bytes - 1 - i : i);
  return v;
}

/* A TIFF head (byte order, 42, offset of the first directory), then entries of 12 bytes: tag, type,
 * count, value. */
int mica_exif_orientation(const uint8_t *p, size_t n) {
  if (n < 8 || p[0] != p[1] || (p[0] != 'I' && p[0] != 'M')) return 1;
  const bool big = p[0] == 'M';
  const size_t at = number(p + 4, 4, big);
  if (number(p + 2, 2, big) != 42 || at > n - 2) return 1;
  const size_t entries = number(p + at, 2, big);
  for (size_t i = 0; i < entries && at + 2 + 12 * (i + 1) <= n; i++) {
    const uint8_t *e = p + at + 2 + 12 * i;
    if (number(e, 2, big) != 0x0112) continue;
    const uint32_t v = number(e + 8, 2, big);
    return number(e + 2, 2, big) == 3 && v >= 1 && v <= 8 ? (int)v : 1;
  }
  return 1;
}

mica_status mica_image_upright(int orientation, mica_tensor **image) {
  if (orientation < 2 || orientation > 8) return MICA_OK;
  const int64_t h = mica_tensor_dim(*image, 0), w = mica_tensor_dim(*image, 1);
  const int64_t c = mica_tensor_dim(*image, 2);
  /* Orientations from 5 on exchange rows and columns; then a side may be mirrored. */
  const bool swap = orientation >= 5;
  const bool down = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool across = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const int64_t oh = swap ? w : h, ow = swap ? h : w;
  mica_tensor *turned;
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(oh, ow, c), &turned);
  if (status != MICA_OK) return status;
  const uint8_t *from = mica_tensor_data(*image);
  uint8_t *to = mica_tensor_data(turned);
  for (int64_t y = 0; y < oh; y++)
    for (int64_t x = 0; x < ow; x++, to += c) {
      int64_t sy = swap ? x : y, sx = swap ? y : x;
      if (down) sy = h - 1 - sy;
      if (across) sx = w - 1 - sx;
      memcpy(to, from + (sy * w + sx) * c, (size_t)c);
    }
  mica_tensor_free(*image);
  *image = turned;
  return MICA_OK;
}
