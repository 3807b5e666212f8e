/* Correlation of values and of ranks. */
#include <mica/numeric.h>

#include "numeric/sort.h"

#include <math.h>

double mica_pearson(int64_t n, const double *a, const double *b) {
  double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
  for (int64_t i = 0; i < n; i++) {
    ma += a[i] / (double)n;
    mb += b[i] / (double)n;
  }
  for (int64_t i = 0; i < n; i++) {
    aa += (a[i] - ma) * (a[i] - ma);
    bb += (b[i] - mb) * (b[i] - mb);
    ab += (a[i] - ma) * (b[i] - mb);
  }
  return n > 1 && aa > 0 && bb > 0 ? fmax(-1, fmin(1, ab / sqrt(aa) / sqrt(bb))) : NAN;
}

/* Ranks from 0 for the largest; equal values share the mean of theirs. */
static void rank(int64_t n, const double *v, const int64_t *order, double *out) {
  for (int64_t i = 0, end; i < n; i = end) {
    for (end = i + 1; end < n && v[order[end]] == v[order[i]];) end++;
    for (int64_t k = i; k < end; k++) out[order[k]] = 0.5 * (double)(i + end - 1);
  }
}

mica_status mica_spearman(int64_t n, const double *a, const double *b, double *out) {
  *out = NAN;
  if (n < 2) return MICA_OK;
  for (int64_t i = 0; i < n; i++)
    if (isnan(a[i]) || isnan(b[i])) return MICA_OK;
  double *ranks = mica_calloc((size_t)(2 * n), sizeof *ranks);
  int64_t *order = mica_calloc((size_t)n, sizeof *order);
  mica_status status = ranks && order ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_sort_descending(n, a, order);
  if (status == MICA_OK) rank(n, a, order, ranks);
  if (status == MICA_OK) status = mica_sort_descending(n, b, order);
  if (status == MICA_OK) {
    rank(n, b, order, ranks + n);
    *out = mica_pearson(n, ranks, ranks + n);
  }
  mica_free(ranks);
  mica_free(order);
  return status;
}
