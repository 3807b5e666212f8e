/* Any bytes as an IDX file, packed or not. */
#include "file.h"

#include <mica/dataset.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("fuzz.idx", bytes, n);
  mica_tensor *t;
  if (path && mica_idx_read(path, &t) == MICA_OK) mica_tensor_free(t);
  return 0;
}
