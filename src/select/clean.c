/* Labels that their neighbours share. */
#include <mica/select.h>

#include "numeric/distance.h"
#include "numeric/rows.h"

#include <string.h>

#define BLOCK 1024 /* examples whose neighbours are in memory at once */

static mica_status check(const mica_engine *engine, const mica_view *x,
                         const mica_clean_options *o) {
  if (o->k < 1 || o->least < 1 || o->least > o->k)
    return mica_fail(
        MICA_ERR_INVALID,
        "clean: %lld neighbours, at least %lld of them, expected 1 or more and no more "
        "than there are",
        (long long)o->k, (long long)o->least);
  const mica_status status = mica_rows_check(x, "features");
  return status == MICA_OK ? mica_rows_check_finite(engine, x, "features") : status;
}

mica_status mica_clean_labels(const mica_engine *engine, const mica_view *x, const int64_t *label,
                              const mica_clean_options *given, bool *keep, int64_t *support) {
  mica_clean_options o = MICA_CLEAN_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_status status = check(engine, x, &o);
  if (status != MICA_OK) return status;
  const int64_t n = mica_rows_n(x), k = o.k < n - 1 ? o.k : n - 1;
  const int64_t block = n < BLOCK ? n : BLOCK;
  int64_t *at = mica_malloc((size_t)(block * (k + 1)) * sizeof *at + 1);
  double *distance = mica_malloc((size_t)(block * k) * sizeof *distance + 1);
  if (!at || !distance) status = MICA_ERR_MEMORY;
  int64_t *self = at ? at + block * k : NULL;
  for (int64_t from = 0; from < n && status == MICA_OK; from += block) {
    const int64_t m = n - from < block ? n - from : block;
    mica_view piece = *x;
    piece.data = (char *)x->data + (size_t)(from * x->row_stride) * mica_dtype_size(x->dtype);
    piece.shape.dim[0] = m;
    for (int64_t i = 0; i < m; i++) self[i] = from + i;
    if (k > 0)
      status = mica_nearest_rows(engine, MICA_METRIC_COSINE, &piece, x, k, self, at, distance);
    for (int64_t i = 0; i < m && status == MICA_OK; i++) {
      int64_t found = 0;
      for (int64_t j = 0; j < k && found < o.least; j++) {
        const int64_t other = at[i * k + j];
        if (other >= 0 && label[other] == label[from + i])
          found += !o.verify || o.verify(o.verify_ctx, from + i, other);
      }
      keep[from + i] = found >= o.least;
      if (support) support[from + i] = found;
    }
  }
  mica_free(at);
  mica_free(distance);
  return status;
}
