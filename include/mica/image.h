/* mica/image.h: pictures: decoded, resized, and made into what a network reads. */
#ifndef MICA_IMAGE_H
#define MICA_IMAGE_H

#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading ---- */

/* Decode a PNG, JPEG, PPM or PGM file into uint8 [H,W,C], C 1 (grey) or 3. Every kind of PNG:
 * palettes, 1 to 16 bits (rounded to 8), interlaced; alpha is laid over white. JPEG: baseline and
 * progressive, grey, colour, CMYK and YCCK; a damaged file that libjpeg still decodes is taken, one
 * that ends early is not. The Exif orientation is applied: the picture is upright. MICA_ERR_FORMAT
 * for what is no such picture or above 2^28 pixels, MICA_ERR_UNSUPPORTED for a format that this
 * build has no decoder for. */
MICA_API mica_status mica_image_read(const char *path, mica_tensor **out);
/* The same from memory; `name` is for messages. */
MICA_API mica_status mica_image_decode(const void *bytes, size_t n, const char *name,
                                       mica_tensor **out);

/* ---- another size ---- */

/* All are antialiased: the filter widens with the shrinking factor. */
typedef enum mica_image_filter {
  MICA_FILTER_BILINEAR, /* a triangle */
  MICA_FILTER_BICUBIC,  /* Keys' cubic with a = -0.5 */
  MICA_FILTER_BOX,      /* the mean of what a pixel covers */
  MICA_FILTER_LANCZOS,  /* sinc(x) sinc(x / 3), |x| < 3 */
  MICA_FILTER_COUNT
} mica_image_filter;

/* "bilinear", "bicubic", "box", "lanczos"; NULL for no such interpolation. */
MICA_API const char *mica_image_filter_name(mica_image_filter interpolation);
/* The interpolation of that name; MICA_ERR_INVALID, naming those there are, for another. */
MICA_API mica_status mica_image_filter_find(const char *name, mica_image_filter *out);

/* A uint8 picture [H,W,1 or 3] at another size: bit for bit what Pillow's Image.resize gives. */
MICA_API mica_status mica_image_resize(const mica_tensor *image, int64_t height, int64_t width,
                                       mica_image_filter interpolation, mica_tensor **out);

/* How a picture of another aspect is made to fit. */
typedef enum mica_image_fit {
  MICA_FIT_COVER, /* keep its aspect, cut off what overhangs */
  MICA_FIT_WHOLE  /* resize each side by itself: nothing is cut off */
} mica_image_fit;

/* How a picture becomes a network's input: resized so that its shorter side is the target's over
 * `crop` (rounded down; for another aspect than a square, so that it just covers the target over
 * `crop`), cropped in the centre, then (value / 255 - mean) / deviation for each channel. `crop` is
 * the share of the resized picture that the crop keeps: 1 for all that the aspect allows, 0.875 for
 * the usual 256 to 224; 0 counts as 1. MICA_FIT_WHOLE resizes to the target over `crop` at once.
 * Grey becomes colour by repetition, colour grey as 0.299 R + 0.587 G + 0.114 B. Sizes, crop and
 * pixels are those of Pillow and torchvision. A network that reads rows, not pictures, has height
 * 0. */
typedef struct mica_preprocess {
  int64_t height, width, channels; /* 1 or 3 channels */
  double mean[4], deviation[4];
  double crop;
  mica_image_filter interpolation;
  mica_image_fit fit;
} mica_preprocess;
/* Pictures of this size, whole, in 0..1. */
#define MICA_PREPROCESS(height, width, channels)                                                   \
  { (height), (width), (channels), {0}, {1, 1, 1, 1}, 1, MICA_FILTER_BILINEAR, MICA_FIT_COVER }

/* Resize, crop and convert a uint8 picture [H,W,1 or 3]: uint8 [height,width,channels] into `out`.
 */
MICA_API mica_status mica_image_prepare(const mica_tensor *image, const mica_preprocess *preprocess,
                                        uint8_t *out);
/* The same with crop 1 and bilinear interpolation. */
MICA_API mica_status mica_image_cover(const mica_tensor *image, int64_t height, int64_t width,
                                      int64_t channels, uint8_t *out);
/* n prepared pictures [n,height,width,channels] as the network's float32 input of that shape. */
MICA_API void mica_image_normalise(const mica_preprocess *preprocess, const uint8_t *pixels,
                                   int64_t n, float *out);

#ifdef __cplusplus
}
#endif
#endif
