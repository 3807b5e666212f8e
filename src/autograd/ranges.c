/* Axes, broadcasting and region copies for the operations' files. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"
#include "tensor/kernel/reduce.h"

#include <string.h>

const mica_kernels *mica_movers_of(const mica_engine *engine, mica_dtype dtype) {
  const size_t size = mica_dtype_size(dtype);
  return size == 4   ? mica_kernels_of(engine, MICA_F32)
         : size == 8 ? mica_kernels_of(engine, MICA_F64)
                     : NULL;
}

bool mica_axis(const mica_shape *shape, int axis, int *at) {
  *at = axis < 0 ? axis + shape->rank : axis;
  return *at >= 0 && *at < shape->rank;
}

void mica_around(const mica_shape *shape, int axis, int64_t *outer, int64_t *n, int64_t *inner) {
  *outer = *inner = 1;
  *n = shape->dim[axis];
  for (int i = 0; i < axis; i++) *outer *= shape->dim[i];
  for (int i = axis + 1; i < shape->rank; i++) *inner *= shape->dim[i];
}

bool mica_broadcast_shape(const mica_shape *a, const mica_shape *b, mica_shape *out) {
  *out = (mica_shape){a->rank > b->rank ? a->rank : b->rank, {0}};
  for (int d = 0; d < out->rank; d++) {
    const int i = d - (out->rank - a->rank), j = d - (out->rank - b->rank);
    const int64_t n = i < 0 ? 1 : a->dim[i], m = j < 0 ? 1 : b->dim[j];
    if (n != m && n != 1 && m != 1) return false;
    out->dim[d] = n == 1 ? m : n;
  }
  return true;
}

void mica_dense_steps(const mica_shape *shape, int64_t *step) {
  int64_t n = 1;
  for (int d = shape->rank; d-- > 0; n *= shape->dim[d]) step[d] = n;
}

void mica_broadcast_steps(const mica_shape *from, const mica_shape *to, int64_t *step) {
  int64_t dense[MICA_MAX_RANK];
  mica_dense_steps(from, dense);
  for (int d = 0; d < to->rank; d++) {
    const int i = d - (to->rank - from->rank);
    step[d] = i < 0 || from->dim[i] == 1 ? 0 : dense[i];
  }
}

/* ---- sums over broadcast dimensions ---- */

/* Adjacent dimensions that are both kept or both summed become one; at most MICA_MAX_RANK remain.
 */
typedef struct runs {
  int n;
  int64_t size[MICA_MAX_RANK];
  bool summed[MICA_MAX_RANK];
} runs;

static runs runs_of(const mica_shape *from, const int64_t *step) {
  runs r = {0};
  for (int d = 0; d < from->rank; d++) {
    if (from->dim[d] == 1) continue;
    const bool summed = step[d] == 0;
    if (r.n && r.summed[r.n - 1] == summed)
      r.size[r.n - 1] *= from->dim[d];
    else
      r.size[r.n] = from->dim[d], r.summed[r.n++] = summed;
  }
  return r;
}

#define SUM_ROWS 256

typedef struct sum_job {
  const mica_kernels *k;
  size_t size;
  int64_t rows, cols;
  const char *y;
  double *partial; /* column sums */
  char *x;         /* row sums */
} sum_job;

static void column_range(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * SUM_ROWS, rows = j->rows - from < SUM_ROWS ? j->rows - from : SUM_ROWS;
    double *acc = j->partial + i * j->cols;
    memset(acc, 0, (size_t)j->cols * sizeof *acc);
    j->k->reduce->column_sum(rows, j->cols, j->y + (size_t)(from * j->cols) * j->size, j->cols,
                             acc);
  }
}

static void row_range(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * SUM_ROWS, rows = j->rows - from < SUM_ROWS ? j->rows - from : SUM_ROWS;
    j->k->reduce->row_sum(rows, j->cols, j->y + (size_t)(from * j->cols) * j->size, j->cols, 1,
                          j->x + (size_t)from * j->size);
  }
}

bool mica_sum_to(mica_call *c, mica_dtype dtype, const void *y, const mica_shape *from, void *x,
                 const mica_shape *to) {
  const mica_kernels *k = mica_kernels_of(c->engine, dtype);
  const size_t size = mica_dtype_size(dtype);
  const int64_t n = mica_shape_count(from), m = mica_shape_count(to);
  int64_t step[MICA_MAX_RANK];
  mica_broadcast_steps(to, from, step);
  const runs r = runs_of(from, step);
  if (!n) {
    memset(x, 0, (size_t)m * size);
    return true;
  }
  if (n == m) {
    memcpy(x, y, (size_t)n * size);
    return true;
  }
  if (r.n == 2 && !r.summed[0]) {
    sum_job job = {k, size, r.size[0], r.size[1], y, NULL, x};
    mica_parallel_for(c->engine, (r.size[0] + SUM_ROWS - 1) / SUM_ROWS, row_range, &job);
    return true;
  }
  if (r.n <= 2 && r.summed[0]) {
    /* All of a long vector is column sums of a matrix cut out of it, then the sum of those. */
    const int64_t cols = r.n == 2 ? r.size[1] : 1, rows = r.size[0];
    const int64_t chunks = (rows + SUM_ROWS - 1) / SUM_ROWS;
    double *partial = mica_call_scratch(c, (size_t)(chunks * cols) * sizeof *partial);
    if (!partial) return false;
    sum_job job = {k, size, rows, cols, y, partial, NULL};
    mica_parallel_for(c->engine, chunks, column_range, &job);
    k->reduce->combine(cols, chunks, partial, 1, x);
    return true;
  }
  double *acc = mica_call_scratch(c, (size_t)m * sizeof *acc);
  if (!acc) return false;
  memset(acc, 0, (size_t)m * sizeof *acc);
  int64_t at[MICA_MAX_RANK] = {0}, place = 0;
  for (int64_t i = 0; i < n; i++) {
    acc[place] += dtype == MICA_F32 ? (double)((const float *)y)[i] : ((const double *)y)[i];
    for (int d = from->rank; d-- > 0;) {
      place += step[d];
      if (++at[d] < from->dim[d]) break;
      place -= at[d] * step[d];
      at[d] = 0;
    }
  }
  k->reduce->combine(m, 1, acc, 1, x);
  return true;
}

/* ---- copies ---- */

void mica_copy_region(const mica_shape *shape, size_t size, const char *x, const int64_t *x_step,
                      char *y, const int64_t *y_step) {
  const int64_t n = mica_shape_count(shape);
  if (n <= 0) return;
  const int rank = shape->rank;
  const int64_t cols = rank ? shape->dim[rank - 1] : 1;
  int64_t at[MICA_MAX_RANK] = {0};
  for (int64_t row = 0; row < n / cols; row++) {
    int64_t from = 0, to = 0;
    for (int d = 0; d < rank - 1; d++) {
      from += at[d] * x_step[d];
      to += at[d] * y_step[d];
    }
    memcpy(y + (size_t)to * size, x + (size_t)from * size, (size_t)cols * size);
    for (int d = rank - 1; d-- > 0;) {
      if (++at[d] < shape->dim[d]) break;
      at[d] = 0;
    }
  }
}

typedef struct strided_job {
  const mica_kernels *k;
  size_t size;
  const mica_shape *shape;
  const int64_t *step;
  int64_t n;
  const void *x;
  char *y;
} strided_job;

static void strided_range(void *ctx, int64_t begin, int64_t end) {
  const strided_job *j = ctx;
  const int64_t to = end * MICA_CHUNK < j->n ? end * MICA_CHUNK : j->n;
  j->k->copy->strided(j->shape->rank, j->shape->dim, j->step, begin * MICA_CHUNK, to, j->x, j->y);
}

void mica_strided_copy(const mica_engine *engine, const mica_kernels *k, size_t size,
                       const mica_shape *shape, const int64_t *step, const void *x, void *y) {
  strided_job job = {k, size, shape, step, mica_shape_count(shape), x, y};
  if (shape->rank == 0)
    memcpy(y, x, size);
  else
    mica_parallel_for(engine, mica_chunks(job.n), strided_range, &job);
}

/* ---- axes ---- */

mica_var mica_axis_to_last(mica_tape *t, mica_var x, int axis) {
  const mica_view v = mica_read(t, x);
  int at, order[MICA_MAX_RANK], n = 0;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_axis(&v.shape, axis, &at))
    return mica_latch(t, MICA_ERR_SHAPE, "axis %d of a tensor of rank %d", axis, v.shape.rank);
  if (at == v.shape.rank - 1) return x;
  for (int d = 0; d < v.shape.rank; d++)
    if (d != at) order[n++] = d;
  order[n] = at;
  return mica_permute(t, x, v.shape.rank, order);
}

mica_var mica_axis_from_last(mica_tape *t, mica_var x, int axis) {
  const mica_view v = mica_read(t, x);
  int at, order[MICA_MAX_RANK];
  if (!mica_ok(t) || !mica_axis(&v.shape, axis, &at)) return MICA_NONE;
  if (at == v.shape.rank - 1) return x;
  for (int d = 0, from = 0; d < v.shape.rank; d++) order[d] = d == at ? v.shape.rank - 1 : from++;
  return mica_permute(t, x, v.shape.rank, order);
}
