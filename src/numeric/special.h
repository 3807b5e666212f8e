/* Special functions that statistics needs and the C library lacks; the distributions made from them
 * are in mica/numeric.h.
 *
 * All are pure functions of doubles: no state, no errors through the thread's last error. An
 * argument outside the documented range gives NaN. Relative accuracy is about 1e-12 for shape
 * parameters up to 1e5, limited by lgamma for larger ones.
 */
#ifndef MICA_NUMERIC_SPECIAL_H
#define MICA_NUMERIC_SPECIAL_H

#include <mica/numeric.h>

/* The regularised incomplete gamma functions P(a, x) and Q(a, x) = 1 - P(a, x); a > 0, x >= 0.
 * (Abramowitz and Stegun 6.5.1, 6.5.3.) */
double mica_gamma_p(double a, double x);
double mica_gamma_q(double a, double x);

/* The regularised incomplete beta function I_x(a, b); a, b > 0, 0 <= x <= 1. (A&S 26.5.1.) */
double mica_beta_i(double a, double b, double x);

/* Probability that a binomial variable of n trials with success probability p is at most k. */
double mica_binomial_cdf(double k, double n, double p);

#endif
