/* Many rows among many centres, in float32: what indices and quantisers are trained with.
 *
 * Distances come from float32 products, so a row between two centres may go to either; sums of
 * centres are float64. Results are the same bits for every thread count. mica_kmeans is the exact
 * one, for fewer rows.
 */
#ifndef MICA_NUMERIC_CLUSTERS_H
#define MICA_NUMERIC_CLUSTERS_H

#include <mica/engine.h>
#include <mica/tensor.h>

/* Rows of float32 in memory, `stride` elements from one to the next. */
typedef struct mica_float_rows {
  const float *x;
  int64_t n, d, stride;
} mica_float_rows;

/* The nearest of k >= 1 centres [k, d] to each row: its number (the lower of equals), and unless
 * NULL the squared distance. MICA_ERR_MEMORY. */
mica_status mica_clusters_assign(const mica_engine *engine, const mica_float_rows *rows,
                                 const float *centre, int64_t k, int32_t *assigned,
                                 float *distance);

/* Lloyd's iterations from centres that are there (`seeded`), or from k different rows at random. A
 * cluster that runs empty takes the row farthest from its centre. 1 <= k <= n; all rows finite.
 * MICA_ERR_MEMORY, MICA_ERR_NUMERIC where the result is not finite. */
mica_status mica_clusters_fit(const mica_engine *engine, const mica_float_rows *rows, int64_t k,
                              int64_t iterations, bool seeded, mica_key key, float *centre);

#endif
