/* Any bytes as a PNG file. */
#include "data/image_file.h"

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  mica_tensor *image = NULL;
  uint8_t small[7 * 5 * 3];
  /* Sizes that a file can hold but that only take time: width and height are bytes 16 to 23. */
  if (n > 24 && (bytes[16] | bytes[17] | bytes[20] | bytes[21] || bytes[18] > 7 || bytes[22] > 7))
    return 0;
#ifdef MICA_HAVE_PNG
  if (mica_png_decode(bytes, n, "fuzz", &image) != MICA_OK) return 0;
#else
  if (mica_image_decode(bytes, n, "fuzz", &image) != MICA_OK) return 0;
#endif
  if (mica_tensor_count(image) < 1 << 20) (void)mica_image_cover(image, 7, 5, 3, small);
  mica_tensor_free(image);
  return 0;
}
