/* Any bytes as arrays of pictures and labels in an npz or safetensors file. */
#include "dataset.h"

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("x.npz", bytes, n);
  if (path) fuzz_dataset(path);
  return 0;
}
