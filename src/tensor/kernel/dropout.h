/* dropout.h: elements dropped by counter-based random bits.
 *
 * Element i (counted over the whole tensor, so splits do not matter) is dropped when its 32 random
 * bits are below floor(p 2^32 + 1/2). The bits are word i mod 4 of Philox 4x32-10 (Salmon et al.
 * 2011) with the two halves of `key` (low first) as key and {low half of i / 4, high half,
 * 0x64726f70, 0} as counter: integers only, the same on every instruction set. Backward is the same
 * call on gy.
 */
#ifndef MICA_TENSOR_KERNEL_DROPOUT_H
#define MICA_TENSOR_KERNEL_DROPOUT_H

#include <stdint.h>

typedef struct mica_dropout_kernels {
  /* y[i] = element begin + i dropped ? 0 : x[i] / (1 - p), for n elements; 0 <= p <= 1. A NaN that
   * is dropped is gone. */
  void (*dropout)(uint64_t key, int64_t begin, int64_t n, double p, const void *x, void *y);
  /* mask[i] = dropped ? 0 : 1 */
  void (*mask)(uint64_t key, int64_t begin, int64_t n, double p, uint8_t *mask);
} mica_dropout_kernels;

#endif
