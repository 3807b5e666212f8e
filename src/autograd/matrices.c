#include "autograd/matrices.h"

#include "autograd/ranges.h"
#include "tensor/kernel/gemm.h"
#include "tensor/kernel/library.h"

#include <string.h>

/* Multiply-adds for which another task pays. */
#define TASK 65536

static void add_operand(mica_matrices *m, const mica_view *v, int64_t size, bool written) {
  const bool absent = !v || !v->data;
  m->operand[m->n++] = (struct mica_matrix_operand){absent ? MICA_F64 : v->dtype,
                                                    absent ? NULL : v->data, size, written};
}

void mica_matrices_read(mica_matrices *m, const mica_view *v, int64_t size) {
  add_operand(m, v, size, false);
}

void mica_matrices_write(mica_matrices *m, const mica_view *v, int64_t size) {
  add_operand(m, v, size, true);
}

typedef struct matrices_job {
  const mica_engine *engine;
  const mica_matrices *m;
  int64_t group, room; /* matrices of a chunk; float64 elements that one takes */
  mica_status *status; /* of each matrix */
} matrices_job;

static mica_status run_one(const matrices_job *j, int64_t i, double *room) {
  const mica_matrices *m = j->m;
  mica_matrix w = {.engine = j->engine, .ctx = m->ctx, .scratch = room};
  room += m->scratch;
  for (int k = 0; k < m->n; k++) {
    const struct mica_matrix_operand *o = &m->operand[k];
    if (!o->data) continue;
    if (o->dtype == MICA_F64) {
      w.x[k] = (double *)o->data + i * o->size;
      continue;
    }
    w.x[k] = room;
    room += o->size;
    if (o->written) continue;
    const float *from = (const float *)o->data + i * o->size;
    for (int64_t e = 0; e < o->size; e++) w.x[k][e] = (double)from[e];
  }
  const mica_status status = m->fn(&w);
  if (status != MICA_OK) return status;
  for (int k = 0; k < m->n; k++) {
    const struct mica_matrix_operand *o = &m->operand[k];
    if (!o->data || !o->written || o->dtype == MICA_F64) continue;
    float *to = (float *)o->data + i * o->size;
    for (int64_t e = 0; e < o->size; e++) to[e] = (float)w.x[k][e];
  }
  return MICA_OK;
}

static void run_range(void *ctx, int64_t begin, int64_t end) {
  const matrices_job *j = ctx;
  const int64_t last = end * j->group < j->m->count ? end * j->group : j->m->count;
  double *room = mica_workspace_acquire(j->engine, (size_t)j->room * sizeof *room);
  for (int64_t i = begin * j->group; i < last; i++)
    j->status[i] = room ? run_one(j, i, room) : MICA_ERR_MEMORY;
  mica_workspace_release(j->engine, room);
}

bool mica_matrices_run(mica_call *c, const mica_matrices *m) {
  if (!mica_ok(c->tape)) return false;
  const int64_t each = m->side > 256 ? TASK : m->side * m->side * m->side + 1;
  matrices_job job = {c->engine, m, each < TASK ? TASK / each : 1, m->scratch, NULL};
  for (int k = 0; k < m->n; k++)
    if (m->operand[k].dtype != MICA_F64) job.room += m->operand[k].size;
  job.status = mica_call_scratch(c, (size_t)m->count * sizeof *job.status);
  if (!job.status) return false;
  mica_parallel_for(c->engine, (m->count + job.group - 1) / job.group, run_range, &job);
  for (int64_t i = 0; i < m->count; i++) {
    if (job.status[i] == MICA_OK) continue;
    /* Messages of other threads stay there: what failed is asked again here for its own. */
    double *room = job.status[i] == MICA_ERR_MEMORY
                       ? NULL
                       : mica_workspace_acquire(c->engine, (size_t)job.room * sizeof *room);
    const mica_status status = room ? run_one(&job, i, room) : MICA_ERR_MEMORY;
    mica_workspace_release(c->engine, room);
    if (status == MICA_ERR_MEMORY)
      mica_call_fail(c, status, "out of memory for a matrix");
    else
      mica_call_fail(c, status, "matrix %lld of %lld: %s", (long long)i + 1, (long long)m->count,
                     mica_last_error());
    return false;
  }
  return true;
}

mica_matrix_size mica_matrices_size(const mica_view *v) {
  mica_matrix_size s = {1, v->shape.dim[v->shape.rank - 2], v->shape.dim[v->shape.rank - 1]};
  for (int d = 0; d + 2 < v->shape.rank; d++) s.count *= v->shape.dim[d];
  return s;
}

bool mica_matrices_of(mica_call *c, int i, mica_matrix_size *size) {
  const mica_view *v = &c->in[i];
  if (!mica_is_float(v) || v->shape.rank < 2) {
    mica_call_fail(c, MICA_ERR_SHAPE, "expected matrices [..,rows,cols] of floats:");
    return false;
  }
  if (v->shape.rank == 2) mica_call_mixes(c, i);
  *size = mica_matrices_size(v);
  return true;
}

bool mica_square_of(mica_call *c, int i, mica_matrix_size *size) {
  if (!mica_matrices_of(c, i, size)) return false;
  if (size->rows == size->cols) return true;
  mica_call_fail(c, MICA_ERR_SHAPE, "expected square matrices:");
  return false;
}

mica_shape mica_matrices_shape(const mica_shape *shape, int64_t rows, int64_t cols) {
  mica_shape s = *shape;
  s.rank -= 2;
  if (rows >= 0) s.dim[s.rank++] = rows;
  if (cols >= 0) s.dim[s.rank++] = cols;
  return s;
}

mica_status mica_matrix_product(const mica_matrix *w, bool trans_a, bool trans_b, int64_t m,
                                int64_t n, int64_t k, double alpha, const double *a,
                                const double *b, double beta, double *c) {
  return mica_gemm(w->engine, MICA_F64, trans_a, trans_b, m, n, k, alpha, a, trans_a ? m : k, b,
                   trans_b ? k : n, beta, c, n);
}

void mica_matrix_turn(int64_t m, int64_t n, const double *x, double *y) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) y[j * m + i] = x[i * n + j];
}

void mica_matrix_symmetric(int64_t n, const double *x, double *y) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j <= i; j++)
      y[i * n + j] = y[j * n + i] = x[i * n + j] / 2 + x[j * n + i] / 2;
}
