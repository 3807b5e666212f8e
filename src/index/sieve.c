/* Bounds on float32 scores, and the rows that reach them. */
#include "index/sieve.h"

#include <float.h>
#include <math.h>

/* Beyond these lengths float32 products may overflow or lose their relative accuracy: such rows are
 * always scored. */
#define SHORTEST 1e-15
#define LONGEST  1e15

static int64_t row_of(const mica_sieve *s, int64_t i) {
  return s->number ? s->number[i] : s->first + i;
}

/* NaN in b makes a row always scored. */
void mica_sieve_begin(mica_sieve *sieve) {
  const mica_index_rows *rows = sieve->rows;
  sieve->longest = 0;
  for (int64_t i = 0; i < sieve->n; i++) {
    const double norm = rows->norm[row_of(sieve, i)];
    const bool plain = norm >= SHORTEST && norm <= LONGEST;
    sieve->a[i] = rows->metric == MICA_INDEX_COSINE && plain ? (float)(1 / norm) : 1;
    sieve->b[i] = !plain ? NAN : rows->metric == MICA_INDEX_L2 ? (float)(norm * norm / 2) : 0;
    if (plain && norm > sieve->longest) sieve->longest = norm;
  }
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

void mica_sieve_query(const mica_sieve *sieve, double length, const float *product,
                      mica_index_best *best) {
  const mica_index_rows *rows = sieve->rows;
  double bound = mica_index_best_bound(best);
  float least = threshold(rows, bound, length, sieve->longest);
  for (int64_t c = 0;; c++) {
    c = sieve->reduce->first_reaching(sieve->n, product, sieve->a, sieve->b, (double)least, c);
    if (c >= sieve->n) return;
    mica_index_offer(best, row_of(sieve, c));
    const double raised = mica_index_best_bound(best);
    if (raised > bound) {
      bound = raised;
      least = threshold(rows, bound, length, sieve->longest);
    }
  }
}
