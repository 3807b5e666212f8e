/* decode.h: attention of one token's queries over keys and values that lie head by head. */
#ifndef MICA_TENSOR_KERNEL_DECODE_H
#define MICA_TENSOR_KERNEL_DECODE_H

#include <stdint.h>

typedef struct mica_decode_kernels {
  /* out[r,:] = sum_j softmax_j(scale <q[r,:], k[j,:]>) v[j,:] for `group` rows of q [group, dim], k
   * [keys, dim], v [keys, value_dim], all dense; keys >= 1. score: keys numbers of scratch. */
  void (*attend)(int64_t group, int64_t keys, int64_t dim, int64_t value_dim, double scale,
                 const void *q, const void *k, const void *v, void *out, void *score);
} mica_decode_kernels;

#endif
