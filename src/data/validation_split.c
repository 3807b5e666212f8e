/* The choice of a validation part: see validation_split.h. */
#include "data/validation_split.h"

#include <stdlib.h>

typedef struct ranked {
  int64_t label;
  uint64_t hash;
  int64_t i;
} ranked;

static int by_label_and_hash(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->label != y->label) return x->label < y->label ? -1 : 1;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->i < y->i ? -1 : x->i > y->i;
}

/* How many of the n items of one class, in the order of their hashes, go. */
static int64_t those_that_go(const ranked *r, int64_t n, double bound) {
  if (r[0].hash == r[n - 1].hash) return 0;
  int64_t out = 0;
  while (out < n && (double)r[out].hash < bound) out++;
  if (out == 0) out = 1;
  if (out == n) out = n - 1;
  while (out < n && r[out].hash == r[out - 1].hash) out++;
  /* The highest hash was shared: it stays, with all that have it. */
  while (out == n || (out > 0 && r[out - 1].hash == r[n - 1].hash)) out--;
  return out;
}

mica_status mica_validation_split(int64_t n, const uint64_t *hash, const int64_t *label,
                                  int64_t classes, double share, uint8_t *part) {
  ranked *r = mica_malloc((size_t)(n ? n : 1) * sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  int64_t m = 0;
  for (int64_t i = 0; i < n; i++) {
    const int64_t of = label ? label[i] : 0;
    if (part[i] == MICA_PART_TRAIN && of >= 0 && of < (label ? classes : 1))
      r[m++] = (ranked){of, hash[i], i};
  }
  qsort(r, (size_t)m, sizeof *r, by_label_and_hash);
  for (int64_t begin = 0, end; begin < m; begin = end) {
    for (end = begin + 1; end < m && r[end].label == r[begin].label;) end++;
    const int64_t out = those_that_go(r + begin, end - begin, share * 18446744073709551616.0);
    for (int64_t k = begin; k < begin + out; k++) part[r[k].i] = MICA_PART_VALIDATION;
  }
  mica_free(r);
  return MICA_OK;
}
