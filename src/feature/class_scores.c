/* Labels and probabilities from scores, without memory where the caller has some. */
#include "feature/class_scores.h"

#include <math.h>

void mica_best_class(int64_t n, int64_t classes, const double *score, int64_t *label) {
  for (int64_t i = 0; i < n; i++, score += classes) {
    label[i] = 0;
    for (int64_t c = 1; c < classes; c++)
      if (score[c] > score[label[i]]) label[i] = c;
  }
}

void mica_softmax_rows(int64_t n, int64_t classes, double scale, const double *score, double *out) {
  for (int64_t i = 0; i < n; i++, score += classes, out += classes) {
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < classes; c++) top = fmax(top, score[c]);
    for (int64_t c = 0; c < classes; c++) {
      out[c] = isinf(top) ? 1 : exp(scale * (score[c] - top));
      sum += out[c];
    }
    for (int64_t c = 0; c < classes; c++) out[c] /= sum;
  }
}

double *mica_scores_begin(int64_t n, int64_t classes, const mica_prediction *out, double **own) {
  *own = NULL;
  if (out->score) return out->score;
  if (out->probability) return out->probability;
  return *own = mica_malloc((size_t)(n * classes) * sizeof **own);
}

void mica_scores_answer(int64_t n, int64_t classes, double scale, const double *score,
                        const mica_prediction *out) {
  if (out->label) mica_best_class(n, classes, score, out->label);
  if (out->probability) mica_softmax_rows(n, classes, scale, score, out->probability);
}
