/* Group sums and scatter matrices with a fixed order of additions.
 *
 * Sums go through a fixed number of partial sums. The scatter matrix needs none: blocks of centred
 * rows are written once, then each strip of the lower triangle is a matrix product over the whole
 * block.
 */
#include "numeric/moments.h"

#include "numeric/chunks.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <string.h>

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* ---- sums by group ---- */

void mica_rows_load_form(const mica_view *x, int64_t begin, int64_t end, const mica_row_form *form,
                         double *out) {
  mica_rows_load(x, begin, end, form ? form->centre : NULL, out);
  if (form && form->unit) mica_rows_normalise(out, end - begin, mica_rows_d(x));
}

typedef struct {
  const mica_view *x;
  const mica_row_form *form;
  const int64_t *group;
  int64_t groups, chunks;
  double *sum;    /* [chunks, groups, D] */
  int64_t *count; /* [chunks, groups] */
} sum_job;

static mica_status sum_chunk(void *ctx, int64_t chunk, void *scratch) {
  const sum_job *j = ctx;
  int64_t n = mica_rows_n(j->x), d = mica_rows_d(j->x);
  int64_t begin = n / j->chunks * chunk + n % j->chunks * chunk / j->chunks;
  int64_t end = n / j->chunks * (chunk + 1) + n % j->chunks * (chunk + 1) / j->chunks;
  double *sum = j->sum + chunk * j->groups * d, *row = scratch;
  int64_t *count = j->count + chunk * j->groups;
  for (int64_t i = begin; i < end; i++) {
    int64_t g = j->group ? j->group[i] : 0;
    mica_rows_load_form(j->x, i, i + 1, j->form, row);
    double *to = sum + g * d;
    for (int64_t c = 0; c < d; c++) to[c] += row[c];
    count[g]++;
  }
  return MICA_OK;
}

mica_status mica_group_sums(const mica_engine *engine, const mica_view *x,
                            const mica_row_form *form, const int64_t *group, int64_t groups,
                            double *sum, int64_t *count) {
  int64_t n = mica_rows_n(x), d = mica_rows_d(x), size = groups * d;
  int64_t chunks = least(16, 1 + n / 256);
  while (chunks > 1 && chunks * size > (64 << 20) / 8) chunks--;
  double *partial = mica_calloc((size_t)(chunks * size), sizeof *partial);
  int64_t *counts = mica_calloc((size_t)(chunks * groups), sizeof *counts);
  mica_status status = partial && counts ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    sum_job j = {x, form, group, groups, chunks, partial, counts};
    status = mica_chunks_run(engine, chunks, (size_t)d * sizeof(double), sum_chunk, &j);
  }
  if (!status) {
    memcpy(sum, partial, (size_t)size * sizeof *sum);
    memcpy(count, counts, (size_t)groups * sizeof *count);
    for (int64_t c = 1; c < chunks; c++) {
      for (int64_t i = 0; i < size; i++) sum[i] += partial[c * size + i];
      for (int64_t g = 0; g < groups; g++) count[g] += counts[c * groups + g];
    }
  }
  mica_free(partial);
  mica_free(counts);
  return status;
}

/* ---- scatter ---- */

typedef struct {
  const mica_engine *engine;
  const mica_view *x;
  const int64_t *group;
  const double *centre;
  int64_t begin, end; /* the block's rows */
  int64_t rows_per_chunk, strip, strips;
  double *block;  /* [end - begin, D] centred */
  double *fourth; /* [chunk of rows], or NULL */
  double *scatter;
} scatter_job;

static mica_status centre_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const scatter_job *j = ctx;
  int64_t d = mica_rows_d(j->x), from = j->begin + chunk * j->rows_per_chunk;
  int64_t to = least(from + j->rows_per_chunk, j->end);
  double fourth = 0;
  for (int64_t i = from; i < to; i++) {
    double *row = j->block + (i - j->begin) * d;
    mica_rows_load(j->x, i, i + 1, j->centre + (j->group ? j->group[i] : 0) * d, row);
    if (j->fourth) {
      double square = mica_sum_squares(row, d);
      fourth += square * square;
    }
  }
  if (j->fourth) j->fourth[chunk] = fourth;
  return MICA_OK;
}

/* Rows [first, last) of the lower triangle. Long and short strips alternate, so that a contiguous
 * share of the chunks is a fair share of the work. */
static mica_status strip_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const scatter_job *j = ctx;
  int64_t d = mica_rows_d(j->x), s = chunk % 2 ? j->strips - 1 - chunk / 2 : chunk / 2;
  int64_t first = s * j->strip, last = least(first + j->strip, d);
  return mica_gemm(j->engine, MICA_F64, true, false, last - first, last, j->end - j->begin, 1,
                   j->block + first, d, j->block, d, 1, j->scatter + first * d, d);
}

mica_status mica_scatter(const mica_engine *engine, const mica_view *x, const int64_t *group,
                         const double *centre, double *scatter, double *fourth) {
  int64_t n = mica_rows_n(x), d = mica_rows_d(x);
  int64_t block_rows = least(n, d <= 512 ? 4096 : 1024);
  if (block_rows < 1) block_rows = 1;
  scatter_job j = {.engine = engine, .x = x, .group = group, .centre = centre, .scatter = scatter};
  j.rows_per_chunk = 128;
  j.strip = d <= 256 ? 16 : 64;
  j.strips = mica_chunks_of(d, j.strip);
  j.block = mica_malloc_aligned((size_t)block_rows * (size_t)d * sizeof *j.block);
  double partial[32]; /* 4096 rows in chunks of 128 */
  if (!j.block) return MICA_ERR_MEMORY;
  j.fourth = fourth ? partial : NULL;
  memset(scatter, 0, (size_t)d * (size_t)d * sizeof *scatter);
  if (fourth) *fourth = 0;
  mica_status status = MICA_OK;
  for (j.begin = 0; j.begin < n && !status; j.begin = j.end) {
    j.end = least(j.begin + block_rows, n);
    int64_t chunks = mica_chunks_of(j.end - j.begin, j.rows_per_chunk);
    status = mica_chunks_run(engine, chunks, 0, centre_chunk, &j);
    if (!status) status = mica_chunks_run(engine, j.strips, 0, strip_chunk, &j);
    for (int64_t c = 0; fourth && !status && c < chunks; c++) *fourth += partial[c];
  }
  mica_free_aligned(j.block);
  for (int64_t r = 0; r < d; r++)
    for (int64_t c = r + 1; c < d; c++) scatter[r * d + c] = scatter[c * d + r];
  return status;
}

/* ---- moments ---- */

mica_status mica_moments_begin(mica_moments *m, int64_t d, bool full) {
  *m = (mica_moments){.d = d};
  m->mean = mica_calloc((size_t)d, sizeof *m->mean);
  m->square = mica_calloc((size_t)d, sizeof *m->square);
  if (full) m->scatter = mica_calloc((size_t)d * (size_t)d, sizeof *m->scatter);
  if (m->mean && m->square && (m->scatter || !full)) return MICA_OK;
  mica_moments_end(m);
  return MICA_ERR_MEMORY;
}

void mica_moments_end(mica_moments *m) {
  mica_free(m->mean);
  mica_free(m->scatter);
  mica_free(m->square);
  *m = (mica_moments){0};
}

/* The diagonal alone, in the same order of additions as sums: chunk by chunk of rows. */
typedef struct {
  const mica_view *x;
  const double *mean;
  int64_t chunks;
  double *square; /* [chunks, D] */
} square_job;

static mica_status square_chunk(void *ctx, int64_t chunk, void *scratch) {
  const square_job *j = ctx;
  int64_t n = mica_rows_n(j->x), d = mica_rows_d(j->x);
  int64_t begin = n / j->chunks * chunk + n % j->chunks * chunk / j->chunks;
  int64_t end = n / j->chunks * (chunk + 1) + n % j->chunks * (chunk + 1) / j->chunks;
  double *row = scratch, *to = j->square + chunk * d;
  for (int64_t i = begin; i < end; i++) {
    mica_rows_load(j->x, i, i + 1, j->mean, row);
    for (int64_t c = 0; c < d; c++) to[c] += row[c] * row[c];
  }
  return MICA_OK;
}

static mica_status add_squares(const mica_engine *engine, const mica_view *x, mica_moments *m) {
  int64_t chunks = least(16, 1 + mica_rows_n(x) / 256);
  double *partial = mica_calloc((size_t)(chunks * m->d), sizeof *partial);
  if (!partial) return MICA_ERR_MEMORY;
  square_job j = {x, m->mean, chunks, partial};
  mica_status status =
      mica_chunks_run(engine, chunks, (size_t)m->d * sizeof(double), square_chunk, &j);
  for (int64_t c = 0; c < chunks; c++)
    for (int64_t i = 0; i < m->d; i++) m->square[i] += partial[c * m->d + i];
  mica_free(partial);
  return status;
}

mica_status mica_moments_add(const mica_engine *engine, mica_moments *m, const mica_view *x) {
  if (mica_rows_d(x) != m->d)
    return mica_fail(MICA_ERR_SHAPE, "moments: rows of %lld columns, expected %lld",
                     (long long)mica_rows_d(x), (long long)m->d);
  if (mica_rows_n(x) == 0) return MICA_OK;
  mica_moments part;
  mica_status status = mica_moments_begin(&part, m->d, m->scatter != NULL);
  if (status) return status;
  status = mica_group_sums(engine, x, NULL, NULL, 1, part.mean, &part.n);
  for (int64_t i = 0; i < m->d && !status; i++) part.mean[i] /= (double)part.n;
  if (!status && part.scatter) {
    status = mica_scatter(engine, x, NULL, part.mean, part.scatter, NULL);
    for (int64_t i = 0; i < m->d; i++) part.square[i] = part.scatter[i * m->d + i];
  } else if (!status) {
    status = add_squares(engine, x, &part);
  }
  if (!status) status = mica_moments_merge(m, &part);
  mica_moments_end(&part);
  return status;
}

mica_status mica_moments_merge(mica_moments *m, const mica_moments *other) {
  if (m->d != other->d || !m->scatter != !other->scatter)
    return mica_fail(MICA_ERR_SHAPE, "moments of %lld and %lld columns cannot be merged",
                     (long long)m->d, (long long)other->d);
  if (other->n == 0) return MICA_OK;
  int64_t n = m->n + other->n;
  double share = (double)other->n / (double)n, weight = (double)m->n * share;
  for (int64_t i = 0; i < m->d; i++) {
    double a = other->mean[i] - m->mean[i];
    m->square[i] += other->square[i] + weight * a * a;
    for (int64_t k = 0; m->scatter && k < m->d; k++)
      m->scatter[i * m->d + k] +=
          other->scatter[i * m->d + k] + weight * a * (other->mean[k] - m->mean[k]);
  }
  for (int64_t i = 0; i < m->d; i++) m->mean[i] += share * (other->mean[i] - m->mean[i]);
  m->n = n;
  return MICA_OK;
}

void mica_moments_covariance(const mica_moments *m, double divisor, double *covariance) {
  for (int64_t i = 0; i < m->d * m->d; i++) covariance[i] = m->scatter[i] / divisor;
}
