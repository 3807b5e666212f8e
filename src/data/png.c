/* PNG through libpng, whose memory comes from mica's hooks.
 *
 * libpng reports errors with longjmp: everything that must be released is in one struct outside the
 * jump. Deflated data unpack to at most 1032 times their length, so a size that the file cannot
 * hold is refused before memory is asked for.
 */
#include "data/image_file.h"

#ifdef MICA_HAVE_PNG

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#define DEFLATE_RATIO 1032
#define ROWS_MAX      ((size_t)MICA_IMAGE_SIDE_MAX * 16)

typedef struct job {
  const uint8_t *bytes;
  size_t n, at;
  const char *name;
  char message[160];
  bool no_memory;
  mica_status status; /* of our own calls */
  int orientation;
  png_structp png;
  png_infop info;
  mica_tensor *image; /* [H,W,samples], alpha among them */
  png_bytep *rows;
  jmp_buf back;
} job;

static void read_bytes(png_structp png, png_bytep to, size_t n) {
  job *j = png_get_io_ptr(png);
  if (n > j->n - j->at) png_error(png, "truncated: the file ends in the middle");
  memcpy(to, j->bytes + j->at, n);
  j->at += n;
}

static void fail(png_structp png, png_const_charp text) {
  job *j = png_get_error_ptr(png);
  snprintf(j->message, sizeof j->message, "%s", text);
  longjmp(j->back, 1);
}

static void quiet(png_structp png, png_const_charp text) {
  (void)png, (void)text;
}

/* libpng asks for a chunk's memory before it looks whether the chunk is there. Two rows of the
 * widest picture, or the file's own length, are all that it may need at once. */
static png_voidp take(png_structp png, png_alloc_size_t n) {
  job *j = png_get_mem_ptr(png);
  if (n > j->n + ROWS_MAX) return NULL;
  void *block = mica_malloc(n);
  j->no_memory |= !block;
  return block;
}

static void give_back(png_structp png, png_voidp block) {
  (void)png;
  mica_free(block);
}

/* Decode into j->image; on an error libpng jumps out of here. */
static void decode(job *j) {
  png_set_read_fn(j->png, j, read_bytes);
  png_set_user_limits(j->png, (png_uint_32)MICA_IMAGE_SIDE_MAX, (png_uint_32)MICA_IMAGE_SIDE_MAX);
  png_read_info(j->png, j->info);
  const int64_t h = png_get_image_height(j->png, j->info);
  const int64_t w = png_get_image_width(j->png, j->info);
  const uint64_t packed = (uint64_t)h * (png_get_rowbytes(j->png, j->info) + 1);
  if (packed / DEFLATE_RATIO > j->n) {
    j->status = mica_fail(MICA_ERR_FORMAT,
                          "%s: PNG: %lldx%lld pixels announced, %zu bytes cannot hold them",
                          j->name, (long long)h, (long long)w, j->n);
    return;
  }
  png_set_expand(j->png);
  png_set_scale_16(j->png);
  (void)png_set_interlace_handling(j->png);
  png_read_update_info(j->png, j->info);
#ifdef PNG_eXIf_SUPPORTED
  png_uint_32 exif_bytes;
  png_bytep exif;
  if (png_get_eXIf_1(j->png, j->info, &exif_bytes, &exif))
    j->orientation = mica_exif_orientation(exif, exif_bytes);
#endif
  const int64_t samples = png_get_channels(j->png, j->info);
  j->status = mica_image_new(j->name, h, w, samples, &j->image);
  if (j->status != MICA_OK) return;
  if (png_get_rowbytes(j->png, j->info) != (size_t)(w * samples))
    png_error(j->png, "an unexpected layout of samples");
  j->rows = mica_malloc((size_t)h * sizeof *j->rows);
  if (!j->rows) {
    j->status = MICA_ERR_MEMORY;
    return;
  }
  for (int64_t y = 0; y < h; y++)
    j->rows[y] = (png_bytep)mica_tensor_data(j->image) + y * w * samples;
  png_read_image(j->png, j->rows);
}

/* Grey or colour with alpha, over white. */
static mica_status over_white(mica_tensor **image) {
  const int64_t h = mica_tensor_dim(*image, 0), w = mica_tensor_dim(*image, 1);
  const int64_t samples = mica_tensor_dim(*image, 2), c = samples - 1;
  if (samples != 2 && samples != 4) return MICA_OK;
  mica_tensor *flat;
  mica_status status = mica_tensor_create(MICA_U8, MICA_SHAPE(h, w, c), &flat);
  if (status != MICA_OK) return status;
  const uint8_t *from = mica_tensor_data(*image);
  uint8_t *to = mica_tensor_data(flat);
  for (int64_t i = 0; i < h * w; i++, from += samples)
    for (int64_t k = 0; k < c; k++)
      *to++ = (uint8_t)((from[k] * from[c] + 255 * (255 - from[c]) + 127) / 255);
  mica_tensor_free(*image);
  *image = flat;
  return MICA_OK;
}

mica_status mica_png_decode(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out) {
  job j = {.bytes = bytes, .n = n, .name = name, .orientation = 1};
  *out = NULL;
  j.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &j, fail, quiet, &j, take, give_back);
  if (j.png) j.info = png_create_info_struct(j.png);
  if (!j.info) {
    j.no_memory = true;
  } else if (setjmp(j.back) == 0) {
    decode(&j);
  } else {
    j.status = mica_fail(MICA_ERR_FORMAT, "%s: PNG: %s", name, j.message);
  }
  png_destroy_read_struct(j.png ? &j.png : NULL, j.info ? &j.info : NULL, NULL);
  mica_free(j.rows);
  /* libpng does without some chunks when memory is short; an answer should not depend on that. */
  if (j.no_memory) j.status = mica_fail(MICA_ERR_MEMORY, "%s: PNG: out of memory", name);
  if (j.status == MICA_OK) j.status = over_white(&j.image);
  if (j.status == MICA_OK) j.status = mica_image_upright(j.orientation, &j.image);
  if (j.status == MICA_OK)
    *out = j.image;
  else
    mica_tensor_free(j.image);
  return j.status;
}

#endif
