/* Random operations. Only the key is kept for backward: the numbers are drawn again from it. */
#include "autograd/ranges.h"

#include <mica/ops.h>

#include "tensor/kernel/copy.h"
#include "tensor/kernel/dropout.h"

#include <math.h>

typedef struct dropout_context {
  uint64_t key;
  double p;
} dropout_context;

typedef struct dropout_job {
  const mica_kernels *k;
  const dropout_context *o;
  size_t size;
  int64_t n;
  const char *x;
  char *y;
} dropout_job;

static void dropout_range(void *ctx, int64_t begin, int64_t end) {
  const dropout_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const size_t at = (size_t)(i * MICA_CHUNK) * j->size;
    j->k->dropout->dropout(j->o->key, i * MICA_CHUNK, mica_chunk_length(j->n, i), j->o->p,
                           j->x + at, j->y + at);
  }
}

static void dropout(const mica_engine *engine, const dropout_context *o, const mica_view *x,
                    void *y) {
  dropout_job job = {mica_kernels_of(engine, x->dtype),
                     o,
                     mica_dtype_size(x->dtype),
                     mica_view_count(x),
                     x->data,
                     y};
  mica_parallel_for(engine, mica_chunks(job.n), dropout_range, &job);
}

static void dropout_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (gx) dropout(c->engine, c->ctx, &c->grad_out[0], gx->data);
}

static const mica_op dropout_op = {sizeof(mica_op), "dropout", MICA_OP_BY_EXAMPLE,
                                   dropout_backward};

static bool probability(mica_tape *t, const char *what, double p) {
  if (p >= 0 && p <= 1) return true;
  mica_latch(t, MICA_ERR_INVALID, "%s: probability %g, expected 0 to 1", what, p);
  return false;
}

mica_var mica_dropout(mica_tape *t, mica_var x, double p) {
  if (!mica_ok(t) || !probability(t, "dropout", p)) return MICA_NONE;
  if (!mica_is_training(t) || p == 0) return x;
  mica_call c;
  if (!mica_call_begin(&c, t, &dropout_op, 1, &x)) return MICA_NONE;
  if (!mica_is_float(&c.in[0]))
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected a float tensor:");
  const dropout_context o = {mica_tape_draw(t, "dropout").word, p};
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, c.in[0].shape);
  if (y) dropout(c.engine, &o, &c.in[0], y->data);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

typedef struct drop_job {
  const mica_copy_kernels *k;
  mica_tiles tiles;
  size_t size;
  int64_t width;
  const char *x, *factor;
  char *y;
} drop_job;

static void drop_range(void *ctx, int64_t begin, int64_t end) {
  const drop_job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_tile t = mica_tile_at(&j->tiles, i);
    const size_t at = (size_t)(t.block * j->width) * j->size;
    j->k->scale_rows(t.blocks, j->width, j->x + at, j->width, j->factor + (size_t)t.block * j->size,
                     j->y + at, j->width);
  }
}

/* Rows are whole examples: y = x times 0 or 1 / (1 - p). */
static bool drop_rows(mica_call *c, const dropout_context *o, const mica_view *x, void *y) {
  const int64_t n = x->shape.dim[0], width = n ? mica_view_count(x) / n : 0;
  const size_t size = mica_dtype_size(x->dtype);
  void *factor = mica_call_scratch(c, (size_t)n * size);
  if (!factor) return false;
  for (int64_t i = 0; i < n; i++) {
    const double f =
        mica_random_uniform((mica_key){o->key}, (uint64_t)i) < o->p ? 0 : 1 / (1 - o->p);
    if (x->dtype == MICA_F32)
      ((float *)factor)[i] = (float)f;
    else
      ((double *)factor)[i] = f;
  }
  drop_job job = {mica_kernels_of(c->engine, x->dtype)->copy,
                  mica_tiles_of(n, width, 1),
                  size,
                  width,
                  x->data,
                  factor,
                  y};
  mica_parallel_for(c->engine, job.tiles.count, drop_range, &job);
  return true;
}

static void drop_path_backward(mica_call *c) {
  mica_view *gx = mica_call_grad(c, 0);
  if (gx) drop_rows(c, c->ctx, &c->grad_out[0], gx->data);
}

static const mica_op drop_path_op = {sizeof(mica_op), "drop_path", MICA_OP_BY_EXAMPLE,
                                     drop_path_backward};

mica_var mica_drop_path(mica_tape *t, mica_var x, double p) {
  if (!mica_ok(t) || !probability(t, "drop_path", p)) return MICA_NONE;
  if (!mica_is_training(t) || p == 0) return x;
  mica_call c;
  if (!mica_call_begin(&c, t, &drop_path_op, 1, &x)) return MICA_NONE;
  if (!mica_is_float(&c.in[0]) || c.in[0].shape.rank < 1)
    return mica_call_fail(&c, MICA_ERR_SHAPE, "expected float examples [N,..]:");
  const dropout_context o = {mica_tape_draw(t, "drop_path").word, p};
  const mica_view *y = mica_call_output(&c, c.in[0].dtype, c.in[0].shape);
  if (y) drop_rows(&c, &o, &c.in[0], y->data);
  mica_call_context(&c, &o, sizeof o);
  return mica_call_end(&c);
}

/* ---- fresh noise ---- */

typedef struct noise_job {
  mica_key key;
  mica_dtype dtype;
  bool normal;
  double a, b; /* mean and deviation, or the ends */
  int64_t n;
  void *y;
} noise_job;

/* Rounding can take a + b u, u < 1, up to the end of the interval, which is not in it. */
static double below(double v, double end, double a) {
  return v < end || end <= a ? v : nextafter(end, a);
}
static float belowf(float v, double end, double a) {
  while ((double)v >= end && (double)v > a) v = nextafterf(v, -INFINITY);
  return v;
}

static void noise_range(void *ctx, int64_t begin, int64_t end) {
  const noise_job *j = ctx;
  const int64_t to = end * MICA_CHUNK < j->n ? end * MICA_CHUNK : j->n;
  for (int64_t i = begin * MICA_CHUNK; i < to; i++) {
    const double z = j->normal ? mica_random_normal(j->key, (uint64_t)i)
                               : mica_random_uniform(j->key, (uint64_t)i);
    const double v = j->normal ? j->a + j->b * z : below(j->a + (j->b - j->a) * z, j->b, j->a);
    if (j->dtype == MICA_F32)
      ((float *)j->y)[i] = j->normal ? (float)v : belowf((float)v, j->b, j->a);
    else
      ((double *)j->y)[i] = v;
  }
}

static const mica_op normal_op = {sizeof(mica_op), "random_normal_like", 0, NULL};
static const mica_op uniform_op = {sizeof(mica_op), "random_uniform_like", 0, NULL};

static mica_var noise(mica_tape *t, const mica_op *op, mica_shape shape, mica_dtype dtype, double a,
                      double b) {
  mica_call c;
  if (!mica_call_begin(&c, t, op, 0, NULL)) return MICA_NONE;
  if (dtype != MICA_F32 && dtype != MICA_F64)
    return mica_call_fail(&c, MICA_ERR_INVALID, "%s, expected float32 or float64",
                          mica_dtype_name(dtype));
  const bool normal = op == &normal_op;
  if (!isfinite(a) || !isfinite(b) || b < (normal ? 0 : a))
    return mica_call_fail(&c, MICA_ERR_INVALID, "%s %g, %s %g, expected finite and %s",
                          normal ? "mean" : "from", a, normal ? "deviation" : "to", b,
                          normal ? "no negative deviation" : "in order");
  const mica_view *y = mica_call_output(&c, dtype, shape);
  if (y) {
    noise_job job = {mica_tape_draw(t, normal ? "normal" : "uniform"),
                     dtype,
                     normal,
                     a,
                     b,
                     mica_view_count(y),
                     y->data};
    mica_parallel_for(c.engine, mica_chunks(job.n), noise_range, &job);
  }
  return mica_call_end(&c);
}

mica_var mica_random_normal_like(mica_tape *t, mica_shape shape, mica_dtype dtype, double mean,
                                 double deviation) {
  return noise(t, &normal_op, shape, dtype, mean, deviation);
}
mica_var mica_random_uniform_like(mica_tape *t, mica_shape shape, mica_dtype dtype, double lo,
                                  double hi) {
  return noise(t, &uniform_op, shape, dtype, lo, hi);
}
