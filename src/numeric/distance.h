/* Distances between the rows of two matrices, in blocks through matrix products. */
#ifndef MICA_NUMERIC_DISTANCE_H
#define MICA_NUMERIC_DISTANCE_H

#include <mica/engine.h>
#include <mica/tensor.h>

typedef enum mica_metric {
  MICA_METRIC_EUCLIDEAN_SQUARED, /* |x - y|^2, never negative */
  MICA_METRIC_COSINE,            /* 1 - cos(x, y), 0..2; 1 when a row is zero */
  MICA_METRIC_INNER              /* -<x, y>, so that smaller is nearer in all three */
} mica_metric;

/* out [N, M] = distances of the rows of x [N, D] to those of y [M, D]. */
mica_status mica_distances(const mica_engine *engine, mica_metric metric, const mica_view *x,
                           const mica_view *y, double *out);

/* The k nearest rows of y for each row of x, nearest first, ties to the lower index: index [N, k]
 * (-1 where y has fewer rows) and distance [N, k] (infinity there). With `skip` (may be NULL), row
 * i of x never finds row skip[i] of y (leave-one-out on one matrix). Memory: about 5 MB a thread
 * and a copy of k scores. */
mica_status mica_nearest_rows(const mica_engine *engine, mica_metric metric, const mica_view *x,
                              const mica_view *y, int64_t k, const int64_t *skip, int64_t *index,
                              double *distance);

#endif
