/* pair.h: products of the vectors of one example with each other, x [n, m, cols] dense. */
#ifndef MICA_TENSOR_KERNEL_PAIR_H
#define MICA_TENSOR_KERNEL_PAIR_H

#include <stdint.h>

typedef struct mica_pair_kernels {
  /* y[e,:] = the sum of x[e,i,:] x[e,j,:] over all i < j, added up in double */
  void (*sum)(int64_t n, int64_t m, int64_t cols, const void *x, void *y);
  /* g[e,i,:] = gy[e,:] times the sum of x[e,j,:] over all j but i */
  void (*sum_back)(int64_t n, int64_t m, int64_t cols, const void *x, const void *gy, void *g);
  /* y[e,:] = x[e,i,:] . x[e,j,:] for (i, j) = (1,0), (2,0), (2,1), (3,0), ... */
  void (*dots)(int64_t n, int64_t m, int64_t cols, const void *x, void *y, void *scratch);
  /* g[e,i,:] = the sum over j of gy[e, pair of i and j] x[e,j,:] */
  void (*dots_back)(int64_t n, int64_t m, int64_t cols, const void *x, const void *gy, void *g,
                    void *scratch);
  /* Elements of either's scratch. */
  int64_t (*dots_scratch)(int64_t m, int64_t cols);
} mica_pair_kernels;

#endif
