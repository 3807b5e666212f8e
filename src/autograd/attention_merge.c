/* Attention to two sets of keys made one, in the log domain (Liu, Zaharia & Abbeel 2023). */
#include <mica/op.h>
#include <mica/ops.h>

#include "autograd/ranges.h"
#include "autograd/tape.h"

#include <math.h>
#include <string.h>

enum { Y1, L1, Y2, L2 };

/* Row n of a result is head h of token i of an example; its log is elsewhere. */
typedef struct merge {
  mica_call *c;
  int64_t length, heads, dim;
  const void *grad_out, *grad_lse; /* backward; either may be NULL */
  void *grad[4];
} merge;

static int64_t log_place(const merge *m, int64_t n) {
  const int64_t h = n % m->heads, i = n / m->heads % m->length, b = n / m->heads / m->length;
  return (b * m->heads + h) * m->length + i;
}

/* What each part counts for: e^(l - *lse), 0 where it saw nothing. */
static void shares(double l1, double l2, double *lse, double share[2]) {
  const double top = l1 > l2 || isnan(l1) ? l1 : l2;
  *lse = top;
  share[0] = share[1] = 0;
  if (top == (double)-INFINITY) return;
  *lse = top + log1p(exp(-fabs(l1 - l2)));
  if (l1 == l2) *lse = top + log(2.0); /* two infinities too */
  share[0] = l1 == l2 ? 0.5 : exp(l1 - *lse);
  share[1] = l1 == l2 ? 0.5 : exp(l2 - *lse);
}

#define ROWS(real, name)                                                                           \
  static void name##_forward(void *ctx, int64_t begin, int64_t end) {                              \
    const merge *m = ctx;                                                                          \
    const mica_view *in = m->c->in;                                                                \
    for (int64_t n = begin; n < end; n++) {                                                        \
      const int64_t at = log_place(m, n);                                                          \
      const real *y1 = (const real *)in[Y1].data + n * m->dim;                                     \
      const real *y2 = (const real *)in[Y2].data + n * m->dim;                                     \
      real *y = (real *)m->c->out[0].data + n * m->dim;                                            \
      double lse, w[2];                                                                            \
      shares((double)((const real *)in[L1].data)[at], (double)((const real *)in[L2].data)[at],     \
             &lse, w);                                                                             \
      ((real *)m->c->out[1].data)[at] = (real)lse;                                                 \
      for (int64_t j = 0; j < m->dim; j++)                                                         \
        y[j] = (real)((w[0] == 0 ? 0 : w[0] * (double)y1[j]) +                                     \
                      (w[1] == 0 ? 0 : w[1] * (double)y2[j]));                                     \
    }                                                                                              \
  }                                                                                                \
  static void name##_backward(void *ctx, int64_t begin, int64_t end) {                             \
    const merge *m = ctx;                                                                          \
    const mica_view *in = m->c->in;                                                                \
    const real *gy = m->grad_out, *gl = m->grad_lse;                                               \
    for (int64_t n = begin; n < end; n++) {                                                        \
      const int64_t at = log_place(m, n);                                                          \
      const real *y = (const real *)m->c->out[0].data + n * m->dim;                                \
      double lse, w[2];                                                                            \
      shares((double)((const real *)in[L1].data)[at], (double)((const real *)in[L2].data)[at],     \
             &lse, w);                                                                             \
      for (int part = 0; part < 2; part++) {                                                       \
        const real *from = (const real *)in[2 * part].data + n * m->dim;                           \
        real *to = m->grad[2 * part], *to_log = m->grad[2 * part + 1];                             \
        double sum = gl ? (double)gl[at] : 0;                                                      \
        for (int64_t j = 0; j < m->dim && gy && w[part] != 0; j++)                                 \
          sum += (double)gy[n * m->dim + j] * ((double)from[j] - (double)y[j]);                    \
        if (to_log) to_log[at] = (real)(w[part] == 0 ? 0 : w[part] * sum);                         \
        for (int64_t j = 0; to && j < m->dim; j++)                                                 \
          to[n * m->dim + j] =                                                                     \
              gy && w[part] != 0 ? (real)(w[part] * (double)gy[n * m->dim + j]) : 0;               \
      }                                                                                            \
    }                                                                                              \
  }
ROWS(float, f32)
ROWS(double, f64)

static merge merge_of(mica_call *c) {
  const mica_shape *s = &c->in[Y1].shape;
  return (merge){.c = c,
                 .length = s->dim[s->rank - 3],
                 .heads = s->dim[s->rank - 2],
                 .dim = s->dim[s->rank - 1]};
}

static void over_rows(mica_call *c, merge *m, void (*f32)(void *, int64_t, int64_t),
                      void (*f64)(void *, int64_t, int64_t)) {
  mica_parallel_for(c->engine, mica_view_count(&c->in[L1]), c->in[Y1].dtype == MICA_F32 ? f32 : f64,
                    m);
}

static void merge_backward(mica_call *c) {
  merge m = merge_of(c);
  for (int i = 0; i < 4; i++) {
    mica_view *g = mica_call_grad(c, i);
    m.grad[i] = g ? g->data : NULL;
  }
  m.grad_out = c->grad_out[0].data;
  m.grad_lse = c->grad_out[1].data;
  if (mica_ok(c->tape)) over_rows(c, &m, f32_backward, f64_backward);
}

static const mica_op merge_op = {sizeof(mica_op), "attention_merge", MICA_OP_BY_EXAMPLE,
                                 merge_backward};

mica_var mica_attention_merge(mica_tape *t, mica_var y1, mica_var l1, mica_var y2, mica_var l2,
                              mica_var *lse) {
  if (lse) *lse = MICA_NONE;
  mica_call c;
  if (!mica_call_begin(&c, t, &merge_op, 4, (mica_var[]){y1, l1, y2, l2})) return MICA_NONE;
  const mica_view *y = &c.in[Y1], *l = &c.in[L1];
  const int rank = y->shape.rank;
  mica_shape rows = y->shape; /* [.., h, L] */
  rows.rank = rank - 1;
  if (rank >= 3) {
    rows.dim[rank - 3] = y->shape.dim[rank - 2];
    rows.dim[rank - 2] = y->shape.dim[rank - 3];
  }
  if (rank < 3 || !mica_shape_equal(&y->shape, &c.in[Y2].shape) ||
      !mica_shape_equal(&rows, &l->shape) || !mica_shape_equal(&rows, &c.in[L2].shape))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected y1 and y2 [..,L,h,d], l1 and l2 [..,h,L]:");
  for (int i = 0; i < 4; i++)
    if (!mica_is_float(&c.in[i]) || c.in[i].dtype != y->dtype)
      return mica_call_fail(&c, MICA_ERR_SHAPE, "expected one float type for all:");
  if (rank == 3) { /* tokens lead the results, heads their logarithms */
    mica_call_mixes(&c, L1);
    mica_call_mixes(&c, L2);
  }
  mica_call_output(&c, y->dtype, y->shape);
  mica_call_output(&c, y->dtype, rows);
  merge m = merge_of(&c);
  if (mica_ok(t)) over_rows(&c, &m, f32_forward, f64_forward);
  for (int i = 0; i < 4; i++) mica_call_save_input(&c, i);
  mica_call_save_output(&c, 0);
  mica_var out[2] = {MICA_NONE, MICA_NONE};
  mica_call_end_n(&c, 2, out);
  if (lse) *lse = out[1];
  return out[0];
}
