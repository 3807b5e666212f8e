/* Means, scatter matrices and their eigenvalues, as several measures need them. */
#ifndef MICA_MEASURE_SPECTRUM_H
#define MICA_MEASURE_SPECTRUM_H

#include <mica/measure.h>

/* Eigenvalues below this share of the largest are rounding. */
#define MICA_SPECTRUM_ROUNDING 1e-12

/* The mean [D] of the rows. */
mica_status mica_column_means(const mica_engine *engine, const mica_view *x, double *mean);

/* The squared singular values of x - centre (centre [D]; NULL: of x itself), descending, into
 * square [min(N, D)]; rounding is set to 0. */
mica_status mica_squared_singular_values(const mica_engine *engine, const mica_view *x,
                                         const double *centre, double *square);

/* cross [D, E] = (x - mx)^T (y - my), in blocks of rows. */
mica_status mica_cross_scatter(const mica_engine *engine, const mica_view *x, const double *mx,
                               const mica_view *y, const double *my, double *cross);

/* The singular values of a dense [m, n], descending, into values [min(m, n)]; those below
 * 1e-6 of the largest come out as 0. */
mica_status mica_small_singular_values(const mica_engine *engine, int64_t m, int64_t n,
                                       const double *a, double *values);

#endif
