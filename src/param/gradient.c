/* Gradients of parameters: none, dense, or rows (ids and values) that are coalesced when asked for
 * (gradient_rows.c). Memory of both forms stays from step to step.
 */
#include "param/tree.h"

#include "autograd/sink.h"
#include "tensor/element.h"

#include <math.h>
#include <string.h>

static int64_t row_width(const mica_param *q) {
  int64_t rows = mica_tensor_dim(q->value, 0);
  return rows ? mica_tensor_count(q->value) / rows : 0;
}

static size_t element(const mica_param *q) {
  return mica_dtype_size(mica_tensor_dtype(q->value));
}
static size_t bytes(const mica_param *q) {
  return (size_t)mica_tensor_count(q->value) * element(q);
}

void mica_param_free_grad(mica_param *q) {
  mica_free_aligned(q->dense);
  mica_free(q->ids);
  mica_free_aligned(q->rows);
  mica_free_aligned(q->spare_rows);
  q->dense = q->rows = q->spare_rows = NULL;
  q->ids = NULL;
  q->n_rows = q->cap_rows = q->cap_spare = 0;
  q->grad_kind = MICA_GRAD_NONE;
}

mica_grad_kind mica_param_grad_kind(const mica_param *q) {
  return q->grad_kind;
}

static void add(const mica_param *q, void *to, const void *from, int64_t n) {
  if (mica_tensor_dtype(q->value) == MICA_F32) {
    float *a = to;
    const float *b = from;
    for (int64_t i = 0; i < n; i++) a[i] += b[i];
  } else {
    double *a = to;
    const double *b = from;
    for (int64_t i = 0; i < n; i++) a[i] += b[i];
  }
}

static char *row_at(const mica_param *q, void *rows, int64_t i) {
  return (char *)rows + (size_t)(i * row_width(q)) * element(q);
}

static bool make_dense(mica_param *q) {
  if (!q->dense && !(q->dense = mica_malloc_aligned(bytes(q)))) return false;
  if (q->grad_kind == MICA_GRAD_ROWS) {
    memset(q->dense, 0, bytes(q));
    for (int64_t i = 0; i < q->n_rows; i++)
      add(q, row_at(q, q->dense, q->ids[i]), row_at(q, q->rows, i), row_width(q));
    q->n_rows = 0;
    q->grad_kind = MICA_GRAD_DENSE;
  }
  return true;
}

void *mica_param_dense(mica_param *q) {
  if (!make_dense(q)) return NULL;
  if (q->grad_kind == MICA_GRAD_NONE) memset(q->dense, 0, bytes(q));
  q->grad_kind = MICA_GRAD_DENSE;
  return q->dense;
}

/* ---- the sink that the tape writes to ---- */

static void *sink_dense(void *owner, bool *fresh) {
  mica_param *q = owner;
  if (!make_dense(q)) return NULL;
  *fresh = q->grad_kind == MICA_GRAD_NONE;
  q->grad_kind = MICA_GRAD_DENSE;
  return q->dense;
}

mica_status mica_param_add_rows(mica_param *q, const int64_t *ids, const void *values, int64_t n) {
  const int64_t width = row_width(q);
  if (q->grad_kind == MICA_GRAD_DENSE) {
    for (int64_t i = 0; i < n; i++)
      add(q, row_at(q, q->dense, ids[i]), (const char *)values + (size_t)(i * width) * element(q),
          width);
    return MICA_OK;
  }
  const mica_status status = mica_param_put_rows(q, ids, values, n);
  if (status == MICA_OK) q->grad_kind = MICA_GRAD_ROWS;
  return status;
}

static mica_status sink_rows(void *owner, const int64_t *ids, const void *values, int64_t n) {
  return mica_param_add_rows(owner, ids, values, n);
}

static void sink_invalidate(void *owner) {
  ((mica_param *)owner)->grad_invalid = true;
}

static const mica_sink param_sink = {sink_dense, sink_rows, sink_invalidate};

mica_var mica_param_var(mica_tape *t, mica_param *q) {
  const mica_view view = mica_tensor_view(q->value);
  return mica_sink_leaf(t, &view, q->flags & MICA_PARAM_TRAINABLE ? &param_sink : NULL, q);
}

/* ---- rows ---- */

mica_status mica_param_grad_rows(mica_param *q, const int64_t **ids, const void **values,
                                 int64_t *n) {
  if (q->grad_kind != MICA_GRAD_ROWS)
    return mica_fail(MICA_ERR_STATE, "parameter '%s' has no row gradient", q->path);
  mica_status status = mica_param_coalesce(q);
  if (status == MICA_OK) mica_param_mask_grad(q);
  *ids = q->ids;
  *values = q->rows;
  *n = q->n_rows;
  return status;
}

mica_view mica_param_grad(mica_param *q) {
  mica_view none = mica_view_of(NULL, mica_tensor_dtype(q->value), *mica_tensor_shape(q->value));
  if (q->grad_kind == MICA_GRAD_NONE || !make_dense(q)) return none;
  mica_param_mask_grad(q);
  none.data = q->dense;
  return none;
}

/* ---- over the tree ---- */

void mica_params_zero_grad(mica_params *p) {
  for (int64_t i = 0; i < p->n; i++) {
    p->param[i]->grad_kind = MICA_GRAD_NONE;
    p->param[i]->n_rows = 0;
    p->param[i]->grad_invalid = false;
  }
}

bool mica_params_grad_valid(const mica_params *p) {
  for (int64_t i = 0; i < p->n; i++)
    if (p->param[i]->grad_invalid) return false;
  return true;
}

/* The gradient's numbers as they lie: all of the dense form, the coalesced rows. */
static int64_t numbers(mica_param *q, void **x) {
  if (!(q->flags & MICA_PARAM_TRAINABLE) || q->grad_kind == MICA_GRAD_NONE) return 0;
  if (q->grad_kind == MICA_GRAD_DENSE) {
    mica_param_mask_grad(q);
    *x = q->dense;
    return mica_tensor_count(q->value);
  }
  if (mica_param_coalesce(q) != MICA_OK) return 0;
  mica_param_mask_grad(q);
  *x = q->rows;
  return q->n_rows * row_width(q);
}

#define NORM_CHUNK 65536

typedef struct norm_job {
  mica_view x;
  int64_t n;
  double *partial;
} norm_job;

static void norm_range(void *ctx, int64_t begin, int64_t end) {
  const norm_job *job = ctx;
  for (int64_t c = begin; c < end; c++) {
    int64_t from = c * NORM_CHUNK, to = from + NORM_CHUNK < job->n ? from + NORM_CHUNK : job->n;
    double s[4] = {0, 0, 0, 0};
    for (int64_t i = from; i < to; i++) {
      const double v = mica_view_element(&job->x, i);
      s[i & 3] += v * v;
    }
    job->partial[c] = s[0] + s[1] + s[2] + s[3];
  }
}

double mica_params_grad_norm(mica_params *p) {
  double total = 0;
  enum { PARTIALS = 4096 };
  double partial[PARTIALS];
  for (int64_t i = 0; i < p->n; i++) {
    void *x = NULL;
    int64_t n = numbers(p->param[i], &x);
    const mica_dtype dtype = mica_tensor_dtype(p->param[i]->value);
    for (int64_t from = 0; from < n; from += (int64_t)PARTIALS * NORM_CHUNK) {
      int64_t here =
          n - from < (int64_t)PARTIALS * NORM_CHUNK ? n - from : (int64_t)PARTIALS * NORM_CHUNK;
      norm_job job = {
          mica_view_of((char *)x + (size_t)from * mica_dtype_size(dtype), dtype, MICA_SHAPE(here)),
          here, partial};
      int64_t chunks = (here + NORM_CHUNK - 1) / NORM_CHUNK;
      mica_parallel_for(p->engine, chunks, norm_range, &job);
      for (int64_t c = 0; c < chunks; c++) total += partial[c];
    }
  }
  return sqrt(total);
}

void mica_params_grad_scale(mica_params *p, double factor) {
  for (int64_t i = 0; i < p->n; i++) {
    void *x = NULL;
    int64_t n = numbers(p->param[i], &x);
    if (mica_tensor_dtype(p->param[i]->value) == MICA_F32)
      for (int64_t k = 0; k < n; k++) ((float *)x)[k] *= (float)factor;
    else
      for (int64_t k = 0; k < n; k++) ((double *)x)[k] *= factor;
  }
}

double mica_params_grad_clip(mica_params *p, double max_norm) {
  double norm = mica_params_grad_norm(p);
  if (norm > max_norm) mica_params_grad_scale(p, max_norm / (norm + 1e-6));
  return norm;
}
