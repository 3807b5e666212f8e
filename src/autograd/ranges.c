/* Tiles, axes, broadcasting, and sums over axes and over what was broadcast. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/reduce.h"

#include <string.h>

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}
static int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/* ---- tiles ---- */

/* Columns of a tile, at least: shorter runs would waste cache lines. */
#define TILE_COLUMNS 512

mica_tiles mica_tiles_of(int64_t outer, int64_t axis, int64_t inner) {
  mica_tiles t = {outer, inner, 1, inner, 1, 0};
  if (outer <= 0 || inner <= 0) return t;
  const int64_t block = larger(axis * inner, 1);
  if (block <= MICA_CHUNK) {
    t.group = MICA_CHUNK / block;
  } else {
    t.width = smaller(inner, larger(TILE_COLUMNS, MICA_CHUNK / larger(axis, 1)));
    t.across = divide_up(inner, t.width);
  }
  t.count = divide_up(outer, t.group) * t.across;
  return t;
}

mica_tile mica_tile_at(const mica_tiles *t, int64_t i) {
  const int64_t block = i / t->across * t->group, column = i % t->across * t->width;
  return (mica_tile){block, smaller(t->group, t->outer - block), column,
                     smaller(t->width, t->inner - column)};
}

/* ---- axes ---- */

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

mica_var mica_axis_to_last(mica_tape *t, const char *what, mica_var x, int axis) {
  const mica_view v = mica_read(t, x);
  int at, order[MICA_MAX_RANK], n = 0;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_axis(&v.shape, axis, &at)) {
    char text[128];
    return mica_latch(t, MICA_ERR_SHAPE, "%s: axis %d of %s", what, axis,
                      mica_shape_text(&v.shape, text, sizeof text));
  }
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

/* ---- broadcasting ---- */

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

void mica_view_steps(const mica_view *v, int64_t *step) {
  const int last = v->shape.rank - 1;
  if (last >= 0) step[last] = 1;
  int64_t n = v->row_stride;
  for (int d = last; d-- > 0; n *= v->shape.dim[d]) step[d] = n;
}

void mica_broadcast_steps(const mica_shape *from, const mica_shape *to, int64_t *step) {
  int64_t dense[MICA_MAX_RANK];
  mica_dense_steps(from, dense);
  for (int d = 0; d < to->rank; d++) {
    const int i = d - (to->rank - from->rank);
    step[d] = i < 0 || from->dim[i] == 1 ? 0 : dense[i];
  }
}

/* ---- sums ---- */

/* Where a sum has few tiles its axis is cut too, into at most this many pieces of work. */
#define SUM_PIECES 64

typedef struct sum_job {
  const mica_reduce_kernels *k;
  mica_tiles tiles;
  size_t size;
  int64_t axis, inner, parts, rows; /* rows of a part */
  double alpha;
  const char *x;
  char *y;
  double *partial; /* [outer, parts, inner] */
} sum_job;

static void row_sums(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile tile = mica_tile_at(&j->tiles, i);
    j->k->row_sum(tile.blocks, j->axis, j->x + (size_t)(tile.block * j->axis) * j->size, j->axis,
                  j->alpha, j->y + (size_t)tile.block * j->size);
  }
}

static void column_sums(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  double acc[TILE_COLUMNS];
  for (int64_t i = begin; i < end; i++) {
    const mica_tile tile = mica_tile_at(&j->tiles, i);
    for (int64_t b = tile.block; b < tile.block + tile.blocks; b++)
      for (int64_t c = 0; c < tile.columns; c += TILE_COLUMNS) {
        const int64_t at = tile.column + c, n = smaller(TILE_COLUMNS, tile.columns - c);
        memset(acc, 0, (size_t)n * sizeof *acc);
        j->k->column_sum(j->axis, n, j->x + (size_t)(b * j->axis * j->inner + at) * j->size,
                         j->inner, acc);
        j->k->combine(n, 1, acc, j->alpha, j->y + (size_t)(b * j->inner + at) * j->size);
      }
  }
}

static void partial_sums(void *ctx, int64_t begin, int64_t end) {
  const sum_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile tile = mica_tile_at(&j->tiles, i / j->parts);
    const int64_t part = i % j->parts, from = part * j->rows,
                  rows = smaller(j->rows, j->axis - from);
    double *acc = j->partial + (tile.block * j->parts + part) * j->inner + tile.column;
    memset(acc, 0, (size_t)tile.columns * sizeof *acc);
    j->k->column_sum(rows, tile.columns,
                     j->x +
                         (size_t)((tile.block * j->axis + from) * j->inner + tile.column) * j->size,
                     j->inner, acc);
  }
}

bool mica_sum_axis(mica_call *c, mica_dtype dtype, int64_t outer, int64_t axis, int64_t inner,
                   double alpha, const void *x, void *y) {
  const size_t size = mica_dtype_size(dtype);
  if (outer * inner == 0) return true;
  sum_job j = {.k = mica_kernels_of(c->engine, dtype)->reduce,
               .tiles = mica_tiles_of(outer, axis, inner),
               .size = size,
               .axis = axis,
               .inner = inner,
               .parts = 1,
               .alpha = alpha,
               .x = x,
               .y = y};
  if (inner == 1 && axis <= MICA_CHUNK) {
    mica_parallel_for(c->engine, j.tiles.count, row_sums, &j);
    return true;
  }
  if (j.tiles.group == 1 && j.tiles.count < SUM_PIECES)
    j.parts = larger(1, smaller(axis * j.tiles.width / MICA_CHUNK, SUM_PIECES / j.tiles.count));
  if (j.parts == 1) {
    mica_parallel_for(c->engine, j.tiles.count, column_sums, &j);
    return true;
  }
  j.rows = divide_up(axis, j.parts);
  j.parts = divide_up(axis, j.rows);
  j.partial = mica_call_scratch(c, (size_t)(outer * j.parts * inner) * sizeof *j.partial);
  if (!j.partial) return false;
  mica_parallel_for(c->engine, j.tiles.count * j.parts, partial_sums, &j);
  for (int64_t b = 0; b < outer; b++)
    j.k->combine(inner, j.parts, j.partial + b * j.parts * inner, alpha,
                 j.y + (size_t)(b * inner) * size);
  return true;
}

/* Adjacent dimensions that are both kept or both summed become one. */
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

bool mica_sum_to(mica_call *c, mica_dtype dtype, const void *y, const mica_shape *from, void *x,
                 const mica_shape *to) {
  const size_t size = mica_dtype_size(dtype);
  int64_t step[MICA_MAX_RANK];
  mica_broadcast_steps(to, from, step);
  runs r = runs_of(from, step);
  int left = 0;
  for (int d = 0; d < r.n; d++) left += r.summed[d];
  if (!left) memcpy(x, y, (size_t)mica_shape_count(to) * size);
  for (int d = r.n; d-- > 0 && left;) {
    if (!r.summed[d]) continue;
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < d; i++) outer *= r.size[i];
    for (int i = d + 1; i < r.n; i++) inner *= r.size[i];
    void *sum = --left ? mica_call_scratch(c, (size_t)(outer * inner) * size) : x;
    if (!sum || !mica_sum_axis(c, dtype, outer, r.size[d], inner, 1, y, sum)) return false;
    y = sum;
    r.size[d] = 1;
  }
  return true;
}
