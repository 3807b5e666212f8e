/* Samples of rows, and the distances between all of them. */
#include "measure/pairs.h"

#include "numeric/distance.h"
#include "numeric/rows.h"

#include <stdlib.h>
#include <string.h>

enum { block = 256 };

void mica_row_sample_free(mica_row_sample *sample) {
  mica_free(sample->rows);
  mica_free(sample->index);
  *sample = (mica_row_sample){0};
}

/* Mark `most` of n rows. */
static mica_status choose(int64_t n, int64_t most, uint64_t seed, bool *chosen) {
  int64_t *order = mica_realloc_array(NULL, (size_t)n, sizeof *order);
  if (!order) return MICA_ERR_MEMORY;
  mica_random_permutation(mica_key_fold_name(mica_key_seed(seed), "measure"), n, order);
  for (int64_t i = 0; i < most; i++) chosen[order[i]] = true;
  mica_free(order);
  return MICA_OK;
}

mica_status mica_row_sample_take(const mica_view *x, int64_t most, uint64_t seed, bool unit,
                                 mica_row_sample *out) {
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x), kept = n < most ? n : most;
  *out = (mica_row_sample){0, d, NULL, NULL};
  bool *chosen = n > most ? mica_calloc((size_t)n, sizeof *chosen) : NULL;
  out->rows = mica_realloc_array(NULL, (size_t)kept, (size_t)d * sizeof *out->rows);
  out->index = mica_realloc_array(NULL, (size_t)kept, sizeof *out->index);
  mica_status status = out->rows && out->index && (chosen || n <= most) ? MICA_OK : MICA_ERR_MEMORY;
  if (!status && chosen) status = choose(n, most, seed, chosen);
  for (int64_t i = 0; i < n && !status; i++) {
    if (chosen && !chosen[i]) continue;
    double *to = out->rows + out->n * d;
    mica_rows_load(x, i, i + 1, NULL, to);
    if (unit && mica_rows_normalise(to, 1, d) >= 0) continue;
    out->index[out->n++] = i;
  }
  mica_free(chosen);
  if (status) mica_row_sample_free(out);
  return status;
}

mica_status mica_pairs_walk(const mica_engine *engine, const mica_row_sample *sample,
                            mica_pairs_fn fn, void *ctx) {
  const int64_t n = sample->n, d = sample->d;
  const mica_view all = mica_view_of(sample->rows, MICA_F64, MICA_SHAPE(n, d));
  double *square = mica_realloc_array(NULL, (size_t)n + 1, block * sizeof *square);
  mica_status status = square ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t from = 0; from < n && !status; from += block) {
    const int64_t m = n - from < block ? n - from : block;
    const mica_view some = mica_view_of(sample->rows + from * d, MICA_F64, MICA_SHAPE(m, d));
    status = mica_distances(engine, MICA_METRIC_EUCLIDEAN_SQUARED, &some, &all, square);
    for (int64_t i = 0; i < m && !status; i++) {
      square[i * n + from + i] = 0;
      fn(ctx, from + i, square + i * n);
    }
  }
  mica_free(square);
  return status;
}
