/* scan.h: what runs along one axis of [outer, length, inner], one block of `outer` at a call.
 *
 * Columns are independent; a caller may hand over a part of them. Complex numbers are pairs of
 * columns, real part first. Running sums are kept in double.
 */
#ifndef MICA_TENSOR_KERNEL_SCAN_H
#define MICA_TENSOR_KERNEL_SCAN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mica_scan {
  int64_t length, columns; /* steps; columns worked on (a pair counts as two) */
  int64_t step, a_step;    /* elements from one step to the next; of the factors, 0: the same */
  bool complex, reverse;   /* reverse: from the last step to the first */
} mica_scan;

/* What the gradient of a recurrence reads and writes; h0, gh and glast may be NULL (zero). */
typedef struct mica_scan_gradient {
  const void *a, *h, *h0, *gh, *glast;
  void *gb;       /* also where the state's gradient runs along */
  void *ga;       /* of a factor for each step, or NULL */
  double *shared; /* of factors that are the same at each step [columns], or NULL */
  void *gh0;      /* or NULL */
} mica_scan_gradient;

typedef struct mica_scan_kernels {
  /* h_t = a_t h_(t-1) + b_t, with h0 (NULL: 0) before the first; `last` (may be NULL) is the last
   * state, of no steps h0 */
  void (*recurrence)(const mica_scan *s, const void *a, const void *b, const void *h0, void *h,
                     void *last);
  /* g_t = gh_t + conj(a_(t+1)) g_(t+1), from glast; gb = g, ga_t = g_t conj(h_(t-1)), `shared` the
   * sum of that over the steps, gh0 = conj(a_0) g_0 */
  void (*recurrence_grad)(const mica_scan *s, const mica_scan_gradient *g);
  /* y_t = sum of x up to t, or of those before it */
  void (*cumsum)(const mica_scan *s, bool exclusive, const void *x, void *y);
} mica_scan_kernels;

#endif
