/* Winograd's convolution over threads.
 *
 * Forward, a piece of tiles goes through all three steps (transform, products, transform back)
 * while it is in the cache of one thread. Where there are too few pieces for the threads each step
 * is shared out by itself, the products by points. The weights' gradient sums over tiles: pieces of
 * a fixed number of tiles follow one another, each step shared out, so that its sums have one
 * order.
 */
#include "tensor/kernel/winograd.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <stdatomic.h>
#include <string.h>

enum {
  OUT = 4,
  POINTS = MICA_WINOGRAD_POINTS,
  NARROWEST = 32,        /* channels: with fewer the transforms are most of the work */
  NARROWEST_SUMMED = 48, /* the same for the weights' gradient */
  WEIGHTS_TILES = 40,    /* transforming the weights costs as much as the products of these tiles */
  FILTERS_AT_ONCE = 16   /* of weights */
};
static const int64_t CACHED = 192 << 10;  /* elements of a piece that stay in the second cache */
static const int64_t SUMMED_AT = 2 << 20; /* elements of a piece of the weights' gradient */
static const int64_t WEIGHTS_CACHED = 256 << 10; /* elements */

typedef struct job {
  const mica_engine *engine;
  const mica_winograd_kernels *k;
  size_t size;
  mica_winograd_map from, to; /* the input's map in tiles of the result, and the result's */
  int64_t depth, columns;     /* channels in, out */
  int64_t tiles, piece, done; /* of a piece; tiles done before this one */
  const char *x, *w, *packed, *bias, *residual, *zeros;
  char *y, *v, *m, *u;
  int64_t count; /* tiles of this piece, where its steps are shared out */
  bool relu, turned, fresh;
  _Atomic bool failed;
} job;

static void sizes_of(const mica_convolution *v, int64_t *tiles_h, int64_t *tiles_w, int64_t *out) {
  mica_convolution_output(v, out);
  *tiles_h = (out[1] + OUT - 1) / OUT;
  *tiles_w = (out[2] + OUT - 1) / OUT;
}

bool mica_winograd_pays(const mica_engine *engine, const mica_convolution *v) {
  const mica_winograd_kernels *k = mica_kernels_of(engine, v->dtype)->winograd;
  int64_t out[MICA_CONVOLUTION_AXES], h, w;
  if (v->dtype != MICA_F32 || v->compute != v->dtype || v->groups != 1 || v->size[0] != 1 ||
      v->kernel[0] != 1 || v->before[0] || v->after[0] || v->c % k->vector || v->o % k->vector ||
      !v->c || !v->o)
    return false;
  for (int i = 1; i < MICA_CONVOLUTION_AXES; i++)
    if (v->kernel[i] != 3 || v->stride[i] != 1 || v->dilation[i] != 1 || v->before[i] > 2 ||
        v->after[i] > 2)
      return false;
  sizes_of(v, &h, &w, out);
  /* A tile takes the time of six places of the direct sum, wherever the map ends inside it. */
  const int64_t tiles = v->n * h * w, places = v->n * out[1] * out[2];
  return v->c >= NARROWEST && v->o >= NARROWEST && places > 6 * tiles + 6 * WEIGHTS_TILES;
}

bool mica_winograd_weights_pay(const mica_engine *engine, const mica_convolution *v) {
  return mica_winograd_pays(engine, v) && v->c >= NARROWEST_SUMMED && v->o >= NARROWEST_SUMMED;
}

static job job_of(const mica_engine *engine, const mica_convolution *v) {
  int64_t out[MICA_CONVOLUTION_AXES], h, w;
  sizes_of(v, &h, &w, out);
  job j = {.engine = engine,
           .k = mica_kernels_of(engine, v->dtype)->winograd,
           .size = mica_dtype_size(v->dtype),
           .from = {v->size[1], v->size[2], v->c, v->before[1], v->before[2], h, w},
           .to = {out[1], out[2], v->o, 0, 0, h, w},
           .depth = v->c,
           .columns = v->o,
           .tiles = v->n * h * w};
  return j;
}

/* Elements from one point to the next, of matrices of n. A cache line more, so that the 36 places
 * that a transform writes do not fall into the same set of a cache. */
static int64_t spaced(int64_t n) {
  return n + 16;
}

static int64_t packed_step(const job *j) {
  const int64_t panel = j->k->columns;
  return spaced(j->depth * ((j->columns + panel - 1) / panel * panel));
}

static int64_t step_in(const job *j) {
  return spaced(j->piece * j->depth);
}

static int64_t step_out(const job *j) {
  return spaced(j->piece * j->columns);
}

static char *at(const void *base, size_t size, int64_t elements) {
  return (char *)(uintptr_t)base + (ptrdiff_t)size * elements;
}

/* ---- weights ---- */

static void pack_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  const int64_t filters = j->turned ? j->depth : j->columns;
  const int64_t channels = j->turned ? j->columns : j->depth;
  const int64_t last = end * FILTERS_AT_ONCE < filters ? end * FILTERS_AT_ONCE : filters;
  j->k->weights(filters, channels, j->w, j->turned, begin * FILTERS_AT_ONCE, last, packed_step(j),
                j->u);
}

static void pack(job *j, void *packed) {
  const int64_t filters = j->turned ? j->depth : j->columns;
  j->u = packed;
  mica_parallel_for(j->engine, (filters + FILTERS_AT_ONCE - 1) / FILTERS_AT_ONCE, pack_range, j);
}

int64_t mica_winograd_packed(const mica_engine *engine, const mica_convolution *v) {
  const job j = job_of(engine, v);
  return POINTS * packed_step(&j);
}

mica_status mica_winograd_pack(const mica_engine *engine, const mica_convolution *v, const void *w,
                               void *packed) {
  job j = job_of(engine, v);
  j.w = w;
  memset(packed, 0, (size_t)(POINTS * packed_step(&j)) * j.size);
  pack(&j, packed);
  return MICA_OK;
}

/* ---- forward ---- */

static void products_of(const job *j, int64_t point, int64_t tiles, int64_t step_v, const char *v,
                        int64_t step_m, char *m) {
  const int64_t packed = packed_step(j);
  j->k->product(tiles, j->depth, j->columns, at(v, j->size, point * step_v),
                at(j->packed, j->size, point * packed), at(m, j->size, point * step_m));
}

static void whole_pieces(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const int64_t step_v = step_in(j), step_m = step_out(j);
  char *v = mica_workspace_acquire(j->engine, (size_t)(POINTS * (step_v + step_m)) * j->size);
  if (!v) {
    j->failed = true;
    return;
  }
  char *m = at(v, j->size, POINTS * step_v);
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i * j->piece, left = j->tiles - first;
    const int64_t tiles = left < j->piece ? left : j->piece;
    j->k->input(&j->from, j->x, j->zeros, first, first + tiles, step_v, v);
    for (int64_t p = 0; p < POINTS; p++) products_of(j, p, tiles, step_v, v, step_m, m);
    j->k->output(&j->to, m, step_m, first, first + tiles, j->bias, j->residual, j->relu, j->y);
  }
  mica_workspace_release(j->engine, v);
}

enum { TILES_AT_ONCE = 8 }; /* of a transform by itself */

static int64_t groups_of(int64_t tiles) {
  return (tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE;
}

/* The tiles of groups [begin, end) among those of this piece. */
static void tiles_of(const job *j, int64_t *begin, int64_t *end) {
  *begin *= TILES_AT_ONCE;
  *end *= TILES_AT_ONCE;
  if (*end > j->count) *end = j->count;
}

static void input_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  tiles_of(j, &begin, &end);
  j->k->input(&j->from, j->x, j->zeros, j->done + begin, j->done + end, step_in(j),
              at(j->v, j->size, begin * j->depth));
}

static void point_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  for (int64_t p = begin; p < end; p++)
    products_of(j, p, j->count, step_in(j), j->v, step_out(j), j->m);
}

static void output_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  tiles_of(j, &begin, &end);
  j->k->output(&j->to, at(j->m, j->size, begin * j->columns), step_out(j), j->done + begin,
               j->done + end, j->bias, j->residual, j->relu, j->y);
}

static mica_status steps_shared_out(job *j) {
  const int64_t all = POINTS * (step_in(j) + step_out(j));
  j->v = mica_workspace_acquire(j->engine, (size_t)all * j->size);
  if (!j->v) return MICA_ERR_MEMORY;
  j->m = at(j->v, j->size, POINTS * step_in(j));
  for (; j->done < j->tiles; j->done += j->piece) {
    j->count = j->tiles - j->done < j->piece ? j->tiles - j->done : j->piece;
    mica_parallel_for(j->engine, groups_of(j->count), input_range, j);
    mica_parallel_for(j->engine, POINTS, point_range, j);
    mica_parallel_for(j->engine, groups_of(j->count), output_range, j);
  }
  mica_workspace_release(j->engine, j->v);
  return MICA_OK;
}

/* Zeros for what lies outside of the maps; NULL: out of memory. */
static char *zeros_of(const job *j) {
  const int64_t most = j->depth > j->columns ? j->depth : j->columns;
  char *zeros = mica_workspace_acquire(j->engine, (size_t)most * j->size);
  if (zeros) memset(zeros, 0, (size_t)most * j->size);
  return zeros;
}

static mica_status run(job *j) {
  const int64_t weights = POINTS * packed_step(j);
  char *own = NULL, *zeros = zeros_of(j);
  if (zeros && !j->packed) {
    own = mica_workspace_acquire(j->engine, (size_t)weights * j->size);
    if (own) pack(j, own);
    j->packed = own;
  }
  mica_status status = zeros && j->packed ? MICA_OK : MICA_ERR_MEMORY;
  j->zeros = zeros;
  if (status == MICA_OK) {
    j->piece = CACHED / (POINTS / 2 * (j->depth + j->columns));
    /* Many weights are read again for each piece, from further away. */
    if (weights > WEIGHTS_CACHED && j->piece < 96) j->piece = 96;
    if (j->piece < 24) j->piece = 24;
    const int64_t pieces = (j->tiles + j->piece - 1) / j->piece;
    if (pieces >= 4 * mica_engine_threads(j->engine)) {
      mica_parallel_for(j->engine, pieces, whole_pieces, j);
      if (j->failed) status = MICA_ERR_MEMORY;
    } else {
      j->piece = j->tiles;
      status = steps_shared_out(j);
    }
  }
  mica_workspace_release(j->engine, own);
  mica_workspace_release(j->engine, zeros);
  return status == MICA_OK ? MICA_OK
                           : mica_fail(MICA_ERR_MEMORY, "convolution: no memory for scratch");
}

mica_status mica_winograd_forward(const mica_engine *engine, const mica_convolution *v,
                                  const void *w, const void *packed, const void *x,
                                  const void *bias, const void *residual, bool relu, void *y) {
  job j = job_of(engine, v);
  j.w = w;
  j.packed = packed;
  j.x = x;
  j.bias = bias;
  j.residual = residual;
  j.relu = relu;
  j.y = y;
  return run(&j);
}

/* The convolution of dy with the kernel turned round. */
mica_status mica_winograd_data(const mica_engine *engine, const mica_convolution *v, const void *dy,
                               const void *w, const void *bias, const void *residual, void *dx) {
  int64_t out[MICA_CONVOLUTION_AXES];
  mica_convolution_output(v, out);
  mica_convolution turned = *v;
  turned.c = v->o;
  turned.o = v->c;
  for (int i = 1; i < MICA_CONVOLUTION_AXES; i++) {
    turned.size[i] = out[i];
    turned.before[i] = 2 - v->before[i];
    turned.after[i] = 2 - v->after[i];
  }
  job j = job_of(engine, &turned);
  j.turned = true;
  j.w = w;
  j.x = dy;
  j.bias = bias;
  j.residual = residual;
  j.y = dx;
  return run(&j);
}

/* ---- backward: weights ---- */

static void gradient_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  tiles_of(j, &begin, &end);
  j->k->output_gradient(&j->to, j->y, j->zeros, j->done + begin, j->done + end, step_out(j),
                        at(j->m, j->size, begin * j->columns));
}

static void sum_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  for (int64_t p = begin; p < end; p++)
    j->k->gradient_product(j->count, j->columns, j->depth, at(j->m, j->size, p * step_out(j)),
                           at(j->v, j->size, p * step_in(j)), j->fresh,
                           at(j->u, j->size, p * spaced(j->columns * j->depth)));
}

static void filter_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  j->k->weight_gradient(j->depth, j->u, spaced(j->columns * j->depth), begin, end,
                        (char *)(uintptr_t)j->w);
}

mica_status mica_winograd_weights(const mica_engine *engine, const mica_convolution *v,
                                  const void *x, const void *dy, void *dw) {
  job j = job_of(engine, v);
  j.x = x;
  j.y = (char *)(uintptr_t)dy;
  j.w = dw;
  j.piece = SUMMED_AT / (POINTS * (j.depth + j.columns));
  if (j.piece < 64) j.piece = 64;
  if (j.piece > j.tiles) j.piece = j.tiles;
  char *zeros = zeros_of(&j);
  const int64_t transformed = POINTS * (step_in(&j) + step_out(&j));
  j.v = mica_workspace_acquire(engine, (size_t)transformed * j.size);
  j.u = mica_workspace_acquire(engine, (size_t)(POINTS * spaced(j.depth * j.columns)) * j.size);
  j.zeros = zeros;
  const bool ready = zeros && j.v && j.u;
  if (ready) {
    j.m = at(j.v, j.size, POINTS * step_in(&j));
    for (; j.done < j.tiles; j.done += j.piece) {
      j.count = j.tiles - j.done < j.piece ? j.tiles - j.done : j.piece;
      j.fresh = j.done == 0;
      mica_parallel_for(engine, groups_of(j.count), input_range, &j);
      mica_parallel_for(engine, groups_of(j.count), gradient_range, &j);
      mica_parallel_for(engine, POINTS, sum_range, &j);
    }
    mica_parallel_for(engine, v->o, filter_range, &j);
  }
  mica_workspace_release(engine, j.u);
  mica_workspace_release(engine, j.v);
  mica_workspace_release(engine, zeros);
  return ready ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "convolution: no memory for scratch");
}
