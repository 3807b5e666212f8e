/* Runs a check on the numeric tables of every instruction set that this processor has, in float and
 * in double, and gives buffers of the table's type that are read and written as double.
 */
#ifndef MICA_TESTS_LOOPS_H
#define MICA_TESTS_LOOPS_H

#include "support/test.h"

#include "tensor/kernel/kernel.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct loops_table {
  const mica_kernels *k;
  mica_dtype dtype;
  double eps; /* of the element type */
} loops_table;

/* check() once a table; a failure names the table. */
void loops_each(void (*check)(const loops_table *t));

/* n elements, uniform in [lo, hi) from a fixed stream; free with test_free. Guard elements after
 * the end are checked by loops_free. */
void *loops_random(const loops_table *t, int64_t n, double lo, double hi, uint64_t stream);
void *loops_zeros(const loops_table *t, int64_t n);
void *loops_copy(const loops_table *t, int64_t n, const void *x);
void loops_free(const loops_table *t, int64_t n, void *x);

double loops_get(const loops_table *t, const void *x, int64_t i);
void loops_set(const loops_table *t, void *x, int64_t i, double value);
void *loops_at(const loops_table *t, const void *x, int64_t i); /* &x[i] */

/* |got - want| <= units eps max(1, |want|, scale), or both NaN, or the same infinity. */
bool loops_close(const loops_table *t, double got, double want, double units, double scale);
void loops_check(const loops_table *t, const char *what, int64_t i, double got, double want,
                 double units, double scale);

/* A number in [0, 1) for (stream, i), by a generator that the library does not use. */
double loops_uniform(uint64_t stream, uint64_t i);

/* Leaves the test, with a line that says so, where long double is no wider than double (valgrind).
 */
void loops_need_long_double(void);

extern const int64_t loops_sizes[];
extern const int loops_size_count;

#endif
