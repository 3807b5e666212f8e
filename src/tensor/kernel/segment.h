/* segment.h: rows brought together in segments of different lengths, with or without a look-up.
 *
 * Segment s is places offsets[s] .. offsets[s + 1] - 1, n segments. Place i reads row ids[i] of x,
 * or row i where ids is NULL, times weights[i] unless weights is NULL. Offsets and ids must have
 * been checked. Rows are dense, `cols` elements each. A segment of no places gives 0.
 */
#ifndef MICA_TENSOR_KERNEL_SEGMENT_H
#define MICA_TENSOR_KERNEL_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_segment_kernels {
  /* y[s,:] = the sum over segment s, mean: over its length; added up in double */
  void (*sum)(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *ids,
              const void *weights, bool mean, const void *x, void *y);
  /* y[s,:] = the largest of each column, place[s,:] the first that has it (-1: no place). A NaN is
   * larger than any number. */
  void (*max)(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *ids, const void *x,
              void *y, int64_t *place);
  /* g[i,:] = weights[i] gy[s,:], divided by the length when mean, for each place i of segment s */
  void (*spread)(int64_t n, int64_t cols, const int64_t *offsets, const void *weights, bool mean,
                 const void *gy, void *g);
  /* g[place[s,c],c] = gy[s,c], the other elements of the segments' places 0 */
  void (*spread_max)(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *place,
                     const void *gy, void *g);
  /* g[i] = x[ids[i],:] . gy[s,:] for each place i of segment s */
  void (*dot)(int64_t n, int64_t cols, const int64_t *offsets, const int64_t *ids, const void *x,
              const void *gy, void *g);
} mica_segment_kernels;

#endif
