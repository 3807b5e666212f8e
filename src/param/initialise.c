/* Initial values. Element i of an entry is element i of the stream of (seed, "init", full name): it
 * does not matter what else is in the tree or in which order it was made. */
#include "param/tree.h"

#include <math.h>
#include <string.h>

static double normal_within(mica_key key, uint64_t i, double bound) {
  /* The chance of one more try is below 5 %; the streams of the tries are apart. */
  for (uint64_t k = 0;; k++) {
    double z = mica_random_normal(k ? mica_key_fold(key, k) : key, i);
    if (fabs(z) <= bound) return z;
  }
}

/* Rows (or columns, whichever are fewer) orthonormal: Gram-Schmidt, done twice for accuracy, on
 * normal vectors. Its R has a positive diagonal, which makes the distribution uniform (Mezzadri
 * 2007). */
static mica_status orthogonal(mica_param *q, mica_key key, double gain) {
  const int64_t n = mica_tensor_count(q->value);
  if (!n) return MICA_OK;
  const int64_t rows = mica_tensor_shape(q->value)->rank ? mica_tensor_dim(q->value, 0) : 1;
  const int64_t cols = n / rows;
  const int64_t length = rows > cols ? rows : cols, vectors = rows > cols ? cols : rows;
  double *a = mica_malloc((size_t)n * sizeof *a); /* a vector a row */
  if (!a) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) a[i] = mica_random_normal(key, (uint64_t)i);
  for (int64_t i = 0; i < vectors; i++) {
    double *v = a + i * length, norm = 0;
    for (int64_t j = 0; j < 2 * i; j++) {
      const double *u = a + j % i * length;
      double dot = 0;
      for (int64_t k = 0; k < length; k++) dot += u[k] * v[k];
      for (int64_t k = 0; k < length; k++) v[k] -= dot * u[k];
    }
    for (int64_t k = 0; k < length; k++) norm += v[k] * v[k];
    for (int64_t k = 0; k < length; k++) v[k] /= sqrt(norm);
  }
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++)
      mica_tensor_set(q->value, i * cols + j,
                      gain * (rows > cols ? a[j * length + i] : a[i * length + j]));
  mica_free(a);
  return MICA_OK;
}

/* The sign of each normal draw times the (unbiased) deviation of all of them. */
static mica_status signs(mica_param *q, mica_key key, double deviation) {
  const int64_t n = mica_tensor_count(q->value);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; i++) {
    const double z = mica_random_normal(key, (uint64_t)i);
    sum += z;
    squares += z * z;
  }
  const double mean = n ? sum / (double)n : 0;
  const double size = n > 1 ? sqrt((squares - mean * sum) / (double)(n - 1)) : 1;
  for (int64_t i = 0; i < n; i++)
    mica_tensor_set(q->value, i,
                    (mica_random_normal(key, (uint64_t)i) < 0 ? -1 : 1) * size * deviation);
  return MICA_OK;
}

/* What the elements of one entry are drawn from. */
typedef struct draws {
  mica_tensor *to;
  mica_key key;
  enum { SAME, BINARY, WITHIN, UNIFORM, NORMAL } how;
  double a, b; /* value; size; mean and deviation; ends; mean and deviation */
  int64_t n;
} draws;

#define PIECE 16384

static void draw_range(void *ctx, int64_t begin, int64_t end) {
  const draws *d = ctx;
  const int64_t to = end * PIECE < d->n ? end * PIECE : d->n;
  for (int64_t i = begin * PIECE; i < to; i++) {
    const uint64_t u = (uint64_t)i;
    double x = d->a;
    switch (d->how) {
    case SAME: break;
    case BINARY: x = (mica_random_bits(d->key, u) & 1 ? 1 : -1) * d->a; break;
    case WITHIN: x = d->a + d->b * normal_within(d->key, u, 2); break;
    case UNIFORM: x = d->a + (d->b - d->a) * mica_random_uniform(d->key, u); break;
    case NORMAL: x = d->a + d->b * mica_random_normal(d->key, u); break;
    }
    mica_tensor_set(d->to, i, x);
  }
}

mica_status mica_init_fill(mica_param *q, const mica_init *init) {
  const mica_shape *shape = mica_tensor_shape(q->value);
  const int64_t n = mica_tensor_count(q->value);
  const double gain = init->gain != 0 ? init->gain : 1;
  const double count = n ? (double)n : 1;
  const double fan_in = shape->rank && shape->dim[0] ? count / (double)shape->dim[0] : 1;
  const double fan_out =
      shape->rank && shape->dim[shape->rank - 1] ? count / (double)shape->dim[shape->rank - 1] : 1;
  const double fan = init->fan_out ? fan_out : fan_in;
  mica_key key = mica_key_fold_name(mica_key_seed(q->tree->seed), "init");
  key = mica_key_fold_name(key, q->path);
  if (q->tree->seed == MICA_SEED_NONE) {
    memset(mica_tensor_data(q->value), 0, (size_t)n * mica_dtype_size(mica_tensor_dtype(q->value)));
    return MICA_OK;
  }

  draws d = {q->value, key, UNIFORM, init->a, init->b, n};
  switch (init->kind) {
  case MICA_INIT_CONSTANT: d.how = SAME; break;
  case MICA_INIT_ORTHOGONAL: return orthogonal(q, key, gain);
  case MICA_INIT_SIGN: return signs(q, key, gain / sqrt(fan));
  case MICA_INIT_BINARY:
    d.how = BINARY;
    d.a = gain / sqrt(fan);
    break;
  case MICA_INIT_TRUNC_NORMAL: d.how = WITHIN; break;
  case MICA_INIT_UNIFORM: break;
  case MICA_INIT_KAIMING_UNIFORM:
    d.b = gain * sqrt(3 / fan);
    d.a = -d.b;
    break;
  case MICA_INIT_XAVIER_UNIFORM:
    d.b = gain * sqrt(6 / (fan_in + fan_out));
    d.a = -d.b;
    break;
  case MICA_INIT_NORMAL: d.how = NORMAL; break;
  case MICA_INIT_KAIMING_NORMAL:
    d.how = NORMAL;
    d.a = 0;
    d.b = gain / sqrt(fan);
    break;
  case MICA_INIT_XAVIER_NORMAL:
    d.how = NORMAL;
    d.a = 0;
    d.b = gain * sqrt(2 / (fan_in + fan_out));
    break;
  default:
    return mica_fail(MICA_ERR_INVALID, "parameter '%s': unknown initialiser %d", q->path,
                     (int)init->kind);
  }
  mica_parallel_for(q->tree->engine, (n + PIECE - 1) / PIECE, draw_range, &d);
  return MICA_OK;
}
