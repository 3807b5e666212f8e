#include "tensor/kernel/gemm.h"

#include "tensor/kernel/kernel.h"
#include "tensor/kernel/library.h"
#include "tensor/kernel/onednn.h"

#include <math.h>
#include <stdatomic.h>

enum {
  SMALL_STACK = 24 << 10, /* scratch of a small product lives on the stack */
  PACKING_COUNTS = 192,   /* rows: with fewer, packing B is a tenth of the time and more */
  PACK_PANELS = 4,        /* of B packed at a time, of one cut of k */
  TASKS_FOR_EACH = 8,     /* thread */
  PARTS_WANTED = 16,
  PARTS_MAX = 16,
  RELU_ELEMENTS = 1 << 15
};
static const double TASK_WORK = 1 << 19;      /* multiply-adds worth handing to a thread */
static const int64_t CACHED = 256 << 10;      /* elements of B that stay in the second cache */
static const double COPY = 0.8, STREAM = 0.5; /* of the time of a tile's product */
static const double WAIT = 20000;             /* the same of one with a row of B */
static const double NARROW = 0.1;             /* what a tile of fewer vectors costs more */
static const double BEGIN = 3;     /* of a task's first panel, which nothing has asked for */
static const double HAND_OVER = 5; /* of a panel that another thread has packed */
static const double HARDLY_MORE = 1.02;
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

/* With few rows packing is much of the work, and what another thread has packed comes slowly from
 * that one's cache: better each packs its own columns, and uses a panel while it is in the first
 * cache. */
static bool packing_counts(const mica_gemm_args *g) {
  return !g->packed_b && !g->trans_a && g->batch == 1 && g->m < PACKING_COUNTS;
}

/* The time of the busiest thread, in tiles: each task multiplies rows x columns of them, copies its
 * rows where A lies transposed, and reads its columns from memory where B exceeds the cache. Tasks
 * that share columns wait until all of B is packed. */
static double time_of(const mica_gemm_args *g, const mica_gemm_kernels *kernels, const plan *p,
                      int64_t rows, double columns, int64_t threads) {
  const bool few = packing_counts(g);
  const double copy = g->trans_a ? COPY : 0, stream = g->k * g->n > CACHED ? STREAM : 0;
  double wait = 0, begin = 0;
  if (p->row_tasks > 1 && !g->packed_b) {
    wait = WAIT / (double)(kernels->mr * g->k);
    if (few) wait += HAND_OVER * (double)ceil_div(g->n, kernels->nr) / (double)threads;
  } else if (few) {
    begin = BEGIN;
  }
  const double task = begin + (double)rows * columns + copy * (double)rows + stream * columns;
  return wait + (double)ceil_div(p->row_tasks * p->column_tasks * g->batch, threads) * task;
}

/* Rows and columns of a task: the cut with the least time, or a finer one that costs hardly more,
 * so that who is done early finds something to take over. In whole tiles, but columns in vectors
 * where a task packs its own. */
static void cut(const mica_gemm_args *g, const mica_gemm_kernels *kernels, int64_t threads,
                plan *p) {
  const int64_t tall = ceil_div(g->m, kernels->mr);
  const double work = (double)g->m * (double)g->n * (double)g->k * (double)g->batch;
  const int64_t worth = (int64_t)fmin(work / TASK_WORK, (double)(TASKS_FOR_EACH * threads));
  const int64_t most = threads > 1 ? ceil_div(max_int(worth, 1), g->batch) : 1;
  double least = INFINITY;
  for (int64_t r = 1; r <= min_int(most, tall); r++) {
    const int64_t step = r == 1 && packing_counts(g) ? kernels->vector : kernels->nr;
    const int64_t in_tile = kernels->nr / step, wide = ceil_div(g->n, step);
    for (int64_t c = 1; c <= min_int(max_int(most / r, 1), wide); c++) {
      const int64_t rows = ceil_div(tall, r), columns = ceil_div(wide, c);
      plan tried = *p;
      tried.rows = min_int(rows * kernels->mr, g->m);
      tried.columns = columns * step;
      tried.row_tasks = ceil_div(tall, rows);
      tried.column_tasks = ceil_div(wide, columns);
      const bool finer = tried.row_tasks * tried.column_tasks > p->row_tasks * p->column_tasks;
      const double narrow = columns % in_tile ? NARROW : 0;
      const double time =
          time_of(g, kernels, &tried, rows, (double)columns / (double)in_tile + narrow, threads);
      if (time > least * (finer ? HARDLY_MORE : 1)) continue;
      least = fmin(least, time);
      *p = tried;
    }
  }
}

static plan plan_of(const mica_gemm_args *g, const mica_gemm_kernels *kernels, int threads) {
  const int64_t nr = kernels->nr;
  plan p = {g->m, g->n, g->k, 1, 1, 1};
  const double work = (double)g->m * (double)g->n * (double)g->k;
  if (g->m <= 3) { /* B is read in place: cut its columns */
    p.columns = max_int(64, (int64_t)(TASK_WORK / 8 / (double)max_int(g->k, 1)));
    p.columns = ceil_div(p.columns, nr) * nr;
    p.column_tasks = ceil_div(g->n, p.columns);
  } else {
    cut(g, kernels, threads, &p);
  }
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

static int64_t pack_groups(const mica_gemm_args *g, int64_t nr) {
  return ceil_div(g->n, PACK_PANELS * nr);
}

static void pack_tasks(void *ctx, int64_t begin, int64_t end) {
  job *j = ctx;
  const mica_gemm_args *g = j->args;
  const int64_t step = PACK_PANELS * j->kernels->nr, groups = pack_groups(g, j->kernels->nr);
  for (int64_t i = begin; i < end; i++) {
    const int64_t column = i % groups * step;
    j->kernels->pack_b(g->b, g->ldb, g->trans_b, g->compute == MICA_BF16, g->k, g->n, i / groups,
                       column, min_int(g->n, column + step), j->packed);
  }
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
  j.plan = plan_of(g, j.kernels, mica_library_threads(engine));
  const bool shared_b = g->batch == 1 || g->stride_b == 0;
  if (g->packed_b && j.plan.parts == 1) {
    j.packed = (char *)(uintptr_t)g->packed_b;
  } else if (j.plan.parts > 1) {
    j.partial = mica_workspace_acquire(engine, j.element * (size_t)(j.plan.parts * g->m * g->n));
    if (!j.partial) return MICA_ERR_MEMORY;
  } else if (shared_b && j.plan.row_tasks * g->batch > 1 && g->m > 3 &&
             g->k <= PACKED_MAX / (ceil_div(g->n, nr) * nr)) {
    j.packed = mica_workspace_acquire(engine, j.element * (size_t)(g->k * ceil_div(g->n, nr) * nr));
    if (!j.packed) return MICA_ERR_MEMORY;
    mica_parallel_for(engine, j.kernels->cuts(g->k) * pack_groups(g, nr), pack_tasks, &j);
  }
  mica_parallel_for(engine, g->batch * j.plan.row_tasks * j.plan.column_tasks * j.plan.parts,
                    run_tasks, &j);
  if (j.partial && !atomic_load(&j.failed)) mica_parallel_for(engine, g->m, combine_tasks, &j);
  if (j.packed != g->packed_b) mica_workspace_release(engine, j.packed);
  mica_workspace_release(engine, j.partial);
  if (atomic_load(&j.failed))
    return mica_fail(MICA_ERR_MEMORY, "no scratch memory for a matrix product");
  return MICA_OK;
}

size_t mica_gemm_packed_size(const mica_engine *engine, mica_dtype dtype, int64_t n, int64_t k) {
  const int64_t nr = mica_kernels_of(engine, dtype)->gemm->nr;
  return mica_dtype_size(dtype) * (size_t)(k * ceil_div(n, nr) * nr);
}

void mica_gemm_pack(const mica_engine *engine, mica_dtype dtype, bool trans_b, int64_t n, int64_t k,
                    const void *b, int64_t ldb, void *packed) {
  const mica_gemm_args g = {
      .dtype = dtype, .compute = dtype, .trans_b = trans_b, .n = n, .k = k, .b = b, .ldb = ldb};
  job j = {.engine = engine,
           .kernels = mica_kernels_of(engine, dtype)->gemm,
           .args = &g,
           .packed = packed};
  mica_parallel_for(engine, j.kernels->cuts(k) * pack_groups(&g, j.kernels->nr), pack_tasks, &j);
}

bool mica_gemm_packing_pays(int64_t m, int64_t n, int64_t k) {
  return n > 1 && m > 3 && m < 2 * PACKING_COUNTS && (double)m * (double)n * (double)k > SMALL_WORK;
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

bool mica_gemm_library_pays(const mica_gemm_args *g) {
  if (g->dtype != MICA_F32 || g->k == 0 || g->m <= 3 || g->packed_b) return false;
  const double work = (double)g->m * (double)g->n * (double)g->k * (double)g->batch;
  if (work <= SMALL_WORK) return false;
  return g->compute != g->dtype || g->trans_a || (g->trans_b && g->m < PACKING_COUNTS);
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
    g.packed_b = NULL; /* it was of what now is A */
    g.ldc = g.n;
  }
  if (mica_libraries_usable(engine) && mica_gemm_library_pays(&g)) {
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
