/* Exact search: every row is looked at, most of them only by a float32 matrix product, whose bound
 * (sieve.h) tells which cannot be among the best. So the answer is that of float64 arithmetic on
 * every pair, at the speed of float32.
 */
#include "index/index.h"
#include "index/sieve.h"

#include "numeric/chunks.h"
#include "tensor/dtype.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"

#include <math.h>

typedef struct {
  mica_index_head head;
} options;

static const mica_option option_table[] = {MICA_INDEX_HEAD_OPTIONS(options),
                                           {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* ---- the search ---- */

enum { query_rows = 128, stored_rows = 1024 };

typedef struct {
  const mica_engine *engine;
  const mica_index_rows *rows;
  const mica_reduce_kernels *reduce;
  int64_t part_rows;
} search;

/* Where the parts of a thread's scratch begin, in floats. */
typedef struct {
  size_t query, stored, product, a, b, total;
} layout;

static layout lay_out(const mica_index_rows *rows) {
  const size_t d = (size_t)rows->d;
  layout l = {0};
  l.stored = l.query + query_rows * d;
  l.product = l.stored + (rows->dtype == MICA_F32 ? 0 : stored_rows * d);
  l.a = l.product + (size_t)query_rows * stored_rows;
  l.b = l.a + stored_rows;
  l.total = l.b + stored_rows;
  return l;
}

static mica_status search_block(void *ctx, const mica_index_question *q, int64_t begin, int64_t end,
                                int64_t part, mica_index_best *const *best, void *scratch) {
  const search *s = ctx;
  const mica_index_rows *rows = s->rows;
  const layout l = lay_out(rows);
  const int64_t d = rows->d, m = end - begin;
  float *base = scratch, *query = base + l.query, *product = base + l.product;
  const double *x = mica_index_question_rows(q) + begin * d;
  const double *length = mica_index_question_norms(q) + begin;
  const int64_t first = part * s->part_rows;
  const int64_t last = first + s->part_rows < rows->n ? first + s->part_rows : rows->n;
  /* A list as long as the part takes every row, so there is nothing to pass over. */
  if (mica_index_question_k(q) >= last - first) {
    for (int64_t i = 0; i < m; i++)
      for (int64_t r = first; r < last; r++) mica_index_offer(best[i], r);
    return MICA_OK;
  }
  mica_convert(query, MICA_F32, x, MICA_F64, (size_t)(m * d));
  for (int64_t from = first; from < last; from += stored_rows) {
    const int64_t to = from + stored_rows < last ? from + stored_rows : last, n = to - from;
    const float *stored = (const float *)rows->x + from * d;
    if (rows->dtype != MICA_F32) {
      mica_convert(base + l.stored, MICA_F32, (const uint16_t *)rows->x + from * d, rows->dtype,
                   (size_t)(n * d));
      stored = base + l.stored;
    }
    mica_status status =
        mica_gemm(s->engine, MICA_F32, false, true, m, n, d, 1, query, d, stored, d, 0, product, n);
    if (status) return status;
    mica_sieve sieve = {rows, s->reduce, NULL, from, n, base + l.a, base + l.b, 0};
    mica_sieve_begin(&sieve);
    for (int64_t i = 0; i < m; i++) mica_sieve_query(&sieve, length[i], product + i * n, best[i]);
  }
  return MICA_OK;
}

mica_status mica_exact_query(const mica_engine *engine, const mica_index_rows *rows,
                             mica_index_question *question) {
  /* Few queries are shared between threads by cutting the rows. */
  int64_t blocks = mica_chunks_of(mica_index_question_count(question), query_rows);
  int64_t parts = mica_chunks_of(32, blocks < 1 ? 1 : blocks);
  const int64_t most = mica_chunks_of(rows->n, 4 * stored_rows);
  if (parts > most) parts = most;
  /* Whole blocks a part. */
  const int64_t part_rows =
      mica_chunks_of(mica_chunks_of(rows->n, parts), stored_rows) * stored_rows;
  search s = {engine, rows, mica_kernels_of(engine, MICA_F32)->reduce, part_rows};
  return mica_index_work(engine, question, query_rows, mica_chunks_of(rows->n, part_rows),
                         lay_out(rows).total * sizeof(float), search_block, &s);
}

static mica_status query(const mica_engine *engine, const void *o, const void *state,
                         const mica_index_rows *rows, mica_index_question *question) {
  (void)o;
  (void)state;
  return mica_exact_query(engine, rows, question);
}

static const mica_index_functions functions = {.size = sizeof functions, .query = query};

extern const mica_component mica_component_index_exact;
const mica_component mica_component_index_exact = {MICA_COMPONENT_HEAD,
                                                   MICA_KIND_INDEX,
                                                   "exact",
                                                   "every row is compared",
                                                   NULL,
                                                   option_table,
                                                   sizeof(options),
                                                   MICA_NEED_FEATURES,
                                                   0,
                                                   &functions};
