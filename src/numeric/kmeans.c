/* k-means: greedy ++ seeding, Lloyd's iterations, empty clusters repaired.
 *
 * Assignment is a matrix product in blocks of rows. The new centres are summed cluster by cluster
 * over the rows in order, so neither step depends on the number of threads. In the cosine form rows
 * have length 1 and centres are the directions of their sums, so squared distance 2 - 2 cos is what
 * falls.
 */
#include <mica/numeric.h>

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

enum { block_rows = 256 };

typedef struct {
  const mica_engine *engine;
  const mica_view *x;
  bool cosine;
  int64_t n, d, k;
  double *centre;    /* [k, D] */
  double *norm;      /* [k] squared lengths of the centres */
  double *distance;  /* [N] squared distance to the nearest centre */
  int64_t *assigned; /* [N] */
  int64_t *order;    /* [N] rows by cluster */
  int64_t *start;    /* [k + 1] */
} state;

static void load(const state *s, int64_t begin, int64_t end, double *rows) {
  mica_rows_load(s->x, begin, end, NULL, rows);
  if (s->cosine) mica_rows_normalise(rows, end - begin, s->d);
}

/* ---- assignment ---- */

static mica_status assign_chunk(void *ctx, int64_t chunk, void *scratch) {
  const state *s = ctx;
  int64_t begin = chunk * block_rows, end = begin + block_rows < s->n ? begin + block_rows : s->n;
  double *rows = scratch, *product = rows + block_rows * s->d;
  load(s, begin, end, rows);
  mica_status status = mica_gemm(s->engine, MICA_F64, false, true, end - begin, s->k, s->d, 1, rows,
                                 s->d, s->centre, s->d, 0, product, s->k);
  if (status) return status;
  for (int64_t i = begin; i < end; i++, product += s->k) {
    int64_t best = 0;
    double least = s->norm[0] - 2 * product[0];
    for (int64_t c = 1; c < s->k; c++) {
      double v = s->norm[c] - 2 * product[c];
      if (v < least) least = v, best = c;
    }
    s->assigned[i] = best;
    s->distance[i] = fmax(0, least + mica_sum_squares(rows + (i - begin) * s->d, s->d));
  }
  return MICA_OK;
}

static mica_status assign(state *s, double *inertia) {
  for (int64_t c = 0; c < s->k; c++) s->norm[c] = mica_sum_squares(s->centre + c * s->d, s->d);
  mica_status status =
      mica_chunks_run(s->engine, mica_chunks_of(s->n, block_rows),
                      (size_t)(block_rows * (s->d + s->k)) * sizeof(double), assign_chunk, s);
  *inertia = 0;
  for (int64_t i = 0; i < s->n; i++) *inertia += s->distance[i];
  return status;
}

/* ---- centres ---- */

static mica_status centre_chunk(void *ctx, int64_t c, void *scratch) {
  const state *s = ctx;
  double *to = s->centre + c * s->d, *row = scratch;
  int64_t count = s->start[c + 1] - s->start[c];
  memset(to, 0, (size_t)s->d * sizeof *to);
  for (int64_t i = s->start[c]; i < s->start[c + 1]; i++) {
    load(s, s->order[i], s->order[i] + 1, row);
    for (int64_t j = 0; j < s->d; j++) to[j] += row[j];
  }
  /* Opposite unit rows may cancel: the first of them stands for the direction. */
  if (s->cosine && mica_rows_normalise(to, 1, s->d) == 0)
    load(s, s->order[s->start[c]], s->order[s->start[c]] + 1, to);
  for (int64_t j = 0; !s->cosine && j < s->d; j++) to[j] /= (double)count;
  return MICA_OK;
}

static void order_rows(state *s) {
  memset(s->start, 0, (size_t)(s->k + 1) * sizeof *s->start);
  for (int64_t i = 0; i < s->n; i++) s->start[s->assigned[i] + 1]++;
  for (int64_t c = 0; c < s->k; c++) s->start[c + 1] += s->start[c];
  for (int64_t i = 0; i < s->n; i++) s->order[s->start[s->assigned[i]]++] = i;
  for (int64_t c = s->k; c > 0; c--) s->start[c] = s->start[c - 1];
  s->start[0] = 0;
}

/* Each empty cluster takes the row farthest from its centre out of a cluster that can spare one. */
static void repair_empty(state *s) {
  for (int64_t c = 0; c < s->k; c++) {
    if (s->start[c + 1] > s->start[c]) continue;
    int64_t far = -1;
    for (int64_t i = 0; i < s->n; i++) {
      int64_t owner = s->assigned[i];
      if (s->start[owner + 1] - s->start[owner] < 2) continue;
      if (far < 0 || s->distance[i] > s->distance[far]) far = i;
    }
    if (far < 0) return; /* cannot be: k <= N */
    s->assigned[far] = c;
    s->distance[far] = 0;
    order_rows(s);
  }
}

/* ---- seeding ---- */

typedef struct {
  const state *s;
  const double *candidate; /* [candidates, D] */
  int64_t candidates;
  double norm[64];  /* their squared lengths */
  double *distance; /* [candidates, N] the squared distance when this candidate is added */
} seed_job;

static mica_status seed_chunk(void *ctx, int64_t chunk, void *scratch) {
  const seed_job *j = ctx;
  const state *s = j->s;
  int64_t begin = chunk * block_rows, end = begin + block_rows < s->n ? begin + block_rows : s->n;
  double *rows = scratch, *product = rows + block_rows * s->d;
  load(s, begin, end, rows);
  mica_status status = mica_gemm(s->engine, MICA_F64, false, true, end - begin, j->candidates, s->d,
                                 1, rows, s->d, j->candidate, s->d, 0, product, j->candidates);
  for (int64_t i = begin; i < end && !status; i++) {
    double square = mica_sum_squares(rows + (i - begin) * s->d, s->d);
    for (int64_t c = 0; c < j->candidates; c++) {
      double distance = square + j->norm[c] - 2 * product[(i - begin) * j->candidates + c];
      /* Rows equal to the candidate must not be drawn again for their rounding. */
      if (distance < 1e-14 * (square + j->norm[c])) distance = 0;
      j->distance[c * s->n + i] = fmin(distance, s->distance[i]);
    }
  }
  return status;
}

/* A row drawn with probability proportional to its squared distance. */
static int64_t draw(const state *s, double total, double u) {
  double want = u * total, sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < s->n; i++) {
    if (!(s->distance[i] > 0)) continue;
    sum += s->distance[i];
    last = i;
    if (sum > want) break;
  }
  return last;
}

static mica_status seed(state *s, mica_key key) {
  int64_t candidates = 2 + (int64_t)log((double)s->k); /* 45 for the largest k */
  double *memory = mica_malloc((size_t)(candidates * (s->n + s->d)) * sizeof *memory);
  if (!memory) return MICA_ERR_MEMORY;
  double *rows = memory + candidates * s->n;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < s->n; i++) s->distance[i] = INFINITY;
  for (int64_t c = 0; c < s->k && !status; c++) {
    mica_key here = mica_key_fold(key, (uint64_t)c);
    double total = 0;
    for (int64_t i = 0; c && i < s->n; i++) total += s->distance[i];
    int64_t tries = c ? candidates : 1, best = 0;
    for (int64_t t = 0; t < tries; t++) {
      int64_t i = c && total > 0 ? draw(s, total, mica_random_uniform(here, (uint64_t)t))
                                 : (int64_t)mica_random_below(here, (uint64_t)t, (uint64_t)s->n);
      load(s, i, i + 1, rows + t * s->d);
    }
    seed_job j = {.s = s, .candidate = rows, .candidates = tries, .distance = memory};
    for (int64_t t = 0; t < tries; t++) j.norm[t] = mica_sum_squares(rows + t * s->d, s->d);
    status =
        mica_chunks_run(s->engine, mica_chunks_of(s->n, block_rows),
                        (size_t)(block_rows * (s->d + tries)) * sizeof(double), seed_chunk, &j);
    double least = INFINITY;
    for (int64_t t = 0; t < tries && !status; t++) {
      double sum = 0;
      for (int64_t i = 0; i < s->n; i++) sum += memory[t * s->n + i];
      if (sum < least) least = sum, best = t;
    }
    memcpy(s->distance, memory + best * s->n, (size_t)s->n * sizeof *s->distance);
    memcpy(s->centre + c * s->d, rows + best * s->d, (size_t)s->d * sizeof *s->centre);
  }
  mica_free(memory);
  return status;
}

/* ---- one run, and the best of several ---- */

static mica_status lloyd(state *s, const mica_kmeans_options *o, mica_key key, int64_t *before,
                         mica_kmeans_report *report) {
  mica_status status = seed(s, key);
  if (!status) status = assign(s, &report->inertia);
  *report = (mica_kmeans_report){.inertia = report->inertia};
  while (!status && report->iterations < o->max_iterations && !report->converged) {
    double last = report->inertia;
    order_rows(s);
    repair_empty(s);
    memcpy(before, s->assigned, (size_t)s->n * sizeof *before);
    status = mica_chunks_run(s->engine, s->k, (size_t)s->d * sizeof(double), centre_chunk, s);
    if (!status) status = assign(s, &report->inertia);
    report->iterations++;
    report->converged = memcmp(before, s->assigned, (size_t)s->n * sizeof *before) == 0 ||
                        (o->tol > 0 && last - report->inertia < o->tol * last);
  }
  return status;
}

static mica_status check(const mica_engine *engine, const mica_view *x, int64_t k,
                         const mica_kmeans_options *o) {
  mica_status status = mica_rows_check(x, "k-means");
  if (!status) status = mica_rows_check_finite(engine, x, "k-means");
  if (status) return status;
  int64_t n = mica_rows_n(x);
  if (k < 1 || k > n)
    return mica_fail(MICA_ERR_INVALID, "k-means: %lld clusters of %lld rows", (long long)k,
                     (long long)n);
  if (o->restarts < 1 || o->max_iterations < 1 || !(o->tol >= 0))
    return mica_fail(MICA_ERR_INVALID,
                     "k-means: %d restarts, %d iterations, tol %g; expected at least 1, 1 and 0",
                     o->restarts, o->max_iterations, o->tol);
  return MICA_OK;
}

static mica_status check_directions(const mica_view *x) {
  int64_t d = mica_rows_d(x);
  double *row = mica_malloc((size_t)d * sizeof *row);
  if (!row) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < mica_rows_n(x) && !status; i++) {
    mica_rows_load(x, i, i + 1, NULL, row);
    if (mica_rows_normalise(row, 1, d) == 0)
      status = mica_fail(MICA_ERR_NUMERIC, "k-means: row %lld is zero and has no direction",
                         (long long)i);
  }
  mica_free(row);
  return status;
}

mica_status mica_kmeans(const mica_engine *engine, const mica_view *x, int64_t k,
                        const mica_kmeans_options *options, double *centres, int64_t *assignment,
                        mica_kmeans_report *report) {
  mica_kmeans_options o = MICA_KMEANS_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  mica_status status = check(engine, x, k, &o);
  if (!status && o.cosine) status = check_directions(x);
  if (status) return status;
  state s = {.engine = engine,
             .x = x,
             .cosine = o.cosine != 0,
             .n = mica_rows_n(x),
             .d = mica_rows_d(x),
             .k = k};
  size_t n = (size_t)s.n, kd = (size_t)(k * s.d);
  double *real = mica_malloc((kd + (size_t)k + n) * sizeof *real);
  int64_t *whole = mica_malloc((3 * n + (size_t)k + 1) * sizeof *whole);
  if (!real || !whole) status = MICA_ERR_MEMORY;
  mica_kmeans_report best = {.inertia = INFINITY}, one;
  if (!status) {
    s.centre = real;
    s.norm = real + kd;
    s.distance = s.norm + k;
    s.assigned = whole;
    s.order = whole + n;
    s.start = whole + 3 * n;
  }
  for (int32_t r = 0; r < o.restarts && !status; r++) {
    mica_key key = mica_key_fold(mica_key_fold_name(mica_key_seed(o.seed), "k-means"), (uint64_t)r);
    status = lloyd(&s, &o, key, whole + 2 * n, &one);
    if (status || !(one.inertia < best.inertia)) continue;
    best = one;
    memcpy(centres, s.centre, kd * sizeof *centres);
    if (assignment) memcpy(assignment, s.assigned, n * sizeof *assignment);
  }
  if (!status && !isfinite(best.inertia))
    status = mica_fail(MICA_ERR_NUMERIC,
                       "k-means: distances are not finite, the features are too large");
  if (!status && report) *report = best;
  mica_free(real);
  mica_free(whole);
  return status;
}
