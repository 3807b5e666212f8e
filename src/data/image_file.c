/* Pictures: PNG through libpng, JPEG through libjpeg-turbo, PPM and PGM ourselves.
 *
 * The libraries report errors with longjmp: everything that must be released is kept in one struct
 * that lives outside the jump, and a size is checked before memory is asked for.
 */
#include <mica/dataset.h>

#include "base/file.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#ifdef MICA_HAVE_PNG
#include <png.h>
#endif
#ifdef MICA_HAVE_JPEG
#include <jpeglib.h>
#endif

#define PIXELS_MAX ((int64_t)1 << 28)
#define FILE_MAX   ((size_t)1 << 30)

/* An image tensor of this size, after the checks that keep a small file from asking for much
 * memory. */
static mica_status image_new(const char *name, int64_t h, int64_t w, int64_t c, mica_tensor **out) {
  if (h < 1 || w < 1 || h > 65535 * 16 || w > 65535 * 16 || h * w > PIXELS_MAX)
    return mica_fail(MICA_ERR_FORMAT, "%s: %lldx%lld pixels, expected 1 to 2^28 in all", name,
                     (long long)h, (long long)w);
  return mica_tensor_create(MICA_U8, MICA_SHAPE(h, w, c), out);
}

/* ---- PNG ---- */

#ifdef MICA_HAVE_PNG
typedef struct png_job {
  const uint8_t *bytes;
  size_t n, at;
  char message[160];
  mica_tensor *image;
  png_bytep *rows;
  jmp_buf back;
} png_job;

static void png_read(png_structp png, png_bytep to, size_t n) {
  png_job *j = png_get_io_ptr(png);
  if (n > j->n - j->at) png_error(png, "the file ends in the middle");
  memcpy(to, j->bytes + j->at, n);
  j->at += n;
}
static void png_fail(png_structp png, png_const_charp text) {
  png_job *j = png_get_error_ptr(png);
  snprintf(j->message, sizeof j->message, "%s", text);
  longjmp(j->back, 1);
}
static void png_quiet(png_structp png, png_const_charp text) {
  (void)png, (void)text;
}

static mica_status decode_png(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out) {
  png_job j = {.bytes = bytes, .n = n};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, png_fail, png_quiet);
  if (!png) return mica_fail(MICA_ERR_MEMORY, "%s: out of memory", name);
  png_infop info = NULL;
  mica_status status = MICA_OK;
  if (setjmp(j.back)) {
    png_destroy_read_struct(&png, info ? &info : NULL, NULL);
    mica_free(j.rows);
    mica_tensor_free(j.image);
    return mica_fail(MICA_ERR_FORMAT, "%s: PNG: %s", name, j.message);
  }
  info = png_create_info_struct(png);
  if (!info) png_error(png, "out of memory");
  png_set_read_fn(png, &j, png_read);
  png_set_user_limits(png, 65535 * 16, 65535 * 16);
  png_read_info(png, info);
  const int64_t h = png_get_image_height(png, info), w = png_get_image_width(png, info);
  const int type = png_get_color_type(png, info);
  const bool grey = !(type & PNG_COLOR_MASK_COLOR);
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  status = image_new(name, h, w, grey ? 1 : 3, &j.image);
  if (status == MICA_OK && png_get_rowbytes(png, info) != (size_t)(w * (grey ? 1 : 3)))
    png_error(png, "an unexpected layout of samples");
  j.rows = status == MICA_OK ? mica_malloc((size_t)h * sizeof *j.rows) : NULL;
  if (!j.rows) {
    png_destroy_read_struct(&png, &info, NULL);
    mica_tensor_free(j.image);
    return status == MICA_OK ? MICA_ERR_MEMORY : status;
  }
  for (int64_t y = 0; y < h; y++)
    j.rows[y] = (png_bytep)mica_tensor_data(j.image) + y * w * (grey ? 1 : 3);
  png_read_image(png, j.rows);
  png_destroy_read_struct(&png, &info, NULL);
  mica_free(j.rows);
  *out = j.image;
  return MICA_OK;
}
#endif

/* ---- JPEG ---- */

#ifdef MICA_HAVE_JPEG
typedef struct jpeg_job {
  struct jpeg_error_mgr manager; /* first: libjpeg hands us a pointer to it */
  jmp_buf back;
  char message[JMSG_LENGTH_MAX];
  mica_tensor *image;
} jpeg_job;

static void jpeg_fail(j_common_ptr c) {
  jpeg_job *j = (jpeg_job *)(void *)c->err;
  c->err->format_message(c, j->message);
  longjmp(j->back, 1);
}
static void jpeg_quiet(j_common_ptr c) {
  (void)c;
}

static mica_status decode_jpeg(const uint8_t *bytes, size_t n, const char *name,
                               mica_tensor **out) {
  struct jpeg_decompress_struct c;
  jpeg_job j;
  memset(&c, 0, sizeof c);
  memset(&j, 0, sizeof j);
  c.err = jpeg_std_error(&j.manager);
  j.manager.error_exit = jpeg_fail;
  j.manager.output_message = jpeg_quiet;
  if (setjmp(j.back)) {
    jpeg_destroy_decompress(&c);
    mica_tensor_free(j.image);
    return mica_fail(MICA_ERR_FORMAT, "%s: JPEG: %s", name, j.message);
  }
  jpeg_create_decompress(&c);
  jpeg_mem_src(&c, bytes, (unsigned long)n);
  jpeg_read_header(&c, TRUE);
  const bool grey = c.jpeg_color_space == JCS_GRAYSCALE;
  c.out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
  mica_status status = image_new(name, c.image_height, c.image_width, grey ? 1 : 3, &j.image);
  if (status != MICA_OK) {
    jpeg_destroy_decompress(&c);
    return status;
  }
  jpeg_start_decompress(&c);
  while (c.output_scanline < c.output_height) {
    JSAMPROW row = (JSAMPROW)mica_tensor_data(j.image) +
                   (size_t)c.output_scanline * c.output_width * (grey ? 1 : 3);
    jpeg_read_scanlines(&c, &row, 1);
  }
  jpeg_finish_decompress(&c);
  /* A file cut short is padded with grey and a warning: that is not the picture. */
  const bool short_file = j.manager.num_warnings > 0;
  jpeg_destroy_decompress(&c);
  if (short_file) {
    mica_tensor_free(j.image);
    return mica_fail(MICA_ERR_FORMAT, "%s: JPEG: corrupt or cut short", name);
  }
  *out = j.image;
  return MICA_OK;
}
#endif

/* ---- PPM and PGM, binary ---- */

/* A number of the header, after blanks and comments; -1 when there is none. */
static int64_t pnm_number(const uint8_t *p, size_t n, size_t *at) {
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

static mica_status decode_pnm(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out) {
  const int64_t c = bytes[1] == '6' ? 3 : 1;
  size_t at = 2;
  const int64_t w = pnm_number(bytes, n, &at), h = pnm_number(bytes, n, &at);
  const int64_t most = pnm_number(bytes, n, &at);
  if (w < 0 || h < 0 || most != 255 || at >= n)
    return mica_fail(MICA_ERR_FORMAT, "%s: PNM: expected width, height and 255 in the header",
                     name);
  at++;
  /* Compare with the bytes that are there before asking for memory. */
  if (h > PIXELS_MAX || w > PIXELS_MAX || h * w * c > (int64_t)(n - at))
    return mica_fail(MICA_ERR_FORMAT, "%s: PNM: %lldx%lld pixels announced, %zu bytes there", name,
                     (long long)h, (long long)w, n - at);
  mica_status status = image_new(name, h, w, c, out);
  if (status == MICA_OK) memcpy(mica_tensor_data(*out), bytes + at, (size_t)(h * w * c));
  return status;
}

/* ---- any of them ---- */

mica_status mica_image_decode(const void *bytes, size_t n, const char *name, mica_tensor **out) {
  const uint8_t *p = bytes;
  *out = NULL;
  if (n >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) {
#ifdef MICA_HAVE_PNG
    return decode_png(p, n, name, out);
#else
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: this build reads no PNG (built without libpng)",
                     name);
#endif
  }
  if (n >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff) {
#ifdef MICA_HAVE_JPEG
    return decode_jpeg(p, n, name, out);
#else
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: this build reads no JPEG (built without libjpeg)",
                     name);
#endif
  }
  if (n >= 3 && p[0] == 'P' && (p[1] == '5' || p[1] == '6')) return decode_pnm(p, n, name, out);
  return mica_fail(MICA_ERR_FORMAT, "%s: not a picture: expected PNG, JPEG, PPM or PGM", name);
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
