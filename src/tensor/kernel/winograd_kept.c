/* Winograd's convolution with kept weights, over threads.
 *
 * Where there are many tiles, parts of them go through all three steps while they are in the cache
 * of one thread. Where there are few, threads share out the first step and then the filters: each
 * reads weights that no other does.
 */
#include "tensor/kernel/winograd_kept.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <stdatomic.h>
#include <string.h>

enum {
  OUT = 4,
  KERNEL = 9,
  POINTS = MICA_WINOGRAD_POINTS,
  NARROWEST = 32, /* channels: with fewer the transforms are most of the work */
  PART = 24,      /* tiles, or as many as stay in the second cache */
  FEW = 32,       /* with fewer it is the weights that count */
  MANY = 512      /* from here on it is faster to transform them once */
};
static const int64_t CACHED = 160 << 10; /* elements */

typedef struct job {
  const mica_engine *engine;
  const mica_winograd_kept_kernels *k;
  mica_winograd_map from, to;
  int64_t tiles, parts, groups; /* parts of the tiles; groups where they are one */
  const float *x, *packed, *bias, *residual;
  float *y, *v, *zeros;
  bool relu;
  _Atomic bool failed;
} job;

static job job_of(const mica_engine *engine, const mica_convolution *v) {
  int64_t out[MICA_CONVOLUTION_AXES];
  mica_convolution_output(v, out);
  const int64_t h = (out[1] + OUT - 1) / OUT, w = (out[2] + OUT - 1) / OUT;
  return (job){.engine = engine,
               .k = mica_kernels_of(engine, MICA_F32)->winograd_kept,
               .from = {v->size[1], v->size[2], v->c, v->before[1], v->before[2], h, w},
               .to = {out[1], out[2], v->o, 0, 0, h, w},
               .tiles = v->n * h * w};
}

bool mica_winograd_kept_pays(const mica_engine *engine, const mica_convolution *v) {
  if (v->dtype != MICA_F32 || v->compute != v->dtype || v->groups != 1 || v->size[0] != 1 ||
      v->kernel[0] != 1 || v->before[0] || v->after[0])
    return false;
  for (int i = 1; i < MICA_CONVOLUTION_AXES; i++)
    if (v->kernel[i] != 3 || v->stride[i] != 1 || v->dilation[i] != 1 || v->before[i] > 2 ||
        v->after[i] > 2)
      return false;
  const job j = job_of(engine, v);
  if (v->c % j.k->vector || v->o % j.k->vector || v->c < NARROWEST || v->o < NARROWEST)
    return false;
  /* A tile takes the time of six places of the direct sum, wherever the map ends inside it. */
  return v->n * j.to.height * j.to.width > 6 * j.tiles && j.tiles < MANY;
}

int64_t mica_winograd_kept_elements(const mica_convolution *v) {
  return v->o * v->c * KERNEL;
}

typedef struct packing {
  const mica_winograd_kept_kernels *k;
  int64_t c;
  const void *w;
  void *packed;
} packing;

static void pack_range(void *ctx, int64_t begin, int64_t end) {
  const packing *p = ctx;
  p->k->pack(p->c, p->w, begin * p->k->vector, end * p->k->vector, p->packed);
}

void mica_winograd_keep(const mica_engine *engine, const mica_convolution *v, const void *w,
                        void *packed) {
  packing p = {mica_kernels_of(engine, MICA_F32)->winograd_kept, v->c, w, packed};
  mica_parallel_for(engine, v->o / p.k->vector, pack_range, &p);
}

/* Vectors [begin, end) of filters for some tiles. */
static void filters(const job *j, const mica_winograd_tiles *tiles, int64_t begin, int64_t end,
                    const float *v, float *scratch, float *m) {
  const int64_t each = j->from.channels * KERNEL * j->k->vector;
  for (int64_t f = begin; f < end; f++) {
    j->k->sums(tiles, j->from.channels, v, j->packed + f * each, scratch, m);
    j->k->output(&j->to, tiles, m, f * j->k->vector, j->bias, j->residual, j->relu, j->y);
  }
}

/* Scratch and sums of `tiles` tiles, and `more` elements after them; NULL after a failure. */
static float *room_of(job *j, int64_t tiles, int64_t more, float **m) {
  const int64_t sums = tiles * POINTS * j->k->vector;
  float *scratch =
      mica_workspace_acquire(j->engine, (size_t)(j->k->scratch + sums + more) * sizeof *scratch);
  if (!scratch) j->failed = true;
  *m = scratch + j->k->scratch;
  return scratch;
}

static void part_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const int64_t most = (j->tiles + j->parts - 1) / j->parts;
  float *m, *scratch = room_of(j, most, most * POINTS * j->from.channels, &m);
  for (int64_t i = begin; i < end && scratch; i++) {
    const mica_winograd_tiles tiles = {i * j->tiles / j->parts, (i + 1) * j->tiles / j->parts,
                                       j->k->most};
    float *v = m + most * POINTS * j->k->vector;
    j->k->input(&j->from, &tiles, j->x, j->zeros, v);
    filters(j, &tiles, 0, j->to.channels / j->k->vector, v, scratch, m);
  }
  mica_workspace_release(j->engine, scratch);
}

static void group_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  for (int64_t g = begin; g < end; g++) {
    const mica_winograd_tiles tiles = {g * j->tiles / j->groups, (g + 1) * j->tiles / j->groups,
                                       j->k->most};
    j->k->input(&j->from, &tiles, j->x, j->zeros, j->v + tiles.first * POINTS * j->from.channels);
  }
}

static void filter_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_winograd_tiles all = {0, j->tiles, j->k->most};
  float *m, *scratch = room_of(j, j->tiles, 0, &m);
  if (scratch) filters(j, &all, begin, end, j->v, scratch, m);
  mica_workspace_release(j->engine, scratch);
}

mica_status mica_winograd_kept_forward(const mica_engine *engine, const mica_convolution *conv,
                                       const void *packed, const void *x, const void *bias,
                                       const void *residual, bool relu, void *y) {
  job j = job_of(engine, conv);
  j.packed = packed;
  j.x = x;
  j.bias = bias;
  j.residual = residual;
  j.relu = relu;
  j.y = y;
  const int64_t values = j.tiles * POINTS * conv->c;
  const bool few = j.tiles < FEW;
  j.zeros =
      mica_workspace_acquire(engine, (size_t)(conv->c + (few ? values : 0)) * sizeof *j.zeros);
  if (j.zeros) {
    memset(j.zeros, 0, (size_t)conv->c * sizeof *j.zeros);
    j.v = j.zeros + conv->c;
    j.groups = (j.tiles + j.k->most - 1) / j.k->most;
    const int64_t threads = mica_engine_threads(engine);
    const int64_t fit = CACHED / (POINTS * conv->c), part = threads * (fit < PART ? PART : fit);
    j.parts = (j.tiles + part - 1) / part * threads;
    if (few) {
      mica_parallel_for(engine, j.groups, group_range, &j);
      mica_parallel_for(engine, conv->o / j.k->vector, filter_range, &j);
    } else {
      mica_parallel_for(engine, j.parts, part_range, &j);
    }
  }
  const bool fine = j.zeros && !j.failed;
  mica_workspace_release(engine, j.zeros);
  return fine ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "convolution: no memory for scratch");
}
