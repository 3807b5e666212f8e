/* A linear machine with squared hinge loss by its primal: Newton's method. */
#ifndef MICA_FEATURE_PRIMAL_SVM_H
#define MICA_FEATURE_PRIMAL_SVM_H

#include <stdbool.h>
#include <stdint.h>

/* Minimise |w|^2 / 2 + sum_i cost_i max(0, 1 - y_i w . x_i)^2 over w, for n of the rows of x. */
typedef struct mica_primal_svm {
  int64_t n, d;
  const double *x;      /* [., d] */
  const int64_t *row;   /* [n] which rows */
  const double *y;      /* [n] 1 or -1 */
  const double *cost;   /* [n] */
  double tol;           /* the gradient's length, as a share of that at 0 */
  int64_t max_iter;     /* steps of Newton's method */
  int64_t steps;        /* out */
  bool converged;       /* out */
  double value, excess; /* out: the objective, and at most how far it is above the optimum */
} mica_primal_svm;

/* Numbers of scratch memory. */
static inline int64_t mica_primal_svm_room(int64_t n, int64_t d) {
  return 2 * n + 5 * d;
}
/* w [d] is where it begins, and the answer. */
void mica_primal_svm_fit(mica_primal_svm *p, double *w, double *room);

#endif
