/* Mean and covariance of rows, in float64, mergeable.
 *
 * A moments object holds the count, the mean and the scatter matrix sum (x - mean)(x - mean)^T.
 * Rows are added in any number of calls (each centres on its own mean and is merged by the formulas
 * of Chan, Golub and LeVeque, 1979), and objects made apart are merged: the answer is that of one
 * pass over all rows up to rounding. Memory: 8 D^2 bytes and a block of rows.
 */
#ifndef MICA_NUMERIC_MOMENTS_H
#define MICA_NUMERIC_MOMENTS_H

#include <mica/engine.h>
#include <mica/tensor.h>

typedef struct mica_moments {
  int64_t d, n;
  double *mean;    /* [D] */
  double *scatter; /* [D, D] symmetric; NULL when only `square` is kept */
  double *square;  /* [D] the scatter's diagonal */
} mica_moments;

/* Zero rows so far. With `full` false only the diagonal is kept. Ends with mica_moments_end. */
mica_status mica_moments_begin(mica_moments *m, int64_t d, bool full);
void mica_moments_end(mica_moments *m);

mica_status mica_moments_add(const mica_engine *engine, mica_moments *m, const mica_view *x);

/* m becomes the moments of both sets of rows; both full or both not. */
mica_status mica_moments_merge(mica_moments *m, const mica_moments *other);

/* covariance [D, D] = scatter / divisor. */
void mica_moments_covariance(const mica_moments *m, double divisor, double *covariance);

/* What is done to a row while it is read. */
typedef struct mica_row_form {
  const double *centre; /* [D] subtracted first, or NULL */
  bool unit;            /* then scaled to length 1 (a zero row stays zero) */
} mica_row_form;

void mica_rows_load_form(const mica_view *x, int64_t begin, int64_t end, const mica_row_form *form,
                         double *out);

/* Sums of the rows, in that form (NULL: as they are), by group: sum [groups, D], count [groups].
 * group NULL: all rows are group 0. Memory: as many partial sums as fit in 64 MB, at most 16. */
mica_status mica_group_sums(const mica_engine *engine, const mica_view *x,
                            const mica_row_form *form, const int64_t *group, int64_t groups,
                            double *sum, int64_t *count);

/* scatter [D, D] = sum_i (x_i - centre[group_i]) (x_i - centre[group_i])^T, symmetric; centre is
 * [groups, D], group NULL means row 0. `fourth` (may be NULL) receives sum_i |x_i - centre|^4. */
mica_status mica_scatter(const mica_engine *engine, const mica_view *x, const int64_t *group,
                         const double *centre, double *scatter, double *fourth);

#endif
