/* A window of a resized picture. */
#ifndef MICA_DATA_IMAGE_RESIZE_H
#define MICA_DATA_IMAGE_RESIZE_H

#include <mica/image.h>

/* What no picture may exceed, so that a small file cannot ask for much memory. */
#define MICA_IMAGE_PIXELS_MAX ((int64_t)1 << 28)
#define MICA_IMAGE_SIDE_MAX   ((int64_t)1 << 20)

typedef struct mica_resize_to {
  int64_t full_height, full_width;  /* the size of the whole */
  int64_t top, left, height, width; /* the window, inside it */
  mica_image_filter interpolation;
} mica_resize_to;

/* Pixels x [h,w,c] to out [height,width,c]. */
mica_status mica_resize_window(const uint8_t *x, int64_t h, int64_t w, int64_t c,
                               const mica_resize_to *to, uint8_t *out);
/* mica_image_prepare of pixels x [h,w,c], c 1 or 3. */
mica_status mica_prepare_pixels(const uint8_t *x, int64_t h, int64_t w, int64_t c,
                                const mica_preprocess *preprocess, uint8_t *out);

#endif
