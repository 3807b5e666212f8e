/* Any bytes as a JPEG file. */
#include "data/image_file.h"

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  mica_tensor *image = NULL;
  uint8_t small[7 * 5 * 3];
#ifdef MICA_HAVE_JPEG
  if (mica_jpeg_decode(bytes, n, "fuzz", &image) != MICA_OK) return 0;
#else
  if (mica_image_decode(bytes, n, "fuzz", &image) != MICA_OK) return 0;
#endif
  if (mica_tensor_count(image) < 1 << 20) (void)mica_image_cover(image, 7, 5, 3, small);
  mica_tensor_free(image);
  return 0;
}
