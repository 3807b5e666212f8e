#include "tensor/kernel/depthwise.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <stdatomic.h>
#include <string.h>

/* Problems that share the result, and are made part by part, one after another. */
typedef struct job {
  const mica_engine *engine;
  const mica_depthwise_kernels *k;
  mica_depthwise *d;
  int64_t problems;
  const mica_depthwise_ending *ending;
  const char *x, *dy, *w;
  char *taps, *to;
  size_t size;
  int64_t pieces, groups; /* of the images and of the vectors, for the taps' gradient */
  atomic_bool failed;     /* out of memory */
} job;

static job job_of(const mica_engine *engine, mica_dtype dtype, mica_depthwise *d) {
  return (job){.engine = engine,
               .k = mica_kernels_of(engine, dtype)->depthwise,
               .d = d,
               .problems = 1,
               .size = mica_dtype_size(dtype)};
}

/* Problem i's packed taps. */
static char *taps_of(const job *j, int64_t i) {
  char *taps = j->taps;
  for (int64_t k = 0; k < i; k++) taps += (size_t)(j->d[k].vectors * j->d[k].taps) * j->size;
  return taps;
}

static void pack_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  for (int64_t i = 0; i < j->problems; i++) j->k->pack(&j->d[i], j->w, begin, end, taps_of(j, i));
}

static void sums_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  int64_t most = 0;
  for (int64_t i = 0; i < j->problems; i++)
    if (j->d[i].scratch > most) most = j->d[i].scratch;
  void *scratch = mica_workspace_acquire(j->engine, (size_t)most * j->size);
  if (!scratch) j->failed = true;
  /* Places of several problems lie between each other: those of a part are made together. */
  const int64_t step = j->problems > 1 ? 1 : end - begin;
  for (int64_t unit = begin; unit < end && scratch; unit += step)
    for (int64_t i = 0; i < j->problems; i++)
      j->k->sums(&j->d[i], j->x, taps_of(j, i), j->ending, unit, unit + step, scratch, j->to);
  mica_workspace_release(j->engine, scratch);
}

/* With the taps already packed, or from w. */
static mica_status run(job *j) {
  int64_t taps = 0;
  mica_depthwise largest = j->d[0];
  for (int a = 0; a < MICA_CONVOLUTION_AXES; a++)
    for (int64_t i = 1; i < j->problems; i++) {
      const mica_depthwise_axis *one = &j->d[i].axis[a];
      if (one->out > largest.axis[a].out) largest.axis[a].out = one->out;
      if (one->taps > largest.axis[a].taps) largest.axis[a].taps = one->taps;
    }
  j->k->plan(&largest);
  for (int64_t i = 0; i < j->problems; i++) {
    j->k->plan_as(&largest, &j->d[i]);
    taps += j->d[i].vectors * j->d[i].taps;
  }
  const bool packed = j->taps;
  if (!packed) {
    j->taps = mica_workspace_acquire(j->engine, (size_t)taps * j->size);
    if (!j->taps) return MICA_ERR_MEMORY;
    mica_parallel_for(j->engine, largest.vectors, pack_range, j);
  }
  mica_parallel_for(j->engine, largest.units, sums_range, j);
  if (!packed) mica_workspace_release(j->engine, j->taps);
  return j->failed ? mica_fail(MICA_ERR_MEMORY, "convolution: out of memory") : MICA_OK;
}

static mica_depthwise forward_of(const mica_convolution *v, const int64_t *out) {
  mica_depthwise d = {.n = v->n, .c = v->c};
  for (int i = 0; i < MICA_CONVOLUTION_AXES; i++)
    d.axis[i] = (mica_depthwise_axis){.in = v->size[i],
                                      .taps = v->kernel[i],
                                      /* With one place there is no step to the next. */
                                      .stride = out[i] > 1 ? v->stride[i] : 1,
                                      .dilation = v->dilation[i],
                                      .before = v->before[i],
                                      .out = out[i],
                                      .kernel = v->kernel[i],
                                      .tap_step = 1,
                                      .to_size = out[i],
                                      .to_step = 1};
  return d;
}

mica_status mica_depthwise_forward(const mica_engine *engine, const mica_convolution *v,
                                   const int64_t *out, const void *x, const void *w,
                                   const mica_depthwise_ending *ending, void *y) {
  mica_depthwise d = forward_of(v, out);
  job j = job_of(engine, v->dtype, &d);
  j.x = x;
  j.w = w;
  j.ending = ending;
  j.to = y;
  return run(&j);
}

mica_status mica_depthwise_pack(const mica_engine *engine, const mica_convolution *v,
                                const int64_t *out, const void *w, void **packed) {
  mica_depthwise d = forward_of(v, out);
  job j = job_of(engine, v->dtype, &d);
  j.k->plan(&d);
  j.w = w;
  j.taps = *packed = mica_malloc_aligned((size_t)(d.vectors * d.taps) * j.size);
  if (!j.taps) return MICA_ERR_MEMORY;
  mica_parallel_for(engine, d.vectors, pack_range, &j);
  return MICA_OK;
}

mica_status mica_depthwise_forward_packed(const mica_engine *engine, const mica_convolution *v,
                                          const int64_t *out, const void *x, const void *packed,
                                          const mica_depthwise_ending *ending, void *y) {
  mica_depthwise d = forward_of(v, out);
  job j = job_of(engine, v->dtype, &d);
  j.x = x;
  j.taps = (char *)(uintptr_t)packed;
  j.ending = ending;
  j.to = y;
  return run(&j);
}

/* ---- gradient of the input ---- */

static int64_t common_divisor(int64_t a, int64_t b) {
  while (b) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Tap t of place o met input i = o * stride + t * dilation - before. The i from `first` on, a
 * stride apart, meet every `period`-th tap from some tap on, or none. */
static mica_depthwise_axis backward_axis(const mica_convolution *v, const int64_t *out, int axis,
                                         int64_t first) {
  const int64_t stride = v->stride[axis], dilation = v->dilation[axis], before = v->before[axis];
  const int64_t residue = (first + before) % stride;
  const int64_t period = stride / common_divisor(stride, dilation);
  const int64_t taps = period < v->kernel[axis] ? period : v->kernel[axis];
  int64_t tap = 0;
  while (tap < taps && tap * dilation % stride != residue) tap++;
  mica_depthwise_axis a = {.in = out[axis],
                           .stride = 1,
                           .dilation = period * dilation / stride,
                           .out = (v->size[axis] - 1 - first) / stride + 1,
                           .kernel = v->kernel[axis],
                           .tap_step = -period,
                           .to_size = v->size[axis],
                           .to_first = first,
                           .to_step = stride};
  if (tap == taps) return a;
  a.taps = (v->kernel[axis] - 1 - tap) / period + 1;
  a.tap_first = tap + (a.taps - 1) * period;
  a.before = (a.tap_first * dilation - residue) / stride - (first + before - residue) / stride;
  return a;
}

mica_status mica_depthwise_data(const mica_engine *engine, const mica_convolution *v,
                                const int64_t *out, const void *dy, const void *w, const void *bias,
                                void *dx) {
  int64_t s[MICA_CONVOLUTION_AXES]; /* problems along each axis: no more than places */
  for (int k = 0; k < MICA_CONVOLUTION_AXES; k++)
    s[k] = v->stride[k] < v->size[k] ? v->stride[k] : v->size[k];
  const int64_t all = s[0] * s[1] * s[2];
  const mica_depthwise_ending ending = {.bias = bias};
  mica_depthwise *d = mica_workspace_acquire(engine, (size_t)all * sizeof *d);
  if (!d) return MICA_ERR_MEMORY;
  job j = job_of(engine, v->dtype, d);
  j.problems = all;
  for (int64_t i = 0; i < all; i++) {
    const int64_t first[] = {i / s[2] / s[1], i / s[2] % s[1], i % s[2]};
    d[i] = (mica_depthwise){.n = v->n, .c = v->c};
    for (int k = 0; k < MICA_CONVOLUTION_AXES; k++)
      d[i].axis[k] = backward_axis(v, out, k, first[k]);
  }
  j.x = dy;
  j.w = w;
  j.ending = &ending;
  j.to = dx;
  const mica_status status = run(&j);
  mica_workspace_release(engine, d);
  return status;
}

/* ---- gradient of the taps ---- */

/* Shares of the work, whatever the number of threads; with kernels of many taps few of the images,
 * as each has sums of its own. */
enum { SHARES = 16, MANY_TAPS = 64 };

static void weights_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_depthwise *d = j->d;
  void *scratch = mica_workspace_acquire(j->engine, (size_t)d->scratch * j->size);
  if (!scratch) j->failed = true;
  for (int64_t i = begin; i < end && scratch; i++) {
    const int64_t piece = i / j->groups, group = i % j->groups;
    j->k->weights(d, j->x, j->dy, group * d->vectors / j->groups,
                  (group + 1) * d->vectors / j->groups, piece * d->n / j->pieces,
                  (piece + 1) * d->n / j->pieces, scratch,
                  j->taps + (size_t)(piece * d->vectors * d->taps) * j->size);
  }
  mica_workspace_release(j->engine, scratch);
}

static void unpack_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  j->k->unpack(j->d, j->pieces, j->d->vectors * j->d->taps, j->taps, begin, end, j->to);
}

mica_status mica_depthwise_weights(const mica_engine *engine, const mica_convolution *v,
                                   const int64_t *out, const void *x, const void *dy, void *dw) {
  mica_depthwise d = forward_of(v, out);
  job j = job_of(engine, v->dtype, &d);
  j.k->plan_weights(&d);
  j.pieces = mica_convolution_taps(v) > MANY_TAPS ? (SHARES + d.vectors - 1) / d.vectors : SHARES;
  if (j.pieces > d.n) j.pieces = d.n;
  j.groups = (SHARES + j.pieces - 1) / j.pieces;
  if (j.groups > d.vectors) j.groups = d.vectors;
  j.taps = mica_workspace_acquire(engine, (size_t)(j.pieces * d.vectors * d.taps) * j.size);
  if (!j.taps) return MICA_ERR_MEMORY;
  j.x = x;
  j.dy = dy;
  j.to = dw;
  mica_parallel_for(engine, j.pieces * j.groups, weights_range, &j);
  if (!j.failed) mica_parallel_for(engine, d.vectors, unpack_range, &j);
  mica_workspace_release(engine, j.taps);
  return j.failed ? mica_fail(MICA_ERR_MEMORY, "convolution: out of memory") : MICA_OK;
}
