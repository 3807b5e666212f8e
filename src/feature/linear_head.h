/* A linear map from features to outputs, shared by the estimators whose fit is one. */
#ifndef MICA_FEATURE_LINEAR_HEAD_H
#define MICA_FEATURE_LINEAR_HEAD_H

#include <mica/feature.h>

typedef struct mica_linear_head {
  int64_t features, outputs;
  double *weight; /* [outputs, features] */
  double *bias;   /* [outputs]; -infinity for a class that had no examples */
} mica_linear_head;

/* Zeros; free with mica_linear_head_free. */
mica_status mica_linear_head_create(int64_t features, int64_t outputs, mica_linear_head **out);
void mica_linear_head_free(void *head);

/* score [N, outputs] = x weight^T + bias. */
mica_status mica_linear_head_scores(const mica_engine *engine, const mica_linear_head *head,
                                    const mica_view *x, double *score);

/* ---- of the table of an estimator whose state is a head ---- */

/* "weight" and "bias". */
mica_status mica_linear_head_save(const void *head, mica_record *record);
mica_status mica_linear_head_load(const mica_engine *engine, const void *options,
                                  const mica_fitted *fitted, const mica_record *record,
                                  void **state);
mica_status mica_linear_head_linear(const void *options, const void *head, double *weight,
                                    double *bias);

/* How strange a row is, from its scores of the classes. */
typedef double (*mica_anomaly_fn)(const double *score, int64_t classes);
/* All that is wanted in `out`; anomaly may be NULL where no estimator of the kind detects. */
mica_status mica_linear_head_predict(const mica_engine *engine, const mica_linear_head *head,
                                     const mica_view *x, mica_anomaly_fn anomaly,
                                     const mica_prediction *out);

#endif
