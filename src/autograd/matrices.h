/* Batches of matrices, each worked on alone and in float64 whatever the element type. */
#ifndef MICA_AUTOGRAD_MATRICES_H
#define MICA_AUTOGRAD_MATRICES_H

#include <mica/op.h>

#define MICA_MATRIX_OPERANDS 8

/* What a body works on: operand i of one matrix, NULL where it is absent. Those that are only read
 * must stay as they are. */
typedef struct mica_matrix {
  const mica_engine *engine;
  const void *ctx;
  double *x[MICA_MATRIX_OPERANDS];
  double *scratch;
} mica_matrix;

/* Returns a failure with its message in the last error, and does the same when it is asked again.
 */
typedef mica_status (*mica_matrix_fn)(const mica_matrix *m);

typedef struct mica_matrices {
  int64_t count; /* matrices */
  int64_t side;  /* the longest, for the share of work */
  mica_matrix_fn fn;
  const void *ctx;
  int64_t scratch; /* float64 elements for each body */
  int n;
  struct mica_matrix_operand {
    mica_dtype dtype;
    void *data;
    int64_t size; /* elements of one matrix */
    bool written;
  } operand[MICA_MATRIX_OPERANDS];
} mica_matrices;

/* The next operand: `size` elements of each matrix. A view of NULL, or without data, is absent. */
void mica_matrices_read(mica_matrices *m, const mica_view *v, int64_t size);
void mica_matrices_write(mica_matrices *m, const mica_view *v, int64_t size);
/* Run them all. False: the first failure is latched, with the number of its matrix, and in forward
 * the call has ended. */
bool mica_matrices_run(mica_call *c, const mica_matrices *m);

typedef struct mica_matrix_size {
  int64_t count, rows, cols;
} mica_matrix_size;

/* Input i as matrices [..,rows,cols] of floats; also marks the input as mixed where the batch has
 * no dimension of its own. False has ended the call. */
bool mica_matrices_of(mica_call *c, int i, mica_matrix_size *size);
/* The same, square. */
bool mica_square_of(mica_call *c, int i, mica_matrix_size *size);
mica_matrix_size mica_matrices_size(const mica_view *v);
/* The leading dimensions of `shape` followed by these; cols < 0: a vector, rows < 0: a number. */
mica_shape mica_matrices_shape(const mica_shape *shape, int64_t rows, int64_t cols);

/* ---- for the bodies: dense float64 matrices ---- */

/* c (m x n) = alpha op(a) op(b) + beta c */
mica_status mica_matrix_product(const mica_matrix *w, bool trans_a, bool trans_b, int64_t m,
                                int64_t n, int64_t k, double alpha, const double *a,
                                const double *b, double beta, double *c);
/* y (n x m) = x^T, x m x n */
void mica_matrix_turn(int64_t m, int64_t n, const double *x, double *y);
/* y = (x + x^T) / 2; y may be x */
void mica_matrix_symmetric(int64_t n, const double *x, double *y);

#endif
