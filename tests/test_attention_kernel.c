/* Attention against the definition in double, forward and backward: masks, windows, biases shared
 * in every way, grouped heads, packed and strided operands, every instruction set. */
#include "support/test.h"
#include "tensor/kernel/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 4 };
static mica_engine *engines[ENGINES];

static int set_up(void **state) {
  (void)state;
  const char *const isas[ENGINES] = {"generic", "avx2", "avx512", NULL};
  for (int i = 0; i < ENGINES; i++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.isa = isas[i];
    o.threads = i == ENGINES - 1 ? 2 : 1;
    if (mica_engine_create(&o, &engines[i]) != MICA_OK &&
        mica_last_status() != MICA_ERR_UNSUPPORTED)
      return -1;
  }
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (int i = 0; i < ENGINES; i++) mica_engine_free(engines[i]);
  return 0;
}

static uint64_t random_state = 1;
static double draw(void) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7,
      random_state ^= random_state << 17;
  return ldexp((double)(random_state >> 11), -52) - 1;
}

static void *zeros(int64_t n) {
  void *p = calloc((size_t)n + 1, sizeof(double));
  assert_non_null(p);
  return p;
}

static double *random_array(int64_t n) {
  double *a = zeros(n);
  for (int64_t i = 0; i < n; i++) a[i] = (double)(float)draw(); /* exact in both types */
  return a;
}

static void *narrowed(mica_dtype dtype, const double *a, int64_t n) {
  void *to = zeros(n);
  for (int64_t i = 0; i < n; i++)
    if (dtype == MICA_F32)
      ((float *)to)[i] = (float)a[i];
    else
      ((double *)to)[i] = a[i];
  return to;
}

static double at(mica_dtype dtype, const void *a, int64_t i) {
  return dtype == MICA_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
}

static void assert_close(const char *what, int number, mica_dtype dtype, const void *got,
                         const double *want, int64_t n, double tolerance) {
  for (int64_t i = 0; i < n; i++) {
    const double x = at(dtype, got, i);
    if (!(fabs(x - want[i]) <= tolerance) && !(isinf(want[i]) && x == want[i]))
      fail_msg("case %d, %s, %s: element %lld is %.9g, not %.9g", number, what,
               mica_dtype_name(dtype), (long long)i, x, want[i]);
  }
}

/* ---- the definition ---- */

typedef struct tensors {
  double *q, *k, *v, *out, *lse, *dout, *dlse, *dq, *dk, *dv, *dbias;
} tensors;

static double weight(const mica_attention_args *a, const tensors *t, int64_t b, int64_t h,
                     int64_t i, int64_t j, const double *bias) {
  const int64_t p = i + a->offset, g = h / (a->heads / a->kv_heads);
  if (a->causal && j > p) return (double)-INFINITY;
  if (a->bounded && llabs(p - j) > a->left) return (double)-INFINITY;
  double s = 0;
  for (int64_t c = 0; c < a->dim; c++)
    s += t->q[b * a->q.batch + i * a->q.token + h * a->q.head + c] *
         t->k[b * a->k.batch + j * a->k.token + g * a->k.head + c];
  s *= a->scale;
  if (bias) s += bias[b * a->bias_batch + h * a->bias_head + i * a->bias_query + j];
  return s;
}

static void define(const mica_attention_args *a, tensors *t, const double *bias) {
  double *p = zeros(a->keys), *dp = zeros(a->keys);
  for (int64_t b = 0; b < a->batch; b++)
    for (int64_t h = 0; h < a->heads; h++)
      for (int64_t i = 0; i < a->queries; i++) {
        const int64_t g = h / (a->heads / a->kv_heads), n = (b * a->heads + h) * a->queries + i;
        const int64_t q = b * a->q.batch + i * a->q.token + h * a->q.head;
        const int64_t o = b * a->out.batch + i * a->out.token + h * a->out.head;
        double top = (double)-INFINITY, sum = 0, mean = 0;
        for (int64_t j = 0; j < a->keys; j++) {
          p[j] = weight(a, t, b, h, i, j, bias);
          top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j < a->keys; j++) sum += p[j] = isinf(top) ? 0 : exp(p[j] - top);
        t->lse[n] = isinf(top) ? top : top + log(sum);
        for (int64_t c = 0; c < a->value_dim; c++) t->out[o + c] = 0;
        for (int64_t j = 0; j < a->keys; j++) {
          const int64_t v = b * a->v.batch + j * a->v.token + g * a->v.head;
          if (sum > 0) p[j] /= sum;
          dp[j] = 0;
          for (int64_t c = 0; c < a->value_dim; c++) {
            t->out[o + c] += p[j] * t->v[v + c];
            t->dv[v + c] += p[j] * t->dout[o + c];
            dp[j] += t->dout[o + c] * t->v[v + c];
          }
          mean += p[j] * dp[j];
        }
        for (int64_t j = 0; j < a->keys; j++) {
          const double ds = p[j] * (dp[j] - mean + t->dlse[n]);
          const int64_t k = b * a->k.batch + j * a->k.token + g * a->k.head;
          for (int64_t c = 0; c < a->dim; c++) {
            t->dq[q + c] += a->scale * ds * t->k[k + c];
            t->dk[k + c] += a->scale * ds * t->q[q + c];
          }
          if (bias) t->dbias[b * a->bias_batch + h * a->bias_head + i * a->bias_query + j] += ds;
        }
      }
  free(p);
  free(dp);
}

/* ---- cases ---- */

typedef struct setting {
  int64_t batch, heads, kv_heads, queries, keys, dim, value_dim;
  bool causal,
      packed; /* packed: q, k, v interleaved in one array, [batch, token, (h + 2 g) * dim] */
  int64_t offset, window;
  int bias; /* 0 none, 1 full, 2 over heads only, 3 one row of keys for each batch entry, 4 one
               number row, 5 none and scores that grow from key to key */
} setting;

static const setting settings[] = {
    {1, 1, 1, 1, 1, 1, 1, false, false, 0, 0, 0},
    {2, 3, 3, 1, 37, 8, 5, false, false, 0, 0, 1},
    {1, 2, 1, 4, 70, 16, 16, true, false, 66, 0, 0},
    {2, 2, 2, 5, 7, 3, 2, false, false, 0, 0, 0},
    {2, 4, 2, 33, 65, 17, 9, false, false, 0, 0, 1},
    {1, 2, 2, 64, 64, 32, 32, true, true, 0, 0, 0},
    {2, 2, 1, 100, 100, 8, 8, true, true, 0, 7, 0},
    {1, 1, 1, 50, 130, 64, 64, false, false, 40, 20, 0},
    {3, 2, 2, 40, 70, 12, 20, false, false, 0, 0, 2},
    {2, 4, 4, 36, 20, 7, 7, false, false, 0, 0, 3},
    {2, 2, 1, 9, 129, 5, 40, true, false, 120, 0, 4},
    {1, 1, 1, 45, 10, 6, 6, true, false, -20, 0, 0}, /* the first queries see nothing */
    {1, 2, 2, 12, 0, 4, 4, false, false, 0, 0, 0},
    {0, 2, 2, 12, 5, 4, 4, false, false, 0, 0, 0},
    {1, 1, 1, 200, 190, 33, 31, true, false, -5, 64, 1},
    {1, 1, 1, 70, 150, 6, 16, false, false, 0, 0, 5},
    {1, 2, 2, 130, 150, 16, 8, true, false, 20, 0, 5},
    /* few heads and many keys, which the backward cuts into parts */
    {1, 1, 1, 100, 400, 16, 16, true, false, 300, 0, 0},
    {1, 2, 1, 450, 450, 8, 8, true, true, 0, 0, 0},
    {1, 2, 1, 30, 500, 5, 6, false, false, 200, 100, 0},
};

static void check(int number, const setting *s, int e, mica_dtype dtype) {
  mica_attention_args a = {.dtype = dtype,
                           .batch = s->batch,
                           .heads = s->heads,
                           .kv_heads = s->kv_heads,
                           .queries = s->queries,
                           .keys = s->keys,
                           .dim = s->dim,
                           .value_dim = s->value_dim,
                           .scale = 1.5 / sqrt((double)s->dim),
                           .causal = s->causal,
                           .offset = s->offset,
                           .bounded = s->window > 0,
                           .left = s->window - 1,
                           .right = s->window - 1};
  const int64_t row = (s->heads + 2 * s->kv_heads) * s->dim, pad = 3;
  if (s->packed) {
    a.q = a.k = a.v = (mica_attention_strides){s->keys * row, row, s->dim};
  } else { /* [batch, token, head] with spare room, and [batch, head, token] */
    a.q = (mica_attention_strides){s->queries * (s->heads * s->dim + pad), s->heads * s->dim + pad,
                                   s->dim};
    a.k = (mica_attention_strides){s->keys * s->kv_heads * s->dim, s->dim, s->keys * s->dim};
    a.v = (mica_attention_strides){s->keys * s->kv_heads * s->value_dim, s->kv_heads * s->value_dim,
                                   s->value_dim};
  }
  a.out = (mica_attention_strides){s->queries * s->heads * s->value_dim, s->heads * s->value_dim,
                                   s->value_dim};
  const int64_t rows = s->batch * s->heads * s->queries, nout = rows * s->value_dim;
  const int64_t nq = s->packed ? s->batch * s->keys * row : s->batch * a.q.batch;
  const int64_t nk = s->packed ? 0 : s->batch * a.k.batch,
                nv = s->packed ? 0 : s->batch * a.v.batch;
  const int64_t k0 = s->packed ? s->heads * s->dim : nq,
                v0 = s->packed ? k0 + s->kv_heads * s->dim : nq + nk;
  const int64_t total = nq + nk + nv;
  int64_t nbias = 0;
  if (s->bias == 1) {
    a.bias_query = s->keys + 1;
    a.bias_head = a.bias_query * s->queries;
    a.bias_batch = a.bias_head * s->heads;
    nbias = a.bias_batch * s->batch;
  } else if (s->bias == 2) {
    a.bias_query = s->keys;
    a.bias_head = s->keys * s->queries;
    nbias = a.bias_head * s->heads;
  } else if (s->bias == 3) {
    a.bias_batch = s->keys;
    nbias = s->keys * s->batch;
  } else if (s->bias == 4) {
    nbias = s->keys;
  }
  double *x = random_array(total);
  if (s->bias == 5) /* each tile's scores exceed those before it */
    for (int64_t i = nq; i < nq + nk; i++) x[i] *= (double)(i - nq) / (double)nk * 8;
  double *grads = zeros(total), *bias = random_array(nbias);
  for (int64_t i = 0; i < nbias; i += 11) bias[i] = (double)-INFINITY;
  tensors t = {.q = x,
               .k = x + k0,
               .v = x + v0,
               .out = zeros(nout),
               .lse = zeros(rows),
               .dout = random_array(nout),
               .dlse = random_array(rows),
               .dq = grads,
               .dk = grads + k0,
               .dv = grads + v0,
               .dbias = zeros(nbias)};
  define(&a, &t, nbias ? bias : NULL);

  void *nx = narrowed(dtype, x, total), *nb = narrowed(dtype, bias, nbias), *ng = zeros(total),
       *out = zeros(nout);
  void *lse = zeros(rows), *dout = narrowed(dtype, t.dout, nout),
       *dlse = narrowed(dtype, t.dlse, rows), *dbias = zeros(nbias);
  const int64_t size = (int64_t)mica_dtype_size(dtype);
  char *px = nx, *pg = ng;
  a.bias = nbias ? nb : NULL;
  assert_int_equal(
      mica_attention_forward(engines[e], &a, px, px + k0 * size, px + v0 * size, out, lse),
      MICA_OK);
  const double tolerance = dtype == MICA_F32 ? 3e-6 : 1e-14;
  assert_close("out", number, dtype, out, t.out, nout, tolerance);
  assert_close("lse", number, dtype, lse, t.lse, rows, tolerance * 4);
  memset(out, 0x55, (size_t)(nout * size));
  assert_int_equal(
      mica_attention_forward(engines[e], &a, px, px + k0 * size, px + v0 * size, out, NULL),
      MICA_OK);
  assert_close("out without lse", number, dtype, out, t.out, nout, tolerance);
  assert_int_equal(mica_attention_backward(engines[e], &a, px, px + k0 * size, px + v0 * size, out,
                                           dout, lse, dlse, pg, pg + k0 * size, pg + v0 * size,
                                           nbias ? dbias : NULL),
                   MICA_OK);
  assert_close("dq, dk, dv", number, dtype, ng, grads, total, tolerance * 40);
  assert_close("dbias", number, dtype, dbias, t.dbias, nbias, tolerance * 40);
  free(x), free(grads), free(bias), free(t.out), free(t.lse), free(t.dout), free(t.dlse),
      free(t.dbias);
  free(nx), free(nb), free(ng), free(out), free(lse), free(dout), free(dlse), free(dbias);
}

static void test_against_definition(void **state) {
  (void)state;
  for (int e = 0; e < ENGINES; e++)
    for (size_t i = 0; engines[e] && i < sizeof settings / sizeof *settings; i++) {
      check((int)i, &settings[i], e, MICA_F32);
      check((int)i, &settings[i], e, MICA_F64);
    }
}

/* One thread and two: the same bits, forward and backward. */
static void check_threads(int64_t batch, int64_t heads, int64_t length) {
  const int64_t n = batch * length * heads * 24, rows = batch * heads * length;
  const mica_attention_strides s = {length * heads * 24, heads * 24, 24};
  const mica_attention_args a = {.dtype = MICA_F32,
                                 .batch = batch,
                                 .heads = heads,
                                 .kv_heads = heads,
                                 .queries = length,
                                 .keys = length,
                                 .dim = 24,
                                 .value_dim = 24,
                                 .scale = 0.2,
                                 .causal = true,
                                 .q = s,
                                 .k = s,
                                 .v = s,
                                 .out = s};
  double *x = random_array(n);
  float *q = narrowed(MICA_F32, x, n), *result[2];
  for (int e = 0; e < 2; e++) {
    mica_engine_options o = MICA_ENGINE_OPTIONS;
    o.threads = e + 1;
    mica_engine *engine;
    assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
    float *r = result[e] = zeros(4 * n + rows);
    assert_int_equal(mica_attention_forward(engine, &a, q, q, q, r, r + 4 * n), MICA_OK);
    assert_int_equal(mica_attention_backward(engine, &a, q, q, q, r, q, r + 4 * n, NULL, r + n,
                                             r + 2 * n, r + 3 * n, NULL),
                     MICA_OK);
    mica_engine_free(engine);
  }
  assert_memory_equal(result[0], result[1], (size_t)(4 * n + rows) * sizeof(float));
  free(x), free(q), free(result[0]), free(result[1]);
}

static void test_threads_same_bits(void **state) {
  (void)state;
  check_threads(2, 4, 90);
  check_threads(1, 1, 500);
}

static void test_nan_survives(void **state) {
  (void)state;
  for (int64_t queries = 2; queries < 40; queries += 30) {
    float x[40 * 4] = {0}, out[40 * 4];
    x[1] = NAN; /* a channel of the first query and key */
    const mica_attention_strides s = {0, 4, 0};
    const mica_attention_args a = {.dtype = MICA_F32,
                                   .batch = 1,
                                   .heads = 1,
                                   .kv_heads = 1,
                                   .queries = queries,
                                   .keys = queries,
                                   .dim = 4,
                                   .value_dim = 4,
                                   .scale = 1,
                                   .q = s,
                                   .k = s,
                                   .v = s,
                                   .out = s};
    assert_int_equal(mica_attention_forward(engines[ENGINES - 1], &a, x, x, x, out, NULL), MICA_OK);
    for (int64_t i = 0; i < queries * 4; i++) assert_true(isnan(out[i]));
  }
}

/* Keys, values and queries that a mask hides are NaN or infinite: nothing of it arrives anywhere.
 */
static void check_hidden(int e, bool causal, bool by_query, int64_t dim) {
  enum { N = 150, SEEN = 90 };
  const int64_t n = N * dim;
  const mica_attention_strides s = {n, dim, 0};
  float *bias = zeros(N * N);
  for (int64_t i = 0; i < N * N; i++) bias[i] = i % N < SEEN && i / N < SEEN ? 0 : -INFINITY;
  mica_attention_args a = {.dtype = MICA_F32,
                           .batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .queries = N,
                           .keys = N,
                           .dim = dim,
                           .value_dim = dim,
                           .scale = 0.5,
                           .causal = causal,
                           .q = s,
                           .k = s,
                           .v = s,
                           .out = s};
  if (causal) {
    a.queries = SEEN; /* each sees the keys up to its own position */
  } else {
    a.bias = bias;
    a.bias_query = by_query ? N : 0;
    if (!by_query) a.queries = SEEN;
  }
  double *x = random_array(4 * n);
  float *in[2], *to[2];
  for (int spoilt = 0; spoilt < 2; spoilt++) {
    float *q = in[spoilt] = narrowed(MICA_F32, x, 4 * n), *k = q + n, *v = k + n, *dout = v + n;
    float *out = to[spoilt] = zeros(4 * n + N), *lse = out + n, *dq = lse + N, *dk = dq + n,
          *dv = dk + n;
    if (spoilt)
      for (int64_t i = SEEN * dim; i < n; i += 3)
        q[i] = k[i] = v[i] = dout[i] = i % 2 ? NAN : INFINITY;
    assert_int_equal(mica_attention_forward(engines[e], &a, q, k, v, out, lse), MICA_OK);
    assert_int_equal(
        mica_attention_backward(engines[e], &a, q, k, v, out, dout, lse, NULL, dq, dk, dv, NULL),
        MICA_OK);
    for (int64_t i = a.queries; i < N; i++) lse[i] = 0;
    if (by_query && !causal)
      for (int64_t i = SEEN; i < N; i++) {
        assert_true(isinf(lse[i]) && lse[i] < 0);
        for (int64_t c = 0; c < dim; c++)
          assert_true(out[i * dim + c] == 0 && dq[i * dim + c] == 0);
      }
    for (int64_t i = SEEN * dim; i < n; i++) assert_true(dk[i] == 0 && dv[i] == 0);
    for (int64_t i = 0; i < SEEN * dim; i++)
      assert_true(isfinite(out[i]) && isfinite(dq[i]) && isfinite(dk[i]) && isfinite(dv[i]));
  }
  /* Tiles that are not finite are added up in another order. */
  for (int64_t i = 0; i < SEEN * dim; i++)
    for (int part = 0; part < 4; part++) {
      const int64_t at = part * n + (part ? N : 0) + i;
      assert_true(fabsf(to[0][at] - to[1][at]) <= 1e-5f);
    }
  for (int i = 0; i < 2; i++) free(in[i]), free(to[i]);
  free(x), free(bias);
}

static void test_hidden_stays_hidden(void **state) {
  (void)state;
  for (int e = 0; e < ENGINES; e++)
    for (int form = 0; engines[e] && form < 3; form++) {
      check_hidden(e, form == 0, form == 1, 16);
      check_hidden(e, form == 0, form == 1, 5);
    }
}

/* A bias that batch entries or heads share: the sum of its gradient has one order. */
static void test_shared_bias_same_bits(void **state) {
  (void)state;
  enum { N = 70, D = 8, HEADS = 4, BATCH = 3 };
  const int64_t n = BATCH * N * HEADS * D, rows = BATCH * HEADS * N;
  const mica_attention_strides s = {N * HEADS * D, HEADS * D, D};
  double *x = random_array(n);
  float *q = narrowed(MICA_F32, x, n);
  for (int shared = 0; shared < 3; shared++) { /* by all, by the batch, by the heads */
    float *bias = zeros(HEADS * N * N), *result[2];
    mica_attention_args a = {.dtype = MICA_F32,
                             .batch = BATCH,
                             .heads = HEADS,
                             .kv_heads = HEADS,
                             .queries = N,
                             .keys = N,
                             .dim = D,
                             .value_dim = D,
                             .scale = 1,
                             .q = s,
                             .k = s,
                             .v = s,
                             .out = s,
                             .bias = bias,
                             .bias_batch = shared == 2 ? N * N : 0,
                             .bias_head = shared == 1 ? N * N : 0,
                             .bias_query = N};
    for (int e = 0; e < 2; e++) {
      mica_engine_options o = MICA_ENGINE_OPTIONS;
      o.threads = e + 1;
      mica_engine *engine;
      assert_int_equal(mica_engine_create(&o, &engine), MICA_OK);
      float *r = result[e] = zeros(4 * n + rows + HEADS * N * N);
      assert_int_equal(mica_attention_forward(engine, &a, q, q, q, r, r + 4 * n), MICA_OK);
      assert_int_equal(mica_attention_backward(engine, &a, q, q, q, r, q, r + 4 * n, NULL, r + n,
                                               r + 2 * n, r + 3 * n, r + 4 * n + rows),
                       MICA_OK);
      mica_engine_free(engine);
    }
    assert_memory_equal(result[0], result[1],
                        (size_t)(4 * n + rows + HEADS * N * N) * sizeof(float));
    free(bias), free(result[0]), free(result[1]);
  }
  free(x), free(q);
}

static void test_refusals(void **state) {
  (void)state;
  float x[4] = {0};
  mica_attention_args a = {.dtype = MICA_I32,
                           .batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .queries = 1,
                           .keys = 1,
                           .dim = 1,
                           .value_dim = 1};
  assert_int_equal(mica_attention_forward(engines[0], &a, x, x, x, x, x), MICA_ERR_UNSUPPORTED);
  a.dtype = MICA_F32;
  a.heads = 3;
  a.kv_heads = 2;
  assert_int_equal(mica_attention_forward(engines[0], &a, x, x, x, x, x), MICA_ERR_SHAPE);
  assert_int_equal(mica_attention_backward(engines[0], &a, x, x, x, x, x, x, x, x, x, x, x),
                   MICA_ERR_SHAPE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_definition),    cmocka_unit_test(test_threads_same_bits),
      cmocka_unit_test(test_nan_survives),          cmocka_unit_test(test_hidden_stays_hidden),
      cmocka_unit_test(test_shared_bias_same_bits), cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
