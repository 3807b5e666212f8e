/* Linear assignment by shortest augmenting paths: rows are taken one by one, and each finds the
 * cheapest way to a free column through the columns that are taken, with prices that keep reduced
 * costs at 0 or more (Jonker and Volgenant 1987, the augmentation alone). */
#include <mica/numeric.h>

#include <math.h>
#include <string.h>

typedef struct problem {
  int64_t n, m; /* n <= m */
  const double *value;
  bool maximise, transposed;
  double *row_price, *column_price, *shortest; /* [n], [m], [m] */
  int64_t *row_of, *from,
      *column_of; /* [m] the column's row, -1: free; whence it is reached; [n] */
  bool *done;     /* [m] */
} problem;

static double cost(const problem *p, int64_t i, int64_t j) {
  const double v = p->transposed ? p->value[j * p->n + i] : p->value[i * p->m + j];
  return p->maximise ? -v : v;
}

/* A column for row `start`. */
static void augment(problem *p, int64_t start) {
  int64_t i = start, sink = -1;
  double least = 0;
  for (int64_t j = 0; j < p->m; j++) {
    p->shortest[j] = INFINITY;
    p->done[j] = false;
  }
  while (sink < 0) {
    int64_t next = -1;
    double best = INFINITY;
    for (int64_t j = 0; j < p->m; j++) {
      if (p->done[j]) continue;
      const double length = least + cost(p, i, j) - p->row_price[i] - p->column_price[j];
      if (length < p->shortest[j]) {
        p->shortest[j] = length;
        p->from[j] = i;
      }
      if (p->shortest[j] < best ||
          (p->shortest[j] <= best && p->row_of[j] < 0 && next >= 0 && p->row_of[next] >= 0)) {
        best = p->shortest[j];
        next = j;
      }
    }
    least = best;
    p->done[next] = true;
    if (p->row_of[next] < 0)
      sink = next;
    else
      i = p->row_of[next];
  }
  p->row_price[start] += least;
  for (int64_t j = 0; j < p->m; j++) {
    if (!p->done[j] || j == sink) continue;
    p->row_price[p->row_of[j]] += least - p->shortest[j];
    p->column_price[j] -= least - p->shortest[j];
  }
  for (int64_t j = sink, row = -1; row != start;) { /* along the path back to the start */
    row = p->from[j];
    const int64_t before = p->column_of[row];
    p->row_of[j] = row;
    p->column_of[row] = j;
    j = before;
  }
}

static mica_status solve(problem *p, int64_t *column, double *total) {
  for (int64_t j = 0; j < p->m; j++) p->row_of[j] = -1;
  for (int64_t i = 0; i < p->n; i++) augment(p, i);
  double sum = 0;
  const int64_t rows = p->transposed ? p->m : p->n;
  for (int64_t i = 0; i < rows; i++) column[i] = -1;
  for (int64_t j = 0; j < p->m; j++) {
    if (p->row_of[j] < 0) continue;
    if (p->transposed)
      column[j] = p->row_of[j];
    else
      column[p->row_of[j]] = j;
  }
  for (int64_t i = 0; i < rows; i++)
    if (column[i] >= 0) sum += p->value[i * (p->transposed ? p->n : p->m) + column[i]];
  if (total) *total = sum;
  return MICA_OK;
}

mica_status mica_linear_assignment(int64_t n, int64_t m, const double *value, bool maximise,
                                   int64_t *column, double *total) {
  if (n < 0 || m < 0)
    return mica_fail(MICA_ERR_INVALID, "assignment of %lld rows to %lld columns", (long long)n,
                     (long long)m);
  for (int64_t i = 0; i < n * m; i++)
    if (!isfinite(value[i]))
      return mica_fail(MICA_ERR_NUMERIC, "assignment: row %lld, column %lld is not finite",
                       (long long)(i / m), (long long)(i % m));
  problem p = {.n = n < m ? n : m,
               .m = n < m ? m : n,
               .value = value,
               .maximise = maximise,
               .transposed = n > m};
  p.row_price = mica_calloc((size_t)(p.n + 2 * p.m) + 1, sizeof *p.row_price);
  p.row_of = mica_calloc((size_t)(2 * p.m + p.n) + 1, sizeof *p.row_of);
  p.done = mica_calloc((size_t)p.m + 1, sizeof *p.done);
  mica_status status = p.row_price && p.row_of && p.done ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    p.column_price = p.row_price + p.n;
    p.shortest = p.column_price + p.m;
    p.from = p.row_of + p.m;
    p.column_of = p.from + p.m;
    status = solve(&p, column, total);
  }
  mica_free(p.done);
  mica_free(p.row_of);
  mica_free(p.row_price);
  return status;
}
