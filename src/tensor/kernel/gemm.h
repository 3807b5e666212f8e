/* Matrix products on raw pointers: C = relu(alpha * op(A) * op(B) + beta * C + bias).
 *
 * Everything is row-major. op(A) is m x k and op(B) k x n; a transposed operand is stored as its
 * transpose (A as k x m, B as n x k). `lda`, `ldb`, `ldc` count elements from one stored row to the
 * next. All products are computed by the loops of loops/gemm.c but those that oneDNN does better,
 * where the engine uses libraries.
 *
 * Which path a shape takes depends on the shape and the engine's options alone, so repeating a call
 * repeats its bits. The library's own loops give the same bits for every thread count; oneDNN may
 * cut a sum differently for another thread count.
 */
#ifndef MICA_TENSOR_KERNEL_GEMM_H
#define MICA_TENSOR_KERNEL_GEMM_H

#include <mica/engine.h>
#include <mica/tensor.h>

typedef struct mica_gemm_args {
  mica_dtype dtype;   /* of A, B, C and bias in memory: MICA_F32 or MICA_F64 */
  mica_dtype compute; /* the same, or MICA_BF16 with MICA_F32: A and B are rounded to bf16 (to
                         nearest, ties to even), sums and C stay float32 */
  bool trans_a, trans_b;
  int64_t m, n, k;
  double alpha, beta; /* beta 0: C is only written, never read */
  const void *a;
  int64_t lda;
  const void *b;
  int64_t ldb;
  void *c;
  int64_t ldc;
  const void *bias;     /* n elements added to each row, or NULL */
  bool relu;            /* max(0, .) at the end; NaN stays NaN */
  const void *packed_b; /* op(B) as mica_gemm_pack left it, or NULL; B is given all the same */
  int64_t batch;        /* number of products; consecutive operands are stride_* elements apart */
  int64_t stride_a, stride_b, stride_c; /* stride_a and stride_b may be 0: shared by the batch */
} mica_gemm_args;

/* The full form. Empty C is no work; k = 0 gives relu(beta * C + bias). MICA_ERR_INVALID for sizes
 * or leading dimensions that cannot be, MICA_ERR_UNSUPPORTED for element types, MICA_ERR_MEMORY
 * when scratch cannot be had. A, B and bias must not overlap C. Called inside mica_parallel_for it
 * runs on the calling thread. */
mica_status mica_gemm_run(const mica_engine *engine, const mica_gemm_args *args);

/* op(B), k x n, packed once for many products of one engine and of `dtype`, which compute in it:
 * bytes of it, which must lie at a multiple of 64. */
size_t mica_gemm_packed_size(const mica_engine *engine, mica_dtype dtype, int64_t n, int64_t k);
void mica_gemm_pack(const mica_engine *engine, mica_dtype dtype, bool trans_b, int64_t n, int64_t k,
                    const void *b, int64_t ldb, void *packed);
/* Where m rows meet a B that stays: does packing it once pay? With a few rows or one column B is
 * read in place, with many packing costs next to nothing. */
bool mica_gemm_packing_pays(int64_t m, int64_t n, int64_t k);

/* What oneDNN does better: bf16, where the processor has it (it declines elsewhere); a transposed
 * A, whose copying it hides; and a few rows times a transposed matrix, where packing counts. */
bool mica_gemm_library_pays(const mica_gemm_args *args);

/* One product: C = alpha * op(A) * op(B) + beta * C. */
mica_status mica_gemm(const mica_engine *engine, mica_dtype dtype, bool trans_a, bool trans_b,
                      int64_t m, int64_t n, int64_t k, double alpha, const void *a, int64_t lda,
                      const void *b, int64_t ldb, double beta, void *c, int64_t ldc);

/* ---- loops/gemm.c ---- */

/* A product, or the rectangle of one, for one thread. */
typedef struct mica_gemm_block {
  bool trans_a, trans_b, round_bf16; /* round_bf16: float only */
  bool relu;
  int64_t m, n, k;
  double alpha, beta;
  const void *a;
  int64_t lda;
  const void *b; /* NULL when packed_b is given */
  int64_t ldb;
  const void *packed_b; /* all of op(B) as pack_b left it, or NULL */
  int64_t packed_n;     /* columns of that packed matrix */
  int64_t first_column; /* column of it where this block begins; a multiple of nr */
  void *c;
  int64_t ldc;
  const void *bias; /* of this block's first column */
} mica_gemm_block;

typedef struct mica_gemm_kernels {
  int64_t mr, nr; /* the register tile */
  int64_t vector; /* columns of it may be cut at a multiple of this, where B is not packed yet */
  /* Scratch bytes that `block` needs; nothing when m is small (it then reads B in place). */
  size_t (*scratch)(const mica_gemm_block *block);
  void (*block)(const mica_gemm_block *block, void *scratch);
  /* The cuts of k. */
  int64_t (*cuts)(int64_t k);
  /* Pack a cut of columns [begin, end) of op(B), k x n, into `packed`; begin is a multiple of nr.
   * The packed matrix holds k * round_up(n, nr) elements. */
  void (*pack_b)(const void *b, int64_t ldb, bool trans_b, bool round_bf16, int64_t k, int64_t n,
                 int64_t cut, int64_t begin, int64_t end, void *packed);
  /* Rows [begin, end) of C = relu(beta * C + the sum of `parts` m x n matrices + bias), added in
   * order. */
  void (*combine)(const void *partial, int64_t parts, int64_t m, int64_t n, int64_t begin,
                  int64_t end, double beta, void *c, int64_t ldc, const void *bias, bool relu);
  /* C = max(C, 0); NaN stays NaN. */
  void (*relu)(int64_t m, int64_t n, void *c, int64_t ldc);
} mica_gemm_kernels;

#endif
