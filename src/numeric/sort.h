/* Sorting with a fixed order of ties, so that ranks do not depend on the C library. */
#ifndef MICA_NUMERIC_SORT_H
#define MICA_NUMERIC_SORT_H

#include <mica/base.h>

/* Ascending in place; NaN last. No memory. */
void mica_sort_doubles(double *values, int64_t n);

/* order[0..n-1] = the indices of `key` from the largest to the smallest; equal keys (and NaN, which
 * comes last) in the order of their index. Memory: 8 n bytes. */
mica_status mica_sort_descending(int64_t n, const double *key, int64_t *order);

#endif
