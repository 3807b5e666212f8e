/* Direct convolution over threads.
 *
 * Threads share places of the result, or its columns. The weights' gradient sums over places:
 * pieces of a fixed number of them follow one another, dy of each packed once for all taps, which
 * the threads share, so that its sums have one order.
 */
#include "tensor/kernel/direct.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"

#include <stdatomic.h>
#include <string.h>

enum {
  STRIDE_MAX = 4,
  NARROWEST = 16, /* channels */
  WIDE = 64,      /* from here on a tile is faster than oneDNN's kernels for the same pass */
  ROWS_AT_ONCE = 4,
  ROWS_EACH = 96 /* thread, or they share columns instead */
};
static const int64_t SUMMED_AT = 256 << 10; /* elements of dy packed at once */

static bool fits(const mica_engine *engine, const mica_convolution *v) {
  const mica_direct_kernels *k = mica_kernels_of(engine, v->dtype)->direct;
  if (v->compute != v->dtype || v->groups != 1 || v->size[0] != 1 || v->kernel[0] != 1 ||
      v->before[0] || v->after[0] || mica_convolution_taps(v) > MICA_DIRECT_TAPS)
    return false;
  return v->stride[1] <= STRIDE_MAX && v->stride[2] <= STRIDE_MAX && v->c >= NARROWEST &&
         v->o >= NARROWEST && v->o % k->vector == 0;
}

/* Would oneDNN's kernels, which keep up with the tiles, be there instead? */
static bool library_is_there(const mica_engine *engine, const mica_convolution *v) {
  return v->dtype == MICA_F32 && mica_libraries_usable(engine);
}

static bool strided(const mica_convolution *v) {
  return v->stride[1] > 1 || v->stride[2] > 1;
}

bool mica_direct_pays(const mica_engine *engine, const mica_convolution *v) {
  if (!fits(engine, v)) return false;
  return !library_is_there(engine, v) ||
         (strided(v) && mica_convolution_taps(v) == 1 && v->c >= WIDE && v->o >= WIDE);
}

/* Few places read each weight once: what counts is that weights come from memory in time, which the
 * tiles ask for ahead. Those of a 1x1 kernel add the residual while its sums are in registers. */
bool mica_direct_packed_pays(const mica_engine *engine, const mica_convolution *v) {
  int64_t out[MICA_CONVOLUTION_AXES];
  mica_convolution_output(v, out);
  return fits(engine, v) && v->c >= WIDE && v->o >= WIDE &&
         (v->n * out[1] * out[2] <= ROWS_EACH || mica_convolution_taps(v) == 1);
}

bool mica_direct_data_pays(const mica_engine *engine, const mica_convolution *v) {
  if (!fits(engine, v) || v->c % mica_kernels_of(engine, v->dtype)->direct->vector) return false;
  return !library_is_there(engine, v) || (strided(v) && v->c >= WIDE && v->o >= WIDE);
}

bool mica_direct_weights_pay(const mica_engine *engine, const mica_convolution *v) {
  if (!fits(engine, v) || v->c % mica_kernels_of(engine, v->dtype)->direct->vector) return false;
  return v->o >= WIDE && (!library_is_there(engine, v) || (v->c >= WIDE && v->o >= 2 * WIDE));
}

/* ---- the sums that a pass is made of ---- */

static mica_direct forward_of(const mica_convolution *v) {
  int64_t out[MICA_CONVOLUTION_AXES];
  mica_convolution_output(v, out);
  mica_direct d = {.n = v->n,
                   .high = out[1],
                   .wide = out[2],
                   .from_h = v->size[1],
                   .from_w = v->size[2],
                   .depth = v->c,
                   .step_h = v->stride[1],
                   .step_w = v->stride[2],
                   .to_h = out[1],
                   .to_w = out[2],
                   .columns = v->o,
                   .to_step_h = 1,
                   .to_step_w = 1};
  for (int64_t h = 0; h < v->kernel[1]; h++)
    for (int64_t w = 0; w < v->kernel[2]; w++, d.taps++) {
      d.number[d.taps] = d.taps;
      d.at_h[d.taps] = h * v->dilation[1] - v->before[1];
      d.at_w[d.taps] = w * v->dilation[2] - v->before[2];
    }
  return d;
}

/* Does tap `tap` meet places of residue `at`, and in which of the results? */
static bool meets(const mica_convolution *v, int axis, int64_t at, int64_t tap, int64_t *from) {
  const int64_t reached = at + v->before[axis] - tap * v->dilation[axis];
  *from = reached / v->stride[axis];
  return reached % v->stride[axis] == 0;
}

/* dx at places (h, w) modulo the stride. */
static mica_direct data_of(const mica_convolution *v, int64_t h, int64_t w) {
  int64_t out[MICA_CONVOLUTION_AXES];
  mica_convolution_output(v, out);
  mica_direct d = {.n = v->n,
                   .high = (v->size[1] - h + v->stride[1] - 1) / v->stride[1],
                   .wide = (v->size[2] - w + v->stride[2] - 1) / v->stride[2],
                   .from_h = out[1],
                   .from_w = out[2],
                   .depth = v->o,
                   .step_h = 1,
                   .step_w = 1,
                   .to_h = v->size[1],
                   .to_w = v->size[2],
                   .columns = v->c,
                   .to_first_h = h,
                   .to_first_w = w,
                   .to_step_h = v->stride[1],
                   .to_step_w = v->stride[2]};
  if (h >= v->size[1] || w >= v->size[2]) d.n = 0;
  for (int64_t i = 0; i < v->kernel[1]; i++)
    for (int64_t k = 0; k < v->kernel[2]; k++)
      if (meets(v, 1, h, i, &d.at_h[d.taps]) && meets(v, 2, w, k, &d.at_w[d.taps]))
        d.number[d.taps++] = (int)(i * v->kernel[2] + k);
  return d;
}

/* ---- one sum over threads ---- */

typedef struct job {
  const mica_engine *engine;
  const mica_direct_kernels *k;
  mica_direct d;
  mica_direct_ending ending;
  size_t size;
  int64_t kernel, panels, rows;
  const char *x, *w, *zeros;
  char *y, *packed;
  bool turned;
  _Atomic bool failed;
  int64_t begin, end; /* of a piece of places */
} job;

static int64_t panels_of(const job *j) {
  return (j->d.columns + j->k->columns - 1) / j->k->columns;
}

static int64_t panel_elements(const job *j) {
  return j->d.taps * j->d.depth * j->k->columns;
}

static void pack_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  j->k->pack(&j->d, j->w, j->kernel, j->turned, begin, end, j->packed);
}

static void row_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  char *scratch = mica_workspace_acquire(j->engine, (size_t)j->k->scratch * j->size);
  const int64_t last = end * ROWS_AT_ONCE < j->rows ? end * ROWS_AT_ONCE : j->rows;
  if (scratch)
    j->k->sums(&j->d, j->x, j->zeros, j->packed, &j->ending, begin * ROWS_AT_ONCE, last, 0,
               panels_of(j), scratch, j->y);
  else
    j->failed = true;
  mica_workspace_release(j->engine, scratch);
}

static void panel_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  char *scratch = mica_workspace_acquire(j->engine, (size_t)j->k->scratch * j->size);
  if (scratch)
    j->k->sums(&j->d, j->x, j->zeros, j->packed, &j->ending, 0, j->rows, begin, end, scratch, j->y);
  else
    j->failed = true;
  mica_workspace_release(j->engine, scratch);
}

/* Threads share rows, or panels where rows are few. */
static void sums(job *j) {
  j->rows = j->d.n * j->d.high * j->d.wide;
  if (!j->rows) return;
  if (j->rows >= ROWS_EACH * mica_engine_threads(j->engine))
    mica_parallel_for(j->engine, (j->rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, row_range, j);
  else
    mica_parallel_for(j->engine, panels_of(j), panel_range, j);
}

static job job_of(const mica_engine *engine, const mica_convolution *v) {
  return (job){.engine = engine,
               .k = mica_kernels_of(engine, v->dtype)->direct,
               .size = mica_dtype_size(v->dtype),
               .kernel = mica_convolution_taps(v)};
}

/* Scratch whose first elements are zeros, for what lies outside of the maps; *rest follows them.
 * NULL: out of memory. */
static char *scratch_of(const job *j, int64_t zeros, int64_t elements, char **rest) {
  const size_t bytes = ((size_t)zeros * j->size + 63) / 64 * 64;
  char *scratch = mica_workspace_acquire(j->engine, bytes + (size_t)elements * j->size);
  if (!scratch) return NULL;
  memset(scratch, 0, bytes);
  *rest = scratch + bytes;
  return scratch;
}

static mica_status out_of_memory(void) {
  return mica_fail(MICA_ERR_MEMORY, "convolution: no memory for scratch");
}

int64_t mica_direct_packed(const mica_engine *engine, const mica_convolution *v) {
  job j = job_of(engine, v);
  j.d = forward_of(v);
  return panel_elements(&j) * panels_of(&j);
}

void mica_direct_pack(const mica_engine *engine, const mica_convolution *v, const void *w,
                      void *packed) {
  job j = job_of(engine, v);
  j.d = forward_of(v);
  j.w = w;
  j.packed = packed;
  memset(packed, 0, (size_t)(panel_elements(&j) * panels_of(&j)) * j.size);
  mica_parallel_for(engine, panels_of(&j), pack_range, &j);
}

mica_status mica_direct_forward(const mica_engine *engine, const mica_convolution *v, const void *w,
                                const void *packed, const void *x, const void *bias,
                                const void *residual, bool relu, void *y) {
  job j = job_of(engine, v);
  j.d = forward_of(v);
  char *own;
  char *scratch = scratch_of(&j, v->c, packed ? 0 : panel_elements(&j) * panels_of(&j), &own);
  if (!scratch) return out_of_memory();
  j.zeros = scratch;
  j.packed = packed ? (char *)(uintptr_t)packed : own;
  j.x = x;
  j.y = y;
  j.w = w;
  j.ending = (mica_direct_ending){bias, residual, relu};
  if (!packed) mica_parallel_for(engine, panels_of(&j), pack_range, &j);
  sums(&j);
  mica_workspace_release(engine, scratch);
  return j.failed ? out_of_memory() : MICA_OK;
}

mica_status mica_direct_data(const mica_engine *engine, const mica_convolution *v, const void *dy,
                             const void *w, const void *bias, void *dx) {
  job j = job_of(engine, v);
  const int64_t panels = (v->c + j.k->columns - 1) / j.k->columns;
  char *scratch = scratch_of(&j, v->o, j.kernel * v->o * panels * j.k->columns, &j.packed);
  if (!scratch) return out_of_memory();
  j.zeros = scratch;
  j.x = dy;
  j.y = dx;
  j.w = w;
  j.turned = true;
  j.ending.bias = bias;
  for (int64_t h = 0; h < v->stride[1]; h++)
    for (int64_t k = 0; k < v->stride[2]; k++) {
      j.d = data_of(v, h, k);
      mica_parallel_for(engine, panels_of(&j), pack_range, &j);
      sums(&j);
    }
  mica_workspace_release(engine, scratch);
  return j.failed ? out_of_memory() : MICA_OK;
}

/* ---- backward: weights ---- */

static int64_t filters_at_once(const job *j) {
  return (j->d.columns + j->k->rows - 1) / j->k->rows;
}

enum { PLACES_AT_ONCE = 64 };

static void pack_gradient_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  const int64_t rows = j->end - j->begin, step = j->k->rows;
  for (int64_t f = begin; f < end; f++)
    j->k->pack_gradient(j->x, j->d.columns, f * step, j->begin, j->end,
                        j->packed + (size_t)(f * step * rows) * j->size);
}

static void gradient_range(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  for (int64_t i = begin; i < end; i++)
    j->k->gradient(&j->d, j->kernel, j->w, j->zeros, j->packed, (int)(i / j->panels),
                   i % j->panels * j->k->columns, j->begin, j->end, j->begin == 0, j->y);
}

mica_status mica_direct_weights(const mica_engine *engine, const mica_convolution *v, const void *x,
                                const void *dy, void *dw) {
  job j = job_of(engine, v);
  j.d = forward_of(v);
  j.w = x;
  j.x = dy;
  j.y = dw;
  j.panels = (v->c + j.k->columns - 1) / j.k->columns;
  j.rows = j.d.n * j.d.high * j.d.wide;
  const int64_t filters = filters_at_once(&j) * j.k->rows;
  int64_t piece = SUMMED_AT / filters / PLACES_AT_ONCE * PLACES_AT_ONCE;
  if (piece < 4 * PLACES_AT_ONCE) piece = 4 * PLACES_AT_ONCE;
  if (piece > j.rows) piece = j.rows;
  char *scratch = scratch_of(&j, v->c, piece * filters, &j.packed);
  if (!scratch) return out_of_memory();
  j.zeros = scratch;
  for (j.begin = 0; j.begin < j.rows; j.begin = j.end) {
    j.end = j.begin + piece < j.rows ? j.begin + piece : j.rows;
    mica_parallel_for(engine, filters_at_once(&j), pack_gradient_range, &j);
    mica_parallel_for(engine, j.d.taps * j.panels, gradient_range, &j);
  }
  mica_workspace_release(engine, scratch);
  return MICA_OK;
}
