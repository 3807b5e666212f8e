/* Blocked distances: |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y>, the products by GEMM in float64, where
 * the cancellation costs nothing that float32 features could show.
 *
 * A chunk is a block of query rows; it walks the reference rows in blocks that stay in cache. Both
 * block sizes depend on the column count only.
 */
#include "numeric/distance.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "numeric/top_k.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

typedef struct {
  const mica_engine *engine;
  mica_metric metric;
  const mica_view *x, *y;
  int64_t query_rows, reference_rows;
  double *out; /* [N, M], or NULL when the k nearest are wanted */
  int64_t k;
  const int64_t *skip;
  int64_t *index;
  double *distance;
} distance_job;

/* Where the parts of a thread's scratch begin, in doubles. */
typedef struct {
  size_t query, reference, product, query_norm, reference_norm, heap, kept, total;
} layout;

static layout lay_out(const distance_job *j) {
  size_t q = (size_t)j->query_rows, r = (size_t)j->reference_rows, d = (size_t)mica_rows_d(j->x);
  layout l = {0};
  l.reference = l.query + q * d;
  l.product = l.reference + r * d;
  l.query_norm = l.product + q * r;
  l.reference_norm = l.query_norm + q;
  l.heap = l.reference_norm + r;
  l.kept = l.heap + (j->out ? 0 : q * (size_t)j->k * (sizeof(mica_scored) / sizeof(double)));
  l.total = l.kept + q;
  return l;
}

static void prepare(const distance_job *j, const mica_view *v, int64_t begin, int64_t end,
                    double *rows, double *norm) {
  int64_t d = mica_rows_d(v);
  mica_rows_load(v, begin, end, NULL, rows);
  if (j->metric == MICA_METRIC_COSINE) mica_rows_normalise(rows, end - begin, d);
  if (j->metric == MICA_METRIC_EUCLIDEAN_SQUARED)
    for (int64_t i = 0; i < end - begin; i++) norm[i] = mica_sum_squares(rows + i * d, d);
}

static void finish(const distance_job *j, int64_t rows, int64_t columns, const double *row_norm,
                   const double *column_norm, double *product) {
  for (int64_t a = 0; a < rows; a++, product += columns)
    for (int64_t b = 0; b < columns; b++) switch (j->metric) {
      case MICA_METRIC_EUCLIDEAN_SQUARED:
        product[b] = fmax(0, row_norm[a] + column_norm[b] - 2 * product[b]);
        break;
      case MICA_METRIC_COSINE: product[b] = fmin(fmax(1 - product[b], 0), 2); break;
      case MICA_METRIC_INNER: product[b] = -product[b]; break;
      }
}

static mica_status distance_chunk(void *ctx, int64_t chunk, void *scratch) {
  const distance_job *j = ctx;
  layout l = lay_out(j);
  double *base = scratch, *query = base + l.query, *reference = base + l.reference;
  double *product = base + l.product;
  mica_scored *storage = (mica_scored *)(void *)(base + l.heap);
  int64_t n = mica_rows_n(j->x), m = mica_rows_n(j->y), d = mica_rows_d(j->x);
  int64_t begin = chunk * j->query_rows,
          end = begin + j->query_rows < n ? begin + j->query_rows : n;
  prepare(j, j->x, begin, end, query, base + l.query_norm);
  int64_t *kept = (int64_t *)(void *)(base + l.kept);
  memset(kept, 0, (size_t)j->query_rows * sizeof *kept);
  for (int64_t from = 0; from < m; from += j->reference_rows) {
    int64_t to = from + j->reference_rows < m ? from + j->reference_rows : m, columns = to - from;
    prepare(j, j->y, from, to, reference, base + l.reference_norm);
    mica_status status = mica_gemm(j->engine, MICA_F64, false, true, end - begin, columns, d, 1,
                                   query, d, reference, d, 0, product, columns);
    if (status) return status;
    finish(j, end - begin, columns, base + l.query_norm, base + l.reference_norm, product);
    for (int64_t i = begin; i < end; i++) {
      const double *row = product + (i - begin) * columns;
      if (j->out) {
        for (int64_t c = 0; c < columns; c++) j->out[i * m + from + c] = row[c];
        continue;
      }
      mica_top_k_heap top = {j->k, kept[i - begin], storage + (i - begin) * j->k};
      for (int64_t c = 0; c < columns; c++)
        if (!j->skip || from + c != j->skip[i]) mica_top_k_offer(&top, -row[c], from + c);
      kept[i - begin] = top.count;
    }
  }
  for (int64_t i = begin; !j->out && i < end; i++) {
    mica_top_k_heap top = {j->k, kept[i - begin], storage + (i - begin) * j->k};
    int64_t found = mica_top_k_end(&top);
    for (int64_t c = 0; c < j->k; c++) {
      j->index[i * j->k + c] = c < found ? top.item[c].index : -1;
      j->distance[i * j->k + c] = c < found ? -top.item[c].score : INFINITY;
    }
  }
  return MICA_OK;
}

static mica_status run(distance_job *j) {
  int64_t d = mica_rows_d(j->x);
  if (mica_rows_d(j->y) != d)
    return mica_fail(MICA_ERR_SHAPE, "distances between rows of %lld and of %lld columns",
                     (long long)d, (long long)mica_rows_d(j->y));
  j->query_rows = d <= 1024 ? 128 : 32;
  j->reference_rows = d <= 256 ? 1024 : 256;
  return mica_chunks_run(j->engine, mica_chunks_of(mica_rows_n(j->x), j->query_rows),
                         lay_out(j).total * sizeof(double), distance_chunk, j);
}

mica_status mica_distances(const mica_engine *engine, mica_metric metric, const mica_view *x,
                           const mica_view *y, double *out) {
  distance_job j = {.engine = engine, .metric = metric, .x = x, .y = y, .out = out};
  return run(&j);
}

mica_status mica_nearest_rows(const mica_engine *engine, mica_metric metric, const mica_view *x,
                              const mica_view *y, int64_t k, const int64_t *skip, int64_t *index,
                              double *distance) {
  distance_job j = {engine, metric, x, y, 0, 0, NULL, k, skip, index, distance};
  if (k < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld nearest rows, expected at least 1", (long long)k);
  return run(&j);
}
