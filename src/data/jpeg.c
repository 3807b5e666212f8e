/* JPEG through libjpeg-turbo.
 *
 * Errors come with longjmp: everything that must be released is in one struct outside the jump.
 * Warnings are let pass (cameras write odd files that decode), but for the one that says that the
 * file ended early: libjpeg fills the rest with grey, and that is not the picture. libjpeg takes
 * its working memory from malloc; it is bounded by the size of the picture, which is checked.
 */
#include "data/image_file.h"

#ifdef MICA_HAVE_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* Each scan goes over the whole picture: a small file could ask for days. The usual progressive
 * file has ten. */
#define SCANS_MAX       100
#define SCAN_PIXELS_MAX ((uint64_t)1 << 32)

typedef struct job {
  struct jpeg_error_mgr manager; /* first: libjpeg hands us a pointer to it */
  struct jpeg_progress_mgr progress;
  struct jpeg_decompress_struct c;
  jmp_buf back;
  const char *name;
  char message[JMSG_LENGTH_MAX];
  bool cut_short;
  mica_status status; /* of our own calls */
  int orientation;
  mica_tensor *image;
  uint8_t *row; /* one of CMYK samples */
} job;

static void fail(j_common_ptr c) {
  job *j = (job *)(void *)c->err;
  c->err->format_message(c, j->message);
  longjmp(j->back, 1);
}

static void fail_with(job *j, const char *text) {
  snprintf(j->message, sizeof j->message, "%s", text);
  longjmp(j->back, 1);
}

static void quiet(j_common_ptr c) {
  (void)c;
}

static void warn(j_common_ptr c, int level) {
  job *j = (job *)(void *)c->err;
  if (level < 0 && c->err->msg_code == JWRN_JPEG_EOF) j->cut_short = true;
}

static void progress(j_common_ptr c) {
  job *j = (job *)(void *)c->err;
  if (!c->is_decompressor) return;
  const uint64_t scans = (uint64_t)j->c.input_scan_number;
  const uint64_t pixels = (uint64_t)j->c.image_width * j->c.image_height;
  if (scans > SCANS_MAX || scans * pixels > SCAN_PIXELS_MAX) fail_with(j, "too many scans");
}

/* Can n bytes hold that many pixels? A Huffman-coded block of 8x8 samples takes a bit or more, and
 * one component has the picture's full size. Arithmetic coding has no such bound; it is rare, and a
 * fixed one does. */
static bool plausible(const struct jpeg_decompress_struct *c, size_t n) {
  const uint64_t pixels = (uint64_t)c->image_width * c->image_height;
  return c->arith_code ? pixels <= 1 << 25 : pixels / 512 <= n;
}

static int orientation_of(const struct jpeg_decompress_struct *c) {
  for (jpeg_saved_marker_ptr m = c->marker_list; m; m = m->next)
    if (m->marker == JPEG_APP0 + 1 && m->data_length > 6 && memcmp(m->data, "Exif\0\0", 6) == 0)
      return mica_exif_orientation(m->data + 6, m->data_length - 6);
  return 1;
}

/* a * b / 255, rounded. */
static int part(int a, int b) {
  const int v = a * b + 128;
  return (v + (v >> 8)) >> 8;
}

/* One row of CMYK samples; Adobe's programs store them inverted and say so with a marker. */
static void cmyk_to_rgb(const uint8_t *from, int64_t w, bool inverted, uint8_t *to) {
  const int flip = inverted ? 255 : 0;
  for (int64_t x = 0; x < w; x++, from += 4) {
    const int white = 255 - (from[3] ^ flip);
    for (int k = 0; k < 3; k++) *to++ = (uint8_t)(white - part(from[k] ^ flip, white));
  }
}

/* Decode into j->image; on an error libjpeg jumps out of here. */
static void decode(job *j, const uint8_t *bytes, size_t n) {
  struct jpeg_decompress_struct *c = &j->c;
  jpeg_create_decompress(c);
  c->progress = &j->progress;
  jpeg_mem_src(c, bytes, (unsigned long)n);
  jpeg_save_markers(c, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(c, TRUE);
  const int64_t h = c->image_height, w = c->image_width;
  if (!plausible(c, n)) {
    j->status = mica_fail(MICA_ERR_FORMAT,
                          "%s: JPEG: %lldx%lld pixels announced, %zu bytes cannot hold them",
                          j->name, (long long)h, (long long)w, n);
    return;
  }
  j->orientation = orientation_of(c);
  const bool grey = c->jpeg_color_space == JCS_GRAYSCALE;
  const bool cmyk = c->jpeg_color_space == JCS_CMYK || c->jpeg_color_space == JCS_YCCK;
  if (c->jpeg_color_space == JCS_UNKNOWN) fail_with(j, "neither grey, nor colour, nor CMYK");
  c->out_color_space = grey ? JCS_GRAYSCALE : cmyk ? JCS_CMYK : JCS_RGB;
  const int64_t channels = grey ? 1 : 3;
  j->status = mica_image_new(j->name, h, w, channels, &j->image);
  if (j->status == MICA_OK && cmyk && !(j->row = mica_malloc((size_t)w * 4)))
    j->status = MICA_ERR_MEMORY;
  if (j->status != MICA_OK) return;
  jpeg_start_decompress(c);
  while (c->output_scanline < c->output_height) {
    uint8_t *to = (uint8_t *)mica_tensor_data(j->image) + c->output_scanline * w * channels;
    JSAMPROW row = cmyk ? j->row : to;
    if (jpeg_read_scanlines(c, &row, 1) == 1 && cmyk) cmyk_to_rgb(row, w, c->saw_Adobe_marker, to);
  }
  jpeg_finish_decompress(c);
}

mica_status mica_jpeg_decode(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out) {
  job j;
  memset(&j, 0, sizeof j);
  *out = NULL;
  j.name = name;
  j.orientation = 1;
  j.c.err = jpeg_std_error(&j.manager);
  j.manager.error_exit = fail;
  j.manager.output_message = quiet;
  j.manager.emit_message = warn;
  j.progress.progress_monitor = progress;
  if (setjmp(j.back) == 0)
    decode(&j, bytes, n);
  else
    j.status =
        mica_fail(j.manager.msg_code == JERR_OUT_OF_MEMORY ? MICA_ERR_MEMORY : MICA_ERR_FORMAT,
                  "%s: JPEG: %s", name, j.message);
  jpeg_destroy_decompress(&j.c);
  mica_free(j.row);
  if (j.status == MICA_OK && j.cut_short)
    j.status = mica_fail(MICA_ERR_FORMAT, "%s: JPEG: truncated: the file ends in the middle", name);
  if (j.status == MICA_OK) j.status = mica_image_upright(j.orientation, &j.image);
  if (j.status == MICA_OK)
    *out = j.image;
  else
    mica_tensor_free(j.image);
  return j.status;
}

#endif
