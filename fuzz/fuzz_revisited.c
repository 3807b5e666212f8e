/* Any bytes as a ground truth of revisited Oxford and Paris. */
#include "file.h"

#include <mica/dataset.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("gnd.pkl", bytes, n);
  mica_revisited *r;
  if (!path || mica_revisited_open(path, &r) != MICA_OK) return 0;
  for (int64_t q = 0; q < 3 * mica_revisited_queries(r); q++) {
    int64_t m;
    const int64_t *list = mica_revisited_list(r, q / 3, (mica_revisited_answers)(q % 3), &m);
    for (int64_t i = 0; i < m; i++)
      if (!mica_revisited_image(r, list[i]) || (i && list[i] <= list[i - 1])) __builtin_trap();
  }
  mica_revisited_free(r);
  return 0;
}
