/* Any bytes as a PPM or PGM file. */
#include "data/image_file.h"

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  mica_tensor *image = NULL;
  uint8_t small[7 * 5 * 3];
  if (n < 3 || mica_pnm_decode(bytes, n, "fuzz", &image) != MICA_OK) return 0;
  if (mica_tensor_count(image) < 1 << 20) (void)mica_image_cover(image, 7, 5, 3, small);
  mica_tensor_free(image);
  return 0;
}
