#include "support/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char folder_dir[] = "/tmp/mica-test-XXXXXX";

int folder_setup(void **state) {
  (void)state;
  return mkdtemp(folder_dir) ? 0 : -1;
}

int folder_teardown(void **state) {
  (void)state;
  char command[64];
  snprintf(command, sizeof command, "rm -rf %s", folder_dir);
  return system(command);
}

const char *folder_path(const char *name) {
  static char path[8][256];
  static int k;
  k = (k + 1) % 8;
  snprintf(path[k], sizeof path[k], "%s/%s", folder_dir, name);
  return path[k];
}

const char *folder_put(const char *name, const char *text) {
  const char *path = folder_path(name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
  assert_int_equal(fclose(f), 0);
  return path;
}
