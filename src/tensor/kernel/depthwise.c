#include "tensor/kernel/depthwise.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <string.h>

typedef struct job {
  const mica_convolution *v;
  const int64_t *out;
  const mica_depthwise_kernels *k;
  const void *x, *dy, *taps, *bias, *residual;
  void *to;
  bool relu;
} job;

void mica_depthwise_taps(const mica_convolution *v, const void *from, void *to, bool forth) {
  const size_t size = mica_dtype_size(v->dtype);
  const int64_t taps = mica_convolution_taps(v);
  for (int64_t c = 0; c < v->c; c++)
    for (int64_t k = 0; k < taps; k++) {
      const size_t a = (size_t)(c * taps + k) * size, b = (size_t)(k * v->c + c) * size;
      if (forth)
        memcpy((char *)to + b, (const char *)from + a, size);
      else
        memcpy((char *)to + a, (const char *)from + b, size);
    }
}

/* The taps of w in a workspace; NULL: out of memory. */
static char *taps_of(const mica_engine *engine, const mica_convolution *v, const void *w) {
  const size_t bytes = (size_t)(mica_convolution_taps(v) * v->c) * mica_dtype_size(v->dtype);
  char *taps = mica_workspace_acquire(engine, bytes);
  if (taps) mica_depthwise_taps(v, w, taps, true);
  return taps;
}

/* ---- forward ---- */

/* Copies of the input's lines with their padding, so that every kernel lies inside. */
typedef struct widening {
  const mica_convolution *v;
  const char *x;
  char *to;
  size_t pixel;
} widening;

static void widen_range(void *ctx, int64_t begin, int64_t end) {
  const widening *w = ctx;
  const size_t before = (size_t)w->v->before[2] * w->pixel, line = (size_t)w->v->size[2] * w->pixel,
               after = (size_t)w->v->after[2] * w->pixel;
  for (int64_t i = begin; i < end; i++) {
    char *to = w->to + (size_t)i * (before + line + after);
    memset(to, 0, before);
    memcpy(to + before, w->x + (size_t)i * line, line);
    memset(to + before + line, 0, after);
  }
}

static void forward_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  j->k->forward(j->v, j->out, j->x, j->taps, j->bias, j->residual, j->relu, begin, end, j->to);
}

/* Taps from which on the copy costs little beside what it saves. */
enum { WIDEN_TAPS = 25 };

static mica_status lines(const mica_engine *engine, const job *given) {
  job j = *given;
  const mica_convolution *v = j.v;
  const int64_t n = v->n * v->size[0] * v->size[1];
  mica_convolution wide = *v;
  char *copy = NULL;
  if (v->before[2] + v->after[2] && mica_convolution_taps(v) >= WIDEN_TAPS) {
    const size_t size = mica_dtype_size(v->dtype);
    wide.size[2] += v->before[2] + v->after[2];
    wide.before[2] = wide.after[2] = 0;
    copy = mica_workspace_acquire(engine, (size_t)(n * wide.size[2] * v->c) * size);
    if (!copy) return MICA_ERR_MEMORY;
    widening w = {v, j.x, copy, (size_t)v->c * size};
    mica_parallel_for(engine, n, widen_range, &w);
    j.v = &wide;
    j.x = copy;
  }
  mica_parallel_for(engine, v->n * j.out[0] * j.out[1], forward_range, &j);
  if (copy) mica_workspace_release(engine, copy);
  return MICA_OK;
}

mica_status mica_depthwise_forward(const mica_engine *engine, const mica_convolution *v,
                                   const int64_t *out, const void *x, const void *w,
                                   const void *bias, const void *residual, bool relu, void *y) {
  char *taps = taps_of(engine, v, w);
  if (!taps) return MICA_ERR_MEMORY;
  const job j = {.v = v,
                 .out = out,
                 .k = mica_kernels_of(engine, v->dtype)->depthwise,
                 .x = x,
                 .taps = taps,
                 .bias = bias,
                 .residual = residual,
                 .to = y,
                 .relu = relu};
  const mica_status status = lines(engine, &j);
  mica_workspace_release(engine, taps);
  return status;
}

/* ---- backward: input ---- */

static void data_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  j->k->data(j->v, j->out, j->dy, j->taps, j->bias, begin, end, j->to);
}

/* With stride 1 the gradient is itself a convolution, of dy with the taps in reverse. */
static bool mirrored(const mica_convolution *v, const int64_t *out, mica_convolution *to) {
  *to = *v;
  for (int i = 0; i < MICA_CONVOLUTION_AXES; i++) {
    const int64_t extent = v->dilation[i] * (v->kernel[i] - 1);
    if (v->stride[i] != 1 || v->before[i] > extent || v->after[i] > extent) return false;
    to->size[i] = out[i];
    to->before[i] = extent - v->before[i];
    to->after[i] = extent - v->after[i];
  }
  return true;
}

static void reverse_taps(int64_t taps, size_t bytes, char *w) {
  for (int64_t a = 0, b = taps - 1; a < b; a++, b--)
    for (size_t i = 0; i < bytes; i++) {
      const char kept = w[(size_t)a * bytes + i];
      w[(size_t)a * bytes + i] = w[(size_t)b * bytes + i];
      w[(size_t)b * bytes + i] = kept;
    }
}

mica_status mica_depthwise_data(const mica_engine *engine, const mica_convolution *v,
                                const int64_t *out, const void *dy, const void *w, const void *bias,
                                void *dx) {
  char *taps = taps_of(engine, v, w);
  if (!taps) return MICA_ERR_MEMORY;
  job j = {.v = v,
           .out = out,
           .k = mica_kernels_of(engine, v->dtype)->depthwise,
           .dy = dy,
           .taps = taps,
           .bias = bias,
           .to = dx};
  mica_convolution turned;
  mica_status status = MICA_OK;
  if (mirrored(v, out, &turned)) {
    reverse_taps(mica_convolution_taps(v), (size_t)v->c * mica_dtype_size(v->dtype), taps);
    j.v = &turned;
    j.out = v->size;
    j.x = dy;
    status = lines(engine, &j);
  } else {
    mica_parallel_for(engine, v->n, data_range, &j);
  }
  mica_workspace_release(engine, taps);
  return status;
}
