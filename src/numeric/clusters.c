/* Lloyd's iterations in float32.
 *
 * A block of rows meets all centres in one product, |c|^2 - 2 <x, c> with the squared lengths as
 * its bias; the smallest of each line is the nearest. Centres are summed cluster by cluster over
 * the rows in order, so neither step depends on the number of threads.
 */
#include "numeric/clusters.h"

#include "numeric/chunks.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/reduce.h"

#include <math.h>
#include <string.h>

/* ---- the nearest centre ---- */

enum { product_elements = 1 << 18, most_rows = 256 };

typedef struct {
  const mica_engine *engine;
  const mica_float_rows *rows;
  const mica_reduce_kernels *reduce;
  const float *centre;
  float *norm; /* [k] squared lengths of the centres */
  int64_t k, block;
  int32_t *assigned;
  float *distance; /* or NULL */
} assignment;

static mica_status assign_chunk(void *ctx, int64_t chunk, void *scratch) {
  const assignment *a = ctx;
  const mica_float_rows *r = a->rows;
  const int64_t begin = chunk * a->block, left = r->n - begin;
  const int64_t m = left < a->block ? left : a->block;
  float *product = scratch, *least = product + a->block * a->k;
  int64_t nearest[most_rows];
  mica_status status = mica_gemm_run(a->engine, &(mica_gemm_args){.dtype = MICA_F32,
                                                                  .compute = MICA_F32,
                                                                  .trans_b = true,
                                                                  .m = m,
                                                                  .n = a->k,
                                                                  .k = r->d,
                                                                  .alpha = -2,
                                                                  .a = r->x + begin * r->stride,
                                                                  .lda = r->stride,
                                                                  .b = a->centre,
                                                                  .ldb = r->d,
                                                                  .c = product,
                                                                  .ldc = a->k,
                                                                  .bias = a->norm,
                                                                  .batch = 1});
  if (status) return status;
  a->reduce->row_extreme(false, m, a->k, product, a->k, least, nearest);
  for (int64_t i = 0; i < m; i++) {
    a->assigned[begin + i] = (int32_t)nearest[i];
    if (!a->distance) continue;
    const float *x = r->x + (begin + i) * r->stride;
    a->distance[begin + i] = fmaxf(0, least[i] + (float)a->reduce->sum_squares(r->d, x));
  }
  return MICA_OK;
}

mica_status mica_clusters_assign(const mica_engine *engine, const mica_float_rows *rows,
                                 const float *centre, int64_t k, int32_t *assigned,
                                 float *distance) {
  assignment a = {engine,   rows,    mica_kernels_of(engine, MICA_F32)->reduce, centre, NULL, k, 0,
                  assigned, distance};
  a.block = product_elements / k < 16 ? 16 : product_elements / k;
  if (a.block > most_rows) a.block = most_rows;
  a.norm = mica_realloc_array(NULL, (size_t)k, sizeof *a.norm);
  if (!a.norm) return MICA_ERR_MEMORY;
  a.reduce->row_sum_squares(k, rows->d, centre, rows->d, a.norm);
  mica_status status =
      mica_chunks_run(engine, mica_chunks_of(rows->n, a.block),
                      (size_t)(a.block * (k + 1)) * sizeof(float), assign_chunk, &a);
  mica_free(a.norm);
  return status;
}

/* ---- centres ---- */

typedef struct {
  const mica_engine *engine;
  const mica_float_rows *rows;
  int64_t k;
  float *centre;
  int32_t *assigned; /* [n] */
  float *distance;   /* [n] */
  int64_t *order;    /* [n] rows by cluster */
  int64_t *start;    /* [k + 1] */
} training;

static void order_rows(const training *t) {
  memset(t->start, 0, (size_t)(t->k + 1) * sizeof *t->start);
  for (int64_t i = 0; i < t->rows->n; i++) t->start[t->assigned[i] + 1]++;
  for (int64_t c = 0; c < t->k; c++) t->start[c + 1] += t->start[c];
  for (int64_t i = 0; i < t->rows->n; i++) t->order[t->start[t->assigned[i]]++] = i;
  for (int64_t c = t->k; c > 0; c--) t->start[c] = t->start[c - 1];
  t->start[0] = 0;
}

static void fill_empty(const training *t) {
  for (int64_t c = 0; c < t->k; c++) {
    if (t->start[c + 1] > t->start[c]) continue;
    int64_t far = -1;
    for (int64_t i = 0; i < t->rows->n; i++) {
      const int32_t owner = t->assigned[i];
      if (t->start[owner + 1] - t->start[owner] < 2) continue;
      if (far < 0 || t->distance[i] > t->distance[far]) far = i;
    }
    if (far < 0) return; /* cannot be: k <= n */
    t->assigned[far] = (int32_t)c;
    t->distance[far] = 0;
    order_rows(t);
  }
}

static mica_status centre_chunk(void *ctx, int64_t c, void *scratch) {
  const training *t = ctx;
  const int64_t d = t->rows->d, begin = t->start[c], end = t->start[c + 1];
  double *sum = scratch;
  memset(sum, 0, (size_t)d * sizeof *sum);
  for (int64_t i = begin; i < end; i++) {
    const float *x = t->rows->x + t->order[i] * t->rows->stride;
    for (int64_t j = 0; j < d; j++) sum[j] += (double)x[j];
  }
  for (int64_t j = 0; j < d; j++) t->centre[c * d + j] = (float)(sum[j] / (double)(end - begin));
  return MICA_OK;
}

static void seed(const training *t, mica_key key) {
  const mica_float_rows *r = t->rows;
  mica_random_permutation(key, r->n, t->order);
  for (int64_t c = 0; c < t->k; c++)
    memcpy(t->centre + c * r->d, r->x + t->order[c] * r->stride, (size_t)r->d * sizeof(float));
}

mica_status mica_clusters_fit(const mica_engine *engine, const mica_float_rows *rows, int64_t k,
                              int64_t iterations, bool seeded, mica_key key, float *centre) {
  const int64_t n = rows->n, d = rows->d;
  training t = {.engine = engine, .rows = rows, .k = k, .centre = centre};
  t.order = mica_realloc_array(NULL, (size_t)(n + k + 1), sizeof *t.order);
  t.assigned = mica_realloc_array(NULL, (size_t)n, sizeof *t.assigned + sizeof *t.distance);
  mica_status status = t.order && t.assigned ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    t.start = t.order + n;
    t.distance = (float *)(void *)(t.assigned + n);
    if (!seeded) seed(&t, key);
  }
  for (int64_t i = 0; i < iterations && !status; i++) {
    status = mica_clusters_assign(engine, rows, centre, k, t.assigned, t.distance);
    if (status) break;
    order_rows(&t);
    fill_empty(&t);
    status = mica_chunks_run(engine, k, (size_t)d * sizeof(double), centre_chunk, &t);
  }
  for (int64_t i = 0; i < k * d && !status; i++)
    if (!isfinite(centre[i]))
      status =
          mica_fail(MICA_ERR_NUMERIC, "clusters: a centre is not finite, the rows are too large");
  mica_free(t.order);
  mica_free(t.assigned);
  return status;
}
