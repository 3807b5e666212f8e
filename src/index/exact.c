/* Exact search: every row is looked at, most of them only by a float32 matrix product.
 *
 * The product of a block of queries with a block of rows tells each score to within a bound that
 * holds whatever the order of its sums (Higham, Accuracy and Stability of Numerical Algorithms,
 * 2002, section 3.1: |error| <= d u / (1 - d u) * |x| |y| for d products and unit roundoff u). A
 * row whose approximate score cannot reach the k-th best, bound included, is passed over; the
 * others are scored exactly. So the answer is that of float64 arithmetic on every pair, at the
 * speed of float32.
 *
 * What is compared is p = a <x, y> - b: a = 1 / |y|, b = 0 for cosine (x of length 1); a = 1, b = 0
 * for the inner product; a = 1, b = |y|^2 / 2 for the distance, as |x - y|^2 = |x|^2 - 2 p.
 */
#include "index/index.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/dtype.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/reduce.h"

#include <float.h>
#include <math.h>

typedef struct {
  mica_index_head head;
} options;

static const mica_option option_table[] = {MICA_INDEX_HEAD_OPTIONS(options),
                                           {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* ---- the exact score ---- */

/* Sums run in eight lanes that are added in one fixed order, for all storage types. */
#define LANES 8

#define SUM_OVER(d, TERM)                                                                          \
  do {                                                                                             \
    int64_t j = 0;                                                                                 \
    for (; j + LANES <= (d); j += LANES)                                                           \
      for (int l = 0; l < LANES; l++) lane[l] += TERM(j + l);                                      \
    for (int l = 0; j < (d); j++, l++) lane[l] += TERM(j);                                         \
  } while (0)

static double add_lanes(const double *lane) {
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

static double dot_f32(const double *x, const float *y, int64_t d) {
  double lane[LANES] = {0};
#define TERM(j) (x[j] * (double)y[j])
  SUM_OVER(d, TERM);
#undef TERM
  return add_lanes(lane);
}

static double squares_f32(const double *x, const float *y, int64_t d) {
  double lane[LANES] = {0};
#define TERM(j) ((x[j] - (double)y[j]) * (x[j] - (double)y[j]))
  SUM_OVER(d, TERM);
#undef TERM
  return add_lanes(lane);
}

static double half(const mica_index_rows *rows, uint16_t v) {
  return (double)(rows->dtype == MICA_BF16 ? mica_bf16_to_f32(v) : mica_f16_to_f32(v));
}

static double dot_16(const mica_index_rows *rows, const double *x, const uint16_t *y) {
  double lane[LANES] = {0};
#define TERM(j) (x[j] * half(rows, y[j]))
  SUM_OVER(rows->d, TERM);
#undef TERM
  return add_lanes(lane);
}

static double squares_16(const mica_index_rows *rows, const double *x, const uint16_t *y) {
  double lane[LANES] = {0};
#define TERM(j) ((x[j] - half(rows, y[j])) * (x[j] - half(rows, y[j])))
  SUM_OVER(rows->d, TERM);
#undef TERM
  return add_lanes(lane);
}

double mica_index_score(const mica_index_rows *rows, const double *query, int64_t row) {
  const int64_t d = rows->d;
  const float *y = (const float *)rows->x + row * d;
  const uint16_t *h = (const uint16_t *)rows->x + row * d;
  const bool whole = rows->dtype == MICA_F32;
  if (rows->metric == MICA_INDEX_L2)
    return -sqrt(whole ? squares_f32(query, y, d) : squares_16(rows, query, h));
  const double dot = whole ? dot_f32(query, y, d) : dot_16(rows, query, h);
  if (rows->metric == MICA_INDEX_INNER) return dot;
  if (rows->norm[row] == 0) return 0;
  const double c = dot / rows->norm[row];
  return c > 1 ? 1 : c < -1 ? -1 : c;
}

/* ---- passing over what cannot be among the best ---- */

enum { query_rows = 128, stored_rows = 1024 };

/* Beyond these lengths float32 products may overflow or lose their relative accuracy: such rows are
 * always scored. */
#define SHORTEST 1e-15
#define LONGEST  1e15

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

/* The factors a and b of rows [from, to), and the largest length among them. NaN in b makes a row
 * always scored. */
static double factors(const mica_index_rows *rows, int64_t from, int64_t to, float *a, float *b) {
  double longest = 0;
  for (int64_t r = from; r < to; r++) {
    const double norm = rows->norm[r];
    const bool plain = norm >= SHORTEST && norm <= LONGEST;
    a[r - from] = rows->metric == MICA_INDEX_COSINE && plain ? (float)(1 / norm) : 1;
    b[r - from] = !plain ? NAN : rows->metric == MICA_INDEX_L2 ? (float)(norm * norm / 2) : 0;
    if (plain && norm > longest) longest = norm;
  }
  return longest;
}

/* p below this cannot enter the list. A list that is not full lets everything in. */
static float threshold(const mica_index_rows *rows, double bound, double length, double longest) {
  const double u = 0.5 * FLT_EPSILON, d = (double)rows->d, gamma = 1.05 * (d + 16) * u;
  if (bound == -INFINITY || d * u > 0.01 || !(length <= LONGEST)) return -INFINITY;
  double least = bound, error;
  switch (rows->metric) {
  case MICA_INDEX_COSINE: error = gamma + 1e-9; break;
  case MICA_INDEX_INNER:
    error = gamma * length * longest + fabs(bound) * FLT_EPSILON + d * FLT_MIN;
    break;
  default:
    least = (length * length - bound * bound) / 2;
    error = gamma * (length * longest + longest * longest / 2) +
            (length * length + bound * bound) * FLT_EPSILON + d * FLT_MIN;
  }
  return nextafterf((float)(least - error), -INFINITY);
}

/* One query against a block: its products p, the factors, and the list. */
static void sift(const search *s, int64_t from, int64_t n, double length, double longest,
                 const float *product, const float *a, const float *b, mica_index_best *best) {
  const mica_index_rows *rows = s->rows;
  double bound = mica_index_best_bound(best);
  float least = threshold(rows, bound, length, longest);
  for (int64_t c = 0;; c++) {
    c = s->reduce->first_reaching(n, product, a, b, (double)least, c);
    if (c >= n) return;
    mica_index_offer(best, from + c);
    const double raised = mica_index_best_bound(best);
    if (raised > bound) {
      bound = raised;
      least = threshold(rows, bound, length, longest);
    }
  }
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
    const double longest = factors(rows, from, to, base + l.a, base + l.b);
    for (int64_t i = 0; i < m; i++)
      sift(s, from, n, length[i], longest, product + i * n, base + l.a, base + l.b, best[i]);
  }
  return MICA_OK;
}

static mica_status query(const mica_engine *engine, const void *o, const void *state,
                         const mica_index_rows *rows, mica_index_question *question) {
  (void)o;
  (void)state;
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
