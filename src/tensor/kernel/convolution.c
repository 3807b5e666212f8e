/* Convolution as products, channels last.
 *
 * With the positions of a result as rows, y = columns(x) w^T: the columns of a position are the
 * inputs that its kernel covers. Then dx is dy w spread back over those inputs, and dw = dy^T
 * columns(x). The work is cut by images; each piece of a few images makes its own columns in a
 * bounded block. Weight gradients of the pieces are added in order, so the thread count does not
 * show.
 */
#include "tensor/kernel/convolution.h"

#include "tensor/kernel/depthwise.h"
#include "tensor/kernel/direct.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"
#include "tensor/kernel/onednn.h"
#include "tensor/kernel/reduce.h"
#include "tensor/kernel/winograd.h"
#include "tensor/kernel/winograd_kept.h"

#include <stdatomic.h>
#include <string.h>

enum { WEIGHT_PARTS = 16 };           /* partial sums of a weight gradient */
static const int64_t BLOCK = 1 << 18; /* elements of columns made at once */

mica_status mica_convolution_output(const mica_convolution *v, int64_t out[MICA_CONVOLUTION_AXES]) {
  memset(out, 0, MICA_CONVOLUTION_AXES * sizeof *out);
  if (v->dtype != MICA_F32 && v->dtype != MICA_F64)
    return mica_fail(MICA_ERR_UNSUPPORTED, "convolution: %s, expected float32 or float64",
                     mica_dtype_name(v->dtype));
  bool fine = v->n >= 0 && v->c >= 0 && v->o >= 0 && v->groups >= 1 && v->c % v->groups == 0 &&
              v->o % v->groups == 0;
  for (int i = 0; i < MICA_CONVOLUTION_AXES && fine; i++)
    fine = v->size[i] >= 0 && v->kernel[i] >= 1 && v->stride[i] >= 1 && v->dilation[i] >= 1 &&
           v->before[i] >= 0 && v->after[i] >= 0 && v->kernel[i] - 1 <= INT64_MAX / v->dilation[i];
  if (!fine)
    return mica_fail(
        MICA_ERR_SHAPE,
        "convolution: sizes, kernel, stride, dilation, padding or groups out of range");
  for (int i = 0; i < MICA_CONVOLUTION_AXES; i++) {
    const int64_t span =
        v->size[i] + v->before[i] + v->after[i] - v->dilation[i] * (v->kernel[i] - 1) - 1;
    out[i] = span < 0 ? 0 : span / v->stride[i] + 1;
  }
  return MICA_OK;
}

/* ---- what one call works on ---- */

typedef struct job {
  const mica_engine *engine;
  const mica_convolution *v;
  const mica_convolution_kernels *k;
  int64_t out[MICA_CONVOLUTION_AXES];
  int64_t places, positions; /* of one image: of the input, of the result */
  int64_t width, outs;       /* inputs of a group's kernel, outputs of a group */
  int64_t block;             /* positions made at once */
  int64_t pieces;            /* of the images */
  size_t size;
  const char *x, *w, *dy, *bias, *residual;
  char *y, *dx, *partial;
  bool relu;
  _Atomic int failed; /* the first status that was not MICA_OK */
} job;

static bool depthwise(const mica_convolution *v) {
  return v->groups == v->c && v->o == v->c && v->c > 1;
}

static bool pointwise(const mica_convolution *v) {
  bool plain = v->groups == 1;
  for (int i = 0; i < MICA_CONVOLUTION_AXES; i++)
    plain = plain && v->kernel[i] == 1 && v->stride[i] == 1 && !v->before[i] && !v->after[i];
  return plain;
}

static mica_status job_of(const mica_engine *engine, const mica_convolution *v, job *j) {
  memset(j, 0, sizeof *j);
  j->engine = engine;
  j->v = v;
  j->k = mica_kernels_of(engine, v->dtype)->convolution;
  j->size = mica_dtype_size(v->dtype);
  mica_status status = mica_convolution_output(v, j->out);
  if (status != MICA_OK) return status;
  j->places = mica_convolution_places(v);
  j->positions = j->out[0] * j->out[1] * j->out[2];
  j->width = mica_convolution_taps(v) * (v->c / v->groups);
  j->outs = v->o / v->groups;
  j->block = j->width ? BLOCK / j->width : j->positions;
  if (j->block < 1) j->block = 1;
  if (j->block > j->positions) j->block = j->positions;
  j->pieces = v->n < WEIGHT_PARTS ? v->n : WEIGHT_PARTS;
  return MICA_OK;
}

static void fail(job *j, mica_status status) {
  int none = MICA_OK;
  atomic_compare_exchange_strong(&j->failed, &none, (int)status);
}

/* The error that a piece met in its own thread, told in the caller's. */
static mica_status outcome(const job *j) {
  const mica_status status = (mica_status)j->failed;
  return status == MICA_OK ? status
                           : mica_fail(status, "convolution: %s", mica_status_name(status));
}

/* Images of piece i of the job's pieces. */
static void images(const job *j, int64_t i, int64_t *begin, int64_t *end) {
  *begin = i * j->v->n / j->pieces;
  *end = (i + 1) * j->v->n / j->pieces;
}

static mica_status product(const job *j, mica_gemm_args *g) {
  g->dtype = j->v->dtype;
  g->compute = j->v->compute;
  g->batch = 1;
  return mica_gemm_run(j->engine, g);
}

static const char *move(const char *p, size_t size, int64_t elements) {
  return p ? p + (ptrdiff_t)size * elements : NULL;
}

/* One image is worth more than one thread when there are few: then the products use the threads. */
static void over_pieces(job *j, int64_t pieces, mica_range_fn fn) {
  if (pieces == 1)
    fn(j, 0, 1);
  else
    mica_parallel_for(j->engine, pieces, fn, j);
}

/* ---- oneDNN ---- */

enum { FINISH_ELEMENTS = 1 << 15 };

static bool library_pays(const job *j) {
  return j->v->dtype == MICA_F32 && mica_libraries_usable(j->engine);
}

/* What is left to do to each row of `y` after a library call. */
typedef struct ending {
  const job *j;
  const char *bias, *residual;
  char *y;
  bool relu;
  int64_t rows, cols, step;
} ending;

static void finish_range(void *ctx, int64_t begin, int64_t end) {
  const ending *e = ctx;
  const int64_t from = begin * e->step, to = end * e->step < e->rows ? end * e->step : e->rows;
  e->j->k->finish(to - from, e->cols, e->bias, move(e->residual, e->j->size, from * e->cols),
                  e->relu, e->y + (size_t)(from * e->cols) * e->j->size);
}

static void finish(ending e) {
  if (!e.bias && !e.residual && !e.relu) return;
  e.step = e.cols < FINISH_ELEMENTS ? FINISH_ELEMENTS / e.cols : 1;
  mica_parallel_for(e.j->engine, (e.rows + e.step - 1) / e.step, finish_range, &e);
}

static mica_status library_forward(job *j, bool *done) {
  const bool in_place = j->residual && j->residual == j->y;
  const mica_status status = mica_onednn_convolution(
      j->engine, j->v, in_place ? MICA_ONEDNN_FORWARD_ADD : MICA_ONEDNN_FORWARD,
      (void *)(uintptr_t)j->x, (void *)(uintptr_t)j->w, (void *)(uintptr_t)j->bias, j->y, done);
  if (status != MICA_OK || !*done) return status;
  finish((ending){.j = j,
                  .residual = in_place ? NULL : j->residual,
                  .y = j->y,
                  .relu = j->relu,
                  .rows = j->v->n * j->positions,
                  .cols = j->v->o});
  return MICA_OK;
}

mica_status mica_convolution_pack(const mica_engine *engine, const mica_convolution *v,
                                  const void *w, void **packed) {
  *packed = NULL;
  if (mica_winograd_kept_pays(engine, v)) {
    *packed = mica_malloc_aligned((size_t)mica_winograd_kept_elements(v) * sizeof(float));
    if (!*packed) return MICA_ERR_MEMORY;
    mica_winograd_keep(engine, v, w, *packed);
    return MICA_OK;
  }
  if (mica_winograd_pays(engine, v)) {
    const size_t elements = (size_t)mica_winograd_packed(engine, v);
    *packed = mica_malloc_aligned(elements * mica_dtype_size(v->dtype));
    return *packed ? mica_winograd_pack(engine, v, w, *packed) : MICA_ERR_MEMORY;
  }
  if (mica_direct_packed_pays(engine, v)) {
    const size_t elements = (size_t)mica_direct_packed(engine, v);
    *packed = mica_malloc_aligned(elements * mica_dtype_size(v->dtype));
    if (!*packed) return MICA_ERR_MEMORY;
    mica_direct_pack(engine, v, w, *packed);
    return MICA_OK;
  }
  if (depthwise(v)) {
    int64_t out[MICA_CONVOLUTION_AXES];
    const mica_status status = mica_convolution_output(v, out);
    return status == MICA_OK ? mica_depthwise_pack(engine, v, out, w, packed) : status;
  }
  if (!mica_libraries_usable(engine)) return MICA_OK;
  return mica_onednn_pack(engine, v, true, w, packed);
}

mica_status mica_convolution_forward_packed(const mica_engine *engine, const mica_convolution *v,
                                            const void *x, const void *packed, const void *bias,
                                            const void *residual, bool relu, void *y, bool *done) {
  job j;
  *done = mica_winograd_kept_pays(engine, v);
  if (*done) return mica_winograd_kept_forward(engine, v, packed, x, bias, residual, relu, y);
  *done = mica_winograd_pays(engine, v);
  if (*done) return mica_winograd_forward(engine, v, NULL, packed, x, bias, residual, relu, y);
  *done = mica_direct_packed_pays(engine, v);
  if (*done) return mica_direct_forward(engine, v, NULL, packed, x, bias, residual, relu, y);
  mica_status status = job_of(engine, v, &j);
  if (status == MICA_OK && depthwise(v)) {
    *done = true;
    return mica_depthwise_forward_packed(engine, v, j.out, x, packed,
                                         &(mica_depthwise_ending){bias, residual, relu}, y);
  }
  if (status == MICA_OK)
    status = mica_onednn_convolution(engine, v, MICA_ONEDNN_FORWARD_PACKED, (void *)(uintptr_t)x,
                                     (void *)(uintptr_t)packed, (void *)(uintptr_t)bias, y, done);
  if (status == MICA_OK && *done)
    finish((ending){.j = &j,
                    .residual = residual,
                    .y = y,
                    .relu = relu,
                    .rows = v->n * j.positions,
                    .cols = v->o});
  return status;
}

static mica_status library_data(job *j, bool *done) {
  const mica_status status =
      mica_onednn_convolution(j->engine, j->v, MICA_ONEDNN_DATA, j->dx, (void *)(uintptr_t)j->w,
                              NULL, (void *)(uintptr_t)j->dy, done);
  if (status != MICA_OK || !*done) return status;
  finish(
      (ending){.j = j, .bias = j->bias, .y = j->dx, .rows = j->v->n * j->places, .cols = j->v->c});
  return MICA_OK;
}

/* ---- forward ---- */

static void forward_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_convolution *v = j->v;
  const int64_t positions = j->positions, in = j->places * v->c;
  void *columns = mica_workspace_acquire(j->engine, (size_t)(j->block * j->width) * j->size);
  if (!columns) {
    fail(j, MICA_ERR_MEMORY);
    return;
  }
  for (int64_t n = begin; n < end; n++)
    for (int64_t from = 0; from < positions; from += j->block) {
      const int64_t rows = positions - from < j->block ? positions - from : j->block;
      char *y = j->y + (size_t)((n * positions + from) * v->o) * j->size;
      for (int64_t g = 0; g < v->groups; g++) {
        j->k->im2col(v, j->out, g, move(j->x, j->size, n * in), from, from + rows, columns);
        mica_gemm_args args = {.trans_b = true,
                               .m = rows,
                               .n = j->outs,
                               .k = j->width,
                               .alpha = 1,
                               .a = columns,
                               .lda = j->width,
                               .b = move(j->w, j->size, g * j->outs * j->width),
                               .ldb = j->width,
                               .c = y + (size_t)(g * j->outs) * j->size,
                               .ldc = v->o,
                               .bias = j->residual ? NULL : move(j->bias, j->size, g * j->outs),
                               .relu = j->relu && !j->residual};
        const char *same = move(j->residual, j->size, (n * positions + from) * v->o);
        if (same && same == y) { /* the residual lies where the result goes */
          args.beta = 1;
          args.bias = NULL;
        }
        mica_status status = product(j, &args);
        if (status != MICA_OK) fail(j, status);
      }
      if (j->residual) {
        const char *residual = move(j->residual, j->size, (n * positions + from) * v->o);
        j->k->finish(rows, v->o, j->bias, residual == y ? NULL : residual, j->relu, y);
      }
    }
  mica_workspace_release(j->engine, columns);
}

mica_status mica_convolution_forward(const mica_engine *engine, const mica_convolution *v,
                                     const void *x, const void *w, const void *bias,
                                     const void *residual, bool relu, void *y) {
  job j;
  mica_status status = job_of(engine, v, &j);
  if (status != MICA_OK || v->n * j.positions * v->o == 0) return status;
  j.x = x;
  j.w = w;
  j.bias = bias;
  j.residual = residual;
  j.relu = relu;
  j.y = y;
  if (pointwise(v) && !residual) {
    mica_gemm_args g = {.trans_b = true,
                        .m = v->n * j.places,
                        .n = v->o,
                        .k = v->c,
                        .alpha = 1,
                        .a = x,
                        .lda = v->c,
                        .b = w,
                        .ldb = v->c,
                        .c = y,
                        .ldc = v->o,
                        .bias = bias,
                        .relu = relu};
    return product(&j, &g);
  }
  if (depthwise(v) && v->compute == v->dtype)
    return mica_depthwise_forward(engine, v, j.out, x, w,
                                  &(mica_depthwise_ending){bias, residual, relu}, y);
  if (mica_winograd_pays(engine, v))
    return mica_winograd_forward(engine, v, w, NULL, x, bias, residual, relu, y);
  if (mica_direct_pays(engine, v))
    return mica_direct_forward(engine, v, w, NULL, x, bias, residual, relu, y);
  if (library_pays(&j)) {
    bool done = false;
    status = library_forward(&j, &done);
    if (status != MICA_OK || done) return status;
  }
  over_pieces(&j, v->n, forward_range);
  return outcome(&j);
}

/* ---- backward: input ---- */

static void data_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_convolution *v = j->v;
  const int64_t positions = j->positions, in = j->places * v->c;
  void *columns = mica_workspace_acquire(j->engine, (size_t)(j->block * j->width) * j->size);
  if (!columns) {
    fail(j, MICA_ERR_MEMORY);
    return;
  }
  for (int64_t n = begin; n < end; n++) {
    char *dx = j->dx + (size_t)(n * in) * j->size;
    memset(dx, 0, (size_t)in * j->size);
    for (int64_t from = 0; from < positions; from += j->block) {
      const int64_t rows = positions - from < j->block ? positions - from : j->block;
      for (int64_t g = 0; g < v->groups; g++) {
        mica_gemm_args args = {
            .m = rows,
            .n = j->width,
            .k = j->outs,
            .alpha = 1,
            .a = move(j->dy, j->size, (n * positions + from) * v->o + g * j->outs),
            .lda = v->o,
            .b = move(j->w, j->size, g * j->outs * j->width),
            .ldb = j->width,
            .c = columns,
            .ldc = j->width};
        mica_status status = product(j, &args);
        if (status != MICA_OK) fail(j, status);
        j->k->col2im(v, j->out, g, columns, from, from + rows, dx);
      }
    }
    if (j->bias) j->k->finish(j->places, v->c, j->bias, NULL, false, dx);
  }
  mica_workspace_release(j->engine, columns);
}

/* dx = beta dx + dy w + bias */
static mica_status pointwise_data(const job *j, double beta) {
  const mica_convolution *v = j->v;
  mica_gemm_args g = {.m = v->n * j->places,
                      .n = v->c,
                      .k = v->o,
                      .alpha = 1,
                      .beta = beta,
                      .a = j->dy,
                      .lda = v->o,
                      .b = j->w,
                      .ldb = v->c,
                      .c = j->dx,
                      .ldc = v->c,
                      .bias = j->bias};
  return product(j, &g);
}

mica_status mica_convolution_add_data(const mica_engine *engine, const mica_convolution *v,
                                      const void *dy, const void *w, void *dx, bool *done) {
  job j;
  *done = false;
  const mica_status status = job_of(engine, v, &j);
  if (status != MICA_OK || v->n * j.places * v->c == 0) return status;
  j.dy = dy;
  j.w = w;
  j.dx = dx;
  *done = true;
  if (pointwise(v)) return pointwise_data(&j, 1);
  if (mica_winograd_pays(engine, v)) return mica_winograd_data(engine, v, dy, w, NULL, dx, dx);
  *done = false;
  return MICA_OK;
}

mica_status mica_convolution_backward_data(const mica_engine *engine, const mica_convolution *v,
                                           const void *dy, const void *w, const void *bias,
                                           void *dx) {
  job j;
  mica_status status = job_of(engine, v, &j);
  if (status != MICA_OK || v->n * j.places * v->c == 0) return status;
  j.dy = dy;
  j.w = w;
  j.bias = bias;
  j.dx = dx;
  if (pointwise(v)) return pointwise_data(&j, 0);
  if (depthwise(v) && v->compute == v->dtype)
    return mica_depthwise_data(engine, v, j.out, dy, w, bias, dx);
  if (mica_winograd_pays(engine, v)) return mica_winograd_data(engine, v, dy, w, bias, NULL, dx);
  if (mica_direct_data_pays(engine, v)) return mica_direct_data(engine, v, dy, w, bias, dx);
  if (library_pays(&j)) {
    bool done = false;
    status = library_data(&j, &done);
    if (status != MICA_OK || done) return status;
  }
  over_pieces(&j, v->n, data_range);
  return outcome(&j);
}

/* ---- backward: weights ---- */

/* Piece i's part of dw, in the layout that its path has, at partial + i * (o * width). */
static void weights_range(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_convolution *v = j->v;
  const int64_t positions = j->positions, in = j->places * v->c, weights = v->o * j->width;
  void *columns = mica_workspace_acquire(j->engine, (size_t)(j->block * j->width) * j->size);
  if (!columns) {
    fail(j, MICA_ERR_MEMORY);
    return;
  }
  for (int64_t i = begin; i < end; i++) {
    int64_t first, last;
    char *dw = j->partial + (size_t)(i * weights) * j->size;
    images(j, i, &first, &last);
    bool fresh = true;
    for (int64_t n = first; n < last; n++)
      for (int64_t from = 0; from < positions; from += j->block, fresh = false) {
        const int64_t rows = positions - from < j->block ? positions - from : j->block;
        for (int64_t g = 0; g < v->groups; g++) {
          j->k->im2col(v, j->out, g, move(j->x, j->size, n * in), from, from + rows, columns);
          mica_gemm_args args = {
              .trans_a = true,
              .m = j->outs,
              .n = j->width,
              .k = rows,
              .alpha = 1,
              .beta = fresh ? 0 : 1,
              .a = move(j->dy, j->size, (n * positions + from) * v->o + g * j->outs),
              .lda = v->o,
              .b = columns,
              .ldb = j->width,
              .c = dw + (size_t)(g * j->outs * j->width) * j->size,
              .ldc = j->width};
          mica_status status = product(j, &args);
          if (status != MICA_OK) fail(j, status);
        }
      }
  }
  mica_workspace_release(j->engine, columns);
}

#define SUM_PARTS(type)                                                                            \
  do {                                                                                             \
    type *a = (type *)(void *)sum;                                                                 \
    for (int64_t i = 1; i < parts; i++) {                                                          \
      const type *b = (const type *)(const void *)(sum + (size_t)(i * n) * sizeof(type));          \
      for (int64_t k = 0; k < n; k++) a[k] += b[k];                                                \
    }                                                                                              \
  } while (0)

/* The first part becomes the sum of all, added in order. */
static void sum_parts(mica_dtype dtype, int64_t parts, int64_t n, char *sum) {
  if (dtype == MICA_F32)
    SUM_PARTS(float);
  else
    SUM_PARTS(double);
}

/* db[o]: columns of dy, in double. */
static mica_status bias_gradient(const job *j, const void *dy, void *db) {
  const int64_t rows = j->v->n * j->positions, o = j->v->o;
  double *sum = mica_workspace_acquire(j->engine, (size_t)o * sizeof *sum);
  if (!sum) return MICA_ERR_MEMORY;
  memset(sum, 0, (size_t)o * sizeof *sum);
  const mica_kernels *k = mica_kernels_of(j->engine, j->v->dtype);
  for (int64_t from = 0; from < rows; from += 4096) {
    const int64_t n = rows - from < 4096 ? rows - from : 4096;
    k->reduce->column_sum(n, o, move(dy, j->size, from * o), o, sum);
  }
  k->reduce->combine(o, 1, sum, 1, db);
  mica_workspace_release(j->engine, sum);
  return MICA_OK;
}

mica_status mica_convolution_backward_weights(const mica_engine *engine, const mica_convolution *v,
                                              const void *x, const void *dy, void *dw, void *db) {
  job j;
  mica_status status = job_of(engine, v, &j);
  if (status != MICA_OK) return status;
  const int64_t weights = v->o * j.width;
  j.x = x;
  j.dy = dy;
  if (db && v->o) status = bias_gradient(&j, dy, db);
  if (status != MICA_OK || !weights) return status;
  if (v->n * j.positions == 0) {
    memset(dw, 0, (size_t)weights * j.size);
    return MICA_OK;
  }
  if (pointwise(v)) {
    mica_gemm_args g = {.trans_a = true,
                        .m = v->o,
                        .n = v->c,
                        .k = v->n * j.places,
                        .alpha = 1,
                        .a = dy,
                        .lda = v->o,
                        .b = x,
                        .ldb = v->c,
                        .c = dw,
                        .ldc = v->c};
    return product(&j, &g);
  }
  if (depthwise(v) && v->compute == v->dtype)
    return mica_depthwise_weights(engine, v, j.out, x, dy, dw);
  if (mica_winograd_weights_pay(engine, v)) return mica_winograd_weights(engine, v, x, dy, dw);
  if (mica_direct_weights_pay(engine, v)) return mica_direct_weights(engine, v, x, dy, dw);
  if (library_pays(&j)) {
    bool done = false;
    status = mica_onednn_convolution(engine, v, MICA_ONEDNN_WEIGHTS, (void *)(uintptr_t)x, dw, NULL,
                                     (void *)(uintptr_t)dy, &done);
    if (status != MICA_OK || done) return status;
  }
  j.partial = mica_workspace_acquire(engine, (size_t)(j.pieces * weights) * j.size);
  if (!j.partial) return MICA_ERR_MEMORY;
  over_pieces(&j, j.pieces, weights_range);
  if (j.failed == MICA_OK) {
    sum_parts(v->dtype, j.pieces, weights, j.partial);
    memcpy(dw, j.partial, (size_t)weights * j.size);
  }
  mica_workspace_release(engine, j.partial);
  return outcome(&j);
}
