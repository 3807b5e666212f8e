/* Any bytes as a list of pictures. */
#include "dataset.h"

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("list.csv", bytes, n);
  if (path) fuzz_dataset(path);
  return 0;
}
