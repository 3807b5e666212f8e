/* Operations of one input, element by element. */
#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"
#include "tensor/kernel/elementwise.h"

typedef struct unary_context {
  mica_unary_op op;
  double a, b;
} unary_context;

typedef struct unary_job {
  const mica_elementwise_kernels *k;
  const mica_copy_kernels *copy;
  const unary_context *o;
  size_t size;
  int64_t n;
  const char *x, *y, *gy;
  char *out;
} unary_job;

static const char *at(const char *p, size_t offset) {
  return p ? p + offset : NULL;
}

/* Elements of job j from `first` on. */
static void unary_run(const unary_job *j, int64_t first, int64_t n, char *out) {
  const size_t o = (size_t)first * j->size;
  if (j->gy)
    j->k->unary_grad(j->o->op, n, at(j->x, o), at(j->y, o), j->gy + o, out, j->o->a, j->o->b);
  else
    j->k->unary(j->o->op, n, j->x + o, out, j->o->a, j->o->b);
}

static void unary_range(void *ctx, int64_t begin, int64_t end) {
  const unary_job *j = ctx;
  const int64_t first = begin * MICA_CHUNK;
  const int64_t last = end * MICA_CHUNK < j->n ? end * MICA_CHUNK : j->n;
  if (!mica_streams((size_t)j->n * j->size)) {
    unary_run(j, first, last - first, j->out + (size_t)first * j->size);
    return;
  }
  _Alignas(64) char block[MICA_STREAM_BLOCK];
  const int64_t each = MICA_STREAM_BLOCK / (int64_t)j->size;
  for (int64_t i = first; i < last; i += each) {
    const int64_t n = last - i < each ? last - i : each;
    unary_run(j, i, n, block);
    j->copy->stream(n, block, j->out + (size_t)i * j->size);
  }
  j->copy->stream_end();
}

/* Forward where gy is NULL. */
static void unary_all(const mica_engine *engine, const unary_context *o, const mica_view *like,
                      const void *x, const void *y, const void *gy, void *out) {
  const mica_kernels *k = mica_kernels_of(engine, like->dtype);
  unary_job job = {.k = k->elementwise,
                   .copy = k->copy,
                   .o = o,
                   .size = mica_dtype_size(like->dtype),
                   .n = mica_view_count(like),
                   .x = x,
                   .y = y,
                   .gy = gy,
                   .out = out};
  mica_parallel_for(engine, mica_chunks(job.n), unary_range, &job);
}

static void unary_backward(mica_call *c) {
  mica_view *gx = mica_call_grad_over(c, 0, 0);
  if (gx)
    unary_all(c->engine, c->ctx, gx, c->in[0].data, c->out[0].data, c->grad_out[0].data, gx->data);
}

static void unary_remake(mica_call *c) {
  unary_all(c->engine, c->ctx, &c->in[0], c->in[0].data, NULL, NULL, c->out[0].data);
}

/* One operation a function, so that errors, profiles and overrides know them by name. */
#define UNARY_OP(symbol)                                                                           \
  static const remade_op symbol##_op = {                                                           \
      {sizeof(mica_op), #symbol, MICA_OP_BY_EXAMPLE | MICA_OP_REMADE, unary_backward},             \
      unary_remake};
#define FLAT_OP(symbol)                                                                            \
  static const mica_op symbol##_op = {sizeof(mica_op), #symbol, MICA_OP_BY_EXAMPLE, NULL};

static mica_var unary(mica_tape *t, const mica_op *op, mica_unary_op kind, mica_var x, double a,
                      double b) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 1, &x)) return MICA_NONE;
  const mica_view *v = &c.in[0];
  if (!mica_is_float(v))
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s, expected float32 or float64:", mica_dtype_name(v->dtype));
  const unary_context o = {kind, a, b};
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  if (y) unary_all(c.engine, &o, v, v->data, NULL, NULL, y->data);
  mica_call_context(&c, &o, sizeof o);
  const int reads = mica_unary_grad_reads(kind);
  if (reads & MICA_UNARY_READS_X) mica_call_save_input(&c, 0);
  if (reads & MICA_UNARY_READS_Y) mica_call_save_output(&c, 0);
  return mica_call_end(&c);
}

#define UNARY(symbol, kind)                                                                        \
  UNARY_OP(symbol)                                                                                 \
  mica_var mica_##symbol(mica_tape *t, mica_var x) {                                               \
    return unary(t, &symbol##_op.op, kind, x, 0, 0);                                               \
  }
#define FLAT(symbol, kind)                                                                         \
  FLAT_OP(symbol)                                                                                  \
  mica_var mica_##symbol(mica_tape *t, mica_var x) {                                               \
    return unary(t, &symbol##_op, kind, x, 0, 0);                                                  \
  }

UNARY(neg, MICA_UNARY_NEG)
UNARY(abs, MICA_UNARY_ABS)
UNARY(exp, MICA_UNARY_EXP)
UNARY(expm1, MICA_UNARY_EXPM1)
UNARY(log, MICA_UNARY_LOG)
UNARY(log1p, MICA_UNARY_LOG1P)
UNARY(sqrt, MICA_UNARY_SQRT)
UNARY(rsqrt, MICA_UNARY_RSQRT)
UNARY(reciprocal, MICA_UNARY_RECIPROCAL)
UNARY(square, MICA_UNARY_SQUARE)
UNARY(sin, MICA_UNARY_SIN)
UNARY(cos, MICA_UNARY_COS)
UNARY(tanh, MICA_UNARY_TANH)
UNARY(erf, MICA_UNARY_ERF)
UNARY(sigmoid, MICA_UNARY_SIGMOID)
UNARY(log_sigmoid, MICA_UNARY_LOG_SIGMOID)
UNARY(softplus, MICA_UNARY_SOFTPLUS)
UNARY_OP(relu)
mica_var mica_relu(mica_tape *t, mica_var x) {
  return mica_relu_made(t, unary(t, &relu_op.op, MICA_UNARY_RELU, x, 0, 0));
}

static const mica_op relu_there_op = {sizeof(mica_op), "relu", MICA_OP_BY_EXAMPLE, unary_backward};

mica_var mica_relu_there(mica_tape *t, mica_var y) {
  mica_call c;
  if (!mica_call_begin(&c, t, &relu_there_op, 1, &y)) return MICA_NONE;
  const unary_context o = {MICA_UNARY_RELU, 0, 0};
  mica_call_output_alias(&c, 0, 0, c.in[0].shape, mica_view_cols(&c.in[0]));
  mica_call_context(&c, &o, sizeof o);
  mica_call_save_output(&c, 0);
  return mica_relu_made(t, mica_call_end(&c));
}
UNARY(selu, MICA_UNARY_SELU)
UNARY(gelu, MICA_UNARY_GELU)
UNARY(gelu_tanh, MICA_UNARY_GELU_TANH)
UNARY(silu, MICA_UNARY_SILU)
UNARY(mish, MICA_UNARY_MISH)
UNARY(hard_sigmoid, MICA_UNARY_HARD_SIGMOID)
UNARY(hard_swish, MICA_UNARY_HARD_SWISH)
UNARY(soft_sign, MICA_UNARY_SOFT_SIGN)
UNARY(tanh_shrink, MICA_UNARY_TANH_SHRINK)
UNARY(squared_relu, MICA_UNARY_SQUARED_RELU)
FLAT(sign, MICA_UNARY_SIGN)
FLAT(step, MICA_UNARY_STEP)
FLAT(floor, MICA_UNARY_FLOOR)
FLAT(round, MICA_UNARY_ROUND)

UNARY_OP(leaky_relu)
mica_var mica_leaky_relu(mica_tape *t, mica_var x, double slope) {
  return unary(t, &leaky_relu_op.op, MICA_UNARY_LEAKY_RELU, x, slope, 0);
}
UNARY_OP(elu)
mica_var mica_elu(mica_tape *t, mica_var x, double alpha) {
  return unary(t, &elu_op.op, MICA_UNARY_ELU, x, alpha, 0);
}
UNARY_OP(swish)
mica_var mica_swish(mica_tape *t, mica_var x, double beta) {
  return unary(t, &swish_op.op, MICA_UNARY_SWISH, x, beta, 0);
}
UNARY_OP(celu)
mica_var mica_celu(mica_tape *t, mica_var x, double alpha) {
  if (mica_ok(t) && !(alpha > 0))
    return mica_latch(t, MICA_ERR_INVALID, "celu: alpha %g, expected > 0", alpha);
  return unary(t, &celu_op.op, MICA_UNARY_CELU, x, alpha, 0);
}

static mica_var shrink(mica_tape *t, const mica_op *op, mica_unary_op kind, mica_var x,
                       double lambda) {
  if (mica_ok(t) && !(lambda >= 0))
    return mica_latch(t, MICA_ERR_INVALID, "%s: lambda %g, expected >= 0", op->name, lambda);
  return unary(t, op, kind, x, lambda, 0);
}
UNARY_OP(soft_shrink)
mica_var mica_soft_shrink(mica_tape *t, mica_var x, double lambda) {
  return shrink(t, &soft_shrink_op.op, MICA_UNARY_SOFT_SHRINK, x, lambda);
}
UNARY_OP(hard_shrink)
mica_var mica_hard_shrink(mica_tape *t, mica_var x, double lambda) {
  return shrink(t, &hard_shrink_op.op, MICA_UNARY_HARD_SHRINK, x, lambda);
}
UNARY_OP(clamp)
mica_var mica_clamp(mica_tape *t, mica_var x, double lo, double hi) {
  return unary(t, &clamp_op.op, MICA_UNARY_CLAMP, x, lo, hi);
}
UNARY_OP(pow_scalar)
mica_var mica_pow_scalar(mica_tape *t, mica_var x, double p) {
  return unary(t, &pow_scalar_op.op, MICA_UNARY_POW, x, p, 0);
}
UNARY_OP(affine)
mica_var mica_affine(mica_tape *t, mica_var x, double scale, double shift) {
  return unary(t, &affine_op.op, MICA_UNARY_AFFINE, x, scale, shift);
}

mica_var mica_activate(mica_tape *t, mica_activation kind, mica_var x) {
  switch (kind) {
  case MICA_IDENTITY: return x;
  case MICA_RELU: return mica_relu(t, x);
  case MICA_GELU: return mica_gelu(t, x);
  case MICA_GELU_TANH: return mica_gelu_tanh(t, x);
  case MICA_SILU: return mica_silu(t, x);
  case MICA_SIGMOID: return mica_sigmoid(t, x);
  case MICA_TANH: return mica_tanh(t, x);
  case MICA_LEAKY_RELU: return mica_leaky_relu(t, x, 0.01);
  case MICA_ELU: return mica_elu(t, x, 1);
  case MICA_SELU: return mica_selu(t, x);
  case MICA_SOFTPLUS: return mica_softplus(t, x);
  case MICA_MISH: return mica_mish(t, x);
  case MICA_HARD_SIGMOID: return mica_hard_sigmoid(t, x);
  case MICA_HARD_SWISH: return mica_hard_swish(t, x);
  case MICA_RELU6: return mica_clamp(t, x, 0, 6);
  case MICA_HARD_TANH: return mica_clamp(t, x, -1, 1);
  case MICA_QUICK_GELU: return mica_swish(t, x, 1.702);
  case MICA_CELU: return mica_celu(t, x, 1);
  case MICA_SOFT_SIGN: return mica_soft_sign(t, x);
  case MICA_TANH_SHRINK: return mica_tanh_shrink(t, x);
  case MICA_SQUARED_RELU: return mica_squared_relu(t, x);
  }
  return mica_latch(t, MICA_ERR_INVALID, "activate: unknown activation %d", (int)kind);
}

/* ---- with a second input ---- */

mica_var mica_prelu(mica_tape *t, mica_var x, mica_var slope) {
  const mica_view vx = mica_read(t, x), vs = mica_read(t, slope);
  if (!mica_ok(t)) return MICA_NONE;
  const int64_t n = mica_view_count(&vs);
  if (vs.shape.rank != 1 || (n != 1 && (vx.shape.rank < 1 || n != mica_view_cols(&vx)))) {
    char a[96], b[96];
    return mica_latch(t, MICA_ERR_SHAPE, "prelu: slope %s for x %s, expected [1] or [channels]",
                      mica_shape_text(&vs.shape, a, sizeof a),
                      mica_shape_text(&vx.shape, b, sizeof b));
  }
  mica_scope_begin(t, NULL);
  const mica_var below = mica_mul(t, mica_relu(t, mica_neg(t, x)), slope);
  return mica_scope_end(t, mica_sub(t, mica_relu(t, x), below));
}

mica_var mica_glu(mica_tape *t, mica_var x, mica_activation act) {
  const mica_view v = mica_read(t, x);
  if (!mica_ok(t)) return MICA_NONE;
  const int64_t width = v.shape.rank ? mica_view_cols(&v) : 1;
  if (width % 2)
    return mica_latch(t, MICA_ERR_SHAPE, "glu: %lld channels have no two halves", (long long)width);
  mica_scope_begin(t, NULL);
  const mica_var gate = mica_activate(t, act, mica_slice(t, x, -1, width / 2, width));
  return mica_scope_end(t, mica_mul(t, mica_slice(t, x, -1, 0, width / 2), gate));
}

/* ---- another element type ---- */

static void cast_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (gx && mica_convert_view(c->engine, gx, &c->grad_out[0]) != MICA_OK)
    mica_latch(c->tape, mica_last_status(), "cast backward: %s", mica_last_error());
}

static const mica_op cast_op = {sizeof(mica_op), "cast", MICA_OP_ROW_STRIDES | MICA_OP_BY_EXAMPLE,
                                cast_backward};

mica_var mica_cast(mica_tape *t, mica_var x, mica_dtype dtype) {
  mica_call c;
  if (!mica_call_begin(&c, t, &cast_op, 1, &x)) return MICA_NONE;
  if (!mica_dtype_size(dtype))
    return mica_call_fail(&c, MICA_ERR_INVALID, "unknown type %d:", (int)dtype);
  const mica_view *y = mica_call_output(&c, dtype, c.in[0].shape);
  if (y && mica_convert_view(c.engine, y, &c.in[0]) != MICA_OK)
    return mica_call_fail(&c, mica_last_status(), "%s", mica_last_error());
  return mica_call_end(&c);
}
