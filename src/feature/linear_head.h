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

/* "weight" and "bias". */
mica_status mica_linear_head_save(const void *head, mica_record *record);
mica_status mica_linear_head_load(const mica_fitted *fitted, const mica_record *record,
                                  void **state);

/* ---- small things that classifiers share ---- */

/* label[i] = the first largest of score's row i. */
void mica_best_class(int64_t n, int64_t classes, const double *score, int64_t *label);

/* out = softmax of scale * score, row by row; may be in place. A row of -infinity only becomes
 * uniform. */
void mica_softmax_rows(int64_t n, int64_t classes, double scale, const double *score, double *out);

#endif
