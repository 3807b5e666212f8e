/* PPM and PGM, the binary forms: a head in text, then one or two bytes a sample. */
#include "data/image_file.h"

#include <string.h>

/* A number of the header, after blanks and comments; -1 when there is none. */
static int64_t number(const uint8_t *p, size_t n, size_t *at) {
  while (*at < n && (p[*at] == '#' || p[*at] == ' ' || (p[*at] >= '\t' && p[*at] <= '\r'))) {
    if (p[*at] == '#')
      while (*at < n && p[*at] != '\n') ++*at;
    else
      ++*at;
  }
  int64_t v = -1;
  for (; *at < n && p[*at] >= '0' && p[*at] <= '9'; ++*at) {
    v = (v < 0 ? 0 : v) * 10 + (p[*at] - '0');
    if (v > INT32_MAX) return -1;
  }
  return v;
}

mica_status mica_pnm_decode(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out) {
  const int64_t c = bytes[1] == '6' ? 3 : 1;
  size_t at = 2;
  *out = NULL;
  const int64_t w = number(bytes, n, &at), h = number(bytes, n, &at);
  const int64_t most = number(bytes, n, &at);
  if (w < 1 || h < 1 || most < 1 || most > 65535 || at >= n)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: PNM: expected width, height and a largest value of 1 to 65535 in the "
                     "header",
                     name);
  at++;
  /* Compare with the bytes that are there before asking for memory. */
  const int64_t wide = most > 255 ? 2 : 1;
  if (h > MICA_IMAGE_SIDE_MAX || w > MICA_IMAGE_SIDE_MAX || h * w * c * wide > (int64_t)(n - at))
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: PNM: truncated: %lldx%lld pixels announced, %zu bytes there", name,
                     (long long)h, (long long)w, n - at);
  mica_status status = mica_image_new(name, h, w, c, out);
  if (status != MICA_OK) return status;
  const uint8_t *from = bytes + at;
  uint8_t *to = mica_tensor_data(*out);
  for (int64_t i = 0; i < h * w * c; i++, from += wide) {
    const int64_t v = wide == 2 ? from[0] << 8 | from[1] : from[0];
    to[i] = (uint8_t)(((v < most ? v : most) * 255 + most / 2) / most);
  }
  return status;
}
