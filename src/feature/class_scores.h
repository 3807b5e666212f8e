/* From the classes' scores to the rest of a prediction. */
#ifndef MICA_FEATURE_CLASS_SCORES_H
#define MICA_FEATURE_CLASS_SCORES_H

#include <mica/feature.h>

/* label[i] = the first largest of score's row i. */
void mica_best_class(int64_t n, int64_t classes, const double *score, int64_t *label);

/* out = softmax of scale * score, row by row; may be in place. A row of -infinity only becomes
 * uniform. */
void mica_softmax_rows(int64_t n, int64_t classes, double scale, const double *score, double *out);

/* Where scores [n, classes] are to go: the caller's place for them, else that of the probabilities,
 * else *own, which is to be freed and NULL otherwise. NULL when memory is short. */
double *mica_scores_begin(int64_t n, int64_t classes, const mica_prediction *out, double **own);

/* Labels and the softmax of scale * score, where they are wanted. Last: the scores may be in the
 * place of the probabilities. */
void mica_scores_answer(int64_t n, int64_t classes, double scale, const double *score,
                        const mica_prediction *out);

#endif
