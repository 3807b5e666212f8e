/* A data set opened from fuzzed bytes: everything that can be asked about it is. */
#ifndef MICA_FUZZ_DATASET_H
#define MICA_FUZZ_DATASET_H

#include "file.h"

#include <mica/dataset.h>

static void fuzz_dataset(const char *path) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset *ds;
  uint8_t pixels[8 * 8 * 3];
  double mean[4], deviation[4];
  char name[64];
  o.height = o.width = 8;
  o.channels = 3;
  if (mica_dataset_open(path, &o, &ds) != MICA_OK) return;
  const int64_t n = mica_dataset_count(ds), classes = mica_dataset_classes(ds);
  const int64_t *labels = mica_tensor_data(mica_dataset_labels(ds));
  for (int64_t i = 0; i < n && i < 50; i++) {
    if (labels[i] < 0 || labels[i] >= classes || !mica_dataset_class(ds, labels[i]))
      __builtin_trap();
    (void)mica_dataset_name(ds, i, name, sizeof name);
    (void)mica_dataset_read(ds, i, pixels);
  }
  (void)mica_dataset_statistics(ds, mean, deviation);
  mica_dataset_free(ds);
}

#endif
