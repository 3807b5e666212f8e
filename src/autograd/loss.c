/* Losses: the mean over examples of what the kernels give for each row or element.
 *
 * Each is one operation from scores to a number: fused with the softmax where there is one, so that
 * nothing is lost to rounding and nothing of the size of the scores is stored.
 */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/ranges.h"
#include "tensor/element.h"
#include "tensor/kernel/elementwise.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/reduce.h"
#include "tensor/kernel/softmax.h"

#include <string.h>

static bool float_pair(const mica_view *a, const mica_view *b) {
  return a->dtype == b->dtype && (a->dtype == MICA_F32 || a->dtype == MICA_F64);
}

/* ---- cross-entropy with labels ---- */

typedef struct hard_context {
  double smoothing;
  int64_t ignore;
  double denominator; /* of the mean */
  bool per_example;
} hard_context;

/* Rows of a chunk: about as many elements as other maps take. */
static int64_t loss_rows(int64_t cols) {
  return cols < MICA_CHUNK ? MICA_CHUNK / cols : 1;
}

typedef struct hard_job {
  const mica_softmax_kernels *k;
  const mica_hard_labels *labels;
  size_t size;
  int64_t rows, cols, stride;
  const char *x;
  char *loss, *weight, *lse; /* backward: lse and what follows */
  int64_t *bad;              /* of each chunk, its first row with a wrong label; -1: none */
  const char *g;
  double g_all;
  bool streams;
  char *gx;
} hard_job;

static void hard_range(void *ctx, int64_t begin, int64_t end) {
  const hard_job *j = ctx;
  const int64_t chunk = loss_rows(j->cols);
  for (int64_t i = begin; i < end; i++) {
    const int64_t r = i * chunk, rows = j->rows - r < chunk ? j->rows - r : chunk;
    const size_t at = (size_t)r * j->size;
    mica_hard_labels labels = *j->labels;
    labels.label += r;
    const char *x = j->x + (size_t)(r * j->stride) * j->size;
    if (j->gx) {
      j->k->cross_entropy_grad(rows, j->cols, x, j->stride, &labels, j->lse + 2 * at,
                               j->g ? j->g + at : NULL, j->g_all, j->streams,
                               j->gx + (size_t)(r * j->cols) * j->size);
      continue;
    }
    const int64_t bad = j->k->cross_entropy(rows, j->cols, x, j->stride, &labels, j->loss + at,
                                            j->weight + at, j->lse + 2 * at);
    j->bad[i] = bad < 0 ? -1 : r + bad;
  }
}

static void hard_backward(mica_call *c) {
  const hard_context *o = c->ctx;
  const mica_view *x = &c->in[0], *gy = &c->grad_out[0];
  mica_view *gx = mica_call_grad(c, 0);
  if (!gx) return;
  const mica_hard_labels labels = {c->in[1].data, o->ignore, o->smoothing, c->in[2].data};
  hard_job job = {.k = mica_kernels_of(c->engine, x->dtype)->softmax,
                  .labels = &labels,
                  .size = mica_dtype_size(x->dtype),
                  .rows = mica_view_rows(x),
                  .cols = mica_view_cols(x),
                  .stride = x->row_stride,
                  .x = x->data,
                  .lse = c->saved[0],
                  .g = o->per_example ? gy->data : NULL,
                  .g_all = o->per_example ? 0 : mica_view_element(gy, 0) / o->denominator,
                  .streams = mica_streams((size_t)mica_view_count(gx) * mica_dtype_size(x->dtype)),
                  .gx = gx->data};
  mica_parallel_for(c->engine, (job.rows + loss_rows(job.cols) - 1) / loss_rows(job.cols),
                    hard_range, &job);
}

static const mica_op hard_op = {sizeof(mica_op), "cross_entropy",
                                MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE, hard_backward};

mica_var mica_cross_entropy(mica_tape *t, mica_var logits, mica_var labels, mica_var weights,
                            const mica_cross_entropy_options *given) {
  mica_cross_entropy_options o = MICA_CROSS_ENTROPY_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_call c;
  if (!mica_call_begin_optional(
          &c, t, &hard_op, 3,
          (mica_var[]){logits, mica_contiguous(t, labels), mica_contiguous(t, weights)}, 4))
    return MICA_NONE;
  const mica_view *x = &c.in[0], *l = &c.in[1], *w = &c.in[2];
  const int64_t rows = mica_view_rows(x), cols = mica_view_cols(x);
  if (!float_pair(x, x) || x->shape.rank < 1 || !cols)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float logits [..,C]:");
  if (l->dtype != MICA_I64 || mica_view_count(l) != rows || !mica_view_contiguous(l))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected %lld int64 labels:", (long long)rows);
  if (w->data && (w->dtype != x->dtype || mica_view_count(w) != cols || !mica_view_contiguous(w)))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected %lld class weights of the logits' type:", (long long)cols);
  if (!(o.smoothing >= 0 && o.smoothing <= 1))
    return mica_call_fail(&c, MICA_ERR_INVALID, "smoothing %g, expected 0 to 1:", o.smoothing);
  if (mica_call_needs_grad(&c, 2))
    return mica_call_fail(&c, MICA_ERR_UNSUPPORTED, "class weights get no gradient; detach them:");
  const size_t size = mica_dtype_size(x->dtype);
  mica_shape rows_shape = x->shape;
  rows_shape.rank--;
  const mica_view *y = mica_call_output(&c, x->dtype, o.per_example ? rows_shape : MICA_SCALAR);
  void *lse = mica_call_saved(&c, 2 * (size_t)rows * size);
  void *loss = o.per_example && y ? y->data : mica_call_scratch(&c, (size_t)rows * size);
  void *weight = mica_call_scratch(&c, (size_t)rows * size);
  const int64_t chunks = (rows + loss_rows(cols) - 1) / loss_rows(cols);
  int64_t *bad = mica_call_scratch(&c, (size_t)chunks * sizeof *bad);
  if (!o.per_example || x->shape.rank < 2) mica_call_mixes(&c, 0);
  mica_call_mixes(&c, 2);
  hard_context context = {o.smoothing, o.ignore_index, 1, o.per_example};
  if (mica_ok(t)) {
    const mica_kernels *k = mica_kernels_of(c.engine, x->dtype);
    const mica_hard_labels hard = {l->data, o.ignore_index, o.smoothing, w->data};
    hard_job job = {.k = k->softmax,
                    .labels = &hard,
                    .size = size,
                    .rows = rows,
                    .cols = cols,
                    .stride = x->row_stride,
                    .x = x->data,
                    .loss = loss,
                    .weight = weight,
                    .lse = lse,
                    .bad = bad};
    mica_parallel_for(c.engine, chunks, hard_range, &job);
    for (int64_t i = 0; i < chunks; i++)
      if (bad[i] >= 0)
        return mica_call_fail(&c, MICA_ERR_INVALID, "label %lld of row %lld, expected 0 to %lld:",
                              (long long)((const int64_t *)l->data)[bad[i]], (long long)bad[i],
                              (long long)cols - 1);
    if (!o.per_example) {
      context.denominator = k->reduce->sum(rows, weight);
      /* No example counts: 0 / 0 is NaN, as everywhere else in the field. */
      mica_view_put(y, 0, k->reduce->sum(rows, loss) / context.denominator);
    }
  }
  mica_call_context(&c, &context, sizeof context);
  mica_call_save_input(&c, 0);
  mica_call_save_input(&c, 1);
  if (w->data) mica_call_save_input(&c, 2);
  return mica_call_end(&c);
}

/* ---- cross-entropy with distributions ---- */

static void soft_backward(mica_call *c) {
  const mica_view *x = &c->in[0], *p = &c->in[1];
  mica_view *gx = mica_call_grad(c, 0), *gp = mica_call_grad(c, 1);
  const int64_t rows = mica_view_rows(x);
  const mica_kernels *k = mica_kernels_of(c->engine, x->dtype);
  k->softmax->soft_cross_entropy_grad(rows, mica_view_cols(x), x->data, x->row_stride, p->data,
                                      p->row_stride, c->saved[0], NULL,
                                      mica_view_element(&c->grad_out[0], 0) / (double)rows,
                                      gx ? gx->data : NULL, gp ? gp->data : NULL);
}

static const mica_op soft_op = {sizeof(mica_op), "soft_cross_entropy", MICA_OP_ROW_STRIDES,
                                soft_backward};

mica_var mica_soft_cross_entropy(mica_tape *t, mica_var logits, mica_var target) {
  mica_call c;
  if (!mica_call_begin(&c, t, &soft_op, 2, (mica_var[]){logits, target})) return MICA_NONE;
  const mica_view *x = &c.in[0], *p = &c.in[1];
  if (!float_pair(x, p) || x->shape.rank < 1 || !mica_shape_equal(&x->shape, &p->shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "expected logits and targets of one shape and float type:");
  const int64_t rows = mica_view_rows(x);
  const size_t size = mica_dtype_size(x->dtype);
  const mica_view *y = mica_call_output(&c, x->dtype, MICA_SCALAR);
  void *lse = mica_call_saved(&c, (size_t)rows * size),
       *loss = mica_call_scratch(&c, (size_t)rows * size);
  if (mica_ok(t)) {
    const mica_kernels *k = mica_kernels_of(c.engine, x->dtype);
    k->softmax->soft_cross_entropy(rows, mica_view_cols(x), x->data, x->row_stride, p->data,
                                   p->row_stride, loss, lse);
    mica_view_put(y, 0, k->reduce->sum(rows, loss) / (double)rows);
  }
  mica_call_save_input(&c, 0);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

/* ---- elementwise losses: a sum of f(a, b) over a count ---- */

typedef struct pair_context {
  mica_binary_op op;
  double parameter, count;
} pair_context;

#define PAIR_CHUNK 16384

typedef struct pair_job {
  const mica_kernels *k;
  const pair_context *o;
  size_t size;
  int64_t n;
  const char *a, *b;
  char *ga, *gb, *scratch;
  double *partial;
  double g;
} pair_job;

static void pair_range(void *ctx, int64_t begin, int64_t end) {
  const pair_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * PAIR_CHUNK, n = j->n - from < PAIR_CHUNK ? j->n - from : PAIR_CHUNK;
    const size_t at = (size_t)from * j->size;
    j->k->elementwise->binary(j->o->op, MICA_FORM_VV, n, j->a + at, j->b + at, j->scratch + at,
                              j->o->parameter);
    j->partial[i] = j->k->reduce->sum(n, j->scratch + at);
  }
}

static void pair_grad_range(void *ctx, int64_t begin, int64_t end) {
  const pair_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = i * PAIR_CHUNK, n = j->n - from < PAIR_CHUNK ? j->n - from : PAIR_CHUNK;
    const size_t at = (size_t)from * j->size;
    j->k->elementwise->fill(n, j->g, j->scratch + at);
    j->k->elementwise->binary_grad(j->o->op, MICA_FORM_VV, n, j->a + at, j->b + at, j->scratch + at,
                                   j->ga ? j->ga + at : NULL, j->gb ? j->gb + at : NULL,
                                   j->o->parameter);
  }
}

static void pair_backward(mica_call *c) {
  const pair_context *o = c->ctx;
  const mica_view *a = &c->in[0];
  mica_view *ga = mica_call_grad(c, 0), *gb = mica_call_grad(c, 1);
  const int64_t n = mica_view_count(a);
  const size_t size = mica_dtype_size(a->dtype);
  char *scratch = mica_call_scratch(c, (size_t)n * size);
  if (!scratch) return;
  pair_job job = {mica_kernels_of(c->engine, a->dtype),
                  o,
                  size,
                  n,
                  a->data,
                  c->in[1].data,
                  ga ? ga->data : NULL,
                  gb ? gb->data : NULL,
                  scratch,
                  NULL,
                  mica_view_element(&c->grad_out[0], 0) / o->count};
  mica_parallel_for(c->engine, (n + PAIR_CHUNK - 1) / PAIR_CHUNK, pair_grad_range, &job);
}

static mica_var pair_loss(mica_tape *t, const mica_op *op, mica_binary_op binary, double parameter,
                          mica_var va, mica_var vb, bool over_rows) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 2, (mica_var[]){va, vb})) return MICA_NONE;
  const mica_view *a = &c.in[0], *b = &c.in[1];
  if (!float_pair(a, b) || !mica_shape_equal(&a->shape, &b->shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected two tensors of one shape and float type:");
  const int64_t n = mica_view_count(a), chunks = (n + PAIR_CHUNK - 1) / PAIR_CHUNK;
  const pair_context o = {binary, parameter, (double)(over_rows ? mica_view_rows(a) : n)};
  const size_t size = mica_dtype_size(a->dtype);
  const mica_view *y = mica_call_output(&c, a->dtype, MICA_SCALAR);
  double *partial = mica_call_scratch(&c, (size_t)chunks * sizeof *partial);
  char *scratch = mica_call_scratch(&c, (size_t)n * size);
  if (mica_ok(t)) {
    pair_job job = {mica_kernels_of(c.engine, a->dtype),
                    &o,
                    size,
                    n,
                    a->data,
                    b->data,
                    NULL,
                    NULL,
                    scratch,
                    partial,
                    0};
    mica_parallel_for(c.engine, chunks, pair_range, &job);
    double sum = 0;
    for (int64_t i = 0; i < chunks; i++) sum += partial[i];
    mica_view_put(y, 0, sum / o.count);
  }
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_input(&c, 0);
  mica_call_save_input(&c, 1);
  return mica_call_end(&c);
}

static const mica_op bce_op = {sizeof(mica_op), "bce", 0, pair_backward};
static const mica_op mse_op = {sizeof(mica_op), "mse", 0, pair_backward};
static const mica_op l1_op = {sizeof(mica_op), "l1", 0, pair_backward};
static const mica_op huber_op = {sizeof(mica_op), "huber", 0, pair_backward};
static const mica_op kl_op = {sizeof(mica_op), "kl", 0, pair_backward};

mica_var mica_bce(mica_tape *t, mica_var logits, mica_var target) {
  return pair_loss(t, &bce_op, MICA_BINARY_BCE_LOGITS, 0, logits, target, false);
}
mica_var mica_weighted_bce(mica_tape *t, mica_var x, mica_var y, mica_var w) {
  const mica_view vx = mica_read(t, x), vy = mica_read(t, y), vw = mica_read(t, w);
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_shape_equal(&vx.shape, &vy.shape) || vx.shape.rank < 1 || vw.shape.rank != 1 ||
      vw.shape.dim[0] != mica_view_cols(&vx)) {
    char a[96], b[96], c[96];
    return mica_latch(t, MICA_ERR_SHAPE,
                      "weighted_bce: expected logits and targets [..,C] and weights [C]: %s %s %s",
                      mica_shape_text(&vx.shape, a, sizeof a),
                      mica_shape_text(&vy.shape, b, sizeof b),
                      mica_shape_text(&vw.shape, c, sizeof c));
  }
  mica_scope_begin(t, NULL);
  mica_var weight = mica_affine(t, mica_mul(t, y, mica_affine(t, w, 1, -1)), 1, 1);
  mica_var positive = mica_mul(t, weight, mica_softplus(t, mica_neg(t, x)));
  mica_var sum = mica_add(t, mica_mul(t, mica_affine(t, y, -1, 1), x), positive);
  return mica_scope_end(t, mica_mean(t, sum, 0, NULL, false));
}
mica_var mica_mse(mica_tape *t, mica_var x, mica_var target) {
  return pair_loss(t, &mse_op, MICA_BINARY_SQUARED_DIFFERENCE, 0, x, target, false);
}
mica_var mica_l1(mica_tape *t, mica_var x, mica_var target) {
  return pair_loss(t, &l1_op, MICA_BINARY_ABS_DIFFERENCE, 0, x, target, false);
}
mica_var mica_huber(mica_tape *t, mica_var x, mica_var target, double delta) {
  if (mica_ok(t) && !(delta > 0))
    return mica_latch(t, MICA_ERR_INVALID, "huber: delta %g, expected > 0", delta);
  return pair_loss(t, &huber_op, MICA_BINARY_HUBER, delta, x, target, false);
}
mica_var mica_kl(mica_tape *t, mica_var log_q, mica_var p) {
  return pair_loss(t, &kl_op, MICA_BINARY_KL, 0, log_q, p, true);
}
