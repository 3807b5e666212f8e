/* Operations of two inputs with NumPy's broadcasting.
 *
 * Three cases run without copies: equal shapes, one element against all, and an operand that
 * repeats as a whole ([C] against [..,C]). Other operands are first written out at the result's
 * shape. In backward the gradients at the result's shape are summed over what was broadcast.
 */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"
#include "tensor/kernel/elementwise.h"

typedef struct binary_context {
  mica_binary_op op;
} binary_context;

typedef struct binary_job {
  const mica_elementwise_kernels *k;
  mica_binary_op op;
  mica_form form;
  size_t size;
  int64_t n, period; /* an operand that repeats does so every `period` elements; else n */
  bool a_repeats, b_repeats;
  const char *a, *b, *gy;
  char *y, *ga, *gb;
} binary_job;

/* Elements [from, to) in pieces within which no repeating operand begins anew. */
static void pieces(const binary_job *j, int64_t from, int64_t to) {
  while (from < to) {
    const int64_t in = from % j->period, left = j->period - in,
                  n = to - from < left ? to - from : left;
    const size_t o = (size_t)from * j->size, r = (size_t)in * j->size;
    const char *a = j->form == MICA_FORM_SV ? j->a : j->a + (j->a_repeats ? r : o);
    const char *b = j->form == MICA_FORM_VS ? j->b : j->b + (j->b_repeats ? r : o);
    if (j->y)
      j->k->binary(j->op, j->form, n, a, b, j->y + o, 0);
    else
      j->k->binary_grad(j->op, j->form, n, a, b, j->gy + o, j->ga ? j->ga + o : NULL,
                        j->gb ? j->gb + o : NULL, 0);
    from += n;
  }
}

static void binary_range(void *ctx, int64_t begin, int64_t end) {
  const binary_job *j = ctx;
  pieces(j, begin * MICA_CHUNK, end * MICA_CHUNK < j->n ? end * MICA_CHUNK : j->n);
}

/* x repeats as a whole along the result: its dimensions are the result's last ones, after ones. */
static bool repeats(const mica_shape *x, const mica_shape *y) {
  bool inside = false;
  for (int d = 0; d < y->rank; d++) {
    const int i = d - (y->rank - x->rank);
    const int64_t n = i < 0 ? 1 : x->dim[i];
    if (n == y->dim[d] && (n != 1 || inside))
      inside = true;
    else if (n != 1 || inside)
      return false;
  }
  return true;
}

/* Where an operand lies for the loops: itself, or written out at the result's shape. */
static const char *operand(mica_call *c, const mica_view *x, const mica_shape *y, bool *once,
                           bool *again) {
  const int64_t n = mica_shape_count(y), m = mica_view_count(x);
  *once = m == 1 && n != 1;
  *again = !*once && n != m && repeats(&x->shape, y);
  if (*once || *again || n == m) return x->data;
  const mica_kernels *k = mica_kernels_of(c->engine, x->dtype);
  const size_t size = mica_dtype_size(x->dtype);
  void *full = mica_call_scratch(c, (size_t)n * size);
  int64_t step[MICA_MAX_RANK];
  mica_broadcast_steps(&x->shape, y, step);
  if (full) mica_strided_copy(c->engine, k, size, y, step, x->data, full);
  return full;
}

static bool prepare(mica_call *c, mica_binary_op op, const mica_shape *y, binary_job *j) {
  const mica_dtype dtype = c->in[0].dtype;
  bool a_once = false, b_once = false;
  *j = (binary_job){.k = mica_kernels_of(c->engine, dtype)->elementwise,
                    .op = op,
                    .form = MICA_FORM_VV,
                    .size = mica_dtype_size(dtype),
                    .n = mica_shape_count(y)};
  if (c->in[0].data) j->a = operand(c, &c->in[0], y, &a_once, &j->a_repeats);
  if (c->in[1].data) j->b = operand(c, &c->in[1], y, &b_once, &j->b_repeats);
  if (!mica_ok(c->tape)) return false;
  j->form = a_once ? MICA_FORM_SV : b_once ? MICA_FORM_VS : MICA_FORM_VV;
  j->period = j->a_repeats   ? mica_view_count(&c->in[0])
              : j->b_repeats ? mica_view_count(&c->in[1])
                             : j->n;
  if (!j->period) j->period = 1;
  /* Two operands that repeat with different periods cannot be: one of them has the result's size.
   */
  return true;
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

/* Sums and differences need no inputs, and equal shapes no copy. */
static void linear_backward(mica_call *c) {
  const binary_context *o = c->ctx;
  const mica_view *gy = &c->grad_out[0];
  const mica_kernels *k = mica_kernels_of(c->engine, gy->dtype);
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
    if (negate) k->elementwise->scale(mica_view_count(g), -1, same ? gy->data : g->data, g->data);
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
  static const mica_op symbol##_op = {sizeof(mica_op), #symbol, 0, backward};                      \
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

static void where_backward(mica_call *c) {
  const mica_view *gy = &c->grad_out[0];
  mica_view *ga = mica_call_grad(c, 1), *gb = mica_call_grad(c, 2);
  if (!mica_ok(c->tape)) return;
  mica_kernels_of(c->engine, gy->dtype)
      ->elementwise->where_grad(mica_view_count(gy), c->in[0].data, gy->data, ga ? ga->data : NULL,
                                gb ? gb->data : NULL);
}

static const mica_op where_op = {sizeof(mica_op), "where", 0, where_backward};

static mica_var where_same(mica_tape *t, mica_var cond, mica_var a, mica_var b) {
  mica_call c;
  if (!mica_call_begin(&c, t, &where_op, 3, (mica_var[]){cond, a, b})) return MICA_NONE;
  const mica_view *v = &c.in[1];
  const mica_view *y = mica_call_output(&c, v->dtype, v->shape);
  if (y)
    mica_kernels_of(c.engine, v->dtype)
        ->elementwise->where(mica_view_count(v), c.in[0].data, v->data, c.in[2].data, y->data);
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
