/* Doubles and integers in and out of records: what estimators write their state with. */
#ifndef MICA_FEATURE_RECORD_H
#define MICA_FEATURE_RECORD_H

#include <mica/feature.h>

/* True when there is a tensor of that name; no error otherwise. */
bool mica_record_has(const mica_record *record, const char *name);

/* Put a copy of the values as a float64 / int64 tensor. */
mica_status mica_record_put_f64(mica_record *record, const char *name, mica_shape shape,
                                const double *values);
mica_status mica_record_put_i64(mica_record *record, const char *name, mica_shape shape,
                                const int64_t *values);

/* Copy the values of the tensor into `values`; MICA_ERR_FORMAT when it is absent, of another type
 * or shape, or, for doubles, not finite (-infinity is let through where `minus_infinity`). */
mica_status mica_record_take_f64(const mica_record *record, const char *name, mica_shape shape,
                                 bool minus_infinity, double *values);
mica_status mica_record_take_i64(const mica_record *record, const char *name, mica_shape shape,
                                 int64_t lo, int64_t hi, int64_t *values);

/* "count": how many examples each class has, [classes], none below 0. */
mica_status mica_record_take_counts(const mica_record *record, int64_t classes, double *count);

#endif
