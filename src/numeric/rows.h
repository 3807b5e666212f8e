/* Rows of a feature matrix as float64, whatever the view's element type and stride. */
#ifndef MICA_NUMERIC_ROWS_H
#define MICA_NUMERIC_ROWS_H

#include <mica/engine.h>
#include <mica/tensor.h>

/* MICA_OK when `x` is [N, D], float32 or float64 with D >= 1 and a sane stride, else
 * MICA_ERR_SHAPE; `what` names it in messages. */
mica_status mica_rows_check(const mica_view *x, const char *what);

/* MICA_ERR_NUMERIC naming row and column of the first element that is not finite. */
mica_status mica_rows_check_finite(const mica_engine *engine, const mica_view *x, const char *what);

/* Rows begin..end-1 into out [end - begin, D], dense; with `mean` [D] subtracted unless NULL. */
void mica_rows_load(const mica_view *x, int64_t begin, int64_t end, const double *mean,
                    double *out);

/* Columns begin..end-1 of x, a view of the same memory. */
mica_view mica_rows_columns(const mica_view *x, int64_t begin, int64_t end);

/* Scale each of n dense rows to length 1; returns the number of the first zero row, or -1. */
int64_t mica_rows_normalise(double *rows, int64_t n, int64_t d);

/* Sum of squares of n numbers. */
double mica_sum_squares(const double *v, int64_t n);
double mica_dot(const double *a, const double *b, int64_t n);

static inline int64_t mica_rows_n(const mica_view *x) {
  return x->shape.dim[0];
}
static inline int64_t mica_rows_d(const mica_view *x) {
  return x->shape.dim[1];
}

#endif
