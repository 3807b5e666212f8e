/* reduce.h: sums and extremes of a vector, of each row, of each column.
 *
 * A row reduction runs over the last dimension, a column reduction over the rows: [outer, axis,
 * inner] is `outer` column reductions of `axis` rows and `inner` columns. Sums are formed in short
 * blocks of several accumulators, and blocks are added in double. An empty sum is 0, an empty
 * maximum -inf with arg -1. Extremes take the first of equals; a NaN wins over everything, as in
 * PyTorch.
 */
#ifndef MICA_TENSOR_KERNEL_REDUCE_H
#define MICA_TENSOR_KERNEL_REDUCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_reduce_kernels {
  /* ---- a vector of n ---- */
  double (*sum)(int64_t n, const void *x);                                 /* sum x */
  double (*sum_abs)(int64_t n, const void *x);                             /* sum |x| */
  double (*sum_squares)(int64_t n, const void *x);                         /* sum x^2 */
  double (*dot)(int64_t n, const void *a, const void *b);                  /* sum a b */
  double (*squared_distance)(int64_t n, const void *a, const void *b);     /* sum (a - b)^2 */
  double (*extreme)(bool maximum, int64_t n, const void *x, int64_t *arg); /* arg may be NULL */
  int64_t (*count_nonfinite)(int64_t n, const void *x); /* how many are NaN or infinite */
  /* The first i >= from with p[i] a[i] - b[i] not below least, as a NaN is not; n where none is. */
  int64_t (*first_reaching)(int64_t n, const void *p, const void *a, const void *b, double least,
                            int64_t from);

  /* ---- each row of [rows, cols] ---- */
  void (*row_sum)(int64_t rows, int64_t cols, const void *x, int64_t stride, double alpha,
                  void *y); /* y[r] = alpha sum_c x[r,c] */
  void (*row_sum_squares)(int64_t rows, int64_t cols, const void *x, int64_t stride, void *y);
  void (*row_dot)(int64_t rows, int64_t cols, const void *a, int64_t a_stride, const void *b,
                  int64_t b_stride, void *y); /* y[r] = sum_c a[r,c] b[r,c] */
  void (*row_moments)(int64_t rows, int64_t cols, const void *x, int64_t stride, double *mean,
                      double *m2); /* m2[r] = sum_c (x[r,c] - mean[r])^2 */
  void (*row_extreme)(bool maximum, int64_t rows, int64_t cols, const void *x, int64_t stride,
                      void *y, int64_t *arg); /* y or arg may be NULL */
  void (*row_log_sum_exp)(int64_t rows, int64_t cols, const void *x, int64_t stride,
                          void *y); /* y[r] = ln sum_c e^x[r,c] */

  /* ---- each column of [rows, cols] ---- */
  /* acc[c] += sum_r x[r,c]; zero acc before the first call */
  void (*column_sum)(int64_t rows, int64_t cols, const void *x, int64_t stride, double *acc);
  /* acc[c] += sum_r a[r,c] b[r,c] */
  void (*column_dot)(int64_t rows, int64_t cols, const void *a, int64_t a_stride, const void *b,
                     int64_t b_stride, double *acc);
  /* This range's mean[c] and m2[c] = sum_r (x[r,c] - mean[c])^2, overwritten */
  void (*column_moments)(int64_t rows, int64_t cols, const void *x, int64_t stride, double *mean,
                         double *m2);
  /* Merge the moments of `more` rows into those of `count` rows (Chan et al. 1979) */
  void (*merge_moments)(int64_t cols, double count, double *mean, double *m2, double more,
                        const double *more_mean, const double *more_m2);
  void (*column_extreme)(bool maximum, int64_t rows, int64_t cols, const void *x, int64_t stride,
                         void *y, int64_t *arg); /* y or arg may be NULL */
  void (*column_log_sum_exp)(int64_t rows, int64_t cols, const void *x, int64_t stride, void *y);
  /* y[c] = alpha sum_k partial[k n + c]: the partial sums of `chunks` ranges, in order */
  void (*combine)(int64_t n, int64_t chunks, const double *partial, double alpha, void *y);

  /* ---- gradients of extremes: gx zeroed, then gx[r,arg[r]] = gy[r], or gx[arg[c],c] = gy[c] ----
   */
  void (*row_extreme_grad)(int64_t rows, int64_t cols, const int64_t *arg, const void *gy,
                           void *gx);
  void (*column_extreme_grad)(int64_t rows, int64_t cols, const int64_t *arg, const void *gy,
                              void *gx);
} mica_reduce_kernels;

#endif
