/* Incomplete gamma and beta functions, and the distributions and quantiles made from them.
 *
 * Each incomplete function has two faces: a power series that is all-positive and fast on one side
 * of the distribution's mean, and a continued fraction (evaluated by Lentz's method as modified by
 * Thompson and Barnett, 1986) on the other. Quantiles are found by Newton steps kept inside a
 * bracket, working on the smaller tail so that neither end loses digits.
 */
#include "numeric/special.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

/* x^a e^-x / Gamma(a) is the common factor of both expansions. */
static double gamma_factor(double a, double x) {
  int sign;
  return exp(a * log(x) - x - lgamma_r(a, &sign));
}

static double gamma_p_series(double a, double x) {
  double term = 1 / a, sum = term, n = a;
  double limit = 200 + 20 * sqrt(a) + x;
  for (double i = 0; i < limit && term > sum * DBL_EPSILON * 0.25; i++) {
    n += 1;
    term *= x / n;
    sum += term;
  }
  return sum * gamma_factor(a, x);
}

static double gamma_q_fraction(double a, double x) {
  const double tiny = 1e-300;
  double b = x + 1 - a, c = 1 / tiny, d = 1 / b, h = d;
  double limit = 200 + 20 * sqrt(a);
  for (double i = 1; i < limit; i++) {
    double an = -i * (i - a);
    b += 2;
    d = an * d + b;
    if (fabs(d) < tiny) d = tiny;
    c = b + an / c;
    if (fabs(c) < tiny) c = tiny;
    d = 1 / d;
    double step = d * c;
    h *= step;
    if (fabs(step - 1) < DBL_EPSILON) break;
  }
  return h * gamma_factor(a, x);
}

double mica_gamma_p(double a, double x) {
  if (!(a > 0) || !(x >= 0)) return NAN;
  if (x == 0) return 0;
  if (isinf(x)) return 1;
  return x < a + 1 ? gamma_p_series(a, x) : 1 - gamma_q_fraction(a, x);
}

double mica_gamma_q(double a, double x) {
  if (!(a > 0) || !(x >= 0)) return NAN;
  if (x == 0) return 1;
  if (isinf(x)) return 0;
  return x < a + 1 ? 1 - gamma_p_series(a, x) : gamma_q_fraction(a, x);
}

/* The continued fraction 26.5.8 of Abramowitz and Stegun; converges fast for x < (a+1)/(a+b+2). */
static double beta_fraction(double a, double b, double x) {
  const double tiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  if (fabs(d) < tiny) d = tiny;
  d = 1 / d;
  double h = d, limit = 200 + 20 * sqrt(fmax(a, b));
  for (double m = 1; m < limit; m++) {
    double step = 1;
    for (int half = 0; half < 2; half++) {
      double up = half ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                       : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
      d = 1 + up * d;
      if (fabs(d) < tiny) d = tiny;
      c = 1 + up / c;
      if (fabs(c) < tiny) c = tiny;
      d = 1 / d;
      step = d * c;
      h *= step;
    }
    if (fabs(step - 1) < DBL_EPSILON) break;
  }
  return h;
}

double mica_beta_i(double a, double b, double x) {
  if (!(a > 0) || !(b > 0) || !(x >= 0) || !(x <= 1)) return NAN;
  if (x == 0 || x == 1) return x;
  int sign;
  double factor = exp(lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) +
                      a * log(x) + b * log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return factor * beta_fraction(a, b, x) / a;
  return 1 - factor * beta_fraction(b, a, 1 - x) / b;
}

double mica_chi2_cdf(double x, double k) {
  return mica_gamma_p(k / 2, x / 2);
}

double mica_normal_cdf(double z) {
  return 0.5 * erfc(-z * M_SQRT1_2);
}

double mica_sigma_share(double n) {
  return n >= 0 ? erfc(n * M_SQRT1_2) : NAN;
}

double mica_normal_quantile(double p) {
  if (!(p >= 0) || !(p <= 1)) return NAN;
  if (p == 0 || p == 1) return p == 0 ? -INFINITY : INFINITY;
  if (p > 0.5) return -mica_normal_quantile(1 - p);
  /* The tail's leading term as a start, then Halley's method on log(cdf): in the logarithm the tail
   * is nearly a parabola, so a handful of steps reach the last digit even at 1e-300. */
  double z = -sqrt(fmax(0, -2 * log(2 * p)));
  for (int i = 0; i < 50; i++) {
    double cdf = mica_normal_cdf(z);
    double ratio = exp(-0.5 * z * z) / (sqrt(2 * M_PI) * cdf); /* derivative of log cdf */
    double f = log(cdf / p);
    double curve = -ratio * (z + ratio);
    double step = f / ratio / (1 - 0.5 * f * curve / (ratio * ratio));
    z -= step;
    if (fabs(step) <= 1e-15 * fmax(1, fabs(z))) break;
  }
  return z;
}

double mica_chi2_quantile(double p, double k) {
  if (!(p >= 0) || !(p <= 1) || !(k > 0)) return NAN;
  if (p == 0) return 0;
  if (p == 1) return INFINITY;
  double a = k / 2;
  /* Wilson and Hilferty's cube as a start; where it fails (few degrees, tiny p) the first term of
   * the series, P(a, x) ~ x^a / Gamma(a+1). */
  int sign;
  double small = exp((log(p) + lgamma_r(a + 1, &sign)) / a);
  double h = 2 / (9 * k), w = 1 - h + mica_normal_quantile(p) * sqrt(h);
  double x = w > 0.3 ? a * w * w * w : small;
  if (!(x > 0)) x = DBL_MIN;
  double lo = 0, hi = INFINITY;
  for (int i = 0; i < 200; i++) {
    bool upper = p > 0.5;
    double f = upper ? (1 - p) - mica_gamma_q(a, x) : mica_gamma_p(a, x) - p;
    if (f > 0)
      hi = x;
    else
      lo = x;
    double step = f / (gamma_factor(a, x) / x);
    if (fabs(step) <= 4 * DBL_EPSILON * x) break;
    double next = x - step;
    if (!(next > lo) || !(next < hi)) next = isinf(hi) ? 2 * x : 0.5 * (lo + hi);
    x = next;
  }
  return 2 * x;
}

double mica_binomial_cdf(double k, double n, double p) {
  if (!(n >= 0) || !(p >= 0) || !(p <= 1)) return NAN;
  k = floor(k);
  if (k < 0) return 0;
  if (k >= n) return 1;
  return mica_beta_i(n - k, k + 1, 1 - p);
}

double mica_student_cdf(double t, double k) {
  if (!(k > 0) || isnan(t)) return NAN;
  if (isinf(t)) return t > 0;
  const double tail = 0.5 * mica_beta_i(k / 2, 0.5, k / (k + t * t));
  return t > 0 ? 1 - tail : tail;
}

double mica_student_quantile(double p, double k) {
  if (!(p >= 0) || !(p <= 1) || !(k > 0)) return NAN;
  if (p == 0.5) return 0;
  if (p == 0 || p == 1) return p ? INFINITY : -INFINITY;
  /* Halve the exponent's range: the tails of few degrees reach very far. */
  const double tail = fmin(p, 1 - p);
  double lo = -40, hi = 700;
  for (int i = 0; i < 200 && hi - lo > 1e-15 * fmax(1, fabs(hi)); i++) {
    const double middle = 0.5 * (lo + hi), t = exp(middle);
    if (0.5 * mica_beta_i(k / 2, 0.5, k / (k + t * t)) > tail)
      lo = middle;
    else
      hi = middle;
  }
  const double t = exp(0.5 * (lo + hi));
  return p > 0.5 ? t : -t;
}
