/* Moving elements on the engine's threads: rows, regions, strided gathers, fills, conversions. */
#include "autograd/ranges.h"

#include "tensor/dtype.h"
#include "tensor/kernel/copy.h"

#include <string.h>

/* The loops whose elements have this width: they move bits, whatever the type. */
static const mica_copy_kernels *movers(const mica_engine *engine, size_t size) {
  return size == 4   ? mica_kernels_of(engine, MICA_F32)->copy
         : size == 8 ? mica_kernels_of(engine, MICA_F64)->copy
                     : NULL;
}

/* ---- regions ---- */

typedef struct region_job {
  const mica_copy_kernels *k;
  mica_tiles tiles;
  size_t size;
  int rank; /* of the rows */
  int64_t dim[MICA_MAX_RANK], x_step[MICA_MAX_RANK], y_step[MICA_MAX_RANK];
  const char *x;
  char *y;
} region_job;

/* Rows along the innermost of the rows' dimensions are one strided block. */
static void region_range(void *ctx, int64_t begin, int64_t end) {
  const region_job *j = ctx;
  const int last = j->rank - 1;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile tile = mica_tile_at(&j->tiles, i);
    for (int64_t row = tile.block; row < tile.block + tile.blocks;) {
      int64_t from = tile.column, to = tile.column, rest = row / j->dim[last];
      const int64_t in = row % j->dim[last], left = tile.block + tile.blocks - row;
      const int64_t n = j->dim[last] - in < left ? j->dim[last] - in : left;
      from += in * j->x_step[last];
      to += in * j->y_step[last];
      for (int d = last; d-- > 0; rest /= j->dim[d]) {
        from += rest % j->dim[d] * j->x_step[d];
        to += rest % j->dim[d] * j->y_step[d];
      }
      const char *x = j->x + from * (int64_t)j->size;
      char *y = j->y + to * (int64_t)j->size;
      if (j->k)
        j->k->rows(n, tile.columns, x, j->x_step[last], y, j->y_step[last]);
      else
        for (int64_t r = 0; r < n; r++)
          memcpy(y + r * j->y_step[last] * (int64_t)j->size,
                 x + r * j->x_step[last] * (int64_t)j->size, (size_t)tile.columns * j->size);
      row += n;
    }
  }
}

void mica_copy_region(const mica_engine *engine, const mica_shape *shape, size_t size,
                      const void *x, const int64_t *x_step, void *y, const int64_t *y_step) {
  const int64_t n = mica_shape_count(shape);
  if (n <= 0) return;
  region_job j = {.k = movers(engine, size), .size = size, .x = x, .y = y};
  /* What is dense on both sides belongs to the row. */
  int64_t cols = 1;
  int d = shape->rank;
  while (d > 0 && (shape->dim[d - 1] == 1 || (x_step[d - 1] == cols && y_step[d - 1] == cols)))
    cols *= shape->dim[--d];
  for (int i = 0; i < d; i++) {
    if (shape->dim[i] == 1) continue;
    j.dim[j.rank] = shape->dim[i];
    j.x_step[j.rank] = x_step[i];
    j.y_step[j.rank++] = y_step[i];
  }
  if (!j.rank) {
    j.dim[0] = 1;
    j.x_step[0] = j.y_step[0] = cols;
    j.rank = 1;
  }
  j.tiles = mica_tiles_of(n / cols, 1, cols);
  mica_parallel_for(engine, j.tiles.count, region_range, &j);
}

void mica_copy_rows(const mica_engine *engine, int64_t n, int64_t cols, size_t size, const void *x,
                    int64_t x_stride, void *y, int64_t y_stride) {
  const mica_shape shape = MICA_SHAPE(n, cols);
  mica_copy_region(engine, &shape, size, x, (const int64_t[]){x_stride, 1}, y,
                   (const int64_t[]){y_stride, 1});
}

/* ---- strided gathers and fills ---- */

typedef struct strided_job {
  const mica_copy_kernels *k;
  size_t size;
  int rank;
  const int64_t *dim, *step;
  int64_t n;
  const char *x;
  char *y;
} strided_job;

/* Element by element, for widths without loops. */
static void strided_bytes(const strided_job *j, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) {
    int64_t rest = i, from = 0;
    for (int d = j->rank; d-- > 0; rest /= j->dim[d]) from += rest % j->dim[d] * j->step[d];
    const char *x = j->x + from * (int64_t)j->size;
    for (size_t b = 0; b < j->size; b++) j->y[(size_t)i * j->size + b] = x[b];
  }
}

static void strided_range(void *ctx, int64_t begin, int64_t end) {
  const strided_job *j = ctx;
  const int64_t from = begin * MICA_CHUNK, to = end * MICA_CHUNK < j->n ? end * MICA_CHUNK : j->n;
  if (j->k)
    j->k->strided(j->rank, j->dim, j->step, from, to, j->x, j->y);
  else
    strided_bytes(j, from, to);
}

void mica_strided_copy(const mica_engine *engine, mica_dtype dtype, const mica_shape *shape,
                       const int64_t *step, const void *x, void *y) {
  const size_t size = mica_dtype_size(dtype);
  strided_job job = {
      movers(engine, size), size, shape->rank, shape->dim, step, mica_shape_count(shape), x, y};
  if (shape->rank == 0)
    memcpy(y, x, size);
  else
    mica_parallel_for(engine, mica_chunks(job.n), strided_range, &job);
}

void mica_fill(const mica_engine *engine, int64_t n, size_t size, const void *element, void *y) {
  static const char zero[8];
  const int64_t still = 0;
  strided_job job = {movers(engine, size), size, 1, &n, &still, n, element ? element : zero, y};
  mica_parallel_for(engine, mica_chunks(n), strided_range, &job);
}

/* ---- conversions ---- */

typedef struct convert_job {
  const mica_view *to, *from;
  mica_tiles tiles;
  int64_t cols, stride;
} convert_job;

static void convert_range(void *ctx, int64_t begin, int64_t end) {
  const convert_job *j = ctx;
  const size_t from_size = mica_dtype_size(j->from->dtype), to_size = mica_dtype_size(j->to->dtype);
  for (int64_t i = begin; i < end; i++) {
    const mica_tile tile = mica_tile_at(&j->tiles, i);
    for (int64_t r = tile.block; r < tile.block + tile.blocks; r++)
      mica_convert((char *)j->to->data + (size_t)(r * j->cols + tile.column) * to_size,
                   j->to->dtype,
                   (const char *)j->from->data + (size_t)(r * j->stride + tile.column) * from_size,
                   j->from->dtype, (size_t)tile.columns);
  }
}

mica_status mica_convert_view(const mica_engine *engine, const mica_view *to,
                              const mica_view *from) {
  const int64_t n = mica_view_count(from);
  if (n <= MICA_CHUNK || mica_view_count(to) != n || !mica_view_contiguous(to))
    return mica_view_copy(to, from); /* with its checks */
  const bool dense = mica_view_contiguous(from);
  const int64_t cols = dense ? n : mica_view_cols(from);
  convert_job j = {to, from, mica_tiles_of(n / cols, 1, cols), cols, dense ? n : from->row_stride};
  mica_parallel_for(engine, j.tiles.count, convert_range, &j);
  return MICA_OK;
}
