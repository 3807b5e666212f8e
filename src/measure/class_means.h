/* Means of classes, and the scatter of rows around them. */
#ifndef MICA_MEASURE_CLASS_MEANS_H
#define MICA_MEASURE_CLASS_MEANS_H

#include <mica/measure.h>

typedef struct mica_class_means {
  int64_t classes, d; /* classes that have rows */
  int64_t *old;       /* [classes] their numbers */
  int64_t *now;       /* [N] the number here of each row's class */
  double *count;      /* [classes] */
  double *mean;       /* [classes, d] */
  double *all;        /* [d] mean of all rows */
} mica_class_means;

/* With `unit`, of rows scaled to length 1 (a row of zeros stays). One class is MICA_ERR_INVALID.
 * Ends with mica_class_means_free. */
mica_status mica_class_means_of(const mica_engine *engine, const mica_measure_data *data, bool unit,
                                mica_class_means *out);
void mica_class_means_free(mica_class_means *means);

/* cosine [all classes of the data]^2 between the means minus `all`; NaN where a class has no rows
 * or its mean is `all`. */
void mica_class_mean_cosines(const mica_class_means *means, int64_t classes, double *cosine);

#endif
