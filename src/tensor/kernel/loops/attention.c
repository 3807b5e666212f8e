/* Attention, a query at a time: its scores are the only thing of the length of the keys that
 * exists. */
#include "tensor/kernel/attention.h"

#include "loop.h"
#include "vector_math.h"

static real dot(int64_t n, const real *a, const real *b) {
  real sum = 0;
  SIMD_SUM(sum)
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

static void add_scaled(int64_t n, real alpha, const real *x, real *y) {
  SIMD for (int64_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

/* The keys that query i may see at all: [first, last). */
static void visible(const mica_attention_args *a, int64_t i, int64_t *first, int64_t *last) {
  const int64_t at = i + a->offset;
  *first = 0;
  *last = a->keys;
  if (a->causal && *last > at + 1) *last = at + 1;
  if (a->window) {
    if (*first < at - a->window + 1) *first = at - a->window + 1;
    if (*last > at + a->window) *last = at + a->window;
  }
  if (*last < *first) *last = *first;
}

typedef struct row {
  int64_t b, h, g, i, first, last;
  const real *q, *k, *v, *bias; /* this query; key and value 0 of its head; its bias or NULL */
} row;

static row row_at(const mica_attention_args *a, const void *q, const void *k, const void *v,
                  int64_t b, int64_t h, int64_t i) {
  row r = {.b = b, .h = h, .g = h / (a->heads / a->kv_heads), .i = i};
  visible(a, i, &r.first, &r.last);
  r.q = (const real *)q + b * a->q.batch + i * a->q.token + h * a->q.head;
  r.k = (const real *)k + b * a->k.batch + r.g * a->k.head;
  r.v = (const real *)v + b * a->v.batch + r.g * a->v.head;
  r.bias = a->bias
               ? (const real *)a->bias + b * a->bias_batch + h * a->bias_head + i * a->bias_query
               : NULL;
  return r;
}

static void scores(const mica_attention_args *a, const row *r, real *s) {
  const real scale = (real)a->scale;
  for (int64_t j = r->first; j < r->last; j++)
    s[j] = scale * dot(a->dim, r->q, r->k + j * a->k.token);
  if (r->bias)
    for (int64_t j = r->first; j < r->last; j++) s[j] += r->bias[j];
}

static void forward(const mica_attention_args *a, const void *q, const void *k, const void *v,
                    int64_t begin, int64_t end, void *outv, void *lse, void *scratch) {
  real *s = scratch;
  for (int64_t n = begin; n < end; n++) {
    const int64_t i = n % a->queries, h = n / a->queries % a->heads, b = n / a->queries / a->heads;
    const row r = row_at(a, q, k, v, b, h, i);
    real *out = (real *)outv + b * a->out.batch + i * a->out.token + h * a->out.head;
    scores(a, &r, s);
    real top = -INFINITY;
    for (int64_t j = r.first; j < r.last; j++) top = s[j] > top || s[j] != s[j] ? s[j] : top;
    memset(out, 0, (size_t)a->value_dim * sizeof *out);
    if (top == -INFINITY) {
      if (lse) ((real *)lse)[n] = -INFINITY;
      continue;
    }
    real sum = 0;
    SIMD_SUM(sum)
    for (int64_t j = r.first; j < r.last; j++) {
      s[j] = math_exp(s[j] - top);
      sum += s[j];
    }
    for (int64_t j = r.first; j < r.last; j++)
      if (s[j] != 0) add_scaled(a->value_dim, s[j] / sum, r.v + j * a->v.token, out);
    if (lse) ((real *)lse)[n] = top + (real)log((double)sum);
  }
}

/* With p the weights: dv_j += p_j dout; ds_j = p_j (<dout, v_j> - <dout, out> + dlse); dq = scale
 * sum ds_j k_j; dk_j += scale ds_j q. */
static void backward(const mica_attention_args *a, const void *q, const void *k, const void *v,
                     const void *outv, const void *doutv, const void *lse, const void *dlse,
                     int64_t b, int64_t g, void *dqv, void *dkv, void *dvv, void *dbias,
                     void *scratch) {
  const int64_t group = a->heads / a->kv_heads;
  const real scale = (real)a->scale;
  real *s = scratch;
  real *dk = (real *)dkv + b * a->k.batch + g * a->k.head,
       *dv = (real *)dvv + b * a->v.batch + g * a->v.head;
  for (int64_t j = 0; j < a->keys; j++) {
    memset(dk + j * a->k.token, 0, (size_t)a->dim * sizeof *dk);
    memset(dv + j * a->v.token, 0, (size_t)a->value_dim * sizeof *dv);
  }
  for (int64_t h = g * group; h < (g + 1) * group; h++)
    for (int64_t i = 0; i < a->queries; i++) {
      const row r = row_at(a, q, k, v, b, h, i);
      const int64_t n = (b * a->heads + h) * a->queries + i;
      const int64_t at = b * a->out.batch + i * a->out.token + h * a->out.head;
      const real *out = (const real *)outv + at, *dout = (const real *)doutv + at;
      real *dq = (real *)dqv + b * a->q.batch + i * a->q.token + h * a->q.head;
      memset(dq, 0, (size_t)a->dim * sizeof *dq);
      const real l = ((const real *)lse)[n];
      if (l == -INFINITY) continue;
      const real shift = (dlse ? ((const real *)dlse)[n] : 0) - dot(a->value_dim, dout, out);
      scores(a, &r, s);
      SIMD for (int64_t j = r.first; j < r.last; j++) s[j] = math_exp(s[j] - l);
      for (int64_t j = r.first; j < r.last; j++) {
        const real p = s[j];
        const real ds = p * (dot(a->value_dim, dout, r.v + j * a->v.token) + shift);
        add_scaled(a->value_dim, p, dout, dv + j * a->v.token);
        add_scaled(a->dim, scale * ds, r.k + j * a->k.token, dq);
        add_scaled(a->dim, scale * ds, r.q, dk + j * a->k.token);
        if (dbias)
          ((real *)dbias)[b * a->bias_batch + h * a->bias_head + i * a->bias_query + j] += ds;
      }
    }
}

const mica_attention_kernels MICA_KERNEL(attention) = {.forward = forward, .backward = backward};
