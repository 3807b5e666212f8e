/* The sieve of float32 products: rows that cannot be among the best are passed over.
 *
 * A product of a block of queries with a block of rows tells each score to within a bound that
 * holds whatever the order of its sums (Higham, Accuracy and Stability of Numerical Algorithms,
 * 2002, section 3.1: |error| <= d u / (1 - d u) * |x| |y| for d products and unit roundoff u). A
 * row whose approximate score cannot reach the k-th best, bound included, is passed over; the
 * others are scored exactly.
 *
 * What is compared is p = a <x, y> - b: a = 1 / |y|, b = 0 for cosine (x of length 1); a = 1, b = 0
 * for the inner product; a = 1, b = |y|^2 / 2 for the distance, as |x - y|^2 = |x|^2 - 2 p.
 */
#ifndef MICA_INDEX_SIEVE_H
#define MICA_INDEX_SIEVE_H

#include "tensor/kernel/reduce.h"

#include <mica/index.h>

/* A block of rows of an index: from `first` on, or those that `number` lists. */
typedef struct mica_sieve {
  const mica_index_rows *rows;
  const mica_reduce_kernels *reduce;
  const int64_t *number; /* [n], or NULL */
  int64_t first, n;
  float *a, *b;   /* [n] the factors */
  double longest; /* row of ordinary length */
} mica_sieve;

/* Compute the factors and the longest row of the block. */
void mica_sieve_begin(mica_sieve *sieve);
/* One query of this length against the block: `product` [n] are its products in float32; what may
 * be among the best is offered. */
void mica_sieve_query(const mica_sieve *sieve, double length, const float *product,
                      mica_index_best *best);

#endif
