/* A file for readers that take a path: the fuzzed bytes, in a folder that goes with the process. */
#ifndef MICA_FUZZ_FILE_H
#define MICA_FUZZ_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fuzz_folder[] = "/tmp/mica-fuzz-XXXXXX", fuzz_file[64];

static void fuzz_remove(void) {
  (void)unlink(fuzz_file);
  (void)rmdir(fuzz_folder);
}

/* Write the bytes into FOLDER/name, always the same name in one program; returns the path, NULL
 * when the system refuses. */
static const char *fuzz_write(const char *name, const uint8_t *bytes, size_t n) {
  if (!*fuzz_file) {
    if (!mkdtemp(fuzz_folder)) return NULL;
    snprintf(fuzz_file, sizeof fuzz_file, "%s/%s", fuzz_folder, name);
    atexit(fuzz_remove);
  }
  FILE *f = fopen(fuzz_file, "wb");
  if (!f) return NULL;
  const size_t done = fwrite(bytes, 1, n, f);
  return fclose(f) == 0 && done == n ? fuzz_file : NULL;
}

#endif
