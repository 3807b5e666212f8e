#include "tensor/kernel/gemm.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"
#include "tensor/kernel/onednn.h"

#include <stdatomic.h>

enum {
  SMALL_STACK = 24 << 10, /* scratch of a small product lives on the stack */
  TASK_ROWS = 560,
  TASK_PANELS = 8, /* of B packed at a time */
  TASK_COLUMNS = 1024,
  TASKS_FOR_EACH = 4, /* thread */
  PARTS_WANTED = 16,
  PARTS_MAX = 16,
  RELU_ELEMENTS = 1 << 15
};
static const double TASK_WORK = 1 << 19;    /* multiply-adds worth handing to a thread */
static const int64_t PACKED_MAX = 16 << 20; /* elements of B packed whole */
static const int64_t PARTIAL_MAX = 2 << 20; /* elements of partial sums */
static const double SMALL_WORK =
    40.0 * 40 * 40; /* products up to here stay in this thread, unpacked */

static int64_t min_int(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t max_int(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/* ---- own loops ---- */

/* How a product is cut into tasks. Rows and columns of C are cut for the threads there are, k by
 * the sizes alone, so that the sums have one order. */
typedef struct plan {
  int64_t rows, columns, depth; /* of a task */
  int64_t row_tasks, column_tasks, parts;
} plan;

typedef struct job {
  const mica_engine *engine;
  const mica_gemm_kernels *kernels;
  const mica_gemm_args *args;
  plan plan;
  size_t element;
  char *packed;  /* all of op(B), or NULL */
  char *partial; /* parts x m x n, or NULL */
  atomic_bool failed;
} job;

static const void *at(const void *base, size_t element, int64_t offset) {
  return (const char *)base + (ptrdiff_t)element * offset;
}

static plan plan_of(const mica_gemm_args *g, int64_t mr, int64_t nr, int threads) {
  plan p = {g->m, g->n, g->k, 1, 1, 1};
  const double work = (double)g->m * (double)g->n * (double)g->k;
  if (g->m <= 3) { /* B is read in place: cut its columns */
    p.columns = max_int(64, (int64_t)(TASK_WORK / 8 / (double)max_int(g->k, 1)));
    p.columns = ceil_div(p.columns, nr) * nr;
  } else {
    p.rows = min_int(TASK_ROWS, g->m);
    /* A task begins at a panel, whatever the width of the tile: 12 columns on arm64. */
    p.columns = min_int(TASK_COLUMNS / nr, ceil_div(g->n, nr)) * nr;
    const int64_t wanted = threads > 1 ? TASKS_FOR_EACH * threads : 1;
    for (;;) {
      const int64_t tasks = ceil_div(g->m, p.rows) * ceil_div(g->n, p.columns) * g->batch;
      if (tasks >= wanted || (double)g->batch * work / (double)tasks < 2 * TASK_WORK) break;
      if (p.rows >= 6 * mr)
        p.rows = ceil_div(p.rows, 2 * mr) * mr;
      else if (p.columns >= 4 * nr)
        p.columns = ceil_div(p.columns, 2 * nr) * nr;
      else
        break;
    }
  }
  p.row_tasks = ceil_div(g->m, p.rows);
  p.column_tasks = ceil_div(g->n, p.columns);
  /* What rows and columns can give to many threads at best. */
  const int64_t tasks = min_int(ceil_div(g->m, 48) * ceil_div(g->n, 2 * nr),
                                max_int(1, (int64_t)(work / (2 * TASK_WORK))));
  if (tasks < PARTS_WANTED / 2 && g->batch == 1 && g->k >= 2048 && g->m > 3) {
    int64_t parts = min_int(ceil_div(PARTS_WANTED, tasks), g->k / 512);
    parts = min_int(parts, PARTIAL_MAX / max_int(1, g->m * g->n));
    parts = min_int(parts, min_int(PARTS_MAX, (int64_t)(work / TASK_WORK)));
    if (parts > 1) {
      p.depth = ceil_div(ceil_div(g->k, parts), 256) * 256;
      p.parts = ceil_div(g->k, p.depth);
    }
  }
  return p;
}

static mica_gemm_block whole(const mica_gemm_args *g) {
  return (mica_gemm_block){.trans_a = g->trans_a,
                           .trans_b = g->trans_b,
                           .round_bf16 = g->compute == MICA_BF16,
                           .relu = g->relu,
                           .m = g->m,
                           .n = g->n,
                           .k = g->k,
                           .alpha = g->alpha,
                           .beta = g->beta,
                           .a = g->a,
                           .lda = g->lda,
                           .b = g->b,
                           .ldb = g->ldb,
                           .c = g->c,
                           .ldc = g->ldc,
                           .bias = g->bias};
}

/* Task number `index`: batch slowest, then rows, columns, parts of k. */
static mica_gemm_block block_of(const job *j, int64_t index) {
  const mica_gemm_args *g = j->args;
  const plan *p = &j->plan;
  const int64_t part = index % p->parts;
  index /= p->parts;
  const int64_t column = index % p->column_tasks * p->columns;
  index /= p->column_tasks;
  const int64_t row = index % p->row_tasks * p->rows, batch = index / p->row_tasks;
  const int64_t first = part * p->depth;
  mica_gemm_block b = whole(g);
  b.m = min_int(p->rows, g->m - row);
  b.n = min_int(p->columns, g->n - column);
  b.k = min_int(p->depth, g->k - first);
  b.a = at(g->a, j->element,
           batch * g->stride_a + (g->trans_a ? first * g->lda + row : row * g->lda + first));
  b.b = at(g->b, j->element,
           batch * g->stride_b + (g->trans_b ? column * g->ldb + first : first * g->ldb + column));
  if (j->packed) {
    b.b = NULL;
    b.packed_b = j->packed;
    b.packed_n = g->n;
    b.first_column = column;
  }
  if (j->partial) {
    b.c = j->partial + j->element * (size_t)((part * g->m + row) * g->n + column);
    b.ldc = g->n;
    b.beta = 0;
    b.bias = NULL;
    b.relu = false;
  } else {
    b.c = (char *)g->c + (ptrdiff_t)j->element * (batch * g->stride_c + row * g->ldc + column);
    if (g->bias) b.bias = at(g->bias, j->element, column);
  }
  return b;
}

static void run_block(job *j, const mica_gemm_block *b) {
  const size_t bytes = j->kernels->scratch(b);
  _Alignas(64) char stack[SMALL_STACK];
  void *scratch = bytes <= sizeof(stack) ? stack : mica_workspace_acquire(j->engine, bytes);
  if (!scratch) {
    atomic_store(&j->failed, true);
    return;
  }
  j->kernels->block(b, scratch);
  if (scratch != stack) mica_workspace_release(j->engine, scratch);
}

static void run_tasks(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  for (int64_t i = begin; i < end; i++) {
    const mica_gemm_block b = block_of(j, i);
    run_block(j, &b);
  }
}

static void pack_tasks(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_gemm_args *g = j->args;
  const int64_t step = TASK_PANELS * j->kernels->nr;
  for (int64_t i = begin; i < end; i++)
    j->kernels->pack_b(g->b, g->ldb, g->trans_b, g->compute == MICA_BF16, g->k, g->n, i * step,
                       min_int(g->n, (i + 1) * step), j->packed);
}

static void combine_tasks(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_gemm_args *g = j->args;
  j->kernels->combine(j->partial, j->plan.parts, g->m, g->n, begin, end, g->beta, g->c, g->ldc,
                      g->bias, g->relu);
}

static mica_status own_gemm(const mica_engine *engine, const mica_gemm_args *g) {
  job j = {.engine = engine,
           .kernels = mica_kernels_of(engine, g->dtype)->gemm,
           .args = g,
           .element = mica_dtype_size(g->dtype)};
  if (g->batch == 1 && (double)g->m * (double)g->n * (double)g->k <= SMALL_WORK) {
    const mica_gemm_block b = whole(g);
    run_block(&j, &b);
    return atomic_load(&j.failed) ? MICA_ERR_MEMORY : MICA_OK;
  }
  const int64_t nr = j.kernels->nr;
  j.plan = plan_of(g, j.kernels->mr, nr, mica_library_threads(engine));
  const bool shared_b = g->batch == 1 || g->stride_b == 0;
  if (j.plan.parts > 1) {
    j.partial = mica_workspace_acquire(engine, j.element * (size_t)(j.plan.parts * g->m * g->n));
    if (!j.partial) return MICA_ERR_MEMORY;
  } else if (shared_b && j.plan.row_tasks * g->batch > 1 && g->m > 3 &&
             g->k <= PACKED_MAX / (ceil_div(g->n, nr) * nr)) {
    j.packed = mica_workspace_acquire(engine, j.element * (size_t)(g->k * ceil_div(g->n, nr) * nr));
    if (!j.packed) return MICA_ERR_MEMORY;
    mica_parallel_for(engine, ceil_div(g->n, TASK_PANELS * nr), pack_tasks, &j);
  }
  mica_parallel_for(engine, g->batch * j.plan.row_tasks * j.plan.column_tasks * j.plan.parts,
                    run_tasks, &j);
  if (j.partial && !atomic_load(&j.failed)) mica_parallel_for(engine, g->m, combine_tasks, &j);
  mica_workspace_release(engine, j.packed);
  mica_workspace_release(engine, j.partial);
  if (atomic_load(&j.failed))
    return mica_fail(MICA_ERR_MEMORY, "no scratch memory for a matrix product");
  return MICA_OK;
}

/* ---- the choice ---- */

static mica_status check(const mica_gemm_args *g) {
  if (g->dtype != MICA_F32 && g->dtype != MICA_F64)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "a matrix product of %s is not supported, only of float32 and float64",
                     mica_dtype_name(g->dtype));
  if (g->compute != g->dtype && !(g->compute == MICA_BF16 && g->dtype == MICA_F32))
    return mica_fail(MICA_ERR_UNSUPPORTED, "a matrix product of %s cannot be computed in %s",
                     mica_dtype_name(g->dtype), mica_dtype_name(g->compute));
  if (g->m < 0 || g->n < 0 || g->k < 0 || g->batch < 0 || g->stride_a < 0 || g->stride_b < 0 ||
      g->stride_c < 0)
    return mica_fail(
        MICA_ERR_INVALID,
        "matrix product %lld x %lld x %lld, batch %lld: sizes and strides must not be negative",
        (long long)g->m, (long long)g->n, (long long)g->k, (long long)g->batch);
  if (g->lda < (g->trans_a ? g->m : g->k) || g->ldb < (g->trans_b ? g->k : g->n) || g->ldc < g->n)
    return mica_fail(MICA_ERR_INVALID,
                     "matrix product %lld x %lld x %lld: leading dimensions %lld, %lld, %lld are "
                     "shorter than the rows",
                     (long long)g->m, (long long)g->n, (long long)g->k, (long long)g->lda,
                     (long long)g->ldb, (long long)g->ldc);
  return MICA_OK;
}

/* What oneDNN does better. Its call costs more than a small product, and it reads a row vector's
 * matrix at half our rate. */
static bool library_pays(const mica_gemm_args *g) {
  if (g->dtype != MICA_F32 || g->k == 0 || g->m <= 3) return false;
  const double work = (double)g->m * (double)g->n * (double)g->k * (double)g->batch;
  return work > SMALL_WORK;
}

static void relu_tasks(void *ctx, int64_t begin, int64_t end) {
  const job *j = ctx;
  const mica_gemm_args *g = j->args;
  for (int64_t i = begin; i < end; i++) {
    const int64_t batch = i / j->plan.row_tasks, row = i % j->plan.row_tasks * j->plan.rows;
    char *c = (char *)g->c + (ptrdiff_t)j->element * (batch * g->stride_c + row * g->ldc);
    j->kernels->relu(min_int(j->plan.rows, g->m - row), g->n, c, g->ldc);
  }
}

static void relu(const mica_engine *engine, const mica_gemm_args *g) {
  job j = {.engine = engine,
           .kernels = mica_kernels_of(engine, g->dtype)->gemm,
           .args = g,
           .element = mica_dtype_size(g->dtype)};
  j.plan.rows = max_int(1, RELU_ELEMENTS / g->n);
  j.plan.row_tasks = ceil_div(g->m, j.plan.rows);
  mica_parallel_for(engine, g->batch * j.plan.row_tasks, relu_tasks, &j);
}

mica_status mica_gemm_run(const mica_engine *engine, const mica_gemm_args *args) {
  const mica_status status = check(args);
  if (status != MICA_OK) return status;
  mica_gemm_args g = *args;
  if (g.m == 0 || g.n == 0 || g.batch == 0) return MICA_OK;
  /* A batch that only stacks the rows of A and C is one taller product. */
  if (g.batch > 1 && g.stride_b == 0 && !g.trans_a && g.stride_a == g.m * g.lda &&
      g.stride_c == g.m * g.ldc) {
    g.m *= g.batch;
    g.batch = 1;
  }
  /* Matrix times column: the same numbers as row times transposed matrix, which streams the matrix.
   */
  if (g.n == 1 && g.ldc == 1 && g.m > 1 && g.batch == 1 && !g.bias) {
    const mica_gemm_args t = g;
    g.trans_a = !t.trans_b;
    g.trans_b = !t.trans_a;
    g.m = 1;
    g.n = t.m;
    g.a = t.b;
    g.lda = t.ldb;
    g.b = t.a;
    g.ldb = t.lda;
    g.ldc = g.n;
  }
  if (mica_libraries_usable(engine) && library_pays(&g)) {
    bool done = false;
    const mica_status tried = mica_onednn_gemm(engine, &g, &done);
    if (tried != MICA_OK) return tried;
    if (done) {
      if (g.relu) relu(engine, &g);
      return MICA_OK;
    }
  }
  return own_gemm(engine, &g);
}

mica_status mica_gemm(const mica_engine *engine, mica_dtype dtype, bool trans_a, bool trans_b,
                      int64_t m, int64_t n, int64_t k, double alpha, const void *a, int64_t lda,
                      const void *b, int64_t ldb, double beta, void *c, int64_t ldc) {
  const mica_gemm_args args = {.dtype = dtype,
                               .compute = dtype,
                               .trans_a = trans_a,
                               .trans_b = trans_b,
                               .m = m,
                               .n = n,
                               .k = k,
                               .alpha = alpha,
                               .beta = beta,
                               .a = a,
                               .lda = lda,
                               .b = b,
                               .ldb = ldb,
                               .c = c,
                               .ldc = ldc,
                               .batch = 1};
  return mica_gemm_run(engine, &args);
}
