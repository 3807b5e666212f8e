/* One decoder a file format; all of them check a size before they ask for memory. */
#ifndef MICA_DATA_IMAGE_FILE_H
#define MICA_DATA_IMAGE_FILE_H

#include "data/image_resize.h"

/* Each takes the whole file and gives the picture, uint8 [H,W,1 or 3], upright. `name` is for
 * messages. */
mica_status mica_png_decode(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out);
mica_status mica_jpeg_decode(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out);
mica_status mica_pnm_decode(const uint8_t *bytes, size_t n, const char *name, mica_tensor **out);

/* Do these first bytes (16 are enough) begin a picture that this build can decode? */
mica_status mica_image_recognise(const uint8_t *bytes, size_t n, const char *name);
/* Read a picture from a regular file: never waits, as on a pipe that nobody writes to. */
mica_status mica_image_read_regular(const char *path, mica_tensor **out);

/* An image tensor of this size, MICA_ERR_FORMAT beyond the limits. */
mica_status mica_image_new(const char *name, int64_t h, int64_t w, int64_t c, mica_tensor **out);

/* The orientation (1 to 8) that Exif data, from its TIFF head on, names; 1 where it names none or
 * is damaged. */
int mica_exif_orientation(const uint8_t *tiff, size_t n);
/* Turn and mirror a picture as an orientation says; replaces *image. */
mica_status mica_image_upright(int orientation, mica_tensor **image);

#endif
