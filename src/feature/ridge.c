/* Ridge regression and the ridge classifier, in closed form on the smaller side.
 *
 * Minimises |Y - X W - b|^2 + lambda |W|^2; for classification Y is one-hot. With D <= N the D x D
 * scatter matrix is factorised, else the N x N Gram matrix. One lambda takes a Cholesky
 * factorisation. A path of lambdas takes one eigendecomposition, from which the exact leave-one-out
 * residuals (y - f) / (1 - h) of every lambda follow (the intercept refitted too), or Golub, Heath
 * and Wahba's (1979) generalised cross-validation, which puts the mean of h in place of each h.
 * Memory: 8 (2 D^2 + D T) bytes, or with D > N 8 (3 N^2 + N D).
 */
#include "feature/linear_head.h"
#include "numeric/chunks.h"
#include "numeric/distance.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "numeric/serial.h"
#include "tensor/kernel/gemm.h"

#include <math.h>
#include <string.h>

typedef struct {
  uint32_t size;
  mica_floats lambda;
  int32_t select;
  bool intercept, standardise;
} options;

enum { SELECT_LOO, SELECT_GCV, block_rows = 256 };

static const mica_option option_table[] = {
    {"lambda", MICA_OPTION_FLOATS, "1", 0, 1e15, NULL,
     "strength of the L2 penalty; of several, cross-validation chooses", offsetof(options, lambda)},
    {"select", MICA_OPTION_CHOICE, "loo", 0, 0, "loo|gcv",
     "how: squared leave-one-out error, or generalised cross-validation",
     offsetof(options, select)},
    {"intercept", MICA_OPTION_BOOL, "true", 0, 0, NULL, "fit a bias, which is not penalised",
     offsetof(options, intercept)},
    {"standardise", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "scale every feature to unit variance before the penalty", offsetof(options, standardise)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

typedef struct {
  const mica_engine *engine;
  const options *o;
  const mica_fit_data *data;
  int64_t n, d, t;
  double *mean, *scale; /* [D]; scale 1 where not asked for */
  double *target_mean;  /* [T] */
  double *w;            /* [D, T] solution for the centred, scaled columns */
  double chosen, error; /* of a path */
} ridge;

static double target(const ridge *r, int64_t i, int64_t t) {
  if (r->data->label) return r->data->label[i] == t;
  const mica_view *y = r->data->target;
  int64_t at = i * y->row_stride + t;
  return y->dtype == MICA_F32 ? (double)((const float *)y->data)[at]
                              : ((const double *)y->data)[at];
}

/* ---- columns and cross products ---- */

static mica_status prepare(ridge *r) {
  mica_moments m;
  mica_status status = mica_moments_begin(&m, r->d, false);
  if (!status) status = mica_moments_add(r->engine, &m, &r->data->x);
  for (int64_t j = 0; j < r->d && !status; j++) {
    double deviation = sqrt(m.square[j] / (double)r->n);
    r->mean[j] = r->o->intercept ? m.mean[j] : 0;
    r->scale[j] = r->o->standardise && deviation > 1e-12 * fabs(m.mean[j]) ? 1 / deviation : 1;
  }
  mica_moments_end(&m);
  memset(r->target_mean, 0, (size_t)r->t * sizeof *r->target_mean);
  for (int64_t i = 0; r->o->intercept && i < r->n; i++)
    for (int64_t t = 0; t < r->t; t++) r->target_mean[t] += target(r, i, t) / (double)r->n;
  return status;
}

typedef struct {
  const ridge *r;
  int64_t chunks;
  double *partial; /* [chunks, D, T] */
} cross_job;

/* sum_i (x_i - mean) (y_i - mean)^T over a share of the rows. */
static mica_status cross_chunk(void *ctx, int64_t chunk, void *scratch) {
  const cross_job *j = ctx;
  const ridge *r = j->r;
  int64_t n = r->n, d = r->d, t = r->t;
  int64_t begin = n / j->chunks * chunk + n % j->chunks * chunk / j->chunks;
  int64_t end = n / j->chunks * (chunk + 1) + n % j->chunks * (chunk + 1) / j->chunks;
  double *rows = scratch, *y = rows + block_rows * d;
  for (int64_t from = begin; from < end; from += block_rows) {
    int64_t m = (from + block_rows < end ? from + block_rows : end) - from;
    mica_rows_load(&r->data->x, from, from + m, r->mean, rows);
    for (int64_t i = 0; i < m; i++)
      for (int64_t c = 0; c < t; c++) y[i * t + c] = target(r, from + i, c) - r->target_mean[c];
    mica_status status = mica_gemm(r->engine, MICA_F64, true, false, d, t, m, 1, rows, d, y, t, 1,
                                   j->partial + chunk * d * t, t);
    if (status) return status;
  }
  return MICA_OK;
}

/* w = scaled X^T Y. */
static mica_status cross_products(ridge *r) {
  int64_t size = r->d * r->t;
  cross_job j = {.r = r, .chunks = 1 + r->n / 1024 < 16 ? 1 + r->n / 1024 : 16};
  while (j.chunks > 1 && j.chunks * size > (128 << 20) / 8) j.chunks--;
  j.partial = mica_calloc((size_t)(j.chunks * size), sizeof *j.partial);
  if (!j.partial) return MICA_ERR_MEMORY;
  mica_status status = mica_chunks_run(
      r->engine, j.chunks, (size_t)(block_rows * (r->d + r->t)) * sizeof(double), cross_chunk, &j);
  memset(r->w, 0, (size_t)size * sizeof *r->w);
  for (int64_t c = 0; c < j.chunks; c++)
    for (int64_t i = 0; i < size; i++) r->w[i] += j.partial[c * size + i];
  for (int64_t i = 0; i < size; i++) r->w[i] *= r->scale[i / r->t];
  mica_free(j.partial);
  return status;
}

static mica_status solve_one(const ridge *r, int64_t n, double *matrix, double *b) {
  double lambda = r->o->lambda.v[0];
  for (int64_t i = 0; i < n; i++) matrix[i * n + i] += lambda;
  mica_status status = mica_serial_solve(r->engine, n, r->t, matrix, b);
  if (status == MICA_ERR_NUMERIC)
    return mica_fail(
        status, "ridge: the features are linearly dependent and lambda %g is too small", lambda);
  return status;
}

/* ---- choosing lambda ---- */

typedef struct {
  const ridge *r;
  const double *values;  /* [rank] eigenvalues, not negative */
  const double *vectors; /* primal: [D, D] scaled eigenvectors in columns; dual: [N, N] */
  const double *rotated; /* primal: [D, T] V^T X^T Y; dual: [N, T] U^T Y */
  int64_t rank, lambdas, chunks;
  double *
      squares; /* [chunks, lambdas] sums of squared residuals, divided by 1 - h for leave-one-out */
  double *leverage; /* [chunks, lambdas] sums of h */
} path;

/* Residuals of m rows, whose coordinates along the eigenvectors are z [m, rank]. In the dual z are
 * the eigenvectors' own entries: X V = U S, and h and residual come from 1 - h, which keeps its
 * digits. */
static mica_status path_rows(const path *p, bool dual, int64_t row, int64_t m, const double *z,
                             double *weights, double *fitted, double *squares, double *leverage) {
  const ridge *r = p->r;
  double own = r->o->intercept ? 1 / (double)r->n : 0;
  for (int64_t l = 0; l < p->lambdas; l++) {
    double lambda = r->o->lambda.v[l];
    for (int64_t j = 0; j < p->rank; j++) {
      double shrink = dual ? lambda / (p->values[j] + lambda) : 1 / (p->values[j] + lambda);
      for (int64_t t = 0; t < r->t; t++) weights[j * r->t + t] = p->rotated[j * r->t + t] * shrink;
    }
    mica_status status = mica_gemm(r->engine, MICA_F64, false, false, m, r->t, p->rank, 1, z,
                                   p->rank, weights, r->t, 0, fitted, r->t);
    if (status) return status;
    for (int64_t i = 0; i < m; i++) {
      double h = 0;
      for (int64_t j = 0; j < p->rank; j++) {
        double v = z[i * p->rank + j];
        h += v * v * (dual ? lambda : 1) / (p->values[j] + lambda);
      }
      double rest = (dual ? h : 1 - h) - own; /* 1 - h with the intercept's share */
      leverage[l] += 1 - rest;
      for (int64_t t = 0; t < r->t; t++) {
        double e = dual ? fitted[i * r->t + t]
                        : target(r, row + i, t) - r->target_mean[t] - fitted[i * r->t + t];
        if (r->o->select == SELECT_LOO) e /= fmax(rest, 1e-12);
        squares[l] += e * e;
      }
    }
  }
  return MICA_OK;
}

static mica_status path_chunk(void *ctx, int64_t chunk, void *scratch) {
  const path *p = ctx;
  const ridge *r = p->r;
  int64_t n = r->n, d = r->d;
  bool dual = d > n;
  int64_t begin = n / p->chunks * chunk + n % p->chunks * chunk / p->chunks;
  int64_t end = n / p->chunks * (chunk + 1) + n % p->chunks * (chunk + 1) / p->chunks;
  double *rows = scratch, *z = rows + (dual ? 0 : block_rows * d);
  double *weights = z + (dual ? 0 : block_rows * p->rank), *fitted = weights + p->rank * r->t;
  for (int64_t from = begin; from < end; from += block_rows) {
    int64_t m = (from + block_rows < end ? from + block_rows : end) - from;
    const double *coordinates = z;
    mica_status status = MICA_OK;
    if (dual) {
      coordinates = p->vectors + from * n;
    } else {
      mica_rows_load(&r->data->x, from, from + m, r->mean, rows);
      status =
          mica_gemm(r->engine, MICA_F64, false, false, m, d, d, 1, rows, d, p->vectors, d, 0, z, d);
    }
    if (!status)
      status = path_rows(p, dual, from, m, coordinates, weights, fitted,
                         p->squares + chunk * p->lambdas, p->leverage + chunk * p->lambdas);
    if (status) return status;
  }
  return MICA_OK;
}

/* The lambda with the smallest error; the first of equals. */
static mica_status choose(ridge *r, path *p) {
  bool dual = r->d > r->n;
  p->lambdas = r->o->lambda.n;
  p->chunks = 1 + r->n / 1024 < 16 ? 1 + r->n / 1024 : 16;
  double *sums = mica_calloc((size_t)(2 * p->chunks * p->lambdas), sizeof *sums);
  if (!sums) return MICA_ERR_MEMORY;
  p->squares = sums;
  p->leverage = sums + p->chunks * p->lambdas;
  size_t scratch =
      (size_t)((dual ? 0 : block_rows * (r->d + p->rank)) + (p->rank + block_rows) * r->t);
  mica_status status =
      mica_chunks_run(r->engine, p->chunks, scratch * sizeof(double), path_chunk, p);
  r->error = INFINITY;
  for (int64_t l = 0; l < p->lambdas && !status; l++) {
    double square = 0, leverage = 0, count = (double)r->n;
    for (int64_t c = 0; c < p->chunks; c++) {
      square += p->squares[c * p->lambdas + l];
      leverage += p->leverage[c * p->lambdas + l];
    }
    double error = square / (count * (double)r->t);
    if (r->o->select == SELECT_GCV) {
      double rest = fmax(1 - leverage / count, 1e-12);
      error /= rest * rest;
    }
    if (error < r->error) r->error = error, r->chosen = r->o->lambda.v[l];
  }
  if (!status && isinf(r->error))
    status = mica_fail(MICA_ERR_NUMERIC, "ridge: no lambda gives a finite leave-one-out error");
  mica_free(sums);
  return status;
}

static mica_status check_path(const ridge *r) {
  for (int32_t l = 0; l < r->o->lambda.n; l++)
    if (!(r->o->lambda.v[l] > 0))
      return mica_fail(MICA_ERR_INVALID,
                       "ridge: lambda 0 in a list of several, expected more than 0");
  return MICA_OK;
}

/* ---- the two sides ---- */

static mica_status primal_path(ridge *r, double *scatter) {
  int64_t d = r->d, t = r->t;
  double *vectors = mica_malloc((size_t)(d * d + d + 2 * d * t) * sizeof *vectors);
  if (!vectors) return MICA_ERR_MEMORY;
  double *values = vectors + d * d, *rotated = values + d, *solution = rotated + d * t;
  mica_status status = mica_serial_eigen(r->engine, d, scatter, values, vectors);
  if (!status) status = mica_product(r->engine, true, d, t, d, vectors, r->w, rotated);
  if (!status) {
    for (int64_t i = 0; i < d; i++) values[i] = fmax(values[i], 0);
    memcpy(scatter, vectors, (size_t)(d * d) * sizeof *scatter);
    for (int64_t i = 0; i < d * d; i++) scatter[i] *= r->scale[i / d]; /* for unscaled rows */
    path p = {.r = r, .values = values, .vectors = scatter, .rotated = rotated, .rank = d};
    status = choose(r, &p);
  }
  if (!status) {
    for (int64_t i = 0; i < d * t; i++) rotated[i] /= values[i / t] + r->chosen;
    status = mica_product(r->engine, false, d, t, d, vectors, rotated, solution);
    memcpy(r->w, solution, (size_t)(d * t) * sizeof *solution);
  }
  mica_free(vectors);
  return status;
}

static mica_status fit_primal(ridge *r) {
  int64_t d = r->d;
  double *scatter = mica_malloc((size_t)(d * d) * sizeof *scatter);
  if (!scatter) return MICA_ERR_MEMORY;
  mica_status status = mica_scatter(r->engine, &r->data->x, NULL, r->mean, scatter, NULL);
  for (int64_t i = 0; i < d * d && !status; i++) scatter[i] *= r->scale[i / d] * r->scale[i % d];
  if (!status) status = cross_products(r);
  if (!status)
    status = r->o->lambda.n > 1 ? primal_path(r, scatter) : solve_one(r, d, scatter, r->w);
  mica_free(scatter);
  return status;
}

static mica_status dual_path(ridge *r, double *gram, double *y) {
  int64_t n = r->n, t = r->t;
  double *vectors = mica_malloc((size_t)(n * n + n + n * t) * sizeof *vectors);
  if (!vectors) return MICA_ERR_MEMORY;
  double *values = vectors + n * n, *rotated = values + n;
  mica_status status = mica_serial_eigen(r->engine, n, gram, values, vectors);
  if (!status) status = mica_product(r->engine, true, n, t, n, vectors, y, rotated);
  if (!status) {
    for (int64_t i = 0; i < n; i++) values[i] = fmax(values[i], 0);
    path p = {.r = r, .values = values, .vectors = vectors, .rotated = rotated, .rank = n};
    status = choose(r, &p);
  }
  if (!status) {
    for (int64_t i = 0; i < n * t; i++) rotated[i] /= values[i / t] + r->chosen;
    status = mica_product(r->engine, false, n, t, n, vectors, rotated, y);
  }
  mica_free(vectors);
  return status;
}

static mica_status fit_dual(ridge *r) {
  int64_t n = r->n, d = r->d, t = r->t;
  double *rows = mica_malloc_aligned((size_t)(n * d) * sizeof *rows);
  double *gram = mica_malloc((size_t)(n * n + n * t) * sizeof *gram);
  mica_status status = rows && gram ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    double *y = gram + n * n;
    mica_rows_load(&r->data->x, 0, n, r->mean, rows);
    for (int64_t i = 0; i < n * d; i++) rows[i] *= r->scale[i % d];
    for (int64_t i = 0; i < n * t; i++) y[i] = target(r, i / t, i % t) - r->target_mean[i % t];
    mica_view x = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, d));
    status = mica_distances(r->engine, MICA_METRIC_INNER, &x, &x, gram);
    for (int64_t i = 0; i < n * n; i++) gram[i] = -gram[i];
    if (!status) status = r->o->lambda.n > 1 ? dual_path(r, gram, y) : solve_one(r, n, gram, y);
    if (!status) status = mica_product(r->engine, true, d, t, n, rows, y, r->w);
  }
  mica_free_aligned(rows);
  mica_free(gram);
  return status;
}

/* ---- the estimator ---- */

static void fold_back(const ridge *r, mica_linear_head *head) {
  for (int64_t t = 0; t < r->t; t++) {
    double *to = head->weight + t * r->d;
    for (int64_t j = 0; j < r->d; j++) to[j] = r->w[j * r->t + t] * r->scale[j];
    head->bias[t] = r->target_mean[t] - mica_dot(to, r->mean, r->d);
  }
}

static bool head_is_finite(const mica_linear_head *head) {
  double sum = 0;
  for (int64_t i = 0; i < head->features * head->outputs; i++) sum += 0 * head->weight[i];
  for (int64_t i = 0; i < head->outputs; i++) sum += 0 * head->bias[i];
  return sum == 0;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  ridge r = {.engine = engine,
             .o = given,
             .data = data,
             .n = mica_rows_n(&data->x),
             .d = mica_rows_d(&data->x)};
  r.t = data->label ? data->classes : mica_rows_d(data->target);
  fitted->task = data->label ? MICA_TASK_CLASSIFICATION : MICA_TASK_REGRESSION;
  fitted->classes = data->label ? data->classes : 0;
  fitted->outputs = r.t;
  if (r.o->lambda.n < 1) return mica_fail(MICA_ERR_INVALID, "ridge: no lambda");
  mica_status status = r.o->lambda.n > 1 ? check_path(&r) : MICA_OK;
  if (status) return status;
  mica_linear_head *head = NULL;
  r.mean = mica_malloc((size_t)(2 * r.d + r.t + r.d * r.t) * sizeof *r.mean);
  if (!r.mean) return MICA_ERR_MEMORY;
  r.scale = r.mean + r.d;
  r.target_mean = r.scale + r.d;
  r.w = r.target_mean + r.t;
  status = mica_linear_head_create(r.d, r.t, &head);
  if (!status) status = prepare(&r);
  if (!status) status = r.d > r.n ? fit_dual(&r) : fit_primal(&r);
  if (!status) {
    fold_back(&r, head);
    if (!head_is_finite(head))
      status = mica_fail(MICA_ERR_NUMERIC,
                         "ridge: the solution is not finite, the features are too large");
  }
  if (!status && r.o->lambda.n > 1) {
    report->leave_one_out = r.error;
    report->chosen = r.chosen;
  }
  mica_free(r.mean);
  if (status)
    mica_linear_head_free(head);
  else
    *state = head;
  return status;
}

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  (void)o;
  return mica_linear_head_predict(engine, state, x, NULL, out);
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_REGRESSES,
    .fit = fit,
    .free = mica_linear_head_free,
    .predict = predict,
    .save = mica_linear_head_save,
    .load = mica_linear_head_load,
};

extern const mica_component mica_component_estimator_ridge;
const mica_component mica_component_estimator_ridge = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "ridge",
    "ridge classifier and regression in closed form, lambda by leave-one-out",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES,
    MICA_NEED_LOGITS,
    &functions};
