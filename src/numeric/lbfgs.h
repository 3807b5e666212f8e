/* Limited-memory BFGS for smooth unconstrained minimisation.
 *
 * Liu and Nocedal (1989) with the two-loop recursion, and a line search for the strong Wolfe
 * conditions (bracketing and cubic interpolation, Nocedal and Wright 2006, algorithms 3.5 and 3.6).
 * Near the minimum, where differences of the objective drown in rounding, the approximate Wolfe
 * conditions of Hager and Zhang (2005) take over, which judge by slopes: gradients below 1e-8 are
 * reached where a plain search stalls at 1e-6. Serial vector arithmetic: the same bits for any
 * thread count when the objective keeps that promise.
 */
#ifndef MICA_NUMERIC_LBFGS_H
#define MICA_NUMERIC_LBFGS_H

#include <mica/engine.h>

/* Value and gradient at x (n numbers each). A status other than MICA_OK ends the minimisation with
 * it. A value that is not finite is taken as "outside the domain": the step is shortened. */
typedef mica_status (*mica_objective_fn)(void *ctx, const double *x, double *value,
                                         double *gradient);

typedef struct mica_lbfgs_options {
  int32_t memory;            /* pairs kept, 10 */
  int32_t max_iterations;    /* 1000 */
  int32_t max_evaluations;   /* for each line search, 40 */
  double gradient_tol;       /* converged when max |gradient| <= this, 1e-6 */
  double value_tol;          /* converged when (f - f') / max(|f|, |f'|, 1) <= this, 0: not used */
  mica_progress_fn progress; /* called once an iteration; may be NULL */
  void *progress_ctx;
} mica_lbfgs_options;

#define MICA_LBFGS_OPTIONS                                                                         \
  { 10, 1000, 40, 1e-6, 0, NULL, NULL }

typedef enum mica_lbfgs_stop {
  MICA_LBFGS_GRADIENT,  /* the gradient tolerance was reached */
  MICA_LBFGS_VALUE,     /* the value tolerance was reached */
  MICA_LBFGS_ROUNDING,  /* no step improves any more in double precision */
  MICA_LBFGS_ITERATIONS /* the iteration limit came first: not converged */
} mica_lbfgs_stop;

typedef struct mica_lbfgs_report {
  mica_lbfgs_stop stop;
  int64_t iterations, evaluations;
  double value, gradient_max;
} mica_lbfgs_report;

/* Minimise from x (n numbers, replaced by the best point found). Not converging is no error: see
 * report->stop. Errors: the objective's own, MICA_ERR_NUMERIC when it is not finite at the start,
 * MICA_ERR_MEMORY (needs (2 memory + 5) n doubles), MICA_ERR_CANCELLED. */
mica_status mica_lbfgs(int64_t n, double *x, mica_objective_fn objective, void *ctx,
                       const mica_lbfgs_options *options, mica_lbfgs_report *report);

const char *mica_lbfgs_stop_text(mica_lbfgs_stop stop);

#endif
