/* Any bytes as a list of items; what can be read is written, and read again as the same. */
#include "file.h"

#include <mica/dataset.h>

/* The replaying main and libFuzzer both call this by its fixed name. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void compare(const mica_item_list *a, const char *path) {
  mica_item_list *b;
  if (mica_item_list_write(a, path) != MICA_OK) return;
  if (mica_item_list_read(path, &b) != MICA_OK) __builtin_trap();
  if (mica_item_list_count(a) != mica_item_list_count(b)) __builtin_trap();
  for (int64_t i = 0; i < mica_item_list_count(a); i++)
    if (mica_item_list_id(a, i) != mica_item_list_id(b, i) ||
        strcmp(mica_item_list_name(a, i), mica_item_list_name(b, i)) != 0)
      __builtin_trap();
  mica_item_list_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
  const char *path = fuzz_write("items.csv", bytes, n);
  mica_item_list *list;
  if (!path || mica_item_list_read(path, &list) != MICA_OK) return 0;
  compare(list, path);
  mica_item_list_free(list);
  return 0;
}
