/* A heap sort for plain values and a merge sort for stable orders. */
#include "numeric/sort.h"

#include <math.h>
#include <string.h>

static bool before(double a, double b) {
  return a < b || (isnan(b) && !isnan(a));
}

static void sift(double *v, int64_t n, int64_t at) {
  double item = v[at];
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && before(v[child], v[child + 1])) child++;
    if (!before(item, v[child])) break;
    v[at] = v[child];
  }
  v[at] = item;
}

void mica_sort_doubles(double *values, int64_t n) {
  for (int64_t i = n / 2; i-- > 0;) sift(values, n, i);
  for (int64_t i = n - 1; i > 0; i--) {
    double top = values[0];
    values[0] = values[i];
    values[i] = top;
    sift(values, i, 0);
  }
}

mica_status mica_sort_descending(int64_t n, const double *key, int64_t *order) {
  int64_t *scratch = mica_malloc((size_t)n * sizeof *scratch);
  if (!scratch) return MICA_ERR_MEMORY;
  int64_t *from = order, *to = scratch;
  for (int64_t i = 0; i < n; i++) from[i] = i;
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * width) {
      int64_t middle = begin + width < n ? begin + width : n;
      int64_t end = begin + 2 * width < n ? begin + 2 * width : n;
      int64_t a = begin, b = middle;
      for (int64_t i = begin; i < end; i++) {
        bool second = a == middle || (b < end && before(-key[from[b]], -key[from[a]]));
        to[i] = second ? from[b++] : from[a++];
      }
    }
    int64_t *swap = from;
    from = to;
    to = swap;
  }
  if (from != order) memcpy(order, from, (size_t)n * sizeof *order);
  mica_free(scratch);
  return MICA_OK;
}
