/* Pictures in files: tells the formats apart by their first bytes. */
#include "data/image_file.h"

#include "base/file.h"
#include "data/source.h"

#include <string.h>

#define FILE_MAX ((size_t)1 << 30)

mica_status mica_image_new(const char *name, int64_t h, int64_t w, int64_t c, mica_tensor **out) {
  if (h < 1 || w < 1 || h > MICA_IMAGE_SIDE_MAX || w > MICA_IMAGE_SIDE_MAX ||
      h * w > MICA_IMAGE_PIXELS_MAX)
    return mica_fail(MICA_ERR_FORMAT, "%s: %lldx%lld pixels, expected 1 to 2^28 in all", name,
                     (long long)h, (long long)w);
  return mica_tensor_create(MICA_U8, MICA_SHAPE(h, w, c), out);
}

typedef mica_status decoder(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out);

static mica_status decoder_of(const uint8_t *p, size_t n, const char *name, decoder **out) {
  if (n == 0) return mica_fail(MICA_ERR_FORMAT, "%s: is empty, expected a picture", name);
  if (n >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) {
#ifdef MICA_HAVE_PNG
    *out = mica_png_decode;
    return MICA_OK;
#else
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: this build reads no PNG (built without libpng)",
                     name);
#endif
  }
  if (n >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff) {
#ifdef MICA_HAVE_JPEG
    *out = mica_jpeg_decode;
    return MICA_OK;
#else
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: this build reads no JPEG (built without libjpeg)",
                     name);
#endif
  }
  if (n >= 3 && p[0] == 'P' && (p[1] == '5' || p[1] == '6')) {
    *out = mica_pnm_decode;
    return MICA_OK;
  }
  return mica_fail(MICA_ERR_FORMAT, "%s: not a picture: expected PNG, JPEG, PPM or PGM", name);
}

mica_status mica_image_recognise(const uint8_t *bytes, size_t n, const char *name) {
  decoder *decode;
  return decoder_of(bytes, n, name, &decode);
}

mica_status mica_image_decode(const void *bytes, size_t n, const char *name, mica_tensor **out) {
  decoder *decode;
  *out = NULL;
  const mica_status status = decoder_of(bytes, n, name, &decode);
  return status == MICA_OK ? decode(bytes, n, name, out) : status;
}

mica_status mica_image_read(const char *path, mica_tensor **out) {
  uint8_t *bytes;
  size_t n;
  *out = NULL;
  mica_status status = mica_file_read(path, FILE_MAX, &bytes, &n);
  if (status != MICA_OK) return status;
  status = mica_image_decode(bytes, n, path, out);
  mica_free(bytes);
  return status;
}

mica_status mica_image_read_regular(const char *path, mica_tensor **out) {
  mica_source source;
  uint8_t *bytes = NULL;
  *out = NULL;
  mica_status status = mica_source_open(path, &source);
  if (status != MICA_OK) return status;
  const size_t n = (size_t)source.size;
  if (source.size > FILE_MAX)
    status = mica_fail(MICA_ERR_FORMAT, "%s: more than the limit of %zu bytes", path, FILE_MAX);
  else if (!(bytes = mica_malloc(n)))
    status = MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_source_read(&source, 0, bytes, n);
  mica_source_close(&source);
  if (status == MICA_OK) status = mica_image_decode(bytes, n, path, out);
  mica_free(bytes);
  return status;
}
