/* Any bytes as CIFAR-10's binary file. */
#include "dataset.h"

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("data_batch_1.bin", bytes, n);
  if (path) fuzz_dataset(fuzz_folder);
  return 0;
}
