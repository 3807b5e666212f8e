/* Operations of two inputs with NumPy's broadcasting.
 *
 * Four cases read an operand where it lies: equal shapes, one element against all, an operand that
 * repeats as a whole ([C] against [..,C]), and one that holds along the last dimensions ([N,1]
 * against [N,C]). Other operands, and those whose runs would be too short for a loop, are first
 * written out at the result's shape. In backward the gradients at the result's shape are summed
 * over what was broadcast.
 */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"
#include "tensor/kernel/elementwise.h"

typedef struct binary_context {
  mica_binary_op op;
} binary_context;

/* Elements for which starting a loop pays. */
#define RUN_LENGTH 32
/* What repeats is written out to a length of at least this. */
#define PERIOD 512

/* How an operand meets the result's element i: x[i], x[0], x[i % period], x[i / period]. */
typedef enum meeting { EACH, ONCE, REPEATS, HOLDS } meeting;

typedef struct operand {
  meeting how;
  int64_t period;
  const char *x;
} operand;

typedef struct binary_job {
  const mica_elementwise_kernels *k;
  mica_binary_op op;
  size_t size;
  int64_t n;
  operand a, b;
  const char *gy;
  char *y, *ga, *gb;
} binary_job;

/* The operand at element i, and not beyond *n elements what can be read from there. */
static const char *from(const operand *o, int64_t i, size_t size, int64_t *n) {
  int64_t at = o->how == EACH ? i : 0, left = *n;
  if (o->how == REPEATS) at = i % o->period;
  if (o->how == HOLDS) at = i / o->period;
  if (o->how == REPEATS || o->how == HOLDS) left = o->period - i % o->period;
  if (left < *n) *n = left;
  return o->x + (size_t)at * size;
}

static bool single(const operand *o) {
  return o->how == ONCE || o->how == HOLDS;
}

static void binary_range(void *ctx, int64_t begin, int64_t end) {
  const binary_job *j = ctx;
  const mica_form form = single(&j->a) ? MICA_FORM_SV : single(&j->b) ? MICA_FORM_VS : MICA_FORM_VV;
  const int64_t to = end * MICA_CHUNK < j->n ? end * MICA_CHUNK : j->n;
  for (int64_t i = begin * MICA_CHUNK; i < to;) {
    int64_t n = to - i;
    const char *a = from(&j->a, i, j->size, &n), *b = from(&j->b, i, j->size, &n);
    const size_t o = (size_t)i * j->size;
    if (j->y)
      j->k->binary(j->op, form, n, a, b, j->y + o, 0);
    else
      j->k->binary_grad(j->op, form, n, a, b, j->gy + o, j->ga ? j->ga + o : NULL,
                        j->gb ? j->gb + o : NULL, 0);
    i += n;
  }
}

/* The elements of the dimensions that x shares with y, when these are y's last (after what is 1 in
 * x) or its first (before): 0 when they are neither. */
static int64_t shared_last(const mica_shape *x, const mica_shape *y) {
  int64_t n = 1;
  int d = y->rank, i = x->rank;
  for (; d > 0 && i > 0 && x->dim[i - 1] == y->dim[d - 1]; d--, i--) n *= y->dim[d - 1];
  for (; i > 0; i--)
    if (x->dim[i - 1] != 1) return 0;
  return n;
}
static int64_t shared_first(const mica_shape *x, const mica_shape *y) {
  int64_t n = 1;
  int d = 0;
  if (x->rank != y->rank) return 0;
  for (; d < y->rank && x->dim[d] == y->dim[d]; d++) n *= y->dim[d];
  for (; d < y->rank; d++)
    if (x->dim[d] != 1) return 0;
  return n;
}

/* x at the result's shape, or repeated so often that its runs are long. */
static operand write_out(mica_call *c, const mica_view *x, const mica_shape *y, bool repeats) {
  const int64_t n = mica_shape_count(y), m = mica_view_count(x);
  const int64_t times = (PERIOD + m - 1) / m;
  mica_shape shape = repeats && times * m < n ? MICA_SHAPE(times, m) : *y;
  int64_t step[MICA_MAX_RANK];
  if (repeats && times * m < n)
    step[0] = 0, step[1] = 1;
  else
    mica_broadcast_steps(&x->shape, y, step);
  operand o = {EACH, n, NULL};
  void *full = mica_call_scratch(c, (size_t)mica_shape_count(&shape) * mica_dtype_size(x->dtype));
  if (!full) return o;
  mica_strided_copy(c->engine, x->dtype, &shape, step, x->data, full);
  o.x = full;
  o.period = mica_shape_count(&shape);
  if (o.period < n) o.how = REPEATS;
  return o;
}

/* `alone`: the other operand has the result's size, so this one may be a single element a run. */
static operand meet(mica_call *c, const mica_view *x, const mica_shape *y, bool alone) {
  const int64_t n = mica_shape_count(y), m = mica_view_count(x);
  operand o = {EACH, n, x->data};
  if (!x->data || n == m) return o;
  if (m == 1) {
    o.how = ONCE;
    return o;
  }
  const bool repeats = shared_last(&x->shape, y) == m;
  if (repeats && m >= RUN_LENGTH) {
    o.how = REPEATS;
    o.period = m;
    return o;
  }
  if (alone && shared_first(&x->shape, y) == m && n / m >= RUN_LENGTH) {
    o.how = HOLDS;
    o.period = n / m;
    return o;
  }
  return write_out(c, x, y, repeats);
}

static bool prepare(mica_call *c, mica_binary_op op, const mica_shape *y, binary_job *j) {
  const mica_view *a = &c->in[0], *b = &c->in[1];
  *j = (binary_job){.k = mica_kernels_of(c->engine, a->dtype)->elementwise,
                    .op = op,
                    .size = mica_dtype_size(a->dtype),
                    .n = mica_shape_count(y)};
  if (!j->n) return true;
  j->a = meet(c, a, y, mica_view_count(b) == j->n);
  j->b = meet(c, b, y, mica_view_count(a) == j->n);
  return mica_ok(c->tape);
}

static void binary_backward(mica_call *c) {
  const binary_context *o = c->ctx;
  const mica_view *gy = &c->grad_out[0];
  const size_t bytes = (size_t)mica_view_count(gy) * mica_dtype_size(gy->dtype);
  binary_job j;
  if (!prepare(c, o->op, &gy->shape, &j)) return;
  j.gy = gy->data;
  /* Where nothing was broadcast the gradient is written in place. */
  mica_view *g[2] = {mica_call_grad(c, 0), mica_call_grad(c, 1)};
  char *full[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++)
    if (g[i]) full[i] = mica_view_count(g[i]) == j.n ? g[i]->data : mica_call_scratch(c, bytes);
  if (!mica_ok(c->tape)) return;
  j.ga = full[0];
  j.gb = full[1];
  mica_parallel_for(c->engine, mica_chunks(j.n), binary_range, &j);
  for (int i = 0; i < 2; i++)
    if (g[i] && full[i] != g[i]->data &&
        !mica_sum_to(c, gy->dtype, full[i], &gy->shape, g[i]->data, &g[i]->shape))
      return;
}

typedef struct minus_job {
  const mica_elementwise_kernels *k;
  size_t size;
  int64_t n;
  const char *x;
  char *y;
} minus_job;

static void minus_range(void *ctx, int64_t begin, int64_t end) {
  const minus_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const size_t o = (size_t)(i * MICA_CHUNK) * j->size;
    j->k->scale(mica_chunk_length(j->n, i), -1, j->x + o, j->y + o);
  }
}

static void minus(const mica_engine *engine, const mica_view *y, const void *x) {
  minus_job job = {mica_kernels_of(engine, y->dtype)->elementwise, mica_dtype_size(y->dtype),
                   mica_view_count(y), x, y->data};
  mica_parallel_for(engine, mica_chunks(job.n), minus_range, &job);
}

/* Sums and differences need no inputs, and equal shapes no copy. */
static void linear_backward(mica_call *c) {
  const binary_context *o = c->ctx;
  const mica_view *gy = &c->grad_out[0];
  for (int i = 0; i < 2; i++) {
    if (!mica_call_needs_grad(c, i)) continue;
    const bool same = mica_view_count(&c->in[i]) == mica_view_count(gy);
    const bool negate = i == 1 && o->op == MICA_BINARY_SUB;
    if (same && !negate) {
      mica_call_grad_pass(c, i, 0);
      continue;
    }
    mica_view *g = mica_call_grad(c, i);
    if (!g) return;
    if (!same && !mica_sum_to(c, gy->dtype, gy->data, &gy->shape, g->data, &g->shape)) return;
    if (negate) minus(c->engine, g, same ? gy->data : g->data);
  }
}

static mica_var binary(mica_tape *t, const mica_op *op, mica_binary_op kind, mica_var a,
                       mica_var b) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 2, (mica_var[]){a, b})) return MICA_NONE;
  mica_shape shape;
  if (!mica_is_float(&c.in[0]) || c.in[0].dtype != c.in[1].dtype)
    return mica_call_fail(&c, MICA_ERR_SHAPE,
                          "%s and %s, expected one float type:", mica_dtype_name(c.in[0].dtype),
                          mica_dtype_name(c.in[1].dtype));
  if (!mica_broadcast_shape(&c.in[0].shape, &c.in[1].shape, &shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "shapes do not broadcast:");
  for (int i = 0; i < 2; i++)
    if (c.in[i].shape.rank != shape.rank || (shape.rank && c.in[i].shape.dim[0] != shape.dim[0]))
      mica_call_mixes(&c, i);
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, shape);
  binary_job j;
  if (y && prepare(&c, kind, &shape, &j)) {
    j.y = y->data;
    if (j.n) mica_parallel_for(c.engine, mica_chunks(j.n), binary_range, &j);
  }
  const binary_context o = {kind};
  mica_call_context(&c, &o, sizeof o);
  if (op->backward == binary_backward) {
    mica_call_save_input(&c, 0);
    mica_call_save_input(&c, 1);
  }
  return mica_call_end(&c);
}

#define BINARY(symbol, kind, backward)                                                             \
  static const mica_op symbol##_op = {sizeof(mica_op), #symbol, MICA_OP_BY_EXAMPLE, backward};     \
  mica_var mica_##symbol(mica_tape *t, mica_var a, mica_var b) {                                   \
    return binary(t, &symbol##_op, kind, a, b);                                                    \
  }

BINARY(add, MICA_BINARY_ADD, linear_backward)
BINARY(sub, MICA_BINARY_SUB, linear_backward)
BINARY(mul, MICA_BINARY_MUL, binary_backward)
BINARY(div, MICA_BINARY_DIV, binary_backward)
BINARY(pow, MICA_BINARY_POW, binary_backward)
BINARY(maximum, MICA_BINARY_MAX, binary_backward)
BINARY(minimum, MICA_BINARY_MIN, binary_backward)
BINARY(equal, MICA_BINARY_EQ, NULL)
BINARY(less, MICA_BINARY_LT, NULL)

/* ---- where ---- */

typedef struct where_job {
  const mica_elementwise_kernels *k;
  size_t size;
  int64_t n;
  const char *cond, *a, *b, *gy;
  char *y, *ga, *gb;
} where_job;

static void where_range(void *ctx, int64_t begin, int64_t end) {
  const where_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const size_t o = (size_t)(i * MICA_CHUNK) * j->size;
    const int64_t n = mica_chunk_length(j->n, i);
    if (j->y)
      j->k->where(n, j->cond + o, j->a + o, j->b + o, j->y + o);
    else
      j->k->where_grad(n, j->cond + o, j->gy + o, j->ga ? j->ga + o : NULL,
                       j->gb ? j->gb + o : NULL);
  }
}

static void where_backward(mica_call *c) {
  const mica_view *gy = &c->grad_out[0];
  mica_view *ga = mica_call_grad(c, 1), *gb = mica_call_grad(c, 2);
  if (!mica_ok(c->tape)) return;
  where_job job = {.k = mica_kernels_of(c->engine, gy->dtype)->elementwise,
                   .size = mica_dtype_size(gy->dtype),
                   .n = mica_view_count(gy),
                   .cond = c->in[0].data,
                   .gy = gy->data,
                   .ga = ga ? ga->data : NULL,
                   .gb = gb ? gb->data : NULL};
  mica_parallel_for(c->engine, mica_chunks(job.n), where_range, &job);
}

static const mica_op where_op = {sizeof(mica_op), "where", MICA_OP_BY_EXAMPLE, where_backward};

static mica_var where_same(mica_tape *t, mica_var cond, mica_var a, mica_var b) {
  mica_call c;
  if (!mica_call_begin(&c, t, &where_op, 3, (mica_var[]){cond, a, b})) return MICA_NONE;
  const mica_view *v = &c.in[1];
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  if (y) {
    where_job job = {.k = mica_kernels_of(c.engine, v->dtype)->elementwise,
                     .size = mica_dtype_size(v->dtype),
                     .n = mica_view_count(v),
                     .cond = c.in[0].data,
                     .a = v->data,
                     .b = c.in[2].data,
                     .y = y->data};
    mica_parallel_for(c.engine, mica_chunks(job.n), where_range, &job);
  }
  mica_call_save_input(&c, 0);
  return mica_call_end(&c);
}

mica_var mica_where(mica_tape *t, mica_var cond, mica_var a, mica_var b) {
  const mica_view vc = mica_read(t, cond), va = mica_read(t, a), vb = mica_read(t, b);
  mica_shape ab, shape;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_is_float(&va) || va.dtype != vb.dtype)
    return mica_latch(t, MICA_ERR_SHAPE, "where: %s and %s, expected one float type",
                      mica_dtype_name(va.dtype), mica_dtype_name(vb.dtype));
  if (!mica_broadcast_shape(&va.shape, &vb.shape, &ab) ||
      !mica_broadcast_shape(&ab, &vc.shape, &shape))
    return mica_latch(t, MICA_ERR_SHAPE, "where: shapes do not broadcast");
  mica_scope_begin(t, NULL);
  if (vc.dtype != va.dtype) cond = mica_cast(t, cond, va.dtype);
  if (!mica_shape_equal(&vc.shape, &shape)) cond = mica_expand(t, cond, shape);
  if (!mica_shape_equal(&va.shape, &shape)) a = mica_expand(t, a, shape);
  if (!mica_shape_equal(&vb.shape, &shape)) b = mica_expand(t, b, shape);
  return mica_scope_end(t, where_same(t, mica_detach(t, cond), a, b));
}

mica_var mica_masked_fill(mica_tape *t, mica_var x, mica_var mask, double value) {
  const mica_view vx = mica_read(t, x), vm = mica_read(t, mask);
  mica_shape shape;
  if (!mica_ok(t)) return MICA_NONE;
  if (!mica_broadcast_shape(&vx.shape, &vm.shape, &shape) || !mica_shape_equal(&shape, &vx.shape)) {
    char a[96], b[96];
    return mica_latch(t, MICA_ERR_SHAPE, "masked_fill: the mask %s does not broadcast to %s",
                      mica_shape_text(&vm.shape, a, sizeof a),
                      mica_shape_text(&vx.shape, b, sizeof b));
  }
  mica_scope_begin(t, NULL);
  const mica_var filling = mica_full(t, vx.dtype, MICA_SCALAR, value);
  return mica_scope_end(t, mica_where(t, mask, filling, x));
}
