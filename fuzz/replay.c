/* A main for a fuzz target without libFuzzer: runs it on every file and folder named.
 *
 * The tests run each target on its corpus this way in the ordinary and in the sanitized builds, so
 * that a file that once broke a reader is tried again with every change. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int failures;
static long inputs;

static void replay_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    failures++;
    return;
  }
  size_t size = 0, room = 1 << 16;
  uint8_t *data = malloc(room);
  while (data) {
    size_t n = fread(data + size, 1, room - size, file);
    if (n == 0) break;
    size += n;
    if (size < room) continue;
    room *= 2;
    uint8_t *larger = realloc(data, room);
    if (!larger) free(data);
    data = larger;
  }
  fclose(file);
  /* An exact copy, so that a sanitizer sees a read past its end. */
  uint8_t *exact = data ? malloc(size ? size : 1) : NULL;
  if (exact) {
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    inputs++;
  } else {
    fprintf(stderr, "%s: out of memory\n", path);
    failures++;
  }
  free(exact);
  free(data);
}

static void replay(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
    replay_file(path);
    return;
  }
  struct dirent **names = NULL;
  int n = scandir(path, &names, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    char inner[4096];
    int length = snprintf(inner, sizeof inner, "%s/%s", path, names[i]->d_name);
    if (names[i]->d_name[0] != '.' && length > 0 && (size_t)length < sizeof inner) replay(inner);
    free(names[i]);
  }
  free(names);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) replay(argv[i]);
  printf("%ld inputs\n", inputs);
  return failures || !inputs;
}
