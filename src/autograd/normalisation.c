/* Normalisation: over rows (layer, RMS), groups of channels, and the batch.
 *
 * Rows and examples are cut into chunks of a fixed size; each chunk adds its part of the gradients
 * of gain and bias to its own sums, which are combined in order.
 */
#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <mica/ops.h>

#include "tensor/element.h"
#include "tensor/kernel/copy.h"
#include "tensor/kernel/norm.h"
#include "tensor/kernel/reduce.h"

#include <math.h>
#include <string.h>

#define ROWS      128 /* of a chunk, at least */
#define MOST_SUMS 256 /* of gradients of gain and bias, each a row, that are kept and combined */

static int64_t chunks_of(int64_t rows, int64_t size) {
  return (rows + size - 1) / size;
}

/* What one normalisation call works on, forward or backward. */
typedef struct norm_job {
  const mica_kernels *k;
  size_t size; /* of an element */
  int64_t rows, cols, stride;
  double eps;
  bool rms, relu;
  const char *x, *gain, *bias, *gy, *residual;
  char *y, *mean, *rstd, *passed;
  double *ggain, *gbias; /* [chunks, cols] or NULL */
  mica_view *grad[2];    /* where their sums go */
  int64_t chunk;         /* rows of one, in backward */
  /* group norm */
  int64_t positions, groups;
  double *scratch;
  /* batch norm */
  const double *sum_gy, *sum_gy_xhat;
  double count;
} norm_job;

static double *sums(double *all, int64_t chunk, int64_t cols) {
  return all ? all + chunk * cols : NULL;
}

static bool gain_bias_fit(const mica_call *c, int64_t channels) {
  for (int i = 1; i <= 2 && i < c->n_in; i++) {
    const mica_view *v = &c->in[i];
    if (v->data &&
        (v->shape.rank != 1 || v->shape.dim[0] != channels || v->dtype != c->in[0].dtype))
      return false;
  }
  return true;
}

/* What every job has, in forward and in backward: its input, gain and bias as rows and columns. */
static norm_job job_of(const mica_call *c) {
  const mica_view *x = &c->in[0];
  return (norm_job){.k = mica_kernels_of(c->engine, x->dtype),
                    .size = mica_dtype_size(x->dtype),
                    .rows = mica_view_rows(x),
                    .cols = mica_view_cols(x),
                    .stride = x->row_stride,
                    .x = x->data,
                    .gain = c->in[1].data,
                    .gy = c->grad_out ? c->grad_out[0].data : NULL};
}

/* Room for the chunks' sums of gain and bias where their gradients are asked for. */
static bool gradient_sums(mica_call *c, int64_t chunks, int64_t cols, norm_job *job) {
  for (int i = 1; i <= 2 && i < c->n_in; i++) {
    job->grad[i - 1] = mica_call_examples(c) ? mica_call_grad_examples(c, i) : mica_call_grad(c, i);
    if (!job->grad[i - 1]) continue;
    const size_t bytes = (size_t)(chunks * cols) * sizeof(double);
    double *s = mica_call_scratch(c, bytes);
    if (!s) return false;
    memset(s, 0, bytes);
    *(i == 1 ? &job->ggain : &job->gbias) = s;
  }
  return true;
}

/* All chunks to one sum, or equally many of them to the sum of each example. */
static void combine_sums(mica_call *c, int64_t chunks, int64_t cols, const norm_job *job) {
  const int64_t n = mica_call_examples(c) ? mica_call_examples(c) : 1, part = chunks / n;
  for (int i = 0; i < 2; i++) {
    const double *s = i == 0 ? job->ggain : job->gbias;
    if (!job->grad[i] || !s) continue;
    for (int64_t e = 0; e < n; e++)
      job->k->reduce->combine(cols, part, s + e * part * cols, 1,
                              (char *)job->grad[i]->data + (size_t)(e * cols) * job->size);
  }
}

/* Rows of a chunk: `usual`, or those of one example. */
static int64_t chunk_rows(const mica_call *c, int64_t rows, int64_t usual) {
  const int64_t n = mica_call_examples(c);
  return n && rows ? rows / n : usual;
}

/* ---- layer and RMS norm ---- */

/* Elements of a row that is made in a block first, to be written past the caches. */
#define ROW_BLOCK 4096

static bool streams_rows(const norm_job *j) {
  return j->cols <= ROW_BLOCK && mica_streams((size_t)(j->rows * j->cols) * j->size);
}

static void rows_of(const norm_job *j, int64_t from, int64_t rows, char *y) {
  const char *x = j->x + (size_t)(from * j->stride) * j->size;
  char *rstd = j->rstd + (size_t)from * j->size;
  if (j->rms)
    j->k->norm->rms_norm(rows, j->cols, x, j->stride, j->gain, j->eps, y, j->cols, rstd);
  else
    j->k->norm->layer_norm(rows, j->cols, x, j->stride, j->gain, j->bias, j->eps, y, j->cols,
                           j->mean + (size_t)from * j->size, rstd);
}

static void row_grads(const norm_job *j, int64_t from, int64_t rows, char *gx, double *ggain,
                      double *gbias) {
  const char *x = j->x + (size_t)(from * j->stride) * j->size;
  const char *gy = j->gy + (size_t)(from * j->cols) * j->size;
  const char *rstd = j->rstd + (size_t)from * j->size;
  if (j->rms)
    j->k->norm->rms_norm_grad(rows, j->cols, x, j->stride, j->gain, rstd, gy, gx, ggain);
  else
    j->k->norm->layer_norm_grad(rows, j->cols, x, j->stride, j->gain,
                                j->mean + (size_t)from * j->size, rstd, gy, gx, ggain, gbias);
}

static void row_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  const int64_t from = begin * ROWS, to = end * ROWS < j->rows ? end * ROWS : j->rows;
  if (!streams_rows(j)) {
    rows_of(j, from, to - from, j->y + (size_t)(from * j->cols) * j->size);
    return;
  }
  _Alignas(64) char block[ROW_BLOCK * sizeof(double)];
  for (int64_t r = from; r < to; r++) {
    rows_of(j, r, 1, block);
    j->k->copy->stream(j->cols, block, j->y + (size_t)(r * j->cols) * j->size);
  }
  j->k->copy->stream_end();
}

static void row_grad_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  _Alignas(64) char block[ROW_BLOCK * sizeof(double)];
  const bool streams = j->y && streams_rows(j);
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * j->chunk, to = from + j->chunk < j->rows ? from + j->chunk : j->rows;
    double *ggain = sums(j->ggain, i, j->cols), *gbias = sums(j->gbias, i, j->cols);
    if (!streams) {
      row_grads(j, from, to - from, j->y ? j->y + (size_t)(from * j->cols) * j->size : NULL, ggain,
                gbias);
      continue;
    }
    const int64_t some = 1 + ROW_BLOCK / (j->cols + 1); /* rows that stay in the first cache */
    for (int64_t r0 = from; r0 < to; r0 += some) {
      const int64_t r1 = r0 + some < to ? r0 + some : to;
      for (int64_t r = r0; r < r1; r++) {
        row_grads(j, r, 1, block, NULL, NULL);
        j->k->copy->stream(j->cols, block, j->y + (size_t)(r * j->cols) * j->size);
      }
      row_grads(j, r0, r1 - r0, NULL, ggain, gbias);
    }
  }
  if (streams) j->k->copy->stream_end();
}

static void row_backward(mica_call *c) {
  const mica_view *x = &c->in[0];
  const bool rms = c->n_in == 2;
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  const int64_t usual = rows < ROWS * MOST_SUMS ? ROWS : (rows + MOST_SUMS - 1) / MOST_SUMS;
  const int64_t chunk = chunk_rows(c, rows, usual), chunks = chunks_of(rows, chunk);
  norm_job job = job_of(c);
  job.chunk = chunk;
  job.rms = rms;
  job.rstd = c->saved[0];
  job.mean = rms ? NULL : c->saved[1];
  mica_view *gx = mica_call_grad(c, 0);
  job.y = gx ? gx->data : NULL;
  if (!gradient_sums(c, chunks, cols, &job)) return;
  mica_parallel_for(c->engine, chunks, row_grad_range, &job);
  combine_sums(c, chunks, cols, &job);
}

/* The statistics are written too, with the values that they have. */
static void row_forward(const mica_call *c, double eps, void *y, void *rstd, void *mean) {
  norm_job job = job_of(c);
  job.eps = eps;
  job.rms = c->n_in == 2;
  job.bias = job.rms ? NULL : c->in[2].data;
  job.y = y;
  job.mean = mean;
  job.rstd = rstd;
  mica_parallel_for(c->engine, chunks_of(job.rows, ROWS), row_range, &job);
}

static void row_remake(mica_call *c) {
  const double *eps = c->ctx;
  row_forward(c, *eps, c->out[0].data, c->saved[0], c->n_in == 2 ? NULL : c->saved[1]);
}

#define ROW_FLAGS (MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM | MICA_OP_REMADE)
static const remade_op layer_norm_op = {{sizeof(mica_op), "layer_norm", ROW_FLAGS, row_backward},
                                        row_remake};
static const remade_op rms_norm_op = {{sizeof(mica_op), "rms_norm", ROW_FLAGS, row_backward},
                                      row_remake};

static mica_var row_norm(mica_tape *t, const mica_op *op, int n_in, const mica_var *in,
                         double eps) {
  mica_call c;
  if (!mica_call_begin_optional(&c, t, op, n_in, in, 6)) return MICA_NONE;
  const mica_view *x = &c.in[0];
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  if (!mica_is_float(x) || x->shape.rank < 1 || !gain_bias_fit(&c, cols))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "gain and bias must be [channels] of the input's type:");
  const bool rms = n_in == 2;
  if (x->shape.rank < 2) mica_call_mixes(&c, 0);
  mica_call_mixes(&c, 1);
  if (!rms) mica_call_mixes(&c, 2);
  const mica_view *y = mica_call_output(&c, x->dtype, x->shape);
  const size_t size = mica_dtype_size(x->dtype);
  void *rstd = mica_call_saved(&c, (size_t)rows * size);
  void *mean = rms ? NULL : mica_call_saved(&c, (size_t)rows * size);
  if (mica_ok(t)) row_forward(&c, eps, y->data, rstd, mean);
  mica_call_context(&c, &eps, sizeof eps);
  for (int i = 0; i < n_in; i++)
    if (c.in[i].data) mica_call_save_input(&c, i);
  return mica_call_end(&c);
}

mica_var mica_layer_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias, double eps) {
  return row_norm(t, &layer_norm_op.op, 3, (mica_var[]){x, gain, bias}, eps);
}
mica_var mica_rms_norm(mica_tape *t, mica_var x, mica_var gain, double eps) {
  return row_norm(t, &rms_norm_op.op, 2, (mica_var[]){x, gain}, eps);
}

/* ---- group norm: a chunk is an example ---- */

typedef struct group_context {
  int64_t groups;
  double eps;
} group_context;

static void group_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  const size_t example = (size_t)(j->positions * j->cols) * j->size;
  for (int64_t i = begin; i < end; i++)
    j->k->norm->group_norm(
        1, j->positions, j->cols, j->groups, j->x + (size_t)i * example, j->gain, j->bias, j->eps,
        j->y + (size_t)i * example, j->mean + (size_t)(i * j->groups) * j->size,
        j->rstd + (size_t)(i * j->groups) * j->size, j->scratch + i * 3 * j->cols);
}

static void group_grad_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  const size_t example = (size_t)(j->positions * j->cols) * j->size;
  for (int64_t i = begin; i < end; i++)
    j->k->norm->group_norm_grad(
        1, j->positions, j->cols, j->groups, j->x + (size_t)i * example, j->gain,
        j->mean + (size_t)(i * j->groups) * j->size, j->rstd + (size_t)(i * j->groups) * j->size,
        j->gy + (size_t)i * example, j->y ? j->y + (size_t)i * example : NULL,
        sums(j->ggain, i, j->cols), sums(j->gbias, i, j->cols), j->scratch + i * 3 * j->cols);
}

/* [N,..,C]: examples, positions, channels */
static void group_sizes(const mica_view *x, int64_t *n, int64_t *p, int64_t *ch) {
  *n = x->shape.dim[0];
  *ch = mica_view_cols(x);
  *p = 1;
  for (int i = 1; i < x->shape.rank - 1; i++) *p *= x->shape.dim[i];
}

static void group_backward(mica_call *c) {
  const group_context *o = c->ctx;
  const mica_view *x = &c->in[0];
  int64_t n, p, ch;
  group_sizes(x, &n, &p, &ch);
  norm_job job = job_of(c);
  job.positions = p;
  job.groups = o->groups;
  job.mean = c->saved[0];
  job.rstd = c->saved[1];
  mica_view *gx = mica_call_grad(c, 0);
  job.y = gx ? gx->data : NULL;
  job.scratch = mica_call_scratch(c, (size_t)(n * 3 * ch) * sizeof(double));
  if (!job.scratch || !gradient_sums(c, n, ch, &job)) return;
  mica_parallel_for(c->engine, n, group_grad_range, &job);
  combine_sums(c, n, ch, &job);
}

static const mica_op group_norm_op = {sizeof(mica_op), "group_norm",
                                      MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM, group_backward};

mica_var mica_group_norm(mica_tape *t, mica_var xv, mica_var gain, mica_var bias, int64_t groups,
                         double eps) {
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &group_norm_op, 3, (mica_var[]){xv, gain, bias}, 6))
    return MICA_NONE;
  const mica_view *x = &c.in[0];
  if (!mica_is_float(x) || x->shape.rank < 2)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float [N,..,C]:");
  int64_t n, p, ch;
  group_sizes(x, &n, &p, &ch);
  if (groups < 1 || ch % groups || !gain_bias_fit(&c, ch))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%lld groups of %lld channels, gain and bias [channels]:",
                          (long long)groups, (long long)ch);
  const size_t size = mica_dtype_size(x->dtype);
  const mica_view *y = mica_call_output(&c, x->dtype, x->shape);
  void *mean = mica_call_saved(&c, (size_t)(n * groups) * size);
  void *rstd = mica_call_saved(&c, (size_t)(n * groups) * size);
  double *scratch = mica_call_scratch(&c, (size_t)(n * 3 * ch) * sizeof *scratch);
  if (mica_ok(t)) {
    norm_job job = job_of(&c);
    job.positions = p;
    job.groups = groups;
    job.eps = eps;
    job.bias = c.in[2].data;
    job.y = y->data;
    job.mean = mean;
    job.rstd = rstd;
    job.scratch = scratch;
    mica_parallel_for(c.engine, n, group_range, &job);
  }
  mica_call_mixes(&c, 1);
  mica_call_mixes(&c, 2);
  const group_context o = {groups, eps};
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_input(&c, 0);
  if (c.in[1].data) mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

mica_var mica_instance_norm(mica_tape *t, mica_var x, mica_var gain, mica_var bias, double eps) {
  return mica_group_norm(t, x, gain, bias, mica_dim(t, x, -1), eps);
}

/* ---- batch norm ---- */

/* A chunk of rows holds about as many elements whatever the width. */
static int64_t batch_rows(int64_t cols) {
  int64_t rows = 32768 / (cols ? cols : 1);
  return rows < 16 ? 16 : rows;
}

typedef struct moments_job {
  const mica_kernels *k;
  size_t size;
  int64_t rows, cols, stride, chunk;
  const char *x;
  double *mean, *m2; /* [chunks, cols] */
} moments_job;

static void moments_range(void *ctx, int64_t begin, int64_t end) {
  const moments_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * j->chunk, rows = j->rows - from < j->chunk ? j->rows - from : j->chunk;
    j->k->reduce->column_moments(rows, j->cols, j->x + (size_t)(from * j->stride) * j->size,
                                 j->stride, j->mean + i * j->cols, j->m2 + i * j->cols);
  }
}

static const char *plus(const char *p, size_t offset) {
  return p ? p + offset : NULL;
}

static void batch_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  const int64_t chunk = batch_rows(j->cols);
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * chunk, rows = j->rows - from < chunk ? j->rows - from : chunk;
    const size_t at = (size_t)(from * j->cols) * j->size;
    j->k->norm->batch_norm(rows, j->cols, j->x + (size_t)(from * j->stride) * j->size, j->stride,
                           j->mean, j->rstd, j->gain, j->bias, plus(j->residual, at), j->relu,
                           j->y + at);
  }
}

/* In backward `y` is where gx goes. */
static void batch_sums_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  const int64_t chunk = j->chunk;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * chunk, rows = j->rows - from < chunk ? j->rows - from : chunk;
    const size_t at = (size_t)(from * j->cols) * j->size;
    j->k->norm->batch_norm_sums(
        rows, j->cols, j->x + (size_t)(from * j->stride) * j->size, j->stride, j->mean, j->rstd,
        j->gain, j->bias, plus(j->residual, at), j->relu, j->gy + at,
        j->passed ? j->passed + at : NULL, j->gbias + i * j->cols, j->ggain + i * j->cols);
  }
}

static void batch_grad_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *j = ctx;
  const int64_t chunk = j->chunk;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * chunk, rows = j->rows - from < chunk ? j->rows - from : chunk;
    const size_t at = (size_t)(from * j->cols) * j->size;
    j->k->norm->batch_norm_grad(rows, j->cols, j->x + (size_t)(from * j->stride) * j->size,
                                j->stride, j->mean, j->rstd, j->gain, j->bias, j->relu, j->gy + at,
                                j->sum_gy, j->sum_gy_xhat, j->count, j->y + at);
  }
}

enum { RESIDUAL = 3 }; /* the input that is added, where there is one */

typedef struct batch_context {
  bool relu, fixed; /* fixed: the statistics were given */
} batch_context;

static bool adds(const mica_call *c, const batch_context *o) {
  return c->n_in > RESIDUAL && !o->fixed;
}

static void batch_backward(mica_call *c);
static void batch_remake(mica_call *c);
#define BATCH_FLAGS (MICA_OP_ROW_STRIDES | MICA_OP_REMADE)
static const remade_op batch_train_op = {
    {sizeof(mica_op), "batch_norm_train", BATCH_FLAGS, batch_backward}, batch_remake};
static const remade_op batch_add_op = {
    {sizeof(mica_op), "batch_norm_add_train", BATCH_FLAGS, batch_backward}, batch_remake};
static const remade_op batch_op = {{sizeof(mica_op), "batch_norm",
                                    BATCH_FLAGS | MICA_OP_BY_EXAMPLE | MICA_OP_CLOSED_FORM,
                                    batch_backward},
                                   batch_remake};

/* Where the gradient goes that passes the relu behind the sum. */
static bool passed_gradient(mica_call *c, norm_job *job) {
  const mica_view *gy = &c->grad_out[0], *to = mica_call_grad_over(c, RESIDUAL, 0);
  job->residual = c->in[RESIDUAL].data;
  job->passed = to ? to->data : mica_call_scratch(c, mica_view_bytes(gy));
  return job->passed != NULL;
}

static void batch_backward(mica_call *c) {
  const batch_context *o = c->ctx;
  const mica_view *x = &c->in[0];
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  const int64_t chunk = chunk_rows(c, rows, batch_rows(cols));
  const int64_t chunks = chunks_of(rows, chunk);
  const size_t bytes = (size_t)(chunks * cols) * sizeof(double);
  norm_job job = job_of(c);
  job.chunk = chunk;
  job.relu = o->relu;
  job.bias = c->in[2].data;
  job.mean = c->saved[0];
  job.rstd = c->saved[1];
  job.count = (double)rows;
  /* With a residual, what passes the relu is the residual's gradient and that of the norm. */
  if (adds(c, o) && o->relu && !passed_gradient(c, &job)) return;
  if (adds(c, o) && !o->relu) mica_call_grad_pass(c, RESIDUAL, 0);
  mica_view *gx = adds(c, o) ? mica_call_grad(c, 0) : mica_call_grad_over(c, 0, 0);
  for (int i = 0; i < 2; i++)
    job.grad[i] =
        mica_call_examples(c) ? mica_call_grad_examples(c, i + 1) : mica_call_grad(c, i + 1);
  job.y = gx ? gx->data : NULL;
  job.ggain = mica_call_scratch(c, bytes);
  job.gbias = mica_call_scratch(c, bytes);
  double *sum = mica_call_scratch(c, 2 * (size_t)cols * sizeof *sum);
  if (!sum) return;
  memset(job.ggain, 0, bytes);
  memset(job.gbias, 0, bytes);
  memset(sum, 0, 2 * (size_t)cols * sizeof *sum);
  mica_parallel_for(c->engine, chunks, batch_sums_range, &job);
  combine_sums(c, chunks, cols, &job);
  if (job.passed) {
    job.gy = job.passed;
    job.relu = false;
  }
  if (!gx) return;
  for (int64_t i = 0; i < chunks; i++)
    for (int64_t j = 0; j < cols; j++) {
      sum[j] += job.gbias[i * cols + j];
      sum[cols + j] += job.ggain[i * cols + j];
    }
  if (!o->fixed) {
    job.sum_gy = sum;
    job.sum_gy_xhat = sum + cols;
  }
  mica_parallel_for(c->engine, chunks, batch_grad_range, &job);
}

static void batch_forward(const mica_call *c, const batch_context *o, void *mean, void *rstd,
                          void *y) {
  norm_job job = job_of(c);
  job.relu = o->relu;
  job.bias = c->in[2].data;
  job.residual = adds(c, o) ? c->in[RESIDUAL].data : NULL;
  job.y = y;
  job.mean = mean;
  job.rstd = rstd;
  mica_parallel_for(c->engine, chunks_of(job.rows, batch_rows(job.cols)), batch_range, &job);
}

static void batch_remake(mica_call *c) {
  batch_forward(c, c->ctx, c->saved[0], c->saved[1], c->out[0].data);
}

/* Mean and sum of squared deviations of every column, chunks merged in order; into doubles [cols].
 */
static bool column_statistics(mica_call *c, const mica_view *x, double **mean, double **m2) {
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x), chunk = batch_rows(cols);
  const int64_t chunks = chunks_of(rows, chunk);
  double *all = mica_call_scratch(c, 2 * (size_t)(chunks * cols) * sizeof *all);
  if (!all) return false;
  const mica_kernels *k = mica_kernels_of(c->engine, x->dtype);
  moments_job job = {k,   mica_dtype_size(x->dtype), rows, cols, x->row_stride, chunk, x->data,
                     all, all + chunks * cols};
  mica_parallel_for(c->engine, chunks, moments_range, &job);
  for (int64_t i = 1; i < chunks; i++) {
    int64_t from = i * chunk, more = rows - from < chunk ? rows - from : chunk;
    k->reduce->merge_moments(cols, (double)from, job.mean, job.m2, (double)more,
                             job.mean + i * cols, job.m2 + i * cols);
  }
  *mean = job.mean;
  *m2 = job.m2;
  return true;
}

/* The kernel does relu too, unless a replaced gradient of relu needs it by itself. */
static bool fuses_relu(const mica_tape *t, mica_activation act) {
  return act == MICA_RELU && !mica_overridden(t, "relu");
}

/* The activations that the kernel does not do itself come after it. */
static mica_var then(mica_tape *t, mica_activation act, mica_var y) {
  if (fuses_relu(t, act)) return mica_relu_made(t, y);
  return act == MICA_IDENTITY ? y : mica_activate(t, act, y);
}

/* in: x, gain, bias, and what is added */
static mica_var batch_train(mica_tape *t, const mica_op *op, int n_in, const mica_var *in,
                            double eps, mica_activation act, mica_var *mean_out,
                            mica_var *var_out) {
  if (mean_out) *mean_out = MICA_NONE;
  if (var_out) *var_out = MICA_NONE;
  mica_call c;
  if (!mica_call_begin_optional(&c, t, op, n_in, in, 6)) return MICA_NONE;
  const mica_view *x = &c.in[0];
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  if (!mica_is_float(x) || x->shape.rank < 2 || !gain_bias_fit(&c, cols))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected float [..,C], gain and bias [C] of the same type:");
  if (n_in > RESIDUAL &&
      (c.in[RESIDUAL].dtype != x->dtype || !mica_shape_equal(&c.in[RESIDUAL].shape, &x->shape)))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "what is added must have the input's shape and type:");
  if (!rows) return mica_call_fail(&c, MICA_ERR_SHAPE, "no rows to take statistics of:");
  const batch_context o = {fuses_relu(t, act), false};
  const size_t size = mica_dtype_size(x->dtype);
  const mica_view *y = mica_call_output(&c, x->dtype, x->shape);
  void *mean = mica_call_saved(&c, (size_t)cols * size),
       *rstd = mica_call_saved(&c, (size_t)cols * size);
  mica_call_context(&c, &o, sizeof o);
  double *m = NULL, *m2 = NULL;
  mica_var made[2] = {MICA_NONE, MICA_NONE};
  if (mica_ok(t) && column_statistics(&c, x, &m, &m2)) {
    const mica_kernels *k = mica_kernels_of(c.engine, x->dtype);
    for (int64_t j = 0; j < cols; j++) m2[j] /= (double)rows;
    const mica_view vm = mica_view_of(m, MICA_F64, MICA_SHAPE(cols));
    const mica_view vv = mica_view_of(m2, MICA_F64, MICA_SHAPE(cols));
    if (mean_out) made[0] = mica_cast(t, mica_constant(t, &vm), x->dtype);
    if (var_out) made[1] = mica_cast(t, mica_constant(t, &vv), x->dtype);
    k->reduce->combine(cols, 1, m, 1, mean);
    for (int64_t j = 0; j < cols; j++) m2[j] = 1 / sqrt(m2[j] + eps);
    k->reduce->combine(cols, 1, m2, 1, rstd);
    batch_forward(&c, &o, mean, rstd, y->data);
  }
  for (int i = 0; i < c.n_in; i++)
    if (c.in[i].data) mica_call_save_input(&c, i);
  mica_var result = mica_call_end(&c);
  if (!mica_ok(t)) return MICA_NONE;
  if (mean_out) *mean_out = made[0];
  if (var_out) *var_out = made[1];
  return then(t, act, result);
}

mica_var mica_batch_norm_train(mica_tape *t, mica_var x, mica_var gain, mica_var bias, double eps,
                               mica_activation act, mica_var *mean, mica_var *var) {
  return batch_train(t, &batch_train_op.op, 3, (mica_var[]){x, gain, bias}, eps, act, mean, var);
}

mica_var mica_batch_norm_add_train(mica_tape *t, mica_var x, mica_var gain, mica_var bias,
                                   mica_var residual, double eps, mica_activation act,
                                   mica_var *mean, mica_var *var) {
  residual = mica_contiguous(t, residual);
  return batch_train(t, &batch_add_op.op, 4, (mica_var[]){x, gain, bias, residual}, eps, act, mean,
                     var);
}

mica_var mica_batch_norm(mica_tape *t, mica_var xv, mica_var gain, mica_var bias, mica_var mean_in,
                         mica_var var_in, double eps, mica_activation act) {
  mica_call c;
  if (!mica_call_begin_optional(&c, t, &batch_op.op, 5,
                                (mica_var[]){xv, gain, bias, mean_in, var_in}, 6))
    return MICA_NONE;
  const mica_view *x = &c.in[0];
  const int64_t cols = mica_view_cols(x);
  if (!mica_is_float(x) || x->shape.rank < 1 || !gain_bias_fit(&c, cols) ||
      c.in[3].dtype != x->dtype || c.in[4].dtype != x->dtype || mica_view_count(&c.in[3]) != cols ||
      mica_view_count(&c.in[4]) != cols)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "gain, bias, mean and variance must be [channels] of the input's type:");
  if (mica_call_needs_grad(&c, 3) || mica_call_needs_grad(&c, 4))
    return mica_call_fail(&c, MICA_ERR_UNSUPPORTED,
                          "given statistics get no gradient; detach them:");
  for (int i = 1; i < 5; i++) mica_call_mixes(&c, i);
  const batch_context o = {fuses_relu(t, act), true};
  const size_t size = mica_dtype_size(x->dtype);
  const mica_view *y = mica_call_output(&c, x->dtype, x->shape);
  void *mean = mica_call_saved(&c, (size_t)cols * size),
       *rstd = mica_call_saved(&c, (size_t)cols * size);
  mica_call_context(&c, &o, sizeof o);
  if (mica_ok(t)) {
    memcpy(mean, c.in[3].data, (size_t)cols * size);
    const mica_view r = mica_view_of(rstd, x->dtype, MICA_SHAPE(cols));
    for (int64_t j = 0; j < cols; j++)
      mica_view_put(&r, j, 1 / sqrt(mica_view_element(&c.in[4], j) + eps));
    batch_forward(&c, &o, mean, rstd, y->data);
  }
  for (int i = 0; i < c.n_in; i++)
    if (c.in[i].data) mica_call_save_input(&c, i);
  return then(t, act, mica_call_end(&c));
}
