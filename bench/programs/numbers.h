/* Numbers to compute with, how far results lie apart, medians of times. */
#ifndef MICA_BENCH_NUMBERS_H
#define MICA_BENCH_NUMBERS_H

#include "base/memory.h"
#include "need.h"

#include <math.h>

/* n normal draws; release with mica_free_aligned. */
static inline float *noise(int64_t n, uint64_t seed) {
  float *x = mica_malloc_aligned((size_t)n * sizeof *x);
  if (!x) need(MICA_ERR_MEMORY);
  for (int64_t i = 0; i < n; i++)
    x[i] = (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i);
  return x;
}

/* The length of a - b over that of b. */
static inline double apart(int64_t n, const float *a, const float *b) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < n; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    size += (double)b[i] * (double)b[i];
  }
  return sqrt(difference / size);
}

static inline int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of n numbers, which are sorted for it. */
static inline double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, ascending);
  return x[n / 2];
}

#endif
